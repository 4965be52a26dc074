/* SPDX-License-Identifier: BSD-3-Clause */
/* Two pairs of guests, on one worker and on two. */
#include <errno.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "guests.h"

#define PAIRS	  2
#define RING	  1024 /* long: whoever plays the guests may have to share a core */
#define FEW	  64   /* buffers of large frames */
#define SHARED_US 20   /* off the core between two turns then */

struct pairs {
	struct light guests[2 * PAIRS];
	struct flow flows[PAIRS];
};

struct figures {
	double wall, cpu;   /* 10^6 frames a second, a second of CPU time */
	double least, most; /* CPU time of workers */
	double starved;	    /* % of looks */
};

static uint64_t got(const struct pairs *p)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < PAIRS; i++)
		n += flow_got(&p->flows[i]);
	return n;
}

static double starved(const struct pairs *p)
{
	uint64_t looks = 0, hits = 0;

	for (unsigned i = 0; i < PAIRS; i++) {
		looks += p->flows[i].looks;
		hits += p->flows[i].starved;
	}
	return 100.0 * (double)hits / (double)looks;
}

static int attach_all(const struct daemon_run *d, const struct bench_case *c, struct pairs *p)
{
	uint32_t buffers = c->gso ? FEW : RING;
	int err = 0;

	*p = (struct pairs){0};
	/* Queues may be dealt out to workers by their number: the one control queue makes that odd,
	 * so that the second pair does not meet the first one's worker. */
	for (int i = 0; i < 2 * PAIRS && !err; i++)
		err = light_vf_open(d, i, c, RING, buffers, i == 1, &p->guests[i]);
	for (unsigned i = 0; i < PAIRS && !err; i++) {
		light_frame(&p->guests[2 * i], &p->guests[2 * i + 1], c->len, c->gso);
		flow_begin(&p->flows[i], &p->guests[2 * i], &p->guests[2 * i + 1], 0);
	}
	return err;
}

static void play(const struct bench *b, struct pairs *p, double seconds, bool shared)
{
	uint64_t end = bench_ticks() + bench_ticks_of(b, seconds);

	do {
		for (unsigned i = 0; i < PAIRS; i++)
			flow_turn(&p->flows[i], RING);
		if (shared)
			usleep(SHARED_US);
	} while (bench_ticks() < end);
}

static double worker_ns(const struct daemon_run *d, unsigned i)
{
	char name[24];

	snprintf(name, sizeof(name), "worker/%u", i);
	return (double)daemon_thread_ns(d, name);
}

static void measure(const struct bench *b, const struct daemon_run *d, unsigned workers,
		    struct pairs *p, struct figures *f)
{
	bool shared = b->cpus < 3; /* no matter how many workers: or they would not compare */
	double cpu[2] = {0}, frames, ns;
	uint64_t ticks;

	play(b, p, b->seconds * WARM_UP, shared);
	for (unsigned i = 0; i < workers; i++)
		cpu[i] = -worker_ns(d, i);
	frames = -(double)got(p);
	ticks = bench_ticks();
	play(b, p, b->seconds, shared);
	ns = (double)(bench_ticks() - ticks) / b->ticks_per_ns;
	frames += (double)got(p);
	for (unsigned i = 0; i < workers; i++)
		cpu[i] += worker_ns(d, i);
	f->starved = starved(p);
	f->wall = frames * 1e3 / ns;
	f->cpu = frames * 1e3 / (cpu[0] + cpu[1]);
	f->least = cpu[0] < cpu[1] ? cpu[0] : cpu[1];
	f->most = cpu[0] < cpu[1] ? cpu[1] : cpu[0];
}

static int run_with(const struct bench *b, const struct bench_case *c, unsigned workers,
		    struct figures *f)
{
	static struct pairs p;
	struct daemon_run d;
	char config[256];
	int err;

	snprintf(
		config, sizeof(config),
		"workers: %u\n"
		"devices:\n"
		"  nic0: {type: ethernet, total-vfs: 4, num-vfs: 4, mtu: 9000, queue-size: 1024}\n",
		workers);
	err = bench_start(b, &d, config, true);
	if (err)
		return err;
	if (b->cpus >= 3)
		bench_pin(b->guest_cpu);
	err = attach_all(&d, c, &p);
	if (!err)
		measure(b, &d, workers, &p, f);
	for (unsigned i = 0; i < 2 * PAIRS; i++) {
		if (!err && light_strange(&p.guests[i]))
			err = -EPROTO;
		light_close(&p.guests[i]);
	}
	bench_pin(b->guest_cpu);
	return bench_stop(&d, err);
}

int bench_run_workers(struct bench *b, const struct bench_case *c, struct result *r)
{
	struct figures one, two;
	unsigned run = r->runs;
	int err;

	prctl(PR_SET_TIMERSLACK, 1);
	err = run_with(b, c, 1, &one);
	if (!err)
		err = run_with(b, c, 2, &two);
	if (err)
		return err;
	r->value[M_ONE_CPU][run] = one.cpu;
	r->value[M_TWO_CPU][run] = two.cpu;
	r->value[M_CPU_SCALING][run] = 2 * two.cpu / one.cpu;
	r->value[M_ONE_WALL][run] = one.wall;
	r->value[M_TWO_WALL][run] = two.wall;
	r->value[M_STARVED][run] = one.starved > two.starved ? one.starved : two.starved;
	if (b->cpus >= 3)
		r->value[M_WALL_SCALING][run] = two.wall / one.wall;
	r->value[M_BALANCE][run] = two.least / two.most;
	return 0;
}
