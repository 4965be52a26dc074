/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which receive queue a frame goes to (virtio 1.3, 5.1.6.5.5 automatic, 5.1.6.5.7 by hash), and
 * the hash reported with it (5.1.6.4.3 and 5.1.6.4.4).
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "virtio_net/vnet.h"

/* Bit i of the input, counted from the most significant of the first byte, adds the 32 key bits
 * that start at bit i. */
void vnet_toeplitz_init(struct vnet_toeplitz *t, const uint8_t *key, unsigned key_len)
{
	uint8_t k[VNET_RSS_KEY_MAX] = {0};

	memcpy(k, key, MIN(key_len, (unsigned)VNET_RSS_KEY_MAX));
	for (unsigned pos = 0; pos < ARRAY_SIZE(t->nibble); pos++) {
		uint32_t bit[4];

		for (unsigned b = 0; b < 4; b++) {
			unsigned at = 4 * pos + b;
			uint64_t window = 0;

			for (unsigned i = 0; i < 5; i++)
				window = window << 8 | (at / 8 + i < sizeof(k) ? k[at / 8 + i] : 0);
			bit[b] = window >> (8 - at % 8);
		}
		for (unsigned v = 0; v < 16; v++) {
			t->nibble[pos][v] = (v & 8 ? bit[0] : 0) ^ (v & 4 ? bit[1] : 0) ^
					    (v & 2 ? bit[2] : 0) ^ (v & 1 ? bit[3] : 0);
		}
	}
}

uint32_t vnet_toeplitz_hash(const struct vnet_toeplitz *t, const uint8_t *data, unsigned len)
{
	uint32_t h = 0;

	for (unsigned i = 0; i < len; i++)
		h ^= t->nibble[2 * i][data[i] >> 4] ^ t->nibble[2 * i + 1][data[i] & 15];
	return h;
}

/* The richest of the enabled hash types that fits the packet (5.1.6.4.3.1 and .2). */
void vnet_steer_hash(const struct vnet_steer *steer, const struct net_flow *flow,
		     struct vnet_target *t)
{
	bool v6 = flow->l3 == 6;
	unsigned alen = v6 ? 16 : 4, len = 2 * alen;
	uint32_t types = steer->hash_types;
	uint8_t in[36];

	t->hash = 0;
	t->report = VIRTIO_NET_HASH_REPORT_NONE;
	if (!flow->l3 || !types)
		return;
	memcpy(in, flow->saddr, alen);
	memcpy(in + alen, flow->daddr, alen);
	if (flow->l4 == IPPROTO_TCP &&
	    (types & (v6 ? VIRTIO_NET_RSS_HASH_TYPE_TCPv6 : VIRTIO_NET_RSS_HASH_TYPE_TCPv4)))
		t->report = v6 ? VIRTIO_NET_HASH_REPORT_TCPv6 : VIRTIO_NET_HASH_REPORT_TCPv4;
	else if (flow->l4 == IPPROTO_UDP &&
		 (types & (v6 ? VIRTIO_NET_RSS_HASH_TYPE_UDPv6 : VIRTIO_NET_RSS_HASH_TYPE_UDPv4)))
		t->report = v6 ? VIRTIO_NET_HASH_REPORT_UDPv6 : VIRTIO_NET_HASH_REPORT_UDPv4;
	if (t->report) {
		memcpy(in + len, &flow->sport, 2);
		memcpy(in + len + 2, &flow->dport, 2);
		len += 4;
	} else if (types & (v6 ? VIRTIO_NET_RSS_HASH_TYPE_IPv6 : VIRTIO_NET_RSS_HASH_TYPE_IPv4)) {
		t->report = v6 ? VIRTIO_NET_HASH_REPORT_IPv6 : VIRTIO_NET_HASH_REPORT_IPv4;
	} else {
		return;
	}
	t->hash = vnet_toeplitz_hash(&steer->toeplitz, in, len);
}

