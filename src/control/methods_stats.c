/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters: of each port by reason, of each controller and namespace, of each worker. */
#include "control/methods.h"

#include <string.h>

#include "util/clock.h"

struct collect {
	const struct control_context *ctx;
	const char *name;
	unsigned matched;
	bool clear;
	json_t *functions, *uplinks, *namespaces;
};

static bool selected(struct collect *c, const char *name, const char *device)
{
	bool hit = !c->name || !strcmp(c->name, name) || !strcmp(c->name, device);

	c->matched += hit;
	return hit;
}

static void put_counters(json_t *o, const struct net_port *port)
{
	struct net_port_stats st;
	json_t *drops = json_object();

	net_port_get_stats(port, &st);
	put_int(o, "rx-packets", st.rx_packets);
	put_int(o, "rx-bytes", st.rx_bytes);
	put_int(o, "rx-broadcast", st.rx_broadcast);
	put_int(o, "rx-multicast", st.rx_multicast);
	put_int(o, "rx-dropped", net_port_stats_rx_dropped(&st));
	put_int(o, "tx-packets", st.tx_packets);
	put_int(o, "tx-bytes", st.tx_bytes);
	put_int(o, "tx-broadcast", st.tx_broadcast);
	put_int(o, "tx-multicast", st.tx_multicast);
	put_int(o, "tx-dropped", net_port_stats_tx_dropped(&st));
	for (unsigned i = 0; i < NET_DROP_REASONS; i++)
		put_int(drops, net_drop_name((enum net_drop)i), st.drops[i]);
	json_object_set_new(o, "drops", drops);
}

/* Of functions: uplinks have no transmit rate. */
static void put_throttled(json_t *o, const struct net_port *port)
{
	struct net_port_stats st;

	net_port_get_stats(port, &st);
	put_int(o, "tx-throttled", st.tx_throttled);
	put_int(o, "tx-throttled-ns", st.tx_throttled_ns);
}

static void collect_controller(struct collect *c, const struct function_info *f)
{
	struct nvme_io_stats st;
	json_t *o;

	if (!selected(c, f->name, f->device))
		return;
	if (c->clear) {
		nvme_ctrl_clear_stats(f->ctrl);
		return;
	}
	nvme_ctrl_get_stats(f->ctrl, &st);
	o = json_object();
	put_string(o, "name", f->name);
	put_string(o, "type", "nvme");
	put_io_stats(o, &st);
	put_int(o, "admin-commands", f->nvme.admin_commands);
	put_int(o, "kicks", f->nvme.kicks);
	put_int(o, "interrupts", f->nvme.interrupts);
	json_array_append_new(c->functions, o);
}

static void collect_namespace(void *opaque, const struct softiov_ns_info *i)
{
	struct collect *c = opaque;
	struct softiov *s = c->ctx->softiov;
	struct nvme_io_stats st;
	json_t *o;

	if (!selected(c, i->name, i->device))
		return;
	if (c->clear) {
		softiov_ns_clear_stats(s, i->name);
		return;
	}
	if (softiov_ns_get_stats(s, i->name, &st))
		return;
	o = json_object();
	put_string(o, "name", i->name);
	put_io_stats(o, &st);
	json_array_append_new(c->namespaces, o);
}

static void collect_function(void *opaque, const struct function_info *f)
{
	struct collect *c = opaque;
	json_t *o;

	if (f->ctrl) {
		collect_controller(c, f);
		return;
	}
	if (!f->port || !selected(c, f->name, f->device))
		return;
	if (c->clear) {
		net_port_clear_stats(f->port);
		return;
	}
	o = json_object();
	put_string(o, "name", f->name);
	put_string(o, "type", "ethernet");
	put_counters(o, f->port);
	put_throttled(o, f->port);
	put_int(o, "kicks", f->net.kicks);
	put_int(o, "interrupts", f->net.interrupts);
	json_array_append_new(c->functions, o);
}

static void collect_device(void *opaque, const struct device_info *d)
{
	struct collect *c = opaque;
	json_t *o;

	/* A device is known even when it has no uplink. */
	if (c->name && !strcmp(c->name, d->name))
		c->matched++;
	if (!d->uplink_port || !selected(c, net_port_name(d->uplink_port), d->name))
		return;
	if (c->clear) {
		net_port_clear_stats(d->uplink_port);
		return;
	}
	o = json_object();
	put_string(o, "name", net_port_name(d->uplink_port));
	put_counters(o, d->uplink_port);
	json_array_append_new(c->uplinks, o);
}

static int collect(struct collect *c, char why[CONTROL_WHY_MAX])
{
	softiov_for_each_function(c->ctx->softiov, NULL, collect_function, c);
	softiov_for_each_device(c->ctx->softiov, collect_device, c);
	softiov_ns_for_each(c->ctx->softiov, NULL, collect_namespace, c);
	if (c->name && !c->matched)
		return control_no_such(c->ctx, c->name, "device, function, namespace or uplink",
				       why);
	return 0;
}

int control_stats(const struct control_context *ctx, const json_t *params, json_t **result,
		  char why[CONTROL_WHY_MAX])
{
	struct collect c = {.ctx = ctx, .name = param_string(params, "name")};
	int ret;

	c.functions = json_array();
	c.uplinks = json_array();
	c.namespaces = json_array();
	ret = collect(&c, why);
	if (ret) {
		json_decref(c.functions);
		json_decref(c.uplinks);
		json_decref(c.namespaces);
		return ret;
	}
	*result = json_object();
	put_int(*result, "time-ns", clock_now_ns());
	json_object_set_new(*result, "functions", c.functions);
	json_object_set_new(*result, "namespaces", c.namespaces);
	json_object_set_new(*result, "uplinks", c.uplinks);
	if (!c.name)
		json_object_set_new(*result, "workers", control_workers_json(ctx));
	return 0;
}

int control_stats_clear(const struct control_context *ctx, const json_t *params, json_t **result,
			char why[CONTROL_WHY_MAX])
{
	struct collect c = {.ctx = ctx, .name = param_string(params, "name"), .clear = true};

	return collect(&c, why);
}
