/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A frame with hostile lengths, headers and offload fields: validity, flow, checksum, pull and
 * segmentation. Every piece is an allocation of its exact size, so that ASan sees each byte read
 * beyond it.
 *
 * Input: 16 bytes of parameters, then the frame.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/frame.h"
#include "util/bytes.h"
#include "util/util.h"

#define PARAMS 16
#define PIECES 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	uint32_t payload;
	unsigned n;
	uint8_t out[NET_FRAME_MAX];
};

static void check(void *opaque, struct net_frame *seg)
{
	struct seen *s = opaque;
	uint32_t total = seg->head_len;

	for (unsigned i = 0; i < seg->nsegs; i++)
		total += seg->segs[i].len;
	if (total != seg->len || seg->nsegs > NET_SEGS_MAX)
		abort();
	net_frame_copy(seg, 0, s->out, seg->len);
	s->n++;
}

static void try_all(struct net_frame *f, struct seen *s)
{
	struct net_flow flow;
	struct net_frame copy;
	int n;

	net_frame_flow(f, &flow);
	for (int csum = 0; csum < 2; csum++) {
		s->n = 0;
		n = net_frame_segment(f, csum, check, s);
		if ((n < 0 && s->n) || (n >= 0 && (unsigned)n != s->n))
			abort();
	}
	net_frame_clone(&copy, f);
	if (!net_frame_complete_csum(&copy) && copy.offload.needs_csum)
		abort();
	net_frame_copy(&copy, 0, s->out, copy.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct seen s;
	struct net_seg segs[PIECES];
	uint8_t *pieces[PIECES] = {0};
	const uint8_t *par = data;
	struct net_frame f = {.head_off = NET_HEAD_ROOM, .segs = segs};
	uint32_t left;

	if (size < PARAMS || size - PARAMS > NET_FRAME_MAX - 8)
		return 0;
	data += PARAMS;
	f.len = left = (uint32_t)(size - PARAMS);
	f.head_len = (uint16_t)MIN(left, MAX(22u, (uint32_t)par[0] % (NET_HEAD_MAX + 1)));
	memcpy(net_frame_head(&f), data, f.head_len);
	data += f.head_len;
	left -= f.head_len;
	for (unsigned i = 0; i < PIECES && left; i++) {
		uint32_t n = i == PIECES - 1 ? left : MIN(left, (uint32_t)par[1 + i % 3] * (i + 1));

		pieces[i] = malloc(n ? n : 1);
		memcpy(pieces[i], data, n);
		segs[f.nsegs++] = (struct net_seg){pieces[i], n};
		data += n;
		left -= n;
	}
	f.offload = (struct net_offload){
		.needs_csum = par[4] & 1,
		.gso_ecn = par[4] & 2,
		.gso_type = par[5] % 6,
		.gso_size = get_le16(par + 6),
		.csum_start = get_le16(par + 8),
		.csum_offset = get_le16(par + 10),
		.hdr_len = get_le16(par + 12),
	};
	if (net_frame_valid(&f))
		try_all(&f, &s);
	for (unsigned i = 0; i < PIECES; i++)
		free(pieces[i]);
	return 0;
}
