/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses learnt on uplinks. A fixed table of NET_LEARNT_SETS sets, so that whoever floods it
 * with source addresses can neither grow it nor push out what is fresh: a full set learns nothing,
 * and the frames it would have helped are flooded to the uplinks, as if never learnt. The hash is
 * seeded per switch, so sets cannot be aimed at. Static addresses live elsewhere (table.c).
 *
 * Attack considered: an outsider claims a VM's address. Static addresses are looked up first.
 *
 * Workers write concurrently without locks: an entry is one 64-bit word. Two workers that learn
 * the same address at once may use two ways; both say the same and both age.
 */
#include <errno.h>
#include <stdlib.h>

#include "net/internal.h"

/* slot << 61 | vlan << 48 | mac; vlan has 13 bits; mac 0 is never learnt, so 0 is free. */
#define KEY_SLOT_SHIFT 61
#define KEY_VLAN_SHIFT 48
#define KEY_MASK       ((1ull << KEY_SLOT_SHIFT) - 1)

struct net_learnt {
	_Alignas(CACHE_LINE) _Atomic uint64_t keys[NET_LEARNT_SETS][NET_LEARNT_WAYS];
	_Atomic uint32_t stamps[NET_LEARNT_SETS][NET_LEARNT_WAYS]; /* seconds */
};

int learnt_create(struct net_learnt **out)
{
	struct net_learnt *l = aligned_alloc(CACHE_LINE, sizeof(*l));

	if (!l)
		return -ENOMEM;
	memset(l, 0, sizeof(*l));
	*out = l;
	return 0;
}

void learnt_destroy(struct net_learnt *l)
{
	free(l);
}

static inline uint64_t load(const _Atomic uint64_t *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

void learnt_add(struct net_learnt *l, uint64_t hash, uint64_t mac, uint16_t vlan, unsigned slot,
		uint32_t now_s)
{
	unsigned set = hash % NET_LEARNT_SETS;
	uint64_t key = (uint64_t)vlan << KEY_VLAN_SHIFT | mac, old;
	uint64_t entry = (uint64_t)slot << KEY_SLOT_SHIFT | key;
	int way = -1;

	for (int i = 0; i < NET_LEARNT_WAYS; i++) {
		old = load(&l->keys[set][i]);
		if ((old & KEY_MASK) == key) {
			if (old != entry) /* it moved to another uplink */
				atomic_compare_exchange_strong(&l->keys[set][i], &old, entry);
			if (atomic_load_explicit(&l->stamps[set][i], memory_order_relaxed) != now_s)
				atomic_store_explicit(&l->stamps[set][i], now_s,
						      memory_order_relaxed);
			return;
		}
		if (!old && way < 0)
			way = i;
	}
	if (way < 0)
		return;
	/* The stamp first: ageing must not see the new entry with an old one's time. */
	atomic_store_explicit(&l->stamps[set][way], now_s, memory_order_relaxed);
	old = 0;
	atomic_compare_exchange_strong(&l->keys[set][way], &old, entry);
}

int learnt_find(const struct net_learnt *l, uint64_t hash, uint64_t mac, uint16_t vlan)
{
	unsigned set = hash % NET_LEARNT_SETS;
	uint64_t key = (uint64_t)vlan << KEY_VLAN_SHIFT | mac, old;

	for (int i = 0; i < NET_LEARNT_WAYS; i++) {
		old = load(&l->keys[set][i]);
		if ((old & KEY_MASK) == key)
			return (int)(old >> KEY_SLOT_SHIFT);
	}
	return -1;
}

void learnt_age(struct net_learnt *l, uint32_t now_s, uint32_t max_age_s)
{
	for (unsigned set = 0; set < NET_LEARNT_SETS; set++) {
		for (unsigned i = 0; i < NET_LEARNT_WAYS; i++) {
			uint64_t key = load(&l->keys[set][i]);
			uint32_t stamp = atomic_load(&l->stamps[set][i]);

			if (key && now_s - stamp >= max_age_s)
				atomic_compare_exchange_strong(&l->keys[set][i], &key, 0);
		}
	}
}

void learnt_forget_slot(struct net_learnt *l, unsigned slot)
{
	for (unsigned set = 0; set < NET_LEARNT_SETS; set++) {
		for (unsigned i = 0; i < NET_LEARNT_WAYS; i++) {
			uint64_t key = load(&l->keys[set][i]);

			if (key && key >> KEY_SLOT_SHIFT == slot)
				atomic_compare_exchange_strong(&l->keys[set][i], &key, 0);
		}
	}
}

void learnt_each(const struct net_learnt *l,
		 void (*cb)(void *opaque, uint64_t mac, uint16_t vlan, unsigned slot,
			    uint32_t stamp_s),
		 void *opaque)
{
	for (unsigned set = 0; set < NET_LEARNT_SETS; set++) {
		for (unsigned i = 0; i < NET_LEARNT_WAYS; i++) {
			uint64_t key = load(&l->keys[set][i]);

			if (key)
				cb(opaque, key & MAC_MASK,
				   (uint16_t)((key & KEY_MASK) >> KEY_VLAN_SHIFT),
				   (unsigned)(key >> KEY_SLOT_SHIFT),
				   atomic_load_explicit(&l->stamps[set][i], memory_order_relaxed));
		}
	}
}
