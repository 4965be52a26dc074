/* SPDX-License-Identifier: BSD-3-Clause */
/* What the lanes have in common: set-up, the rings' pointers, dispatch. */
#include <stdlib.h>

#include "virtio/vq_private.h"

int vq_break(struct virtqueue *vq, int err)
{
	int none = 0;

	atomic_compare_exchange_strong(&vq->broken, &none, err);
	return err;
}

static inline int broken(const struct virtqueue *vq)
{
	return atomic_load_explicit(&vq->broken, memory_order_relaxed);
}

static bool config_ok(const struct vq_config *c)
{
	if (!c->size || c->size > VQ_SIZE_MAX || (!c->packed && !is_pow2(c->size)))
		return false;
	if (c->desc % 16)
		return false;
	if (c->packed)
		return c->driver % 4 == 0 && c->device % 4 == 0;
	return c->driver % 2 == 0 && c->device % 4 == 0;
}

static uint64_t desc_bytes(const struct vq_config *c)
{
	return 16ull * c->size;
}

static uint64_t driver_bytes(const struct vq_config *c)
{
	return c->packed ? 4 : 4 + 2ull * c->size + (c->event_idx ? 2 : 0);
}

static uint64_t device_bytes(const struct vq_config *c)
{
	return c->packed ? 4 : 4 + 8ull * c->size + (c->event_idx ? 2 : 0);
}

enum ring_access { RING_POINTER, RING_NO_POINTER, RING_BAD };

/*
 * A ring part may lie in several regions (behind an IOMMU each page is one): it has a pointer when
 * theirs adjoin.
 */
static enum ring_access ring_map(const struct dma_view *v, uint64_t addr, uint64_t len,
				 uint32_t prot, void **out)
{
	uint8_t *ptr, *first = NULL, *next = NULL;
	enum ring_access ret = RING_POINTER;
	const struct dma_region *r;
	uint64_t n;

	if (!range_no_wrap(addr, len))
		return RING_BAD;
	for (; len; len -= n, addr += n) {
		r = dma_view_find(v, addr);
		if (!r || (r->prot & prot) != prot)
			return RING_BAD;
		n = MIN(len, r->size - (addr - r->iova));
		ptr = dma_translate(v, addr, n, prot, NULL);
		if (!ptr || (first && ptr != next)) {
			ret = RING_NO_POINTER;
			continue;
		}
		if (!first)
			first = ptr;
		next = ptr + n;
	}
	*out = first;
	return ret;
}

/* Maps the three parts; the worst of them counts. */
static enum ring_access rings_map(const struct vq_config *c, const struct dma_view *v, void **desc,
				  void **driver, void **device)
{
	uint32_t rw = DMA_PROT_READ | DMA_PROT_WRITE;
	enum ring_access a, b, d;

	a = ring_map(v, c->desc, desc_bytes(c), c->packed ? rw : DMA_PROT_READ, desc);
	b = ring_map(v, c->driver, driver_bytes(c), DMA_PROT_READ, driver);
	d = ring_map(v, c->device, device_bytes(c), DMA_PROT_WRITE, device);
	a = MAX(a, b);
	return MAX(a, d);
}

bool vq_rings_have_pointers(struct dma_space *dma, const struct vq_config *cfg)
{
	void *a, *b, *c;

	return rings_map(cfg, dma_view_get(dma), &a, &b, &c) != RING_NO_POINTER;
}

int vq_create(struct dma_space *dma, const struct vq_config *cfg, struct virtqueue **out)
{
	const struct dma_view *view = dma_view_get(dma);
	enum ring_access access;
	void *desc, *driver, *device;
	struct virtqueue *vq;

	if (!config_ok(cfg))
		return -EINVAL;
	access = rings_map(cfg, view, &desc, &driver, &device);
	if (access == RING_BAD)
		return -EFAULT;
	vq = aligned_alloc(CACHE_LINE, sizeof(*vq));
	if (!vq)
		return -ENOMEM;
	*vq = (struct virtqueue){
		.dma = dma,
		.cfg = *cfg,
		.size = cfg->size,
		.event_idx = cfg->event_idx,
		.indirect = cfg->indirect,
		.avail_wrap = true,
		.used_wrap = true,
		.lane = cfg->packed ? VQ_LANE_PACKED : VQ_LANE_SPLIT,
	};
	if (cfg->bounce || access == RING_NO_POINTER) {
		vq->lane = VQ_LANE_BOUNCE;
		if (bounce_create(vq)) {
			free(vq);
			return -ENOMEM;
		}
	}
	*out = vq;
	return 0;
}

void vq_destroy(struct virtqueue *vq)
{
	if (!vq)
		return;
	bounce_destroy(vq);
	free(vq);
}

bool vq_is_remote(const struct virtqueue *vq)
{
	return vq->lane == VQ_LANE_BOUNCE;
}

bool vq_met_remote(const struct virtqueue *vq)
{
	return vq->met_remote;
}

