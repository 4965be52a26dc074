/* SPDX-License-Identifier: BSD-3-Clause */
#include "vring.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#define F_AVAIL 0x80u
#define F_USED	0x8000u
#define WRAP	0x8000u

#define LOAD(p)		    __atomic_load_n((p), __ATOMIC_RELAXED)
#define LOAD_ACQUIRE(p)	    __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define STORE(p, v)	    __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define STORE_RELEASE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

static void full_barrier(void)
{
	uint32_t any = 0;

	__atomic_fetch_add(&any, 1, __ATOMIC_SEQ_CST);
}

static struct vring_desc *split_desc(const struct gvq *q)
{
	return (struct vring_desc *)q->desc;
}

static struct vring_avail *split_avail(const struct gvq *q)
{
	return (struct vring_avail *)q->driver;
}

static struct vring_used *split_used(const struct gvq *q)
{
	return (struct vring_used *)q->device;
}

static struct vring_packed_desc *packed_ring(const struct gvq *q)
{
	return (struct vring_packed_desc *)q->desc;
}

static size_t up(size_t v, size_t align)
{
	return (v + align - 1) & ~(align - 1);
}

struct layout {
	size_t driver, device, tables, end;
};

/* Parts the two sides write lie on cache lines of their own. */
static struct layout lay_out(const struct gvq_config *cfg)
{
	struct layout l;

	l.driver = up(16u * cfg->size, 64);
	l.device = up(l.driver + (cfg->packed ? 4 : 6 + 2u * cfg->size), 64);
	l.tables = up(l.device + (cfg->packed ? 4 : 6 + 8u * cfg->size), 64);
	l.end = l.tables + (cfg->indirect ? (size_t)cfg->size * GVQ_TABLE_MAX * 16 : 0);
	l.end = up(l.end, 4096);
	return l;
}

size_t gvq_bytes(const struct gvq_config *cfg)
{
	return lay_out(cfg).end;
}

int gvq_init(struct gvq *q, const struct gvq_config *cfg, void *mem, uint64_t addr)
{
	struct layout l = lay_out(cfg);
	unsigned i;

	memset(q, 0, sizeof(*q));
	memset(mem, 0, l.tables);
	q->cfg = *cfg;
	q->slots = calloc(cfg->size, sizeof(*q->slots));
	if (!q->slots)
		return -ENOMEM;
	for (i = 0; i < cfg->size; i++)
		q->slots[i].next = (uint16_t)(i + 1);
	q->desc = mem;
	q->driver = q->desc + l.driver;
	q->device = q->desc + l.device;
	q->tables = q->desc + l.tables;
	q->desc_addr = addr;
	q->driver_addr = addr + l.driver;
	q->device_addr = addr + l.device;
	q->table_addr = addr + l.tables;
	q->free_slots = cfg->size;
	q->avail_wrap = q->used_wrap = true;
	return 0;
}

void gvq_fini(struct gvq *q)
{
	free(q->slots);
	q->slots = NULL;
}

static uint16_t take_id(struct gvq *q, uint64_t cookie, unsigned ndescs)
{
	uint16_t id = q->free_head;

	q->free_head = q->slots[id].next;
	q->slots[id].cookie = cookie;
	q->slots[id].ndescs = (uint16_t)ndescs;
	q->free_slots = (uint16_t)(q->free_slots - ndescs);
	return id;
}

/* ---- split ---- */

static void split_announce(struct gvq *q, uint16_t head)
{
	STORE(&split_avail(q)->ring[(uint16_t)(q->avail + q->pending) & (q->cfg.size - 1)], head);
	q->pending++;
}

static void split_write(struct gvq *q, uint16_t i, const struct gvq_seg *s, uint16_t flags)
{
	struct vring_desc *d = &split_desc(q)[i];

	d->addr = s->addr;
	d->len = s->len;
	d->flags = flags;
}

static int split_add(struct gvq *q, const struct gvq_seg *segs, unsigned n, uint64_t cookie)
{
	uint16_t head = q->free_head, i = head, next;
	unsigned k;

	for (k = 0; k < n; k++) {
		next = q->slots[i].next;
		split_write(q, i, &segs[k],
			    (uint16_t)((segs[k].write ? VRING_DESC_F_WRITE : 0) |
				       (k + 1 < n ? VRING_DESC_F_NEXT : 0)));
		split_desc(q)[i].next = next;
		if (k + 1 < n)
			i = next;
	}
	/* The descriptors stay linked among themselves, as the free list is. */
	q->free_head = q->slots[i].next;
	q->slots[head].cookie = cookie;
	q->slots[head].ndescs = (uint16_t)n;
	q->free_slots = (uint16_t)(q->free_slots - n);
	split_announce(q, head);
	return 0;
}

