/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VF's configuration space in both views (PCIe Base 9.3.4, 9.3.5).
 */
#include "model.h"

#define BUS PCI_VIEW_BUS
#define VMM PCI_VIEW_VMM

static struct model m;

static int setup(void **state)
{
	memset(&m, 0, sizeof(m));
	m.attach_vfs = true;
	model_create(&m);
	enable_vfs(&m, 4);
	*state = pci_pf_vf(m.pf, 1);
	return 0;
}

static int teardown(void **state)
{
	model_destroy(&m);
	return 0;
}

/* 9.3.4: IDs read FFFFh on the bus. */
static void ids_read_ffff_on_the_bus(void **state)
{
	assert_int_equal(rd(*state, BUS, PCI_VENDOR_ID, 4), 0xffffffff);
	wr(*state, BUS, PCI_VENDOR_ID, 4, 0);
	assert_int_equal(rd(*state, BUS, PCI_VENDOR_ID, 4), 0xffffffff);
}

/* 9.3.4: no BARs, no ROM, no INTx. */
static void bars_rom_and_intx_read_zero_on_the_bus(void **state)
{
	for (unsigned off = PCI_BASE_ADDRESS_0; off <= PCI_BASE_ADDRESS_5; off += 4) {
		wr(*state, BUS, off, 4, ~0u);
		assert_int_equal(rd(*state, BUS, off, 4), 0);
	}
	wr(*state, BUS, PCI_ROM_ADDRESS, 4, ~0u);
	assert_int_equal(rd(*state, BUS, PCI_ROM_ADDRESS, 4), 0);
	wr(*state, BUS, PCI_INTERRUPT_LINE, 2, 0xffff);
	assert_int_equal(rd(*state, BUS, PCI_INTERRUPT_LINE, 2), 0);
	wr(*state, BUS, PCI_CACHE_LINE_SIZE, 2, 0xffff);
	assert_int_equal(rd(*state, BUS, PCI_CACHE_LINE_SIZE, 2), 0);
}

