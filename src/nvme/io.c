/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way of an I/O command: its namespace, the gate, what forbids it, its limits, its steps.
 * Nothing that waits holds a pointer to a namespace unless it is inside the gate.
 */
#include <stdlib.h>
#include <string.h>

#include "nvme/group_private.h"

#define STEPS_MAX 4 /* done at once by one command in one turn */

#define INVALID_FIELD NVME_ST_GENERIC(NVME_SC_INVALID_FIELD)

/* ---- memory; grows to what was under way at a time, and is freed with the group ---- */

static bool grow(struct nvme_group *g)
{
	struct nvme_io *io;

	/* commands that hold no entry of the queue (events asked for) come on top */
	if (g->n_ios >= 2 * NVME_INFLIGHT_MAX)
		return false;
	io = aligned_alloc(CACHE_LINE, align_up(sizeof(*io), CACHE_LINE));
	if (!io)
		return false;
	memset(io, 0, sizeof(*io));
	io->g = g;
	io->all_next = g->all;
	g->all = io;
	io->next = g->free;
	g->free = io;
	g->n_ios++;
	nvme_count(&g->memory, sizeof(*io));
	return true;
}

struct nvme_io *nvme_io_get(struct nvme_group *g)
{
	struct nvme_io *io = g->free;

	if (unlikely(!io)) {
		if (!grow(g))
			return NULL;
		io = g->free;
	}
	g->free = io->next;
	io->sq = NULL;
	io->op = NULL;
	io->ns = NULL;
	io->slba = 0;
	io->len = io->dw0 = io->step = 0;
	io->gen_ctrl = io->gen_ns = 0;
	io->end_status = io->status = 0;
	io->where = IO_NOWHERE;
	io->admitted = io->counted = io->waiting = io->reserves = io->in_fused = io->writing =
		false;
	io->n_pins = 0;
	io->owner = NULL;
	return io;
}

static void count_waiting(struct nvme_group *g, const struct nvme_io *io, uint32_t change)
{
	uint32_t nsid = le32toh(io->sqe.nsid);
	_Atomic uint32_t *of_ns = nsid && nsid <= NVME_NAMESPACES_MAX ? &g->waiting[nsid] : NULL;

	for (_Atomic uint32_t *n = g->waiting; n; n = n == of_ns ? NULL : of_ns)
		atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + change,
				      memory_order_relaxed);
}

/* Admin commands are no part of a queue depth, nor is what the group does by itself. */
void nvme_io_wait(struct nvme_group *g, struct nvme_io *io)
{
	if (io->waiting || io->counted || !io->sq || !io->sq->qid)
		return;
	io->waiting = true;
	count_waiting(g, io, 1);
}

void nvme_io_wait_over(struct nvme_group *g, struct nvme_io *io)
{
	if (!io->waiting)
		return;
	io->waiting = false;
	count_waiting(g, io, -1u);
}

void nvme_io_put(struct nvme_group *g, struct nvme_io *io)
{
	if (unlikely(io->waiting))
		nvme_io_wait_over(g, io);
	io->where = IO_FREE;
	io->next = g->free;
	g->free = io;
}

/* All that the command holds but itself; pins and memory after the last access, the gate last. */
void nvme_io_release(struct nvme_group *g, struct nvme_io *io)
{
	struct dma_pin **pins = io->big ? io->big->pins : io->pins;

	for (unsigned i = 0; i < io->n_pins; i++)
		dma_unpin(pins[i]);
	io->n_pins = 0;
	if (unlikely(io->big)) {
		io->big->next = g->bigs;
		g->bigs = io->big;
		io->big = NULL;
	}
	if (unlikely(io->buf)) {
		free(io->buf);
		g->bounce_bytes -= io->buf_len;
		io->buf = NULL;
	}
	if (unlikely(io->counted)) {
		if (!nvme_group_orphan(g))
			nvme_stats_inflight(&g->ctrl->stats, g->slot, -1);
		if (io->ns)
			nvme_stats_inflight(&io->ns->stats, g->slot, -1);
		io->counted = false;
	}
	if (io->ns && !io->in_fused)
		nvme_gate_leave(io->ns->gate, g->slot);
	io->ns = NULL;
}

/* ---- admission ---- */

/* Valid in this turn, or while inside its gate; NULL: not attached. */
struct nvme_ns *nvme_io_lookup(struct nvme_group *g, uint32_t nsid)
{
	struct nvme_ns_table *t = g->table;

	if (unlikely(!t))
		t = atomic_load_explicit(&g->ctrl->ns_table, memory_order_acquire);
	if (unlikely(!t || nsid - 1 >= t->nn))
		return NULL;
	return t->ns[nsid - 1];
}

