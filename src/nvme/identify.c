/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Identify (Base 5.15).
 */
#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "nvme/admin_private.h"
#include "nvme/state_private.h"
#include "nvme/virt_private.h"
#include "util/bytes.h"
#include "util/util.h"

/* Compare and Write has its namespace for itself: as much as MDTS allows of the largest block. */
#define COMPARE_WRITE_BLOCKS 256
#define RTD3_RESUME_US	     1000000 /* RTD3R */
#define RTD3_ENTRY_US	     10000000 /* RTD3E: how long Linux waits for a shutdown, flush included */
#define POWER_CENTIWATT	     2500
#define ACTIVE_LIST_MAX	     0xfffffffeu /* an NSID from here on has no successor */

/* ---- the controller ---- */

/* ASCII, left justified, padded with spaces (1.5). */
static void put_text(char *field, size_t len, const char *text)
{
	size_t n = strnlen(text, len);

	memset(field, ' ', len);
	memcpy(field, text, n);
}

static uint16_t admin_commands(const struct nvme_ctrl *ctrl)
{
	unsigned oacs = NVME_CTRL_OACS_FORMAT;

	if (nvme_admin_has_ns_management(ctrl))
		oacs |= NVME_CTRL_OACS_NS_MGMT;
	if (nvme_admin_has_virtualization(ctrl))
		oacs |= NVME_CTRL_OACS_VIRT_MGMT;
	if (!ctrl->cfg.no_doorbell_buffer)
		oacs |= NVME_CTRL_OACS_DBBUF_CFG;
	return (uint16_t)oacs;
}

static void identity(const struct nvme_ctrl *ctrl, struct nvme_id_ctrl *id)
{
	const struct nvme_subsystem *ss = ctrl->subsystem;

	id->vid = id->ssvid = htole16(NVME_PCI_VENDOR);
	put_text(id->sn, sizeof(id->sn), nvme_subsystem_serial(ss));
	put_text(id->mn, sizeof(id->mn), nvme_subsystem_model(ss));
	memcpy(id->fr, NVME_FIRMWARE_REVISION, sizeof(id->fr));
	snprintf(id->subnqn, sizeof(id->subnqn), "%s", nvme_subsystem_nqn(ss));
	/* Several controllers: all say so, or Linux refuses the second. Only those of VFs say
	 * that they are such. */
	id->cmic = NVME_CTRL_CMIC_MULTI_CTRL | (ctrl->primary ? NVME_CTRL_CMIC_MULTI_SRIOV : 0);
	id->cntlid = htole16(ctrl->cntlid);
	id->ver = htole32(NVME_SPEC_VERSION);
	id->cntrltype = NVME_CTRL_CNTRLTYPE_IO;
}

static void limits(const struct nvme_ctrl *ctrl, struct nvme_id_ctrl *id)
{
	id->mdts = NVME_MDTS_SHIFT;
	id->rtd3r = htole32(RTD3_RESUME_US);
	id->rtd3e = htole32(RTD3_ENTRY_US);
	id->acl = NVME_ABORTS_MAX - 1;
	id->aerl = NVME_AERS_MAX - 1;
	id->elpe = NVME_ERROR_LOG_ENTRIES - 1;
	id->wctemp = htole16(NVME_TEMPERATURE_WARNING);
	id->cctemp = htole16(NVME_TEMPERATURE_CRITICAL);
	id->sqes = NVME_SQE_SHIFT << 4 | NVME_SQE_SHIFT;
	id->cqes = NVME_CQE_SHIFT << 4 | NVME_CQE_SHIFT;
	id->maxcmd = htole16(ctrl->cfg.queue_size);
	id->nn = htole32(nvme_subsystem_nn(ctrl->subsystem));
	id->psd[0].mp = htole16(POWER_CENTIWATT);
}

