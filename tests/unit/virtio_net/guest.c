/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <unistd.h>

#define TX_SLOT	   (68u << 10)
#define TX_SLOTS   32
#define QUEUE_AREA (512u << 10)

void control_turn(void)
{
	mailbox_run();
	usleep(20);
}

void world_create(struct world *w, unsigned workers)
{
	assert_int_equal(mailbox_init(), 0);
	assert_int_equal(worker_pool_create(workers, &w->pool), 0);
	assert_int_equal(net_switch_create("sw", &w->sw), 0);
}

void world_destroy(struct world *w)
{
	net_switch_destroy(w->sw);
	worker_pool_destroy(w->pool);
}

uint64_t reg_read(struct guest *g, unsigned off, unsigned len)
{
	uint8_t b[8] = {0};

	assert_int_equal(pci_bar_read(g->fn, VIRTIO_BAR_CONFIG, off, b, len), 0);
	return get_le64(b);
}

void reg_write(struct guest *g, unsigned off, uint64_t v, unsigned len)
{
	uint8_t b[8];

	put_le64(b, v);
	assert_int_equal(pci_bar_write(g->fn, VIRTIO_BAR_CONFIG, off, b, len), 0);
}

#define COMMON(field) offsetof(struct virtio_pci_common_cfg, field)

uint8_t guest_status(struct guest *g)
{
	return (uint8_t)reg_read(g, COMMON(device_status), 1);
}

void guest_config(struct guest *g, struct virtio_net_config_space *c)
{
	assert_int_equal(pci_bar_read(g->fn, VIRTIO_BAR_CONFIG, 0x2000, c, sizeof(*c)), 0);
}

void guest_kick(struct guest *g, unsigned index)
{
	reg_write(g, 0x3000 + 4 * index, index, 2);
}

static uint64_t guest_alloc(struct guest *g, size_t n)
{
	uint64_t at = g->brk;

	g->brk = align_up(g->brk + n, 4096);
	assert_true(g->brk <= GUEST_MEM);
	return at;
}

static void queue_up(struct guest *g, unsigned index, struct gvq *q)
{
	struct gvq_config cfg = {
		.size = GUEST_QSIZE,
		.packed = g->features & F(VIRTIO_F_RING_PACKED),
		.event_idx = g->features & F(VIRTIO_RING_F_EVENT_IDX),
		.indirect = g->features & F(VIRTIO_RING_F_INDIRECT_DESC),
	};
	uint64_t at;

	reg_write(g, COMMON(queue_select), index, 2);
	assert_int_equal(reg_read(g, COMMON(queue_size), 2), GUEST_QSIZE);
	gvq_fini(q);
	at = guest_alloc(g, gvq_bytes(&cfg));
	assert_int_equal(gvq_init(q, &cfg, g->mem + at, GUEST_BASE + at), 0);
	reg_write(g, COMMON(queue_desc_lo), q->desc_addr, 8);
	reg_write(g, COMMON(queue_avail_lo), q->driver_addr, 8);
	reg_write(g, COMMON(queue_used_lo), q->device_addr, 8);
	reg_write(g, COMMON(queue_msix_vector), index, 2);
	reg_write(g, COMMON(queue_enable), 1, 2);
}

void guest_fill_rx(struct guest *g, unsigned queue)
{
	for (unsigned i = 0; i < g->rx_nbufs; i++) {
		uint64_t at = g->rx_bufs[queue] + (uint64_t)i * g->rx_buf_size;

		assert_int_equal(
			gvq_add_one(&g->rx[queue], GUEST_BASE + at, g->rx_buf_size, true, at), 0);
	}
	gvq_publish(&g->rx[queue]);
}

