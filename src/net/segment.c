/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Segmentation of TCP and UDP. The headers are copied to private memory once and parsed there;
 * payload is never copied, each segment points into the frame's pieces.
 */
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <string.h>

#include "net/csum.h"
#include "net/frame.h"
#include "net/parse.h"
#include "util/bytes.h"
#include "util/util.h"

#define HEADERS_MAX  256u /* a longer chain of extension headers is refused */
#define TCP_HDR_MIN  20u
#define UDP_HDR_LEN  8u
#define TCP_FIN	     0x01
#define TCP_PSH	     0x08
#define TCP_CWR	     0x80
#define TCP_SEQ	     4
#define TCP_DOFF     12
#define TCP_FLAGS    13
#define TCP_CSUM     16
#define UDP_LEN	     4
#define UDP_CSUM     6
#define IPV4_TOT_LEN 2
#define IPV4_ID	     4
#define IPV4_CSUM    10
#define IPV4_ADDRS   12
#define IPV6_PAYLOAD 4
#define IPV6_ADDRS   8
#define IPV6_HDR_LEN 40u

struct cutter {
	const struct net_frame *f;
	struct net_headers h;
	uint32_t hdr_len;    /* all headers, bytes */
	uint32_t csum_field; /* offset of the transport checksum */
	uint16_t id;
	uint32_t seq;
	uint8_t flags;
	/* cursor into the payload */
	int piece; /* -1: the head */
	uint32_t piece_off;
	uint8_t hdr[HEADERS_MAX];
	struct net_seg segs[NET_SEGS_MAX + 1];
};

static bool transport_matches(const struct cutter *c)
{
	switch (c->f->offload.gso_type) {
	case NET_GSO_TCPV4:
		return c->h.l3 == 4 && c->h.l4 == IPPROTO_TCP;
	case NET_GSO_TCPV6:
		return c->h.l3 == 6 && c->h.l4 == IPPROTO_TCP;
	case NET_GSO_UDP_L4:
		return c->h.l4 == IPPROTO_UDP;
	default:
		return false;
	}
}

/* Decodes and checks all headers before anything is emitted. */
static int parse_headers(struct cutter *c)
{
	const struct net_offload *o = &c->f->offload;
	uint32_t have = MIN(c->f->len, HEADERS_MAX), l4_len;

	net_frame_copy(c->f, 0, c->hdr, have);
	if (!net_parse(c->hdr, have, &c->h) || c->h.routed || !transport_matches(c))
		return -EINVAL;
	if (!o->gso_size || (o->needs_csum && o->csum_start != c->h.l4_off))
		return -EINVAL;
	if (c->h.l4 == IPPROTO_TCP) {
		if (have - c->h.l4_off < TCP_HDR_MIN)
			return -EINVAL;
		l4_len = (c->hdr[c->h.l4_off + TCP_DOFF] >> 4) * 4u;
		if (l4_len < TCP_HDR_MIN)
			return -EINVAL;
		c->csum_field = c->h.l4_off + TCP_CSUM;
	} else {
		l4_len = UDP_HDR_LEN;
		c->csum_field = c->h.l4_off + UDP_CSUM;
	}
	if (l4_len > have - c->h.l4_off)
		return -EINVAL;
	c->hdr_len = c->h.l4_off + l4_len;
	if (c->hdr_len - c->h.l3_off + o->gso_size > UINT16_MAX)
		return -EINVAL;
	/* A header longer than a head takes one more piece. */
	if (c->hdr_len > sizeof(c->f->head_buf) && c->f->nsegs >= NET_SEGS_MAX)
		return -EINVAL;
	return 0;
}

/* Puts the cursor at the first payload byte. */
static void seek_payload(struct cutter *c)
{
	uint32_t off = c->hdr_len;

	c->piece = -1;
	if (off >= c->f->head_len) {
		off -= c->f->head_len;
		for (c->piece = 0; c->piece < c->f->nsegs && off >= c->f->segs[c->piece].len;
		     c->piece++)
			off -= c->f->segs[c->piece].len;
	}
	c->piece_off = off;
}

/* Describes the next len bytes of payload: what lies in the head is copied, the rest pointed to. */
static void take_payload(struct cutter *c, struct net_frame *seg, uint32_t len)
{
	uint32_t n;

	if (c->piece < 0) {
		n = MIN(len, c->f->head_len - c->piece_off);
		memcpy(seg->head_buf + seg->head_len, net_frame_chead(c->f) + c->piece_off, n);
		seg->head_len += (uint16_t)n;
		c->piece_off += n;
		len -= n;
		if (c->piece_off == c->f->head_len) {
			c->piece = 0;
			c->piece_off = 0;
		}
	}
	while (len && c->piece < c->f->nsegs) {
		const struct net_seg *s = &c->f->segs[c->piece];

		n = MIN(len, s->len - c->piece_off);
		if (n)
			c->segs[seg->nsegs++] = (struct net_seg){s->ptr + c->piece_off, n};
		c->piece_off += n;
		len -= n;
		if (c->piece_off == s->len) {
			c->piece++;
			c->piece_off = 0;
		}
	}
}

