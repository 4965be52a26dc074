/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts (7.5): one for all completions of a turn, or fewer, as Interrupt Coalescing (5.21.1.8)
 * asks. The admin queue is not coalesced, nor is a vector that is told not to be (5.21.1.9).
 */
#include "nvme/group_private.h"

static void signal(struct nvme_group *g)
{
	g->cq.unsignalled = 0;
	g->cq.irq_due_ns = 0;
	nvme_count(&g->n_interrupts, 1);
	pci_irq_raise(g->ctrl->fn, g->cq.vector);
}

static bool coalesced(const struct nvme_group *g)
{
	const struct nvme_cq *cq = &g->cq;

	return cq->qid && cq->vector < NVME_QUEUE_PAIRS_MAX + 64 &&
	       !(atomic_load_explicit(&g->q->no_coalescing[cq->vector / 64], memory_order_relaxed) &
		 BIT_ULL(cq->vector % 64));
}

void nvme_irq_posted(struct nvme_group *g, unsigned n)
{
	uint32_t threshold, time_ns;

	if (!g->cq.irq)
		return;
	g->cq.unsignalled += n;
	threshold = atomic_load_explicit(&g->q->threshold, memory_order_relaxed);
	time_ns = atomic_load_explicit(&g->q->time_ns, memory_order_relaxed);
	/* threshold is 0-based; without a time limit nothing may be held back */
	if (likely(!threshold || !time_ns) || g->cq.unsignalled > threshold || !coalesced(g)) {
		signal(g);
		return;
	}
	if (!g->cq.irq_due_ns)
		g->cq.irq_due_ns = nvme_group_now(g) + time_ns;
}

void nvme_irq_timer(struct nvme_group *g, uint64_t now_ns)
{
	if (g->cq.irq_due_ns && g->cq.irq_due_ns <= now_ns)
		signal(g);
}
