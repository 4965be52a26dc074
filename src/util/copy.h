/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies of a few bytes without a call: what the head of a frame costs otherwise is mostly the
 * call, and the choice that memcpy() makes by size.
 */
#ifndef SOFTIOV_UTIL_COPY_H
#define SOFTIOV_UTIL_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define COPY_SMALL_MAX 256

/* The first and the last `size` bytes, which overlap or meet. */
#define COPY_ENDS(size)                                                                            \
	do {                                                                                       \
		memcpy(to, from, (size));                                                          \
		memcpy(to + n - (size), from + n - (size), (size));                                \
	} while (0)

/* memcpy() of at most COPY_SMALL_MAX bytes that do not overlap. */
static inline void copy_small(void *dst, const void *src, size_t n)
{
	const uint8_t *from = src;
	uint8_t *to = dst;

	if (n > 128)
		COPY_ENDS(128);
	else if (n > 64)
		COPY_ENDS(64);
	else if (n > 32)
		COPY_ENDS(32);
	else if (n >= 16)
		COPY_ENDS(16);
	else if (n >= 8)
		COPY_ENDS(8);
	else if (n >= 4)
		COPY_ENDS(4);
	else
		for (size_t i = 0; i < n; i++)
			to[i] = from[i];
}
#undef COPY_ENDS

#endif
