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
#include <stdio.h>

#include "support/daemon.h"

#define RUNS_MAX     64
#define STORAGE_TIME 0.75 /* of the time of other cases: there are many */
#define WARM_UP	     0.1  /* of a run's time, before it */
#define STUCK_S	     10	  /* on a busy machine the worker may come to run late */

/* Those from WORKERS on start a daemon of their own for each run. */
enum case_kind { ONE_WAY, BUSY, IDLE, BARE, STORAGE, WORKERS, NEIGHBOUR, LIGHT_LOAD, RATE, SCALE };
#define KINDS (SCALE + 1)

/* Namespaces of the storage cases are these plus one. */
enum backend { NULL_DISK, MEMORY_DISK, FILE_DISK, BACKENDS };

/* What is measured in a run of a case. Their names, and which case has which: report.c. */
enum metric {
	M_MPPS,	      /* 10^6 frames a second that arrived */
	M_GBPS,	      /* 10^9 bits of frames a second */
	M_CYCLES,     /* of the TSC, a frame */
	M_WORKER,     /* the same, of the time that the worker's thread was on a core */
	M_MEMCPY,     /* 10^9 bits a second of a plain memcpy of the same */
	M_RATIO,      /* M_GBPS / M_MEMCPY */
	M_CPU_RATIO,  /* the same of the time that worker and memcpy were on a core */
	M_FAR_MEMCPY, /* M_MEMCPY through memory that no cache holds */
	M_FAR_RATIO,  /* M_GBPS / M_FAR_MEMCPY */
	M_FAR_CPU_RATIO,
	M_STARVED,  /* % of looks at which the worker had nothing left to do */
	M_LOST,	    /* frames that never arrived */
	M_KIOPS,    /* 10^3 commands a second */
	M_MBPS,	    /* 10^6 bytes a second */
	M_CPU,	    /* ns of CPU time, of all the daemon's threads, a command */
	M_COPY,	    /* 10^6 bytes a second of a plain memcpy of the same */
	M_OF_COPY,  /* M_MBPS / M_COPY */
	M_MESSAGES, /* doorbell messages a 1000 commands */
	M_MEAN,	    /* this and the following: microseconds */
	M_P50,
	M_P99,
	M_MIN,
	M_MAX,
	M_SPOILT,      /* % of samples that other programs spoilt, not in the above */
	M_TURN,	       /* what a turn of the others takes at most */
	M_BOUND,       /* one turn of each of them */
	M_PERCENT,     /* % of a core that the daemon takes */
	M_ONE_CPU,     /* 10^6 frames a second of CPU time of the one worker */
	M_TWO_CPU,     /* of two workers together */
	M_CPU_SCALING, /* twice M_TWO_CPU / M_ONE_CPU */
	M_ONE_WALL,    /* 10^6 frames a second */
	M_TWO_WALL,
	M_WALL_SCALING,
	M_BALANCE,   /* CPU time of the worker that had less, of that which had more */
	M_SET,	     /* Mb/s that are set */
	M_GOT,	     /* Mb/s that arrived */
	M_ACCURACY,  /* % of M_SET */
	M_BY_CPU,    /* Mb/s for a second that the worker is on a core */
	M_UNLIMITED, /* M_BY_CPU of the same frames without a limit */
	M_START,     /* ms from the daemon's start until it is ready */
	M_OWN,	     /* KiB of the daemon's memory a VF, nothing attached */
	M_ATTACHED,  /* KiB more a VF, its own only, when attached */
	M_RSS,	     /* KiB resident, guests' memory and all, a VF */
	M_PSS,
	M_FIRST, /* ms from connecting to the first frame's arrival */
	M_IDLE,	 /* % of a core with all attached and quiet */
	M_FEW_MPPS,
	M_FEW_CPU, /* ns of the workers' time, a frame */
	M_ALL_MPPS,
	M_ALL_CPU,
	METRICS
};

enum traffic { FRAMES_64, FRAMES_TSO, FRAMES_MIX, FRAMES_NONE };
enum poll_policy { POLL_ADAPTIVE, POLL_ALWAYS, POLL_NEVER };
enum light_load { LOAD_FRAMES, LOAD_NULL_DISK, LOAD_MEMORY_DISK, LOAD_NOTHING };
enum limit { LIMIT_NONE, LIMIT_OTHER, LIMIT_SET };

struct bench_case {
	const char *name;
	enum case_kind kind;
	bool optional; /* only when named */
	bool packed;
	uint32_t len;	 /* of the frame, without its virtio header; of one command's data */
	uint32_t rx_buf; /* of one receive buffer */
	uint32_t tx_buf;
	bool gso;
	bool driver;	/* ONE_WAY: guests that take and give each buffer as drivers do */
	bool far;	/* ONE_WAY: frames in 256 MiB of buffers */
	bool ioeventfd; /* IDLE: kicks by eventfd, else by message */
	/* STORAGE */
	enum backend disk;
	unsigned depth; /* commands under way */
	unsigned write_percent;
	bool sequential;
	bool mapped; /* doorbells, at a device that is polled always; else shadow doorbells */
	/* NEIGHBOUR: what the others send; a frame back and forth, else 1000 a second */
	enum traffic others;
	bool ping_pong;
	/* LIGHT_LOAD */
	enum poll_policy poll;
	enum light_load load;
	/* RATE */
	enum limit limit;
	unsigned mbps;
	/* SCALE */
	unsigned vfs, workers;
};

