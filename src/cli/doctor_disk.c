/* SPDX-License-Identifier: BSD-3-Clause */
/* What disks need: io_uring, and memory that may be locked. */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/doctor.h"
#include "cli/table.h"

#define RING_ENTRIES 8

/* What the sysctl says; -1: there is none, the kernel is too old to have it. */
static int uring_disabled(void)
{
	FILE *f = fopen("/proc/sys/kernel/io_uring_disabled", "re");
	int v = -1;

	if (f && fscanf(f, "%d", &v) != 1)
		v = -1;
	if (f)
		fclose(f);
	return v;
}

static int try_uring(unsigned flags)
{
	struct io_uring_params params = {.flags = flags};
	int fd = (int)syscall(SYS_io_uring_setup, RING_ENTRIES, &params);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* Of Linux 6.1: completions are run by the thread that waits for them. */
#define MODERN_SETUP ((1u << 12) | (1u << 13)) /* SINGLE_ISSUER, DEFER_TASKRUN */

/* Without it threads do the work: slower, but it works. */
void doctor_uring(struct doctor *d)
{
	const char *remedy = "a container or seccomp filter forbids io_uring_setup: allow it";
	int err = try_uring(0);

	if (!err && !try_uring(MODERN_SETUP))
		doctor_report(d, "io_uring", FINDING_OK, NULL,
			      "works, for disks in files and on block devices");
	else if (!err)
		doctor_report(d, "io_uring", FINDING_OK, NULL,
			      "works, for disks in files and on block devices; Linux 6.1 or newer "
			      "is faster");
	if (!err)
		return;
	if (err == -ENOSYS)
		remedy = "use a kernel with CONFIG_IO_URING";
	else if (err == -ENOMEM)
		remedy = "raise the limit of locked memory (ulimit -l)";
	else if (uring_disabled() > 0)
		remedy = "sudo sysctl kernel.io_uring_disabled=0";
	doctor_report(d, "io_uring", FINDING_WARN, remedy,
		      "%s: disks in files and on block devices work by threads, slower",
		      strerror(-err));
}

/* Never more than a remark: register-memory is off unless somebody turns it on, and what cannot be
 * registered is served all the same. */
void doctor_memlock(struct doctor *d)
{
	struct rlimit rl;
	char bytes[16];

	if (getrlimit(RLIMIT_MEMLOCK, &rl))
		return;
	if (rl.rlim_max == RLIM_INFINITY)
		doctor_report(d, "locked memory", FINDING_OK, NULL,
			      "no limit: register-memory works for VMs of any size");
	else
		doctor_report(d, "locked memory", FINDING_OK, NULL,
			      "%s allowed; register-memory: on wants as much as its VMs have "
			      "(LimitMEMLOCK= of the systemd unit, or /etc/security/limits.conf)",
			      human_bytes(rl.rlim_max, bytes));
}
