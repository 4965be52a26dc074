/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_user.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/guest_private.h"
#include "util/clock.h"

enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
};

#define VERSION	     1u
#define F_REPLY	     (1u << 2)
#define F_NEED_REPLY (1u << 3)
#define F_PROTOCOL   GUEST_BIT(30) /* virtio feature: there are protocol features */
#define P_REPLY_ACK  GUEST_BIT(3)
#define PACKED_START 0x8000u /* both wrap counters of a new packed ring are 1 */
#define RING_VECTORS 3	     /* as a VF with one pair: configuration, receive, transmit */
/* What a VMM does itself, not the back-end, and what the load has no use for. */
#define NOT_FOR_VHOST                                                                              \
	(GUEST_F_PLATFORM | GUEST_F_CTRL_VQ | GUEST_F_CTRL_RX | GUEST_F_CTRL_VLAN |                \
	 GUEST_F_CTRL_MAC | GUEST_F_MQ | GUEST_F_MTU | GUEST_F_MAC | GUEST_F_STATUS)

struct __attribute__((packed)) message {
	uint32_t request, flags, size;
	union {
		uint64_t u64;
		struct {
			uint32_t index, num;
		} state;
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} addr;
		struct {
			uint32_t regions, padding;
			uint64_t guest, size, user, offset;
		} memory;
	} body;
};

#define HEAD	      12u
#define SIZE_OF(part) ((uint32_t)sizeof(((struct message *)0)->body.part))

struct vhost_user {
	char path[108];
	int listener; /* or -1 */
	int sock;     /* or -1 */
	unsigned timeout_ms;
	bool acks; /* the back-end answers every message */
};

/* ---- messages ---- */

static int send_message(struct vhost_user *v, struct message *m, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {m, HEAD + m->size};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (fd >= 0) {
		struct cmsghdr *c;

		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control.space);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	n = sendmsg(v->sock, &mh, MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	return (size_t)n == iov.iov_len ? 0 : -EIO;
}

static int receive(struct vhost_user *v, void *buf, size_t len)
{
	struct pollfd p = {v->sock, POLLIN, 0};
	size_t at = 0;
	ssize_t n;

	while (at < len) {
		if (poll(&p, 1, (int)v->timeout_ms) <= 0)
			return -ETIMEDOUT;
		n = recv(v->sock, (char *)buf + at, len - at, 0);
		if (n <= 0)
			return n ? -errno : -ECONNRESET;
		at += (size_t)n;
	}
	return 0;
}

/* The answer to m, with a body of one number. */
static int receive_u64(struct vhost_user *v, uint32_t request, uint64_t *value)
{
	struct message m;
	int err = receive(v, &m, HEAD);

	if (err)
		return err;
	if (m.request != request || !(m.flags & F_REPLY) || m.size != SIZE_OF(u64))
		return -EPROTO;
	err = receive(v, &m.body, m.size);
	*value = m.body.u64;
	return err;
}

static int tell(struct vhost_user *v, uint32_t request, struct message *m, uint32_t size, int fd)
{
	uint64_t failed;
	int err;

	m->request = request;
	m->flags = VERSION | (v->acks ? F_NEED_REPLY : 0);
	m->size = size;
	err = send_message(v, m, fd);
	if (err || !v->acks)
		return err;
	err = receive_u64(v, request, &failed);
	return err ? err : failed ? -EREMOTEIO : 0;
}

static int tell_u64(struct vhost_user *v, uint32_t request, uint64_t value, int fd)
{
	struct message m = {.body.u64 = value};

	return tell(v, request, &m, SIZE_OF(u64), fd);
}

static int tell_state(struct vhost_user *v, uint32_t request, uint32_t index, uint32_t num)
{
	struct message m = {.body.state = {index, num}};

	return tell(v, request, &m, SIZE_OF(state), -1);
}

static int ask(struct vhost_user *v, uint32_t request, uint64_t *value)
{
	struct message m = {.request = request, .flags = VERSION};
	int err = send_message(v, &m, -1);

	return err ? err : receive_u64(v, request, value);
}

/* ---- connection ---- */

int vhost_user_new(const char *path, bool listening, struct vhost_user **out)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct vhost_user *v;
	int err = 0;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	strcpy(v->path, path);
	v->listener = v->sock = -1;
	if (listening) {
		strcpy(sa.sun_path, path);
		unlink(path);
		v->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (v->listener < 0 || bind(v->listener, (struct sockaddr *)&sa, sizeof(sa)) ||
		    listen(v->listener, 1))
			err = -errno;
	}
	if (err) {
		vhost_user_free(v);
		return err;
	}
	*out = v;
	return 0;
}

void vhost_user_free(struct vhost_user *v)
{
	if (!v)
		return;
	if (v->sock >= 0)
		close(v->sock);
	if (v->listener >= 0) {
		close(v->listener);
		unlink(v->path);
	}
	free(v);
}

static int get_connection(struct vhost_user *v)
{
	struct pollfd p = {v->listener, POLLIN, 0};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	if (v->listener >= 0) {
		if (poll(&p, 1, (int)v->timeout_ms) <= 0)
			return -ETIMEDOUT;
		v->sock = accept4(v->listener, NULL, NULL, SOCK_CLOEXEC);
		return v->sock < 0 ? -errno : 0;
	}
	strcpy(sa.sun_path, v->path);
	v->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (v->sock < 0 || connect(v->sock, (struct sockaddr *)&sa, sizeof(sa)))
		return -errno;
	return 0;
}

