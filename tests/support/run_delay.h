/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether a machine had time for a process: tests of rates cannot ask for them of one that had not.
 */
#ifndef TESTS_SUPPORT_RUN_DELAY_H
#define TESTS_SUPPORT_RUN_DELAY_H

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>

/* Time that threads of a process ("self", or its number) were ready to run and did not, in ns. */
static inline uint64_t run_delay_ns(const char *pid)
{
	uint64_t sum = 0, delay;
	struct dirent *e;
	char path[320];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/task", pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/task/%s/schedstat", pid, e->d_name);
		f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%*u %" SCNu64, &delay) == 1)
			sum += delay;
		fclose(f);
	}
	if (dir)
		closedir(dir);
	return sum;
}

#endif