static void abilities(const struct nvme_ctrl *ctrl, struct nvme_id_ctrl *id)
{
	id->oaes = htole32(NVME_CTRL_OAES_NA);
	id->ctratt = htole32(NVME_CTRL_CTRATT_128_ID);
	id->oacs = htole16(admin_commands(ctrl));
	id->frmw = NVME_CTRL_FRMW_1ST_RO | 1 << 1; /* one slot, read-only */
	id->lpa = NVME_CTRL_LPA_CMD_EFFECTS | NVME_CTRL_LPA_EXTENDED;
	id->oncs = htole16(NVME_CTRL_ONCS_COMPARE | NVME_CTRL_ONCS_DSM |
			   NVME_CTRL_ONCS_WRITE_ZEROES | NVME_CTRL_ONCS_RESERVATIONS |
			   NVME_CTRL_ONCS_TIMESTAMP | NVME_CTRL_ONCS_VERIFY | NVME_CTRL_ONCS_COPY);
	id->fuses = htole16(NVME_CTRL_FUSES_COMPARE_AND_WRITE);
	id->acwu = htole16(COMPARE_WRITE_BLOCKS - 1);
	/* 11b: Flush takes NSID FFFFFFFFh */
	id->vwc = NVME_CTRL_VWC_PRESENT | NVME_CTRL_VWC_FLUSH;
	id->ocfs = htole16(1); /* Copy descriptors of format 0 */
	/* Any alignment; bit buckets; lists that are longer than the data */
	id->sgls = htole32(1 | NVME_CTRL_SGLS_BIT_BUCKET | NVME_CTRL_SGLS_OVERSIZE);
}

static uint16_t identify_ctrl(struct nvme_command *cmd)
{
	const struct nvme_ctrl *ctrl = cmd->ctrl;
	struct nvme_id_ctrl *id = (void *)cmd->data;

	identity(ctrl, id);
	limits(ctrl, id);
	abilities(ctrl, id);
	if (nvme_admin_has_ns_management(ctrl)) {
		put_le64(id->tnvmcap, nvme_subsystem_total_capacity(ctrl->subsystem));
		put_le64(id->unvmcap, nvme_subsystem_unallocated_capacity(ctrl->subsystem));
	}
	return 0;
}

/* ---- namespaces ---- */

static uint32_t nsid_of(const struct nvme_command *cmd)
{
	return le32toh(cmd->sqe.nsid);
}

/* An NSID that is valid but not active answers zeros: firmware walks them until the first error. */
static uint16_t identify_ns(struct nvme_command *cmd)
{
	const struct nvme_ns *ns;

	if (nsid_of(cmd) == NVME_NSID_ALL && nvme_admin_has_ns_management(cmd->ctrl)) {
		nvme_ns_identify_common(cmd->ctrl->subsystem, (void *)cmd->data);
		return 0;
	}
	if (!nvme_admin_nsid_valid(cmd->ctrl, nsid_of(cmd)))
		return NVME_ST_GENERIC(NVME_SC_INVALID_NS);
	ns = nvme_admin_ns(cmd->ctrl, nsid_of(cmd));
	if (ns)
		nvme_ns_identify(ns, (void *)cmd->data);
	return 0;
}

static uint16_t identify_allocated_ns(struct nvme_command *cmd)
{
	const struct nvme_ns *ns;

	if (!nvme_admin_nsid_valid(cmd->ctrl, nsid_of(cmd)))
		return NVME_ST_GENERIC(NVME_SC_INVALID_NS);
	ns = nvme_subsystem_ns(cmd->ctrl->subsystem, nsid_of(cmd));
	if (ns)
		nvme_ns_identify(ns, (void *)cmd->data);
	return 0;
}

static uint16_t list_ns(struct nvme_command *cmd, bool allocated)
{
	const struct nvme_ctrl *ctrl = cmd->ctrl;
	uint32_t nn = nvme_subsystem_nn(ctrl->subsystem);
	unsigned n = 0;

	if (nsid_of(cmd) >= ACTIVE_LIST_MAX)
		return NVME_ST_GENERIC(NVME_SC_INVALID_NS);
	for (uint32_t nsid = nsid_of(cmd) + 1; nsid <= nn && n < NVME_ID_NS_LIST_MAX; nsid++)
		if (allocated ? nvme_subsystem_ns(ctrl->subsystem, nsid)
			      : nvme_admin_ns(ctrl, nsid))
			put_le32(cmd->data + 4 * n++, nsid);
	return 0;
}

static uint16_t list_active(struct nvme_command *cmd)
{
	return list_ns(cmd, false);
}

static uint16_t list_allocated(struct nvme_command *cmd)
{
	return list_ns(cmd, true);
}

static uint16_t identify_descriptors(struct nvme_command *cmd)
{
	const struct nvme_ns *ns = nvme_admin_ns(cmd->ctrl, nsid_of(cmd));

	if (!nvme_admin_nsid_valid(cmd->ctrl, nsid_of(cmd)))
		return NVME_ST_GENERIC(NVME_SC_INVALID_NS);
	if (!ns)
		return NVME_ST_GENERIC(NVME_SC_INVALID_FIELD);
	nvme_ns_descriptors(ns, cmd->data);
	return 0;
}

