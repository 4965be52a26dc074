/* SPDX-License-Identifier: BSD-3-Clause */
#include "nvme/dptr_private.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "util/bytes.h"
#include "util/clock.h"
#include "util/util.h"
#include "worker/worker.h"

#define XFER_ERROR NVME_ST_GENERIC(NVME_SC_DATA_XFER_ERROR)
#define BAD_OFFSET NVME_ST_GENERIC(NVME_SC_PRP_INVALID_OFFSET)

/* A wait that the control thread called off, as it must change the memory map, is repeated for a
 * while. */
#define RETRIES	 50
#define RETRY_NS NS_PER_MS

/* List pages that hold no entry but the pointer to the next one; legal, but not without end. */
#define EMPTY_HOPS_MAX 16
#define LIST_BATCH     64

/* ---- plain accesses ---- */

static uint16_t remote(struct nvme_mem *m, uint64_t addr, void *rd, const void *wr, size_t len)
{
	const struct timespec nap = {.tv_nsec = RETRY_NS};
	int err, i;

	for (i = 0;; i++) {
		/* Bus Master Enable may have gone while we waited. */
		if (!m->space || pci_function_dma(m->fn) != m->space)
			return NVME_ST_RETRY;
		err = rd ? dma_read(m->space, addr, rd, len) : dma_write(m->space, addr, wr, len);
		if (err != -ECANCELED)
			return err ? XFER_ERROR : 0;
		if (i == RETRIES || worker_leaving())
			return NVME_ST_RETRY;
		worker_offline();
		nanosleep(&nap, NULL);
		worker_online();
	}
}

static uint16_t unreachable(struct nvme_mem *m, uint64_t addr)
{
	const struct dma_region *r = dma_view_find(m->view, addr);

	/* What the doorbell was rung for may have been mapped since the turn began. */
	if (m->space && dma_view_get(m->space) != m->view)
		return NVME_ST_RETRY;
	if (r && !r->ptr)
		m->met_remote = true;
	return XFER_ERROR;
}

static uint16_t copy(struct nvme_mem *m, uint64_t addr, uint8_t *rd, const uint8_t *wr, size_t len)
{
	uint32_t prot = rd ? DMA_PROT_READ : DMA_PROT_WRITE;
	uint64_t n;
	void *p;

	if (!m->view)
		return remote(m, addr, rd, wr, len);
	if (!range_no_wrap(addr, len))
		return XFER_ERROR;
	for (; len; len -= n, addr += n) {
		n = len;
		p = dma_view_segment(m->view, addr, &n, prot, &m->hint);
		if (!p)
			return unreachable(m, addr);
		if (rd) {
			copy_shared(rd, p, n);
			rd += n;
		} else {
			copy_shared(p, wr, n);
			wr += n;
		}
	}
	return 0;
}

uint16_t nvme_mem_read(struct nvme_mem *m, uint64_t addr, void *buf, size_t len)
{
	return copy(m, addr, buf, NULL, len);
}

uint16_t nvme_mem_write(struct nvme_mem *m, uint64_t addr, const void *buf, size_t len)
{
	return copy(m, addr, NULL, buf, len);
}

bool nvme_mem_ok(struct nvme_mem *m, uint64_t addr, uint64_t len, uint32_t prot)
{
	const struct dma_view *v = m->view ? m->view : dma_view_get(m->space);
	const struct dma_region *r;
	uint64_t n;

	if (!range_no_wrap(addr, len))
		return false;
	for (; len; len -= n, addr += n) {
		r = dma_view_find(v, addr);
		if (!r || (r->prot & prot) != prot)
			return false;
		if (m->view && !r->ptr) {
			m->met_remote = true;
			return false;
		}
		n = MIN(len, r->size - (addr - r->iova));
	}
	return true;
}

/* ---- PRP (4.3) ---- */

