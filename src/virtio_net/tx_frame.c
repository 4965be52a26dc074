/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a transmitted chain to a frame of the switch: header and first bytes are copied once, then
 * checked; the rest stays where it is and is copied by the receiver.
 *
 * A frame with offload fields that make no sense is dropped and counted (5.1.6.2.2).
 */
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "net/parse.h"
#include "util/bytes.h"
#include "util/copy.h"
#include "virtio_net/vnet.h"

/* The pieces of a chain are handed to the switch as they are. */
_Static_assert(sizeof(struct vq_buf) == sizeof(struct net_seg) &&
		       offsetof(struct vq_buf, ptr) == offsetof(struct net_seg, ptr) &&
		       offsetof(struct vq_buf, len) == offsetof(struct net_seg, len),
	       "vq_buf and net_seg are one layout");
_Static_assert(sizeof(struct vq_single) == sizeof(struct net_seg) &&
		       offsetof(struct vq_single, ptr) == offsetof(struct net_seg, ptr) &&
		       offsetof(struct vq_single, len) == offsetof(struct net_seg, len),
	       "so are vq_single and net_seg");

/* Where the transport header of a frame to be cut may begin at most: no real one is near that, and
 * what is told to a receiver stays within 16 bits. */
#define HEADERS_MAX 1024

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

	if (!o->needs_csum || !o->gso_size || o->csum_start > HEADERS_MAX)
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

static __attribute__((noinline)) bool offload_asked(const struct virtio_net *net,
						    struct net_frame *f,
						    const struct virtio_net_hdr_v1 *hdr)
{
	struct net_offload *o = &f->offload;

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

static inline bool offload_ok(const struct virtio_net *net, struct net_frame *f,
			      const struct virtio_net_hdr_v1 *hdr)
{
	f->offload = (struct net_offload){0};
	return likely(!hdr->flags && !hdr->gso_type) || offload_asked(net, f, hdr);
}

/* From here on the copies are the truth: no second look at the guest's memory. */
static inline void use_copies(struct virtio_net_hdr_v1 *hdr, struct net_frame *f)
{
	__asm__ volatile("" : "+m"(*hdr), "+m"(f->head_buf));
}

enum vnet_tx_result vnet_tx_frame(const struct virtio_net *net, struct vnet_scratch *s,
				  const struct vq_chain *chain, struct net_frame *f,
				  bool *flat_used)
{
	uint32_t hdr_len = atomic_load_explicit(&net->hdr_len, memory_order_relaxed);
	struct tx_cursor c = {.buf = chain->bufs, .n = chain->n_out};
	struct virtio_net_hdr_v1_hash hdr;
	uint32_t rest;

	if (chain->out_len < hdr_len + ETH_HLEN || chain->out_len > hdr_len + NET_FRAME_MAX)
		return VNET_TX_DROP;
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
			return VNET_TX_LATER;
		rest = f->len - f->head_len;
		take(&c, s->flat, rest);
		one->ptr = s->flat;
		one->len = rest;
		f->nsegs = 1;
		*flat_used = true;
	}
	use_copies(&hdr.hdr, f);
	return offload_ok(net, f, &hdr.hdr) ? VNET_TX_FRAME : VNET_TX_DROP;
}

bool vnet_tx_single(const struct virtio_net *net, uint32_t hdr_len, struct vq_single *from,
		    struct net_frame *f)
{
	struct virtio_net_hdr_v1 hdr;
	uint8_t *data = from->ptr;
	uint32_t len = from->len;

	if (unlikely(len < hdr_len + ETH_HLEN || len > hdr_len + NET_FRAME_MAX))
		return false;
	memcpy(&hdr, data, sizeof(hdr));
	data += hdr_len;
	len -= hdr_len;
	f->len = len;
	f->not_taken = false;
	f->head_off = NET_HEAD_ROOM;
	f->segs = NULL;
	f->nsegs = 0;
	if (likely(len <= NET_HEAD_MAX)) {
		f->head_len = (uint16_t)len;
		copy_small(f->head_buf + NET_HEAD_ROOM, data, len);
	} else {
		f->head_len = NET_HEAD_MAX;
		memcpy(f->head_buf + NET_HEAD_ROOM, data, NET_HEAD_MAX);
		from->ptr = data + NET_HEAD_MAX;
		from->len = len - NET_HEAD_MAX;
		f->segs = (const struct net_seg *)from;
		f->nsegs = 1;
	}
	use_copies(&hdr, f);
	return offload_ok(net, f, &hdr);
}
