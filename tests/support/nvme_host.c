/* SPDX-License-Identifier: BSD-3-Clause */
/* What a VMM does for a controller: connection, memory, interrupts; and its registers. */
#include "nvme_host.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/clock.h"

#define FDS_A_MESSAGE  8
#define DEFAULT_MEMORY ((size_t)64 << 20)
#define BAR	       VFIO_PCI_BAR0_REGION_INDEX
#define CONFIG	       VFIO_PCI_CONFIG_REGION_INDEX
#define FLR_MS	       100 /* PCIe Base 6.6.2 */

static bool in_memory(const struct nvme_host *h, uint64_t addr, uint64_t len)
{
	return addr >= NVME_HOST_BASE && addr - NVME_HOST_BASE <= h->mem_len &&
	       len <= h->mem_len - (addr - NVME_HOST_BASE);
}

static int mem_read(void *opaque, uint64_t addr, void *buf, uint64_t len)
{
	struct nvme_host *h = opaque;

	if (!in_memory(h, addr, len))
		return -EFAULT;
	memcpy(buf, nvme_host_ptr(h, addr), len);
	return 0;
}

static int mem_write(void *opaque, uint64_t addr, const void *buf, uint64_t len)
{
	struct nvme_host *h = opaque;

	if (!in_memory(h, addr, len))
		return -EFAULT;
	memcpy(nvme_host_ptr(h, addr), buf, len);
	return 0;
}

static int map_memory(struct nvme_host *h)
{
	int flags = MAP_SHARED;

	h->mem_len = (h->cfg.memory + 0x1fffff) & ~(size_t)0x1fffff;
	if (h->cfg.no_fd) {
		flags = MAP_PRIVATE | MAP_ANONYMOUS;
		h->memory_ops =
			(struct vfu_client_memory_ops){mem_read, mem_write, h->cfg.layout28};
		vfu_client_set_memory(h->client, &h->memory_ops, h);
	} else {
		h->mem_fd = memfd_create("nvme-host", MFD_CLOEXEC);
		if (h->mem_fd < 0 || ftruncate(h->mem_fd, (off_t)h->mem_len))
			return -errno;
	}
	h->mem = mmap(NULL, h->mem_len, PROT_READ | PROT_WRITE, flags, h->mem_fd, 0);
	if (h->mem == MAP_FAILED) {
		h->mem = NULL;
		return -ENOMEM;
	}
	return vfu_client_dma_map(h->client, NVME_HOST_BASE, h->mem_len,
				  VFU_DMA_READABLE | VFU_DMA_WRITEABLE, h->mem_fd, 0);
}

void *nvme_host_alloc(struct nvme_host *h, size_t len, uint64_t *addr)
{
	size_t at = h->mem_used;

	len = (len + NVME_HOST_PAGE - 1) & ~(size_t)(NVME_HOST_PAGE - 1);
	if (len > h->mem_len - at)
		return NULL;
	h->mem_used += len;
	*addr = NVME_HOST_BASE + at;
	return h->mem + at;
}

