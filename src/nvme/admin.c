/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Admin commands (Base 5): the table of them, and those about queues.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "nvme/admin_private.h"
#include "nvme/state_private.h"
#include "nvme/virt_private.h"
#include "util/util.h"

#define IDENTIFY_LEN	   4096u
#define CTRL_LIST_LEN	   4096u
#define QUEUE_CONTIGUOUS   1u /* cdw11: PC */
#define QUEUE_INTERRUPTS   2u /* cdw11: IEN */
#define NS_MGMT_SEL_MASK   0xfu
#define EFFECTS_NS_CREATED (NVME_CMD_EFFECTS_CSUPP | NVME_CMD_EFFECTS_NIC)

struct admin_op {
	uint8_t opcode;
	uint16_t (*run)(struct nvme_command *cmd);
	/* Bytes and direction; NULL: none. */
	uint32_t (*data_len)(const struct nvme_sqe *sqe, bool *to_host);
	/* NULL: by every controller. */
	bool (*offered)(const struct nvme_ctrl *ctrl);
	uint32_t effects;
};

/* ---- what others ask ---- */

bool nvme_admin_has_ns_management(const struct nvme_ctrl *ctrl)
{
	return !ctrl->primary && !ctrl->cfg.managed;
}

bool nvme_admin_has_virtualization(const struct nvme_ctrl *ctrl)
{
	return !ctrl->primary && !ctrl->cfg.managed && ctrl->cfg.total_vfs;
}

static bool has_doorbell_buffer(const struct nvme_ctrl *ctrl)
{
	return !ctrl->cfg.no_doorbell_buffer;
}

struct nvme_ns *nvme_admin_ns(const struct nvme_ctrl *ctrl, uint32_t nsid)
{
	const struct nvme_ns_table *t =
		atomic_load_explicit(&((struct nvme_ctrl *)ctrl)->ns_table, memory_order_acquire);

	return t && nsid && nsid <= t->nn ? t->ns[nsid - 1] : NULL;
}

bool nvme_admin_nsid_valid(const struct nvme_ctrl *ctrl, uint32_t nsid)
{
	return nsid && nsid <= nvme_subsystem_nn(ctrl->subsystem);
}

unsigned nvme_admin_max_queues(const struct nvme_ctrl *ctrl)
{
	unsigned vq = nvme_virt_vq(ctrl);

	return MIN(MAX(vq, 2u) - 1, (unsigned)NVME_QUEUE_PAIRS_MAX);
}

/* ---- queues ---- */

static uint64_t page_mask(const struct nvme_ctrl *ctrl)
{
	return (1ull << (12 + NVME_CC_MPS(ctrl->cc))) - 1;
}

/* What the creation of either kind is refused for (5.3, 5.4); in the order of the fields. */
static uint16_t check_create(const struct nvme_command *cmd, unsigned qids, unsigned entry_shift,
			     unsigned entry_shift_want)
{
	const struct nvme_ctrl *ctrl = cmd->ctrl;
	uint32_t dw10 = le32toh(cmd->sqe.cdw10), dw11 = le32toh(cmd->sqe.cdw11);
	uint64_t base = le64toh(cmd->sqe.prp1);
	uint16_t qid = (uint16_t)dw10, size = (uint16_t)(dw10 >> 16); /* 0-based */

	if (!qid || qid > qids)
		return NVME_ST_CMD(NVME_SC_QID_INVALID);
	if (!size || size > ctrl->cfg.queue_size - 1 || entry_shift != entry_shift_want)
		return NVME_ST_CMD(NVME_SC_QUEUE_SIZE);
	/* CAP.CQR: rings are contiguous */
	if (!(dw11 & QUEUE_CONTIGUOUS) || !base)
		return NVME_ST_GENERIC(NVME_SC_INVALID_FIELD);
	if (base & page_mask(ctrl))
		return NVME_ST_GENERIC(NVME_SC_PRP_INVALID_OFFSET);
	return 0;
}

static uint32_t queue_entries(const struct nvme_command *cmd)
{
	return (le32toh(cmd->sqe.cdw10) >> 16) + 1;
}

/* Interrupt resources that the MSI-X table has yet to follow are of no use. */
static bool vector_exists(const struct nvme_ctrl *ctrl, uint16_t vector)
{
	return vector < nvme_virt_vi(ctrl) && vector < pci_function_num_vectors(ctrl->fn);
}

static uint16_t create_cq(struct nvme_command *cmd)
{
	struct nvme_ctrl *ctrl = cmd->ctrl;
	uint32_t dw11 = le32toh(cmd->sqe.cdw11);
	uint16_t vector = (uint16_t)(dw11 >> 16);
	uint16_t status = check_create(cmd, ctrl->admin->features.cqs, NVME_CC_IOCQES(ctrl->cc),
				       NVME_CQE_SHIFT);
	bool irq = dw11 & QUEUE_INTERRUPTS;

	if (status)
		return status;
	if (irq && !vector_exists(ctrl, vector))
		return NVME_ST_CMD(NVME_SC_INVALID_VECTOR);
	return nvme_cq_create(ctrl->queues, (uint16_t)le32toh(cmd->sqe.cdw10),
			      le64toh(cmd->sqe.prp1), queue_entries(cmd), vector, irq);
}

