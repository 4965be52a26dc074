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

void doctor_uring(struct doctor *d)
{
	struct io_uring_params params = {0};
	const char *remedy = "a container or seccomp filter forbids io_uring_setup: allow it";
	int fd = (int)syscall(SYS_io_uring_setup, RING_ENTRIES, &params);
	int err = errno;

	if (fd >= 0) {
		close(fd);
		doctor_report(d, "io_uring", FINDING_OK, NULL,
			      "works: disks in files and on block devices");
		return;
	}
	if (err == ENOSYS)
		remedy = "the kernel has none: use one with CONFIG_IO_URING, 5.10 or newer";
	else if (err == ENOMEM)
		remedy = "raise the limit of locked memory (ulimit -l), as for register-memory";
	else if (uring_disabled() > 0)
		remedy = "sudo sysctl kernel.io_uring_disabled=0";
	doctor_report(d, "io_uring", FINDING_WARN, remedy,
		      "%s: no namespaces in files and on block devices; memory, null and nbd work "
		      "without it",
		      strerror(err));
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
