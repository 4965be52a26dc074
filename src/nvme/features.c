/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Set and Get Features (Base 5.21, 5.9). No feature is saved: the saved value is the default
 * one (ONCS bit 4 is clear), and a controller reset brings it back.
 */
#include <endian.h>
#include <string.h>

#include "nvme/admin_private.h"
#include "nvme/state_private.h"
#include "nvme/virt_private.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/util.h"

#define SET_SAVE	  BIT(31) /* cdw10 */
#define GET_SEL(dw10)	  ((dw10) >> 8 & 7)
#define CAP_PER_NS	  BIT(1) /* what SEL 011b answers */
#define CAP_CHANGEABLE	  BIT(2)
#define AEC_SMART	  0x3fu /* critical warnings that exist */
#define AEC_NS_CHANGED	  BIT(8)
#define EXHID		  1u
#define TIMESTAMP_LEN	  8
#define TIMESTAMP_MASK	  0xffffffffffffull
#define TIMESTAMP_BY_HOST (1u << 1) /* Timestamp Origin */
#define HOST_ID_LEN	  8
#define HOST_ID_EXT_LEN	  16

/* Selectors of Temperature Threshold (5.21.1.4). */
#define TMPSEL_COMPOSITE 0
#define TMPSEL_ALL	 0xf
#define THSEL_OVER	 0
#define THSEL_UNDER	 1

struct feature {
	uint8_t id;
	bool per_ns;
	/* value: cdw11. ns: not NULL for a feature of namespaces. May be NVME_ST_PENDING. */
	uint16_t (*set)(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns);
	/* From the features as they are, or as they are by default. */
	uint16_t (*get)(struct nvme_command *cmd, const struct nvme_features *f,
			struct nvme_ns *ns);
};

static struct nvme_features *features(struct nvme_command *cmd)
{
	return &cmd->ctrl->admin->features;
}

static uint16_t invalid(void)
{
	return NVME_ST_GENERIC(NVME_SC_INVALID_FIELD);
}

/* ---- defaults ---- */

static void defaults(const struct nvme_ctrl *ctrl, struct nvme_features *f)
{
	memset(f, 0, sizeof(*f));
	f->temperature_over = NVME_TEMPERATURE_WARNING;
	f->sqs = f->cqs = (uint16_t)nvme_admin_max_queues(ctrl);
	f->write_cache = true;
	f->timestamp_base_ns = clock_now_ns();
}

static void set_host_id(struct nvme_ctrl *ctrl, const uint8_t id[HOST_ID_EXT_LEN], bool extended)
{
	if (!memcmp(ctrl->host_id, id, HOST_ID_EXT_LEN) && ctrl->host_id_extended == extended)
		return;
	memcpy(ctrl->host_id, id, HOST_ID_EXT_LEN);
	ctrl->host_id_extended = extended;
	nvme_resv_host_changed(ctrl);
}

/* Queues have a copy of what concerns interrupts. */
static void reset_interrupts(struct nvme_ctrl *ctrl)
{
	const struct nvme_features *f = &ctrl->admin->features;

	nvme_queues_set_coalescing(ctrl->queues, 0, 0);
	for (unsigned i = 0; i < NVME_VECTORS_MAX; i++)
		if (f->no_coalescing[i])
			nvme_queues_set_vector_config(ctrl->queues, (uint16_t)i, false);
}

void nvme_features_reset(struct nvme_ctrl *ctrl)
{
	static const uint8_t none[HOST_ID_EXT_LEN];

	reset_interrupts(ctrl);
	defaults(ctrl, &ctrl->admin->features);
	memset(ctrl->admin->logs.changed, 0, sizeof(ctrl->admin->logs.changed));
	atomic_store(&ctrl->write_through, false);
	set_host_id(ctrl, none, false);
}

/* ---- plain values ---- */

static uint16_t set_arbitration(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	/* Round robin of single commands fits any burst; weights are for an arbitration not
	 * offered. */
	features(cmd)->arbitration = value & 0xffffff07;
	return 0;
}

static uint16_t get_arbitration(struct nvme_command *cmd, const struct nvme_features *f,
				struct nvme_ns *ns)
{
	cmd->dw0 = f->arbitration;
	return 0;
}

