/* SPDX-License-Identifier: BSD-3-Clause */
/* softiov worker list. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/table.h"
#include "util/util.h"

static double jr(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

void show_workers(const json_t *list)
{
	struct table t;
	size_t i;
	json_t *w;

	table_init(&t, "WORKER|>QUEUES|>BUSY NOW|>LOAD|>TURNS|>SLEEPS|>AWAKE|>CPU");
	json_array_foreach(list, i, w)
	{
		char n[16];

		table_cell(&t, "%s", js(w, "name"));
		table_cell(&t, "%lld", ji(w, "pollers"));
		table_cell(&t, "%lld", ji(w, "active"));
		table_cell(&t, "%.0f %%", 100 * jr(w, "load"));
		table_cell(&t, "%s", human_count((uint64_t)ji(w, "loops"), n));
		table_cell(&t, "%s", human_count((uint64_t)ji(w, "sleeps"), n));
		table_cell(&t, "%.3f s", (double)ji(w, "busy-ns") / 1e9);
		table_cell(&t, "%.3f s", (double)ji(w, "cpu-ns") / 1e9);
	}
	table_print(&t, stdout);
	table_free(&t);
}

static void show_queues(const json_t *workers)
{
	struct table t;
	size_t i, j;
	json_t *w, *q;

	table_init(&t, "QUEUE|WORKER|>LOAD|POLL|MOVES");
	json_array_foreach(workers, i, w)
	{
		json_array_foreach(json_object_get(w, "queues"), j, q)
		{
			table_cell(&t, "%s", js(q, "name"));
			table_cell(&t, "%s", js(w, "name"));
			table_cell(&t, "%.0f %%", 100 * jr(q, "load"));
			table_cell(&t, "%s", js(q, "poll"));
			table_cell(&t, "%s", jb(q, "movable") ? "yes" : "no");
		}
	}
	table_print(&t, stdout);
	table_free(&t);
}

int verb_worker_list(struct cli *cli, int argc, char **argv)
{
	const json_t *workers, *limit;
	json_t *result;
	int ret = cli_call_verb(cli, argc, argv, &result);

	if (!ret && cli->json) {
		cli_print_json(result);
	} else if (!ret) {
		workers = json_object_get(result, "workers");
		limit = json_object_get(result, "max-cpu");
		show_workers(workers);
		if (json_is_number(limit))
			printf("max-cpu %g\n", json_number_value(limit));
		putchar('\n');
		show_queues(workers);
	}
	json_decref(result);
	return ret;
}
