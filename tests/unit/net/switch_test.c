/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who gets which frame: forwarding, filters, trust, anti-spoof, learning, links, counters.
 */
#include <errno.h>
#include <unistd.h>

#include "fixture.h"

/* Four functions with ids 1..4, and an uplink where asked. */
static struct net_switch *sw;
static struct dummy a, b, c, d, up;
static struct dummy *const all[] = {&a, &b, &c, &d, &up};

static int setup(void **state)
{
	assert_int_equal(net_switch_create("nic", &sw), 0);
	dummy_add(sw, &a, 1);
	dummy_add(sw, &b, 2);
	dummy_add(sw, &c, 3);
	dummy_add(sw, &d, 4);
	up.port = NULL;
	return 0;
}

static int setup_uplink(void **state)
{
	setup(state);
	dummy_add_uplink(sw, &up);
	return 0;
}

static int teardown(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i]->port)
			dummy_del(all[i]);
	net_switch_destroy(sw);
	return 0;
}

static void clear(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i]->port)
			dummy_clear(all[i]);
}

/* How many frames each port got since the last look. */
static void expect(unsigned na, unsigned nb, unsigned nc, unsigned nd, unsigned nup)
{
	const unsigned want[] = {na, nb, nc, nd, nup};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		if (all[i]->port) {
			if (all[i]->n != want[i])
				print_error("port %u: %u frames, not %u\n", i, all[i]->n, want[i]);
			assert_int_equal(all[i]->n, want[i]);
			assert_int_equal(all[i]->flushes, all[i]->delivers);
		}
	}
	clear();
}

static void set_trust(struct dummy *p, bool trust)
{
	struct net_policy pol = *net_port_policy(p->port);

	pol.trust = trust;
	assert_int_equal(net_port_set_policy(p->port, &pol), 0);
}

static void set_link(struct dummy *p, enum net_link link)
{
	struct net_policy pol = *net_port_policy(p->port);

	pol.link = link;
	assert_int_equal(net_port_set_policy(p->port, &pol), 0);
}

/* ---- unicast ---- */

static void unicast_goes_to_its_port_only(void **state)
{
	send_simple(&a, 2, 1, 0);
	expect(0, 1, 0, 0, 0);
	send_simple(&b, 1, 2, 0);
	expect(1, 0, 0, 0, 0);
	send_simple(&up, 3, 99, 0);
	expect(0, 0, 1, 0, 0);
}

static void burst_is_delivered_once_per_receiver_in_order(void **state)
{
	struct net_frame f[NET_BURST];

	for (unsigned i = 0; i < NET_BURST; i++) {
		frame_simple(&f[i], 2, 1, 0);
		net_frame_head(&f[i])[20] = (uint8_t)i;
	}
	net_port_input(a.port, f, NET_BURST);
	assert_int_equal(b.delivers, 1);
	for (unsigned i = 0; i < NET_BURST; i++)
		assert_int_equal(b.rec[i].data[20], i);
	expect(0, NET_BURST, 0, 0, 0);

	/* interleaved receivers, with broadcasts between: one call each, order kept */
	for (unsigned i = 0; i < NET_BURST; i++) {
		frame_simple(&f[i], 2 + i % 3, 1, 0);
		if (i % 5 == 4)
			memcpy(net_frame_head(&f[i]), mac_bcast, 6);
		net_frame_head(&f[i])[20] = (uint8_t)i;
	}
	net_port_input(a.port, f, NET_BURST);
	assert_int_equal(b.delivers, 1);
	assert_int_equal(c.delivers, 1);
	assert_int_equal(d.delivers, 1);
	for (unsigned i = 1; i < b.n; i++)
		assert_true(b.rec[i].data[20] > b.rec[i - 1].data[20]);
	expect(0, 6 + 9, 6 + 9, 6 + 8, 6);
}

static void longer_input_is_cut_into_bursts(void **state)
{
	struct net_frame f[NET_BURST * 2];

	for (unsigned i = 0; i < ARRAY_SIZE(f); i++)
		frame_simple(&f[i], 2, 1, 0);
	net_port_input(a.port, f, ARRAY_SIZE(f));
	expect(0, ARRAY_SIZE(f), 0, 0, 0);
}

