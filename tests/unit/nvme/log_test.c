/* SPDX-License-Identifier: BSD-3-Clause */
/* Log pages and asynchronous events. */
#include "ctrl_model.h"
#include "util/clock.h"

static struct nvme_ctrl *pf;

static int setup(void **state)
{
	model_reset();
	pf = model_pf(NULL);
	model_enable(pf);
	return 0;
}

static int teardown(void **state)
{
	nvme_ctrl_destroy(pf);
	mailbox_run();
	return 0;
}

#define RAE (1u << 15)

static uint16_t get_log(uint32_t lid, uint32_t bytes, uint64_t off)
{
	return RUN(pf, .opcode = nvme_admin_get_log_page, .nsid = NVME_NSID_ALL,
		   .cdw10 = lid | (bytes / 4 - 1) << 16, .cdw12 = (uint32_t)off,
		   .cdw13 = (uint32_t)(off >> 32));
}

static struct nvme_command *aer(uint16_t cid)
{
	return model_pend(pf, &(struct model_cmd){.opcode = nvme_admin_async_event, .cid = cid});
}

static void enable_events(uint32_t mask)
{
	assert_int_equal(RUN(pf, .opcode = nvme_admin_set_features,
			     .cdw10 = NVME_FEAT_FID_ASYNC_EVENT, .cdw11 = mask),
			 OK);
}

/* ---- pages ---- */

