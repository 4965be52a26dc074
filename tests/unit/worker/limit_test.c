/* SPDX-License-Identifier: BSD-3-Clause */
/* The limit of all workers' CPU time. */
#include <string.h>

#include "env.h"

struct source {
	struct poller poller;
	_Atomic uint64_t cost;
	_Atomic bool works;
};

/* A few us of work. */
static unsigned busy_poll(struct poller *p)
{
	struct source *s = container_of(p, struct source, poller);
	uint64_t end = clock_now_ns() + 3 * NS_PER_US;

	if (!atomic_load(&s->works))
		return 0;
	while (clock_now_ns() < end)
		;
	atomic_fetch_add(&s->cost, 20000);
	return 20000;
}

/* Takes what it is given. */
static unsigned given_poll(struct poller *p)
{
	struct source *s = container_of(p, struct source, poller);

	if (!atomic_exchange(&s->works, false))
		return 0;
	atomic_fetch_add(&s->cost, 1);
	return 1;
}

static const struct poller_ops busy_ops = {.poll = busy_poll};
static const struct poller_ops given_ops = {.poll = given_poll};

static struct {
	struct worker *w[2];
	struct source busy[4], light;
} t;

static int start(void **state)
{
	memset(&t, 0, sizeof(t));
	for (unsigned i = 0; i < 2; i++) {
		if (worker_create("limit", 0, &t.w[i]))
			return -1;
	}
	for (unsigned i = 0; i < 4; i++) {
		t.busy[i].poller.ops = &busy_ops;
		atomic_store(&t.busy[i].works, true);
		worker_add(t.w[i / 2], &t.busy[i].poller);
	}
	t.light.poller.ops = &given_ops;
	worker_add(t.w[0], &t.light.poller);
	return 0;
}

static int stop(void **state)
{
	for (unsigned i = 0; i < 4; i++)
		worker_remove(&t.busy[i].poller);
	worker_remove(&t.light.poller);
	worker_destroy(t.w[0]);
	worker_destroy(t.w[1]);
	worker_set_cpu_limit(0);
	return 0;
}

static uint64_t cpu_of_both(void)
{
	return stats(t.w[0]).cpu_ns + stats(t.w[1]).cpu_ns;
}

/* The CPU time of both workers in a while, as a part of it, in thousandths. */
static uint64_t used_permille(uint64_t ns)
{
	uint64_t cpu, begin = clock_now_ns(), given = atomic_load(&t.light.cost);

	cpu = cpu_of_both();
	while (clock_now_ns() - begin < ns) {
		/* who sends seldom is served all the same */
		atomic_store(&t.light.works, true);
		poller_kick(&t.light.poller);
		given++;
		await(atomic_load(&t.light.cost) == given);
		nap(10 * NS_PER_MS);
	}
	return (cpu_of_both() - cpu) * 1000 / (clock_now_ns() - begin);
}

static void test_stays_below(void **state)
{
	struct worker_stats st;

	worker_set_cpu_limit(0.5);
	assert_true(worker_cpu_limit() > 0.499 && worker_cpu_limit() < 0.501);
	nap(20 * NS_PER_MS);
	assert_in_range(used_permille(2 * NS_PER_S), 1, 540);

	worker_set_cpu_limit(0.1);
	nap(20 * NS_PER_MS);
	st = stats(t.w[0]);
	/* even a busy machine has a tenth of a core to give */
	assert_in_range(used_permille(2 * NS_PER_S), 30, 115);
	assert_true(stats(t.w[0]).rests - st.rests > 20);
	assert_true(stats(t.w[0]).rested_ns - st.rested_ns > NS_PER_S);
	/* fair as ever */
	assert_in_range(t.busy[0].cost * 10 / t.busy[1].cost, 8, 12);

	/* more, live */
	worker_set_cpu_limit(64);
	nap(20 * NS_PER_MS);
	st = stats(t.w[0]);
	nap(200 * NS_PER_MS);
	assert_in_range(stats(t.w[0]).rests - st.rests, 0, 3); /* it was 20 */
	worker_set_cpu_limit(0);
	assert_true(worker_cpu_limit() == 0);
	st = stats(t.w[0]);
	nap(100 * NS_PER_MS);
	assert_int_equal(stats(t.w[0]).rests, st.rests);
}

/* A worker that rests for long is there for the control thread. */
static void test_control_waits_for_nobody(void **state)
{
	struct source more = {.poller.ops = &given_ops, .works = true};
	uint64_t begin;

	worker_set_cpu_limit(0.001);
	await(stats(t.w[0]).rests && stats(t.w[1]).rests);
	begin = clock_now_ns();
	for (unsigned i = 0; i < 100; i++) {
		worker_synchronize();
		worker_add(t.w[0], &more.poller);
		poller_kick(&more.poller);
		worker_remove(&more.poller);
	}
	assert_true(clock_now_ns() - begin < 300 * NS_PER_MS);
	/* nor for the limit to be lifted */
	worker_add(t.w[0], &more.poller);
	atomic_store(&more.works, true);
	atomic_store(&more.cost, 0);
	poller_kick(&more.poller);
	begin = clock_now_ns();
	worker_set_cpu_limit(0);
	await(atomic_load(&more.cost));
	assert_true(clock_now_ns() - begin < 300 * NS_PER_MS);
	worker_remove(&more.poller);
	worker_set_cpu_limit(0.001);
	nap(20 * NS_PER_MS);
}

/* Idle workers use up nothing, and their sleep is none that has to end. */
static void test_idle(void **state)
{
	struct worker_stats st;

	worker_set_cpu_limit(0.1);
	for (unsigned i = 0; i < 4; i++)
		atomic_store(&t.busy[i].works, false);
	nap(50 * NS_PER_MS);
	await(!stats(t.w[0]).active && !stats(t.w[1]).active);
	st = stats(t.w[0]);
	nap(100 * NS_PER_MS);
	assert_true(stats(t.w[0]).rests - st.rests <= 1);
	assert_true(stats(t.w[0]).cpu_ns - st.cpu_ns < 10 * NS_PER_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_stays_below, start, stop),
		cmocka_unit_test_setup_teardown(test_control_waits_for_nobody, start, stop),
		cmocka_unit_test_setup_teardown(test_idle, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
