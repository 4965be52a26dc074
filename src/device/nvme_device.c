/* SPDX-License-Identifier: BSD-3-Clause */
/* An NVMe device: its subsystem, a primary controller per PF, a secondary one per VF. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/nvme_private.h"
#include "util/log.h"

/* Where the file does not say. */
#define VF_QUEUES_DEFAULT     4
#define VF_QUEUES_MAX_DEFAULT 8

/* A VF's own setting; in a configuration to come, VFs that are not named keep theirs. */
static unsigned own_queues(const struct nvme_device *nd, const struct config_device *dc,
			   unsigned vf)
{
	for (unsigned i = 0; dc && i < dc->n_vfs; i++) {
		if (dc->vfs[i].index == vf)
			return dc->vfs[i].nvme_queues;
	}
	return nd->vf_queues[vf];
}

static const struct pf *pf_of(const struct device *dev, unsigned vf)
{
	unsigned i = 0;

	while (i + 1 < dev->n_pfs && vf >= dev->pfs[i].first_vf + dev->pfs[i].share)
		i++;
	return &dev->pfs[i];
}

unsigned nvme_vf_pairs(const struct nvme_device *nd, const struct config_device *dc, unsigned vf)
{
	unsigned own = own_queues(nd, dc, vf);
	unsigned all = dc ? dc->nvme.queues : nd->dev.cfg.nvme.queues;

	if (own || all)
		return own ? own : all;
	return pf_of(&nd->dev, vf)->root[0] ? 0 : MIN((unsigned)VF_QUEUES_DEFAULT, nd->max_pairs);
}

static unsigned max_pairs(const struct config_device *dc)
{
	unsigned n = MAX(dc->nvme.queues, (unsigned)VF_QUEUES_MAX_DEFAULT);

	if (dc->nvme.max_vf_queues)
		return dc->nvme.max_vf_queues;
	for (unsigned i = 0; i < dc->n_vfs; i++)
		n = MAX(n, dc->vfs[i].nvme_queues);
	return MIN(n, (unsigned)NVME_QUEUE_PAIRS_MAX);
}

/* A PF's part of the device's resources is as large as its part of the VFs. */
static unsigned flexible_of(const struct nvme_device *nd, const struct pf *pf)
{
	const struct config_device *cfg = &nd->dev.cfg;

	if (!cfg->nvme.flexible || !cfg->total_vfs)
		return pf->share * (nd->max_pairs + 1);
	return (uint64_t)cfg->nvme.flexible * pf->share / cfg->total_vfs;
}

int nvme_check_num_vfs(struct device *dev, const struct config_device *dc, uint16_t num,
		       char why[WHY_MAX])
{
	const struct nvme_device *nd = nvme_device(dev);
	unsigned have = flexible_of(nd, &dev->pfs[0]), need = 0;

	for (unsigned i = 0; i < num; i++) {
		unsigned pairs = nvme_vf_pairs(nd, dc, i);

		need += pairs ? pairs + 1 : 0;
	}
	if (need <= have)
		return 0;
	return why_set(why, -ENOSPC,
		       "%s: %u VFs with their queues take %u queue resources (each one more than "
		       "its queues), flexible-queues is %u; lower queues, or raise that in the "
		       "configuration and start the daemon again",
		       dev->cfg.name, num, need, have);
}

static int vf_tables_create(struct nvme_device *nd, const struct config_device *dc,
			    char why[WHY_MAX])
{
	nd->max_pairs = max_pairs(dc);
	nd->vf_queues = calloc(dc->total_vfs + 1, sizeof(*nd->vf_queues));
	nd->vf_limits = calloc(dc->total_vfs + 1, sizeof(*nd->vf_limits));
	nd->vf_limited = calloc(dc->total_vfs + 1, sizeof(*nd->vf_limited));
	if (!nd->vf_queues || !nd->vf_limits || !nd->vf_limited)
		return why_set(why, -ENOMEM, "%s: out of memory", dc->name);
	for (unsigned i = 0; i < dc->n_vfs; i++) {
		const struct config_vf *vf = &dc->vfs[i];

		nd->vf_queues[vf->index] = vf->nvme_queues;
		nd->vf_limited[vf->index] = vf->has_limits;
		if (vf->has_limits)
			nd->vf_limits[vf->index] = vf->limits;
	}
	for (unsigned i = 0; i < dc->total_vfs; i++) {
		unsigned pairs = nvme_vf_pairs(nd, NULL, i);

		if (pairs > nd->max_pairs)
			return why_set(why, -ERANGE,
				       "%s/vf%u: %u queues, but max-vf-queues is %u; raise that or "
				       "lower its queues",
				       dc->name, i, pairs, nd->max_pairs);
	}
	return 0;
}

