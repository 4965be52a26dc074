/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vendor capabilities that tell a driver where the structures lie (virtio 1.3, 4.1.4), and
 * the PCI_CFG one, a window through which the BAR can be reached by configuration accesses alone
 * (4.1.4.9).
 */
#include <errno.h>
#include <linux/pci_regs.h>

#include "util/bytes.h"
#include "virtio/dev_private.h"

#define CAP_LEN	     16
#define CAP_DATA     16 /* PCI_CFG: pci_cfg_data */
#define CAP_PCI_LEN  20
#define CAP_BODY_OFF 2 /* a body begins after ID and next pointer */

static void put_cap(uint8_t *cap, uint8_t len, uint8_t type, uint32_t off, uint32_t length)
{
	memset(cap, 0, len);
	cap[VIRTIO_PCI_CAP_LEN] = len;
	cap[VIRTIO_PCI_CAP_CFG_TYPE] = type;
	cap[VIRTIO_PCI_CAP_BAR] = VIRTIO_BAR_CONFIG;
	put_le32(cap + VIRTIO_PCI_CAP_OFFSET, off);
	put_le32(cap + VIRTIO_PCI_CAP_LENGTH, length);
}

static int add(struct virtio_device *vd, uint8_t type, uint32_t off, uint32_t length)
{
	uint8_t cap[CAP_LEN];

	put_cap(cap, sizeof(cap), type, off, length);
	return pci_add_capability(vd->fn, PCI_CAP_ID_VNDR, cap + CAP_BODY_OFF,
				  sizeof(cap) - CAP_BODY_OFF, NULL, 0);
}

static int add_notify(struct virtio_device *vd)
{
	uint8_t cap[CAP_LEN + 4];

	put_cap(cap, sizeof(cap), VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_OFF,
		vd->num_queues * NOTIFY_MULT);
	put_le32(cap + VIRTIO_PCI_NOTIFY_CAP_MULT, NOTIFY_MULT);
	return pci_add_capability(vd->fn, PCI_CAP_ID_VNDR, cap + CAP_BODY_OFF,
				  sizeof(cap) - CAP_BODY_OFF, NULL, 0);
}

static int add_pci_cfg(struct virtio_device *vd)
{
	uint8_t cap[CAP_PCI_LEN], writable[CAP_PCI_LEN] = {0};
	int off;

	put_cap(cap, sizeof(cap), VIRTIO_PCI_CAP_PCI_CFG, 0, 0);
	cap[VIRTIO_PCI_CAP_BAR] = 0;
	writable[VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(writable + VIRTIO_PCI_CAP_OFFSET, 0xff, CAP_PCI_LEN - VIRTIO_PCI_CAP_OFFSET);
	off = pci_add_capability(vd->fn, PCI_CAP_ID_VNDR, cap + CAP_BODY_OFF,
				 sizeof(cap) - CAP_BODY_OFF, writable + CAP_BODY_OFF,
				 PCI_CAP_HOOKED);
	if (off >= 0)
		vd->cap_pci_cfg = (uint8_t)off;
	return off;
}

int capabilities_add(struct virtio_device *vd)
{
	if (add(vd, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_OFF, COMMON_LEN) < 0 || add_notify(vd) < 0 ||
	    add(vd, VIRTIO_PCI_CAP_ISR_CFG, ISR_OFF, 4) < 0 ||
	    add(vd, VIRTIO_PCI_CAP_DEVICE_CFG, CONFIG_OFF,
		(uint32_t)align_up(MAX(vd->desc.config_len, 4u), 4)) < 0 ||
	    add_pci_cfg(vd) < 0)
		return -ENOSPC;
	return 0;
}

/* Where the window points now; false where it must not: anything but an aligned 1, 2 or 4 bytes of
 * the BAR that the capabilities name. */
static bool window(const uint8_t *cap, uint32_t *off, uint32_t *len)
{
	*off = get_le32(cap + VIRTIO_PCI_CAP_OFFSET);
	*len = get_le32(cap + VIRTIO_PCI_CAP_LENGTH);
	return cap[VIRTIO_PCI_CAP_BAR] == VIRTIO_BAR_CONFIG &&
	       (*len == 1 || *len == 2 || *len == 4) && *off % *len == 0 &&
	       range_ok(*off, *len, VIRTIO_BAR2_SIZE);
}

static bool touches_data(unsigned off, unsigned len)
{
	return off < CAP_PCI_LEN && off + len > CAP_DATA;
}

void pci_cfg_cap_read(struct pci_function *fn, uint8_t cap, unsigned off, unsigned len)
{
	uint8_t *raw = pci_config_raw(fn) + cap, data[4] = {0};
	uint32_t at, n;

	if (!touches_data(off, len) || !window(raw, &at, &n))
		return;
	device_bar_read(fn, VIRTIO_BAR_CONFIG, at, data, n);
	memcpy(raw + CAP_DATA, data, sizeof(data));
}

void pci_cfg_cap_written(struct pci_function *fn, uint8_t cap, unsigned off, unsigned len)
{
	uint8_t *raw = pci_config_raw(fn) + cap, data[4];
	uint32_t at, n;

	if (!touches_data(off, len) || !window(raw, &at, &n))
		return;
	memcpy(data, raw + CAP_DATA, sizeof(data));
	device_bar_write(fn, VIRTIO_BAR_CONFIG, at, data, n);
}
