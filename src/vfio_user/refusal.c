/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_user/refusal.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "util/util.h"
#include "vfio_user/protocol.h"

/* For its VERSION to come, and for it to hang up once answered. */
#define PATIENCE_US 2000000ull
/* A VERSION message is some 200 bytes. */
#define BODY_MAX 4096u

static void end(struct vfu_refusal *c)
{
	c->source = sd_event_source_disable_unref(c->source);
	c->timer = sd_event_source_disable_unref(c->timer);
	close(c->fd);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	end(opaque);
	return 0;
}

/* 1 when the message is complete, 0 when more is to come, -errno when nothing will. Descriptors
 * that come along are dropped by the kernel. */
static int hear(struct vfu_refusal *c)
{
	struct vfu_header h;
	char body[BODY_MAX];
	ssize_t n;

	while (c->have < sizeof(h)) {
		n = recv(c->fd, c->msg + c->have, sizeof(h) - c->have, MSG_DONTWAIT);
		if (n <= 0)
			return n < 0 && errno == EAGAIN ? 0 : -EPIPE;
		c->have += n;
		if (c->have < sizeof(h))
			continue;
		memcpy(&h, c->msg, sizeof(h));
		if (h.size < sizeof(h) || h.size - sizeof(h) > BODY_MAX)
			return -EPROTO;
		c->skip = h.size - sizeof(h);
	}
	while (c->skip) {
		n = recv(c->fd, body, c->skip, MSG_DONTWAIT);
		if (n <= 0)
			return n < 0 && errno == EAGAIN ? 0 : -EPIPE;
		c->skip -= n;
	}
	return 1;
}

static int tell(struct vfu_refusal *c)
{
	struct vfu_header h;

	memcpy(&h, c->msg, sizeof(h));
	if (h.flags & (VFU_F_TYPE_MASK | VFU_F_NO_REPLY))
		return -EPROTO;
	h.size = sizeof(h);
	h.flags = VFU_F_TYPE_REPLY | VFU_F_ERROR;
	h.error = c->error;
	c->told = true;
	return send(c->fd, &h, sizeof(h), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(h) ? 0 : -EPIPE;
}

static int on_message(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct vfu_refusal *c = opaque;
	/* Once told, a client has nothing to say but farewell. */
	int r = c->told ? -EPIPE : hear(c);

	if (r > 0)
		r = tell(c);
	if (r < 0)
		end(c);
	return 0;
}

static struct vfu_refusal *free_place(struct vfu_refusals *r)
{
	for (unsigned i = 0; i < ARRAY_SIZE(r->client); i++) {
		if (!r->client[i].source)
			return &r->client[i];
	}
	return NULL;
}

void vfu_refuse(struct vfu_refusals *r, sd_event *event, int fd, int err)
{
	struct vfu_refusal *c = free_place(r);

	if (!c) {
		close(fd);
		return;
	}
	*c = (struct vfu_refusal){.fd = fd, .error = -err};
	if (sd_event_add_io(event, &c->source, fd, EPOLLIN, on_message, c) < 0 ||
	    sd_event_add_time_relative(event, &c->timer, CLOCK_MONOTONIC, PATIENCE_US, 0, on_timer,
				       c) < 0)
		end(c);
}

void vfu_refusals_end(struct vfu_refusals *r)
{
	for (unsigned i = 0; i < ARRAY_SIZE(r->client); i++) {
		if (r->client[i].source)
			end(&r->client[i]);
	}
}
