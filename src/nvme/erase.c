/* SPDX-License-Identifier: BSD-3-Clause */
#include "nvme/erase_private.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "util/util.h"
#include "worker/mailbox.h"

/* Small enough to be called off soon, large enough to cost nothing. */
#define PIECE	    (64ull << 20)
#define PIECE_PLAIN (1ull << 20) /* where zeros must be sent */

static uint8_t zeros[PIECE_PLAIN] __attribute__((aligned(4096)));

struct nvme_erase {
	/* control */
	struct worker *worker;
	struct mailbox_work work;
	void (*finished)(void *opaque, int result);
	void *opaque;
	/* both */
	_Atomic bool cancel, over;
	_Atomic uint64_t erased;
	uint64_t size;
	/* worker */
	struct poller poller;
	struct block_channel *channel;
	struct block_backend *backend;
	struct block_request req;
	struct iovec iov;
	uint32_t flags;
	bool pending, cancelled, plain;
	int result;
};

static void end(struct nvme_erase *e, int result)
{
	e->result = result;
	atomic_store(&e->over, true);
	mailbox_post(&e->work);
}

/* One operation came back: what is next? False: it is over. */
static bool account(struct nvme_erase *e, int result)
{
	if (result == -ENOTSUP && !e->plain && e->req.op == BLOCK_WRITE_ZEROES) {
		e->plain = true;
		return true;
	}
	if (result || e->req.op == BLOCK_FLUSH) {
		end(e, result);
		return false;
	}
	atomic_fetch_add(&e->erased, e->req.len);
	return true;
}

static void request_done(struct block_request *req, int result)
{
	struct nvme_erase *e = container_of(req, struct nvme_erase, req);

	e->pending = false;
	if (account(e, result))
		poller_kick(&e->poller);
}

static void next_request(struct nvme_erase *e)
{
	uint64_t offset = atomic_load(&e->erased), left = e->size - offset;
	struct block_request *req = &e->req;

	req->offset = offset;
	req->flags = 0;
	if (!left) {
		req->op = BLOCK_FLUSH;
		req->len = 0;
	} else if (e->plain) {
		req->op = BLOCK_WRITE;
		req->len = MIN(left, PIECE_PLAIN);
		e->iov = (struct iovec){zeros, req->len};
	} else {
		req->op = BLOCK_WRITE_ZEROES;
		req->flags = e->flags;
		req->len = MIN(left, PIECE);
	}
	req->iov = &e->iov;
	req->iovcnt = req->op == BLOCK_WRITE;
}

static unsigned erase_poll(struct poller *p)
{
	struct nvme_erase *e = container_of(p, struct nvme_erase, poller);
	bool cancel = atomic_load(&e->cancel);
	unsigned cost;
	int r;

	if (atomic_load(&e->over))
		return 0;
	if (e->pending) {
		if (cancel && !e->cancelled) {
			e->cancelled = true;
			block_cancel(&e->req);
		}
		return 0;
	}
	if (cancel) {
		end(e, -ECANCELED);
		return 0;
	}
	next_request(e);
	e->pending = true;
	cost = MIN(e->req.len, (uint64_t)POLLER_BUDGET_MAX) + POLLER_COST_COMMAND;
	r = block_submit(e->channel, e->backend, &e->req);
	if (r == BLOCK_PENDING)
		return cost;
	e->pending = false;
	account(e, r);
	return cost;
}

static const struct poller_ops erase_ops = {.poll = erase_poll};

bool nvme_erase_reap(struct nvme_erase *e)
{
	if (!atomic_load(&e->over))
		return false;
	mailbox_cancel(&e->work);
	worker_remove(&e->poller);
	/* after its turn has ended it posts no more */
	mailbox_cancel(&e->work);
	block_channel_put(e->channel);
	e->finished(e->opaque, e->result);
	free(e);
	return true;
}

static void is_over(struct mailbox_work *work)
{
	nvme_erase_reap(container_of(work, struct nvme_erase, work));
}

int nvme_erase_start(struct worker_pool *pool, struct block_backend *backend,
		     void (*finished)(void *opaque, int result), void *opaque,
		     struct nvme_erase **out)
{
	struct nvme_erase *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	e->worker = worker_pool_pick(pool);
	r = block_channel_get(e->worker, &e->channel);
	if (r) {
		free(e);
		return r;
	}
	e->work.run = is_over;
	e->finished = finished;
	e->opaque = opaque;
	e->backend = backend;
	e->size = block_size(backend);
	/* What was reserved stays so. */
	e->flags = block_get_config(backend)->preallocate ? 0 : BLOCK_MAY_UNMAP;
	e->req.done = request_done;
	e->poller.ops = &erase_ops;
	e->poller.name = "erase";
	worker_add(e->worker, &e->poller);
	poller_kick(&e->poller);
	*out = e;
	return 0;
}

void nvme_erase_cancel(struct nvme_erase *e)
{
	atomic_store(&e->cancel, true);
	poller_kick(&e->poller);
}

unsigned nvme_erase_percent_left(const struct nvme_erase *e)
{
	uint64_t done = atomic_load(&((struct nvme_erase *)e)->erased);

	if (!e->size)
		return 0;
	return (unsigned)(100 - done / (e->size / 100 + 1));
}
