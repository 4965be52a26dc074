/* SPDX-License-Identifier: BSD-3-Clause */
/* The split ring through pointers (virtio 1.3, 2.7). */
#include "virtio/vq_private.h"

/* Reads avail idx. The number of new chains, 0, or -EPROTO when it jumped. */
static int refresh(struct virtqueue *vq)
{
	uint16_t idx = vq_load16_acquire(&vq->avail->idx);
	uint16_t n = (uint16_t)(idx - vq->next_avail);

	if (unlikely(n > vq->size))
		return vq_break(vq, -EPROTO);
	vq->avail_cache = idx;
	return n;
}

static inline void load_desc(const struct vring_desc *from, struct vq_desc *d)
{
	uint64_t rest = vq_load64((const uint8_t *)from + 8);

	d->addr = vq_load64(from);
	d->len = (uint32_t)rest;
	d->flags = (uint16_t)(rest >> 32);
	d->next = (uint16_t)(rest >> 48);
}

static inline int walk(struct virtqueue *vq, struct vq_walk *w, uint16_t head)
{
	unsigned left = vq->size;
	uint16_t i = head;
	struct vq_desc d;
	int err;

	for (;;) {
		if (unlikely(i >= vq->size || !left--))
			return -EPROTO;
		load_desc(&vq->desc[i], &d);
		if (unlikely(d.flags & VRING_DESC_F_INDIRECT))
			return vq_walk_indirect(vq, w, &d);
		err = vq_walk_add(vq, w, d.addr, d.len, d.flags & VRING_DESC_F_WRITE);
		if (unlikely(err))
			return err;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return 0;
		i = d.next;
	}
}

int split_pop(struct virtqueue *vq, struct vq_chain *chain, struct vq_buf *bufs, unsigned max)
{
	struct vq_walk w = {.bufs = bufs, .max = max};
	uint16_t head, mask = (uint16_t)(vq->size - 1);
	int err;

	if (vq->next_avail == vq->avail_cache) {
		err = refresh(vq);
		if (err <= 0)
			return err;
	}
	/* More in flight than there are descriptors: the driver reuses what it lent. */
	if (unlikely(vq->inflight >= vq->size))
		return vq_break(vq, -EPROTO);
	head = vq_load16(&vq->avail->ring[vq->next_avail & mask]);
	err = walk(vq, &w, head);
	if (likely(!err))
		err = vq_walk_finish(&w, chain);
	if (unlikely(err < 0))
		return vq_break(vq, err);
	chain->id = head;
	chain->ndescs = 1;
	vq->next_avail++;
	vq->inflight++;
	return 1;
}

void split_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written)
{
	struct vring_used_elem *e = &vq->used->ring[vq->next_used & (vq->size - 1)];

	vq_store32(&e->id, chain->id);
	vq_store32(&e->len, written);
	vq->next_used++;
	vq->pending++;
	vq->inflight--;
}

bool split_publish(struct virtqueue *vq)
{
	uint16_t old = (uint16_t)(vq->next_used - vq->pending);

	vq->pending = 0;
	vq_store16_release(&vq->used->idx, vq->next_used);
	vq_full_barrier();
	if (vq->event_idx)
		return vring_need_event(vq_load16(&vq->avail->ring[vq->size]), vq->next_used, old);
	return !(vq_load16(&vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

unsigned split_avail(struct virtqueue *vq)
{
	int n;

	if (vq->next_avail != vq->avail_cache)
		return (uint16_t)(vq->avail_cache - vq->next_avail);
	n = refresh(vq);
	return n > 0 ? (unsigned)n : 0;
}

bool split_arm(struct virtqueue *vq)
{
	if (vq->event_idx)
		vq_store16(&vq->used->ring[vq->size], vq->next_avail); /* avail_event */
	else
		vq_store16(&vq->used->flags, 0);
	vq_full_barrier();
	return split_avail(vq) > 0;
}

void split_disarm(struct virtqueue *vq)
{
	/* With EVENT_IDX the flags stay zero (2.7.10); the avail_event left behind asks for nothing
	 * until the index comes round to it. */
	if (!vq->event_idx)
		vq_store16(&vq->used->flags, VRING_USED_F_NO_NOTIFY);
}
