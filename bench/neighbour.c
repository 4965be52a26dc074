/* SPDX-License-Identifier: BSD-3-Clause */
/* How long a quiet guest's frames take while 63 others send all they can through the same worker.
 */
#include <errno.h>

#include "disturb.h"
#include "guests.h"
#include "histogram.h"

#define OTHERS	   63
#define QUIET_FROM 0
#define QUIET_TO   (OTHERS + 1)
#define RING	   128
#define FEW	   8 /* buffers of a guest: what matters is how much the worker has to do */
#define SAMPLES	   300
#define LONGEST	   4 /* times that of a run */
#define PERIOD_S   0.001
#define TSO_LEN	   65226
#define TSO_BUF	   65536
/* As the worker has it: cost of a frame besides its bytes, and of one turn when many wait. */
#define COST	512
#define QUANTUM (16 << 10)
#define GAP	4 /* others served between two looks at the quiet one */

struct street {
	struct light guests[OTHERS + 2];
	struct flow flows[OTHERS];
	struct flow there, back; /* of the quiet two */
	struct histogram took;
	struct disturb others;
	uint64_t sent_at; /* ticks; 0: nothing under way */
	bool on_way_back;
	uint64_t next;
	unsigned n_others;
};

static struct street street; /* too large for a stack */

static bool sends_large(const struct bench_case *c, unsigned i)
{
	return c->others == FRAMES_TSO || (c->others == FRAMES_MIX && i % 2);
}

/* The others send in a ring, each to the next of its kind. */
static int attach_all(const struct daemon_run *d, const struct bench_case *c, struct street *s)
{
	const struct bench_case small = *c, large = {.len = TSO_LEN,
						     .rx_buf = TSO_BUF,
						     .tx_buf = TSO_BUF,
						     .gso = true};
	int err;

	*s = (struct street){.n_others = c->others == FRAMES_NONE ? 0 : OTHERS};
	err = light_vf_open(d, QUIET_FROM, &small, RING, FEW, true, &s->guests[QUIET_FROM]);
	if (!err)
		err = light_vf_open(d, QUIET_TO, &small, RING, FEW, true, &s->guests[QUIET_TO]);
	for (unsigned i = 1; i <= s->n_others && !err; i++)
		err = light_vf_open(d, (int)i, sends_large(c, i) ? &large : &small, RING, FEW, true,
				    &s->guests[i]);
	if (err)
		return err;
	for (unsigned i = 1; i <= s->n_others; i++) {
		bool big = sends_large(c, i);
		unsigned to = i;

		do
			to = to % OTHERS + 1;
		while (sends_large(c, to) != big);
		light_frame(&s->guests[i], &s->guests[to], big ? TSO_LEN : c->len, big);
		flow_begin(&s->flows[i - 1], &s->guests[i], &s->guests[to], 0);
	}
	light_frame(&s->guests[QUIET_FROM], &s->guests[QUIET_TO], c->len, false);
	light_frame(&s->guests[QUIET_TO], &s->guests[QUIET_FROM], c->len, false);
	flow_begin(&s->there, &s->guests[QUIET_FROM], &s->guests[QUIET_TO], 0);
	flow_begin(&s->back, &s->guests[QUIET_TO], &s->guests[QUIET_FROM], 0);
	return 0;
}

/* Sends, or looks whether it has come. */
static void look_quiet(const struct bench *b, const struct bench_case *c, struct street *s)
{
	struct flow *f = s->on_way_back ? &s->back : &s->there;
	uint64_t now = bench_ticks();

	if (!s->sent_at) {
		if (now < s->next)
			return;
		s->next = c->ping_pong ? now : now + bench_ticks_of(b, PERIOD_S);
		if (!c->ping_pong) {
			disturb_mark(&s->others);
			now = bench_ticks();
		}
		flow_turn(f, 1);
		s->sent_at = now;
		return;
	}
	if (!flow_turn(f, 0))
		return;
	if (!disturb_spoilt(&s->others, (double)(now - s->sent_at) / b->ticks_per_ns))
		histogram_add(&s->took, now - s->sent_at);
	s->sent_at = 0;
	if (c->ping_pong)
		s->on_way_back = !s->on_way_back;
}

