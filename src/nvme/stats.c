/* SPDX-License-Identifier: BSD-3-Clause */
#include "nvme/stats_private.h"

#include <stdlib.h>
#include <string.h>

#include "util/clock.h"
#include "util/util.h"

#define STEP_BITS 4
#define STEPS	  (1u << STEP_BITS)
#define EXP_MAX	  42 /* 2^43 ns: more than two hours */
#define BUCKETS	  ((EXP_MAX - STEP_BITS + 2) * STEPS)

typedef _Atomic uint64_t counter;

struct nvme_stats_op_block {
	counter commands, bytes, sum_ns, max_ns;
	counter histogram[BUCKETS];
};

struct nvme_stats_block {
	_Atomic uint32_t generation;
	_Atomic int64_t inflight; /* survives clearing */
	counter errors, throttled_ns;
	struct nvme_stats_op_block op[NVME_LATENCY_OPS];
};

static void add(counter *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static uint64_t get(const counter *c)
{
	return atomic_load_explicit((counter *)c, memory_order_relaxed);
}

unsigned nvme_stats_bucket(uint64_t ns)
{
	unsigned e;

	if (ns < STEPS)
		return (unsigned)ns;
	e = 63u - (unsigned)__builtin_clzll(ns);
	if (e > EXP_MAX)
		return BUCKETS - 1;
	return (e - STEP_BITS + 1) * STEPS + (unsigned)((ns >> (e - STEP_BITS)) & (STEPS - 1));
}

uint64_t nvme_stats_bucket_value(unsigned bucket)
{
	unsigned e = bucket / STEPS;
	uint64_t low;

	if (e <= 1)
		return bucket;
	low = (uint64_t)(STEPS + bucket % STEPS) << (e - 1);
	return low + ((1ull << (e - 1)) / 2);
}

/* ---- recording ---- */

static void block_clear(struct nvme_stats_block *b, uint32_t generation)
{
	counter *c = &b->errors, *end = (counter *)(b + 1);

	for (; c < end; c++)
		atomic_store_explicit(c, 0, memory_order_relaxed);
	atomic_store_explicit(&b->generation, generation, memory_order_release);
}

static _Atomic(struct nvme_stats_block *) *table_new(struct nvme_stats *s)
{
	_Atomic(struct nvme_stats_block *) *fresh = calloc(BLOCK_CHANNELS_MAX, sizeof(*fresh)),
					   *old = NULL;

	if (!fresh)
		return NULL;
	if (atomic_compare_exchange_strong(&s->blocks, &old, fresh))
		return fresh;
	free(fresh);
	return old;
}

static __attribute__((noinline)) struct nvme_stats_block *block_new(struct nvme_stats *s,
								    unsigned slot)
{
	_Atomic(struct nvme_stats_block *) *table = atomic_load(&s->blocks);
	struct nvme_stats_block *b;

	if (!table)
		table = table_new(s);
	if (!table)
		return NULL;
	b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	atomic_store(&b->generation, atomic_load(&s->generation));
	atomic_store_explicit(&table[slot], b, memory_order_release);
	return b;
}

/* The worker's block; NULL without memory: nothing is counted then. */
static struct nvme_stats_block *block_of(struct nvme_stats *s, unsigned slot)
{
	_Atomic(struct nvme_stats_block *) *table =
		atomic_load_explicit(&s->blocks, memory_order_acquire);
	struct nvme_stats_block *b = NULL;
	uint32_t generation = atomic_load_explicit(&s->generation, memory_order_relaxed);

	if (likely(table))
		b = atomic_load_explicit(&table[slot], memory_order_relaxed);
	if (unlikely(!b))
		b = block_new(s, slot);
	if (b && unlikely(atomic_load_explicit(&b->generation, memory_order_relaxed) != generation))
		block_clear(b, generation);
	return b;
}

void nvme_stats_record(struct nvme_stats *s, unsigned slot, const struct nvme_stats_sample *sample)
{
	struct nvme_stats_block *b = block_of(s, slot);
	struct nvme_stats_op_block *op;

	if (!b)
		return;
	op = &b->op[sample->op];
	add(&op->commands, sample->n);
	add(&op->bytes, sample->bytes);
	add(&op->sum_ns, sample->latency_ns * sample->n);
	if (sample->latency_ns > get(&op->max_ns))
		atomic_store_explicit(&op->max_ns, sample->latency_ns, memory_order_relaxed);
	add(&op->histogram[nvme_stats_bucket(sample->latency_ns)], sample->n);
	if (unlikely(sample->errors))
		add(&b->errors, sample->errors);
}

void nvme_stats_throttled(struct nvme_stats *s, unsigned slot, uint64_t ns)
{
	struct nvme_stats_block *b = block_of(s, slot);

	if (b)
		add(&b->throttled_ns, ns);
}

void nvme_stats_inflight(struct nvme_stats *s, unsigned slot, int change)
{
	struct nvme_stats_block *b = block_of(s, slot);

	if (b)
		atomic_store_explicit(&b->inflight,
				      atomic_load_explicit(&b->inflight, memory_order_relaxed) +
					      change,
				      memory_order_relaxed);
}

/* ---- busy time ---- */

void nvme_busy_begin(struct nvme_busy *b, uint64_t now_ns)
{
	if (!atomic_fetch_add(&b->n, 1))
		atomic_fetch_sub(&b->ns, now_ns);
}

void nvme_busy_end(struct nvme_busy *b, uint64_t now_ns)
{
	if (atomic_fetch_sub(&b->n, 1) == 1)
		atomic_fetch_add(&b->ns, now_ns);
}

/* Between the two steps of a begin or an end the sum is off by an instant of the clock: more than
 * the time that there has been, or below zero. Then it is looked at again. */
uint64_t nvme_busy_ns(const struct nvme_busy *busy, uint64_t since_ns)
{
	struct nvme_busy *b = (struct nvme_busy *)busy;
	uint64_t ns, now;
	bool open;

	do {
		open = atomic_load(&b->n);
		ns = atomic_load(&b->ns);
		now = clock_now_ns();
		ns += open ? now : 0;
	} while (ns > now - since_ns);
	return ns;
}

/* ---- reading ---- */

struct sum {
	uint64_t commands, bytes, ns, max;
	uint64_t histogram[BUCKETS];
};

static void sum_add(struct sum *sum, const struct nvme_stats_op_block *op)
{
	sum->commands += get(&op->commands);
	sum->bytes += get(&op->bytes);
	sum->ns += get(&op->sum_ns);
	sum->max = MAX(sum->max, get(&op->max_ns));
	for (unsigned i = 0; i < BUCKETS; i++)
		sum->histogram[i] += get(&op->histogram[i]);
}

/* The value below which so many thousandths of all lie. */
static uint64_t percentile(const struct sum *sum, unsigned per_mille)
{
	uint64_t total = 0, want, seen = 0;
	unsigned i;

	for (i = 0; i < BUCKETS; i++)
		total += sum->histogram[i];
	if (!total)
		return 0;
	want = (total * per_mille + 999) / 1000;
	for (i = 0; i < BUCKETS - 1; i++) {
		seen += sum->histogram[i];
		if (seen >= want)
			break;
	}
	return MIN(nvme_stats_bucket_value(i), sum->max);
}

static void summarize(const struct sum *sum, struct nvme_latency *l)
{
	l->p50 = percentile(sum, 500);
	l->p99 = percentile(sum, 990);
	l->p999 = percentile(sum, 999);
	l->mean = sum->commands ? sum->ns / sum->commands : 0;
	l->max = sum->max;
}

void nvme_stats_get(const struct nvme_stats *s, struct nvme_io_stats *out)
{
	struct nvme_stats *st = (struct nvme_stats *)s;
	_Atomic(struct nvme_stats_block *) *table = atomic_load(&st->blocks);
	uint32_t generation = atomic_load(&st->generation);
	struct sum sums[NVME_LATENCY_OPS];
	struct nvme_stats_block *b;
	int64_t inflight = 0;
	unsigned i, k;

	memset(out, 0, sizeof(*out));
	memset(sums, 0, sizeof(sums));
	for (i = 0; table && i < BLOCK_CHANNELS_MAX; i++) {
		b = atomic_load_explicit(&table[i], memory_order_acquire);
		if (!b)
			continue;
		inflight += atomic_load_explicit(&b->inflight, memory_order_relaxed);
		if (atomic_load_explicit(&b->generation, memory_order_acquire) != generation)
			continue;
		out->errors += get(&b->errors);
		out->throttled_ns += get(&b->throttled_ns);
		for (k = 0; k < NVME_LATENCY_OPS; k++)
			sum_add(&sums[k], &b->op[k]);
	}
	out->inflight = inflight > 0 ? (uint64_t)inflight : 0;
	out->reads = sums[NVME_STATS_READ].commands;
	out->writes = sums[NVME_STATS_WRITE].commands;
	out->others = sums[NVME_STATS_OTHER].commands;
	out->read_bytes = sums[NVME_STATS_READ].bytes;
	out->write_bytes = sums[NVME_STATS_WRITE].bytes;
	for (k = 0; k < NVME_LATENCY_OPS; k++)
		summarize(&sums[k], &out->latency[k]);
}

void nvme_stats_clear(struct nvme_stats *s)
{
	atomic_fetch_add(&s->generation, 1);
}

void nvme_stats_fini(struct nvme_stats *s)
{
	_Atomic(struct nvme_stats_block *) *table = atomic_exchange(&s->blocks, NULL);

	for (unsigned i = 0; table && i < BLOCK_CHANNELS_MAX; i++)
		free(atomic_load(&table[i]));
	free(table);
}
