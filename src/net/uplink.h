/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Uplinks: where a switch meets the outside. Each is a port of the switch plus a poller.
 */
#ifndef SOFTIOV_NET_UPLINK_H
#define SOFTIOV_NET_UPLINK_H

#include <stdbool.h>
#include <stdint.h>

#include "net/port.h"
#include "worker/worker.h"

enum net_uplink_type { NET_UPLINK_NONE, NET_UPLINK_TAP, NET_UPLINK_USER };

#define NET_UPLINK_FORWARDS_MAX 64

struct net_uplink_forward {
	bool udp;
	char host_addr[46]; /* default 127.0.0.1 */
	uint16_t host_port;
	char guest_addr[46]; /* empty: the first DHCP address */
	uint16_t guest_port;
};

struct net_uplink_config {
	enum net_uplink_type type;
	/* tap */
	char name[16];	 /* interface; created when it does not exist (needs CAP_NET_ADMIN) */
	unsigned queues; /* 1..16 */
	unsigned mtu;	 /* 0: leave */
	/* user */
	char net[50];  /* "10.0.2.0/24" default */
	char net6[50]; /* "fd00::/64" default; "none" disables */
	char hostname[64];
	bool host_loopback; /* the gateway address reaches the host's own 127.0.0.1; off unless
			       asked for, since guests are not trusted with what listens there */
	unsigned n_forwards;
	struct net_uplink_forward forwards[NET_UPLINK_FORWARDS_MAX];
};

struct net_uplink;

/*
 * Opens the uplink, adds its port ("<switch>/uplink") and starts it. tap: pollers are spread over
 * the pool. user: runs libslirp on a thread of its own, so that its sockets never delay frames
 * between functions. On failure *why says what is missing, by name ("CAP_NET_ADMIN to create TAP
 * soft0; create it beforehand with: ip tuntap add soft0 mode tap user …"). Control.
 */
int net_uplink_create(struct net_switch *sw, const struct net_uplink_config *cfg,
		      struct worker_pool *pool, struct net_uplink **out, char *why,
		      unsigned why_len);
/* net_switch_age() makes it follow the interface's carrier. */
void net_uplink_destroy(struct net_uplink *up);
struct net_port *net_uplink_port(struct net_uplink *up);
const struct net_uplink_config *net_uplink_config(const struct net_uplink *up);

#endif
