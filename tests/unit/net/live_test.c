/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Changes while frames flow: two workers send without pause, the control thread changes policies,
 * filters and ports. No frame of a pair that is not concerned may be lost, doubled or reordered;
 * and after a port is inactive or gone, its deliver() is not called again. Run under TSan too.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "fixture.h"
#include "util/clock.h"
#include "worker/worker.h"

#define SENDERS 2
#define RUN_NS	(1500 * NS_PER_MS)

struct end {
	struct poller poller;
	struct net_port *port;
	unsigned id, peer;
	uint32_t seq;
	_Atomic uint64_t sent, received, disorder;
	_Atomic uint32_t last;
	_Atomic bool closed, late;
	_Atomic bool stop;
};

static struct net_switch *sw;
static struct end senders[SENDERS], receivers[SENDERS], extra;

static unsigned end_deliver(struct net_port *port, struct net_frame *const *frames, unsigned n)
{
	struct end *e = net_port_opaque(port);

	if (atomic_load(&e->closed))
		atomic_store(&e->late, true);
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *h = net_frame_chead(frames[i]);
		uint32_t seq = get_be32(h + 20);

		if (h[0] & 1)
			continue;
		if (seq != atomic_load(&e->last) + 1)
			atomic_fetch_add(&e->disorder, 1);
		atomic_store(&e->last, seq);
		atomic_fetch_add(&e->received, 1);
	}
	return n;
}

static const struct net_port_ops end_ops = {.deliver = end_deliver};

static unsigned send_burst(struct poller *p)
{
	struct end *e = container_of(p, struct end, poller);
	struct net_frame f[NET_BURST];

	if (atomic_load(&e->stop))
		return 0;
	for (unsigned i = 0; i < NET_BURST; i++) {
		if (i == 7) { /* a broadcast among them, to whoever is there */
			uint8_t src[6];

			dummy_mac(e->id, src);
			frame_eth(&f[i], mac_bcast, src, 0, 0, 0x88b5, 64);
			continue;
		}
		if (i == 9) {
			frame_simple(&f[i], 77, e->id, 0);
			continue;
		}
		frame_simple(&f[i], e->peer, e->id, 0);
		put_be32(net_frame_head(&f[i]) + 20, ++e->seq);
		atomic_fetch_add(&e->sent, 1);
	}
	net_port_input(e->port, f, NET_BURST);
	return NET_BURST;
}

static const struct poller_ops send_ops = {.poll = send_burst};

static void add_end(struct end *e, unsigned id, unsigned peer)
{
	struct net_port_config cfg = {"end", NET_PORT_FUNCTION, &end_ops, e};
	struct net_policy p;

	memset(e, 0, sizeof(*e));
	e->id = id;
	e->peer = peer;
	e->poller.ops = &send_ops;
	e->poller.name = "end";
	dummy_policy(&p, id);
	assert_int_equal(net_port_create(sw, &cfg, &p, &e->port), 0);
	net_port_set_active(e->port, true);
}

/* One turn of everything the control thread can do to a port. */
static void disturb(unsigned turn)
{
	struct net_filter filter = {.promisc = turn & 1, .n_uni = 1, .n_multi = turn % 8};
	struct net_policy p;
	struct net_port_stats s;
	uint8_t mac[6];

	add_end(&extra, 77, 1);
	p = *net_port_policy(extra.port);
	p.trust = true;
	assert_int_equal(net_port_set_policy(extra.port, &p), 0);
	dummy_mac(5000 + turn, filter.uni[0]);
	net_port_set_filter(extra.port, &filter);
	p.vlan = (uint16_t)(1 + turn % 4000);
	p.link = turn % 3;
	assert_int_equal(net_port_set_policy(extra.port, &p), 0);
	dummy_mac(77 + turn % 2 * 100, mac);
	assert_int_equal(net_port_set_driver_mac(extra.port, mac), 0);
	/* a receiver's filter changes in ways that must not cost it a frame */
	filter = (struct net_filter){.allmulti = turn & 1, .nomulti = turn & 2};
	net_port_set_filter(receivers[turn % SENDERS].port, &filter);
	net_port_get_stats(receivers[0].port, &s);
	net_switch_age(sw);
	net_port_set_active(extra.port, false);
	atomic_store(&extra.closed, true);
	net_port_destroy(extra.port);
	assert_false(atomic_load(&extra.late));
}

