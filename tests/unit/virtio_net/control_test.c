/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control queue, steering and configuration space.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "guest.h"
#include "virtio_net/vnet.h"

static uint8_t frame[NET_FRAME_MAX];
static struct received got;

/* The key and results that Microsoft publishes to verify implementations of RSS. */
static const uint8_t ms_key[40] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
	0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

#define IP(a, b, c, d)                                                                             \
	{                                                                                          \
		a, b, c, d                                                                         \
	}

static const struct {
	uint8_t src[4], dst[4];
	uint16_t sport, dport;
	uint32_t ip, tcp;
} v4[] = {
	{IP(66, 9, 149, 187), IP(161, 142, 100, 80), 2794, 1766, 0x323e8fc2, 0x51ccc178},
	{IP(199, 92, 111, 2), IP(65, 69, 140, 83), 14230, 4739, 0xd718262a, 0xc626b0ea},
	{IP(24, 19, 198, 95), IP(12, 22, 207, 184), 12898, 38024, 0xd2d0a5de, 0x5c2b394a},
	{IP(38, 27, 205, 30), IP(209, 142, 163, 6), 48228, 2217, 0x82989176, 0xafc7327f},
	{IP(153, 39, 163, 191), IP(202, 188, 127, 2), 44251, 1303, 0x5d1809c5, 0x10e828a2},
};

static const struct {
	uint8_t src[16], dst[16];
	uint16_t sport, dport;
	uint32_t ip, tcp;
} v6[] = {
	{{0x3f, 0xfe, 0x25, 0x01, 0x02, 0x00, 0x1f, 0xff, 0, 0, 0, 0, 0, 0, 0, 7},
	 {0x3f, 0xfe, 0x25, 0x01, 0x02, 0x00, 0x00, 0x03, 0, 0, 0, 0, 0, 0, 0, 1},
	 2794,
	 1766,
	 0x2cc18cd5,
	 0x40207d3d},
	{{0x3f, 0xfe, 0x05, 0x01, 0x00, 0x08, 0, 0, 0x02, 0x60, 0x97, 0xff, 0xfe, 0x40, 0xef, 0xab},
	 {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
	 14230,
	 4739,
	 0x0f0c461c,
	 0xdde51bbf},
	{{0x3f, 0xfe, 0x19, 0x00, 0x45, 0x45, 0x00, 0x03, 0x02, 0x00, 0xf8, 0xff, 0xfe, 0x21, 0x67,
	  0xcf},
	 {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x02, 0x00, 0xf8, 0xff, 0xfe, 0x21, 0x67, 0xcf},
	 44251,
	 38024,
	 0x4b61e985,
	 0x02d1feef},
};

static uint32_t hash_of(const struct vnet_toeplitz *t, const uint8_t *src, const uint8_t *dst,
			unsigned alen, const uint16_t *ports)
{
	uint8_t in[36];

	memcpy(in, src, alen);
	memcpy(in + alen, dst, alen);
	if (ports) {
		put_be16(in + 2 * alen, ports[0]);
		put_be16(in + 2 * alen + 2, ports[1]);
	}
	return vnet_toeplitz_hash(t, in, 2 * alen + (ports ? 4 : 0));
}

static void test_toeplitz(void **state)
{
	struct vnet_toeplitz t;

	vnet_toeplitz_init(&t, ms_key, sizeof(ms_key));
	for (unsigned i = 0; i < ARRAY_SIZE(v4); i++) {
		uint16_t ports[2] = {v4[i].sport, v4[i].dport};

		assert_int_equal(hash_of(&t, v4[i].src, v4[i].dst, 4, NULL), v4[i].ip);
		assert_int_equal(hash_of(&t, v4[i].src, v4[i].dst, 4, ports), v4[i].tcp);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(v6); i++) {
		uint16_t ports[2] = {v6[i].sport, v6[i].dport};

		assert_int_equal(hash_of(&t, v6[i].src, v6[i].dst, 16, NULL), v6[i].ip);
		assert_int_equal(hash_of(&t, v6[i].src, v6[i].dst, 16, ports), v6[i].tcp);
	}
}

/* --- RSS --- */

static uint32_t rss_command(uint8_t *p, uint32_t types, unsigned entries, unsigned queues,
			    unsigned unclassified)
{
	uint8_t *at = p;

	put_le32(at, types);
	put_le16(at + 4, (uint16_t)(entries - 1));
	put_le16(at + 6, (uint16_t)unclassified);
	at += 8;
	for (unsigned i = 0; i < entries; i++, at += 2)
		put_le16(at, (uint16_t)(i % queues));
	put_le16(at, (uint16_t)queues);
	at[2] = sizeof(ms_key);
	memcpy(at + 3, ms_key, sizeof(ms_key));
	return (uint32_t)(at + 3 + sizeof(ms_key) - p);
}

static const struct guest_opts mq = {
	.pairs = 4,
	.features = GUEST_FEATURES | F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_RSS) |
		    F(VIRTIO_NET_F_HASH_REPORT),
};

