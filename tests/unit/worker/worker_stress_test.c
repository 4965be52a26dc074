/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/util.h"
#include "worker/worker.h"

#define STRESS_NS (2 * NS_PER_S)
#define N_POLLERS 6
#define N_KICKERS 3
#define N_WORKERS 2
#define LOST_NS	  (10 * NS_PER_S) /* no scheduler is that slow */

static struct source {
	struct poller poller;
	_Atomic uint64_t work;
	_Atomic uint64_t taken;
	_Atomic uint32_t inside; /* poll() on two threads would show */
	bool knows;		 /* arm() looks for work */
	int fd;			 /* kicked by it; -1: by poller_kick() */
} sources[N_POLLERS];

static _Atomic bool stop;
static _Atomic uint64_t overlaps;

static unsigned source_poll(struct poller *p)
{
	struct source *s = container_of(p, struct source, poller);
	uint64_t work;
	unsigned n;

	if (atomic_fetch_add(&s->inside, 1))
		atomic_fetch_add(&overlaps, 1);
	work = atomic_load(&s->work);
	n = work - atomic_load(&s->taken);
	atomic_store(&s->taken, work);
	atomic_fetch_sub(&s->inside, 1);
	return n;
}

static bool source_arm(struct poller *p)
{
	struct source *s = container_of(p, struct source, poller);

	return s->knows && atomic_load(&s->work) != atomic_load(&s->taken);
}

static const struct poller_ops source_ops = {.poll = source_poll, .arm = source_arm};

static void pause_some(unsigned *seed)
{
	struct timespec ts = {0, rand_r(seed) % 120000};
	unsigned how = rand_r(seed) % 8, i;

	if (how == 0)
		nanosleep(&ts, NULL);
	else if (how < 4)
		sched_yield();
	else
		for (i = 0; i < how * 20; i++)
			cpu_relax();
}

/* Publishes a unit of work, kicks, and now and then insists that it was taken. */
static void *kicker(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg * 7919 + 1;
	uint64_t *lost = calloc(1, sizeof(*lost)), end, mine;
	struct source *s;

	while (!atomic_load(&stop) && !*lost) {
		s = &sources[rand_r(&seed) % N_POLLERS];
		mine = atomic_fetch_add(&s->work, 1) + 1;
		if (s->fd >= 0)
			eventfd_write(s->fd, 1);
		else
			poller_kick(&s->poller);
		if (rand_r(&seed) % 4 == 0) {
			end = clock_now_ns() + LOST_NS;
			while (atomic_load(&s->taken) < mine && clock_now_ns() < end)
				sched_yield();
			*lost += atomic_load(&s->taken) < mine;
		}
		pause_some(&seed);
	}
	return lost;
}

static uint64_t run_kickers(void (*meanwhile)(uint64_t end))
{
	uint64_t lost = 0;
	pthread_t t[N_KICKERS];
	void *r;
	int i;

	atomic_store(&stop, false);
	for (i = 0; i < N_KICKERS; i++)
		pthread_create(&t[i], NULL, kicker, (void *)(uintptr_t)(i + 1));
	meanwhile(clock_now_ns() + STRESS_NS);
	atomic_store(&stop, true);
	for (i = 0; i < N_KICKERS; i++) {
		pthread_join(t[i], &r);
		lost += *(uint64_t *)r;
		free(r);
	}
	return lost;
}

static struct worker *workers[N_WORKERS];

static void setup(void)
{
	int i;

	for (i = 0; i < N_WORKERS; i++)
		assert_int_equal(worker_create("w", 0, &workers[i]), 0);
	for (i = 0; i < N_POLLERS; i++) {
		sources[i] = (struct source){.poller.ops = &source_ops, .knows = i & 1, .fd = -1};
		worker_add(workers[i % N_WORKERS], &sources[i].poller);
	}
}

/* Everything published must be taken without a further kick. */
static void finish(void)
{
	uint64_t end = clock_now_ns() + LOST_NS, total = 0;
	int i;

	for (i = 0; i < N_POLLERS; i++) {
		while (atomic_load(&sources[i].taken) != atomic_load(&sources[i].work) &&
		       clock_now_ns() < end)
			sched_yield();
		assert_int_equal(atomic_load(&sources[i].taken), atomic_load(&sources[i].work));
		total += sources[i].work;
		worker_remove(&sources[i].poller);
	}
	print_message("%lu kicks\n", (unsigned long)total);
	assert_int_equal(atomic_load(&overlaps), 0);
	for (i = 0; i < N_WORKERS; i++)
		worker_destroy(workers[i]);
}

static void change_quiet_spell(uint64_t end)
{
	const struct timespec ts = {0, 3 * NS_PER_MS};
	static const uint64_t spells[] = {0, 5 * NS_PER_US, 50 * NS_PER_US, 500 * NS_PER_US};
	unsigned i;

	for (i = 0; clock_now_ns() < end; i++) {
		worker_set_quiet_spell_ns(spells[i % ARRAY_SIZE(spells)]);
		nanosleep(&ts, NULL);
	}
	worker_set_quiet_spell_ns(50 * NS_PER_US);
}

static void test_no_lost_wakeup(void **state)
{
	setup();
	assert_int_equal(run_kickers(change_quiet_spell), 0);
	finish();
}

