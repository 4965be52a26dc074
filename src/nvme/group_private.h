/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A group: a completion queue, the submission queues that name it, and their commands under way. It
 * is made, and ends, on the control thread; between, all of it but what is said to be atomic or
 * control's belongs to one worker. The control thread asks for what must be done there by an
 * nvme_group_op.
 *
 * The way of a command (struct nvme_io): fetched, checked inside the gate of its namespace, then
 *
 *   finished at once      the backend answered within the call: posted in the same turn
 *   IO_BACKEND, IO_DONE   the backend has it, had it
 *   IO_LIMITED            waits for its time (qos)
 *   IO_RETRY              tried again from the start soon: gate closed, memory short
 *   IO_YIELD              goes on with its next step in the next turn
 *   IO_CONTROL            the control thread has it (command.c, fused.c)
 *   IO_STAGED             finished; its completion cannot be written at the moment
 */
#ifndef SOFTIOV_NVME_GROUP_PRIVATE_H
#define SOFTIOV_NVME_GROUP_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "nvme/ctrl_private.h"
#include "nvme/dptr_private.h"
#include "util/clock.h"
#include "util/util.h"
#include "worker/mailbox.h"

#define NVME_BURST	   32	/* commands of one queue in one turn */
#define NVME_INFLIGHT_MAX  1024 /* commands of one group under way */
#define NVME_CONTROL_MAX   16	/* of these at the control thread, events asked for not counted */
#define NVME_BIG_MAX	   256	/* of these with more than a few pages */
#define NVME_BOUNCE_MAX	   (8u << 20) /* bytes of private copies of one group */
#define NVME_IOV_INLINE	   8
#define NVME_RETRY_NS	   (100 * NS_PER_US)
#define NVME_RETRY_SLOW_NS (1 * NS_PER_MS) /* what was tried in vain so often: */
#define NVME_RETRY_FAST	   32
/* How long a turn may take before others have theirs, and for how many bytes the clock is not
 * looked at. */
#define NVME_TURN_NS	   (200 * NS_PER_US)
#define NVME_TURN_CREDIT   (256u << 10)
#define NVME_LIMIT_LOOK_NS (20 * NS_PER_MS) /* how soon a change of limits is seen by who waits */
#define NVME_ABORT_WAIT_NS (100 * NS_PER_MS)

struct nvme_group;
struct nvme_io;
struct nvme_fused;
struct nvme_transport;

/* ---- doorbells (dbbuf.c) ---- */

struct nvme_doorbell {
	/* The register, little-endian: bar, or its slot in a page that the client may have mapped,
	 * and writes whenever and whatever it likes. */
	_Atomic uint32_t *reg;
	_Atomic uint32_t bar;
	_Atomic bool rung; /* since the shadow doorbells came; not by the page */
	/* worker */
	uint32_t value;	  /* last good one */
	uint32_t bad;	  /* last bad one, told already */
	uint32_t event;	  /* EventIdx as published */
	uint32_t initial; /* what the shadow held when it came: not a value of the host's yet... */
	bool synced;	  /* ...until it changes, or the register is written */
	uint16_t index;	  /* of its slot: 2 * qid, or that + 1 */
	uint16_t size;
};

/* Of a queue that is about to be. page: of dbpage.c, or NULL. */
void nvme_doorbell_init(struct nvme_doorbell *d, uint16_t index, uint16_t size,
			_Atomic uint32_t *page);
