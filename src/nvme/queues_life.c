/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of groups and of all queues of a controller.
 *
 * A reset does not wait: each group drops what it has, asks the backend to let go of the rest, and
 * says when it has. Who must wait (function level reset, detaching) does so for a bounded time; a
 * group that is not done by then is made an orphan, without controller, that frees itself later.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nvme/group_private.h"

#define KILL_MS 2000

/* ---- the worker of a controller whose memory is reached by messages ---- */

static struct nvme_own_worker *own_get(struct nvme_queues *q)
{
	struct nvme_own_worker *own = q->own;

	if (!own) {
		own = calloc(1, sizeof(*own));
		if (!own)
			return NULL;
		if (worker_create(q->ctrl->name, WORKER_MAY_BLOCK, &own->worker)) {
			free(own);
			return NULL;
		}
		own->refs = 1; /* q's */
		q->own = own;
	}
	own->refs++;
	return own;
}

static void own_put(struct nvme_own_worker *own)
{
	if (!own || --own->refs)
		return;
	worker_destroy(own->worker);
	free(own);
}

/* ---- groups ---- */

void nvme_ctrl_set_poll(struct nvme_ctrl *ctrl, enum poller_policy policy)
{
	struct nvme_group *g;

	if (ctrl->cfg.poll == policy)
		return;
	ctrl->cfg.poll = policy;
	if (ctrl->queues && ctrl->queues->page && policy != POLLER_ALWAYS)
		log_info("%s: its client was offered its doorbells for mapping, which wake nobody: "
			 "polled always until it goes",
			 ctrl->name);
	for (g = ctrl->queues ? ctrl->queues->groups : NULL; g; g = g->next)
		poller_set_policy(&g->poller, nvme_queues_policy(g->q));
}

static void group_drained(struct mailbox_work *work);

static int choose_worker(struct nvme_queues *q, struct nvme_group *g)
{
	if (q->remote) {
		g->own = own_get(q);
		if (!g->own)
			return -ENOMEM;
		g->worker = g->own->worker;
	} else {
		g->worker = worker_pool_pick(nvme_subsystem_pool(q->ctrl->subsystem));
	}
	return block_channel_get(g->worker, &g->channel);
}

int nvme_group_create(struct nvme_queues *q, const struct nvme_cq *cq, struct nvme_group **out)
{
	struct nvme_group *g = aligned_alloc(CACHE_LINE, align_up(sizeof(*g), CACHE_LINE));
	int err;

	if (!g)
		return -ENOMEM;
	memset(g, 0, sizeof(*g));
	g->ctrl = q->ctrl;
	g->q = q;
	g->remote = q->remote;
	err = choose_worker(q, g);
	if (err) {
		own_put(g->own);
		free(g);
		return err;
	}
	g->slot = block_channel_number(g->channel);
	g->mem.fn = q->ctrl->fn;
	g->mem.page_shift = q->en.page_shift;
	g->cq = *cq;
	g->cq.phase = 1;
	nvme_doorbell_init(&g->cq.ack, (uint16_t)(2 * cq->qid + 1), cq->size, q->page);
	g->drained.run = group_drained;
	g->poller.ops = &nvme_group_poller_ops;
	g->poller.name = q->ctrl->name;
	g->poller.kind = "cq";
	g->poller.number = cq->qid;
	g->poller.share = &q->share;
	g->poller.policy = nvme_queues_policy(q);
	g->next = q->groups;
	if (g->next)
		g->next->prev = g;
	q->groups = g;
	q->cqs[cq->qid] = g;
	worker_add(g->worker, &g->poller);
	*out = g;
	return 0;
}

int nvme_group_add_sq(struct nvme_group *g, uint16_t qid, uint64_t base, uint16_t size)
{
	struct nvme_group_op *op = nvme_group_op_new(g);
	struct nvme_sq *sq = op ? calloc(1, sizeof(*sq)) : NULL;

	if (!sq) {
		free(op);
		return -ENOMEM;
	}
	sq->g = g;
	sq->qid = qid;
	sq->size = size;
	sq->base = base;
	nvme_doorbell_init(&sq->tail, (uint16_t)(2 * qid), size, g->q->page);
	g->q->sqs[qid] = sq;
	g->n_sqs++;
	op->run = nvme_op_sq_add;
	op->sq = sq;
	nvme_group_op_post(op);
	return 0;
}

static void count_gone(struct nvme_queues *q, struct nvme_group *g)
{
	uint64_t n = atomic_load(&g->n_commands);

	if (g->cq.qid)
		q->gone.commands += n;
	else
		q->gone.admin_commands += n;
	q->gone.interrupts += atomic_load(&g->n_interrupts);
}

