/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes a whole backend read as zeros, piece by piece, on a worker of the pool, then flushes it.
 * What is thin becomes empty. For Format NVM.
 */
#ifndef SOFTIOV_NVME_ERASE_PRIVATE_H
#define SOFTIOV_NVME_ERASE_PRIVATE_H

#include "block/block.h"
#include "worker/worker.h"

struct nvme_erase;

/* Nobody else uses the backend. finished() comes on the control thread, never from within this
 * call, with 0 or -errno (-ECANCELED); the eraser is gone then. Control. */
int nvme_erase_start(struct worker_pool *pool, struct block_backend *backend,
		     void (*finished)(void *opaque, int result), void *opaque,
		     struct nvme_erase **out);
void nvme_erase_cancel(struct nvme_erase *e);		      /* control */
unsigned nvme_erase_percent_left(const struct nvme_erase *e); /* 0..100; any thread */
/* True if it is over: finished() has been called from here. For who cannot wait for the mailbox.
 * Control. */
bool nvme_erase_reap(struct nvme_erase *e);

#endif
