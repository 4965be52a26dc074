/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/uplink.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include "net/uplink_impl.h"

int uplink_fail(struct net_uplink *up, int err, const char *fmt, ...)
{
	va_list ap;

	if (up->why_len && !up->why[0]) {
		va_start(ap, fmt);
		vsnprintf(up->why, up->why_len, fmt, ap);
		va_end(ap);
	}
	return err;
}

/* The outside is trusted to use any address, as the wire of an adapter is. */
static void wire_policy(struct net_policy *policy)
{
	net_policy_init(policy);
	policy->spoof_check = false;
	policy->trust = true;
}

static int add_port(struct net_uplink *up)
{
	struct net_port_config cfg = {
		.kind = NET_PORT_UPLINK,
		.ops = &up->type->port_ops,
		.opaque = up,
	};
	struct net_policy policy;
	char name[128];
	int err;

	wire_policy(&policy);
	if (up->type->policy)
		up->type->policy(&policy);
	snprintf(name, sizeof(name), "%s/uplink", up->sw->name);
	cfg.name = name;
	err = net_port_create(up->sw, &cfg, &policy, &up->port);
	if (err)
		return uplink_fail(up, err, "adding the port %s: %s", name, strerror(-err));
	return 0;
}

static const struct uplink_type *find_type(enum net_uplink_type type)
{
	switch (type) {
	case NET_UPLINK_TAP:
		return &uplink_tap;
	case NET_UPLINK_USER:
		return &uplink_user;
	default:
		return NULL;
	}
}

int net_uplink_create(struct net_switch *sw, const struct net_uplink_config *cfg,
		      struct worker_pool *pool, struct net_uplink **out, char *why,
		      unsigned why_len)
{
	struct net_uplink *up;
	int err;

	if (why_len)
		why[0] = '\0';
	up = calloc(1, sizeof(*up));
	if (!up)
		return -ENOMEM;
	up->config = *cfg;
	up->sw = sw;
	up->pool = pool;
	up->why = why;
	up->why_len = why_len;
	up->type = find_type(cfg->type);
	if (!up->type) {
		err = uplink_fail(up, -EINVAL, "this type of uplink has no port");
		goto err_free;
	}
	err = up->type->open(up);
	if (err)
		goto err_free;
	err = add_port(up);
	if (err)
		goto err_close;
	net_port_set_active(up->port, true);
	err = up->type->start(up);
	if (err)
		goto err_port;
	up->why = NULL;
	up->why_len = 0;
	*out = up;
	return 0;

err_port:
	net_port_destroy(up->port);
err_close:
	up->type->close(up);
err_free:
	uplink_fail(up, err, "%s", strerror(-err));
	free(up);
	return err;
}

void net_uplink_destroy(struct net_uplink *up)
{
	up->type->stop(up);
	net_port_destroy(up->port);
	up->type->close(up);
	free(up);
}

struct net_port *net_uplink_port(struct net_uplink *up)
{
	return up->port;
}

const struct net_uplink_config *net_uplink_config(const struct net_uplink *up)
{
	return &up->config;
}
