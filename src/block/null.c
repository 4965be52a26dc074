/* SPDX-License-Identifier: BSD-3-Clause */
/* No store at all: for measuring what stands before it. Reads leave the memory as it is. */
#include "block/block_private.h"

#include <errno.h>
#include <stdio.h>

static int null_open(struct block_backend *b, char *why, size_t why_len)
{
	if (!b->cfg.size) {
		snprintf(why, why_len, "a null backend needs a size");
		return -EINVAL;
	}
	atomic_store(&b->size, b->cfg.size);
	b->limits = (struct block_limits){
		.alignment = 1, .granularity = 4096, .discard_granularity = 4096};
	return 0;
}

static void null_close(struct block_backend *b)
{
}

static int null_resize(struct block_backend *b, uint64_t size, char *why, size_t why_len)
{
	atomic_store(&b->size, size);
	return 0;
}

static int null_submit(struct block_channel *ch, struct block_request *req)
{
	return 0;
}

static uint64_t null_allocated(const struct block_backend *b)
{
	return 0;
}

const struct backend_impl block_null_impl = {
	.object_size = sizeof(struct block_backend),
	.open = null_open,
	.close = null_close,
	.resize = null_resize,
	.submit = null_submit,
	.allocated = null_allocated,
};
