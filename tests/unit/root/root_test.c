/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A root as a guest's kernel drives it: every access goes through the endpoint's BARs, as the
 * vmd driver's would, with toy functions behind it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dma/dma.h"
#include "root/root.h"
#include "util/bytes.h"

#define SHADOW_OFF 0x2000
#define VFS	   8
#define APERTURE   0x4000ull

#define PORT_EXP 0x40
#define PORT_MSI 0x90

struct toy {
	struct pci_function *pf, *vfs[VFS];
	uint32_t reg; /* BAR2 dword 0 of the PF */
	unsigned resets;
	struct root *root;
};

struct bench {
	char dir[64], path[96];
	sd_event *event;
	struct root *root;
	struct dma_space *dma;
	struct toy toy[2];
};

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

static uint32_t cfg_get(struct bench *b, unsigned bus, unsigned devfn, unsigned reg, unsigned len)
{
	uint8_t buf[4] = {0};

	assert_int_equal(
		pci_bar_read(root_endpoint(b->root), 0, bus << 20 | devfn << 12 | reg, buf, len),
		0);
	return get_le32(buf);
}

static void cfg_put(struct bench *b, unsigned bus, unsigned devfn, unsigned reg, uint32_t v,
		    unsigned len)
{
	uint8_t buf[4];

	put_le32(buf, v);
	assert_int_equal(
		pci_bar_write(root_endpoint(b->root), 0, bus << 20 | devfn << 12 | reg, buf, len),
		0);
}

static uint64_t shadow(struct bench *b, unsigned i)
{
	uint8_t buf[8];

	assert_int_equal(pci_bar_read(root_endpoint(b->root), 4, SHADOW_OFF + 8 * i, buf, 8), 0);
	return get_le64(buf);
}

static uint32_t mem_get(struct bench *b, uint64_t bus_addr)
{
	uint8_t buf[4];

	assert_int_equal(pci_bar_read(root_endpoint(b->root), 4, bus_addr - shadow(b, 1), buf, 4),
			 0);
	return get_le32(buf);
}

static void mem_put(struct bench *b, uint64_t bus_addr, uint32_t v)
{
	uint8_t buf[4];

	put_le32(buf, v);
	assert_int_equal(pci_bar_write(root_endpoint(b->root), 4, bus_addr - shadow(b, 1), buf, 4),
			 0);
}

static uint64_t window(struct bench *b, unsigned slot)
{
	return shadow(b, 1) + 0x100000ull * (1 + slot * 16);
}

static unsigned ext_cap(struct bench *b, unsigned bus, unsigned id)
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

static unsigned bus_of(unsigned slot)
{
	return 1 + slot * 2;
}

/* Bus numbers, windows, BARs: what Linux assigns to one slot. */
static void bring_up(struct bench *b, unsigned slot)
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

static void enable_vfs(struct bench *b, unsigned slot, unsigned n)
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

static void connect_memory(struct bench *b)
{
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT, .dma = b->dma};
	uint16_t cmd = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	assert_int_equal(pci_function_attach(root_endpoint(b->root), &att), 0);
	assert_int_equal(
		pci_config_write(root_endpoint(b->root), PCI_VIEW_VMM, PCI_COMMAND, &cmd, 2), 0);
}

static int setup(void **state)
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

static int teardown(void **state)
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

static void endpoint_is_what_the_vmd_driver_looks_for(void **state)
{
	struct bench *b = *state;
	struct pci_function *ep = root_endpoint(b->root);
	uint32_t v;

	pci_config_read(ep, PCI_VIEW_VMM, PCI_VENDOR_ID, &v, 4);
	assert_int_equal(v, 0x28c08086);
	pci_config_read(ep, PCI_VIEW_VMM, PCI_CLASS_REVISION, &v, 4);
	assert_int_equal(v >> 8, 0x010400);
	pci_config_read(ep, PCI_VIEW_VMM, 0x70, &v, 4);
	assert_int_equal(v & 2, 2);
	v = 2;
	pci_config_write(ep, PCI_VIEW_VMM, 0x44, &v, 2);
	v = 0;
	pci_config_read(ep, PCI_VIEW_VMM, 0x44, &v, 2);
	assert_int_equal(v, 2);
	assert_true(pci_function_bar(ep, 0)->size >= 1 << 20);
	assert_true(shadow(b, 0) && shadow(b, 0) < 1ull << 32);
	assert_true(shadow(b, 1));
	assert_int_equal(shadow(b, 1) & (pci_function_bar(ep, 4)->size - 1), 0);
}

