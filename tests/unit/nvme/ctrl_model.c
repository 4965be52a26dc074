/* SPDX-License-Identifier: BSD-3-Clause */
#include "ctrl_model.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

struct model_queues mq;
struct model_done done[64];
unsigned n_done;
char model_dma;
uint8_t model_data[1 << 16];
uint32_t model_dw0;
struct nvme_resv_notification_log model_resv_page;
struct nvme_io_stats model_io;
uint32_t model_resv_mask;

static struct nvme_ns namespaces[MODEL_NN];
static struct nvme_ns *allocated[MODEL_NN];
static uint16_t attached[MODEL_NN][8];
static struct nvme_ctrl *ctrls[64];

/* ---- queues ---- */

/* The contract of queue_private.h: nothing is enabled before what was disabled is drained. */
static enum { OFF, ON, DRAINING } state[256]; /* by CNTLID */

static unsigned char number(const struct nvme_queues *q)
{
	return (unsigned char)((const struct nvme_ctrl *)q)->cntlid;
}

void model_drained(struct nvme_ctrl *ctrl)
{
	assert_int_equal(state[ctrl->cntlid & 0xff], DRAINING);
	state[ctrl->cntlid & 0xff] = OFF;
	mq.drained(ctrl);
}

int nvme_queues_create(struct nvme_ctrl *ctrl, unsigned max_qid, struct nvme_queues **out)
{
	*out = (struct nvme_queues *)ctrl;
	return 0;
}

void nvme_queues_destroy(struct nvme_queues *q)
{
	assert_int_equal(state[number(q)], OFF);
}

int nvme_queues_enable(struct nvme_queues *q, const struct nvme_enable *en)
{
	assert_int_equal(state[number(q)], OFF);
	mq.enables++;
	mq.enable = *en;
	if (!mq.enable_result)
		state[number(q)] = ON;
	return mq.enable_result;
}

bool nvme_queues_disable(struct nvme_queues *q, void (*drained)(struct nvme_ctrl *ctrl))
{
	assert_int_equal(state[number(q)], ON);
	state[number(q)] = mq.hold_drain ? DRAINING : OFF;
	mq.disables++;
	mq.count = 0;
	mq.drained = drained;
	mq.flushed = NULL; /* dropped without an answer */
	mq.ctrl = (struct nvme_ctrl *)q;
	return !mq.hold_drain;
}

bool nvme_queues_drain(struct nvme_queues *q, unsigned ms)
{
	assert_int_equal(state[number(q)], DRAINING);
	state[number(q)] = OFF;
	mq.drains++;
	mq.drained = NULL;
	return !mq.hang;
}

void nvme_queues_dma_changed(struct nvme_queues *q, bool on)
{
	mq.dma = on;
}

void nvme_queues_doorbell(struct nvme_queues *q, uint32_t off, uint32_t value)
{
	assert_int_equal(state[number(q)], ON);
	mq.doorbells++;
	mq.doorbell_off = off;
	mq.doorbell_value = value;
}

uint16_t nvme_cq_create(struct nvme_queues *q, uint16_t qid, uint64_t base, uint32_t size,
			uint16_t vector, bool irq)
{
	mq.creates_cq++;
	mq.qid = qid;
	mq.base = base;
	mq.size = size;
	mq.vector = vector;
	mq.irq = irq;
	return 0;
}

uint16_t nvme_sq_create(struct nvme_queues *q, uint16_t qid, uint64_t base, uint32_t size,
			uint16_t cqid, unsigned prio)
{
	mq.creates_sq++;
	mq.count++;
	mq.qid = qid;
	mq.base = base;
	mq.size = size;
	mq.cqid = cqid;
	return 0;
}

uint16_t nvme_cq_delete(struct nvme_queues *q, uint16_t qid)
{
	mq.qid = qid;
	return 0;
}

uint16_t nvme_sq_delete(struct nvme_queues *q, uint16_t qid, struct nvme_command *cmd)
{
	mq.qid = qid;
	return NVME_ST_PENDING;
}

unsigned nvme_queues_count(const struct nvme_queues *q)
{
	return mq.count;
}

uint16_t nvme_queues_abort(struct nvme_queues *q, uint16_t sqid, uint16_t cid,
			   struct nvme_command *cmd)
{
	mq.aborted_sqid = sqid;
	mq.aborted_cid = cid;
	return NVME_ST_PENDING;
}

