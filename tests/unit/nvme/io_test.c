/* SPDX-License-Identifier: BSD-3-Clause */
/* I/O commands: what they do, what they refuse, how they share a namespace. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue_model.h"
#include "worker/worker.h"

static uint8_t *stored(uint64_t lba)
{
	return model.backend[0].bytes + lba * 512;
}

static void fill(void)
{
	for (unsigned i = 0; i < NS_BYTES; i++)
		model.backend[0].bytes[i] = (uint8_t)(i / 512 * 31 + i);
}

static struct nvme_sqe range(uint8_t opcode, uint64_t slba, uint32_t nlb)
{
	return host_rw(opcode, slba, nlb, DATA_AT);
}

static void test_refusals(void **state)
{
	struct nvme_resv_view *view = calloc(1, sizeof(*view));
	struct nvme_sqe sqe;

	model_up(&(struct model_opts){.pairs = 1});
	sqe = range(0x7f, 0, 1);
	assert_status(host_exec(1, &sqe), NVME_SC_INVALID_OPCODE);
	sqe = range(nvme_cmd_write_uncor, 0, 1);
	assert_status(host_exec(1, &sqe), NVME_SC_INVALID_OPCODE);
	sqe = range(nvme_cmd_read, BLOCKS - 1, 2);
	assert_status(host_exec(1, &sqe), NVME_SC_LBA_RANGE);
	sqe = range(nvme_cmd_read, UINT64_MAX, 1);
	assert_status(host_exec(1, &sqe), NVME_SC_LBA_RANGE);
	sqe = range(nvme_cmd_verify, BLOCKS, 1);
	assert_status(host_exec(1, &sqe), NVME_SC_LBA_RANGE);
	sqe = range(nvme_cmd_read, 0, 2049); /* above MDTS */
	assert_status(host_exec(1, &sqe), NVME_SC_INVALID_FIELD);
	sqe = range(nvme_cmd_read, 0, 1);
	sqe.nsid = 0;
	assert_status(host_exec(1, &sqe), NVME_SC_INVALID_NS);
	sqe.nsid = NAMESPACES + 2;
	assert_status(host_exec(1, &sqe), NVME_SC_INVALID_NS);
	sqe.nsid = NVME_NSID_ALL;
	assert_status(host_exec(1, &sqe), NVME_SC_INVALID_NS);
	sqe.nsid = NAMESPACES + 1; /* not attached */
	assert_status(host_exec(1, &sqe), NVME_SC_INVALID_FIELD);
	sqe = range(nvme_cmd_read, 0, 1);
	sqe.flags = 3 << 6;
	assert_status(host_exec(1, &sqe), NVME_SC_INVALID_FIELD);
	sqe = range(nvme_cmd_read, 0, 1);
	sqe.prp1 = BASE + MEM;
	assert_status(host_exec(1, &sqe), NVME_SC_DATA_XFER_ERROR);
	model.ns[0].read_only = true;
	sqe = range(nvme_cmd_write, 0, 1);
	assert_status(host_exec(1, &sqe), NVME_SC_NS_WRITE_PROTECTED);
	sqe = range(nvme_cmd_read, 0, 1);
	assert_int_equal(host_exec(1, &sqe), 0);
	model.ns[0].read_only = false;
	model.ns[0].resv_view = view;
	assert_int_equal(host_exec(1, &sqe), 0);
	sqe = range(nvme_cmd_write, 0, 1);
	assert_status(host_exec(1, &sqe), NVME_SC_RESERVATION_CONFLICT);
	sqe = range(nvme_cmd_flush, 0, 1);
	assert_status(host_exec(1, &sqe), NVME_SC_RESERVATION_CONFLICT);
	view->type = 2;
	sqe = range(nvme_cmd_compare, 0, 1);
	assert_status(host_exec(1, &sqe), NVME_SC_RESERVATION_CONFLICT);
	model_down();
	free(view);
}

