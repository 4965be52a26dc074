/* SPDX-License-Identifier: BSD-3-Clause */
/* Transmit rates of a device: what it guarantees its functions must not be more than it has. */
#include <errno.h>

#include "device/eth_private.h"

static const struct net_policy *pf_policy(const struct eth_device *eth, unsigned pf)
{
	return net_port_policy(virtio_net_port(eth_function(eth->dev.pfs[pf].fn)->net));
}

/* Mb/s guaranteed now, to VFs that do not exist yet, too. */
static uint64_t guaranteed(const struct eth_device *eth)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < eth->dev.n_pfs; i++)
		sum += pf_policy(eth, i)->min_tx_mbps;
	for (unsigned i = 0; i < eth->dev.cfg.total_vfs; i++)
		sum += eth->policies[i].min_tx_mbps;
	return sum;
}

int eth_check_rates(const struct function *fn, const struct net_policy *policy, char why[WHY_MAX])
{
	const struct eth_device *eth = eth_device(fn->dev);
	const struct device *dev = fn->dev;
	const struct net_policy *old =
		fn->vf < 0 ? pf_policy(eth, fn->pf - dev->pfs) : &eth->policies[fn->vf];
	uint64_t sum = guaranteed(eth) - old->min_tx_mbps + policy->min_tx_mbps;

	/* What guarantees less than before is never refused. */
	if (!dev->cfg.tx_mbps || sum <= dev->cfg.tx_mbps || policy->min_tx_mbps <= old->min_tx_mbps)
		return 0;
	return why_set(why, -ERANGE,
		       "%s: with min-tx-rate %u the functions of %s are guaranteed %llu Mb/s, its "
		       "tx-rate is %u: lower one's min-tx-rate, or raise tx-rate in the "
		       "configuration and reload",
		       fn->name, policy->min_tx_mbps, dev->cfg.name, (unsigned long long)sum,
		       dev->cfg.tx_mbps);
}

/* True when the file gives PFs others than it did: what was set live stays else. */
static bool pf_rates_change(const struct config_device *a, const struct config_device *b)
{
	return a->pf_max_tx_mbps != b->pf_max_tx_mbps || a->pf_min_tx_mbps != b->pf_min_tx_mbps;
}

int eth_check_reload_rates(const struct eth_device *eth, const struct config_device *dc,
			   char why[WHY_MAX])
{
	const struct device *dev = &eth->dev;
	uint64_t sum = guaranteed(eth);

	for (unsigned i = 0; i < dc->n_vfs; i++)
		sum += (uint64_t)dc->vfs[i].policy.min_tx_mbps -
		       eth->policies[dc->vfs[i].index].min_tx_mbps;
	for (unsigned i = 0; i < dev->n_pfs && pf_rates_change(&dev->cfg, dc); i++)
		sum += (uint64_t)dc->pf_min_tx_mbps - pf_policy(eth, i)->min_tx_mbps;
	if (!dc->tx_mbps || sum <= dc->tx_mbps)
		return 0;
	return why_set(why, -ERANGE,
		       "%s: tx-rate is %u Mb/s, but with what was set live its functions are "
		       "guaranteed %llu: raise it, or lower min-tx-rate (softiov show %s)",
		       dc->name, dc->tx_mbps, (unsigned long long)sum, dc->name);
}

static void device_rate_apply(struct eth_device *eth, uint32_t mbps)
{
	struct device *dev = &eth->dev;

	dev->cfg.tx_mbps = mbps;
	net_shaper_set(&eth->shaper, mbps);
	for (unsigned i = 0; i < dev->n_pfs; i++)
		virtio_net_shaper_changed(eth_function(dev->pfs[i].fn)->net);
	for (unsigned i = 0; i < dev->cfg.total_vfs; i++)
		if (dev->vfs[i])
			virtio_net_shaper_changed(eth_function(dev->vfs[i])->net);
}

int eth_apply_reload_rates(struct eth_device *eth, const struct config_device *dc)
{
	struct device *dev = &eth->dev;
	int r = 0;

	for (unsigned i = 0; i < dev->n_pfs && !r && pf_rates_change(&dev->cfg, dc); i++) {
		struct net_policy p = *pf_policy(eth, i);

		p.max_tx_mbps = dc->pf_max_tx_mbps;
		p.min_tx_mbps = dc->pf_min_tx_mbps;
		r = virtio_net_set_policy(eth_function(dev->pfs[i].fn)->net, &p);
	}
	dev->cfg.pf_max_tx_mbps = dc->pf_max_tx_mbps;
	dev->cfg.pf_min_tx_mbps = dc->pf_min_tx_mbps;
	if (dc->tx_mbps != dev->cfg.tx_mbps)
		device_rate_apply(eth, dc->tx_mbps);
	return r;
}
