/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each I/O command does (6.6 to 6.15). Those of several steps keep where they are in the
 * nvme_io: left says how much is to come, so that an aborted one ends between two steps. Long ones
 * go by chunks, and let others have their turn.
 */
#include <errno.h>
#include <string.h>

#include "nvme/group_private.h"

#define VERIFY_CHUNK (256u << 10)
#define COPY_CHUNK   (512u << 10)
#define ZERO_CHUNK   (1u << 20)
#define UNMAP_CHUNK  (4u << 20)
/* Of what is thrown away, at a time: little where the worker itself does it, as in memory. */
#define DISCARD_CHUNK	    (8u << 20)
#define DISCARD_CHUNK_ASYNC (1u << 30)

#define INVALID_FIELD NVME_ST_GENERIC(NVME_SC_INVALID_FIELD)

static uint64_t byte_offset(const struct nvme_io *io)
{
	return io->slba << io->ns->block_shift;
}

static uint32_t fua(struct nvme_group *g, const struct nvme_io *io)
{
	bool on = le32toh(io->sqe.cdw12) & NVME_RW_FUA ||
		  atomic_load_explicit(&g->ctrl->write_through, memory_order_relaxed);

	return on ? BLOCK_FUA : 0;
}

/* ---- Read, Write ---- */

static uint16_t read_next(struct nvme_group *g, struct nvme_io *io)
{
	if (unlikely(io->result < 0))
		return nvme_status_of(io->result, 0);
	if (unlikely(io->buf))
		return nvme_dptr_write(&g->mem, &io->sqe, io->buf, io->len);
	return 0;
}

static uint16_t read_start(struct nvme_group *g, struct nvme_io *io)
{
	uint16_t st = nvme_io_map(g, io, true);

	if (unlikely(st))
		return st;
	io->req.flags = 0;
	st = nvme_io_submit(g, io, BLOCK_READ, byte_offset(io), io->len);
	return st == NVME_ST_STEP ? read_next(g, io) : st;
}

/*
 * That data did not reach the medium is told once: a host that tried the same again, as it does by
 * itself without Do Not Retry, would be told that all is well.
 */
static uint16_t sync_status(int result)
{
	uint16_t st = nvme_status_of(result, 1);

	return st && result != -ECANCELED && result != -ENOMEM && result != -EAGAIN
		       ? st | NVME_ST_DNR
		       : st;
}

static uint16_t write_next(struct nvme_group *g, struct nvme_io *io)
{
	return io->req.flags & BLOCK_FUA ? sync_status(io->result) : nvme_status_of(io->result, 1);
}

static uint16_t write_start(struct nvme_group *g, struct nvme_io *io)
{
	uint16_t st = nvme_io_map(g, io, false);

	if (unlikely(st))
		return st;
	io->req.flags = fua(g, io);
	st = nvme_io_submit(g, io, BLOCK_WRITE, byte_offset(io), io->len);
	return st == NVME_ST_STEP ? write_next(g, io) : st;
}

/* ---- Flush ---- */

static uint16_t flush_next(struct nvme_group *g, struct nvme_io *io)
{
	return sync_status(io->result);
}

static uint16_t flush_start(struct nvme_group *g, struct nvme_io *io)
{
	if (!io->ns->volatile_cache)
		return 0;
	io->req.flags = 0;
	return nvme_io_submit(g, io, BLOCK_FLUSH, 0, 0);
}

/*
 * NSID FFFFFFFFh: one namespace after the other; step is the index of the next. The first failure
 * is the answer, but all are flushed.
 */
static uint16_t flush_all_start(struct nvme_group *g, struct nvme_io *io)
{
	struct nvme_ns *ns;
	uint16_t st;

	for (;; io->step++) {
		struct nvme_ns_table *t =
			atomic_load_explicit(&g->ctrl->ns_table, memory_order_acquire);

		io->left = 1;
		if (!t || io->step >= t->nn) {
			io->left = 0;
			return io->status;
		}
		ns = nvme_io_lookup(g, io->step + 1);
		if (!ns || !ns->volatile_cache)
			continue;
		if (!nvme_gate_enter(ns->gate, g->slot))
			return NVME_ST_RETRY;
		io->ns = ns;
		if (io->sq && nvme_resv_forbids(ns, g->ctrl->cntlid, NVME_ACCESS_WRITE)) {
			io->status = NVME_SC_RESERVATION_CONFLICT;
			nvme_io_release(g, io);
			continue;
		}
		io->req.flags = 0;
		st = nvme_io_submit(g, io, BLOCK_FLUSH, 0, 0);
		return st;
	}
}

