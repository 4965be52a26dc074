/* SPDX-License-Identifier: BSD-3-Clause */
/* Transmit rates in simulated time: how exact they are, and who gets what of a device's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "net/shaper.h"
#include "util/clock.h"
#include "util/util.h"

#define FUNCTIONS 8
#define QUEUES	  16
#define BURST	  (256u << 10) /* a poll sends so much at most */

struct source {
	struct net_shaper_queue q;
	uint32_t frame;	  /* bytes; 0: nothing to send */
	uint64_t wake_ns; /* its timer */
	uint64_t sent;
};

struct function {
	struct net_shaper_port port;
	unsigned queues;
	struct source src[QUEUES];
	uint64_t base; /* sent before the measurement */
};

static struct net_shaper device;
static struct function fn[FUNCTIONS];
static uint64_t now, rnd = 1;

static void reset(uint32_t device_mbps)
{
	memset(&device, 0, sizeof(device));
	memset(fn, 0, sizeof(fn));
	net_shaper_set(&device, device_mbps);
	now = NS_PER_S;
}

static struct function *add(unsigned i, uint32_t max, uint32_t min, unsigned queues, uint32_t frame)
{
	struct function *f = &fn[i];

	f->port.device = &device;
	f->queues = queues;
	net_shaper_port_set(&f->port, max, min);
	for (unsigned k = 0; k < queues; k++) {
		f->src[k].q.port = &f->port;
		f->src[k].frame = frame;
		f->src[k].wake_ns = now;
	}
	return f;
}

static uint64_t late(uint64_t max_ns)
{
	rnd = rnd * 6364136223846793005ull + 1442695040888963407ull;
	return max_ns ? (rnd >> 33) % max_ns : 0;
}

/* A poll: sends what it may; sets the timer when it may nothing. */
static void poll_source(struct source *s, uint64_t late_ns)
{
	uint64_t due, bytes = 0;
	uint32_t room = 0;

	due = net_shaper_ask(&s->q, now, &room);
	if (due) {
		assert_true(due > now);
		s->wake_ns = due + late(late_ns);
		return;
	}
	assert_true(room > 0);
	do
		bytes += s->frame;
	while (bytes < MIN(room, BURST));
	net_shaper_sent(&s->q, bytes);
	s->sent += bytes;
}

/* All that have something to send do so, on a machine that needs no time for it. */
static void run_until(uint64_t end, uint64_t late_ns)
{
	for (;;) {
		struct source *next = NULL;

		for (unsigned i = 0; i < FUNCTIONS; i++) {
			for (unsigned k = 0; k < fn[i].queues; k++) {
				struct source *s = &fn[i].src[k];

				if (s->frame && (!next || s->wake_ns < next->wake_ns))
					next = s;
			}
		}
		if (!next || next->wake_ns > end)
			break;
		now = MAX(now, next->wake_ns);
		/* Until it is held back; others are on other cores. */
		while (next->wake_ns <= now)
			poll_source(next, late_ns);
	}
	now = end;
}

static uint64_t sent(const struct function *f)
{
	uint64_t sum = 0;

	for (unsigned k = 0; k < f->queues; k++)
		sum += f->src[k].sent;
	return sum - f->base;
}

static void begin_measurement(void)
{
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		fn[i].base = 0;
		fn[i].base = sent(&fn[i]);
	}
}

/* What each has a second, in kb/s, after it has settled. */
static void measure(uint64_t settle, uint64_t ns, uint64_t late_ns, uint64_t kbps[FUNCTIONS])
{
	run_until(now + settle, late_ns);
	begin_measurement();
	run_until(now + ns, late_ns);
	for (unsigned i = 0; i < FUNCTIONS; i++)
		kbps[i] = (uint64_t)((__uint128_t)sent(&fn[i]) * 8000000 / ns);
}

/* within: of ten thousand */
static void check(uint64_t kbps, uint64_t want_mbps, unsigned within)
{
	uint64_t want = want_mbps * 1000, d = kbps > want ? kbps - want : want - kbps;

	if (d * 10000 > want * within)
		fail_msg("%llu kb/s where %llu Mb/s should be", (unsigned long long)kbps,
			 (unsigned long long)want_mbps);
}

