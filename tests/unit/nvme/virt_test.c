/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Primary and secondary controllers: the command's states and statuses as a table, then resets, VFs
 * that come and go, and what the configuration assigns.
 */
#include "ctrl_model.h"

#include <errno.h>

#define TOTAL	 4
#define FLEXIBLE 20
#define PER_VF	 9
#define PRIVATE	 5 /* 4 pairs and the admin queue */

static struct nvme_ctrl *pf, *vf[TOTAL];
static char why[128];

static int enable_vfs(void *opaque, uint16_t num)
{
	for (uint16_t i = 0; i < num; i++) {
		if (vf[i])
			continue;
		vf[i] = model_vf(pf, i);
		pci_pf_add_vf(pf->fn, vf[i]->fn);
	}
	return 0;
}

static void disable_vfs(void *opaque)
{
	for (unsigned i = 0; i < TOTAL; i++) {
		if (!vf[i])
			continue;
		pci_pf_remove_vf(pf->fn, vf[i]->fn);
		nvme_ctrl_destroy(vf[i]);
		vf[i] = NULL;
	}
}

static void create(bool managed)
{
	const struct nvme_ctrl_config cfg = {
		.queue_pairs = PRIVATE - 1,
		.total_vfs = TOTAL,
		.cntlid = 0,
		.first_vf_cntlid = 11,
		.flexible = FLEXIBLE,
		.flexible_per_vf = PER_VF,
		.managed = managed,
		.sriov_enable = enable_vfs,
		.sriov_disable = disable_vfs,
	};

	model_reset();
	pf = model_pf(&cfg);
	pci_pf_set_managed(pf->fn, managed);
}

static int setup(void **state)
{
	create(false);
	return 0;
}

static int setup_managed(void **state)
{
	create(true);
	return 0;
}

static int teardown(void **state)
{
	pci_pf_set_num_vfs(pf->fn, 0);
	nvme_ctrl_destroy(pf);
	mailbox_run();
	return 0;
}

enum { PRIMARY = 1, OFFLINE = 7, ASSIGN = 8, ONLINE = 9 };
enum { VQ, VI };

static uint16_t virt(unsigned action, unsigned rt, uint16_t cntlid, uint16_t n)
{
	return RUN(pf, .opcode = nvme_admin_virtual_mgmt,
		   .cdw10 = action | rt << 8 | (uint32_t)cntlid << 16, .cdw11 = n);
}

static const struct nvme_secondary_ctrl *entry(unsigned i)
{
	static struct nvme_secondary_ctrl_list list;

	assert_int_equal(RUN(pf, .opcode = nvme_admin_identify,
			     .cdw10 = NVME_IDENTIFY_CNS_SECONDARY_CTRL_LIST),
			 OK);
	memcpy(&list, model_data, sizeof(list));
	assert_int_equal(list.num, TOTAL);
	return &list.sc_entry[i];
}

static const struct nvme_primary_ctrl_cap *caps(void)
{
	static struct nvme_primary_ctrl_cap cap;

	assert_int_equal(
		RUN(pf, .opcode = nvme_admin_identify, .cdw10 = NVME_IDENTIFY_CNS_PRIMARY_CTRL_CAP),
		OK);
	memcpy(&cap, model_data, sizeof(cap));
	return &cap;
}

static void is(unsigned i, bool online, unsigned nvq, unsigned nvi)
{
	const struct nvme_secondary_ctrl *e = entry(i);

	assert_int_equal(e->scs, online);
	assert_int_equal(e->nvq, nvq);
	assert_int_equal(e->nvi, nvi);
}

