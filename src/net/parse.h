/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finds the headers in a private copy of a frame's first bytes. Everything is checked against the
 * bytes at hand, never against lengths that the headers claim alone.
 */
#ifndef SOFTIOV_NET_PARSE_H
#define SOFTIOV_NET_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#define NET_TPID_Q  0x8100 /* IEEE 802.1Q, C-tag */
#define NET_TPID_AD 0x88a8 /* IEEE 802.1ad, S-tag */

#define NET_PARSE_TAGS_MAX 2
#define NET_PARSE_EXT_MAX  8 /* IPv6 extension headers looked at */

struct net_headers {
	uint8_t l3; /* 4, 6 or 0: none that we know */
	uint8_t l4; /* IP protocol, 0 when it is a fragment or not reached */
	bool fragment;
	bool routed; /* IPv6 routing header with segments left: daddr is not the last one */
	uint16_t l3_off;
	uint16_t l4_off; /* 0 when l4 is */
};

static inline bool net_is_tag(uint16_t ethertype)
{
	return ethertype == NET_TPID_Q || ethertype == NET_TPID_AD;
}

/* p: first len bytes of the frame. True when everything up to the transport header was seen. */
bool net_parse(const uint8_t *p, uint32_t len, struct net_headers *h);

#endif
