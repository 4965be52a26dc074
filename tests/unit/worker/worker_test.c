/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "source.h"

static const struct poller_ops bare_ops = {.poll = source_poll};

static struct worker *start(unsigned flags)
{
	struct worker *w;

	assert_int_equal(worker_create("test-worker-long-name", flags, &w), 0);
	return w;
}

static bool asleep(struct worker *w)
{
	struct worker_stats a, b;

	worker_get_stats(w, &a);
	nap(NS_PER_MS);
	worker_get_stats(w, &b);
	return a.sleeps && !a.active && a.busy_ns == b.busy_ns && a.sleeps == b.sleeps;
}

static void test_add_finds_work(void **state)
{
	struct source s = {.poller.ops = &source_ops, .work = 5};
	struct worker *w = start(0);

	worker_add(w, &s.poller);
	await(atomic_load(&s.done) == 5);
	assert_true(atomic_load(&s.arms) >= 1);
	assert_true(atomic_load(&s.disarms) >= 1);
	await(asleep(w));
	worker_remove(&s.poller);
	worker_destroy(w);
}

static void test_idle_is_armed_and_sleeps(void **state)
{
	struct source s = {.poller.ops = &source_ops};
	struct worker *w = start(0);
	uint32_t polls;

	worker_add(w, &s.poller);
	await(asleep(w));
	assert_int_equal(atomic_load(&s.arms), 1);
	assert_int_equal(atomic_load(&s.disarms), 0);
	polls = atomic_load(&s.polls);
	nap(20 * NS_PER_MS);
	assert_int_equal(atomic_load(&s.polls), polls);

	atomic_fetch_add(&s.work, 1);
	poller_kick(&s.poller);
	await(atomic_load(&s.done) == 1);
	await(asleep(w));
	assert_int_equal(atomic_load(&s.disarms), 1);
	assert_int_equal(atomic_load(&s.arms), 2);
	worker_remove(&s.poller);
	worker_destroy(w);
}

/* Without arm() nobody but the kick tells of work; it must not get lost at the end of a spell. */
static void test_no_arm_loses_nothing(void **state)
{
	struct source s = {.poller.ops = &bare_ops};
	struct worker *w = start(0);
	uint64_t i;

	worker_set_quiet_spell_ns(0);
	worker_add(w, &s.poller);
	for (i = 1; i <= 20000; i++) {
		uint64_t end = clock_now_ns() + 5 * NS_PER_S;

		atomic_fetch_add(&s.work, 1);
		poller_kick(&s.poller);
		while (atomic_load(&s.done) != i && clock_now_ns() < end)
			cpu_relax();
		assert_int_equal(atomic_load(&s.done), i);
	}
	worker_set_quiet_spell_ns(50 * NS_PER_US);
	worker_remove(&s.poller);
	worker_destroy(w);
}

static void test_kick_not_added(void **state)
{
	struct source s = {.poller.ops = &source_ops, .work = 1};
	struct worker *w = start(0);

	poller_kick(&s.poller);
	worker_add(w, &s.poller);
	await(atomic_load(&s.done) == 1);
	worker_remove(&s.poller);
	atomic_store(&s.work, 1);
	poller_kick(&s.poller);
	poller_kick(&s.poller);
	nap(5 * NS_PER_MS);
	assert_int_equal(atomic_load(&s.done), 1);
	worker_remove(&s.poller); /* harmless */
	worker_add(w, &s.poller); /* again, and the work is found */
	await(atomic_load(&s.done) == 2);
	worker_remove(&s.poller);
	worker_destroy(w);
}

