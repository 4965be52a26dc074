/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The SR-IOV capability as a PF driver meets it (PCIe Base 9.3.3).
 */
#include <errno.h>

#include "model.h"

#define BUS PCI_VIEW_BUS

static int setup(void **state)
{
	static struct model m;

	memset(&m, 0, sizeof(m));
	model_create(&m);
	*state = &m;
	return 0;
}

static int teardown(void **state)
{
	model_destroy(*state);
	return 0;
}

/* 9.3.3.1 - 9.3.3.15: every register's reset value and access. */
static void registers_have_the_values_that_the_spec_demands(void **state)
{
	struct model *m = *state;
	const struct {
		unsigned off, len;
		uint32_t reset, writable;
	} regs[] = {
		{PCI_SRIOV_CAP, 4, 0x2, 0},	     {PCI_SRIOV_STATUS, 2, 0, 0},
		{PCI_SRIOV_INITIAL_VF, 2, 8, 0},     {PCI_SRIOV_TOTAL_VF, 2, 8, 0},
		{PCI_SRIOV_NUM_VF, 2, 0, 0xffff},    {PCI_SRIOV_FUNC_LINK, 2, 0, 0},
		{PCI_SRIOV_VF_OFFSET, 2, 256, 0},    {PCI_SRIOV_VF_STRIDE, 2, 1, 0},
		{PCI_SRIOV_VF_DID - 2, 2, 0, 0},     {PCI_SRIOV_VF_DID, 2, MODEL_VF_DID, 0},
		{PCI_SRIOV_SUP_PGSIZE, 4, 0x553, 0}, {PCI_SRIOV_VFM, 4, 0, 0},
	};
	uint32_t head = rd(m->pf, BUS, iov(m, 0), 4);

	assert_int_equal(head & 0xfffff, 0x10010);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_SYS_PGSIZE), 4), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		unsigned off = iov(m, regs[i].off);
		uint32_t ones = regs[i].len == 2 ? 0xffff : 0xffffffff;

		assert_int_equal(rd(m->pf, BUS, off, regs[i].len), regs[i].reset);
		wr(m->pf, BUS, off, regs[i].len, ones);
		assert_int_equal(rd(m->pf, BUS, off, regs[i].len),
				 regs[i].writable | (regs[i].reset & ~regs[i].writable));
	}
	/* Migration Enable and its interrupt read 0 (9.3.3.3.2). */
	wr(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), 2, PCI_SRIOV_CTRL_VFM | PCI_SRIOV_CTRL_INTR);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), 2), 0);
}

static uint64_t size_bar(struct model *m, unsigned bar, bool is_64bit)
{
	unsigned off = iov(m, PCI_SRIOV_BAR + 4 * bar);
	uint64_t v;

	wr(m->pf, BUS, off, 4, ~0u);
	v = rd(m->pf, BUS, off, 4) & ~0xfu;
	if (!is_64bit)
		return (uint32_t)-v;
	wr(m->pf, BUS, off + 4, 4, ~0u);
	return -(v | (uint64_t)rd(m->pf, BUS, off + 4, 4) << 32);
}

/* 9.3.3.14: sizing gives one VF's aperture. */
static void vf_bar_sizing_gives_the_aperture_of_one_vf(void **state)
{
	assert_int_equal(size_bar(*state, 2, true), 0x4000);
	assert_int_equal(size_bar(*state, 4, false), 0x2000);
}