static void send_ip(struct guest *a, unsigned queue, struct guest *b, unsigned l3, uint8_t proto,
		    uint16_t sport, uint16_t dport)
{
	struct frame_spec s = {.dst = b->mac,
			       .src = a->mac,
			       .l3 = l3,
			       .proto = proto,
			       .len = 200,
			       .sport = sport,
			       .dport = dport};
	struct virtio_net_hdr_v1 hdr;

	frame_build(&s, frame, &hdr);
	guest_send(a, queue, &hdr, frame, s.len, 0);
}

static void test_rss(void **state)
{
	const uint32_t types = VIRTIO_NET_RSS_HASH_TYPE_TCPv4 | VIRTIO_NET_RSS_HASH_TYPE_IPv6;
	struct guest_opts plain = {.features = GUEST_FEATURES};
	struct vnet_toeplitz t;
	uint8_t cmd[512];
	unsigned seen[4] = {0};
	struct guest a, b;
	struct world w;
	uint32_t len;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &plain);
	guest_create(&w, &b, 2, &mq);
	vnet_toeplitz_init(&t, ms_key, sizeof(ms_key));
	len = rss_command(cmd, types, 128, 4, 3);
	assert_int_equal(guest_ctrl(&b, 4, 1, cmd, len, NULL, 0), VIRTIO_NET_OK);
	for (uint16_t port = 1; port < 200; port++) {
		const uint8_t src[4] = {10, 0, 0, 1}, dst[4] = {10, 0, 0, 2};
		uint16_t ports[2] = {port, 80};
		uint32_t h = hash_of(&t, src, dst, 4, ports);

		send_ip(&a, 0, &b, 4, IPPROTO_TCP, port, 80);
		assert_true(guest_recv(&b, h % 128 % 4, &got, 3000));
		assert_int_equal(le32toh(got.hdr.hash_value), h);
		assert_int_equal(le16toh(got.hdr.hash_report), VIRTIO_NET_HASH_REPORT_TCPv4);
		seen[h % 4]++;
	}
	for (unsigned i = 0; i < 4; i++)
		assert_true(seen[i] > 20);
	/* IPv6 by its addresses alone; UDP over IPv4 and no IP at all are not classified */
	send_ip(&a, 0, &b, 6, IPPROTO_TCP, 5, 6);
	for (unsigned q = 0;; q++) {
		assert_true(q < 4);
		if (guest_recv(&b, q, &got, 20))
			break;
	}
	assert_int_equal(le16toh(got.hdr.hash_report), VIRTIO_NET_HASH_REPORT_IPv6);
	send_ip(&a, 0, &b, 4, IPPROTO_UDP, 5, 6);
	assert_true(guest_recv(&b, 3, &got, 3000));
	assert_int_equal(got.hdr.hash_report, 0);
	send_ip(&a, 0, &b, 0, 0, 0, 0);
	assert_true(guest_recv(&b, 3, &got, 3000));
	guest_destroy(&a);
	guest_destroy(&b);
	world_destroy(&w);
}

static void test_rss_refused(void **state)
{
	uint8_t cmd[512];
	struct guest b;
	struct world w;
	uint32_t len;

	world_create(&w, 1);
	guest_create(&w, &b, 2, &mq);
	len = rss_command(cmd, VIRTIO_NET_RSS_HASH_TYPE_IPv4, 128, 4, 0);
	for (uint32_t cut = 0; cut < len; cut++)
		assert_int_equal(guest_ctrl(&b, 4, 1, cmd, cut, NULL, 0), VIRTIO_NET_ERR);
	assert_int_equal(guest_ctrl(&b, 4, 1, cmd, len, NULL, 0), VIRTIO_NET_OK);
	put_le16(cmd + 8, 4); /* no such queue */
	assert_int_equal(guest_ctrl(&b, 4, 1, cmd, len, NULL, 0), VIRTIO_NET_ERR);
	len = rss_command(cmd, BIT(9), 128, 4, 0);
	assert_int_equal(guest_ctrl(&b, 4, 1, cmd, len, NULL, 0), VIRTIO_NET_ERR);
	len = rss_command(cmd, 1, 100, 4, 0);
	assert_int_equal(guest_ctrl(&b, 4, 1, cmd, len, NULL, 0), VIRTIO_NET_ERR);
	len = rss_command(cmd, 1, 128, 4, 9);
	assert_int_equal(guest_ctrl(&b, 4, 1, cmd, len, NULL, 0), VIRTIO_NET_ERR);
	guest_destroy(&b);
	world_destroy(&w);
}

