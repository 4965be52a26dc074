/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One device with 255 VFs, 64 of them attached: what it costs, and that it works.
 *
 *   daemon_scale_test SOFTIOVD         runs the tests
 *   daemon_scale_test victim DIR       attaches 64 and waits to be killed
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon_pair.h"
#include "util/clock.h"
#include "util/util.h"

#define VFS	 255
#define ATTACHED 64
#define FRAMES	 100

/* Sanitizers have memory and threads of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Generous: what is measured is a fifth of it or less. */
#define KIB_A_VF      128
#define KIB_ATTACHED  512
#define IDLE_SECONDS  3
#define START_SECONDS 20

static const char *softiovd;
static char self[512];
static struct daemon_run run;
static struct guest *guests[ATTACHED];
static long kib_empty, kib_started;

static const struct guest_config guest_cfg = {.ioeventfd = true};

static int start(unsigned vfs, struct daemon_run *d)
{
	char config[160];

	snprintf(config, sizeof(config),
		 "devices:\n  nic0: {type: ethernet, total-vfs: %u, num-vfs: %u}\n", VFS, vfs);
	return daemon_start(d, softiovd, config, -1);
}

static int setup(void **state)
{
	struct daemon_run empty;

	/* The same device without VFs, to compare. */
	if (start(0, &empty))
		return -1;
	kib_empty = daemon_status_kib(&empty, "RssAnon");
	return daemon_stop(&empty);
}

static int teardown(void **state)
{
	for (unsigned i = 0; i < ATTACHED; i++)
		guest_close(guests[i]);
	return daemon_stop(&run);
}

static const char *vf_name(unsigned i)
{
	static char name[16];

	snprintf(name, sizeof(name), "nic0/vf%u", i);
	return name;
}

static void attach_all(const struct daemon_run *d)
{
	for (unsigned i = 0; i < ATTACHED; i++)
		assert_int_equal(pair_open(d, vf_name(i), guest_cfg, &guests[i]), 0);
}

static void start_255(void **state)
{
	uint64_t t = clock_now_ns();
	char path[64];
	struct dirent *e;
	unsigned n = 0;
	DIR *dir;

	assert_int_equal(start(VFS, &run), 0);
	t = clock_now_ns() - t;
	snprintf(path, sizeof(path), "%s/nic0", run.dir);
	dir = opendir(path);
	assert_non_null(dir);
	while ((e = readdir(dir)))
		n += !strncmp(e->d_name, "vf", 2);
	closedir(dir);
	assert_int_equal(n, VFS);
	kib_started = daemon_status_kib(&run, "RssAnon");
	print_message("# %u VFs: started in %llu ms; %ld KiB without VFs, %ld KiB with: %.1f KiB a "
		      "VF; %d open files\n",
		      VFS, (unsigned long long)(t / NS_PER_MS), kib_empty, kib_started,
		      (double)(kib_started - kib_empty) / VFS, daemon_files(&run));
	assert_true(t < START_SECONDS * NS_PER_S);
	if (!SANITIZED)
		assert_true(kib_started - kib_empty < VFS * KIB_A_VF);
}

static void attach_64(void **state)
{
	uint64_t t = clock_now_ns();
	long kib;

	attach_all(&run);
	t = clock_now_ns() - t;
	kib = daemon_status_kib(&run, "RssAnon");
	print_message("# %u attached in %llu ms: %.1f KiB each of the daemon's own, %ld KiB of the "
		      "guests' memory mapped in all; %d open files\n",
		      ATTACHED, (unsigned long long)(t / NS_PER_MS),
		      (double)(kib - kib_started) / ATTACHED, daemon_status_kib(&run, "RssShmem"),
		      daemon_files(&run));
	if (!SANITIZED)
		assert_true(kib - kib_started < ATTACHED * KIB_ATTACHED);
}

/* Neighbours, and the far ends. */
static void traffic(void **state)
{
	uint32_t seq = 0;

	for (unsigned i = 0; i + 1 < ATTACHED; i += 2)
		assert_int_equal(pair_exchange(guests[i], guests[i + 1], FRAMES, &seq), 0);
	for (unsigned i = 0; i < ATTACHED / 2; i++)
		assert_int_equal(pair_exchange(guests[ATTACHED - 1 - i], guests[i], FRAMES, &seq),
				 0);
}

static void idle(void **state)
{
	uint64_t cpu, t;
	double percent;

	usleep(300000);
	cpu = daemon_cpu_ns(&run);
	t = clock_now_ns();
	sleep(IDLE_SECONDS);
	t = clock_now_ns() - t;
	cpu = daemon_cpu_ns(&run) - cpu;
	percent = 100.0 * (double)cpu / (double)t;
	print_message("# idle with %u attached: %.3f %% of a core\n", ATTACHED, percent);
	if (!SANITIZED)
		assert_true(percent < 1);
}

static pid_t start_victim(int *ready)
{
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(fds[1], 1);
		close(fds[0]);
		close(fds[1]);
		execl(self, self, "victim", run.dir, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	*ready = fds[0];
	return pid;
}

static void killed_and_back(void **state)
{
	uint32_t seq = 0;
	int ready;
	pid_t pid;
	char c;

	for (unsigned i = 0; i < ATTACHED; i++) {
		guest_close(guests[i]);
		guests[i] = NULL;
	}
	pid = start_victim(&ready);
	assert_int_equal(read(ready, &c, 1), 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ready);
	attach_all(&run);
	for (unsigned i = 0; i + 1 < ATTACHED; i += 2)
		assert_int_equal(pair_exchange(guests[i], guests[i + 1], FRAMES, &seq), 0);
}

static void given_back(void **state)
{
	uint64_t end = clock_now_ns() + PAIR_TIMEOUT_MS * NS_PER_MS;
	long kib = 0, limit = kib_started + ATTACHED * 8;

	for (unsigned i = 0; i < ATTACHED; i++) {
		guest_close(guests[i]);
		guests[i] = NULL;
	}
	/* The guests' memory is no longer mapped, whatever malloc keeps. */
	do {
		usleep(10000);
		kib = daemon_status_kib(&run, "RssShmem");
	} while (kib > 0 && clock_now_ns() < end);
	assert_int_equal(kib, 0);
	kib = daemon_status_kib(&run, "RssAnon");
	print_message("# all detached again: %ld KiB, %d open files\n", kib, daemon_files(&run));
	if (!SANITIZED)
		assert_true(kib < limit + ATTACHED * KIB_ATTACHED);
}

static int victim(const char *dir)
{
	struct daemon_run d = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(d.dir, sizeof(d.dir), "%s", dir);
	for (unsigned i = 0; i < ATTACHED; i++)
		if (pair_open(&d, vf_name(i), guest_cfg, &guests[i]))
			return 1;
	if (write(1, "x", 1) == 1)
		sleep(60);
	return 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_255),	   cmocka_unit_test(attach_64),
		cmocka_unit_test(traffic),	   cmocka_unit_test(idle),
		cmocka_unit_test(killed_and_back), cmocka_unit_test(given_back),
	};

	if (argc == 3 && !strcmp(argv[1], "victim"))
		return victim(argv[2]);
	if (argc != 2 || readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 2;
	softiovd = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
