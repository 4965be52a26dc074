/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Notification coalescing commands (virtio 1.3, 5.1.6.5.8).
 */
#include <string.h>

#include "util/bytes.h"
#include "virtio_net/vnet.h"

static struct vnet_ctrl_coal read_params(const uint8_t *p)
{
	return (struct vnet_ctrl_coal){
		.max_packets = get_le32(p + offsetof(struct vnet_ctrl_coal, max_packets)),
		.max_usecs = get_le32(p + offsetof(struct vnet_ctrl_coal, max_usecs)),
	};
}

static void set(struct vnet_coal *c, const struct vnet_ctrl_coal *params)
{
	atomic_store_explicit(&c->max_packets, params->max_packets, memory_order_relaxed);
	atomic_store_explicit(&c->max_usecs, params->max_usecs, memory_order_relaxed);
}

/* Interrupts that are owed are paid by a poller; it exists from the first time any can be. */
static bool need_timer(struct virtio_net *net, uint32_t usecs)
{
	struct worker *w;

	if (!usecs || net->coal_running)
		return true;
	w = virtio_device_worker(net->vd);
	if (!w)
		return false;
	net->coal_poller.ops = &vnet_rx_coal_poller;
	net->coal_poller.name = net->name;
	net->coal_poller.kind = "irq";
	net->coal_poller.number = POLLER_ONLY;
	net->coal_poller.share = &net->share;
	net->coal_poller.movable = true;
	net->coal_poller.policy = POLLER_NEVER; /* nothing but its timer and kicks bring it work */
	worker_add(w, &net->coal_poller);
	net->coal_running = true;
	return true;
}

static uint8_t set_all(struct vnet_cmd *c, bool rx)
{
	struct virtio_net *net = c->net;
	struct vnet_ctrl_coal params;

	if (!vnet_has(net, VNET_F_NOTF_COAL) || c->len < sizeof(params))
		return VIRTIO_NET_ERR;
	params = read_params(c->data);
	if (rx && !need_timer(net, params.max_usecs))
		return VIRTIO_NET_ERR;
	*(rx ? &net->coal_rx : &net->coal_tx) = params;
	for (unsigned i = 0; i < net->cfg.queue_pairs; i++)
		set(rx ? &net->rx[i].coal : &net->tx[i].coal, &params);
	return VIRTIO_NET_OK;
}

static uint8_t one_queue(struct vnet_cmd *c)
{
	struct virtio_net *net = c->net;
	struct vnet_ctrl_coal params;
	struct vnet_coal *coal;
	unsigned index;
	bool rx;

	if (!vnet_has(net, VNET_F_VQ_NOTF_COAL) ||
	    c->len < offsetof(struct vnet_ctrl_coal_vq, coal))
		return VIRTIO_NET_ERR;
	index = get_le16(c->data + offsetof(struct vnet_ctrl_coal_vq, vq_index));
	/* A receive or transmit queue that is enabled (5.1.6.5.8.2). */
	if (index >= vnet_ctrl_index(net) || !virtio_device_queue_enabled(net->vd, index))
		return VIRTIO_NET_ERR;
	rx = index % 2 == 0;
	coal = rx ? &net->rx[index / 2].coal : &net->tx[index / 2].coal;
	if (c->cmd == VNET_CTRL_COAL_VQ_GET) {
		if (c->reply_max < sizeof(params))
			return VIRTIO_NET_ERR;
		put_le32(c->reply + offsetof(struct vnet_ctrl_coal, max_packets),
			 atomic_load_explicit(&coal->max_packets, memory_order_relaxed));
		put_le32(c->reply + offsetof(struct vnet_ctrl_coal, max_usecs),
			 atomic_load_explicit(&coal->max_usecs, memory_order_relaxed));
		c->reply_len = sizeof(params);
		return VIRTIO_NET_OK;
	}
	if (c->len < sizeof(struct vnet_ctrl_coal_vq))
		return VIRTIO_NET_ERR;
	params = read_params(c->data + offsetof(struct vnet_ctrl_coal_vq, coal));
	if (rx && !need_timer(net, params.max_usecs))
		return VIRTIO_NET_ERR;
	set(coal, &params);
	return VIRTIO_NET_OK;
}

uint8_t vnet_ctrl_coal(struct vnet_cmd *c)
{
	switch (c->cmd) {
	case VNET_CTRL_COAL_TX_SET:
	case VNET_CTRL_COAL_RX_SET:
		return set_all(c, c->cmd == VNET_CTRL_COAL_RX_SET);
	case VNET_CTRL_COAL_VQ_SET:
	case VNET_CTRL_COAL_VQ_GET:
		return one_queue(c);
	default:
		return VIRTIO_NET_ERR;
	}
}