static void changes_disturb_nobody(void **state)
{
	struct worker *w[SENDERS];
	struct net_port_stats tx, rx;
	uint64_t end_ns;
	unsigned turn = 0;

	assert_int_equal(net_switch_create("nic", &sw), 0);
	for (unsigned i = 0; i < SENDERS; i++) {
		add_end(&senders[i], 1 + i, 11 + i);
		add_end(&receivers[i], 11 + i, 1 + i);
		assert_int_equal(worker_create("net-test", 0, &w[i]), 0);
		worker_add(w[i], &senders[i].poller);
		poller_kick(&senders[i].poller);
	}
	end_ns = clock_now_ns() + RUN_NS;
	while (clock_now_ns() < end_ns)
		disturb(turn++);
	for (unsigned i = 0; i < SENDERS; i++) {
		atomic_store(&senders[i].stop, true);
		worker_remove(&senders[i].poller);
		worker_destroy(w[i]);
		assert_true(atomic_load(&senders[i].sent) > 0);
		assert_int_equal(atomic_load(&receivers[i].received),
				 atomic_load(&senders[i].sent));
		assert_int_equal(atomic_load(&receivers[i].disorder), 0);
		net_port_get_stats(senders[i].port, &tx);
		net_port_get_stats(receivers[i].port, &rx);
		/* broadcasts: each receiver got those of both senders */
		assert_int_equal(rx.rx_packets - rx.rx_broadcast, senders[i].sent);
		assert_true(tx.tx_packets >= senders[i].sent + tx.tx_broadcast);
		assert_int_equal(net_port_stats_rx_dropped(&rx), 0);
	}
	for (unsigned i = 0; i < SENDERS; i++) {
		net_port_destroy(senders[i].port);
		net_port_destroy(receivers[i].port);
	}
	net_switch_destroy(sw);
	print_message("%u turns, %lu frames\n", turn, (unsigned long)senders[0].sent);
	assert_true(turn > 3);
}

/* The sender of a flow to an address behind an uplink. */
static unsigned send_outside(struct poller *p)
{
	struct end *e = container_of(p, struct end, poller);
	struct net_frame f;

	if (atomic_load(&e->stop))
		return 0;
	frame_simple(&f, 500, e->id, 0);
	net_port_input(e->port, &f, 1);
	return 1;
}

static const struct poller_ops outside_ops = {.poll = send_outside};

/* While an uplink goes, frames to what was learnt there reach nobody else. */
static void uplink_goes_while_frames_flow(void **state)
{
	struct net_port_config cfg = {"up", NET_PORT_UPLINK, &end_ops, &extra};
	struct net_policy policy;
	struct worker *w;
	struct net_frame f;

	net_policy_init(&policy);
	policy.spoof_check = false;
	assert_int_equal(net_switch_create("nic", &sw), 0);
	add_end(&receivers[0], 1, 2); /* the first port of the switch, not concerned */
	add_end(&senders[0], 2, 1);
	senders[0].poller.ops = &outside_ops;
	assert_int_equal(worker_create("net-test", 0, &w), 0);
	worker_add(w, &senders[0].poller);
	poller_kick(&senders[0].poller);
	for (unsigned turn = 0; turn < 300; turn++) {
		memset(&extra, 0, sizeof(extra));
		assert_int_equal(net_port_create(sw, &cfg, &policy, &extra.port), 0);
		net_port_set_active(extra.port, true);
		net_port_set_carrier(extra.port, true);
		frame_simple(&f, 1, 500, 0);
		memcpy(net_frame_head(&f), mac_other, 6);
		net_port_input(extra.port, &f, 1);
		while (!atomic_load(&extra.received))
			cpu_relax();
		net_port_destroy(extra.port);
	}
	atomic_store(&senders[0].stop, true);
	worker_remove(&senders[0].poller);
	worker_destroy(w);
	assert_int_equal(atomic_load(&receivers[0].received), 0);
	net_port_destroy(senders[0].port);
	net_port_destroy(receivers[0].port);
	net_switch_destroy(sw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changes_disturb_nobody),
		cmocka_unit_test(uplink_goes_while_frames_flow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