static void test_errors_of_the_backend(void **state)
{
	static const struct {
		int error;
		uint8_t opcode;
		uint16_t status;
	} cases[] = {
		{-EIO, nvme_cmd_read, MEDIA(NVME_SC_READ_ERROR)},
		{-EIO, nvme_cmd_write, MEDIA(NVME_SC_WRITE_FAULT)},
		{-ENOSPC, nvme_cmd_write, NVME_SC_CAP_EXCEEDED},
		{-EROFS, nvme_cmd_write, NVME_SC_NS_WRITE_PROTECTED},
		{-EFAULT, nvme_cmd_read, NVME_SC_DATA_XFER_ERROR},
		{-ENOMEM, nvme_cmd_read, NVME_SC_INTERNAL},
		{-EIO, nvme_cmd_flush, MEDIA(NVME_SC_WRITE_FAULT)},
		{-EIO, nvme_cmd_verify, MEDIA(NVME_SC_READ_ERROR)},
		{-ENOSPC, nvme_cmd_write_zeroes, NVME_SC_CAP_EXCEEDED},
	};
	struct nvme_sqe sqe;

	model_up(&(struct model_opts){.pairs = 1});
	for (unsigned mode = BACKEND_SYNC; mode <= BACKEND_ASYNC; mode++) {
		model.backend[0].mode = mode;
		for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
			model.backend[0].error = cases[i].error;
			sqe = range(cases[i].opcode, 0, 1);
			assert_status(host_exec(1, &sqe), cases[i].status);
			assert_int_equal(host_exec(1, &sqe), 0);
		}
	}
	assert_int_equal(model.errors, 2 * ARRAY_SIZE(cases));
	model_down();
}

static void run_compare(struct model_opts o, enum backend_mode mode)
{
	struct nvme_sqe sqe;

	o.pairs = 1;
	model_up(&o);
	fill();
	model.backend[0].mode = mode;
	sqe = range(nvme_cmd_compare, 50, 8);
	memcpy(guest(DATA_AT), stored(50), 4096);
	assert_int_equal(host_exec(1, &sqe), 0);
	((uint8_t *)guest(DATA_AT))[4095] ^= 1;
	assert_status(host_exec(1, &sqe), MEDIA(NVME_SC_COMPARE_FAILED));
	model_down();
}

static void test_compare(void **state)
{
	run_compare((struct model_opts){0}, BACKEND_SYNC);
	run_compare((struct model_opts){0}, BACKEND_ASYNC);
	run_compare((struct model_opts){.remote = true}, BACKEND_SYNC);
}

static void test_flush(void **state)
{
	struct nvme_sqe sqe;

	model_up(&(struct model_opts){.pairs = 1});
	sqe = range(nvme_cmd_flush, 0, 1);
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_equal(model.backend[0].submitted[BLOCK_FLUSH], 1);
	model.ns[0].volatile_cache = false;
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_equal(model.backend[0].submitted[BLOCK_FLUSH], 1);
	sqe.nsid = NVME_NSID_ALL;
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_equal(model.backend[0].submitted[BLOCK_FLUSH], 1);
	assert_int_equal(model.backend[1].submitted[BLOCK_FLUSH], 1);
	assert_int_equal(model.backend[2].submitted[BLOCK_FLUSH], 1);
	/* one fails: all are flushed, and it is told */
	model.backend[1].mode = BACKEND_ASYNC;
	model.backend[1].error = -EIO;
	assert_status(host_exec(1, &sqe), MEDIA(NVME_SC_WRITE_FAULT));
	assert_int_equal(model.backend[2].submitted[BLOCK_FLUSH], 2);
	assert_int_equal(host_exec(1, &sqe), 0);
	model_down();
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return !p[0] && !memcmp(p, p + 1, n - 1);
}

static void zeroes(enum backend_mode mode)
{
	struct nvme_sqe sqe;

	model_up(&(struct model_opts){.pairs = 1});
	model.backend[0].mode = mode;
	fill();
	sqe = range(nvme_cmd_write_zeroes, 7, 8000);
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_not_equal(stored(6)[1], 0);
	assert_true(all_zero(stored(7), 8000 * 512));
	assert_int_not_equal(stored(8007)[1], 0);
	assert_int_equal(model.backend[0].unmap, 0);
	sqe = range(nvme_cmd_write_zeroes, 0, 1);
	sqe.cdw12 |= NVME_WZ_DEAC | NVME_RW_FUA;
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_equal(model.backend[0].unmap, 1);
	assert_int_equal(model.backend[0].fua, 1);
	sqe = range(nvme_cmd_verify, 0, 8192);
	assert_int_equal(host_exec(1, &sqe), 0);
	model_down();
}

