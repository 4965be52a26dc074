/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log pages (Base 5.14.1). A page is made whole, and the part that was asked for copied.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "nvme/admin_private.h"
#include "nvme/state_private.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/util.h"

#define PAGE_MAX       4096
#define RAE	       BIT(15) /* cdw10: Retain Asynchronous Event */
#define DATA_UNIT      512000u /* SMART counts thousands of 512 bytes */
#define LOCATION_NONE  0xffff  /* no particular parameter was wrong */
#define EFFECTS_WRITES (NVME_CMD_EFFECTS_CSUPP | NVME_CMD_EFFECTS_LBCC)

static_assert(sizeof(struct nvme_error_log_page) * NVME_ERROR_LOG_ENTRIES <= PAGE_MAX, "5.14.1.1");
static_assert(sizeof(struct nvme_smart_log) == 512, "5.14.1.2");
static_assert(sizeof(struct nvme_firmware_slot) == 512, "5.14.1.3");
static_assert(sizeof(struct nvme_cmd_effects_log) == 4096, "5.14.1.5");

/* ---- error ---- */

int nvme_logs_init(struct nvme_ctrl *ctrl)
{
	return -pthread_mutex_init(&ctrl->admin->logs.lock, NULL);
}

void nvme_logs_fini(struct nvme_ctrl *ctrl)
{
	pthread_mutex_destroy(&ctrl->admin->logs.lock);
}

/* Data that could not be written or read back; a failed comparison is no fault of the medium. */
static bool is_media_error(uint16_t status)
{
	uint16_t code = status & (NVME_SCT_MASK << NVME_SCT_SHIFT | NVME_SC_MASK);

	return code == NVME_ST_MEDIA(NVME_SC_WRITE_FAULT) ||
	       code == NVME_ST_MEDIA(NVME_SC_READ_ERROR);
}

void nvme_log_error(struct nvme_ctrl *ctrl, uint16_t sqid, uint16_t cid, uint16_t status,
		    uint32_t nsid, uint64_t lba)
{
	struct nvme_logs *l = &ctrl->admin->logs;
	struct nvme_error_log_page *e;

	pthread_mutex_lock(&l->lock);
	e = &l->entries[l->errors++ % NVME_ERROR_LOG_ENTRIES];
	*e = (struct nvme_error_log_page){
		.error_count = htole64(l->errors),
		.sqid = htole16(sqid),
		.cmdid = htole16(cid),
		.status_field = htole16((uint16_t)(status << 1)), /* bit 0: phase */
		.parm_error_location = htole16(LOCATION_NONE),
		.lba = htole64(lba),
		.nsid = htole32(nsid),
	};
	l->media_errors += is_media_error(status);
	l->n_entries = MIN(l->n_entries + 1, (unsigned)NVME_ERROR_LOG_ENTRIES);
	pthread_mutex_unlock(&l->lock);
}

void nvme_logs_forget(struct nvme_ctrl *ctrl)
{
	struct nvme_logs *l = &ctrl->admin->logs;

	pthread_mutex_lock(&l->lock);
	l->n_entries = 0; /* the count is the drive's whole life's */
	pthread_mutex_unlock(&l->lock);
}

/* Newest first; entries that are not used are 0. */
static void error_page(struct nvme_command *cmd, uint8_t *page)
{
	struct nvme_logs *l = &cmd->ctrl->admin->logs;
	struct nvme_error_log_page *out = (void *)page;

	pthread_mutex_lock(&l->lock);
	for (unsigned i = 0; i < l->n_entries; i++)
		out[i] = l->entries[(l->errors - 1 - i) % NVME_ERROR_LOG_ENTRIES];
	pthread_mutex_unlock(&l->lock);
}

static void put_error_counts(struct nvme_ctrl *ctrl, struct nvme_smart_log *s)
{
	struct nvme_logs *l = &ctrl->admin->logs;

	pthread_mutex_lock(&l->lock);
	put_le64(s->media_errors, l->media_errors);
	put_le64(s->num_err_log_entries, l->errors);
	pthread_mutex_unlock(&l->lock);
}

/* ---- SMART ---- */

