/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/daemon.h"
#include "util/log.h"

/* No device or root can be called so: their names have no dot. */
#define LOCK_NAME "softiovd.lock"

static int refuse(const char *dir, const char *remedy)
{
	int err = errno;

	log_error("runtime directory %s: %s: %s", dir, strerror(err), remedy);
	return -err;
}

/*
 * Passable for all, writable for its owner: whoever may use a function's socket is said by that
 * socket's own mode. An existing directory keeps its mode, but another user's is not ours to use.
 */
static int make_dir(const char *dir)
{
	struct stat st;

	if (mkdir(dir, 0755) && errno != EEXIST)
		return refuse(dir, errno == ENOENT
					   ? "its parent does not exist: create it, or give "
					     "another with --runtime-dir"
					   : "give one that you may write with --runtime-dir, or "
					     "set XDG_RUNTIME_DIR");
	if (stat(dir, &st))
		return refuse(dir, "give another with --runtime-dir");
	if (!S_ISDIR(st.st_mode)) {
		errno = ENOTDIR;
		return refuse(dir, "remove what is there, or give another with --runtime-dir");
	}
	if (st.st_uid && st.st_uid != geteuid()) {
		errno = EPERM;
		return refuse(dir,
			      "it belongs to another user, who could replace sockets: give one of "
			      "your own with --runtime-dir");
	}
	if (st.st_mode & S_IWOTH) {
		errno = EPERM;
		return refuse(dir, "everyone may write there, so sockets could be replaced: "
				   "chmod o-w it, or give another with --runtime-dir");
	}
	return 0;
}

int runtime_dir_open(const char *dir)
{
	char path[PATH_MAX + sizeof(LOCK_NAME) + 1], pid[32];
	ssize_t n;
	int fd, ret;

	ret = make_dir(dir);
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "%s/" LOCK_NAME, dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return refuse(dir, "softiovd cannot write there: give another with --runtime-dir");
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		n = read(fd, pid, sizeof(pid) - 1);
		pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
		log_error("runtime directory %s: another softiovd%s%s%s uses it: end that one, or "
			  "give this one its own with --runtime-dir",
			  dir, pid[0] ? ", pid " : "", pid, pid[0] ? "," : "");
		close(fd);
		return -EADDRINUSE;
	}
	n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) || pwrite(fd, pid, (size_t)n, 0) != n)
		log_debug("%s: the pid could not be noted", path);
	return fd;
}
