/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "dma/dma.h"
#include "memory.h"
#include "util/clock.h"
#include "util/util.h"
#include "worker/worker.h"

static struct dma_space *space(void)
{
	struct dma_space *s;

	assert_int_equal(dma_space_create("test", NULL, NULL, &s), 0);
	return s;
}

static void test_empty(void **state)
{
	struct dma_space *s = space();
	const struct dma_view *v = dma_view_get(s);
	uint64_t len = 8;
	uint32_t hint = 77;
	char c;

	assert_non_null(v);
	assert_int_not_equal(v->generation, 0);
	assert_int_equal(v->n, 0);
	assert_null(dma_view_find(v, 0));
	assert_null(dma_translate(v, 0, 1, DMA_PROT_READ, &hint));
	assert_null(dma_view_segment(v, 0, &len, DMA_PROT_READ, NULL));
	assert_int_equal(dma_read(s, 0, &c, 1), -EFAULT);
	assert_int_equal(dma_read(s, 0, &c, 0), 0);
	assert_int_equal(dma_space_unmap(s, 0, PG), -ENOENT);
	dma_space_unmap_all(s);
	dma_space_destroy(s);
	dma_space_destroy(NULL);
}

static void test_bad_maps(void **state)
{
	struct dma_space *s = space();
	int fd = memory("bad", 4);

	assert_int_equal(dma_space_map(s, 0, 0, RW, fd, 0), -EINVAL);
	assert_int_equal(dma_space_map(s, 1, PG, RW, fd, 0), -EINVAL);
	assert_int_equal(dma_space_map(s, 0, PG + 1, RW, fd, 0), -EINVAL);
	assert_int_equal(dma_space_map(s, 0, PG, RW, fd, 7), -EINVAL);
	assert_int_equal(dma_space_map(s, 0, PG, 0, fd, 0), -EINVAL);
	assert_int_equal(dma_space_map(s, 0, PG, 4 | RW, fd, 0), -EINVAL);
	/* past the file, in all the ways to say so */
	assert_int_equal(dma_space_map(s, 0, 5 * PG, RW, fd, 0), -EINVAL);
	assert_int_equal(dma_space_map(s, 0, PG, RW, fd, 4 * PG), -EINVAL);
	assert_int_equal(dma_space_map(s, 0, PG, RW, fd, -PG), -EINVAL);
	assert_int_equal(dma_space_map(s, 0, -PG, RW, fd, PG), -EINVAL);
	assert_int_equal(dma_space_map(s, 0, -PG, RW, fd, 2 * PG), -EINVAL);
	/* no remote ops */
	assert_int_equal(dma_space_map(s, 0, PG, RW, -1, 0), -EINVAL);
	assert_int_equal(dma_space_count(s), 0);
	assert_int_equal(count_mappings("memfd:bad"), 0);
	dma_space_destroy(s);
	close(fd);
}

static void test_wrap(void **state)
{
	struct dma_space *s = space();
	int fd = memory("wrap", 4);
	const struct dma_view *v;
	uint64_t top = -PG, len = PG;
	char c;

	assert_int_equal(dma_space_map(s, top, 2 * PG, RW, fd, 0), -EINVAL);
	assert_int_equal(dma_space_map(s, top, PG, RW, fd, 0), 0); /* ends at 2^64 */
	assert_int_equal(dma_space_map(s, top - PG, 2 * PG, RW, fd, 0), -EEXIST);
	assert_int_equal(dma_space_map(s, 0, PG, RW, fd, PG), 0);
	v = dma_view_get(s);
	assert_non_null(dma_translate(v, UINT64_MAX, 1, RW, NULL));
	assert_null(dma_translate(v, UINT64_MAX, 2, RW, NULL));
	assert_null(dma_translate(v, top, UINT64_MAX, RW, NULL));
	assert_non_null(dma_translate(v, top, PG, RW, NULL));
	assert_non_null(dma_view_segment(v, top + 4, &len, RW, NULL));
	assert_int_equal(len, PG - 4);
	assert_null(dma_view_find(v, top - 1));
	assert_null(dma_view_find(v, PG));
	assert_int_equal(dma_read(s, UINT64_MAX, &c, 1), 0);
	assert_int_equal(dma_read(s, UINT64_MAX, &(char[2]){0}, 2), -EFAULT);
	dma_space_destroy(s);
	close(fd);
}

