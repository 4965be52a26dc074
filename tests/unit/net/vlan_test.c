/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VLANs: every kind of port as sender and as receiver, for every kind of frame.
 */
#include "fixture.h"

enum kind { PLAIN, PORT_Q, PORT_AD, TRUNK, UPLINK, KINDS };
#define VID 100
#define QOS 5

static struct net_switch *sw;
static struct dummy from, to;

static void add_kind(struct dummy *d, enum kind kind, unsigned id)
{
	struct net_policy p;

	dummy_policy(&p, id);
	switch (kind) {
	case PORT_Q:
	case PORT_AD:
		p.vlan = VID;
		p.vlan_qos = QOS;
		p.vlan_proto = kind == PORT_Q ? 0x8100 : 0x88a8;
		break;
	case TRUNK:
		p.trunk_enabled = true;
		p.trunk[VID / 8] |= 1 << VID % 8;
		break;
	case UPLINK:
		dummy_add_uplink(sw, d);
		return;
	default:
		break;
	}
	dummy_add_policy(sw, d, &p);
}

/* The frame as sent: a pair of tags. As received: the same, or none at all. */
struct tags {
	uint32_t outer, inner;
};
#define LOST                                                                                       \
	{                                                                                          \
		UINT32_MAX, 0                                                                      \
	}
#define Q    TAG_Q(VID)
#define AD   TAG_AD(VID)
#define PRIO (QOS << 13)

static const struct {
	enum kind from, to;
	struct tags sent, got;
} matrix[] = {
	/* untagged */
	{PLAIN, PLAIN, {0}, {0}},
	{PLAIN, PORT_Q, {0}, LOST},
	{PLAIN, PORT_AD, {0}, LOST},
	{PLAIN, TRUNK, {0}, {0}},
	{PLAIN, UPLINK, {0}, {0}},
	{UPLINK, PORT_Q, {0}, LOST},
	{TRUNK, PLAIN, {0}, {0}},
	/* a port VLAN's frames carry its tag where tags are seen, with its priority */
	{PORT_Q, PORT_Q, {0}, {0}},
	{PORT_Q, PORT_AD, {0}, LOST},
	{PORT_AD, PORT_Q, {0}, LOST},
	{PORT_AD, PORT_AD, {0}, {0}},
	{PORT_Q, PLAIN, {0}, {Q | PRIO}},
	{PORT_Q, TRUNK, {0}, {Q | PRIO}},
	{PORT_Q, UPLINK, {0}, {Q | PRIO}},
	{PORT_AD, UPLINK, {0}, {AD | PRIO}},
	{PORT_AD, PLAIN, {0}, {AD | PRIO}},
	{PORT_AD, TRUNK, {0}, LOST},
	/* and lose it on the way in */
	{UPLINK, PORT_Q, {Q | 3 << 13}, {0}},
	{UPLINK, PORT_AD, {AD}, {0}},
	{UPLINK, PORT_AD, {Q}, LOST},
	{UPLINK, PORT_Q, {AD}, LOST},
	{UPLINK, PORT_Q, {TAG_Q(101)}, LOST},
	{PLAIN, PORT_Q, {Q}, {0}},
	{TRUNK, PORT_Q, {Q}, {0}},
	{UPLINK, PORT_AD, {AD, Q}, {Q}},
	{UPLINK, PORT_Q, {Q, TAG_Q(7)}, {TAG_Q(7)}},
	/* tags through ports that see them */
	{PLAIN, PLAIN, {Q}, {Q}},
	{PLAIN, UPLINK, {AD, Q}, {AD, Q}},
	{UPLINK, TRUNK, {Q}, {Q}},
	{UPLINK, TRUNK, {TAG_Q(101)}, LOST},
	{UPLINK, TRUNK, {AD}, LOST},
	{TRUNK, UPLINK, {Q}, {Q}},
	{TRUNK, TRUNK, {Q | PRIO}, {Q | PRIO}},
	{PLAIN, PLAIN, {TAG_Q(0)}, {TAG_Q(0)}}, /* priority tag: VLAN 0 */
	{UPLINK, PORT_Q, {TAG_Q(0)}, LOST},
	/* a customer's tag inside a provider's port VLAN */
	{PORT_AD, PORT_AD, {TAG_Q(7)}, {TAG_Q(7)}},
	{PORT_AD, UPLINK, {TAG_Q(7)}, {AD | PRIO, TAG_Q(7)}},
	{PORT_AD, UPLINK, {TAG_Q(7), TAG_Q(8)}, {AD | PRIO, TAG_Q(7)}},
};

