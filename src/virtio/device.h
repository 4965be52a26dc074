/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A modern virtio device on PCI (virtio 1.3, 4.1): the five capability types, common
 * configuration, feature negotiation, status, queue set-up and reset, ISR, configuration
 * generation, and for a PF the administration virtqueue (2.13). A device type (net) supplies
 * struct virtio_device_ops.
 *
 * Layout: BAR2 (64-bit): common at 0, ISR at 1000h, device configuration at 2000h, notify at
 * 3000h with multiplier 4. BAR4 (64-bit): MSI-X table at 0, PBA at 1000h. BAR0 stays empty: a VMM
 * may put a legacy I/O BAR there.
 *
 * Threads: all ops run on the control thread. Queues are used by data-path threads; the ops'
 * owner stops them (worker_remove, worker_synchronize) when it is told to.
 */
#ifndef SOFTIOV_VIRTIO_DEVICE_H
#define SOFTIOV_VIRTIO_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "pci/function.h"
#include "virtio/virtqueue.h"
#include "worker/worker.h"

#define VIRTIO_BAR_CONFIG 2
#define VIRTIO_BAR_MSIX	  4
#define VIRTIO_BAR2_SIZE  0x4000
#define VIRTIO_BAR4_SIZE  0x2000
#define VIRTIO_QUEUES_MAX 64
#define VIRTIO_CONFIG_MAX 256

struct virtio_device;

struct virtio_device_ops {
	/* The driver accepted these features (FEATURES_OK is being set): 0, or -EINVAL to refuse
	 * a combination. */
	int (*features_ok)(struct virtio_device *vd, uint64_t features);
	/* DRIVER_OK was set: start. Every queue enabled so far is passed through queue_start
	 * afterwards. */
	void (*driver_ok)(struct virtio_device *vd);
	/* A queue is to run (enabled and DRIVER_OK). vq is ready; it stays valid until
	 * queue_stop() returns. The op hands it to its pollers. 0 or -errno (breaks the device). */
	int (*queue_start)(struct virtio_device *vd, unsigned index, struct virtqueue *vq);
	/* Stop using the queue: on return no thread touches it. Device reset, queue reset, detach,
	 * FLR, DMA withdrawn while it was running (fact: may be started again later). */
	void (*queue_stop)(struct virtio_device *vd, unsigned index);
	/* The driver kicked. */
	void (*queue_notify)(struct virtio_device *vd, unsigned index);
	/* The device is being reset (all queues stopped already): forget driver state. */
	void (*reset)(struct virtio_device *vd);
	/* Device configuration space was written (all fields are read-only in modern net; ignore).
	 */
	void (*config_written)(struct virtio_device *vd, unsigned off, unsigned len);
};

struct virtio_device_desc {
	const char *name;	 /* "nic0/vf3" */
	uint16_t virtio_id;	 /* 1: network. PCI Device ID is 1040h + this */
	uint32_t class_code;	 /* 020000h */
	uint64_t features;	 /* all device features offered, transport bits included; SR_IOV and
				    ADMIN_VQ are added for a PF with total_vfs > 0 */
	unsigned num_queues;	 /* without the admin queue */
	uint16_t queue_size_max; /* power of two */
	unsigned config_len;	 /* bytes of device configuration */
	const struct virtio_device_ops *ops;
	void *opaque;
	/* PCI identity */
	struct pci_function *pf; /* of a VF */
	uint16_t vf_index;
	uint16_t total_vfs;	  /* of a PF */
	struct worker_pool *pool; /* whose workers serve its queues */
	bool admin_strict;	  /* fail list queries while VF Enable = 0, to the letter of 2.13 */
	/* SR-IOV life cycle, passed to the PCI function (struct pci_function_ops) with the opaque
	 */
	int (*sriov_enable)(struct virtio_device *vd, uint16_t num_vfs);
	void (*sriov_disable)(struct virtio_device *vd);
};

/* Creates the device and its PCI function. 0 or -errno. Control, as everything below unless said
 * otherwise. */
int virtio_device_create(const struct virtio_device_desc *desc, struct virtio_device **out);
void virtio_device_destroy(struct virtio_device *vd);

struct pci_function *virtio_device_function(struct virtio_device *vd);
void *virtio_device_opaque(const struct virtio_device *vd);
uint64_t virtio_device_features(const struct virtio_device *vd); /* negotiated; any thread */
uint8_t virtio_device_status(const struct virtio_device *vd);
bool virtio_device_driver_ok(const struct virtio_device *vd); /* any thread */

/* Device configuration: copies len bytes to off; the generation steps if they differ from what was
 * there (4.1.4.3.1). With changed a configuration interrupt tells the driver, once DRIVER_OK. */
void virtio_device_config_set(struct virtio_device *vd, unsigned off, const void *buf, unsigned len,
			      bool changed);
void virtio_device_config_get(const struct virtio_device *vd, unsigned off, void *buf,
			      unsigned len);

/* Raises the queue's interrupt (and the ISR bit). Any thread. */
void virtio_device_queue_irq(struct virtio_device *vd, unsigned index);

/*
 * The driver or the device broke a rule that cannot be answered: DEVICE_NEEDS_RESET is set and a
 * configuration interrupt raised; queues stop being served. Only this device. Any thread (from a
 * worker it is passed to the control thread's side by an atomic flag; the status reads it).
 */
void virtio_device_set_needs_reset(struct virtio_device *vd, const char *why);
bool virtio_device_broken(const struct virtio_device *vd); /* any thread */

/*
 * The worker that is to serve a queue of this device: one of the pool, or, when its queues are
 * remote (vq_is_remote()), the device's own WORKER_MAY_BLOCK worker (started when first asked for,
 * ended when the function is detached), so that only this function waits. NULL if it cannot be
 * started. They are remote when a ring has no pointer at DRIVER_OK, or once a buffer had none
 * since the function was attached (that device then breaks, and is right after its next reset).
 */
struct worker *virtio_device_worker(struct virtio_device *vd);

/* The queue's eventfd doorbell for clients that ask for one (GET_REGION_IO_FDS); created on
 * first use; -1 if it cannot be. poller_watch_fd() it. The fd lives until the function is
 * detached. */
int virtio_device_doorbell_fd(struct virtio_device *vd, unsigned index);
uint64_t virtio_device_doorbell_offset(const struct virtio_device *vd, unsigned index);
unsigned virtio_device_num_queues(const struct virtio_device *vd); /* with the admin queue */
bool virtio_device_queue_enabled(const struct virtio_device *vd, unsigned index);

#endif
