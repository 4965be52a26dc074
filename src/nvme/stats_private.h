/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters and latency histograms, of a controller or a namespace. Each worker (by the number of
 * its block_channel) has a block of its own, which it makes when it first needs it, writes without
 * locked instructions, and which is summed on read.
 *
 * Histograms are log-linear: 16 steps per power of two, so a percentile is right to about 6 %.
 */
#ifndef SOFTIOV_NVME_STATS_PRIVATE_H
#define SOFTIOV_NVME_STATS_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "nvme/nvme.h"

struct nvme_stats_block;

/* Zero-initialised is ready for use; nvme_stats_fini() frees. */
struct nvme_stats {
	_Atomic(_Atomic(struct nvme_stats_block *) *) blocks; /* [BLOCK_CHANNELS_MAX] */
	_Atomic uint32_t generation; /* steps when cleared: older blocks count for nothing */
};

enum nvme_stats_op { NVME_STATS_READ, NVME_STATS_WRITE, NVME_STATS_OTHER };

/* n commands of one kind that took the same time, bytes in all. */
struct nvme_stats_sample {
	enum nvme_stats_op op;
	uint32_t n, errors;
	uint64_t bytes;
	uint64_t latency_ns;
};

/* On a worker; slot is the number of its block_channel. */
void nvme_stats_record(struct nvme_stats *s, unsigned slot, const struct nvme_stats_sample *sample);
void nvme_stats_throttled(struct nvme_stats *s, unsigned slot, uint64_t ns);
/* Commands that a backend keeps longer than one poll: +1, -1. Those that wait for something else
 * are counted by their queues (nvme_queues_waiting()), so that no namespace need stay for them;
 * what ends within its turn is never seen. */
void nvme_stats_inflight(struct nvme_stats *s, unsigned slot, int change);

/*
 * For how long anybody was busy: so many that are, and the sum of the instants at which all became
 * idle less those at which the first became busy. So it is exact in whatever order threads count.
 */
struct nvme_busy {
	_Atomic uint32_t n;
	_Atomic uint64_t ns; /* modulo 2^64: without the end of what is not over */
};

/* Any thread. */
void nvme_busy_begin(struct nvme_busy *b, uint64_t now_ns);
void nvme_busy_end(struct nvme_busy *b, uint64_t now_ns);
/* since_ns: when it was made. */
uint64_t nvme_busy_ns(const struct nvme_busy *b, uint64_t since_ns);

/* Control. */
void nvme_stats_get(const struct nvme_stats *s, struct nvme_io_stats *out);
void nvme_stats_clear(struct nvme_stats *s);
void nvme_stats_fini(struct nvme_stats *s); /* nobody records any more */

/* The histogram by itself. */
unsigned nvme_stats_bucket(uint64_t ns);
uint64_t nvme_stats_bucket_value(unsigned bucket); /* the middle of it */

#endif