/* The controller knows it no more. Its poller is gone. */
static void leave_queues(struct nvme_queues *q, struct nvme_group *g)
{
	bool stopping = atomic_load(&g->stopping);

	nvme_group_ops_end(g, !stopping);
	nvme_transport_free_all(g);
	for (unsigned i = 0; i <= q->max_qid; i++) {
		if (!q->sqs[i] || q->sqs[i]->g != g)
			continue;
		q->n_sqs -= i != 0;
		free(q->sqs[i]);
		q->sqs[i] = NULL;
	}
	g->sqs = NULL;
	count_gone(q, g);
	nvme_group_idle(g);
	q->cqs[g->cq.qid] = NULL;
	if (g->prev)
		g->prev->next = g->next;
	else
		q->groups = g->next;
	if (g->next)
		g->next->prev = g->prev;
}

/* ---- registered memory, which only the worker can let go of ---- */

struct drop_fixed {
	struct poller poller;
	struct nvme_group *g;
	_Atomic bool done;
};

static unsigned drop_fixed_poll(struct poller *p)
{
	struct drop_fixed *d = container_of(p, struct drop_fixed, poller);

	if (!atomic_load(&d->done))
		nvme_fixed_drop(d->g);
	atomic_store(&d->done, true);
	return 0;
}

/* Waits for a turn of the worker, as worker_synchronize() does. */
static void drop_fixed(struct nvme_group *g)
{
	static const struct poller_ops ops = {.poll = drop_fixed_poll};
	const struct timespec nap = {.tv_nsec = 20 * NS_PER_US};
	struct drop_fixed d = {.poller = {.ops = &ops, .name = "nvme"}, .g = g};

	worker_add(g->worker, &d.poller);
	while (!atomic_load(&d.done))
		nanosleep(&nap, NULL);
	worker_remove(&d.poller);
}

static void group_free(struct nvme_group *g)
{
	struct nvme_io *io;
	struct nvme_big *big;

	mailbox_cancel(&g->drained);
	nvme_fused_end(g);
	while ((io = g->all)) {
		g->all = io->all_next;
		free(io->buf);
		free(io);
	}
	while ((big = g->bigs)) {
		g->bigs = big->next;
		free(big);
	}
	block_channel_put(g->channel);
	own_put(g->own);
	free(g);
}

void nvme_group_end(struct nvme_group *g)
{
	worker_remove(&g->poller);
	if (g->n_fixed)
		drop_fixed(g);
	leave_queues(g->q, g);
	group_free(g);
}

static void all_drained(struct nvme_queues *q)
{
	void (*drained)(struct nvme_ctrl * ctrl) = q->drained;

	if (q->groups || !q->stopping)
		return;
	q->stopping = false;
	q->drained = NULL;
	if (drained)
		drained(q->ctrl);
}

static void group_drained(struct mailbox_work *work)
{
	struct nvme_group *g = container_of(work, struct nvme_group, drained);
	struct nvme_queues *q = g->q;

	if (atomic_load(&g->orphan)) {
		worker_synchronize(); /* who posted this still stood in it */
		group_free(g);
		return;
	}
	nvme_group_end(g);
	all_drained(q);
}

/* ---- all queues ---- */

int nvme_queues_create(struct nvme_ctrl *ctrl, unsigned max_qid, struct nvme_queues **out)
{
	struct nvme_queues *q = calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	q->ctrl = ctrl;
	q->max_qid = max_qid;
	q->page_fd = -1;
	q->cqs = calloc(max_qid + 1, sizeof(struct nvme_group *));
	q->sqs = calloc(max_qid + 1, sizeof(struct nvme_sq *));
	if (!q->cqs || !q->sqs) {
		free(q->cqs);
		free(q->sqs);
		free(q);
		return -ENOMEM;
	}
	*out = q;
	return 0;
}

void nvme_queues_destroy(struct nvme_queues *q)
{
	if (!q)
		return;
	if (!nvme_queues_disable(q, NULL))
		nvme_queues_drain(q, DMA_DRAIN_MS);
	nvme_queues_unmap_doorbells(q);
	own_put(q->own);
	free(q->cqs);
	free(q->sqs);
	free(q);
}

/* What lies in memory without pointers, or addresses such memory, is served by messages. */
static int choose_memory(struct nvme_queues *q, struct dma_space *dma)
{
	const struct nvme_enable *en = &q->en;
	uint64_t sq = (uint64_t)en->asq_size << NVME_SQE_SHIFT;
	uint64_t cq = (uint64_t)en->acq_size << NVME_CQE_SHIFT;
	struct nvme_mem m = {.fn = q->ctrl->fn, .space = dma};

	if (!nvme_mem_ok(&m, en->asq, sq, DMA_PROT_READ) ||
	    !nvme_mem_ok(&m, en->acq, cq, DMA_PROT_WRITE))
		return -EFAULT;
	if (atomic_exchange(&q->met_remote, false)) {
		log_guest(&q->ctrl->log,
			  "%s: memory without a file descriptor is used: serving it by messages "
			  "from now on",
			  q->ctrl->name);
		q->remote_space = dma;
	}
	m.view = dma_view_get(dma);
	q->remote = q->remote_space == dma || !nvme_mem_ok(&m, en->asq, sq, DMA_PROT_READ) ||
		    !nvme_mem_ok(&m, en->acq, cq, DMA_PROT_WRITE);
	return 0;
}