static void unknown_unicast(void **state)
{
	struct net_filter filter = {.promisc = true};

	send_to(&a, mac_other, 1, 0);
	expect(0, 0, 0, 0, 1);
	/* an untrusted port's wish for promiscuity is not granted */
	net_port_set_filter(b.port, &filter);
	send_to(&a, mac_other, 1, 0);
	expect(0, 0, 0, 0, 1);
	set_trust(&b, true);
	send_to(&a, mac_other, 1, 0);
	expect(0, 1, 0, 0, 1);
	/* known unicast is not copied to it */
	send_simple(&a, 3, 1, 0);
	expect(0, 0, 1, 0, 0);
	filter = (struct net_filter){.alluni = true};
	net_port_set_filter(b.port, &filter);
	send_to(&up, mac_other, 99, 0);
	expect(0, 1, 0, 0, 0);
	set_trust(&b, false);
	/* nobody is left: counted at the sender, and not as sent */
	clear();
	send_to(&up, mac_other, 99, 0);
	assert_int_equal(drops(&up, NET_DROP_TX_NO_DEST), 1);
	/* its own address */
	send_simple(&a, 1, 1, 0);
	assert_int_equal(drops(&a, NET_DROP_TX_NO_DEST), 1);
	expect(0, 0, 0, 0, 0);
}

static void receiver_that_does_not_listen(void **state)
{
	struct net_filter filter = {.nouni = true};

	net_port_set_filter(b.port, &filter);
	send_simple(&a, 2, 1, 0);
	assert_int_equal(drops(&a, NET_DROP_TX_NO_DEST), 1);
	expect(0, 0, 0, 0, 0);
	net_port_set_active(b.port, false);
	filter.nouni = false;
	net_port_set_filter(b.port, &filter);
	send_simple(&a, 2, 1, 0);
	assert_int_equal(drops(&b, NET_DROP_RX_NOT_READY), 1);
	assert_int_equal(all_drops(&a), 0);
	expect(0, 0, 0, 0, 0);
	net_port_set_active(b.port, true);
	set_link(&b, NET_LINK_DISABLE);
	send_simple(&a, 2, 1, 0);
	assert_int_equal(drops(&b, NET_DROP_RX_LINK_DOWN), 1);
	send_to(&a, mac_bcast, 1, 0);
	expect(0, 0, 1, 1, 1);
	send_simple(&b, 1, 2, 0);
	assert_int_equal(drops(&b, NET_DROP_TX_LINK_DOWN), 1);
	expect(0, 0, 0, 0, 0);
}

/* ---- group addresses ---- */

static void link_local_stays_with_its_sender(void **state)
{
	uint8_t mac[6] = {0x01, 0x80, 0xc2, 0, 0, 0};
	struct net_filter filter = {.allmulti = true};

	net_port_set_filter(b.port, &filter);
	for (unsigned i = 0; i < 16; i++) {
		mac[5] = (uint8_t)i;
		send_to(&a, mac, 1, 0);
	}
	assert_int_equal(drops(&a, NET_DROP_TX_NO_DEST), 16);
	expect(0, 0, 0, 0, 0);
	/* the next address is an ordinary one; and the trusted may */
	mac[5] = 16;
	send_to(&a, mac, 1, 0);
	expect(0, 1, 0, 0, 1);
	mac[5] = 2;
	set_trust(&a, true);
	send_to(&a, mac, 1, 0);
	expect(0, 1, 0, 0, 1);
	send_to(&up, mac, 99, 0);
	expect(0, 1, 0, 0, 0);
}

static void broadcast_and_its_filter(void **state)
{
	struct net_filter filter = {.nobcast = true};

	send_to(&a, mac_bcast, 1, 0);
	expect(0, 1, 1, 1, 1);
	send_to(&up, mac_bcast, 99, 0);
	expect(1, 1, 1, 1, 0);
	net_port_set_filter(c.port, &filter);
	send_to(&a, mac_bcast, 1, 0);
	expect(0, 1, 0, 1, 1);
	net_port_set_active(d.port, false);
	send_to(&a, mac_bcast, 1, 0);
	assert_int_equal(all_drops(&d), 0);
	expect(0, 1, 0, 0, 1);
}

