/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtualization Management (Base 5.22, 8.5).
 */
#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/admin_private.h"
#include "nvme/state_private.h"
#include "nvme/virt_private.h"
#include "util/util.h"

enum action {
	ACTION_PRIMARY_ALLOCATE = 1,
	ACTION_OFFLINE = 7,
	ACTION_ASSIGN = 8,
	ACTION_ONLINE = 9,
};

enum resource { RES_VQ, RES_VI, RESOURCES };
#define CRT_BOTH (BIT(RES_VQ) | BIT(RES_VI))
#define CRT_NONE 0

struct secondary {
	uint16_t cntlid;
	bool online;
	uint16_t has[RESOURCES];
	uint16_t configured;	/* of each; 0: none */
	struct nvme_ctrl *ctrl; /* NULL: the VF does not exist */
};

struct nvme_virt {
	struct nvme_ctrl *primary;
	uint16_t primary_has[RESOURCES];  /* flexible ones */
	uint16_t primary_next[RESOURCES]; /* from the next reset on */
	unsigned n;
	struct secondary sec[];
};

static struct secondary *self(const struct nvme_ctrl *secondary)
{
	return &secondary->primary->virt->sec[secondary->cfg.vf_index];
}

/* ---- what others ask ---- */

unsigned nvme_virt_vq_private(const struct nvme_ctrl *primary)
{
	return primary->cfg.queue_pairs + 1;
}

static unsigned resources(const struct nvme_ctrl *ctrl, enum resource r)
{
	if (ctrl->primary)
		return self(ctrl)->has[r];
	return MIN(nvme_virt_vq_private(ctrl) + ctrl->virt->primary_has[r],
		   (unsigned)NVME_VECTORS_MAX);
}

unsigned nvme_virt_vq(const struct nvme_ctrl *ctrl)
{
	return resources(ctrl, RES_VQ);
}

unsigned nvme_virt_vi(const struct nvme_ctrl *ctrl)
{
	return resources(ctrl, RES_VI);
}

bool nvme_virt_online(const struct nvme_ctrl *ctrl)
{
	return !ctrl->primary || self(ctrl)->online;
}

static unsigned assigned(const struct nvme_virt *v, enum resource r)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < v->n; i++)
		sum += v->sec[i].has[r];
	return sum;
}

/* Neither assigned nor the primary's, now or after its next reset. */
static unsigned unassigned(const struct nvme_virt *v, enum resource r)
{
	unsigned used = assigned(v, r) + MAX(v->primary_has[r], v->primary_next[r]);
	unsigned total = v->primary->cfg.flexible;

	return used < total ? total - used : 0;
}

void nvme_virt_totals(const struct nvme_ctrl *primary, struct nvme_virt_totals *out)
{
	out->flexible = primary->cfg.flexible;
	out->assigned = assigned(primary->virt, RES_VQ);
}

uint16_t nvme_virt_cntlid(const struct nvme_ctrl *primary, unsigned i)
{
	return i < primary->virt->n ? primary->virt->sec[i].cntlid : NVME_NO_OWNER;
}

/* ---- changes ---- */

static void set_vectors(struct nvme_ctrl *ctrl)
{
	nvme_ctrl_set_vectors(ctrl, (uint16_t)MAX(nvme_virt_vi(ctrl), 1u));
}

static void set_resources(struct secondary *s, enum resource r, uint16_t n)
{
	if (s->has[r] == n)
		return;
	s->has[r] = n;
	if (s->ctrl && r == RES_VI)
		set_vectors(s->ctrl);
}

/* A transition resets the secondary controller (8.5.3). */
static void set_online(struct secondary *s, bool online)
{
	if (s->online == online)
		return;
	s->online = online;
	if (s->ctrl)
		nvme_ctrl_reset_secondary(s->ctrl);
}

/* Flexible resources return to the pool. */
static void take_offline(struct secondary *s)
{
	set_online(s, false);
	set_resources(s, RES_VQ, 0);
	set_resources(s, RES_VI, 0);
}

static void bring_online(struct secondary *s, uint16_t n)
{
	if (s->online && (s->has[RES_VQ] != n || s->has[RES_VI] != n))
		take_offline(s);
	set_resources(s, RES_VQ, n);
	set_resources(s, RES_VI, n);
	set_online(s, true);
}

static bool is_managed(const struct nvme_virt *v)
{
	return v->primary->cfg.managed;
}

void nvme_virt_primary_reset(struct nvme_ctrl *primary, bool function_level)
{
	struct nvme_virt *v = primary->virt;

	if (is_managed(v))
		return;
	for (unsigned i = 0; i < v->n; i++)
		take_offline(&v->sec[i]);
	if (!function_level)
		return;
	memcpy(v->primary_has, v->primary_next, sizeof(v->primary_has));
	set_vectors(primary);
}

static bool fits(const struct nvme_virt *v, const struct secondary *s, unsigned n)
{
	return n <= unassigned(v, RES_VQ) + s->has[RES_VQ] &&
	       n <= unassigned(v, RES_VI) + s->has[RES_VI];
}

