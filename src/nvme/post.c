/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Completions: into the ring, into the statistics, into the error log. The phase tag of an entry is
 * written last, with what else is in its dword (4.6.1).
 */
#include <string.h>

#include "nvme/group_private.h"
#include "util/bytes.h"

/* What the host has taken. More than there was is nonsense. */
void nvme_cq_acknowledge(struct nvme_group *g)
{
	struct nvme_cq *cq = &g->cq;
	uint32_t head = nvme_doorbell_read(g, &cq->ack);

	if (head == cq->head)
		return;
	if (unlikely(nvme_ring_distance(cq->head, head, cq->size) >
		     nvme_ring_distance(cq->head, cq->tail, cq->size))) {
		nvme_doorbell_bad(g, &cq->ack, head);
		return;
	}
	cq->head = (uint16_t)head;
}

/* ---- statistics ---- */

void nvme_samples_flush(struct nvme_group *g)
{
	struct nvme_stats_sample *s = &g->sample;

	if (!s->n)
		return;
	s->latency_ns = clock_now_ns() - g->now_ns;
	nvme_stats_record(&g->ctrl->stats, g->slot, s);
	if (g->sample_ns)
		nvme_stats_record(&g->sample_ns->stats, g->slot, s);
	*s = (struct nvme_stats_sample){0};
}

#define SAMPLE_BYTES (64u << 10) /* that take time to copy: then the clock is read again */

/*
 * A command that began and ended in this turn is counted with its like at the end of it (its
 * namespace cannot go before that); any other one now, while it is inside the gate.
 */
static void count(struct nvme_group *g, struct nvme_io *io, uint16_t status)
{
	struct nvme_stats_sample *s = &g->sample, one;
	enum nvme_stats_op op = io->op ? io->op->stats : NVME_STATS_OTHER;
	uint64_t bytes = status ? 0 : io->len, now;

	if (io->start_ns == g->now_ns && !g->remote && !io->counted) {
		if (s->n && (s->op != op || g->sample_ns != io->ns || s->bytes >= SAMPLE_BYTES))
			nvme_samples_flush(g);
		g->sample_ns = io->ns;
		s->op = op;
		s->n++;
		s->errors += status != 0;
		s->bytes += bytes;
		return;
	}
	now = g->remote ? clock_now_ns() : nvme_group_now(g);
	one = (struct nvme_stats_sample){.op = op,
					 .n = 1,
					 .errors = status != 0,
					 .bytes = bytes,
					 .latency_ns = now - io->start_ns};
	nvme_stats_record(&g->ctrl->stats, g->slot, &one);
	if (io->ns)
		nvme_stats_record(&io->ns->stats, g->slot, &one);
}

/* ---- the ring ---- */

static uint16_t write_entry(struct nvme_group *g, const struct nvme_cqe *e)
{
	struct nvme_cq *cq = &g->cq;
	uint64_t at = cq->base + ((uint64_t)cq->tail << NVME_CQE_SHIFT);
	uint32_t last = htole32((uint32_t)e->status << 16 | e->cid);
	struct nvme_cqe *slot;
	uint16_t st;

	if (likely(cq->ring)) {
		slot = &cq->ring[cq->tail];
		slot->dw0 = htole32(e->dw0);
		slot->dw1 = 0;
		slot->sq_head = htole16(e->sq_head);
		slot->sq_id = htole16(e->sq_id);
		__atomic_store_n((uint32_t *)&slot->cid, last, __ATOMIC_RELEASE);
		return 0;
	}
	st = nvme_mem_write(&g->mem, at, e, offsetof(struct nvme_cqe, cid));
	if (!st)
		st = nvme_mem_write(&g->mem, at + offsetof(struct nvme_cqe, cid), &last, 4);
	return st;
}

/* 0; NVME_ST_RETRY; or the queue is lost. */
static uint16_t post(struct nvme_group *g, struct nvme_io *io)
{
	struct nvme_cq *cq = &g->cq;
	struct nvme_cqe e = {.dw0 = io->dw0,
			     .sq_head = io->sq->head,
			     .sq_id = io->sq->qid,
			     .cid = io->sqe.cid,
			     .status = (uint16_t)(io->status << 1 | cq->phase)};
	uint16_t st = write_entry(g, &e);

	if (st) {
		if (st != NVME_ST_RETRY) {
			g->failed = true;
			g->able = false;
			nvme_ctrl_fail(g->ctrl, "a completion queue is out of reach");
		}
		return st;
	}
	if (++cq->tail == cq->size) {
		cq->tail = 0;
		cq->phase ^= 1;
	}
	g->posted++;
	return 0;
}

/* Its entry is written. */
static void end(struct nvme_group *g, struct nvme_io *io)
{
	struct nvme_sq *sq = io->sq;

	if (unlikely(io->owner))
		nvme_abort_finish(g, io);
	if (io->reserves)
		g->outstanding--;
	sq->outstanding--;
	nvme_io_put(g, io);
	if (unlikely(sq->deleting))
		nvme_sq_maybe_deleted(g, sq);
}

void nvme_post_staged(struct nvme_group *g)
{
	struct nvme_io *io;

	while ((io = g->lists[IO_STAGED].head) && nvme_cq_room(&g->cq)) {
		if (post(g, io))
			return;
		nvme_list_del(g, io);
		end(g, io);
	}
}

static __attribute__((cold)) void log_failure(struct nvme_group *g, struct nvme_io *io,
					      uint16_t status)
{
	nvme_log_error(g->ctrl, io->sq->qid, io->sqe.cid, status, io->sqe.nsid, io->slba);
}

void nvme_io_complete(struct nvme_group *g, struct nvme_io *io, uint16_t status)
{
	if (unlikely(!io->sq)) {
		nvme_flush_finish(g, io, status);
		return;
	}
	if (unlikely(status))
		log_failure(g, io, status);
	if (likely(!io->counted))
		nvme_turn_cost(g, io);
	if (likely(io->sq->qid))
		count(g, io, status);
	nvme_io_release(g, io);
	io->status = status;
	if (unlikely(g->lists[IO_STAGED].head || !nvme_cq_room(&g->cq) || !g->able) ||
	    unlikely(post(g, io))) {
		nvme_list_add(g, io, IO_STAGED);
		nvme_io_wait(g, io);
		return;
	}
	end(g, io);
}
