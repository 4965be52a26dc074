/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames from VF to VF through the real switch: sizes, buffer shapes, rings, offloads.
 */
#include <netinet/in.h>
#include <stdio.h>

#include "guest.h"

static uint8_t frame[NET_FRAME_MAX + 1];
static struct received got;

static void send_and_compare(struct guest *a, struct guest *b, uint32_t len, uint32_t piece)
{
	struct frame_spec s = {.dst = b->mac, .src = a->mac, .len = len, .sport = (uint16_t)len};
	struct virtio_net_hdr_v1 hdr;

	frame_build(&s, frame, &hdr);
	guest_send(a, 0, &hdr, frame, len, piece);
	assert_true(guest_recv(b, 0, &got, 3000));
	assert_int_equal(got.len, len);
	assert_memory_equal(got.frame, frame, len);
	assert_int_equal(got.hdr.hdr.flags, 0);
	assert_int_equal(got.hdr.hdr.gso_type, 0);
	assert_true(guest_tx_wait(a, 0));
}

static const uint32_t sizes[] = {60,   64,   116,  127,	 128,  129,  140,   512,   1514,
				 1518, 2036, 2037, 4096, 9014, 9230, 16384, 40000, 65535};

static void all_sizes(uint64_t features, uint32_t buf, unsigned nbufs, bool packed, bool remote)
{
	struct guest_opts o = {
		.features = features | (packed ? F(VIRTIO_F_RING_PACKED) : 0),
		.rx_buf_size = buf,
		.rx_nbufs = nbufs,
		.packed = packed,
		.remote = remote,
	};
	struct guest a, b;
	struct world w;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	guest_create(&w, &b, 2, &o);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (sizes[i] + a.hdr_len > buf * nbufs ||
		    (!(features & F(VIRTIO_NET_F_MRG_RXBUF)) && sizes[i] + a.hdr_len > buf))
			continue;
		send_and_compare(&a, &b, sizes[i], 0);
		send_and_compare(&b, &a, sizes[i], 1500);
		send_and_compare(&a, &b, sizes[i], sizes[i] < 2000 ? 7 : 1021);
	}
	guest_destroy(&a);
	guest_destroy(&b);
	world_destroy(&w);
}

static void test_sizes(void **state)
{
	const uint64_t plain = GUEST_FEATURES & ~F(VIRTIO_NET_F_MRG_RXBUF);
	const uint64_t no_indirect = GUEST_FEATURES & ~F(VIRTIO_RING_F_INDIRECT_DESC);

	for (int packed = 0; packed < 2; packed++) {
		all_sizes(GUEST_FEATURES, 1536, 128, packed, false);
		all_sizes(GUEST_FEATURES, 256, 256, packed, false);
		all_sizes(GUEST_FEATURES, 12, 256, packed, false); /* the header fills one */
		all_sizes(GUEST_FEATURES | F(VIRTIO_NET_F_HASH_REPORT), 2048, 128, packed, false);
		all_sizes(plain, 66 << 10, 32, packed, false);
		all_sizes(plain, 1526, 32, packed, false);
		all_sizes(no_indirect, 4096, 128, packed, false);
		all_sizes(GUEST_FEATURES & ~F(VIRTIO_RING_F_EVENT_IDX), 4096, 128, packed, false);
	}
}

static void test_remote(void **state)
{
	all_sizes(GUEST_FEATURES, 2048, 128, false, true);
	all_sizes(GUEST_FEATURES, 2048, 128, true, true);
}

static void test_too_big(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES & ~F(VIRTIO_NET_F_MRG_RXBUF),
			       .rx_buf_size = 1526};
	struct guest_opts mtu = {.features = GUEST_FEATURES | F(VIRTIO_NET_F_MTU), .mtu = 1000};
	struct virtio_net_hdr_v1 hdr;
	struct guest a, b, c;
	struct world w;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	guest_create(&w, &b, 2, &o);
	guest_create(&w, &c, 3, &mtu);
	frame_build(&(struct frame_spec){.dst = b.mac, .src = a.mac, .len = 1515}, frame, &hdr);
	guest_send(&a, 0, &hdr, frame, 1515, 0);
	assert_true(guest_tx_wait(&a, 0));
	assert_int_equal(guest_drops(&b, NET_DROP_RX_TOO_BIG), 1);
	send_and_compare(&a, &b, 1514, 0);
	/* the negotiated MTU */
	frame_build(&(struct frame_spec){.dst = c.mac, .src = a.mac, .len = 1015}, frame, &hdr);
	guest_send(&a, 0, &hdr, frame, 1015, 0);
	assert_true(guest_tx_wait(&a, 0));
	assert_int_equal(guest_drops(&c, NET_DROP_RX_TOO_BIG), 1);
	send_and_compare(&a, &c, 1014, 0);
	guest_destroy(&a);
	guest_destroy(&b);
	guest_destroy(&c);
	world_destroy(&w);
}

