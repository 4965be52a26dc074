/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver's initialization (virtio 1.3, 3.1 and 4.1) and the control queue. */
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest_private.h"
#include "util/bytes.h"
#include "util/clock.h"

enum {
	DEVICE_FEATURE_SELECT = 0x00,
	DEVICE_FEATURE = 0x04,
	DRIVER_FEATURE_SELECT = 0x08,
	DRIVER_FEATURE = 0x0c,
	CONFIG_VECTOR = 0x10,
	NUM_QUEUES = 0x12,
	DEVICE_STATUS = 0x14,
	QUEUE_SELECT = 0x16,
	QUEUE_SIZE = 0x18,
	QUEUE_VECTOR = 0x1a,
	QUEUE_ENABLE = 0x1c,
	QUEUE_NOTIFY_OFF = 0x1e,
	QUEUE_DESC = 0x20,
	QUEUE_DRIVER = 0x28,
	QUEUE_DEVICE = 0x30,
};

#define NO_VECTOR 0xffff

int guest_common_read(struct guest *g, unsigned off, void *buf, unsigned len)
{
	return vfu_client_region_read(g->client, g->common.bar, g->common.off + off, buf, len);
}

int guest_common_write(struct guest *g, unsigned off, uint64_t v, unsigned len)
{
	uint8_t buf[8];

	put_le64(buf, v);
	return vfu_client_region_write(g->client, g->common.bar, g->common.off + off, buf, len,
				       false);
}

int guest_config_read(struct guest *g, unsigned off, void *buf, unsigned len)
{
	return vfu_client_region_read(g->client, g->device.bar, g->device.off + off, buf, len);
}

static int read16(struct guest *g, unsigned off, uint16_t *v)
{
	uint8_t b[2];
	int err = guest_common_read(g, off, b, 2);

	*v = get_le16(b);
	return err;
}

/* Writes a register and checks that it kept the value. */
static int write16_checked(struct guest *g, unsigned off, uint16_t v)
{
	uint16_t got;
	int err = guest_common_write(g, off, v, 2);

	if (!err)
		err = read16(g, off, &got);
	if (!err && got != v)
		err = -EPROTO;
	return err;
}

int guest_status(struct guest *g, uint8_t *status)
{
	return guest_common_read(g, DEVICE_STATUS, status, 1);
}

static int reset(struct guest *g)
{
	uint64_t until = clock_now_ns() + g->cfg.timeout_ms * NS_PER_MS;
	uint8_t status;
	int err = guest_common_write(g, DEVICE_STATUS, 0, 1);

	while (!err) {
		err = guest_status(g, &status);
		if (!err && !status)
			return 0;
		if (clock_now_ns() > until)
			return -ETIMEDOUT;
	}
	return err;
}

static int negotiate(struct guest *g)
{
	uint8_t b[4], status;
	uint64_t f = 0;
	unsigned i;
	int err = 0;

	for (i = 0; i < 2 && !err; i++) {
		err = guest_common_write(g, DEVICE_FEATURE_SELECT, i, 4);
		if (!err)
			err = guest_common_read(g, DEVICE_FEATURE, b, 4);
		f |= (uint64_t)get_le32(b) << (32 * i);
	}
	if (err)
		return err;
	g->offered = f;
	g->features = f & g->cfg.features;
	if (!(g->features & GUEST_F_VERSION_1) ||
	    (g->cfg.features & ~f & (GUEST_F_PACKED | GUEST_F_HASH)))
		return -ENOTSUP;
	if (g->cfg.pairs > 1 && !(g->features & GUEST_F_MQ))
		return -ENOTSUP;
	for (i = 0; i < 2 && !err; i++) {
		err = guest_common_write(g, DRIVER_FEATURE_SELECT, i, 4);
		if (!err)
			err = guest_common_write(g, DRIVER_FEATURE,
						 (uint32_t)(g->features >> (32 * i)), 4);
	}
	if (!err)
		err = guest_common_write(g, DEVICE_STATUS, 11, 1);
	if (!err)
		err = guest_status(g, &status);
	if (!err && !(status & VIRTIO_CONFIG_S_FEATURES_OK))
		err = -ENOTSUP;
	return err;
}

static int read_config(struct guest *g)
{
	uint8_t c[10];
	int err = guest_config_read(g, 0, c, sizeof(c));
	uint16_t max_pairs = 1;

	if (err)
		return err;
	memcpy(g->mac, c, 6);
	if (g->features & (GUEST_F_MQ | GUEST_F_RSS))
		max_pairs = get_le16(c + 8);
	g->ctrl_index = 2u * max_pairs;
	g->hdr_len = g->features & GUEST_F_HASH ? 20 : 12;
	return g->cfg.pairs <= max_pairs ? 0 : -ENOTSUP;
}