static void lists(void **state)
{
	for (unsigned i = 0; i < TOTAL; i++) {
		assert_int_equal(entry(i)->scid, 11 + i);
		assert_int_equal(entry(i)->pcid, 0);
		assert_int_equal(entry(i)->vfn, i + 1); /* no VF is enabled */
		is(i, false, 0, 0);
	}
	RUN(pf, .opcode = nvme_admin_identify,
	    .cdw10 = NVME_IDENTIFY_CNS_SECONDARY_CTRL_LIST | 13 << 16);
	assert_int_equal(model_data[0], 2);
	assert_int_equal(get_le16(model_data + 32), 13);
	assert_int_equal(caps()->crt, 3);
	assert_int_equal(caps()->vqfrt, FLEXIBLE);
	assert_int_equal(caps()->vqprt, PRIVATE);
	assert_int_equal(caps()->vqfrsm, PER_VF);
	assert_int_equal(caps()->vqgran, 1);
	assert_int_equal(caps()->vifrt, FLEXIBLE);
	assert_int_equal(caps()->viprt, PRIVATE);
	assert_int_equal(caps()->vifrsm, PER_VF);
	assert_int_equal(caps()->vqrfa, 0);
	assert_int_equal(caps()->vqrfap, 0);
}

/* One after another; VFs 0 to 2 exist, VF 3 (CNTLID 14) does not. */
static void state_machine(void **state)
{
	static const struct {
		uint8_t action, rt;
		uint16_t cntlid, n, status;
		uint8_t online;
		uint16_t nvq, nvi; /* of VF 0 afterwards */
	} cases[] = {
		/* nobody's business */
		{0, VQ, 11, 1, GENERIC(NVME_SC_INVALID_FIELD), 0, 0, 0},
		{2, VQ, 11, 1, GENERIC(NVME_SC_INVALID_FIELD), 0, 0, 0},
		{15, VQ, 11, 1, GENERIC(NVME_SC_INVALID_FIELD), 0, 0, 0},
		{ASSIGN, 2, 11, 1, SPECIFIC(NVME_SC_INVALID_RESOURCE_ID), 0, 0, 0},
		{PRIMARY, 7, 0, 1, SPECIFIC(NVME_SC_INVALID_RESOURCE_ID), 0, 0, 0},
		{ASSIGN, VQ, 10, 1, SPECIFIC(NVME_SC_INVALID_CTRL_ID), 0, 0, 0},
		{ASSIGN, VQ, 15, 1, SPECIFIC(NVME_SC_INVALID_CTRL_ID), 0, 0, 0},
		{ONLINE, VQ, 0, 0, SPECIFIC(NVME_SC_INVALID_CTRL_ID), 0, 0, 0},
		{OFFLINE, VQ, 0xffff, 0, SPECIFIC(NVME_SC_INVALID_CTRL_ID), 0, 0, 0},
		{PRIMARY, VQ, 11, 1, SPECIFIC(NVME_SC_INVALID_CTRL_ID), 0, 0, 0},
		/* too little to go online */
		{ONLINE, VQ, 11, 0, SPECIFIC(NVME_SC_INVALID_SEC_CTRL_STATE), 0, 0, 0},
		{ASSIGN, VQ, 11, 1, OK, 0, 1, 0},
		{ASSIGN, VI, 11, 1, OK, 0, 1, 1},
		{ONLINE, VQ, 11, 0, SPECIFIC(NVME_SC_INVALID_SEC_CTRL_STATE), 0, 1, 1},
		{ASSIGN, VQ, 11, 2, OK, 0, 2, 1},
		{ASSIGN, VI, 11, 0, OK, 0, 2, 0},
		{ONLINE, VQ, 11, 0, SPECIFIC(NVME_SC_INVALID_SEC_CTRL_STATE), 0, 2, 0},
		/* too much */
		{ASSIGN, VQ, 11, PER_VF + 1, SPECIFIC(NVME_SC_INVALID_CTRL_RESOURCES), 0, 2, 0},
		{ASSIGN, VQ, 12, PER_VF, OK, 0, 2, 0},
		{ASSIGN, VQ, 13, PER_VF, OK, 0, 2, 0},
		{ASSIGN, VQ, 11, 3, SPECIFIC(NVME_SC_INVALID_RESOURCE_ID), 0, 2, 0},
		{PRIMARY, VQ, 0, 1, SPECIFIC(NVME_SC_INVALID_RESOURCE_ID), 0, 2, 0},
		{PRIMARY, VQ, 0, FLEXIBLE + 1, SPECIFIC(NVME_SC_INVALID_CTRL_RESOURCES), 0, 2, 0},
		{ASSIGN, VQ, 12, 0, OK, 0, 2, 0},
		{ASSIGN, VQ, 11, 3, OK, 0, 3, 0},
		/* what the primary is promised is taken */
		{PRIMARY, VQ, 0, 8, OK, 0, 3, 0},
		{ASSIGN, VQ, 12, 1, SPECIFIC(NVME_SC_INVALID_RESOURCE_ID), 0, 3, 0},
		{PRIMARY, VQ, 0, 0, OK, 0, 3, 0},
		{ASSIGN, VQ, 12, 1, OK, 0, 3, 0},
		/* online */
		{ASSIGN, VI, 11, 2, OK, 0, 3, 2},
		{ONLINE, 5, 11, 77, OK, 1, 3, 2},
		{ONLINE, VQ, 11, 0, OK, 1, 3, 2},
		{ASSIGN, VQ, 11, 2, SPECIFIC(NVME_SC_INVALID_SEC_CTRL_STATE), 1, 3, 2},
		{ASSIGN, VI, 11, 99, SPECIFIC(NVME_SC_INVALID_SEC_CTRL_STATE), 1, 3, 2},
		/* offline strips */
		{OFFLINE, VQ, 11, 0, OK, 0, 0, 0},
		{OFFLINE, VQ, 11, 0, OK, 0, 0, 0},
		/* a VF that is not there */
		{ASSIGN, VQ, 14, 2, OK, 0, 0, 0},
		{ASSIGN, VI, 14, 1, OK, 0, 0, 0},
		{ONLINE, VQ, 14, 0, SPECIFIC(NVME_SC_INVALID_SEC_CTRL_STATE), 0, 0, 0},
		{OFFLINE, VQ, 14, 0, OK, 0, 0, 0},
	};

	assert_int_equal(pci_pf_set_num_vfs(pf->fn, 3), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(virt(cases[i].action, cases[i].rt, cases[i].cntlid, cases[i].n),
				 cases[i].status);
		if (cases[i].status == OK &&
		    (cases[i].action == ASSIGN || cases[i].action == PRIMARY))
			assert_int_equal(model_dw0, cases[i].n);
		is(0, cases[i].online, cases[i].nvq, cases[i].nvi);
	}
	assert_int_equal(caps()->vqrfa, 1 + PER_VF);
	assert_int_equal(caps()->virfa, 0);
}

