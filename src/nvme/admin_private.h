/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a controller's admin commands are about: features, logs, events; and how the files that
 * carry the commands out call each other. Control thread unless said otherwise.
 */
#ifndef SOFTIOV_NVME_ADMIN_PRIVATE_H
#define SOFTIOV_NVME_ADMIN_PRIVATE_H

#include <pthread.h>

#include "nvme/ctrl_private.h"
#include "worker/mailbox.h"

#define NVME_ERROR_LOG_ENTRIES 64 /* ELPE + 1 */
#define NVME_VECTORS_MAX       (NVME_QUEUE_PAIRS_MAX + 1)
#define NVME_FIRMWARE_REVISION "0.1     "

/* A drive has a temperature; ours does not change. Kelvin. */
#define NVME_TEMPERATURE	  310
#define NVME_TEMPERATURE_WARNING  343
#define NVME_TEMPERATURE_CRITICAL 353

/* Values as Set Features takes them (5.21); all are lost at a controller reset. */
struct nvme_features {
	uint32_t arbitration, power;
	uint16_t temperature_over, temperature_under;
	uint16_t time_limit[NVME_NAMESPACES_MAX]; /* error recovery; by NSID - 1 */
	uint16_t sqs, cqs;			  /* I/O queues allocated; counts */
	uint16_t coalescing;
	bool no_coalescing[NVME_VECTORS_MAX];
	uint32_t write_atomicity, async_events;
	bool write_cache;
	/* Timestamp: milliseconds at base_ns of our clock */
	uint64_t timestamp_ms, timestamp_base_ns;
	bool timestamp_set;
};

struct nvme_logs {
	/* Error log; any thread */
	pthread_mutex_t lock;
	uint64_t errors, media_errors; /* ever */
	unsigned n_entries;
	struct nvme_error_log_page
		entries[NVME_ERROR_LOG_ENTRIES]; /* a ring; errors - 1 is the newest */
	/* Changed Namespace List, a bit per NSID - 1 */
	uint64_t changed[NVME_NAMESPACES_MAX / 64];
};

/* Asynchronous events (5.2). What is to be told is a bit: type * 8 + info. */
struct nvme_events {
	struct nvme_ctrl *ctrl;
	struct mailbox_work work;
	_Atomic uint64_t posted;
	_Atomic uint8_t log_page[64];
	uint8_t masked;		   /* types told of, whose log page has yet to be read */
	struct nvme_command *aers; /* outstanding, oldest first */
	unsigned n_aers;
};

struct nvme_admin {
	struct nvme_features features;
	struct nvme_logs logs;
	struct nvme_events events;
};

/* ---- admin.c ---- */
int nvme_admin_create(struct nvme_ctrl *ctrl);
void nvme_admin_destroy(struct nvme_ctrl *ctrl);
/* A controller reset: features, events and the changed namespaces are forgotten. */
void nvme_admin_reset(struct nvme_ctrl *ctrl);
/* No command is pending any more: those of before a reset have been cancelled. */
void nvme_admin_drop_pending(struct nvme_ctrl *ctrl);
bool nvme_admin_has_ns_management(const struct nvme_ctrl *ctrl);
bool nvme_admin_has_virtualization(const struct nvme_ctrl *ctrl);
/* The bits of a Commands Supported and Effects entry; 0: not supported. */
uint32_t nvme_admin_effects(const struct nvme_ctrl *ctrl, uint8_t opcode);
/* The namespace of an NSID that is attached here, or NULL. */
struct nvme_ns *nvme_admin_ns(const struct nvme_ctrl *ctrl, uint32_t nsid);
bool nvme_admin_nsid_valid(const struct nvme_ctrl *ctrl, uint32_t nsid); /* 1..NN */
/* I/O queue pairs possible. */
unsigned nvme_admin_max_queues(const struct nvme_ctrl *ctrl);

/* ---- identify.c ---- */
uint16_t nvme_identify_run(struct nvme_command *cmd);

/* ---- features.c ---- */
void nvme_features_reset(struct nvme_ctrl *ctrl);
uint16_t nvme_set_features_run(struct nvme_command *cmd);
uint16_t nvme_get_features_run(struct nvme_command *cmd);
uint32_t nvme_features_data_len(const struct nvme_sqe *sqe);

/* ---- logs.c ---- */
int nvme_logs_init(struct nvme_ctrl *ctrl);
void nvme_logs_fini(struct nvme_ctrl *ctrl);
/* The next owner is not to read what went wrong for this one. */
void nvme_logs_forget(struct nvme_ctrl *ctrl);
void nvme_logs_ns_changed(struct nvme_ctrl *ctrl, uint32_t nsid);
uint16_t nvme_get_log_page_run(struct nvme_command *cmd);
/* Bits as in the SMART log (NVME_SMART_CRIT_*). */
uint8_t nvme_critical_warning(const struct nvme_ctrl *ctrl);

/* ---- events.c ---- */
void nvme_events_init(struct nvme_ctrl *ctrl);
void nvme_events_fini(struct nvme_ctrl *ctrl);
void nvme_events_reset(struct nvme_ctrl *ctrl);
uint16_t nvme_async_event_run(struct nvme_command *cmd);
/* The log page of these events was read: they may be told of again. */
void nvme_events_read(struct nvme_ctrl *ctrl, uint8_t type);
/* Ends the Asynchronous Event Request with this identifier as aborted; false: there is none. */
bool nvme_events_abort(struct nvme_ctrl *ctrl, uint16_t cid);
/* As the features are now, is the event to be told? */
bool nvme_events_enabled(const struct nvme_ctrl *ctrl, uint8_t type);

#endif
