/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's own memory, in a memfd: gone with the daemon. Requests are done when submitted, but
 * for freeing more than a little, which takes the kernel a while and so is a thread's work.
 */
#include "block/block_private.h"
#include "block/offload.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/clock.h"

#define FREE_AT_ONCE_MAX (1ull << 20)
#define STRIPES		 256 /* page locks; one serves every so manieth page */
#define SPINS		 64  /* before the processor is offered to who holds it */

/* What the workers look at; replaced as a whole when the disk grows. */
struct memory_map {
	uint8_t *ptr;
	uint64_t len;
};

struct memory_stripe {
	_Alignas(CACHE_LINE) _Atomic bool taken;
};

struct memory_backend {
	struct block_backend base;
	int fd;
	_Atomic(struct memory_map *) map;
	struct offload offload;
	struct memory_stripe *stripes; /* STRIPES of them */
};

static struct memory_backend *memory_of(const struct block_backend *b)
{
	return container_of(b, struct memory_backend, base);
}

static struct memory_map *map_new(int fd, uint64_t size)
{
	struct memory_map *m = malloc(sizeof(*m));

	if (!m)
		return NULL;
	m->len = align_up(size, PAGE_SIZE_4K);
	m->ptr = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (m->ptr == MAP_FAILED) {
		free(m);
		return NULL;
	}
	return m;
}

static void map_free(struct memory_map *m)
{
	munmap(m->ptr, m->len);
	free(m);
}

static int set_length(struct memory_backend *m, uint64_t size)
{
	uint64_t len = align_up(size, PAGE_SIZE_4K);

	if (ftruncate(m->fd, len))
		return -errno;
	if (m->base.cfg.preallocate && fallocate(m->fd, 0, 0, len))
		return -errno;
	return 0;
}

static int free_pages(struct memory_backend *m, uint64_t off, uint64_t len)
{
	if (fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len))
		return -errno;
	return 0;
}

static int memory_run(struct block_request *req)
{
	return free_pages(memory_of(req->backend), req->offset, req->len);
}

static int memory_open(struct block_backend *b, char *why, size_t why_len)
{
	struct memory_backend *m = memory_of(b);
	struct memory_map *map;
	int r;

	if (!b->cfg.size) {
		snprintf(why, why_len, "a memory backend needs a size");
		return -EINVAL;
	}
	m->stripes = aligned_alloc(CACHE_LINE, STRIPES * sizeof(*m->stripes));
	if (!m->stripes) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	memset(m->stripes, 0, STRIPES * sizeof(*m->stripes));
	m->fd = memfd_create("softiov-disk", MFD_CLOEXEC);
	if (m->fd < 0) {
		r = -errno;
		snprintf(why, why_len, "memfd_create: %s", strerror(-r));
		free(m->stripes);
		return r;
	}
	r = set_length(m, b->cfg.size);
	map = r ? NULL : map_new(m->fd, b->cfg.size);
	if (!map) {
		r = r ? r : -ENOMEM;
		snprintf(why, why_len, "%llu bytes of memory: %s", (unsigned long long)b->cfg.size,
			 strerror(-r));
		close(m->fd);
		free(m->stripes);
		return r;
	}
	atomic_store(&m->map, map);
	offload_init(&m->offload, b->name, memory_run);
	b->limits = (struct block_limits){.alignment = 1,
					  .granularity = 4096,
					  .discard_granularity = 4096,
					  .discard_zeroes = true};
	atomic_store(&b->size, b->cfg.size);
	return 0;
}

static void memory_close(struct block_backend *b)
{
	struct memory_backend *m = memory_of(b);
	struct memory_map *map = atomic_load(&m->map);

	offload_fini(&m->offload);
	backend_put_away(m->fd, map->ptr, map->len);
	free(map);
	free(m->stripes);
}

/* Workers see a map that is larger before the size that needs it, and a size that is smaller
 * before the file ends. */
static int memory_resize(struct block_backend *b, uint64_t size, char *why, size_t why_len)
{
	struct memory_backend *m = memory_of(b);
	struct memory_map *old = atomic_load(&m->map), *map;
	int r;

	if (size < block_size(b)) {
		atomic_store(&b->size, size);
		worker_synchronize();
		/* a rest of the last page must not come back when the disk grows again */
		free_pages(m, size, align_up(size, PAGE_SIZE_4K) - size + PAGE_SIZE_4K);
		return set_length(m, size);
	}
	r = set_length(m, size);
	map = r ? NULL : map_new(m->fd, size);
	if (!map) {
		r = r ? r : -ENOMEM;
		snprintf(why, why_len, "%llu bytes of memory: %s", (unsigned long long)size,
			 strerror(-r));
		return r;
	}
	atomic_store(&m->map, map);
	atomic_store(&b->size, size);
	worker_synchronize();
	map_free(old);
	return 0;
}

