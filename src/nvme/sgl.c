/* SPDX-License-Identifier: BSD-3-Clause */
/* Scatter gather lists (4.4). */
#include "nvme/dptr_private.h"

#include "util/util.h"

#define BATCH 32 /* descriptors copied at a time */

struct walk {
	struct nvme_mem *m;
	uint32_t left;
	bool to_host;
	unsigned descriptors;
	nvme_piece_fn piece;
	void *ctx;
};

static bool is_segment(const struct nvme_sgl_desc *d)
{
	unsigned type = NVME_SGL_TYPE(d->id);

	return type == NVME_SGL_SEGMENT || type == NVME_SGL_LAST_SEGMENT;
}

static uint16_t data(struct walk *w, const struct nvme_sgl_desc *d)
{
	uint32_t n = MIN(d->length, w->left);
	bool bucket = NVME_SGL_TYPE(d->id) == NVME_SGL_BIT_BUCKET;

	if (NVME_SGL_SUBTYPE(d->id) || (!bucket && NVME_SGL_TYPE(d->id) != NVME_SGL_DATA_BLOCK))
		return NVME_ST_GENERIC(NVME_SC_SGL_INVALID_TYPE);
	/* 4.4: a bit bucket in a source buffer has no effect. */
	if (!n || (bucket && !w->to_host))
		return 0;
	w->left -= n;
	return w->piece(w->ctx, d->addr, n, bucket);
}

static bool segment_ok(const struct nvme_sgl_desc *d)
{
	return !NVME_SGL_SUBTYPE(d->id) && d->length && !(d->length % sizeof(*d)) && !(d->addr & 7);
}

/*
 * One segment. All but the last descriptor are data; the last one of a segment that is not the
 * last one leads on: *next.
 */
static uint16_t segment(struct walk *w, const struct nvme_sgl_desc *seg, struct nvme_sgl_desc *next)
{
	bool last = NVME_SGL_TYPE(seg->id) == NVME_SGL_LAST_SEGMENT;
	uint32_t count = seg->length / sizeof(*seg), at, i, n;
	struct nvme_sgl_desc batch[BATCH];
	uint16_t st;

	for (at = 0; at < count && w->left; at += n) {
		n = MIN(count - at, (uint32_t)BATCH);
		w->descriptors += n;
		if (w->descriptors > NVME_SGL_DESCRIPTORS_MAX)
			return NVME_ST_GENERIC(NVME_SC_SGL_INVALID_COUNT);
		if (!range_no_wrap(seg->addr, seg->length))
			return NVME_ST_GENERIC(NVME_SC_SGL_INVALID_LAST);
		st = nvme_mem_read(w->m, seg->addr + (uint64_t)at * sizeof(*batch), batch,
				   n * sizeof(*batch));
		if (st)
			return st;
		for (i = 0; i < n && w->left; i++) {
			bool leads_on = !last && at + i == count - 1;

			if (is_segment(&batch[i]) != leads_on)
				return NVME_ST_GENERIC(NVME_SC_SGL_INVALID_LAST);
			if (leads_on) {
				*next = batch[i];
				return NVME_ST_STEP;
			}
			st = data(w, &batch[i]);
			if (st)
				return st;
		}
	}
	return 0;
}

uint16_t nvme_sgl_walk(struct nvme_mem *m, const struct nvme_sqe *sqe, uint32_t len, bool to_host,
		       nvme_piece_fn piece, void *ctx)
{
	struct walk w = {.m = m, .left = len, .to_host = to_host, .piece = piece, .ctx = ctx};
	struct nvme_sgl_desc d = sqe->sgl1, next;
	uint16_t st;

	if (!is_segment(&d)) {
		st = data(&w, &d);
	} else {
		/* Each segment counts one descriptor at least, so that this ends. */
		for (;;) {
			if (!segment_ok(&d))
				return NVME_ST_GENERIC(NVME_SC_SGL_INVALID_LAST);
			st = segment(&w, &d, &next);
			if (st != NVME_ST_STEP)
				break;
			d = next;
		}
	}
	if (!st && w.left)
		return NVME_ST_GENERIC(NVME_SC_SGL_INVALID_DATA);
	return st;
}
