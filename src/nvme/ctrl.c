/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A controller as a PCI function: creation, BAR dispatch, and what others ask of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/admin_private.h"
#include "nvme/state_private.h"
#include "nvme/virt_private.h"
#include "util/util.h"

#define PCI_CLASS_NVME	0x010802
#define PCI_REVISION	1
#define NVME_BAR	0
#define QUEUE_SIZE_MIN	64
#define CNTLID_RESERVED 0xffff

static_assert(NVME_VECTORS_MAX * 16 <= NVME_BAR_MSIX_PBA - NVME_BAR_MSIX_TABLE, "MSI-X table");
static_assert(NVME_DOORBELLS + NVME_VECTORS_MAX * 8 <= NVME_BAR_MSIX_TABLE, "doorbells");

/* ---- the function's calls ---- */

static void bar_read(struct pci_function *fn, unsigned bar, uint64_t off, void *buf, uint32_t len)
{
	if (bar == NVME_BAR)
		nvme_regs_read(pci_function_opaque(fn), off, buf, len);
	else
		memset(buf, 0, len);
}

static void bar_write(struct pci_function *fn, unsigned bar, uint64_t off, const void *buf,
		      uint32_t len)
{
	if (bar == NVME_BAR)
		nvme_regs_write(pci_function_opaque(fn), off, buf, len);
}

static int bar_map(struct pci_function *fn, unsigned bar, uint64_t *off, uint64_t *len)
{
	struct nvme_ctrl *ctrl = pci_function_opaque(fn);

	if (bar != NVME_BAR)
		return -EOPNOTSUPP;
	*off = NVME_DOORBELLS;
	*len = PAGE_SIZE_4K;
	return nvme_queues_map_doorbells(ctrl->queues);
}

static void function_reset(struct pci_function *fn, enum pci_reset kind)
{
	nvme_ctrl_reset_function(pci_function_opaque(fn), kind);
}

static void dma_changed(struct pci_function *fn, bool on)
{
	struct nvme_ctrl *ctrl = pci_function_opaque(fn);

	nvme_queues_dma_changed(ctrl->queues, on);
}

static int sriov_enable(struct pci_function *fn, uint16_t num_vfs)
{
	struct nvme_ctrl *ctrl = pci_function_opaque(fn);

	return ctrl->cfg.sriov_enable ? ctrl->cfg.sriov_enable(ctrl->cfg.opaque, num_vfs)
				      : -EOPNOTSUPP;
}

static void sriov_disable(struct pci_function *fn)
{
	struct nvme_ctrl *ctrl = pci_function_opaque(fn);

	if (ctrl->cfg.sriov_disable)
		ctrl->cfg.sriov_disable(ctrl->cfg.opaque);
}

static const struct pci_function_ops function_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.bar_map = bar_map,
	.reset = function_reset,
	.dma_changed = dma_changed,
	.sriov_enable = sriov_enable,
	.sriov_disable = sriov_disable,
};

/* ---- creation ---- */

/* Queue and interrupt resources that it can ever have. */
static unsigned resources_max(const struct nvme_ctrl_config *cfg)
{
	unsigned n;

	if (cfg->primary)
		n = MAX(cfg->primary->cfg.flexible_per_vf, (unsigned)NVME_ONLINE_VQ_MIN);
	else
		n = cfg->queue_pairs + 1 + (cfg->managed ? 0 : cfg->flexible);
	return MIN(n, (unsigned)NVME_VECTORS_MAX);
}

