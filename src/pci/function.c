/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Functions: creation, identity and who owns them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pci/state.h"
#include "util/util.h"

/* What a VF has from its PF (PCIe Base 9.3.4): vendor, device ID, class, subsystem vendor, and
 * BARs. */
static int inherit(struct pci_function_desc *d)
{
	const struct pci_function *pf = d->pf;

	if (!pf->sriov.cap || d->vf_index >= pf->desc.sriov.total_vfs || d->sriov.total_vfs)
		return -EINVAL;
	d->vendor_id = pf->desc.vendor_id;
	d->device_id = pf->desc.sriov.vf_device_id;
	d->subsystem_vendor_id = pf->desc.subsystem_vendor_id;
	d->class_code = pf->desc.class_code;
	memcpy(d->bars, pf->desc.sriov.vf_bars, sizeof(d->bars));
	return 0;
}

static int check(const struct pci_function_desc *d)
{
	const struct pci_sriov_desc *s = &d->sriov;

	if (d->class_code > 0xffffff || pci_bars_check(d->bars, 0) < 0)
		return -EINVAL;
	if (!s->total_vfs)
		return 0;
	/* InitialVFs differs from TotalVFs only with VF Migration (9.3.3.5). */
	if (s->total_vfs > PCI_TOTAL_VFS_MAX || s->initial_vfs != s->total_vfs)
		return -EINVAL;
	return pci_bars_check(s->vf_bars, PCI_VF_BAR_MIN);
}

int pci_function_create(const struct pci_function_desc *desc, struct pci_function **out)
{
	struct pci_function *fn;
	int ret;

	if (!desc->ops)
		return -EINVAL;
	fn = calloc(1, sizeof(*fn));
	if (!fn)
		return -ENOMEM;
	fn->desc = *desc;
	snprintf(fn->name, sizeof(fn->name), "%s", desc->name ? desc->name : "pci");
	fn->desc.name = fn->name;
	ret = fn->desc.pf ? inherit(&fn->desc) : 0;
	if (!ret)
		ret = check(&fn->desc);
	if (!ret)
		ret = pci_msix_create(fn);
	if (ret < 0)
		goto fail;
	pci_header_init(fn);
	if (!desc->no_standard_caps)
		ret = pci_add_standard_caps(fn);
	if (ret < 0)
		goto fail;
	*out = fn;
	return 0;
fail:
	pci_function_destroy(fn);
	return ret;
}

void pci_function_destroy(struct pci_function *fn)
{
	if (!fn)
		return;
	pci_function_detach(fn);
	if (fn->desc.pf)
		pci_pf_remove_vf(fn->desc.pf, fn);
	if (fn->sriov.count) {
		log_error("%s: destroyed while VFs exist", fn->name);
		pci_sriov_disable_vfs(fn);
	}
	pci_msix_destroy(fn);
	free(fn->sriov.vfs);
	free(fn);
}

const char *pci_function_name(const struct pci_function *fn)
{
	return fn->name;
}

void *pci_function_opaque(const struct pci_function *fn)
{
	return fn->desc.opaque;
}

bool pci_function_is_vf(const struct pci_function *fn)
{
	return fn->desc.pf;
}

struct pci_function *pci_function_pf(const struct pci_function *fn)
{
	return fn->desc.pf;
}

uint16_t pci_function_vf_index(const struct pci_function *fn)
{
	return fn->desc.vf_index;
}

int pci_function_attach(struct pci_function *fn, const struct pci_attachment *att)
{
	if (att->kind == PCI_OWNER_NONE)
		return -EINVAL;
	if (fn->att.kind != PCI_OWNER_NONE)
		return -EBUSY;
	fn->att = *att;
	pci_msix_attach(fn);
	pci_gate_update(fn);
	return 0;
}

void pci_function_detach(struct pci_function *fn)
{
	if (fn->att.kind == PCI_OWNER_NONE)
		return;
	pci_function_reset(fn, PCI_RESET_DETACH);
	pci_msix_detach(fn);
	fn->att = (struct pci_attachment){.kind = PCI_OWNER_NONE};
}

enum pci_owner_kind pci_function_owner(const struct pci_function *fn)
{
	return fn->att.kind;
}
