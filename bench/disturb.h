/* SPDX-License-Identifier: BSD-3-Clause */
/* How long others kept the daemon's worker, its control thread and this thread off their cores
 * though they had something to do (run delay of schedstat): what such a time spoilt says nothing
 * of softiov. Time that a hypervisor takes is not in it. */
#ifndef SOFTIOV_BENCH_DISTURB_H
#define SOFTIOV_BENCH_DISTURB_H

#include <stdbool.h>
#include <stdint.h>

#include "support/daemon.h"

#define DISTURB_THREADS 3

struct disturb {
	int fds[DISTURB_THREADS]; /* -1: nothing to read there */
	uint64_t delay_ns;	  /* when last looked */
	uint64_t samples, spoilt;
};

void disturb_open(struct disturb *x, const struct daemon_run *d);
void disturb_close(struct disturb *x);
/* Begins anew from here; counts are kept. Takes some microseconds. */
void disturb_mark(struct disturb *x);
/* Whether a sample of so many ns, begun after the last mark or look, is to be thrown away: others
 * account for more than 100 us of it and for more than half. Asks only of long ones. Counts. */
bool disturb_spoilt(struct disturb *x, double ns);
/* % of the samples that were. */
double disturb_percent(const struct disturb *x);

#endif