void nvme_virt_attach(struct nvme_ctrl *secondary)
{
	struct nvme_virt *v = secondary->primary->virt;
	struct secondary *s = self(secondary);

	s->ctrl = secondary;
	set_vectors(secondary);
	if (!s->configured || s->online)
		return;
	if (fits(v, s, s->configured))
		bring_online(s, s->configured);
	else
		log_guest(&v->primary->log,
			  "%s: its %u queues are assigned to others; it stays offline",
			  secondary->name, s->configured - 1u);
}

void nvme_virt_detach(struct nvme_ctrl *secondary)
{
	struct secondary *s = self(secondary);

	s->ctrl = NULL;
	/* Clearing VF Enable takes secondaries offline. */
	if (!is_managed(secondary->primary->virt))
		take_offline(s);
}

int nvme_virt_create(struct nvme_ctrl *primary)
{
	unsigned n = primary->cfg.total_vfs;
	struct nvme_virt *v = calloc(1, sizeof(*v) + n * sizeof(v->sec[0]));

	if (!v)
		return -ENOMEM;
	v->primary = primary;
	v->n = n;
	for (unsigned i = 0; i < n; i++)
		v->sec[i].cntlid = (uint16_t)(primary->cfg.first_vf_cntlid + i);
	primary->virt = v;
	return 0;
}

void nvme_virt_destroy(struct nvme_ctrl *primary)
{
	free(primary->virt);
	primary->virt = NULL;
}

/* ---- the configuration ---- */

__attribute__((format(printf, 4, 5))) static int refuse(char *why, size_t why_len, int err,
							const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (why && why_len)
		vsnprintf(why, why_len, fmt, ap);
	va_end(ap);
	return err;
}

static bool in_use(const struct secondary *s)
{
	if (!s->ctrl)
		return false;
	switch (pci_function_owner(s->ctrl->fn)) {
	case PCI_OWNER_ENDPOINT:
		return true;
	case PCI_OWNER_ROOT: /* always plugged in there: in use when a driver has it */
		return NVME_CC_EN(s->ctrl->cc);
	default:
		return false;
	}
}

/* What the configuration gives all others, and what the others have beyond it. */
static unsigned taken_by_others(const struct nvme_virt *v, const struct secondary *s)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < v->n; i++)
		if (&v->sec[i] != s)
			sum += MAX(v->sec[i].configured, v->sec[i].has[RES_VQ]);
	return sum + MAX(v->primary_has[RES_VQ], v->primary_next[RES_VQ]);
}

/* Whether an assignment holds at once; else when the VF comes into being. */
static bool holds_now(const struct nvme_virt *v, const struct secondary *s)
{
	return is_managed(v) || s->ctrl;
}

int nvme_secondary_assign(struct nvme_ctrl *primary, uint16_t vf_index, unsigned pairs, char *why,
			  size_t why_len)
{
	struct nvme_virt *v = primary->virt;
	unsigned n = pairs ? pairs + 1 : 0, total = primary->cfg.flexible;
	struct secondary *s;

	if (vf_index >= v->n)
		return refuse(why, why_len, -ENOENT, "%s has %u VFs", primary->name, v->n);
	s = &v->sec[vf_index];
	if (n > primary->cfg.flexible_per_vf)
		return refuse(why, why_len, -ERANGE, "%u queues are more than a VF can have (%u)",
			      pairs, MAX(primary->cfg.flexible_per_vf, 1u) - 1);
	if (n && (taken_by_others(v, s) > total || n > total - taken_by_others(v, s)))
		return refuse(why, why_len, -ENOSPC,
			      "%u queues and the admin queue are more than is left of %u", pairs,
			      total);
	if (holds_now(v, s) &&
	    (n ? s->online && s->has[RES_VQ] == n && s->has[RES_VI] == n : !s->online)) {
		s->configured = (uint16_t)n;
		return 0;
	}
	if (in_use(s))
		return refuse(why, why_len, -EBUSY, "%s is attached to a VM", s->ctrl->name);
	if (n && holds_now(v, s) && !fits(v, s, n))
		return refuse(why, why_len, -ENOSPC, "the guest has assigned what was left");
	s->configured = (uint16_t)n;
	if (!n)
		take_offline(s);
	else if (holds_now(v, s))
		bring_online(s, (uint16_t)n);
	return 0;
}

/* ---- the command ---- */

static struct secondary *find(struct nvme_virt *v, uint16_t cntlid)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->sec[i].cntlid == cntlid)
			return &v->sec[i];
	return NULL;
}

/* Takes effect at the next reset other than by CC.EN; until then the old number is reported. */
static uint16_t primary_allocate(struct nvme_virt *v, uint16_t cntlid, enum resource r, uint16_t n)
{
	if (cntlid != v->primary->cntlid)
		return NVME_ST_CMD(NVME_SC_INVALID_CTRL_ID);
	if (n > v->primary->cfg.flexible || n + nvme_virt_vq_private(v->primary) > NVME_VECTORS_MAX)
		return NVME_ST_CMD(NVME_SC_INVALID_CTRL_RESOURCES);
	if (n > v->primary->cfg.flexible - assigned(v, r))
		return NVME_ST_CMD(NVME_SC_INVALID_RESOURCE_ID);
	v->primary_next[r] = n;
	return 0;
}