static int start(struct nvme_queues *q)
{
	struct dma_space *dma = pci_function_dma(q->ctrl->fn);
	struct nvme_cq cq = {
		.size = q->en.acq_size, .base = q->en.acq, .irq = true /* vector 0, always */};
	struct nvme_group *g;
	int err;

	if (!dma)
		return 0;
	err = choose_memory(q, dma);
	if (err)
		return err;
	err = nvme_group_create(q, &cq, &g);
	if (err)
		return err;
	err = nvme_group_add_sq(g, 0, q->en.asq, q->en.asq_size);
	if (err) {
		nvme_group_end(g);
		return err;
	}
	q->started = true;
	return 0;
}

int nvme_queues_enable(struct nvme_queues *q, const struct nvme_enable *en)
{
	uint64_t mask = (1ull << en->page_shift) - 1;
	int err;

	if (q->enabled || q->groups)
		return -EBUSY;
	if (en->asq_size < 2 || en->acq_size < 2 || ((en->asq | en->acq) & mask))
		return -EINVAL;
	q->en = *en;
	err = start(q);
	q->enabled = !err;
	return err;
}

bool nvme_queues_disable(struct nvme_queues *q, void (*drained)(struct nvme_ctrl *ctrl))
{
	q->enabled = q->started = q->dbbuf = false;
	nvme_transport_cancel_pending(q);
	for (struct nvme_group *g = q->groups; g; g = g->next) {
		atomic_store(&g->stopping, true);
		poller_kick(&g->poller);
	}
	q->stopping = q->groups != NULL;
	q->drained = q->stopping ? drained : NULL;
	return !q->stopping;
}

/* ---- waiting for it ---- */

static bool is_killed(struct nvme_group *g)
{
	return atomic_load(&g->killed);
}

static bool is_drained(struct nvme_group *g)
{
	return atomic_load(&g->drained.posted);
}

static bool wait_all(struct nvme_queues *q, bool (*is)(struct nvme_group *g), uint64_t deadline_ns)
{
	const struct timespec nap = {.tv_nsec = 50 * NS_PER_US};
	struct nvme_group *g = q->groups;

	while (g) {
		if (is(g)) {
			g = g->next;
			continue;
		}
		if (clock_now_ns() >= deadline_ns)
			return false;
		nanosleep(&nap, NULL);
	}
	return true;
}

/* A poll that waits for an answer by message, which only this thread can bring, is called off. */
static void unblock(struct nvme_queues *q)
{
	struct nvme_group *g;

	if (!q->remote)
		return;
	for (g = q->groups; g; g = g->next)
		worker_remove(&g->poller);
	for (g = q->groups; g; g = g->next)
		worker_add(g->worker, &g->poller);
}

/* From now on its commands do not look at the controller. */
static void make_orphan(struct nvme_queues *q, struct nvme_group *g)
{
	worker_remove(&g->poller);
	leave_queues(q, g);
	atomic_store(&g->orphan, true);
	worker_synchronize();
	g->q = NULL;
}

bool nvme_queues_drain(struct nvme_queues *q, unsigned ms)
{
	struct nvme_group *g;
	bool all;

	q->drained = NULL;
	q->stopping = false;
	unblock(q);
	/* a turn or two of the workers, whatever ms is: what they have not dropped cannot be left
	 * to itself */
	while (!wait_all(q, is_killed, clock_now_ns() + KILL_MS * NS_PER_MS))
		unblock(q);
	all = wait_all(q, is_drained, clock_now_ns() + ms * NS_PER_MS);
	while ((g = q->groups)) {
		if (is_drained(g))
			nvme_group_end(g);
		else
			make_orphan(q, g);
	}
	if (!all)
		log_warn("%s: requests are still at the backend; they end in the background",
			 q->ctrl->name);
	return all;
}

void nvme_queues_dma_changed(struct nvme_queues *q, bool on)
{
	struct nvme_group *g;

	if (!on || !q->enabled)
		return;
	if (!q->started && start(q)) {
		nvme_ctrl_fail(q->ctrl, "the admin queues are out of reach");
		return;
	}
	for (g = q->groups; g; g = g->next)
		poller_kick(&g->poller);
}