static void bring_up(unsigned i, uint16_t n)
{
	assert_int_equal(virt(ASSIGN, VQ, (uint16_t)(11 + i), n), OK);
	assert_int_equal(virt(ASSIGN, VI, (uint16_t)(11 + i), n), OK);
	assert_int_equal(virt(ONLINE, 0, (uint16_t)(11 + i), 0), OK);
}

static void offline_registers(struct nvme_ctrl *c)
{
	for (unsigned off = 0; off < 0x40; off += 4)
		assert_int_equal(rd32(c, off), off == NVME_REG_CSTS ? CFS : 0);
	wr32(c, NVME_REG_AQA, 0x001f001f);
	wr64(c, NVME_REG_ASQ, 0x1000);
	wr32(c, NVME_REG_CC, CC_ON);
	wr32(c, NVME_DOORBELLS, 1);
	assert_int_equal(rd32(c, NVME_REG_CSTS), CFS);
	assert_int_equal(rd32(c, NVME_REG_CC), 0);
}

static uint32_t queues_of(struct nvme_ctrl *c)
{
	RUN(c, .opcode = nvme_admin_get_features, .cdw10 = NVME_FEAT_FID_NUM_QUEUES);
	return model_dw0;
}

/* Five steps: enable VFs, offline, assign, reset, online. */
static void as_nvme_cli_does_it(void **state)
{
	struct nvme_ctrl_status st;

	assert_int_equal(pci_pf_set_num_vfs(pf->fn, 2), 0);
	offline_registers(vf[0]);
	assert_int_equal(pci_function_num_vectors(vf[0]->fn), 1);
	assert_int_equal(virt(OFFLINE, 0, 11, 0), OK);
	assert_int_equal(virt(ASSIGN, VQ, 11, 5), OK);
	assert_int_equal(virt(ASSIGN, VI, 11, 3), OK);
	assert_int_equal(pci_function_num_vectors(vf[0]->fn), 3);
	offline_registers(vf[0]);
	pci_function_reset(vf[0]->fn, PCI_RESET_FLR);
	offline_registers(vf[0]);
	is(0, false, 5, 3); /* assignments survive the VF's own reset */
	assert_int_equal(virt(ONLINE, 0, 11, 0), OK);
	assert_int_equal(mq.enables, 0);
	model_enable(vf[0]);
	assert_int_equal(queues_of(vf[0]), 0x00030003);
	nvme_ctrl_get_status(vf[0], &st);
	assert_true(st.online && st.ready && !st.primary);
	assert_int_equal(st.queue_resources, 5);
	assert_int_equal(st.interrupt_resources, 3);
	assert_int_equal(st.queues_max, 4);
	/* vectors follow VI: a fourth does not exist */
	assert_int_equal(RUN(vf[0], .opcode = nvme_admin_create_cq, .cdw10 = 1 | 63 << 16,
			     .cdw11 = 3 | 3 << 16, .prp1 = 0x30000),
			 SPECIFIC(NVME_SC_INVALID_VECTOR));
	/* VF FLR keeps it online */
	pci_function_reset(vf[0]->fn, PCI_RESET_FLR);
	is(0, true, 5, 3);
	assert_int_equal(rd32(vf[0], NVME_REG_CSTS), 0);
	model_enable(vf[0]);
	/* going offline resets it, in the background */
	mq.hold_drain = true;
	assert_int_equal(virt(OFFLINE, 0, 11, 0), OK);
	assert_ptr_equal(mq.ctrl, vf[0]);
	offline_registers(vf[0]);
	assert_int_equal(pci_function_num_vectors(vf[0]->fn), 1);
	/* back before its old life has ended: RDY says so */
	bring_up(0, 2);
	assert_int_equal(rd32(vf[0], NVME_REG_CSTS), RDY);
	assert_int_equal(rd32(vf[0], NVME_REG_CC), 0);
	model_drained(vf[0]);
	assert_int_equal(rd32(vf[0], NVME_REG_CSTS), 0);
	mq.hold_drain = false;
	model_enable(vf[0]);
	assert_int_equal(queues_of(vf[0]), 0);
	offline_registers(vf[1]); /* never noticed */
}

