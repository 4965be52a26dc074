/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A channel's io_uring: one system call a turn for what was submitted in it; completions are run by
 * the worker itself (DEFER_TASKRUN) when the kernel's flag in the ring says that there are any, so
 * that polling costs no system call.
 *
 * Kernels: 6.1 and newer as said; 5.19 the same without DEFER_TASKRUN; older ones plainly, where
 * the eventfd still tells. Where io_uring is forbidden (containers, io_uring_disabled) has_ring is
 * false and the backends' threads work.
 */
#include "block/block_private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/barrier.h"
#include "util/clock.h"

#define REAP_BURST 128
/* Threads of the kernel for what it cannot do without blocking: enough that a few hanging ones
 * leave some. */
#define IOWQ_THREADS 64

static const unsigned setups[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
		IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
	0,
};

void ring_open(struct block_channel *ch)
{
	static bool told;
	struct io_uring_params p;
	int r = -ENOSYS, i;

	ch->awake = ch->has_ring = ch->enabled = ch->has_files = ch->has_buffers = false;
	ch->inflight = 0;
	ch->bounce_bytes = 0;
	ch->watching = false;
	ch->watch = (struct block_watch){0};
	ch->finished = ch->waiting = (struct request_list){0};
	ch->n_memory = 0;
	ch->files_used = 0;
	memset(ch->buffers_used, 0, sizeof(ch->buffers_used));
	atomic_store(&ch->forget, 0);
	for (i = 0; i < ARRAY_SIZE(setups) && !ch->has_ring; i++) {
		p = (struct io_uring_params){.flags = setups[i] | IORING_SETUP_CQSIZE,
					     .cq_entries = RING_CQ_ENTRIES};
		r = io_uring_queue_init_params(RING_SQ_ENTRIES, &ch->ring, &p);
		ch->has_ring = !r;
	}
	if (ch->has_ring && (r = io_uring_register_eventfd(&ch->ring, ch->eventfd))) {
		io_uring_queue_exit(&ch->ring);
		ch->has_ring = false;
	}
	if (!ch->has_ring && !told) {
		told = true;
		log_info("block: io_uring is not to be had here (%s): threads do its work",
			 strerror(-r));
	}
}

void ring_close(struct block_channel *ch)
{
	if (ch->has_ring)
		io_uring_queue_exit(&ch->ring);
	ch->has_ring = false;
	free(ch->memory);
	ch->memory = NULL;
	ch->n_memory = 0;
}

/* The first call on the worker's thread makes the ring this thread's (SINGLE_ISSUER). */
static bool enable(struct block_channel *ch)
{
	unsigned threads[2] = {IOWQ_THREADS, IOWQ_THREADS};
	int r = 0;

	/* io_uring_enable_rings(), which liburing 2.3 declares but does not export */
	if (ch->ring.flags & IORING_SETUP_R_DISABLED &&
	    syscall(SYS_io_uring_register, ch->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0))
		r = -errno;
	if (r) {
		log_error("block: io_uring cannot be enabled (%s): threads do its work",
			  strerror(-r));
		ch->has_ring = false;
		io_uring_queue_exit(&ch->ring);
		return false;
	}
	/* refused before 5.15, where the limits are others */
	io_uring_register_iowq_max_workers(&ch->ring, threads);
	ch->has_files = !io_uring_register_files_sparse(&ch->ring, RING_FILES);
	ch->enabled = true;
	return true;
}

static unsigned ring_flags(const struct block_channel *ch)
{
	return __atomic_load_n(ch->ring.sq.kflags, __ATOMIC_RELAXED);
}

static unsigned reap(struct block_channel *ch)
{
	struct block_request *req;
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	int r;

	io_uring_for_each_cqe(&ch->ring, head, cqe)
	{
		req = io_uring_cqe_get_data(cqe);
		r = cqe->res;
		n++;
		if (likely(req)) { /* else a cancellation's own */
			if (likely(r == req->expect))
				r = 0;
			else
				r = req->backend->impl->ring_done(req, r);
			if (r != BLOCK_PENDING)
				req->done(req, r);
		}
		if (n == REAP_BURST)
			break;
	}
	io_uring_cq_advance(&ch->ring, n);
	ch->inflight -= n;
	return n;
}