static void test_zeroes_and_verify(void **state)
{
	zeroes(BACKEND_SYNC);
	zeroes(BACKEND_ASYNC);
}

static void dsm(enum backend_mode mode)
{
	struct nvme_dsm_range *r;
	struct nvme_sqe sqe = {.opcode = nvme_cmd_dsm, .nsid = 1, .prp1 = DATA_AT};

	model_up(&(struct model_opts){.pairs = 1});
	model.backend[0].mode = mode;
	fill();
	r = guest(DATA_AT);
	r[0] = (struct nvme_dsm_range){.slba = 10, .nlb = 5};
	r[1] = (struct nvme_dsm_range){.slba = 100, .nlb = 0};
	r[2] = (struct nvme_dsm_range){.slba = 200, .nlb = 1};
	sqe.cdw10 = 2;
	assert_int_equal(host_exec(1, &sqe), 0); /* hints only */
	assert_int_equal(model.backend[0].submitted[BLOCK_DISCARD], 0);
	sqe.cdw11 = NVME_DSM_AD;
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_equal(model.backend[0].submitted[BLOCK_DISCARD], 2);
	assert_int_equal(stored(10)[100], 0);
	assert_int_equal(stored(14)[511], 0);
	assert_int_equal(stored(200)[0], 0);
	assert_int_not_equal(stored(15)[3], 0);
	/* nothing happens when one is wrong */
	r[2].slba = BLOCKS;
	assert_status(host_exec(1, &sqe), NVME_SC_LBA_RANGE);
	assert_int_equal(model.backend[0].submitted[BLOCK_DISCARD], 2);
	model.ns[0].read_only = true;
	assert_status(host_exec(1, &sqe), NVME_SC_NS_WRITE_PROTECTED);
	/* as many as there can be */
	model.ns[0].read_only = false;
	for (unsigned i = 0; i < 256; i++)
		r[i] = (struct nvme_dsm_range){.slba = 2 * i, .nlb = 1};
	sqe.cdw10 = 255;
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_equal(model.backend[0].submitted[BLOCK_DISCARD], 258);
	/* a whole disk, by steps */
	model.ns[0].blocks = BLOCKS;
	r[0] = (struct nvme_dsm_range){.slba = 0, .nlb = BLOCKS};
	sqe.cdw10 = 0;
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_true(all_zero(stored(0), NS_BYTES));
	model_down();
}

static void test_dsm(void **state)
{
	dsm(BACKEND_SYNC);
	dsm(BACKEND_ASYNC);
}

static void copy(enum backend_mode mode)
{
	struct nvme_sqe sqe = {.opcode = nvme_cmd_copy, .nsid = 1, .prp1 = DATA_AT};
	uint8_t *before = malloc(NS_BYTES);
	struct nvme_copy_range *r;

	model_up(&(struct model_opts){.pairs = 1});
	model.backend[0].mode = mode;
	fill();
	memcpy(before, stored(0), NS_BYTES);
	r = guest(DATA_AT);
	memset(r, 0, 128 * sizeof(*r));
	r[0].slba = 10;
	r[0].nlb = 2999; /* more than a chunk */
	r[1].slba = 5;
	r[1].nlb = 0;
	r[2].slba = 4000;
	r[2].nlb = 9;
	sqe.cdw10 = 4500;
	sqe.cdw12 = 2 | NVME_RW_FUA;
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_memory_equal(stored(4500), before + 10 * 512, 3000 * 512);
	assert_memory_equal(stored(7500), before + 5 * 512, 512);
	assert_memory_equal(stored(7501), before + 4000 * 512, 10 * 512);
	assert_memory_equal(stored(7511), before + 7511 * 512, 512);
	assert_true(model.backend[0].fua > 0);
	sqe.cdw10 = BLOCKS - 3010;
	assert_status(host_exec(1, &sqe), NVME_SC_LBA_RANGE);
	sqe.cdw10 = 0;
	r[0].slba = BLOCKS - 2999;
	assert_status(host_exec(1, &sqe), NVME_SC_LBA_RANGE);
	r[0].slba = 0;
	r[0].nlb = NVME_COPY_MSSRL;
	assert_status(host_exec(1, &sqe), SPECIFIC(NVME_SC_CMD_SIZE_LIMIT_EXCEEDED));
	sqe.cdw12 = 128;
	assert_status(host_exec(1, &sqe), SPECIFIC(NVME_SC_CMD_SIZE_LIMIT_EXCEEDED));
	sqe.cdw12 = 2 | 1 << 8;
	assert_status(host_exec(1, &sqe), NVME_SC_INVALID_FIELD);
	model_down();
	free(before);
}

