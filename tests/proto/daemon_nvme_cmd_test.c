/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every I/O command that is not a plain read or write, at the real daemon: what it does to data, to
 * the file behind, and what it refuses.
 *
 *   daemon_nvme_cmd_test SOFTIOVD SOFTIOV [TEST]
 */
#include "daemon_nvme.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { MEM = 1, FILE512, READONLY, MEM4K, NULLDEV, SHARED4K };

#define KIB64_BLOCKS 128u
#define TORN_DEPTH   16
#define TORN_NS	     (NS_PER_S / 2)

static const char config[] =
	WORKERS "devices:\n"
		"  ssd0:\n"
		"    type: nvme\n"
		"    total-vfs: 4\n"
		"    num-vfs: 3\n"
		"    queues: 4\n"
		"    namespaces:\n"
		"      1: {memory: 64M, attach: [vf0, vf1]}\n"
		"      2: {file: @/disk.img, size: 256M, attach: [vf0, vf1]}\n"
		"      3: {file: @/ro.img, size: 16M, read-only: true, attach: [vf0]}\n"
		"      4: {memory: 32M, block-size: 4096, attach: [vf0]}\n"
		"      5: {null: 1G, attach: [vf0]}\n"
		"      6: {memory: 16M, block-size: 4096, attach: [vf0, vf1]}\n";

static struct nvme_rig rig;
static struct nvme_host *h, *g; /* at vf0 and vf1 */
static struct nvme_host_sq *io, *gio;

static const struct nvme_host_config plain = {.pairs = 2};

static int open_hosts(void)
{
	if (nvme_rig_open(&rig, "ssd0/vf0", plain, &h) ||
	    nvme_rig_open(&rig, "ssd0/vf1", plain, &g))
		return -1;
	io = nvme_host_io(h, 1);
	gio = nvme_host_io(g, 1);
	return 0;
}

static void close_hosts(void)
{
	nvme_host_close(h);
	nvme_host_close(g);
	h = g = NULL;
}

static int setup(void **state)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/ro.img", rig.files);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 16 << 20))
		return -1;
	close(fd);
	return nvme_rig_start(&rig, config) ? -1 : open_hosts();
}

static int teardown(void **state)
{
	close_hosts();
	return nvme_rig_stop(&rig);
}

static void put(unsigned nsid, uint64_t slba, uint32_t nlb, uint64_t seed)
{
	nvme_pattern(h->data, 2 << 20, seed);
	OK(nvme_host_rw(io, nvme_cmd_write, nsid, slba, nlb, 0));
}

static bool holds(unsigned nsid, uint64_t slba, uint32_t nlb, uint64_t seed)
{
	size_t len = (size_t)nlb << h->shifts[nsid];

	memset(h->data, 0x77, len);
	OK(nvme_host_rw(io, nvme_cmd_read, nsid, slba, nlb, 0));
	return nvme_pattern_is(h->data, len, seed);
}

static bool zeros(unsigned nsid, uint64_t slba, uint32_t nlb)
{
	size_t len = (size_t)nlb << h->shifts[nsid];

	memset(h->data, 0x77, len);
	OK(nvme_host_rw(io, nvme_cmd_read, nsid, slba, nlb, 0));
	for (size_t i = 0; i < len; i++)
		if (h->data[i])
			return false;
	return true;
}

static blkcnt_t blocks_of(const char *name)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", rig.files, name);
	assert_int_equal(stat(path, &st), 0);
	return st.st_blocks;
}

/* ---- compare ---- */

static void compare(void **state)
{
	static const uint8_t nsids[] = {MEM, FILE512, MEM4K};

	for (unsigned i = 0; i < sizeof(nsids); i++) {
		unsigned ns = nsids[i];
		uint32_t nlb = ns == MEM4K ? 17 : 130;
		size_t last;

		put(ns, 40, nlb, 3);
		last = ((size_t)nlb << h->shifts[ns]) - 1;
		OK(nvme_host_rw(io, nvme_cmd_compare, ns, 40, nlb, 0));
		h->data[last] ^= 1;
		STATUS(nvme_host_rw(io, nvme_cmd_compare, ns, 40, nlb, 0),
		       MEDIA(NVME_SC_COMPARE_FAILED));
		h->data[last] ^= 1;
		h->data[0] ^= 0x80;
		STATUS(nvme_host_rw(io, nvme_cmd_compare, ns, 40, nlb, 0),
		       MEDIA(NVME_SC_COMPARE_FAILED));
	}
}

