/* SPDX-License-Identifier: BSD-3-Clause */
/* Namespaces: who sees them, how they change size and end while commands are inside, what they say.
 */
#include "ns_model.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/bytes.h"
#include "worker/mailbox.h"

#define SLOT 900 /* of a gate, no channel's */

static struct nvme_ns *ns_of(uint32_t nsid)
{
	return nvme_subsystem_ns(ss, nsid);
}

static struct nvme_ns_info info_of(uint32_t nsid)
{
	struct nvme_ns_info info;

	assert_int_equal(nvme_ns_get_info(ss, nsid, &info), 0);
	return info;
}

static struct nvme_id_ns identify(uint32_t nsid)
{
	struct nvme_id_ns id = {0};

	nvme_ns_identify(ns_of(nsid), &id);
	return id;
}

/* ---- attachments ---- */

static void tables_follow_attachments(void **state)
{
	struct nvme_ctrl *pf = model_pf(PF, VF(0), true), *vf0 = model_vf(pf, VF(0)), *vf1;

	model_memory_ns(1, MIB);
	model_memory_ns(3, MIB);
	assert_null(model_sees(vf0, 1));
	model_attach(1, VF(0));
	model_attach(1, VF(1)); /* which is not there yet */
	assert_ptr_equal(model_sees(vf0, 1), ns_of(1));
	assert_null(model_sees(pf, 1));
	assert_int_equal(model_events(vf0), 1);
	assert_int_equal(model_events(pf), 0);
	vf1 = model_vf(pf, VF(1));
	assert_ptr_equal(model_sees(vf1, 1), ns_of(1));
	assert_int_equal(model_events(vf1), 0);
	model_attach(3, VF(1));
	assert_ptr_equal(model_sees(vf1, 1), ns_of(1));
	assert_ptr_equal(model_sees(vf1, 3), ns_of(3));
	assert_int_equal(nvme_ns_attach(ss, 1, VF(1), why, sizeof(why)), -EALREADY);
	assert_int_equal(nvme_ns_detach(ss, 1, VF(1), why, sizeof(why)), 0);
	assert_null(model_sees(vf1, 1));
	assert_ptr_equal(model_sees(vf1, 3), ns_of(3));
	assert_int_equal(model_events(vf1), 2);
	assert_int_equal(nvme_ns_detach(ss, 1, VF(1), why, sizeof(why)), -ENOENT);
	assert_int_equal(nvme_ns_attach(ss, 2, VF(1), why, sizeof(why)), -ENOENT);
	/* it has it again when it comes back */
	model_remove(vf0);
	assert_true(nvme_ns_is_attached(ns_of(1), VF(0)));
	vf0 = model_vf(pf, VF(0));
	assert_ptr_equal(model_sees(vf0, 1), ns_of(1));
}

static void attachments_are_in_order(void **state)
{
	static const uint16_t ids[] = {VF(3), PF, NVME_CNTLID_PF(1), VF(0), VF(1)};
	struct nvme_ns_info info;

	model_memory_ns(1, MIB);
	for (unsigned i = 0; i < 5; i++)
		model_attach(1, ids[i]);
	info = info_of(1);
	assert_int_equal(info.n_attached, 5);
	for (unsigned i = 1; i < 5; i++)
		assert_true(info.attached[i - 1] < info.attached[i]);
	assert_int_equal(nvme_ns_delete(ss, 1, false, why, sizeof(why)), -EBUSY);
}

static void controllers_are_unique(void **state)
{
	struct nvme_ctrl *pf = model_pf(PF, VF(0), true);
	struct nvme_ctrl other = {.cntlid = PF};

	assert_int_equal(nvme_subsystem_add(ss, &other), -EEXIST);
	assert_ptr_equal(nvme_subsystem_ctrl(ss, PF), pf);
	assert_null(nvme_subsystem_ctrl(ss, VF(0)));
}

/* ---- making ---- */

static int create(struct nvme_ns_config cfg)
{
	uint32_t nsid;

	why[0] = '\0';
	return nvme_ns_create(ss, &cfg, &nsid, why, sizeof(why));
}