static void test_pairs(void **state)
{
	struct guest_opts plain = {.features = GUEST_FEATURES};
	uint16_t n = htole16(4);
	struct guest a, b;
	struct world w;
	unsigned spread = 0;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &plain);
	guest_create(&w, &b, 2, &mq);
	/* After reset: the first queue alone, both ways. */
	for (uint16_t p = 0; p < 20; p++) {
		send_ip(&a, 0, &b, 4, IPPROTO_UDP, p, 1);
		assert_true(guest_recv(&b, 0, &got, 3000));
	}
	send_ip(&b, 2, &a, 4, IPPROTO_UDP, 9, 9);
	assert_false(guest_recv(&a, 0, &got, 30));
	assert_int_equal(guest_ctrl(&b, 4, 0, &n, 2, NULL, 0), VIRTIO_NET_OK);
	assert_true(guest_recv(&a, 0, &got, 3000)); /* served now */
	/* Answers come back where the question left (5.1.6.5.5). */
	for (uint16_t p = 0; p < 40; p++) {
		unsigned q = p % 4;

		send_ip(&b, q, &a, 4, IPPROTO_UDP, 1000 + p, 53);
		assert_true(guest_recv(&a, 0, &got, 3000));
		put_be32(frame + 26, 0x0a000002);
		send_ip(&a, 0, &b, 4, IPPROTO_UDP, 53, 1000 + p);
		assert_true(guest_recv(&b, q, &got, 3000));
	}
	/* Unknown flows are spread. */
	for (uint16_t p = 0; p < 64; p++)
		send_ip(&a, 0, &b, 4, IPPROTO_TCP, 3000 + p, 80);
	assert_true(guest_tx_wait(&a, 0));
	for (unsigned q = 0; q < 4; q++) {
		unsigned k = 0;

		while (guest_recv(&b, q, &got, 5))
			k++;
		spread += k > 4;
	}
	assert_int_equal(spread, 4);
	n = 0;
	assert_int_equal(guest_ctrl(&b, 4, 0, &n, 2, NULL, 0), VIRTIO_NET_ERR);
	n = htole16(5);
	assert_int_equal(guest_ctrl(&b, 4, 0, &n, 2, NULL, 0), VIRTIO_NET_ERR);
	n = htole16(1);
	assert_int_equal(guest_ctrl(&b, 4, 0, &n, 2, NULL, 0), VIRTIO_NET_OK);
	for (uint16_t p = 0; p < 20; p++) {
		send_ip(&a, 0, &b, 4, IPPROTO_UDP, p, 1);
		assert_true(guest_recv(&b, 0, &got, 3000));
	}
	guest_destroy(&a);
	guest_destroy(&b);
	world_destroy(&w);
}

/* --- filters and addresses --- */

static bool reaches(struct guest *a, struct guest *b, const uint8_t *dst, uint16_t vid)
{
	struct virtio_net_hdr_v1 hdr;

	frame_build(&(struct frame_spec){.dst = dst, .src = a->mac, .len = 100}, frame, &hdr);
	if (vid) {
		put_be16(frame + 12, 0x8100);
		put_be16(frame + 14, vid);
	}
	guest_send(a, 0, &hdr, frame, 100, 0);
	assert_true(guest_tx_wait(a, 0));
	return guest_recv(b, 0, &got, 5);
}