static uint16_t flush_all_next(struct nvme_group *g, struct nvme_io *io)
{
	if (io->ns) {
		if (io->result < 0 && !io->status)
			io->status = sync_status(io->result);
		nvme_io_release(g, io);
		io->step++;
	}
	return flush_all_start(g, io);
}

/* ---- Compare: what is stored, then what the host has, in one buffer ---- */

uint16_t nvme_compare_next(struct nvme_group *g, struct nvme_io *io)
{
	if (io->result < 0)
		return nvme_status_of(io->result, 0);
	if (memcmp(io->buf, io->buf + io->len, io->len))
		return NVME_ST_MEDIA(NVME_SC_COMPARE_FAILED) | NVME_ST_DNR;
	return 0;
}

uint16_t nvme_compare_start(struct nvme_group *g, struct nvme_io *io)
{
	uint16_t st = nvme_io_buf(g, io, 2 * io->len);

	if (!st)
		st = nvme_dptr_read(&g->mem, &io->sqe, io->buf + io->len, io->len);
	if (st)
		return st;
	io->iov[0] = (struct iovec){io->buf, io->len};
	io->req.iov = io->iov;
	io->req.iovcnt = 1;
	io->req.flags = 0;
	return nvme_io_submit(g, io, BLOCK_READ, byte_offset(io), io->len);
}

/* ---- Verify, Write Zeroes: chunk after chunk ---- */

static uint16_t chunk_read(struct nvme_group *g, struct nvme_io *io)
{
	io->iov[0] = (struct iovec){io->buf, io->chunk};
	io->req.iov = io->iov;
	io->req.iovcnt = 1;
	io->req.flags = 0;
	return nvme_io_submit(g, io, BLOCK_READ, io->offset, io->chunk);
}

static void chunk_cut(struct nvme_io *io, uint32_t max)
{
	io->chunk = (uint32_t)MIN(io->left, (uint64_t)max);
}

static void chunk_done(struct nvme_io *io)
{
	io->offset += io->chunk;
	io->left -= io->chunk;
}

static void range_begin(struct nvme_io *io)
{
	io->offset = byte_offset(io);
	io->left = (uint64_t)io->nlb << io->ns->block_shift;
}

static uint16_t verify_start(struct nvme_group *g, struct nvme_io *io)
{
	uint16_t st;

	range_begin(io);
	chunk_cut(io, VERIFY_CHUNK);
	st = nvme_io_buf(g, io, io->chunk);
	return st ? st : chunk_read(g, io);
}

static uint16_t verify_next(struct nvme_group *g, struct nvme_io *io)
{
	if (io->result < 0)
		return nvme_status_of(io->result, 0);
	chunk_done(io);
	if (!io->left)
		return 0;
	chunk_cut(io, VERIFY_CHUNK);
	return chunk_read(g, io);
}

static uint16_t zero_chunk(struct nvme_group *g, struct nvme_io *io)
{
	bool unmap = le32toh(io->sqe.cdw12) & NVME_WZ_DEAC;

	chunk_cut(io, unmap ? UNMAP_CHUNK : ZERO_CHUNK);
	io->req.flags = fua(g, io) | (unmap ? BLOCK_MAY_UNMAP : 0);
	return nvme_io_submit(g, io, BLOCK_WRITE_ZEROES, io->offset, io->chunk);
}

static uint16_t zeroes_start(struct nvme_group *g, struct nvme_io *io)
{
	range_begin(io);
	return zero_chunk(g, io);
}

static uint16_t zeroes_next(struct nvme_group *g, struct nvme_io *io)
{
	if (io->result < 0)
		return nvme_status_of(io->result, 1);
	chunk_done(io);
	return io->left ? zero_chunk(g, io) : 0;
}

/* ---- Dataset Management: Deallocate; all other attributes are hints ---- */

static bool dsm_deallocates(const struct nvme_io *io)
{
	return le32toh(io->sqe.cdw11) & NVME_DSM_AD;
}

static uint32_t ranges_of(uint32_t cdw)
{
	return (cdw & 0xff) + 1;
}

static struct nvme_dsm_range *dsm_ranges(const struct nvme_io *io)
{
	return (struct nvme_dsm_range *)io->buf;
}

