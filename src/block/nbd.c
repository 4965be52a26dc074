/* SPDX-License-Identifier: BSD-3-Clause */
/* NBD as a backend: what the control thread and the workers see of it. */
#include "block/nbd_private.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/*
 * How long the control thread waits. Other VMs give up their devices when it does not answer for
 * 5 s, so that even some of these in a row must stay below that.
 */
#define FIRST_TRY_MS 1500 /* the size comes from the server */
#define GLANCE_MS    300  /* the size is known: see whether the server is there */
#define JOIN_MS	     400

/* What a channel has under way, and what has no room yet. The channel's worker's. */
struct nbd_share {
	uint64_t bytes;
	struct request_list waiting;
};

struct nbd_backend {
	struct block_backend base;
	struct nbd_link *link;
	pthread_t thread;
	char state[256];
	struct nbd_share shares[BLOCK_CHANNELS_MAX];
};

static struct nbd_backend *nbd_of(const struct block_backend *b)
{
	return container_of(b, struct nbd_backend, base);
}

void nbd_link_put(struct nbd_link *l)
{
	if (atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	pthread_cond_destroy(&l->tried);
	pthread_mutex_destroy(&l->lock);
	close(l->wakefd);
	free(l);
}

/* ---- workers ---- */

static int start(struct nbd_backend *n, struct nbd_share *share, struct block_request *req)
{
	bool data = req->op == BLOCK_READ || req->op == BLOCK_WRITE;
	struct nbd_link *l = n->link;
	struct nbd_op *op;
	bool wake;

	op = malloc(sizeof(*op) + (data ? req->len : 0));
	if (!op)
		return -ENOMEM;
	*op = (struct nbd_op){.link = l,
			      .req = req,
			      .op = req->op,
			      .flags = req->flags,
			      .offset = req->offset,
			      .len = req->len,
			      .cost = NBD_OP_COST + (data ? req->len : 0)};
	if (req->op == BLOCK_WRITE)
		iov_gather(req, 0, op->data, req->len);
	req->bounce = op;
	share->bytes += op->cost;
	pthread_mutex_lock(&l->lock);
	wake = !l->incoming.head;
	op_push(&l->incoming, op);
	pthread_mutex_unlock(&l->lock);
	if (wake)
		eventfd_write(l->wakefd, 1);
	return BLOCK_PENDING;
}

static bool has_room(const struct nbd_share *share, const struct block_request *req)
{
	return !share->bytes || share->bytes + req->len <= NBD_CHANNEL_BYTES_MAX;
}

static void start_waiting(struct nbd_backend *n, struct block_channel *ch)
{
	struct nbd_share *share = &n->shares[ch->number];
	struct block_request *req;
	int r;

	while ((req = share->waiting.head) && has_room(share, req)) {
		set_queued(req, QUEUED_NOT);
		list_remove(&share->waiting, req);
		r = start(n, share, req);
		if (r != BLOCK_PENDING)
			channel_finish(ch, req, r);
	}
}

static int nbd_submit(struct block_channel *ch, struct block_request *req)
{
	struct nbd_backend *n = nbd_of(req->backend);
	struct nbd_share *share = &n->shares[ch->number];

	if (unlikely(share->waiting.head || !has_room(share, req))) {
		set_queued(req, QUEUED_NBD);
		list_push(&share->waiting, req);
		return BLOCK_PENDING;
	}
	return start(n, share, req);
}

static int nbd_delivered(struct block_request *req)
{
	struct nbd_backend *n = nbd_of(req->backend);
	struct block_channel *ch = req->channel;
	struct nbd_op *op = req->bounce;
	int result = req->result;

	if (!result && req->op == BLOCK_READ)
		iov_scatter(req, 0, op->data, req->len);
	n->shares[ch->number].bytes -= op->cost;
	req->bounce = NULL;
	free(op);
	start_waiting(n, ch);
	return backend_account(&n->base, req, result);
}

static void nbd_cancel(struct block_request *req)
{
	struct nbd_backend *n = nbd_of(req->backend);
	struct nbd_share *share = &n->shares[req->channel->number];
	struct nbd_op *op = req->bounce;
	uint32_t live = NBD_OP_LIVE;
	uint64_t cost;

	if (!op) {
		if (!is_queued(req, QUEUED_NBD))
			return; /* cancelled already */
		set_queued(req, QUEUED_NOT);
		list_remove(&share->waiting, req);
		channel_finish(req->channel, req, -ECANCELED);
		return;
	}
	cost = op->cost;
	atomic_fetch_add(&n->link->abandoned, cost);
	if (!atomic_compare_exchange_strong(&op->state, &live, NBD_OP_CANCELLED)) {
		atomic_fetch_sub(&n->link->abandoned, cost);
		return; /* it is on its way back */
	}
	/* op is the thread's alone now */
	req->bounce = NULL;
	share->bytes -= cost;
	eventfd_write(n->link->wakefd, 1);
	channel_finish(req->channel, req, -ECANCELED);
	start_waiting(n, req->channel);
}

/* ---- control ---- */

/* What of the server's disk is used. */
static uint64_t used_size(const struct block_backend *b, const struct nbd_export *e)
{
	return b->cfg.size && b->cfg.size < e->size ? b->cfg.size : e->size;
}

static void export_changed(struct mailbox_work *work)
{
	struct nbd_link *l = container_of(work, struct nbd_link, changed);
	struct block_backend *b = &l->backend->base;
	uint64_t size;

	pthread_mutex_lock(&l->lock);
	size = used_size(b, &l->export);
	pthread_mutex_unlock(&l->lock);
	if (size == block_size(b))
		return;
	atomic_store(&b->size, size);
	log_info("%s: its disk has %llu bytes now", b->name, (unsigned long long)size);
	if (b->ops.resized)
		b->ops.resized(b->opaque, size);
}

static struct nbd_link *link_new(struct nbd_backend *n)
{
	struct nbd_link *l = calloc(1, sizeof(*l));
	pthread_condattr_t attr;

	if (!l)
		return NULL;
	l->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wakefd < 0) {
		free(l);
		return NULL;
	}
	atomic_store(&l->refs, 2);
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->tried, &attr);
	pthread_condattr_destroy(&attr);
	l->changed.run = export_changed;
	l->backend = n;
	memcpy(l->name, n->base.name, sizeof(l->name));
	memcpy(l->uri, n->base.cfg.target, sizeof(l->uri));
	l->uri[sizeof(l->uri) - 1] = '\0';
	return l;
}