static void test_filters(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES | F(VIRTIO_NET_F_CTRL_RX) |
					   F(VIRTIO_NET_F_CTRL_RX_EXTRA) |
					   F(VIRTIO_NET_F_CTRL_VLAN)};
	static const uint8_t bcast[6] = {255, 255, 255, 255, 255, 255},
			     m1[6] = {1, 0, 0x5e, 0, 0, 1}, m2[6] = {1, 0, 0x5e, 0, 0, 2};
	uint8_t on = 1, off = 0, table[4 + 4 + 6] = {0}, many[4 + 4 + 100 * 6] = {0};
	uint16_t vid = htole16(7);
	struct guest a, b;
	struct world w;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	guest_create(&w, &b, 2, &o);
	assert_true(reaches(&a, &b, bcast, 0));
	assert_int_equal(guest_ctrl(&b, 0, VIRTIO_NET_CTRL_RX_NOBCAST, &on, 1, NULL, 0), 0);
	assert_false(reaches(&a, &b, bcast, 0));
	assert_int_equal(guest_ctrl(&b, 0, VIRTIO_NET_CTRL_RX_NOBCAST, &off, 1, NULL, 0), 0);
	assert_false(reaches(&a, &b, m1, 0));
	put_le32(table + 4, 1);
	memcpy(table + 8, m1, 6);
	assert_int_equal(guest_ctrl(&b, 1, 0, table, sizeof(table), NULL, 0), 0);
	assert_true(reaches(&a, &b, m1, 0));
	assert_false(reaches(&a, &b, m2, 0));
	/* more than the table holds: all of them */
	put_le32(many + 4, 100);
	assert_int_equal(guest_ctrl(&b, 1, 0, many, sizeof(many), NULL, 0), 0);
	assert_true(reaches(&a, &b, m2, 0));
	put_le32(table + 4, 2);
	assert_int_equal(guest_ctrl(&b, 1, 0, table, sizeof(table), NULL, 0), VIRTIO_NET_ERR);
	put_le32(table, 0xffffffff);
	assert_int_equal(guest_ctrl(&b, 1, 0, table, sizeof(table), NULL, 0), VIRTIO_NET_ERR);
	/* VLANs */
	assert_false(reaches(&a, &b, b.mac, 7));
	assert_int_equal(guest_ctrl(&b, 2, 0, &vid, 2, NULL, 0), 0);
	assert_true(reaches(&a, &b, b.mac, 7));
	assert_int_equal(guest_ctrl(&b, 2, 1, &vid, 2, NULL, 0), 0);
	assert_false(reaches(&a, &b, b.mac, 7));
	vid = htole16(4096);
	assert_int_equal(guest_ctrl(&b, 2, 0, &vid, 2, NULL, 0), VIRTIO_NET_ERR);
	/* unknown classes and commands, and one without a byte of data */
	assert_int_equal(guest_ctrl(&b, 7, 0, &on, 1, NULL, 0), VIRTIO_NET_ERR);
	assert_int_equal(guest_ctrl(&b, 200, 0, &on, 1, NULL, 0), VIRTIO_NET_ERR);
	assert_int_equal(guest_ctrl(&b, 0, 6, &on, 1, NULL, 0), VIRTIO_NET_ERR);
	assert_int_equal(guest_ctrl(&b, 0, 0, &on, 0, NULL, 0), VIRTIO_NET_ERR);
	/* a reset empties it all (5.1.6.5.2) */
	guest_start(&b, &o);
	assert_false(reaches(&a, &b, m2, 0));
	guest_destroy(&a);
	guest_destroy(&b);
	world_destroy(&w);
}

static void test_mac(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES | F(VIRTIO_NET_F_CTRL_MAC_ADDR) |
					   F(VIRTIO_NET_F_GUEST_ANNOUNCE)};
	static const uint8_t mac[6] = {2, 1, 2, 3, 4, 5}, third[6] = {2, 9, 9, 9, 9, 9};
	struct virtio_net_config_space c;
	struct net_policy p;
	struct guest a, b;
	struct world w;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	guest_create(&w, &b, 2, &o);
	assert_int_equal(guest_ctrl(&b, 1, 1, mac, 6, NULL, 0), VIRTIO_NET_OK);
	guest_config(&b, &c);
	assert_memory_equal(c.mac, mac, 6);
	assert_true(reaches(&a, &b, mac, 0));
	assert_false(reaches(&a, &b, b.mac, 0));
	assert_int_equal(guest_ctrl(&b, 1, 1, a.mac, 6, NULL, 0), VIRTIO_NET_ERR);
	assert_int_equal(guest_ctrl(&b, 1, 1, mac, 5, NULL, 0), VIRTIO_NET_ERR);
	/* Other policy leaves the driver's choice alone; its reset does not. */
	p = *net_port_policy(virtio_net_port(b.net));
	memcpy(p.mac, b.mac, 6);
	p.spoof_check = false;
	assert_int_equal(virtio_net_set_policy(b.net, &p), 0);
	assert_true(reaches(&a, &b, mac, 0));
	guest_start(&b, &o);
	guest_config(&b, &c);
	assert_memory_equal(c.mac, b.mac, 6);
	assert_true(reaches(&a, &b, b.mac, 0));
	/* The administrator's MAC: seen live with a new generation, and not to be changed. */
	memcpy(p.mac, third, 6);
	p.mac_by_admin = true;
	uint64_t gen = reg_read(&b, 0x15, 1);

	assert_int_equal(virtio_net_set_policy(b.net, &p), 0);
	assert_true(reg_read(&b, 0x15, 1) != gen);
	guest_config(&b, &c);
	assert_memory_equal(c.mac, third, 6);
	assert_int_equal(guest_ctrl(&b, 1, 1, mac, 6, NULL, 0), VIRTIO_NET_ERR);
	p.link = NET_LINK_DISABLE;
	assert_int_equal(virtio_net_set_policy(b.net, &p), 0);
	guest_config(&b, &c);
	assert_int_equal(le16toh(c.status), 0);
	p.link = NET_LINK_ENABLE;
	assert_int_equal(virtio_net_set_policy(b.net, &p), 0);
	guest_config(&b, &c);
	assert_int_equal(le16toh(c.status), VIRTIO_NET_S_LINK_UP);
	virtio_net_announce(b.net);
	guest_config(&b, &c);
	assert_int_equal(le16toh(c.status), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	assert_int_equal(guest_ctrl(&b, 3, 0, NULL, 0, NULL, 0), VIRTIO_NET_OK);
	guest_config(&b, &c);
	assert_int_equal(le16toh(c.status), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(c.duplex, 1);
	assert_int_equal(le32toh(c.speed), 10000);
	assert_int_equal(le16toh(c.mtu), 1500);
	guest_destroy(&a);
	guest_destroy(&b);
	world_destroy(&w);
}

/* Two guests play with their MACs: whose own one was taken gets it back as soon as it is free, and
 * what they do does not fill the log. */
static void test_mac_taken(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES | F(VIRTIO_NET_F_CTRL_MAC_ADDR)};
	static const uint8_t mac[6] = {2, 1, 2, 3, 4, 5};
	struct virtio_net_config_space c;
	char line[256];
	struct guest a, b;
	struct world w;
	unsigned logged = 0;
	int err = dup(2);
	FILE *log = tmpfile();

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	guest_create(&w, &b, 2, &o);
	assert_int_equal(guest_ctrl(&b, 1, 1, mac, 6, NULL, 0), VIRTIO_NET_OK);
	assert_int_equal(guest_ctrl(&a, 1, 1, b.mac, 6, NULL, 0), VIRTIO_NET_OK);
	dup2(fileno(log), 2);
	for (unsigned i = 0; i < 10; i++) {
		guest_start(&b, &o);
		assert_int_equal(guest_ctrl(&b, 1, 1, mac, 6, NULL, 0), VIRTIO_NET_OK);
	}
	guest_start(&b, &o);
	dup2(err, 2);
	close(err);
	rewind(log);
	while (fgets(line, sizeof(line), log))
		logged++;
	fclose(log);
	assert_in_range(logged, 0, 2);
	guest_config(&b, &c);
	assert_memory_equal(c.mac, mac, 6);
	guest_start(&a, &o);
	guest_start(&b, &o);
	guest_config(&b, &c);
	assert_memory_equal(c.mac, b.mac, 6);
	guest_destroy(&a);
	guest_destroy(&b);
	world_destroy(&w);
}

