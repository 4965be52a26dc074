/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/guest.h"
#include "util/bytes.h"
#include "util/clock.h"

#define SMALL_BUF   2048
#define TSO_LEN	    65226 /* 45 segments of 1448 bytes and their headers, just below 64 KiB */
#define TSO_BUF	    65536
#define PAGE_BUF    4096
#define RING_MAX    1024
#define TX_BURST    64
#define RX_BURST    256
#define STUCK_S	    10 /* on a busy machine the worker may come to run late */
#define SAMPLES_MAX (1u << 20)
#define REST_US	    200 /* before each idle ping: worker (50 us) and cores are asleep by then */
#define WARM_UP	    0.1 /* of a run's time, before it */

/* clang-format off */
#define STORAGE_CASE(says, bytes, on, qd, percent, seq)                                            \
	{.name = says, .kind = STORAGE, .len = bytes, .disk = on, .depth = qd,                     \
	 .write_percent = percent, .sequential = seq}
const struct bench_case bench_cases[] = {
	{"64 split",         ONE_WAY, false, 64,      SMALL_BUF, SMALL_BUF},
	{"64 packed",        ONE_WAY, true,  64,      SMALL_BUF, SMALL_BUF},
	{"512 split",        ONE_WAY, false, 512,     SMALL_BUF, SMALL_BUF},
	{"512 packed",       ONE_WAY, true,  512,     SMALL_BUF, SMALL_BUF},
	{"1518 split",       ONE_WAY, false, 1518,    SMALL_BUF, SMALL_BUF},
	{"1518 packed",      ONE_WAY, true,  1518,    SMALL_BUF, SMALL_BUF},
	{"TSO split",        ONE_WAY, false, TSO_LEN, TSO_BUF,   TSO_BUF, .gso = true},
	{"TSO packed",       ONE_WAY, true,  TSO_LEN, TSO_BUF,   TSO_BUF, .gso = true},
	{"TSO pages split",  ONE_WAY, false, TSO_LEN, PAGE_BUF,  TSO_BUF, .gso = true},
	{"TSO pages packed", ONE_WAY, true,  TSO_LEN, PAGE_BUF,  TSO_BUF, .gso = true},
	{"busy split",       BUSY,    false, 64,      SMALL_BUF, SMALL_BUF},
	{"busy packed",      BUSY,    true,  64,      SMALL_BUF, SMALL_BUF},
	{"idle eventfd",     IDLE,    false, 64,      SMALL_BUF, SMALL_BUF, .ioeventfd = true},
	{"idle message",     IDLE,    false, 64,      SMALL_BUF, SMALL_BUF},
	{"idle bare",        BARE},
	STORAGE_CASE("nvme null 4K read QD1", 4096, NULL_DISK, 1, 0, false),
	STORAGE_CASE("nvme null 4K read QD32", 4096, NULL_DISK, 32, 0, false),
	STORAGE_CASE("nvme null 4K read QD128", 4096, NULL_DISK, 128, 0, false),
	STORAGE_CASE("nvme null 4K write QD1", 4096, NULL_DISK, 1, 100, false),
	STORAGE_CASE("nvme null 4K write QD32", 4096, NULL_DISK, 32, 100, false),
	STORAGE_CASE("nvme null 4K write QD128", 4096, NULL_DISK, 128, 100, false),
	STORAGE_CASE("nvme null 4K 70/30 QD1", 4096, NULL_DISK, 1, 30, false),
	STORAGE_CASE("nvme null 4K 70/30 QD32", 4096, NULL_DISK, 32, 30, false),
	STORAGE_CASE("nvme null 4K 70/30 QD128", 4096, NULL_DISK, 128, 30, false),
	STORAGE_CASE("nvme null 128K seq read QD32", 131072, NULL_DISK, 32, 0, true),
	STORAGE_CASE("nvme null 128K seq write QD32", 131072, NULL_DISK, 32, 100, true),
	STORAGE_CASE("nvme null 512 read QD128", 512, NULL_DISK, 128, 0, false),
	STORAGE_CASE("nvme null 512 write QD128", 512, NULL_DISK, 128, 100, false),
	STORAGE_CASE("nvme memory 4K read QD1", 4096, MEMORY_DISK, 1, 0, false),
	STORAGE_CASE("nvme memory 4K read QD32", 4096, MEMORY_DISK, 32, 0, false),
	STORAGE_CASE("nvme memory 4K read QD128", 4096, MEMORY_DISK, 128, 0, false),
	STORAGE_CASE("nvme memory 4K write QD1", 4096, MEMORY_DISK, 1, 100, false),
	STORAGE_CASE("nvme memory 4K write QD32", 4096, MEMORY_DISK, 32, 100, false),
	STORAGE_CASE("nvme memory 4K write QD128", 4096, MEMORY_DISK, 128, 100, false),
	STORAGE_CASE("nvme memory 4K 70/30 QD1", 4096, MEMORY_DISK, 1, 30, false),
	STORAGE_CASE("nvme memory 4K 70/30 QD32", 4096, MEMORY_DISK, 32, 30, false),
	STORAGE_CASE("nvme memory 4K 70/30 QD128", 4096, MEMORY_DISK, 128, 30, false),
	STORAGE_CASE("nvme memory 128K seq read QD32", 131072, MEMORY_DISK, 32, 0, true),
	STORAGE_CASE("nvme memory 128K seq write QD32", 131072, MEMORY_DISK, 32, 100, true),
	STORAGE_CASE("nvme memory 512 read QD128", 512, MEMORY_DISK, 128, 0, false),
	STORAGE_CASE("nvme memory 512 write QD128", 512, MEMORY_DISK, 128, 100, false),
	STORAGE_CASE("nvme file 4K read QD1", 4096, FILE_DISK, 1, 0, false),
	STORAGE_CASE("nvme file 4K read QD32", 4096, FILE_DISK, 32, 0, false),
	STORAGE_CASE("nvme file 4K read QD128", 4096, FILE_DISK, 128, 0, false),
	STORAGE_CASE("nvme file 4K write QD1", 4096, FILE_DISK, 1, 100, false),
	STORAGE_CASE("nvme file 4K write QD32", 4096, FILE_DISK, 32, 100, false),
	STORAGE_CASE("nvme file 4K write QD128", 4096, FILE_DISK, 128, 100, false),
	STORAGE_CASE("nvme file 4K 70/30 QD1", 4096, FILE_DISK, 1, 30, false),
	STORAGE_CASE("nvme file 4K 70/30 QD32", 4096, FILE_DISK, 32, 30, false),
	STORAGE_CASE("nvme file 4K 70/30 QD128", 4096, FILE_DISK, 128, 30, false),
	STORAGE_CASE("nvme file 128K seq read QD32", 131072, FILE_DISK, 32, 0, true),
	STORAGE_CASE("nvme file 128K seq write QD32", 131072, FILE_DISK, 32, 100, true),
	STORAGE_CASE("nvme file 512 read QD128", 512, FILE_DISK, 128, 0, false),
	STORAGE_CASE("nvme file 512 write QD128", 512, FILE_DISK, 128, 100, false),
};
/* clang-format on */
const unsigned bench_num_cases = sizeof(bench_cases) / sizeof(bench_cases[0]);

