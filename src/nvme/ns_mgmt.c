/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Namespace Management (0Dh) and Namespace Attachment (15h), Base 1.4, 5.19, 5.20 and 8.12: a guest
 * that has a PF of its own makes namespaces out of the pool, and gives them to its PF and VFs.
 *
 * Attacks considered: namespaces and controllers of other PFs (nvme_ns_manageable(), the family),
 * sizes that wrap, lists that are longer than they are, what an earlier namespace left in the pool.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/subsystem_private.h"
#include "util/util.h"

#define INVALID	    NVME_ST_GENERIC(NVME_SC_INVALID_FIELD)
#define INVALID_NS  NVME_ST_GENERIC(NVME_SC_INVALID_NS)
#define DENIED	    NVME_ST_GENERIC(NVME_SC_OP_DENIED)
#define SEL_MASK    0xfu
#define FLBAS_INDEX 0xfu
#define FLBAS_UPPER 0x60u

static uint32_t select_of(const struct nvme_command *cmd)
{
	return le32toh(cmd->sqe.cdw10) & SEL_MASK;
}

static uint32_t nsid_of(const struct nvme_command *cmd)
{
	return le32toh(cmd->sqe.nsid);
}

/* ---- create ---- */

/* Bytes, if all that the host wants can be. */
static uint16_t check_create(const struct nvme_id_ns *want, uint64_t *bytes, uint32_t *block)
{
	uint64_t nsze = le64toh(want->nsze), ncap = le64toh(want->ncap);
	unsigned shift = want->flbas & FLBAS_INDEX ? 12 : 9;

	if ((want->flbas & FLBAS_INDEX) > 1 || want->flbas & FLBAS_UPPER || want->dps)
		return NVME_ST_CMD(NVME_SC_INVALID_FORMAT);
	if (want->nmic & ~NVME_NS_NMIC_SHARED || want->anagrpid || want->nvmsetid)
		return INVALID;
	if (!nsze || ncap > nsze)
		return INVALID;
	if (ncap < nsze)
		return NVME_ST_CMD(NVME_SC_THIN_PROV_NOT_SUPP);
	if (nsze > (uint64_t)INT64_MAX >> shift)
		return NVME_ST_CMD(NVME_SC_NS_INSUFFICIENT_CAP);
	*bytes = nsze << shift;
	*block = 1u << shift;
	return 0;
}

static uint16_t create_status(int err)
{
	switch (-err) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case ENOTSUP: /* there is no pool */
		return NVME_ST_CMD(NVME_SC_NS_INSUFFICIENT_CAP);
	case EBUSY:
		return NVME_ST_CMD(NVME_SC_NS_ID_UNAVAILABLE);
	default:
		return NVME_SC_INTERNAL;
	}
}

static uint16_t create(struct nvme_command *cmd)
{
	struct nvme_ctrl *ctrl = cmd->ctrl;
	const struct nvme_id_ns *want = (const void *)cmd->data;
	struct nvme_ns_config cfg = {.from_pool = true};
	struct nvme_ns_extra extra = {.owner = ctrl->cntlid, .by_guest = true};
	char why[256] = "";
	uint32_t nsid;
	uint16_t status;
	int r;

	if (nsid_of(cmd) || cmd->len < sizeof(*want))
		return INVALID;
	status = check_create(want, &cfg.backend.size, &cfg.block_size);
	if (status)
		return status;
	extra.shared = want->nmic & NVME_NS_NMIC_SHARED;
	r = nvme_ns_make(ctrl->subsystem, &cfg, &extra, &nsid, why, sizeof(why));
	if (r) {
		log_guest(&ctrl->log, "%s: a namespace was not made: %s", ctrl->name,
			  why[0] ? why : strerror(-r));
		return create_status(r);
	}
	cmd->dw0 = nsid;
	return 0;
}

/* ---- delete ---- */

/* A command that waits until all that it deletes has ended, so that the space is free then. */
struct deletion {
	struct nvme_command *cmd; /* NULL: its controller was reset */
	unsigned left;
	bool starting;
};

static void deletion_cancel(struct nvme_command *cmd)
{
	((struct deletion *)cmd->opaque)->cmd = NULL;
}

static void deletion_ended(void *opaque)
{
	struct deletion *d = opaque;

	if (--d->left || d->starting)
		return;
	if (d->cmd)
		nvme_command_complete(d->cmd, 0);
	free(d);
}

static void delete_one(struct deletion *d, struct nvme_ns *ns)
{
	if (ns->from_pool)
		nvme_pool_remove(&ns->subsystem->ns_pool, block_get_config(ns->backend));
	d->left++;
	nvme_ns_end(ns, deletion_ended, d);
}

/* All: those that are for this host to delete. */
static void delete_all(struct deletion *d, const struct nvme_ctrl *pf)
{
	struct nvme_subsystem *ss = pf->subsystem;

	for (unsigned i = 0; i < ss->nn; i++)
		if (ss->ns[i] && nvme_ns_manageable(ss->ns[i], pf))
			delete_one(d, ss->ns[i]);
}