/* --- statistics and coalescing --- */

static void test_stats(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES | F(VNET_F_DEVICE_STATS)};
	struct vnet_ctrl_queue_stats ask[3] = {
		{.vq_index = 0, .types_bitmap = 7},
		{.vq_index = 1, .types_bitmap = 3 << 16},
		{.vq_index = 2, .types_bitmap = 1ull << 32},
	};
	struct {
		struct vnet_stats_rx_basic rx;
		struct vnet_stats_rx_csum csum;
		struct vnet_stats_rx_gso gso;
		struct vnet_stats_tx_basic tx;
		struct vnet_stats_tx_csum tcsum;
		struct vnet_stats_cvq cvq;
	} __attribute__((packed)) r;
	struct guest a, b;
	uint64_t caps;
	struct world w;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	guest_create(&w, &b, 2, &o);
	for (unsigned i = 0; i < 5; i++)
		assert_true(reaches(&a, &b, b.mac, 0));
	assert_true(reaches(&b, &a, a.mac, 0));
	assert_int_equal(guest_ctrl(&b, 8, 0, NULL, 0, &caps, 8), 0);
	assert_int_equal(caps, 7 | 3 << 16 | 1ull << 32);
	assert_int_equal(guest_ctrl(&b, 8, 1, ask, sizeof(ask), &r, sizeof(r)), 0);
	assert_int_equal(r.rx.packets, 5);
	assert_int_equal(r.rx.bytes, 500);
	assert_int_equal(r.rx.drops, 0);
	assert_int_equal(r.rx.hdr.size, sizeof(r.rx));
	assert_int_equal(r.csum.none, 5);
	assert_int_equal(r.csum.hdr.type, VNET_STATS_RX_CSUM);
	assert_int_equal(r.tx.packets, 1);
	assert_int_equal(r.tx.hdr.type, VNET_STATS_TX_BASIC);
	assert_int_equal(r.tx.hdr.vq_index, 1);
	assert_int_equal(r.tcsum.none, 1);
	assert_int_equal(r.cvq.command_num, 1);
	assert_int_equal(r.cvq.ok_num, 1);
	/* one bad entry, or too little room, fails all */
	assert_int_equal(guest_ctrl(&b, 8, 1, ask, sizeof(ask), &r, sizeof(r) - 1), 1);
	ask[1].types_bitmap = 1;
	assert_int_equal(guest_ctrl(&b, 8, 1, ask, sizeof(ask), &r, sizeof(r)), 1);
	ask[1].vq_index = 3;
	assert_int_equal(guest_ctrl(&b, 8, 1, ask, sizeof(ask), &r, sizeof(r)), 1);
	assert_int_equal(guest_ctrl(&b, 8, 1, ask, 15, &r, sizeof(r)), 1);
	guest_destroy(&a);
	guest_destroy(&b);
	world_destroy(&w);
}

