/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The switch itself: life, link states, ageing. Control thread. Frames: input.c.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "net/internal.h"
#include "util/clock.h"

static uint32_t now_seconds(void)
{
	return (uint32_t)(clock_now_ns() / NS_PER_S);
}

int net_switch_create(const char *name, struct net_switch **out)
{
	struct net_switch *sw = calloc(1, sizeof(*sw));

	if (!sw)
		return -ENOMEM;
	sw->name = strdup(name);
	if (!sw->name) {
		free(sw);
		return -ENOMEM;
	}
	if (getrandom(&sw->seed, sizeof(sw->seed), 0) != sizeof(sw->seed))
		sw->seed = clock_now_ns() * 0x9e3779b97f4a7c15ull;
	sw->ageing_s = NET_AGEING_S;
	atomic_init(&sw->now_s, now_seconds());
	*out = sw;
	return 0;
}

void net_switch_destroy(struct net_switch *sw)
{
	struct net_table *t = atomic_load(&sw->table);

	assert(!sw->n_ports);
	if (t)
		free(t->macs);
	free(t);
	learnt_destroy(sw->learnt);
	free(sw->name);
	free(sw);
}

void net_switch_set_ageing(struct net_switch *sw, unsigned seconds)
{
	sw->ageing_s = seconds;
}

void net_switch_age(struct net_switch *sw)
{
	uint32_t now = now_seconds();

	atomic_store_explicit(&sw->now_s, now, memory_order_relaxed);
	if (sw->learnt)
		learnt_age(sw->learnt, now, sw->ageing_s);
	for (unsigned i = 0; i < NET_PORTS_MAX; i++)
		if (sw->ports[i] && sw->ports[i]->tick)
			sw->ports[i]->tick(sw->ports[i]);
}

/* An uplink's link is its carrier; a function's follows the uplinks, or as it is told. */
static bool link_of(const struct net_port *port, bool any_carrier)
{
	switch (port->view->policy.link) {
	case NET_LINK_ENABLE:
		return true;
	case NET_LINK_DISABLE:
		return false;
	default:
		if (port->uplink)
			return port->carrier;
		return !port->sw->n_uplinks || any_carrier;
	}
}

void switch_update_links(struct net_switch *sw)
{
	bool carrier = false;

	for (unsigned i = 0; i < NET_PORTS_MAX; i++)
		if (sw->ports[i] && sw->ports[i]->uplink)
			carrier |= sw->ports[i]->carrier;
	for (unsigned i = 0; i < NET_PORTS_MAX; i++) {
		struct net_port *p = sw->ports[i];
		uint8_t state;
		bool up;

		if (!p || !p->view)
			continue;
		up = link_of(p, carrier);
		state = atomic_load_explicit(&p->state, memory_order_relaxed);
		if (up == !!(state & PORT_LINK))
			continue;
		atomic_store_explicit(&p->state, up ? state | PORT_LINK : state & ~PORT_LINK,
				      memory_order_release);
		if (p->created && p->ops->link_changed)
			p->ops->link_changed(p, up);
	}
}

struct fdb_walk {
	struct net_switch *sw;
	void (*cb)(void *opaque, const uint8_t *mac, uint16_t vlan, const struct net_port *port,
		   bool is_static, unsigned age);
	void *opaque;
	uint32_t now_s;
};

static void fdb_report(const struct fdb_walk *w, uint64_t mac, uint16_t vlan,
		       const struct net_port *port, bool is_static, unsigned age)
{
	uint64_t le = htole64(mac);
	uint8_t bytes[ETH_ALEN];

	memcpy(bytes, &le, ETH_ALEN);
	w->cb(w->opaque, bytes, vlan & VLAN_VID_MASK, port, is_static, age);
}

static void fdb_learnt(void *opaque, uint64_t mac, uint16_t vlan, unsigned slot, uint32_t stamp_s)
{
	const struct fdb_walk *w = opaque;

	for (unsigned i = 0; i < NET_PORTS_MAX; i++) {
		const struct net_port *p = w->sw->ports[i];

		if (p && p->uplink && p->uplink_slot == slot)
			fdb_report(w, mac, vlan, p, false, w->now_s - stamp_s);
	}
}

void net_switch_fdb(struct net_switch *sw,
		    void (*cb)(void *opaque, const uint8_t *mac, uint16_t vlan,
			       const struct net_port *port, bool is_static, unsigned age),
		    void *opaque)
{
	struct fdb_walk w = {sw, cb, opaque, atomic_load(&sw->now_s)};
	uint64_t mac;

	for (unsigned i = 0; i < NET_PORTS_MAX; i++) {
		const struct net_port *p = sw->ports[i];

		if (!p)
			continue;
		if (p->view->mac)
			fdb_report(&w, p->view->mac, p->view->vlan, p, true, 0);
		for (unsigned k = 0; view_extra_mac(sw, p->view, k, &mac); k++)
			if (mac)
				fdb_report(&w, mac, p->view->vlan, p, true, 0);
	}
	if (sw->learnt)
		learnt_each(sw->learnt, fdb_learnt, &w);
}
