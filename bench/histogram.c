/* SPDX-License-Identifier: BSD-3-Clause */
#include "histogram.h"

#include <string.h>

#define BITS  HISTOGRAM_STEP_BITS
#define STEPS HISTOGRAM_STEPS

static unsigned bucket_of(uint64_t v)
{
	unsigned top;

	if (v < STEPS)
		return (unsigned)v;
	top = 63u - (unsigned)__builtin_clzll(v);
	return (top - BITS + 1) * STEPS + (unsigned)(v >> (top - BITS) & (STEPS - 1));
}

/* The middle of what falls into it. */
static double value_of(unsigned bucket)
{
	unsigned shift = bucket / STEPS;

	if (!shift)
		return bucket;
	return (double)((uint64_t)(STEPS + bucket % STEPS) << (shift - 1)) +
	       (double)(1ull << (shift - 1)) / 2;
}

void histogram_clear(struct histogram *h)
{
	memset(h, 0, sizeof(*h));
	h->least = UINT64_MAX;
}

void histogram_add(struct histogram *h, uint64_t v)
{
	h->n++;
	h->sum += v;
	h->count[bucket_of(v)]++;
	if (v < h->least)
		h->least = v;
	if (v > h->most)
		h->most = v;
}

double histogram_percentile(const struct histogram *h, double p)
{
	uint64_t want = (uint64_t)((double)h->n * p), seen = 0;
	unsigned i;

	for (i = 0; i + 1 < HISTOGRAM_BUCKETS && seen + h->count[i] <= want; i++)
		seen += h->count[i];
	return value_of(i);
}
