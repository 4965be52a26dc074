/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A subsystem with real namespaces, backends and workers, and controllers that are only
 * identifiers: their events are recorded, their commands are run by hand.
 */
#ifndef TESTS_UNIT_NVME_NS_MODEL_H
#define TESTS_UNIT_NVME_NS_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "nvme/subsystem_private.h"

#define MIB	(1ull << 20)
#define NN	8
#define PF	0
#define VF(n)	NVME_CNTLID_VF(n)
#define VFS	4
#define WHY_MAX 512

#define GENERIC(sc)  ((int)NVME_ST_GENERIC(sc) & 0x7ff)
#define SPECIFIC(sc) ((int)NVME_ST_CMD(sc) & 0x7ff)

extern struct nvme_subsystem *ss;
extern char model_dir[]; /* for files; emptied by the teardown */
extern char why[WHY_MAX];

/* A subsystem with a pool of so many bytes in memory (0: none), or in the directory. */
void model_start(uint64_t pool, bool in_directory);
void model_stop(void);
int model_setup(void **state); /* per test: 16 MiB of memory */
int model_teardown(void **state);
int model_group_setup(void **state);
int model_group_teardown(void **state);

/* A controller; a PF that a root has, unless it is managed. */
struct nvme_ctrl *model_pf(uint16_t cntlid, uint16_t first_vf, bool managed);
struct nvme_ctrl *model_vf(struct nvme_ctrl *pf, uint16_t cntlid);
void model_remove(struct nvme_ctrl *ctrl);
void model_set_host(struct nvme_ctrl *ctrl, uint8_t n); /* 16 bytes of n; 0: none */

uint32_t model_memory_ns(uint32_t nsid, uint64_t size);
uint32_t model_file_ns(uint32_t nsid, uint64_t size, const char *name);
void model_attach(uint32_t nsid, uint16_t cntlid);

/* What its table says. */
struct nvme_ns *model_sees(const struct nvme_ctrl *ctrl, uint32_t nsid);
/* Namespace-changed events since the last call. */
unsigned model_events(const struct nvme_ctrl *ctrl);
unsigned model_async_events(const struct nvme_ctrl *ctrl);

/* Runs what the mailbox has, until cond holds; fails after some seconds. */
#define MODEL_UNTIL(cond)                                                                          \
	do {                                                                                       \
		for (unsigned tries_ = 0; !(cond); tries_++) {                                     \
			assert_true(tries_ < 5000);                                                \
			model_pump();                                                              \
		}                                                                                  \
	} while (0)
void model_pump(void);

/* A command; its completion. */
struct model_cmd {
	struct nvme_command cmd;
	uint8_t data[4096];
	bool done;
	uint16_t status;
};
void model_cmd_init(struct model_cmd *m, struct nvme_ctrl *ctrl, uint8_t opcode, uint32_t nsid);
/* Runs it and waits; SCT and SC, without Do Not Retry. */
int model_run(struct model_cmd *m, uint16_t (*run)(struct nvme_command *cmd));
/* Only runs it: a status, or NVME_ST_PENDING. */
uint16_t model_begin(struct model_cmd *m, uint16_t (*run)(struct nvme_command *cmd));

#endif
