/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Wire layout of vfio-user 0.x (vfio-user protocol specification). Host byte order, as the
 * protocol runs on one machine. Layout only, no logic.
 */
#ifndef SOFTIOV_VFIO_USER_PROTOCOL_H
#define SOFTIOV_VFIO_USER_PROTOCOL_H

#include <assert.h>
#include <stdint.h>

enum vfu_command {
	VFU_VERSION = 1,
	VFU_DMA_MAP = 2,
	VFU_DMA_UNMAP = 3,
	VFU_DEVICE_GET_INFO = 4,
	VFU_DEVICE_GET_REGION_INFO = 5,
	VFU_DEVICE_GET_REGION_IO_FDS = 6,
	VFU_DEVICE_GET_IRQ_INFO = 7,
	VFU_DEVICE_SET_IRQS = 8,
	VFU_REGION_READ = 9,
	VFU_REGION_WRITE = 10,
	VFU_DMA_READ = 11,
	VFU_DMA_WRITE = 12,
	VFU_DEVICE_RESET = 13,
	VFU_REGION_WRITE_MULTI = 15,
	VFU_DEVICE_FEATURE = 16,
	VFU_MIG_DATA_READ = 17,
	VFU_MIG_DATA_WRITE = 18,
};

enum vfu_header_flags {
	VFU_F_TYPE_MASK = 0xf,
	VFU_F_TYPE_COMMAND = 0,
	VFU_F_TYPE_REPLY = 1,
	VFU_F_NO_REPLY = 1 << 4,
	VFU_F_ERROR = 1 << 5,
};

struct vfu_header {
	uint16_t id;
	uint16_t command;
	uint32_t size; /* of the whole message */
	uint32_t flags;
	uint32_t error;
};
static_assert(sizeof(struct vfu_header) == 16, "vfio-user header");

struct vfu_version {
	uint16_t major;
	uint16_t minor;
	/* NUL-terminated JSON follows */
};

enum vfu_dma_flags { VFU_DMA_READABLE = 1, VFU_DMA_WRITEABLE = 2 };

struct vfu_dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t offset;
	uint64_t addr;
	uint64_t size;
};
static_assert(sizeof(struct vfu_dma_map) == 32, "DMA_MAP");

enum vfu_unmap_flags { VFU_UNMAP_ALL = 1 << 1 };

struct vfu_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t addr;
	uint64_t size;
};
static_assert(sizeof(struct vfu_dma_unmap) == 24, "DMA_UNMAP");

struct vfu_region_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
	/* data follows */
};
static_assert(sizeof(struct vfu_region_access) == 16, "REGION_READ/WRITE");

struct vfu_dma_access {
	uint64_t addr;
	uint64_t count;
	/* data follows */
};
static_assert(sizeof(struct vfu_dma_access) == 16, "DMA_READ/WRITE");

struct vfu_region_io_fds {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t count;
};
static_assert(sizeof(struct vfu_region_io_fds) == 16, "GET_REGION_IO_FDS");

enum vfu_io_fd_type { VFU_IO_FD_IOEVENTFD = 0, VFU_IO_FD_IOREGIONFD = 1 };

struct vfu_region_io_fd {
	uint64_t offset;
	uint64_t size;
	uint32_t fd_index;
	uint32_t type;
	uint32_t flags;
	uint32_t padding;
	uint64_t datamatch;
};
static_assert(sizeof(struct vfu_region_io_fd) == 40, "GET_REGION_IO_FDS entry");

struct vfu_write_multi_entry {
	uint64_t offset;
	uint32_t region;
	uint32_t count; /* 1..8 */
	uint8_t data[8];
};
static_assert(sizeof(struct vfu_write_multi_entry) == 24, "REGION_WRITE_MULTI entry");

#endif
