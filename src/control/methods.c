/* SPDX-License-Identifier: BSD-3-Clause */
/* Dispatch, and the commands that change something. */
#include "control/methods.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/text.h"
#include "util/clock.h"
#include "util/util.h"

#define NAMES_MAX 2048 /* looked through for what was meant */

static const struct {
	const char *method;
	control_method *run;
} methods[] = {
	{"show", control_show},
	{"stats", control_stats},
	{"stats.clear", control_stats_clear},
	{"vf.set", control_vf_set},
	{"device.set", control_device_set},
	{"ns.create", control_ns_create},
	{"ns.resize", control_ns_resize},
	{"ns.attach", control_ns_attach},
	{"ns.detach", control_ns_detach},
	{"ns.delete", control_ns_delete},
	{"ns.set", control_ns_set},
	{"ns.show", control_ns_show},
	{"lspci", control_lspci},
	{"attach-args", control_attach_args},
	{"root.plug", control_root_plug},
	{"root.unplug", control_root_unplug},
	{"worker.list", control_worker_list},
	{"worker.move", control_worker_move},
	{"disconnect", control_disconnect},
	{"reload", control_reload},
	{"version", control_version},
};

control_method *control_method_of(const char *method)
{
	for (unsigned i = 0; i < ARRAY_SIZE(methods); i++)
		if (!strcmp(methods[i].method, method))
			return methods[i].run;
	return NULL;
}

int control_run(const struct control_context *ctx, const struct control_command *cmd,
		const json_t *params, json_t **result, char why[CONTROL_WHY_MAX])
{
	control_method *run = control_method_of(cmd->method);
	int ret;

	*result = NULL;
	why[0] = '\0';
	ret = run ? run(ctx, params, result, why) : -ENOSYS;
	if (!ret && !*result)
		*result = json_object();
	if (!ret && !*result)
		ret = -ENOMEM;
	if (ret && !why[0])
		snprintf(why, CONTROL_WHY_MAX, "%s: %s", cmd->method, strerror(-ret));
	return ret;
}

const char *param_string(const json_t *params, const char *name)
{
	return json_string_value(json_object_get(params, name));
}

bool param_bool(const json_t *params, const char *name)
{
	return json_is_true(json_object_get(params, name));
}

void put_string(json_t *obj, const char *key, const char *value)
{
	json_object_set_new(obj, key, value ? json_string(value) : json_null());
}

void put_int(json_t *obj, const char *key, uint64_t value)
{
	json_object_set_new(obj, key, json_integer((json_int_t)value));
}

void put_bool(json_t *obj, const char *key, bool value)
{
	json_object_set_new(obj, key, json_boolean(value));
}

void put_policy(json_t *obj, const struct net_policy *p)
{
	static const char *const links[] = {"auto", "enable", "disable"};
	char mac[TEXT_MAC_LEN], trunk[512];

	put_string(obj, "mac", text_mac_format(p->mac, mac));
	put_bool(obj, "mac-by-admin", p->mac_by_admin);
	put_int(obj, "vlan", p->vlan);
	put_int(obj, "qos", p->vlan_qos);
	put_string(obj, "proto", p->vlan_proto == 0x88a8 ? "802.1ad" : "802.1q");
	text_vlan_set_format(p->trunk, trunk, sizeof(trunk));
	put_string(obj, "trunk", p->trunk_enabled ? trunk : NULL);
	put_bool(obj, "spoofchk", p->spoof_check);
	put_bool(obj, "trust", p->trust);
	put_string(obj, "link-state", links[p->link]);
	put_int(obj, "max-tx-rate", p->max_tx_mbps);
	put_int(obj, "min-tx-rate", p->min_tx_mbps);
}

struct names {
	const char *name[NAMES_MAX];
	unsigned n;
};

static void add_name(struct names *names, const char *name)
{
	if (names->n < NAMES_MAX)
		names->name[names->n++] = name;
}

static void add_device(void *opaque, const struct device_info *d)
{
	add_name(opaque, d->name);
}

static void add_function(void *opaque, const struct function_info *f)
{
	add_name(opaque, f->name);
}

static void add_root(void *opaque, const struct root_info *r)
{
	add_name(opaque, r->name);
}

