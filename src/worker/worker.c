/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop of a worker. */
#include "worker/worker_internal.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/clock.h"

#define FD_CHECK_NS    (20 * NS_PER_US)
#define EVENTS_MAX     64
#define POLL_COST      128
#define TIMER_SLACK_NS 1000
#define BUDGET_LAST    (16 << 10) /* of the look after arm(): whoever has more is not idle */

_Thread_local struct worker *worker_self;

static void stat_add(_Atomic uint64_t *stat, uint64_t n)
{
	/* one writer: no locked instruction */
	atomic_store_explicit(stat, atomic_load_explicit(stat, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* ---- kicks ---- */

void worker_wake(struct worker *w)
{
	if (atomic_load(&w->sleeping) && atomic_exchange(&w->sleeping, 0))
		eventfd_write(w->wakefd, 1);
}

/*
 * QUEUED is set with a read-modify-write even if it is set already: the worker clears it with
 * another before it looks for work one last time, and so sees what was published before this.
 */
void poller_kick(struct poller *p)
{
	struct poller *head;
	struct worker *w;

	if (atomic_fetch_or(&p->kicked, POLLER_QUEUED) != POLLER_ATTACHED)
		return; /* not added, or active, or somebody else's kick is under way */
	w = p->worker;
	head = atomic_load_explicit(&w->kicks, memory_order_relaxed);
	do
		atomic_store_explicit(&p->kick_next, head, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&w->kicks, &head, p));
	/* p may be gone from here on */
	if (w != worker_self)
		worker_wake(w);
}

void worker_make_pending(struct worker *w, struct poller *p, enum poller_state state)
{
	p->state = state;
	list_append(&w->pending, p);
}

/* Moves the kick list to the pending list, oldest kick first. */
static void take_kicks(struct worker *w)
{
	struct poller *p, *next, *rev = NULL;

	if (!atomic_load(&w->kicks))
		return;
	for (p = atomic_exchange(&w->kicks, NULL); p; p = next) {
		next = atomic_load_explicit(&p->kick_next, memory_order_relaxed);
		atomic_store_explicit(&p->kick_next, rev, memory_order_relaxed);
		rev = p;
	}
	for (p = rev; p; p = next) {
		next = atomic_load_explicit(&p->kick_next, memory_order_relaxed);
		worker_make_pending(w, p, POLLER_PENDING);
	}
}

/* A kick by the worker itself (fd, timer): needs no list. */
static void kick_local(struct worker *w, struct poller *p)
{
	if (p->state != POLLER_IDLE)
		return;
	if (atomic_fetch_or(&p->kicked, POLLER_QUEUED) == POLLER_ATTACHED)
		worker_make_pending(w, p, POLLER_PENDING);
	/* else it is on the kick list */
}

/* ---- polling ---- */

static unsigned call_poll(struct worker *w, struct poller *p, uint32_t budget)
{
	unsigned n;

	p->budget = budget;
	n = p->ops->poll(p);
	p->cost += n;
	w->work += n;
	w->credit -= (int64_t)n + COST_EMPTY;
	return n;
}

static void call_disarm(struct poller *p)
{
	if (p->ops->disarm)
		p->ops->disarm(p);
}

/*
 * The way into idleness: from now on kicks count, notifications come, and whatever arrived before
 * that is looked for once more. True: idle, on no list of the worker.
 *
 * The order is the protocol. QUEUED is taken away by a read-modify-write, then arm() and poll()
 * look. A kicker publishes, then sets QUEUED by another: either that comes first, and what it
 * published is seen here, or it finds QUEUED gone and puts the poller on the kick list.
 */
static bool try_idle(struct worker *w, struct poller *p)
{
	unsigned n = 0;

	atomic_exchange(&p->kicked, POLLER_ATTACHED);
	if (!(p->ops->arm && p->ops->arm(p))) {
		n = call_poll(w, p, BUDGET_LAST);
		if (!n)
			return true;
	}
	p->flow->credit -= n;
	/* Work. If somebody kicked meanwhile, the kick list has it and it becomes active through
	 * that; else it stays as it is. */
	if (atomic_fetch_or(&p->kicked, POLLER_QUEUED) != POLLER_ATTACHED)
		return true;
	w->n_quiet -= p->idle_since_ns != 0;
	p->idle_since_ns = 0; /* another spell, for what arm() saw and poll() did not */
	call_disarm(p);
	return false;
}

static void set_active(struct worker *w, struct poller *p)
{
	p->state = POLLER_ACTIVE;
	w->n_quiet += p->idle_since_ns != 0;
	list_append(&w->active, p);
	flow_activate(w, p);
	atomic_store_explicit(&w->n_active, w->n_active + 1, memory_order_relaxed);
}

void worker_set_inactive(struct worker *w, struct poller *p)
{
	flow_deactivate(w, p);
	list_del(&w->active, p);
	w->n_quiet -= p->idle_since_ns != 0;
	p->state = POLLER_IDLE;
	atomic_store_explicit(&w->n_active, w->n_active - 1, memory_order_relaxed);
}

/* Tries to send an active poller to sleep; returns the one behind it on the active list. The
 * control thread may take others off that while this one is offline, so it is read after that. */
static struct poller *retire(struct worker *w, struct poller *p)
{
	struct poller *next;
	bool idle;

	w->current = p;
	idle = try_idle(w, p);
	w->current = NULL;
	next = p->next;
	if (idle)
		worker_set_inactive(w, p);
	return next;
}

static void begin_pending(struct worker *w)
{
	struct poller *p;
	bool is_new;

	while ((p = w->pending.head)) {
		is_new = p->state == POLLER_NEW;
		list_del(&w->pending, p);
		set_active(w, p);
		if (is_new && p->policy != POLLER_ALWAYS) {
			retire(w, p);
			continue;
		}
		p->resting = false;
		quiet_woken(w, p);
		w->current = p;
		call_disarm(p);
		w->current = NULL;
	}
}

unsigned worker_serve(struct worker *w, struct poller *p, uint32_t budget)
{
	unsigned n;

	w->current = p;
	n = call_poll(w, p, budget);
	w->current = NULL;
	if (likely(n)) {
		if (unlikely(p->idle_since_ns))
			quiet_ends(w, p);
		w->found_work = true;
		return n;
	}
	if (!p->idle_since_ns) {
		p->idle_since_ns = IDLE_NOW;
		w->n_quiet++;
	}
	if (unlikely(p->resting || p->policy == POLLER_NEVER)) {
		p->resting = false;
		if (p->policy != POLLER_ALWAYS)
			retire(w, p);
	}
	return 0;
}

/* Sends to sleep who had no work for a quiet spell. */
static void retire_quiet(struct worker *w)
{
	struct poller *p, *next;

	for (p = w->active.head; p; p = next) {
		next = p->next;
		if (!p->idle_since_ns)
			continue;
		if (p->idle_since_ns == IDLE_NOW)
			p->idle_since_ns = w->now_ns;
		else if (quiet_over(w, p))
			next = retire(w, p);
	}
}

/* ---- timers ---- */

void worker_timer_del(struct worker *w, struct poller *p)
{
	if (!atomic_load_explicit(&p->timer_ns, memory_order_relaxed))
		return;
	atomic_store_explicit(&p->timer_ns, 0, memory_order_relaxed);
	if (p->timer_prev)
		p->timer_prev->timer_next = p->timer_next;
	else
		w->timers = p->timer_next;
	if (p->timer_next)
		p->timer_next->timer_prev = p->timer_prev;
	p->timer_prev = p->timer_next = NULL;
	if (!w->timers)
		w->timer_min = TIMER_NONE; /* else it may be too early, which does no harm */
}

void worker_timer_add(struct worker *w, struct poller *p, uint64_t at_ns)
{
	if (!atomic_load_explicit(&p->timer_ns, memory_order_relaxed)) {
		p->timer_prev = NULL;
		p->timer_next = w->timers;
		if (w->timers)
			w->timers->timer_prev = p;
		w->timers = p;
	}
	atomic_store_explicit(&p->timer_ns, at_ns, memory_order_relaxed);
	w->timer_min = MIN(w->timer_min, at_ns);
}

void poller_set_timer(struct poller *p, uint64_t at_ns)
{
	struct worker *w = p->worker;

	assert(w && w == worker_self);
	if (at_ns)
		worker_timer_add(w, p, at_ns);
	else
		worker_timer_del(w, p);
}

void poller_rest(struct poller *p, uint64_t at_ns)
{
	p->resting = true;
	poller_set_timer(p, at_ns);
}

static void fire_timers(struct worker *w)
{
	uint64_t min = TIMER_NONE, at;
	struct poller *p, *next;

	if (w->now_ns < w->timer_min)
		return;
	for (p = w->timers; p; p = next) {
		next = p->timer_next;
		at = atomic_load_explicit(&p->timer_ns, memory_order_relaxed);
		if (at > w->now_ns) {
			min = MIN(min, at);
			continue;
		}
		worker_timer_del(w, p);
		kick_local(w, p);
	}
	w->timer_min = min;
}

/* ---- fds and sleep ---- */

static void handle_events(struct worker *w, const struct epoll_event *ev, int n)
{
	const struct watch *watch;
	uint64_t data;
	int i;

	for (i = 0; i < n; i++) {
		data = ev[i].data.u64;
		if (data == WATCH_WAKE || (uint32_t)data >= w->n_watches)
			continue;
		watch = &w->watches[(uint32_t)data];
		if (watch->poller && watch->gen == data >> 32)
			kick_local(w, watch->poller);
	}
}

/* epoll_wait() with a deadline in ns; old kernels and filters that lack the call get ms. */
static int wait_events(struct worker *w, struct epoll_event *ev, uint64_t until_ns)
{
	uint64_t now, ns;
	int ms;

	if (until_ns == TIMER_NONE)
		return epoll_wait(w->epfd, ev, EVENTS_MAX, -1);
	now = clock_now_ns();
	ns = until_ns > now ? until_ns - now : 0;
#ifdef SYS_epoll_pwait2
	struct timespec ts = {ns / NS_PER_S, ns % NS_PER_S};
	int n = (int)syscall(SYS_epoll_pwait2, w->epfd, ev, EVENTS_MAX, &ts, NULL, 0);

	if (n >= 0 || (errno != ENOSYS && errno != EPERM))
		return n;
#endif
	ms = (int)MIN(ns / NS_PER_MS + 1, 60000u);
	return epoll_wait(w->epfd, ev, EVENTS_MAX, ms);
}

/*
 * The epoch is the worker's promise: even, it holds nothing. Becoming odd must be visible before
 * anything is loaded in the new turn, a store-load order that the atomic read-modify-write gives
 * on x86; elsewhere it takes a fence. (TSan knows no fences, and needs none: it sees the
 * ordering through the epoch.)
 */
void worker_full_fence(void)
{
#if !UNDER_TSAN && !defined(__x86_64__)
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

static void epoch_add(struct worker *w, uint64_t n)
{
	atomic_fetch_add(&w->epoch, n);
	worker_full_fence();
}

static void go_quiescent(struct worker *w)
{
	epoch_add(w, 1);
	pthread_mutex_unlock(&w->lock);
}

static void go_running(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	epoch_add(w, 1);
}

/* Lets the control thread have the lock. */
static void yield_to_control(struct worker *w)
{
	epoch_add(w, 1);
	while (atomic_load(&w->want))
		pthread_cond_wait(&w->wanted, &w->lock);
	epoch_add(w, 1);
}

static bool has_reason_to_stay(struct worker *w)
{
	return atomic_load(&w->kicks) || atomic_load(&w->want) || w->pending.head ||
	       atomic_load(&w->stop);
}

/*
 * Looks at the clock. Of the time since the last look the part counts as work that polls cost; one
 * that finds nothing takes about as long as POLL_COST would.
 */
void worker_tick(struct worker *w)
{
	uint64_t polls = ((uint64_t)(CLOCK_CREDIT - w->credit) - w->work) / COST_EMPTY;
	uint64_t now = clock_now_ns();

	if (w->work)
		stat_add(&w->work_ns, (now - w->now_ns) * w->work / (w->work + polls * POLL_COST));
	w->now_ns = now;
	w->work = 0;
	w->credit = CLOCK_CREDIT;
}

/* The time that the worker was awake, as statistics have it. */
static void end_awake(struct worker *w)
{
	stat_add(&w->busy_ns, w->now_ns - atomic_load(&w->awake_since_ns));
	atomic_store(&w->awake_since_ns, 0);
}

static void begin_awake(struct worker *w)
{
	w->now_ns = clock_now_ns();
	atomic_store(&w->awake_since_ns, w->now_ns);
	w->credit = CLOCK_CREDIT;
	w->work = 0;
}

/* Around a wait that lets go of the lock. */
void worker_pause_begins(struct worker *w)
{
	stat_add(&w->rests, 1);
	end_awake(w);
	epoch_add(w, 1);
}

void worker_pause_ends(struct worker *w)
{
	uint64_t before = w->now_ns;

	epoch_add(w, 1);
	begin_awake(w);
	stat_add(&w->rested_ns, w->now_ns - before);
}

static void sleep_until_event(struct worker *w)
{
	struct epoll_event ev[EVENTS_MAX];
	uint64_t until;
	int n = 0;

	worker_tick(w);
	if (unlikely(limit_on())) {
		limit_charge(w, true);
		if (w->rest_until_ns)
			return;
	}
	until = w->timer_min;

	/* The order is the protocol: first say that we sleep, then look for kicks. A kicker puts
	 * its poller on the list, then looks whether we sleep. One of the two sees the other. */
	atomic_store(&w->sleeping, 1);
	if (!has_reason_to_stay(w)) {
		stat_add(&w->sleeps, 1);
		end_awake(w);
		go_quiescent(w);
		n = wait_events(w, ev, until);
		go_running(w);
		begin_awake(w);
		w->fd_check_ns = w->now_ns;
	}
	atomic_store(&w->sleeping, 0);
	handle_events(w, ev, n);
	fire_timers(w);
}

/* Every now and then, while busy: what time it is, who is due, which fds are ready. */
static void look_around(struct worker *w)
{
	struct epoll_event ev[EVENTS_MAX];

	worker_tick(w);
	if (w->watches_used && w->now_ns - w->fd_check_ns >= FD_CHECK_NS) {
		w->fd_check_ns = w->now_ns;
		handle_events(w, ev, epoll_wait(w->epfd, ev, EVENTS_MAX, 0));
	}
	fire_timers(w);
	if (w->n_quiet)
		retire_quiet(w);
	if (unlikely(limit_on()))
		limit_charge(w, false);
}

void *worker_main(void *arg)
{
	struct worker *w = arg;

	worker_self = w;
	pthread_setname_np(pthread_self(), w->name);
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
	go_running(w);
	begin_awake(w);
	while (!atomic_load_explicit(&w->stop, memory_order_relaxed)) {
		if (atomic_load(&w->want))
			yield_to_control(w);
		else
			epoch_add(w, 2);
		take_kicks(w);
		begin_pending(w);
		flow_turn(w);
		if (w->found_work) {
			w->found_work = false;
			stat_add(&w->loops, 1);
		}
		if (w->credit <= 0)
			look_around(w);
		if (unlikely(w->rest_until_ns))
			limit_rest(w);
		else if (!w->active.head && !w->pending.head)
			sleep_until_event(w);
	}
	go_quiescent(w);
	return NULL;
}

void worker_offline(void)
{
	if (worker_self)
		go_quiescent(worker_self);
}

void worker_online(void)
{
	if (worker_self)
		go_running(worker_self);
}

bool worker_leaving(void)
{
	struct worker *w = worker_self;

	return w && w->current && atomic_load(&w->leaving) == w->current;
}
