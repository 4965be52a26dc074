/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device model that records what it is told, and short forms of configuration accesses.
 */
#ifndef TESTS_UNIT_PCI_MODEL_H
#define TESTS_UNIT_PCI_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <linux/pci_regs.h>

#include "pci/function.h"
#include "util/bytes.h"
#include "util/util.h"

#define MODEL_VENDOR 0x1af4
#define MODEL_DEVICE 0x1041
#define MODEL_VF_DID 0x1042
#define MODEL_VFS    8
#define MODEL_VECS   70 /* more than one PBA word */

struct model {
	struct pci_function *pf;
	unsigned resets, enables, disables;
	enum pci_reset last_reset;
	bool dma_seen_in_reset;
	unsigned dma_on, dma_off;
	int enable_error;
	bool attach_vfs; /* new VFs get an owner */
	unsigned bar_reads, bar_writes;
	uint64_t last_off;
	uint32_t last_len;
	unsigned hook_reads, hook_writes, hook_off, hook_len;
};

#define MODEL_DMA ((struct dma_space *)&model_dma) /* never looked into by the room under test */
extern char model_dma;

struct pci_function_desc model_desc(struct model *m);
/* A PF with MODEL_VFS VFs. */
void model_create(struct model *m);
void model_destroy(struct model *m);
void model_attach(struct pci_function *fn, enum pci_owner_kind kind);

uint32_t rd(struct pci_function *fn, enum pci_view view, unsigned off, unsigned len);
void wr(struct pci_function *fn, enum pci_view view, unsigned off, unsigned len, uint32_t v);
unsigned find_cap(struct pci_function *fn, uint8_t id);
unsigned find_ext(struct pci_function *fn, uint16_t id);
/* Offset of an SR-IOV register of the PF. */
unsigned iov(struct model *m, unsigned reg);
void enable_vfs(struct model *m, uint16_t num);
void disable_vfs(struct model *m);

#endif