static void add_namespace(void *opaque, const struct softiov_ns_info *ns)
{
	add_name(opaque, ns->name);
}

struct find_device {
	const char *name;
	size_t len; /* of the device's part of it */
	bool found;
	bool nvme;
	unsigned num_vfs, total_vfs;
};

static void find_device(void *opaque, const struct device_info *d)
{
	struct find_device *f = opaque;

	if (strlen(d->name) != f->len || memcmp(d->name, f->name, f->len))
		return;
	f->found = true;
	f->nvme = d->kind == DEVICE_NVME;
	f->num_vfs = d->num_vfs;
	f->total_vfs = d->total_vfs;
}

/* "nic0/vf9" of a device with fewer: the advice is how to get it. False: something else. */
static bool no_such_vf(const struct control_context *ctx, const char *name,
		       char why[CONTROL_WHY_MAX])
{
	const char *slash = strstr(name, "/vf");
	struct find_device f = {.name = name, .len = slash ? (size_t)(slash - name) : 0};
	uint64_t index;

	if (!slash || text_uint(slash + 3, &index))
		return false;
	softiov_for_each_device(ctx->softiov, find_device, &f);
	if (!f.found)
		return false;
	if (index < f.total_vfs)
		snprintf(why, CONTROL_WHY_MAX,
			 "%s: no such function: %.*s has %u VFs: softiov device set %.*s num-vfs "
			 "%u, or in the root that holds it: sriov_numvfs",
			 name, (int)f.len, name, f.num_vfs, (int)f.len, name, (unsigned)index + 1);
	else
		snprintf(why, CONTROL_WHY_MAX,
			 "%s: no such function: %.*s has at most %u VFs: raise total-vfs in the "
			 "configuration and start the daemon again",
			 name, (int)f.len, name, f.total_vfs);
	return true;
}

/* A function or a device where a namespace was to be, a namespace that is not there, or one where
 * it cannot be. False: something else. */
static bool no_such_ns(const struct control_context *ctx, const char *name, const char *kinds,
		       char why[CONTROL_WHY_MAX])
{
	const char *slash = strchr(name, '/');
	struct find_device f = {.name = name, .len = slash ? (size_t)(slash - name) : strlen(name)};
	bool wanted = strstr(kinds, "namespace") || !strcmp(kinds, "object");
	bool given = slash && !strncmp(slash, "/ns", 3);

	softiov_for_each_device(ctx->softiov, find_device, &f);
	if (!f.found || (!given && strcmp(kinds, "namespace")))
		return false;
	if (!f.nvme)
		snprintf(why, CONTROL_WHY_MAX, "%s%s%.*s is no NVMe device and has no namespaces",
			 slash ? name : "", slash ? ": " : "", (int)f.len, name);
	else if (!given)
		snprintf(why, CONTROL_WHY_MAX,
			 "%s: is no namespace: give one such as %.*s/ns1; softiov ns show %.*s "
			 "lists them",
			 name, (int)f.len, name, (int)f.len, name);
	else if (wanted)
		snprintf(why, CONTROL_WHY_MAX,
			 "%s: no such namespace: softiov ns show %.*s lists what there is", name,
			 (int)f.len, name);
	else
		snprintf(why, CONTROL_WHY_MAX,
			 "%s: is a namespace: give a function that has it, such as %.*s/vf0", name,
			 (int)f.len, name);
	return true;
}

int control_no_such(const struct control_context *ctx, const char *name, const char *kinds,
		    char why[CONTROL_WHY_MAX])
{
	struct names *names;
	const char *near = NULL;

	if (no_such_ns(ctx, name, kinds, why) || no_such_vf(ctx, name, why))
		return -ENOENT;
	names = calloc(1, sizeof(*names));
	if (names) {
		softiov_for_each_device(ctx->softiov, add_device, names);
		softiov_for_each_root(ctx->softiov, add_root, names);
		softiov_for_each_function(ctx->softiov, NULL, add_function, names);
		softiov_ns_for_each(ctx->softiov, NULL, add_namespace, names);
		near = text_nearest(name, names->name, names->n);
		/* The name of another kind of thing is no advice. */
		if (near && !strcmp(near, name))
			near = NULL;
	}
	if (near)
		snprintf(why, CONTROL_WHY_MAX, "%s: no such %s: did you mean %s?", name, kinds,
			 near);
	else
		snprintf(why, CONTROL_WHY_MAX, "%s: no such %s: softiov show lists what there is",
			 name, kinds);
	free(names);
	return -ENOENT;
}