static void fix_l3(struct cutter *c, uint32_t ip_len)
{
	uint8_t *ip = c->hdr + c->h.l3_off;
	uint16_t sum;

	if (c->h.l3 == 6) {
		put_be16(ip + IPV6_PAYLOAD, (uint16_t)(ip_len - IPV6_HDR_LEN));
		return;
	}
	put_be16(ip + IPV4_TOT_LEN, (uint16_t)ip_len);
	put_be16(ip + IPV4_ID, c->id++);
	put_be16(ip + IPV4_CSUM, 0);
	sum = (uint16_t)~csum_fold(csum_add(0, ip, c->h.l4_off - c->h.l3_off));
	memcpy(ip + IPV4_CSUM, &sum, sizeof(sum));
}

static uint64_t pseudo_header(const struct cutter *c, uint32_t l4_len)
{
	const uint8_t *ip = c->hdr + c->h.l3_off;
	uint8_t tail[8] = {0, 0, 0, 0, 0, 0, 0, c->h.l4};

	put_be32(tail, l4_len);
	return csum_add(csum_add(0, tail, sizeof(tail)),
			ip + (c->h.l3 == 4 ? IPV4_ADDRS : IPV6_ADDRS), c->h.l3 == 4 ? 8 : 32);
}

static void fix_l4(struct cutter *c, uint32_t payload, bool first, bool last)
{
	uint8_t *l4 = c->hdr + c->h.l4_off;
	uint32_t l4_len = c->hdr_len - c->h.l4_off + payload;
	uint16_t partial;

	if (c->h.l4 == IPPROTO_TCP) {
		put_be32(l4 + TCP_SEQ, c->seq);
		c->seq += payload;
		l4[TCP_FLAGS] = c->flags;
		if (!last)
			l4[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
		if (!first) /* RFC 3168, 6.1.2: CWR on the first segment only */
			l4[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
	} else {
		put_be16(l4 + UDP_LEN, (uint16_t)l4_len);
	}
	partial = csum_fold(pseudo_header(c, l4_len));
	memcpy(c->hdr + c->csum_field, &partial, sizeof(partial));
}

/* The sum over header (of even length) and payload, into the private header, before that is copied
 * to the head. */
static void complete(struct cutter *c, const struct net_frame *seg, uint32_t payload_head)
{
	uint64_t sum = csum_add(0, c->hdr + c->h.l4_off, c->hdr_len - c->h.l4_off);
	uint32_t payload = seg->len - c->hdr_len;
	uint64_t rest = csum_add_frame(0, seg, payload_head, payload);
	uint16_t v;

	v = (uint16_t)~csum_fold(csum_add64(sum, rest));
	if (!v)
		v = 0xffff;
	memcpy(c->hdr + c->csum_field, &v, sizeof(v));
}

static void build(struct cutter *c, struct net_frame *seg, uint32_t payload, bool csum)
{
	uint32_t in_head = MIN(c->hdr_len, (uint32_t)sizeof(seg->head_buf));
	uint32_t beyond = c->hdr_len - in_head;

	memset(&seg->offload, 0, sizeof(seg->offload));
	seg->not_taken = false;
	seg->len = c->hdr_len + payload;
	seg->head_off = 0;
	seg->head_len = (uint16_t)in_head;
	seg->nsegs = 0;
	seg->segs = c->segs;
	if (beyond)
		c->segs[seg->nsegs++] = (struct net_seg){c->hdr + in_head, beyond};
	take_payload(c, seg, payload);
	if (csum) {
		complete(c, seg, c->hdr_len);
	} else {
		seg->offload.needs_csum = true;
		seg->offload.csum_start = c->h.l4_off;
		seg->offload.csum_offset = (uint16_t)(c->csum_field - c->h.l4_off);
	}
	memcpy(seg->head_buf, c->hdr, in_head);
}

static int emit_whole(const struct net_frame *f, bool csum,
		      void (*emit)(void *opaque, struct net_frame *seg), void *opaque)
{
	struct net_frame copy;

	net_frame_clone(&copy, f);
	copy.offload.gso_type = NET_GSO_NONE;
	if (csum && net_frame_complete_csum(&copy) < 0)
		return -EINVAL;
	emit(opaque, &copy);
	return 1;
}

int net_frame_segment(const struct net_frame *f, bool csum,
		      void (*emit)(void *opaque, struct net_frame *seg), void *opaque)
{
	uint32_t payload, mss = f->offload.gso_size, n, i;
	struct net_frame seg;
	struct cutter c;
	int err;

	if (f->offload.gso_type == NET_GSO_NONE)
		return emit_whole(f, csum, emit, opaque);
	c.f = f;
	err = parse_headers(&c);
	if (err)
		return err;
	payload = f->len - c.hdr_len;
	n = payload ? (payload + mss - 1) / mss : 1;
	if (n > NET_GSO_SEGS_MAX)
		return -EINVAL;
	c.id = get_be16(c.hdr + c.h.l3_off + IPV4_ID);
	c.seq = get_be32(c.hdr + c.h.l4_off + TCP_SEQ);
	c.flags = c.h.l4 == IPPROTO_TCP ? c.hdr[c.h.l4_off + TCP_FLAGS] : 0;
	seek_payload(&c);
	for (i = 0; i < n; i++) {
		uint32_t len = MIN(mss, payload - i * mss);

		fix_l3(&c, c.hdr_len - c.h.l3_off + len);
		fix_l4(&c, len, i == 0, i == n - 1);
		build(&c, &seg, len, csum);
		emit(opaque, &seg);
	}
	return (int)n;
}
