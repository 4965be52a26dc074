/* SPDX-License-Identifier: BSD-3-Clause */
/* Median and spread, as a Markdown table and as JSON. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

/* clang-format off */
static const char *const metric_names[METRICS] = {
	[M_MPPS] = "mpps", [M_GBPS] = "gbps", [M_CYCLES] = "tsc-cycles-per-frame",
	[M_WORKER] = "worker-tsc-cycles-per-frame", [M_MEMCPY] = "memcpy-gbps",
	[M_RATIO] = "of-memcpy", [M_STARVED] = "starved-percent", [M_LOST] = "lost-frames",
	[M_KIOPS] = "kiops", [M_MBPS] = "mb-per-s", [M_CPU] = "daemon-cpu-ns-per-command",
	[M_COPY] = "memcpy-mb-per-s", [M_OF_COPY] = "of-memcpy",
	[M_MESSAGES] = "messages-per-1000", [M_MEAN] = "mean-us",
	[M_P50] = "p50-us", [M_P99] = "p99-us", [M_MIN] = "min-us",
};
static const char *const case_says[] = {
	[ONE_WAY] = "one way", [BUSY] = "round trip A-B-A, everyone polls",
	[IDLE] = "one way, everyone asleep", [BARE] = "two bare eventfd wake-ups",
};
/* clang-format on */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct spread bench_spread(const struct result *r, enum metric m)
{
	double v[RUNS_MAX];
	unsigned n = r->runs;

	if (!n)
		return (struct spread){0};
	memcpy(v, r->value[m], n * sizeof(v[0]));
	qsort(v, n, sizeof(v[0]), by_value);
	return (struct spread){n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2, v[0], v[n - 1]};
}

static void cell(const struct result *r, enum metric m, int digits)
{
	struct spread s = bench_spread(r, m);

	printf(" %.*f (%.*f–%.*f) |", digits, s.median, digits, s.min, digits, s.max);
}

static void conditions(const struct bench *b, const struct machine *m)
{
	printf("# softiov-bench\n\n"
	       "- machine: %s, %d cores%s, %.2f GHz TSC; governor: %s\n"
	       "- kernel: %s; huge pages for shared memory: %s\n"
	       "- load average: %.2f before, %.2f after; stolen by the host meanwhile: %.2f %%\n"
	       "- build: %s\n"
	       "- softiovd (`workers: 1`) on core %d, both guests in one polling thread on core "
	       "%d%s\n"
	       "- rings of %u (TSO pages: four times that); guest memory: memfd. Each frame lies "
	       "in a slot of its own; small "
	       "ones in slots of 2 KiB\n"
	       "- %u runs of %.2f s a case, interleaved, after a warm-up of a tenth: median "
	       "(min–max)\n\n",
	       m->cpu, m->cpus, m->virtualized ? " (virtual)" : "", m->ghz, m->governor, m->kernel,
	       m->shmem_huge, m->load_before, m->load_after, m->steal_percent, BENCH_BUILD,
	       b->daemon_cpu, b->guest_cpu,
	       b->daemon_cpu == b->guest_cpu ? " - THE SAME: figures mean little" : "",
	       b->queue_size, b->runs, b->seconds);
}

/* KiB of n buffers as far as frames reach into them. */
static unsigned working_set(const struct bench_case *c, unsigned n, uint32_t buf)
{
	uint32_t lines = c->len + 12 < buf ? (c->len + 12 + 63) / 64 * 64 : buf;

	return n * lines / 1024;
}

static void throughput(const struct bench *b, const struct result *r, unsigned n)
{
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		const struct bench_case *c = r[i].what;

		if (c->kind != ONE_WAY || !r[i].runs)
			continue;
		if (!any)
			printf("| one way | bytes | Mpps | Gb/s | cycles/frame | worker's "
			       "cycles/frame "
			       "| memcpy Gb/s | of memcpy | worker starved %% | lost | touched "
			       "KiB, "
			       "sender + receiver "
			       "|\n|---|---|---|---|---|---|---|---|---|---|---|\n");
		any = true;
		printf("| %s | %u |", c->name, c->len);
		cell(&r[i], M_MPPS, c->gso ? 3 : 2);
		cell(&r[i], M_GBPS, 1);
		cell(&r[i], M_CYCLES, 0);
		cell(&r[i], M_WORKER, 0);
		cell(&r[i], M_MEMCPY, 1);
		cell(&r[i], M_RATIO, 2);
		printf(" %.1f | %.0f | %u + %u |\n", bench_spread(&r[i], M_STARVED).median,
		       bench_spread(&r[i], M_LOST).max,
		       working_set(c, bench_window(b, c), c->tx_buf),
		       working_set(c, bench_ring(b, c), c->rx_buf));
	}
	if (any)
		printf("\n");
}

