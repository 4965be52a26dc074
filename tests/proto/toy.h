/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small PCIe function for protocol tests: scratch registers, MSI-X, and an engine that copies
 * client memory to client memory when told to.
 */
#ifndef SOFTIOV_TESTS_PROTO_TOY_H
#define SOFTIOV_TESTS_PROTO_TOY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "pci/function.h"
#include "vfio_user/server.h"
#include "worker/worker.h"

#define TOY_VECTORS  32
#define TOY_BAR0     65536
#define TOY_BAR2     16384
#define TOY_VENDOR   0x1b36
#define TOY_DEVICE   0x0005
#define TOY_COPY_MAX (2u << 20)

/* BAR0: below 0x800 plain memory, then the engine. */
enum toy_reg {
	TOY_SRC = 0x800,
	TOY_DST = 0x808,
	TOY_LEN = 0x810,
	TOY_VECTOR = 0x814,
	TOY_STATUS = 0x818,
	TOY_ERRNO = 0x81c,
	TOY_DOORBELL = 0x820, /* 1: copy once, 2: copy until reset or another doorbell */
	TOY_ROUNDS = 0x824,
	TOY_RESETS = 0x828,
	TOY_BLOCK_MS = 0x82c, /* a write keeps the control thread busy so long */
};

enum toy_status { TOY_IDLE, TOY_BUSY, TOY_DONE, TOY_FAILED };

struct toy {
	struct pci_function *fn;
	struct worker *worker;
	struct poller poller;
	uint8_t scratch[0x800];
	uint8_t *buf;
	_Atomic uint64_t src, dst;
	_Atomic uint32_t len, vector, status, error, mode, rounds, resets;
	int doorbell_fd; /* offered through GET_REGION_IO_FDS */
};

/* Fails the calling test on error. */
void toy_create(struct toy *t, const char *name);
void toy_destroy(struct toy *t);
int toy_io_fds(struct toy *t, unsigned region, struct vfu_io_fd *fds, unsigned max);

#endif
