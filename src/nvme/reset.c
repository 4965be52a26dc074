/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Enabling, resets of each kind (Base 7.3), shutdown (7.6.2), fatal errors (9.5).
 */
#include <string.h>

#include "nvme/admin_private.h"
#include "nvme/state_private.h"
#include "nvme/virt_private.h"
#include "util/clock.h"
#include "util/util.h"

#define CSTS_RDY      (NVME_CSTS_RDY_MASK << NVME_CSTS_RDY_SHIFT)
#define CSTS_CFS      (NVME_CSTS_CFS_MASK << NVME_CSTS_CFS_SHIFT)
#define CSTS_SHST     (NVME_CSTS_SHST_MASK << NVME_CSTS_SHST_SHIFT)
#define PAGE_SHIFT_4K 12

bool nvme_ctrl_running(const struct nvme_ctrl *ctrl)
{
	return ctrl->state->queues == NVME_QUEUES_ON &&
	       !atomic_load_explicit(&ctrl->failed, memory_order_relaxed);
}

uint32_t nvme_ctrl_csts(const struct nvme_ctrl *ctrl)
{
	return ctrl->csts | (atomic_load(&ctrl->failed) ? CSTS_CFS : 0);
}

static void set_shst(struct nvme_ctrl *ctrl, uint32_t shst)
{
	ctrl->csts = (ctrl->csts & ~CSTS_SHST) | shst << NVME_CSTS_SHST_SHIFT;
}

static void drained(struct nvme_ctrl *ctrl);

static void stop_queues(struct nvme_ctrl *ctrl)
{
	struct nvme_ctrl_state *st = ctrl->state;

	if (st->queues != NVME_QUEUES_ON)
		return;
	/* Before the call: what it cancels must find the controller not running. */
	st->queues = NVME_QUEUES_DRAINING;
	if (nvme_queues_disable(ctrl->queues, drained))
		st->queues = NVME_QUEUES_OFF;
	/* A flush that was under way is dropped like everything else, and gives no answer. */
	st->flushing = false;
}

/* ---- fatal errors ---- */

/* The queues of a failed controller stop; what it had at hand is lost. */
static void fail_run(struct mailbox_work *work)
{
	stop_queues(container_of(work, struct nvme_ctrl_state, fail_work)->ctrl);
}

void nvme_ctrl_fail(struct nvme_ctrl *ctrl, const char *why)
{
	if (atomic_exchange(&ctrl->failed, true))
		return;
	log_guest(&ctrl->log, "%s: fatal status: %s", ctrl->name, why);
	mailbox_post(&ctrl->state->fail_work);
}

/* ---- enabling ---- */

static const char *enable_refused(const struct nvme_ctrl *ctrl)
{
	uint64_t page_mask = (1ull << (PAGE_SHIFT_4K + NVME_CC_MPS(ctrl->cc))) - 1;

	if (NVME_CC_MPS(ctrl->cc) > NVME_MPS_MAX)
		return "enabled with a page size beyond CAP.MPSMAX";
	if (NVME_CC_CSS(ctrl->cc) != NVME_CC_CSS_NVM)
		return "enabled with a command set that CAP.CSS does not offer";
	if (NVME_CC_AMS(ctrl->cc) != NVME_CC_AMS_RR)
		return "enabled with an arbitration that CAP.AMS does not offer";
	if (!NVME_AQA_ASQS(ctrl->aqa) || !NVME_AQA_ACQS(ctrl->aqa))
		return "enabled with an admin queue of less than two entries";
	if ((ctrl->asq | ctrl->acq) & page_mask)
		return "enabled with an admin queue off a page boundary";
	return NULL;
}

