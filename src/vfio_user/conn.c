/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_user/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/util.h"

/* A body buffer above this size is given back after its message. */
#define BODY_KEEP (16u << 10)

struct vfu_tx {
	struct vfu_tx *next;
	size_t len, off;
	unsigned nfds; /* 0 once sent */
	int fds[VFU_FDS_MAX];
	uint8_t data[];
};

union fd_control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(VFU_FDS_MAX * sizeof(int))];
};

void vfu_conn_init(struct vfu_conn *c, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	memset(c, 0, sizeof(*c));
	c->fd = fd;
	c->tx_tail = &c->tx_head;
	if (flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void close_fds(int *fds, unsigned *n)
{
	for (unsigned i = 0; i < *n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	*n = 0;
}

static void drop_head(struct vfu_conn *c)
{
	struct vfu_tx *tx = c->tx_head;

	c->tx_head = tx->next;
	if (!c->tx_head)
		c->tx_tail = &c->tx_head;
	c->tx_fds -= tx->nfds;
	close_fds(tx->fds, &tx->nfds);
	free(tx);
}

void vfu_conn_fini(struct vfu_conn *c)
{
	while (c->tx_head)
		drop_head(c);
	c->tx_bytes = 0;
	close_fds(c->msg.fds, &c->msg.nfds);
	free(c->body);
	c->body = NULL;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

/* --- receiving --- */

static void finish_message(struct vfu_conn *c)
{
	close_fds(c->msg.fds, &c->msg.nfds);
	c->msg.too_many_fds = false;
	c->got = 0;
	c->complete = false;
	if (c->body_cap > BODY_KEEP) {
		free(c->body);
		c->body = NULL;
		c->body_cap = 0;
	}
}

static void take_fds(struct vfu_conn *c, struct msghdr *mh)
{
	struct cmsghdr *cm;

	for (cm = CMSG_FIRSTHDR(mh); cm; cm = CMSG_NXTHDR(mh, cm)) {
		size_t n;

		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cm) + i * sizeof(int), sizeof(fd));
			if (c->msg.nfds < VFU_FDS_MAX) {
				c->msg.fds[c->msg.nfds++] = fd;
			} else {
				close(fd);
				c->msg.too_many_fds = true;
			}
		}
	}
	/* The kernel dropped those that had no room. */
	if (mh->msg_flags & MSG_CTRUNC)
		c->msg.too_many_fds = true;
}

/* Bytes read, 0 when none are there, -errno. Never reads past the current message, so that
 * descriptors belong to the message with whose bytes they arrive. */
static ssize_t receive_some(struct vfu_conn *c, void *buf, size_t len)
{
	union fd_control control;
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.buf,
			    .msg_controllen = sizeof(control.buf)};
	ssize_t n;

	do {
		n = recvmsg(c->fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	take_fds(c, &mh);
	return n;
}

static int check_header(const struct vfu_header *h)
{
	uint32_t type = h->flags & VFU_F_TYPE_MASK;

	if (h->size < sizeof(*h) || (type != VFU_F_TYPE_COMMAND && type != VFU_F_TYPE_REPLY))
		return -EPROTO;
	return h->size > VFU_MSG_MAX ? -EMSGSIZE : 0;
}

static int reserve_body(struct vfu_conn *c, uint32_t len)
{
	uint8_t *p;

	if (len <= c->body_cap)
		return 0;
	p = realloc(c->body, len);
	if (!p)
		return -ENOMEM;
	c->body = p;
	c->body_cap = len;
	return 0;
}

int vfu_conn_receive(struct vfu_conn *c, struct vfu_msg **msg)
{
	const uint32_t hlen = sizeof(struct vfu_header);
	ssize_t n;
	int r;

	if (c->complete)
		finish_message(c);
	while (c->got < hlen) {
		n = receive_some(c, (uint8_t *)&c->msg.hdr + c->got, hlen - c->got);
		if (n <= 0)
			return (int)n;
		c->got += (uint32_t)n;
		if (c->got < hlen)
			continue;
		r = check_header(&c->msg.hdr);
		if (!r)
			r = reserve_body(c, c->msg.hdr.size - hlen);
		if (r)
			return r;
	}
	while (c->got < c->msg.hdr.size) {
		n = receive_some(c, c->body + (c->got - hlen), c->msg.hdr.size - c->got);
		if (n <= 0)
			return (int)n;
		c->got += (uint32_t)n;
	}
	c->complete = true;
	c->msg.body = c->body;
	c->msg.len = c->msg.hdr.size - hlen;
	*msg = &c->msg;
	return 1;
}

/* --- sending --- */

static ssize_t send_some(struct vfu_conn *c, const struct iovec *iov, unsigned n, const int *fds,
			 unsigned nfds)
{
	union fd_control control;
	struct msghdr mh = {.msg_iov = (struct iovec *)iov, .msg_iovlen = n};
	ssize_t sent;

	if (nfds) {
		struct cmsghdr *cm;

		memset(&control, 0, sizeof(control));
		mh.msg_control = control.buf;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, nfds * sizeof(int));
	}
	do {
		sent = sendmsg(c->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
	c->tx_done += (uint64_t)sent;
	return sent;
}

/* Copies what lies behind the first skip bytes of iov into the queue. */
static int enqueue(struct vfu_conn *c, const struct iovec *iov, unsigned n, size_t total,
		   size_t skip, const int *fds, unsigned nfds)
{
	struct vfu_tx *tx;
	uint8_t *p;

	if (total - skip > VFU_TX_MAX - MIN(c->tx_bytes, (size_t)VFU_TX_MAX))
		return -ENOBUFS;
	tx = malloc(sizeof(*tx) + total - skip);
	if (!tx)
		return -ENOMEM;
	tx->next = NULL;
	tx->len = total - skip;
	tx->off = 0;
	tx->nfds = 0;
	for (unsigned i = 0; i < nfds; i++) {
		tx->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		if (tx->fds[i] < 0) {
			int err = errno;

			close_fds(tx->fds, &tx->nfds);
			free(tx);
			return -err;
		}
		tx->nfds++;
	}
	p = tx->data;
	for (unsigned i = 0; i < n; i++) {
		size_t from = MIN(skip, iov[i].iov_len);

		skip -= from;
		if (iov[i].iov_len > from)
			memcpy(p, (const uint8_t *)iov[i].iov_base + from, iov[i].iov_len - from);
		p += iov[i].iov_len - from;
	}
	*c->tx_tail = tx;
	c->tx_tail = &tx->next;
	c->tx_bytes += tx->len;
	c->tx_fds += tx->nfds;
	return 0;
}

int vfu_conn_send(struct vfu_conn *c, const struct iovec *iov, unsigned n, const int *fds,
		  unsigned nfds)
{
	size_t total = 0;
	ssize_t sent = 0;

	if (nfds > VFU_FDS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++)
		total += iov[i].iov_len;
	if (!c->tx_head) {
		sent = send_some(c, iov, n, fds, nfds);
		if (sent < 0)
			return (int)sent;
		if ((size_t)sent == total)
			return 0;
	}
	/* The descriptors went with the first byte. */
	return enqueue(c, iov, n, total, (size_t)sent, fds, sent ? 0 : nfds);
}

int vfu_conn_flush(struct vfu_conn *c)
{
	while (c->tx_head) {
		struct vfu_tx *tx = c->tx_head;
		struct iovec iov = {.iov_base = tx->data + tx->off, .iov_len = tx->len - tx->off};
		ssize_t sent = send_some(c, &iov, 1, tx->fds, tx->nfds);

		if (sent <= 0)
			return (int)sent;
		c->tx_fds -= tx->nfds;
		close_fds(tx->fds, &tx->nfds);
		tx->off += (size_t)sent;
		c->tx_bytes -= (size_t)sent;
		if (tx->off == tx->len)
			drop_head(c);
	}
	return 0;
}
