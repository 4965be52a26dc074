/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registered guest memory (`register-memory`): the large regions that a guest's client has mapped
 * are known to the worker's io_uring, so that a transfer into one costs no look-up of pages. A
 * region is known by its id, which no later memory at the same address has: what is gone from the
 * view of a turn is not used in it.
 */
#include <errno.h>
#include <string.h>

#include "nvme/group_private.h"

#define REGION_MIN (2ull << 20) /* firmware and such are not worth it, and come and go */
#define BOTH	   (DMA_PROT_READ | DMA_PROT_WRITE)

static bool in_view(const struct dma_view *v, uint64_t id)
{
	for (uint32_t i = 0; i < v->n; i++) {
		if (v->regions[i].ptr && v->regions[i].id == id)
			return true;
	}
	return false;
}

static struct nvme_fixed *find(struct nvme_group *g, uint64_t id)
{
	for (unsigned i = 0; i < g->n_fixed; i++) {
		if (g->fixed[i].id == id)
			return &g->fixed[i];
	}
	return NULL;
}

static void drop(struct nvme_group *g, struct nvme_fixed *f)
{
	if (f->first >= 0)
		block_channel_unfix(g->channel, f->id);
	*f = g->fixed[--g->n_fixed];
}

/* One that cannot be registered is noted too, so that it is not tried each time. */
static void add(struct nvme_group *g, const struct dma_region *r)
{
	struct nvme_fixed *f = &g->fixed[g->n_fixed++];

	*f = (struct nvme_fixed){.id = r->id, .base = r->ptr, .size = r->size};
	f->first = block_channel_fix(g->channel, r->id, r->ptr, r->size);
	if (f->first < 0)
		log_guest(
			&g->ctrl->log,
			"%s: its memory cannot be registered (%s): transfers go the ordinary way%s",
			g->ctrl->name, strerror(-f->first),
			f->first == -ENOMEM ? "; raise the limit of locked memory" : "");
}

void nvme_fixed_refresh(struct nvme_group *g)
{
	const struct dma_view *v = g->mem.view;

	for (unsigned i = g->n_fixed; i-- > 0;) {
		if (!in_view(v, g->fixed[i].id))
			drop(g, &g->fixed[i]);
	}
	for (uint32_t i = 0; i < v->n && g->n_fixed < NVME_FIXED_MAX; i++) {
		const struct dma_region *r = &v->regions[i];

		if (r->ptr && r->size >= REGION_MIN && (r->prot & BOTH) == BOTH && !find(g, r->id))
			add(g, r);
	}
}

void nvme_fixed_drop(struct nvme_group *g)
{
	while (g->n_fixed)
		drop(g, &g->fixed[g->n_fixed - 1]);
}

uint16_t nvme_fixed_piece_slow(const struct nvme_group *g, const struct iovec *iov)
{
	const uint8_t *p = iov->iov_base;

	for (unsigned i = 0; i < g->n_fixed; i++) {
		const struct nvme_fixed *f = &g->fixed[i];
		uint64_t off = (uint64_t)(p - f->base);

		if (p < f->base || f->first < 0 || !range_ok(off, iov->iov_len, f->size))
			continue;
		if ((off & (BLOCK_FIXED_PIECE - 1)) > BLOCK_FIXED_PIECE - iov->iov_len)
			return 0; /* lies across two */
		return (uint16_t)((unsigned)f->first + (off >> BLOCK_FIXED_SHIFT) + 1);
	}
	return 0;
}
