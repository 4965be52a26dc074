/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters. A thread that counts takes a slot of its own, which it then updates without locked
 * instructions; when slots run out the last one is shared and updated atomically.
 */
#include <string.h>

#include "net/internal.h"

#define SHARED_SLOT (NET_COUNTER_SLOTS - 1)
#define NO_SLOT	    (-1)

static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t slots_used; /* bitmap, under slots_lock */
static pthread_key_t slot_key;
static pthread_once_t slot_once = PTHREAD_ONCE_INIT;
static _Thread_local int my_slot = NO_SLOT;

/* A thread ended: its slot may be taken by another, which goes on from the values there. */
static void slot_release(void *value)
{
	int slot = (int)(intptr_t)value - 1;

	pthread_mutex_lock(&slots_lock);
	slots_used &= ~BIT(slot);
	pthread_mutex_unlock(&slots_lock);
}

static void slot_init(void)
{
	if (pthread_key_create(&slot_key, slot_release))
		slots_used = ~0u; /* no key to release by: everybody shares */
}

static int slot_take(void)
{
	int slot = SHARED_SLOT;

	pthread_once(&slot_once, slot_init);
	pthread_mutex_lock(&slots_lock);
	for (int i = 0; i < SHARED_SLOT; i++) {
		if (!(slots_used & BIT(i))) {
			slot = i;
			slots_used |= BIT(i);
			break;
		}
	}
	pthread_mutex_unlock(&slots_lock);
	if (slot != SHARED_SLOT && pthread_setspecific(slot_key, (void *)(intptr_t)(slot + 1))) {
		slot_release((void *)(intptr_t)(slot + 1));
		slot = SHARED_SLOT;
	}
	my_slot = slot;
	return slot;
}

void counters_add(struct net_port *port, const uint64_t *add, unsigned first, unsigned n)
{
	int slot = likely(my_slot != NO_SLOT) ? my_slot : slot_take();
	_Atomic uint64_t *v = port->slots[slot].v + first;

	for (unsigned i = 0; i < n; i++) {
		if (!add[i])
			continue;
		if (likely(slot != SHARED_SLOT))
			atomic_store_explicit(
				&v[i], atomic_load_explicit(&v[i], memory_order_relaxed) + add[i],
				memory_order_relaxed);
		else
			atomic_fetch_add_explicit(&v[i], add[i], memory_order_relaxed);
	}
}

void net_port_count_drop(struct net_port *port, enum net_drop reason, unsigned n)
{
	uint64_t add = n;

	if ((unsigned)reason < NET_DROP_REASONS)
		counters_add(port, &add, CNT_DROPS + reason, 1);
}

void net_port_count_throttled(struct net_port *port, unsigned n, uint64_t ns)
{
	const uint64_t add[] = {n, ns};

	counters_add(port, add, CNT_TX_THROTTLED, ARRAY_SIZE(add));
}

static void sum_slots(const struct net_port *port, uint64_t sum[CNT_NUM])
{
	memset(sum, 0, CNT_NUM * sizeof(sum[0]));
	for (unsigned s = 0; s < NET_COUNTER_SLOTS; s++)
		for (unsigned i = 0; i < CNT_NUM; i++)
			sum[i] += atomic_load_explicit(&port->slots[s].v[i], memory_order_relaxed);
}

void net_port_get_stats(const struct net_port *port, struct net_port_stats *out)
{
	struct net_port *p = (struct net_port *)port; /* its lock only */
	uint64_t sum[CNT_NUM];

	pthread_mutex_lock(&p->base_lock);
	sum_slots(port, sum);
	for (unsigned i = 0; i < CNT_NUM; i++)
		sum[i] -= port->base[i];
	pthread_mutex_unlock(&p->base_lock);
	out->rx_packets = sum[CNT_RX_PACKETS];
	out->rx_bytes = sum[CNT_RX_BYTES];
	out->rx_broadcast = sum[CNT_RX_BROADCAST];
	out->rx_multicast = sum[CNT_RX_MULTICAST];
	out->tx_packets = sum[CNT_TX_PACKETS];
	out->tx_bytes = sum[CNT_TX_BYTES];
	out->tx_broadcast = sum[CNT_TX_BROADCAST];
	out->tx_multicast = sum[CNT_TX_MULTICAST];
	out->tx_throttled = sum[CNT_TX_THROTTLED];
	out->tx_throttled_ns = sum[CNT_TX_THROTTLED_NS];
	memcpy(out->drops, sum + CNT_DROPS, sizeof(out->drops));
}

/* Counters never go back under a reader's feet: what was counted so far becomes the base. */
void net_port_clear_stats(struct net_port *port)
{
	pthread_mutex_lock(&port->base_lock);
	sum_slots(port, port->base);
	pthread_mutex_unlock(&port->base_lock);
}

static const char *const drop_names[NET_DROP_REASONS] = {
	[NET_DROP_TX_SPOOF_MAC] = "tx-spoof-mac", [NET_DROP_TX_SPOOF_VLAN] = "tx-spoof-vlan",
	[NET_DROP_TX_LINK_DOWN] = "tx-link-down", [NET_DROP_TX_MALFORMED] = "tx-malformed",
	[NET_DROP_TX_NO_DEST] = "tx-no-dest",	  [NET_DROP_RX_NO_BUFFER] = "rx-no-buffer",
	[NET_DROP_RX_LINK_DOWN] = "rx-link-down", [NET_DROP_RX_NOT_READY] = "rx-not-ready",
	[NET_DROP_RX_TOO_BIG] = "rx-too-big",	  [NET_DROP_RX_BAD_OFFLOAD] = "rx-bad-offload",
	[NET_DROP_RX_RATE] = "rx-rate",
};

const char *net_drop_name(enum net_drop reason)
{
	return (unsigned)reason < NET_DROP_REASONS ? drop_names[reason] : "unknown";
}

static uint64_t sum_drops(const struct net_port_stats *s, unsigned from, unsigned to)
{
	uint64_t sum = 0;

	for (unsigned i = from; i < to; i++)
		sum += s->drops[i];
	return sum;
}

uint64_t net_port_stats_tx_dropped(const struct net_port_stats *s)
{
	return sum_drops(s, NET_DROP_TX_SPOOF_MAC, NET_DROP_RX_NO_BUFFER);
}

uint64_t net_port_stats_rx_dropped(const struct net_port_stats *s)
{
	return sum_drops(s, NET_DROP_RX_NO_BUFFER, NET_DROP_REASONS);
}
