/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reservations (Base 1.4, 8.8): who may do what under each type, what each command does and
 * refuses, who is told, what is kept over a restart.
 */
#include "ns_model.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/util.h"

#define SLOT	 900
#define NSID	 1
#define HOSTS	 4
#define CONFLICT GENERIC(NVME_SC_RESERVATION_CONFLICT)
#define INVALID	 GENERIC(NVME_SC_INVALID_FIELD)

enum { A, B, C, D }; /* hosts; controller VF(i) */
#define KEY(host) (0x100ull + (host))

static struct nvme_ctrl *pf, *ctrl[HOSTS];
static bool with_file;

static struct nvme_ns *ns(void)
{
	return nvme_subsystem_ns(ss, NSID);
}

static void add_hosts(void)
{
	pf = model_pf(PF, VF(0), true);
	for (unsigned i = 0; i < HOSTS; i++) {
		ctrl[i] = model_vf(pf, VF(i));
		model_set_host(ctrl[i], (uint8_t)(i + 1));
		model_attach(NSID, VF(i));
	}
}

static void file_path(char *path, size_t len)
{
	snprintf(path, len, "%s/resv", model_dir);
}

static int add_ns(void)
{
	struct nvme_ns_config cfg = {.nsid = NSID, .backend = {.type = BLOCK_MEMORY, .size = MIB}};
	uint32_t nsid;
	char path[256];

	file_path(path, sizeof(path));
	cfg.reservations = with_file ? path : NULL;
	return nvme_ns_create(ss, &cfg, &nsid, why, sizeof(why));
}

static int setup(void **state)
{
	with_file = false;
	model_setup(state);
	if (add_ns())
		return -1;
	add_hosts();
	return 0;
}

static int setup_file(void **state)
{
	with_file = true;
	model_setup(state);
	if (add_ns())
		return -1;
	add_hosts();
	return 0;
}

static int teardown(void **state)
{
	return model_teardown(state);
}

/* ---- commands ---- */

static struct model_cmd cmd;

static void prepare(unsigned host, uint8_t opcode, uint32_t dw10, uint64_t a, uint64_t b)
{
	model_cmd_init(&cmd, ctrl[host], opcode, NSID);
	cmd.cmd.sqe.cdw10 = htole32(dw10);
	cmd.cmd.len = opcode == nvme_cmd_resv_release ? 8 : 16;
	put_le64(cmd.data, a);
	put_le64(cmd.data + 8, b);
}

static int run(unsigned host, uint8_t opcode, uint32_t dw10, uint64_t a, uint64_t b)
{
	prepare(host, opcode, dw10, a, b);
	return model_run(&cmd, nvme_resv_run);
}

static int reg(unsigned host)
{
	return run(host, nvme_cmd_resv_register, NVME_RESERVATION_RREGA_REGISTER_KEY, 0, KEY(host));
}

static int unreg(unsigned host)
{
	return run(host, nvme_cmd_resv_register, NVME_RESERVATION_RREGA_UNREGISTER_KEY, KEY(host),
		   0);
}

static int acquire(unsigned host, unsigned type)
{
	return run(host, nvme_cmd_resv_acquire, type << 8, KEY(host), 0);
}

static int preempt(unsigned host, unsigned type, uint64_t prkey)
{
	return run(host, nvme_cmd_resv_acquire, NVME_RESERVATION_RACQA_PREEMPT | type << 8,
		   KEY(host), prkey);
}

static int release(unsigned host, unsigned type)
{
	return run(host, nvme_cmd_resv_release, type << 8, KEY(host), 0);
}

static int clear(unsigned host)
{
	return run(host, nvme_cmd_resv_release, NVME_RESERVATION_RRELA_CLEAR, KEY(host), 0);
}

static struct {
	uint32_t gen;
	uint8_t type, ptpl;
	unsigned n;
	struct nvme_registered_ctrl_ext e[16];
} rep;

static void report(unsigned host)
{
	const struct nvme_resv_status *st = (const void *)cmd.data;

	prepare(host, nvme_cmd_resv_report, sizeof(cmd.data) / 4 - 1, 0, 0);
	cmd.cmd.len = sizeof(cmd.data);
	memset(cmd.data, 0, sizeof(cmd.data));
	cmd.cmd.sqe.cdw11 = htole32(1);
	assert_int_equal(model_run(&cmd, nvme_resv_run), 0);
	rep.gen = le32toh(st->gen);
	rep.type = st->rtype;
	rep.ptpl = st->ptpls;
	rep.n = get_le16(st->regctl);
	memcpy(rep.e, st->regctl_eds, sizeof(rep.e));
}

/* The letters of who is registered; capital: holds the reservation. */
static const char *registrants(void)
{
	static char text[HOSTS + 1];
	unsigned n = 0;

	report(A);
	for (unsigned i = 0; i < rep.n; i++) {
		unsigned host = rep.e[i].hostid[0] - 1u;

		text[n++] = (char)((rep.e[i].rcsts & 1 ? 'A' : 'a') + (char)host);
	}
	text[n] = '\0';
	return text;
}

