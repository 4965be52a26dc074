/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long a poller that has run dry goes on asking.
 *
 * A sleep and a wake-up cost about as much time as the bound of the quiet spell, of the worker, of
 * whoever kicks, and of the one who waits. So it is worth asking for so long at most, and only if
 * work is to be expected so soon: who comes once in a millisecond is better slept upon, whatever
 * he does. What is to be expected is an average of past gaps, between running dry and the next
 * arrival, with the last ones counting most. Gaps are held down to a few bounds, so that a pause
 * does not outweigh the many short gaps after it.
 */
#include "worker/worker_internal.h"

#include "util/clock.h"

#define QUIET_SPELL_NS (50 * NS_PER_US)
#define SPELL_MIN_NS   (5 * NS_PER_US) /* some looks at the clock: arrivals have their own bursts */
#define GAP_WEIGHT     4	       /* one part in so many is the last gap */
#define GAP_BOUNDS     3 /* no gap counts more than so many bounds: it takes two to be slow */

static _Atomic uint64_t bound_ns = QUIET_SPELL_NS;

void worker_set_quiet_spell_ns(uint64_t ns)
{
	atomic_store_explicit(&bound_ns, ns, memory_order_relaxed);
}

static uint64_t bound(void)
{
	return atomic_load_explicit(&bound_ns, memory_order_relaxed);
}

/* p, which had run dry, has found work. */
void quiet_ends(struct worker *w, struct poller *p)
{
	uint64_t gap = 0;

	if (p->idle_since_ns != IDLE_NOW && w->now_ns > p->idle_since_ns)
		gap = MIN(w->now_ns - p->idle_since_ns, GAP_BOUNDS * bound());
	p->gap_ns += gap / GAP_WEIGHT - p->gap_ns / GAP_WEIGHT;
	p->idle_since_ns = 0;
	w->n_quiet--;
}

/* A kick has ended p's sleep. What that took is no part of the gap: else who answers at once, but
 * waits for us, would seem slow for good. */
void quiet_woken(const struct worker *w, struct poller *p)
{
	if (p->idle_since_ns == IDLE_NOW)
		p->idle_since_ns = w->now_ns;
	else if (p->idle_since_ns)
		p->idle_since_ns = MIN(p->idle_since_ns + bound() / 2, w->now_ns);
}

/* Whether p, without work since idle_since_ns, shall go idle. */
bool quiet_over(const struct worker *w, const struct poller *p)
{
	uint64_t spell = bound();

	if (p->policy == POLLER_ALWAYS)
		return false;
	if (p->gap_ns >= spell)
		spell = MIN(spell, SPELL_MIN_NS);
	return w->now_ns - p->idle_since_ns >= spell;
}