static void refused_creations(void **state)
{
	struct block_config mem = {.type = BLOCK_MEMORY, .size = MIB};
	static const char uuid[] = "6b0f2d4c-11aa-4d2e-9f5b-0123456789ab";

	assert_int_equal(create((struct nvme_ns_config){.nsid = NN + 1, .backend = mem}), -ERANGE);
	assert_int_equal(create((struct nvme_ns_config){.backend = mem, .block_size = 1024}),
			 -EINVAL);
	assert_int_equal(create((struct nvme_ns_config){.backend = mem, .uuid = "x"}), -EINVAL);
	assert_int_equal(create((struct nvme_ns_config){.backend = mem, .uuid = uuid}), 0);
	assert_int_equal(create((struct nvme_ns_config){.backend = mem, .uuid = uuid}), -EEXIST);
	assert_int_equal(create((struct nvme_ns_config){.nsid = 1, .backend = mem}), -EEXIST);
	assert_int_equal(create((struct nvme_ns_config){.from_pool = true}), -EINVAL);
	for (unsigned i = 2; i <= NN; i++)
		assert_int_equal(create((struct nvme_ns_config){.backend = mem}), 0);
	assert_int_equal(create((struct nvme_ns_config){.backend = mem}), -EBUSY);
	assert_true(why[0]);
	/* nothing of what failed is left */
	assert_int_equal(nvme_subsystem_unallocated_capacity(ss), 16 * MIB);
}

static void pool_accounts(void **state)
{
	struct nvme_ns_config cfg = {.from_pool = true, .backend.size = 6 * MIB};
	struct nvme_subsystem_info info;

	assert_int_equal(create(cfg), 0);
	assert_int_equal(create(cfg), 0);
	assert_int_equal(create(cfg), -ENOSPC);
	assert_non_null(strstr(why, "ssd0"));
	nvme_subsystem_get_info(ss, &info);
	assert_int_equal(info.pool_used, 12 * MIB);
	assert_int_equal(info.namespaces, 2);
	assert_int_equal(nvme_ns_resize(ss, 2, 11 * MIB, why, sizeof(why)), -ENOSPC);
	assert_int_equal(info_of(2).size, 6 * MIB);
	assert_int_equal(nvme_ns_resize(ss, 2, 10 * MIB, why, sizeof(why)), 0);
	assert_int_equal(nvme_subsystem_unallocated_capacity(ss), 0);
	assert_int_equal(nvme_ns_resize(ss, 1, MIB, why, sizeof(why)), 0);
	assert_int_equal(nvme_subsystem_unallocated_capacity(ss), 5 * MIB);
	/* less than is in use: nothing is taken away */
	nvme_subsystem_set_pool_capacity(ss, 2 * MIB);
	assert_int_equal(nvme_subsystem_unallocated_capacity(ss), 0);
	assert_int_equal(nvme_ns_delete(ss, 2, false, why, sizeof(why)), 0);
	assert_int_equal(nvme_subsystem_unallocated_capacity(ss), MIB);
	assert_int_equal(nvme_ns_delete(ss, 1, false, why, sizeof(why)), 0);
	assert_int_equal(nvme_subsystem_unallocated_capacity(ss), 2 * MIB);
}

static bool exists(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", model_dir, name);
	return !access(path, F_OK);
}

/* A namespace of the configuration finds its file again; a new one is given nobody's leavings. */
static void pool_files(void **state)
{
	struct nvme_ns_config cfg = {.from_pool = true, .nsid = 1, .backend.size = MIB};

	model_stop();
	model_start(16 * MIB, true);
	assert_int_equal(create(cfg), 0);
	assert_true(exists("ssd0-ns1.img"));
	model_stop();
	assert_true(exists("ssd0-ns1.img"));
	model_start(16 * MIB, true);
	cfg.nsid = 0;
	assert_int_equal(create(cfg), 0);
	assert_null(ns_of(1));
	assert_non_null(ns_of(2));
	cfg.nsid = 1;
	assert_int_equal(create(cfg), 0);
	assert_int_equal(nvme_ns_delete(ss, 1, false, why, sizeof(why)), 0);
	assert_false(exists("ssd0-ns1.img"));
	/* a file that is not the pool's stays */
	model_file_ns(3, MIB, "own.img");
	assert_int_equal(nvme_ns_delete(ss, 3, false, why, sizeof(why)), 0);
	assert_true(exists("own.img"));
}

/* ---- identity ---- */