/* Not while its own guest uses MSI-X; at the reset that comes, then. */
static void vectors_in_use(void **state)
{
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT, .dma = (void *)&model_dma};

	assert_int_equal(pci_pf_set_num_vfs(pf->fn, 1), 0);
	bring_up(0, 4);
	assert_int_equal(pci_function_attach(vf[0]->fn, &att), 0);
	assert_int_equal(virt(OFFLINE, 0, 11, 0), OK);
	assert_int_equal(pci_function_num_vectors(vf[0]->fn), 4);
	bring_up(0, 6);
	model_enable(vf[0]);
	assert_int_equal(RUN(vf[0], .opcode = nvme_admin_create_cq, .cdw10 = 1 | 63 << 16,
			     .cdw11 = 3 | 4 << 16, .prp1 = 0x30000),
			 SPECIFIC(NVME_SC_INVALID_VECTOR));
	assert_int_equal(RUN(vf[0], .opcode = nvme_admin_create_cq, .cdw10 = 1 | 63 << 16,
			     .cdw11 = 3 | 3 << 16, .prp1 = 0x30000),
			 OK);
	assert_int_equal(virt(OFFLINE, 0, 11, 0), OK);
	pci_function_detach(vf[0]->fn);
	mailbox_run();
	assert_int_equal(pci_function_num_vectors(vf[0]->fn), 1);
}

static void primary_resets(void **state)
{
	static const enum { BY_CC, BY_FLR, BY_BUS, KINDS } kinds[] = {BY_CC, BY_FLR, BY_BUS};

	for (unsigned k = 0; k < KINDS; k++) {
		assert_int_equal(pci_pf_set_num_vfs(pf->fn, 2), 0);
		model_enable(pf);
		bring_up(0, 4);
		model_enable(vf[0]);
		if (kinds[k] == BY_CC)
			wr32(pf, NVME_REG_CC, CC_OFF);
		else
			pci_function_reset(pf->fn,
					   kinds[k] == BY_FLR ? PCI_RESET_FLR : PCI_RESET_BUS);
		is(0, false, 0, 0);
		if (kinds[k] == BY_CC)
			offline_registers(vf[0]);
		else
			assert_null(vf[0]); /* VF Enable is cleared, too */
	}
	/* Clearing VF Enable alone does it as well. */
	assert_int_equal(pci_pf_set_num_vfs(pf->fn, 2), 0);
	bring_up(1, 4);
	assert_int_equal(pci_pf_set_num_vfs(pf->fn, 0), 0);
	is(1, false, 0, 0);
	assert_int_equal(pci_pf_set_num_vfs(pf->fn, 2), 0);
	offline_registers(vf[1]);
}

