/* SPDX-License-Identifier: BSD-3-Clause */
/* What a VMM and its firmware do: connection, memory, interrupts, capabilities. */
#include "guest.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest_private.h"
#include "util/bytes.h"

#define FDS_A_MESSAGE 8
#define MEMORY_SPARE  (1u << 20)

static int mem_read(void *opaque, uint64_t addr, void *buf, uint64_t len)
{
	struct guest *g = opaque;

	if (addr < GUEST_BASE || addr - GUEST_BASE > g->mem_len ||
	    len > g->mem_len - (addr - GUEST_BASE))
		return -EFAULT;
	memcpy(buf, g->mem + (addr - GUEST_BASE), len);
	return 0;
}

static int mem_write(void *opaque, uint64_t addr, const void *buf, uint64_t len)
{
	struct guest *g = opaque;

	if (addr < GUEST_BASE || addr - GUEST_BASE > g->mem_len ||
	    len > g->mem_len - (addr - GUEST_BASE))
		return -EFAULT;
	memcpy(g->mem + (addr - GUEST_BASE), buf, len);
	return 0;
}

/* As much as the largest choice of features needs. */
static size_t memory_needed(const struct guest_config *c)
{
	struct gvq_config q = {c->queue_size, false, true, true};
	size_t pair = 2 * gvq_bytes(&q) +
		      (size_t)c->queue_size * ((size_t)c->rx_buf_len + c->tx_buf_len) + 16384;

	return (c->pairs + 1) * pair + MEMORY_SPARE;
}

int guest_make_memory(struct guest *g)
{
	int flags = MAP_SHARED, err;

	g->mem_len = g->cfg.memory ? g->cfg.memory : memory_needed(&g->cfg);
	g->mem_len = (g->mem_len + 0x1fffff) & ~(size_t)0x1fffff;
	if (g->cfg.no_fd) {
		flags = MAP_PRIVATE | MAP_ANONYMOUS;
		g->memory_ops =
			(struct vfu_client_memory_ops){mem_read, mem_write, g->cfg.layout28};
		vfu_client_set_memory(g->client, &g->memory_ops, g);
	} else {
		g->mem_fd = memfd_create("guest", MFD_CLOEXEC);
		if (g->mem_fd < 0 || ftruncate(g->mem_fd, (off_t)g->mem_len))
			return -errno;
	}
	g->mem = mmap(NULL, g->mem_len, PROT_READ | PROT_WRITE, flags, g->mem_fd, 0);
	if (g->mem == MAP_FAILED) {
		err = -errno;
		g->mem = NULL;
		return err;
	}
	return 0;
}

static int map_memory(struct guest *g)
{
	int err = guest_make_memory(g);

	if (err)
		return err;
	return vfu_client_dma_map(g->client, GUEST_BASE, g->mem_len,
				  VFU_DMA_READABLE | VFU_DMA_WRITEABLE, g->mem_fd, 0);
}

void *guest_alloc(struct guest *g, size_t len, uint64_t *addr)
{
	size_t at = g->mem_used;

	len = (len + 63) & ~(size_t)63;
	if (len > g->mem_len - at)
		return NULL;
	g->mem_used += len;
	*addr = GUEST_BASE + at;
	return g->mem + at;
}

