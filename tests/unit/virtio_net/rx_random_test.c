/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random frames into random receive buffers: both kinds of ring, mergeable buffers or not, a hash
 * report or not, chains of one descriptor and of several. What becomes of each frame is known
 * beforehand. Proved are header and bytes of each, how many buffers it takes and how full they
 * are, the order, that not a byte beside these is written, and what is counted as lost.
 */
#include <netinet/in.h>

#include "guest.h"

#define ROUNDS	  256
#define FRAMES	  40
#define FRAME_LEN 6060
#define TX_STRIDE 8192
#define CHAINS	  200 /* and descriptors of them all */
#define PIECES	  4   /* of a chain at most */
#define UNTOUCHED 0xee

struct piece {
	uint8_t *ptr;
	uint32_t len;
};

struct chain {
	struct piece pieces[PIECES];
	unsigned n;
	uint32_t room;
};

struct sent {
	struct virtio_net_hdr_v1 hdr;
	uint32_t len;
	uint8_t data[FRAME_LEN];
};

struct loss {
	uint64_t no_buffer, too_big;
};

struct round {
	struct guest *from, *to;
	bool mergeable;
	struct chain chains[CHAINS];
	unsigned n_chains, next; /* next: the first that no frame took */
	uint8_t *area, *end;	 /* where the chains lie, with gaps */
	struct sent frames[FRAMES];
	unsigned n_frames;
	uint64_t received;
	struct loss lost;
};

/* What happened in all: the test must have seen it. */
static struct {
	uint64_t whole, merged, chained, gso;
	struct loss lost;
} seen;

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

/* --- receive buffers --- */

enum style { SINGLE, MOSTLY_SINGLE, MIXED, MIXED_LONG, STYLES };

static unsigned draw_pieces(enum style style)
{
	if (style == SINGLE || !chance(style == MOSTLY_SINGLE ? 12 : 3))
		return 1;
	return 1 + rnd(PIECES);
}

/* The first piece holds any header: less would break the queue. */
static uint32_t draw_piece_len(enum style style, bool first)
{
	uint32_t len = 1 + rnd(2000);

	if (first) {
		len = sizeof(struct virtio_net_hdr_v1_hash) + (chance(2) ? rnd(100) : 0);
		len += chance(3) ? 0 : rnd(3000);
	}
	return style == MIXED_LONG ? len + 2000 : len;
}

static void add_chain(struct round *r, enum style style)
{
	struct chain *c = &r->chains[r->n_chains];
	struct gvq_seg segs[PIECES];

	c->n = draw_pieces(style);
	c->room = 0;
	for (unsigned i = 0; i < c->n; i++) {
		struct piece *p = &c->pieces[i];

		p->ptr = r->end;
		p->len = draw_piece_len(style, i == 0);
		segs[i] = (struct gvq_seg){GUEST_BASE + (uint64_t)(p->ptr - r->to->mem), p->len,
					   true};
		c->room += p->len;
		r->end += p->len + rnd(64);
	}
	assert_int_equal(gvq_add(&r->to->rx[0], segs, c->n, r->n_chains), 0);
	r->n_chains++;
}

static void add_chains(struct round *r, enum style style)
{
	unsigned pieces = 1 + rnd(CHAINS - PIECES);

	r->area = r->end = r->to->mem + r->to->rx_bufs[0];
	memset(r->area, UNTOUCHED, (size_t)r->to->rx_nbufs * r->to->rx_buf_size);
	for (unsigned n = 0; n < pieces; n += r->chains[r->n_chains - 1].n)
		add_chain(r, style);
	assert_true(r->end <= r->area + (size_t)r->to->rx_nbufs * r->to->rx_buf_size);
	gvq_publish(&r->to->rx[0]);
}

/* --- frames --- */

static void draw_frame(struct round *r, struct sent *s, uint16_t number)
{
	struct frame_spec spec = {
		.dst = r->to->mac,
		.src = r->from->mac,
		.l3 = 4,
		.proto = IPPROTO_TCP,
		.len = 60 + rnd(chance(3) ? FRAME_LEN - 60 : 200),
		.sport = number,
	};

	spec.partial = chance(3);
	if (spec.partial && spec.len > 1000 && chance(2))
		spec.gso = 1000;
	seen.gso += spec.gso != 0;
	s->len = spec.len;
	frame_build(&spec, s->data, &s->hdr);
}

/* In one descriptor, or in two that part anywhere. */
static void queue_frame(struct guest *g, const struct sent *s, unsigned slot)
{
	uint64_t at = g->tx_area + (uint64_t)slot * TX_STRIDE;
	uint32_t total = g->hdr_len + s->len, cut = 1 + rnd(total - 1);
	struct gvq_seg segs[] = {
		{GUEST_BASE + at, cut, false},
		{GUEST_BASE + at + cut, total - cut, false},
	};

	memcpy(g->mem + at, &s->hdr, g->hdr_len);
	memcpy(g->mem + at + g->hdr_len, s->data, s->len);
	if (chance(3))
		assert_int_equal(gvq_add(&g->tx[0], segs, 2, slot), 0);
	else
		assert_int_equal(gvq_add_one(&g->tx[0], segs[0].addr, total, false, slot), 0);
}

static void send_frames(struct round *r)
{
	r->n_frames = 1 + rnd(FRAMES);
	for (unsigned i = 0; i < r->n_frames; i++) {
		draw_frame(r, &r->frames[i], (uint16_t)i);
		queue_frame(r->from, &r->frames[i], i);
	}
	if (gvq_publish(&r->from->tx[0]))
		guest_kick(r->from, 1);
	assert_true(guest_tx_wait(r->from, 0));
}