struct result {
	const struct bench_case *what;
	unsigned runs;
	const char *skipped; /* why it was not measured */
	double value[METRICS][RUNS_MAX];
};

struct bench {
	struct daemon_run daemon; /* of the cases that need none of their own */
	const char *softiovd;
	int daemon_cpu, guest_cpu, cpus;
	unsigned runs;
	double seconds;	     /* of one run of one case */
	char image[64];	     /* of the file disk; empty: none */
	bool filled;	     /* the disks have been written once */
	double ticks_per_ns; /* of bench_ticks() */
	uint16_t queue_size;
	/* Another switch than ours, by vhost-user: its ports, NULL for softiov. daemon.pid is
	 * its process then. */
	struct vhost_user *peer[2];
	const char *thread; /* that moves the frames */
};

extern const struct bench_case bench_cases[];
extern const unsigned bench_num_cases;

/* Measures once into r->value[...][r->runs], or sets r->skipped. 0 or -errno. */
int bench_run(struct bench *b, struct result *r);
/* Descriptors of its rings. */
unsigned bench_ring(const struct bench *b, const struct bench_case *c);
/* Frames that fit into the receiver's ring, and so are under way at most: a sender without flow
 * control would only have what is too much thrown away. */
unsigned bench_window(const struct bench *b, const struct bench_case *c);
/* Buffers of the sender and of the receiver. */
unsigned bench_tx_buffers(const struct bench *b, const struct bench_case *c);
unsigned bench_rx_buffers(const struct bench *b, const struct bench_case *c);

/* One run of a case, by its kind: 0 or -errno. */
int bench_run_one_way(struct bench *b, const struct bench_case *c, struct result *r);
int bench_run_busy(struct bench *b, const struct bench_case *c, struct result *r);
int bench_run_idle(struct bench *b, const struct bench_case *c, struct result *r);
int bench_run_bare(struct bench *b, const struct bench_case *c, struct result *r);
int bench_run_storage(struct bench *b, const struct bench_case *c, struct result *r);
int bench_run_workers(struct bench *b, const struct bench_case *c, struct result *r);
int bench_run_neighbour(struct bench *b, const struct bench_case *c, struct result *r);
int bench_run_light_load(struct bench *b, const struct bench_case *c, struct result *r);
int bench_run_rate(struct bench *b, const struct bench_case *c, struct result *r);
int bench_run_scale(struct bench *b, const struct bench_case *c, struct result *r);

/* A host with one queue pair at ssd0/vf0; how it rings: see bench_case. 0 or -errno. */
struct nvme_host;
int bench_open_disk(const struct daemon_run *d, bool mapped, struct nvme_host **out);
/* Bytes of a disk; of the null one there is no end. */
uint64_t bench_disk_size(enum backend disk);
bool bench_has_kind(const struct result *r, unsigned n, enum case_kind kind);
/* Ticks of bench_ticks() in so many seconds. */
uint64_t bench_ticks_of(const struct bench *b, double seconds);
/* Puts the calling thread on one core; -1: back to all that it had. */
void bench_pin(int cpu);

/* Starts a daemon on the daemon's core (or with spread, each worker on a core of its own as far as
 * there are some). 0 or -errno, having said why. */
int bench_start(const struct bench *b, struct daemon_run *d, const char *config, bool spread);
/* Whether this softiovd takes such a configuration. */
bool bench_takes(const struct bench *b, const char *config);
/* Ends it; err, or -ECHILD when it did not end well. */
int bench_stop(struct daemon_run *d, int err);

/* Lets this program, and daemons that it starts, have as many files as it may. */
void bench_allow_files(void);

/* CPU time of the calling thread. */
double bench_cpu_ns(void);
/* Copies n_src buffers of len bytes, src_stride apart, to as many bytes in n_dst buffers of
 * dst_len each, round and round, on the daemon's core. 0 or -errno. */
struct copy_rate {
	double gbps, cpu_gbps; /* 10^9 bits a second; a second that the core was ours */
};
int bench_memcpy(const struct bench *b, uint32_t len, size_t n_src, size_t src_stride, size_t n_dst,
		 size_t dst_len, struct copy_rate *rate);
/* So much memory of the same kind as the guests', written once; kept for the next. Or NULL. */
uint8_t *bench_copy_memory(size_t len);
#define COPY_MEMORY (288u << 20)

struct spread {
	double median, min, max;
	unsigned n;
};
struct spread bench_spread(const struct result *r, enum metric m);

/* What the figures hold for. */
struct machine {
	char cpu[128], kernel[128], governor[32], shmem_huge[64], caches[3][32];
	int cpus, allowed;
	bool virtualized;
	double load_before, load_after;
	double steal_percent; /* of the cores' time while it ran */
	double ghz;
};
void machine_begin(struct machine *m);
void machine_end(struct machine *m);

/* Markdown. */
void report_tables(FILE *f, const struct bench *b, const struct machine *m, const struct result *r,
		   unsigned n);
int report_json(const char *path, const struct bench *b, const struct machine *m,
		const struct result *r, unsigned n);
/* For gnuplot: a line for each SCALE case, a block for each number of workers (scale.gp). */
int report_scale_data(const char *path, const struct result *r, unsigned n);

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