static void latency(const struct result *r, unsigned n)
{
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		if (r[i].what->kind == ONE_WAY || r[i].what->kind == STORAGE || !r[i].runs)
			continue;
		if (!any)
			printf("| latency | what | least us | p50 us | p99 us |\n"
			       "|---|---|---|---|---|\n");
		any = true;
		printf("| %s | %s |", r[i].what->name, case_says[r[i].what->kind]);
		cell(&r[i], M_MIN, 2);
		cell(&r[i], M_P50, 2);
		cell(&r[i], M_P99, 2);
		printf("\n");
	}
}

static void storage(const struct bench *b, const struct result *r, unsigned n)
{
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		const struct bench_case *c = r[i].what;

		if (c->kind != STORAGE || !r[i].runs)
			continue;
		if (!any)
			printf("\nDisks: one I/O queue pair of 256, shadow doorbells, %.2f s a "
			       "run; "
			       "memory and file have %llu MiB, written before.\n\n"
			       "| disk | kIOPS | MB/s | mean us | p99 us | daemon's CPU ns/command "
			       "| "
			       "memcpy MB/s | of memcpy | messages/1000 |\n"
			       "|---|---|---|---|---|---|---|---|---|\n",
			       b->seconds * STORAGE_TIME,
			       (unsigned long long)bench_disk_size(FILE_DISK) >> 20);
		any = true;
		printf("| %s |", c->name + strlen("nvme "));
		cell(&r[i], M_KIOPS, 1);
		cell(&r[i], M_MBPS, 0);
		cell(&r[i], M_MEAN, 2);
		cell(&r[i], M_P99, 2);
		cell(&r[i], M_CPU, 0);
		if (c->disk == NULL_DISK) {
			printf(" - | - |");
		} else {
			cell(&r[i], M_COPY, 0);
			cell(&r[i], M_OF_COPY, 2);
		}
		printf(" %.1f |\n", bench_spread(&r[i], M_MESSAGES).median);
	}
}

void report_table(const struct bench *b, const struct machine *m, const struct result *r,
		  unsigned n)
{
	conditions(b, m);
	throughput(b, r, n);
	latency(r, n);
	storage(b, r, n);
	fflush(stdout);
}

static bool has_metric(const struct bench_case *c, enum metric m)
{
	switch (c->kind) {
	case ONE_WAY:
		return m <= M_LOST;
	case STORAGE:
		return m > M_LOST;
	default:
		return m >= M_P50;
	}
}

static json_t *result_json(const struct result *r)
{
	json_t *o = json_pack("{s:s, s:s, s:i, s:b}", "name", r->what->name, "what",
			      case_says[r->what->kind], "bytes", (int)r->what->len, "packed",
			      r->what->packed);

	if (r->what->kind == STORAGE) {
		json_object_del(o, "packed");
		json_object_set_new(o, "depth", json_integer(r->what->depth));
		json_object_set_new(o, "write-percent", json_integer(r->what->write_percent));
	}

	for (unsigned m = 0; m < METRICS; m++) {
		struct spread s = bench_spread(r, m);
		json_t *all;

		if (!has_metric(r->what, m))
			continue;
		all = json_array();
		for (unsigned i = 0; i < r->runs; i++)
			json_array_append_new(all, json_real(r->value[m][i]));
		json_object_set_new(o, metric_names[m],
				    json_pack("{s:f, s:f, s:f, s:o}", "median", s.median, "min",
					      s.min, "max", s.max, "runs", all));
	}
	return o;
}

int report_json(const char *path, const struct bench *b, const struct machine *m,
		const struct result *r, unsigned n)
{
	json_t *cases = json_array(), *top;
	int err;

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(cases, result_json(&r[i]));
	top = json_pack("{s:s, s:s, s:i, s:b, s:s, s:s, s:f, s:f, s:f, s:f, s:s, s:i, s:i, s:i, "
			"s:f, s:o}",
			"cpu", m->cpu, "kernel", m->kernel, "cores", m->cpus, "virtual",
			m->virtualized, "governor", m->governor, "shmem-huge-pages", m->shmem_huge,
			"tsc-ghz", m->ghz, "load-before", m->load_before, "load-after",
			m->load_after, "steal-percent", m->steal_percent, "build", BENCH_BUILD,
			"daemon-core", b->daemon_cpu, "guests-core", b->guest_cpu, "queue-size",
			(int)b->queue_size, "seconds", b->seconds, "cases", cases);
	err = !top || json_dump_file(top, path, JSON_INDENT(1)) ? -EIO : 0;
	json_decref(top);
	return err;
}
