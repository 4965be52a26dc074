/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters and latency histograms, of a controller or a namespace. Each worker (by the number of its
 * block_channel) has a block of its own, made when first needed on the control thread, written
 * without locked instructions and summed on read.
 */
#ifndef SOFTIOV_NVME_STATS_PRIVATE_H
#define SOFTIOV_NVME_STATS_PRIVATE_H

#include <stdatomic.h>
#include <stdint.h>

#include "nvme/nvme.h"

struct nvme_stats_block;

struct nvme_stats {
	/* Indexed by block_channel_number(); grown on the control thread (stats.c). */
	_Atomic(struct nvme_stats_block **) blocks;
	_Atomic uint32_t n;
};

#endif
