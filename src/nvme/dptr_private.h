/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a command's data is: PRP entries and lists (4.3), SGLs of every legal form (4.4), turned into
 * pointers or, in memory without pointers (no fd from the client), into copies. Lists are copied before
 * they are looked at. Worker.
 */
#ifndef SOFTIOV_NVME_DPTR_PRIVATE_H
#define SOFTIOV_NVME_DPTR_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "dma/dma.h"
#include "nvme/status_private.h"

/* A guest's memory, as looked at in one poll. */
struct nvme_mem {
	struct dma_space *space;
	const struct dma_view *view; /* NULL: remote, every access is a message that may block */
	uint32_t hint;
	uint8_t page_shift;
};

/* Plain accesses. 0 or a status (Data Transfer Error). */
uint16_t nvme_mem_read(struct nvme_mem *m, uint64_t addr, void *buf, size_t len);
uint16_t nvme_mem_write(struct nvme_mem *m, uint64_t addr, const void *buf, size_t len);

/* Copies between a private buffer and the command's data area. */
uint16_t nvme_dptr_read(struct nvme_mem *m, const struct nvme_sqe *sqe, void *buf, uint32_t len);
uint16_t nvme_dptr_write(struct nvme_mem *m, const struct nvme_sqe *sqe, const void *buf,
			 uint32_t len);

#endif
