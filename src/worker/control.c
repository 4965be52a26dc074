/* SPDX-License-Identifier: BSD-3-Clause */
/* What the control thread does to workers: start, stop, hand over pollers, wait for quiescence. */
#include "worker/worker_internal.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"

#define SYNC_SPINS    1000
#define SYNC_SLEEP_NS (30 * NS_PER_US)

/*
 * Workers are never freed: a kicker may still look at the sleeping flag of the worker on whose
 * list it put a poller when that poller, and the worker, are already gone. Spare ones are reused.
 */
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct worker *all_workers, *spare_workers;

static void control_lock(struct worker *w)
{
	assert(!worker_self);
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
	w->round = w->urgent_run = 0;
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
	worker_wake(w);
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
	p->urgent = false;
	p->idle_since_ns = p->gap_ns = 0;
	flow_attach(w, p);
	atomic_store(&p->timer_ns, 0);
	/* an exchange: what was published before an ignored kick is seen by the first arm() */
	atomic_exchange(&p->kicked, POLLER_ATTACHED | POLLER_QUEUED);
	worker_make_pending(w, p, POLLER_NEW);
	atomic_fetch_add(&w->n_pollers, 1);
	control_unlock(w);
	worker_wake(w);
}

/*
 * Takes p off the kick list; false if it is not there (yet). Kickers change the head only, and we
 * hold the lock without which nobody takes anything off. The others stay: one of them may be the
 * active poller that is just trying to become idle, in an offline section.
 */
static bool unkick(struct worker *w, struct poller *p)
{
	struct poller *at = atomic_load(&w->kicks), *next;

	/* Its link means something only from when it was seen on the list. */
	if (at == p && atomic_compare_exchange_strong(&w->kicks, &at, atomic_load(&p->kick_next)))
		return true;
	for (; at; at = next) {
		next = atomic_load(&at->kick_next);
		if (next == p) {
			atomic_store(&at->kick_next, atomic_load(&p->kick_next));
			return true;
		}
	}
	return false;
}

/* Ends kicking: on return nobody has the poller on, or will put it on, the kick list. */
static void detach(struct worker *w, struct poller *p)
{
	uint32_t attached = POLLER_ATTACHED;

	if (p->state == POLLER_IDLE) {
		if (atomic_compare_exchange_strong(&p->kicked, &attached, 0))
			return;
		/* Kicked, thus on the list, or the kicker is about to put it there. */
		while (!unkick(w, p))
			sched_yield();
	} else if (p->state == POLLER_ACTIVE) {
		worker_set_inactive(w, p);
	} else {
		list_del(&w->pending, p);
		p->state = POLLER_IDLE;
	}
	atomic_store(&p->kicked, 0);
}

void poller_set_policy(struct poller *p, enum poller_policy policy)
{
	struct worker *w = p->worker;

	if (!w) {
		p->policy = policy;
		return;
	}
	control_lock(w);
	p->policy = policy;
	control_unlock(w);
	/* Who shall never idle has to leave that state; a kick in vain does no harm. */
	poller_kick(p);
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
	uint32_t i;

	if (!w)
		return;
	control_lock(w);
	while (w->current == p) { /* offline within this very poll() */
		atomic_store(&w->leaving, p);
		control_unlock(w);
		nanosleep(&pause, NULL);
		control_lock(w);
	}
	atomic_store(&w->leaving, NULL);
	for (i = 0; i < w->n_watches; i++) {
		if (w->watches[i].poller == p)
			unwatch(w, &w->watches[i]);
	}
	worker_timer_del(w, p);
	detach(w, p);
	flow_detach(w, p);
	p->worker = NULL;
	atomic_fetch_sub(&w->n_pollers, 1);
	control_unlock(w);
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

	assert(!worker_self);
	worker_full_fence();
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
