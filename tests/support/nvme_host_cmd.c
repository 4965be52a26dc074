/* SPDX-License-Identifier: BSD-3-Clause */
/* Data pointers (NVM Express Base 1.4, 4.3 and 4.4) and synchronous commands. */
#include <errno.h>
#include <string.h>

#include "nvme_host.h"

#define ENTRIES (NVME_HOST_PAGE / 8)

/* ---- data pointers ---- */

void nvme_host_prp_pages(struct nvme_sqe *sqe, const uint64_t *pages, unsigned n, uint64_t *list,
			 uint64_t list_addr)
{
	unsigned room, i;

	sqe->flags &= 0x3f; /* PSDT: PRP */
	sqe->prp1 = pages[0];
	sqe->prp2 = n > 1 ? pages[1] : 0;
	if (n <= 2)
		return;
	sqe->prp2 = list_addr;
	room = (unsigned)(ENTRIES - list_addr % NVME_HOST_PAGE / 8);
	for (i = 1; i < n; i++) {
		/* The last entry of a page that does not suffice points to the next (4.3). */
		if (room == 1 && n - i > 1) {
			list_addr = (list_addr & ~(uint64_t)(NVME_HOST_PAGE - 1)) + NVME_HOST_PAGE;
			*list++ = list_addr;
			room = ENTRIES;
		}
		*list++ = pages[i];
		room--;
	}
}

int nvme_host_prp(struct nvme_sqe *sqe, uint64_t addr, uint32_t len, uint64_t *list,
		  uint64_t list_addr)
{
	uint64_t pages[NVME_HOST_DATA_MAX / NVME_HOST_PAGE + 1];
	unsigned n = 0;
	uint64_t at;

	if (len > NVME_HOST_DATA_MAX)
		return -EMSGSIZE;
	for (at = addr; at < addr + len;
	     at = (at & ~(uint64_t)(NVME_HOST_PAGE - 1)) + NVME_HOST_PAGE)
		pages[n++] = at;
	if (!n)
		pages[n++] = addr;
	if (n > 2 && !list)
		return -EMSGSIZE;
	nvme_host_prp_pages(sqe, pages, n, list, list_addr);
	return 0;
}

struct nvme_sgl_desc nvme_host_sgl(uint64_t addr, uint32_t len, uint8_t type)
{
	return (struct nvme_sgl_desc){.addr = addr, .length = len, .id = (uint8_t)(type << 4)};
}

void nvme_host_set_sgl(struct nvme_sqe *sqe, struct nvme_sgl_desc d)
{
	sqe->flags = (uint8_t)((sqe->flags & 0x3f) | NVME_PSDT_SGL << 6);
	sqe->sgl1 = d;
}

/* ---- admin ---- */

int nvme_host_exec_data(struct nvme_host_sq *sq, struct nvme_sqe *sqe, uint32_t len, uint32_t *dw0)
{
	struct nvme_host *h = sq->h;
	int err = nvme_host_prp(sqe, h->data_addr, len, h->list, h->list_addr);

	return err ? err : nvme_host_exec(sq, sqe, dw0);
}

int nvme_host_identify(struct nvme_host *h, uint8_t cns, uint32_t nsid, uint16_t cntid, void *out)
{
	struct nvme_sqe sqe = {
		.opcode = nvme_admin_identify, .nsid = nsid, .cdw10 = (uint32_t)cntid << 16 | cns};
	int st;

	memset(h->data, 0xa5, NVME_HOST_PAGE);
	st = nvme_host_exec_data(nvme_host_admin(h), &sqe, NVME_HOST_PAGE, NULL);
	memcpy(out, h->data, NVME_HOST_PAGE);
	return st;
}

int nvme_host_log(struct nvme_host *h, uint8_t lid, uint32_t nsid, bool retain, void *out,
		  uint32_t len)
{
	uint32_t dwords = len / 4 - 1;
	struct nvme_sqe sqe = {.opcode = nvme_admin_get_log_page,
			       .nsid = nsid,
			       .cdw10 = (dwords & 0xffff) << 16 | (uint32_t)retain << 15 | lid,
			       .cdw11 = dwords >> 16};
	int st = nvme_host_exec_data(nvme_host_admin(h), &sqe, len, NULL);

	memcpy(out, h->data, len);
	return st;
}

