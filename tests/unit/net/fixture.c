/* SPDX-License-Identifier: BSD-3-Clause */
#include "fixture.h"

const uint8_t mac_bcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
const uint8_t mac_mcast[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x05};
const uint8_t mac_other[6] = {0x02, 0xee, 0xee, 0xee, 0xee, 0xee};

static unsigned dummy_deliver(struct net_port *port, struct net_frame *const *frames, unsigned n)
{
	struct dummy *d = net_port_opaque(port);
	unsigned taken = 0;

	d->delivers++;
	for (unsigned i = 0; i < n; i++) {
		struct record *r = &d->rec[d->n % RECORD_MAX];

		if (taken == d->take_at_most) {
			net_port_count_drop(port, NET_DROP_RX_NO_BUFFER, n - i);
			break;
		}
		if (d->refuse_above && frames[i]->len > d->refuse_above) {
			net_port_count_drop(port, NET_DROP_RX_TOO_BIG, 1);
			frames[i]->not_taken = true;
			continue;
		}
		memset(r->data, 0, sizeof(r->data));
		r->len = frames[i]->len;
		r->offload = frames[i]->offload;
		net_frame_copy(frames[i], 0, r->data, MIN(r->len, (uint32_t)sizeof(r->data)));
		d->n++;
		taken++;
	}
	return taken;
}

static void dummy_flush(struct net_port *port)
{
	((struct dummy *)net_port_opaque(port))->flushes++;
}

static void dummy_link(struct net_port *port, bool up)
{
	struct dummy *d = net_port_opaque(port);

	d->link_changes++;
	d->link = up;
}

const struct net_port_ops dummy_ops = {dummy_deliver, dummy_flush, dummy_link};

void dummy_mac(unsigned id, uint8_t mac[6])
{
	const uint8_t m[6] = {2, 0, 0, 0, (uint8_t)(id >> 8), (uint8_t)id};

	memcpy(mac, m, 6);
}

void dummy_policy(struct net_policy *p, unsigned id)
{
	net_policy_init(p);
	dummy_mac(id, p->mac);
}

static void add(struct net_switch *sw, struct dummy *d, const struct net_policy *p,
		enum net_port_kind kind)
{
	struct net_port_config cfg = {"test/port", kind, &dummy_ops, d};

	memset(d, 0, sizeof(*d));
	d->take_at_most = UINT32_MAX;
	assert_int_equal(net_port_create(sw, &cfg, p, &d->port), 0);
	assert_string_equal(net_port_name(d->port), "test/port");
	net_port_set_active(d->port, true);
}

void dummy_add_policy(struct net_switch *sw, struct dummy *d, const struct net_policy *p)
{
	add(sw, d, p, NET_PORT_FUNCTION);
}

void dummy_add(struct net_switch *sw, struct dummy *d, unsigned id)
{
	struct net_policy p;

	dummy_policy(&p, id);
	dummy_add_policy(sw, d, &p);
}

void dummy_add_uplink(struct net_switch *sw, struct dummy *d)
{
	struct net_policy p;

	net_policy_init(&p);
	p.spoof_check = false;
	p.trust = true;
	add(sw, d, &p, NET_PORT_UPLINK);
	net_port_set_carrier(d->port, true);
}

void dummy_clear(struct dummy *d)
{
	d->n = d->delivers = d->flushes = d->link_changes = 0;
	net_port_clear_stats(d->port);
}

void dummy_del(struct dummy *d)
{
	net_port_destroy(d->port);
	d->port = NULL;
}

struct net_frame *frame_reset(struct net_frame *f)
{
	memset(f, 0, sizeof(*f));
	f->head_off = NET_HEAD_ROOM;
	return f;
}

void frame_eth(struct net_frame *f, const uint8_t *dst, const uint8_t *src, uint32_t tag,
	       uint32_t tag2, uint16_t type, uint32_t len)
{
	uint8_t *h = net_frame_head(frame_reset(f)), *p = h + 12;

	memcpy(h, dst, 6);
	memcpy(h + 6, src, 6);
	if (tag) {
		put_be32(p, tag);
		p += 4;
	}
	if (tag2) {
		put_be32(p, tag2);
		p += 4;
	}
	put_be16(p, type);
	f->len = len;
	f->head_len = (uint16_t)len;
}

void frame_simple(struct net_frame *f, unsigned dst, unsigned src, uint32_t tag)
{
	uint8_t d[6], s[6];

	dummy_mac(dst, d);
	dummy_mac(src, s);
	frame_eth(f, d, s, tag, 0, 0x88b5, 64);
}

void send_simple(struct dummy *from, unsigned dst, unsigned src, uint32_t tag)
{
	struct net_frame f;

	frame_simple(&f, dst, src, tag);
	net_port_input(from->port, &f, 1);
}

void send_to(struct dummy *from, const uint8_t *dst, unsigned src, uint32_t tag)
{
	struct net_frame f;
	uint8_t s[6];

	dummy_mac(src, s);
	frame_eth(&f, dst, s, tag, 0, 0x88b5, 64);
	net_port_input(from->port, &f, 1);
}

uint64_t drops(const struct dummy *d, enum net_drop reason)
{
	struct net_port_stats s;

	net_port_get_stats(d->port, &s);
	return s.drops[reason];
}

uint64_t all_drops(const struct dummy *d)
{
	struct net_port_stats s;

	net_port_get_stats(d->port, &s);
	return net_port_stats_rx_dropped(&s) + net_port_stats_tx_dropped(&s);
}

uint16_t rec_type(const struct record *r)
{
	return get_be16(r->data + 12);
}

uint16_t rec_tci(const struct record *r)
{
	return get_be16(r->data + 14);
}