static void enable(struct nvme_ctrl *ctrl)
{
	const struct nvme_enable en = {
		.page_shift = (uint8_t)(PAGE_SHIFT_4K + NVME_CC_MPS(ctrl->cc)),
		.asq = ctrl->asq,
		.acq = ctrl->acq,
		.asq_size = (uint16_t)(NVME_AQA_ASQS(ctrl->aqa) + 1),
		.acq_size = (uint16_t)(NVME_AQA_ACQS(ctrl->aqa) + 1),
	};
	const char *why = enable_refused(ctrl);

	ctrl->state->used = true;
	if (why) {
		nvme_ctrl_fail(ctrl, why);
		return;
	}
	/* Before the call: the first command may be run within it. */
	ctrl->state->queues = NVME_QUEUES_ON;
	if (nvme_queues_enable(ctrl->queues, &en) < 0) {
		ctrl->state->queues = NVME_QUEUES_OFF;
		nvme_ctrl_fail(ctrl, "enabled with an admin queue outside of memory");
		return;
	}
	ctrl->csts |= CSTS_RDY;
}

/* ---- resets ---- */

/* The old life is over. */
static void reset_done(struct nvme_ctrl *ctrl)
{
	ctrl->state->resetting = false;
	mailbox_cancel(&ctrl->state->fail_work);
	atomic_store(&ctrl->failed, false);
	ctrl->csts &= ~CSTS_RDY;
	nvme_admin_drop_pending(ctrl);
	if (NVME_CC_EN(ctrl->cc))
		enable(ctrl);
}

static void drained(struct nvme_ctrl *ctrl)
{
	ctrl->state->queues = NVME_QUEUES_OFF;
	if (ctrl->state->resetting)
		reset_done(ctrl);
}

/*
 * What every Controller Level Reset does (7.3.2): queues go, features are as at power-on. All
 * registers but AQA, ASQ and ACQ are reset; RDY when nothing is under way any more.
 */
static void begin_reset(struct nvme_ctrl *ctrl)
{
	ctrl->state->resetting = true;
	ctrl->cc = 0;
	set_shst(ctrl, NVME_CSTS_SHST_NORMAL);
	stop_queues(ctrl);
	nvme_admin_reset(ctrl);
}

static void finish_if_drained(struct nvme_ctrl *ctrl)
{
	if (ctrl->state->queues == NVME_QUEUES_OFF)
		reset_done(ctrl);
}

void nvme_ctrl_reset_secondary(struct nvme_ctrl *ctrl)
{
	begin_reset(ctrl);
	ctrl->aqa = 0;
	ctrl->asq = ctrl->acq = 0;
	ctrl->state->interrupt_mask = 0;
	finish_if_drained(ctrl);
}

/* A VM that goes without having said so has done what pulling a drive's plug does. */
static void count_power_off(struct nvme_ctrl *ctrl)
{
	struct nvme_ctrl_state *st = ctrl->state;

	if (NVME_CC_EN(ctrl->cc) && NVME_CSTS_SHST(ctrl->csts) != NVME_CSTS_SHST_CMPLT)
		st->unsafe_shutdowns++;
	if (st->used)
		st->power_cycles++;
	st->used = false;
}

void nvme_ctrl_reset_function(struct nvme_ctrl *ctrl, enum pci_reset kind)
{
	struct nvme_ctrl_state *st = ctrl->state;

	if (kind == PCI_RESET_DETACH)
		count_power_off(ctrl);
	if (!ctrl->primary)
		nvme_virt_primary_reset(ctrl, true);
	begin_reset(ctrl);
	if (st->queues == NVME_QUEUES_DRAINING) {
		if (!nvme_queues_drain(ctrl->queues, NVME_RESET_DRAIN_MS))
			log_guest(&ctrl->log,
				  "%s: storage answers late; reset without waiting for it",
				  ctrl->name);
		st->queues = NVME_QUEUES_OFF;
	}
	ctrl->aqa = 0;
	ctrl->asq = ctrl->acq = 0;
	st->interrupt_mask = 0;
	reset_done(ctrl);
	nvme_queues_clear_doorbells(ctrl->queues);
	if (kind == PCI_RESET_DETACH) {
		nvme_queues_unmap_doorbells(ctrl->queues);
		nvme_logs_forget(ctrl);
	}
	/* MSI-X is disabled when the reset is over, not yet here. */
	if (pci_function_num_vectors(ctrl->fn) != st->vectors)
		mailbox_post(&st->vectors_work);
}

