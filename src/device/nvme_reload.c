/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a new configuration changes in an NVMe device, and what it cannot. Namespaces that the file
 * did not make, and attachments that it did not name, are left alone: an administrator made them
 * live, or a root's kernel.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "device/nvme_private.h"

static bool same_pool(const struct nvme_pool_config *a, const struct nvme_pool_config *b)
{
	return a->kind == b->kind && !strcmp(a->directory, b->directory);
}

const char *nvme_frozen_change(const struct device *dev, const struct config_device *dc)
{
	const struct config_nvme *a = &dev->cfg.nvme, *b = &dc->nvme;

	if (strcmp(a->serial, b->serial))
		return "serial";
	if (strcmp(a->model, b->model))
		return "model";
	if (strcmp(a->nqn, b->nqn))
		return "nqn";
	if (a->max_namespaces != b->max_namespaces)
		return "max-namespaces";
	if (a->pf_queues != b->pf_queues)
		return "pf-queues";
	if (a->flexible != b->flexible)
		return "flexible-queues";
	if (a->max_vf_queues != b->max_vf_queues)
		return "max-vf-queues";
	if (a->queue_size != b->queue_size)
		return "queue-size";
	if (a->doorbell_buffer != b->doorbell_buffer)
		return "doorbell-buffer";
	if (a->register_memory != b->register_memory)
		return "register-memory";
	if (!same_pool(&a->ns_pool, &b->ns_pool))
		return "the place of namespace-pool";
	return NULL;
}

/* --- checks --- */

static int check_queues(const struct nvme_device *nd, const struct config_device *dc,
			char why[WHY_MAX])
{
	for (unsigned i = 0; i < dc->total_vfs; i++) {
		unsigned pairs = nvme_vf_pairs(nd, dc, i);

		if (pairs == nvme_vf_pairs(nd, NULL, i))
			continue;
		if (nd->dev.vfs[i])
			return why_set(why, -EBUSY,
				       "%s: queues of vf%u cannot change while it exists", dc->name,
				       i);
		if (pairs > nd->max_pairs)
			return why_set(
				why, -ERANGE,
				"%s: %u queues of vf%u are more than max-vf-queues, %u since the "
				"start; lower them or restart the daemon",
				dc->name, pairs, i, nd->max_pairs);
	}
	return 0;
}

/* The first setting of a namespace that cannot change while it exists; NULL: none. */
static const char *frozen_namespace(const struct config_namespace *a,
				    const struct config_namespace *b)
{
	if (a->from_pool != b->from_pool || a->backend.type != b->backend.type ||
	    strcmp(a->backend.target, b->backend.target))
		return "the backend";
	if (a->backend.read_only != b->backend.read_only)
		return "read-only";
	if (a->backend.direct != b->backend.direct)
		return "direct";
	if (a->backend.preallocate != b->backend.preallocate)
		return "preallocate";
	if (a->block_size != b->block_size)
		return "block-size";
	if (strcmp(a->uuid, b->uuid))
		return "uuid";
	if (strcmp(a->reservations, b->reservations))
		return "reservations";
	return NULL;
}

static bool sized_by_itself(const struct config_namespace *cn)
{
	return !cn->from_pool &&
	       (cn->backend.type == BLOCK_DEVICE || cn->backend.type == BLOCK_NBD);
}

static int check_size(const struct nvme_device *nd, const struct config_namespace *was,
		      const struct config_namespace *cn, const struct nvme_ns_info *info,
		      char why[WHY_MAX])
{
	if (cn->backend.size == was->backend.size)
		return 0;
	if (sized_by_itself(cn))
		return why_set(why, -EBUSY,
			       "%s/ns%u: its size comes from its backend and cannot change while "
			       "running; restart the daemon",
			       nd->dev.cfg.name, cn->nsid);
	if (cn->backend.size && cn->backend.size < info->size)
		return why_set(
			why, -EBUSY,
			"%s/ns%u: a reload does not shrink it from %" PRIu64 " to %" PRIu64
			" bytes, what lies there would be lost; use `softiov ns resize --force`, "
			"or give its size in the file",
			nd->dev.cfg.name, cn->nsid, info->size, cn->backend.size);
	return 0;
}

