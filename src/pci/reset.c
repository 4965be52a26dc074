/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The DMA gate and the resets.
 *
 * A function's gate is one pointer. Closing it means to store NULL and to wait until no worker
 * can still hold the old value; only then is the device model told, so that a model never has to
 * ask whether some burst is still under way.
 */
#include "pci/state.h"
#include "util/bytes.h"
#include "util/util.h"
#include "worker/worker.h"

struct dma_space *pci_function_dma(const struct pci_function *fn)
{
	return atomic_load_explicit(&fn->dma, memory_order_acquire);
}

/* A PF in D3hot makes its VFs unusable (PCIe Base 5.10.2) - unless the daemon is their manager:
 * then who was lent the PF has no power over others' VFs. */
static bool pf_powered(const struct pci_function *vf)
{
	const struct pci_function *pf = vf->desc.pf;

	return !pf || pf->sriov.managed || pci_config_d0(pf);
}

static struct dma_space *wanted(const struct pci_function *fn)
{
	if (fn->att.kind == PCI_OWNER_NONE || fn->in_reset || fn->blocked)
		return NULL;
	if (!(pci_config_command(fn) & PCI_COMMAND_MASTER) || !pci_config_d0(fn) || !pf_powered(fn))
		return NULL;
	return fn->att.dma;
}

/* fn itself, then its VFs; NULL for a VF that does not exist. */
static struct pci_function *member(struct pci_function *fn, unsigned i)
{
	return i ? pci_pf_vf(fn, i - 1) : fn;
}

static void tell(struct pci_function *fn, bool on)
{
	if (fn->desc.ops->dma_changed)
		fn->desc.ops->dma_changed(fn, on);
}

static bool close_gate(struct pci_function *fn)
{
	fn->gate_closing = atomic_load(&fn->dma) && !wanted(fn);
	if (fn->gate_closing)
		atomic_store(&fn->dma, NULL);
	return fn->gate_closing;
}

static void settle_gate(struct pci_function *fn)
{
	struct dma_space *want = wanted(fn);

	if (fn->gate_closing) {
		fn->gate_closing = false;
		tell(fn, false);
	} else if (want && !atomic_load(&fn->dma)) {
		atomic_store(&fn->dma, want);
		tell(fn, true);
	}
}

void pci_gate_update(struct pci_function *fn)
{
	const unsigned n = 1 + (fn->sriov.count ? pci_pf_total_vfs(fn) : 0);
	bool closing = false;

	for (unsigned i = 0; i < n; i++)
		if (member(fn, i))
			closing |= close_gate(member(fn, i));
	if (closing)
		worker_synchronize();
	for (unsigned i = 0; i < n; i++)
		if (member(fn, i))
			settle_gate(member(fn, i));
}

void pci_function_set_blocked(struct pci_function *fn, bool blocked)
{
	fn->blocked = blocked;
	pci_gate_update(fn);
}

void pci_function_reset(struct pci_function *fn, enum pci_reset kind)
{
	if (fn->in_reset)
		return;
	fn->in_reset = true;
	pci_gate_update(fn);
	if (!fn->sriov.managed)
		pci_sriov_disable_vfs(fn);
	if (fn->desc.ops->reset)
		fn->desc.ops->reset(fn, kind);
	pci_config_reset(fn, kind);
	pci_sriov_reset(fn);
	pci_msix_reset(fn);
	fn->in_reset = false;
	pci_gate_update(fn);
}
