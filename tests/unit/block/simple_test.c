/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory and null: done when submitted. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1ull << 20)

static void test_memory(void **state)
{
	struct block_config cfg = config(BLOCK_MEMORY, "", MIB + 512);
	struct block_backend *b = open_ok(&cfg);
	struct rig g;

	rig_start(&g);
	compare_with_model(&g, b, 512, 500);
	compare_with_model(&g, b, 1, 100);
	rig_stop(&g);
	block_close(b);
}

static void submit_read(void *arg)
{
	struct io *io = arg;

	atomic_store(&io->result, block_submit(io->rig->ch, io->b, &io->req));
}

static void test_at_once(void **state)
{
	enum block_type type;
	uint8_t buf[512];
	struct rig g;
	struct io io;

	rig_start(&g);
	for (type = BLOCK_MEMORY; type <= BLOCK_NULL; type++) {
		struct block_config cfg = config(type, "", MIB);
		struct block_backend *b = open_ok(&cfg);

		io_prepare(&io, &g, b, BLOCK_READ, 0, sizeof(buf), buf, 0);
		rig_call(&g, submit_read, &io);
		assert_int_equal(atomic_load(&io.result), 0);
		assert_int_equal(io_now(&g, b, BLOCK_READ, MIB, 512, buf, 0), -EINVAL);
		assert_int_equal(io_now(&g, b, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
		block_close(b);
	}
	rig_stop(&g);
}

static void test_memory_frees(void **state)
{
	struct block_config cfg = config(BLOCK_MEMORY, "", 64 * MIB);
	struct block_backend *b = open_ok(&cfg);
	uint8_t *buf = malloc(MIB), *zero = calloc(1, MIB);
	struct rig g;
	unsigned i;

	rig_start(&g);
	memset(buf, 3, MIB);
	for (i = 0; i < 16; i++)
		assert_int_equal(io_now(&g, b, BLOCK_WRITE, i * MIB, MIB, buf, 0), 0);
	assert_true(block_allocated(b) >= 16 * MIB);
	assert_true(block_allocated(b) < 32 * MIB);
	assert_int_equal(io_now(&g, b, BLOCK_DISCARD, 0, MIB, NULL, 0), 0);
	assert_int_equal(io_now(&g, b, BLOCK_DISCARD, MIB, 14 * MIB, NULL, 0), 0);
	assert_true(block_allocated(b) < 2 * MIB);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 7 * MIB, MIB, buf, 0), 0);
	assert_memory_equal(buf, zero, MIB);
	rig_stop(&g);
	block_close(b);
	free(buf);
	free(zero);
}

/* What a smaller disk has lost does not come back when it grows. */
static void test_memory_resize(void **state)
{
	struct block_config cfg = config(BLOCK_MEMORY, "", MIB);
	struct block_backend *b = open_ok(&cfg);
	uint8_t buf[4096], zero[4096] = {0};
	char why[128];
	struct rig g;

	rig_start(&g);
	memset(buf, 9, sizeof(buf));
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 0, 4096, buf, 0), 0);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 4096, 4096, buf, 0), 0);
	assert_int_equal(block_resize(b, 4096 + 512, why, sizeof(why)), 0);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 4096, 4096, buf, 0), -EINVAL);
	assert_int_equal(block_resize(b, 16 * MIB, why, sizeof(why)), 0);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 4096 + 512, 2048, buf, 0), 0);
	assert_memory_equal(buf, zero, 2048);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 4096, 512, buf, 0), 0);
	assert_int_equal(buf[511], 9);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 16 * MIB - 512, 512, buf, 0), 0);
	rig_stop(&g);
	block_close(b);
}

static void test_refused(void **state)
{
	struct block_config cfg = config(BLOCK_MEMORY, "", 0);
	struct block_backend *b;
	char why[256];

	assert_int_equal(block_open(&cfg, "x", NULL, NULL, &b, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "size"));
	cfg.type = BLOCK_NULL;
	assert_int_equal(block_open(&cfg, "x", NULL, NULL, &b, why, sizeof(why)), -EINVAL);
	cfg.size = UINT64_MAX;
	assert_int_equal(block_open(&cfg, "x", NULL, NULL, &b, why, sizeof(why)), -EFBIG);
	cfg.type = 99;
	assert_int_equal(block_open(&cfg, "x", NULL, NULL, &b, why, sizeof(why)), -EINVAL);
	assert_string_equal(block_type_name(BLOCK_NBD), "nbd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),	     cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_memory_frees), cmocka_unit_test(test_memory_resize),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