static uint16_t set_power(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	if (value & NVME_FEAT_PWRMGMT_PS_MASK) /* NPSS: state 0 only */
		return invalid();
	features(cmd)->power = value & 0xff;
	return 0;
}

static uint16_t get_power(struct nvme_command *cmd, const struct nvme_features *f,
			  struct nvme_ns *ns)
{
	cmd->dw0 = f->power;
	return 0;
}

static uint16_t set_write_cache(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	features(cmd)->write_cache = value & 1;
	atomic_store(&cmd->ctrl->write_through, !(value & 1));
	return 0;
}

static uint16_t get_write_cache(struct nvme_command *cmd, const struct nvme_features *f,
				struct nvme_ns *ns)
{
	cmd->dw0 = f->write_cache;
	return 0;
}

static uint16_t set_write_atomicity(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	features(cmd)->write_atomicity = value & 1;
	return 0;
}

static uint16_t get_write_atomicity(struct nvme_command *cmd, const struct nvme_features *f,
				    struct nvme_ns *ns)
{
	cmd->dw0 = f->write_atomicity;
	return 0;
}

/* ---- temperature ---- */

static uint16_t set_temperature(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	unsigned sensor = value >> NVME_FEAT_TT_TMPSEL_SHIFT & NVME_FEAT_TT_TMPSEL_MASK;
	unsigned type = value >> NVME_FEAT_TT_THSEL_SHIFT & NVME_FEAT_TT_THSEL_MASK;
	uint8_t was = nvme_critical_warning(cmd->ctrl);

	if (type > THSEL_UNDER || (sensor != TMPSEL_COMPOSITE && sensor != TMPSEL_ALL))
		return invalid();
	if (type == THSEL_OVER)
		features(cmd)->temperature_over = (uint16_t)value;
	else
		features(cmd)->temperature_under = (uint16_t)value;
	/* The temperature does not move; so it is the threshold that crosses it. */
	if (nvme_critical_warning(cmd->ctrl) & ~was)
		nvme_event_post(cmd->ctrl, NVME_AER_SMART, NVME_AER_SMART_TEMPERATURE_THRESHOLD,
				NVME_LOG_LID_SMART);
	return 0;
}

static uint16_t get_temperature(struct nvme_command *cmd, const struct nvme_features *f,
				struct nvme_ns *ns)
{
	uint32_t value = le32toh(cmd->sqe.cdw11);
	unsigned sensor = value >> NVME_FEAT_TT_TMPSEL_SHIFT & NVME_FEAT_TT_TMPSEL_MASK;
	unsigned type = value >> NVME_FEAT_TT_THSEL_SHIFT & NVME_FEAT_TT_THSEL_MASK;

	if (type > THSEL_UNDER || sensor != TMPSEL_COMPOSITE)
		return invalid();
	cmd->dw0 = type == THSEL_OVER ? f->temperature_over : f->temperature_under;
	return 0;
}

/* ---- error recovery: a time limit we never need; DULBE is not offered (NSFEAT bit 2) ---- */

static uint16_t set_error_recovery(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	if (value >> NVME_FEAT_ERROR_RECOVERY_DULBE_SHIFT & NVME_FEAT_ERROR_RECOVERY_DULBE_MASK)
		return invalid();
	features(cmd)->time_limit[ns->nsid - 1] = (uint16_t)value;
	return 0;
}

static uint16_t get_error_recovery(struct nvme_command *cmd, const struct nvme_features *f,
				   struct nvme_ns *ns)
{
	cmd->dw0 = f->time_limit[ns->nsid - 1];
	return 0;
}

/* ---- queues and interrupts ---- */

static uint16_t get_queues(struct nvme_command *cmd, const struct nvme_features *f,
			   struct nvme_ns *ns)
{
	cmd->dw0 = (f->sqs - 1u) | (f->cqs - 1u) << NVME_FEAT_NRQS_NCQR_SHIFT;
	return 0;
}

/* Only before there are I/O queues (5.21.1.7). The answer is what there may be, whatever was asked.
 */