static void multicast_by_list(void **state)
{
	struct net_filter filter = {.n_multi = 2};

	send_to(&a, mac_mcast, 1, 0);
	expect(0, 0, 0, 0, 1);
	memcpy(filter.multi[0], "\x33\x33\0\0\0\1", 6);
	memcpy(filter.multi[1], mac_mcast, 6);
	net_port_set_filter(b.port, &filter);
	send_to(&a, mac_mcast, 1, 0);
	expect(0, 1, 0, 0, 1);
	/* all of it, which needs no trust; promiscuity too */
	filter = (struct net_filter){.allmulti = true};
	net_port_set_filter(c.port, &filter);
	filter = (struct net_filter){.promisc = true};
	net_port_set_filter(d.port, &filter);
	send_to(&a, mac_mcast, 1, 0);
	expect(0, 1, 1, 1, 1);
	filter = (struct net_filter){.allmulti = true, .nomulti = true};
	net_port_set_filter(c.port, &filter);
	send_to(&a, mac_mcast, 1, 0);
	expect(0, 1, 0, 1, 1);
	/* more than can be listed is taken as all */
	filter = (struct net_filter){.n_multi = NET_FILTER_MACS + 1};
	net_port_set_filter(c.port, &filter);
	send_to(&a, mac_mcast, 1, 0);
	expect(0, 1, 1, 1, 1);
	/* a group frame nobody wants is sent all the same */
	clear();
	send_to(&up, mac_mcast, 99, 0);
	assert_int_equal(all_drops(&up), 0);
}

/* ---- addresses ---- */

static void spoofed_source_is_dropped(void **state)
{
	struct net_policy pol;

	send_simple(&a, 2, 3, 0);
	assert_int_equal(drops(&a, NET_DROP_TX_SPOOF_MAC), 1);
	expect(0, 0, 0, 0, 0);
	pol = *net_port_policy(a.port);
	pol.spoof_check = false;
	assert_int_equal(net_port_set_policy(a.port, &pol), 0);
	send_simple(&a, 2, 77, 0);
	expect(0, 1, 0, 0, 0);
	/* a spoofed source taught nobody anything */
	send_simple(&b, 77, 2, 0);
	expect(0, 0, 0, 0, 1);
}

static void payload_change_does_not_reach_the_header(void **state)
{
	uint8_t memory[64 + 200] = {0};
	struct net_seg seg = {memory + 64, 200};
	struct net_frame f;

	/* what a port does: copy the head, then point to the rest */
	frame_simple(&f, 2, 1, 0);
	memcpy(memory, net_frame_head(&f), 64);
	f.len = 264;
	f.segs = &seg;
	f.nsegs = 1;
	memset(memory, 0xee, sizeof(memory)); /* the guest rewrites its buffer */
	net_port_input(a.port, &f, 1);
	assert_int_equal(b.rec[0].data[0], 2);
	assert_int_equal(b.rec[0].data[5], 2);
	assert_int_equal(b.rec[0].data[11], 1);
	assert_int_equal(b.rec[0].data[64], 0xee);
	assert_int_equal(b.rec[0].len, 264);
	expect(0, 1, 0, 0, 0);
}

static void extra_addresses_take_trust(void **state)
{
	struct net_filter filter = {.n_uni = 2};
	struct net_frame f;
	uint8_t mac1[6];

	memcpy(filter.uni[0], mac_other, 6);
	dummy_mac(3, filter.uni[1]); /* c's own */
	net_port_set_filter(b.port, &filter);
	send_to(&a, mac_other, 1, 0);
	expect(0, 0, 0, 0, 1);
	set_trust(&b, true);
	send_to(&a, mac_other, 1, 0);
	expect(0, 1, 0, 0, 0);
	/* another port's address is never granted */
	send_simple(&a, 3, 1, 0);
	expect(0, 0, 1, 0, 0);
	send_simple(&b, 1, 3, 0);
	assert_int_equal(drops(&b, NET_DROP_TX_SPOOF_MAC), 1);
	/* it may send from the granted one */
	dummy_mac(1, mac1);
	frame_eth(&f, mac1, mac_other, 0, 0, 0x88b5, 64);
	net_port_input(b.port, &f, 1);
	expect(1, 0, 0, 0, 0);
	frame_eth(&f, mac1, mac_other, 0, 0, 0x88b5, 64);
	net_port_input(c.port, &f, 1);
	assert_int_equal(drops(&c, NET_DROP_TX_SPOOF_MAC), 1);
	expect(0, 0, 0, 0, 0);
	/* once a port has it as its own, the grant is over */
	assert_int_equal(net_port_set_driver_mac(d.port, mac_other), 0);
	send_to(&a, mac_other, 1, 0);
	expect(0, 0, 0, 1, 0);
}

