/* SPDX-License-Identifier: BSD-3-Clause */
/* Queues that leave a busy worker for one that has time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "util/clock.h"
#include "util/util.h"
#include "worker/worker.h"

struct source {
	struct poller poller;
	_Atomic bool stop;
};

static unsigned busy_poll(struct poller *p)
{
	struct source *s = container_of(p, struct source, poller);
	uint64_t end = clock_now_ns() + 5 * NS_PER_US;

	if (atomic_load(&s->stop))
		return 0;
	while (clock_now_ns() < end)
		;
	return 20000;
}

static const struct poller_ops ops = {.poll = busy_poll};

static unsigned looks(struct worker_pool *pool, unsigned n, bool move)
{
	const struct timespec ts = {0, 150 * NS_PER_MS};
	unsigned moves = 0;

	while (n--) {
		nanosleep(&ts, NULL);
		moves += worker_pool_balance(pool, move);
	}
	return moves;
}

static uint32_t pollers(struct worker_pool *pool, unsigned i)
{
	struct worker_stats st;

	worker_get_stats(worker_pool_at(pool, i), &st);
	return st.pollers;
}

/* n busy ones on the first of two workers: how many are moved, in time enough to move each? */
static unsigned moved(unsigned n, bool movable, bool move)
{
	struct source s[4] = {0};
	struct worker_pool *pool;
	unsigned moves;

	assert_int_equal(worker_pool_create(2, &pool), 0);
	for (unsigned i = 0; i < n; i++) {
		s[i].poller.ops = &ops;
		s[i].poller.movable = movable;
		worker_add(worker_pool_at(pool, 0), &s[i].poller);
	}
	moves = looks(pool, 10, move);
	assert_true(worker_load(worker_pool_at(pool, 0)) > 0.2); /* the machine may be busy */
	assert_int_equal(pollers(pool, 1), moves);
	if (moves)
		assert_true(worker_load(worker_pool_at(pool, 1)) > 0.2);
	else
		assert_true(worker_load(worker_pool_at(pool, 1)) < 0.1);
	for (unsigned i = 0; i < n; i++) {
		double load = poller_load(&s[i].poller);

		assert_true(load > 0 && load <= 1);
		worker_remove(&s[i].poller);
	}
	worker_pool_destroy(pool);
	return moves;
}

static void test_even_out(void **state)
{
	assert_int_equal(moved(2, true, true), 1);
}

/* Both are busy after one move (two, if the machine keeps one from its work); it does not go on. */
static void test_no_ping_pong(void **state)
{
	assert_in_range(moved(3, true, true), 1, 2);
}

static void test_one_cannot_be_shared(void **state)
{
	assert_int_equal(moved(1, true, true), 0);
}

static void test_fixed(void **state)
{
	assert_int_equal(moved(2, false, true), 0);
	assert_int_equal(moved(2, true, false), 0); /* switched off */
}

static void test_label(void **state)
{
	struct poller p = {.name = "nic0/vf3", .kind = "tx", .number = 1};
	char buf[32];

	poller_label(&p, buf, sizeof(buf));
	assert_string_equal(buf, "nic0/vf3/tx1");
	p.kind = "ctrl";
	p.number = POLLER_ONLY;
	poller_label(&p, buf, sizeof(buf));
	assert_string_equal(buf, "nic0/vf3/ctrl");
	p.kind = NULL;
	poller_label(&p, buf, sizeof(buf));
	assert_string_equal(buf, "nic0/vf3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_even_out),
		cmocka_unit_test(test_no_ping_pong),
		cmocka_unit_test(test_one_cannot_be_shared),
		cmocka_unit_test(test_fixed),
		cmocka_unit_test(test_label),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
