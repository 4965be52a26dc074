/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The header, and the capabilities that every function carries. Places are given out first fit, so
 * that registers put at fixed addresses beforehand are stepped around.
 */
#include <errno.h>
#include <string.h>

#include "pci/state.h"
#include "util/bytes.h"
#include "util/util.h"

#define EXP_CAP_SIZE 60 /* version 2: all registers, slot and root ones included (7.5.3) */
#define CAPS_START   0x80
#define ACS_BITS     (PCI_ACS_RR | PCI_ACS_CR | PCI_ACS_DT)

void pci_claim(struct pci_function *fn, unsigned off, unsigned len)
{
	for (unsigned dw = off / 4; len && dw <= (off + len - 1) / 4; dw++)
		fn->used[dw / 8] |= (uint8_t)BIT(dw % 8);
}

/* A dword-aligned gap of size bytes in [from, to), claimed; 0 when there is none. */
static unsigned find_place(struct pci_function *fn, unsigned from, unsigned to, unsigned size)
{
	unsigned start = from;

	for (unsigned off = from; off + 4 <= to && size <= to - start; off += 4) {
		if (fn->used[off / 32] & BIT(off / 4 % 8)) {
			start = off + 4;
			continue;
		}
		if (off + 4 - start >= size) {
			pci_claim(fn, start, size);
			return start;
		}
	}
	return 0;
}

static void remember(struct pci_function *fn, uint8_t id, uint8_t off)
{
	switch (id) {
	case PCI_CAP_ID_PM:
		fn->pm_cap = off;
		break;
	case PCI_CAP_ID_MSIX:
		fn->msix_cap = off;
		break;
	case PCI_CAP_ID_EXP:
		fn->exp_cap = off;
		break;
	}
}

int pci_add_capability(struct pci_function *fn, uint8_t id, const void *body, unsigned len,
		       const uint8_t *writable, unsigned flags)
{
	uint8_t head[2] = {id, 0};
	uint8_t link;
	unsigned off;

	if (len > PCI_LEGACY_SIZE || ((flags & PCI_CAP_HOOKED) && fn->num_hooks == PCI_HOOKS_MAX))
		return -ENOSPC;
	/* Device-specific registers customarily begin right behind the header; capabilities stay
	 * clear of them while there is room elsewhere. */
	off = find_place(fn, CAPS_START, PCI_LEGACY_SIZE, len + 2);
	if (!off)
		off = find_place(fn, PCI_STD_HEADER_SIZEOF, CAPS_START, len + 2);
	if (!off)
		return -ENOSPC;
	pci_config_define(fn, off, head, sizeof(head), NULL);
	pci_config_define(fn, off + 2, body, len, writable);
	link = (uint8_t)off;
	pci_config_define(fn, fn->last_cap ? fn->last_cap + 1u : PCI_CAPABILITY_LIST, &link, 1,
			  NULL);
	fn->last_cap = link;
	if (flags & PCI_CAP_HOOKED)
		fn->hooks[fn->num_hooks++] = (struct pci_hook){link, (uint8_t)(len + 2)};
	remember(fn, id, link);
	return (int)off;
}

static uint32_t ext_header(uint16_t id, uint8_t version, unsigned next)
{
	return id | (uint32_t)version << 16 | (uint32_t)next << 20;
}

int pci_add_ext_capability(struct pci_function *fn, uint16_t id, uint8_t version, const void *body,
			   unsigned len, const uint8_t *writable)
{
	uint8_t head[4];
	unsigned off;

	if (len > PCI_CFG_SIZE)
		return -ENOSPC;
	off = find_place(fn, PCI_LEGACY_SIZE, PCI_CFG_SIZE, len + 4);
	if (!off)
		return -ENOSPC;
	put_le32(head, ext_header(id, version & 0xf, 0));
	pci_config_define(fn, off, head, sizeof(head), NULL);
	pci_config_define(fn, off + 4, body, len, writable);
	if (fn->last_ext_cap) {
		uint32_t prev = get_le32(fn->cfg + fn->last_ext_cap);

		put_le32(head, (prev & 0xfffff) | (uint32_t)off << 20);
		pci_config_define(fn, fn->last_ext_cap, head, sizeof(head), NULL);
	}
	fn->last_ext_cap = (uint16_t)off;
	return (int)off;
}