static void mac_rules(void **state)
{
	struct net_port_config cfg = {"x", NET_PORT_FUNCTION, &dummy_ops, NULL};
	struct net_policy pol;
	struct net_port *port;
	uint8_t mac[6];

	dummy_policy(&pol, 1);
	assert_int_equal(net_port_create(sw, &cfg, &pol, &port), -EEXIST);
	memcpy(pol.mac, mac_mcast, 6);
	assert_int_equal(net_port_create(sw, &cfg, &pol, &port), -EINVAL);
	memset(pol.mac, 0, 6);
	assert_int_equal(net_port_create(sw, &cfg, &pol, &port), -EINVAL);
	dummy_policy(&pol, 9);
	pol.vlan = 4095;
	assert_int_equal(net_port_create(sw, &cfg, &pol, &port), -EINVAL);
	pol.vlan = 1;
	pol.vlan_qos = 8;
	assert_int_equal(net_port_create(sw, &cfg, &pol, &port), -EINVAL);
	pol.vlan_qos = 0;
	pol.vlan_proto = 0x9100;
	assert_int_equal(net_port_create(sw, &cfg, &pol, &port), -EINVAL);

	dummy_mac(2, mac);
	assert_int_equal(net_port_set_driver_mac(a.port, mac), -EEXIST);
	assert_int_equal(net_port_set_driver_mac(a.port, mac_mcast), -EINVAL);
	dummy_mac(50, mac);
	assert_int_equal(net_port_set_driver_mac(a.port, mac), 0);
	send_simple(&b, 50, 2, 0);
	expect(1, 0, 0, 0, 0);
	send_simple(&a, 2, 1, 0); /* the old one is no longer its own */
	assert_int_equal(drops(&a, NET_DROP_TX_SPOOF_MAC), 1);
	pol = *net_port_policy(a.port);
	pol.mac_by_admin = true;
	assert_int_equal(net_port_set_policy(a.port, &pol), 0);
	assert_int_equal(net_port_set_driver_mac(a.port, mac), 0); /* no change */
	dummy_mac(51, mac);
	assert_int_equal(net_port_set_driver_mac(a.port, mac), -EPERM);
	set_trust(&a, true);
	assert_int_equal(net_port_set_driver_mac(a.port, mac), 0);
}

static void malformed_is_dropped(void **state)
{
	struct net_frame f;

	frame_simple(&f, 2, 1, 0);
	f.len = f.head_len = 13;
	net_port_input(a.port, &f, 1);
	frame_simple(&f, 2, 1, TAG_Q(4095));
	net_port_input(a.port, &f, 1);
	frame_simple(&f, 2, 1, TAG_Q(1));
	f.len = f.head_len = 17;
	net_port_input(a.port, &f, 1);
	frame_simple(&f, 2, 1, 0);
	f.offload.gso_type = 1;
	net_port_input(a.port, &f, 1);
	assert_int_equal(drops(&a, NET_DROP_TX_MALFORMED), 4);
	/* a guest's word on its checksum counts for nothing, the wire's does */
	frame_simple(&f, 2, 1, 0);
	f.offload.data_valid = true;
	net_port_input(a.port, &f, 1);
	assert_false(b.rec[0].offload.data_valid);
	frame_simple(&f, 2, 99, 0);
	f.offload.data_valid = true;
	net_port_input(up.port, &f, 1);
	assert_true(b.rec[1].offload.data_valid);
	expect(0, 2, 0, 0, 0);
}

/* ---- learning ---- */

static unsigned n_static, n_learnt;

static void count_fdb(void *opaque, const uint8_t *mac, uint16_t vlan, const struct net_port *port,
		      bool is_static, unsigned age)
{
	n_static += is_static;
	n_learnt += !is_static;
	if (!is_static)
		assert_ptr_equal(port, up.port);
}

static unsigned learnt(void)
{
	n_static = n_learnt = 0;
	net_switch_fdb(sw, count_fdb, NULL);
	return n_learnt;
}

