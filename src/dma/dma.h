/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM's memory as its devices see it. The only code that turns guest addresses into pointers.
 *
 * A dma_space belongs to one vfio-user connection. It holds regions [iova, iova + size) that
 * never overlap, each either mapped (a pointer into a file that the client shared) or remote (no
 * fd: reached by asking the client with a message). Regions may be read-only.
 *
 * The control thread changes the space; data-path threads read an immutable snapshot, the
 * dma_view, which stays valid until their poll() returns (worker/worker.h). A change publishes a
 * new view, waits for quiescence, then unmaps: when dma_space_unmap() returns nobody touches the
 * old memory any more, and no guest-visible pause was needed.
 *
 * Attacks considered: overlapping or wrapping ranges, ranges that end past the file, files
 * truncated later (SIGBUS: the whole mapping is replaced by zero pages and the space is marked
 * broken; the owner of the space suffers, nobody else), fds that are no memory, 65535 tiny maps,
 * a guest that writes to read-only regions through a device, addresses that change between check
 * and use (callers copy descriptors first).
 */
#ifndef SOFTIOV_DMA_DMA_H
#define SOFTIOV_DMA_DMA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DMA_REGIONS_MAX 65535
/* Files that one space may map, and address space that they may take: what one client can use up
 * of what all share. */
#define DMA_FILES_MAX	 128
#define DMA_SPACE_VA_MAX (1ull << 42)
/* The same for the whole process (the SIGBUS handler's table has a fixed size). */
#define DMA_MAPPINGS_MAX 16384
#define DMA_PROT_READ	 1u
#define DMA_PROT_WRITE	 2u

struct dma_space;

/* How a remote region is reached; implemented by the vfio-user server. May block; only called in
 * worker_offline() sections of WORKER_MAY_BLOCK workers. 0 or -errno (-ECANCELED when stopped). */
struct dma_remote_ops {
	int (*read)(void *opaque, uint64_t iova, void *buf, size_t len);
	int (*write)(void *opaque, uint64_t iova, const void *buf, size_t len);
};

/*
 * Keeps a region's memory where it is while something slower than a poll() works on it (storage).
 * Unmapping waits DMA_DRAIN_MS for the pins of the region, so that a client whose unmap is answered
 * sees no late write; if they are not gone by then (a backend that hangs) the unmap is answered all
 * the same, but the pointers stay good until the last pin goes. A space that was found hanging is
 * not waited for again while it hangs.
 */
struct dma_pin {
	_Atomic uint32_t state; /* holders; private */
};
#define DMA_DRAIN_MS 300

struct dma_region {
	uint64_t iova;
	uint64_t size;
	uint8_t *ptr;	     /* NULL: remote */
	struct dma_pin *pin; /* NULL: remote */
	uint64_t id;	     /* of this memory at this place; no other ever has it */
	uint32_t prot;
	uint32_t mapping; /* index of the file mapping that backs it; private */
};

/* Immutable; sorted by iova. */
struct dma_view {
	uint64_t generation; /* differs from every other view's, in any space; never 0 */
	uint32_t n;
	struct dma_region regions[];
};

/* name is for the log. ops may be NULL: then maps without fd are refused with -EINVAL. Control. */
int dma_space_create(const char *name, const struct dma_remote_ops *ops, void *opaque,
		     struct dma_space **out);

/* Unmaps everything. Synchronises. Control. */
void dma_space_destroy(struct dma_space *s);

/*
 * Adds a region. fd -1 makes it remote. The fd stays the caller's (closed by it): one mapping per
 * backing inode is kept and shared by all regions of this space that lie in the same file.
 * Errors: -EINVAL (size 0, wrap, not page aligned, bad prot, offset+size beyond the file, fd not
 * a mappable file), -EEXIST (overlap), -ENOSPC (too many), -ENOMEM, -EACCES (fd not readable, or
 * not writable though DMA_PROT_WRITE was asked). Nothing changes on error. Control.
 *
 * A mappable file is a regular one (memfd and hugetlbfs are), of a file system whose page faults
 * no other process or host can hold up: FUSE and network file systems are refused, those that pass
 * another one on (overlayfs, eCryptfs), and character devices, whose size and behaviour are not
 * known.
 */