static void test_fds(void **state)
{
	struct source s = {.poller.ops = &bare_ops}, t = {.poller.ops = &bare_ops};
	struct worker *w = start(0);
	int a = eventfd(0, EFD_NONBLOCK), b = eventfd(0, EFD_NONBLOCK);
	uint32_t polls;

	worker_add(w, &s.poller);
	worker_add(w, &t.poller);
	assert_int_equal(poller_watch_fd(&s.poller, a), 0);
	assert_int_equal(poller_watch_fd(&s.poller, b), 0);
	assert_true(poller_watch_fd(&s.poller, a) < 0);
	assert_true(poller_watch_fd(&s.poller, -1) < 0);
	await(asleep(w));
	/* several doorbells on one eventfd that nobody reads */
	for (uint64_t i = 1; i <= 10; i++) {
		atomic_fetch_add(&s.work, 1);
		eventfd_write(i & 1 ? a : b, 1);
		await(atomic_load(&s.done) == i);
		if (i & 2)
			await(asleep(w));
	}
	poller_unwatch_fd(&s.poller, a);
	await(asleep(w));
	polls = atomic_load(&s.polls);
	eventfd_write(a, 1);
	nap(5 * NS_PER_MS);
	assert_int_equal(atomic_load(&s.polls), polls);

	/* the slot's next user gets its events, and only its own */
	assert_int_equal(poller_watch_fd(&t.poller, a), 0); /* readable already */
	atomic_store(&t.work, 1);
	eventfd_write(a, 1);
	await(atomic_load(&t.done) == 1);
	assert_int_equal(atomic_load(&s.polls), polls);

	worker_remove(&s.poller); /* with b still watched */
	eventfd_write(b, 1);
	nap(5 * NS_PER_MS);
	assert_int_equal(atomic_load(&s.polls), polls);
	worker_remove(&t.poller);
	close(a);
	close(b);
	worker_destroy(w);
}

/* A busy neighbour must not keep a watched fd from being seen. */
static unsigned always_busy(struct poller *p)
{
	return 1;
}

static void test_fd_while_busy(void **state)
{
	static const struct poller_ops busy_ops = {.poll = always_busy};
	struct source s = {.poller.ops = &source_ops};
	struct poller busy = {.ops = &busy_ops};
	struct worker *w = start(0);
	int fd = eventfd(0, EFD_NONBLOCK);
	struct worker_stats st;
	uint64_t i;

	worker_add(w, &busy);
	worker_add(w, &s.poller);
	assert_int_equal(poller_watch_fd(&s.poller, fd), 0);
	for (i = 1; i <= 20; i++) {
		atomic_fetch_add(&s.work, 1);
		eventfd_write(fd, 1);
		await(atomic_load(&s.done) == i);
		nap(200 * NS_PER_US);
	}
	worker_get_stats(w, &st);
	assert_int_equal(st.pollers, 2);
	assert_true(st.active >= 1 && st.loops > 0 && st.busy_ns > 0);
	worker_remove(&s.poller);
	worker_remove(&busy);
	close(fd);
	worker_destroy(w);
}

static unsigned timer_poll(struct poller *p)
{
	struct source *s = container_of(p, struct source, poller);

	atomic_fetch_add(&s->polls, 1);
	if (s->timer_at && clock_now_ns() >= s->timer_at) {
		s->timer_at = 0;
		atomic_store(&s->fired_ns, clock_now_ns());
	}
	if (atomic_exchange(&s->work, 0)) {
		s->timer_at = clock_now_ns() + 20 * NS_PER_MS;
		poller_set_timer(p, clock_now_ns() + 500 * NS_PER_MS);
		poller_set_timer(p, s->timer_at);
	}
	return 0;
}

static void test_timer(void **state)
{
	static const struct poller_ops ops = {.poll = timer_poll};
	struct source s[8] = {0};
	struct worker *w = start(0);
	uint64_t begin = clock_now_ns();
	unsigned i;

	for (i = 0; i < 8; i++) {
		s[i].poller.ops = &ops;
		s[i].work = 1;
		worker_add(w, &s[i].poller);
	}
	worker_remove(&s[7].poller); /* its timer with it */
	for (i = 0; i < 7; i++) {
		await(atomic_load(&s[i].fired_ns));
		assert_true(atomic_load(&s[i].fired_ns) >= begin + 20 * NS_PER_MS);
		/* the 500 ms timer was replaced, not added */
		assert_true(atomic_load(&s[i].fired_ns) < begin + 400 * NS_PER_MS);
	}
	await(asleep(w));
	for (i = 0; i < 7; i++)
		worker_remove(&s[i].poller);
	assert_int_equal(atomic_load(&s[7].fired_ns), 0);
	worker_destroy(w);
}

