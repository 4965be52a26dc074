/* SPDX-License-Identifier: BSD-3-Clause */
/* Data pointers: PRP lists and SGLs of every legal form, and of hostile ones. */
#include <stdlib.h>
#include <string.h>

#include "queue_model.h"

static struct nvme_mem mem;
static struct iovec iov[NVME_DPTR_IOV_MAX];
static unsigned n_iov;
static uint8_t buf[2 << 20];

static int up(void **state)
{
	model_up(&(struct model_opts){.no_enable = true});
	memset(&mem, 0, sizeof(mem));
	mem.fn = model.fn;
	mem.space = model.dma;
	mem.view = dma_view_get(model.dma);
	mem.page_shift = 12;
	for (unsigned i = 0; i < 0x1400000 / 4; i++)
		((uint32_t *)guest(DATA_AT))[i] = i * 2654435761u;
	return 0;
}

static int down(void **state)
{
	model_down();
	return 0;
}

static uint16_t map(const struct nvme_sqe *sqe, uint32_t len)
{
	return nvme_dptr_map(&mem, sqe, len, false, iov, NVME_DPTR_IOV_MAX, &n_iov);
}

static bool same(const uint8_t *want, uint32_t len)
{
	uint32_t at = 0;

	for (unsigned i = 0; i < n_iov; i++) {
		if (iov[i].iov_len > len - at || memcmp(want + at, iov[i].iov_base, iov[i].iov_len))
			return false;
		at += iov[i].iov_len;
	}
	return at == len;
}

/* Describes the pages by PRPs, with chained lists from list on. The bytes that come so are want. */
static uint8_t want[2 << 20];
static struct nvme_sqe prp_sqe(uint64_t offset, uint32_t len, uint64_t list, bool shuffled)
{
	uint64_t page = 1ull << mem.page_shift, at = DATA_AT + offset, *slot = guest(list);
	uint32_t done = MIN((uint64_t)len, page - (at & (page - 1))), left, k = 1;
	struct nvme_sqe sqe = {.prp1 = at, .prp2 = list};
	uint64_t next = (list & ~(page - 1)) + page;

	memcpy(want, guest(at), done);
	if (len - done <= page) {
		sqe.prp2 = DATA_AT + 7 * page;
		memcpy(want + done, guest(sqe.prp2), len - done);
		return sqe;
	}
	for (left = len - done; left; k++) {
		uint64_t p = DATA_AT + (shuffled ? (k * 37 % 300 + 1) : k) * page;
		uint32_t n = MIN((uint64_t)left, page);

		if (!((list + 8) & (page - 1)) && left > page) {
			*slot = next;
			slot = guest(next);
			list = next;
			next += page;
		}
		*slot++ = p;
		list += 8;
		memcpy(want + len - left, guest(p), n);
		left -= n;
	}
	return sqe;
}

static void check_prp(uint64_t offset, uint32_t len, uint64_t list, bool shuffled)
{
	struct nvme_sqe sqe = prp_sqe(offset, len, list, shuffled);

	assert_int_equal(map(&sqe, len), 0);
	assert_true(same(want, len));
	assert_int_equal(nvme_dptr_read(&mem, &sqe, buf, len), 0);
	assert_memory_equal(buf, want, len);
}

static void test_prp(void **state)
{
	static const uint32_t lens[] = {512, 4096, 4608, 8192, 8704, 65536, 131072, 1 << 20};
	static const uint64_t offsets[] = {0, 4, 512, 4092}, lists[] = {0, 8, 2048, 4088, 4080};

	for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(offsets); k++) {
			for (unsigned l = 0; l < ARRAY_SIZE(lists); l++) {
				check_prp(offsets[k], lens[i], LIST_AT + lists[l], false);
				check_prp(offsets[k], lens[i], LIST_AT + lists[l], true);
			}
		}
	}
}

static void test_big_pages(void **state)
{
	for (mem.page_shift = 13; mem.page_shift <= 16; mem.page_shift++) {
		check_prp(0, 1 << 20, LIST_AT, false);
		check_prp(5000, 1 << 20, LIST_AT + 8, false);
		check_prp(512, 70000, LIST_AT + (1u << mem.page_shift) - 8, false);
	}
	mem.page_shift = 12;
}

static void test_neighbours_are_merged(void **state)
{
	struct nvme_sqe sqe = prp_sqe(0, 1 << 20, LIST_AT, false);

	assert_int_equal(map(&sqe, 1 << 20), 0);
	assert_int_equal(n_iov, 1);
	assert_int_equal(mem.n_regions, 1);
	sqe = prp_sqe(512, 1 << 20, LIST_AT, true);
	assert_int_equal(map(&sqe, 1 << 20), 0);
	assert_in_range(n_iov, 200, 257);
}

