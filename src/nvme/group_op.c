/* SPDX-License-Identifier: BSD-3-Clause */
/* What the control thread asks of a group, and how its commands are made to end. */
#include <errno.h>
#include <stdlib.h>

#include "nvme/group_private.h"

/* ---- passing ---- */

static void unlink_op(struct nvme_group_op *op)
{
	struct nvme_group *g = op->g;

	if (op->cprev)
		op->cprev->cnext = op->cnext;
	else
		g->ops_out = op->cnext;
	if (op->cnext)
		op->cnext->cprev = op->cprev;
}

static void answer(struct nvme_group_op *op, bool reply)
{
	struct nvme_transport *hold = op->hold;

	unlink_op(op);
	if (reply && op->reply)
		op->reply(op);
	if (reply && hold)
		nvme_transport_unhold(hold);
	free(op);
}

static void answer_run(struct mailbox_work *work)
{
	struct nvme_group_op *op = container_of(work, struct nvme_group_op, work);

	if (!atomic_load(&op->g->stopping)) /* else nvme_group_ops_end() comes */
		answer(op, true);
}

struct nvme_group_op *nvme_group_op_new(struct nvme_group *g)
{
	struct nvme_group_op *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->g = g;
	op->work.run = answer_run;
	return op;
}

void nvme_group_op_post(struct nvme_group_op *op)
{
	struct nvme_group *g = op->g;
	struct nvme_group_op *head = atomic_load(&g->ops);

	op->cnext = g->ops_out;
	if (op->cnext)
		op->cnext->cprev = op;
	g->ops_out = op;
	if (g->q->running && !op->cmd) {
		op->hold = g->q->running;
		nvme_transport_hold(op->hold);
	}
	do
		op->next = head;
	while (!atomic_compare_exchange_weak(&g->ops, &head, op));
	poller_kick(&g->poller);
}

void nvme_group_op_done(struct nvme_group_op *op)
{
	mailbox_post(&op->work);
}

bool nvme_group_run_ops(struct nvme_group *g)
{
	struct nvme_group_op *op = atomic_exchange(&g->ops, NULL), *next, *list = NULL;

	for (; op; op = next) {
		next = op->next;
		op->next = list;
		list = op;
	}
	for (op = list; op; op = next) {
		next = op->next;
		op->next = NULL;
		if (op->run(g, op))
			nvme_group_op_done(op);
	}
	return true;
}

void nvme_group_ops_end(struct nvme_group *g, bool reply)
{
	while (g->ops_out) {
		mailbox_cancel(&g->ops_out->work);
		answer(g->ops_out, reply);
	}
}

/* ---- ending one command early ---- */

/* True when it will be completed with that status, or as it went, without anybody's help. */
static bool end_early(struct nvme_group *g, struct nvme_io *io, uint16_t status)
{
	switch (io->where) {
	case IO_LIMITED:
		nvme_io_refund(g, io);
		nvme_list_del(g, io);
		nvme_io_settle(g, io, status);
		return true;
	case IO_RETRY:
	case IO_YIELD:
		nvme_list_del(g, io);
		nvme_io_settle(g, io, status);
		return true;
	case IO_BACKEND:
		io->end_status = status;
		block_cancel(&io->req);
		return true;
	case IO_DONE:
		io->end_status = status;
		return true;
	default:
		return false;
	}
}

static bool is_its(const struct nvme_io *io, uint16_t sqid, uint16_t cid)
{
	return io->sq && io->sq->qid == sqid && io->sqe.cid == cid;
}

static struct nvme_io *find(struct nvme_group *g, uint16_t sqid, uint16_t cid)
{
	struct nvme_io *io;

	for (unsigned w = 0; w < IO_STAGED; w++) {
		for (io = g->lists[w].head; io; io = io->next) {
			if (is_its(io, sqid, cid))
				return io;
		}
	}
	return NULL;
}

/* ---- Abort (5.1): waits a moment for the backend to let go ---- */

static void abort_take(struct nvme_group *g, struct nvme_group_op *op)
{
	struct nvme_group_op **p = &g->aborts;

	while (*p != op)
		p = &(*p)->next;
	*p = op->next;
	op->io->owner = NULL;
	op->io = NULL;
	nvme_group_op_done(op);
}

/* The completion has been posted, so the answer comes after it. */
void nvme_abort_finish(struct nvme_group *g, struct nvme_io *io)
{
	struct nvme_group_op *op = io->owner;

	op->result = (io->status & ~NVME_ST_DNR) == NVME_SC_ABORT_REQ ? 0 : 1;
	abort_take(g, op);
}

void nvme_aborts_expire(struct nvme_group *g, uint64_t now_ns)
{
	struct nvme_group_op *op, *next;

	for (op = g->aborts; op; op = next) {
		next = op->next;
		if (op->deadline_ns <= now_ns)
			abort_take(g, op);
	}
}