static uint16_t assign(struct nvme_virt *v, struct secondary *s, enum resource r, uint16_t n)
{
	if (s->online)
		return NVME_ST_CMD(NVME_SC_INVALID_SEC_CTRL_STATE);
	if (n > v->primary->cfg.flexible_per_vf)
		return NVME_ST_CMD(NVME_SC_INVALID_CTRL_RESOURCES);
	if (n > unassigned(v, r) + s->has[r])
		return NVME_ST_CMD(NVME_SC_INVALID_RESOURCE_ID);
	set_resources(s, r, n);
	return 0;
}

static uint16_t online(struct secondary *s)
{
	if (!s->ctrl || s->has[RES_VQ] < NVME_ONLINE_VQ_MIN || !s->has[RES_VI])
		return NVME_ST_CMD(NVME_SC_INVALID_SEC_CTRL_STATE);
	set_online(s, true);
	return 0;
}

static uint16_t secondary_action(struct nvme_virt *v, struct secondary *s, enum action action,
				 enum resource r, uint16_t n)
{
	switch (action) {
	case ACTION_ASSIGN:
		return assign(v, s, r, n);
	case ACTION_ONLINE:
		return online(s);
	default:
		take_offline(s);
		return 0;
	}
}

static bool counts(enum action action)
{
	return action == ACTION_PRIMARY_ALLOCATE || action == ACTION_ASSIGN;
}

uint16_t nvme_virt_run(struct nvme_command *cmd)
{
	struct nvme_virt *v = cmd->ctrl->virt;
	uint32_t dw10 = le32toh(cmd->sqe.cdw10);
	enum action action = dw10 & 0xf;
	unsigned r = dw10 >> 8 & 7;
	uint16_t cntlid = (uint16_t)(dw10 >> 16), n = (uint16_t)le32toh(cmd->sqe.cdw11);
	struct secondary *s = find(v, cntlid);
	uint16_t status;

	if (!counts(action) && action != ACTION_ONLINE && action != ACTION_OFFLINE)
		return NVME_ST_GENERIC(NVME_SC_INVALID_FIELD);
	if (counts(action) && r >= RESOURCES)
		return NVME_ST_CMD(NVME_SC_INVALID_RESOURCE_ID);
	if (action == ACTION_PRIMARY_ALLOCATE)
		status = primary_allocate(v, cntlid, r, n);
	else if (!s)
		status = NVME_ST_CMD(NVME_SC_INVALID_CTRL_ID);
	else
		status = secondary_action(v, s, action, r, n);
	if (!status && counts(action))
		cmd->dw0 = n;
	return status;
}

/* ---- Identify ---- */

void nvme_virt_identify_primary(const struct nvme_ctrl *primary, struct nvme_primary_ctrl_cap *out)
{
	const struct nvme_virt *v = primary->virt;
	const uint32_t flexible = primary->cfg.flexible;
	const uint16_t per_vf = (uint16_t)primary->cfg.flexible_per_vf;
	const uint16_t own = (uint16_t)nvme_virt_vq_private(primary);

	out->cntlid = htole16(primary->cntlid);
	out->crt = v->n ? CRT_BOTH : CRT_NONE;
	out->vqfrt = htole32(flexible);
	out->vqrfa = htole32(assigned(v, RES_VQ));
	out->vqrfap = htole16(v->primary_has[RES_VQ]);
	out->vqprt = htole16(own);
	out->vqfrsm = htole16(per_vf);
	out->vqgran = htole16(1);
	out->vifrt = htole32(flexible);
	out->virfa = htole32(assigned(v, RES_VI));
	out->virfap = htole16(v->primary_has[RES_VI]);
	out->viprt = htole16(own);
	out->vifrsm = htole16(per_vf);
	out->vigran = htole16(1);
}

void nvme_virt_identify_secondaries(const struct nvme_ctrl *primary, uint16_t from,
				    struct nvme_secondary_ctrl_list *out)
{
	const struct nvme_virt *v = primary->virt;

	for (unsigned i = 0; i < v->n && out->num < NVME_ID_SECONDARY_CTRL_MAX; i++) {
		struct nvme_secondary_ctrl *e = &out->sc_entry[out->num];

		if (v->sec[i].cntlid < from)
			continue;
		e->scid = htole16(v->sec[i].cntlid);
		e->pcid = htole16(primary->cntlid);
		e->scs = v->sec[i].online;
		/* Its number, whether VF Enable is set or not. */
		e->vfn = htole16((uint16_t)(i + 1));
		e->nvq = htole16(v->sec[i].has[RES_VQ]);
		e->nvi = htole16(v->sec[i].has[RES_VI]);
		out->num++;
	}
}
