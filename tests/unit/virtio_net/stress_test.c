/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two senders on two workers into one receiver, while its driver switches queue pairs and RSS,
 * resets, loses bus mastering, leaves and comes back. Every frame that arrives is whole and comes
 * in its sender's order; every frame that was sent is accounted for.
 */
#include <linux/pci_regs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include "guest.h"

#define SENDERS	  2
#define FRAME_LEN 300
#define IN_FLIGHT 64

struct load {
	struct world w;
	struct guest to, from[SENDERS];
	uint32_t next[SENDERS];
	uint32_t last[SENDERS][16]; /* of each flow */
	uint64_t sent, received;
	struct received got;
	uint8_t frame[FRAME_LEN];
};

static const struct guest_opts sender = {.features = GUEST_FEATURES};
static const struct guest_opts receiver = {
	.pairs = 4,
	.rx_nbufs = 200,
	.features = GUEST_FEATURES | F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_RSS) |
		    F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | F(VIRTIO_F_RING_PACKED) |
		    F(VNET_F_NOTF_COAL),
	.packed = true,
};

static void send_some(struct load *l)
{
	for (unsigned s = 0; s < SENDERS; s++) {
		struct guest *g = &l->from[s];
		struct virtio_net_hdr_v1 hdr;
		uint64_t cookie;
		uint32_t len;

		while (gvq_take(&g->tx[0], &cookie, &len))
			;
		for (unsigned k = 0; k < 8; k++) {
			uint32_t seq = l->next[s];
			struct frame_spec spec = {.dst = l->to.mac,
						  .src = g->mac,
						  .l3 = 4,
						  .proto = IPPROTO_TCP,
						  .len = FRAME_LEN,
						  .sport = 100 + seq % 16,
						  .dport = 80,
						  .partial = seq % 2};
			uint64_t at = g->tx_area + seq % IN_FLIGHT * 1024;

			if (gvq_free(&g->tx[0]) <= GUEST_QSIZE - IN_FLIGHT)
				break;
			l->next[s]++;
			frame_build(&spec, l->frame, &hdr);
			put_be32(l->frame + 54, s);
			put_be32(l->frame + 58, seq);
			memcpy(g->mem + at, &hdr, sizeof(hdr));
			memcpy(g->mem + at + 12, l->frame, FRAME_LEN);
			assert_int_equal(
				gvq_add_one(&g->tx[0], GUEST_BASE + at, 12 + FRAME_LEN, false, at),
				0);
			l->sent++;
		}
		if (gvq_publish(&g->tx[0]))
			guest_kick(g, 1);
	}
}

/* ordered: no queue was drained late, so each flow is in order. */
static void receive_some(struct load *l, bool ordered)
{
	for (unsigned q = 0; q < l->to.pairs; q++) {
		while (gvq_has_used(&l->to.rx[q])) {
			uint32_t s, seq;

			assert_true(guest_recv(&l->to, q, &l->got, 1000));
			assert_int_equal(l->got.len, FRAME_LEN);
			s = get_be32(l->got.frame + 54);
			seq = get_be32(l->got.frame + 58);
			assert_true(s < SENDERS && seq < l->next[s]);
			for (unsigned i = 62; i < FRAME_LEN; i++)
				assert_int_equal(l->got.frame[i],
						 (uint8_t)(i * 31 + (i >> 8) + (100 + seq % 16)));
			if (ordered && l->last[s][seq % 16])
				assert_true(seq > l->last[s][seq % 16]);
			l->last[s][seq % 16] = seq;
			l->received++;
		}
	}
}

/* Until n more frames were sent. */
static void turns(struct load *l, unsigned n, bool ordered)
{
	uint64_t until = l->sent + n, end = clock_now_ns() + 20 * NS_PER_S;

	while (l->sent < until) {
		uint64_t before = l->sent;

		send_some(l);
		receive_some(l, ordered);
		mailbox_run();
		if (l->sent == before)
			usleep(10);
		assert_true(clock_now_ns() < end);
	}
}

