/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>

#include "util/util.h"
#include "worker/mailbox.h"

struct job {
	struct mailbox_work work;
	int id;
	int again;
};

static int order[16], n_run;

static void run(struct mailbox_work *work)
{
	struct job *job = container_of(work, struct job, work);

	order[n_run++] = job->id;
	if (job->again-- > 0)
		mailbox_post(work);
}

static bool readable(void)
{
	struct pollfd pfd = {.fd = mailbox_fd(), .events = POLLIN};

	return poll(&pfd, 1, 0) == 1;
}

static void test_order_and_cancel(void **state)
{
	struct job j[4] = {{{run}, 0}, {{run}, 1}, {{run}, 2}, {{run}, 3, 1}};
	int i;

	assert_int_equal(mailbox_init(), 0);
	assert_int_equal(mailbox_init(), 0);
	assert_false(readable());
	for (i = 0; i < 4; i++)
		mailbox_post(&j[i].work);
	mailbox_post(&j[0].work); /* queued already */
	assert_true(readable());
	mailbox_cancel(&j[1].work);
	mailbox_cancel(&j[1].work);
	mailbox_run();
	assert_int_equal(n_run, 3);
	assert_int_equal(order[0], 0);
	assert_int_equal(order[1], 2);
	assert_int_equal(order[2], 3);
	/* what is posted meanwhile has the next turn */
	assert_true(readable());
	mailbox_run();
	assert_int_equal(n_run, 4);
	assert_int_equal(order[3], 3);
	assert_false(readable());

	/* the last one cancelled: the tail must be right */
	mailbox_post(&j[0].work);
	mailbox_post(&j[1].work);
	mailbox_cancel(&j[1].work);
	mailbox_post(&j[2].work);
	mailbox_run();
	assert_int_equal(n_run, 6);
	assert_int_equal(order[5], 2);
	mailbox_fini();
}

static int published, found;
static _Atomic bool posted;

static void look(struct mailbox_work *work)
{
	found = published;
}

static void *publish_and_post(void *arg)
{
	published = 1;
	mailbox_post(arg);
	atomic_store_explicit(&posted, true, memory_order_relaxed);
	return NULL;
}

/* A post of what is queued already does nothing - but orders memory (TSan sees if it does not). */
static void test_post_publishes(void **state)
{
	struct mailbox_work work = {look};
	pthread_t t;

	assert_int_equal(mailbox_init(), 0);
	mailbox_post(&work);
	pthread_create(&t, NULL, publish_and_post, &work);
	while (!atomic_load_explicit(&posted, memory_order_relaxed))
		;
	mailbox_run();
	assert_int_equal(found, 1);
	pthread_join(t, NULL);
	mailbox_fini();
}

static _Atomic uint64_t wanted[3];
static uint64_t seen[3];
static struct counter {
	struct mailbox_work work;
	int i;
} counters[3];

static void count(struct mailbox_work *work)
{
	int i = container_of(work, struct counter, work)->i;

	seen[i] = atomic_load(&wanted[i]);
}

static void *poster(void *arg)
{
	struct counter *c = arg;
	int i;

	for (i = 0; i < 20000; i++) {
		atomic_fetch_add(&wanted[c->i], 1);
		mailbox_post(&c->work);
	}
	return NULL;
}

static void test_no_lost_post(void **state)
{
	struct pollfd pfd = {.events = POLLIN};
	pthread_t t[3];
	int i;

	assert_int_equal(mailbox_init(), 0);
	pfd.fd = mailbox_fd();
	for (i = 0; i < 3; i++) {
		counters[i] = (struct counter){{count}, i};
		pthread_create(&t[i], NULL, poster, &counters[i]);
	}
	while (seen[0] < 20000 || seen[1] < 20000 || seen[2] < 20000) {
		assert_int_equal(poll(&pfd, 1, 5000), 1); /* else one was lost */
		mailbox_run();
	}
	for (i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	mailbox_run();
	mailbox_fini();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_cancel),
		cmocka_unit_test(test_post_publishes),
		cmocka_unit_test(test_no_lost_post),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