static int check_namespace(const struct nvme_device *nd, const struct config_namespace *cn,
			   char why[WHY_MAX])
{
	struct nvme_record *rec = nvme_record_find(nd, cn->nsid);
	struct nvme_ns_info info;
	const char *what;

	if (!rec || !nvme_record_alive(nd, rec, &info)) {
		if (!nvme_ns_get_info(nd->subsystem, cn->nsid, &info))
			return why_set(
				why, -EEXIST,
				"%s/ns%u exists already, but not from the configuration; "
				"give another nsid in the file, or delete it first: `softiov ns "
				"delete %s/ns%u`",
				nd->dev.cfg.name, cn->nsid, nd->dev.cfg.name, cn->nsid);
		return 0;
	}
	what = frozen_namespace(&rec->cfg, cn);
	if (what)
		return why_set(why, -EBUSY,
			       "%s/ns%u: %s cannot change while it exists; restart the daemon, or "
			       "delete it first: `softiov ns delete %s/ns%u`",
			       nd->dev.cfg.name, cn->nsid, what, nd->dev.cfg.name, cn->nsid);
	return check_size(nd, &rec->cfg, cn, &info, why);
}

/* What is made is made before what goes gives anything back. */
static int check_pool(const struct nvme_device *nd, const struct config_device *dc,
		      char why[WHY_MAX])
{
	struct nvme_subsystem_info ss;
	uint64_t need = 0, left;

	for (unsigned i = 0; i < dc->nvme.n_namespaces; i++) {
		const struct config_namespace *cn = &dc->nvme.namespaces[i];
		struct nvme_record *rec = nvme_record_find(nd, cn->nsid);
		struct nvme_ns_info info = {.size = 0};

		if (!cn->from_pool)
			continue;
		if (rec && !nvme_record_alive(nd, rec, &info))
			info.size = 0;
		need += cn->backend.size > info.size ? cn->backend.size - info.size : 0;
	}
	nvme_subsystem_get_info(nd->subsystem, &ss);
	left = dc->nvme.ns_pool.capacity > ss.pool_used ? dc->nvme.ns_pool.capacity - ss.pool_used
							: 0;
	if (need <= left)
		return 0;
	return why_set(why, -ENOSPC,
		       "%s: its namespaces need %" PRIu64
		       " bytes more of the pool, which has %" PRIu64
		       " left; raise its capacity, or delete a namespace first",
		       dc->name, need, left);
}

static const struct function *function_of(const struct device *dev, uint16_t cntlid)
{
	for (unsigned i = 0; i < dev->n_pfs; i++) {
		if (NVME_CNTLID_PF(i) == cntlid)
			return dev->pfs[i].fn;
	}
	for (unsigned i = 0; i < dev->cfg.total_vfs; i++) {
		if (NVME_CNTLID_VF(i) == cntlid)
			return dev->vfs[i];
	}
	return NULL;
}

/* A disk is not pulled from under a VM by a section that is missing in a file. */
static int check_gone(const struct nvme_device *nd, const struct nvme_record *rec,
		      char why[WHY_MAX])
{
	struct nvme_ns_info info;

	if (!nvme_record_alive(nd, rec, &info))
		return 0;
	for (unsigned i = 0; i < info.n_attached; i++) {
		const struct function *fn = function_of(&nd->dev, info.attached[i]);

		if (fn && function_attached(fn))
			return why_set(
				why, -EBUSY,
				"%s/ns%u: cannot be removed, %s is in a VM and has it; take it "
				"away first: `softiov ns detach %s/ns%u all`",
				nd->dev.cfg.name, rec->cfg.nsid, fn->name, nd->dev.cfg.name,
				rec->cfg.nsid);
	}
	return 0;
}

static const struct config_namespace *find_namespace(const struct config_device *dc, uint32_t nsid)
{
	for (unsigned i = 0; i < dc->nvme.n_namespaces; i++) {
		if (dc->nvme.namespaces[i].nsid == nsid)
			return &dc->nvme.namespaces[i];
	}
	return NULL;
}

int nvme_check_reload(struct device *dev, const struct config_device *dc, char why[WHY_MAX])
{
	struct nvme_device *nd = nvme_device(dev);
	int r = check_queues(nd, dc, why);

	for (unsigned i = 0; !r && i < dc->nvme.n_namespaces; i++)
		r = check_namespace(nd, &dc->nvme.namespaces[i], why);
	if (!r)
		r = check_pool(nd, dc, why);
	for (struct nvme_record *rec = nd->records; !r && rec; rec = rec->next) {
		if (!find_namespace(dc, rec->cfg.nsid))
			r = check_gone(nd, rec, why);
	}
	return r;
}

/* --- what is new --- */