static int namespaces_create(struct nvme_device *nd, const struct config_device *dc,
			     char why[WHY_MAX])
{
	int r = 0;

	for (unsigned i = 0; !r && i < dc->nvme.n_namespaces; i++) {
		const struct config_namespace *cn = &dc->nvme.namespaces[i];
		struct nvme_record *rec = NULL;

		r = nvme_record_create(nd, cn, &rec, why);
		if (!r)
			r = nvme_record_attach(nd, rec, cn, false, why);
	}
	return r;
}

/* fini() undoes what was done when this fails. */
static int nvme_init(struct device *dev, const struct config_device *dc, char why[WHY_MAX])
{
	struct nvme_device *nd = nvme_device(dev);
	struct nvme_subsystem_config cfg = {
		.name = dev->cfg.name,
		.nqn = dc->nvme.nqn,
		.serial = dc->nvme.serial,
		.model = dc->nvme.model,
		.max_namespaces = dc->nvme.max_namespaces,
		.pool = dev->s->pool,
		.ns_pool = dc->nvme.ns_pool,
	};
	int r = vf_tables_create(nd, dc, why);

	if (r)
		return r;
	r = nvme_subsystem_create(&cfg, &nd->subsystem);
	if (r)
		return why_set(why, r, "%s: cannot make its subsystem: %s", dc->name, strerror(-r));
	return namespaces_create(nd, dc, why);
}

static void nvme_fini(struct device *dev)
{
	struct nvme_device *nd = nvme_device(dev);

	while (nd->records) {
		if (nd->records->fresh)
			nvme_record_drop(nd, nd->records, true);
		else
			nvme_record_forget(nd, nd->records);
	}
	if (nd->subsystem)
		nvme_subsystem_destroy(nd->subsystem);
	free(nd->vf_queues);
	free(nd->vf_limits);
	free(nd->vf_limited);
}

static void nvme_settle(struct device *dev)
{
	for (struct nvme_record *rec = nvme_device(dev)->records; rec; rec = rec->next)
		rec->fresh = false;
}

static void fill_pf(struct function *fn, struct nvme_ctrl_config *cfg)
{
	struct nvme_device *nd = nvme_device(fn->dev);
	struct pf *pf = fn->pf;

	cfg->cntlid = NVME_CNTLID_PF(pf - fn->dev->pfs);
	cfg->total_vfs = pf->share;
	cfg->first_vf_cntlid = NVME_CNTLID_VF(pf->first_vf);
	cfg->queue_pairs = fn->dev->cfg.nvme.pf_queues;
	cfg->flexible = flexible_of(nd, pf);
	cfg->flexible_per_vf = nd->max_pairs + 1;
	cfg->managed = !pf->root[0];
	cfg->sriov_enable = function_sriov_enable;
	cfg->sriov_disable = function_sriov_disable;
	cfg->opaque = pf;
}

