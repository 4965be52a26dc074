/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether a worker that has nothing else stays awake for what the kernel works on: a sleep and a
 * wake-up add to the latency of a fast disk about what it takes itself. So it does for as long as
 * pays: what a wake-up is worth, so much more for each further request under way, and so much at
 * most, where that usually is enough to see some done. A slow disk's worker sleeps at once.
 */
#ifndef SOFTIOV_BLOCK_WATCH_H
#define SOFTIOV_BLOCK_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "util/clock.h"
#include "util/util.h"

#define WATCH_NS     (80 * NS_PER_US)  /* for one request under way */
#define WATCH_MORE   (16 * NS_PER_US)  /* for each that is under way besides */
#define WATCH_MAX_NS (500 * NS_PER_US) /* for all of them */

/* Zero-initialised. */
struct block_watch {
	uint64_t since_ns; /* the last completion, or when there was something to wait for; or 0 */
	uint64_t usual_ns; /* from then to the next completion: an average */
};

/* At now, done requests were found completed and inflight are left. */
static inline bool block_watch_on(struct block_watch *w, unsigned done, unsigned inflight,
				  uint64_t now)
{
	uint64_t took = MIN(now - w->since_ns, 4 * WATCH_MAX_NS);
	uint64_t limit = inflight ? MIN(WATCH_NS + (inflight - 1) * WATCH_MORE, WATCH_MAX_NS) : 0;

	if (done && w->since_ns)
		w->usual_ns = (3 * w->usual_ns + took) / 4;
	if (done || !w->since_ns)
		w->since_ns = now;
	if (!inflight)
		w->since_ns = 0;
	return w->usual_ns <= limit && now - w->since_ns < limit;
}

#endif
