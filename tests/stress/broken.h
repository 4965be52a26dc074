/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Put before src/worker/worker.c and src/virtio/split.c, and these lose wake-ups: a worker says
 * that it sleeps without a barrier before its last look, and takes its kick list by a load and a
 * store; a driver is interrupted only if it asked for the last chain of a burst. The stress test
 * must find both.
 */
#ifndef TESTS_STRESS_BROKEN_H
#define TESTS_STRESS_BROKEN_H

#include <stdatomic.h>
#include <linux/virtio_ring.h>

#undef atomic_store
#define atomic_store(p, v) atomic_store_explicit(p, v, memory_order_relaxed)
#undef atomic_exchange
#define atomic_exchange(p, v)                                                                      \
	({                                                                                         \
		__auto_type old_ = atomic_load(p);                                                 \
		for (int i_ = 0; i_ < 1000; i_++)                                                  \
			atomic_signal_fence(memory_order_seq_cst);                                 \
		atomic_store(p, v);                                                                \
		old_;                                                                              \
	})
#define vring_need_event(event, new, old) ((void)(old), (event) == (uint16_t)((new) - 1))

#endif
