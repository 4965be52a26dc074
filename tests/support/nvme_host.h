/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An NVMe host without a VM: connects to a function's vfio-user socket as a VMM does, gives it
 * memory, and drives its controller as a kernel's driver does. For the protocol tests, and as the
 * load generator of the benchmark: with the doorbell buffer on, submitting to a busy device and
 * taking completions need no system call. Shares no code with src/nvme.
 *
 * A call that says "status" gives 0, the NVMe status that the command ended with (status field
 * without its phase tag, so positive), or a negative errno. Others give 0 (or a count) or a
 * negative errno. One thread at a time per host.
 *
 * Everything is open: a hostile test may write any field, entry, register or doorbell.
 */
#ifndef TESTS_SUPPORT_NVME_HOST_H
#define TESTS_SUPPORT_NVME_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spec/nvme_spec.h"
#include "vfio_user/client.h"

#define NVME_HOST_BASE	   0x100000ull /* guest address of the memory's first byte */
#define NVME_HOST_PAGE	   4096u
#define NVME_HOST_QIDS	   256 /* admin included; more than a controller has */
#define NVME_HOST_VECTORS  130
#define NVME_HOST_DATA_MAX (2u << 20) /* of the buffer for synchronous commands */
#define NVME_HOST_GONE	   0xffff     /* status of a command that a reset took away */
#define NVME_HOST_NO_IRQ   0xffff     /* as a vector: poll */

/* Status without its flags (More, Do Not Retry, retry delay): SCT and SC. */
#define NVME_HOST_SC(sct, sc)  (((sct) << 8) | ((sc)&0xff))
#define NVME_HOST_CODE(status) ((status) < 0 ? (status) : (status)&0x7ff)

struct nvme_host;

/* One command, kept by its caller; nothing is allocated on the way. */
struct nvme_host_req {
	struct nvme_sqe sqe; /* the identifier is filled in */
	bool busy;
	uint16_t status;
	uint32_t dw0;
	/* Called by nvme_host_poll(); may submit again. NULL: look at busy. */
	void (*done)(struct nvme_host_req *req);
	void *opaque;
};

struct nvme_host_cq {
	struct nvme_host *h;
	bool up;
	uint16_t id, size, head, rung;
	uint16_t vector; /* or NVME_HOST_NO_IRQ */
	uint8_t phase;
	volatile struct nvme_cqe *ring;
	uint64_t addr;
	uint16_t room; /* entries that the memory at ring has */
};

struct nvme_host_sq {
	struct nvme_host *h;
	bool up;
	uint16_t id, size, tail, head, rung;
	struct nvme_host_cq *cq;
	struct nvme_sqe *ring;
	uint64_t addr;
	uint16_t room;		     /* entries that the memory at ring has */
	struct nvme_host_req **reqs; /* by command identifier */
	uint16_t *free;		     /* identifiers not in use */
	unsigned n_free, n_cids;
};

struct nvme_host_config {
	const char *path;    /* vfio-user socket */
	size_t memory;	     /* bytes; 0: 64 MiB, or what the queues need */
	unsigned pairs;	     /* I/O queue pairs that nvme_host_start() makes; 0: 1 */
	unsigned ask;	     /* and asks for, by Number of Queues; 0: as many */
	uint16_t queue_size; /* entries of both; 0: 64 */
	uint16_t admin_size; /* 0: 64 */
	bool dbbuf;	     /* shadow doorbells; -ENOTSUP without them */
	bool interrupts;     /* wait for interrupts; a completion without one is -ENOMSG */
	bool no_fd;	     /* memory without an fd: served by DMA_READ/DMA_WRITE */
	bool layout28;	     /* with no_fd: the message layout that QEMU has */
	bool wait_doorbells; /* doorbells are answered messages, not posted ones */
	bool map_doorbells;  /* neither: stores into a page of the device's; -ENOTSUP without it */
	unsigned timeout_ms; /* of one wait; 0: 5000 */
};

