/* SPDX-License-Identifier: BSD-3-Clause */
/* NVMe devices: a subsystem with its namespaces, and a controller for each function. */
#ifndef SOFTIOV_DEVICE_NVME_PRIVATE_H
#define SOFTIOV_DEVICE_NVME_PRIVATE_H

#include "device/device_internal.h"
#include "util/util.h"

struct nvme_function {
	struct function fn;
	struct nvme_ctrl *ctrl;
	bool assigned; /* a VF that was given its queues when it was made */
};

/* A namespace that the configuration file made. It may be gone meanwhile: a root's kernel, too, may
 * delete namespaces. */
struct nvme_record {
	struct nvme_record *next;
	uint64_t id;		     /* nvme_ns_info.id */
	struct config_namespace cfg; /* as the file has it; attach_vfs is a copy */
	bool fresh;		     /* made by the start or reload that is under way */
};

struct nvme_device {
	struct device dev;
	struct nvme_subsystem *subsystem;
	unsigned max_pairs; /* I/O queue pairs that a VF may be given; fixed at start */
	/* Indexed by VF number. */
	unsigned *vf_queues; /* 0: the device's */
	bool *vf_limited;    /* the file said limits */
	struct nvme_limits *vf_limits;
	struct nvme_record *records; /* ascending by NSID */
};

static inline struct nvme_device *nvme_device(const struct device *dev)
{
	return container_of(dev, struct nvme_device, dev);
}

static inline struct nvme_function *nvme_function(const struct function *fn)
{
	return container_of(fn, struct nvme_function, fn);
}

/* nvme_device.c */
/* I/O queue pairs that a VF is given when it is made (0: none, by hand), under a configuration to
 * come (dc) or now (NULL). */
unsigned nvme_vf_pairs(const struct nvme_device *nd, const struct config_device *dc, unsigned vf);
int nvme_check_num_vfs(struct device *dev, const struct config_device *dc, uint16_t num,
		       char why[WHY_MAX]);
/* Whether the VF exists or not. */
int nvme_set_vf_limits(struct nvme_device *nd, unsigned vf, const struct nvme_limits *lim);

/* nvme_records.c */
/* Makes the namespace and its record, attached to nobody. */
int nvme_record_create(struct nvme_device *nd, const struct config_namespace *cn,
		       struct nvme_record **out, char why[WHY_MAX]);
/* The namespace too, if it is there still. Its data stays, in the pool as well; undo: what making
 * it has made goes (nvme_ns_withdraw()). */
void nvme_record_drop(struct nvme_device *nd, struct nvme_record *rec, bool undo);
/* The record only. */
void nvme_record_forget(struct nvme_device *nd, struct nvme_record *rec);
struct nvme_record *nvme_record_find(const struct nvme_device *nd, uint32_t nsid);
/* The namespace as it is now; false when it is gone, or another has its NSID. */
bool nvme_record_alive(const struct nvme_device *nd, const struct nvme_record *rec,
		       struct nvme_ns_info *info);
/* Attaches it to all that the file names now (cn), detaches it from those that only the record
 * named; who got it live keeps it. before false: the record says nothing yet. */
int nvme_record_attach(struct nvme_device *nd, const struct nvme_record *rec,
		       const struct config_namespace *cn, bool before, char why[WHY_MAX]);
/* Takes over what the file says now. */
int nvme_record_update(struct nvme_record *rec, const struct config_namespace *cn);

/* nvme_reload.c: see struct device_ops */
const char *nvme_frozen_change(const struct device *dev, const struct config_device *dc);
int nvme_check_reload(struct device *dev, const struct config_device *dc, char why[WHY_MAX]);
int nvme_prepare_reload(struct device *dev, const struct config_device *dc, char why[WHY_MAX]);
void nvme_undo_reload(struct device *dev);
int nvme_apply_reload(struct device *dev, const struct config_device *dc, char why[WHY_MAX]);

#endif
