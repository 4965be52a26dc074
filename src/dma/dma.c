/* SPDX-License-Identifier: BSD-3-Clause */
#include "dma/dma.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "dma/sigbus.h"
#include "util/log.h"
#include "util/util.h"
#include "worker/worker.h"

/* Views replaced by a mere map are freed together, so that most maps need not synchronise. */
#define RETIRED_MAX    8
#define MAPPING_REMOTE UINT32_MAX
/* Views of so many regions are kept for reuse: to fault in fresh pages for each of a storm of
 * changes costs as much as the copying. */
#define BIG_VIEW 1024

/* magic numbers that linux/magic.h lacks */
#define FUSE_MAGIC     0x65735546
#define CIFS_MAGIC     0xFF534D42
#define ECRYPTFS_MAGIC 0xf15f

/* A whole file, mapped once. */
struct mapping {
	uint8_t *base; /* NULL: free slot */
	uint64_t len;
	dev_t dev;
	ino_t ino;
	bool writable;
	uint32_t refs; /* regions */
	int slot;      /* of the SIGBUS registry */
};

struct dma_space {
	_Atomic(struct dma_view *) view;
	_Atomic bool broken;
	const struct dma_remote_ops *ops;
	void *opaque;
	/* below: the control thread's own */
	struct mapping mappings[DMA_FILES_MAX];
	uint64_t va; /* sum of their len */
	struct dma_view *retired[RETIRED_MAX];
	struct dma_view *spare[RETIRED_MAX];
	unsigned n_retired, n_spare;
	char name[64];
};

static _Atomic uint64_t last_generation = 1;

/* What every space starts with, and what a broken one shows; never freed. */
static struct dma_view empty_view = {.generation = 1};

/* ---- views ---- */