struct prp_list {
	uint64_t at;	     /* of the next entry */
	uint32_t needed;     /* entries still, chain pointers not counted */
	uint32_t here;	     /* entries left in this list page, its last one included */
	uint32_t have, used; /* in batch */
	unsigned empty_hops;
	uint64_t batch[LIST_BATCH];
};

static bool list_start(struct nvme_mem *m, struct prp_list *l, uint64_t at)
{
	uint64_t page = 1ull << m->page_shift;

	if (at & 7)
		return false;
	l->at = at;
	l->here = (uint32_t)((page - (at & (page - 1))) / sizeof(uint64_t));
	l->have = l->used = 0;
	return true;
}

/* The next entry as it stands in the list, chain pointers too. */
static uint16_t list_take(struct nvme_mem *m, struct prp_list *l, uint64_t *entry)
{
	uint16_t st;

	if (l->used == l->have) {
		/* needed may be cut by one for a chain pointer; one entry more than needed is
		 * never read */
		l->have = MIN(l->here, l->needed);
		l->have = MIN(l->have, (uint32_t)LIST_BATCH);
		l->used = 0;
		st = nvme_mem_read(m, l->at, l->batch, l->have * sizeof(uint64_t));
		if (st)
			return st;
		l->at += l->have * sizeof(uint64_t);
	}
	*entry = le64toh(l->batch[l->used++]);
	l->here--;
	return 0;
}

/* The next data page. The last entry of a list page leads on when more than one is needed. */
static uint16_t list_next(struct nvme_mem *m, struct prp_list *l, uint64_t *page)
{
	uint64_t entry;
	uint16_t st;

	while (l->here == 1 && l->needed > 1) {
		st = list_take(m, l, &entry);
		if (st)
			return st;
		if (!list_start(m, l, entry))
			return BAD_OFFSET;
		if (l->here == 1 && ++l->empty_hops > EMPTY_HOPS_MAX)
			return BAD_OFFSET;
	}
	st = list_take(m, l, &entry);
	if (st)
		return st;
	l->needed--;
	if (entry & ((1ull << m->page_shift) - 1))
		return BAD_OFFSET;
	*page = entry;
	return 0;
}

static inline __attribute__((always_inline)) uint16_t prp_walk(struct nvme_mem *m,
							       const struct nvme_sqe *sqe,
							       uint32_t len, nvme_piece_fn piece,
							       void *ctx)
{
	uint64_t page = 1ull << m->page_shift, addr = le64toh(sqe->prp1);
	uint32_t n = (uint32_t)MIN((uint64_t)len, page - (addr & (page - 1)));
	struct prp_list list;
	uint16_t st;

	if (unlikely(addr & 3))
		return BAD_OFFSET;
	st = piece(ctx, addr, n, false);
	len -= n;
	if (st || !len)
		return st;
	addr = le64toh(sqe->prp2);
	if (len <= page) {
		if (unlikely(addr & (page - 1)))
			return BAD_OFFSET;
		return piece(ctx, addr, len, false);
	}
	list.empty_hops = 0;
	list.needed = (uint32_t)((len + page - 1) >> m->page_shift);
	if (!list_start(m, &list, addr))
		return BAD_OFFSET;
	for (; len; len -= n) {
		st = list_next(m, &list, &addr);
		if (st)
			return st;
		n = (uint32_t)MIN((uint64_t)len, page);
		st = piece(ctx, addr, n, false);
		if (st)
			return st;
	}
	return 0;
}

/* ---- copies ---- */

struct copying {
	struct nvme_mem *m;
	uint8_t *rd;
	const uint8_t *wr;
};

static uint16_t copy_piece(void *ctx, uint64_t addr, uint32_t len, bool bucket)
{
	struct copying *c = ctx;
	uint16_t st = bucket ? 0 : copy(c->m, addr, c->rd, c->wr, len);

	if (c->rd)
		c->rd += len;
	else
		c->wr += len;
	return st;
}

