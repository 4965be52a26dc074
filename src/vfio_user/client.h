/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vfio-user client: what a VMM does, as a library. The tests, the benchmark and
 * `softiov lspci --socket` use it. Synchronous; one thread at a time per client.
 *
 * The raw calls at the end let a test send any bytes and fds.
 */
#ifndef SOFTIOV_VFIO_USER_CLIENT_H
#define SOFTIOV_VFIO_USER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/vfio.h>

#include "vfio_user/protocol.h"

struct vfu_client;

/* Connects and negotiates VERSION. timeout_ms bounds every later wait (0: 5000). 0 or -errno. */
int vfu_client_connect(const char *path, unsigned timeout_ms, struct vfu_client **out);
/* Connects only; VERSION is left to the caller. */
int vfu_client_connect_raw(const char *path, unsigned timeout_ms, struct vfu_client **out);
/* json NULL sends no JSON at all. The reply's JSON is kept in the client. */
int vfu_client_version(struct vfu_client *c, uint16_t major, uint16_t minor, const char *json);
const char *vfu_client_version_reply(const struct vfu_client *c);
void vfu_client_close(struct vfu_client *c);
int vfu_client_fd(const struct vfu_client *c);

/* All return 0 or -errno; a server's error reply gives its errno negated. */
int vfu_client_dma_map(struct vfu_client *c, uint64_t iova, uint64_t size, uint32_t flags, int fd,
		       uint64_t offset);
int vfu_client_dma_unmap(struct vfu_client *c, uint64_t iova, uint64_t size, uint32_t flags);
int vfu_client_device_info(struct vfu_client *c, struct vfio_device_info *info);
/* caps (cap_len bytes) receives what follows the 32-byte structure; *fd an fd or -1. */
int vfu_client_region_info(struct vfu_client *c, uint32_t index, struct vfio_region_info *info,
			   void *caps, size_t cap_len, int *fd);
int vfu_client_irq_info(struct vfu_client *c, uint32_t index, struct vfio_irq_info *info);
int vfu_client_set_irqs(struct vfu_client *c, uint32_t flags, uint32_t index, uint32_t start,
			uint32_t count, const void *data, size_t data_len, const int *fds,
			unsigned nfds);
int vfu_client_region_read(struct vfu_client *c, uint32_t region, uint64_t off, void *buf,
			   uint32_t len);
/* no_reply: posted; errors are not seen. */
int vfu_client_region_write(struct vfu_client *c, uint32_t region, uint64_t off, const void *buf,
			    uint32_t len, bool no_reply);
int vfu_client_reset(struct vfu_client *c);
/* fds receives up to max descriptors, entries the areas. Returns the number of areas. */
int vfu_client_region_io_fds(struct vfu_client *c, uint32_t region,
			     struct vfu_region_io_fd *entries, int *fds, unsigned max);

/* Answers one DMA_READ/DMA_WRITE of the server if one waits (poll timeout_ms), by calling back.
 * While waiting for a reply the client answers such requests too. layout28: behave like QEMU,
 * whose structure puts the data at message byte 28. */
struct vfu_client_memory_ops {
	int (*read)(void *opaque, uint64_t addr, void *buf, uint64_t len);
	int (*write)(void *opaque, uint64_t addr, const void *buf, uint64_t len);
	bool layout28;
};
void vfu_client_set_memory(struct vfu_client *c, const struct vfu_client_memory_ops *ops,
			   void *opaque);
int vfu_client_serve_one(struct vfu_client *c, int timeout_ms);

/* Raw: sends bytes and fds in one sendmsg; receives a whole message into buf. recv returns its
 * length, 0 at a closed connection, -ETIMEDOUT, -errno. */
int vfu_client_send_raw(struct vfu_client *c, const void *buf, size_t len, const int *fds,
			unsigned nfds);
int vfu_client_recv_raw(struct vfu_client *c, void *buf, size_t len, int *fds, unsigned *nfds);
uint16_t vfu_client_next_id(struct vfu_client *c);

#endif