/* Tags that their port may not send. */
static const struct {
	enum kind from;
	struct tags sent;
} spoofs[] = {
	{PORT_Q, {Q}},
	{PORT_Q, {TAG_Q(0)}},
	{PORT_Q, {TAG_Q(7)}},
	{PORT_Q, {AD}},
	{PORT_AD, {AD}},
	{PORT_AD, {AD, Q}},
	{TRUNK, {TAG_Q(101)}},
	{TRUNK, {TAG_Q(1)}},
	{TRUNK, {AD}},
	{TRUNK, {AD, Q}},
	{TRUNK, {TAG_Q(0), TAG_Q(101)}}, /* a tag hidden behind a priority tag */
	{TRUNK, {TAG_Q(0), TAG_AD(101)}},
};

static void send_tags(const struct tags *tags, const uint8_t *dst)
{
	struct net_frame f;
	uint8_t src[6];

	dummy_mac(1, src);
	frame_eth(&f, dst, src, tags->outer, tags->inner, 0x88b5, 80);
	net_frame_head(&f)[70] = 0x77;
	net_port_input(from.port, &f, 1);
}

static void check_got(unsigned row, const struct tags *sent, const struct tags *got)
{
	unsigned sent_tags = !!sent->outer + !!sent->inner, got_tags;
	const struct record *r = &to.rec[0];
	struct net_port_stats s;

	if (to.n != (got->outer != UINT32_MAX))
		print_error("row %u\n", row);
	assert_int_equal(to.n, got->outer != UINT32_MAX);
	if (!to.n)
		return;
	got_tags = !!got->outer + !!got->inner;
	if (got->outer && got->outer >> 16 == 0x88a8 && sent->inner && got->inner == sent->outer)
		got_tags++; /* three tags: the last is not in the table */
	if (got->outer && get_be32(r->data + 12) != got->outer)
		print_error("row %u: %08x\n", row, get_be32(r->data + 12));
	if (got->outer)
		assert_int_equal(get_be32(r->data + 12), got->outer);
	if (got->inner)
		assert_int_equal(get_be32(r->data + 16), got->inner);
	assert_int_equal(r->len, 80 + 4 * (int)got_tags - 4 * (int)sent_tags);
	assert_int_equal(get_be16(r->data + 12 + 4 * got_tags), 0x88b5);
	assert_int_equal(r->data[70 + 4 * (int)got_tags - 4 * (int)sent_tags], 0x77);
	net_port_get_stats(to.port, &s);
	assert_int_equal(s.rx_bytes, r->len);
}

static void matrix_holds(void **state)
{
	uint8_t dst[6];

	dummy_mac(2, dst);
	for (unsigned i = 0; i < ARRAY_SIZE(matrix); i++) {
		assert_int_equal(net_switch_create("nic", &sw), 0);
		add_kind(&from, matrix[i].from, 1);
		add_kind(&to, matrix[i].to, 2);
		/* unicast and broadcast alike */
		send_tags(&matrix[i].sent, dst);
		check_got(i, &matrix[i].sent, &matrix[i].got);
		dummy_clear(&to);
		send_tags(&matrix[i].sent, mac_bcast);
		check_got(i, &matrix[i].sent, &matrix[i].got);
		assert_int_equal(drops(&from, NET_DROP_TX_SPOOF_VLAN), 0);
		dummy_del(&from);
		dummy_del(&to);
		net_switch_destroy(sw);
	}
}

static void spoofed_tags_are_dropped(void **state)
{
	uint8_t dst[6];

	dummy_mac(2, dst);
	for (unsigned i = 0; i < ARRAY_SIZE(spoofs); i++) {
		assert_int_equal(net_switch_create("nic", &sw), 0);
		add_kind(&from, spoofs[i].from, 1);
		add_kind(&to, PLAIN, 2);
		send_tags(&spoofs[i].sent, dst);
		send_tags(&spoofs[i].sent, mac_bcast);
		if (drops(&from, NET_DROP_TX_SPOOF_VLAN) != 2)
			print_error("row %u\n", i);
		assert_int_equal(drops(&from, NET_DROP_TX_SPOOF_VLAN), 2);
		assert_int_equal(to.n, 0);
		dummy_del(&from);
		dummy_del(&to);
		net_switch_destroy(sw);
	}
}

/* One broadcast reaches ports of every kind, each in its own form; the sender's frame is edited
 * back and forth on the way. */