static int set_up_interrupts(struct guest *g)
{
	struct vfio_irq_info info = {.argsz = sizeof(info)};
	unsigned i, n;
	int err;

	err = vfu_client_irq_info(g->client, VFIO_PCI_MSIX_IRQ_INDEX, &info);
	if (err)
		return err;
	g->num_vectors = info.count < GUEST_VECTORS_MAX ? info.count : GUEST_VECTORS_MAX;
	for (i = 0; i < g->num_vectors; i++) {
		g->irq[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (g->irq[i] < 0)
			return -errno;
	}
	for (i = 0; i < g->num_vectors; i += n) {
		n = g->num_vectors - i < FDS_A_MESSAGE ? g->num_vectors - i : FDS_A_MESSAGE;
		err = vfu_client_set_irqs(g->client,
					  VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
					  VFIO_PCI_MSIX_IRQ_INDEX, i, n, NULL, 0, &g->irq[i], n);
		if (err)
			return err;
	}
	return 0;
}

static int enable_bus_master(struct guest *g)
{
	uint8_t cmd[2];

	put_le16(cmd, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	return vfu_client_region_write(g->client, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, cmd, 2,
				       false);
}

static void take_capability(struct guest *g, const uint8_t *cap)
{
	struct guest_window w = {true, cap[VIRTIO_PCI_CAP_BAR],
				 get_le32(cap + VIRTIO_PCI_CAP_OFFSET),
				 get_le32(cap + VIRTIO_PCI_CAP_LENGTH)};
	struct guest_window *to = NULL;

	switch (cap[VIRTIO_PCI_CAP_CFG_TYPE]) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		to = &g->common;
		break;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		to = &g->notify;
		g->notify_mult = get_le32(cap + VIRTIO_PCI_NOTIFY_CAP_MULT);
		break;
	case VIRTIO_PCI_CAP_ISR_CFG:
		to = &g->isr;
		break;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		to = &g->device;
		break;
	default:
		return;
	}
	if (!to->found)
		*to = w;
}

static int read_capabilities(struct guest *g)
{
	uint8_t c[256 + 32] = {0}, at, flags[2];
	unsigned hops = 0;
	int err;

	err = vfu_client_region_read(g->client, VFIO_PCI_CONFIG_REGION_INDEX, 0, c, 256);
	if (err)
		return err;
	for (at = c[PCI_CAPABILITY_LIST]; at >= 0x40 && hops++ < 48; at = c[at + 1]) {
		if (c[at] == PCI_CAP_ID_VNDR)
			take_capability(g, c + at);
		if (c[at] != PCI_CAP_ID_MSIX)
			continue;
		put_le16(flags, get_le16(c + at + PCI_MSIX_FLAGS) | PCI_MSIX_FLAGS_ENABLE);
		err = vfu_client_region_write(g->client, VFIO_PCI_CONFIG_REGION_INDEX,
					      at + PCI_MSIX_FLAGS, flags, 2, false);
		if (err)
			return err;
	}
	return g->common.found && g->notify.found && g->isr.found && g->device.found ? 0 : -ENODEV;
}

void guest_set_defaults(struct guest_config *c)
{
	if (!c->features)
		c->features = GUEST_F_DEFAULT;
	c->features |= GUEST_F_VERSION_1;
	if (!c->pairs)
		c->pairs = 1;
	if (!c->queue_size)
		c->queue_size = 256;
	if (!c->rx_buf_len)
		c->rx_buf_len = 2048;
	if (!c->tx_buf_len)
		c->tx_buf_len = 2048;
	if (!c->timeout_ms)
		c->timeout_ms = 5000;
}

int guest_connect(const struct guest_config *cfg, struct guest **out)
{
	struct guest *g;
	unsigned i;
	int err;

	if (cfg->pairs > GUEST_PAIRS_MAX)
		return -EINVAL;
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->cfg = *cfg;
	guest_set_defaults(&g->cfg);
	g->mem_fd = -1;
	for (i = 0; i < GUEST_VECTORS_MAX; i++)
		g->irq[i] = -1;
	for (i = 0; i < GUEST_QUEUES_MAX; i++)
		g->queues[i].doorbell = -1;
	err = vfu_client_connect(cfg->path, g->cfg.timeout_ms, &g->client);
	if (!err)
		err = map_memory(g);
	if (!err)
		err = set_up_interrupts(g);
	if (!err)
		err = read_capabilities(g);
	if (!err)
		err = enable_bus_master(g);
	if (err) {
		guest_close(g);
		return err;
	}
	*out = g;
	return 0;
}

int guest_open(const struct guest_config *cfg, struct guest **out)
{
	int err = guest_connect(cfg, out);

	if (err)
		return err;
	err = guest_start(*out);
	if (err) {
		guest_close(*out);
		*out = NULL;
	}
	return err;
}

void guest_close(struct guest *g)
{
	unsigned i;

	if (!g)
		return;
	vfu_client_close(g->client);
	for (i = 0; i < GUEST_QUEUES_MAX; i++) {
		gvq_fini(&g->queues[i].q);
		free(g->queues[i].free);
		if (g->queues[i].doorbell >= 0)
			close(g->queues[i].doorbell);
	}
	for (i = 0; i < GUEST_VECTORS_MAX; i++)
		if (g->irq[i] >= 0)
			close(g->irq[i]);
	if (g->mem)
		munmap(g->mem, g->mem_len);
	if (g->mem_fd >= 0)
		close(g->mem_fd);
	free(g);
}

struct vfu_client *guest_client(struct guest *g)
{
	return g->client;
}

void guest_serve(struct guest *g, int timeout_ms)
{
	if (!g->cfg.no_fd) {
		if (timeout_ms > 0)
			poll(NULL, 0, timeout_ms);
		return;
	}
	vfu_client_serve_one(g->client, timeout_ms);
}