static uint16_t set_queues(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	uint32_t sqs = value & NVME_FEAT_NRQS_NSQR_MASK;
	uint32_t cqs = value >> NVME_FEAT_NRQS_NCQR_SHIFT & NVME_FEAT_NRQS_NCQR_MASK;
	unsigned max = nvme_admin_max_queues(cmd->ctrl);

	if (nvme_queues_count(cmd->ctrl->queues))
		return NVME_ST_GENERIC(NVME_SC_CMD_SEQ_ERROR);
	if (sqs == 0xffff || cqs == 0xffff)
		return invalid();
	features(cmd)->sqs = (uint16_t)MIN(sqs + 1, max);
	features(cmd)->cqs = (uint16_t)MIN(cqs + 1, max);
	return get_queues(cmd, features(cmd), ns);
}

static uint16_t set_coalescing(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	features(cmd)->coalescing = (uint16_t)value;
	nvme_queues_set_coalescing(cmd->ctrl->queues, (uint8_t)value, (uint8_t)(value >> 8));
	return 0;
}

static uint16_t get_coalescing(struct nvme_command *cmd, const struct nvme_features *f,
			       struct nvme_ns *ns)
{
	cmd->dw0 = f->coalescing;
	return 0;
}

static bool vector_ok(const struct nvme_command *cmd, uint16_t vector)
{
	return vector < nvme_virt_vi(cmd->ctrl) && vector < NVME_VECTORS_MAX;
}

static uint16_t set_vector_config(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	uint16_t vector = (uint16_t)value;
	bool no_coalescing = value >> NVME_FEAT_ICFG_CD_SHIFT & NVME_FEAT_ICFG_CD_MASK;

	if (!vector_ok(cmd, vector))
		return invalid();
	features(cmd)->no_coalescing[vector] = no_coalescing;
	nvme_queues_set_vector_config(cmd->ctrl->queues, vector, no_coalescing);
	return 0;
}

static uint16_t get_vector_config(struct nvme_command *cmd, const struct nvme_features *f,
				  struct nvme_ns *ns)
{
	uint16_t vector = (uint16_t)le32toh(cmd->sqe.cdw11);

	if (!vector_ok(cmd, vector))
		return invalid();
	cmd->dw0 = vector | (uint32_t)f->no_coalescing[vector] << NVME_FEAT_ICFG_CD_SHIFT;
	return 0;
}

/* ---- asynchronous events ---- */

static uint16_t set_async_events(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	features(cmd)->async_events = value & (AEC_SMART | AEC_NS_CHANGED);
	return 0;
}

static uint16_t get_async_events(struct nvme_command *cmd, const struct nvme_features *f,
				 struct nvme_ns *ns)
{
	cmd->dw0 = f->async_events;
	return 0;
}

bool nvme_events_enabled(const struct nvme_ctrl *ctrl, uint8_t type)
{
	uint32_t aec = ctrl->admin->features.async_events;

	switch (type) {
	case NVME_AER_SMART:
		return aec & AEC_SMART & nvme_critical_warning(ctrl);
	case NVME_AER_NOTICE:
		return aec & AEC_NS_CHANGED;
	default: /* errors always; reservations have a mask of their own */
		return true;
	}
}

/* ---- with a data structure ---- */

static uint16_t set_timestamp(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	features(cmd)->timestamp_ms = get_le64(cmd->data) & TIMESTAMP_MASK;
	features(cmd)->timestamp_base_ns = clock_now_ns();
	features(cmd)->timestamp_set = true;
	return 0;
}

static uint16_t get_timestamp(struct nvme_command *cmd, const struct nvme_features *f,
			      struct nvme_ns *ns)
{
	uint64_t ms = f->timestamp_ms + (clock_now_ns() - f->timestamp_base_ns) / NS_PER_MS;

	put_le64(cmd->data, ms & TIMESTAMP_MASK);
	cmd->data[6] = f->timestamp_set ? TIMESTAMP_BY_HOST : 0;
	return 0;
}

/*
 * 5.21.1.19 lets a subsystem report 64- and 128-bit identifiers of different controllers as
 * inconsistent. Ours belong to VMs that do not know of each other: one must not be able to refuse
 * another its identifier, and the two sizes are simply never equal.
 */