static void broadcast_in_many_forms(void **state)
{
	struct dummy d[6];
	const enum kind kinds[] = {PLAIN, PORT_Q, TRUNK, PORT_Q, PLAIN, UPLINK};
	struct net_frame f[3];
	uint8_t src[6];

	assert_int_equal(net_switch_create("nic", &sw), 0);
	for (unsigned i = 0; i < 6; i++)
		add_kind(&d[i], kinds[i], 10 + i);
	add_kind(&from, UPLINK, 1);
	dummy_mac(1, src);
	for (unsigned i = 0; i < 3; i++) {
		frame_eth(&f[i], mac_bcast, src, Q | 2 << 13, 0, 0x88b5, 80);
		f[i].offload = (struct net_offload){
			.needs_csum = true, .csum_start = 38, .csum_offset = 6};
		net_frame_head(&f[i])[60] = (uint8_t)i;
	}
	net_port_input(from.port, f, 3);
	for (unsigned i = 0; i < 6; i++) {
		bool tagged = kinds[i] != PORT_Q;

		assert_int_equal(d[i].n, 3);
		assert_int_equal(d[i].delivers, 1);
		for (unsigned k = 0; k < 3; k++) {
			const struct record *r = &d[i].rec[k];

			assert_int_equal(r->len, tagged ? 80 : 76);
			assert_int_equal(r->offload.csum_start, tagged ? 38 : 34);
			assert_int_equal(r->data[tagged ? 60 : 56], k);
			assert_memory_equal(r->data + 6, src, 6);
			if (tagged)
				assert_int_equal(rec_tci(r), VID | 2 << 13);
			else
				assert_int_equal(rec_type(r), 0x88b5);
		}
	}
	for (unsigned i = 0; i < 6; i++)
		dummy_del(&d[i]);
	dummy_del(&from);
	net_switch_destroy(sw);
}

static void one(const uint8_t *dst, uint32_t tag, uint32_t tag2, unsigned expected)
{
	const struct tags t = {tag, tag2};

	dummy_clear(&to);
	send_tags(&t, dst);
	assert_int_equal(to.n, expected);
}

static void driver_vlan_filter(void **state)
{
	struct net_filter filter = {.vlan_filter = true};
	struct net_policy p;
	uint8_t dst[6];

	dummy_mac(2, dst);
	filter.vlans[5 / 8] |= 1 << 5;
	assert_int_equal(net_switch_create("nic", &sw), 0);
	add_kind(&from, UPLINK, 1);
	add_kind(&to, PLAIN, 2);
	net_port_set_filter(to.port, &filter);
	one(dst, 0, 0, 1);
	one(dst, TAG_Q(0), 0, 1);
	one(dst, TAG_Q(5), 0, 1);
	one(dst, TAG_Q(6), 0, 0);
	assert_int_equal(drops(&from, NET_DROP_TX_NO_DEST), 1);
	one(mac_bcast, TAG_Q(5), 0, 1);
	one(mac_bcast, TAG_Q(6), 0, 0);
	one(dst, TAG_AD(6), 0, 1); /* the filter is of C-tags */
	/* promiscuity lifts it, given trust */
	filter.promisc = true;
	net_port_set_filter(to.port, &filter);
	one(dst, TAG_Q(6), 0, 0);
	p = *net_port_policy(to.port);
	p.trust = true;
	assert_int_equal(net_port_set_policy(to.port, &p), 0);
	one(dst, TAG_Q(6), 0, 1);
	/* in a port VLAN it is applied to what the driver sees: the inner tag */
	filter.promisc = false;
	net_port_set_filter(to.port, &filter);
	p.vlan = VID;
	p.vlan_proto = 0x88a8;
	assert_int_equal(net_port_set_policy(to.port, &p), 0);
	one(dst, AD, 0, 1);
	one(dst, AD, TAG_Q(5), 1);
	one(dst, AD, TAG_Q(6), 0);
	one(mac_bcast, AD, TAG_Q(6), 0);
	/* and no wish of the driver gets it into another VLAN */
	filter.promisc = filter.allmulti = filter.alluni = true;
	net_port_set_filter(to.port, &filter);
	one(dst, Q, 0, 0);
	one(mac_bcast, Q, 0, 0);
	one(mac_other, Q, 0, 0);
	one(mac_other, AD, 0, 1);
	dummy_del(&from);
	dummy_del(&to);
	net_switch_destroy(sw);
}

