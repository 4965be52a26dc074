/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The Volume Management Device endpoint: what Linux's vmd driver (drivers/pci/controller/vmd.c)
 * expects of 8086:28C0. It has shadow registers that give the bus addresses at which the two
 * memory windows begin for the devices behind; being fixed and unlike any address that a VM gives
 * the BARs, they make the driver keep MSI remapping on, and free us from knowing where the BARs
 * are.
 */
#include <string.h>

#include "root/root_internal.h"
#include "util/bytes.h"
#include "util/util.h"

#define VMD_VENDOR 0x8086
#define VMD_DEVICE 0x28c0
#define VMD_CLASS  0x010400

#define VMCAP	 0x40 /* bus restrictions: none */
#define VMCONFIG 0x44 /* bit 1: MSI remapping disabled */
#define VMLOCK	 0x70 /* bit 1: shadow registers are there */

#define MSIX_TABLE  0x0000
#define MSIX_PBA    0x1000
#define SHADOW	    0x2000
#define SHADOW_SIZE 16
#define WINDOW2	    (SHADOW + SHADOW_SIZE)

#define SHADOW_MEM1 0x80000000ull   /* below 4 GiB: 32-bit BARs live in it */
#define SHADOW_MEM2 0xab00000000ull /* aligned more than any window */

#define BUSES_PER_SLOT 8 /* what a hot-plug bridge is given by Linux, VFs' buses included */
#define MEM1_SIZE      (16ull << 20)
#define MEM2_PER_SLOT  (32ull << 20) /* 1024 VFs of 24 KiB, and the PF */

static uint64_t pow2_at_least(uint64_t v)
{
	uint64_t p = 1;

	while (p < v)
		p <<= 1;
	return p;
}

static void read_shadow(uint64_t off, uint8_t *buf, uint32_t len)
{
	uint8_t regs[SHADOW_SIZE];

	put_le64(regs, SHADOW_MEM1);
	put_le64(regs + 8, SHADOW_MEM2);
	memset(buf, 0, len);
	if (off >= SHADOW && off < WINDOW2)
		memcpy(buf, regs + (off - SHADOW), MIN(len, (uint32_t)(WINDOW2 - off)));
}

static void access_bar(struct root *r, unsigned bar, uint64_t off, void *buf, uint32_t len,
		       bool write)
{
	if (bar == BAR_CFG)
		root_config_access(r, off, buf, len, write);
	else if (bar == BAR_MEM1)
		root_memory_access(r, SHADOW_MEM1 + off, buf, len, write);
	else if (bar == BAR_MEM2 && off >= WINDOW2)
		root_memory_access(r, SHADOW_MEM2 + off, buf, len, write);
	else if (!write)
		read_shadow(off, buf, len);
}

static void bar_read(struct pci_function *fn, unsigned bar, uint64_t off, void *buf, uint32_t len)
{
	memset(buf, 0xff, len);
	access_bar(pci_function_opaque(fn), bar, off, buf, len, false);
}

static void bar_write(struct pci_function *fn, unsigned bar, uint64_t off, const void *buf,
		      uint32_t len)
{
	access_bar(pci_function_opaque(fn), bar, off, (void *)buf, len, true);
}

/* A reset of the endpoint is the hot reset of all behind it. */
static void reset(struct pci_function *fn, enum pci_reset kind)
{
	struct root *r = pci_function_opaque(fn);

	root_reset_children(r, PCI_RESET_BUS);
	if (kind == PCI_RESET_DETACH)
		root_detach_children(r);
}

static void dma_changed(struct pci_function *fn, bool on)
{
	struct root *r = pci_function_opaque(fn);

	r->dma = on ? pci_function_dma(fn) : NULL;
	if (on)
		root_attach_children(r);
	root_block_children(r, !on);
}

static const struct pci_function_ops endpoint_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.reset = reset,
	.dma_changed = dma_changed,
};

int root_endpoint_create(struct root *r, unsigned vectors, unsigned slots)
{
	uint64_t buses = pow2_at_least(1 + slots * BUSES_PER_SLOT);
	static const uint8_t all_ones[4] = {0xff, 0xff, 0xff, 0xff};
	static const uint8_t lock[4] = {0x02};
	static const uint8_t zero[4];
	struct pci_function_desc desc = {
		.name = r->name,
		.vendor_id = VMD_VENDOR,
		.device_id = VMD_DEVICE,
		.subsystem_vendor_id = VMD_VENDOR,
		.class_code = VMD_CLASS,
		.bars =
			{
				[BAR_CFG] = {.size = MIN(buses, 256u) << 20,
					     .is_64bit = true,
					     .prefetchable = true},
				[BAR_MEM1] = {.size = MEM1_SIZE},
				[BAR_MEM2] = {.size = pow2_at_least(slots * MEM2_PER_SLOT),
					      .is_64bit = true,
					      .prefetchable = true},
			},
		.msix = {.vectors = vectors,
			 .bar = BAR_MEM2,
			 .table_off = MSIX_TABLE,
			 .pba_off = MSIX_PBA},
		.ops = &endpoint_ops,
		.opaque = r,
	};
	int err = pci_function_create(&desc, &r->endpoint);

	if (err)
		return err;
	/* Bytes that no capability may occupy: the driver reads and writes them by number. */
	pci_set_config_bytes(r->endpoint, VMCAP, zero, sizeof(zero), all_ones);
	pci_set_config_bytes(r->endpoint, VMCONFIG, zero, sizeof(zero), all_ones);
	pci_set_config_bytes(r->endpoint, VMLOCK, lock, sizeof(lock), NULL);
	return 0;
}