static int remap(struct virtqueue *vq, const struct dma_view *view)
{
	void *desc, *driver, *device;

	if (vq->lane == VQ_LANE_BOUNCE)
		return 0;
	switch (rings_map(&vq->cfg, view, &desc, &driver, &device)) {
	case RING_POINTER:
		break;
	case RING_NO_POINTER:
		vq->met_remote = true;
		return vq_break(vq, -EFAULT);
	default:
		return vq_break(vq, -EFAULT);
	}
	vq->desc = desc;
	vq->avail = driver;
	vq->used = device;
	vq->view = view;
	vq->generation = view->generation;
	return 0;
}

int vq_begin(struct virtqueue *vq, const struct dma_view *view)
{
	int err = broken(vq);

	if (unlikely(err))
		return err;
	if (likely(vq->generation == view->generation))
		return 0;
	return remap(vq, view);
}

int vq_pop(struct virtqueue *vq, struct vq_chain *chain, struct vq_buf *bufs, unsigned max_bufs)
{
	int err = broken(vq);

	if (unlikely(err))
		return err;
	if (vq->lane == VQ_LANE_SPLIT)
		return split_pop(vq, chain, bufs, max_bufs);
	if (vq->lane == VQ_LANE_PACKED)
		return packed_pop(vq, chain, bufs, max_bufs);
	return bounce_pop(vq, chain, bufs, max_bufs);
}

unsigned vq_pop_singles(struct virtqueue *vq, struct vq_single *out, unsigned n, bool writable)
{
	if (unlikely(broken(vq)))
		return 0;
	if (vq->lane == VQ_LANE_SPLIT)
		return split_pop_singles(vq, out, n, writable);
	if (vq->lane == VQ_LANE_PACKED)
		return packed_pop_singles(vq, out, n, writable);
	return 0;
}

void vq_unpop(struct virtqueue *vq, unsigned chains, unsigned ndescs)
{
	if (!chains)
		return;
	if (vq->lane == VQ_LANE_BOUNCE)
		bounce_unpop(vq, chains);
	if (vq->cfg.packed)
		packed_retreat(vq, &vq->next_avail, &vq->avail_wrap, ndescs);
	else
		vq->next_avail = (uint16_t)(vq->next_avail - chains);
	vq->inflight = (uint16_t)(vq->inflight - (vq->cfg.packed ? ndescs : chains));
}

void vq_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written)
{
	if (unlikely(broken(vq)))
		return;
	if (vq->lane == VQ_LANE_SPLIT)
		split_push(vq, chain, written);
	else if (vq->lane == VQ_LANE_PACKED)
		packed_push(vq, chain, written);
	else
		bounce_push(vq, chain, written);
}

void vq_push_singles(struct virtqueue *vq, const struct vq_single *s, unsigned n, bool writable)
{
	if (unlikely(broken(vq)))
		return;
	if (vq->lane == VQ_LANE_SPLIT)
		split_push_singles(vq, s, n, writable);
	else if (vq->lane == VQ_LANE_PACKED)
		packed_push_singles(vq, s, n, writable);
}

bool vq_publish(struct virtqueue *vq)
{
	if (!vq->pending || unlikely(broken(vq)))
		return false;
	if (vq->lane == VQ_LANE_SPLIT)
		return split_publish(vq);
	if (vq->lane == VQ_LANE_PACKED)
		return packed_publish(vq);
	return bounce_publish(vq);
}

unsigned vq_avail(struct virtqueue *vq)
{
	if (unlikely(broken(vq)))
		return 0;
	if (vq->lane == VQ_LANE_SPLIT)
		return split_avail(vq);
	if (vq->lane == VQ_LANE_PACKED)
		return packed_avail(vq);
	return bounce_avail(vq);
}

bool vq_arm(struct virtqueue *vq)
{
	/* arm() and poll() of a poller may see different maps. */
	if (vq_begin(vq, dma_view_get(vq->dma)))
		return false;
	if (vq->lane == VQ_LANE_SPLIT)
		return split_arm(vq);
	if (vq->lane == VQ_LANE_PACKED)
		return packed_arm(vq);
	return bounce_arm(vq);
}

void vq_disarm(struct virtqueue *vq)
{
	if (vq_begin(vq, dma_view_get(vq->dma)))
		return;
	if (vq->lane == VQ_LANE_SPLIT)
		split_disarm(vq);
	else if (vq->lane == VQ_LANE_PACKED)
		packed_disarm(vq);
	else
		bounce_disarm(vq);
}

bool vq_is_broken(const struct virtqueue *vq)
{
	return broken(vq) != 0;
}

uint32_t vq_position(const struct virtqueue *vq)
{
	uint16_t avail = vq->next_avail, used = vq->next_used;

	if (vq->cfg.packed) {
		avail |= vq->avail_wrap ? PACKED_WRAP : 0;
		used |= vq->used_wrap ? PACKED_WRAP : 0;
	}
	return avail | (uint32_t)used << 16;
}
