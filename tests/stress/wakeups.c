/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Wake-ups under stress (docs/wakeups.md): work is published at random moments around those at
 * which pollers and workers go to sleep. It goes in rounds: a few kicks, then silence until all is
 * taken. In that silence nobody makes good a wake-up that was lost, so it shows.
 *
 * SOFTIOV_STRESS_S: seconds in all. SOFTIOV_STRESS_LOST_MS: after so long work counts as lost.
 * SOFTIOV_STRESS_BROKEN: the protocol was built with a fault; the tests pass if they find it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "ring_env.h"
#include "util/clock.h"
#include "worker/worker_internal.h"

#define N_WORKERS 2
#define SPELL_NS  (50 * NS_PER_US)

static uint64_t test_ns, lost_ns;
static bool broken;
static struct worker *workers[N_WORKERS];
static _Atomic bool lost, stop;

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s && *s ? strtoull(s, NULL, 10) : otherwise;
}

static uint32_t any(uint32_t *seed, uint32_t below)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % below;
}

/* Some time: up to a bit more than a quiet spell; or as long as a few loads and stores take, so
 * that two threads' barriers meet; now and then much longer. */
static void dawdle(uint32_t *seed)
{
	uint32_t how = any(seed, 64);
	uint64_t end;

	if (!how) {
		usleep(any(seed, 1000));
	} else if (how < 32) {
		for (uint32_t n = any(seed, 200); n; n--)
			atomic_signal_fence(memory_order_seq_cst);
	} else {
		end = clock_now_ns() + any(seed, SPELL_NS + 20 * NS_PER_US);
		while (clock_now_ns() < end)
			cpu_relax();
	}
}

static void start_workers(void)
{
	atomic_store(&lost, false);
	atomic_store(&stop, false);
	for (int i = 0; i < N_WORKERS; i++)
		assert_int_equal(worker_create("stress", 0, &workers[i]), 0);
}

static void dump_poller(const struct poller *p)
{
	fprintf(stderr, "    state %u, kicked %u, policy %d, timer %llu\n", p->state,
		atomic_load(&p->kicked), p->policy, (unsigned long long)atomic_load(&p->timer_ns));
}

static void dump_workers(void)
{
	for (int i = 0; i < N_WORKERS; i++) {
		struct worker *w = workers[i];
		struct worker_stats st;

		worker_get_stats(w, &st);
		fprintf(stderr,
			"  worker %d: sleeping %u, kicks %p, want %u, epoch %llu, pollers %u, "
			"active %u, pending %p, current %p, sleeps %llu\n",
			i, atomic_load(&w->sleeping), (void *)atomic_load(&w->kicks),
			atomic_load(&w->want), (unsigned long long)atomic_load(&w->epoch),
			st.pollers, st.active, (void *)w->pending.head, (void *)w->current,
			(unsigned long long)st.sleeps);
	}
}

/* Of the workers that there are now, and of those that were. */
static uint64_t sleeps_gone;

static uint64_t sleeps_of(const struct worker *w)
{
	struct worker_stats st;

	worker_get_stats(w, &st);
	return st.sleeps;
}

static uint64_t sleeps(void)
{
	uint64_t n = sleeps_gone;

	for (int i = 0; i < N_WORKERS; i++)
		n += sleeps_of(workers[i]);
	return n;
}

/* True if nothing was lost, and so all can be taken down; else threads may hang for ever. */
static bool judge(void)
{
	if (broken)
		assert_true(atomic_load(&lost));
	else
		assert_false(atomic_load(&lost));
	return !atomic_load(&lost);
}

/* ---- pollers ---- */

#define N_SOURCES 6
#define N_KICKERS 2
#define SNOOZE	  (1ull << 63) /* in a number: to be taken after a timer only */

static struct source {
	struct poller poller;
	/* one writer each, a plain store: what orders it is the protocol's own business */
	_Atomic uint64_t sent[N_KICKERS], taken[N_KICKERS];
	_Atomic uint32_t inside;
	bool knows; /* arm() looks for work */
	int fd;
	uint32_t seed;
	uint64_t due_ns;
} sources[N_SOURCES];

static _Atomic uint64_t overlaps;

static bool has_work(struct source *s)
{
	for (int k = 0; k < N_KICKERS; k++) {
		if (atomic_load_explicit(&s->sent[k], memory_order_acquire) !=
		    atomic_load_explicit(&s->taken[k], memory_order_relaxed))
			return true;
	}
	return false;
}

