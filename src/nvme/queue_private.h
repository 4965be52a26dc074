/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All queues of one controller, the admin pair (id 0) included: rings, doorbells, shadow doorbells,
 * fetching, completion, interrupts, and what is under way. A completion queue with the submission
 * queues that name it is one group with one poller, on one worker; so no queue has a lock.
 *
 * Back-pressure: a command is fetched only when its completion has a free entry, counted from
 * what the host has acknowledged, so that a completion never waits and a host that does not
 * reap stops only itself.
 *
 * Threads: control, but for what happens on the worker inside.
 */
#ifndef SOFTIOV_NVME_QUEUE_PRIVATE_H
#define SOFTIOV_NVME_QUEUE_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nvme/command_private.h"
#include "nvme/nvme.h"

struct nvme_queues;

#define NVME_ABORTS_MAX 4 /* at a time: ACL + 1 */
#define NVME_AERS_MAX	8 /* AERL + 1 */

/* Copy, as Identify Namespace says it: MSSRL and MCL in blocks, MSRC 0-based. */
#define NVME_COPY_MSSRL 4096
#define NVME_COPY_MCL	(NVME_COPY_RANGES_MAX * NVME_COPY_MSSRL)
#define NVME_COPY_MSRC	(NVME_COPY_RANGES_MAX - 1)

/* max_qid: the largest queue id ever possible (admin is 0). */
int nvme_queues_create(struct nvme_ctrl *ctrl, unsigned max_qid, struct nvme_queues **out);
void nvme_queues_destroy(struct nvme_queues *q);

struct nvme_enable {
	uint8_t page_shift; /* of CC.MPS: 12.. */
	uint64_t asq, acq;
	uint16_t asq_size, acq_size; /* entries */
};
/* CC.EN 0 -> 1: the admin pair exists from now on (and runs while DMA is permitted). 0 or -errno
 * (addresses out of memory). */
int nvme_queues_enable(struct nvme_queues *q, const struct nvme_enable *en);
/*
 * Any controller reset: all queues go, commands at hand are dropped, those at a backend are
 * cancelled; nothing of this controller touches guest memory or raises an interrupt once it is
 * drained. Returns true when that is so already; else drained() comes on the control thread. Until
 * then nvme_queues_enable() must not be called.
 */
bool nvme_queues_disable(struct nvme_queues *q, void (*drained)(struct nvme_ctrl *ctrl));
/* After a disable that did not drain: waits at most ms; true when drained. Then drained() is not
 * called any more. What is still under way afterwards keeps its memory by itself (dma_pin) and
 * ends in the background. For FLR, detach and destruction. */
bool nvme_queues_drain(struct nvme_queues *q, unsigned ms);
/* DMA permission went or came (pci_function_ops.dma_changed): pollers stop, or go on. */
void nvme_queues_dma_changed(struct nvme_queues *q, bool on);

/* BAR0 at NVME_DOORBELLS + off was written. */
void nvme_queues_doorbell(struct nvme_queues *q, uint32_t off, uint32_t value);

/*
 * The page of doorbells, for a client to map at offset NVME_DOORBELLS of the descriptor; the
 * descriptor stays the queues'. Made at first, before there are queues; until it is unmapped again
 * they are polled always. -EOPNOTSUPP when that is not their policy, -EBUSY: there are queues.
 */
int nvme_queues_map_doorbells(struct nvme_queues *q);
/* The client is gone. There are no queues. */
void nvme_queues_unmap_doorbells(struct nvme_queues *q);
/* As after power-on. */
void nvme_queues_clear_doorbells(struct nvme_queues *q);

/* Admin commands' work; each gives a status. size in entries. */
uint16_t nvme_cq_create(struct nvme_queues *q, uint16_t qid, uint64_t base, uint32_t size,
			uint16_t vector, bool irq);
uint16_t nvme_sq_create(struct nvme_queues *q, uint16_t qid, uint64_t base, uint32_t size,
			uint16_t cqid, unsigned prio);
uint16_t nvme_cq_delete(struct nvme_queues *q, uint16_t qid);
/* NVME_ST_PENDING: completed (nvme_command_complete) when all its commands are. They are ended
 * with Command Aborted due to SQ Deletion where they can be. */
uint16_t nvme_sq_delete(struct nvme_queues *q, uint16_t qid, struct nvme_command *cmd);
unsigned nvme_queues_count(const struct nvme_queues *q); /* I/O submission queues now */
/* Abort: looks for cid on the queue's worker; completes cmd with dw0 0 (aborted) or 1. Refused
 * while NVME_ABORTS_MAX others look. */
uint16_t nvme_queues_abort(struct nvme_queues *q, uint16_t sqid, uint16_t cid,
			   struct nvme_command *cmd);
/* Doorbell Buffer Config (5.7); addresses page-aligned. Covers queues that exist and later ones. */
uint16_t nvme_queues_set_dbbuf(struct nvme_queues *q, uint64_t shadow, uint64_t eventidx);
bool nvme_queues_has_dbbuf(const struct nvme_queues *q);
/* Features 08h and 09h. threshold 0-based, time in 100 us. */
void nvme_queues_set_coalescing(struct nvme_queues *q, uint8_t threshold, uint8_t time);
void nvme_queues_set_vector_config(struct nvme_queues *q, uint16_t vector, bool no_coalescing);

/* Flushes every namespace attached to the controller that has a volatile cache; done on the
 * control thread with 0 or the first -errno. For shutdown. */
void nvme_queues_flush(struct nvme_queues *q, void (*done)(struct nvme_ctrl *ctrl, int result));

/* Counters, for status and SMART. */
struct nvme_queue_counters {
	uint64_t commands, admin_commands, interrupts, kicks;
	bool remote_memory;
};
void nvme_queues_counters(const struct nvme_queues *q, struct nvme_queue_counters *c);
/* I/O commands under way that are not at a backend: they wait for a limit, a gate, memory, the
 * control thread. Of one namespace, or (0) all. */
uint64_t nvme_queues_waiting(const struct nvme_queues *q, uint32_t nsid);
size_t nvme_queues_memory(const struct nvme_queues *q);

#endif
