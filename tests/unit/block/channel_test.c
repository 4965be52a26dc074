/* SPDX-License-Identifier: BSD-3-Clause */
/* A channel under load: many requests, cancelled ones, sleep and wake-up, registered memory. By
 * io_uring or (argument "threads") where that is forbidden. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MIB (1ull << 20)

#define MANY 12000

static void submit_many(void *arg)
{
	struct io *ios = arg;
	int i, r;

	for (i = 0; i < MANY; i++) {
		r = block_submit(ios[i].rig->ch, ios[i].b, &ios[i].req);
		if (r != BLOCK_PENDING)
			ios[i].req.done(&ios[i].req, r);
	}
}

/* More than the ring has room for, at once. */
static void test_many(void **state)
{
	struct block_config cfg = config(BLOCK_FILE, scratch("many"), MANY * 512);
	uint8_t *buf = aligned_alloc(4096, MANY * 512);
	struct io *ios = calloc(MANY, sizeof(*ios));
	struct block_backend *b;
	struct rig g;
	int i;

	cfg.direct = BLOCK_DIRECT_OFF;
	b = open_ok(&cfg);
	rig_start(&g);
	for (i = 0; i < MANY; i++) {
		memset(buf + i * 512, i % 251, 512);
		io_prepare(&ios[i], &g, b, BLOCK_WRITE, i * 512, 512, buf + i * 512, 0);
	}
	rig_call(&g, submit_many, ios);
	for (i = 0; i < MANY; i++)
		assert_int_equal(io_wait(&ios[i]), 0);
	memset(buf, 0, MANY * 512);
	for (i = 0; i < MANY; i++)
		io_prepare(&ios[i], &g, b, BLOCK_READ, i * 512, 512, buf + i * 512, 0);
	rig_call(&g, submit_many, ios);
	for (i = 0; i < MANY; i++) {
		assert_int_equal(io_wait(&ios[i]), 0);
		assert_int_equal(buf[i * 512 + i % 512], i % 251);
	}
	rig_stop(&g);
	block_close(b);
	free(ios);
	free(buf);
}

static void cancel_many(void *arg)
{
	struct io *ios = arg;
	int i;

	submit_many(ios);
	for (i = 0; i < MANY; i++)
		if (atomic_load(&ios[i].result) == BLOCK_PENDING)
			block_cancel(&ios[i].req);
}

/* Every one ends, once, one way or the other. */
static void test_cancel(void **state)
{
	struct block_config cfg = config(BLOCK_FILE, scratch("cancel"), MIB);
	uint8_t *buf = aligned_alloc(4096, MANY * 512);
	struct io *ios = calloc(MANY, sizeof(*ios));
	struct block_backend *b = open_ok(&cfg);
	unsigned cancelled = 0;
	struct rig g;
	int i, r;

	rig_start(&g);
	for (i = 0; i < MANY; i++)
		io_prepare(&ios[i], &g, b, i % 7 ? BLOCK_READ : BLOCK_FLUSH, 0, 512, buf + i * 512,
			   0);
	rig_call(&g, cancel_many, ios);
	for (i = 0; i < MANY; i++) {
		r = io_wait(&ios[i]);
		assert_true(!r || r == -ECANCELED);
		cancelled += r == -ECANCELED;
	}
	/* a slowed-down worker may find all of them done */
	assert_true(cancelled || UNDER_TSAN);
	rig_stop(&g);
	block_close(b);
	free(ios);
	free(buf);
}

/* One request after another with a sleep between submission and completion, most times: a lost
 * wake-up hangs. */
static void test_sleep(void **state)
{
	struct block_config cfg = config(BLOCK_FILE, scratch("sleep"), MIB);
	static uint8_t buf[4096] __attribute__((aligned(4096)));
	struct block_backend *b = open_ok(&cfg);
	struct rig g;
	int i;

	worker_set_quiet_spell_ns(0);
	rig_start(&g);
	for (i = 0; i < 300; i++)
		assert_int_equal(io_now(&g, b,
					i % 3 == 0   ? BLOCK_WRITE
					: i % 3 == 1 ? BLOCK_READ
						     : BLOCK_FLUSH,
					(i % 200) * 4096, 4096, buf, 0),
				 0);
	rig_stop(&g);
	worker_set_quiet_spell_ns(50000);
	block_close(b);
}

