/* SPDX-License-Identifier: BSD-3-Clause */
/* Enabling, queues, doorbells, submission and completion (NVM Express Base 1.4, chapters 3, 4, 7).
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "nvme_host.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/util.h"

#define SPINS	   2000
#define POLL_BATCH 64

/* ---- the controller ---- */

static uint64_t deadline(const struct nvme_host *h, unsigned timeout_ms)
{
	return clock_now_ns() + (timeout_ms ? timeout_ms : h->cfg.timeout_ms) * NS_PER_MS;
}

/* Waits until CSTS & mask is value. */
static int wait_status(struct nvme_host *h, uint32_t mask, uint32_t value)
{
	uint64_t end = deadline(h, 0);
	uint32_t csts;

	for (;;) {
		csts = nvme_host_get32(h, NVME_REG_CSTS);
		if (csts == UINT32_MAX)
			return -ENODEV;
		if ((csts & mask) == value)
			return 0;
		if (value && csts >> NVME_CSTS_CFS_SHIFT & 1)
			return -EIO;
		if (clock_now_ns() > end)
			return -ETIMEDOUT;
		nvme_host_serve(h, 1);
	}
}

static void forget_sq(struct nvme_host_sq *sq)
{
	for (unsigned i = 0; i < sq->n_cids; i++) {
		struct nvme_host_req *req = sq->reqs[i];

		if (!req)
			continue;
		req->status = NVME_HOST_GONE;
		req->busy = false;
	}
	free(sq->reqs);
	free(sq->free);
	/* The ring's memory may serve again. */
	*sq = (struct nvme_host_sq){.ring = sq->ring, .addr = sq->addr, .room = sq->room};
}

static void forget_queues(struct nvme_host *h)
{
	for (unsigned i = 0; i < NVME_HOST_QIDS; i++) {
		if (h->sqs[i].up)
			forget_sq(&h->sqs[i]);
		h->cqs[i].up = false;
	}
	h->dbbuf_on = false;
	h->io_pairs = 0;
}

int nvme_host_disable(struct nvme_host *h)
{
	uint32_t cc = nvme_host_get32(h, NVME_REG_CC);
	int err;

	err = nvme_host_put32(h, NVME_REG_CC, cc & ~1u & ~(3u << NVME_CC_SHN_SHIFT));
	if (!err)
		err = wait_status(h, 1u << NVME_CSTS_RDY_SHIFT, 0);
	if (!err)
		forget_queues(h);
	return err;
}

int nvme_host_shutdown(struct nvme_host *h, bool abrupt)
{
	uint32_t cc = nvme_host_get32(h, NVME_REG_CC) & ~(3u << NVME_CC_SHN_SHIFT);
	int err;

	cc |= (abrupt ? NVME_CC_SHN_ABRUPT : NVME_CC_SHN_NORMAL) << NVME_CC_SHN_SHIFT;
	err = nvme_host_put32(h, NVME_REG_CC, cc);
	if (err)
		return err;
	return wait_status(h, 3u << NVME_CSTS_SHST_SHIFT,
			   NVME_CSTS_SHST_CMPLT << NVME_CSTS_SHST_SHIFT);
}

/* ---- rings ---- */

static int make_cq(struct nvme_host *h, uint16_t qid, uint16_t size, uint16_t vector)
{
	struct nvme_host_cq *cq = &h->cqs[qid];
	uint64_t addr = cq->addr;
	void *ring = (void *)cq->ring;

	/* The memory of a ring that was here before serves again if it is large enough. */
	if (cq->room < size)
		ring = nvme_host_alloc(h, (size_t)size << NVME_CQE_SHIFT, &addr);
	if (!ring)
		return -ENOSPC;
	memset(ring, 0, (size_t)size << NVME_CQE_SHIFT);
	*cq = (struct nvme_host_cq){.h = h,
				    .id = qid,
				    .size = size,
				    .room = MAX(size, cq->room),
				    .vector = vector,
				    .phase = 1,
				    .ring = ring,
				    .addr = addr};
	return 0;
}

