/* SPDX-License-Identifier: BSD-3-Clause */
/* Virtual clocks, in simulated time: exact over a backlog, whatever the units. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>

#include "util/clock.h"
#include "util/rate.h"
#include "util/util.h"

#define BURST  (1 * NS_PER_MS)
#define DAY_NS (86400 * NS_PER_S)

/* Bytes a second of 10 Mb/s to 100 Gb/s and commands a second of disks, odd ones among them. */
static const uint64_t rates[] = {
	1250000,    1250001,	12500000,    33333333,	  125000000, 312499999,	 1250000000,
	3125000000, 5000000000, 12500000000, 12345678901, 7,	     4000,	 48611,
	5000000,    6999999,	20000000,    60000000,	  999999937, 1ull << 50,
};
static const uint64_t units[] = {1, 60, 61, 512, 1514, 4096, 9018, 65600, 131072};

/* Time that all units took, in ns, by the book. */
static __uint128_t exact_ns(uint64_t total, uint64_t rate)
{
	return (__uint128_t)total * NS_PER_S / rate;
}

static void test_exact(void **state)
{
	const unsigned n = 20000;
	struct rate_clock c;

	for (unsigned r = 0; r < ARRAY_SIZE(rates); r++) {
		for (unsigned u = 0; u < ARRAY_SIZE(units); u++) {
			const uint64_t start = 5 * NS_PER_S;
			uint64_t due = 0, want;

			rate_set(&c, rates[r], BURST);
			for (unsigned i = 0; i <= n; i++)
				due = rate_reserve(&c, units[u], start);
			/* The last one starts when those before it are over. */
			want = (uint64_t)exact_ns(n * units[u], rates[r]);
			if (want <= BURST) {
				assert_int_equal(due, 0);
				continue;
			}
			assert_in_range(due, start + want - BURST - 1, start + want - BURST + 1);
		}
	}
}

/* All sizes mixed, reserved or charged. */
static void test_mixed(void **state)
{
	for (unsigned r = 0; r < ARRAY_SIZE(rates); r++) {
		const uint64_t start = 1234567891;
		struct rate_clock c;
		uint64_t total = 0, want, got;
		uint32_t rnd = 1;

		rate_set(&c, rates[r], BURST);
		for (unsigned i = 0; i < 50000; i++) {
			uint64_t n = 60 + (rnd = rnd * 1664525 + 1013904223) % 65541;

			if (i & 1)
				rate_charge(&c, n, start, DAY_NS * 1000);
			else
				rate_reserve(&c, n, start);
			total += n;
		}
		want = (uint64_t)exact_ns(total, rates[r]);
		if (want > DAY_NS * 1000)
			continue;
		got = atomic_load(&c.tat_ns) - start;
		assert_in_range(got, want - 1, want);
	}
}

/* A sender that asks and charges, whose timers are late: it keeps its rate. */
static void late(uint64_t rate, uint64_t unit, uint64_t late_ns)
{
	const uint64_t start = DAY_NS, end = start + 20 * NS_PER_S;
	uint64_t now = start, sent = 0, due, want;
	struct rate_clock c;
	uint32_t rnd = 7;

	rate_set(&c, rate, BURST);
	while (now < end && sent < 4000000 * unit) {
		due = rate_due(&c, now);
		if (due) {
			rnd = rnd * 1664525 + 1013904223;
			now = due + (uint64_t)rnd * late_ns / UINT32_MAX;
			continue;
		}
		assert_true(rate_room(&c, now));
		rate_charge(&c, unit, now, NS_PER_S);
		sent += unit;
	}
	want = (uint64_t)((__uint128_t)(now - start) * rate / NS_PER_S);
	/* At most a burst and one unit ahead, and never behind by more than a timer was late. */
	assert_true(sent <= want + rate / 1000 + 2 * unit);
	assert_true(sent + unit + (uint64_t)((__uint128_t)late_ns * rate / NS_PER_S) >= want);
}

