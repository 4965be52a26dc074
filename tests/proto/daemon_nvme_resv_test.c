/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reservations (NVM Express Base 8.8) between two controllers of a real daemon, and over its end.
 *
 *   daemon_nvme_resv_test SOFTIOVD SOFTIOV [TEST]
 */
#include "daemon_nvme.h"

#define SHARED 1

static const char config[] =
	WORKERS "devices:\n"
		"  ssd0:\n"
		"    type: nvme\n"
		"    total-vfs: 4\n"
		"    num-vfs: 3\n"
		"    namespaces:\n"
		"      1: {memory: 16M, reservations: @/resv.json, attach: [vf0, vf1, vf2]}\n";

static struct nvme_rig rig;
static struct nvme_host *h, *g; /* at vf0 and vf1 */
static struct nvme_host_sq *io, *gio;

static int open_hosts(void)
{
	const struct nvme_host_config cfg = {0};

	if (nvme_rig_open(&rig, "ssd0/vf0", cfg, &h) || nvme_rig_open(&rig, "ssd0/vf1", cfg, &g))
		return -1;
	io = nvme_host_io(h, 1);
	gio = nvme_host_io(g, 1);
	return 0;
}

static void close_hosts(void)
{
	nvme_host_close(h);
	nvme_host_close(g);
	h = g = NULL;
}

static int setup(void **state)
{
	return nvme_rig_start(&rig, config) ? -1 : open_hosts();
}

static int teardown(void **state)
{
	close_hosts();
	return nvme_rig_stop(&rig);
}

static int resv(struct nvme_host *who, uint8_t opcode, uint32_t cdw10, uint64_t a, uint64_t b)
{
	struct nvme_sqe sqe = {.opcode = opcode, .nsid = SHARED, .cdw10 = cdw10};

	memcpy(who->data, &a, 8);
	memcpy(who->data + 8, &b, 8);
	return nvme_host_exec_data(nvme_host_io(who, 1), &sqe,
				   opcode == nvme_cmd_resv_release ? 8 : 16, NULL);
}

static int register_key(struct nvme_host *who, uint64_t key, uint32_t cptpl)
{
	return resv(who, nvme_cmd_resv_register, cptpl << 30, 0, key);
}

static int acquire(struct nvme_host *who, uint64_t key, unsigned type)
{
	return resv(who, nvme_cmd_resv_acquire, type << 8, key, 0);
}

static int release(struct nvme_host *who, uint64_t key, unsigned type)
{
	return resv(who, nvme_cmd_resv_release, type << 8, key, 0);
}

static void report(struct nvme_host *who, struct nvme_resv_status *st, size_t len)
{
	struct nvme_sqe sqe = {.opcode = nvme_cmd_resv_report,
			       .nsid = SHARED,
			       .cdw11 = 1,
			       .cdw10 = (uint32_t)len / 4 - 1};

	OK(nvme_host_exec_data(nvme_host_io(who, 1), &sqe, (uint32_t)len, NULL));
	memcpy(st, who->data, len);
}

static void set_host_id(struct nvme_host *who, uint8_t n)
{
	struct nvme_sqe sqe = {
		.opcode = nvme_admin_set_features, .cdw10 = NVME_FEAT_FID_HOST_ID, .cdw11 = 1};

	memset(who->data, n, 16);
	OK(nvme_host_exec_data(nvme_host_admin(who), &sqe, 16, NULL));
}

static int try_write(struct nvme_host *who)
{
	return nvme_host_rw(nvme_host_io(who, 1), nvme_cmd_write, SHARED, 5, 1, 0);
}

static int try_read(struct nvme_host *who)
{
	return nvme_host_rw(nvme_host_io(who, 1), nvme_cmd_read, SHARED, 5, 1, 0);
}

#define CONFLICT GENERIC(NVME_SC_RESERVATION_CONFLICT)

