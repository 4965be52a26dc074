/* SPDX-License-Identifier: BSD-3-Clause */
/* A listening UNIX socket with an owner and a mode, safe against what is in its place already. */
#ifndef SOFTIOV_VFIO_USER_LISTENER_H
#define SOFTIOV_VFIO_USER_LISTENER_H

#include <stdbool.h>
#include <sys/types.h>

struct vfu_listener {
	int fd;
	dev_t dev; /* of the socket file, so that only our own is removed */
	ino_t ino;
};

/*
 * Binds path, sets owner (-1: leave), group (-1: leave) and mode, and only then listens: nobody
 * connects with weaker rights. A socket file that nobody listens on is replaced. 0,
 * -EADDRINUSE (someone listens, or the file is no socket), -ENAMETOOLONG, -errno.
 */
int vfu_listener_open(struct vfu_listener *l, const char *path, uid_t owner, gid_t group,
		      mode_t mode);
/* Closes, and removes the file if it is still the one that was bound. */
void vfu_listener_close(struct vfu_listener *l, const char *path);

#endif
