/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#include "dma/dma.h"
#include "memory.h"
#include "util/clock.h"
#include "util/util.h"
#include "worker/worker.h"

/* The client's memory that has no fd: [FAR, FAR + sizeof(bytes)). */
#define FAR 0x100000ull

static struct {
	uint8_t bytes[4 * PG];
	_Atomic unsigned reads, writes;
	_Atomic int fail;
	_Atomic bool hold, held;
	struct dma_space *space;
	void (*during)(void); /* what happens while the reply is awaited */
} far;

static void wait_reply(void)
{
	const struct timespec ts = {0, 100 * NS_PER_US};

	atomic_store(&far.held, true);
	while (atomic_load(&far.hold))
		nanosleep(&ts, NULL);
	if (far.during)
		far.during();
}

static int far_read(void *opaque, uint64_t iova, void *buf, size_t len)
{
	assert_ptr_equal(opaque, &far);
	assert_true(iova >= FAR && range_ok(iova - FAR, len, sizeof(far.bytes)));
	wait_reply();
	memcpy(buf, far.bytes + (iova - FAR), len);
	atomic_fetch_add(&far.reads, 1);
	return atomic_load(&far.fail);
}

static int far_write(void *opaque, uint64_t iova, const void *buf, size_t len)
{
	assert_ptr_equal(opaque, &far);
	assert_true(iova >= FAR && range_ok(iova - FAR, len, sizeof(far.bytes)));
	wait_reply();
	memcpy(far.bytes + (iova - FAR), buf, len);
	atomic_fetch_add(&far.writes, 1);
	return atomic_load(&far.fail);
}

static const struct dma_remote_ops far_ops = {far_read, far_write};

/* near | far | near | far read-only, one page each but the first far one, which has two */
static struct dma_space *mixed(void)
{
	int fd = memory("near", 2);
	struct dma_space *s;

	memset(&far, 0, sizeof(far));
	assert_int_equal(dma_space_create("far", &far_ops, &far, &s), 0);
	assert_int_equal(dma_space_map(s, FAR - PG, PG, RW, fd, 0), 0);
	assert_int_equal(dma_space_map(s, FAR, 2 * PG, RW, -1, 0), 0);
	assert_int_equal(dma_space_map(s, FAR + 2 * PG, PG, RW, fd, PG), 0);
	assert_int_equal(dma_space_map(s, FAR + 3 * PG, PG, DMA_PROT_READ, -1, 0), 0);
	close(fd);
	far.space = s;
	return s;
}

static void fill(uint8_t *p, size_t n, unsigned seed)
{
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 7 + i / 256 + seed);
}

static void test_no_pointer(void **state)
{
	struct dma_space *s = mixed();
	const struct dma_view *v = dma_view_get(s);
	uint64_t len = 2 * PG;
	uint32_t hint = 1;

	assert_null(dma_translate(v, FAR, 1, DMA_PROT_READ, NULL));
	assert_null(dma_translate(v, FAR, 1, DMA_PROT_READ, &hint));
	assert_null(dma_view_segment(v, FAR, &len, DMA_PROT_READ, &hint));
	assert_non_null(dma_view_segment(v, FAR - 8, &len, DMA_PROT_READ, &hint));
	assert_int_equal(len, 8);
	assert_null(dma_view_find(v, FAR)->ptr);
	assert_int_equal(dma_space_map(s, FAR + PG, PG, RW, -1, 0), -EEXIST);
	assert_int_equal(dma_space_unmap(s, FAR, 2 * PG), 0);
	assert_int_equal(dma_space_unmap(s, FAR + 3 * PG, PG), 0);
	dma_space_destroy(s);
}

static void test_mixed(void **state)
{
	static uint8_t out[4 * PG], in[5 * PG];
	struct dma_space *s = mixed();

	fill(out, sizeof(out), 1);
	assert_int_equal(dma_write(s, FAR - 100, out, 2 * PG + 200), 0);
	assert_int_equal(atomic_load(&far.writes), 1);
	assert_memory_equal(far.bytes, out + 100, 2 * PG);
	assert_int_equal(dma_read(s, FAR - 100, in, 2 * PG + 200), 0);
	assert_memory_equal(in, out, 2 * PG + 200);
	assert_int_equal(dma_read(s, FAR - PG, in, 5 * PG), 0); /* all four */
	assert_int_equal(dma_read(s, FAR + PG + 3, in, 5), 0);
	assert_memory_equal(in, out + 100 + PG + 3, 5);
	dma_space_destroy(s);
}