static void load_start(struct load *l)
{
	world_create(&l->w, 2);
	guest_create(&l->w, &l->to, 9, &receiver);
	for (unsigned s = 0; s < SENDERS; s++)
		guest_create(&l->w, &l->from[s], (uint8_t)(s + 1), &sender);
}

static void settle(struct load *l)
{
	for (unsigned s = 0; s < SENDERS; s++)
		assert_true(guest_tx_wait(&l->from[s], 0));
	receive_some(l, false);
}

static void load_end(struct load *l)
{
	for (unsigned s = 0; s < SENDERS; s++)
		guest_destroy(&l->from[s]);
	guest_destroy(&l->to);
	world_destroy(&l->w);
	free(l);
}

static uint32_t rss_command(uint8_t *p, unsigned queues)
{
	uint8_t *at = p + 8;

	memset(p, 0x5a, 200);
	put_le32(p, VIRTIO_NET_RSS_HASH_TYPE_TCPv4);
	put_le16(p + 4, 63);
	put_le16(p + 6, 0);
	for (unsigned i = 0; i < 64; i++, at += 2)
		put_le16(at, (uint16_t)(i % queues));
	put_le16(at, (uint16_t)queues);
	at[2] = 40;
	return (uint32_t)(at + 3 + 40 - p);
}

static void test_switch_under_load(void **state)
{
	struct load *l = calloc(1, sizeof(*l));
	struct net_port_stats st;
	uint64_t lost = 0;
	uint8_t cmd[256];

	load_start(l);
	for (unsigned round = 0; round < 60; round++) {
		uint16_t pairs = htole16(1 + round % 4);
		uint64_t off = htole64(round % 3 ? 0 : F(VIRTIO_NET_F_GUEST_CSUM));

		turns(l, 200, false);
		if (round % 5 == 4)
			assert_int_equal(guest_ctrl(&l->to, 4, 1, cmd,
						    rss_command(cmd, 1 + round % 4), NULL, 0),
					 0);
		else
			assert_int_equal(guest_ctrl(&l->to, 4, 0, &pairs, 2, NULL, 0), 0);
		assert_int_equal(guest_ctrl(&l->to, 5, 0, &off, 8, NULL, 0), 0);
	}
	settle(l);
	net_port_get_stats(virtio_net_port(l->to.net), &st);
	for (unsigned i = 0; i < NET_DROP_REASONS; i++)
		lost += st.drops[i];
	assert_true(l->received > 1000);
	assert_int_equal(l->received + lost, l->sent);
	assert_int_equal(st.rx_packets, l->received);
	assert_int_equal(st.rx_bytes, l->received * FRAME_LEN);
	load_end(l);
}

/* With one setting kept, each flow stays in order although two workers deliver. */
static void test_order(void **state)
{
	struct load *l = calloc(1, sizeof(*l));
	uint16_t pairs = htole16(4);

	load_start(l);
	assert_int_equal(guest_ctrl(&l->to, 4, 0, &pairs, 2, NULL, 0), 0);
	turns(l, 20000, true);
	settle(l);
	assert_true(l->received > 1000);
	load_end(l);
}

