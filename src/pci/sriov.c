/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The SR-IOV extended capability of a PF (PCIe Base 9.3.3) and the life cycle of its VFs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pci/state.h"
#include "util/bytes.h"
#include "util/util.h"

#define CTRL_BITS	  (PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE | PCI_SRIOV_CTRL_ARI)
#define CAP_ARI_PRESERVED BIT(1)

static uint8_t *reg(const struct pci_function *pf, unsigned off)
{
	return (uint8_t *)pf->cfg + pf->sriov.cap + off;
}

static uint16_t ctrl(const struct pci_function *pf)
{
	return pf->sriov.cap ? get_le16(reg(pf, PCI_SRIOV_CTRL)) : 0;
}

bool pci_sriov_vfe(const struct pci_function *pf)
{
	return ctrl(pf) & PCI_SRIOV_CTRL_VFE;
}

bool pci_pf_vf_mse(const struct pci_function *pf)
{
	return ctrl(pf) & PCI_SRIOV_CTRL_MSE;
}

bool pci_sriov_owns(const struct pci_function *fn, unsigned off)
{
	return fn->sriov.cap && off >= fn->sriov.cap &&
	       off < fn->sriov.cap + PCI_EXT_CAP_SRIOV_SIZEOF;
}

/* Software sets exactly one bit. Should it set several the smallest counts; none means 4 KiB. */
uint64_t pci_sriov_page_size(const struct pci_function *pf)
{
	uint32_t bits = get_le32(reg(pf, PCI_SRIOV_SYS_PGSIZE));

	return 4096ull * (bits ? bits & -bits : 1);
}

/*
 * An ARI hierarchy takes VFs right behind the PF on its bus. Elsewhere only functions 0-7 of
 * device 0 could be reached there, so that VFs begin on the next bus, which the PF captures.
 * Neither value depends on NumVFs, and both hold still while VF Enable is set since the ARI bit
 * does (9.3.3.9, 9.3.3.10).
 */
static void update_layout(struct pci_function *pf)
{
	const bool ari = ctrl(pf) & PCI_SRIOV_CTRL_ARI;
	unsigned bars = pf->sriov.cap + PCI_SRIOV_BAR;

	put_le16(reg(pf, PCI_SRIOV_VF_OFFSET), ari ? 1 : 256);
	put_le16(reg(pf, PCI_SRIOV_VF_STRIDE), 1);
	/* An aperture is never smaller than a system page (9.3.3.14). */
	pci_bars_layout(pf->cfg + bars, pf->mask + bars, pf->desc.sriov.vf_bars,
			pci_sriov_page_size(pf));
}

int pci_sriov_create(struct pci_function *fn)
{
	const struct pci_sriov_desc *s = &fn->desc.sriov;
	uint8_t body[PCI_EXT_CAP_SRIOV_SIZEOF - 4] = {0}, mask[PCI_EXT_CAP_SRIOV_SIZEOF - 4] = {0};
	int off;

	if (!s->total_vfs)
		return 0;
	if (fn->sriov.cap)
		return -EEXIST;
	fn->sriov.vfs = calloc(s->total_vfs, sizeof(*fn->sriov.vfs));
	if (!fn->sriov.vfs)
		return -ENOMEM;
	put_le32(body + PCI_SRIOV_CAP - 4, CAP_ARI_PRESERVED);
	put_le16(mask + PCI_SRIOV_CTRL - 4, CTRL_BITS);
	put_le16(body + PCI_SRIOV_INITIAL_VF - 4, s->total_vfs);
	put_le16(body + PCI_SRIOV_TOTAL_VF - 4, s->total_vfs);
	put_le16(mask + PCI_SRIOV_NUM_VF - 4, 0xffff);
	put_le16(body + PCI_SRIOV_VF_DID - 4, s->vf_device_id);
	put_le32(body + PCI_SRIOV_SUP_PGSIZE - 4, PCI_SRIOV_PGSIZES);
	put_le32(body + PCI_SRIOV_SYS_PGSIZE - 4, 1);
	put_le32(mask + PCI_SRIOV_SYS_PGSIZE - 4, PCI_SRIOV_PGSIZES);
	pci_bars_layout(body + PCI_SRIOV_BAR - 4, mask + PCI_SRIOV_BAR - 4, s->vf_bars,
			PCI_VF_BAR_MIN);
	off = pci_add_ext_capability(fn, PCI_EXT_CAP_ID_SRIOV, 1, body, sizeof(body), mask);
	if (off < 0) {
		free(fn->sriov.vfs);
		fn->sriov.vfs = NULL;
		return off;
	}
	fn->sriov.cap = (uint16_t)off;
	update_layout(fn);
	return 0;
}

