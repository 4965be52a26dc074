/* SPDX-License-Identifier: BSD-3-Clause */
/* A source of work: poll() takes all, arm() tells whether there is some. */
#ifndef TESTS_UNIT_WORKER_SOURCE_H
#define TESTS_UNIT_WORKER_SOURCE_H

#include "env.h"

struct source {
	struct poller poller;
	_Atomic uint64_t work, done;
	_Atomic uint32_t polls, arms, disarms;
	_Atomic uint64_t fired_ns;
	uint64_t timer_at; /* to set in the next poll() */
};

static inline unsigned source_poll(struct poller *p)
{
	struct source *s = container_of(p, struct source, poller);
	uint64_t n = atomic_exchange(&s->work, 0);

	atomic_fetch_add(&s->polls, 1);
	atomic_fetch_add(&s->done, n);
	return n;
}

static inline bool source_arm(struct poller *p)
{
	struct source *s = container_of(p, struct source, poller);

	atomic_fetch_add(&s->arms, 1);
	return atomic_load(&s->work) != 0;
}

static inline void source_disarm(struct poller *p)
{
	atomic_fetch_add(&container_of(p, struct source, poller)->disarms, 1);
}

static const struct poller_ops source_ops = {source_poll, source_arm, source_disarm};

#endif