/* Registrants in the order of their coming. */
static void begin(const char *who)
{
	for (; *who; who++)
		assert_int_equal(reg((unsigned)(*who - 'a')), 0);
}

#define ARE(text) assert_string_equal(registrants(), text)

/* ---- the matrix ---- */

enum role { HOLDER, REGISTRANT, NOBODY };

/* Reading and writing, by type and role: Figure "Command Behavior in the Presence of a
 * Reservation". */
static const struct {
	uint8_t type;
	const char *may[3]; /* of holder, registrant, nobody */
} matrix[] = {
	{NVME_RESERVATION_RTYPE_WE, {"rw", "r", "r"}},
	{NVME_RESERVATION_RTYPE_EA, {"rw", "", ""}},
	{NVME_RESERVATION_RTYPE_WERO, {"rw", "rw", "r"}},
	{NVME_RESERVATION_RTYPE_EARO, {"rw", "rw", ""}},
	{NVME_RESERVATION_RTYPE_WEAR, {"rw", "rw", "r"}},
	{NVME_RESERVATION_RTYPE_EAAR, {"rw", "rw", ""}},
};

static void access_matrix(void **state)
{
	begin("ab");
	for (unsigned i = 0; i < ARRAY_SIZE(matrix); i++) {
		assert_int_equal(acquire(A, matrix[i].type), 0);
		for (unsigned role = HOLDER; role <= NOBODY; role++) {
			const char *may = matrix[i].may[role];

			assert_int_equal(!nvme_resv_forbids(ns(), VF(role), NVME_ACCESS_READ),
					 strchr(may, 'r') != NULL);
			assert_int_equal(!nvme_resv_forbids(ns(), VF(role), NVME_ACCESS_WRITE),
					 strchr(may, 'w') != NULL);
		}
		assert_int_equal(release(A, matrix[i].type), 0);
		for (unsigned role = HOLDER; role <= NOBODY; role++)
			assert_false(nvme_resv_forbids(ns(), VF(role), NVME_ACCESS_WRITE));
	}
	assert_null(atomic_load(&ns()->resv_view));
}

/* Format is a write, and a reservation comes before the question whose namespace it is. */
static void formatting(void **state)
{
	begin("ab");
	assert_int_equal(acquire(A, NVME_RESERVATION_RTYPE_WE), 0);
	model_cmd_init(&cmd, ctrl[B], nvme_admin_format_nvm, NSID);
	assert_int_equal(model_run(&cmd, nvme_format_run), CONFLICT);
	model_cmd_init(&cmd, ctrl[A], nvme_admin_format_nvm, NSID);
	assert_int_equal(model_run(&cmd, nvme_format_run), GENERIC(NVME_SC_OP_DENIED));
	for (unsigned i = B; i < HOSTS; i++)
		assert_int_equal(nvme_ns_detach(ss, NSID, VF(i), why, sizeof(why)), 0);
	model_cmd_init(&cmd, ctrl[A], nvme_admin_format_nvm, NSID);
	assert_int_equal(model_run(&cmd, nvme_format_run), 0);
	/* it stays reserved */
	assert_true(nvme_resv_forbids(ns(), VF(B), NVME_ACCESS_WRITE));
}

/* A host is one registrant, on however many controllers. */
static void hosts_not_controllers(void **state)
{
	model_set_host(ctrl[C], A + 1);
	begin("a");
	assert_int_equal(acquire(C, NVME_RESERVATION_RTYPE_EA), CONFLICT); /* its key is A's */
	assert_int_equal(acquire(A, NVME_RESERVATION_RTYPE_EA), 0);
	assert_false(nvme_resv_forbids(ns(), VF(C), NVME_ACCESS_WRITE));
	assert_true(nvme_resv_forbids(ns(), VF(B), NVME_ACCESS_READ));
	report(B);
	assert_int_equal(rep.n, 2);
	assert_int_equal(le16toh(rep.e[0].cntlid), VF(A));
	assert_int_equal(le16toh(rep.e[1].cntlid), VF(C));
	/* the controller is somebody else's, comes back, goes */
	model_set_host(ctrl[C], 9);
	assert_true(nvme_resv_forbids(ns(), VF(C), NVME_ACCESS_READ));
	model_set_host(ctrl[C], A + 1);
	assert_false(nvme_resv_forbids(ns(), VF(C), NVME_ACCESS_READ));
	model_remove(ctrl[A]);
	model_remove(ctrl[C]);
	report(B);
	assert_int_equal(rep.n, 1);
	assert_int_equal(le16toh(rep.e[0].cntlid), 0xffff);
	assert_int_equal(rep.e[0].rcsts, 1);
	/* 8 bytes are never the same as 16 */
	ctrl[C] = model_vf(pf, VF(C));
	memset(ctrl[C]->host_id, A + 1, 8);
	nvme_resv_host_changed(ctrl[C]);
	assert_true(nvme_resv_forbids(ns(), VF(C), NVME_ACCESS_READ));
}

