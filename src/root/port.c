/* SPDX-License-Identifier: BSD-3-Clause */
#include "root/port.h"

#include <linux/pci_regs.h>
#include <string.h>

#include "util/bytes.h"
#include "util/clock.h"
#include "util/util.h"

#define PORT_VENDOR 0x1b36
#define PORT_DEVICE 0x000c

#define CAP_EXP 0x40
#define CAP_MSI 0x90

#define MSI_ADDR (CAP_MSI + PCI_MSI_ADDRESS_LO)
#define MSI_DATA (CAP_MSI + PCI_MSI_DATA_64)

#define LINK_SPEED_WIDTH (PCI_EXP_LNKSTA_CLS_8_0GB | PCI_EXP_LNKSTA_NLW_X8)

static void set16(struct root_port *port, unsigned off, uint16_t v, uint16_t writable)
{
	put_le16(port->cfg + off, v);
	put_le16(port->writable + off, writable);
}

static void set32(struct root_port *port, unsigned off, uint32_t v, uint32_t writable)
{
	put_le32(port->cfg + off, v);
	put_le32(port->writable + off, writable);
}

static uint16_t slot_control(const struct root_port *port)
{
	return get_le16(port->cfg + CAP_EXP + PCI_EXP_SLTCTL);
}

static uint16_t slot_status(const struct root_port *port)
{
	return get_le16(port->cfg + CAP_EXP + PCI_EXP_SLTSTA);
}