int guest_make_ring(struct guest *g, struct guest_queue *q, uint16_t size)
{
	struct gvq_config cfg = {size, g->features & GUEST_F_PACKED,
				 g->features & GUEST_F_EVENT_IDX, g->features & GUEST_F_INDIRECT};
	size_t skip = (4096 - g->mem_used % 4096) % 4096;
	uint64_t addr;
	void *mem;

	if (!guest_alloc(g, skip, &addr))
		return -ENOSPC;
	mem = guest_alloc(g, gvq_bytes(&cfg), &addr);
	if (!mem)
		return -ENOSPC;
	return gvq_init(&q->q, &cfg, mem, addr);
}

/* Buffers of a queue: slot i for descriptor i. */
int guest_make_buffers(struct guest *g, struct guest_queue *q, uint32_t len, bool tx)
{
	unsigned i, n = q->q.cfg.size;

	q->buf_len = (len + 63) & ~63u;
	q->buf = guest_alloc(g, (size_t)n * q->buf_len, &q->buf_addr);
	if (!q->buf)
		return -ENOSPC;
	q->buf_len = (len + 63) & ~63u;
	if (!tx)
		return 0;
	q->free = calloc(n, sizeof(*q->free));
	if (!q->free)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		q->free[i] = (uint16_t)(n - 1 - i);
	q->n_free = n;
	return 0;
}

static uint16_t vector_of(const struct guest *g, unsigned index)
{
	return index + 1 < g->num_vectors ? (uint16_t)(index + 1) : NO_VECTOR;
}

static int set_up_ring(struct guest *g, unsigned index, uint16_t max_size)
{
	struct guest_queue *q = &g->queues[index];
	uint16_t size;
	int err;

	err = guest_common_write(g, QUEUE_SELECT, index, 2);
	if (!err)
		err = read16(g, QUEUE_SIZE, &size);
	if (err)
		return err;
	if (!size)
		return -EPROTO;
	size = size < max_size ? size : max_size;
	err = guest_make_ring(g, q, size);
	if (!err)
		err = write16_checked(g, QUEUE_SIZE, size);
	if (!err)
		err = guest_common_write(g, QUEUE_DESC, q->q.desc_addr, 8);
	if (!err)
		err = guest_common_write(g, QUEUE_DRIVER, q->q.driver_addr, 8);
	if (!err)
		err = guest_common_write(g, QUEUE_DEVICE, q->q.device_addr, 8);
	if (!err)
		err = write16_checked(g, QUEUE_VECTOR, vector_of(g, index));
	if (!err)
		err = read16(g, QUEUE_NOTIFY_OFF, &q->notify_off);
	if (!err)
		err = write16_checked(g, QUEUE_ENABLE, 1);
	q->up = !err;
	return err;
}

static int set_up_queues(struct guest *g)
{
	unsigned i;
	int err;

	for (i = 0; i < 2 * g->cfg.pairs; i++) {
		err = set_up_ring(g, i, g->cfg.queue_size);
		if (!err && !g->cfg.no_buffers)
			err = guest_make_buffers(g, &g->queues[i],
						 i & 1 ? g->cfg.tx_buf_len : g->cfg.rx_buf_len,
						 i & 1);
		if (err)
			return err;
	}
	if (!(g->features & GUEST_F_CTRL_VQ))
		return 0;
	if (g->ctrl_index >= GUEST_QUEUES_MAX)
		return -ENOTSUP;
	g->ctrl_buf = guest_alloc(g, GUEST_CTRL_BUF, &g->ctrl_addr);
	return g->ctrl_buf ? set_up_ring(g, g->ctrl_index, 16) : -ENOSPC;
}

