/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transmit rates through real queues, workers and time: what arrives, that nothing is lost, that
 * who is held back rests. How exact the rates are is net/shaper_test.c's; here the machine may be
 * busy.
 */
#include <unistd.h>

#include "../../support/run_delay.h"
#include "guest.h"

#define FRAME	   1514
#define MEASURE_MS 200
#define TRIES	   5		       /* the machine may have something else to do */
#define BURST_MAX  (2 * NET_FRAME_MAX) /* of a rest, and a slice */

static uint8_t frame[NET_FRAME_MAX];
static struct received got;
static unsigned kicks;
static bool starved; /* during the last load(): less may have been sent than could be */

static void set_rates(struct guest *g, uint32_t max, uint32_t min)
{
	struct net_policy p = *net_port_policy(virtio_net_port(g->net));

	p.max_tx_mbps = max;
	p.min_tx_mbps = min;
	assert_int_equal(virtio_net_set_policy(g->net, &p), 0);
}

/* The driver's part of a backlog: the same frame in each free descriptor. */
static void fill(struct guest *g, const struct guest *to, unsigned queue)
{
	struct virtio_net_hdr_v1 hdr;
	uint64_t cookie;
	uint32_t len;

	frame_build(&(struct frame_spec){.dst = to->mac, .src = g->mac, .len = FRAME}, frame, &hdr);
	memcpy(g->mem + g->tx_area, &hdr, sizeof(hdr));
	memcpy(g->mem + g->tx_area + g->hdr_len, frame, FRAME);
	while (gvq_take(&g->tx[queue], &cookie, &len))
		;
	while (gvq_free(&g->tx[queue]))
		assert_int_equal(gvq_add_one(&g->tx[queue], GUEST_BASE + g->tx_area,
					     g->hdr_len + FRAME, false, 0),
				 0);
	if (gvq_publish(&g->tx[queue])) {
		kicks++;
		guest_kick(g, 2 * queue + 1);
	}
}

static unsigned receive(struct guest *g)
{
	unsigned n = 0;

	for (unsigned q = 0; q < g->pairs; q++) {
		while (guest_recv(g, q, &got, 0)) {
			assert_int_equal(got.len, FRAME);
			n++;
		}
	}
	return n;
}

static uint64_t tx_bytes(const struct guest *g)
{
	struct net_port_stats st;

	net_port_get_stats(virtio_net_port(g->net), &st);
	return st.tx_bytes;
}

/* Keeps queues of n senders full for ms. What each sent, in Mb/s. */
static void load(struct guest *from[], unsigned n, struct guest *to, unsigned ms, double mbps[])
{
	uint64_t begin = clock_now_ns(), end = begin + ms * NS_PER_MS, before[4];
	uint64_t delay = run_delay_ns("self");

	for (unsigned i = 0; i < n; i++)
		before[i] = tx_bytes(from[i]);
	do {
		for (unsigned i = 0; i < n; i++)
			for (unsigned q = 0; q < from[i]->pairs; q++)
				fill(from[i], to, q);
		receive(to);
		control_turn();
	} while (clock_now_ns() < end);
	end = clock_now_ns();
	starved = UNDER_TSAN || run_delay_ns("self") - delay > ms * NS_PER_MS / 20;
	for (unsigned i = 0; i < n; i++)
		mbps[i] = (double)(tx_bytes(from[i]) - before[i]) * 8000 / (double)(end - begin);
}

static void no_drops(struct guest *g)
{
	struct net_port_stats st;

	net_port_get_stats(virtio_net_port(g->net), &st);
	assert_int_equal(net_port_stats_tx_dropped(&st), 0);
	assert_int_equal(net_port_stats_rx_dropped(&st), 0);
}

struct pair {
	struct world w;
	struct guest a, b;
};

static void pair_up(struct pair *p, const struct guest_opts *o, unsigned workers)
{
	struct guest_opts to = {.features = GUEST_FEATURES, .rx_nbufs = 256};

	world_create(&p->w, workers);
	guest_create(&p->w, &p->a, 1, o);
	guest_create(&p->w, &p->b, 2, &to);
}

static void pair_down(struct pair *p)
{
	guest_destroy(&p->a);
	guest_destroy(&p->b);
	world_destroy(&p->w);
}

static bool near(double got_mbps, double want, double part)
{
	return got_mbps > want * (1 - part) && got_mbps < want * (1 + part);
}