/* 9.2.1.1.1: VF n decodes at VF BAR + (n - 1) apertures. */
static void each_vf_decodes_its_own_aperture(void **state)
{
	struct model *m = *state;
	unsigned bar;
	uint64_t off;

	wr(m->pf, BUS, iov(m, PCI_SRIOV_BAR + 8), 4, 0x80000000);
	wr(m->pf, BUS, iov(m, PCI_SRIOV_BAR + 12), 4, 0x1);
	wr(m->pf, BUS, iov(m, PCI_SRIOV_BAR + 16), 4, 0x90000000);
	enable_vfs(m, 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(pci_bar_decode(pci_pf_vf(m->pf, i), 0x180000000ull + i * 0x4000 + 0x10,
					   4, &bar, &off));
		assert_int_equal(bar, 2);
		assert_int_equal(off, 0x10);
		assert_true(pci_bar_decode(pci_pf_vf(m->pf, i), 0x90000000ull + i * 0x2000, 4, &bar,
					   &off));
		assert_int_equal(bar, 4);
		assert_false(pci_bar_decode(pci_pf_vf(m->pf, i), 0x180000000ull + (i + 1) * 0x4000,
					    4, &bar, &off));
	}
}

/* 9.3.3.13, 9.3.3.14: an aperture is no smaller than System Page Size. */
static void raising_system_page_size_grows_the_aperture(void **state)
{
	struct model *m = *state;
	unsigned bar;
	uint64_t off;

	wr(m->pf, BUS, iov(m, PCI_SRIOV_SYS_PGSIZE), 4, 0x10); /* 64 KiB */
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_SYS_PGSIZE), 4), 0x10);
	assert_int_equal(size_bar(m, 2, true), 0x10000);
	assert_int_equal(size_bar(m, 4, false), 0x10000);
	wr(m->pf, BUS, iov(m, PCI_SRIOV_BAR + 16), 4, 0x9000f000);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_BAR + 16), 4), 0x90000000);
	enable_vfs(m, 2);
	assert_true(pci_bar_decode(pci_pf_vf(m->pf, 1), 0x90010000, 4, &bar, &off));
	assert_int_equal(off, 0);
	/* What pads the aperture belongs to nobody. */
	assert_false(pci_bar_decode(pci_pf_vf(m->pf, 1), 0x90012000, 4, &bar, &off));
}

/* 9.3.3.13: unsupported sizes cannot be set, and the register holds still while VFs exist. */
static void system_page_size_takes_supported_sizes_only_and_freezes(void **state)
{
	struct model *m = *state;
	unsigned off = iov(m, PCI_SRIOV_SYS_PGSIZE);

	wr(m->pf, BUS, off, 4, 0x4);
	assert_int_equal(rd(m->pf, BUS, off, 4), 0);
	assert_int_equal(size_bar(m, 4, false), 0x2000);
	wr(m->pf, BUS, off, 4, 1);
	enable_vfs(m, 1);
	wr(m->pf, BUS, off, 4, 0x100);
	assert_int_equal(rd(m->pf, BUS, off, 4), 1);
}

/* 9.3.3.14: memory only; a 64-bit pair takes two slots; what is not implemented reads 0. */
static void vf_bars_are_memory_and_unimplemented_ones_read_zero(void **state)
{
	struct model *m = *state;
	const uint32_t type[] = {0, 0, 0xc, 0, 0, 0};

	for (unsigned i = 0; i < 6; i++) {
		unsigned off = iov(m, PCI_SRIOV_BAR + 4 * i);

		assert_int_equal(rd(m->pf, BUS, off, 4), type[i]);
		wr(m->pf, BUS, off, 4, ~0u);
		if (i != 3) /* the upper half of BAR 2 */
			assert_int_equal(rd(m->pf, BUS, off, 4) & 1, 0);
		if (i == 0 || i == 1 || i == 5)
			assert_int_equal(rd(m->pf, BUS, off, 4), 0);
	}
}

/* 9.3.3.5: InitialVFs = TotalVFs without migration. */
static void initial_vfs_equals_total_vfs(void **state)
{
	struct model *m = *state, other = {0};
	struct pci_function_desc d = model_desc(&other);
	struct pci_function *fn;

	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_INITIAL_VF), 2), MODEL_VFS);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_TOTAL_VF), 2), MODEL_VFS);
	d.sriov.initial_vfs = MODEL_VFS - 1;
	assert_int_equal(pci_function_create(&d, &fn), -EINVAL);
}

