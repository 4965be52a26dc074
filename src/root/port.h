/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCIe root port with one hot-plug slot: its type 1 configuration space, which bus numbers and
 * addresses it forwards, and the slot's registers (PCIe Base 7.5.1.3, 7.5.3). Private to src/root.
 */
#ifndef SOFTIOV_ROOT_PORT_H
#define SOFTIOV_ROOT_PORT_H

#include <stdbool.h>
#include <stdint.h>

#define PORT_CFG_SIZE 4096

struct root_port;

struct root_port_ops {
	/* Secondary Bus Reset was asserted, or the link went down by the guest's doing (slot power,
	 * Link Disable): reset what is in the slot (PCIe Base 6.6.1). */
	void (*bus_reset)(struct root_port *port);
	/* The port wants its MSI delivered. */
	void (*msi)(struct root_port *port, uint64_t addr, uint32_t data);
};

struct root_port {
	const struct root_port_ops *ops;
	void *opaque;
	unsigned slot;
	bool present;	 /* something is in the slot */
	uint64_t off_ns; /* when the guest switched the slot's power off; 0: never yet */
	uint8_t cfg[PORT_CFG_SIZE];
	uint8_t writable[PORT_CFG_SIZE];
	uint8_t w1c[PORT_CFG_SIZE];
};

void root_port_init(struct root_port *port, unsigned slot, const struct root_port_ops *ops,
		    void *opaque);
/* Registers to their power-on values; the slot's occupancy stays. */
void root_port_reset(struct root_port *port);

/* off + len lies within PORT_CFG_SIZE. */
void root_port_read(const struct root_port *port, unsigned off, void *buf, unsigned len);
void root_port_write(struct root_port *port, unsigned off, const void *buf, unsigned len);

uint8_t root_port_secondary(const struct root_port *port);
uint8_t root_port_subordinate(const struct root_port *port);
bool root_port_powered(const struct root_port *port);
bool root_port_ari(const struct root_port *port); /* ARI Forwarding Enable */
/* Present, powered, link not disabled: configuration requests are forwarded. */
bool root_port_link_up(const struct root_port *port);
/* [addr, addr + len) lies in an enabled memory window. */
bool root_port_forwards(const struct root_port *port, uint64_t addr, uint32_t len);

/* Something was put in or taken out; reports it as hot-plug when quiet is false. */
void root_port_set_present(struct root_port *port, bool present, bool quiet);
/* A press of the attention button would interrupt a driver that has asked for it. */
bool root_port_listens(const struct root_port *port);
/* The attention button was pressed: the guest is to let go, or (arrived) to take what came; then
 * the change of presence is told once more. */
void root_port_press_button(struct root_port *port, bool arrived);

#endif