/* True: the poller has set its timer for it, and shall not take it yet. */
static bool snoozes(struct source *s, uint64_t n)
{
	if (!(n & SNOOZE))
		return false;
	if (!s->due_ns) {
		s->due_ns = clock_now_ns() + any(&s->seed, 150 * NS_PER_US);
		poller_set_timer(&s->poller, s->due_ns);
		return true;
	}
	if (clock_now_ns() < s->due_ns)
		return true;
	s->due_ns = 0;
	return false;
}

static unsigned source_poll(struct poller *p)
{
	struct source *s = container_of(p, struct source, poller);
	unsigned done = 0;
	uint64_t n;

	if (atomic_fetch_add_explicit(&s->inside, 1, memory_order_relaxed))
		atomic_fetch_add(&overlaps, 1);
	for (int k = 0; k < N_KICKERS; k++) {
		n = atomic_load_explicit(&s->sent[k], memory_order_acquire);
		if (n == atomic_load_explicit(&s->taken[k], memory_order_relaxed) || snoozes(s, n))
			continue;
		atomic_store_explicit(&s->taken[k], n, memory_order_release);
		done++;
	}
	atomic_store_explicit(&s->inside, 0, memory_order_release);
	return done;
}

static bool source_arm(struct poller *p)
{
	struct source *s = container_of(p, struct source, poller);

	return s->knows && !s->due_ns && has_work(s);
}

static const struct poller_ops source_ops = {.poll = source_poll, .arm = source_arm};

/* Kickers and the control thread begin and end each round together. */
static pthread_barrier_t meeting;
static bool over; /* changed by the control thread before a round begins */

/* What each does between two meetings: some kicks, then waits for its own. */
static void kick_some(unsigned k, uint32_t *seed)
{
	unsigned n = any(seed, 3);
	struct source *s;
	uint64_t number, end;

	for (; n; n--) {
		dawdle(seed);
		s = &sources[any(seed, N_SOURCES)];
		number = (atomic_load_explicit(&s->sent[k], memory_order_relaxed) & ~SNOOZE) + 1;
		if (!any(seed, 16))
			number |= SNOOZE;
		atomic_store_explicit(&s->sent[k], number, memory_order_release);
		if (any(seed, 4))
			poller_kick(&s->poller);
		else
			eventfd_write(s->fd, 1);
	}
	end = clock_now_ns() + lost_ns;
	for (int i = 0; i < N_SOURCES; i++) {
		s = &sources[i];
		while (atomic_load_explicit(&s->taken[k], memory_order_acquire) !=
		       atomic_load_explicit(&s->sent[k], memory_order_relaxed)) {
			if (atomic_load(&lost))
				return;
			if (clock_now_ns() > end && !atomic_exchange(&lost, true)) {
				fprintf(stderr,
					"lost: kicker %u, source %d: sent %llx, taken %llx\n", k, i,
					(unsigned long long)s->sent[k],
					(unsigned long long)s->taken[k]);
				dump_poller(&s->poller);
				dump_workers();
				return;
			}
			sched_yield();
		}
	}
}

static void *kicker(void *arg)
{
	unsigned k = (unsigned)(uintptr_t)arg;
	uint32_t seed = k * 7919 + (uint32_t)clock_now_ns();

	for (;;) {
		pthread_barrier_wait(&meeting);
		if (over)
			return NULL;
		kick_some(k, &seed);
		pthread_barrier_wait(&meeting);
	}
}

static void add_source(struct source *s, struct worker *w)
{
	worker_add(w, &s->poller);
	assert_int_equal(poller_watch_fd(&s->poller, s->fd), 0);
}

static void remove_source(struct source *s)
{
	worker_remove(&s->poller);
	assert_int_equal(atomic_load(&s->inside), 0);
	s->due_ns = 0; /* its timer is gone with it */
}

static void replace_worker(unsigned i)
{
	struct worker *w, *old = workers[i];

	assert_int_equal(worker_create("stress", 0, &w), 0);
	for (int n = 0; n < N_SOURCES; n++) {
		if (sources[n].poller.worker != old)
			continue;
		remove_source(&sources[n]);
		add_source(&sources[n], w);
	}
	workers[i] = w;
	sleeps_gone += sleeps_of(old);
	worker_destroy(old);
}

