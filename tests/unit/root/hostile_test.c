/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest that writes whatever it likes, wherever it likes, while the administrator lends VFs,
 * takes them back, and plugs devices. What must hold at every moment: nothing is reached that is
 * not the root's, a lent VF is left alone, and no function outlives its place. The sanitizers watch
 * the memory.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define STEPS 150000

static unsigned seed;

static unsigned pick(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static void random_bytes(uint8_t *buf, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		buf[i] = pick(4) ? (uint8_t)pick(256) : (uint8_t[]){0, 0xff, 1, 0x80}[pick(4)];
}

/* Where it hurts: bridge and slot registers, the SR-IOV capability, and functions behind. */
static uint64_t interesting_config(struct bench *b)
{
	static const unsigned port_regs[] = {
		PCI_COMMAND,	       PCI_PRIMARY_BUS,	       PCI_SECONDARY_BUS,
		PCI_SUBORDINATE_BUS,   PCI_MEMORY_BASE,	       PCI_PREF_MEMORY_BASE,
		PCI_PREF_BASE_UPPER32, PCI_PREF_LIMIT_UPPER32, PCI_BRIDGE_CONTROL,
		PORT_EXP + 8,	       PORT_EXP + 0x10,	       PORT_EXP + 0x18,
		PORT_EXP + 0x1a,       PORT_EXP + 0x28,	       PORT_MSI + 2,
		PORT_MSI + 4,
	};
	unsigned bus = pick(6), devfn = pick(12);

	switch (pick(4)) {
	case 0:
		return pick(3) << 15 | port_regs[pick(sizeof(port_regs) / sizeof(*port_regs))];
	case 1: /* somewhere in a PF's extended capabilities */
		return bus << 20 | (0x100 + pick(0x100));
	case 2:
		return bus << 20 | devfn << 12 | pick(0x100);
	default:
		return ((uint64_t)pick(1 << 15) << 15 | pick(1 << 15)) %
		       (pci_function_bar(root_endpoint(b->root), 0)->size - 8);
	}
}

static void guest_step(struct bench *b)
{
	struct pci_function *ep = root_endpoint(b->root);
	unsigned bar = (unsigned[]){0, 0, 0, 2, 4}[pick(5)];
	uint32_t len = 1u << pick(4);
	uint8_t buf[8];
	uint64_t off;

	if (bar == 0)
		off = interesting_config(b);
	else if (pick(2))
		off = window(b, pick(2)) - shadow(b, 1) + pick(0x300000);
	else
		off = (uint64_t)pick(1 << 15) << 15 | pick(1 << 15);
	off %= pci_function_bar(ep, bar)->size - 8;
	random_bytes(buf, sizeof(buf));
	if (pick(3))
		pci_bar_write(ep, bar, off, buf, len);
	else
		pci_bar_read(ep, bar, off, buf, len);
}

static void lend_or_take_back(struct bench *b)
{
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT};
	struct pci_function *vf = b->toy[pick(2)].vfs[pick(VFS)];
	char why[128];

	if (!vf)
		return;
	if (pci_function_owner(vf) == PCI_OWNER_ENDPOINT) {
		pci_function_detach(vf);
		root_take_back(b->root, vf);
	} else if (!root_lend_vf(b->root, vf, why, sizeof(why))) {
		assert_int_equal(pci_function_attach(vf, &att), 0);
	}
}

static void plug_or_unplug(struct bench *b)
{
	struct toy *toy = &b->toy[pick(2)];
	struct root_function_info info;
	unsigned slot;

	if (root_function(b->root, toy->pf, &info))
		assert_int_equal(root_add_pf(b->root, toy->pf, &slot), 0);
	else
		root_remove_pf(b->root, toy->pf, true);
}

static void sane_again(struct bench *b)
{
	for (unsigned i = 0; i < 2; i++) {
		cfg_put(b, 0, i << 3, PORT_EXP + PCI_EXP_SLTCTL, 0, 2);
		cfg_put(b, 0, i << 3, PORT_EXP + PCI_EXP_LNKCTL, 0, 2);
		bring_up(b, i);
	}
}

static void check(void *opaque, const struct root_function_info *info)
{
	struct bench *b = opaque;

	if (info->lent) {
		assert_int_equal(pci_function_owner(info->fn), PCI_OWNER_ENDPOINT);
		assert_null(pci_function_dma(info->fn));
	} else if (pci_function_dma(info->fn)) {
		assert_int_equal(pci_function_owner(info->fn), PCI_OWNER_ROOT);
		assert_ptr_equal(pci_function_dma(info->fn), b->dma);
	}
}

static void storm(void **state)
{
	struct bench *b = *state;
	unsigned enabled = 0;

	connect_memory(b);
	for (unsigned i = 0; i < STEPS; i++) {
		if (i % 500 == 0)
			sane_again(b);
		if (i % 500 == 1 && cfg_get(b, 1, 0, 0, 4) == 0x10411af4)
			enable_vfs(b, 0, 1 + pick(VFS));
		enabled += b->toy[0].vfs[0] || b->toy[1].vfs[0];
		switch (pick(200)) {
		case 0:
			plug_or_unplug(b);
			break;
		case 1:
		case 2:
		case 3:
			lend_or_take_back(b);
			break;
		case 4:
			pci_function_reset(root_endpoint(b->root), PCI_RESET_FLR);
			break;
		default:
			guest_step(b);
		}
		if (i % 16 == 0)
			root_for_each(b->root, check, b);
	}
	/* The storm did get somewhere. */
	assert_true(enabled > STEPS / 20);
}

static void with_seed_1(void **state)
{
	seed = 1;
	storm(state);
}

static void with_seed_2(void **state)
{
	seed = 20261122;
	storm(state);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {TEST(with_seed_1), TEST(with_seed_2)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