static void test_no_buffers(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES};
	struct guest_opts none = {.features = GUEST_FEATURES,
				  .no_rx_buffers = true,
				  .rx_nbufs = 4,
				  .rx_buf_size = 512};
	struct frame_spec s;
	struct virtio_net_hdr_v1 hdr;
	struct guest a, b, c;
	struct world w;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	guest_create(&w, &b, 2, &none);
	guest_create(&w, &c, 3, &o);
	s = (struct frame_spec){.dst = b.mac, .src = a.mac, .len = 64};
	frame_build(&s, frame, &hdr);
	for (unsigned i = 0; i < 10; i++)
		guest_send(&a, 0, &hdr, frame, 64, 0);
	assert_true(guest_tx_wait(&a, 0));
	assert_int_equal(guest_drops(&b, NET_DROP_RX_NO_BUFFER), 10);
	send_and_compare(&a, &c, 64, 0);
	/* Some buffers, too few for the frame: none of them is lost. */
	guest_fill_rx(&b, 0);
	s.len = 4000;
	frame_build(&s, frame, &hdr);
	guest_send(&a, 0, &hdr, frame, 4000, 0);
	assert_true(guest_tx_wait(&a, 0));
	assert_int_equal(guest_drops(&b, NET_DROP_RX_NO_BUFFER), 11);
	for (unsigned i = 0; i < 20; i++)
		send_and_compare(&a, &b, 1900, 0);
	guest_destroy(&a);
	guest_destroy(&b);
	guest_destroy(&c);
	world_destroy(&w);
}

/* --- offloads --- */

struct shape {
	unsigned l3;
	uint8_t proto;
	uint64_t needs; /* GUEST_ feature that takes it whole */
};

static const struct shape shapes[] = {
	{4, IPPROTO_TCP, F(VIRTIO_NET_F_GUEST_TSO4)},
	{6, IPPROTO_TCP, F(VIRTIO_NET_F_GUEST_TSO6)},
	{4, IPPROTO_UDP, F(VNET_F_GUEST_USO4)},
	{6, IPPROTO_UDP, F(VNET_F_GUEST_USO6)},
};

