/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "dma/dma.h"
#include "memory.h"
#include "util/clock.h"
#include "util/util.h"
#include "worker/worker.h"

/* In each test: cmocka puts its own handler in place before. */
static void install_handler(void)
{
	assert_int_equal(dma_init(), 0);
}

static struct dma_space *space_of(int fd, uint64_t pages)
{
	struct dma_space *s;

	assert_int_equal(dma_space_create("fault", NULL, NULL, &s), 0);
	assert_int_equal(dma_space_map(s, 0, pages * PG, RW, fd, 0), 0);
	return s;
}

static void test_truncated(void **state)
{
	int a = memory("gone", 64), b = memory("well", 64);
	struct dma_space *s = space_of(a, 64), *t = space_of(b, 64);
	volatile uint8_t *p = dma_translate(dma_view_get(s), 0, 64 * PG, RW, NULL);
	volatile uint8_t *q = dma_translate(dma_view_get(t), 0, 64 * PG, RW, NULL);
	uint8_t buf[8] = {1, 2, 3};

	install_handler();
	p[0] = 1;
	q[0] = q[63 * PG] = 2;
	assert_int_equal(ftruncate(a, PG), 0);
	assert_false(dma_space_broken(s));
	errno = 12345;
	assert_int_equal(p[10 * PG], 0); /* the access goes on, with zeros */
	assert_int_equal(errno, 12345);
	assert_true(dma_space_broken(s));
	p[63 * PG] = 5;
	assert_int_equal(p[0], 0); /* all of the mapping was replaced */
	assert_int_equal(count_mappings("memfd:gone"), 0);

	/* a broken space has no memory any more */
	assert_int_equal(dma_view_get(s)->n, 0);
	assert_int_equal(dma_read(s, 0, buf, 8), -EFAULT);
	assert_int_equal(dma_write(s, 0, buf, 8), -EFAULT);
	assert_int_equal(dma_space_map(s, 1ull << 30, PG, RW, b, 0), -EIO);
	assert_int_equal(dma_space_count(s), 1);
	assert_int_equal(dma_space_unmap(s, 0, 64 * PG), 0); /* the client may still tidy up */

	assert_false(dma_space_broken(t));
	assert_int_equal(q[0], 2);
	assert_int_equal(q[63 * PG], 2);
	assert_int_equal(dma_read(t, 63 * PG, buf, 1), 0);
	assert_int_equal(buf[0], 2);
	dma_space_destroy(s);
	dma_space_destroy(t);
	close(a);
	close(b);
}

static void test_truncated_in_copy(void **state)
{
	int fd = memory("copy", 4);
	struct dma_space *s = space_of(fd, 4);
	static uint8_t buf[4 * PG];

	install_handler();
	assert_int_equal(ftruncate(fd, PG), 0);
	assert_int_equal(dma_write(s, 0, buf, sizeof(buf)), -EFAULT);
	assert_true(dma_space_broken(s));
	dma_space_destroy(s);
	close(fd);
}

/* Files that shrink under running workers: each space breaks for itself. */
struct user {
	struct poller poller;
	struct dma_space *s;
	_Atomic uint64_t hits;
};

static unsigned user_poll(struct poller *p)
{
	struct user *u = container_of(p, struct user, poller);
	const struct dma_view *v = dma_view_get(u->s);
	volatile uint8_t *byte;
	unsigned i;

	for (i = 0; i < 16; i++) {
		byte = dma_translate(v, i * PG, 8, RW, NULL);
		if (!byte)
			continue;
		*byte = (uint8_t)i;
		atomic_fetch_add(&u->hits, 1);
	}
	return 1;
}

static void test_truncated_under_load(void **state)
{
	static const struct poller_ops ops = {.poll = user_poll};
	const struct timespec ts = {0, 100 * NS_PER_US};
	struct worker *w[2];
	struct user u[2];
	uint64_t hits, end;
	int i, round, fd, good = memory("good", 16);

	install_handler();
	for (i = 0; i < 2; i++)
		assert_int_equal(worker_create("user", 0, &w[i]), 0);
	u[1] = (struct user){.poller.ops = &ops, .s = space_of(good, 16)};
	worker_add(w[1], &u[1].poller);
	for (round = 0; round < 50; round++) {
		fd = memory("bad", 16);
		u[0] = (struct user){.poller.ops = &ops, .s = space_of(fd, 16)};
		worker_add(w[0], &u[0].poller);
		end = clock_now_ns() + 10 * NS_PER_S;
		while (!atomic_load(&u[0].hits) && clock_now_ns() < end)
			nanosleep(&ts, NULL);
		assert_int_equal(ftruncate(fd, 0), 0);
		while (!dma_space_broken(u[0].s) && clock_now_ns() < end)
			nanosleep(&ts, NULL);
		assert_true(dma_space_broken(u[0].s));
		worker_synchronize();
		hits = atomic_load(&u[0].hits);
		nanosleep(&ts, NULL);
		assert_int_equal(atomic_load(&u[0].hits), hits); /* no memory left */
		if (round & 1)					 /* in either order */
			worker_remove(&u[0].poller);
		dma_space_unmap_all(u[0].s);
		worker_remove(&u[0].poller);
		dma_space_destroy(u[0].s);
		close(fd);
	}
	assert_false(dma_space_broken(u[1].s));
	worker_remove(&u[1].poller);
	for (i = 0; i < 2; i++)
		worker_destroy(w[i]);
	dma_space_destroy(u[1].s);
	close(good);
}

/* A SIGBUS that is no guest's doing ends the process, as ever. */
static int status_of(void (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		alarm(20);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void foreign_fault(void)
{
	int fd = memory("foreign", 1);
	volatile uint8_t *p = mmap(NULL, PG, PROT_READ, MAP_SHARED, fd, 0);

	if (ftruncate(fd, 0))
		_exit(1);
	_exit(p[0] + 1);
}

static void sent_signal(void)
{
	raise(SIGBUS);
}

static void test_foreign(void **state)
{
	int status;

	install_handler();
	status = status_of(foreign_fault);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	status = status_of(sent_signal);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_truncated_in_copy),
		cmocka_unit_test(test_truncated_under_load),
		cmocka_unit_test(test_foreign),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