/* 9.3.3.9, 9.3.3.10: a driver tries each NumVFs and reads both. */
static void offset_and_stride_answer_for_every_num_vfs(void **state)
{
	struct model *m = *state;

	for (unsigned ari = 0; ari < 2; ari++) {
		wr(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), 2, ari ? PCI_SRIOV_CTRL_ARI : 0);
		for (unsigned n = MODEL_VFS; n; n--) {
			wr(m->pf, BUS, iov(m, PCI_SRIOV_NUM_VF), 2, n);
			assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_NUM_VF), 2), n);
			assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_VF_OFFSET), 2),
					 ari ? 1 : 256);
			assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_VF_STRIDE), 2), 1);
		}
	}
}

/* 9.2.1.2: 16-bit arithmetic with carry into the bus number. */
static void vf_routing_ids_are_16_bit_sums(void **state)
{
	struct model *m = *state;

	assert_int_equal(pci_vf_rid(m->pf, 0x0100, 0), 0x0200);
	assert_int_equal(pci_vf_rid(m->pf, 0x0100, 7), 0x0207);
	assert_int_equal(pci_vf_rid(m->pf, 0xff00, 1), 0x0001);
	wr(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), 2, PCI_SRIOV_CTRL_ARI);
	assert_int_equal(pci_vf_rid(m->pf, 0x0100, 0), 0x0101);
	assert_int_equal(pci_vf_rid(m->pf, 0x01ff, 0), 0x0200);
	for (unsigned i = 0; i < MODEL_VFS; i++)
		assert_int_not_equal(pci_vf_rid(m->pf, 0x0100, i), 0x0100);
}

/* 9.2.1.2: without ARI forwarding VFs lie on the next bus, with it behind the PF; the choice
 * freezes with VF Enable (9.3.3.3.5). */
static void ari_bit_moves_vfs_and_freezes_while_enabled(void **state)
{
	struct model *m = *state;
	unsigned ctrl = iov(m, PCI_SRIOV_CTRL);

	wr(m->pf, BUS, ctrl, 2, PCI_SRIOV_CTRL_ARI);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_VF_OFFSET), 2), 1);
	enable_vfs(m, 2);
	wr(m->pf, BUS, ctrl, 2, PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE);
	assert_int_equal(rd(m->pf, BUS, ctrl, 2),
			 PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE | PCI_SRIOV_CTRL_ARI);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_VF_OFFSET), 2), 1);
	disable_vfs(m);
	wr(m->pf, BUS, ctrl, 2, 0);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_VF_OFFSET), 2), 256);
}

/* 9.3.3.8: a PF that depends on no other names itself. */
static void function_dependency_link_is_the_own_function(void **state)
{
	struct model *m = *state;

	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_FUNC_LINK), 1), 0);
}

/* 9.3.3.3.1: exactly NumVFs VFs come and go, and the other registers survive. */
static void vf_enable_creates_and_destroys_exactly_num_vfs(void **state)
{
	struct model *m = *state;

	wr(m->pf, BUS, iov(m, PCI_SRIOV_BAR + 16), 4, 0x90000000);
	for (unsigned n = 1; n <= MODEL_VFS; n++) {
		enable_vfs(m, (uint16_t)n);
		assert_int_equal(pci_pf_num_vfs(m->pf), n);
		for (unsigned i = 0; i < MODEL_VFS; i++)
			assert_int_equal(pci_pf_vf(m->pf, i) != NULL, i < n);
		assert_null(pci_pf_vf(m->pf, MODEL_VFS));
		disable_vfs(m);
		assert_int_equal(pci_pf_num_vfs(m->pf), 0);
		assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_NUM_VF), 2), n);
		assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_BAR + 16), 4), 0x90000000);
	}
}

