/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doorbells, and their shadows in guest memory (5.7). The device never writes a shadow, so what one
 * holds when it comes cannot be told from a value that the host has written since: until it
 * changes, or the register is written, the register's value holds. The EventIdx published at that
 * moment is that value, so that the host does write the register.
 *
 * While the queue is polled the event index is kept just behind the host: it then rings once in a
 * lap at most, and needs no store for each command.
 */
#include "nvme/group_private.h"

void nvme_doorbell_init(struct nvme_doorbell *d, uint16_t index, uint16_t size,
			_Atomic uint32_t *page)
{
	*d = (struct nvme_doorbell){.index = index, .size = size, .bad = UINT32_MAX};
	d->reg = page ? &page[index] : &d->bar;
	atomic_store(d->reg, 0);
}

/* Told once for each bad value, whatever the host does. */
void nvme_doorbell_bad(struct nvme_group *g, struct nvme_doorbell *d, uint32_t v)
{
	if (v == d->bad)
		return;
	d->bad = v;
	log_guest(&g->ctrl->log, "%s: doorbell %u: %u is no valid value", g->ctrl->name, d->index,
		  v);
	nvme_event_post(g->ctrl, NVME_AER_ERROR, NVME_AER_ERROR_INVALID_DB_VAL, NVME_LOG_LID_ERROR);
}

static uint16_t read_slot(struct nvme_group *g, struct nvme_doorbell *d, uint32_t *v)
{
	uint16_t st;

	if (g->shadow) {
		*v = __atomic_load_n(&g->shadow[d->index], __ATOMIC_ACQUIRE);
		return 0;
	}
	st = nvme_mem_read(&g->mem, g->shadow_addr + 4ull * d->index, v, sizeof(*v));
	*v = le32toh(*v);
	return st;
}

static void write_event(struct nvme_group *g, struct nvme_doorbell *d, uint32_t v)
{
	d->event = v;
	if (g->eventidx) {
		__atomic_store_n(&g->eventidx[d->index], htole32(v), __ATOMIC_RELEASE);
		return;
	}
	v = htole32(v);
	nvme_mem_write(&g->mem, g->eventidx_addr + 4ull * d->index, &v, sizeof(v));
}

void nvme_dbbuf_publish(struct nvme_group *g, struct nvme_doorbell *d, uint32_t event)
{
	if (d->event != event || !g->eventidx)
		write_event(g, d, event);
}

/* Just behind the host: it rings again after a lap at most. */
void nvme_dbbuf_hush(struct nvme_group *g, struct nvme_doorbell *d)
{
	write_event(g, d, d->value ? d->value - 1 : d->size - 1u);
}

uint32_t nvme_doorbell_take(struct nvme_group *g, struct nvme_doorbell *d, uint32_t v)
{
	v = le32toh(v);
	if (unlikely(v >= d->size))
		nvme_doorbell_bad(g, d, v);
	else
		d->value = v;
	return d->value;
}

/* A value that differs from the last good one. */
uint32_t nvme_dbbuf_take(struct nvme_group *g, struct nvme_doorbell *d, uint32_t v)
{
	v = nvme_doorbell_take(g, d, v);
	if (nvme_ring_distance(d->event, v, d->size) > d->size / 2u)
		nvme_dbbuf_hush(g, d);
	return v;
}

/* The register was written since the shadows came; the page's slot counts when it changes. */
static bool rung(const struct nvme_doorbell *d)
{
	return atomic_load_explicit(&d->rung, memory_order_acquire) ||
	       le32toh(atomic_load_explicit(d->reg, memory_order_acquire)) != d->value;
}

uint32_t nvme_dbbuf_read(struct nvme_group *g, struct nvme_doorbell *d)
{
	uint32_t v;

	if (read_slot(g, d, &v))
		return d->value;
	if (!d->synced) {
		if (v == d->initial && !rung(d))
			return d->value;
		d->synced = true;
		/* the register was written after the shadow, which may not have been seen above */
		if (read_slot(g, d, &v))
			return d->value;
	}
	return v == d->value ? v : nvme_dbbuf_take(g, d, v);
}

void nvme_dbbuf_begin(struct nvme_group *g, struct nvme_doorbell *d)
{
	uint32_t bar;

	if (d->index < 2)
		return;
	bar = nvme_doorbell_take(g, d, atomic_load(d->reg));
	if (read_slot(g, d, &d->initial))
		d->initial = 0; /* most likely */
	d->synced = d->initial == bar;
	write_event(g, d, bar);
}
