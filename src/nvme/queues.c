/* SPDX-License-Identifier: BSD-3-Clause */
/* Queues as the admin commands and doorbells see them. */
#include <errno.h>
#include <stdlib.h>

#include "nvme/group_private.h"

#define QID_INVALID   NVME_ST_CMD(NVME_SC_QID_INVALID)
#define INVALID_FIELD NVME_ST_GENERIC(NVME_SC_INVALID_FIELD)

/* ---- doorbells ---- */

static void bad_doorbell(struct nvme_queues *q, uint32_t off, uint32_t value, uint8_t info)
{
	log_guest(&q->ctrl->log, "%s: doorbell at %u: %u is no valid %s", q->ctrl->name, off, value,
		  info == NVME_AER_ERROR_INVALID_DB_REG ? "doorbell" : "value");
	nvme_event_post(q->ctrl, NVME_AER_ERROR, info, NVME_LOG_LID_ERROR);
}

static struct nvme_doorbell *find_doorbell(struct nvme_queues *q, uint32_t off,
					   struct nvme_group **g)
{
	uint32_t qid = off / 8;

	if (off % 4 || qid > q->max_qid)
		return NULL;
	*g = off & 4 ? q->cqs[qid] : q->sqs[qid] ? q->sqs[qid]->g : NULL;
	if (!*g)
		return NULL;
	return off & 4 ? &(*g)->cq.ack : &q->sqs[qid]->tail;
}

/* 3.1.24, 3.1.25: what is wrong is ignored, and told (5.2.1). */
void nvme_queues_doorbell(struct nvme_queues *q, uint32_t off, uint32_t value)
{
	struct nvme_group *g = NULL;
	struct nvme_doorbell *d;

	q->kicks++;
	if (!q->started)
		return;
	d = find_doorbell(q, off, &g);
	if (!d) {
		bad_doorbell(q, off, value, NVME_AER_ERROR_INVALID_DB_REG);
		return;
	}
	if (value >= d->size) {
		bad_doorbell(q, off, value, NVME_AER_ERROR_INVALID_DB_VAL);
		return;
	}
	atomic_store_explicit(d->reg, htole32(value), memory_order_release);
	if (q->dbbuf)
		atomic_store_explicit(&d->rung, true, memory_order_release);
	poller_kick(&g->poller);
}

/* ---- creation and deletion (5.3 to 5.6) ---- */

static bool in_memory(struct nvme_queues *q, uint64_t base, uint64_t len, uint32_t prot)
{
	struct dma_space *dma = pci_function_dma(q->ctrl->fn);
	struct nvme_mem m = {.fn = q->ctrl->fn, .space = dma};
	bool ok;

	if (!dma)
		return false;
	m.view = q->remote ? NULL : dma_view_get(dma);
	ok = nvme_mem_ok(&m, base, len, prot);
	if (m.met_remote)
		atomic_store(&q->met_remote, true);
	return ok;
}

static uint16_t check_ring(struct nvme_queues *q, uint16_t qid, bool taken, uint64_t base,
			   uint32_t size)
{
	uint32_t max = q->ctrl->cfg.queue_size ? q->ctrl->cfg.queue_size : NVME_QUEUE_SIZE_MAX;

	if (!qid || qid > q->max_qid || taken)
		return QID_INVALID;
	if (size < 2 || size > max)
		return NVME_ST_CMD(NVME_SC_QUEUE_SIZE);
	if (base & ((1ull << q->en.page_shift) - 1))
		return NVME_ST_GENERIC(NVME_SC_PRP_INVALID_OFFSET);
	return 0;
}

static int post_dbbuf(struct nvme_queues *q, struct nvme_group *g)
{
	struct nvme_group_op *op = nvme_group_op_new(g);

	if (!op)
		return -ENOMEM;
	op->run = nvme_op_dbbuf;
	op->shadow = q->shadow;
	op->eventidx = q->eventidx;
	nvme_group_op_post(op);
	return 0;
}

