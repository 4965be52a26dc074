/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the switch share. Two kinds of state:
 *
 * - struct net_table with its views: immutable, published by net_switch.table; the control thread
 *   builds a new one for each change and frees the old one after worker_synchronize().
 * - atomics: a port's state bits, counters, the learnt addresses.
 */
#ifndef SOFTIOV_NET_INTERNAL_H
#define SOFTIOV_NET_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "net/port.h"
#include "util/bytes.h"
#include "util/util.h"

#define NET_PORTS_MAX	  1152 /* of a switch: 1024 VFs, their PFs, uplinks */
#define NET_NO_PORT	  UINT16_MAX
#define NET_UPLINKS_MAX	  8    /* of these, uplinks: 3 bits of a learnt entry */
#define NET_LEARNT_SETS	  1024 /* learnt addresses: at most sets x ways of a switch, */
#define NET_LEARNT_WAYS	  8    /* a full set learns nothing until an entry has aged */
#define NET_AGEING_S	  300
#define NET_COUNTER_SLOTS 16 /* threads with counters of their own; further ones share the last */

/* A MAC address as a number: first byte lowest, so bit 0 is the group bit. */
#define MAC_MASK      0xffffffffffffull
#define MAC_BROADCAST MAC_MASK
#define MAC_GROUP     1ull
/* 01-80-C2-00-00-00 to -0F: between neighbours, no bridge forwards them (IEEE 802.1Q, 8.6.3). */
#define MAC_LINK_LOCAL	    0x000000c28001ull
#define MAC_LINK_LOCAL_MASK 0xf0ffffffffffull

/* VLANs as the switch tells them apart: VID, and bit 12 for an 802.1ad tag. 0: untagged. */
#define VLAN_VID_MASK 0x0fffu
#define VLAN_S	      0x1000u
#define VLAN_RESERVED 0xfffu /* IEEE 802.1Q table 9-2 */

static inline uint64_t mac_load(const uint8_t *p)
{
	/* Two loads: put together in memory it would wait for the stores. */
	return get_le32(p) | (uint64_t)get_le16(p + 4) << 32;
}

static inline bool bitmap_has(const uint8_t *map, unsigned bit)
{
	return map[bit / 8] >> (bit % 8) & 1;
}

static inline uint64_t mac_hash(uint64_t mac, uint64_t seed)
{
	uint64_t h = (mac ^ seed) * 0x9e3779b97f4a7c15ull;

	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	return h ^ h >> 29;
}

/* What the data path knows of a port. Immutable. */
struct net_view {
	struct net_port *port;
	uint64_t mac;	    /* 0: none */
	uint16_t vlan;	    /* port VLAN with VLAN_S, 0: none */
	uint16_t tpid, tci; /* its tag */
	bool uplink;
	bool spoof_check;
	bool trunk;
	bool flood; /* gets unknown unicast: uplink, or granted promiscuity */
	bool all;   /* granted promiscuity: no filter of its own */
	bool allmulti;
	bool promisc;  /* as asked, not granted: covers multicast */
	bool filtered; /* nouni or vlan_filter is to be looked at for unicast */
	unsigned n_multi;
	uint64_t multi_bloom;
	uint64_t multi[NET_FILTER_MACS];
	struct net_policy policy;
	struct net_filter filter;
};

struct net_table {
	struct net_learnt *learnt; /* NULL while there is no uplink */
	uint64_t seed;
	uint32_t mask;			   /* of macs[] */
	uint32_t n;			   /* of views[], holes are NULL */
	uint64_t *macs;			   /* mac << 16 | index + 1, linear probing, 0 ends a run */
	uint16_t uplinks[NET_UPLINKS_MAX]; /* index by uplink slot, or NET_NO_PORT */
	const struct net_view *views[];
};

enum { PORT_ACTIVE = 1, PORT_LINK = 2, PORT_READY = PORT_ACTIVE | PORT_LINK };

enum net_counter {
	CNT_RX_PACKETS,
	CNT_RX_BYTES,
	CNT_RX_BROADCAST,
	CNT_RX_MULTICAST,
	CNT_TX_PACKETS,
	CNT_TX_BYTES,
	CNT_TX_BROADCAST,
	CNT_TX_MULTICAST,
	CNT_TX_THROTTLED,
	CNT_TX_THROTTLED_NS,
	CNT_DROPS,
	CNT_NUM = CNT_DROPS + NET_DROP_REASONS,
};

