/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_user/client_wire.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/util.h"

static int wait_for(struct vfu_client *c, short events, uint64_t deadline)
{
	struct pollfd p = {.fd = c->fd, .events = events};
	uint64_t now = clock_now_ns();
	uint64_t left = deadline > now ? (deadline - now + NS_PER_MS - 1) / NS_PER_MS : 0;
	int r = poll(&p, 1, (int)MIN(left, (uint64_t)INT32_MAX));

	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	return r ? 0 : -ETIMEDOUT;
}

static void attach_fds(struct msghdr *mh, void *control, const int *fds, unsigned nfds)
{
	struct cmsghdr *cm;

	mh->msg_control = control;
	mh->msg_controllen = CMSG_SPACE(nfds * sizeof(int));
	memset(control, 0, mh->msg_controllen);
	cm = CMSG_FIRSTHDR(mh);
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(nfds * sizeof(int));
	memcpy(CMSG_DATA(cm), fds, nfds * sizeof(int));
}

/* Tests send more descriptors than the protocol allows; the kernel's own bound is 253. */
#define SEND_FDS_MAX 253u

int vfu_client_send(struct vfu_client *c, const struct iovec *iov, unsigned n, const int *fds,
		    unsigned nfds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(SEND_FDS_MAX * sizeof(int))];
	} control;
	uint64_t deadline = clock_now_ns() + c->timeout_ms * NS_PER_MS;
	struct iovec v[4];
	unsigned at = 0;

	if (n > ARRAY_SIZE(v) || nfds > SEND_FDS_MAX)
		return -EINVAL;
	memcpy(v, iov, n * sizeof(v[0]));
	while (at < n) {
		struct msghdr mh = {.msg_iov = v + at, .msg_iovlen = n - at};
		ssize_t sent;

		if (!v[at].iov_len) {
			at++;
			continue;
		}
		if (nfds)
			attach_fds(&mh, control.buf, fds, nfds);
		sent = sendmsg(c->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (sent < 0) {
			int err = wait_for(c, POLLOUT, deadline);

			if (err)
				return err;
			continue;
		}
		nfds = 0;
		while (at < n && (size_t)sent >= v[at].iov_len)
			sent -= (ssize_t)v[at++].iov_len;
		if (at < n) {
			v[at].iov_base = (uint8_t *)v[at].iov_base + sent;
			v[at].iov_len -= (size_t)sent;
		}
	}
	return 0;
}

static void keep_fds(struct msghdr *mh, int *fds, unsigned room, unsigned *have)
{
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm; cm = CMSG_NXTHDR(mh, cm)) {
		size_t n = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cm) + i * sizeof(int), sizeof(fd));
			if (*have < room)
				fds[(*have)++] = fd;
			else
				close(fd);
		}
	}
}

/* Exactly len bytes. 1, 0 at the end of the stream, or -errno. */
static int receive_exactly(struct vfu_client *c, uint8_t *buf, size_t len, int *fds, unsigned room,
			   unsigned *have, uint64_t deadline)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(SEND_FDS_MAX * sizeof(int))];
	} control;

	while (len) {
		struct iovec iov = {.iov_base = buf, .iov_len = len};
		struct msghdr mh = {.msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control.buf,
				    .msg_controllen = sizeof(control.buf)};
		ssize_t n = recvmsg(c->fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

		if (n == 0)
			return 0;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n < 0) {
			int err = wait_for(c, POLLIN, deadline);

			if (err)
				return err;
			continue;
		}
		keep_fds(&mh, fds, room, have);
		buf += n;
		len -= (size_t)n;
	}
	return 1;
}

