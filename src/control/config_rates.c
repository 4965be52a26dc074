/* SPDX-License-Identifier: BSD-3-Clause */
/* Transmit rates of Ethernet devices and functions: keys, and what must fit together. */
#include <string.h>

#include "control/config_read.h"
#include "net/shaper.h"
#include "util/util.h"

static void read_rate(struct reader *r, const struct ynode *n, uint32_t *mbps)
{
	uint64_t v;

	if (read_uint(r, n, 0, NET_RATE_MAX, &v))
		*mbps = (uint32_t)v;
}

void read_device_rate(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_rate(r, n, &dev->tx_mbps);
}

void read_pf_max_rate(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_rate(r, n, &dev->pf_max_tx_mbps);
}

void read_pf_min_rate(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_rate(r, n, &dev->pf_min_tx_mbps);
}

void read_vf_max_rate(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_vf *vf = obj;

	read_rate(r, n, &vf->policy.max_tx_mbps);
}

void read_vf_min_rate(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_vf *vf = obj;

	read_rate(r, n, &vf->policy.min_tx_mbps);
}

void check_rates(struct reader *r, const struct ynode *map, uint32_t max_mbps, uint32_t min_mbps)
{
	const struct ynode *at = map_find(map, "min-tx-rate");

	if (!at)
		at = map_find(map, "max-tx-rate");
	if (max_mbps && min_mbps > max_mbps)
		config_error(r, at ? at->line : map->line,
			     "min-tx-rate %u is more than max-tx-rate %u: lower it, or raise "
			     "max-tx-rate",
			     min_mbps, max_mbps);
}

/* A root that has the device has a PF of it. */
static unsigned count_pfs(const struct config *cfg, const char *device)
{
	unsigned n = 0;

	for (unsigned i = 0; i < cfg->n_roots; i++)
		for (unsigned j = 0; j < cfg->roots[i].n_devices; j++)
			n += !strcmp(cfg->roots[i].devices[j].device, device);
	return MAX(n, 1u);
}

void check_device_rates(struct reader *r, const struct ynode *top, const struct config_device *dev)
{
	unsigned pfs = count_pfs(r->cfg, dev->name), vfs = 0;
	uint64_t sum = (uint64_t)pfs * dev->pf_min_tx_mbps;
	size_t mark;

	for (unsigned i = 0; i < dev->n_vfs; i++) {
		sum += dev->vfs[i].policy.min_tx_mbps;
		vfs += dev->vfs[i].policy.min_tx_mbps != 0;
	}
	if (!dev->tx_mbps || sum <= dev->tx_mbps)
		return;
	mark = path_push(r, "tx-rate");
	config_error(r, config_line_of(top, "devices", dev->name, "tx-rate"),
		     "%u Mb/s, but the min-tx-rate of %u VFs%s adds up to %llu: raise it, or lower "
		     "these",
		     dev->tx_mbps, vfs, dev->pf_min_tx_mbps ? " and of the PF" : "",
		     (unsigned long long)sum);
	path_pop(r, mark);
}
