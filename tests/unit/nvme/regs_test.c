/* SPDX-License-Identifier: BSD-3-Clause */
/* Registers, enabling, resets, shutdown, fatal status: what a driver sees at each moment. */
#include "ctrl_model.h"

#include <errno.h>

static struct nvme_ctrl *pf;

static int setup(void **state)
{
	model_reset();
	pf = model_pf(NULL);
	return 0;
}

static int teardown(void **state)
{
	nvme_ctrl_destroy(pf);
	mailbox_run();
	return 0;
}

static void identity(void **state)
{
	uint8_t *cfg = pci_config_raw(pf->fn);
	uint64_t cap = rd64(pf, NVME_REG_CAP);

	assert_int_equal(get_le32(cfg), 0x5f101b36);
	assert_int_equal(get_le32(cfg + 8) >> 8, 0x010802);
	assert_int_equal(pci_function_num_vectors(pf->fn), 5);
	assert_int_equal(NVME_CAP_MQES(cap), 1023);
	assert_int_equal(NVME_CAP_CQR(cap), 1);
	assert_int_equal(NVME_CAP_AMS(cap), 0);
	assert_int_equal(NVME_CAP_TO(cap), 40);
	assert_int_equal(NVME_CAP_DSTRD(cap), 0);
	assert_int_equal(NVME_CAP_NSSRC(cap), 0);
	assert_int_equal(NVME_CAP_CSS(cap), 1);
	assert_int_equal(NVME_CAP_MPSMIN(cap), 0);
	assert_int_equal(NVME_CAP_MPSMAX(cap), 4);
	assert_int_equal(cap >> 56, 0); /* no PMR, no CMB */
	assert_int_equal(rd32(pf, NVME_REG_VS), 0x00010400);
	assert_int_equal(rd32(pf, NVME_REG_CC), 0);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), 0);
}

static void widths(void **state)
{
	uint8_t b[64] = {0};

	/* 64 bits at once, or either half */
	wr64(pf, NVME_REG_ASQ, 0x123456789abcdfff);
	assert_true(rd64(pf, NVME_REG_ASQ) == 0x123456789abcd000);
	wr32(pf, NVME_REG_ASQ + 4, 0xdead);
	assert_true(rd64(pf, NVME_REG_ASQ) == 0x0000dead9abcd000);
	wr32(pf, NVME_REG_ASQ, 0x7fff);
	assert_true(rd64(pf, NVME_REG_ASQ) == 0x0000dead00007000);
	assert_int_equal(rd32(pf, NVME_REG_ASQ + 4), 0xdead);
	wr64(pf, NVME_REG_ACQ, 0xfffff000);
	assert_true(rd64(pf, NVME_REG_ACQ) == 0xfffff000);
	/* Anything in between, and past the last register */
	assert_int_equal(pci_bar_read(pf->fn, 0, 9, b, 3), 0);
	assert_int_equal(b[0], 4);
	assert_int_equal(b[1], 1);
	assert_int_equal(pci_bar_read(pf->fn, 0, 0x30, b, 64), 0);
	assert_int_equal(get_le32(b), 0xfffff000);
	assert_int_equal(b[63], 0);
	/* Reserved registers, and reserved bits */
	wr32(pf, 0x18, 0xffffffff);
	wr32(pf, NVME_REG_NSSR, 0x4e564d65);
	wr32(pf, 0x38, 0xffffffff);
	wr32(pf, 0xe00, 0xffffffff);
	wr32(pf, NVME_REG_CAP, 0);
	wr32(pf, NVME_REG_VS, 0);
	wr32(pf, NVME_REG_CSTS, 0xffffffff);
	assert_int_equal(rd32(pf, 0x18), 0);
	assert_int_equal(rd32(pf, NVME_REG_NSSR), 0);
	assert_int_equal(rd32(pf, 0x38), 0);
	assert_int_equal(rd32(pf, 0xe00), 0);
	assert_int_equal(rd32(pf, NVME_REG_VS), 0x00010400);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), 0);
	wr32(pf, NVME_REG_AQA, 0xffffffff);
	assert_int_equal(rd32(pf, NVME_REG_AQA), 0x0fff0fff);
	/* Partial writes mean nothing */
	b[0] = 0xff;
	pci_bar_write(pf->fn, 0, NVME_REG_AQA, b, 1);
	pci_bar_write(pf->fn, 0, NVME_REG_CC + 1, b, 4);
	assert_int_equal(rd32(pf, NVME_REG_CC), 0);
}