static void names_are_stable(void **state)
{
	uint8_t uuid[16], nguid[16], other[16];
	char nqn[NVME_NQN_SIZE], serial[32];

	model_file_ns(1, MIB, "a.img");
	model_file_ns(2, MIB, "b.img");
	memcpy(uuid, ns_of(1)->uuid, 16);
	memcpy(nguid, ns_of(1)->nguid, 16);
	memcpy(other, ns_of(2)->uuid, 16);
	snprintf(nqn, sizeof(nqn), "%s", nvme_subsystem_nqn(ss));
	snprintf(serial, sizeof(serial), "%s", nvme_subsystem_serial(ss));
	assert_memory_not_equal(uuid, other, 16);
	assert_memory_not_equal(uuid, nguid, 16);
	assert_int_equal(strncmp(nqn, "nqn.2014-08.org.nvmexpress:uuid:", 32), 0);
	assert_int_equal(strlen(nqn), 32 + 36);
	assert_true(strlen(serial) <= 20);
	model_stop();
	model_start(0, false);
	model_file_ns(2, 2 * MIB, "b.img");
	model_file_ns(1, 2 * MIB, "a.img");
	assert_memory_equal(ns_of(1)->uuid, uuid, 16);
	assert_memory_equal(ns_of(1)->nguid, nguid, 16);
	assert_memory_equal(ns_of(2)->uuid, other, 16);
	assert_string_equal(nvme_subsystem_nqn(ss), nqn);
	assert_string_equal(nvme_subsystem_serial(ss), serial);
}

static void uuids(void **state)
{
	static const char *const bad[] = {
		"",
		"6b0f2d4c-11aa-4d2e-9f5b-0123456789a",
		"6b0f2d4c-11aa-4d2e-9f5b-0123456789abc",
		"6b0f2d4c11aa4d2e9f5b0123456789ab",
		"6b0f2d4c-11aa-4d2e-9f5b-0123456789ag",
		"00000000-0000-0000-0000-000000000000",
	};
	static const char good[] = "6b0f2d4c-11aa-4d2e-9f5b-0123456789ab";
	char text[NVME_UUID_SIZE];
	uint8_t uuid[16];

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(nvme_uuid_parse(bad[i], uuid));
	assert_true(nvme_uuid_parse(good, uuid));
	nvme_uuid_print(uuid, text);
	assert_string_equal(text, good);
}

static void identified(void **state)
{
	struct nvme_ctrl *pf = model_pf(PF, VF(0), true);
	struct nvme_id_ns id;
	uint8_t desc[4096] = {0};

	model_memory_ns(1, 4 * MIB);
	model_attach(1, VF(0));
	id = identify(1);
	assert_int_equal(le64toh(id.nsze), 8192);
	assert_int_equal(le64toh(id.ncap), 8192);
	assert_int_equal(le64toh(id.nuse), 0); /* thin, and empty */
	assert_int_equal(id.nsfeat, NVME_NS_FEAT_THIN | NVME_NS_FEAT_IO_OPT);
	assert_int_equal(id.nlbaf, 1);
	assert_int_equal(id.lbaf[0].ds, 9);
	assert_int_equal(id.lbaf[1].ds, 12);
	assert_int_equal(id.flbas, 0);
	assert_int_equal(id.nmic, 0);
	assert_int_equal(id.rescap, 0xfe);
	assert_int_equal(id.dlfeat, 9);
	assert_int_equal(id.nsattr, 0);
	assert_int_equal(id.fpi, 0x80);
	assert_int_equal(get_le64(id.nvmcap), 4 * MIB);
	assert_int_equal(le16toh(id.npwg), 7); /* 4 KiB */
	assert_true(id.mssrl && id.mcl && id.msrc);
	model_attach(1, VF(1));
	assert_int_equal(identify(1).nmic, 1);
	nvme_ns_descriptors(ns_of(1), desc);
	assert_int_equal(desc[0], NVME_NIDT_NGUID);
	assert_memory_equal(desc + 4, id.nguid, 16);
	assert_int_equal(desc[20], NVME_NIDT_UUID);
	assert_memory_equal(desc + 24, ns_of(1)->uuid, 16);
	assert_int_equal(desc[40], 0);
	(void)pf;
}

static void read_only_and_4096(void **state)
{
	struct nvme_ns_config cfg = {
		.nsid = 1, .block_size = 4096, .backend = {.type = BLOCK_FILE}};
	struct nvme_id_ns id;

	model_file_ns(2, 4 * MIB, "ro.img");
	assert_int_equal(nvme_ns_delete(ss, 2, false, why, sizeof(why)), 0);
	snprintf(cfg.backend.target, sizeof(cfg.backend.target), "%s/ro.img", model_dir);
	cfg.backend.read_only = true;
	assert_int_equal(create(cfg), 0);
	id = identify(1);
	assert_int_equal(le64toh(id.nsze), 1024);
	assert_int_equal(id.flbas, 1);
	assert_int_equal(id.nsattr, 1);
	assert_int_equal(le64toh(id.nuse), 1024);
	assert_true(info_of(1).read_only);
	assert_int_equal(nvme_ns_resize(ss, 1, MIB, why, sizeof(why)), -EROFS);
	assert_int_equal(info_of(1).size, 4 * MIB);
}

