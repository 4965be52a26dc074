/* SPDX-License-Identifier: BSD-3-Clause */
/* The turn of a group. */
#include "nvme/group_private.h"
#include "util/barrier.h"

#include <string.h>

/* ---- pointers to the rings ---- */

static bool sq_translate(struct nvme_group *g, struct nvme_sq *sq)
{
	uint64_t len = (uint64_t)sq->size << NVME_SQE_SHIFT;

	sq->ring = dma_translate(g->mem.view, sq->base, len, DMA_PROT_READ, NULL);
	return sq->ring || nvme_mem_ok(&g->mem, sq->base, len, DMA_PROT_READ);
}

static bool cq_translate(struct nvme_group *g)
{
	uint64_t len = (uint64_t)g->cq.size << NVME_CQE_SHIFT;

	g->cq.ring = dma_translate(g->mem.view, g->cq.base, len, DMA_PROT_WRITE, NULL);
	return g->cq.ring || nvme_mem_ok(&g->mem, g->cq.base, len, DMA_PROT_WRITE);
}

static bool dbbuf_translate(struct nvme_group *g)
{
	if (!g->dbbuf)
		return true;
	g->shadow = dma_translate(g->mem.view, g->shadow_addr, PAGE_SIZE_4K, DMA_PROT_READ, NULL);
	g->eventidx =
		dma_translate(g->mem.view, g->eventidx_addr, PAGE_SIZE_4K, DMA_PROT_WRITE, NULL);
	return g->shadow && g->eventidx;
}

/* A ring that does not lie in one piece is reached by its address. */
static bool translate(struct nvme_group *g)
{
	bool ok = cq_translate(g) && dbbuf_translate(g);

	for (struct nvme_sq *sq = g->sqs; sq && ok; sq = sq->next)
		ok = sq_translate(g, sq);
	if (unlikely(g->ctrl->register_memory))
		nvme_fixed_refresh(g);
	g->generation = g->mem.view->generation;
	return ok;
}

static __attribute__((cold)) bool lost(struct nvme_group *g)
{
	g->failed = true;
	g->able = false;
	nvme_ctrl_fail(g->ctrl, "queue memory is gone");
	return false;
}

bool nvme_group_begin(struct nvme_group *g)
{
	struct dma_space *dma = pci_function_dma(g->ctrl->fn);

	g->now_ns = 0;
	g->credit = NVME_TURN_CREDIT;
	g->turn_over = false;
	g->cost = 0;
	g->table = NULL;
	g->able = false;
	g->mem.view = NULL;
	g->mem.space = NULL;
	if (unlikely(!dma || g->failed ||
		     atomic_load_explicit(&g->ctrl->failed, memory_order_relaxed)))
		return false;
	g->mem.space = dma;
	g->able = true;
	if (unlikely(g->remote))
		return true;
	g->table = atomic_load_explicit(&g->ctrl->ns_table, memory_order_acquire);
	g->mem.view = dma_view_get(dma);
	if (unlikely(g->mem.view->generation != g->generation) && !translate(g))
		return lost(g);
	return true;
}

void nvme_group_idle(struct nvme_group *g)
{
	if (g->busy)
		nvme_busy_end(&g->ctrl->busy, clock_now_ns());
	g->busy = false;
}

/* Of a turn that has copied a lot. A worker of one's own has nobody else to think of. */
bool nvme_turn_over_slow(struct nvme_group *g)
{
	if (g->turn_over)
		return true;
	g->credit = NVME_TURN_CREDIT;
	g->turn_over = !g->remote && clock_now_ns() - nvme_group_now(g) > NVME_TURN_NS;
	if (g->turn_over)
		g->credit = 0;
	return g->turn_over;
}

/* ---- fetching ---- */

/* How many commands may be taken now. */
static unsigned budget(const struct nvme_group *g)
{
	unsigned room = nvme_cq_room(&g->cq);

	if (unlikely(g->lists[IO_STAGED].head || g->at_control >= NVME_CONTROL_MAX ||
		     g->outstanding >= NVME_INFLIGHT_MAX || g->outstanding >= room))
		return 0;
	return MIN(room, (unsigned)NVME_INFLIGHT_MAX) - g->outstanding;
}

