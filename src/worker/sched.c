/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose turn it is: deficit round robin between the shares of a worker, and before it those who
 * want little.
 *
 * All active pollers of a share on a worker are one flow. In a round each flow may cost a quantum.
 * Who has not used up the least one is sparse; sparse flows are looked at between any two turns of
 * the others, so that a function that sends now and then waits for one turn, not for those of all
 * who send all the time. Who has used up his is backlogged, and waits for his turn in the next
 * round. A round ends when each backlogged flow has had its turn; it is counted, so that nobody
 * gets a second quantum in it by pausing. What an item cost beyond the credit is a debt for later
 * rounds. So whatever the sizes of items, the number of queues and the pauses: in the long run
 * nobody gets more than anybody else who wants as much, by cost.
 *
 * Urgent flows, behind a guaranteed minimum, go before backlogged ones, but for one turn in
 * URGENT_RUN + 1.
 */
#include "worker/worker_internal.h"

/* The more wait, the shorter the turns: about 2 us with many, a burst of full frames with few. */
#define QUANTUM_MIN (16 << 10)
#define QUANTUM_MAX (64 << 10)
#define QUANTA	    (256 << 10)
#define URGENT_RUN  7
#define POLLS_MAX   16 /* of a turn: much of little cost is no backlog */
#define ROUNDS_PAID 64 /* so many rounds away pay any debt */

static int64_t quantum(const struct worker *w)
{
	uint32_t n = w->flows[FLOW_BACKLOG].n + w->flows[FLOW_URGENT].n;

	if (n <= QUANTA / QUANTUM_MAX)
		return QUANTUM_MAX;
	return n >= QUANTA / QUANTUM_MIN ? QUANTUM_MIN : QUANTA / n;
}

/* ---- the lists ---- */

static void queue_append(struct worker *w, struct poller_flow *f, enum flow_list list)
{
	struct flow_queue *q = &w->flows[list];

	f->list = list;
	f->next = NULL;
	f->prev = q->tail;
	if (q->tail)
		q->tail->next = f;
	else
		q->head = f;
	q->tail = f;
	q->n++;
}

static void queue_del(struct worker *w, struct poller_flow *f)
{
	struct flow_queue *q = &w->flows[f->list];

	if (f->prev)
		f->prev->next = f->next;
	else
		q->head = f->next;
	if (f->next)
		f->next->prev = f->prev;
	else
		q->tail = f->prev;
	q->n--;
	f->list = FLOW_NONE;
}

static void move_to(struct worker *w, struct poller_flow *f, enum flow_list list)
{
	if (f->list == list && !f->next)
		return;
	queue_del(w, f);
	queue_append(w, f, list);
}

void flow_activate(struct worker *w, struct poller *p)
{
	struct poller_flow *f = p->flow;

	if (f->turn) { /* before whoever is next: the last of the ring */
		p->ring_next = f->turn;
		p->ring_prev = f->turn->ring_prev;
		p->ring_prev->ring_next = p->ring_next->ring_prev = p;
	} else {
		f->turn = p->ring_prev = p->ring_next = p;
		queue_append(w, f, FLOW_SPARSE);
	}
	f->n_active++;
}

void flow_deactivate(struct worker *w, struct poller *p)
{
	struct poller_flow *f = p->flow;

	f->n_urgent -= p->urgent;
	p->urgent = false;
	if (!--f->n_active) {
		f->turn = NULL;
		queue_del(w, f);
		return;
	}
	p->ring_prev->ring_next = p->ring_next;
	p->ring_next->ring_prev = p->ring_prev;
	if (f->turn == p)
		f->turn = p->ring_next;
}

/* ---- the members of a share ---- */

static struct poller *mate(const struct worker *w, const struct poller *p)
{
	struct poller *m = p->share ? p->share->members : NULL;

	while (m && (m == p || m->worker != w))
		m = m->member_next;
	return m;
}

void flow_attach(struct worker *w, struct poller *p)
{
	struct poller *m = mate(w, p);

	p->own_flow = (struct poller_flow){.round = w->round};
	p->flow = m ? m->flow : &p->own_flow;
	if (p->share) {
		p->member_next = p->share->members;
		p->share->members = p;
	}
}