static void test_late_timers(void **state)
{
	static const uint64_t bytes[] = {1250000, 125000000, 1250000000, 12500000000};
	static const uint64_t frames[] = {60, 1514, 65600};

	for (unsigned r = 0; r < ARRAY_SIZE(bytes); r++)
		for (unsigned f = 0; f < ARRAY_SIZE(frames); f++)
			for (uint64_t ns = 0; ns <= 500 * NS_PER_US; ns += 100 * NS_PER_US)
				late(bytes[r], frames[f], ns);
}

/* A rest earns a burst, and no more however long it was. */
static void test_idle(void **state)
{
	static const uint64_t rests[] = {NS_PER_MS, NS_PER_S, DAY_NS, 3650 * DAY_NS};
	struct rate_clock c;
	uint64_t now = NS_PER_S;

	rate_set(&c, 1000000, BURST); /* a unit a us */
	for (unsigned i = 0; i < ARRAY_SIZE(rests); i++) {
		unsigned n = 0;

		now += rests[i] + BURST;
		assert_int_equal(rate_due(&c, now), 0);
		assert_int_equal(rate_room(&c, now), 1000);
		while (!rate_reserve(&c, 1, now))
			n++;
		assert_int_equal(n, 1001);
		/* the one that was refused has its place too */
		assert_int_equal(rate_due(&c, now), now + 2000);
	}
}

static void test_change(void **state)
{
	struct rate_clock c;
	uint64_t now = NS_PER_S;

	rate_set(&c, 1, BURST);
	assert_int_equal(rate_reserve(&c, 1000, now), 0);
	assert_int_equal(rate_reserve(&c, 1, now), now + 1000 * NS_PER_S - BURST);
	/* What was waited for at the old rate is forgotten. */
	rate_set(&c, 3, BURST);
	assert_int_equal(rate_due(&c, now), 0);
	for (unsigned i = 0; i < 30; i++)
		rate_reserve(&c, 1, now);
	assert_int_equal(rate_due(&c, now), now + 10 * NS_PER_S - BURST);
	rate_set(&c, 0, BURST);
	assert_int_equal(rate_due(&c, now), 0);
	assert_int_equal(rate_reserve(&c, UINT64_MAX, now), 0);
	rate_charge(&c, UINT64_MAX, now, NS_PER_S);
	assert_int_equal(rate_due(&c, now), 0);
}

/* What is charged beyond a bound is forgiven; nothing wraps. */
static void test_bounds(void **state)
{
	struct rate_clock c;
	uint64_t now = NS_PER_S, due;

	rate_set(&c, 1000, BURST);
	rate_charge(&c, 100000, now, 2 * NS_PER_S);
	assert_int_equal(rate_due(&c, now), now + 2 * NS_PER_S - BURST);
	rate_charge(&c, 1000, now, 1 * NS_PER_S);
	assert_int_equal(rate_due(&c, now), now + 2 * NS_PER_S - BURST);
	rate_set(&c, 1, BURST);
	for (unsigned i = 0; i < 10; i++)
		rate_reserve(&c, UINT64_MAX, now);
	due = rate_due(&c, now);
	assert_true(due > 100 * 365 * DAY_NS);
	rate_set(&c, 4096, BURST); /* the wide division */
	rate_reserve(&c, 1ull << 40, now);
	rate_reserve(&c, 1ull << 40, now);
	assert_int_equal(rate_due(&c, now), now + (1ull << 29) * NS_PER_S - BURST);
	assert_int_equal(rate_ns(1514, 12500000000), 121);
	assert_int_equal(rate_ns(UINT64_MAX, 1), UINT64_MAX / 4);
}

#define THREADS 4
#define TURNS	200000

static struct rate_clock shared;

static void *reserve(void *arg)
{
	for (unsigned i = 0; i < TURNS; i++)
		rate_reserve(&shared, 61, NS_PER_S);
	return NULL;
}

/* Fractions are lost by none of several threads. */
static void test_threads(void **state)
{
	pthread_t t[THREADS];
	uint64_t want = (uint64_t)exact_ns(61ull * THREADS * TURNS, 12345678901);

	rate_set(&shared, 12345678901, BURST);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, reserve, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_in_range(atomic_load(&shared.tat_ns) - NS_PER_S, want - THREADS, want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact),	    cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_late_timers), cmocka_unit_test(test_idle),
		cmocka_unit_test(test_change),	    cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