int dma_space_map(struct dma_space *s, uint64_t iova, uint64_t size, uint32_t prot, int fd,
		  uint64_t offset);

/* Removes the region that matches exactly. -ENOENT if none does, -ENOMEM. Synchronises, and waits
 * for pins (struct dma_pin). Control. */
int dma_space_unmap(struct dma_space *s, uint64_t iova, uint64_t size);
void dma_space_unmap_all(struct dma_space *s);

uint32_t dma_space_count(const struct dma_space *s);

/* True once a mapped file was truncated under us. Any thread. From then on dma_view_get() gives an
 * empty view, and dma_space_map() fails with -EIO. */
bool dma_space_broken(const struct dma_space *s);

/* The current snapshot; never NULL (an empty view at least). Any thread, within one poll(). */
const struct dma_view *dma_view_get(const struct dma_space *s);

/* The region that holds iova, or NULL. Any thread. */
const struct dma_region *dma_view_find(const struct dma_view *v, uint64_t iova);

/* Pins a mapped region of a view got in the same poll(). Any thread. One locked instruction. */
static inline struct dma_pin *dma_region_pin(const struct dma_region *r)
{
	atomic_fetch_add_explicit(&r->pin->state, 1, memory_order_relaxed);
	return r->pin;
}

/* Lets go of it; from then on the pointers may be bad. Any thread. */
void dma_unpin(struct dma_pin *pin);

/* The same where *hint did not help. */
void *dma_view_segment_slow(const struct dma_view *v, uint64_t iova, uint64_t *len, uint32_t prot,
			    uint32_t *hint);
void *dma_translate_slow(const struct dma_view *v, uint64_t iova, uint64_t len, uint32_t prot,
			 uint32_t *hint);

/*
 * A pointer to [iova, iova + len), which must lie inside one mapped region that permits the
 * access; else NULL. len 0 gives NULL. *hint (may be NULL) remembers a region index between
 * calls, so that runs of addresses in one region cost no search; any value is safe. Any thread.
 *
 * Buffers that span adjacent regions are split by the caller with dma_view_segment().
 */
static inline void *dma_translate(const struct dma_view *v, uint64_t iova, uint64_t len,
				  uint32_t prot, uint32_t *hint)
{
	if (hint && __builtin_expect(*hint < v->n, 1)) {
		const struct dma_region *r = &v->regions[*hint];
		uint64_t off = iova - r->iova; /* huge when iova lies before */

		/* len 0 becomes 2^64 - 1 and is refused by the slow path */
		if (__builtin_expect(off < r->size && len - 1 < r->size - off, 1) && r->ptr &&
		    (r->prot & prot) == prot)
			return r->ptr + off;
	}
	return dma_translate_slow(v, iova, len, prot, hint);
}

/*
 * Like dma_translate() but gives as many bytes as lie in the same region: *len is cut to that.
 * NULL when the first byte is not accessible by pointer (unmapped, wrong permission or remote);
 * *len is then left alone.
 */
static inline void *dma_view_segment(const struct dma_view *v, uint64_t iova, uint64_t *len,
				     uint32_t prot, uint32_t *hint)
{
	if (hint && __builtin_expect(*hint < v->n, 1)) {
		const struct dma_region *r = &v->regions[*hint];
		uint64_t off = iova - r->iova;

		if (__builtin_expect(off < r->size && *len - 1 < r->size - off, 1) && r->ptr &&
		    (r->prot & prot) == prot)
			return r->ptr + off;
	}
	return dma_view_segment_slow(v, iova, len, prot, hint);
}

/*
 * Copies between a private buffer and guest memory of any kind, across regions. Remote parts
 * block: call them in a WORKER_MAY_BLOCK worker only (or where dma_view_segment() gives pointers).
 * 0, -EFAULT when not all is mapped with the right permission (nothing was then copied by
 * dma_write), or the remote's error. When the map changes during a remote access, what is gone
 * gives -EFAULT half-way. No view may be held across the call if it reaches remote memory.
 */
int dma_read(struct dma_space *s, uint64_t iova, void *buf, size_t len);
int dma_write(struct dma_space *s, uint64_t iova, const void *buf, size_t len);

/* Installs the SIGBUS handler; once, before any worker starts. 0 or -errno. */
int dma_init(void);

#endif
