/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions: their description, reads, writes, eventfd doorbells. */
#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"
#include "vfio_user/session.h"

#define IO_FDS_MAX 256u
/* Writes in one REGION_WRITE_MULTI; QEMU sends no more. Each may reset the function. */
#define WRITE_MULTI_MAX 200u

uint64_t vfu_region_size(const struct vfu_session *s, uint32_t index)
{
	if (index == VFIO_PCI_CONFIG_REGION_INDEX)
		return PCI_CFG_SIZE;
	if (index < PCI_NUM_BARS)
		return pci_function_bar(s->cfg.fn, index)->size;
	return 0;
}

/* What follows the structure where something may be mapped: one area, not the whole region. */
struct sparse {
	struct vfio_info_cap_header header;
	uint32_t nr_areas, reserved;
	struct vfio_region_sparse_mmap_area area;
};

/*
 * Mapping is offered only where the model asks for it: with a single region QEMU stops posting
 * writes for the whole device. As in Linux, a client that has no room for the capability is told
 * how much it takes, and asks again.
 */
static bool reply_mappable(struct vfu_session *s, struct vfu_msg *m, struct vfio_region_info *info,
			   uint32_t argsz)
{
	struct sparse sparse = {.header = {VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0}, .nr_areas = 1};
	uint64_t off = 0, len = 0;
	int fd = -1;

	if (info->index < PCI_NUM_BARS && s->client_fds)
		fd = pci_bar_map(s->cfg.fn, info->index, &off, &len);
	if (fd < 0)
		return false;
	sparse.area = (struct vfio_region_sparse_mmap_area){off, len};
	info->flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
	info->argsz = sizeof(*info) + sizeof(sparse);
	info->cap_offset = sizeof(*info); /* QEMU wants it in the short answer, too */
	if (argsz < info->argsz) {
		vfu_reply_argsz(s, m, info, sizeof(*info), argsz);
		return true;
	}
	vfu_reply_fds(s, m, info, sizeof(*info), &sparse, sizeof(sparse), &fd, 1);
	return true;
}

int vfu_handle_region_info(struct vfu_session *s, struct vfu_msg *m)
{
	struct vfio_region_info req, info = {.argsz = sizeof(info)};

	memcpy(&req, m->body, sizeof(req));
	if (req.argsz < sizeof(req.argsz) || req.index >= VFU_NUM_REGIONS)
		return -EINVAL;
	info.index = req.index;
	info.size = vfu_region_size(s, req.index);
	if (info.size)
		info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	if (!info.size || !reply_mappable(s, m, &info, req.argsz))
		vfu_reply_argsz(s, m, &info, sizeof(info), req.argsz);
	return 0;
}

static int check_access(const struct vfu_session *s, const struct vfu_region_access *a)
{
	if (a->region >= VFU_NUM_REGIONS || a->count > VFU_DATA_MAX ||
	    !range_ok(a->offset, a->count, vfu_region_size(s, a->region)))
		return -EINVAL;
	return 0;
}

int vfu_handle_region_read(struct vfu_session *s, struct vfu_msg *m)
{
	uint8_t small[PCI_CFG_SIZE];
	struct vfu_region_access a;
	uint8_t *buf = small;
	int err;

	memcpy(&a, m->body, sizeof(a));
	err = check_access(s, &a);
	if (err)
		return err;
	if (a.count > sizeof(small)) {
		buf = malloc(a.count);
		if (!buf)
			return -ENOMEM;
	}
	memset(buf, 0xff, a.count);
	if (!a.count)
		err = 0;
	else if (a.region == VFIO_PCI_CONFIG_REGION_INDEX)
		err = pci_config_read(s->cfg.fn, PCI_VIEW_VMM, (unsigned)a.offset, buf, a.count);
	else
		err = pci_bar_read(s->cfg.fn, a.region, a.offset, buf, a.count);
	if (!err)
		vfu_reply(s, m, &a, sizeof(a), buf, a.count);
	if (buf != small)
		free(buf);
	return err;
}

static int write_region(struct vfu_session *s, const struct vfu_region_access *a,
			const uint8_t *data)
{
	if (!a->count)
		return 0;
	if (a->region == VFIO_PCI_CONFIG_REGION_INDEX)
		return pci_config_write(s->cfg.fn, PCI_VIEW_VMM, (unsigned)a->offset, data,
					a->count);
	return pci_bar_write(s->cfg.fn, a->region, a->offset, data, a->count);
}

