/* SPDX-License-Identifier: BSD-3-Clause */
/* What a new configuration changes in an Ethernet device, and what it cannot. */
#include <errno.h>
#include <string.h>

#include "device/eth_private.h"

static bool same_uplink(const struct net_uplink_config *a, const struct net_uplink_config *b)
{
	return a->type == b->type && !strcmp(a->name, b->name) && a->queues == b->queues &&
	       a->mtu == b->mtu && !strcmp(a->net, b->net) && !strcmp(a->net6, b->net6) &&
	       !strcmp(a->hostname, b->hostname) && a->host_loopback == b->host_loopback &&
	       a->n_forwards == b->n_forwards &&
	       !memcmp(a->forwards, b->forwards, a->n_forwards * sizeof(a->forwards[0]));
}

const char *eth_frozen_change(const struct device *dev, const struct config_device *b)
{
	const struct config_device *a = &dev->cfg;

	if (a->queue_pairs != b->queue_pairs)
		return "queues";
	if (a->queue_size != b->queue_size)
		return "queue-size";
	if (a->mtu != b->mtu)
		return "mtu";
	if (a->speed_mbps != b->speed_mbps)
		return "speed";
	if (a->admin_strict != b->admin_strict)
		return "admin-strict";
	if (a->packed != b->packed || a->features_off != b->features_off)
		return "virtio features";
	if (memcmp(a->mac, b->mac, sizeof(a->mac)))
		return "mac";
	if (!same_uplink(&a->uplink, &b->uplink))
		return "uplink";
	return NULL;
}

static int check_macs(const struct eth_device *eth, const struct config_device *dc,
		      char why[WHY_MAX])
{
	for (unsigned i = 0; i < dc->n_vfs; i++) {
		unsigned vf = dc->vfs[i].index;
		const struct net_policy *p = &dc->vfs[i].policy;

		if (p->mac_by_admin && memcmp(p->mac, eth->policies[vf].mac, ETH_ALEN) &&
		    eth_mac_taken(eth, vf, p->mac))
			return why_set(why, -EEXIST,
				       "%s: vf%u: another function has its new mac now; give that "
				       "one another first, or restart the daemon",
				       dc->name, vf);
	}
	return 0;
}

int eth_check_reload(struct device *dev, const struct config_device *dc, char why[WHY_MAX])
{
	struct eth_device *eth = eth_device(dev);
	int r;

	for (unsigned i = 0; i < dc->n_vfs; i++) {
		const struct config_vf *vf = &dc->vfs[i];

		if (vf->queue_pairs != eth->vf_pairs[vf->index] && dev->vfs[vf->index])
			return why_set(why, -EBUSY,
				       "%s: queues of vf%u cannot change while it exists", dc->name,
				       vf->index);
	}
	r = eth_check_reload_rates(eth, dc, why);
	return r ? r : check_macs(eth, dc, why);
}

/* VFs that the file does not name keep what they have: it may have been set live. */
int eth_apply_reload(struct device *dev, const struct config_device *dc, char why[WHY_MAX])
{
	struct eth_device *eth = eth_device(dev);
	int r;

	net_switch_set_ageing(eth->sw, dc->ageing_s);
	dev->cfg.ageing_s = dc->ageing_s;
	r = eth_apply_reload_rates(eth, dc);
	if (r)
		return why_set(why, r, "%s/pf: %s", dc->name, strerror(-r));
	for (unsigned i = 0; i < dc->n_vfs; i++) {
		const struct config_vf *vf = &dc->vfs[i];
		struct net_policy policy = vf->policy;

		if (!policy.mac_by_admin)
			memcpy(policy.mac, eth->policies[vf->index].mac, ETH_ALEN);
		eth->vf_pairs[vf->index] = vf->queue_pairs;
		r = eth_set_vf_policy(eth, vf->index, &policy);
		if (r)
			return why_set(why, r, "%s/vf%u: %s", dc->name, vf->index, strerror(-r));
	}
	return 0;
}
