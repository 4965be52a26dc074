/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct worker_pool {
	unsigned n;
	struct worker *workers[];
};

int worker_pool_create(unsigned n, struct worker_pool **out)
{
	struct worker_pool *pool;
	char name[24];
	int r;

	if (!n)
		return -EINVAL;
	pool = calloc(1, sizeof(*pool) + n * sizeof(pool->workers[0]));
	if (!pool)
		return -ENOMEM;
	for (; pool->n < n; pool->n++) {
		snprintf(name, sizeof(name), "worker/%u", pool->n);
		r = worker_create(name, 0, &pool->workers[pool->n]);
		if (r) {
			worker_pool_destroy(pool);
			return r;
		}
	}
	*out = pool;
	return 0;
}

void worker_pool_destroy(struct worker_pool *pool)
{
	unsigned i;

	if (!pool)
		return;
	for (i = 0; i < pool->n; i++)
		worker_destroy(pool->workers[i]);
	free(pool);
}

struct worker *worker_pool_pick(struct worker_pool *pool)
{
	struct worker_stats st, best;
	unsigned i, at = 0;

	worker_get_stats(pool->workers[0], &best);
	for (i = 1; i < pool->n; i++) {
		worker_get_stats(pool->workers[i], &st);
		if (st.pollers < best.pollers) {
			best = st;
			at = i;
		}
	}
	return pool->workers[at];
}

unsigned worker_pool_size(const struct worker_pool *pool)
{
	return pool->n;
}

struct worker *worker_pool_at(struct worker_pool *pool, unsigned i)
{
	return pool->workers[i];
}
