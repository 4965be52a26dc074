/* SPDX-License-Identifier: BSD-3-Clause */
/* A host at an NVMe VF that keeps so many commands under way, polling, by shadow doorbells. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "histogram.h"
#include "support/nvme_host.h"

#define NULL_SPAN    (1ull << 30)
#define DISK_SIZE    (256ull << 20)
#define DEPTH_MAX    128
#define COPY_BUFFERS (8u << 20) /* depth times length, at most */
#define POLL_MAX     64
#define BLOCK_SHIFT  9
uint64_t bench_disk_size(enum backend disk)
{
	return disk == NULL_DISK ? NULL_SPAN : DISK_SIZE;
}

/* ---- the host ---- */

struct slot {
	struct nvme_host_req req;
	uint64_t started;
};

struct load {
	const struct bench_case *c;
	struct nvme_host *h;
	struct nvme_host_sq *sq;
	struct slot slots[DEPTH_MAX];
	uint64_t blocks, next; /* of the disk; sequential: where to go on */
	uint64_t random;
	uint64_t now; /* ticks, when the completions at hand were looked for */
	uint64_t done;
	unsigned errors, status;
	bool stop;
	struct histogram lat;
};

static struct load load; /* too large for a stack */

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* Where the next command goes, and which way. */
static void aim(struct load *l, struct nvme_sqe *s)
{
	uint64_t blocks = l->c->len >> BLOCK_SHIFT, lba, r;

	if (l->c->sequential) {
		lba = l->next;
		l->next = lba + 2 * blocks > l->blocks ? 0 : lba + blocks;
		r = 0;
	} else {
		r = next_random(&l->random);
		/* the number of places is a power of two */
		lba = (r & (l->blocks / blocks - 1)) * blocks;
	}
	s->cdw10 = (uint32_t)lba;
	s->cdw11 = (uint32_t)(lba >> 32);
	if (l->c->write_percent && l->c->write_percent < 100)
		s->opcode = (r >> 40) % 100 < l->c->write_percent ? nvme_cmd_write : nvme_cmd_read;
}

static void done(struct nvme_host_req *req)
{
	struct slot *s = (struct slot *)req;
	struct load *l = req->opaque;
	uint64_t took = l->now - s->started;

	l->done++;
	histogram_add(&l->lat, took);
	if (req->status) {
		l->errors++;
		l->status = req->status;
	}
	if (l->stop)
		return;
	aim(l, &req->sqe);
	s->started = l->now;
	nvme_host_submit(l->sq, req);
}

static int begin(struct load *l, const struct bench_case *c, struct nvme_host *h)
{
	uint64_t addr, list_addr, *list;
	uint8_t *buf;

	memset(l, 0, sizeof(*l));
	l->c = c;
	l->h = h;
	l->sq = nvme_host_io(h, 1);
	l->random = 88172645463325252ull;
	l->blocks = bench_disk_size(c->disk) >> BLOCK_SHIFT;
	for (unsigned i = 0; i < c->depth; i++) {
		struct nvme_host_req *r = &l->slots[i].req;

		buf = nvme_host_alloc(h, c->len, &addr);
		list = nvme_host_alloc(h, NVME_HOST_PAGE, &list_addr);
		if (!list)
			return -ENOMEM;
		memset(buf, (int)i + 1, c->len);
		r->done = done;
		r->opaque = l;
		nvme_host_make_rw(&r->sqe, c->write_percent ? nvme_cmd_write : nvme_cmd_read,
				  (uint32_t)c->disk + 1, 0, c->len >> BLOCK_SHIFT, 0);
		nvme_host_prp(&r->sqe, addr, c->len, list, list_addr);
		aim(l, &r->sqe);
		l->slots[i].started = bench_ticks();
		nvme_host_submit(l->sq, r);
	}
	nvme_host_ring(l->sq);
	return 0;
}

/* Goes on for a while; the ticks that it took. */
static uint64_t go_on(const struct bench *b, struct load *l, double seconds)
{
	uint64_t start = bench_ticks(), length = bench_ticks_of(b, seconds);
	uint64_t stuck = bench_ticks_of(b, STUCK_S);

	histogram_clear(&l->lat);
	l->done = 0;
	do {
		l->now = bench_ticks();
		if (nvme_host_poll(l->sq->cq, POLL_MAX))
			nvme_host_ring(l->sq);
	} while (l->now - start < length || (!l->done && l->now - start < stuck));
	return l->now - start;
}

static int finish(struct load *l)
{
	int err;

	l->stop = true;
	err = nvme_host_wait_all(l->sq, STUCK_S * 1000);
	return err ? err : l->errors || l->h->strange ? -EIO : 0;
}

/* Bytes that are not there yet would be made by the first who touches them. */
static int fill(struct nvme_host *h)
{
	const uint32_t nlb = 1u << (20 - BLOCK_SHIFT);

	memset(h->data, 0x5a, 1 << 20);
	for (enum backend d = MEMORY_DISK; d < BACKENDS; d++)
		for (uint64_t lba = 0; lba < DISK_SIZE >> BLOCK_SHIFT; lba += nlb)
			if (nvme_host_rw(nvme_host_io(h, 1), nvme_cmd_write, (uint32_t)d + 1, lba,
					 nlb, 0))
				return -EIO;
	return nvme_host_flush(nvme_host_io(h, 1), FILE_DISK + 1) ? -EIO : 0;
}

/* Bytes a second (10^6) of copying the same between the same kinds of memory, on the daemon's
 * core. */
