/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands that tell what exists: show, lspci, attach-args. */
#include "control/methods.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/text.h"
#include "util/util.h"

struct listing {
	const struct control_context *ctx;
	const char *name; /* only this; NULL: all */
	json_t *array;
	unsigned matched; /* objects that name selects */
};

static bool selected(struct listing *l, const char *name, const char *device, const char *root)
{
	bool hit = !l->name || !strcmp(l->name, name) || (device && !strcmp(l->name, device)) ||
		   (root && !strcmp(l->name, root));

	l->matched += hit;
	return hit;
}

/* --- devices --- */

static json_t *uplink_json(const struct net_uplink_config *up)
{
	static const char *const types[] = {"none", "tap", "user"};
	json_t *o = json_object(), *forwards;

	put_string(o, "type", types[up->type]);
	if (up->type == NET_UPLINK_TAP) {
		put_string(o, "name", up->name);
		put_int(o, "queues", up->queues);
	} else if (up->type == NET_UPLINK_USER) {
		put_string(o, "net", up->net);
		put_string(o, "net6", up->net6);
		forwards = json_array();
		for (unsigned i = 0; i < up->n_forwards; i++) {
			const struct net_uplink_forward *f = &up->forwards[i];
			char text[128];

			snprintf(text, sizeof(text), "%s:%s:%u-%s:%u", f->udp ? "udp" : "tcp",
				 f->host_addr, f->host_port, f->guest_addr, f->guest_port);
			json_array_append_new(forwards, json_string(text));
		}
		json_object_set_new(o, "forwards", forwards);
	}
	return o;
}

static void put_ethernet_device(json_t *o, const struct device_info *d)
{
	static const struct net_uplink_config none = {.type = NET_UPLINK_NONE};
	json_t *uplink;

	put_int(o, "mtu", d->mtu);
	put_int(o, "queues", d->queue_pairs);
	json_object_set_new(o, "speed-mbps",
			    d->speed_mbps == UINT32_MAX ? json_null()
							: json_integer(d->speed_mbps));
	put_int(o, "tx-rate", d->tx_mbps);
	uplink = uplink_json(d->uplink ? d->uplink : &none);
	if (d->uplink_port)
		put_string(uplink, "link", net_port_link_up(d->uplink_port) ? "up" : "down");
	json_object_set_new(o, "uplink", uplink);
}

static void list_device(void *opaque, const struct device_info *d)
{
	struct listing *l = opaque;
	json_t *o;

	if (!selected(l, d->name, NULL, NULL))
		return;
	o = json_object();
	put_string(o, "name", d->name);
	put_string(o, "type", d->type);
	put_int(o, "total-vfs", d->total_vfs);
	put_int(o, "num-vfs", d->num_vfs);
	put_int(o, "pfs", d->pfs);
	if (d->kind == DEVICE_NVME)
		put_nvme_device(o, d);
	else
		put_ethernet_device(o, d);
	json_array_append_new(l->array, o);
}

/* --- functions --- */

static json_t *client_json(const struct vfu_server_status *st)
{
	json_t *o = json_object();

	put_int(o, "pid", (uint64_t)st->pid);
	put_int(o, "uid", st->uid);
	put_int(o, "dma-regions", st->dma_regions);
	put_int(o, "dma-bytes", st->dma_bytes);
	put_int(o, "messages", st->messages);
	put_int(o, "errors", st->errors);
	put_bool(o, "remote-memory", st->remote_memory);
	return o;
}

static json_t *driver_json(const struct virtio_net_status *net)
{
	json_t *o = json_object();
	char features[20];

	put_string(o, "state", net->broken ? "broken" : net->driver_ok ? "running" : "none");
	snprintf(features, sizeof(features), "0x%" PRIx64, net->features);
	put_string(o, "features", features);
	put_int(o, "queues", net->pairs_used);
	put_int(o, "queues-max", net->pairs_max);
	put_int(o, "kicks", net->kicks);
	put_int(o, "interrupts", net->interrupts);
	return o;
}

static const char *holder_name(enum function_holder h)
{
	static const char *const names[] = {"none", "endpoint", "root"};

	return names[h];
}

