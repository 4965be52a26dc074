/* SPDX-License-Identifier: BSD-3-Clause */
/* Which virtual machine monitors there are, and whether they speak vfio-user. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/doctor.h"
#include "util/clock.h"
#include "util/util.h"

#define RUN_TIMEOUT_MS 10000
#define OUTPUT_MAX     (256u << 10)
#define QEMU_MAJOR     10
#define QEMU_MINOR     1

int doctor_parse_version(const char *text, int *major, int *minor)
{
	for (const char *p = text; *p; p++)
		if (*p >= '0' && *p <= '9' && (p == text || p[-1] == ' ' || p[-1] == 'v'))
			return sscanf(p, "%d.%d", major, minor) == 2 ? 0 : -1;
	return -1;
}

int doctor_find(const char *name, char *path, size_t len)
{
	const char *dirs = getenv("PATH");

	for (dirs = dirs ? dirs : "/usr/bin:/bin"; *dirs;) {
		size_t n = strcspn(dirs, ":");

		if (snprintf(path, len, "%.*s/%s", (int)n, dirs, name) < (int)len &&
		    !access(path, X_OK))
			return 0;
		dirs += n;
		dirs += *dirs == ':';
	}
	return -1;
}

/* What comes beyond len is read and forgotten, so that the program can end. */
static int collect(int fd, char *out, size_t len)
{
	uint64_t end = clock_now_ns() + RUN_TIMEOUT_MS * NS_PER_MS;
	size_t n = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		uint64_t now = clock_now_ns();
		char rest[4096];
		ssize_t got;

		if (now >= end || poll(&p, 1, (int)((end - now) / NS_PER_MS) + 1) < 0)
			break;
		if (n + 1 < len)
			got = read(fd, out + n, len - 1 - n);
		else
			got = read(fd, rest, sizeof(rest));
		if (got <= 0) {
			out[n] = '\0';
			return got ? -1 : 0;
		}
		if (n + 1 < len)
			n += (size_t)got;
	}
	out[n] = '\0';
	return -1;
}

int doctor_run(const char *const *argv, char *out, size_t len)
{
	posix_spawn_file_actions_t actions;
	extern char **environ;
	int pipe_fds[2], status, ret;
	pid_t pid;

	out[0] = '\0';
	if (pipe2(pipe_fds, O_CLOEXEC))
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 1);
	posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 2);
	ret = posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(pipe_fds[1]);
	if (!ret) {
		ret = collect(pipe_fds[0], out, len);
		if (ret)
			kill(pid, SIGKILL); /* ours, and not yet waited for */
		if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
			ret = -1;
	}
	close(pipe_fds[0]);
	return ret ? -1 : 0;
}

/* Version and device presence, both asked of the program itself. */
static void check_qemu(struct doctor *d, const char *path, bool only)
{
	static const char remedy[] = "install QEMU 10.1 or newer (Debian: from backports; or build "
				     "it), and put it first in PATH";
	const char *version[] = {path, "--version", NULL};
	const char *devices[] = {path, "-machine", "none", "-device", "help", NULL};
	enum finding bad = only ? FINDING_FAIL : FINDING_WARN;
	int major, minor;
	char *out = malloc(OUTPUT_MAX);

	if (!out)
		return;
	if (doctor_run(version, out, OUTPUT_MAX) || doctor_parse_version(out, &major, &minor))
		doctor_report(d, "QEMU", bad, remedy, "%s does not tell its version", path);
	else if (major < QEMU_MAJOR || (major == QEMU_MAJOR && minor < QEMU_MINOR))
		doctor_report(d, "QEMU", bad, remedy, "%s is %d.%d: vfio-user came with %d.%d",
			      path, major, minor, QEMU_MAJOR, QEMU_MINOR);
	else if (doctor_run(devices, out, OUTPUT_MAX) || !strstr(out, "\"vfio-user-pci\""))
		doctor_report(d, "QEMU", bad,
			      "install a QEMU that was built with vfio-user (configure "
			      "--enable-vfio-user-client)",
			      "%s is %d.%d, but has no device vfio-user-pci", path, major, minor);
	else
		doctor_report(d, "QEMU", FINDING_OK, NULL, "%s is %d.%d and has vfio-user-pci",
			      path, major, minor);
	free(out);
}

void doctor_vmms(struct doctor *d)
{
	char path[PATH_MAX], ch[PATH_MAX], name[128], out[4096];
	const char *given = getenv("QEMU");
	struct utsname u;
	bool have_ch = !doctor_find("cloud-hypervisor", ch, sizeof(ch));
	bool found = false;

	if (given && given[0] == '/' && !access(given, X_OK)) {
		check_qemu(d, given, !have_ch);
		found = true;
	}
	snprintf(name, sizeof(name), "qemu-system-%s", uname(&u) ? "x86_64" : u.machine);
	if (!doctor_find(name, path, sizeof(path)) && (!found || strcmp(path, given))) {
		check_qemu(d, path, !have_ch && !found);
		found = true;
	}
	if (!found)
		doctor_report(d, "QEMU", have_ch ? FINDING_WARN : FINDING_FAIL,
			      "install QEMU 10.1 or newer, or set QEMU=/path/to/it",
			      "no %s in PATH", name);
	if (have_ch) {
		const char *version[] = {ch, "--version", NULL};
		bool ok = !doctor_run(version, out, sizeof(out));

		out[strcspn(out, "\n")] = '\0';
		doctor_report(d, "cloud-hypervisor", ok ? FINDING_OK : FINDING_WARN,
			      "install it again", "%s: %s", ch, ok ? out : "does not run");
	} else {
		doctor_report(d, "cloud-hypervisor", FINDING_OK, NULL,
			      "not installed (not needed with QEMU)");
	}
}
