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

void worker_control_lock(struct worker *w)
{
	assert(!worker_self);
	atomic_store(&w->want, 1);
	pthread_mutex_lock(&w->lock);
}

void worker_control_unlock(struct worker *w)
{
	atomic_store(&w->want, 0);
	pthread_cond_signal(&w->wanted);
	pthread_mutex_unlock(&w->lock);
}

void worker_each(void (*fn)(struct worker *w))
{
	struct worker *w;

	pthread_mutex_lock(&all_lock);
	for (w = all_workers; w; w = w->next)
		fn(w);
	pthread_mutex_unlock(&all_lock);
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
	pthread_cond_init(&w->rest_over, NULL);
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
	w->cpu_ns = w->charged_ns = w->rest_until_ns = 0;
	w->work = 0;
	w->n_quiet = 0;
	memset(&w->look, 0, sizeof(w->look));
	atomic_store(&w->rests, 0);
	atomic_store(&w->rested_ns, 0);
	atomic_store(&w->work_ns, 0);
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
	worker_control_lock(w); /* it may rest */
	pthread_cond_signal(&w->rest_over);
	worker_control_unlock(w);
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

void worker_attach(struct worker *w, struct poller *p, enum poller_state state)
{
	p->worker = w;
	p->all_prev = NULL;
	p->all_next = w->pollers;
	if (w->pollers)
		w->pollers->all_prev = p;
	w->pollers = p;
	flow_attach(w, p);
	/* an exchange: what was published before an ignored kick is seen by the first arm() or
	 * poll() */
	atomic_exchange(&p->kicked, POLLER_ATTACHED | POLLER_QUEUED);
	worker_make_pending(w, p, state);
	atomic_fetch_add(&w->n_pollers, 1);
}

void worker_add(struct worker *w, struct poller *p)
{
	assert(!p->worker);
	worker_control_lock(w);
	p->prev = p->next = p->timer_prev = p->timer_next = NULL;
	p->urgent = false;
	p->idle_since_ns = p->gap_ns = p->cost = p->moved_ns = 0;
	p->cost_before = p->cost_recent = 0;
	atomic_store(&p->timer_ns, 0);
	worker_attach(w, p, POLLER_NEW);
	worker_control_unlock(w);
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

/* On return nobody has the poller on, or will put it on, the kick list. */
static void end_kicks(struct worker *w, struct poller *p)
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
	worker_control_lock(w);
	p->policy = policy;
	worker_control_unlock(w);
	/* Who shall never idle has to leave that state; a kick in vain does no harm. */
	poller_kick(p);
}

void worker_detach(struct worker *w, struct poller *p)
{
	worker_timer_del(w, p);
	end_kicks(w, p);
	flow_detach(w, p);
	if (p->all_prev)
		p->all_prev->all_next = p->all_next;
	else
		w->pollers = p->all_next;
	if (p->all_next)
		p->all_next->all_prev = p->all_prev;
	p->worker = NULL;
	atomic_fetch_sub(&w->n_pollers, 1);
}

void worker_remove(struct poller *p)
{
	const struct timespec pause = {0, SYNC_SLEEP_NS};
	struct worker *w = p->worker;

	if (!w)
		return;
	worker_control_lock(w);
	while (w->current == p) { /* offline within this very poll() */
		atomic_store(&w->leaving, p);
		worker_control_unlock(w);
		nanosleep(&pause, NULL);
		worker_control_lock(w);
	}
	atomic_store(&w->leaving, NULL);
	watch_del(w, p, -1);
	worker_detach(w, p);
	worker_control_unlock(w);
}

int poller_watch_fd(struct poller *p, int fd)
{
	int r;

	worker_control_lock(p->worker);
	r = watch_add(p->worker, p, fd);
	worker_control_unlock(p->worker);
	return r;
}

void poller_unwatch_fd(struct poller *p, int fd)
{
	struct worker *w = p->worker;

	if (!w || fd < 0)
		return;
	worker_control_lock(w);
	watch_del(w, p, fd);
	worker_control_unlock(w);
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

static uint64_t cpu_time(const struct worker *w)
{
	struct timespec ts;
	clockid_t id;

	if (pthread_getcpuclockid(w->thread, &id) || clock_gettime(id, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t get(const _Atomic uint64_t *stat)
{
	return atomic_load_explicit(stat, memory_order_relaxed);
}

void worker_get_stats(const struct worker *w, struct worker_stats *st)
{
	uint64_t since = get(&w->awake_since_ns), now = clock_now_ns();

	st->loops = get(&w->loops);
	st->sleeps = get(&w->sleeps);
	st->busy_ns = get(&w->busy_ns);
	if (since && now > since)
		st->busy_ns += now - since;
	st->work_ns = get(&w->work_ns);
	st->cpu_ns = cpu_time(w);
	st->rests = get(&w->rests);
	st->rested_ns = get(&w->rested_ns);
	st->pollers = atomic_load_explicit(&w->n_pollers, memory_order_relaxed);
	st->active = atomic_load_explicit(&w->n_active, memory_order_relaxed);
}

void poller_label(const struct poller *p, char *buf, size_t len)
{
	const char *name = p->name ? p->name : "?";

	if (!p->kind)
		snprintf(buf, len, "%s", name);
	else if (p->number == POLLER_ONLY)
		snprintf(buf, len, "%s/%s", name, p->kind);
	else
		snprintf(buf, len, "%s/%s%u", name, p->kind, p->number);
}

void worker_each_poller(struct worker *w, void (*fn)(struct poller *p, void *opaque), void *opaque)
{
	struct poller *p;

	worker_control_lock(w);
	for (p = w->pollers; p; p = p->all_next)
		fn(p, opaque);
	worker_control_unlock(w);
}

const char *worker_name(const struct worker *w)
{
	return w->name;
}