int vfu_client_receive(struct vfu_client *c, void *buf, size_t len, int *fds, unsigned *nfds,
		       uint64_t deadline)
{
	unsigned room = nfds ? *nfds : 0, have = 0;
	struct vfu_header h;
	int r;

	if (nfds)
		*nfds = 0;
	r = receive_exactly(c, (uint8_t *)&h, sizeof(h), fds, room, &have, deadline);
	if (r > 0) {
		if (h.size < sizeof(h))
			r = -EPROTO;
		else if (h.size > len)
			r = -EMSGSIZE;
	}
	if (r > 0) {
		memcpy(buf, &h, sizeof(h));
		r = receive_exactly(c, (uint8_t *)buf + sizeof(h), h.size - sizeof(h), fds, room,
				    &have, deadline);
	}
	if (r <= 0) {
		while (have)
			close(fds[--have]);
		return r == -ECONNRESET ? 0 : r;
	}
	if (nfds)
		*nfds = have;
	return (int)h.size;
}

/* --- requests of the server --- */

struct request {
	struct vfu_header hdr;
	uint64_t addr;
	uint64_t count;
	const uint8_t *data; /* DMA_WRITE */
	uint32_t room;	     /* bytes of data that came */
};

static int reply(struct vfu_client *c, const struct request *q, int err, const void *payload,
		 size_t len)
{
	struct vfu_header h = q->hdr;
	struct iovec iov[2] = {{.iov_base = &h, .iov_len = sizeof(h)},
			       {.iov_base = (void *)payload, .iov_len = len}};

	if (q->hdr.flags & VFU_F_NO_REPLY)
		return 0;
	h.flags = VFU_F_TYPE_REPLY | (err ? VFU_F_ERROR : 0);
	h.error = (uint32_t)-err;
	h.size = (uint32_t)(sizeof(h) + len);
	return vfu_client_send(c, iov, 2, NULL, 0);
}

static int answer_read(struct vfu_client *c, const struct request *q)
{
	size_t at = c->memory->layout28 ? 12 : 16;
	size_t len = sizeof(struct vfu_dma_access) + q->count;
	uint8_t *out = calloc(1, len);
	int err;

	if (!out)
		return -ENOMEM;
	memcpy(out, &q->addr, 8);
	memcpy(out + 8, &q->count, c->memory->layout28 ? 4 : 8);
	err = c->memory->read(c->opaque, q->addr, out + at, q->count);
	err = err ? reply(c, q, err, NULL, 0) : reply(c, q, 0, out, len);
	free(out);
	return err;
}

static int answer_write(struct vfu_client *c, const struct request *q)
{
	struct vfu_dma_access acc = {.addr = q->addr, .count = q->count};
	int err = q->count > q->room ? -E2BIG : 0;

	if (!err)
		err = c->memory->write(c->opaque, q->addr, q->data, q->count);
	if (err || c->memory->layout28)
		return reply(c, q, err, NULL, 0);
	return reply(c, q, 0, &acc, sizeof(acc));
}

int vfu_client_answer(struct vfu_client *c)
{
	const uint8_t *body = c->buf + sizeof(struct vfu_header);
	struct request q;

	memcpy(&q.hdr, c->buf, sizeof(q.hdr));
	if (!c->memory || (q.hdr.command != VFU_DMA_READ && q.hdr.command != VFU_DMA_WRITE))
		return reply(c, &q, -ENOSYS, NULL, 0);
	if (q.hdr.size < sizeof(q.hdr) + sizeof(struct vfu_dma_access))
		return reply(c, &q, -EINVAL, NULL, 0);
	memcpy(&q.addr, body, 8);
	memcpy(&q.count, body + 8, 8);
	if (c->memory->layout28)
		q.count &= UINT32_MAX;
	if (q.count > CLIENT_DATA_MAX)
		return reply(c, &q, -E2BIG, NULL, 0);
	q.data = body + (c->memory->layout28 ? 12 : 16);
	q.room = q.hdr.size - (uint32_t)(sizeof(q.hdr) + sizeof(struct vfu_dma_access));
	return q.hdr.command == VFU_DMA_READ ? answer_read(c, &q) : answer_write(c, &q);
}
