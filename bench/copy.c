/* SPDX-License-Identifier: BSD-3-Clause */
/* What copying alone takes: the bound that throughput is compared with. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

uint8_t *bench_copy_memory(size_t len)
{
	static uint8_t *mem;
	int fd;

	if (len > COPY_MEMORY)
		return NULL;
	if (mem)
		return mem;
	fd = memfd_create("copy", MFD_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (!ftruncate(fd, COPY_MEMORY))
		mem = mmap(NULL, COPY_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (mem == MAP_FAILED)
		mem = NULL;
	if (mem)
		memset(mem, 1, COPY_MEMORY);
	return mem;
}

double bench_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int bench_memcpy(const struct bench *b, uint32_t len, size_t n_src, size_t src_stride, size_t n_dst,
		 size_t dst_len, struct copy_rate *rate)
{
	uint64_t start, now, pieces = 0, length = bench_ticks_of(b, b->seconds / 4);
	uint8_t *src = bench_copy_memory(n_src * src_stride + n_dst * dst_len), *dst;
	size_t slot = 0, buf = 0, at, part;
	double cpu, bits;

	if (!src)
		return -ENOMEM;
	dst = src + n_src * src_stride;
	bench_pin(b->daemon_cpu);
	cpu = bench_cpu_ns();
	start = bench_ticks();
	do {
		for (unsigned i = 0; i < 64; i++, pieces++) {
			for (at = 0; at < len; at += part) {
				part = len - at < dst_len ? len - at : dst_len;
				memcpy(dst + buf * dst_len, src + slot * src_stride + at, part);
				/* or the compiler might leave it out */
				__asm__ volatile("" : : : "memory");
				buf = buf + 1 == n_dst ? 0 : buf + 1;
			}
			slot = slot + 1 == n_src ? 0 : slot + 1;
		}
		now = bench_ticks();
	} while (now - start < length);
	cpu = bench_cpu_ns() - cpu;
	bench_pin(b->guest_cpu);
	bits = (double)pieces * len * 8;
	*rate = (struct copy_rate){bits / ((double)(now - start) / b->ticks_per_ns), bits / cpu};
	return 0;
}
