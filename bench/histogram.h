/* SPDX-License-Identifier: BSD-3-Clause */
/* Latencies counted by size: 32 steps in each power of two, so 3 % at most from step to step. */
#ifndef SOFTIOV_BENCH_HISTOGRAM_H
#define SOFTIOV_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEP_BITS 5
#define HISTOGRAM_STEPS	    (1u << HISTOGRAM_STEP_BITS)
#define HISTOGRAM_BUCKETS   (64 * HISTOGRAM_STEPS)

struct histogram {
	uint64_t n, sum, least, most;
	uint64_t count[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t v);
/* p: 0 to 1. */
double histogram_percentile(const struct histogram *h, double p);

#endif