static int make_sq(struct nvme_host *h, uint16_t qid, uint16_t size, struct nvme_host_cq *cq)
{
	struct nvme_host_sq *sq = &h->sqs[qid];
	unsigned n = MAX(2u * size, 64u);

	if (sq->reqs)
		forget_sq(sq);
	if (sq->room < size) {
		sq->ring = nvme_host_alloc(h, (size_t)size << NVME_SQE_SHIFT, &sq->addr);
		sq->room = sq->ring ? size : 0;
	}
	sq->h = h;
	sq->id = qid;
	sq->size = size;
	sq->cq = cq;
	sq->n_cids = n;
	sq->reqs = calloc(n, sizeof(*sq->reqs));
	sq->free = calloc(n, sizeof(*sq->free));
	if (!sq->ring || !sq->reqs || !sq->free)
		return -ENOSPC;
	memset(sq->ring, 0, (size_t)size << NVME_SQE_SHIFT);
	for (unsigned i = 0; i < n; i++)
		sq->free[i] = (uint16_t)(n - 1 - i);
	sq->n_free = n;
	return 0;
}

int nvme_host_enable(struct nvme_host *h)
{
	uint16_t n = h->cfg.admin_size;
	int err;

	h->cap = nvme_host_get64(h, NVME_REG_CAP);
	err = nvme_host_disable(h);
	if (!err)
		err = make_cq(h, 0, n, h->cfg.interrupts ? 0 : NVME_HOST_NO_IRQ);
	if (!err)
		err = make_sq(h, 0, n, &h->cqs[0]);
	if (!err)
		err = nvme_host_put32(h, NVME_REG_AQA, (uint32_t)(n - 1) << 16 | (n - 1));
	if (!err)
		err = nvme_host_put64(h, NVME_REG_ASQ, h->sqs[0].addr);
	if (!err)
		err = nvme_host_put64(h, NVME_REG_ACQ, h->cqs[0].addr);
	if (!err)
		err = nvme_host_put32(h, NVME_REG_CC,
				      1u | 6u << NVME_CC_IOSQES_SHIFT | 4u << NVME_CC_IOCQES_SHIFT);
	if (!err)
		err = wait_status(h, 1u << NVME_CSTS_RDY_SHIFT, 1u << NVME_CSTS_RDY_SHIFT);
	h->sqs[0].up = h->cqs[0].up = !err;
	return err;
}

static uint16_t vector_of(const struct nvme_host *h, unsigned qid)
{
	return h->cfg.interrupts && qid < h->num_vectors ? (uint16_t)qid : NVME_HOST_NO_IRQ;
}

int nvme_host_start(struct nvme_host *h)
{
	int n, err = nvme_host_enable(h);

	if (err)
		return err;
	n = nvme_host_ask_queues(h, h->cfg.ask > h->cfg.pairs ? h->cfg.ask : h->cfg.pairs);
	if (n < (int)h->cfg.pairs)
		return n < 0 ? n : -ENOSPC;
	for (uint16_t q = 1; q <= h->cfg.pairs; q++) {
		err = nvme_host_create_cq(h, q, h->cfg.queue_size, vector_of(h, q));
		if (!err)
			err = nvme_host_create_sq(h, q, h->cfg.queue_size, q);
		if (err)
			return err < 0 ? err : -EPROTO;
		h->io_pairs = q;
	}
	if (h->cfg.dbbuf)
		err = nvme_host_dbbuf(h);
	return err > 0 ? -ENOTSUP : err;
}

/* ---- queues by admin commands (5.3 to 5.6, 5.21.1.7, 5.7) ---- */

int nvme_host_create_cq(struct nvme_host *h, uint16_t qid, uint16_t size, uint16_t vector)
{
	bool irq = vector != NVME_HOST_NO_IRQ;
	struct nvme_sqe sqe = {.opcode = nvme_admin_create_cq};
	int st = make_cq(h, qid, size, vector);

	if (st)
		return st;
	sqe.prp1 = h->cqs[qid].addr;
	sqe.cdw10 = (uint32_t)(size - 1) << 16 | qid;
	sqe.cdw11 = (irq ? (uint32_t)vector << 16 : 0) | (uint32_t)irq << 1 | 1;
	st = nvme_host_exec(nvme_host_admin(h), &sqe, NULL);
	h->cqs[qid].up = !st;
	return st;
}

int nvme_host_create_sq(struct nvme_host *h, uint16_t qid, uint16_t size, uint16_t cqid)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_create_sq};
	int st = make_sq(h, qid, size, &h->cqs[cqid]);

	if (st)
		return st;
	sqe.prp1 = h->sqs[qid].addr;
	sqe.cdw10 = (uint32_t)(size - 1) << 16 | qid;
	sqe.cdw11 = (uint32_t)cqid << 16 | 1;
	st = nvme_host_exec(nvme_host_admin(h), &sqe, NULL);
	if (st)
		forget_sq(&h->sqs[qid]);
	else
		h->sqs[qid].up = true;
	return st;
}