/* ---- registered memory ---- */

struct registration {
	struct rig *g;
	uint64_t id;
	void *base;
	size_t len;
	int first;
};

static void fix_call(void *arg)
{
	struct registration *reg = arg;

	reg->first = block_channel_fix(reg->g->ch, reg->id, reg->base, reg->len);
}

static void unfix_call(void *arg)
{
	struct registration *reg = arg;

	block_channel_unfix(reg->g->ch, reg->id);
}

static void write_and_read(struct rig *g, struct block_backend *b, uint8_t *p, uint16_t fixed)
{
	static uint8_t v;

	v++;
	memset(p, v, 65536);
	assert_int_equal(io_fixed(g, b, BLOCK_WRITE, 0, 65536, p, fixed), 0);
	memset(p, 0xff, 65536);
	assert_int_equal(io_fixed(g, b, BLOCK_READ, 0, 65536, p, fixed), 0);
	assert_int_equal(p[0], v);
	assert_int_equal(p[65535], v);
}

static void test_registered(void **state)
{
	struct block_config cfg = config(BLOCK_FILE, scratch("registered"), MIB);
	size_t len = 4 * MIB;
	uint8_t *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct block_backend *b = open_ok(&cfg);
	struct registration one, other;
	struct rig g;

	rig_start(&g);
	one = (struct registration){&g, 7, mem, MIB};
	other = (struct registration){&g, 8, mem + 2 * MIB, 2 * MIB};
	rig_call(&g, fix_call, &one);
	rig_call(&g, fix_call, &other);
	if (one.first < 0) {
		assert_true(one.first == -ENOTSUP || one.first == -ENOMEM);
		goto out;
	}
	assert_true(other.first > one.first);
	write_and_read(&g, b, mem, (uint16_t)(one.first + 1));
	write_and_read(&g, b, mem + 3 * MIB, (uint16_t)(other.first + 1));
	write_and_read(&g, b, mem + MIB, 0);
	/* the kernel checks that it lies inside */
	assert_int_not_equal(
		io_fixed(&g, b, BLOCK_READ, 0, 65536, mem + MIB, (uint16_t)(one.first + 1)), 0);
	/* shared, until the last one lets go */
	rig_call(&g, fix_call, &one);
	rig_call(&g, unfix_call, &one);
	write_and_read(&g, b, mem, (uint16_t)(one.first + 1));
	rig_call(&g, unfix_call, &one);
	write_and_read(&g, b, mem, 0);
	assert_int_not_equal(io_fixed(&g, b, BLOCK_READ, 0, 65536, mem, (uint16_t)(one.first + 1)),
			     0);
	rig_call(&g, unfix_call, &other);
	rig_call(&g, unfix_call, &other); /* nothing */
out:
	rig_stop(&g);
	block_close(b);
	munmap(mem, len);
}

static void test_channels(void **state)
{
	struct block_channel *a, *b, *c;
	struct worker *w, *w2;

	assert_int_equal(worker_create("a", 0, &w), 0);
	assert_int_equal(worker_create("b", 0, &w2), 0);
	assert_int_equal(block_channel_get(w, &a), 0);
	assert_int_equal(block_channel_get(w, &b), 0);
	assert_int_equal(block_channel_get(w2, &c), 0);
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_int_not_equal(block_channel_number(a), block_channel_number(c));
	assert_true(block_channel_number(c) < BLOCK_CHANNELS_MAX);
	block_channel_put(a);
	block_channel_put(b);
	block_channel_put(c);
	worker_destroy(w);
	worker_destroy(w2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),	 cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_sleep),	 cmocka_unit_test(test_registered),
		cmocka_unit_test(test_channels),
	};

	if (argc > 1 && !strcmp(argv[1], "threads") && !forbid_io_uring())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
