/* SPDX-License-Identifier: BSD-3-Clause */
#include "ns_model.h"

#include <dirent.h>
#include <endian.h>
#include <stdlib.h>
#include <unistd.h>

#include "util/util.h"
#include "worker/mailbox.h"

#define CTRLS 16

struct nvme_subsystem *ss;
char model_dir[] = "/tmp/softiov-ns-XXXXXX";
char why[WHY_MAX];

static struct worker_pool *pool;
static struct model_ctrl {
	struct nvme_ctrl ctrl;
	bool used;
	unsigned events, async;
} ctrls[CTRLS];

/* ---- what stands in for controllers ---- */

static struct model_ctrl *model_of(const struct nvme_ctrl *ctrl)
{
	return container_of((struct nvme_ctrl *)ctrl, struct model_ctrl, ctrl);
}

void nvme_event_ns_changed(struct nvme_ctrl *ctrl, uint32_t nsid)
{
	model_of(ctrl)->events++;
}

void nvme_event_post(struct nvme_ctrl *ctrl, uint8_t type, uint8_t info, uint8_t log_page)
{
	assert_int_equal(type, NVME_AER_CSS);
	assert_int_equal(log_page, NVME_LOG_LID_RESERVATION);
	model_of(ctrl)->async++;
}

uint64_t nvme_queues_waiting(const struct nvme_queues *q, uint32_t nsid)
{
	return nsid == 1 ? 3 : 0;
}

void nvme_command_complete(struct nvme_command *cmd, uint16_t status)
{
	struct model_cmd *m = container_of(cmd, struct model_cmd, cmd);

	assert_false(m->done);
	m->done = true;
	m->status = status;
}

unsigned model_events(const struct nvme_ctrl *ctrl)
{
	unsigned n = model_of(ctrl)->events;

	model_of(ctrl)->events = 0;
	return n;
}

unsigned model_async_events(const struct nvme_ctrl *ctrl)
{
	unsigned n = model_of(ctrl)->async;

	model_of(ctrl)->async = 0;
	return n;
}

static struct nvme_ctrl *ctrl_new(uint16_t cntlid)
{
	unsigned i = 0;

	while (ctrls[i].used)
		i++;
	assert_true(i < CTRLS);
	memset(&ctrls[i], 0, sizeof(ctrls[i]));
	ctrls[i].used = true;
	ctrls[i].ctrl.cntlid = ctrls[i].ctrl.cfg.cntlid = cntlid;
	snprintf(ctrls[i].ctrl.name, sizeof(ctrls[i].ctrl.name), "ctrl%u", cntlid);
	return &ctrls[i].ctrl;
}

static struct nvme_ctrl *ctrl_add(struct nvme_ctrl *ctrl)
{
	assert_int_equal(nvme_subsystem_add(ss, ctrl), 0);
	ctrl->subsystem = ss;
	return ctrl;
}

struct nvme_ctrl *model_pf(uint16_t cntlid, uint16_t first_vf, bool managed)
{
	struct nvme_ctrl *pf = ctrl_new(cntlid);

	pf->cfg.managed = managed;
	pf->cfg.first_vf_cntlid = first_vf;
	pf->cfg.total_vfs = VFS;
	return ctrl_add(pf);
}

struct nvme_ctrl *model_vf(struct nvme_ctrl *pf, uint16_t cntlid)
{
	struct nvme_ctrl *vf = ctrl_new(cntlid);

	vf->primary = vf->cfg.primary = pf;
	return ctrl_add(vf);
}

void model_remove(struct nvme_ctrl *ctrl)
{
	nvme_subsystem_remove(ss, ctrl);
	assert_null(atomic_load(&ctrl->ns_table));
	model_of(ctrl)->used = false;
}

void model_set_host(struct nvme_ctrl *ctrl, uint8_t n)
{
	memset(ctrl->host_id, n, sizeof(ctrl->host_id));
	ctrl->host_id_extended = n;
	nvme_resv_host_changed(ctrl);
}

