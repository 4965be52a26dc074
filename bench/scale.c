/* SPDX-License-Identifier: BSD-3-Clause */
/* From one VF to 255: throughput, memory, times to start and to attach, idleness. */
#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "guests.h"
#include "util/clock.h"

#define VFS_MAX	  255
#define RING	  256
#define FEW	  16 /* buffers of a guest: 255 of them have to fit into caches that guests share */
#define SETTLE_US 300000
#define IDLE_S	  1.0
#define SHARED_US 20 /* off the core between two turns, where workers have all cores */

struct town {
	struct light guests[VFS_MAX + 1]; /* and the PF, which takes what has no other VF */
	struct flow flows[VFS_MAX];
	unsigned vfs;
	bool shared; /* a core, with a worker */
};

/* To whom VF i sends: in pairs, and one that is left over to the PF. */
static unsigned partner(const struct town *t, unsigned i)
{
	return (i ^ 1) < t->vfs ? i ^ 1 : t->vfs;
}

static int attach_all(const struct daemon_run *d, const struct bench_case *c, struct town *t)
{
	int err = light_vf_open(d, -1, c, RING, FEW, true, &t->guests[t->vfs]);

	for (unsigned i = 0; i < t->vfs && !err; i++)
		err = light_vf_open(d, (int)i, c, RING, FEW, true, &t->guests[i]);
	for (unsigned i = 0; i < t->vfs && !err; i++) {
		light_frame(&t->guests[i], &t->guests[partner(t, i)], c->len, false);
		flow_begin(&t->flows[i], &t->guests[i], &t->guests[partner(t, i)], 0);
	}
	return err;
}

/* VF 0 leaves, and comes again: ms until its first frame has arrived. */
static int first_frame(const struct daemon_run *d, const struct bench_case *c, struct town *t,
		       double *ms)
{
	struct flow *f = &t->flows[0];
	uint64_t begin, end;
	int err;

	light_close(&t->guests[0]);
	usleep(SETTLE_US / 10);
	begin = clock_now_ns();
	end = begin + STUCK_S * NS_PER_S;
	err = light_vf_open(d, 0, c, RING, FEW, true, &t->guests[0]);
	if (err)
		return err;
	light_frame(&t->guests[0], f->to, c->len, false);
	flow_begin(f, &t->guests[0], f->to, 0);
	flow_turn(f, 1);
	while (!flow_turn(f, 0))
		if (clock_now_ns() > end)
			return -ETIMEDOUT;
	*ms = (double)(clock_now_ns() - begin) / 1e6;
	if (t->vfs > 1)
		flow_begin(&t->flows[1], &t->guests[1], &t->guests[0], 0);
	return 0;
}

/* % of looks, in all that was played so far. */
static double starved(const struct town *t)
{
	uint64_t looks = 0, hits = 0;

	for (unsigned i = 0; i < t->vfs; i++) {
		looks += t->flows[i].looks;
		hits += t->flows[i].starved;
	}
	return 100.0 * (double)hits / (double)looks;
}

static uint64_t got(const struct town *t, unsigned n)
{
	uint64_t frames = 0;

	for (unsigned i = 0; i < n; i++)
		frames += flow_got(&t->flows[i]);
	return frames;
}

static void play(const struct bench *b, struct town *t, unsigned n, double seconds)
{
	uint64_t now = bench_ticks(), end = now + bench_ticks_of(b, seconds), had = got(t, n);
	uint64_t stuck = now + bench_ticks_of(b, STUCK_S);

	do {
		for (unsigned i = 0; i < n; i++)
			flow_turn(&t->flows[i], RING);
		if (t->shared)
			usleep(SHARED_US);
		now = bench_ticks();
	} while (now < end || (got(t, n) == had && now < stuck));
}

static uint64_t workers_ns(const struct daemon_run *d, unsigned workers)
{
	uint64_t ns = 0;
	char name[24];

	for (unsigned i = 0; i < workers; i++) {
		snprintf(name, sizeof(name), "worker/%u", i);
		ns += daemon_thread_ns(d, name);
	}
	return ns;
}

/* The first n VFs send. */
static int traffic(const struct bench *b, const struct daemon_run *d, const struct bench_case *c,
		   struct town *t, unsigned n, double *mpps, double *cpu)
{
	uint64_t frames, ns, ticks;

