/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queues of one controller on real workers and memory, with recorders in place of admin
 * commands and reservations, a backend of its own that answers as the test likes, and a host that
 * writes rings and doorbells. The test is the control thread.
 */
#ifndef TESTS_UNIT_NVME_QUEUE_MODEL_H
#define TESTS_UNIT_NVME_QUEUE_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nvme/ctrl_private.h"
#include "nvme/dptr_private.h"
#include "util/clock.h"
#include "util/util.h"

#define BASE	   0x100000ull /* guest address of the memory's first byte */
#define MEM	   (32u << 20)
#define PAGE	   4096u
#define BLOCKS	   8192u /* of 512 bytes: the namespace */
#define NS_BYTES   (BLOCKS * 512u)
#define QUEUES_MAX 9
#define VECTORS	   4
#define NAMESPACES 3

/* Where things lie in guest memory. */
#define SQ_AT(qid)  (BASE + 0x100000u * (qid))
#define CQ_AT(qid)  (SQ_AT(qid) + 0x80000u)
#define SHADOW_AT   (BASE + 0x0f0000u)
#define EVENTIDX_AT (BASE + 0x0f1000u)
#define DATA_AT	    (BASE + 0xa00000u)
#define LIST_AT	    (BASE + 0x1e00000u)

enum backend_mode {
	BACKEND_SYNC,
	BACKEND_ASYNC, /* in a later turn */
	BACKEND_HOLD,  /* when released, or cancelled */
	BACKEND_HANG,  /* the same, but cancelling does nothing */
};

struct backend_model {
	_Atomic enum backend_mode mode;
	_Atomic bool release;
	_Atomic bool untouched; /* a read leaves memory as it is */
	_Atomic int error;	/* of the next ones, 0: none */
	_Atomic unsigned submitted[BLOCK_DISCARD + 1], pending, cancels, fua, unmap;
	_Atomic unsigned max_at_once;
	uint8_t *bytes;
};

struct host_queue {
	uint16_t qid, size, cqid, sq_tail, cq_size, cq_head;
	uint8_t phase;
	uint16_t next_cid;
};

struct model {
	struct nvme_ctrl ctrl;
	struct nvme_ns ns[NAMESPACES];
	struct nvme_ns_table *table;
	struct backend_model backend[NAMESPACES];
	struct worker_pool *pool;
	struct pci_function *fn;
	struct dma_space *dma;
	_Atomic int fixed;     /* registered now */
	uint8_t *mem, *client; /* as the host sees it, and as whoever answers messages does */
	/* What the host and the backend do is ordered by rings that the thread sanitizer sees at
	 * other addresses; it is told here. */
	_Atomic unsigned order;
	int fd, irq[VECTORS];
	bool remote, dbbuf;
	volatile uint32_t *page; /* doorbells, mapped; or NULL */
	struct host_queue q[QUEUES_MAX];
	/* what the recorders saw */
	_Atomic unsigned fails, events, errors;
	_Atomic uint8_t event_info;
	unsigned admin_runs, resv_runs, drained;
	uint16_t (*admin)(struct nvme_command *cmd);
	uint16_t (*resv)(struct nvme_command *cmd);
	struct nvme_command *pending[8];
	unsigned n_pending, cancelled;
};

extern struct model model;

/* workers 1 or 2. Enables the admin pair (32 entries) and, pairs of them, I/O queue pairs with 64.
 */
struct model_opts {
	unsigned pairs;
	uint16_t size;
	bool remote, no_enable;
	bool mapped;	    /* doorbells: nothing tells the controller of them */
	uint8_t page_shift; /* 0: 12 */
	unsigned workers;   /* 0: 1 */
};
void model_up(const struct model_opts *o);
void model_down(void);
void model_pair(uint16_t qid, uint16_t size, uint16_t cqid, uint16_t vector);
void model_dbbuf(void); /* shadow doorbells, from here on */
void control_turn(void);
/* Until cond, at most two seconds. */
#define wait_for(cond)                                                                             \
	do {                                                                                       \
		uint64_t until_ = clock_now_ns() + 2 * NS_PER_S;                                   \
		while (!(cond)) {                                                                  \
			control_turn();                                                            \
			assert_true(clock_now_ns() < until_);                                      \
		}                                                                                  \
	} while (0)

static inline void *guest(uint64_t addr)
{
	return model.mem + (addr - BASE);
}

/* The host. */
uint16_t host_put(uint16_t qid, struct nvme_sqe *sqe); /* gives the command identifier */
void host_ring(uint16_t qid);
bool host_take(uint16_t cqid, struct nvme_cqe *cqe); /* and acknowledges nothing */
void host_ack(uint16_t cqid);
/* put, ring, wait, take, acknowledge: status */
uint16_t host_exec(uint16_t qid, struct nvme_sqe *sqe);
uint16_t host_wait(uint16_t cqid, struct nvme_cqe *cqe);
struct nvme_sqe host_rw(uint8_t opcode, uint64_t slba, uint32_t nlb, uint64_t addr);
uint64_t host_irqs(unsigned vector);

#define SC(st)			((st)&0x7ff)
#define GENERIC(sc)		(sc)
#define SPECIFIC(sc)		(0x100 | (sc))
#define MEDIA(sc)		(0x200 | (sc))
#define assert_status(st, want) assert_int_equal(SC(st), want)

#endif
