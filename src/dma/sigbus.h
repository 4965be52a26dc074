/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Containment of SIGBUS: an access to a mapping whose file was truncated (or whose memory failed)
 * replaces that mapping by zero pages and sets a flag, and the access goes on. Private to dma.
 */
#ifndef SOFTIOV_DMA_SIGBUS_H
#define SOFTIOV_DMA_SIGBUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Registers a mapping; *broken is set when it had to be replaced. Returns a slot >= 0, or -ENOSPC
 * when DMA_MAPPINGS_MAX are registered. Control.
 */
int sigbus_register(void *base, size_t len, _Atomic bool *broken);

/* Before the mapping is unmapped, when no other thread accesses it any more. Control. */
void sigbus_unregister(int slot);

#endif