uint8_t nvme_critical_warning(const struct nvme_ctrl *ctrl)
{
	const struct nvme_features *f = &ctrl->admin->features;
	bool crossed =
		NVME_TEMPERATURE >= f->temperature_over || NVME_TEMPERATURE <= f->temperature_under;

	return crossed ? NVME_SMART_CRIT_TEMPERATURE : 0;
}

static uint64_t data_units(uint64_t bytes)
{
	return bytes / DATA_UNIT + (bytes % DATA_UNIT != 0);
}

static void smart_page(struct nvme_command *cmd, uint8_t *page)
{
	struct nvme_ctrl *ctrl = cmd->ctrl;
	const struct nvme_ctrl_state *st = ctrl->state;
	struct nvme_smart_log *s = (void *)page;
	struct nvme_io_stats io;

	nvme_ctrl_get_stats(ctrl, &io);
	s->critical_warning = nvme_critical_warning(ctrl);
	put_le16(s->temperature, NVME_TEMPERATURE);
	s->avail_spare = 100;
	s->spare_thresh = 10;
	put_le64(s->data_units_read, data_units(io.read_bytes + st->cleared.read_bytes));
	put_le64(s->data_units_written, data_units(io.write_bytes + st->cleared.write_bytes));
	put_le64(s->host_reads, io.reads + st->cleared.reads);
	put_le64(s->host_writes, io.writes + st->cleared.writes);
	put_le64(s->ctrl_busy_time, nvme_busy_ns(&ctrl->busy, st->created_ns) / (60 * NS_PER_S));
	put_le64(s->power_cycles, st->power_cycles + 1);
	put_le64(s->power_on_hours, (clock_now_ns() - st->created_ns) / (3600 * NS_PER_S));
	put_le64(s->unsafe_shutdowns, st->unsafe_shutdowns);
	put_error_counts(ctrl, s);
}

/* ---- the others ---- */

static void firmware_page(struct nvme_command *cmd, uint8_t *page)
{
	struct nvme_firmware_slot *f = (void *)page;

	f->afi = 1;
	memcpy(f->frs[0], NVME_FIRMWARE_REVISION, sizeof(f->frs[0]));
}

void nvme_logs_ns_changed(struct nvme_ctrl *ctrl, uint32_t nsid)
{
	if (nsid && nsid <= NVME_NAMESPACES_MAX)
		ctrl->admin->logs.changed[(nsid - 1) / 64] |= BIT_ULL((nsid - 1) % 64);
}

static void changed_page(struct nvme_command *cmd, uint8_t *page)
{
	const struct nvme_logs *l = &cmd->ctrl->admin->logs;
	unsigned n = 0;

	for (uint32_t i = 0; i < NVME_NAMESPACES_MAX; i++)
		if (l->changed[i / 64] & BIT_ULL(i % 64))
			put_le32(page + 4 * n++, i + 1);
}

static void changed_read(struct nvme_command *cmd, const uint8_t *page)
{
	memset(cmd->ctrl->admin->logs.changed, 0, sizeof(cmd->ctrl->admin->logs.changed));
}

/* What the I/O queues take, in the order of opcodes. */
static const struct {
	uint8_t opcode;
	uint32_t effects;
} io_effects[] = {
	{nvme_cmd_flush, NVME_CMD_EFFECTS_CSUPP},
	{nvme_cmd_write, EFFECTS_WRITES},
	{nvme_cmd_read, NVME_CMD_EFFECTS_CSUPP},
	{nvme_cmd_compare, NVME_CMD_EFFECTS_CSUPP},
	{nvme_cmd_write_zeroes, EFFECTS_WRITES},
	{nvme_cmd_dsm, EFFECTS_WRITES},
	{nvme_cmd_verify, NVME_CMD_EFFECTS_CSUPP},
	{nvme_cmd_resv_register, NVME_CMD_EFFECTS_CSUPP},
	{nvme_cmd_resv_report, NVME_CMD_EFFECTS_CSUPP},
	{nvme_cmd_resv_acquire, NVME_CMD_EFFECTS_CSUPP},
	{nvme_cmd_resv_release, NVME_CMD_EFFECTS_CSUPP},
	{nvme_cmd_copy, EFFECTS_WRITES},
};

