/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * softiov-bench: figures of a softiovd of its own, the guests played by one thread. See
 * docs/bench.md for what each figure means.
 */
#ifndef SOFTIOV_BENCH_H
#define SOFTIOV_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/daemon.h"

#define RUNS_MAX     64
#define STORAGE_TIME 0.75 /* of the time of other cases: there are many */

enum case_kind { ONE_WAY, BUSY, IDLE, BARE, STORAGE };

/* Namespaces of the storage cases are these plus one. */
enum backend { NULL_DISK, MEMORY_DISK, FILE_DISK, BACKENDS };

/* What is measured in a run of a case. */
enum metric {
	/* ONE_WAY */
	M_MPPS,	   /* 10^6 frames a second that arrived */
	M_GBPS,	   /* 10^9 bits of frames a second */
	M_CYCLES,  /* of the TSC, a frame */
	M_WORKER,  /* the same, of the time that the worker's thread was on a core */
	M_MEMCPY,  /* 10^9 bits a second of a plain memcpy of the same */
	M_RATIO,   /* M_GBPS / M_MEMCPY */
	M_STARVED, /* % of looks at which the worker had nothing left to do */
	M_LOST,	   /* frames that never arrived */
	/* STORAGE */
	M_KIOPS,    /* 10^3 commands a second */
	M_MBPS,	    /* 10^6 bytes a second */
	M_CPU,	    /* ns of CPU time, of all the daemon's threads, a command */
	M_COPY,	    /* 10^6 bytes a second of a plain memcpy of the same */
	M_OF_COPY,  /* M_MBPS / M_COPY */
	M_MESSAGES, /* doorbell messages a 1000 commands */
	M_MEAN,	    /* microseconds */
	/* all but ONE_WAY: microseconds */
	M_P50,
	M_P99,
	M_MIN,
	METRICS
};

struct bench_case {
	const char *name;
	enum case_kind kind;
	bool packed;
	uint32_t len;	 /* of the frame, without its virtio header; of one command's data */
	uint32_t rx_buf; /* of one receive buffer */
	uint32_t tx_buf;
	bool gso;
	bool ioeventfd; /* IDLE: kicks by eventfd, else by message */
	/* STORAGE */
	enum backend disk;
	unsigned depth; /* commands under way */
	unsigned write_percent;
	bool sequential;
};

struct result {
	const struct bench_case *what;
	unsigned runs;
	double value[METRICS][RUNS_MAX];
};

struct bench {
	struct daemon_run daemon;
	const char *softiovd;
	int daemon_cpu, guest_cpu;
	unsigned runs;
	double seconds;	     /* of one run of one case */
	char image[64];	     /* of the file disk; empty: none */
	bool filled;	     /* the disks have been written once */
	double ticks_per_ns; /* of bench_ticks() */
	uint16_t queue_size;
};

extern const struct bench_case bench_cases[];
extern const unsigned bench_num_cases;

/* Measures once into r->value[...][r->runs]. 0 or -errno. */
int bench_run(struct bench *b, struct result *r);
/* Descriptors of its rings. */
unsigned bench_ring(const struct bench *b, const struct bench_case *c);
/* Frames that fit into the receiver's ring, and so are under way at most: a sender without flow
 * control would only have what is too much thrown away. */
unsigned bench_window(const struct bench *b, const struct bench_case *c);
/* One run of a storage case (storage.c). */
int bench_run_storage(struct bench *b, const struct bench_case *c, struct result *r);
/* Bytes of a disk; of the null one there is no end. */
uint64_t bench_disk_size(enum backend disk);
bool bench_has_storage(const struct result *r, unsigned n);
/* Ticks of bench_ticks() in so many seconds. */
uint64_t bench_ticks_of(const struct bench *b, double seconds);
/* Puts the calling thread on one core. */
void bench_pin(int cpu);

struct spread {
	double median, min, max;
};
struct spread bench_spread(const struct result *r, enum metric m);

/* What the figures hold for. */
struct machine {
	char cpu[128], kernel[128], governor[32], shmem_huge[64];
	int cpus, allowed;
	bool virtualized;
	double load_before, load_after;
	double steal_percent; /* of the cores' time while it ran */
	double ghz;
};
void machine_begin(struct machine *m);
void machine_end(struct machine *m);

void report_table(const struct bench *b, const struct machine *m, const struct result *r,
		  unsigned n);
int report_json(const char *path, const struct bench *b, const struct machine *m,
		const struct result *r, unsigned n);

#if defined(__x86_64__)
#include <x86intrin.h>
static inline uint64_t bench_ticks(void)
{
	return __rdtsc();
}
#else
#include "util/clock.h"
static inline uint64_t bench_ticks(void)
{
	return clock_now_ns();
}
#endif

#endif
