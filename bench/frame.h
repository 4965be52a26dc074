/* SPDX-License-Identifier: BSD-3-Clause */
/* The frames that the benchmark sends. */
#ifndef SOFTIOV_BENCH_FRAME_H
#define SOFTIOV_BENCH_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define FRAME_HEADERS 54 /* Ethernet, IPv4, TCP */
#define FRAME_MSS     1448

/* A virtio header of hdr_len bytes, then a frame of len (54 at least): TCP over IPv4; with gso to
 * be cut into segments of 1448 bytes, its checksum partial. */
void frame_make(uint8_t *p, unsigned hdr_len, const uint8_t *to, const uint8_t *from, uint32_t len,
		bool gso);

#endif
