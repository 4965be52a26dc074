/* SPDX-License-Identifier: BSD-3-Clause */
/* Median and spread, as Markdown tables and as JSON. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define END METRICS /* of a list of columns */

/* clang-format off */
static const struct {
	const char *json, *head;
} metrics[METRICS] = {
	[M_MPPS] = {"mpps", "Mpps"},
	[M_GBPS] = {"gbps", "Gb/s"},
	[M_CYCLES] = {"tsc-cycles-per-frame", "cycles/frame"},
	[M_WORKER] = {"worker-tsc-cycles-per-frame", "worker's cycles/frame"},
	[M_MEMCPY] = {"memcpy-gbps", "memcpy Gb/s"},
	[M_RATIO] = {"of-memcpy", "of memcpy"},
	[M_CPU_RATIO] = {"of-memcpy-by-cpu", "by CPU"},
	[M_FAR_MEMCPY] = {"memcpy-256M-gbps", "memcpy over 256 MiB Gb/s"},
	[M_FAR_RATIO] = {"of-memcpy-256M", "of that"},
	[M_FAR_CPU_RATIO] = {"of-memcpy-256M-by-cpu", "by CPU"},
	[M_STARVED] = {"starved-percent", "worker starved %"},
	[M_LOST] = {"lost-frames", "lost"},
	[M_KIOPS] = {"kiops", "kIOPS"},
	[M_MBPS] = {"mb-per-s", "MB/s"},
	[M_CPU] = {"cpu-ns-per-item", "daemon's CPU ns each"},
	[M_COPY] = {"memcpy-mb-per-s", "memcpy MB/s"},
	[M_OF_COPY] = {"of-memcpy", "of memcpy"},
	[M_MESSAGES] = {"messages-per-1000", "messages/1000"},
	[M_MEAN] = {"mean-us", "mean us"},
	[M_P50] = {"p50-us", "p50 us"},
	[M_P99] = {"p99-us", "p99 us"},
	[M_MIN] = {"min-us", "least us"},
	[M_MAX] = {"max-us", "most us"},
	[M_SPOILT] = {"spoilt-percent", "spoilt by others %"},
	[M_TURN] = {"turn-us", "a turn us"},
	[M_BOUND] = {"round-us", "a round us"},
	[M_PERCENT] = {"percent-of-core", "daemon's CPU, % of a core"},
	[M_ONE_CPU] = {"one-worker-mpps-of-cpu", "one worker: M frames/s of its CPU"},
	[M_TWO_CPU] = {"two-workers-mpps-of-cpu", "two workers: M frames/s of each one's CPU"},
	[M_CPU_SCALING] = {"cpu-scaling", "two / one, by CPU"},
	[M_ONE_WALL] = {"one-worker-mpps", "one worker: Mpps"},
	[M_TWO_WALL] = {"two-workers-mpps", "two workers: Mpps"},
	[M_WALL_SCALING] = {"wall-scaling", "two / one, by the clock"},
	[M_BALANCE] = {"balance", "balance of two"},
	[M_SET] = {"set-mbit-per-s", "set Mb/s"},
	[M_GOT] = {"mbit-per-s", "arrived Mb/s"},
	[M_ACCURACY] = {"percent-of-set", "% of what is set"},
	[M_BY_CPU] = {"mbit-per-cpu-second", "by CPU Mb/s"},
	[M_UNLIMITED] = {"unlimited-mbit-per-s", "without a limit Mb/s"},
	[M_START] = {"start-ms", "start ms"},
	[M_OWN] = {"own-kib-per-vf", "own KiB/VF"},
	[M_ATTACHED] = {"attached-kib-per-vf", "more when attached KiB/VF"},
	[M_RSS] = {"rss-kib-per-vf", "RSS KiB/VF"},
	[M_PSS] = {"pss-kib-per-vf", "PSS KiB/VF"},
	[M_FIRST] = {"first-frame-ms", "connect to first frame ms"},
	[M_IDLE] = {"idle-percent-of-core", "idle, % of a core"},
	[M_FEW_MPPS] = {"few-mpps", "two send: Mpps"},
	[M_FEW_CPU] = {"few-worker-ns-per-frame", "two send: workers' ns/frame"},
	[M_ALL_MPPS] = {"all-mpps", "all send: Mpps"},
	[M_ALL_CPU] = {"all-worker-ns-per-frame", "all send: workers' ns/frame"},
};

