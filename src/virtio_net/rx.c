/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receive queues: which queue a frame goes to, its lock, and when the driver is told. Whoever
 * forwards a burst does it; how a frame gets into buffers is rx_put.c's.
 */
#include "virtio_net/rx_burst.h"

/* The queue in step with guest memory. Under the lock, or by the poller of a remote queue. */
static bool ready(struct vnet_rxq *q)
{
	struct dma_space *dma = pci_function_dma(q->net->fn);

	if (!q->vq || q->broken || !dma)
		return false;
	if (likely(vq_begin(q->vq, dma_view_get(dma)) == 0))
		return true;
	q->broken = true;
	vnet_break(q->net, "receive queue not accessible");
	return false;
}

static void refuse(struct net_frame *const *frames, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		frames[i]->not_taken = true;
}

/* Frames for a remote queue only cross over to its own worker. */
static unsigned enqueue(struct vnet_rxq *q, struct net_frame *const *frames, unsigned n)
{
	unsigned taken = 0;

	while (taken < n && vnet_fifo_put(q->fifo, frames[taken]))
		frames[taken++]->not_taken = false;
	if (taken < n) {
		refuse(frames + taken, n - taken);
		vnet_add(&q->fifo_drops, n - taken);
		net_port_count_drop(q->net->port, NET_DROP_RX_RATE, n - taken);
	}
	q->pending = true;
	return taken;
}

/* n frames into one queue; targets (of each frame) may be NULL. */
static unsigned into_queue(struct vnet_rxq *q, struct net_frame *const *frames,
			   const struct vnet_target *const *targets, unsigned n)
{
	struct virtio_net *net = q->net;
	struct rx_burst b;
	unsigned taken = 0;

	vnet_lock(&q->lock);
	if (unlikely(q->fifo)) {
		taken = enqueue(q, frames, n);
	} else if (likely(ready(q))) {
		rx_burst_start(&b, q);
		taken = rx_burst_put(&b, frames, targets, n);
		q->pending |= b.put > 0;
		q->unsignalled += b.put;
		rx_burst_finish(&b);
		/* What came before that is the driver's; flush() will not look at it any more. */
		if (unlikely(q->broken && b.put))
			vq_publish(q->vq);
	} else {
		refuse(frames, n);
		net_port_count_drop(net->port, NET_DROP_RX_NOT_READY, n);
	}
	if (q->pending &&
	    !(atomic_load_explicit(&net->rx_dirty, memory_order_relaxed) & BIT(q->pair)))
		atomic_fetch_or_explicit(&net->rx_dirty, BIT(q->pair), memory_order_relaxed);
	vnet_unlock(&q->lock);
	return taken;
}

/* Sorts a burst by queue; each queue is locked once. */
static unsigned spread(struct virtio_net *net, const struct vnet_steer *steer,
		       struct net_frame *const *frames, unsigned n)
{
	struct vnet_target targets[NET_BURST];
	const struct vnet_target *chosen[NET_BURST];
	struct net_frame *list[NET_BURST];
	uint32_t queues = 0;
	unsigned taken = 0, lost = 0;

	for (unsigned i = 0; i < n; i++) {
		vnet_steer_frame(net, steer, frames[i], &targets[i]);
		if (targets[i].queue < net->cfg.queue_pairs) {
			queues |= BIT(targets[i].queue);
		} else {
			refuse(&frames[i], 1);
			lost++;
		}
	}
	if (lost)
		net_port_count_drop(net->port, NET_DROP_RX_NOT_READY, lost);
	while (queues) {
		unsigned pair = __builtin_ctz(queues), m = 0;

		queues &= queues - 1;
		for (unsigned i = 0; i < n; i++) {
			if (targets[i].queue != pair)
				continue;
			list[m] = frames[i];
			chosen[m++] = &targets[i];
		}
		taken += into_queue(&net->rx[pair], list, steer->report ? chosen : NULL, m);
	}
	return taken;
}

static unsigned deliver(struct net_port *port, struct net_frame *const *frames, unsigned n)
{
	struct virtio_net *net = net_port_opaque(port);
	const struct vnet_steer *steer = atomic_load_explicit(&net->steer, memory_order_acquire);
	unsigned taken = 0;

	if (likely(steer->simple))
		return into_queue(&net->rx[0], frames, NULL, n);
	for (unsigned i = 0; i < n; i += NET_BURST)
		taken += spread(net, steer, frames + i, MIN(n - i, (unsigned)NET_BURST));
	return taken;
}

static void raise_irq(struct vnet_rxq *q)
{
	vnet_add(&q->irqs, 1);
	virtio_device_queue_irq(q->net->vd, vnet_rx_index(q->pair));
}