static void test_overlap(void **state)
{
	struct dma_space *s = space();
	int fd = memory("overlap", 16);

	assert_int_equal(dma_space_map(s, 4 * PG, 4 * PG, RW, fd, 0), 0);
	assert_int_equal(dma_space_map(s, 4 * PG, 4 * PG, RW, fd, 0), -EEXIST);
	assert_int_equal(dma_space_map(s, 3 * PG, 2 * PG, RW, fd, 0), -EEXIST);
	assert_int_equal(dma_space_map(s, 7 * PG, 2 * PG, RW, fd, 0), -EEXIST);
	assert_int_equal(dma_space_map(s, 5 * PG, PG, RW, fd, 0), -EEXIST);
	assert_int_equal(dma_space_map(s, 2 * PG, 10 * PG, RW, fd, 0), -EEXIST);
	assert_int_equal(dma_space_count(s), 1);
	assert_int_equal(dma_space_map(s, 8 * PG, PG, RW, fd, 8 * PG), 0);
	assert_int_equal(dma_space_map(s, 3 * PG, PG, RW, fd, 9 * PG), 0);
	assert_int_equal(dma_space_count(s), 3);
	assert_int_equal(dma_view_get(s)->regions[0].iova, 3 * PG);
	assert_int_equal(dma_view_get(s)->regions[2].iova, 8 * PG);
	dma_space_destroy(s);
	close(fd);
}

static void test_exact_unmap(void **state)
{
	struct dma_space *s = space();
	int fd = memory("exact", 16);
	uint64_t gen;

	assert_int_equal(dma_space_map(s, 4 * PG, 4 * PG, RW, fd, 0), 0);
	assert_int_equal(dma_space_map(s, 8 * PG, 4 * PG, RW, fd, 4 * PG), 0);
	gen = dma_view_get(s)->generation;
	assert_int_equal(dma_space_unmap(s, 4 * PG, 3 * PG), -ENOENT);
	assert_int_equal(dma_space_unmap(s, 4 * PG, 8 * PG), -ENOENT);
	assert_int_equal(dma_space_unmap(s, 5 * PG, 3 * PG), -ENOENT);
	assert_int_equal(dma_space_unmap(s, 0, 4 * PG), -ENOENT);
	assert_int_equal(dma_space_unmap(s, 12 * PG, 4 * PG), -ENOENT);
	assert_int_equal(dma_view_get(s)->generation, gen);
	assert_int_equal(dma_space_unmap(s, 4 * PG, 4 * PG), 0);
	assert_int_not_equal(dma_view_get(s)->generation, gen);
	assert_int_equal(dma_space_count(s), 1);
	assert_null(dma_translate(dma_view_get(s), 4 * PG, 1, RW, NULL));
	assert_int_equal(count_mappings("memfd:exact"), 1);
	assert_int_equal(dma_space_unmap(s, 8 * PG, 4 * PG), 0);
	assert_int_equal(count_mappings("memfd:exact"), 0);
	dma_space_destroy(s);
	close(fd);
}

