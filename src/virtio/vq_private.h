/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to the virtqueue files. One struct serves both ring formats; "lane" says which code
 * works on it. The direct lanes read the rings through pointers that vq_begin() keeps in step with
 * the guest's memory map; the bounce lane (bounce.c) reaches everything by dma_read/dma_write.
 *
 * Each value in guest memory is loaded once with an atomic load, so the compiler cannot read it a
 * second time after the check.
 */
#ifndef SOFTIOV_VIRTIO_VQ_PRIVATE_H
#define SOFTIOV_VIRTIO_VQ_PRIVATE_H

#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <linux/virtio_ring.h>

#include "util/util.h"
#include "virtio/virtqueue.h"

#if defined(__SANITIZE_THREAD__)
#define VQ_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VQ_UNDER_TSAN 1
#endif
#endif
#ifndef VQ_UNDER_TSAN
#define VQ_UNDER_TSAN 0
#endif

#define VQ_CHAIN_BYTES_MAX (1ull << 31)

/* Descriptor and event flags of the packed ring (virtio 1.3, 2.8). */
#define PACKED_AVAIL	     (1u << 7)
#define PACKED_USED	     (1u << 15)
#define PACKED_EVENT_ENABLE  0u
#define PACKED_EVENT_DISABLE 1u
#define PACKED_EVENT_DESC    2u
#define PACKED_WRAP	     0x8000u

enum vq_lane { VQ_LANE_SPLIT, VQ_LANE_PACKED, VQ_LANE_BOUNCE };

struct vq_bounce;

struct virtqueue {
	/* Line 0: all that a pop and a push of a simple chain touch. */
	union {
		struct vring_desc *desc;
		struct vring_packed_desc *ring;
	};
	union {
		struct vring_avail *avail;
		struct vring_packed_desc_event *driver_event;
	};
	union {
		struct vring_used *used;
		struct vring_packed_desc_event *device_event;
	};
	const struct dma_view *view;
	uint32_t hint;	      /* region of the last buffer */
	uint16_t size;	      /* slots */
	uint16_t next_avail;  /* split: counts to 2^16; packed: slot */
	uint16_t avail_cache; /* split: avail idx as last read */
	uint16_t next_used;   /* as next_avail */
	uint16_t inflight;    /* popped, not pushed; split: chains, packed: slots */
	uint16_t pending;     /* pushed, not published; split: chains, packed: slots */
	uint8_t lane;
	bool avail_wrap, used_wrap; /* packed */
	bool event_idx, indirect;
	uint16_t first_flags; /* packed: of the first pending used descriptor, held back */
	uint16_t first_slot;
	_Atomic int broken; /* 0 or -errno */

	/* Line 2: map changes and set-up. */
	_Alignas(CACHE_LINE) uint64_t generation; /* of view, when the rings were translated */
	struct dma_space *dma;
	struct vq_config cfg;
	struct vq_bounce *bounce; /* VQ_LANE_BOUNCE only */
	bool met_remote;
};

/* A chain being read. */
struct vq_walk {
	struct vq_buf *bufs;
	unsigned n, max, n_out;
	bool writable_seen;
	uint64_t out_len, in_len;
};

/* One descriptor, copied. */
struct vq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next; /* split; the packed ring's buffer id */
};

/* Breaks the queue for ever; returns err. */
int vq_break(struct virtqueue *vq, int err);

/* Adds a buffer that does not lie in the region of the last one, in as many pieces as needed. */
int vq_walk_add_slow(struct virtqueue *vq, struct vq_walk *w, uint64_t addr, uint32_t len,
		     bool writable);
/* Adds the buffers of an indirect table: of a split ring those linked from its first entry on, of a
 * packed one all. */
int vq_walk_indirect(struct virtqueue *vq, struct vq_walk *w, const struct vq_desc *d);