static uint16_t set_host_identifier(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	uint8_t id[HOST_ID_EXT_LEN] = {0};

	memcpy(id, cmd->data, value & EXHID ? HOST_ID_EXT_LEN : HOST_ID_LEN);
	set_host_id(cmd->ctrl, id, value & EXHID);
	return 0;
}

static bool is_zero(const uint8_t *p, unsigned len)
{
	while (len && !*p)
		p++, len--;
	return !len;
}

static uint16_t get_host_identifier(struct nvme_command *cmd, const struct nvme_features *f,
				    struct nvme_ns *ns)
{
	const struct nvme_ctrl *ctrl = cmd->ctrl;
	bool extended = le32toh(cmd->sqe.cdw11) & EXHID;

	if (f != &ctrl->admin->features || is_zero(ctrl->host_id, sizeof(ctrl->host_id)))
		return 0; /* none: zeros */
	if (extended != ctrl->host_id_extended)
		return NVME_ST_GENERIC(NVME_SC_HOSTID_FORMAT);
	memcpy(cmd->data, ctrl->host_id, extended ? HOST_ID_EXT_LEN : HOST_ID_LEN);
	return 0;
}

/* ---- reservations ---- */

static uint16_t set_resv_mask(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	return nvme_resv_set_mask(ns, cmd->ctrl, value);
}

static uint16_t get_resv_mask(struct nvme_command *cmd, const struct nvme_features *f,
			      struct nvme_ns *ns)
{
	if (f != &cmd->ctrl->admin->features)
		return 0; /* nothing is masked by default */
	return nvme_resv_get_mask(ns, cmd->ctrl, &cmd->dw0);
}

static uint16_t set_resv_persistence(struct nvme_command *cmd, uint32_t value, struct nvme_ns *ns)
{
	return nvme_resv_set_ptpl(ns, value & 1, cmd);
}

static uint16_t get_resv_persistence(struct nvme_command *cmd, const struct nvme_features *f,
				     struct nvme_ns *ns)
{
	if (f != &cmd->ctrl->admin->features)
		return 0;
	return nvme_resv_get_ptpl(ns, &cmd->dw0);
}

/* ---- the table ---- */

static const struct feature table[] = {
	{NVME_FEAT_FID_ARBITRATION, false, set_arbitration, get_arbitration},
	{NVME_FEAT_FID_POWER_MGMT, false, set_power, get_power},
	{NVME_FEAT_FID_TEMP_THRESH, false, set_temperature, get_temperature},
	{NVME_FEAT_FID_ERR_RECOVERY, true, set_error_recovery, get_error_recovery},
	{NVME_FEAT_FID_VOLATILE_WC, false, set_write_cache, get_write_cache},
	{NVME_FEAT_FID_NUM_QUEUES, false, set_queues, get_queues},
	{NVME_FEAT_FID_IRQ_COALESCE, false, set_coalescing, get_coalescing},
	{NVME_FEAT_FID_IRQ_CONFIG, false, set_vector_config, get_vector_config},
	{NVME_FEAT_FID_WRITE_ATOMIC, false, set_write_atomicity, get_write_atomicity},
	{NVME_FEAT_FID_ASYNC_EVENT, false, set_async_events, get_async_events},
	{NVME_FEAT_FID_TIMESTAMP, false, set_timestamp, get_timestamp},
	{NVME_FEAT_FID_HOST_ID, false, set_host_identifier, get_host_identifier},
	{NVME_FEAT_FID_RESV_MASK, true, set_resv_mask, get_resv_mask},
	{NVME_FEAT_FID_RESV_PERSIST, true, set_resv_persistence, get_resv_persistence},
};

static const struct feature *find(uint8_t id)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].id == id)
			return &table[i];
	return NULL;
}

/* Both commands move the same structures; Get Features none when it asks for capabilities. */
uint32_t nvme_features_data_len(const struct nvme_sqe *sqe)
{
	uint32_t dw10 = le32toh(sqe->cdw10);

	if (sqe->opcode == nvme_admin_get_features &&
	    GET_SEL(dw10) == NVME_GET_FEATURES_SEL_SUPPORTED)
		return 0;
	switch (dw10 & 0xff) {
	case NVME_FEAT_FID_TIMESTAMP:
		return TIMESTAMP_LEN;
	case NVME_FEAT_FID_HOST_ID:
		return le32toh(sqe->cdw11) & EXHID ? HOST_ID_EXT_LEN : HOST_ID_LEN;
	default:
		return 0;
	}
}

