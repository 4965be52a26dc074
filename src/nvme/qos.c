/* SPDX-License-Identifier: BSD-3-Clause */
#include "nvme/qos_private.h"

#include "util/clock.h"
#include "util/util.h"

/* Without a burst of one's own: what a rate may catch up after a quiet moment. */
#define BURST_DEFAULT_NS (10 * NS_PER_MS)
#define BURST_MAX_NS	 (60 * NS_PER_S)

static uint64_t units_ns(uint64_t units, uint64_t rate)
{
	__uint128_t ns = ((__uint128_t)units * NS_PER_S + rate / 2) / rate;

	return ns > UINT64_MAX / 4 ? UINT64_MAX / 4 : (uint64_t)ns;
}

static void clock_set(struct nvme_qos_clock *c, uint64_t rate, uint64_t burst)
{
	uint64_t burst_ns = BURST_DEFAULT_NS;

	if (rate && burst)
		burst_ns = MIN(units_ns(burst, rate), BURST_MAX_NS);
	atomic_store(&c->rate, rate);
	atomic_store(&c->burst_ns, burst_ns);
	atomic_store(&c->tat_ns, 0);
}

/* Who reads rate and burst of different settings for once is a command early or late, no more. */
void nvme_qos_set(struct nvme_qos *q, const struct nvme_limits *lim)
{
	clock_set(&q->iops, lim->iops, lim->iops_burst);
	clock_set(&q->bandwidth, lim->bandwidth, lim->bandwidth_burst);
	atomic_store(&q->limited, lim->iops || lim->bandwidth);
	atomic_fetch_add(&q->generation, 1);
}

/*
 * Generic cell rate algorithm: the theoretical arrival time moves on by what the command takes;
 * the command may start when that time, before it, is at most a burst ahead of the clock.
 */
static uint64_t clock_reserve(struct nvme_qos_clock *c, uint64_t units, uint64_t now_ns)
{
	uint64_t rate = atomic_load_explicit(&c->rate, memory_order_relaxed);
	uint64_t burst = atomic_load_explicit(&c->burst_ns, memory_order_relaxed);
	uint64_t tat, base, cost;

	if (!rate || !units)
		return 0;
	cost = units_ns(units, rate);
	tat = atomic_load_explicit(&c->tat_ns, memory_order_relaxed);
	do
		base = MAX(tat, now_ns);
	while (!atomic_compare_exchange_weak_explicit(&c->tat_ns, &tat, base + cost,
						      memory_order_relaxed, memory_order_relaxed));
	return base > now_ns + burst ? base - burst : 0;
}

uint64_t nvme_qos_reserve_slow(struct nvme_qos *q, uint64_t bytes, uint64_t now_ns)
{
	uint64_t a = clock_reserve(&q->iops, 1, now_ns);
	uint64_t b = clock_reserve(&q->bandwidth, bytes, now_ns);

	return MAX(a, b);
}
