/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receive queues: frames of the switch are written into the driver's buffers, once, straight from
 * the sender's memory. Whoever forwards a burst does it, under the queue's lock.
 *
 * What the driver did not take as it is (5.1.6.4) is made plain here: a GSO frame is cut, a
 * partial checksum completed.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "util/bytes.h"
#include "virtio_net/vnet.h"

/* One burst into one queue. */
struct rx_burst {
	struct vnet_rxq *q;
	struct vnet_scratch *s;
	const struct vnet_target *target; /* of the frame at hand; NULL: no hash */
	uint32_t hdr_len;
	uint32_t max_plain; /* longest frame that is no GSO frame, without VLAN tags */
	bool mergeable;
	uint64_t offloads;
	unsigned put, no_buffer, too_big, bad_offload, not_ready;
	uint64_t bytes, csum_needed, csum_valid, gso_packets, gso_bytes;
};

static void break_queue(struct rx_burst *b, const char *why)
{
	b->q->broken = true;
	vnet_break(b->q->net, why);
}

/* The transport header's end, which GSO frames must announce (5.1.6.4.1). */
static uint16_t header_length(const struct net_frame *f)
{
	const struct net_offload *o = &f->offload;
	uint32_t len = o->csum_start + 8u;

	if (o->gso_type != NET_GSO_UDP_L4) {
		len = o->csum_start + 20u;
		if (o->csum_start + 13u <= f->head_len)
			len = o->csum_start + (net_frame_chead(f)[o->csum_start + 12] >> 4) * 4u;
	}
	return MIN(len, f->len);
}

static void make_header(struct rx_burst *b, const struct net_frame *f, uint16_t num_buffers,
			struct virtio_net_hdr_v1_hash *h)
{
	const struct net_offload *o = &f->offload;

	memset(h, 0, sizeof(*h));
	h->hdr.num_buffers = htole16(num_buffers);
	if (o->needs_csum) {
		h->hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h->hdr.csum_start = htole16(o->csum_start);
		h->hdr.csum_offset = htole16(o->csum_offset);
		b->csum_needed++;
		if (o->gso_type) {
			h->hdr.gso_type = o->gso_type | (o->gso_ecn ? VIRTIO_NET_HDR_GSO_ECN : 0);
			h->hdr.gso_size = htole16(o->gso_size);
			h->hdr.hdr_len = htole16(header_length(f));
			b->gso_packets++;
			b->gso_bytes += f->len;
		}
	} else if (o->data_valid && (b->offloads & BIT_ULL(VIRTIO_NET_F_GUEST_CSUM))) {
		h->hdr.flags = VIRTIO_NET_HDR_F_DATA_VALID;
		b->csum_valid++;
	}
	if (b->target) {
		h->hash_value = htole32(b->target->hash);
		h->hash_report = htole16(b->target->report);
	}
}

/* Header, head and pieces of a frame as one stream of bytes. */
struct rx_source {
	const uint8_t *ptr;
	uint32_t left;
	int next; /* -1: the head comes next */
	const struct net_frame *f;
};

static void source_fill(struct rx_source *src)
{
	while (!src->left) {
		if (src->next < 0) {
			src->ptr = net_frame_chead(src->f);
			src->left = src->f->head_len;
		} else if (src->next < src->f->nsegs) {
			src->ptr = src->f->segs[src->next].ptr;
			src->left = src->f->segs[src->next].len;
		} else {
			return;
		}
		src->next++;
	}
}

static void source_read(struct rx_source *src, uint8_t *dst, uint32_t len)
{
	while (len) {
		uint32_t m;

		source_fill(src);
		m = MIN(len, src->left);
		memcpy(dst, src->ptr, m);
		dst += m;
		len -= m;
		src->ptr += m;
		src->left -= m;
	}
}

/* Fills a chain with up to left bytes; returns how many. */
static uint32_t fill_chain(struct rx_source *src, const struct vq_chain *chain, uint32_t left)
{
	uint32_t want = MIN(left, chain->in_len), done = 0;
	const struct vq_buf *buf = chain->bufs + chain->n_out;

	for (; done < want; buf++) {
		uint32_t m = MIN(want - done, buf->len);

		source_read(src, buf->ptr, m);
		done += m;
	}
	return want;
}

static void pop_failed(struct rx_burst *b, int err)
{
	if (err < 0) {
		break_queue(b, "receive queue breaks the rules");
		b->not_ready++;
	} else {
		b->no_buffer++;
	}
}

