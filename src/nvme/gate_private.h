/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gate of a namespace: counts the commands that are inside, per worker and without shared
 * cache lines, and can be closed, so that who wants the namespace alone (Format, deletion,
 * shrinking, a fused Compare and Write) gets it once the last one has left. Commands that find it
 * closed are parked by their queue, which looks the namespace up anew and tries again soon, by a
 * timer: so nothing that waits points to the gate.
 *
 * Entering takes no fence: closing waits for quiescence (worker_synchronize()) before it counts.
 */
#ifndef SOFTIOV_NVME_GATE_PRIVATE_H
#define SOFTIOV_NVME_GATE_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "util/util.h"
#include "worker/mailbox.h"

struct nvme_gate_closer;

/* Private, but for the fast way below. */
struct nvme_gate {
	_Atomic bool closed;
	/* control */
	struct nvme_gate_closer *first, **last;
	bool drained; /* the first closer was told */
	struct mailbox_work left;
	struct nvme_gate_slot {
		_Alignas(CACHE_LINE) _Atomic uint64_t inside;
	} slots[BLOCK_CHANNELS_MAX];
};

/* Control. */
int nvme_gate_create(struct nvme_gate **out);
void nvme_gate_destroy(struct nvme_gate *g); /* nobody inside */

/* On a worker; slot is the number of its block_channel. False: closed, park the command. */
static inline bool nvme_gate_enter(struct nvme_gate *g, unsigned slot)
{
	_Atomic uint64_t *n = &g->slots[slot].inside;

	if (unlikely(atomic_load_explicit(&g->closed, memory_order_acquire)))
		return false;
	/* one writer */
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	return true;
}

static inline void nvme_gate_leave(struct nvme_gate *g, unsigned slot)
{
	_Atomic uint64_t *n = &g->slots[slot].inside;

	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) - 1,
			      memory_order_release);
	if (unlikely(atomic_load_explicit(&g->closed, memory_order_relaxed)))
		mailbox_post(&g->left);
}

/* Closes; drained(opaque) comes on the control thread when nobody is inside (maybe within this
 * call). Closings nest in order: the next begins when the one before opens. Control. */
void nvme_gate_close(struct nvme_gate *g, void (*drained)(void *opaque), void *opaque);
void nvme_gate_open(struct nvme_gate *g);

#endif
