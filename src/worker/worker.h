/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Workers: the data-path threads.
 *
 * A worker runs pollers. A poller is one source of work (a transmit queue, a control queue, an
 * uplink) and is owned by exactly one worker at a time: its poll() never runs on two threads.
 *
 *   idle --kick--> active --(poll() returns 0 for a quiet spell)--> arm() --nothing--> idle
 *                    ^                                                |
 *                    +---------------- arm() says "work" -------------+
 *
 * While a poller is active its worker calls poll() in turn with the other active pollers, fairly by
 * what they cost (sched.c); disarm() was called when it became active, so that a guest need not
 * kick. After a quiet spell, as long as its arrivals make worth while, arm() re-enables
 * notifications and re-checks: true means work came in meanwhile. When no poller is active the
 * worker sleeps in epoll_wait(); an idle worker costs no CPU. A kick between arm()'s re-check and
 * sleep is never lost.
 *
 * Quiescence: data-path code may use what it loaded from a shared _Atomic pointer until its
 * poll() returns. The control thread unpublishes a pointer, calls worker_synchronize(), and then
 * owns the old object alone. A sleeping worker is always quiescent, so this costs nothing when
 * idle and one loop turn (tens of microseconds) per busy worker otherwise.
 *
 * Threads: "control" functions are called by one control thread only.
 */
#ifndef SOFTIOV_WORKER_WORKER_H
#define SOFTIOV_WORKER_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct worker;
struct poller;

/*
 * What work costs, so that workers can be fair: about a byte moved. A frame costs its length plus
 * POLLER_COST_FRAME, an NVMe command its data's length plus POLLER_COST_COMMAND, other small work
 * POLLER_COST_SMALL; what is done for others who have paid already (completions of a block
 * channel) costs 1.
 */
#define POLLER_COST_FRAME   512u
#define POLLER_COST_COMMAND 1024u
#define POLLER_COST_SMALL   1024u
#define POLLER_ONLY	    UINT16_MAX	 /* poller.number: one of its kind */
#define POLLER_BUDGET_MAX   (256u << 10) /* of one turn; a bound of one poll(), too */

struct poller_ops {
	/* Does work until a burst of its own size is full, or poller_budget() is used up (the last
	 * item may go beyond it). Returns its cost; 0 when there was none. */
	unsigned (*poll)(struct poller *p);
	/* Asks to be notified from now on, then re-checks; true when there is work after all.
	 * NULL: always false. */
	bool (*arm)(struct poller *p);
	/* Notifications are not needed while polling. NULL: nothing to do. */
	void (*disarm)(struct poller *p);
};

/* When a poller that finds no work stops asking. */
enum poller_policy {
	POLLER_ADAPTIVE, /* as long as the next arrival is likely to come sooner than a wake-up */
	POLLER_ALWAYS,	 /* never: lowest latency, at the price of a whole core */
	POLLER_NEVER,	 /* at once: least CPU time, highest latency */
};

/*
 * Pollers that together count as one among those of a worker, as the queues of one function do: a
 * function with eight queues gets no more than one with one. Embedded in their owner,
 * zero-initialised; outlives them. Private but for that.
 */
struct poller_share {
	struct poller *members; /* control's own */
};

/* The place of a share among those of one worker: the worker's own. */
struct poller_flow {
	struct poller_flow *prev, *next;
	struct poller *turn; /* its active pollers, a ring: whose poll() is next */
	int64_t credit;	     /* what it may still cost in its round; a debt if negative */
	uint64_t round;
	uint32_t list; /* enum flow_list */
	uint32_t n_active, n_urgent;
};

/* Embedded in its owner, zero-initialised. The first block is the owner's, to be set before
 * worker_add(); all else is private to the worker. */
struct poller {
	const struct poller_ops *ops;
	const char *name;	    /* of its owner, for people; must outlive the poller */
	const char *kind;	    /* and what it is of that: "tx"; NULL: nothing more to say */
	struct poller_share *share; /* NULL: it is alone */
	enum poller_policy policy;  /* changed later by poller_set_policy() */
	uint16_t number;	    /* of several of a kind; else POLLER_ONLY */
	bool movable;		    /* poller_move() is allowed */

