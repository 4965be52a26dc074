/* SPDX-License-Identifier: BSD-3-Clause */
#include "nvme/pool_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/log.h"

void nvme_pool_init(struct nvme_pool *p, const char *subsystem, const struct nvme_pool_config *cfg)
{
	*p = (struct nvme_pool){.cfg = *cfg};
	if (cfg->kind == NVME_POOL_NONE)
		p->cfg.capacity = 0;
	snprintf(p->subsystem, sizeof(p->subsystem), "%s", subsystem);
}

uint64_t nvme_pool_left(const struct nvme_pool *p)
{
	/* the capacity may have been lowered below what is in use */
	return p->used < p->cfg.capacity ? p->cfg.capacity - p->used : 0;
}

int nvme_pool_take(struct nvme_pool *p, uint64_t bytes, char *why, size_t why_len)
{
	if (p->cfg.kind == NVME_POOL_NONE) {
		snprintf(why, why_len,
			 "%s has no pool to make namespaces from: give a backend, or "
			 "namespace-pool in "
			 "the configuration",
			 p->subsystem);
		return -ENOTSUP;
	}
	if (bytes > nvme_pool_left(p)) {
		snprintf(why, why_len,
			 "the pool of %s has %" PRIu64 " bytes left of %" PRIu64 ", and %" PRIu64
			 " are asked for: raise its capacity, or delete a namespace",
			 p->subsystem, nvme_pool_left(p), p->cfg.capacity, bytes);
		return -ENOSPC;
	}
	p->used += bytes;
	return 0;
}

void nvme_pool_give(struct nvme_pool *p, uint64_t bytes)
{
	p->used -= bytes;
}

static int path_of(const struct nvme_pool *p, uint32_t nsid, char path[PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/%s-ns%u.img", p->cfg.directory, p->subsystem, nsid);

	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int nvme_pool_backend(const struct nvme_pool *p, uint32_t nsid, uint64_t size,
		      struct block_config *out)
{
	*out = (struct block_config){.type = BLOCK_MEMORY, .size = size};
	if (p->cfg.kind == NVME_POOL_MEMORY)
		return 0;
	out->type = BLOCK_FILE;
	return path_of(p, nsid, out->target);
}

bool nvme_pool_occupied(const struct nvme_pool *p, uint32_t nsid)
{
	char path[PATH_MAX];
	struct stat st;

	return p->cfg.kind == NVME_POOL_DIRECTORY &&
	       (path_of(p, nsid, path) || !lstat(path, &st) || errno != ENOENT);
}

void nvme_pool_remove(const struct nvme_pool *p, const struct block_config *backend)
{
	if (backend->type == BLOCK_FILE && unlink(backend->target))
		log_warn("%s: cannot remove %s: %s", p->subsystem, backend->target,
			 strerror(errno));
}
