/* SPDX-License-Identifier: BSD-3-Clause */
#include "frame.h"

#include <string.h>

#include "util/bytes.h"

void frame_make(uint8_t *p, unsigned hdr_len, const uint8_t *to, const uint8_t *from, uint32_t len,
		bool gso)
{
	uint8_t *f = p + hdr_len, *ip = f + 14, *tcp = ip + 20;

	memset(p, 0, hdr_len + len);
	memcpy(f, to, 6);
	memcpy(f + 6, from, 6);
	put_be16(f + 12, 0x0800);
	ip[0] = 0x45;
	put_be16(ip + 2, (uint16_t)(len - 14));
	ip[8] = 64;
	ip[9] = 6;
	memcpy(ip + 12, "\x0a\0\0\1\x0a\0\0\2", 8);
	put_be16(tcp, 5001);
	put_be16(tcp + 2, 5002);
	tcp[12] = 5 << 4;
	if (!gso)
		return;
	p[0] = 1; /* NEEDS_CSUM */
	p[1] = 1; /* TCPv4 */
	put_le16(p + 2, FRAME_HEADERS);
	put_le16(p + 4, FRAME_MSS);
	put_le16(p + 6, 34);
	put_le16(p + 8, 16);
}