/* What leaves keeps to the maximum, nothing is dropped, and the driver need not kick. */
static void max_rate(const struct guest_opts *o)
{
	static const uint32_t rates[] = {10, 100, 400};
	struct guest *from[1];
	struct net_port_stats st;
	struct pair p;

	pair_up(&p, o, 1);
	from[0] = &p.a;
	for (unsigned r = 0; r < ARRAY_SIZE(rates); r++) {
		/* and what a worker that was late may catch up */
		const double most = rates[r] * 1.02 + BURST_MAX * 8.0 / (MEASURE_MS * 1000);
		double mbps = 0;
		bool good = false;

		set_rates(&p.a, rates[r], 0);
		load(from, 1, &p.b, 60, &mbps); /* the burst */
		for (unsigned i = 0; i < TRIES && !good; i++) {
			kicks = 0;
			load(from, 1, &p.b, MEASURE_MS, &mbps);
			assert_true(mbps < most);
			good = starved || (near(mbps, rates[r], 0.05) && kicks < 10);
		}
		if (!good)
			fail_msg("%.1f Mb/s, %u kicks where %u Mb/s may be", mbps, kicks, rates[r]);
	}
	net_port_get_stats(virtio_net_port(p.a.net), &st);
	assert_true(st.tx_throttled > 10);
	assert_true(st.tx_throttled_ns > 100 * NS_PER_MS);
	net_port_clear_stats(virtio_net_port(p.a.net));
	net_port_get_stats(virtio_net_port(p.a.net), &st);
	assert_int_equal(st.tx_throttled, 0);
	pair_down(&p);
}

static void test_max(void **state)
{
	for (int packed = 0; packed < 2; packed++)
		max_rate(&(struct guest_opts){.features = GUEST_FEATURES |
							  (packed ? F(VIRTIO_F_RING_PACKED) : 0),
					      .packed = packed});
}

/* Back-pressure: every frame arrives, in order, however slowly. */
static void test_no_loss(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES};
	struct virtio_net_hdr_v1 hdr;
	uint64_t t;
	struct pair p;

	pair_up(&p, &o, 1);
	set_rates(&p.a, 10, 0);
	t = clock_now_ns();
	for (uint32_t i = 0; i < 220; i++) {
		struct frame_spec s = {.dst = p.b.mac, .src = p.a.mac, .len = FRAME};

		/* slots of the model are fewer than descriptors */
		if (i % 16 == 0)
			assert_true(guest_tx_wait(&p.a, 0));
		frame_build(&s, frame, &hdr);
		put_be32(frame + 100, i);
		guest_send(&p.a, 0, &hdr, frame, FRAME, i % 3 ? 0 : 500);
		while (i % 16 == 15 && guest_recv(&p.b, 0, &got, 0))
			;
	}
	assert_true(guest_tx_wait(&p.a, 0));
	t = clock_now_ns() - t;
	assert_true(t > (220 * FRAME - BURST_MAX) * 800ull); /* 800 ns a byte */
	while (guest_recv(&p.b, 0, &got, 0))
		;
	assert_int_equal(get_be32(got.frame + 100), 219);
	no_drops(&p.a);
	no_drops(&p.b);
	pair_down(&p);
}

/* Who waits for a slow rate goes on when it is lifted; or leaves, or is reset, while he waits. */
static void test_live(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES};
	struct net_port_stats st;
	struct pair p;
	uint64_t sent;

	pair_up(&p, &o, 1);
	set_rates(&p.a, 1, 0);
	fill(&p.a, &p.b, 0);
	while (!receive(&p.b))
		control_turn();
	usleep(20000);
	receive(&p.b);
	sent = tx_bytes(&p.a);
	assert_in_range(sent, FRAME, BURST_MAX + 30000); /* a burst */
	usleep(30000);
	assert_in_range(tx_bytes(&p.a) - sent, 0, 20000);
	net_port_get_stats(virtio_net_port(p.a.net), &st);
	assert_true(st.tx_throttled > 0);
	/* another rate, then none */
	set_rates(&p.a, 2, 0);
	usleep(1000);
	set_rates(&p.a, 0, 0);
	for (uint64_t end = clock_now_ns() + 3 * NS_PER_S;
	     tx_bytes(&p.a) < GUEST_QSIZE * FRAME && clock_now_ns() < end;)
		receive(&p.b);
	assert_int_equal(tx_bytes(&p.a), GUEST_QSIZE * FRAME);
	assert_true(guest_tx_wait(&p.a, 0));
	no_drops(&p.a);
	/* reset while held back, then start again */
	set_rates(&p.a, 1, 0);
	fill(&p.a, &p.b, 0);
	usleep(5000);
	guest_reset(&p.a);
	guest_start(&p.a, &o);
	set_rates(&p.a, 1000, 0);
	fill(&p.a, &p.b, 0);
	assert_true(guest_tx_wait(&p.a, 0));
	/* gone while held back */
	set_rates(&p.a, 1, 0);
	fill(&p.a, &p.b, 0);
	usleep(5000);
	pair_down(&p);
}

/* The queues of a function share its rate, on several workers, and get equal parts. */
static void test_queues(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES | F(VIRTIO_NET_F_MQ), .pairs = 3};
	uint16_t pairs = htole16(3);
	struct guest *from[1];
	double mbps = 0;
	struct pair p;

	pair_up(&p, &o, 2);
	assert_int_equal(p.a.pairs, 3);
	assert_int_equal(guest_ctrl(&p.a, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
				    &pairs, 2, NULL, 0),
			 VIRTIO_NET_OK);
	from[0] = &p.a;
	set_rates(&p.a, 100, 0);
	load(from, 1, &p.b, 50, &mbps);
	for (unsigned i = 0; i < TRIES; i++) {
		load(from, 1, &p.b, 200, &mbps);
		assert_true(mbps < 106);
		if (starved || mbps > 95)
			break;
	}
	assert_true(starved || mbps > 95);
	pair_down(&p);
}

