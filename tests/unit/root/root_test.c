/* SPDX-License-Identifier: BSD-3-Clause */
/* A root as a guest's kernel drives it. */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

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

static void disabled_link_resets_what_is_behind(void **state)
{
	struct bench *b = *state;

	bring_up(b, 0);
	enable_vfs(b, 0, 2);
	b->toy[0].resets = 0;
	cfg_put(b, 0, 0, PORT_EXP + PCI_EXP_LNKCTL, PCI_EXP_LNKCTL_LD, 2);
	assert_int_equal(b->toy[0].resets, 1);
	assert_int_equal(pci_pf_num_vfs(b->toy[0].pf), 0);
	assert_int_equal(cfg_get(b, 1, 0, 0, 4), 0xffffffff);
	cfg_put(b, 0, 0, PORT_EXP + PCI_EXP_LNKCTL, 0, 2);
	assert_int_equal(b->toy[0].resets, 1);
	assert_int_equal(cfg_get(b, 1, 0, 0, 4), 0x10411af4);
}

static void functions_let_go_when_the_client_vanishes(void **state)
{
	struct bench *b = *state;

	connect_memory(b);
	bring_up(b, 0);
	enable_vfs(b, 0, 3);
	assert_int_equal(pci_function_owner(b->toy[0].vfs[2]), PCI_OWNER_ROOT);
	pci_function_detach(root_endpoint(b->root));
	assert_int_equal(pci_pf_num_vfs(b->toy[0].pf), 0);
	assert_int_equal(pci_function_owner(b->toy[0].pf), PCI_OWNER_NONE);
	assert_null(pci_function_dma(b->toy[0].pf));
	/* The next one starts from the beginning. */
	connect_memory(b);
	assert_int_equal(cfg_get(b, 0, 0, PCI_SECONDARY_BUS, 1), 0);
	bring_up(b, 0);
	assert_ptr_equal(pci_function_dma(b->toy[0].pf), b->dma);
}

static void lent_vf_goes_with_its_pf(void **state)
{
	struct bench *b = *state;
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT};
	struct root_function_info info;
	struct pci_function *vf;
	char why[128];

	connect_memory(b);
	bring_up(b, 0);
	enable_vfs(b, 0, 2);
	vf = b->toy[0].vfs[0];
	assert_int_equal(root_lend_vf(b->root, vf, why, sizeof(why)), 0);
	assert_int_equal(pci_function_attach(vf, &att), 0);
	/* Not the root's to block or to reset while it is away. */
	pci_function_reset(b->toy[1].pf, PCI_RESET_FLR);
	assert_int_equal(pci_function_owner(vf), PCI_OWNER_ENDPOINT);
	enable_vfs(b, 0, 0);
	assert_null(b->toy[0].vfs[0]);
	enable_vfs(b, 0, 1);
	assert_int_equal(root_function(b->root, b->toy[0].vfs[0], &info), 0);
	assert_false(info.lent);
	assert_int_equal(pci_function_owner(b->toy[0].vfs[0]), PCI_OWNER_ROOT);
}

static void vfs_beyond_the_first_bus(void **state)
{
	struct bench *b = *state;
	unsigned cap;

	/* Without ARI VFs begin on the next bus, if the port passes it. */
	bring_up(b, 0);
	cap = ext_cap(b, 1, PCI_EXT_CAP_ID_SRIOV);
	cfg_put(b, 1, 0, cap + PCI_SRIOV_NUM_VF, 2, 2);
	cfg_put(b, 1, 0, cap + PCI_SRIOV_CTRL, PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE, 2);
	assert_int_not_equal(cfg_get(b, 2, 0, PCI_CAPABILITY_LIST, 1), 0xff);
	assert_int_not_equal(cfg_get(b, 2, 1, PCI_CAPABILITY_LIST, 1), 0xff);
	assert_int_equal(cfg_get(b, 2, 2, PCI_CAPABILITY_LIST, 1), 0xff);
	assert_int_equal(cfg_get(b, 1, 1, PCI_CAPABILITY_LIST, 1), 0xff);
	cfg_put(b, 0, 0, PCI_SUBORDINATE_BUS, 1, 1);
	assert_int_equal(cfg_get(b, 2, 0, PCI_CAPABILITY_LIST, 1), 0xff);
}

static void more_than_there_can_be_is_refused(void **state)
{
	struct bench *b = *state;
	struct root_config cfg = {.name = "x",
				  .socket = {.path = b->path, .owner = -1, .group = -1},
				  .vectors = ROOT_VECTORS_MAX + 1};
	struct root *r;

	assert_int_equal(root_create(b->event, &cfg, &r), -EINVAL);
	cfg.vectors = 0;
	cfg.slots = ROOT_SLOTS_MAX + 1;
	assert_int_equal(root_create(b->event, &cfg, &r), -EINVAL);
	/* A path in use. */
	cfg.slots = 1;
	assert_int_equal(root_create(b->event, &cfg, &r), -EADDRINUSE);
	assert_int_equal(root_remove_pf(b->root, root_endpoint(b->root), true), -ENOENT);
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
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, bench_setup, bench_teardown)
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
		TEST(disabled_link_resets_what_is_behind),
		TEST(functions_let_go_when_the_client_vanishes),
		TEST(lent_vf_goes_with_its_pf),
		TEST(vfs_beyond_the_first_bus),
		TEST(more_than_there_can_be_is_refused),
		TEST(dump_shows_the_hierarchy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
