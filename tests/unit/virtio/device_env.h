/* SPDX-License-Identifier: BSD-3-Clause */
/* A virtio device on a PCI function with memory, driven through BAR accesses. */
#ifndef TESTS_UNIT_VIRTIO_DEVICE_ENV_H
#define TESTS_UNIT_VIRTIO_DEVICE_ENV_H

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <sys/eventfd.h>

#include "pci/function.h"
#include "ring_env.h"
#include "util/bytes.h"
#include "util/util.h"
#include "virtio/device.h"
#include "worker/mailbox.h"
#include "worker/worker.h"

#define QUEUES	3
#define VECTORS 8
#define CFG_LEN 20
#define FEATURES                                                                                   \
	(BIT_ULL(5) | BIT_ULL(28) | BIT_ULL(29) | BIT_ULL(32) | BIT_ULL(33) | BIT_ULL(34) |        \
	 BIT_ULL(35) | BIT_ULL(36) | BIT_ULL(40))

/* Offsets in the common configuration structure. */
enum {
	DEVICE_FEATURE_SELECT = 0x00,
	DEVICE_FEATURE = 0x04,
	DRIVER_FEATURE_SELECT = 0x08,
	DRIVER_FEATURE = 0x0c,
	CONFIG_VECTOR = 0x10,
	NUM_QUEUES = 0x12,
	DEVICE_STATUS = 0x14,
	GENERATION = 0x15,
	QUEUE_SELECT = 0x16,
	QUEUE_SIZE = 0x18,
	QUEUE_VECTOR = 0x1a,
	QUEUE_ENABLE = 0x1c,
	QUEUE_NOTIFY_OFF = 0x1e,
	QUEUE_DESC = 0x20,
	QUEUE_DRIVER = 0x28,
	QUEUE_DEVICE = 0x30,
	QUEUE_RESET = 0x3a,
	ADMIN_INDEX = 0x3c,
	ADMIN_NUM = 0x3e,
};

struct model {
	struct virtio_device *vd;
	struct pci_function *fn;
	struct worker_pool *pool;
	struct dma_space *dma;
	uint8_t *mem;
	int fd;
	int irq[VECTORS];
	/* what the ops saw */
	unsigned driver_oks, resets, notifies[QUEUES + 1], starts[QUEUES + 1], stops[QUEUES + 1];
	struct virtqueue *vqs[QUEUES + 1];
	bool refuse_features;
	int start_error;
	struct virtio_device *vfs[4];
	unsigned num_vfs;
};

static inline int m_features_ok(struct virtio_device *vd, uint64_t features)
{
	struct model *m = virtio_device_opaque(vd);

	return m->refuse_features ? -EINVAL : 0;
}

static inline void m_driver_ok(struct virtio_device *vd)
{
	((struct model *)virtio_device_opaque(vd))->driver_oks++;
}

static inline int m_queue_start(struct virtio_device *vd, unsigned i, struct virtqueue *vq)
{
	struct model *m = virtio_device_opaque(vd);

	if (m->start_error)
		return m->start_error;
	assert_true(virtio_device_driver_ok(vd));
	m->starts[i]++;
	m->vqs[i] = vq;
	return 0;
}

static inline void m_queue_stop(struct virtio_device *vd, unsigned i)
{
	struct model *m = virtio_device_opaque(vd);

	assert_non_null(m->vqs[i]);
	m->stops[i]++;
	m->vqs[i] = NULL;
}

static inline void m_queue_notify(struct virtio_device *vd, unsigned i)
{
	((struct model *)virtio_device_opaque(vd))->notifies[i]++;
}

static inline void m_reset(struct virtio_device *vd)
{
	struct model *m = virtio_device_opaque(vd);

	for (unsigned i = 0; i < QUEUES; i++)
		assert_null(m->vqs[i]);
	m->resets++;
}

static const struct virtio_device_ops m_ops = {
	.features_ok = m_features_ok,
	.driver_ok = m_driver_ok,
	.queue_start = m_queue_start,
	.queue_stop = m_queue_stop,
	.queue_notify = m_queue_notify,
	.reset = m_reset,
};

static inline void m_drop_vfs(struct model *m)
{
	while (m->num_vfs) {
		struct virtio_device *vf = m->vfs[--m->num_vfs];

		pci_pf_remove_vf(m->fn, virtio_device_function(vf));
		virtio_device_destroy(vf);
	}
}

static inline int m_sriov_enable(struct virtio_device *vd, uint16_t n)
{
	struct model *m = virtio_device_opaque(vd);
	struct virtio_device_desc d = {
		.name = "nic0/vf",
		.virtio_id = 1,
		.class_code = 0x020000,
		.features = FEATURES | BIT_ULL(37) | BIT_ULL(41),
		.num_queues = QUEUES,
		.queue_size_max = 256,
		.ops = &m_ops,
		.opaque = m,
		.pf = m->fn,
		.pool = m->pool,
	};

	for (m->num_vfs = 0; m->num_vfs < n; m->num_vfs++) {
		d.vf_index = (uint16_t)m->num_vfs;
		assert_int_equal(virtio_device_create(&d, &m->vfs[m->num_vfs]), 0);
		pci_pf_add_vf(m->fn, virtio_device_function(m->vfs[m->num_vfs]));
	}
	return 0;
}

