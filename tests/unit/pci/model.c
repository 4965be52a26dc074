/* SPDX-License-Identifier: BSD-3-Clause */
#include "model.h"

char model_dma;

static void bar_read(struct pci_function *fn, unsigned bar, uint64_t off, void *buf, uint32_t len)
{
	struct model *m = pci_function_opaque(fn);

	m->bar_reads++;
	m->last_off = off;
	m->last_len = len;
	memset(buf, 0x5a, len);
}

static void bar_write(struct pci_function *fn, unsigned bar, uint64_t off, const void *buf,
		      uint32_t len)
{
	struct model *m = pci_function_opaque(fn);

	m->bar_writes++;
	m->last_off = off;
	m->last_len = len;
}

static void reset(struct pci_function *fn, enum pci_reset kind)
{
	struct model *m = pci_function_opaque(fn);

	m->resets++;
	m->last_reset = kind;
	m->dma_seen_in_reset |= pci_function_dma(fn) != NULL;
}

static void dma_changed(struct pci_function *fn, bool on)
{
	struct model *m = pci_function_opaque(fn);

	assert_int_equal(pci_function_dma(fn) != NULL, on);
	if (on)
		m->dma_on++;
	else
		m->dma_off++;
}

static void cap_read(struct pci_function *fn, uint8_t cap, unsigned off, unsigned len)
{
	struct model *m = pci_function_opaque(fn);

	m->hook_reads++;
	m->hook_off = off;
	m->hook_len = len;
	pci_config_raw(fn)[cap + 4]++;
}

static void cap_written(struct pci_function *fn, uint8_t cap, unsigned off, unsigned len)
{
	struct model *m = pci_function_opaque(fn);

	m->hook_writes++;
	m->hook_off = off;
	m->hook_len = len;
}

static int sriov_enable(struct pci_function *pf, uint16_t num)
{
	struct model *m = pci_function_opaque(pf);

	m->enables++;
	assert_true(num > 0 && num <= pci_pf_total_vfs(pf));
	for (unsigned i = 0; i < MODEL_VFS; i++) {
		struct pci_function *vf = pci_pf_vf(pf, i);
		struct pci_function_desc d = model_desc(m);

		if (i >= num && vf) {
			pci_pf_remove_vf(pf, vf);
			pci_function_destroy(vf);
		}
		if (i >= num || vf)
			continue;
		if (m->enable_error && i == num / 2u)
			return m->enable_error;
		d.name = "nic0/vf";
		d.pf = pf;
		d.vf_index = (uint16_t)i;
		d.sriov = (struct pci_sriov_desc){0};
		assert_int_equal(pci_function_create(&d, &vf), 0);
		pci_pf_add_vf(pf, vf);
		if (m->attach_vfs)
			model_attach(vf, PCI_OWNER_ENDPOINT);
	}
	return 0;
}

static void sriov_disable(struct pci_function *pf)
{
	struct model *m = pci_function_opaque(pf);

	m->disables++;
	for (unsigned i = 0; i < MODEL_VFS; i++) {
		struct pci_function *vf = pci_pf_vf(pf, i);

		if (!vf)
			continue;
		pci_function_detach(vf);
		pci_pf_remove_vf(pf, vf);
		pci_function_destroy(vf);
	}
}

static const struct pci_function_ops ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.reset = reset,
	.dma_changed = dma_changed,
	.cap_read = cap_read,
	.cap_written = cap_written,
	.sriov_enable = sriov_enable,
	.sriov_disable = sriov_disable,
};

struct pci_function_desc model_desc(struct model *m)
{
	return (struct pci_function_desc){
		.name = "nic0/pf",
		.vendor_id = MODEL_VENDOR,
		.device_id = MODEL_DEVICE,
		.subsystem_vendor_id = MODEL_VENDOR,
		.subsystem_id = 0x1100,
		.revision = 1,
		.class_code = 0x020000,
		.bars = {[2] = {.size = 0x4000, .is_64bit = true, .prefetchable = true},
			 [4] = {.size = 0x4000}},
		.msix = {.vectors = MODEL_VECS, .bar = 4, .table_off = 0, .pba_off = 0x1000},
		.sriov =
			{.total_vfs = MODEL_VFS,
			 .initial_vfs = MODEL_VFS,
			 .vf_device_id = MODEL_VF_DID,
			 .vf_bars = {[2] = {.size = 0x4000, .is_64bit = true, .prefetchable = true},
				     [4] = {.size = 0x2000}}},
		.ops = &ops,
		.opaque = m,
	};
}

void model_create(struct model *m)
{
	struct pci_function_desc d = model_desc(m);

	assert_int_equal(pci_function_create(&d, &m->pf), 0);
}

void model_destroy(struct model *m)
{
	if (pci_function_owner(m->pf) != PCI_OWNER_NONE)
		pci_function_detach(m->pf);
	assert_int_equal(pci_pf_set_num_vfs(m->pf, 0), 0);
	pci_function_destroy(m->pf);
}

void model_attach(struct pci_function *fn, enum pci_owner_kind kind)
{
	struct pci_attachment att = {.kind = kind, .dma = MODEL_DMA};

	assert_int_equal(pci_function_attach(fn, &att), 0);
}

uint32_t rd(struct pci_function *fn, enum pci_view view, unsigned off, unsigned len)
{
	uint8_t b[4] = {0};

	assert_int_equal(pci_config_read(fn, view, off, b, len), 0);
	return get_le32(b);
}

void wr(struct pci_function *fn, enum pci_view view, unsigned off, unsigned len, uint32_t v)
{
	uint8_t b[4];

	put_le32(b, v);
	assert_int_equal(pci_config_write(fn, view, off, b, len), 0);
}

unsigned find_cap(struct pci_function *fn, uint8_t id)
{
	unsigned off = rd(fn, PCI_VIEW_BUS, PCI_CAPABILITY_LIST, 1);

	for (unsigned n = 0; off && n < 48; n++) {
		assert_int_equal(off % 4, 0);
		if (rd(fn, PCI_VIEW_BUS, off, 1) == id)
			return off;
		off = rd(fn, PCI_VIEW_BUS, off + 1, 1);
	}
	return 0;
}

unsigned find_ext(struct pci_function *fn, uint16_t id)
{
	unsigned off = 0x100;

	for (unsigned n = 0; off && n < 100; n++) {
		uint32_t head = rd(fn, PCI_VIEW_BUS, off, 4);

		assert_int_equal(off % 4, 0);
		if ((head & 0xffff) == id)
			return off;
		off = head >> 20;
	}
	return 0;
}

unsigned iov(struct model *m, unsigned reg)
{
	return find_ext(m->pf, PCI_EXT_CAP_ID_SRIOV) + reg;
}

/* As Linux does: NumVFs, then VF Enable and MSE in one 16-bit write. */
void enable_vfs(struct model *m, uint16_t num)
{
	unsigned ctrl = iov(m, PCI_SRIOV_CTRL);

	wr(m->pf, PCI_VIEW_BUS, iov(m, PCI_SRIOV_NUM_VF), 2, num);
	wr(m->pf, PCI_VIEW_BUS, ctrl, 2,
	   rd(m->pf, PCI_VIEW_BUS, ctrl, 2) | PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE);
}

void disable_vfs(struct model *m)
{
	unsigned ctrl = iov(m, PCI_SRIOV_CTRL);

	wr(m->pf, PCI_VIEW_BUS, ctrl, 2,
	   rd(m->pf, PCI_VIEW_BUS, ctrl, 2) & ~(PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE));
}