/*
 * Takes the buffers that total bytes need into s->rx_chains. Returns their number, or 0 with the
 * drop counted and everything given back.
 */
static unsigned take_buffers(struct rx_burst *b, uint32_t total)
{
	struct vnet_scratch *s = b->s;
	unsigned n = 0, used = 0, descs = 0;
	uint32_t room = 0;
	int r = 0;

	do {
		struct vq_chain *c = &s->rx_chains[n];

		if (n == VNET_CHAINS_MAX || used + VQ_BUFS_MAX > ARRAY_SIZE(s->rx_bufs) ||
		    (n && !b->mergeable))
			break;
		r = vq_pop(b->q->vq, c, s->rx_bufs + used, VQ_BUFS_MAX);
		if (r <= 0)
			break;
		n++;
		used += c->n_out + c->n_in;
		descs += c->ndescs;
		room += c->in_len;
		if (unlikely(c->in_len < b->hdr_len)) {
			break_queue(b, "receive buffer shorter than its header");
			b->not_ready++;
			return 0;
		}
	} while (room < total);
	if (likely(room >= total))
		return n;
	if (n && r >= 0)
		vq_unpop(b->q->vq, n, descs);
	if (r > 0)
		b->too_big++;
	else
		pop_failed(b, r);
	return 0;
}

/* One of the two sizes, without a call. */
static inline void copy_header(void *dst, const struct virtio_net_hdr_v1_hash *hdr, uint32_t len)
{
	if (likely(len == sizeof(hdr->hdr)))
		memcpy(dst, &hdr->hdr, sizeof(hdr->hdr));
	else
		memcpy(dst, hdr, sizeof(*hdr));
}

/* Writes a frame as it is. */
static void put(struct rx_burst *b, const struct net_frame *f)
{
	uint32_t total = b->hdr_len + f->len;
	struct virtio_net_hdr_v1_hash hdr;
	struct rx_source src = {.ptr = (uint8_t *)&hdr, .left = b->hdr_len, .next = -1, .f = f};
	unsigned n;

	if (unlikely(b->q->broken)) {
		b->not_ready++;
		return;
	}
	/* 5.1.4.1: nothing longer than the negotiated MTU, VLAN tags not counted. */
	if (unlikely(f->len > b->max_plain) && !f->offload.gso_type) {
		const uint8_t *type = net_frame_chead(f) + 2 * ETH_ALEN;
		uint32_t tags = 0;

		while (tags < 8 &&
		       (get_be16(type + tags) == ETHERTYPE_VLAN || get_be16(type + tags) == 0x88a8))
			tags += 4;
		if (f->len > b->max_plain + tags) {
			b->too_big++;
			return;
		}
	}
	n = take_buffers(b, total);
	if (!n)
		return;
	make_header(b, f, n, &hdr);
	for (unsigned i = 0; i < n; i++) {
		const struct vq_chain *c = &b->s->rx_chains[i];
		uint32_t written;
		struct vq_buf *first = c->bufs + c->n_out;

		if (likely(n == 1 && first->len >= total)) {
			uint8_t *dst = first->ptr;

			copy_header(dst, &hdr, b->hdr_len);
			dst += b->hdr_len;
			memcpy(dst, net_frame_chead(f), f->head_len);
			dst += f->head_len;
			for (unsigned k = 0; k < f->nsegs; k++) {
				memcpy(dst, f->segs[k].ptr, f->segs[k].len);
				dst += f->segs[k].len;
			}
			written = total;
		} else {
			written = fill_chain(&src, c, total);
			total -= written;
		}
		vq_push(b->q->vq, c, written);
	}
	b->put++;
	b->bytes += f->len;
}

static void put_segment(void *opaque, struct net_frame *seg)
{
	put(opaque, seg);
}

/* Does the driver take this GSO frame in one piece? */
static bool gso_taken(const struct rx_burst *b, const struct net_frame *f)
{
	uint64_t need;

	switch (f->offload.gso_type) {
	case NET_GSO_TCPV4:
		need = BIT_ULL(VIRTIO_NET_F_GUEST_TSO4);
		break;
	case NET_GSO_TCPV6:
		need = BIT_ULL(VIRTIO_NET_F_GUEST_TSO6);
		break;
	default: {
		struct net_flow flow;

		net_frame_flow(f, &flow);
		need = flow.l3 == 4 ? BIT_ULL(VNET_F_GUEST_USO4) : BIT_ULL(VNET_F_GUEST_USO6);
		break;
	}
	}
	need |= BIT_ULL(VIRTIO_NET_F_GUEST_CSUM);
	if (f->offload.gso_ecn)
		need |= BIT_ULL(VIRTIO_NET_F_GUEST_ECN);
	return (b->offloads & need) == need;
}