/* Compare and Write at lba, from the front of h->data and from 4 KiB on. */
static void fused(unsigned nsid, uint64_t lba, int st[2])
{
	struct nvme_host_req r[2] = {0};

	nvme_host_make_rw(&r[0].sqe, nvme_cmd_compare, nsid, lba, 1, 0);
	nvme_host_make_rw(&r[1].sqe, nvme_cmd_write, nsid, lba, 1, 0);
	r[0].sqe.flags |= NVME_FUSE_FIRST;
	r[1].sqe.flags |= NVME_FUSE_SECOND;
	nvme_host_prp(&r[0].sqe, h->data_addr, 512, NULL, 0);
	nvme_host_prp(&r[1].sqe, h->data_addr + 4096, 512, NULL, 0);
	assert_int_equal(nvme_host_submit(io, &r[0]), 0);
	assert_int_equal(nvme_host_submit(io, &r[1]), 0);
	nvme_host_ring(io);
	st[0] = nvme_host_wait(io, &r[0], 0);
	st[1] = nvme_host_wait(io, &r[1], 0);
}

static void compare_and_write(void **state)
{
	static const uint8_t nsids[] = {MEM, FILE512};
	int st[2];

	for (unsigned i = 0; i < sizeof(nsids); i++) {
		put(nsids[i], 9, 1, 20);
		nvme_pattern(h->data + 4096, 512, 21);
		fused(nsids[i], 9, st);
		OK(st[0]);
		OK(st[1]);
		assert_true(holds(nsids[i], 9, 1, 21));
		/* What is there is 21 now: the second must not write. */
		nvme_pattern(h->data, 512, 20);
		nvme_pattern(h->data + 4096, 512, 22);
		fused(nsids[i], 9, st);
		STATUS(st[0], MEDIA(NVME_SC_COMPARE_FAILED));
		STATUS(st[1], GENERIC(NVME_SC_FUSED_FAIL));
		assert_true(holds(nsids[i], 9, 1, 21));
	}
}

/* Two hosts count with it in one block: no step may be lost. */
struct counter {
	struct nvme_host *h;
	uint64_t addr;
	unsigned done;
	struct nvme_host_req r[2];
	uint8_t *buf; /* what it was, what it shall be */
};

static void counter_start(struct counter *c)
{
	uint64_t v;

	memcpy(c->buf + 4096, c->buf, 512);
	memcpy(&v, c->buf, 8);
	v++;
	memcpy(c->buf + 4096, &v, 8);
	nvme_host_make_rw(&c->r[0].sqe, nvme_cmd_compare, MEM, 500, 1, 0);
	nvme_host_make_rw(&c->r[1].sqe, nvme_cmd_write, MEM, 500, 1, 0);
	c->r[0].sqe.flags = NVME_FUSE_FIRST;
	c->r[1].sqe.flags = NVME_FUSE_SECOND;
	nvme_host_prp(&c->r[0].sqe, c->addr, 512, NULL, 0);
	nvme_host_prp(&c->r[1].sqe, c->addr + 4096, 512, NULL, 0);
	assert_int_equal(nvme_host_submit(nvme_host_io(c->h, 1), &c->r[0]), 0);
	assert_int_equal(nvme_host_submit(nvme_host_io(c->h, 1), &c->r[1]), 0);
	nvme_host_ring(nvme_host_io(c->h, 1));
}

static void counter_step(struct counter *c, unsigned goal)
{
	nvme_host_poll(nvme_host_io(c->h, 1)->cq, 8);
	if (c->r[0].busy || c->r[1].busy || c->done == goal)
		return;
	if (!c->r[1].status) {
		memcpy(c->buf, c->buf + 4096, 512);
		c->done++;
	} else {
		STATUS(c->r[1].status, GENERIC(NVME_SC_FUSED_FAIL));
		memcpy(c->h->data, c->buf, 512);
		OK(nvme_host_rw(nvme_host_io(c->h, 1), nvme_cmd_read, MEM, 500, 1, 0));
		memcpy(c->buf, c->h->data, 512);
	}
	if (c->done < goal)
		counter_start(c);
}