static const struct group {
	unsigned kinds;
	const char *title, *intro;
	unsigned strip; /* characters of the name that say the same as the title */
	enum metric columns[16];
} groups[] = {
	{1u << ONE_WAY, "one way",
	 "`worker starved`: share of the load's looks at which the worker had nothing to do. `by "
	 "CPU`: the same ratio of the time only that the worker, and memcpy, were on a core.", 0,
	 {M_MPPS, M_GBPS, M_CYCLES, M_WORKER, M_MEMCPY, M_RATIO, M_CPU_RATIO, M_FAR_MEMCPY,
	  M_FAR_RATIO, M_FAR_CPU_RATIO,	  M_STARVED, M_LOST, END}},
	{1u << BUSY | 1u << IDLE | 1u << BARE, "latency",
	 "`busy`: round trip A-B-A, everyone polls; `idle`: one way, everyone asleep; `bare`: two "
	 "eventfd wake-ups and nothing else.", 0,
	 {M_MIN, M_P50, M_P99, END}},
	{1u << WORKERS, "two workers",
	 "Pairs of VFs, two where there are three cores or more, else eight, on one worker and on two. `by CPU`: what two cores would give, from the "
	 "workers' own CPU time; `by the clock` only where there is a core for each.", 8,
	 {M_ONE_CPU, M_TWO_CPU, M_CPU_SCALING, M_ONE_WALL, M_TWO_WALL, M_WALL_SCALING, M_BALANCE,
	  M_STARVED, END}},
	{1u << NEIGHBOUR, "noisy neighbours",
	 "One way of a quiet VF's 64-byte frames; Mpps: of the 63 others, on the same worker. `a "
	 "turn`: the longest of one of them, 16 KiB of cost and one frame more; a quiet VF is to "
	 "wait for one. `a round`: a turn of each.", 10,
	 {M_MIN, M_P50, M_P99, M_MAX, M_SPOILT, M_TURN, M_BOUND, M_MPPS, END}},
	{1u << LIGHT_LOAD, "light load",
	 "A thousand frames (one way) or 4 KiB reads a second.", 6,
	 {M_PERCENT, M_MIN, M_P50, M_P99, M_MAX, M_SPOILT, END}},
	{1u << STORAGE, "disk",
	 "One I/O queue pair of 256, shadow doorbells; memory and file have 256 MiB, written "
	 "before.", 5,
	 {M_KIOPS, M_MBPS, M_MEAN, M_P99, M_CPU, M_COPY, M_OF_COPY, M_CPU_RATIO, M_MESSAGES, END}},
	{1u << RATE, "max-tx-rate",
	 "Bits of frames, without preamble, FCS and gap; of large ones those of the frames that they "
	 "would be cut to. Where `without a limit` (on a core that nobody "
	 "else wants) is less than what "
	 "is set, this machine does not reach it.", 5,
	 {M_SET, M_GOT, M_ACCURACY, M_UNLIMITED, M_SPOILT, M_CPU, M_BY_CPU, END}},
	{1u << SCALE, "scale",
	 "64-byte frames. `own`: the daemon's anonymous memory, before anything is attached; RSS and "
	 "PSS have the guests' memory in them, as far as the daemon touched it.", 6,
	 {M_START, M_OWN, M_ATTACHED, M_RSS, M_PSS, M_FIRST, M_IDLE, M_FEW_MPPS, M_FEW_CPU,
	  M_ALL_MPPS, M_ALL_CPU, M_STARVED, END}},
};
/* clang-format on */
#define NUM_GROUPS (sizeof(groups) / sizeof(groups[0]))

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct spread bench_spread(const struct result *r, enum metric m)
{
	double v[RUNS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < r->runs; i++)
		if (!isnan(r->value[m][i]))
			v[n++] = r->value[m][i];
	if (!n)
		return (struct spread){NAN, NAN, NAN, 0};
	qsort(v, n, sizeof(v[0]), by_value);
	return (struct spread){n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2, v[0], v[n - 1], n};
}

/* Four digits or so. */
static int digits_of(double v)
{
	return v >= 1000 ? 0 : v >= 100 ? 1 : v >= 10 ? 2 : 3;
}

static void cell(FILE *f, const struct result *r, enum metric m)
{
	struct spread s = bench_spread(r, m);
	int digits = digits_of(s.median);

	if (!s.n)
		fprintf(f, " - |");
	else if (s.min == s.max)
		fprintf(f, " %.*f |", s.median == floor(s.median) ? 0 : digits, s.median);
	else
		fprintf(f, " %.*f (%.*f–%.*f) |", digits, s.median, digits, s.min, digits, s.max);
}

