/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The register file in BAR0 (Base 3.1), below the doorbells.
 */
#include <string.h>

#include "nvme/state_private.h"
#include "util/bytes.h"
#include "util/util.h"

#define REGS_LEN 0x40 /* of what is implemented; the rest reads 0 */

#define CC_WRITABLE  0x00fffff1u /* EN, CSS, MPS, AMS, SHN, IOSQES, IOCQES (3.1.5) */
#define CC_FROZEN    0x00003ff0u /* CSS, MPS, AMS: while enabled */
#define AQA_WRITABLE 0x0fff0fffu
#define QUEUE_BASE   (~0xfffull) /* ASQB, ACQB: bits 63:12 */

#define DOORBELLS_LEN ((NVME_QUEUE_PAIRS_MAX + 1) * 8)

uint64_t nvme_ctrl_cap(const struct nvme_ctrl *ctrl)
{
	return (uint64_t)(ctrl->cfg.queue_size - 1) << NVME_CAP_MQES_SHIFT |
	       1ull << NVME_CAP_CQR_SHIFT | (uint64_t)NVME_CAP_TIMEOUT << NVME_CAP_TO_SHIFT |
	       (uint64_t)NVME_CAP_CSS_NVM << NVME_CAP_CSS_SHIFT |
	       (uint64_t)NVME_MPS_MAX << NVME_CAP_MPSMAX_SHIFT;
}

/* A secondary that is offline shows nothing but that it cannot be used (8.5.3). */
static void fill(const struct nvme_ctrl *ctrl, uint8_t regs[REGS_LEN])
{
	memset(regs, 0, REGS_LEN);
	if (!nvme_virt_online(ctrl)) {
		put_le32(regs + NVME_REG_CSTS, NVME_CSTS_CFS_MASK << NVME_CSTS_CFS_SHIFT);
		return;
	}
	put_le64(regs + NVME_REG_CAP, nvme_ctrl_cap(ctrl));
	put_le32(regs + NVME_REG_VS, NVME_SPEC_VERSION);
	put_le32(regs + NVME_REG_INTMS, ctrl->state->interrupt_mask);
	put_le32(regs + NVME_REG_INTMC, ctrl->state->interrupt_mask);
	put_le32(regs + NVME_REG_CC, ctrl->cc);
	put_le32(regs + NVME_REG_CSTS, nvme_ctrl_csts(ctrl));
	put_le32(regs + NVME_REG_AQA, ctrl->aqa);
	put_le64(regs + NVME_REG_ASQ, ctrl->asq);
	put_le64(regs + NVME_REG_ACQ, ctrl->acq);
}

void nvme_regs_read(struct nvme_ctrl *ctrl, uint64_t off, void *buf, uint32_t len)
{
	uint8_t regs[REGS_LEN];

	memset(buf, 0, len);
	if (off >= REGS_LEN)
		return;
	fill(ctrl, regs);
	memcpy(buf, regs + off, MIN((uint64_t)len, REGS_LEN - off));
}

static void set_half(uint64_t *reg, bool high, uint32_t value)
{
	*reg = high ? (*reg & UINT32_MAX) | (uint64_t)value << 32
		    : (*reg & ~(uint64_t)UINT32_MAX) | value;
	*reg &= QUEUE_BASE;
}

static void write_cc(struct nvme_ctrl *ctrl, uint32_t value)
{
	uint32_t keep = NVME_CC_EN(ctrl->cc) && NVME_CC_EN(value) ? CC_FROZEN : 0;

	value &= CC_WRITABLE;
	nvme_ctrl_write_cc(ctrl, (value & ~keep) | (ctrl->cc & keep));
}

/* The admin queues' registers say where the queues are: frozen while they are in use (3.1.8). */
static void write_admin(struct nvme_ctrl *ctrl, uint32_t reg, uint32_t value)
{
	if (NVME_CC_EN(ctrl->cc))
		return;
	switch (reg) {
	case NVME_REG_AQA:
		ctrl->aqa = value & AQA_WRITABLE;
		break;
	case NVME_REG_ASQ:
	case NVME_REG_ASQ + 4:
		set_half(&ctrl->asq, reg != NVME_REG_ASQ, value);
		break;
	case NVME_REG_ACQ:
	case NVME_REG_ACQ + 4:
		set_half(&ctrl->acq, reg != NVME_REG_ACQ, value);
		break;
	}
}

static void write_dword(struct nvme_ctrl *ctrl, uint64_t off, uint32_t value)
{
	if (off >= NVME_DOORBELLS) {
		if (off - NVME_DOORBELLS < DOORBELLS_LEN && nvme_ctrl_running(ctrl))
			nvme_queues_doorbell(ctrl->queues, (uint32_t)(off - NVME_DOORBELLS), value);
		return;
	}
	switch (off) {
	case NVME_REG_INTMS:
		ctrl->state->interrupt_mask |= value;
		break;
	case NVME_REG_INTMC:
		ctrl->state->interrupt_mask &= ~value;
		break;
	case NVME_REG_CC:
		write_cc(ctrl, value);
		break;
	case NVME_REG_AQA ... NVME_REG_ACQ + 4:
		write_admin(ctrl, (uint32_t)off, value);
		break;
	}
}

/* Registers are written in aligned dwords, one or two at a time (3.1); what else comes has no
 * meaning and changes nothing. */
void nvme_regs_write(struct nvme_ctrl *ctrl, uint64_t off, const void *buf, uint32_t len)
{
	const uint8_t *p = buf;

	if (off % 4 || len % 4)
		return;
	for (; len; len -= 4, off += 4, p += 4) {
		if (!nvme_virt_online(ctrl))
			return;
		write_dword(ctrl, off, get_le32(p));
	}
}
