/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One controller: what it is made of, and what its files ask of each other.
 */
#ifndef SOFTIOV_NVME_CTRL_PRIVATE_H
#define SOFTIOV_NVME_CTRL_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "nvme/command_private.h"
#include "nvme/ns_private.h"
#include "nvme/nvme.h"
#include "nvme/qos_private.h"
#include "nvme/queue_private.h"
#include "nvme/stats_private.h"
#include "util/log.h"

#define NVME_MDTS_SHIFT 8 /* 2^8 pages of 4 KiB: 1 MiB */

struct nvme_admin; /* features, logs, events: admin.c and its neighbours */
struct nvme_virt;  /* secondaries and resources of a primary: virt.c */

struct nvme_ctrl {
	/* for workers */
	struct pci_function *fn;
	char name[64];
	uint16_t cntlid;
	bool register_memory;
	_Atomic(struct nvme_ns_table *)
		ns_table;	    /* never NULL while the controller is in a subsystem */
	_Atomic bool write_through; /* feature 06h off: every write is FUA */
	_Atomic bool failed;	    /* CSTS.CFS */
	struct nvme_qos qos;
	struct nvme_stats stats;
	struct nvme_busy busy; /* its groups with I/O commands under way */
	struct log_limit log;

	/* control */
	struct nvme_ctrl_config cfg;
	struct nvme_subsystem *subsystem;
	struct nvme_queues *queues;
	struct nvme_admin *admin;
	struct nvme_virt *virt;	   /* of a primary */
	struct nvme_ctrl *primary; /* of a secondary */
	uint8_t host_id[16];	   /* feature 81h; zero: none */
	bool host_id_extended;	   /* 16 bytes, not 8 */
	uint32_t cc, csts, aqa;
	uint64_t asq, acq;
	/* the rest is ctrl.c's */
	struct nvme_ctrl_state *state;
};

/* ---- ctrl.c ---- */
/* Fatal: CSTS.CFS; queues stop until a reset. Only this controller. Any thread. */
void nvme_ctrl_fail(struct nvme_ctrl *ctrl, const char *why) __attribute__((cold));

/* ---- events.c, logs.c ---- */
/* Namespace attribute changed, attached or detached: log 04h and, if asked for, the event. Control.
 */
void nvme_event_ns_changed(struct nvme_ctrl *ctrl, uint32_t nsid);
/* Asynchronous event (5.2): type, info and log page as in its dw0. Any thread. */
void nvme_event_post(struct nvme_ctrl *ctrl, uint8_t type, uint8_t info, uint8_t log_page);
/* An entry of the error log (01h). Any thread; bounded. */
void nvme_log_error(struct nvme_ctrl *ctrl, uint16_t sqid, uint16_t cid, uint16_t status,
		    uint32_t nsid, uint64_t lba);

/* ---- virt.c ---- */
/* May the controller be enabled (a primary, or a secondary that is online)? */
bool nvme_virt_online(const struct nvme_ctrl *ctrl);
/* Queue and interrupt resources, admin included. */
unsigned nvme_virt_vq(const struct nvme_ctrl *ctrl);
unsigned nvme_virt_vi(const struct nvme_ctrl *ctrl);

#endif
