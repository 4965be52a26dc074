/* SPDX-License-Identifier: BSD-3-Clause */
/* An Ethernet device: a switch, an uplink, one PF per root that has it, and their VFs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/device_internal.h"
#include "util/log.h"
#include "util/util.h"

static bool mac_is_zero(const uint8_t *mac)
{
	static const uint8_t zero[ETH_ALEN];

	return !memcmp(mac, zero, ETH_ALEN);
}

static bool mac_is_taken(const struct eth_device *dev, const struct config_device *cfg,
			 const uint8_t *mac)
{
	if (!memcmp(cfg->mac, mac, ETH_ALEN))
		return true;
	for (unsigned i = 0; i < cfg->total_vfs; i++) {
		if (!memcmp(dev->policies[i].mac, mac, ETH_ALEN))
			return true;
	}
	return false;
}

/* A generated address that the configuration does not use elsewhere. */
static void mac_pick(const struct eth_device *dev, unsigned index, uint8_t mac[ETH_ALEN])
{
	uint8_t m[ETH_ALEN];

	do {
		mac_generate(dev->cfg.name, index, m);
		index += CONFIG_VFS_MAX + CONFIG_ROOTS_MAX;
	} while (mac_is_taken(dev, &dev->cfg, m));
	memcpy(mac, m, ETH_ALEN);
}

/* What the file says of single VFs, spread over arrays by number; the rest gets defaults. */
static int vf_tables_create(struct eth_device *dev, const struct config_device *cfg)
{
	dev->vfs = calloc(cfg->total_vfs + 1, sizeof(*dev->vfs));
	dev->policies = calloc(cfg->total_vfs + 1, sizeof(*dev->policies));
	dev->vf_pairs = calloc(cfg->total_vfs + 1, sizeof(*dev->vf_pairs));
	dev->vf_sockets = calloc(cfg->total_vfs + 1, sizeof(*dev->vf_sockets));
	if (!dev->vfs || !dev->policies || !dev->vf_pairs || !dev->vf_sockets)
		return -ENOMEM;
	for (unsigned i = 0; i < cfg->total_vfs; i++)
		net_policy_init(&dev->policies[i]);
	for (unsigned i = 0; i < cfg->n_vfs; i++) {
		const struct config_vf *vf = &cfg->vfs[i];

		if (vf->index >= cfg->total_vfs)
			return -ERANGE;
		dev->policies[vf->index] = vf->policy;
		dev->vf_pairs[vf->index] = vf->queue_pairs;
		dev->vf_sockets[vf->index] = vf->socket;
	}
	for (unsigned i = 0; i < cfg->total_vfs; i++) {
		if (mac_is_zero(dev->policies[i].mac))
			mac_pick(dev, CONFIG_ROOTS_MAX + i, dev->policies[i].mac);
	}
	return 0;
}

static int make_dir(const char *path)
{
	if (!mkdir(path, 0755) || errno == EEXIST)
		return 0;
	return -errno;
}

static void pf_policy(const struct eth_device *dev, unsigned i, struct net_policy *p)
{
	net_policy_init(p);
	if (!i && !mac_is_zero(dev->cfg.mac)) {
		memcpy(p->mac, dev->cfg.mac, ETH_ALEN);
		p->mac_by_admin = true;
	} else {
		mac_pick(dev, i, p->mac);
	}
	p->trust = true;
	/* The only PF is the trusted partition's. PFs of several roots are tenants of each other.
	 */
	p->spoof_check = dev->n_pfs > 1;
}

static int pfs_create(struct eth_device *dev, char why[WHY_MAX])
{
	for (unsigned i = 0; i < dev->n_pfs; i++) {
		struct net_policy policy;
		char name[16] = "pf";
		int r;

		if (dev->n_pfs > 1)
			snprintf(name, sizeof(name), "pf%u", i);
		dev->pfs[i].dev = dev;
		pf_policy(dev, i, &policy);
		r = eth_function_create_pf(&dev->pfs[i], name, &policy, why);
		if (r)
			return r;
	}
	return 0;
}

