/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames into receive buffers. Most frames are whole, and most buffers are one descriptor that
 * holds a frame: those go by bursts (put_singles()); anything else one by one (put()).
 */
#include <netinet/in.h>
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

/*
 * The same for a driver that takes a frame in several buffers, as long as each is one descriptor:
 * into s->rx_singles. How many it takes is guessed from the last one. 0: not this way.
 */
static unsigned take_singles(struct rx_burst *b, uint32_t total)
{
	struct vq_single *s = b->s->rx_singles;
	struct vnet_rxq *q = b->q;
	unsigned n = 0, got;
	uint64_t room = 0;

	do {
		uint64_t want = q->buf_len ? (total - room + q->buf_len - 1) / q->buf_len : 1;

		want = MIN(want, (uint64_t)(VNET_SINGLES_MAX - n));
		got = vq_pop_singles(q->vq, s + n, (unsigned)want, true);
		for (unsigned i = 0; i < got; i++)
			room += s[n + i].len;
		n += got;
		if (n)
			q->buf_len = s[n - 1].len;
	} while (got && room < total);
	if (unlikely(room < total || s[0].len < b->hdr_len)) {
		vq_unpop(q->vq, n, n);
		return 0;
	}
	for (got = n; room - s[n - 1].len >= total; n--)
		room -= s[n - 1].len;
	vq_unpop(q->vq, got - n, got - n);
	return n;
}

/* One of the two sizes, without a call. */
static inline void copy_header(void *dst, const struct virtio_net_hdr_v1_hash *hdr, uint32_t len)
{
	if (likely(len == sizeof(hdr->hdr)))
		memcpy(dst, &hdr->hdr, sizeof(hdr->hdr));
	else
		memcpy(dst, hdr, sizeof(*hdr));
}

/* Writes a frame into the buffers that take_singles() took. */
static void put_merged(struct rx_burst *b, const struct net_frame *f, uint32_t total, unsigned n)
{
	struct vq_single *s = b->s->rx_singles;
	struct virtio_net_hdr_v1_hash hdr;
	struct rx_source src = {.ptr = (uint8_t *)&hdr, .left = b->hdr_len, .next = -1, .f = f};

	make_header(b, f, (uint16_t)n, &hdr);
	for (unsigned i = 0; i < n; i++) {
		s[i].len = MIN(s[i].len, total);
		source_read(&src, s[i].ptr, s[i].len);
		total -= s[i].len;
	}
	vq_push_singles(b->q->vq, s, n, true);
	b->put++;
	b->bytes += f->len;
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
	n = b->mergeable ? take_singles(b, total) : 0;
	if (likely(n)) {
		put_merged(b, f, total, n);
		return;
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

/* Does the frame go into one piece of memory as it is? */
static inline bool goes_whole(const struct rx_burst *b, const struct net_frame *f)
{
	if (unlikely(f->offload.gso_type))
		return gso_taken(b, f);
	if (unlikely(f->len > b->max_plain))
		return false;
	return likely(!f->offload.needs_csum) || (b->offloads & BIT_ULL(VIRTIO_NET_F_GUEST_CSUM));
}

/* The header of a frame without offloads or hash, in one buffer. */
static inline void write_plain_header(uint8_t *dst)
{
	const size_t last = offsetof(struct virtio_net_hdr_v1, csum_offset);

	/* In two stores: csum_offset 0 and num_buffers 1 are the second. */
	put_le64(dst, 0);
	put_le32(dst + last, 1u << 16);
}

static inline void write_whole(struct rx_burst *b, const struct net_frame *f, uint8_t *dst)
{
	if (likely(b->plain_header && !f->offload.needs_csum && !f->offload.data_valid)) {
		write_plain_header(dst);
	} else {
		struct virtio_net_hdr_v1_hash hdr;

		make_header(b, f, 1, &hdr);
		copy_header(dst, &hdr, b->hdr_len);
	}
	dst += b->hdr_len;
	copy_small(dst, net_frame_chead(f), f->head_len);
	dst += f->head_len;
	for (unsigned k = 0; k < f->nsegs; k++) {
		memcpy(dst, f->segs[k].ptr, f->segs[k].len);
		dst += f->segs[k].len;
	}
}

/*
 * Frames that go whole into buffers of one descriptor each, as far as that goes. Returns their
 * number; *more: whether it is worth while to come back after the next one.
 */
static unsigned put_singles(struct rx_burst *b, struct net_frame *const *frames,
			    const struct vnet_target *const *targets, unsigned n, bool *more)
{
	struct vq_single *s = b->s->rx_singles;
	struct virtqueue *vq = b->q->vq;
	unsigned want = 0, got, i;
	uint64_t bytes = 0;

	while (want < n && want < NET_BURST && goes_whole(b, frames[want]))
		want++;
	if (!want)
		return 0;
	got = vq_pop_singles(vq, s, want, true);
	for (i = 0; i < got; i++) {
		const struct net_frame *f = frames[i];

		if (unlikely(s[i].len < b->hdr_len + f->len))
			break;
		b->target = targets ? targets[i] : NULL;
		write_whole(b, f, s[i].ptr);
		s[i].len = b->hdr_len + f->len;
		bytes += f->len;
	}
	vq_push_singles(vq, s, i, true);
	vq_unpop(vq, got - i, got - i);
	b->put += i;
	b->bytes += bytes;
	*more = i == want;
	return i;
}

unsigned rx_burst_put(struct rx_burst *b, struct net_frame *const *frames,
		      const struct vnet_target *const *targets, unsigned n)
{
	unsigned i = 0, taken = 0, before, now;
	bool singles = !b->q->broken;

	while (i < n) {
		if (likely(singles)) {
			now = put_singles(b, frames + i, targets ? targets + i : NULL, n - i,
					  &singles);
			i += now;
			taken += now;
			if (likely(i == n))
				break;
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