static void uplink_learns_and_forgets(void **state)
{
	struct net_filter promisc = {.promisc = true};

	set_trust(&b, true);
	net_port_set_filter(b.port, &promisc);
	send_simple(&a, 99, 1, 0);
	expect(0, 1, 0, 0, 1);
	send_simple(&up, 1, 99, 0);
	expect(1, 0, 0, 0, 0);
	assert_int_equal(learnt(), 1);
	assert_int_equal(n_static, 4);
	send_simple(&a, 99, 1, 0); /* known now: not flooded */
	expect(0, 0, 0, 0, 1);
	send_simple(&a, 99, 1, TAG_Q(7)); /* but not in this VLAN */
	expect(0, 1, 0, 0, 1);
	send_simple(&up, 99, 98, 0); /* never back */
	assert_int_equal(drops(&up, NET_DROP_TX_NO_DEST), 1);
	expect(0, 0, 0, 0, 0);
	/* a function's address from outside moves nothing; groups and zero are not learnt */
	send_simple(&up, 2, 1, 0);
	send_simple(&b, 1, 2, 0);
	expect(1, 1, 0, 0, 0);
	assert_int_equal(learnt(), 2);
	/* functions teach nothing */
	net_switch_set_ageing(sw, 1);
	net_switch_age(sw);
	usleep(2100000);
	net_switch_age(sw);
	assert_int_equal(learnt(), 0);
	send_simple(&a, 99, 1, 0);
	expect(0, 1, 0, 0, 1);
}

static void flood_of_sources_is_bounded(void **state)
{
	struct net_frame f;
	uint8_t src[6] = {2, 9}, dst[6];

	send_simple(&up, 1, 99, 0);
	dummy_mac(1, dst);
	for (uint32_t i = 0; i < 300000; i++) {
		put_be32(src + 2, i);
		frame_eth(&f, dst, src, 0, 0, 0x88b5, 64);
		net_port_input(up.port, &f, 1);
	}
	assert_true(learnt() <= 8192);
	assert_true(learnt() > 4000);
	assert_int_equal(n_static, 4);
	clear();
	send_simple(&b, 1, 2, 0); /* static ones stand */
	expect(1, 0, 0, 0, 0);
	/* what was there first is still known: not flooded to a promiscuous port */
	set_trust(&b, true);
	net_port_set_filter(b.port, &(struct net_filter){.promisc = true});
	send_simple(&a, 99, 1, 0);
	expect(0, 0, 0, 0, 1);
	dummy_del(&up);
	assert_int_equal(learnt(), 0);
}

static void two_uplinks(void **state)
{
	struct dummy up2;

	dummy_add_uplink(sw, &up2);
	send_to(&a, mac_other, 1, 0);
	assert_int_equal(up2.n, 1);
	expect(0, 0, 0, 0, 1);
	send_simple(&up2, 1, 99, 0);
	send_simple(&a, 99, 1, 0);
	assert_int_equal(up2.n, 2);
	expect(1, 0, 0, 0, 0);
	send_simple(&up, 1, 99, 0); /* it moved */
	send_simple(&a, 99, 1, 0);
	assert_int_equal(up2.n, 2);
	expect(1, 0, 0, 0, 1);
	dummy_del(&up2);
}

/* ---- links ---- */

static void link_follows_the_uplink(void **state)
{
	assert_true(net_port_link_up(a.port)); /* no uplink: up */
	dummy_add_uplink(sw, &up);
	clear();
	net_port_set_carrier(up.port, false);
	assert_false(net_port_link_up(a.port));
	assert_false(a.link);
	assert_int_equal(a.link_changes, 1);
	send_simple(&a, 2, 1, 0);
	assert_int_equal(drops(&a, NET_DROP_TX_LINK_DOWN), 1);
	expect(0, 0, 0, 0, 0);
	/* enabled ports talk to each other all the same */
	set_link(&a, NET_LINK_ENABLE);
	set_link(&b, NET_LINK_ENABLE);
	assert_true(net_port_link_up(a.port));
	send_simple(&a, 2, 1, 0);
	expect(0, 1, 0, 0, 0);
	send_simple(&a, 3, 1, 0);
	assert_int_equal(drops(&c, NET_DROP_RX_LINK_DOWN), 1);
	send_to(&a, mac_other, 1, 0); /* the uplink is down */
	assert_int_equal(drops(&a, NET_DROP_TX_NO_DEST), 1);
	expect(0, 0, 0, 0, 0);
	net_port_set_carrier(up.port, true);
	assert_int_equal(a.link_changes, 0);
	assert_int_equal(c.link_changes, 1);
	assert_true(c.link);
	set_link(&a, NET_LINK_DISABLE);
	assert_false(net_port_link_up(a.port));
	net_port_set_carrier(up.port, false);
	dummy_del(&up);
	assert_true(net_port_link_up(c.port));
	up.port = NULL;
}

