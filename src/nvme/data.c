/* SPDX-License-Identifier: BSD-3-Clause */
/* A command's data, and the backend. */
#include <stdlib.h>
#include <string.h>

#include "nvme/group_private.h"

static struct nvme_big *big_get(struct nvme_group *g)
{
	struct nvme_big *b = g->bigs;

	if (b) {
		g->bigs = b->next;
		return b;
	}
	if (g->n_bigs == NVME_BIG_MAX)
		return NULL;
	b = malloc(sizeof(*b));
	if (b) {
		g->n_bigs++;
		nvme_count(&g->memory, sizeof(*b));
	}
	return b;
}

/* A private buffer for the command; NVME_ST_RETRY when there is no memory for it now. */
uint16_t nvme_io_buf(struct nvme_group *g, struct nvme_io *io, uint32_t len)
{
	if (g->bounce_bytes && len > NVME_BOUNCE_MAX - MIN(g->bounce_bytes, NVME_BOUNCE_MAX))
		return NVME_ST_RETRY;
	io->buf = aligned_alloc(PAGE_SIZE_4K, align_up(len, PAGE_SIZE_4K));
	if (!io->buf)
		return NVME_ST_RETRY;
	io->buf_len = len;
	g->bounce_bytes += len;
	nvme_turn_charge(g, NVME_TURN_CREDIT);
	return 0;
}

static uint16_t bounce(struct nvme_group *g, struct nvme_io *io, bool to_host)
{
	uint16_t st = nvme_io_buf(g, io, io->len);

	if (!st && to_host)
		memset(io->buf, 0, io->len); /* a backend may leave it as it is (null) */
	else if (!st)
		st = nvme_dptr_read(&g->mem, &io->sqe, io->buf, io->len);
	io->iov[0].iov_base = io->buf;
	io->iov[0].iov_len = io->len;
	io->req.iov = io->iov;
	io->req.iovcnt = 1;
	g->mem.n_regions = 0;
	return st;
}

/* Sets the request's iovecs to the command's data, or to a private copy. */
uint16_t nvme_io_map(struct nvme_group *g, struct nvme_io *io, bool to_host)
{
	unsigned max = NVME_IOV_INLINE, n = 0;
	uint16_t st;

	io->req.iov = io->iov;
	if (io->len > (NVME_IOV_INLINE - 1) * PAGE_SIZE_4K) {
		io->big = big_get(g);
		if (unlikely(!io->big))
			return NVME_ST_RETRY;
		io->req.iov = io->big->iov;
		max = NVME_DPTR_IOV_MAX;
	}
	st = nvme_dptr_map(&g->mem, &io->sqe, io->len, to_host, io->req.iov, max, &n);
	io->req.iovcnt = n;
	nvme_turn_charge(g, io->len / 8); /* to look at the list */
	if (unlikely(st == NVME_ST_BOUNCE)) {
		nvme_turn_charge(g, NVME_TURN_CREDIT);
		return bounce(g, io, to_host);
	}
	return st;
}

/* In the turn that made the pointers; who had an answer at once needs none. */
static void pin(struct nvme_group *g, struct nvme_io *io)
{
	struct dma_pin **pins = io->big ? io->big->pins : io->pins;
	unsigned i;

	for (i = 0; i < g->mem.n_regions; i++)
		pins[i] = dma_region_pin(g->mem.regions[i]);
	io->n_pins = (uint16_t)i;
}

static void io_done(struct block_request *req, int result)
{
	struct nvme_io *io = container_of(req, struct nvme_io, req);
	struct nvme_group *g = io->g;
	bool first = !g->lists[IO_DONE].head;
	uint32_t left = atomic_load_explicit(&g->at_backend, memory_order_relaxed) - 1;

	io->result = result;
	nvme_list_del(g, io);
	if (unlikely(g->dead)) {
		nvme_io_release(g, io);
		nvme_io_put(g, io);
		atomic_store(&g->at_backend, left);
		if (!left)
			mailbox_post(&g->drained);
		return;
	}
	atomic_store_explicit(&g->at_backend, left, memory_order_relaxed);
	nvme_list_add(g, io, IO_DONE);
	if (first)
		poller_kick(&g->poller);
}

/* The rest of what an operation that takes its time needs. */
static __attribute__((noinline)) void under_way(struct nvme_group *g, struct nvme_io *io)
{
	/* Only what moves data has just been mapped: else these are another command's regions. */
	if (!io->buf && io->req.op <= BLOCK_WRITE)
		pin(g, io);
	if (!io->counted) {
		nvme_io_wait_over(g, io);
		io->counted = true;
		nvme_turn_cost(g, io);
		nvme_stats_inflight(&g->ctrl->stats, g->slot, 1);
		nvme_stats_inflight(&io->ns->stats, g->slot, 1);
	}
	nvme_list_add(g, io, IO_BACKEND);
	atomic_store_explicit(&g->at_backend,
			      atomic_load_explicit(&g->at_backend, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

uint16_t nvme_io_submit(struct nvme_group *g, struct nvme_io *io, enum block_op op, uint64_t off,
			uint64_t len)
{
	struct block_request *req = &io->req;
	int r;

	req->op = op;
	req->offset = off;
	req->len = len;
	req->done = io_done;
	req->fixed = op <= BLOCK_WRITE ? nvme_fixed_piece(g, req) : 0;
	r = block_submit(g->channel, io->ns->backend, req);
	if (likely(r <= 0)) {
		nvme_turn_charge(g, len + PAGE_SIZE_4K / 8);
		io->result = r;
		return NVME_ST_STEP;
	}
	under_way(g, io);
	return NVME_ST_PENDING;
}
