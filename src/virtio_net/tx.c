/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transmit queues: bursts of the driver's chains become frames (tx_frame.c) and go through the
 * switch; only a ring that breaks the rules breaks the function.
 */
#include "virtio_net/vnet.h"

/* Of each piece of a chain, however few its bytes: a thousand of one byte take far longer than a
 * frame of a thousand bytes. */
#define COST_PIECE 64

struct vnet_scratch *vnet_scratch(void)
{
	static _Thread_local struct vnet_scratch scratch;

	return &scratch;
}

void vnet_break(struct virtio_net *net, const char *why)
{
	virtio_device_set_needs_reset(net->vd, why);
}

struct tx_burst {
	unsigned chains;  /* of s->tx_chains */
	unsigned singles; /* of s->tx_singles, all taken before these chains */
	unsigned frames, malformed;
	uint64_t bytes, csum_needed;
	uint32_t cost, budget;
	int err;
};

/* Room for another frame, and leave to send it? */
static inline bool goes_on(const struct tx_burst *b)
{
	return b->chains + b->singles < NET_BURST && b->cost < b->budget;
}

/* What makes no sense has been looked at all the same. */
static inline void add_malformed(struct tx_burst *b)
{
	b->malformed++;
	b->cost += POLLER_COST_FRAME;
}

static inline void add_frame(struct tx_burst *b, const struct net_frame *f)
{
	b->frames++;
	b->bytes += f->len;
	b->csum_needed += f->offload.needs_csum;
	b->cost += net_frame_cost(f) + POLLER_COST_FRAME;
}

/* Chains of one buffer, for as long as there are. */
static void collect_singles(struct vnet_txq *q, struct vnet_scratch *s, struct tx_burst *b)
{
	uint32_t hdr_len = atomic_load_explicit(&q->net->hdr_len, memory_order_relaxed);
	/* no more than the budget can be for: what is left over would be taken again */
	unsigned want = MIN(b->budget / (ETH_ZLEN + POLLER_COST_FRAME) + 1, (unsigned)NET_BURST);
	unsigned got = vq_pop_singles(q->vq, s->tx_singles, want, false);

	for (unsigned i = 0; i < got; i++) {
		struct net_frame *f = &s->frames[b->frames];

		if (unlikely(!goes_on(b))) {
			vq_unpop(q->vq, got - i, got - i);
			return;
		}
		if (likely(vnet_tx_single(q->net, hdr_len, &s->tx_singles[i], f)))
			add_frame(b, f);
		else
			add_malformed(b);
		b->singles++;
	}
}

/* Any chains. */
static void collect_chains(struct vnet_txq *q, struct vnet_scratch *s, struct tx_burst *b)
{
	bool flat_used = false;
	unsigned used = 0;

	while (goes_on(b) && used + VQ_BUFS_MAX <= ARRAY_SIZE(s->tx_bufs)) {
		struct vq_chain *chain = &s->tx_chains[b->chains];
		struct net_frame *f = &s->frames[b->frames];

		b->err = vq_pop(q->vq, chain, s->tx_bufs + used, VQ_BUFS_MAX);
		if (b->err <= 0)
			break;
		switch (vnet_tx_frame(q->net, s, chain, f, &flat_used)) {
		case VNET_TX_FRAME:
			add_frame(b, f);
			break;
		case VNET_TX_DROP:
			add_malformed(b);
			break;
		case VNET_TX_LATER:
			vq_unpop(q->vq, 1, chain->ndescs);
			return;
		}
		b->cost += COST_PIECE * ((unsigned)chain->n_out + chain->n_in);
		used += chain->n_out + chain->n_in;
		b->chains++;
	}
}

/* Takes up to a burst of chains and makes frames of them. */
static void collect(struct vnet_txq *q, struct vnet_scratch *s, struct tx_burst *b)
{
	collect_singles(q, s, b);
	if (goes_on(b))
		collect_chains(q, s, b);
}