/* The flow of p becomes that of the member heir, at the same place. */
static void inherit(struct worker *w, struct poller *p, struct poller *heir)
{
	struct poller_flow *old = &p->own_flow, *f = &heir->own_flow;
	struct flow_queue *q = &w->flows[old->list];
	struct poller *m;

	*f = *old;
	if (f->list != FLOW_NONE) {
		if (f->prev)
			f->prev->next = f;
		else
			q->head = f;
		if (f->next)
			f->next->prev = f;
		else
			q->tail = f;
	}
	for (m = p->share->members; m; m = m->member_next) {
		if (m->flow == old)
			m->flow = f;
	}
}

void flow_detach(struct worker *w, struct poller *p)
{
	struct poller *heir = mate(w, p), **at;

	if (heir && p->flow == &p->own_flow)
		inherit(w, p, heir);
	p->flow = NULL;
	if (!p->share)
		return;
	for (at = &p->share->members; *at != p; at = &(*at)->member_next)
		;
	*at = p->member_next;
	p->member_next = NULL;
}

/* ---- turns ---- */

void poller_set_urgent(struct poller *p, bool urgent)
{
	if (p->urgent == urgent)
		return;
	p->urgent = urgent;
	p->flow->n_urgent += urgent ? 1 : -1;
}

static enum flow_list waiting_list(const struct poller_flow *f)
{
	return f->n_urgent ? FLOW_URGENT : FLOW_BACKLOG;
}

/* One poll() of the member whose turn it is. While that may be offline, other members may leave,
 * and the flow with one of them: the one to go on with is told by the poller. */
static unsigned poll_next(struct worker *w, struct poller_flow **flow)
{
	struct poller_flow *f = *flow;
	struct poller *p = f->turn;
	unsigned n;

	f->turn = p->ring_next;
	n = worker_serve(w, p, (uint32_t)MIN(f->credit, (int64_t)POLLER_BUDGET_MAX));
	*flow = f = p->flow;
	f->credit -= n;
	return n;
}

/* A sparse flow: the quanta of the rounds since it was last here; at most one can be saved. */
static void refill(const struct worker *w, struct poller_flow *f)
{
	const int64_t q = QUANTUM_MIN;
	uint64_t rounds = w->round - f->round;

	if (!rounds)
		return;
	f->round = w->round;
	f->credit = rounds >= ROUNDS_PAID ? q : MIN(f->credit + q * (int64_t)rounds, q);
}

static void sparse_turn(struct worker *w, struct poller_flow *f)
{
	uint32_t i;

	refill(w, f);
	for (i = f->n_active; i && f->n_active && f->credit > 0; i--)
		poll_next(w, &f);
	if (f->list == FLOW_SPARSE)
		move_to(w, f, f->credit > 0 ? FLOW_SPARSE : waiting_list(f));
}

static void waiting_turn(struct worker *w, struct poller_flow *f)
{
	int64_t q = quantum(w);
	unsigned polls = 0, empty = 0;

	f->round = w->round;
	f->credit = MIN(f->credit + q, q);
	while (f->credit > 0 && empty < f->n_active && polls++ < POLLS_MAX)
		empty = poll_next(w, &f) ? 0 : empty + 1;
	if (f->list != FLOW_NONE)
		move_to(w, f, f->credit > 0 ? FLOW_SPARSE : waiting_list(f));
}

static struct poller_flow *next_waiting(struct worker *w)
{
	struct poller_flow *urgent = w->flows[FLOW_URGENT].head, *f = w->flows[FLOW_BACKLOG].head;

	if (!f) /* nobody waits for the end of the round */
		w->round++;
	if (urgent && (!f || w->urgent_run < URGENT_RUN)) {
		w->urgent_run++;
		return urgent;
	}
	w->urgent_run = 0;
	if (f && f->round == w->round) /* all have had their turn */
		w->round++;
	return f;
}

/* The sparse ones, then one of those who wait. */
void flow_turn(struct worker *w)
{
	struct poller *p = w->active.head;
	struct poller_flow *f;
	uint32_t n;

	if (p && !p->next) { /* nobody to be fair to */
		worker_serve(w, p, POLLER_BUDGET_MAX);
		return;
	}
	for (n = w->flows[FLOW_SPARSE].n; n && (f = w->flows[FLOW_SPARSE].head); n--)
		sparse_turn(w, f);
	f = next_waiting(w);
	if (f)
		waiting_turn(w, f);
}
