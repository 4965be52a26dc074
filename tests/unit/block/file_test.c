/* SPDX-License-Identifier: BSD-3-Clause */
/* Files, by io_uring or (argument "threads") where that is forbidden. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1ull << 20)

static void verify(enum block_direct direct, bool preallocate)
{
	struct block_config cfg = config(BLOCK_FILE, scratch("verify"), 2 * MIB);
	struct block_backend *b;
	struct rig g;

	cfg.direct = direct;
	cfg.preallocate = preallocate;
	b = open_ok(&cfg);
	rig_start(&g);
	compare_with_model(&g, b, 512, 400);
	rig_stop(&g);
	block_close(b);
	unlink(cfg.target);
}

static void test_verify_direct(void **state)
{
	verify(BLOCK_DIRECT_AUTO, false);
}

static void test_verify_cached(void **state)
{
	verify(BLOCK_DIRECT_OFF, true);
}

/* Offsets and lengths of any number of bytes: the page cache has no alignment. */
static void test_verify_bytes(void **state)
{
	struct block_config cfg = config(BLOCK_FILE, scratch("bytes"), 100001);
	struct block_backend *b;
	struct rig g;

	cfg.direct = BLOCK_DIRECT_OFF;
	b = open_ok(&cfg);
	rig_start(&g);
	compare_with_model(&g, b, 1, 100);
	rig_stop(&g);
	block_close(b);
}

static bool is_gone(int watch, int wait_ms)
{
	struct pollfd pfd = {.fd = watch, .events = POLLIN};

	return poll(&pfd, 1, wait_ms) == 1;
}

/* A file that was removed is freed when it is closed: a small one at once, a large one by and by.
 */
static void close_removed(uint64_t size, int wait_ms)
{
	struct block_config cfg = config(BLOCK_FILE, scratch("removed"), size);
	int watch = inotify_init1(IN_CLOEXEC);
	struct block_backend *b;

	cfg.preallocate = true;
	b = open_ok(&cfg);
	assert_true(watch >= 0);
	assert_true(inotify_add_watch(watch, cfg.target, IN_DELETE_SELF) >= 0);
	assert_int_equal(unlink(cfg.target), 0);
	assert_false(is_gone(watch, 0));
	block_close(b);
	assert_true(is_gone(watch, wait_ms));
	close(watch);
}

static void test_close_removed(void **state)
{
	close_removed(MIB, 0);
	close_removed(80 * MIB, 10000);
}

static int open_fails(const struct block_config *cfg, const char *word)
{
	struct block_backend *b;
	char why[512];
	int r = block_open(cfg, "test", NULL, NULL, &b, why, sizeof(why));

	if (!r || !strstr(why, word))
		fail_msg("%d, '%s' lacks '%s'", r, why, word);
	return r;
}

static void test_sizes(void **state)
{
	const char *path = scratch("sizes");
	struct block_config cfg = config(BLOCK_FILE, path, 0);
	struct block_backend *b;
	struct stat st;

	assert_int_equal(open_fails(&cfg, "give it a size"), -ENOENT);
	assert_int_equal(access(path, F_OK), -1);
	cfg.size = 64 << 10; /* made */
	b = open_ok(&cfg);
	assert_int_equal(block_size(b), 64 << 10);
	block_close(b);
	cfg.size = 128 << 10; /* made larger */
	block_close(open_ok(&cfg));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 128 << 10);
	cfg.size = 16 << 10; /* used in part, and not cut */
	b = open_ok(&cfg);
	assert_int_equal(block_size(b), 16 << 10);
	block_close(b);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 128 << 10);
	cfg.size = 0; /* what is there */
	b = open_ok(&cfg);
	assert_int_equal(block_size(b), 128 << 10);
	block_close(b);
	cfg.size = MIB;
	cfg.read_only = true;
	assert_int_equal(open_fails(&cfg, "fewer than its size says"), -EINVAL);
}

/* What opening has made goes again, and only that. */
static void test_undo(void **state)
{
	const char *path = scratch("undo");
	struct block_config cfg = config(BLOCK_FILE, path, 64 << 10);
	struct stat st;

	block_undo(open_ok(&cfg));
	assert_int_equal(access(path, F_OK), -1);
	block_close(open_ok(&cfg));
	block_undo(open_ok(&cfg));
	assert_int_equal(access(path, F_OK), 0);
	cfg.size = 128 << 10;
	block_undo(open_ok(&cfg));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 64 << 10);
	assert_int_equal(truncate(path, 0), 0);
	block_undo(open_ok(&cfg));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 0);
	unlink(path);
	/* Of what was refused nothing stays either. */
	cfg.size = 100001;
	cfg.direct = BLOCK_DIRECT_ON;
	if (open_fails(&cfg, "O_DIRECT") == -ENOTSUP)
		assert_int_equal(access(path, F_OK), -1);
	cfg = config(BLOCK_FILE, scratch("nothere/undo"), 4096);
	assert_int_equal(open_fails(&cfg, "its folder"), -ENOENT);
}