/* ---- the commands ---- */

/* The namespace that the command names for a feature of namespaces. */
static uint16_t find_ns(const struct nvme_command *cmd, struct nvme_ns **ns)
{
	uint32_t nsid = le32toh(cmd->sqe.nsid);

	if (!nvme_admin_nsid_valid(cmd->ctrl, nsid))
		return NVME_ST_GENERIC(NVME_SC_INVALID_NS);
	*ns = nvme_admin_ns(cmd->ctrl, nsid);
	return *ns ? 0 : invalid();
}

/* For all that are attached (NSID FFFFFFFFh). Those that have done it keep it when one fails. */
static uint16_t set_all(struct nvme_command *cmd, const struct feature *f, uint32_t value)
{
	uint32_t nn = nvme_subsystem_nn(cmd->ctrl->subsystem);
	uint16_t status = 0;

	/* the one that takes its time */
	if (f->id == NVME_FEAT_FID_RESV_PERSIST)
		return nvme_resv_set_ptpl_all(cmd->ctrl, value & 1, cmd);
	for (uint32_t nsid = 1; nsid <= nn && !status; nsid++)
		if (nvme_admin_ns(cmd->ctrl, nsid))
			status = f->set(cmd, value, nvme_admin_ns(cmd->ctrl, nsid));
	return status;
}

static uint16_t set_per_ns(struct nvme_command *cmd, const struct feature *f, uint32_t value)
{
	struct nvme_ns *ns = NULL;
	uint16_t status;

	if (le32toh(cmd->sqe.nsid) == NVME_NSID_ALL)
		return set_all(cmd, f, value);
	status = find_ns(cmd, &ns);
	return status ? status : f->set(cmd, value, ns);
}

/* A feature of the controller set for one namespace (5.21). */
static uint16_t check_not_ns(const struct nvme_command *cmd)
{
	uint32_t nsid = le32toh(cmd->sqe.nsid);

	if (nsid == NVME_NSID_NONE || nsid == NVME_NSID_ALL)
		return 0;
	if (!nvme_admin_nsid_valid(cmd->ctrl, nsid))
		return NVME_ST_GENERIC(NVME_SC_INVALID_NS);
	return NVME_ST_CMD(NVME_SC_FEATURE_NOT_PER_NS);
}

uint16_t nvme_set_features_run(struct nvme_command *cmd)
{
	uint32_t dw10 = le32toh(cmd->sqe.cdw10), value = le32toh(cmd->sqe.cdw11);
	const struct feature *f = find((uint8_t)dw10);
	uint16_t status;

	if (!f)
		return invalid();
	if (dw10 & SET_SAVE)
		return NVME_ST_CMD(NVME_SC_FEATURE_NOT_SAVEABLE);
	if (f->per_ns)
		return set_per_ns(cmd, f, value);
	status = check_not_ns(cmd);
	return status ? status : f->set(cmd, value, NULL);
}

uint16_t nvme_get_features_run(struct nvme_command *cmd)
{
	uint32_t dw10 = le32toh(cmd->sqe.cdw10);
	const struct feature *f = find((uint8_t)dw10);
	struct nvme_features def;
	struct nvme_ns *ns = NULL;
	uint16_t status = 0;

	if (!f || GET_SEL(dw10) > NVME_GET_FEATURES_SEL_SUPPORTED)
		return invalid();
	if (GET_SEL(dw10) == NVME_GET_FEATURES_SEL_SUPPORTED) {
		cmd->dw0 = CAP_CHANGEABLE | (f->per_ns ? CAP_PER_NS : 0);
		return 0;
	}
	if (f->per_ns)
		status = find_ns(cmd, &ns);
	if (status)
		return status;
	if (GET_SEL(dw10) == NVME_GET_FEATURES_SEL_CURRENT)
		return f->get(cmd, features(cmd), ns);
	defaults(cmd->ctrl, &def);
	return f->get(cmd, &def, ns);
}