/* One GSO frame; collects what arrives and compares the payload. */
static void gso_once(struct guest *a, struct guest *b, const struct shape *sh, uint32_t len,
		     uint64_t offloads)
{
	bool whole = (offloads & sh->needs) && (offloads & F(VIRTIO_NET_F_GUEST_CSUM));
	struct frame_spec s = {.dst = b->mac,
			       .src = a->mac,
			       .l3 = sh->l3,
			       .proto = sh->proto,
			       .len = len,
			       .sport = 1111,
			       .dport = 2222,
			       .partial = true,
			       .gso = 1400};
	struct virtio_net_hdr_v1 hdr;
	uint32_t at, parts = 0, left;

	frame_build(&s, frame, &hdr);
	at = frame_payload(frame);
	left = len - at;
	guest_send(a, 0, &hdr, frame, len, 4096);
	while (left) {
		uint32_t off, m;

		assert_true(guest_recv(b, 0, &got, 3000));
		off = frame_payload(got.frame);
		m = got.len - off;
		assert_true(m && m <= left);
		assert_memory_equal(got.frame + off, frame + at, m);
		if (whole) {
			assert_int_equal(got.hdr.hdr.gso_type, hdr.gso_type);
			assert_int_equal(got.hdr.hdr.gso_size, 1400);
			assert_int_equal(got.hdr.hdr.hdr_len, hdr.hdr_len);
			assert_memory_equal(got.frame, frame, len);
		} else {
			assert_int_equal(got.hdr.hdr.gso_type, 0);
			assert_true(m <= 1400);
		}
		if (offloads & F(VIRTIO_NET_F_GUEST_CSUM)) {
			assert_int_equal(got.hdr.hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
			assert_int_equal(got.hdr.hdr.csum_start, hdr.csum_start);
			assert_int_equal(got.hdr.hdr.csum_offset, hdr.csum_offset);
		} else {
			assert_int_equal(got.hdr.hdr.flags, 0);
			assert_true(frame_sums_ok(got.frame, got.len));
		}
		at += m;
		left -= m;
		parts++;
	}
	assert_int_equal(parts, whole ? 1 : (len - frame_payload(frame) + 1399) / 1400);
	assert_true(guest_tx_wait(a, 0));
}

static void csum_once(struct guest *a, struct guest *b, const struct shape *sh, uint64_t offloads)
{
	struct frame_spec s = {.dst = b->mac,
			       .src = a->mac,
			       .l3 = sh->l3,
			       .proto = sh->proto,
			       .len = 1001,
			       .sport = 5,
			       .dport = 6,
			       .partial = true};
	struct virtio_net_hdr_v1 hdr;

	frame_build(&s, frame, &hdr);
	guest_send(a, 0, &hdr, frame, s.len, 100);
	assert_true(guest_recv(b, 0, &got, 3000));
	assert_int_equal(got.len, s.len);
	if (offloads & F(VIRTIO_NET_F_GUEST_CSUM)) {
		assert_int_equal(got.hdr.hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		assert_memory_equal(got.frame, frame, s.len);
	} else {
		assert_int_equal(got.hdr.hdr.flags, 0);
		assert_true(frame_sums_ok(got.frame, got.len));
	}
}

static const uint64_t receivers[] = {
	GUEST_OFFLOADS,
	F(VIRTIO_NET_F_GUEST_CSUM) | F(VIRTIO_NET_F_GUEST_TSO4),
	F(VIRTIO_NET_F_GUEST_CSUM) | F(VIRTIO_NET_F_GUEST_TSO6) | F(VNET_F_GUEST_USO4),
	F(VIRTIO_NET_F_GUEST_CSUM) | F(VNET_F_GUEST_USO6),
	F(VIRTIO_NET_F_GUEST_CSUM),
	0,
};

static void test_offloads(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES};
	struct guest a, b;
	struct world w;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	for (unsigned i = 0; i < ARRAY_SIZE(receivers); i++) {
		struct guest_opts r = {.features =
					       (GUEST_FEATURES & ~GUEST_OFFLOADS) | receivers[i]};

		guest_create(&w, &b, 2, &r);
		for (unsigned k = 0; k < ARRAY_SIZE(shapes); k++) {
			csum_once(&a, &b, &shapes[k], receivers[i]);
			gso_once(&a, &b, &shapes[k], 5000, receivers[i]);
			gso_once(&a, &b, &shapes[k], 65000, receivers[i]);
		}
		guest_destroy(&b);
	}
	guest_destroy(&a);
	world_destroy(&w);
}

/* What a receiver takes can change while frames flow (5.1.6.5.6). */
static void test_live_offloads(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES | F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)};
	struct guest a, b;
	struct world w;
	uint64_t bad = htole64(F(VIRTIO_NET_F_GUEST_ECN));

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	guest_create(&w, &b, 2, &o);
	for (unsigned i = 0; i < ARRAY_SIZE(receivers); i++) {
		uint64_t set = htole64(receivers[i]);

		assert_int_equal(guest_ctrl(&b, 5, 0, &set, 8, NULL, 0), VIRTIO_NET_OK);
		for (unsigned k = 0; k < ARRAY_SIZE(shapes); k++)
			gso_once(&a, &b, &shapes[k], 20000, receivers[i]);
	}
	/* not negotiated; and too short */
	assert_int_equal(guest_ctrl(&b, 5, 0, &bad, 8, NULL, 0), VIRTIO_NET_ERR);
	assert_int_equal(guest_ctrl(&b, 5, 0, &bad, 7, NULL, 0), VIRTIO_NET_ERR);
	guest_destroy(&a);
	guest_destroy(&b);
	world_destroy(&w);
}

