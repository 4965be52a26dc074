/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA_MAP and DMA_UNMAP. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "util/util.h"
#include "vfio_user/session.h"

/* Bits that newer servers know: how a descriptor is to be accessed. By mmap is what we do anyway;
 * by read() and write() we cannot. */
#define MAP_BY_MMAP (1u << 2)

static void set_probe(struct vfu_session *s, uint64_t iova, bool valid)
{
	s->probe_iova = iova;
	s->probe_valid = valid;
	vfu_remote_set_probe(s->cfg.remote, iova, valid);
}

/* Some readable address of the client, for vfu_remote to find out the layout with. Looked for only
 * when the last one went, so that 65535 maps do not cost their square. */
static void find_probe(struct vfu_session *s)
{
	const struct dma_view *v = dma_view_get(s->cfg.dma);

	if (s->probe_valid)
		return;
	for (uint32_t i = 0; i < v->n; i++) {
		if (v->regions[i].prot & DMA_PROT_READ) {
			set_probe(s, v->regions[i].iova, true);
			return;
		}
	}
}

int vfu_handle_dma_map(struct vfu_session *s, struct vfu_msg *m)
{
	struct vfu_dma_map map;
	uint32_t prot = 0;
	int err;

	memcpy(&map, m->body, sizeof(map));
	if (map.argsz < sizeof(map) || m->nfds > 1 ||
	    map.flags & ~(VFU_DMA_READABLE | VFU_DMA_WRITEABLE | MAP_BY_MMAP))
		return -EINVAL;
	if (map.flags & VFU_DMA_READABLE)
		prot |= DMA_PROT_READ;
	if (map.flags & VFU_DMA_WRITEABLE)
		prot |= DMA_PROT_WRITE;
	err = dma_space_map(s->cfg.dma, map.addr, map.size, prot, m->nfds ? m->fds[0] : -1,
			    map.offset);
	if (err) {
		/* QEMU often sends maps without waiting and ignores the answer. */
		log_guest(&s->bad_map, "%s: map of 0x%" PRIx64 " at 0x%" PRIx64 " refused: %s",
			  s->cfg.name, map.size, map.addr, strerror(-err));
		return err;
	}
	if (!s->probe_valid && (prot & DMA_PROT_READ))
		set_probe(s, map.addr, true);
	vfu_reply(s, m, NULL, 0, NULL, 0);
	return 0;
}

static int unmap_one(struct vfu_session *s, const struct vfu_dma_unmap *u)
{
	int err;

	if (!range_no_wrap(u->addr, u->size))
		return -EINVAL;
	vfu_remote_cancel_range(s->cfg.remote, u->addr, u->size);
	err = dma_space_unmap(s->cfg.dma, u->addr, u->size);
	/* And those that began between the two. */
	vfu_remote_cancel_range(s->cfg.remote, u->addr, u->size);
	if (!err && s->probe_valid && s->probe_iova - u->addr < u->size) {
		set_probe(s, 0, false);
		find_probe(s);
	}
	return err;
}

static int unmap_all(struct vfu_session *s, const struct vfu_dma_unmap *u)
{
	if (u->addr || u->size)
		return -EINVAL;
	set_probe(s, 0, false);
	vfu_remote_cancel(s->cfg.remote);
	dma_space_unmap_all(s->cfg.dma);
	vfu_remote_resume(s->cfg.remote);
	return 0;
}

/* The answer, an echo, says that nobody touches the memory any more. */
int vfu_handle_dma_unmap(struct vfu_session *s, struct vfu_msg *m)
{
	struct vfu_dma_unmap u;
	int err;

	memcpy(&u, m->body, sizeof(u));
	if (u.argsz < sizeof(u.argsz) || u.flags & ~VFU_UNMAP_ALL)
		return -EINVAL;
	err = u.flags & VFU_UNMAP_ALL ? unmap_all(s, &u) : unmap_one(s, &u);
	if (err)
		return err;
	vfu_reply_argsz(s, m, m->body, sizeof(u), u.argsz);
	return 0;
}