static void compare_and_write_is_atomic(void **state)
{
	struct counter c[2] = {{.h = h}, {.h = g}};
	uint64_t end = clock_now_ns() + NVME_RIG_TIMEOUT_MS * NS_PER_MS, v = 0;
	const unsigned goal = 200;

	memset(h->data, 0, 512);
	OK(nvme_host_rw(io, nvme_cmd_write, MEM, 500, 1, 0));
	for (unsigned i = 0; i < 2; i++) {
		c[i].buf = nvme_host_alloc(c[i].h, 8192, &c[i].addr);
		memset(c[i].buf, 0, 8192);
		counter_start(&c[i]);
	}
	while (c[0].done < goal || c[1].done < goal) {
		counter_step(&c[0], goal);
		counter_step(&c[1], goal);
		assert_true(clock_now_ns() < end);
	}
	OK(nvme_host_rw(io, nvme_cmd_read, MEM, 500, 1, 0));
	memcpy(&v, h->data, 8);
	assert_int_equal(v, 2 * goal);
}

/* ---- blocks are written and read as a whole (6.4) ---- */

struct torn {
	struct nvme_host *h;
	uint64_t addr;
	uint32_t len;
	uint8_t *buf;
	struct nvme_host_req r[TORN_DEPTH];
	bool writes;
	unsigned long n, bad;
};

static void torn_again(struct nvme_host_req *r)
{
	struct torn *t = r->opaque;
	uint64_t *p = (uint64_t *)(t->buf + (size_t)(r - t->r) * 4096);

	t->n++;
	t->bad += r->status != 0;
	for (unsigned i = 0; i < t->len / 8; i++) {
		t->bad += !t->writes && p[i] != p[0];
		if (t->writes)
			p[i] = t->n;
	}
	nvme_host_submit(nvme_host_io(t->h, 1), r);
}

static void torn_start(struct torn *t, struct nvme_host *who, unsigned nsid, bool writes)
{
	*t = (struct torn){.h = who, .writes = writes, .len = 1u << who->shifts[nsid]};
	t->buf = nvme_host_alloc(who, TORN_DEPTH * 4096, &t->addr);
	memset(t->buf, 0, TORN_DEPTH * 4096);
	for (unsigned i = 0; i < TORN_DEPTH; i++) {
		struct nvme_host_req *r = &t->r[i];

		r->done = torn_again;
		r->opaque = t;
		nvme_host_make_rw(&r->sqe, writes ? nvme_cmd_write : nvme_cmd_read, nsid, 3, 1, 0);
		nvme_host_prp(&r->sqe, t->addr + i * 4096, t->len, NULL, 0);
		assert_int_equal(nvme_host_submit(nvme_host_io(who, 1), r), 0);
	}
	nvme_host_ring(nvme_host_io(who, 1));
}

/* What is read is what one command wrote, whichever: never some of one and some of another. */
static void no_torn_blocks(void **state)
{
	static const uint8_t nsids[] = {MEM, SHARED4K, FILE512};
	static struct torn t[2];

	for (unsigned k = 0; k < sizeof(nsids); k++) {
		size_t used[2] = {h->mem_used, g->mem_used};
		uint64_t until = clock_now_ns() + TORN_NS, blocks;
		uint32_t block;

		OK(nvme_host_ns_size(h, nsids[k], &blocks, &block));
		OK(nvme_host_ns_size(g, nsids[k], &blocks, &block));
		memset(h->data, 0, block);
		OK(nvme_host_rw(io, nvme_cmd_write, nsids[k], 3, 1, 0));
		torn_start(&t[0], h, nsids[k], true);
		torn_start(&t[1], g, nsids[k], false);
		while (clock_now_ns() < until)
			for (unsigned i = 0; i < 2; i++) {
				nvme_host_poll(nvme_host_io(t[i].h, 1)->cq, 64);
				nvme_host_ring(nvme_host_io(t[i].h, 1));
			}
		for (unsigned i = 0; i < 2; i++) {
			for (unsigned d = 0; d < TORN_DEPTH; d++)
				t[i].r[d].done = NULL;
			assert_int_equal(nvme_host_wait_all(nvme_host_io(t[i].h, 1), 0), 0);
		}
		h->mem_used = used[0];
		g->mem_used = used[1];
		print_message("# namespace %u: %lu writes, %lu reads\n", nsids[k], t[0].n, t[1].n);
		assert_true(t[0].n && t[1].n);
		if (t[0].bad || t[1].bad)
			fail_msg("namespace %u: %lu words torn", nsids[k], t[1].bad);
	}
}

