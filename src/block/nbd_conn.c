/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread of an NBD connection: connects, and connects again when the server is gone, with
 * pauses that grow. What the server had not answered by then is sent again; all operations can be
 * repeated.
 *
 * One thing cannot be made good here: writes that the server acknowledged but may not have stored
 * when the connection ended. A flush on the new connection does not know of them, so the flushes
 * that wait at that moment fail, or, if none does, the next one, as those of a disk whose cache has
 * lost data.
 */
#include "block/nbd_private.h"

#include <errno.h>
#include <libnbd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/clock.h"

#define CONNECT_NS    (10 * NS_PER_S)
#define GOODBYE_NS    (300 * NS_PER_MS)
#define PAUSE_MIN_NS  (100 * NS_PER_MS)
#define PAUSE_MAX_NS  (5 * NS_PER_S)
#define PIECE_DEFAULT (32ull << 20)
#define ZERO_PIECE    (1ull << 30) /* of what carries no data */
#define ZERO_BUFFER   (1u << 20)

static const uint8_t zero_buffer[ZERO_BUFFER];

/* ---- the end of operations ---- */

static void op_free(struct nbd_link *l, struct nbd_op *op)
{
	atomic_fetch_sub(&l->abandoned, op->cost);
	free(op);
}

static bool op_cancelled(const struct nbd_op *op)
{
	return atomic_load(&op->state) == NBD_OP_CANCELLED;
}

static void op_end(struct nbd_link *l, struct nbd_op *op, int result)
{
	uint32_t live = NBD_OP_LIVE;

	if (!atomic_compare_exchange_strong(&op->state, &live, NBD_OP_DONE)) {
		op_free(l, op);
		return;
	}
	op->req->result = result;
	channel_return(op->req);
}

/* ---- operations on the wire ---- */

static int op_done_cb(void *opaque, int *error)
{
	struct nbd_op *op = opaque;

	op->error = *error;
	op_remove(&op->link->inflight, op);
	op_push(&op->link->completed, op);
	return 1; /* libnbd forgets it */
}

static int64_t send_flush(struct nbd_link *l, struct nbd_op *op, nbd_completion_callback cb)
{
	op->written = l->written;
	return nbd_aio_flush(l->h, cb, 0);
}

static int64_t send_zeroes(struct nbd_link *l, struct nbd_op *op, nbd_completion_callback cb,
			   uint32_t fua)
{
	uint64_t off = op->offset + op->at, left = op->len - op->at;

	if (l->export.zero) {
		op->piece = MIN(left, ZERO_PIECE);
		return nbd_aio_zero(
			l->h, op->piece, off, cb,
			fua | (op->flags & BLOCK_MAY_UNMAP ? 0 : LIBNBD_CMD_FLAG_NO_HOLE));
	}
	op->piece = MIN(left, (uint64_t)ZERO_BUFFER);
	return nbd_aio_pwrite(l->h, zero_buffer, op->piece, off, cb, fua);
}

static int64_t send_op(struct nbd_link *l, struct nbd_op *op)
{
	nbd_completion_callback cb = {.callback = op_done_cb, .user_data = op};
	uint32_t fua = op->flags & BLOCK_FUA && l->export.fua ? LIBNBD_CMD_FLAG_FUA : 0;
	uint64_t off = op->offset + op->at, left = op->len - op->at;

	op->piece = 0;
	if (op->syncing)
		return send_flush(l, op, cb);
	switch (op->op) {
	case BLOCK_READ:
		op->piece = MIN(left, l->export.max_piece);
		return nbd_aio_pread(l->h, op->data + op->at, op->piece, off, cb, 0);
	case BLOCK_WRITE:
		op->piece = MIN(left, l->export.max_piece);
		return nbd_aio_pwrite(l->h, op->data + op->at, op->piece, off, cb, fua);
	case BLOCK_FLUSH:
		return send_flush(l, op, cb);
	case BLOCK_WRITE_ZEROES:
		return send_zeroes(l, op, cb, fua);
	case BLOCK_DISCARD:
		op->piece = MIN(left, ZERO_PIECE);
		return nbd_aio_trim(l->h, op->piece, off, cb, fua);
	}
	return -1;
}