/* The control thread's part of a round. In most it does nothing: what it does wakes. */
static void change_something(uint32_t *seed)
{
	struct source *s = &sources[any(seed, N_SOURCES)];
	enum poller_policy policies[] = {POLLER_ADAPTIVE, POLLER_NEVER, POLLER_NEVER,
					 POLLER_ALWAYS};

	switch (any(seed, 32)) {
	case 0:
	case 1:
		dawdle(seed);
		remove_source(s);
		dawdle(seed);
		add_source(s, workers[any(seed, N_WORKERS)]);
		break;
	case 2:
		poller_unwatch_fd(&s->poller, s->fd);
		dawdle(seed);
		assert_int_equal(poller_watch_fd(&s->poller, s->fd), 0);
		break;
	case 3:
		worker_set_quiet_spell_ns(any(seed, 3) ? any(seed, SPELL_NS) : 0);
		break;
	case 4:
		dawdle(seed);
		worker_synchronize();
		break;
	case 5:
		if (!any(seed, 8))
			replace_worker(any(seed, N_WORKERS));
		break;
	case 6:
		/* one that is always polled keeps its worker awake: not for long */
		poller_set_policy(&s->poller, policies[any(seed, ARRAY_SIZE(policies))]);
		break;
	case 7:
	case 8:
	case 9:
	case 10:
		for (int i = 0; i < N_SOURCES; i++)
			poller_set_policy(&sources[i].poller, POLLER_ADAPTIVE);
		break;
	case 11:
	case 12:
		dawdle(seed);
		assert_int_equal(poller_move(&s->poller, workers[any(seed, N_WORKERS)]), 0);
		break;
	case 13:
		/* workers rest, and look at what came meanwhile */
		worker_set_cpu_limit(any(seed, 4) ? 0 : 0.5);
		break;
	default:
		break;
	}
}