uint16_t nvme_queues_set_dbbuf(struct nvme_queues *q, uint64_t shadow, uint64_t eventidx)
{
	mq.shadow = shadow;
	mq.eventidx = eventidx;
	return 0;
}

bool nvme_queues_has_dbbuf(const struct nvme_queues *q)
{
	return mq.shadow;
}

void nvme_queues_set_coalescing(struct nvme_queues *q, uint8_t threshold, uint8_t time)
{
	mq.threshold = threshold;
	mq.time = time;
}

void nvme_queues_set_vector_config(struct nvme_queues *q, uint16_t vector, bool no_coalescing)
{
	mq.config_vector = vector;
	mq.no_coalescing = no_coalescing;
}

void nvme_queues_flush(struct nvme_queues *q, void (*flushed)(struct nvme_ctrl *ctrl, int result))
{
	mq.flushes++;
	mq.ctrl = (struct nvme_ctrl *)q;
	mq.flushed = flushed;
	if (!mq.hold_flush || state[number(q)] != ON)
		flushed(mq.ctrl, mq.flush_result);
}

int nvme_queues_map_doorbells(struct nvme_queues *q)
{
	return -EOPNOTSUPP;
}

void nvme_queues_unmap_doorbells(struct nvme_queues *q)
{
}

void nvme_queues_clear_doorbells(struct nvme_queues *q)
{
}

void nvme_queues_counters(const struct nvme_queues *q, struct nvme_queue_counters *c)
{
	*c = (struct nvme_queue_counters){.commands = 7, .admin_commands = 3};
}

uint64_t nvme_queues_waiting(const struct nvme_queues *q, uint32_t nsid)
{
	assert_int_equal(nsid, 0);
	return mq.waiting;
}

size_t nvme_queues_memory(const struct nvme_queues *q)
{
	return 1000;
}

void nvme_command_complete(struct nvme_command *cmd, uint16_t status)
{
	assert_true(n_done < ARRAY_SIZE(done));
	done[n_done++] = (struct model_done){cmd, status, cmd->dw0};
}

/* ---- subsystem, namespaces, reservations ---- */

struct nvme_subsystem {
	int unused;
};
static struct nvme_subsystem the_ss;
struct nvme_subsystem *const model_ss = &the_ss;

struct nvme_ctrl *nvme_subsystem_ctrl(const struct nvme_subsystem *ss, uint16_t cntlid)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ctrls); i++)
		if (ctrls[i] && ctrls[i]->cntlid == cntlid)
			return ctrls[i];
	return NULL;
}

int nvme_subsystem_add(struct nvme_subsystem *ss, struct nvme_ctrl *ctrl)
{
	struct nvme_ns_table *t = calloc(1, sizeof(*t) + MODEL_NN * sizeof(t->ns[0]));
	unsigned i = 0;

	assert_non_null(t);
	assert_null(nvme_subsystem_ctrl(ss, ctrl->cntlid));
	while (ctrls[i])
		i++;
	ctrls[i] = ctrl;
	t->nn = MODEL_NN;
	atomic_store(&ctrl->ns_table, t);
	return 0;
}

void nvme_subsystem_remove(struct nvme_subsystem *ss, struct nvme_ctrl *ctrl)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ctrls); i++)
		if (ctrls[i] == ctrl)
			ctrls[i] = NULL;
	free(atomic_exchange(&ctrl->ns_table, NULL));
}

void nvme_subsystem_for_each_ctrl(struct nvme_subsystem *ss,
				  void (*cb)(void *opaque, struct nvme_ctrl *), void *opaque)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ctrls); i++)
		if (ctrls[i])
			cb(opaque, ctrls[i]);
}

const char *nvme_subsystem_nqn(const struct nvme_subsystem *ss)
{
	return "nqn.2014-08.org.nvmexpress:uuid:0";
}

const char *nvme_subsystem_serial(const struct nvme_subsystem *ss)
{
	return "S1";
}

const char *nvme_subsystem_model(const struct nvme_subsystem *ss)
{
	return "softiov NVMe";
}

unsigned nvme_subsystem_nn(const struct nvme_subsystem *ss)
{
	return MODEL_NN;
}

struct nvme_ns *nvme_subsystem_ns(const struct nvme_subsystem *ss, uint32_t nsid)
{
	return nsid && nsid <= MODEL_NN ? allocated[nsid - 1] : NULL;
}

