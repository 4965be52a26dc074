/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A root with two toy devices behind it, and what a guest's kernel does to it: every access goes
 * through the endpoint's BARs, as the vmd driver's would.
 */
#ifndef SOFTIOV_TEST_ROOT_BENCH_H
#define SOFTIOV_TEST_ROOT_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/pci_regs.h>

#include "dma/dma.h"
#include "root/root.h"
#include "util/bytes.h"

#define SHADOW_OFF 0x2000
#define VFS	   8
#define APERTURE   0x4000ull

#define PORT_EXP 0x40
#define PORT_MSI 0x90

struct toy {
	struct pci_function *pf, *vfs[VFS];
	uint32_t reg; /* BAR2 dword 0 of the PF */
	unsigned resets;
	struct root *root;
};

struct bench {
	char dir[64], path[96];
	sd_event *event;
	struct root *root;
	struct dma_space *dma;
	struct toy toy[2];
};

uint32_t cfg_get(struct bench *b, unsigned bus, unsigned devfn, unsigned reg, unsigned len);
void cfg_put(struct bench *b, unsigned bus, unsigned devfn, unsigned reg, uint32_t v, unsigned len);
uint64_t shadow(struct bench *b, unsigned i);
uint32_t mem_get(struct bench *b, uint64_t bus_addr);
void mem_put(struct bench *b, uint64_t bus_addr, uint32_t v);
uint64_t window(struct bench *b, unsigned slot);
unsigned ext_cap(struct bench *b, unsigned bus, unsigned id);
unsigned bus_of(unsigned slot);
void bring_up(struct bench *b, unsigned slot);
void enable_vfs(struct bench *b, unsigned slot, unsigned n);
void connect_memory(struct bench *b);
int bench_setup(void **state);
int bench_teardown(void **state);
void child_msix(struct bench *b, unsigned bus, unsigned devfn, uint64_t addr, unsigned vector);

#endif