static void interrupt_mask(void **state)
{
	wr32(pf, NVME_REG_INTMS, 0x0f);
	wr32(pf, NVME_REG_INTMC, 0x03);
	assert_int_equal(rd32(pf, NVME_REG_INTMS), 0x0c);
	assert_int_equal(rd32(pf, NVME_REG_INTMC), 0x0c);
}

static void enabling(void **state)
{
	model_enable(pf);
	assert_int_equal(rd32(pf, NVME_REG_CC), CC_ON);
	assert_int_equal(mq.enable.page_shift, 12);
	assert_int_equal(mq.enable.asq, 0x10000);
	assert_int_equal(mq.enable.acq, 0x20000);
	assert_int_equal(mq.enable.asq_size, 32);
	assert_int_equal(mq.enable.acq_size, 32);
	/* Frozen now: where the queues are, and what the page size is */
	wr32(pf, NVME_REG_AQA, 0);
	wr64(pf, NVME_REG_ASQ, 0);
	wr64(pf, NVME_REG_ACQ, 0);
	wr32(pf, NVME_REG_CC, CC_ON | 2 << 7);
	assert_int_equal(rd32(pf, NVME_REG_AQA), 0x001f001f);
	assert_int_equal(rd64(pf, NVME_REG_ASQ), 0x10000);
	assert_int_equal(rd64(pf, NVME_REG_ACQ), 0x20000);
	assert_int_equal(rd32(pf, NVME_REG_CC), CC_ON);
	assert_int_equal(mq.enables, 1);
	/* and over a controller reset they stay */
	wr32(pf, NVME_REG_CC, CC_OFF);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), 0);
	assert_int_equal(rd64(pf, NVME_REG_ASQ), 0x10000);
	wr32(pf, NVME_REG_CC, CC_ON | 4 << 7);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), RDY);
	assert_int_equal(mq.enable.page_shift, 16);
}

static void refused_enabling(void **state)
{
	static const struct {
		uint32_t cc, aqa;
		uint64_t asq, acq;
		int result;
	} cases[] = {
		{CC_ON | 5 << 7, 0x001f001f, 0x10000, 0x20000, 0}, /* MPS > MPSMAX */
		{CC_ON | 1 << 4, 0x001f001f, 0x10000, 0x20000, 0}, /* CSS */
		{CC_ON | 6 << 4, 0x001f001f, 0x10000, 0x20000, 0},
		{CC_ON | 1 << 11, 0x001f001f, 0x10000, 0x20000, 0}, /* AMS WRR */
		{CC_ON | 7 << 11, 0x001f001f, 0x10000, 0x20000, 0}, /* AMS vendor */
		{CC_ON, 0x001f0000, 0x10000, 0x20000, 0},	    /* ASQS 0 */
		{CC_ON, 0x0000001f, 0x10000, 0x20000, 0},	    /* ACQS 0 */
		{CC_ON | 4 << 7, 0x001f001f, 0x11000, 0x20000, 0},  /* off a 64 KiB page */
		{CC_ON | 4 << 7, 0x001f001f, 0x10000, 0x21000, 0},
		{CC_ON, 0x001f001f, 0x10000, 0x20000, -EFAULT}, /* out of memory */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		mq.enable_result = cases[i].result;
		wr32(pf, NVME_REG_AQA, cases[i].aqa);
		wr64(pf, NVME_REG_ASQ, cases[i].asq);
		wr64(pf, NVME_REG_ACQ, cases[i].acq);
		wr32(pf, NVME_REG_CC, cases[i].cc);
		assert_int_equal(rd32(pf, NVME_REG_CSTS), CFS);
		wr32(pf, NVME_DOORBELLS, 1);
		assert_int_equal(mq.doorbells, 0);
		mailbox_run();
		/* A reset makes it as good as new */
		wr32(pf, NVME_REG_CC, CC_OFF);
		assert_int_equal(rd32(pf, NVME_REG_CSTS), 0);
	}
	assert_int_equal(mq.enables, 1);
	assert_int_equal(mq.disables, 0);
	mq.enable_result = 0;
	model_enable(pf);
}

