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

/* Any chain. Not inlined: the registers that it needs are not to be saved for single buffers. */
static __attribute__((noinline)) int walk(struct virtqueue *vq, struct vq_chain *chain,
					  struct vq_walk *w, uint16_t head)
{
	unsigned left = vq->size;
	uint16_t i = head;
	struct vq_desc d;
	int err;

	for (;;) {
		if (unlikely(i >= vq->size || !left--))
			return -EPROTO;
		load_desc(&vq->desc[i], &d);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			err = vq_walk_indirect(vq, w, &d);
			return err ? err : vq_walk_finish(w, chain);
		}
		err = vq_walk_add(vq, w, d.addr, d.len, d.flags & VRING_DESC_F_WRITE);
		if (unlikely(err))
			return err;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return vq_walk_finish(w, chain);
		i = d.next;
	}
}

/* A chain of one buffer in one region, by far the most common. False: it is another. */
static inline bool single(struct virtqueue *vq, const struct vq_desc *d, struct vq_chain *chain,
			  struct vq_buf *bufs, unsigned max)
{
	bool writable = d->flags & VRING_DESC_F_WRITE;
	void *ptr;

	if (unlikely((d->flags & (VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT)) || !max ||
		     d->len > VQ_CHAIN_BYTES_MAX))
		return false;
	/* gives NULL for an empty one, too */
	ptr = dma_translate(vq->view, d->addr, d->len, writable ? DMA_PROT_WRITE : DMA_PROT_READ,
			    &vq->hint);
	if (unlikely(!ptr))
		return false;
	bufs->ptr = ptr;
	bufs->len = d->len;
	chain->bufs = bufs;
	chain->n_out = !writable;
	chain->n_in = writable;
	chain->out_len = writable ? 0 : d->len;
	chain->in_len = writable ? d->len : 0;
	return true;
}

static __attribute__((noinline)) int pop_walk(struct virtqueue *vq, struct vq_chain *chain,
					      struct vq_buf *bufs, unsigned max, uint16_t head)
{
	struct vq_walk w = {.bufs = bufs, .max = max};
	int err = walk(vq, chain, &w, head);

	return unlikely(err < 0) ? vq_break(vq, err) : err;
}

int split_pop(struct virtqueue *vq, struct vq_chain *chain, struct vq_buf *bufs, unsigned max)
{
	uint16_t head, mask = (uint16_t)(vq->size - 1);
	struct vq_desc d;
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
	if (unlikely(head >= vq->size))
		return vq_break(vq, -EPROTO);
	load_desc(&vq->desc[head], &d);
	if (!single(vq, &d, chain, bufs, max)) {
		err = pop_walk(vq, chain, bufs, max, head);
		if (unlikely(err < 0))
			return err;
	}
	chain->id = head;
	chain->ndescs = 1;
	vq->next_avail++;
	vq->inflight++;
	return 1;
}

/* The loop is short, and its turns independent, so that the processor has the cache misses of many
 * descriptors under way at once. */
unsigned split_pop_singles(struct virtqueue *vq, struct vq_single *out, unsigned n, bool writable)
{
	const uint16_t mask = (uint16_t)(vq->size - 1), kind = writable ? VRING_DESC_F_WRITE : 0;
	const uint16_t others = VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT | VRING_DESC_F_WRITE;
	const uint32_t prot = writable ? DMA_PROT_WRITE : DMA_PROT_READ;
	struct vq_window w = vq_window(vq, prot);
	unsigned i;

	if ((uint16_t)(vq->avail_cache - vq->next_avail) < n && unlikely(refresh(vq) < 0))
		return 0;
	n = MIN(n, (unsigned)(uint16_t)(vq->avail_cache - vq->next_avail));
	n = MIN(n, (unsigned)(vq->size - vq->inflight));
	for (i = 0; i < n; i++) {
		uint16_t head = vq_load16(&vq->avail->ring[(vq->next_avail + i) & mask]);
		struct vq_desc d;
		void *ptr;

		if (unlikely(head >= vq->size))
			break;
		load_desc(&vq->desc[head], &d);
		if (unlikely((d.flags & others) != kind))
			break;
		ptr = vq_single_ptr(vq, &w, d.addr, d.len, prot);
		if (unlikely(!ptr))
			break;
		out[i] = (struct vq_single){ptr, d.len, head};
	}
	vq->next_avail = (uint16_t)(vq->next_avail + i);
	vq->inflight = (uint16_t)(vq->inflight + i);
	return i;
}

void split_push_singles(struct virtqueue *vq, const struct vq_single *s, unsigned n, bool writable)
{
	const uint16_t mask = (uint16_t)(vq->size - 1);

	for (unsigned i = 0; i < n; i++) {
		struct vring_used_elem *e = &vq->used->ring[(vq->next_used + i) & mask];

		vq_store32(&e->id, s[i].id);
		vq_store32(&e->len, writable ? s[i].len : 0);
	}
	vq->next_used = (uint16_t)(vq->next_used + n);
	vq->pending = (uint16_t)(vq->pending + n);
	vq->inflight = (uint16_t)(vq->inflight - n);
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