static void nothing_reads_all_ones(void **state)
{
	struct bench *b = *state;

	assert_int_equal(cfg_get(b, 0, 5 << 3, 0, 4), 0xffffffff);
	assert_int_equal(cfg_get(b, 1, 0, 0, 4), 0xffffffff); /* no bus numbers yet */
	assert_int_equal(mem_get(b, window(b, 0)), 0xffffffff);
	cfg_put(b, 0, 5 << 3, 0, 0, 4);
	mem_put(b, window(b, 0), 1);
	/* The last bytes of a function's 4 KiB, and an access across its end. */
	uint8_t buf[8];
	assert_int_equal(pci_bar_read(root_endpoint(b->root), 0, 0xffc, buf, 8), 0);
	assert_int_equal(get_le64(buf), UINT64_MAX);
}

static void pf_appears_behind_its_port(void **state)
{
	struct bench *b = *state;

	assert_int_equal(cfg_get(b, 0, 0, PCI_CLASS_DEVICE, 2), 0x0604);
	bring_up(b, 0);
	assert_int_equal(cfg_get(b, 1, 0, PCI_VENDOR_ID, 4), 0x10411af4);
	assert_int_equal(cfg_get(b, 3, 0, PCI_VENDOR_ID, 4), 0xffffffff);
	bring_up(b, 1);
	assert_int_equal(cfg_get(b, 3, 0, PCI_VENDOR_ID, 4), 0x10411af4);
	assert_int_equal(mem_get(b, window(b, 0)), 0x2222);
	mem_put(b, window(b, 1), 77);
	assert_int_equal(b->toy[0].reg, 0);
	assert_int_equal(b->toy[1].reg, 77);
}

