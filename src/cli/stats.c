/* SPDX-License-Identifier: BSD-3-Clause */
/* softiov stats: counters, and with --watch what they grew by. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/table.h"
#include "util/util.h"

#define WATCH_DEFAULT_S 1.0
#define WATCH_MIN_S	0.1
#define WATCH_MAX_S	3600.0

/* "rx-no-buffer 12, tx-spoof-mac 3" */
static char *drop_reasons(const json_t *port)
{
	const json_t *drops = json_object_get(port, "drops");
	char *text = NULL, n[16];
	const char *reason;
	bool more = false;
	size_t len;
	json_t *v;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	json_object_foreach((json_t *)drops, reason, v)
	{
		if (!json_integer_value(v))
			continue;
		fprintf(f, "%s%s %s", more ? ", " : "", reason,
			human_count((uint64_t)json_integer_value(v), n));
		more = true;
	}
	fclose(f);
	return text;
}

static void count_cell(struct table *t, const json_t *o, const char *key)
{
	char n[16];

	table_cell(t, "%s", human_count((uint64_t)ji(o, key), n));
}

static void bytes_cell(struct table *t, const json_t *o, const char *key)
{
	char n[16];

	table_cell(t, "%s", human_bytes((uint64_t)ji(o, key), n));
}

static void port_row(struct table *t, const json_t *p, bool throttled)
{
	char *reasons = drop_reasons(p);

	table_cell(t, "%s", js(p, "name"));
	count_cell(t, p, "rx-packets");
	bytes_cell(t, p, "rx-bytes");
	count_cell(t, p, "rx-dropped");
	count_cell(t, p, "tx-packets");
	bytes_cell(t, p, "tx-bytes");
	count_cell(t, p, "tx-dropped");
	if (throttled)
		table_cell(t, "%.3f s", (double)ji(p, "tx-throttled-ns") / 1e9);
	table_cell(t, "%s", reasons ? reasons : "");
	free(reasons);
}

/* False when there are disks, and nothing else. */
static bool has_ports(const json_t *result)
{
	const json_t *functions = json_object_get(result, "functions");

	return json_array_size(json_object_get(result, "uplinks")) || has_type(functions, false);
}

static bool has_disks(const json_t *result)
{
	return json_array_size(json_object_get(result, "namespaces")) ||
	       has_type(json_object_get(result, "functions"), true);
}

static void print_ports(const json_t *result)
{
	static const char *const lists[] = {"functions", "uplinks"};
	bool throttled = false;
	char heads[128];
	struct table t;
	json_t *p;
	size_t i;

	if (!has_ports(result))
		return;
	json_array_foreach(json_object_get(result, "functions"), i, p)
	{
		throttled |= ji(p, "tx-throttled") != 0;
	}
	snprintf(heads, sizeof(heads), "%s%s|WHY DROPPED",
		 "PORT|>RX PKTS|>RX BYTES|>RX DROP|>TX PKTS|>TX BYTES|>TX DROP",
		 throttled ? "|>THROTTLED" : "");
	table_init(&t, heads);
	for (unsigned l = 0; l < 2; l++)
		json_array_foreach(json_object_get(result, lists[l]), i, p) if (!is_nvme(p))
			port_row(&t, p, throttled);
	table_print(&t, stdout);
	table_free(&t);
}

static void print_workers(const json_t *result)
{
	json_t *workers = json_object_get(result, "workers"), *w;
	struct table t;
	size_t i;

	if (!json_array_size(workers))
		return;
	table_init(&t, "WORKER|>QUEUES|>BUSY NOW|>TURNS|>SLEEPS|>AWAKE");
	json_array_foreach(workers, i, w)
	{
		table_cell(&t, "%s", js(w, "name"));
		count_cell(&t, w, "pollers");
		count_cell(&t, w, "active");
		count_cell(&t, w, "loops");
		count_cell(&t, w, "sleeps");
		table_cell(&t, "%.3f s", (double)ji(w, "busy-ns") / 1e9);
	}
	putchar('\n');
	table_print(&t, stdout);
	table_free(&t);
}