void pci_header_init(struct pci_function *fn)
{
	const struct pci_function_desc *d = &fn->desc;
	const bool vf = d->pf;
	/* Of a VF's Command register only Bus Master Enable exists (PCIe Base 9.3.4). */
	uint16_t command = vf ? PCI_COMMAND_MASTER
			      : PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
					   PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE;
	uint8_t *cfg = fn->cfg;

	put_le16(cfg + PCI_VENDOR_ID, vf ? 0xffff : d->vendor_id);
	put_le16(cfg + PCI_DEVICE_ID, vf ? 0xffff : d->device_id);
	put_le16(cfg + PCI_STATUS, PCI_STATUS_CAP_LIST);
	put_le32(cfg + PCI_CLASS_REVISION, d->class_code << 8 | d->revision);
	put_le16(cfg + PCI_SUBSYSTEM_VENDOR_ID, d->subsystem_vendor_id);
	put_le16(cfg + PCI_SUBSYSTEM_ID, d->subsystem_id);
	put_le16(fn->mask + PCI_COMMAND, command);
	if (vf) {
		put_le16(fn->vmm + PCI_VENDOR_ID, d->vendor_id);
		put_le16(fn->vmm + PCI_DEVICE_ID, d->device_id);
		fn->vmm[PCI_COMMAND] = fn->vmm_mask[PCI_COMMAND] = PCI_COMMAND_MEMORY;
		pci_bars_layout(fn->vmm + PCI_BASE_ADDRESS_0, fn->vmm_mask + PCI_BASE_ADDRESS_0,
				d->bars, 0);
	} else {
		/* Both are mere storage in PCI Express (7.5.1.1.7, 7.5.1.1.12). */
		fn->mask[PCI_CACHE_LINE_SIZE] = fn->mask[PCI_INTERRUPT_LINE] = 0xff;
		pci_bars_layout(cfg + PCI_BASE_ADDRESS_0, fn->mask + PCI_BASE_ADDRESS_0, d->bars,
				0);
	}
	memcpy(fn->init, cfg, PCI_STD_HEADER_SIZEOF);
	pci_claim(fn, 0, PCI_STD_HEADER_SIZEOF);
}

static int add_pm(struct pci_function *fn)
{
	uint8_t body[PCI_PM_SIZEOF - 2] = {0}, mask[PCI_PM_SIZEOF - 2] = {0};

	put_le16(body, 3); /* version 1.2 of the PM interface; no D1, D2 or PME */
	put_le16(body + PCI_PM_CTRL - 2, PCI_PM_CTRL_NO_SOFT_RESET);
	put_le16(mask + PCI_PM_CTRL - 2, PCI_PM_CTRL_STATE_MASK);
	return pci_add_capability(fn, PCI_CAP_ID_PM, body, sizeof(body), mask, 0);
}