bool nvme_op_abort(struct nvme_group *g, struct nvme_group_op *op)
{
	struct nvme_io *io = find(g, op->sqid, op->cid);

	op->result = 1;
	if (!io || io->owner || io->in_fused)
		return true;
	io->owner = op;
	op->io = io;
	op->deadline_ns = clock_now_ns() + NVME_ABORT_WAIT_NS;
	op->next = g->aborts;
	g->aborts = op;
	end_early(g, io, NVME_SC_ABORT_REQ);
	return false;
}

/* ---- submission queues come and go ---- */

bool nvme_op_sq_add(struct nvme_group *g, struct nvme_group_op *op)
{
	struct nvme_sq *sq = op->sq;

	sq->next = g->sqs;
	g->sqs = sq;
	g->generation = 0; /* pointers are made at the next turn's begin */
	if (g->dbbuf)
		nvme_dbbuf_begin(g, &sq->tail);
	return true;
}

void nvme_sq_maybe_deleted(struct nvme_group *g, struct nvme_sq *sq)
{
	struct nvme_sq **p = &g->sqs;
	struct nvme_group_op *op;

	if (sq->outstanding || !sq->delete_op)
		return;
	while (*p != sq)
		p = &(*p)->next;
	*p = sq->next;
	op = sq->delete_op;
	sq->delete_op = NULL;
	nvme_group_op_done(op); /* which frees sq */
}

/* 5.6: commands that can be are ended, the others waited for; what is still in the ring is never
 * looked at. */
bool nvme_op_sq_delete(struct nvme_group *g, struct nvme_group_op *op)
{
	struct nvme_sq *sq = op->sq;
	struct nvme_io *io, *next;

	sq->deleting = true;
	if (sq->fused_first)
		nvme_fused_ring_empty(g, sq);
	for (unsigned w = 0; w < IO_STAGED; w++) {
		for (io = g->lists[w].head; io; io = next) {
			next = io->next;
			if (io->sq == sq && !io->in_fused)
				end_early(g, io, NVME_SC_ABORT_QUEUE);
		}
	}
	sq->delete_op = op;
	nvme_sq_maybe_deleted(g, sq);
	return false;
}

/* ---- shadow doorbells ---- */

bool nvme_op_dbbuf(struct nvme_group *g, struct nvme_group_op *op)
{
	struct nvme_sq *sq;

	g->shadow_addr = op->shadow;
	g->eventidx_addr = op->eventidx;
	g->shadow = g->eventidx = NULL;
	g->generation = 0;
	g->dbbuf = g->cq.qid != 0;
	if (!g->dbbuf)
		return true;
	nvme_dbbuf_begin(g, &g->cq.ack);
	for (sq = g->sqs; sq; sq = sq->next)
		nvme_dbbuf_begin(g, &sq->tail);
	return true;
}

/* ---- flushing for shutdown ---- */

bool nvme_op_flush(struct nvme_group *g, struct nvme_group_op *op)
{
	struct nvme_io *io = nvme_io_get(g);

	if (!io) {
		op->result = -ENOMEM;
		return true;
	}
	io->op = &nvme_op_flush_all;
	io->sqe = (struct nvme_sqe){.opcode = nvme_cmd_flush, .nsid = NVME_NSID_ALL};
	io->owner = op;
	nvme_io_start(g, io);
	return false;
}

void nvme_flush_finish(struct nvme_group *g, struct nvme_io *io, uint16_t status)
{
	struct nvme_group_op *op = io->owner;

	op->result = status ? -EIO : 0;
	io->owner = NULL;
	nvme_io_release(g, io);
	nvme_io_put(g, io);
	nvme_group_op_done(op);
}

/* ---- a reset ---- */

static void drop_list(struct nvme_group *g, enum nvme_io_where w)
{
	struct nvme_io *io;

	while ((io = g->lists[w].head)) {
		if (w == IO_LIMITED)
			nvme_io_refund(g, io);
		nvme_list_del(g, io);
		nvme_io_release(g, io);
		nvme_io_put(g, io);
	}
}

/*
 * From here on nothing of the group touches guest memory or raises an interrupt. What the backend
 * has is asked to end; its memory stays pinned until it does.
 */
void nvme_group_kill(struct nvme_group *g)
{
	struct nvme_io *io, *next;

	g->dead = true;
	drop_list(g, IO_DONE);
	drop_list(g, IO_LIMITED);
	drop_list(g, IO_RETRY);
	drop_list(g, IO_YIELD);
	drop_list(g, IO_STAGED);
	nvme_fused_kill(g);
	for (io = g->lists[IO_BACKEND].head; io; io = next) {
		next = io->next; /* cancelling ends this one at most */
		block_cancel(&io->req);
	}
	nvme_fixed_drop(g);
	poller_set_timer(&g->poller, 0);
	atomic_store(&g->killed, true);
	if (!atomic_load(&g->at_backend))
		mailbox_post(&g->drained);
}
