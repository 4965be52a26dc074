/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a controller is doing: enabled, resetting, failed, shutting down. The life of the
 * registers in regs.c, of the states in reset.c. Control thread, but for nvme_ctrl_fail().
 *
 * CSTS is what it says at each moment: RDY falls only when the last command of the old life is
 * gone, SHST says complete only when the data is safe. Neither is waited for on the control thread.
 */
#ifndef SOFTIOV_NVME_STATE_PRIVATE_H
#define SOFTIOV_NVME_STATE_PRIVATE_H

#include "nvme/ctrl_private.h"
#include "worker/mailbox.h"

/* Not QEMU's own 1b36:0010, for which drivers have workarounds that we do not need. */
#define NVME_PCI_VENDOR	   0x1b36
#define NVME_PCI_DEVICE_PF 0x5f10
#define NVME_PCI_DEVICE_VF 0x5f11

#define NVME_MPS_MAX	 4  /* CAP.MPSMAX: 64 KiB pages */
#define NVME_CAP_TIMEOUT 40 /* CAP.TO in 500 ms: 20 s */
#define NVME_RESET_DRAIN_MS                                                                        \
	300 /* a function-level reset is to be over within 100 ms (PCIe 6.6.2), and                \
	       what drains longer hangs: it goes on behind the host's back */

enum nvme_queues_state {
	NVME_QUEUES_OFF,
	NVME_QUEUES_ON,
	NVME_QUEUES_DRAINING,
};

struct nvme_ctrl_state {
	enum nvme_queues_state queues;
	bool resetting; /* CC.EN was cleared and the queues are not drained yet */
	bool flushing;	/* for a shutdown; nvme_queues_flush() has yet to answer */
	uint32_t interrupt_mask;
	uint16_t vectors; /* that the function is to have */
	struct nvme_ctrl *ctrl;
	struct mailbox_work fail_work, vectors_work;
	/* SMART */
	uint64_t created_ns, power_cycles, unsafe_shutdowns;
	struct nvme_io_stats cleared; /* counted before nvme_ctrl_clear_stats() */
	bool used;		      /* enabled since power-on */
};

/* ---- reset.c ---- */
void nvme_state_init(struct nvme_ctrl *ctrl);
void nvme_state_fini(struct nvme_ctrl *ctrl);
/* Commands are taken and completions given. */
bool nvme_ctrl_running(const struct nvme_ctrl *ctrl);
uint32_t nvme_ctrl_csts(const struct nvme_ctrl *ctrl);
/* CC is written, with whatever follows. */
void nvme_ctrl_write_cc(struct nvme_ctrl *ctrl, uint32_t value);
/* FLR and what is stronger; complete on return. */
void nvme_ctrl_reset_function(struct nvme_ctrl *ctrl, enum pci_reset kind);
/* A secondary controller went online or offline. Drains in the background. */
void nvme_ctrl_reset_secondary(struct nvme_ctrl *ctrl);
/* As many interrupt vectors, now or when the function's MSI-X is disabled next. */
void nvme_ctrl_set_vectors(struct nvme_ctrl *ctrl, uint16_t n);

/* ---- regs.c ---- */
uint64_t nvme_ctrl_cap(const struct nvme_ctrl *ctrl);
void nvme_regs_read(struct nvme_ctrl *ctrl, uint64_t off, void *buf, uint32_t len);
void nvme_regs_write(struct nvme_ctrl *ctrl, uint64_t off, const void *buf, uint32_t len);

#endif
