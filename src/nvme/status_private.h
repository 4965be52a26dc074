/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Completion status: SC in 7:0, SCT in 10:8, More in 13, Do Not Retry in 14, as in the completion
 * entry without its phase tag (Base 4.6.1). 0 is success. NVME_SC_*, NVME_SCT_* are libnvme's.
 */
#ifndef SOFTIOV_NVME_STATUS_PRIVATE_H
#define SOFTIOV_NVME_STATUS_PRIVATE_H

#include <stdint.h>

#include "spec/nvme_spec.h"

#define NVME_ST_DNR	    0x4000u
#define NVME_ST_GENERIC(sc) ((uint16_t)((sc) | NVME_ST_DNR))
#define NVME_ST_CMD(sc)	    ((uint16_t)((NVME_SCT_CMD_SPECIFIC << 8) | ((sc)&0xff) | NVME_ST_DNR))
#define NVME_ST_MEDIA(sc)   ((uint16_t)((NVME_SCT_MEDIA << 8) | ((sc)&0xff)))
/* Not a status: the command's completion comes later. */
#define NVME_ST_PENDING 0xffffu
/* Not statuses either, and only between the files of queues: try the whole command again later (a
 * wait was called off, a gate is closed, memory is short); the data needs a private copy; a step is
 * done, go on with the next one, now or in the next turn. */
#define NVME_ST_RETRY	    0xfffeu
#define NVME_ST_BOUNCE	    0xfffdu
#define NVME_ST_STEP	    0xfffcu
#define NVME_ST_YIELD	    0xfffbu
#define NVME_ST_LIMITED	    0xfffau
#define NVME_ST_IS_REAL(st) ((st) < 0x8000u)

/* The one place that maps errno to NVMe; write tells a write-like operation (its fault is Write
 * Fault, not Unrecovered Read Error; -ENOSPC is Capacity Exceeded). */
uint16_t nvme_status_of(int err, int write);

#endif
