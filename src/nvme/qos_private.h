/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Limits: two virtual clocks (commands, bytes; util/rate.h), each telling when the next command may
 * start if the rate is to be kept. A command reserves its place on the clocks of its VF and of its
 * namespace when it is fetched, and starts at the latest of these times; so the rate is exact and
 * no queue starves another. Any worker; lock-free; one relaxed load when nothing is limited.
 */
#ifndef SOFTIOV_NVME_QOS_PRIVATE_H
#define SOFTIOV_NVME_QOS_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "nvme/nvme.h"
#include "util/rate.h"

struct nvme_qos {
	_Atomic bool limited;
	_Atomic uint32_t generation; /* steps when limits change: what waits is admitted anew */
	struct rate_clock iops, bandwidth;
};

/* Control. */
void nvme_qos_set(struct nvme_qos *q, const struct nvme_limits *lim);
/* When a command of so many bytes may start; 0: now. Reserves that. Worker. */
uint64_t nvme_qos_reserve_slow(struct nvme_qos *q, uint64_t bytes, uint64_t now_ns);
/* It will not start. Worker. */
void nvme_qos_refund(struct nvme_qos *q, uint64_t bytes);
static inline bool nvme_qos_limited(const struct nvme_qos *q)
{
	return atomic_load_explicit(&((struct nvme_qos *)q)->limited, memory_order_relaxed);
}

#endif
