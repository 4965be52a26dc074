/* SPDX-License-Identifier: BSD-3-Clause */
/* An Ethernet device: its switch and uplink, and the policies of its functions' ports. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/eth_private.h"

static bool mac_is_zero(const uint8_t *mac)
{
	static const uint8_t zero[ETH_ALEN];

	return !memcmp(mac, zero, ETH_ALEN);
}

static bool mac_is_configured(const struct eth_device *eth, const uint8_t *mac)
{
	const struct config_device *cfg = &eth->dev.cfg;

	if (!memcmp(cfg->mac, mac, ETH_ALEN))
		return true;
	for (unsigned i = 0; i < cfg->total_vfs; i++) {
		if (!memcmp(eth->policies[i].mac, mac, ETH_ALEN))
			return true;
	}
	return false;
}

/* A generated address that the configuration does not use elsewhere. */
static void mac_pick(const struct eth_device *eth, unsigned index, uint8_t mac[ETH_ALEN])
{
	uint8_t m[ETH_ALEN];

	do {
		mac_generate(eth->dev.cfg.name, index, m);
		index += CONFIG_VFS_MAX + CONFIG_ROOTS_MAX;
	} while (mac_is_configured(eth, m));
	memcpy(mac, m, ETH_ALEN);
}

static int vf_tables_create(struct eth_device *eth, const struct config_device *dc)
{
	eth->policies = calloc(dc->total_vfs + 1, sizeof(*eth->policies));
	eth->vf_pairs = calloc(dc->total_vfs + 1, sizeof(*eth->vf_pairs));
	if (!eth->policies || !eth->vf_pairs)
		return -ENOMEM;
	for (unsigned i = 0; i < dc->total_vfs; i++)
		net_policy_init(&eth->policies[i]);
	for (unsigned i = 0; i < dc->n_vfs; i++) {
		const struct config_vf *vf = &dc->vfs[i];

		eth->policies[vf->index] = vf->policy;
		eth->vf_pairs[vf->index] = vf->queue_pairs;
	}
	for (unsigned i = 0; i < dc->total_vfs; i++) {
		if (mac_is_zero(eth->policies[i].mac))
			mac_pick(eth, CONFIG_ROOTS_MAX + i, eth->policies[i].mac);
	}
	return 0;
}

void eth_pf_policy(const struct eth_device *eth, unsigned pf, struct net_policy *p)
{
	net_policy_init(p);
	if (!pf && !mac_is_zero(eth->dev.cfg.mac)) {
		memcpy(p->mac, eth->dev.cfg.mac, ETH_ALEN);
		p->mac_by_admin = true;
	} else {
		mac_pick(eth, pf, p->mac);
	}
	p->max_tx_mbps = eth->dev.cfg.pf_max_tx_mbps;
	p->min_tx_mbps = eth->dev.cfg.pf_min_tx_mbps;
	p->trust = true;
	/* The only PF is the trusted partition's. PFs of several roots are tenants of each other.
	 */
	p->spoof_check = eth->dev.n_pfs > 1;
}

/* fini() undoes what was done when this fails. */
static int eth_init(struct device *dev, const struct config_device *dc, char why[WHY_MAX])
{
	struct eth_device *eth = eth_device(dev);
	int r = vf_tables_create(eth, dc);

	if (r)
		return why_set(why, r, "%s: VF settings: %s", dc->name, strerror(-r));
	r = net_switch_create(dc->name, &eth->sw);
	if (r)
		return why_set(why, r, "%s: cannot make its switch: %s", dc->name, strerror(-r));
	net_switch_set_ageing(eth->sw, dc->ageing_s);
	net_shaper_set(&eth->shaper, dc->tx_mbps);
	if (dc->uplink.type == NET_UPLINK_NONE)
		return 0;
	return net_uplink_create(eth->sw, &dc->uplink, dev->s->pool, &eth->uplink, why, WHY_MAX);
}

static void eth_fini(struct device *dev)
{
	struct eth_device *eth = eth_device(dev);

	if (eth->uplink)
		net_uplink_destroy(eth->uplink);
	if (eth->sw)
		net_switch_destroy(eth->sw);
	free(eth->policies);
	free(eth->vf_pairs);
}

static void eth_tick(struct device *dev)
{
	net_switch_age(eth_device(dev)->sw);
}

static void eth_device_info(struct device *dev, struct device_info *out)
{
	struct eth_device *eth = eth_device(dev);

	out->mtu = dev->cfg.mtu;
	out->speed_mbps = dev->cfg.speed_mbps;
	out->tx_mbps = dev->cfg.tx_mbps;
	out->queue_pairs = dev->cfg.queue_pairs;
	out->uplink = &dev->cfg.uplink;
	out->uplink_port = eth->uplink ? net_uplink_port(eth->uplink) : NULL;
	out->net_switch = eth->sw;
}

static bool has_mac(const struct function *fn, const uint8_t mac[ETH_ALEN])
{
	struct net_port *port = fn ? virtio_net_port(eth_function(fn)->net) : NULL;

	return port && !memcmp(net_port_policy(port)->mac, mac, ETH_ALEN);
}

bool eth_mac_taken(const struct eth_device *eth, unsigned vf, const uint8_t mac[ETH_ALEN])
{
	const struct device *dev = &eth->dev;

	for (unsigned i = 0; i < dev->n_pfs; i++) {
		if (has_mac(dev->pfs[i].fn, mac))
			return true;
	}
	for (unsigned i = 0; i < dev->cfg.total_vfs; i++) {
		if (i == vf)
			continue;
		if (!memcmp(eth->policies[i].mac, mac, ETH_ALEN) || has_mac(dev->vfs[i], mac))
			return true;
	}
	return false;
}

int eth_set_vf_policy(struct eth_device *eth, unsigned vf, const struct net_policy *policy)
{
	struct function *fn = eth->dev.vfs[vf];
	int r;

	/* The switch knows the VFs that exist; one that comes later must not fail for its MAC. */
	if (memcmp(policy->mac, eth->policies[vf].mac, ETH_ALEN) &&
	    eth_mac_taken(eth, vf, policy->mac))
		return -EEXIST;
	if (fn) {
		r = virtio_net_set_policy(eth_function(fn)->net, policy);
		if (r)
			return r;
	}
	eth->policies[vf] = *policy;
	return 0;
}

int eth_set_policy(struct function *fn, const struct net_policy *policy, char why[WHY_MAX])
{
	int r = eth_check_rates(fn, policy, why);

	if (r)
		return r;
	if (fn->vf < 0)
		return virtio_net_set_policy(eth_function(fn)->net, policy);
	return eth_set_vf_policy(eth_device(fn->dev), fn->vf, policy);
}

const struct device_ops eth_ops = {
	.type = "ethernet",
	.device_size = sizeof(struct eth_device),
	.function_size = sizeof(struct eth_function),
	.init = eth_init,
	.fini = eth_fini,
	.tick = eth_tick,
	.function_create = eth_function_create,
	.function_destroy = eth_function_destroy,
	.function_set_poll = eth_function_set_poll,
	.io_fds = eth_function_io_fds,
	.device_info = eth_device_info,
	.function_info = eth_function_info,
	.frozen_change = eth_frozen_change,
	.check_reload = eth_check_reload,
	.apply_reload = eth_apply_reload,
};