/* The index of the first region that ends at or after iova; v->n if none does. */
static uint32_t lower_bound(const struct dma_view *v, uint64_t iova)
{
	uint32_t lo = 0, hi = v->n, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (v->regions[mid].iova + (v->regions[mid].size - 1) < iova)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct dma_region *dma_view_find(const struct dma_view *v, uint64_t iova)
{
	uint32_t i = lower_bound(v, iova);

	return i < v->n && v->regions[i].iova <= iova ? &v->regions[i] : NULL;
}

void *dma_view_segment_slow(const struct dma_view *v, uint64_t iova, uint64_t *len, uint32_t prot,
			    uint32_t *hint)
{
	const struct dma_region *r = dma_view_find(v, iova);
	uint64_t off;

	if (!*len || !r || !r->ptr || (r->prot & prot) != prot)
		return NULL;
	if (hint)
		*hint = (uint32_t)(r - v->regions);
	off = iova - r->iova;
	*len = MIN(*len, r->size - off);
	return r->ptr + off;
}

void *dma_translate_slow(const struct dma_view *v, uint64_t iova, uint64_t len, uint32_t prot,
			 uint32_t *hint)
{
	uint64_t got = len;
	void *ptr = dma_view_segment_slow(v, iova, &got, prot, hint);

	return got == len ? ptr : NULL;
}

const struct dma_view *dma_view_get(const struct dma_space *s)
{
	/* A broken space has no memory: else its zero pages could be filled up without end. */
	if (unlikely(atomic_load_explicit(&s->broken, memory_order_relaxed)))
		return &empty_view;
	return atomic_load(&s->view);
}

static struct dma_view *own_view(const struct dma_space *s)
{
	return atomic_load(&s->view);
}

static void free_spare(struct dma_space *s)
{
	while (s->n_spare)
		free(s->spare[--s->n_spare]);
}

static struct dma_view *view_memory(struct dma_space *s, uint32_t n)
{
	size_t size = sizeof(struct dma_view) + (size_t)n * sizeof(struct dma_region);

	if (n < BIG_VIEW)
		return malloc(size);
	if (s->n_spare && malloc_usable_size(s->spare[s->n_spare - 1]) >= size)
		return s->spare[--s->n_spare];
	free_spare(s); /* outgrown */
	return malloc(size + size / 4);
}

static struct dma_view *view_alloc(struct dma_space *s, uint32_t n)
{
	struct dma_view *v = view_memory(s, n);

	if (v) {
		v->generation = atomic_fetch_add(&last_generation, 1) + 1;
		v->n = n;
	}
	return v;
}

static void free_retired(struct dma_space *s)
{
	struct dma_view *v;

	while (s->n_retired) {
		v = s->retired[--s->n_retired];
		if (v->n >= BIG_VIEW && s->n_spare < RETIRED_MAX)
			s->spare[s->n_spare++] = v;
		else
			free(v);
	}
}

/* After this nobody uses any view but the current one. */
static void synchronize(struct dma_space *s)
{
	worker_synchronize();
	free_retired(s);
}

static void publish(struct dma_space *s, struct dma_view *v)
{
	struct dma_view *old = atomic_exchange(&s->view, v);

	if (old == &empty_view)
		return;
	if (s->n_retired == RETIRED_MAX)
		synchronize(s); /* frees older ones only: this one is not yet among them */
	s->retired[s->n_retired++] = old;
}

/* ---- file mappings ---- */

/*
 * A fault on a page of such a file waits for a user process or a network, or may do so, as what
 * lies below an overlay does not show (and any user can put one over FUSE, in a namespace of its
 * own): whoever owns that could stop a worker, which serves others too.
 */
static bool faults_may_hang(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return true;
	switch ((unsigned long)fs.f_type & 0xffffffff) {
	case FUSE_MAGIC:
	case CIFS_MAGIC:
	case NFS_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
	case V9FS_MAGIC:
	case CEPH_SUPER_MAGIC:
	case CODA_SUPER_MAGIC:
	case AFS_SUPER_MAGIC:
	case AFS_FS_MAGIC:
	case OVERLAYFS_SUPER_MAGIC:
	case ECRYPTFS_MAGIC:
		return true;
	default:
		return false;
	}
}

static int check_file(int fd, uint32_t prot, uint64_t offset, uint64_t size, struct stat *st)
{
	int flags;

	if (fstat(fd, st))
		return -errno;
	if (!S_ISREG(st->st_mode) || st->st_size <= 0)
		return -EINVAL;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return -errno;
	if (flags & O_PATH)
		return -EINVAL;
	if ((flags & O_ACCMODE) == O_WRONLY)
		return -EACCES;
	if ((prot & DMA_PROT_WRITE) && (flags & O_ACCMODE) != O_RDWR)
		return -EACCES;
	if (!range_ok(offset, size, (uint64_t)st->st_size))
		return -EINVAL;
	return faults_may_hang(fd) ? -EINVAL : 0;
}

static struct mapping *mapping_lookup(struct dma_space *s, const struct stat *st, bool writable)
{
	struct mapping *m;

	for (m = s->mappings; m < s->mappings + DMA_FILES_MAX; m++) {
		if (m->base && m->dev == st->st_dev && m->ino == st->st_ino &&
		    m->writable == writable)
			return m;
	}
	return NULL;
}

static struct mapping *mapping_free_slot(struct dma_space *s)
{
	struct mapping *m;

	for (m = s->mappings; m < s->mappings + DMA_FILES_MAX; m++) {
		if (!m->base)
			return m;
	}
	return NULL;
}

/* Fills *m but does not count it in s->va. */
static int mapping_open(struct dma_space *s, int fd, const struct stat *st, bool writable,
			struct mapping *m)
{
	int prot = PROT_READ | (writable ? PROT_WRITE : 0), r;
	void *base;

	base = mmap(NULL, (size_t)st->st_size, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (base == MAP_FAILED && (errno == EPERM || errno == EACCES))
		return -EACCES; /* EPERM: sealed against writing */
	if (base == MAP_FAILED)
		return errno == ENODEV ? -EINVAL : -ENOMEM;
	/* A core dump of the daemon is no place for a guest's memory. */
	madvise(base, (size_t)st->st_size, MADV_DONTDUMP);
	r = sigbus_register(base, (size_t)st->st_size, &s->broken);
	if (r < 0) {
		munmap(base, (size_t)st->st_size);
		return r;
	}
	*m = (struct mapping){
		.base = base,
		.len = (uint64_t)st->st_size,
		.dev = st->st_dev,
		.ino = st->st_ino,
		.writable = writable,
		.slot = r,
	};
	return 0;
}

/* Nobody else uses it any more. */
static void mapping_close(struct mapping *m)
{
	sigbus_unregister(m->slot);
	munmap(m->base, m->len);
	m->base = NULL;
}

/* ---- map ---- */

/* Where the new region goes, or -EEXIST. */
static int insert_at(const struct dma_view *v, uint64_t iova, uint64_t size)
{
	uint32_t i = lower_bound(v, iova);

	if (i < v->n && v->regions[i].iova <= iova + (size - 1))
		return -EEXIST;
	return (int)i;
}

static int publish_with(struct dma_space *s, const struct dma_region *region, int at)
{
	struct dma_view *old = own_view(s), *v = view_alloc(s, old->n + 1);

	if (!v)
		return -ENOMEM;
	memcpy(v->regions, old->regions, (size_t)at * sizeof(*region));
	v->regions[at] = *region;
	memcpy(v->regions + at + 1, old->regions + at, (old->n - (size_t)at) * sizeof(*region));
	publish(s, v);
	return 0;
}

/*
 * The file has grown beyond its mapping: maps it anew, moves all regions over, and unmaps the old
 * one when nobody uses it.
 */
static int mapping_grow(struct dma_space *s, struct mapping *m, int fd, const struct stat *st)
{
	struct dma_view *old = own_view(s), *v;
	struct mapping grown, gone = *m;
	uint32_t i, index = (uint32_t)(m - s->mappings);
	int r;

	if (s->va - m->len + (uint64_t)st->st_size > DMA_SPACE_VA_MAX)
		return -ENOMEM;
	v = view_alloc(s, old->n);
	if (!v)
		return -ENOMEM;
	r = mapping_open(s, fd, st, m->writable, &grown);
	if (r) {
		free(v);
		return r;
	}
	memcpy(v->regions, old->regions, (size_t)old->n * sizeof(old->regions[0]));
	for (i = 0; i < v->n; i++) {
		if (v->regions[i].mapping == index)
			v->regions[i].ptr = grown.base + (v->regions[i].ptr - m->base);
	}
	grown.refs = m->refs;
	s->va += grown.len - m->len;
	*m = grown;
	publish(s, v);
	synchronize(s);
	mapping_close(&gone);
	return 0;
}

static int mapping_new(struct dma_space *s, int fd, const struct stat *st, bool writable,
		       struct mapping **out)
{
	struct mapping *m = mapping_free_slot(s);
	int r;

	if (!m)
		return -ENOSPC;
	if (!range_ok(s->va, (uint64_t)st->st_size, DMA_SPACE_VA_MAX))
		return -ENOMEM;
	r = mapping_open(s, fd, st, writable, m);
	if (r)
		return r;
	s->va += m->len;
	*out = m;
	return 0;
}

static void mapping_unref(struct dma_space *s, struct mapping *m)
{
	if (--m->refs)
		return;
	s->va -= m->len;
	mapping_close(m);
}

static int map_file(struct dma_space *s, struct dma_region *region, int fd, uint64_t offset, int at)
{
	bool writable = region->prot & DMA_PROT_WRITE;
	struct mapping *m;
	struct stat st;
	int r;

	r = check_file(fd, region->prot, offset, region->size, &st);
	if (r)
		return r;
	m = mapping_lookup(s, &st, writable);
	if (!m)
		r = mapping_new(s, fd, &st, writable, &m);
	else if (!range_ok(offset, region->size, m->len))
		r = mapping_grow(s, m, fd, &st);
	if (r)
		return r;
	region->ptr = m->base + offset;
	region->mapping = (uint32_t)(m - s->mappings);
	m->refs++;
	r = publish_with(s, region, at);
	if (r)
		mapping_unref(s, m); /* the region was never visible */
	return r;
}

int dma_space_map(struct dma_space *s, uint64_t iova, uint64_t size, uint32_t prot, int fd,
		  uint64_t offset)
{
	struct dma_region region = {
		.iova = iova, .size = size, .prot = prot, .mapping = MAPPING_REMOTE};
	struct dma_view *v = own_view(s);
	int at;

	if (!size || !range_no_wrap(iova, size) || !prot ||
	    (prot & ~(DMA_PROT_READ | DMA_PROT_WRITE)) ||
	    ((iova | size | offset) & (PAGE_SIZE_4K - 1)))
		return -EINVAL;
	if (dma_space_broken(s))
		return -EIO;
	if (v->n >= DMA_REGIONS_MAX)
		return -ENOSPC;
	at = insert_at(v, iova, size);
	if (at < 0)
		return at;
	if (fd >= 0)
		return map_file(s, &region, fd, offset, at);
	if (!s->ops)
		return -EINVAL;
	return publish_with(s, &region, at);
}

/* ---- unmap ---- */

int dma_space_unmap(struct dma_space *s, uint64_t iova, uint64_t size)
{
	struct dma_view *old = own_view(s), *v;
	uint32_t at = lower_bound(old, iova), mapping;

	if (at == old->n || old->regions[at].iova != iova || old->regions[at].size != size)
		return -ENOENT;
	v = view_alloc(s, old->n - 1);
	if (!v)
		return -ENOMEM;
	mapping = old->regions[at].mapping;
	memcpy(v->regions, old->regions, (size_t)at * sizeof(v->regions[0]));
	memcpy(v->regions + at, old->regions + at + 1,
	       (old->n - 1 - (size_t)at) * sizeof(v->regions[0]));
	publish(s, v);
	synchronize(s);
	if (mapping != MAPPING_REMOTE)
		mapping_unref(s, &s->mappings[mapping]);
	return 0;
}

void dma_space_unmap_all(struct dma_space *s)
{
	struct mapping *m;

	publish(s, &empty_view);
	synchronize(s);
	free_spare(s);
	for (m = s->mappings; m < s->mappings + DMA_FILES_MAX; m++) {
		if (m->base)
			mapping_close(m);
	}
	s->va = 0;
}

/* ---- space ---- */

int dma_space_create(const char *name, const struct dma_remote_ops *ops, void *opaque,
		     struct dma_space **out)
{
	struct dma_space *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	strncpy(s->name, name, sizeof(s->name) - 1);
	s->ops = ops;
	s->opaque = opaque;
	atomic_store(&s->view, &empty_view);
	*out = s;
	return 0;
}

void dma_space_destroy(struct dma_space *s)
{
	if (!s)
		return;
	if (dma_space_broken(s))
		log_warn("%s: a file of guest memory was truncated while in use", s->name);
	dma_space_unmap_all(s);
	free(s);
}

uint32_t dma_space_count(const struct dma_space *s)
{
	return own_view(s)->n;
}

bool dma_space_broken(const struct dma_space *s)
{
	return atomic_load(&s->broken);
}

/* ---- copies ---- */

/* True when all of the range is mapped or remote, with the permission. */
static bool range_permitted(const struct dma_view *v, uint64_t iova, uint64_t len, uint32_t prot)
{
	const struct dma_region *r;
	uint64_t part;

	if (!range_no_wrap(iova, len))
		return false;
	while (len) {
		r = dma_view_find(v, iova);
		if (!r || (r->prot & prot) != prot)
			return false;
		part = MIN(len, r->size - (iova - r->iova));
		iova += part;
		len -= part;
	}
	return true;
}

/* The remote side is waited for offline: the control thread, which takes its answer, must not have
 * to wait for us. */
static int remote_copy(struct dma_space *s, uint64_t iova, void *rd, const void *wr, size_t len)
{
	int r;

	worker_offline();
	r = rd ? s->ops->read(s->opaque, iova, rd, len) : s->ops->write(s->opaque, iova, wr, len);
	worker_online();
	return r;
}

/* One of rd and wr is given. */
static int copy(struct dma_space *s, uint64_t iova, uint8_t *rd, const uint8_t *wr, size_t len)
{
	uint32_t prot = rd ? DMA_PROT_READ : DMA_PROT_WRITE;
	const struct dma_view *v = dma_view_get(s);
	const struct dma_region *r;
	uint64_t off, part;
	size_t done;
	int err;

	if (!range_permitted(v, iova, len, prot))
		return -EFAULT;
	for (done = 0; done < len; done += part, iova += part) {
		r = dma_view_find(v, iova);
		if (!r || (r->prot & prot) != prot)
			return -EFAULT; /* gone while we waited */
		off = iova - r->iova;
		part = MIN((uint64_t)(len - done), r->size - off);
		if (!r->ptr) {
			err = remote_copy(s, iova, rd ? rd + done : NULL, wr ? wr + done : NULL,
					  part);
			if (err)
				return err;
			v = dma_view_get(s); /* the old one may be gone */
		} else if (rd) {
			memcpy(rd + done, r->ptr + off, part);
		} else {
			memcpy(r->ptr + off, wr + done, part);
		}
	}
	return dma_space_broken(s) ? -EFAULT : 0;
}

int dma_read(struct dma_space *s, uint64_t iova, void *buf, size_t len)
{
	return copy(s, iova, buf, NULL, len);
}

int dma_write(struct dma_space *s, uint64_t iova, const void *buf, size_t len)
{
	return copy(s, iova, NULL, buf, len);
}