	play(b, t, n, b->seconds * WARM_UP);
	frames = got(t, n);
	ns = workers_ns(d, c->workers);
	ticks = bench_ticks();
	play(b, t, n, b->seconds);
	ticks = bench_ticks() - ticks;
	ns = workers_ns(d, c->workers) - ns;
	frames = got(t, n) - frames;
	for (unsigned i = 0; i < n; i++)
		flow_drain(&t->flows[i]);
	if (!frames)
		return -EIO;
	*mpps = (double)frames * 1e3 * b->ticks_per_ns / (double)ticks;
	*cpu = (double)ns / (double)frames;
	return 0;
}

static double idle_percent(const struct daemon_run *d)
{
	uint64_t cpu, ns;

	usleep(SETTLE_US);
	cpu = daemon_cpu_ns(d);
	ns = clock_now_ns();
	usleep((useconds_t)(1e6 * IDLE_S));
	ns = clock_now_ns() - ns;
	return 100.0 * (double)(daemon_cpu_ns(d) - cpu) / (double)ns;
}

static void configure(char *config, size_t len, unsigned workers, unsigned vfs)
{
	snprintf(config, len,
		 "workers: %u\ndevices:\n  nic0: {type: ethernet, total-vfs: %u, num-vfs: %u}\n",
		 workers, VFS_MAX, vfs);
}

/* KiB of a daemon's own that has the device, but no VF. */
static int empty_kib(const struct bench *b, const struct bench_case *c, double *kib)
{
	struct daemon_run d;
	char config[128];
	int err;

	configure(config, sizeof(config), c->workers, 0);
	err = bench_start(b, &d, config, false);
	if (err)
		return err;
	*kib = (double)daemon_rollup_kib(&d, "Pss_Anon");
	return bench_stop(&d, 0);
}

static int measure(const struct bench *b, const struct daemon_run *d, const struct bench_case *c,
		   struct town *t, double empty, struct result *r)
{
	double own = (double)daemon_rollup_kib(d, "Pss_Anon");
	unsigned run = r->runs, few = t->vfs < 2 ? t->vfs : 2;
	int err;

	r->value[M_START][run] = (double)d->ready_ns / 1e6;
	r->value[M_OWN][run] = (own - empty) / c->vfs;
	err = attach_all(d, c, t);
	if (!err)
		err = first_frame(d, c, t, &r->value[M_FIRST][run]);
	if (!err)
		err = traffic(b, d, c, t, few, &r->value[M_FEW_MPPS][run],
			      &r->value[M_FEW_CPU][run]);
	if (!err)
		err = traffic(b, d, c, t, t->vfs, &r->value[M_ALL_MPPS][run],
			      &r->value[M_ALL_CPU][run]);
	if (err)
		return err;
	r->value[M_STARVED][run] = starved(t);
	r->value[M_IDLE][run] = idle_percent(d);
	r->value[M_ATTACHED][run] = ((double)daemon_rollup_kib(d, "Pss_Anon") - own) / c->vfs;
	r->value[M_RSS][run] = (double)daemon_rollup_kib(d, "Rss") / c->vfs;
	r->value[M_PSS][run] = (double)daemon_rollup_kib(d, "Pss") / c->vfs;
	return 0;
}

int bench_run_scale(struct bench *b, const struct bench_case *c, struct result *r)
{
	struct town *t = calloc(1, sizeof(*t));
	struct daemon_run d;
	char config[128];
	double empty;
	int err = t ? empty_kib(b, c, &empty) : -ENOMEM;

	if (err) {
		free(t);
		return err;
	}
	bench_allow_files();
	prctl(PR_SET_TIMERSLACK, 1);
	t->vfs = c->vfs;
	t->shared = b->cpus < 2 || (c->workers > 1 && b->cpus < 3);
	configure(config, sizeof(config), c->workers, c->vfs);
	err = bench_start(b, &d, config, c->workers > 1);
	if (err) {
		free(t);
		return err;
	}
	if (!t->shared)
		bench_pin(b->guest_cpu);
	err = measure(b, &d, c, t, empty, r);
	for (unsigned i = 0; i <= t->vfs; i++)
		light_close(&t->guests[i]);
	free(t);
	bench_pin(b->guest_cpu);
	return bench_stop(&d, err);
}