/* offset: bytes done of the range that step names. */
static uint16_t dsm_step(struct nvme_group *g, struct nvme_io *io)
{
	unsigned shift = io->ns->block_shift;
	uint64_t len;
	uint16_t st;

	for (; io->left; io->left--, io->step++, io->offset = 0) {
		const struct nvme_dsm_range *r = &dsm_ranges(io)[io->step];

		len = ((uint64_t)le32toh(r->nlb) << shift) - io->offset;
		if (!len)
			continue;
		io->chunk = (uint32_t)MIN(
			len, (uint64_t)(io->writing ? DISCARD_CHUNK_ASYNC : DISCARD_CHUNK));
		io->req.flags = 0;
		st = nvme_io_submit(g, io, BLOCK_DISCARD, (le64toh(r->slba) << shift) + io->offset,
				    io->chunk);
		io->writing = st == NVME_ST_PENDING;
		return st;
	}
	return 0;
}

/* All ranges are checked before one is touched. */
static uint16_t dsm_check(const struct nvme_io *io, uint32_t n)
{
	uint64_t blocks = atomic_load_explicit(&io->ns->blocks, memory_order_relaxed);

	for (uint32_t i = 0; i < n; i++) {
		const struct nvme_dsm_range *r = &dsm_ranges(io)[i];

		if (!range_ok(le64toh(r->slba), le32toh(r->nlb), blocks))
			return NVME_ST_GENERIC(NVME_SC_LBA_RANGE);
	}
	return 0;
}

static uint16_t dsm_start(struct nvme_group *g, struct nvme_io *io)
{
	uint32_t n = ranges_of(le32toh(io->sqe.cdw10));
	uint16_t st;

	if (!dsm_deallocates(io))
		return 0;
	if (io->ns->read_only)
		return NVME_ST_GENERIC(NVME_SC_NS_WRITE_PROTECTED);
	st = nvme_io_buf(g, io, n * sizeof(struct nvme_dsm_range));
	if (!st)
		st = nvme_dptr_read(&g->mem, &io->sqe, io->buf, io->buf_len);
	if (!st)
		st = dsm_check(io, n);
	if (st || !io->ns->discard)
		return st;
	io->step = 0;
	io->offset = 0;
	io->left = n;
	return dsm_step(g, io);
}

static uint16_t dsm_next(struct nvme_group *g, struct nvme_io *io)
{
	if (io->result < 0)
		return nvme_status_of(io->result, 1);
	io->offset += io->chunk;
	return dsm_step(g, io);
}

/* ---- Copy: ranges, then a chunk, in one buffer ---- */

#define COPY_SIZE_ERROR NVME_ST_CMD(NVME_SC_CMD_SIZE_LIMIT_EXCEEDED)
#define COPY_TABLE	(NVME_COPY_RANGES_MAX * sizeof(struct nvme_copy_range))

static struct nvme_copy_range *copy_ranges(const struct nvme_io *io)
{
	return (struct nvme_copy_range *)io->buf;
}

static uint32_t copy_nlb(const struct nvme_copy_range *r)
{
	return le16toh(r->nlb) + 1u;
}

static uint16_t copy_check(struct nvme_io *io, uint32_t n)
{
	uint64_t blocks = atomic_load_explicit(&io->ns->blocks, memory_order_relaxed);
	uint64_t total = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct nvme_copy_range *r = &copy_ranges(io)[i];

		if (copy_nlb(r) > NVME_COPY_MSSRL)
			return COPY_SIZE_ERROR;
		if (!range_ok(le64toh(r->slba), copy_nlb(r), blocks))
			return NVME_ST_GENERIC(NVME_SC_LBA_RANGE);
		total += copy_nlb(r);
	}
	if (total > NVME_COPY_MCL)
		return COPY_SIZE_ERROR;
	if (!range_ok(io->slba, total, blocks))
		return NVME_ST_GENERIC(NVME_SC_LBA_RANGE);
	io->left = total << io->ns->block_shift;
	return 0;
}

static uint16_t copy_prepare(struct nvme_group *g, struct nvme_io *io, uint64_t *bytes)
{
	uint32_t n = ranges_of(le32toh(io->sqe.cdw12));
	uint16_t st;

	if (n > NVME_COPY_RANGES_MAX)
		return COPY_SIZE_ERROR;
	if (le32toh(io->sqe.cdw12) >> 8 & 0xf) /* descriptor formats other than 0 */
		return INVALID_FIELD;
	st = nvme_io_buf(g, io, COPY_TABLE + COPY_CHUNK);
	if (!st)
		st = nvme_dptr_read(&g->mem, &io->sqe, io->buf,
				    n * (uint32_t)sizeof(struct nvme_copy_range));
	io->slba = (uint64_t)le32toh(io->sqe.cdw11) << 32 | le32toh(io->sqe.cdw10);
	if (!st)
		st = copy_check(io, n);
	*bytes = st ? 0 : io->left;
	return st;
}

