/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The embedded switch and its ports. One switch per Ethernet device; a port per function (PF, VF)
 * and per uplink. Knows nothing of PCI or virtio.
 *
 * Policy per port, in the terms of `ip link set … vf`: MAC, port VLAN (802.1Q or 802.1ad, with
 * priority), trunk allow-list, anti-spoof, trust, link state. What a driver asks for (promiscuity,
 * extra MACs, VLAN filter) is its filter, granted as far as trust permits.
 *
 * Threads: policy and filter calls are the control thread's; they publish a new immutable table
 * and wait for quiescence, so no frame is delayed or lost by a change. net_port_input() runs on
 * any worker. net_port_ops.deliver() may be called by several workers at once and locks its own
 * queue. Counters are per worker and summed on read.
 */
#ifndef SOFTIOV_NET_PORT_H
#define SOFTIOV_NET_PORT_H

#include <net/ethernet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "net/frame.h"

struct net_switch;
struct net_port;

#define NET_VLANS	4096
#define NET_FILTER_MACS 64 /* unicast and multicast each, as a driver may ask */

enum net_port_kind { NET_PORT_FUNCTION, NET_PORT_UPLINK };
enum net_link { NET_LINK_AUTO, NET_LINK_ENABLE, NET_LINK_DISABLE };

/* Why a frame was dropped; one counter each, per port. "rx" is towards the port's owner (the VM
 * receives), "tx" is what the owner sent, as `ip -s link` on the VM would say. */
enum net_drop {
	NET_DROP_TX_SPOOF_MAC,
	NET_DROP_TX_SPOOF_VLAN, /* tagged frame on a port-VLAN or non-trunk port */
	NET_DROP_TX_LINK_DOWN,
	NET_DROP_TX_MALFORMED, /* shorter than a header, oversize, bad offload fields */
	NET_DROP_TX_NO_DEST,   /* nobody is to receive it */
	NET_DROP_RX_NO_BUFFER, /* the receiver supplied no buffers */
	NET_DROP_RX_LINK_DOWN,
	NET_DROP_RX_NOT_READY,	 /* no driver, or queue in reset */
	NET_DROP_RX_TOO_BIG,	 /* exceeds the receiver's buffers or MTU */
	NET_DROP_RX_BAD_OFFLOAD, /* could not be segmented for this receiver */
	NET_DROP_RX_RATE,	 /* a queue between threads was full */
	NET_DROP_REASONS,
};
const char *net_drop_name(enum net_drop reason); /* "tx-spoof-mac", … */

struct net_port_stats {
	uint64_t rx_packets, rx_bytes, rx_broadcast, rx_multicast;
	uint64_t tx_packets, tx_bytes, tx_broadcast, tx_multicast;
	uint64_t tx_throttled;	  /* times that a queue was held back by a transmit rate */
	uint64_t tx_throttled_ns; /* for how long, of all queues */
	uint64_t drops[NET_DROP_REASONS];
};
/* Sums as `ip -s link` shows them. */
uint64_t net_port_stats_rx_dropped(const struct net_port_stats *s);
uint64_t net_port_stats_tx_dropped(const struct net_port_stats *s);

/* Administrator's policy. */
struct net_policy {
	uint8_t mac[ETH_ALEN];
	bool mac_by_admin; /* set by configuration or `vf set`: the guest may not change it
			      unless trusted */
	bool spoof_check;  /* default true for VFs */
	bool trust;	   /* default false for VFs, true for a PF */
	enum net_link link;
	uint16_t vlan;	     /* port VLAN; 0: none */
	uint8_t vlan_qos;    /* 0..7 */
	uint16_t vlan_proto; /* 0x8100 or 0x88a8 */
	bool trunk_enabled;  /* only tags in trunk pass (and untagged frames) */
	uint8_t trunk[NET_VLANS / 8];
	/* Mb/s, 0: none; not the switch's, but whoever takes frames from the owner (shaper.h). */
	uint32_t max_tx_mbps, min_tx_mbps;
};
void net_policy_init(struct net_policy *p);

