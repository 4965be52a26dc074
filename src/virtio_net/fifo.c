/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames on their way to a receive queue whose memory can only be reached by asking the client:
 * private copies, in order, bounded. The sender never waits; what does not fit is dropped.
 *
 * A ring of bytes with free-running positions. Each entry lies in one piece; a gap entry fills
 * the end of the ring where the next one would not.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "virtio_net/vnet.h"

struct entry {
	uint32_t size; /* with this header, a multiple of it */
	uint32_t len;  /* of the frame; 0: a gap */
	struct net_offload offload;
} __attribute__((aligned(32)));
_Static_assert(sizeof(struct entry) == 32, "divides the ring");

struct vnet_fifo {
	_Alignas(CACHE_LINE) _Atomic uint32_t head; /* producer */
	_Alignas(CACHE_LINE) _Atomic uint32_t tail; /* consumer */
	_Alignas(CACHE_LINE) uint8_t data[VNET_FIFO_SIZE];
};

_Static_assert((VNET_FIFO_SIZE & (VNET_FIFO_SIZE - 1)) == 0, "positions wrap at 2^32");
_Static_assert(VNET_FIFO_SIZE >= 4 * (NET_FRAME_MAX + sizeof(struct entry)), "");

int vnet_fifo_create(struct vnet_fifo **out)
{
	struct vnet_fifo *f = aligned_alloc(CACHE_LINE, sizeof(*f));

	if (!f)
		return -ENOMEM;
	atomic_init(&f->head, 0);
	atomic_init(&f->tail, 0);
	*out = f;
	return 0;
}

void vnet_fifo_destroy(struct vnet_fifo *fifo)
{
	free(fifo);
}

bool vnet_fifo_put(struct vnet_fifo *fifo, const struct net_frame *f)
{
	uint32_t head = atomic_load_explicit(&fifo->head, memory_order_relaxed);
	uint32_t tail = atomic_load_explicit(&fifo->tail, memory_order_acquire);
	uint32_t size = align_up(sizeof(struct entry) + f->len, sizeof(struct entry));
	uint32_t at = head % VNET_FIFO_SIZE;
	uint32_t gap = VNET_FIFO_SIZE - at < size ? VNET_FIFO_SIZE - at : 0;
	struct entry *e;

	if (size + gap > VNET_FIFO_SIZE - (head - tail))
		return false;
	if (gap) {
		e = (struct entry *)(fifo->data + at);
		e->size = gap;
		e->len = 0;
		at = 0;
	}
	e = (struct entry *)(fifo->data + at);
	e->size = size;
	e->len = f->len;
	e->offload = f->offload;
	net_frame_copy(f, 0, e + 1, f->len);
	atomic_store_explicit(&fifo->head, head + gap + size, memory_order_release);
	return true;
}

bool vnet_fifo_empty(struct vnet_fifo *fifo)
{
	return atomic_load_explicit(&fifo->head, memory_order_acquire) ==
	       atomic_load_explicit(&fifo->tail, memory_order_relaxed);
}

static struct entry *front(struct vnet_fifo *fifo)
{
	uint32_t tail = atomic_load_explicit(&fifo->tail, memory_order_relaxed);

	return (struct entry *)(fifo->data + tail % VNET_FIFO_SIZE);
}

void vnet_fifo_drop(struct vnet_fifo *fifo)
{
	uint32_t tail = atomic_load_explicit(&fifo->tail, memory_order_relaxed);

	atomic_store_explicit(&fifo->tail, tail + front(fifo)->size, memory_order_release);
}

bool vnet_fifo_peek(struct vnet_fifo *fifo, struct net_frame *f, struct net_seg *seg)
{
	const struct entry *e;
	const uint8_t *bytes;

	if (vnet_fifo_empty(fifo))
		return false;
	if (!front(fifo)->len)
		vnet_fifo_drop(fifo); /* a frame follows each gap */
	e = front(fifo);
	bytes = (const uint8_t *)(e + 1);
	f->len = e->len;
	f->offload = e->offload;
	f->not_taken = false;
	f->head_off = NET_HEAD_ROOM;
	f->head_len = MIN(e->len, (uint32_t)NET_HEAD_MAX);
	memcpy(net_frame_head(f), bytes, f->head_len);
	f->nsegs = f->len > f->head_len;
	f->segs = seg;
	seg->ptr = bytes + f->head_len;
	seg->len = f->len - f->head_len;
	return true;
}
