/* SPDX-License-Identifier: BSD-3-Clause */
/* From descriptors to pointers: what does not fit the short path of vq_walk_add(). */
#include <string.h>

#include "virtio/vq_private.h"

static int cannot_reach(struct virtqueue *vq, uint64_t addr)
{
	const struct dma_region *r = dma_view_find(vq->view, addr);

	/* No fd for this piece of memory: only the bounce lane can serve such a driver. */
	if (r && !r->ptr)
		vq->met_remote = true;
	return -EFAULT;
}

/*
 * Pieces whose pointers adjoin become one: behind an IOMMU each page of a buffer is a region of
 * its own, most often of consecutive pages of one file.
 */
int vq_walk_add_slow(struct virtqueue *vq, struct vq_walk *w, uint64_t addr, uint32_t len,
		     bool writable)
{
	uint32_t prot = writable ? DMA_PROT_WRITE : DMA_PROT_READ;
	unsigned first = w->n;
	uint64_t left = len, n;
	uint8_t *ptr;

	if (!range_no_wrap(addr, len))
		return -EFAULT;
	for (; left; left -= n, addr += n) {
		n = left;
		ptr = dma_view_segment(vq->view, addr, &n, prot, &vq->hint);
		if (!ptr)
			return cannot_reach(vq, addr);
		if (w->n > first &&
		    (uint8_t *)w->bufs[w->n - 1].ptr + w->bufs[w->n - 1].len == ptr) {
			w->bufs[w->n - 1].len += (uint32_t)n;
			continue;
		}
		if (w->n == w->max)
			return -EPROTO;
		w->bufs[w->n].ptr = ptr;
		w->bufs[w->n++].len = (uint32_t)n;
	}
	return 0;
}

/* Copies guest memory that may cross regions. */
static int copy_in(struct virtqueue *vq, uint64_t addr, void *buf, uint64_t len)
{
	uint8_t *to = buf, *from;
	uint64_t n;

	for (; len; len -= n, addr += n, to += n) {
		n = len;
		from = dma_view_segment(vq->view, addr, &n, DMA_PROT_READ, &vq->hint);
		if (!from)
			return cannot_reach(vq, addr);
		memcpy(to, from, n);
	}
	return 0;
}

struct table {
	const uint8_t *ptr; /* NULL: it crosses regions */
	uint64_t addr;
	uint32_t entries;
};

static int table_open(struct virtqueue *vq, const struct vq_desc *d, struct table *t)
{
	/* A descriptor that names a table has no next one and a whole number of entries (2.7.5.3).
	 * Its write flag is ignored. */
	if ((d->flags & VRING_DESC_F_NEXT) || !d->len || d->len % sizeof(struct vring_desc))
		return -EPROTO;
	if (!range_no_wrap(d->addr, d->len))
		return -EFAULT;
	t->addr = d->addr;
	t->entries = d->len / sizeof(struct vring_desc);
	t->ptr = dma_translate(vq->view, d->addr, d->len, DMA_PROT_READ, &vq->hint);
	return 0;
}

/* Entries have the layout of the ring's own descriptors: the packed one has its flags last. */
static int table_entry(struct virtqueue *vq, const struct table *t, uint32_t i, struct vq_desc *d)
{
	struct vring_desc raw;
	int err;

	if (likely(t->ptr)) {
		memcpy(&raw, t->ptr + (size_t)i * sizeof(raw), sizeof(raw));
	} else {
		err = copy_in(vq, t->addr + (uint64_t)i * sizeof(raw), &raw, sizeof(raw));
		if (err)
			return err;
	}
	/* From here on the copy is the truth: no second look at the guest's memory. */
	__asm__ volatile("" : "+m"(raw));
	d->addr = le64toh(raw.addr);
	d->len = le32toh(raw.len);
	d->flags = le16toh(vq->cfg.packed ? raw.next : raw.flags);
	d->next = le16toh(raw.next);
	return 0;
}

int vq_walk_indirect(struct virtqueue *vq, struct vq_walk *w, const struct vq_desc *d)
{
	bool follow_next = !vq->cfg.packed;
	uint32_t i = 0, seen = 0;
	struct vq_desc e;
	struct table t;
	int err;

	if (!vq->indirect)
		return -EPROTO;
	err = table_open(vq, d, &t);
	if (err)
		return err;
	for (;;) {
		/* A table of n entries has no chain of more than n: a loop ends here. */
		if (i >= t.entries || seen++ >= t.entries)
			return -EPROTO;
		err = table_entry(vq, &t, i, &e);
		if (err)
			return err;
		if (follow_next && (e.flags & VRING_DESC_F_INDIRECT))
			return -EPROTO;
		err = vq_walk_add(vq, w, e.addr, e.len, e.flags & VRING_DESC_F_WRITE);
		if (err)
			return err;
		if (follow_next) {
			if (!(e.flags & VRING_DESC_F_NEXT))
				return 0;
			i = e.next;
		} else if (++i == t.entries) {
			return 0;
		}
	}
}