int nvme_prepare_reload(struct device *dev, const struct config_device *dc, char why[WHY_MAX])
{
	struct nvme_device *nd = nvme_device(dev);

	if (dc->nvme.ns_pool.capacity > dev->cfg.nvme.ns_pool.capacity)
		nvme_subsystem_set_pool_capacity(nd->subsystem, dc->nvme.ns_pool.capacity);
	for (unsigned i = 0; i < dc->nvme.n_namespaces; i++) {
		const struct config_namespace *cn = &dc->nvme.namespaces[i];
		struct nvme_record *rec = nvme_record_find(nd, cn->nsid);
		struct nvme_ns_info info;
		int r;

		if (rec && nvme_record_alive(nd, rec, &info))
			continue;
		if (rec)
			nvme_record_forget(nd, rec);
		r = nvme_record_create(nd, cn, &rec, why);
		if (r)
			return r;
	}
	return 0;
}

void nvme_undo_reload(struct device *dev)
{
	struct nvme_device *nd = nvme_device(dev);
	struct nvme_record *next;

	for (struct nvme_record *rec = nd->records; rec; rec = next) {
		next = rec->next;
		if (rec->fresh)
			nvme_record_drop(nd, rec, true);
	}
	nvme_subsystem_set_pool_capacity(nd->subsystem, dev->cfg.nvme.ns_pool.capacity);
}

/* --- what stays --- */

static bool is_limited(const struct nvme_limits *lim)
{
	return lim->iops || lim->bandwidth;
}

/* Limits that the file does not give, and never gave, may have been set live. */
static int apply_limits(struct nvme_device *nd, const struct nvme_record *rec,
			const struct config_namespace *cn)
{
	if (!is_limited(&cn->limits) && !is_limited(&rec->cfg.limits))
		return 0;
	return nvme_ns_set_limits(nd->subsystem, cn->nsid, &cn->limits);
}

static int apply_namespace(struct nvme_device *nd, struct nvme_record *rec,
			   const struct config_namespace *cn, char why[WHY_MAX])
{
	struct nvme_ns_info info;
	int r = 0;

	why[0] = '\0';
	if (!rec->fresh && !sized_by_itself(cn) && nvme_record_alive(nd, rec, &info) &&
	    cn->backend.size > info.size)
		r = nvme_ns_resize(nd->subsystem, cn->nsid, cn->backend.size, why, WHY_MAX);
	if (!r)
		r = apply_limits(nd, rec, cn);
	if (!r)
		r = nvme_record_attach(nd, rec, cn, !rec->fresh, why);
	if (!r)
		r = nvme_record_update(rec, cn);
	rec->fresh = false;
	if (r && !why[0])
		why_set(why, r, "%s/ns%u: %s", nd->dev.cfg.name, cn->nsid, strerror(-r));
	return r;
}

/* Goes on after an error, and tells of the first. */
static int apply_namespaces(struct nvme_device *nd, const struct config_device *dc,
			    char why[WHY_MAX])
{
	struct nvme_record *next;
	char other[WHY_MAX];
	int r = 0;

	for (struct nvme_record *rec = nd->records; rec; rec = next) {
		const struct config_namespace *cn = find_namespace(dc, rec->cfg.nsid);
		int err = 0;

		next = rec->next;
		if (cn)
			err = apply_namespace(nd, rec, cn, r ? other : why);
		else
			nvme_record_drop(nd, rec, false);
		if (!r)
			r = err;
	}
	return r;
}

/* VFs that the file does not name keep what they have. */
static int apply_vfs(struct nvme_device *nd, const struct config_device *dc, char why[WHY_MAX])
{
	static const struct nvme_limits none;

	for (unsigned i = 0; i < dc->n_vfs; i++) {
		const struct config_vf *vf = &dc->vfs[i];
		int r = 0;

		nd->vf_queues[vf->index] = vf->nvme_queues;
		if (vf->has_limits || nd->vf_limited[vf->index])
			r = nvme_set_vf_limits(nd, vf->index, vf->has_limits ? &vf->limits : &none);
		nd->vf_limited[vf->index] = vf->has_limits;
		if (r)
			return why_set(why, r, "%s/vf%u: %s", dc->name, vf->index, strerror(-r));
	}
	return 0;
}

int nvme_apply_reload(struct device *dev, const struct config_device *dc, char why[WHY_MAX])
{
	struct nvme_device *nd = nvme_device(dev);
	char other[WHY_MAX];
	int r, err;

	dev->cfg.nvme.queues = dc->nvme.queues;
	dev->cfg.nvme.ns_pool.capacity = dc->nvme.ns_pool.capacity;
	r = apply_namespaces(nd, dc, why);
	nvme_subsystem_set_pool_capacity(nd->subsystem, dc->nvme.ns_pool.capacity);
	err = apply_vfs(nd, dc, r ? other : why);
	return r ? r : err;
}