/* The entry is copied once; nothing looks at the ring again. */
static inline bool read_entry(struct nvme_group *g, struct nvme_sq *sq, struct nvme_io *io)
{
	uint16_t st;

	if (likely(sq->ring)) {
		memcpy(&io->sqe, &sq->ring[sq->head], sizeof(io->sqe));
		return true;
	}
	st = nvme_mem_read(&g->mem, sq->base + ((uint64_t)sq->head << NVME_SQE_SHIFT), &io->sqe,
			   sizeof(io->sqe));
	if (st && st != NVME_ST_RETRY)
		lost(g);
	return !st;
}

static bool fetch_one(struct nvme_group *g, struct nvme_sq *sq)
{
	struct nvme_io *io = nvme_io_get(g);

	if (unlikely(!io))
		return false;
	if (unlikely(!read_entry(g, sq, io))) {
		nvme_io_put(g, io);
		return false;
	}
	io->sq = sq;
	io->start_ns = nvme_group_now(g);
	io->reserves = true;
	sq->head = sq->head + 1u == sq->size ? 0 : (uint16_t)(sq->head + 1);
	sq->outstanding++;
	g->outstanding++;
	nvme_io_begin(g, io);
	return true;
}

static unsigned fetch(struct nvme_group *g, struct nvme_sq *sq)
{
	unsigned n = 0, avail, most = poller_budget(&g->poller);

	if (unlikely(sq->deleting))
		return 0;
	avail = nvme_ring_distance(sq->head, nvme_doorbell_read(g, &sq->tail), sq->size);
	avail = MIN(avail, (unsigned)NVME_BURST);
	/* budget() anew each time: completing in between gives and takes */
	while (n < avail && g->cost < most && !nvme_turn_over(g) && budget(g) && fetch_one(g, sq))
		n++;
	if (unlikely(sq->fused_first))
		nvme_fused_ring_empty(g, sq);
	if (n)
		nvme_count(&g->n_commands, n);
	return n;
}

static __attribute__((noinline)) void become_busy(struct nvme_group *g)
{
	if (!g->cq.qid)
		return;
	g->busy = true;
	nvme_busy_begin(&g->ctrl->busy, nvme_group_now(g));
}

static unsigned fetch_all(struct nvme_group *g)
{
	struct nvme_sq *sq = g->sqs, *last;
	unsigned n = 0;

	for (; sq; sq = sq->next)
		n += fetch(g, sq);
	if (unlikely(n && !g->busy))
		become_busy(g);
	/* The next one is first next time. */
	if (unlikely(g->sqs && g->sqs->next)) {
		sq = g->sqs;
		g->sqs = sq->next;
		sq->next = NULL;
		for (last = g->sqs; last->next; last = last->next)
			;
		last->next = sq;
	}
	return n;
}

/* ---- what waits ---- */

static unsigned run_done(struct nvme_group *g)
{
	struct nvme_io *io;
	unsigned n = 0;

	while ((io = g->lists[IO_DONE].head) && n < 2 * NVME_BURST && !nvme_turn_over(g)) {
		nvme_list_del(g, io);
		nvme_io_continue(g, io);
		n++;
	}
	return n;
}

/* Those that were there when this began; the others next time, as who comes back goes to the end.
 */
static unsigned run_list(struct nvme_group *g, enum nvme_io_where w)
{
	struct nvme_io *io = g->lists[w].head, *last = g->lists[w].tail;
	unsigned n = 0;
	bool end = !io;

	while (!end && !nvme_turn_over(g)) {
		io = g->lists[w].head;
		end = io == last;
		nvme_list_del(g, io);
		if (w == IO_YIELD)
			nvme_io_continue(g, io);
		else
			nvme_io_start(g, io);
		n++;
	}
	return n;
}

static unsigned run_limited(struct nvme_group *g)
{
	struct nvme_io *io, *next;
	uint64_t now = nvme_group_now(g);
	unsigned n = 0;

	/* those whose limits were changed go to the back, or begin */
	for (io = g->lists[IO_LIMITED].head; io && !nvme_turn_over(g); io = next) {
		next = io->next;
		if (!nvme_io_limits_changed(g, io))
			continue;
		nvme_list_del(g, io);
		nvme_io_start(g, io);
		n++;
	}
	while ((io = g->lists[IO_LIMITED].head) && n < 2 * NVME_BURST && !nvme_turn_over(g)) {
		if (MAX(io->due_ctrl_ns, io->due_ns_ns) > now)
			break;
		nvme_list_del(g, io);
		io->admitted = true;
		nvme_io_start(g, io);
		n++;
	}
	return n;
}