struct nvme_host {
	struct nvme_host_config cfg;
	struct vfu_client *client;
	struct vfu_client_memory_ops memory_ops;
	int mem_fd;
	uint8_t *mem;
	size_t mem_len, mem_used;
	unsigned num_vectors;
	int irq[NVME_HOST_VECTORS];
	uint16_t msix_cap, pcie_cap; /* in configuration space */
	uint64_t cap;		     /* register, read by nvme_host_enable() */
	unsigned io_pairs;	     /* made by nvme_host_start() */
	bool dbbuf_on;
	volatile uint32_t *shadow, *eventidx;
	volatile uint32_t *doorbells; /* mapped, a page; or NULL */
	uint64_t shadow_addr, eventidx_addr;
	struct nvme_host_cq cqs[NVME_HOST_QIDS];
	struct nvme_host_sq sqs[NVME_HOST_QIDS];
	uint8_t shifts[257]; /* of an NSID's blocks; 0: not asked yet */
	/* of synchronous commands */
	uint8_t *data;
	uint64_t data_addr, *list, list_addr;
	/* doorbells written as messages, completions taken, commands that a completion did not
	 * match */
	uint64_t kicks, completions, strange;
	uint64_t interrupts; /* taken while waiting */
};

/* ---- life ---- */

/* Connects, maps memory, sets up interrupts, bus mastering on: all but the driver. */
int nvme_host_connect(const struct nvme_host_config *cfg, struct nvme_host **out);
/* Disables, then enables the controller with a fresh admin queue pair. -ETIMEDOUT, -EIO (CFS). */
int nvme_host_enable(struct nvme_host *h);
/* Enables, asks for queues, makes cfg.pairs I/O queue pairs (ids 1.., one CQ each), then the
 * doorbell buffer: as Linux does. A refused command is -EPROTO. */
int nvme_host_start(struct nvme_host *h);
/* connect and start. */
int nvme_host_open(const struct nvme_host_config *cfg, struct nvme_host **out);
/* CC.EN to 0 and waits for CSTS.RDY 0; commands under way end with NVME_HOST_GONE. */
int nvme_host_disable(struct nvme_host *h);
/* CC.SHN, normal or abrupt, and waits for CSTS.SHST 2. */
int nvme_host_shutdown(struct nvme_host *h, bool abrupt);
/* By the PCI Express capability. Bus mastering and MSI-X are on again afterwards. */
int nvme_host_flr(struct nvme_host *h);
/* By the message that a VMM sends for it (DEVICE_RESET); the same. */
int nvme_host_reset(struct nvme_host *h);
/* Closes the connection as a VMM that dies would. NULL is allowed. */
void nvme_host_close(struct nvme_host *h);

/* ---- registers ---- */

uint32_t nvme_host_get32(struct nvme_host *h, unsigned reg); /* UINT32_MAX when it cannot be read */
uint64_t nvme_host_get64(struct nvme_host *h, unsigned reg);
int nvme_host_put32(struct nvme_host *h, unsigned reg, uint32_t v);
int nvme_host_put64(struct nvme_host *h, unsigned reg, uint64_t v);
/* Doorbell register by index: 2 * qid for a tail, 2 * qid + 1 for a head. */
int nvme_host_doorbell(struct nvme_host *h, unsigned index, uint32_t v);
bool nvme_host_failed(struct nvme_host *h); /* CSTS.CFS */

/* ---- memory ---- */

/* Page-aligned; pointer and guest address. NULL when used up. Comes back only by resetting
 * h->mem_used to what it was. */
void *nvme_host_alloc(struct nvme_host *h, size_t len, uint64_t *addr);
static inline void *nvme_host_ptr(struct nvme_host *h, uint64_t addr)
{
	return h->mem + (addr - NVME_HOST_BASE);
}

/* ---- data pointers ---- */

/* Describes len bytes at addr, contiguous in guest memory, by PRPs. list (512 entries a page, as
 * many pages as needed, chained) may be NULL where two entries do. -EMSGSIZE. */
int nvme_host_prp(struct nvme_sqe *sqe, uint64_t addr, uint32_t len, uint64_t *list,
		  uint64_t list_addr);
/* Any pages, any list: entry i of pages is what comes i-th; the list starts at list_addr, which
 * need not be page-aligned, and goes on (chained) in the pages behind it. */
void nvme_host_prp_pages(struct nvme_sqe *sqe, const uint64_t *pages, unsigned n, uint64_t *list,
			 uint64_t list_addr);
struct nvme_sgl_desc nvme_host_sgl(uint64_t addr, uint32_t len, uint8_t type);
/* PSDT 01b with that descriptor in the command. */
void nvme_host_set_sgl(struct nvme_sqe *sqe, struct nvme_sgl_desc d);

/* ---- queues ---- */