static void init_header(struct root_port *port)
{
	set16(port, PCI_VENDOR_ID, PORT_VENDOR, 0);
	set16(port, PCI_DEVICE_ID, PORT_DEVICE, 0);
	set16(port, PCI_COMMAND, 0,
	      PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
		      PCI_COMMAND_INTX_DISABLE);
	set16(port, PCI_STATUS, PCI_STATUS_CAP_LIST, 0);
	set16(port, PCI_CLASS_DEVICE, 0x0604, 0);
	port->cfg[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_BRIDGE;
	port->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	memset(port->writable + PCI_PRIMARY_BUS, 0xff, 3);
	/* No I/O window. Memory: 32 bits; prefetchable: 64 bits. Bases above limits: closed. */
	set16(port, PCI_MEMORY_BASE, 0xfff0, 0xfff0);
	set16(port, PCI_MEMORY_LIMIT, 0, 0xfff0);
	set16(port, PCI_PREF_MEMORY_BASE, 0xfff0 | PCI_PREF_RANGE_TYPE_64, 0xfff0);
	set16(port, PCI_PREF_MEMORY_LIMIT, PCI_PREF_RANGE_TYPE_64, 0xfff0);
	set32(port, PCI_PREF_BASE_UPPER32, 0, 0xffffffff);
	set32(port, PCI_PREF_LIMIT_UPPER32, 0, 0xffffffff);
	port->cfg[PCI_CAPABILITY_LIST] = CAP_EXP;
	port->writable[PCI_INTERRUPT_LINE] = 0xff;
	set16(port, PCI_BRIDGE_CONTROL, 0,
	      PCI_BRIDGE_CTL_PARITY | PCI_BRIDGE_CTL_SERR | PCI_BRIDGE_CTL_BUS_RESET);
}

static void init_express(struct root_port *port)
{
	set16(port, CAP_EXP, PCI_CAP_ID_EXP | CAP_MSI << 8, 0);
	set16(port, CAP_EXP + PCI_EXP_FLAGS, 2 | PCI_EXP_TYPE_ROOT_PORT << 4 | PCI_EXP_FLAGS_SLOT,
	      0);
	set32(port, CAP_EXP + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_RBER, 0);
	set16(port, CAP_EXP + PCI_EXP_DEVCTL, 0, 0x7fff);
	set32(port, CAP_EXP + PCI_EXP_LNKCAP,
	      PCI_EXP_LNKCAP_SLS_8_0GB | 8 << 4 | PCI_EXP_LNKCAP_DLLLARC | (port->slot + 1) << 24,
	      0);
	set16(port, CAP_EXP + PCI_EXP_LNKCTL, 0, PCI_EXP_LNKCTL_LD | PCI_EXP_LNKCTL_CCC | 0x80);
	/* Commands complete at once (No Command Completed Support): nothing to wait for. */
	set32(port, CAP_EXP + PCI_EXP_SLTCAP,
	      PCI_EXP_SLTCAP_ABP | PCI_EXP_SLTCAP_PCP | PCI_EXP_SLTCAP_AIP | PCI_EXP_SLTCAP_PIP |
		      PCI_EXP_SLTCAP_HPS | PCI_EXP_SLTCAP_HPC | PCI_EXP_SLTCAP_NCCS |
		      (port->slot + 1) << 19,
	      0);
	/* Powered even when empty: a guest without a hot-plug driver finds by a rescan what came.
	 */
	set16(port, CAP_EXP + PCI_EXP_SLTCTL,
	      PCI_EXP_SLTCTL_ATTN_IND_OFF |
		      (port->present ? PCI_EXP_SLTCTL_PWR_IND_ON : PCI_EXP_SLTCTL_PWR_IND_OFF),
	      0x17ff);
	put_le16(port->w1c + CAP_EXP + PCI_EXP_SLTSTA,
		 PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PFD | PCI_EXP_SLTSTA_MRLSC |
			 PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_CC | PCI_EXP_SLTSTA_DLLSC);
	set16(port, CAP_EXP + PCI_EXP_RTCTL, 0, 0x1f);
	set32(port, CAP_EXP + PCI_EXP_DEVCAP2, PCI_EXP_DEVCAP2_ARI, 0);
	set16(port, CAP_EXP + PCI_EXP_DEVCTL2, 0, PCI_EXP_DEVCTL2_ARI);
	set32(port, CAP_EXP + PCI_EXP_LNKCAP2,
	      PCI_EXP_LNKCAP2_SLS_2_5GB | PCI_EXP_LNKCAP2_SLS_5_0GB | PCI_EXP_LNKCAP2_SLS_8_0GB, 0);
	set16(port, CAP_EXP + PCI_EXP_LNKCTL2, PCI_EXP_LNKCTL2_TLS_8_0GT, PCI_EXP_LNKCTL2_TLS);
}

static void init_msi(struct root_port *port)
{
	set16(port, CAP_MSI, PCI_CAP_ID_MSI, 0);
	set16(port, CAP_MSI + PCI_MSI_FLAGS, PCI_MSI_FLAGS_64BIT, PCI_MSI_FLAGS_ENABLE);
	set32(port, MSI_ADDR, 0, 0xfffffffc);
	set32(port, MSI_ADDR + 4, 0, 0xffffffff);
	set16(port, MSI_DATA, 0, 0xffff);
}

/* Registers that mirror the state of slot and link. */
static void refresh(struct root_port *port)
{
	uint16_t sta = slot_status(port) & ~PCI_EXP_SLTSTA_PDS;
	uint16_t link = LINK_SPEED_WIDTH;

	put_le16(port->cfg + CAP_EXP + PCI_EXP_SLTSTA,
		 sta | (port->present ? PCI_EXP_SLTSTA_PDS : 0));
	if (root_port_link_up(port))
		link |= PCI_EXP_LNKSTA_DLLLA;
	put_le16(port->cfg + CAP_EXP + PCI_EXP_LNKSTA, link);
}

void root_port_reset(struct root_port *port)
{
	memset(port->cfg, 0, sizeof(port->cfg));
	memset(port->writable, 0, sizeof(port->writable));
	memset(port->w1c, 0, sizeof(port->w1c));
	init_header(port);
	init_express(port);
	init_msi(port);
	port->off_ns = 0;
	refresh(port);
}

void root_port_init(struct root_port *port, unsigned slot, const struct root_port_ops *ops,
		    void *opaque)
{
	port->slot = slot;
	port->ops = ops;
	port->opaque = opaque;
	port->present = false;
	root_port_reset(port);
}

void root_port_read(const struct root_port *port, unsigned off, void *buf, unsigned len)
{
	memcpy(buf, port->cfg + off, len);
}

/* An event bit that is enabled and set, with hot-plug interrupts enabled (PCIe Base 6.7.3.4). */
static bool slot_wants_interrupt(const struct root_port *port)
{
	uint16_t ctl = slot_control(port), sta = slot_status(port);
	bool event = (ctl & PCI_EXP_SLTCTL_ABPE && sta & PCI_EXP_SLTSTA_ABP) ||
		     (ctl & PCI_EXP_SLTCTL_PDCE && sta & PCI_EXP_SLTSTA_PDC) ||
		     (ctl & PCI_EXP_SLTCTL_DLLSCE && sta & PCI_EXP_SLTSTA_DLLSC);

	return event && ctl & PCI_EXP_SLTCTL_HPIE;
}

static bool can_signal(const struct root_port *port)
{
	return get_le16(port->cfg + CAP_MSI + PCI_MSI_FLAGS) & PCI_MSI_FLAGS_ENABLE &&
	       get_le16(port->cfg + PCI_COMMAND) & PCI_COMMAND_MASTER;
}

/* The message is sent when the condition becomes true, not while it stays so. */
static void notify_if(struct root_port *port, bool wanted_before)
{
	if (!slot_wants_interrupt(port) || wanted_before || !can_signal(port))
		return;
	port->ops->msi(port, get_le64(port->cfg + MSI_ADDR), get_le16(port->cfg + MSI_DATA));
}

static void raise_events(struct root_port *port, uint16_t events)
{
	uint16_t sta = slot_status(port);

	put_le16(port->cfg + CAP_EXP + PCI_EXP_SLTSTA, sta | events);
	/* A further event while one is pending is told again: the driver clears by bits. */
	notify_if(port, false);
}

static void store(struct root_port *port, unsigned off, const uint8_t *src, unsigned len)
{
	for (unsigned i = 0; i < len; i++) {
		uint8_t *reg = &port->cfg[off + i];
		uint8_t mask = port->writable[off + i];

		*reg = (*reg & ~mask) | (src[i] & mask);
		*reg &= ~(src[i] & port->w1c[off + i]);
	}
}

void root_port_write(struct root_port *port, unsigned off, const void *buf, unsigned len)
{
	bool link = root_port_link_up(port), wanted = slot_wants_interrupt(port);
	bool powered = root_port_powered(port);
	bool in_reset = get_le16(port->cfg + PCI_BRIDGE_CONTROL) & PCI_BRIDGE_CTL_BUS_RESET;

	store(port, off, buf, len);
	refresh(port);
	if (powered && !root_port_powered(port))
		port->off_ns = clock_now_ns();
	if (link && !root_port_link_up(port))
		port->ops->bus_reset(port);
	if (link != root_port_link_up(port))
		raise_events(port, PCI_EXP_SLTSTA_DLLSC);
	else
		notify_if(port, wanted);
	if (!in_reset && get_le16(port->cfg + PCI_BRIDGE_CONTROL) & PCI_BRIDGE_CTL_BUS_RESET)
		port->ops->bus_reset(port);
}

uint8_t root_port_secondary(const struct root_port *port)
{
	return port->cfg[PCI_SECONDARY_BUS];
}

uint8_t root_port_subordinate(const struct root_port *port)
{
	return port->cfg[PCI_SUBORDINATE_BUS];
}

bool root_port_ari(const struct root_port *port)
{
	return get_le16(port->cfg + CAP_EXP + PCI_EXP_DEVCTL2) & PCI_EXP_DEVCTL2_ARI;
}

bool root_port_powered(const struct root_port *port)
{
	return !(slot_control(port) & PCI_EXP_SLTCTL_PCC);
}

bool root_port_link_up(const struct root_port *port)
{
	return port->present && root_port_powered(port) &&
	       !(get_le16(port->cfg + CAP_EXP + PCI_EXP_LNKCTL) & PCI_EXP_LNKCTL_LD);
}

static bool in_window(uint64_t addr, uint32_t len, uint64_t base, uint64_t limit)
{
	return base <= limit && addr >= base && range_ok(addr - base, len, limit - base + 1);
}

bool root_port_forwards(const struct root_port *port, uint64_t addr, uint32_t len)
{
	uint64_t base = (uint64_t)get_le16(port->cfg + PCI_MEMORY_BASE) << 16;
	uint64_t limit = (uint64_t)get_le16(port->cfg + PCI_MEMORY_LIMIT) << 16 | 0xfffff;

	if (!(get_le16(port->cfg + PCI_COMMAND) & PCI_COMMAND_MEMORY))
		return false;
	if (in_window(addr, len, base, limit))
		return true;
	base = (uint64_t)get_le32(port->cfg + PCI_PREF_BASE_UPPER32) << 32 |
	       (get_le16(port->cfg + PCI_PREF_MEMORY_BASE) & 0xfff0u) << 16;
	limit = (uint64_t)get_le32(port->cfg + PCI_PREF_LIMIT_UPPER32) << 32 |
		(get_le16(port->cfg + PCI_PREF_MEMORY_LIMIT) & 0xfff0u) << 16 | 0xfffff;
	/* A limit of all ones would make the size wrap; no window reaches there. */
	return limit != UINT64_MAX && in_window(addr, len, base, limit);
}

void root_port_set_present(struct root_port *port, bool present, bool quiet)
{
	uint16_t events = PCI_EXP_SLTSTA_PDC;
	bool link = root_port_link_up(port);

	if (port->present == present)
		return;
	port->present = present;
	if (quiet) {
		root_port_reset(port);
		return;
	}
	refresh(port);
	if (link != root_port_link_up(port))
		events |= PCI_EXP_SLTSTA_DLLSC;
	raise_events(port, events);
}

bool root_port_listens(const struct root_port *port)
{
	const uint16_t needed = PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_HPIE;

	return (slot_control(port) & needed) == needed && can_signal(port);
}

void root_port_press_button(struct root_port *port, bool arrived)
{
	raise_events(port, PCI_EXP_SLTSTA_ABP | (arrived ? PCI_EXP_SLTSTA_PDC : 0));
}
