/* SPDX-License-Identifier: BSD-3-Clause */
/* Block devices, where loop devices can be had; of 512 and of 4096 byte sectors. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1ull << 20)

/* The device's fd; its path. -1: none to be had. */
static int loop_new(const char *file, unsigned sector, char *path, size_t len)
{
	struct loop_config lc = {.block_size = sector, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
	int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC), n, fd;

	if (ctl < 0)
		return -1;
	n = ioctl(ctl, LOOP_CTL_GET_FREE);
	close(ctl);
	if (n < 0)
		return -1;
	snprintf(path, len, "/dev/loop%d", n);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	lc.fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if ((int)lc.fd < 0 || ftruncate(lc.fd, 8 * MIB) || ioctl(fd, LOOP_CONFIGURE, &lc)) {
		close(lc.fd);
		close(fd);
		return -1;
	}
	close(lc.fd);
	return fd;
}

static void verify(unsigned sector, enum block_direct direct)
{
	struct block_config cfg;
	struct block_backend *b;
	struct block_limits lim;
	char path[64], why[256];
	struct rig g;
	int fd = loop_new(scratch("backing"), sector, path, sizeof(path));

	if (fd < 0) {
		print_message("no loop devices here\n");
		return;
	}
	cfg = config(BLOCK_DEVICE, path, 0);
	cfg.direct = direct;
	b = open_ok(&cfg);
	assert_int_equal(block_size(b), 8 * MIB);
	block_get_limits(b, &lim);
	assert_int_equal(lim.alignment, direct == BLOCK_DIRECT_OFF ? 1 : sector);
	rig_start(&g);
	compare_with_model(&g, b, 512, 300);
	assert_int_equal(io_now(&g, b, BLOCK_DISCARD, 0, MIB, NULL, 0), 0);
	assert_int_equal(io_now(&g, b, BLOCK_DISCARD, 512, 1024, NULL, 0), 0);
	assert_int_equal(block_resize(b, 0, why, sizeof(why)), 0);
	assert_int_equal(block_resize(b, 9 * MIB, why, sizeof(why)), -ENOSPC);
	assert_int_equal(block_resize(b, 4 * MIB, why, sizeof(why)), 0);
	assert_int_equal(io_now(&g, b, BLOCK_FLUSH, 4 * MIB, 512, NULL, 0), 0);
	assert_int_equal(io_now(&g, b, BLOCK_DISCARD, 4 * MIB, 512, NULL, 0), -EINVAL);
	assert_int_equal(block_open(&cfg, "second", NULL, NULL, &b, why, sizeof(why)), -EBUSY);
	rig_stop(&g);
	block_close(b);
	block_close(open_ok(&cfg));
	close(fd);
}

static void test_512(void **state)
{
	verify(512, BLOCK_DIRECT_AUTO);
}

static void test_4096(void **state)
{
	verify(4096, BLOCK_DIRECT_ON);
}

static void test_cached(void **state)
{
	verify(4096, BLOCK_DIRECT_OFF);
}

#define SECTORS 64
#define ROUNDS	60

/* Sectors of the same blocks, written at once by two workers: none may be lost. */
static void test_neighbours(void **state)
{
	struct block_config cfg;
	struct block_backend *b;
	struct io *ios = calloc(SECTORS, sizeof(*ios));
	uint8_t *mem = aligned_alloc(4096, SECTORS * 512),
		*back = aligned_alloc(4096, SECTORS * 512);
	char path[64];
	struct rig g[2];
	int fd = loop_new(scratch("backing2"), 4096, path, sizeof(path)), round, i;

	if (fd < 0) {
		print_message("no loop devices here\n");
		goto out;
	}
	cfg = config(BLOCK_DEVICE, path, 0);
	b = open_ok(&cfg);
	rig_start(&g[0]);
	rig_start(&g[1]);
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < SECTORS; i++) {
			/* every fourth block as a whole, the others sector by sector */
			bool whole = i / 8 % 4 == 3, first = i % 8 == 0;

			memset(mem + i * 512, round + i, 512);
			if (whole && !first)
				continue;
			io_prepare(&ios[i], &g[i % 2], b, BLOCK_WRITE, i * 512, 512, mem + i * 512,
				   0);
			if (whole) {
				memset(mem + i * 512, round + i, 8 * 512);
				ios[i].req.len = ios[i].iov[0].iov_len = 8 * 512;
			}
		}
		for (i = 0; i < SECTORS; i++)
			if (i / 8 % 4 == 3 && i % 8)
				memset(mem + i * 512, round + i / 8 * 8, 512);
		for (i = 0; i < SECTORS; i++)
			if (i / 8 % 4 != 3 || i % 8 == 0)
				io_submit(&ios[i]);
		if (round % 5 == 0)
			io_cancel(&ios[SECTORS - 16]);
		for (i = 0; i < SECTORS; i++)
			if (i / 8 % 4 != 3 || i % 8 == 0)
				if (io_wait(&ios[i]) == -ECANCELED)
					assert_int_equal(io_now(&g[0], b, BLOCK_WRITE, i * 512, 512,
								mem + i * 512, 0),
							 0);
		assert_int_equal(io_now(&g[0], b, BLOCK_READ, 0, SECTORS * 512, back, 0), 0);
		assert_memory_equal(back, mem, SECTORS * 512);
	}
	rig_stop(&g[0]);
	rig_stop(&g[1]);
	block_close(b);
	close(fd);
out:
	free(ios);
	free(mem);
	free(back);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_512),
		cmocka_unit_test(test_4096),
		cmocka_unit_test(test_cached),
		cmocka_unit_test(test_neighbours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
