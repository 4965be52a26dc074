/* SPDX-License-Identifier: BSD-3-Clause */
/* How well a VF keeps to its max-tx-rate, and what limits cost those that have none. */
#include <errno.h>

#include "disturb.h"
#include "frame.h"
#include "guests.h"

#define RING	    256
#define TSO_BUFS    64
#define SLICE_S	    0.002 /* what others spoil is thrown away by such pieces, */
#define SLICE_COUNT 10	  /* or longer ones, to have so many frames */
#define DELAY_SHARE 0.02  /* of a slice that they may take */
#define LONGEST_S   3.0
#define SETTLE_S    0.2 /* what may be sent at once has been by then */

static int configure(const struct bench *b, const struct bench_case *c, char *config, size_t len)
{
	char vfs[80] = "";

	if (c->limit == LIMIT_SET)
		snprintf(vfs, sizeof(vfs), ", vfs: {0: {max-tx-rate: %u}}", c->mbps);
	else if (c->limit == LIMIT_OTHER)
		snprintf(vfs, sizeof(vfs), ", vfs: {2: {max-tx-rate: 1000}}");
	snprintf(config, len,
		 "workers: 1\n"
		 "devices:\n"
		 "  nic0: {type: ethernet, total-vfs: 3, num-vfs: 3, mtu: 9000%s}\n",
		 vfs);
	return !vfs[0] || bench_takes(b, config);
}

/* Bytes of a frame as limits count them: one that is to be cut as what comes of it. */
static uint32_t counted(const struct bench_case *c)
{
	uint32_t segments = (c->len - FRAME_HEADERS + FRAME_MSS - 1) / FRAME_MSS;

	return c->gso ? c->len + (segments - 1) * FRAME_HEADERS : c->len;
}

struct sum {
	uint64_t frames, ticks, slices, spoilt;
};

/* Turns until a frame arrives at or after a time; the frames that came, and when. 0: none came
 * for long. */
static uint64_t until(const struct bench *b, struct flow *f, uint64_t at, uint64_t *now)
{
	uint64_t frames = 0, stuck = bench_ticks() + bench_ticks_of(b, STUCK_S);
	uint32_t n;

	do {
		n = flow_turn(f, RING);
		frames += n;
		*now = bench_ticks();
	} while (*now < at || (!n && *now < stuck));
	return frames;
}

/* From arrival to arrival, so that the time is that of the frames counted. Behind a slice that
 * others spoilt comes one in which the sender may make up for it: it does not count either. */
static void watch(const struct bench *b, struct flow *f, struct disturb *others, double slice_s,
		  double seconds, struct sum *sum)
{
	uint64_t begin, end, now, slice = bench_ticks_of(b, slice_s), frames, before;
	double limit = slice_s * 1e9 * DELAY_SHARE;
	bool bad = true;

	*sum = (struct sum){0};
	until(b, f, 0, &begin);
	end = begin + bench_ticks_of(b, LONGEST_S);
	disturb_mark(others);
	do {
		before = others->delay_ns;
		frames = until(b, f, begin + slice, &now);
		disturb_mark(others);
		sum->slices++;
		if ((double)(others->delay_ns - before) > limit) {
			sum->spoilt++;
			bad = true;
		} else if (bad) {
			bad = false;
		} else {
			sum->frames += frames;
			sum->ticks += now - begin;
		}
		begin = now;
	} while (sum->ticks < bench_ticks_of(b, seconds) && begin < end);
}

static int measure(const struct bench *b, const struct daemon_run *d, const struct bench_case *c,
		   struct light_pair *p, struct result *r)
{
	double slice = SLICE_S, bits = counted(c) * 8.0;
	uint64_t cpu, got, at = bench_ticks() + bench_ticks_of(b, SETTLE_S);
	unsigned run = r->runs;
	struct disturb others;
	struct sum sum;
	struct flow f;

	light_frame(&p->a, &p->b, c->len, c->gso);
	flow_begin(&f, &p->a, &p->b, 0);
	if (!until(b, &f, at, &at))
		return -EIO;
	if (c->limit == LIMIT_SET && SLICE_COUNT * bits / (c->mbps * 1e6) > slice)
		slice = SLICE_COUNT * bits / (c->mbps * 1e6);
	disturb_open(&others, d);
	got = flow_got(&f);
	cpu = daemon_thread_ns(d, "worker/0");
	watch(b, &f, &others, slice, b->seconds, &sum);
	cpu = daemon_thread_ns(d, "worker/0") - cpu;
	got = flow_got(&f) - got;
	disturb_close(&others);
	if (light_strange(&p->a) || light_strange(&p->b))
		return -EPROTO;
	r->value[M_CPU][run] = (double)cpu / (double)got;
	r->value[M_BY_CPU][run] = (double)got * bits * 1e3 / (double)cpu;
	r->value[M_SPOILT][run] = 100.0 * (double)sum.spoilt / (double)sum.slices;
	if (c->limit == LIMIT_SET)
		r->value[M_SET][run] = c->mbps;
	if (!sum.ticks)
		return 0; /* others, all the time */
	r->value[M_GOT][run] =
		(double)sum.frames * bits * 1e3 * b->ticks_per_ns / (double)sum.ticks;
	if (c->limit == LIMIT_SET)
		r->value[M_ACCURACY][run] = 100 * r->value[M_GOT][run] / c->mbps;
	return 0;
}

static int run_once(const struct bench *b, const struct bench_case *c, const char *config,
		    struct result *r)
{
	struct light_pair p = {0};
	struct daemon_run d;
	int err = bench_start(b, &d, config, false);

	if (err)
		return err;
	err = light_vf_open(&d, 0, c, RING, c->gso ? TSO_BUFS : RING, true, &p.a);
	if (!err)
		err = light_vf_open(&d, 1, c, RING, c->gso ? TSO_BUFS : RING, true, &p.b);
	if (!err)
		err = measure(b, &d, c, &p, r);
	light_close(&p.a);
	light_close(&p.b);
	return bench_stop(&d, err);
}

/* What the worker could do at most on a core of its own, for comparison; once for each size. */
static int unlimited(const struct bench *b, const struct bench_case *c, double *mbps)
{
	static struct {
		uint32_t len;
		double mbps;
	} known[8];
	struct bench_case none = *c;
	struct result r = {.what = &none};
	char config[256];
	unsigned i;
	int err;

	for (i = 0; i < 7 && known[i].len && known[i].len != c->len; i++)
		;
	if (known[i].len != c->len) {
		none.limit = LIMIT_NONE;
		configure(b, &none, config, sizeof(config));
		err = run_once(b, &none, config, &r);
		if (err)
			return err;
		known[i].len = c->len;
		known[i].mbps = r.value[M_BY_CPU][0];
	}
	*mbps = known[i].mbps;
	return 0;
}

int bench_run_rate(struct bench *b, const struct bench_case *c, struct result *r)
{
	char config[256];
	int err;

	if (!configure(b, c, config, sizeof(config))) {
		r->skipped = "this softiovd does not know `max-tx-rate`";
		return 0;
	}
	err = run_once(b, c, config, r);
	if (!err && c->limit == LIMIT_SET)
		err = unlimited(b, c, &r->value[M_UNLIMITED][r->runs]);
	return err;
}
