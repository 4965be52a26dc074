/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void toy_read(struct pci_function *fn, unsigned bar, uint64_t off, void *buf, uint32_t len)
{
	uint64_t v = pci_function_is_vf(fn) ? 0x1000u + pci_function_vf_index(fn) : 0x2222;

	memset(buf, 0, len);
	memcpy(buf, &v, len < 8 ? len : 8);
}

static void toy_write(struct pci_function *fn, unsigned bar, uint64_t off, const void *buf,
		      uint32_t len)
{
	struct toy *toy = pci_function_opaque(fn);

	if (!pci_function_is_vf(fn) && len == 4)
		toy->reg = get_le32(buf);
}

static void toy_reset(struct pci_function *fn, enum pci_reset kind)
{
	struct toy *toy = pci_function_opaque(fn);

	if (!pci_function_is_vf(fn))
		toy->resets++;
}

static const struct pci_function_ops vf_ops = {
	.bar_read = toy_read, .bar_write = toy_write, .reset = toy_reset};

static void toy_vfs_gone(struct pci_function *pf)
{
	struct toy *toy = pci_function_opaque(pf);

	for (unsigned i = 0; i < VFS; i++) {
		if (!toy->vfs[i])
			continue;
		if (toy->root)
			root_vf_removing(toy->root, toy->vfs[i]);
		pci_pf_remove_vf(pf, toy->vfs[i]);
		pci_function_detach(toy->vfs[i]);
		pci_function_destroy(toy->vfs[i]);
		toy->vfs[i] = NULL;
	}
}

static int toy_vfs_come(struct pci_function *pf, uint16_t n)
{
	struct toy *toy = pci_function_opaque(pf);

	for (unsigned i = 0; i < n; i++) {
		struct pci_function_desc desc = {
			.name = "toy/vf",
			.vendor_id = 0x1af4,
			.device_id = 0x1041,
			.class_code = 0x020000,
			.pf = pf,
			.vf_index = i,
			.bars = {[2] = {APERTURE, true, true}, [4] = {0x2000, true, true}},
			.msix = {4, 4, 0, 0x1000},
			.ops = &vf_ops,
			.opaque = toy};

		assert_int_equal(pci_function_create(&desc, &toy->vfs[i]), 0);
		pci_pf_add_vf(pf, toy->vfs[i]);
		if (toy->root)
			root_vf_added(toy->root, toy->vfs[i]);
	}
	return 0;
}

static const struct pci_function_ops pf_ops = {.bar_read = toy_read,
					       .bar_write = toy_write,
					       .reset = toy_reset,
					       .sriov_enable = toy_vfs_come,
					       .sriov_disable = toy_vfs_gone};

static void toy_create(struct toy *toy, const char *name)
{
	struct pci_function_desc desc = {
		.name = name,
		.vendor_id = 0x1af4,
		.device_id = 0x1041,
		.class_code = 0x020000,
		.bars = {[2] = {APERTURE, true, true}, [4] = {0x2000, true, true}},
		.msix = {4, 4, 0, 0x1000},
		.sriov = {.total_vfs = VFS,
			  .initial_vfs = VFS,
			  .vf_device_id = 0x1041,
			  .vf_bars = {[2] = {APERTURE, true, true}, [4] = {0x2000, true, true}}},
		.ops = &pf_ops,
		.opaque = toy};

	assert_int_equal(pci_function_create(&desc, &toy->pf), 0);
}

/* --- what a kernel does --- */

uint32_t cfg_get(struct bench *b, unsigned bus, unsigned devfn, unsigned reg, unsigned len)
{
	uint8_t buf[4] = {0};

	assert_int_equal(
		pci_bar_read(root_endpoint(b->root), 0, bus << 20 | devfn << 12 | reg, buf, len),
		0);
	return get_le32(buf);
}

void cfg_put(struct bench *b, unsigned bus, unsigned devfn, unsigned reg, uint32_t v, unsigned len)
{
	uint8_t buf[4];

	put_le32(buf, v);
	assert_int_equal(
		pci_bar_write(root_endpoint(b->root), 0, bus << 20 | devfn << 12 | reg, buf, len),
		0);
}

uint64_t shadow(struct bench *b, unsigned i)
{
	uint8_t buf[8];

	assert_int_equal(pci_bar_read(root_endpoint(b->root), 4, SHADOW_OFF + 8 * i, buf, 8), 0);
	return get_le64(buf);
}

uint32_t mem_get(struct bench *b, uint64_t bus_addr)
{
	uint8_t buf[4];

	assert_int_equal(pci_bar_read(root_endpoint(b->root), 4, bus_addr - shadow(b, 1), buf, 4),
			 0);
	return get_le32(buf);
}

void mem_put(struct bench *b, uint64_t bus_addr, uint32_t v)
{
	uint8_t buf[4];

	put_le32(buf, v);
	assert_int_equal(pci_bar_write(root_endpoint(b->root), 4, bus_addr - shadow(b, 1), buf, 4),
			 0);
}

uint64_t window(struct bench *b, unsigned slot)
{
	return shadow(b, 1) + 0x100000ull * (1 + slot * 16);
}

unsigned ext_cap(struct bench *b, unsigned bus, unsigned id)
{
	unsigned off = 0x100;

	while (off) {
		uint32_t h = cfg_get(b, bus, 0, off, 4);

		if ((h & 0xffff) == id)
			return off;
		off = h >> 20;
	}
	fail_msg("no extended capability %#x", id);
	return 0;
}

