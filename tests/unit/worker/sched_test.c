/* SPDX-License-Identifier: BSD-3-Clause */
/* Who is served how much, and after whom. All that is asserted happens on the worker's thread, in
 * an order that does not depend on time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <time.h>

#include "util/clock.h"
#include "util/util.h"
#include "worker/worker.h"

#define BURST 32
#define SMALL (64 + POLLER_COST_FRAME)
#define LARGE (65536 + POLLER_COST_FRAME)

#define WARM_UP (16 << 20)

enum phase { WAIT, RUN, DONE };

/* What is common to the pollers of a test. */
static struct {
	_Atomic int phase;
	uint64_t cost, until, polls; /* of all; DONE when cost has reached until */
} all;

struct source {
	struct poller poller;
	unsigned item;	/* what one item costs */
	unsigned pause; /* finds nothing in every pause-th poll; 0: always work */
	bool light;	/* has work only when there is some in the queue */
	bool urgent;
	unsigned queue;
	unsigned polls;
	uint64_t cost;
	uint64_t asked_at, waited_max, served; /* light: all.cost when work came, and so on */
	struct source *tells;		       /* gives work to that one at times */
};

static unsigned serve(struct source *s)
{
	uint32_t budget = poller_budget(&s->poller);
	unsigned n, cost = 0;

	for (n = 0; n < BURST && cost < budget && (!s->light || s->queue); n++) {
		cost += s->item;
		s->queue -= s->light;
	}
	return cost;
}

static void tell(struct source *to)
{
	if (to->queue)
		return;
	to->queue = 1;
	to->asked_at = all.cost;
	poller_kick(&to->poller);
}

static unsigned source_poll(struct poller *p)
{
	struct source *s = container_of(p, struct source, poller);
	unsigned cost;

	if (atomic_load(&all.phase) != RUN)
		return 1;
	poller_set_urgent(p, s->urgent);
	if (s->pause && ++s->polls % s->pause == 0)
		return 0;
	if (s->light && s->queue) {
		s->waited_max = MAX(s->waited_max, all.cost - s->asked_at);
		s->served++;
	}
	cost = serve(s);
	s->cost += cost;
	all.cost += cost;
	/* not while all are new, and so sparse */
	if (s->tells && all.cost > WARM_UP && ++all.polls % 5 == 0)
		tell(s->tells);
	if (all.cost >= all.until)
		atomic_store(&all.phase, DONE);
	return cost;
}

static const struct poller_ops ops = {.poll = source_poll};

static void nap(void)
{
	const struct timespec ts = {0, 100 * NS_PER_US};

	nanosleep(&ts, NULL);
}

/* Lets n sources work until together they have cost so much. */
static void run(struct source *s, unsigned n, uint64_t until)
{
	uint64_t end = clock_now_ns() + 60 * NS_PER_S;
	struct worker *w;

	all.cost = 0;
	all.until = until;
	atomic_store(&all.phase, WAIT);
	assert_int_equal(worker_create("sched", 0, &w), 0);
	for (unsigned i = 0; i < n; i++) {
		s[i].poller.ops = &ops;
		worker_add(w, &s[i].poller);
	}
	atomic_store(&all.phase, RUN);
	while (atomic_load(&all.phase) != DONE && clock_now_ns() < end)
		nap();
	assert_int_equal(atomic_load(&all.phase), DONE);
	for (unsigned i = 0; i < n; i++)
		worker_remove(&s[i].poller);
	worker_destroy(w);
}

static void assert_about(uint64_t value, uint64_t want, unsigned percent)
{
	assert_in_range(value, want - want * percent / 100, want + want * percent / 100);
}

static void test_unequal_items(void **state)
{
	struct source s[] = {{.item = SMALL},
			     {.item = 1500 + POLLER_COST_FRAME},
			     {.item = LARGE},
			     {.item = 1 << 20}};
	const uint64_t each = 64 << 20;

	run(s, ARRAY_SIZE(s), each * ARRAY_SIZE(s));
	for (unsigned i = 0; i < ARRAY_SIZE(s); i++)
		assert_about(s[i].cost, each, 5);
}

