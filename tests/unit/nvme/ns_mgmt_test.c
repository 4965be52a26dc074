/* SPDX-License-Identifier: BSD-3-Clause */
/* Namespace Management, Namespace Attachment and Format, as a guest gives them: every refusal. */
#include "ns_model.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define SLOT	 900
#define CREATE	 NVME_NS_MGMT_SEL_CREATE
#define DELETE	 NVME_NS_MGMT_SEL_DELETE
#define OTHER_PF NVME_CNTLID_PF(1)

static struct nvme_ctrl *pf, *vf0, *other;

/* A root with a PF and a VF; another root with another PF. */
static int setup(void **state)
{
	model_setup(state);
	pf = model_pf(PF, VF(0), false);
	vf0 = model_vf(pf, VF(0));
	other = model_pf(OTHER_PF, VF(VFS), false);
	return 0;
}

static struct nvme_ns *ns_of(uint32_t nsid)
{
	return nvme_subsystem_ns(ss, nsid);
}

/* ---- create ---- */

static struct model_cmd cmd;

static struct nvme_id_ns *creation(struct nvme_ctrl *ctrl, uint64_t nsze)
{
	struct nvme_id_ns *id = (void *)cmd.data;

	model_cmd_init(&cmd, ctrl, nvme_admin_ns_mgmt, 0);
	id->nsze = id->ncap = htole64(nsze);
	return id;
}

static int run_create(void)
{
	return model_run(&cmd, nvme_ns_mgmt_run);
}

static uint32_t created(struct nvme_ctrl *ctrl, uint64_t bytes, bool shared)
{
	creation(ctrl, bytes / 512)->nmic = shared;
	assert_int_equal(run_create(), 0);
	return cmd.cmd.dw0;
}

static void creates(void **state)
{
	uint32_t nsid = created(pf, 4 * MIB, false);
	struct nvme_id_ns id = {0};

	assert_int_equal(nsid, 1);
	assert_int_equal(ns_of(1)->owner, PF);
	assert_int_equal(ns_of(1)->n_attached, 0);
	assert_int_equal(nvme_subsystem_unallocated_capacity(ss), 12 * MIB);
	nvme_ns_identify(ns_of(1), &id);
	assert_int_equal(le64toh(id.nsze), 4 * MIB / 512);
	assert_int_equal(id.nmic, 0);
	assert_int_equal(created(other, MIB, true), 2);
	nvme_ns_identify(ns_of(2), &id);
	assert_int_equal(id.nmic, 1);
	assert_int_equal(ns_of(2)->owner, OTHER_PF);
	creation(pf, 256)->flbas = 1;
	assert_int_equal(run_create(), 0);
	assert_int_equal(ns_of(3)->block_shift, 12);
}

static void create_refused(void **state)
{
	creation(pf, 0);
	assert_int_equal(run_create(), GENERIC(NVME_SC_INVALID_FIELD));
	creation(pf, 2048)->flbas = 2;
	assert_int_equal(run_create(), SPECIFIC(NVME_SC_INVALID_FORMAT));
	creation(pf, 2048)->flbas = 0x20;
	assert_int_equal(run_create(), SPECIFIC(NVME_SC_INVALID_FORMAT));
	creation(pf, 2048)->dps = 1;
	assert_int_equal(run_create(), SPECIFIC(NVME_SC_INVALID_FORMAT));
	creation(pf, 2048)->nmic = 2;
	assert_int_equal(run_create(), GENERIC(NVME_SC_INVALID_FIELD));
	creation(pf, 2048)->nvmsetid = htole16(1);
	assert_int_equal(run_create(), GENERIC(NVME_SC_INVALID_FIELD));
	creation(pf, 2048)->ncap = htole64(2047);
	assert_int_equal(run_create(), SPECIFIC(NVME_SC_THIN_PROV_NOT_SUPP));
	creation(pf, 2048)->ncap = htole64(2049);
	assert_int_equal(run_create(), GENERIC(NVME_SC_INVALID_FIELD));
	creation(pf, 16 * MIB / 512 + 1);
	assert_int_equal(run_create(), SPECIFIC(NVME_SC_NS_INSUFFICIENT_CAP));
	/* what wraps when it is made bytes */
	creation(pf, (1ull << 55) + 2048);
	assert_int_equal(run_create(), SPECIFIC(NVME_SC_NS_INSUFFICIENT_CAP));
	creation(pf, UINT64_MAX);
	assert_int_equal(run_create(), SPECIFIC(NVME_SC_NS_INSUFFICIENT_CAP));
	creation(pf, 2048);
	cmd.cmd.sqe.nsid = htole32(1);
	assert_int_equal(run_create(), GENERIC(NVME_SC_INVALID_FIELD));
	creation(pf, 2048);
	cmd.cmd.sqe.cdw10 = htole32(2);
	assert_int_equal(run_create(), GENERIC(NVME_SC_INVALID_FIELD));
	for (unsigned i = 0; i < NN; i++)
		created(pf, MIB, false);
	creation(pf, 2048);
	assert_int_equal(run_create(), SPECIFIC(NVME_SC_NS_ID_UNAVAILABLE));
	assert_int_equal(nvme_subsystem_unallocated_capacity(ss), 8 * MIB);
}

