/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVM Express (Base 1.4): a subsystem of namespaces, primary controllers (PFs) and secondary ones
 * (VFs), each a PCI function with its own queues.
 *
 *   nvme_subsystem   NQN, namespaces, who is attached to what, reservations
 *   nvme_ctrl        one controller: registers, admin queue, I/O queues. A PF's is primary, with
 *                    the virtualization resources of its VFs' (8.5)
 *   nvme_ns          a range of a backend (block/block.h) with an NSID
 *
 * I/O queues are served by workers: a completion queue and the submission queues that name it
 * belong to one worker. Admin commands are fetched there and carried out on the control thread.
 *
 * CNTLIDs: 0 is the first PF, n + 1 the VF with number n over the whole device, 1000h + i further
 * PFs (i from 1). They never change while the configuration stays.
 *
 * Threads: control only.
 */
#ifndef SOFTIOV_NVME_NVME_H
#define SOFTIOV_NVME_NVME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/block.h"
#include "pci/function.h"
#include "worker/worker.h"

#define NVME_QUEUE_PAIRS_MAX 128  /* I/O queue pairs of a controller */
#define NVME_QUEUE_SIZE_MAX  4096 /* entries */
#define NVME_NAMESPACES_MAX  256
#define NVME_CNTLID_PF(i)    ((uint16_t)((i) ? 0x1000 + (i) : 0))
#define NVME_CNTLID_VF(n)    ((uint16_t)((n) + 1))
#define NVME_BAR_SIZE	     0x4000 /* BAR0: registers, doorbells 1000h, MSI-X table 2000h, PBA 3000h */
#define NVME_BAR_MSIX_TABLE  0x2000
#define NVME_BAR_MSIX_PBA    0x3000

struct nvme_subsystem;
struct nvme_ctrl;

/* What may be done in a second; 0: no limit. See docs/nvme.md for what counts as what. */
struct nvme_limits {
	uint64_t iops, iops_burst;	     /* commands */
	uint64_t bandwidth, bandwidth_burst; /* bytes */
};

/* ---- subsystem and namespaces ---- */

struct nvme_pool_config {
	enum { NVME_POOL_NONE, NVME_POOL_DIRECTORY, NVME_POOL_MEMORY } kind;
	char directory[PATH_MAX]; /* files <subsystem>-ns<NSID>.img are made in it */
	uint64_t capacity;	  /* bytes that namespaces made from it may have together */
};

struct nvme_subsystem_config {
	const char *name;	 /* "ssd0" */
	const char *nqn;	 /* NULL or empty: made from the name, stable on this machine */
	const char *serial;	 /* 20 characters at most; NULL or empty: made likewise */
	const char *model;	 /* 40; NULL or empty: "softiov NVMe" */
	unsigned max_namespaces; /* NN, 1..256 */
	struct worker_pool *pool;
	struct nvme_pool_config ns_pool; /* for Namespace Management by a guest, and `ns create`
					    without a backend */
};

int nvme_subsystem_create(const struct nvme_subsystem_config *cfg, struct nvme_subsystem **out);
/* Its controllers are gone already. Ends all namespaces, waiting for what is under way. */
void nvme_subsystem_destroy(struct nvme_subsystem *ss);
/* What the configuration file says can change: the pool's capacity. */
void nvme_subsystem_set_pool_capacity(struct nvme_subsystem *ss, uint64_t bytes);

struct nvme_ns_config {
	uint32_t nsid; /* 0: the lowest free */
	struct block_config backend;
	bool from_pool;	     /* backend is ignored but for size: made in the subsystem's pool */
	uint32_t block_size; /* 512 or 4096; 0: 512 */
	const char *reservations; /* file that keeps them over restarts (PTPL); NULL or empty: they
				     are not */
	const char *uuid;	  /* NULL or empty: made from subsystem, NSID and backend, stable */
	struct nvme_limits limits;
};

/* Each gives 0 or -errno with a sentence in why. Guests are told by asynchronous events. */
int nvme_ns_create(struct nvme_subsystem *ss, const struct nvme_ns_config *cfg, uint32_t *nsid,
		   char *why, size_t why_len);
/* -EBUSY while it is attached, unless force: it then vanishes from its controllers. What is under
 * way in it is ended first, in the background; its backend is closed then. A file stays, but for
 * one of the pool. */
int nvme_ns_delete(struct nvme_subsystem *ss, uint32_t nsid, bool force, char *why, size_t why_len);
/* The same, from whoever has it, but what is kept in the pool stays there too. undo: it was made by
 * mistake, and nobody has used it: a file that this has made, or made larger, is as it was before.
 */
void nvme_ns_withdraw(struct nvme_subsystem *ss, uint32_t nsid, bool undo);
int nvme_ns_resize(struct nvme_subsystem *ss, uint32_t nsid, uint64_t size, char *why,
		   size_t why_len);
/* By CNTLID, whether that controller exists now or not; it has the namespace whenever it does. 0,
 * -ENOENT, -EALREADY. */
int nvme_ns_attach(struct nvme_subsystem *ss, uint32_t nsid, uint16_t cntlid, char *why,
		   size_t why_len);
int nvme_ns_detach(struct nvme_subsystem *ss, uint32_t nsid, uint16_t cntlid, char *why,
		   size_t why_len);
int nvme_ns_set_limits(struct nvme_subsystem *ss, uint32_t nsid, const struct nvme_limits *lim);