static void test_permission(void **state)
{
	struct dma_space *s = space();
	int fd = memory("perm", 4), ro, wo, sealed = memory("sealed", 1);
	const struct dma_view *v;
	uint32_t hint = 0;
	uint64_t len = 8;
	char path[64], buf[2 * PG] = {0};

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	wo = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(dma_space_map(s, 0, PG, RW, ro, 0), -EACCES);
	assert_int_equal(dma_space_map(s, 0, PG, DMA_PROT_READ, wo, 0), -EACCES);
	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_int_equal(dma_space_map(s, 0, PG, RW, sealed, 0), -EACCES);
	assert_int_equal(dma_space_map(s, 0, PG, DMA_PROT_READ, sealed, 0), 0);
	assert_int_equal(dma_space_unmap(s, 0, PG), 0);

	assert_int_equal(dma_space_map(s, 0, PG, DMA_PROT_READ, fd, 0), 0);
	assert_int_equal(dma_space_map(s, PG, PG, RW, fd, PG), 0);
	/* the file is mapped writable now: still no write through a fd that may not */
	assert_int_equal(dma_space_map(s, 2 * PG, PG, RW, ro, 0), -EACCES);
	v = dma_view_get(s);
	assert_non_null(dma_translate(v, 0, 8, DMA_PROT_READ, &hint));
	assert_null(dma_translate(v, 0, 8, DMA_PROT_WRITE, &hint));
	assert_null(dma_translate(v, 0, 8, RW, &hint));
	assert_null(dma_view_segment(v, 0, &len, DMA_PROT_WRITE, &hint));
	assert_non_null(dma_translate(v, PG, 8, RW, &hint));
	/* all or nothing, whichever part is at fault */
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(dma_write(s, 0, buf, 2 * PG), -EFAULT);
	assert_int_equal(dma_write(s, PG, buf, 2 * PG), -EFAULT);
	assert_int_equal(*(char *)dma_translate(v, PG, 1, DMA_PROT_READ, NULL), 0);
	assert_int_equal(dma_write(s, PG, buf, PG), 0);
	assert_int_equal(*(char *)dma_translate(v, PG, 1, DMA_PROT_READ, NULL), 'x');
	memset(buf, 'y', sizeof(buf));
	assert_int_equal(dma_read(s, 0, buf, 2 * PG), 0);
	assert_int_equal(buf[PG - 1], 0);
	assert_int_equal(buf[PG], 'x');
	/* a read-only region is read-only memory too */
	assert_int_equal(count_mappings("memfd:perm"), 2);
	dma_space_destroy(s);
	close(fd);
	close(ro);
	close(wo);
	close(sealed);
}

static void test_bad_fds(void **state)
{
	struct dma_space *s = space();
	int pair[2], fds[6], i;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fds[0] = pair[0];
	fds[1] = eventfd(0, 0);
	fds[2] = open("/dev/zero", O_RDWR);
	fds[3] = open("/", O_RDONLY | O_DIRECTORY);
	fds[4] = memory("empty", 0);
	fds[5] = open("/proc/self/exe", O_PATH);
	for (i = 0; i < 6; i++) {
		assert_true(fds[i] >= 0);
		assert_int_equal(dma_space_map(s, 0, PG, DMA_PROT_READ, fds[i], 0), -EINVAL);
		close(fds[i]);
	}
	assert_true(dma_space_map(s, 0, PG, DMA_PROT_READ, 9999, 0) < 0);
	assert_int_equal(dma_space_count(s), 0);
	close(pair[1]);
	dma_space_destroy(s);
}

enum { MAPPED, REFUSED, NO_OVERLAY };

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return done;
}

/* Any user can do this, and have a FUSE file system of his own where a tmpfs is here. */
static int map_overlay_file(const char *dir)
{
	struct dma_space *s = space();
	char uid[32], gid[32];
	int fd;

	snprintf(uid, sizeof(uid), "0 %u 1", geteuid());
	snprintf(gid, sizeof(gid), "0 %u 1", getegid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) || !put("/proc/self/setgroups", "deny") ||
	    !put("/proc/self/uid_map", uid) || !put("/proc/self/gid_map", gid) ||
	    mount("t", dir, "tmpfs", 0, NULL) || chdir(dir) || mkdir("l", 0700) ||
	    mkdir("u", 0700) || mkdir("w", 0700) || mkdir("m", 0700) ||
	    mount("o", "m", "overlay", 0, "lowerdir=l,upperdir=u,workdir=w,userxattr"))
		return NO_OVERLAY;
	fd = open("m/memory", O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, PG))
		return NO_OVERLAY;
	return dma_space_map(s, 0, PG, RW, fd, 0) == -EINVAL ? REFUSED : MAPPED;
}

