/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Life of a port. Control thread, but for what net/port.h marks otherwise.
 */
#include <errno.h>
#include <stdlib.h>

#include "net/internal.h"
#include "util/log.h"
#include "worker/worker.h"

static int take_index(struct net_switch *sw, struct net_port *port)
{
	unsigned used = 0, i;

	if (port->uplink) {
		for (i = 0; i < NET_PORTS_MAX; i++)
			if (sw->ports[i] && sw->ports[i]->uplink)
				used |= BIT(sw->ports[i]->uplink_slot);
		for (i = 0; i < NET_UPLINKS_MAX && used & BIT(i); i++)
			;
		if (i == NET_UPLINKS_MAX)
			return -ENOSPC;
		port->uplink_slot = (uint8_t)i;
	}
	for (i = 0; i < NET_PORTS_MAX; i++) {
		if (!sw->ports[i]) {
			port->index = (uint16_t)i;
			sw->ports[i] = port;
			sw->n_ports++;
			sw->n_uplinks += port->uplink;
			return 0;
		}
	}
	return -ENOSPC;
}

static void give_index(struct net_port *port)
{
	struct net_switch *sw = port->sw;

	sw->ports[port->index] = NULL;
	sw->n_ports--;
	sw->n_uplinks -= port->uplink;
}

static void port_free(struct net_port *port)
{
	pthread_mutex_destroy(&port->base_lock);
	free(port->view);
	free(port->name);
	free(port);
}

static struct net_port *port_new(struct net_switch *sw, const struct net_port_config *cfg)
{
	struct net_port *port = aligned_alloc(CACHE_LINE, sizeof(*port));

	if (!port)
		return NULL;
	memset(port, 0, sizeof(*port));
	pthread_mutex_init(&port->base_lock, NULL);
	port->sw = sw;
	port->ops = cfg->ops;
	port->opaque = cfg->opaque;
	port->uplink = cfg->kind == NET_PORT_UPLINK;
	port->name = strdup(cfg->name);
	if (!port->name) {
		port_free(port);
		return NULL;
	}
	return port;
}

int net_port_create(struct net_switch *sw, const struct net_port_config *cfg,
		    const struct net_policy *policy, struct net_port **out)
{
	struct net_port *port = port_new(sw, cfg);
	struct net_view *view;
	int err;

	if (!port)
		return -ENOMEM;
	err = policy_check(port, policy);
	if (err)
		goto err_port;
	if (port->uplink && !sw->learnt) {
		err = learnt_create(&sw->learnt);
		if (err)
			goto err_port;
	}
	err = take_index(sw, port);
	if (err)
		goto err_port;
	view = view_new(port, policy, NULL);
	err = view ? table_publish(port, view) : -ENOMEM;
	if (err) {
		free(view);
		goto err_index;
	}
	switch_update_links(sw);
	port->created = true;
	*out = port;
	return 0;

err_index:
	give_index(port);
err_port:
	port_free(port);
	return err;
}

void net_port_destroy(struct net_port *port)
{
	struct net_switch *sw = port->sw;

	port->created = false;
	port->tick = NULL;
	atomic_store_explicit(&port->state, 0, memory_order_relaxed);
	sw->ports[port->index] = NULL;
	if (table_publish(port, NULL) < 0) {
		/* Inactive ports are never called, so an orphan in the old table does no harm. */
		sw->ports[port->index] = port;
		worker_synchronize();
		log_error("%s: out of memory, its port stays as an orphan", port->name);
		return;
	}
	sw->n_ports--;
	sw->n_uplinks -= port->uplink;
	if (port->uplink)
		learnt_forget_slot(sw->learnt, port->uplink_slot);
	port_free(port);
	switch_update_links(sw);
}

void *net_port_opaque(const struct net_port *port)
{
	return port->opaque;
}

const char *net_port_name(const struct net_port *port)
{
	return port->name;
}

bool net_port_link_up(const struct net_port *port)
{
	return atomic_load_explicit(&port->state, memory_order_relaxed) & PORT_LINK;
}

void net_port_set_active(struct net_port *port, bool active)
{
	uint8_t old = atomic_load_explicit(&port->state, memory_order_relaxed);
	uint8_t new = active ? old | PORT_ACTIVE : old & ~PORT_ACTIVE;

	if (old == new)
		return;
	/* Release: what the owner prepared is seen by the worker that delivers. */
	atomic_store_explicit(&port->state, new, memory_order_release);
	if (!active)
		worker_synchronize();
}

void net_port_set_carrier(struct net_port *port, bool up)
{
	if (port->carrier == up)
		return;
	port->carrier = up;
	switch_update_links(port->sw);
}

void port_set_tick(struct net_port *port, void (*tick)(struct net_port *port))
{
	port->tick = tick;
}
