/* SPDX-License-Identifier: BSD-3-Clause */
/* A thousand frames or commands a second, or none: what CPU time that costs, and how long each
 * takes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disturb.h"
#include "guests.h"
#include "histogram.h"
#include "support/nvme_host.h"

#define PERIOD_S   0.001
#define LEAST_S	   1.0 /* shorter runs say little at this pace */
#define RING	   256
#define IDLE_VFS   255
#define SETTLE_US  300000
#define BLOCKS_4K  8
#define PLACES	   256 /* of 4 KiB, written before */
#define DISK_BYTES (64u << 20)

static const char *const policies[] = {"adaptive", "always", "never"};

/* What sends one item, and what looks whether it has come: negative errno, 0, 1. */
struct load {
	int (*send)(struct load *l);
	int (*look)(struct load *l);
	/* frames */
	struct light guests[2];
	struct flow flow;
	/* commands */
	struct nvme_host *host;
	struct nvme_host_req req;
	unsigned nsid, next;
	struct histogram took;
	struct disturb others;
};

static struct load load; /* too large for a stack */

/* ---- frames ---- */

static int send_frame(struct load *l)
{
	flow_turn(&l->flow, 1);
	return 0;
}

static int look_frame(struct load *l)
{
	return flow_turn(&l->flow, 0) != 0;
}

static int begin_frames(const struct daemon_run *d, const struct bench_case *c, struct load *l)
{
	int err = light_vf_open(d, 0, c, RING, RING, true, &l->guests[0]);

	if (!err)
		err = light_vf_open(d, 1, c, RING, RING, true, &l->guests[1]);
	if (err)
		return err;
	light_frame(&l->guests[0], &l->guests[1], c->len, false);
	flow_begin(&l->flow, &l->guests[0], &l->guests[1], 0);
	l->send = send_frame;
	l->look = look_frame;
	return 0;
}

/* ---- commands ---- */

static int send_command(struct load *l)
{
	int err;

	l->req.sqe.cdw10 = l->next++ % PLACES * BLOCKS_4K;
	err = nvme_host_submit(nvme_host_io(l->host, 1), &l->req);
	nvme_host_ring(nvme_host_io(l->host, 1));
	return err;
}

static int look_command(struct load *l)
{
	if (!nvme_host_poll(nvme_host_io(l->host, 1)->cq, 1))
		return 0;
	return l->req.status ? -EIO : 1;
}

static int begin_commands(const struct daemon_run *d, const struct bench_case *c, struct load *l)
{
	struct nvme_host_sq *sq;
	uint64_t addr;
	int err = bench_open_disk(d, false, &l->host);

	if (err)
		return err;
	l->nsid = c->load == LOAD_NULL_DISK ? 1 : 2;
	sq = nvme_host_io(l->host, 1);
	memset(l->host->data, 0x5a, PLACES * 4096);
	for (unsigned i = 0; i < PLACES; i++)
		if (nvme_host_rw(sq, nvme_cmd_write, l->nsid, (uint64_t)i * BLOCKS_4K, BLOCKS_4K,
				 0))
			return -EIO;
	if (!nvme_host_alloc(l->host, c->len, &addr))
		return -ENOMEM;
	nvme_host_make_rw(&l->req.sqe, nvme_cmd_read, l->nsid, 0, BLOCKS_4K, 0);
	l->send = send_command;
	l->look = look_command;
	return nvme_host_prp(&l->req.sqe, addr, c->len, NULL, 0);
}

/* ---- both ---- */

/* One each PERIOD_S, the next not before the last has come. */
static int go_on(const struct bench *b, struct load *l, double seconds)
{
	uint64_t now = bench_ticks(), end = now + bench_ticks_of(b, seconds), next = now, sent;
	uint64_t period = bench_ticks_of(b, PERIOD_S), stuck;
	int ret;

	while (now < end) {
		while ((now = bench_ticks()) < next)
			;
		next = now + period;
		disturb_mark(&l->others);
		sent = now = bench_ticks();
		stuck = sent + bench_ticks_of(b, STUCK_S);
		ret = l->send(l);
		while (!ret && now < stuck) {
			ret = l->look(l);
			now = bench_ticks();
		}
		if (ret <= 0)
			return ret ? ret : -ETIMEDOUT;
		if (!disturb_spoilt(&l->others, (double)(now - sent) / b->ticks_per_ns))
			histogram_add(&l->took, now - sent);
	}
	return 0;
}

static double percent_of_core(const struct bench *b, uint64_t cpu_ns, uint64_t ticks)
{
	return 100.0 * (double)cpu_ns * b->ticks_per_ns / (double)ticks;
}

