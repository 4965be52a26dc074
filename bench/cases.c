/* SPDX-License-Identifier: BSD-3-Clause */
/* Which cases there are, and what is common to running them. */
#include "bench.h"

#include <math.h>
#include <sched.h>

#define SMALL_BUF 2048
#define TSO_LEN	  65226 /* 45 segments of 1448 bytes and their headers, just below 64 KiB */
#define TSO_BUF	  65536
#define PAGE_BUF  4096
#define RING_MAX  1024
#define FAR_TIMES 2 /* rings' worth of buffers: 128 MiB for each side */

/* clang-format off */
#define STORAGE_CASE(says, bytes, on, qd, percent, seq)                                            \
	{.name = says, .kind = STORAGE, .len = bytes, .disk = on, .depth = qd,                     \
	 .write_percent = percent, .sequential = seq}
#define MAPPED_CASE(says, qd)                                                                      \
	{.name = says, .kind = STORAGE, .len = 4096, .disk = NULL_DISK, .depth = qd, .mapped = true}
#define WORKERS_CASE(says, bytes, buf, tso)                                                        \
	{.name = says, .kind = WORKERS, .len = bytes, .rx_buf = buf, .tx_buf = buf, .gso = tso}
#define NEIGHBOUR_CASE(says, traffic, pingpong)                                                    \
	{.name = says, .kind = NEIGHBOUR, .len = 64, .rx_buf = SMALL_BUF, .tx_buf = SMALL_BUF,     \
	 .others = traffic, .ping_pong = pingpong}
#define LOAD_CASE(says, policy, what, bytes)                                                       \
	{.name = says, .kind = LIGHT_LOAD, .len = bytes, .rx_buf = SMALL_BUF, .tx_buf = SMALL_BUF, \
	 .poll = policy, .load = what}
#define RATE_CASE(says, how, rate, bytes, buf, tso)                                                \
	{.name = says, .kind = RATE, .optional = true, .len = bytes, .rx_buf = buf, .tx_buf = buf, \
	 .gso = tso, .limit = how, .mbps = rate}
