/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transmit queues: the driver's chains become frames of the switch. The header and the first
 * bytes are copied once and checked; the rest stays where it is and is copied by the receiver.
 *
 * A frame with offload fields that make no sense is dropped and counted (5.1.6.2.2); only a ring
 * that breaks the rules breaks the function.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "net/parse.h"
#include "util/bytes.h"
#include "virtio_net/vnet.h"

/* The pieces of a chain are handed to the switch as they are. */
_Static_assert(sizeof(struct vq_buf) == sizeof(struct net_seg) &&
		       offsetof(struct vq_buf, ptr) == offsetof(struct net_seg, ptr) &&
		       offsetof(struct vq_buf, len) == offsetof(struct net_seg, len),
	       "vq_buf and net_seg are one layout");

struct vnet_scratch *vnet_scratch(void)
{
	static _Thread_local struct vnet_scratch scratch;

	return &scratch;
}

void vnet_break(struct virtio_net *net, const char *why)
{
	virtio_device_set_needs_reset(net->vd, why);
}

/* What is left of a chain's readable pieces. */
struct tx_cursor {
	struct vq_buf *buf;
	unsigned n;
};

/* Moves len bytes out; the caller has checked that they are there. */
static void take(struct tx_cursor *c, void *dst, uint32_t len)
{
	uint8_t *out = dst;

	while (len) {
		uint32_t m = MIN(len, c->buf->len);

		memcpy(out, c->buf->ptr, m);
		out += m;
		len -= m;
		c->buf->ptr = (uint8_t *)c->buf->ptr + m;
		c->buf->len -= m;
		if (!c->buf->len) {
			c->buf++;
			c->n--;
		}
	}
}

/* The segmentation asked for must be one that was negotiated, of the protocol that it names. */
static bool gso_ok(const struct virtio_net *net, const struct net_frame *f)
{
	const struct net_offload *o = &f->offload;
	struct net_headers h;
	bool whole;
	uint8_t proto = o->gso_type == NET_GSO_UDP_L4 ? IPPROTO_UDP : IPPROTO_TCP;

	if (!o->needs_csum || !o->gso_size)
		return false;
	if (o->gso_ecn && !vnet_has(net, VIRTIO_NET_F_HOST_ECN))
		return false;
	whole = net_parse(net_frame_chead(f), f->head_len, &h);
	switch (o->gso_type) {
	case NET_GSO_TCPV4:
		if (!vnet_has(net, VIRTIO_NET_F_HOST_TSO4) || h.l3 != 4)
			return false;
		break;
	case NET_GSO_TCPV6:
		if (!vnet_has(net, VIRTIO_NET_F_HOST_TSO6) || h.l3 != 6)
			return false;
		break;
	case NET_GSO_UDP_L4:
		if (!vnet_has(net, VNET_F_HOST_USO) || !h.l3)
			return false;
		break;
	default:
		return false;
	}
	/* Behind extension headers the head may not show the transport; the cutter will see. */
	if (!whole)
		return !h.fragment;
	return h.l4 == proto && h.l4_off == o->csum_start &&
	       o->csum_offset == (proto == IPPROTO_UDP ? 6 : 16);
}

static bool offload_ok(const struct virtio_net *net, struct net_frame *f,
		       const struct virtio_net_hdr_v1 *hdr)
{
	struct net_offload *o = &f->offload;

	*o = (struct net_offload){0};
	if (likely(!hdr->flags && !hdr->gso_type))
		return true;
	/* Flags that are not known are ignored, DATA_VALID of a driver too. */
	if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		o->csum_start = le16toh(hdr->csum_start);
		o->csum_offset = le16toh(hdr->csum_offset);
		if (!vnet_has(net, VIRTIO_NET_F_CSUM) || o->csum_start < ETH_HLEN ||
		    (uint32_t)o->csum_start + o->csum_offset + 2 > f->len)
			return false;
		o->needs_csum = true;
	}
	if (hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return true;
	o->gso_type = hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
	o->gso_ecn = hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN;
	o->gso_size = le16toh(hdr->gso_size);
	o->hdr_len = le16toh(hdr->hdr_len);
	return gso_ok(net, f);
}

enum tx_result { TX_FRAME, TX_DROP, TX_LATER };

/* Builds the frame of a chain. TX_LATER: the flat buffer is taken by an earlier frame. */
static enum tx_result make_frame(const struct virtio_net *net, struct vnet_scratch *s,
				 const struct vq_chain *chain, struct net_frame *f, bool *flat_used)
{
	uint32_t hdr_len = atomic_load_explicit(&net->hdr_len, memory_order_relaxed);
	struct tx_cursor c = {.buf = chain->bufs, .n = chain->n_out};
	struct virtio_net_hdr_v1_hash hdr;
	uint32_t rest;

	if (chain->out_len < hdr_len + ETH_HLEN || chain->out_len > hdr_len + NET_FRAME_MAX)
		return TX_DROP;
	take(&c, &hdr, hdr_len);
	f->len = chain->out_len - hdr_len;
	f->not_taken = false;
	f->head_off = NET_HEAD_ROOM;
	f->head_len = MIN(f->len, (uint32_t)NET_HEAD_MAX);
	take(&c, f->head_buf + NET_HEAD_ROOM, f->head_len);
	f->segs = (const struct net_seg *)c.buf;
	f->nsegs = c.n;
	if (unlikely(c.n > NET_SEGS_MAX)) {
		struct vq_buf *one = c.buf;

		if (*flat_used)
			return TX_LATER;
		rest = f->len - f->head_len;
		take(&c, s->flat, rest);
		one->ptr = s->flat;
		one->len = rest;
		f->nsegs = 1;
		*flat_used = true;
	}
	return offload_ok(net, f, &hdr.hdr) ? TX_FRAME : TX_DROP;
}

