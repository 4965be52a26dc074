/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/frame.h"

#include <errno.h>
#include <net/ethernet.h>
#include <stddef.h>
#include <string.h>

#include "net/csum.h"
#include "net/parse.h"
#include "util/bytes.h"
#include "util/util.h"

uint32_t net_frame_header_len(const struct net_frame *f)
{
	uint32_t start = f->offload.csum_start, len = 8;

	if (f->offload.gso_type != NET_GSO_UDP_L4) {
		len = 20;
		if (start + 12 < f->head_len)
			len = MAX((net_frame_chead(f)[start + 12] >> 4) * 4u, 20u);
	}
	return start + len;
}

void net_frame_copy(const struct net_frame *f, uint32_t off, void *dst, uint32_t len)
{
	const uint8_t *p = net_frame_chead(f);
	uint32_t piece = f->head_len, n;
	uint8_t *d = dst;
	unsigned i = 0;

	while (len) {
		if (off < piece) {
			n = MIN(piece - off, len);
			memcpy(d, p + off, n);
			d += n;
			len -= n;
			off = 0;
		} else {
			off -= piece;
		}
		if (i >= f->nsegs)
			break;
		p = f->segs[i].ptr;
		piece = f->segs[i].len;
		i++;
	}
}

void net_frame_clone(struct net_frame *dst, const struct net_frame *src)
{
	memcpy(dst, src, offsetof(struct net_frame, head_buf));
	memcpy(net_frame_head(dst), net_frame_chead(src), src->head_len);
	if (src->segs == src->own) {
		memcpy(dst->own, src->own, sizeof(dst->own));
		dst->segs = dst->own;
	}
}

int net_frame_pull(struct net_frame *f, uint32_t len)
{
	struct net_seg rest[NET_OWN_SEGS];
	uint32_t need, skip;
	unsigned i = 0, n = 0;

	if (len <= f->head_len)
		return 0;
	if (len > f->len)
		return -EINVAL;
	if (len > sizeof(f->head_buf))
		return -ENOBUFS;
	skip = need = len - f->head_len;
	for (; i < f->nsegs && skip >= f->segs[i].len; i++)
		skip -= f->segs[i].len;
	if (f->nsegs - i > NET_OWN_SEGS)
		return -ENOBUFS;
	for (; i < f->nsegs; i++, n++) {
		rest[n].ptr = f->segs[i].ptr + skip;
		rest[n].len = f->segs[i].len - skip;
		skip = 0;
	}
	if (f->head_off + len > sizeof(f->head_buf)) {
		uint16_t off = (uint16_t)(sizeof(f->head_buf) - len);

		memmove(f->head_buf + off, net_frame_head(f), f->head_len);
		f->head_off = off;
	}
	net_frame_copy(f, f->head_len, net_frame_head(f) + f->head_len, need);
	f->head_len = (uint16_t)len;
	memcpy(f->own, rest, n * sizeof(rest[0]));
	f->segs = f->own;
	f->nsegs = (uint16_t)n;
	return 0;
}

int net_frame_complete_csum(struct net_frame *f)
{
	uint32_t start = f->offload.csum_start, field = start + f->offload.csum_offset;
	uint16_t sum;

	if (!f->offload.needs_csum)
		return 0;
	if (field + 2 > f->len || net_frame_pull(f, field + 2) < 0)
		return -EINVAL;
	sum = (uint16_t)~csum_fold(csum_add_frame(0, f, start, f->len - start));
	/* 0 means "none" in UDP (RFC 768); all-ones is the same number in this arithmetic, so it
	 * serves every protocol. */
	if (!sum)
		sum = 0xffff;
	memcpy(net_frame_head(f) + field, &sum, sizeof(sum));
	f->offload.needs_csum = false;
	f->offload.csum_start = f->offload.csum_offset = 0;
	return 0;
}

static bool offload_valid(const struct net_frame *f)
{
	const struct net_offload *o = &f->offload;
	const uint8_t *head = net_frame_chead(f);
	uint32_t l3 = ETH_HLEN;

	if (o->gso_type) {
		if (o->gso_type != NET_GSO_TCPV4 && o->gso_type != NET_GSO_TCPV6 &&
		    o->gso_type != NET_GSO_UDP_L4)
			return false;
		if (!o->gso_size || !o->needs_csum)
			return false;
	}
	if (!o->needs_csum)
		return true;
	/* Completing the sum must not rewrite an address or a tag that was checked. */
	for (unsigned i = 0; i < NET_TAGS_MAX && l3 + NET_TAG_LEN <= f->head_len; i++) {
		if (!net_is_tag(get_be16(head + l3 - 2)))
			break;
		l3 += NET_TAG_LEN;
	}
	if (o->csum_start < l3 || o->csum_start > UINT16_MAX - NET_TAGS_MAX * NET_TAG_LEN)
		return false;
	return (uint32_t)o->csum_start + o->csum_offset + 2 <= f->len;
}

bool net_frame_valid(const struct net_frame *f)
{
	if (!net_frame_lengths_valid(f))
		return false;
	if (!f->offload.needs_csum && !f->offload.gso_type)
		return true;
	return offload_valid(f);
}

int net_frame_insert_tag(struct net_frame *f, uint16_t proto, uint16_t tci)
{
	uint8_t *head;

	if (f->head_off < NET_TAG_LEN)
		return -ENOBUFS;
	f->head_off -= NET_TAG_LEN;
	f->head_len += NET_TAG_LEN;
	f->len += NET_TAG_LEN;
	head = net_frame_head(f);
	memmove(head, head + NET_TAG_LEN, 2 * ETH_ALEN);
	put_be16(head + 12, proto);
	put_be16(head + 14, tci);
	if (f->offload.needs_csum)
		f->offload.csum_start += NET_TAG_LEN;
	if (f->offload.hdr_len && f->offload.hdr_len <= UINT16_MAX - NET_TAG_LEN)
		f->offload.hdr_len += NET_TAG_LEN;
	return 0;
}

void net_frame_strip_tag(struct net_frame *f)
{
	uint8_t *head = net_frame_head(f);

	memmove(head + NET_TAG_LEN, head, 2 * ETH_ALEN);
	f->head_off += NET_TAG_LEN;
	f->head_len -= NET_TAG_LEN;
	f->len -= NET_TAG_LEN;
	if (f->offload.needs_csum)
		f->offload.csum_start -= NET_TAG_LEN;
	if (f->offload.hdr_len >= NET_TAG_LEN)
		f->offload.hdr_len -= NET_TAG_LEN;
}
