/* SPDX-License-Identifier: BSD-3-Clause */
/* Daemons of a case's own. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define FILES 65536

/* The nth core from the end of those that may be used, round and round. Called on all cores. */
static int core_from_end(unsigned n)
{
	int cores[CPU_SETSIZE], count = 0;
	cpu_set_t set;

	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof(set), &set);
	for (int i = CPU_SETSIZE - 1; i >= 0; i--)
		if (CPU_ISSET(i, &set))
			cores[count++] = i;
	return count ? cores[n % (unsigned)count] : 0;
}

static void spread_workers(const struct daemon_run *d)
{
	char name[24];

	for (unsigned i = 0;; i++) {
		snprintf(name, sizeof(name), "worker/%u", i);
		if (!daemon_pin_thread(d, name, core_from_end(i)))
			break;
	}
}

int bench_start(const struct bench *b, struct daemon_run *d, const char *config, bool spread)
{
	int err;

	bench_pin(-1);
	err = daemon_start(d, b->softiovd, config, spread ? -1 : b->daemon_cpu);
	if (err)
		fprintf(stderr, "softiov-bench: %s does not start: %s\n", b->softiovd,
			strerror(-err));
	else if (spread)
		spread_workers(d);
	if (!spread)
		bench_pin(b->guest_cpu);
	return err;
}

int bench_stop(struct daemon_run *d, int err)
{
	return daemon_stop(d) && !err ? -ECHILD : err;
}

bool bench_takes(const struct bench *b, const char *config)
{
	char path[] = "/tmp/softiov-bench-XXXXXX";
	int fd = mkstemp(path), status = -1;
	pid_t pid;

	if (fd < 0)
		return false;
	if (write(fd, config, strlen(config)) < 0)
		status = -1;
	close(fd);
	pid = fork();
	if (!pid) {
		if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
			_exit(127);
		execl(b->softiovd, b->softiovd, "-c", path, "--check", (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	unlink(path);
	return pid > 0 && WIFEXITED(status) && !WEXITSTATUS(status);
}

void bench_allow_files(void)
{
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max < FILES ? files.rlim_max : FILES;
	setrlimit(RLIMIT_NOFILE, &files);
}
