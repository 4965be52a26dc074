/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cost of the switch for a 64-byte frame between dummy ports, per frame: filling the frames is
 * measured by itself and taken off. Prints the spread of 15 rounds.
 */
#include <stdio.h>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

#include "fixture.h"
#include "util/clock.h"

#define ROUNDS 15
#define BURSTS 20000
#define PORTS  256

static struct dummy ports[PORTS];
static struct net_frame templ[NET_BURST], f[NET_BURST];
static uint64_t sink;

static uint64_t ticks(void)
{
#ifdef __x86_64__
	return __rdtsc();
#else
	return clock_now_ns();
#endif
}

static unsigned sink_deliver(struct net_port *port, struct net_frame *const *frames, unsigned n)
{
	sink += frames[n - 1]->len;
	return n;
}

static const struct net_port_ops sink_ops = {.deliver = sink_deliver};

static void reset_frames(void)
{
	/* as a port does: metadata and 64 bytes of head */
	for (unsigned i = 0; i < NET_BURST; i++)
		net_frame_clone(&f[i], &templ[i]);
}

static int cmp(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return a < b ? -1 : a > b;
}

static void measure(const char *what, struct net_port *from)
{
	double res[ROUNDS];

	for (unsigned r = 0; r < ROUNDS; r++) {
		uint64_t t0 = ticks(), t1, t2;

		for (unsigned i = 0; i < BURSTS; i++) {
			reset_frames();
			__asm__ volatile("" ::: "memory");
		}
		t1 = ticks();
		for (unsigned i = 0; i < BURSTS; i++) {
			reset_frames();
			__asm__ volatile("" ::: "memory");
			net_port_input(from, f, NET_BURST);
		}
		t2 = ticks();
		res[r] = ((double)(t2 - t1) - (double)(t1 - t0)) / BURSTS / NET_BURST;
	}
	qsort(res, ROUNDS, sizeof(res[0]), cmp);
	printf("%-44s median %6.1f  min %6.1f  max %6.1f\n", what, res[ROUNDS / 2], res[0],
	       res[ROUNDS - 1]);
}

static void fill(unsigned dsts, unsigned src)
{
	for (unsigned i = 0; i < NET_BURST; i++)
		frame_simple(&templ[i], dsts == 1 ? 2 : 2 + i % dsts, src, 0);
}

int main(void)
{
	struct net_port_config cfg = {"bench", NET_PORT_FUNCTION, &sink_ops, NULL};
	struct net_switch *sw;
	struct net_policy p;

	if (net_switch_create("bench", &sw))
		return 1;
	for (unsigned i = 0; i < PORTS; i++) {
		dummy_policy(&p, i + 1);
		if (i == 200 || i == 201)
			p.vlan = 7;
		if (net_port_create(sw, &cfg, &p, &ports[i].port))
			return 1;
		net_port_set_active(ports[i].port, true);
	}
	printf("switch, 64-byte frames, bursts of %u, %u ports; TSC cycles per frame\n", NET_BURST,
	       PORTS);
	fill(1, 1);
	measure("one receiver", ports[0].port);
	fill(8, 1);
	measure("8 receivers, interleaved", ports[0].port);
	fill(32, 1);
	measure("32 receivers, interleaved", ports[0].port);
	for (unsigned i = 0; i < NET_BURST; i++)
		frame_simple(&templ[i], 202, 201, 0);
	measure("one receiver, same port VLAN", ports[200].port);
	for (unsigned i = 0; i < NET_BURST; i++)
		memcpy(net_frame_head(&templ[i]), mac_bcast, 6);
	measure("broadcast from a port VLAN to 255, per frame", ports[200].port);
	for (unsigned i = 0; i < NET_BURST; i++)
		memcpy(net_frame_head(&templ[i]), mac_other, 6);
	measure("unknown unicast, nobody promiscuous", ports[200].port);
	for (unsigned i = 0; i < PORTS; i++)
		net_port_destroy(ports[i].port);
	net_switch_destroy(sw);
	return sink == 1;
}
