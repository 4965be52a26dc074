/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A namespace and a subsystem as the rest of the room sees them.
 *
 * The control thread owns both. Workers see a namespace through the controller's table
 * (ctrl_private.h), an immutable array behind an atomic pointer, and are inside its gate from fetch
 * to completion; what they read of it either never changes while one is inside (backend,
 * block_shift) or is atomic.
 */
#ifndef SOFTIOV_NVME_NS_PRIVATE_H
#define SOFTIOV_NVME_NS_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "nvme/command_private.h"
#include "nvme/gate_private.h"
#include "nvme/nvme.h"
#include "nvme/qos_private.h"
#include "nvme/stats_private.h"

struct nvme_resv; /* resv.c: control */

/* What a worker checks a command against; immutable, NULL while no reservation is held. */
struct nvme_resv_view {
	uint8_t type; /* enum nvme_resv_rtype */
	unsigned n;
	struct nvme_resv_member {
		uint16_t cntlid;
		bool holder; /* of a registrant otherwise */
	} members[];
};

struct nvme_ns {
	/* for workers */
	uint32_t nsid;
	uint8_t block_shift; /* 9 or 12; changes only with the gate closed */
	bool read_only;
	bool discard; /* DSM deallocate really frees */
	bool volatile_cache;
	_Atomic uint64_t blocks; /* NSZE */
	struct block_backend *backend;
	struct nvme_gate *gate;
	_Atomic(struct nvme_resv_view *) resv_view;
	struct nvme_qos qos;
	struct nvme_stats stats;

	/* control */
	struct nvme_subsystem *subsystem;
	struct nvme_resv *resv;
	struct nvme_limits limits;
	uint8_t uuid[16], nguid[16];
	bool from_pool;
	uint16_t owner; /* CNTLID of the PF whose guest made it; NVME_NO_OWNER: the administrator */
	unsigned n_attached;
	uint16_t *attached; /* CNTLIDs, ascending */
	/* the rest is ns.c's */
	struct nvme_ns_admin *admin;
};
#define NVME_NO_OWNER 0xffff

/* A controller's view: index NSID - 1; NULL where none is attached. */
struct nvme_ns_table {
	uint32_t nn;
	struct nvme_ns *ns[];
};

/* ---- subsystem.c, ns.c (control) ---- */

struct nvme_ctrl *nvme_subsystem_ctrl(const struct nvme_subsystem *ss,
				      uint16_t cntlid); /* or NULL */
/* A controller comes (its table is published) and goes. */
int nvme_subsystem_add(struct nvme_subsystem *ss, struct nvme_ctrl *ctrl);
void nvme_subsystem_remove(struct nvme_subsystem *ss, struct nvme_ctrl *ctrl);
void nvme_subsystem_for_each_ctrl(struct nvme_subsystem *ss,
				  void (*cb)(void *opaque, struct nvme_ctrl *), void *opaque);
const char *nvme_subsystem_nqn(const struct nvme_subsystem *ss);
const char *nvme_subsystem_serial(const struct nvme_subsystem *ss);
const char *nvme_subsystem_model(const struct nvme_subsystem *ss);
unsigned nvme_subsystem_nn(const struct nvme_subsystem *ss);
struct worker_pool *nvme_subsystem_pool(const struct nvme_subsystem *ss);
struct nvme_ns *nvme_subsystem_ns(const struct nvme_subsystem *ss,
				  uint32_t nsid); /* allocated, or NULL */
bool nvme_ns_is_attached(const struct nvme_ns *ns, uint16_t cntlid);
/* Whether a guest that holds this PF may manage the namespace: the PF is not managed, and it is its
 * own or the subsystem has no other PF. */
bool nvme_ns_manageable(const struct nvme_ns *ns, const struct nvme_ctrl *pf);
/* Identify data (CNS 00h, 11h) and descriptors (CNS 03h; returns nothing beyond 4096 bytes). */
void nvme_ns_identify(const struct nvme_ns *ns, struct nvme_id_ns *id);
void nvme_ns_descriptors(const struct nvme_ns *ns, uint8_t out[4096]);
/* What an unallocated NSID FFFFFFFFh answers: common capabilities (CNS 00h, NS Management). */
void nvme_ns_identify_common(const struct nvme_subsystem *ss, struct nvme_id_ns *id);
uint64_t nvme_subsystem_total_capacity(const struct nvme_subsystem *ss);       /* TNVMCAP, bytes */
uint64_t nvme_subsystem_unallocated_capacity(const struct nvme_subsystem *ss); /* UNVMCAP */

/* ---- ns_mgmt.c, format.c: admin commands, run by admin.c's table ---- */
uint16_t nvme_ns_mgmt_run(struct nvme_command *cmd);   /* 0Dh */
uint16_t nvme_ns_attach_run(struct nvme_command *cmd); /* 15h */
uint16_t nvme_format_run(struct nvme_command *cmd);    /* 80h */

/* ---- resv.c ---- */
/* What a reservation forbids (8.8): call with what the command does. Worker. */
enum nvme_access { NVME_ACCESS_READ, NVME_ACCESS_WRITE };
bool nvme_resv_forbids_slow(const struct nvme_resv_view *v, uint16_t cntlid, enum nvme_access a);
static inline bool nvme_resv_forbids(const struct nvme_ns *ns, uint16_t cntlid, enum nvme_access a)
{
	const struct nvme_resv_view *v =
		atomic_load_explicit(&((struct nvme_ns *)ns)->resv_view, memory_order_acquire);

	return __builtin_expect(v != NULL, 0) && nvme_resv_forbids_slow(v, cntlid, a);
}
/* Host Identifier, reservation features and log page, for features.c and logs.c. */
void nvme_resv_host_changed(struct nvme_ctrl *ctrl);
/* Any controller reset: registrations of a host without an identifier end, notifications and masks
 * are forgotten. After the host identifier was. */
void nvme_resv_ctrl_reset(struct nvme_ctrl *ctrl);
/* Takes the oldest notification of the controller's log (80h): 0 or -ENOENT with a zeroed page. */
int nvme_resv_take_notification(struct nvme_ctrl *ctrl, struct nvme_resv_notification_log *page);
uint16_t nvme_resv_get_mask(struct nvme_ns *ns, struct nvme_ctrl *ctrl, uint32_t *mask);
uint16_t nvme_resv_set_mask(struct nvme_ns *ns, struct nvme_ctrl *ctrl, uint32_t mask);
uint16_t nvme_resv_get_ptpl(struct nvme_ns *ns, uint32_t *ptpl);
/* May complete later: feature 83h writes the file. */
uint16_t nvme_resv_set_ptpl(struct nvme_ns *ns, bool ptpl, struct nvme_command *cmd);
/* Of all that are attached to the controller, or (one cannot) of none. */
uint16_t nvme_resv_set_ptpl_all(struct nvme_ctrl *ctrl, bool ptpl, struct nvme_command *cmd);

#endif
