/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_user/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/util.h"
#include "vfio_user/client_wire.h"

#define DEFAULT_TIMEOUT_MS 5000u

static const char default_json[] =
	"{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576}}";

/* --- connection --- */

int vfu_client_connect_raw(const char *path, unsigned timeout_ms, struct vfu_client **out)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct vfu_client *c;
	int err;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, path, strlen(path) + 1);
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->timeout_ms = timeout_ms ? timeout_ms : DEFAULT_TIMEOUT_MS;
	c->buf = malloc(CLIENT_MSG_MAX);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	err = !c->buf ? -ENOMEM : c->fd < 0 ? -errno : 0;
	if (!err && connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		err = -errno;
	if (err) {
		vfu_client_close(c);
		return err;
	}
	*out = c;
	return 0;
}

int vfu_client_connect(const char *path, unsigned timeout_ms, struct vfu_client **out)
{
	struct vfu_client *c;
	int err = vfu_client_connect_raw(path, timeout_ms, &c);

	if (err)
		return err;
	err = vfu_client_version(c, 0, 0, default_json);
	if (err) {
		vfu_client_close(c);
		return err;
	}
	*out = c;
	return 0;
}

void vfu_client_close(struct vfu_client *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	free(c->buf);
	free(c->version_json);
	free(c);
}

int vfu_client_fd(const struct vfu_client *c)
{
	return c->fd;
}

uint16_t vfu_client_next_id(struct vfu_client *c)
{
	return c->next_id++;
}

void vfu_client_set_memory(struct vfu_client *c, const struct vfu_client_memory_ops *ops,
			   void *opaque)
{
	c->memory = ops;
	c->opaque = opaque;
}

/* --- requests --- */

struct call {
	uint16_t command;
	bool no_reply;
	const void *a, *b; /* payload, in two parts */
	size_t alen, blen;
	const int *fds; /* to send */
	unsigned nfds;
	int *rfds; /* received; *nrfds: room, then count */
	unsigned *nrfds;
};

static int send_call(struct vfu_client *c, const struct call *q, uint16_t *id)
{
	struct vfu_header h = {
		.id = vfu_client_next_id(c),
		.command = q->command,
		.size = (uint32_t)(sizeof(h) + q->alen + q->blen),
		.flags = VFU_F_TYPE_COMMAND | (q->no_reply ? VFU_F_NO_REPLY : 0),
	};
	struct iovec iov[3] = {{.iov_base = &h, .iov_len = sizeof(h)},
			       {.iov_base = (void *)q->a, .iov_len = q->alen},
			       {.iov_base = (void *)q->b, .iov_len = q->blen}};

	if (sizeof(h) + q->alen + q->blen > CLIENT_MSG_MAX)
		return -EMSGSIZE;
	*id = h.id;
	return vfu_client_send(c, iov, 3, q->fds, q->nfds);
}

/* The reply's payload length (it lies behind the header in c->buf) or -errno. */
static int wait_reply(struct vfu_client *c, const struct call *q, uint16_t id)
{
	uint64_t deadline = clock_now_ns() + c->timeout_ms * NS_PER_MS;
	unsigned room = q->nrfds ? *q->nrfds : 0;

	for (;;) {
		struct vfu_header h;
		int n;

		if (q->nrfds)
			*q->nrfds = room;
		n = vfu_client_receive(c, c->buf, CLIENT_MSG_MAX, q->rfds, q->nrfds, deadline);
		if (n <= 0)
			return n ? n : -ECONNRESET;
		memcpy(&h, c->buf, sizeof(h));
		if ((h.flags & VFU_F_TYPE_MASK) == VFU_F_TYPE_COMMAND) {
			n = vfu_client_answer(c);
			if (n)
				return n;
			continue;
		}
		if (h.id != id || h.command != q->command)
			return -EPROTO;
		if (h.flags & VFU_F_ERROR)
			return h.error ? -(int)h.error : -EIO;
		return n - (int)sizeof(h);
	}
}

static int call(struct vfu_client *c, const struct call *q)
{
	uint16_t id;
	int err = send_call(c, q, &id);

	if (err || q->no_reply)
		return err;
	return wait_reply(c, q, id);
}