/* 9.3.3.7: NumVFs is locked while VF Enable is set, even within one long message. */
static void num_vfs_is_locked_while_enabled(void **state)
{
	struct model *m = *state;
	uint8_t msg[12] = {PCI_SRIOV_CTRL_VFE};

	enable_vfs(m, 2);
	wr(m->pf, BUS, iov(m, PCI_SRIOV_NUM_VF), 2, 5);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_NUM_VF), 2), 2);
	disable_vfs(m);
	put_le16(msg + 8, 7);
	pci_config_write(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), msg, sizeof(msg));
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_NUM_VF), 2), 2);
	assert_int_equal(pci_pf_num_vfs(m->pf), 2);
}

static void num_vfs_above_total_vfs_creates_nothing(void **state)
{
	struct model *m = *state;

	enable_vfs(m, MODEL_VFS + 1);
	assert_int_equal(m->enables, 0);
	assert_int_equal(pci_pf_num_vfs(m->pf), 0);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), 2) & PCI_SRIOV_CTRL_VFE, 0);
	enable_vfs(m, 0xffff);
	assert_int_equal(pci_pf_num_vfs(m->pf), 0);
	enable_vfs(m, MODEL_VFS);
	assert_int_equal(pci_pf_num_vfs(m->pf), MODEL_VFS);
}

static void an_enable_that_fails_leaves_vf_enable_clear_and_no_vfs(void **state)
{
	struct model *m = *state;

	m->enable_error = -ENOMEM;
	enable_vfs(m, 4);
	assert_int_equal(pci_pf_num_vfs(m->pf), 0);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), 2) & PCI_SRIOV_CTRL_VFE, 0);
	assert_int_equal(pci_pf_set_num_vfs(m->pf, 4), -ENOMEM);
	m->enable_error = 0;
	assert_int_equal(pci_pf_set_num_vfs(m->pf, 4), 0);
}

/* 9.3.3.3.4: without VF MSE no VF decodes memory. */
static void vf_mse_gates_all_vf_memory(void **state)
{
	struct model *m = *state;
	unsigned bar;
	uint64_t off;

	wr(m->pf, BUS, iov(m, PCI_SRIOV_BAR + 16), 4, 0x90000000);
	enable_vfs(m, 1);
	assert_true(pci_pf_vf_mse(m->pf));
	assert_true(pci_bar_decode(pci_pf_vf(m->pf, 0), 0x90000000, 4, &bar, &off));
	wr(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), 2, PCI_SRIOV_CTRL_VFE);
	assert_false(pci_pf_vf_mse(m->pf));
	/* A VF's own Command register has no say. */
	wr(pci_pf_vf(m->pf, 0), BUS, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_false(pci_bar_decode(pci_pf_vf(m->pf, 0), 0x90000000, 4, &bar, &off));
}

/* 9.3.3.3.1: everything is done when the write returns; nobody need wait or retry. */
static void enable_and_disable_complete_within_the_write(void **state)
{
	struct model *m = *state;

	m->attach_vfs = true;
	enable_vfs(m, 4);
	assert_int_equal(rd(pci_pf_vf(m->pf, 3), PCI_VIEW_VMM, PCI_VENDOR_ID, 2), MODEL_VENDOR);
	assert_int_equal(pci_function_owner(pci_pf_vf(m->pf, 3)), PCI_OWNER_ENDPOINT);
	disable_vfs(m); /* while attached: each is taken from its owner and reset */
	assert_int_equal(pci_pf_num_vfs(m->pf), 0);
	assert_int_equal(m->resets, 4);
	assert_int_equal(m->last_reset, PCI_RESET_DETACH);
}

