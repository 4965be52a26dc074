/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A limit as a virtual clock: the generic cell rate algorithm (ITU-T I.371, annex A). The clock
 * stands at the time at which all units put on it so far will have had their turn; it may run
 * ahead of the real time by a burst, which is also how late a timer may be without loss of rate.
 *
 * Nanoseconds are integers; what a division leaves over is carried to the next units, so that
 * rounding never adds up: over a backlog the rate is exact, whatever the size of a unit (60 bytes
 * at 100 Gb/s are 4.8 ns). Right for rates up to 2^52 units a second, for idle times of any
 * length, and for limits of years.
 *
 * Threads: rate_set() by one thread at a time, all else by any number of them; lock-free.
 */
#ifndef SOFTIOV_UTIL_RATE_H
#define SOFTIOV_UTIL_RATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct rate_clock {
	_Atomic uint64_t tat_ns;   /* theoretical arrival time of the next unit */
	_Atomic uint64_t carry;	   /* billionths of a unit that are not in it yet */
	_Atomic uint64_t rate;	   /* units a second; 0: none, nothing waits */
	_Atomic uint64_t burst_ns; /* how far it may run ahead */
};

/* Of what a rate takes for so many units, rounded; at most 2^62. */
uint64_t rate_ns(uint64_t units, uint64_t rate);

/* Starts anew at this rate. Who is in the middle of another call may still put his units on the
 * clock, at the old rate. */
void rate_set(struct rate_clock *c, uint64_t rate, uint64_t burst_ns);

static inline uint64_t rate_get(const struct rate_clock *c)
{
	return atomic_load_explicit(&((struct rate_clock *)c)->rate, memory_order_relaxed);
}

/* Puts units on the clock and tells when they may start, the time for which whoever reserved
 * before has what he reserved; 0: now. */
uint64_t rate_reserve(struct rate_clock *c, uint64_t units, uint64_t now_ns);

/* Takes units off the clock that were reserved, at this rate, and will not start. Who reserved
 * after them keeps his time; who comes next is earlier. */
void rate_refund(struct rate_clock *c, uint64_t units);

/* When something may start, which is not reserved by asking; 0: now. */
uint64_t rate_due(const struct rate_clock *c, uint64_t now_ns);
/* How many units may start now, at most the burst's but one in any case; 0: see rate_due(). */
uint64_t rate_room(const struct rate_clock *c, uint64_t now_ns);

/* Puts units on the clock that have started, allowed or not; the clock will not be further ahead
 * than ahead_ns, unless it was before: what is beyond is forgiven. */
void rate_charge(struct rate_clock *c, uint64_t units, uint64_t now_ns, uint64_t ahead_ns);

#endif