static void test_pollers(void **state)
{
	uint32_t seed = (uint32_t)clock_now_ns(), i;
	uint64_t end, rounds = 0;
	pthread_t t[N_KICKERS];

	(void)state;
	start_workers();
	for (i = 0; i < N_SOURCES; i++) {
		sources[i] = (struct source){
			.poller = {.ops = &source_ops, .name = "stress", .movable = true},
			.knows = i & 1,
			.seed = i,
			.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
		add_source(&sources[i], workers[i % N_WORKERS]);
	}
	over = false;
	pthread_barrier_init(&meeting, NULL, N_KICKERS + 1);
	for (i = 0; i < N_KICKERS; i++)
		pthread_create(&t[i], NULL, kicker, (void *)(uintptr_t)i);
	end = clock_now_ns() + test_ns / 2;
	for (;; rounds++) {
		over = atomic_load(&lost) || clock_now_ns() > end;
		pthread_barrier_wait(&meeting);
		if (over)
			break;
		change_something(&seed);
		pthread_barrier_wait(&meeting);
	}
	for (i = 0; i < N_KICKERS; i++)
		pthread_join(t[i], NULL);
	pthread_barrier_destroy(&meeting);
	worker_set_cpu_limit(0);
	worker_set_quiet_spell_ns(SPELL_NS);
	print_message("pollers: %llu rounds, %llu sleeps\n", (unsigned long long)rounds,
		      (unsigned long long)sleeps());
	assert_int_equal(atomic_load(&overlaps), 0);
	if (!judge())
		return;
	for (i = 0; i < N_SOURCES; i++) {
		remove_source(&sources[i]);
		close(sources[i].fd);
	}
	for (i = 0; i < N_WORKERS; i++)
		worker_destroy(workers[i]);
}

/* ---- virtqueues ---- */

#define N_RINGS	  4 /* split, packed, each without and with EVENT_IDX */
#define RING_SIZE 8

static struct duo {
	struct env e;
	struct poller poller;
	int call, kick; /* eventfds; the worker watches the second one */
	uint64_t popped, added, taken, kicks, irqs, rounds;
	uint32_t seed, device_seed;
	_Atomic bool wrong;
} duos[N_RINGS];

static unsigned ring_poll(struct poller *p)
{
	struct duo *d = container_of(p, struct duo, poller);
	unsigned n = 0, burst = 1 + any(&d->device_seed, RING_SIZE);
	struct vq_chain c;
	uint64_t v;

	vq_begin(d->e.vq, dma_view_get(d->e.dma));
	for (; n < burst && env_pop(&d->e, &c) == 1; n++) {
		memcpy(&v, c.bufs[0].ptr, 8);
		if (v != d->popped++)
			atomic_store(&d->wrong, true);
		vq_push(d->e.vq, &c, 0);
	}
	if (vq_publish(d->e.vq)) {
		d->irqs++;
		eventfd_write(d->call, 1);
	}
	return n;
}

static bool ring_arm(struct poller *p)
{
	return vq_arm(container_of(p, struct duo, poller)->e.vq);
}

static void ring_disarm(struct poller *p)
{
	vq_disarm(container_of(p, struct duo, poller)->e.vq);
}

static const struct poller_ops ring_ops = {ring_poll, ring_arm, ring_disarm};

static void take_used(struct duo *d)
{
	uint64_t cookie;
	uint32_t len;

	gvq_disable_irq(&d->e.drv);
	while (gvq_take(&d->e.drv, &cookie, &len)) {
		if (cookie != d->taken++)
			atomic_store(&d->wrong, true);
	}
}

static void add_some(struct duo *d, unsigned n)
{
	for (; n && gvq_free(&d->e.drv); n--) {
		unsigned off = (unsigned)(d->added % RING_SIZE) * 8;

		memcpy(env_ptr(&d->e, off), &d->added, 8);
		gvq_add_one(&d->e.drv, env_addr(off), 8, false, d->added++);
	}
	if (!gvq_publish(&d->e.drv))
		return;
	d->kicks++;
	if (any(&d->seed, 2))
		poller_kick(&d->poller);
	else
		eventfd_write(d->kick, 1);
}

/* False: nobody has interrupted, for very long. */
static bool wait_irq(struct duo *d)
{
	struct pollfd p = {.fd = d->call, .events = POLLIN};
	eventfd_t n;

	if (any(&d->seed, 2))
		dawdle(&d->seed);
	if (gvq_enable_irq(&d->e.drv))
		return true;
	if (poll(&p, 1, (int)(lost_ns / NS_PER_MS)) != 1)
		return false;
	eventfd_read(d->call, &n);
	return true;
}

static void *driver(void *arg)
{
	struct duo *d = arg;

	while (!atomic_load(&stop) && !atomic_load(&lost)) {
		dawdle(&d->seed);
		add_some(d, 1 + any(&d->seed, 3));
		if (any(&d->seed, 2)) {
			dawdle(&d->seed);
			add_some(d, 1);
		}
		for (take_used(d); d->taken != d->added; take_used(d)) {
			if (wait_irq(d))
				continue;
			if (atomic_exchange(&lost, true))
				return NULL;
			fprintf(stderr,
				"lost: packed %d, event_idx %d: added %llu, taken back %llu, kicks "
				"%llu, "
				"popped %llu, interrupts %llu, position %x\n",
				d->e.mode.packed, d->e.mode.event_idx, (unsigned long long)d->added,
				(unsigned long long)d->taken, (unsigned long long)d->kicks,
				(unsigned long long)d->popped, (unsigned long long)d->irqs,
				vq_position(d->e.vq));
			dump_poller(&d->poller);
			dump_workers();
			return NULL;
		}
		d->rounds++;
	}
	return NULL;
}

static void test_rings(void **state)
{
	uint32_t seed = (uint32_t)clock_now_ns(), i;
	pthread_t t[N_RINGS];
	struct duo *d;
	uint64_t end;

	(void)state;
	start_workers();
	for (i = 0; i < N_RINGS; i++) {
		d = &duos[i];
		*d = (struct duo){.poller = {.ops = &ring_ops, .name = "stress"}, .seed = i + seed};
		env_open(&d->e, (struct mode){.packed = i & 1, .event_idx = i & 2}, RING_SIZE);
		d->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		d->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		worker_add(workers[i / 2 % N_WORKERS], &d->poller);
		assert_int_equal(poller_watch_fd(&d->poller, d->kick), 0);
		pthread_create(&t[i], NULL, driver, d);
	}
	for (end = clock_now_ns() + test_ns / 2; clock_now_ns() < end && !atomic_load(&lost);) {
		worker_set_quiet_spell_ns(any(&seed, 3) ? any(&seed, SPELL_NS) : 0);
		usleep(2000);
	}
	atomic_store(&stop, true);
	for (i = 0; i < N_RINGS; i++)
		pthread_join(t[i], NULL);
	worker_set_quiet_spell_ns(SPELL_NS);
	for (i = 0; i < N_RINGS; i++) {
		d = &duos[i];
		print_message("packed %d, event_idx %d: %llu rounds, %llu chains, %llu kicks, %llu "
			      "interrupts\n",
			      d->e.mode.packed, d->e.mode.event_idx, (unsigned long long)d->rounds,
			      (unsigned long long)d->added, (unsigned long long)d->kicks,
			      (unsigned long long)d->irqs);
		assert_false(atomic_load(&d->wrong));
	}
	if (!judge())
		return;
	for (i = 0; i < N_RINGS; i++) {
		d = &duos[i];
		worker_remove(&d->poller);
		env_close(&d->e);
		close(d->call);
		close(d->kick);
	}
	for (i = 0; i < N_WORKERS; i++)
		worker_destroy(workers[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pollers),
		cmocka_unit_test(test_rings),
	};
	uint64_t slow = env_number("SOFTIOV_SLOW", 1);

	test_ns = env_number("SOFTIOV_STRESS_S", 5) * NS_PER_S;
	lost_ns = env_number("SOFTIOV_STRESS_LOST_MS", 10000) * slow * NS_PER_MS;
	broken = env_number("SOFTIOV_STRESS_BROKEN", 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
