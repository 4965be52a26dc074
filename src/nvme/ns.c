/* SPDX-License-Identifier: BSD-3-Clause */
/* Namespaces: made, attached, looked at. What ends or resizes them is in ns_life.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/subsystem_private.h"
#include "util/util.h"

#define SHIFT_512  9
#define SHIFT_4096 12

static int fail(char *why, size_t why_len, int err, const struct nvme_subsystem *ss, uint32_t nsid,
		const char *what)
{
	snprintf(why, why_len, "%s/ns%u: %s", ss->name, nsid, what);
	return err;
}

/* ---- making ---- */

/* Somebody who names no NSID wants a new disk: not what an older one left in the pool. */
static uint32_t free_nsid(const struct nvme_subsystem *ss, bool from_pool)
{
	for (uint32_t nsid = 1; nsid <= ss->nn; nsid++)
		if (!ss->ns[nsid - 1] && !(from_pool && nvme_pool_occupied(&ss->ns_pool, nsid)))
			return nsid;
	return 0;
}

static int choose_nsid(const struct nvme_subsystem *ss, const struct nvme_ns_config *cfg,
		       uint32_t *nsid, char *why, size_t why_len)
{
	*nsid = cfg->nsid ? cfg->nsid : free_nsid(ss, cfg->from_pool);
	if (!*nsid) {
		snprintf(why, why_len,
			 "%s has no namespace identifier free, it can have %u: delete one, or "
			 "raise max-namespaces and start the daemon again",
			 ss->name, ss->nn);
		return -EBUSY;
	}
	if (*nsid > ss->nn) {
		snprintf(why, why_len,
			 "%s/ns%u: namespace identifiers go from 1 to %u here: give a lower one, "
			 "or raise max-namespaces and start the daemon again",
			 ss->name, *nsid, ss->nn);
		return -ERANGE;
	}
	if (!ss->ns[*nsid - 1])
		return 0;
	return fail(why, why_len, -EEXIST, ss, *nsid,
		    "exists already: give another number, or none for the lowest free");
}

/* Stable, and not from what the disk holds: a copy of it is another disk. */
static int name_ns(struct nvme_ns *ns, const char *uuid, char *why, size_t why_len)
{
	const struct nvme_subsystem *ss = ns->subsystem;
	char text[PATH_MAX + NVME_NQN_SIZE + 16];

	if (!uuid || !uuid[0]) {
		snprintf(text, sizeof(text), "%s\n%u\n%s", ss->nqn, ns->nsid,
			 block_get_config(ns->backend)->target);
		nvme_ident_uuid("namespace", text, ns->uuid);
	} else if (!nvme_uuid_parse(uuid, ns->uuid)) {
		return fail(why, why_len, -EINVAL, ss, ns->nsid,
			    "the uuid is none: it is like 6b0f2d4c-11aa-4d2e-9f5b-0123456789ab");
	}
	nvme_uuid_print(ns->uuid, ns->admin->uuid);
	nvme_ident("nguid", ns->admin->uuid, ns->nguid);
	for (unsigned i = 0; i < ss->nn; i++)
		if (ss->ns[i] && !memcmp(ss->ns[i]->uuid, ns->uuid, sizeof(ns->uuid)))
			return fail(why, why_len, -EEXIST, ss, ns->nsid,
				    "another namespace of the device has this uuid");
	return 0;
}

static int check_config(const struct nvme_subsystem *ss, uint32_t nsid,
			const struct nvme_ns_config *cfg, char *why, size_t why_len)
{
	if (cfg->block_size && cfg->block_size != 512 && cfg->block_size != 4096)
		return fail(why, why_len, -EINVAL, ss, nsid, "a block has 512 or 4096 bytes");
	if (cfg->from_pool && (!cfg->backend.size || cfg->backend.size > INT64_MAX))
		return fail(why, why_len, -EINVAL, ss, nsid,
			    "give the size that it is to have in the pool");
	for (unsigned i = 0; cfg->reservations && i < ss->nn; i++) {
		const char *path = ss->ns[i] ? nvme_resv_path(ss->ns[i]) : NULL;

		if (path && !strcmp(path, cfg->reservations))
			return fail(why, why_len, -EEXIST, ss, nsid,
				    "another namespace keeps its reservations in this file");
	}
	return 0;
}