static void test_overlay(void **state)
{
	char dir[] = "/tmp/dma-test.XXXXXX";
	int status = 0;
	pid_t pid;

	assert_non_null(mkdtemp(dir));
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(map_overlay_file(dir));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	rmdir(dir);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_OVERLAY)
		skip();
	assert_int_equal(WEXITSTATUS(status), REFUSED);
}

static void test_sharing_and_growth(void **state)
{
	struct dma_space *s = space(), *t = space();
	int fd = memory("shared", 8), again = dup(fd);
	uint8_t *a, *b;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_int_equal(dma_space_map(s, 0, PG, RW, fd, 0), 0);
	assert_int_equal(dma_space_map(s, 2 * PG, PG, RW, again, 0), 0); /* an alias */
	close(again);
	again = open(path, O_RDWR);
	assert_int_equal(dma_space_map(s, 4 * PG, PG, RW, again, 5 * PG), 0);
	assert_int_equal(count_mappings("memfd:shared"), 1);
	a = dma_translate(dma_view_get(s), 0, 1, RW, NULL);
	b = dma_translate(dma_view_get(s), 2 * PG, 1, RW, NULL);
	assert_ptr_equal(a, b);
	/* spaces share nothing */
	assert_int_equal(dma_space_map(t, 0, PG, RW, fd, 0), 0);
	assert_int_equal(count_mappings("memfd:shared"), 2);
	dma_space_destroy(t);

	*a = 42;
	assert_int_equal(dma_space_map(s, 8 * PG, PG, RW, fd, 8 * PG), -EINVAL);
	assert_int_equal(ftruncate(fd, 64 * PG), 0);
	assert_int_equal(dma_space_map(s, 8 * PG, PG, RW, fd, 63 * PG), 0);
	assert_int_equal(count_mappings("memfd:shared"), 1);
	a = dma_translate(dma_view_get(s), 0, 1, RW, NULL);
	b = dma_translate(dma_view_get(s), 8 * PG, 1, RW, NULL);
	assert_int_equal(*a, 42);
	assert_int_equal(b - a, 63 * PG);
	*b = 43; /* all of the file is there */
	assert_ptr_equal(dma_translate(dma_view_get(s), 4 * PG, 1, RW, NULL), a + 5 * PG);
	dma_space_unmap_all(s);
	assert_int_equal(count_mappings("memfd:shared"), 0);
	assert_int_equal(dma_space_map(s, 0, PG, RW, fd, 0), 0);
	close(fd);
	close(again);
	dma_space_destroy(s);
	assert_int_equal(count_mappings("memfd:shared"), 0);
}

