/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole request by plain system calls, on a thread that may block: what the ring does not do in
 * one entry, and everything where there is no io_uring.
 */
#include "block/file_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIECE_IOVS 64
#define PIECE_MAX  (1u << 20)

/* The part of the iovecs from byte `at` on, as far as the array goes. */
static int iov_part(const struct block_request *req, uint64_t at, struct iovec *out)
{
	unsigned i;
	int n = 0;

	for (i = 0; i < req->iovcnt && n < PIECE_IOVS; i++) {
		if (at >= req->iov[i].iov_len) {
			at -= req->iov[i].iov_len;
			continue;
		}
		out[n].iov_base = (uint8_t *)req->iov[i].iov_base + at;
		out[n++].iov_len = req->iov[i].iov_len - at;
		at = 0;
	}
	return n;
}

static ssize_t write_some(struct file_backend *f, const struct iovec *v, int n, uint64_t off,
			  bool fua)
{
	ssize_t r;

	if (fua && !file_lacks(f, FILE_NO_DSYNC)) {
		r = pwritev2(f->fd, v, n, off, RWF_DSYNC);
		if (r >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
			return r;
		atomic_fetch_or(&f->lacks, FILE_NO_DSYNC);
	}
	return pwritev(f->fd, v, n, off);
}

static int sync_file(struct file_backend *f)
{
	while (fdatasync(f->fd)) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* ---- as it is ---- */

static int run_plain(struct file_backend *f, const struct block_request *req)
{
	bool write = req->op == BLOCK_WRITE, fua = req->flags & BLOCK_FUA;
	struct iovec v[PIECE_IOVS];
	uint64_t at = 0;
	ssize_t n;
	int cnt;

	while (at < req->len) {
		cnt = iov_part(req, at, v);
		n = write ? write_some(f, v, cnt, req->offset + at, fua)
			  : preadv(f->fd, v, cnt, req->offset + at);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (!n)
			return -EIO; /* the file was cut off */
		at += n;
		if (at < req->len && at & (f->off_align - 1)) {
			if (!write)
				return -EIO;
			at &= ~((uint64_t)f->off_align - 1);
		}
	}
	return 0;
}

/* ---- through a buffer ---- */

/* Bytes read, fewer only at the end of the file; or -errno. */
static ssize_t read_full(struct file_backend *f, uint8_t *buf, size_t len, uint64_t off)
{
	size_t at = 0;
	ssize_t n;

	while (at < len) {
		n = pread(f->fd, buf + at, len - at, off + at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		if (!n || at & (f->off_align - 1))
			break;
	}
	return at;
}

static int write_full(struct file_backend *f, uint8_t *buf, size_t len, uint64_t off, bool fua)
{
	struct iovec v;
	size_t at = 0;
	ssize_t n;

	while (at < len) {
		v = (struct iovec){buf + at, len - at};
		n = write_some(f, &v, 1, off + at, fua);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		at = (at + n) & ~((size_t)f->off_align - 1);
	}
	return 0;
}

/* One block that a write only changes a part of; what lies beyond the file is zeros. */
static int read_block(struct file_backend *f, uint8_t *buf, uint64_t off)
{
	ssize_t n = read_full(f, buf, f->off_align, off);

	if (n < 0)
		return (int)n;
	memset(buf + n, 0, f->off_align - n);
	return 0;
}

/* Bytes [from, to) of the disk, within the whole blocks [start, end) that the buffer holds. */
static int write_piece(struct file_backend *f, const struct block_request *req, uint8_t *buf,
		       uint64_t start, uint64_t end, uint64_t from, uint64_t to)
{
	int r = 0;

	if (from > start)
		r = read_block(f, buf, start);
	if (!r && to < end && (end - start > f->off_align || from == start))
		r = read_block(f, buf + (end - start - f->off_align), end - f->off_align);
	if (r)
		return r;
	if (req->op == BLOCK_WRITE)
		iov_gather(req, from - req->offset, buf + (from - start), to - from);
	else
		memset(buf + (from - start), 0, to - from);
	return write_full(f, buf, end - start, start, req->flags & BLOCK_FUA);
}

static int read_piece(struct file_backend *f, const struct block_request *req, uint8_t *buf,
		      uint64_t start, uint64_t end, uint64_t from, uint64_t to)
{
	ssize_t n = read_full(f, buf, end - start, start);

	if (n < 0)
		return (int)n;
	if (n < (ssize_t)(to - start))
		return -EIO;
	iov_scatter(req, from - req->offset, buf + (from - start), to - from);
	return 0;
}

static int run_pieces(struct file_backend *f, const struct block_request *req)
{
	uint64_t align = f->off_align, from = req->offset, last = req->offset + req->len;
	uint64_t start, end, to;
	uint8_t *buf;
	int r = 0;

	start = MAX(f->mem_align, f->off_align);
	buf = aligned_alloc(MAX(start, (uint64_t)BOUNCE_ALIGN), MAX(align, (uint64_t)PIECE_MAX));
	if (!buf)
		return -ENOMEM;
	for (; !r && from < last; from = to) {
		start = from & ~(align - 1);
		end = MIN(start + MAX(align, (uint64_t)PIECE_MAX), align_up(last, align));
		to = MIN(end, last);
		r = req->op == BLOCK_READ ? read_piece(f, req, buf, start, end, from, to)
					  : write_piece(f, req, buf, start, end, from, to);
	}
	free(buf);
	return r;
}

static int run_rw(struct file_backend *f, const struct block_request *req)
{
	int r = -EINVAL;

	if (!f->direct || (file_aligned(f, req) && file_memory_aligned(f, req)))
		r = run_plain(f, req);
	if (r == -EINVAL && f->direct)
		r = run_pieces(f, req);
	return r;
}

/* ---- zeros and holes ---- */

static bool unsupported(int r)
{
	return r == -EOPNOTSUPP || r == -ENOSYS || r == -EINVAL || r == -ENODEV || r == -ENOTTY ||
	       r == -EPERM;
}

static int try_fallocate(struct file_backend *f, const struct block_request *req, int mode,
			 uint32_t lack)
{
	int r;

	if (file_lacks(f, lack))
		return -EOPNOTSUPP;
	do
		r = fallocate(f->fd, mode | FALLOC_FL_KEEP_SIZE, req->offset, req->len) ? -errno
											: 0;
	while (r == -EINTR);
	if (unsupported(r)) {
		atomic_fetch_or(&f->lacks, lack);
		r = -EOPNOTSUPP;
	}
	return r;
}

static int device_ioctl(struct file_backend *f, unsigned long what, uint64_t off, uint64_t len)
{
	uint64_t range[2] = {off, len};

	return ioctl(f->fd, what, range) ? -errno : 0;
}

static int run_zeroes(struct file_backend *f, const struct block_request *req)
{
	bool whole = !((req->offset | req->len) & (f->sector - 1));
	int r = -EOPNOTSUPP;

	if (whole && req->flags & BLOCK_MAY_UNMAP)
		r = try_fallocate(f, req, FALLOC_FL_PUNCH_HOLE, FILE_NO_PUNCH);
	if (whole && r == -EOPNOTSUPP && !f->device)
		r = try_fallocate(f, req, FALLOC_FL_ZERO_RANGE, FILE_NO_ZERO_RANGE);
	if (whole && r == -EOPNOTSUPP && f->device)
		r = device_ioctl(f, BLKZEROOUT, req->offset, req->len);
	return unsupported(r) ? run_pieces(f, req) : r;
}

static int run_discard(struct file_backend *f, const struct block_request *req)
{
	uint64_t align = f->sector, from, to;
	int r;

	if (!f->device) {
		r = try_fallocate(f, req, FALLOC_FL_PUNCH_HOLE, FILE_NO_PUNCH);
		return r == -EOPNOTSUPP ? 0 : r; /* it is only advice */
	}
	from = align_up(req->offset, align);
	to = (req->offset + req->len) & ~(align - 1);
	if (from >= to || file_lacks(f, FILE_NO_DISCARD))
		return 0;
	r = device_ioctl(f, BLKDISCARD, from, to - from);
	if (unsupported(r)) {
		atomic_fetch_or(&f->lacks, FILE_NO_DISCARD);
		r = 0;
	}
	return r;
}

int file_run(struct block_request *req)
{
	struct file_backend *f = file_of(req->backend);
	int r = -EINVAL;

	switch (req->op) {
	case BLOCK_READ:
		return run_rw(f, req);
	case BLOCK_WRITE:
		r = run_rw(f, req);
		if (!r && req->flags & BLOCK_FUA && file_lacks(f, FILE_NO_DSYNC))
			r = sync_file(f);
		return r;
	case BLOCK_FLUSH:
		return sync_file(f);
	case BLOCK_WRITE_ZEROES:
		r = run_zeroes(f, req);
		if (!r && req->flags & BLOCK_FUA)
			r = sync_file(f);
		return r;
	case BLOCK_DISCARD:
		return run_discard(f, req);
	}
	return r;
}
