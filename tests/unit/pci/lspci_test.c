/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stock lspci makes of our configuration space. The decoder shares no code with us, so that
 * this checks layout and meaning of every capability.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "model.h"

#define OUT_MAX 65536

static char out[OUT_MAX];

static bool have_lspci(void)
{
	return system("lspci --version >/dev/null 2>&1") == 0;
}

/* Decodes a dump with lspci -F; the text is in out. */
static void decode(struct pci_function *fn, enum pci_view view, uint16_t rid, const char *flags)
{
	char path[] = "/tmp/softiov-lspci-XXXXXX", cmd[128];
	int fd = mkstemp(path);
	FILE *f;
	size_t n;

	assert_true(fd >= 0);
	f = fdopen(fd, "w");
	pci_dump_lspci(fn, view, rid, f);
	assert_int_equal(fclose(f), 0);
	snprintf(cmd, sizeof(cmd), "lspci -F %s -n %s 2>&1", path, flags);
	f = popen(cmd, "r");
	assert_non_null(f);
	n = fread(out, 1, sizeof(out) - 1, f);
	out[n] = 0;
	assert_int_equal(pclose(f), 0);
	unlink(path);
}

static void expect(const char *const *lines, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strstr(out, lines[i]))
			fail_msg("lspci does not say \"%s\":\n%s", lines[i], out);
}

static void pf_decodes_as_an_sriov_endpoint(void **state)
{
	static const char *const lines[] = {
		"01:00.0 0200: 1af4:1041 (rev 01)",
		"Subsystem: 1af4:1100",
		"Control: I/O- Mem+ BusMaster+",
		"Region 2: Memory at 180000000 (64-bit, prefetchable)",
		"Region 4: Memory at a0000000 (32-bit, non-prefetchable)",
		"Power Management version 3",
		"Status: D0 NoSoftRst+",
		"MSI-X: Enable+ Count=70 Masked-",
		"Vector table: BAR=4 offset=00000000",
		"PBA: BAR=4 offset=00001000",
		"Express (v2) Endpoint",
		"FLReset+",
		"LnkSta:\tSpeed 16GT/s",
		"Width x16",
		"Advanced Error Reporting",
		"Alternative Routing-ID Interpretation (ARI)",
		"Next Function: 0",
		"Access Control Services",
		"ACSCap:\tSrcValid- TransBlk- ReqRedir+ CmpltRedir+",
		"Single Root I/O Virtualization (SR-IOV)",
		"IOVCap:\tMigration- 10BitTagReq-",
		"IOVCtl:\tEnable+ Migration- Interrupt- MSE+ ARIHierarchy+",
		"IOVSta:\tMigration-",
		"Initial VFs: 8, Total VFs: 8, Number of VFs: 4, Function Dependency Link: 00",
		"VF offset: 1, stride: 1, Device ID: 1042",
		"Supported Page Size: 00000553, System Page Size: 00000001",
		"Region 2: Memory at 0000000200000000 (64-bit, prefetchable)",
		"Region 4: Memory at 90000000 (32-bit, non-prefetchable)",
		"VF Migration: offset: 00000000, BIR: 0",
	};
	struct model m = {0};

	if (!have_lspci())
		skip();
	model_create(&m);
	wr(m.pf, PCI_VIEW_BUS, PCI_BASE_ADDRESS_2, 4, 0x80000000);
	wr(m.pf, PCI_VIEW_BUS, PCI_BASE_ADDRESS_3, 4, 1);
	wr(m.pf, PCI_VIEW_BUS, PCI_BASE_ADDRESS_4, 4, 0xa0000000);
	wr(m.pf, PCI_VIEW_BUS, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	wr(m.pf, PCI_VIEW_BUS, find_cap(m.pf, PCI_CAP_ID_MSIX) + 2, 2, PCI_MSIX_FLAGS_ENABLE);
	wr(m.pf, PCI_VIEW_BUS, iov(&m, PCI_SRIOV_BAR + 12), 4, 2);
	wr(m.pf, PCI_VIEW_BUS, iov(&m, PCI_SRIOV_BAR + 16), 4, 0x90000000);
	wr(m.pf, PCI_VIEW_BUS, iov(&m, PCI_SRIOV_CTRL), 2, PCI_SRIOV_CTRL_ARI);
	enable_vfs(&m, 4);
	decode(m.pf, PCI_VIEW_BUS, 0x0100, "-vvv");
	expect(lines, ARRAY_SIZE(lines));
	assert_null(strstr(out, "<chain broken>"));
	assert_null(strstr(out, "<unreadable>"));
	decode(m.pf, PCI_VIEW_BUS, 0x0100, "-xxxx");
	assert_non_null(strstr(out, "\nff0: 00 00"));
	model_destroy(&m);
}

static void vf_decodes_in_both_views(void **state)
{
	static const char *const bus[] = {
		"01:00.1 0200: ffff:ffff (rev 01)",
		"Control: I/O- Mem- BusMaster+",
		"MSI-X: Enable- Count=70",
		"FLReset+",
		"Alternative Routing-ID Interpretation (ARI)",
	};
	static const char *const vmm[] = {
		"01:00.1 0200: 1af4:1042 (rev 01)",
		"Control: I/O- Mem+ BusMaster+",
		"Region 2: Memory at fe00000000 (64-bit, prefetchable)",
		"MSI-X: Enable- Count=70",
		"Express (v2) Endpoint",
		"FLReset+",
	};
	struct model m = {0};
	struct pci_function *vf;

	if (!have_lspci())
		skip();
	model_create(&m);
	enable_vfs(&m, 1);
	vf = pci_pf_vf(m.pf, 0);
	wr(vf, PCI_VIEW_VMM, PCI_BASE_ADDRESS_3, 4, 0xfe);
	wr(vf, PCI_VIEW_VMM, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	decode(vf, PCI_VIEW_BUS, 0x0101, "-vvv");
	expect(bus, ARRAY_SIZE(bus));
	assert_null(strstr(out, "Region "));
	assert_null(strstr(out, "SR-IOV"));
	decode(vf, PCI_VIEW_VMM, 0x0101, "-vvv");
	expect(vmm, ARRAY_SIZE(vmm));
	assert_null(strstr(out, "SR-IOV"));
	model_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pf_decodes_as_an_sriov_endpoint),
		cmocka_unit_test(vf_decodes_in_both_views),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
