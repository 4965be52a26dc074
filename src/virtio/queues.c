/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When a queue runs: enabled by the driver, DRIVER_OK, the device not broken, and DMA permitted.
 * The ring's position outlives a withdrawal of DMA (Bus Master Enable, D3hot), so that it goes on
 * where it was.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "virtio/dev_private.h"

static bool is_admin(const struct virtio_device *vd, unsigned index)
{
	return index == vd->desc.num_queues;
}

uint16_t queue_size_max(const struct virtio_device *vd, unsigned index)
{
	return is_admin(vd, index) ? ADMIN_QUEUE_SIZE : vd->desc.queue_size_max;
}

void queue_registers_reset(struct virtio_device *vd, unsigned index)
{
	struct virtio_queue *q = &vd->queues[index];

	q->size = queue_size_max(vd, index);
	q->desc = q->driver = q->device = 0;
	atomic_store(&q->enabled, false);
	atomic_store(&q->vector, VIRTIO_MSI_NO_VECTOR);
}

static struct vq_config ring_config(const struct virtio_device *vd, const struct virtio_queue *q)
{
	return (struct vq_config){
		.size = q->size,
		.packed = has_feature(vd, VIRTIO_BIT_RING_PACKED),
		.event_idx = has_feature(vd, VIRTIO_BIT_EVENT_IDX),
		.indirect = has_feature(vd, VIRTIO_BIT_INDIRECT_DESC),
		.bounce = vd->bounce,
		.desc = q->desc,
		.driver = q->driver,
		.device = q->device,
	};
}

/* One ring without a pointer makes the whole device work on copies, on a worker of its own. */
static void choose_bounce(struct virtio_device *vd, struct dma_space *dma)
{
	struct vq_config cfg;
	unsigned i;

	vd->bounce = vd->bounce || vd->bounce_until_detach;
	for (i = 0; i < vd->num_queues && !vd->bounce; i++) {
		if (!vd->queues[i].enabled)
			continue;
		cfg = ring_config(vd, &vd->queues[i]);
		vd->bounce = !vq_rings_have_pointers(dma, &cfg);
	}
}

static int make_ring(struct virtio_device *vd, unsigned index, struct dma_space *dma)
{
	struct virtio_queue *q = &vd->queues[index];
	struct vq_config cfg = ring_config(vd, q);
	int err;

	if (q->vq)
		return 0;
	err = vq_create(dma, &cfg, &q->vq);
	if (err)
		log_guest(&vd->log, "%s: queue %u: the rings cannot be used (%d)", vd->name, index,
			  err);
	return err;
}

static void start_one(struct virtio_device *vd, unsigned index, struct dma_space *dma)
{
	struct virtio_queue *q = &vd->queues[index];
	int err;

	if (!q->enabled || q->running || virtio_device_broken(vd))
		return;
	if (is_admin(vd, index) && !has_feature(vd, VIRTIO_BIT_ADMIN_VQ))
		return;
	if (make_ring(vd, index, dma)) {
		virtio_device_set_needs_reset(vd, "rings out of reach");
		return;
	}
	q->running = true;
	if (is_admin(vd, index))
		err = admin_start(vd, q->vq);
	else
		err = vd->desc.ops->queue_start(vd, index, q->vq);
	if (err) {
		q->running = false;
		virtio_device_set_needs_reset(vd, "a queue could not be started");
	}
}

void queues_start(struct virtio_device *vd)
{
	struct dma_space *dma = pci_function_dma(vd->fn);
	unsigned i;

	if (!virtio_device_driver_ok(vd) || !dma)
		return;
	choose_bounce(vd, dma);
	for (i = 0; i < vd->num_queues; i++)
		start_one(vd, i, dma);
}

static void stop_one(struct virtio_device *vd, unsigned index)
{
	struct virtio_queue *q = &vd->queues[index];

	if (!q->running)
		return;
	q->running = false;
	if (is_admin(vd, index))
		admin_stop(vd);
	else
		vd->desc.ops->queue_stop(vd, index);
}

void queues_stop(struct virtio_device *vd)
{
	unsigned i;

	for (i = 0; i < vd->num_queues; i++)
		stop_one(vd, i);
}

static void destroy_ring(struct virtio_device *vd, unsigned index)
{
	struct virtio_queue *q = &vd->queues[index];

	if (q->vq && vq_met_remote(q->vq) && !vd->bounce_until_detach) {
		log_guest(&vd->log,
			  "%s: memory without a file descriptor is used for buffers: "
			  "serving it by messages from now on",
			  vd->name);
		vd->bounce_until_detach = true;
	}
	vq_destroy(q->vq);
	q->vq = NULL;
}

void queues_destroy(struct virtio_device *vd)
{
	unsigned i;

	for (i = 0; i < vd->num_queues; i++) {
		stop_one(vd, i);
		destroy_ring(vd, i);
		queue_registers_reset(vd, i);
	}
	vd->bounce = false;
}

void queue_enable(struct virtio_device *vd, unsigned index)
{
	if (vd->queues[index].enabled)
		return;
	atomic_store(&vd->queues[index].enabled, true);
	queues_start(vd);
}

/* 2.6.1: on return nothing of the queue is used any more; it can be enabled anew. */
void queue_reset(struct virtio_device *vd, unsigned index)
{
	atomic_store(&vd->queues[index].enabled, false);
	stop_one(vd, index);
	destroy_ring(vd, index);
	queue_registers_reset(vd, index);
}

void queue_kick(struct virtio_device *vd, unsigned index)
{
	if (index >= vd->num_queues || !vd->queues[index].running)
		return;
	if (is_admin(vd, index))
		admin_kick(vd);
	else
		vd->desc.ops->queue_notify(vd, index);
}

int virtio_device_doorbell_fd(struct virtio_device *vd, unsigned index)
{
	struct virtio_queue *q = &vd->queues[index];

	if (index >= vd->num_queues)
		return -1;
	if (q->doorbell < 0)
		q->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return q->doorbell;
}

uint64_t virtio_device_doorbell_offset(const struct virtio_device *vd, unsigned index)
{
	return NOTIFY_OFF + (uint64_t)index * NOTIFY_MULT;
}

unsigned virtio_device_num_queues(const struct virtio_device *vd)
{
	return vd->num_queues;
}

bool virtio_device_queue_enabled(const struct virtio_device *vd, unsigned index)
{
	return index < vd->num_queues && atomic_load(&vd->queues[index].enabled);
}