/* Eight queues of one share against one of another. */
static void test_queues_of_a_share(void **state)
{
	struct poller_share share = {0};
	struct source s[9] = {0};
	const uint64_t each = 64 << 20;
	uint64_t eight = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(s); i++) {
		s[i].item = i % 2 ? SMALL : LARGE;
		s[i].poller.share = i < 8 ? &share : NULL;
	}
	run(s, ARRAY_SIZE(s), 2 * each);
	for (unsigned i = 0; i < 8; i++) {
		eight += s[i].cost;
		assert_true(s[i].cost > 0);
	}
	assert_about(eight, each, 5);
	assert_about(s[8].cost, each, 5);
	assert_null(share.members);
}

/* Of several queues the one leaves that the others' place came from. */
static void test_members_leave(void **state)
{
	struct poller_share share = {0};
	struct source s[4] = {{.item = SMALL}, {.item = SMALL}, {.item = SMALL}, {.item = SMALL}};
	struct worker *w;
	unsigned i;

	atomic_store(&all.phase, RUN);
	all.cost = 0;
	all.until = UINT64_MAX;
	assert_int_equal(worker_create("sched", 0, &w), 0);
	for (unsigned round = 0; round < 200; round++) {
		for (i = 0; i < 4; i++) {
			if (s[i].poller.worker)
				continue;
			s[i].poller.ops = &ops;
			s[i].poller.share = i < 3 ? &share : NULL;
			s[i].cost = 0;
			worker_add(w, &s[i].poller);
		}
		if (round % 2)
			nap();
		worker_remove(&s[round % 3].poller);
		worker_remove(&s[(round + round / 7) % 4].poller);
	}
	for (i = 0; i < 4; i++)
		worker_remove(&s[i].poller);
	worker_destroy(w);
	assert_null(share.members);
}

/* One who sends now and then among many who always do. */
static void test_light_among_heavy(void **state)
{
	enum { HEAVY = 63 };
	struct source s[HEAVY + 1] = {0};

	s[HEAVY] = (struct source){.item = SMALL, .light = true};
	for (unsigned i = 0; i < HEAVY; i++)
		s[i].item = i % 3 ? SMALL : LARGE;
	for (unsigned i = 0; i < HEAVY; i++)
		s[i].tells = &s[HEAVY];
	run(s, HEAVY + 1, 256 << 20);
	assert_true(s[HEAVY].served > 500);
	/* a turn: a quantum and what the last item has beyond it; and one that had begun */
	assert_true(s[HEAVY].waited_max <= 2 * (16 << 10) + LARGE);
}

/* Who wants more than his quantum does not get it by pausing. */
static void test_pauses_gain_nothing(void **state)
{
	struct source s[8] = {0};
	uint64_t heavy = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(s); i++)
		s[i].item = SMALL;
	s[0].pause = 2;
	s[1].pause = 3;
	run(s, ARRAY_SIZE(s), 256 << 20);
	for (unsigned i = 2; i < ARRAY_SIZE(s); i++)
		heavy += s[i].cost / (ARRAY_SIZE(s) - 2);
	assert_true(s[0].cost <= heavy + heavy / 20);
	assert_true(s[1].cost <= heavy + heavy / 20);
}

static void test_urgent(void **state)
{
	struct source s[4] = {
		{.item = SMALL, .urgent = true}, {.item = SMALL}, {.item = LARGE}, {.item = SMALL}};

	run(s, ARRAY_SIZE(s), 256 << 20);
	for (unsigned i = 1; i < ARRAY_SIZE(s); i++) {
		assert_true(s[0].cost > 10 * s[i].cost);
		assert_true(s[i].cost > 256 << 10); /* not starved */
		assert_about(s[i].cost, s[1].cost, 10);
	}
}

/* As urgent as each other: fair again. */
static void test_all_urgent(void **state)
{
	struct source s[] = {{.item = SMALL, .urgent = true}, {.item = LARGE, .urgent = true}};

	run(s, ARRAY_SIZE(s), 64 << 20);
	assert_about(s[0].cost, 32 << 20, 5);
	assert_about(s[1].cost, 32 << 20, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unequal_items),
		cmocka_unit_test(test_queues_of_a_share),
		cmocka_unit_test(test_members_leave),
		cmocka_unit_test(test_light_among_heavy),
		cmocka_unit_test(test_pauses_gain_nothing),
		cmocka_unit_test(test_urgent),
		cmocka_unit_test(test_all_urgent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
