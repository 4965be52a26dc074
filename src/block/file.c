/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files and devices, the quick way: one entry in the ring for a request that the kernel takes as it
 * is. Whatever needs more than that - misaligned writes, transfers that ended early, zeros that the
 * file system cannot make - is done by a thread of the backend, from the start (file_sync.c);
 * all operations can be repeated.
 */
#include "block/file_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/uio.h>

/* request.state */
#define STATE_OP      0u /* the operation itself */
#define STATE_SYNC    1u /* the flush that follows it (FUA) */
#define STATE_STAGE   0xffu
#define STATE_OVERLAP 0x100u /* holds its blocks (overlap.c) */
#define STATE_THREAD  0x200u /* on a thread */
#define STATE_SLOW    0x400u /* counted in slow_calls */

/*
 * Calls that block take one of the ring's kernel threads each, which all backends share: more than
 * these of one backend go to its own threads, so that it may hang without holding up others.
 */
#define SLOW_CALLS_MAX 4u

#define EXPECT_CALL INT64_MIN /* always ask ring_done() */

static void set_stage(struct block_request *req, uint32_t stage)
{
	req->state = (req->state & ~STATE_STAGE) | stage;
}

/* ---- the end ---- */

static void drop_bounce(struct block_request *req)
{
	if (!req->bounce)
		return;
	free(req->bounce);
	req->bounce = NULL;
	req->channel->bounce_bytes -= req->len;
}

static void slow_call_over(struct file_backend *f, struct block_request *req)
{
	if (!(req->state & STATE_SLOW))
		return;
	req->state &= ~STATE_SLOW;
	atomic_fetch_sub(&f->slow_calls, 1);
}

static int finish(struct block_request *req, int result)
{
	struct file_backend *f = file_of(req->backend);

	drop_bounce(req);
	slow_call_over(f, req);
	if (req->state & STATE_OVERLAP) {
		req->state &= ~STATE_OVERLAP;
		overlap_leave(f, req);
	}
	return backend_account(&f->base, req, result);
}

static int to_thread(struct file_backend *f, struct block_request *req)
{
	int r;

	drop_bounce(req);
	slow_call_over(f, req);
	req->state |= STATE_THREAD;
	r = offload_submit(&f->offload, req);
	return r == BLOCK_PENDING ? r : finish(req, r);
}

int file_delivered(struct block_request *req)
{
	if (req->state & STATE_THREAD)
		return finish(req, req->result);
	return file_restart(req->channel, req); /* its blocks are free now */
}

/* ---- the ring ---- */

/* Whether the ring takes another request of this backend. When it is full of what hangs, others go
 * round it. */
static bool ring_takes(const struct block_channel *ch, const struct file_backend *f)
{
	return ch->has_ring && !f->no_ring && ch->inflight < RING_CQ_ENTRIES;
}

/* The same for a call that blocks, which is counted. */
static bool ring_takes_slow(const struct block_channel *ch, struct file_backend *f,
			    struct block_request *req)
{
	if (!ring_takes(ch, f))
		return false;
	if (req->state & STATE_SLOW)
		return true;
	if (atomic_fetch_add(&f->slow_calls, 1) >= SLOW_CALLS_MAX) {
		atomic_fetch_sub(&f->slow_calls, 1);
		return false;
	}
	req->state |= STATE_SLOW;
	return true;
}

static struct io_uring_sqe *new_entry(struct block_channel *ch, struct block_request *req)
{
	struct io_uring_sqe *sqe = channel_sqe(ch);

	if (unlikely(!sqe))
		channel_wait(ch, req);
	return sqe;
}

static void finish_entry(struct block_channel *ch, struct file_backend *f, struct io_uring_sqe *sqe,
			 struct block_request *req)
{
	int file = ring_file(ch, &f->slots[ch->number], f->fd);

	if (likely(file >= 0)) {
		sqe->fd = file;
		sqe->flags |= IOSQE_FIXED_FILE;
	}
	io_uring_sqe_set_data(sqe, req);
}

