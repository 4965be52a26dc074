/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a command's data is: PRP entries and lists (4.3), SGLs of every legal form (4.4), turned
 * into pointers or, in memory without pointers (no fd from the client), into copies. Lists are
 * copied before they are looked at. Worker.
 *
 * Attacks considered: lists that point to themselves (hops and descriptors are counted), misaligned
 * entries, lengths that do not add up, lists that change while they are read (each entry is read
 * once), data outside memory or in read-only memory.
 */
#ifndef SOFTIOV_NVME_DPTR_PRIVATE_H
#define SOFTIOV_NVME_DPTR_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "dma/dma.h"
#include "nvme/status_private.h"
#include "pci/function.h"

#define NVME_DPTR_IOV_MAX	 272  /* 1 MiB of pages, not aligned, over a few regions */
#define NVME_SGL_DESCRIPTORS_MAX 4096 /* of one command */

/*
 * What is claimed in Identify Controller (SGLS): any alignment; bit buckets; an SGL may be longer
 * than the data.
 */
#define NVME_SGLS_CLAIMED (1u | 1u << 16 | 1u << 18)

/* A guest's memory, as looked at in one poll. */
struct nvme_mem {
	struct pci_function *fn;
	struct dma_space *space;
	const struct dma_view *view; /* NULL: remote, every access is a message that may block */
	uint32_t hint;
	uint8_t page_shift;
	bool met_remote; /* something without a pointer was addressed though there is a view */
	/* The regions that the last nvme_dptr_map() gave pointers into, for pinning. */
	unsigned n_regions;
	const struct dma_region *regions[NVME_DPTR_IOV_MAX];
};

/* Plain accesses. 0, a status (Data Transfer Error) or, of remote memory or when the memory map is
 * no longer that of the turn, NVME_ST_RETRY. */
uint16_t nvme_mem_read(struct nvme_mem *m, uint64_t addr, void *buf, size_t len);
uint16_t nvme_mem_write(struct nvme_mem *m, uint64_t addr, const void *buf, size_t len);
/* Whether all of it can be accessed so. */
bool nvme_mem_ok(struct nvme_mem *m, uint64_t addr, uint64_t len, uint32_t prot);

/* Copies between a private buffer and the command's data area. */
uint16_t nvme_dptr_read(struct nvme_mem *m, const struct nvme_sqe *sqe, void *buf, uint32_t len);
uint16_t nvme_dptr_write(struct nvme_mem *m, const struct nvme_sqe *sqe, const void *buf,
			 uint32_t len);

/*
 * Pointers to the command's data area, neighbours merged. to_host: it is going to be written. 0 and
 * *n, a status, or NVME_ST_BOUNCE: there are more than max pieces, or some are to be thrown away,
 * or memory is remote; nvme_dptr_read() and nvme_dptr_write() can do it.
 */
uint16_t nvme_dptr_map(struct nvme_mem *m, const struct nvme_sqe *sqe, uint32_t len, bool to_host,
		       struct iovec *iov, unsigned max, unsigned *n);

/* ---- between dptr.c and sgl.c ---- */

/* bucket: these bytes go nowhere. 0 or what ends the walk. */
typedef uint16_t (*nvme_piece_fn)(void *ctx, uint64_t addr, uint32_t len, bool bucket);
uint16_t nvme_sgl_walk(struct nvme_mem *m, const struct nvme_sqe *sqe, uint32_t len, bool to_host,
		       nvme_piece_fn piece, void *ctx);

#endif
