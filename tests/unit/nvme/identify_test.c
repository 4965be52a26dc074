/* SPDX-License-Identifier: BSD-3-Clause */
/* Identify, in each form and from each kind of controller. */
#include "ctrl_model.h"

static struct nvme_ctrl *pf, *vf;

static int setup(void **state)
{
	const struct nvme_ctrl_config cfg = {
		.queue_pairs = 4,
		.total_vfs = 3,
		.first_vf_cntlid = 1,
		.flexible = 20,
		.flexible_per_vf = 9,
	};

	model_reset();
	pf = model_pf(&cfg);
	vf = model_vf(pf, 1);
	pci_pf_add_vf(pf->fn, vf->fn);
	for (uint32_t nsid = 1; nsid <= 4; nsid++)
		model_ns(nsid);
	model_attach(pf, 1);
	model_attach(pf, 3);
	model_attach(vf, 3);
	model_attach(vf, 4);
	return 0;
}

static int teardown(void **state)
{
	nvme_ctrl_destroy(vf);
	nvme_ctrl_destroy(pf);
	mailbox_run();
	return 0;
}

static uint16_t identify(struct nvme_ctrl *ctrl, uint8_t cns, uint32_t nsid, uint16_t cntid)
{
	return RUN(ctrl, .opcode = nvme_admin_identify, .nsid = nsid,
		   .cdw10 = cns | (uint32_t)cntid << 16);
}

static const struct nvme_id_ctrl *id_ctrl(struct nvme_ctrl *ctrl)
{
	static struct nvme_id_ctrl id;

	assert_int_equal(identify(ctrl, NVME_IDENTIFY_CNS_CTRL, 0, 0), OK);
	memcpy(&id, model_data, sizeof(id));
	return &id;
}

static void controller(void **state)
{
	const struct nvme_id_ctrl *id = id_ctrl(pf);

	assert_int_equal(id->vid, 0x1b36);
	assert_memory_equal(id->sn, "S1                  ", 20);
	assert_memory_equal(id->mn, "softiov NVMe                            ", 40);
	assert_memory_equal(id->fr, "0.1     ", 8);
	assert_string_equal(id->subnqn, "nqn.2014-08.org.nvmexpress:uuid:0");
	assert_int_equal(id->cntlid, 0);
	assert_int_equal(id->ver, 0x00010400);
	assert_int_equal(id->cntrltype, 1);
	assert_int_equal(id->cmic, 2);
	assert_int_equal(id->mdts, 8);
	assert_int_equal(id->sqes, 0x66);
	assert_int_equal(id->cqes, 0x44);
	assert_int_equal(id->nn, MODEL_NN);
	assert_int_equal(id->aerl, 7);
	assert_int_equal(id->acl, 3);
	assert_int_equal(id->elpe, 63);
	assert_int_equal(id->kas, 0);
	assert_int_equal(id->oaes, 1 << 8);
	assert_int_equal(id->ctratt, 1);
	assert_int_equal(id->lpa, 6);
	assert_int_equal(id->frmw, 3);
	assert_int_equal(id->oncs, BIT(0) | BIT(2) | BIT(3) | BIT(5) | BIT(6) | BIT(7) | BIT(8));
	assert_int_equal(id->fuses, 1);
	assert_int_equal(id->acwu, 255);
	assert_int_equal(id->vwc, 7);
	assert_int_equal(id->npss, 0);
	assert_int_not_equal(id->wctemp, 0);
	assert_int_not_equal(id->cctemp, 0);
	assert_int_not_equal(id->rtd3e, 0);
	assert_int_equal(id->sanicap, 0);
	assert_int_equal(get_le64(id->tnvmcap), 1000);
	assert_int_equal(get_le64(id->unvmcap), 400);
}

/* What OACS offers differs: who may manage, and what the configuration leaves out. */
static void offered(void **state)
{
	struct nvme_ctrl_config cfg = {.queue_pairs = 1, .cntlid = 100, .managed = true};
	struct nvme_ctrl *managed, *plain;

	cfg.total_vfs = 1;
	cfg.first_vf_cntlid = 101;
	managed = model_pf(&cfg);
	cfg = (struct nvme_ctrl_config){
		.queue_pairs = 1, .cntlid = 200, .no_doorbell_buffer = true};
	plain = model_pf(&cfg);
	assert_int_equal(id_ctrl(pf)->oacs, BIT(1) | BIT(3) | BIT(7) | BIT(8));
	assert_int_equal(id_ctrl(vf)->oacs, BIT(1) | BIT(8));
	assert_int_equal(id_ctrl(managed)->oacs, BIT(1) | BIT(8));
	assert_int_equal(id_ctrl(plain)->oacs, BIT(1) | BIT(3));
	assert_int_equal(id_ctrl(vf)->cmic, 6);
	assert_int_equal(id_ctrl(managed)->cmic, 2);
	assert_int_equal(id_ctrl(vf)->cntlid, 2);
	assert_int_equal(get_le64(id_ctrl(vf)->tnvmcap), 0);
	assert_int_equal(identify(managed, NVME_IDENTIFY_CNS_PRIMARY_CTRL_CAP, 0, 0),
			 GENERIC(NVME_SC_INVALID_FIELD));
	nvme_ctrl_destroy(plain);
	nvme_ctrl_destroy(managed);
}