/* Every counter of one port, exactly. */
static void print_one(const json_t *p)
{
	static const char *const keys[] = {"packets", "bytes", "broadcast", "multicast", "dropped"};
	const char *reason;
	struct table t;
	json_t *v;

	printf("%s\n", js(p, "name"));
	table_init(&t, "|>RX|>TX");
	for (unsigned i = 0; i < 5; i++) {
		char key[24];

		table_cell(&t, "  %s", keys[i]);
		snprintf(key, sizeof(key), "rx-%s", keys[i]);
		table_cell(&t, "%lld", ji(p, key));
		snprintf(key, sizeof(key), "tx-%s", keys[i]);
		table_cell(&t, "%lld", ji(p, key));
	}
	table_print(&t, stdout);
	table_free(&t);
	puts("Dropped, by reason");
	json_object_foreach(json_object_get((json_t *)p, "drops"), reason, v)
		printf("  %-20s %lld\n", reason, (long long)json_integer_value(v));
	if (json_object_get(p, "tx-throttled"))
		printf("Held back by a transmit rate\n  %-20s %lld\n  %-20s %.3f s\n",
		       "tx-throttled", ji(p, "tx-throttled"), "for",
		       (double)ji(p, "tx-throttled-ns") / 1e9);
	if (json_object_get(p, "kicks"))
		printf("Signals\n  %-20s %lld\n  %-20s %lld\n", "kicks", ji(p, "kicks"),
		       "interrupts", ji(p, "interrupts"));
}

/* The only object of all lists, if it is the one named. */
static const json_t *only_one(const json_t *result, const char *name)
{
	static const char *const lists[] = {"functions", "namespaces", "uplinks"};
	const json_t *one = NULL;
	size_t n = 0;

	for (unsigned l = 0; l < ARRAY_SIZE(lists); l++) {
		const json_t *list = json_object_get(result, lists[l]);

		n += json_array_size(list);
		if (!one)
			one = json_array_get(list, 0);
	}
	return n == 1 && !strcmp(js(one, "name"), name) ? one : NULL;
}

static void print_stats(const json_t *result, const char *name)
{
	const json_t *one = only_one(result, name);

	if (one && json_object_get(one, "reads")) {
		stats_nvme_one(one);
		return;
	}
	if (one) {
		print_one(one);
		return;
	}
	print_ports(result);
	if (has_ports(result) && has_disks(result))
		putchar('\n');
	stats_nvme_tables(result);
	print_workers(result);
}

const json_t *stats_find(const json_t *list, const char *name)
{
	json_t *p;
	size_t i;

	json_array_foreach(list, i, p) if (!strcmp(js(p, "name"), name)) return p;
	return NULL;
}

double stats_rate(const json_t *now, const json_t *before, const char *key, double seconds)
{
	long long d = before ? ji(now, key) - ji(before, key) : 0;

	return d > 0 ? (double)d / seconds : 0;
}

static void rate_row(struct table *t, const json_t *p, const json_t *before, double s)
{
	char n[16];

	table_cell(t, "%s", js(p, "name"));
	table_cell(t, "%s", human_count((uint64_t)stats_rate(p, before, "rx-packets", s), n));
	table_cell(t, "%s", human_rate(stats_rate(p, before, "rx-bytes", s) * 8, n));
	table_cell(t, "%s", human_count((uint64_t)stats_rate(p, before, "rx-dropped", s), n));
	table_cell(t, "%s", human_count((uint64_t)stats_rate(p, before, "tx-packets", s), n));
	table_cell(t, "%s", human_rate(stats_rate(p, before, "tx-bytes", s) * 8, n));
	table_cell(t, "%s", human_count((uint64_t)stats_rate(p, before, "tx-dropped", s), n));
	table_cell(t, "%s", human_count((uint64_t)stats_rate(p, before, "kicks", s), n));
	table_cell(t, "%s", human_count((uint64_t)stats_rate(p, before, "interrupts", s), n));
}