/* Linux and firmware clear EN first, whatever it was. */
static void disabling_what_is_off(void **state)
{
	wr32(pf, NVME_REG_CC, 0);
	assert_int_equal(mq.disables, 0);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), 0);
}

static void ready_falls_when_drained(void **state)
{
	model_enable(pf);
	mq.hold_drain = true;
	wr32(pf, NVME_REG_CC, CC_OFF);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), RDY);
	assert_int_equal(rd32(pf, NVME_REG_CC), CC_OFF);
	wr32(pf, NVME_DOORBELLS, 1);
	assert_int_equal(mq.doorbells, 0);
	model_drained(pf);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), 0);
	assert_int_equal(mq.disables, 1);
}

/* A driver that does not wait for RDY to fall: no second life before the first has ended. */
static void enabling_before_drained(void **state)
{
	model_enable(pf);
	mq.hold_drain = true;
	wr32(pf, NVME_REG_CC, CC_OFF);
	wr32(pf, NVME_REG_CC, CC_ON);
	assert_int_equal(mq.enables, 1);
	wr32(pf, NVME_REG_CC, CC_OFF);
	wr32(pf, NVME_REG_CC, CC_ON);
	assert_int_equal(mq.disables, 1);
	model_drained(pf);
	assert_int_equal(mq.enables, 2);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), RDY);
}

static void function_level_reset(void **state)
{
	model_enable(pf);
	mq.hold_drain = true;
	pci_function_reset(pf->fn, PCI_RESET_FLR);
	assert_int_equal(mq.drains, 1);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), 0);
	assert_int_equal(rd32(pf, NVME_REG_CC), 0);
	assert_int_equal(rd32(pf, NVME_REG_AQA), 0);
	assert_int_equal(rd64(pf, NVME_REG_ASQ), 0);
	assert_int_equal(rd64(pf, NVME_REG_ACQ), 0);
	/* twice, and in the middle of a controller reset; and with storage that hangs */
	pci_function_reset(pf->fn, PCI_RESET_FLR);
	assert_int_equal(mq.disables, 1);
	mq.hang = true;
	model_enable(pf);
	wr32(pf, NVME_REG_CC, CC_OFF);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), RDY);
	pci_function_reset(pf->fn, PCI_RESET_BUS);
	assert_int_equal(mq.drains, 2);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), 0);
	model_enable(pf);
}

static void fatal_status(void **state)
{
	model_enable(pf);
	nvme_ctrl_fail(pf, "test");
	assert_int_equal(rd32(pf, NVME_REG_CSTS), RDY | CFS);
	wr32(pf, NVME_DOORBELLS, 1);
	assert_int_equal(mq.doorbells, 0);
	mq.hold_drain = true;
	mailbox_run();
	assert_int_equal(mq.disables, 1);
	/* reset while the failed life drains */
	wr32(pf, NVME_REG_CC, CC_OFF);
	assert_int_equal(mq.disables, 1);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), RDY | CFS);
	model_drained(pf);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), 0);
	model_enable(pf);
	/* what was posted in the old life does not end the new one */
	nvme_ctrl_fail(pf, "test");
	mq.hold_drain = false;
	wr32(pf, NVME_REG_CC, CC_OFF);
	model_enable(pf);
	mailbox_run();
	assert_int_equal(rd32(pf, NVME_REG_CSTS), RDY);
	assert_true(nvme_ctrl_running(pf));
}

static void doorbells(void **state)
{
	wr32(pf, NVME_DOORBELLS + 8, 3);
	assert_int_equal(mq.doorbells, 0); /* not enabled */
	model_enable(pf);
	wr32(pf, NVME_DOORBELLS + 12, 5);
	assert_int_equal(mq.doorbells, 1);
	assert_int_equal(mq.doorbell_off, 12);
	assert_int_equal(mq.doorbell_value, 5);
	wr32(pf, NVME_DOORBELLS + 128 * 8 + 4, 1); /* the last there can be */
	assert_int_equal(mq.doorbells, 2);
	wr32(pf, NVME_DOORBELLS + 129 * 8, 1);
	wr32(pf, NVME_DOORBELLS + 0xffc, 1);
	assert_int_equal(mq.doorbells, 2);
	assert_int_equal(rd32(pf, NVME_DOORBELLS), 0);
}

