/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest at a vhost-user back-end (a switch's or a testpmd's port): the front-end's part of the
 * protocol of QEMU's docs/interop/vhost-user.rst. What comes out is a struct guest as guest_open()
 * gives one: its rings, its driver and hence the load are those that softiov's VFs get, and only
 * the way to set them up differs.
 *
 * One thread. 0 or a negative errno.
 */
#ifndef SOFTIOV_BENCH_VHOST_USER_H
#define SOFTIOV_BENCH_VHOST_USER_H

#include <stdbool.h>
#include <stdint.h>

#include "support/guest.h"

struct vhost_user;

/* path: the socket at which the back-end listens or, with listen, at which we do. */
int vhost_user_new(const char *path, bool listen, struct vhost_user **out);
void vhost_user_free(struct vhost_user *v);

/* Connects a guest of cfg with this address (of 6 bytes), queues running. cfg->path is not looked
 * at. -ENOTSUP when the back-end lacks a packed ring that cfg wants, or mergeable buffers;
 * -ETIMEDOUT when it does not come. */
int vhost_user_attach(struct vhost_user *v, const struct guest_config *cfg, const uint8_t *mac,
		      struct guest **out);
/* Ends the connection, and the guest (NULL is allowed). */
void vhost_user_detach(struct vhost_user *v, struct guest *g);

#endif
