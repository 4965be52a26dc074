/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration space as `lspci -F` reads it.
 */
#include <stdio.h>

#include "pci/state.h"

#define PER_LINE 16

void pci_dump_lspci(struct pci_function *fn, enum pci_view view, uint16_t rid, FILE *f)
{
	fprintf(f, "%02x:%02x.%x %s\n", rid >> 8, rid >> 3 & 0x1f, rid & 7, fn->name);
	for (unsigned off = 0; off < PCI_CFG_SIZE; off += PER_LINE) {
		fprintf(f, "%02x:", off);
		for (unsigned i = 0; i < PER_LINE; i++)
			fprintf(f, " %02x", pci_config_peek(fn, view, off + i));
		fputc('\n', f);
	}
	fputc('\n', f);
}
