/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SOFTIOV_UTIL_BARRIER_H
#define SOFTIOV_UTIL_BARRIER_H

#include <stdatomic.h>

#include "util/util.h"

/*
 * Between telling somebody outside (a guest, the kernel) what to notify of, and looking at what it
 * has done: no load passes the stores before. A locked instruction where that is enough, which the
 * thread sanitizer knows as well. Any thread.
 */
static inline void full_barrier(void)
{
	_Atomic unsigned x = 0;

	atomic_fetch_add(&x, 1);
#if !UNDER_TSAN && !defined(__x86_64__)
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

#endif