int nvme_host_get_feature(struct nvme_host *h, uint8_t fid, uint32_t cdw11, uint32_t *value)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_get_features, .cdw10 = fid, .cdw11 = cdw11};

	return nvme_host_exec_data(nvme_host_admin(h), &sqe, NVME_HOST_PAGE, value);
}

int nvme_host_set_feature(struct nvme_host *h, uint8_t fid, uint32_t cdw11)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_set_features, .cdw10 = fid, .cdw11 = cdw11};

	return nvme_host_exec_data(nvme_host_admin(h), &sqe, NVME_HOST_PAGE, NULL);
}

int nvme_host_ns_size(struct nvme_host *h, uint32_t nsid, uint64_t *blocks, uint32_t *block)
{
	struct nvme_id_ns id;
	int st = nvme_host_identify(h, NVME_IDENTIFY_CNS_NS, nsid, 0, &id);

	*blocks = 0;
	*block = 0;
	if (st)
		return st;
	*blocks = id.nsze;
	*block = id.nsze ? 1u << id.lbaf[id.flbas & 0xf].ds : 0;
	if (nsid < sizeof(h->shifts))
		h->shifts[nsid] = id.nsze ? id.lbaf[id.flbas & 0xf].ds : 0;
	return 0;
}

/* ---- I/O ---- */

void nvme_host_make_rw(struct nvme_sqe *sqe, uint8_t opcode, uint32_t nsid, uint64_t slba,
		       uint32_t nlb, uint32_t flags)
{
	*sqe = (struct nvme_sqe){.opcode = opcode,
				 .nsid = nsid,
				 .cdw10 = (uint32_t)slba,
				 .cdw11 = (uint32_t)(slba >> 32),
				 .cdw12 = (nlb - 1) | flags};
}

int nvme_host_rw(struct nvme_host_sq *sq, uint8_t opcode, uint32_t nsid, uint64_t slba,
		 uint32_t nlb, uint32_t flags)
{
	struct nvme_host *h = sq->h;
	struct nvme_sqe sqe;
	uint64_t blocks;
	uint32_t block;

	if (nsid < sizeof(h->shifts) && !h->shifts[nsid]) {
		uint8_t keep[NVME_HOST_PAGE];

		memcpy(keep, h->data, sizeof(keep));
		nvme_host_ns_size(h, nsid, &blocks, &block);
		memcpy(h->data, keep, sizeof(keep));
	}
	nvme_host_make_rw(&sqe, opcode, nsid, slba, nlb, flags);
	return nvme_host_exec_data(
		sq, &sqe,
		nlb << (nsid < sizeof(h->shifts) && h->shifts[nsid] ? h->shifts[nsid] : 9), NULL);
}

int nvme_host_range(struct nvme_host_sq *sq, uint8_t opcode, uint32_t nsid, uint64_t slba,
		    uint32_t nlb, uint32_t flags)
{
	struct nvme_sqe sqe;

	nvme_host_make_rw(&sqe, opcode, nsid, slba, nlb, flags);
	return nvme_host_exec(sq, &sqe, NULL);
}

int nvme_host_flush(struct nvme_host_sq *sq, uint32_t nsid)
{
	struct nvme_sqe sqe = {.opcode = nvme_cmd_flush, .nsid = nsid};

	return nvme_host_exec(sq, &sqe, NULL);
}

int nvme_host_deallocate(struct nvme_host_sq *sq, uint32_t nsid, uint64_t slba, uint32_t nlb)
{
	struct nvme_sqe sqe = {.opcode = nvme_cmd_dsm, .nsid = nsid, .cdw11 = NVME_DSM_AD};
	struct nvme_dsm_range r = {.nlb = nlb, .slba = slba};

	memcpy(sq->h->data, &r, sizeof(r));
	return nvme_host_exec_data(sq, &sqe, sizeof(r), NULL);
}