int vfu_handle_region_write(struct vfu_session *s, struct vfu_msg *m)
{
	struct vfu_region_access a;
	int err;

	memcpy(&a, m->body, sizeof(a));
	if (a.count != m->len - sizeof(a))
		return -EINVAL;
	err = check_access(s, &a);
	if (!err)
		err = write_region(s, &a, m->body + sizeof(a));
	if (!err)
		vfu_reply(s, m, &a, sizeof(a), NULL, 0);
	return err;
}

static void get_multi(const struct vfu_msg *m, uint64_t i, struct vfu_write_multi_entry *e)
{
	memcpy(e, m->body + sizeof(uint64_t) + i * sizeof(*e), sizeof(*e));
}

/* Everything is checked before the first write happens. */
int vfu_handle_region_write_multi(struct vfu_session *s, struct vfu_msg *m)
{
	struct vfu_write_multi_entry e;
	struct vfu_region_access a;
	uint64_t n;
	int err = 0;

	memcpy(&n, m->body, sizeof(n));
	if (n > WRITE_MULTI_MAX || n > (m->len - sizeof(n)) / sizeof(e))
		return -EINVAL;
	for (uint64_t i = 0; i < n; i++) {
		get_multi(m, i, &e);
		a = (struct vfu_region_access){e.offset, e.region, e.count};
		if (!e.count || e.count > sizeof(e.data) || check_access(s, &a))
			return -EINVAL;
	}
	for (uint64_t i = 0; i < n && !err; i++) {
		get_multi(m, i, &e);
		a = (struct vfu_region_access){e.offset, e.region, e.count};
		err = write_region(s, &a, e.data);
	}
	if (!err)
		vfu_reply(s, m, &n, sizeof(n), NULL, 0);
	return err;
}

/* The index of fd among the first n of fds, n itself when it is new. */
static unsigned fd_index(const int *fds, unsigned n, int fd)
{
	unsigned i = 0;

	while (i < n && fds[i] != fd)
		i++;
	return i;
}

/* How many of the areas the client can be given at once: bounded by its argsz and its
 * max_msg_fds; areas may share a descriptor. */
static unsigned fill_io_fds(const struct vfu_session *s, const struct vfu_io_fd *in, unsigned n,
			    uint32_t argsz, struct vfu_region_io_fd *out, int *fds, unsigned *nfds)
{
	unsigned room = 0, i;

	*nfds = 0;
	if (argsz >= sizeof(struct vfu_region_io_fds))
		room = (unsigned)((argsz - sizeof(struct vfu_region_io_fds)) / sizeof(*out));
	for (i = 0; i < n && i < room; i++) {
		unsigned at = fd_index(fds, *nfds, in[i].fd);

		if (at == *nfds) {
			if (*nfds == s->client_fds || *nfds == VFU_FDS_MAX)
				break;
			fds[(*nfds)++] = in[i].fd;
		}
		out[i] = (struct vfu_region_io_fd){
			.offset = in[i].offset,
			.size = in[i].size,
			.fd_index = at,
			.type = VFU_IO_FD_IOEVENTFD,
			.flags = in[i].flags,
			.datamatch = in[i].datamatch,
		};
	}
	return i;
}

int vfu_handle_region_io_fds(struct vfu_session *s, struct vfu_msg *m)
{
	struct vfu_region_io_fd out[IO_FDS_MAX];
	struct vfu_io_fd in[IO_FDS_MAX];
	struct vfu_region_io_fds req, rep = {0};
	int fds[VFU_FDS_MAX], have = 0;
	unsigned n, nfds;

	memcpy(&req, m->body, sizeof(req));
	if (req.argsz < sizeof(req.argsz) || req.flags || req.count || req.index >= VFU_NUM_REGIONS)
		return -EINVAL;
	if (s->cfg.ops->io_fds)
		have = s->cfg.ops->io_fds(s->cfg.opaque, req.index, in, IO_FDS_MAX);
	if (have < 0)
		return have;
	n = MIN((unsigned)have, IO_FDS_MAX);
	rep.argsz = (uint32_t)(sizeof(rep) + n * sizeof(out[0]));
	rep.index = req.index;
	rep.count = n = fill_io_fds(s, in, n, req.argsz, out, fds, &nfds);
	vfu_reply_fds(s, m, &rep, MIN(sizeof(rep), (size_t)req.argsz), out, n * sizeof(out[0]), fds,
		      nfds);
	return 0;
}