void pci_sriov_reset(struct pci_function *pf)
{
	if (pf->sriov.cap)
		update_layout(pf);
}

static void set_ctrl(struct pci_function *pf, uint16_t bits, bool on)
{
	uint16_t v = ctrl(pf);

	put_le16(reg(pf, PCI_SRIOV_CTRL), on ? v | bits : v & (uint16_t)~bits);
}

void pci_sriov_disable_vfs(struct pci_function *pf)
{
	struct pci_sriov *s = &pf->sriov;

	if (!s->cap || s->busy)
		return;
	s->busy = true;
	if ((s->count || pci_sriov_vfe(pf)) && pf->desc.ops->sriov_disable)
		pf->desc.ops->sriov_disable(pf);
	if (s->count) {
		log_error("%s: %u VFs outlived VF Enable", pf->name, s->count);
		memset(s->vfs, 0, pf->desc.sriov.total_vfs * sizeof(*s->vfs));
		s->count = 0;
	}
	set_ctrl(pf, PCI_SRIOV_CTRL_VFE, false);
	s->busy = false;
}

static int call_enable(struct pci_function *pf, uint16_t num)
{
	int ret;

	if (!pf->desc.ops->sriov_enable)
		return -EOPNOTSUPP;
	pf->sriov.busy = true;
	ret = pf->desc.ops->sriov_enable(pf, num);
	pf->sriov.busy = false;
	return ret;
}

/* VF Enable 0 to 1: exactly NumVFs VFs, or none and VF Enable stays clear (9.3.3.3.1). */
static int enable_vfs(struct pci_function *pf)
{
	uint16_t num = get_le16(reg(pf, PCI_SRIOV_NUM_VF));
	int ret;

	if (num > pf->desc.sriov.total_vfs) {
		log_guest(&pf->log_vfs, "%s: VF Enable with NumVFs %u of %u ignored", pf->name, num,
			  pf->desc.sriov.total_vfs);
		return -ERANGE;
	}
	ret = num ? call_enable(pf, num) : 0;
	if (ret < 0) {
		log_guest(&pf->log_vfs, "%s: cannot enable %u VFs: %s", pf->name, num,
			  strerror(-ret));
		if (pf->sriov.count)
			pci_sriov_disable_vfs(pf);
		return ret;
	}
	set_ctrl(pf, PCI_SRIOV_CTRL_VFE, true);
	/* VFs came into being while VF Enable read 0. */
	pci_gate_update(pf);
	return 0;
}

static void ctrl_written(struct pci_function *pf, uint16_t value)
{
	const bool was = pci_sriov_vfe(pf), want = value & PCI_SRIOV_CTRL_VFE;

	if (!was) {
		set_ctrl(pf, PCI_SRIOV_CTRL_ARI, value & PCI_SRIOV_CTRL_ARI);
		update_layout(pf);
	}
	set_ctrl(pf, PCI_SRIOV_CTRL_MSE, value & PCI_SRIOV_CTRL_MSE);
	if (want && !was)
		pf->sriov.result = enable_vfs(pf);
	else if (was && !want)
		pci_sriov_disable_vfs(pf);
}

static void merge_bytes(struct pci_function *pf, unsigned off, const uint8_t *buf, unsigned len)
{
	for (unsigned i = off; len; i++, len--, buf++)
		pf->cfg[i] = (uint8_t)((pf->cfg[i] & ~pf->mask[i]) | (*buf & pf->mask[i]));
}

