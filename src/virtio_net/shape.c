/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transmit rates of a function (net/shaper.h): a queue that may not send now takes no descriptors.
 * Its frames stay with the driver, which sees a full ring as it would with a slow link. It stays
 * un-armed, as no kick could make it go on sooner, and sleeps until its timer.
 */
#include "virtio_net/vnet.h"

/* How often and how long it was held back. */
static void count(struct vnet_txq *q, uint64_t now_ns, bool held)
{
	if (held == (q->held_since_ns != 0))
		return;
	if (held) {
		q->held_since_ns = now_ns;
		net_port_count_throttled(q->net->port, 1, 0);
	} else {
		net_port_count_throttled(q->net->port, 0, now_ns - q->held_since_ns);
		q->held_since_ns = 0;
	}
}

/* Queues that are held back wake together, at multiples of this: with hundreds of them the worker
 * would be woken for each alone. So late a queue loses nothing, a burst covers it (net/shaper.c).
 */
#define TICK_NS (128u << 10)

/* When the queue is to be polled again: an interrupt that it owes may come first. */
static uint64_t next_ns(const struct vnet_txq *q, uint64_t due_ns)
{
	bool owes = atomic_load_explicit(&((struct vnet_txq *)q)->coal.held, memory_order_relaxed);

	due_ns = align_up(due_ns, TICK_NS);
	return owes ? MIN(due_ns, q->coal.due_ns) : due_ns;
}

bool vnet_shape_may(struct vnet_txq *q, uint32_t *budget)
{
	uint64_t now, due;
	uint32_t room = 1;

	if (!vq_avail(q->vq)) {
		/* What arrives just now must ask, too: a driver may take back what it showed, and
		 * show it again. A ring that breaks the rules goes its way. */
		vnet_shape_leave(q);
		return vq_is_broken(q->vq);
	}
	now = clock_now_ns();
	due = net_shaper_ask(&q->shape, now, &room);
	count(q, now, due);
	poller_set_urgent(&q->poller, !due && q->shape.below_min);
	if (due) {
		poller_rest(&q->poller, next_ns(q, due));
		return false;
	}
	*budget = MIN(*budget, room);
	return true;
}

void vnet_shape_sent(struct vnet_txq *q, const struct net_frame *frames, unsigned n)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += net_shaper_len(&frames[i]);
	net_shaper_sent(&q->shape, bytes);
}

bool vnet_shape_holds(struct vnet_txq *q, bool ready)
{
	if (!ready || !q->shape.held_until_ns || !net_shaper_limited(&q->net->shape)) {
		vnet_shape_leave(q);
		return false;
	}
	poller_set_timer(&q->poller, next_ns(q, q->shape.held_until_ns));
	return true;
}

void vnet_shape_leave(struct vnet_txq *q)
{
	if (q->held_since_ns)
		count(q, clock_now_ns(), false);
	net_shaper_leave(&q->shape);
}

void vnet_shape_set(struct virtio_net *net)
{
	net_shaper_port_set(&net->shape, net->policy.max_tx_mbps, net->policy.min_tx_mbps);
	for (unsigned i = 0; i < net->cfg.queue_pairs; i++)
		if (net->tx[i].vq)
			poller_kick(&net->tx[i].poller);
}