/* A value of the register that differs from the last good one; gives the one that is good now. */
uint32_t nvme_doorbell_take(struct nvme_group *g, struct nvme_doorbell *d, uint32_t v);
/* The shadow doorbell's value; the last good one if it cannot be had. */
uint32_t nvme_dbbuf_read(struct nvme_group *g, struct nvme_doorbell *d) __attribute__((cold));
/* Reads the shadow where a pointer to it is at hand. */
uint32_t nvme_dbbuf_take(struct nvme_group *g, struct nvme_doorbell *d, uint32_t v);
void nvme_dbbuf_begin(struct nvme_group *g, struct nvme_doorbell *d); /* shadow doorbells came */
void nvme_dbbuf_publish(struct nvme_group *g, struct nvme_doorbell *d, uint32_t event);
void nvme_dbbuf_hush(struct nvme_group *g, struct nvme_doorbell *d); /* the queue is polled */
void nvme_doorbell_bad(struct nvme_group *g, struct nvme_doorbell *d, uint32_t v);

/* ---- queues ---- */

struct nvme_sq {
	struct nvme_sq *next; /* in the group, worker */
	struct nvme_group *g; /* control too */
	uint16_t qid, size;
	uint64_t base;
	bool going; /* control: its deletion is under way */
	/* worker */
	const struct nvme_sqe *ring; /* NULL: by nvme_mem_read() */
	uint16_t head;
	unsigned outstanding; /* fetched, completion not posted */
	bool deleting;
	struct nvme_group_op *delete_op;
	struct nvme_io *fused_first;
	struct nvme_doorbell tail;
};

struct nvme_cq {
	uint16_t qid, size, vector;
	bool irq;
	uint64_t base;
	/* worker */
	struct nvme_cqe *ring; /* NULL: by nvme_mem_write() */
	uint16_t head, tail;   /* acknowledged, next to write */
	uint8_t phase;
	struct nvme_doorbell ack;
	unsigned unsignalled; /* posted since the last interrupt (irq.c) */
	uint64_t irq_due_ns;
};

/* ---- commands ---- */

struct nvme_big {
	struct nvme_big *next;
	struct iovec iov[NVME_DPTR_IOV_MAX];
	struct dma_pin *pins[NVME_DPTR_IOV_MAX];
};

enum nvme_io_where {
	IO_FREE,
	IO_BACKEND,
	IO_DONE,
	IO_LIMITED,
	IO_RETRY,
	IO_YIELD,
	IO_STAGED,
	IO_LISTS,
	IO_CONTROL = IO_LISTS, /* on no list from here on */
	IO_NOWHERE,
};

struct nvme_io {
	struct nvme_sqe sqe; /* private copy */
	struct nvme_io *next, *prev, *all_next;
	struct nvme_group *g;
	struct nvme_sq *sq; /* NULL: the group's own (a flush for shutdown) */
	struct nvme_ns *ns; /* inside its gate, or NULL */
	const struct nvme_op *op;
	uint64_t start_ns, due_ctrl_ns, due_ns_ns;
	uint32_t gen_ctrl, gen_ns; /* of the limits that these were made by */
	uint64_t limit_bytes;	   /* reserved */
	uint64_t slba;
	uint32_t nlb, len; /* bytes of data in guest memory, or 0 */
	uint32_t dw0;
	uint16_t status;
	uint16_t end_status; /* not 0: aborted, or its queue deleted */
	uint8_t where;
	bool admitted; /* by the limits */
	bool counted;  /* as being at the backend, in statistics */
	bool waiting;  /* as waiting for anything else, in the group's */
	bool reserves; /* an entry of the completion queue */
	bool in_fused; /* nobody else is in the namespace: no gate */
	uint16_t n_pins;
	int result; /* of the last backend operation */
	/* of commands in several steps */
	uint64_t offset, left;
	uint32_t chunk, step;
	bool writing;
	struct nvme_group_op *owner; /* what waits for it: abort, flush */
	struct nvme_big *big;
	uint8_t *buf;
	uint32_t buf_len;
	struct dma_pin *pins[NVME_IOV_INLINE];
	struct iovec iov[NVME_IOV_INLINE];
	struct block_request req;
};

struct nvme_io_list {
	struct nvme_io *head, *tail;
};

