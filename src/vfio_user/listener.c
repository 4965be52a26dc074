/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_user/listener.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 8

static int unix_address(const char *path, struct sockaddr_un *sa)
{
	size_t len = strlen(path);

	if (len >= sizeof(sa->sun_path))
		return -ENAMETOOLONG;
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	memcpy(sa->sun_path, path, len + 1);
	return 0;
}

static int unix_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

/* Removes a socket file whose owner is gone. 0 when the path is free now. */
static int remove_stale(const struct sockaddr_un *sa)
{
	struct stat st;
	int fd, err;

	if (lstat(sa->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EADDRINUSE;
	fd = unix_socket();
	if (fd < 0)
		return fd;
	/* A full backlog (EAGAIN) and no permission mean alive as well. */
	err = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 ? errno : 0;
	close(fd);
	if (err != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(sa->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

static int set_rights(const char *path, uid_t owner, gid_t group, mode_t mode)
{
	if ((owner != (uid_t)-1 || group != (gid_t)-1) && lchown(path, owner, group) < 0)
		return -errno;
	return chmod(path, mode) < 0 ? -errno : 0;
}

int vfu_listener_open(struct vfu_listener *l, const char *path, uid_t owner, gid_t group,
		      mode_t mode)
{
	struct sockaddr_un sa;
	struct stat st;
	int err = unix_address(path, &sa);

	l->fd = -1;
	if (!err)
		err = remove_stale(&sa);
	if (err)
		return err;
	l->fd = unix_socket();
	if (l->fd < 0)
		return l->fd;
	/* The file takes the mode of the socket's inode less the umask: private from its first
	 * moment, with no umask to change under other threads. */
	if (fchmod(l->fd, mode) < 0 || bind(l->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		err = -errno;
		close(l->fd);
		l->fd = -1;
		return err;
	}
	if (lstat(path, &st) < 0) {
		err = -errno;
	} else {
		l->dev = st.st_dev;
		l->ino = st.st_ino;
		err = set_rights(path, owner, group, mode);
	}
	if (!err && listen(l->fd, BACKLOG) < 0)
		err = -errno;
	if (err)
		vfu_listener_close(l, path);
	return err;
}

void vfu_listener_close(struct vfu_listener *l, const char *path)
{
	struct stat st;

	if (l->fd < 0)
		return;
	if (!lstat(path, &st) && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(path);
	close(l->fd);
	l->fd = -1;
}