static int set_up_interrupts(struct nvme_host *h)
{
	struct vfio_irq_info info = {.argsz = sizeof(info)};
	unsigned i, n;
	int err;

	err = vfu_client_irq_info(h->client, VFIO_PCI_MSIX_IRQ_INDEX, &info);
	if (err)
		return err;
	h->num_vectors = info.count < NVME_HOST_VECTORS ? info.count : NVME_HOST_VECTORS;
	for (i = 0; i < h->num_vectors; i++) {
		h->irq[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (h->irq[i] < 0)
			return -errno;
	}
	for (i = 0; i < h->num_vectors; i += n) {
		n = h->num_vectors - i < FDS_A_MESSAGE ? h->num_vectors - i : FDS_A_MESSAGE;
		err = vfu_client_set_irqs(h->client,
					  VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
					  VFIO_PCI_MSIX_IRQ_INDEX, i, n, NULL, 0, &h->irq[i], n);
		if (err)
			return err;
	}
	return 0;
}

static int find_capabilities(struct nvme_host *h)
{
	uint8_t c[256] = {0};
	unsigned hops = 0;
	int err;

	err = vfu_client_region_read(h->client, CONFIG, 0, c, sizeof(c));
	if (err)
		return err;
	for (uint8_t at = c[PCI_CAPABILITY_LIST]; at >= 0x40 && at < 0xf8 && hops++ < 48;
	     at = c[at + 1]) {
		if (c[at] == PCI_CAP_ID_MSIX)
			h->msix_cap = at;
		if (c[at] == PCI_CAP_ID_EXP)
			h->pcie_cap = at;
	}
	return h->msix_cap && h->pcie_cap ? 0 : -ENODEV;
}

static int config_put16(struct nvme_host *h, unsigned reg, uint16_t v)
{
	uint8_t b[2];

	put_le16(b, v);
	return vfu_client_region_write(h->client, CONFIG, reg, b, 2, false);
}

static int config_on(struct nvme_host *h)
{
	uint8_t b[2];
	int err;

	err = vfu_client_region_read(h->client, CONFIG, h->msix_cap + PCI_MSIX_FLAGS, b, 2);
	if (!err)
		err = config_put16(h, h->msix_cap + PCI_MSIX_FLAGS,
				   get_le16(b) | PCI_MSIX_FLAGS_ENABLE);
	if (!err)
		err = config_put16(h, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	return err;
}

/* As a VMM does: the area that the region's sparse mmap capability names. */
static int map_doorbells(struct nvme_host *h)
{
	struct {
		struct vfio_info_cap_header header;
		uint32_t nr_areas, reserved;
		struct vfio_region_sparse_mmap_area area;
	} caps = {0};
	struct vfio_region_info info;
	int fd = -1, err;
	void *page;

	err = vfu_client_region_info(h->client, BAR, &info, &caps, sizeof(caps), &fd);
	if (err)
		return err;
	if (!(info.flags & VFIO_REGION_INFO_FLAG_MMAP) || fd < 0) {
		if (fd >= 0)
			close(fd);
		return -ENOTSUP;
	}
	if (info.cap_offset != sizeof(info) || caps.header.id != VFIO_REGION_INFO_CAP_SPARSE_MMAP ||
	    caps.nr_areas != 1 || caps.area.offset != NVME_DOORBELLS ||
	    caps.area.size != NVME_HOST_PAGE) {
		close(fd);
		return -EPROTO;
	}
	page = mmap(NULL, NVME_HOST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    (off_t)(info.offset + caps.area.offset));
	close(fd);
	if (page == MAP_FAILED)
		return -errno;
	h->doorbells = page;
	return 0;
}

static void set_defaults(struct nvme_host_config *c)
{
	size_t queues;

	if (!c->pairs)
		c->pairs = 1;
	if (!c->queue_size)
		c->queue_size = 64;
	if (!c->admin_size)
		c->admin_size = 64;
	if (!c->timeout_ms)
		c->timeout_ms = 5000;
	/* both rings of each pair, rounded up to pages */
	queues = (size_t)c->pairs * ((size_t)c->queue_size * 80 + 2 * NVME_HOST_PAGE);
	if (!c->memory)
		c->memory = DEFAULT_MEMORY + queues;
}

static int set_up_buffers(struct nvme_host *h)
{
	h->data = nvme_host_alloc(h, NVME_HOST_DATA_MAX, &h->data_addr);
	h->list = nvme_host_alloc(h, 2 * NVME_HOST_PAGE, &h->list_addr);
	h->shadow = nvme_host_alloc(h, NVME_HOST_PAGE, &h->shadow_addr);
	h->eventidx = nvme_host_alloc(h, NVME_HOST_PAGE, &h->eventidx_addr);
	return h->eventidx ? 0 : -ENOSPC;
}

int nvme_host_connect(const struct nvme_host_config *cfg, struct nvme_host **out)
{
	struct nvme_host *h = calloc(1, sizeof(*h));
	unsigned i;
	int err;

	if (!h)
		return -ENOMEM;
	h->cfg = *cfg;
	set_defaults(&h->cfg);
	h->mem_fd = -1;
	for (i = 0; i < NVME_HOST_VECTORS; i++)
		h->irq[i] = -1;
	err = vfu_client_connect(cfg->path, h->cfg.timeout_ms, &h->client);
	if (!err)
		err = map_memory(h);
	if (!err)
		err = set_up_buffers(h);
	if (!err)
		err = set_up_interrupts(h);
	if (!err)
		err = find_capabilities(h);
	if (!err)
		err = config_on(h);
	if (!err && h->cfg.map_doorbells)
		err = map_doorbells(h);
	if (err) {
		nvme_host_close(h);
		return err;
	}
	*out = h;
	return 0;
}

int nvme_host_open(const struct nvme_host_config *cfg, struct nvme_host **out)
{
	int err = nvme_host_connect(cfg, out);

	if (err)
		return err;
	err = nvme_host_start(*out);
	if (err) {
		nvme_host_close(*out);
		*out = NULL;
	}
	return err;
}

int nvme_host_flr(struct nvme_host *h)
{
	unsigned reg = h->pcie_cap + PCI_EXP_DEVCTL;
	uint64_t end;
	uint8_t b[2];
	int err;

	err = vfu_client_region_read(h->client, CONFIG, reg, b, 2);
	if (!err)
		err = config_put16(h, reg, get_le16(b) | PCI_EXP_DEVCTL_BCR_FLR);
	if (err)
		return err;
	for (end = clock_now_ns() + FLR_MS * NS_PER_MS; clock_now_ns() < end;)
		nvme_host_serve(h, 10);
	return config_on(h);
}

int nvme_host_reset(struct nvme_host *h)
{
	int err = vfu_client_reset(h->client);

	return err ? err : config_on(h);
}

void nvme_host_close(struct nvme_host *h)
{
	unsigned i;

	if (!h)
		return;
	vfu_client_close(h->client);
	for (i = 0; i < NVME_HOST_QIDS; i++) {
		free(h->sqs[i].reqs);
		free(h->sqs[i].free);
	}
	for (i = 0; i < NVME_HOST_VECTORS; i++)
		if (h->irq[i] >= 0)
			close(h->irq[i]);
	if (h->mem)
		munmap(h->mem, h->mem_len);
	if (h->doorbells)
		munmap((void *)h->doorbells, NVME_HOST_PAGE);
	if (h->mem_fd >= 0)
		close(h->mem_fd);
	free(h);
}

void nvme_host_serve(struct nvme_host *h, int timeout_ms)
{
	struct pollfd p = {h->cfg.no_fd ? vfu_client_fd(h->client) : -1, POLLIN, 0};

	while (poll(&p, 1, timeout_ms) == 1 && !vfu_client_serve_one(h->client, -1))
		timeout_ms = 0;
}

uint64_t nvme_host_irqs(struct nvme_host *h, unsigned vector)
{
	uint64_t n;

	if (vector >= h->num_vectors || read(h->irq[vector], &n, sizeof(n)) != sizeof(n))
		return 0;
	return n;
}

/* ---- registers ---- */

uint32_t nvme_host_get32(struct nvme_host *h, unsigned reg)
{
	uint8_t b[4];

	return vfu_client_region_read(h->client, BAR, reg, b, 4) ? UINT32_MAX : get_le32(b);
}

uint64_t nvme_host_get64(struct nvme_host *h, unsigned reg)
{
	uint8_t b[8];

	return vfu_client_region_read(h->client, BAR, reg, b, 8) ? UINT64_MAX : get_le64(b);
}

int nvme_host_put32(struct nvme_host *h, unsigned reg, uint32_t v)
{
	uint8_t b[4];

	put_le32(b, v);
	return vfu_client_region_write(h->client, BAR, reg, b, 4, false);
}

int nvme_host_put64(struct nvme_host *h, unsigned reg, uint64_t v)
{
	uint8_t b[8];

	put_le64(b, v);
	return vfu_client_region_write(h->client, BAR, reg, b, 8, false);
}

int nvme_host_doorbell(struct nvme_host *h, unsigned index, uint32_t v)
{
	unsigned stride = 4u << ((h->cap >> NVME_CAP_DSTRD_SHIFT) & NVME_CAP_DSTRD_MASK);
	uint8_t b[4];

	if (h->doorbells && stride == 4 && index < NVME_HOST_PAGE / 4) {
		__atomic_store_n(&h->doorbells[index], v, __ATOMIC_RELEASE);
		return 0;
	}
	h->kicks++;
	put_le32(b, v);
	return vfu_client_region_write(h->client, BAR, NVME_DOORBELLS + (uint64_t)index * stride, b,
				       4, !h->cfg.wait_doorbells);
}

bool nvme_host_failed(struct nvme_host *h)
{
	return nvme_host_get32(h, NVME_REG_CSTS) >> NVME_CSTS_CFS_SHIFT & 1;
}
