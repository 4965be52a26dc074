/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receive filtering by the driver's word (virtio 1.3, 5.1.6.5.1 to 5.1.6.5.4): modes, addresses,
 * VLANs, announcement. How much of it is granted the switch decides by the port's policy.
 */
#include <string.h>

#include "util/bytes.h"
#include "virtio_net/vnet.h"

static void apply(struct virtio_net *net)
{
	struct net_filter f = net->mode.filter;

	f.alluni |= net->mode.uni_overflow;
	f.allmulti |= net->mode.multi_overflow;
	/* A driver that never saw CTRL_RX expects multicast, IPv6 needs it. */
	if (!vnet_has(net, VIRTIO_NET_F_CTRL_RX))
		f.allmulti = f.promisc = true;
	f.vlan_filter = vnet_has(net, VIRTIO_NET_F_CTRL_VLAN) && !f.promisc;
	net_port_set_filter(net->port, &f);
}

void vnet_rx_mode_start(struct virtio_net *net)
{
	apply(net);
}

void vnet_rx_mode_reset(struct virtio_net *net)
{
	memset(&net->mode, 0, sizeof(net->mode));
}

uint8_t vnet_ctrl_rx(struct vnet_cmd *c)
{
	struct net_filter *f = &c->net->mode.filter;
	bool *flags[] = {
		[VIRTIO_NET_CTRL_RX_PROMISC] = &f->promisc,
		[VIRTIO_NET_CTRL_RX_ALLMULTI] = &f->allmulti,
		[VIRTIO_NET_CTRL_RX_ALLUNI] = &f->alluni,
		[VIRTIO_NET_CTRL_RX_NOMULTI] = &f->nomulti,
		[VIRTIO_NET_CTRL_RX_NOUNI] = &f->nouni,
		[VIRTIO_NET_CTRL_RX_NOBCAST] = &f->nobcast,
	};
	unsigned feature = c->cmd <= VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX
								 : VIRTIO_NET_F_CTRL_RX_EXTRA;

	if (c->cmd >= ARRAY_SIZE(flags) || !c->len || !vnet_has(c->net, feature))
		return VIRTIO_NET_ERR;
	*flags[c->cmd] = c->data[0];
	apply(c->net);
	return VIRTIO_NET_OK;
}

/* One of the two tables: a count and addresses. Returns the bytes it takes, 0 when malformed. */
static uint32_t read_table(const uint8_t *p, uint32_t len, uint8_t (*macs)[ETH_ALEN], unsigned *n,
			   bool *overflow)
{
	uint32_t entries;

	if (len < 4)
		return 0;
	entries = get_le32(p);
	if (entries > (len - 4) / ETH_ALEN)
		return 0;
	*overflow = entries > NET_FILTER_MACS;
	*n = *overflow ? 0 : entries;
	memcpy(macs, p + 4, *n * ETH_ALEN);
	return 4 + entries * ETH_ALEN;
}

static uint8_t mac_table(struct vnet_cmd *c)
{
	struct vnet_rx_mode mode = c->net->mode;
	struct net_filter *f = &mode.filter;
	uint32_t uni;

	if (!vnet_has(c->net, VIRTIO_NET_F_CTRL_RX))
		return VIRTIO_NET_ERR;
	memset(f->uni, 0, sizeof(f->uni));
	memset(f->multi, 0, sizeof(f->multi));
	uni = read_table(c->data, c->len, f->uni, &f->n_uni, &mode.uni_overflow);
	if (!uni ||
	    !read_table(c->data + uni, c->len - uni, f->multi, &f->n_multi, &mode.multi_overflow))
		return VIRTIO_NET_ERR;
	c->net->mode = mode;
	apply(c->net);
	return VIRTIO_NET_OK;
}

static uint8_t mac_address(struct vnet_cmd *c)
{
	if (!vnet_has(c->net, VIRTIO_NET_F_CTRL_MAC_ADDR) || c->len < ETH_ALEN)
		return VIRTIO_NET_ERR;
	if (net_port_set_driver_mac(c->net->port, c->data) < 0)
		return VIRTIO_NET_ERR;
	c->net->mac_changed = true;
	/* 5.1.6.5.2.1: seen in configuration space before the command completes. */
	vnet_config_mac(c->net, false);
	return VIRTIO_NET_OK;
}

uint8_t vnet_ctrl_mac(struct vnet_cmd *c)
{
	switch (c->cmd) {
	case VIRTIO_NET_CTRL_MAC_TABLE_SET:
		return mac_table(c);
	case VIRTIO_NET_CTRL_MAC_ADDR_SET:
		return mac_address(c);
	default:
		return VIRTIO_NET_ERR;
	}
}

uint8_t vnet_ctrl_vlan(struct vnet_cmd *c)
{
	uint8_t *vlans = c->net->mode.filter.vlans;
	uint16_t vid;

	if (!vnet_has(c->net, VIRTIO_NET_F_CTRL_VLAN) || c->len < 2)
		return VIRTIO_NET_ERR;
	vid = get_le16(c->data);
	if (vid >= NET_VLANS)
		return VIRTIO_NET_ERR;
	switch (c->cmd) {
	case VIRTIO_NET_CTRL_VLAN_ADD:
		vlans[vid / 8] |= BIT(vid % 8);
		break;
	case VIRTIO_NET_CTRL_VLAN_DEL:
		vlans[vid / 8] &= ~BIT(vid % 8);
		break;
	default:
		return VIRTIO_NET_ERR;
	}
	apply(c->net);
	return VIRTIO_NET_OK;
}

uint8_t vnet_ctrl_announce(struct vnet_cmd *c)
{
	if (!vnet_has(c->net, VIRTIO_NET_F_GUEST_ANNOUNCE) ||
	    c->cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK)
		return VIRTIO_NET_ERR;
	vnet_config_status(c->net, 0, VIRTIO_NET_S_ANNOUNCE);
	return VIRTIO_NET_OK;
}
