/* SPDX-License-Identifier: BSD-3-Clause */
#include "dma/dma.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "dma/sigbus.h"
#include "util/clock.h"
#include "util/fs.h"
#include "util/log.h"
#include "util/util.h"
#include "worker/mailbox.h"
#include "worker/worker.h"

/* Views replaced by a mere map are freed together, so that most maps need not synchronise. */
#define RETIRED_MAX    8
#define MAPPING_REMOTE UINT32_MAX
/* Views of so many regions are kept for reuse: to fault in fresh pages for each of a storm of
 * changes costs as much as the copying. */
#define BIG_VIEW 1024

/* A whole file, mapped once. */
struct mapping {
	uint8_t *base;
	uint64_t len;
	dev_t dev;
	ino_t ino;
	bool writable;
	uint32_t refs; /* regions, and pins that outlive theirs */
	int slot;      /* of the SIGBUS registry */
};

/* A pin as it is allocated: once its region is gone it keeps the mapping. */
struct linger {
	struct dma_pin pin;
	struct linger *next;
	struct mapping *mapping;
};

struct dma_space {
	_Atomic(struct dma_view *) view;
	_Atomic bool broken;
	const struct dma_remote_ops *ops;
	void *opaque;
	/* below: the control thread's own */
	struct mapping *mappings[DMA_FILES_MAX];
	uint64_t va; /* sum of their len, and of what lingers */
	struct linger *lingers;
	struct dma_space *next_dead; /* destroyed but for what lingers */
	struct dma_view *retired[RETIRED_MAX];
	struct dma_view *spare[RETIRED_MAX];
	unsigned n_retired, n_spare;
	char name[64];
};

static _Atomic uint64_t last_generation = 1;
static uint64_t last_id; /* of a region; control */

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
	/*
	 * A fault on a page of such a file waits for a user process or a network, or may do so, as
	 * what lies below an overlay does not show (and any user can put one over FUSE, in a
	 * namespace of its own): whoever owns that could stop a worker, which serves others too.
	 */
	return fs_may_hang(fd, true, true) ? -EINVAL : 0;
}

static bool mapping_is(const struct mapping *m, const struct stat *st, bool writable)
{
	return m && m->dev == st->st_dev && m->ino == st->st_ino && m->writable == writable;
}

/* Its index, or DMA_FILES_MAX. */
static uint32_t mapping_lookup(struct dma_space *s, const struct stat *st, bool writable)
{
	uint32_t i = 0;

	while (i < DMA_FILES_MAX && !mapping_is(s->mappings[i], st, writable))
		i++;
	return i;
}

static uint32_t mapping_free_slot(struct dma_space *s)
{
	uint32_t i = 0;

	while (i < DMA_FILES_MAX && s->mappings[i])
		i++;
	return i;
}

static int mapping_open(struct dma_space *s, int fd, const struct stat *st, bool writable,
			struct mapping **out)
{
	int prot = PROT_READ | (writable ? PROT_WRITE : 0), r;
	struct mapping *m = malloc(sizeof(*m));
	void *base;

	if (!m)
		return -ENOMEM;
	base = mmap(NULL, (size_t)st->st_size, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (base == MAP_FAILED) {
		/* EPERM: sealed against writing */
		r = errno == EPERM || errno == EACCES ? -EACCES
		    : errno == ENODEV		      ? -EINVAL
						      : -ENOMEM;
		goto err_free;
	}
	/* A core dump of the daemon is no place for a guest's memory. */
	madvise(base, (size_t)st->st_size, MADV_DONTDUMP);
	r = sigbus_register(base, (size_t)st->st_size, &s->broken);
	if (r < 0)
		goto err_unmap;
	*m = (struct mapping){
		.base = base,
		.len = (uint64_t)st->st_size,
		.dev = st->st_dev,
		.ino = st->st_ino,
		.writable = writable,
		.slot = r,
	};
	s->va += m->len;
	*out = m;
	return 0;

err_unmap:
	munmap(base, (size_t)st->st_size);
err_free:
	free(m);
	return r;
}

/* Nobody else uses it any more. */
static void mapping_unref(struct dma_space *s, struct mapping *m, uint32_t refs)
{
	m->refs -= refs;
	if (m->refs)
		return;
	for (uint32_t i = 0; i < DMA_FILES_MAX; i++) {
		if (s->mappings[i] == m)
			s->mappings[i] = NULL;
	}
	s->va -= m->len;
	sigbus_unregister(m->slot);
	munmap(m->base, m->len);
	free(m);
}

/* ---- pins ---- */

/* In a pin's state: its region is gone, and the last holder says so. */
#define PIN_LINGERS 0x80000000u

static struct dma_space *dead_spaces; /* control */

static void reap(struct dma_space *s)
{
	struct linger **p = &s->lingers;

	while (*p) {
		struct linger *l = *p;

		if (atomic_load(&l->pin.state) != PIN_LINGERS) {
			p = &l->next;
			continue;
		}
		*p = l->next;
		mapping_unref(s, l->mapping, 1);
		free(l);
	}
}

static void reap_run(struct mailbox_work *work)
{
	struct dma_space **p = &dead_spaces;

	while (*p) {
		struct dma_space *s = *p;

		reap(s);
		if (s->lingers) {
			p = &s->next_dead;
			continue;
		}
		*p = s->next_dead;
		free(s);
	}
}

static struct mailbox_work reap_work = {.run = reap_run};

void dma_unpin(struct dma_pin *pin)
{
	if (atomic_fetch_sub(&pin->state, 1) == (PIN_LINGERS | 1))
		mailbox_post(&reap_work);
}

static struct dma_pin *pin_new(void)
{
	/* A line of its own: workers write it. */
	struct linger *l = aligned_alloc(CACHE_LINE, CACHE_LINE);

