/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames into receive buffers. Most frames are whole, and most buffers are one descriptor that
 * holds a frame: those go by bursts (put_whole()); anything else one by one (put()).
 */
#include <stddef.h>
#include <string.h>

#include "util/bytes.h"
#include "util/copy.h"
#include "virtio_net/rx_burst.h"

static void break_queue(struct rx_burst *b, const char *why)
{
	b->q->broken = true;
	vnet_break(b->q->net, why);
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
static unsigned take_chains(struct rx_burst *b, uint32_t total)
{
	struct vnet_scratch *s = b->s;
	unsigned n = 0, used = 0, descs = 0;
	bool too_short = false;
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
		too_short = c->in_len < b->hdr_len;
	} while (room < total && !too_short);
	if (likely(room >= total && !too_short))
		return n;
	if (n && r >= 0)
		vq_unpop(b->q->vq, n, descs);
	if (too_short) {
		break_queue(b, "receive buffer shorter than its header");
		b->not_ready++;
	} else if (r > 0) {
		b->too_big++;
	} else {
		pop_failed(b, r);
	}
	return 0;
}

/*
 * The same for a driver that takes a frame in several buffers, as long as each is one descriptor:
 * into s->rx_singles. How many it takes is guessed from the last one. 0: not this way; nothing is
 * counted yet.
 */
static unsigned take_merged(struct rx_burst *b, uint32_t total)
{
	struct vq_single *s = b->s->rx_singles;
	struct vnet_rxq *q = b->q;
	bool too_short = false;
	unsigned n = 0, got;
	uint64_t room = 0;

	do {
		uint64_t want = q->buf_len ? (total - room + q->buf_len - 1) / q->buf_len : 1;

		want = MIN(want, (uint64_t)(VNET_SINGLES_MAX - n));
		got = vq_pop_singles(q->vq, s + n, (unsigned)want, true);
		for (unsigned end = n + got; n < end; n++) {
			room += s[n].len;
			too_short |= s[n].len < b->hdr_len;
		}
		if (n)
			q->buf_len = s[n - 1].len;
	} while (got && room < total);
	if (unlikely(room < total || too_short)) {
		vq_unpop(q->vq, n, n);
		return 0;
	}
	for (got = n; room - s[n - 1].len >= total; n--)
		room -= s[n - 1].len;
	vq_unpop(q->vq, got - n, got - n);
	return n;
}

/* 5.1.4.1: nothing longer than the negotiated MTU, VLAN tags not counted. */
static bool within_mtu(const struct rx_burst *b, const struct net_frame *f)
{
	const uint8_t *type = net_frame_chead(f) + 2 * ETH_ALEN;
	uint32_t tags = 0;

	if (likely(f->len <= b->max_plain) || f->offload.gso_type)
		return true;
	while (tags < 8 &&
	       (get_be16(type + tags) == ETHERTYPE_VLAN || get_be16(type + tags) == 0x88a8))
		tags += 4;
	return f->len <= b->max_plain + tags;
}