struct tx_burst {
	unsigned chains, frames, malformed;
	int err;
};

/* Takes up to a burst of chains and makes frames of them. */
static void collect(struct vnet_txq *q, struct vnet_scratch *s, struct tx_burst *b)
{
	unsigned used = 0, cost = 0;
	bool flat_used = false;

	while (b->chains < NET_BURST && cost < NET_BURST_COST &&
	       used + VQ_BUFS_MAX <= ARRAY_SIZE(s->tx_bufs)) {
		struct vq_chain *chain = &s->tx_chains[b->chains];

		b->err = vq_pop(q->vq, chain, s->tx_bufs + used, VQ_BUFS_MAX);
		if (b->err <= 0)
			break;
		switch (make_frame(q->net, s, chain, &s->frames[b->frames], &flat_used)) {
		case TX_FRAME:
			cost += net_frame_cost(&s->frames[b->frames++]);
			break;
		case TX_DROP:
			b->malformed++;
			break;
		case TX_LATER:
			vq_unpop(q->vq, 1, chain->ndescs);
			return;
		}
		used += chain->n_out + chain->n_in;
		b->chains++;
	}
}

static void account(struct vnet_txq *q, const struct vnet_scratch *s, const struct tx_burst *b)
{
	uint64_t bytes = 0, needed = 0;

	for (unsigned i = 0; i < b->frames; i++) {
		bytes += s->frames[i].len;
		needed += s->frames[i].offload.needs_csum;
	}
	vnet_add(&q->packets, b->frames);
	vnet_add(&q->bytes, bytes);
	vnet_add(&q->csum_needed, needed);
	vnet_add(&q->csum_none, b->frames - needed);
	if (unlikely(b->malformed)) {
		vnet_add(&q->malformed, b->malformed);
		net_port_count_drop(q->net->port, NET_DROP_TX_MALFORMED, b->malformed);
	}
}

static void raise_irq(struct vnet_txq *q)
{
	vnet_add(&q->irqs, 1);
	virtio_device_queue_irq(q->net->vd, vnet_tx_index(q->pair));
}

/* The queue in step with guest memory, or false when it must not be touched now. */
static bool ready(struct vnet_txq *q)
{
	struct dma_space *dma;

	if (q->broken || q->pair >= atomic_load_explicit(&q->net->tx_pairs, memory_order_relaxed))
		return false;
	dma = pci_function_dma(q->net->fn);
	if (!dma)
		return false;
	if (likely(vq_begin(q->vq, dma_view_get(dma)) == 0))
		return true;
	q->broken = true;
	vnet_break(q->net, "transmit queue not accessible");
	return false;
}

static unsigned tx_poll(struct poller *p)
{
	struct vnet_txq *q = container_of(p, struct vnet_txq, poller);
	struct vnet_scratch *s = vnet_scratch();
	struct tx_burst b = {0};

	if (unlikely(atomic_load_explicit(&q->coal.held, memory_order_relaxed)) &&
	    vnet_coal_due(&q->coal, false, 0))
		raise_irq(q);
	if (!ready(q))
		return 0;
	collect(q, s, &b);
	if (b.chains) {
		/* Counted before the switch may edit the frames. */
		account(q, s, &b);
		if (q->net->flows &&
		    atomic_load_explicit(&q->net->tx_pairs, memory_order_relaxed) > 1) {
			for (unsigned i = 0; i < b.frames; i++)
				vnet_steer_learn(q->net, &s->frames[i], q->pair);
		}
		if (b.frames)
			net_port_input(q->net->port, s->frames, b.frames);
		for (unsigned i = 0; i < b.chains; i++)
			vq_push(q->vq, &s->tx_chains[i], 0);
		if (vnet_coal_due(&q->coal, vq_publish(q->vq), b.chains))
			raise_irq(q);
	}
	if (unlikely(b.err < 0)) {
		q->broken = true;
		vnet_break(q->net, "transmit queue breaks the rules");
	}
	return b.chains;
}

static bool tx_arm(struct poller *p)
{
	struct vnet_txq *q = container_of(p, struct vnet_txq, poller);

	if (atomic_load_explicit(&q->coal.held, memory_order_relaxed))
		poller_set_timer(p, q->coal.due_ns);
	return ready(q) && vq_arm(q->vq);
}

static void tx_disarm(struct poller *p)
{
	struct vnet_txq *q = container_of(p, struct vnet_txq, poller);

	if (ready(q))
		vq_disarm(q->vq);
}

const struct poller_ops vnet_tx_poller = {
	.poll = tx_poll,
	.arm = tx_arm,
	.disarm = tx_disarm,
};
