/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random bytes are a guest's memory with PRP lists and SGLs in it, and the data pointer of a
 * command. Nothing outside that memory may be reached (ASan), the three ways to use a data pointer
 * must agree, and all must end.
 *
 * Input: 32 bytes of parameters, then memory.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dma/dma.h"
#include "nvme/dptr_private.h"
#include "util/bytes.h"
#include "util/util.h"

#define BASE	0x10000ull
#define PAGES	8
#define PARAMS	32
#define LEN_MAX (PAGES * PAGE_SIZE_4K)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct dma_space *dma;
static uint8_t *mem;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, LEN_MAX))
		abort();
	mem = mmap(NULL, LEN_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED || dma_space_create("fuzz", NULL, NULL, &dma))
		abort();
	/* several regions, the last one read-only, one missing */
	for (unsigned i = 0; i < PAGES; i++)
		if (i != 5 &&
		    dma_space_map(dma, BASE + i * PAGE_SIZE_4K, PAGE_SIZE_4K,
				  i == PAGES - 1 ? DMA_PROT_READ : DMA_PROT_READ | DMA_PROT_WRITE,
				  fd, i * PAGE_SIZE_4K))
			abort();
	close(fd);
	return 0;
}

/* An address that has a chance to hit. */
static uint64_t address(const uint8_t *p)
{
	uint64_t v = get_le64(p);

	return p[7] & 0x80 ? v : BASE + v % (LEN_MAX + 4096);
}

static void fill(const uint8_t *data, size_t size)
{
	memset(mem, 0, LEN_MAX);
	memcpy(mem, data, MIN(size, (size_t)LEN_MAX));
	/* Of every 8 bytes some are made addresses and lengths that lead on. */
	for (size_t i = 0; i + 8 <= MIN(size, (size_t)LEN_MAX); i += 8)
		if (data[i] & 1)
			put_le64(mem + i, address(data + i) & ~(uint64_t)(data[i] & 2 ? 4095 : 3));
}

static bool same(const struct iovec *iov, unsigned n, const uint8_t *want, uint32_t len)
{
	size_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		if (iov[i].iov_len > len - at)
			return false;
		if (want && memcmp(iov[i].iov_base, want + at, iov[i].iov_len))
			return false;
		at += iov[i].iov_len;
	}
	return at == len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nvme_mem m;
	static uint8_t buf[LEN_MAX], again[LEN_MAX];
	struct iovec iov[32];
	struct nvme_sqe sqe = {0};
	unsigned n = 0;
	uint16_t st, other;
	uint32_t len;

	if (size < PARAMS)
		return 0;
	m = (struct nvme_mem){
		.space = dma, .view = dma_view_get(dma), .page_shift = (uint8_t)(12 + data[0] % 2)};
	sqe.flags = (uint8_t)(data[1] << 6);
	sqe.prp1 = address(data + 8);
	if (NVME_SQE_PSDT(sqe.flags) == NVME_PSDT_PRP) {
		sqe.prp2 = address(data + 16);
	} else {
		sqe.sgl1.length = get_le32(data + 16) % (2 * LEN_MAX);
		sqe.sgl1.id = data[20];
	}
	len = 1 + get_le32(data + 4) % LEN_MAX;
	fill(data + PARAMS, size - PARAMS);

	st = nvme_dptr_read(&m, &sqe, buf, len);
	other = nvme_dptr_map(&m, &sqe, len, false, iov, ARRAY_SIZE(iov), &n);
	if (other != NVME_ST_BOUNCE && other != st)
		abort();
	if (!other && !same(iov, n, buf, len))
		abort();
	n = 0;
	other = nvme_dptr_map(&m, &sqe, len, true, iov, ARRAY_SIZE(iov), &n);
	if (!other && !same(iov, n, NULL, len))
		abort();
	/* The list may lie in what is written, so what is written may be a list. */
	memcpy(again, buf, len);
	nvme_dptr_write(&m, &sqe, again, len);
	return 0;
}
