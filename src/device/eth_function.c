/* SPDX-License-Identifier: BSD-3-Clause */
/* One function of an Ethernet device: a virtio-net model and its port. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/eth_private.h"

int eth_function_io_fds(struct function *fn, unsigned region, struct vfu_io_fd *fds, unsigned max)
{
	int efd[VIRTIO_QUEUES_MAX];
	uint64_t off[VIRTIO_QUEUES_MAX];
	unsigned n;

	if (region != VIRTIO_BAR_CONFIG)
		return 0;
	n = virtio_net_doorbells(eth_function(fn)->net, efd, off, ARRAY_SIZE(efd));
	for (unsigned i = 0; i < MIN(n, max); i++)
		fds[i] = (struct vfu_io_fd){.offset = off[i], .size = 2, .fd = efd[i]};
	return n;
}

static void fill_pf(struct function *fn, struct virtio_net_config *cfg)
{
	struct eth_device *eth = eth_device(fn->dev);

	eth_pf_policy(eth, fn->pf - fn->dev->pfs, &cfg->policy);
	cfg->total_vfs = fn->pf->share;
	cfg->sriov_enable = function_sriov_enable;
	cfg->sriov_disable = function_sriov_disable;
	cfg->opaque = fn->pf;
}

static void fill_vf(struct function *fn, struct virtio_net_config *cfg)
{
	struct eth_device *eth = eth_device(fn->dev);

	cfg->policy = eth->policies[fn->vf];
	cfg->pf = fn->pf->fn->pci;
	cfg->vf_index = fn->vf - fn->pf->first_vf;
	if (eth->vf_pairs[fn->vf])
		cfg->queue_pairs = eth->vf_pairs[fn->vf];
}

int eth_function_create(struct function *fn, char why[WHY_MAX])
{
	struct eth_function *ef = eth_function(fn);
	const struct config_device *dc = &fn->dev->cfg;
	struct virtio_net_config cfg = {
		.name = fn->name,
		.queue_pairs = dc->queue_pairs,
		.queue_size = dc->queue_size,
		.mtu = dc->mtu,
		.speed_mbps = dc->speed_mbps,
		.packed = dc->packed,
		.features_off = dc->features_off,
		.admin_strict = dc->admin_strict,
		.poll = dc->poll,
		.shaper = &eth_device(fn->dev)->shaper,
	};
	int r;

	if (fn->vf < 0)
		fill_pf(fn, &cfg);
	else
		fill_vf(fn, &cfg);
	r = virtio_net_create(eth_device(fn->dev)->sw, fn->dev->s->pool, &cfg, &ef->net);
	if (!r)
		fn->pci = virtio_net_function(ef->net);
	return r;
}

void eth_function_destroy(struct function *fn)
{
	virtio_net_destroy(eth_function(fn)->net);
}

void eth_function_set_poll(struct function *fn, enum poller_policy policy)
{
	virtio_net_set_poll(eth_function(fn)->net, policy);
}

void eth_function_info(struct function *fn, struct function_info *out)
{
	struct virtio_net *net = eth_function(fn)->net;

	out->port = virtio_net_port(net);
	out->policy = net_port_policy(out->port);
	out->link_up = net_port_link_up(out->port);
	out->memory = sizeof(struct eth_function) + virtio_net_memory(net);
	virtio_net_get_status(net, &out->net);
}
