/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames out and in. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "guest_private.h"
#include "util/bytes.h"
#include "util/clock.h"

#define NUM_BUFFERS_OFF 10
#define PUBLISH_EACH	16 /* receive buffers given back between two looks at the doorbell */

static struct guest_queue *rxq(struct guest *g, unsigned pair)
{
	return &g->queues[2 * pair];
}

static struct guest_queue *txq(struct guest *g, unsigned pair)
{
	return &g->queues[2 * pair + 1];
}

void guest_kick(struct guest *g, unsigned index)
{
	struct guest_queue *q = &g->queues[index];
	uint8_t b[2];

	g->stats.kicks++;
	if (q->doorbell >= 0) {
		eventfd_write(q->doorbell, 1);
		return;
	}
	put_le16(b, (uint16_t)index);
	vfu_client_region_write(g->client, g->notify.bar,
				g->notify.off + (uint64_t)q->notify_off * g->notify_mult, b, 2,
				true);
}

/* ---- transmit ---- */

static void reap(struct guest_queue *q)
{
	uint64_t slot;
	uint32_t len;

	while (gvq_take(&q->q, &slot, &len))
		q->free[q->n_free++] = (uint16_t)slot;
}

int guest_tx_slot(struct guest *g, unsigned pair)
{
	struct guest_queue *q = txq(g, pair);

	/* chains of several pieces may use up descriptors before slots */
	if (!q->n_free || !gvq_free(&q->q))
		reap(q);
	return q->n_free && gvq_free(&q->q) ? q->free[--q->n_free] : -EAGAIN;
}

uint8_t *guest_tx_ptr(struct guest *g, unsigned pair, unsigned slot)
{
	struct guest_queue *q = txq(g, pair);

	return q->buf + (size_t)slot * q->buf_len;
}

void guest_tx_post(struct guest *g, unsigned pair, unsigned slot, uint32_t len)
{
	struct guest_queue *q = txq(g, pair);

	g->stats.tx_frames++;
	gvq_add_one(&q->q, q->buf_addr + (uint64_t)slot * q->buf_len, len, false, slot);
}

void guest_tx_flush(struct guest *g, unsigned pair)
{
	if (gvq_publish(&txq(g, pair)->q))
		guest_kick(g, 2 * pair + 1);
}

unsigned guest_tx_busy(struct guest *g, unsigned pair)
{
	struct guest_queue *q = txq(g, pair);

	reap(q);
	return q->q.cfg.size - q->n_free;
}

/* A slot with header and frame in it, or -errno. */
static int fill_slot(struct guest *g, unsigned pair, const void *hdr, const void *frame,
		     uint32_t len)
{
	uint8_t *p;
	int slot;

	if (g->hdr_len + len > txq(g, pair)->buf_len)
		return -EMSGSIZE;
	slot = guest_tx_slot(g, pair);
	if (slot < 0)
		return slot;
	p = guest_tx_ptr(g, pair, (unsigned)slot);
	if (hdr)
		memcpy(p, hdr, g->hdr_len);
	else
		memset(p, 0, g->hdr_len);
	memcpy(p + g->hdr_len, frame, len);
	return slot;
}

int guest_send(struct guest *g, unsigned pair, const void *hdr, const void *frame, uint32_t len)
{
	int slot = fill_slot(g, pair, hdr, frame, len);

	if (slot < 0)
		return slot;
	guest_tx_post(g, pair, (unsigned)slot, g->hdr_len + len);
	guest_tx_flush(g, pair);
	return 0;
}

int guest_send_pieces(struct guest *g, unsigned pair, const void *hdr, const void *frame,
		      uint32_t len, unsigned pieces)
{
	struct guest_queue *q = txq(g, pair);
	uint32_t total = g->hdr_len + len, at = 0;
	struct gvq_seg segs[GVQ_TABLE_MAX];
	unsigned i;
	int slot;

	if (pieces < 1 || pieces > GVQ_TABLE_MAX || pieces > total)
		return -EINVAL;
	slot = fill_slot(g, pair, hdr, frame, len);
	if (slot < 0)
		return slot;
	for (i = 0; i < pieces; i++) {
		uint32_t part = i + 1 == pieces ? total - at : total / pieces;

		segs[i] = (struct gvq_seg){q->buf_addr + (uint64_t)slot * q->buf_len + at, part,
					   false};
		at += part;
	}
	if (gvq_free(&q->q) < pieces)
		reap(q);
	if (gvq_add(&q->q, segs, pieces, (uint64_t)slot)) {
		q->free[q->n_free++] = (uint16_t)slot;
		return -EAGAIN;
	}
	g->stats.tx_frames++;
	guest_tx_flush(g, pair);
	return 0;
}

int guest_tx_wait(struct guest *g, unsigned pair, int timeout_ms)
{
	uint64_t until = clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;

	while (guest_tx_busy(g, pair)) {
		if (clock_now_ns() > until)
			return -ETIMEDOUT;
		guest_serve(g, 1);
	}
	return 0;
}

/* ---- receive ---- */

static void give_back(struct guest *g, unsigned pair, uint64_t slot)
{
	struct guest_queue *q = rxq(g, pair);

	gvq_add_one(&q->q, q->buf_addr + slot * q->buf_len, q->buf_len, true, slot);
	q->unflushed++;
}