/* ---- size ---- */

static void grows(void **state)
{
	struct nvme_ctrl *pf = model_pf(PF, VF(0), true);

	model_file_ns(1, MIB, "f.img");
	model_attach(1, PF);
	model_events(pf);
	/* who is inside does not matter */
	assert_true(nvme_gate_enter(ns_of(1)->gate, SLOT));
	assert_int_equal(nvme_ns_resize(ss, 1, 3 * MIB, why, sizeof(why)), 0);
	assert_int_equal(atomic_load(&ns_of(1)->blocks), 3 * MIB / 512);
	assert_int_equal(block_size(ns_of(1)->backend), 3 * MIB);
	assert_int_equal(model_events(pf), 1);
	nvme_gate_leave(ns_of(1)->gate, SLOT);
	assert_int_equal(nvme_ns_resize(ss, 1, 3 * MIB, why, sizeof(why)), 0);
	assert_int_equal(model_events(pf), 0);
	assert_int_equal(nvme_ns_resize(ss, 1, MIB + 1, why, sizeof(why)), -EINVAL);
	assert_int_equal(nvme_ns_resize(ss, 7, MIB, why, sizeof(why)), -ENOENT);
	/* a file has no size of its own to look for */
	assert_int_equal(nvme_ns_resize(ss, 1, 0, why, sizeof(why)), -EINVAL);
}

/* The end moves at once, the backend when nobody is inside any more. */
static void shrinks(void **state)
{
	struct nvme_ctrl *pf = model_pf(PF, VF(0), true);
	struct nvme_ns *ns;

	model_file_ns(1, 4 * MIB, "f.img");
	model_attach(1, PF);
	model_events(pf);
	ns = ns_of(1);
	assert_true(nvme_gate_enter(ns->gate, SLOT));
	assert_int_equal(nvme_ns_resize(ss, 1, MIB, why, sizeof(why)), 0);
	assert_int_equal(atomic_load(&ns->blocks), MIB / 512);
	assert_int_equal(model_events(pf), 1);
	assert_int_equal(block_size(ns->backend), 4 * MIB);
	assert_false(nvme_gate_enter(ns->gate, SLOT + 1));
	assert_string_equal(info_of(1).state, "being shrunk");
	assert_int_equal(nvme_ns_resize(ss, 1, 2 * MIB, why, sizeof(why)), -EBUSY);
	model_pump();
	assert_int_equal(block_size(ns->backend), 4 * MIB);
	nvme_gate_leave(ns->gate, SLOT);
	MODEL_UNTIL(block_size(ns->backend) == MIB);
	assert_true(nvme_gate_enter(ns->gate, SLOT));
	nvme_gate_leave(ns->gate, SLOT);
	assert_int_equal(nvme_ns_resize(ss, 1, 2 * MIB, why, sizeof(why)), 0);
}

static void backend_changes_by_itself(void **state)
{
	struct nvme_ctrl *pf = model_pf(PF, VF(0), true);

	model_memory_ns(1, MIB);
	model_attach(1, PF);
	model_events(pf);
	nvme_ns_backend_resized(ns_of(1), 8 * MIB);
	assert_int_equal(info_of(1).size, 8 * MIB);
	nvme_ns_backend_resized(ns_of(1), MIB / 2);
	assert_int_equal(info_of(1).size, MIB / 2);
	assert_int_equal(model_events(pf), 2);
	nvme_ns_backend_resized(ns_of(1), MIB);
}

/* ---- counters ---- */

/* The model's controllers have three commands each that wait for namespace 1. */
static void queue_depth(void **state)
{
	struct nvme_ctrl *pf = model_pf(PF, VF(0), true);
	struct nvme_io_stats st;

	model_vf(pf, VF(0));
	model_memory_ns(1, MIB);
	model_memory_ns(2, MIB);
	assert_int_equal(nvme_ns_get_stats(ss, 1, &st), 0);
	assert_int_equal(st.inflight, 0);
	model_attach(1, PF);
	model_attach(1, VF(0));
	model_attach(1, VF(1)); /* is not there */
	model_attach(2, PF);
	assert_int_equal(nvme_ns_get_stats(ss, 1, &st), 0);
	assert_int_equal(st.inflight, 6);
	assert_int_equal(nvme_ns_get_stats(ss, 2, &st), 0);
	assert_int_equal(st.inflight, 0);
	assert_int_equal(nvme_ns_get_stats(ss, 3, &st), -ENOENT);
}