struct nvme_ns *model_sees(const struct nvme_ctrl *ctrl, uint32_t nsid)
{
	return atomic_load(&ctrl->ns_table)->ns[nsid - 1];
}

/* ---- life ---- */

void model_start(uint64_t bytes, bool in_directory)
{
	struct nvme_subsystem_config cfg = {
		.name = "ssd0",
		.max_namespaces = NN,
		.pool = pool,
		.ns_pool = {.capacity = bytes},
	};

	if (bytes)
		cfg.ns_pool.kind = in_directory ? NVME_POOL_DIRECTORY : NVME_POOL_MEMORY;
	snprintf(cfg.ns_pool.directory, sizeof(cfg.ns_pool.directory), "%s", model_dir);
	assert_int_equal(nvme_subsystem_create(&cfg, &ss), 0);
}

void model_stop(void)
{
	for (unsigned i = 0; i < CTRLS; i++)
		if (ctrls[i].used)
			model_remove(&ctrls[i].ctrl);
	nvme_subsystem_destroy(ss);
	ss = NULL;
}

static void empty_dir(void)
{
	DIR *d = opendir(model_dir);
	struct dirent *e;
	char path[512];

	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", model_dir, e->d_name);
		if (e->d_name[0] != '.')
			unlink(path);
	}
	if (d)
		closedir(d);
}

int model_setup(void **state)
{
	model_start(16 * MIB, false);
	return 0;
}

int model_teardown(void **state)
{
	model_stop();
	empty_dir();
	return 0;
}

int model_group_setup(void **state)
{
	if (mailbox_init() || !mkdtemp(model_dir))
		return -1;
	return worker_pool_create(2, &pool);
}

int model_group_teardown(void **state)
{
	worker_pool_destroy(pool);
	mailbox_fini();
	return rmdir(model_dir);
}

void model_pump(void)
{
	mailbox_run();
	usleep(1000);
}

/* ---- namespaces ---- */

static uint32_t make(const struct nvme_ns_config *cfg)
{
	uint32_t nsid = 0;

	if (nvme_ns_create(ss, cfg, &nsid, why, sizeof(why)))
		fail_msg("%s", why);
	return nsid;
}

uint32_t model_memory_ns(uint32_t nsid, uint64_t size)
{
	return make(&(struct nvme_ns_config){.nsid = nsid,
					     .backend = {.type = BLOCK_MEMORY, .size = size}});
}

uint32_t model_file_ns(uint32_t nsid, uint64_t size, const char *name)
{
	struct nvme_ns_config cfg = {.nsid = nsid, .backend = {.type = BLOCK_FILE, .size = size}};

	snprintf(cfg.backend.target, sizeof(cfg.backend.target), "%s/%s", model_dir, name);
	return make(&cfg);
}

void model_attach(uint32_t nsid, uint16_t cntlid)
{
	assert_int_equal(nvme_ns_attach(ss, nsid, cntlid, why, sizeof(why)), 0);
}

/* ---- commands ---- */

void model_cmd_init(struct model_cmd *m, struct nvme_ctrl *ctrl, uint8_t opcode, uint32_t nsid)
{
	memset(m, 0, sizeof(*m));
	m->cmd.ctrl = ctrl;
	m->cmd.sqe.opcode = opcode;
	m->cmd.sqe.nsid = htole32(nsid);
	m->cmd.data = m->data;
	m->cmd.len = sizeof(m->data);
}

uint16_t model_begin(struct model_cmd *m, uint16_t (*run)(struct nvme_command *cmd))
{
	uint16_t status = run(&m->cmd);

	if (status != NVME_ST_PENDING) {
		assert_false(m->done);
		m->done = true;
		m->status = status;
	}
	return status;
}

int model_run(struct model_cmd *m, uint16_t (*run)(struct nvme_command *cmd))
{
	model_begin(m, run);
	MODEL_UNTIL(m->done);
	return m->status & 0x7ff;
}
