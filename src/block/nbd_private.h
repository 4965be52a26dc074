/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NBD: a remote disk. The connection is a thread's (nbd_conn.c), for which nobody waits; the
 * workers' side is nbd.c.
 *
 * An operation has its data in memory of its own: copied in when it is submitted, copied out on the
 * worker when it is done. So a request can be cancelled at any instant, whatever the server does,
 * and the guest's memory is not touched afterwards. Who first changes op.state from LIVE decides:
 * the worker that cancels (then the thread frees the operation when the connection has let go of
 * it), or the thread that has the result (then the worker delivers it).
 *
 * Attack considered: a guest that submits and aborts for ever while the server hangs. What may wait
 * per channel is bounded; what was abandoned inside the connection is, too: beyond it the
 * connection is given up, which frees all of it.
 */
#ifndef SOFTIOV_BLOCK_NBD_PRIVATE_H
#define SOFTIOV_BLOCK_NBD_PRIVATE_H

#include <pthread.h>

#include "block/block_private.h"
#include "worker/mailbox.h"

#define NBD_CHANNEL_BYTES_MAX (64ull << 20)
#define NBD_ABANDONED_MAX     (64ull << 20)
#define NBD_OP_COST	      512 /* so much an operation counts beside its data */

enum nbd_op_state { NBD_OP_LIVE, NBD_OP_DONE, NBD_OP_CANCELLED };

struct nbd_op {
	struct nbd_op *next, *prev;
	struct nbd_link *link;
	struct block_request *req; /* not after CANCELLED */
	_Atomic uint32_t state;
	enum block_op op;
	uint32_t flags;
	uint64_t offset, len;
	uint64_t cost;
	/* the thread's own */
	uint64_t at, piece;
	uint64_t written; /* of a flush: what the connection had written before it */
	bool syncing;	  /* the flush that stands for FUA */
	int error;
	uint8_t data[];
};

struct nbd_op_list {
	struct nbd_op *head, *tail;
};

/* What the server said it can do. */
struct nbd_export {
	uint64_t size;
	uint64_t max_piece;
	uint32_t min_block, best_block;
	bool read_only, flush, fua, trim, zero;
};

/* Shared by the backend and its thread; lives as long as either. */
struct nbd_link {
	_Atomic unsigned refs;
	int wakefd;
	char name[64];
	char uri[PATH_MAX];
	_Atomic uint64_t abandoned; /* cost of cancelled operations not yet freed */

	pthread_mutex_t lock;
	pthread_cond_t tried; /* the first connection stands, or has failed */
	struct nbd_op_list incoming;
	bool stop, first_try_done, connected, ever_connected;
	struct nbd_export export;
	char error[192];
	struct mailbox_work changed; /* the export may have another size */
	struct nbd_backend *backend; /* control's */

	/* the thread's own */
	struct nbd_handle *h;
	struct nbd_op_list queued, inflight, completed;
	bool drop;
	/* Writes that were acknowledged, and how many of them a flush has made safe. */
	uint64_t written, stored;
	bool lost; /* some that were not: the next flush says so */
};

static inline void op_push(struct nbd_op_list *l, struct nbd_op *op)
{
	op->next = NULL;
	op->prev = l->tail;
	if (l->tail)
		l->tail->next = op;
	else
		l->head = op;
	l->tail = op;
}

static inline void op_push_front(struct nbd_op_list *l, struct nbd_op *op)
{
	op->prev = NULL;
	op->next = l->head;
	if (l->head)
		l->head->prev = op;
	else
		l->tail = op;
	l->head = op;
}

static inline void op_remove(struct nbd_op_list *l, struct nbd_op *op)
{
	if (op->prev)
		op->prev->next = op->next;
	else
		l->head = op->next;
	if (op->next)
		op->next->prev = op->prev;
	else
		l->tail = op->prev;
}

void nbd_link_put(struct nbd_link *l);
void *nbd_link_main(void *arg);

#endif
