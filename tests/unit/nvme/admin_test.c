/* SPDX-License-Identifier: BSD-3-Clause */
/* Admin commands about queues, and features: what is done, and the exact status of what is not. */
#include "ctrl_model.h"

static struct nvme_ctrl *pf;

static int setup(void **state)
{
	model_reset();
	pf = model_pf(NULL); /* 4 I/O queue pairs, 5 vectors, 1024 entries */
	model_enable(pf);
	return 0;
}

static int teardown(void **state)
{
	nvme_ctrl_destroy(pf);
	mailbox_run();
	return 0;
}

static void not_offered(void **state)
{
	static const uint8_t opcodes[] = {
		nvme_admin_fw_commit,
		nvme_admin_fw_download,
		nvme_admin_dev_self_test,
		nvme_admin_keep_alive,
		nvme_admin_directive_send,
		nvme_admin_directive_recv,
		nvme_admin_nvme_mi_send,
		nvme_admin_security_send,
		nvme_admin_sanitize_nvm,
		nvme_admin_get_lba_status,
		nvme_admin_virtual_mgmt /* no VFs */,
		0x03,
		0xc0,
		0xff,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(opcodes); i++)
		assert_int_equal(RUN(pf, .opcode = opcodes[i]), GENERIC(NVME_SC_INVALID_OPCODE));
	/* SGLs and fusing are not for admin commands */
	assert_int_equal(RUN(pf, .opcode = nvme_admin_identify, .cdw10 = 1, .flags = 1 << 6),
			 GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(RUN(pf, .opcode = nvme_admin_identify, .cdw10 = 1, .flags = 1),
			 GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(RUN(pf, .opcode = nvme_admin_identify, .cdw10 = 1), OK);
}

static void data_lengths(void **state)
{
	static const struct {
		uint8_t opcode;
		uint32_t cdw10, cdw11, len;
		bool to_host;
	} cases[] = {
		{nvme_admin_identify, 0, 0, 4096, true},
		{nvme_admin_get_log_page, 0, 0, 4, true},
		{nvme_admin_get_log_page, 127u << 16, 0, 512, true},
		{nvme_admin_get_log_page, 0xffffu << 16, 3, 1 << 20, true},
		{nvme_admin_get_log_page, 0, 4, (1 << 20) + 4, true},
		{nvme_admin_get_log_page, 0xffffu << 16, 0xffff, 0xffffffff, true},
		{nvme_admin_set_features, NVME_FEAT_FID_TIMESTAMP, 0, 8, false},
		{nvme_admin_get_features, NVME_FEAT_FID_TIMESTAMP, 0, 8, true},
		{nvme_admin_get_features, NVME_FEAT_FID_TIMESTAMP | 3 << 8, 0, 0, true},
		{nvme_admin_set_features, NVME_FEAT_FID_HOST_ID, 0, 8, false},
		{nvme_admin_set_features, NVME_FEAT_FID_HOST_ID, 1, 16, false},
		{nvme_admin_get_features, NVME_FEAT_FID_HOST_ID, 1, 16, true},
		{nvme_admin_set_features, NVME_FEAT_FID_NUM_QUEUES, 0, 0, false},
		{nvme_admin_ns_mgmt, 0, 0, 4096, false},
		{nvme_admin_ns_mgmt, 1, 0, 0, false},
		{nvme_admin_ns_attach, 0, 0, 4096, false},
		{nvme_admin_dbbuf, 0, 0, 0, false},
		{nvme_admin_create_cq, 0, 0, 0, false},
		{nvme_admin_format_nvm, 0, 0, 0, false},
		{0xff, 0, 0, 0, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct nvme_sqe sqe = {.opcode = cases[i].opcode,
				       .cdw10 = cases[i].cdw10,
				       .cdw11 = cases[i].cdw11};
		bool to_host = !cases[i].to_host;

		assert_int_equal(nvme_admin_data_len(&sqe, &to_host), cases[i].len);
		if (cases[i].len)
			assert_int_equal(to_host, cases[i].to_host);
	}
}

#define QID(q, entries) ((q) | ((entries)-1u) << 16)

static void create_cq(void **state)
{
	static const struct {
		uint32_t cdw10, cdw11;
		uint64_t prp1;
		uint16_t status;
	} cases[] = {
		{QID(1, 1024), 3 | 1 << 16, 0x30000, OK},
		{QID(4, 2), 3 | 4 << 16, 0x30000, OK},
		{QID(2, 64), 1 | 99 << 16, 0x30000, OK}, /* no interrupts: the vector is nothing */
		{QID(0, 64), 3, 0x30000, SPECIFIC(NVME_SC_QID_INVALID)},
		{QID(5, 64), 3, 0x30000, SPECIFIC(NVME_SC_QID_INVALID)},
		{QID(0xffff, 64), 3, 0x30000, SPECIFIC(NVME_SC_QID_INVALID)},
		{QID(1, 1), 3, 0x30000, SPECIFIC(NVME_SC_QUEUE_SIZE)},
		{QID(1, 1025), 3, 0x30000, SPECIFIC(NVME_SC_QUEUE_SIZE)},
		{QID(1, 0x10000), 3, 0x30000, SPECIFIC(NVME_SC_QUEUE_SIZE)},
		{QID(1, 64), 2, 0x30000, GENERIC(NVME_SC_INVALID_FIELD)}, /* PC */
		{QID(1, 64), 3, 0, GENERIC(NVME_SC_INVALID_FIELD)},
		{QID(1, 64), 3, 0x30004, GENERIC(NVME_SC_PRP_INVALID_OFFSET)},
		{QID(1, 64), 3 | 5 << 16, 0x30000, SPECIFIC(NVME_SC_INVALID_VECTOR)},
		{QID(1, 64), 3 | 0xffffu << 16, 0x30000, SPECIFIC(NVME_SC_INVALID_VECTOR)},
	};
	unsigned created = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(RUN(pf, .opcode = nvme_admin_create_cq, .cdw10 = cases[i].cdw10,
				     .cdw11 = cases[i].cdw11, .prp1 = cases[i].prp1),
				 cases[i].status);
		created += cases[i].status == OK;
		assert_int_equal(mq.creates_cq, created);
	}
	assert_int_equal(mq.qid, 2);
	assert_int_equal(mq.size, 64);
	assert_int_equal(mq.base, 0x30000);
	assert_false(mq.irq);
}

static void create_sq(void **state)
{
	static const struct {
		uint32_t cdw10, cdw11;
		uint64_t prp1;
		uint16_t status;
	} cases[] = {
		{QID(1, 1024), 1 | 4 << 16, 0x30000, OK},
		{QID(0, 64), 1 | 1 << 16, 0x30000, SPECIFIC(NVME_SC_QID_INVALID)},
		{QID(5, 64), 1 | 1 << 16, 0x30000, SPECIFIC(NVME_SC_QID_INVALID)},
		{QID(1, 1), 1 | 1 << 16, 0x30000, SPECIFIC(NVME_SC_QUEUE_SIZE)},
		{QID(1, 1025), 1 | 1 << 16, 0x30000, SPECIFIC(NVME_SC_QUEUE_SIZE)},
		{QID(1, 64), 0 | 1 << 16, 0x30000, GENERIC(NVME_SC_INVALID_FIELD)},
		{QID(1, 64), 1 | 1 << 16, 0x30800, GENERIC(NVME_SC_PRP_INVALID_OFFSET)},
		{QID(1, 64), 1, 0x30000, SPECIFIC(NVME_SC_CQ_INVALID)},
		{QID(1, 64), 1 | 5 << 16, 0x30000, SPECIFIC(NVME_SC_QID_INVALID)},
	};
	unsigned created = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(RUN(pf, .opcode = nvme_admin_create_sq, .cdw10 = cases[i].cdw10,
				     .cdw11 = cases[i].cdw11, .prp1 = cases[i].prp1),
				 cases[i].status);
		created += cases[i].status == OK;
		assert_int_equal(mq.creates_sq, created);
	}
	assert_int_equal(mq.cqid, 4);
	assert_int_equal(mq.size, 1024);
}

/* CC.IOSQES and IOCQES must be right before there can be I/O queues; the page size counts. */
static void entry_sizes(void **state)
{
	wr32(pf, NVME_REG_CC, 0x00450001);
	assert_int_equal(RUN(pf, .opcode = nvme_admin_create_sq, .cdw10 = QID(1, 64),
			     .cdw11 = 1 | 1 << 16, .prp1 = 0x30000),
			 SPECIFIC(NVME_SC_QUEUE_SIZE));
	wr32(pf, NVME_REG_CC, 0x00060001);
	assert_int_equal(RUN(pf, .opcode = nvme_admin_create_cq, .cdw10 = QID(1, 64), .cdw11 = 1,
			     .prp1 = 0x30000),
			 SPECIFIC(NVME_SC_QUEUE_SIZE));
	wr32(pf, NVME_REG_CC, CC_OFF);
	wr32(pf, NVME_REG_CC, CC_ON | 1 << 7); /* pages of 8 KiB */
	assert_int_equal(RUN(pf, .opcode = nvme_admin_create_cq, .cdw10 = QID(1, 64), .cdw11 = 1,
			     .prp1 = 0x31000),
			 GENERIC(NVME_SC_PRP_INVALID_OFFSET));
	assert_int_equal(RUN(pf, .opcode = nvme_admin_create_cq, .cdw10 = QID(1, 64), .cdw11 = 1,
			     .prp1 = 0x32000),
			 OK);
}

static void delete_queues(void **state)
{
	assert_int_equal(RUN(pf, .opcode = nvme_admin_delete_cq, .cdw10 = 0),
			 SPECIFIC(NVME_SC_QID_INVALID));
	assert_int_equal(RUN(pf, .opcode = nvme_admin_delete_cq, .cdw10 = 5),
			 SPECIFIC(NVME_SC_QID_INVALID));
	assert_int_equal(RUN(pf, .opcode = nvme_admin_delete_cq, .cdw10 = 3), OK);
	assert_int_equal(mq.qid, 3);
	assert_int_equal(RUN(pf, .opcode = nvme_admin_delete_sq, .cdw10 = 0),
			 SPECIFIC(NVME_SC_QID_INVALID));
	assert_int_equal(RUN(pf, .opcode = nvme_admin_delete_sq, .cdw10 = 5),
			 SPECIFIC(NVME_SC_QID_INVALID));
	model_pend(pf, &(struct model_cmd){.opcode = nvme_admin_delete_sq, .cdw10 = 2});
	assert_int_equal(mq.qid, 2);
}

static void number_of_queues(void **state)
{
	static const struct {
		uint32_t ask, get;
	} cases[] = {
		{0x00000000, 0x00000000}, {0x00030003, 0x00030003}, {0x00fe00fe, 0x00030003},
		{0x00010002, 0x00010002}, {0xfffefffe, 0x00030003},
	};

#define NUM_QUEUES(op, v)                                                                          \
	RUN(pf, .opcode = nvme_admin_##op##_features, .cdw10 = NVME_FEAT_FID_NUM_QUEUES, .cdw11 = v)
	assert_int_equal(NUM_QUEUES(get, 0), OK);
	assert_int_equal(model_dw0, 0x00030003);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(NUM_QUEUES(set, cases[i].ask), OK);
		assert_int_equal(model_dw0, cases[i].get);
		assert_int_equal(NUM_QUEUES(get, 0), OK);
		assert_int_equal(model_dw0, cases[i].get);
	}
	assert_int_equal(NUM_QUEUES(set, 0x0000ffff), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(NUM_QUEUES(set, 0xffff0000), GENERIC(NVME_SC_INVALID_FIELD));
	/* What was allocated bounds queue identifiers */
	assert_int_equal(NUM_QUEUES(set, 0x00010000), OK); /* 1 SQ, 2 CQs */
	assert_int_equal(RUN(pf, .opcode = nvme_admin_create_cq, .cdw10 = QID(3, 64), .cdw11 = 1,
			     .prp1 = 0x30000),
			 SPECIFIC(NVME_SC_QID_INVALID));
	assert_int_equal(RUN(pf, .opcode = nvme_admin_create_cq, .cdw10 = QID(2, 64), .cdw11 = 1,
			     .prp1 = 0x30000),
			 OK);
	assert_int_equal(RUN(pf, .opcode = nvme_admin_create_sq, .cdw10 = QID(2, 64),
			     .cdw11 = 1 | 2 << 16, .prp1 = 0x30000),
			 SPECIFIC(NVME_SC_QID_INVALID));
	assert_int_equal(RUN(pf, .opcode = nvme_admin_create_sq, .cdw10 = QID(1, 64),
			     .cdw11 = 1 | 2 << 16, .prp1 = 0x30000),
			 OK);
	/* and it is too late once there is a queue */
	assert_int_equal(NUM_QUEUES(set, 0), GENERIC(NVME_SC_CMD_SEQ_ERROR));
	wr32(pf, NVME_REG_CC, CC_OFF);
	model_enable(pf);
	assert_int_equal(NUM_QUEUES(get, 0), OK);
	assert_int_equal(model_dw0, 0x00030003);
}

static void abort_command(void **state)
{
	struct nvme_command *aer;

	model_pend(pf, &(struct model_cmd){.opcode = nvme_admin_abort_cmd, .cdw10 = 2 | 77 << 16});
	assert_int_equal(mq.aborted_sqid, 2);
	assert_int_equal(mq.aborted_cid, 77);
	/* Of the admin queue only event requests last long enough */
	assert_int_equal(RUN(pf, .opcode = nvme_admin_abort_cmd, .cdw10 = 9 << 16), OK);
	assert_int_equal(model_dw0, 1);
	aer = model_pend(pf, &(struct model_cmd){.opcode = nvme_admin_async_event, .cid = 9});
	assert_int_equal(RUN(pf, .opcode = nvme_admin_abort_cmd, .cdw10 = 9 << 16), OK);
	assert_int_equal(model_dw0, 0);
	assert_int_equal(n_done, 1);
	assert_ptr_equal(done[0].cmd, aer);
	assert_int_equal(done[0].status, NVME_SC_ABORT_REQ);
}

static void doorbell_buffer(void **state)
{
	static const uint64_t bad[][2] = {
		{0, 0x2000}, {0x1000, 0}, {0x1004, 0x2000}, {0x1000, 0x2800}};
	struct nvme_ctrl_config cfg = {.queue_pairs = 1, .cntlid = 3, .no_doorbell_buffer = true};
	struct nvme_ctrl *without = model_pf(&cfg);

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(
			RUN(pf, .opcode = nvme_admin_dbbuf, .prp1 = bad[i][0], .prp2 = bad[i][1]),
			GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(mq.shadow, 0);
	assert_int_equal(RUN(pf, .opcode = nvme_admin_dbbuf, .prp1 = 0x1000, .prp2 = 0x2000), OK);
	assert_int_equal(mq.shadow, 0x1000);
	assert_int_equal(mq.eventidx, 0x2000);
	assert_int_equal(RUN(without, .opcode = nvme_admin_dbbuf, .prp1 = 0x1000, .prp2 = 0x2000),
			 GENERIC(NVME_SC_INVALID_OPCODE));
	nvme_ctrl_destroy(without);
}

/* ---- features ---- */

#define SET(fid, v, ...)                                                                           \
	RUN(pf, .opcode = nvme_admin_set_features, .cdw10 = (fid), .cdw11 = (v), ##__VA_ARGS__)
#define GET(fid, v, ...)                                                                           \
	RUN(pf, .opcode = nvme_admin_get_features, .cdw10 = (fid), .cdw11 = (v), ##__VA_ARGS__)
#define SEL_DEFAULT   (1 << 8)
#define SEL_SAVED     (2 << 8)
#define SEL_SUPPORTED (3 << 8)

static void plain_features(void **state)
{
	static const struct {
		uint8_t fid;
		uint32_t by_default, set, then;
	} cases[] = {
		{NVME_FEAT_FID_ARBITRATION, 0, 0x030201ff, 0x03020107},
		{NVME_FEAT_FID_POWER_MGMT, 0, 0x20, 0x20},
		{NVME_FEAT_FID_TEMP_THRESH, 343, 350, 350},
		{NVME_FEAT_FID_TEMP_THRESH, 350, 340 | 0xf << 16, 340}, /* all sensors */
		{NVME_FEAT_FID_VOLATILE_WC, 1, 0, 0},
		{NVME_FEAT_FID_VOLATILE_WC, 0, 0xffffffff, 1},
		{NVME_FEAT_FID_IRQ_COALESCE, 0, 0x0a07, 0x0a07},
		{NVME_FEAT_FID_WRITE_ATOMIC, 0, 1, 1},
		{NVME_FEAT_FID_ASYNC_EVENT, 0, 0xffffffff, 0x13f}, /* what OAES offers */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(GET(cases[i].fid, 0), OK);
		assert_int_equal(model_dw0, cases[i].by_default);
		assert_int_equal(SET(cases[i].fid, cases[i].set, .nsid = NVME_NSID_ALL), OK);
		assert_int_equal(GET(cases[i].fid, 0), OK);
		assert_int_equal(model_dw0, cases[i].then);
		assert_int_equal(GET(cases[i].fid | SEL_SUPPORTED, 0), OK);
		assert_int_equal(model_dw0, 4); /* changeable; not saveable, not of a namespace */
		assert_int_equal(SET(cases[i].fid | 1u << 31, cases[i].set),
				 SPECIFIC(NVME_SC_FEATURE_NOT_SAVEABLE));
		assert_int_equal(SET(cases[i].fid, cases[i].set, .nsid = 1),
				 SPECIFIC(NVME_SC_FEATURE_NOT_PER_NS));
		assert_int_equal(SET(cases[i].fid, cases[i].set, .nsid = MODEL_NN + 1),
				 GENERIC(NVME_SC_INVALID_NS));
	}
	assert_int_equal(mq.threshold, 7);
	assert_int_equal(mq.time, 10);
	for (unsigned sel = SEL_DEFAULT; sel <= SEL_SAVED; sel += SEL_DEFAULT) {
		assert_int_equal(GET(NVME_FEAT_FID_TEMP_THRESH | sel, 0), OK);
		assert_int_equal(model_dw0, 343);
		assert_int_equal(GET(NVME_FEAT_FID_ASYNC_EVENT | sel, 0), OK);
		assert_int_equal(model_dw0, 0);
	}
	/* A controller reset brings the default back. */
	wr32(pf, NVME_REG_CC, CC_OFF);
	model_enable(pf);
	assert_int_equal(GET(NVME_FEAT_FID_TEMP_THRESH, 0), OK);
	assert_int_equal(model_dw0, 343);
	assert_int_equal(GET(NVME_FEAT_FID_ASYNC_EVENT, 0), OK);
	assert_int_equal(model_dw0, 0);
	assert_int_equal(mq.threshold, 0);
	assert_int_equal(mq.time, 0);
}

static void refused_features(void **state)
{
	static const uint8_t unknown[] = {0x00, 0x03, 0x0c, 0x0d, 0x0f,
					  0x10, 0x11, 0x80, 0x84, 0xc0};

	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
		assert_int_equal(SET(unknown[i], 0), GENERIC(NVME_SC_INVALID_FIELD));
		assert_int_equal(GET(unknown[i], 0), GENERIC(NVME_SC_INVALID_FIELD));
	}
	assert_int_equal(GET(NVME_FEAT_FID_ARBITRATION | 4 << 8, 0),
			 GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(SET(NVME_FEAT_FID_POWER_MGMT, 1), GENERIC(NVME_SC_INVALID_FIELD));
	/* a sensor that there is not, a threshold that there is not */
	assert_int_equal(SET(NVME_FEAT_FID_TEMP_THRESH, 1 << 16), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(SET(NVME_FEAT_FID_TEMP_THRESH, 2 << 20), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(GET(NVME_FEAT_FID_TEMP_THRESH, 1 << 16), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(GET(NVME_FEAT_FID_TEMP_THRESH, 0xf << 16), GENERIC(NVME_SC_INVALID_FIELD));
}

static void write_cache(void **state)
{
	assert_false(atomic_load(&pf->write_through));
	assert_int_equal(SET(NVME_FEAT_FID_VOLATILE_WC, 0), OK);
	assert_true(atomic_load(&pf->write_through));
	wr32(pf, NVME_REG_CC, CC_OFF);
	assert_false(atomic_load(&pf->write_through));
}

static void vector_configuration(void **state)
{
	assert_int_equal(SET(NVME_FEAT_FID_IRQ_CONFIG, 4 | 1 << 16), OK);
	assert_int_equal(mq.config_vector, 4);
	assert_true(mq.no_coalescing);
	assert_int_equal(GET(NVME_FEAT_FID_IRQ_CONFIG, 4), OK);
	assert_int_equal(model_dw0, 4 | 1 << 16);
	assert_int_equal(GET(NVME_FEAT_FID_IRQ_CONFIG, 3), OK);
	assert_int_equal(model_dw0, 3);
	assert_int_equal(GET(NVME_FEAT_FID_IRQ_CONFIG | SEL_DEFAULT, 4), OK);
	assert_int_equal(model_dw0, 4);
	wr32(pf, NVME_REG_CC, CC_OFF); /* queues forget it, too */
	assert_int_equal(mq.config_vector, 4);
	assert_false(mq.no_coalescing);
	assert_int_equal(SET(NVME_FEAT_FID_IRQ_CONFIG, 5), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(GET(NVME_FEAT_FID_IRQ_CONFIG, 0xffff), GENERIC(NVME_SC_INVALID_FIELD));
}

static void namespace_features(void **state)
{
	model_ns(2);
	model_attach(pf, 2);
	model_ns(3); /* not attached */
	assert_int_equal(SET(NVME_FEAT_FID_ERR_RECOVERY, 7, .nsid = 2), OK);
	assert_int_equal(GET(NVME_FEAT_FID_ERR_RECOVERY, 0, .nsid = 2), OK);
	assert_int_equal(model_dw0, 7);
	assert_int_equal(SET(NVME_FEAT_FID_ERR_RECOVERY, 9, .nsid = NVME_NSID_ALL), OK);
	assert_int_equal(GET(NVME_FEAT_FID_ERR_RECOVERY, 0, .nsid = 2), OK);
	assert_int_equal(model_dw0, 9);
	assert_int_equal(GET(NVME_FEAT_FID_ERR_RECOVERY | SEL_SUPPORTED, 0), OK);
	assert_int_equal(model_dw0, 6);
	/* DULBE */
	assert_int_equal(SET(NVME_FEAT_FID_ERR_RECOVERY, 1 << 16, .nsid = 2),
			 GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(SET(NVME_FEAT_FID_ERR_RECOVERY, 7, .nsid = 3),
			 GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(SET(NVME_FEAT_FID_ERR_RECOVERY, 7), GENERIC(NVME_SC_INVALID_NS));
	assert_int_equal(SET(NVME_FEAT_FID_ERR_RECOVERY, 7, .nsid = MODEL_NN + 1),
			 GENERIC(NVME_SC_INVALID_NS));
	assert_int_equal(GET(NVME_FEAT_FID_ERR_RECOVERY, 7, .nsid = NVME_NSID_ALL),
			 GENERIC(NVME_SC_INVALID_NS));

	assert_int_equal(SET(NVME_FEAT_FID_RESV_MASK, 6, .nsid = 2), OK);
	assert_int_equal(model_resv_mask, 6);
	assert_int_equal(GET(NVME_FEAT_FID_RESV_MASK, 0, .nsid = 2), OK);
	assert_int_equal(model_dw0, 6);
	assert_int_equal(SET(NVME_FEAT_FID_RESV_MASK, 2, .nsid = NVME_NSID_ALL), OK);
	assert_int_equal(model_resv_mask, 2);
	assert_int_equal(GET(NVME_FEAT_FID_RESV_PERSIST, 0, .nsid = 2), OK);
	assert_int_equal(model_dw0, 1);
	model_attach(pf, 3);
	assert_int_equal(mq.ptpl_all, 0);
	assert_int_equal(SET(NVME_FEAT_FID_RESV_PERSIST, 1, .nsid = NVME_NSID_ALL),
			 NVME_ST_PENDING);
	assert_int_equal(mq.ptpl_all, 1);
	assert_int_equal(SET(NVME_FEAT_FID_RESV_PERSIST, 1, .nsid = 3), NVME_ST_PENDING);
}

static void timestamp(void **state)
{
	put_le64(model_data, 0xffff018f00000000); /* beyond 48 bits: attributes, ignored */
	assert_int_equal(SET(NVME_FEAT_FID_TIMESTAMP, 0), OK);
	assert_int_equal(GET(NVME_FEAT_FID_TIMESTAMP, 0), OK);
	assert_in_range(get_le64(model_data) & 0xffffffffffff, 0x018f00000000,
			0x018f00000000 + 60000);
	assert_int_equal(model_data[6], 2); /* as the host set it */
	wr32(pf, NVME_REG_CC, CC_OFF);
	model_enable(pf);
	assert_int_equal(GET(NVME_FEAT_FID_TIMESTAMP, 0), OK);
	assert_in_range(get_le64(model_data), 0, 60000);
}

static void host_identifier(void **state)
{
	static const uint8_t zero[16];

	assert_int_equal(GET(NVME_FEAT_FID_HOST_ID, 1), OK);
	assert_memory_equal(model_data, zero, 16);
	memset(model_data, 0x11, 16);
	assert_int_equal(SET(NVME_FEAT_FID_HOST_ID, 1), OK);
	assert_int_equal(mq.host_changes, 1);
	assert_true(pf->host_id_extended);
	assert_int_equal(pf->host_id[15], 0x11);
	assert_int_equal(GET(NVME_FEAT_FID_HOST_ID, 1), OK);
	assert_int_equal(model_data[15], 0x11);
	assert_int_equal(GET(NVME_FEAT_FID_HOST_ID, 0), GENERIC(NVME_SC_HOSTID_FORMAT));
	/* the same again is no change */
	memset(model_data, 0x11, 16);
	assert_int_equal(SET(NVME_FEAT_FID_HOST_ID, 1), OK);
	assert_int_equal(mq.host_changes, 1);
	memset(model_data, 0x22, 16);
	assert_int_equal(SET(NVME_FEAT_FID_HOST_ID, 0), OK);
	assert_int_equal(mq.host_changes, 2);
	assert_int_equal(pf->host_id[7], 0x22);
	assert_int_equal(pf->host_id[8], 0);
	wr32(pf, NVME_REG_CC, CC_OFF);
	assert_int_equal(mq.host_changes, 3);
	assert_memory_equal(pf->host_id, zero, 16);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(not_offered),
		T(data_lengths),
		T(create_cq),
		T(create_sq),
		T(entry_sizes),
		T(delete_queues),
		T(number_of_queues),
		T(abort_command),
		T(doorbell_buffer),
		T(plain_features),
		T(refused_features),
		T(write_cache),
		T(vector_configuration),
		T(namespace_features),
		T(timestamp),
		T(host_identifier),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
