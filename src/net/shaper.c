/* SPDX-License-Identifier: BSD-3-Clause */
#include "net/shaper.h"

#include "util/clock.h"
#include "util/util.h"

#define BURST_NS     (1 * NS_PER_MS)
#define SLICE_NS     (500 * NS_PER_US)
#define ROUND_NS     (2 * NS_PER_MS)  /* in which all that stand in a device's line have a slice, */
#define SLICE_MIN_NS (50 * NS_PER_US) /* unless it is so long that they would be smaller */
/* Bounds of slices, in bytes: what they cost is a few atomic operations and a timer each. */
#define SLICE_BYTES_MIN	       2048
#define SLICE_BYTES_MIN_DEVICE 8192 /* 16 queues may divide it */
#define SLICE_BYTES_MAX	       (1u << 20)
#define SLICE_BYTES_LEAST      512u

/* What a minimum is charged beyond it at most, in bursts: so soon it holds again when a function
 * had more and then gets less. */
#define MIN_AHEAD_BURSTS 4
/* How far minima may push the clock of their device: with all of its rate guaranteed, what others
 * have bought still comes on top of it. */
#define DEVICE_AHEAD_NS (250 * NS_PER_MS)

static uint32_t load32(const _Atomic uint32_t *v)
{
	return atomic_load_explicit((_Atomic uint32_t *)v, memory_order_relaxed);
}

/* Takes effect at once: what was owed or waited for at the old rate is forgotten. */
static void clock_set(struct rate_clock *c, uint32_t mbps)
{
	uint64_t rate = (uint64_t)mbps * 1000000 / 8;

	rate_set(c, rate, rate ? MAX(BURST_NS, rate_ns(NET_FRAME_MAX, rate)) : 0);
}

void net_shaper_set(struct net_shaper *s, uint32_t mbps)
{
	clock_set(&s->clock, mbps);
	atomic_fetch_add(&s->generation, 1);
}

void net_shaper_port_set(struct net_shaper_port *p, uint32_t max_mbps, uint32_t min_mbps)
{
	clock_set(&p->max, max_mbps);
	clock_set(&p->min, min_mbps);
	atomic_fetch_add(&p->generation, 1);
	atomic_store(&p->limited,
		     max_mbps || min_mbps || (p->device && rate_get(&p->device->clock)));
}

/* ---- lines ---- */

static void line_set_waiting(struct net_shaper_line *l, _Atomic uint32_t *waiting,
			     _Atomic uint32_t *of_port, bool on)
{
	if (l->waiting == on)
		return;
	l->waiting = on;
	atomic_fetch_add_explicit(waiting, on ? 1 : -1, memory_order_relaxed);
	if (of_port)
		atomic_fetch_add_explicit(of_port, on ? 1 : -1, memory_order_relaxed);
}

/* How many bytes ns are worth, within bounds. */
static uint64_t worth(uint64_t rate, uint64_t ns, uint64_t min)
{
	return MIN(MAX(rate * (ns / 1000) / 1000000, min), SLICE_BYTES_MAX);
}

/* With whoever asks, who may be in it already. */
static uint32_t line_length(const _Atomic uint32_t *waiting, bool in_it)
{
	return load32(waiting) + !in_it;
}

/* A slice of the function's own maximum, divided among its queues. */
static uint32_t slice_max(const struct net_shaper_queue *q)
{
	const struct net_shaper_port *p = q->port;
	uint64_t all = worth(rate_get(&p->max), SLICE_NS, SLICE_BYTES_MIN);

	return MAX((uint32_t)all / line_length(&p->waiting_max, q->max.waiting), SLICE_BYTES_LEAST);
}

/* Of the device's rate: the smaller the more stand in line; the function's queues divide it. */
static uint32_t slice_device(const struct net_shaper_queue *q)
{
	const struct net_shaper_port *p = q->port;
	uint64_t ns = ROUND_NS / line_length(&p->device->waiting, q->device.waiting), all;

	ns = MIN(MAX(ns, SLICE_MIN_NS), SLICE_NS);
	all = worth(rate_get(&p->device->clock), ns, SLICE_BYTES_MIN_DEVICE);
	return MAX((uint32_t)all / line_length(&p->waiting_device, q->device.waiting),
		   SLICE_BYTES_LEAST);
}

/*
 * Buys until there is credit: 0, or the time at which the last slice may be used. Who owes much
 * pays in larger parts, lest it take him hundreds of turns.
 */