/* A gate may stay closed for long, with a thousand commands before it: they are tried less and less
 * often. */
static void run_retries(struct nvme_group *g)
{
	uint64_t now = nvme_group_now(g);

	if (now < g->retry_at_ns)
		return;
	run_list(g, IO_RETRY);
	if (g->lists[IO_RETRY].head) {
		g->retry_at_ns =
			now + (g->retries < NVME_RETRY_FAST ? NVME_RETRY_NS : NVME_RETRY_SLOW_NS);
		g->retries++;
	} else {
		g->retry_at_ns = g->retries = 0;
	}
}

static unsigned run_waiting(struct nvme_group *g)
{
	unsigned n = 0;

	if (g->lists[IO_LIMITED].head)
		n += run_limited(g);
	if (g->lists[IO_RETRY].head)
		run_retries(g); /* no work: else a closed gate would be polled */
	if (g->lists[IO_YIELD].head)
		n += run_list(g, IO_YIELD);
	if (g->fused)
		nvme_fused_poll(g);
	return n;
}

static void earlier(uint64_t *at, uint64_t due)
{
	if (due && (!*at || due < *at))
		*at = due;
}

/* The one timer of the poller, for whatever comes first. */
static __attribute__((noinline)) void set_timer(struct nvme_group *g)
{
	struct nvme_io *io = g->lists[IO_LIMITED].head;
	uint64_t at = 0, now = clock_now_ns();
	struct nvme_sq *sq;

	if (io)
		at = MIN(MAX(io->due_ctrl_ns, io->due_ns_ns), now + NVME_LIMIT_LOOK_NS);
	if (g->lists[IO_RETRY].head)
		earlier(&at, MAX(g->retry_at_ns, now + NVME_RETRY_NS / 2));
	/* who waits for room is told by a doorbell */
	if (g->writeback || g->fused || (g->lists[IO_STAGED].head && nvme_cq_room(&g->cq)))
		earlier(&at, now + NVME_RETRY_NS);
	earlier(&at, g->cq.irq_due_ns);
	for (struct nvme_group_op *op = g->aborts; op; op = op->next)
		earlier(&at, op->deadline_ns);
	/* A host whose idea of the old value differs may not ring (dbbuf.c). */
	for (sq = g->dbbuf ? g->sqs : NULL; sq; sq = sq->next) {
		if (!sq->tail.synced && sq->qid)
			earlier(&at, now + NS_PER_MS);
	}
	poller_set_timer(&g->poller, at);
	g->clocked = at != 0;
}

static bool wants_timer(const struct nvme_group *g)
{
	return g->clocked || g->lists[IO_LIMITED].head || g->lists[IO_RETRY].head ||
	       g->lists[IO_STAGED].head || g->writeback || g->aborts || g->cq.irq_due_ns ||
	       g->fused;
}

/* ---- the turn ---- */

/*
 * Awake again, perhaps by a backend: before the host sees completions and goes on, so that it need
 * not ring for what is looked at anyway.
 */
static __attribute__((noinline)) void wake_up(struct nvme_group *g)
{
	g->woken = false;
	if (!g->dbbuf)
		return;
	for (struct nvme_sq *sq = g->sqs; sq; sq = sq->next) {
		if (sq->qid && sq->tail.synced)
			nvme_dbbuf_hush(g, &sq->tail);
	}
	if (g->cq.qid && g->cq.ack.synced)
		nvme_dbbuf_hush(g, &g->cq.ack);
}

static void end_turn(struct nvme_group *g)
{
	nvme_samples_flush(g);
	if (g->posted) {
		nvme_irq_posted(g, g->posted);
		g->posted = 0;
	}
	if (unlikely(g->aborts))
		nvme_aborts_expire(g, nvme_group_now(g));
	if (unlikely(g->cq.irq_due_ns))
		nvme_irq_timer(g, nvme_group_now(g));
	if (unlikely(g->mem.met_remote)) {
		g->mem.met_remote = false;
		atomic_store(&g->q->met_remote, true);
	}
}