/*
 * What is in a page is read and written by one request at a time where there are several workers,
 * so that blocks stay whole as a disk's do. Held for the copy of a page at most.
 */
static void page_lock(struct memory_backend *m, uint64_t off)
{
	_Atomic bool *taken = &m->stripes[off / PAGE_SIZE_4K % STRIPES].taken;
	unsigned spins = 0;

	while (unlikely(atomic_exchange_explicit(taken, true, memory_order_acquire))) {
		/* the other copy may have met a page that is not there */
		if (++spins % SPINS == 0)
			sched_yield();
		cpu_relax();
	}
}

static void page_unlock(struct memory_backend *m, uint64_t off)
{
	atomic_store_explicit(&m->stripes[off / PAGE_SIZE_4K % STRIPES].taken, false,
			      memory_order_release);
}

/* Bytes from off up to the end of its page, len at most. */
static uint64_t in_page(uint64_t off, uint64_t len)
{
	return MIN(len, PAGE_SIZE_4K - off % PAGE_SIZE_4K);
}

static void copy(const struct block_request *req, uint8_t *at)
{
	const struct iovec *v = req->iov, *end = v + req->iovcnt;

	for (; v < end; at += v->iov_len, v++) {
		if (req->op == BLOCK_READ)
			copy_shared(v->iov_base, at, v->iov_len);
		else
			copy_shared(at, v->iov_base, v->iov_len);
	}
}

static void copy_pages(struct memory_backend *m, const struct block_request *req, uint8_t *ptr)
{
	uint64_t off = req->offset, left = req->len, n, part;
	const struct iovec *v = req->iov;
	size_t at = 0; /* in v */

	for (; left; left -= n) {
		n = in_page(off, left);
		page_lock(m, off);
		for (uint64_t done = 0; done < n; done += part) {
			uint8_t *mem = ptr + off + done, *host = (uint8_t *)v->iov_base + at;

			part = MIN(n - done, v->iov_len - at);
			if (req->op == BLOCK_READ)
				copy_shared(host, mem, part);
			else
				copy_shared(mem, host, part);
			at += part;
			if (at == v->iov_len) {
				v++;
				at = 0;
			}
		}
		page_unlock(m, off);
		off += n;
	}
}

static void zero(struct memory_backend *m, uint8_t *ptr, uint64_t off, uint64_t len)
{
	for (uint64_t n; len; len -= n, off += n) {
		n = in_page(off, len);
		page_lock(m, off);
		memset(ptr + off, 0, n);
		page_unlock(m, off);
	}
}

static int memory_submit(struct block_channel *ch, struct block_request *req)
{
	struct memory_backend *m = memory_of(req->backend);
	struct memory_map *map = atomic_load_explicit(&m->map, memory_order_acquire);

	switch (req->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		/* block_submit() may have seen the size of a map that came after this one */
		if (unlikely(!range_ok(req->offset, req->len, map->len)))
			return -EINVAL;
		if (channels_several())
			copy_pages(m, req, map->ptr);
		else
			copy(req, map->ptr + req->offset);
		return 0;
	case BLOCK_FLUSH:
		return 0;
	case BLOCK_WRITE_ZEROES:
		if (!(req->flags & BLOCK_MAY_UNMAP) && req->len <= FREE_AT_ONCE_MAX) {
			zero(m, map->ptr, req->offset, req->len);
			return 0;
		}
		/* fall through */
	case BLOCK_DISCARD:
		if (req->len > FREE_AT_ONCE_MAX)
			return offload_submit(&m->offload, req);
		return free_pages(m, req->offset, req->len);
	}
	return -EINVAL;
}

static int memory_delivered(struct block_request *req)
{
	return req->result;
}

static void memory_cancel(struct block_request *req)
{
	if (offload_cancel(&memory_of(req->backend)->offload, req))
		channel_finish(req->channel, req, -ECANCELED);
}

static uint64_t memory_allocated(const struct block_backend *b)
{
	struct stat st;

	return fstat(memory_of(b)->fd, &st) ? block_size(b) : (uint64_t)st.st_blocks * 512;
}

const struct backend_impl block_memory_impl = {
	.object_size = sizeof(struct memory_backend),
	.open = memory_open,
	.close = memory_close,
	.resize = memory_resize,
	.submit = memory_submit,
	.delivered = memory_delivered,
	.cancel = memory_cancel,
	.allocated = memory_allocated,
};