static void list_function(void *opaque, const struct function_info *f)
{
	struct listing *l = opaque;
	char rid[8];
	json_t *o;

	if (!selected(l, f->name, f->device, f->root))
		return;
	o = json_object();
	put_string(o, "name", f->name);
	put_string(o, "kind", f->pf ? "vf" : "pf");
	put_string(o, "type", f->kind == DEVICE_NVME ? "nvme" : "ethernet");
	put_string(o, "device", f->device);
	put_string(o, "pf", f->pf);
	put_string(o, "root", f->root);
	snprintf(rid, sizeof(rid), "%02x:%02x.%x", f->rid >> 8, f->rid >> 3 & 0x1f, f->rid & 7);
	put_string(o, "rid", f->rid_valid ? rid : NULL);
	put_string(o, "socket", f->socket);
	put_string(o, "holder", holder_name(f->holder));
	json_object_set_new(o, "client",
			    f->holder == HOLDER_ENDPOINT ? client_json(&f->endpoint) : json_null());
	put_int(o, "refused", f->endpoint.refused);
	if (f->kind == DEVICE_NVME) {
		json_object_set_new(o, "controller", control_controller_json(&f->nvme));
		json_object_set_new(o, "namespaces",
				    control_namespaces_of(l->ctx, f->device, f->nvme.cntlid));
		put_limits(o, &f->nvme.limits);
	} else {
		json_object_set_new(o, "driver", driver_json(&f->net));
		put_policy(o, f->policy);
		put_string(o, "link", f->link_up ? "up" : "down");
	}
	put_int(o, "memory", f->memory);
	json_array_append_new(l->array, o);
}

/* --- namespaces --- */

static void list_namespace(void *opaque, const struct softiov_ns_info *i)
{
	struct listing *l = opaque;

	if (selected(l, i->name, i->device, NULL))
		json_array_append_new(l->array, control_namespace_json(l->ctx, i));
}

/* A device is known even when it has none. */
static void list_namespaces(void *opaque, const struct device_info *d)
{
	struct listing *l = opaque;

	if (d->kind != DEVICE_NVME)
		return;
	l->matched += l->name && !strcmp(l->name, d->name);
	softiov_ns_for_each(l->ctx->softiov, d->name, list_namespace, l);
}

/* --- ports --- */

static void list_port(struct listing *l, const struct net_port *port, const char *kind)
{
	json_t *o = json_object();

	put_string(o, "name", net_port_name(port));
	put_string(o, "kind", kind);
	put_string(o, "link", net_port_link_up(port) ? "up" : "down");
	put_policy(o, net_port_policy(port));
	json_array_append_new(l->array, o);
}

static void list_function_port(void *opaque, const struct function_info *f)
{
	struct listing *l = opaque;

	if (f->port && selected(l, f->name, f->device, NULL))
		list_port(l, f->port, f->pf ? "vf" : "pf");
}

static void list_device_ports(void *opaque, const struct device_info *d)
{
	struct listing *l = opaque;

	softiov_for_each_function(l->ctx->softiov, d->name, list_function_port, l);
	if (d->uplink_port && selected(l, net_port_name(d->uplink_port), d->name, NULL))
		list_port(l, d->uplink_port, "uplink");
}

/* --- roots, workers, fdb --- */

static void list_root(void *opaque, const struct root_info *r)
{
	struct listing *l = opaque;
	json_t *o;

	if (!selected(l, r->name, NULL, NULL))
		return;
	o = json_object();
	put_string(o, "name", r->name);
	put_string(o, "socket", r->socket);
	put_int(o, "devices", r->devices);
	put_int(o, "functions", r->functions);
	json_object_set_new(o, "client",
			    r->status.connected ? client_json(&r->status) : json_null());
	put_int(o, "refused", r->status.refused);
	json_array_append_new(l->array, o);
}

/* Workers have names too, but few: a name selects none of them. */
static json_t *list_workers(struct listing *l)
{
	return l->name ? json_array() : control_workers_json(l->ctx);
}

struct fdb_listing {
	json_t *array;
	const char *device;
};

static void list_address(void *opaque, const uint8_t *mac, uint16_t vlan,
			 const struct net_port *port, bool is_static, unsigned age)
{
	struct fdb_listing *f = opaque;
	char text[TEXT_MAC_LEN];
	json_t *o = json_object();

	put_string(o, "device", f->device);
	put_string(o, "mac", text_mac_format(mac, text));
	put_int(o, "vlan", vlan);
	put_string(o, "port", net_port_name(port));
	put_bool(o, "static", is_static);
	put_int(o, "age-s", age);
	json_array_append_new(f->array, o);
}

static void list_fdb(void *opaque, const struct device_info *d)
{
	struct listing *l = opaque;
	struct fdb_listing f = {.array = l->array, .device = d->name};

	if (d->net_switch && selected(l, d->name, NULL, NULL))
		net_switch_fdb(d->net_switch, list_address, &f);
}

