/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The common configuration structure (virtio 1.3, 4.1.4.3): a table of fields. An access may
 * cover any bytes: a partial write changes those bytes of the field's present value, which is how
 * the 64-bit fields are written as two halves.
 */
#include "util/bytes.h"
#include "virtio/dev_private.h"

struct field {
	uint8_t off, size;
	uint64_t (*read)(struct virtio_device *vd);
	void (*write)(struct virtio_device *vd, uint64_t v); /* NULL: read-only */
};

static uint64_t offered(const struct virtio_device *vd)
{
	return vd->desc.features;
}

static struct virtio_queue *selected(struct virtio_device *vd)
{
	return vd->queue_select < vd->num_queues ? &vd->queues[vd->queue_select] : NULL;
}

/* The selected queue while its set-up may still change. */
static struct virtio_queue *configurable(struct virtio_device *vd)
{
	struct virtio_queue *q = selected(vd);

	return q && !q->enabled ? q : NULL;
}

static uint64_t feature_word(uint64_t bits, uint32_t select)
{
	return select < 2 ? (uint32_t)(bits >> (32 * select)) : 0;
}

static uint64_t read_device_feature_select(struct virtio_device *vd)
{
	return vd->device_feature_select;
}

static void write_device_feature_select(struct virtio_device *vd, uint64_t v)
{
	vd->device_feature_select = (uint32_t)v;
}

static uint64_t read_device_feature(struct virtio_device *vd)
{
	return feature_word(offered(vd), vd->device_feature_select);
}

static uint64_t read_driver_feature_select(struct virtio_device *vd)
{
	return vd->driver_feature_select;
}

static void write_driver_feature_select(struct virtio_device *vd, uint64_t v)
{
	vd->driver_feature_select = (uint32_t)v;
}

static uint64_t read_driver_feature(struct virtio_device *vd)
{
	return feature_word(vd->driver_features, vd->driver_feature_select);
}

static void write_driver_feature(struct virtio_device *vd, uint64_t v)
{
	unsigned shift = 32 * vd->driver_feature_select;

	/* Features are fixed once FEATURES_OK is set (3.1.1). */
	if (vd->driver_feature_select > 1 || vd->status & VIRTIO_CONFIG_S_FEATURES_OK)
		return;
	vd->driver_features &= ~(0xffffffffull << shift);
	vd->driver_features |= (v & 0xffffffffull) << shift;
}

/* A vector that does not exist reads back as none (4.1.5.1.3). */
static uint16_t valid_vector(const struct virtio_device *vd, uint64_t v)
{
	return v < pci_function_num_vectors(vd->fn) ? (uint16_t)v : VIRTIO_MSI_NO_VECTOR;
}

static uint64_t read_config_vector(struct virtio_device *vd)
{
	return atomic_load(&vd->config_vector);
}

static void write_config_vector(struct virtio_device *vd, uint64_t v)
{
	atomic_store(&vd->config_vector, valid_vector(vd, v));
}

static uint64_t read_num_queues(struct virtio_device *vd)
{
	return vd->desc.num_queues;
}

static uint64_t read_status(struct virtio_device *vd)
{
	return virtio_device_status(vd);
}

static void write_status(struct virtio_device *vd, uint64_t v)
{
	device_set_status(vd, (uint8_t)v);
}

/*
 * 4.1.4.3.1: differs from the last value read whenever the configuration changed since. A counter
 * stepped at each change could come round between two reads; this one cannot.
 */
static uint64_t read_generation(struct virtio_device *vd)
{
	if (vd->config_changed) {
		vd->config_changed = false;
		vd->generation++;
	}
	return vd->generation;
}

static uint64_t read_queue_select(struct virtio_device *vd)
{
	return vd->queue_select;
}

static void write_queue_select(struct virtio_device *vd, uint64_t v)
{
	vd->queue_select = (uint16_t)v;
}

static uint64_t read_queue_size(struct virtio_device *vd)
{
	struct virtio_queue *q = selected(vd);

	return q ? q->size : 0;
}

static void write_queue_size(struct virtio_device *vd, uint64_t v)
{
	struct virtio_queue *q = configurable(vd);

	if (!q || !v || v > queue_size_max(vd, vd->queue_select))
		return;
	if (!is_pow2(v) && !has_feature(vd, VIRTIO_BIT_RING_PACKED))
		return;
	q->size = (uint16_t)v;
}

static uint64_t read_queue_vector(struct virtio_device *vd)
{
	struct virtio_queue *q = selected(vd);

	return q ? atomic_load(&q->vector) : VIRTIO_MSI_NO_VECTOR;
}

static void write_queue_vector(struct virtio_device *vd, uint64_t v)
{
	struct virtio_queue *q = selected(vd);

	if (q)
		atomic_store(&q->vector, valid_vector(vd, v));
}