static unsigned irqs(struct guest *g)
{
	struct virtio_net_status st;

	virtio_net_get_status(g->net, &st);
	return st.interrupts;
}

static void check_irq_policy(struct poller *p, void *opaque)
{
	if (!p->kind || strcmp(p->kind, "irq"))
		return;
	assert_int_equal(p->policy, POLLER_NEVER);
	++*(unsigned *)opaque;
}

static void test_coalescing(void **state)
{
	struct guest_opts o = {.features = (GUEST_FEATURES & ~F(VIRTIO_RING_F_EVENT_IDX)) |
					   F(VNET_F_NOTF_COAL) | F(VNET_F_VQ_NOTF_COAL)};
	struct vnet_ctrl_coal all = {.max_packets = 8, .max_usecs = 20000000}, one;
	struct vnet_ctrl_coal_vq vq = {.vq_index = 0, .coal = {.max_packets = 3, .max_usecs = 99}};
	const uint16_t on = PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY, off = PCI_COMMAND_MEMORY;
	struct guest a, b;
	struct world w;
	unsigned before, before_a, irq_pollers = 0;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	guest_create(&w, &b, 2, &o);
	before = irqs(&b);
	assert_true(reaches(&a, &b, b.mac, 0));
	assert_int_equal(irqs(&b), before + 1);
	assert_int_equal(guest_ctrl(&b, 6, VNET_CTRL_COAL_RX_SET, &all, 8, NULL, 0), 0);
	/* who waits for a time only does not ask meanwhile */
	worker_each_poller(worker_pool_at(w.pool, 0), check_irq_policy, &irq_pollers);
	assert_int_equal(irq_pollers, 1);
	/* by number */
	before = irqs(&b);
	for (unsigned i = 0; i < 7; i++)
		assert_true(reaches(&a, &b, b.mac, 0));
	assert_int_equal(irqs(&b), before);
	assert_true(reaches(&a, &b, b.mac, 0));
	assert_int_equal(irqs(&b), before + 1);
	/* by time */
	all.max_usecs = 300000;
	assert_int_equal(guest_ctrl(&b, 6, VNET_CTRL_COAL_RX_SET, &all, 8, NULL, 0), 0);
	before = irqs(&b);
	assert_true(reaches(&a, &b, b.mac, 0));
	assert_int_equal(irqs(&b), before);
	for (unsigned i = 0; i < 5000 && irqs(&b) == before; i++)
		usleep(1000);
	assert_int_equal(irqs(&b), before + 1);
	/* of a transmit queue */
	assert_int_equal(guest_ctrl(&a, 6, VNET_CTRL_COAL_TX_SET, &all, 8, NULL, 0), 0);
	before = irqs(&a);
	assert_true(reaches(&a, &b, b.mac, 0));
	assert_int_equal(irqs(&a), before);
	for (unsigned i = 0; i < 5000 && irqs(&a) == before; i++)
		usleep(1000);
	assert_int_equal(irqs(&a), before + 1);
	/* of one queue */
	assert_int_equal(guest_ctrl(&b, 6, VNET_CTRL_COAL_VQ_GET, &vq, 4, &one, 8), 0);
	assert_int_equal(one.max_packets, 8);
	assert_int_equal(guest_ctrl(&b, 6, VNET_CTRL_COAL_VQ_SET, &vq, 12, NULL, 0), 0);
	assert_int_equal(guest_ctrl(&b, 6, VNET_CTRL_COAL_VQ_GET, &vq, 4, &one, 8), 0);
	assert_int_equal(one.max_packets, 3);
	assert_int_equal(one.max_usecs, 99);
	/* what is owed when bus mastering is withdrawn is paid when it is given back */
	all.max_usecs = 20000000;
	assert_int_equal(guest_ctrl(&b, 6, VNET_CTRL_COAL_RX_SET, &all, 8, NULL, 0), 0);
	assert_int_equal(guest_ctrl(&a, 6, VNET_CTRL_COAL_TX_SET, &all, 8, NULL, 0), 0);
	before = irqs(&b);
	before_a = irqs(&a);
	assert_true(reaches(&a, &b, b.mac, 0));
	assert_int_equal(irqs(&b), before);
	assert_int_equal(irqs(&a), before_a);
	for (unsigned i = 0; i < 2; i++) {
		struct pci_function *fn = i ? a.fn : b.fn;

		pci_config_write(fn, PCI_VIEW_VMM, PCI_COMMAND, &off, 2);
		pci_config_write(fn, PCI_VIEW_VMM, PCI_COMMAND, &on, 2);
	}
	assert_int_equal(irqs(&b), before + 1);
	assert_int_equal(irqs(&a), before_a + 1);
	vq.vq_index = 2; /* the control queue */
	assert_int_equal(guest_ctrl(&b, 6, VNET_CTRL_COAL_VQ_SET, &vq, 12, NULL, 0), 1);
	guest_destroy(&a);
	guest_destroy(&b);
	world_destroy(&w);
}