static uint16_t create_sq(struct nvme_command *cmd)
{
	struct nvme_ctrl *ctrl = cmd->ctrl;
	uint32_t dw11 = le32toh(cmd->sqe.cdw11);
	uint16_t cqid = (uint16_t)(dw11 >> 16);
	uint16_t status = check_create(cmd, ctrl->admin->features.sqs, NVME_CC_IOSQES(ctrl->cc),
				       NVME_SQE_SHIFT);

	if (status)
		return status;
	if (!cqid)
		return NVME_ST_CMD(NVME_SC_CQ_INVALID);
	if (cqid > ctrl->admin->features.cqs)
		return NVME_ST_CMD(NVME_SC_QID_INVALID);
	return nvme_sq_create(ctrl->queues, (uint16_t)le32toh(cmd->sqe.cdw10),
			      le64toh(cmd->sqe.prp1), queue_entries(cmd), cqid, dw11 >> 1 & 3);
}

static uint16_t delete_cq(struct nvme_command *cmd)
{
	uint16_t qid = (uint16_t)le32toh(cmd->sqe.cdw10);

	if (!qid || qid > cmd->ctrl->admin->features.cqs)
		return NVME_ST_CMD(NVME_SC_QID_INVALID);
	return nvme_cq_delete(cmd->ctrl->queues, qid);
}

static uint16_t delete_sq(struct nvme_command *cmd)
{
	uint16_t qid = (uint16_t)le32toh(cmd->sqe.cdw10);

	if (!qid || qid > cmd->ctrl->admin->features.sqs)
		return NVME_ST_CMD(NVME_SC_QID_INVALID);
	return nvme_sq_delete(cmd->ctrl->queues, qid, cmd);
}

#define NOT_ABORTED 1u /* dw0 of Abort's completion */

/* Admin commands but for Asynchronous Event Requests are over before an Abort could find them. */
static uint16_t abort_command(struct nvme_command *cmd)
{
	struct nvme_ctrl *ctrl = cmd->ctrl;
	uint32_t dw10 = le32toh(cmd->sqe.cdw10);
	uint16_t sqid = (uint16_t)dw10, cid = (uint16_t)(dw10 >> 16);

	cmd->dw0 = NOT_ABORTED;
	if (sqid)
		return nvme_queues_abort(ctrl->queues, sqid, cid, cmd);
	if (nvme_events_abort(ctrl, cid))
		cmd->dw0 = 0;
	return 0;
}

static uint16_t doorbell_buffer_config(struct nvme_command *cmd)
{
	uint64_t shadow = le64toh(cmd->sqe.prp1), eventidx = le64toh(cmd->sqe.prp2);

	if (!shadow || !eventidx || (shadow | eventidx) & page_mask(cmd->ctrl))
		return NVME_ST_GENERIC(NVME_SC_INVALID_FIELD);
	return nvme_queues_set_dbbuf(cmd->ctrl->queues, shadow, eventidx);
}

/* ---- lengths ---- */

static uint32_t identify_len(const struct nvme_sqe *sqe, bool *to_host)
{
	*to_host = true;
	return IDENTIFY_LEN;
}

/* NUMD is 0-based and of 32 bits; what does not fit is beyond any limit anyway. */
static uint32_t log_page_len(const struct nvme_sqe *sqe, bool *to_host)
{
	uint64_t numd = (uint64_t)(le32toh(sqe->cdw11) & 0xffff) << 16 | le32toh(sqe->cdw10) >> 16;

	*to_host = true;
	return (uint32_t)MIN((numd + 1) * 4, (uint64_t)UINT32_MAX);
}

static uint32_t get_features_len(const struct nvme_sqe *sqe, bool *to_host)
{
	*to_host = true;
	return nvme_features_data_len(sqe);
}

static uint32_t set_features_len(const struct nvme_sqe *sqe, bool *to_host)
{
	return nvme_features_data_len(sqe);
}

static uint32_t ns_mgmt_len(const struct nvme_sqe *sqe, bool *to_host)
{
	return (le32toh(sqe->cdw10) & NS_MGMT_SEL_MASK) == NVME_NS_MGMT_SEL_CREATE ? IDENTIFY_LEN
										   : 0;
}

static uint32_t ns_attach_len(const struct nvme_sqe *sqe, bool *to_host)
{
	return CTRL_LIST_LEN;
}

/* ---- the table ---- */

