/* SPDX-License-Identifier: BSD-3-Clause */
/* A device of the configuration file: its own settings. */
#include <stdio.h>
#include <string.h>

#include "control/config_read.h"
#include "control/text.h"
#include "util/util.h"
#include "virtio_net/virtio_net.h"

#define TOTAL_VFS_DEFAULT  16
#define QUEUE_SIZE_DEFAULT 256
#define QUEUE_SIZE_MIN	   64
#define MTU_DEFAULT	   1500
#define MTU_MIN		   68
#define SPEED_DEFAULT	   10000 /* Mb/s */
#define SPEED_UNKNOWN	   UINT32_MAX
#define SPEED_MAX	   4000000
#define AGEING_DEFAULT	   300
#define AGEING_MAX	   86400

/* Feature bits by the standard's names (virtio 1.3, 5.1.3 and 6); numbers, as system headers of
 * the oldest supported release lack some. */
static const struct {
	const char *name;
	unsigned bit;
	bool offload;
} features[] = {
	{"csum", 0, true},
	{"guest-csum", 1, true},
	{"ctrl-guest-offloads", 2, false},
	{"mtu", 3, false},
	{"guest-tso4", 7, true},
	{"guest-tso6", 8, true},
	{"guest-ecn", 9, true},
	{"guest-ufo", 10, true},
	{"host-tso4", 11, true},
	{"host-tso6", 12, true},
	{"host-ecn", 13, true},
	{"host-ufo", 14, true},
	{"mrg-rxbuf", 15, false},
	{"status", 16, false},
	{"ctrl-vq", 17, false},
	{"ctrl-rx", 18, false},
	{"ctrl-vlan", 19, false},
	{"ctrl-rx-extra", 20, false},
	{"guest-announce", 21, false},
	{"mq", 22, false},
	{"ctrl-mac-addr", 23, false},
	{"indirect-desc", 28, false},
	{"event-idx", 29, false},
	{"ring-packed", 34, false},
	{"in-order", 35, false},
	{"sr-iov", 37, false},
	{"notification-data", 38, false},
	{"ring-reset", 40, false},
	{"admin-vq", 41, false},
	{"device-stats", 50, false},
	{"vq-notf-coal", 52, false},
	{"notf-coal", 53, false},
	{"guest-uso4", 54, true},
	{"guest-uso6", 55, true},
	{"host-uso", 56, true},
	{"hash-report", 57, false},
	{"guest-hdrlen", 59, false},
	{"rss", 60, false},
	{"speed-duplex", 63, false},
};

static void read_type(struct reader *r, const struct ynode *n, void *obj)
{
	static const char *const types[] = {"ethernet", "nvme"};
	struct config_device *dev = obj;
	unsigned type;

	if (read_choice(r, n, types, ARRAY_SIZE(types), &type))
		dev->type = type ? DEVICE_NVME : DEVICE_ETHERNET;
}

static void read_total_vfs(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;
	uint64_t v;

	if (read_uint(r, n, 0, CONFIG_VFS_MAX, &v))
		dev->total_vfs = (uint16_t)v;
}

static void read_num_vfs(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;
	uint64_t v;

	if (read_uint(r, n, 0, CONFIG_VFS_MAX, &v))
		dev->num_vfs = (int)v;
}

static void read_queues(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;
	uint64_t v;

	if (read_uint(r, n, 1, VIRTIO_NET_PAIRS_MAX, &v))
		dev->queue_pairs = (unsigned)v;
}

static void read_queue_size(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;
	uint64_t v;

	if (!read_uint(r, n, QUEUE_SIZE_MIN, VIRTIO_NET_QUEUE_SIZE, &v))
		return;
	if (is_pow2(v))
		dev->queue_size = (uint16_t)v;
	else
		config_error(r, n->line, "%llu: give a power of two, such as 256",
			     (unsigned long long)v);
}

static void read_mtu(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;
	uint64_t v;

	if (read_uint(r, n, MTU_MIN, VIRTIO_NET_MTU_MAX, &v))
		dev->mtu = (uint16_t)v;
}

static void read_speed(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;
	char digits[16] = "";
	size_t len;
	uint64_t v, unit = 1;

	if (!want_scalar(r, n))
		return;
	if (!strcmp(n->value, "unknown")) {
		dev->speed_mbps = SPEED_UNKNOWN;
		return;
	}
	len = strlen(n->value);
	if (len && strchr("gG", n->value[len - 1])) {
		unit = 1000;
		len--;
	}
	if (len < sizeof(digits))
		memcpy(digits, n->value, len);
	if (text_uint(digits, &v) || !v || v > SPEED_MAX / unit)
		config_error(r, n->line, "\"%.40s\": give Mb/s (10000), Gb/s (10G), or unknown",
			     n->value);
	else
		dev->speed_mbps = (uint32_t)(v * unit);
}

static void read_packed(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_bool(r, n, &dev->packed);
}

static void read_offloads(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;
	bool on;

	if (!read_bool(r, n, &on) || on)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(features); i++)
		if (features[i].offload)
			dev->features_off |= BIT_ULL(features[i].bit);
}