/* Publishes what was pushed; true when an interrupt is owed from now on. */
static bool publish(struct vnet_rxq *q)
{
	bool due, held = atomic_load_explicit(&q->coal.held, memory_order_relaxed);

	due = vnet_coal_due(&q->coal, vq_publish(q->vq), q->unsignalled);
	q->unsignalled = 0;
	if (due)
		raise_irq(q);
	return !held && atomic_load_explicit(&q->coal.held, memory_order_relaxed);
}

static void flush(struct net_port *port)
{
	struct virtio_net *net = net_port_opaque(port);
	uint32_t dirty;

	if (!atomic_load_explicit(&net->rx_dirty, memory_order_relaxed))
		return;
	dirty = atomic_exchange_explicit(&net->rx_dirty, 0, memory_order_relaxed);
	for (; dirty; dirty &= dirty - 1) {
		struct vnet_rxq *q = &net->rx[__builtin_ctz(dirty)];
		bool owed = false, remote = false;

		vnet_lock(&q->lock);
		if (q->pending && q->fifo) {
			q->pending = false;
			remote = true;
		} else if (q->pending && ready(q)) {
			q->pending = false;
			owed = publish(q);
		}
		vnet_unlock(&q->lock);
		if (owed)
			poller_kick(&net->coal_poller);
		if (remote)
			poller_kick(&q->poller);
	}
}

/* --- the poller of a remote queue --- */

static unsigned remote_poll(struct poller *p)
{
	struct vnet_rxq *q = container_of(p, struct vnet_rxq, poller);
	struct virtio_net *net = q->net;
	const struct vnet_steer *steer;
	struct net_frame frame;
	struct net_seg seg;
	struct rx_burst b;
	unsigned n = 0, cost = 0;

	if (atomic_load_explicit(&q->coal.held, memory_order_relaxed) &&
	    vnet_coal_due(&q->coal, false, 0))
		raise_irq(q);
	if (vnet_fifo_empty(q->fifo) || !ready(q))
		return 0;
	rx_burst_start(&b, q);
	for (; n < NET_BURST && cost < poller_budget(p); n++) {
		const struct vnet_target *hash = NULL;
		struct net_frame *one = &frame;
		struct vnet_target target;

		if (!vnet_fifo_peek(q->fifo, &frame, &seg))
			break;
		cost += frame.len + POLLER_COST_FRAME;
		/* Loaded for each frame: filling the last one may have blocked. */
		steer = atomic_load_explicit(&net->steer, memory_order_acquire);
		if (steer->report) {
			struct net_flow flow;

			net_frame_flow(&frame, &flow);
			vnet_steer_hash(steer, &flow, &target);
			hash = &target;
		}
		rx_burst_put(&b, &one, hash ? &hash : NULL, 1);
		vnet_fifo_drop(q->fifo);
	}
	q->unsignalled += b.put;
	rx_burst_finish(&b);
	if (b.put && !q->broken)
		publish(q);
	return cost;
}

static bool remote_arm(struct poller *p)
{
	struct vnet_rxq *q = container_of(p, struct vnet_rxq, poller);

	if (atomic_load_explicit(&q->coal.held, memory_order_relaxed))
		poller_set_timer(p, q->coal.due_ns);
	return !vnet_fifo_empty(q->fifo) && ready(q);
}

const struct poller_ops vnet_rx_remote_poller = {.poll = remote_poll, .arm = remote_arm};

/* --- interrupts owed by receive queues --- */

/* Pays what is due; returns when the next is, 0 for never. */
static uint64_t pay(struct virtio_net *net)
{
	uint64_t next = 0;

	for (unsigned i = 0; i < net->cfg.queue_pairs; i++) {
		struct vnet_rxq *q = &net->rx[i];

		if (!atomic_load_explicit(&q->coal.held, memory_order_relaxed))
			continue;
		vnet_lock(&q->lock);
		/* A remote queue's poller sees to that itself; a queue that does not run will pay
		 * when it starts again. */
		if (!q->vq || q->fifo)
			;
		else if (vnet_coal_due(&q->coal, false, 0))
			raise_irq(q);
		else if (atomic_load_explicit(&q->coal.held, memory_order_relaxed))
			next = next ? MIN(next, q->coal.due_ns) : q->coal.due_ns;
		vnet_unlock(&q->lock);
	}
	return next;
}

static unsigned coal_poll(struct poller *p)
{
	struct virtio_net *net = container_of(p, struct virtio_net, coal_poller);
	uint64_t next = pay(net);

	if (next)
		poller_set_timer(p, next);
	return 0;
}

const struct poller_ops vnet_rx_coal_poller = {.poll = coal_poll};

const struct net_port_ops vnet_port_ops = {
	.deliver = deliver,
	.flush = flush,
	.link_changed = vnet_link_changed,
};