void guest_start(struct guest *g, const struct guest_opts *o)
{
	uint64_t f = o->features, offered;

	g->brk = 0;
	reg_write(g, COMMON(device_status), 0, 1);
	assert_int_equal(guest_status(g), 0);
	reg_write(g, COMMON(device_status), 1, 1);
	reg_write(g, COMMON(device_status), 3, 1);
	reg_write(g, COMMON(device_feature_select), 0, 4);
	offered = reg_read(g, COMMON(device_feature), 4);
	reg_write(g, COMMON(device_feature_select), 1, 4);
	offered |= reg_read(g, COMMON(device_feature), 4) << 32;
	assert_int_equal(f & ~offered, 0);
	reg_write(g, COMMON(guest_feature_select), 0, 4);
	reg_write(g, COMMON(guest_feature), (uint32_t)f, 4);
	reg_write(g, COMMON(guest_feature_select), 1, 4);
	reg_write(g, COMMON(guest_feature), f >> 32, 4);
	reg_write(g, COMMON(device_status), 11, 1);
	assert_int_equal(guest_status(g), 11);
	g->features = f;
	g->hdr_len = f & F(VIRTIO_NET_F_HASH_REPORT) ? 20 : 12;
	g->pairs = f & (F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_RSS)) ? o->pairs : 1;
	g->ctrl_index = 2 * g->pairs;
	g->rx_buf_size = o->rx_buf_size ? o->rx_buf_size : 2048;
	g->rx_nbufs = o->rx_nbufs ? o->rx_nbufs : 128;
	for (unsigned i = 0; i < g->pairs; i++) {
		queue_up(g, 2 * i, &g->rx[i]);
		queue_up(g, 2 * i + 1, &g->tx[i]);
		g->rx_bufs[i] = guest_alloc(g, (size_t)g->rx_nbufs * g->rx_buf_size);
	}
	queue_up(g, g->ctrl_index, &g->ctrl);
	g->tx_area = guest_alloc(g, TX_SLOT * TX_SLOTS);
	g->ctrl_area = guest_alloc(g, 64 << 10);
	for (unsigned i = 0; i < g->pairs && !o->no_rx_buffers; i++)
		guest_fill_rx(g, i);
	reg_write(g, COMMON(device_status), 15, 1);
	assert_int_equal(guest_status(g), 15);
}

void guest_reset(struct guest *g)
{
	reg_write(g, COMMON(device_status), 0, 1);
	assert_int_equal(guest_status(g), 0);
}

/*
 * The client's side of a message. That is another process, which looks at rings that the driver
 * is changing: none of the thread sanitizer's business.
 */
__attribute__((no_sanitize("thread"))) static int remote_read(void *opaque, uint64_t iova,
							      void *buf, size_t len)
{
	struct guest *g = opaque;
	const volatile uint8_t *src = g->mem + (iova - GUEST_BASE);

	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = src[i];
	return 0;
}

__attribute__((no_sanitize("thread"))) static int remote_write(void *opaque, uint64_t iova,
							       const void *buf, size_t len)
{
	struct guest *g = opaque;
	volatile uint8_t *dst = g->mem + (iova - GUEST_BASE);

	for (size_t i = 0; i < len; i++)
		dst[i] = ((const uint8_t *)buf)[i];
	return 0;
}

void guest_create(struct world *w, struct guest *g, uint8_t id, const struct guest_opts *o)
{
	static const struct dma_remote_ops remote = {.read = remote_read, .write = remote_write};
	struct virtio_net_config cfg = {
		.name = "test/vf",
		.queue_pairs = o->pairs ? o->pairs : 1,
		.queue_size = GUEST_QSIZE,
		.mtu = o->mtu ? o->mtu : 1500,
		.speed_mbps = 10000,
		.packed = o->packed,
		.features_off = o->features_off,
		.shaper = o->shaper,
	};
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT};
	uint16_t command = PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY;

	memset(g, 0, sizeof(*g));
	g->w = w;
	net_policy_init(&cfg.policy);
	cfg.policy.mac[0] = 2;
	cfg.policy.mac[5] = id;
	memcpy(g->mac, cfg.policy.mac, 6);
	assert_int_equal(virtio_net_create(w->sw, w->pool, &cfg, &g->net), 0);
	g->fn = virtio_net_function(g->net);
	g->memfd = memfd_create("guest", MFD_CLOEXEC);
	assert_true(g->memfd >= 0 && ftruncate(g->memfd, GUEST_MEM) == 0);
	g->mem = mmap(NULL, GUEST_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, g->memfd, 0);
	assert_true(g->mem != MAP_FAILED);
	g->remote = o->remote;
	assert_int_equal(dma_space_create("guest", o->remote ? &remote : NULL, g, &g->dma), 0);
	assert_int_equal(dma_space_map(g->dma, GUEST_BASE, GUEST_MEM,
				       DMA_PROT_READ | DMA_PROT_WRITE, o->remote ? -1 : g->memfd,
				       0),
			 0);
	att.dma = g->dma;
	assert_int_equal(pci_function_attach(g->fn, &att), 0);
	assert_int_equal(pci_config_write(g->fn, PCI_VIEW_VMM, PCI_COMMAND, &command, 2), 0);
	guest_start(g, o);
}

void guest_destroy(struct guest *g)
{
	pci_function_detach(g->fn);
	virtio_net_destroy(g->net);
	dma_space_destroy(g->dma);
	munmap(g->mem, GUEST_MEM);
	close(g->memfd);
	for (unsigned i = 0; i < GUEST_PAIRS; i++) {
		gvq_fini(&g->rx[i]);
		gvq_fini(&g->tx[i]);
	}
	gvq_fini(&g->ctrl);
}

/* --- frames --- */