/* What Linux does at probe: clear a VF Enable it finds, the ARI bit, page size as a dword. */
static void probe_sequence_of_a_pf_driver_works(void **state)
{
	struct model *m = *state;
	uint32_t pgsz;

	enable_vfs(m, 3);
	wr(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), 2, 0);
	assert_int_equal(pci_pf_num_vfs(m->pf), 0);
	wr(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), 2, PCI_SRIOV_CTRL_ARI);
	pgsz = rd(m->pf, BUS, iov(m, PCI_SRIOV_SUP_PGSIZE), 4);
	pgsz &= ~pgsz + 1;
	wr(m->pf, BUS, iov(m, PCI_SRIOV_SYS_PGSIZE), 4, pgsz);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_SYS_PGSIZE), 4), 1);
	wr(m->pf, BUS, iov(m, PCI_SRIOV_NUM_VF), 2, 0);
	enable_vfs(m, 4);
	assert_int_equal(pci_pf_num_vfs(m->pf), 4);
}

/* 6.6.2, 9.2.2.3: FLR of a PF takes the VFs and its SR-IOV registers with it. */
static void pf_flr_clears_the_capability_and_removes_vfs(void **state)
{
	struct model *m = *state;
	unsigned exp = find_cap(m->pf, PCI_CAP_ID_EXP);

	wr(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), 2, PCI_SRIOV_CTRL_ARI);
	wr(m->pf, BUS, iov(m, PCI_SRIOV_SYS_PGSIZE), 4, 0x10);
	wr(m->pf, BUS, iov(m, PCI_SRIOV_BAR + 16), 4, 0x90000000);
	enable_vfs(m, 4);
	wr(m->pf, BUS, exp + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
	assert_int_equal(pci_pf_num_vfs(m->pf), 0);
	assert_int_equal(m->disables, 1);
	assert_int_equal(m->resets, 1);
	/* What software said of the port above stays (9.3.3.3.5) ... */
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), 2), PCI_SRIOV_CTRL_ARI);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_VF_OFFSET), 2), 1);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_NUM_VF), 2), 0);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_SYS_PGSIZE), 4), 1);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_BAR + 16), 4), 0);
	/* ... until a conventional reset. */
	pci_function_reset(m->pf, PCI_RESET_BUS);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), 2), 0);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_VF_OFFSET), 2), 256);
	/* The aperture is that of a 4 KiB page again. */
	assert_int_equal(size_bar(m, 4, false), 0x2000);
}

/* Who is lent a managed PF has no power over others' VFs. */
static void the_holder_of_a_managed_pf_cannot_touch_the_vfs(void **state)
{
	struct model *m = *state;
	unsigned exp = find_cap(m->pf, PCI_CAP_ID_EXP), pm = find_cap(m->pf, PCI_CAP_ID_PM);
	struct pci_function *vf;

	m->attach_vfs = true;
	pci_pf_set_managed(m->pf, true);
	assert_int_equal(pci_pf_set_num_vfs(m->pf, 4), 0);
	vf = pci_pf_vf(m->pf, 0);
	wr(vf, PCI_VIEW_VMM, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	model_attach(m->pf, PCI_OWNER_ENDPOINT);
	wr(m->pf, PCI_VIEW_VMM, iov(m, PCI_SRIOV_CTRL), 2, 0);
	wr(m->pf, BUS, iov(m, PCI_SRIOV_CTRL), 2, 0);
	wr(m->pf, BUS, iov(m, PCI_SRIOV_BAR + 16), 4, ~0u);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_BAR + 16), 4), 0);
	wr(m->pf, PCI_VIEW_VMM, pm + PCI_PM_CTRL, 2, 3);
	assert_non_null(pci_function_dma(vf));
	wr(m->pf, PCI_VIEW_VMM, pm + PCI_PM_CTRL, 2, 0);
	wr(m->pf, PCI_VIEW_VMM, exp + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
	pci_function_reset(m->pf, PCI_RESET_FLR);
	pci_function_detach(m->pf);
	assert_int_equal(m->resets, 3);
	assert_int_equal(pci_pf_num_vfs(m->pf), 4);
	assert_non_null(pci_function_dma(vf));
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_NUM_VF), 2), 4);
	/* The daemon goes on managing them. */
	assert_int_equal(pci_pf_set_num_vfs(m->pf, 5), 0);
	assert_ptr_equal(pci_pf_vf(m->pf, 0), vf);
}

