/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker's channel: its poller, what waits and what comes back from other threads.
 *
 * Sleep. Requests that other threads return are pushed first and kicked for then (worker.h loses
 * no kick). The kernel's completions kick through an eventfd that is watched; the kernel signals
 * it only between arm() and disarm(). Requests that the worker itself submits find `awake` false
 * when the poller sleeps, and kick it; an awake one finds them in its turn.
 */
#include "block/block_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * Channels are never freed, like workers: a thread that returned a request may still be about to
 * kick the poller when the request, and the channel's last user, are already gone.
 */
static struct block_channel *all_channels, *spare_channels;

static void end_request(struct block_request *req, int result)
{
	req->done(req, result);
}

void channel_finish(struct block_channel *ch, struct block_request *req, int result)
{
	req->result = result;
	list_push(&ch->finished, req);
	channel_wake(ch);
}

void channel_wait(struct block_channel *ch, struct block_request *req)
{
	set_queued(req, QUEUED_RING);
	list_push(&ch->waiting, req);
	channel_wake(ch);
}

bool channel_unwait(struct block_channel *ch, struct block_request *req)
{
	if (!is_queued(req, QUEUED_RING))
		return false;
	set_queued(req, QUEUED_NOT);
	list_remove(&ch->waiting, req);
	return true;
}

void channel_return(struct block_request *req)
{
	struct block_channel *ch = req->channel;
	struct block_request *head = atomic_load_explicit(&ch->returned, memory_order_relaxed);

	do
		req->next = head;
	while (!atomic_compare_exchange_weak_explicit(&ch->returned, &head, req,
						      memory_order_release, memory_order_relaxed));
	poller_kick(&ch->poller);
}

/* ---- the poller ---- */

static unsigned take_returned(struct block_channel *ch)
{
	struct block_request *req, *next, *rev = NULL;
	unsigned n = 0;
	int r;

	for (req = atomic_exchange(&ch->returned, NULL); req; req = next) {
		next = req->next;
		req->next = rev;
		rev = req;
	}
	for (req = rev; req; req = next) {
		next = req->next;
		r = req->backend->impl->delivered(req);
		if (r != BLOCK_PENDING)
			end_request(req, r);
		n++;
	}
	return n;
}

/* Only those that are there now: done() may add more. */
static unsigned run_finished(struct block_channel *ch)
{
	struct request_list l = ch->finished;
	struct block_request *req;
	unsigned n = 0;

	ch->finished = (struct request_list){0};
	while ((req = l.head)) {
		list_remove(&l, req);
		end_request(req, req->result);
		n++;
	}
	return n;
}

static unsigned run_waiting(struct block_channel *ch)
{
	struct block_request *req, *last = ch->waiting.tail;
	unsigned n = 0;
	bool stop;
	int r;

	while ((req = ch->waiting.head) && ch->inflight < RING_CQ_ENTRIES &&
	       io_uring_sq_space_left(&ch->ring)) {
		stop = req == last;
		set_queued(req, QUEUED_NOT);
		list_remove(&ch->waiting, req);
		r = req->backend->impl->restart(ch, req);
		if (r != BLOCK_PENDING)
			end_request(req, r);
		n++;
		if (stop)
			break;
	}
	return n;
}

static unsigned channel_poll(struct poller *p)
{
	struct block_channel *ch = container_of(p, struct block_channel, poller);
	unsigned n = 0;

	if (atomic_load_explicit(&ch->returned, memory_order_relaxed))
		n += take_returned(ch);
	if (ch->finished.head)
		n += run_finished(ch);
	if (unlikely(atomic_load_explicit(&ch->forget, memory_order_relaxed)))
		ring_forget_files(ch);
	if (!ch->has_ring)
		return n;
	if (unlikely(ch->waiting.head))
		n += run_waiting(ch);
	return n + ring_poll(ch);
}

static bool channel_arm(struct poller *p)
{
	struct block_channel *ch = container_of(p, struct block_channel, poller);

	ch->awake = false;
	/* what waits for room comes with a completion */
	return (ch->has_ring && ring_arm(ch)) || ch->finished.head ||
	       (ch->waiting.head && ch->inflight < RING_CQ_ENTRIES) || atomic_load(&ch->returned) ||
	       atomic_load(&ch->forget);
}

