/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moves a queue from a worker that has too much to do to one that has time.
 *
 * A worker's load is the part of its time that went into work, polls that found nothing aside, and
 * of the time that the CPU limit left it. A queue's is the part of that which its cost was. One
 * queue is moved at a time, and only when a worker was saturated for two looks while another was
 * not, and the larger of their loads becomes clearly less by it; then the loads have time to
 * settle, and the queue stays for a while. So what is even, or cannot be made so, stays as it is.
 */
#include "worker/worker_internal.h"

#include "util/clock.h"

#define SATURATED 0.90
#define IDLE	  0.70
#define GAIN	  0.10 /* by so much the larger load must become less */
#define LOOKS	  2
#define STAY_NS	  (10 * NS_PER_S)

struct choice {
	double hot, cold, best; /* loads; the larger one after the move */
	uint64_t cost, now_ns;	/* of all pollers of the hot one since the last look */
	struct poller *poller;
};

static uint64_t recent_cost(const struct poller *p)
{
	return p->cost - p->cost_before;
}

/* Since the last look; under the lock. */
static double load_of(struct worker *w, uint64_t now)
{
	uint64_t work = atomic_load_explicit(&w->work_ns, memory_order_relaxed);
	uint64_t rested = atomic_load_explicit(&w->rested_ns, memory_order_relaxed);
	uint64_t time = now - w->look.time_ns, rest = rested - w->look.rested_ns;
	double load = 0;

	if (w->look.time_ns && time > rest)
		load = (double)(work - w->look.work_ns) / (double)(time - rest);
	w->look.time_ns = now;
	w->look.work_ns = work;
	w->look.rested_ns = rested;
	return MIN(load, 1.0);
}

static void look_at(struct worker *w, uint64_t now)
{
	struct poller *p;

	worker_control_lock(w);
	if (atomic_load_explicit(&w->awake_since_ns, memory_order_relaxed))
		worker_tick(w);
	w->look.load = load_of(w, now);
	w->look.cost = 0;
	for (p = w->pollers; p; p = p->all_next) {
		p->cost_recent = recent_cost(p);
		p->cost_before = p->cost;
		w->look.cost += p->cost_recent;
	}
	worker_control_unlock(w);
	w->look.saturated = w->look.load >= SATURATED ? w->look.saturated + 1 : 0;
}

static void consider(struct poller *p, void *opaque)
{
	struct choice *c = opaque;
	double load, after;

	if (!p->movable || !c->cost || (p->moved_ns && c->now_ns - p->moved_ns < STAY_NS))
		return;
	load = c->hot * (double)p->cost_recent / (double)c->cost;
	after = MAX(c->hot - load, c->cold + load);
	if (after >= c->best)
		return;
	c->best = after;
	c->poller = p;
}

bool worker_pool_balance(struct worker_pool *pool, bool move)
{
	struct worker *hot = NULL, *cold = NULL, *w;
	struct choice c = {.now_ns = clock_now_ns()};

	for (unsigned i = 0; i < worker_pool_size(pool); i++) {
		w = worker_pool_at(pool, i);
		look_at(w, c.now_ns);
		if (!hot || w->look.load > hot->look.load)
			hot = w;
		if (!cold || w->look.load < cold->look.load)
			cold = w;
	}
	if (!move || hot == cold || hot->look.saturated < LOOKS || cold->look.load > IDLE)
		return false;
	c.hot = hot->look.load;
	c.cold = cold->look.load;
	c.cost = hot->look.cost;
	c.best = c.hot - GAIN;
	worker_each_poller(hot, consider, &c);
	if (!c.poller || poller_move(c.poller, cold))
		return false;
	hot->look.saturated = 0;
	return true;
}

double worker_load(const struct worker *w)
{
	return w->look.load;
}

double poller_load(const struct poller *p)
{
	const struct worker *w = p->worker;

	return w && w->look.cost ? w->look.load * (double)p->cost_recent / (double)w->look.cost : 0;
}
