/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A controller with nothing behind it: real registers, admin commands and virtualization on a real
 * PCI function; queues, namespaces and reservations are recorders that answer as a test tells
 * them.
 */
#ifndef SOFTIOV_TESTS_CTRL_MODEL_H
#define SOFTIOV_TESTS_CTRL_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "nvme/admin_private.h"
#include "nvme/state_private.h"
#include "nvme/virt_private.h"
#include "util/bytes.h"
#include "util/util.h"
#include "worker/mailbox.h"

#define MODEL_NN 8

/* A completion status, as the cases name it. */
#define OK	     0
#define GENERIC(sc)  NVME_ST_GENERIC(sc)
#define SPECIFIC(sc) NVME_ST_CMD(sc)

/* What the recorders saw, and what they are to answer. */
struct model_queues {
	bool hold_drain; /* nvme_queues_disable() is not done at once */
	bool hang;	 /* nor within nvme_queues_drain() */
	bool hold_flush;
	int enable_result, flush_result;
	unsigned enables, disables, drains, flushes, doorbells, creates_cq, creates_sq;
	struct nvme_enable enable;
	uint32_t doorbell_off, doorbell_value;
	unsigned count; /* I/O submission queues */
	uint64_t waiting, busy_ns;
	unsigned ptpl_all;
	uint16_t qid, cqid, vector;
	uint32_t size;
	uint64_t base, shadow, eventidx;
	bool irq, dma;
	uint8_t threshold, time;
	uint16_t config_vector;
	bool no_coalescing;
	uint16_t aborted_sqid, aborted_cid;
	unsigned host_changes;
	void (*drained)(struct nvme_ctrl *ctrl);
	void (*flushed)(struct nvme_ctrl *ctrl, int result);
	struct nvme_ctrl *ctrl; /* that disabled or flushed last */
};
extern struct model_queues mq;
/* What was held by hold_drain is drained now. */
void model_drained(struct nvme_ctrl *ctrl);

/* Completions of pending commands, in order. */
struct model_done {
	struct nvme_command *cmd;
	uint16_t status;
	uint32_t dw0;
};
extern struct model_done done[64];
extern unsigned n_done;

extern struct nvme_subsystem *const model_ss;
/* Makes a namespace, attached to nobody; all controllers have the same table. */
struct nvme_ns *model_ns(uint32_t nsid);
void model_attach(struct nvme_ctrl *ctrl, uint32_t nsid);
extern struct nvme_resv_notification_log model_resv_page;
extern struct nvme_io_stats model_io;
extern uint32_t model_resv_mask;

void model_reset(void); /* forgets everything; every controller is gone */
struct nvme_ctrl *model_pf(const struct nvme_ctrl_config *with); /* NULL: 4 pairs, no VFs */
struct nvme_ctrl *model_vf(struct nvme_ctrl *pf, uint16_t index);
extern char model_dma;

uint32_t rd32(struct nvme_ctrl *ctrl, uint64_t off);
uint64_t rd64(struct nvme_ctrl *ctrl, uint64_t off);
void wr32(struct nvme_ctrl *ctrl, uint64_t off, uint32_t v);
void wr64(struct nvme_ctrl *ctrl, uint64_t off, uint64_t v);

#define CC_ON	  0x00460001u /* IOCQES 4, IOSQES 6, EN */
#define CC_OFF	  0x00460000u
#define CSTS_BITS 0x1fu
#define RDY	  1u
#define CFS	  2u
#define SHST_BUSY 4u
#define SHST_DONE 8u
/* Sets queues up and enables; the result is asserted to be RDY. */
void model_enable(struct nvme_ctrl *ctrl);

/* Runs an admin command as the transport would. data: in and out, of the command's length. */
struct model_cmd {
	uint8_t opcode;
	uint32_t nsid, cdw10, cdw11, cdw12, cdw13;
	uint64_t prp1, prp2;
	uint8_t flags;
	uint16_t cid;
};
extern uint8_t model_data[1 << 16];
extern uint32_t model_dw0;
uint16_t model_run(struct nvme_ctrl *ctrl, const struct model_cmd *c);
/* The same for one that is expected to stay pending. */
struct nvme_command *model_pend(struct nvme_ctrl *ctrl, const struct model_cmd *c);
#define RUN(ctrl, ...) model_run(ctrl, &(struct model_cmd){__VA_ARGS__})

#endif