static int start_thread(struct nbd_backend *n)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&n->thread, NULL, nbd_link_main, n->link);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

static void add_ms(struct timespec *t, uint64_t ms)
{
	t->tv_nsec += (long)(ms % 1000) * 1000000;
	t->tv_sec += (time_t)(ms / 1000) + t->tv_nsec / 1000000000;
	t->tv_nsec %= 1000000000;
}

/* A name that cannot be resolved, say, holds up the thread for longer than we want to wait: it
 * ends when it can. */
static void stop_thread(struct nbd_backend *n)
{
	struct nbd_link *l = n->link;
	struct timespec until;

	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_mutex_unlock(&l->lock);
	mailbox_cancel(&l->changed);
	eventfd_write(l->wakefd, 1);
	clock_gettime(CLOCK_REALTIME, &until);
	add_ms(&until, JOIN_MS);
	if (pthread_timedjoin_np(n->thread, NULL, &until))
		pthread_detach(n->thread);
	nbd_link_put(l);
}

static void wait_first_try(struct nbd_link *l, uint64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	add_ms(&until, ms);
	while (!l->first_try_done && !pthread_cond_timedwait(&l->tried, &l->lock, &until))
		;
}

/* The first connection, or what stands for it. Under the lock. */
static int accept_export(struct nbd_backend *n, char *why, size_t why_len)
{
	struct block_backend *b = &n->base;
	struct nbd_link *l = n->link;

	if (!l->connected) {
		if (b->cfg.size) {
			log_warn("%s: %s cannot be reached yet (%s): its requests wait", b->name,
				 l->uri, l->first_try_done ? l->error : "no answer");
			atomic_store(&b->size, b->cfg.size);
			return 0;
		}
		snprintf(why, why_len,
			 "%s cannot be reached (%s): with a size given, it need not be there yet",
			 l->uri, l->first_try_done ? l->error : "no answer");
		return -EHOSTUNREACH;
	}
	if (l->export.read_only && !b->read_only) {
		snprintf(why, why_len, "%s is read-only at its server: say `read-only: true`",
			 l->uri);
		return -EROFS;
	}
	if (!l->export.size || l->export.size < b->cfg.size) {
		snprintf(why, why_len, "%s has %llu bytes, fewer than its size says", l->uri,
			 (unsigned long long)l->export.size);
		return -EINVAL;
	}
	atomic_store(&b->size, used_size(b, &l->export));
	return 0;
}

