/* SPDX-License-Identifier: BSD-3-Clause */
#include "light.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "frame.h"
#include "peers/vhost_user.h"
#include "util/clock.h"

#define F_AVAIL	  0x80u
#define F_USED	  0x8000u
#define WRAP	  0x8000u
#define RX_BATCH  16 /* receive buffers offered again at once: each time costs a cache line */
#define RING_ROOM (1u << 20)
#define HDR_LEN	  12
/* What goes with the control queue. */
#define CONTROL                                                                                    \
	(GUEST_F_CTRL_VQ | GUEST_F_CTRL_RX | GUEST_F_CTRL_VLAN | GUEST_F_CTRL_MAC | GUEST_F_MQ)

#define LOAD(p)		    __atomic_load_n((p), __ATOMIC_RELAXED)
#define LOAD_ACQUIRE(p)	    __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define STORE_RELEASE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

/* The half of a packed descriptor that says what becomes of it, as one value. */
union packed_half {
	struct {
		uint32_t len;
		uint16_t id, flags;
	} f;
	uint64_t all;
};

static uint64_t buffer(const struct light_queue *q, uint32_t i)
{
	return q->addr + (uint64_t)(i % q->buffers) * q->stride;
}

/* Addresses are written in the first round, and later where they change from round to round. */
static bool has_address(const struct light_queue *q, uint32_t i)
{
	return i >= q->q->cfg.size && q->buffers <= q->q->cfg.size;
}

/* ---- split ---- */

static void split_write(struct light_queue *q, uint32_t i)
{
	uint32_t slot = i & (q->q->cfg.size - 1u);
	struct vring_desc *d = (struct vring_desc *)q->q->desc + slot;

	d->addr = buffer(q, i);
	d->len = q->len;
	d->flags = q->write ? VRING_DESC_F_WRITE : 0;
	((struct vring_avail *)q->q->driver)->ring[slot] = (uint16_t)slot;
}

static bool split_offer(struct light_queue *q, uint32_t n)
{
	struct vring_avail *avail = (struct vring_avail *)q->q->driver;
	struct vring_used *used = (struct vring_used *)q->q->device;
	uint16_t old = (uint16_t)q->offered, new = (uint16_t)(old + n);

	for (uint32_t i = q->offered; i != q->offered + n && !has_address(q, i); i++)
		split_write(q, i);
	STORE_RELEASE(&avail->idx, new);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->q->cfg.event_idx)
		return vring_need_event(LOAD((uint16_t *)&used->ring[q->q->cfg.size]), new, old);
	return !(LOAD(&used->flags) & VRING_USED_F_NO_NOTIFY);
}

static uint32_t split_used(struct light_queue *q)
{
	struct vring_used *used = (struct vring_used *)q->q->device;

	return (uint16_t)(LOAD_ACQUIRE(&used->idx) - (uint16_t)q->used);
}

/* The used ring's entries as far as they have been written. */
static bool split_in_order(const struct light_queue *q)
{
	struct vring_used *used = (struct vring_used *)q->q->device;
	uint32_t n = q->used < q->q->cfg.size ? q->used : q->q->cfg.size;

	for (uint32_t i = 0; i < n; i++)
		if (used->ring[i].id != i)
			return false;
	return true;
}

/* ---- packed ---- */

static bool packed_wrap(const struct light_queue *q, uint32_t i)
{
	return !(i / q->q->cfg.size & 1);
}

static uint64_t *packed_state(const struct light_queue *q, uint32_t slot)
{
	return (uint64_t *)(q->q->desc + slot * sizeof(struct vring_packed_desc) + 8);
}

static void packed_write(struct light_queue *q, uint32_t i)
{
	uint32_t slot = i & (q->q->cfg.size - 1u);
	uint16_t flags = (uint16_t)((packed_wrap(q, i) ? F_AVAIL : F_USED) |
				    (q->write ? VRING_DESC_F_WRITE : 0));
	union packed_half h = {.f = {q->len, (uint16_t)slot, flags}};

	if (!has_address(q, i))
		((struct vring_packed_desc *)q->q->desc)[slot].addr = buffer(q, i);
	STORE_RELEASE(packed_state(q, slot), h.all);
}

static bool packed_offer(struct light_queue *q, uint32_t n)
{
	uint32_t end = q->offered + n, event;
	int size = q->q->cfg.size, new = (int)(end & (size - 1u)), at;

	/* what the device looks at comes last */
	for (uint32_t i = end; i != q->offered; i--)
		packed_write(q, i - 1);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	event = LOAD((uint32_t *)q->q->device);
	if (event >> 16 != 2)
		return event >> 16 != 1;
	at = (int)(event & ~WRAP & 0xffff);
	if (!!(event & WRAP) != packed_wrap(q, end))
		at -= size;
	return at >= new - (int)n &&at < new;
}

static uint32_t packed_used(struct light_queue *q)
{
	uint32_t n = 0, busy = light_busy(q), i;
	union packed_half h;

	for (; n < busy; n++) {
		i = q->used + n;
		h.all = LOAD_ACQUIRE(packed_state(q, i & (q->q->cfg.size - 1u)));
		if (!!(h.f.flags & F_AVAIL) != packed_wrap(q, i) ||
		    !!(h.f.flags & F_USED) != packed_wrap(q, i))
			break;
		q->strange |= h.f.id != (i & (q->q->cfg.size - 1u));
	}
	return n;
}

/* ---- both ---- */

uint32_t light_used(struct light_queue *q)
{
	uint32_t n = q->q->cfg.packed ? packed_used(q) : split_used(q);

	if (n > light_busy(q)) {
		q->strange = true;
		n = light_busy(q);
	}
	q->used += n;
	return n;
}