/* ---- controllers ---- */

static uint16_t cntid_of(const struct nvme_command *cmd)
{
	return (uint16_t)(le32toh(cmd->sqe.cdw10) >> 16);
}

/* Appends to a controller list: a count, then the identifiers. */
static void append(uint8_t *list, uint16_t cntlid)
{
	uint16_t n = get_le16(list);

	if (n == NVME_ID_CTRL_LIST_MAX)
		return;
	put_le16(list, n + 1);
	put_le16(list + 2 + 2 * n, cntlid);
}

static uint16_t list_attached(struct nvme_command *cmd)
{
	const struct nvme_ns *ns;

	if (!nvme_admin_nsid_valid(cmd->ctrl, nsid_of(cmd)))
		return NVME_ST_GENERIC(NVME_SC_INVALID_NS);
	ns = nvme_subsystem_ns(cmd->ctrl->subsystem, nsid_of(cmd));
	for (unsigned i = 0; ns && i < ns->n_attached; i++)
		if (ns->attached[i] >= cntid_of(cmd))
			append(cmd->data, ns->attached[i]);
	return 0;
}

#define CNTLIDS 0x10000

static void mark(uint8_t *map, uint16_t cntlid)
{
	map[cntlid / 8] |= (uint8_t)BIT(cntlid % 8);
}

static void mark_ctrl(void *opaque, struct nvme_ctrl *ctrl)
{
	mark(opaque, ctrl->cntlid);
}

/* Secondary controllers are of the subsystem whether VF Enable is set or not. */
static uint16_t list_ctrls(struct nvme_command *cmd)
{
	static uint8_t map[CNTLIDS / 8]; /* control thread only */
	uint16_t cntlid;

	memset(map, 0, sizeof(map));
	nvme_subsystem_for_each_ctrl(cmd->ctrl->subsystem, mark_ctrl, map);
	for (unsigned i = 0; (cntlid = nvme_virt_cntlid(cmd->ctrl, i)) != NVME_NO_OWNER; i++)
		mark(map, cntlid);
	for (uint32_t id = cntid_of(cmd); id < NVME_NO_OWNER; id++)
		if (map[id / 8] & BIT(id % 8))
			append(cmd->data, (uint16_t)id);
	return 0;
}

static uint16_t identify_primary(struct nvme_command *cmd)
{
	nvme_virt_identify_primary(cmd->ctrl, (void *)cmd->data);
	return 0;
}

static uint16_t identify_secondaries(struct nvme_command *cmd)
{
	nvme_virt_identify_secondaries(cmd->ctrl, cntid_of(cmd), (void *)cmd->data);
	return 0;
}

/* ---- the command ---- */

static const struct {
	uint8_t cns;
	uint16_t (*run)(struct nvme_command *cmd);
	/* NULL: by every controller. */
	bool (*offered)(const struct nvme_ctrl *ctrl);
} table[] = {
	{NVME_IDENTIFY_CNS_NS, identify_ns, NULL},
	{NVME_IDENTIFY_CNS_CTRL, identify_ctrl, NULL},
	{NVME_IDENTIFY_CNS_NS_ACTIVE_LIST, list_active, NULL},
	{NVME_IDENTIFY_CNS_NS_DESC_LIST, identify_descriptors, NULL},
	{NVME_IDENTIFY_CNS_ALLOCATED_NS_LIST, list_allocated, nvme_admin_has_ns_management},
	{NVME_IDENTIFY_CNS_ALLOCATED_NS, identify_allocated_ns, nvme_admin_has_ns_management},
	{NVME_IDENTIFY_CNS_NS_CTRL_LIST, list_attached, nvme_admin_has_ns_management},
	{NVME_IDENTIFY_CNS_CTRL_LIST, list_ctrls, nvme_admin_has_ns_management},
	{NVME_IDENTIFY_CNS_PRIMARY_CTRL_CAP, identify_primary, nvme_admin_has_virtualization},
	{NVME_IDENTIFY_CNS_SECONDARY_CTRL_LIST, identify_secondaries,
	 nvme_admin_has_virtualization},
};

uint16_t nvme_identify_run(struct nvme_command *cmd)
{
	uint8_t cns = (uint8_t)le32toh(cmd->sqe.cdw10);

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].cns == cns && (!table[i].offered || table[i].offered(cmd->ctrl)))
			return table[i].run(cmd);
	return NVME_ST_GENERIC(NVME_SC_INVALID_FIELD);
}