static void receive(struct rx_burst *b, const struct net_frame *f)
{
	bool csum = b->offloads & BIT_ULL(VIRTIO_NET_F_GUEST_CSUM);

	if (unlikely(f->offload.gso_type) && !gso_taken(b, f)) {
		if (net_frame_segment(f, !csum, put_segment, b) < 0)
			b->bad_offload++;
		return;
	}
	if (unlikely(f->offload.needs_csum) && !csum) {
		struct net_frame copy;

		net_frame_clone(&copy, f);
		if (net_frame_complete_csum(&copy) < 0)
			b->bad_offload++;
		else
			put(b, &copy);
		return;
	}
	put(b, f);
}

static void start(struct rx_burst *b, struct vnet_rxq *q)
{
	const struct virtio_net *net = q->net;

	*b = (struct rx_burst){
		.q = q,
		.s = vnet_scratch(),
		.hdr_len = atomic_load_explicit(&net->hdr_len, memory_order_relaxed),
		.mergeable = vnet_has(net, VIRTIO_NET_F_MRG_RXBUF),
		.offloads = atomic_load_explicit(&net->offloads, memory_order_relaxed),
		.max_plain =
			vnet_has(net, VIRTIO_NET_F_MTU) ? net->cfg.mtu + ETH_HLEN : UINT32_MAX / 2,
	};
}

static void drop(struct net_port *port, enum net_drop reason, unsigned n)
{
	if (n)
		net_port_count_drop(port, reason, n);
}

static void finish(struct rx_burst *b)
{
	struct vnet_rxq *q = b->q;
	struct net_port *port = q->net->port;
	unsigned lost = b->no_buffer + b->too_big + b->bad_offload + b->not_ready;

	vnet_add(&q->packets, b->put);
	vnet_add(&q->bytes, b->bytes);
	if (b->csum_needed)
		vnet_add(&q->csum_needed, b->csum_needed);
	if (b->csum_valid)
		vnet_add(&q->csum_valid, b->csum_valid);
	vnet_add(&q->csum_none, b->put - b->csum_needed - b->csum_valid);
	if (b->gso_packets) {
		vnet_add(&q->gso_packets, b->gso_packets);
		vnet_add(&q->gso_bytes, b->gso_bytes);
	}
	if (likely(!lost))
		return;
	vnet_add(&q->drops, lost);
	vnet_add(&q->overruns, b->no_buffer);
	drop(port, NET_DROP_RX_NO_BUFFER, b->no_buffer);
	drop(port, NET_DROP_RX_TOO_BIG, b->too_big);
	drop(port, NET_DROP_RX_BAD_OFFLOAD, b->bad_offload);
	drop(port, NET_DROP_RX_NOT_READY, b->not_ready);
}

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
		start(&b, q);
		for (unsigned i = 0; i < n; i++) {
			unsigned before = b.put;

			b.target = targets ? targets[i] : NULL;
			receive(&b, frames[i]);
			frames[i]->not_taken = b.put == before;
			taken += b.put != before;
		}
		q->pending |= b.put > 0;
		q->unsignalled += b.put;
		finish(&b);
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
	unsigned n = 0;

	if (atomic_load_explicit(&q->coal.held, memory_order_relaxed) &&
	    vnet_coal_due(&q->coal, false, 0))
		raise_irq(q);
	if (vnet_fifo_empty(q->fifo) || !ready(q))
		return 0;
	start(&b, q);
	for (; n < NET_BURST && vnet_fifo_peek(q->fifo, &frame, &seg); n++) {
		struct vnet_target target;

		/* Loaded for each frame: filling the last one may have blocked. */
		steer = atomic_load_explicit(&net->steer, memory_order_acquire);
		b.target = NULL;
		if (steer->report) {
			struct net_flow flow;

			net_frame_flow(&frame, &flow);
			vnet_steer_hash(steer, &flow, &target);
			b.target = &target;
		}
		receive(&b, &frame);
		vnet_fifo_drop(q->fifo);
	}
	q->unsignalled += b.put;
	finish(&b);
	if (b.put && !q->broken)
		publish(q);
	return n;
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