unsigned bus_of(unsigned slot)
{
	return 1 + slot * 2;
}

/* Bus numbers, windows, BARs: what Linux assigns to one slot. */
void bring_up(struct bench *b, unsigned slot)
{
	unsigned port = slot << 3, bus = bus_of(slot);
	uint64_t base = window(b, slot), limit = base + 0xfffff + 0x100000;

	cfg_put(b, 0, port, PCI_PRIMARY_BUS, (bus + 1) << 16 | bus << 8, 3);
	cfg_put(b, 0, port, PCI_PREF_MEMORY_BASE, (base >> 16 & 0xfff0), 2);
	cfg_put(b, 0, port, PCI_PREF_MEMORY_LIMIT, (limit >> 16 & 0xfff0), 2);
	cfg_put(b, 0, port, PCI_PREF_BASE_UPPER32, base >> 32, 4);
	cfg_put(b, 0, port, PCI_PREF_LIMIT_UPPER32, limit >> 32, 4);
	cfg_put(b, 0, port, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	cfg_put(b, 0, port, PORT_EXP + PCI_EXP_DEVCTL2, PCI_EXP_DEVCTL2_ARI, 2);
	cfg_put(b, bus, 0, PCI_BASE_ADDRESS_2, base, 4);
	cfg_put(b, bus, 0, PCI_BASE_ADDRESS_3, base >> 32, 4);
	cfg_put(b, bus, 0, PCI_BASE_ADDRESS_4, base + 0x8000, 4);
	cfg_put(b, bus, 0, PCI_BASE_ADDRESS_5, base >> 32, 4);
	cfg_put(b, bus, 0, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

void enable_vfs(struct bench *b, unsigned slot, unsigned n)
{
	unsigned bus = bus_of(slot), cap = ext_cap(b, bus, PCI_EXT_CAP_ID_SRIOV);
	uint64_t base = window(b, slot) + 0x100000;

	cfg_put(b, bus, 0, cap + PCI_SRIOV_CTRL, PCI_SRIOV_CTRL_ARI, 2);
	cfg_put(b, bus, 0, cap + PCI_SRIOV_BAR + 8, base, 4);
	cfg_put(b, bus, 0, cap + PCI_SRIOV_BAR + 12, base >> 32, 4);
	cfg_put(b, bus, 0, cap + PCI_SRIOV_BAR + 16, base + 0x80000, 4);
	cfg_put(b, bus, 0, cap + PCI_SRIOV_BAR + 20, base >> 32, 4);
	cfg_put(b, bus, 0, cap + PCI_SRIOV_NUM_VF, n, 2);
	cfg_put(b, bus, 0, cap + PCI_SRIOV_CTRL,
		PCI_SRIOV_CTRL_ARI | (n ? PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE : 0), 2);
}

void connect_memory(struct bench *b)
{
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT, .dma = b->dma};
	uint16_t cmd = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	assert_int_equal(pci_function_attach(root_endpoint(b->root), &att), 0);
	assert_int_equal(
		pci_config_write(root_endpoint(b->root), PCI_VIEW_VMM, PCI_COMMAND, &cmd, 2), 0);
}

int bench_setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct root_config cfg = {.name = "host0",
				  .socket = {.owner = -1, .group = -1, .mode = 0600}};
	unsigned slot;

	strcpy(b->dir, "/tmp/root_test.XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	snprintf(b->path, sizeof(b->path), "%s/host0.sock", b->dir);
	cfg.socket.path = b->path;
	assert_true(sd_event_new(&b->event) >= 0);
	assert_int_equal(root_create(b->event, &cfg, &b->root), 0);
	assert_int_equal(dma_space_create("host0", NULL, NULL, &b->dma), 0);
	for (unsigned i = 0; i < 2; i++) {
		toy_create(&b->toy[i], i ? "toy1/pf" : "toy0/pf");
		b->toy[i].root = b->root;
		assert_int_equal(root_add_pf(b->root, b->toy[i].pf, &slot), 0);
		assert_int_equal(slot, i);
	}
	*state = b;
	return 0;
}

int bench_teardown(void **state)
{
	struct bench *b = *state;

	for (unsigned i = 0; i < 2; i++) {
		root_remove_pf(b->root, b->toy[i].pf, true);
		b->toy[i].root = NULL;
		pci_function_destroy(b->toy[i].pf);
	}
	pci_function_detach(root_endpoint(b->root));
	root_destroy(b->root);
	dma_space_destroy(b->dma);
	sd_event_unref(b->event);
	rmdir(b->dir);
	free(b);
	return 0;
}

/* Program vector 0 of the function whose MSI-X BAR is at addr, and enable MSI-X. */
void child_msix(struct bench *b, unsigned bus, unsigned devfn, uint64_t addr, unsigned vector)
{
	unsigned cap = cfg_get(b, bus, devfn, PCI_CAPABILITY_LIST, 1);

	while (cfg_get(b, bus, devfn, cap, 1) != PCI_CAP_ID_MSIX)
		cap = cfg_get(b, bus, devfn, cap + 1, 1);
	mem_put(b, addr, 0xfee00000 | vector << 12);
	mem_put(b, addr + 4, 0);
	mem_put(b, addr + 8, 0);
	mem_put(b, addr + 12, 0);
	cfg_put(b, bus, devfn, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
}