uint64_t nvme_subsystem_total_capacity(const struct nvme_subsystem *ss)
{
	return 1000;
}

uint64_t nvme_subsystem_unallocated_capacity(const struct nvme_subsystem *ss)
{
	return 400;
}

void nvme_ns_identify(const struct nvme_ns *ns, struct nvme_id_ns *id)
{
	id->nsze = htole64(ns->nsid);
}

void nvme_ns_identify_common(const struct nvme_subsystem *ss, struct nvme_id_ns *id)
{
	id->nlbaf = 1;
}

void nvme_ns_descriptors(const struct nvme_ns *ns, uint8_t out[4096])
{
	out[0] = NVME_NIDT_UUID;
}

struct nvme_ns *model_ns(uint32_t nsid)
{
	struct nvme_ns *ns = &namespaces[nsid - 1];

	ns->nsid = nsid;
	ns->attached = attached[nsid - 1];
	allocated[nsid - 1] = ns;
	return ns;
}

void model_attach(struct nvme_ctrl *ctrl, uint32_t nsid)
{
	struct nvme_ns *ns = allocated[nsid - 1];

	atomic_load(&ctrl->ns_table)->ns[nsid - 1] = ns;
	ns->attached[ns->n_attached++] = ctrl->cntlid;
}

uint16_t nvme_ns_mgmt_run(struct nvme_command *cmd)
{
	return 0;
}

uint16_t nvme_ns_attach_run(struct nvme_command *cmd)
{
	return 0;
}

uint16_t nvme_format_run(struct nvme_command *cmd)
{
	return NVME_ST_PENDING;
}

void nvme_resv_ctrl_reset(struct nvme_ctrl *ctrl)
{
}

void nvme_resv_host_changed(struct nvme_ctrl *ctrl)
{
	mq.host_changes++;
}

int nvme_resv_take_notification(struct nvme_ctrl *ctrl, struct nvme_resv_notification_log *page)
{
	*page = model_resv_page;
	if (model_resv_page.nalp)
		model_resv_page.nalp--;
	return 0;
}

uint16_t nvme_resv_get_mask(struct nvme_ns *ns, struct nvme_ctrl *ctrl, uint32_t *mask)
{
	*mask = model_resv_mask;
	return 0;
}

uint16_t nvme_resv_set_mask(struct nvme_ns *ns, struct nvme_ctrl *ctrl, uint32_t mask)
{
	model_resv_mask = mask;
	return 0;
}

uint16_t nvme_resv_get_ptpl(struct nvme_ns *ns, uint32_t *ptpl)
{
	*ptpl = 1;
	return 0;
}

uint16_t nvme_resv_set_ptpl(struct nvme_ns *ns, bool ptpl, struct nvme_command *cmd)
{
	return NVME_ST_PENDING;
}

uint16_t nvme_resv_set_ptpl_all(struct nvme_ctrl *ctrl, bool ptpl, struct nvme_command *cmd)
{
	mq.ptpl_all++;
	return NVME_ST_PENDING;
}

void nvme_qos_set(struct nvme_qos *q, const struct nvme_limits *lim)
{
}

void nvme_stats_get(const struct nvme_stats *s, struct nvme_io_stats *out)
{
	*out = model_io;
}

uint64_t nvme_busy_ns(const struct nvme_busy *b, uint64_t since_ns)
{
	return mq.busy_ns;
}

void nvme_stats_clear(struct nvme_stats *s)
{
	memset(&model_io, 0, sizeof(model_io));
}

void nvme_stats_fini(struct nvme_stats *s)
{
}

/* ---- controllers ---- */

void model_reset(void)
{
	memset(&mq, 0, sizeof(mq));
	memset(state, 0, sizeof(state));
	memset(done, 0, sizeof(done));
	memset(namespaces, 0, sizeof(namespaces));
	memset(allocated, 0, sizeof(allocated));
	memset(&model_io, 0, sizeof(model_io));
	memset(&model_resv_page, 0, sizeof(model_resv_page));
	model_resv_mask = 0;
	n_done = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(ctrls); i++)
		assert_null(ctrls[i]);
	assert_int_equal(mailbox_init(), 0);
}

struct nvme_ctrl *model_pf(const struct nvme_ctrl_config *with)
{
	struct nvme_ctrl_config cfg = {.queue_pairs = 4};
	struct nvme_ctrl *ctrl = NULL;