/* One kind of command. */
struct nvme_op {
	uint8_t flags; /* NVME_OP_* */
	enum nvme_stats_op stats;
	enum nvme_access access;
	/* Each gives a status, NVME_ST_PENDING, _STEP, _RETRY or _YIELD. Inside the gate. */
	uint16_t (*prepare)(struct nvme_group *g, struct nvme_io *io, uint64_t *bytes);
	uint16_t (*start)(struct nvme_group *g, struct nvme_io *io);
	uint16_t (*next)(struct nvme_group *g, struct nvme_io *io); /* after io->result */
};
#define NVME_OP_RANGE  1 /* SLBA and NLB in cdw10..12 */
#define NVME_OP_DATA   2 /* of that length in guest memory */
#define NVME_OP_WRITES 4 /* refused by a namespace that cannot be written */
#define NVME_OP_RESV   8 /* for the control thread (resv.c) */

/* ---- what the control thread asks for ---- */

struct nvme_group_op {
	struct nvme_group_op *next;	     /* on the way to the worker */
	struct nvme_group_op *cprev, *cnext; /* control: of the group */
	struct nvme_group *g;
	/* Worker; true: done. Else nvme_group_op_done() is called later. */
	bool (*run)(struct nvme_group *g, struct nvme_group_op *op);
	void (*reply)(struct nvme_group_op *op); /* control; NULL: nothing to do */
	struct mailbox_work work;
	struct nvme_transport *hold; /* completed no earlier than this */
	struct nvme_command *cmd;
	struct nvme_sq *sq;
	struct nvme_io *io;
	uint16_t sqid, cid;
	uint64_t shadow, eventidx, deadline_ns;
	int result;
	void (*flushed)(struct nvme_ctrl *ctrl, int result);
};

/* ---- the group ---- */

/* A region of guest memory that the worker's ring knows (fixed.c). */
#define NVME_FIXED_MAX 8
struct nvme_fixed {
	uint64_t id;
	uint8_t *base;
	uint64_t size;
	int first; /* piece; negative: it could not be registered */
};

struct nvme_group {
	struct poller poller;
	struct nvme_ctrl *ctrl;
	struct nvme_queues *q;
	struct worker *worker;
	struct block_channel *channel;
	struct nvme_own_worker *own; /* in remote mode */
	unsigned slot;		     /* the channel's number */
	bool remote;
	_Atomic bool stopping; /* a reset has begun */
	_Atomic bool killed;   /* and all but what the backend has was dropped */
	_Atomic bool orphan;   /* ctrl and q are gone; only the backend's answers are waited for */
	_Atomic(struct nvme_group_op *) ops;
	_Atomic(struct nvme_transport *) returned;

	/* worker */
	bool dead;   /* stopping was seen; all commands but the backend's were dropped */
	bool failed; /* rings lost */
	bool able;   /* there is memory to work in, in this turn */
	bool dbbuf;
	bool woken;   /* was idle; the host has not been told yet that it is looked at again */
	bool clocked; /* the poller's timer is set */
	bool busy;    /* has begun to be so, and counts in the controller's busy time */
	struct nvme_cq cq;
	struct nvme_sq *sqs;
	unsigned outstanding; /* commands that will want an entry of the completion queue */
	unsigned at_control, events_asked, n_ios, n_bigs;
	uint32_t bounce_bytes;
	uint64_t turn;
	uint64_t now_ns; /* of this turn; 0: not read yet */
	int64_t credit;	 /* of this turn, in bytes copied, before its time is looked at */
	bool turn_over;	 /* nothing more is begun in it */
	unsigned cost;	 /* of the commands that it finished, or gave to a backend (worker.h) */
	uint64_t retry_at_ns;
	unsigned retries;    /* rounds of them since there were none */
	uint64_t generation; /* of the view that pointers were made with */
	uint64_t shadow_addr, eventidx_addr;
	uint32_t *shadow, *eventidx; /* pages; NULL: by nvme_mem_*() */
	struct nvme_mem mem;
	struct nvme_ns_table *table; /* this turn's; NULL in remote mode: load it each time */
	unsigned posted;	     /* in this turn */
	struct nvme_io *free, *all;
	struct nvme_big *bigs;
	struct nvme_io_list lists[IO_LISTS];
	struct nvme_transport *commands;  /* at the control thread or back */
	struct nvme_transport *writeback; /* back, but their data could not be written yet */
	struct nvme_group_op *aborts;	  /* that wait */
	struct nvme_fused *fused;	  /* pairs; the first one runs */
	unsigned n_fixed;
	struct nvme_fixed fixed[NVME_FIXED_MAX];
	/* commands finished in this turn, alike, not in the statistics yet */
	struct nvme_stats_sample sample;
	struct nvme_ns *sample_ns;

