/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Features and configuration space (virtio 1.3, 5.1.3 and 5.1.4).
 */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stddef.h>

#include "util/bytes.h"
#include "virtio_net/vnet.h"

/* 5.1.3.1: a feature needs one of the others. */
static const struct {
	unsigned feature;
	uint64_t any_of;
} prerequisites[] = {
	{VIRTIO_NET_F_GUEST_TSO4, BIT_ULL(VIRTIO_NET_F_GUEST_CSUM)},
	{VIRTIO_NET_F_GUEST_TSO6, BIT_ULL(VIRTIO_NET_F_GUEST_CSUM)},
	{VIRTIO_NET_F_GUEST_ECN,
	 BIT_ULL(VIRTIO_NET_F_GUEST_TSO4) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO6)},
	{VNET_F_GUEST_USO4, BIT_ULL(VIRTIO_NET_F_GUEST_CSUM)},
	{VNET_F_GUEST_USO6, BIT_ULL(VIRTIO_NET_F_GUEST_CSUM)},
	{VIRTIO_NET_F_HOST_TSO4, BIT_ULL(VIRTIO_NET_F_CSUM)},
	{VIRTIO_NET_F_HOST_TSO6, BIT_ULL(VIRTIO_NET_F_CSUM)},
	{VIRTIO_NET_F_HOST_ECN, BIT_ULL(VIRTIO_NET_F_HOST_TSO4) | BIT_ULL(VIRTIO_NET_F_HOST_TSO6)},
	{VNET_F_HOST_USO, BIT_ULL(VIRTIO_NET_F_CSUM)},
	{VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, BIT_ULL(VIRTIO_NET_F_CTRL_VQ)},
	{VIRTIO_NET_F_CTRL_RX, BIT_ULL(VIRTIO_NET_F_CTRL_VQ)},
	{VIRTIO_NET_F_CTRL_RX_EXTRA, BIT_ULL(VIRTIO_NET_F_CTRL_VQ)},
	{VIRTIO_NET_F_CTRL_VLAN, BIT_ULL(VIRTIO_NET_F_CTRL_VQ)},
	{VIRTIO_NET_F_GUEST_ANNOUNCE, BIT_ULL(VIRTIO_NET_F_CTRL_VQ)},
	{VIRTIO_NET_F_MQ, BIT_ULL(VIRTIO_NET_F_CTRL_VQ)},
	{VIRTIO_NET_F_CTRL_MAC_ADDR, BIT_ULL(VIRTIO_NET_F_CTRL_VQ)},
	{VIRTIO_NET_F_RSS, BIT_ULL(VIRTIO_NET_F_CTRL_VQ)},
	{VIRTIO_NET_F_HASH_REPORT, BIT_ULL(VIRTIO_NET_F_CTRL_VQ)},
	{VNET_F_NOTF_COAL, BIT_ULL(VIRTIO_NET_F_CTRL_VQ)},
	{VNET_F_VQ_NOTF_COAL, BIT_ULL(VIRTIO_NET_F_CTRL_VQ)},
	{VNET_F_DEVICE_STATS, BIT_ULL(VIRTIO_NET_F_CTRL_VQ)},
	/* The announcement request is a bit of the status field. */
	{VIRTIO_NET_F_GUEST_ANNOUNCE, BIT_ULL(VIRTIO_NET_F_STATUS)},
};

static uint64_t lacking(uint64_t features)
{
	uint64_t bad = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(prerequisites); i++) {
		if ((features & BIT_ULL(prerequisites[i].feature)) &&
		    !(features & prerequisites[i].any_of))
			bad |= BIT_ULL(prerequisites[i].feature);
	}
	return bad;
}

bool vnet_features_valid(uint64_t features)
{
	return !lacking(features);
}