static void test_copy(void **state)
{
	copy(BACKEND_SYNC);
	copy(BACKEND_ASYNC);
}

/* ---- data pointers through the whole way ---- */

static void big_and_odd(struct model_opts o, enum backend_mode mode)
{
	struct nvme_sgl_desc *s;
	uint64_t *list;
	struct nvme_sqe sqe;

	o.pairs = 1;
	model_up(&o);
	model.backend[0].mode = mode;
	fill();
	/* 1 MiB, not page-aligned, pages in reverse: read, then write back elsewhere */
	list = guest(LIST_AT);
	for (unsigned i = 0; i < 256; i++)
		list[i] = DATA_AT + (300 - i) * PAGE;
	sqe = range(nvme_cmd_read, 3, 2048);
	sqe.prp1 = DATA_AT + 512;
	sqe.prp2 = LIST_AT;
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_memory_equal(guest(DATA_AT + 512), stored(3), 3584);
	assert_memory_equal(guest(DATA_AT + 300 * PAGE), stored(10), 4096);
	assert_memory_equal(guest(DATA_AT + 46 * PAGE), stored(2042), 4096);
	assert_memory_equal(guest(DATA_AT + 45 * PAGE), stored(2050), 512);
	sqe.opcode = nvme_cmd_write;
	sqe.cdw10 = 4003;
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_memory_equal(stored(4003), stored(3), 2048 * 512);
	/* an SGL with a bit bucket */
	s = guest(LIST_AT);
	s[0] = (struct nvme_sgl_desc){.addr = DATA_AT + 5, .length = 1000};
	s[1] = (struct nvme_sgl_desc){.length = 24, .id = NVME_SGL_BIT_BUCKET << 4};
	s[2] = (struct nvme_sgl_desc){.addr = DATA_AT + 5000, .length = 3072};
	sqe = range(nvme_cmd_read, 77, 8);
	sqe.flags = NVME_PSDT_SGL << 6;
	sqe.sgl1 = (struct nvme_sgl_desc){
		.addr = LIST_AT, .length = 48, .id = NVME_SGL_LAST_SEGMENT << 4};
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_memory_equal(guest(DATA_AT + 5), stored(77), 1000);
	assert_memory_equal(guest(DATA_AT + 5000), stored(79), 3072);
	model_down();
}

static void test_big_and_odd(void **state)
{
	big_and_odd((struct model_opts){0}, BACKEND_SYNC);
	big_and_odd((struct model_opts){0}, BACKEND_ASYNC);
	big_and_odd((struct model_opts){.remote = true}, BACKEND_ASYNC);
}

/* More big transfers than are kept memory for: all end. */
static void test_many_big(void **state)
{
	struct nvme_cqe cqe;
	struct nvme_sqe sqe;
	uint64_t *list;
	unsigned n = 0;

	model_up(&(struct model_opts){.pairs = 1, .size = 512});
	list = guest(LIST_AT);
	for (unsigned i = 0; i < 256; i++)
		list[i] = DATA_AT + i * PAGE;
	model.backend[0].mode = BACKEND_HOLD;
	for (unsigned i = 0; i < 400; i++) {
		sqe = range(nvme_cmd_read, 0, 1024);
		sqe.prp2 = LIST_AT;
		host_put(1, &sqe);
	}
	host_ring(1);
	wait_for(model.backend[0].pending == 256);
	usleep(1000);
	assert_int_equal(model.backend[0].pending, 256);
	model.backend[0].release = true;
	for (; n < 400; n++)
		assert_int_equal(host_wait(1, &cqe), 0);
	model_down();
}