/* --- queues --- */

/* 2.6.1: a queue alone is reset and comes back elsewhere; its traffic goes to the others. */
static void test_queue_reset(void **state)
{
	struct guest_opts plain = {.features = GUEST_FEATURES};
	struct guest_opts o = mq;
	uint16_t n = htole16(2);
	struct guest a, b;
	struct world w;
	unsigned hits[2] = {0};

	o.features = (o.features | F(VIRTIO_F_RING_RESET)) & ~F(VIRTIO_NET_F_HASH_REPORT);
	world_create(&w, 1);
	guest_create(&w, &a, 1, &plain);
	guest_create(&w, &b, 2, &o);
	assert_int_equal(guest_ctrl(&b, 4, 0, &n, 2, NULL, 0), VIRTIO_NET_OK);
	reg_write(&b, 0x16, 2, 2); /* receive queue 1 */
	reg_write(&b, 0x3a, 1, 2);
	assert_int_equal(reg_read(&b, 0x3a, 2), 0);
	assert_int_equal(reg_read(&b, 0x1c, 2), 0);
	for (uint16_t p = 0; p < 30; p++) {
		send_ip(&a, 0, &b, 4, IPPROTO_UDP, p, 1);
		assert_true(guest_recv(&b, 0, &got, 3000));
	}
	/* back, with the same buffers */
	struct gvq_config cfg = b.rx[1].cfg;
	uint64_t at = b.rx[1].desc_addr;

	gvq_fini(&b.rx[1]);
	assert_int_equal(gvq_init(&b.rx[1], &cfg, b.mem + at - GUEST_BASE, at), 0);
	guest_fill_rx(&b, 1);
	reg_write(&b, 0x20, b.rx[1].desc_addr, 8);
	reg_write(&b, 0x28, b.rx[1].driver_addr, 8);
	reg_write(&b, 0x30, b.rx[1].device_addr, 8);
	reg_write(&b, 0x1c, 1, 2);
	for (uint16_t p = 0; p < 30; p++)
		send_ip(&a, 0, &b, 4, IPPROTO_UDP, p, 1);
	assert_true(guest_tx_wait(&a, 0));
	for (unsigned q = 0; q < 2; q++) {
		while (guest_recv(&b, q, &got, 5))
			hits[q]++;
	}
	assert_int_equal(hits[0] + hits[1], 30);
	assert_true(hits[1] > 3);
	guest_destroy(&a);
	guest_destroy(&b);
	world_destroy(&w);
}

/* A client with ioeventfds writes those instead of the doorbell registers. */
static void test_doorbells(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES};
	struct virtio_net_hdr_v1 hdr;
	uint64_t offsets[8];
	struct guest a, b;
	struct world w;
	int fds[8];

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	guest_create(&w, &b, 2, &o);
	assert_int_equal(virtio_net_doorbells(a.net, fds, offsets, 8), 3);
	frame_build(&(struct frame_spec){.dst = b.mac, .src = a.mac, .len = 90}, frame, &hdr);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 20; i++) {
			uint64_t at = a.tx_area;

			usleep(500); /* idle by now */
			memcpy(a.mem + at, &hdr, 12);
			memcpy(a.mem + at + 12, frame, 90);
			gvq_add_one(&a.tx[0], GUEST_BASE + at, 102, false, at);
			gvq_publish(&a.tx[0]);
			assert_int_equal(eventfd_write(fds[1], 1), 0);
			assert_true(guest_recv(&b, 0, &got, 3000));
		}
		guest_start(&a, &o); /* and after a reset too */
	}
	guest_destroy(&a);
	guest_destroy(&b);
	world_destroy(&w);
}

