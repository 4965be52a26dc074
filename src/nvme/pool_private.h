/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pool that namespaces are made from: files in a directory, or memory, and how many bytes they
 * may have together. Bytes are those of the namespaces' sizes, whatever is really taken: so what a
 * guest was promised is there. Control thread.
 */
#ifndef SOFTIOV_NVME_POOL_PRIVATE_H
#define SOFTIOV_NVME_POOL_PRIVATE_H

#include "nvme/nvme.h"

#define NVME_POOL_ALIGN 4096u /* sizes are multiples of it, so that every format fits */

struct nvme_pool {
	struct nvme_pool_config cfg;
	char subsystem[64];
	uint64_t used;
};

void nvme_pool_init(struct nvme_pool *p, const char *subsystem, const struct nvme_pool_config *cfg);
/* -ENOSPC: so much is not left; -ENOTSUP: there is no pool. */
int nvme_pool_take(struct nvme_pool *p, uint64_t bytes, char *why, size_t why_len);
void nvme_pool_give(struct nvme_pool *p, uint64_t bytes);
uint64_t nvme_pool_left(const struct nvme_pool *p);
/* How the namespace is to be opened. 0 or -ENAMETOOLONG. */
int nvme_pool_backend(const struct nvme_pool *p, uint32_t nsid, uint64_t size,
		      struct block_config *out);
/* There is something of that name, from another life: not for somebody who asked for a new disk. */
bool nvme_pool_occupied(const struct nvme_pool *p, uint32_t nsid);
/* The name goes at once, the space when the file is closed. */
void nvme_pool_remove(const struct nvme_pool *p, const struct block_config *backend);

#endif