	bool urgent;
	bool resting;	 /* its last poll() said poller_rest() */
	uint32_t budget; /* see poller_budget() */
	uint64_t cost;	 /* of all its work so far */
	struct poller_flow *flow, own_flow;
	struct poller *ring_prev, *ring_next; /* in its flow */
	struct poller *prev, *next;	      /* list of active pollers, or of those to come */
	uint64_t idle_since_ns;		      /* 0: its last poll() found work */
	uint64_t gap_ns; /* average time from running dry to the next arrival */
	struct worker *worker;
	_Atomic(struct poller *) kick_next;
	_Atomic uint32_t kicked;   /* POLLER_ATTACHED, POLLER_QUEUED (worker_internal.h) */
	uint32_t state;		   /* enum poller_state */
	_Atomic uint64_t timer_ns; /* 0: none */
	struct poller *timer_prev, *timer_next; /* list of pollers with a timer */
	struct poller *all_prev, *all_next;	/* list of the worker's pollers */
	struct poller *member_next;		/* list of the share's pollers */
	uint64_t moved_ns;
	uint64_t cost_before, cost_recent; /* balance.c's */
};

enum worker_flags {
	/* poll() may block in worker_offline() sections (remote guest memory, slirp). Such a
	 * worker serves one function or uplink only, so that nobody else waits. */
	WORKER_MAY_BLOCK = 1 << 0,
};

/*
 * Starts a thread. name (at most 15 bytes are shown) is copied. Control.
 * Returns 0 or -errno of pthread_create/epoll.
 */
int worker_create(const char *name, unsigned flags, struct worker **out);

/* Stops and joins; every poller must have been removed. Control. */
void worker_destroy(struct worker *w);

/*
 * Gives a poller to a worker; it starts idle, is armed once by the worker (arm() is called, so
 * work present already is found), and is then driven by kicks. Control.
 *
 * Each time a poller goes idle, poll() is called once more after arm() has said false, so that a
 * kick for work of which arm() knows nothing is not lost either.
 */
void worker_add(struct worker *w, struct poller *p);

/*
 * Takes a poller away. On return poll() is not running and will not run again, kicks are
 * ignored, watched fds are no longer watched. Control; must not be called from poll().
 *
 * Waits for the worker's turn to end, unless it sleeps or is in an offline section of another
 * poller. If poll() of this very poller may be blocked in an offline section, first cancel what
 * it waits for, or have it look at worker_leaving(): else this waits as long.
 */
void worker_remove(struct poller *p);

/*
 * Gives the poller to another worker, with its fds and its timer; no kick is lost. Waits for the
 * turn of both to end. -EPERM: the owner has not said that it may be moved, or one of the workers
 * is for a single owner; -ENOENT: it has not been added; else see poller_watch_fd(). Then it
 * stays where it was. Control.
 */
int poller_move(struct poller *p, struct worker *to);

/* Takes effect at once, also while it is added. Control. */
void poller_set_policy(struct poller *p, enum poller_policy policy);

/* The cost that this call of poll() may still use up, at most POLLER_BUDGET_MAX. Only from the
 * poller's own poll(). */
static inline uint32_t poller_budget(const struct poller *p)
{
	return p->budget;
}

/*
 * Says that the poller's share is behind what it was guaranteed: until that is taken back it is
 * served before others that have as much to do. It cannot starve them wholly. Only from the
 * poller's own poll(); forgotten when the poller goes idle.
 */
void poller_set_urgent(struct poller *p, bool urgent);

/* Marks the poller as having work and wakes its worker if asleep. Any thread; lock-free; a
 * system call only when the worker sleeps. Harmless on a poller that is not added (its memory
 * must still be there, of course). */
void poller_kick(struct poller *p);

