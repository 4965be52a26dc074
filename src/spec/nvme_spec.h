/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What NVM Express Base 1.4 defines and libnvme's <nvme/types.h> does not: queue entries, data
 * pointers, doorbells. All fields are little-endian.
 */
#ifndef SOFTIOV_SPEC_NVME_SPEC_H
#define SOFTIOV_SPEC_NVME_SPEC_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include <nvme/types.h>

#define NVME_SPEC_VERSION 0x00010400u /* VS: 1.4.0 (3.1.2) */
#define NVME_DOORBELLS	  0x1000u     /* first doorbell in BAR0 (3.1.24) */

/* SGL descriptor (4.4); the identifier's high nibble is the type, the low one the subtype. */
struct nvme_sgl_desc {
	uint64_t addr;
	uint32_t length;
	uint8_t reserved[3];
	uint8_t id;
};

#define NVME_SGL_DATA_BLOCK   0x0
#define NVME_SGL_BIT_BUCKET   0x1
#define NVME_SGL_SEGMENT      0x2
#define NVME_SGL_LAST_SEGMENT 0x3
#define NVME_SGL_TYPE(id)     ((id) >> 4)
#define NVME_SGL_SUBTYPE(id)  ((id)&0xf)

/* Submission queue entry (4.2) */
struct nvme_sqe {
	uint8_t opcode;
	uint8_t flags; /* FUSE 1:0, PSDT 7:6 */
	uint16_t cid;
	uint32_t nsid;
	uint32_t cdw2, cdw3;
	uint64_t mptr;
	union {
		struct {
			uint64_t prp1, prp2;
		};
		struct nvme_sgl_desc sgl1;
	};
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};

#define NVME_SQE_FUSE(flags) ((flags)&3)
#define NVME_FUSE_NORMAL     0
#define NVME_FUSE_FIRST	     1
#define NVME_FUSE_SECOND     2
#define NVME_SQE_PSDT(flags) ((flags) >> 6)
#define NVME_PSDT_PRP	     0
#define NVME_PSDT_SGL	     1 /* metadata, if any, contiguous */
#define NVME_PSDT_SGL_MPTR   2 /* metadata by an SGL segment */

/* Completion queue entry (4.6); status has the phase tag in bit 0. */
struct nvme_cqe {
	uint32_t dw0, dw1;
	uint16_t sq_head;
	uint16_t sq_id;
	uint16_t cid;
	uint16_t status;
};

#define NVME_SQE_SHIFT 6
#define NVME_CQE_SHIFT 4

/* I/O command dwords (6.x) */
#define NVME_RW_FUA	     (1u << 30) /* cdw12 */
#define NVME_RW_LR	     (1u << 31)
#define NVME_RW_PRINFO	     (0xfu << 26)
#define NVME_WZ_DEAC	     (1u << 25)
#define NVME_DSM_AD	     (1u << 2) /* cdw11: attribute deallocate */
#define NVME_DSM_RANGES_MAX  256
#define NVME_COPY_RANGES_MAX 128

static_assert(sizeof(struct nvme_sgl_desc) == 16, "4.4");
static_assert(sizeof(struct nvme_sqe) == 64, "4.2");
static_assert(offsetof(struct nvme_sqe, prp1) == 24, "4.2");
static_assert(offsetof(struct nvme_sqe, cdw10) == 40, "4.2");
static_assert(sizeof(struct nvme_cqe) == 16, "4.6");
static_assert(offsetof(struct nvme_cqe, status) == 14, "4.6");
static_assert(sizeof(struct nvme_id_ctrl) == 4096, "5.15.2.2");
static_assert(sizeof(struct nvme_id_ns) == 4096, "5.15.2.1");
static_assert(sizeof(struct nvme_primary_ctrl_cap) == 4096, "5.15.2.12");
static_assert(sizeof(struct nvme_secondary_ctrl) == 32, "5.15.2.13");

#endif
