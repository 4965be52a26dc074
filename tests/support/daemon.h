/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A softiovd of one's own: started with a configuration in a new directory below /tmp, watched
 * through /proc, ended. For tests and benchmarks. One thread.
 */
#ifndef TESTS_SUPPORT_DAEMON_H
#define TESTS_SUPPORT_DAEMON_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct daemon_run {
	pid_t pid;
	uint64_t
		ready_ns; /* from its start until it told systemd that it is ready; 0: it did not */
	char dir[32];	  /* holds the configuration, the log and the sockets */
};

/* Starts it and waits until it answers at its control socket. cpu: the one core it may use, or -1.
 * 0 or -errno; what it logged is then on stderr. */
int daemon_start(struct daemon_run *d, const char *softiovd, const char *config, int cpu);
/* Ends it by SIGTERM and removes the directory. 0 when it ended cleanly, else -1, the log on
 * stderr. */
int daemon_stop(struct daemon_run *d);
/* Ends it by SIGKILL, at once, and removes the directory. */
void daemon_kill(struct daemon_run *d);
/* Whether it still runs. */
bool daemon_lives(const struct daemon_run *d);
/* Path of a function's or root's socket, such as "nic0/vf3" or "host0"; valid until the next
 * call but three. */
const char *daemon_socket(const struct daemon_run *d, const char *name);

/* CPU time that all threads took which it has now, in ns. */
uint64_t daemon_cpu_ns(const struct daemon_run *d);
/* CPU time of the threads of this name. */
uint64_t daemon_thread_ns(const struct daemon_run *d, const char *thread);
/* The schedstat of one of them, to be read again and again by pread(); -1. */
int daemon_open_schedstat(const struct daemon_run *d, const char *thread);
/* Puts the threads of this name on one core. Their number. */
unsigned daemon_pin_thread(const struct daemon_run *d, const char *thread, int cpu);
/* A line of /proc/PID/status in KiB, such as "VmRSS" or "RssAnon"; -1. */
long daemon_status_kib(const struct daemon_run *d, const char *key);
/* The same of /proc/PID/smaps_rollup, such as "Pss" or "Pss_Anon"; -1. */
long daemon_rollup_kib(const struct daemon_run *d, const char *key);
/* Open files. */
int daemon_files(const struct daemon_run *d);

#endif