static void fused_alone(void **state)
{
	struct nvme_host_req r[2] = {0};

	put(MEM, 9, 1, 30);
	nvme_host_make_rw(&r[0].sqe, nvme_cmd_compare, MEM, 9, 1, 0);
	r[0].sqe.flags = NVME_FUSE_FIRST;
	nvme_host_prp(&r[0].sqe, h->data_addr, 512, NULL, 0);
	nvme_host_make_rw(&r[1].sqe, nvme_cmd_read, MEM, 9, 1, 0);
	nvme_host_prp(&r[1].sqe, h->data_addr, 512, NULL, 0);
	assert_int_equal(nvme_host_submit(io, &r[0]), 0);
	assert_int_equal(nvme_host_submit(io, &r[1]), 0);
	nvme_host_ring(io);
	STATUS(nvme_host_wait(io, &r[0], 0), GENERIC(NVME_SC_FUSED_MISSING));
	OK(nvme_host_wait(io, &r[1], 0));
	/* a second without a first */
	nvme_host_make_rw(&r[1].sqe, nvme_cmd_write, MEM, 9, 1, 0);
	r[1].sqe.flags = NVME_FUSE_SECOND;
	nvme_host_prp(&r[1].sqe, h->data_addr, 512, NULL, 0);
	STATUS(nvme_host_exec(io, &r[1].sqe, NULL), GENERIC(NVME_SC_FUSED_MISSING));
	assert_true(holds(MEM, 9, 1, 30));
}

/* ---- zeroes, deallocation, verify ---- */

static void write_zeroes(void **state)
{
	static const uint8_t nsids[] = {MEM, FILE512, MEM4K};

	for (unsigned i = 0; i < sizeof(nsids); i++) {
		for (unsigned deac = 0; deac < 2; deac++) {
			put(nsids[i], 7, KIB64_BLOCKS, 40);
			OK(nvme_host_range(io, nvme_cmd_write_zeroes, nsids[i], 10, 100,
					   deac ? NVME_WZ_DEAC : 0));
			assert_true(zeros(nsids[i], 10, 100));
			assert_true(holds(nsids[i], 7, 3, 40));
			OK(nvme_host_rw(io, nvme_cmd_read, nsids[i], 110, 1, 0));
			assert_int_not_equal(h->data[0] | h->data[1] | h->data[2], 0);
		}
	}
	/* the most that one command can say, no data being moved */
	put(FILE512, 65535, 1, 41);
	OK(nvme_host_range(io, nvme_cmd_write_zeroes, FILE512, 0, 65536, 0));
	assert_true(zeros(FILE512, 65535, 1));
}

/* Deallocating frees blocks of the host's file system, and reads as zeros afterwards. */
static void deallocate(void **state)
{
	blkcnt_t before, full;

	OK(nvme_host_deallocate(io, FILE512, 0, 512 * 1024));
	before = blocks_of("disk.img");
	for (unsigned i = 0; i < 16; i++)
		put(FILE512, i * 2048, 2048, 50);
	OK(nvme_host_flush(io, FILE512));
	full = blocks_of("disk.img");
	assert_true(full - before >= 16 * 2048);
	OK(nvme_host_deallocate(io, FILE512, 2048, 14 * 2048));
	OK(nvme_host_flush(io, FILE512));
	if (blocks_of("disk.img") > full - 13 * 2048)
		fail_msg("%ld blocks of %ld are left", (long)blocks_of("disk.img"), (long)full);
	assert_true(zeros(FILE512, 2048, 2048));
	assert_true(holds(FILE512, 0, 2048, 50));
	assert_true(holds(FILE512, 15 * 2048, 2048, 50));
	/* memory too */
	put(MEM, 0, 2048, 51);
	OK(nvme_host_deallocate(io, MEM, 0, 1024));
	assert_true(zeros(MEM, 0, 1024));
}