/* 6.1.5: an NSID that cannot be is Invalid Namespace or Format, an inactive one Invalid Field. */
static uint16_t no_namespace(struct nvme_group *g, uint32_t nsid)
{
	struct nvme_ns_table *t = atomic_load_explicit(&g->ctrl->ns_table, memory_order_acquire);

	if (!t || !nsid || nsid > t->nn)
		return NVME_ST_GENERIC(NVME_SC_INVALID_NS);
	return INVALID_FIELD;
}

static uint32_t generation(const struct nvme_qos *q)
{
	/* never 0, which is: no place reserved */
	return (atomic_load_explicit(&((struct nvme_qos *)q)->generation, memory_order_relaxed) |
		0x80000000u);
}

/* Reserves a place on the clocks that have none for this command yet. */
static __attribute__((noinline)) uint16_t admit_slow(struct nvme_group *g, struct nvme_io *io,
						     struct nvme_ns *ns, uint64_t bytes)
{
	uint64_t now = nvme_group_now(g);
	uint32_t gc = generation(&g->ctrl->qos), gn = generation(&ns->qos);

	if (io->gen_ctrl != gc) {
		io->gen_ctrl = gc;
		io->due_ctrl_ns = nvme_qos_reserve_slow(&g->ctrl->qos, bytes, now);
		if (io->due_ctrl_ns > now)
			nvme_stats_throttled(&g->ctrl->stats, g->slot, io->due_ctrl_ns - now);
	}
	if (io->gen_ns != gn) {
		io->gen_ns = gn;
		io->limit_bytes = bytes;
		io->due_ns_ns = nvme_qos_reserve_slow(&ns->qos, bytes, now);
		if (io->due_ns_ns > now)
			nvme_stats_throttled(&ns->stats, g->slot, io->due_ns_ns - now);
	}
	return MAX(io->due_ctrl_ns, io->due_ns_ns) > now ? NVME_ST_LIMITED : 0;
}

bool nvme_io_limits_changed(struct nvme_group *g, struct nvme_io *io)
{
	struct nvme_ns *ns = nvme_io_lookup(g, io->sqe.nsid);

	return io->gen_ctrl != generation(&g->ctrl->qos) ||
	       (ns && io->gen_ns != generation(&ns->qos));
}

/*
 * Its place on the namespace's clocks, which others share: who resets his controller all the time
 * must not push them away. That on its own controller's stays; else ending commands early would
 * make room for bursts.
 */
void nvme_io_refund(struct nvme_group *g, struct nvme_io *io)
{
	struct nvme_ns_table *t = atomic_load_explicit(&g->ctrl->ns_table, memory_order_acquire);
	uint32_t i = io->sqe.nsid - 1;
	/* g->table may be of an earlier turn */
	struct nvme_ns *ns = t && i < t->nn ? t->ns[i] : NULL;

	if (ns && nvme_qos_limited(&ns->qos) && io->gen_ns == generation(&ns->qos))
		nvme_qos_refund(&ns->qos, io->limit_bytes);
}

static inline uint16_t admit(struct nvme_group *g, struct nvme_io *io, struct nvme_ns *ns,
			     uint64_t bytes)
{
	if (likely(!nvme_qos_limited(&g->ctrl->qos) && !nvme_qos_limited(&ns->qos)) || io->admitted)
		return 0;
	return admit_slow(g, io, ns, bytes);
}

/* What an operation on blocks must obey. Inside the gate. */
static inline uint16_t check_range(struct nvme_io *io, struct nvme_ns *ns, unsigned flags)
{
	const struct nvme_sqe *sqe = &io->sqe;
	uint64_t blocks = atomic_load_explicit(&ns->blocks, memory_order_relaxed);

	io->slba = (uint64_t)le32toh(sqe->cdw11) << 32 | le32toh(sqe->cdw10);
	io->nlb = (le32toh(sqe->cdw12) & 0xffff) + 1;
	if (flags & NVME_OP_DATA) {
		if (unlikely((uint64_t)io->nlb << ns->block_shift > NVME_COMMAND_DATA_MAX))
			return INVALID_FIELD;
		io->len = io->nlb << ns->block_shift;
	}
	if (unlikely(io->slba > blocks || io->nlb > blocks - io->slba))
		return NVME_ST_GENERIC(NVME_SC_LBA_RANGE);
	return 0;
}

static inline uint16_t check(struct nvme_group *g, struct nvme_io *io, struct nvme_ns *ns,
			     uint64_t *bytes)
{
	const struct nvme_op *op = io->op;
	uint16_t st;

	if (op->flags & NVME_OP_RANGE) {
		st = check_range(io, ns, op->flags);
		if (unlikely(st))
			return st;
		*bytes = io->len;
	}
	if ((op->flags & NVME_OP_WRITES) && unlikely(ns->read_only))
		return NVME_ST_GENERIC(NVME_SC_NS_WRITE_PROTECTED);
	if (unlikely(nvme_resv_forbids(ns, g->ctrl->cntlid, op->access)))
		return NVME_SC_RESERVATION_CONFLICT;
	return op->prepare ? op->prepare(g, io, bytes) : 0;
}

