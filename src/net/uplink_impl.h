/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an uplink of some type offers to uplink.c. Control thread.
 */
#ifndef SOFTIOV_NET_UPLINK_IMPL_H
#define SOFTIOV_NET_UPLINK_IMPL_H

#include "net/internal.h"
#include "net/uplink.h"

struct net_uplink {
	struct net_uplink_config config;
	struct net_switch *sw;
	struct worker_pool *pool;
	struct net_port *port;
	const struct uplink_type *type;
	char *why; /* while being created */
	unsigned why_len;
	void *impl; /* the type's own */
};

struct uplink_type {
	struct net_port_ops port_ops;
	/* Opens what is needed, sets impl; up->port does not exist yet. 0 or -errno and why. */
	int (*open)(struct net_uplink *up);
	/* The port exists and is active: frames may flow from now on. */
	int (*start)(struct net_uplink *up);
	/* No more input after return; the port still exists. */
	void (*stop)(struct net_uplink *up);
	/* The port is gone. */
	void (*close)(struct net_uplink *up);
	/* What the switch may send there. */
	void (*policy)(struct net_policy *policy);
};

extern const struct uplink_type uplink_tap, uplink_user;

/* Writes why (unless it was written) and returns err. */
int uplink_fail(struct net_uplink *up, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