static void the_daemon_grows_and_shrinks_without_disturbing_vfs(void **state)
{
	struct model *m = *state;
	struct pci_function *vf0, *vf1;

	assert_int_equal(pci_pf_set_num_vfs(m->pf, MODEL_VFS + 1), -ERANGE);
	assert_int_equal(pci_pf_set_num_vfs(m->pf, 2), 0);
	assert_true(pci_pf_vf_mse(m->pf));
	vf0 = pci_pf_vf(m->pf, 0);
	vf1 = pci_pf_vf(m->pf, 1);
	assert_int_equal(pci_pf_set_num_vfs(m->pf, 6), 0);
	assert_int_equal(pci_pf_num_vfs(m->pf), 6);
	assert_ptr_equal(pci_pf_vf(m->pf, 1), vf1);
	assert_int_equal(rd(m->pf, BUS, iov(m, PCI_SRIOV_NUM_VF), 2), 6);
	assert_int_equal(pci_pf_set_num_vfs(m->pf, 1), 0);
	assert_int_equal(pci_pf_num_vfs(m->pf), 1);
	assert_ptr_equal(pci_pf_vf(m->pf, 0), vf0);
	assert_int_equal(m->disables, 0);
	assert_int_equal(pci_pf_set_num_vfs(m->pf, 0), 0);
	assert_int_equal(m->disables, 1);
	assert_false(pci_pf_vf_mse(m->pf));
	model_attach(m->pf, PCI_OWNER_ROOT);
	assert_int_equal(pci_pf_set_num_vfs(m->pf, 1), -EBUSY);
}

static void total_vfs_zero_means_no_capability(void **state)
{
	struct model other = {0};
	struct pci_function_desc d = model_desc(&other);
	struct pci_function *fn;

	d.sriov = (struct pci_sriov_desc){0};
	assert_int_equal(pci_function_create(&d, &fn), 0);
	assert_int_equal(find_ext(fn, PCI_EXT_CAP_ID_SRIOV), 0);
	assert_int_equal(pci_pf_set_num_vfs(fn, 0), 0);
	assert_int_equal(pci_pf_set_num_vfs(fn, 1), -ERANGE);
	pci_function_destroy(fn);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(registers_have_the_values_that_the_spec_demands),
		T(vf_bar_sizing_gives_the_aperture_of_one_vf),
		T(each_vf_decodes_its_own_aperture),
		T(raising_system_page_size_grows_the_aperture),
		T(system_page_size_takes_supported_sizes_only_and_freezes),
		T(vf_bars_are_memory_and_unimplemented_ones_read_zero),
		T(initial_vfs_equals_total_vfs),
		T(offset_and_stride_answer_for_every_num_vfs),
		T(vf_routing_ids_are_16_bit_sums),
		T(ari_bit_moves_vfs_and_freezes_while_enabled),
		T(function_dependency_link_is_the_own_function),
		T(vf_enable_creates_and_destroys_exactly_num_vfs),
		T(num_vfs_is_locked_while_enabled),
		T(num_vfs_above_total_vfs_creates_nothing),
		T(an_enable_that_fails_leaves_vf_enable_clear_and_no_vfs),
		T(vf_mse_gates_all_vf_memory),
		T(enable_and_disable_complete_within_the_write),
		T(probe_sequence_of_a_pf_driver_works),
		T(pf_flr_clears_the_capability_and_removes_vfs),
		T(the_holder_of_a_managed_pf_cannot_touch_the_vfs),
		T(the_daemon_grows_and_shrinks_without_disturbing_vfs),
		T(total_vfs_zero_means_no_capability),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