/* What cannot be submitted now (no memory) stays in the ring for the next turn. */
static unsigned enter(struct block_channel *ch)
{
	int r = 0;

	if (io_uring_sq_ready(&ch->ring)) {
		r = io_uring_submit_and_get_events(&ch->ring);
		return r >= 0 ? (unsigned)r : 1;
	}
	if (ring_flags(ch) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
		io_uring_get_events(&ch->ring);
	return 0;
}

unsigned ring_poll(struct block_channel *ch)
{
	unsigned n, done;

	if (unlikely(!ch->enabled) && !enable(ch))
		return 0;
	if (!ch->inflight)
		return 0;
	n = enter(ch);
	done = reap(ch);
	ch->watching = block_watch_on(&ch->watch, done, ch->inflight, clock_now_ns());
	return n + done ? n + done : ch->watching;
}

/*
 * The kernel publishes, then looks whether the eventfd is wanted; this says that it is, then looks
 * for what was published. A full barrier on both sides.
 */
bool ring_arm(struct block_channel *ch)
{
	if (!ch->enabled)
		return true;
	io_uring_cq_eventfd_toggle(&ch->ring, true);
	full_barrier();
	return io_uring_sq_ready(&ch->ring) || io_uring_cq_ready(&ch->ring) ||
	       ring_flags(ch) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

void ring_disarm(struct block_channel *ch)
{
	if (ch->enabled)
		io_uring_cq_eventfd_toggle(&ch->ring, false);
}

struct io_uring_sqe *channel_sqe_slow(struct block_channel *ch)
{
	struct io_uring_sqe *sqe = NULL;

	if (ch->enabled && ch->inflight < RING_CQ_ENTRIES) {
		io_uring_submit(&ch->ring);
		sqe = io_uring_get_sqe(&ch->ring);
	}
	if (sqe)
		ch->inflight++;
	channel_wake(ch);
	return sqe;
}

void ring_cancel(struct block_channel *ch, struct block_request *req)
{
	struct io_uring_sqe *sqe = channel_sqe(ch);

	if (!sqe)
		return;
	io_uring_prep_cancel(sqe, req, 0);
	io_uring_sqe_set_data(sqe, NULL);
}

/* ---- registered files ---- */

int ring_file_slow(struct block_channel *ch, _Atomic uint8_t *slot, int fd)
{
	int i;

	if (!ch->has_files || !ch->enabled || !~ch->files_used)
		return -1;
	i = __builtin_ctzll(~ch->files_used);
	if (io_uring_register_files_update(&ch->ring, i, &fd, 1) != 1)
		return -1;
	ch->files_used |= BIT_ULL(i);
	ch->file_owner[i] = slot;
	atomic_store(slot, i + 1);
	return i;
}

void ring_forget_files(struct block_channel *ch)
{
	uint64_t slots = atomic_load(&ch->forget);
	int i, none = -1;

	for (i = 0; i < RING_FILES; i++) {
		if (!(slots & ch->files_used & BIT_ULL(i)))
			continue;
		io_uring_register_files_update(&ch->ring, i, &none, 1);
		atomic_store(ch->file_owner[i], 0);
		ch->files_used &= ~BIT_ULL(i);
	}
	atomic_fetch_and(&ch->forget, ~slots);
}

/* ---- registered memory ---- */

static int buffer_set(struct block_channel *ch, unsigned slot, void *base, size_t len)
{
	struct iovec iov = {base, len};
	__u64 tag = 0;
	int r = io_uring_register_buffers_update_tag(&ch->ring, slot, &iov, &tag, 1);

	return r < 0 ? r : 0;
}

static int buffers_prepare(struct block_channel *ch)
{
	if (!ch->has_ring || (!ch->enabled && !enable(ch)))
		return -ENOTSUP;
	if (!ch->memory) {
		ch->memory = calloc(RING_BUFFERS, sizeof(ch->memory[0]));
		if (!ch->memory)
			return -ENOMEM;
	}
	if (!ch->has_buffers && io_uring_register_buffers_sparse(&ch->ring, RING_BUFFERS))
		return -ENOTSUP;
	ch->has_buffers = true;
	return 0;
}

static bool slot_used(const struct block_channel *ch, unsigned i)
{
	return ch->buffers_used[i / 64] & BIT_ULL(i % 64);
}

/* The first of n free slots in a row, or RING_BUFFERS. */
static unsigned slots_find(const struct block_channel *ch, unsigned n)
{
	unsigned i, row = 0;

	for (i = 0; i < RING_BUFFERS; i++) {
		row = slot_used(ch, i) ? 0 : row + 1;
		if (row == n)
			return i + 1 - n;
	}
	return RING_BUFFERS;
}

static void slots_clear(struct block_channel *ch, unsigned first, unsigned n)
{
	for (unsigned i = first; i < first + n; i++) {
		buffer_set(ch, i, NULL, 0);
		ch->buffers_used[i / 64] &= ~BIT_ULL(i % 64);
	}
}

static struct ring_memory *memory_find(struct block_channel *ch, uint64_t id)
{
	for (unsigned i = 0; i < ch->n_memory; i++) {
		if (ch->memory[i].id == id)
			return &ch->memory[i];
	}
	return NULL;
}

int block_channel_fix(struct block_channel *ch, uint64_t id, void *base, size_t len)
{
	unsigned n = (unsigned)((len + BLOCK_FIXED_PIECE - 1) >> BLOCK_FIXED_SHIFT), first, i;
	struct ring_memory *m;
	size_t at, part;
	int r = buffers_prepare(ch);

	if (r)
		return r;
	m = memory_find(ch, id);
	if (m) {
		m->refs++;
		return (int)m->first;
	}
	first = len ? slots_find(ch, n) : RING_BUFFERS;
	if (first == RING_BUFFERS)
		return -ENOSPC;
	for (i = 0; i < n; i++) {
		at = (size_t)i << BLOCK_FIXED_SHIFT;
		part = MIN(len - at, (size_t)BLOCK_FIXED_PIECE);
		r = buffer_set(ch, first + i, (uint8_t *)base + at, part);
		if (r) {
			slots_clear(ch, first, i);
			return r == -ENOMEM ? r : -ENOTSUP;
		}
		ch->buffers_used[(first + i) / 64] |= BIT_ULL((first + i) % 64);
	}
	ch->memory[ch->n_memory++] = (struct ring_memory){id, 1, first, n};
	return (int)first;
}

void block_channel_unfix(struct block_channel *ch, uint64_t id)
{
	struct ring_memory *m = memory_find(ch, id);

	if (!m || --m->refs)
		return;
	slots_clear(ch, m->first, m->n);
	*m = ch->memory[--ch->n_memory];
}
