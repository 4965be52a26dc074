/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "util/bytes.h"
#include "util/util.h"

static void test_range_ok(void **state)
{
	assert_true(range_ok(0, 0, 0));
	assert_true(range_ok(0, 10, 10));
	assert_true(range_ok(10, 0, 10));
	assert_false(range_ok(11, 0, 10));
	assert_false(range_ok(1, 10, 10));
	assert_false(range_ok(5, UINT64_MAX, 10));
	assert_false(range_ok(UINT64_MAX, 2, 10));
	assert_false(range_ok(UINT64_MAX, UINT64_MAX, 10));
	assert_true(range_ok(0, UINT64_MAX, UINT64_MAX));
	assert_true(range_ok(UINT64_MAX, 0, UINT64_MAX));
}

static void test_range_no_wrap(void **state)
{
	assert_true(range_no_wrap(UINT64_MAX, 0));
	assert_true(range_no_wrap(UINT64_MAX, 1));
	assert_false(range_no_wrap(UINT64_MAX, 2));
	assert_true(range_no_wrap(UINT64_MAX - 0xfff, 0x1000));
	assert_false(range_no_wrap(UINT64_MAX - 0xffe, 0x1000));
	assert_true(range_no_wrap(0, UINT64_MAX));
	assert_true(range_no_wrap(1, UINT64_MAX));
	assert_false(range_no_wrap(2, UINT64_MAX));
}

static void test_pow2_align(void **state)
{
	assert_false(is_pow2(0));
	assert_true(is_pow2(1));
	assert_false(is_pow2(3));
	assert_true(is_pow2(1ull << 63));
	assert_int_equal(align_up(0, 4096), 0);
	assert_int_equal(align_up(1, 4096), 4096);
	assert_int_equal(align_up(4096, 4096), 4096);
	assert_int_equal(align_up(5ull << 32, 1ull << 33), 6ull << 32);
}

static void test_bytes(void **state)
{
	uint8_t b[9];

	put_le32(b + 1, 0x11223344);
	assert_int_equal(b[1], 0x44);
	assert_int_equal(b[4], 0x11);
	assert_int_equal(get_le32(b + 1), 0x11223344);
	assert_int_equal(get_be32(b + 1), 0x44332211);
	put_be16(b + 1, 0x0800);
	assert_int_equal(b[1], 8);
	put_be64(b + 1, 0x0102030405060708ull);
	assert_int_equal(get_le64(b + 1), 0x0807060504030201ull);
}

static void test_min_max_once(void **state)
{
	int i = 0;

	assert_int_equal(MIN(i++, 5), 0);
	assert_int_equal(i, 1);
	assert_int_equal(MAX(7u, 3u), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_range_ok),     cmocka_unit_test(test_range_no_wrap),
		cmocka_unit_test(test_pow2_align),   cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_min_max_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