static int pfs_plan(struct eth_device *dev, const struct config *cfg, char why[WHY_MAX])
{
	int n;

	dev->pfs = calloc(CONFIG_ROOTS_MAX, sizeof(*dev->pfs));
	if (!dev->pfs)
		return why_set(why, -ENOMEM, "%s: out of memory", dev->cfg.name);
	n = shares_plan(cfg, &dev->cfg, dev->pfs, CONFIG_ROOTS_MAX, why);
	if (n < 0)
		return n;
	dev->n_pfs = n;
	return 0;
}

int eth_device_create(struct softiov *s, const struct config *cfg, unsigned index,
		      struct eth_device **out, char why[WHY_MAX])
{
	const struct config_device *dc = &cfg->devices[index];
	struct eth_device *dev = calloc(1, sizeof(*dev));
	char dir[PATH_MAX];
	int r;

	if (!dev)
		return why_set(why, -ENOMEM, "%s: out of memory", dc->name);
	dev->s = s;
	dev->cfg = *dc;
	dev->cfg.vfs = NULL;
	dev->cfg.n_vfs = 0;
	r = vf_tables_create(dev, dc);
	if (r) {
		why_set(why, r, "%s: VF settings: %s", dc->name, strerror(-r));
		goto err;
	}
	r = pfs_plan(dev, cfg, why);
	if (r)
		goto err;
	if (snprintf(dir, sizeof(dir), "%s/%s", s->runtime_dir, dc->name) >= (int)sizeof(dir))
		r = -ENAMETOOLONG;
	else
		r = make_dir(dir);
	if (r) {
		why_set(why, r, "%s: cannot make the folder %s: %s", dc->name, dir, strerror(-r));
		goto err;
	}
	r = net_switch_create(dc->name, &dev->sw);
	if (r) {
		why_set(why, r, "%s: cannot make its switch: %s", dc->name, strerror(-r));
		goto err;
	}
	net_switch_set_ageing(dev->sw, dc->ageing_s);
	if (dc->uplink.type != NET_UPLINK_NONE) {
		r = net_uplink_create(dev->sw, &dc->uplink, s->pool, &dev->uplink, why, WHY_MAX);
		if (r)
			goto err;
	}
	r = pfs_create(dev, why);
	if (r)
		goto err;
	*out = dev;
	return 0;
err:
	eth_device_destroy(dev);
	return r;
}

static void remove_dir(const struct eth_device *dev)
{
	char dir[PATH_MAX];

	if (snprintf(dir, sizeof(dir), "%s/%s", dev->s->runtime_dir, dev->cfg.name) <
	    (int)sizeof(dir))
		rmdir(dir); /* stays if somebody put something else there */
}

void eth_device_destroy(struct eth_device *dev)
{
	for (unsigned i = 0; i < dev->n_pfs; i++) {
		struct eth_pf *pf = &dev->pfs[i];

		if (!pf->fn)
			continue;
		if (pf->in_root)
			root_remove_pf(pf->in_root, virtio_net_function(pf->fn->net), true);
		for (unsigned v = pf->first_vf; v < pf->first_vf + pf->share; v++) {
			if (dev->vfs[v])
				eth_function_destroy(dev->vfs[v]);
		}
		eth_function_destroy(pf->fn);
	}
	if (dev->uplink)
		net_uplink_destroy(dev->uplink);
	if (dev->sw)
		net_switch_destroy(dev->sw);
	remove_dir(dev);
	free(dev->pfs);
	free(dev->vfs);
	free(dev->policies);
	free(dev->vf_pairs);
	free(dev->vf_sockets);
	free(dev);
}

struct eth_device *eth_device_find(struct softiov *s, const char *name)
{
	struct eth_device *dev;

	for (dev = s->devices; dev; dev = dev->next) {
		if (!strcmp(dev->cfg.name, name))
			return dev;
	}
	return NULL;
}

