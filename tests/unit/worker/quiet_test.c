/* SPDX-License-Identifier: BSD-3-Clause */
/* When a poller without work stops asking. */
#include "source.h"

static void give(struct source *s)
{
	uint64_t done = atomic_load(&s->done);

	atomic_fetch_add(&s->work, 1);
	poller_kick(&s->poller);
	await(atomic_load(&s->done) == done + 1);
}

static bool is_polled(struct source *s)
{
	uint32_t polls = atomic_load(&s->polls);

	nap(2 * NS_PER_MS);
	return atomic_load(&s->polls) != polls;
}

/* Polled without kicks, asked for none, and yet the control thread gets what it wants. */
static void test_always(void **state)
{
	struct source s = {.poller.ops = &source_ops, .poller.policy = POLLER_ALWAYS};
	struct source other = {.poller.ops = &source_ops};
	struct worker *w;
	uint64_t sleeps;

	assert_int_equal(worker_create("quiet", 0, &w), 0);
	worker_add(w, &s.poller);
	await(is_polled(&s));
	sleeps = stats(w).sleeps; /* before it had anybody */
	for (uint64_t i = 1; i <= 20; i++) {
		atomic_fetch_add(&s.work, 1); /* and no kick */
		await(atomic_load(&s.done) == i);
		worker_synchronize();
	}
	worker_add(w, &other.poller);
	give(&other);
	worker_remove(&other.poller);
	assert_int_equal(stats(w).sleeps, sleeps);
	assert_int_equal(atomic_load(&s.arms), 0);
	assert_int_equal(atomic_load(&s.disarms), 1);

	poller_set_policy(&s.poller, POLLER_ADAPTIVE);
	await(atomic_load(&s.arms) == 1 && stats(w).sleeps > sleeps);
	poller_set_policy(&s.poller, POLLER_ALWAYS);
	await(is_polled(&s));
	worker_remove(&s.poller);
	poller_set_policy(&s.poller, POLLER_NEVER); /* for the next time */
	worker_add(w, &s.poller);
	await(!is_polled(&s));
	worker_remove(&s.poller);
	worker_destroy(w);
}

/* With work one poll, one that finds nothing, one after arm(). */
static void test_never(void **state)
{
	struct source s = {.poller.ops = &source_ops, .poller.policy = POLLER_NEVER};
	struct worker *w;
	uint32_t polls;

	worker_set_quiet_spell_ns(10 * NS_PER_S);
	assert_int_equal(worker_create("quiet", 0, &w), 0);
	worker_add(w, &s.poller);
	await(!is_polled(&s));
	for (unsigned i = 0; i < 50; i++) {
		polls = atomic_load(&s.polls);
		give(&s);
		nap(NS_PER_MS);
		assert_in_range(atomic_load(&s.polls) - polls, 2, 3);
	}
	poller_set_policy(&s.poller, POLLER_ADAPTIVE);
	worker_remove(&s.poller);
	worker_destroy(w);
	worker_set_quiet_spell_ns(50 * NS_PER_US);
}

/* n arrivals, gap_ns after each. */
static void arrive(struct source *s, unsigned n, uint64_t gap_ns)
{
	for (unsigned i = 0; i < n; i++) {
		give(s);
		nap(gap_ns);
	}
}

/*
 * Arrivals that come sooner than the bound are waited for, those that do not are not. (The bound is
 * large here, so that a busy machine is no matter.)
 */
static void test_adaptive(void **state)
{
	const uint64_t bound = 40 * NS_PER_MS;
	struct source s = {.poller.ops = &source_ops};
	struct worker_stats before, after;
	struct worker *w;

	worker_set_quiet_spell_ns(bound);
	assert_int_equal(worker_create("quiet", 0, &w), 0);
	worker_add(w, &s.poller);
	arrive(&s, 20, 5 * NS_PER_MS);
	before = stats(w);
	arrive(&s, 40, 5 * NS_PER_MS);
	after = stats(w);
	assert_true(after.sleeps - before.sleeps <= 20);

	arrive(&s, 8, 2 * bound);
	before = stats(w);
	arrive(&s, 10, 2 * bound);
	after = stats(w);
	assert_true(after.sleeps - before.sleeps >= 10);
	assert_true(after.cpu_ns - before.cpu_ns < 10 * bound / 8);

	/* and learns anew */
	arrive(&s, 20, 5 * NS_PER_MS);
	before = stats(w);
	arrive(&s, 40, 5 * NS_PER_MS);
	after = stats(w);
	assert_true(after.sleeps - before.sleeps <= 20);
	worker_remove(&s.poller);
	worker_destroy(w);
	worker_set_quiet_spell_ns(50 * NS_PER_US);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_always),
		cmocka_unit_test(test_never),
		cmocka_unit_test(test_adaptive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