static void test_reset_under_load(void **state)
{
	struct load *l = calloc(1, sizeof(*l));
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT};
	struct vnet_ctrl_coal coal = {.max_packets = htole32(8), .max_usecs = htole32(20)};
	uint16_t on = PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY, off = 0;
	uint16_t pairs = htole16(4);
	uint64_t before;

	load_start(l);
	att.dma = l->to.dma;
	for (unsigned round = 0; round < 40; round++) {
		if (round % 2)
			assert_int_equal(guest_ctrl(&l->to, 4, 0, &pairs, 2, NULL, 0), 0);
		assert_int_equal(guest_ctrl(&l->to, 6, 1, &coal, 8, NULL, 0), 0);
		turns(l, 200, false);
		switch (round % 4) {
		case 0:
			guest_reset(&l->to);
			break;
		case 1: /* a function-level reset */
			pci_function_reset(l->to.fn, PCI_RESET_FLR);
			pci_config_write(l->to.fn, PCI_VIEW_VMM, PCI_COMMAND, &on, 2);
			break;
		case 2: /* the client goes, another comes */
			pci_function_detach(l->to.fn);
			assert_int_equal(pci_function_attach(l->to.fn, &att), 0);
			pci_config_write(l->to.fn, PCI_VIEW_VMM, PCI_COMMAND, &on, 2);
			break;
		case 3: /* bus mastering withdrawn: the queues go on where they were */
			pci_config_write(l->to.fn, PCI_VIEW_VMM, PCI_COMMAND, &off, 2);
			for (unsigned i = 0; i < 20; i++)
				send_some(l);
			pci_config_write(l->to.fn, PCI_VIEW_VMM, PCI_COMMAND, &on, 2);
			turns(l, 200, false);
			continue;
		}
		/* nobody writes into its memory any more */
		memset(l->to.mem, 0x77, 4096);
		for (unsigned i = 0; i < 10; i++)
			send_some(l);
		for (unsigned i = 0; i < 4096; i++)
			assert_int_equal(l->to.mem[i], 0x77);
		guest_start(&l->to, &receiver);
	}
	before = l->received;
	turns(l, 2000, false);
	settle(l);
	assert_true(l->received > before);
	for (unsigned s = 0; s < SENDERS; s++)
		assert_int_equal(guest_status(&l->from[s]), 15);
	load_end(l);
}

static void fill_random(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)rand();
}

/* Any bytes as commands, headers and frames: nothing breaks, for either side. */
static void test_random(void **state)
{
	static const uint8_t types[] = {0x08, 0x00, 0x86, 0xdd, 0x81, 0x00, 0x88, 0xa8};
	struct load *l = calloc(1, sizeof(*l));
	struct guest *a, *b;
	uint8_t data[600];

	srand(7);
	load_start(l);
	a = &l->from[0];
	b = &l->to;
	for (unsigned i = 0; i < 3000; i++) {
		struct virtio_net_hdr_v1 hdr = {0};
		uint32_t len = 14 + (uint32_t)rand() % (i % 50 ? 500 : 60000);
		uint8_t class = (uint8_t)(rand() % 10), cmd = (uint8_t)(rand() % 7);
		uint32_t clen = (uint32_t)rand() % (i % 3 ? 20 : sizeof(data));

		fill_random(data, clen);
		if (clen > 8 && rand() % 2)
			memset(data, 0, 3);
		/* a reset by this command would be the end of the traffic: MAC and pairs may change
		 */
		guest_ctrl(b, class, cmd, data, clen, NULL, 0);
		fill_random(l->got.frame, len);
		memcpy(l->got.frame, i % 4 ? b->mac : a->mac, 6);
		memcpy(l->got.frame + 6, a->mac, 6);
		memcpy(l->got.frame + 12, types + rand() % 4 * 2, 2);
		l->got.frame[14] = rand() % 2 ? 0x45 : 0x60;
		l->got.frame[23] = l->got.frame[20] = rand() % 2 ? IPPROTO_TCP : IPPROTO_UDP;
		hdr.flags = (uint8_t)(rand() % 3);
		hdr.gso_type = rand() % 3 ? (uint8_t)(rand() % 6) : 0;
		hdr.gso_size = (uint16_t)(rand() % (i % 2 ? 3000 : 65536));
		hdr.csum_start = rand() % 3 ? 34 : rand() % 3 ? 54 : (uint16_t)rand();
		hdr.csum_offset = rand() % 4 ? (rand() % 2 ? 16 : 6) : (uint16_t)rand();
		guest_send(a, 0, &hdr, l->got.frame, len, (uint32_t)rand() % 3000);
		for (unsigned q = 0; q < b->pairs; q++) {
			while (gvq_has_used(&b->rx[q]))
				assert_true(guest_recv(b, q, &l->got, 1000));
		}
	}
	assert_true(guest_tx_wait(a, 0));
	assert_int_equal(guest_status(a), 15);
	assert_int_equal(guest_status(b), 15);
	load_end(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_switch_under_load),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_reset_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
