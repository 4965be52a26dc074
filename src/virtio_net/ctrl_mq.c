/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queue pairs, RSS, hash report and guest offloads (virtio 1.3, 5.1.6.5.5 to 5.1.6.5.7). Each
 * command is in force, and nobody works by the old rule any more, when it completes.
 */
#include <string.h>

#include "util/bytes.h"
#include "virtio_net/vnet.h"

static void serve_pairs(struct virtio_net *net, unsigned pairs)
{
	atomic_store_explicit(&net->tx_pairs, pairs, memory_order_release);
	worker_synchronize();
	for (unsigned i = 0; i < pairs; i++)
		poller_kick(&net->tx[i].poller);
}

static struct vnet_steer current(const struct virtio_net *net)
{
	const struct vnet_steer *now = atomic_load_explicit(&net->steer, memory_order_relaxed);
	struct vnet_steer model = {0};

	memcpy(&model, now,
	       now->hash_types ? sizeof(model) : offsetof(struct vnet_steer, toeplitz));
	return model;
}

static uint8_t set_pairs(struct vnet_cmd *c)
{
	struct vnet_steer model = current(c->net);
	uint16_t pairs;

	if (!vnet_has(c->net, VIRTIO_NET_F_MQ) || c->len < 2)
		return VIRTIO_NET_ERR;
	pairs = get_le16(c->data);
	if (!pairs || pairs > c->net->cfg.queue_pairs)
		return VIRTIO_NET_ERR;
	/* Back to automatic steering; a hash report stays as configured. */
	model.pairs = pairs;
	model.rss = false;
	if (!model.report)
		model.hash_types = 0;
	if (vnet_steer_set(c->net, &model, NULL, 0))
		return VIRTIO_NET_ERR;
	serve_pairs(c->net, pairs);
	return VIRTIO_NET_OK;
}

static uint8_t set_rss(struct vnet_cmd *c)
{
	struct vnet_steer model = {.rss = true, .pairs = 1};
	const uint8_t *p = c->data, *key;
	unsigned n, max_tx, key_len;

	if (!vnet_has(c->net, VIRTIO_NET_F_RSS) || c->len < sizeof(struct vnet_rss_head))
		return VIRTIO_NET_ERR;
	model.hash_types = get_le32(p + offsetof(struct vnet_rss_head, hash_types));
	model.mask = get_le16(p + offsetof(struct vnet_rss_head, indirection_table_mask));
	model.unclassified = get_le16(p + offsetof(struct vnet_rss_head, unclassified_queue));
	n = model.mask + 1u;
	if (model.hash_types & ~VNET_HASH_TYPES || n > VNET_RSS_TABLE_MAX || !is_pow2(n) ||
	    model.unclassified >= c->net->cfg.queue_pairs)
		return VIRTIO_NET_ERR;
	p += sizeof(struct vnet_rss_head);
	/* the table, max_tx_vq, and the key's length */
	if (c->len - sizeof(struct vnet_rss_head) < 2 * n + 3)
		return VIRTIO_NET_ERR;
	for (unsigned i = 0; i < n; i++, p += 2) {
		model.table[i] = get_le16(p);
		if (model.table[i] >= c->net->cfg.queue_pairs)
			return VIRTIO_NET_ERR;
	}
	max_tx = get_le16(p);
	key_len = p[2];
	key = p + 3;
	if (!max_tx || max_tx > c->net->cfg.queue_pairs || key_len > VNET_RSS_KEY_MAX ||
	    key_len > c->len - (key - c->data))
		return VIRTIO_NET_ERR;
	model.report = vnet_has(c->net, VIRTIO_NET_F_HASH_REPORT);
	if (vnet_steer_set(c->net, &model, key, key_len))
		return VIRTIO_NET_ERR;
	serve_pairs(c->net, max_tx);
	return VIRTIO_NET_OK;
}

static uint8_t set_hash(struct vnet_cmd *c)
{
	struct vnet_steer model = current(c->net);
	const uint8_t *p = c->data;
	unsigned key_len;

	if (!vnet_has(c->net, VIRTIO_NET_F_HASH_REPORT) || c->len < sizeof(struct vnet_hash_head))
		return VIRTIO_NET_ERR;
	model.hash_types = get_le32(p + offsetof(struct vnet_hash_head, hash_types));
	key_len = p[offsetof(struct vnet_hash_head, key_len)];
	if (model.hash_types & ~VNET_HASH_TYPES || key_len > VNET_RSS_KEY_MAX ||
	    key_len > c->len - sizeof(struct vnet_hash_head))
		return VIRTIO_NET_ERR;
	model.report = model.hash_types != 0;
	if (vnet_steer_set(c->net, &model, p + sizeof(struct vnet_hash_head), key_len))
		return VIRTIO_NET_ERR;
	return VIRTIO_NET_OK;
}

uint8_t vnet_ctrl_mq(struct vnet_cmd *c)
{
	switch (c->cmd) {
	case VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET:
		return set_pairs(c);
	case VIRTIO_NET_CTRL_MQ_RSS_CONFIG:
		return set_rss(c);
	case VIRTIO_NET_CTRL_MQ_HASH_CONFIG:
		return set_hash(c);
	default:
		return VIRTIO_NET_ERR;
	}
}

uint8_t vnet_ctrl_offloads(struct vnet_cmd *c)
{
	uint64_t offloads;

	if (!vnet_has(c->net, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
	    c->cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || c->len < sizeof(offloads))
		return VIRTIO_NET_ERR;
	offloads = get_le64(c->data);
	if (offloads & ~(virtio_device_features(c->net->vd) & VNET_GUEST_OFFLOADS))
		return VIRTIO_NET_ERR;
	atomic_store_explicit(&c->net->offloads, offloads, memory_order_relaxed);
	worker_synchronize();
	return VIRTIO_NET_OK;
}