/* nlb: blocks done of the range that step names; offset: bytes written. */
static uint16_t copy_read(struct nvme_group *g, struct nvme_io *io)
{
	const struct nvme_copy_range *r = &copy_ranges(io)[io->step];
	unsigned shift = io->ns->block_shift;
	uint32_t blocks = MIN(copy_nlb(r) - io->nlb, COPY_CHUNK >> shift);

	io->writing = false;
	io->chunk = blocks << shift;
	io->iov[0] = (struct iovec){io->buf + COPY_TABLE, io->chunk};
	io->req.iov = io->iov;
	io->req.iovcnt = 1;
	io->req.flags = 0;
	return nvme_io_submit(g, io, BLOCK_READ, (le64toh(r->slba) + io->nlb) << shift, io->chunk);
}

static uint16_t copy_start(struct nvme_group *g, struct nvme_io *io)
{
	io->step = 0;
	io->nlb = 0;
	io->offset = byte_offset(io);
	return copy_read(g, io);
}

static uint16_t copy_next(struct nvme_group *g, struct nvme_io *io)
{
	if (io->result < 0)
		return nvme_status_of(io->result, io->writing);
	if (!io->writing) {
		io->writing = true;
		io->req.flags = fua(g, io);
		return nvme_io_submit(g, io, BLOCK_WRITE, io->offset, io->chunk);
	}
	chunk_done(io);
	io->nlb += io->chunk >> io->ns->block_shift;
	if (!io->left)
		return 0;
	if (io->nlb == copy_nlb(&copy_ranges(io)[io->step])) {
		io->step++;
		io->nlb = 0;
	}
	return copy_read(g, io);
}

/* ---- the table ---- */

const struct nvme_op nvme_op_flush_all = {
	.stats = NVME_STATS_OTHER,
	.access = NVME_ACCESS_WRITE,
	.start = flush_all_start,
	.next = flush_all_next,
};

static const struct nvme_op ops[] = {
	[nvme_cmd_flush] = {0, NVME_STATS_OTHER, NVME_ACCESS_WRITE, NULL, flush_start, flush_next},
	[nvme_cmd_write] = {NVME_OP_RANGE | NVME_OP_DATA | NVME_OP_WRITES, NVME_STATS_WRITE,
			    NVME_ACCESS_WRITE, NULL, write_start, write_next},
	[nvme_cmd_read] = {NVME_OP_RANGE | NVME_OP_DATA, NVME_STATS_READ, NVME_ACCESS_READ, NULL,
			   read_start, read_next},
	[nvme_cmd_compare] = {NVME_OP_RANGE | NVME_OP_DATA, NVME_STATS_OTHER, NVME_ACCESS_READ,
			      NULL, nvme_compare_start, nvme_compare_next},
	[nvme_cmd_write_zeroes] = {NVME_OP_RANGE | NVME_OP_WRITES, NVME_STATS_OTHER,
				   NVME_ACCESS_WRITE, NULL, zeroes_start, zeroes_next},
	[nvme_cmd_dsm] = {0, NVME_STATS_OTHER, NVME_ACCESS_WRITE, NULL, dsm_start, dsm_next},
	[nvme_cmd_verify] = {NVME_OP_RANGE, NVME_STATS_OTHER, NVME_ACCESS_READ, NULL, verify_start,
			     verify_next},
	[nvme_cmd_resv_register] = {.flags = NVME_OP_RESV, .stats = NVME_STATS_OTHER},
	[nvme_cmd_resv_report] = {.flags = NVME_OP_RESV, .stats = NVME_STATS_OTHER},
	[nvme_cmd_resv_acquire] = {.flags = NVME_OP_RESV, .stats = NVME_STATS_OTHER},
	[nvme_cmd_resv_release] = {.flags = NVME_OP_RESV, .stats = NVME_STATS_OTHER},
	[nvme_cmd_copy] = {NVME_OP_WRITES, NVME_STATS_OTHER, NVME_ACCESS_WRITE, copy_prepare,
			   copy_start, copy_next},
};

const struct nvme_op *nvme_op_of(uint8_t opcode)
{
	if (unlikely(opcode >= ARRAY_SIZE(ops)) ||
	    unlikely(!ops[opcode].stats && !ops[opcode].start))
		return NULL;
	return &ops[opcode];
}
