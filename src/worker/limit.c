/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What all workers together may use of the CPU: a token bucket, kept as the time until which what
 * was used has been paid for. A worker charges the CPU time of its thread, so what others take from
 * it on a busy machine is not held against it. Who finds the bucket empty rests until there is
 * credit for some milliseconds again, all workers alike; whose turn it is (sched.c) is as it was
 * when they go on.
 *
 * A resting worker is quiescent and has let go of its lock, so the control thread does with it what
 * it likes. Kicks pile up on its list; nobody wakes it for them, as it is not `sleeping`.
 */
#include "worker/worker_internal.h"

#include <time.h>

#include "util/clock.h"

#define DEPTH_NS  (5 * NS_PER_MS) /* credit that can be saved */
#define REST_NS	  (5 * NS_PER_MS) /* credit that a rest brings */
#define CHARGE_NS (50 * NS_PER_US)
#define REST_MAX  NS_PER_S
#define PRICE_ONE 65536

/* Nanoseconds of time for PRICE_ONE of CPU; 0: no limit. */
static _Atomic uint64_t price, paid_until_ns;
static double limit_cores; /* control's own */

bool limit_on(void)
{
	return atomic_load_explicit(&price, memory_order_relaxed);
}

double worker_cpu_limit(void)
{
	return limit_cores;
}

/* On return the worker does not rest, nor charge by an earlier price. */
static void begin_anew(struct worker *w)
{
	worker_control_lock(w);
	w->rest_until_ns = w->cpu_ns = 0;
	pthread_cond_signal(&w->rest_over);
	worker_control_unlock(w);
}

void worker_set_cpu_limit(double cores)
{
	double p = cores > 0 ? PRICE_ONE / cores : 0;

	limit_cores = cores > 0 ? cores : 0;
	/* a thousand cores are no limit; a millionth of one is none that could be meant */
	atomic_store(&price, p > PRICE_ONE * 1e6 ? (uint64_t)(PRICE_ONE * 1e6) : (uint64_t)p);
	worker_each(begin_anew);
	atomic_store(&paid_until_ns, clock_now_ns());
	worker_each(begin_anew);
}

void limit_charge(struct worker *w, bool now)
{
	uint64_t p = atomic_load_explicit(&price, memory_order_relaxed), cpu, used, old, until,
		 time;
	struct timespec ts;

	if (!p || (!now && w->now_ns - w->charged_ns < CHARGE_NS))
		return;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	cpu = (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
	used = w->cpu_ns ? cpu - w->cpu_ns : 0; /* since there is a limit */
	w->cpu_ns = cpu;
	/* it may have been off its core since it last looked */
	time = clock_now_ns();
	w->charged_ns = time;
	old = atomic_load_explicit(&paid_until_ns, memory_order_relaxed);
	do
		until = MAX(old, time - DEPTH_NS) + used * p / PRICE_ONE;
	while (!atomic_compare_exchange_weak(&paid_until_ns, &old, until));
	if (until > time)
		w->rest_until_ns = MIN(until + REST_NS, time + REST_MAX);
}

void limit_rest(struct worker *w)
{
	struct timespec ts;

	worker_pause_begins(w);
	while (w->rest_until_ns > clock_now_ns() && !atomic_load(&w->stop)) {
		ts = (struct timespec){w->rest_until_ns / NS_PER_S, w->rest_until_ns % NS_PER_S};
		pthread_cond_clockwait(&w->rest_over, &w->lock, CLOCK_MONOTONIC, &ts);
	}
	w->rest_until_ns = 0;
	worker_pause_ends(w);
}