uint16_t nvme_cq_create(struct nvme_queues *q, uint16_t qid, uint64_t base, uint32_t size,
			uint16_t vector, bool irq)
{
	struct nvme_cq cq = {.qid = qid, .base = base, .vector = vector, .irq = irq};
	uint16_t st = check_ring(q, qid, qid <= q->max_qid && q->cqs[qid], base, size);
	struct nvme_group *g;

	if (st)
		return st;
	if (irq && vector >= nvme_virt_vi(q->ctrl))
		return NVME_ST_CMD(NVME_SC_INVALID_VECTOR);
	if (!in_memory(q, base, (uint64_t)size << NVME_CQE_SHIFT, DMA_PROT_WRITE))
		return INVALID_FIELD;
	cq.size = (uint16_t)size;
	if (nvme_group_create(q, &cq, &g))
		return NVME_SC_INTERNAL;
	if (q->dbbuf && post_dbbuf(q, g)) {
		nvme_group_end(g);
		return NVME_SC_INTERNAL;
	}
	return 0;
}

uint16_t nvme_sq_create(struct nvme_queues *q, uint16_t qid, uint64_t base, uint32_t size,
			uint16_t cqid, unsigned prio)
{
	uint16_t st = check_ring(q, qid, qid <= q->max_qid && q->sqs[qid], base, size);

	if (st)
		return st;
	if (!cqid || cqid > q->max_qid || !q->cqs[cqid])
		return NVME_ST_CMD(NVME_SC_CQ_INVALID);
	if (!in_memory(q, base, (uint64_t)size << NVME_SQE_SHIFT, DMA_PROT_READ))
		return INVALID_FIELD;
	if (nvme_group_add_sq(q->cqs[cqid], qid, base, (uint16_t)size))
		return NVME_SC_INTERNAL;
	q->n_sqs++;
	return 0;
}

uint16_t nvme_cq_delete(struct nvme_queues *q, uint16_t qid)
{
	if (!qid || qid > q->max_qid || !q->cqs[qid])
		return QID_INVALID;
	if (q->cqs[qid]->n_sqs)
		return NVME_ST_CMD(NVME_SC_INVALID_QUEUE);
	nvme_group_end(q->cqs[qid]);
	return 0;
}

static void sq_deleted(struct nvme_group_op *op)
{
	struct nvme_queues *q = op->g->q;

	q->sqs[op->sq->qid] = NULL;
	op->g->n_sqs--;
	q->n_sqs--;
	free(op->sq);
	if (op->cmd)
		nvme_command_complete(op->cmd, 0);
}

uint16_t nvme_sq_delete(struct nvme_queues *q, uint16_t qid, struct nvme_command *cmd)
{
	struct nvme_sq *sq = qid && qid <= q->max_qid ? q->sqs[qid] : NULL;
	struct nvme_group_op *op;

	if (!sq || sq->going)
		return QID_INVALID;
	op = nvme_group_op_new(sq->g);
	if (!op)
		return NVME_SC_INTERNAL;
	sq->going = true;
	op->run = nvme_op_sq_delete;
	op->reply = sq_deleted;
	op->sq = sq;
	op->cmd = cmd;
	nvme_group_op_post(op);
	return NVME_ST_PENDING;
}

unsigned nvme_queues_count(const struct nvme_queues *q)
{
	return q->n_sqs;
}

/* ---- Abort ---- */

static void abort_answered(struct nvme_group_op *op)
{
	op->cmd->dw0 = (uint32_t)op->result;
	nvme_command_complete(op->cmd, 0);
}

static unsigned aborts_pending(const struct nvme_queues *q)
{
	unsigned n = 0;

	for (const struct nvme_group *g = q->groups; g; g = g->next)
		for (const struct nvme_group_op *op = g->ops_out; op; op = op->cnext)
			n += op->reply == abort_answered;
	return n;
}

uint16_t nvme_queues_abort(struct nvme_queues *q, uint16_t sqid, uint16_t cid,
			   struct nvme_command *cmd)
{
	struct nvme_group_op *op;

	cmd->dw0 = 1;
	/* admin commands are with the control thread already */
	if (!sqid || sqid > q->max_qid || !q->sqs[sqid])
		return 0;
	/* without Do Not Retry: there is room again soon */
	if (aborts_pending(q) >= NVME_ABORTS_MAX)
		return NVME_ST_CMD(NVME_SC_ABORT_LIMIT) & ~NVME_ST_DNR;
	op = nvme_group_op_new(q->sqs[sqid]->g);
	if (!op)
		return 0;
	op->run = nvme_op_abort;
	op->reply = abort_answered;
	op->result = 1;
	op->cmd = cmd;
	op->sqid = sqid;
	op->cid = cid;
	nvme_group_op_post(op);
	return NVME_ST_PENDING;
}