/* The same granted address in two VLANs, as a virtual router has it. */
static void one_address_per_vlan(void **state)
{
	static const uint8_t vmac[6] = {0, 0, 0x5e, 0, 1, 9};
	struct net_filter filter = {.n_uni = 1};
	struct dummy d[2];
	struct net_policy p;

	memcpy(filter.uni[0], vmac, 6);
	assert_int_equal(net_switch_create("nic", &sw), 0);
	add_kind(&from, UPLINK, 1);
	for (unsigned i = 0; i < 2; i++) {
		dummy_policy(&p, 2 + i);
		p.vlan = (uint16_t)(10 + i);
		p.trust = true;
		dummy_add_policy(sw, &d[i], &p);
		net_port_set_filter(d[i].port, &filter);
	}
	send_to(&from, vmac, 1, TAG_Q(10));
	assert_int_equal(d[0].n, 1);
	assert_int_equal(d[1].n, 0);
	send_to(&from, vmac, 1, TAG_Q(11));
	assert_int_equal(d[0].n, 1);
	assert_int_equal(d[1].n, 1);
	dummy_del(&d[0]);
	dummy_del(&d[1]);
	dummy_del(&from);
	net_switch_destroy(sw);
}

/* A unicast address in a VLAN its port is not in is unknown there. */
static void wrong_vlan_is_unknown(void **state)
{
	struct dummy up;
	uint8_t dst[6];

	dummy_mac(2, dst);
	assert_int_equal(net_switch_create("nic", &sw), 0);
	add_kind(&from, PORT_Q, 1);
	add_kind(&to, PLAIN, 2);
	add_kind(&up, UPLINK, 3);
	dummy_clear(&to);
	send_simple(&to, 1, 2, 0); /* from is in VLAN 100, this is VLAN 0 */
	assert_int_equal(from.n, 0);
	assert_int_equal(up.n, 1);
	assert_int_equal(rec_type(&up.rec[0]), 0x88b5);
	dummy_del(&up);
	dummy_del(&from);
	dummy_del(&to);
	net_switch_destroy(sw);
}

/* One address in two VLANs within one burst: what was looked up for one must not serve the other,
 * for destinations and for learning. */
static void vlans_mix_in_a_burst(void **state)
{
	struct net_frame f[4];
	struct dummy up, third;
	uint8_t mac1[6], mac2[6];

	dummy_mac(1, mac1);
	dummy_mac(2, mac2);
	assert_int_equal(net_switch_create("nic", &sw), 0);
	add_kind(&up, UPLINK, 0);
	add_kind(&third, UPLINK, 0);
	add_kind(&to, PORT_Q, 2);
	add_kind(&from, UPLINK, 0);
	for (unsigned i = 0; i < 4; i++) {
		frame_eth(&f[i], mac2, mac1, i % 2 ? TAG_Q(101) : Q, 0, 0x88b5, 80);
		net_frame_head(&f[i])[70] = (uint8_t)i;
	}
	net_port_input(from.port, f, 4);
	assert_int_equal(to.n, 2);
	assert_int_equal(to.rec[0].data[66], 0);
	assert_int_equal(to.rec[1].data[66], 2);
	assert_int_equal(up.n, 2); /* the others are unknown unicast in VLAN 101 */
	assert_int_equal(rec_tci(&up.rec[0]), 101);
	/* learnt in both VLANs: back to that uplink only */
	dummy_clear(&up);
	dummy_clear(&third);
	dummy_clear(&from);
	frame_eth(&f[0], mac1, mac2, 0, 0, 0x88b5, 80);
	net_port_input(to.port, f, 1);
	assert_int_equal(from.n, 1);
	assert_int_equal(up.n, 0);
	dummy_clear(&from);
	frame_eth(&f[0], mac1, mac_other, TAG_Q(101), 0, 0x88b5, 80);
	net_port_input(up.port, f, 1);
	assert_int_equal(from.n, 1);
	assert_int_equal(drops(&up, NET_DROP_TX_NO_DEST), 0);
	assert_int_equal(to.n, 2);
	assert_int_equal(third.n, 0);
	dummy_del(&third);
	dummy_del(&up);
	dummy_del(&from);
	dummy_del(&to);
	net_switch_destroy(sw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matrix_holds),
		cmocka_unit_test(spoofed_tags_are_dropped),
		cmocka_unit_test(broadcast_in_many_forms),
		cmocka_unit_test(driver_vlan_filter),
		cmocka_unit_test(one_address_per_vlan),
		cmocka_unit_test(wrong_vlan_is_unknown),
		cmocka_unit_test(vlans_mix_in_a_burst),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