static void test_malformed(void **state)
{
	static const struct virtio_net_hdr_v1 bad[] = {
		{.flags = 1, .csum_start = 900, .csum_offset = 200},
		{.flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff},
		{.flags = 1, .csum_start = 2, .csum_offset = 2},
		{.gso_type = 1, .gso_size = 1000}, /* no NEEDS_CSUM */
		{.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1}, /* size 0 */
		{.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 4, .gso_size = 9},
		{.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 3, .gso_size = 9},
		{.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 5, .gso_size = 9},
		{.flags = 1, .csum_start = 34, .csum_offset = 6, .gso_type = 1, .gso_size = 9},
		{.flags = 1, .csum_start = 38, .csum_offset = 16, .gso_type = 1, .gso_size = 9},
		{.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 0x81, .gso_size = 9},
	};
	struct guest_opts o = {.features = GUEST_FEATURES};
	struct virtio_net_hdr_v1 hdr;
	struct guest a, b;
	struct world w;
	unsigned n = 0;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	guest_create(&w, &b, 2, &o);
	frame_build(&(struct frame_spec){.dst = b.mac,
					 .src = a.mac,
					 .l3 = 4,
					 .proto = IPPROTO_TCP,
					 .len = 1000,
					 .partial = true},
		    frame, &hdr);
	for (; n < ARRAY_SIZE(bad); n++)
		guest_send(&a, 0, &bad[n], frame, 1000, 0);
	/* a fragment, and another protocol, as a whole segment to be cut */
	hdr.gso_type = NET_GSO_TCPV4;
	hdr.gso_size = htole16(500);
	frame[14 + 6] = 0x20;
	guest_send(&a, 0, &hdr, frame, 1000, 0);
	frame[14 + 6] = 0;
	frame[14 + 9] = IPPROTO_SCTP;
	guest_send(&a, 0, &hdr, frame, 1000, 0);
	frame[14 + 9] = IPPROTO_TCP;
	n += 2;
	memset(&hdr, 0, sizeof(hdr));
	guest_send(&a, 0, &hdr, frame, 13, 0); /* no Ethernet header */
	guest_send(&a, 0, &hdr, frame, 0, 0);  /* nothing */
	guest_send(&a, 0, &hdr, frame, NET_FRAME_MAX + 1, 0);
	assert_true(guest_tx_wait(&a, 0));
	assert_int_equal(guest_drops(&a, NET_DROP_TX_MALFORMED), n + 3);
	send_and_compare(&a, &b, 700, 0);
	assert_int_equal(guest_status(&a), 15);
	guest_destroy(&a);
	guest_destroy(&b);
	world_destroy(&w);
}

/* A guest breaks its own function, no other. */
static void test_broken_ring(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES};
	struct guest_opts tiny = {.features = GUEST_FEATURES, .rx_buf_size = 11};
	struct virtio_net_hdr_v1 hdr;
	struct guest a, b, c, d;
	struct world w;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	guest_create(&w, &b, 2, &o);
	guest_create(&w, &c, 3, &o);
	guest_create(&w, &d, 4, &tiny);
	/* a: a buffer outside its memory */
	gvq_add_one(&a.tx[0], GUEST_BASE + GUEST_MEM, 100, false, 0);
	gvq_publish(&a.tx[0]);
	guest_kick(&a, 1);
	for (unsigned i = 0; i < 1000 && !(guest_status(&a) & 0x40); i++)
		control_turn();
	assert_true(guest_status(&a) & 0x40);
	/* d: receive buffers too short for a header */
	frame_build(&(struct frame_spec){.dst = d.mac, .src = b.mac, .len = 100}, frame, &hdr);
	for (unsigned i = 0; i < 3; i++)
		guest_send(&b, 0, &hdr, frame, 100, 0);
	assert_true(guest_tx_wait(&b, 0));
	control_turn();
	assert_true(guest_status(&d) & 0x40);
	assert_int_equal(guest_drops(&d, NET_DROP_RX_NOT_READY), 3);
	send_and_compare(&b, &c, 1000, 0);
	/* A reset mends it. */
	guest_start(&a, &o);
	guest_start(&d, &o);
	send_and_compare(&a, &b, 1000, 0);
	send_and_compare(&b, &d, 1000, 0);
	guest_destroy(&a);
	guest_destroy(&b);
	guest_destroy(&c);
	guest_destroy(&d);
	world_destroy(&w);
}

/* Receive buffers, one of them shorter than a header, and what becomes of a burst of four frames:
 * three plain ones of 100 bytes behind the first. */
struct short_buffer {
	bool mergeable;
	uint32_t bufs[2]; /* the first ones; good ones follow */
	struct frame_spec first;
	unsigned received, not_ready; /* as counted: frames, or segments of the first */
};

