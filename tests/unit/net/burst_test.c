/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A burst is only a faster way. Two switches with the same ports get the same random frames, one
 * in bursts, the other one by one: every port must receive the same frames, in the same order and
 * form, and count the same. A frame mostly resembles the one before it, for that is what the short
 * cuts within a burst go by.
 */
#include "fixture.h"

#define PORTS	   8
#define UPLINK	   (PORTS - 1)
#define BEHIND	   4   /* addresses behind the uplink, after those of the ports */
#define VLAN	   100 /* of port VLANs, trunk and filters; tags have others too */
#define NUMBER_AT  22  /* a frame's number lies here, behind two tags at most */
#define LONG_FRAME 200 /* bytes: some ports do not take longer ones */
#define WORLDS	   60
#define BURSTS	   100 /* in each world */

static unsigned seed;

static unsigned rnd(unsigned n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

static bool chance(unsigned one_in)
{
	return !rnd(one_in);
}

/* --- two equal switches --- */

struct setting {
	struct net_policy policy;
	struct net_filter filter;
	uint32_t refuse_above;
};

struct side {
	struct net_switch *sw;
	struct dummy ports[PORTS];
};

static void set_bit(uint8_t *bitmap, unsigned bit)
{
	bitmap[bit / 8] |= (uint8_t)(1 << bit % 8);
}

static void set_port_vlan(struct setting *s, uint16_t proto)
{
	s->policy.vlan = VLAN;
	s->policy.vlan_proto = proto;
}

/* Each kind of policy is there; what drivers ask for is drawn. */
static void draw_settings(struct setting *s)
{
	memset(s, 0, PORTS * sizeof(*s));
	for (unsigned i = 0; i < PORTS; i++) {
		dummy_policy(&s[i].policy, i + 1);
		s[i].policy.spoof_check = i % 2;
		s[i].refuse_above = i % 3 ? 0 : LONG_FRAME;
		s[i].filter.allmulti = rnd(2);
		s[i].filter.nouni = chance(10);
		s[i].filter.nobcast = chance(10);
		s[i].filter.vlan_filter = rnd(2);
		set_bit(s[i].filter.vlans, VLAN);
	}
	set_port_vlan(&s[2], 0x8100);
	set_port_vlan(&s[3], 0x8100);
	set_port_vlan(&s[4], 0x88a8);
	s[5].policy.trunk_enabled = true;
	set_bit(s[5].policy.trunk, VLAN);
	s[6].policy.trust = true;
	s[6].filter.promisc = rnd(2);
	if (chance(4))
		s[rnd(UPLINK)].policy.link = NET_LINK_DISABLE;
}

static void create(struct side *side, const struct setting *s)
{
	assert_int_equal(net_switch_create("sw", &side->sw), 0);
	for (unsigned i = 0; i < UPLINK; i++) {
		dummy_add_policy(side->sw, &side->ports[i], &s[i].policy);
		net_port_set_filter(side->ports[i].port, &s[i].filter);
	}
	dummy_add_uplink(side->sw, &side->ports[UPLINK]);
	for (unsigned i = 0; i < PORTS; i++)
		side->ports[i].refuse_above = s[i].refuse_above;
}

static void destroy(struct side *side)
{
	for (unsigned i = 0; i < PORTS; i++)
		dummy_del(&side->ports[i]);
	net_switch_destroy(side->sw);
}

/* --- random frames --- */

/* What a frame mostly shares with the one before it. */
struct flow {
	uint8_t dst[6], src[6];
	uint32_t tag, tag2;
	uint16_t type;
};

static void draw_dst(uint8_t mac[6])
{
	static const uint8_t pause[6] = {0x01, 0x80, 0xc2, 0, 0, 1};
	const uint8_t *const others[] = {mac_bcast, mac_mcast, mac_other, pause};

	if (chance(3))
		memcpy(mac, others[rnd(ARRAY_SIZE(others))], 6);
	else
		dummy_mac(1 + rnd(UPLINK + BEHIND), mac);
}

static void draw_src(uint8_t mac[6], unsigned from)
{
	if (from == UPLINK)
		dummy_mac(1 + UPLINK + rnd(BEHIND), mac);
	else
		dummy_mac(1 + (chance(3) ? rnd(UPLINK + BEHIND) : from), mac);
}

static uint32_t draw_tag(void)
{
	static const uint32_t tags[] = {
		0, 0, 0, 0, TAG_Q(VLAN), TAG_Q(5), TAG_Q(0), TAG_Q(0xfff), TAG_AD(VLAN), TAG_AD(7),
	};

	return tags[rnd(ARRAY_SIZE(tags))];
}

static void vary(struct flow *flow, unsigned from)
{
	static const uint16_t types[] = {0x0800, 0x0800, 0x0806, 0x9100};

	if (chance(3))
		draw_dst(flow->dst);
	if (chance(6))
		draw_src(flow->src, from);
	if (chance(5)) {
		flow->tag = draw_tag();
		flow->tag2 = flow->tag ? draw_tag() : 0;
	}
	if (chance(8))
		flow->type = types[rnd(ARRAY_SIZE(types))];
}

static uint32_t draw_length(void)
{
	if (!chance(4))
		return 64 + rnd(50);
	return chance(2) ? 1000 : LONG_FRAME - 20 + rnd(60);
}

/* rest: describes what does not fit into the head. */
static void draw_frame(const struct flow *flow, struct net_frame *f, struct net_seg *rest)
{
	static const uint8_t payload[1000];
	static uint32_t number;
	uint32_t len = draw_length();

	frame_eth(f, flow->dst, flow->src, flow->tag, flow->tag2, flow->type, len);
	put_be32(net_frame_head(f) + NUMBER_AT, number++);
	if (len > NET_HEAD_MAX) {
		*rest = (struct net_seg){payload, len - NET_HEAD_MAX};
		f->head_len = NET_HEAD_MAX;
		f->segs = rest;
		f->nsegs = 1;
	}
	f->offload.data_valid = rnd(2);
	if (chance(9)) {
		f->offload.needs_csum = true;
		f->offload.csum_start = 34;
		f->offload.csum_offset = 16;
	}
	if (chance(9))
		f->head_len = 5; /* malformed */
}

static unsigned draw_burst(unsigned from, struct net_frame *frames, struct net_seg *rests)
{
	struct flow flow = {.type = 0x0800};
	unsigned n = 1 + rnd(NET_BURST);

	draw_dst(flow.dst);
	draw_src(flow.src, from);
	for (unsigned i = 0; i < n; i++) {
		vary(&flow, from);
		draw_frame(&flow, &frames[i], &rests[i]);
	}
	return n;
}

/* --- the comparison --- */

/* What happened in all: the test must have seen it. */
static struct net_port_stats seen;

static void add_to_seen(const struct net_port_stats *s)
{
	seen.rx_packets += s->rx_packets;
	seen.rx_broadcast += s->rx_broadcast;
	seen.rx_multicast += s->rx_multicast;
	for (unsigned i = 0; i < NET_DROP_REASONS; i++)
		seen.drops[i] += s->drops[i];
}

static void compare(const struct dummy *burst, const struct dummy *single)
{
	struct net_port_stats a, b;

	assert_true(burst->n <= RECORD_MAX);
	assert_int_equal(burst->n, single->n);
	assert_memory_equal(burst->rec, single->rec, burst->n * sizeof(burst->rec[0]));
	/* one call for the whole burst */
	assert_true(burst->delivers <= 1);
	net_port_get_stats(burst->port, &a);
	net_port_get_stats(single->port, &b);
	assert_memory_equal(&a, &b, sizeof(a));
	add_to_seen(&a);
}

static void one_burst(struct side *burst, struct side *single)
{
	struct net_frame together[NET_BURST], alone[NET_BURST];
	struct net_seg rests[NET_BURST];
	unsigned from = rnd(PORTS), n = draw_burst(from, together, rests);

	memcpy(alone, together, sizeof(alone[0]) * n);
	for (unsigned i = 0; i < PORTS; i++) {
		dummy_clear(&burst->ports[i]);
		dummy_clear(&single->ports[i]);
	}
	net_port_input(burst->ports[from].port, together, n);
	for (unsigned i = 0; i < n; i++)
		net_port_input(single->ports[from].port, &alone[i], 1);
	for (unsigned i = 0; i < PORTS; i++)
		compare(&burst->ports[i], &single->ports[i]);
}

static void assert_all_seen(void)
{
	static const enum net_drop reasons[] = {
		NET_DROP_TX_SPOOF_MAC, NET_DROP_TX_SPOOF_VLAN, NET_DROP_TX_LINK_DOWN,
		NET_DROP_TX_MALFORMED, NET_DROP_TX_NO_DEST,    NET_DROP_RX_LINK_DOWN,
		NET_DROP_RX_TOO_BIG,
	};

	assert_true(seen.rx_packets && seen.rx_broadcast && seen.rx_multicast);
	for (unsigned i = 0; i < ARRAY_SIZE(reasons); i++)
		assert_true(seen.drops[reasons[i]]);
}

static void test_burst_is_its_frames(void **state)
{
	static struct side burst, single;
	static struct setting settings[PORTS];

	for (unsigned world = 0; world < WORLDS; world++) {
		seed = world;
		draw_settings(settings);
		create(&burst, settings);
		create(&single, settings);
		for (unsigned i = 0; i < BURSTS; i++)
			one_burst(&burst, &single);
		destroy(&burst);
		destroy(&single);
	}
	assert_all_seen();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst_is_its_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