static void many_ranges(void **state)
{
	struct nvme_sqe sqe = {
		.opcode = nvme_cmd_dsm, .nsid = MEM, .cdw10 = 255, .cdw11 = NVME_DSM_AD};
	struct nvme_dsm_range *r = (struct nvme_dsm_range *)h->data;

	put(MEM, 0, 2048, 52);
	for (unsigned i = 0; i < 256; i++)
		r[i] = (struct nvme_dsm_range){.nlb = 4, .slba = i * 8};
	OK(nvme_host_exec_data(io, &sqe, 4096, NULL));
	for (unsigned i = 0; i < 256; i += 51) {
		assert_true(zeros(MEM, i * 8, 4));
		OK(nvme_host_rw(io, nvme_cmd_read, MEM, i * 8 + 4, 1, 0));
		assert_int_not_equal(*(uint64_t *)h->data, 0);
	}
	/* one bad range: the standard leaves what happens to the others open, not the status */
	for (unsigned i = 0; i < 256; i++)
		r[i] = (struct nvme_dsm_range){.nlb = 4, .slba = i == 200 ? 1ull << 50 : i * 8};
	STATUS(nvme_host_exec_data(io, &sqe, 4096, NULL), GENERIC(NVME_SC_LBA_RANGE));
	/* hints alone do nothing */
	put(MEM, 0, 8, 53);
	sqe.cdw10 = 0;
	sqe.cdw11 = 3;
	memset(h->data, 0, 16);
	r[0].nlb = 8;
	OK(nvme_host_exec_data(io, &sqe, 16, NULL));
	assert_true(holds(MEM, 0, 8, 53));
}

static void verify(void **state)
{
	put(FILE512, 0, KIB64_BLOCKS, 60);
	OK(nvme_host_range(io, nvme_cmd_verify, FILE512, 0, KIB64_BLOCKS, 0));
	OK(nvme_host_range(io, nvme_cmd_verify, MEM, 0, 65536, 0));
	STATUS(nvme_host_range(io, nvme_cmd_verify, MEM, 64 * 2048 - 1, 2, 0),
	       GENERIC(NVME_SC_LBA_RANGE));
}

/* ---- copy ---- */

static int copy(unsigned nsid, uint64_t to, const struct nvme_copy_range *ranges, unsigned n)
{
	struct nvme_sqe sqe = {.opcode = nvme_cmd_copy,
			       .nsid = nsid,
			       .cdw10 = (uint32_t)to,
			       .cdw11 = (uint32_t)(to >> 32),
			       .cdw12 = n - 1};

	memcpy(h->data, ranges, n * sizeof(*ranges));
	return nvme_host_exec_data(io, &sqe, (uint32_t)(n * sizeof(*ranges)), NULL);
}

static void copy_ranges(void **state)
{
	static const uint8_t nsids[] = {MEM, FILE512, MEM4K};
	struct nvme_copy_range r[4] = {{.slba = 100, .nlb = 9},
				       {.slba = 200, .nlb = 0},
				       {.slba = 300, .nlb = 63},
				       {.slba = 100, .nlb = 9}};

	for (unsigned i = 0; i < sizeof(nsids); i++) {
		unsigned ns = nsids[i];

		put(ns, 100, 10, 70);
		put(ns, 200, 1, 71);
		put(ns, 300, 64, 72);
		put(ns, 1085, 1, 73);
		OK(copy(ns, 1000, r, 4));
		assert_true(holds(ns, 1000, 10, 70));
		assert_true(holds(ns, 1010, 1, 71));
		assert_true(holds(ns, 1011, 64, 72));
		assert_true(holds(ns, 1075, 10, 70));
		assert_true(holds(ns, 1085, 1, 73));
	}
}

static void copy_refused(void **state)
{
	struct nvme_copy_range r[1] = {{.slba = 1ull << 40, .nlb = 7}};
	struct nvme_sqe sqe = {.opcode = nvme_cmd_copy, .nsid = MEM, .cdw12 = 1 << 8};
	struct nvme_id_ns id;

	STATUS(copy(MEM, 0, r, 1), GENERIC(NVME_SC_LBA_RANGE));
	r[0].slba = 0;
	STATUS(copy(MEM, 1ull << 40, r, 1), GENERIC(NVME_SC_LBA_RANGE));
	OK(nvme_host_identify(h, NVME_IDENTIFY_CNS_NS, MEM, 0, &id));
	assert_true(id.mssrl && id.mcl);
	if (id.mssrl < 0xffff) {
		r[0].nlb = id.mssrl;
		STATUS(copy(MEM, 65536, r, 1), SPECIFIC(NVME_SC_CMD_SIZE_LIMIT_EXCEEDED));
	}
	/* a descriptor format that is not offered */
	STATUS(nvme_host_exec_data(io, &sqe, 4096, NULL), GENERIC(NVME_SC_INVALID_FIELD));
}