static void feature_off(struct reader *r, const struct ynode *n, struct config_device *dev)
{
	const char *names[ARRAY_SIZE(features)];
	const char *near;
	uint64_t bit;

	if (!want_scalar(r, n))
		return;
	if (!text_uint(n->value, &bit) && bit < 64) {
		dev->features_off |= BIT_ULL(bit);
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		names[i] = features[i].name;
		if (!strcmp(n->value, names[i])) {
			dev->features_off |= BIT_ULL(features[i].bit);
			return;
		}
	}
	near = text_nearest(n->value, names, ARRAY_SIZE(features));
	if (near)
		config_error(r, n->line, "\"%.40s\": did you mean \"%s\"?", n->value, near);
	else
		config_error(r, n->line,
			     "\"%.40s\": give names such as mrg-rxbuf, mq, event-idx, or bit "
			     "numbers up to 63",
			     n->value);
}

static void read_features_off(struct reader *r, const struct ynode *n, void *obj)
{
	if (!want_list(r, n))
		return;
	for (const struct ynode *e = n->first; e; e = e->next)
		feature_off(r, e, obj);
}

static void read_admin_strict(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_bool(r, n, &dev->admin_strict);
}

static void read_ageing(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;
	uint64_t v;

	if (read_uint(r, n, 1, AGEING_MAX, &v))
		dev->ageing_s = (unsigned)v;
}

static void read_device_mac(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_mac(r, n, dev->mac);
}

static void read_poll(struct reader *r, const struct ynode *n, void *obj)
{
	static const char *const names[] = {[POLLER_ADAPTIVE] = "adaptive",
					    [POLLER_ALWAYS] = "always",
					    [POLLER_NEVER] = "never"};
	struct config_device *dev = obj;
	unsigned v;

	if (read_choice(r, n, names, ARRAY_SIZE(names), &v))
		dev->poll = (enum poller_policy)v;
}

static void read_device_socket(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_socket(r, n, &dev->socket);
}

/* vfs, vf-defaults and namespaces need the rest of the device. */
void read_later(struct reader *r, const struct ynode *n, void *obj)
{
}

static const struct config_key common_keys[] = {
	{"type", read_type},
	{"total-vfs", read_total_vfs},
	{"num-vfs", read_num_vfs},
	{"poll", read_poll},
	{"socket", read_device_socket},
	{"vf-defaults", read_later},
	{"vfs", read_later},
	{NULL, NULL},
};

static const struct config_key ethernet_keys[] = {
	{"queues", read_queues},
	{"queue-size", read_queue_size},
	{"mtu", read_mtu},
	{"speed", read_speed},
	{"packed", read_packed},
	{"offloads", read_offloads},
	{"features-off", read_features_off},
	{"admin-strict", read_admin_strict},
	{"ageing", read_ageing},
	{"mac", read_device_mac},
	{"tx-rate", read_device_rate},
	{"max-tx-rate", read_pf_max_rate},
	{"min-tx-rate", read_pf_min_rate},
	{"uplink", read_uplink},
	{NULL, NULL},
};

static const struct config_keys keys_of[] = {
	[DEVICE_ETHERNET] = {.common = common_keys,
			     .own = ethernet_keys,
			     .other = nvme_device_keys,
			     .type = "ethernet",
			     .other_type = "nvme"},
	[DEVICE_NVME] = {.common = common_keys,
			 .own = nvme_device_keys,
			 .other = ethernet_keys,
			 .type = "nvme",
			 .other_type = "ethernet"},
};

/* What decides which keys there are, wherever in the map it stands. Without a word that is
 * understood, keys that only a disk has tell, lest each of them be called wrong. */
static enum device_type type_of(const struct ynode *n)
{
	const struct ynode *type = map_find(n, "type");

	if (type && type->kind == YNODE_SCALAR && !strcasecmp(type->value, "ethernet"))
		return DEVICE_ETHERNET;
	if (type && type->kind == YNODE_SCALAR && !strcasecmp(type->value, "nvme"))
		return DEVICE_NVME;
	for (const struct ynode *k = n->first; k; k = k->next)
		if (k->key && config_knows(nvme_device_keys, k->key) &&
		    !config_knows(ethernet_keys, k->key))
			return DEVICE_NVME;
	return DEVICE_ETHERNET;
}

void read_device(struct reader *r, const struct ynode *n, struct config_device *dev)
{
	dev->line = n->line;
	dev->total_vfs = TOTAL_VFS_DEFAULT;
	dev->num_vfs = -1;
	dev->queue_pairs = 1;
	dev->queue_size = QUEUE_SIZE_DEFAULT;
	dev->mtu = MTU_DEFAULT;
	dev->speed_mbps = SPEED_DEFAULT;
	dev->packed = true;
	dev->ageing_s = AGEING_DEFAULT;
	nvme_device_defaults(dev);
	dev->type = type_of(n);
	read_typed_map(r, n, &keys_of[dev->type], dev);
	if (n->kind != YNODE_MAP)
		return;
	if (!map_find(n, "type"))
		config_error(r, n->line, "no type given: add type: ethernet or type: nvme");
	check_rates(r, n, dev->pf_max_tx_mbps, dev->pf_min_tx_mbps);
	read_vfs(r, n, dev);
	if (dev->type != DEVICE_NVME)
		return;
	read_namespaces(r, n, dev);
	nvme_device_finish(dev);
}