static const struct block_backend_ops backend_ops = {.resized = nvme_ns_backend_resized};

/* A pool's size is taken first, and given back by nvme_ns_free(). */
static int open_backend(struct nvme_ns *ns, const struct nvme_ns_config *cfg, char *why,
			size_t why_len)
{
	struct nvme_subsystem *ss = ns->subsystem;
	struct block_config pooled, *bc = &pooled;
	char name[96];
	int r;

	snprintf(name, sizeof(name), "%s/ns%u", ss->name, ns->nsid);
	if (!cfg->from_pool)
		return block_open(&cfg->backend, name, &backend_ops, ns, &ns->backend, why,
				  why_len);
	r = nvme_pool_backend(&ss->ns_pool, ns->nsid, align_up(cfg->backend.size, NVME_POOL_ALIGN),
			      bc);
	if (r)
		return fail(why, why_len, r, ss, ns->nsid, "the pool's directory is too long");
	r = nvme_pool_take(&ss->ns_pool, bc->size, why, why_len);
	if (r)
		return r;
	r = block_open(bc, name, &backend_ops, ns, &ns->backend, why, why_len);
	if (r) {
		nvme_pool_give(&ss->ns_pool, bc->size);
		return r;
	}
	ns->from_pool = true;
	return 0;
}

static int read_backend(struct nvme_ns *ns, uint8_t shift, char *why, size_t why_len)
{
	struct block_limits lim;

	block_get_limits(ns->backend, &lim);
	ns->block_shift = shift;
	ns->read_only = lim.read_only;
	ns->discard = lim.discard_granularity && !lim.read_only;
	ns->volatile_cache = lim.volatile_cache;
	atomic_store(&ns->blocks, block_size(ns->backend) >> ns->block_shift);
	if (!atomic_load(&ns->blocks))
		return fail(why, why_len, -EINVAL, ns->subsystem, ns->nsid,
			    "there is not a single block: give a size");
	return 0;
}

/* nvme_ns_free() undoes what was done. */
static int build(struct nvme_ns *ns, const struct nvme_ns_config *cfg, char *why, size_t why_len)
{
	int r = nvme_gate_create(&ns->gate);

	if (r)
		return fail(why, why_len, r, ns->subsystem, ns->nsid, strerror(-r));
	r = open_backend(ns, cfg, why, why_len);
	if (r)
		return r;
	r = read_backend(ns, cfg->block_size == 4096 ? SHIFT_4096 : SHIFT_512, why, why_len);
	if (!r)
		r = name_ns(ns, cfg->uuid, why, why_len);
	if (!r)
		r = nvme_resv_create(ns, cfg->reservations, why, why_len);
	return r;
}

static struct nvme_ns *ns_new(struct nvme_subsystem *ss, uint32_t nsid)
{
	struct nvme_ns *ns = aligned_alloc(CACHE_LINE, align_up(sizeof(*ns), CACHE_LINE));

	if (!ns)
		return NULL;
	memset(ns, 0, sizeof(*ns));
	ns->admin = calloc(1, sizeof(*ns->admin));
	if (!ns->admin) {
		free(ns);
		return NULL;
	}
	ns->subsystem = ss;
	ns->nsid = nsid;
	return ns;
}

void nvme_ns_free(struct nvme_ns *ns)
{
	/* Who left the gate last may still look whether it is closed, or count. */
	worker_synchronize();
	nvme_resv_destroy(ns);
	nvme_gate_destroy(ns->gate);
	if (ns->backend && ns->from_pool && ns->subsystem)
		nvme_pool_give(&ns->subsystem->ns_pool, block_size(ns->backend));
	if (ns->admin->undo)
		block_undo(ns->backend);
	else
		block_close(ns->backend);
	nvme_stats_fini(&ns->stats);
	free(ns->attached);
	free(ns->admin);
	free(ns);
}