/* Memory that goes while the backend works on it stays, for the backend only. */
static void test_pins(void **state)
{
	struct nvme_sqe sqe = range(nvme_cmd_read, 0, 8);
	uint64_t t;

	model_up(&(struct model_opts){.pairs = 1});
	fill();
	assert_int_equal(dma_space_map(model.dma, 0x40000000, 0x100000, 3, model.fd, 0), 0);
	sqe.prp1 = 0x40000000;
	model.backend[0].mode = BACKEND_HANG;
	host_put(1, &sqe);
	host_ring(1);
	wait_for(model.backend[0].pending == 1);
	t = clock_now_ns();
	assert_int_equal(dma_space_unmap(model.dma, 0x40000000, 0x100000), 0);
	assert_true(clock_now_ns() - t > 200 * NS_PER_MS); /* it was waited for */
	model.backend[0].release = true;
	wait_for(model.backend[0].pending == 0);
	/* a synchronous one is never waited for */
	model.backend[0].mode = BACKEND_SYNC;
	assert_int_equal(dma_space_map(model.dma, 0x40000000, 0x100000, 3, model.fd, 0), 0);
	{
		struct nvme_cqe cqe;

		assert_int_equal(host_wait(1, &cqe), 0);
	}
	assert_int_equal(host_exec(1, &sqe), 0);
	t = clock_now_ns();
	assert_int_equal(dma_space_unmap(model.dma, 0x40000000, 0x100000), 0);
	assert_true(clock_now_ns() - t < 200 * NS_PER_MS);
	model_down();
}

/* What moves no data pins nothing, whatever the command before it used. */
static void test_flush_pins_nothing(void **state)
{
	struct nvme_sqe flush = range(nvme_cmd_flush, 0, 1), zeroes, sqe;
	struct nvme_cqe cqe;
	uint64_t t, *list;

	model_up(&(struct model_opts){.pairs = 1});
	/* sixteen regions, no two of them neighbours in the file */
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(dma_space_map(model.dma, 0x40000000 + i * PAGE, PAGE, 3, model.fd,
					       (0x10 + 2 * i) * PAGE),
				 0);
	sqe = host_rw(nvme_cmd_read, 0, 128, 0x40000000);
	list = guest(LIST_AT);
	for (unsigned i = 1; i < 16; i++)
		list[i - 1] = 0x40000000 + i * PAGE;
	sqe.prp2 = LIST_AT;
	zeroes = range(nvme_cmd_write_zeroes, 0, 4096); /* in several steps */
	for (unsigned i = 0; i < 2; i++) {
		model.backend[0].mode = BACKEND_SYNC;
		model.backend[0].release = false;
		assert_int_equal(host_exec(1, &sqe), 0);
		model.backend[0].mode = BACKEND_HANG;
		host_put(1, i ? &zeroes : &flush);
		host_ring(1);
		wait_for(model.backend[0].pending == 1);
		t = clock_now_ns();
		assert_int_equal(dma_space_unmap(model.dma, 0x40000000 + i * PAGE, PAGE), 0);
		assert_true(clock_now_ns() - t < 200 * NS_PER_MS);
		model.backend[0].release = true;
		assert_int_equal(host_wait(1, &cqe), 0);
		assert_int_equal(
			dma_space_map(model.dma, 0x40000000 + i * PAGE, PAGE, 3, model.fd, 0), 0);
	}
	model_down();
}

