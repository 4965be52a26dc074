/* SPDX-License-Identifier: BSD-3-Clause */
/* The bytes of a received frame: the virtio header (5.1.6), and the frame behind it. */
#include <string.h>

#include "virtio_net/rx_burst.h"

/* The transport header's end, which GSO frames must announce (5.1.6.4.1). */
static uint16_t header_length(const struct net_frame *f)
{
	uint32_t end = MIN(net_frame_header_len(f), f->len);

	return (uint16_t)MIN(end, (uint32_t)UINT16_MAX);
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

/* hdr, for a frame in n buffers, must outlive it. */
static struct rx_source source_begin(struct rx_burst *b, const struct net_frame *f, unsigned n,
				     struct virtio_net_hdr_v1_hash *hdr)
{
	make_header(b, f, (uint16_t)n, hdr);
	return (struct rx_source){
		.ptr = (const uint8_t *)hdr, .left = b->hdr_len, .next = -1, .f = f};
}

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

void rx_write_header(struct rx_burst *b, const struct net_frame *f, uint8_t *dst)
{
	struct virtio_net_hdr_v1_hash hdr;

	make_header(b, f, 1, &hdr);
	memcpy(dst, &hdr, b->hdr_len);
}

void rx_write_singles(struct rx_burst *b, const struct net_frame *f, struct vq_single *s,
		      unsigned n)
{
	uint32_t left = b->hdr_len + f->len;
	struct virtio_net_hdr_v1_hash hdr;
	struct rx_source src = source_begin(b, f, n, &hdr);

	for (unsigned i = 0; i < n; i++) {
		s[i].len = MIN(s[i].len, left);
		source_read(&src, s[i].ptr, s[i].len);
		left -= s[i].len;
	}
}

void rx_write_chains(struct rx_burst *b, const struct net_frame *f, const struct vq_chain *chains,
		     unsigned n)
{
	uint32_t left = b->hdr_len + f->len;
	struct virtio_net_hdr_v1_hash hdr;
	struct rx_source src = source_begin(b, f, n, &hdr);

	for (unsigned i = 0; i < n; i++) {
		uint32_t written = fill_chain(&src, &chains[i], left);

		left -= written;
		vq_push(b->q->vq, &chains[i], written);
	}
}