static void test_segments(void **state)
{
	struct dma_space *s = space();
	int fd = memory("seg", 8);
	const struct dma_view *v;
	uint32_t hint = UINT32_MAX;
	uint8_t buf[3 * PG], *p;
	uint64_t len;

	assert_int_equal(dma_space_map(s, 0x10000, PG, RW, fd, 3 * PG), 0);
	assert_int_equal(dma_space_map(s, 0x11000, PG, RW, fd, PG), 0);
	assert_int_equal(dma_space_map(s, 0x13000, PG, RW, fd, 0), 0);
	v = dma_view_get(s);
	assert_null(dma_translate(v, 0x10ff0, 0x20, RW, &hint));
	assert_non_null(dma_translate(v, 0x10ff0, 0x10, RW, &hint));
	assert_int_equal(hint, 0);
	len = 0x20;
	p = dma_view_segment(v, 0x10ff0, &len, RW, &hint);
	assert_non_null(p);
	assert_int_equal(len, 0x10);
	len = 0x10;
	assert_non_null(dma_view_segment(v, 0x11000, &len, RW, &hint));
	assert_int_equal(len, 0x10);
	assert_int_equal(hint, 1);
	len = UINT64_MAX;
	assert_non_null(dma_view_segment(v, 0x11001, &len, RW, &hint));
	assert_int_equal(len, PG - 1);
	len = 4;
	assert_null(dma_view_segment(v, 0x12000, &len, RW, &hint));
	assert_null(dma_view_segment(v, 0xffff, &len, RW, &hint));
	assert_int_equal(len, 4);
	len = 0;
	assert_null(dma_view_segment(v, 0x11000, &len, RW, &hint));
	assert_null(dma_translate(v, 0x11000, 0, RW, &hint));
	assert_null(dma_translate(v, 0x11000, UINT64_MAX, RW, &hint));
	/* any hint is safe, and a wrong one only slow */
	for (hint = 0; hint < 6; hint++) {
		uint32_t h = hint;

		assert_ptr_equal(dma_translate(v, 0x13008, 8, RW, &h), v->regions[2].ptr + 8);
		assert_int_equal(h, 2);
	}
	memset(buf, 7, sizeof(buf));
	assert_int_equal(dma_write(s, 0x10001, buf, 2 * PG - 1), 0);
	assert_int_equal(dma_write(s, 0x10000, buf, 2 * PG + 1), -EFAULT);
	assert_int_equal(v->regions[0].ptr[0], 0);
	assert_int_equal(v->regions[0].ptr[1], 7);
	assert_int_equal(v->regions[1].ptr[PG - 1], 7);
	dma_space_destroy(s);
	close(fd);
}

static void test_limits(void **state)
{
	struct dma_space *s = space();
	int fd, huge = memfd_create("huge", MFD_CLOEXEC), i;

	assert_int_equal(ftruncate(huge, 2 * DMA_SPACE_VA_MAX), 0);
	assert_int_equal(dma_space_map(s, 0, PG, RW, huge, 0), -ENOMEM);
	if (!UNDER_TSAN) { /* which leaves little address space */
		assert_int_equal(ftruncate(huge, DMA_SPACE_VA_MAX / 2), 0);
		assert_int_equal(dma_space_map(s, 0, PG, RW, huge, 0), 0);
		assert_int_equal(ftruncate(huge, DMA_SPACE_VA_MAX + PG), 0);
		assert_int_equal(dma_space_map(s, PG, PG, RW, huge, DMA_SPACE_VA_MAX), -ENOMEM);
		assert_int_equal(dma_space_unmap(s, 0, PG), 0);
	}
	close(huge);
	for (i = 0; i <= DMA_FILES_MAX; i++) {
		fd = memory("many", 1);
		assert_int_equal(dma_space_map(s, i * PG, PG, RW, fd, 0),
				 i < DMA_FILES_MAX ? 0 : -ENOSPC);
		close(fd);
	}
	dma_space_destroy(s);
	assert_int_equal(count_mappings("memfd:many"), 0);
}