static const struct short_buffer short_buffers[] = {
	{false, {8, 2048}, {.len = 100}, 0, 4},
	{false, {2048, 8}, {.len = 100}, 1, 3},
	{false, {8, 2048}, {.len = 3000, .partial = true, .gso = 1000}, 0, 3 + 3},
	{false, {2048, 8}, {.len = 3000, .partial = true, .gso = 1000}, 1, 2 + 3},
	{true, {4, 2000}, {.len = 100}, 0, 4},
	{true, {2000, 4}, {.len = 100}, 1, 3},
	{true, {2000, 4}, {.len = 3000}, 0, 4},
	{true, {2000, 4}, {.len = 3000, .partial = true, .gso = 1000}, 1, 2 + 3},
};

static void add_short_buffers(struct guest *g, const struct short_buffer *c)
{
	for (unsigned i = 0; i < 20; i++) {
		uint32_t len = i < ARRAY_SIZE(c->bufs) ? c->bufs[i] : g->rx_buf_size;
		uint64_t at = GUEST_BASE + g->rx_bufs[0] + (uint64_t)i * g->rx_buf_size;

		assert_int_equal(gvq_add_one(&g->rx[0], at, len, true, len), 0);
	}
	gvq_publish(&g->rx[0]);
}

/* The burst: published at once, so that it comes at once. */
static void send_four(struct guest *from, struct guest *to, const struct frame_spec *first)
{
	for (unsigned i = 0; i < 4; i++) {
		struct frame_spec s = i ? (struct frame_spec){.len = 100} : *first;
		uint64_t at = from->tx_area + 4096 * i;
		struct virtio_net_hdr_v1 hdr;

		s.dst = to->mac;
		s.src = from->mac;
		s.l3 = 4;
		s.proto = IPPROTO_TCP;
		frame_build(&s, from->mem + at + sizeof(hdr), &hdr);
		memcpy(from->mem + at, &hdr, sizeof(hdr));
		assert_int_equal(
			gvq_add_one(&from->tx[0], GUEST_BASE + at, sizeof(hdr) + s.len, false, i),
			0);
	}
	if (gvq_publish(&from->tx[0]))
		guest_kick(from, 1);
	assert_true(guest_tx_wait(from, 0));
}

/* The driver finds all frames that were counted and no other; the short buffer is not used. */
static void check_short_unused(struct guest *g, const struct short_buffer *c)
{
	unsigned used = 0;
	uint64_t buf_len;
	uint32_t len;

	for (; gvq_take(&g->rx[0], &buf_len, &len); used++)
		assert_true(buf_len >= g->hdr_len);
	assert_int_equal(used, c->received);
}

static void short_buffer_once(struct world *w, struct guest *from, const struct short_buffer *c,
			      bool packed)
{
	const uint64_t off = GUEST_OFFLOADS | (c->mergeable ? 0 : F(VIRTIO_NET_F_MRG_RXBUF));
	const uint64_t on = packed ? F(VIRTIO_F_RING_PACKED) : 0;
	struct guest_opts o = {
		.features = (GUEST_FEATURES & ~off) | on, .packed = packed, .no_rx_buffers = true};
	struct net_port_stats st;
	struct guest to;

	guest_create(w, &to, 9, &o);
	add_short_buffers(&to, c);
	send_four(from, &to, &c->first);
	control_turn();
	assert_true(guest_status(&to) & VIRTIO_CONFIG_S_NEEDS_RESET);
	net_port_get_stats(virtio_net_port(to.net), &st);
	assert_int_equal(st.rx_packets, c->received);
	assert_int_equal(st.drops[NET_DROP_RX_NOT_READY], c->not_ready);
	assert_int_equal(net_port_stats_rx_dropped(&st), c->not_ready);
	check_short_unused(&to, c);
	/* A reset mends it. */
	o.no_rx_buffers = false;
	guest_start(&to, &o);
	send_and_compare(from, &to, 1000, 0);
	guest_destroy(&to);
}

/* A receive buffer shorter than its header breaks the queue wherever in a burst it is met; from
 * there on nothing is received, nor counted as if it were. */
static void test_short_rx_buffer(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES};
	struct guest from;
	struct world w;

	world_create(&w, 1);
	guest_create(&w, &from, 1, &o);
	for (unsigned i = 0; i < ARRAY_SIZE(short_buffers); i++) {
		short_buffer_once(&w, &from, &short_buffers[i], false);
		short_buffer_once(&w, &from, &short_buffers[i], true);
	}
	guest_destroy(&from);
	world_destroy(&w);
}

/* A port that only counts, and how many frames it was given at once. */
static _Atomic unsigned sunk, sunk_at_once;

static unsigned sink_deliver(struct net_port *port, struct net_frame *const *frames, unsigned n)
{
	if (n > sunk_at_once)
		sunk_at_once = n;
	sunk += n;
	return n;
}

