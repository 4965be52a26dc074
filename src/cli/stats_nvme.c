/* SPDX-License-Identifier: BSD-3-Clause */
/* softiov stats: controllers and namespaces of NVMe devices. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/table.h"
#include "util/util.h"

#define NS_PER_US 1e3

/* A number of microseconds as short as three digits that count allow. */
static void put_us(long long ns, char *buf, size_t len)
{
	double us = (double)ns / NS_PER_US;

	snprintf(buf, len, us >= 99.95 ? "%.0f" : "%.1f", us);
}

/* "8.2/45.1/210": p50, p99, p99.9 of one kind of command, in microseconds. */
static void latency_cell(struct table *t, const json_t *o, const char *op)
{
	const json_t *l = json_object_get(json_object_get(o, "latency-ns"), op);
	char p50[24], p99[24], p999[24];

	if (!ji(l, "max")) {
		table_cell(t, NULL);
		return;
	}
	put_us(ji(l, "p50"), p50, sizeof(p50));
	put_us(ji(l, "p99"), p99, sizeof(p99));
	put_us(ji(l, "p99.9"), p999, sizeof(p999));
	table_cell(t, "%s/%s/%s", p50, p99, p999);
}

static void row(struct table *t, const json_t *o)
{
	char n[16];

	table_cell(t, "%s", js(o, "name"));
	table_cell(t, "%s", human_count((uint64_t)ji(o, "reads"), n));
	table_cell(t, "%s", human_bytes((uint64_t)ji(o, "read-bytes"), n));
	table_cell(t, "%s", human_count((uint64_t)ji(o, "writes"), n));
	table_cell(t, "%s", human_bytes((uint64_t)ji(o, "write-bytes"), n));
	table_cell(t, "%s", human_count((uint64_t)ji(o, "others"), n));
	table_cell(t, "%s", human_count((uint64_t)ji(o, "errors"), n));
	table_cell(t, "%lld", ji(o, "queue-depth"));
	latency_cell(t, o, "read");
	latency_cell(t, o, "write");
	table_cell(t, "%s", human_time((uint64_t)ji(o, "throttled-ns"), n));
}

static bool has_disk(const json_t *list)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) if (json_object_get(o, "reads")) return true;
	return false;
}

/* Functions, then namespaces: the same command counts in one of each. */
static const char *const lists[] = {"functions", "namespaces"};

void stats_nvme_tables(const json_t *result)
{
	static const char *const names[] = {"FUNCTION", "NAMESPACE"};
	bool again = false;

	for (unsigned l = 0; l < ARRAY_SIZE(lists); l++) {
		const json_t *list = json_object_get(result, lists[l]);
		char headings[160];
		struct table t;
		json_t *o;
		size_t i;

		if (!has_disk(list))
			continue;
		if (again)
			putchar('\n');
		again = true;
		snprintf(headings, sizeof(headings),
			 "%s|>READS|>READ|>WRITES|>WRITTEN|>OTHER|>ERRORS|>DEPTH|>READ "
			 "us 50/99/99.9%%|>WRITE us 50/99/99.9%%|>THROTTLED",
			 names[l]);
		table_init(&t, headings);
		json_array_foreach(list, i, o) if (json_object_get(o, "reads")) row(&t, o);
		table_print(&t, stdout);
		table_free(&t);
	}
}

static void print_latencies(const json_t *latency)
{
	static const char *const ops[] = {"read", "write", "other"};
	static const char *const keys[] = {"p50", "p99", "p99.9", "mean", "max"};
	struct table t;

	table_init(&t, "|>READ|>WRITE|>OTHER");
	for (unsigned k = 0; k < ARRAY_SIZE(keys); k++) {
		table_cell(&t, "  %s", keys[k]);
		for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
			const json_t *l = json_object_get(latency, ops[i]);
			char text[16];

			table_cell(&t, "%s",
				   ji(l, "max") ? human_time((uint64_t)ji(l, keys[k]), text) : "");
		}
	}
	puts("Latency");
	table_print(&t, stdout);
	table_free(&t);
}

/* Every counter of one, exactly. */
void stats_nvme_one(const json_t *o)
{
	static const char *const keys[] = {"reads",  "read-bytes", "writes",	  "write-bytes",
					   "others", "errors",	   "queue-depth", "admin-commands",
					   "kicks",  "interrupts"};
	char waited[16];

	printf("%s\n", js(o, "name"));
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (json_object_get(o, keys[i]))
			printf("  %-20s %lld\n", keys[i], ji(o, keys[i]));
	printf("  %-20s %s\n", "throttled", human_time((uint64_t)ji(o, "throttled-ns"), waited));
	print_latencies(json_object_get(o, "latency-ns"));
}

static void rate_row(struct table *t, const json_t *o, const json_t *before, double s)
{
	double reads = stats_rate(o, before, "reads", s);
	double writes = stats_rate(o, before, "writes", s);
	char n[16];

	table_cell(t, "%s", js(o, "name"));
	table_cell(t, "%s", human_count((uint64_t)(reads + writes), n));
	table_cell(t, "%s", human_count((uint64_t)reads, n));
	table_cell(t, "%s", human_byte_rate(stats_rate(o, before, "read-bytes", s), n));
	table_cell(t, "%s", human_count((uint64_t)writes, n));
	table_cell(t, "%s", human_byte_rate(stats_rate(o, before, "write-bytes", s), n));
	table_cell(t, "%s", human_count((uint64_t)stats_rate(o, before, "errors", s), n));
	table_cell(t, "%lld", ji(o, "queue-depth"));
	latency_cell(t, o, "read");
	latency_cell(t, o, "write");
	/* Commands' waiting time in a second of ours: how many waited, on average. */
	table_cell(t, "%.1f", stats_rate(o, before, "throttled-ns", s) / 1e9);
}

void stats_nvme_rates(const json_t *now, const json_t *before, double seconds)
{
	struct table t;
	json_t *o;
	size_t i;

	if (!has_disk(json_object_get(now, lists[0])) && !has_disk(json_object_get(now, lists[1])))
		return;
	table_init(&t, "NVME (A SECOND)|>IOPS|>READS|>READ|>WRITES|>WRITTEN|>ERRORS|>DEPTH|>READ "
		       "us 50/99/99.9%|>WRITE us 50/99/99.9%|>HELD BACK");
	for (unsigned l = 0; l < ARRAY_SIZE(lists); l++) {
		const json_t *old = json_object_get(before, lists[l]);

		json_array_foreach(json_object_get(now, lists[l]), i,
				   o) if (json_object_get(o, "reads"))
			rate_row(&t, o, stats_find(old, js(o, "name")), seconds);
	}
	table_print(&t, stdout);
	table_free(&t);
}
