/* SPDX-License-Identifier: BSD-3-Clause */
#include <net/ethernet.h>
#include <netinet/in.h>
#include <string.h>

#include "net/frame.h"
#include "net/parse.h"
#include "util/bytes.h"

#define IPV4_HDR_MIN   20u
#define IPV6_HDR_LEN   40u
#define IPV4_FRAG_MASK 0x3fff /* offset and MF (RFC 791, 3.1) */

static bool parse_ipv4(const uint8_t *p, uint32_t len, struct net_headers *h)
{
	uint32_t off = h->l3_off, ihl;

	if (len - off < IPV4_HDR_MIN || p[off] >> 4 != 4)
		return false;
	ihl = (p[off] & 15) * 4u;
	if (ihl < IPV4_HDR_MIN)
		return false;
	h->l3 = 4;
	if (get_be16(p + off + 6) & IPV4_FRAG_MASK) {
		h->fragment = true;
		return false;
	}
	if (ihl > len - off)
		return false;
	h->l4 = p[off + 9];
	h->l4_off = (uint16_t)(off + ihl);
	return true;
}

/* Walks the extension headers that share the format "next, length" (RFC 8200, 4). */
static bool parse_ipv6(const uint8_t *p, uint32_t len, struct net_headers *h)
{
	uint32_t off = h->l3_off, ext_len;
	uint8_t next;

	if (len - off < IPV6_HDR_LEN || p[off] >> 4 != 6)
		return false;
	h->l3 = 6;
	next = p[off + 6];
	off += IPV6_HDR_LEN;
	for (unsigned i = 0; i < NET_PARSE_EXT_MAX; i++) {
		if (next == IPPROTO_FRAGMENT) {
			h->fragment = true;
			return false;
		}
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS) {
			h->l4 = next;
			h->l4_off = (uint16_t)off;
			return true;
		}
		if (len - off < 8)
			return false;
		ext_len = (p[off + 1] + 1u) * 8;
		if (ext_len > len - off)
			return false;
		if (next == IPPROTO_ROUTING && p[off + 3])
			h->routed = true;
		next = p[off];
		off += ext_len;
	}
	return false;
}

bool net_parse(const uint8_t *p, uint32_t len, struct net_headers *h)
{
	uint32_t off = 2 * ETH_ALEN;
	uint16_t type;

	memset(h, 0, sizeof(*h));
	for (unsigned tags = 0;; tags++) {
		if (len < off + 2)
			return false;
		type = get_be16(p + off);
		off += 2;
		if (!net_is_tag(type))
			break;
		if (tags == NET_PARSE_TAGS_MAX)
			return false;
		off += 2;
	}
	h->l3_off = (uint16_t)off;
	if (type == ETHERTYPE_IP)
		return parse_ipv4(p, len, h);
	if (type == ETHERTYPE_IPV6)
		return parse_ipv6(p, len, h);
	return false;
}

void net_frame_flow(const struct net_frame *f, struct net_flow *flow)
{
	const uint8_t *p = net_frame_chead(f);
	struct net_headers h;
	bool whole = net_parse(p, f->head_len, &h);

	memset(flow, 0, sizeof(*flow));
	flow->l3 = h.l3;
	flow->l3_off = h.l3 ? h.l3_off : 0;
	if (h.l3 == 4) {
		memcpy(flow->saddr, p + h.l3_off + 12, 4);
		memcpy(flow->daddr, p + h.l3_off + 16, 4);
	} else if (h.l3 == 6) {
		memcpy(flow->saddr, p + h.l3_off + 8, 16);
		memcpy(flow->daddr, p + h.l3_off + 24, 16);
	}
	if (!whole || (h.l4 != IPPROTO_TCP && h.l4 != IPPROTO_UDP) || f->head_len - h.l4_off < 4)
		return;
	flow->l4 = h.l4;
	flow->l4_off = h.l4_off;
	memcpy(&flow->sport, p + h.l4_off, 2);
	memcpy(&flow->dport, p + h.l4_off + 2, 2);
}
