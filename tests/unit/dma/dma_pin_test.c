/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that something slower than a poll works on, while its region is unmapped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <unistd.h>

#include "dma/dma.h"
#include "memory.h"
#include "util/clock.h"
#include "util/util.h"
#include "worker/mailbox.h"

static struct dma_space *space_of(int fd, unsigned pages)
{
	struct dma_space *s;

	assert_int_equal(dma_space_create("test", NULL, NULL, &s), 0);
	assert_int_equal(dma_space_map(s, 0, pages * PG, RW, fd, 0), 0);
	return s;
}

static struct dma_pin *pin_first(struct dma_space *s, uint8_t **ptr)
{
	const struct dma_region *r = &dma_view_get(s)->regions[0];

	*ptr = r->ptr;
	return dma_region_pin(r);
}

static uint64_t unmap_ms(struct dma_space *s, unsigned pages)
{
	uint64_t begin = clock_now_ns();

	assert_int_equal(dma_space_unmap(s, 0, pages * PG), 0);
	return (clock_now_ns() - begin) / NS_PER_MS;
}

static void *let_go_soon(void *pin)
{
	usleep(50000);
	dma_unpin(pin);
	return NULL;
}

static void test_unmap_waits(void **state)
{
	int fd = memory("pin", 4);
	struct dma_space *s = space_of(fd, 4);
	uint64_t ms;
	pthread_t t;
	uint8_t *p;

	pthread_create(&t, NULL, let_go_soon, pin_first(s, &p));
	ms = unmap_ms(s, 4);
	assert_true(ms >= 40);
	assert_int_equal(count_mappings("memfd:pin"), 0);
	pthread_join(t, NULL);
	dma_space_destroy(s);
	close(fd);
}

static void test_hang_keeps_memory(void **state)
{
	int fd = memory("pin", 4);
	struct dma_space *s = space_of(fd, 4);
	struct dma_pin *pin;
	uint8_t *p, *q;
	char c;

	pin = pin_first(s, &p);
	assert_in_range(unmap_ms(s, 4), DMA_DRAIN_MS, 10 * DMA_DRAIN_MS);
	assert_int_equal(dma_view_get(s)->n, 0);
	p[0] = 'x';
	assert_int_equal(pread(fd, &c, 1, 0), 1);
	assert_int_equal(c, 'x');
	/* While it hangs nobody is waited for again, and the file can be mapped anew. */
	assert_int_equal(dma_space_map(s, 0, 2 * PG, RW, fd, 0), 0);
	dma_unpin(pin_first(s, &q));
	assert_true(unmap_ms(s, 2) < DMA_DRAIN_MS / 2);
	assert_int_equal(count_mappings("memfd:pin"), 1);
	dma_unpin(pin);
	mailbox_run();
	dma_space_destroy(s);
	assert_int_equal(count_mappings("memfd:pin"), 0);
	close(fd);
}

static void test_outlives_its_space(void **state)
{
	int fd = memory("pin", 4);
	struct dma_space *s = space_of(fd, 4);
	struct dma_pin *pin;
	uint8_t *p;

	pin = pin_first(s, &p);
	dma_space_destroy(s);
	mailbox_run();
	p[PG] = 1;
	assert_int_equal(count_mappings("memfd:pin"), 1);
	dma_unpin(pin);
	mailbox_run();
	assert_int_equal(count_mappings("memfd:pin"), 0);
	close(fd);
}

/* The mapping is replaced; what works on the old one goes on there. */
static void test_growth(void **state)
{
	int fd = memory("pin", 4);
	struct dma_space *s = space_of(fd, 4);
	struct dma_pin *pin, *other;
	uint8_t *p, *q;
	char c;

	pin = pin_first(s, &p);
	assert_int_equal(ftruncate(fd, 8 * PG), 0);
	assert_int_equal(dma_space_map(s, 16 * PG, 4 * PG, RW, fd, 4 * PG), 0);
	other = pin_first(s, &q);
	assert_ptr_not_equal(p, q);
	assert_ptr_not_equal(pin, other);
	p[5] = 'y';
	assert_int_equal(pread(fd, &c, 1, 5), 1);
	assert_int_equal(c, 'y');
	assert_int_equal(count_mappings("memfd:pin"), 2);
	dma_unpin(pin);
	dma_unpin(other);
	assert_int_equal(dma_space_unmap(s, 0, 4 * PG), 0);
	assert_int_equal(count_mappings("memfd:pin"), 1);
	dma_space_destroy(s);
	assert_int_equal(count_mappings("memfd:pin"), 0);
	close(fd);
}

/* A small region that comes and goes does not wait for the rest of the same file. */
static void test_neighbours(void **state)
{
	int fd = memory("pin", 4);
	struct dma_space *s = space_of(fd, 2);
	struct dma_pin *pin;
	uint64_t begin;
	uint8_t *p;

	pin = pin_first(s, &p);
	assert_int_equal(dma_space_map(s, 16 * PG, PG, RW, fd, 2 * PG), 0);
	begin = clock_now_ns();
	assert_int_equal(dma_space_unmap(s, 16 * PG, PG), 0);
	assert_true(clock_now_ns() - begin < DMA_DRAIN_MS * NS_PER_MS / 2);
	dma_unpin(pin);
	dma_space_destroy(s);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unmap_waits),	   cmocka_unit_test(test_hang_keeps_memory),
		cmocka_unit_test(test_outlives_its_space), cmocka_unit_test(test_growth),
		cmocka_unit_test(test_neighbours),
	};

	if (mailbox_init() || dma_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
