/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_user/session.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

/* The part of the structure that vfio's headers declare as a flexible array's base. */
#define SET_IRQS_FIXED sizeof(struct vfio_irq_set)

struct command {
	int (*handle)(struct vfu_session *s, struct vfu_msg *m);
	uint32_t min; /* payload */
	bool fds;     /* descriptors may come with it */
};

static int not_supported(struct vfu_session *s, struct vfu_msg *m)
{
	return -ENOTSUP;
}

static const struct command commands[] = {
	[VFU_VERSION] = {vfu_handle_version, sizeof(struct vfu_version), false},
	[VFU_DMA_MAP] = {vfu_handle_dma_map, sizeof(struct vfu_dma_map), true},
	[VFU_DMA_UNMAP] = {vfu_handle_dma_unmap, sizeof(struct vfu_dma_unmap), false},
	[VFU_DEVICE_GET_INFO] = {vfu_handle_device_info, 16, false},
	[VFU_DEVICE_GET_REGION_INFO] = {vfu_handle_region_info, 32, false},
	[VFU_DEVICE_GET_REGION_IO_FDS] = {vfu_handle_region_io_fds,
					  sizeof(struct vfu_region_io_fds), false},
	[VFU_DEVICE_GET_IRQ_INFO] = {vfu_handle_irq_info, 16, false},
	[VFU_DEVICE_SET_IRQS] = {vfu_handle_set_irqs, SET_IRQS_FIXED, true},
	[VFU_REGION_READ] = {vfu_handle_region_read, sizeof(struct vfu_region_access), false},
	[VFU_REGION_WRITE] = {vfu_handle_region_write, sizeof(struct vfu_region_access), false},
	[VFU_DEVICE_RESET] = {vfu_handle_reset, 0, false},
	[VFU_REGION_WRITE_MULTI] = {vfu_handle_region_write_multi, 8, false},
	/* Server to client only, or of a later protocol part. */
	[VFU_DMA_READ] = {not_supported, 0, true},
	[VFU_DMA_WRITE] = {not_supported, 0, true},
	[VFU_DEVICE_FEATURE] = {not_supported, 0, true},
	[VFU_MIG_DATA_READ] = {not_supported, 0, true},
	[VFU_MIG_DATA_WRITE] = {not_supported, 0, true},
};

void vfu_session_init(struct vfu_session *s, int fd, const struct vfu_session_config *cfg)
{
	memset(s, 0, sizeof(*s));
	vfu_conn_init(&s->conn, fd);
	s->cfg = *cfg;
	s->client_fds = 1;
	s->client_xfer = VFU_DATA_MAX;
}

void vfu_session_fini(struct vfu_session *s)
{
	vfu_conn_fini(&s->conn);
}

static void send_reply(struct vfu_session *s, const struct vfu_msg *m, int err, const void *a,
		       size_t alen, const void *b, size_t blen, const int *fds, unsigned nfds)
{
	struct vfu_header h = {
		.id = m->hdr.id,
		.command = m->hdr.command,
		.size = (uint32_t)(sizeof(h) + alen + blen),
		.flags = VFU_F_TYPE_REPLY | (err ? VFU_F_ERROR : 0),
		.error = (uint32_t)-err,
	};
	struct iovec iov[3] = {
		{.iov_base = &h, .iov_len = sizeof(h)},
		{.iov_base = (void *)a, .iov_len = alen},
		{.iov_base = (void *)b, .iov_len = blen},
	};
	int r;

	if (m->hdr.flags & VFU_F_NO_REPLY)
		return;
	r = vfu_conn_send(&s->conn, iov, 3, fds, nfds);
	if (r && !s->fatal)
		s->fatal = r;
}

void vfu_reply(struct vfu_session *s, const struct vfu_msg *m, const void *a, size_t alen,
	       const void *b, size_t blen)
{
	send_reply(s, m, 0, a, alen, b, blen, NULL, 0);
}

