/* SPDX-License-Identifier: BSD-3-Clause */
#include "block/file_private.h"

static void over_push(struct request_list *l, struct block_request *req)
{
	req->over_next = NULL;
	req->over_prev = l->tail;
	if (l->tail)
		l->tail->over_next = req;
	else
		l->head = req;
	l->tail = req;
}

static void over_remove(struct request_list *l, struct block_request *req)
{
	if (req->over_prev)
		req->over_prev->over_next = req->over_next;
	else
		l->head = req->over_next;
	if (req->over_next)
		req->over_next->over_prev = req->over_prev;
	else
		l->tail = req->over_prev;
}

/* Two that are whole blocks are the disk's own matter. */
static bool conflict(const struct file_backend *f, const struct block_request *a,
		     const struct block_request *b)
{
	uint64_t align = f->off_align, mask = ~(align - 1);

	if (file_aligned(f, a) && file_aligned(f, b))
		return false;
	return (a->offset & mask) < align_up(b->offset + b->len, align) &&
	       (b->offset & mask) < align_up(a->offset + a->len, align);
}

static bool conflicts(const struct file_backend *f, const struct block_request *req,
		      const struct request_list *l)
{
	const struct block_request *at;

	for (at = l->head; at; at = at->over_next)
		if (conflict(f, at, req))
			return true;
	return false;
}

bool overlap_enter(struct file_backend *f, struct block_request *req)
{
	struct overlap *o = &f->overlap;
	bool ok;

	pthread_mutex_lock(&o->lock);
	ok = !conflicts(f, req, &o->active);
	if (!ok)
		set_queued(req, QUEUED_OVERLAP);
	over_push(ok ? &o->active : &o->waiting, req);
	pthread_mutex_unlock(&o->lock);
	return ok;
}

void overlap_leave(struct file_backend *f, struct block_request *req)
{
	struct overlap *o = &f->overlap;
	struct block_request *at, *next;

	pthread_mutex_lock(&o->lock);
	over_remove(&o->active, req);
	for (at = o->waiting.head; at; at = next) {
		next = at->over_next;
		if (conflicts(f, at, &o->active))
			continue;
		over_remove(&o->waiting, at);
		set_queued(at, QUEUED_NOT);
		over_push(&o->active, at);
		channel_return(at);
	}
	pthread_mutex_unlock(&o->lock);
}

bool overlap_cancel(struct file_backend *f, struct block_request *req)
{
	struct overlap *o = &f->overlap;
	bool found;

	pthread_mutex_lock(&o->lock);
	found = is_queued(req, QUEUED_OVERLAP);
	if (found) {
		over_remove(&o->waiting, req);
		set_queued(req, QUEUED_NOT);
	}
	pthread_mutex_unlock(&o->lock);
	return found;
}