static void closed_windows_forward_nothing(void **state)
{
	struct bench *b = *state;

	bring_up(b, 0);
	cfg_put(b, 0, 0, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	assert_int_equal(mem_get(b, window(b, 0)), 0xffffffff);
	cfg_put(b, 0, 0, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(mem_get(b, window(b, 0)), 0x2222);
	/* Base above limit, as the driver leaves it before it sizes windows. */
	cfg_put(b, 0, 0, PCI_PREF_MEMORY_BASE, 0x0000fff0, 4);
	assert_int_equal(mem_get(b, window(b, 0)), 0xffffffff);
	/* All of memory. */
	cfg_put(b, 0, 0, PCI_PREF_MEMORY_BASE, 0xfff00000, 4);
	cfg_put(b, 0, 0, PCI_PREF_BASE_UPPER32, 0, 4);
	cfg_put(b, 0, 0, PCI_PREF_LIMIT_UPPER32, 0xffffffff, 4);
	mem_get(b, window(b, 0));
}

static void kernel_enables_vfs(void **state)
{
	struct bench *b = *state;
	uint64_t vf0;

	bring_up(b, 0);
	enable_vfs(b, 0, 4);
	vf0 = window(b, 0) + 0x100000;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(cfg_get(b, 1, 1 + i, PCI_VENDOR_ID, 4), 0xffffffff);
		assert_int_equal(cfg_get(b, 1, 1 + i, PCI_CAPABILITY_LIST, 1) != 0xff, 1);
		assert_int_equal(mem_get(b, vf0 + i * APERTURE), 0x1000 + i);
	}
	assert_int_equal(cfg_get(b, 1, 5, PCI_CAPABILITY_LIST, 1), 0xff);
	assert_int_equal(mem_get(b, vf0 + 4 * APERTURE), 0xffffffff);
	enable_vfs(b, 0, 0);
	assert_int_equal(cfg_get(b, 1, 1, PCI_CAPABILITY_LIST, 1), 0xff);
	assert_int_equal(mem_get(b, vf0), 0xffffffff);
	enable_vfs(b, 0, 8);
	assert_int_equal(mem_get(b, vf0 + 7 * APERTURE), 0x1007);
}

static void high_functions_need_ari_forwarding(void **state)
{
	struct bench *b = *state;

	bring_up(b, 0);
	enable_vfs(b, 0, 8);
	assert_int_not_equal(cfg_get(b, 1, 8, PCI_CAPABILITY_LIST, 1), 0xff);
	cfg_put(b, 0, 0, PORT_EXP + PCI_EXP_DEVCTL2, 0, 2);
	assert_int_equal(cfg_get(b, 1, 8, PCI_CAPABILITY_LIST, 1), 0xff);
	assert_int_not_equal(cfg_get(b, 1, 7, PCI_CAPABILITY_LIST, 1), 0xff);
}

static void lent_vf_is_absent_and_a_used_one_stays(void **state)
{
	struct bench *b = *state;
	struct root_function_info info;
	char why[128] = "";
	uint64_t vf1;

	connect_memory(b);
	bring_up(b, 0);
	enable_vfs(b, 0, 2);
	vf1 = window(b, 0) + 0x100000 + APERTURE;
	cfg_put(b, 1, 2, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	assert_ptr_equal(pci_function_dma(b->toy[0].vfs[1]), b->dma);
	assert_int_equal(root_lend_vf(b->root, b->toy[0].vfs[1], why, sizeof(why)), -EBUSY);
	assert_non_null(strstr(why, "host0"));
	cfg_put(b, 1, 2, PCI_COMMAND, 0, 2);
	assert_int_equal(root_lend_vf(b->root, b->toy[0].vfs[1], why, sizeof(why)), 0);
	assert_int_equal(pci_function_owner(b->toy[0].vfs[1]), PCI_OWNER_NONE);
	assert_int_equal(cfg_get(b, 1, 2, PCI_CAPABILITY_LIST, 1), 0xff);
	assert_int_equal(mem_get(b, vf1), 0xffffffff);
	assert_int_not_equal(cfg_get(b, 1, 1, PCI_CAPABILITY_LIST, 1), 0xff);
	assert_int_equal(root_function(b->root, b->toy[0].vfs[1], &info), 0);
	assert_true(info.lent && info.rid_valid);
	assert_int_equal(info.rid, 0x0102);
	root_take_back(b->root, b->toy[0].vfs[1]);
	assert_int_equal(pci_function_owner(b->toy[0].vfs[1]), PCI_OWNER_ROOT);
	assert_int_equal(mem_get(b, vf1), 0x1001);
}

/* Program vector 0 of the function whose MSI-X BAR is at addr, and enable MSI-X. */
static void child_msix(struct bench *b, unsigned bus, unsigned devfn, uint64_t addr,
		       unsigned vector)
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

static void messages_of_children_raise_vectors_of_the_endpoint(void **state)
{
	struct bench *b = *state;
	int fd = eventfd(0, EFD_NONBLOCK), other = eventfd(0, EFD_NONBLOCK);
	eventfd_t n;

	connect_memory(b);
	bring_up(b, 0);
	enable_vfs(b, 0, 2);
	pci_irq_set_fd(root_endpoint(b->root), 3, dup(fd));
	child_msix(b, 1, 2, window(b, 0) + 0x100000 + 0x80000 + 0x2000, 3);
	pci_irq_raise(b->toy[0].vfs[1], 0);
	assert_int_equal(eventfd_read(fd, &n), 0);
	/* The endpoint changes its eventfd; the child need not know. */
	pci_irq_set_fd(root_endpoint(b->root), 3, dup(other));
	pci_irq_raise(b->toy[0].vfs[1], 0);
	assert_int_equal(eventfd_read(other, &n), 0);
	assert_int_not_equal(eventfd_read(fd, &n), 0);
	/* While the endpoint has none, it is kept. */
	pci_irq_set_fd(root_endpoint(b->root), 3, -1);
	pci_irq_raise(b->toy[0].vfs[1], 0);
	pci_irq_set_fd(root_endpoint(b->root), 3, dup(fd));
	assert_int_equal(eventfd_read(fd, &n), 0);
	/* A vector that the endpoint does not have. */
	child_msix(b, 1, 2, window(b, 0) + 0x100000 + 0x80000 + 0x2000, 200);
	pci_irq_raise(b->toy[0].vfs[1], 0);
	assert_int_not_equal(eventfd_read(fd, &n), 0);
	close(fd);
	close(other);
}

static void endpoint_gates_the_dma_of_its_children(void **state)
{
	struct bench *b = *state;
	uint16_t cmd = PCI_COMMAND_MEMORY;

	connect_memory(b);
	bring_up(b, 0);
	assert_ptr_equal(pci_function_dma(b->toy[0].pf), b->dma);
	pci_config_write(root_endpoint(b->root), PCI_VIEW_VMM, PCI_COMMAND, &cmd, 2);
	assert_null(pci_function_dma(b->toy[0].pf));
	cmd |= PCI_COMMAND_MASTER;
	pci_config_write(root_endpoint(b->root), PCI_VIEW_VMM, PCI_COMMAND, &cmd, 2);
	assert_ptr_equal(pci_function_dma(b->toy[0].pf), b->dma);
}

static void bus_reset_reaches_one_slot_only(void **state)
{
	struct bench *b = *state;

	bring_up(b, 0);
	bring_up(b, 1);
	enable_vfs(b, 0, 4);
	enable_vfs(b, 1, 4);
	b->toy[0].resets = b->toy[1].resets = 0;
	cfg_put(b, 0, 0, PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_BUS_RESET, 2);
	assert_int_equal(b->toy[0].resets, 1);
	assert_int_equal(b->toy[1].resets, 0);
	assert_int_equal(pci_pf_num_vfs(b->toy[0].pf), 0);
	assert_int_equal(pci_pf_num_vfs(b->toy[1].pf), 4);
}

static void endpoint_reset_resets_all_behind_it(void **state)
{
	struct bench *b = *state;

	connect_memory(b);
	bring_up(b, 0);
	enable_vfs(b, 0, 4);
	pci_function_reset(root_endpoint(b->root), PCI_RESET_FLR);
	assert_int_equal(pci_pf_num_vfs(b->toy[0].pf), 0);
	assert_int_equal(cfg_get(b, 0, 0, PCI_SECONDARY_BUS, 1), 0);
	assert_null(pci_function_dma(b->toy[0].pf));
	/* The guest starts again. */
	uint16_t cmd = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	pci_config_write(root_endpoint(b->root), PCI_VIEW_VMM, PCI_COMMAND, &cmd, 2);
	bring_up(b, 0);
	enable_vfs(b, 0, 2);
	assert_int_equal(mem_get(b, window(b, 0) + 0x100000 + APERTURE), 0x1001);
	assert_ptr_equal(pci_function_dma(b->toy[0].pf), b->dma);
}

static void slot_off_then_on(void **state)
{
	struct bench *b = *state;
	uint16_t sta;

	bring_up(b, 0);
	sta = cfg_get(b, 0, 0, PORT_EXP + PCI_EXP_SLTSTA, 2);
	assert_true(sta & PCI_EXP_SLTSTA_PDS);
	assert_true(cfg_get(b, 0, 0, PORT_EXP + PCI_EXP_LNKSTA, 2) & PCI_EXP_LNKSTA_DLLLA);
	b->toy[0].resets = 0;
	cfg_put(b, 0, 0, PORT_EXP + PCI_EXP_SLTCTL, PCI_EXP_SLTCTL_PCC, 2);
	assert_int_equal(b->toy[0].resets, 1);
	assert_int_equal(cfg_get(b, 1, 0, 0, 4), 0xffffffff);
	assert_false(cfg_get(b, 0, 0, PORT_EXP + PCI_EXP_LNKSTA, 2) & PCI_EXP_LNKSTA_DLLLA);
	cfg_put(b, 0, 0, PORT_EXP + PCI_EXP_SLTCTL, 0, 2);
	assert_int_equal(cfg_get(b, 1, 0, 0, 4), 0x10411af4);
	sta = cfg_get(b, 0, 0, PORT_EXP + PCI_EXP_SLTSTA, 2);
	assert_true(sta & PCI_EXP_SLTSTA_DLLSC);
	cfg_put(b, 0, 0, PORT_EXP + PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_DLLSC, 2);
	sta = cfg_get(b, 0, 0, PORT_EXP + PCI_EXP_SLTSTA, 2);
	assert_false(sta & PCI_EXP_SLTSTA_DLLSC);
}

static void hostile_accesses_touch_nothing_else(void **state)
{
	struct bench *b = *state;
	struct pci_function *ep = root_endpoint(b->root);
	unsigned seed = 1;

	connect_memory(b);
	bring_up(b, 0);
	for (unsigned i = 0; i < 200000; i++) {
		unsigned bar = (unsigned[]){0, 2, 4}[rand_r(&seed) % 3];
		uint64_t size = pci_function_bar(ep, bar)->size, off;
		uint8_t buf[8];
		uint32_t len = 1u << (rand_r(&seed) % 4);

		off = ((uint64_t)rand_r(&seed) << 16 ^ rand_r(&seed)) % (size - 8);
		if (bar == 0 && rand_r(&seed) % 2)
			off %= 4u << 20;
		for (unsigned k = 0; k < sizeof(buf); k++)
			buf[k] = rand_r(&seed);
		if (rand_r(&seed) % 2)
			pci_bar_write(ep, bar, off, buf, len);
		else
			pci_bar_read(ep, bar, off, buf, len);
	}
}

static void dump_shows_the_hierarchy(void **state)
{
	struct bench *b = *state;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	bring_up(b, 0);
	enable_vfs(b, 0, 2);
	root_dump_lspci(b->root, f);
	fclose(f);
	assert_non_null(strstr(text, "00:00.0 "));
	assert_non_null(strstr(text, "01:00.0 "));
	assert_non_null(strstr(text, "01:00.1 "));
	assert_non_null(strstr(text, "01:00.2 "));
	assert_null(strstr(text, "01:00.3 "));
	free(text);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(endpoint_is_what_the_vmd_driver_looks_for),
		TEST(nothing_reads_all_ones),
		TEST(pf_appears_behind_its_port),
		TEST(closed_windows_forward_nothing),
		TEST(kernel_enables_vfs),
		TEST(high_functions_need_ari_forwarding),
		TEST(lent_vf_is_absent_and_a_used_one_stays),
		TEST(messages_of_children_raise_vectors_of_the_endpoint),
		TEST(endpoint_gates_the_dma_of_its_children),
		TEST(bus_reset_reaches_one_slot_only),
		TEST(endpoint_reset_resets_all_behind_it),
		TEST(slot_off_then_on),
		TEST(hostile_accesses_touch_nothing_else),
		TEST(dump_shows_the_hierarchy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
