/* SPDX-License-Identifier: BSD-3-Clause */
/* A device of any type: one PF per root that has it, their VFs, and how many of these there are. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/device_internal.h"

static const struct device_ops *const types[] = {
	[DEVICE_ETHERNET] = &eth_ops,
	[DEVICE_NVME] = &nvme_ops,
};

/* What the file says of single VFs, spread over arrays by number; the rest gets defaults. */
static int vf_tables_create(struct device *dev, const struct config_device *dc)
{
	dev->vfs = calloc(dc->total_vfs + 1, sizeof(*dev->vfs));
	dev->vf_sockets = calloc(dc->total_vfs + 1, sizeof(*dev->vf_sockets));
	if (!dev->vfs || !dev->vf_sockets)
		return -ENOMEM;
	for (unsigned i = 0; i < dc->n_vfs; i++) {
		const struct config_vf *vf = &dc->vfs[i];

		if (vf->index >= dc->total_vfs)
			return -ERANGE;
		dev->vf_sockets[vf->index] = vf->socket;
	}
	return 0;
}

static int make_dir(const struct device *dev, char why[WHY_MAX])
{
	const char *name = dev->cfg.name;
	char dir[PATH_MAX];
	int r = 0;

	if (snprintf(dir, sizeof(dir), "%s/%s", dev->s->runtime_dir, name) >= (int)sizeof(dir))
		r = -ENAMETOOLONG;
	else if (mkdir(dir, 0755) && errno != EEXIST)
		r = -errno;
	if (r)
		why_set(why, r, "%s: cannot make the folder %s: %s", name, dir, strerror(-r));
	return r;
}

static void remove_dir(const struct device *dev)
{
	char dir[PATH_MAX];

	if (snprintf(dir, sizeof(dir), "%s/%s", dev->s->runtime_dir, dev->cfg.name) <
	    (int)sizeof(dir))
		rmdir(dir); /* stays if somebody put something else there */
}

static int pfs_plan(struct device *dev, const struct config *cfg, char why[WHY_MAX])
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

static int pfs_create(struct device *dev, char why[WHY_MAX])
{
	for (unsigned i = 0; i < dev->n_pfs; i++) {
		char name[16] = "pf";
		int r;

		if (dev->n_pfs > 1)
			snprintf(name, sizeof(name), "pf%u", i);
		dev->pfs[i].dev = dev;
		r = function_create_pf(&dev->pfs[i], name, why);
		if (r)
			return r;
	}
	return 0;
}

int device_create(struct softiov *s, const struct config *cfg, unsigned index, struct device **out,
		  char why[WHY_MAX])
{
	const struct config_device *dc = &cfg->devices[index];
	const struct device_ops *ops = types[dc->type];
	struct device *dev = calloc(1, ops->device_size);
	int r;

	if (!dev)
		return why_set(why, -ENOMEM, "%s: out of memory", dc->name);
	dev->s = s;
	dev->ops = ops;
	dev->cfg = *dc;
	dev->cfg.vfs = NULL;
	dev->cfg.n_vfs = 0;
	dev->cfg.nvme.namespaces = NULL;
	dev->cfg.nvme.n_namespaces = 0;
	r = vf_tables_create(dev, dc);
	if (r) {
		why_set(why, r, "%s: VF settings: %s", dc->name, strerror(-r));
		goto err;
	}
	r = pfs_plan(dev, cfg, why);
	if (!r)
		r = make_dir(dev, why);
	if (!r)
		r = ops->init(dev, dc, why);
	if (!r)
		r = pfs_create(dev, why);
	if (r)
		goto err;
	*out = dev;
	return 0;
err:
	device_destroy(dev);
	return r;
}

void device_destroy(struct device *dev)
{
	for (unsigned i = 0; i < dev->n_pfs; i++) {
		struct pf *pf = &dev->pfs[i];

		if (!pf->fn)
			continue;
		if (pf->in_root)
			root_remove_pf(pf->in_root, pf->fn->pci, true);
		for (unsigned v = pf->first_vf; v < pf->first_vf + pf->share; v++) {
			if (dev->vfs[v])
				function_destroy(dev->vfs[v]);
		}
		function_destroy(pf->fn);
	}
	dev->ops->fini(dev);
	remove_dir(dev);
	free(dev->pfs);
	free(dev->vfs);
	free(dev->vf_sockets);
	free(dev);
}

void devices_settle(struct device *dev)
{
	for (; dev; dev = dev->next) {
		if (dev->ops->settle)
			dev->ops->settle(dev);
	}
}

struct device *device_find(struct softiov *s, const char *name)
{
	struct device *dev;

	for (dev = s->devices; dev; dev = dev->next) {
		if (!strcmp(dev->cfg.name, name))
			return dev;
	}
	return NULL;
}

/* VFs that would go must not be in use, unless the caller insists. */
static int check_shrink(struct device *dev, uint16_t num, char why[WHY_MAX])
{
	for (unsigned i = num; i < dev->cfg.total_vfs; i++) {
		struct function_info info;

		if (!dev->vfs[i])
			continue;
		function_get_info(dev->vfs[i], &info);
		if (info.endpoint.connected)
			return why_set(why, -EBUSY,
				       "%s is attached to process %d; detach it there first, or "
				       "take it away with `softiov device set %s num-vfs %u "
				       "--force`",
				       info.name, (int)info.endpoint.pid, dev->cfg.name, num);
	}
	return 0;
}

int device_check_num_vfs(struct device *dev, const struct config_device *dc, uint16_t num,
			 bool force, char why[WHY_MAX])
{
	struct pf *pf = &dev->pfs[0];
	int r = 0;

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
	if (!force)
		r = check_shrink(dev, num, why);
	if (!r && dev->ops->check_num_vfs)
		r = dev->ops->check_num_vfs(dev, dc, num, why);
	return r;
}

int device_set_num_vfs(struct device *dev, uint16_t num, bool force, char why[WHY_MAX])
{
	struct pf *pf = &dev->pfs[0];
	int r = device_check_num_vfs(dev, NULL, num, force, why);

	if (r)
		return r;
	dev->vf_why[0] = '\0';
	r = pci_pf_set_num_vfs(pf->fn->pci, num);
	if (r)
		return why_set(why, r, "%s: cannot set num-vfs to %u: %s", dev->cfg.name, num,
			       dev->vf_why[0] ? dev->vf_why : strerror(-r));
	dev->cfg.num_vfs = num;
	return 0;
}

static unsigned count_vfs(const struct device *dev)
{
	unsigned n = 0;

	for (unsigned i = 0; i < dev->cfg.total_vfs; i++)
		n += dev->vfs[i] != NULL;
	return n;
}

void device_get_info(struct device *dev, struct device_info *out)
{
	*out = (struct device_info){
		.name = dev->cfg.name,
		.kind = dev->cfg.type,
		.type = dev->ops->type,
		.total_vfs = dev->cfg.total_vfs,
		.num_vfs = count_vfs(dev),
		.pfs = dev->n_pfs,
	};
	dev->ops->device_info(dev, out);
}