static const struct net_port_ops sink_ops = {.deliver = sink_deliver};

/* Publishes n equal frames at once; returns how many came together at most. */
static unsigned burst_of(struct guest *g, const struct frame_spec *s, unsigned n)
{
	struct virtio_net_hdr_v1 hdr;
	uint64_t at = g->tx_area;

	sunk = sunk_at_once = 0;
	frame_build(s, g->mem + at + 12, &hdr);
	memcpy(g->mem + at, &hdr, 12);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(gvq_add_one(&g->tx[0], GUEST_BASE + at, 12 + s->len, false, i), 0);
	if (gvq_publish(&g->tx[0]))
		guest_kick(g, 1);
	assert_true(guest_tx_wait(g, 0));
	assert_int_equal(sunk, n);
	return sunk_at_once;
}

/* One turn of a sender is bounded by work, not by frames alone: others wait for their turn. */
static void test_burst_size(void **state)
{
	static const uint8_t bcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct net_port_config pc = {"sink", NET_PORT_FUNCTION, &sink_ops, NULL};
	struct guest_opts o = {.features = GUEST_FEATURES};
	struct frame_spec s = {.l3 = 4, .proto = IPPROTO_TCP, .len = 64};
	struct net_policy policy;
	struct net_port *sink;
	struct guest a;
	struct world w;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	net_policy_init(&policy);
	policy.mac[0] = 2;
	policy.mac[5] = 9;
	assert_int_equal(net_port_create(w.sw, &pc, &policy, &sink), 0);
	net_port_set_active(sink, true);
	s.src = a.mac;
	s.dst = policy.mac;
	/* ordinary frames: full bursts */
	assert_int_equal(burst_of(&a, &s, 64), NET_BURST);
	s.len = 1514;
	assert_int_equal(burst_of(&a, &s, 64), NET_BURST);
	/* huge ones: some, to be worth a turn */
	s.len = 65000;
	s.partial = true;
	s.gso = 1448;
	assert_in_range(burst_of(&a, &s, 32), 2, 4);
	/* those that must be cut into very many, or are for all: one */
	s.gso = 40;
	assert_int_equal(burst_of(&a, &s, 8), 1);
	s.gso = 1448;
	s.dst = bcast;
	assert_int_equal(burst_of(&a, &s, 8), 1);
	guest_destroy(&a);
	net_port_destroy(sink);
	world_destroy(&w);
}

static void add_tx_cost(struct poller *p, void *opaque)
{
	if (p->kind && !strcmp(p->kind, "tx"))
		*(uint64_t *)opaque += p->cost;
}

/* What the transmit queue was charged for a frame in pieces of piece bytes. */
static uint64_t cost_of(struct world *w, struct guest *g, const struct frame_spec *s,
			uint32_t piece)
{
	uint64_t before = 0, after = 0;
	struct virtio_net_hdr_v1 hdr;

	worker_each_poller(worker_pool_at(w->pool, 0), add_tx_cost, &before);
	frame_build(s, frame, &hdr);
	guest_send(g, 0, &hdr, frame, s->len, piece);
	assert_true(guest_tx_wait(g, 0));
	worker_each_poller(worker_pool_at(w->pool, 0), add_tx_cost, &after);
	return after - before;
}

/* Many pieces are work, however few bytes they are. */
static void test_pieces_cost(void **state)
{
	static const uint8_t nobody[6] = {2, 0, 0, 0, 0, 99};
	struct guest_opts o = {.features = GUEST_FEATURES};
	struct frame_spec s = {.l3 = 4, .proto = IPPROTO_UDP, .len = 1514, .dst = nobody};
	struct guest a;
	struct world w;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	s.src = a.mac;
	assert_in_range(cost_of(&w, &a, &s, 0), 1514, 3000);
	assert_in_range(cost_of(&w, &a, &s, 7), 5000, 32 << 10);
	guest_destroy(&a);
	world_destroy(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),		cmocka_unit_test(test_remote),
		cmocka_unit_test(test_too_big),		cmocka_unit_test(test_no_buffers),
		cmocka_unit_test(test_offloads),	cmocka_unit_test(test_live_offloads),
		cmocka_unit_test(test_malformed),	cmocka_unit_test(test_broken_ring),
		cmocka_unit_test(test_short_rx_buffer), cmocka_unit_test(test_burst_size),
		cmocka_unit_test(test_pieces_cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
