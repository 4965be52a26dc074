/* SPDX-License-Identifier: BSD-3-Clause */
/* The VFs of a device: policy of their ports or limits of their disks, queues, sockets. */
#include <limits.h>
#include <net/ethernet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/config_read.h"
#include "control/text.h"
#include "util/util.h"
#include "virtio_net/virtio_net.h"

#define VLAN_MAX 4094
#define QOS_MAX	 7

#define INDEX_DEFAULTS UINT_MAX /* what is read into is vf-defaults */

static void read_vf_mac(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_vf *vf = obj;

	if (vf->index == INDEX_DEFAULTS)
		config_error(r, n->line,
			     "one address for all VFs: give each its own under vfs, or leave "
			     "it out to have them generated");
	else if (read_mac(r, n, vf->policy.mac))
		vf->policy.mac_by_admin = true;
}

static void read_vlan(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_vf *vf = obj;
	uint64_t v;

	if (read_uint(r, n, 0, VLAN_MAX, &v))
		vf->policy.vlan = (uint16_t)v;
}

static void read_qos(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_vf *vf = obj;
	uint64_t v;

	if (read_uint(r, n, 0, QOS_MAX, &v))
		vf->policy.vlan_qos = (uint8_t)v;
}

static void read_proto(struct reader *r, const struct ynode *n, void *obj)
{
	static const char *const names[] = {"802.1q", "802.1ad"};
	struct config_vf *vf = obj;
	unsigned i;

	if (read_choice(r, n, names, ARRAY_SIZE(names), &i))
		vf->policy.vlan_proto = i ? 0x88a8 : ETHERTYPE_VLAN;
}

static void read_trunk(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_vf *vf = obj;
	bool on;

	memset(vf->policy.trunk, 0, sizeof(vf->policy.trunk));
	vf->policy.trunk_enabled = false;
	if (n->kind == YNODE_SCALAR && !text_bool(n->value, &on) && !on)
		return; /* "off": takes a default back */
	vf->policy.trunk_enabled = read_vlan_set(r, n, vf->policy.trunk);
}

static void read_spoof_check(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_vf *vf = obj;

	read_bool(r, n, &vf->policy.spoof_check);
}

static void read_trust(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_vf *vf = obj;

	read_bool(r, n, &vf->policy.trust);
}

static void read_link_state(struct reader *r, const struct ynode *n, void *obj)
{
	static const char *const names[] = {"auto", "enable", "disable"};
	static const enum net_link links[] = {NET_LINK_AUTO, NET_LINK_ENABLE, NET_LINK_DISABLE};
	struct config_vf *vf = obj;
	unsigned i;

	if (read_choice(r, n, names, ARRAY_SIZE(names), &i))
		vf->policy.link = links[i];
}

static void read_vf_queues(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_vf *vf = obj;
	uint64_t v;

	if (read_uint(r, n, 1, VIRTIO_NET_PAIRS_MAX, &v))
		vf->queue_pairs = (unsigned)v;
}

static void read_vf_socket(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_vf *vf = obj;

	read_socket(r, n, &vf->socket);
}

/* What must fit together, defaults included. */
static void check_vf(struct reader *r, const struct ynode *n, struct config_vf *vf, bool defaults)
{
	struct net_policy *p = &vf->policy;
	const struct ynode *at;

	if (p->vlan && p->trunk_enabled) {
		at = map_find(n, "trunk") ? map_find(n, "trunk") : map_find(n, "vlan");
		config_error(r, at ? at->line : n->line,
			     "vlan and trunk exclude each other: a port VLAN takes the guest's "
			     "tags away, a trunk lets them pass; remove one");
	}
	check_rates(r, n, p->max_tx_mbps, p->min_tx_mbps);
	if (p->vlan)
		return;
	/* Defaults may name a priority for VFs that give the VLAN. */
	for (unsigned i = 0; i < 2 && !defaults; i++) {
		at = map_find(n, i ? "vlan-proto" : "vlan-qos");
		if (at)
			config_error(r, at->line, "%s without a vlan: add vlan: 1..4094", at->key);
	}
	p->vlan_qos = 0;
	p->vlan_proto = ETHERTYPE_VLAN;
}

static const struct config_key common_keys[] = {{"socket", read_vf_socket}, {NULL, NULL}};

