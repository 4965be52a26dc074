/* SPDX-License-Identifier: BSD-3-Clause */
/* The hierarchy as `lspci -F` reads it. */
#include <linux/pci_regs.h>
#include <string.h>

#include "root/root_internal.h"

#define LINE 16

/* Bus numbers of a slot: the guest's, or as an enumeration in slot order would give them. */
struct buses {
	uint8_t secondary, subordinate;
};

static struct buses slot_buses(const struct root_slot *slot, uint8_t *next)
{
	struct buses b = {root_port_secondary(&slot->port), root_port_subordinate(&slot->port)};
	uint16_t n = slot->pf ? pci_pf_num_vfs(slot->pf) : 0;

	if (b.secondary)
		return b;
	b.secondary = b.subordinate = (*next)++;
	if (n) {
		b.subordinate = pci_vf_rid(slot->pf, b.secondary << 8, n - 1) >> 8;
		*next = b.subordinate + 1;
	}
	return b;
}

static void dump_port(const struct root_slot *slot, struct buses b, FILE *f)
{
	uint8_t cfg[PORT_CFG_SIZE];

	root_port_read(&slot->port, 0, cfg, sizeof(cfg));
	cfg[PCI_SECONDARY_BUS] = b.secondary;
	cfg[PCI_SUBORDINATE_BUS] = b.subordinate;
	fprintf(f, "00:%02x.0 %s slot %u\n", slot->port.slot, slot->root->name,
		slot->port.slot + 1);
	for (unsigned off = 0; off < sizeof(cfg); off += LINE) {
		fprintf(f, "%02x:", off);
		for (unsigned i = 0; i < LINE; i++)
			fprintf(f, " %02x", cfg[off + i]);
		fputc('\n', f);
	}
	fputc('\n', f);
}

/* VFs are given as a VMM, or lspci on Linux, would show them: with IDs and BARs filled in. */
void root_dump_lspci(struct root *r, FILE *f)
{
	uint8_t next = 1;

	for (unsigned i = 0; i < r->n_slots; i++) {
		struct root_slot *slot = &r->slots[i];
		struct buses b = slot_buses(slot, &next);
		uint16_t rid = b.secondary << 8;

		dump_port(slot, b, f);
		if (!slot->pf)
			continue;
		pci_dump_lspci(slot->pf, PCI_VIEW_BUS, rid, f);
		for (unsigned v = 0; v < pci_pf_num_vfs(slot->pf); v++) {
			struct pci_function *vf = pci_pf_vf(slot->pf, v);

			if (vf && !root_vf_lent(slot, vf))
				pci_dump_lspci(vf, PCI_VIEW_VMM, pci_vf_rid(slot->pf, rid, v), f);
		}
	}
}
