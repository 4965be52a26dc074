/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's uplink: type, and what belongs to that type. */
#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/config_read.h"
#include "control/text.h"
#include "util/util.h"

#define TAP_QUEUES_MAX 16
#define TAP_MTU_MIN    68
#define TAP_MTU_MAX    65535

static const char *const types[] = {"none", "tap", "user"};
static const enum net_uplink_type type_of[] = {NET_UPLINK_NONE, NET_UPLINK_TAP, NET_UPLINK_USER};

static void read_type(struct reader *r, const struct ynode *n, void *obj)
{
	struct net_uplink_config *up = obj;
	unsigned i;

	if (read_choice(r, n, types, ARRAY_SIZE(types), &i))
		up->type = type_of[i];
}

static void read_tap_name(struct reader *r, const struct ynode *n, void *obj)
{
	struct net_uplink_config *up = obj;

	if (!read_string(r, n, up->name, IFNAMSIZ))
		return;
	if (strpbrk(up->name, "/: \t%") || !strcmp(up->name, ".") || !strcmp(up->name, ".."))
		config_error(r, n->line,
			     "\"%s\": not a name for an interface: use letters, digits "
			     "and -",
			     up->name);
}

static void read_tap_queues(struct reader *r, const struct ynode *n, void *obj)
{
	struct net_uplink_config *up = obj;
	uint64_t v;

	if (read_uint(r, n, 1, TAP_QUEUES_MAX, &v))
		up->queues = (unsigned)v;
}

static void read_tap_mtu(struct reader *r, const struct ynode *n, void *obj)
{
	struct net_uplink_config *up = obj;
	uint64_t v;

	if (read_uint(r, n, TAP_MTU_MIN, TAP_MTU_MAX, &v))
		up->mtu = (unsigned)v;
}

/* ADDRESS/BITS with no bits set below the prefix. */
static bool cidr_ok(const char *s, int family, unsigned max_bits)
{
	unsigned char addr[16] = {0};
	char host[64] = "";
	const char *slash = strchr(s, '/');
	uint64_t bits;

	if (!slash || (size_t)(slash - s) >= sizeof(host) || text_uint(slash + 1, &bits))
		return false;
	memcpy(host, s, (size_t)(slash - s));
	if (inet_pton(family, host, addr) != 1 || !bits || bits > max_bits)
		return false;
	for (unsigned b = (unsigned)bits; b < (family == AF_INET ? 32 : 128); b++)
		if (addr[b / 8] & (0x80 >> b % 8))
			return false;
	return true;
}

static void read_net(struct reader *r, const struct ynode *n, void *obj)
{
	struct net_uplink_config *up = obj;

	/* The gateway, the name server and a DHCP range need room: at most 28 bits. */
	if (read_string(r, n, up->net, sizeof(up->net)) && !cidr_ok(up->net, AF_INET, 28))
		config_error(r, n->line,
			     "\"%s\": give an IPv4 network of at most 28 bits, such as 10.0.2.0/24",
			     up->net);
}

static void read_net6(struct reader *r, const struct ynode *n, void *obj)
{
	struct net_uplink_config *up = obj;

	if (read_string(r, n, up->net6, sizeof(up->net6)) && strcmp(up->net6, "none") &&
	    !cidr_ok(up->net6, AF_INET6, 64))
		config_error(r, n->line,
			     "\"%s\": give an IPv6 network of at most 64 bits, such as fd00::/64, "
			     "or none",
			     up->net6);
}

static void read_hostname(struct reader *r, const struct ynode *n, void *obj)
{
	struct net_uplink_config *up = obj;

	read_string(r, n, up->hostname, sizeof(up->hostname));
}

static void read_host_loopback(struct reader *r, const struct ynode *n, void *obj)
{
	struct net_uplink_config *up = obj;

	read_bool(r, n, &up->host_loopback);
}

/* "ADDR:PORT", ADDR an IPv4 address, an IPv6 one in brackets, or empty. Ends at end. */
static bool host_port(const char *s, const char *end, char addr[46], uint16_t *port)
{
	const char *colon = NULL;
	unsigned char bin[16];
	char digits[8] = "";
	uint64_t v;
	size_t len;

	for (const char *p = s; p < end; p++)
		if (*p == ':')
			colon = p;
	if (!colon || (size_t)(end - colon - 1) >= sizeof(digits))
		return false;
	memcpy(digits, colon + 1, (size_t)(end - colon - 1));
	if (text_uint(digits, &v) || !v || v > 65535)
		return false;
	*port = (uint16_t)v;
	len = (size_t)(colon - s);
	if (!len)
		return true; /* addr keeps its default */
	if (s[0] == '[' && colon[-1] == ']') {
		s++;
		len -= 2;
	}
	if (len >= 46)
		return false;
	memcpy(addr, s, len);
	addr[len] = '\0';
	return inet_pton(strchr(addr, ':') ? AF_INET6 : AF_INET, addr, bin) == 1;
}