/* A call whose reply must hold exactly a structure of len bytes. */
static int call_struct(struct vfu_client *c, const struct call *q, void *reply, size_t len)
{
	int n = call(c, q);

	if (n < 0)
		return n;
	if ((size_t)n != len)
		return -EPROTO;
	if (len)
		memcpy(reply, c->buf + sizeof(struct vfu_header), len);
	return 0;
}

int vfu_client_version(struct vfu_client *c, uint16_t major, uint16_t minor, const char *json)
{
	struct vfu_version v = {major, minor};
	struct call q = {.command = VFU_VERSION,
			 .a = &v,
			 .alen = sizeof(v),
			 .b = json,
			 .blen = json ? strlen(json) + 1 : 0};
	const char *text = (const char *)c->buf + sizeof(struct vfu_header) + sizeof(v);
	int n = call(c, &q);

	if (n < 0)
		return n;
	if ((size_t)n < sizeof(v))
		return -EPROTO;
	memcpy(&v, c->buf + sizeof(struct vfu_header), sizeof(v));
	n -= (int)sizeof(v);
	if (v.major != major || v.minor > minor || (n && text[n - 1]))
		return -EPROTO;
	free(c->version_json);
	c->version_json = strdup(n ? text : "");
	return c->version_json ? 0 : -ENOMEM;
}

const char *vfu_client_version_reply(const struct vfu_client *c)
{
	return c->version_json;
}

int vfu_client_dma_map(struct vfu_client *c, uint64_t iova, uint64_t size, uint32_t flags, int fd,
		       uint64_t offset)
{
	struct vfu_dma_map map = {sizeof(map), flags, offset, iova, size};
	struct call q = {.command = VFU_DMA_MAP,
			 .a = &map,
			 .alen = sizeof(map),
			 .fds = &fd,
			 .nfds = fd >= 0};

	return call_struct(c, &q, NULL, 0);
}

int vfu_client_dma_unmap(struct vfu_client *c, uint64_t iova, uint64_t size, uint32_t flags)
{
	struct vfu_dma_unmap u = {sizeof(u), flags, iova, size}, echo;
	struct call q = {.command = VFU_DMA_UNMAP, .a = &u, .alen = sizeof(u)};
	int err = call_struct(c, &q, &echo, sizeof(echo));

	if (err)
		return err;
	return echo.addr == iova && echo.size == size ? 0 : -EPROTO;
}

int vfu_client_device_info(struct vfu_client *c, struct vfio_device_info *info)
{
	uint32_t v[4] = {sizeof(v)};
	struct call q = {.command = VFU_DEVICE_GET_INFO, .a = v, .alen = sizeof(v)};
	int err = call_struct(c, &q, v, sizeof(v));

	if (err)
		return err;
	memset(info, 0, sizeof(*info));
	info->argsz = v[0];
	info->flags = v[1];
	info->num_regions = v[2];
	info->num_irqs = v[3];
	return 0;
}

int vfu_client_region_info(struct vfu_client *c, uint32_t index, struct vfio_region_info *info,
			   void *caps, size_t cap_len, int *fd)
{
	struct vfio_region_info req = {.argsz = (uint32_t)(sizeof(req) + cap_len), .index = index};
	int rfd = -1;
	unsigned nrfds = 1;
	struct call q = {.command = VFU_DEVICE_GET_REGION_INFO,
			 .a = &req,
			 .alen = sizeof(req),
			 .rfds = &rfd,
			 .nrfds = &nrfds};
	int n = call(c, &q);

	if (n >= 0 && ((size_t)n < sizeof(*info) || (size_t)n > sizeof(*info) + cap_len))
		n = -EPROTO;
	if (n >= 0) {
		memcpy(info, c->buf + sizeof(struct vfu_header), sizeof(*info));
		if ((size_t)n > sizeof(*info))
			memcpy(caps, c->buf + sizeof(struct vfu_header) + sizeof(*info),
			       (size_t)n - sizeof(*info));
		if (fd) {
			*fd = rfd;
			rfd = -1;
		}
	}
	if (rfd >= 0)
		close(rfd);
	return n < 0 ? n : 0;
}

int vfu_client_irq_info(struct vfu_client *c, uint32_t index, struct vfio_irq_info *info)
{
	struct vfio_irq_info req = {.argsz = sizeof(req), .index = index};
	struct call q = {.command = VFU_DEVICE_GET_IRQ_INFO, .a = &req, .alen = sizeof(req)};

	return call_struct(c, &q, info, sizeof(*info));
}

