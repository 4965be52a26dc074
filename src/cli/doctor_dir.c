/* SPDX-License-Identifier: BSD-3-Clause */
/* The runtime directory, its sockets, and the daemon behind them. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/doctor.h"
#include "util/util.h"

#define DEPTH 2 /* <root>.sock, <device>/vf0.sock */

struct scan {
	char *bound; /* /proc/net/unix: connecting would take a function away from a VM */
	unsigned live, stale;
	char example[PATH_MAX];
};

static char *read_bound(void)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = fopen("/proc/net/unix", "re");

	if (f && getdelim(&text, &len, '\0', f) < 0) {
		free(text);
		text = NULL;
	}
	if (f)
		fclose(f);
	return text;
}

/* A line of the table ends with the path. */
static bool is_bound(const char *table, const char *path)
{
	size_t len = strlen(path);

	for (const char *p = table; p && (p = strstr(p, path)); p++)
		if (p > table && p[-1] == ' ' && (p[len] == '\n' || !p[len]))
			return true;
	return false;
}

static void scan_dir(struct scan *s, const char *dir, unsigned depth)
{
	DIR *dp = opendir(dir);
	struct dirent *e;

	while (dp && (e = readdir(dp))) {
		char path[PATH_MAX];
		struct stat st;

		if (e->d_name[0] == '.' ||
		    snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) >= (int)sizeof(path) ||
		    lstat(path, &st))
			continue;
		if (S_ISDIR(st.st_mode) && depth > 1)
			scan_dir(s, path, depth - 1);
		if (!S_ISSOCK(st.st_mode))
			continue;
		if (is_bound(s->bound, path)) {
			s->live++;
		} else if (!s->stale++) {
			snprintf(s->example, sizeof(s->example), "%s", path);
		}
	}
	if (dp)
		closedir(dp);
}

static void check_sockets(struct doctor *d, const char *dir)
{
	struct scan s = {.bound = read_bound()};
	char whole[PATH_MAX]; /* sockets are bound by absolute paths */

	if (!s.bound)
		return;
	scan_dir(&s, realpath(dir, whole) ? whole : dir, DEPTH);
	if (s.stale)
		doctor_report(d, "stale sockets", FINDING_WARN,
			      "left by a daemon that was killed; softiovd replaces those it needs, "
			      "others may be removed",
			      "%u, such as %s", s.stale, s.example);
	else
		doctor_report(d, "stale sockets", FINDING_OK, NULL, "none (%u in use)", s.live);
	free(s.bound);
}

static void check_daemon(struct doctor *d, const char *dir)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char path[PATH_MAX + 32];
	int fd, err = 0;

	if (snprintf(path, sizeof(path), "%s/" CONTROL_SOCKET, dir) >= (int)sizeof(addr.sun_path)) {
		doctor_report(d, "runtime directory", FINDING_FAIL, "choose a shorter one with -s",
			      "%s: too long for socket paths (%zu bytes are the most)", dir,
			      sizeof(addr.sun_path) - 1);
		return;
	}
	memcpy(addr.sun_path, path, sizeof(addr.sun_path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		err = errno;
	if (fd >= 0)
		close(fd);
	if (!err)
		doctor_report(d, "daemon", FINDING_OK, NULL, "answers at %s", path);
	else if (err == EACCES)
		doctor_report(d, "daemon", FINDING_WARN, "run softiov as its user (sudo)",
			      "%s belongs to another user", path);
	else
		doctor_report(d, "daemon", FINDING_WARN, "start it: softiovd -c FILE",
			      "not running (%s: %s)", path, strerror(err));
}

/* The directory above it must let us make it, when it is not there yet. */
static void check_parent(struct doctor *d, const char *dir)
{
	char parent[PATH_MAX];
	char *slash;

	snprintf(parent, sizeof(parent), "%s", dir);
	slash = strrchr(parent, '/');
	if (slash)
		slash[slash == parent] = '\0';
	if (!access(parent, W_OK | X_OK))
		doctor_report(d, "runtime directory", FINDING_OK, NULL, "%s will be made", dir);
	else
		doctor_report(d, "runtime directory", FINDING_FAIL,
			      "log in so that XDG_RUNTIME_DIR is set, or start softiovd with "
			      "--runtime-dir DIR of yours",
			      "%s is not there and cannot be made: %s: %s", dir, parent,
			      strerror(errno));
}

void doctor_runtime_dir(struct doctor *d)
{
	const char *dir = d->cli->runtime_dir;
	struct stat st;

	if (!getenv("XDG_RUNTIME_DIR") && geteuid() && !d->cli->runtime_dir_given)
		doctor_report(d, "XDG_RUNTIME_DIR", FINDING_WARN,
			      "log in through a session (ssh, not su), or give -s DIR always",
			      "not set");
	if (stat(dir, &st)) {
		check_parent(d, dir);
	} else if (!S_ISDIR(st.st_mode)) {
		doctor_report(d, "runtime directory", FINDING_FAIL, "remove it",
			      "%s: not a "
			      "directory",
			      dir);
	} else if (st.st_mode & S_IWOTH) {
		doctor_report(d, "runtime directory", FINDING_FAIL, "chmod o-w it",
			      "%s: everyone may write there", dir);
	} else if (access(dir, W_OK | X_OK)) {
		doctor_report(d, "runtime directory", FINDING_WARN,
			      "fine when the daemon runs as that user; else start softiovd with "
			      "--runtime-dir DIR of yours",
			      "%s: owned by uid %u, this user may not write there", dir,
			      (unsigned)st.st_uid);
	} else {
		doctor_report(d, "runtime directory", FINDING_OK, NULL, "%s", dir);
	}
	check_sockets(d, dir);
	check_daemon(d, dir);
}