struct eth_function *eth_function_find(struct softiov *s, const char *name)
{
	for (struct eth_device *dev = s->devices; dev; dev = dev->next) {
		for (unsigned i = 0; i < dev->n_pfs; i++) {
			if (!strcmp(dev->pfs[i].fn->name, name))
				return dev->pfs[i].fn;
		}
		for (unsigned i = 0; i < dev->cfg.total_vfs; i++) {
			if (dev->vfs[i] && !strcmp(dev->vfs[i]->name, name))
				return dev->vfs[i];
		}
	}
	return NULL;
}

/* VFs that would go must not be in use, unless the caller insists. */
static int check_shrink(struct eth_device *dev, uint16_t num, char why[WHY_MAX])
{
	for (unsigned i = num; i < dev->cfg.total_vfs; i++) {
		struct function_info info;

		if (!dev->vfs[i])
			continue;
		eth_function_info(dev->vfs[i], &info);
		if (info.endpoint.connected)
			return why_set(why, -EBUSY,
				       "%s is attached to process %d; detach it there first, or "
				       "take it away with `softiov device set %s num-vfs %u "
				       "--force`",
				       info.name, (int)info.endpoint.pid, dev->cfg.name, num);
	}
	return 0;
}

int eth_device_check_num_vfs(struct eth_device *dev, uint16_t num, bool force, char why[WHY_MAX])
{
	struct eth_pf *pf = &dev->pfs[0];

	if (pf->root[0])
		return why_set(why, -EBUSY,
			       "%s: its VFs are governed by the kernel of root %s; write "
			       "sriov_numvfs there",
			       dev->cfg.name, pf->root);
	if (num > dev->cfg.total_vfs)
		return why_set(why, -ERANGE,
			       "%s: num-vfs %u exceeds total-vfs %u; raise that in the "
			       "configuration and start the daemon again",
			       dev->cfg.name, num, dev->cfg.total_vfs);
	return force ? 0 : check_shrink(dev, num, why);
}

int eth_device_set_num_vfs(struct eth_device *dev, uint16_t num, bool force, char why[WHY_MAX])
{
	struct eth_pf *pf = &dev->pfs[0];
	int r = eth_device_check_num_vfs(dev, num, force, why);

	if (r)
		return r;
	r = pci_pf_set_num_vfs(virtio_net_function(pf->fn->net), num);
	if (r)
		return why_set(why, r, "%s: cannot set num-vfs to %u: %s", dev->cfg.name, num,
			       strerror(-r));
	dev->cfg.num_vfs = num;
	return 0;
}

static bool has_mac(const struct eth_function *fn, const uint8_t mac[ETH_ALEN])
{
	return fn && !memcmp(net_port_policy(virtio_net_port(fn->net))->mac, mac, ETH_ALEN);
}

bool eth_device_mac_taken(const struct eth_device *dev, unsigned vf, const uint8_t mac[ETH_ALEN])
{
	for (unsigned i = 0; i < dev->n_pfs; i++) {
		if (has_mac(dev->pfs[i].fn, mac))
			return true;
	}
	for (unsigned i = 0; i < dev->cfg.total_vfs; i++) {
		if (i == vf)
			continue;
		if (!memcmp(dev->policies[i].mac, mac, ETH_ALEN) || has_mac(dev->vfs[i], mac))
			return true;
	}
	return false;
}

int eth_device_set_vf_policy(struct eth_device *dev, unsigned vf, const struct net_policy *policy)
{
	int r;

	/* The switch knows the VFs that exist; one that comes later must not fail for its MAC. */
	if (memcmp(policy->mac, dev->policies[vf].mac, ETH_ALEN) &&
	    eth_device_mac_taken(dev, vf, policy->mac))
		return -EEXIST;
	if (dev->vfs[vf]) {
		r = virtio_net_set_policy(dev->vfs[vf]->net, policy);
		if (r)
			return r;
	}
	dev->policies[vf] = *policy;
	return 0;
}