/* 0.1 %, from 10 Mb/s to 100 Gb/s, with timers that are late. */
static void test_accuracy(void **state)
{
	static const uint32_t rates[] = {10, 33, 100, 1000, 2500, 9999, 40000, 100000};
	static const uint32_t frames[] = {60, 61, 1514, 9014, 65600};
	static const unsigned queues[] = {1, 3};
	static const uint64_t lates[] = {0, 60 * NS_PER_US, 500 * NS_PER_US};
	uint64_t kbps[FUNCTIONS], ns;

	for (unsigned r = 0; r < ARRAY_SIZE(rates); r++) {
		for (unsigned f = 0; f < ARRAY_SIZE(frames); f++) {
			for (unsigned c = 0; c < ARRAY_SIZE(queues) * ARRAY_SIZE(lates); c++) {
				/* so long that a slice and a frame are below 0.1 % */
				ns = NS_PER_S * 1000 / rates[r];
				ns = MAX(ns, NS_PER_S / (rates[r] > 10000 ? 2 : 1)) *
				     (frames[f] > 9014 && rates[r] < 1000 ? 20 : 1);
				reset(0);
				add(0, rates[r], 0, queues[c % 2], frames[f]);
				measure(ns / 4, ns, lates[c / 2], kbps);
				check(kbps[0], rates[r], 10);
			}
		}
	}
}

/* Never more than the rate and a burst, from the first byte on. */
static void test_burst(void **state)
{
	static const uint32_t rates[] = {10, 1000, 10000};

	for (unsigned r = 0; r < ARRAY_SIZE(rates); r++) {
		uint64_t bytes_ms = rates[r] * 125, most = MAX(bytes_ms, NET_FRAME_MAX);

		reset(0);
		add(0, rates[r], 0, 1, 1514);
		for (unsigned ms = 0; ms < 3000; ms++) {
			run_until(NS_PER_S + ms * NS_PER_MS, 100 * NS_PER_US);
			assert_true(sent(&fn[0]) <= ms * bytes_ms + most + bytes_ms + 4096);
			assert_true(sent(&fn[0]) >= ms * bytes_ms);
		}
		/* after a rest of hours, the same */
		begin_measurement();
		fn[0].src[0].wake_ns = now = now + 5 * 3600 * NS_PER_S;
		run_until(now + NS_PER_MS, 0);
		assert_true(sent(&fn[0]) <= most + 2 * bytes_ms + 4096);
	}
}

static void test_queues_share(void **state)
{
	uint64_t kbps[FUNCTIONS], part;

	reset(0);
	add(0, 1000, 0, 4, 1514);
	fn[0].src[3].frame = 65600;
	measure(NS_PER_S, 4 * NS_PER_S, 50 * NS_PER_US, kbps);
	check(kbps[0], 1000, 10);
	for (unsigned k = 0; k < 4; k++) {
		part = fn[0].src[k].sent;
		assert_in_range(part, 5 * 125000000ull / 4 * 95 / 100,
				5 * 125000000ull / 4 * 105 / 100 + NET_FRAME_MAX);
	}
	/* who has nothing to send leaves his part to the others */
	fn[0].src[1].frame = fn[0].src[2].frame = fn[0].src[3].frame = 0;
	for (unsigned k = 1; k < 4; k++)
		net_shaper_leave(&fn[0].src[k].q);
	measure(100 * NS_PER_MS, NS_PER_S, 0, kbps);
	check(kbps[0], 1000, 20);
	assert_int_equal(atomic_load(&fn[0].port.waiting_max), 1);
}