static int copy_rate(const struct bench *b, const struct bench_case *c, double *mbps,
		     double *cpu_mbps)
{
	uint64_t start, now, n = 0, length, random = 88172645463325252ull;
	double cpu;
	size_t places = DISK_SIZE / c->len, at = 0;
	uint8_t *p = bench_copy_memory(DISK_SIZE + COPY_BUFFERS);

	if (!p)
		return -ENOMEM;
	bench_pin(b->daemon_cpu);
	length = bench_ticks_of(b, b->seconds / 4);
	cpu = bench_cpu_ns();
	start = bench_ticks();
	do {
		for (unsigned i = 0; i < 16; i++, n++) {
			uint8_t *buf = p + DISK_SIZE + n % c->depth * c->len, *place;

			at = c->sequential ? (at + 1) % places
					   : next_random(&random) & (places - 1);
			place = p + at * c->len;
			if (n % 100 < c->write_percent)
				memcpy(place, buf, c->len);
			else
				memcpy(buf, place, c->len);
			/* or the compiler might leave it out */
			__asm__ volatile("" : : : "memory");
		}
		now = bench_ticks();
	} while (now - start < length);
	*cpu_mbps = (double)n * c->len * 1e3 / (bench_cpu_ns() - cpu);
	bench_pin(b->guest_cpu);
	*mbps = (double)n * c->len * 1e3 / ((double)(now - start) / b->ticks_per_ns);
	return 0;
}

static void keep(const struct bench *b, struct result *r, const struct load *l, uint64_t ticks,
		 uint64_t cpu_ns, uint64_t kicks, double copy, double cpu_copy)
{
	double ns = (double)ticks / b->ticks_per_ns, us = 1 / (b->ticks_per_ns * 1e3);
	double n = (double)l->done, mbps = n * l->c->len * 1e3 / ns;
	unsigned run = r->runs;

	r->value[M_KIOPS][run] = n * 1e6 / ns;
	r->value[M_MBPS][run] = mbps;
	r->value[M_CPU][run] = (double)cpu_ns / n;
	if (copy > 0) {
		r->value[M_COPY][run] = copy;
		r->value[M_OF_COPY][run] = mbps / copy;
		/* of a file the kernel moves the data, in time that is not all ours */
		if (l->c->disk == MEMORY_DISK)
			r->value[M_CPU_RATIO][run] =
				n * l->c->len * 1e3 / (double)cpu_ns / cpu_copy;
	}
	r->value[M_MESSAGES][run] = 1e3 * (double)kicks / n;
	r->value[M_MEAN][run] = (double)l->lat.sum / (double)l->lat.n * us;
	r->value[M_P50][run] = histogram_percentile(&l->lat, 0.5) * us;
	r->value[M_P99][run] = histogram_percentile(&l->lat, 0.99) * us;
	r->value[M_MIN][run] = (double)l->lat.least * us;
}

int bench_open_disk(const struct daemon_run *d, bool mapped, struct nvme_host **out)
{
	struct nvme_host_config cfg = {.path = daemon_socket(d, "ssd0/vf0"),
				       .queue_size = 256,
				       .dbbuf = !mapped,
				       .map_doorbells = mapped,
				       .memory = 64 << 20,
				       .timeout_ms = STUCK_S * 1000};

	return nvme_host_open(&cfg, out);
}

static int run_at(struct bench *b, const struct daemon_run *d, const struct bench_case *c,
		  struct result *r)
{
	uint64_t cpu, ticks = 0, kicks;
	struct nvme_host *h;
	double copy = 0, cpu_copy = 0;
	int err, ended;

	err = bench_open_disk(d, c->mapped, &h);
	if (!err && !b->filled && !c->mapped) {
		err = fill(h);
		b->filled = !err;
	}
	if (!err && c->disk != NULL_DISK)
		err = copy_rate(b, c, &copy, &cpu_copy);
	if (!err)
		err = begin(&load, c, h);
	if (err)
		return err;
	go_on(b, &load, b->seconds * STORAGE_TIME * WARM_UP);
	cpu = daemon_cpu_ns(d);
	kicks = h->kicks;
	ticks = go_on(b, &load, b->seconds * STORAGE_TIME);
	cpu = daemon_cpu_ns(d) - cpu;
	kicks = h->kicks - kicks;
	if (load.done)
		keep(b, r, &load, ticks, cpu, kicks, copy, cpu_copy);
	err = load.done ? 0 : -EIO;
	ended = finish(&load);
	nvme_host_close(h);
	/* The daemon notices that a client went when its control thread next runs. */
	usleep(2000);
	return err ? err : ended;
}

/* Mapped doorbells are offered only by a device that is polled always: a daemon of its own. */
int bench_run_storage(struct bench *b, const struct bench_case *c, struct result *r)
{
	static const char config[] =
		"workers: 1\n"
		"devices:\n"
		"  ssd0: {type: nvme, poll: always, total-vfs: 1, num-vfs: 1, queues: 2, "
		"namespaces: {1: {null: 1G, attach: [vf0]}}}\n";
	struct daemon_run d;
	int err;

	if (!c->mapped)
		return run_at(b, &b->daemon, c, r);
	if (!bench_takes(b, config)) {
		r->skipped = "this softiovd does not know `poll`";
		return 0;
	}
	err = bench_start(b, &d, config, false);
	if (err)
		return err;
	return bench_stop(&d, run_at(b, &d, c, r));
}
