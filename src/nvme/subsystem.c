/* SPDX-License-Identifier: BSD-3-Clause */
/* A subsystem: its names, its controllers, and the tables by which they see namespaces. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/subsystem_private.h"
#include "util/util.h"

#define MODEL "softiov NVMe"

/* ---- names ---- */

static bool given(const char *text)
{
	return text && text[0];
}

/* 7.9: by a UUID, for who owns no domain name. */
static void name_nqn(struct nvme_subsystem *ss, const char *nqn)
{
	char text[NVME_UUID_SIZE];
	uint8_t uuid[16];

	if (given(nqn)) {
		snprintf(ss->nqn, sizeof(ss->nqn), "%s", nqn);
		return;
	}
	nvme_ident_uuid("nqn", ss->name, uuid);
	nvme_uuid_print(uuid, text);
	snprintf(ss->nqn, sizeof(ss->nqn), "nqn.2014-08.org.nvmexpress:uuid:%s", text);
}

static void name_serial(struct nvme_subsystem *ss, const char *serial)
{
	uint8_t id[16];

	if (given(serial)) {
		snprintf(ss->serial, sizeof(ss->serial), "%s", serial);
		return;
	}
	nvme_ident("serial", ss->name, id);
	snprintf(ss->serial, sizeof(ss->serial), "SIOV%02X%02X%02X%02X%02X%02X%02X%02X", id[0],
		 id[1], id[2], id[3], id[4], id[5], id[6], id[7]);
}

/* ---- life ---- */

int nvme_subsystem_create(const struct nvme_subsystem_config *cfg, struct nvme_subsystem **out)
{
	struct nvme_subsystem *ss;

	if (!cfg->max_namespaces || cfg->max_namespaces > NVME_NAMESPACES_MAX)
		return -EINVAL;
	ss = calloc(1, sizeof(*ss));
	if (!ss)
		return -ENOMEM;
	snprintf(ss->name, sizeof(ss->name), "%s", cfg->name);
	name_nqn(ss, cfg->nqn);
	name_serial(ss, cfg->serial);
	snprintf(ss->model, sizeof(ss->model), "%s", given(cfg->model) ? cfg->model : MODEL);
	ss->nn = cfg->max_namespaces;
	ss->pool = cfg->pool;
	nvme_pool_init(&ss->ns_pool, ss->name, &cfg->ns_pool);
	*out = ss;
	return 0;
}

void nvme_subsystem_destroy(struct nvme_subsystem *ss)
{
	if (!ss)
		return;
	nvme_ns_end_all(ss);
	free(ss->ctrls);
	free(ss);
}

void nvme_subsystem_set_pool_capacity(struct nvme_subsystem *ss, uint64_t bytes)
{
	if (ss->ns_pool.cfg.kind != NVME_POOL_NONE)
		ss->ns_pool.cfg.capacity = bytes;
}

/* ---- controllers ---- */