/* For a while, and then until samples have come, but not for ever. */
static void play(const struct bench *b, const struct bench_case *c, struct street *s,
		 double seconds, uint64_t samples)
{
	uint64_t now = bench_ticks(), end = now + bench_ticks_of(b, seconds),
		 longest = now + LONGEST * bench_ticks_of(b, seconds),
		 stuck = now + bench_ticks_of(b, STUCK_S);

	do {
		for (unsigned i = 0; i < s->n_others; i++) {
			flow_turn(&s->flows[i], RING);
			if (i % GAP == 0)
				look_quiet(b, c, s);
		}
		if (!s->n_others)
			look_quiet(b, c, s);
		now = bench_ticks();
	} while (now < end || (s->took.n < samples && now < longest) ||
		 (samples && !s->others.samples && now < stuck));
}

/* Frames of the others that have arrived, and what they cost the worker (worker.h). */
struct sum {
	double frames, cost, largest;
};

static struct sum others_got(const struct street *s)
{
	struct sum sum = {0};

	for (unsigned i = 0; i < s->n_others; i++) {
		double n = (double)flow_got(&s->flows[i]), cost = s->flows[i].from->tx.len + COST;

		sum.frames += n;
		sum.cost += n * cost;
		if (cost > sum.largest)
			sum.largest = cost;
	}
	return sum;
}

/* ns: by the clock; cpu_ns: of the worker. */
static int keep(const struct bench *b, struct result *r, const struct street *s,
		const struct sum *sum, double ns, double cpu_ns)
{
	double us = 1 / (b->ticks_per_ns * 1e3);
	unsigned run = r->runs;

	r->value[M_SPOILT][run] = disturb_percent(&s->others);
	if (!s->took.n) /* by others, all of them */
		return s->others.spoilt ? 0 : -EIO;
	r->value[M_MIN][run] = (double)s->took.least * us;
	r->value[M_P50][run] = histogram_percentile(&s->took, 0.5) * us;
	r->value[M_P99][run] = histogram_percentile(&s->took, 0.99) * us;
	r->value[M_MAX][run] = (double)s->took.most * us;
	if (!s->n_others || sum->cost <= 0)
		return 0;
	r->value[M_MPPS][run] = sum->frames * 1e3 / ns;
	r->value[M_TURN][run] = (QUANTUM + sum->largest) * cpu_ns / sum->cost / 1e3;
	r->value[M_BOUND][run] = s->n_others * r->value[M_TURN][run];
	return 0;
}

int bench_run_neighbour(struct bench *b, const struct bench_case *c, struct result *r)
{
	struct daemon_run d;
	char config[160];
	struct sum before, sum;
	uint64_t cpu, ticks;
	int err;

	snprintf(config, sizeof(config),
		 "workers: 1\n"
		 "devices:\n"
		 "  nic0: {type: ethernet, total-vfs: %u, num-vfs: %u, mtu: 9000}\n",
		 OTHERS + 2, OTHERS + 2);
	err = bench_start(b, &d, config, false);
	if (err)
		return err;
	err = attach_all(&d, c, &street);
	disturb_open(&street.others, &d);
	if (!err) {
		play(b, c, &street, b->seconds * WARM_UP, 0);
		histogram_clear(&street.took);
		street.others.samples = street.others.spoilt = 0;
		before = others_got(&street);
		cpu = daemon_thread_ns(&d, "worker/0");
		ticks = bench_ticks();
		play(b, c, &street, b->seconds, SAMPLES);
		ticks = bench_ticks() - ticks;
		cpu = daemon_thread_ns(&d, "worker/0") - cpu;
		sum = others_got(&street);
		sum.frames -= before.frames;
		sum.cost -= before.cost;
		err = keep(b, r, &street, &sum, (double)ticks / b->ticks_per_ns, (double)cpu);
	}
	disturb_close(&street.others);
	for (unsigned i = 0; i < OTHERS + 2; i++)
		light_close(&street.guests[i]);
	return bench_stop(&d, err);
}