/* One greedy function, one with a minimum: it gets that; without it, half. */
static void test_device(void **state)
{
	struct net_shaper shaper = {0};
	struct guest_opts o = {.features = GUEST_FEATURES, .shaper = &shaper};
	static const uint32_t minima[] = {0, 75};
	struct guest *from[2];
	struct guest c;
	struct pair p;

	pair_up(&p, &o, 1);
	guest_create(&p.w, &c, 3, &o);
	from[0] = &p.a;
	from[1] = &c;
	net_shaper_set(&shaper, 100);
	virtio_net_shaper_changed(p.a.net);
	virtio_net_shaper_changed(c.net);
	for (unsigned m = 0; m < ARRAY_SIZE(minima); m++) {
		double want = minima[m] ? minima[m] : 50, mbps[2];
		bool good = false;

		set_rates(&c, 0, minima[m]);
		load(from, 2, &p.b, 100, mbps);
		for (unsigned i = 0; i < TRIES && !good; i++) {
			load(from, 2, &p.b, 400, mbps);
			good = starved ||
			       (near(mbps[0] + mbps[1], 100, 0.05) && near(mbps[1], want, 0.1));
		}
		if (!good)
			fail_msg("%.1f and %.1f Mb/s where %.0f and %.0f should be", mbps[0],
				 mbps[1], 100 - want, want);
	}
	no_drops(&p.a);
	no_drops(&c);
	/* the rate is lifted */
	net_shaper_set(&shaper, 0);
	virtio_net_shaper_changed(p.a.net);
	virtio_net_shaper_changed(c.net);
	assert_true(guest_tx_wait(&p.a, 0));
	assert_true(guest_tx_wait(&c, 0));
	for (uint64_t end = clock_now_ns() + NS_PER_S;
	     atomic_load(&shaper.waiting) && clock_now_ns() < end;)
		control_turn();
	assert_int_equal(atomic_load(&shaper.waiting), 0);
	guest_destroy(&c);
	pair_down(&p);
}

/* Who resets his queues all the time throws away what he bought of the device's rate, and buys
 * anew: the others must not wait for that. */
static void test_reset_storm(void **state)
{
	struct net_shaper shaper = {0};
	struct guest_opts o = {.features = GUEST_FEATURES, .shaper = &shaper};
	bool good = false;
	double mbps = 0;
	struct guest c;
	struct pair p;

	pair_up(&p, &o, 2);
	guest_create(&p.w, &c, 3, &o);
	net_shaper_set(&shaper, 100);
	virtio_net_shaper_changed(p.a.net);
	virtio_net_shaper_changed(c.net);
	for (unsigned i = 0; i < TRIES && !good; i++) {
		uint64_t begin = clock_now_ns(), sent = tx_bytes(&c), ns = 0;

		while (ns < 400 * NS_PER_MS) {
			fill(&p.a, &p.b, 0);
			fill(&c, &p.b, 0);
			receive(&p.b);
			control_turn();
			usleep(50);
			guest_reset(&p.a);
			guest_start(&p.a, &o);
			ns = clock_now_ns() - begin;
		}
		mbps = (double)(tx_bytes(&c) - sent) * 8000 / (double)ns;
		good = mbps > 30;
	}
	if (!good)
		fail_msg("%.1f Mb/s are left of 100 beside resets", mbps);
	guest_destroy(&c);
	pair_down(&p);
}

static void count_urgent(struct poller *p, void *opaque)
{
	*(unsigned *)opaque += p->urgent;
}

/* What makes no sense uses up no rate, and so may not be served first for a guaranteed one. */
static void test_malformed_is_not_urgent(void **state)
{
	struct guest_opts o = {.features = GUEST_FEATURES};
	unsigned urgent = 0;
	struct guest a;
	struct world w;
	uint64_t cookie, end;
	uint32_t len;

	world_create(&w, 1);
	guest_create(&w, &a, 1, &o);
	set_rates(&a, 2000, 1000);
	for (end = clock_now_ns() + 200 * NS_PER_MS; clock_now_ns() < end;) {
		while (gvq_take(&a.tx[0], &cookie, &len))
			;
		while (gvq_free(&a.tx[0]))
			assert_int_equal(gvq_add_one(&a.tx[0], GUEST_BASE + a.tx_area, 4, false, 0),
					 0);
		if (gvq_publish(&a.tx[0]))
			guest_kick(&a, 1);
		worker_each_poller(worker_pool_at(w.pool, 0), count_urgent, &urgent);
	}
	assert_true(guest_drops(&a, NET_DROP_TX_MALFORMED) > 256);
	assert_int_equal(urgent, 0);
	guest_destroy(&a);
	world_destroy(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_max),	    cmocka_unit_test(test_no_loss),
		cmocka_unit_test(test_live),	    cmocka_unit_test(test_queues),
		cmocka_unit_test(test_device),	    cmocka_unit_test(test_malformed_is_not_urgent),
		cmocka_unit_test(test_reset_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