/* Counts a buffer's length in and checks the order of the two kinds. 0 or -EPROTO. */
static inline int vq_walk_account(struct vq_walk *w, uint32_t len, bool writable)
{
	if (unlikely(!len))
		return -EPROTO;
	if (writable) {
		if (!w->writable_seen) {
			w->writable_seen = true;
			w->n_out = w->n;
		}
		w->in_len += len;
	} else {
		if (unlikely(w->writable_seen))
			return -EPROTO;
		w->out_len += len;
	}
	return 0;
}

static inline int vq_walk_add(struct virtqueue *vq, struct vq_walk *w, uint64_t addr, uint32_t len,
			      bool writable)
{
	uint32_t prot = writable ? DMA_PROT_WRITE : DMA_PROT_READ;
	void *ptr;

	if (unlikely(vq_walk_account(w, len, writable)))
		return -EPROTO;
	ptr = dma_translate(vq->view, addr, len, prot, &vq->hint);
	if (unlikely(!ptr))
		return vq_walk_add_slow(vq, w, addr, len, writable);
	if (unlikely(w->n == w->max))
		return -EPROTO;
	w->bufs[w->n].ptr = ptr;
	w->bufs[w->n++].len = len;
	return 0;
}

/* The region that a run of single buffers lies in, most often the only one: kept in registers. */
struct vq_window {
	uint64_t iova, size;
	uint8_t *ptr; /* NULL: none */
};

static inline struct vq_window vq_window(const struct virtqueue *vq, uint32_t prot)
{
	if (likely(vq->hint < vq->view->n)) {
		const struct dma_region *r = &vq->view->regions[vq->hint];

		if (likely((r->prot & prot) == prot))
			return (struct vq_window){r->iova, r->size, r->ptr};
	}
	return (struct vq_window){0};
}

/* The pointer of a single buffer; NULL: it is not one, or not accessible so. */
static inline void *vq_single_ptr(struct virtqueue *vq, struct vq_window *w, uint64_t addr,
				  uint32_t len, uint32_t prot)
{
	uint64_t off = addr - w->iova;
	void *ptr;

	if (unlikely(len > VQ_CHAIN_BYTES_MAX))
		return NULL;
	/* A length of 0 becomes 2^64 - 1. */
	if (likely(w->ptr && off < w->size && (uint64_t)len - 1 < w->size - off))
		return w->ptr + off;
	ptr = dma_translate(vq->view, addr, len, prot, &vq->hint);
	*w = vq_window(vq, prot);
	return ptr;
}

/* Hands the walk's result to the caller. 1 or -EPROTO. */
static inline int vq_walk_finish(const struct vq_walk *w, struct vq_chain *chain)
{
	if (unlikely(w->out_len + w->in_len > VQ_CHAIN_BYTES_MAX))
		return -EPROTO;
	chain->n_out = (uint16_t)(w->writable_seen ? w->n_out : w->n);
	chain->n_in = (uint16_t)(w->n - chain->n_out);
	chain->out_len = (uint32_t)w->out_len;
	chain->in_len = (uint32_t)w->in_len;
	chain->bufs = w->bufs;
	return 1;
}

/* Loads and stores of values that the driver shares; order as named. */
#define VQ_ACCESS(bits)                                                                            \
	static inline uint##bits##_t vq_load##bits(const void *p)                                  \
	{                                                                                          \
		return le##bits##toh(                                                              \
			__atomic_load_n((const uint##bits##_t *)p, __ATOMIC_RELAXED));             \
	}                                                                                          \
	static inline void vq_store##bits(void *p, uint##bits##_t v)                               \
	{                                                                                          \
		__atomic_store_n((uint##bits##_t *)p, htole##bits(v), __ATOMIC_RELAXED);           \
	}
VQ_ACCESS(16)
VQ_ACCESS(32)
VQ_ACCESS(64)
#undef VQ_ACCESS

static inline uint16_t vq_load16_acquire(const void *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE));
}

static inline uint64_t vq_load64_acquire(const void *p)
{
	return le64toh(__atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE));
}

static inline void vq_store16_release(void *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, htole16(v), __ATOMIC_RELEASE);
}

