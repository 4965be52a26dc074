/* SPDX-License-Identifier: BSD-3-Clause */
/* Workers and their queues: who has what, what it costs, and moves by hand. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/methods.h"
#include "util/util.h"
#include "worker/worker.h"

#define LABEL_MAX 96

static void add_queue(struct poller *p, void *opaque)
{
	static const char *const policies[] = {[POLLER_ADAPTIVE] = "adaptive",
					       [POLLER_ALWAYS] = "always",
					       [POLLER_NEVER] = "never"};
	char label[LABEL_MAX];
	json_t *o = json_object();

	poller_label(p, label, sizeof(label));
	put_string(o, "name", label);
	put_string(o, "poll", policies[p->policy]);
	put_bool(o, "movable", p->movable);
	put_int(o, "cost", p->cost);
	json_object_set_new(o, "load", json_real(poller_load(p)));
	json_array_append_new(opaque, o);
}

static json_t *worker_json(struct worker *w)
{
	struct worker_stats st;
	json_t *o = json_object();

	worker_get_stats(w, &st);
	put_string(o, "name", worker_name(w));
	put_int(o, "pollers", st.pollers);
	put_int(o, "active", st.active);
	put_int(o, "loops", st.loops);
	put_int(o, "sleeps", st.sleeps);
	put_int(o, "busy-ns", st.busy_ns);
	put_int(o, "work-ns", st.work_ns);
	put_int(o, "cpu-ns", st.cpu_ns);
	put_int(o, "rests", st.rests);
	put_int(o, "rested-ns", st.rested_ns);
	json_object_set_new(o, "load", json_real(worker_load(w)));
	return o;
}

json_t *control_workers_json(const struct control_context *ctx)
{
	struct worker_pool *pool = softiov_workers(ctx->softiov);
	json_t *a = json_array();

	for (unsigned i = 0; pool && i < worker_pool_size(pool); i++)
		json_array_append_new(a, worker_json(worker_pool_at(pool, i)));
	return a;
}

int control_worker_list(const struct control_context *ctx, const json_t *params, json_t **result,
			char why[CONTROL_WHY_MAX])
{
	struct worker_pool *pool = softiov_workers(ctx->softiov);
	json_t *workers = control_workers_json(ctx), *w, *queues;
	double limit = worker_cpu_limit();
	size_t i;

	json_array_foreach(workers, i, w)
	{
		queues = json_array();
		worker_each_poller(worker_pool_at(pool, (unsigned)i), add_queue, queues);
		json_object_set_new(w, "queues", queues);
	}
	*result = json_object();
	json_object_set_new(*result, "max-cpu", limit > 0 ? json_real(limit) : json_null());
	put_bool(*result, "rebalance", softiov_rebalances(ctx->softiov));
	json_object_set_new(*result, "workers", workers);
	return 0;
}

/* "worker/1", as it is listed, or "1". */
static struct worker *find_worker(struct worker_pool *pool, const char *name)
{
	for (unsigned i = 0; i < worker_pool_size(pool); i++) {
		const char *full = worker_name(worker_pool_at(pool, i));
		const char *number = strrchr(full, '/');

		if (!strcmp(name, full) || (number && !strcmp(name, number + 1)))
			return worker_pool_at(pool, i);
	}
	return NULL;
}

struct selection {
	const char *name;
	struct poller **found;
	unsigned n, fixed;
	bool no_memory;
};

/* A queue by its own name, or all that can be moved of what is so called. */
static void select_queue(struct poller *p, void *opaque)
{
	struct selection *s = opaque;
	struct poller **grown;
	char label[LABEL_MAX];

	poller_label(p, label, sizeof(label));
	if (strcmp(label, s->name) && strcmp(p->name ? p->name : "", s->name))
		return;
	if (!p->movable) {
		s->fixed++;
		return;
	}
	grown = realloc(s->found, (s->n + 1) * sizeof(*grown));
	if (!grown) {
		s->no_memory = true;
		return;
	}
	s->found = grown;
	s->found[s->n++] = p;
}

static int nothing_to_move(const struct control_context *ctx, const struct selection *s,
			   char why[CONTROL_WHY_MAX])
{
	if (s->no_memory)
		return -ENOMEM;
	if (s->fixed) {
		snprintf(why, CONTROL_WHY_MAX,
			 "%s: stays with its worker, where its commands are under way; queues of "
			 "Ethernet functions and TAP uplinks can move: softiov worker list",
			 s->name);
		return -EPERM;
	}
	snprintf(
		why, CONTROL_WHY_MAX,
		"%s: no queue or function of that name runs on a worker: softiov worker list shows "
		"those that do",
		s->name);
	return -ENOENT;
}

int control_worker_move(const struct control_context *ctx, const json_t *params, json_t **result,
			char why[CONTROL_WHY_MAX])
{
	struct worker_pool *pool = softiov_workers(ctx->softiov);
	const char *name = param_string(params, "worker");
	struct selection s = {.name = param_string(params, "queue")};
	struct worker *to = find_worker(pool, name);
	int ret = 0;

	if (!to) {
		snprintf(why, CONTROL_WHY_MAX, "%s: no such worker: give a number below %u", name,
			 worker_pool_size(pool));
		return -ENOENT;
	}
	for (unsigned i = 0; i < worker_pool_size(pool); i++)
		worker_each_poller(worker_pool_at(pool, i), select_queue, &s);
	if (!s.n || s.no_memory)
		ret = nothing_to_move(ctx, &s, why);
	for (unsigned i = 0; !ret && i < s.n; i++) {
		ret = poller_move(s.found[i], to);
		if (ret)
			snprintf(why, CONTROL_WHY_MAX, "%s: cannot move to %s: %s", s.name,
				 worker_name(to), strerror(-ret));
	}
	free(s.found);
	if (ret)
		return ret;
	*result = json_object();
	put_int(*result, "moved", s.n);
	return 0;
}
