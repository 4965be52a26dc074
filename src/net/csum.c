/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/csum.h"

#include <endian.h>
#include <string.h>

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* The last 1 to 7 bytes as if zeros followed. */
static uint64_t load_tail(const uint8_t *p, size_t len)
{
	uint64_t v = 0;

	memcpy(&v, p, len);
	return v;
}

uint64_t csum_add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	/* Halves of 64-bit words add up in 64 bits without carries: 2^32 words would be needed to
	 * overflow. Independent sums let loads overlap, and the compiler use vectors. */
	uint64_t lo = 0, hi = 0;

	while (len >= 32) {
		uint64_t a = load64(p), b = load64(p + 8), c = load64(p + 16), d = load64(p + 24);

		lo += (a & 0xffffffff) + (b & 0xffffffff) + (c & 0xffffffff) + (d & 0xffffffff);
		hi += (a >> 32) + (b >> 32) + (c >> 32) + (d >> 32);
		p += 32;
		len -= 32;
	}
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t a = load64(p);

		lo += a & 0xffffffff;
		hi += a >> 32;
	}
	if (len)
		sum = csum_add64(sum, load_tail(p, len));
	return csum_add64(csum_add64(sum, lo), hi);
}

uint64_t csum_add_frame(uint64_t sum, const struct net_frame *f, uint32_t off, uint32_t len)
{
	const uint8_t *p = net_frame_chead(f);
	uint32_t piece = f->head_len, n;
	unsigned i = 0;
	bool odd = false;

	while (len) {
		if (off < piece) {
			uint64_t part;

			n = piece - off < len ? piece - off : len;
			part = csum_add(0, p + off, n);
			sum = csum_add64(sum, odd ? csum_odd(part) : part);
			odd ^= n & 1;
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
	return sum;
}