void pci_sriov_write(struct pci_function *pf, unsigned off, const uint8_t *buf, unsigned len)
{
	const unsigned rel = off - pf->sriov.cap;
	uint8_t new_ctrl[4];

	/* A handler of VF Enable has no business in here. */
	if (pf->sriov.busy)
		return;
	switch (rel & ~3u) {
	case PCI_SRIOV_CTRL:
		memcpy(new_ctrl, reg(pf, PCI_SRIOV_CTRL), 4);
		memcpy(new_ctrl + rel % 4, buf, len);
		ctrl_written(pf, get_le16(new_ctrl) & CTRL_BITS);
		break;
	case PCI_SRIOV_NUM_VF:
	case PCI_SRIOV_SYS_PGSIZE:
		/* Frozen while VF Enable is set (9.3.3.7, 9.3.3.13). */
		if (pci_sriov_vfe(pf))
			break;
		merge_bytes(pf, off, buf, len);
		update_layout(pf);
		break;
	default:
		merge_bytes(pf, off, buf, len);
		break;
	}
}

void pci_pf_add_vf(struct pci_function *pf, struct pci_function *vf)
{
	unsigned i = vf->desc.vf_index;

	if (vf->desc.pf != pf || i >= pf->desc.sriov.total_vfs || pf->sriov.vfs[i]) {
		log_error("%s: cannot take %s as VF %u", pf->name, vf->name, i);
		return;
	}
	pf->sriov.vfs[i] = vf;
	pf->sriov.count++;
}

void pci_pf_remove_vf(struct pci_function *pf, struct pci_function *vf)
{
	unsigned i = vf->desc.vf_index;

	if (!pf->sriov.vfs || i >= pf->desc.sriov.total_vfs || pf->sriov.vfs[i] != vf)
		return;
	pf->sriov.vfs[i] = NULL;
	pf->sriov.count--;
}

struct pci_function *pci_pf_vf(const struct pci_function *pf, unsigned index)
{
	return pf->sriov.vfs && index < pf->desc.sriov.total_vfs ? pf->sriov.vfs[index] : NULL;
}

uint16_t pci_pf_total_vfs(const struct pci_function *pf)
{
	return pf->sriov.cap ? pf->desc.sriov.total_vfs : 0;
}

uint16_t pci_pf_num_vfs(const struct pci_function *pf)
{
	return pf->sriov.count;
}

uint16_t pci_vf_rid(const struct pci_function *pf, uint16_t pf_rid, unsigned index)
{
	if (!pf->sriov.cap)
		return pf_rid;
	return (uint16_t)(pf_rid + get_le16(reg(pf, PCI_SRIOV_VF_OFFSET)) +
			  index * get_le16(reg(pf, PCI_SRIOV_VF_STRIDE)));
}

static void write16(struct pci_function *pf, unsigned off, uint16_t value)
{
	uint8_t b[2];

	put_le16(b, value);
	pci_sriov_write(pf, pf->sriov.cap + off, b, sizeof(b));
}

void pci_pf_set_managed(struct pci_function *pf, bool managed)
{
	pf->sriov.managed = managed;
	pci_gate_update(pf);
}

/* Other VFs than now, with VF Enable set throughout. */
static int change_num_vfs(struct pci_function *pf, uint16_t num)
{
	int ret = call_enable(pf, num);

	if (ret < 0)
		return ret;
	put_le16(reg(pf, PCI_SRIOV_NUM_VF), num);
	pci_gate_update(pf);
	return 0;
}

int pci_pf_set_num_vfs(struct pci_function *pf, uint16_t num_vfs)
{
	const uint16_t on = PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE;

	if (num_vfs > pci_pf_total_vfs(pf))
		return -ERANGE;
	if (pf->sriov.busy || pf->in_reset || pf->att.kind == PCI_OWNER_ROOT)
		return -EBUSY;
	if (!num_vfs) {
		if (pci_sriov_vfe(pf))
			write16(pf, PCI_SRIOV_CTRL, ctrl(pf) & (uint16_t)~on);
		return 0;
	}
	if (pci_sriov_vfe(pf))
		return num_vfs == pf->sriov.count ? 0 : change_num_vfs(pf, num_vfs);
	write16(pf, PCI_SRIOV_NUM_VF, num_vfs);
	write16(pf, PCI_SRIOV_CTRL, ctrl(pf) | on);
	return pf->sriov.result;
}
