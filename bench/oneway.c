/* SPDX-License-Identifier: BSD-3-Clause */
/* Throughput: frames from one guest to another, as many as the worker moves. */
#include <errno.h>
#include <math.h>

#include "guests.h"
#include "util/clock.h"

#define TX_BURST  64
#define FAR_BYTES (128u << 20) /* for each side */
#define FAR_PIECE 65536

struct flood {
	uint64_t sent, got, looks, starved;
	uint64_t ticks;
};

/* ---- with the driver ---- */

/* Sends as fast as the receiver's ring has room, and receives, for a while. */
static int drive_for(const struct bench *bench, const struct bench_case *c, struct pair *p,
		     double seconds, struct flood *f)
{
	uint64_t start = bench_ticks(), length = bench_ticks_of(bench, seconds), now, had = f->got;
	uint32_t len = guest_hdr_len(p->a) + c->len;
	unsigned limit = bench_window(bench, c);
	int slot, n;

	/* f->sent - f->got goes on from where it was */
	do {
		for (unsigned turn = 0; turn < 16; turn++) {
			f->looks++;
			f->starved += !guest_tx_busy(p->a, 0);
			for (unsigned i = 0; i < TX_BURST && f->sent - f->got < limit; i++) {
				slot = guest_tx_slot(p->a, 0);
				if (slot < 0)
					break;
				guest_tx_post(p->a, 0, (unsigned)slot, len);
				f->sent++;
			}
			guest_tx_flush(p->a, 0);
			n = guest_recv_burst(p->b, 0, RX_BURST, NULL, NULL);
			if (n < 0)
				return n;
			f->got += (unsigned)n;
		}
		now = bench_ticks();
	} while (now - start < length ||
		 (f->got == had && now - start < bench_ticks_of(bench, STUCK_S)));
	f->ticks = now - start;
	return 0;
}

/* Lets what is under way arrive; the number of frames that did not. */
static uint64_t drain(struct pair *p, uint64_t frames)
{
	uint64_t end = clock_now_ns() + NS_PER_S;
	int n;

	while (frames && clock_now_ns() < end) {
		n = guest_recv_burst(p->b, 0, RX_BURST, NULL, NULL);
		frames -= n > 0 ? (unsigned)n : 0;
	}
	return frames;
}

/* ---- light ---- */

static void flow_for(const struct bench *bench, struct flow *fl, double seconds, struct flood *f)
{
	uint64_t start = bench_ticks(), length = bench_ticks_of(bench, seconds), now;
	/* Each buffer is seen by both sides before anything counts; then some frame, at least. */
	uint64_t least = fl->sent ? fl->buffers + fl->per_frame
				  : 2 * (fl->from->tx.buffers + fl->to->rx.buffers);

	do {
		for (unsigned turn = 0; turn < 16; turn++)
			flow_turn(fl, TX_BURST);
		now = bench_ticks();
	} while (now - start < length ||
		 (fl->buffers < least && now - start < bench_ticks_of(bench, STUCK_S)));
	*f = (struct flood){fl->sent, flow_got(fl), fl->looks, fl->starved, now - start};
}

/* ---- both ---- */

/* Fills in f what was measured behind the warm-up. thread_ns: of the worker meanwhile. */
static int measure_driver(struct bench *b, const struct bench_case *c, struct flood *warm,
			  struct flood *f, uint64_t *thread_ns, uint64_t *lost)
{
	struct pair p;
	int err = pair_open(b, c, false, &p);

	if (err)
		return err;
	pair_fill(b, c, p.a, p.b);
	err = drive_for(b, c, &p, b->seconds * WARM_UP, f);
	*warm = *f;
	*thread_ns = daemon_thread_ns(&b->daemon, b->thread);
	if (!err)
		err = drive_for(b, c, &p, b->seconds, f);
	*thread_ns = daemon_thread_ns(&b->daemon, b->thread) - *thread_ns;
	*lost = err ? 0 : drain(&p, f->sent - f->got);
	pair_close(&p);
	return err;
}

static int measure_light(struct bench *b, const struct bench_case *c, struct flood *warm,
			 struct flood *f, uint64_t *thread_ns, uint64_t *lost)
{
	struct light_pair p;
	struct flow fl;
	int err = light_pair_open(b, c, &p);

	if (err)
		return err;
	flow_begin(&fl, &p.a, &p.b, bench_window(b, c));
	flow_for(b, &fl, b->seconds * WARM_UP, warm);
	*thread_ns = daemon_thread_ns(&b->daemon, b->thread);
	flow_for(b, &fl, b->seconds, f);
	*thread_ns = daemon_thread_ns(&b->daemon, b->thread) - *thread_ns;
	*lost = flow_drain(&fl);
	if (light_strange(&p.a) || light_strange(&p.b))
		err = -EPROTO;
	light_pair_close(&p);
	return err;
}

struct copies {
	struct copy_rate near, far; /* laid out as the frames are; through 256 MiB */
};

static int copy_rates(const struct bench *b, const struct bench_case *c, struct copies *copies)
{
	const size_t far = FAR_BYTES / FAR_PIECE;
	int err = 0;

	*copies = (struct copies){{NAN, NAN}, {NAN, NAN}};
	if (!c->far)
		err = bench_memcpy(b, c->len, bench_window(b, c), c->tx_buf, bench_ring(b, c),
				   c->rx_buf, &copies->near);
	if (!err && c->gso)
		err = bench_memcpy(b, c->len, far, FAR_PIECE, far, FAR_PIECE, &copies->far);
	return err;
}

/* cpu_gbps: of the time that the worker was on a core. */
static void compare(struct result *r, const struct copies *copies, double gbps, double cpu_gbps)
{
	unsigned run = r->runs;

	r->value[M_MEMCPY][run] = copies->near.gbps;
	r->value[M_RATIO][run] = gbps / copies->near.gbps;
	r->value[M_CPU_RATIO][run] = cpu_gbps / copies->near.cpu_gbps;
	r->value[M_FAR_MEMCPY][run] = copies->far.gbps;
	r->value[M_FAR_RATIO][run] = gbps / copies->far.gbps;
	r->value[M_FAR_CPU_RATIO][run] = cpu_gbps / copies->far.cpu_gbps;
}

int bench_run_one_way(struct bench *b, const struct bench_case *c, struct result *r)
{
	uint64_t thread_ns, lost = 0;
	struct flood f = {0}, warm = {0};
	unsigned run = r->runs;
	struct copies copies;
	double ns, bits;
	int err;

	err = copy_rates(b, c, &copies);
	if (!err)
		err = c->driver ? measure_driver(b, c, &warm, &f, &thread_ns, &lost)
				: measure_light(b, c, &warm, &f, &thread_ns, &lost);
	if (err)
		return err;
	f.got -= warm.got;
	f.looks -= warm.looks;
	f.starved -= warm.starved;
	if (!f.got)
		return -EIO;
	ns = (double)f.ticks / b->ticks_per_ns;
	bits = (double)f.got * c->len * 8;
	r->value[M_MPPS][run] = (double)f.got * 1e3 / ns;
	r->value[M_GBPS][run] = bits / ns;
	r->value[M_CYCLES][run] = (double)f.ticks / (double)f.got;
	r->value[M_WORKER][run] = (double)thread_ns * b->ticks_per_ns / (double)f.got;
	compare(r, &copies, bits / ns, bits / (double)thread_ns);
	r->value[M_STARVED][run] = 100.0 * (double)f.starved / (double)f.looks;
	r->value[M_LOST][run] = (double)lost;
	return 0;
}
