/* SPDX-License-Identifier: BSD-3-Clause */
/* Routing of configuration and memory requests, as root ports do it (PCIe Base 7.3.3, 7.5.1.3). */
#include <linux/pci_regs.h>
#include <string.h>

#include "root/root_internal.h"
#include "util/bytes.h"
#include "util/util.h"

#define RID_BUS(rid) ((rid) >> 8)
#define RID_DEV(rid) (((rid) >> 3) & 0x1f)
#define RID_FN(rid)  ((rid)&7)

static uint16_t pf_rid(const struct root_slot *slot)
{
	return root_port_secondary(&slot->port) << 8;
}

bool root_function_rid(const struct root_slot *slot, const struct pci_function *fn, uint16_t *rid)
{
	if (!root_port_secondary(&slot->port))
		return false;
	*rid = pci_function_is_vf(fn)
		       ? pci_vf_rid(slot->pf, pf_rid(slot), pci_function_vf_index(fn))
		       : pf_rid(slot);
	return true;
}

/* The VF whose routing ID it is. VFs are evenly spaced, so it can be computed. */
static struct pci_function *vf_at(const struct root_slot *slot, uint16_t rid)
{
	uint16_t n = pci_pf_num_vfs(slot->pf);
	uint16_t first, stride, index;
	struct pci_function *vf;

	if (!n)
		return NULL;
	first = pci_vf_rid(slot->pf, pf_rid(slot), 0);
	stride = n > 1 ? (uint16_t)(pci_vf_rid(slot->pf, pf_rid(slot), 1) - first) : 1;
	if (rid < first || !stride || (rid - first) % stride)
		return NULL;
	index = (rid - first) / stride;
	vf = index < n ? pci_pf_vf(slot->pf, index) : NULL;
	return vf && !root_vf_lent(slot, vf) ? vf : NULL;
}

static struct pci_function *function_behind(const struct root_slot *slot, uint16_t rid)
{
	if (!slot->pf || !root_port_link_up(&slot->port))
		return NULL;
	/* Without ARI forwarding the port passes device 0 of its secondary bus only (7.3.1). */
	if (RID_BUS(rid) == root_port_secondary(&slot->port) && RID_DEV(rid) &&
	    !root_port_ari(&slot->port))
		return NULL;
	if (rid == pf_rid(slot))
		return slot->pf;
	return vf_at(slot, rid);
}

static void port_access(struct root_slot *slot, unsigned off, void *buf, uint32_t len, bool write)
{
	if (write)
		root_port_write(&slot->port, off, buf, len);
	else
		root_port_read(&slot->port, off, buf, len);
}

static struct root_slot *slot_of_bus(struct root *r, uint8_t bus)
{
	for (unsigned i = 0; i < r->n_slots; i++) {
		struct root_port *port = &r->slots[i].port;

		if (root_port_secondary(port) && bus >= root_port_secondary(port) &&
		    bus <= root_port_subordinate(port))
			return &r->slots[i];
	}
	return NULL;
}

void root_config_access(struct root *r, uint64_t off, void *buf, uint32_t len, bool write)
{
	uint16_t rid = off >> 12;
	unsigned reg = off & 0xfff;
	struct pci_function *fn;
	struct root_slot *slot;

	/* An access never leaves one function's 4 KiB. */
	if (!range_ok(reg, len, PCI_CFG_SIZE))
		return;
	if (!RID_BUS(rid)) {
		if (RID_DEV(rid) < r->n_slots && !RID_FN(rid))
			port_access(&r->slots[RID_DEV(rid)], reg, buf, len, write);
		return;
	}
	slot = slot_of_bus(r, RID_BUS(rid));
	fn = slot ? function_behind(slot, rid) : NULL;
	if (!fn)
		return;
	if (write)
		pci_config_write(fn, PCI_VIEW_BUS, reg, buf, len);
	else
		pci_config_read(fn, PCI_VIEW_BUS, reg, buf, len);
}

static bool try_function(struct pci_function *fn, uint64_t addr, void *buf, uint32_t len,
			 bool write)
{
	unsigned bar;
	uint64_t off;

	if (!pci_bar_decode(fn, addr, len, &bar, &off))
		return false;
	if (write)
		pci_bar_write(fn, bar, off, buf, len);
	else
		pci_bar_read(fn, bar, off, buf, len);
	return true;
}

static bool try_slot(struct root *r, struct root_slot *slot, uint64_t addr, void *buf, uint32_t len,
		     bool write)
{
	uint16_t n = pci_pf_num_vfs(slot->pf);

	/* last_hit first: a driver works with one function for a while. The handler may destroy
	 * functions, so nothing of the slot is touched after a hit. */
	for (unsigned i = 0; i < n; i++) {
		struct pci_function *vf = pci_pf_vf(slot->pf, i);

		if (!vf || vf != r->last_hit || root_vf_lent(slot, vf))
			continue;
		if (try_function(vf, addr, buf, len, write))
			return true;
		break;
	}
	if (try_function(slot->pf, addr, buf, len, write))
		return true;
	for (unsigned i = 0; i < n; i++) {
		struct pci_function *vf = pci_pf_vf(slot->pf, i);

		if (!vf || root_vf_lent(slot, vf))
			continue;
		r->last_hit = vf;
		if (try_function(vf, addr, buf, len, write))
			return true;
	}
	r->last_hit = NULL;
	return false;
}

/*
 * What a root complex returns for a memory read that nobody completes is its own choice. Behind a
 * link that is down we give zeros: Linux's virtio-pci, when its device is torn out, waits without
 * end for the status register to read 0, and holds the kernel's PCI lock meanwhile. That the
 * device is gone it learns from configuration space, which reads all-ones.
 */
static void nobody_home(void *buf, uint32_t len, bool write)
{
	if (!write)
		memset(buf, 0, len);
}

void root_memory_access(struct root *r, uint64_t addr, void *buf, uint32_t len, bool write)
{
	for (unsigned i = 0; i < r->n_slots; i++) {
		struct root_slot *slot = &r->slots[i];

		if (!root_port_forwards(&slot->port, addr, len))
			continue;
		if (slot->pf && root_port_link_up(&slot->port))
			try_slot(r, slot, addr, buf, len, write);
		else
			nobody_home(buf, len, write);
		return;
	}
}
