/* SPDX-License-Identifier: BSD-3-Clause */
/* softiov show: tables of what the daemon lists. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/table.h"
#include "util/util.h"

static void heading(const char *text)
{
	static bool again;

	printf("%s%s\n", again ? "\n" : "", text);
	again = true;
}

/* "pid 4242", "root host0", "-" */
void show_holder(const json_t *f, char *buf, size_t len)
{
	const char *holder = js(f, "holder");

	if (!strcmp(holder, "endpoint"))
		snprintf(buf, len, "pid %lld", ji(json_object_get(f, "client"), "pid"));
	else if (!strcmp(holder, "root"))
		snprintf(buf, len, "root %s", js(f, "root"));
	else
		snprintf(buf, len, "free");
}

static void print_vlan(const json_t *f, char *buf, size_t len)
{
	bool ad = !strcmp(js(f, "proto"), "802.1ad");

	if (ji(f, "vlan") && ji(f, "qos"))
		snprintf(buf, len, "%lld qos %lld%s", ji(f, "vlan"), ji(f, "qos"), ad ? " ad" : "");
	else if (ji(f, "vlan"))
		snprintf(buf, len, "%lld%s", ji(f, "vlan"), ad ? " ad" : "");
	else if (js(f, "trunk")[0])
		snprintf(buf, len, "trunk %.20s", js(f, "trunk"));
	else
		buf[0] = '\0';
}

static void print_uplink(const json_t *up, char *buf, size_t len)
{
	const char *type = js(up, "type");

	if (!strcmp(type, "tap"))
		snprintf(buf, len, "tap %s %s", js(up, "name"), js(up, "link"));
	else if (!strcmp(type, "user"))
		snprintf(buf, len, "user %s %s", js(up, "net"), js(up, "link"));
	else
		snprintf(buf, len, "none");
}

/* Mb/s, as "100", "10 to 100" or "10 at least". */
static void print_rates(const json_t *f, char *buf, size_t len)
{
	long long max = ji(f, "max-tx-rate"), min = ji(f, "min-tx-rate");

	if (min && max)
		snprintf(buf, len, "%lld to %lld", min, max);
	else if (min)
		snprintf(buf, len, "%lld at least", min);
	else if (max)
		snprintf(buf, len, "%lld", max);
	else
		buf[0] = '\0';
}

/* Columns that few need are there when something is in them. */
static bool any_has(const json_t *list, const char *key)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) if (ji(o, key)) return true;
	return false;
}

static void show_devices(const json_t *list)
{
	struct table t;
	bool rates;
	size_t i;
	json_t *d;

	if (!has_type(list, false)) {
		show_nvme_devices(list);
		return;
	}
	rates = any_has(list, "tx-rate");
	table_init(&t, rates ? "DEVICE|TYPE|>VFS|>OF|>MTU|>QUEUES|>TX MBIT/S|UPLINK"
			     : "DEVICE|TYPE|>VFS|>OF|>MTU|>QUEUES|UPLINK");
	json_array_foreach(list, i, d)
	{
		char up[128];

		if (is_nvme(d))
			continue;
		print_uplink(json_object_get(d, "uplink"), up, sizeof(up));
		table_cell(&t, "%s", js(d, "name"));
		table_cell(&t, "%s", js(d, "type"));
		table_cell(&t, "%lld", ji(d, "num-vfs"));
		table_cell(&t, "%lld", ji(d, "total-vfs"));
		table_cell(&t, "%lld", ji(d, "mtu"));
		table_cell(&t, "%lld", ji(d, "queues"));
		if (rates && ji(d, "tx-rate"))
			table_cell(&t, "%lld", ji(d, "tx-rate"));
		else if (rates)
			table_cell(&t, NULL);
		table_cell(&t, "%s", up);
	}
	table_print(&t, stdout);
	table_free(&t);
	if (!has_type(list, true))
		return;
	putchar('\n');
	show_nvme_devices(list);
}