/* What the server does not have and nobody needs. */
static bool is_nothing(const struct nbd_link *l, const struct nbd_op *op)
{
	return (op->op == BLOCK_FLUSH && !l->export.flush) ||
	       (op->op == BLOCK_DISCARD && !l->export.trim);
}

/*
 * A write that was cancelled may still be carried out by the server, which may do it after a later
 * one: whoever writes to the same place waits until it is answered.
 */
static bool must_wait(const struct nbd_link *l, const struct nbd_op *op)
{
	const struct nbd_op *at;

	if (likely(!atomic_load_explicit(&l->abandoned, memory_order_relaxed)) ||
	    !op_writes(op->op))
		return false;
	for (at = l->inflight.head; at; at = at->next)
		if (op_cancelled(at) && op_writes(at->op) && at->offset < op->offset + op->len &&
		    op->offset < at->offset + at->len)
			return true;
	return false;
}

static int map_error(int error)
{
	switch (error) {
	case EPERM:
		return -EROFS;
	case 0:
	case ECANCELED:
	case EAGAIN:
		return -EIO;
	default:
		return -error;
	}
}

/* On the in-flight list before libnbd can call back. */
static void start_op(struct nbd_link *l, struct nbd_op *op)
{
	op_remove(&l->queued, op);
	if (l->lost && op->op == BLOCK_FLUSH && !op_cancelled(op)) {
		l->lost = false;
		op_end(l, op, -EIO);
		return;
	}
	if (op_cancelled(op) || is_nothing(l, op)) {
		op_end(l, op, 0);
		return;
	}
	op_push(&l->inflight, op);
	if (send_op(l, op) >= 0)
		return;
	op_remove(&l->inflight, op);
	if (nbd_aio_is_ready(l->h) || nbd_aio_is_processing(l->h)) {
		op_end(l, op, map_error(nbd_get_errno()));
	} else {
		op_push_front(&l->queued, op);
		l->drop = true;
	}
}

static void start_queued(struct nbd_link *l)
{
	struct nbd_op *op, *next;

	for (op = l->queued.head; op && !l->drop; op = next) {
		next = op->next;
		if (!must_wait(l, op))
			start_op(l, op);
	}
}

/* A piece was done: what the server may still lose. Without flush it has no cache. */
static void account(struct nbd_link *l, const struct nbd_op *op)
{
	if (op->syncing || op->op == BLOCK_FLUSH)
		l->stored = MAX(l->stored, op->written);
	else if (op_writes(op->op) && l->export.flush && !(op->flags & BLOCK_FUA && l->export.fua))
		l->written++;
}

/* True: there is more of it to be sent. */
static bool end_piece(struct nbd_link *l, struct nbd_op *op)
{
	bool again;

	if (op->error == ENOTCONN || op->error == ESHUTDOWN) {
		l->drop = true;
		op_push_front(&l->queued, op);
		return false;
	}
	if (op->error) {
		op_end(l, op, map_error(op->error));
		return false;
	}
	account(l, op);
	op->at += op->piece;
	again = op->op != BLOCK_FLUSH && op->at < op->len;
	if (!again && !op->syncing && op->flags & BLOCK_FUA && op_writes(op->op) &&
	    !l->export.fua && l->export.flush)
		op->syncing = again = true;
	if (again)
		op_push_front(&l->queued, op);
	else
		op_end(l, op, 0);
	return again;
}

static bool end_completed(struct nbd_link *l)
{
	struct nbd_op *op;
	bool again = false;

	while ((op = l->completed.head)) {
		op_remove(&l->completed, op);
		again |= end_piece(l, op);
	}
	return again;
}