static void bad_requests(void **state)
{
	static const uint8_t unknown[] = {0x00, 0x06, 0x07, 0x0c, 0x0d, 0x12, 0x70, 0x81, 0xc0};

	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_int_equal(get_log(unknown[i], 64, 0), SPECIFIC(NVME_SC_INVALID_LOG_PAGE));
	assert_int_equal(get_log(NVME_LOG_LID_SMART, 512, 2), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(get_log(NVME_LOG_LID_SMART, 512, 516), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(get_log(NVME_LOG_LID_SMART, 512, 1ull << 32),
			 GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(get_log(NVME_LOG_LID_SMART, 4, 512), OK);
	/* LPA bit 0 is clear */
	assert_int_equal(RUN(pf, .opcode = nvme_admin_get_log_page, .nsid = 1,
			     .cdw10 = NVME_LOG_LID_SMART | 127 << 16),
			 GENERIC(NVME_SC_INVALID_FIELD));
}

static void offsets(void **state)
{
	uint8_t whole[4096];

	assert_int_equal(get_log(NVME_LOG_LID_CMD_EFFECTS, 4096, 0), OK);
	memcpy(whole, model_data, sizeof(whole));
	for (unsigned off = 0; off < 4096; off += 1020) {
		unsigned n = MIN(1024u, 4096 - off);

		assert_int_equal(get_log(NVME_LOG_LID_CMD_EFFECTS, 1024, off), OK);
		assert_memory_equal(model_data, whole + off, n);
	}
	/* beyond the page's end: zeros */
	assert_int_equal(get_log(NVME_LOG_LID_FW_SLOT, 8192, 0), OK);
	assert_int_equal(model_data[0], 1);
	assert_memory_equal(model_data + 8, "0.1     ", 8);
	for (unsigned i = 16; i < 8192; i++)
		assert_int_equal(model_data[i], 0);
}

static uint32_t admin_effects(uint8_t opcode)
{
	return get_le32(model_data + 4 * opcode);
}

static void effects(void **state)
{
	uint32_t io[256] = {0};
	struct nvme_ctrl_config cfg = {.queue_pairs = 1, .cntlid = 4, .managed = true};
	struct nvme_ctrl *managed = model_pf(&cfg), *was = pf;

	io[nvme_cmd_flush] = io[nvme_cmd_read] = io[nvme_cmd_compare] = io[nvme_cmd_verify] = 1;
	io[nvme_cmd_resv_register] = io[nvme_cmd_resv_report] = io[nvme_cmd_resv_acquire] =
		io[nvme_cmd_resv_release] = 1;
	io[nvme_cmd_write] = io[nvme_cmd_write_zeroes] = io[nvme_cmd_dsm] = io[nvme_cmd_copy] = 3;
	assert_int_equal(get_log(NVME_LOG_LID_CMD_EFFECTS, 4096, 0), OK);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(get_le32(model_data + 1024 + 4 * i), io[i]);
	assert_int_equal(admin_effects(nvme_admin_identify), 1);
	assert_int_equal(admin_effects(nvme_admin_format_nvm), 1 | 2 | 4);
	assert_int_equal(admin_effects(nvme_admin_ns_mgmt), 1 | 8);
	assert_int_equal(admin_effects(nvme_admin_dbbuf), 1);
	assert_int_equal(admin_effects(nvme_admin_virtual_mgmt), 0);
	assert_int_equal(admin_effects(nvme_admin_keep_alive), 0);
	/* What is listed is what is done, for each opcode. */
	for (unsigned op = 0; op < 256; op++) {
		bool offered = nvme_admin_effects(pf, (uint8_t)op);

		if (op == nvme_admin_async_event || op == nvme_admin_abort_cmd)
			continue;
		assert_int_equal(RUN(pf, .opcode = (uint8_t)op) == GENERIC(NVME_SC_INVALID_OPCODE),
				 !offered);
	}
	pf = managed;
	assert_int_equal(get_log(NVME_LOG_LID_CMD_EFFECTS, 4096, 0), OK);
	assert_int_equal(admin_effects(nvme_admin_ns_mgmt), 0);
	assert_int_equal(admin_effects(nvme_admin_ns_attach), 0);
	pf = was;
	nvme_ctrl_destroy(managed);
}

static void error_entries(void **state)
{
	assert_int_equal(get_log(NVME_LOG_LID_ERROR, 4096, 0), OK);
	assert_int_equal(get_le64(model_data), 0);
	/* a failing admin command, then an I/O error */
	RUN(pf, .opcode = 0xff, .cid = 5, .nsid = 3);
	nvme_log_error(pf, 2, 6, NVME_ST_MEDIA(NVME_SC_READ_ERROR), 1, 0x123456789);
	assert_int_equal(get_log(NVME_LOG_LID_ERROR, 4096, 0), OK);
	assert_int_equal(get_le64(model_data), 2);
	assert_int_equal(get_le16(model_data + 8), 2);
	assert_int_equal(get_le16(model_data + 10), 6);
	assert_int_equal(get_le16(model_data + 12), 0x281 << 1);
	assert_int_equal(get_le16(model_data + 14), 0xffff);
	assert_true(get_le64(model_data + 16) == 0x123456789);
	assert_int_equal(get_le32(model_data + 24), 1);
	assert_int_equal(get_le64(model_data + 64), 1);
	assert_int_equal(get_le16(model_data + 64 + 10), 5);
	assert_int_equal(get_le16(model_data + 64 + 12), 0x4001 << 1);
	assert_int_equal(get_le32(model_data + 64 + 24), 3);
	assert_int_equal(get_le64(model_data + 128), 0);
	/* only the newest 64 */
	for (unsigned i = 0; i < 100; i++)
		nvme_log_error(pf, 1, (uint16_t)i, 1, 1, 0);
	assert_int_equal(get_log(NVME_LOG_LID_ERROR, 8192, 0), OK);
	assert_int_equal(get_le64(model_data), 102);
	assert_int_equal(get_le64(model_data + 63 * 64), 39);
	assert_int_equal(get_le64(model_data + 64 * 64), 0);
	/* A controller reset keeps them; the next owner does not see them. */
	pci_function_reset(pf->fn, PCI_RESET_FLR);
	model_enable(pf);
	assert_int_equal(get_log(NVME_LOG_LID_ERROR, 64, 0), OK);
	assert_int_equal(get_le64(model_data), 102);
	pci_function_reset(pf->fn, PCI_RESET_DETACH);
	model_enable(pf);
	assert_int_equal(get_log(NVME_LOG_LID_ERROR, 64, 0), OK);
	assert_int_equal(get_le64(model_data), 0);
	assert_int_equal(get_log(NVME_LOG_LID_SMART, 512, 0), OK);
	assert_int_equal(get_le64(model_data + 176), 102);
}

static void queue_depth(void **state)
{
	struct nvme_io_stats st;

	model_io = (struct nvme_io_stats){.inflight = 4};
	mq.waiting = 3;
	nvme_ctrl_get_stats(pf, &st);
	assert_int_equal(st.inflight, 7);
}

static void smart(void **state)
{
	nvme_log_error(pf, 1, 1, NVME_ST_MEDIA(NVME_SC_READ_ERROR), 1, 0);
	nvme_log_error(pf, 1, 1, NVME_ST_MEDIA(NVME_SC_WRITE_FAULT) | NVME_ST_DNR, 1, 0);
	nvme_log_error(pf, 1, 1, NVME_ST_MEDIA(NVME_SC_COMPARE_FAILED), 1, 0);
	nvme_log_error(pf, 1, 1, NVME_SC_READ_ERROR, 1, 0); /* of another type */
	model_io = (struct nvme_io_stats){
		.reads = 10, .writes = 20, .read_bytes = 512001, .write_bytes = 512000};
	assert_int_equal(get_log(NVME_LOG_LID_SMART, 512, 0), OK);
	assert_int_equal(model_data[0], 0);
	assert_int_equal(get_le16(model_data + 1), 310);
	assert_int_equal(model_data[3], 100);
	assert_int_equal(get_le64(model_data + 160), 2);
	assert_int_equal(get_le64(model_data + 176), 4);
	assert_int_equal(get_le64(model_data + 32), 2); /* rounded up */
	assert_int_equal(get_le64(model_data + 48), 1);
	assert_int_equal(get_le64(model_data + 64), 10);
	assert_int_equal(get_le64(model_data + 80), 20);
	assert_int_equal(get_le64(model_data + 96), 0);
	mq.busy_ns = 179 * NS_PER_S;
	assert_int_equal(get_log(NVME_LOG_LID_SMART, 512, 0), OK);
	assert_int_equal(get_le64(model_data + 96), 2); /* minutes */
	/* The administrator's clearing of counters does not rejuvenate the drive. */
	nvme_ctrl_clear_stats(pf);
	model_io.reads = 5;
	assert_int_equal(get_log(NVME_LOG_LID_SMART, 512, 0), OK);
	assert_int_equal(get_le64(model_data + 64), 15);
	assert_int_equal(get_le64(model_data + 80), 20);
	assert_int_equal(get_le64(model_data + 48), 1);
}

/* ---- events ---- */

static void no_more_than_eight(void **state)
{
	for (uint16_t i = 0; i < 8; i++)
		aer(i);
	assert_int_equal(RUN(pf, .opcode = nvme_admin_async_event, .cid = 8),
			 SPECIFIC(NVME_SC_ASYNC_LIMIT));
	assert_int_equal(RUN(pf, .opcode = nvme_admin_abort_cmd, .cdw10 = 3 << 16), OK);
	aer(9);
	assert_int_equal(n_done, 1);
}

/* What a worker said last of the old life is not told to the next one. */
static void late_event(void **state)
{
	mq.hold_drain = true;
	wr32(pf, NVME_REG_CC, 0);
	nvme_event_post(pf, NVME_AER_ERROR, NVME_AER_ERROR_INVALID_DB_VAL, NVME_LOG_LID_ERROR);
	model_drained(pf);
	mq.hold_drain = false;
	model_enable(pf);
	aer(1);
	mailbox_run();
	assert_int_equal(n_done, 0);
}

static void namespace_changed(void **state)
{
	struct nvme_command *a = aer(1), *b = aer(2);

	enable_events(1 << 8);
	nvme_event_ns_changed(pf, 7);
	nvme_event_ns_changed(pf, 2);
	mailbox_run();
	assert_int_equal(n_done, 1); /* once for both */
	assert_ptr_equal(done[0].cmd, a);
	assert_int_equal(done[0].status, 0);
	assert_int_equal(done[0].dw0, 0x040002);
	nvme_event_ns_changed(pf, 5);
	mailbox_run();
	assert_int_equal(n_done, 1); /* masked until the page is read */
	assert_int_equal(get_log(NVME_LOG_LID_CHANGED_NS | RAE, 4096, 0), OK);
	assert_int_equal(get_le32(model_data), 2);
	assert_int_equal(get_le32(model_data + 4), 5);
	assert_int_equal(get_le32(model_data + 8), 7);
	assert_int_equal(get_le32(model_data + 12), 0);
	mailbox_run();
	assert_int_equal(n_done, 1); /* RAE: as if it had not been read */
	assert_int_equal(get_log(NVME_LOG_LID_CHANGED_NS, 4096, 0), OK);
	assert_int_equal(get_le32(model_data + 8), 7);
	mailbox_run();
	assert_int_equal(n_done, 1); /* all of it was told */
	assert_int_equal(get_log(NVME_LOG_LID_CHANGED_NS, 4096, 0), OK);
	assert_int_equal(get_le32(model_data), 0);
	nvme_event_ns_changed(pf, 256);
	mailbox_run();
	assert_int_equal(n_done, 2);
	assert_ptr_equal(done[1].cmd, b);
}

static void not_asked_for(void **state)
{
	aer(1);
	nvme_event_ns_changed(pf, 1);
	mailbox_run();
	enable_events(1 << 8);
	mailbox_run();
	assert_int_equal(n_done, 0);
	/* nor of what happens to a controller that is off */
	wr32(pf, NVME_REG_CC, CC_OFF);
	nvme_event_ns_changed(pf, 2);
	model_enable(pf);
	enable_events(1 << 8);
	aer(1);
	mailbox_run();
	assert_int_equal(n_done, 0);
	assert_int_equal(get_log(NVME_LOG_LID_CHANGED_NS, 4096, 0), OK);
	assert_int_equal(get_le32(model_data), 0);
}

/* What comes before its request waits for it. */
static void event_first(void **state)
{
	enable_events(1 << 8);
	nvme_event_ns_changed(pf, 1);
	mailbox_run();
	assert_int_equal(n_done, 0);
	aer(1);
	assert_int_equal(n_done, 0); /* not before the command is pending */
	mailbox_run();
	assert_int_equal(n_done, 1);
	/* unless its log page is read meanwhile */
	assert_int_equal(get_log(NVME_LOG_LID_CHANGED_NS, 4096, 0), OK);
	nvme_event_ns_changed(pf, 1);
	mailbox_run();
	assert_int_equal(get_log(NVME_LOG_LID_CHANGED_NS, 4096, 0), OK);
	aer(2);
	mailbox_run();
	assert_int_equal(n_done, 1);
}

static void error_events(void **state)
{
	struct nvme_command *a = aer(1);

	aer(2);
	nvme_event_post(pf, NVME_AER_ERROR, NVME_AER_ERROR_INVALID_DB_VAL, NVME_LOG_LID_ERROR);
	nvme_event_post(pf, NVME_AER_ERROR, NVME_AER_ERROR_INVALID_DB_VAL, NVME_LOG_LID_ERROR);
	nvme_event_post(pf, NVME_AER_ERROR, NVME_AER_ERROR_INVALID_DB_REG, NVME_LOG_LID_ERROR);
	nvme_event_post(pf, 9, 0, 0); /* no such type, no such info */
	nvme_event_post(pf, 0, 8, 0);
	mailbox_run();
	assert_int_equal(n_done, 1);
	assert_ptr_equal(done[0].cmd, a);
	assert_int_equal(done[0].dw0, 0x010000);
	assert_int_equal(get_log(NVME_LOG_LID_ERROR, 64, 0), OK);
	mailbox_run();
	assert_int_equal(n_done, 1);
	nvme_event_post(pf, NVME_AER_ERROR, NVME_AER_ERROR_INVALID_DB_VAL, NVME_LOG_LID_ERROR);
	mailbox_run();
	assert_int_equal(n_done, 2);
	assert_int_equal(done[1].dw0, 0x010100);
}

static void temperature_event(void **state)
{
	aer(1);
	aer(2);
	enable_events(2);
#define THRESHOLD(v)                                                                               \
	RUN(pf, .opcode = nvme_admin_set_features, .cdw10 = NVME_FEAT_FID_TEMP_THRESH, .cdw11 = v)
	assert_int_equal(THRESHOLD(311), OK);
	mailbox_run();
	assert_int_equal(n_done, 0);
	assert_int_equal(THRESHOLD(310), OK);
	mailbox_run();
	assert_int_equal(n_done, 1);
	assert_int_equal(done[0].dw0, 0x020101);
	assert_int_equal(get_log(NVME_LOG_LID_SMART, 512, 0), OK);
	assert_int_equal(model_data[0], 2);
	/* under */
	assert_int_equal(THRESHOLD(400), OK);
	assert_int_equal(THRESHOLD(310 | 1 << 20), OK);
	mailbox_run();
	assert_int_equal(n_done, 2);
}

static void reservation_event(void **state)
{
	aer(1);
	aer(2);
	model_resv_page.nalp = 1;
	model_resv_page.rnlpt = 2;
	nvme_event_post(pf, NVME_AER_CSS, NVME_AER_CSS_NVM_RESERVATION, NVME_LOG_LID_RESERVATION);
	mailbox_run();
	assert_int_equal(n_done, 1);
	assert_int_equal(done[0].dw0, 0x800006);
	assert_int_equal(get_log(NVME_LOG_LID_RESERVATION, 64, 128),
			 GENERIC(NVME_SC_INVALID_FIELD)); /* takes nothing */
	assert_int_equal(get_log(NVME_LOG_LID_RESERVATION, 64, 0), OK);
	assert_int_equal(model_data[8], 2);
	mailbox_run();
	assert_int_equal(n_done, 2); /* there is another */
	assert_int_equal(get_log(NVME_LOG_LID_RESERVATION, 64, 0), OK);
	aer(3);
	mailbox_run();
	assert_int_equal(n_done, 2);
}

static void reset_forgets(void **state)
{
	struct nvme_command *a = aer(1), *b = aer(2), *c = aer(3);

	enable_events(1 << 8);
	nvme_event_ns_changed(pf, 1);
	mq.hold_drain = true;
	wr32(pf, NVME_REG_CC, CC_OFF);
	b->cancel(b); /* as the transport does, in its own time */
	mailbox_run();
	a->cancel(a);
	c->cancel(c);
	model_drained(pf);
	model_enable(pf);
	enable_events(1 << 8);
	aer(4);
	mailbox_run();
	assert_int_equal(n_done, 0);
	nvme_event_ns_changed(pf, 1);
	mailbox_run();
	assert_int_equal(n_done, 1);
}

/* ---- threads ---- */

#define PER_THREAD 2000

static void *complain(void *arg)
{
	for (unsigned i = 0; i < PER_THREAD; i++) {
		nvme_log_error(pf, 1, (uint16_t)i, 1, 1, 0);
		nvme_event_post(pf, NVME_AER_ERROR, i % 2, NVME_LOG_LID_ERROR);
	}
	return NULL;
}

static void from_any_thread(void **state)
{
	pthread_t threads[3];

	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, complain, NULL), 0);
	for (unsigned i = 0; i < 1000; i++) {
		n_done = 0;
		aer(1);
		mailbox_run();
		assert_in_range(n_done, 0, 1);
		if (!n_done)
			assert_true(nvme_events_abort(pf, 1));
		assert_int_equal(get_log(NVME_LOG_LID_ERROR, 4096, 0), OK);
		/* newest first, none torn or missing */
		for (unsigned e = 1; e < 64 && get_le64(model_data + 64 * e); e++)
			assert_int_equal(get_le64(model_data + 64 * e) + 1,
					 get_le64(model_data + 64 * (e - 1)));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	get_log(NVME_LOG_LID_ERROR, 64, 0);
	assert_int_equal(get_le64(model_data), PER_THREAD * ARRAY_SIZE(threads));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(bad_requests),       T(offsets),	     T(effects),
		T(error_entries),      T(queue_depth),	     T(smart),
		T(no_more_than_eight), T(late_event),	     T(namespace_changed),
		T(not_asked_for),      T(event_first),	     T(error_events),
		T(temperature_event),  T(reservation_event), T(reset_forgets),
		T(from_any_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
