/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A command that the control thread carries out: every admin command, and the I/O commands for
 * reservations. A worker fetches it, reads what the host sends with it, and hands it over; the
 * control thread answers, at once or later; the worker writes what goes to the host and posts the
 * completion. Written by queue transport (command.c); run by admin.c and resv.c.
 */
#ifndef SOFTIOV_NVME_COMMAND_PRIVATE_H
#define SOFTIOV_NVME_COMMAND_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "nvme/status_private.h"

struct nvme_ctrl;

#define NVME_COMMAND_DATA_MAX (1u << 20) /* MDTS */

struct nvme_command {
	struct nvme_ctrl *ctrl;
	struct nvme_sqe sqe; /* private copy */
	uint16_t sqid;	     /* 0: admin */
	/* len bytes, zeroed when they go to the host; NULL when len is 0. */
	uint8_t *data;
	uint32_t len;
	bool to_host;
	uint32_t dw0; /* of the completion */
	/* The runner's own, for what stays pending: a list, a state. */
	struct nvme_command *next;
	void *opaque;
	/* Called instead of running on when the controller is reset while the command is pending:
	 * let go of it; it is freed when this returns. NULL: nothing to do. Control. */
	void (*cancel)(struct nvme_command *cmd);
};

/* How many bytes the command moves, and which way; from the entry alone. Called on a worker. More
 * than NVME_COMMAND_DATA_MAX: the transport answers Invalid Field. */
uint32_t nvme_admin_data_len(const struct nvme_sqe *sqe, bool *to_host); /* admin.c */
uint32_t nvme_resv_data_len(const struct nvme_sqe *sqe, bool *to_host);	 /* resv.c */

/* Runs it, on the control thread: a status, or NVME_ST_PENDING, after which
 * nvme_command_complete() will be called. */
uint16_t nvme_admin_run(struct nvme_command *cmd); /* admin.c */
uint16_t nvme_resv_run(struct nvme_command *cmd);  /* resv.c */

/* Ends a pending command. Control. Frees it in due course. */
void nvme_command_complete(struct nvme_command *cmd, uint16_t status);

#endif