static int create_function(struct nvme_ctrl *ctrl)
{
	const struct nvme_ctrl_config *cfg = &ctrl->cfg;
	const struct pci_bar_desc bar = {NVME_BAR_SIZE, true, true};
	struct pci_function_desc desc = {
		.name = ctrl->name,
		.vendor_id = NVME_PCI_VENDOR,
		.device_id = NVME_PCI_DEVICE_PF,
		.subsystem_vendor_id = NVME_PCI_VENDOR,
		.subsystem_id = NVME_PCI_DEVICE_PF,
		.revision = PCI_REVISION,
		.class_code = PCI_CLASS_NVME,
		.bars = {[NVME_BAR] = bar},
		.msix = {.vectors = (uint16_t)resources_max(cfg),
			 .bar = NVME_BAR,
			 .table_off = NVME_BAR_MSIX_TABLE,
			 .pba_off = NVME_BAR_MSIX_PBA},
		.pf = cfg->primary ? cfg->primary->fn : NULL,
		.vf_index = cfg->vf_index,
		.ops = &function_ops,
		.opaque = ctrl,
	};

	if (cfg->total_vfs) {
		desc.sriov.total_vfs = desc.sriov.initial_vfs = cfg->total_vfs;
		desc.sriov.vf_device_id = NVME_PCI_DEVICE_VF;
		desc.sriov.vf_bars[NVME_BAR] = bar;
	}
	return pci_function_create(&desc, &ctrl->fn);
}

static bool config_ok(const struct nvme_ctrl_config *cfg)
{
	if (!cfg->name || !cfg->subsystem || cfg->cntlid == CNTLID_RESERVED ||
	    cfg->queue_size < QUEUE_SIZE_MIN || cfg->queue_size > NVME_QUEUE_SIZE_MAX)
		return false;
	if (cfg->primary)
		return !cfg->total_vfs && cfg->vf_index < cfg->primary->cfg.total_vfs;
	return cfg->queue_pairs && cfg->queue_pairs <= NVME_QUEUE_PAIRS_MAX &&
	       cfg->flexible_per_vf <= NVME_VECTORS_MAX;
}

static struct nvme_ctrl *allocate(const struct nvme_ctrl_config *cfg)
{
	struct nvme_ctrl *ctrl = calloc(1, sizeof(*ctrl));

	if (!ctrl)
		return NULL;
	ctrl->state = calloc(1, sizeof(*ctrl->state));
	if (!ctrl->state) {
		free(ctrl);
		return NULL;
	}
	ctrl->cfg = *cfg;
	snprintf(ctrl->name, sizeof(ctrl->name), "%s", cfg->name);
	ctrl->cfg.name = ctrl->name;
	ctrl->cntlid = cfg->cntlid;
	ctrl->register_memory = cfg->register_memory;
	ctrl->primary = cfg->primary;
	nvme_qos_set(&ctrl->qos, &cfg->limits);
	return ctrl;
}

/* The steps of creation, each undone by destroy() if it was done. */
static int build(struct nvme_ctrl *ctrl)
{
	int ret = create_function(ctrl);

	if (ret < 0)
		return ret;
	nvme_state_init(ctrl);
	ret = ctrl->primary ? 0 : nvme_virt_create(ctrl);
	if (ret < 0)
		return ret;
	ret = nvme_admin_create(ctrl);
	if (ret < 0)
		return ret;
	ret = nvme_queues_create(ctrl, resources_max(&ctrl->cfg) - 1, &ctrl->queues);
	if (ret < 0)
		return ret;
	ret = nvme_subsystem_add(ctrl->cfg.subsystem, ctrl);
	if (ret < 0)
		return ret;
	ctrl->subsystem = ctrl->cfg.subsystem;
	nvme_admin_reset(ctrl);
	if (ctrl->primary)
		nvme_virt_attach(ctrl);
	else
		nvme_ctrl_set_vectors(ctrl, (uint16_t)nvme_virt_vi(ctrl));
	return 0;
}

static void destroy(struct nvme_ctrl *ctrl)
{
	if (ctrl->queues)
		nvme_state_fini(ctrl);
	if (ctrl->primary && ctrl->subsystem)
		nvme_virt_detach(ctrl);
	if (ctrl->queues)
		nvme_queues_destroy(ctrl->queues);
	if (ctrl->subsystem)
		nvme_subsystem_remove(ctrl->subsystem, ctrl);
	nvme_admin_destroy(ctrl);
	if (ctrl->fn)
		pci_function_destroy(ctrl->fn);
	nvme_virt_destroy(ctrl);
	nvme_stats_fini(&ctrl->stats);
	free(ctrl->state);
	free(ctrl);
}