/* Takes what came from the workers; frees what they no longer want. False: stop. */
static bool take_incoming(struct nbd_link *l)
{
	struct nbd_op *op, *next;
	bool stop;

	pthread_mutex_lock(&l->lock);
	while ((op = l->incoming.head)) {
		op_remove(&l->incoming, op);
		op_push(&l->queued, op);
	}
	stop = l->stop;
	pthread_mutex_unlock(&l->lock);
	if (!atomic_load(&l->abandoned))
		return !stop;
	for (op = l->queued.head; op; op = next) {
		next = op->next;
		if (op_cancelled(op)) {
			op_remove(&l->queued, op);
			op_free(l, op);
		}
	}
	if (atomic_load(&l->abandoned) > NBD_ABANDONED_MAX)
		l->drop = true;
	return !stop;
}

/* ---- the connection ---- */

static void wait_events(struct nbd_link *l, uint64_t until_ns)
{
	struct pollfd p[2] = {{.fd = l->wakefd, .events = POLLIN}, {.fd = -1}};
	uint64_t now = clock_now_ns();
	unsigned dir = 0;
	eventfd_t v;
	int ms = -1;

	if (l->h) {
		dir = nbd_aio_get_direction(l->h);
		p[1].fd = nbd_aio_get_fd(l->h);
		p[1].events = (dir & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
			      (dir & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0);
	}
	if (until_ns)
		ms = until_ns > now ? (int)((until_ns - now) / NS_PER_MS + 1) : 0;
	if (poll(p, 2, ms) <= 0)
		return;
	if (p[0].revents)
		eventfd_read(l->wakefd, &v);
	if (!p[1].revents)
		return;
	if (dir & LIBNBD_AIO_DIRECTION_READ && p[1].revents & (POLLIN | POLLHUP | POLLERR))
		nbd_aio_notify_read(l->h);
	else if (dir & LIBNBD_AIO_DIRECTION_WRITE && p[1].revents & (POLLOUT | POLLHUP | POLLERR))
		nbd_aio_notify_write(l->h);
	else
		l->drop = true;
}

/* A server whose machine is gone says nothing: the kernel finds out. */
static void keep_alive(int fd)
{
	int on = 1, idle = 10, interval = 5, count = 3, timeout_ms = 30000;

	if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)))
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}

static void read_export(struct nbd_link *l, struct nbd_export *e)
{
	int64_t size = nbd_get_size(l->h), min = nbd_get_block_size(l->h, LIBNBD_SIZE_MINIMUM),
		best = nbd_get_block_size(l->h, LIBNBD_SIZE_PREFERRED),
		max = nbd_get_block_size(l->h, LIBNBD_SIZE_MAXIMUM);

	*e = (struct nbd_export){
		.size = size > 0 ? (uint64_t)size : 0,
		.min_block = min > 0 && is_pow2(min) && min <= 65536 ? (uint32_t)min : 1,
		.best_block = best > 0 && best <= 1 << 20 ? (uint32_t)best : 4096,
		.max_piece = max > 0 ? MIN((uint64_t)max, PIECE_DEFAULT) : PIECE_DEFAULT,
		.read_only = nbd_is_read_only(l->h) == 1,
		.flush = nbd_can_flush(l->h) == 1,
		.fua = nbd_can_fua(l->h) == 1,
		.trim = nbd_can_trim(l->h) == 1,
		.zero = nbd_can_zero(l->h) == 1,
	};
	e->max_piece = MAX(e->max_piece & ~(uint64_t)(e->min_block - 1), (uint64_t)e->min_block);
}