	/* written by the worker */
	_Atomic uint32_t at_backend;
	_Atomic uint64_t n_commands, n_interrupts, memory;
	/* Commands that are not finished and not at a backend: all; and by NSID. */
	_Atomic uint32_t waiting[NVME_NAMESPACES_MAX + 1];
	struct mailbox_work drained; /* dead, and nothing is at the backend any more */

	/* control */
	struct nvme_group *next, *prev;
	struct nvme_group_op *ops_out;
	unsigned n_sqs;
};

static inline bool nvme_group_orphan(struct nvme_group *g)
{
	return unlikely(atomic_load_explicit(&g->orphan, memory_order_acquire));
}

static inline uint64_t nvme_group_now(struct nvme_group *g)
{
	if (!g->now_ns)
		g->now_ns = clock_now_ns();
	return g->now_ns;
}

/* Work that a turn did: bytes that were copied, or what takes as long. */
static inline void nvme_turn_charge(struct nvme_group *g, uint64_t bytes)
{
	g->credit -= (int64_t)MIN(bytes, (uint64_t)NVME_TURN_CREDIT);
}

/* Once for each command. */
static inline void nvme_turn_cost(struct nvme_group *g, const struct nvme_io *io)
{
	g->cost += io->len + POLLER_COST_COMMAND;
}

bool nvme_turn_over_slow(struct nvme_group *g);
static inline bool nvme_turn_over(struct nvme_group *g)
{
	return unlikely(g->credit <= 0) && nvme_turn_over_slow(g);
}