int nvme_host_delete_cq(struct nvme_host *h, uint16_t qid)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_delete_cq, .cdw10 = qid};
	int st = nvme_host_exec(nvme_host_admin(h), &sqe, NULL);

	if (!st)
		h->cqs[qid].up = false;
	return st;
}

int nvme_host_delete_sq(struct nvme_host *h, uint16_t qid)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_delete_sq, .cdw10 = qid};
	int st = nvme_host_exec(nvme_host_admin(h), &sqe, NULL);

	if (st)
		return st;
	/* Completions of what was aborted have come before (5.6). */
	if (h->sqs[qid].up) {
		while (nvme_host_poll(h->sqs[qid].cq, POLL_BATCH))
			;
		forget_sq(&h->sqs[qid]);
	}
	return 0;
}

int nvme_host_ask_queues(struct nvme_host *h, unsigned pairs)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_set_features,
			       .cdw10 = NVME_FEAT_FID_NUM_QUEUES,
			       .cdw11 = (pairs - 1) << 16 | (pairs - 1)};
	uint32_t got = 0;
	int st = nvme_host_exec(nvme_host_admin(h), &sqe, &got);

	if (st)
		return st < 0 ? st : -EPROTO;
	got = MIN(got & 0xffff, got >> 16) + 1;
	return (int)MIN(got, pairs);
}

int nvme_host_dbbuf(struct nvme_host *h)
{
	struct nvme_sqe sqe = {
		.opcode = nvme_admin_dbbuf, .prp1 = h->shadow_addr, .prp2 = h->eventidx_addr};
	int st;

	memset((void *)h->shadow, 0, NVME_HOST_PAGE);
	memset((void *)h->eventidx, 0, NVME_HOST_PAGE);
	for (unsigned q = 1; q < NVME_HOST_QIDS; q++) {
		if (h->sqs[q].up)
			h->shadow[2 * q] = h->sqs[q].rung;
		if (h->cqs[q].up)
			h->shadow[2 * q + 1] = h->cqs[q].rung;
	}
	st = nvme_host_exec(nvme_host_admin(h), &sqe, NULL);
	h->dbbuf_on = !st;
	return st;
}

/* ---- doorbells ---- */