/* A poller takes its fds, its timer and a kick with it, and says no where it must. */
static void test_move(void **state)
{
	static const struct poller_ops timed_ops = {.poll = timer_poll};
	struct source s = {.poller.ops = &bare_ops, .poller.movable = true};
	struct source timed = {.poller.ops = &timed_ops, .poller.movable = true, .work = 1};
	struct source fixed = {.poller.ops = &bare_ops};
	struct worker *a = start(0), *b = start(0), *c = start(WORKER_MAY_BLOCK);
	int fd = eventfd(0, EFD_NONBLOCK);
	struct worker_stats st;

	assert_int_equal(poller_move(&s.poller, a), -ENOENT);
	worker_add(a, &s.poller);
	worker_add(a, &timed.poller);
	worker_add(a, &fixed.poller);
	assert_int_equal(poller_watch_fd(&s.poller, fd), 0);
	assert_int_equal(poller_move(&fixed.poller, b), -EPERM);
	assert_int_equal(poller_move(&s.poller, c), -EPERM);
	assert_int_equal(poller_move(&s.poller, a), 0);
	await(!atomic_load(&timed.work));
	await(asleep(a) && asleep(b));
	assert_int_equal(poller_move(&s.poller, b), 0);
	assert_int_equal(poller_move(&timed.poller, b), 0);
	assert_ptr_equal(s.poller.worker, b);
	worker_get_stats(a, &st);
	assert_int_equal(st.pollers, 1);
	worker_get_stats(b, &st);
	assert_int_equal(st.pollers, 2);
	await(atomic_load(&timed.fired_ns));
	await(asleep(b));
	for (uint64_t i = 1; i <= 10; i++) {
		atomic_fetch_add(&s.work, 1);
		eventfd_write(fd, 1);
		await(atomic_load(&s.done) == i);
		assert_int_equal(poller_move(&s.poller, i & 1 ? a : b), 0);
		if (i & 2)
			await(asleep(a) && asleep(b));
	}
	worker_remove(&s.poller);
	worker_remove(&timed.poller);
	worker_remove(&fixed.poller);
	worker_destroy(a);
	worker_destroy(b);
	worker_destroy(c);
	close(fd);
}

static unsigned cancel_poll(struct poller *p)
{
	struct source *s = container_of(p, struct source, poller);

	if (!atomic_fetch_add(&s->polls, 1)) {
		poller_set_timer(p, clock_now_ns() + 10 * NS_PER_MS);
		poller_set_timer(p, 0);
		poller_set_timer(p, 0);
	}
	return 0;
}

static void test_timer_cancel(void **state)
{
	static const struct poller_ops ops = {.poll = cancel_poll};
	struct source s = {.poller.ops = &ops};
	struct worker *w = start(0);

	worker_add(w, &s.poller);
	nap(40 * NS_PER_MS);
	assert_int_equal(atomic_load(&s.polls), 1);
	worker_remove(&s.poller);
	worker_destroy(w);
}

/* poll() waits offline until told. */
struct waiter {
	struct poller poller;
	_Atomic bool enter, inside, leave;
	_Atomic uint32_t polls;
};

static unsigned waiter_poll(struct poller *p)
{
	struct waiter *s = container_of(p, struct waiter, poller);

	atomic_fetch_add(&s->polls, 1);
	if (!atomic_exchange(&s->enter, false))
		return 0;
	worker_offline();
	atomic_store(&s->inside, true);
	while (!atomic_load(&s->leave))
		nap(100 * NS_PER_US);
	worker_online();
	atomic_store(&s->inside, false);
	return 1;
}

static void *leave_later(void *arg)
{
	struct waiter *s = arg;

	nap(30 * NS_PER_MS);
	atomic_store(&s->leave, true);
	return NULL;
}

