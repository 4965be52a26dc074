/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PF's header and its other capabilities, BARs, resets and the DMA gate.
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

/* 7.5.1: type 0, single function, capability list; no INTx. */
static void header_is_type_0_with_a_capability_list(void **state)
{
	struct model *m = *state;

	for (int view = PCI_VIEW_BUS; view <= PCI_VIEW_VMM; view++) {
		assert_int_equal(rd(m->pf, view, PCI_VENDOR_ID, 2), MODEL_VENDOR);
		assert_int_equal(rd(m->pf, view, PCI_DEVICE_ID, 2), MODEL_DEVICE);
		assert_int_equal(rd(m->pf, view, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
		assert_int_equal(rd(m->pf, view, PCI_CLASS_REVISION, 4), 0x02000001);
		assert_int_equal(rd(m->pf, view, PCI_HEADER_TYPE, 1), 0);
		assert_int_equal(rd(m->pf, view, PCI_INTERRUPT_PIN, 1), 0);
		assert_int_equal(rd(m->pf, view, PCI_SUBSYSTEM_ID, 2), 0x1100);
	}
	wr(m->pf, BUS, PCI_VENDOR_ID, 4, 0);
	assert_int_equal(rd(m->pf, BUS, PCI_VENDOR_ID, 2), MODEL_VENDOR);
	wr(m->pf, BUS, PCI_COMMAND, 2, 0xffff);
	assert_int_equal(rd(m->pf, BUS, PCI_COMMAND, 2), 0x546);
}

/* 7.5.3: capability version 2, type Endpoint, FLR offered, a link with speed and width. */
static void pcie_capability_is_a_version_2_endpoint_with_flr(void **state)
{
	struct model *m = *state;
	unsigned exp = find_cap(m->pf, PCI_CAP_ID_EXP);

	assert_true(exp);
	assert_int_equal(rd(m->pf, BUS, exp + PCI_EXP_FLAGS, 2), 2);
	assert_true(rd(m->pf, BUS, exp + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR);
	assert_true(rd(m->pf, BUS, exp + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_RBER);
	assert_int_equal(rd(m->pf, BUS, exp + PCI_EXP_LNKSTA, 2) & 0x3ff, 0x104);
	assert_int_equal(rd(m->pf, BUS, exp + PCI_EXP_LNKCAP, 4) & 0x3ff, 0x104);
}

/* 6.6.2, 7.5.3.4: FLR is write-only, resets the function at once, spares link properties. */
static void flr_resets_registers_and_reads_zero(void **state)
{
	struct model *m = *state;
	unsigned devctl = find_cap(m->pf, PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL;
	unsigned msix = find_cap(m->pf, PCI_CAP_ID_MSIX);
	uint8_t high = PCI_EXP_DEVCTL_BCR_FLR >> 8;

	wr(m->pf, BUS, PCI_COMMAND, 2, 0x546);
	wr(m->pf, BUS, PCI_BASE_ADDRESS_4, 4, 0xa0000000);
	wr(m->pf, BUS, msix + 2, 2, PCI_MSIX_FLAGS_ENABLE);
	wr(m->pf, BUS, devctl, 2, PCI_EXP_DEVCTL_PAYLOAD_256B | PCI_EXP_DEVCTL_CERE);
	pci_config_write(m->pf, BUS, devctl + 1, &high, 1); /* a byte write will do */
	assert_int_equal(m->resets, 1);
	assert_int_equal(m->last_reset, PCI_RESET_FLR);
	assert_int_equal(rd(m->pf, BUS, PCI_COMMAND, 2), 0);
	assert_int_equal(rd(m->pf, BUS, PCI_BASE_ADDRESS_4, 4), 0);
	assert_int_equal(rd(m->pf, BUS, msix + 2, 2), MODEL_VECS - 1);
	assert_int_equal(rd(m->pf, BUS, devctl, 2), 0x2810 | PCI_EXP_DEVCTL_PAYLOAD_256B);
	wr(m->pf, BUS, devctl, 1, 0xff); /* the other byte does nothing of the kind */
	assert_int_equal(m->resets, 1);
}

/* 7.8.8: ARI in every function; Next Function Number ends the list of PFs. */
static void ari_capability_ends_the_chain_of_pfs(void **state)
{
	struct model *m = *state;
	unsigned ari = find_ext(m->pf, PCI_EXT_CAP_ID_ARI);

	assert_true(ari);
	assert_int_equal(rd(m->pf, BUS, ari + PCI_ARI_CAP, 2) >> 8, 0);
}

/* 7.7.2: N - 1 encoded, table and PBA 8-byte aligned, disjoint, inside their BAR. */
static void msix_structures_lie_apart_inside_their_bar(void **state)
{
	struct model *m = *state, other = {0};
	unsigned msix = find_cap(m->pf, PCI_CAP_ID_MSIX);
	struct pci_function_desc d = model_desc(&other);
	struct pci_function *fn;

	assert_int_equal(rd(m->pf, BUS, msix + PCI_MSIX_FLAGS, 2), MODEL_VECS - 1);
	assert_int_equal(rd(m->pf, BUS, msix + PCI_MSIX_TABLE, 4), 0x0000 | 4);
	assert_int_equal(rd(m->pf, BUS, msix + PCI_MSIX_PBA, 4), 0x1000 | 4);
	wr(m->pf, BUS, msix, 4, ~0u);
	assert_int_equal(rd(m->pf, BUS, msix + PCI_MSIX_FLAGS, 2), 0xc000 | (MODEL_VECS - 1));

	d.msix.pba_off = 0x400; /* inside the table */
	assert_int_equal(pci_function_create(&d, &fn), -EINVAL);
	d.msix.pba_off = 0x3ff8; /* 16 bytes, 8 of them beyond the BAR */
	assert_int_equal(pci_function_create(&d, &fn), -EINVAL);
	d.msix.pba_off = 0x1004;
	assert_int_equal(pci_function_create(&d, &fn), -EINVAL);
	d.msix.pba_off = 0x1000;
	d.msix.bar = 1;
	assert_int_equal(pci_function_create(&d, &fn), -EINVAL);
}

/* 7.5.2: D0 and D3hot only, state kept on the way back. */
static void pm_keeps_state_over_d3hot(void **state)
{
	struct model *m = *state;
	unsigned pm = find_cap(m->pf, PCI_CAP_ID_PM);

	assert_true(rd(m->pf, BUS, pm + PCI_PM_CTRL, 2) & PCI_PM_CTRL_NO_SOFT_RESET);
	wr(m->pf, BUS, PCI_BASE_ADDRESS_4, 4, 0xa0000000);
	wr(m->pf, BUS, pm + PCI_PM_CTRL, 2, 1); /* D1 is not supported: dropped */
	assert_int_equal(rd(m->pf, BUS, pm + PCI_PM_CTRL, 2), PCI_PM_CTRL_NO_SOFT_RESET);
	wr(m->pf, BUS, pm + PCI_PM_CTRL, 2, 3);
	wr(m->pf, BUS, pm + PCI_PM_CTRL, 2, 2);
	assert_int_equal(rd(m->pf, BUS, pm + PCI_PM_CTRL, 2), PCI_PM_CTRL_NO_SOFT_RESET | 3);
	wr(m->pf, BUS, pm + PCI_PM_CTRL, 2, 0);
	assert_int_equal(rd(m->pf, BUS, PCI_BASE_ADDRESS_4, 4), 0xa0000000);
	assert_int_equal(m->resets, 0);
}

/* 5.10.2: a PF in D3hot takes its VFs' DMA and memory; each comes back as it was. */
static void pf_in_d3hot_makes_its_vfs_unusable(void **state)
{
	struct model *m = *state;
	unsigned pm = find_cap(m->pf, PCI_CAP_ID_PM), bar;
	struct pci_function *vf;
	uint64_t off;

	m->attach_vfs = true;
	enable_vfs(m, 2);
	vf = pci_pf_vf(m->pf, 0);
	wr(m->pf, BUS, iov(m, PCI_SRIOV_BAR + 16), 4, 0x90000000);
	wr(vf, BUS, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_non_null(pci_function_dma(vf));
	wr(m->pf, BUS, pm + PCI_PM_CTRL, 2, 3);
	assert_null(pci_function_dma(vf));
	assert_int_equal(m->dma_off, 1);
	assert_false(pci_bar_decode(vf, 0x90000000, 4, &bar, &off));
	wr(m->pf, BUS, pm + PCI_PM_CTRL, 2, 0);
	assert_non_null(pci_function_dma(vf));
	assert_null(pci_function_dma(pci_pf_vf(m->pf, 1))); /* its own BME is clear */
	assert_true(pci_bar_decode(vf, 0x90000000, 4, &bar, &off));
}

/* 7.7.11: ACS, so that PFs of one slot can be told apart. */
static void acs_is_offered_and_controllable(void **state)
{
	struct model *m = *state;
	unsigned acs = find_ext(m->pf, PCI_EXT_CAP_ID_ACS);
	uint16_t cap = PCI_ACS_RR | PCI_ACS_CR | PCI_ACS_DT;

	assert_true(acs);
	assert_int_equal(rd(m->pf, BUS, acs + PCI_ACS_CAP, 2), cap);
	wr(m->pf, BUS, acs + PCI_ACS_CTRL, 2, 0xffff);
	assert_int_equal(rd(m->pf, BUS, acs + PCI_ACS_CTRL, 2), cap);
}

/* 7.8.4, 6.2.9: the PF carries AER with mask and severity; VFs do not have a copy. */
static void aer_belongs_to_the_pf(void **state)
{
	struct model *m = *state;
	unsigned aer = find_ext(m->pf, PCI_EXT_CAP_ID_ERR);

	assert_int_equal(aer, 0x100);
	wr(m->pf, BUS, aer + PCI_ERR_UNCOR_MASK, 4, PCI_ERR_UNC_UNSUP);
	assert_int_equal(rd(m->pf, BUS, aer + PCI_ERR_UNCOR_MASK, 4), PCI_ERR_UNC_UNSUP);
	/* sticky bits: a power cycle resets them, or another owner */
	pci_function_reset(m->pf, PCI_RESET_FLR);
	pci_function_reset(m->pf, PCI_RESET_BUS);
	assert_int_equal(rd(m->pf, BUS, aer + PCI_ERR_UNCOR_MASK, 4), PCI_ERR_UNC_UNSUP);
	pci_function_reset(m->pf, PCI_RESET_DETACH);
	assert_int_equal(rd(m->pf, BUS, aer + PCI_ERR_UNCOR_MASK, 4), 0);
	wr(m->pf, BUS, aer + PCI_ERR_UNCOR_STATUS, 4, ~0u);
	assert_int_equal(rd(m->pf, BUS, aer + PCI_ERR_UNCOR_STATUS, 4), 0);
	enable_vfs(m, 1);
	assert_int_equal(find_ext(pci_pf_vf(m->pf, 0), PCI_EXT_CAP_ID_ERR), 0);
}

/* VF Resizable BAR (24h) and Multi-Root (11h) are acted upon or unknown: neither may appear. */
static void no_capability_is_offered_by_accident(void **state)
{
	struct model *m = *state;

	assert_int_equal(find_ext(m->pf, 0x24), 0);
	assert_int_equal(find_ext(m->pf, PCI_EXT_CAP_ID_REBAR), 0);
	assert_int_equal(find_ext(m->pf, PCI_EXT_CAP_ID_MRIOV), 0);
	assert_int_equal(find_cap(m->pf, PCI_CAP_ID_MSI), 0);
}

/* 7.5.1.2.1: BAR sizing, type bits, decoding with Memory Space. */
static void bars_size_and_decode(void **state)
{
	struct model *m = *state;
	unsigned bar;
	uint64_t off;

	wr(m->pf, BUS, PCI_BASE_ADDRESS_2, 4, ~0u);
	wr(m->pf, BUS, PCI_BASE_ADDRESS_3, 4, ~0u);
	assert_int_equal(rd(m->pf, BUS, PCI_BASE_ADDRESS_2, 4), 0xffffc00c);
	assert_int_equal(rd(m->pf, BUS, PCI_BASE_ADDRESS_3, 4), 0xffffffff);
	wr(m->pf, BUS, PCI_ROM_ADDRESS, 4, ~0u);
	assert_int_equal(rd(m->pf, BUS, PCI_ROM_ADDRESS, 4), 0);
	/* The last aperture below 2^64. */
	assert_false(pci_bar_decode(m->pf, 0xffffffffffffc000, 4, &bar, &off));
	wr(m->pf, BUS, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(pci_bar_decode(m->pf, 0xffffffffffffc000, 4, &bar, &off));
	assert_true(pci_bar_decode(m->pf, 0xfffffffffffffffc, 4, &bar, &off));
	assert_int_equal(off, 0x3ffc);
	assert_false(pci_bar_decode(m->pf, 0xfffffffffffffffc, 8, &bar, &off));
	assert_false(pci_bar_decode(m->pf, 0xfffffffffffffffc, UINT32_MAX, &bar, &off));
	assert_false(pci_bar_decode(m->pf, 0xffffffffffffc000, 0, &bar, &off));
}

static void bars_that_no_hardware_could_have_are_refused(void **state)
{
	const struct pci_bar_desc bad[] = {
		{.size = 0x3000},
		{.size = 8},
		{.size = 1ull << 32},
		{.size = 1ull << 63, .is_64bit = true},
	};
	struct model other = {0};
	struct pci_function *fn;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct pci_function_desc d = model_desc(&other);

		d.bars[0] = bad[i];
		assert_int_equal(pci_function_create(&d, &fn), -EINVAL);
	}
	for (unsigned i = 0; i < 3; i++) {
		struct pci_function_desc d = model_desc(&other);

		if (i == 0)
			d.bars[5] = (struct pci_bar_desc){.size = 4096, .is_64bit = true};
		if (i == 1)
			d.bars[3] = (struct pci_bar_desc){.size = 4096};
		if (i == 2)
			d.sriov.vf_bars[0].size = 2048; /* less than a page */
		assert_int_equal(pci_function_create(&d, &fn), -EINVAL);
	}
}

static void dma_needs_owner_bus_master_and_d0(void **state)
{
	struct model *m = *state;
	unsigned pm = find_cap(m->pf, PCI_CAP_ID_PM);
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT, .dma = MODEL_DMA};

	wr(m->pf, BUS, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_null(pci_function_dma(m->pf));
	wr(m->pf, BUS, PCI_COMMAND, 2, 0);
	assert_int_equal(pci_function_attach(m->pf, &att), 0);
	assert_int_equal(pci_function_attach(m->pf, &att), -EBUSY);
	assert_null(pci_function_dma(m->pf));
	wr(m->pf, BUS, PCI_COMMAND, 1, PCI_COMMAND_MASTER);
	assert_ptr_equal(pci_function_dma(m->pf), MODEL_DMA);
	assert_int_equal(m->dma_on, 1);
	wr(m->pf, BUS, PCI_COMMAND, 2, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	assert_int_equal(m->dma_on, 1);
	wr(m->pf, BUS, pm + PCI_PM_CTRL, 1, 3);
	assert_null(pci_function_dma(m->pf));
	wr(m->pf, BUS, pm + PCI_PM_CTRL, 1, 0);
	assert_non_null(pci_function_dma(m->pf));
	pci_function_reset(m->pf, PCI_RESET_BUS);
	assert_null(pci_function_dma(m->pf));
	assert_int_equal(m->last_reset, PCI_RESET_BUS);
	wr(m->pf, BUS, PCI_COMMAND, 1, PCI_COMMAND_MASTER);
	pci_function_detach(m->pf);
	assert_null(pci_function_dma(m->pf));
	assert_false(m->dma_seen_in_reset);
	assert_int_equal(m->dma_on, 3);
	assert_int_equal(m->dma_off, 3);
	assert_int_equal(m->resets, 2);
	pci_function_detach(m->pf);
	assert_int_equal(m->resets, 2);
}

static void a_blocked_function_has_no_dma(void **state)
{
	struct model *m = *state;

	model_attach(m->pf, PCI_OWNER_ROOT);
	wr(m->pf, BUS, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	pci_function_set_blocked(m->pf, true);
	assert_null(pci_function_dma(m->pf));
	assert_int_equal(m->dma_off, 1);
	pci_function_set_blocked(m->pf, true);
	assert_int_equal(m->dma_off, 1);
	pci_function_set_blocked(m->pf, false);
	assert_non_null(pci_function_dma(m->pf));
	assert_int_equal(m->dma_on, 2);
}

static void hooked_capabilities_see_their_accesses(void **state)
{
	struct model *m = *state;
	const uint8_t body[18] = {[0] = 20}, mask[18] = {[2] = 0xff, [14] = 0xff, [15] = 0xff};
	int cap = pci_add_capability(m->pf, PCI_CAP_ID_VNDR, body, sizeof(body), mask,
				     PCI_CAP_HOOKED);
	uint8_t all[PCI_CFG_SIZE];

	assert_true(cap > 0);
	assert_int_equal(find_cap(m->pf, PCI_CAP_ID_VNDR), cap);
	wr(m->pf, BUS, (unsigned)cap + 16, 2, 0xabcd);
	assert_int_equal(m->hook_writes, 1);
	assert_int_equal(m->hook_off, 16);
	assert_int_equal(m->hook_len, 2);
	m->hook_reads = 0;
	assert_int_equal(rd(m->pf, BUS, (unsigned)cap + 16, 2), 0xabcd);
	assert_int_equal(m->hook_reads, 1);
	/* The hook runs before the bytes are taken. */
	m->hook_reads = 0;
	pci_config_raw(m->pf)[cap + 4] = 7;
	assert_int_equal(rd(m->pf, BUS, (unsigned)cap + 4, 1), 8);
	assert_int_equal(pci_config_read(m->pf, BUS, 0, all, sizeof(all)), 0);
	assert_int_equal(m->hook_reads, 2);
	assert_int_equal(m->hook_len, 20);
	wr(m->pf, BUS, (unsigned)cap + 20, 4, 0);
	assert_int_equal(m->hook_writes, 1);
}

static void fixed_bytes_are_stepped_around(void **state)
{
	struct model other = {0};
	struct pci_function_desc d = model_desc(&other);
	const uint8_t reg[8] = {1, 2, 3, 4}, lock[4] = {2}, rw[8] = {0xff, 0xff};
	struct pci_function *fn;

	d.no_standard_caps = true;
	d.sriov = (struct pci_sriov_desc){0};
	assert_int_equal(pci_function_create(&d, &fn), 0);
	assert_int_equal(rd(fn, BUS, PCI_CAPABILITY_LIST, 1), 0);
	assert_int_equal(rd(fn, BUS, 0x100, 4), 0);
	pci_set_config_bytes(fn, 0x40, reg, sizeof(reg), rw);
	pci_set_config_bytes(fn, 0x70, lock, sizeof(lock), NULL);
	pci_set_config_bytes(fn, 0xffe, lock, sizeof(lock), NULL); /* dropped */
	assert_int_equal(pci_add_standard_caps(fn), 0);
	assert_true(find_cap(fn, PCI_CAP_ID_MSIX) && find_cap(fn, PCI_CAP_ID_EXP));
	assert_int_equal(rd(fn, BUS, 0x40, 4), 0x04030201);
	assert_int_equal(rd(fn, BUS, 0x70, 4), 2);
	wr(fn, BUS, 0x40, 4, 0x99999999);
	assert_int_equal(rd(fn, BUS, 0x40, 4), 0x04039999);
	pci_function_reset(fn, PCI_RESET_BUS);
	assert_int_equal(rd(fn, BUS, 0x40, 4), 0x04030201);
	pci_function_destroy(fn);
}

static void capabilities_that_do_not_fit_are_refused(void **state)
{
	struct model *m = *state;
	const uint8_t body[PCI_CFG_SIZE] = {0};

	assert_int_equal(pci_add_capability(m->pf, PCI_CAP_ID_VNDR, body, 190, NULL, 0), -ENOSPC);
	assert_int_equal(pci_add_capability(m->pf, PCI_CAP_ID_VNDR, body, ~0u, NULL, 0), -ENOSPC);
	assert_int_equal(pci_add_ext_capability(m->pf, 0xb, 1, body, 4000, NULL), -ENOSPC);
	assert_true(pci_add_ext_capability(m->pf, 0xb, 1, body, 2000, NULL) > 0);
	for (unsigned i = 0; i < 64; i++)
		pci_add_capability(m->pf, PCI_CAP_ID_VNDR, body, 1, NULL, 0);
	assert_int_equal(pci_add_capability(m->pf, PCI_CAP_ID_VNDR, body, 1, NULL, 0), -ENOSPC);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(header_is_type_0_with_a_capability_list),
		T(pcie_capability_is_a_version_2_endpoint_with_flr),
		T(flr_resets_registers_and_reads_zero),
		T(ari_capability_ends_the_chain_of_pfs),
		T(msix_structures_lie_apart_inside_their_bar),
		T(pm_keeps_state_over_d3hot),
		T(pf_in_d3hot_makes_its_vfs_unusable),
		T(acs_is_offered_and_controllable),
		T(aer_belongs_to_the_pf),
		T(no_capability_is_offered_by_accident),
		T(bars_size_and_decode),
		T(bars_that_no_hardware_could_have_are_refused),
		T(dma_needs_owner_bus_master_and_d0),
		T(a_blocked_function_has_no_dma),
		T(hooked_capabilities_see_their_accesses),
		T(fixed_bytes_are_stepped_around),
		T(capabilities_that_do_not_fit_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
