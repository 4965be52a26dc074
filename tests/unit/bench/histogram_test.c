/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bench/histogram.h"

static struct histogram h;

static void assert_near(double got, double want)
{
	if (got < want * 0.97 || got > want * 1.03)
		fail_msg("%g is not within 3 %% of %g", got, want);
}

static int clear(void **state)
{
	histogram_clear(&h);
	return 0;
}

/* Of 1 to 1000000, each once, the p-th percentile is p millions. */
static void percentiles_of_a_ramp(void **state)
{
	for (uint64_t v = 1; v <= 1000000; v++)
		histogram_add(&h, v);
	assert_int_equal(h.n, 1000000);
	assert_int_equal(h.least, 1);
	assert_int_equal(h.most, 1000000);
	assert_int_equal(h.sum, 500000500000);
	for (unsigned p = 1; p <= 99; p++)
		assert_near(histogram_percentile(&h, p / 100.0), p * 10000.0);
}

/* Small values are exact, and a single large one neither moves the median nor is lost. */
static void one_that_stands_out(void **state)
{
	for (unsigned i = 0; i < 99; i++)
		histogram_add(&h, 7);
	histogram_add(&h, 1ull << 40);
	assert_int_equal((uint64_t)histogram_percentile(&h, 0.5), 7);
	assert_int_equal((uint64_t)histogram_percentile(&h, 0.98), 7);
	assert_near(histogram_percentile(&h, 0.99), (double)(1ull << 40));
	assert_int_equal(h.most, 1ull << 40);
}

/* Every power of two and its neighbours find a place of their own size. */
static void places(void **state)
{
	for (unsigned bit = 0; bit < 63; bit++) {
		for (int d = -1; d <= 1; d++) {
			uint64_t v = (1ull << bit) + (uint64_t)d;

			if (!v)
				continue;
			histogram_clear(&h);
			histogram_add(&h, v);
			assert_near(histogram_percentile(&h, 0.5), (double)v);
		}
	}
	histogram_clear(&h);
	histogram_add(&h, UINT64_MAX);
	assert_near(histogram_percentile(&h, 0.5), (double)UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(percentiles_of_a_ramp, clear),
		cmocka_unit_test_setup(one_that_stands_out, clear),
		cmocka_unit_test_setup(places, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
