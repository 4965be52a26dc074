/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a test of NVMe at a real daemon needs around it: a directory for disk images, the daemon
 * with a configuration, hosts at its functions, the command line, an NBD server, patterns, and an
 * honest host that works all the time and tells whether it was disturbed.
 */
#ifndef TESTS_SUPPORT_NVME_RIG_H
#define TESTS_SUPPORT_NVME_RIG_H

#include <pthread.h>
#include <stdatomic.h>

#include "daemon.h"
#include "nvme_host.h"

#define NVME_RIG_CONFIG_MAX 8192

struct nvme_rig {
	const char *softiovd, *softiov;
	struct daemon_run run;
	bool running;
	bool bad;	/* the daemon did not end cleanly, or what a test says of itself */
	char files[40]; /* directory of its own, "/tmp/softiov-nvme-XXXXXX" */
	pid_t nbd;	/* 0: none */
	char config[NVME_RIG_CONFIG_MAX]; /* what it was started with */
	char out[65536];		  /* of the last command, both streams */
};

/* What waits are multiplied by under sanitizers (SOFTIOV_SLOW). */
unsigned nvme_rig_slow(void);
#define NVME_RIG_TIMEOUT_MS (15000 * nvme_rig_slow()) /* of any one wait */

/* Makes the directory. */
int nvme_rig_init(struct nvme_rig *r, const char *softiovd, const char *softiov);
/* Ends what runs, removes the directory. 0, or -1 when something was bad meanwhile: cmocka does not
 * count a group's teardown that fails. */
int nvme_rig_fini(struct nvme_rig *r);
/* Starts the daemon; every "@" in config becomes the directory of files. */
int nvme_rig_start(struct nvme_rig *r, const char *config);
/* Ends the daemon cleanly, or (kill) at once; the files stay. */
int nvme_rig_stop(struct nvme_rig *r);
void nvme_rig_kill(struct nvme_rig *r);

/* Starts nbdkit or qemu-nbd with so many bytes of memory at "@/nbd.sock". -ENOENT: neither is
 * installed. */
int nvme_rig_nbd_start(struct nvme_rig *r, uint64_t size);
void nvme_rig_nbd_stop(struct nvme_rig *r);

/* A host at a function such as "ssd0/vf0"; while the daemon has not noticed yet that the last owner
 * is gone, tries again. cfg: path and, if 0, timeout_ms are filled in. */
int nvme_rig_connect(struct nvme_rig *r, const char *name, struct nvme_host_config cfg,
		     struct nvme_host **out);
int nvme_rig_open(struct nvme_rig *r, const char *name, struct nvme_host_config cfg,
		  struct nvme_host **out);

/* softiov with these words; its exit status, output in r->out. */
int nvme_rig_cli(struct nvme_rig *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A pattern that tells seed and place. */
void nvme_pattern(void *buf, size_t len, uint64_t seed);
/* Whether it is that. */
bool nvme_pattern_is(const void *buf, size_t len, uint64_t seed);

/* A thread whose host writes, reads back and compares all the time. */
struct nvme_pump {
	struct nvme_host *h;
	uint32_t nsid;
	uint64_t blocks; /* of the namespace, used from 0 */
	pthread_t thread;
	_Atomic int stop, error; /* a status or -errno, or -EBADMSG for wrong data */
	_Atomic unsigned long commands;
	_Atomic uint64_t worst_ns; /* of one command, since nvme_pump_check() */
	uint64_t slowest_ns;	   /* of all */
};
int nvme_pump_start(struct nvme_pump *p, struct nvme_host *h, uint32_t nsid);
/* Ends it; the error that it met or 0. Closes nothing. */
int nvme_pump_stop(struct nvme_pump *p);
/* Waits until it has done n more commands. 0, its error, -ETIMEDOUT, or -ETIME when since the last
 * check one command took longer than limit_ms. */
int nvme_pump_check(struct nvme_pump *p, unsigned long n, unsigned limit_ms);

#endif
