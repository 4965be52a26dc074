/* SPDX-License-Identifier: BSD-3-Clause */
/* Files and block devices: they differ in how they are opened and in how they discard. */
#ifndef SOFTIOV_BLOCK_FILE_PRIVATE_H
#define SOFTIOV_BLOCK_FILE_PRIVATE_H

#include "block/block_private.h"
#include "block/offload.h"

/* What the host was found not to have: tried once. */
#define FILE_NO_PUNCH	   1u
#define FILE_NO_ZERO_RANGE 2u
#define FILE_NO_DSYNC	   4u
#define FILE_NO_DISCARD	   8u

/*
 * Writes that are smaller than what O_DIRECT can write are a read, a change and a write, during
 * which nobody else may write to the same blocks. Kept only where such writes are possible: where
 * the alignment is more than a sector.
 */
struct overlap {
	bool used;
	pthread_mutex_t lock;
	/* linked by over_next, over_prev: an active one may be on any other list as well */
	struct request_list active, waiting;
};

struct file_backend {
	struct block_backend base;
	int fd;
	bool direct;
	bool device;
	bool no_ring;	     /* other machines or programs answer for its file system */
	bool created, grown; /* by open() */
	uint64_t grown_from;
	uint32_t mem_align, off_align; /* of O_DIRECT; 1 without */
	uint32_t sector;	       /* of what fallocate() and discard take; 1 for files */
	_Atomic uint32_t lacks;
	_Atomic uint32_t slow_calls; /* in the hands of rings' kernel threads */
	struct offload offload;
	struct overlap overlap;
	_Atomic uint8_t slots[BLOCK_CHANNELS_MAX]; /* ring_file() */
};

static inline struct file_backend *file_of(const struct block_backend *b)
{
	return container_of(b, struct file_backend, base);
}

static inline bool file_lacks(const struct file_backend *f, uint32_t what)
{
	return atomic_load_explicit(&f->lacks, memory_order_relaxed) & what;
}

static inline bool file_aligned(const struct file_backend *f, const struct block_request *req)
{
	return !((req->offset | req->len) & (f->off_align - 1));
}

/* True when the kernel takes the memory as it is for O_DIRECT. Older kernels want each piece's
 * length aligned like an offset, so this does. */
static inline bool file_memory_aligned(const struct file_backend *f,
				       const struct block_request *req)
{
	uintptr_t bits = 0;
	size_t lens = 0;
	unsigned i;

	for (i = 0; i < req->iovcnt; i++) {
		bits |= (uintptr_t)req->iov[i].iov_base;
		lens |= req->iov[i].iov_len;
	}
	return !(bits & (f->mem_align - 1)) && !(lens & (f->off_align - 1));
}

/* file_open.c: what files and devices share of being opened. fd is the backend's from then on. */
int file_open_flags(const struct block_config *cfg, bool direct);
int file_lock(struct file_backend *f, char *why, size_t why_len);
/* Finds out about O_DIRECT, which fd has if direct. False: it does not work with this size. */
bool file_probe_direct(struct file_backend *f, uint64_t size);
void file_start(struct file_backend *f);
void file_close(struct block_backend *b);

/* file.c: submission, for both. */
int file_submit(struct block_channel *ch, struct block_request *req);
int file_restart(struct block_channel *ch, struct block_request *req);
int file_ring_done(struct block_request *req, int res);
int file_delivered(struct block_request *req);
void file_cancel(struct block_request *req);

/* file_sync.c: the whole request on the thread that calls, whatever its shape. */
int file_run(struct block_request *req);

/* overlap.c. enter: false when it has to wait; restart() comes. */
bool overlap_enter(struct file_backend *f, struct block_request *req);
void overlap_leave(struct file_backend *f, struct block_request *req);
bool overlap_cancel(struct file_backend *f, struct block_request *req);

#endif