/* A copy of what a backend did not touch shows a guest nothing of the daemon's. */
static void test_copies_start_as_zeros(void **state)
{
	struct nvme_sqe sqe = host_rw(nvme_cmd_read, 0, 128, 0);
	struct nvme_sgl_desc *d;

	model_up(&(struct model_opts){.pairs = 1});
	d = guest(LIST_AT);
	d[0] = (struct nvme_sgl_desc){.addr = DATA_AT, .length = 65536 - 512};
	d[1] = (struct nvme_sgl_desc){.length = 512, .id = NVME_SGL_BIT_BUCKET << 4};
	sqe.flags = NVME_PSDT_SGL << 6;
	sqe.sgl1 = (struct nvme_sgl_desc){
		.addr = LIST_AT, .length = 32, .id = NVME_SGL_LAST_SEGMENT << 4};
	memset(model.backend[0].bytes, 0x77, 65536);
	assert_int_equal(host_exec(1, &sqe), 0); /* leaves that in a buffer that is freed */
	assert_int_equal(((uint8_t *)guest(DATA_AT))[1000], 0x77);
	model.backend[0].untouched = true;
	assert_int_equal(host_exec(1, &sqe), 0);
	for (unsigned i = 0; i < 65536 - 512; i++)
		assert_int_equal(((uint8_t *)guest(DATA_AT))[i], 0);
	model_down();
}

/* That data is lost is told once: it must not be tried again behind the user's back. */
static void test_lost_data_is_final(void **state)
{
	struct nvme_sqe sqe = range(nvme_cmd_flush, 0, 1);

	model_up(&(struct model_opts){.pairs = 1});
	model.backend[0].error = -EIO;
	assert_int_equal(host_exec(1, &sqe), MEDIA(NVME_SC_WRITE_FAULT) | NVME_ST_DNR);
	model.backend[0].error = -ENOMEM;
	assert_int_equal(host_exec(1, &sqe), NVME_SC_INTERNAL);
	sqe.nsid = NVME_NSID_ALL;
	model.backend[0].error = -EIO;
	assert_int_equal(host_exec(1, &sqe), MEDIA(NVME_SC_WRITE_FAULT) | NVME_ST_DNR);
	sqe = range(nvme_cmd_write, 0, 1);
	model.backend[0].error = -EIO;
	assert_int_equal(host_exec(1, &sqe), MEDIA(NVME_SC_WRITE_FAULT));
	sqe.cdw12 |= NVME_RW_FUA;
	model.backend[0].error = -EIO;
	assert_int_equal(host_exec(1, &sqe), MEDIA(NVME_SC_WRITE_FAULT) | NVME_ST_DNR);
	model_down();
}

/* ---- fused ---- */

#define FUSED(sqe, which) ((sqe).flags |= (which))

static void put_pair(uint16_t qid, uint64_t lba, uint8_t old, uint8_t new)
{
	struct nvme_sqe first = range(nvme_cmd_compare, lba, 1);
	struct nvme_sqe second = range(nvme_cmd_write, lba, 1);
	uint64_t at = DATA_AT + 8192 * model.q[qid].sq_tail + 0x100000 * qid;

	first.prp1 = at;
	second.prp1 = at + PAGE;
	memset(guest(at), old, 512);
	memset(guest(at + PAGE), new, 512);
	FUSED(first, NVME_FUSE_FIRST);
	FUSED(second, NVME_FUSE_SECOND);
	host_put(qid, &first);
	host_put(qid, &second);
}

static void expect(uint16_t st)
{
	struct nvme_cqe cqe;

	assert_status(host_wait(1, &cqe), st);
}

static void fused(struct model_opts o, enum backend_mode mode)
{
	struct nvme_sqe sqe;

	o.pairs = 1;
	model_up(&o);
	model.backend[0].mode = mode;
	memset(stored(9), 0x11, 512);
	put_pair(1, 9, 0x11, 0x22);
	host_ring(1);
	expect(0);
	expect(0);
	assert_int_equal(stored(9)[511], 0x22);
	put_pair(1, 9, 0x11, 0x33);
	host_ring(1);
	expect(MEDIA(NVME_SC_COMPARE_FAILED));
	expect(NVME_SC_FUSED_FAIL);
	assert_int_equal(stored(9)[0], 0x22);
	/* two pairs at once, and what stands around them */
	sqe = range(nvme_cmd_read, 1, 1);
	host_put(1, &sqe);
	put_pair(1, 9, 0x22, 0x44);
	put_pair(1, 9, 0x44, 0x55);
	host_put(1, &sqe);
	host_ring(1);
	for (unsigned i = 0; i < 6; i++)
		expect(0);
	assert_int_equal(stored(9)[0], 0x55);
	/* the gate is open again */
	assert_int_equal(host_exec(1, &sqe), 0);
	model_down();
}