static void test_bad_prps(void **state)
{
	uint64_t *list = guest(LIST_AT);
	struct nvme_sqe sqe;

	sqe = (struct nvme_sqe){.prp1 = DATA_AT + 2};
	assert_status(map(&sqe, 512), NVME_SC_PRP_INVALID_OFFSET);
	sqe = (struct nvme_sqe){.prp1 = DATA_AT, .prp2 = DATA_AT + 8};
	assert_status(map(&sqe, 8192), NVME_SC_PRP_INVALID_OFFSET);
	sqe = (struct nvme_sqe){.prp1 = DATA_AT, .prp2 = LIST_AT + 4};
	assert_status(map(&sqe, 16384), NVME_SC_PRP_INVALID_OFFSET);
	sqe.prp2 = LIST_AT;
	list[0] = DATA_AT;
	list[1] = DATA_AT + 512;
	list[2] = DATA_AT;
	assert_status(map(&sqe, 16384), NVME_SC_PRP_INVALID_OFFSET);
	list[1] = BASE + MEM;
	assert_status(map(&sqe, 16384), NVME_SC_DATA_XFER_ERROR);
	list[1] = -4096ull;
	assert_status(map(&sqe, 16384), NVME_SC_DATA_XFER_ERROR);
	sqe.prp2 = -8ull;
	assert_status(map(&sqe, 16384), NVME_SC_DATA_XFER_ERROR);
	sqe = (struct nvme_sqe){.prp1 = 0};
	assert_status(map(&sqe, 512), NVME_SC_DATA_XFER_ERROR);
	/* a list that leads to itself, without end */
	sqe = (struct nvme_sqe){.prp1 = DATA_AT, .prp2 = LIST_AT + 4088};
	list[511] = LIST_AT + 4088;
	assert_status(map(&sqe, 1 << 20), NVME_SC_PRP_INVALID_OFFSET);
	/* or by way of one entry */
	list[510] = DATA_AT;
	list[511] = LIST_AT + 4080;
	sqe.prp2 = LIST_AT + 4080;
	/* legal, until both entries are data */
	assert_status(map(&sqe, 1 << 20), NVME_SC_PRP_INVALID_OFFSET);
	sqe.flags = 3 << 6;
	assert_status(map(&sqe, 512), NVME_SC_INVALID_FIELD);
	assert_status(nvme_dptr_read(&mem, &sqe, buf, 512), NVME_SC_INVALID_FIELD);
}

/* ---- SGL ---- */

static struct nvme_sgl_desc desc(unsigned type, uint64_t addr, uint32_t len)
{
	return (struct nvme_sgl_desc){.addr = addr, .length = len, .id = (uint8_t)(type << 4)};
}

#define DATA(addr, len)	 desc(NVME_SGL_DATA_BLOCK, addr, len)
#define BUCKET(len)	 desc(NVME_SGL_BIT_BUCKET, 0, len)
#define SEGMENT(addr, n) desc(NVME_SGL_SEGMENT, addr, (n)*16)
#define LAST(addr, n)	 desc(NVME_SGL_LAST_SEGMENT, addr, (n)*16)
#define SGL_SQE(d)	 ((struct nvme_sqe){.flags = NVME_PSDT_SGL << 6, .sgl1 = d})