/* Writes a frame as it is. */
static void put(struct rx_burst *b, const struct net_frame *f)
{
	uint32_t total = b->hdr_len + f->len;
	struct vnet_scratch *s = b->s;
	unsigned n;

	if (unlikely(b->q->broken)) {
		b->not_ready++;
		return;
	}
	if (unlikely(!within_mtu(b, f))) {
		b->too_big++;
		return;
	}
	n = b->mergeable ? take_merged(b, total) : 0;
	if (likely(n)) {
		rx_write_singles(b, f, s->rx_singles, n);
		vq_push_singles(b->q->vq, s->rx_singles, n, true);
	} else {
		n = take_chains(b, total);
		if (!n)
			return;
		rx_write_chains(b, f, s->rx_chains, n);
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

/* Does the frame go into one piece of memory as it is? */
static inline bool goes_whole(const struct rx_burst *b, const struct net_frame *f)
{
	if (unlikely(f->offload.gso_type))
		return gso_taken(b, f);
	if (unlikely(f->len > b->max_plain))
		return false;
	return likely(!f->offload.needs_csum) || (b->offloads & BIT_ULL(VIRTIO_NET_F_GUEST_CSUM));
}

static unsigned whole_run(const struct rx_burst *b, struct net_frame *const *frames, unsigned n)
{
	unsigned run = 0;

	n = MIN(n, (unsigned)VNET_SINGLES_MAX);
	while (run < n && goes_whole(b, frames[run]))
		run++;
	return run;
}

/* The header of a frame without offloads or hash, in one buffer. */
static inline void write_plain_header(uint8_t *dst)
{
	/* In two stores: csum_offset 0 and num_buffers 1 are the second. */
	_Static_assert(sizeof(struct virtio_net_hdr_v1) == 12 &&
			       offsetof(struct virtio_net_hdr_v1, csum_offset) == 8 &&
			       offsetof(struct virtio_net_hdr_v1, num_buffers) == 10,
		       "the header's layout");
	put_le64(dst, 0);
	put_le32(dst + 8, 1u << 16);
}

/* Writes the frame's bytes, which the caller has found to fit. */
static inline void write_body(const struct net_frame *f, uint8_t *dst)
{
	_Static_assert(sizeof(f->head_buf) <= COPY_SMALL_MAX, "the head is a small copy");
	copy_small(dst, net_frame_chead(f), f->head_len);
	dst += f->head_len;
	for (unsigned k = 0; k < f->nsegs; k++) {
		memcpy(dst, f->segs[k].ptr, f->segs[k].len);
		dst += f->segs[k].len;
	}
}

static inline void write_whole(struct rx_burst *b, const struct net_frame *f, uint8_t *dst)
{
	if (likely(b->plain_header && !f->offload.needs_csum && !f->offload.data_valid))
		write_plain_header(dst);
	else
		rx_write_header(b, f, dst);
	write_body(f, dst + b->hdr_len);
}

/* n frames that go whole into buffers of one descriptor each, as far as that goes. Returns how
 * many. */
static unsigned put_whole(struct rx_burst *b, struct net_frame *const *frames,
			  const struct vnet_target *const *targets, unsigned n)
{
	struct vq_single *s = b->s->rx_singles;
	struct virtqueue *vq = b->q->vq;
	unsigned got = vq_pop_singles(vq, s, n, true), i;
	uint64_t bytes = 0;

	for (i = 0; i < got; i++) {
		const struct net_frame *f = frames[i];
		uint32_t total = b->hdr_len + f->len;

		if (unlikely(s[i].len < total))
			break;
		b->target = targets ? targets[i] : NULL;
		write_whole(b, f, s[i].ptr);
		s[i].len = total;
		bytes += f->len;
	}
	vq_push_singles(vq, s, i, true);
	vq_unpop(vq, got - i, got - i);
	b->put += i;
	b->bytes += bytes;
	return i;
}

/* The driver has no buffer for any of them. */
static void lose(struct rx_burst *b, struct net_frame *const *frames, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		frames[i]->not_taken = true;
	b->no_buffer += n;
}

/*
 * By runs of frames that go whole, and what cannot, one by one. Two vain tries for a run one after
 * another end the trying: the buffers are of another kind.
 */
unsigned rx_burst_put(struct rx_burst *b, struct net_frame *const *frames,
		      const struct vnet_target *const *targets, unsigned n)
{
	unsigned i = 0, taken = 0, vain = 0, before, run, now;

	while (i < n) {
		run = vain < 2 && !b->q->broken ? whole_run(b, frames + i, n - i) : 0;
		if (likely(run)) {
			now = put_whole(b, frames + i, targets ? targets + i : NULL, run);
			i += now;
			taken += now;
			if (likely(now == run))
				continue;
			vain = now ? 0 : vain + 1;
			if (!vq_avail(b->q->vq) && !vq_is_broken(b->q->vq) &&
			    !vq_is_remote(b->q->vq)) {
				lose(b, frames + i, run - now);
				i += run - now;
				continue;
			}
		}
		before = b->put;
		b->target = targets ? targets[i] : NULL;
		receive(b, frames[i]);
		frames[i]->not_taken = b->put == before;
		taken += b->put != before;
		i++;
	}
	return taken;
}

void rx_burst_start(struct rx_burst *b, struct vnet_rxq *q)
{
	const struct virtio_net *net = q->net;
	uint32_t hdr_len = atomic_load_explicit(&net->hdr_len, memory_order_relaxed);

	*b = (struct rx_burst){
		.q = q,
		.s = vnet_scratch(),
		.hdr_len = hdr_len,
		.plain_header = hdr_len == sizeof(struct virtio_net_hdr_v1),
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

void rx_burst_finish(struct rx_burst *b)
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