static void prepare_rw(struct block_channel *ch, struct file_backend *f, struct io_uring_sqe *sqe,
		       struct block_request *req)
{
	bool write = req->op == BLOCK_WRITE;
	const struct iovec *v = req->iov;

	if (req->bounce) {
		io_uring_prep_rw(write ? IORING_OP_WRITE : IORING_OP_READ, sqe, f->fd, req->bounce,
				 req->len, req->offset);
	} else if (req->iovcnt > 1) {
		io_uring_prep_rw(write ? IORING_OP_WRITEV : IORING_OP_READV, sqe, f->fd, v,
				 req->iovcnt, req->offset);
	} else if (req->fixed) {
		io_uring_prep_rw(write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED, sqe, f->fd,
				 v->iov_base, v->iov_len, req->offset);
		sqe->buf_index = req->fixed - 1;
	} else {
		io_uring_prep_rw(write ? IORING_OP_WRITE : IORING_OP_READ, sqe, f->fd, v->iov_base,
				 v->iov_len, req->offset);
	}
	if (write && req->flags & BLOCK_FUA)
		sqe->rw_flags = RWF_DSYNC;
	finish_entry(ch, f, sqe, req);
}

/* A copy where the guest's memory has no alignment for O_DIRECT; NULL when there are too many. */
static bool make_bounce(struct block_channel *ch, struct block_request *req)
{
	if (req->bounce)
		return true;
	if (req->len > BOUNCE_MAX || ch->bounce_bytes > BOUNCE_MAX - req->len)
		return false;
	req->bounce = aligned_alloc(BOUNCE_ALIGN, align_up(req->len, BOUNCE_ALIGN));
	if (!req->bounce)
		return false;
	ch->bounce_bytes += req->len;
	if (req->op == BLOCK_WRITE)
		iov_gather(req, 0, req->bounce, req->len);
	return true;
}

static int submit_rw(struct block_channel *ch, struct file_backend *f, struct block_request *req)
{
	struct io_uring_sqe *sqe;

	if (unlikely(!ring_takes(ch, f) || req->len > RING_TRANSFER_MAX || req->iovcnt > IOV_MAX))
		return to_thread(f, req);
	req->expect = f->overlap.used ? EXPECT_CALL : (int64_t)req->len;
	if (f->direct) {
		if (unlikely(!file_aligned(f, req)))
			return to_thread(f, req);
		if (unlikely(!file_memory_aligned(f, req))) {
			if (!make_bounce(ch, req))
				return to_thread(f, req);
			req->expect = EXPECT_CALL;
		}
	}
	if (unlikely(atomic_load_explicit(&f->base.fault, memory_order_relaxed)))
		req->expect = EXPECT_CALL;
	sqe = new_entry(ch, req);
	if (likely(sqe))
		prepare_rw(ch, f, sqe, req);
	return BLOCK_PENDING;
}

static int submit_sync(struct block_channel *ch, struct file_backend *f, struct block_request *req)
{
	struct io_uring_sqe *sqe;

	if (!ring_takes_slow(ch, f, req))
		return to_thread(f, req);
	sqe = new_entry(ch, req);
	if (!sqe)
		return BLOCK_PENDING;
	io_uring_prep_fsync(sqe, f->fd, IORING_FSYNC_DATASYNC);
	finish_entry(ch, f, sqe, req);
	req->expect = EXPECT_CALL;
	return BLOCK_PENDING;
}

/* How the host makes zeros or holes without writing them; -1: not at all. */
static int fallocate_mode(const struct file_backend *f, const struct block_request *req)
{
	bool hole = req->op == BLOCK_DISCARD || req->flags & BLOCK_MAY_UNMAP;

	if (hole && !file_lacks(f, FILE_NO_PUNCH))
		return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	if (req->op != BLOCK_DISCARD && !file_lacks(f, FILE_NO_ZERO_RANGE))
		return FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	return -1;
}

