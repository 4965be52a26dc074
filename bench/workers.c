/* SPDX-License-Identifier: BSD-3-Clause */
/* Pairs of guests, on one worker and on two. */
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "guests.h"

#define PAIRS	    2
#define PAIRS_MAX   8 /* where the load shares a core: it comes seldom then */
#define WORKERS_MAX 2
#define FIND_S	    0.01
#define RING	    1024 /* long: whoever plays the guests may have to share a core */
#define FEW	    64	 /* buffers: two pairs have to fit into a core's cache as one does */
#define SHARED_US   20	 /* off the core between two turns then */

struct pairs {
	struct light guests[2 * PAIRS_MAX];
	struct flow flows[PAIRS_MAX];
	unsigned n;
};

struct figures {
	double wall, cpu;   /* 10^6 frames a second; a second that a worker was on a core */
	double starved;	    /* % of looks */
	double least, most; /* CPU time of workers */
};

static int attach_all(const struct daemon_run *d, const struct bench_case *c, unsigned n,
		      struct pairs *p)
{
	uint32_t buffers = c->gso ? FEW / 32 : FEW;
	int err = 0;

	*p = (struct pairs){.n = n};
	/* Queues may be dealt out to workers by their number: receivers' control queues make it so
	 * that each second sender comes to the other worker. */
	for (int i = 0; i < 2 * (int)n && !err; i++)
		err = light_vf_open(d, i, c, RING, buffers, i % 2 == 1, &p->guests[i]);
	for (unsigned i = 0; i < n && !err; i++) {
		light_frame(&p->guests[2 * i], &p->guests[2 * i + 1], c->len, c->gso);
		flow_begin(&p->flows[i], &p->guests[2 * i], &p->guests[2 * i + 1], 0);
	}
	return err;
}

/* Frames of flows first to last, for a while. */
static void play(const struct bench *b, struct pairs *p, unsigned first, unsigned last,
		 double seconds)
{
	uint64_t now = bench_ticks(), end = now + bench_ticks_of(b, seconds);
	uint64_t stuck = now + bench_ticks_of(b, STUCK_S), had[PAIRS_MAX];
	bool moved;

	for (unsigned i = first; i <= last; i++)
		had[i] = p->flows[i].buffers;
	do {
		moved = true;
		for (unsigned i = first; i <= last; i++) {
			flow_turn(&p->flows[i], RING);
			moved &= p->flows[i].buffers != had[i];
		}
		if (b->cpus < 3) /* no matter how many workers: or they would not compare */
			usleep(SHARED_US);
		now = bench_ticks();
	} while (now < end || (!moved && now < stuck));
}

static double worker_ns(const struct daemon_run *d, unsigned i)
{
	char name[24];

	snprintf(name, sizeof(name), "worker/%u", i);
	return (double)daemon_thread_ns(d, name);
}

/* Which worker a flow's frames go through: who works when nobody else sends. */
static unsigned worker_of(const struct bench *b, const struct daemon_run *d, unsigned workers,
			  struct pairs *p, unsigned flow)
{
	double ns[WORKERS_MAX] = {0};

	for (unsigned i = 0; i < workers; i++)
		ns[i] = -worker_ns(d, i);
	play(b, p, flow, flow, FIND_S);
	for (unsigned i = 0; i < workers; i++)
		ns[i] += worker_ns(d, i);
	flow_drain(&p->flows[flow]);
	return ns[1] > ns[0];
}

/* With two cores only worker 0 has its own, and is measured; the load shares the other's. */
static void measure(const struct bench *b, const struct daemon_run *d, unsigned workers,
		    struct pairs *p, struct figures *f)
{
	double cpu[WORKERS_MAX] = {0}, frames[WORKERS_MAX] = {0}, looks = 0, hits = 0, ns;
	unsigned of[PAIRS_MAX], counted = b->cpus < 3 ? 1 : workers;
	uint64_t ticks;

	for (unsigned i = 0; i < p->n; i++)
		of[i] = worker_of(b, d, workers, p, i);
	play(b, p, 0, p->n - 1, b->seconds * WARM_UP);
	for (unsigned i = 0; i < p->n; i++) {
		frames[of[i]] -= (double)flow_got(&p->flows[i]);
		p->flows[i].looks = p->flows[i].starved = 0;
	}
	for (unsigned i = 0; i < workers; i++)
		cpu[i] = -worker_ns(d, i);
	ticks = bench_ticks();
	play(b, p, 0, p->n - 1, b->seconds);
	ns = (double)(bench_ticks() - ticks) / b->ticks_per_ns;
	for (unsigned i = 0; i < workers; i++)
		cpu[i] += worker_ns(d, i);
	for (unsigned i = 0; i < p->n; i++) {
		frames[of[i]] += (double)flow_got(&p->flows[i]);
		looks += of[i] < counted ? (double)p->flows[i].looks : 0;
		hits += of[i] < counted ? (double)p->flows[i].starved : 0;
	}
	*f = (struct figures){.wall = (frames[0] + frames[1]) * 1e3 / ns,
			      .starved = looks > 0 ? 100 * hits / looks : 0,
			      .least = cpu[0] < cpu[1] ? cpu[0] : cpu[1],
			      .most = cpu[0] < cpu[1] ? cpu[1] : cpu[0]};
	for (unsigned i = 0; i < counted; i++)
		f->cpu += cpu[i] > 0 ? frames[i] * 1e3 / cpu[i] / counted : 0;
}

static int run_with(const struct bench *b, const struct bench_case *c, unsigned workers,
		    struct figures *f)
{
	unsigned n = b->cpus < 3 ? PAIRS_MAX : PAIRS;
	static struct pairs p;
	struct daemon_run d;
	char config[256];
	const char *old;
	int err;

	/* or flows would change workers while they are counted; an older softiovd never does that
	 */
	snprintf(config, sizeof(config),
		 "rebalance: off\n"
		 "workers: %u\n"
		 "devices:\n"
		 "  nic0: {type: ethernet, total-vfs: %u, num-vfs: %u, mtu: 9000, queue-size: "
		 "1024}\n",
		 workers, 2 * n, 2 * n);
	old = strchr(config, '\n') + 1;
	err = bench_start(b, &d, bench_takes(b, config) ? config : old, true);
	if (err)
		return err;
	bench_pin(b->guest_cpu);
	err = attach_all(&d, c, n, &p);
	if (!err)
		measure(b, &d, workers, &p, f);
	for (unsigned i = 0; i < 2 * n; i++) {
		if (!err && light_strange(&p.guests[i]))
			err = -EPROTO;
		light_close(&p.guests[i]);
	}
	return bench_stop(&d, err);
}

int bench_run_workers(struct bench *b, const struct bench_case *c, struct result *r)
{
	struct figures one = {0}, two = {0};
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
