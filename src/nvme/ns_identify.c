/* SPDX-License-Identifier: BSD-3-Clause */
/* What Identify says of a namespace (Base 1.4, 5.15.2.1 and 5.15.2.3). */
#include <endian.h>
#include <string.h>

#include "nvme/subsystem_private.h"
#include "util/bytes.h"
#include "util/util.h"

#define RESERVATION_TYPES                                                                          \
	(NVME_NS_RESCAP_WE | NVME_NS_RESCAP_EA | NVME_NS_RESCAP_WERO | NVME_NS_RESCAP_EARO |       \
	 NVME_NS_RESCAP_WEAR | NVME_NS_RESCAP_EAAR | NVME_NS_RESCAP_IEK_13)

/* ---- what all have ---- */

static void formats(struct nvme_id_ns *id)
{
	id->nlbaf = 1; /* two; 0-based */
	id->lbaf[0].ds = 9;
	id->lbaf[0].rp = NVME_LBAF_RP_GOOD;
	id->lbaf[1].ds = 12;
	id->lbaf[1].rp = NVME_LBAF_RP_BEST;
	id->fpi = NVME_NS_FPI_SUPPORTED;
}

static void copying(struct nvme_id_ns *id)
{
	id->mssrl = htole16(NVME_COPY_MSSRL);
	id->mcl = htole32(NVME_COPY_MCL);
	id->msrc = NVME_COPY_MSRC;
}

void nvme_ns_identify_common(const struct nvme_subsystem *ss, struct nvme_id_ns *id)
{
	/* not thin: the pool keeps ready what it has promised */
	formats(id);
	copying(id);
	id->nmic = NVME_NS_NMIC_SHARED;
	id->rescap = RESERVATION_TYPES;
}

/* ---- one ---- */

/* Blocks that are really taken. Thin provisioning as far as the standard has it: deallocating shows
 * here. */
static uint64_t used_blocks(const struct nvme_ns *ns, uint64_t blocks)
{
	uint64_t taken = block_allocated(ns->backend);
	uint64_t mask = (1ull << ns->block_shift) - 1;

	if (!ns->discard)
		return blocks;
	return MIN(blocks, (taken >> ns->block_shift) + !!(taken & mask));
}

/* Bytes as 0-based blocks; what is smaller than a block is one. */
static uint16_t unit(const struct nvme_ns *ns, uint32_t bytes)
{
	uint32_t blocks = bytes >> ns->block_shift;

	return htole16((uint16_t)(MIN(MAX(blocks, 1u), 0x10000u) - 1));
}

static void units(const struct nvme_ns *ns, const struct block_limits *lim, struct nvme_id_ns *id)
{
	id->npwg = id->npwa = id->nows = unit(ns, lim->granularity);
	id->npdg = id->npda = unit(ns, lim->discard_granularity);
	id->nsfeat |= NVME_NS_FEAT_IO_OPT;
}

static void deallocation(const struct nvme_ns *ns, const struct block_limits *lim,
			 struct nvme_id_ns *id)
{
	if (!ns->discard)
		return;
	id->nsfeat |= NVME_NS_FEAT_THIN;
	id->dlfeat = NVME_NS_DLFEAT_WRITE_ZEROES;
	if (lim->discard_zeroes)
		id->dlfeat |= NVME_NS_DLFEAT_RB_ALL_0S;
}

static bool is_shared(const struct nvme_ns *ns)
{
	return ns->admin->shown_shared || ns->n_attached > 1;
}

static uint8_t percent_left(const struct nvme_ns *ns)
{
	if (ns->admin->busy != NVME_NS_FORMATTING)
		return 0;
	return ns->admin->erase ? (uint8_t)nvme_erase_percent_left(ns->admin->erase) : 100;
}

void nvme_ns_identify(const struct nvme_ns *ns, struct nvme_id_ns *id)
{
	uint64_t blocks = atomic_load(&ns->blocks);
	struct block_limits lim;

	block_get_limits(ns->backend, &lim);
	formats(id);
	copying(id);
	id->nsze = id->ncap = htole64(blocks);
	id->nuse = htole64(used_blocks(ns, blocks));
	id->flbas = ns->block_shift == 12;
	id->fpi |= percent_left(ns);
	id->nmic = is_shared(ns) ? NVME_NS_NMIC_SHARED : 0;
	id->rescap = RESERVATION_TYPES | (nvme_resv_persists(ns) ? NVME_NS_RESCAP_PTPL : 0);
	id->nsattr = ns->read_only ? NVME_NS_NSATTR_WRITE_PROTECTED : 0;
	units(ns, &lim, id);
	deallocation(ns, &lim, id);
	put_le64(id->nvmcap, blocks << ns->block_shift);
	memcpy(id->nguid, ns->nguid, sizeof(id->nguid));
}

static uint8_t *descriptor(uint8_t *at, uint8_t type, const uint8_t id[16])
{
	struct nvme_ns_id_desc *d = (void *)at;

	d->nidt = type;
	d->nidl = 16;
	memcpy(d->nid, id, 16);
	return at + sizeof(*d) + 16;
}

void nvme_ns_descriptors(const struct nvme_ns *ns, uint8_t out[4096])
{
	out = descriptor(out, NVME_NIDT_NGUID, ns->nguid);
	descriptor(out, NVME_NIDT_UUID, ns->uuid);
}