static void test_wrong_kinds(void **state)
{
	struct block_config cfg = config(BLOCK_FILE, "/dev/null", 4096);

	assert_int_equal(open_fails(&cfg, "not a regular file"), -EINVAL);
	cfg = config(BLOCK_FILE, scratch_dir(), 4096);
	open_fails(&cfg, "opening");
	cfg = config(BLOCK_FILE, "/nonexistent/disk", 4096);
	assert_int_equal(open_fails(&cfg, "/nonexistent/disk"), -ENOENT);
	cfg = config(BLOCK_DEVICE, "/dev/null", 0);
	assert_int_equal(open_fails(&cfg, "not a block device"), -ENOTBLK);
	assert_int_equal(mkfifo(scratch("fifo"), 0600), 0);
	cfg = config(BLOCK_FILE, scratch("fifo"), 4096);
	assert_int_equal(open_fails(&cfg, "not a regular file"), -EINVAL);
}

static void test_checks(void **state)
{
	struct block_config cfg = config(BLOCK_FILE, scratch("checks"), 64 << 10);
	static uint8_t buf[8192] __attribute__((aligned(4096)));
	struct block_backend *b = open_ok(&cfg);
	struct block_limits lim;
	struct rig g;
	struct io io;

	rig_start(&g);
	assert_int_equal(io_now(&g, b, BLOCK_READ, (64 << 10) - 512, 1024, buf, 0), -EINVAL);
	assert_int_equal(io_now(&g, b, BLOCK_READ, UINT64_MAX - 511, 1024, buf, 0), -EINVAL);
	assert_int_equal(io_now(&g, b, BLOCK_DISCARD, 64 << 10, 512, NULL, 0), -EINVAL);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 64 << 10, 0, buf, 0), 0);
	io_prepare(&io, &g, b, BLOCK_WRITE, 0, 4096, buf, 0);
	io.iov[0].iov_len = 8192; /* more than len */
	io_submit(&io);
	assert_int_equal(io_wait(&io), -EINVAL);
	block_close(b);

	cfg.read_only = true;
	b = open_ok(&cfg);
	block_get_limits(b, &lim);
	assert_true(lim.read_only);
	assert_int_equal(lim.discard_granularity, 0);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 0, 512, buf, 0), 0);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 0, 512, buf, 0), -EROFS);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE_ZEROES, 0, 512, NULL, 0), -EROFS);
	assert_int_equal(io_now(&g, b, BLOCK_DISCARD, 0, 512, NULL, 0), -EROFS);
	assert_int_equal(io_now(&g, b, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	rig_stop(&g);
	block_close(b);
}

/* Somebody cuts the file off under us. */
static void test_truncated(void **state)
{
	enum block_direct direct;
	uint8_t *buf = aligned_alloc(4096, 64 << 10);
	struct rig g;

	rig_start(&g);
	for (direct = BLOCK_DIRECT_AUTO; direct <= BLOCK_DIRECT_OFF; direct += 2) {
		struct block_config cfg = config(BLOCK_FILE, scratch("cut"), 64 << 10);
		struct block_backend *b;

		cfg.direct = direct;
		b = open_ok(&cfg);
		assert_int_equal(truncate(cfg.target, 20000), 0);
		assert_int_equal(io_now(&g, b, BLOCK_READ, 0, 16384, buf, 0), 0);
		assert_int_equal(io_now(&g, b, BLOCK_READ, 16384, 4096, buf, 0), -EIO);
		assert_int_equal(io_now(&g, b, BLOCK_READ, 0, 64 << 10, buf, 0), -EIO);
		assert_int_equal(io_now(&g, b, BLOCK_READ, 32768, 4096, buf, 0), -EIO);
		assert_int_equal(io_now(&g, b, BLOCK_READ, 32768, 512, buf + 12, 0), -EIO);
		/* writing makes it longer again */
		assert_int_equal(io_now(&g, b, BLOCK_WRITE, 0, 64 << 10, buf, 0), 0);
		assert_int_equal(io_now(&g, b, BLOCK_READ, 32768, 4096, buf, 0), 0);
		block_close(b);
	}
	rig_stop(&g);
	free(buf);
}

static void test_lock(void **state)
{
	const char *path = scratch("lock");
	struct block_config cfg = config(BLOCK_FILE, path, 64 << 10);
	struct block_backend *b = open_ok(&cfg), *b2;
	int to[2], from[2], status;
	char c;
	pid_t pid;

	/* in this process, by whatever name */
	assert_int_equal(open_fails(&cfg, "of this daemon already"), -EBUSY);
	assert_int_equal(link(path, scratch("lock2")), 0);
	snprintf(cfg.target, sizeof(cfg.target), "%s", scratch("lock2"));
	assert_int_equal(open_fails(&cfg, "'test'"), -EBUSY);
	cfg.read_only = true;
	assert_int_equal(open_fails(&cfg, "of this daemon already"), -EBUSY);
	block_close(b);

	/* readers share */
	b = open_ok(&cfg);
	b2 = open_ok(&cfg);
	cfg.read_only = false;
	assert_int_equal(open_fails(&cfg, "of this daemon already"), -EBUSY);
	block_close(b);
	block_close(b2);

	/* another process */
	assert_int_equal(pipe(to), 0);
	assert_int_equal(pipe(from), 0);
	pid = fork();
	if (!pid) {
		struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		int fd = open(path, O_RDWR);

		if (fcntl(fd, F_OFD_SETLK, &fl) || write(from[1], "x", 1) != 1)
			_exit(1);
		_exit(read(to[0], &c, 1) != 1);
	}
	assert_int_equal(read(from[0], &c, 1), 1);
	assert_int_equal(open_fails(&cfg, "another program"), -EBUSY);
	assert_int_equal(write(to[1], "x", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	block_close(open_ok(&cfg));
}

/* The kernel must not hold the file, or its lock, longer than we do. */
static void test_reopen(void **state)
{
	struct block_config cfg = config(BLOCK_FILE, scratch("reopen"), 64 << 10);
	static uint8_t buf[4096] __attribute__((aligned(4096)));
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct block_backend *b;
	struct rig g;
	int i, fd;

	for (i = 0; i < 20; i++) {
		if (i % 2 == 0)
			rig_start(&g);
		b = open_ok(&cfg);
		assert_int_equal(io_now(&g, b, BLOCK_WRITE, 0, 4096, buf, 0), 0);
		if (i % 2)
			rig_stop(&g);
		block_close(b);
		fd = open(cfg.target, O_RDWR);
		assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), 0);
		close(fd);
	}
}

static void test_discard_frees(void **state)
{
	struct block_config cfg = config(BLOCK_FILE, scratch("discard"), 8 * MIB);
	struct block_backend *b = open_ok(&cfg);
	uint8_t *buf = aligned_alloc(4096, MIB), *zero = calloc(1, MIB);
	struct block_limits lim;
	struct rig g;
	unsigned i;

	rig_start(&g);
	block_get_limits(b, &lim);
	if (!lim.discard_granularity) {
		print_message("no holes here\n");
		goto out;
	}
	memset(buf, 0x5a, MIB);
	for (i = 0; i < 8; i++)
		assert_int_equal(io_now(&g, b, BLOCK_WRITE, i * MIB, MIB, buf, BLOCK_FUA), 0);
	assert_int_equal(io_now(&g, b, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_true(block_allocated(b) >= 8 * MIB);
	assert_int_equal(io_now(&g, b, BLOCK_DISCARD, 0, 4 * MIB, NULL, 0), 0);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE_ZEROES, 4 * MIB, 2 * MIB, NULL,
				BLOCK_MAY_UNMAP | BLOCK_FUA),
			 0);
	assert_true(block_allocated(b) < 3 * MIB);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 5 * MIB, MIB, buf, 0), 0);
	assert_memory_equal(buf, zero, MIB);
	/* zeros that may not be a hole keep their place */
	assert_int_equal(io_now(&g, b, BLOCK_WRITE_ZEROES, 6 * MIB, 2 * MIB, NULL, 0), 0);
	assert_true(block_allocated(b) >= 2 * MIB);