/* Without memory only what is the group's own goes on: a flush for shutdown. */
static unsigned run_own(struct nvme_group *g)
{
	static const enum nvme_io_where lists[] = {IO_DONE, IO_YIELD, IO_RETRY};
	struct nvme_io *io, *next;
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		for (io = g->lists[lists[i]].head; io; io = next) {
			next = io->next;
			if (io->sq)
				continue;
			nvme_list_del(g, io);
			if (lists[i] != IO_RETRY)
				nvme_io_continue(g, io);
			else
				nvme_io_start(g, io);
			n += lists[i] != IO_RETRY;
		}
	}
	return n;
}

/* All else goes on when memory is there again, which kicks; its times may be long past. */
static void set_own_timer(struct nvme_group *g)
{
	struct nvme_io *io = g->lists[IO_RETRY].head;

	while (io && io->sq)
		io = io->next;
	if (io || g->clocked)
		poller_set_timer(&g->poller, io ? clock_now_ns() + NVME_RETRY_NS : 0);
	g->clocked = io != NULL;
}

static unsigned group_poll(struct poller *p)
{
	struct nvme_group *g = container_of(p, struct nvme_group, poller);
	unsigned n = 0;
	bool able;

	if (unlikely(atomic_load_explicit(&g->stopping, memory_order_acquire))) {
		if (!g->dead)
			nvme_group_kill(g);
		return 0;
	}
	able = nvme_group_begin(g);
	g->turn++;
	if (unlikely(g->woken) && able)
		wake_up(g);
	if (unlikely(atomic_load_explicit(&g->ops, memory_order_relaxed)) && nvme_group_run_ops(g))
		n++;
	if (unlikely(!able)) {
		n += run_own(g);
		set_own_timer(g);
		return n;
	}
	nvme_cq_acknowledge(g);
	if (unlikely(g->lists[IO_STAGED].head))
		nvme_post_staged(g);
	if (g->lists[IO_DONE].head)
		n += run_done(g);
	if (unlikely(atomic_load_explicit(&g->returned, memory_order_relaxed) || g->writeback))
		n += nvme_transport_poll(g);
	if (unlikely(g->lists[IO_LIMITED].head || g->lists[IO_RETRY].head ||
		     g->lists[IO_YIELD].head || g->fused))
		n += run_waiting(g);
	n += fetch_all(g);
	end_turn(g);
	if (unlikely(wants_timer(g)))
		set_timer(g);
	n += g->cost;
	if (!n && atomic_load_explicit(&g->at_backend, memory_order_relaxed))
		n = block_channel_watches(g->channel);
	return unlikely(g->turn_over) ? n + 1 : n;
}

/* Whether something could be fetched, or posted, if the host's last word is looked at. */
static bool has_work(struct nvme_group *g)
{
	struct nvme_sq *sq;

	nvme_cq_acknowledge(g);
	if (g->lists[IO_STAGED].head)
		return nvme_cq_room(&g->cq) && g->cq.ring;
	if (!budget(g))
		return false;
	for (sq = g->sqs; sq; sq = sq->next) {
		if (!sq->deleting && sq->head != nvme_doorbell_read(g, &sq->tail))
			return true;
	}
	return false;
}

static bool group_arm(struct poller *p)
{
	struct nvme_group *g = container_of(p, struct nvme_group, poller);
	struct nvme_sq *sq;

	g->woken = false; /* the poll() after this must not hush the host again */
	/* Only after a quiet spell: a queue of depth one does not come and go all the time. */
	if (g->busy && !g->outstanding && !atomic_load(&g->stopping))
		nvme_group_idle(g);
	if (atomic_load(&g->stopping) || !nvme_group_begin(g))
		return false;
	if (!g->dbbuf)
		return has_work(g);
	for (sq = g->sqs; sq; sq = sq->next) {
		if (sq->qid)
			nvme_dbbuf_publish(g, &sq->tail, sq->tail.value);
	}
	/* Who waits for room is told when the host takes something (5.7; head doorbells have
	 * shadows too). */
	if (g->cq.qid && (g->lists[IO_STAGED].head || nvme_cq_room(&g->cq) <= g->outstanding))
		nvme_dbbuf_publish(g, &g->cq.ack, g->cq.ack.value);
	full_barrier();
	set_timer(g);
	return has_work(g);
}

static void group_disarm(struct poller *p)
{
	container_of(p, struct nvme_group, poller)->woken = true;
}

const struct poller_ops nvme_group_poller_ops = {
	.poll = group_poll, .arm = group_arm, .disarm = group_disarm};
