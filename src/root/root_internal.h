/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to src/root. */
#ifndef SOFTIOV_ROOT_ROOT_INTERNAL_H
#define SOFTIOV_ROOT_ROOT_INTERNAL_H

#include "root/port.h"
#include "root/root.h"
#include "util/log.h"

#define ROOT_NAME_MAX 64

#define BAR_CFG	 0 /* ECAM, 1 MiB a bus */
#define BAR_MEM1 2 /* 32-bit window */
#define BAR_MEM2 4 /* 64-bit prefetchable window, after MSI-X table, PBA and shadow registers */

struct root_slot {
	struct root *root;
	struct root_port port;
	struct pci_function *pf; /* NULL: empty */
	uint64_t asked_ns;	 /* when the guest was last asked to let go of it; 0: not */
	uint64_t plugged_ns;	 /* when it came, until the guest is seen to have noticed; or 0 */
	sd_event_source *timer;	 /* looks whether it has */
	/* Bit per VF of the PF: lent, and so absent here. */
	uint8_t lent[PCI_TOTAL_VFS_MAX / 8];
};

struct root {
	char name[ROOT_NAME_MAX];
	sd_event *event;
	struct pci_function *endpoint;
	struct vfu_server *server;
	struct dma_space *dma; /* the client's; NULL while the endpoint may not do DMA */
	unsigned n_slots;
	struct root_slot *slots;
	struct pci_function *last_hit; /* of memory accesses */
	struct log_limit strange;
};

/* endpoint.c: the VMD function and its BARs. */
int root_endpoint_create(struct root *r, unsigned vectors, unsigned slots);

/* route.c: what lies behind the windows. Reads of nothing leave buf as it is, which the caller has
 * filled with ones (but see nobody_home()); writes are dropped. */
void root_config_access(struct root *r, uint64_t off, void *buf, uint32_t len, bool write);
void root_memory_access(struct root *r, uint64_t addr, void *buf, uint32_t len, bool write);
bool root_function_rid(const struct root_slot *slot, const struct pci_function *fn, uint16_t *rid);

/* hotplug.c: what comes, goes, is asked to go; quiet while there is no guest to be told. */
void root_slot_ask(struct root_slot *slot);
void root_slot_plugged(struct root_slot *slot, bool quiet);
void root_slot_unplugged(struct root_slot *slot, bool quiet);
void root_slot_reset(struct root_slot *slot);
void root_slot_fini(struct root_slot *slot);

/* root.c */
bool root_vf_lent(const struct root_slot *slot, const struct pci_function *vf);
void root_attach_children(struct root *r);
void root_block_children(struct root *r, bool blocked);
void root_detach_children(struct root *r);
void root_reset_children(struct root *r, enum pci_reset kind);

#endif
