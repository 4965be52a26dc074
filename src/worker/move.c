/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moves a poller from one worker to another, both running.
 *
 * The control thread holds both workers' locks, so neither is in a turn (or one is in an offline
 * section of some other poller). No wake-up is lost: kicks go to the old worker's list until
 * detach() has ended them, and whatever came there goes with the poller, which begins on the new
 * worker as one that was kicked. A kick between detach() and attach() finds ATTACHED gone and does
 * nothing, but attach() sets it by a read-modify-write on the same word, so what was published
 * before that kick is seen by the first poll() there. The same holds for fds: an event that the old
 * worker had not handled yet is lost with its watch, but the first poll() looks anyway.
 */
#include "worker/worker_internal.h"

#include <assert.h>
#include <errno.h>

#include "util/clock.h"

static void lock_both(struct worker *a, struct worker *b)
{
	/* workers only ever take their own, so any order will do; always the same is easier to
	 * check */
	worker_control_lock(a < b ? a : b);
	worker_control_lock(a < b ? b : a);
}

static void unlock_both(struct worker *a, struct worker *b)
{
	worker_control_unlock(b);
	worker_control_unlock(a);
}

int poller_move(struct poller *p, struct worker *to)
{
	struct worker *from = p->worker;
	uint64_t timer_ns;
	int r;

	if (!from)
		return -ENOENT;
	if (from == to)
		return 0;
	if (!p->movable || (from->flags | to->flags) & WORKER_MAY_BLOCK)
		return -EPERM;
	lock_both(from, to);
	assert(from->current != p); /* only an offline section could let us see that */
	r = watch_copy(from, to, p);
	if (r)
		goto out;
	timer_ns = atomic_load_explicit(&p->timer_ns, memory_order_relaxed);
	watch_del(from, p, -1);
	worker_detach(from, p);
	worker_attach(to, p, POLLER_PENDING);
	if (timer_ns)
		worker_timer_add(to, p, timer_ns);
	p->moved_ns = clock_now_ns();
out:
	unlock_both(from, to);
	if (!r)
		worker_wake(to);
	return r;
}