static uint64_t line_buy(struct net_shaper_line *l, struct rate_clock *c, uint32_t slice,
			 uint64_t now_ns)
{
	while (l->credit <= 0) {
		if (!l->due_ns) {
			l->bought = (uint32_t)MAX((int64_t)slice, -l->credit / 16);
			l->due_ns = MAX(rate_reserve(c, l->bought, now_ns), 1u);
		}
		if (l->due_ns > now_ns)
			return l->due_ns;
		l->credit += l->bought;
		l->due_ns = 0;
	}
	return 0;
}

static void leave_lines(struct net_shaper_queue *q)
{
	struct net_shaper_port *p = q->port;

	line_set_waiting(&q->max, &p->waiting_max, NULL, false);
	if (p->device)
		line_set_waiting(&q->device, &p->device->waiting, &p->waiting_device, false);
}

/* True when rates changed since the queue asked last. */
static bool outdated(const struct net_shaper_queue *q)
{
	const struct net_shaper_port *p = q->port;

	return q->generation != load32(&p->generation) ||
	       (p->device && q->device_generation != load32(&p->device->generation));
}

static void start_anew(struct net_shaper_queue *q)
{
	struct net_shaper_port *p = q->port;

	leave_lines(q);
	q->generation = load32(&p->generation);
	q->device_generation = p->device ? load32(&p->device->generation) : 0;
	q->max = q->device = (struct net_shaper_line){0};
	q->held_until_ns = 0;
}

/* ---- asking ---- */

/* Waits for at least a slice's part of the minimum, rather than for single frames. */
static uint64_t min_due(const struct net_shaper_port *p, uint64_t now_ns)
{
	return MAX(rate_due(&p->min, now_ns), now_ns) + SLICE_NS;
}

static uint64_t ask_max(struct net_shaper_queue *q, uint64_t *room)
{
	struct net_shaper_port *p = q->port;
	uint64_t due = line_buy(&q->max, &p->max, slice_max(q), q->now_ns);

	line_set_waiting(&q->max, &p->waiting_max, NULL, due);
	if (!due)
		*room = MIN(*room, (uint64_t)q->max.credit);
	return due;
}

static uint64_t ask_device(struct net_shaper_queue *q, uint64_t *room)
{
	struct net_shaper_port *p = q->port;
	uint64_t due = line_buy(&q->device, &p->device->clock, slice_device(q), q->now_ns);

	line_set_waiting(&q->device, &p->device->waiting, &p->waiting_device, due);
	if (!due) {
		*room = MIN(*room, (uint64_t)q->device.credit);
		return 0;
	}
	if (q->below_min) {
		q->by_min = true;
		*room = MIN(*room, rate_room(&p->min, q->now_ns));
		return 0;
	}
	return rate_get(&p->min) ? MIN(due, min_due(p, q->now_ns)) : due;
}

uint64_t net_shaper_ask(struct net_shaper_queue *q, uint64_t now_ns, uint32_t *room)
{
	struct net_shaper_port *p = q->port;
	uint64_t most = UINT32_MAX, due = 0;

	if (outdated(q))
		start_anew(q);
	if (q->held_until_ns > now_ns)
		return q->held_until_ns;
	q->now_ns = now_ns;
	q->by_min = false;
	q->below_min = rate_get(&p->min) && !rate_due(&p->min, now_ns);
	if (rate_get(&p->max))
		due = ask_max(q, &most);
	if (!due && p->device && rate_get(&p->device->clock))
		due = ask_device(q, &most);
	q->held_until_ns = due;
	*room = (uint32_t)most;
	return due;
}

void net_shaper_sent(struct net_shaper_queue *q, uint64_t bytes)
{
	struct net_shaper_port *p = q->port;
	uint64_t ahead =
		MIN_AHEAD_BURSTS * atomic_load_explicit(&p->min.burst_ns, memory_order_relaxed);

	q->max.credit -= (int64_t)bytes;
	if (q->by_min)
		rate_charge(&p->device->clock, bytes, q->now_ns, DEVICE_AHEAD_NS);
	else
		q->device.credit -= (int64_t)bytes;
	rate_charge(&p->min, bytes, q->now_ns, ahead);
}

void net_shaper_leave(struct net_shaper_queue *q)
{
	leave_lines(q);
	q->held_until_ns = 0;
	q->below_min = false;
}

/* ---- lengths ---- */

uint32_t net_shaper_len(const struct net_frame *f)
{
	const struct net_offload *o = &f->offload;
	uint32_t headers, segs;

	if (likely(!o->gso_type || !o->gso_size))
		return f->len;
	/* Each frame cut from it repeats them. */
	headers = MIN(net_frame_header_len(f), (uint32_t)NET_HEAD_MAX);
	if (f->len <= headers)
		return f->len;
	segs = (f->len - headers + o->gso_size - 1) / o->gso_size;
	return f->len + (MIN(segs, (uint32_t)NET_GSO_SEGS_MAX) - 1) * headers;
}