/* Without an identifier every controller is a host of its own, until it is reset. */
static void nameless_hosts(void **state)
{
	model_set_host(ctrl[A], 0);
	model_set_host(ctrl[B], 0);
	begin("a");
	assert_int_equal(acquire(A, NVME_RESERVATION_RTYPE_WE), 0);
	assert_false(nvme_resv_forbids(ns(), VF(A), NVME_ACCESS_WRITE));
	assert_true(nvme_resv_forbids(ns(), VF(B), NVME_ACCESS_WRITE));
	report(B);
	assert_int_equal(rep.n, 1);
	nvme_resv_ctrl_reset(ctrl[B]);
	assert_true(nvme_resv_forbids(ns(), VF(B), NVME_ACCESS_WRITE));
	nvme_resv_ctrl_reset(ctrl[A]);
	assert_false(nvme_resv_forbids(ns(), VF(B), NVME_ACCESS_WRITE));
	begin("a");
	assert_int_equal(acquire(A, NVME_RESERVATION_RTYPE_WE), 0);
	model_remove(ctrl[A]);
	assert_false(nvme_resv_forbids(ns(), VF(B), NVME_ACCESS_WRITE));
	assert_int_equal(nvme_resv_registrants(ns()), 0);
}

/* ---- register ---- */

static void registers(void **state)
{
	assert_int_equal(reg(A), 0);
	assert_int_equal(reg(A), 0); /* again, the same key */
	report(A);
	assert_int_equal(rep.gen, 2);
	assert_int_equal(run(A, nvme_cmd_resv_register, 0, 0, 77), CONFLICT);
	assert_int_equal(run(B, nvme_cmd_resv_register, 0, 0, 0), INVALID);
	/* replace: by who is registered and knows the key, or ignores it */
	assert_int_equal(run(A, nvme_cmd_resv_register, 2, 5, 77), CONFLICT);
	assert_int_equal(run(A, nvme_cmd_resv_register, 2, KEY(A), 0), INVALID);
	assert_int_equal(run(A, nvme_cmd_resv_register, 2, KEY(A), 77), 0);
	assert_int_equal(run(A, nvme_cmd_resv_register, 2 | 8, 5, KEY(A)), 0);
	assert_int_equal(run(B, nvme_cmd_resv_register, 2, 0, KEY(B)), CONFLICT);
	assert_int_equal(run(B, nvme_cmd_resv_register, 2 | 8, 0, KEY(B)), 0);
	ARE("ab");
	assert_int_equal(rep.gen, 5);
	/* unregister */
	assert_int_equal(run(A, nvme_cmd_resv_register, 1, 5, 0), CONFLICT);
	assert_int_equal(run(A, nvme_cmd_resv_register, 1 | 8, 5, 0), 0);
	assert_int_equal(unreg(A), CONFLICT);
	assert_int_equal(unreg(C), CONFLICT);
	ARE("b");
	assert_int_equal(run(A, nvme_cmd_resv_register, 3, 0, 5), INVALID);
	assert_int_equal(run(A, nvme_cmd_resv_register, 1u << 30, 0, 5), INVALID);
	/* there is no file to keep it in */
	assert_int_equal(run(A, nvme_cmd_resv_register, 3u << 30, 0, 5), INVALID);
	ARE("b");
	assert_int_equal(rep.gen, 6);
}

/* A host that never tires of new names. */
static void registrants_are_bounded(void **state)
{
	int st = 0;

	for (unsigned i = 0; i < NVME_REGISTRANTS_MAX + 1; i++) {
		assert_int_equal(st, 0);
		memset(ctrl[A]->host_id, 0, 16);
		ctrl[A]->host_id[0] = (uint8_t)i;
		ctrl[A]->host_id[1] = (uint8_t)(i >> 8);
		ctrl[A]->host_id[2] = 1;
		nvme_resv_host_changed(ctrl[A]);
		st = reg(A);
	}
	assert_int_equal(st, NVME_SC_INTERNAL);
}

static void holder_unregisters(void **state)
{
	for (unsigned type = NVME_RESERVATION_RTYPE_WE; type <= NVME_RESERVATION_RTYPE_EAAR;
	     type++) {
		bool all = type >= NVME_RESERVATION_RTYPE_WEAR;

		begin("ab");
		assert_int_equal(acquire(A, type), 0);
		ARE(all ? "AB" : "Ab");
		assert_int_equal(unreg(B), 0);
		report(A);
		assert_int_equal(rep.type, type);
		begin("b");
		assert_int_equal(unreg(A), 0);
		/* with the last one, if it is that of all */
		ARE(all ? "B" : "b");
		assert_int_equal(rep.type, all ? type : 0);
		assert_int_equal(unreg(B), 0);
		report(A);
		assert_int_equal(rep.type, 0);
		assert_int_equal(rep.n, 0);
	}
}

