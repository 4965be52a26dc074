/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Format NVM (Base 1.4, 5.23): blocks of 512 or 4096 bytes, and nothing left of what was there.
 *
 * The gate is closed, what is inside leaves, the backend is erased on a worker, the format changes,
 * the gate opens. Commands wait outside meanwhile. The standard forbids to return old data whatever
 * the Secure Erase Settings are, so 0 (none) and 1 (user data erase) are one; there is no key to
 * throw away for 2.
 *
 * A host that shares a namespace with others may not pull it from under them, unless it is the one
 * that manages it.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "nvme/subsystem_private.h"
#include "util/util.h"

#define LBAF(dw10) ((dw10)&0xf)
#define PI(dw10)   ((dw10) >> 5 & 7)
#define SES(dw10)  ((dw10) >> 9 & 7)
#define FORMAT_SHIFTS                                                                              \
	{                                                                                          \
		9, 12                                                                              \
	}

/* One command, of one namespace or all of a controller. */
struct format {
	struct nvme_command *cmd; /* NULL: its controller was reset; the work goes on */
	unsigned left;
	uint16_t status; /* the first that went wrong */
	uint8_t shift;
};

struct format_one {
	struct format *f;
	struct nvme_ns *ns;
};

/* ---- may it be? ---- */

static bool is_only_ours(const struct nvme_ns *ns, const struct nvme_ctrl *ctrl)
{
	for (unsigned i = 0; i < ns->n_attached; i++)
		if (ns->attached[i] != ctrl->cntlid)
			return nvme_ns_manageable(ns, ctrl);
	return true;
}

static uint16_t check_ns(const struct nvme_ns *ns, const struct nvme_ctrl *ctrl)
{
	if (nvme_resv_forbids(ns, ctrl->cntlid, NVME_ACCESS_WRITE))
		return NVME_ST_GENERIC(NVME_SC_RESERVATION_CONFLICT);
	if (ns->read_only)
		return NVME_ST_GENERIC(NVME_SC_NS_WRITE_PROTECTED);
	if (!is_only_ours(ns, ctrl))
		return NVME_ST_GENERIC(NVME_SC_OP_DENIED);
	if (ns->admin->busy == NVME_NS_FORMATTING)
		return NVME_SC_FORMAT_IN_PROGRESS;
	return ns->admin->busy == NVME_NS_IDLE ? 0 : NVME_SC_NS_NOT_READY;
}

static uint16_t check_format(uint32_t dw10, uint8_t *shift)
{
	static const uint8_t shifts[] = FORMAT_SHIFTS;

	if (SES(dw10) > NVME_FORMAT_SES_USER_DATA_ERASE)
		return NVME_ST_GENERIC(NVME_SC_INVALID_FIELD);
	if (LBAF(dw10) >= ARRAY_SIZE(shifts) || PI(dw10) != NVME_FORMAT_PI_DISABLE)
		return NVME_ST_CMD(NVME_SC_INVALID_FORMAT);
	*shift = shifts[LBAF(dw10)];
	return 0;
}

/* ---- the work ---- */

static void end_one(struct format_one *o, uint16_t status)
{
	struct format *f = o->f;

	free(o);
	if (status && !f->status)
		f->status = status;
	if (--f->left)
		return;
	if (f->cmd)
		nvme_command_complete(f->cmd, f->status);
	free(f);
}

/* Nobody is inside. */
static void change_format(struct nvme_ns *ns, uint8_t shift)
{
	ns->block_shift = shift;
	atomic_store(&ns->blocks, block_size(ns->backend) >> shift);
}

/* The gate opens, whatever came of it. Afterwards the namespace may be gone. */
static void finish(struct format_one *o, int result)
{
	struct nvme_ns *ns = o->ns;
	bool ending = ns->admin->busy == NVME_NS_ENDING;
	uint16_t status = nvme_status_of(result, 1);

	if (!ending) {
		ns->admin->busy = NVME_NS_IDLE;
		if (!result)
			change_format(ns, o->f->shift);
		nvme_ns_tell(ns);
	} else if (!result) {
		status = NVME_ST_GENERIC(NVME_SC_INVALID_NS);
	}
	end_one(o, status);
	nvme_gate_open(ns->gate);
}

static void erased(void *opaque, int result)
{
	struct format_one *o = opaque;

	o->ns->admin->erase = NULL;
	finish(o, result);
}

static void drained(void *opaque)
{
	struct format_one *o = opaque;
	struct nvme_ns *ns = o->ns;
	int r = -ECANCELED;

	if (ns->admin->busy == NVME_NS_FORMATTING)
		r = nvme_erase_start(ns->subsystem->pool, ns->backend, erased, o,
				     &ns->admin->erase);
	if (r)
		finish(o, r);
}

static void cancel(struct nvme_command *cmd)
{
	((struct format *)cmd->opaque)->cmd = NULL;
}

static bool start(struct format *f, struct nvme_ns *ns)
{
	struct format_one *o = malloc(sizeof(*o));

	if (!o)
		return false;
	*o = (struct format_one){f, ns};
	f->left++;
	ns->admin->busy = NVME_NS_FORMATTING;
	nvme_gate_close(ns->gate, drained, o);
	return true;
}

/* ---- the command ---- */

static bool is_meant(const struct nvme_command *cmd, const struct nvme_ns *ns)
{
	uint32_t nsid = le32toh(cmd->sqe.nsid);

	return ns && (nsid == NVME_NSID_ALL || nsid == ns->nsid) &&
	       nvme_ns_is_attached(ns, cmd->ctrl->cntlid);
}

/* FNA bit 0 is clear: one namespace, or (FFFFFFFFh) all that are attached; all of them may be
 * formatted, or none is. */
static uint16_t check_all(const struct nvme_command *cmd, unsigned *n)
{
	const struct nvme_subsystem *ss = cmd->ctrl->subsystem;
	uint32_t nsid = le32toh(cmd->sqe.nsid);

	if (nsid != NVME_NSID_ALL && (!nsid || nsid > ss->nn))
		return NVME_ST_GENERIC(NVME_SC_INVALID_NS);
	for (unsigned i = 0; i < ss->nn; i++) {
		uint16_t status;

		if (!is_meant(cmd, ss->ns[i]))
			continue;
		status = check_ns(ss->ns[i], cmd->ctrl);
		if (status)
			return status;
		++*n;
	}
	return *n || nsid == NVME_NSID_ALL ? 0 : NVME_ST_GENERIC(NVME_SC_INVALID_FIELD);
}

uint16_t nvme_format_run(struct nvme_command *cmd)
{
	const struct nvme_subsystem *ss = cmd->ctrl->subsystem;
	unsigned n = 0;
	uint8_t shift;
	uint16_t status = check_format(le32toh(cmd->sqe.cdw10), &shift);
	struct format *f;

	if (!status)
		status = check_all(cmd, &n);
	if (status || !n)
		return status;
	f = calloc(1, sizeof(*f));
	if (!f)
		return NVME_SC_INTERNAL;
	/* one more, for this function: the work may fail within the calls */
	*f = (struct format){.cmd = cmd, .left = 1, .shift = shift};
	cmd->opaque = f;
	cmd->cancel = cancel;
	for (unsigned i = 0; i < ss->nn; i++)
		if (is_meant(cmd, ss->ns[i]) && !start(f, ss->ns[i]) && !f->status)
			f->status = NVME_SC_INTERNAL;
	if (--f->left)
		return NVME_ST_PENDING;
	status = f->status;
	free(f);
	return status;
}
