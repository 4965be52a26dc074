/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside a worker: what the loop (worker.c) and the control thread (control.c) share. Private to
 * this folder.
 *
 * Locking. A worker holds its own lock while it runs, and lets go of it while it sleeps, while it
 * is in an offline section, and at the end of a turn when the control thread wants it. So the
 * control thread changes a worker's lists itself, under that lock; no messages are needed, and a
 * sleeping worker need not even be woken. The epoch is odd exactly while the lock is held by the
 * worker.
 *
 * Kicks. poller.kicked has two bits: ATTACHED while the poller has a worker, QUEUED from a kick
 * until the poller goes idle again. Whoever sets QUEUED on an attached poller puts it on the
 * worker's kick list, nobody else does; QUEUED stays set while the poller is active, so that
 * kicking a busy poller is one atomic operation. Hence, seen under the lock: an idle poller is on
 * the kick list (or about to be) exactly if QUEUED is set; an active or pending one never is, but
 * for the current one while it tries to become idle. So only the worker itself, at the start of a
 * turn, moves what is on that list to another; control takes single idle pollers off it.
 */
#ifndef SOFTIOV_WORKER_WORKER_INTERNAL_H
#define SOFTIOV_WORKER_WORKER_INTERNAL_H

#include "worker/worker.h"

#include <pthread.h>

#include "util/util.h"

#define POLLER_ATTACHED 1u
#define POLLER_QUEUED	2u

/* Between two looks at the clock, so much is done, every poll counting as COST_EMPTY beside its
 * work: a few us. */
#define CLOCK_CREDIT	(32 << 10)
#define COST_EMPTY	512
#define IDLE_NOW	UINT64_MAX /* the clock has not been looked at since */
#define TIMER_NONE	UINT64_MAX
#define WATCH_WAKE	UINT64_MAX /* epoll data of the worker's own eventfd */
#define WATCH_FREE_NONE UINT32_MAX

enum poller_state {
	POLLER_IDLE,	/* on no list, or on the kick list */
	POLLER_NEW,	/* on the pending list, never armed yet */
	POLLER_PENDING, /* on the pending list, kicked */
	POLLER_ACTIVE,	/* on the active list */
};

struct poller_list {
	struct poller *head, *tail;
};

enum flow_list {
	FLOW_NONE,    /* no poller of it is active */
	FLOW_SPARSE,  /* has not used up a quantum in this round */
	FLOW_URGENT,  /* has, but is behind what it was guaranteed */
	FLOW_BACKLOG, /* has */
	FLOW_LISTS,
};

struct flow_queue {
	struct poller_flow *head, *tail;
	uint32_t n;
};

/* A watched fd. Events name it by index and generation: one that was queued before the fd was
 * unwatched must not reach the next user of the slot. */
struct watch {
	struct poller *poller; /* NULL: free */
	int fd;
	uint32_t gen;
	uint32_t next_free;
};

struct worker {
	/* touched by kickers */
	_Atomic(struct poller *) kicks;
	_Atomic uint32_t sleeping;
	int wakefd;

	/* touched by the control thread */
	_Alignas(CACHE_LINE) _Atomic uint64_t epoch; /* odd: running */
	_Atomic uint32_t want;			     /* the control thread waits for the lock */
	_Atomic bool stop;
	_Atomic(struct poller *) leaving; /* the control thread waits for its poll() to end */
	uint64_t sync_epoch;		  /* worker_synchronize()'s own */
	struct worker *next;		  /* in the list of workers, or of spare ones */

	/* below: under the lock */
	_Alignas(CACHE_LINE) pthread_mutex_t lock;
	pthread_cond_t wanted;	  /* want has become 0 */
	pthread_cond_t rest_over; /* or nearly so */
	struct poller *pollers;	  /* all */
	struct poller_list active, pending;
	struct flow_queue flows[FLOW_LISTS];
	uint64_t round;		/* of the backlogged; see sched.c */
	unsigned urgent_run;	/* urgent turns one after the other */
	bool found_work;	/* in this turn of the loop */
	struct poller *current; /* whose poll(), arm() or disarm() runs */
	struct poller *timers;
	uint64_t timer_min; /* no timer is due before */
	uint64_t now_ns;    /* as of the last look */
	uint64_t fd_check_ns;
	uint64_t cpu_ns, charged_ns; /* see limit.c */
	uint64_t rest_until_ns;	     /* 0: need not rest */
	uint64_t work;		     /* cost of the work since the last look */
	uint32_t n_quiet;	     /* active pollers whose last poll() found nothing */
	int64_t credit;		     /* until the next look */
	struct watch *watches;
	uint32_t n_watches, watches_free, watches_used;