/* ---- acquire ---- */

static void acquires(void **state)
{
	begin("ab");
	assert_int_equal(acquire(C, 1), CONFLICT);
	assert_int_equal(run(A, nvme_cmd_resv_acquire, 1 << 8, 5, 0), CONFLICT);
	assert_int_equal(acquire(A, 0), INVALID);
	assert_int_equal(acquire(A, 7), INVALID);
	assert_int_equal(run(A, nvme_cmd_resv_acquire, 1 << 8 | 8, KEY(A), 0), INVALID);
	assert_int_equal(run(A, nvme_cmd_resv_acquire, 1 << 8 | 3, KEY(A), 0), INVALID);
	report(A);
	assert_int_equal(rep.type, 0);
	assert_int_equal(acquire(A, 1), 0);
	assert_int_equal(acquire(A, 1), 0);
	assert_int_equal(acquire(A, 2), CONFLICT);
	assert_int_equal(acquire(B, 1), CONFLICT);
	report(A);
	assert_int_equal(rep.gen, 2); /* acquiring does not count */
	assert_int_equal(release(A, 1), 0);
	/* that of all registrants is everybody's */
	assert_int_equal(acquire(A, 5), 0);
	assert_int_equal(acquire(B, 5), 0);
	assert_int_equal(acquire(B, 6), CONFLICT);
	ARE("AB");
}

/* ---- preempt: before, who does what to whom, after ---- */

static const struct {
	const char *before;
	uint8_t held; /* by A, 0: not */
	uint8_t by, type;
	uint64_t prkey;
	int status;
	const char *after;
	uint8_t held_after;
} preemptions[] = {
	/* the holder: the reservation is taken over */
	{"abc", 1, B, 2, KEY(A), 0, "Bc", 2},
	{"abc", 4, C, 1, KEY(A), 0, "bC", 1},
	{"ab", 3, B, 3, KEY(A), 0, "B", 3},
	/* itself: another type */
	{"ab", 1, A, 4, KEY(A), 0, "Ab", 4},
	/* somebody else: the registration only */
	{"abc", 1, B, 2, KEY(C), 0, "Ab", 1},
	{"abc", 1, A, 2, KEY(C), 0, "Ab", 1},
	{"abc", 2, B, 2, KEY(B), 0, "Ac", 2},
	/* nobody holds it */
	{"abc", 0, A, 1, KEY(B), 0, "ac", 0},
	{"abc", 0, A, 1, 0, INVALID, "abc", 0},
	{"abc", 0, A, 1, 99, CONFLICT, "abc", 0},
	{"abc", 1, B, 1, 0, INVALID, "Abc", 1},
	{"abc", 1, B, 1, 99, CONFLICT, "Abc", 1},
	/* that of all: key 0 means all others */
	{"abc", 5, B, 1, 0, 0, "B", 1},
	{"abc", 6, B, 6, 0, 0, "B", 6},
	{"abc", 6, B, 1, KEY(A), 0, "BC", 6},
	{"abc", 6, B, 1, 99, CONFLICT, "ABC", 6},
	{"a", 6, A, 1, KEY(A), 0, "", 0},
	/* not by a stranger */
	{"ab", 1, C, 1, KEY(A), CONFLICT, "Ab", 1},
};

static void preempts(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(preemptions); i++) {
		uint32_t gen;

		begin(preemptions[i].before);
		if (preemptions[i].held)
			assert_int_equal(acquire(A, preemptions[i].held), 0);
		report(A);
		gen = rep.gen;
		assert_int_equal(
			preempt(preemptions[i].by, preemptions[i].type, preemptions[i].prkey),
			preemptions[i].status);
		ARE(preemptions[i].after);
		assert_int_equal(rep.type, preemptions[i].held_after);
		assert_int_equal(rep.gen, gen + !preemptions[i].status);
		for (unsigned h = A; h < HOSTS; h++)
			unreg(h);
		report(A);
		assert_int_equal(rep.n, 0);
	}
}

/* What is inside leaves before Preempt and Abort is complete; what comes sees the new state. */
static void preempt_and_abort(void **state)
{
	begin("ab");
	assert_int_equal(acquire(A, 1), 0);
	assert_true(nvme_gate_enter(ns()->gate, SLOT));
	prepare(B, nvme_cmd_resv_acquire, NVME_RESERVATION_RACQA_PREEMPT_AND_ABORT | 1 << 8, KEY(B),
		KEY(A));
	assert_int_equal(model_begin(&cmd, nvme_resv_run), NVME_ST_PENDING);
	assert_true(nvme_resv_forbids(ns(), VF(A), NVME_ACCESS_WRITE));
	assert_false(nvme_gate_enter(ns()->gate, SLOT + 1));
	model_pump();
	assert_false(cmd.done);
	nvme_gate_leave(ns()->gate, SLOT);
	MODEL_UNTIL(cmd.done);
	assert_int_equal(cmd.status, 0);
	assert_true(nvme_gate_enter(ns()->gate, SLOT));
	nvme_gate_leave(ns()->gate, SLOT);
	ARE("B");
}