static void shutdown(void **state)
{
	for (unsigned shn = 1; shn <= 2; shn++) { /* normal, abrupt */
		memset(&mq, 0, sizeof(mq));
		model_enable(pf);
		mq.hold_flush = true;
		wr32(pf, NVME_REG_CC, CC_ON | shn << 14);
		assert_int_equal(rd32(pf, NVME_REG_CSTS), RDY | SHST_BUSY);
		assert_int_equal(mq.flushes, 1);
		wr32(pf, NVME_REG_CC, CC_ON | shn << 14); /* again: nothing new */
		wr32(pf, NVME_REG_CC, CC_ON);
		assert_int_equal(rd32(pf, NVME_REG_CSTS), RDY | SHST_BUSY);
		mq.flushed(pf, -EIO);
		assert_int_equal(rd32(pf, NVME_REG_CSTS), RDY | SHST_DONE);
		assert_int_equal(mq.flushes, 1);
		wr32(pf, NVME_REG_CC, CC_OFF);
		assert_int_equal(rd32(pf, NVME_REG_CSTS), 0);
	}
}

static void reset_during_shutdown(void **state)
{
	void (*late)(struct nvme_ctrl * ctrl, int result);

	model_enable(pf);
	mq.hold_flush = true;
	wr32(pf, NVME_REG_CC, CC_ON | 1 << 14);
	late = mq.flushed;
	wr32(pf, NVME_REG_CC, CC_OFF);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), 0);
	late(pf, 0); /* what comes after all is not reported */
	assert_int_equal(rd32(pf, NVME_REG_CSTS), 0);
	/* and what was written since is flushed anew */
	model_enable(pf);
	wr32(pf, NVME_REG_CC, CC_ON | 1 << 14);
	assert_int_equal(mq.flushes, 2);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), RDY | SHST_BUSY);
	mq.flushed(pf, 0);
	assert_int_equal(rd32(pf, NVME_REG_CSTS), RDY | SHST_DONE);
}

static void attach(void)
{
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT, .dma = (void *)&model_dma};

	assert_int_equal(pci_function_attach(pf->fn, &att), 0);
}

static void dma_gate(void **state)
{
	uint8_t cmd[2] = {4, 0}; /* Bus Master Enable */

	attach();
	pci_config_write(pf->fn, PCI_VIEW_VMM, 4, cmd, 2);
	assert_true(mq.dma);
	cmd[0] = 0;
	pci_config_write(pf->fn, PCI_VIEW_VMM, 4, cmd, 2);
	assert_false(mq.dma);
	pci_function_detach(pf->fn);
}

/* SMART: 12 power cycles at byte 112, unsafe shutdowns at 144. */
static void power_cycles(uint64_t cycles, uint64_t unsafe)
{
	attach();
	model_enable(pf);
	assert_int_equal(RUN(pf, .opcode = nvme_admin_get_log_page, .nsid = NVME_NSID_ALL,
			     .cdw10 = 127 << 16 | NVME_LOG_LID_SMART),
			 OK);
	assert_int_equal(get_le64(model_data + 112), cycles);
	assert_int_equal(get_le64(model_data + 144), unsafe);
}

static void power(void **state)
{
	power_cycles(1, 0);
	pci_function_detach(pf->fn); /* the VM is killed */
	power_cycles(2, 1);
	wr32(pf, NVME_REG_CC, CC_ON | 1 << 14); /* shuts down properly */
	pci_function_detach(pf->fn);
	attach(); /* looked at, not used */
	pci_function_detach(pf->fn);
	power_cycles(3, 1);
	pci_function_reset(pf->fn, PCI_RESET_FLR); /* no power was lost */
	pci_function_detach(pf->fn);
	power_cycles(4, 1);
	pci_function_detach(pf->fn);
}

static void status(void **state)
{
	struct nvme_ctrl_status st;

	model_ns(1);
	model_ns(3);
	model_attach(pf, 1);
	model_attach(pf, 3);
	nvme_ctrl_get_status(pf, &st);
	assert_true(st.primary && st.online && !st.enabled && !st.ready && !st.failed);
	assert_int_equal(st.queues_max, 4);
	assert_int_equal(st.queue_resources, 5);
	assert_int_equal(st.interrupt_resources, 5);
	assert_int_equal(st.namespaces, 2);
	assert_int_equal(st.commands, 7);
	model_enable(pf);
	wr32(pf, NVME_REG_CC, CC_ON | 1 << 14);
	nvme_ctrl_get_status(pf, &st);
	assert_true(st.enabled && st.ready && st.shutdown);
	assert_true(nvme_ctrl_memory(pf) > 1000);
}