int nvme_ns_make(struct nvme_subsystem *ss, const struct nvme_ns_config *cfg,
		 const struct nvme_ns_extra *extra, uint32_t *nsid, char *why, size_t why_len)
{
	struct nvme_ns *ns;
	int r = choose_nsid(ss, cfg, nsid, why, why_len);

	if (!r)
		r = check_config(ss, *nsid, cfg, why, why_len);
	if (r)
		return r;
	ns = ns_new(ss, *nsid);
	if (!ns)
		return fail(why, why_len, -ENOMEM, ss, *nsid, "out of memory");
	r = build(ns, cfg, why, why_len);
	if (r) {
		ns->admin->undo = true;
		nvme_ns_free(ns);
		return r;
	}
	ns->admin->id = ++ss->made;
	ns->owner = extra->owner;
	ns->admin->keep_private = extra->by_guest && !extra->shared;
	ns->admin->shown_shared = extra->by_guest && extra->shared;
	ns->limits = cfg->limits;
	nvme_qos_set(&ns->qos, &cfg->limits);
	ss->ns[*nsid - 1] = ns;
	return 0;
}

int nvme_ns_create(struct nvme_subsystem *ss, const struct nvme_ns_config *cfg, uint32_t *nsid,
		   char *why, size_t why_len)
{
	static const struct nvme_ns_extra administrator = {.owner = NVME_NO_OWNER};

	return nvme_ns_make(ss, cfg, &administrator, nsid, why, why_len);
}

/* ---- attachments ---- */

