/* SPDX-License-Identifier: BSD-3-Clause */
/* The device as a whole: creation, BAR dispatch, status, reset, interrupts, configuration. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "virtio/dev_private.h"

#define VENDOR_VIRTIO	 0x1af4
#define DEVICE_ID_MODERN 0x1040
#define REVISION_MODERN	 1

/* ---- BARs ---- */

static void isr_read(struct virtio_device *vd, uint8_t *buf)
{
	buf[0] = atomic_exchange(&vd->isr, 0); /* reading clears (4.1.4.5) */
}

void device_bar_read(struct pci_function *fn, unsigned bar, uint64_t off, void *buf, uint32_t len)
{
	struct virtio_device *vd = pci_function_opaque(fn);

	memset(buf, 0, len);
	if (bar != VIRTIO_BAR_CONFIG || !len)
		return;
	if (off < ISR_OFF) {
		if (off < COMMON_LEN)
			common_cfg_read(vd, (unsigned)off, buf,
					(unsigned)MIN((uint64_t)len, COMMON_LEN - off));
	} else if (off < CONFIG_OFF) {
		if (off == ISR_OFF)
			isr_read(vd, buf);
	} else if (off < NOTIFY_OFF) {
		off -= CONFIG_OFF;
		if (off < vd->desc.config_len)
			memcpy(buf, vd->config + off,
			       MIN((uint64_t)len, vd->desc.config_len - off));
	}
}

static void config_write(struct virtio_device *vd, uint64_t off, uint32_t len)
{
	if (vd->desc.ops->config_written && range_ok(off, len, vd->desc.config_len))
		vd->desc.ops->config_written(vd, (unsigned)off, len);
}

/*
 * Each queue has its own address, so that alone says which is meant; the value repeats it, with
 * the ring position when NOTIFICATION_DATA was negotiated, which we need not know.
 */
static void notify_write(struct virtio_device *vd, uint64_t off)
{
	if (off % NOTIFY_MULT == 0 && off / NOTIFY_MULT < vd->num_queues)
		queue_kick(vd, (unsigned)(off / NOTIFY_MULT));
}

void device_bar_write(struct pci_function *fn, unsigned bar, uint64_t off, const void *buf,
		      uint32_t len)
{
	struct virtio_device *vd = pci_function_opaque(fn);

	if (bar != VIRTIO_BAR_CONFIG || !len)
		return;
	if (off >= NOTIFY_OFF)
		notify_write(vd, off - NOTIFY_OFF);
	else if (off < COMMON_LEN)
		common_cfg_write(vd, (unsigned)off, buf,
				 (unsigned)MIN((uint64_t)len, COMMON_LEN - off));
	else if (off >= CONFIG_OFF)
		config_write(vd, off - CONFIG_OFF, len);
}

/* ---- status and reset ---- */

static bool features_acceptable(struct virtio_device *vd)
{
	uint64_t f = vd->driver_features;

	if ((f & ~vd->desc.features) || !(f & BIT_ULL(VIRTIO_BIT_VERSION_1)))
		return false;
	return !vd->desc.ops->features_ok || vd->desc.ops->features_ok(vd, f) == 0;
}

static void start(struct virtio_device *vd)
{
	if (vd->desc.ops->driver_ok)
		vd->desc.ops->driver_ok(vd);
	queues_start(vd);
}

/* 2.1: bits are only ever added by the driver, but for 0, which resets. */
void device_set_status(struct virtio_device *vd, uint8_t value)
{
	uint8_t old = atomic_load(&vd->status);
	uint8_t added = (uint8_t)(value & ~old & ~VIRTIO_CONFIG_S_NEEDS_RESET);

	if (!value) {
		device_reset(vd);
		return;
	}
	if (added & VIRTIO_CONFIG_S_FEATURES_OK) {
		if (features_acceptable(vd))
			atomic_store(&vd->features, vd->driver_features);
		else
			added &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	}
	/* Nothing starts without negotiated features. */
	if (!((old | added) & VIRTIO_CONFIG_S_FEATURES_OK))
		added &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	atomic_store(&vd->status, old | added);
	if (added & VIRTIO_CONFIG_S_DRIVER_OK)
		start(vd);
}

/* Complete when it returns, so that status reads 0 at once. VFs live on (2.13, SR_IOV). */
void device_reset(struct virtio_device *vd)
{
	atomic_store(&vd->status, 0); /* no interrupt from here on */
	queues_stop(vd);
	mailbox_cancel(&vd->broken_work);
	if (vd->desc.ops->reset)
		vd->desc.ops->reset(vd);
	queues_destroy(vd);
	admin_reset(vd);
	atomic_store(&vd->features, 0);
	atomic_store(&vd->isr, 0);
	atomic_store(&vd->broken, false);
	atomic_store(&vd->config_vector, VIRTIO_MSI_NO_VECTOR);
	vd->driver_features = 0;
	vd->device_feature_select = vd->driver_feature_select = 0;
	vd->queue_select = 0;
}