/* --- what became of them --- */

/* How many of the chains that are left a frame takes; 0: none, it is lost. */
static unsigned chains_for(const struct round *r, uint32_t total)
{
	unsigned n = 0, most = r->n_chains - r->next;
	uint32_t room = 0;

	if (!r->mergeable)
		most = MIN(most, 1u);
	while (n < most && room < total)
		room += r->chains[r->next + n++].room;
	return room < total ? 0 : n;
}

/* Takes the bytes out, and makes their place as if it had not been written. */
static void read_chain(const struct chain *c, uint8_t *dst, uint32_t len)
{
	for (unsigned i = 0; i < c->n; i++) {
		uint32_t m = MIN(len, c->pieces[i].len);

		memcpy(dst, c->pieces[i].ptr, m);
		memset(c->pieces[i].ptr, UNTOUCHED, m);
		dst += m;
		len -= m;
	}
	seen.chained += c->n > 1;
}

/* All chains but the last are full (5.1.6.4). */
static void read_chains(struct round *r, unsigned n, uint8_t *dst, uint32_t total)
{
	while (n--) {
		const struct chain *c = &r->chains[r->next];
		uint64_t cookie;
		uint32_t len;

		assert_true(gvq_take(&r->to->rx[0], &cookie, &len));
		assert_int_equal(cookie, r->next);
		assert_int_equal(len, MIN(total, c->room));
		read_chain(c, dst, len);
		dst += len;
		total -= len;
		r->next++;
	}
}

static void check_frame(struct round *r, const struct sent *s)
{
	static uint8_t got[sizeof(struct virtio_net_hdr_v1_hash) + FRAME_LEN];
	struct virtio_net_hdr_v1_hash hdr = {.hdr = s->hdr};
	uint32_t total = r->to->hdr_len + s->len;
	unsigned n = chains_for(r, total);

	if (!n) {
		if (!r->mergeable && r->next < r->n_chains)
			r->lost.too_big++;
		else
			r->lost.no_buffer++;
		return;
	}
	read_chains(r, n, got, total);
	hdr.hdr.num_buffers = htole16((uint16_t)n);
	assert_memory_equal(got, &hdr, r->to->hdr_len);
	assert_memory_equal(got + r->to->hdr_len, s->data, s->len);
	r->received++;
	seen.whole += n == 1;
	seen.merged += n > 1;
}

static void check_untouched(const struct round *r)
{
	size_t len = (size_t)r->to->rx_nbufs * r->to->rx_buf_size;

	assert_int_equal(r->area[0], UNTOUCHED);
	assert_memory_equal(r->area, r->area + 1, len - 1);
}

static void check_counters(const struct round *r)
{
	struct net_port_stats st;

	net_port_get_stats(virtio_net_port(r->to->net), &st);
	assert_int_equal(st.rx_packets, r->received);
	assert_int_equal(st.drops[NET_DROP_RX_NO_BUFFER], r->lost.no_buffer);
	assert_int_equal(st.drops[NET_DROP_RX_TOO_BIG], r->lost.too_big);
	assert_int_equal(net_port_stats_rx_dropped(&st), r->lost.no_buffer + r->lost.too_big);
	seen.lost.no_buffer += r->lost.no_buffer;
	seen.lost.too_big += r->lost.too_big;
}

static void check_round(struct round *r)
{
	for (unsigned i = 0; i < r->n_frames; i++)
		check_frame(r, &r->frames[i]);
	assert_false(gvq_has_used(&r->to->rx[0]));
	check_untouched(r);
	check_counters(r);
	assert_int_equal(guest_status(r->to), 15);
}

/* --- rounds --- */

static const struct guest_opts device = {
	.features = GUEST_FEATURES,
	.packed = true,
	.mtu = 9000,
	.rx_buf_size = 4096,
	.rx_nbufs = 512,
	.no_rx_buffers = true,
};

static void one_round(struct guest *from, struct guest *to, unsigned number)
{
	static struct round r;
	struct guest_opts tx = device, rx = device;

	seed = number;
	r = (struct round){.from = from, .to = to, .mergeable = number & 2};
	if (number & 1) {
		tx.features |= F(VIRTIO_F_RING_PACKED);
		rx.features |= F(VIRTIO_F_RING_PACKED);
	}
	if (!r.mergeable)
		rx.features &= ~F(VIRTIO_NET_F_MRG_RXBUF);
	if (number & 4)
		rx.features |= F(VIRTIO_NET_F_HASH_REPORT);
	if (chance(2))
		rx.features &= ~F(VNET_F_GUEST_USO4);
	guest_start(from, &tx);
	guest_start(to, &rx);
	net_port_clear_stats(virtio_net_port(to->net));
	add_chains(&r, number / 8 % STYLES);
	send_frames(&r);
	check_round(&r);
}

static void test_random(void **state)
{
	struct guest from, to;
	struct world w;

	world_create(&w, 1);
	guest_create(&w, &from, 1, &device);
	guest_create(&w, &to, 2, &device);
	for (unsigned i = 0; i < ROUNDS; i++)
		one_round(&from, &to, i);
	guest_destroy(&from);
	guest_destroy(&to);
	world_destroy(&w);
	assert_true(seen.whole && seen.merged && seen.chained && seen.gso);
	assert_true(seen.lost.no_buffer && seen.lost.too_big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
