/* SPDX-License-Identifier: BSD-3-Clause */
#include "util/rate.h"

#include "util/clock.h"
#include "util/util.h"

#define NS_MAX (UINT64_MAX / 4) /* 146 years: no sum of two wraps */

static uint64_t load(const _Atomic uint64_t *v)
{
	return atomic_load_explicit((_Atomic uint64_t *)v, memory_order_relaxed);
}

static void store(_Atomic uint64_t *v, uint64_t n)
{
	atomic_store_explicit(v, n, memory_order_relaxed);
}

uint64_t rate_ns(uint64_t units, uint64_t rate)
{
	__uint128_t ns = ((__uint128_t)units * NS_PER_S + rate / 2) / rate;

	return ns > NS_MAX ? NS_MAX : (uint64_t)ns;
}

void rate_set(struct rate_clock *c, uint64_t rate, uint64_t burst_ns)
{
	store(&c->rate, rate);
	store(&c->burst_ns, MIN(burst_ns, NS_MAX));
	store(&c->tat_ns, 0);
	store(&c->carry, 0);
}

/*
 * What units take, together with what was left over so far; what is left over now stays for the
 * next. Of several at once, one finds it: each fraction is counted once, by whomever.
 */
static uint64_t cost_ns(struct rate_clock *c, uint64_t units, uint64_t rate)
{
	uint64_t sum, rest, ns, carry = load(&c->carry);

	if (carry)
		carry = atomic_exchange_explicit(&c->carry, 0, memory_order_relaxed);
	if (likely(!__builtin_mul_overflow(units, NS_PER_S, &sum) &&
		   !__builtin_add_overflow(sum, carry, &sum))) {
		ns = sum / rate;
		rest = sum % rate;
	} else {
		__uint128_t wide = (__uint128_t)units * NS_PER_S + carry;

		ns = wide / rate > NS_MAX ? NS_MAX : (uint64_t)(wide / rate);
		rest = (uint64_t)(wide % rate);
	}
	if (rest)
		atomic_fetch_add_explicit(&c->carry, rest, memory_order_relaxed);
	return MIN(ns, NS_MAX);
}

uint64_t rate_reserve(struct rate_clock *c, uint64_t units, uint64_t now_ns)
{
	uint64_t rate = rate_get(c), burst = load(&c->burst_ns);
	uint64_t tat, base, cost;

	if (!rate || !units)
		return 0;
	cost = cost_ns(c, units, rate);
	tat = load(&c->tat_ns);
	do
		base = MIN(MAX(tat, now_ns), NS_MAX);
	while (!atomic_compare_exchange_weak_explicit(&c->tat_ns, &tat, base + cost,
						      memory_order_relaxed, memory_order_relaxed));
	return base > now_ns + burst ? base - burst : 0;
}

void rate_refund(struct rate_clock *c, uint64_t units)
{
	uint64_t rate = rate_get(c), tat = load(&c->tat_ns), cost;

	if (!rate)
		return;
	cost = (uint64_t)MIN((__uint128_t)units * NS_PER_S / rate, (__uint128_t)NS_MAX);
	while (!atomic_compare_exchange_weak_explicit(&c->tat_ns, &tat, tat > cost ? tat - cost : 0,
						      memory_order_relaxed, memory_order_relaxed))
		;
}

uint64_t rate_due(const struct rate_clock *c, uint64_t now_ns)
{
	uint64_t tat = load(&c->tat_ns), burst = load(&c->burst_ns);

	return rate_get(c) && tat > now_ns + burst ? tat - burst : 0;
}

uint64_t rate_room(const struct rate_clock *c, uint64_t now_ns)
{
	uint64_t end = now_ns + load(&c->burst_ns), base = MAX(load(&c->tat_ns), now_ns);
	__uint128_t units;

	if (base > end)
		return 0;
	units = (__uint128_t)(end - base) * rate_get(c) / NS_PER_S;
	return units > UINT64_MAX ? UINT64_MAX : MAX((uint64_t)units, 1u);
}

void rate_charge(struct rate_clock *c, uint64_t units, uint64_t now_ns, uint64_t ahead_ns)
{
	uint64_t rate = rate_get(c), cost, tat, base;

	if (!rate || !units)
		return;
	cost = cost_ns(c, units, rate);
	tat = load(&c->tat_ns);
	do
		base = MIN(MAX(tat, now_ns), NS_MAX);
	while (!atomic_compare_exchange_weak_explicit(
		&c->tat_ns, &tat, MAX(base, MIN(base + cost, now_ns + ahead_ns)),
		memory_order_relaxed, memory_order_relaxed));
}