/* The '-' between the two sides; an IPv4 or IPv6 address has none. */
static bool parse_forward(const char *s, struct net_uplink_forward *f)
{
	const char *dash = strchr(s, '-');

	memset(f, 0, sizeof(*f));
	snprintf(f->host_addr, sizeof(f->host_addr), "127.0.0.1");
	if (!strncmp(s, "udp:", 4))
		f->udp = true;
	else if (strncmp(s, "tcp:", 4))
		return false;
	s += 4;
	if (!dash || dash < s)
		return false;
	return host_port(s, dash, f->host_addr, &f->host_port) &&
	       host_port(dash + 1, dash + 1 + strlen(dash + 1), f->guest_addr, &f->guest_port);
}

static void check_forward(struct reader *r, const struct ynode *n, struct net_uplink_config *up)
{
	const struct net_uplink_forward *f = &up->forwards[up->n_forwards];

	for (unsigned i = 0; i < up->n_forwards; i++) {
		const struct net_uplink_forward *g = &up->forwards[i];

		if (f->udp == g->udp && f->host_port == g->host_port &&
		    !strcmp(f->host_addr, g->host_addr)) {
			config_error(r, n->line,
				     "\"%.100s\": %s:%u is forwarded already: choose another port",
				     n->value, f->host_addr, f->host_port);
			return;
		}
	}
	up->n_forwards++;
}

static void read_forwards(struct reader *r, const struct ynode *n, void *obj)
{
	struct net_uplink_config *up = obj;

	if (!want_list(r, n))
		return;
	if (n->count > NET_UPLINK_FORWARDS_MAX) {
		config_error(r, n->line, "%u forwards: %u are the most", n->count,
			     NET_UPLINK_FORWARDS_MAX);
		return;
	}
	for (const struct ynode *e = n->first; e; e = e->next) {
		if (!want_scalar(r, e))
			continue;
		if (parse_forward(e->value, &up->forwards[up->n_forwards]))
			check_forward(r, e, up);
		else
			config_error(r, e->line,
				     "\"%.100s\": write PROTOCOL:HOST:PORT-GUEST:PORT, such as "
				     "\"tcp:127.0.0.1:2222-10.0.2.15:22\" or \"tcp::2222-:22\"",
				     e->value);
	}
}

/* Keys that belong to another type are a mistake, not noise. */
static void check_keys_of_type(struct reader *r, const struct ynode *n,
			       const struct net_uplink_config *up)
{
	static const struct {
		const char *key;
		enum net_uplink_type type;
	} belongs[] = {
		{"name", NET_UPLINK_TAP},      {"queues", NET_UPLINK_TAP},
		{"mtu", NET_UPLINK_TAP},       {"net", NET_UPLINK_USER},
		{"net6", NET_UPLINK_USER},     {"hostname", NET_UPLINK_USER},
		{"forwards", NET_UPLINK_USER}, {"host-loopback", NET_UPLINK_USER},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(belongs); i++) {
		const struct ynode *k = map_find(n, belongs[i].key);
		size_t mark;

		if (!k || belongs[i].type == up->type)
			continue;
		mark = path_push(r, belongs[i].key);
		config_error(r, k->line, "belongs to type %s, this is %s: remove it",
			     types[belongs[i].type], types[up->type]);
		path_pop(r, mark);
	}
}

void read_uplink(struct reader *r, const struct ynode *n, void *device)
{
	static const struct config_key keys[] = {
		{"type", read_type},
		{"name", read_tap_name},
		{"queues", read_tap_queues},
		{"mtu", read_tap_mtu},
		{"net", read_net},
		{"net6", read_net6},
		{"hostname", read_hostname},
		{"forwards", read_forwards},
		{"host-loopback", read_host_loopback},
		{NULL, NULL},
	};
	struct config_device *dev = device;
	struct net_uplink_config *up = &dev->uplink;
	unsigned before = r->n_errors;

	if (n->kind == YNODE_SCALAR && n->value[0]) {
		read_type(r, n, up); /* the short form, "uplink: user" */
	} else {
		read_map(r, n, keys, up);
		if (n->kind == YNODE_MAP && !map_find(n, "type"))
			config_error(r, n->line, "no type given: add type: tap or type: user");
	}
	if (r->n_errors != before)
		return;
	check_keys_of_type(r, n, up);
	if (up->type == NET_UPLINK_TAP && !up->name[0])
		config_error(r, n->line, "a tap without a name: write {type: tap, name: soft0}");
	if (up->type == NET_UPLINK_TAP && !up->queues)
		up->queues = 1;
	if (up->type == NET_UPLINK_USER && !up->net[0])
		snprintf(up->net, sizeof(up->net), "10.0.2.0/24");
	if (up->type == NET_UPLINK_USER && !up->net6[0])
		snprintf(up->net6, sizeof(up->net6), "fd00::/64");
}