/* ---- counters ---- */

static void counters_are_exact(void **state)
{
	struct net_port_stats s;
	struct net_frame f[4];
	const uint32_t lens[] = {64, 100, 80, 90};

	send_to(&a, mac_bcast, 1, 0);
	send_to(&a, mac_mcast, 1, 0);
	for (unsigned i = 0; i < 4; i++) {
		frame_simple(&f[i], 2, 1, 0);
		f[i].len = f[i].head_len = (uint16_t)lens[i];
	}
	b.refuse_above = 95;
	net_port_input(a.port, f, 4);
	net_port_get_stats(a.port, &s);
	assert_int_equal(s.tx_packets, 6);
	assert_int_equal(s.tx_bytes, 128 + 334);
	assert_int_equal(s.tx_broadcast, 1);
	assert_int_equal(s.tx_multicast, 1);
	assert_int_equal(s.rx_packets, 0);
	net_port_get_stats(b.port, &s);
	assert_int_equal(s.rx_packets, 4);
	assert_int_equal(s.rx_bytes, 64 + 234);
	assert_int_equal(s.rx_broadcast, 1);
	assert_int_equal(s.rx_multicast, 0);
	assert_int_equal(s.drops[NET_DROP_RX_TOO_BIG], 1);
	assert_int_equal(net_port_stats_rx_dropped(&s), 1);
	assert_int_equal(net_port_stats_tx_dropped(&s), 0);
	net_port_clear_stats(b.port);
	/* a receiver without buffers loses its own frames only */
	b.refuse_above = 0;
	b.take_at_most = 1;
	net_port_input(a.port, f, 4);
	net_port_get_stats(b.port, &s);
	assert_int_equal(s.rx_packets, 1);
	assert_int_equal(s.rx_bytes, 64);
	assert_int_equal(s.drops[NET_DROP_RX_NO_BUFFER], 3);
	net_port_get_stats(a.port, &s);
	assert_int_equal(s.tx_packets, 10);
	assert_int_equal(net_port_stats_tx_dropped(&s), 0);
	net_port_clear_stats(a.port);
	net_port_get_stats(a.port, &s);
	assert_int_equal(s.tx_packets, 0);
	assert_string_equal(net_drop_name(NET_DROP_RX_RATE), "rx-rate");
	for (unsigned i = 0; i < NET_DROP_REASONS; i++)
		assert_non_null(net_drop_name(i));
}

static void many_ports(void **state)
{
	static struct dummy many[300];

	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		dummy_add(sw, &many[i], 1000 + i);
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
		send_simple(&a, 1000 + i, 1, 0);
		assert_int_equal(many[i].n, 1);
	}
	send_to(&a, mac_bcast, 1, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
		assert_int_equal(many[i].n, 2);
		dummy_del(&many[i]);
	}
	expect(0, 1, 1, 1, 0);
}

#define WITH(s, f) cmocka_unit_test_setup_teardown(f, s, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(setup_uplink, unicast_goes_to_its_port_only),
		WITH(setup_uplink, burst_is_delivered_once_per_receiver_in_order),
		WITH(setup, longer_input_is_cut_into_bursts),
		WITH(setup_uplink, unknown_unicast),
		WITH(setup_uplink, receiver_that_does_not_listen),
		WITH(setup_uplink, link_local_stays_with_its_sender),
		WITH(setup_uplink, broadcast_and_its_filter),
		WITH(setup_uplink, multicast_by_list),
		WITH(setup_uplink, spoofed_source_is_dropped),
		WITH(setup, payload_change_does_not_reach_the_header),
		WITH(setup_uplink, extra_addresses_take_trust),
		WITH(setup, mac_rules),
		WITH(setup_uplink, malformed_is_dropped),
		WITH(setup_uplink, uplink_learns_and_forgets),
		WITH(setup_uplink, flood_of_sources_is_bounded),
		WITH(setup_uplink, two_uplinks),
		WITH(setup, link_follows_the_uplink),
		WITH(setup, counters_are_exact),
		WITH(setup, many_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
