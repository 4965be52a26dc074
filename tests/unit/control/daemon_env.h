/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * softiovd and softiov as a user runs them, for tests of both: one daemon for a whole group, in a
 * directory of its own. Functions are static, so that each test is one file with this.
 */
#ifndef SOFTIOV_TESTS_DAEMON_ENV_H
#define SOFTIOV_TESTS_DAEMON_ENV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "util/clock.h"

#define WAIT_NS (20 * NS_PER_S) /* generous: sanitizers, a busy machine */

static const char *softiovd, *softiov;
static char dir[25], config[40], xdg[40];
static pid_t daemon_pid;
static char out[256 << 10]; /* of the last command, both streams */

static void write_config(const char *text)
{
	FILE *f = fopen(config, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static pid_t spawn(int out_fd, const char *const *argv)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	dup2(out_fd, 1);
	dup2(out_fd, 2);
	setenv("XDG_RUNTIME_DIR", xdg, 1);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("JOURNAL_STREAM");
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

/* Runs to its end; the exit status, output in out. */
static int run(const char *const *argv)
{
	size_t n = 0;
	ssize_t got;
	int fds[2], status;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = spawn(fds[1], argv);
	close(fds[1]);
	while ((got = read(fds[0], out + n, sizeof(out) - 1 - n)) > 0)
		n += (size_t)got;
	out[n] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define CLI(...) run((const char *const[]){softiov, __VA_ARGS__, NULL})

/* Must succeed; the parsed output. */
static json_t *cli_json(const char *const *argv)
{
	json_t *v;

	if (run(argv))
		fail_msg("%s: %s", argv[1], out);
	v = json_loads(out, 0, NULL);
	if (!v)
		fail_msg("%s: not JSON: %s", argv[1], out);
	return v;
}

#define CLI_JSON(...) cli_json((const char *const[]){softiov, __VA_ARGS__, "-j", NULL})

static void expect(const char *text)
{
	if (!strstr(out, text))
		fail_msg("no \"%s\" in:\n%s", text, out);
}

/* Group set-up: the daemon with first_config. */
static const char *first_config;

static int start_daemon(void **state)
{
	const char *const argv[] = {softiovd, "-c", config, NULL};
	uint64_t end = clock_now_ns() + WAIT_NS;
	char path[128];
	int fd;

	strcpy(dir, "/tmp/softiov-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(config, sizeof(config), "%s/nic.yaml", dir);
	snprintf(xdg, sizeof(xdg), "%s/xdg", dir);
	if (mkdir(xdg, 0700))
		return -1;
	write_config(first_config);
	snprintf(path, sizeof(path), "%s/log", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	daemon_pid = spawn(fd, argv);
	close(fd);
	while (CLI("version") != 0) {
		if (clock_now_ns() > end || waitpid(daemon_pid, NULL, WNOHANG))
			return -1;
		usleep(20000);
	}
	return 0;
}

static int stop_daemon(void **state)
{
	char command[128];
	int status = 0;

	kill(daemon_pid, SIGTERM);
	if (waitpid(daemon_pid, &status, 0) != daemon_pid || status) {
		snprintf(command, sizeof(command), "cat %s/log", dir);
		if (system(command))
			perror("cat");
		return -1;
	}
	/* It takes its sockets with it. */
	snprintf(command, sizeof(command), "%s/softiov/control.sock", xdg);
	if (!access(command, F_OK))
		return -1;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static json_t *named(json_t *list, const char *name)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) if (!strcmp(json_string_value(json_object_get(o, "name")),
						   name)) return o;
	return NULL;
}

#endif