static void split_free(struct gvq *q, uint16_t head)
{
	uint16_t i = head;
	unsigned k;

	for (k = 1; k < q->slots[head].ndescs; k++)
		i = q->slots[i].next;
	q->slots[i].next = q->free_head;
	q->free_head = head;
	q->free_slots = (uint16_t)(q->free_slots + q->slots[head].ndescs);
}

static bool split_publish(struct gvq *q)
{
	uint16_t old = q->avail;

	q->avail = (uint16_t)(q->avail + q->pending);
	q->pending = 0;
	STORE_RELEASE(&split_avail(q)->idx, q->avail);
	full_barrier();
	if (q->cfg.event_idx)
		return vring_need_event(LOAD((uint16_t *)&split_used(q)->ring[q->cfg.size]),
					q->avail, old);
	return !(LOAD(&split_used(q)->flags) & VRING_USED_F_NO_NOTIFY);
}

/* ---- packed ---- */

static void packed_step(const struct gvq *q, uint16_t *slot, bool *wrap, unsigned n)
{
	unsigned next = *slot + n;

	if (next >= q->cfg.size) {
		next -= q->cfg.size;
		*wrap = !*wrap;
	}
	*slot = (uint16_t)next;
}

static void packed_write(struct gvq *q, uint64_t addr, uint32_t len, uint16_t flags, uint16_t id)
{
	struct vring_packed_desc *d = &packed_ring(q)[q->avail];

	flags |= q->avail_wrap ? F_AVAIL : F_USED;
	d->addr = addr;
	d->len = len;
	d->id = id;
	if (q->pending) {
		STORE(&d->flags, flags);
	} else {
		q->first_slot = q->avail;
		q->first_flags = flags;
	}
	q->pending++;
	packed_step(q, &q->avail, &q->avail_wrap, 1);
}

static int packed_add(struct gvq *q, const struct gvq_seg *segs, unsigned n, uint64_t cookie)
{
	uint16_t id = take_id(q, cookie, n);
	unsigned k;

	for (k = 0; k < n; k++)
		packed_write(q, segs[k].addr, segs[k].len,
			     (uint16_t)((segs[k].write ? VRING_DESC_F_WRITE : 0) |
					(k + 1 < n ? VRING_DESC_F_NEXT : 0)),
			     id);
	return 0;
}

static bool packed_publish(struct gvq *q)
{
	int size = q->cfg.size, new = q->avail, old = new - q->pending, at;
	uint32_t event;
	uint16_t off_wrap, flags;

	q->pending = 0;
	STORE_RELEASE(&packed_ring(q)[q->first_slot].flags, q->first_flags);
	full_barrier();
	event = LOAD((uint32_t *)q->device);
	off_wrap = (uint16_t)event;
	flags = (uint16_t)(event >> 16);
	if (flags != 2)
		return flags != 1;
	at = off_wrap & ~WRAP;
	if (!!(off_wrap & WRAP) != q->avail_wrap)
		at -= size;
	return at >= old && at < new;
}

static bool packed_has_used(const struct gvq *q)
{
	uint16_t f = LOAD_ACQUIRE(&packed_ring(q)[q->used].flags);

	return !!(f & F_AVAIL) == q->used_wrap && !!(f & F_USED) == q->used_wrap;
}

/* ---- both ---- */

int gvq_add_table(struct gvq *q, const struct gvq_seg *segs, unsigned n, uint64_t cookie)
{
	uint16_t id = q->free_head;
	size_t off = (size_t)id * GVQ_TABLE_MAX * 16;
	struct vring_desc *t = (struct vring_desc *)(q->tables + off);
	struct gvq_seg whole = {q->table_addr + off, n * 16, false};
	unsigned k;

	if (!q->free_slots || n > GVQ_TABLE_MAX)
		return -ENOSPC;
	for (k = 0; k < n; k++) {
		uint16_t flags = segs[k].write ? VRING_DESC_F_WRITE : 0;

		t[k].addr = segs[k].addr;
		t[k].len = segs[k].len;
		/* the packed table has a reserved id there, and flags last */
		t[k].flags =
			q->cfg.packed ? 0 : (uint16_t)(flags | (k + 1 < n ? VRING_DESC_F_NEXT : 0));
		t[k].next = q->cfg.packed ? flags : (uint16_t)(k + 1);
	}
	id = take_id(q, cookie, 1);
	if (q->cfg.packed) {
		packed_write(q, whole.addr, whole.len, VRING_DESC_F_INDIRECT, id);
	} else {
		split_write(q, id, &whole, VRING_DESC_F_INDIRECT);
		split_announce(q, id);
	}
	return 0;
}

