/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest that costs next to nothing: its rings are filled once and then recycled. A split ring's
 * entries stay as they are and only the index moves; a packed ring's descriptors get back their
 * length and flags by one store. No frame is looked at. So one thread can play any number of
 * guests, and the worker is what is measured.
 *
 * It relies on the device using buffers in the order in which they were offered, as softiovd does,
 * and says so when it does not (light_strange()). One thread at a time.
 */
#ifndef SOFTIOV_BENCH_LIGHT_H
#define SOFTIOV_BENCH_LIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "support/guest.h"

struct light_queue {
	struct guest *g;
	unsigned index; /* of the virtqueue */
	struct gvq *q;
	uint64_t addr; /* buffer i lies at addr + i * stride */
	uint8_t *mem;
	uint32_t stride, len, buffers;
	bool write;
	bool strange;		/* the device broke the order */
	uint32_t offered, used; /* buffers so far, modulo 2^32 */
};

struct light_config {
	const char *path;
	/* Another switch's port in its place, and the guest's address there (peers/). */
	struct vhost_user *peer;
	const uint8_t *mac;
	bool packed, gso;
	bool control;	     /* a control queue, too */
	bool messages;	     /* doorbells by message, not eventfd */
	uint16_t queue_size; /* a power of two */
	uint32_t rx_buf, tx_buf;
	/* How many different ones there are: fewer than the ring has share memory, more are taken
	 * in turn. Powers of two. */
	uint32_t rx_buffers, tx_buffers;
};

struct light {
	struct guest *g;
	struct vhost_user *peer;
	struct light_queue rx, tx;
};

/* Attaches and starts the driver; all receive buffers are offered. 0 or -errno. */
int light_open(const struct light_config *cfg, struct light *l);
/* As a VMM that dies. A zeroed one is allowed. */
void light_close(struct light *l);
/* Bytes of one frame, without header, in each transmit buffer from now on: buffers are offered
 * with that length. The frame goes from one guest to the other. */
void light_frame(struct light *from, const struct light *to, uint32_t len, bool gso);

/* Buffers used since last asked. */
uint32_t light_used(struct light_queue *q);
/* Offers n more; rings when the device asks for it. */
void light_offer(struct light_queue *q, uint32_t n);
/* Buffers that the device has. */
static inline uint32_t light_busy(const struct light_queue *q)
{
	return q->offered - q->used;
}
static inline uint32_t light_room(const struct light_queue *q)
{
	return q->q->cfg.size - light_busy(q);
}
/* Whether the device used buffers in another order (the figures are then worth nothing). */
bool light_strange(const struct light *l);

/* ---- a stream of frames from one to another ---- */

struct flow {
	struct light *from, *to;
	uint32_t per_frame;	 /* receive buffers a frame takes */
	uint32_t window;	 /* frames under way at most: no more than fit */
	uint64_t sent, buffers;	 /* frames sent, receive buffers used */
	uint64_t looks, starved; /* turns; those that found the transmit ring empty */
	uint32_t held;		 /* receive buffers not offered again yet */
};

/* window 0: as many as the receiver's ring takes. */
void flow_begin(struct flow *f, struct light *from, struct light *to, uint32_t window);
/* Sends what there is room for, at most burst frames, and takes what arrived; frames arrived. */
uint32_t flow_turn(struct flow *f, uint32_t burst);
/* Waits until what is under way has arrived, at most a second; frames that did not. */
uint64_t flow_drain(struct flow *f);
static inline uint64_t flow_got(const struct flow *f)
{
	return f->buffers / f->per_frame;
}

#endif
