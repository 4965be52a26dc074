/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target: random bytes are a guest's memory, rings and buffers alike, and say what the
 * device does with them. The queue must not reach outside that memory (ASan), nor give the caller
 * a chain that does not add up.
 *
 * Input: one byte of options, one of ring size, then steps, then memory. Memory is filled up from
 * the front, where the rings are.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dma/dma.h"
#include "util/util.h"
#include "virtio/virtqueue.h"

#define BASE	0x10000ull
#define PAGES	4
#define STEPS	24
#define PIECES	16
#define SINGLES 8
#define RW	(DMA_PROT_READ | DMA_PROT_WRITE)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct dma_space *direct, *remote;
static uint8_t *mem;
static size_t mem_size;

static int mem_read(void *opaque, uint64_t iova, void *buf, size_t len)
{
	if (iova < BASE || !range_ok(iova - BASE, len, mem_size))
		abort();
	memcpy(buf, mem + (iova - BASE), len);
	return 0;
}

static int mem_write(void *opaque, uint64_t iova, const void *buf, size_t len)
{
	if (iova < BASE || !range_ok(iova - BASE, len, mem_size))
		abort();
	memcpy(mem + (iova - BASE), buf, len);
	return 0;
}

static const struct dma_remote_ops remote_ops = {mem_read, mem_write};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	mem_size = PAGES * PAGE_SIZE_4K;
	if (fd < 0 || ftruncate(fd, (off_t)mem_size))
		abort();
	mem = mmap(NULL, mem_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED || dma_space_create("direct", NULL, NULL, &direct) ||
	    dma_space_create("remote", &remote_ops, NULL, &remote))
		abort();
	/* several regions, the last one read-only */
	for (unsigned i = 0; i < PAGES; i++) {
		uint32_t prot = i == PAGES - 1 ? DMA_PROT_READ : RW;

		if (dma_space_map(direct, BASE + i * 4096, 4096, prot, fd, i * 4096) ||
		    dma_space_map(remote, BASE + i * 4096, 4096, prot, -1, 0))
			abort();
	}
	close(fd);
	return 0;
}

/* Reads and writes every byte that the chain claims. */
static void use(const struct vq_chain *c)
{
	uint64_t out = 0, in = 0;
	volatile uint8_t sum = 0;

	for (unsigned i = 0; i < c->n_out; i++) {
		for (uint32_t k = 0; k < c->bufs[i].len; k++)
			sum += ((uint8_t *)c->bufs[i].ptr)[k];
		out += c->bufs[i].len;
	}
	for (unsigned i = c->n_out; i < c->n_out + c->n_in; i++) {
		if (c->bufs[i].len) /* the first byte alone: the rings shall stay random */
			*(uint8_t *)c->bufs[i].ptr = sum;
		in += c->bufs[i].len;
	}
	if (out != c->out_len || in != c->in_len || c->n_out + c->n_in > PIECES)
		abort();
}

/* A burst of single buffers, of which the first are used and the others given back. */
static void singles(struct virtqueue *vq, uint8_t what)
{
	bool writable = what & 8;
	struct vq_single s[SINGLES];
	unsigned n = vq_pop_singles(vq, s, 1 + (what >> 4) % SINGLES, writable), used = what >> 6;
	volatile uint8_t sum = 0;

	if (n > SINGLES)
		abort();
	used = MIN(used, n);
	for (unsigned i = 0; i < n; i++) {
		for (uint32_t k = 0; k < s[i].len; k++)
			sum += ((uint8_t *)s[i].ptr)[k];
		if (writable)
			*(uint8_t *)s[i].ptr = sum;
	}
	vq_unpop(vq, n - used, n - used);
	vq_push_singles(vq, s, used, writable);
}

static void step(struct virtqueue *vq, struct dma_space *dma, uint8_t what)
{
	struct vq_chain c;
	struct vq_buf bufs[PIECES];

	if (vq_begin(vq, dma_view_get(dma)))
		return;
	switch (what % 8) {
	case 0:
		vq_arm(vq);
		break;
	case 1:
		vq_disarm(vq);
		break;
	case 2:
		vq_publish(vq);
		break;
	case 4:
	case 5:
		singles(vq, what);
		break;
	case 3:
		if (vq_pop(vq, &c, bufs, PIECES) == 1)
			vq_unpop(vq, 1, c.ndescs);
		break;
	default:
		if (vq_pop(vq, &c, bufs, PIECES) != 1)
			break;
		use(&c);
		if (what & 8)
			vq_push(vq, &c, c.in_len);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vq_config cfg = {0};
	struct dma_space *dma;
	struct virtqueue *vq;
	uint8_t options;
	unsigned i;

	if (size < 2 + STEPS)
		return 0;
	options = data[0];
	cfg.packed = options & 1;
	cfg.event_idx = options & 2;
	cfg.indirect = options & 4;
	dma = options & 8 ? remote : direct;
	cfg.size = (uint16_t)(cfg.packed ? 1 + data[1] % 32 : 1u << data[1] % 6);
	/* Small rings close together, so that random bytes reach all of them. */
	cfg.desc = BASE;
	cfg.driver = BASE + 512;
	cfg.device = BASE + (options & 16 ? 512 : 640); /* the parts may overlap too */
	memset(mem, 0, mem_size);
	memcpy(mem, data + 2 + STEPS, MIN(size - 2 - STEPS, mem_size));
	if (vq_create(dma, &cfg, &vq))
		return 0;
	for (i = 0; i < STEPS; i++)
		step(vq, dma, data[2 + i]);
	vq_destroy(vq);
	return 0;
}