static uint32_t sum16(const uint8_t *p, uint32_t len, uint32_t sum)
{
	for (uint32_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	if (len % 2)
		sum += (uint32_t)p[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Of the pseudo header, not inverted. */
static uint32_t pseudo(const uint8_t *ip, uint8_t proto, uint32_t len)
{
	uint32_t sum = (ip[0] >> 4) == 4 ? sum16(ip + 12, 8, 0) : sum16(ip + 8, 32, 0);
	uint8_t tail[8];

	put_be32(tail, len);
	put_be32(tail + 4, proto);
	return sum16(tail, 8, sum);
}

static uint32_t ip_len(const uint8_t *ip)
{
	return (ip[0] >> 4) == 4 ? (ip[0] & 15) * 4u : 40;
}

static uint8_t ip_proto(const uint8_t *ip)
{
	return (ip[0] >> 4) == 4 ? ip[9] : ip[6];
}

uint32_t frame_payload(const uint8_t *frame)
{
	uint32_t l4 = 14 + ip_len(frame + 14);

	return ip_proto(frame + 14) == IPPROTO_TCP ? l4 + (frame[l4 + 12] >> 4) * 4u : l4 + 8;
}

bool frame_sums_ok(const uint8_t *frame, uint32_t len)
{
	const uint8_t *ip = frame + 14, *l4 = ip + ip_len(ip);
	uint32_t l4_len = len - (uint32_t)(l4 - frame);

	if ((ip[0] >> 4) == 4) {
		if (sum16(ip, ip_len(ip), 0) != 0xffff || get_be16(ip + 2) != len - 14)
			return false;
	} else if (get_be16(ip + 4) != len - 54) {
		return false;
	}
	if (ip_proto(ip) == IPPROTO_UDP && get_be16(l4 + 4) != l4_len)
		return false;
	return sum16(l4, l4_len, pseudo(ip, ip_proto(ip), l4_len)) == 0xffff;
}

void frame_build(const struct frame_spec *s, uint8_t *f, struct virtio_net_hdr_v1 *hdr)
{
	uint8_t *ip = f + 14, *l4;
	uint32_t l4_len, csum_off, sum;

	memset(hdr, 0, sizeof(*hdr));
	memcpy(f, s->dst, 6);
	memcpy(f + 6, s->src, 6);
	for (uint32_t i = 14; i < s->len; i++)
		f[i] = (uint8_t)(i * 31 + (i >> 8) + s->sport);
	if (!s->l3) {
		put_be16(f + 12, 0x88b5);
		return;
	}
	put_be16(f + 12, s->l3 == 4 ? 0x0800 : 0x86dd);
	memset(ip, 0, 40);
	if (s->l3 == 4) {
		ip[0] = 0x45;
		put_be16(ip + 2, (uint16_t)(s->len - 14));
		put_be16(ip + 4, 77);
		ip[8] = 64;
		ip[9] = s->proto;
		put_be32(ip + 12, 0x0a000001);
		put_be32(ip + 16, 0x0a000002);
		put_be16(ip + 10, (uint16_t)~sum16(ip, 20, 0));
	} else {
		ip[0] = 0x60;
		put_be16(ip + 4, (uint16_t)(s->len - 54));
		ip[6] = s->proto;
		ip[7] = 64;
		ip[8] = ip[24] = 0xfd;
		ip[23] = 1;
		ip[39] = 2;
	}
	l4 = ip + ip_len(ip);
	l4_len = s->len - (uint32_t)(l4 - f);
	put_be16(l4, s->sport);
	put_be16(l4 + 2, s->dport);
	if (s->proto == IPPROTO_TCP) {
		put_be32(l4 + 4, 1000);
		put_be32(l4 + 8, 2000);
		l4[12] = 5 << 4;
		l4[13] = 0x18; /* PSH, ACK */
		put_be16(l4 + 18, 0);
	} else {
		put_be16(l4 + 4, (uint16_t)l4_len);
	}
	csum_off = s->proto == IPPROTO_TCP ? 16 : 6;
	put_be16(l4 + csum_off, 0);
	sum = pseudo(ip, s->proto, l4_len);
	if (s->partial) {
		put_be16(l4 + csum_off, (uint16_t)sum);
		hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		hdr->csum_start = (uint16_t)(l4 - f);
		hdr->csum_offset = (uint16_t)csum_off;
	} else {
		put_be16(l4 + csum_off, (uint16_t)~sum16(l4, l4_len, sum));
	}
	if (s->gso) {
		hdr->gso_type = s->proto == IPPROTO_UDP ? VNET_HDR_GSO_UDP_L4
				: s->l3 == 4		? VIRTIO_NET_HDR_GSO_TCPV4
							: VIRTIO_NET_HDR_GSO_TCPV6;
		hdr->gso_size = s->gso;
		hdr->hdr_len = (uint16_t)frame_payload(f);
	}
}

/* --- traffic --- */

void guest_send(struct guest *g, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
		const uint8_t *frame, uint32_t len, uint32_t piece)
{
	static unsigned slot;
	uint64_t at = g->tx_area + (uint64_t)(slot++ % TX_SLOTS) * TX_SLOT;
	struct gvq_seg segs[256];
	uint32_t total = g->hdr_len + len, done = 0;
	bool table = g->features & F(VIRTIO_RING_F_INDIRECT_DESC);
	unsigned n = 0, max = table ? GVQ_TABLE_MAX : ARRAY_SIZE(segs) - 1;

	memset(g->mem + at, 0, g->hdr_len);
	memcpy(g->mem + at, hdr, sizeof(*hdr));
	memcpy(g->mem + at + g->hdr_len, frame, len);
	while (done < total) {
		uint32_t m = piece ? MIN(piece, total - done) : total;

		if (n == max - 1)
			m = total - done;
		segs[n++] = (struct gvq_seg){GUEST_BASE + at + done, m, false};
		done += m;
	}
	while (gvq_free(&g->tx[queue]) < (table ? 1 : n))
		assert_true(guest_tx_wait(g, queue));
	if (n == 1)
		assert_int_equal(gvq_add_one(&g->tx[queue], segs[0].addr, segs[0].len, false, at),
				 0);
	else
		assert_int_equal(gvq_add(&g->tx[queue], segs, n, at), 0);
	if (gvq_publish(&g->tx[queue]))
		guest_kick(g, 2 * queue + 1);
}

bool guest_tx_wait(struct guest *g, unsigned queue)
{
	uint64_t end = clock_now_ns() + 5 * NS_PER_S, cookie;
	uint32_t len;

	while (gvq_free(&g->tx[queue]) < GUEST_QSIZE) {
		if (!gvq_take(&g->tx[queue], &cookie, &len)) {
			if (clock_now_ns() > end)
				return false;
			control_turn();
		}
	}
	return true;
}

bool guest_recv(struct guest *g, unsigned queue, struct received *r, unsigned ms)
{
	uint64_t end = clock_now_ns() + ms * NS_PER_MS, cookie;
	struct gvq *q = &g->rx[queue];
	unsigned left = 1;
	uint32_t len, skip = g->hdr_len;

	r->len = 0;
	for (bool first = true; left; left--, first = false) {
		while (!gvq_take(q, &cookie, &len)) {
			if (clock_now_ns() > end)
				return false;
			control_turn();
		}
		if (first) {
			assert_true(len >= g->hdr_len);
			memcpy(&r->hdr, g->mem + cookie, g->hdr_len);
			left = r->hdr.hdr.num_buffers;
			assert_true(left >= 1);
		} else {
			skip = 0;
		}
		/* All but the last buffer are filled (5.1.6.4). */
		assert_true(left == 1 || len == g->rx_buf_size);
		assert_true(r->len + len - skip <= sizeof(r->frame));
		memcpy(r->frame + r->len, g->mem + cookie + skip, len - skip);
		r->len += len - skip;
		memset(g->mem + cookie, 0xee, g->rx_buf_size);
		assert_int_equal(gvq_add_one(q, GUEST_BASE + cookie, g->rx_buf_size, true, cookie),
				 0);
	}
	gvq_publish(q);
	return true;
}

uint8_t guest_ctrl(struct guest *g, uint8_t class, uint8_t cmd, const void *data, uint32_t len,
		   void *reply, uint32_t reply_len)
{
	uint8_t *p = g->mem + g->ctrl_area;
	uint64_t at = GUEST_BASE + g->ctrl_area, end = clock_now_ns() + 5 * NS_PER_S, cookie;
	uint32_t in = align_up(2 + len, 64), used;
	struct gvq_seg segs[4] = {
		{at, 2, false},
		{at + 2, len, false},
		{at + in, 1, true},
		{at + in + 1, reply_len, true},
	};
	unsigned n = 0;

	p[0] = class;
	p[1] = cmd;
	if (len)
		memcpy(p + 2, data, len);
	p[in] = 0xff;
	for (unsigned i = 0; i < 4; i++) {
		if (segs[i].len)
			segs[n++] = segs[i];
	}
	assert_int_equal(gvq_add(&g->ctrl, segs, n, 1), 0);
	gvq_publish(&g->ctrl);
	guest_kick(g, g->ctrl_index);
	while (!gvq_take(&g->ctrl, &cookie, &used)) {
		assert_true(clock_now_ns() < end);
		control_turn();
	}
	assert_true(used >= 1);
	if (reply)
		memcpy(reply, p + in + 1, reply_len);
	return p[in];
}

uint64_t guest_drops(struct guest *g, enum net_drop reason)
{
	struct net_port_stats st;

	net_port_get_stats(virtio_net_port(g->net), &st);
	return st.drops[reason];
}
