/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration accesses: bytes, write masks, and the side effects of a write.
 *
 * A write is carried out dword by dword, as a CPU would: what one dword does (VF Enable, say) holds
 * before the next is looked at, so that a long message cannot change two registers in a way that
 * no bus could.
 */
#include <errno.h>
#include <string.h>

#include "pci/state.h"
#include "util/bytes.h"
#include "util/util.h"

static bool overlaps(unsigned off, unsigned len, unsigned reg, unsigned size)
{
	return off < reg + size && reg < off + len;
}

/* Header bytes of a VF that its VMM sees otherwise than the bus: IDs, BARs and the ROM BAR. */
static bool vmm_own_byte(const struct pci_function *fn, enum pci_view view, unsigned off)
{
	if (view != PCI_VIEW_VMM || !fn->desc.pf)
		return false;
	return off < PCI_COMMAND || (off >= PCI_BASE_ADDRESS_0 && off < PCI_CARDBUS_CIS) ||
	       (off >= PCI_ROM_ADDRESS && off < PCI_CAPABILITY_LIST);
}

uint16_t pci_config_command(const struct pci_function *fn)
{
	return get_le16(fn->cfg + PCI_COMMAND);
}

bool pci_config_d0(const struct pci_function *fn)
{
	return !fn->pm_cap || !(fn->cfg[fn->pm_cap + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK);
}

uint8_t *pci_config_raw(struct pci_function *fn)
{
	return fn->cfg;
}

void pci_config_define(struct pci_function *fn, unsigned off, const void *bytes, unsigned len,
		       const uint8_t *writable)
{
	memcpy(fn->cfg + off, bytes, len);
	memcpy(fn->init + off, bytes, len);
	if (writable)
		memcpy(fn->mask + off, writable, len);
	else
		memset(fn->mask + off, 0, len);
}

void pci_set_config_bytes(struct pci_function *fn, unsigned off, const void *bytes, unsigned len,
			  const uint8_t *writable)
{
	if (!range_ok(off, len, PCI_CFG_SIZE)) {
		log_error("%s: configuration bytes at %#x beyond the end", fn->name, off);
		return;
	}
	pci_config_define(fn, off, bytes, len, writable);
	pci_claim(fn, off, len);
}

uint8_t pci_config_peek(const struct pci_function *fn, enum pci_view view, unsigned off)
{
	if (vmm_own_byte(fn, view, off))
		return fn->vmm[off];
	if (off == PCI_COMMAND && view == PCI_VIEW_VMM && fn->desc.pf)
		return fn->cfg[off] | (fn->vmm[off] & PCI_COMMAND_MEMORY);
	return fn->cfg[off];
}

int pci_config_read(struct pci_function *fn, enum pci_view view, unsigned off, void *buf,
		    unsigned len)
{
	uint8_t *out = buf;

	if (!range_ok(off, len, PCI_CFG_SIZE)) {
		memset(buf, 0xff, len);
		return -EINVAL;
	}
	for (unsigned i = 0; i < fn->num_hooks && fn->desc.ops->cap_read; i++) {
		unsigned cap = fn->hooks[i].off, end = cap + fn->hooks[i].len;
		unsigned from = MAX(off, cap), to = MIN(off + len, end);

		if (from < to)
			fn->desc.ops->cap_read(fn, (uint8_t)cap, from - cap, to - from);
	}
	for (unsigned i = 0; i < len; i++)
		out[i] = pci_config_peek(fn, view, off + i);
	return 0;
}

static uint8_t merge(uint8_t old, uint8_t value, uint8_t mask)
{
	return (uint8_t)((old & ~mask) | (value & mask));
}

static void write_byte(struct pci_function *fn, enum pci_view view, unsigned off, uint8_t value)
{
	if (vmm_own_byte(fn, view, off)) {
		fn->vmm[off] = merge(fn->vmm[off], value, fn->vmm_mask[off]);
		return;
	}
	if (off == PCI_COMMAND && view == PCI_VIEW_VMM && fn->desc.pf)
		fn->vmm[off] = merge(fn->vmm[off], value, fn->vmm_mask[off]);
	fn->cfg[off] = merge(fn->cfg[off], value, fn->mask[off]);
}

/* A power state that is not supported leaves the old one (PCI PM 3.2.4). */
static void pm_written(struct pci_function *fn, uint8_t old)
{
	uint8_t *reg = &fn->cfg[fn->pm_cap + PCI_PM_CTRL];
	uint8_t state = *reg & PCI_PM_CTRL_STATE_MASK;

	if (state == 1 || state == 2)
		*reg = merge(*reg, old, PCI_PM_CTRL_STATE_MASK);
	pci_gate_update(fn);
}

/* Initiate Function Level Reset is written as 1 and always reads 0 (PCIe Base 7.5.3.4). */
static bool asks_flr(const struct pci_function *fn, unsigned off, const uint8_t *buf, unsigned len)
{
	unsigned reg = fn->exp_cap + PCI_EXP_DEVCTL + 1u;

	if (!fn->exp_cap || !overlaps(off, len, reg, 1) ||
	    !(get_le32(fn->cfg + fn->exp_cap + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR))
		return false;
	return buf[reg - off] & (PCI_EXP_DEVCTL_BCR_FLR >> 8);
}

static void call_write_hooks(struct pci_function *fn, unsigned off, unsigned len)
{
	for (unsigned i = 0; i < fn->num_hooks && fn->desc.ops->cap_written; i++) {
		unsigned cap = fn->hooks[i].off, end = cap + fn->hooks[i].len;
		unsigned from = MAX(off, cap), to = MIN(off + len, end);

		if (from < to)
			fn->desc.ops->cap_written(fn, (uint8_t)cap, from - cap, to - from);
	}
}

/* len bytes that lie inside one dword. */
static void write_dword(struct pci_function *fn, enum pci_view view, unsigned off,
			const uint8_t *buf, unsigned len)
{
	uint8_t old_pm = fn->pm_cap ? fn->cfg[fn->pm_cap + PCI_PM_CTRL] : 0;

	if (pci_sriov_owns(fn, off)) {
		/* VMMs hide this capability yet forward writes to it: whoever is lent a managed PF
		 * must not manage the VFs of others. */
		if (!fn->sriov.managed)
			pci_sriov_write(fn, off, buf, len);
		return;
	}
	for (unsigned i = 0; i < len; i++)
		write_byte(fn, view, off + i, buf[i]);
	if (overlaps(off, len, PCI_COMMAND, 2))
		pci_gate_update(fn);
	if (fn->pm_cap && overlaps(off, len, fn->pm_cap + PCI_PM_CTRL, 1))
		pm_written(fn, old_pm);
	if (fn->msix_cap && overlaps(off, len, fn->msix_cap + PCI_MSIX_FLAGS, 2))
		pci_msix_control_changed(fn);
	call_write_hooks(fn, off, len);
	if (asks_flr(fn, off, buf, len))
		pci_function_reset(fn, PCI_RESET_FLR);
}

int pci_config_write(struct pci_function *fn, enum pci_view view, unsigned off, const void *buf,
		     unsigned len)
{
	const uint8_t *in = buf;

	if (!range_ok(off, len, PCI_CFG_SIZE))
		return -EINVAL;
	while (len) {
		unsigned n = MIN(len, 4 - off % 4);

		write_dword(fn, view, off, in, n);
		off += n;
		in += n;
		len -= n;
	}
	return 0;
}

static void reset_range(struct pci_function *fn, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		fn->cfg[i] = merge(fn->cfg[i], fn->init[i], fn->mask[i]);
}

/* The VMM's view: BARs of a VF are windows that a VF's FLR leaves alone (PCIe Base 9.2.2.2). */
static void reset_vmm(struct pci_function *fn, enum pci_reset kind)
{
	fn->vmm[PCI_COMMAND] = PCI_COMMAND_MEMORY;
	if (kind == PCI_RESET_FLR)
		return;
	for (unsigned i = PCI_BASE_ADDRESS_0; i < PCI_CARDBUS_CIS; i++)
		fn->vmm[i] &= (uint8_t)~fn->vmm_mask[i];
}

/* Bits that are no reset's business get back the value they had. */
static void keep_byte(struct pci_function *fn, const uint8_t *before, unsigned off, uint8_t bits)
{
	fn->cfg[off] = merge(fn->cfg[off], before[off], fn->mask[off] & bits);
}

static void keep_registers(struct pci_function *fn, const uint8_t *before, enum pci_reset kind)
{
	if (kind == PCI_RESET_DETACH)
		return;
	/* AER's registers are sticky: only power-on resets them (PCIe Base 7.4, 7.8.4). */
	for (unsigned i = 0; fn->aer_cap && i < PCI_EXT_CAP_AER_SIZE; i++)
		keep_byte(fn, before, fn->aer_cap + i, 0xff);
	if (kind != PCI_RESET_FLR)
		return;
	/* What belongs to the link and its other end survives an FLR (PCIe Base 6.6.2) ... */
	if (fn->exp_cap) {
		keep_byte(fn, before, fn->exp_cap + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_PAYLOAD);
		keep_byte(fn, before, fn->exp_cap + PCI_EXP_LNKCTL, 0xff);
	}
	/* ... and so does what software said of the port above (9.3.3.3.5). */
	if (fn->sriov.cap)
		keep_byte(fn, before, fn->sriov.cap + PCI_SRIOV_CTRL, PCI_SRIOV_CTRL_ARI);
}

void pci_config_reset(struct pci_function *fn, enum pci_reset kind)
{
	uint8_t before[PCI_CFG_SIZE];

	memcpy(before, fn->cfg, sizeof(before));
	if (fn->sriov.managed && fn->sriov.cap) {
		reset_range(fn, 0, fn->sriov.cap);
		reset_range(fn, fn->sriov.cap + PCI_EXT_CAP_SRIOV_SIZEOF, PCI_CFG_SIZE);
	} else {
		reset_range(fn, 0, PCI_CFG_SIZE);
	}
	keep_registers(fn, before, kind);
	if (fn->desc.pf)
		reset_vmm(fn, kind);
}