int nvme_ctrl_create(const struct nvme_ctrl_config *cfg, struct nvme_ctrl **out)
{
	struct nvme_ctrl *ctrl;
	int ret;

	if (!config_ok(cfg))
		return -EINVAL;
	ctrl = allocate(cfg);
	if (!ctrl)
		return -ENOMEM;
	ret = build(ctrl);
	if (ret < 0) {
		destroy(ctrl);
		return ret;
	}
	*out = ctrl;
	return 0;
}

void nvme_ctrl_destroy(struct nvme_ctrl *ctrl)
{
	if (!ctrl)
		return;
	/* So that nothing calls back into what is half gone. */
	pci_function_detach(ctrl->fn);
	destroy(ctrl);
}

/* ---- what others ask ---- */

struct pci_function *nvme_ctrl_function(struct nvme_ctrl *ctrl)
{
	return ctrl->fn;
}

int nvme_ctrl_set_limits(struct nvme_ctrl *ctrl, const struct nvme_limits *lim)
{
	ctrl->cfg.limits = *lim;
	nvme_qos_set(&ctrl->qos, lim);
	return 0;
}

static unsigned namespaces(const struct nvme_ctrl *ctrl)
{
	unsigned n = 0;

	for (uint32_t nsid = 1; nsid <= nvme_subsystem_nn(ctrl->subsystem); nsid++)
		n += nvme_admin_ns(ctrl, nsid) != NULL;
	return n;
}

static void primary_status(const struct nvme_ctrl *ctrl, struct nvme_ctrl_status *st)
{
	struct nvme_virt_totals totals;

	nvme_virt_totals(ctrl, &totals);
	st->primary = true;
	st->managed = ctrl->cfg.managed;
	st->flexible_total = totals.flexible;
	st->flexible_assigned = totals.assigned;
	st->private_queues = nvme_virt_vq_private(ctrl);
}

void nvme_ctrl_get_status(const struct nvme_ctrl *ctrl, struct nvme_ctrl_status *st)
{
	uint32_t csts = nvme_ctrl_csts(ctrl);
	struct nvme_queue_counters counters = {0};

	nvme_queues_counters(ctrl->queues, &counters);
	*st = (struct nvme_ctrl_status){
		.cntlid = ctrl->cntlid,
		.online = nvme_virt_online(ctrl),
		.enabled = NVME_CC_EN(ctrl->cc),
		.ready = NVME_CSTS_RDY(csts),
		.failed = NVME_CSTS_CFS(csts),
		.shutdown = NVME_CSTS_SHST(csts) == NVME_CSTS_SHST_CMPLT,
		.doorbell_buffer = nvme_queues_has_dbbuf(ctrl->queues),
		.remote_memory = counters.remote_memory,
		.queue_resources = nvme_virt_vq(ctrl),
		.interrupt_resources = nvme_virt_vi(ctrl),
		.queues_max = MAX(nvme_virt_vq(ctrl), 1u) - 1,
		.queues = nvme_queues_count(ctrl->queues),
		.commands = counters.commands,
		.admin_commands = counters.admin_commands,
		.interrupts = counters.interrupts,
		.kicks = counters.kicks,
		.namespaces = namespaces(ctrl),
		.limits = ctrl->cfg.limits,
	};
	if (!ctrl->primary)
		primary_status(ctrl, st);
}

void nvme_ctrl_get_stats(const struct nvme_ctrl *ctrl, struct nvme_io_stats *st)
{
	nvme_stats_get(&ctrl->stats, st);
	st->inflight += nvme_queues_waiting(ctrl->queues, 0);
}

/* SMART counts a drive's whole life. */
void nvme_ctrl_clear_stats(struct nvme_ctrl *ctrl)
{
	struct nvme_io_stats *sum = &ctrl->state->cleared, now;

	nvme_stats_get(&ctrl->stats, &now);
	sum->reads += now.reads;
	sum->writes += now.writes;
	sum->read_bytes += now.read_bytes;
	sum->write_bytes += now.write_bytes;
	nvme_stats_clear(&ctrl->stats);
}

size_t nvme_ctrl_memory(const struct nvme_ctrl *ctrl)
{
	size_t own = sizeof(*ctrl) + sizeof(*ctrl->state) + sizeof(*ctrl->admin);

	return own + nvme_queues_memory(ctrl->queues);
}