/* Pollers move between workers, which themselves come and go, while they are kicked. */
static void move_around(uint64_t end)
{
	unsigned seed = 1, from;
	struct worker *w;
	struct source *s;
	int i;

	while (clock_now_ns() < end) {
		s = &sources[rand_r(&seed) % N_POLLERS];
		worker_remove(&s->poller);
		assert_int_equal(atomic_load(&s->inside), 0);
		worker_add(workers[rand_r(&seed) % N_WORKERS], &s->poller);
		pause_some(&seed);
		if (rand_r(&seed) % 64)
			continue;
		from = rand_r(&seed) % N_WORKERS;
		assert_int_equal(worker_create("new", 0, &w), 0);
		for (i = 0; i < N_POLLERS; i++) {
			if (sources[i].poller.worker != workers[from])
				continue;
			worker_remove(&sources[i].poller);
			worker_add(w, &sources[i].poller);
		}
		worker_destroy(workers[from]);
		workers[from] = w;
	}
}

static void test_remove_under_load(void **state)
{
	setup();
	assert_int_equal(run_kickers(move_around), 0);
	finish();
}

/* As above, but live, with shares, policies and doorbells. */
static void move_live(uint64_t end)
{
	static const enum poller_policy policies[] = {POLLER_ADAPTIVE, POLLER_NEVER,
						      POLLER_ADAPTIVE, POLLER_ALWAYS};
	unsigned seed = 2, moves = 0;
	struct source *s;

	while (clock_now_ns() < end) {
		s = &sources[rand_r(&seed) % N_POLLERS];
		assert_int_equal(poller_move(&s->poller, workers[rand_r(&seed) % N_WORKERS]), 0);
		moves++;
		if (rand_r(&seed) % 16 == 0)
			poller_set_policy(&s->poller,
					  policies[rand_r(&seed) % ARRAY_SIZE(policies)]);
		pause_some(&seed);
	}
	print_message("%u moves\n", moves);
}

static void test_move_under_load(void **state)
{
	struct poller_share share[2] = {0};
	int i;

	for (i = 0; i < N_WORKERS; i++)
		assert_int_equal(worker_create("w", 0, &workers[i]), 0);
	for (i = 0; i < N_POLLERS; i++) {
		sources[i] = (struct source){.poller.ops = &source_ops, .knows = i & 1, .fd = -1};
		sources[i].poller.share = i < 4 ? &share[i / 2] : NULL;
		sources[i].poller.movable = true;
		worker_add(workers[i % N_WORKERS], &sources[i].poller);
		if (i % 3 == 0)
			continue;
		sources[i].fd = eventfd(0, EFD_NONBLOCK);
		assert_int_equal(poller_watch_fd(&sources[i].poller, sources[i].fd), 0);
	}
	worker_set_quiet_spell_ns(5 * NS_PER_US);
	assert_int_equal(run_kickers(move_live), 0);
	worker_set_quiet_spell_ns(50 * NS_PER_US);
	finish();
	for (i = 0; i < N_POLLERS; i++) {
		if (sources[i].fd >= 0)
			close(sources[i].fd);
	}
}

/* What worker_synchronize() promises: memory unpublished before it can be freed after it. */
struct object {
	uint64_t magic[32];
};

static _Atomic(struct object *) published;
static _Atomic uint64_t bad, reads;

static unsigned reader_poll(struct poller *p)
{
	struct object *o = atomic_load(&published);
	unsigned i, loops;

	for (loops = 0; loops < 20; loops++) {
		for (i = 0; i < ARRAY_SIZE(o->magic); i++) {
			if (o->magic[i] != 0x1234)
				atomic_fetch_add(&bad, 1);
		}
	}
	atomic_fetch_add(&reads, 1);
	return 1;
}

static unsigned offline_reader_poll(struct poller *p)
{
	reader_poll(p);
	worker_offline();
	sched_yield();
	worker_online();
	reader_poll(p);
	return 0;
}

static struct object *object_new(void)
{
	struct object *o = malloc(sizeof(*o));
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(o->magic); i++)
		o->magic[i] = 0x1234;
	return o;
}

static void object_free(struct object *o)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(o->magic); i++)
		o->magic[i] = 0xdead;
	free(o);
}

static void test_synchronize(void **state)
{
	static const struct poller_ops busy_ops = {.poll = reader_poll};
	static const struct poller_ops offline_ops = {.poll = offline_reader_poll};
	struct poller busy = {.ops = &busy_ops}, offline = {.ops = &offline_ops};
	struct worker *a, *b;
	uint64_t end, rounds = 0;

	atomic_store(&published, object_new());
	assert_int_equal(worker_create("a", 0, &a), 0);
	assert_int_equal(worker_create("b", WORKER_MAY_BLOCK, &b), 0);
	worker_add(a, &busy);
	worker_add(b, &offline);
	for (end = clock_now_ns() + STRESS_NS / 2; clock_now_ns() < end; rounds++) {
		struct object *old = atomic_exchange(&published, object_new());

		poller_kick(&offline);
		worker_synchronize();
		object_free(old);
	}
	worker_remove(&busy);
	worker_remove(&offline);
	worker_destroy(a);
	worker_destroy(b);
	object_free(atomic_load(&published));
	print_message("%lu rounds, %lu reads\n", (unsigned long)rounds,
		      (unsigned long)atomic_load(&reads));
	assert_int_equal(atomic_load(&bad), 0);
	assert_true(rounds > 10 && atomic_load(&reads) > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_lost_wakeup),
		cmocka_unit_test(test_remove_under_load),
		cmocka_unit_test(test_move_under_load),
		cmocka_unit_test(test_synchronize),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
