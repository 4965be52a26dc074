/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside of the client: the socket, and the requests that come from the server. */
#ifndef SOFTIOV_VFIO_USER_CLIENT_WIRE_H
#define SOFTIOV_VFIO_USER_CLIENT_WIRE_H

#include <sys/uio.h>

#include "vfio_user/client.h"

#define CLIENT_FDS_MAX	16u
#define CLIENT_DATA_MAX (1u << 20)
#define CLIENT_MSG_MAX	(CLIENT_DATA_MAX + 4096)

struct vfu_client {
	int fd;
	unsigned timeout_ms;
	uint16_t next_id;
	uint8_t *buf; /* CLIENT_MSG_MAX bytes: the last message received */
	char *version_json;
	const struct vfu_client_memory_ops *memory;
	void *opaque;
};

/* Sends one message, descriptors with its first byte. 0 or -errno. */
int vfu_client_send(struct vfu_client *c, const struct iovec *iov, unsigned n, const int *fds,
		    unsigned nfds);
/* Receives one message into buf before the deadline (clock_now_ns). *nfds: room, then count;
 * surplus descriptors are closed. Its length, 0 at the end of the stream, or -errno. */
int vfu_client_receive(struct vfu_client *c, void *buf, size_t len, int *fds, unsigned *nfds,
		       uint64_t deadline);
/* Answers the request of the server that lies in c->buf. */
int vfu_client_answer(struct vfu_client *c);

#endif