/* ---- set-up ---- */

static int negotiate(struct vhost_user *v, struct guest *g)
{
	uint64_t protocol;
	int err;

	v->acks = false;
	err = tell_u64(v, SET_OWNER, 0, -1);
	if (!err)
		err = ask(v, GET_FEATURES, &g->offered);
	if (err)
		return err;
	g->features = g->offered & g->cfg.features & ~NOT_FOR_VHOST;
	if (!(g->features & GUEST_F_VERSION_1) || !(g->features & GUEST_F_MRG_RXBUF) ||
	    (g->cfg.features & ~g->offered & GUEST_F_PACKED))
		return -ENOTSUP;
	g->hdr_len = 12;
	if (g->offered & F_PROTOCOL) {
		err = ask(v, GET_PROTOCOL_FEATURES, &protocol);
		if (!err)
			err = tell_u64(v, SET_PROTOCOL_FEATURES, protocol & P_REPLY_ACK, -1);
		v->acks = !err && (protocol & P_REPLY_ACK);
	}
	if (!err)
		err = tell_u64(v, SET_FEATURES, g->features | (g->offered & F_PROTOCOL), -1);
	return err;
}

static int give_memory(struct vhost_user *v, struct guest *g)
{
	struct message m = {.body.memory = {1, 0, GUEST_BASE, g->mem_len, (uintptr_t)g->mem, 0}};

	return tell(v, SET_MEM_TABLE, &m, SIZE_OF(memory), g->mem_fd);
}

static int give_queue(struct vhost_user *v, struct guest *g, unsigned index)
{
	struct guest_queue *q = &g->queues[index];
	struct message m = {.body.addr = {index, 0, (uintptr_t)q->q.desc, (uintptr_t)q->q.device,
					  (uintptr_t)q->q.driver, 0}};
	int err = tell_state(v, SET_VRING_NUM, index, q->q.cfg.size);

	if (!err)
		err = tell_state(v, SET_VRING_BASE, index, q->q.cfg.packed ? PACKED_START : 0);
	if (!err)
		err = tell(v, SET_VRING_ADDR, &m, SIZE_OF(addr), -1);
	if (!err)
		err = tell_u64(v, SET_VRING_CALL, index, g->irq[index + 1]);
	if (!err)
		err = tell_u64(v, SET_VRING_KICK, index, q->doorbell);
	return err;
}

static int make_queue(struct guest *g, unsigned index)
{
	struct guest_queue *q = &g->queues[index];
	bool tx = index & 1;
	int err = guest_make_ring(g, q, g->cfg.queue_size);

	if (!err)
		err = guest_make_buffers(g, q, tx ? g->cfg.tx_buf_len : g->cfg.rx_buf_len, tx);
	if (err)
		return err;
	q->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	g->irq[index + 1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	q->up = true;
	return q->doorbell < 0 || g->irq[index + 1] < 0 ? -errno : 0;
}

static int set_up(struct vhost_user *v, struct guest *g)
{
	int err = negotiate(v, g);

	if (!err)
		err = guest_make_memory(g);
	for (unsigned i = 0; i < 2 && !err; i++)
		err = make_queue(g, i);
	if (err)
		return err;
	guest_fill_receive_queues(g);
	err = give_memory(v, g);
	for (unsigned i = 0; i < 2 && !err; i++)
		err = give_queue(v, g, i);
	for (unsigned i = 0; i < 2 && !err && (g->offered & F_PROTOCOL); i++)
		err = tell_state(v, SET_VRING_ENABLE, i, 1);
	if (!err && gvq_publish(&g->queues[0].q))
		guest_kick(g, 0);
	return err;
}

int vhost_user_attach(struct vhost_user *v, const struct guest_config *cfg, const uint8_t *mac,
		      struct guest **out)
{
	struct guest *g = calloc(1, sizeof(*g));
	int err;

	if (!g)
		return -ENOMEM;
	g->cfg = *cfg;
	guest_set_defaults(&g->cfg);
	memcpy(g->mac, mac, sizeof(g->mac));
	g->mem_fd = -1;
	g->num_vectors = RING_VECTORS;
	for (unsigned i = 0; i < GUEST_VECTORS_MAX; i++)
		g->irq[i] = -1;
	for (unsigned i = 0; i < GUEST_QUEUES_MAX; i++)
		g->queues[i].doorbell = -1;
	v->timeout_ms = g->cfg.timeout_ms;
	err = get_connection(v);
	if (!err)
		err = set_up(v, g);
	if (err) {
		vhost_user_detach(v, g);
		return err;
	}
	*out = g;
	return 0;
}

void vhost_user_detach(struct vhost_user *v, struct guest *g)
{
	struct message m = {.request = GET_VRING_BASE, .flags = VERSION, .size = SIZE_OF(state)};

	if (!g)
		return;
	/* It answers when it uses the queue no more. */
	for (unsigned i = 0; i < 2 && g->queues[i].up && v->sock >= 0; i++) {
		m.body.state.index = i;
		if (send_message(v, &m, -1) ||
		    receive(v, &(struct message){0}, HEAD + SIZE_OF(state)))
			break;
	}
	if (v->sock >= 0)
		close(v->sock);
	v->sock = -1;
	guest_close(g);
}
