/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory for tests: memfds, and how often one is mapped. */
#ifndef TESTS_UNIT_DMA_MEMORY_H
#define TESTS_UNIT_DMA_MEMORY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PG 4096ull
#define RW (DMA_PROT_READ | DMA_PROT_WRITE)

static inline int memory(const char *name, uint64_t pages)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)(pages * PG)))
		abort();
	return fd;
}

static inline unsigned count_mappings(const char *name)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned n = 0;

	while (fgets(line, sizeof(line), f))
		n += strstr(line, name) != NULL;
	fclose(f);
	return n;
}

#endif
