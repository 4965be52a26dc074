/* SPDX-License-Identifier: BSD-3-Clause */
/* The packed ring through pointers (virtio 1.3, 2.8). */
#include "virtio/vq_private.h"

static inline void load_desc(const struct vring_packed_desc *from, struct vq_desc *d)
{
	uint64_t rest = vq_load64(&from->len);

	d->addr = vq_load64(&from->addr);
	d->len = (uint32_t)rest;
	d->next = (uint16_t)(rest >> 32); /* buffer id */
	d->flags = (uint16_t)(rest >> 48);
}

/* Reads the chain at next_avail; *id is that of its last descriptor. The number of slots. */
static inline int walk(struct virtqueue *vq, struct vq_walk *w, uint16_t *id)
{
	unsigned slot = vq->next_avail, n = 0;
	struct vq_desc d;
	int err;

	for (;;) {
		if (unlikely(n == vq->size))
			return -EPROTO;
		load_desc(&vq->ring[slot], &d);
		n++;
		if (unlikely(d.flags & VRING_DESC_F_INDIRECT)) {
			err = vq_walk_indirect(vq, w, &d);
			*id = d.next;
			return err ? err : (int)n;
		}
		err = vq_walk_add(vq, w, d.addr, d.len, d.flags & VRING_DESC_F_WRITE);
		if (unlikely(err))
			return err;
		if (!(d.flags & VRING_DESC_F_NEXT)) {
			*id = d.next;
			return (int)n;
		}
		if (++slot == vq->size)
			slot = 0;
	}
}

static inline bool is_avail(const struct virtqueue *vq)
{
	return packed_is_avail(vq_load16_acquire(&vq->ring[vq->next_avail].flags), vq->avail_wrap);
}

int packed_pop(struct virtqueue *vq, struct vq_chain *chain, struct vq_buf *bufs, unsigned max)
{
	struct vq_walk w = {.bufs = bufs, .max = max};
	int n, err;

	if (!is_avail(vq))
		return 0;
	n = walk(vq, &w, &chain->id);
	/* More in flight than there are slots: the driver reuses what it lent. */
	if (likely(n > 0) && unlikely((unsigned)n > (unsigned)vq->size - vq->inflight))
		n = -EPROTO;
	err = likely(n > 0) ? vq_walk_finish(&w, chain) : n;
	if (unlikely(err < 0))
		return vq_break(vq, err);
	chain->ndescs = (uint16_t)n;
	packed_advance(vq, &vq->next_avail, &vq->avail_wrap, (unsigned)n);
	vq->inflight = (uint16_t)(vq->inflight + n);
	return 1;
}

unsigned packed_pop_singles(struct virtqueue *vq, struct vq_single *out, unsigned n, bool writable)
{
	const uint16_t others = VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT | VRING_DESC_F_WRITE |
				PACKED_AVAIL | PACKED_USED;
	const uint32_t prot = writable ? DMA_PROT_WRITE : DMA_PROT_READ;
	uint16_t kind = writable ? VRING_DESC_F_WRITE : 0;
	struct vq_window w = vq_window(vq, prot);
	uint16_t slot = vq->next_avail;
	bool wrap = vq->avail_wrap;
	unsigned i;

	kind |= wrap ? PACKED_AVAIL : PACKED_USED;
	n = MIN(n, (unsigned)(vq->size - vq->inflight));
	for (i = 0; i < n; i++) {
		/* Length, buffer id and flags in one load: what the flags make valid. */
		uint64_t rest = vq_load64_acquire(&vq->ring[slot].len);
		uint32_t len = (uint32_t)rest;
		void *ptr;

		if (((uint16_t)(rest >> 48) & others) != kind)
			break;
		ptr = vq_single_ptr(vq, &w, vq_load64(&vq->ring[slot].addr), len, prot);
		if (unlikely(!ptr))
			break;
		out[i] = (struct vq_single){ptr, len, (uint16_t)(rest >> 32)};
		if (unlikely(++slot == vq->size)) {
			slot = 0;
			wrap = !wrap;
			kind ^= PACKED_AVAIL | PACKED_USED;
		}
	}
	vq->next_avail = slot;
	vq->avail_wrap = wrap;
	vq->inflight = (uint16_t)(vq->inflight + i);
	return i;
}

void packed_push_singles(struct virtqueue *vq, const struct vq_single *s, unsigned n, bool writable)
{
	for (unsigned i = 0; i < n; i++) {
		struct vring_packed_desc *d = &vq->ring[vq->next_used];
		uint32_t len = writable ? s[i].len : 0;
		uint16_t flags = packed_used_flags(vq, writable);

		if (likely(vq->pending)) {
			vq_store64(&d->len, len | (uint64_t)s[i].id << 32 | (uint64_t)flags << 48);
		} else {
			vq_store32(&d->len, len);
			vq_store16(&d->id, s[i].id);
			vq->first_slot = vq->next_used;
			vq->first_flags = flags;
		}
		packed_used_advance(vq, 1);
	}
}

/*
 * The driver looks at slots in order, so the flags of the first used descriptor, stored last,
 * make the whole batch visible.
 */
void packed_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written)
{
	struct vring_packed_desc *d = &vq->ring[vq->next_used];
	uint16_t flags = packed_used_flags(vq, chain->n_in > 0);

	vq_store32(&d->len, written);
	vq_store16(&d->id, chain->id);
	if (vq->pending) {
		vq_store16(&d->flags, flags);
	} else {
		vq->first_slot = vq->next_used;
		vq->first_flags = flags;
	}
	packed_used_advance(vq, chain->ndescs);
}

bool packed_need_event(const struct virtqueue *vq, uint32_t event)
{
	uint16_t flags = (uint16_t)(event >> 16), off_wrap = (uint16_t)event;
	int new = vq->next_used, old = new - vq->pending, at = off_wrap & ~PACKED_WRAP;

	if (flags == PACKED_EVENT_DISABLE)
		return false;
	/* Position-specific events exist with EVENT_IDX only; without it any other value is
	 * reserved, and an interrupt too many does no harm. */
	if (flags != PACKED_EVENT_DESC || !vq->event_idx)
		return true;
	if (!!(off_wrap & PACKED_WRAP) != vq->used_wrap)
		at -= vq->size;
	return at >= old && at < new;
}

bool packed_publish(struct virtqueue *vq)
{
	bool need;

	vq_store16_release(&vq->ring[vq->first_slot].flags, vq->first_flags);
	vq_full_barrier();
	need = packed_need_event(vq, vq_load32(vq->driver_event));
	vq->pending = 0;
	return need;
}

unsigned packed_avail(struct virtqueue *vq)
{
	return is_avail(vq);
}

bool packed_arm(struct virtqueue *vq)
{
	uint32_t off = vq->next_avail | (vq->avail_wrap ? PACKED_WRAP : 0);

	if (vq->event_idx)
		vq_store32(vq->device_event, off | PACKED_EVENT_DESC << 16);
	else
		vq_store32(vq->device_event, PACKED_EVENT_ENABLE << 16);
	vq_full_barrier();
	return is_avail(vq);
}

void packed_disarm(struct virtqueue *vq)
{
	vq_store32(vq->device_event, PACKED_EVENT_DISABLE << 16);
}