static void test_offline(void **state)
{
	static const struct poller_ops ops = {.poll = waiter_poll};
	struct waiter s = {.poller.ops = &ops, .enter = true};
	struct source a = {.poller.ops = &source_ops}, b = a, c = a;
	struct worker *w = start(WORKER_MAY_BLOCK);
	pthread_t t;
	int fd = eventfd(0, EFD_NONBLOCK);

	worker_add(w, &a.poller);
	worker_add(w, &s.poller);
	worker_add(w, &b.poller);
	await(atomic_load(&s.inside));
	/* none of these may wait for the offline section to end */
	worker_synchronize();
	atomic_store(&b.work, 1);
	poller_kick(&b.poller);
	worker_remove(&b.poller);
	worker_remove(&a.poller);
	worker_add(w, &c.poller);
	atomic_store(&c.work, 3);
	poller_kick(&c.poller);
	assert_int_equal(poller_watch_fd(&c.poller, fd), 0);
	assert_true(atomic_load(&s.inside));
	assert_int_equal(atomic_load(&b.done), 0);
	assert_int_equal(atomic_load(&c.done), 0);
	/* removing the one that is inside waits until it is out */
	pthread_create(&t, NULL, leave_later, &s);
	worker_remove(&s.poller);
	assert_false(atomic_load(&s.inside));
	pthread_join(t, NULL);
	await(atomic_load(&c.done) == 3);
	worker_remove(&c.poller);
	close(fd);
	worker_destroy(w);
}

static unsigned stubborn_poll(struct poller *p)
{
	struct waiter *s = container_of(p, struct waiter, poller);

	worker_offline();
	atomic_store(&s->inside, true);
	while (!worker_leaving())
		nap(100 * NS_PER_US);
	worker_online();
	atomic_store(&s->leave, worker_leaving());
	return 0;
}

/* Who waits for the control thread learns that it waits for him. */
static void test_leaving(void **state)
{
	static const struct poller_ops ops = {.poll = stubborn_poll};
	struct waiter s = {.poller.ops = &ops};
	struct source a = {.poller.ops = &source_ops};
	struct worker *w = start(WORKER_MAY_BLOCK);

	assert_false(worker_leaving());
	worker_add(w, &a.poller);
	worker_add(w, &s.poller);
	await(atomic_load(&s.inside));
	worker_remove(&a.poller); /* waits for nobody, tells nobody */
	nap(5 * NS_PER_MS);
	assert_false(atomic_load(&s.leave));
	worker_remove(&s.poller);
	assert_true(atomic_load(&s.leave));
	atomic_store(&s.inside, false);
	worker_add(w, &s.poller); /* it holds for that removal only */
	await(atomic_load(&s.inside));
	nap(5 * NS_PER_MS);
	atomic_store(&s.leave, false);
	worker_remove(&s.poller);
	assert_true(atomic_load(&s.leave));
	worker_destroy(w);
}

/*
 * Kicked pollers are removed while another, kicked too, waits offline on its very way into
 * idleness: neither its kick nor that of the ones that stay may be lost.
 */
static void test_remove_while_other_becomes_idle(void **state)
{
	static const struct poller_ops ops = {.poll = waiter_poll};
	struct waiter s = {.poller.ops = &ops, .enter = true};
	struct source a = {.poller.ops = &source_ops}, b = a, c = a, d = a;
	struct worker *w = start(WORKER_MAY_BLOCK);
	uint32_t polls;

	worker_add(w, &a.poller);
	worker_add(w, &b.poller);
	worker_add(w, &c.poller);
	worker_add(w, &d.poller);
	await(asleep(w));
	worker_add(w, &s.poller); /* a new one is first tried for idleness */
	await(atomic_load(&s.inside));
	poller_kick(&a.poller);
	poller_kick(&b.poller);
	poller_kick(&s.poller);
	atomic_store(&c.work, 1);
	poller_kick(&c.poller);
	worker_remove(&b.poller); /* from the middle of the kick list */
	worker_remove(&a.poller); /* its end */
	poller_kick(&d.poller);
	worker_remove(&d.poller); /* its head */
	polls = atomic_load(&s.polls);
	atomic_store(&s.leave, true);
	await(atomic_load(&s.polls) > polls);
	await(atomic_load(&c.done) == 1);
	await(asleep(w));
	polls = atomic_load(&s.polls);
	atomic_store(&c.work, 1);
	poller_kick(&c.poller);
	poller_kick(&s.poller);
	await(atomic_load(&c.done) == 2);
	await(atomic_load(&s.polls) > polls);
	worker_remove(&s.poller);
	worker_remove(&c.poller);
	worker_destroy(w);
}

