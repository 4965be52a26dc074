/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device statistics (virtio 1.3, 5.1.6.5.10). Only kinds that are counted are offered: no TX GSO
 * (the sender's frames are cut, if at all, by receivers), no rate limits.
 */
#include <string.h>

#include "util/bytes.h"
#include "virtio_net/vnet.h"

#define RX_TYPES                                                                                   \
	(BIT_ULL(VNET_STATS_RX_BASIC) | BIT_ULL(VNET_STATS_RX_CSUM) | BIT_ULL(VNET_STATS_RX_GSO))
#define TX_TYPES  (BIT_ULL(VNET_STATS_TX_BASIC) | BIT_ULL(VNET_STATS_TX_CSUM))
#define CVQ_TYPES BIT_ULL(VNET_STATS_CVQ)

/* Appends one reply of n counters; false when the driver's buffer is too short. */
static bool put(struct vnet_cmd *c, uint8_t type, unsigned index, const uint64_t *values,
		unsigned n)
{
	uint32_t size = sizeof(struct vnet_stats_hdr) + 8 * n;
	struct vnet_stats_hdr hdr = {
		.type = type,
		.vq_index = htole16(index),
		.size = htole16(size),
	};
	uint8_t *p = c->reply + c->reply_len;

	if (size > c->reply_max - c->reply_len)
		return false;
	memcpy(p, &hdr, sizeof(hdr));
	p += sizeof(hdr);
	for (unsigned i = 0; i < n; i++, p += 8)
		put_le64(p, values[i]);
	c->reply_len += size;
	return true;
}

static bool put_rx(struct vnet_cmd *c, unsigned index, uint64_t types)
{
	const struct vnet_rxq *q = &c->net->rx[index / 2];
	const uint64_t basic[] = {vnet_get(&q->kicks),
				  vnet_get(&q->packets),
				  vnet_get(&q->bytes),
				  vnet_get(&q->irqs),
				  vnet_get(&q->drops) + vnet_get(&q->fifo_drops),
				  vnet_get(&q->overruns)};
	const uint64_t csum[] = {vnet_get(&q->csum_valid), vnet_get(&q->csum_needed),
				 vnet_get(&q->csum_none), 0};
	/* Nothing is coalesced by this device. */
	const uint64_t gso[] = {vnet_get(&q->gso_packets), vnet_get(&q->gso_bytes), 0, 0};

	return (!(types & BIT_ULL(VNET_STATS_RX_BASIC)) ||
		put(c, VNET_STATS_RX_BASIC, index, basic, ARRAY_SIZE(basic))) &&
	       (!(types & BIT_ULL(VNET_STATS_RX_CSUM)) ||
		put(c, VNET_STATS_RX_CSUM, index, csum, ARRAY_SIZE(csum))) &&
	       (!(types & BIT_ULL(VNET_STATS_RX_GSO)) ||
		put(c, VNET_STATS_RX_GSO, index, gso, ARRAY_SIZE(gso)));
}

static bool put_tx(struct vnet_cmd *c, unsigned index, uint64_t types)
{
	const struct vnet_txq *q = &c->net->tx[index / 2];
	const uint64_t basic[] = {vnet_get(&q->kicks),	   vnet_get(&q->packets),
				  vnet_get(&q->bytes),	   vnet_get(&q->irqs),
				  vnet_get(&q->malformed), vnet_get(&q->malformed)};
	const uint64_t csum[] = {vnet_get(&q->csum_none), vnet_get(&q->csum_needed)};

	return (!(types & BIT_ULL(VNET_STATS_TX_BASIC)) ||
		put(c, VNET_STATS_TX_BASIC, index, basic, ARRAY_SIZE(basic))) &&
	       (!(types & BIT_ULL(VNET_STATS_TX_CSUM)) ||
		put(c, VNET_STATS_TX_CSUM, index, csum, ARRAY_SIZE(csum)));
}

static bool put_cvq(struct vnet_cmd *c, unsigned index)
{
	const uint64_t v[] = {vnet_get(&c->net->ctrl->commands), vnet_get(&c->net->ctrl->ok)};

	return put(c, VNET_STATS_CVQ, index, v, ARRAY_SIZE(v));
}

static uint8_t query(struct vnet_cmd *c)
{
	if (c->reply_max < 8)
		return VIRTIO_NET_ERR;
	put_le64(c->reply, RX_TYPES | TX_TYPES | CVQ_TYPES);
	c->reply_len = 8;
	return VIRTIO_NET_OK;
}

/* One bad entry fails the whole command (5.1.6.5.10.2). */
static uint8_t get(struct vnet_cmd *c)
{
	const uint8_t *p = c->data;
	unsigned ctrl = vnet_ctrl_index(c->net);

	if (!c->len || c->len % sizeof(struct vnet_ctrl_queue_stats))
		return VIRTIO_NET_ERR;
	for (; p < c->data + c->len; p += sizeof(struct vnet_ctrl_queue_stats)) {
		unsigned index = get_le16(p + offsetof(struct vnet_ctrl_queue_stats, vq_index));
		uint64_t types = get_le64(p + offsetof(struct vnet_ctrl_queue_stats, types_bitmap));
		bool ok;

		if (index > ctrl)
			return VIRTIO_NET_ERR;
		if (index == ctrl)
			ok = types == CVQ_TYPES && put_cvq(c, index);
		else if (index % 2 == 0)
			ok = types && !(types & ~RX_TYPES) && put_rx(c, index, types);
		else
			ok = types && !(types & ~TX_TYPES) && put_tx(c, index, types);
		if (!ok)
			return VIRTIO_NET_ERR;
	}
	return VIRTIO_NET_OK;
}

uint8_t vnet_ctrl_stats(struct vnet_cmd *c)
{
	if (!vnet_has(c->net, VNET_F_DEVICE_STATS))
		return VIRTIO_NET_ERR;
	switch (c->cmd) {
	case VNET_CTRL_STATS_QUERY:
		return query(c);
	case VNET_CTRL_STATS_GET:
		return get(c);
	default:
		return VIRTIO_NET_ERR;
	}
}