static unsigned position(const struct nvme_ns *ns, uint16_t cntlid)
{
	unsigned lo = 0, hi = ns->n_attached;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (ns->attached[mid] < cntlid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool nvme_ns_is_attached(const struct nvme_ns *ns, uint16_t cntlid)
{
	unsigned i = position(ns, cntlid);

	return i < ns->n_attached && ns->attached[i] == cntlid;
}

int nvme_ns_link(struct nvme_ns *ns, uint16_t cntlid)
{
	unsigned at = position(ns, cntlid);
	uint16_t *grown = realloc(ns->attached, (ns->n_attached + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	ns->attached = grown;
	memmove(&grown[at + 1], &grown[at], (ns->n_attached - at) * sizeof(*grown));
	grown[at] = cntlid;
	ns->n_attached++;
	return 0;
}

void nvme_ns_unlink(struct nvme_ns *ns, uint16_t cntlid)
{
	unsigned at = position(ns, cntlid);

	ns->n_attached--;
	memmove(&ns->attached[at], &ns->attached[at + 1],
		(ns->n_attached - at) * sizeof(*ns->attached));
}

void nvme_ns_tell(struct nvme_ns *ns)
{
	for (unsigned i = 0; i < ns->n_attached; i++) {
		struct nvme_ctrl *ctrl = nvme_subsystem_ctrl(ns->subsystem, ns->attached[i]);

		if (ctrl)
			nvme_event_ns_changed(ctrl, ns->nsid);
	}
}

static int not_there(const struct nvme_subsystem *ss, uint32_t nsid, char *why, size_t why_len)
{
	return fail(why, why_len, -ENOENT, ss, nsid, "there is no such namespace");
}

static void publish_and_tell(struct nvme_ns *ns, uint16_t cntlid)
{
	struct nvme_ctrl *ctrl = nvme_subsystem_ctrl(ns->subsystem, cntlid);

	nvme_subsystem_publish(ns->subsystem, ns->nsid, ns);
	if (ctrl)
		nvme_event_ns_changed(ctrl, ns->nsid);
}

int nvme_ns_attach(struct nvme_subsystem *ss, uint32_t nsid, uint16_t cntlid, char *why,
		   size_t why_len)
{
	struct nvme_ns *ns = nvme_subsystem_ns(ss, nsid);
	int r;

	if (!ns)
		return not_there(ss, nsid, why, why_len);
	if (nvme_ns_is_attached(ns, cntlid))
		return fail(why, why_len, -EALREADY, ss, nsid, "is attached to it already");
	r = nvme_ns_link(ns, cntlid);
	if (r)
		return fail(why, why_len, r, ss, nsid, "out of memory");
	/* the administrator may share what a guest made for itself */
	if (ns->n_attached > 1)
		ns->admin->keep_private = false;
	publish_and_tell(ns, cntlid);
	return 0;
}

int nvme_ns_detach(struct nvme_subsystem *ss, uint32_t nsid, uint16_t cntlid, char *why,
		   size_t why_len)
{
	struct nvme_ns *ns = nvme_subsystem_ns(ss, nsid);

	if (!ns)
		return not_there(ss, nsid, why, why_len);
	if (!nvme_ns_is_attached(ns, cntlid))
		return fail(why, why_len, -ENOENT, ss, nsid, "is not attached to it");
	nvme_ns_unlink(ns, cntlid);
	publish_and_tell(ns, cntlid);
	return 0;
}

/*
 * What a guest made is its own, whoever else is there. What the administrator made is for a guest
 * to manage only if it is all alone with it: no other PF, and no controller of another one has it.
 */
bool nvme_ns_manageable(const struct nvme_ns *ns, const struct nvme_ctrl *pf)
{
	const struct nvme_subsystem *ss = ns->subsystem;

	if (pf->primary || pf->cfg.managed)
		return false;
	if (ns->owner != NVME_NO_OWNER)
		return ns->owner == pf->cntlid;
	for (unsigned i = 0; i < ss->n_ctrls; i++)
		if (!ss->ctrls[i]->ctrl->primary && ss->ctrls[i]->ctrl != pf)
			return false;
	for (unsigned i = 0; i < ns->n_attached; i++)
		if (!nvme_subsystem_in_family(pf, ns->attached[i]))
			return false;
	return true;
}

/* ---- limits, counters, what is so ---- */

int nvme_ns_set_limits(struct nvme_subsystem *ss, uint32_t nsid, const struct nvme_limits *lim)
{
	struct nvme_ns *ns = nvme_subsystem_ns(ss, nsid);

	if (!ns)
		return -ENOENT;
	ns->limits = *lim;
	nvme_qos_set(&ns->qos, lim);
	return 0;
}

int nvme_ns_get_stats(struct nvme_subsystem *ss, uint32_t nsid, struct nvme_io_stats *st)
{
	const struct nvme_ns *ns = nvme_subsystem_ns(ss, nsid);

	if (!ns)
		return -ENOENT;
	nvme_stats_get(&ns->stats, st);
	for (unsigned i = 0; i < ns->n_attached; i++) {
		const struct nvme_ctrl *ctrl = nvme_subsystem_ctrl(ss, ns->attached[i]);

		if (ctrl)
			st->inflight += nvme_queues_waiting(ctrl->queues, nsid);
	}
	return 0;
}

void nvme_ns_clear_stats(struct nvme_subsystem *ss, uint32_t nsid)
{
	struct nvme_ns *ns = nvme_subsystem_ns(ss, nsid);

	if (ns)
		nvme_stats_clear(&ns->stats);
}

static const char *state_of(const struct nvme_ns *ns)
{
	static char text[48]; /* control thread only; of the one that is shown now */

	switch (ns->admin->busy) {
	case NVME_NS_FORMATTING:
		snprintf(text, sizeof(text), "being formatted, %u %% left",
			 ns->admin->erase ? nvme_erase_percent_left(ns->admin->erase) : 100);
		return text;
	case NVME_NS_SHRINKING:
		return "being shrunk";
	default:
		return block_state(ns->backend);
	}
}

static void fill_info(const struct nvme_ns *ns, struct nvme_ns_info *out)
{
	*out = (struct nvme_ns_info){
		.nsid = ns->nsid,
		.id = ns->admin->id,
		.size = atomic_load(&ns->blocks) << ns->block_shift,
		.allocated = block_allocated(ns->backend),
		.block_size = 1u << ns->block_shift,
		.backend = block_get_config(ns->backend),
		.state = state_of(ns),
		.uuid = ns->admin->uuid,
		.from_pool = ns->from_pool,
		.read_only = ns->read_only,
		.limits = ns->limits,
		.registrants = nvme_resv_registrants(ns),
		.reservation = nvme_resv_held(ns),
		.n_attached = ns->n_attached,
		.attached = ns->attached,
	};
}

int nvme_ns_get_info(struct nvme_subsystem *ss, uint32_t nsid, struct nvme_ns_info *out)
{
	const struct nvme_ns *ns = nvme_subsystem_ns(ss, nsid);

	if (!ns)
		return -ENOENT;
	fill_info(ns, out);
	return 0;
}

void nvme_ns_for_each(struct nvme_subsystem *ss,
		      void (*cb)(void *opaque, const struct nvme_ns_info *), void *opaque)
{
	struct nvme_ns_info info;

	for (uint32_t nsid = 1; nsid <= ss->nn; nsid++)
		if (!nvme_ns_get_info(ss, nsid, &info))
			cb(opaque, &info);
}