static void test_sgl(void **state)
{
	struct nvme_sgl_desc *s = guest(LIST_AT), *t = guest(LIST_AT + 0x2000);
	struct nvme_sqe sqe = SGL_SQE(DATA(DATA_AT + 3, 1 << 20));
	uint32_t at = 0;

	assert_int_equal(map(&sqe, 1 << 20), 0);
	assert_int_equal(n_iov, 1);
	assert_true(same(guest(DATA_AT + 3), 1 << 20));
	sqe.flags = NVME_PSDT_SGL_MPTR << 6;
	assert_int_equal(map(&sqe, 4096), 0); /* longer than the data */
	/* last segment, odd lengths and addresses, and none at all */
	sqe = SGL_SQE(LAST(LIST_AT, 4));
	s[0] = DATA(DATA_AT + 0x1001, 777);
	s[1] = DATA(0, 0);
	s[2] = DATA(DATA_AT, 3);
	s[3] = DATA(DATA_AT + 0x5000, 4096 - 780);
	assert_int_equal(map(&sqe, 4096), 0);
	memcpy(want, guest(DATA_AT + 0x1001), 777);
	memcpy(want + 777, guest(DATA_AT), 3);
	memcpy(want + 780, guest(DATA_AT + 0x5000), 4096 - 780);
	assert_true(same(want, 4096));
	/* segments that lead on, of more descriptors than are read at a time */
	sqe = SGL_SQE(SEGMENT(LIST_AT, 101));
	for (unsigned i = 0; i < 100; i++, at += 512) {
		s[i] = DATA(DATA_AT + 1024 * i, 512);
		memcpy(want + at, guest(DATA_AT + 1024 * i), 512);
	}
	s[100] = SEGMENT(LIST_AT + 0x2000, 2);
	t[0] = DATA(DATA_AT + 0x100000, 512);
	memcpy(want + at, guest(DATA_AT + 0x100000), 512);
	t[1] = LAST(LIST_AT + 0x2100, 1);
	t[16] = DATA(DATA_AT + 0x200000, 512);
	memcpy(want + at + 512, guest(DATA_AT + 0x200000), 512);
	assert_int_equal(map(&sqe, 102 * 512), 0);
	assert_true(same(want, 102 * 512));
	assert_int_equal(nvme_dptr_read(&mem, &sqe, buf, 102 * 512), 0);
	assert_memory_equal(buf, want, 102 * 512);
	/* more pieces than are mapped: by copies */
	s = guest(LIST_AT);
	for (unsigned i = 0; i < 1024; i++)
		s[i] = DATA(DATA_AT + 512 * ((i * 7) % 1024), 512);
	sqe = SGL_SQE(LAST(LIST_AT, 1024));
	assert_int_equal(map(&sqe, 512 * 1024), NVME_ST_BOUNCE);
	assert_int_equal(nvme_dptr_read(&mem, &sqe, buf, 512 * 1024), 0);
	for (unsigned i = 0; i < 1024; i++)
		assert_memory_equal(buf + 512 * i, guest(DATA_AT + 512 * ((i * 7) % 1024)), 512);
}

static void test_bit_bucket(void **state)
{
	struct nvme_sgl_desc *s = guest(LIST_AT);
	struct nvme_sqe sqe = SGL_SQE(LAST(LIST_AT, 3));

	memset(buf, 0x11, 1024);
	memset(buf + 1024, 0x22, 1024);
	memset(buf + 2048, 0x33, 2048);
	s[0] = DATA(DATA_AT, 1024);
	s[1] = BUCKET(1024);
	s[2] = DATA(DATA_AT + 1024, 2048);
	assert_int_equal(nvme_dptr_map(&mem, &sqe, 4096, true, iov, 8, &n_iov), NVME_ST_BOUNCE);
	assert_int_equal(nvme_dptr_write(&mem, &sqe, buf, 4096), 0);
	assert_int_equal(((uint8_t *)guest(DATA_AT))[1023], 0x11);
	assert_int_equal(((uint8_t *)guest(DATA_AT))[1024], 0x33);
	/* in a source it has no effect, whatever its length */
	assert_int_equal(nvme_dptr_read(&mem, &sqe, buf, 3072), 0);
	assert_int_equal(buf[1023], 0x11);
	assert_int_equal(buf[1024], 0x33);
	assert_int_equal(map(&sqe, 3072), 0);
	sqe = SGL_SQE(BUCKET(4096));
	assert_int_equal(nvme_dptr_write(&mem, &sqe, buf, 4096), 0);
}

