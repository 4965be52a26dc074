/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Time of a full ring of frames from VF to VF through one worker, both guests played by this
 * thread: from the moment the frames are published until the last one is in the receiver's used
 * ring. Prints minimum, median and 99th percentile; no pass or fail. Not run by `meson test`.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <x86intrin.h>

#include "guest.h"

#define ROUNDS 4000
#define BATCH  192

static uint64_t ticks[ROUNDS];

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double ghz(void)
{
	uint64_t t = __rdtsc(), n = clock_now_ns();

	while (clock_now_ns() - n < 50 * NS_PER_MS)
		;
	return (double)(__rdtsc() - t) / (double)(clock_now_ns() - n);
}

static void drain(struct gvq *q, unsigned n)
{
	uint64_t cookie, end = clock_now_ns() + NS_PER_S;
	uint32_t len;

	while (n) {
		if (gvq_take(q, &cookie, &len))
			n--;
		else if (clock_now_ns() > end)
			exit(1);
	}
}

static uint64_t round_once(struct guest *a, struct guest *b, uint32_t len, unsigned batch)
{
	uint32_t slot = (uint32_t)align_up(12 + len, 64);
	struct gvq *rx = &b->rx[0], *tx = &a->tx[0];
	uint64_t t0;

	for (unsigned i = 0; i < batch; i++) {
		gvq_add_one(rx, GUEST_BASE + b->rx_bufs[0] + i * b->rx_buf_size, b->rx_buf_size,
			    true, i);
		gvq_add_one(tx, GUEST_BASE + a->tx_area + (uint64_t)i % 32 * slot, 12 + len, false,
			    i);
	}
	gvq_publish(rx);
	t0 = __rdtsc();
	if (gvq_publish(tx))
		guest_kick(a, 1);
	drain(rx, batch);
	t0 = __rdtsc() - t0;
	drain(tx, batch);
	return t0;
}

/* Every frame is hashed, and all go to the first queue. */
static void hash_to_first(struct guest *g)
{
	uint8_t cmd[8 + 2 + 3 + 40] = {0};

	cmd[0] = VIRTIO_NET_RSS_HASH_TYPE_TCPv4;
	cmd[10] = 1; /* transmit queues */
	cmd[12] = 40;
	memset(cmd + 13, 0x5a, 40);
	if (guest_ctrl(g, 4, 1, cmd, sizeof(cmd), NULL, 0))
		exit(1);
}

static void run(uint32_t len, unsigned batch, const struct guest_opts *o, const char *what)
{
	struct virtio_net_hdr_v1 hdr;
	struct guest a, b;
	struct world w;
	double f = ghz();
	unsigned n = batch < BATCH ? ROUNDS / 10 : ROUNDS;

	world_create(&w, 1);
	guest_create(&w, &a, 1, o);
	guest_create(&w, &b, 2, o);
	for (unsigned i = 0; i < 32; i++) {
		uint64_t at = a.tx_area + (uint64_t)i * align_up(12 + len, 64);

		frame_build(&(struct frame_spec){.dst = b.mac,
						 .src = a.mac,
						 .l3 = 4,
						 .proto = IPPROTO_TCP,
						 .len = len,
						 .partial = len > 9000,
						 .gso = len > 9000 ? 1448 : 0},
			    a.mem + at + 12, &hdr);
		memcpy(a.mem + at, &hdr, 12);
	}
	if (o->features & F(VIRTIO_NET_F_RSS))
		hash_to_first(&b);
	for (unsigned i = 0; i < n; i++)
		ticks[i] = round_once(&a, &b, len, batch);
	qsort(ticks, n, sizeof(ticks[0]), by_value);
	printf("%-16s %5u bytes: cycles/frame min %.0f median %.0f p99 %.0f; median %.2f Mpps, "
	       "%.1f Gb/s at %.2f GHz\n",
	       what, len, (double)ticks[0] / batch, (double)ticks[n / 2] / batch,
	       (double)ticks[n * 99 / 100] / batch, f * 1e3 * batch / (double)ticks[n / 2],
	       f * batch * len * 8 / (double)ticks[n / 2], f);
	for (unsigned i = 0; i < n; i++) {
		uint64_t t0 = __rdtsc();

		for (unsigned k = 0; k < batch; k++)
			memcpy(b.mem + b.rx_bufs[0] + k * b.rx_buf_size,
			       a.mem + a.tx_area + k % 32 * align_up(12 + len, 64), 12 + len);
		ticks[i] = __rdtsc() - t0;
	}
	qsort(ticks, n, sizeof(ticks[0]), by_value);
	printf("%-16s       bare memcpy of the same: cycles/frame min %.0f median %.0f\n", "",
	       (double)ticks[0] / batch, (double)ticks[n / 2] / batch);
	guest_destroy(&a);
	guest_destroy(&b);
	world_destroy(&w);
}

int main(void)
{
	struct guest_opts split = {.features = GUEST_FEATURES, .no_rx_buffers = true};
	struct guest_opts packed = {.features = GUEST_FEATURES | F(VIRTIO_F_RING_PACKED),
				    .packed = true,
				    .no_rx_buffers = true};
	struct guest_opts big = {.features = GUEST_FEATURES,
				 .no_rx_buffers = true,
				 .rx_buf_size = 68 << 10,
				 .rx_nbufs = 64};

	struct guest_opts rss = {.features =
					 GUEST_FEATURES | F(VIRTIO_NET_F_MQ) | F(VIRTIO_NET_F_RSS),
				 .pairs = 2,
				 .no_rx_buffers = true};

	run(64, BATCH, &split, "split");
	run(64, BATCH, &rss, "split, RSS");
	run(64, BATCH, &packed, "packed");
	run(1514, BATCH, &split, "split");
	run(1514, BATCH, &packed, "packed");
	run(65000, 16, &big, "split, TSO");
	return 0;
}