static void conditions(FILE *f, const struct bench *b, const struct machine *m)
{
	fprintf(f,
		"# softiov-bench\n\n"
		"- machine: %s, %d cores%s, caches of core 0: %s, %s, %s; %.2f GHz TSC; governor: "
		"%s\n"
		"- kernel: %s; huge pages for shared memory: %s\n"
		"- load average: %.2f before, %.2f after; stolen by the host meanwhile: %.2f %%\n"
		"- build: %s\n"
		"- %s on core %d, all guests in one polling thread on core %d%s\n"
		"- rings of %u (TSO pages: four times that); guest memory: memfd. Each frame lies "
		"in a slot of its own; small ones in slots of 2 KiB\n"
		"- %u runs of %.2f s a case, interleaved, after a warm-up of a tenth: median "
		"(min–max)\n",
		m->cpu, m->cpus, m->virtualized ? " (virtual)" : "", m->caches[0], m->caches[1],
		m->caches[2], m->ghz, m->governor, m->kernel, m->shmem_huge, m->load_before,
		m->load_after, m->steal_percent, BENCH_BUILD,
		b->peer[0] ? "another switch, by vhost-user," : "softiovd (`workers: 1`)",
		b->daemon_cpu, b->guest_cpu,
		b->daemon_cpu == b->guest_cpu ? " - THE SAME: figures mean little" : "",
		b->queue_size, b->runs, b->seconds);
}

static void row(FILE *f, const struct group *g, const struct result *r)
{
	fprintf(f, "| %s |", r->what->name + g->strip);
	for (unsigned c = 0; g->columns[c] != END; c++)
		cell(f, r, g->columns[c]);
	fprintf(f, "\n");
}

static void table(FILE *f, const struct group *g, const struct result *r, unsigned n)
{
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		if (!(g->kinds >> r[i].what->kind & 1) || !r[i].runs)
			continue;
		if (!any) {
			fprintf(f, "\n%s\n\n| %s |", g->intro, g->title);
			for (unsigned c = 0; g->columns[c] != END; c++)
				fprintf(f, " %s |", metrics[g->columns[c]].head);
			fprintf(f, "\n|---|");
			for (unsigned c = 0; g->columns[c] != END; c++)
				fprintf(f, "---|");
			fprintf(f, "\n");
		}
		any = true;
		row(f, g, &r[i]);
	}
}

void report_tables(FILE *f, const struct bench *b, const struct machine *m, const struct result *r,
		   unsigned n)
{
	bool any = false;

	conditions(f, b, m);
	for (unsigned i = 0; i < NUM_GROUPS; i++)
		table(f, &groups[i], r, n);
	for (unsigned i = 0; i < n; i++) {
		if (!r[i].skipped)
			continue;
		if (!any)
			fprintf(f, "\nNot measured:\n\n");
		any = true;
		fprintf(f, "- %s: %s\n", r[i].what->name, r[i].skipped);
	}
	fflush(f);
}

static json_t *result_json(const struct result *r)
{
	json_t *o = json_pack("{s:s, s:i, s:b}", "name", r->what->name, "bytes", (int)r->what->len,
			      "packed", r->what->packed);

	if (r->what->kind == STORAGE) {
		json_object_del(o, "packed");
		json_object_set_new(o, "depth", json_integer(r->what->depth));
		json_object_set_new(o, "write-percent", json_integer(r->what->write_percent));
	}
	if (r->skipped)
		json_object_set_new(o, "skipped", json_string(r->skipped));
	for (unsigned m = 0; m < METRICS; m++) {
		struct spread s = bench_spread(r, m);
		json_t *all;

		if (!s.n)
			continue;
		all = json_array();
		for (unsigned i = 0; i < r->runs; i++)
			json_array_append_new(all, isnan(r->value[m][i])
							   ? json_null()
							   : json_real(r->value[m][i]));
		json_object_set_new(o, metrics[m].json,
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

int report_scale_data(const char *path, const struct result *r, unsigned n)
{
	static const enum metric columns[] = {M_FEW_MPPS, M_ALL_MPPS, M_FEW_CPU, M_ALL_CPU, M_OWN,
					      M_ATTACHED, M_START,    M_FIRST,	 M_IDLE};
	FILE *f = fopen(path, "we");
	unsigned workers = 0;

	if (!f)
		return -errno;
	fprintf(f, "# VFs workers; of each then median, least, most:");
	for (unsigned c = 0; c < sizeof(columns) / sizeof(columns[0]); c++)
		fprintf(f, " %s", metrics[columns[c]].json);
	for (unsigned i = 0; i < n; i++) {
		if (r[i].what->kind != SCALE || !r[i].runs)
			continue;
		/* two empty lines part the blocks that gnuplot knows by index */
		fprintf(f, workers && workers != r[i].what->workers ? "\n\n\n" : "\n");
		workers = r[i].what->workers;
		fprintf(f, "%u %u", r[i].what->vfs, workers);
		for (unsigned c = 0; c < sizeof(columns) / sizeof(columns[0]); c++) {
			struct spread s = bench_spread(&r[i], columns[c]);

			fprintf(f, " %g %g %g", s.median, s.min, s.max);
		}
	}
	fprintf(f, "\n");
	return fclose(f) ? -errno : 0;
}