static void primary_takes_flexible(void **state)
{
	model_enable(pf);
	assert_int_equal(virt(PRIMARY, VQ, 0, 6), OK);
	assert_int_equal(model_dw0, 6);
	assert_int_equal(virt(PRIMARY, VI, 0, 4), OK);
	assert_int_equal(caps()->vqrfap, 0);
	assert_int_equal(queues_of(pf), 0x00030003);
	wr32(pf, NVME_REG_CC, CC_OFF); /* this reset does not */
	model_enable(pf);
	assert_int_equal(caps()->vqrfap, 0);
	assert_int_equal(queues_of(pf), 0x00030003);
	pci_function_reset(pf->fn, PCI_RESET_FLR);
	mailbox_run();
	assert_int_equal(caps()->vqrfap, 6);
	assert_int_equal(caps()->virfap, 4);
	assert_int_equal(queues_of(pf), 0x00090009);
	assert_int_equal(pci_function_num_vectors(pf->fn), PRIVATE + 4);
	/* giving back: reserved until it is really given */
	assert_int_equal(virt(PRIMARY, VQ, 0, 0), OK);
	assert_int_equal(virt(ASSIGN, VQ, 11, 9), OK);
	assert_int_equal(virt(ASSIGN, VQ, 12, 6), SPECIFIC(NVME_SC_INVALID_RESOURCE_ID));
	assert_int_equal(virt(ASSIGN, VQ, 12, 5), OK);
}

/* Resources that no queue of the primary's could use stay with its VFs. */
static void primary_takes_no_more_than_it_can_use(void **state)
{
	pf->cfg.queue_pairs = NVME_QUEUE_PAIRS_MAX - 2;
	assert_int_equal(virt(PRIMARY, VQ, 0, 3), SPECIFIC(NVME_SC_INVALID_CTRL_RESOURCES));
	assert_int_equal(virt(PRIMARY, VQ, 0, 2), OK);
	assert_int_equal(virt(PRIMARY, VQ, 0, 0), OK);
	pf->cfg.queue_pairs = PRIVATE - 1;
}

static void managed_is_nobodys(void **state)
{
	assert_int_equal(virt(OFFLINE, 0, 11, 0), GENERIC(NVME_SC_INVALID_OPCODE));
	assert_int_equal(RUN(pf, .opcode = nvme_admin_ns_mgmt), GENERIC(NVME_SC_INVALID_OPCODE));
	assert_int_equal(RUN(pf, .opcode = nvme_admin_ns_attach), GENERIC(NVME_SC_INVALID_OPCODE));
	assert_int_equal(pci_function_num_vectors(pf->fn), PRIVATE);
}

static int assign(uint16_t i, unsigned pairs)
{
	return nvme_secondary_assign(pf, i, pairs, why, sizeof(why));
}