/* 9.3.4: only Bus Master Enable lives. */
static void command_has_bus_master_only(void **state)
{
	wr(*state, BUS, PCI_COMMAND, 2, 0xffff);
	assert_int_equal(rd(*state, BUS, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	assert_int_equal(rd(*state, BUS, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
}

static void all_vfs_are_alike(void **state)
{
	uint8_t a[PCI_CFG_SIZE], b[PCI_CFG_SIZE];

	for (int view = BUS; view <= VMM; view++) {
		pci_config_read(pci_pf_vf(m.pf, 0), view, 0, a, sizeof(a));
		for (unsigned i = 1; i < 4; i++) {
			pci_config_read(pci_pf_vf(m.pf, i), view, 0, b, sizeof(b));
			assert_memory_equal(a, b, sizeof(a));
		}
	}
	assert_int_equal(rd(*state, BUS, PCI_CLASS_REVISION, 4),
			 rd(m.pf, BUS, PCI_CLASS_REVISION, 4));
	assert_int_equal(rd(*state, BUS, PCI_HEADER_TYPE, 1), 0);
}

/* 9.3.5, 9.3.6, 9.3.7: what a VF must have, and must not. */
static void capabilities_are_those_of_a_vf(void **state)
{
	unsigned exp = find_cap(*state, PCI_CAP_ID_EXP);

	assert_true(rd(*state, BUS, exp + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR);
	assert_int_equal(rd(*state, BUS, exp + PCI_EXP_FLAGS, 2), 2);
	assert_true(find_cap(*state, PCI_CAP_ID_MSIX));
	assert_true(find_ext(*state, PCI_EXT_CAP_ID_ARI));
	assert_int_equal(find_ext(*state, PCI_EXT_CAP_ID_SRIOV), 0);
	assert_int_equal(pci_pf_total_vfs(*state), 0);
}

/* 9.3.5.4: of Device Control only Initiate FLR is live. */
static void device_control_has_flr_only(void **state)
{
	unsigned exp = find_cap(*state, PCI_CAP_ID_EXP);

	wr(*state, BUS, exp + PCI_EXP_DEVCTL, 2, 0x7fff);
	assert_int_equal(rd(*state, BUS, exp + PCI_EXP_DEVCTL, 4), 0);
	wr(*state, BUS, exp + PCI_EXP_LNKCTL, 2, 0xffff);
	assert_int_equal(rd(*state, BUS, exp + PCI_EXP_LNKCTL, 2), 0);
	assert_int_equal(m.resets, 0);
}

/* 9.2.2.2: a VF's FLR is its own affair. */
static void flr_touches_this_vf_only(void **state)
{
	struct pci_function *other = pci_pf_vf(m.pf, 2);
	unsigned exp = find_cap(*state, PCI_CAP_ID_EXP), msix = find_cap(*state, PCI_CAP_ID_MSIX);

	wr(m.pf, BUS, iov(&m, PCI_SRIOV_BAR + 16), 4, 0x90000000);
	wr(*state, BUS, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	wr(other, BUS, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	wr(m.pf, BUS, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	wr(*state, VMM, PCI_BASE_ADDRESS_4, 4, 0xc0000000);
	wr(*state, BUS, msix + 2, 2, PCI_MSIX_FLAGS_ENABLE);
	wr(*state, BUS, exp + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR);
	assert_int_equal(m.resets, 1);
	assert_false(m.dma_seen_in_reset);
	assert_null(pci_function_dma(*state));
	assert_int_equal(rd(*state, BUS, PCI_COMMAND, 2), 0);
	assert_int_equal(rd(*state, BUS, msix + 2, 2), MODEL_VECS - 1);
	assert_int_equal(rd(*state, VMM, PCI_BASE_ADDRESS_4, 4), 0xc0000000);
	assert_non_null(pci_function_dma(other));
	assert_int_equal(rd(m.pf, BUS, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
	assert_int_equal(rd(m.pf, BUS, iov(&m, PCI_SRIOV_BAR + 16), 4), 0x90000000);
	assert_int_equal(pci_pf_num_vfs(m.pf), 4);
}

/* What vfio-pci makes of a VF for its VMM: real IDs, BARs with type bits, Memory Space set. */
static void the_vmm_sees_ids_bars_and_memory_space(void **state)
{
	const uint32_t sized[] = {0, 0, 0xffffc00c, 0xffffffff, 0xffffe000, 0};

	assert_int_equal(rd(*state, VMM, PCI_VENDOR_ID, 2), MODEL_VENDOR);
	assert_int_equal(rd(*state, VMM, PCI_DEVICE_ID, 2), MODEL_VF_DID);
	assert_int_equal(rd(*state, VMM, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
	assert_int_equal(rd(*state, VMM, PCI_INTERRUPT_PIN, 1), 0);
	assert_int_equal(rd(*state, VMM, PCI_BASE_ADDRESS_2, 4), 0xc);
	assert_int_equal(rd(*state, VMM, PCI_BASE_ADDRESS_4, 4), 0);
	for (unsigned i = 0; i < PCI_NUM_BARS; i++) {
		wr(*state, VMM, PCI_BASE_ADDRESS_0 + 4 * i, 4, ~0u);
		assert_int_equal(rd(*state, VMM, PCI_BASE_ADDRESS_0 + 4 * i, 4), sized[i]);
		assert_int_equal(rd(*state, BUS, PCI_BASE_ADDRESS_0 + 4 * i, 4), 0);
	}
	wr(*state, VMM, PCI_ROM_ADDRESS, 4, ~0u);
	assert_int_equal(rd(*state, VMM, PCI_ROM_ADDRESS, 4), 0);
	/* Memory Space is virtual, Bus Master is the one bit of both views. */
	wr(*state, VMM, PCI_COMMAND, 2, PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	assert_int_equal(rd(*state, VMM, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	assert_int_equal(rd(*state, BUS, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	assert_non_null(pci_function_dma(*state));
	pci_function_reset(*state, PCI_RESET_FLR);
	assert_int_equal(rd(*state, VMM, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
	assert_int_equal(rd(*state, BUS, PCI_COMMAND, 2), 0);
}

static void identity_comes_from_the_pf(void **state)
{
	struct pci_function *vf = *state;

	assert_true(pci_function_is_vf(vf));
	assert_false(pci_function_is_vf(m.pf));
	assert_ptr_equal(pci_function_pf(vf), m.pf);
	assert_null(pci_function_pf(m.pf));
	assert_int_equal(pci_function_vf_index(vf), 1);
	assert_int_equal(pci_function_bar(vf, 4)->size, 0x2000);
	assert_int_equal(pci_function_bar(m.pf, 4)->size, 0x4000);
	assert_null(pci_function_bar(vf, 6));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ids_read_ffff_on_the_bus),	   T(bars_rom_and_intx_read_zero_on_the_bus),
		T(command_has_bus_master_only),	   T(all_vfs_are_alike),
		T(capabilities_are_those_of_a_vf), T(device_control_has_flr_only),
		T(flr_touches_this_vf_only),	   T(the_vmm_sees_ids_bars_and_memory_space),
		T(identity_comes_from_the_pf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
