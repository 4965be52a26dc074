/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtqueues, device side: split (virtio 1.3, 2.7) and packed (2.8) rings with indirect
 * descriptors, EVENT_IDX and queue reset, one interface for both.
 *
 * A chain popped is a private description: every address, length and index was read once,
 * checked and translated; the caller never sees descriptors.
 *
 * Guest memory that has no pointer (dma/dma.h: remote) is served too: the ring's code then works
 * on bounce buffers of the queue, filled by pop and written back by push, and blocks; such a queue
 * must be polled by a WORKER_MAY_BLOCK worker (vq_is_remote()).
 *
 * Threads: one at a time; the owner decides (a transmit queue: its worker; a receive queue:
 * whoever holds the port's lock). Set-up calls: control, while nobody uses the queue.
 *
 * Attack considered: loops and over-long chains, indices out of range, avail.idx jumping more than
 * the ring size, indirect tables of odd length or nested, zero-length and wrapping buffers, write
 * descriptors before read ones, rings in read-only or remote memory, memory changing under the
 * reader. Any of them breaks the queue (vq_pop returns -EPROTO or -EFAULT once and for ever).
 */
#ifndef SOFTIOV_VIRTIO_VIRTQUEUE_H
#define SOFTIOV_VIRTIO_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dma/dma.h"

#define VQ_SIZE_MAX 4096
#define VQ_BUFS_MAX 1024 /* pieces of one chain, after splitting at region borders */

struct virtqueue;

struct vq_config {
	uint16_t size; /* split: power of two; packed: any; <= VQ_SIZE_MAX */
	bool packed;
	bool event_idx;
	bool indirect;
	bool bounce; /* serve it by private copies even where the rings have pointers */
	uint64_t desc, driver, device; /* guest addresses: descriptor table/ring, avail/driver
					  event, used/device event */
};

struct vq_buf {
	void *ptr;
	uint32_t len;
};

/* bufs[0..n_out) are readable by the device, bufs[n_out..n_out+n_in) writable, in order. */
struct vq_chain {
	uint16_t id;	 /* head index (split) or buffer id (packed) */
	uint16_t ndescs; /* ring slots it occupies */
	uint16_t n_out, n_in;
	uint32_t out_len, in_len; /* bytes; a chain of more than 2^31 bytes breaks the queue */
	struct vq_buf *bufs;	  /* the caller's array given to vq_pop */
};

/*
 * Sets up a queue on rings in dma. Checks alignment and that the rings are accessible.
 * 0, -EINVAL, -EFAULT, -ENOMEM. Control.
 */
int vq_create(struct dma_space *dma, const struct vq_config *cfg, struct virtqueue **out);
void vq_destroy(struct virtqueue *vq);

/*
 * True if the queue works on bounce buffers: its rings have no (single) pointer, or cfg->bounce.
 * That other memory of the space has no pointer does not matter: every VMM has such, for its ROMs
 * and the like. Fixed at vq_create().
 */
bool vq_is_remote(const struct virtqueue *vq);
/* False if the rings are accessible but need the bounce lane. Control. */
bool vq_rings_have_pointers(struct dma_space *dma, const struct vq_config *cfg);
/* True once the queue broke because memory without a pointer was met though it does not bounce:
 * the driver must be served with cfg->bounce after its next reset. */
bool vq_met_remote(const struct virtqueue *vq);

/*
 * Brings the queue in step with the guest's memory map: call once per burst, before any of the
 * calls below (vq_arm and vq_disarm do it themselves), with the view of this poll();
 * re-translates the rings when the map changed. 0, or the errno of a broken queue. Pointers in
 * chains are good for this poll() too (those of a remote queue: until vq_push); what takes longer
 * copies, gives the chain back with vq_unpop, and pops it again.
 */
int vq_begin(struct virtqueue *vq, const struct dma_view *view);

/*
 * Takes the next available chain. bufs has room for max_bufs pieces (a chain with more is refused
 * with -EPROTO). Returns 1, 0 when there is none, or -EPROTO / -EFAULT: the queue is broken.
 */
int vq_pop(struct virtqueue *vq, struct vq_chain *chain, struct vq_buf *bufs, unsigned max_bufs);

/*
 * A chain of one buffer that lies in one region, by far the most common; has the layout of vq_buf
 * but for the padding.
 */
struct vq_single {
	void *ptr;
	uint32_t len;
	uint16_t id;
};

/*
 * Takes up to n available chains as long as each is a single buffer of the kind asked for: one
 * that the device writes, or one that it reads. Returns their number. What stopped it, if anything
 * did (another kind of chain, a bounce queue, a rule broken, none left), the next vq_pop() tells.
 * Each counts as one chain of one slot for vq_unpop().
 */
unsigned vq_pop_singles(struct virtqueue *vq, struct vq_single *out, unsigned n, bool writable);

/* Marks n of them used, in this order; writable: each with its (changed) len as written bytes,
 * else with 0. Not visible before vq_publish(). */
void vq_push_singles(struct virtqueue *vq, const struct vq_single *s, unsigned n, bool writable);

/* Gives back the last n chains popped (in ring slots: their ndescs summed), unused; none popped
 * after the first of them was pushed. */
void vq_unpop(struct virtqueue *vq, unsigned chains, unsigned ndescs);

/* Marks a chain used with written bytes in its in-buffers. Not visible before vq_publish(). */
void vq_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written);

/* Makes all pushed chains visible at once. True when the driver wants an interrupt. */
bool vq_publish(struct virtqueue *vq);

/* Number of chains available at least (0 or more), without popping; cheap. */
unsigned vq_avail(struct virtqueue *vq);

/* Asks the driver to kick; then re-checks: true when something is available already. */
bool vq_arm(struct virtqueue *vq);
/* Asks the driver not to kick. */
void vq_disarm(struct virtqueue *vq);

bool vq_is_broken(const struct virtqueue *vq);

/* Ring position for a later resume (and for tests): split: avail and used index; packed: with the
 * wrap counters in bit 15. */
uint32_t vq_position(const struct virtqueue *vq);

#endif