/* The controller is reset, or the namespace goes, while the command waits. */
static void preempt_and_abort_interrupted(void **state)
{
	struct nvme_gate *gate = ns()->gate;

	for (unsigned gone = 0; gone < 2; gone++) {
		begin("ab");
		assert_int_equal(acquire(A, 1), 0);
		assert_true(nvme_gate_enter(gate, SLOT));
		prepare(B, nvme_cmd_resv_acquire, NVME_RESERVATION_RACQA_PREEMPT_AND_ABORT | 1 << 8,
			KEY(B), KEY(A));
		assert_int_equal(model_begin(&cmd, nvme_resv_run), NVME_ST_PENDING);
		if (gone)
			assert_int_equal(nvme_ns_delete(ss, NSID, true, why, sizeof(why)), 0);
		else
			cmd.cmd.cancel(&cmd.cmd);
		nvme_gate_leave(gate, SLOT);
		if (gone) {
			MODEL_UNTIL(!ss->ending);
			assert_true(cmd.done);
			break;
		}
		MODEL_UNTIL(nvme_gate_enter(gate, SLOT));
		nvme_gate_leave(gate, SLOT);
		assert_false(cmd.done);
		ARE("B");
		assert_int_equal(clear(B), 0);
	}
}

/* ---- release, clear ---- */

static void releases(void **state)
{
	begin("abc");
	assert_int_equal(release(A, 1), 0); /* there is nothing to release */
	assert_int_equal(acquire(A, 1), 0);
	assert_int_equal(release(D, 1), CONFLICT);
	assert_int_equal(run(A, nvme_cmd_resv_release, 1 << 8, 5, 0), CONFLICT);
	assert_int_equal(run(A, nvme_cmd_resv_release, 1 << 8 | 8, KEY(A), 0), INVALID);
	assert_int_equal(run(A, nvme_cmd_resv_release, 1 << 8 | 2, KEY(A), 0), INVALID);
	assert_int_equal(release(A, 2), INVALID);
	assert_int_equal(release(B, 1), 0); /* not its own: nothing happens */
	ARE("Abc");
	assert_int_equal(release(A, 1), 0);
	ARE("abc");
	assert_int_equal(rep.gen, 3);
	assert_int_equal(acquire(A, 6), 0);
	assert_int_equal(release(B, 6), 0); /* it is a holder as well */
	ARE("abc");
	assert_int_equal(acquire(A, 2), 0);
	assert_int_equal(clear(D), CONFLICT);
	assert_int_equal(clear(C), 0);
	ARE("");
	assert_int_equal(rep.type, 0);
	assert_int_equal(rep.gen, 4);
}

/* ---- report ---- */

static void reports(void **state)
{
	const struct nvme_resv_status *st = (const void *)cmd.data;
	bool to_host;

	begin("ab");
	assert_int_equal(acquire(B, 1), 0);
	/* the form for 8 bytes is not for who has 16, nor the other way round */
	prepare(A, nvme_cmd_resv_report, 63, 0, 0);
	cmd.cmd.len = 256;
	assert_int_equal(model_run(&cmd, nvme_resv_run), GENERIC(NVME_SC_HOSTID_FORMAT));
	assert_int_equal(unreg(A), 0);
	assert_int_equal(unreg(B), 0);
	ctrl[B]->host_id_extended = false;
	memset(ctrl[B]->host_id + 8, 0, 8);
	nvme_resv_host_changed(ctrl[B]);
	begin("b");
	prepare(B, nvme_cmd_resv_report, 63, 0, 0);
	cmd.cmd.len = 256;
	memset(cmd.data, 0, 256);
	assert_int_equal(model_run(&cmd, nvme_resv_run), 0);
	assert_int_equal(st->regctl[0], 1);
	assert_int_equal(le16toh(st->regctl_ds[0].cntlid), VF(B));
	assert_int_equal(le64toh(st->regctl_ds[0].rkey), KEY(B));
	assert_int_equal(le64toh(st->regctl_ds[0].hostid), 0x0202020202020202);
	/* cut off where the host's buffer ends */
	prepare(B, nvme_cmd_resv_report, 7, 0, 0);
	memset(cmd.data, 0xee, sizeof(cmd.data));
	cmd.cmd.len = 32;
	assert_int_equal(model_run(&cmd, nvme_resv_run), 0);
	assert_int_equal(st->regctl[0], 1);
	assert_int_equal(cmd.data[32], 0xee);
	prepare(B, nvme_cmd_resv_report, 0, 0, 0);
	memset(cmd.data, 0xee, sizeof(cmd.data));
	cmd.cmd.len = 4;
	assert_int_equal(model_run(&cmd, nvme_resv_run), 0);
	assert_int_equal(cmd.data[4], 0xee);
	cmd.cmd.sqe.cdw10 = htole32(UINT32_MAX);
	assert_int_equal(nvme_resv_data_len(&cmd.cmd.sqe, &to_host), UINT32_MAX);
	assert_true(to_host);
}

