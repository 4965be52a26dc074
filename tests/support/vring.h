/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's side of a virtqueue (virtio 1.3, 2.7 and 2.8), for tests and benchmarks: the
 * counterpart of src/virtio's device side, sharing no code with it.
 *
 * Adding and taking single buffers is cheap enough for a load generator. One thread at a time.
 */
#ifndef TESTS_SUPPORT_VRING_H
#define TESTS_SUPPORT_VRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GVQ_TABLE_MAX 64 /* entries of one indirect table */

struct gvq_config {
	uint16_t size;
	bool packed, event_idx, indirect;
};

struct gvq_seg {
	uint64_t addr; /* guest address */
	uint32_t len;
	bool write; /* the device writes; these come last */
};

struct gvq_slot {
	uint64_t cookie;
	uint16_t ndescs;
	uint16_t next; /* free list */
};

struct gvq {
	struct gvq_config cfg;
	uint8_t *desc, *driver, *device; /* ring parts, as pointers */
	uint64_t desc_addr, driver_addr, device_addr, table_addr;
	uint8_t *tables;
	uint16_t free_slots; /* descriptors */
	uint16_t free_head;  /* split: descriptor; packed: id */
	uint16_t avail;	     /* split: index to come; packed: slot */
	uint16_t used;
	uint16_t pending; /* added, not published: split: chains, packed: slots */
	uint16_t first_slot, first_flags;
	bool avail_wrap, used_wrap;
	struct gvq_slot *slots;
};

/* Bytes of guest memory that a queue takes (tables included), a multiple of 4096. */
size_t gvq_bytes(const struct gvq_config *cfg);
/* Lays the rings out in mem (zeroed by it), which the guest sees at addr. 0 or -ENOMEM. */
int gvq_init(struct gvq *q, const struct gvq_config *cfg, void *mem, uint64_t addr);
void gvq_fini(struct gvq *q);

/* Adds a chain, not yet visible; with indirect tables when configured and n > 1 or always_table.
 * 0 or -ENOSPC. */
int gvq_add(struct gvq *q, const struct gvq_seg *segs, unsigned n, uint64_t cookie);
int gvq_add_table(struct gvq *q, const struct gvq_seg *segs, unsigned n, uint64_t cookie);
/* One buffer, the quick way. */
int gvq_add_one(struct gvq *q, uint64_t addr, uint32_t len, bool write, uint64_t cookie);

/* Makes what was added visible. True when the device wants a kick. */
bool gvq_publish(struct gvq *q);

/* Takes a used chain. */
bool gvq_take(struct gvq *q, uint64_t *cookie, uint32_t *len);

/* Whether gvq_take() would give one. */
bool gvq_has_used(const struct gvq *q);

/* Asks for an interrupt with the next used chain; true when there is one already. */
bool gvq_enable_irq(struct gvq *q);
void gvq_disable_irq(struct gvq *q);

static inline unsigned gvq_free(const struct gvq *q)
{
	return q->free_slots;
}

#endif