void light_offer(struct light_queue *q, uint32_t n)
{
	bool wanted;

	if (!n)
		return;
	wanted = q->q->cfg.packed ? packed_offer(q, n) : split_offer(q, n);
	q->offered += n;
	if (wanted)
		guest_kick(q->g, q->index);
}

bool light_strange(const struct light *l)
{
	return l->rx.strange || l->tx.strange ||
	       (!l->rx.q->cfg.packed && !(split_in_order(&l->rx) && split_in_order(&l->tx)));
}

static int make_queue(struct light_queue *q, struct guest *g, unsigned index, uint32_t stride,
		      uint32_t buffers)
{
	*q = (struct light_queue){.g = g,
				  .index = index,
				  .q = guest_queue(g, index),
				  .stride = stride,
				  .len = stride,
				  .buffers = buffers,
				  .write = !(index & 1)};
	q->mem = guest_alloc(g, (size_t)stride * buffers, &q->addr);
	return q->mem ? 0 : -ENOSPC;
}

int light_open(const struct light_config *cfg, struct light *l)
{
	struct guest_config c = {
		.features = (GUEST_F_DEFAULT & ~(GUEST_F_INDIRECT | (cfg->control ? 0 : CONTROL))) |
			    (cfg->packed ? GUEST_F_PACKED : 0) |
			    (cfg->gso ? GUEST_F_CSUM | GUEST_F_GUEST_CSUM | GUEST_F_GUEST_TSO |
						GUEST_F_HOST_TSO
				      : 0),
		.path = cfg->path,
		.queue_size = cfg->queue_size,
		.memory = RING_ROOM + (size_t)cfg->rx_buf * cfg->rx_buffers +
			  (size_t)cfg->tx_buf * cfg->tx_buffers,
		.rx_buf_len = 64, /* of buffers that nobody uses */
		.tx_buf_len = 64,
		.ioeventfd = !cfg->messages,
		.no_interrupts = true,
		.no_buffers = true,
	};
	int err;

	*l = (struct light){.peer = cfg->peer};
	err = cfg->peer ? vhost_user_attach(cfg->peer, &c, cfg->mac, &l->g) : guest_open(&c, &l->g);
	if (err)
		return err;
	err = make_queue(&l->rx, l->g, 0, cfg->rx_buf, cfg->rx_buffers);
	if (!err)
		err = make_queue(&l->tx, l->g, 1, cfg->tx_buf, cfg->tx_buffers);
	if (!err && l->rx.q->cfg.size != cfg->queue_size)
		err = -ENOTSUP;
	if (err) {
		light_close(l);
		return err;
	}
	/* Pages that are not there yet would be made while somebody measures. */
	memset(l->rx.mem, 0, (size_t)l->rx.stride * l->rx.buffers);
	light_offer(&l->rx, l->rx.q->cfg.size);
	return 0;
}

void light_close(struct light *l)
{
	if (l->peer)
		vhost_user_detach(l->peer, l->g);
	else
		guest_close(l->g);
	*l = (struct light){NULL};
}

void light_frame(struct light *from, const struct light *to, uint32_t len, bool gso)
{
	struct light_queue *q = &from->tx;

	for (uint32_t i = 0; i < q->buffers; i++)
		frame_make(q->mem + (size_t)i * q->stride, HDR_LEN, guest_mac(to->g),
			   guest_mac(from->g), len, gso);
	q->len = HDR_LEN + len;
	/* a split ring's descriptors that have been offered are not written again */
	for (uint32_t i = 0; i < q->q->cfg.size && !q->q->cfg.packed; i++)
		((struct vring_desc *)q->q->desc)[i].len = q->len;
}

/* ---- a stream ---- */

void flow_begin(struct flow *f, struct light *from, struct light *to, uint32_t window)
{
	uint32_t per_frame = (from->tx.len + to->rx.stride - 1) / to->rx.stride;

	*f = (struct flow){.from = from,
			   .to = to,
			   .per_frame = per_frame,
			   .window = window ? window : to->rx.q->cfg.size / per_frame};
}

static uint32_t take(struct flow *f, uint32_t batch)
{
	uint32_t n = light_used(&f->to->rx);
	uint64_t before = flow_got(f);

	f->held += n;
	f->buffers += n;
	if (f->held >= batch) {
		light_offer(&f->to->rx, f->held);
		f->held = 0;
	}
	return (uint32_t)(flow_got(f) - before);
}

uint32_t flow_turn(struct flow *f, uint32_t burst)
{
	struct light_queue *tx = &f->from->tx;
	uint32_t arrived, n, taken;

	light_used(tx);
	f->looks++;
	f->starved += !light_busy(tx);
	arrived = take(f, RX_BATCH);
	/* what is under way, and what has come but whose buffers are not offered again */
	taken = (uint32_t)(f->sent - flow_got(f)) + (f->held + f->per_frame - 1) / f->per_frame;
	n = f->window > taken ? f->window - taken : 0;
	if (n > burst)
		n = burst;
	if (n > light_room(tx))
		n = light_room(tx);
	light_offer(tx, n);
	f->sent += n;
	return arrived;
}

uint64_t flow_drain(struct flow *f)
{
	uint64_t end = clock_now_ns() + NS_PER_S;

	while (f->sent > flow_got(f) && clock_now_ns() < end)
		take(f, 1);
	light_offer(&f->to->rx, f->held);
	f->held = 0;
	return f->sent - flow_got(f);
}