static void test_bad_sgls(void **state)
{
	struct nvme_sgl_desc *s = guest(LIST_AT);
	struct nvme_sqe sqe = SGL_SQE(DATA(DATA_AT, 511));

	assert_status(map(&sqe, 512), NVME_SC_SGL_INVALID_DATA);
	sqe = SGL_SQE(desc(5, DATA_AT, 512));
	assert_status(map(&sqe, 512), NVME_SC_SGL_INVALID_TYPE);
	sqe = SGL_SQE(DATA(DATA_AT, 512));
	sqe.sgl1.id |= 1;
	assert_status(map(&sqe, 512), NVME_SC_SGL_INVALID_TYPE);
	sqe = SGL_SQE(desc(NVME_SGL_LAST_SEGMENT, LIST_AT, 0));
	assert_status(map(&sqe, 512), NVME_SC_SGL_INVALID_LAST);
	sqe = SGL_SQE(desc(NVME_SGL_LAST_SEGMENT, LIST_AT, 24));
	assert_status(map(&sqe, 512), NVME_SC_SGL_INVALID_LAST);
	sqe = SGL_SQE(LAST(LIST_AT + 4, 1));
	assert_status(map(&sqe, 512), NVME_SC_SGL_INVALID_LAST);
	/* a segment within the last one, in the middle of one, none at the end of one */
	s[0] = LAST(LIST_AT, 1);
	s[1] = DATA(DATA_AT, 512);
	sqe = SGL_SQE(LAST(LIST_AT, 2));
	assert_status(map(&sqe, 512), NVME_SC_SGL_INVALID_LAST);
	sqe = SGL_SQE(SEGMENT(LIST_AT, 2));
	assert_status(map(&sqe, 512), NVME_SC_SGL_INVALID_LAST);
	s[0] = DATA(DATA_AT, 512);
	assert_status(map(&sqe, 1024), NVME_SC_SGL_INVALID_LAST);
	/* a circle, and a list without end */
	s[0] = DATA(DATA_AT, 0);
	s[1] = SEGMENT(LIST_AT, 2);
	assert_status(map(&sqe, 512), NVME_SC_SGL_INVALID_COUNT);
	sqe = SGL_SQE(desc(NVME_SGL_LAST_SEGMENT, LIST_AT + 0x10000, 0xfffffff0));
	memset(guest(LIST_AT + 0x10000), 0, 0x20000);
	assert_status(map(&sqe, 512), NVME_SC_SGL_INVALID_COUNT);
	/* outside memory */
	sqe = SGL_SQE(LAST(BASE + MEM - 16, 2));
	assert_status(map(&sqe, 512), NVME_SC_DATA_XFER_ERROR);
	sqe = SGL_SQE(LAST(-16ull, 2));
	assert_status(map(&sqe, 512), NVME_SC_SGL_INVALID_LAST);
	sqe = SGL_SQE(DATA(-256ull, 512));
	assert_status(map(&sqe, 512), NVME_SC_DATA_XFER_ERROR);
	assert_status(nvme_dptr_read(&mem, &sqe, buf, 512), NVME_SC_DATA_XFER_ERROR);
}

/* Read-only memory is not written; what it is next to is not either. */
static void test_permission(void **state)
{
	struct nvme_sqe sqe = {.prp1 = 0x40000000};

	assert_int_equal(dma_space_map(model.dma, 0x40000000, PAGE, DMA_PROT_READ, model.fd, 0), 0);
	mem.view = dma_view_get(model.dma);
	assert_int_equal(nvme_dptr_map(&mem, &sqe, 512, false, iov, 8, &n_iov), 0);
	assert_status(nvme_dptr_map(&mem, &sqe, 512, true, iov, 8, &n_iov),
		      NVME_SC_DATA_XFER_ERROR);
	assert_status(nvme_dptr_write(&mem, &sqe, buf, 512), NVME_SC_DATA_XFER_ERROR);
	assert_false(mem.met_remote);
	/* without a pointer: this one fails, and it is noted */
	assert_int_equal(dma_space_map(model.dma, 0x50000000, PAGE, DMA_PROT_READ, -1, 0), 0);
	mem.view = dma_view_get(model.dma);
	sqe.prp1 = 0x50000000;
	assert_status(nvme_dptr_map(&mem, &sqe, 512, false, iov, 8, &n_iov),
		      NVME_SC_DATA_XFER_ERROR);
	assert_true(mem.met_remote);
}

static void test_many_regions(void **state)
{
	struct nvme_sqe sqe;

	assert_int_equal(dma_space_unmap(model.dma, BASE, MEM), 0);
	for (uint64_t at = 0; at < MEM; at += PAGE)
		assert_int_equal(dma_space_map(model.dma, BASE + at, PAGE, 3, model.fd, at), 0);
	mem.view = dma_view_get(model.dma);
	sqe = prp_sqe(512, 1 << 20, LIST_AT, true);
	assert_int_equal(map(&sqe, 1 << 20), 0);
	assert_true(same(want, 1 << 20));
	assert_in_range(mem.n_regions, 257, NVME_DPTR_IOV_MAX);
	/* as few as the caller can pin */
	assert_int_equal(nvme_dptr_map(&mem, &sqe, 1 << 20, false, iov, 8, &n_iov), NVME_ST_BOUNCE);
	assert_true(mem.n_regions <= 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_prp, up, down),
		cmocka_unit_test_setup_teardown(test_big_pages, up, down),
		cmocka_unit_test_setup_teardown(test_neighbours_are_merged, up, down),
		cmocka_unit_test_setup_teardown(test_bad_prps, up, down),
		cmocka_unit_test_setup_teardown(test_sgl, up, down),
		cmocka_unit_test_setup_teardown(test_bit_bucket, up, down),
		cmocka_unit_test_setup_teardown(test_bad_sgls, up, down),
		cmocka_unit_test_setup_teardown(test_permission, up, down),
		cmocka_unit_test_setup_teardown(test_many_regions, up, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
