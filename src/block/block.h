/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Backends: where the bytes of a namespace are. Knows nothing of NVMe, PCI or guests; data lies in
 * iovecs, which may point straight into guest memory.
 *
 *   block_backend   an opened store: file, block device, memory, null, NBD. Control thread.
 *   block_channel   one worker's way to all backends: its io_uring, its completions. One per
 * worker, shared by whoever runs there. block_request   one operation, embedded in its owner;
 * submitted and completed on the channel's worker, never on another thread.
 *
 * A submission is cheap and may be batched: what was submitted in one turn of the worker goes to
 * the kernel in one system call, made by the channel's own poller in the same turn. Completions
 * wake the worker when it sleeps.
 *
 * Attack considered: memory under an iovec that disappears (files truncated by a client): the
 * kernel says EFAULT, memcpy is covered by dma_init()'s SIGBUS handler. Offsets and lengths are
 * checked here again, whatever the caller did. A backend that hangs holds up nobody but its own
 * requests.
 */
#ifndef SOFTIOV_BLOCK_BLOCK_H
#define SOFTIOV_BLOCK_BLOCK_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "worker/worker.h"

struct block_backend;
struct block_channel;

enum block_type { BLOCK_FILE, BLOCK_DEVICE, BLOCK_MEMORY, BLOCK_NULL, BLOCK_NBD };
enum block_direct {
	BLOCK_DIRECT_AUTO, /* O_DIRECT where the file system has it */
	BLOCK_DIRECT_ON,   /* or refuse to open */
	BLOCK_DIRECT_OFF,  /* the host's page cache */
};

struct block_config {
	enum block_type type;
	char target[PATH_MAX]; /* path, NBD URI; empty for memory and null */
	uint64_t size; /* bytes; 0: what is there (a file or device that exists, NBD). A file that
			  is missing, or smaller, is made so; one that is larger is used up to size
			*/
	bool preallocate; /* file: reserve the blocks now */
	bool read_only;
	enum block_direct direct;
};

/* Something about the backend changed by itself. On the control thread. */
struct block_backend_ops {
	void (*resized)(void *opaque, uint64_t size);
};

/*
 * Opens. A file or device opened for writing is locked against other processes and other backends
 * of this one (-EBUSY, and why names the remedy). NBD connects in the background if the server is
 * not there yet only when size is given; requests wait meanwhile. name is for the log. 0 or
 * -errno with a sentence in why. Control.
 */
int block_open(const struct block_config *cfg, const char *name,
	       const struct block_backend_ops *ops, void *opaque, struct block_backend **out,
	       char *why, size_t why_len);
/* Every request must have been completed. Releases the lock. Control. */
void block_close(struct block_backend *b);
/* The same when what it was opened for did not come about: a file that opening has made is removed,
 * one that it has made larger has its size again. Nothing was written to it. */
void block_undo(struct block_backend *b);

uint64_t block_size(const struct block_backend *b); /* bytes; any thread */
/* Grows or shrinks (file, memory, null). No request beyond the new end may be under way. -ENOTSUP
 * for what cannot (a device is told of its new size by size 0). Control. */
int block_resize(struct block_backend *b, uint64_t size, char *why, size_t why_len);

struct block_limits {
	/* of offset and length that needs no copy; a power of two, 1 and up. An NBD server may
	 * insist on it: there, what is not aligned fails with -EINVAL. */
	uint32_t alignment;
	uint32_t granularity;	      /* best unit of writing; bytes */
	uint32_t discard_granularity; /* 0: no discard */
	bool volatile_cache;	      /* flush does something */
	bool read_only;
	bool discard_zeroes; /* what was discarded reads as zeros */
};
void block_get_limits(const struct block_backend *b, struct block_limits *lim);
const struct block_config *block_get_config(const struct block_backend *b);
/* Bytes really taken on the host (st_blocks), or block_size() where unknown. Control. */
uint64_t block_allocated(const struct block_backend *b);
/* "ok", or what is wrong now ("server gone, reconnecting"): for show. Control. */
const char *block_state(const struct block_backend *b);
const char *block_type_name(enum block_type type);

/* The worker's channel; made at first, shared, counted. worker must be the pool's or a function's
 * own. A channel has a small number of its own, 0.. , unique among those that exist at a time, at
 * most BLOCK_CHANNELS_MAX, for tables of counters. Control. 0 or -errno. */
#define BLOCK_CHANNELS_MAX 1024
int block_channel_get(struct worker *w, struct block_channel **out);
/* The last one takes it away; no request may be under way through it by then. Control. */
void block_channel_put(struct block_channel *ch);
unsigned block_channel_number(const struct block_channel *ch);
/* The worker stays awake for completions that are due soon: who waits for one may as well look for
 * more work meanwhile. On the channel's worker. */
bool block_channel_watches(const struct block_channel *ch);

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_WRITE_ZEROES, BLOCK_DISCARD };
enum block_flags {
	BLOCK_FUA = 1,	     /* WRITE, WRITE_ZEROES: on stable storage when done */
	BLOCK_MAY_UNMAP = 2, /* WRITE_ZEROES: may punch a hole instead */
};

struct block_request {
	/* the caller's, untouched until done */
	enum block_op op;
	uint32_t flags;
	uint64_t offset, len; /* bytes; READ, WRITE: len is what the iovecs sum up to */
	struct iovec *iov;    /* must stay valid until done */
	unsigned iovcnt;
	/* READ, WRITE with one iovec: the piece of registered memory (block_channel_fix()) that it
	 * lies in, plus one; 0: none */
	uint16_t fixed;
	/* 0 or -errno (-ENOSPC, -EIO, -ECANCELED, …). On the channel's worker, within some poll();
	 * may submit again. */
	void (*done)(struct block_request *req, int result);
	/* private */
	struct block_backend *backend;
	struct block_channel *channel;
	struct block_request *next, *prev;
	struct block_request *over_next, *over_prev;
	void *bounce;	/* a copy of the data, or an NBD operation */
	int64_t expect; /* the kernel's result that means: done, all is well */
	int result;
	uint32_t state;
	_Atomic uint32_t queued; /* on the list that this names */
};

#define BLOCK_PENDING 1

/*
 * Starts the request, on the channel's worker. BLOCK_PENDING: done() comes later, never from
 * within this call. Else it is finished already - 0 or -errno, as for memory and null - and done()
 * is not called.
 */
int block_submit(struct block_channel *ch, struct block_backend *b, struct block_request *req);

/* Tries to end a pending request early; done() still comes (with -ECANCELED, or as it went). On
 * the channel's worker. */
void block_cancel(struct block_request *req);

/*
 * Memory that the worker's ring keeps at hand ("registered"): a request whose one iovec lies in a
 * piece of it says so (block_request.fixed) and needs no look-up of pages. The memory stays pinned
 * meanwhile, and what the host puts in the place of pinned pages is not seen: not for guests with a
 * balloon. id is of the memory, never of other memory later; who registers the same again shares
 * it. On the channel's worker; takes as long as pinning does. Returns the number of the first piece
 * (BLOCK_FIXED_PIECE bytes each, but for the last), -ENOTSUP, -ENOSPC, or -ENOMEM (RLIMIT_MEMLOCK):
 * then requests go the ordinary way.
 */
#define BLOCK_FIXED_SHIFT 30
#define BLOCK_FIXED_PIECE (1ull << BLOCK_FIXED_SHIFT)
int block_channel_fix(struct block_channel *ch, uint64_t id, void *base, size_t len);
/* What is under way in it goes on. On the channel's worker. */
void block_channel_unfix(struct block_channel *ch, uint64_t id);

#endif