static void show_functions(const json_t *list)
{
	struct table t;
	bool rates;
	size_t i;
	json_t *f;

	if (!has_type(list, false)) {
		show_nvme_functions(list);
		return;
	}
	rates = any_has(list, "max-tx-rate") || any_has(list, "min-tx-rate");
	table_init(&t,
		   rates ? "FUNCTION|HELD BY|DRIVER|LINK|MAC|VLAN|TX MBIT/S|SPOOFCHK|TRUST|SOCKET"
			 : "FUNCTION|HELD BY|DRIVER|LINK|MAC|VLAN|SPOOFCHK|TRUST|SOCKET");
	json_array_foreach(list, i, f)
	{
		char holder[64], vlan[64], rate[64];

		if (is_nvme(f))
			continue;
		show_holder(f, holder, sizeof(holder));
		print_vlan(f, vlan, sizeof(vlan));
		table_cell(&t, "%s", js(f, "name"));
		table_cell(&t, "%s", holder);
		table_cell(&t, "%s", js(json_object_get(f, "driver"), "state"));
		table_cell(&t, "%s", js(f, "link"));
		table_cell(&t, "%s", js(f, "mac"));
		table_cell(&t, "%s", vlan);
		if (rates) {
			print_rates(f, rate, sizeof(rate));
			table_cell(&t, "%s", rate);
		}
		table_cell(&t, "%s", jb(f, "spoofchk") ? "on" : "off");
		table_cell(&t, "%s", jb(f, "trust") ? "on" : "off");
		table_cell(&t, "%s", js(f, "socket"));
	}
	table_print(&t, stdout);
	table_free(&t);
	if (!has_type(list, true))
		return;
	putchar('\n');
	show_nvme_functions(list);
}

static void show_ports(const json_t *list)
{
	struct table t;
	size_t i;
	json_t *p;

	table_init(&t, "PORT|KIND|LINK|LINK-STATE|MAC|VLAN|SPOOFCHK|TRUST");
	json_array_foreach(list, i, p)
	{
		char vlan[64];

		print_vlan(p, vlan, sizeof(vlan));
		table_cell(&t, "%s", js(p, "name"));
		table_cell(&t, "%s", js(p, "kind"));
		table_cell(&t, "%s", js(p, "link"));
		table_cell(&t, "%s", js(p, "link-state"));
		table_cell(&t, "%s", strcmp(js(p, "mac"), "00:00:00:00:00:00") ? js(p, "mac") : "");
		table_cell(&t, "%s", vlan);
		table_cell(&t, "%s", jb(p, "spoofchk") ? "on" : "off");
		table_cell(&t, "%s", jb(p, "trust") ? "on" : "off");
	}
	table_print(&t, stdout);
	table_free(&t);
}

static void show_roots(const json_t *list)
{
	struct table t;
	size_t i;
	json_t *r;

	table_init(&t, "ROOT|ATTACHED|>DEVICES|>FUNCTIONS|SOCKET");
	json_array_foreach(list, i, r)
	{
		json_t *client = json_object_get(r, "client");

		table_cell(&t, "%s", js(r, "name"));
		if (json_is_object(client))
			table_cell(&t, "pid %lld", ji(client, "pid"));
		else
			table_cell(&t, "no");
		table_cell(&t, "%lld", ji(r, "devices"));
		table_cell(&t, "%lld", ji(r, "functions"));
		table_cell(&t, "%s", js(r, "socket"));
	}
	table_print(&t, stdout);
	table_free(&t);
}

static void show_fdb(const json_t *list)
{
	struct table t;
	size_t i;
	json_t *e;

	table_init(&t, "DEVICE|MAC|>VLAN|PORT|KIND|>AGE");
	json_array_foreach(list, i, e)
	{
		bool fixed = jb(e, "static");

		table_cell(&t, "%s", js(e, "device"));
		table_cell(&t, "%s", js(e, "mac"));
		if (ji(e, "vlan"))
			table_cell(&t, "%lld", ji(e, "vlan"));
		else
			table_cell(&t, NULL);
		table_cell(&t, "%s", js(e, "port"));
		table_cell(&t, "%s", fixed ? "static" : "learnt");
		if (fixed)
			table_cell(&t, NULL);
		else
			table_cell(&t, "%lld s", ji(e, "age-s"));
	}
	table_print(&t, stdout);
	table_free(&t);
}