static int add_msix(struct pci_function *fn)
{
	const struct pci_msix_desc *m = &fn->desc.msix;
	uint8_t body[PCI_CAP_MSIX_SIZEOF - 2] = {0}, mask[PCI_CAP_MSIX_SIZEOF - 2] = {0};

	if (!m->vectors)
		return 0;
	put_le16(body, (uint16_t)(m->vectors - 1));
	put_le16(mask, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	put_le32(body + PCI_MSIX_TABLE - 2, m->table_off | m->bar);
	put_le32(body + PCI_MSIX_PBA - 2, m->pba_off | m->bar);
	return pci_add_capability(fn, PCI_CAP_ID_MSIX, body, sizeof(body), mask, 0);
}

/* There is no link; the registers tell of one that hides nothing from the driver: 16 GT/s, x16. */
static int add_pcie(struct pci_function *fn)
{
	uint8_t body[EXP_CAP_SIZE - 2] = {0}, mask[EXP_CAP_SIZE - 2] = {0};
	const bool vf = fn->desc.pf;

#define AT(off) ((off)-2)
	put_le16(body + AT(PCI_EXP_FLAGS), 2 | PCI_EXP_TYPE_ENDPOINT << 4);
	put_le32(body + AT(PCI_EXP_DEVCAP), 1 /* 256 bytes */ | PCI_EXP_DEVCAP_EXT_TAG |
						    PCI_EXP_DEVCAP_L0S | PCI_EXP_DEVCAP_L1 |
						    PCI_EXP_DEVCAP_RBER | PCI_EXP_DEVCAP_FLR);
	put_le32(body + AT(PCI_EXP_LNKCAP), PCI_EXP_LNKCAP_SLS_16_0GB | 16 << 4 | BIT(22));
	put_le32(body + AT(PCI_EXP_DEVCAP2), PCI_EXP_DEVCAP2_COMP_TMOUT_DIS);
	put_le32(body + AT(PCI_EXP_LNKCAP2), PCI_EXP_LNKCAP2_SLS_2_5GB | PCI_EXP_LNKCAP2_SLS_5_0GB |
						     PCI_EXP_LNKCAP2_SLS_8_0GB |
						     PCI_EXP_LNKCAP2_SLS_16_0GB);
	/* A VF's control and link registers are reserved and follow the PF's (9.3.5). */
	if (!vf) {
		put_le16(body + AT(PCI_EXP_DEVCTL), PCI_EXP_DEVCTL_RELAX_EN |
							    PCI_EXP_DEVCTL_NOSNOOP_EN |
							    PCI_EXP_DEVCTL_READRQ_512B);
		put_le16(mask + AT(PCI_EXP_DEVCTL),
			 PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE | PCI_EXP_DEVCTL_FERE |
				 PCI_EXP_DEVCTL_URRE | PCI_EXP_DEVCTL_RELAX_EN |
				 PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_EXT_TAG |
				 PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ);
		put_le16(mask + AT(PCI_EXP_LNKCTL), PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES);
		put_le16(body + AT(PCI_EXP_LNKSTA), PCI_EXP_LNKSTA_CLS_16_0GB |
							    16 << PCI_EXP_LNKSTA_NLW_SHIFT |
							    PCI_EXP_LNKSTA_SLC);
		put_le16(mask + AT(PCI_EXP_DEVCTL2), PCI_EXP_DEVCTL2_COMP_TMOUT_DIS);
		put_le16(body + AT(PCI_EXP_LNKCTL2), PCI_EXP_LNKCTL2_TLS_16_0GT);
	}
#undef AT
	return pci_add_capability(fn, PCI_CAP_ID_EXP, body, sizeof(body), mask, 0);
}

/* Nothing ever sets a status bit: errors of the data path are the device model's to tell. */
static int add_aer(struct pci_function *fn)
{
	const uint32_t uncor = PCI_ERR_UNC_DLP | PCI_ERR_UNC_POISON_TLP | PCI_ERR_UNC_FCP |
			       PCI_ERR_UNC_COMP_TIME | PCI_ERR_UNC_COMP_ABORT |
			       PCI_ERR_UNC_UNX_COMP | PCI_ERR_UNC_RX_OVER | PCI_ERR_UNC_MALF_TLP |
			       PCI_ERR_UNC_ECRC | PCI_ERR_UNC_UNSUP;
	const uint32_t fatal =
		PCI_ERR_UNC_DLP | PCI_ERR_UNC_FCP | PCI_ERR_UNC_RX_OVER | PCI_ERR_UNC_MALF_TLP;
	const uint32_t cor = PCI_ERR_COR_RCVR | PCI_ERR_COR_BAD_TLP | PCI_ERR_COR_BAD_DLLP |
			     PCI_ERR_COR_REP_ROLL | PCI_ERR_COR_REP_TIMER | PCI_ERR_COR_ADV_NFAT;
	uint8_t body[PCI_EXT_CAP_AER_SIZE - 4] = {0}, mask[PCI_EXT_CAP_AER_SIZE - 4] = {0};
	int off;

	put_le32(mask + PCI_ERR_UNCOR_MASK - 4, uncor);
	put_le32(body + PCI_ERR_UNCOR_SEVER - 4, fatal);
	put_le32(mask + PCI_ERR_UNCOR_SEVER - 4, uncor);
	put_le32(body + PCI_ERR_COR_MASK - 4, PCI_ERR_COR_ADV_NFAT);
	put_le32(mask + PCI_ERR_COR_MASK - 4, cor);
	off = pci_add_ext_capability(fn, PCI_EXT_CAP_ID_ERR, 2, body, sizeof(body), mask);
	if (off > 0)
		fn->aer_cap = (uint16_t)off;
	return off;
}

/* Next Function Number 0: a PF is alone in its slot, and VFs are not linked (7.8.8.2). */
static int add_ari(struct pci_function *fn)
{
	const uint8_t body[PCI_EXT_CAP_ARI_SIZEOF - 4] = {0};

	return pci_add_ext_capability(fn, PCI_EXT_CAP_ID_ARI, 1, body, sizeof(body), NULL);
}

static int add_acs(struct pci_function *fn)
{
	uint8_t body[4] = {0}, mask[4] = {0};

	put_le16(body + (PCI_ACS_CAP - 4), ACS_BITS);
	put_le16(mask + (PCI_ACS_CTRL - 4), ACS_BITS);
	return pci_add_ext_capability(fn, PCI_EXT_CAP_ID_ACS, 1, body, sizeof(body), mask);
}

int pci_add_standard_caps(struct pci_function *fn)
{
	int (*const pf_caps[])(struct pci_function *) = {
		add_pm, add_msix, add_pcie, add_aer, add_ari, add_acs, pci_sriov_create,
	};
	int (*const vf_caps[])(struct pci_function *) = {add_msix, add_pcie, add_ari, add_acs};
	const bool vf = fn->desc.pf;
	const unsigned n = vf ? ARRAY_SIZE(vf_caps) : ARRAY_SIZE(pf_caps);

	for (unsigned i = 0; i < n; i++) {
		int ret = vf ? vf_caps[i](fn) : pf_caps[i](fn);

		if (ret < 0)
			return ret;
	}
	return 0;
}
