/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loop of a worker, and what the control thread does to it.
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
 * the kick list (or about to be) exactly if QUEUED is set; an active or pending one never is.
 */
#include "worker/worker.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/log.h"
#include "util/util.h"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN
#endif
#endif

#define POLLER_ATTACHED 1u
#define POLLER_QUEUED	2u

/* Between two looks at the clock, so many polls plus units of work are done: a few us of idle
 * polls, tens of us of frames. */
#define CLOCK_CREDIT	64
#define FD_CHECK_NS	(20 * NS_PER_US)
#define QUIET_SPELL_NS	(50 * NS_PER_US)
#define EVENTS_MAX	64
#define SYNC_SPINS	1000
#define SYNC_SLEEP_NS	(30 * NS_PER_US)
#define TIMER_SLACK_NS	1000
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
	uint64_t sync_epoch; /* worker_synchronize()'s own */
	struct worker *next; /* in the list of workers, or of spare ones */

	/* below: under the lock */
	_Alignas(CACHE_LINE) pthread_mutex_t lock;
	pthread_cond_t wanted; /* want has become 0 */
	struct poller_list active, pending;
	struct poller *current; /* whose poll(), arm() or disarm() runs */
	struct poller *timers;
	uint64_t timer_min; /* no timer is due before */
	uint64_t now_ns;    /* as of the last look */
	uint64_t fd_check_ns;
	int credit;
	struct watch *watches;
	uint32_t n_watches, watches_free, watches_used;

	/* statistics: written by the worker (pollers: by control), read by anyone */
	_Atomic uint64_t loops, sleeps, busy_ns, awake_since_ns;
	_Atomic uint32_t n_pollers, n_active;

	int epfd;
	unsigned flags;
	pthread_t thread;
	char name[32];
};

static _Atomic uint64_t quiet_spell_ns = QUIET_SPELL_NS;
static _Thread_local struct worker *self;

/*
 * Workers are never freed: a kicker may still look at the sleeping flag of the worker on whose
 * list it put a poller when that poller, and the worker, are already gone. Spare ones are reused.
 */
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct worker *all_workers, *spare_workers;

/* ---- lists ---- */

static void list_append(struct poller_list *l, struct poller *p)
{
	p->next = NULL;
	p->prev = l->tail;
	if (l->tail)
		l->tail->next = p;
	else
		l->head = p;
	l->tail = p;
}

static void list_del(struct poller_list *l, struct poller *p)
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

static void stat_add(_Atomic uint64_t *stat, uint64_t n)
{
	/* one writer: no locked instruction */
	atomic_store_explicit(stat, atomic_load_explicit(stat, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* ---- kicks ---- */

static void wake(struct worker *w)
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
	if (w != self)
		wake(w);
}

static void make_pending(struct worker *w, struct poller *p, enum poller_state state)
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
		make_pending(w, p, POLLER_PENDING);
	}
}

/* A kick by the worker itself (fd, timer): needs no list. */
static void kick_local(struct worker *w, struct poller *p)
{
	if (p->state != POLLER_IDLE)
		return;
	if (atomic_fetch_or(&p->kicked, POLLER_QUEUED) == POLLER_ATTACHED)
		make_pending(w, p, POLLER_PENDING);
	/* else it is on the kick list */
}

/* ---- polling ---- */