/* ---- what is refused ---- */

static void out_of_range(void **state)
{
	static const uint8_t moving[] = {nvme_cmd_read, nvme_cmd_write, nvme_cmd_compare};
	uint64_t end = (64 << 20) / 512;

	for (unsigned i = 0; i < sizeof(moving); i++) {
		put(MEM, end - 1, 1, 80);
		OK(nvme_host_rw(io, moving[i], MEM, end - 1, 1, 0));
		STATUS(nvme_host_rw(io, moving[i], MEM, end - 1, 2, 0), GENERIC(NVME_SC_LBA_RANGE));
		STATUS(nvme_host_rw(io, moving[i], MEM, end, 1, 0), GENERIC(NVME_SC_LBA_RANGE));
		STATUS(nvme_host_rw(io, moving[i], MEM, UINT64_MAX, 1, 0),
		       GENERIC(NVME_SC_LBA_RANGE));
		STATUS(nvme_host_rw(io, moving[i], MEM, UINT64_MAX, 2, 0),
		       GENERIC(NVME_SC_LBA_RANGE));
		STATUS(nvme_host_rw(io, moving[i], 0, 0, 1, 0), GENERIC(NVME_SC_INVALID_NS));
		STATUS(nvme_host_rw(io, moving[i], 200, 0, 1, 0), GENERIC(NVME_SC_INVALID_NS));
		STATUS(nvme_host_rw(io, moving[i], NVME_NSID_ALL, 0, 1, 0),
		       GENERIC(NVME_SC_INVALID_NS));
	}
	STATUS(nvme_host_range(io, nvme_cmd_write_zeroes, MEM, end, 1, 0),
	       GENERIC(NVME_SC_LBA_RANGE));
	STATUS(nvme_host_deallocate(io, MEM, end, 1), GENERIC(NVME_SC_LBA_RANGE));
	OK(nvme_host_flush(io, MEM));
	OK(nvme_host_flush(io, NVME_NSID_ALL));
	STATUS(nvme_host_flush(io, 0), GENERIC(NVME_SC_INVALID_NS));
	/* more than MDTS */
	STATUS(nvme_host_rw(io, nvme_cmd_read, MEM, 0, (1 << 20) / 512 + 1, 0),
	       GENERIC(NVME_SC_INVALID_FIELD));
}

static bool is_protected(int st)
{
	st = NVME_HOST_CODE(st);
	return st == GENERIC(NVME_SC_NS_WRITE_PROTECTED) || st == SPECIFIC(NVME_SC_READ_ONLY);
}

static void read_only(void **state)
{
	OK(nvme_host_rw(io, nvme_cmd_read, READONLY, 0, 8, 0));
	assert_true(is_protected(nvme_host_rw(io, nvme_cmd_write, READONLY, 0, 8, 0)));
	assert_true(is_protected(nvme_host_range(io, nvme_cmd_write_zeroes, READONLY, 0, 8, 0)));
	assert_true(is_protected(nvme_host_deallocate(io, READONLY, 0, 8)));
	assert_true(zeros(READONLY, 0, 8));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compare),
		cmocka_unit_test(compare_and_write),
		cmocka_unit_test(compare_and_write_is_atomic),
		cmocka_unit_test(fused_alone),
		cmocka_unit_test(no_torn_blocks),
		cmocka_unit_test(write_zeroes),
		cmocka_unit_test(deallocate),
		cmocka_unit_test(many_ranges),
		cmocka_unit_test(verify),
		cmocka_unit_test(copy_ranges),
		cmocka_unit_test(copy_refused),
		cmocka_unit_test(out_of_range),
		cmocka_unit_test(read_only),
	};
	int ret;

	if (nvme_test_begin(&rig, argc, argv))
		return 2;
	ret = cmocka_run_group_tests(tests, setup, teardown);
	return nvme_rig_fini(&rig) ? 1 : ret;
}