static int nbd_open(struct block_backend *b, char *why, size_t why_len)
{
	struct nbd_backend *n = nbd_of(b);
	int r = mailbox_init();

	n->link = r ? NULL : link_new(n);
	if (!n->link) {
		snprintf(why, why_len, "out of memory or file descriptors");
		return r ? r : -ENOMEM;
	}
	r = start_thread(n);
	if (r) {
		snprintf(why, why_len, "a thread: %s", strerror(-r));
		nbd_link_put(n->link);
		nbd_link_put(n->link);
		return r;
	}
	pthread_mutex_lock(&n->link->lock);
	wait_first_try(n->link, b->cfg.size ? GLANCE_MS : FIRST_TRY_MS);
	r = accept_export(n, why, why_len);
	pthread_mutex_unlock(&n->link->lock);
	if (r)
		stop_thread(n);
	return r;
}

static void nbd_close_backend(struct block_backend *b)
{
	stop_thread(nbd_of(b));
}

/* The server is not here yet: what most have. */
static void nbd_get_limits(const struct block_backend *b, struct block_limits *lim)
{
	struct nbd_link *l = nbd_of(b)->link;

	pthread_mutex_lock(&l->lock);
	if (l->ever_connected) {
		lim->alignment = l->export.min_block;
		lim->granularity = l->export.best_block;
		lim->discard_granularity = l->export.trim ? MAX(l->export.min_block, 4096u) : 0;
		lim->volatile_cache = l->export.flush;
	} else {
		*lim = (struct block_limits){.alignment = 1,
					     .granularity = 4096,
					     .discard_granularity = 4096,
					     .volatile_cache = true,
					     .read_only = lim->read_only};
	}
	pthread_mutex_unlock(&l->lock);
}

static const char *nbd_state(const struct block_backend *b)
{
	struct nbd_backend *n = nbd_of(b);
	struct nbd_link *l = n->link;

	pthread_mutex_lock(&l->lock);
	if (!l->connected)
		snprintf(n->state, sizeof(n->state), "server gone, connecting again: %s",
			 l->first_try_done ? l->error : "no answer yet");
	else if (l->export.size < b->cfg.size)
		snprintf(n->state, sizeof(n->state), "the server's disk is too small");
	else
		snprintf(n->state, sizeof(n->state), "ok");
	pthread_mutex_unlock(&l->lock);
	return n->state;
}

const struct backend_impl block_nbd_impl = {
	.object_size = sizeof(struct nbd_backend),
	.open = nbd_open,
	.close = nbd_close_backend,
	.submit = nbd_submit,
	.delivered = nbd_delivered,
	.cancel = nbd_cancel,
	.get_limits = nbd_get_limits,
	.state = nbd_state,
};