static void wrong_namespaces(void **state)
{
	static const struct {
		uint32_t nsid;
		int status;
	} cases[] = {{0, GENERIC(NVME_SC_INVALID_NS)},
		     {NN + 1, GENERIC(NVME_SC_INVALID_NS)},
		     {NVME_NSID_ALL, GENERIC(NVME_SC_INVALID_NS)},
		     {2, INVALID},
		     {3, INVALID}};

	model_memory_ns(3, MIB); /* not attached */
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		prepare(A, nvme_cmd_resv_register, 0, 0, 5);
		cmd.cmd.sqe.nsid = htole32(cases[i].nsid);
		assert_int_equal(model_run(&cmd, nvme_resv_run), cases[i].status);
	}
}

/* ---- notifications ---- */

static unsigned take(unsigned host)
{
	struct nvme_resv_notification_log page;
	int r = nvme_resv_take_notification(ctrl[host], &page);

	if (r) {
		assert_int_equal(page.lpc, 0);
		return NVME_RESV_NOTIFY_RNLPT_EMPTY;
	}
	assert_int_equal(le32toh(page.nsid), NSID);
	return page.rnlpt;
}

#define TOLD(host, type) assert_int_equal(take(host), NVME_RESV_NOTIFY_RNLPT_##type)

static void notifications(void **state)
{
	begin("abc");
	assert_int_equal(acquire(A, 1), 0);
	assert_int_equal(release(A, 1), 0); /* gave the others nothing */
	for (unsigned h = A; h < HOSTS; h++)
		TOLD(h, EMPTY);
	assert_int_equal(acquire(A, 3), 0);
	assert_int_equal(release(A, 3), 0);
	TOLD(A, EMPTY);
	TOLD(B, RESERVATION_RELEASED);
	TOLD(C, RESERVATION_RELEASED);
	TOLD(D, EMPTY);
	assert_int_equal(model_async_events(ctrl[B]), 1);
	assert_int_equal(model_async_events(ctrl[A]), 0);
	/* the holder of such a one leaves */
	assert_int_equal(acquire(A, 4), 0);
	assert_int_equal(unreg(A), 0);
	TOLD(B, RESERVATION_RELEASED);
	TOLD(C, RESERVATION_RELEASED);
	begin("a");
	assert_int_equal(acquire(A, 4), 0);
	assert_int_equal(preempt(B, 1, KEY(A)), 0);
	TOLD(A, REGISTRATION_PREEMPTED);
	TOLD(B, EMPTY);
	TOLD(C, RESERVATION_RELEASED);
	assert_int_equal(clear(B), 0);
	TOLD(A, EMPTY);
	TOLD(B, EMPTY);
	TOLD(C, RESERVATION_PREEMPTED);
}

static void masks(void **state)
{
	uint32_t mask;

	assert_int_equal(nvme_resv_set_mask(ns(), ctrl[B], 0xff), 0);
	assert_int_equal(nvme_resv_get_mask(ns(), ctrl[B], &mask), 0);
	assert_int_equal(mask, 0xe);
	assert_int_equal(nvme_resv_set_mask(ns(), ctrl[C], 1 << 2), 0);
	begin("abc");
	assert_int_equal(acquire(A, 3), 0);
	assert_int_equal(release(A, 3), 0);
	assert_int_equal(clear(A), 0);
	TOLD(B, EMPTY);
	TOLD(C, RESERVATION_PREEMPTED);
	TOLD(C, EMPTY);
	nvme_resv_ctrl_reset(ctrl[B]);
	assert_int_equal(nvme_resv_get_mask(ns(), ctrl[B], &mask), 0);
	assert_int_equal(mask, 0);
}

/* Who never reads loses the oldest, and can see it from the count. */
static void notifications_are_bounded(void **state)
{
	struct nvme_resv_notification_log page;

	begin("ab");
	for (unsigned i = 0; i < NVME_RESV_NOTES_MAX + 10; i++) {
		assert_int_equal(acquire(A, 3), 0);
		assert_int_equal(release(A, 3), 0);
	}
	for (unsigned i = 0; i < NVME_RESV_NOTES_MAX; i++) {
		assert_int_equal(nvme_resv_take_notification(ctrl[B], &page), 0);
		assert_int_equal(le64toh(page.lpc), i + 11);
		assert_int_equal(page.nalp, NVME_RESV_NOTES_MAX - 1 - i);
	}
	TOLD(B, EMPTY);
}

/* ---- persistence ---- */

#define PERSIST 3u
#define FORGET	2u

static int reg_persistent(unsigned host, uint32_t cptpl)
{
	return run(host, nvme_cmd_resv_register, cptpl << 30, 0, KEY(host));
}