static void configured_managed(void **state)
{
	struct nvme_ctrl_status st;

	/* before the VF exists */
	assert_int_equal(assign(0, 8), 0);
	nvme_ctrl_get_status(pf, &st);
	assert_int_equal(st.flexible_assigned, 9);
	assert_int_equal(st.flexible_total, FLEXIBLE);
	assert_int_equal(st.private_queues, PRIVATE);
	assert_true(st.managed);
	assert_int_equal(pci_pf_set_num_vfs(pf->fn, 2), 0);
	assert_int_equal(pci_function_num_vectors(vf[0]->fn), 9);
	model_enable(vf[0]);
	assert_int_equal(queues_of(vf[0]), 0x00070007);
	offline_registers(vf[1]);
	/* and after */
	assert_int_equal(assign(1, 2), 0);
	model_enable(vf[1]);
	assert_int_equal(pci_function_num_vectors(vf[1]->fn), 3);
	/* a reset of the managed primary touches neither, nor do VFs that come and go */
	model_enable(pf);
	wr32(pf, NVME_REG_CC, CC_OFF);
	pci_function_reset(pf->fn, PCI_RESET_FLR);
	assert_int_equal(rd32(vf[0], NVME_REG_CSTS), RDY);
	assert_int_equal(rd32(vf[1], NVME_REG_CSTS), RDY);
	assert_int_equal(pci_pf_set_num_vfs(pf->fn, 0), 0);
	nvme_ctrl_get_status(pf, &st);
	assert_int_equal(st.flexible_assigned, 9 + 3);
	assert_int_equal(pci_pf_set_num_vfs(pf->fn, 1), 0);
	model_enable(vf[0]);
	assert_int_equal(pci_function_num_vectors(vf[0]->fn), 9);
	/* bounds: 20 in all, 9 + 3 taken */
	assert_int_equal(assign(2, 9), -ERANGE);
	assert_int_equal(assign(2, 8), -ENOSPC);
	assert_int_equal(assign(2, 7), 0);
	assert_int_equal(assign(3, 1), -ENOSPC);
	assert_int_equal(assign(TOTAL, 1), -ENOENT);
	/* back */
	assert_int_equal(assign(2, 0), 0);
	assert_int_equal(assign(3, 1), 0);
}

static void configured_while_attached(void **state)
{
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT, .dma = (void *)&model_dma};

	assert_int_equal(assign(0, 4), 0);
	assert_int_equal(pci_pf_set_num_vfs(pf->fn, 1), 0);
	assert_int_equal(pci_function_attach(vf[0]->fn, &att), 0);
	assert_int_equal(assign(0, 4), 0); /* as it is */
	assert_int_equal(assign(0, 5), -EBUSY);
	assert_int_equal(assign(0, 0), -EBUSY);
	assert_string_equal(why, "ssd0/vf is attached to a VM");
	pci_function_detach(vf[0]->fn);
	assert_int_equal(assign(0, 6), 0);
	assert_int_equal(pci_function_num_vectors(vf[0]->fn), 7);
	assert_int_equal(assign(0, 0), 0);
	offline_registers(vf[0]);
}

/* One line of configuration for VFs of a PF that a guest has: they come up online each time. */
static void configured_for_a_root(void **state)
{
	assert_int_equal(assign(0, 8), 0);
	assert_int_equal(assign(1, 2), 0);
	assert_int_equal(assign(2, 8), -ENOSPC); /* promised is promised */
	is(0, false, 0, 0);			 /* no VF yet */
	for (unsigned round = 0; round < 2; round++) {
		pci_function_reset(pf->fn, PCI_RESET_FLR);
		model_enable(pf);
		assert_int_equal(pci_pf_set_num_vfs(pf->fn, 2), 0);
		is(0, true, 9, 9);
		is(1, true, 3, 3);
		model_enable(vf[0]);
		assert_int_equal(pci_function_num_vectors(vf[0]->fn), 9);
	}
	/* The guest may still do otherwise... */
	assert_int_equal(virt(OFFLINE, 0, 11, 0), OK);
	assert_int_equal(pci_pf_set_num_vfs(pf->fn, 0), 0);
	assert_int_equal(virt(ASSIGN, VQ, 12, 9), OK);
	assert_int_equal(virt(ASSIGN, VQ, 13, 9), OK);
	/* ...and whose share it gave away stays offline. */
	assert_int_equal(pci_pf_set_num_vfs(pf->fn, 1), 0);
	is(0, false, 0, 0);
	offline_registers(vf[0]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define M(f) cmocka_unit_test_setup_teardown(f, setup_managed, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(lists),
		T(state_machine),
		T(as_nvme_cli_does_it),
		T(vectors_in_use),
		T(primary_resets),
		T(primary_takes_flexible),
		T(primary_takes_no_more_than_it_can_use),
		M(managed_is_nobodys),
		M(configured_managed),
		M(configured_while_attached),
		T(configured_for_a_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