out:
	rig_stop(&g);
	block_close(b);
	free(buf);
	free(zero);
}

static void test_resize(void **state)
{
	struct block_config cfg = config(BLOCK_FILE, scratch("resize"), 64 << 10);
	static uint8_t buf[4096] __attribute__((aligned(4096)));
	struct block_backend *b = open_ok(&cfg);
	struct stat st;
	char why[256];
	struct rig g;

	rig_start(&g);
	assert_int_equal(block_resize(b, MIB, why, sizeof(why)), 0);
	assert_int_equal(block_size(b), MIB);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, MIB - 4096, 4096, buf, 0), 0);
	assert_int_equal(block_resize(b, 32 << 10, why, sizeof(why)), 0);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 32 << 10, 4096, buf, 0), -EINVAL);
	assert_int_equal(stat(cfg.target, &st), 0);
	assert_int_equal(st.st_size, 32 << 10);
	assert_int_equal(block_resize(b, 0, why, sizeof(why)), -EINVAL);
	assert_true(why[0]);
	rig_stop(&g);
	block_close(b);
}

/* Beyond RLIMIT_FSIZE: EFBIG and a signal that would end us. */
static void test_file_limit(void **state)
{
	struct block_config cfg = config(BLOCK_FILE, scratch("limit"), MIB);
	uint8_t *buf = aligned_alloc(4096, 256 << 10);
	struct block_backend *b = open_ok(&cfg);
	struct rlimit old, lim;
	struct rig g;

	memset(buf, 1, 256 << 10);
	rig_start(&g);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	lim = (struct rlimit){512 << 10, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &lim), 0);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 0, 256 << 10, buf, 0), 0);
	assert_string_equal(block_state(b), "ok");
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 512 << 10, 4096, buf, 0), -ENOSPC);
	assert_non_null(strstr(block_state(b), "no space"));
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 384 << 10, 256 << 10, buf, 0), -ENOSPC);
	cfg = config(BLOCK_FILE, scratch("limit2"), MIB);
	open_fails(&cfg, "larger");
	assert_int_equal(access(cfg.target, F_OK), -1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 384 << 10, 256 << 10, buf, 0), 0);
	assert_string_equal(block_state(b), "ok");
	rig_stop(&g);
	block_close(b);
	free(buf);
}

