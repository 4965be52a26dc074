/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A root: a whole PCIe hierarchy behind one vfio-user socket, for a VM that is a host in its own
 * right. The socket serves a Volume Management Device endpoint (8086:28C0) that Linux's own vmd
 * driver binds; its BARs hold an ECAM window (CFGBAR) and two memory windows (MEMBAR1/2), behind
 * which root ports, PFs with their SR-IOV capability, and VFs live in a PCI domain of their own.
 * VMMs filter the configuration space of the endpoint only, so everything behind it arrives whole.
 *
 * Owns: the endpoint function, one root port with a hot-plug slot per device, routing of
 * configuration and memory accesses, turning children's MSI-X messages into the endpoint's
 * vectors, and who in the hierarchy is present. Does not own the PFs and VFs.
 *
 * Threads: control only.
 */
#ifndef SOFTIOV_ROOT_ROOT_H
#define SOFTIOV_ROOT_ROOT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <systemd/sd-event.h>

#include "pci/function.h"
#include "vfio_user/server.h"

#define ROOT_SLOTS_MAX	 16
#define ROOT_VECTORS_MAX 128 /* half of what the destination ID of a remapped message can name */

struct root;

struct root_config {
	const char *name;		 /* "host0" */
	struct vfu_server_config socket; /* its name field is ignored */
	unsigned vectors; /* MSI-X vectors of the endpoint; 0: 64; at most ROOT_VECTORS_MAX */
	unsigned slots;	  /* root ports; 0: 4; at most ROOT_SLOTS_MAX */
};

/* 0 or -errno. The socket listens at once. */
int root_create(sd_event *event, const struct root_config *cfg, struct root **out);
/* Disconnects the client; functions are detached, not destroyed. */
void root_destroy(struct root *r);

/*
 * Puts a PF behind a root port: before the client comes, cold; afterwards as hot-plug (presence
 * detect changed and an interrupt; the guest's pciehp brings it up). VFs that exist already come
 * along. -ENOSPC: no slot; -EBUSY: the PF is owned; -EEXIST: it is in this root.
 */
int root_add_pf(struct root *r, struct pci_function *pf, unsigned *slot);
/*
 * Takes the PF and its VFs out. Presents an attention-button/presence change; when force is false
 * and a driver in the guest still uses any of the functions: -EBUSY after having asked (press of
 * the attention button, once in 20 s), to be called again; -EOPNOTSUPP when no driver of the
 * guest's listens to the slot. With force the functions vanish as in a surprise removal.
 */
int root_remove_pf(struct root *r, struct pci_function *pf, bool force);

/* From the PF's sriov_enable / sriov_disable: a VF came, or is about to go. */
void root_vf_added(struct root *r, struct pci_function *vf);
void root_vf_removing(struct root *r, struct pci_function *vf);

/*
 * A VF is to be attached at its own endpoint by another VM. -EBUSY with the reason in why while
 * the root's driver uses it (Bus Master Enable set); else it is detached from the root and absent
 * there (configuration and memory read all-ones, writes are dropped) until root_take_back().
 */
int root_lend_vf(struct root *r, struct pci_function *vf, char *why, size_t why_len);
void root_take_back(struct root *r, struct pci_function *vf);

struct root_function_info {
	struct pci_function *fn;
	unsigned slot;
	uint16_t rid; /* as the guest numbered buses; 0 with rid_valid false before that */
	bool rid_valid;
	bool lent;   /* absent: attached at its endpoint elsewhere */
	bool in_use; /* Bus Master Enable set */
};
/* Calls back for each PF and VF, PFs first in slot order, each followed by its VFs. */
void root_for_each(struct root *r, void (*cb)(void *opaque, const struct root_function_info *info),
		   void *opaque);

/* The same for one function. -ENOENT when it is not in this root. */
int root_function(struct root *r, const struct pci_function *fn, struct root_function_info *out);

/* Ends the client's connection, if any. */
void root_disconnect(struct root *r);

void root_get_status(const struct root *r, struct vfu_server_status *st);
const char *root_name(const struct root *r);
const char *root_path(const struct root *r);
struct pci_function *root_endpoint(struct root *r);

/* The whole hierarchy as `lspci -F` reads it (bus view; buses as the guest numbered them, or as
 * they would be in slot order when no guest has). */
void root_dump_lspci(struct root *r, FILE *f);

#endif