static void test_fused(void **state)
{
	fused((struct model_opts){0}, BACKEND_SYNC);
	fused((struct model_opts){0}, BACKEND_ASYNC);
	fused((struct model_opts){.remote = true}, BACKEND_ASYNC);
}

static void test_fused_halves(void **state)
{
	struct nvme_sqe first, second, plain = range(nvme_cmd_read, 1, 1);
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 1});
	first = range(nvme_cmd_compare, 9, 1);
	second = range(nvme_cmd_write, 9, 1);
	FUSED(first, NVME_FUSE_FIRST);
	FUSED(second, NVME_FUSE_SECOND);
	assert_status(host_exec(1, &second), NVME_SC_FUSED_MISSING);
	assert_status(host_exec(1, &first), NVME_SC_FUSED_MISSING); /* nothing behind it */
	host_put(1, &first);
	host_put(1, &plain);
	host_ring(1);
	expect(NVME_SC_FUSED_MISSING);
	expect(0);
	host_put(1, &first);
	host_put(1, &first);
	host_put(1, &second);
	host_ring(1);
	expect(NVME_SC_FUSED_MISSING);
	expect(0);
	expect(0);
	/* other ranges, other commands, the reserved value */
	second.cdw10 = 10;
	host_put(1, &first);
	host_put(1, &second);
	host_ring(1);
	expect(NVME_SC_INVALID_FIELD);
	expect(NVME_SC_INVALID_FIELD);
	second.cdw10 = 9;
	second.opcode = nvme_cmd_read;
	host_put(1, &first);
	host_put(1, &second);
	host_ring(1);
	expect(NVME_SC_INVALID_FIELD);
	expect(NVME_SC_INVALID_FIELD);
	second.flags |= 3;
	assert_status(host_exec(1, &second), NVME_SC_INVALID_FIELD);
	/* a pair needs two entries; a queue of one can never have it */
	model_pair(2, 2, 2, 1);
	assert_int_equal(nvme_sq_create(model.ctrl.queues, 3, SQ_AT(3), 8, 2, 0), 0);
	model.q[3] = (struct host_queue){.qid = 3, .size = 8, .cqid = 2, .cq_size = 2, .phase = 1};
	second = range(nvme_cmd_write, 9, 1);
	FUSED(second, NVME_FUSE_SECOND);
	host_put(3, &first);
	host_put(3, &second);
	host_ring(3);
	assert_status(host_wait(2, &cqe), NVME_SC_FUSED_MISSING);
	assert_status(host_wait(2, &cqe), NVME_SC_FUSED_MISSING);
	first.nsid = second.nsid = NAMESPACES + 1;
	host_put(1, &first);
	host_put(1, &second);
	host_ring(1);
	expect(NVME_SC_INVALID_NS);
	expect(NVME_SC_FUSED_FAIL);
	model_down();
}

/* Two queues on two workers take turns at a counter; no step is lost. */
static void test_fused_is_atomic(void **state)
{
	unsigned done = 0, tries = 0;
	uint8_t now[3] = {0};
	struct nvme_cqe a, b;

	model_up(&(struct model_opts){.pairs = 2, .workers = 2});
	model.backend[0].mode = BACKEND_ASYNC;
	while (done < 100) {
		assert_true(tries++ < 400);
		for (uint16_t q = 1; q <= 2; q++) {
			put_pair(q, 20, now[q], (uint8_t)(now[q] + 1));
			host_ring(q);
		}
		for (uint16_t q = 1; q <= 2; q++) {
			host_wait(q, &a);
			host_wait(q, &b);
			if (!(a.status >> 1)) {
				assert_int_equal(b.status >> 1, 0);
				done++;
			}
		}
		now[1] = now[2] = stored(20)[0];
		assert_int_equal(now[1], (uint8_t)done);
	}
	model_down();
}