int gvq_add(struct gvq *q, const struct gvq_seg *segs, unsigned n, uint64_t cookie)
{
	if (q->cfg.indirect && n > 1)
		return gvq_add_table(q, segs, n, cookie);
	if (n > q->free_slots)
		return -ENOSPC;
	return q->cfg.packed ? packed_add(q, segs, n, cookie) : split_add(q, segs, n, cookie);
}

int gvq_add_one(struct gvq *q, uint64_t addr, uint32_t len, bool write, uint64_t cookie)
{
	struct gvq_seg s = {addr, len, write};
	uint16_t flags = write ? VRING_DESC_F_WRITE : 0, id;

	if (!q->free_slots)
		return -ENOSPC;
	id = take_id(q, cookie, 1);
	if (q->cfg.packed) {
		packed_write(q, addr, len, flags, id);
	} else {
		split_write(q, id, &s, flags);
		split_announce(q, id);
	}
	return 0;
}

bool gvq_publish(struct gvq *q)
{
	if (!q->pending)
		return false;
	return q->cfg.packed ? packed_publish(q) : split_publish(q);
}

bool gvq_has_used(const struct gvq *q)
{
	if (q->cfg.packed)
		return packed_has_used(q);
	return LOAD_ACQUIRE(&split_used(q)->idx) != q->used;
}

static bool take_split(struct gvq *q, uint64_t *cookie, uint32_t *len)
{
	struct vring_used_elem *e = &split_used(q)->ring[q->used & (q->cfg.size - 1)];
	uint32_t id = LOAD(&e->id);

	if (id >= q->cfg.size)
		abort(); /* the device is wrong */
	*len = LOAD(&e->len);
	*cookie = q->slots[id].cookie;
	q->used++;
	split_free(q, (uint16_t)id);
	return true;
}

static bool take_packed(struct gvq *q, uint64_t *cookie, uint32_t *len)
{
	struct vring_packed_desc *d = &packed_ring(q)[q->used];
	uint16_t id = LOAD(&d->id), n;

	if (id >= q->cfg.size)
		abort(); /* the device is wrong */
	n = q->slots[id].ndescs;
	*len = LOAD(&d->len);
	*cookie = q->slots[id].cookie;
	packed_step(q, &q->used, &q->used_wrap, n);
	q->slots[id].next = q->free_head;
	q->free_head = id;
	q->free_slots = (uint16_t)(q->free_slots + n);
	return true;
}

bool gvq_take(struct gvq *q, uint64_t *cookie, uint32_t *len)
{
	if (!gvq_has_used(q))
		return false;
	return q->cfg.packed ? take_packed(q, cookie, len) : take_split(q, cookie, len);
}

bool gvq_enable_irq(struct gvq *q)
{
	uint32_t event;

	if (q->cfg.packed) {
		event = q->used | (q->used_wrap ? WRAP : 0);
		STORE((uint32_t *)q->driver, q->cfg.event_idx ? event | 2u << 16 : 0);
	} else if (q->cfg.event_idx) {
		STORE(&split_avail(q)->ring[q->cfg.size], q->used);
	} else {
		STORE(&split_avail(q)->flags, 0);
	}
	full_barrier();
	return gvq_has_used(q);
}

void gvq_disable_irq(struct gvq *q)
{
	if (q->cfg.packed)
		STORE((uint32_t *)q->driver, 1u << 16);
	else if (!q->cfg.event_idx)
		STORE(&split_avail(q)->flags, VRING_AVAIL_F_NO_INTERRUPT);
	else
		/* behind what was taken: asks for nothing until the index comes round */
		STORE(&split_avail(q)->ring[q->cfg.size], (uint16_t)(q->used - 1));
}