/* What the function's driver asked for. */
struct net_filter {
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	bool vlan_filter; /* only VLANs in the bitmap, and untagged */
	uint8_t vlans[NET_VLANS / 8];
	unsigned n_uni, n_multi; /* > NET_FILTER_MACS is taken as alluni / allmulti by the caller */
	uint8_t uni[NET_FILTER_MACS][ETH_ALEN];
	uint8_t multi[NET_FILTER_MACS][ETH_ALEN];
};

struct net_port_ops {
	/*
	 * Gives up to n frames to the port's owner; frames are read-only and valid during the call.
	 * Copies them into the owner's buffers (segmenting if needed). Accounts what it could not
	 * take with net_port_count_drop(). Returns the number taken; when that is fewer than n and
	 * not simply the first ones, it sets not_taken in the others. Any worker, several at once.
	 */
	unsigned (*deliver)(struct net_port *port, struct net_frame *const *frames, unsigned n);
	/* All deliver() calls of one input burst to this port are over: publish, signal. May be
	 * NULL. */
	void (*flush)(struct net_port *port);
	/* The effective link state changed (policy, or uplink carrier in auto). Control. */
	void (*link_changed)(struct net_port *port, bool up);
};

int net_switch_create(const char *name, struct net_switch **out);
void net_switch_destroy(struct net_switch *sw); /* all ports must be gone */
/* Learnt MACs older than this are forgotten; default 300 s. Control; call age() about each second
 * (it also looks after the uplinks). The table of learnt MACs is bounded: when it is full, frames
 * to further ones are flooded to the uplinks. */
void net_switch_set_ageing(struct net_switch *sw, unsigned seconds);
void net_switch_age(struct net_switch *sw);
/* Calls back for every known address: static and learnt (age in seconds). Control. */
void net_switch_fdb(struct net_switch *sw,
		    void (*cb)(void *opaque, const uint8_t *mac, uint16_t vlan,
			       const struct net_port *port, bool is_static, unsigned age),
		    void *opaque);

struct net_port_config {
	const char *name; /* "nic0/vf3", "nic0/uplink"; copied */
	enum net_port_kind kind;
	const struct net_port_ops *ops;
	void *opaque;
};
/* 0, -EEXIST (a static MAC that another port has), -EINVAL as net_port_set_policy(), -ENOSPC (1024
 * ports, 8 of them uplinks), -ENOMEM. A port VLAN takes precedence over a trunk list. Control. */
int net_port_create(struct net_switch *sw, const struct net_port_config *cfg,
		    const struct net_policy *policy, struct net_port **out);
/* Synchronises: afterwards deliver() is not running and will not run again. Control. */
void net_port_destroy(struct net_port *port);

void *net_port_opaque(const struct net_port *port);
const char *net_port_name(const struct net_port *port);
const struct net_policy *net_port_policy(const struct net_port *port); /* control */
/* -EEXIST: another port of the switch has this MAC; -EINVAL: multicast or zero MAC, bad VLAN. */
int net_port_set_policy(struct net_port *port, const struct net_policy *policy);
void net_port_set_filter(struct net_port *port, const struct net_filter *filter);
/* A driver's MAC: -EPERM when the administrator set one and the port is not trusted. */
int net_port_set_driver_mac(struct net_port *port, const uint8_t mac[ETH_ALEN]);
/* The port takes part only when active (its driver is ready). Inactive ports get no frames;
 * starts inactive. */
void net_port_set_active(struct net_port *port, bool active);
/* Uplink carrier: link state "auto" of function ports follows it when the switch has an uplink. */
void net_port_set_carrier(struct net_port *port, bool up);
bool net_port_link_up(const struct net_port *port); /* any thread */

/*
 * Frames that the port's owner sent: ingress checks, lookup, delivery, counters. frames[] may be
 * edited (VLAN tags). Worker. The frames' memory is no longer used after return.
 */
void net_port_input(struct net_port *port, struct net_frame *frames, unsigned n);

void net_port_count_drop(struct net_port *port, enum net_drop reason, unsigned n); /* worker */
/* A queue was held back for so long; worker. */
void net_port_count_throttled(struct net_port *port, unsigned n, uint64_t ns);
void net_port_get_stats(const struct net_port *port, struct net_port_stats *out); /* any */
void net_port_clear_stats(struct net_port *port);

#endif
