/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses that no sane client makes: any offset, size and value must leave the daemon whole and
 * the invariants of the registers true.
 */
#include <errno.h>

#include "model.h"

#define ROUNDS 60000

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint32_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16);
}

/* What must hold whatever was written. */
static void check_invariants(struct model *m)
{
	uint16_t ctrl = (uint16_t)rd(m->pf, PCI_VIEW_BUS, iov(m, PCI_SRIOV_CTRL), 2);
	uint16_t num = (uint16_t)rd(m->pf, PCI_VIEW_BUS, iov(m, PCI_SRIOV_NUM_VF), 2);
	uint16_t offset = (uint16_t)rd(m->pf, PCI_VIEW_BUS, iov(m, PCI_SRIOV_VF_OFFSET), 2);

	assert_int_equal(rd(m->pf, PCI_VIEW_BUS, PCI_VENDOR_ID, 4),
			 MODEL_DEVICE << 16 | MODEL_VENDOR);
	assert_int_equal(rd(m->pf, PCI_VIEW_BUS, iov(m, PCI_SRIOV_TOTAL_VF), 2), MODEL_VFS);
	assert_int_equal(pci_pf_num_vfs(m->pf), ctrl & PCI_SRIOV_CTRL_VFE ? num : 0);
	assert_int_equal(offset, ctrl & PCI_SRIOV_CTRL_ARI ? 1 : 256);
	for (unsigned i = 0; i < MODEL_VFS; i++) {
		struct pci_function *vf = pci_pf_vf(m->pf, i);

		assert_int_equal(vf != NULL, i < pci_pf_num_vfs(m->pf));
		if (vf)
			assert_int_equal(rd(vf, PCI_VIEW_BUS, 0, 4), 0xffffffff);
	}
	assert_false(m->dma_seen_in_reset);
	assert_true(m->dma_on >= m->dma_off);
}

static void any_configuration_access_is_survived(void **state)
{
	struct model m = {.attach_vfs = true};
	uint8_t buf[64], mirror[64];

	model_create(&m);
	model_attach(m.pf, PCI_OWNER_ROOT);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct pci_function *vf = pci_pf_vf(m.pf, rnd() % MODEL_VFS);
		struct pci_function *fn = vf && rnd() % 2 ? vf : m.pf;
		unsigned off = rnd() % 3 ? rnd() % 0x200 : rnd() % PCI_CFG_SIZE;
		unsigned len = rnd() % 4 ? 1u << rnd() % 3 : 1 + rnd() % sizeof(buf);
		enum pci_view view = fn == vf && rnd() % 2 ? PCI_VIEW_VMM : PCI_VIEW_BUS;
		bool inside = off + len <= PCI_CFG_SIZE;

		for (unsigned k = 0; k < len; k++)
			buf[k] = (uint8_t)(rnd() % 4 ? rnd() : rnd() % 2 ? 0xff : 0);
		if (rnd() % 8)
			buf[len - 1] &= 0x7f; /* mostly no FLR */
		assert_int_equal(pci_config_write(fn, view, off, buf, len), inside ? 0 : -EINVAL);
		memset(mirror, 0xa5, sizeof(mirror));
		fn = pci_pf_vf(m.pf, 0) && rnd() % 2 ? pci_pf_vf(m.pf, 0) : m.pf;
		assert_int_equal(pci_config_read(fn, view, off, mirror, len), inside ? 0 : -EINVAL);
		if (len < sizeof(mirror))
			assert_int_equal(mirror[len], 0xa5);
		if (i % 16 == 0)
			enable_vfs(&m, (uint16_t)(rnd() % (MODEL_VFS + 2)));
		if (i % 4 == 0)
			wr(fn, PCI_VIEW_BUS, PCI_COMMAND, 2, rnd());
		check_invariants(&m);
	}
	assert_true(m.enables > 100);
	assert_true(m.resets > 100);
	assert_true(m.dma_on > 100);
	model_destroy(&m);
}

static void offsets_near_the_end_and_beyond_are_refused(void **state)
{
	const struct {
		unsigned off, len;
	} bad[] = {{4096, 1}, {4095, 2}, {4093, 4}, {~0u, 1}, {~0u - 3, 8}, {0, 4097}, {1, 4096}};
	static uint8_t buf[8192];
	struct model m = {0};

	model_create(&m);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(buf, 0, sizeof(buf));
		assert_int_equal(pci_config_read(m.pf, PCI_VIEW_BUS, bad[i].off, buf, bad[i].len),
				 -EINVAL);
		assert_int_equal(buf[bad[i].len - 1], 0xff);
		assert_int_equal(buf[bad[i].len], 0);
		assert_int_equal(pci_config_write(m.pf, PCI_VIEW_BUS, bad[i].off, buf, bad[i].len),
				 -EINVAL);
	}
	assert_int_equal(pci_config_read(m.pf, PCI_VIEW_BUS, 4096, buf, 0), 0);
	model_destroy(&m);
}

static void any_bar_access_is_survived(void **state)
{
	struct model m = {0};
	static uint8_t buf[0x5000];

	model_create(&m);
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned bar = rnd() % 8;
		uint64_t off = rnd() % 4 ? rnd() % 0x4100 : (uint64_t)rnd() << 32 | rnd();
		uint32_t len = rnd() % 4 ? rnd() % 64 : rnd() % sizeof(buf);
		const bool exists = bar == 2 || bar == 4;
		int want = exists && off <= 0x4000 && len <= 0x4000 - off ? 0 : -EINVAL;

		assert_int_equal(pci_bar_write(m.pf, bar, off, buf, len), want);
		assert_int_equal(pci_bar_read(m.pf, bar, off, buf, len), want);
	}
	model_destroy(&m);
}

static void any_bus_address_is_decoded_inside_the_bar(void **state)
{
	struct model m = {0};

	model_create(&m);
	enable_vfs(&m, MODEL_VFS);
	wr(m.pf, PCI_VIEW_BUS, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct pci_function *fn = rnd() % 2 ? m.pf : pci_pf_vf(m.pf, rnd() % MODEL_VFS);
		unsigned bar = ~0u;
		uint64_t off = 0, addr = (uint64_t)(rnd() % 2 ? ~0u : rnd()) << 32;
		uint32_t len = rnd() % 4 ? 1u << rnd() % 4 : rnd();

		addr |= rnd() % 2 ? 0xffff0000 | (rnd() & 0xffff) : rnd();
		if (i % 8 == 0) {
			wr(m.pf, PCI_VIEW_BUS, iov(&m, PCI_SRIOV_BAR + 8), 4, (uint32_t)addr);
			wr(m.pf, PCI_VIEW_BUS, iov(&m, PCI_SRIOV_BAR + 12), 4, addr >> 32);
			wr(m.pf, PCI_VIEW_BUS, PCI_BASE_ADDRESS_2, 4, (uint32_t)addr);
			wr(m.pf, PCI_VIEW_BUS, PCI_BASE_ADDRESS_3, 4, addr >> 32);
		}
		if (!pci_bar_decode(fn, addr, len, &bar, &off))
			continue;
		assert_true(bar < PCI_NUM_BARS);
		assert_true(range_ok(off, len, pci_function_bar(fn, bar)->size));
	}
	model_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_configuration_access_is_survived),
		cmocka_unit_test(offsets_near_the_end_and_beyond_are_refused),
		cmocka_unit_test(any_bar_access_is_survived),
		cmocka_unit_test(any_bus_address_is_decoded_inside_the_bar),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
