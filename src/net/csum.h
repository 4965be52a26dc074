/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The Internet checksum (RFC 1071). Sums are kept in memory order, 64 bits wide and unfolded, so
 * that pieces are summed at the speed of loads; only the folded result is stored (as it is: the
 * byte order cancels out).
 */
#ifndef SOFTIOV_NET_CSUM_H
#define SOFTIOV_NET_CSUM_H

#include <stddef.h>
#include <stdint.h>

#include "net/frame.h"

/* Adds len bytes at p, which start at an even byte of the sum. */
uint64_t csum_add(uint64_t sum, const void *p, size_t len);

/* Adds bytes [off, off + len) of a frame; off counts as even. The range must lie inside. */
uint64_t csum_add_frame(uint64_t sum, const struct net_frame *f, uint32_t off, uint32_t len);

static inline uint64_t csum_add64(uint64_t sum, uint64_t v)
{
	sum += v;
	return sum + (sum < v);
}

/* Folds to 16 bits, not complemented. */
static inline uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Moves a folded sum by one byte (RFC 1071, 2B): for a piece that starts at an odd byte. */
static inline uint64_t csum_odd(uint64_t sum)
{
	return __builtin_bswap16(csum_fold(sum));
}

#endif