static void statuses(void **state)
{
	static const struct {
		bool secondary;
		uint8_t cns;
		uint32_t nsid;
		uint16_t status;
	} cases[] = {
		{0, 0x00, 1, OK},
		{0, 0x00, 2, OK}, /* inactive */
		{0, 0x00, 8, OK},
		{0, 0x00, 0, GENERIC(NVME_SC_INVALID_NS)},
		{0, 0x00, 9, GENERIC(NVME_SC_INVALID_NS)},
		{0, 0x00, 0xfffffffe, GENERIC(NVME_SC_INVALID_NS)},
		{0, 0x00, NVME_NSID_ALL, OK},
		{1, 0x00, NVME_NSID_ALL, GENERIC(NVME_SC_INVALID_NS)},
		{1, 0x01, 5, OK},
		{1, 0x02, 0, OK},
		{1, 0x02, 0xfffffffd, OK},
		{1, 0x02, 0xfffffffe, GENERIC(NVME_SC_INVALID_NS)},
		{1, 0x02, NVME_NSID_ALL, GENERIC(NVME_SC_INVALID_NS)},
		{1, 0x03, 3, OK},
		{1, 0x03, 1, GENERIC(NVME_SC_INVALID_FIELD)}, /* inactive here */
		{1, 0x03, 0, GENERIC(NVME_SC_INVALID_NS)},
		{1, 0x03, NVME_NSID_ALL, GENERIC(NVME_SC_INVALID_NS)},
		{0, 0x04, 0, GENERIC(NVME_SC_INVALID_FIELD)},
		{0, 0x05, 1, GENERIC(NVME_SC_INVALID_FIELD)},
		{0, 0x06, 0, GENERIC(NVME_SC_INVALID_FIELD)},
		{0, 0x08, 1, GENERIC(NVME_SC_INVALID_FIELD)},
		{0, 0x10, 0, OK},
		{1, 0x10, 0, GENERIC(NVME_SC_INVALID_FIELD)},
		{0, 0x11, 4, OK}, /* allocated, not attached here */
		{0, 0x11, 8, OK},
		{0, 0x11, 9, GENERIC(NVME_SC_INVALID_NS)},
		{1, 0x11, 4, GENERIC(NVME_SC_INVALID_FIELD)},
		{0, 0x12, 3, OK},
		{0, 0x12, 0, GENERIC(NVME_SC_INVALID_NS)},
		{1, 0x12, 3, GENERIC(NVME_SC_INVALID_FIELD)},
		{0, 0x13, 0, OK},
		{1, 0x13, 0, GENERIC(NVME_SC_INVALID_FIELD)},
		{0, 0x14, 0, OK},
		{1, 0x14, 0, GENERIC(NVME_SC_INVALID_FIELD)},
		{0, 0x15, 0, OK},
		{1, 0x15, 0, GENERIC(NVME_SC_INVALID_FIELD)},
		{0, 0x16, 0, GENERIC(NVME_SC_INVALID_FIELD)},
		{0, 0x1c, 0, GENERIC(NVME_SC_INVALID_FIELD)},
		{0, 0xff, 0, GENERIC(NVME_SC_INVALID_FIELD)},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(
			identify(cases[i].secondary ? vf : pf, cases[i].cns, cases[i].nsid, 0),
			cases[i].status);
}

static void is_zero_page(void)
{
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(model_data[i], 0);
}

static void namespaces(void **state)
{
	identify(pf, 0x00, 3, 0);
	assert_int_equal(get_le64(model_data), 3);
	identify(pf, 0x00, 4, 0);
	is_zero_page();
	identify(pf, 0x11, 4, 0);
	assert_int_equal(get_le64(model_data), 4);
	identify(pf, 0x11, 7, 0);
	is_zero_page();
	identify(pf, 0x00, NVME_NSID_ALL, 0);
	assert_int_equal(model_data[25], 1);
	identify(vf, 0x03, 4, 0);
	assert_int_equal(model_data[0], NVME_NIDT_UUID);
}

static void is_list32(const uint32_t *want, unsigned n)
{
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(get_le32(model_data + 4 * i), i < n ? want[i] : 0);
}

static void is_list16(const uint16_t *want, unsigned n)
{
	assert_int_equal(get_le16(model_data), n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(get_le16(model_data + 2 + 2 * i), want[i]);
	assert_int_equal(get_le16(model_data + 2 + 2 * n), 0);
}

static void lists(void **state)
{
	identify(vf, 0x02, 0, 0);
	is_list32((uint32_t[]){3, 4}, 2);
	identify(vf, 0x02, 3, 0);
	is_list32((uint32_t[]){4}, 1);
	identify(vf, 0x02, 4, 0);
	is_list32(NULL, 0);
	identify(pf, 0x10, 0, 0);
	is_list32((uint32_t[]){1, 2, 3, 4}, 4);
	identify(pf, 0x10, 2, 0);
	is_list32((uint32_t[]){3, 4}, 2);
	identify(pf, 0x12, 3, 0);
	is_list16((uint16_t[]){0, 2}, 2);
	identify(pf, 0x12, 3, 1);
	is_list16((uint16_t[]){2}, 1);
	identify(pf, 0x12, 8, 0);
	is_list16(NULL, 0);
	/* The VFs that do not exist are controllers all the same. */
	identify(pf, 0x13, 0, 0);
	is_list16((uint16_t[]){0, 1, 2, 3}, 4);
	identify(pf, 0x13, 0, 2);
	is_list16((uint16_t[]){2, 3}, 2);
	identify(pf, 0x13, 0, 0xffff);
	is_list16(NULL, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(controller), T(offered), T(statuses), T(namespaces), T(lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