/* Equal parts for functions, however many queues or how large frames they have. */
static void test_device_fair(void **state)
{
	static const uint32_t rates[] = {100, 1000, 10000, 100000};
	uint64_t kbps[FUNCTIONS];

	for (unsigned r = 0; r < ARRAY_SIZE(rates); r++) {
		reset(rates[r]);
		add(0, 0, 0, 1, 1514);
		add(1, 0, 0, 1, 60);
		add(2, 0, 0, 1, 65600);
		add(3, 0, 0, 4, 1514);
		measure(NS_PER_S, 5 * NS_PER_S, 50 * NS_PER_US, kbps);
		check(kbps[0] + kbps[1] + kbps[2] + kbps[3], rates[r], 20);
		for (unsigned i = 0; i < 4; i++)
			check(kbps[i], rates[r] / 4, 500);
	}
	/* one that may take less than its part: the others share the rest */
	reset(1000);
	add(0, 100, 0, 1, 1514);
	add(1, 0, 0, 1, 1514);
	add(2, 0, 0, 16, 1514);
	measure(NS_PER_S, 5 * NS_PER_S, 50 * NS_PER_US, kbps);
	check(kbps[0], 100, 100);
	check(kbps[1], 450, 300);
	check(kbps[2], 450, 300);
	/* alone: all of it */
	reset(1000);
	add(0, 0, 0, 1, 1514);
	measure(NS_PER_S, 5 * NS_PER_S, 500 * NS_PER_US, kbps);
	check(kbps[0], 1000, 10);
}

static void test_minimum(void **state)
{
	static const uint32_t rates[] = {100, 1000, 10000, 100000};
	uint64_t kbps[FUNCTIONS];

	for (unsigned r = 0; r < ARRAY_SIZE(rates); r++) {
		/* 60 % for one, what is left in equal parts for three and itself */
		reset(rates[r]);
		add(0, 0, rates[r] * 6 / 10, 1, 1514);
		for (unsigned i = 1; i < 4; i++)
			add(i, 0, 0, i, 1514);
		measure(NS_PER_S, 5 * NS_PER_S, 50 * NS_PER_US, kbps);
		check(kbps[0], rates[r] * 6 / 10, 200);
		check(kbps[0] + kbps[1] + kbps[2] + kbps[3], rates[r], 100);
		for (unsigned i = 1; i < 4; i++)
			check(kbps[i], (rates[r] * 4 / 10 + 1) / 3, 600);
		/* it has less to send than that: the others have the rest */
		net_shaper_port_set(&fn[0].port, rates[r] / 10, rates[r] / 10);
		measure(NS_PER_S, 5 * NS_PER_S, 50 * NS_PER_US, kbps);
		check(kbps[0], rates[r] / 10, 200);
		check(kbps[0] + kbps[1] + kbps[2] + kbps[3], rates[r], 100);
		/* its part is more than its minimum */
		reset(rates[r]);
		add(0, 0, rates[r] / 10, 1, 1514);
		add(1, 0, 0, 1, 1514);
		measure(NS_PER_S, 5 * NS_PER_S, 50 * NS_PER_US, kbps);
		check(kbps[0], rates[r] / 2, 400);
		check(kbps[1], rates[r] / 2, 400);
	}
}

/* Minima that take all there is: they hold, and what comes on top is little and bounded. */
static void test_all_guaranteed(void **state)
{
	uint64_t kbps[FUNCTIONS];

	reset(1000);
	for (unsigned i = 0; i < 4; i++)
		add(i, 0, 250, 1, 1514);
	add(4, 0, 0, 1, 1514);
	measure(5 * NS_PER_S, 20 * NS_PER_S, 50 * NS_PER_US, kbps);
	for (unsigned i = 0; i < 4; i++)
		check(kbps[i], 250, 200);
	assert_true(kbps[4] < 20000);
	check(kbps[0] + kbps[1] + kbps[2] + kbps[3] + kbps[4], 1000, 200);
	/* when they stop, the other one soon has all */
	for (unsigned i = 0; i < 4; i++) {
		fn[i].src[0].frame = 0;
		net_shaper_leave(&fn[i].src[0].q);
	}
	measure(300 * NS_PER_MS, 2 * NS_PER_S, 50 * NS_PER_US, kbps);
	check(kbps[4], 1000, 100);
}

static void test_below_min(void **state)
{
	struct net_shaper_queue *q;
	uint32_t room;

	reset(0);
	add(0, 0, 1000, 1, 1514);
	q = &fn[0].src[0].q;
	assert_true(net_shaper_limited(&fn[0].port));
	assert_int_equal(net_shaper_ask(q, now, &room), 0);
	assert_true(q->below_min);
	for (unsigned i = 0; i < 200; i++) {
		net_shaper_sent(q, 1514);
		assert_int_equal(net_shaper_ask(q, now, &room), 0);
	}
	assert_false(q->below_min);
	now += 10 * NS_PER_MS;
	assert_int_equal(net_shaper_ask(q, now, &room), 0);
	assert_true(q->below_min);
}