void vfu_reply_fds(struct vfu_session *s, const struct vfu_msg *m, const void *a, size_t alen,
		   const void *b, size_t blen, const int *fds, unsigned nfds)
{
	send_reply(s, m, 0, a, alen, b, blen, fds, nfds);
}

void vfu_reply_argsz(struct vfu_session *s, const struct vfu_msg *m, const void *reply, size_t len,
		     uint32_t argsz)
{
	send_reply(s, m, 0, reply, MIN(len, (size_t)argsz), NULL, 0, NULL, 0);
}

/*
 * The protocol says that an error reply is a bare header. Cloud Hypervisor's client, however, reads
 * a fixed number of bytes for region accesses and unmap, whatever the header says: it would wait
 * for ever. QEMU takes any size up to the one it expects. So these three errors come with the
 * payload that success has; data reads as all-ones, as from an absent device.
 */
static void reply_error(struct vfu_session *s, const struct vfu_msg *m, int err)
{
	struct vfu_region_access acc;
	void *ones = NULL;
	size_t len = 0;

	switch (m->hdr.command) {
	case VFU_REGION_READ:
	case VFU_REGION_WRITE:
		if (m->len < sizeof(acc))
			break;
		memcpy(&acc, m->body, sizeof(acc));
		if (m->hdr.command == VFU_REGION_READ && acc.count <= VFU_DATA_MAX) {
			ones = malloc(acc.count);
			if (ones) {
				len = acc.count;
				memset(ones, 0xff, len);
			}
		}
		send_reply(s, m, err, &acc, sizeof(acc), ones, len, NULL, 0);
		free(ones);
		return;
	case VFU_DMA_UNMAP:
		if (m->len < sizeof(struct vfu_dma_unmap))
			break;
		send_reply(s, m, err, m->body, sizeof(struct vfu_dma_unmap), NULL, 0, NULL, 0);
		return;
	default:
		break;
	}
	send_reply(s, m, err, NULL, 0, NULL, 0, NULL, 0);
}

static int handle_command(struct vfu_session *s, struct vfu_msg *m)
{
	const struct command *c;

	if (m->hdr.command >= ARRAY_SIZE(commands) || !commands[m->hdr.command].handle)
		return -ENOTSUP;
	c = &commands[m->hdr.command];
	if (m->len < c->min || m->too_many_fds || (m->nfds && !c->fds))
		return -EINVAL;
	return c->handle(s, m);
}

static void dispatch(struct vfu_session *s, struct vfu_msg *m)
{
	int err;

	s->messages++;
	if ((m->hdr.flags & VFU_F_TYPE_MASK) == VFU_F_TYPE_REPLY) {
		if (vfu_remote_reply(s->cfg.remote, m)) {
			s->errors++;
			log_guest(&s->bad_message, "%s: reply to nothing (command %u)", s->cfg.name,
				  m->hdr.command);
		}
		return;
	}
	if (!s->negotiated && m->hdr.command != VFU_VERSION) {
		s->errors++;
		log_guest(&s->bad_message, "%s: command %u before VERSION", s->cfg.name,
			  m->hdr.command);
		s->fatal = -EPROTO;
		return;
	}
	err = handle_command(s, m);
	if (!err)
		return;
	s->errors++;
	log_guest(&s->bad_message, "%s: command %u refused: %s", s->cfg.name, m->hdr.command,
		  strerror(-err));
	reply_error(s, m, err);
}

int vfu_session_run(struct vfu_session *s, unsigned budget)
{
	const uint64_t end = clock_now_ns() + SESSION_TURN_NS;

	do {
		struct vfu_msg *m;
		int r;

		if (s->fatal)
			return s->fatal;
		if (vfu_conn_paused(&s->conn))
			return 0;
		r = vfu_conn_receive(&s->conn, &m);
		if (r <= 0)
			return r;
		dispatch(s, m);
	} while (--budget && clock_now_ns() < end);
	return s->fatal ? s->fatal : 1;
}