/* ---- the end ---- */

static void deleted_with_commands_inside(void **state)
{
	struct nvme_ctrl *pf = model_pf(PF, VF(0), true);
	struct nvme_ns *ns;

	model_file_ns(1, MIB, "f.img");
	model_attach(1, PF);
	model_events(pf);
	ns = ns_of(1);
	assert_true(nvme_gate_enter(ns->gate, SLOT));
	assert_int_equal(nvme_ns_delete(ss, 1, true, why, sizeof(why)), 0);
	assert_null(ns_of(1));
	assert_null(model_sees(pf, 1));
	assert_int_equal(model_events(pf), 1);
	assert_ptr_equal(ss->ending, ns);
	assert_false(nvme_gate_enter(ns->gate, SLOT + 1));
	/* its file is still open, its number is free */
	assert_int_not_equal(create((struct nvme_ns_config){
				     .nsid = 1, .backend = *block_get_config(ns->backend)}),
			     0);
	model_memory_ns(1, MIB);
	nvme_gate_leave(ns->gate, SLOT);
	MODEL_UNTIL(!ss->ending);
	model_file_ns(2, MIB, "f.img");
}

static void deleted_while_shrinking(void **state)
{
	struct nvme_ns *ns;

	model_memory_ns(1, 4 * MIB);
	ns = ns_of(1);
	assert_true(nvme_gate_enter(ns->gate, SLOT));
	assert_int_equal(nvme_ns_resize(ss, 1, MIB, why, sizeof(why)), 0);
	assert_int_equal(nvme_ns_delete(ss, 1, true, why, sizeof(why)), 0);
	nvme_gate_leave(ns->gate, SLOT);
	MODEL_UNTIL(!ss->ending);
}

static void *leave_later(void *arg)
{
	usleep(50000);
	nvme_gate_leave(arg, SLOT);
	return NULL;
}

/* The subsystem's end waits for who is inside, and reads no mailbox. */
static void destruction_waits(void **state)
{
	struct nvme_gate *gate;
	pthread_t thread;

	model_file_ns(1, MIB, "f.img");
	gate = ns_of(1)->gate;
	assert_true(nvme_gate_enter(gate, SLOT));
	assert_int_equal(pthread_create(&thread, NULL, leave_later, gate), 0);
	model_stop();
	pthread_join(thread, NULL);
	model_start(0, false);
	model_file_ns(1, MIB, "f.img"); /* was closed */
}

/* ---- who may manage ---- */

static void manageable(void **state)
{
	struct nvme_ctrl *pf = model_pf(PF, VF(0), false), *vf = model_vf(pf, VF(0)), *other;

	model_memory_ns(1, MIB);
	assert_true(nvme_ns_manageable(ns_of(1), pf));
	assert_false(nvme_ns_manageable(ns_of(1), vf));
	model_attach(1, VF(VFS - 1));
	assert_true(nvme_ns_manageable(ns_of(1), pf));
	/* a controller that is not this PF's has it */
	model_attach(1, VF(VFS));
	assert_false(nvme_ns_manageable(ns_of(1), pf));
	assert_int_equal(nvme_ns_detach(ss, 1, VF(VFS), why, sizeof(why)), 0);
	other = model_pf(NVME_CNTLID_PF(1), VF(VFS), false);
	assert_false(nvme_ns_manageable(ns_of(1), pf));
	ns_of(1)->owner = PF;
	assert_true(nvme_ns_manageable(ns_of(1), pf));
	assert_false(nvme_ns_manageable(ns_of(1), other));
	/* nor when the owner has gone away */
	model_remove(vf);
	model_remove(pf);
	assert_false(nvme_ns_manageable(ns_of(1), other));
	ns_of(1)->owner = NVME_NO_OWNER;
	other->cfg.managed = true;
	assert_false(nvme_ns_manageable(ns_of(1), other));
}

#define T(f) cmocka_unit_test_setup_teardown(f, model_setup, model_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(tables_follow_attachments),
		T(attachments_are_in_order),
		T(controllers_are_unique),
		T(refused_creations),
		T(pool_accounts),
		T(pool_files),
		T(names_are_stable),
		T(uuids),
		T(identified),
		T(read_only_and_4096),
		T(grows),
		T(shrinks),
		T(backend_changes_by_itself),
		T(queue_depth),
		T(deleted_with_commands_inside),
		T(deleted_while_shrinking),
		T(destruction_waits),
		T(manageable),
	};

	return cmocka_run_group_tests(tests, model_group_setup, model_group_teardown);
}