static void test_many_idle(void **state)
{
	enum { N = 4000 };
	struct source *s = calloc(N, sizeof(*s));
	struct worker *w = start(0);
	struct worker_stats st;
	int i;

	for (i = 0; i < N; i++) {
		s[i].poller.ops = &source_ops;
		worker_add(w, &s[i].poller);
	}
	await(asleep(w));
	worker_get_stats(w, &st);
	assert_int_equal(st.pollers, N);
	for (i = 0; i < N; i++)
		assert_true(atomic_load(&s[i].polls) <= 2);
	atomic_store(&s[N / 2].work, 1);
	poller_kick(&s[N / 2].poller);
	await(atomic_load(&s[N / 2].done) == 1);
	assert_true(atomic_load(&s[N / 2 + 1].polls) <= 2);
	for (i = 0; i < N; i++)
		worker_remove(&s[i].poller);
	worker_destroy(w);
	free(s);
}

static _Atomic uint64_t mask_seen;

static unsigned mask_poll(struct poller *p)
{
	sigset_t set;

	pthread_sigmask(SIG_SETMASK, NULL, &set);
	atomic_store(&mask_seen,
		     1 | sigismember(&set, SIGTERM) << 1 | sigismember(&set, SIGUSR1) << 2 |
			     sigismember(&set, SIGBUS) << 3 | sigismember(&set, SIGSEGV) << 4);
	return 0;
}

static void test_signals(void **state)
{
	static const struct poller_ops ops = {.poll = mask_poll};
	struct poller p = {.ops = &ops};
	struct worker *w = start(0);
	sigset_t set;

	worker_add(w, &p);
	await(atomic_load(&mask_seen));
	assert_int_equal(atomic_load(&mask_seen), 1 | 2 | 4);
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	assert_false(sigismember(&set, SIGTERM));
	worker_remove(&p);
	worker_destroy(w);
}

static void test_pool(void **state)
{
	struct source s[6] = {0};
	struct worker_pool *pool;
	struct worker_stats st;
	unsigned i;

	assert_true(worker_pool_create(0, &pool) < 0);
	assert_int_equal(worker_pool_create(3, &pool), 0);
	assert_int_equal(worker_pool_size(pool), 3);
	for (i = 0; i < 6; i++) {
		s[i].poller.ops = &source_ops;
		worker_add(worker_pool_pick(pool), &s[i].poller);
	}
	for (i = 0; i < 3; i++) {
		worker_get_stats(worker_pool_at(pool, i), &st);
		assert_int_equal(st.pollers, 2);
		assert_true(strlen(worker_name(worker_pool_at(pool, i))) > 0);
	}
	for (i = 0; i < 6; i++)
		worker_remove(&s[i].poller);
	worker_pool_destroy(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add_finds_work),
		cmocka_unit_test(test_idle_is_armed_and_sleeps),
		cmocka_unit_test(test_no_arm_loses_nothing),
		cmocka_unit_test(test_kick_not_added),
		cmocka_unit_test(test_fds),
		cmocka_unit_test(test_fd_while_busy),
		cmocka_unit_test(test_timer),
		cmocka_unit_test(test_timer_cancel),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_offline),
		cmocka_unit_test(test_leaving),
		cmocka_unit_test(test_remove_while_other_becomes_idle),
		cmocka_unit_test(test_many_idle),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_pool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