/* Rates change under who waits. */
static void test_change(void **state)
{
	uint64_t kbps[FUNCTIONS];

	reset(0);
	add(0, 1, 0, 2, 1514);
	add(1, 0, 0, 1, 1514);
	fn[1].queues = 0;
	assert_true(net_shaper_limited(&fn[0].port));
	assert_false(net_shaper_limited(&fn[1].port));
	run_until(now + 10 * NS_PER_S, 0);
	for (unsigned i = 0; i < 3; i++) {
		static const uint32_t rates[] = {100, 10000, 20};

		net_shaper_port_set(&fn[0].port, rates[i], 0);
		fn[0].src[0].wake_ns = fn[0].src[1].wake_ns = now; /* they are woken */
		measure(200 * NS_PER_MS, 5 * NS_PER_S, 0, kbps);
		check(kbps[0], rates[i], 20);
	}
	net_shaper_set(&device, 10);
	fn[0].src[0].wake_ns = fn[0].src[1].wake_ns = now;
	measure(200 * NS_PER_MS, 10 * NS_PER_S, 0, kbps);
	check(kbps[0], 10, 50);
	net_shaper_port_set(&fn[1].port, 0, 0);
	assert_true(net_shaper_limited(&fn[1].port)); /* by the device */
	net_shaper_set(&device, 0);
	net_shaper_port_set(&fn[0].port, 0, 0);
	assert_false(net_shaper_limited(&fn[0].port));
	net_shaper_leave(&fn[0].src[0].q);
	net_shaper_leave(&fn[0].src[1].q);
	assert_int_equal(atomic_load(&fn[0].port.waiting_max), 0);
	assert_int_equal(atomic_load(&fn[0].port.waiting_device), 0);
	assert_int_equal(atomic_load(&device.waiting), 0);
}

/* A GSO frame is counted as those cut from it, each with its headers. */
static void test_len(void **state)
{
	struct net_frame f = {.len = 1514, .head_len = 128, .head_off = NET_HEAD_ROOM};

	assert_int_equal(net_shaper_len(&f), 1514);
	f.len = 54 + 10 * 1460;
	f.offload = (struct net_offload){.needs_csum = true,
					 .gso_type = NET_GSO_TCPV4,
					 .gso_size = 1460,
					 .csum_start = 34,
					 .csum_offset = 16};
	f.head_buf[NET_HEAD_ROOM + 34 + 12] = 5 << 4;
	assert_int_equal(net_shaper_len(&f), 10 * 1514);
	f.len++;
	assert_int_equal(net_shaper_len(&f), 10 * 1514 + 55);
	f.len = 66 + 3 * 1448; /* timestamps */
	f.offload.gso_size = 1448;
	f.head_buf[NET_HEAD_ROOM + 34 + 12] = 8 << 4;
	assert_int_equal(net_shaper_len(&f), 3 * 1514);
	f.head_buf[NET_HEAD_ROOM + 34 + 12] = 0; /* no such header: at least 20 bytes */
	f.len = 54 + 2 * 1448;
	assert_int_equal(net_shaper_len(&f), 2 * 1502);
	f.len = 42 + 4 * 1000;
	f.offload.gso_type = NET_GSO_UDP_L4;
	f.offload.gso_size = 1000;
	assert_int_equal(net_shaper_len(&f), 4 * 1042);
	/* What a guest claims does not wrap, nor cost more than can be cut. */
	f.len = NET_FRAME_MAX;
	f.offload.gso_size = 1;
	f.offload.csum_start = UINT16_MAX;
	assert_int_equal(net_shaper_len(&f), NET_FRAME_MAX + (NET_GSO_SEGS_MAX - 1) * NET_HEAD_MAX);
	f.len = 100;
	assert_int_equal(net_shaper_len(&f), 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accuracy),     cmocka_unit_test(test_burst),
		cmocka_unit_test(test_queues_share), cmocka_unit_test(test_device_fair),
		cmocka_unit_test(test_minimum),	     cmocka_unit_test(test_all_guaranteed),
		cmocka_unit_test(test_below_min),    cmocka_unit_test(test_change),
		cmocka_unit_test(test_len),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
