/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The immutable table that the data path reads: a view of each port and the static addresses. A
 * change costs a new table of pointers, and a new view of the port that changed.
 */
#include <errno.h>
#include <stdlib.h>

#include "net/internal.h"
#include "net/parse.h"
#include "worker/worker.h"

static uint64_t bloom_bit(uint64_t mac)
{
	return BIT_ULL(mac_hash(mac, 0) >> 58);
}

static void view_filter(struct net_view *v)
{
	const struct net_filter *f = &v->filter;
	bool trusted = v->policy.trust || v->uplink;

	/* Unicast of others takes trust; every multicast, which promiscuity means too, does not. */
	v->all = v->uplink || (trusted && f->promisc);
	v->flood = v->all || (trusted && f->alluni && !f->nouni);
	v->allmulti = f->allmulti;
	v->promisc = f->promisc;
	v->filtered = !v->all && (f->nouni || f->vlan_filter);
	for (unsigned i = 0; i < f->n_multi && i < NET_FILTER_MACS; i++) {
		v->multi[v->n_multi] = mac_load(f->multi[i]);
		v->multi_bloom |= bloom_bit(v->multi[v->n_multi++]);
	}
}

struct net_view *view_new(struct net_port *port, const struct net_policy *policy,
			  const struct net_filter *filter)
{
	struct net_view *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->port = port;
	v->policy = *policy;
	if (filter)
		v->filter = *filter;
	v->mac = mac_load(policy->mac);
	v->uplink = port->uplink;
	v->spoof_check = policy->spoof_check;
	v->trunk = policy->trunk_enabled;
	if (policy->vlan) {
		v->tpid = policy->vlan_proto == NET_TPID_AD ? NET_TPID_AD : NET_TPID_Q;
		v->vlan = policy->vlan | (v->tpid == NET_TPID_AD ? VLAN_S : 0);
		v->tci = (uint16_t)(policy->vlan_qos << 13 | policy->vlan);
	}
	view_filter(v);
	return v;
}

bool mac_is_free(const struct net_switch *sw, uint64_t mac, const struct net_port *except)
{
	for (unsigned i = 0; i < NET_PORTS_MAX; i++) {
		const struct net_port *p = sw->ports[i];

		if (p && p != except && p->view && p->view->mac == mac)
			return false;
	}
	return true;
}

bool view_extra_mac(const struct net_switch *sw, const struct net_view *v, unsigned i,
		    uint64_t *mac)
{
	const struct net_filter *f = &v->filter;

	if (!v->policy.trust || v->uplink || i >= MIN(f->n_uni, (unsigned)NET_FILTER_MACS))
		return false;
	*mac = mac_load(f->uni[i]);
	/* A port's own address cannot be taken by another's wish. 0 stands for "not granted". */
	if (*mac & MAC_GROUP || *mac == v->mac || !mac_is_free(sw, *mac, v->port))
		*mac = 0;
	return true;
}

static void table_add_mac(struct net_table *t, uint64_t mac, unsigned index)
{
	uint32_t i = (uint32_t)mac_hash(mac, t->seed) & t->mask;

	while (t->macs[i])
		i = (i + 1) & t->mask;
	t->macs[i] = mac << 16 | (index + 1);
}

static unsigned count_macs(const struct net_view *const *views, unsigned n)
{
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++)
		if (views[i])
			count += 1 + (views[i]->policy.trust ? views[i]->filter.n_uni : 0);
	return count;
}

static struct net_table *table_alloc(const struct net_switch *sw, unsigned n)
{
	struct net_table *t = calloc(1, sizeof(*t) + n * sizeof(t->views[0]));

	if (!t)
		return NULL;
	t->seed = sw->seed;
	t->learnt = sw->learnt;
	t->n = n;
	for (unsigned i = 0; i < NET_UPLINKS_MAX; i++)
		t->uplinks[i] = NET_NO_PORT;
	return t;
}

static int table_fill(const struct net_switch *sw, struct net_table *t)
{
	uint32_t size = 16;
	uint64_t mac;

	while (size < 4 * count_macs(t->views, t->n))
		size *= 2;
	t->macs = calloc(size, sizeof(t->macs[0]));
	if (!t->macs)
		return -ENOMEM;
	t->mask = size - 1;
	for (unsigned i = 0; i < t->n; i++) {
		const struct net_view *v = t->views[i];

		if (!v)
			continue;
		if (v->uplink)
			t->uplinks[v->port->uplink_slot] = (uint16_t)i;
		if (v->mac)
			table_add_mac(t, v->mac, i);
		for (unsigned k = 0; view_extra_mac(sw, v, k, &mac); k++)
			if (mac && !table_owns(t, mac, i))
				table_add_mac(t, mac, i);
	}
	return 0;
}

static void table_free(struct net_table *t)
{
	if (t)
		free(t->macs);
	free(t);
}

int table_publish(struct net_port *port, struct net_view *view)
{
	struct net_switch *sw = port->sw;
	struct net_view *old_view = port->view;
	struct net_table *t, *old;
	unsigned n = 0;

	for (unsigned i = 0; i < NET_PORTS_MAX; i++)
		if (sw->ports[i])
			n = i + 1;
	t = table_alloc(sw, n);
	if (!t)
		return -ENOMEM;
	port->view = view;
	for (unsigned i = 0; i < n; i++)
		if (sw->ports[i])
			t->views[i] = sw->ports[i]->view;
	if (table_fill(sw, t) < 0) {
		port->view = old_view;
		table_free(t);
		return -ENOMEM;
	}
	old = atomic_exchange_explicit(&sw->table, t, memory_order_acq_rel);
	worker_synchronize();
	table_free(old);
	if (old_view != view)
		free(old_view);
	return 0;
}
