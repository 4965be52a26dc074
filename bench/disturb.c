/* SPDX-License-Identifier: BSD-3-Clause */
#include "disturb.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define LEAST_NS 100000

static uint64_t read_delays(const struct disturb *x)
{
	unsigned long long ran, waited;
	uint64_t sum = 0;
	char text[128];
	ssize_t n;

	for (unsigned i = 0; i < DISTURB_THREADS; i++) {
		n = x->fds[i] < 0 ? 0 : pread(x->fds[i], text, sizeof(text) - 1, 0);
		if (n <= 0)
			continue;
		text[n] = '\0';
		if (sscanf(text, "%llu %llu", &ran, &waited) == 2)
			sum += waited;
	}
	return sum;
}

void disturb_open(struct disturb *x, const struct daemon_run *d)
{
	char main_thread[64];

	snprintf(main_thread, sizeof(main_thread), "/proc/%d/task/%d/schedstat", (int)d->pid,
		 (int)d->pid);
	*x = (struct disturb){.fds = {daemon_open_schedstat(d, "worker/0"),
				      open(main_thread, O_RDONLY | O_CLOEXEC),
				      open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)}};
	disturb_mark(x);
}

void disturb_close(struct disturb *x)
{
	for (unsigned i = 0; i < DISTURB_THREADS; i++)
		if (x->fds[i] >= 0)
			close(x->fds[i]);
}

void disturb_mark(struct disturb *x)
{
	x->delay_ns = read_delays(x);
}

bool disturb_spoilt(struct disturb *x, double ns)
{
	uint64_t before = x->delay_ns, delay;

	x->samples++;
	if (ns < LEAST_NS)
		return false;
	disturb_mark(x);
	delay = x->delay_ns - before;
	if (delay < LEAST_NS || (double)delay < ns / 2)
		return false;
	x->spoilt++;
	return true;
}

double disturb_percent(const struct disturb *x)
{
	return x->samples ? 100.0 * (double)x->spoilt / (double)x->samples : 0;
}
