/* SPDX-License-Identifier: BSD-3-Clause */
/* The namespaces that the configuration file names, beside those made live or by a root's kernel.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device/nvme_private.h"
#include "util/clock.h"

#define LOCK_NAP_NS (20 * NS_PER_MS)

struct nvme_record *nvme_record_find(const struct nvme_device *nd, uint32_t nsid)
{
	struct nvme_record *rec;

	for (rec = nd->records; rec; rec = rec->next) {
		if (rec->cfg.nsid == nsid)
			return rec;
	}
	return NULL;
}

bool nvme_record_alive(const struct nvme_device *nd, const struct nvme_record *rec,
		       struct nvme_ns_info *info)
{
	/* Somebody may have deleted it and made another one since. */
	return !nvme_ns_get_info(nd->subsystem, rec->cfg.nsid, info) && info->id == rec->id;
}

static int copy_config(struct config_namespace *to, const struct config_namespace *from)
{
	unsigned *vfs = malloc((from->n_attach + 1) * sizeof(*vfs));

	if (!vfs)
		return -ENOMEM;
	if (from->n_attach)
		memcpy(vfs, from->attach_vfs, from->n_attach * sizeof(*vfs));
	*to = *from;
	to->attach_vfs = vfs;
	return 0;
}

static void insert(struct nvme_device *nd, struct nvme_record *rec)
{
	struct nvme_record **p = &nd->records;

	while (*p && (*p)->cfg.nsid < rec->cfg.nsid)
		p = &(*p)->next;
	rec->next = *p;
	*p = rec;
}

static int make_namespace(struct nvme_device *nd, const struct nvme_ns_config *cfg,
			  char why[WHY_MAX])
{
	const struct timespec nap = {.tv_nsec = LOCK_NAP_NS};
	uint32_t nsid;
	int r;

	for (;;) {
		why[0] = '\0';
		r = nvme_ns_create(nd->subsystem, cfg, &nsid, why, WHY_MAX);
		if (r != -EBUSY || clock_now_ns() >= nd->dev.s->patient_until_ns)
			return r;
		nanosleep(&nap, NULL);
	}
}

int nvme_record_create(struct nvme_device *nd, const struct config_namespace *cn,
		       struct nvme_record **out, char why[WHY_MAX])
{
	struct nvme_ns_config cfg = {
		.nsid = cn->nsid,
		.backend = cn->backend,
		.from_pool = cn->from_pool,
		.block_size = cn->block_size,
		.reservations = cn->reservations,
		.uuid = cn->uuid,
		.limits = cn->limits,
	};
	struct nvme_record *rec = calloc(1, sizeof(*rec));
	struct nvme_ns_info info;
	int r;

	if (!rec || copy_config(&rec->cfg, cn)) {
		free(rec);
		return why_set(why, -ENOMEM, "%s: out of memory", nd->dev.cfg.name);
	}
	r = make_namespace(nd, &cfg, why);
	if (r) {
		if (!why[0])
			why_set(why, r, "%s/ns%u: %s", nd->dev.cfg.name, cn->nsid, strerror(-r));
		free(rec->cfg.attach_vfs);
		free(rec);
		return r;
	}
	nvme_ns_get_info(nd->subsystem, cn->nsid, &info);
	rec->id = info.id;
	rec->fresh = true;
	insert(nd, rec);
	*out = rec;
	return 0;
}

void nvme_record_forget(struct nvme_device *nd, struct nvme_record *rec)
{
	struct nvme_record **p = &nd->records;

	while (*p != rec)
		p = &(*p)->next;
	*p = rec->next;
	free(rec->cfg.attach_vfs);
	free(rec);
}

void nvme_record_drop(struct nvme_device *nd, struct nvme_record *rec, bool undo)
{
	struct nvme_ns_info info;

	if (nvme_record_alive(nd, rec, &info))
		nvme_ns_withdraw(nd->subsystem, rec->cfg.nsid, undo);
	nvme_record_forget(nd, rec);
}

int nvme_record_update(struct nvme_record *rec, const struct config_namespace *cn)
{
	unsigned *old = rec->cfg.attach_vfs;
	int r = copy_config(&rec->cfg, cn);

	if (!r)
		free(old);
	return r;
}

static bool names_vf(const struct config_namespace *cn, unsigned vf)
{
	for (unsigned i = 0; i < cn->n_attach; i++) {
		if (cn->attach_vfs[i] == vf)
			return true;
	}
	return cn->attach_all;
}

static bool names_pf(const struct config_namespace *cn, unsigned pf)
{
	return cn->attach_all || (cn->attach_pf && !pf);
}

static int attach_one(struct nvme_device *nd, uint32_t nsid, uint16_t cntlid, bool now, bool before,
		      char why[WHY_MAX])
{
	int r = 0;

	why[0] = '\0';
	if (now)
		r = nvme_ns_attach(nd->subsystem, nsid, cntlid, why, WHY_MAX);
	else if (before)
		r = nvme_ns_detach(nd->subsystem, nsid, cntlid, why, WHY_MAX);
	if (r == -EALREADY || (!now && r == -ENOENT))
		r = 0;
	if (r && !why[0])
		why_set(why, r, "%s/ns%u: cannot attach it to the controller %u: %s",
			nd->dev.cfg.name, nsid, cntlid, strerror(-r));
	return r;
}

int nvme_record_attach(struct nvme_device *nd, const struct nvme_record *rec,
		       const struct config_namespace *cn, bool before, char why[WHY_MAX])
{
	const struct config_namespace *old = &rec->cfg;
	int r = 0;

	for (unsigned i = 0; !r && i < nd->dev.n_pfs; i++)
		r = attach_one(nd, cn->nsid, NVME_CNTLID_PF(i), names_pf(cn, i),
			       before && names_pf(old, i), why);
	for (unsigned i = 0; !r && i < nd->dev.cfg.total_vfs; i++)
		r = attach_one(nd, cn->nsid, NVME_CNTLID_VF(i), names_vf(cn, i),
			       before && names_vf(old, i), why);
	return r;
}
