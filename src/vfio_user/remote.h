/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory without a descriptor: DMA_READ and DMA_WRITE commands to the client, for which
 * workers wait.
 *
 * A worker fills a slot, wakes the control thread through an eventfd and sleeps on a condition.
 * Only the control thread touches the socket: it sends what is queued and hands each reply to the
 * slot whose id it bears. There are at most REMOTE_SLOTS requests in flight; a slot whose waiter
 * gave up stays taken until the client answers or leaves, so that a late answer is never mistaken
 * for another's.
 *
 * A wait ends at once when the control thread cancels it (unmap, reset, disconnect), within
 * REMOTE_LOOK_MS when that thread waits for the worker's poller to come back (a guest's own reset;
 * inside a handler no replies are read), after REMOTE_TIMEOUT_MS, and when the control thread has
 * not come back to its loop for REMOTE_STUCK_MS, whatever the reason. All of these give -ECANCELED
 * or -ETIMEDOUT, and the caller may try again.
 *
 * Layout. The specification puts a 64-bit count before the data: data at message byte 32. QEMU
 * 11.1.3 was seen to do so; other QEMU sources declare a 32-bit count, so that data lies at byte
 * 28, in a message of the same size. Which of the two a client speaks is found before its first
 * access:
 *
 *   1. Read 4 bytes at a readable address. The reply's bytes 28..35 hold count-high and data
 *      (specification: 0 and D) or data and padding (QEMU: D and 0, its buffer is cleared). A D
 *      that is not zero decides. A failing read decides nothing; the access fails, and the next
 *      one tries again.
 *   2. If D was zero, repeat with count 2^32 + 4. A 32-bit count sees 4 and succeeds with a 36-byte
 *      message. A 64-bit count is above every max_data_xfer_size and must be refused.
 *   3. After a refusal repeat step 1. Only if it succeeds was the count the reason, and not, say,
 *      Bus Master cleared meanwhile: the client then speaks the specification's layout.
 *
 * No step depends on guest memory standing still or holding anything, and none writes.
 */
#ifndef SOFTIOV_VFIO_USER_REMOTE_H
#define SOFTIOV_VFIO_USER_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "dma/dma.h"
#include "vfio_user/conn.h"

#define REMOTE_SLOTS	  64u
#define REMOTE_TIMEOUT_MS 3000u
#define REMOTE_STUCK_MS	  1000u
#define REMOTE_LOOK_MS	  10u
/* Of data in a command, whatever the client takes. QEMU 11.1 never ends a reply that its socket's
 * buffer (208 KiB) does not hold at once: seen with DMA_READ of 256 KiB. */
#define REMOTE_XFER_MAX (64u << 10)

struct vfu_remote;

enum vfu_layout { VFU_LAYOUT_UNKNOWN, VFU_LAYOUT_SPEC, VFU_LAYOUT_BYTE28 };

/* For dma_space_create(); the opaque is the vfu_remote. */
extern const struct dma_remote_ops vfu_remote_dma_ops;

/* 0 or -errno. Control, as all below. Starts closed: every access gives -ECANCELED. name, for the
 * log, must outlive it. */
int vfu_remote_create(const char *name, struct vfu_remote **out);
/* No worker may reach it any more: the dma_space is destroyed. */
void vfu_remote_destroy(struct vfu_remote *r);

/* Readable when requests wait to be sent. */
int vfu_remote_event_fd(const struct vfu_remote *r);

/* A client is there and takes at most max_xfer bytes of data in a message. */
void vfu_remote_open(struct vfu_remote *r, uint64_t max_xfer);
/* The client is gone: every wait ends, nothing is remembered of it. */
void vfu_remote_close(struct vfu_remote *r);

/* An address that step 1 may read; valid false: none known, the accessed address is used. */
void vfu_remote_set_probe(struct vfu_remote *r, uint64_t iova, bool valid);

/* Clears the eventfd and sends what is queued, unless too much waits in c already. 0 or the
 * connection's error. */
int vfu_remote_send(struct vfu_remote *r, struct vfu_conn *c);
/* A reply from the client. 0; -ENOENT: nobody waits for it. */
int vfu_remote_reply(struct vfu_remote *r, const struct vfu_msg *m);

/* Every wait ends with -ECANCELED, later ones at once, until as many resumes came. */
void vfu_remote_cancel(struct vfu_remote *r);
void vfu_remote_resume(struct vfu_remote *r);
/* Ends the waits that touch [iova, iova + size), now. */
void vfu_remote_cancel_range(struct vfu_remote *r, uint64_t iova, uint64_t size);

enum vfu_layout vfu_remote_layout(struct vfu_remote *r);

#endif