#define RATE_CASES(mbps)                                                                           \
	RATE_CASE("rate " #mbps " 64", LIMIT_SET, mbps, 64, SMALL_BUF, false),                     \
	RATE_CASE("rate " #mbps " 1518", LIMIT_SET, mbps, 1518, SMALL_BUF, false),                 \
	RATE_CASE("rate " #mbps " TSO", LIMIT_SET, mbps, TSO_LEN, TSO_BUF, true)
#define SCALE_CASE(n, w)                                                                           \
	{.name = "scale " #n " VFs " #w " workers", .kind = SCALE, .optional = true, .len = 64,    \
	 .rx_buf = 128, .tx_buf = 128, .vfs = n, .workers = w}
const struct bench_case bench_cases[] = {
	{"64 split",         ONE_WAY, false, false, 64,      SMALL_BUF, SMALL_BUF},
	{"64 packed",        ONE_WAY, false, true,  64,      SMALL_BUF, SMALL_BUF},
	{"512 split",        ONE_WAY, false, false, 512,     SMALL_BUF, SMALL_BUF},
	{"512 packed",       ONE_WAY, false, true,  512,     SMALL_BUF, SMALL_BUF},
	{"1518 split",       ONE_WAY, false, false, 1518,    SMALL_BUF, SMALL_BUF},
	{"1518 packed",      ONE_WAY, false, true,  1518,    SMALL_BUF, SMALL_BUF},
	{"TSO split",        ONE_WAY, false, false, TSO_LEN, TSO_BUF,   TSO_BUF, .gso = true},
	{"TSO packed",       ONE_WAY, false, true,  TSO_LEN, TSO_BUF,   TSO_BUF, .gso = true},
	{"TSO pages split",  ONE_WAY, false, false, TSO_LEN, PAGE_BUF,  TSO_BUF, .gso = true},
	{"TSO pages packed", ONE_WAY, false, true,  TSO_LEN, PAGE_BUF,  TSO_BUF, .gso = true},
	{"TSO 256M split",   ONE_WAY, false, false, TSO_LEN, TSO_BUF,   TSO_BUF, .gso = true, .far = true},
	{"TSO 256M packed",  ONE_WAY, false, true,  TSO_LEN, TSO_BUF,   TSO_BUF, .gso = true, .far = true},
	{"64 driver split",  ONE_WAY, false, false, 64,      SMALL_BUF, SMALL_BUF, .driver = true},
	{"64 driver packed", ONE_WAY, false, true,  64,      SMALL_BUF, SMALL_BUF, .driver = true},
	{"busy split",       BUSY,    false, false, 64,      SMALL_BUF, SMALL_BUF},
	{"busy packed",      BUSY,    false, true,  64,      SMALL_BUF, SMALL_BUF},
	{"idle eventfd",     IDLE,    false, false, 64,      SMALL_BUF, SMALL_BUF, .ioeventfd = true},
	{"idle message",     IDLE,    false, false, 64,      SMALL_BUF, SMALL_BUF},
	{"idle bare",        BARE},
	WORKERS_CASE("workers 64", 64, SMALL_BUF, false),
	WORKERS_CASE("workers 1518", 1518, SMALL_BUF, false),
	WORKERS_CASE("workers TSO", TSO_LEN, TSO_BUF, true),
	NEIGHBOUR_CASE("neighbour alone, 1000/s", FRAMES_NONE, false),
	NEIGHBOUR_CASE("neighbour 63 x 64, 1000/s", FRAMES_64, false),
	NEIGHBOUR_CASE("neighbour 63 x TSO, 1000/s", FRAMES_TSO, false),
	NEIGHBOUR_CASE("neighbour 63 mixed, 1000/s", FRAMES_MIX, false),
	NEIGHBOUR_CASE("neighbour alone, ping-pong", FRAMES_NONE, true),
	NEIGHBOUR_CASE("neighbour 63 x 64, ping-pong", FRAMES_64, true),
	NEIGHBOUR_CASE("neighbour 63 x TSO, ping-pong", FRAMES_TSO, true),
	NEIGHBOUR_CASE("neighbour 63 mixed, ping-pong", FRAMES_MIX, true),
	LOAD_CASE("light frames adaptive", POLL_ADAPTIVE, LOAD_FRAMES, 64),
	LOAD_CASE("light frames always", POLL_ALWAYS, LOAD_FRAMES, 64),
	LOAD_CASE("light frames never", POLL_NEVER, LOAD_FRAMES, 64),
	LOAD_CASE("light null disk adaptive", POLL_ADAPTIVE, LOAD_NULL_DISK, 4096),
	LOAD_CASE("light null disk always", POLL_ALWAYS, LOAD_NULL_DISK, 4096),
	LOAD_CASE("light null disk never", POLL_NEVER, LOAD_NULL_DISK, 4096),
	LOAD_CASE("light memory disk adaptive", POLL_ADAPTIVE, LOAD_MEMORY_DISK, 4096),
	LOAD_CASE("light memory disk always", POLL_ALWAYS, LOAD_MEMORY_DISK, 4096),
	LOAD_CASE("light memory disk never", POLL_NEVER, LOAD_MEMORY_DISK, 4096),
	LOAD_CASE("light nothing, 255 VFs attached", POLL_ADAPTIVE, LOAD_NOTHING, 64),
	STORAGE_CASE("nvme null 4K read QD1", 4096, NULL_DISK, 1, 0, false),
	STORAGE_CASE("nvme null 4K read QD32", 4096, NULL_DISK, 32, 0, false),
	STORAGE_CASE("nvme null 4K read QD128", 4096, NULL_DISK, 128, 0, false),
	MAPPED_CASE("nvme null 4K read QD1 mapped", 1),
	MAPPED_CASE("nvme null 4K read QD32 mapped", 32),
	MAPPED_CASE("nvme null 4K read QD128 mapped", 128),
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
	RATE_CASE("rate none 64", LIMIT_NONE, 0, 64, SMALL_BUF, false),
	RATE_CASE("rate none 1518", LIMIT_NONE, 0, 1518, SMALL_BUF, false),
	RATE_CASE("rate none TSO", LIMIT_NONE, 0, TSO_LEN, TSO_BUF, true),
	RATE_CASE("rate of another 64", LIMIT_OTHER, 0, 64, SMALL_BUF, false),
	RATE_CASE("rate of another 1518", LIMIT_OTHER, 0, 1518, SMALL_BUF, false),
	RATE_CASE("rate of another TSO", LIMIT_OTHER, 0, TSO_LEN, TSO_BUF, true),
	RATE_CASES(10),
	RATE_CASES(100),
	RATE_CASES(1000),
	RATE_CASES(10000),
	RATE_CASES(40000),
	RATE_CASES(100000),
	SCALE_CASE(1, 1),
	SCALE_CASE(4, 1),
	SCALE_CASE(16, 1),
	SCALE_CASE(64, 1),
	SCALE_CASE(255, 1),
	SCALE_CASE(1, 2),
	SCALE_CASE(4, 2),
	SCALE_CASE(16, 2),
	SCALE_CASE(64, 2),
	SCALE_CASE(255, 2),
};
/* clang-format on */
const unsigned bench_num_cases = sizeof(bench_cases) / sizeof(bench_cases[0]);

void bench_pin(int cpu)
{
	static cpu_set_t all;
	static bool known;
	cpu_set_t set;

	if (!known)
		known = !sched_getaffinity(0, sizeof(all), &all);
	if (cpu < 0) {
		sched_setaffinity(0, sizeof(all), &all);
		return;
	}
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

	return size < RING_MAX && !c->far ? size : RING_MAX;
}

unsigned bench_window(const struct bench *b, const struct bench_case *c)
{
	return bench_ring(b, c) / ((c->len + 12 + c->rx_buf - 1) / c->rx_buf);
}

/* No more than frames can be under way: what a driver with a free list would touch. */
unsigned bench_tx_buffers(const struct bench *b, const struct bench_case *c)
{
	unsigned n = 1;

	while (2 * n <= bench_window(b, c))
		n *= 2;
	return c->far ? n * FAR_TIMES : n;
}

unsigned bench_rx_buffers(const struct bench *b, const struct bench_case *c)
{
	return bench_ring(b, c) * (c->far ? FAR_TIMES : 1);
}

bool bench_has_kind(const struct result *r, unsigned n, enum case_kind kind)
{
	for (unsigned i = 0; i < n; i++)
		if (r[i].what->kind == kind)
			return true;
	return false;
}

typedef int run_fn(struct bench *b, const struct bench_case *c, struct result *r);

static run_fn *const runners[KINDS] = {
	[ONE_WAY] = bench_run_one_way,	   [BUSY] = bench_run_busy,
	[IDLE] = bench_run_idle,	   [BARE] = bench_run_bare,
	[STORAGE] = bench_run_storage,	   [WORKERS] = bench_run_workers,
	[NEIGHBOUR] = bench_run_neighbour, [LIGHT_LOAD] = bench_run_light_load,
	[RATE] = bench_run_rate,	   [SCALE] = bench_run_scale,
};

int bench_run(struct bench *b, struct result *r)
{
	int err;

	if (r->skipped)
		return 0;
	for (unsigned m = 0; m < METRICS; m++)
		r->value[m][r->runs] = NAN;
	err = runners[r->what->kind](b, r->what, r);
	if (!err && !r->skipped)
		r->runs++;
	return err;
}
