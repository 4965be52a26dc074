/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between the files of this folder.
 *
 * A request goes block_submit() -> backend_impl.submit(), which either ends it there, queues
 * entries in the channel's ring (channel_sqe()), or hands it to other threads: the backend's own
 * (offload.h) or an NBD connection's. What those have done comes back by channel_return() and is
 * delivered on the worker. Nothing here takes a lock on the way of an ordinary read or write.
 */
#ifndef SOFTIOV_BLOCK_BLOCK_PRIVATE_H
#define SOFTIOV_BLOCK_BLOCK_PRIVATE_H

#include <liburing.h>
#include <stdatomic.h>
#include <string.h>

#include "block/block.h"
#include "block/watch.h"
#include "util/log.h"
#include "util/util.h"

#define RING_SQ_ENTRIES	  512
#define RING_CQ_ENTRIES	  8192		/* and so many requests at most are in the kernel's hands */
#define RING_FILES	  64		/* registered files of a channel */
#define RING_BUFFERS	  1024		/* registered pieces of memory of a channel */
#define RING_BUFFER_MAX	  (1ull << 30)	/* the kernel's limit for one */
#define RING_TRANSFER_MAX (1u << 30)	/* of one request; below the kernel's 2 GiB - 4 KiB */
#define BOUNCE_MAX	  (64ull << 20) /* of a channel, for all requests together */
#define BOUNCE_ALIGN	  4096u

struct backend_impl {
	size_t object_size; /* of what embeds struct block_backend at its start */
	/* cfg and name are set; sets size and limits. Cleans up after itself. */
	int (*open)(struct block_backend *b, char *why, size_t why_len);
	void (*close)(struct block_backend *b);
	void (*undo)(struct block_backend *b); /* what open() made; before close(). Or NULL */
	int (*resize)(struct block_backend *b, uint64_t size, char *why, size_t why_len);
	/* Checked already; never an empty read or write. */
	int (*submit)(struct block_channel *ch, struct block_request *req);
	/* For a request that has waited for a place in the ring, or for another request. */
	int (*restart)(struct block_channel *ch, struct block_request *req);
	/* The kernel's result was not req->expect. The request's result, or BLOCK_PENDING. */
	int (*ring_done)(struct block_request *req, int res);
	/* Back from another thread with req->result. The same. */
	int (*delivered)(struct block_request *req);
	void (*cancel)(struct block_request *req);
	void (*get_limits)(const struct block_backend *b, struct block_limits *lim); /* or NULL */
	uint64_t (*allocated)(const struct block_backend *b);			     /* or NULL */
	const char *(*state)(const struct block_backend *b);			     /* or NULL */
};

struct block_backend {
	const struct backend_impl *impl;
	_Atomic uint64_t size;
	bool read_only;
	_Atomic int fault; /* errno of the last write, while it is the last */
	struct block_limits limits;
	struct block_config cfg;
	struct block_backend_ops ops;
	void *opaque;
	char name[64];
	struct log_limit log;
	/* What is open, by what: NULL id for memory and the like. */
	struct block_backend *next;
	bool has_id;
	bool id_device;
	uint64_t id_dev, id_ino;
};

extern const struct backend_impl block_file_impl, block_device_impl, block_memory_impl,
	block_null_impl, block_nbd_impl;

/* An open backend of this process that has this file (or device), or NULL. Control. */
struct block_backend *backend_find(bool device, uint64_t dev, uint64_t ino);

/*
 * Closes what nobody uses any more, a map of it (or NULL) first. Where that frees much - of a file
 * that was removed, of memory - a thread does it: a guest that deletes a large namespace is not to
 * hold up the control thread. Control.
 */
void backend_put_away(int fd, void *mem, size_t len);

/* A write has failed, or succeeded again: for block_state() and the log. Maps what means the same
 * to one errno. Any thread. */
int backend_account(struct block_backend *b, const struct block_request *req, int result);

/* request.queued: which list that cancelling may take it off again has it. Changes under that
 * list's lock. */
enum request_queue {
	QUEUED_NOT,
	QUEUED_RING,	/* block_channel.waiting */
	QUEUED_THREAD,	/* offload.queue */
	QUEUED_OVERLAP, /* overlap.waiting */
	QUEUED_NBD,	/* nbd_share.waiting */
};

static inline void set_queued(struct block_request *req, enum request_queue q)
{
	atomic_store_explicit(&req->queued, q, memory_order_relaxed);
}

static inline bool is_queued(const struct block_request *req, enum request_queue q)
{
	return atomic_load_explicit(&req->queued, memory_order_relaxed) == q;
}

static inline bool op_writes(enum block_op op)
{
	return op == BLOCK_WRITE || op == BLOCK_WRITE_ZEROES || op == BLOCK_DISCARD;
}

/* ---- channel ---- */

