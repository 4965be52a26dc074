/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Notification coalescing (virtio 1.3, 5.1.6.5.8). Only the interrupt waits, never the used ring:
 * a driver that polls sees its buffers at once. With max_usecs 0 nothing waits, whatever
 * max_packets says, so that no frame is forgotten.
 */
#include "virtio_net/vnet.h"

bool vnet_coal_due(struct vnet_coal *c, bool want, unsigned packets)
{
	uint32_t usecs = atomic_load_explicit(&c->max_usecs, memory_order_relaxed);
	uint32_t max = atomic_load_explicit(&c->max_packets, memory_order_relaxed);
	bool held = atomic_load_explicit(&c->held, memory_order_relaxed);
	uint64_t now;

	if (likely(!usecs && !held))
		return want;
	if (!want && !held)
		return false;
	now = clock_now_ns();
	if (!held) {
		c->packets = 0;
		c->due_ns = now + usecs * NS_PER_US;
	}
	c->packets += packets;
	if (!usecs || (max && c->packets >= max) || now >= c->due_ns) {
		atomic_store_explicit(&c->held, false, memory_order_relaxed);
		return true;
	}
	atomic_store_explicit(&c->held, true, memory_order_relaxed);
	return false;
}

void vnet_coal_reset(struct vnet_coal *c, const struct vnet_ctrl_coal *params)
{
	atomic_store_explicit(&c->held, false, memory_order_relaxed);
	atomic_store_explicit(&c->max_packets, params->max_packets, memory_order_relaxed);
	atomic_store_explicit(&c->max_usecs, params->max_usecs, memory_order_relaxed);
	c->packets = 0;
}
