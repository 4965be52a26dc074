/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtualization (Base 8.5): which of a primary's secondary controllers are online, and who has the
 * queue (VQ) and interrupt (VI) resources. Control thread.
 *
 * The primary's own resources are private and fixed; it may take flexible ones besides. Those of
 * secondaries are all flexible.
 *
 * What the configuration assigned (nvme_secondary_assign) is kept apart from what is so now: under
 * a managed primary it always holds; under one that a root has, a reset of the primary takes it
 * away as the standard says, and a VF that comes into being gets it again.
 */
#ifndef SOFTIOV_NVME_VIRT_PRIVATE_H
#define SOFTIOV_NVME_VIRT_PRIVATE_H

#include "nvme/ctrl_private.h"

#define NVME_ONLINE_VQ_MIN 2 /* an admin and an I/O queue pair */

int nvme_virt_create(struct nvme_ctrl *primary);
void nvme_virt_destroy(struct nvme_ctrl *primary);
/* A secondary comes, offline or as configured, and goes. */
void nvme_virt_attach(struct nvme_ctrl *secondary);
void nvme_virt_detach(struct nvme_ctrl *secondary);
/* function_level: any reset but that by CC.EN. */
void nvme_virt_primary_reset(struct nvme_ctrl *primary, bool function_level);

uint16_t nvme_virt_run(struct nvme_command *cmd); /* 1Ch */
void nvme_virt_identify_primary(const struct nvme_ctrl *primary, struct nvme_primary_ctrl_cap *out);
void nvme_virt_identify_secondaries(const struct nvme_ctrl *primary, uint16_t from,
				    struct nvme_secondary_ctrl_list *out);
/* CNTLIDs of the secondaries, ascending: the i-th, or NVME_NO_OWNER beyond the last. */
uint16_t nvme_virt_cntlid(const struct nvme_ctrl *primary, unsigned i);

struct nvme_virt_totals {
	unsigned flexible, assigned;
};
void nvme_virt_totals(const struct nvme_ctrl *primary, struct nvme_virt_totals *out);
unsigned nvme_virt_vq_private(const struct nvme_ctrl *primary);

#endif