static json_t *list_kind(struct listing *l, const char *kind)
{
	struct softiov *s = l->ctx->softiov;

	if (!strcmp(kind, "workers"))
		return list_workers(l);
	l->array = json_array();
	if (!strcmp(kind, "devices"))
		softiov_for_each_device(s, list_device, l);
	else if (!strcmp(kind, "functions"))
		softiov_for_each_function(s, NULL, list_function, l);
	else if (!strcmp(kind, "namespaces"))
		softiov_for_each_device(s, list_namespaces, l);
	else if (!strcmp(kind, "ports"))
		softiov_for_each_device(s, list_device_ports, l);
	else if (!strcmp(kind, "roots"))
		softiov_for_each_root(s, list_root, l);
	else
		softiov_for_each_device(s, list_fdb, l);
	return l->array;
}

/* Result: an array for a kind; without one an object of arrays. */
int control_show(const struct control_context *ctx, const json_t *params, json_t **result,
		 char why[CONTROL_WHY_MAX])
{
	static const char *const kinds[] = {"devices", "functions", "namespaces", "roots",
					    "workers"};
	const char *kind = param_string(params, "kind");
	struct listing l = {.ctx = ctx, .name = param_string(params, "name")};

	if (kind) {
		*result = list_kind(&l, kind);
	} else {
		*result = json_object();
		for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
			json_object_set_new(*result, kinds[i], list_kind(&l, kinds[i]));
	}
	if (!l.name || l.matched)
		return 0;
	json_decref(*result);
	*result = NULL;
	return control_no_such(ctx, l.name, "object", why);
}

/* --- lspci --- */

struct dump {
	const struct control_context *ctx;
	enum pci_view view;
	FILE *f;
};

static void dump_function(void *opaque, const struct function_info *fn)
{
	struct dump *d = opaque;

	/* What a root holds is part of its hierarchy, dumped there. */
	if (!fn->root)
		softiov_dump_lspci(d->ctx->softiov, fn->name, d->view, d->f);
}

static void dump_root(void *opaque, const struct root_info *r)
{
	struct dump *d = opaque;

	softiov_dump_lspci(d->ctx->softiov, r->name, d->view, d->f);
}

int control_lspci(const struct control_context *ctx, const json_t *params, json_t **result,
		  char why[CONTROL_WHY_MAX])
{
	const char *name = param_string(params, "name");
	const char *view = param_string(params, "view");
	struct dump d = {.ctx = ctx, .view = PCI_VIEW_VMM};
	char *text = NULL;
	size_t len;
	int ret = 0;

	if (view && !strcasecmp(view, "bus"))
		d.view = PCI_VIEW_BUS;
	d.f = open_memstream(&text, &len);
	if (!d.f)
		return -ENOMEM;
	if (name) {
		ret = softiov_dump_lspci(ctx->softiov, name, d.view, d.f);
	} else {
		softiov_for_each_root(ctx->softiov, dump_root, &d);
		softiov_for_each_function(ctx->softiov, NULL, dump_function, &d);
	}
	if (fclose(d.f))
		ret = -ENOMEM;
	if (ret == -ENOENT)
		ret = control_no_such(ctx, name, "function or root", why);
	if (!ret) {
		*result = json_object();
		put_string(*result, "dump", text);
	}
	free(text);
	return ret;
}

/* --- attach-args --- */

struct find_root {
	const char *name;
	json_t *found;
};

static void find_root(void *opaque, const struct root_info *r)
{
	struct find_root *f = opaque;

	if (strcmp(r->name, f->name))
		return;
	f->found = json_object();
	put_string(f->found, "name", r->name);
	put_string(f->found, "kind", "root");
	put_string(f->found, "socket", r->socket);
	put_bool(f->found, "attached", r->status.connected);
}

int control_attach_args(const struct control_context *ctx, const json_t *params, json_t **result,
			char why[CONTROL_WHY_MAX])
{
	struct find_root f = {.name = param_string(params, "name")};
	struct function_info info;

	softiov_for_each_root(ctx->softiov, find_root, &f);
	*result = f.found;
	if (f.found)
		return 0;
	if (softiov_function(ctx->softiov, f.name, &info))
		return control_no_such(ctx, f.name, "function or root", why);
	if (!info.socket) {
		snprintf(why, CONTROL_WHY_MAX,
			 "%s: belongs to root %s and has no socket of its own: attach the root: "
			 "softiov attach-args %s",
			 info.name, info.root ? info.root : "?", info.root ? info.root : "ROOT");
		return -EBUSY;
	}
	*result = json_object();
	put_string(*result, "name", info.name);
	put_string(*result, "kind", info.pf ? "vf" : "pf");
	put_string(*result, "socket", info.socket);
	put_bool(*result, "attached", info.holder != HOLDER_NONE);
	return 0;
}
