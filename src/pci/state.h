/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a function is made of, and how the files of this room call each other. Private to
 * src/pci.
 *
 * Configuration space is three arrays of the same shape: the bytes as the bus sees them, the bits
 * that a write may change, and what those bits are after a reset. A VF has a fourth, short one: the
 * header registers that its VMM sees in their place (IDs, BARs, Memory Space).
 */
#ifndef SOFTIOV_PCI_STATE_H
#define SOFTIOV_PCI_STATE_H

#include <linux/pci_regs.h>

#include "pci/function.h"
#include "util/log.h"

#define PCI_LEGACY_SIZE	     256
#define PCI_NAME_MAX	     64
#define PCI_HOOKS_MAX	     8
#define PCI_VF_BAR_MIN	     4096
#define PCI_EXT_CAP_AER_SIZE 0x48
#define PCI_SRIOV_PGSIZES    0x553u /* 4K, 8K, 64K, 256K, 1M, 4M: the set every PF must offer */

struct pci_hook {
	uint8_t off;
	uint8_t len;
};

struct pci_sriov {
	uint16_t cap;		   /* offset of the capability; 0: none */
	uint16_t count;		   /* VFs that exist */
	bool managed;		   /* pci_pf_set_managed() */
	bool busy;		   /* inside sriov_enable or sriov_disable */
	int result;		   /* of the last attempt to set VF Enable */
	struct pci_function **vfs; /* TotalVFs slots */
};

struct pci_function {
	struct pci_function_desc desc;
	char name[PCI_NAME_MAX];

	uint8_t cfg[PCI_CFG_SIZE];
	uint8_t mask[PCI_CFG_SIZE];
	uint8_t init[PCI_CFG_SIZE];
	uint8_t vmm[PCI_STD_HEADER_SIZEOF];
	uint8_t vmm_mask[PCI_STD_HEADER_SIZEOF];

	uint8_t used[PCI_CFG_SIZE / 4 / 8]; /* a bit per dword that belongs to somebody */
	uint8_t last_cap;
	uint16_t last_ext_cap;
	uint8_t pm_cap, exp_cap, msix_cap;
	uint16_t aer_cap;
	struct pci_hook hooks[PCI_HOOKS_MAX];
	unsigned num_hooks;

	_Atomic(struct dma_space *) dma; /* the gate: what pci_function_dma() gives */
	bool gate_closing;
	bool in_reset;
	bool blocked; /* pci_function_set_blocked() */
	struct pci_attachment att;

	struct pci_irq_vector *vec;
	uint16_t vectors_max;			   /* as created; desc.msix.vectors: now */
	_Atomic(struct pci_function *) irq_parent; /* not NULL: vec[].fd are its vectors */
	_Atomic bool irq_drop; /* root mode with MSI-X disabled: no message, no pending bit */

	struct pci_sriov sriov;
	struct log_limit log_vfs, log_irq;
};

/* config.c */
void pci_config_define(struct pci_function *fn, unsigned off, const void *bytes, unsigned len,
		       const uint8_t *writable);
/* Reads without side effects. */
uint8_t pci_config_peek(const struct pci_function *fn, enum pci_view view, unsigned off);
/* The writable bits go to their reset values, but for the SR-IOV capability of a managed PF. */
void pci_config_reset(struct pci_function *fn, enum pci_reset kind);
bool pci_config_d0(const struct pci_function *fn);
uint16_t pci_config_command(const struct pci_function *fn);

/* caps.c */
void pci_header_init(struct pci_function *fn);
void pci_claim(struct pci_function *fn, unsigned off, unsigned len);

/* bar.c */
int pci_bars_check(const struct pci_bar_desc *bars, uint64_t min_size);
/* Writes type bits into reg and address bits into mask for six BAR registers; every BAR decodes
 * at least min_size. */
void pci_bars_layout(uint8_t *reg, uint8_t *mask, const struct pci_bar_desc *bars,
		     uint64_t min_size);

/* msix.c */
int pci_msix_create(struct pci_function *fn);
void pci_msix_destroy(struct pci_function *fn);
/* True when off lies in the table or PBA; *n is cut to what lies on off's side of the border. */
bool pci_msix_claims(const struct pci_function *fn, unsigned bar, uint64_t off, uint32_t *n);
void pci_msix_read(struct pci_function *fn, uint64_t off, uint8_t *buf, uint32_t len);
void pci_msix_write(struct pci_function *fn, uint64_t off, const uint8_t *buf, uint32_t len);
/* MSI-X Enable, Function Mask or the owner changed. */
void pci_msix_control_changed(struct pci_function *fn);
void pci_msix_reset(struct pci_function *fn);
/* The owner comes, and goes. */
void pci_msix_attach(struct pci_function *fn);
void pci_msix_detach(struct pci_function *fn);

/* notify.c */
/* Adds 1 to an eventfd's counter. Never waits, whatever its other holders do. Any thread. */
void pci_eventfd_signal(int fd);

/* sriov.c */
int pci_sriov_create(struct pci_function *fn);
bool pci_sriov_owns(const struct pci_function *fn, unsigned off);
/* len bytes inside one dword of the capability. */
void pci_sriov_write(struct pci_function *pf, unsigned off, const uint8_t *buf, unsigned len);
void pci_sriov_reset(struct pci_function *pf);
void pci_sriov_disable_vfs(struct pci_function *pf);
uint64_t pci_sriov_page_size(const struct pci_function *pf);
bool pci_sriov_vfe(const struct pci_function *pf);

/* reset.c */
/* Opens or closes the DMA gate of fn, and of its VFs, as registers and owner now demand. */
void pci_gate_update(struct pci_function *fn);

#endif
