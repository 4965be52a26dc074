/* SPDX-License-Identifier: BSD-3-Clause */
#include "nvme/gate_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/worker.h"

struct nvme_gate_closer {
	struct nvme_gate_closer *next;
	void (*drained)(void *opaque);
	void *opaque;
};

static bool empty(const struct nvme_gate *g)
{
	for (unsigned i = 0; i < BLOCK_CHANNELS_MAX; i++) {
		if (atomic_load_explicit(&((struct nvme_gate *)g)->slots[i].inside,
					 memory_order_acquire))
			return false;
	}
	return true;
}

static void tell_if_empty(struct nvme_gate *g)
{
	struct nvme_gate_closer *c = g->first;

	if (!c || g->drained || !empty(g))
		return;
	g->drained = true;
	c->drained(c->opaque);
}

/* Somebody left while it was closed. */
static void left(struct mailbox_work *work)
{
	tell_if_empty(container_of(work, struct nvme_gate, left));
}

int nvme_gate_create(struct nvme_gate **out)
{
	struct nvme_gate *g = aligned_alloc(CACHE_LINE, sizeof(*g));

	if (!g)
		return -ENOMEM;
	memset(g, 0, sizeof(*g));
	g->last = &g->first;
	g->left.run = left;
	*out = g;
	return 0;
}

void nvme_gate_destroy(struct nvme_gate *g)
{
	struct nvme_gate_closer *c;

	if (!g)
		return;
	mailbox_cancel(&g->left);
	while ((c = g->first)) {
		g->first = c->next;
		free(c);
	}
	free(g);
}

/*
 * After the wait every worker has seen the gate closed, and who entered before is counted. Such a
 * one, when it leaves in a later turn, sees the gate closed too and says so.
 */
static void begin(struct nvme_gate *g)
{
	g->drained = false;
	worker_synchronize();
	tell_if_empty(g);
}

void nvme_gate_close(struct nvme_gate *g, void (*drained)(void *opaque), void *opaque)
{
	struct nvme_gate_closer *c = malloc(sizeof(*c));
	bool first = !g->first;

	if (!c)
		abort(); /* sixteen bytes; a caller could do nothing but wait for ever */
	*c = (struct nvme_gate_closer){.drained = drained, .opaque = opaque};
	*g->last = c;
	g->last = &c->next;
	if (!first)
		return;
	atomic_store(&g->closed, true);
	begin(g);
}

/* Stays closed from one closer to the next, so that a stream of commands cannot starve the second.
 */
void nvme_gate_open(struct nvme_gate *g)
{
	struct nvme_gate_closer *c = g->first;

	if (!c)
		return;
	g->first = c->next;
	if (!g->first)
		g->last = &g->first;
	free(c);
	if (g->first)
		begin(g);
	else
		atomic_store(&g->closed, false);
}