/*
 * From now on, fd becoming readable (edge-triggered) kicks the poller: poll() must read until
 * EAGAIN (an eventfd used as doorbell need not be read at all). fd stays the caller's and must be
 * unwatched, or the poller removed, before it is closed. The poller must have been added.
 * Control. Returns 0 or -errno (-EEXIST when this worker watches the fd already).
 */
int poller_watch_fd(struct poller *p, int fd);
void poller_unwatch_fd(struct poller *p, int fd);

/*
 * poll() will be called at or soon after the monotonic time at_ns even if the poller is idle; 0
 * cancels. One timer per poller, cleared when it fires. Only from the poller's own poll()/arm().
 */
void poller_set_timer(struct poller *p, uint64_t at_ns);

/*
 * There is work, but none that may be done before at_ns: the poller need not be polled until then,
 * and goes idle at once (unless its policy is POLLER_ALWAYS). Sets its timer. Only from the
 * poller's own poll(), which then returns 0.
 */
void poller_rest(struct poller *p, uint64_t at_ns);

/*
 * Waits until each worker has passed a quiescent point. Afterwards no data-path code uses what
 * was unpublished before the call. Control, never from a worker.
 */
void worker_synchronize(void);

/*
 * Around a blocking wait in a WORKER_MAY_BLOCK worker: between the two the worker counts as
 * quiescent and must hold nothing that the control thread may free.
 */
void worker_offline(void);
void worker_online(void);

/*
 * True while the control thread waits in worker_remove() for the poll() that asks, and so comes
 * back to no event loop: waiting for what only the control thread can bring has to end. False on
 * any thread that is no worker.
 */
bool worker_leaving(void);

struct worker_stats {
	uint64_t loops;	  /* turns of the loop that found work */
	uint64_t sleeps;  /* times it went to sleep */
	uint64_t busy_ns; /* time spent awake */
	uint64_t work_ns; /* of this, the part that found work, about */
	uint64_t cpu_ns;  /* CPU time of its thread */
	uint64_t rests;	  /* times that the CPU limit made it rest */
	uint64_t rested_ns;
	uint32_t pollers; /* owned */
	uint32_t active;  /* of these, being polled now */
};

/* A snapshot; fields may be of slightly different instants. Any thread. */
void worker_get_stats(const struct worker *w, struct worker_stats *st);
const char *worker_name(const struct worker *w);

/* Calls fn for each poller that the worker has. fn must not change that. Control. */
void worker_each_poller(struct worker *w, void (*fn)(struct poller *p, void *opaque), void *opaque);
/* "nic0/vf3/tx1", as far as the owner has said what it is. */
void poller_label(const struct poller *p, char *buf, size_t len);

/*
 * How many cores' time all workers together may use, on an average over some milliseconds; 0: no
 * limit. Process-wide, takes effect at once. Control.
 */
void worker_set_cpu_limit(double cores);
double worker_cpu_limit(void);

/* How long an adaptive poller stays active without work at most, which is what a sleep and a
 * wake-up are held to cost; process-wide. Default 50 us. */
void worker_set_quiet_spell_ns(uint64_t ns);

/*
 * A fixed set of N general workers; queues are spread over them. Control.
 * worker_pool_pick() returns the worker with the fewest pollers.
 */
struct worker_pool;
int worker_pool_create(unsigned n, struct worker_pool **out);
void worker_pool_destroy(struct worker_pool *pool);
struct worker *worker_pool_pick(struct worker_pool *pool);
unsigned worker_pool_size(const struct worker_pool *pool);
struct worker *worker_pool_at(struct worker_pool *pool, unsigned i);

/*
 * To be called about once a second: measures loads, and if move, moves one queue from a worker that
 * is saturated to one that has time, if that evens them out. True: it has. Control.
 */
bool worker_pool_balance(struct worker_pool *pool, bool move);
/* The part of its time that a worker worked, and that a poller of it took, between the last two
 * calls of that: 0 to 1. Control. */
double worker_load(const struct worker *w);
double poller_load(const struct poller *p);

#endif