static void test_permission(void **state)
{
	static uint8_t out[4 * PG], in[6 * PG];
	struct dma_space *s = mixed();

	fill(out, sizeof(out), 3);
	assert_int_equal(dma_write(s, FAR, out, 4 * PG), -EFAULT);
	assert_int_equal(dma_write(s, FAR + 3 * PG, out, 1), -EFAULT);
	assert_int_equal(atomic_load(&far.writes), 0);
	assert_int_equal(far.bytes[0], 0);
	assert_int_equal(dma_read(s, FAR + 3 * PG, in, PG), 0);
	assert_int_equal(dma_read(s, FAR + 3 * PG, in, PG + 1), -EFAULT);
	assert_int_equal(dma_read(s, FAR - PG - 1, in, 2), -EFAULT);
	dma_space_destroy(s);
}

static void test_error(void **state)
{
	struct dma_space *s = mixed();
	uint8_t in[64];

	atomic_store(&far.fail, -ECANCELED);
	assert_int_equal(dma_read(s, FAR - 8, in, sizeof(in)), -ECANCELED);
	assert_int_equal(dma_write(s, FAR - 8, in, sizeof(in)), -ECANCELED);
	dma_space_destroy(s);
}

static void unmap_next(void)
{
	assert_int_equal(dma_space_unmap(far.space, FAR + 2 * PG, PG), 0);
}

/* The region behind goes while the reply is awaited: its old pointer must not be used. */
static void test_unmapped_meanwhile(void **state)
{
	static uint8_t in[3 * PG];
	struct dma_space *s = mixed();

	far.during = unmap_next;
	assert_int_equal(dma_read(s, FAR, in, 3 * PG), -EFAULT);
	assert_int_equal(atomic_load(&far.reads), 1);
	dma_space_destroy(s);
}

/* A worker that waits for the client does not hold up the control thread, which serves it. */
struct copier {
	struct poller poller;
	struct dma_space *s;
	uint8_t buf[3 * PG];
	_Atomic int result;
	_Atomic bool done;
};

static unsigned copier_poll(struct poller *p)
{
	struct copier *c = container_of(p, struct copier, poller);

	if (atomic_load(&c->done))
		return 0;
	atomic_store(&c->result, dma_read(c->s, FAR - PG, c->buf, sizeof(c->buf)));
	atomic_store(&c->done, true);
	return 1;
}

static void test_worker_waits_offline(void **state)
{
	static const struct poller_ops ops = {.poll = copier_poll};
	const struct timespec ts = {0, 100 * NS_PER_US};
	struct dma_space *s = mixed();
	struct copier c = {.poller.ops = &ops, .s = s};
	struct worker *w;
	uint8_t near = 9;
	int i;

	assert_int_equal(dma_write(s, FAR - PG, &near, 1), 0);
	fill(far.bytes, sizeof(far.bytes), 5);
	atomic_store(&far.held, false);
	atomic_store(&far.hold, true);
	assert_int_equal(worker_create("copier", WORKER_MAY_BLOCK, &w), 0);
	worker_add(w, &c.poller);
	while (!atomic_load(&far.held))
		nanosleep(&ts, NULL);
	/* would hang, were the worker not quiescent; the memory is gone at once */
	assert_int_equal(dma_space_unmap(s, FAR - PG, PG), 0);
	assert_false(atomic_load(&c.done));
	atomic_store(&far.hold, false);
	for (i = 0; i < 50000 && !atomic_load(&c.done); i++)
		nanosleep(&ts, NULL);
	worker_remove(&c.poller);
	worker_destroy(w);
	assert_int_equal(atomic_load(&c.result), 0); /* that part had been copied before */
	assert_int_equal(c.buf[0], 9);
	assert_memory_equal(c.buf + PG, far.bytes, 2 * PG);
	dma_space_destroy(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_pointer),
		cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_permission),
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_unmapped_meanwhile),
		cmocka_unit_test(test_worker_waits_offline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