static uint16_t find_managed(const struct nvme_command *cmd, struct nvme_ns **ns)
{
	const struct nvme_ctrl *ctrl = cmd->ctrl;
	uint32_t nsid = nsid_of(cmd);

	if (!nsid || nsid > ctrl->subsystem->nn)
		return INVALID_NS;
	*ns = ctrl->subsystem->ns[nsid - 1];
	if (!*ns)
		return INVALID; /* not allocated (6.1.5) */
	return nvme_ns_manageable(*ns, ctrl) ? 0 : DENIED;
}

static uint16_t delete (struct nvme_command *cmd)
{
	bool all = nsid_of(cmd) == NVME_NSID_ALL;
	struct nvme_ns *ns = NULL;
	uint16_t status = all ? 0 : find_managed(cmd, &ns);
	struct deletion *d;

	if (status)
		return status;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NVME_SC_INTERNAL;
	*d = (struct deletion){.cmd = cmd, .starting = true};
	if (all)
		delete_all(d, cmd->ctrl);
	else
		delete_one(d, ns);
	d->starting = false;
	if (!d->left) {
		free(d);
		return 0;
	}
	cmd->opaque = d;
	cmd->cancel = deletion_cancel;
	return NVME_ST_PENDING;
}

uint16_t nvme_ns_mgmt_run(struct nvme_command *cmd)
{
	switch (select_of(cmd)) {
	case NVME_NS_MGMT_SEL_CREATE:
		return create(cmd);
	case NVME_NS_MGMT_SEL_DELETE:
		return delete (cmd);
	default:
		return INVALID;
	}
}

/* ---- attach, detach ---- */

struct ctrl_list {
	unsigned n;
	uint16_t id[NVME_ID_CTRL_LIST_MAX];
};

/* Ascending, without doubles, and all of them this PF or its VFs, whether they exist now or not. */
static uint16_t read_list(const struct nvme_command *cmd, struct ctrl_list *list)
{
	const struct nvme_ctrl_list *in = (const void *)cmd->data;

	if (cmd->len < sizeof(*in))
		return INVALID;
	list->n = le16toh(in->num);
	if (!list->n || list->n > NVME_ID_CTRL_LIST_MAX)
		return NVME_ST_CMD(NVME_SC_CTRL_LIST_INVALID);
	for (unsigned i = 0; i < list->n; i++) {
		list->id[i] = le16toh(in->identifier[i]);
		if ((i && list->id[i] <= list->id[i - 1]) ||
		    !nvme_subsystem_in_family(cmd->ctrl, list->id[i]))
			return NVME_ST_CMD(NVME_SC_CTRL_LIST_INVALID);
	}
	return 0;
}

static uint16_t check_attach(const struct nvme_ns *ns, const struct ctrl_list *list)
{
	for (unsigned i = 0; i < list->n; i++)
		if (nvme_ns_is_attached(ns, list->id[i]))
			return NVME_ST_CMD(NVME_SC_NS_ALREADY_ATTACHED);
	if (ns->admin->keep_private && (ns->n_attached || list->n > 1))
		return NVME_ST_CMD(NVME_SC_NS_IS_PRIVATE);
	return 0;
}

static uint16_t check_detach(const struct nvme_ns *ns, const struct ctrl_list *list)
{
	for (unsigned i = 0; i < list->n; i++)
		if (!nvme_ns_is_attached(ns, list->id[i]))
			return NVME_ST_CMD(NVME_SC_NS_NOT_ATTACHED);
	return 0;
}

static void unlink_first(struct nvme_ns *ns, const struct ctrl_list *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		nvme_ns_unlink(ns, list->id[i]);
}

static uint16_t link_all(struct nvme_ns *ns, const struct ctrl_list *list)
{
	for (unsigned i = 0; i < list->n; i++) {
		if (!nvme_ns_link(ns, list->id[i]))
			continue;
		unlink_first(ns, list, i);
		return NVME_SC_INTERNAL;
	}
	return 0;
}

static void publish(struct nvme_ns *ns, const struct ctrl_list *list)
{
	struct nvme_subsystem *ss = ns->subsystem;

	nvme_subsystem_publish(ss, ns->nsid, ns);
	for (unsigned i = 0; i < list->n; i++) {
		struct nvme_ctrl *ctrl = nvme_subsystem_ctrl(ss, list->id[i]);

		if (ctrl)
			nvme_event_ns_changed(ctrl, ns->nsid);
	}
}

uint16_t nvme_ns_attach_run(struct nvme_command *cmd)
{
	static struct ctrl_list list; /* control thread only */
	bool detach = select_of(cmd) == NVME_NS_ATTACH_SEL_CTRL_DEATTACH;
	struct nvme_ns *ns = NULL;
	uint16_t status;

	if (select_of(cmd) > NVME_NS_ATTACH_SEL_CTRL_DEATTACH)
		return INVALID;
	status = find_managed(cmd, &ns);
	if (!status)
		status = read_list(cmd, &list);
	if (!status)
		status = detach ? check_detach(ns, &list) : check_attach(ns, &list);
	if (status)
		return status;
	if (detach)
		unlink_first(ns, &list, list.n);
	else
		status = link_all(ns, &list);
	if (!status)
		publish(ns, &list);
	return status;
}
