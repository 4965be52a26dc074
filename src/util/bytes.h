/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unaligned loads and stores in a stated byte order. PCI, virtio 1.x and vfio-user on x86 are
 * little-endian; Ethernet and IP are big-endian.
 */
#ifndef SOFTIOV_UTIL_BYTES_H
#define SOFTIOV_UTIL_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BYTES_GET(order, bits)                                                                     \
	static inline uint##bits##_t get_##order##bits(const void *p)                              \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		memcpy(&v, p, sizeof(v));                                                          \
		return order##bits##toh(v);                                                        \
	}                                                                                          \
	static inline void put_##order##bits(void *p, uint##bits##_t v)                            \
	{                                                                                          \
		v = hto##order##bits(v);                                                           \
		memcpy(p, &v, sizeof(v));                                                          \
	}

BYTES_GET(le, 16)
BYTES_GET(le, 32)
BYTES_GET(le, 64)
BYTES_GET(be, 16)
BYTES_GET(be, 32)
BYTES_GET(be, 64)
#undef BYTES_GET

#endif