static void bad_configurations(void **state)
{
	struct nvme_ctrl_config good = {.name = "x",
					.subsystem = model_ss,
					.cntlid = 9,
					.queue_size = 64,
					.queue_pairs = 1},
				cfg;
	struct nvme_ctrl *c = NULL;

	cfg = good, cfg.queue_size = 63;
	assert_int_equal(nvme_ctrl_create(&cfg, &c), -EINVAL);
	cfg = good, cfg.queue_size = 4097;
	assert_int_equal(nvme_ctrl_create(&cfg, &c), -EINVAL);
	cfg = good, cfg.queue_pairs = 129;
	assert_int_equal(nvme_ctrl_create(&cfg, &c), -EINVAL);
	cfg = good, cfg.queue_pairs = 0;
	assert_int_equal(nvme_ctrl_create(&cfg, &c), -EINVAL);
	cfg = good, cfg.cntlid = 0xffff;
	assert_int_equal(nvme_ctrl_create(&cfg, &c), -EINVAL);
	cfg = good, cfg.flexible_per_vf = 130;
	assert_int_equal(nvme_ctrl_create(&cfg, &c), -EINVAL);
	assert_int_equal(nvme_ctrl_create(&good, &c), 0);
	nvme_ctrl_destroy(c);
}

/*
 * Any order of what a driver, a failing worker, slow storage and a VMM can do. The recorders assert
 * that no life begins before the last one has ended; here, that the registers say what is so.
 */
static void any_order(void **state)
{
	static const uint32_t ccs[] = {CC_ON,		CC_OFF,		 0,
				       CC_ON | 1 << 14, CC_ON | 2 << 14, CC_OFF | 1 << 14,
				       CC_ON | 7 << 7,	CC_ON | 1 << 4,	 0xffffffff};
	uint32_t seed = 1;

	for (unsigned i = 0; i < 200000; i++) {
		uint32_t csts, r;

		seed = seed * 1664525 + 1013904223;
		r = seed >> 16;
		mq.hold_drain = r & 1;
		mq.hold_flush = r & 2;
		switch (r >> 2 & 15) {
		case 0 ... 5:
			wr32(pf, NVME_REG_AQA, 0x001f001f);
			wr32(pf, NVME_REG_CC, ccs[(r >> 6) % ARRAY_SIZE(ccs)]);
			break;
		case 6 ... 8:
			if (pf->state->queues == NVME_QUEUES_DRAINING)
				model_drained(pf);
			break;
		case 9 ... 10:
			if (pf->state->flushing && mq.flushed)
				mq.flushed(pf, 0);
			break;
		case 11:
			pci_function_reset(pf->fn, (enum pci_reset)(r >> 6) % 3);
			break;
		case 12:
			nvme_ctrl_fail(pf, "test");
			break;
		case 13:
			mailbox_run();
			break;
		default:
			wr32(pf, NVME_DOORBELLS, 1);
			break;
		}
		csts = rd32(pf, NVME_REG_CSTS);
		assert_int_equal(csts & ~0xfu, 0);
		assert_int_not_equal(csts & 0xc, 0xc);
		if (pf->state->queues == NVME_QUEUES_ON)
			assert_true(csts & RDY);
		if (pf->state->resetting)
			assert_int_equal(pf->state->queues, NVME_QUEUES_DRAINING);
		else if (NVME_CC_EN(pf->cc))
			assert_true(csts & (RDY | CFS));
		else
			assert_int_equal(csts & RDY, 0);
		/* done only if the flush was; busy for ever only if that was cut short by a failure
		 */
		if (pf->state->flushing)
			assert_int_equal(csts & 0xc, SHST_BUSY);
		else if ((csts & 0xc) == SHST_BUSY)
			assert_true(csts & CFS);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(identity),
		T(widths),
		T(interrupt_mask),
		T(enabling),
		T(refused_enabling),
		T(disabling_what_is_off),
		T(ready_falls_when_drained),
		T(enabling_before_drained),
		T(function_level_reset),
		T(fatal_status),
		T(doorbells),
		T(shutdown),
		T(reset_during_shutdown),
		T(dma_gate),
		T(power),
		T(status),
		T(bad_configurations),
		T(any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