static uint64_t samples[SAMPLES_MAX];

void bench_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

uint64_t bench_ticks_of(const struct bench *b, double seconds)
{
	return (uint64_t)(seconds * 1e9 * b->ticks_per_ns);
}

unsigned bench_ring(const struct bench *b, const struct bench_case *c)
{
	unsigned size = b->queue_size * (c->rx_buf == PAGE_BUF ? 4u : 1u);

	return size < RING_MAX ? size : RING_MAX;
}

unsigned bench_window(const struct bench *b, const struct bench_case *c)
{
	return bench_ring(b, c) / ((c->len + 12 + c->rx_buf - 1) / c->rx_buf);
}

/* ---- guests ---- */

struct pair {
	struct guest *a, *b;
};

static int pair_open(const struct bench *bench, const struct bench_case *c, bool interrupts,
		     struct pair *p)
{
	struct guest_config cfg = {
		.features = GUEST_F_DEFAULT | (c->packed ? GUEST_F_PACKED : 0) |
			    (c->gso ? GUEST_F_CSUM | GUEST_F_GUEST_CSUM | GUEST_F_GUEST_TSO |
					      GUEST_F_HOST_TSO
				    : 0),
		.queue_size = (uint16_t)bench_ring(bench, c),
		.rx_buf_len = c->rx_buf,
		.tx_buf_len = c->tx_buf,
		.ioeventfd = c->ioeventfd || c->kind != IDLE,
		.no_interrupts = !interrupts,
	};
	int err;

	*p = (struct pair){NULL};
	cfg.path = daemon_socket(&bench->daemon, "nic0/vf0");
	err = guest_open(&cfg, &p->a);
	if (err)
		return err;
	cfg.path = daemon_socket(&bench->daemon, "nic0/vf1");
	err = guest_open(&cfg, &p->b);
	if (err)
		guest_close(p->a);
	return err;
}