#define NVME_LATENCY_OPS 3 /* read, write, everything else */
struct nvme_io_stats {
	uint64_t reads, writes, others; /* completed commands */
	uint64_t read_bytes, write_bytes;
	uint64_t errors; /* completed with a status other than 0, reservation conflicts included */
	uint64_t throttled_ns; /* time that commands waited for a limit, summed */
	uint64_t inflight;     /* queue depth now */
	/* ns from fetching a command to posting its completion; 0: no command yet */
	struct nvme_latency {
		uint64_t p50, p99, p999, mean, max;
	} latency[NVME_LATENCY_OPS];
};

struct nvme_ns_info {
	uint32_t nsid;
	uint64_t id; /* its own for ever: another that comes to have its NSID has another */
	uint64_t size, allocated; /* bytes */
	uint32_t block_size;
	const struct block_config *backend;
	const char *state; /* block_state() */
	const char *uuid;
	bool from_pool, read_only;
	struct nvme_limits limits;
	unsigned registrants;	 /* reservations */
	const char *reservation; /* type in words, or NULL */
	unsigned n_attached;
	const uint16_t *attached; /* CNTLIDs, ascending; valid until the next change */
};
void nvme_ns_for_each(struct nvme_subsystem *ss,
		      void (*cb)(void *opaque, const struct nvme_ns_info *), void *opaque);
int nvme_ns_get_info(struct nvme_subsystem *ss, uint32_t nsid,
		     struct nvme_ns_info *out); /* or -ENOENT */
int nvme_ns_get_stats(struct nvme_subsystem *ss, uint32_t nsid, struct nvme_io_stats *st);
void nvme_ns_clear_stats(struct nvme_subsystem *ss, uint32_t nsid);

struct nvme_subsystem_info {
	const char *nqn, *serial, *model;
	unsigned max_namespaces, namespaces;
	uint64_t pool_capacity, pool_used;
};
void nvme_subsystem_get_info(const struct nvme_subsystem *ss, struct nvme_subsystem_info *out);

/* ---- controllers ---- */

struct nvme_ctrl_config {
	const char *name; /* "ssd0/vf3" */
	struct nvme_subsystem *subsystem;
	uint16_t cntlid;
	uint16_t queue_size;	 /* MQES + 1: 64..4096 */
	bool no_doorbell_buffer; /* do not offer Doorbell Buffer Config */
	bool register_memory;	 /* block_channel_fix() guest memory */
	enum poller_policy poll; /* of its queues; always: doorbells can be mapped */
	struct nvme_limits limits;
	/* a VF */
	struct nvme_ctrl *primary; /* NULL: this is a PF */
	uint16_t vf_index;	   /* 0-based, under that PF */
	/* a PF */
	uint16_t total_vfs;
	uint16_t first_vf_cntlid; /* of its VF 0 */
	unsigned queue_pairs;	  /* its private I/O queue pairs (and vectors), 1..128 */
	unsigned flexible;	  /* VQ and VI resources that secondaries can have together, each */
	unsigned flexible_per_vf; /* of these, the most for one; 129 at most */
	bool managed; /* the daemon is the trusted partition: no guest manages through this PF */
	int (*sriov_enable)(void *opaque, uint16_t num_vfs);
	void (*sriov_disable)(void *opaque);
	void *opaque;
};

int nvme_ctrl_create(const struct nvme_ctrl_config *cfg, struct nvme_ctrl **out);
/* The function must be detached. */
void nvme_ctrl_destroy(struct nvme_ctrl *ctrl);
struct pci_function *nvme_ctrl_function(struct nvme_ctrl *ctrl);
int nvme_ctrl_set_limits(struct nvme_ctrl *ctrl, const struct nvme_limits *lim);
/* When the workers of its queues stop asking for work; live. While a client may have doorbells
 * mapped, which wake nobody, they never do: what was set holds from the next client on. */
void nvme_ctrl_set_poll(struct nvme_ctrl *ctrl, enum poller_policy policy);

/*
 * Assigns pairs + 1 queue and interrupt resources to a secondary and takes it online (or, pairs 0,
 * offline), as actions 8 and 9 of Virtualization Management do; whether the VF exists yet or not.
 * It then stays as it is over a reset of a managed primary. -ENOSPC: more than is free; -ERANGE:
 * more than one may have; -EBUSY: attached to a VM.
 */
int nvme_secondary_assign(struct nvme_ctrl *primary, uint16_t vf_index, unsigned pairs, char *why,
			  size_t why_len);

struct nvme_ctrl_status {
	uint16_t cntlid;
	bool primary, online;	     /* a primary is always online */
	bool enabled, ready, failed; /* CC.EN, CSTS.RDY, CSTS.CFS */
	bool shutdown;
	bool doorbell_buffer, remote_memory;
	unsigned queue_resources, interrupt_resources; /* NVQ, NVI, admin included */
	unsigned queues_max, queues; /* I/O submission queues possible, made by the driver */
	uint64_t commands, admin_commands, interrupts, kicks;
	unsigned namespaces; /* attached */
	/* primary */
	unsigned flexible_total, flexible_assigned, private_queues;
	struct nvme_limits limits;
	bool managed;
};
void nvme_ctrl_get_status(const struct nvme_ctrl *ctrl, struct nvme_ctrl_status *st);
void nvme_ctrl_get_stats(const struct nvme_ctrl *ctrl, struct nvme_io_stats *st);
void nvme_ctrl_clear_stats(struct nvme_ctrl *ctrl);
size_t nvme_ctrl_memory(const struct nvme_ctrl *ctrl);

#endif
