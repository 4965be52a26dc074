/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transmit rates, as SR-IOV hardware has them (`ip link set … vf N max_tx_rate … min_tx_rate …`):
 * a function never sends more than its maximum; the functions of a device together never more
 * than the device's rate; below its minimum a function need not wait for the device's rate.
 * Nothing is dropped: who may not send leaves frames with their sender.
 *
 * Counted are bytes of frames as the function sends them, from the destination address to the end
 * of the payload: without preamble, FCS and gap, and without the tag of a port VLAN; a frame to be
 * cut (GSO) as the frames that come of it, headers repeated, whether it is cut or not. So does tc.
 *
 * A limit is a virtual clock (util/rate.h). Queues stand in line at it: a queue buys a slice, some
 * hundred microseconds' worth, waits until the time at which it may be used, uses it up, and buys
 * the next. As all slices at a clock are of one size, queues that share it get equal parts of it;
 * at the clock of a device functions do, as the queues of one divide its slices. What a queue
 * uses beyond a slice, by its last frame, it owes. A rest earns a burst of a millisecond or of one
 * largest frame, whichever is longer.
 *
 * Below its minimum a function sends without a slice; that is put on the device's clock, so the
 * others wait longer. A function thus gets its minimum or an equal part of what the minima leave,
 * whichever is more; what it does not use is the others'.
 *
 * Threads: "control" functions are the control thread's. A queue's state is its poller's. What
 * queues share is atomic, so any number of workers may serve them.
 */
#ifndef SOFTIOV_NET_SHAPER_H
#define SOFTIOV_NET_SHAPER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/frame.h"
#include "util/rate.h"

#define NET_RATE_MAX 4000000u /* Mb/s */

/* Of a device. Zero-initialised: no limit. */
struct net_shaper {
	struct rate_clock clock;
	_Atomic uint32_t generation; /* steps with each change: who waits looks anew */
	_Atomic uint32_t waiting;    /* queues in line */
};

/* Of a function. Zero-initialised: no limit. */
struct net_shaper_port {
	_Atomic bool limited;
	struct net_shaper *device; /* NULL: none */
	struct rate_clock max, min;
	_Atomic uint32_t generation;
	_Atomic uint32_t waiting_max, waiting_device; /* queues in line */
};

/* Of a queue at one clock. */
struct net_shaper_line {
	int64_t credit;	 /* bytes bought and not yet used; below 0: owed */
	uint64_t due_ns; /* when those bought last may be used; 0: they are in credit */
	uint32_t bought;
	bool waiting;
};

/* Of a queue. Zero-initialised but for port. */
struct net_shaper_queue {
	struct net_shaper_port *port;
	struct net_shaper_line max, device;
	uint32_t generation, device_generation;
	bool below_min; /* it is behind its minimum */
	bool by_min;	/* and sends for that reason alone */
	uint64_t now_ns;
	uint64_t held_until_ns; /* 0: not held back */
};

/* What the device's functions may send together, Mb/s; 0: no limit. Who waits must be woken, and
 * net_shaper_port_set() be called for each port. Control. */
void net_shaper_set(struct net_shaper *s, uint32_t mbps);
/* 0: none. Who waits must be woken. Control. */
void net_shaper_port_set(struct net_shaper_port *p, uint32_t max_mbps, uint32_t min_mbps);

/* True when the calls below are needed at all. Any thread. */
static inline bool net_shaper_limited(const struct net_shaper_port *p)
{
	return atomic_load_explicit(&((struct net_shaper_port *)p)->limited, memory_order_relaxed);
}

/* True when the queue is held back, or stands in a line. Its poller. */
static inline bool net_shaper_waits(const struct net_shaper_queue *q)
{
	return q->held_until_ns || q->max.waiting || q->device.waiting;
}

/*
 * The queue has something to send. 0: it may send about *room bytes (the last frame may go beyond
 * that), to be told by net_shaper_sent(). Else: nothing before that time, when it is to ask again.
 */
uint64_t net_shaper_ask(struct net_shaper_queue *q, uint64_t now_ns, uint32_t *room);
void net_shaper_sent(struct net_shaper_queue *q, uint64_t bytes);
/* The queue has nothing to send, or is not to be served any more: it stands in no line. */
void net_shaper_leave(struct net_shaper_queue *q);

/* Bytes of a frame, as they are counted here. */
uint32_t net_shaper_len(const struct net_frame *f);

#endif