static uint64_t read_queue_enable(struct virtio_device *vd)
{
	struct virtio_queue *q = selected(vd);

	return q && q->enabled;
}

static void write_queue_enable(struct virtio_device *vd, uint64_t v)
{
	/* Writing 0 is forbidden to the driver (4.1.4.3.2), and means nothing. */
	if (v == 1 && selected(vd))
		queue_enable(vd, vd->queue_select);
}

static uint64_t read_queue_notify_off(struct virtio_device *vd)
{
	return selected(vd) ? vd->queue_select : 0;
}

static uint64_t read_queue_desc(struct virtio_device *vd)
{
	struct virtio_queue *q = selected(vd);

	return q ? q->desc : 0;
}

static void write_queue_desc(struct virtio_device *vd, uint64_t v)
{
	struct virtio_queue *q = configurable(vd);

	if (q)
		q->desc = v;
}

static uint64_t read_queue_driver(struct virtio_device *vd)
{
	struct virtio_queue *q = selected(vd);

	return q ? q->driver : 0;
}

static void write_queue_driver(struct virtio_device *vd, uint64_t v)
{
	struct virtio_queue *q = configurable(vd);

	if (q)
		q->driver = v;
}

static uint64_t read_queue_device(struct virtio_device *vd)
{
	struct virtio_queue *q = selected(vd);

	return q ? q->device : 0;
}

static void write_queue_device(struct virtio_device *vd, uint64_t v)
{
	struct virtio_queue *q = configurable(vd);

	if (q)
		q->device = v;
}

/* Also queue_reset: it is complete before the write ends, so it never reads 1. */
static uint64_t read_zero(struct virtio_device *vd)
{
	return 0;
}

static void write_queue_reset(struct virtio_device *vd, uint64_t v)
{
	struct virtio_queue *q = selected(vd);

	if (v == 1 && q && q->enabled && has_feature(vd, VIRTIO_BIT_RING_RESET))
		queue_reset(vd, vd->queue_select);
}

static uint64_t read_admin_queue_index(struct virtio_device *vd)
{
	return vd->admin ? vd->desc.num_queues : 0;
}

static uint64_t read_admin_queue_num(struct virtio_device *vd)
{
	return vd->admin ? 1 : 0;
}

static const struct field fields[] = {
	{0x00, 4, read_device_feature_select, write_device_feature_select},
	{0x04, 4, read_device_feature, NULL},
	{0x08, 4, read_driver_feature_select, write_driver_feature_select},
	{0x0c, 4, read_driver_feature, write_driver_feature},
	{0x10, 2, read_config_vector, write_config_vector},
	{0x12, 2, read_num_queues, NULL},
	{0x14, 1, read_status, write_status},
	{0x15, 1, read_generation, NULL},
	{0x16, 2, read_queue_select, write_queue_select},
	{0x18, 2, read_queue_size, write_queue_size},
	{0x1a, 2, read_queue_vector, write_queue_vector},
	{0x1c, 2, read_queue_enable, write_queue_enable},
	{0x1e, 2, read_queue_notify_off, NULL},
	{0x20, 8, read_queue_desc, write_queue_desc},
	{0x28, 8, read_queue_driver, write_queue_driver},
	{0x30, 8, read_queue_device, write_queue_device},
	{0x38, 2, read_queue_notify_off, NULL}, /* queue_notif_config_data */
	{0x3a, 2, read_zero, write_queue_reset},
	{0x3c, 2, read_admin_queue_index, NULL},
	{0x3e, 2, read_admin_queue_num, NULL},
};

/* The part of [off, off + len) that lies in the field: first byte within it, and how many. */
static unsigned overlap(const struct field *f, unsigned off, unsigned len, unsigned *first)
{
	unsigned from = MAX(off, (unsigned)f->off), to = MIN(off + len, (unsigned)f->off + f->size);

	if (from >= to)
		return 0;
	*first = from - f->off;
	return to - from;
}

void common_cfg_read(struct virtio_device *vd, unsigned off, uint8_t *buf, unsigned len)
{
	uint8_t value[8];
	unsigned first, n;

	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
		n = overlap(&fields[i], off, len, &first);
		if (!n)
			continue;
		put_le64(value, fields[i].read(vd));
		memcpy(buf + (fields[i].off + first - off), value + first, n);
	}
}

void common_cfg_write(struct virtio_device *vd, unsigned off, const uint8_t *buf, unsigned len)
{
	uint8_t value[8];
	unsigned first, n;

	for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
		n = overlap(&fields[i], off, len, &first);
		if (!n || !fields[i].write)
			continue;
		put_le64(value, n < fields[i].size ? fields[i].read(vd) : 0);
		memcpy(value + first, buf + (fields[i].off + first - off), n);
		fields[i].write(vd, get_le64(value));
	}
}