/* The daemon notices that a client went when its control thread next runs. */
static void pair_close(struct pair *p)
{
	guest_close(p->a);
	guest_close(p->b);
	usleep(2000);
}

/* TCP over IPv4; of a GSO frame the checksum is partial. What a slot holds stays there. */
static void make_frame(const struct bench_case *c, struct guest *from, struct guest *to, uint8_t *p)
{
	unsigned hdr_len = guest_hdr_len(from);
	uint8_t *f = p + hdr_len, *ip = f + 14, *tcp = ip + 20;

	memset(p, 0, hdr_len + c->len);
	memcpy(f, guest_mac(to), 6);
	memcpy(f + 6, guest_mac(from), 6);
	put_be16(f + 12, 0x0800);
	ip[0] = 0x45;
	put_be16(ip + 2, (uint16_t)(c->len - 14));
	ip[8] = 64;
	ip[9] = 6;
	memcpy(ip + 12, "\x0a\0\0\1\x0a\0\0\2", 8);
	put_be16(tcp, 5001);
	put_be16(tcp + 2, 5002);
	tcp[12] = 5 << 4;
	if (!c->gso)
		return;
	p[0] = 1; /* NEEDS_CSUM */
	p[1] = 1; /* TCPv4 */
	put_le16(p + 2, 54);
	put_le16(p + 4, 1448);
	put_le16(p + 6, 34);
	put_le16(p + 8, 16);
}

static void fill_slots(const struct bench *bench, const struct bench_case *c, struct guest *from,
		       struct guest *to)
{
	for (unsigned i = 0; i < bench_ring(bench, c); i++)
		make_frame(c, from, to, guest_tx_ptr(from, 0, i));
}

/* ---- one way ---- */

struct flood {
	uint64_t sent, got, looks, starved;
	uint64_t ticks;
};

/* Sends as fast as the receiver's ring has room, and receives, for a while. */
static int flood_for(const struct bench *bench, const struct bench_case *c, struct pair *p,
		     double seconds, struct flood *f)
{
	uint64_t start = bench_ticks(), length = bench_ticks_of(bench, seconds), now;
	uint32_t len = guest_hdr_len(p->a) + c->len;
	unsigned limit = bench_window(bench, c);
	int slot, n;

	/* f->sent - f->got goes on from where it was */
	do {
		for (unsigned turn = 0; turn < 16; turn++) {
			f->looks++;
			f->starved += !guest_tx_busy(p->a, 0);
			for (unsigned i = 0; i < TX_BURST && f->sent - f->got < limit; i++) {
				slot = guest_tx_slot(p->a, 0);
				if (slot < 0)
					break;
				guest_tx_post(p->a, 0, (unsigned)slot, len);
				f->sent++;
			}
			guest_tx_flush(p->a, 0);
			n = guest_recv_burst(p->b, 0, RX_BURST, NULL, NULL);
			if (n < 0)
				return n;
			f->got += (unsigned)n;
		}
		now = bench_ticks();
	} while (now - start < length || (!f->got && now - start < bench_ticks_of(bench, STUCK_S)));
	f->ticks = now - start;
	return 0;
}

/* Lets what is under way arrive; the number of frames that did not. */
static uint64_t drain(struct pair *p, uint64_t frames)
{
	uint64_t end = clock_now_ns() + NS_PER_S;
	int n;

	while (frames && clock_now_ns() < end) {
		n = guest_recv_burst(p->b, 0, RX_BURST, NULL, NULL);
		frames -= n > 0 ? (unsigned)n : 0;
	}
	return frames;
}

/* Gb/s of copying frames from slots like the sender's to buffers like the receiver's, in memory of
 * the same kind, on the daemon's core. */