static void controller_reset(struct nvme_ctrl *ctrl)
{
	if (!ctrl->primary)
		nvme_virt_primary_reset(ctrl, false);
	begin_reset(ctrl);
	finish_if_drained(ctrl);
}

/* ---- shutdown ---- */

static void flushed(struct nvme_ctrl *ctrl, int result)
{
	struct nvme_ctrl_state *st = ctrl->state;

	if (!st->flushing) /* reset meanwhile */
		return;
	st->flushing = false;
	if (result < 0)
		log_guest(&ctrl->log, "%s: shut down, but its storage could not be flushed: %s",
			  ctrl->name, strerror(-result));
	set_shst(ctrl, NVME_CSTS_SHST_CMPLT);
}

static void shutdown_begin(struct nvme_ctrl *ctrl)
{
	set_shst(ctrl, NVME_CSTS_SHST_OCCUR);
	ctrl->state->flushing = true;
	nvme_queues_flush(ctrl->queues, flushed);
}

void nvme_ctrl_write_cc(struct nvme_ctrl *ctrl, uint32_t value)
{
	uint32_t old = ctrl->cc;

	if (NVME_CC_EN(old) && !NVME_CC_EN(value)) {
		controller_reset(ctrl);
		/* The reset cleared CC; what was written with EN stands, as drivers read it back.
		 */
		ctrl->cc = value;
	} else if (!NVME_CC_EN(old) && NVME_CC_EN(value)) {
		ctrl->cc = value;
		/* A shutdown of the disabled controller is over: this life has one of its own. */
		ctrl->state->flushing = false;
		set_shst(ctrl, NVME_CSTS_SHST_NORMAL);
		/* The host should have waited for RDY to fall; then it comes up by itself. */
		if (!ctrl->state->resetting)
			enable(ctrl);
	}
	ctrl->cc = value;
	/* Normal and abrupt shutdown both leave the data safe; abrupt only promises less. */
	if (NVME_CC_SHN(value) != NVME_CC_SHN_NONE && NVME_CC_SHN(old) != NVME_CC_SHN(value) &&
	    NVME_CSTS_SHST(ctrl->csts) == NVME_CSTS_SHST_NORMAL)
		shutdown_begin(ctrl);
}

/* ---- vectors ---- */

static void vectors_run(struct mailbox_work *work)
{
	struct nvme_ctrl_state *st = container_of(work, struct nvme_ctrl_state, vectors_work);

	/* Refused while the guest uses MSI-X; the next reset tries again. */
	pci_function_set_vectors(st->ctrl->fn, st->vectors);
}

void nvme_ctrl_set_vectors(struct nvme_ctrl *ctrl, uint16_t n)
{
	ctrl->state->vectors = n;
	vectors_run(&ctrl->state->vectors_work);
}

void nvme_state_init(struct nvme_ctrl *ctrl)
{
	struct nvme_ctrl_state *st = ctrl->state;

	st->ctrl = ctrl;
	st->created_ns = clock_now_ns();
	st->fail_work.run = fail_run;
	st->vectors_work.run = vectors_run;
	st->vectors = (uint16_t)pci_function_num_vectors(ctrl->fn);
}

void nvme_state_fini(struct nvme_ctrl *ctrl)
{
	struct nvme_ctrl_state *st = ctrl->state;

	ctrl->cc = 0;
	stop_queues(ctrl);
	if (st->queues == NVME_QUEUES_DRAINING)
		nvme_queues_drain(ctrl->queues, NVME_RESET_DRAIN_MS);
	st->queues = NVME_QUEUES_OFF;
	nvme_admin_drop_pending(ctrl);
	mailbox_cancel(&st->fail_work);
	mailbox_cancel(&st->vectors_work);
}