/* Queues come before the controller: its MSI-X table is as large as they make it. */
static int fill_vf(struct function *fn, struct nvme_ctrl_config *cfg, char why[WHY_MAX])
{
	struct nvme_device *nd = nvme_device(fn->dev);
	unsigned pairs = nvme_vf_pairs(nd, NULL, fn->vf);
	char reason[WHY_MAX - FUNCTION_NAME_MAX] = "";
	int r;

	cfg->cntlid = NVME_CNTLID_VF(fn->vf);
	cfg->primary = nvme_function(fn->pf->fn)->ctrl;
	cfg->vf_index = fn->vf - fn->pf->first_vf;
	cfg->limits = nd->vf_limits[fn->vf];
	if (!pairs)
		return 0;
	r = nvme_secondary_assign(cfg->primary, cfg->vf_index, pairs, reason, sizeof(reason));
	if (r) {
		why_set(why, r, "%s: %s", fn->name, reason[0] ? reason : strerror(-r));
		if (!fn->pf->root[0])
			return r;
		/* The root's administrator has made other use of the resources. */
		log_warn("%s; it stays offline", why);
		why[0] = '\0';
		return 0;
	}
	nvme_function(fn)->assigned = true;
	return 0;
}

/* The VF goes, or could not be made: its queues are free for others. */
static void take_queues(struct function *fn)
{
	char why[WHY_MAX] = "";
	int r;

	if (!nvme_function(fn)->assigned)
		return;
	r = nvme_secondary_assign(nvme_function(fn->pf->fn)->ctrl, fn->vf - fn->pf->first_vf, 0,
				  why, sizeof(why));
	if (r)
		log_warn("%s: its queues are not free: %s", fn->name, why[0] ? why : strerror(-r));
}

static int nvme_function_create(struct function *fn, char why[WHY_MAX])
{
	struct nvme_function *nf = nvme_function(fn);
	const struct config_nvme *dc = &fn->dev->cfg.nvme;
	struct nvme_ctrl_config cfg = {
		.name = fn->name,
		.subsystem = nvme_device(fn->dev)->subsystem,
		.queue_size = dc->queue_size,
		.no_doorbell_buffer = !dc->doorbell_buffer,
		.register_memory = dc->register_memory,
		.poll = fn->dev->cfg.poll,
	};
	int r = 0;

	if (fn->vf < 0)
		fill_pf(fn, &cfg);
	else
		r = fill_vf(fn, &cfg, why);
	if (r)
		return r;
	r = nvme_ctrl_create(&cfg, &nf->ctrl);
	if (r) {
		take_queues(fn);
		return r;
	}
	fn->pci = nvme_ctrl_function(nf->ctrl);
	return 0;
}

static void nvme_function_destroy(struct function *fn)
{
	nvme_ctrl_destroy(nvme_function(fn)->ctrl);
	take_queues(fn);
}

static void nvme_device_info(struct device *dev, struct device_info *out)
{
	nvme_subsystem_get_info(nvme_device(dev)->subsystem, &out->nvme);
	out->nvme_config = &dev->cfg.nvme;
}

static void nvme_function_info(struct function *fn, struct function_info *out)
{
	out->ctrl = nvme_function(fn)->ctrl;
	out->memory = sizeof(struct nvme_function) + nvme_ctrl_memory(out->ctrl);
	nvme_ctrl_get_status(out->ctrl, &out->nvme);
}

int nvme_set_vf_limits(struct nvme_device *nd, unsigned vf, const struct nvme_limits *lim)
{
	struct function *fn = nd->dev.vfs[vf];
	int r = fn ? nvme_ctrl_set_limits(nvme_function(fn)->ctrl, lim) : 0;

	if (!r)
		nd->vf_limits[vf] = *lim;
	return r;
}

static void nvme_function_set_poll(struct function *fn, enum poller_policy policy)
{
	nvme_ctrl_set_poll(nvme_function(fn)->ctrl, policy);
}

const struct device_ops nvme_ops = {
	.type = "nvme",
	.device_size = sizeof(struct nvme_device),
	.function_size = sizeof(struct nvme_function),
	.init = nvme_init,
	.fini = nvme_fini,
	.settle = nvme_settle,
	.function_create = nvme_function_create,
	.function_destroy = nvme_function_destroy,
	.function_set_poll = nvme_function_set_poll,
	.device_info = nvme_device_info,
	.function_info = nvme_function_info,
	.check_num_vfs = nvme_check_num_vfs,
	.frozen_change = nvme_frozen_change,
	.check_reload = nvme_check_reload,
	.prepare_reload = nvme_prepare_reload,
	.undo_reload = nvme_undo_reload,
	.apply_reload = nvme_apply_reload,
};