static int copy_rate(const struct bench *bench, const struct bench_case *c, double *gbps)
{
	size_t n_src = bench_window(bench, c), n_dst = bench_ring(bench, c);
	size_t src_len = n_src * c->tx_buf, dst_len = n_dst * c->rx_buf;
	int fd = memfd_create("copy", MFD_CLOEXEC);
	uint64_t start, now, frames = 0, length = bench_ticks_of(bench, bench->seconds / 4);
	uint32_t total = c->len + 12, part, at;
	size_t slot = 0, buf = 0;
	uint8_t *src;

	if (fd < 0 || ftruncate(fd, (off_t)(src_len + dst_len)))
		return -errno;
	src = mmap(NULL, src_len + dst_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (src == MAP_FAILED)
		return -ENOMEM;
	memset(src, 1, src_len + dst_len);
	bench_pin(bench->daemon_cpu);
	start = bench_ticks();
	do {
		for (unsigned i = 0; i < 64; i++) {
			for (at = 0; at < total; at += part) {
				part = total - at < c->rx_buf ? total - at : c->rx_buf;
				memcpy(src + src_len + buf * c->rx_buf, src + slot * c->tx_buf + at,
				       part);
				/* or the compiler might leave it out */
				__asm__ volatile("" : : : "memory");
				buf = buf + 1 == n_dst ? 0 : buf + 1;
			}
			slot = slot + 1 == n_src ? 0 : slot + 1;
		}
		frames += 64;
		now = bench_ticks();
	} while (now - start < length);
	bench_pin(bench->guest_cpu);
	munmap(src, src_len + dst_len);
	*gbps = (double)frames * c->len * 8 / ((double)(now - start) / bench->ticks_per_ns);
	return 0;
}

static int run_one_way(struct bench *bench, const struct bench_case *c, struct result *r)
{
	uint64_t thread_ns, before, lost;
	struct flood f = {0}, warm;
	double ns, gbps, copy = 0;
	struct pair p;
	int err;

	err = copy_rate(bench, c, &copy);
	if (!err)
		err = pair_open(bench, c, false, &p);
	if (err)
		return err;
	fill_slots(bench, c, p.a, p.b);
	err = flood_for(bench, c, &p, bench->seconds * WARM_UP, &f);
	warm = f;
	before = daemon_thread_ns(&bench->daemon, "worker/0");
	if (!err)
		err = flood_for(bench, c, &p, bench->seconds, &f);
	thread_ns = daemon_thread_ns(&bench->daemon, "worker/0") - before;
	lost = err ? 0 : drain(&p, f.sent - f.got);
	pair_close(&p);
	if (err)
		return err;
	f.got -= warm.got;
	f.looks -= warm.looks;
	f.starved -= warm.starved;
	if (!f.got)
		return -EIO;
	ns = (double)f.ticks / bench->ticks_per_ns;
	gbps = (double)f.got * c->len * 8 / ns;
	r->value[M_MPPS][r->runs] = (double)f.got * 1e3 / ns;
	r->value[M_GBPS][r->runs] = gbps;
	r->value[M_CYCLES][r->runs] = (double)f.ticks / (double)f.got;
	r->value[M_WORKER][r->runs] = (double)thread_ns * bench->ticks_per_ns / (double)f.got;
	r->value[M_MEMCPY][r->runs] = copy;
	r->value[M_RATIO][r->runs] = gbps / copy;
	r->value[M_STARVED][r->runs] = 100.0 * (double)f.starved / (double)f.looks;
	r->value[M_LOST][r->runs] = (double)lost;
	return 0;
}

/* ---- latency ---- */

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
	uint64_t looks = 0;
	int slot, n;

	slot = guest_tx_slot(from, 0);
	if (slot < 0)
		return slot;
	guest_tx_post(from, 0, (unsigned)slot, len);
	guest_tx_flush(from, 0);
	while (!(n = guest_recv_burst(to, 0, 1, NULL, NULL))) {
		cpu_relax();
		if (!(++looks % (1 << 22)))
			return -ETIMEDOUT;
	}
	return n < 0 ? n : 0;
}

static int run_busy(struct bench *bench, const struct bench_case *c, struct result *r)
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
	fill_slots(bench, c, p.a, p.b);
	fill_slots(bench, c, p.b, p.a);
	begin = start = bench_ticks();
	do {
		err = throw_over(p.a, p.b, len);
		if (!err)
			err = throw_over(p.b, p.a, len);
		now = bench_ticks();
		if (now - begin > warm && n < SAMPLES_MAX)
			samples[n++] = now - start;
		start = now;
	} while (!err && now - begin < length + warm);
	pair_close(&p);
	return err ? err : keep_samples(bench, r, n);
}

static int run_idle(struct bench *bench, const struct bench_case *c, struct result *r)
{
	uint64_t end, start;
	uint8_t frame[64];
	struct pair p;
	unsigned n = 0;
	int err, slot;

	err = pair_open(bench, c, true, &p);
	if (err)
		return err;
	fill_slots(bench, c, p.a, p.b);
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

static int run_bare(struct bench *bench, struct result *r)
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

int bench_run(struct bench *b, struct result *r)
{
	int err;

	switch (r->what->kind) {
	case ONE_WAY:
		err = run_one_way(b, r->what, r);
		break;
	case BUSY:
		err = run_busy(b, r->what, r);
		break;
	case IDLE:
		err = run_idle(b, r->what, r);
		break;
	case STORAGE:
		err = bench_run_storage(b, r->what, r);
		break;
	default:
		err = run_bare(b, r);
		break;
	}
	if (!err)
		r->runs++;
	return err;
}
