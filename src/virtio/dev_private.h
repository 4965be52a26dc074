/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to the virtio-pci files: the device's state, and what they call of each other. */
#ifndef SOFTIOV_VIRTIO_DEV_PRIVATE_H
#define SOFTIOV_VIRTIO_DEV_PRIVATE_H

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "util/log.h"
#include "util/util.h"
#include "virtio/device.h"
#include "worker/mailbox.h"

/* Feature bits that older system headers lack (virtio 1.3, 6). */
#define VIRTIO_BIT_VERSION_1	 32
#define VIRTIO_BIT_INDIRECT_DESC 28
#define VIRTIO_BIT_EVENT_IDX	 29
#define VIRTIO_BIT_RING_PACKED	 34
#define VIRTIO_BIT_SR_IOV	 37
#define VIRTIO_BIT_NOTIF_CONFIG	 39
#define VIRTIO_BIT_RING_RESET	 40
#define VIRTIO_BIT_ADMIN_VQ	 41

/* Where the structures lie in VIRTIO_BAR_CONFIG. */
#define COMMON_OFF  0x0000
#define COMMON_LEN  64
#define ISR_OFF	    0x1000
#define CONFIG_OFF  0x2000
#define NOTIFY_OFF  0x3000
#define NOTIFY_MULT 4

#define ISR_QUEUE  1
#define ISR_CONFIG 2

#define ADMIN_QUEUE_SIZE 64

struct virtio_queue {
	/* registers; control */
	uint16_t size;
	uint64_t desc, driver, device;
	struct virtqueue *vq; /* kept while DMA is withdrawn, so that its position is */
	bool running;	      /* handed to the owner */
	int doorbell;	      /* eventfd or -1 */
	/* also read by the data path */
	_Atomic bool enabled;
	_Atomic uint16_t vector;
};

struct virtio_admin;

struct virtio_device {
	struct virtio_device_desc desc;
	struct pci_function *fn;
	char *name;

	/* read or changed by any thread */
	_Atomic uint64_t features; /* negotiated; 0 until FEATURES_OK */
	_Atomic uint8_t status;	   /* without DEVICE_NEEDS_RESET */
	_Atomic uint8_t isr;
	_Atomic bool broken;
	_Atomic uint16_t config_vector;
	struct mailbox_work broken_work;
	struct log_limit log;

	/* control */
	uint64_t driver_features;
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select;
	uint8_t generation;
	bool config_changed;	  /* since generation was last read */
	bool bounce;		  /* queues work on private copies... */
	bool bounce_until_detach; /* ...since that was once found to be needed */
	struct worker *own_worker;
	uint8_t cap_pci_cfg; /* offset of the PCI_CFG capability */
	unsigned num_queues; /* with the admin queue */
	struct virtio_queue queues[VIRTIO_QUEUES_MAX + 1];
	uint8_t config[VIRTIO_CONFIG_MAX];
	struct virtio_admin *admin; /* NULL: none */
};

static inline bool has_feature(const struct virtio_device *vd, unsigned bit)
{
	return virtio_device_features(vd) & BIT_ULL(bit);
}

/* common_cfg.c: accesses to the common configuration structure; off + len within it. */
void common_cfg_read(struct virtio_device *vd, unsigned off, uint8_t *buf, unsigned len);
void common_cfg_write(struct virtio_device *vd, unsigned off, const uint8_t *buf, unsigned len);

/* capabilities.c */
int capabilities_add(struct virtio_device *vd);
void pci_cfg_cap_read(struct pci_function *fn, uint8_t cap, unsigned off, unsigned len);
void pci_cfg_cap_written(struct pci_function *fn, uint8_t cap, unsigned off, unsigned len);

/* device.c */
void device_bar_read(struct pci_function *fn, unsigned bar, uint64_t off, void *buf, uint32_t len);
void device_bar_write(struct pci_function *fn, unsigned bar, uint64_t off, const void *buf,
		      uint32_t len);
void device_set_status(struct virtio_device *vd, uint8_t value);
void device_reset(struct virtio_device *vd);

/* queues.c: the queues' life; index < num_queues. */
uint16_t queue_size_max(const struct virtio_device *vd, unsigned index);
void queue_registers_reset(struct virtio_device *vd, unsigned index);
void queue_enable(struct virtio_device *vd, unsigned index);
void queue_reset(struct virtio_device *vd, unsigned index);
void queues_start(struct virtio_device *vd); /* those that may run and do not */
void queues_stop(struct virtio_device *vd);
void queues_destroy(struct virtio_device *vd);
void queue_kick(struct virtio_device *vd, unsigned index);

/* admin.c */
int admin_create(struct virtio_device *vd);
void admin_destroy(struct virtio_device *vd);
int admin_start(struct virtio_device *vd, struct virtqueue *vq);
void admin_stop(struct virtio_device *vd);
void admin_kick(struct virtio_device *vd);
void admin_reset(struct virtio_device *vd);

#endif