int vfu_client_set_irqs(struct vfu_client *c, uint32_t flags, uint32_t index, uint32_t start,
			uint32_t count, const void *data, size_t data_len, const int *fds,
			unsigned nfds)
{
	struct vfio_irq_set set = {.argsz = (uint32_t)(sizeof(set) + data_len),
				   .flags = flags,
				   .index = index,
				   .start = start,
				   .count = count};
	struct call q = {.command = VFU_DEVICE_SET_IRQS,
			 .a = &set,
			 .alen = sizeof(set),
			 .b = data,
			 .blen = data_len,
			 .fds = fds,
			 .nfds = nfds};

	return call_struct(c, &q, NULL, 0);
}

int vfu_client_region_read(struct vfu_client *c, uint32_t region, uint64_t off, void *buf,
			   uint32_t len)
{
	struct vfu_region_access acc = {off, region, len};
	struct call q = {.command = VFU_REGION_READ, .a = &acc, .alen = sizeof(acc)};
	int n = call(c, &q);

	if (n < 0)
		return n;
	if ((size_t)n != sizeof(acc) + len)
		return -EPROTO;
	memcpy(buf, c->buf + sizeof(struct vfu_header) + sizeof(acc), len);
	return 0;
}

int vfu_client_region_write(struct vfu_client *c, uint32_t region, uint64_t off, const void *buf,
			    uint32_t len, bool no_reply)
{
	struct vfu_region_access acc = {off, region, len};
	struct call q = {.command = VFU_REGION_WRITE,
			 .no_reply = no_reply,
			 .a = &acc,
			 .alen = sizeof(acc),
			 .b = buf,
			 .blen = len};

	return no_reply ? call(c, &q) : call_struct(c, &q, &acc, sizeof(acc));
}

int vfu_client_reset(struct vfu_client *c)
{
	struct call q = {.command = VFU_DEVICE_RESET};

	return call_struct(c, &q, NULL, 0);
}

int vfu_client_region_io_fds(struct vfu_client *c, uint32_t region,
			     struct vfu_region_io_fd *entries, int *fds, unsigned max)
{
	struct vfu_region_io_fds req = {.argsz = (uint32_t)(sizeof(req) + max * sizeof(*entries)),
					.index = region};
	unsigned nrfds = max;
	struct call q = {.command = VFU_DEVICE_GET_REGION_IO_FDS,
			 .a = &req,
			 .alen = sizeof(req),
			 .rfds = fds,
			 .nrfds = &nrfds};
	int n = call(c, &q);

	if (n < 0)
		return n;
	if ((size_t)n >= sizeof(req))
		memcpy(&req, c->buf + sizeof(struct vfu_header), sizeof(req));
	if ((size_t)n < sizeof(req) || req.count > max ||
	    (size_t)n != sizeof(req) + req.count * sizeof(*entries)) {
		while (nrfds)
			close(fds[--nrfds]);
		return -EPROTO;
	}
	memcpy(entries, c->buf + sizeof(struct vfu_header) + sizeof(req),
	       req.count * sizeof(*entries));
	return (int)req.count;
}

int vfu_client_serve_one(struct vfu_client *c, int timeout_ms)
{
	uint64_t wait = timeout_ms < 0 ? c->timeout_ms : (uint64_t)timeout_ms;
	struct vfu_header h;
	int n = vfu_client_receive(c, c->buf, CLIENT_MSG_MAX, NULL, NULL,
				   clock_now_ns() + wait * NS_PER_MS);

	if (n <= 0)
		return n ? n : -ECONNRESET;
	memcpy(&h, c->buf, sizeof(h));
	if ((h.flags & VFU_F_TYPE_MASK) != VFU_F_TYPE_COMMAND)
		return -EPROTO;
	return vfu_client_answer(c);
}

/* --- raw --- */

int vfu_client_send_raw(struct vfu_client *c, const void *buf, size_t len, const int *fds,
			unsigned nfds)
{
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};

	return vfu_client_send(c, &iov, 1, fds, nfds);
}

int vfu_client_recv_raw(struct vfu_client *c, void *buf, size_t len, int *fds, unsigned *nfds)
{
	return vfu_client_receive(c, buf, len, fds, nfds,
				  clock_now_ns() + c->timeout_ms * NS_PER_MS);
}