uint64_t vnet_features_offered(const struct virtio_net_config *cfg)
{
	static const uint8_t always[] = {
		VIRTIO_NET_F_CSUM,
		VIRTIO_NET_F_GUEST_CSUM,
		VIRTIO_NET_F_MTU,
		VIRTIO_NET_F_MAC,
		VIRTIO_NET_F_GUEST_TSO4,
		VIRTIO_NET_F_GUEST_TSO6,
		VIRTIO_NET_F_GUEST_ECN,
		VIRTIO_NET_F_HOST_TSO4,
		VIRTIO_NET_F_HOST_TSO6,
		VIRTIO_NET_F_HOST_ECN,
		VIRTIO_NET_F_MRG_RXBUF,
		VIRTIO_NET_F_STATUS,
		VIRTIO_NET_F_CTRL_VQ,
		VIRTIO_NET_F_CTRL_RX,
		VIRTIO_NET_F_CTRL_VLAN,
		VIRTIO_NET_F_CTRL_RX_EXTRA,
		VIRTIO_NET_F_CTRL_MAC_ADDR,
		VIRTIO_NET_F_GUEST_ANNOUNCE,
		VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
		VNET_F_DEVICE_STATS,
		VNET_F_VQ_NOTF_COAL,
		VNET_F_NOTF_COAL,
		VNET_F_GUEST_USO4,
		VNET_F_GUEST_USO6,
		VNET_F_HOST_USO,
		VNET_F_GUEST_HDRLEN,
		VIRTIO_NET_F_HASH_REPORT,
		VIRTIO_NET_F_SPEED_DUPLEX,
		VIRTIO_RING_F_INDIRECT_DESC,
		VIRTIO_RING_F_EVENT_IDX,
		VIRTIO_F_VERSION_1,
		VIRTIO_F_ACCESS_PLATFORM,
		VIRTIO_F_ORDER_PLATFORM,
		VIRTIO_F_RING_RESET,
		VIRTIO_F_IN_ORDER, /* queues are served in order */
	};
	uint64_t f = 0, bad;

	for (unsigned i = 0; i < ARRAY_SIZE(always); i++)
		f |= BIT_ULL(always[i]);
	if (cfg->queue_pairs > 1)
		f |= BIT_ULL(VIRTIO_NET_F_MQ) | BIT_ULL(VIRTIO_NET_F_RSS);
	if (cfg->packed)
		f |= BIT_ULL(VIRTIO_F_RING_PACKED);
	f &= ~cfg->features_off;
	/* A feature taken away takes those with it that need it (2.2.2). */
	while ((bad = lacking(f)))
		f &= ~bad;
	return f;
}

void vnet_config_mac(struct virtio_net *net, bool notify)
{
	const struct net_policy *p = net_port_policy(net->port);

	virtio_device_config_set(net->vd, offsetof(struct virtio_net_config_space, mac), p->mac,
				 ETH_ALEN, notify);
}

void vnet_config_status(struct virtio_net *net, uint16_t set, uint16_t clear)
{
	const unsigned off = offsetof(struct virtio_net_config_space, status);
	uint8_t raw[2];
	uint16_t old, new;

	virtio_device_config_get(net->vd, off, raw, sizeof(raw));
	old = get_le16(raw);
	new = (old & ~clear) | set;
	if (new == old)
		return;
	put_le16(raw, new);
	virtio_device_config_set(net->vd, off, raw, sizeof(raw), true);
}

void vnet_config_init(struct virtio_net *net)
{
	struct virtio_net_config_space c = {0};

	memcpy(c.mac, net->policy.mac, ETH_ALEN);
	c.status = htole16(net_port_link_up(net->port) ? VIRTIO_NET_S_LINK_UP : 0);
	c.max_virtqueue_pairs = htole16(net->cfg.queue_pairs);
	c.mtu = htole16(net->cfg.mtu);
	c.speed = htole32(net->cfg.speed_mbps);
	/* Full duplex. The list of values in 5.1.4 contradicts its own text; drivers take 1. */
	c.duplex = 1;
	c.rss_max_key_size = VNET_RSS_KEY_MAX;
	c.rss_max_indirection_table_length = htole16(VNET_RSS_TABLE_MAX);
	c.supported_hash_types = htole32(VNET_HASH_TYPES);
	virtio_device_config_set(net->vd, 0, &c, sizeof(c), false);
}
