/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A subsystem from the inside: between subsystem.c, ns*.c, format.c and resv.c. Control thread.
 */
#ifndef SOFTIOV_NVME_SUBSYSTEM_PRIVATE_H
#define SOFTIOV_NVME_SUBSYSTEM_PRIVATE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "nvme/ctrl_private.h"
#include "nvme/erase_private.h"
#include "nvme/ident_private.h"
#include "nvme/ns_private.h"
#include "nvme/pool_private.h"
#include "nvme/resv_private.h"

/* How long the end of a subsystem waits for a backend that hangs. */
#define NVME_NS_END_MS 2000

/* A controller, as long as it is there. */
struct nvme_ss_ctrl {
	struct nvme_ctrl *ctrl;
	struct nvme_ns_table
		*spare; /* the one that is not published: a change never lacks memory */
	struct nvme_resv_notes notes;
	uint8_t resv_mask[NVME_NAMESPACES_MAX]; /* feature 82h, by NSID - 1 */
};

struct nvme_subsystem {
	char name[64];
	char nqn[NVME_NQN_SIZE];
	char serial[21], model[41];
	unsigned nn;
	struct worker_pool *pool;
	struct nvme_pool ns_pool;
	unsigned n_ctrls;
	struct nvme_ss_ctrl **ctrls; /* by CNTLID, ascending */
	struct nvme_ns *ns[NVME_NAMESPACES_MAX];
	struct nvme_ns *ending; /* deleted, but somebody is still inside */
	uint64_t made;		/* namespaces since the start */
};

enum nvme_ns_busy {
	NVME_NS_IDLE,
	NVME_NS_FORMATTING,
	NVME_NS_SHRINKING,
	NVME_NS_ENDING,
};

/* What only the control thread knows of a namespace. */
struct nvme_ns_admin {
	uint64_t id; /* counted */
	char uuid[NVME_UUID_SIZE];
	enum nvme_ns_busy busy;
	bool undo;		  /* at its end: as if it had never been opened */
	bool keep_private;	  /* a guest made it so: to be attached to one controller */
	bool shown_shared;	  /* a guest made it so, whoever has it */
	struct nvme_erase *erase; /* of a format */
	uint64_t shrink_to;
	struct nvme_ns *next_ending;
	/* Told when it has ended. */
	void (*ended)(void *opaque);
	void *ended_opaque;
};

/* ---- subsystem.c ---- */
struct nvme_ss_ctrl *nvme_subsystem_find(const struct nvme_subsystem *ss, uint16_t cntlid);
/* Makes every controller's table say of this NSID what the namespace's attachments say (ns NULL: it
 * is nobody's), and waits until no worker uses what was before. */
void nvme_subsystem_publish(struct nvme_subsystem *ss, uint32_t nsid, const struct nvme_ns *ns);
/* The PF, one of its VFs? */
bool nvme_subsystem_in_family(const struct nvme_ctrl *pf, uint16_t cntlid);

/* ---- ns.c ---- */
/* What a guest adds to nvme_ns_config. */
struct nvme_ns_extra {
	uint16_t owner; /* NVME_NO_OWNER: none */
	bool by_guest, shared;
};
int nvme_ns_make(struct nvme_subsystem *ss, const struct nvme_ns_config *cfg,
		 const struct nvme_ns_extra *extra, uint32_t *nsid, char *why, size_t why_len);
/* Tells the controllers that have it that it has changed. */
void nvme_ns_tell(struct nvme_ns *ns);
/* In the list of attachments, or out of it; not published. 0 or -ENOMEM. */
int nvme_ns_link(struct nvme_ns *ns, uint16_t cntlid);
void nvme_ns_unlink(struct nvme_ns *ns, uint16_t cntlid);
void nvme_ns_free(struct nvme_ns *ns); /* nobody inside */

/* ---- ns_life.c ---- */
/* Detaches, then ends it in the background; ended() may come within the call, and may be NULL. */
void nvme_ns_end(struct nvme_ns *ns, void (*ended)(void *opaque), void *opaque);
/* Waits, a bounded time, for all that are ending. */
void nvme_ns_end_all(struct nvme_subsystem *ss);
/* The backend's size changed by itself. */
void nvme_ns_backend_resized(void *opaque, uint64_t size);

#endif