static inline void m_sriov_disable(struct virtio_device *vd)
{
	m_drop_vfs(virtio_device_opaque(vd));
}

static const struct dma_remote_ops m_remote_ops; /* never called */

static inline void m_open(struct model *m, uint16_t total_vfs, bool strict)
{
	struct virtio_device_desc d = {
		.name = "nic0/pf",
		.virtio_id = 1,
		.class_code = 0x020000,
		.features = FEATURES,
		.num_queues = QUEUES,
		.queue_size_max = 256,
		.config_len = CFG_LEN,
		.ops = &m_ops,
		.opaque = m,
		.total_vfs = total_vfs,
		.admin_strict = strict,
		.sriov_enable = m_sriov_enable,
		.sriov_disable = m_sriov_disable,
	};
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT};

	memset(m, 0, sizeof(*m));
	assert_int_equal(worker_pool_create(1, &m->pool), 0);
	d.pool = m->pool;
	assert_int_equal(virtio_device_create(&d, &m->vd), 0);
	m->fn = virtio_device_function(m->vd);
	m->fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(m->fd, ENV_SIZE), 0);
	m->mem = mmap(NULL, ENV_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	assert_int_equal(dma_space_create("test", &m_remote_ops, NULL, &m->dma), 0);
	assert_int_equal(dma_space_map(m->dma, ENV_BASE, ENV_SIZE, RW, m->fd, 0), 0);
	att.dma = m->dma;
	assert_int_equal(pci_function_attach(m->fn, &att), 0);
	for (unsigned i = 0; i < VECTORS; i++)
		m->irq[i] = -1;
}

static inline void m_close(struct model *m)
{
	pci_function_detach(m->fn);
	virtio_device_destroy(m->vd);
	dma_space_destroy(m->dma);
	worker_pool_destroy(m->pool);
	munmap(m->mem, ENV_SIZE);
	close(m->fd);
	for (unsigned i = 0; i < VECTORS; i++)
		if (m->irq[i] >= 0)
			close(m->irq[i]);
}

static inline uint64_t rd(struct model *m, unsigned off, unsigned len)
{
	uint8_t buf[8] = {0};

	assert_int_equal(pci_bar_read(m->fn, VIRTIO_BAR_CONFIG, off, buf, len), 0);
	return get_le64(buf);
}

static inline void wr(struct model *m, unsigned off, unsigned len, uint64_t v)
{
	uint8_t buf[8];

	put_le64(buf, v);
	assert_int_equal(pci_bar_write(m->fn, VIRTIO_BAR_CONFIG, off, buf, len), 0);
}

static inline void m_bus_master(struct model *m, bool on)
{
	uint8_t cmd[2];

	put_le16(cmd, on ? PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY : PCI_COMMAND_MEMORY);
	assert_int_equal(pci_config_write(m->fn, PCI_VIEW_VMM, PCI_COMMAND, cmd, 2), 0);
}

static inline uint8_t m_negotiate(struct model *m, uint64_t features)
{
	wr(m, DEVICE_STATUS, 1, 1);
	wr(m, DEVICE_STATUS, 1, 3);
	wr(m, DRIVER_FEATURE_SELECT, 4, 0);
	wr(m, DRIVER_FEATURE, 4, (uint32_t)features);
	wr(m, DRIVER_FEATURE_SELECT, 4, 1);
	wr(m, DRIVER_FEATURE, 4, features >> 32);
	wr(m, DEVICE_STATUS, 1, 11);
	return (uint8_t)rd(m, DEVICE_STATUS, 1);
}

/* Queue i's ring in memory at its own megabyte. */
static inline void m_ring(struct model *m, unsigned i, struct gvq *q, struct gvq_config cfg)
{
	size_t off = (size_t)i << 20;

	assert_int_equal(gvq_init(q, &cfg, m->mem + off, ENV_BASE + off), 0);
	wr(m, QUEUE_SELECT, 2, i);
	wr(m, QUEUE_SIZE, 2, cfg.size);
	wr(m, QUEUE_DESC, 4, (uint32_t)q->desc_addr);
	wr(m, QUEUE_DESC + 4, 4, q->desc_addr >> 32);
	wr(m, QUEUE_DRIVER, 8, q->driver_addr);
	wr(m, QUEUE_DEVICE, 8, q->device_addr);
	wr(m, QUEUE_ENABLE, 2, 1);
}

static inline void m_vector(struct model *m, unsigned v)
{
	m->irq[v] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pci_irq_set_fd(m->fn, v, dup(m->irq[v]));
}

/* How often a vector was raised since last asked. */
static inline uint64_t m_irqs(struct model *m, unsigned v)
{
	uint64_t n = 0;

	return read(m->irq[v], &n, sizeof(n)) == sizeof(n) ? n : 0;
}

#endif
