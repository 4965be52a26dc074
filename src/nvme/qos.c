/* SPDX-License-Identifier: BSD-3-Clause */
#include "nvme/qos_private.h"

#include "util/clock.h"
#include "util/util.h"

/* Without a burst of one's own: what a rate may catch up after a quiet moment. */
#define BURST_DEFAULT_NS (10 * NS_PER_MS)
#define BURST_MAX_NS	 (60 * NS_PER_S)

static void clock_set(struct rate_clock *c, uint64_t rate, uint64_t burst)
{
	uint64_t burst_ns = BURST_DEFAULT_NS;

	if (rate && burst)
		burst_ns = MIN(rate_ns(burst, rate), BURST_MAX_NS);
	rate_set(c, rate, burst_ns);
}

/* Who reads rate and burst of different settings for once is a command early or late, no more. */
void nvme_qos_set(struct nvme_qos *q, const struct nvme_limits *lim)
{
	clock_set(&q->iops, lim->iops, lim->iops_burst);
	clock_set(&q->bandwidth, lim->bandwidth, lim->bandwidth_burst);
	atomic_store(&q->limited, lim->iops || lim->bandwidth);
	atomic_fetch_add(&q->generation, 1);
}

uint64_t nvme_qos_reserve_slow(struct nvme_qos *q, uint64_t bytes, uint64_t now_ns)
{
	uint64_t a = rate_reserve(&q->iops, 1, now_ns);
	uint64_t b = rate_reserve(&q->bandwidth, bytes, now_ns);

	return MAX(a, b);
}

void nvme_qos_refund(struct nvme_qos *q, uint64_t bytes)
{
	rate_refund(&q->iops, 1);
	rate_refund(&q->bandwidth, bytes);
}
