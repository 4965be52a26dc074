/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest's memory, a driver's ring in it, and the device's queue upon that. */
#ifndef TESTS_UNIT_VIRTIO_RING_ENV_H
#define TESTS_UNIT_VIRTIO_RING_ENV_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "dma/dma.h"
#include "support/vring.h"
#include "virtio/virtqueue.h"

#define ENV_BASE 0x100000ull
#define ENV_SIZE (8u << 20)
#define ENV_DATA (4u << 20)    /* offset of buffers; the ring lies before */
#define ENV_RO	 0x40000000ull /* a page that devices may only read */
#define RW	 (DMA_PROT_READ | DMA_PROT_WRITE)
#define MAX_BUFS 256

struct mode {
	bool packed, event_idx, indirect, remote;
};

struct env {
	struct mode mode;
	int fd;
	uint8_t *mem;
	struct dma_space *dma;
	struct gvq drv;
	struct virtqueue *vq;
	struct vq_config cfg;
	struct vq_buf bufs[MAX_BUFS];
	unsigned reads, writes; /* remote accesses */
	int remote_error;
};

static inline int env_remote_read(void *opaque, uint64_t iova, void *buf, size_t len)
{
	struct env *e = opaque;

	e->reads++;
	if (e->remote_error)
		return e->remote_error;
	memcpy(buf, e->mem + (iova - ENV_BASE), len);
	return 0;
}

static inline int env_remote_write(void *opaque, uint64_t iova, const void *buf, size_t len)
{
	struct env *e = opaque;

	e->writes++;
	if (e->remote_error)
		return e->remote_error;
	memcpy(e->mem + (iova - ENV_BASE), buf, len);
	return 0;
}

static const struct dma_remote_ops env_remote_ops = {env_remote_read, env_remote_write};

static inline void env_open_queue(struct env *e, uint16_t size)
{
	struct gvq_config g = {size, e->mode.packed, e->mode.event_idx, e->mode.indirect};

	assert_true(gvq_bytes(&g) <= ENV_DATA);
	assert_int_equal(gvq_init(&e->drv, &g, e->mem, ENV_BASE), 0);
	e->cfg = (struct vq_config){.size = size,
				    .packed = e->mode.packed,
				    .event_idx = e->mode.event_idx,
				    .indirect = e->mode.indirect,
				    .desc = e->drv.desc_addr,
				    .driver = e->drv.driver_addr,
				    .device = e->drv.device_addr};
	assert_int_equal(vq_create(e->dma, &e->cfg, &e->vq), 0);
	assert_int_equal(vq_is_remote(e->vq), e->mode.remote);
	assert_int_equal(vq_begin(e->vq, dma_view_get(e->dma)), 0);
}

static inline void env_open(struct env *e, struct mode mode, uint16_t size)
{
	memset(e, 0, sizeof(*e));
	e->mode = mode;
	e->fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(e->fd, ENV_SIZE + 4096), 0);
	e->mem = mmap(NULL, ENV_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, e->fd, 0);
	assert_true(e->mem != MAP_FAILED);
	assert_int_equal(dma_space_create("test", &env_remote_ops, e, &e->dma), 0);
	assert_int_equal(dma_space_map(e->dma, ENV_BASE, ENV_SIZE, RW, mode.remote ? -1 : e->fd, 0),
			 0);
	assert_int_equal(dma_space_map(e->dma, ENV_RO, 4096, DMA_PROT_READ, e->fd, ENV_SIZE), 0);
	env_open_queue(e, size);
}

static inline void env_close(struct env *e)
{
	vq_destroy(e->vq);
	gvq_fini(&e->drv);
	dma_space_destroy(e->dma);
	munmap(e->mem, ENV_SIZE);
	close(e->fd);
}

static inline uint64_t env_addr(unsigned off)
{
	return ENV_BASE + ENV_DATA + off;
}

static inline uint8_t *env_ptr(struct env *e, unsigned off)
{
	return e->mem + ENV_DATA + off;
}

static inline int env_pop(struct env *e, struct vq_chain *c)
{
	return vq_pop(e->vq, c, e->bufs, MAX_BUFS);
}

static inline void chain_copy(struct vq_chain *c, bool in, void *buf, size_t len, bool to_guest)
{
	unsigned first = in ? c->n_out : 0, n = in ? c->n_in : c->n_out, i;
	uint8_t *p = buf;

	for (i = first; i < first + n && len; i++) {
		size_t part = len < c->bufs[i].len ? len : c->bufs[i].len;

		if (to_guest)
			memcpy(c->bufs[i].ptr, p, part);
		else
			memcpy(p, c->bufs[i].ptr, part);
		p += part;
		len -= part;
	}
	assert_int_equal(len, 0);
}

/* Runs body for each ring format and option. */
#define FOR_EACH_MODE(m, max)                                                                      \
	for (unsigned mode_i_ = 0; mode_i_ < (max); mode_i_++)                                     \
		for (struct mode m = {mode_i_ & 1, mode_i_ & 2, mode_i_ & 4, mode_i_ & 8},         \
				 *once_ = &m;                                                      \
		     once_; once_ = NULL)

#endif