static void no_pool(void **state)
{
	model_stop();
	model_start(0, false);
	pf = model_pf(PF, VF(0), false);
	creation(pf, 2048);
	assert_int_equal(run_create(), SPECIFIC(NVME_SC_NS_INSUFFICIENT_CAP));
}

/* ---- delete ---- */

static int run_delete(struct nvme_ctrl *ctrl, uint32_t nsid)
{
	model_cmd_init(&cmd, ctrl, nvme_admin_ns_mgmt, nsid);
	cmd.cmd.sqe.cdw10 = htole32(DELETE);
	return model_run(&cmd, nvme_ns_mgmt_run);
}

static void deletes(void **state)
{
	uint32_t nsid = created(pf, 4 * MIB, false);

	model_attach(nsid, VF(0));
	model_events(vf0);
	assert_int_equal(run_delete(pf, nsid), 0);
	assert_null(ns_of(nsid));
	assert_null(model_sees(vf0, nsid));
	assert_int_equal(model_events(vf0), 1);
	assert_int_equal(nvme_subsystem_unallocated_capacity(ss), 16 * MIB);
}

static void delete_refused(void **state)
{
	uint32_t mine = created(pf, MIB, false), theirs = created(other, MIB, false);

	model_memory_ns(8, MIB);
	assert_int_equal(run_delete(pf, 0), GENERIC(NVME_SC_INVALID_NS));
	assert_int_equal(run_delete(pf, NN + 1), GENERIC(NVME_SC_INVALID_NS));
	assert_int_equal(run_delete(pf, 5), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(run_delete(pf, theirs), GENERIC(NVME_SC_OP_DENIED));
	assert_int_equal(run_delete(pf, 8), GENERIC(NVME_SC_OP_DENIED));
	/* all: its own */
	assert_int_equal(run_delete(pf, NVME_NSID_ALL), 0);
	assert_null(ns_of(mine));
	assert_non_null(ns_of(theirs));
	assert_non_null(ns_of(8));
}

/* The command is complete when the space is free; a reset lets go of the command only. */
static void delete_waits(void **state)
{
	uint32_t nsid = created(pf, MIB, false);
	struct nvme_gate *gate = ns_of(nsid)->gate;

	for (unsigned reset = 0; reset < 2; reset++) {
		assert_true(nvme_gate_enter(gate, SLOT));
		model_cmd_init(&cmd, pf, nvme_admin_ns_mgmt, nsid);
		cmd.cmd.sqe.cdw10 = htole32(DELETE);
		assert_int_equal(model_begin(&cmd, nvme_ns_mgmt_run), NVME_ST_PENDING);
		model_pump();
		assert_false(cmd.done);
		assert_int_equal(nvme_subsystem_unallocated_capacity(ss), 15 * MIB);
		if (reset)
			cmd.cmd.cancel(&cmd.cmd);
		nvme_gate_leave(gate, SLOT);
		MODEL_UNTIL(!ss->ending);
		assert_int_equal(cmd.done, !reset);
		assert_int_equal(nvme_subsystem_unallocated_capacity(ss), 16 * MIB);
		nsid = created(pf, MIB, false);
		gate = ns_of(nsid)->gate;
	}
}

/* ---- attach, detach ---- */

static int attachment(struct nvme_ctrl *ctrl, unsigned sel, uint32_t nsid, unsigned n,
		      const uint16_t *ids)
{
	struct nvme_ctrl_list *list = (void *)cmd.data;

	model_cmd_init(&cmd, ctrl, nvme_admin_ns_attach, nsid);
	cmd.cmd.sqe.cdw10 = htole32(sel);
	list->num = htole16((uint16_t)n);
	for (unsigned i = 0; i < n && ids; i++)
		list->identifier[i] = htole16(ids[i]);
	return model_run(&cmd, nvme_ns_attach_run);
}

#define LIST(...)                                                                                  \
	sizeof((uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t), (uint16_t[])                         \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define ATTACH(ctrl, nsid, ...) attachment(ctrl, 0, nsid, LIST(__VA_ARGS__))
#define DETACH(ctrl, nsid, ...) attachment(ctrl, 1, nsid, LIST(__VA_ARGS__))

static void attaches(void **state)
{
	uint32_t nsid = created(pf, MIB, true);

	model_events(pf);
	assert_int_equal(ATTACH(pf, nsid, PF, VF(0), VF(3)), 0); /* VF 3 is not enabled */
	assert_ptr_equal(model_sees(pf, nsid), ns_of(nsid));
	assert_ptr_equal(model_sees(vf0, nsid), ns_of(nsid));
	assert_int_equal(ns_of(nsid)->n_attached, 3);
	assert_int_equal(model_events(pf), 1);
	assert_int_equal(model_events(vf0), 1);
	assert_int_equal(model_events(other), 0);
	assert_int_equal(DETACH(pf, nsid, VF(0), VF(3)), 0);
	assert_null(model_sees(vf0, nsid));
	assert_ptr_equal(model_sees(pf, nsid), ns_of(nsid));
	assert_int_equal(model_events(pf), 0);
	assert_int_equal(model_events(vf0), 1);
}

static void attach_refused(void **state)
{
	uint32_t mine = created(pf, MIB, false), theirs = created(other, MIB, true);

	assert_int_equal(ATTACH(pf, 0, PF), GENERIC(NVME_SC_INVALID_NS));
	assert_int_equal(ATTACH(pf, NVME_NSID_ALL, PF), GENERIC(NVME_SC_INVALID_NS));
	assert_int_equal(ATTACH(pf, 7, PF), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(ATTACH(pf, theirs, PF), GENERIC(NVME_SC_OP_DENIED));
	assert_int_equal(attachment(pf, 2, mine, LIST(PF)), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(attachment(pf, 0, mine, 0, NULL), SPECIFIC(NVME_SC_CTRL_LIST_INVALID));
	assert_int_equal(attachment(pf, 0, mine, 2048, NULL), SPECIFIC(NVME_SC_CTRL_LIST_INVALID));
	assert_int_equal(ATTACH(pf, mine, VF(1), VF(0)), SPECIFIC(NVME_SC_CTRL_LIST_INVALID));
	assert_int_equal(ATTACH(pf, mine, VF(1), VF(1)), SPECIFIC(NVME_SC_CTRL_LIST_INVALID));
	assert_int_equal(ATTACH(pf, mine, 0xffff), SPECIFIC(NVME_SC_CTRL_LIST_INVALID));
	/* others' */
	assert_int_equal(ATTACH(pf, mine, OTHER_PF), SPECIFIC(NVME_SC_CTRL_LIST_INVALID));
	assert_int_equal(ATTACH(pf, mine, VF(VFS)), SPECIFIC(NVME_SC_CTRL_LIST_INVALID));
	assert_int_equal(ATTACH(other, theirs, VF(VFS - 1)), SPECIFIC(NVME_SC_CTRL_LIST_INVALID));
	/* private */
	assert_int_equal(ATTACH(pf, mine, VF(0), VF(1)), SPECIFIC(NVME_SC_NS_IS_PRIVATE));
	assert_int_equal(ns_of(mine)->n_attached, 0);
	assert_int_equal(DETACH(pf, mine, VF(0)), SPECIFIC(NVME_SC_NS_NOT_ATTACHED));
	assert_int_equal(ATTACH(pf, mine, VF(0)), 0);
	assert_int_equal(ATTACH(pf, mine, VF(0)), SPECIFIC(NVME_SC_NS_ALREADY_ATTACHED));
	assert_int_equal(ATTACH(pf, mine, VF(1)), SPECIFIC(NVME_SC_NS_IS_PRIVATE));
	/* all or nothing */
	assert_int_equal(DETACH(pf, mine, VF(0), VF(1)), SPECIFIC(NVME_SC_NS_NOT_ATTACHED));
	assert_int_equal(ns_of(mine)->n_attached, 1);
}

/* ---- Format ---- */

static uint16_t begin_format(struct nvme_ctrl *ctrl, uint32_t nsid, uint32_t dw10)
{
	model_cmd_init(&cmd, ctrl, nvme_admin_format_nvm, nsid);
	cmd.cmd.sqe.cdw10 = htole32(dw10);
	return model_begin(&cmd, nvme_format_run);
}

static int format(struct nvme_ctrl *ctrl, uint32_t nsid, uint32_t dw10)
{
	begin_format(ctrl, nsid, dw10);
	MODEL_UNTIL(cmd.done);
	return cmd.status & 0x7ff;
}

static void fill_file(const char *name, uint8_t byte, size_t len)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", model_dir, name);
	f = fopen(path, "r+");
	assert_non_null(f);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(putc(byte, f), byte);
	fclose(f);
}

static bool is_zero_file(const char *name, size_t len)
{
	char path[256];
	bool zero = true;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", model_dir, name);
	f = fopen(path, "r");
	assert_non_null(f);
	while (len-- && zero)
		zero = getc(f) == 0;
	fclose(f);
	return zero;
}

static void formats(void **state)
{
	model_file_ns(1, 3 * MIB, "f.img");
	model_attach(1, VF(0));
	for (unsigned ses = 0; ses < 2; ses++) {
		for (unsigned lbaf = 0; lbaf < 2; lbaf++) {
			unsigned shift = lbaf ? 12 : 9;

			fill_file("f.img", 0xa5, 3 * MIB);
			model_events(vf0);
			assert_int_equal(format(vf0, 1, lbaf | ses << 9), 0);
			assert_int_equal(ns_of(1)->block_shift, shift);
			assert_int_equal(atomic_load(&ns_of(1)->blocks), 3 * MIB >> shift);
			assert_true(is_zero_file("f.img", 3 * MIB));
			assert_int_equal(model_events(vf0), 1);
			assert_true(nvme_gate_enter(ns_of(1)->gate, SLOT));
			nvme_gate_leave(ns_of(1)->gate, SLOT);
		}
	}
}

static void format_all_attached(void **state)
{
	for (uint32_t nsid = 1; nsid <= 3; nsid++)
		model_memory_ns(nsid, MIB);
	model_attach(1, VF(0));
	model_attach(3, VF(0));
	assert_int_equal(format(vf0, NVME_NSID_ALL, 1), 0);
	assert_int_equal(ns_of(1)->block_shift, 12);
	assert_int_equal(ns_of(2)->block_shift, 9);
	assert_int_equal(ns_of(3)->block_shift, 12);
	/* one that may not be: none is */
	model_attach(3, VF(1));
	assert_int_equal(format(vf0, NVME_NSID_ALL, 0), GENERIC(NVME_SC_OP_DENIED));
	assert_int_equal(ns_of(1)->block_shift, 12);
}

static void format_refused(void **state)
{
	struct nvme_ns_config ro = {.nsid = 4, .backend = {.type = BLOCK_FILE, .read_only = true}};
	uint32_t nsid;

	model_memory_ns(1, MIB);
	model_memory_ns(2, MIB);
	model_attach(1, VF(0));
	assert_int_equal(format(vf0, 0, 0), GENERIC(NVME_SC_INVALID_NS));
	assert_int_equal(format(vf0, NN + 1, 0), GENERIC(NVME_SC_INVALID_NS));
	assert_int_equal(format(vf0, 2, 0), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(format(vf0, 5, 0), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(format(vf0, 1, 2), SPECIFIC(NVME_SC_INVALID_FORMAT));
	assert_int_equal(format(vf0, 1, 15), SPECIFIC(NVME_SC_INVALID_FORMAT));
	assert_int_equal(format(vf0, 1, 1 << 5), SPECIFIC(NVME_SC_INVALID_FORMAT));
	assert_int_equal(format(vf0, 1, 2 << 9), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(format(vf0, 1, 7 << 9), GENERIC(NVME_SC_INVALID_FIELD));
	/* others have it too; who made it may all the same */
	model_attach(1, VF(1));
	assert_int_equal(format(vf0, 1, 0), GENERIC(NVME_SC_OP_DENIED));
	nsid = created(pf, MIB, true);
	assert_int_equal(ATTACH(pf, nsid, PF, VF(0)), 0);
	assert_int_equal(format(vf0, nsid, 1), GENERIC(NVME_SC_OP_DENIED));
	assert_int_equal(format(pf, nsid, 1), 0);
	assert_int_equal(ns_of(nsid)->block_shift, 12);
	model_file_ns(4, MIB, "ro.img");
	assert_int_equal(nvme_ns_delete(ss, 4, true, why, sizeof(why)), 0);
	snprintf(ro.backend.target, sizeof(ro.backend.target), "%s/ro.img", model_dir);
	assert_int_equal(nvme_ns_create(ss, &ro, &nsid, why, sizeof(why)), 0);
	model_attach(4, VF(0));
	assert_int_equal(format(vf0, 4, 0), GENERIC(NVME_SC_NS_WRITE_PROTECTED));
}

/* While one is inside, it waits; others wait outside; a second Format is told so. */
static void format_alone(void **state)
{
	struct model_cmd first;
	struct nvme_id_ns id = {0};
	struct nvme_gate *gate;

	model_memory_ns(1, MIB);
	model_attach(1, VF(0));
	gate = ns_of(1)->gate;
	assert_true(nvme_gate_enter(gate, SLOT));
	model_cmd_init(&first, vf0, nvme_admin_format_nvm, 1);
	first.cmd.sqe.cdw10 = htole32(1);
	assert_int_equal(model_begin(&first, nvme_format_run), NVME_ST_PENDING);
	assert_false(nvme_gate_enter(gate, SLOT + 1));
	assert_int_equal(format(vf0, 1, 0), NVME_SC_FORMAT_IN_PROGRESS);
	assert_int_equal(nvme_ns_resize(ss, 1, 2 * MIB, why, sizeof(why)), -EBUSY);
	nvme_ns_identify(ns_of(1), &id);
	assert_int_equal(id.fpi, 0x80 | 100);
	model_pump();
	assert_false(first.done);
	nvme_gate_leave(gate, SLOT);
	MODEL_UNTIL(first.done);
	assert_int_equal(first.status, 0);
	assert_true(nvme_gate_enter(gate, SLOT));
	nvme_gate_leave(gate, SLOT);
	nvme_ns_identify(ns_of(1), &id);
	assert_int_equal(id.fpi, 0x80);
}

/* Its controller is reset, or the namespace deleted, at any time. */
static void format_interrupted(void **state)
{
	for (unsigned i = 0; i < 8; i++) {
		struct nvme_ns *ns;

		model_file_ns(1, 256 * MIB, "big.img");
		model_attach(1, VF(0));
		ns = ns_of(1);
		if (i & 1)
			assert_true(nvme_gate_enter(ns->gate, SLOT));
		assert_int_equal(begin_format(vf0, 1, 1), NVME_ST_PENDING);
		if (i & 2)
			cmd.cmd.cancel(&cmd.cmd);
		if (i & 4) {
			assert_int_equal(nvme_ns_delete(ss, 1, true, why, sizeof(why)), 0);
			if (i & 1)
				nvme_gate_leave(ns->gate, SLOT);
			MODEL_UNTIL(!ss->ending);
			assert_int_equal(cmd.done, !(i & 2));
			continue;
		}
		if (i & 1)
			nvme_gate_leave(ns->gate, SLOT);
		MODEL_UNTIL(ns->admin->busy == NVME_NS_IDLE);
		assert_int_equal(ns->block_shift, 12);
		assert_int_equal(nvme_ns_delete(ss, 1, true, why, sizeof(why)), 0);
		MODEL_UNTIL(!ss->ending);
	}
	/* and the subsystem ends */
	model_file_ns(1, 256 * MIB, "big.img");
	model_attach(1, VF(0));
	assert_int_equal(begin_format(vf0, 1, 1), NVME_ST_PENDING);
	cmd.cmd.cancel(&cmd.cmd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, model_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(creates),
		T(create_refused),
		T(no_pool),
		T(deletes),
		T(delete_refused),
		T(delete_waits),
		T(attaches),
		T(attach_refused),
		T(formats),
		T(format_all_attached),
		T(format_refused),
		T(format_alone),
		T(format_interrupted),
	};

	return cmocka_run_group_tests(tests, model_group_setup, model_group_teardown);
}