static const struct admin_op ops[] = {
	{nvme_admin_delete_sq, delete_sq, NULL, NULL, NVME_CMD_EFFECTS_CSUPP},
	{nvme_admin_create_sq, create_sq, NULL, NULL, NVME_CMD_EFFECTS_CSUPP},
	{nvme_admin_get_log_page, nvme_get_log_page_run, log_page_len, NULL,
	 NVME_CMD_EFFECTS_CSUPP},
	{nvme_admin_delete_cq, delete_cq, NULL, NULL, NVME_CMD_EFFECTS_CSUPP},
	{nvme_admin_create_cq, create_cq, NULL, NULL, NVME_CMD_EFFECTS_CSUPP},
	{nvme_admin_identify, nvme_identify_run, identify_len, NULL, NVME_CMD_EFFECTS_CSUPP},
	{nvme_admin_abort_cmd, abort_command, NULL, NULL, NVME_CMD_EFFECTS_CSUPP},
	{nvme_admin_set_features, nvme_set_features_run, set_features_len, NULL,
	 NVME_CMD_EFFECTS_CSUPP},
	{nvme_admin_get_features, nvme_get_features_run, get_features_len, NULL,
	 NVME_CMD_EFFECTS_CSUPP},
	{nvme_admin_async_event, nvme_async_event_run, NULL, NULL, NVME_CMD_EFFECTS_CSUPP},
	{nvme_admin_ns_mgmt, nvme_ns_mgmt_run, ns_mgmt_len, nvme_admin_has_ns_management,
	 EFFECTS_NS_CREATED},
	{nvme_admin_ns_attach, nvme_ns_attach_run, ns_attach_len, nvme_admin_has_ns_management,
	 EFFECTS_NS_CREATED},
	{nvme_admin_virtual_mgmt, nvme_virt_run, NULL, nvme_admin_has_virtualization,
	 NVME_CMD_EFFECTS_CSUPP},
	{nvme_admin_dbbuf, doorbell_buffer_config, NULL, has_doorbell_buffer,
	 NVME_CMD_EFFECTS_CSUPP},
	{nvme_admin_format_nvm, nvme_format_run, NULL, NULL,
	 NVME_CMD_EFFECTS_CSUPP | NVME_CMD_EFFECTS_LBCC | NVME_CMD_EFFECTS_NCC},
};

static const struct admin_op *find(uint8_t opcode)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
		if (ops[i].opcode == opcode)
			return &ops[i];
	return NULL;
}

static const struct admin_op *find_offered(const struct nvme_ctrl *ctrl, uint8_t opcode)
{
	const struct admin_op *op = find(opcode);

	return op && (!op->offered || op->offered(ctrl)) ? op : NULL;
}

uint32_t nvme_admin_effects(const struct nvme_ctrl *ctrl, uint8_t opcode)
{
	const struct admin_op *op = find_offered(ctrl, opcode);

	return op ? op->effects : 0;
}

uint32_t nvme_admin_data_len(const struct nvme_sqe *sqe, bool *to_host)
{
	const struct admin_op *op = find(sqe->opcode);

	*to_host = false;
	return op && op->data_len ? op->data_len(sqe, to_host) : 0;
}

static uint16_t run(struct nvme_command *cmd)
{
	const struct admin_op *op = find_offered(cmd->ctrl, cmd->sqe.opcode);

	if (!op)
		return NVME_ST_GENERIC(NVME_SC_INVALID_OPCODE);
	/* Over PCIe admin commands use PRPs, and none is fused (4.2, 4.10). */
	if (NVME_SQE_PSDT(cmd->sqe.flags) != NVME_PSDT_PRP ||
	    NVME_SQE_FUSE(cmd->sqe.flags) != NVME_FUSE_NORMAL)
		return NVME_ST_GENERIC(NVME_SC_INVALID_FIELD);
	return op->run(cmd);
}

uint16_t nvme_admin_run(struct nvme_command *cmd)
{
	/* A pending command may be gone when run() returns. */
	struct nvme_ctrl *ctrl = cmd->ctrl;
	uint16_t cid = le16toh(cmd->sqe.cid);
	uint32_t nsid = le32toh(cmd->sqe.nsid);
	uint16_t status = run(cmd);

	if (status && status != NVME_ST_PENDING)
		nvme_log_error(ctrl, 0, cid, status, nsid, 0);
	return status;
}

/* ---- life ---- */

int nvme_admin_create(struct nvme_ctrl *ctrl)
{
	int ret;

	ctrl->admin = calloc(1, sizeof(*ctrl->admin));
	if (!ctrl->admin)
		return -ENOMEM;
	ret = nvme_logs_init(ctrl);
	if (ret < 0) {
		free(ctrl->admin);
		ctrl->admin = NULL;
		return ret;
	}
	nvme_events_init(ctrl);
	return 0;
}

void nvme_admin_destroy(struct nvme_ctrl *ctrl)
{
	if (!ctrl->admin)
		return;
	nvme_events_fini(ctrl);
	nvme_logs_fini(ctrl);
	free(ctrl->admin);
	ctrl->admin = NULL;
}

void nvme_admin_reset(struct nvme_ctrl *ctrl)
{
	nvme_features_reset(ctrl);
	nvme_events_reset(ctrl);
	/* whoever comes next is another host, as long as it does not say who it is */
	nvme_resv_ctrl_reset(ctrl);
}

void nvme_admin_drop_pending(struct nvme_ctrl *ctrl)
{
	/* A worker may have posted one more before it stopped, which is nothing to the next life.
	 */
	nvme_events_reset(ctrl);
	ctrl->admin->events.aers = NULL;
	ctrl->admin->events.n_aers = 0;
}