static void rx_flush(struct guest *g, unsigned pair, unsigned at_least)
{
	struct guest_queue *q = rxq(g, pair);

	if (q->unflushed < at_least)
		return;
	q->unflushed = 0;
	if (gvq_publish(&q->q))
		guest_kick(g, 2 * pair);
}

/* The first buffer of the next frame. 1, 0 or -EPROTO. */
static int first_buffer(struct guest *g, struct guest_queue *q, uint64_t *slot, uint32_t *len,
			unsigned *num)
{
	if (!gvq_take(&q->q, slot, len))
		return 0;
	*num = get_le16(q->buf + *slot * q->buf_len + NUM_BUFFERS_OFF);
	if (*len < g->hdr_len || *len > q->buf_len || !*num)
		return -EPROTO;
	if (*num > 1 && !(g->features & GUEST_F_MRG_RXBUF))
		return -EPROTO;
	return 1;
}

int guest_recv(struct guest *g, unsigned pair, void *hdr, void *frame, uint32_t max)
{
	struct guest_queue *q = rxq(g, pair);
	uint32_t len, done = 0, skip;
	uint8_t *to = frame;
	bool too_long = false;
	uint64_t slot;
	unsigned num, i;
	int ret = first_buffer(g, q, &slot, &len, &num);

	if (ret <= 0)
		return ret ? ret : -EAGAIN;
	if (hdr)
		memcpy(hdr, q->buf + slot * q->buf_len, g->hdr_len);
	for (i = 0, skip = g->hdr_len; i < num; i++, skip = 0) {
		/* All buffers of a frame are made used at once. */
		if (i && (!gvq_take(&q->q, &slot, &len) || len > q->buf_len))
			return -EPROTO;
		if (len - skip > max - done)
			too_long = true;
		if (!too_long)
			memcpy(to + done, q->buf + slot * q->buf_len + skip, len - skip);
		done += too_long ? 0 : len - skip;
		give_back(g, pair, slot);
	}
	rx_flush(g, pair, 1);
	g->stats.rx_frames++;
	g->stats.rx_bytes += done;
	return too_long ? -EMSGSIZE : (int)done;
}

int guest_recv_burst(struct guest *g, unsigned pair, unsigned max, guest_see_fn *see, void *opaque)
{
	struct guest_queue *q = rxq(g, pair);
	uint64_t slot, more;
	uint32_t len, total, n;
	unsigned num, i, frames;
	int ret = 0;

	for (frames = 0; frames < max; frames++) {
		const uint8_t *p;

		ret = first_buffer(g, q, &slot, &len, &num);
		if (ret <= 0)
			break;
		total = len - g->hdr_len;
		for (i = 1; i < num; i++) {
			if (!gvq_take(&q->q, &more, &n))
				return -EPROTO;
			total += n;
			give_back(g, pair, more);
		}
		p = q->buf + slot * q->buf_len;
		if (see)
			see(opaque, p, p + g->hdr_len, len - g->hdr_len, total);
		give_back(g, pair, slot);
		g->stats.rx_bytes += total;
		rx_flush(g, pair, PUBLISH_EACH);
	}
	g->stats.rx_frames += frames;
	rx_flush(g, pair, 1);
	return ret < 0 ? ret : (int)frames;
}

static int sleep_until(struct guest *g, unsigned pair, uint64_t until)
{
	int fd = guest_irq_fd(g, 2 * (int)pair);
	struct pollfd p[2] = {{fd, POLLIN, 0}, {-1, POLLIN, 0}};
	uint64_t now = clock_now_ns(), v;
	int ms;

	if (now >= until)
		return -ETIMEDOUT;
	ms = (int)((until - now + NS_PER_MS - 1) / NS_PER_MS);
	if (g->cfg.no_fd)
		p[1].fd = vfu_client_fd(g->client);
	g->stats.waits++;
	poll(p, 2, ms);
	if (p[1].revents)
		vfu_client_serve_one(g->client, 0);
	if (p[0].revents && read(fd, &v, sizeof(v)) < 0)
		return 0;
	return 0;
}

int guest_rx_wait(struct guest *g, unsigned pair, int timeout_ms)
{
	uint64_t until = clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	struct guest_queue *q = rxq(g, pair);
	int err = 0;

	if (g->cfg.no_interrupts || guest_irq_fd(g, 2 * (int)pair) < 0) {
		while (!gvq_has_used(&q->q)) {
			if (clock_now_ns() > until)
				return -ETIMEDOUT;
			if (g->cfg.no_fd)
				guest_serve(g, 1);
			else
				cpu_relax();
		}
		return 0;
	}
	while (!err && !gvq_enable_irq(&q->q))
		err = sleep_until(g, pair, until);
	gvq_disable_irq(&q->q);
	return gvq_has_used(&q->q) ? 0 : err;
}

int guest_recv_wait(struct guest *g, unsigned pair, void *hdr, void *frame, uint32_t max,
		    int timeout_ms)
{
	int n = guest_recv(g, pair, hdr, frame, max);

	if (n != -EAGAIN)
		return n;
	n = guest_rx_wait(g, pair, timeout_ms);
	return n ? n : guest_recv(g, pair, hdr, frame, max);
}