/* By admin commands. Status. size in entries. */
int nvme_host_create_cq(struct nvme_host *h, uint16_t qid, uint16_t size, uint16_t vector);
int nvme_host_create_sq(struct nvme_host *h, uint16_t qid, uint16_t size, uint16_t cqid);
int nvme_host_delete_cq(struct nvme_host *h, uint16_t qid);
int nvme_host_delete_sq(struct nvme_host *h, uint16_t qid);
/* Number of Queues (07h): asks for so many pairs; what may be made, or -errno. */
int nvme_host_ask_queues(struct nvme_host *h, unsigned pairs);
/* Doorbell Buffer Config with pages of the host's own, and uses it from then on. Status. */
int nvme_host_dbbuf(struct nvme_host *h);

/* Puts the command into the queue's ring; nothing sees it before nvme_host_ring(). -EAGAIN when
 * there is no room. */
int nvme_host_submit(struct nvme_host_sq *sq, struct nvme_host_req *req);
/* Tells the device the tail, if it wants to be told. */
void nvme_host_ring(struct nvme_host_sq *sq);
/* Takes up to max completions, of whatever queue names this one. Their number. */
unsigned nvme_host_poll(struct nvme_host_cq *cq, unsigned max);
/* Waits until it is done: its status, -ETIMEDOUT, -ENOMSG. timeout_ms 0: the configuration's. */
int nvme_host_wait(struct nvme_host_sq *sq, struct nvme_host_req *req, unsigned timeout_ms);
/* Until nothing submitted to sq is under way. 0 or -ETIMEDOUT. */
int nvme_host_wait_all(struct nvme_host_sq *sq, unsigned timeout_ms);
/* Commands under way. */
static inline unsigned nvme_host_busy(const struct nvme_host_sq *sq)
{
	return sq->n_cids - sq->n_free;
}
static inline struct nvme_host_sq *nvme_host_admin(struct nvme_host *h)
{
	return &h->sqs[0];
}
static inline struct nvme_host_sq *nvme_host_io(struct nvme_host *h, unsigned qid)
{
	return &h->sqs[qid];
}
/* Answers the server's memory requests that come within timeout_ms (no_fd); else sleeps so long. */
void nvme_host_serve(struct nvme_host *h, int timeout_ms);
/* The vector's eventfd; how often it was raised since last asked. */
uint64_t nvme_host_irqs(struct nvme_host *h, unsigned vector);

/* ---- synchronous commands: status ---- */

/* Submits a copy, waits, and gives dw0 (may be NULL). */
int nvme_host_exec(struct nvme_host_sq *sq, const struct nvme_sqe *sqe, uint32_t *dw0);
/* With len bytes of h->data described by PRPs. */
int nvme_host_exec_data(struct nvme_host_sq *sq, struct nvme_sqe *sqe, uint32_t len, uint32_t *dw0);
/* out: 4096 bytes. */
int nvme_host_identify(struct nvme_host *h, uint8_t cns, uint32_t nsid, uint16_t cntid, void *out);
int nvme_host_log(struct nvme_host *h, uint8_t lid, uint32_t nsid, bool retain, void *out,
		  uint32_t len);
int nvme_host_get_feature(struct nvme_host *h, uint8_t fid, uint32_t cdw11, uint32_t *value);
int nvme_host_set_feature(struct nvme_host *h, uint8_t fid, uint32_t cdw11);
/* Size of a namespace in blocks and of one block (0 each when there is none). */
int nvme_host_ns_size(struct nvme_host *h, uint32_t nsid, uint64_t *blocks, uint32_t *block);

/* Read, write, compare: nlb blocks (not 0-based) from or to h->data. flags: NVME_RW_FUA. */
int nvme_host_rw(struct nvme_host_sq *sq, uint8_t opcode, uint32_t nsid, uint64_t slba,
		 uint32_t nlb, uint32_t flags);
/* Verify, Write Zeroes: no data. */
int nvme_host_range(struct nvme_host_sq *sq, uint8_t opcode, uint32_t nsid, uint64_t slba,
		    uint32_t nlb, uint32_t flags);
int nvme_host_flush(struct nvme_host_sq *sq, uint32_t nsid);
int nvme_host_deallocate(struct nvme_host_sq *sq, uint32_t nsid, uint64_t slba, uint32_t nlb);
/* Fills in a Read or Write for submitting later. */
void nvme_host_make_rw(struct nvme_sqe *sqe, uint8_t opcode, uint32_t nsid, uint64_t slba,
		       uint32_t nlb, uint32_t flags);

#endif