static uint16_t copy_all(struct copying *c, const struct nvme_sqe *sqe, uint32_t len)
{
	if (!len)
		return 0;
	switch (NVME_SQE_PSDT(sqe->flags)) {
	case NVME_PSDT_PRP:
		return prp_walk(c->m, sqe, len, copy_piece, c);
	case NVME_PSDT_SGL:
	case NVME_PSDT_SGL_MPTR:
		return nvme_sgl_walk(c->m, sqe, len, !c->rd, copy_piece, c);
	default:
		return NVME_ST_GENERIC(NVME_SC_INVALID_FIELD);
	}
}

uint16_t nvme_dptr_read(struct nvme_mem *m, const struct nvme_sqe *sqe, void *buf, uint32_t len)
{
	struct copying c = {.m = m, .rd = buf};

	return copy_all(&c, sqe, len);
}

uint16_t nvme_dptr_write(struct nvme_mem *m, const struct nvme_sqe *sqe, const void *buf,
			 uint32_t len)
{
	struct copying c = {.m = m, .wr = buf};

	return copy_all(&c, sqe, len);
}

/* ---- pointers ---- */

struct mapping {
	struct nvme_mem *m;
	struct iovec *iov;
	unsigned n, max;
	uint32_t prot;
};

static void note_region(struct nvme_mem *m, const struct dma_region *r)
{
	unsigned i;

	for (i = m->n_regions; i-- > 0;) {
		if (m->regions[i] == r)
			return;
	}
	m->regions[m->n_regions++] = r;
}

static inline uint16_t map_piece(void *ctx, uint64_t addr, uint32_t len, bool bucket)
{
	struct mapping *map = ctx;
	struct nvme_mem *m = map->m;
	struct iovec *last;
	uint64_t n;
	void *p;

	if (unlikely(bucket))
		return NVME_ST_BOUNCE;
	if (unlikely(!range_no_wrap(addr, len)))
		return XFER_ERROR;
	for (; len; len -= (uint32_t)n, addr += n) {
		n = len;
		p = dma_view_segment(m->view, addr, &n, map->prot, &m->hint);
		if (unlikely(!p))
			return unreachable(m, addr);
		last = map->iov + map->n - 1;
		if (map->n && (char *)last->iov_base + last->iov_len == p) {
			last->iov_len += n;
		} else {
			if (unlikely(map->n == map->max))
				return NVME_ST_BOUNCE;
			map->iov[map->n].iov_base = p;
			map->iov[map->n++].iov_len = n;
		}
		/* each has its pin: no more than there may be pieces */
		if (unlikely(!m->n_regions ||
			     m->regions[m->n_regions - 1] != &m->view->regions[m->hint])) {
			if (unlikely(m->n_regions == map->max))
				return NVME_ST_BOUNCE;
			note_region(m, &m->view->regions[m->hint]);
		}
	}
	return 0;
}

uint16_t nvme_dptr_map(struct nvme_mem *m, const struct nvme_sqe *sqe, uint32_t len, bool to_host,
		       struct iovec *iov, unsigned max, unsigned *n)
{
	struct mapping map = {
		.m = m, .iov = iov, .max = max, .prot = to_host ? DMA_PROT_WRITE : DMA_PROT_READ};
	uint16_t st;

	if (!m->view)
		return NVME_ST_BOUNCE;
	m->n_regions = 0;
	switch (NVME_SQE_PSDT(sqe->flags)) {
	case NVME_PSDT_PRP:
		st = prp_walk(m, sqe, len, map_piece, &map);
		break;
	case NVME_PSDT_SGL:
	case NVME_PSDT_SGL_MPTR:
		st = nvme_sgl_walk(m, sqe, len, to_host, map_piece, &map);
		break;
	default:
		return NVME_ST_GENERIC(NVME_SC_INVALID_FIELD);
	}
	*n = map.n;
	return st;
}