	/* statistics: written by the worker (pollers: by control), read by anyone */
	_Atomic uint64_t loops, sleeps, busy_ns, awake_since_ns;
	_Atomic uint64_t work_ns, rests, rested_ns;
	_Atomic uint32_t n_pollers, n_active;

	struct { /* control's own: see balance.c */
		uint64_t time_ns, work_ns, rested_ns, cost;
		double load;
		unsigned saturated; /* looks in a row */
	} look;

	int epfd;
	unsigned flags;
	pthread_t thread;
	char name[32];
};

/* The worker that runs this thread; NULL elsewhere. */
extern _Thread_local struct worker *worker_self;

static inline void list_append(struct poller_list *l, struct poller *p)
{
	p->next = NULL;
	p->prev = l->tail;
	if (l->tail)
		l->tail->next = p;
	else
		l->head = p;
	l->tail = p;
}

static inline void list_del(struct poller_list *l, struct poller *p)
{
	if (p->prev)
		p->prev->next = p->next;
	else
		l->head = p->next;
	if (p->next)
		p->next->prev = p->prev;
	else
		l->tail = p->prev;
	p->prev = p->next = NULL;
}

/* Any thread: ends the worker's sleep. */
void worker_wake(struct worker *w);

/* The store-load fence that publishing an epoch, or reading one, needs. */
void worker_full_fence(void);

/* The thread's main function; arg is the worker. */
void *worker_main(void *arg);

/* sched.c, under the lock. */
void flow_attach(struct worker *w, struct poller *p); /* the poller is of the worker now */
void flow_detach(struct worker *w, struct poller *p); /* it is not active any more */
void flow_activate(struct worker *w, struct poller *p);
void flow_deactivate(struct worker *w, struct poller *p);
void flow_turn(struct worker *w);

/* limit.c, under the lock. */
bool limit_on(void);
/* Counts the CPU time since the last call, unless that was just now and it is not to be now. Sets
 * rest_until_ns when too much was used. */
void limit_charge(struct worker *w, bool now);
void limit_rest(struct worker *w);

/* watch.c, under the lock. fd < 0: all of the poller's. Errors: see poller_watch_fd(). */
int watch_add(struct worker *w, struct poller *p, int fd);
void watch_del(struct worker *w, const struct poller *p, int fd);
int watch_copy(const struct worker *from, struct worker *to, struct poller *p);

/* control.c. Locks a worker for the control thread, at the end of its turn at the latest. */
void worker_control_lock(struct worker *w);
void worker_control_unlock(struct worker *w);
void worker_each(void (*fn)(struct worker *w));

/* control.c, under the lock: makes the poller the worker's, with its state as it is; takes it away
 * with its timer, but for its watches. */
void worker_attach(struct worker *w, struct poller *p, enum poller_state state);
void worker_detach(struct worker *w, struct poller *p);

/* quiet.c, under the lock. */
void quiet_ends(struct worker *w, struct poller *p);
void quiet_woken(const struct worker *w, struct poller *p);
bool quiet_over(const struct worker *w, const struct poller *p);

/* worker.c, under the lock: calls poll() with a budget, and sees to what follows from the result,
 * which is returned. */
unsigned worker_serve(struct worker *w, struct poller *p, uint32_t budget);

/* worker.c, under the lock: looks at the clock, and counts what was done since the last look. */
void worker_tick(struct worker *w);

/* The worker's own: around a rest, while which it does not hold the lock. */
void worker_pause_begins(struct worker *w);
void worker_pause_ends(struct worker *w);

/* Under the lock. */
void worker_make_pending(struct worker *w, struct poller *p, enum poller_state state);
void worker_set_inactive(struct worker *w, struct poller *p); /* off the active list */
void worker_timer_add(struct worker *w, struct poller *p, uint64_t at_ns);
void worker_timer_del(struct worker *w, struct poller *p);

#endif