static void set_vlan(struct net_policy *p, const json_t *params)
{
	const json_t *vlan = json_object_get(params, "vlan");
	const json_t *qos = json_object_get(params, "qos");
	const char *proto = param_string(params, "proto");

	if (vlan) {
		/* As `ip link set … vf … vlan`: what is not said goes back to its default. */
		p->vlan = (uint16_t)json_integer_value(vlan);
		p->vlan_qos = 0;
		p->vlan_proto = 0x8100;
	}
	if (qos)
		p->vlan_qos = (uint8_t)json_integer_value(qos);
	if (proto)
		p->vlan_proto = !strcasecmp(proto, "802.1ad") ? 0x88a8 : 0x8100;
}

static int set_trunk(struct net_policy *p, const char *trunk)
{
	bool on;

	memset(p->trunk, 0, sizeof(p->trunk));
	p->trunk_enabled = false;
	if (!text_bool(trunk, &on) && !on)
		return 0;
	p->trunk_enabled = true;
	return text_vlan_set(trunk, p->trunk);
}

static void set_link(struct net_policy *p, const char *word)
{
	p->link = !strcasecmp(word, "auto")	? NET_LINK_AUTO
		  : !strcasecmp(word, "enable") ? NET_LINK_ENABLE
						: NET_LINK_DISABLE;
}

int control_refuse(const char *name, char why[CONTROL_WHY_MAX], const char *text)
{
	snprintf(why, CONTROL_WHY_MAX, "%s: %s", name, text);
	return -EINVAL;
}

static const char *const policy_params[] = {"mac",	   "vlan",	  "qos",   "proto",
					    "trunk",	   "spoofchk",	  "trust", "link-state",
					    "max-tx-rate", "min-tx-rate", NULL};
static const char *const limit_params[] = {"iops", "iops-burst", "bandwidth", "bandwidth-burst",
					   NULL};

/* What functions of the other type have is no setting of this one. */
static int check_type(const struct function_info *f, const json_t *params, char *why)
{
	bool nvme = f->kind == DEVICE_NVME;

	for (const char *const *p = nvme ? policy_params : limit_params; *p; p++) {
		if (!json_object_get(params, *p))
			continue;
		snprintf(why, CONTROL_WHY_MAX,
			 nvme ? "%s: %s belongs to Ethernet functions, this is NVMe: give iops, "
				"iops-burst, bandwidth or bandwidth-burst"
			      : "%s: %s belongs to NVMe functions, this is Ethernet: give mac, "
				"vlan, qos, proto, trunk, spoofchk, trust, link-state, max-tx-rate "
				"or "
				"min-tx-rate",
			 f->name, *p);
		return -EINVAL;
	}
	return 0;
}

static int set_rates(const char *name, struct net_policy *p, const json_t *params, char *why)
{
	const json_t *max = json_object_get(params, "max-tx-rate");
	const json_t *min = json_object_get(params, "min-tx-rate");

	if (max)
		p->max_tx_mbps = (uint32_t)json_integer_value(max);
	if (min)
		p->min_tx_mbps = (uint32_t)json_integer_value(min);
	if (!p->max_tx_mbps || p->min_tx_mbps <= p->max_tx_mbps)
		return 0;
	snprintf(why, CONTROL_WHY_MAX,
		 "%s: min-tx-rate %u would be more than max-tx-rate %u: change the other as well",
		 name, p->min_tx_mbps, p->max_tx_mbps);
	return -EINVAL;
}