static void print_port_rates(const json_t *now, const json_t *before, double s)
{
	static const char *const lists[] = {"functions", "uplinks"};
	struct table t;
	json_t *p;
	size_t i;

	if (!has_ports(now))
		return;
	table_init(&t, "PORT (A SECOND)|>RX PKTS|>RX|>RX DROP|>TX PKTS|>TX|>TX DROP|>KICKS|>IRQS");
	for (unsigned l = 0; l < 2; l++) {
		const json_t *old = json_object_get(before, lists[l]);

		json_array_foreach(json_object_get(now, lists[l]), i, p) if (!is_nvme(p))
			rate_row(&t, p, stats_find(old, js(p, "name")), s);
	}
	table_print(&t, stdout);
	table_free(&t);
	if (has_disks(now))
		putchar('\n');
}

static void print_rates(const json_t *now, const json_t *before)
{
	double s = (double)(ji(now, "time-ns") - ji(before, "time-ns")) / 1e9;
	json_t *p;
	size_t i;

	if (s <= 0)
		return;
	if (isatty(STDOUT_FILENO))
		fputs("\033[H\033[J", stdout);
	print_port_rates(now, before, s);
	stats_nvme_rates(now, before, s);
	json_array_foreach(json_object_get(now, "workers"), i, p)
	{
		const json_t *b = stats_find(json_object_get(before, "workers"), js(p, "name"));

		printf("%s%s: %.1f %% awake, %lld of %lld queues busy\n", i ? "" : "\n",
		       js(p, "name"), stats_rate(p, b, "busy-ns", s) / 1e7, ji(p, "active"),
		       ji(p, "pollers"));
	}
	if (!isatty(STDOUT_FILENO))
		putchar('\n');
	fflush(stdout);
}

static void print_line(const json_t *v)
{
	json_dumpf(v, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
}

/* Until interrupted, or the daemon goes. */
static int watch(struct cli *cli, json_t *params, double seconds)
{
	struct timespec ts = {.tv_sec = (time_t)seconds,
			      .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
	json_t *before = NULL, *now;
	int ret;

	while (!(ret = cli_call(cli, "stats", params, &now))) {
		if (cli->json)
			print_line(now);
		else if (before)
			print_rates(now, before);
		if (ferror(stdout))
			ret = CLI_FAILED;
		json_decref(before);
		before = now;
		if (ret)
			break;
		nanosleep(&ts, NULL);
	}
	json_decref(before);
	return ret;
}

int verb_stats(struct cli *cli, int argc, char **argv)
{
	const char *interval = NULL;
	json_t *params, *result;
	double seconds;
	char why[256];
	int watching, ret;

	watching = cli_take(&argc, argv, "--watch", &interval, true);
	seconds = interval ? strtod(interval, NULL) : WATCH_DEFAULT_S;
	if (watching && !(seconds >= WATCH_MIN_S && seconds <= WATCH_MAX_S)) {
		cli_error("stats: --watch %s: give seconds from %g to %g", interval, WATCH_MIN_S,
			  WATCH_MAX_S);
		return CLI_USAGE;
	}
	params = cli_params(cli->cmd, argc, argv, why, sizeof(why));
	if (!params) {
		cli_error("stats: %s", why);
		return CLI_USAGE;
	}
	if (watching) {
		ret = watch(cli, params, seconds);
		json_decref(params);
		return ret;
	}
	ret = cli_call(cli, "stats", params, &result);
	if (!ret && cli->json)
		cli_print_json(result);
	else if (!ret)
		print_stats(result, js(params, "name"));
	json_decref(params);
	json_decref(result);
	return ret;
}