	if (with)
		cfg = *with;
	cfg.name = "ssd0/pf";
	cfg.subsystem = model_ss;
	cfg.queue_size = cfg.queue_size ? cfg.queue_size : 1024;
	assert_int_equal(nvme_ctrl_create(&cfg, &ctrl), 0);
	return ctrl;
}

struct nvme_ctrl *model_vf(struct nvme_ctrl *pf, uint16_t index)
{
	struct nvme_ctrl_config cfg = {
		.name = "ssd0/vf",
		.subsystem = model_ss,
		.cntlid = (uint16_t)(pf->cfg.first_vf_cntlid + index),
		.queue_size = 1024,
		.primary = pf,
		.vf_index = index,
	};
	struct nvme_ctrl *ctrl = NULL;

	assert_int_equal(nvme_ctrl_create(&cfg, &ctrl), 0);
	return ctrl;
}

uint32_t rd32(struct nvme_ctrl *ctrl, uint64_t off)
{
	uint8_t b[4];

	assert_int_equal(pci_bar_read(ctrl->fn, 0, off, b, sizeof(b)), 0);
	return get_le32(b);
}

uint64_t rd64(struct nvme_ctrl *ctrl, uint64_t off)
{
	uint8_t b[8];

	assert_int_equal(pci_bar_read(ctrl->fn, 0, off, b, sizeof(b)), 0);
	return get_le64(b);
}

void wr32(struct nvme_ctrl *ctrl, uint64_t off, uint32_t v)
{
	uint8_t b[4];

	put_le32(b, v);
	assert_int_equal(pci_bar_write(ctrl->fn, 0, off, b, sizeof(b)), 0);
}

void wr64(struct nvme_ctrl *ctrl, uint64_t off, uint64_t v)
{
	uint8_t b[8];

	put_le64(b, v);
	assert_int_equal(pci_bar_write(ctrl->fn, 0, off, b, sizeof(b)), 0);
}

void model_enable(struct nvme_ctrl *ctrl)
{
	wr32(ctrl, NVME_REG_AQA, 0x001f001f);
	wr64(ctrl, NVME_REG_ASQ, 0x10000);
	wr64(ctrl, NVME_REG_ACQ, 0x20000);
	wr32(ctrl, NVME_REG_CC, CC_ON);
	assert_int_equal(rd32(ctrl, NVME_REG_CSTS), RDY);
}

/* ---- commands ---- */

static void fill(struct nvme_command *cmd, struct nvme_ctrl *ctrl, const struct model_cmd *c)
{
	*cmd = (struct nvme_command){
		.ctrl = ctrl,
		.sqe = {.opcode = c->opcode,
			.flags = c->flags,
			.cid = htole16(c->cid),
			.nsid = htole32(c->nsid),
			.cdw10 = htole32(c->cdw10),
			.cdw11 = htole32(c->cdw11),
			.cdw12 = htole32(c->cdw12),
			.cdw13 = htole32(c->cdw13)},
	};
	cmd->sqe.prp1 = htole64(c->prp1);
	cmd->sqe.prp2 = htole64(c->prp2);
	cmd->len = nvme_admin_data_len(&cmd->sqe, &cmd->to_host);
	assert_true(cmd->len <= sizeof(model_data));
}

uint16_t model_run(struct nvme_ctrl *ctrl, const struct model_cmd *c)
{
	struct nvme_command cmd;
	uint16_t status;

	fill(&cmd, ctrl, c);
	/* Of exactly that length, so that a sanitizer sees who goes beyond. */
	if (cmd.len) {
		cmd.data = calloc(1, cmd.len);
		assert_non_null(cmd.data);
		if (!cmd.to_host)
			memcpy(cmd.data, model_data, cmd.len);
	}
	status = nvme_admin_run(&cmd);
	if (cmd.len && cmd.to_host && !status) {
		memset(model_data, 0xaa, sizeof(model_data));
		memcpy(model_data, cmd.data, cmd.len);
	}
	free(cmd.data);
	model_dw0 = cmd.dw0;
	return status;
}

struct nvme_command *model_pend(struct nvme_ctrl *ctrl, const struct model_cmd *c)
{
	static struct nvme_command pool[64];
	static unsigned next;
	struct nvme_command *cmd = &pool[next++ % ARRAY_SIZE(pool)];

	fill(cmd, ctrl, c);
	assert_int_equal(nvme_admin_run(cmd), NVME_ST_PENDING);
	return cmd;
}