static int submit_zero(struct block_channel *ch, struct file_backend *f, struct block_request *req)
{
	int mode = fallocate_mode(f, req);
	struct io_uring_sqe *sqe;

	/* A device's discard is an ioctl; what it zeroes must be whole sectors. */
	if (mode < 0 ||
	    (f->device &&
	     (req->op == BLOCK_DISCARD || (req->offset | req->len) & (f->sector - 1))) ||
	    !ring_takes_slow(ch, f, req))
		return to_thread(f, req);
	sqe = new_entry(ch, req);
	if (!sqe)
		return BLOCK_PENDING;
	io_uring_prep_fallocate(sqe, f->fd, mode, req->offset, req->len);
	finish_entry(ch, f, sqe, req);
	req->expect = EXPECT_CALL;
	return BLOCK_PENDING;
}

int file_restart(struct block_channel *ch, struct block_request *req)
{
	struct file_backend *f = file_of(req->backend);

	if ((req->state & STATE_STAGE) == STATE_SYNC)
		return submit_sync(ch, f, req);
	if (f->overlap.used && op_writes(req->op) && !(req->state & STATE_OVERLAP)) {
		req->state |= STATE_OVERLAP;
		if (!overlap_enter(f, req))
			return BLOCK_PENDING;
	}
	switch (req->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		return submit_rw(ch, f, req);
	case BLOCK_FLUSH:
		return submit_sync(ch, f, req);
	case BLOCK_WRITE_ZEROES:
	case BLOCK_DISCARD:
		return submit_zero(ch, f, req);
	}
	return -EINVAL;
}

int file_submit(struct block_channel *ch, struct block_request *req)
{
	if (likely(req->op <= BLOCK_WRITE && !file_of(req->backend)->overlap.used))
		return submit_rw(ch, file_of(req->backend), req);
	return file_restart(ch, req);
}

static int rw_done(struct file_backend *f, struct block_request *req, int res)
{
	if (res == (int)req->len) {
		if (req->bounce && req->op == BLOCK_READ)
			iov_scatter(req, 0, req->bounce, req->len);
		return finish(req, 0);
	}
	/* Ended early, or not taken in this form: a thread goes the long way. A read that ended at
	 * the end of a file that somebody cut off finds that out there. */
	if (res >= 0 || res == -EAGAIN || res == -EINTR || res == -EINVAL || res == -EOPNOTSUPP)
		return to_thread(f, req);
	return finish(req, res);
}

static int zero_done(struct file_backend *f, struct block_request *req, int res)
{
	if (!res) {
		if (!(req->flags & BLOCK_FUA) || req->op == BLOCK_DISCARD)
			return finish(req, 0);
		set_stage(req, STATE_SYNC);
		return submit_sync(req->channel, f, req);
	}
	if (res == -ENOSPC || res == -EIO || res == -ECANCELED)
		return finish(req, res);
	return to_thread(f, req);
}

int file_ring_done(struct block_request *req, int res)
{
	struct file_backend *f = file_of(req->backend);

	if (req->op <= BLOCK_WRITE)
		return rw_done(f, req, res);
	if (req->op != BLOCK_FLUSH && (req->state & STATE_STAGE) == STATE_OP)
		return zero_done(f, req, res);
	if (res == -EINTR || res == -EAGAIN)
		return submit_sync(req->channel, f, req);
	return finish(req, res);
}

void file_cancel(struct block_request *req)
{
	struct file_backend *f = file_of(req->backend);
	struct block_channel *ch = req->channel;

	if (req->state & STATE_THREAD) {
		if (offload_cancel(&f->offload, req))
			channel_finish(ch, req, finish(req, -ECANCELED));
		return;
	}
	if (channel_unwait(ch, req)) {
		channel_finish(ch, req, finish(req, -ECANCELED));
	} else if (f->overlap.used && overlap_cancel(f, req)) {
		req->state &= ~STATE_OVERLAP;
		channel_finish(ch, req, finish(req, -ECANCELED));
	} else if (ch->has_ring) {
		ring_cancel(ch, req);
	}
}
