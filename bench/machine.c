/* SPDX-License-Identifier: BSD-3-Clause */
/* Under what conditions the figures came about. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench.h"
#include "util/clock.h"

static uint64_t ticks_all, ticks_steal; /* at the beginning */

static void read_line(const char *path, char *out, size_t len)
{
	FILE *f = fopen(path, "re");

	snprintf(out, len, "not readable");
	if (!f)
		return;
	if (fgets(out, (int)len, f))
		out[strcspn(out, "\n")] = '\0';
	fclose(f);
}

static void read_cpu(struct machine *m)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[4096];

	snprintf(m->cpu, sizeof(m->cpu), "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		char *v = strchr(line, ':');

		if (!v)
			continue;
		v[strcspn(v, "\n")] = '\0';
		if (!strncmp(line, "model name", 10))
			snprintf(m->cpu, sizeof(m->cpu), "%.120s", v + 2);
		if (!strncmp(line, "flags", 5))
			m->virtualized = strstr(v, " hypervisor") != NULL;
	}
	if (f)
		fclose(f);
}

static double load(void)
{
	double v[1];

	return getloadavg(v, 1) == 1 ? v[0] : -1;
}

/* user nice system idle iowait irq softirq steal */
static void read_stat(uint64_t *all, uint64_t *steal)
{
	unsigned long long v[8] = {0};
	FILE *f = fopen("/proc/stat", "re");

	*all = *steal = 0;
	if (f && fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2],
			&v[3], &v[4], &v[5], &v[6], &v[7]) == 8)
		*steal = v[7];
	for (unsigned i = 0; i < 8; i++)
		*all += v[i];
	if (f)
		fclose(f);
}

static double measure_ghz(void)
{
	uint64_t t = bench_ticks(), n = clock_now_ns(), now;

	while ((now = clock_now_ns()) - n < 50 * NS_PER_MS)
		;
	return (double)(bench_ticks() - t) / (double)(now - n);
}

void machine_begin(struct machine *m)
{
	struct utsname u;
	cpu_set_t set;

	*m = (struct machine){.cpus = (int)sysconf(_SC_NPROCESSORS_ONLN)};
	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof(set), &set);
	m->allowed = CPU_COUNT(&set);
	read_cpu(m);
	uname(&u);
	snprintf(m->kernel, sizeof(m->kernel), "%.40s %.40s %.40s", u.sysname, u.release,
		 u.machine);
	read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", m->governor,
		  sizeof(m->governor));
	read_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled", m->shmem_huge,
		  sizeof(m->shmem_huge));
	for (unsigned i = 0; i < 3; i++) {
		char path[80];

		/* index0 and index1 are the first level's: data, instructions */
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/cache/index%u/size",
			 i ? i + 1 : 0);
		read_line(path, m->caches[i], sizeof(m->caches[i]));
	}
	m->load_before = load();
	m->ghz = measure_ghz();
	read_stat(&ticks_all, &ticks_steal);
}

void machine_end(struct machine *m)
{
	uint64_t all, steal;

	read_stat(&all, &steal);
	m->load_after = load();
	if (all > ticks_all)
		m->steal_percent =
			100.0 * (double)(steal - ticks_steal) / (double)(all - ticks_all);
}