/* One writer. */
static inline void nvme_count(_Atomic uint64_t *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline uint32_t nvme_doorbell_read(struct nvme_group *g, struct nvme_doorbell *d)
{
	uint32_t v;

	if (!g->dbbuf || d->index < 2) {
		v = atomic_load_explicit(d->reg, memory_order_acquire);
		return likely(v == d->value) ? v : nvme_doorbell_take(g, d, v);
	}
	if (unlikely(!g->shadow || !d->synced))
		return nvme_dbbuf_read(g, d);
	v = __atomic_load_n(&g->shadow[d->index], __ATOMIC_ACQUIRE);
	return likely(v == d->value) ? v : nvme_dbbuf_take(g, d, v);
}

static inline unsigned nvme_ring_distance(unsigned from, unsigned to, unsigned size)
{
	return to >= from ? to - from : to + size - from;
}

static inline void nvme_list_add(struct nvme_group *g, struct nvme_io *io, enum nvme_io_where w)
{
	struct nvme_io_list *l = &g->lists[w];

	io->where = (uint8_t)w;
	io->next = NULL;
	io->prev = l->tail;
	if (l->tail)
		l->tail->next = io;
	else
		l->head = io;
	l->tail = io;
}

static inline void nvme_list_del(struct nvme_group *g, struct nvme_io *io)
{
	struct nvme_io_list *l = &g->lists[io->where];

	if (io->prev)
		io->prev->next = io->next;
	else
		l->head = io->next;
	if (io->next)
		io->next->prev = io->prev;
	else
		l->tail = io->prev;
	io->where = IO_NOWHERE;
}

/* group.c, worker */
extern const struct poller_ops nvme_group_poller_ops;
void nvme_group_idle(struct nvme_group *g);  /* its commands are done, or dropped. Control too */
bool nvme_group_begin(struct nvme_group *g); /* false: no memory to work in at the moment */
/* post.c, worker: what is finished */
void nvme_io_complete(struct nvme_group *g, struct nvme_io *io, uint16_t status);
void nvme_post_staged(struct nvme_group *g);
void nvme_samples_flush(struct nvme_group *g);
void nvme_cq_acknowledge(struct nvme_group *g);
static inline unsigned nvme_cq_room(const struct nvme_cq *cq)
{
	return cq->size - 1u - nvme_ring_distance(cq->head, cq->tail, cq->size);
}
/* irq.c, worker: after posting; and when its time has come. */
void nvme_irq_posted(struct nvme_group *g, unsigned n);
void nvme_irq_timer(struct nvme_group *g, uint64_t now_ns);

/* io.c, worker */
struct nvme_io *nvme_io_get(struct nvme_group *g);	    /* NULL: later */
void nvme_io_put(struct nvme_group *g, struct nvme_io *io); /* what it holds is released before */
void nvme_io_release(struct nvme_group *g, struct nvme_io *io);
/* It will not end in this turn, and waits for something else than a backend; does so no more. */
void nvme_io_wait(struct nvme_group *g, struct nvme_io *io);
void nvme_io_wait_over(struct nvme_group *g, struct nvme_io *io);
void nvme_io_begin(struct nvme_group *g, struct nvme_io *io); /* just fetched */
void nvme_io_start(struct nvme_group *g, struct nvme_io *io); /* or start again */
void nvme_io_settle(struct nvme_group *g, struct nvme_io *io, uint16_t st);
void nvme_io_continue(struct nvme_group *g, struct nvme_io *io); /* after io->result */
struct nvme_ns *nvme_io_lookup(struct nvme_group *g, uint32_t nsid);
bool nvme_io_limits_changed(struct nvme_group *g, struct nvme_io *io);
void nvme_io_refund(struct nvme_group *g, struct nvme_io *io); /* of IO_LIMITED: will not start */
/* data.c, worker */
uint16_t nvme_io_map(struct nvme_group *g, struct nvme_io *io, bool to_host);
uint16_t nvme_io_buf(struct nvme_group *g, struct nvme_io *io, uint32_t len);
uint16_t nvme_io_submit(struct nvme_group *g, struct nvme_io *io, enum block_op op, uint64_t off,
			uint64_t len);
/* ops.c: what each opcode does; NULL: not supported. */
const struct nvme_op *nvme_op_of(uint8_t opcode);
extern const struct nvme_op nvme_op_flush_all;
uint16_t nvme_compare_start(struct nvme_group *g, struct nvme_io *io);
uint16_t nvme_compare_next(struct nvme_group *g, struct nvme_io *io);

/* fixed.c, worker */
void nvme_fixed_refresh(struct nvme_group *g); /* the view has changed */
void nvme_fixed_drop(struct nvme_group *g);
uint16_t nvme_fixed_piece_slow(const struct nvme_group *g, const struct iovec *iov);
/* For block_request.fixed. */
static inline uint16_t nvme_fixed_piece(const struct nvme_group *g, const struct block_request *req)
{
	return unlikely(g->n_fixed) && req->iovcnt == 1 ? nvme_fixed_piece_slow(g, req->iov) : 0;
}

/* fused.c, worker */
void nvme_fused_fetched(struct nvme_group *g, struct nvme_io *io);
void nvme_fused_ring_empty(struct nvme_group *g, struct nvme_sq *sq);
uint16_t nvme_fused_step(struct nvme_group *g, struct nvme_io *io, uint16_t st, bool *handled);
void nvme_fused_poll(struct nvme_group *g);
void nvme_fused_kill(struct nvme_group *g);
/* control, when the group ends */
void nvme_fused_end(struct nvme_group *g);

/* command.c, worker */
uint16_t nvme_transport_send(struct nvme_group *g, struct nvme_io *io);
unsigned nvme_transport_poll(struct nvme_group *g);
/* control */
void nvme_transport_hold(struct nvme_transport *t);
void nvme_transport_unhold(struct nvme_transport *t);
void nvme_transport_cancel_pending(struct nvme_queues *q);
void nvme_transport_free_all(struct nvme_group *g);

/* group_op.c */
struct nvme_group_op *nvme_group_op_new(struct nvme_group *g); /* NULL: no memory. Control */
void nvme_group_op_post(struct nvme_group_op *op);	       /* control */
bool nvme_group_run_ops(struct nvme_group *g);		       /* worker */
void nvme_group_op_done(struct nvme_group_op *op);	       /* worker */
void nvme_group_ops_end(struct nvme_group *g, bool reply);     /* control; no poller any more */
bool nvme_op_sq_add(struct nvme_group *g, struct nvme_group_op *op);
bool nvme_op_sq_delete(struct nvme_group *g, struct nvme_group_op *op);
bool nvme_op_abort(struct nvme_group *g, struct nvme_group_op *op);
bool nvme_op_dbbuf(struct nvme_group *g, struct nvme_group_op *op);
bool nvme_op_flush(struct nvme_group *g, struct nvme_group_op *op);
void nvme_abort_finish(struct nvme_group *g, struct nvme_io *io);
void nvme_aborts_expire(struct nvme_group *g, uint64_t now_ns);
void nvme_sq_maybe_deleted(struct nvme_group *g, struct nvme_sq *sq);
void nvme_flush_finish(struct nvme_group *g, struct nvme_io *io, uint16_t status);
void nvme_group_kill(struct nvme_group *g); /* drops all; cancels what the backend has */

/* ---- all queues of a controller (queues.c, queues_life.c); control but for what is atomic ---- */

struct nvme_own_worker {
	struct worker *worker;
	unsigned refs;
};

struct nvme_queues {
	struct nvme_ctrl *ctrl;
	unsigned max_qid;
	bool enabled, started; /* CC.EN; the admin pair has been made */
	bool stopping;	       /* disabled, but groups are left */
	bool remote;
	const void *remote_space; /* found to need messages... */
	_Atomic bool met_remote;  /* ...as a worker noticed */
	bool dbbuf;
	uint64_t shadow, eventidx;
	struct nvme_enable en;
	struct nvme_group **cqs; /* by id */
	struct nvme_sq **sqs;
	unsigned n_sqs; /* I/O */
	struct nvme_group *groups;
	struct poller_share share; /* of them */
	struct nvme_own_worker *own;
	struct nvme_transport *running, *pending;
	void (*drained)(struct nvme_ctrl *ctrl);
	uint64_t kicks;
	_Atomic uint32_t *page; /* doorbells that the client may have mapped, or NULL (dbpage.c) */
	int page_fd;
	struct nvme_queue_counters gone; /* of groups that are gone */
	/* read by workers */
	_Atomic uint32_t threshold, time_ns;
	_Atomic uint64_t no_coalescing[(NVME_QUEUE_PAIRS_MAX + 64) / 64];
};

/* Of the queues' pollers: the controller's, or always while doorbells may be mapped. */
enum poller_policy nvme_queues_policy(const struct nvme_queues *q);

/* Makes a group with an empty completion queue, and starts it. */
int nvme_group_create(struct nvme_queues *q, const struct nvme_cq *cq, struct nvme_group **out);
/* A submission queue for it, of an id that is free; 0 or -ENOMEM. */
int nvme_group_add_sq(struct nvme_group *g, uint16_t qid, uint64_t base, uint16_t size);
/* Takes it and all that belongs to it away; its poller goes, nothing is at the backend. */
void nvme_group_end(struct nvme_group *g);

#endif