static void channel_disarm(struct poller *p)
{
	struct block_channel *ch = container_of(p, struct block_channel, poller);

	ch->awake = true;
	if (ch->has_ring)
		ring_disarm(ch);
}

static const struct poller_ops channel_ops = {
	.poll = channel_poll, .arm = channel_arm, .disarm = channel_disarm};

/* ---- control ---- */

static struct block_channel *channel_alloc(void)
{
	static unsigned made;
	struct block_channel *ch = spare_channels;

	if (ch) {
		spare_channels = ch->next;
		return ch;
	}
	if (made == BLOCK_CHANNELS_MAX)
		return NULL;
	ch = aligned_alloc(CACHE_LINE, align_up(sizeof(*ch), CACHE_LINE));
	if (!ch)
		return NULL;
	memset(ch, 0, sizeof(*ch));
	ch->number = made++;
	return ch;
}

static void channel_spare(struct block_channel *ch)
{
	ch->next = spare_channels;
	spare_channels = ch;
}

/* The worker may be waiting for what only the control thread can bring: not for ever. */
#define FORGET_STEP_US 100
#define FORGET_STEPS   1000

static void give_up(struct block_channel *ch, uint64_t slots)
{
	unsigned i;

	atomic_fetch_or(&ch->forget, slots);
	poller_kick(&ch->poller);
	for (i = 0; i < FORGET_STEPS && atomic_load(&ch->forget) & slots; i++)
		usleep(FORGET_STEP_US);
}

_Atomic bool channels_more_than_one;

/* Workers act upon it from their next turn on at the latest. */
static void count_channels(void)
{
	bool several = all_channels && all_channels->next;

	if (several == atomic_load(&channels_more_than_one))
		return;
	atomic_store(&channels_more_than_one, several);
	worker_synchronize();
}

int block_channel_get(struct worker *w, struct block_channel **out)
{
	struct block_channel *ch;
	int r;

	for (ch = all_channels; ch; ch = ch->next) {
		if (ch->worker == w) {
			ch->refs++;
			*out = ch;
			return 0;
		}
	}
	ch = channel_alloc();
	if (!ch)
		return -ENOMEM;
	ch->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (ch->eventfd < 0) {
		r = -errno;
		channel_spare(ch);
		return r;
	}
	ch->worker = w;
	ch->poller.ops = &channel_ops;
	ch->poller.name = "block";
	ring_open(ch);
	worker_add(w, &ch->poller);
	r = poller_watch_fd(&ch->poller, ch->eventfd);
	if (r) {
		worker_remove(&ch->poller);
		ring_close(ch);
		close(ch->eventfd);
		channel_spare(ch);
		return r;
	}
	ch->refs = 1;
	ch->next = all_channels;
	all_channels = ch;
	count_channels();
	*out = ch;
	return 0;
}

void block_channel_put(struct block_channel *ch)
{
	struct block_channel **at;

	if (!ch || --ch->refs)
		return;
	for (at = &all_channels; *at != ch; at = &(*at)->next)
		;
	*at = ch->next;
	/* The kernel closes a ring, and the files in it, some time later: too late for who wants to
	 * open one of them again. */
	give_up(ch, UINT64_MAX);
	worker_remove(&ch->poller);
	assert(!ch->finished.head && !ch->waiting.head && !atomic_load(&ch->returned));
	ring_close(ch);
	close(ch->eventfd);
	ch->worker = NULL;
	channel_spare(ch);
	count_channels();
}

unsigned block_channel_number(const struct block_channel *ch)
{
	return ch->number;
}

bool block_channel_watches(const struct block_channel *ch)
{
	return ch->watching;
}

void ring_forget_file(_Atomic uint8_t *slots)
{
	struct block_channel *ch;
	unsigned n;

	for (ch = all_channels; ch; ch = ch->next) {
		n = atomic_load(&slots[ch->number]);
		if (n)
			give_up(ch, BIT_ULL(n - 1));
	}
}