static void find_doorbells(struct guest *g)
{
	struct vfu_region_io_fd e[GUEST_QUEUES_MAX + 1];
	int fds[GUEST_QUEUES_MAX + 1], n, i;
	unsigned k;
	bool used;

	for (i = 0; i <= GUEST_QUEUES_MAX; i++)
		fds[i] = -1;
	n = vfu_client_region_io_fds(g->client, g->notify.bar, e, fds, GUEST_QUEUES_MAX + 1);
	for (i = 0; i < n && i <= GUEST_QUEUES_MAX; i++) {
		used = false;
		for (k = 0; k < GUEST_QUEUES_MAX && !used; k++) {
			struct guest_queue *q = &g->queues[k];

			used = q->up && e[i].type == VFU_IO_FD_IOEVENTFD &&
			       e[i].offset ==
				       g->notify.off + (uint64_t)q->notify_off * g->notify_mult &&
			       e[i].fd_index <= GUEST_QUEUES_MAX && fds[e[i].fd_index] >= 0;
			if (used && q->doorbell < 0)
				q->doorbell = dup(fds[e[i].fd_index]);
		}
	}
	for (i = 0; i <= GUEST_QUEUES_MAX; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

void guest_fill_receive_queues(struct guest *g)
{
	unsigned i, k;

	for (i = 0; i < 2 * g->cfg.pairs; i++) {
		struct guest_queue *q = &g->queues[i];

		if (g->cfg.no_interrupts || i & 1)
			gvq_disable_irq(&q->q);
		if (i & 1 || g->cfg.no_buffers)
			continue;
		for (k = 0; k < q->q.cfg.size; k++)
			gvq_add_one(&q->q, q->buf_addr + (uint64_t)k * q->buf_len, q->buf_len, true,
				    k);
	}
}

static void forget(struct guest *g)
{
	unsigned i;

	for (i = 0; i < GUEST_QUEUES_MAX; i++) {
		struct guest_queue *q = &g->queues[i];

		gvq_fini(&q->q);
		free(q->free);
		if (q->doorbell >= 0)
			close(q->doorbell);
		memset(q, 0, sizeof(*q));
		q->doorbell = -1;
	}
	g->mem_used = 0;
}

int guest_start(struct guest *g)
{
	unsigned i;
	int err;

	err = guest_stop(g);
	if (!err)
		err = guest_common_write(g, DEVICE_STATUS, 1, 1);
	if (!err)
		err = guest_common_write(g, DEVICE_STATUS, 3, 1);
	if (!err)
		err = negotiate(g);
	if (!err)
		err = read_config(g);
	if (!err)
		err = write16_checked(g, CONFIG_VECTOR, g->num_vectors ? 0 : NO_VECTOR);
	if (!err)
		err = set_up_queues(g);
	if (err)
		return err;
	if (g->cfg.ioeventfd)
		find_doorbells(g);
	guest_fill_receive_queues(g);
	err = guest_common_write(g, DEVICE_STATUS, 15, 1);
	for (i = 0; i < 2 * g->cfg.pairs && !err; i += 2)
		if (gvq_publish(&g->queues[i].q))
			guest_kick(g, i);
	if (!err && g->cfg.pairs > 1)
		err = guest_set_pairs(g, (uint16_t)g->cfg.pairs) ? -EPROTO : 0;
	return err;
}

int guest_stop(struct guest *g)
{
	int err = reset(g);

	if (!err)
		forget(g);
	return err;
}

uint64_t guest_offered(const struct guest *g)
{
	return g->offered;
}

uint64_t guest_features(const struct guest *g)
{
	return g->features;
}

const struct guest_stats *guest_stats(const struct guest *g)
{
	return &g->stats;
}

const uint8_t *guest_mac(const struct guest *g)
{
	return g->mac;
}

unsigned guest_hdr_len(const struct guest *g)
{
	return g->hdr_len;
}

unsigned guest_ctrl_index(const struct guest *g)
{
	return g->ctrl_index;
}

struct gvq *guest_queue(struct guest *g, unsigned index)
{
	return &g->queues[index].q;
}

int guest_irq_fd(const struct guest *g, int index)
{
	return index + 1 < (int)g->num_vectors ? g->irq[index + 1] : -1;
}

/* ---- control queue ---- */

int guest_ctrl(struct guest *g, uint8_t class, uint8_t cmd, const void *data, uint32_t len,
	       void *reply, uint32_t reply_len)
{
	uint64_t until = clock_now_ns() + g->cfg.timeout_ms * NS_PER_MS, cookie;
	struct guest_queue *q = &g->queues[g->ctrl_index];
	uint32_t half = GUEST_CTRL_BUF / 2, got;
	struct gvq_seg segs[3] = {{g->ctrl_addr, 2, false},
				  {g->ctrl_addr + 2, len, false},
				  {g->ctrl_addr + half, 1 + reply_len, true}};

	if (!q->up)
		return -ENOTSUP;
	if (len > half - 2 || reply_len >= half)
		return -EMSGSIZE;
	g->ctrl_buf[0] = class;
	g->ctrl_buf[1] = cmd;
	memcpy(g->ctrl_buf + 2, data, len);
	memset(g->ctrl_buf + half, 0xff, half);
	if (!len)
		segs[1] = segs[2];
	if (gvq_add(&q->q, segs, len ? 3 : 2, 0))
		return -ENOSPC;
	if (gvq_publish(&q->q))
		guest_kick(g, g->ctrl_index);
	while (!gvq_take(&q->q, &cookie, &got)) {
		if (clock_now_ns() > until)
			return -ETIMEDOUT;
		guest_serve(g, 1);
	}
	if (!got)
		return -EPROTO;
	if (reply)
		memcpy(reply, g->ctrl_buf + half + 1, reply_len);
	return g->ctrl_buf[half];
}

int guest_set_pairs(struct guest *g, uint16_t pairs)
{
	uint8_t b[2];

	put_le16(b, pairs);
	return guest_ctrl(g, 4, 0, b, 2, NULL, 0);
}