/* Whether the device wants a message: the event index lies in (old, new] (5.7). */
static bool need_event(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

/* A fence that the thread sanitizer knows. */
static void full_barrier(void)
{
	uint32_t any = 0;

	__atomic_fetch_add(&any, 1, __ATOMIC_SEQ_CST);
}

static void tell(struct nvme_host *h, unsigned index, uint16_t now, uint16_t old)
{
	if (h->dbbuf_on && index >= 2 && index < NVME_HOST_PAGE / 4) {
		__atomic_store_n(&h->shadow[index], now, __ATOMIC_RELEASE);
		full_barrier();
		if (!need_event((uint16_t)__atomic_load_n(&h->eventidx[index], __ATOMIC_RELAXED),
				now, old))
			return;
	}
	nvme_host_doorbell(h, index, now);
}

void nvme_host_ring(struct nvme_host_sq *sq)
{
	uint16_t old = sq->rung;

	if (sq->tail == old)
		return;
	sq->rung = sq->tail;
	tell(sq->h, 2u * sq->id, sq->tail, old);
}

static void acknowledge(struct nvme_host_cq *cq)
{
	uint16_t old = cq->rung;

	cq->rung = cq->head;
	tell(cq->h, 2u * cq->id + 1, cq->head, old);
}

/* ---- commands ---- */

int nvme_host_submit(struct nvme_host_sq *sq, struct nvme_host_req *req)
{
	unsigned next = sq->tail + 1u == sq->size ? 0 : sq->tail + 1u;
	uint16_t cid;

	if (next == sq->head || !sq->n_free)
		return -EAGAIN;
	cid = sq->free[--sq->n_free];
	sq->reqs[cid] = req;
	req->sqe.cid = cid;
	req->busy = true;
	sq->ring[sq->tail] = req->sqe;
	sq->tail = (uint16_t)next;
	return 0;
}

static void complete(struct nvme_host *h, const struct nvme_cqe *e)
{
	struct nvme_host_sq *sq = &h->sqs[e->sq_id % NVME_HOST_QIDS];
	struct nvme_host_req *req;

	h->completions++;
	if (e->sq_id >= NVME_HOST_QIDS || !sq->up || e->cid >= sq->n_cids || !sq->reqs[e->cid] ||
	    e->sq_head >= sq->size) {
		h->strange++;
		return;
	}
	sq->head = e->sq_head;
	req = sq->reqs[e->cid];
	sq->reqs[e->cid] = NULL;
	sq->free[sq->n_free++] = e->cid;
	req->status = e->status >> 1;
	req->dw0 = e->dw0;
	req->busy = false;
	if (req->done)
		req->done(req);
}

unsigned nvme_host_poll(struct nvme_host_cq *cq, unsigned max)
{
	unsigned n;

	if (cq->h->cfg.no_fd)
		nvme_host_serve(cq->h, 0);
	for (n = 0; n < max; n++) {
		volatile struct nvme_cqe *p = &cq->ring[cq->head];
		uint16_t status = __atomic_load_n(&p->status, __ATOMIC_ACQUIRE);
		struct nvme_cqe e;

		if ((status & 1) != cq->phase)
			break;
		e = *(struct nvme_cqe *)(uintptr_t)p;
		if (++cq->head == cq->size) {
			cq->head = 0;
			cq->phase ^= 1;
		}
		complete(cq->h, &e);
	}
	if (n)
		acknowledge(cq);
	return n;
}

/* Sleeps until something may have come. -ENOMSG: it had, but there was no interrupt for it. */
static int sleep_for(struct nvme_host_cq *cq, uint64_t end, unsigned spins)
{
	struct nvme_host *h = cq->h;
	uint64_t now;
	struct pollfd p[2] = {{-1, POLLIN, 0}, {-1, POLLIN, 0}};

	if (spins < SPINS) {
		cpu_relax();
		return 0;
	}
	if (cq->vector == NVME_HOST_NO_IRQ || cq->vector >= h->num_vectors) {
		if (h->cfg.no_fd || spins > 2 * SPINS)
			nvme_host_serve(h, 1);
		else
			sched_yield();
		return 0;
	}
	now = clock_now_ns();
	p[0].fd = h->irq[cq->vector];
	if (h->cfg.no_fd)
		p[1].fd = vfu_client_fd(h->client);
	if (now < end && poll(p, 2, (int)((end - now) / NS_PER_MS) + 1) > 0) {
		if (p[0].revents)
			h->interrupts += nvme_host_irqs(h, cq->vector);
		return 0;
	}
	return nvme_host_poll(cq, POLL_BATCH) ? -ENOMSG : 0;
}

int nvme_host_wait(struct nvme_host_sq *sq, struct nvme_host_req *req, unsigned timeout_ms)
{
	struct nvme_host_cq *cq = sq->cq;
	uint64_t end = deadline(sq->h, timeout_ms);
	unsigned spins = 0;
	int err = 0;

	while (req->busy && !err) {
		if (nvme_host_poll(cq, POLL_BATCH))
			continue;
		if (spins > SPINS && clock_now_ns() > end)
			return -ETIMEDOUT;
		err = sleep_for(cq, end, spins++);
	}
	return err ? err : req->status;
}

int nvme_host_wait_all(struct nvme_host_sq *sq, unsigned timeout_ms)
{
	uint64_t end = deadline(sq->h, timeout_ms);
	unsigned spins = 0;
	int err = 0;

	while (nvme_host_busy(sq) && !err) {
		if (nvme_host_poll(sq->cq, POLL_BATCH))
			continue;
		if (spins > SPINS && clock_now_ns() > end)
			return -ETIMEDOUT;
		err = sleep_for(sq->cq, end, spins++);
	}
	return err;
}

int nvme_host_exec(struct nvme_host_sq *sq, const struct nvme_sqe *sqe, uint32_t *dw0)
{
	struct nvme_host_req req = {.sqe = *sqe};
	int st = nvme_host_submit(sq, &req);

	if (st)
		return st;
	nvme_host_ring(sq);
	st = nvme_host_wait(sq, &req, 0);
	if (req.busy) /* it may still come: not into this frame */
		for (unsigned i = 0; i < sq->n_cids; i++)
			if (sq->reqs[i] == &req)
				sq->reqs[i] = NULL;
	if (dw0)
		*dw0 = req.dw0;
	return st;
}
