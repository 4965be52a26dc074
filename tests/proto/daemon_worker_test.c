/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Workers of a real daemon: queues that move, poll policies and a CPU limit that change, while
 * guests exchange frames of which none may be lost, twice, altered or out of order.
 *
 *   daemon_worker_test SOFTIOVD SOFTIOV
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <unistd.h>

#include "daemon_command.h"
#include "util/clock.h"
#include "util/util.h"

static const char config_text[] = "workers: 2\n"
				  "rebalance: off\n"
				  "%s"
				  "devices:\n"
				  "  nic0: {type: ethernet, num-vfs: 4, poll: %s}\n"
				  "  ssd0: {type: nvme, num-vfs: 1}\n";

static void reload(const char *top, const char *poll)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/config.yaml", run.dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, config_text, top, poll);
	fclose(f);
	succeeds("reload");
}

static int start(void **state)
{
	char text[512];

	snprintf(text, sizeof(text), config_text, "", "adaptive");
	return daemon_start(&run, softiovd, text, -1);
}

static int stop(void **state)
{
	return daemon_stop(&run);
}

static struct pump pumps[2];

/* Two pairs; the second kicks by eventfds. */
static void start_pumps(void)
{
	for (unsigned i = 0; i < 2; i++) {
		char a[16], b[16];

		pumps[i] = (struct pump){0};
		snprintf(a, sizeof(a), "nic0/vf%u", 2 * i);
		snprintf(b, sizeof(b), "nic0/vf%u", 2 * i + 1);
		assert_int_equal(
			pair_open(&run, a, (struct guest_config){.ioeventfd = i}, &pumps[i].a), 0);
		assert_int_equal(
			pair_open(&run, b, (struct guest_config){.ioeventfd = i}, &pumps[i].b), 0);
		assert_int_equal(pump_start(&pumps[i]), 0);
		assert_int_equal(pump_wait(&pumps[i], 100), 0);
	}
}

static void both_go_on(unsigned long frames)
{
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pump_wait(&pumps[i], frames), 0);
}

static void stop_pumps(void)
{
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(pump_stop(&pumps[i]), 0);
		guest_close(pumps[i].a);
		guest_close(pumps[i].b);
	}
}

static void test_move(void **state)
{
	static const char *const moves[] = {
		"worker move nic0/vf0 1",      "worker move nic0/vf1/tx0 0",
		"worker move nic0/vf2/tx0 1",  "worker move nic0/vf3 worker/0",
		"worker move nic0/vf0/tx0 0",  "worker move nic0/vf1 1",
		"worker move nic0/vf2/ctrl 0", "worker move nic0/vf2/tx0 0",
		"worker move nic0/vf3 1"};

	start_pumps();
	for (unsigned i = 0; i < 3 * ARRAY_SIZE(moves); i++) {
		succeeds(moves[i % ARRAY_SIZE(moves)]);
		both_go_on(20);
	}
	succeeds("worker list");
	assert_non_null(strstr(output, "nic0/vf3/tx0   worker/1"));
	assert_non_null(strstr(output, "nic0/vf2/tx0   worker/0"));
	refused("worker move nic0/vf0 2", "give a number below 2");
	refused("worker move nic0/vf9 1", "worker list shows");
	stop_pumps();
	/* without a driver it has no queues */
	usleep(200000);
	refused("worker move nic0/vf0 1", "worker list shows");
}

static void test_policies(void **state)
{
	static const char *const policies[] = {"always", "never",  "adaptive",
					       "never",	 "always", "adaptive"};

	start_pumps();
	for (unsigned i = 0; i < ARRAY_SIZE(policies); i++) {
		reload("", policies[i]);
		both_go_on(100);
		succeeds("worker list");
		assert_non_null(strstr(output, policies[i]));
	}
	stop_pumps();
}

/* The part of a core that both workers took in a second, in permille. */
static uint64_t workers_permille(void)
{
	uint64_t begin = clock_now_ns(), cpu;

	cpu = daemon_thread_ns(&run, "worker/0") + daemon_thread_ns(&run, "worker/1");
	usleep(1000000);
	cpu = daemon_thread_ns(&run, "worker/0") + daemon_thread_ns(&run, "worker/1") - cpu;
	return cpu * 1000 / (clock_now_ns() - begin);
}

static void test_limit(void **state)
{
	start_pumps();
	reload("max-cpu: 0.1\n", "always"); /* which alone would take all there is */
	usleep(100000);
	assert_in_range(workers_permille(), 20, 120);
	both_go_on(100);
	succeeds("worker list");
	assert_non_null(strstr(output, "max-cpu 0.1"));
	reload("", "always");
	usleep(100000);
	assert_true(workers_permille() > 200);
	both_go_on(100);
	stop_pumps();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_move, start, stop),
		cmocka_unit_test_setup_teardown(test_policies, start, stop),
		cmocka_unit_test_setup_teardown(test_limit, start, stop),
	};

	if (argc < 3)
		return 2;
	softiovd = argv[1];
	softiov = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