struct net_counters {
	_Alignas(CACHE_LINE) _Atomic uint64_t v[CNT_NUM];
};

struct net_port {
	struct net_switch *sw;
	const struct net_port_ops *ops;
	void *opaque;
	uint16_t index; /* in net_table.views */
	bool uplink;
	uint8_t uplink_slot;
	_Atomic uint8_t state; /* PORT_*; written by control only */
	struct net_counters slots[NET_COUNTER_SLOTS];
	/* control only */
	char *name;
	bool carrier, created;
	void (*tick)(struct net_port *port); /* each second, see port_set_tick() */
	struct net_view *view;
	pthread_mutex_t base_lock;
	uint64_t base[CNT_NUM]; /* under base_lock */
};

struct net_switch {
	_Atomic(struct net_table *) table;
	_Atomic uint32_t now_s; /* seconds, advanced by net_switch_age() */
	/* control only */
	char *name;
	uint64_t seed;
	struct net_learnt *learnt;
	unsigned ageing_s, n_ports, n_uplinks;
	struct net_port *ports[NET_PORTS_MAX];
};

/* table.c, control. A view of policy and filter; a new table with `view` in place of the port's
 * present one (NULL: without the port), published; the old ones freed. */
struct net_view *view_new(struct net_port *port, const struct net_policy *policy,
			  const struct net_filter *filter);
int table_publish(struct net_port *port, struct net_view *view);
/* True when no port of the switch but except has this address of its own. */
bool mac_is_free(const struct net_switch *sw, uint64_t mac, const struct net_port *except);
/* Addresses beyond its own that the port is granted, in order; false at the end. */
bool view_extra_mac(const struct net_switch *sw, const struct net_view *v, unsigned i,
		    uint64_t *mac);

/* policy.c */
int policy_check(const struct net_port *port, const struct net_policy *policy);

/* switch.c, control: works out every port's link again, tells the owners. */
void switch_update_links(struct net_switch *sw);
/* Called once a second by net_switch_age(): for what an uplink must look at itself. Control. */
void port_set_tick(struct net_port *port, void (*tick)(struct net_port *port));

/* fdb.c. learnt_find returns the uplink slot or -1. Any worker. */
int learnt_create(struct net_learnt **out);
void learnt_destroy(struct net_learnt *l);
void learnt_add(struct net_learnt *l, uint64_t hash, uint64_t mac, uint16_t vlan, unsigned slot,
		uint32_t now_s);
int learnt_find(const struct net_learnt *l, uint64_t hash, uint64_t mac, uint16_t vlan);
/* Control. */
void learnt_age(struct net_learnt *l, uint32_t now_s, uint32_t max_age_s);
void learnt_forget_slot(struct net_learnt *l, unsigned slot);
void learnt_each(const struct net_learnt *l,
		 void (*cb)(void *opaque, uint64_t mac, uint16_t vlan, unsigned slot,
			    uint32_t stamp_s),
		 void *opaque);

static inline uint64_t learnt_hash(uint64_t mac, uint16_t vlan, uint64_t seed)
{
	return mac_hash(mac ^ (uint64_t)vlan << 48, seed);
}

/* stats.c */
void counters_add(struct net_port *port, const uint64_t *add, unsigned first, unsigned n);

static inline bool view_member(const struct net_view *v, uint16_t vlan)
{
	if (v->vlan)
		return v->vlan == vlan;
	if (v->trunk)
		return !vlan || (!(vlan & VLAN_S) && bitmap_has(v->policy.trunk, vlan));
	return true;
}

/* Index of the port that owns mac in vlan, or -1. */
static inline int table_find(const struct net_table *t, uint64_t mac, uint16_t vlan)
{
	uint32_t i = (uint32_t)mac_hash(mac, t->seed) & t->mask;

	for (; t->macs[i]; i = (i + 1) & t->mask) {
		if (t->macs[i] >> 16 == mac) {
			int index = (int)(t->macs[i] & 0xffff) - 1;

			if (view_member(t->views[index], vlan))
				return index;
		}
	}
	return -1;
}

/* True when the port at index owns mac, its own or a granted one. */
static inline bool table_owns(const struct net_table *t, uint64_t mac, unsigned index)
{
	uint32_t i = (uint32_t)mac_hash(mac, t->seed) & t->mask;

	for (; t->macs[i]; i = (i + 1) & t->mask)
		if (t->macs[i] == (mac << 16 | (index + 1)))
			return true;
	return false;
}

#endif