static void drained(struct nvme_ctrl *ctrl)
{
	model.drained++;
}

static void gate_drained(void *opaque)
{
	(*(unsigned *)opaque)++;
}

static void test_fused_and_reset(void **state)
{
	unsigned closed = 0;

	for (unsigned mode = BACKEND_SYNC; mode <= BACKEND_HOLD; mode++) {
		for (unsigned wait = 0; wait < 8; wait++) {
			model_up(&(struct model_opts){.pairs = 1});
			model.backend[0].mode = mode;
			model.drained = 0;
			put_pair(1, 9, 0, 1);
			host_ring(1);
			for (unsigned i = 0; i < wait; i++)
				control_turn();
			assert_false(nvme_queues_disable(model.ctrl.queues, drained));
			wait_for(model.drained == 1);
			closed = 0;
			nvme_gate_close(model.ns[0].gate, gate_drained, &closed);
			wait_for(closed == 1);
			nvme_gate_open(model.ns[0].gate);
			model_down();
		}
	}
}

/* ---- the gate ---- */

static void test_gate(void **state)
{
	struct nvme_sqe sqe = range(nvme_cmd_read, 0, 1);
	unsigned first = 0, second = 0, before;
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 1});
	nvme_gate_close(model.ns[0].gate, gate_drained, &first);
	assert_int_equal(first, 1); /* nobody there */
	nvme_gate_close(model.ns[0].gate, gate_drained, &second);
	host_put(1, &sqe);
	host_ring(1);
	usleep(3000);
	assert_int_equal(model.backend[0].submitted[BLOCK_READ], 0);
	sqe.nsid = 2; /* others are not held up */
	assert_int_equal(host_exec(1, &sqe), 0);
	nvme_gate_open(model.ns[0].gate);
	assert_int_equal(second, 1);
	usleep(2000);
	assert_int_equal(model.backend[0].submitted[BLOCK_READ], 0);
	nvme_gate_open(model.ns[0].gate);
	assert_int_equal(host_wait(1, &cqe), 0);
	/* who is inside is waited for */
	model.backend[0].mode = BACKEND_HOLD;
	sqe.nsid = 1;
	host_put(1, &sqe);
	host_ring(1);
	wait_for(model.backend[0].pending == 1);
	first = 0;
	nvme_gate_close(model.ns[0].gate, gate_drained, &first);
	for (unsigned i = 0; i < 50; i++)
		control_turn();
	assert_int_equal(first, 0);
	model.backend[0].release = true;
	wait_for(first == 1);
	nvme_gate_open(model.ns[0].gate);
	assert_int_equal(host_wait(1, &cqe), 0);
	/* a namespace that vanishes while commands wait for it */
	before = model.backend[0].submitted[BLOCK_READ];
	nvme_gate_close(model.ns[0].gate, gate_drained, &first);
	host_put(1, &sqe);
	host_ring(1);
	usleep(1000);
	{
		struct nvme_ns_table *t = calloc(1, sizeof(*t) + 4 * sizeof(t->ns[0]));
		struct nvme_ns_table *old = model.table;

		t->nn = 4;
		model.ctrl.ns_table = model.table = t;
		worker_synchronize();
		free(old);
	}
	assert_status(host_wait(1, &cqe), NVME_SC_INVALID_FIELD);
	assert_int_equal(model.backend[0].submitted[BLOCK_READ], before);
	nvme_gate_open(model.ns[0].gate);
	model_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_errors_of_the_backend),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_zeroes_and_verify),
		cmocka_unit_test(test_dsm),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_big_and_odd),
		cmocka_unit_test(test_many_big),
		cmocka_unit_test(test_pins),
		cmocka_unit_test(test_flush_pins_nothing),
		cmocka_unit_test(test_copies_start_as_zeros),
		cmocka_unit_test(test_lost_data_is_final),
		cmocka_unit_test(test_fused),
		cmocka_unit_test(test_fused_halves),
		cmocka_unit_test(test_fused_is_atomic),
		cmocka_unit_test(test_fused_and_reset),
		cmocka_unit_test(test_gate),
	};

	alarm(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
