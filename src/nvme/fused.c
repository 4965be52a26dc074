/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compare and Write as one (6.2): the two stand next to each other in one queue. They are alone in
 * the namespace while they run: the control thread closes its gate for them. One pair at a time per
 * group; the others wait.
 *
 *   worker    found the pair                           FUSED_ASKED
 *   control   gate closed, everybody has left          FUSED_GRANTED
 *   worker    compared and written, both completed     FUSED_DONE
 *   control   gate opened, freed
 *
 * A reset may come in between: then nvme_fused_end() takes over, and who waits for the gate
 * outlives the group.
 */
#include <stdlib.h>

#include "nvme/group_private.h"

enum fused_state { FUSED_ASKED, FUSED_GRANTED, FUSED_DONE, FUSED_REFUSED };

struct nvme_fused {
	struct nvme_fused *next; /* of the group, worker */
	struct mailbox_work work;
	struct nvme_group *g;	/* NULL: has ended. Control */
	struct nvme_gate *gate; /* control: closed, or asked for */
	bool drained;		/* control */
	_Atomic enum fused_state state;
	/* worker */
	struct nvme_io *first, *second;
	struct nvme_ns *ns;
	bool running, writing;
};

#define MISSING	      NVME_ST_GENERIC(NVME_SC_FUSED_MISSING)
#define FAILED	      NVME_ST_GENERIC(NVME_SC_FUSED_FAIL)
#define INVALID_FIELD NVME_ST_GENERIC(NVME_SC_INVALID_FIELD)

/* ---- control ---- */

static void finish(struct nvme_fused *f)
{
	if (f->gate)
		nvme_gate_open(f->gate);
	free(f);
}

static void drained(void *opaque)
{
	struct nvme_fused *f = opaque;

	f->drained = true;
	if (!f->g) {
		finish(f);
		return;
	}
	atomic_store(&f->state, FUSED_GRANTED);
	poller_kick(&f->g->poller);
}

static void work_run(struct mailbox_work *work)
{
	struct nvme_fused *f = container_of(work, struct nvme_fused, work);
	struct nvme_ns_table *t;
	uint32_t nsid;

	/* this one is no longer the group's, which may be gone */
	if (atomic_load(&f->state) == FUSED_DONE) {
		finish(f);
		return;
	}
	if (atomic_load(&f->g->stopping))
		return; /* nvme_fused_end() comes */
	t = atomic_load(&f->g->ctrl->ns_table);
	nsid = f->first->sqe.nsid;
	if (!t || nsid - 1 >= t->nn || !t->ns[nsid - 1]) {
		atomic_store(&f->state, FUSED_REFUSED);
		poller_kick(&f->g->poller);
		return;
	}
	f->ns = t->ns[nsid - 1];
	f->gate = f->ns->gate;
	nvme_gate_close(f->gate, drained, f);
}

/* The group's poller is gone, and nothing is at the backend. */
void nvme_fused_end(struct nvme_group *g)
{
	struct nvme_fused *f;

	while ((f = g->fused)) {
		g->fused = f->next;
		mailbox_cancel(&f->work);
		f->g = NULL;
		if (!f->gate || f->drained)
			finish(f);
		/* else drained() comes */
	}
}

/* ---- worker: pairing ---- */

static void end_first(struct nvme_group *g, struct nvme_sq *sq, uint16_t status)
{
	struct nvme_io *io = sq->fused_first;

	sq->fused_first = NULL;
	nvme_io_settle(g, io, status);
}

static bool same_range(const struct nvme_sqe *a, const struct nvme_sqe *b)
{
	return a->nsid == b->nsid && a->cdw10 == b->cdw10 && a->cdw11 == b->cdw11 &&
	       (a->cdw12 & htole32(0xffff)) == (b->cdw12 & htole32(0xffff));
}

static void begin(struct nvme_group *g, struct nvme_io *first, struct nvme_io *second)
{
	struct nvme_fused *f = calloc(1, sizeof(*f)), **end = &g->fused;

	if (!f) {
		nvme_io_settle(g, first, NVME_SC_INTERNAL);
		nvme_io_settle(g, second, FAILED);
		return;
	}
	f->g = g;
	f->first = first;
	f->second = second;
	f->work.run = work_run;
	first->where = second->where = IO_NOWHERE;
	first->in_fused = second->in_fused = true;
	nvme_io_wait(g, second);
	while (*end)
		end = &(*end)->next;
	*end = f;
	if (g->fused == f)
		mailbox_post(&f->work);
}