static uint16_t attempt(struct nvme_group *g, struct nvme_io *io)
{
	struct nvme_ns *ns = nvme_io_lookup(g, io->sqe.nsid);
	uint64_t bytes = 0;
	uint16_t st;

	if (unlikely(!ns))
		return no_namespace(g, io->sqe.nsid);
	if (!io->in_fused && unlikely(!nvme_gate_enter(ns->gate, g->slot)))
		return NVME_ST_RETRY;
	io->ns = ns;
	st = check(g, io, ns, &bytes);
	if (likely(!st))
		st = admit(g, io, ns, bytes);
	if (likely(!st))
		st = io->op->start(g, io);
	return st;
}

/* ---- settling ---- */

/* In order of time; nearly always at the end. */
static void park_limited(struct nvme_group *g, struct nvme_io *io)
{
	uint64_t due = MAX(io->due_ctrl_ns, io->due_ns_ns);
	struct nvme_io_list *l = &g->lists[IO_LIMITED];
	struct nvme_io *after = l->tail;

	while (after && MAX(after->due_ctrl_ns, after->due_ns_ns) > due)
		after = after->prev;
	io->where = IO_LIMITED;
	io->prev = after;
	io->next = after ? after->next : l->head;
	if (io->next)
		io->next->prev = io;
	else
		l->tail = io;
	if (after)
		after->next = io;
	else
		l->head = io;
}

static void settle_slow(struct nvme_group *g, struct nvme_io *io, uint16_t st)
{
	switch (st) {
	case NVME_ST_PENDING:
		break;
	case NVME_ST_YIELD:
		nvme_list_add(g, io, IO_YIELD);
		nvme_io_wait(g, io);
		break;
	case NVME_ST_LIMITED:
		nvme_io_release(g, io);
		park_limited(g, io);
		nvme_io_wait(g, io);
		break;
	default: /* NVME_ST_RETRY */
		nvme_io_release(g, io);
		if (io->end_status) {
			nvme_io_complete(g, io, io->end_status);
			break;
		}
		nvme_list_add(g, io, IO_RETRY);
		nvme_io_wait(g, io);
	}
}

void nvme_io_settle(struct nvme_group *g, struct nvme_io *io, uint16_t st)
{
	bool handled = false;
	unsigned steps = 0;

	while (st == NVME_ST_STEP) {
		if (steps++ == STEPS_MAX || nvme_turn_over(g)) {
			st = NVME_ST_YIELD;
			break;
		}
		st = io->op->next(g, io);
	}
	if (unlikely(io->in_fused)) {
		st = nvme_fused_step(g, io, st, &handled);
		if (handled)
			return;
	}
	if (likely(NVME_ST_IS_REAL(st))) {
		/* what was asked to end, and was ended, says why */
		if (unlikely(io->end_status) && st == NVME_SC_ABORT_REQ)
			st = io->end_status;
		nvme_io_complete(g, io, st);
	} else {
		settle_slow(g, io, st);
	}
}

void nvme_io_start(struct nvme_group *g, struct nvme_io *io)
{
	uint16_t st;

	if (unlikely(io->end_status))
		st = io->end_status;
	else if (unlikely(io->op->flags & NVME_OP_RESV))
		st = nvme_transport_send(g, io);
	else if (unlikely(io->op == &nvme_op_flush_all))
		st = io->op->start(g, io);
	else
		st = attempt(g, io);
	nvme_io_settle(g, io, st);
}

/* The backend is done with it, or its next turn has come. */
void nvme_io_continue(struct nvme_group *g, struct nvme_io *io)
{
	if (unlikely(io->end_status) && !io->in_fused && io->where == IO_NOWHERE &&
	    io->result >= 0 && io->left) {
		/* more steps would follow */
		nvme_io_settle(g, io, io->end_status);
		return;
	}
	nvme_io_settle(g, io, NVME_ST_STEP);
}

static const struct nvme_op admin_op = {.stats = NVME_STATS_OTHER, .flags = NVME_OP_RESV};

void nvme_io_begin(struct nvme_group *g, struct nvme_io *io)
{
	const struct nvme_sqe *sqe = &io->sqe;

	io->left = 0;
	if (unlikely(!io->sq->qid)) {
		io->op = &admin_op;
		nvme_io_start(g, io);
		return;
	}
	io->op = nvme_op_of(sqe->opcode);
	if (unlikely(NVME_SQE_FUSE(sqe->flags) || io->sq->fused_first)) {
		nvme_fused_fetched(g, io);
		return;
	}
	if (unlikely(!io->op)) {
		nvme_io_settle(g, io, NVME_ST_GENERIC(NVME_SC_INVALID_OPCODE));
		return;
	}
	if (unlikely(sqe->opcode == nvme_cmd_flush && sqe->nsid == htole32(NVME_NSID_ALL)))
		io->op = &nvme_op_flush_all;
	nvme_io_start(g, io);
}