static const struct config_key ethernet_keys[] = {
	{"mac", read_vf_mac},
	{"vlan", read_vlan},
	{"vlan-qos", read_qos},
	{"vlan-proto", read_proto},
	{"trunk", read_trunk},
	{"spoof-check", read_spoof_check},
	{"trust", read_trust},
	{"link-state", read_link_state},
	{"queues", read_vf_queues},
	{"max-tx-rate", read_vf_max_rate},
	{"min-tx-rate", read_vf_min_rate},
	{NULL, NULL},
};

static void read_vf(struct reader *r, const struct ynode *n, const struct config_device *dev,
		    struct config_vf *vf, bool defaults)
{
	const bool nvme = dev->type == DEVICE_NVME;
	const struct config_keys keys = {.common = common_keys,
					 .own = nvme ? nvme_vf_keys : ethernet_keys,
					 .other = nvme ? ethernet_keys : nvme_vf_keys,
					 .type = nvme ? "nvme" : "ethernet",
					 .other_type = nvme ? "ethernet" : "nvme"};

	vf->line = n->line;
	read_typed_map(r, n, &keys, vf);
	if (defaults || n->kind != YNODE_MAP)
		return;
	if (nvme)
		check_limits(r, n, &vf->limits);
	else
		check_vf(r, n, vf, false);
}

static bool vf_index(struct reader *r, const struct ynode *n, const struct config_device *dev,
		     unsigned *out)
{
	uint64_t v;

	if (text_uint(n->key, &v)) {
		config_error(r, n->line, "not the number of a VF: write its index, from 0");
		return false;
	}
	if (v >= dev->total_vfs) {
		if (dev->total_vfs)
			config_error(r, n->line,
				     "there is no such VF, the last is %u: raise total-vfs (now "
				     "%u) or remove this",
				     dev->total_vfs - 1, dev->total_vfs);
		else
			config_error(r, n->line,
				     "the device has no VFs: raise total-vfs (now 0) or remove "
				     "this");
		return false;
	}
	*out = (unsigned)v;
	return true;
}

static void default_vf(struct config_vf *vf)
{
	memset(vf, 0, sizeof(*vf));
	net_policy_init(&vf->policy);
	vf->policy.spoof_check = true;
	vf->policy.trust = false;
	vf->policy.link = NET_LINK_AUTO;
	vf->policy.vlan_proto = ETHERTYPE_VLAN;
}

/* Reads the map into all[], an entry per possible VF; line 0 marks those not given. */
static void read_given(struct reader *r, const struct ynode *map, struct config_device *dev,
		       const struct config_vf *defaults, struct config_vf *all)
{
	for (const struct ynode *n = map->first; n; n = n->next) {
		size_t mark = path_push(r, n->key);
		unsigned i;

		if (vf_index(r, n, dev, &i)) {
			if (all[i].line) {
				config_error(r, n->line,
					     "given twice, first on line %d: remove one of the two",
					     all[i].line);
			} else {
				all[i] = *defaults;
				all[i].index = i;
				read_vf(r, n, dev, &all[i], false);
			}
		}
		path_pop(r, mark);
	}
}

void read_vfs(struct reader *r, const struct ynode *device, struct config_device *dev)
{
	const struct ynode *vfs = map_find(device, "vfs");
	const struct ynode *defaults = map_find(device, "vf-defaults");
	struct config_vf base, *all;
	size_t mark;

	if (!vfs && !defaults)
		return;
	default_vf(&base);
	base.index = INDEX_DEFAULTS;
	if (defaults) {
		mark = path_push(r, "vf-defaults");
		read_vf(r, defaults, dev, &base, true);
		path_pop(r, mark);
	}
	all = calloc(dev->total_vfs ? dev->total_vfs : 1, sizeof(*all));
	if (!all) {
		r->no_memory = true;
		return;
	}
	mark = path_push(r, "vfs");
	if (vfs && want_map(r, vfs))
		read_given(r, vfs, dev, &base, all);
	path_pop(r, mark);
	/* Defaults hold for VFs that are not named too: those get an entry of their own. */
	if (defaults && defaults->kind == YNODE_MAP) {
		mark = path_push(r, "vf-defaults");
		if (dev->type == DEVICE_NVME)
			check_limits(r, NULL, &base.limits);
		else
			check_vf(r, defaults, &base, true);
		path_pop(r, mark);
	}
	for (unsigned i = 0; i < dev->total_vfs; i++) {
		if (!all[i].line && !defaults)
			continue;
		if (!all[i].line)
			all[i] = base;
		all[i].index = i;
		all[dev->n_vfs++] = all[i];
	}
	dev->vfs = all;
}