static unsigned call_poll(struct worker *w, struct poller *p)
{
	unsigned n = p->ops->poll(p);

	w->credit -= 1 + (int)MIN(n, 1u << 20);
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
 */
static bool try_idle(struct worker *w, struct poller *p)
{
	atomic_exchange(&p->kicked, POLLER_ATTACHED);
	if (!(p->ops->arm && p->ops->arm(p)) && !call_poll(w, p))
		return true;
	/* Work. If somebody kicked meanwhile, the kick list has it and it becomes active through
	 * that; else it stays as it is. */
	if (atomic_fetch_or(&p->kicked, POLLER_QUEUED) != POLLER_ATTACHED)
		return true;
	p->idle_since_ns = 0;
	call_disarm(p);
	return false;
}

static void set_active(struct worker *w, struct poller *p)
{
	p->state = POLLER_ACTIVE;
	p->idle_since_ns = 0;
	list_append(&w->active, p);
	atomic_store_explicit(&w->n_active, w->n_active + 1, memory_order_relaxed);
}

static void set_inactive(struct worker *w, struct poller *p)
{
	list_del(&w->active, p);
	p->state = POLLER_IDLE;
	atomic_store_explicit(&w->n_active, w->n_active - 1, memory_order_relaxed);
}

static void begin_pending(struct worker *w)
{
	struct poller *p;
	bool is_new;

	while ((p = w->pending.head)) {
		is_new = p->state == POLLER_NEW;
		list_del(&w->pending, p);
		set_active(w, p);
		w->current = p;
		if (!is_new)
			call_disarm(p);
		else if (try_idle(w, p))
			set_inactive(w, p);
		w->current = NULL;
	}
}

/* One round. The control thread may take other pollers off the list while one is offline, so
 * next is read after each call. */
static void poll_active(struct worker *w)
{
	struct poller *p, *next;
	unsigned total = 0, n;

	for (p = w->active.head; p; p = next) {
		w->current = p;
		n = call_poll(w, p);
		w->current = NULL;
		if (n)
			p->idle_since_ns = 0;
		total += n;
		next = p->next;
	}
	if (total)
		stat_add(&w->loops, 1);
}

/* Sends to sleep who had no work for a quiet spell. */
static void retire_quiet(struct worker *w)
{
	uint64_t spell = atomic_load_explicit(&quiet_spell_ns, memory_order_relaxed);
	struct poller *p, *next;
	bool idle;

	for (p = w->active.head; p; p = next) {
		idle = false;
		if (!p->idle_since_ns) {
			p->idle_since_ns = w->now_ns;
		} else if (w->now_ns - p->idle_since_ns >= spell) {
			w->current = p;
			idle = try_idle(w, p);
			w->current = NULL;
		}
		next = p->next;
		if (idle)
			set_inactive(w, p);
	}
}

/* ---- timers ---- */

static void timer_del(struct worker *w, struct poller *p)
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

void poller_set_timer(struct poller *p, uint64_t at_ns)
{
	struct worker *w = p->worker;

	assert(w && w == self);
	if (!at_ns) {
		timer_del(w, p);
		return;
	}
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
		timer_del(w, p);
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
static void full_fence(void)
{
#if !defined(UNDER_TSAN) && !defined(__x86_64__)
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

static void epoch_add(struct worker *w, uint64_t n)
{
	atomic_fetch_add(&w->epoch, n);
	full_fence();
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

static void sleep_until_event(struct worker *w)
{
	struct epoll_event ev[EVENTS_MAX];
	uint64_t until = w->timer_min;
	int n = 0;

	/* The order is the protocol: first say that we sleep, then look for kicks. A kicker puts
	 * its poller on the list, then looks whether we sleep. One of the two sees the other. */
	atomic_store(&w->sleeping, 1);
	if (!has_reason_to_stay(w)) {
		stat_add(&w->sleeps, 1);
		stat_add(&w->busy_ns, clock_now_ns() - atomic_load(&w->awake_since_ns));
		atomic_store(&w->awake_since_ns, 0);
		go_quiescent(w);
		n = wait_events(w, ev, until);
		go_running(w);
		w->now_ns = clock_now_ns();
		atomic_store(&w->awake_since_ns, w->now_ns);
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

	w->credit = CLOCK_CREDIT;
	w->now_ns = clock_now_ns();
	if (w->watches_used && w->now_ns - w->fd_check_ns >= FD_CHECK_NS) {
		w->fd_check_ns = w->now_ns;
		handle_events(w, ev, epoll_wait(w->epfd, ev, EVENTS_MAX, 0));
	}
	fire_timers(w);
	retire_quiet(w);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	self = w;
	pthread_setname_np(pthread_self(), w->name);
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
	go_running(w);
	w->now_ns = clock_now_ns();
	atomic_store(&w->awake_since_ns, w->now_ns);
	while (!atomic_load_explicit(&w->stop, memory_order_relaxed)) {
		if (atomic_load(&w->want))
			yield_to_control(w);
		else
			epoch_add(w, 2);
		take_kicks(w);
		begin_pending(w);
		poll_active(w);
		if (w->credit <= 0)
			look_around(w);
		if (!w->active.head && !w->pending.head)
			sleep_until_event(w);
	}
	go_quiescent(w);
	return NULL;
}

/* ---- control ---- */

static void control_lock(struct worker *w)
{
	assert(!self);
	atomic_store(&w->want, 1);
	pthread_mutex_lock(&w->lock);
}

static void control_unlock(struct worker *w)
{
	atomic_store(&w->want, 0);
	pthread_cond_signal(&w->wanted);
	pthread_mutex_unlock(&w->lock);
}

static struct worker *worker_alloc(void)
{
	struct worker *w = aligned_alloc(CACHE_LINE, sizeof(*w));
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = WATCH_WAKE};
	int r;

	if (!w)
		return NULL;
	memset(w, 0, sizeof(*w));
	w->epfd = epoll_create1(EPOLL_CLOEXEC);
	/* edge-triggered: need not be read; never fills up in 2^64 wake-ups */
	w->wakefd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->epfd < 0 || w->wakefd < 0 || epoll_ctl(w->epfd, EPOLL_CTL_ADD, w->wakefd, &ev)) {
		r = errno;
		if (w->epfd >= 0)
			close(w->epfd);
		if (w->wakefd >= 0)
			close(w->wakefd);
		free(w);
		errno = r;
		return NULL;
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wanted, NULL);
	return w;
}

static void worker_reset(struct worker *w, const char *name, unsigned flags)
{
	snprintf(w->name, sizeof(w->name), "%.15s", name);
	w->flags = flags;
	w->timer_min = TIMER_NONE;
	w->credit = CLOCK_CREDIT;
	w->watches_free = WATCH_FREE_NONE;
	atomic_store(&w->stop, false);
	atomic_store(&w->loops, 0);
	atomic_store(&w->sleeps, 0);
	atomic_store(&w->busy_ns, 0);
	atomic_store(&w->awake_since_ns, 0);
}

/* Workers take no signals but those that tell of their own faults. */
static int start_thread(struct worker *w)
{
	static const int faults[] = {SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT};
	sigset_t set, old;
	int r, i;

	sigfillset(&set);
	for (i = 0; i < ARRAY_SIZE(faults); i++)
		sigdelset(&set, faults[i]);
	pthread_sigmask(SIG_SETMASK, &set, &old);
	r = -pthread_create(&w->thread, NULL, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

int worker_create(const char *name, unsigned flags, struct worker **out)
{
	struct worker *w;
	int r;

	pthread_mutex_lock(&all_lock);
	w = spare_workers;
	if (w)
		spare_workers = w->next;
	else
		w = worker_alloc();
	if (!w) {
		r = errno ? -errno : -ENOMEM;
		goto out;
	}
	worker_reset(w, name, flags);
	r = start_thread(w);
	if (r) {
		w->next = spare_workers;
		spare_workers = w;
		goto out;
	}
	w->next = all_workers;
	all_workers = w;
	*out = w;
out:
	pthread_mutex_unlock(&all_lock);
	return r;
}

void worker_destroy(struct worker *w)
{
	struct worker **p;

	if (!w)
		return;
	assert(!atomic_load(&w->n_pollers));
	atomic_store(&w->stop, true);
	wake(w);
	pthread_join(w->thread, NULL);
	free(w->watches);
	w->watches = NULL;
	w->n_watches = w->watches_used = 0;

	pthread_mutex_lock(&all_lock);
	for (p = &all_workers; *p != w; p = &(*p)->next)
		;
	*p = w->next;
	w->next = spare_workers;
	spare_workers = w;
	pthread_mutex_unlock(&all_lock);
}

void worker_add(struct worker *w, struct poller *p)
{
	assert(!p->worker);
	control_lock(w);
	p->worker = w;
	p->prev = p->next = p->timer_prev = p->timer_next = NULL;
	atomic_store(&p->timer_ns, 0);
	/* an exchange: what was published before an ignored kick is seen by the first arm() */
	atomic_exchange(&p->kicked, POLLER_ATTACHED | POLLER_QUEUED);
	make_pending(w, p, POLLER_NEW);
	atomic_fetch_add(&w->n_pollers, 1);
	control_unlock(w);
	wake(w);
}

/* Ends kicking: on return nobody has the poller on, or will put it on, the kick list. */
static void detach(struct worker *w, struct poller *p)
{
	uint32_t attached;

	for (;;) {
		attached = POLLER_ATTACHED;
		if (p->state == POLLER_IDLE) {
			if (atomic_compare_exchange_strong(&p->kicked, &attached, 0))
				return;
			/* Kicked, thus on the list, or the kicker is about to put it there. */
			take_kicks(w);
			if (p->state == POLLER_IDLE)
				sched_yield();
			continue;
		}
		atomic_store(&p->kicked, 0);
		if (p->state == POLLER_ACTIVE)
			set_inactive(w, p);
		else
			list_del(&w->pending, p);
		p->state = POLLER_IDLE;
		return;
	}
}

static void unwatch(struct worker *w, struct watch *watch)
{
	epoll_ctl(w->epfd, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->poller = NULL;
	watch->gen++;
	watch->next_free = w->watches_free;
	w->watches_free = (uint32_t)(watch - w->watches);
	w->watches_used--;
}

void worker_remove(struct poller *p)
{
	const struct timespec pause = {0, SYNC_SLEEP_NS};
	struct worker *w = p->worker;
	bool more;
	uint32_t i;

	if (!w)
		return;
	control_lock(w);
	while (w->current == p) { /* offline within this very poll() */
		control_unlock(w);
		nanosleep(&pause, NULL);
		control_lock(w);
	}
	for (i = 0; i < w->n_watches; i++) {
		if (w->watches[i].poller == p)
			unwatch(w, &w->watches[i]);
	}
	timer_del(w, p);
	detach(w, p);
	p->worker = NULL;
	atomic_fetch_sub(&w->n_pollers, 1);
	more = w->pending.head;
	control_unlock(w);
	if (more) /* kicks of others that we took off the list */
		wake(w);
}

/* A free slot's index, or -ENOMEM. */
static int watch_slot(struct worker *w)
{
	uint32_t n = w->n_watches, i;
	struct watch *grown;

	if (w->watches_free == WATCH_FREE_NONE) {
		grown = realloc(w->watches, (n * 2 + 16) * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		w->watches = grown;
		w->n_watches = n * 2 + 16;
		for (i = n; i < w->n_watches; i++) {
			grown[i] = (struct watch){.next_free = w->watches_free};
			w->watches_free = i;
		}
	}
	return (int)w->watches_free;
}

int poller_watch_fd(struct poller *p, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	struct worker *w = p->worker;
	struct watch *watch;
	int slot, r = 0;

	control_lock(w);
	slot = watch_slot(w);
	if (slot < 0) {
		r = slot;
		goto out;
	}
	watch = &w->watches[slot];
	ev.data.u64 = (uint64_t)watch->gen << 32 | (uint32_t)slot;
	if (epoll_ctl(w->epfd, EPOLL_CTL_ADD, fd, &ev)) {
		r = -errno;
		goto out;
	}
	w->watches_free = watch->next_free;
	w->watches_used++;
	watch->poller = p;
	watch->fd = fd;
out:
	control_unlock(w);
	return r;
}

void poller_unwatch_fd(struct poller *p, int fd)
{
	struct worker *w = p->worker;
	uint32_t i;

	if (!w)
		return;
	control_lock(w);
	for (i = 0; i < w->n_watches; i++) {
		if (w->watches[i].poller == p && w->watches[i].fd == fd)
			unwatch(w, &w->watches[i]);
	}
	control_unlock(w);
}

/* ---- quiescence ---- */

static bool has_passed(const struct worker *w)
{
	return !(w->sync_epoch & 1) || atomic_load(&w->epoch) != w->sync_epoch;
}

void worker_synchronize(void)
{
	const struct timespec pause = {0, SYNC_SLEEP_NS};
	struct worker *w;
	unsigned spins;

	assert(!self);
	full_fence();
	pthread_mutex_lock(&all_lock);
	for (w = all_workers; w; w = w->next)
		w->sync_epoch = atomic_fetch_add(&w->epoch, 0);
	for (w = all_workers; w; w = w->next) {
		for (spins = 0; !has_passed(w) && spins < SYNC_SPINS; spins++)
			cpu_relax();
		while (!has_passed(w))
			clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	pthread_mutex_unlock(&all_lock);
}

void worker_offline(void)
{
	if (self)
		go_quiescent(self);
}

void worker_online(void)
{
	if (self)
		go_running(self);
}

/* ---- statistics ---- */

void worker_get_stats(const struct worker *w, struct worker_stats *st)
{
	uint64_t since = atomic_load_explicit(&w->awake_since_ns, memory_order_relaxed);
	uint64_t now = clock_now_ns();

	st->loops = atomic_load_explicit(&w->loops, memory_order_relaxed);
	st->sleeps = atomic_load_explicit(&w->sleeps, memory_order_relaxed);
	st->busy_ns = atomic_load_explicit(&w->busy_ns, memory_order_relaxed);
	if (since && now > since)
		st->busy_ns += now - since;
	st->pollers = atomic_load_explicit(&w->n_pollers, memory_order_relaxed);
	st->active = atomic_load_explicit(&w->n_active, memory_order_relaxed);
}

const char *worker_name(const struct worker *w)
{
	return w->name;
}

void worker_set_quiet_spell_ns(uint64_t ns)
{
	atomic_store_explicit(&quiet_spell_ns, ns, memory_order_relaxed);
}
