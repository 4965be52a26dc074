/* SPDX-License-Identifier: BSD-3-Clause */
/* How well a VF keeps to its max-tx-rate, and what limits cost those that have none. */
#include <errno.h>

#include "guests.h"

#define RING	  256
#define TSO_BUFS  64
#define FEWEST	  60 /* frames to count: large ones are slow to come at low rates */
#define LONGEST_S 4.0
#define SETTLE_S  0.2 /* what may be sent at once has been by then */

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

struct window {
	uint64_t frames, first, last; /* ticks at which frames were seen to arrive */
};

/* Counts from one arrival to another, so that the time is that of the frames counted. */
static int watch(const struct bench *b, struct flow *f, double seconds, uint64_t fewest,
		 struct window *w)
{
	uint64_t now = bench_ticks(), end = now + bench_ticks_of(b, seconds),
		 longest = now + bench_ticks_of(b, LONGEST_S);
	uint32_t n;

	*w = (struct window){0};
	do {
		n = flow_turn(f, RING);
		now = bench_ticks();
		if (!n)
			continue;
		if (!w->first)
			w->first = now;
		else
			w->frames += n;
		w->last = now;
	} while (now < end || (w->frames < fewest && now < longest));
	return w->frames && w->last > w->first ? 0 : -EIO;
}

static int measure(const struct bench *b, const struct daemon_run *d, const struct bench_case *c,
		   struct light_pair *p, struct result *r)
{
	unsigned run = r->runs;
	struct window w;
	struct flow f;
	uint64_t cpu;
	double mbps;
	int err;

	light_frame(&p->a, &p->b, c->len, c->gso);
	flow_begin(&f, &p->a, &p->b, 0);
	watch(b, &f, SETTLE_S, 2, &w);
	cpu = daemon_thread_ns(d, "worker/0");
	err = watch(b, &f, b->seconds, FEWEST, &w);
	cpu = daemon_thread_ns(d, "worker/0") - cpu;
	if (err)
		return err;
	if (light_strange(&p->a) || light_strange(&p->b))
		return -EPROTO;
	mbps = (double)w.frames * c->len * 8e3 / ((double)(w.last - w.first) / b->ticks_per_ns);
	r->value[M_GOT][run] = mbps;
	r->value[M_CPU][run] = (double)cpu / (double)w.frames;
	if (c->limit == LIMIT_SET) {
		r->value[M_SET][run] = c->mbps;
		r->value[M_ACCURACY][run] = 100 * mbps / c->mbps;
	}
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

/* What this machine can do at most, for comparison; once for each size of frame. */
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
		known[i].mbps = r.value[M_GOT][0];
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