/* The same for both directions of a connection; only spread matters. */
static uint32_t flow_hash(const struct net_flow *flow)
{
	unsigned alen = flow->l3 == 6 ? 16 : 4;
	uint32_t h = (uint32_t)(flow->sport ^ flow->dport) << 8 | flow->l4;

	if (!flow->l3)
		return 0;
	for (unsigned i = 0; i < alen; i += 4) {
		uint32_t s, d;

		memcpy(&s, flow->saddr + i, 4);
		memcpy(&d, flow->daddr + i, 4);
		h = (h ^ s ^ d) * 0x9e3779b1u;
		h ^= h >> 15;
	}
	h *= 0x85ebca6bu;
	return h ^ h >> 13;
}

/* A flow table entry: the upper bits of the hash, the pair + 1 in the lower 8. */
void vnet_steer_learn(struct virtio_net *net, const struct net_frame *f, unsigned pair)
{
	struct net_flow flow;
	_Atomic uint32_t *slot;
	uint32_t h, entry;

	net_frame_flow(f, &flow);
	if (!flow.l3)
		return;
	h = flow_hash(&flow);
	slot = &net->flows[h % VNET_FLOWS];
	entry = (h & ~0xffu) | (pair + 1);
	if (atomic_load_explicit(slot, memory_order_relaxed) != entry)
		atomic_store_explicit(slot, entry, memory_order_relaxed);
}

static uint16_t automatic(const struct virtio_net *net, const struct vnet_steer *steer,
			  const struct net_flow *flow)
{
	uint32_t running = atomic_load_explicit(&net->rx_running, memory_order_relaxed);
	uint32_t h, entry;
	uint16_t pair = 0;

	if (steer->pairs > 1) {
		h = flow_hash(flow);
		entry = net->flows ? atomic_load_explicit(&net->flows[h % VNET_FLOWS],
							  memory_order_relaxed)
				   : 0;
		pair = (entry & 0xff) - 1;
		if (!(entry & 0xff) || (entry & ~0xffu) != (h & ~0xffu) || pair >= steer->pairs)
			pair = h % steer->pairs;
	}
	if (likely(running & BIT(pair)))
		return pair;
	/* A queue in reset gives its traffic to the others (5.1.6.5.5.2). */
	running &= BIT(steer->pairs) - 1;
	return running ? __builtin_ctz(running) : VNET_NOWHERE;
}

void vnet_steer_frame(const struct virtio_net *net, const struct vnet_steer *steer,
		      const struct net_frame *f, struct vnet_target *t)
{
	struct net_flow flow;

	net_frame_flow(f, &flow);
	vnet_steer_hash(steer, &flow, t);
	if (!steer->rss)
		t->queue = automatic(net, steer, &flow);
	else if (t->report)
		t->queue = steer->table[t->hash & steer->mask];
	else
		t->queue = steer->unclassified;
}

static const struct vnet_steer first_queue = {.pairs = 1, .simple = true};

static void publish(struct virtio_net *net, const struct vnet_steer *steer)
{
	const struct vnet_steer *old =
		atomic_exchange_explicit(&net->steer, steer, memory_order_acq_rel);

	if (!old || old == &first_queue)
		return;
	worker_synchronize();
	free((void *)old);
}

/* Publishes a copy of the model, with a table for the key (NULL: the model's own); on return nobody
 * uses the old one. 0 or -ENOMEM. Control. */
int vnet_steer_set(struct virtio_net *net, const struct vnet_steer *model, const uint8_t *key,
		   unsigned key_len)
{
	size_t size = model->hash_types ? sizeof(*model) : offsetof(struct vnet_steer, toeplitz);
	struct vnet_steer *steer = malloc(size);

	if (!steer)
		return -ENOMEM;
	memcpy(steer, model, size);
	if (steer->hash_types && key)
		vnet_toeplitz_init(&steer->toeplitz, key, key_len);
	steer->simple = !steer->rss && steer->pairs == 1 && !steer->hash_types;
	publish(net, steer);
	return 0;
}

/* After reset: everything to the first queue (5.1.6.5.5). Also frees what was set. */
void vnet_steer_default(struct virtio_net *net)
{
	publish(net, &first_queue);
}