/* ---- shadow doorbells ---- */

static void forget_rung(struct nvme_queues *q)
{
	for (unsigned i = 1; i <= q->max_qid; i++) {
		if (q->sqs[i])
			atomic_store(&q->sqs[i]->tail.rung, false);
		if (q->cqs[i])
			atomic_store(&q->cqs[i]->cq.ack.rung, false);
	}
}

uint16_t nvme_queues_set_dbbuf(struct nvme_queues *q, uint64_t shadow, uint64_t eventidx)
{
	uint64_t mask = (1ull << q->en.page_shift) - 1;
	struct nvme_group *g;

	if ((shadow | eventidx) & mask)
		return NVME_ST_GENERIC(NVME_SC_PRP_INVALID_OFFSET);
	if (!in_memory(q, shadow, PAGE_SIZE_4K, DMA_PROT_READ) ||
	    !in_memory(q, eventidx, PAGE_SIZE_4K, DMA_PROT_WRITE))
		return INVALID_FIELD;
	q->shadow = shadow;
	q->eventidx = eventidx;
	q->dbbuf = true;
	forget_rung(q);
	for (g = q->groups; g; g = g->next) {
		if (g->cq.qid && post_dbbuf(q, g))
			return NVME_SC_INTERNAL;
	}
	return 0;
}

bool nvme_queues_has_dbbuf(const struct nvme_queues *q)
{
	return q->dbbuf;
}

/* ---- interrupts ---- */

void nvme_queues_set_coalescing(struct nvme_queues *q, uint8_t threshold, uint8_t time)
{
	atomic_store(&q->threshold, threshold);
	atomic_store(&q->time_ns, time * (uint32_t)(100 * NS_PER_US));
}

void nvme_queues_set_vector_config(struct nvme_queues *q, uint16_t vector, bool no_coalescing)
{
	uint64_t bit = BIT_ULL(vector % 64);

	if (vector >= 64 * ARRAY_SIZE(q->no_coalescing))
		return;
	if (no_coalescing)
		atomic_fetch_or(&q->no_coalescing[vector / 64], bit);
	else
		atomic_fetch_and(&q->no_coalescing[vector / 64], ~bit);
}

/* ---- flushing ---- */

static void flushed(struct nvme_group_op *op)
{
	op->flushed(op->g->ctrl, op->result);
}

void nvme_queues_flush(struct nvme_queues *q, void (*done)(struct nvme_ctrl *ctrl, int result))
{
	struct nvme_group *g = q->started ? q->cqs[0] : NULL;
	struct nvme_group_op *op = g ? nvme_group_op_new(g) : NULL;

	if (!op) {
		done(q->ctrl, g ? -ENOMEM : 0);
		return;
	}
	op->run = nvme_op_flush;
	op->reply = flushed;
	op->flushed = done;
	nvme_group_op_post(op);
}

/* ---- counters ---- */

static void add_counters(const struct nvme_group *g, struct nvme_queue_counters *c)
{
	struct nvme_group *w = (struct nvme_group *)g;
	uint64_t n = atomic_load_explicit(&w->n_commands, memory_order_relaxed);

	*(g->cq.qid ? &c->commands : &c->admin_commands) += n;
	c->interrupts += atomic_load_explicit(&w->n_interrupts, memory_order_relaxed);
}

void nvme_queues_counters(const struct nvme_queues *q, struct nvme_queue_counters *c)
{
	*c = q->gone;
	for (const struct nvme_group *g = q->groups; g; g = g->next)
		add_counters(g, c);
	c->kicks = q->kicks;
	c->remote_memory = q->remote;
}

uint64_t nvme_queues_waiting(const struct nvme_queues *q, uint32_t nsid)
{
	uint64_t n = 0;

	if (nsid > NVME_NAMESPACES_MAX)
		return 0;
	for (struct nvme_group *g = q->groups; g; g = g->next)
		n += atomic_load_explicit(&g->waiting[nsid], memory_order_relaxed);
	return n;
}

size_t nvme_queues_memory(const struct nvme_queues *q)
{
	size_t n = sizeof(*q) + 2 * (q->max_qid + 1) * sizeof(void *) +
		   q->n_sqs * sizeof(struct nvme_sq);

	for (struct nvme_group *g = q->groups; g; g = g->next)
		n += sizeof(*g) + atomic_load_explicit(&g->memory, memory_order_relaxed);
	return n;
}