static void reservations(void **state)
{
	union {
		struct nvme_resv_status st;
		uint8_t bytes[512];
	} r;

	set_host_id(h, 0x11);
	set_host_id(g, 0x22);
	OK(register_key(h, 0xabc, NVME_RESERVATION_CPTPL_NO_CHANGE));
	STATUS(acquire(g, 0xabc, NVME_RESERVATION_RTYPE_WE), CONFLICT); /* not registered */
	OK(acquire(h, 0xabc, NVME_RESERVATION_RTYPE_WE));
	OK(try_write(h));
	STATUS(try_write(g), CONFLICT);
	OK(try_read(g));
	STATUS(nvme_host_deallocate(gio, SHARED, 0, 1), CONFLICT);
	STATUS(nvme_host_range(gio, nvme_cmd_write_zeroes, SHARED, 0, 1, 0), CONFLICT);
	OK(register_key(g, 0xdef, NVME_RESERVATION_CPTPL_NO_CHANGE));
	STATUS(try_write(g), CONFLICT); /* a registrant is not the holder */
	report(g, &r.st, sizeof(r));
	assert_int_equal(r.st.rtype, NVME_RESERVATION_RTYPE_WE);
	assert_int_equal(r.st.regctl[0], 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct nvme_registered_ctrl_ext *e = &r.st.regctl_eds[i];
		bool mine = e->cntlid == 1;

		assert_int_equal(e->rcsts & 1, mine);
		assert_int_equal(e->rkey, mine ? 0xabc : 0xdef);
		assert_int_equal(e->hostid[0], mine ? 0x11 : 0x22);
	}
	STATUS(release(h, 0xbad, NVME_RESERVATION_RTYPE_WE), CONFLICT);
	OK(release(h, 0xabc, NVME_RESERVATION_RTYPE_WE));
	OK(try_write(g));
	/* exclusive access: reading is forbidden too; registrants are let in by the other types */
	OK(acquire(g, 0xdef, NVME_RESERVATION_RTYPE_EA));
	STATUS(try_read(h), CONFLICT);
	STATUS(nvme_host_range(io, nvme_cmd_verify, SHARED, 0, 1, 0), CONFLICT);
	OK(release(g, 0xdef, NVME_RESERVATION_RTYPE_EA));
	OK(acquire(g, 0xdef, NVME_RESERVATION_RTYPE_EARO));
	OK(try_write(h));
	/* one fences the other off */
	OK(resv(h, nvme_cmd_resv_acquire,
		NVME_RESERVATION_RACQA_PREEMPT | NVME_RESERVATION_RTYPE_WE << 8, 0xabc, 0xdef));
	STATUS(try_write(g), CONFLICT);
	report(h, &r.st, sizeof(r));
	assert_int_equal(r.st.regctl[0], 1);
	assert_int_equal(r.st.rtype, NVME_RESERVATION_RTYPE_WE);
	/* clear: everything goes */
	OK(resv(h, nvme_cmd_resv_release, NVME_RESERVATION_RRELA_CLEAR, 0xabc, 0));
	OK(try_write(g));
	report(h, &r.st, sizeof(r));
	assert_int_equal(r.st.regctl[0], 0);
	assert_int_equal(r.st.rtype, 0);
}

/* With Persist Through Power Loss they are there again when the daemon has been away: killed, not
 * ended, once they were acknowledged. */
static void reservations_persist(void **state)
{
	union {
		struct nvme_resv_status st;
		uint8_t bytes[512];
	} r;

	set_host_id(h, 0x11);
	OK(register_key(h, 0x123, NVME_RESERVATION_CPTPL_PERSIST));
	OK(acquire(h, 0x123, NVME_RESERVATION_RTYPE_WE));
	nvme_rig_kill(&rig);
	close_hosts();
	assert_int_equal(nvme_rig_start(&rig, config), 0);
	assert_int_equal(open_hosts(), 0);
	set_host_id(g, 0x22);
	STATUS(try_write(g), CONFLICT);
	OK(try_read(g));
	report(g, &r.st, sizeof(r));
	assert_int_equal(r.st.regctl[0], 1);
	assert_int_equal(r.st.rtype, NVME_RESERVATION_RTYPE_WE);
	assert_int_equal(r.st.ptpls, 1);
	/* the same host again: it is still the holder */
	set_host_id(h, 0x11);
	OK(try_write(h));
	OK(register_key(h, 0x123, NVME_RESERVATION_CPTPL_CLEAR));
	/* now without persistence */
	nvme_rig_kill(&rig);
	close_hosts();
	assert_int_equal(nvme_rig_start(&rig, config), 0);
	assert_int_equal(open_hosts(), 0);
	set_host_id(g, 0x22);
	OK(try_write(g));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reservations),
		cmocka_unit_test(reservations_persist),
	};
	int ret;

	if (nvme_test_begin(&rig, argc, argv))
		return 2;
	ret = cmocka_run_group_tests(tests, setup, teardown);
	return nvme_rig_fini(&rig) ? 1 : ret;
}
