/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Base Address Registers: layout, decoding of bus addresses, and the way of an access to the MSI-X
 * structures or to the device model.
 */
#include <errno.h>
#include <string.h>

#include "pci/state.h"
#include "util/bytes.h"
#include "util/util.h"

#define BAR_SIZE_MIN   16u
#define BAR32_SIZE_MAX (1ull << 31)
#define BAR64_SIZE_MAX (1ull << 48)

int pci_bars_check(const struct pci_bar_desc *bars, uint64_t min_size)
{
	for (unsigned i = 0; i < PCI_NUM_BARS; i++) {
		const struct pci_bar_desc *b = &bars[i];

		if (!b->size)
			continue;
		if (!is_pow2(b->size) || b->size < MAX(min_size, (uint64_t)BAR_SIZE_MIN) ||
		    b->size > (b->is_64bit ? BAR64_SIZE_MAX : BAR32_SIZE_MAX))
			return -EINVAL;
		if (b->is_64bit && (i + 1 == PCI_NUM_BARS || bars[i + 1].size))
			return -EINVAL;
	}
	return 0;
}

void pci_bars_layout(uint8_t *reg, uint8_t *mask, const struct pci_bar_desc *bars,
		     uint64_t min_size)
{
	for (unsigned i = 0; i < PCI_NUM_BARS; i++) {
		const struct pci_bar_desc *b = &bars[i];
		uint64_t addr_bits;
		uint32_t type;

		if (!b->size)
			continue;
		addr_bits = ~(MAX(b->size, min_size) - 1);
		type = (b->is_64bit ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
		       (b->prefetchable ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0);
		put_le32(reg + 4 * i, (get_le32(reg + 4 * i) & (uint32_t)addr_bits) | type);
		put_le32(mask + 4 * i, (uint32_t)addr_bits);
		if (!b->is_64bit)
			continue;
		i++;
		put_le32(reg + 4 * i, get_le32(reg + 4 * i) & (uint32_t)(addr_bits >> 32));
		put_le32(mask + 4 * i, (uint32_t)(addr_bits >> 32));
	}
}

static uint64_t bar_base(const uint8_t *reg, const struct pci_bar_desc *bar)
{
	uint64_t base = get_le32(reg) & ~0xfu;

	if (bar->is_64bit)
		base |= (uint64_t)get_le32(reg + 4) << 32;
	return base;
}

/* The registers that place fn's BARs, and how far into each window fn's own part begins. */
static const uint8_t *decoder(const struct pci_function *fn)
{
	const struct pci_function *pf = fn->desc.pf;

	if (!pf)
		return pci_config_d0(fn) && (pci_config_command(fn) & PCI_COMMAND_MEMORY)
			       ? fn->cfg + PCI_BASE_ADDRESS_0
			       : NULL;
	return pci_config_d0(pf) && pci_sriov_vfe(pf) && pci_pf_vf_mse(pf)
		       ? pf->cfg + pf->sriov.cap + PCI_SRIOV_BAR
		       : NULL;
}

bool pci_bar_decode(const struct pci_function *fn, uint64_t addr, uint32_t len, unsigned *bar,
		    uint64_t *off)
{
	const uint8_t *reg = decoder(fn);

	if (!reg || !len)
		return false;
	for (unsigned i = 0; i < PCI_NUM_BARS; i++) {
		const struct pci_bar_desc *b = &fn->desc.bars[i];
		uint64_t base, skip = 0;

		if (!b->size)
			continue;
		base = bar_base(reg + 4 * i, b);
		/* VF n's part begins n apertures into the window (PCIe Base 9.2.1.1.1). At most
		 * 1023 * 2^48, so the product cannot wrap. */
		if (fn->desc.pf)
			skip = fn->desc.vf_index * MAX(b->size, pci_sriov_page_size(fn->desc.pf));
		if (addr < base || addr - base < skip ||
		    !range_ok(addr - base - skip, len, b->size))
			continue;
		*bar = i;
		*off = addr - base - skip;
		return true;
	}
	return false;
}

const struct pci_bar_desc *pci_function_bar(const struct pci_function *fn, unsigned bar)
{
	return bar < PCI_NUM_BARS ? &fn->desc.bars[bar] : NULL;
}

static bool in_bar(const struct pci_function *fn, unsigned bar, uint64_t off, uint32_t len)
{
	return bar < PCI_NUM_BARS && fn->desc.bars[bar].size &&
	       range_ok(off, len, fn->desc.bars[bar].size);
}

int pci_bar_read(struct pci_function *fn, unsigned bar, uint64_t off, void *buf, uint32_t len)
{
	uint8_t *out = buf;

	if (!in_bar(fn, bar, off, len)) {
		memset(buf, 0xff, len);
		return -EINVAL;
	}
	if (!pci_config_d0(fn)) {
		memset(buf, 0xff, len);
		return 0;
	}
	while (len) {
		uint32_t n = len;

		if (pci_msix_claims(fn, bar, off, &n)) {
			pci_msix_read(fn, off, out, n);
		} else {
			memset(out, 0, n);
			if (fn->desc.ops->bar_read)
				fn->desc.ops->bar_read(fn, bar, off, out, n);
		}
		off += n;
		out += n;
		len -= n;
	}
	return 0;
}

int pci_bar_write(struct pci_function *fn, unsigned bar, uint64_t off, const void *buf,
		  uint32_t len)
{
	const uint8_t *in = buf;

	if (!in_bar(fn, bar, off, len))
		return -EINVAL;
	/* Only configuration accesses reach a function in D3hot (PCIe Base 5.3.1.4.1). */
	if (!pci_config_d0(fn))
		return 0;
	while (len) {
		uint32_t n = len;

		if (pci_msix_claims(fn, bar, off, &n))
			pci_msix_write(fn, off, in, n);
		else if (fn->desc.ops->bar_write)
			fn->desc.ops->bar_write(fn, bar, off, in, n);
		off += n;
		in += n;
		len -= n;
	}
	return 0;
}

int pci_bar_map(struct pci_function *fn, unsigned bar, uint64_t *off, uint64_t *len)
{
	if (bar >= PCI_NUM_BARS || !fn->desc.ops->bar_map)
		return -EOPNOTSUPP;
	return fn->desc.ops->bar_map(fn, bar, off, len);
}