/* As a daemon that dies, and one that comes after it. */
static void restart(void)
{
	model_stop();
	model_start(0, false);
	assert_int_equal(add_ns(), 0);
	add_hosts();
}

static void persists(void **state)
{
	uint32_t gen;

	assert_int_equal(reg_persistent(A, PERSIST), 0);
	assert_int_equal(reg(B), 0);
	assert_int_equal(acquire(A, 1), 0);
	report(A);
	gen = rep.gen;
	model_stop();
	model_start(0, false);
	assert_int_equal(add_ns(), 0);
	/* before any host has said who it is */
	pf = model_pf(PF, VF(0), true);
	assert_true(nvme_resv_forbids(ns(), VF(0), NVME_ACCESS_WRITE));
	model_remove(pf);
	add_hosts();
	ARE("Ab");
	assert_int_equal(rep.type, 1);
	assert_int_equal(rep.ptpl, 1);
	assert_int_equal(rep.gen, gen);
	assert_false(nvme_resv_forbids(ns(), VF(A), NVME_ACCESS_WRITE));
	assert_true(nvme_resv_forbids(ns(), VF(B), NVME_ACCESS_WRITE));
	assert_int_equal(preempt(B, 6, KEY(A)), 0);
	restart();
	ARE("B");
	assert_int_equal(rep.type, 6);
	/* not any more */
	assert_int_equal(reg_persistent(B, FORGET), 0);
	restart();
	ARE("");
	assert_int_equal(rep.type, 0);
	assert_int_equal(rep.ptpl, 0);
}

static void persistence_feature(void **state)
{
	struct nvme_id_ns id = {0};
	uint32_t on;

	nvme_ns_identify(ns(), &id);
	assert_int_equal(id.rescap, 0xff);
	begin("a");
	assert_int_equal(acquire(A, 2), 0);
	model_cmd_init(&cmd, ctrl[A], nvme_admin_set_features, NSID);
	assert_int_equal(nvme_resv_set_ptpl(ns(), true, &cmd.cmd), NVME_ST_PENDING);
	MODEL_UNTIL(cmd.done);
	assert_int_equal(cmd.status, 0);
	assert_int_equal(nvme_resv_get_ptpl(ns(), &on), 0);
	assert_int_equal(on, 1);
	assert_int_equal(nvme_resv_set_ptpl(ns(), true, &cmd.cmd), 0);
	restart();
	ARE("A");
}

static uint32_t second_ns(const char *file)
{
	struct nvme_ns_config cfg = {.nsid = 2, .backend = {.type = BLOCK_MEMORY, .size = MIB}};
	char path[256];
	uint32_t nsid;

	snprintf(path, sizeof(path), "%s/%s", model_dir, file ? file : "");
	cfg.reservations = file ? path : NULL;
	assert_int_equal(nvme_ns_create(ss, &cfg, &nsid, why, sizeof(why)), 0);
	model_attach(nsid, VF(A));
	return nsid;
}

static bool persists_now(uint32_t nsid)
{
	uint32_t on;

	assert_int_equal(nvme_resv_get_ptpl(nvme_subsystem_ns(ss, nsid), &on), 0);
	return on;
}

/* NSID FFFFFFFFh: complete when all files are written; one without a file, and none is changed. */
static void persistence_of_all(void **state)
{
	uint32_t two = second_ns("other");

	model_cmd_init(&cmd, ctrl[A], nvme_admin_set_features, NVME_NSID_ALL);
	assert_int_equal(nvme_resv_set_ptpl_all(ctrl[A], true, &cmd.cmd), NVME_ST_PENDING);
	assert_false(cmd.done);
	MODEL_UNTIL(cmd.done);
	assert_int_equal(cmd.status, 0);
	assert_true(persists_now(NSID) && persists_now(two));
	/* nothing to do; one to do; one ends meanwhile; its controller is reset */
	assert_int_equal(nvme_resv_set_ptpl_all(ctrl[A], true, &cmd.cmd), 0);
	assert_int_equal(nvme_resv_set_ptpl(ns(), false, &cmd.cmd), NVME_ST_PENDING);
	cmd.cmd.cancel(&cmd.cmd);
	model_cmd_init(&cmd, ctrl[A], nvme_admin_set_features, NVME_NSID_ALL);
	assert_int_equal(nvme_resv_set_ptpl_all(ctrl[A], true, &cmd.cmd), NVME_ST_PENDING);
	MODEL_UNTIL(cmd.done);
	model_cmd_init(&cmd, ctrl[A], nvme_admin_set_features, NVME_NSID_ALL);
	assert_int_equal(nvme_resv_set_ptpl_all(ctrl[A], false, &cmd.cmd), NVME_ST_PENDING);
	assert_int_equal(nvme_ns_delete(ss, two, true, why, sizeof(why)), 0);
	MODEL_UNTIL(cmd.done);
	assert_int_equal(cmd.status & 0x7ff, GENERIC(NVME_SC_INVALID_NS));
	model_cmd_init(&cmd, ctrl[A], nvme_admin_set_features, NVME_NSID_ALL);
	assert_int_equal(nvme_resv_set_ptpl_all(ctrl[A], true, &cmd.cmd), NVME_ST_PENDING);
	cmd.cmd.cancel(&cmd.cmd);
	for (unsigned i = 0; i < 50; i++)
		model_pump();
	assert_false(cmd.done);
	second_ns(NULL);
	assert_int_equal(nvme_resv_set_ptpl(ns(), false, &cmd.cmd), NVME_ST_PENDING);
	MODEL_UNTIL(cmd.done);
	assert_int_equal(nvme_resv_set_ptpl_all(ctrl[A], true, &cmd.cmd) & 0x7ff,
			 SPECIFIC(NVME_SC_FEATURE_NOT_CHANGEABLE));
	assert_false(persists_now(NSID));
}