static bool mount_small(const char *where)
{
	return !mkdir(where, 0700) && !unshare(CLONE_NEWNS) &&
	       !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("small", where, "tmpfs", 0, "size=1m");
}

/* A file system without room, and without ZERO_RANGE; space comes back. */
static void test_full(void **state)
{
	const char *where = scratch("small");
	struct block_config cfg;
	char path[256], other[256], why[256];
	uint8_t *buf = aligned_alloc(4096, 256 << 10), *zero = calloc(1, 256 << 10);
	struct block_backend *b;
	struct rig g;
	int fd, i;

	if (!mount_small(where)) {
		free(buf);
		free(zero);
		skip();
	}
	snprintf(path, sizeof(path), "%s/disk", where);
	snprintf(other, sizeof(other), "%s/other", where);
	cfg = config(BLOCK_FILE, path, 2 * MIB);
	cfg.preallocate = true;
	assert_int_equal(block_open(&cfg, "test", NULL, NULL, &b, why, sizeof(why)), -ENOSPC);
	assert_int_equal(access(path, F_OK), -1);
	cfg.preallocate = false;
	b = open_ok(&cfg);
	fd = open(other, O_RDWR | O_CREAT, 0600);
	assert_int_equal(posix_fallocate(fd, 0, 768 << 10), 0);
	rig_start(&g);
	memset(buf, 7, 256 << 10);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 0, 128 << 10, buf, 0), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(io_now(&g, b, BLOCK_WRITE, 512 << 10, 256 << 10, buf, 0), -ENOSPC);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 0, 128 << 10, buf, 0), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 512 << 10, 256 << 10, buf, 0), 0);
	assert_string_equal(block_state(b), "ok");
	/* zeros are written where they cannot be made */
	assert_int_equal(io_now(&g, b, BLOCK_WRITE_ZEROES, 512 << 10, 256 << 10, NULL, 0), 0);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 512 << 10, 256 << 10, buf, 0), 0);
	assert_memory_equal(buf, zero, 256 << 10);
	assert_true(block_allocated(b) >= 384 << 10);
	rig_stop(&g);
	block_close(b);
	close(fd);
	umount2(where, MNT_DETACH);
	free(buf);
	free(zero);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verify_direct), cmocka_unit_test(test_verify_cached),
		cmocka_unit_test(test_verify_bytes),  cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_undo),	      cmocka_unit_test(test_close_removed),
		cmocka_unit_test(test_wrong_kinds),   cmocka_unit_test(test_checks),
		cmocka_unit_test(test_truncated),     cmocka_unit_test(test_lock),
		cmocka_unit_test(test_reopen),	      cmocka_unit_test(test_discard_frees),
		cmocka_unit_test(test_resize),	      cmocka_unit_test(test_file_limit),
		cmocka_unit_test(test_full),
	};

	if (argc > 1 && !strcmp(argv[1], "threads") && !forbid_io_uring())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