static void end_own_worker(struct virtio_device *vd)
{
	if (vd->own_worker)
		worker_destroy(vd->own_worker);
	vd->own_worker = NULL;
}

static void close_doorbells(struct virtio_device *vd)
{
	for (unsigned i = 0; i < vd->num_queues; i++) {
		if (vd->queues[i].doorbell >= 0)
			close(vd->queues[i].doorbell);
		vd->queues[i].doorbell = -1;
	}
}

static void function_reset(struct pci_function *fn, enum pci_reset kind)
{
	struct virtio_device *vd = pci_function_opaque(fn);

	device_reset(vd);
	if (kind != PCI_RESET_DETACH)
		return;
	/* Whoever had them may have kept them: the next owner's doorbells are not his to ring, or
	 * to jam. */
	close_doorbells(vd);
	vd->bounce_until_detach = false;
	end_own_worker(vd);
}

static void function_dma_changed(struct pci_function *fn, bool on)
{
	struct virtio_device *vd = pci_function_opaque(fn);

	if (on)
		queues_start(vd);
	else
		queues_stop(vd);
}

static int function_sriov_enable(struct pci_function *fn, uint16_t num_vfs)
{
	struct virtio_device *vd = pci_function_opaque(fn);

	return vd->desc.sriov_enable ? vd->desc.sriov_enable(vd, num_vfs) : -EOPNOTSUPP;
}

static void function_sriov_disable(struct pci_function *fn)
{
	struct virtio_device *vd = pci_function_opaque(fn);

	if (vd->desc.sriov_disable)
		vd->desc.sriov_disable(vd);
}

static const struct pci_function_ops function_ops = {
	.bar_read = device_bar_read,
	.bar_write = device_bar_write,
	.reset = function_reset,
	.dma_changed = function_dma_changed,
	.cap_read = pci_cfg_cap_read,
	.cap_written = pci_cfg_cap_written,
	.sriov_enable = function_sriov_enable,
	.sriov_disable = function_sriov_disable,
};

/* ---- creation ---- */

static void broken_run(struct mailbox_work *work)
{
	queues_stop(container_of(work, struct virtio_device, broken_work));
}

static void set_bars(struct pci_bar_desc *bars)
{
	bars[VIRTIO_BAR_CONFIG] = (struct pci_bar_desc){VIRTIO_BAR2_SIZE, true, true};
	bars[VIRTIO_BAR_MSIX] = (struct pci_bar_desc){VIRTIO_BAR4_SIZE, true, true};
}

static int create_function(struct virtio_device *vd)
{
	const struct virtio_device_desc *d = &vd->desc;
	uint16_t id = (uint16_t)(DEVICE_ID_MODERN + d->virtio_id);
	struct pci_function_desc fd = {
		.name = vd->name,
		.vendor_id = VENDOR_VIRTIO,
		.device_id = id,
		.subsystem_vendor_id = VENDOR_VIRTIO,
		.subsystem_id = id,
		.revision = REVISION_MODERN,
		.class_code = d->class_code,
		.msix = {.vectors = (uint16_t)(vd->num_queues + 1),
			 .bar = VIRTIO_BAR_MSIX,
			 .table_off = 0,
			 .pba_off = 0x1000},
		.pf = d->pf,
		.vf_index = d->vf_index,
		.ops = &function_ops,
		.opaque = vd,
	};

	set_bars(fd.bars);
	if (d->total_vfs) {
		fd.sriov.total_vfs = fd.sriov.initial_vfs = d->total_vfs;
		fd.sriov.vf_device_id = id;
		set_bars(fd.sriov.vf_bars);
	}
	return pci_function_create(&fd, &vd->fn);
}

/* SR_IOV is offered by who has the capability and by nobody else (6, bit 37). */
static void settle_features(struct virtio_device *vd)
{
	uint64_t pf_bits = BIT_ULL(VIRTIO_BIT_SR_IOV) | BIT_ULL(VIRTIO_BIT_ADMIN_VQ);

	vd->desc.features |= BIT_ULL(VIRTIO_BIT_VERSION_1);
	vd->desc.features &= ~(pf_bits | BIT_ULL(VIRTIO_BIT_NOTIF_CONFIG));
	if (!vd->desc.pf && vd->desc.total_vfs)
		vd->desc.features |= pf_bits;
}

static bool desc_ok(const struct virtio_device_desc *d)
{
	return d->num_queues && d->num_queues <= VIRTIO_QUEUES_MAX && is_pow2(d->queue_size_max) &&
	       d->queue_size_max <= VQ_SIZE_MAX && d->config_len <= VIRTIO_CONFIG_MAX && d->ops &&
	       d->name && d->ops->queue_start && d->ops->queue_stop && d->ops->queue_notify;
}

