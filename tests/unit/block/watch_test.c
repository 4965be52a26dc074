/* SPDX-License-Identifier: BSD-3-Clause */
/* When a worker stays awake for completions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "block/watch.h"

static uint64_t now = 1000 * NS_PER_S;

/* n requests that all take so long, over and over; awake after a while. The share of the time that
 * it was. */
static unsigned awake_percent(struct block_watch *w, unsigned n, uint64_t took_ns)
{
	const uint64_t step = took_ns / 100;
	unsigned awake = 0;

	for (unsigned round = 0; round < 50; round++) {
		awake = block_watch_on(w, round ? n : 0, n, now);
		for (unsigned i = 1; i < 100; i++) {
			now += step;
			awake += block_watch_on(w, 0, n, now);
		}
		now += step;
	}
	assert_false(block_watch_on(w, n, 0, now));
	return awake;
}

static void test_fast_disk_is_watched(void **state)
{
	struct block_watch w = {0};

	assert_int_equal(awake_percent(&w, 1, 10 * NS_PER_US), 100);
	assert_int_equal(awake_percent(&w, 1, 75 * NS_PER_US), 100);
	assert_int_equal(awake_percent(&w, 32, 300 * NS_PER_US), 100);
}

static void test_slow_disk_is_not(void **state)
{
	struct block_watch w = {0};

	assert_int_equal(awake_percent(&w, 1, 90 * NS_PER_US), 0);
	assert_int_equal(awake_percent(&w, 1, 200 * NS_PER_US), 0);
	assert_int_equal(awake_percent(&w, 256, 5 * NS_PER_MS), 0);
}

/* One answer that fails to come costs no more than the limit. */
static void test_hang_is_given_up(void **state)
{
	struct block_watch w = {0};

	awake_percent(&w, 32, 100 * NS_PER_US);
	assert_true(block_watch_on(&w, 0, 256, now));
	assert_true(block_watch_on(&w, 0, 256, now + WATCH_MAX_NS - 1));
	assert_false(block_watch_on(&w, 0, 256, now + WATCH_MAX_NS));
	assert_false(block_watch_on(&w, 0, 256, now + NS_PER_S));
}

/* What became slow is left alone soon, what became fast again is watched again. */
static void test_follows(void **state)
{
	struct block_watch w = {0};

	assert_int_equal(awake_percent(&w, 8, 50 * NS_PER_US), 100);
	assert_int_equal(awake_percent(&w, 8, 1 * NS_PER_MS), 0);
	assert_int_equal(awake_percent(&w, 8, 50 * NS_PER_US), 100);
}

static void test_nothing_to_wait_for(void **state)
{
	struct block_watch w = {0};

	assert_false(block_watch_on(&w, 0, 0, now));
	assert_false(block_watch_on(&w, 5, 0, now));
	/* and a pause is not a wait */
	now += 10 * NS_PER_S;
	assert_true(block_watch_on(&w, 0, 1, now));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fast_disk_is_watched),
		cmocka_unit_test(test_slow_disk_is_not),
		cmocka_unit_test(test_hang_is_given_up),
		cmocka_unit_test(test_follows),
		cmocka_unit_test(test_nothing_to_wait_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