/* Commands that no driver sends. */
static void test_odd_commands(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES | F(VIRTIO_NET_F_CTRL_RX)};
	uint8_t on = 1;
	uint64_t at, cookie;
	struct guest a;
	struct world w;
	uint32_t len;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	at = GUEST_BASE + a.ctrl_area;
	memset(a.mem + a.ctrl_area, 0, 16384);
	const struct {
		struct gvq_seg segs[3];
		unsigned n;
		uint32_t used;
	} odd[] = {
		{{{at, 9000, false}, {at + 9000, 1, true}}, 2, 1}, /* too long */
		{{{at, 1, false}, {at + 9000, 1, true}}, 2, 1},	   /* too short */
		{{{at + 9000, 1, true}}, 1, 1},			   /* nothing asked */
		{{{at, 3, false}}, 1, 0},			   /* no room for an ack */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(odd); i++) {
		uint64_t end = clock_now_ns() + 5 * NS_PER_S;

		assert_int_equal(gvq_add(&a.ctrl, odd[i].segs, odd[i].n, 1), 0);
		gvq_publish(&a.ctrl);
		guest_kick(&a, a.ctrl_index);
		while (!gvq_take(&a.ctrl, &cookie, &len)) {
			assert_true(clock_now_ns() < end);
			control_turn();
		}
		assert_int_equal(len, odd[i].used);
		if (len)
			assert_int_equal(a.mem[a.ctrl_area + 9000], VIRTIO_NET_ERR);
	}
	assert_int_equal(guest_ctrl(&a, 0, 0, &on, 1, NULL, 0), VIRTIO_NET_OK);
	assert_int_equal(guest_status(&a), 15);
	guest_destroy(&a);
	world_destroy(&w);
}

/* --- features --- */

static void test_features(void **state)
{
	struct virtio_net_config cfg = {.queue_pairs = 4, .mtu = 1500};
	uint64_t f = vnet_features_offered(&cfg);

	assert_true(vnet_features_valid(f));
	assert_true(f & F(VIRTIO_NET_F_RSS));
	cfg.features_off = F(VIRTIO_NET_F_CTRL_VQ) | F(VIRTIO_NET_F_GUEST_CSUM);
	f = vnet_features_offered(&cfg);
	assert_true(vnet_features_valid(f));
	assert_false(f & (F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_RSS) | F(VIRTIO_NET_F_GUEST_TSO4) |
			  F(VIRTIO_NET_F_GUEST_ECN) | F(VNET_F_GUEST_USO4) |
			  F(VIRTIO_NET_F_CTRL_MAC_ADDR) | F(VNET_F_DEVICE_STATS)));
	assert_true(f & F(VIRTIO_NET_F_HOST_TSO4));
	assert_false(vnet_features_valid(F(VIRTIO_NET_F_GUEST_TSO4)));
	assert_false(vnet_features_valid(F(VIRTIO_NET_F_HOST_ECN) | F(VIRTIO_NET_F_CSUM)));
	assert_false(vnet_features_valid(F(VIRTIO_NET_F_MQ)));
	cfg = (struct virtio_net_config){.queue_pairs = 1, .mtu = 1500};
	assert_false(vnet_features_offered(&cfg) & F(VIRTIO_NET_F_MQ));
}

static void test_fifo(void **state)
{
	struct net_frame f = {0}, out;
	struct vnet_fifo *fifo;
	static uint8_t bytes[70000];
	struct net_seg seg, in;
	unsigned put = 0, taken = 0, refused = 0;

	assert_int_equal(vnet_fifo_create(&fifo), 0);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	srand(1);
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t len = 60 + (put * 7919u) % 65000;

		f.len = len;
		f.head_len = 60;
		f.head_off = NET_HEAD_ROOM;
		memcpy(net_frame_head(&f), bytes, 60);
		net_frame_head(&f)[0] = (uint8_t)put;
		in = (struct net_seg){bytes + 60, len - 60};
		f.segs = &in;
		f.nsegs = len > 60;
		if (rand() % 2) {
			if (vnet_fifo_put(fifo, &f))
				put++;
			else
				refused++;
		} else if (vnet_fifo_peek(fifo, &out, &seg)) {
			assert_int_equal(out.len, 60 + (taken * 7919u) % 65000);
			assert_int_equal(net_frame_head(&out)[0], (uint8_t)taken);
			if (out.nsegs)
				assert_memory_equal(seg.ptr, bytes + out.head_len, seg.len);
			vnet_fifo_drop(fifo);
			taken++;
		} else {
			assert_int_equal(put, taken);
		}
	}
	assert_true(refused > 0 && taken > 1000);
	vnet_fifo_destroy(fifo);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_toeplitz),     cmocka_unit_test(test_rss),
		cmocka_unit_test(test_rss_refused),  cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_filters),	     cmocka_unit_test(test_mac),
		cmocka_unit_test(test_stats),	     cmocka_unit_test(test_coalescing),
		cmocka_unit_test(test_queue_reset),  cmocka_unit_test(test_doorbells),
		cmocka_unit_test(test_odd_commands), cmocka_unit_test(test_features),
		cmocka_unit_test(test_fifo),	     cmocka_unit_test(test_mac_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
