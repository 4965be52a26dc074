/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's side of the control protocol (control/protocol.h): a listening unix socket, mode
 * 0600, on the sd-event loop. No handler blocks on a client: replies are queued, and nothing more
 * is read from a client that does not take its replies. Changes are logged with the caller's
 * credentials.
 *
 * Threads: control only.
 */
#ifndef SOFTIOV_CONTROL_SERVER_H
#define SOFTIOV_CONTROL_SERVER_H

#include <stdint.h>

#include <systemd/sd-event.h>

#include "device/device.h"

struct control_server;

/* What the commands need of the daemon. */
struct control_context {
	struct softiov *softiov;
	const char *version;
	const char *config_path;
	uint64_t started_ns; /* clock_now_ns() */
	/* Reads the configuration file again and applies it. 0 or -errno with *errors (freed by
	 * the caller), lines of text. */
	int (*reload)(void *opaque, char **errors);
	void *opaque;
};

/*
 * Listens at <dir>/control.sock. The caller holds the directory's lock, so a socket file that is
 * there already is stale and replaced. ctx is copied. 0 or -errno with why.
 */
int control_server_create(sd_event *event, const char *dir, const struct control_context *ctx,
			  struct control_server **out, char why[WHY_MAX]);
void control_server_destroy(struct control_server *srv);

#endif