static void publish(struct nbd_link *l, const struct nbd_export *e, const char *error)
{
	pthread_mutex_lock(&l->lock);
	l->connected = e;
	if (e) {
		l->ever_connected = true;
		l->export = *e;
	} else {
		snprintf(l->error, sizeof(l->error), "%s", error ? error : "connection lost");
	}
	l->first_try_done = true;
	pthread_cond_broadcast(&l->tried);
	if (e && !l->stop && l->backend)
		mailbox_post(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

/* libnbd's text, which begins with the name of a function. */
static const char *reason(void)
{
	const char *e = nbd_get_error(), *colon = e ? strstr(e, ": ") : NULL;

	return colon ? colon + 2 : e ? e : "connection lost";
}

static bool connect_link(struct nbd_link *l)
{
	uint64_t until = clock_now_ns() + CONNECT_NS;
	struct nbd_export e;

	l->drop = false;
	l->h = nbd_create();
	if (!l->h)
		return false;
	nbd_set_uri_allow_local_file(l->h, true);
	if (nbd_aio_connect_uri(l->h, l->uri))
		goto fail;
	while (!nbd_aio_is_ready(l->h)) {
		if (nbd_aio_is_dead(l->h) || nbd_aio_is_closed(l->h) || l->drop)
			goto fail;
		if (!take_incoming(l))
			goto fail;
		if (clock_now_ns() >= until) {
			publish(l, NULL, "the server does not answer");
			goto close;
		}
		wait_events(l, until);
	}
	keep_alive(nbd_aio_get_fd(l->h));
	read_export(l, &e);
	publish(l, &e, NULL);
	log_info("%s: connected to %s", l->name, l->uri);
	return true;
fail:
	publish(l, NULL, reason());
close:
	nbd_close(l->h);
	l->h = NULL;
	return false;
}

static void close_link(struct nbd_link *l)
{
	uint64_t until = clock_now_ns() + GOODBYE_NS;
	struct nbd_op *op;

	if (!l->drop && nbd_aio_is_ready(l->h) && !nbd_aio_disconnect(l->h, 0))
		while (!nbd_aio_is_closed(l->h) && !nbd_aio_is_dead(l->h) && !l->drop &&
		       clock_now_ns() < until)
			wait_events(l, until);
	nbd_close(l->h); /* touches no buffer any more */
	l->h = NULL;
	end_completed(l);
	while ((op = l->inflight.tail)) {
		op_remove(&l->inflight, op);
		op_push_front(&l->queued, op);
	}
}

/*
 * The connection has ended, and everything waits for the next one. What is under way starts anew,
 * with what of it was done already.
 */
static bool look_for_losses(struct nbd_link *l)
{
	bool lost = l->written != l->stored, told = false;
	struct nbd_op *op, *next;

	for (op = l->queued.head; op; op = next) {
		next = op->next;
		op->at = 0;
		op->syncing = false;
		if (!lost || op->op != BLOCK_FLUSH || op_cancelled(op))
			continue;
		op_remove(&l->queued, op);
		op_end(l, op, -EIO);
		told = true;
	}
	l->stored = l->written;
	l->lost = (l->lost || lost) && !told;
	return lost;
}

/* Until the connection ends. */
static void serve(struct nbd_link *l)
{
	while (take_incoming(l) && !l->drop) {
		do
			start_queued(l);
		while (end_completed(l) && !l->drop);
		if (nbd_aio_is_dead(l->h) || nbd_aio_is_closed(l->h))
			l->drop = true;
		if (l->drop)
			break;
		wait_events(l, 0);
	}
}

static void end_all(struct nbd_link *l)
{
	struct nbd_op *op;

	take_incoming(l);
	while ((op = l->queued.head)) {
		op_remove(&l->queued, op);
		op_end(l, op, -ECANCELED);
	}
}

/* False: stop. */
static bool pause_for(struct nbd_link *l, uint64_t ns)
{
	uint64_t until = clock_now_ns() + ns;

	while (take_incoming(l)) {
		if (clock_now_ns() >= until)
			return true;
		wait_events(l, until);
	}
	return false;
}

void *nbd_link_main(void *arg)
{
	struct nbd_link *l = arg;
	uint64_t pause = PAUSE_MIN_NS;
	bool go = true;

	pthread_setname_np(pthread_self(), "nbd");
	while (go) {
		if (connect_link(l)) {
			pause = PAUSE_MIN_NS;
			serve(l);
			go = take_incoming(l);
			close_link(l);
			if (!go)
				break;
			publish(l, NULL, NULL);
			log_warn("%s: %s is gone%s: connecting again", l->name, l->uri,
				 look_for_losses(l) ? "; what it had not stored may be lost, which "
						      "a flush will say"
						    : "");
		}
		go = pause_for(l, pause);
		pause = MIN(pause * 2, PAUSE_MAX_NS);
	}
	end_all(l);
	nbd_link_put(l);
	return NULL;
}
