/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One vfio-user connection as a stream of messages: framing, descriptors, outgoing queue. Knows
 * the header and nothing of the commands.
 *
 * Limits: a message is at most VFU_MSG_MAX bytes and brings at most VFU_FDS_MAX descriptors; what
 * waits to be sent is at most VFU_TX_MAX bytes. The header is judged before a byte of the body is
 * read or a byte of memory taken for it.
 *
 * Attack considered: half messages, sizes of 4 GiB, floods of descriptors, a peer that never
 * reads. All calls: control thread; none blocks.
 */
#ifndef SOFTIOV_VFIO_USER_CONN_H
#define SOFTIOV_VFIO_USER_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vfio_user/protocol.h"

#define VFU_FDS_MAX  16u
#define VFU_DATA_MAX (1u << 20)		   /* max_data_xfer_size that we announce */
#define VFU_MSG_MAX  (VFU_DATA_MAX + 4096) /* header, structure and data */
#define VFU_TX_MAX   (4u << 20)		   /* queued beyond the socket's own buffer */
#define VFU_TX_PAUSE (256u << 10)	   /* above this no further command is read */

struct vfu_msg {
	struct vfu_header hdr;
	const uint8_t *body; /* hdr.size - 16 bytes; valid until the next receive */
	uint32_t len;
	int fds[VFU_FDS_MAX]; /* a taken fd is replaced by -1; the others are closed */
	unsigned nfds;
	bool too_many_fds;
};

struct vfu_tx;

struct vfu_conn {
	int fd;
	struct vfu_msg msg;
	uint8_t *body;
	uint32_t body_cap;
	uint32_t got; /* bytes of the current message, header included */
	bool complete;
	struct vfu_tx *tx_head, **tx_tail;
	size_t tx_bytes;
	unsigned tx_fds;  /* descriptors held by what is queued */
	uint64_t tx_done; /* bytes ever accepted by the socket */
};

/* Takes fd, which is made non-blocking. */
void vfu_conn_init(struct vfu_conn *c, int fd);
/* Closes the socket and every descriptor still held. */
void vfu_conn_fini(struct vfu_conn *c);

/*
 * Reads towards one whole message. 1: *msg is it (valid until the next call); 0: not yet all
 * there; -ECONNRESET: the peer closed; -EPROTO: a header that cannot be right; -EMSGSIZE: larger
 * than VFU_MSG_MAX; -ENOMEM.
 */
int vfu_conn_receive(struct vfu_conn *c, struct vfu_msg **msg);

/*
 * Sends a message made of iov (the first begins with the header), descriptors on its first byte.
 * What the socket does not take is copied and queued, descriptors duplicated. 0, -ENOBUFS (queue
 * full), -ENOMEM, or the socket's error; after an error the stream is unusable.
 */
int vfu_conn_send(struct vfu_conn *c, const struct iovec *iov, unsigned n, const int *fds,
		  unsigned nfds);
/* Sends more of the queue. 0 or -errno. */
int vfu_conn_flush(struct vfu_conn *c);

static inline size_t vfu_conn_pending(const struct vfu_conn *c)
{
	return c->tx_bytes;
}

/* So much waits to be sent that no further command is to be read. Any descriptor does: else a peer
 * that reads nothing could have all of the process's copied into its queue. */
static inline bool vfu_conn_paused(const struct vfu_conn *c)
{
	return c->tx_bytes > VFU_TX_PAUSE || c->tx_fds;
}

#endif
