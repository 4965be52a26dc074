/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of workers have in common: naps, waiting, and a source of work that counts. */
#ifndef TESTS_UNIT_WORKER_ENV_H
#define TESTS_UNIT_WORKER_ENV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <time.h>

#include "util/clock.h"
#include "util/util.h"
#include "worker/worker.h"

static inline void nap(uint64_t ns)
{
	const struct timespec ts = {ns / NS_PER_S, ns % NS_PER_S};

	nanosleep(&ts, NULL);
}

/* Waits up to 10 s (the machine may be busy) for cond. */
#define await(cond)                                                                                \
	do {                                                                                       \
		uint64_t end_ = clock_now_ns() + 10 * NS_PER_S;                                    \
		bool ok_;                                                                          \
		while (!(ok_ = (cond)) && clock_now_ns() < end_)                                   \
			nap(100 * NS_PER_US);                                                      \
		assert_true(ok_);                                                                  \
	} while (0)

static inline struct worker_stats stats(const struct worker *w)
{
	struct worker_stats st;

	worker_get_stats(w, &st);
	return st;
}

#endif