static int measure(const struct bench *b, const struct daemon_run *d, struct load *l,
		   struct result *r)
{
	double us = 1 / (b->ticks_per_ns * 1e3),
	       seconds = b->seconds > LEAST_S ? b->seconds : LEAST_S;
	uint64_t cpu, ticks;
	int err;

	disturb_open(&l->others, d);
	histogram_clear(&l->took);
	err = go_on(b, l, seconds * WARM_UP);
	histogram_clear(&l->took);
	l->others.samples = l->others.spoilt = 0;
	cpu = daemon_cpu_ns(d);
	ticks = bench_ticks();
	if (!err)
		err = go_on(b, l, seconds);
	ticks = bench_ticks() - ticks;
	disturb_close(&l->others);
	if (err)
		return err;
	r->value[M_SPOILT][r->runs] = disturb_percent(&l->others);
	r->value[M_PERCENT][r->runs] = percent_of_core(b, daemon_cpu_ns(d) - cpu, ticks);
	if (!l->took.n) /* by others, all of them */
		return 0;
	r->value[M_MIN][r->runs] = (double)l->took.least * us;
	r->value[M_P50][r->runs] = histogram_percentile(&l->took, 0.5) * us;
	r->value[M_P99][r->runs] = histogram_percentile(&l->took, 0.99) * us;
	r->value[M_MAX][r->runs] = (double)l->took.most * us;
	return 0;
}

static int measure_nothing(const struct bench *b, const struct daemon_run *d,
			   const struct bench_case *c, struct result *r)
{
	struct light *l = calloc(IDLE_VFS, sizeof(*l));
	uint64_t cpu, ticks;
	int err = l ? 0 : -ENOMEM;

	bench_allow_files();
	for (int i = 0; i < IDLE_VFS && !err; i++)
		err = light_vf_open(d, i, c, RING, 8, true, &l[i]);
	usleep(SETTLE_US);
	cpu = daemon_cpu_ns(d);
	ticks = bench_ticks();
	usleep((useconds_t)(1e6 * (b->seconds > LEAST_S ? b->seconds : LEAST_S)));
	ticks = bench_ticks() - ticks;
	if (!err)
		r->value[M_PERCENT][r->runs] = percent_of_core(b, daemon_cpu_ns(d) - cpu, ticks);
	for (int i = 0; l && i < IDLE_VFS; i++)
		light_close(&l[i]);
	free(l);
	return err;
}

/* Its configuration, or false when this softiovd knows no such policy. */
static bool configure(const struct bench *b, const struct bench_case *c, char *config, size_t len)
{
	char poll[32] = "";

	/* the default is not named: an older softiovd may be measured, too */
	if (c->poll != POLL_ADAPTIVE)
		snprintf(poll, sizeof(poll), "poll: %s, ", policies[c->poll]);
	if (c->load == LOAD_FRAMES || c->load == LOAD_NOTHING)
		snprintf(config, len,
			 "workers: 1\n"
			 "devices:\n"
			 "  nic0: {type: ethernet, %stotal-vfs: %u, num-vfs: %u}\n",
			 poll, c->load == LOAD_FRAMES ? 2 : IDLE_VFS,
			 c->load == LOAD_FRAMES ? 2 : IDLE_VFS);
	else
		snprintf(config, len,
			 "workers: 1\n"
			 "devices:\n"
			 "  ssd0: {type: nvme, %stotal-vfs: 1, num-vfs: 1, queues: 2, namespaces: {"
			 "1: {null: %u, attach: [vf0]}, 2: {memory: %u, attach: [vf0]}}}\n",
			 poll, DISK_BYTES, DISK_BYTES);
	return !poll[0] || bench_takes(b, config);
}

int bench_run_light_load(struct bench *b, const struct bench_case *c, struct result *r)
{
	struct daemon_run d;
	char config[512];
	int err;

	if (!configure(b, c, config, sizeof(config))) {
		r->skipped = "this softiovd does not know `poll`";
		return 0;
	}
	err = bench_start(b, &d, config, false);
	if (err)
		return err;
	load = (struct load){0};
	if (c->load == LOAD_NOTHING) {
		err = measure_nothing(b, &d, c, r);
	} else {
		err = c->load == LOAD_FRAMES ? begin_frames(&d, c, &load)
					     : begin_commands(&d, c, &load);
		if (!err)
			err = measure(b, &d, &load, r);
	}
	light_close(&load.guests[0]);
	light_close(&load.guests[1]);
	nvme_host_close(load.host);
	return bench_stop(&d, err);
}