void show_line(const char *label, const char *fmt, ...)
{
	va_list ap;

	printf("  %-12s ", label);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void show_client(const json_t *client)
{
	char bytes[16];

	if (!json_is_object(client))
		return;
	show_line("client", "pid %lld, uid %lld, %lld messages, %lld errors", ji(client, "pid"),
		  ji(client, "uid"), ji(client, "messages"), ji(client, "errors"));
	show_line("memory", "%s of the VM's in %lld regions%s",
		  human_bytes((uint64_t)ji(client, "dma-bytes"), bytes), ji(client, "dma-regions"),
		  jb(client, "remote-memory")
			  ? "; part of it is not shared (slow): give the VM share=on memory"
			  : "");
}

/* One function, everything there is to say. */
static void show_function(const json_t *f)
{
	const json_t *driver = json_object_get(f, "driver");
	char holder[64], bytes[16];

	show_holder(f, holder, sizeof(holder));
	printf("%s: %s of %s\n", js(f, "name"),
	       strcmp(js(f, "kind"), "pf") ? "virtual function" : "physical function",
	       js(f, "pf")[0] ? js(f, "pf") : js(f, "device"));
	show_line("held by", "%s", holder);
	if (js(f, "root")[0])
		show_line("root", "%s%s%s", js(f, "root"), js(f, "rid")[0] ? ", at " : "",
			  js(f, "rid"));
	show_line("socket", "%s", js(f, "socket")[0] ? js(f, "socket") : "none, its root holds it");
	show_client(json_object_get(f, "client"));
	show_line("driver", "%s, %lld of %lld queue pairs, features %s", js(driver, "state"),
		  ji(driver, "queues"), ji(driver, "queues-max"), js(driver, "features"));
	show_line("signals", "%lld kicks, %lld interrupts", ji(driver, "kicks"),
		  ji(driver, "interrupts"));
	show_line("link", "%s (link-state %s)", js(f, "link"), js(f, "link-state"));
	show_line("mac", "%s%s", js(f, "mac"),
		  jb(f, "mac-by-admin") ? ", set by the administrator" : "");
	if (ji(f, "vlan"))
		show_line("vlan", "%lld qos %lld proto %s", ji(f, "vlan"), ji(f, "qos"),
			  js(f, "proto"));
	if (js(f, "trunk")[0])
		show_line("trunk", "%s", js(f, "trunk"));
	if (ji(f, "max-tx-rate"))
		show_line("max tx rate", "%lld Mb/s", ji(f, "max-tx-rate"));
	if (ji(f, "min-tx-rate"))
		show_line("min tx rate", "%lld Mb/s", ji(f, "min-tx-rate"));
	show_line("spoofchk", "%s", jb(f, "spoofchk") ? "on" : "off");
	show_line("trust", "%s", jb(f, "trust") ? "on" : "off");
	if (ji(f, "refused"))
		show_line("refused", "%lld connections, see the daemon's log", ji(f, "refused"));
	show_line("costs", "%s of the daemon's memory",
		  human_bytes((uint64_t)ji(f, "memory"), bytes));
}

static void show_all(const json_t *result)
{
	static const struct {
		const char *key, *title;
		void (*show)(const json_t *);
	} parts[] = {
		{"devices", "Devices", show_devices},
		{"functions", "Functions", show_functions},
		{"namespaces", "Namespaces", show_namespaces},
		{"roots", "Roots", show_roots},
		{"workers", "Workers", show_workers},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		const json_t *list = json_object_get(result, parts[i].key);

		if (!json_array_size(list))
			continue;
		heading(parts[i].title);
		parts[i].show(list);
	}
}

static void show_kind(const char *kind, const json_t *list)
{
	static const struct {
		const char *kind;
		void (*show)(const json_t *);
	} kinds[] = {
		{"devices", show_devices},
		{"functions", show_functions},
		{"namespaces", show_namespaces},
		{"ports", show_ports},
		{"roots", show_roots},
		{"workers", show_workers},
		{"fdb", show_fdb},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].kind, kind))
			kinds[i].show(list);
}

/* The one object that a name means, if the list has no other. */
static const json_t *only(const json_t *list, const char *name)
{
	const json_t *o = json_array_size(list) == 1 ? json_array_get(list, 0) : NULL;

	return o && !strcmp(js(o, "name"), name) ? o : NULL;
}

static void print_result(const json_t *params, const json_t *result)
{
	const char *kind = js(params, "kind"), *name = js(params, "name");
	const json_t *function = only(json_object_get(result, "functions"), name);
	const json_t *ns = only(json_object_get(result, "namespaces"), name);

	if (function && is_nvme(function))
		show_nvme_function(function);
	else if (function)
		show_function(function);
	else if (ns)
		show_namespace(ns);
	else if (kind[0])
		show_kind(kind, result);
	else
		show_all(result);
}

int verb_show(struct cli *cli, int argc, char **argv)
{
	json_t *params, *result = NULL;
	char why[256];
	int ret;

	params = cli_params(cli->cmd, argc, argv, why, sizeof(why));
	if (!params) {
		cli_error("show: %s", why);
		return CLI_USAGE;
	}
	ret = cli_call(cli, "show", params, &result);
	if (ret)
		; /* said */
	else if (cli->json)
		cli_print_json(result);
	else
		print_result(params, result);
	json_decref(params);
	json_decref(result);
	return ret;
}

int verb_ns_show(struct cli *cli, int argc, char **argv)
{
	json_t *params = cli_params_or_usage(cli, argc, argv), *result = NULL;
	const json_t *ns;
	int ret;

	if (!params)
		return CLI_USAGE;
	ret = cli_call(cli, cli->cmd->method, params, &result);
	ns = only(result, js(params, "name"));
	if (ret)
		; /* said */
	else if (cli->json)
		cli_print_json(result);
	else if (ns)
		show_namespace(ns);
	else
		show_namespaces(result);
	json_decref(params);
	json_decref(result);
	return ret;
}