/* A virtual IOMMU maps page by page. */
static void test_max_regions(void **state)
{
	struct dma_space *s = space();
	int fd = memory("max", 16);
	uint64_t begin = clock_now_ns();
	/* TSan looks at each byte of a copy */
	uint32_t max = UNDER_TSAN ? 4096 : DMA_REGIONS_MAX, i;

	for (i = 0; i < max; i++)
		assert_int_equal(
			dma_space_map(s, (uint64_t)(i ^ 1) * 2 * PG, PG, RW, fd, i % 16 * PG), 0);
	if (max == DMA_REGIONS_MAX)
		assert_int_equal(dma_space_map(s, 1ull << 40, PG, RW, fd, 0), -ENOSPC);
	assert_int_equal(dma_space_count(s), max);
	assert_int_equal(count_mappings("memfd:max"), 1);
	for (i = 0; i < max - 1; i += 997)
		assert_non_null(dma_translate(dma_view_get(s), (uint64_t)i * 2 * PG, PG, RW, NULL));
	for (i = 0; i < 500; i++)
		assert_int_equal(dma_space_unmap(s, (uint64_t)i * 2 * PG, PG), 0);
	print_message("%u maps in %lu ms\n", max,
		      (unsigned long)((clock_now_ns() - begin) / NS_PER_MS));
	dma_space_destroy(s);
	close(fd);
}

/* Regions come and go while workers read and write through them. */
struct user {
	struct poller poller;
	struct dma_space *s;
	_Atomic uint64_t hits, misses, wrong;
	uint32_t hint;
};

static unsigned user_poll(struct poller *p)
{
	struct user *u = container_of(p, struct user, poller);
	const struct dma_view *v = dma_view_get(u->s);
	unsigned i;

	for (i = 0; i < 64; i++) {
		uint64_t iova = i * PG + 8 * i;
		const uint8_t *byte = dma_translate(v, iova, 8, DMA_PROT_READ, &u->hint);

		if (!byte)
			atomic_fetch_add(&u->misses, 1);
		else if (*byte != 0x5a)
			atomic_fetch_add(&u->wrong, 1);
		else
			atomic_fetch_add(&u->hits, 1);
	}
	return 1;
}

static void test_unmap_under_load(void **state)
{
	static const struct poller_ops ops = {.poll = user_poll};
	struct dma_space *s = space();
	struct user u = {.poller.ops = &ops, .s = s};
	struct worker *w;
	uint64_t end, rounds = 0, i;
	uint8_t page[PG];

	memset(page, 0x5a, sizeof(page));
	assert_int_equal(worker_create("user", 0, &w), 0);
	worker_add(w, &u.poller);
	for (end = clock_now_ns() + NS_PER_S; clock_now_ns() < end; rounds++) {
		int fd = memory("load", 64);

		for (i = 0; i < 64; i++)
			assert_int_equal(pwrite(fd, page, PG, i * PG), PG);
		for (i = 0; i < 64; i += 2)
			assert_int_equal(dma_space_map(s, i * PG, 2 * PG, RW, fd, i * PG), 0);
		assert_int_equal(ftruncate(fd, 128 * PG), 0);
		assert_int_equal(dma_space_map(s, 64 * PG, PG, RW, fd, 127 * PG), 0);
		for (i = 0; i < 32; i += 2)
			assert_int_equal(dma_space_unmap(s, i * PG, 2 * PG), 0);
		dma_space_unmap_all(s);
		/* nobody looks at the memory any more: this cannot be noticed */
		memset(page, 0, sizeof(page));
		for (i = 0; i < 64; i++)
			assert_int_equal(pwrite(fd, page, PG, i * PG), PG);
		memset(page, 0x5a, sizeof(page));
		close(fd);
	}
	worker_remove(&u.poller);
	worker_destroy(w);
	print_message("%lu rounds, %lu hits\n", (unsigned long)rounds,
		      (unsigned long)atomic_load(&u.hits));
	assert_int_equal(atomic_load(&u.wrong), 0);
	assert_true(atomic_load(&u.hits) > 0 && atomic_load(&u.misses) > 0);
	assert_int_equal(count_mappings("memfd:load"), 0);
	dma_space_destroy(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_bad_maps),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_exact_unmap),
		cmocka_unit_test(test_permission),
		cmocka_unit_test(test_bad_fds),
		cmocka_unit_test(test_overlay),
		cmocka_unit_test(test_sharing_and_growth),
		cmocka_unit_test(test_segments),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_max_regions),
		cmocka_unit_test(test_unmap_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