/* Decodes everything; nothing changes before the last check has passed. */
static int edit_policy(const char *name, struct net_policy *p, const json_t *params, char *why)
{
	const char *mac = param_string(params, "mac");
	const char *trunk = param_string(params, "trunk");
	const char *link = param_string(params, "link-state");

	if (json_object_size(params) < 2)
		return control_refuse(
			name, why,
			"nothing to set: give mac, vlan, qos, proto, trunk, spoofchk, trust, "
			"link-state, max-tx-rate or min-tx-rate");
	if (mac) {
		text_mac(mac, p->mac);
		p->mac_by_admin = true;
	}
	set_vlan(p, params);
	if (trunk && set_trunk(p, trunk))
		return control_refuse(name, why,
				      "trunk: give VLAN ids from 1 to 4094, such as 1,5-9, or "
				      "off");
	if (json_object_get(params, "spoofchk"))
		p->spoof_check = param_bool(params, "spoofchk");
	if (json_object_get(params, "trust"))
		p->trust = param_bool(params, "trust");
	if (link)
		set_link(p, link);
	if (p->vlan && p->trunk_enabled)
		return control_refuse(name, why,
				      "vlan and trunk exclude each other: set trunk off or "
				      "vlan 0 as well");
	if (!p->vlan && (p->vlan_qos || p->vlan_proto != 0x8100))
		return control_refuse(name, why,
				      "qos and proto belong to a port VLAN: give vlan 1..4094 "
				      "as well");
	return set_rates(name, p, params, why);
}

int control_vf_set(const struct control_context *ctx, const json_t *params, json_t **result,
		   char why[CONTROL_WHY_MAX])
{
	const char *name = param_string(params, "function");
	struct function_info info;
	struct net_policy policy;
	struct nvme_limits limits;
	int ret;

	if (softiov_function(ctx->softiov, name, &info))
		return control_no_such(ctx, name, "function", why);
	ret = check_type(&info, params, why);
	if (ret)
		return ret;
	if (info.kind == DEVICE_NVME) {
		limits = info.nvme.limits;
		ret = control_edit_limits(info.name, params, &limits, why);
		return ret ? ret : softiov_nvme_set_limits(ctx->softiov, info.name, &limits, why);
	}
	policy = *info.policy;
	ret = edit_policy(info.name, &policy, params, why);
	if (ret)
		return ret;
	return softiov_set_policy(ctx->softiov, info.name, &policy, why);
}

int control_device_set(const struct control_context *ctx, const json_t *params, json_t **result,
		       char why[CONTROL_WHY_MAX])
{
	uint16_t n = (uint16_t)json_integer_value(json_object_get(params, "num-vfs"));

	return softiov_set_num_vfs(ctx->softiov, param_string(params, "device"), n,
				   param_bool(params, "force"), why);
}

int control_root_plug(const struct control_context *ctx, const json_t *params, json_t **result,
		      char why[CONTROL_WHY_MAX])
{
	return softiov_root_plug(ctx->softiov, param_string(params, "root"),
				 param_string(params, "device"), why);
}

int control_root_unplug(const struct control_context *ctx, const json_t *params, json_t **result,
			char why[CONTROL_WHY_MAX])
{
	return softiov_root_unplug(ctx->softiov, param_string(params, "root"),
				   param_string(params, "device"), param_bool(params, "force"),
				   why);
}

int control_disconnect(const struct control_context *ctx, const json_t *params, json_t **result,
		       char why[CONTROL_WHY_MAX])
{
	return softiov_disconnect(ctx->softiov, param_string(params, "name"), why);
}

int control_reload(const struct control_context *ctx, const json_t *params, json_t **result,
		   char why[CONTROL_WHY_MAX])
{
	char *errors = NULL;
	int ret = ctx->reload ? ctx->reload(ctx->opaque, &errors) : -ENOSYS;
	size_t len;

	if (ret && errors) {
		snprintf(why, CONTROL_WHY_MAX, "%s", errors);
		len = strlen(why);
		if (len && why[len - 1] == '\n')
			why[len - 1] = '\0';
	}
	free(errors);
	return ret;
}

int control_version(const struct control_context *ctx, const json_t *params, json_t **result,
		    char why[CONTROL_WHY_MAX])
{
	json_t *o = json_object();

	put_string(o, "version", ctx->version);
	put_int(o, "pid", (uint64_t)getpid());
	put_int(o, "uptime-s", (clock_now_ns() - ctx->started_ns) / NS_PER_S);
	put_string(o, "runtime-dir", softiov_runtime_dir(ctx->softiov));
	put_string(o, "config", ctx->config_path);
	*result = o;
	return 0;
}