static void persistence_unsupported(void **state)
{
	model_cmd_init(&cmd, ctrl[A], nvme_admin_set_features, NSID);
	assert_int_equal(nvme_resv_set_ptpl(ns(), true, &cmd.cmd) & 0x7ff,
			 SPECIFIC(NVME_SC_FEATURE_NOT_CHANGEABLE));
	assert_int_equal(nvme_resv_set_ptpl(ns(), false, &cmd.cmd), 0);
}

/* A command is not complete before the file is; a reset lets go of it; many become few writes. */
static void waits_for_the_file(void **state)
{
	static struct model_cmd many[32];

	assert_int_equal(reg_persistent(A, PERSIST), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
		prepare(A, nvme_cmd_resv_register, 2 | 8, 0, KEY(A) + i);
		many[i] = cmd;
		many[i].cmd.data = many[i].data;
		assert_int_equal(model_begin(&many[i], nvme_resv_run), NVME_ST_PENDING);
		assert_false(many[i].done);
	}
	many[3].cmd.cancel(&many[3].cmd);
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		if (i != 3)
			MODEL_UNTIL(many[i].done);
	assert_false(many[3].done);
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		assert_int_equal(many[i].status, 0);
	restart();
	report(A);
	assert_int_equal(le64toh(rep.e[0].rkey), KEY(A) + 31);
}

/* What cannot be kept is not called done. */
static void file_cannot_be_written(void **state)
{
	char path[256];

	file_path(path, sizeof(path));
	strcat(path, ".new");
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(reg_persistent(A, PERSIST), NVME_SC_INTERNAL);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(reg_persistent(A, PERSIST), 0);
	restart();
	ARE("a");
}

/* A fence is not dropped because its file cannot be understood. */
static void damaged_file(void **state)
{
	static const char *const bad[] = {
		"hello\n",
		"softiov-reservations 1\n",
		"softiov-reservations 1\npersist 1\n",
		"softiov-reservations 1\npersist 1\ntype 9\nend\n",
		"softiov-reservations 1\npersist 1\ntype 1\nend\n",
		"softiov-reservations 1\npersist 1\ntype 1\nhost 01 key 01 holder\nend\n",
		"softiov-reservations 1\npersist 1\ntype 0\nhost 0102030405060708 key 01 "
		"holder\nend\n",
		"softiov-reservations 1\npersist 1\nhost 0102030405060708 key 01\n"
		"host 0102030405060708 key 02\nend\n",
		"softiov-reservations 1\npersist 1\nend\nmore\n",
	};
	char path[256];

	file_path(path, sizeof(path));
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct nvme_resv_state *s = malloc(sizeof(*s));
		FILE *f = fopen(path, "w");

		assert_non_null(f);
		fputs(bad[i], f);
		fclose(f);
		why[0] = '\0';
		assert_int_equal(nvme_resv_store_load(path, s, why, sizeof(why)), -EINVAL);
		assert_non_null(strstr(why, path));
		assert_int_equal(s->n, 0);
		free(s);
		model_stop();
		model_start(0, false);
		assert_int_equal(add_ns(), -EINVAL);
		assert_null(ns());
	}
}

#define T(f)  cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TF(f) cmocka_unit_test_setup_teardown(f, setup_file, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(access_matrix),
		T(formatting),
		T(hosts_not_controllers),
		T(nameless_hosts),
		T(registers),
		T(registrants_are_bounded),
		T(holder_unregisters),
		T(acquires),
		T(preempts),
		T(preempt_and_abort),
		T(preempt_and_abort_interrupted),
		T(releases),
		T(reports),
		T(wrong_namespaces),
		T(notifications),
		T(masks),
		T(notifications_are_bounded),
		TF(persists),
		TF(persistence_feature),
		TF(persistence_of_all),
		T(persistence_unsupported),
		TF(waits_for_the_file),
		TF(file_cannot_be_written),
		TF(damaged_file),
	};

	return cmocka_run_group_tests(tests, model_group_setup, model_group_teardown);
}
