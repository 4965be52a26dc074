/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the administrator decides and what a driver asks for. Control thread.
 */
#include <errno.h>
#include <stdlib.h>

#include "net/internal.h"
#include "net/parse.h"
#include "util/log.h"

#define QOS_MAX 7

void net_policy_init(struct net_policy *p)
{
	memset(p, 0, sizeof(*p));
	p->spoof_check = true;
	p->link = NET_LINK_AUTO;
	p->vlan_proto = NET_TPID_Q;
}

int policy_check(const struct net_port *port, const struct net_policy *p)
{
	uint64_t mac = mac_load(p->mac);

	if (mac & MAC_GROUP || (!mac && !port->uplink))
		return -EINVAL;
	if (p->vlan >= VLAN_RESERVED || p->vlan_qos > QOS_MAX)
		return -EINVAL;
	if (p->vlan && p->vlan_proto && !net_is_tag(p->vlan_proto))
		return -EINVAL;
	if ((unsigned)p->link > NET_LINK_DISABLE)
		return -EINVAL;
	if (mac && !mac_is_free(port->sw, mac, port))
		return -EEXIST;
	return 0;
}

static int port_change(struct net_port *port, const struct net_policy *policy,
		       const struct net_filter *filter)
{
	struct net_view *v = view_new(port, policy, filter);
	int err;

	if (!v)
		return -ENOMEM;
	err = table_publish(port, v);
	if (err)
		free(v);
	return err;
}

int net_port_set_policy(struct net_port *port, const struct net_policy *policy)
{
	int err = policy_check(port, policy);

	if (err)
		return err;
	err = port_change(port, policy, &port->view->filter);
	if (err)
		return err;
	switch_update_links(port->sw);
	return 0;
}

void net_port_set_filter(struct net_port *port, const struct net_filter *filter)
{
	struct net_filter f = *filter;

	/* More than we can list was asked for: the caller takes it as "all"; never as "some". */
	if (f.n_uni > NET_FILTER_MACS) {
		f.alluni = true;
		f.n_uni = 0;
	}
	if (f.n_multi > NET_FILTER_MACS) {
		f.allmulti = true;
		f.n_multi = 0;
	}
	if (!memcmp(&f, &port->view->filter, sizeof(f)))
		return;
	if (port_change(port, &port->view->policy, &f) < 0)
		log_error("%s: out of memory, its filter stays as it was", port->name);
}

int net_port_set_driver_mac(struct net_port *port, const uint8_t mac[ETH_ALEN])
{
	struct net_policy p = port->view->policy;

	if (!memcmp(p.mac, mac, ETH_ALEN))
		return 0;
	if (p.mac_by_admin && !p.trust)
		return -EPERM;
	memcpy(p.mac, mac, ETH_ALEN);
	return net_port_set_policy(port, &p);
}

const struct net_policy *net_port_policy(const struct net_port *port)
{
	return &port->view->policy;
}