static void effects_page(struct nvme_command *cmd, uint8_t *page)
{
	struct nvme_cmd_effects_log *e = (void *)page;

	for (unsigned i = 0; i < ARRAY_SIZE(e->acs); i++)
		e->acs[i] = htole32(nvme_admin_effects(cmd->ctrl, (uint8_t)i));
	for (unsigned i = 0; i < ARRAY_SIZE(io_effects); i++)
		e->iocs[io_effects[i].opcode] = htole32(io_effects[i].effects);
}

static void reservation_page(struct nvme_command *cmd, uint8_t *page)
{
	nvme_resv_take_notification(cmd->ctrl, (void *)page);
}

/* One page is one notification: the event stands while there are more (5.14.1.16.1). */
static void reservation_read(struct nvme_command *cmd, const uint8_t *page)
{
	const struct nvme_resv_notification_log *n = (const void *)page;

	if (n->nalp)
		nvme_event_post(cmd->ctrl, NVME_AER_CSS, NVME_AER_CSS_NVM_RESERVATION,
				NVME_LOG_LID_RESERVATION);
}

/* ---- Get Log Page ---- */

#define NO_EVENT 0xff

static const struct log_page {
	uint8_t id;
	uint16_t size;
	/* Fills a zeroed page. */
	void (*make)(struct nvme_command *cmd, uint8_t *page);
	uint8_t event; /* type that reading it clears */
	/* Read, and not with Retain Asynchronous Event. NULL: nothing to do. */
	void (*was_read)(struct nvme_command *cmd, const uint8_t *page);
} pages[] = {
	{NVME_LOG_LID_ERROR, sizeof(struct nvme_error_log_page) * NVME_ERROR_LOG_ENTRIES,
	 error_page, NVME_AER_ERROR, NULL},
	{NVME_LOG_LID_SMART, sizeof(struct nvme_smart_log), smart_page, NVME_AER_SMART, NULL},
	{NVME_LOG_LID_FW_SLOT, sizeof(struct nvme_firmware_slot), firmware_page, NO_EVENT, NULL},
	{NVME_LOG_LID_CHANGED_NS, sizeof(struct nvme_ns_list), changed_page, NVME_AER_NOTICE,
	 changed_read},
	{NVME_LOG_LID_CMD_EFFECTS, sizeof(struct nvme_cmd_effects_log), effects_page, NO_EVENT,
	 NULL},
	{NVME_LOG_LID_RESERVATION, sizeof(struct nvme_resv_notification_log), reservation_page,
	 NVME_AER_CSS, reservation_read},
};

static const struct log_page *find(uint8_t id)
{
	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
		if (pages[i].id == id)
			return &pages[i];
	return NULL;
}

/* LPA bit 0 is clear: SMART is the controller's, not a namespace's. */
static bool nsid_ok(const struct nvme_command *cmd, uint8_t id)
{
	uint32_t nsid = le32toh(cmd->sqe.nsid);

	return id != NVME_LOG_LID_SMART || nsid == NVME_NSID_NONE || nsid == NVME_NSID_ALL;
}

uint16_t nvme_get_log_page_run(struct nvme_command *cmd)
{
	static uint8_t page[PAGE_MAX] __attribute__((aligned(8))); /* control thread only */
	uint32_t dw10 = le32toh(cmd->sqe.cdw10);
	uint64_t off = (uint64_t)le32toh(cmd->sqe.cdw13) << 32 | le32toh(cmd->sqe.cdw12);
	const struct log_page *log = find((uint8_t)dw10);

	if (!log)
		return NVME_ST_CMD(NVME_SC_INVALID_LOG_PAGE);
	if (off % 4 || off > log->size || !nsid_ok(cmd, log->id))
		return NVME_ST_GENERIC(NVME_SC_INVALID_FIELD);
	memset(page, 0, sizeof(page));
	log->make(cmd, page);
	memcpy(cmd->data, page + off, MIN((uint64_t)cmd->len, log->size - off));
	if (dw10 & RAE || log->event == NO_EVENT)
		return 0;
	nvme_events_read(cmd->ctrl, log->event);
	if (log->was_read)
		log->was_read(cmd, page);
	return 0;
}