static void give_back(struct vnet_txq *q, const struct vnet_scratch *s, const struct tx_burst *b)
{
	vq_push_singles(q->vq, s->tx_singles, b->singles, false);
	for (unsigned i = 0; i < b->chains; i++)
		vq_push(q->vq, &s->tx_chains[i], 0);
}

static void account(struct vnet_txq *q, const struct tx_burst *b)
{
	vnet_add(&q->packets, b->frames);
	vnet_add(&q->bytes, b->bytes);
	vnet_add(&q->csum_needed, b->csum_needed);
	vnet_add(&q->csum_none, b->frames - b->csum_needed);
	if (unlikely(b->malformed)) {
		vnet_add(&q->malformed, b->malformed);
		net_port_count_drop(q->net->port, NET_DROP_TX_MALFORMED, b->malformed);
	}
}

static void raise_irq(struct vnet_txq *q)
{
	vnet_add(&q->irqs, 1);
	virtio_device_queue_irq(q->net->vd, vnet_tx_index(q->pair));
}

/* The queue in step with guest memory, or false when it must not be touched now. */
static bool ready(struct vnet_txq *q)
{
	struct dma_space *dma;

	if (q->broken || q->pair >= atomic_load_explicit(&q->net->tx_pairs, memory_order_relaxed))
		return false;
	dma = pci_function_dma(q->net->fn);
	if (!dma)
		return false;
	if (likely(vq_begin(q->vq, dma_view_get(dma)) == 0))
		return true;
	q->broken = true;
	vnet_break(q->net, "transmit queue not accessible");
	return false;
}

static unsigned tx_poll(struct poller *p)
{
	struct vnet_txq *q = container_of(p, struct vnet_txq, poller);
	struct vnet_scratch *s = vnet_scratch();
	struct tx_burst b = {.budget = poller_budget(p)};
	bool shaped;

	if (unlikely(atomic_load_explicit(&q->coal.held, memory_order_relaxed)) &&
	    vnet_coal_due(&q->coal, false, 0))
		raise_irq(q);
	if (!ready(q))
		return 0;
	shaped = net_shaper_limited(&q->net->shape);
	if (unlikely(shaped) && !vnet_shape_may(q, &b.budget))
		return 0;
	collect(q, s, &b);
	if (b.chains + b.singles) {
		account(q, &b);
		if (unlikely(shaped)) {
			vnet_shape_sent(q, s->frames, b.frames);
			/* a guaranteed rate is for frames: this would use up none of it */
			if (b.malformed)
				poller_set_urgent(p, false);
		}
		if (q->net->flows &&
		    atomic_load_explicit(&q->net->tx_pairs, memory_order_relaxed) > 1) {
			for (unsigned i = 0; i < b.frames; i++)
				vnet_steer_learn(q->net, &s->frames[i], q->pair);
		}
		if (b.frames)
			net_port_input(q->net->port, s->frames, b.frames);
		give_back(q, s, &b);
		if (vnet_coal_due(&q->coal, vq_publish(q->vq), b.chains + b.singles))
			raise_irq(q);
	}
	if (unlikely(b.err < 0)) {
		q->broken = true;
		vnet_break(q->net, "transmit queue breaks the rules");
	}
	return b.cost;
}

static bool tx_arm(struct poller *p)
{
	struct vnet_txq *q = container_of(p, struct vnet_txq, poller);
	bool is_ready = ready(q);

	if (atomic_load_explicit(&q->coal.held, memory_order_relaxed))
		poller_set_timer(p, q->coal.due_ns);
	if (unlikely(net_shaper_waits(&q->shape)) && vnet_shape_holds(q, is_ready))
		return false;
	return is_ready && vq_arm(q->vq);
}

static void tx_disarm(struct poller *p)
{
	struct vnet_txq *q = container_of(p, struct vnet_txq, poller);

	if (ready(q))
		vq_disarm(q->vq);
}

const struct poller_ops vnet_tx_poller = {
	.poll = tx_poll,
	.arm = tx_arm,
	.disarm = tx_disarm,
};