/* Registered memory: consecutive slots. */
struct ring_memory {
	uint64_t id;
	unsigned refs, first, n;
};

struct request_list {
	struct block_request *head, *tail;
};

struct block_channel {
	struct poller poller;
	struct worker *worker;
	bool awake;    /* the poller is active or kicked */
	bool has_ring; /* false: threads do the work */
	bool enabled;  /* the ring belongs to the worker's thread */
	bool has_files, has_buffers;
	unsigned inflight; /* entries whose completion has not been seen */
	bool watching;	   /* the worker stays awake for completions */
	struct block_watch watch;
	uint64_t bounce_bytes;
	struct io_uring ring;
	struct request_list finished; /* done() is due */
	struct request_list waiting;  /* for a place in the ring */
	struct ring_memory *memory;
	unsigned n_memory;
	uint64_t files_used;			 /* bits of file slots */
	_Atomic uint8_t *file_owner[RING_FILES]; /* where the slot is noted */
	uint64_t buffers_used[RING_BUFFERS / 64];

	/* touched by other threads */
	_Alignas(CACHE_LINE) _Atomic(struct block_request *) returned;
	_Atomic uint64_t forget; /* bits of file slots to be given up */

	/* control's own */
	struct block_channel *next; /* in the list of open or of spare ones */
	unsigned refs, number;
	int eventfd;
};

static inline void list_push(struct request_list *l, struct block_request *req)
{
	req->next = NULL;
	req->prev = l->tail;
	if (l->tail)
		l->tail->next = req;
	else
		l->head = req;
	l->tail = req;
}

static inline void list_remove(struct request_list *l, struct block_request *req)
{
	if (req->prev)
		req->prev->next = req->next;
	else
		l->head = req->next;
	if (req->next)
		req->next->prev = req->prev;
	else
		l->tail = req->prev;
	req->next = req->prev = NULL;
}

extern _Atomic bool channels_more_than_one; /* private to the next */
/* Whether another worker may be in the same backend during this turn. Worker. */
static inline bool channels_several(void)
{
	return atomic_load_explicit(&channels_more_than_one, memory_order_relaxed);
}

/* The channel's poller runs soon. Worker. */
static inline void channel_wake(struct block_channel *ch)
{
	if (!ch->awake) {
		ch->awake = true;
		poller_kick(&ch->poller);
	}
}

/* done(result) comes in the channel's poll(). Worker. */
void channel_finish(struct block_channel *ch, struct block_request *req, int result);
/* restart() comes when there is room. Worker. */
void channel_wait(struct block_channel *ch, struct block_request *req);
/* Takes it back. False: it does not wait. Worker. */
bool channel_unwait(struct block_channel *ch, struct block_request *req);
/* Hands a request back to its worker, where delivered() comes. Any thread; the request must not be
 * touched afterwards. */
void channel_return(struct block_request *req);

/* ---- ring.c ---- */

/* The ring, or has_ring false. Control. */
void ring_open(struct block_channel *ch);
void ring_close(struct block_channel *ch);
/* Submits, reaps. */
unsigned ring_poll(struct block_channel *ch);
bool ring_arm(struct block_channel *ch);
void ring_disarm(struct block_channel *ch);
/* Gives up the file slots that control asked for. */
void ring_forget_files(struct block_channel *ch);

/* An entry to fill, or NULL: call channel_wait(). */
struct io_uring_sqe *channel_sqe_slow(struct block_channel *ch);
static inline struct io_uring_sqe *channel_sqe(struct block_channel *ch)
{
	struct io_uring_sqe *sqe = NULL;

	if (likely(ch->inflight < RING_CQ_ENTRIES))
		sqe = io_uring_get_sqe(&ch->ring);
	if (unlikely(!sqe))
		return channel_sqe_slow(ch);
	ch->inflight++;
	channel_wake(ch);
	return sqe;
}

/* Asks the kernel to end what it has of the request. */
void ring_cancel(struct block_channel *ch, struct block_request *req);

/* The number of the registered file, entered at first; -1: none, use the fd. *slot is the
 * backend's note for this channel: 0, or the number + 1. */
int ring_file_slow(struct block_channel *ch, _Atomic uint8_t *slot, int fd);
static inline int ring_file(struct block_channel *ch, _Atomic uint8_t *slot, int fd)
{
	unsigned n = atomic_load_explicit(slot, memory_order_relaxed);

	return likely(n) ? (int)n - 1 : ring_file_slow(ch, slot, fd);
}

/* All channels forget the file noted in slots[channel number]. Waits for the workers, but not for
 * long. Control. */
void ring_forget_file(_Atomic uint8_t *slots);

/* ---- iovecs ---- */

/* Copies between a request's iovecs and a flat buffer, from byte at on. */
void iov_gather(const struct block_request *req, uint64_t at, void *buf, size_t len);
void iov_scatter(const struct block_request *req, uint64_t at, const void *buf, size_t len);

#endif
