/* SPDX-License-Identifier: BSD-3-Clause */
/* How long one frame takes: everyone polling, everyone asleep, and two wake-ups alone. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "guests.h"
#include "util/clock.h"

#define SAMPLES_MAX (1u << 20)
#define REST_US	    200 /* before each idle ping: worker (50 us) and cores are asleep by then */

static uint64_t samples[SAMPLES_MAX];

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int keep_samples(const struct bench *bench, struct result *r, unsigned n)
{
	double us = 1 / (bench->ticks_per_ns * 1e3);

	if (!n)
		return -EIO;
	qsort(samples, n, sizeof(samples[0]), by_value);
	r->value[M_MIN][r->runs] = (double)samples[0] * us;
	r->value[M_P50][r->runs] = (double)samples[n / 2] * us;
	r->value[M_P99][r->runs] = (double)samples[(uint64_t)n * 99 / 100] * us;
	return 0;
}

/* Sends slot 0, as it is, and looks until it has arrived. 0 or -errno. */
static int throw_over(struct guest *from, struct guest *to, uint32_t len)
{
	uint64_t looks = 0, now, end = 0;
	int slot, n;

	slot = guest_tx_slot(from, 0);
	if (slot < 0)
		return slot;
	guest_tx_post(from, 0, (unsigned)slot, len);
	guest_tx_flush(from, 0);
	while (!(n = guest_recv_burst(to, 0, 1, NULL, NULL))) {
		cpu_relax();
		if (++looks % (1 << 16))
			continue;
		/* no clock on the way of a frame that comes soon */
		now = clock_now_ns();
		end = end ? end : now + STUCK_S * NS_PER_S;
		if (now > end)
			return -ETIMEDOUT;
	}
	return n < 0 ? n : 0;
}

int bench_run_busy(struct bench *bench, const struct bench_case *c, struct result *r)
{
	uint64_t length = bench_ticks_of(bench, bench->seconds),
		 warm = (uint64_t)((double)length * WARM_UP);
	uint64_t begin, start, now;
	unsigned n = 0;
	struct pair p;
	uint32_t len;
	int err;

	err = pair_open(bench, c, false, &p);
	if (err)
		return err;
	len = guest_hdr_len(p.a) + c->len;
	pair_fill(bench, c, p.a, p.b);
	pair_fill(bench, c, p.b, p.a);
	begin = start = now = bench_ticks();
	while (!err && now - begin < length + warm) {
		err = throw_over(p.a, p.b, len);
		if (!err)
			err = throw_over(p.b, p.a, len);
		now = bench_ticks();
		if (now - begin > warm && n < SAMPLES_MAX)
			samples[n++] = now - start;
		start = now;
	}
	pair_close(&p);
	return err ? err : keep_samples(bench, r, n);
}

int bench_run_idle(struct bench *bench, const struct bench_case *c, struct result *r)
{
	uint64_t end, start;
	uint8_t frame[64];
	struct pair p;
	unsigned n = 0;
	int err, slot;

	err = pair_open(bench, c, true, &p);
	if (err)
		return err;
	pair_fill(bench, c, p.a, p.b);
	end = bench_ticks() + bench_ticks_of(bench, bench->seconds);
	while (!err && bench_ticks() < end && n < SAMPLES_MAX) {
		usleep(REST_US);
		start = bench_ticks();
		slot = guest_tx_slot(p.a, 0);
		if (slot < 0) {
			err = slot;
			break;
		}
		guest_tx_post(p.a, 0, (unsigned)slot, guest_hdr_len(p.a) + c->len);
		guest_tx_flush(p.a, 0);
		err = guest_rx_wait(p.b, 0, 1000);
		samples[n++] = bench_ticks() - start;
		if (!err && guest_recv(p.b, 0, NULL, frame, sizeof(frame)) != (int)c->len)
			err = -EIO;
	}
	pair_close(&p);
	return err ? err : keep_samples(bench, r, n);
}

/* What the worker of an idle ping does at least: wake up, wake the receiver. */
struct echo {
	int to, from, epoll, cpu;
};

static void *echo_main(void *arg)
{
	const struct echo *e = arg;
	struct epoll_event ev;
	uint64_t v;

	bench_pin(e->cpu);
	for (;;) {
		if (epoll_wait(e->epoll, &ev, 1, -1) < 0)
			continue;
		if (read(e->to, &v, sizeof(v)) < 0)
			continue;
		if (v > 1)
			return NULL;
		eventfd_write(e->from, 1);
	}
}

int bench_run_bare(struct bench *bench, const struct bench_case *c, struct result *r)
{
	struct echo e = {eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
			 eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), epoll_create1(EPOLL_CLOEXEC),
			 bench->daemon_cpu};
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	struct pollfd p = {e.from, POLLIN, 0};
	uint64_t end, start, v;
	pthread_t thread;
	unsigned n = 0;
	int err;

	if (e.to < 0 || e.from < 0 || e.epoll < 0 || epoll_ctl(e.epoll, EPOLL_CTL_ADD, e.to, &ev))
		return -errno;
	err = -pthread_create(&thread, NULL, echo_main, &e);
	if (err)
		return err;
	end = bench_ticks() + bench_ticks_of(bench, bench->seconds);
	while (bench_ticks() < end && n < SAMPLES_MAX) {
		usleep(REST_US);
		start = bench_ticks();
		eventfd_write(e.to, 1);
		poll(&p, 1, 1000);
		if (read(e.from, &v, sizeof(v)) < 0)
			continue;
		samples[n++] = bench_ticks() - start;
	}
	eventfd_write(e.to, 2);
	pthread_join(thread, NULL);
	close(e.to);
	close(e.from);
	close(e.epoll);
	return keep_samples(bench, r, n);
}