int virtio_device_create(const struct virtio_device_desc *desc, struct virtio_device **out)
{
	struct virtio_device *vd;
	unsigned i;
	int err;

	if (!desc_ok(desc))
		return -EINVAL;
	vd = calloc(1, sizeof(*vd));
	if (!vd)
		return -ENOMEM;
	vd->desc = *desc;
	vd->broken_work.run = broken_run;
	atomic_store(&vd->config_vector, VIRTIO_MSI_NO_VECTOR);
	settle_features(vd);
	vd->num_queues = desc->num_queues;
	for (i = 0; i < ARRAY_SIZE(vd->queues); i++)
		vd->queues[i].doorbell = -1;
	vd->name = strdup(desc->name);
	err = vd->name ? 0 : -ENOMEM;
	if (!err && vd->desc.features & BIT_ULL(VIRTIO_BIT_ADMIN_VQ)) {
		err = admin_create(vd);
		vd->num_queues++;
	}
	for (i = 0; i < vd->num_queues; i++)
		queue_registers_reset(vd, i);
	if (!err)
		err = create_function(vd);
	if (!err)
		err = capabilities_add(vd);
	if (err) {
		virtio_device_destroy(vd);
		return err;
	}
	*out = vd;
	return 0;
}

void virtio_device_destroy(struct virtio_device *vd)
{
	if (!vd)
		return;
	if (vd->fn) {
		queues_stop(vd);
		queues_destroy(vd);
		mailbox_cancel(&vd->broken_work);
		pci_function_destroy(vd->fn);
	}
	admin_destroy(vd);
	end_own_worker(vd);
	close_doorbells(vd);
	free(vd->name);
	free(vd);
}

/* ---- what others ask ---- */

struct pci_function *virtio_device_function(struct virtio_device *vd)
{
	return vd->fn;
}

void *virtio_device_opaque(const struct virtio_device *vd)
{
	return vd->desc.opaque;
}

uint64_t virtio_device_features(const struct virtio_device *vd)
{
	return atomic_load_explicit(&vd->features, memory_order_relaxed);
}

uint8_t virtio_device_status(const struct virtio_device *vd)
{
	uint8_t s = atomic_load(&vd->status);

	return s | (virtio_device_broken(vd) ? VIRTIO_CONFIG_S_NEEDS_RESET : 0);
}

bool virtio_device_driver_ok(const struct virtio_device *vd)
{
	return atomic_load_explicit(&vd->status, memory_order_acquire) & VIRTIO_CONFIG_S_DRIVER_OK;
}

bool virtio_device_broken(const struct virtio_device *vd)
{
	return atomic_load_explicit(&vd->broken, memory_order_acquire);
}

struct worker *virtio_device_worker(struct virtio_device *vd)
{
	if (!vd->bounce)
		return worker_pool_pick(vd->desc.pool);
	if (!vd->own_worker && worker_create(vd->name, WORKER_MAY_BLOCK, &vd->own_worker))
		vd->own_worker = NULL;
	return vd->own_worker;
}

/* ---- interrupts and configuration ---- */

static void isr_set(struct virtio_device *vd, uint8_t bit)
{
	if (!(atomic_load_explicit(&vd->isr, memory_order_relaxed) & bit))
		atomic_fetch_or(&vd->isr, bit);
}

/* The ISR bit comes first, MSI-X or not (4.1.5.4). */
static void config_irq(struct virtio_device *vd)
{
	if (!virtio_device_driver_ok(vd))
		return;
	isr_set(vd, ISR_CONFIG);
	pci_irq_raise(vd->fn, atomic_load(&vd->config_vector));
}

void virtio_device_queue_irq(struct virtio_device *vd, unsigned index)
{
	if (!virtio_device_driver_ok(vd))
		return;
	isr_set(vd, ISR_QUEUE);
	pci_irq_raise(vd->fn,
		      atomic_load_explicit(&vd->queues[index].vector, memory_order_relaxed));
}

void virtio_device_set_needs_reset(struct virtio_device *vd, const char *why)
{
	if (atomic_exchange(&vd->broken, true))
		return;
	log_guest(&vd->log, "%s: needs a reset by its driver: %s", vd->name, why);
	config_irq(vd);
	mailbox_post(&vd->broken_work);
}

void virtio_device_config_set(struct virtio_device *vd, unsigned off, const void *buf, unsigned len,
			      bool changed)
{
	if (!range_ok(off, len, vd->desc.config_len))
		return;
	if (memcmp(vd->config + off, buf, len))
		vd->config_changed = true;
	memcpy(vd->config + off, buf, len);
	if (changed)
		config_irq(vd);
}

void virtio_device_config_get(const struct virtio_device *vd, unsigned off, void *buf, unsigned len)
{
	memset(buf, 0, len);
	if (range_ok(off, len, vd->desc.config_len))
		memcpy(buf, vd->config + off, len);
}