static void pair(struct nvme_group *g, struct nvme_io *first, struct nvme_io *second)
{
	if (first->sqe.opcode != nvme_cmd_compare || second->sqe.opcode != nvme_cmd_write ||
	    !same_range(&first->sqe, &second->sqe)) {
		nvme_io_settle(g, first, INVALID_FIELD);
		nvme_io_settle(g, second, INVALID_FIELD);
		return;
	}
	begin(g, first, second);
}

/* The command is one of two, or stands behind a first one. */
void nvme_fused_fetched(struct nvme_group *g, struct nvme_io *io)
{
	struct nvme_io *first = io->sq->fused_first;

	switch (NVME_SQE_FUSE(io->sqe.flags)) {
	case NVME_FUSE_SECOND:
		io->sq->fused_first = NULL;
		if (first)
			pair(g, first, io);
		else
			nvme_io_settle(g, io, MISSING);
		return;
	case NVME_FUSE_FIRST:
		if (first)
			end_first(g, io->sq, MISSING);
		io->sq->fused_first = io;
		nvme_io_wait(g, io);
		return;
	case NVME_FUSE_NORMAL:
		end_first(g, io->sq, MISSING);
		nvme_io_begin(g, io);
		return;
	default:
		if (first)
			end_first(g, io->sq, MISSING);
		nvme_io_settle(g, io, INVALID_FIELD);
	}
}

/* 6.2: both are submitted by one write to the doorbell, so a second one that is not there is
 * missing; nor can it come where the completion queue has one entry. */
void nvme_fused_ring_empty(struct nvme_group *g, struct nvme_sq *sq)
{
	if (sq->deleting || sq->head == sq->tail.value || g->cq.size < 3)
		end_first(g, sq, MISSING);
}

/* ---- worker: running ---- */

static void done(struct nvme_group *g, uint16_t first_st, uint16_t second_st)
{
	struct nvme_fused *f = g->fused;

	g->fused = f->next;
	if (g->fused)
		mailbox_post(&g->fused->work);
	/* count() and the like may look at the namespace until both are completed */
	nvme_io_complete(g, f->first, first_st);
	nvme_io_complete(g, f->second, second_st);
	nvme_samples_flush(g);
	atomic_store(&f->state, FUSED_DONE);
	mailbox_post(&f->work);
}

/* What a step of either gave; they do not settle by themselves. */
uint16_t nvme_fused_step(struct nvme_group *g, struct nvme_io *io, uint16_t st, bool *handled)
{
	struct nvme_fused *f = g->fused;

	*handled = true;
	if (st == NVME_ST_PENDING)
		return st;
	if (st == NVME_ST_YIELD) {
		nvme_list_add(g, io, IO_YIELD);
		nvme_io_wait(g, io);
		return st;
	}
	if (st == NVME_ST_RETRY || st == NVME_ST_LIMITED) {
		/* by nvme_fused_poll(), from the start */
		nvme_io_release(g, io);
		nvme_io_wait(g, io);
		f->running = false;
		return st;
	}
	f->running = false;
	if (io == f->second)
		done(g, 0, st);
	else if (st)
		done(g, st, FAILED);
	else
		f->writing = true;
	return st;
}

static void refuse(struct nvme_group *g)
{
	done(g, NVME_ST_GENERIC(NVME_SC_INVALID_NS), FAILED);
}

void nvme_fused_poll(struct nvme_group *g)
{
	struct nvme_fused *f = g->fused;
	enum fused_state state = atomic_load(&f->state);

	if (state == FUSED_REFUSED) {
		refuse(g);
		return;
	}
	if (state != FUSED_GRANTED || f->running)
		return;
	f->running = true;
	nvme_io_start(g, f->writing ? f->second : f->first);
	/* the second follows at once where the backend answers at once */
	f = g->fused;
	if (f && f->writing && !f->running) {
		f->running = true;
		nvme_io_start(g, f->second);
	}
}

void nvme_fused_kill(struct nvme_group *g)
{
	struct nvme_sq *sq;

	/* held by nobody else; those at the backend come back by themselves */
	for (sq = g->sqs; sq; sq = sq->next) {
		if (sq->fused_first)
			nvme_io_put(g, sq->fused_first);
		sq->fused_first = NULL;
	}
}