	static_assert(sizeof(*l) <= CACHE_LINE, "one line");
	if (!l)
		return NULL;
	memset(l, 0, sizeof(*l));
	return &l->pin;
}

/* When waiting for this space's pins must end; 0: at once, as some hang already. */
static uint64_t drain_deadline(struct dma_space *s)
{
	reap(s);
	return s->lingers ? 0 : clock_now_ns() + DMA_DRAIN_MS * NS_PER_MS;
}

/*
 * Nobody can pin the region any more. Waits until nobody does, or until the deadline; then whoever
 * still does keeps the mapping, of which one reference passes over. Returns whether the reference
 * is the caller's still.
 */
static bool pin_end(struct dma_space *s, struct dma_pin *pin, struct mapping *m, uint64_t deadline)
{
	const struct timespec nap = {.tv_nsec = 100 * NS_PER_US};
	struct linger *l = container_of(pin, struct linger, pin);

	while (atomic_load(&pin->state) && clock_now_ns() < deadline)
		nanosleep(&nap, NULL);
	if (!atomic_load(&pin->state)) {
		free(l);
		return true;
	}
	l->mapping = m;
	l->next = s->lingers;
	s->lingers = l;
	if (!(atomic_fetch_or(&pin->state, PIN_LINGERS) & ~PIN_LINGERS))
		mailbox_post(&reap_work);
	return false;
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

/* What grows gets new pins; the old ones, in the order of regions, belong to the old memory. */
static struct dma_pin **pins_replace(struct dma_view *v, uint32_t index, uint32_t n)
{
	struct dma_pin **old = calloc(n, sizeof(*old)), *pin;
	uint32_t i, k = 0;

	for (i = 0; old && i < v->n; i++) {
		if (v->regions[i].mapping != index)
			continue;
		pin = pin_new();
		if (!pin)
			break;
		old[k++] = v->regions[i].pin;
		v->regions[i].pin = pin;
		v->regions[i].id = ++last_id;
	}
	if (old && k == n)
		return old;
	for (i = 0; k && i < v->n; i++) {
		if (v->regions[i].mapping == index && k--)
			free(v->regions[i].pin);
	}
	free(old);
	return NULL;
}

/*
 * The file has grown beyond its mapping: maps it anew, moves all regions over, and unmaps the old
 * one when nobody uses it.
 */
static int mapping_grow(struct dma_space *s, uint32_t index, int fd, const struct stat *st)
{
	struct dma_view *old = own_view(s), *v;
	struct mapping *gone = s->mappings[index], *grown;
	uint32_t i, n = gone->refs, done = 0;
	struct dma_pin **pins;
	uint64_t deadline;
	int r = -ENOMEM;

	for (struct linger *l = s->lingers; l; l = l->next)
		n -= l->mapping == gone;
	if (s->va - gone->len + (uint64_t)st->st_size > DMA_SPACE_VA_MAX)
		return -ENOMEM;
	v = view_alloc(s, old->n);
	if (!v)
		return -ENOMEM;
	memcpy(v->regions, old->regions, (size_t)old->n * sizeof(old->regions[0]));
	pins = pins_replace(v, index, n);
	if (!pins)
		goto err_view;
	r = mapping_open(s, fd, st, gone->writable, &grown);
	if (r)
		goto err_pins;
	for (i = 0; i < v->n; i++) {
		if (v->regions[i].mapping == index)
			v->regions[i].ptr = grown->base + (v->regions[i].ptr - gone->base);
	}
	grown->refs = n;
	s->mappings[index] = grown;
	publish(s, v);
	synchronize(s);
	deadline = drain_deadline(s);
	for (i = 0; i < n; i++)
		done += pin_end(s, pins[i], gone, deadline);
	if (done)
		mapping_unref(s, gone, done);
	free(pins);
	return 0;

err_pins:
	for (i = 0; i < v->n; i++) {
		if (v->regions[i].mapping == index)
			free(v->regions[i].pin);
	}
	free(pins);
err_view:
	free(v);
	return r;
}

static int mapping_new(struct dma_space *s, int fd, const struct stat *st, bool writable,
		       uint32_t *index)
{
	uint32_t i = mapping_free_slot(s);

	if (i == DMA_FILES_MAX)
		return -ENOSPC;
	if (!range_ok(s->va, (uint64_t)st->st_size, DMA_SPACE_VA_MAX))
		return -ENOMEM;
	*index = i;
	return mapping_open(s, fd, st, writable, &s->mappings[i]);
}

static int map_file(struct dma_space *s, struct dma_region *region, int fd, uint64_t offset, int at)
{
	bool writable = region->prot & DMA_PROT_WRITE;
	struct mapping *m;
	struct stat st;
	uint32_t i;
	int r;

	reap(s);
	r = check_file(fd, region->prot, offset, region->size, &st);
	if (r)
		return r;
	region->pin = pin_new();
	if (!region->pin)
		return -ENOMEM;
	i = mapping_lookup(s, &st, writable);
	if (i == DMA_FILES_MAX)
		r = mapping_new(s, fd, &st, writable, &i);
	else if (!range_ok(offset, region->size, s->mappings[i]->len))
		r = mapping_grow(s, i, fd, &st);
	if (r)
		goto err;
	m = s->mappings[i];
	region->ptr = m->base + offset;
	region->id = ++last_id;
	region->mapping = i;
	m->refs++;
	/* mapping_grow() may have published another view, of the same regions. */
	r = publish_with(s, region, at);
	if (r) {
		mapping_unref(s, m, 1); /* the region was never visible */
		goto err;
	}
	return 0;
err:
	free(region->pin);
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

static void region_end(struct dma_space *s, const struct dma_region *r, uint64_t deadline)
{
	struct mapping *m;

	if (r->mapping == MAPPING_REMOTE)
		return;
	m = s->mappings[r->mapping];
	if (pin_end(s, r->pin, m, deadline))
		mapping_unref(s, m, 1);
}

int dma_space_unmap(struct dma_space *s, uint64_t iova, uint64_t size)
{
	struct dma_view *old = own_view(s), *v;
	uint32_t at = lower_bound(old, iova);
	struct dma_region gone;

	if (at == old->n || old->regions[at].iova != iova || old->regions[at].size != size)
		return -ENOENT;
	v = view_alloc(s, old->n - 1);
	if (!v)
		return -ENOMEM;
	gone = old->regions[at];
	memcpy(v->regions, old->regions, (size_t)at * sizeof(v->regions[0]));
	memcpy(v->regions + at, old->regions + at + 1,
	       (old->n - 1 - (size_t)at) * sizeof(v->regions[0]));
	publish(s, v);
	synchronize(s);
	region_end(s, &gone, drain_deadline(s));
	return 0;
}

void dma_space_unmap_all(struct dma_space *s)
{
	struct dma_view *old = atomic_exchange(&s->view, &empty_view);
	uint64_t deadline;

	synchronize(s);
	free_spare(s);
	deadline = drain_deadline(s);
	for (uint32_t i = 0; i < old->n; i++)
		region_end(s, &old->regions[i], deadline);
	if (old != &empty_view)
		free(old);
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
	if (!s->lingers) {
		free(s);
		return;
	}
	log_warn("%s: transfers to its memory are still under way; it is kept until they end",
		 s->name);
	s->next_dead = dead_spaces;
	dead_spaces = s;
	/* The last one may have ended meanwhile. */
	mailbox_post(&reap_work);
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