/* Orders a store to shared memory before a later load from it, as both sides of a notification
 * hand-shake must (2.7.10, 2.8.10). */
static inline void vq_full_barrier(void)
{
#if VQ_UNDER_TSAN
	uint32_t any = 0; /* the tool does not know fences */

	__atomic_fetch_add(&any, 1, __ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Slot arithmetic of the packed ring; n <= size. */
static inline void packed_advance(const struct virtqueue *vq, uint16_t *slot, bool *wrap,
				  unsigned n)
{
	unsigned next = *slot + n;

	if (next >= vq->size) {
		next -= vq->size;
		*wrap = !*wrap;
	}
	*slot = (uint16_t)next;
}

static inline void packed_retreat(const struct virtqueue *vq, uint16_t *slot, bool *wrap,
				  unsigned n)
{
	if (n > *slot) {
		*slot = (uint16_t)(*slot + vq->size - n);
		*wrap = !*wrap;
	} else {
		*slot = (uint16_t)(*slot - n);
	}
}

static inline bool packed_is_avail(uint16_t flags, bool wrap)
{
	return !!(flags & PACKED_AVAIL) == wrap && !!(flags & PACKED_USED) != wrap;
}

static inline uint16_t packed_used_flags(const struct virtqueue *vq, bool wrote)
{
	return (uint16_t)((vq->used_wrap ? PACKED_AVAIL | PACKED_USED : 0) |
			  (wrote ? VRING_DESC_F_WRITE : 0));
}

/* Whether the driver wants to hear of the pending used descriptors, given its event structure as
 * one value: off_wrap in the low half, flags in the high one (2.8.10, 2.8.14). */
bool packed_need_event(const struct virtqueue *vq, uint32_t event);

/* Each lane's share of the public calls. */
int split_pop(struct virtqueue *vq, struct vq_chain *chain, struct vq_buf *bufs, unsigned max);
void split_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written);
unsigned split_pop_singles(struct virtqueue *vq, struct vq_single *out, unsigned n, bool writable);
void split_push_singles(struct virtqueue *vq, const struct vq_single *s, unsigned n, bool writable);
bool split_publish(struct virtqueue *vq);
unsigned split_avail(struct virtqueue *vq);
bool split_arm(struct virtqueue *vq);
void split_disarm(struct virtqueue *vq);

int packed_pop(struct virtqueue *vq, struct vq_chain *chain, struct vq_buf *bufs, unsigned max);
void packed_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written);
unsigned packed_pop_singles(struct virtqueue *vq, struct vq_single *out, unsigned n, bool writable);
void packed_push_singles(struct virtqueue *vq, const struct vq_single *s, unsigned n,
			 bool writable);
bool packed_publish(struct virtqueue *vq);
unsigned packed_avail(struct virtqueue *vq);
bool packed_arm(struct virtqueue *vq);
void packed_disarm(struct virtqueue *vq);

int bounce_create(struct virtqueue *vq);
void bounce_destroy(struct virtqueue *vq);
int bounce_pop(struct virtqueue *vq, struct vq_chain *chain, struct vq_buf *bufs, unsigned max);
void bounce_unpop(struct virtqueue *vq, unsigned chains);
void bounce_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written);
bool bounce_publish(struct virtqueue *vq);
unsigned bounce_avail(struct virtqueue *vq);
bool bounce_arm(struct virtqueue *vq);
void bounce_disarm(struct virtqueue *vq);

/* Moves the used position past a chain just pushed. */
static inline void packed_used_advance(struct virtqueue *vq, unsigned ndescs)
{
	packed_advance(vq, &vq->next_used, &vq->used_wrap, ndescs);
	vq->inflight = (uint16_t)(vq->inflight - ndescs);
	vq->pending = (uint16_t)(vq->pending + ndescs);
}

#endif