/* Where it is, or would be. */
static unsigned position(const struct nvme_subsystem *ss, uint16_t cntlid)
{
	unsigned lo = 0, hi = ss->n_ctrls;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (ss->ctrls[mid]->ctrl->cntlid < cntlid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct nvme_ss_ctrl *nvme_subsystem_find(const struct nvme_subsystem *ss, uint16_t cntlid)
{
	unsigned i = position(ss, cntlid);

	return i < ss->n_ctrls && ss->ctrls[i]->ctrl->cntlid == cntlid ? ss->ctrls[i] : NULL;
}

struct nvme_ctrl *nvme_subsystem_ctrl(const struct nvme_subsystem *ss, uint16_t cntlid)
{
	struct nvme_ss_ctrl *sc = nvme_subsystem_find(ss, cntlid);

	return sc ? sc->ctrl : NULL;
}

void nvme_subsystem_for_each_ctrl(struct nvme_subsystem *ss,
				  void (*cb)(void *opaque, struct nvme_ctrl *), void *opaque)
{
	for (unsigned i = 0; i < ss->n_ctrls; i++)
		cb(opaque, ss->ctrls[i]->ctrl);
}

bool nvme_subsystem_in_family(const struct nvme_ctrl *pf, uint16_t cntlid)
{
	/* below the first, the difference is huge */
	return cntlid == pf->cntlid ||
	       (uint16_t)(cntlid - pf->cfg.first_vf_cntlid) < pf->cfg.total_vfs;
}

static struct nvme_ns_table *table_new(const struct nvme_subsystem *ss)
{
	struct nvme_ns_table *t = calloc(1, sizeof(*t) + ss->nn * sizeof(t->ns[0]));

	if (t)
		t->nn = ss->nn;
	return t;
}

static void table_fill(const struct nvme_subsystem *ss, uint16_t cntlid, struct nvme_ns_table *t)
{
	for (unsigned i = 0; i < ss->nn; i++)
		t->ns[i] = ss->ns[i] && nvme_ns_is_attached(ss->ns[i], cntlid) ? ss->ns[i] : NULL;
}

/* A copy with one entry changed goes in the place of the table; true if there was anything to
 * change. */
static bool publish_to(const struct nvme_subsystem *ss, struct nvme_ss_ctrl *sc, uint32_t nsid,
		       const struct nvme_ns *ns)
{
	struct nvme_ns_table *now = atomic_load(&sc->ctrl->ns_table);
	bool has = ns && nvme_ns_is_attached(ns, sc->ctrl->cntlid);
	struct nvme_ns *want = has ? (struct nvme_ns *)ns : NULL;

	if (now->ns[nsid - 1] == want)
		return false;
	memcpy(sc->spare->ns, now->ns, ss->nn * sizeof(now->ns[0]));
	sc->spare->ns[nsid - 1] = want;
	atomic_store(&sc->ctrl->ns_table, sc->spare);
	sc->spare = now;
	return true;
}

void nvme_subsystem_publish(struct nvme_subsystem *ss, uint32_t nsid, const struct nvme_ns *ns)
{
	bool any = false;

	for (unsigned i = 0; i < ss->n_ctrls; i++)
		any |= publish_to(ss, ss->ctrls[i], nsid, ns);
	/* the spare ones are free from here on */
	if (any)
		worker_synchronize();
}

static struct nvme_ss_ctrl *ss_ctrl_new(const struct nvme_subsystem *ss, struct nvme_ctrl *ctrl,
					struct nvme_ns_table **table)
{
	struct nvme_ss_ctrl *sc = calloc(1, sizeof(*sc));

	*table = table_new(ss);
	if (sc)
		sc->spare = table_new(ss);
	if (!sc || !sc->spare || !*table) {
		free(*table);
		if (sc)
			free(sc->spare);
		free(sc);
		return NULL;
	}
	sc->ctrl = ctrl;
	return sc;
}

int nvme_subsystem_add(struct nvme_subsystem *ss, struct nvme_ctrl *ctrl)
{
	unsigned at = position(ss, ctrl->cntlid);
	struct nvme_ns_table *table;
	struct nvme_ss_ctrl **grown, *sc;

	if (nvme_subsystem_find(ss, ctrl->cntlid))
		return -EEXIST;
	grown = realloc(ss->ctrls, (ss->n_ctrls + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	ss->ctrls = grown;
	sc = ss_ctrl_new(ss, ctrl, &table);
	if (!sc)
		return -ENOMEM;
	table_fill(ss, ctrl->cntlid, table);
	atomic_store(&ctrl->ns_table, table);
	memmove(&grown[at + 1], &grown[at], (ss->n_ctrls - at) * sizeof(*grown));
	grown[at] = sc;
	ss->n_ctrls++;
	return 0;
}

void nvme_subsystem_remove(struct nvme_subsystem *ss, struct nvme_ctrl *ctrl)
{
	struct nvme_ss_ctrl *sc = nvme_subsystem_find(ss, ctrl->cntlid);
	struct nvme_ns_table *table;
	unsigned at;

	if (!sc || sc->ctrl != ctrl)
		return;
	at = position(ss, ctrl->cntlid);
	ss->n_ctrls--;
	memmove(&ss->ctrls[at], &ss->ctrls[at + 1], (ss->n_ctrls - at) * sizeof(*ss->ctrls));
	table = atomic_exchange(&ctrl->ns_table, NULL);
	worker_synchronize();
	free(table);
	free(sc->spare);
	free(sc);
	nvme_resv_ctrl_gone(ss, ctrl->cntlid);
}

/* ---- what others ask ---- */

const char *nvme_subsystem_nqn(const struct nvme_subsystem *ss)
{
	return ss->nqn;
}

const char *nvme_subsystem_serial(const struct nvme_subsystem *ss)
{
	return ss->serial;
}

const char *nvme_subsystem_model(const struct nvme_subsystem *ss)
{
	return ss->model;
}

unsigned nvme_subsystem_nn(const struct nvme_subsystem *ss)
{
	return ss->nn;
}

struct worker_pool *nvme_subsystem_pool(const struct nvme_subsystem *ss)
{
	return ss->pool;
}

struct nvme_ns *nvme_subsystem_ns(const struct nvme_subsystem *ss, uint32_t nsid)
{
	return nsid && nsid <= ss->nn ? ss->ns[nsid - 1] : NULL;
}

/* What the pool has, and besides what stands outside of it: all that a host can see. */
uint64_t nvme_subsystem_total_capacity(const struct nvme_subsystem *ss)
{
	uint64_t sum = MAX(ss->ns_pool.cfg.capacity, ss->ns_pool.used);

	for (unsigned i = 0; i < ss->nn; i++)
		if (ss->ns[i] && !ss->ns[i]->from_pool)
			sum += atomic_load(&ss->ns[i]->blocks) << ss->ns[i]->block_shift;
	return sum;
}

uint64_t nvme_subsystem_unallocated_capacity(const struct nvme_subsystem *ss)
{
	return nvme_pool_left(&ss->ns_pool);
}

void nvme_subsystem_get_info(const struct nvme_subsystem *ss, struct nvme_subsystem_info *out)
{
	*out = (struct nvme_subsystem_info){
		.nqn = ss->nqn,
		.serial = ss->serial,
		.model = ss->model,
		.max_namespaces = ss->nn,
		.pool_capacity = ss->ns_pool.cfg.capacity,
		.pool_used = ss->ns_pool.used,
	};
	for (unsigned i = 0; i < ss->nn; i++)
		out->namespaces += ss->ns[i] != NULL;
}
