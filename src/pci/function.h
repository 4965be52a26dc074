/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCIe function: configuration space, BARs, MSI-X, reset, bus mastering, and for a PF the
 * SR-IOV capability with its VFs' life cycle. Device models (virtio-net, the VMD endpoint) supply
 * struct pci_function_ops; transports (a vfio-user server, a root) drive the function through the
 * calls below. Neither knows the other.
 *
 * Configuration space has two views (PCI_VIEW_BUS, PCI_VIEW_VMM). They differ for VFs only: on
 * the bus a VF reads FFFFh as Vendor and Device ID, has no BARs and no Memory Space bit (PCIe
 * Base 9.3.4); a VMM must be given real IDs, sized BARs with their type bits and a Memory
 * Space bit, as the Linux vfio-pci driver does for hardware.
 *
 * Threads: everything here belongs to the control thread, except pci_function_dma(),
 * pci_irq_raise() and the fields said to be atomic, which data-path threads use.
 */
#ifndef SOFTIOV_PCI_FUNCTION_H
#define SOFTIOV_PCI_FUNCTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dma/dma.h"

#define PCI_CFG_SIZE	  4096
#define PCI_NUM_BARS	  6
#define PCI_MSIX_MAX	  2048
#define PCI_TOTAL_VFS_MAX 1024

struct pci_function;

enum pci_view { PCI_VIEW_BUS, PCI_VIEW_VMM };

enum pci_reset {
	PCI_RESET_FLR,	  /* Initiate FLR, vfio-user DEVICE_RESET */
	PCI_RESET_BUS,	  /* secondary bus / hot reset from above */
	PCI_RESET_DETACH, /* the client vanished, or the function leaves its owner */
};

struct pci_bar_desc {
	uint64_t size; /* bytes, power of two; 0: not implemented */
	bool is_64bit; /* takes this slot and the next */
	bool prefetchable;
};

struct pci_msix_desc {
	uint16_t vectors; /* 0: no MSI-X */
	uint8_t bar;	  /* table and PBA lie in this BAR, in pages of their own */
	uint32_t table_off;
	uint32_t pba_off;
};

struct pci_function_ops {
	/*
	 * Access to BAR memory outside the MSI-X table and PBA. off + len lies inside the BAR;
	 * len is 1, 2, 4 or 8 for CPU accesses but may be any for message transports. Reads fill
	 * buf (little-endian, as on the bus).
	 */
	void (*bar_read)(struct pci_function *fn, unsigned bar, uint64_t off, void *buf,
			 uint32_t len);
	void (*bar_write)(struct pci_function *fn, unsigned bar, uint64_t off, const void *buf,
			  uint32_t len);
	/*
	 * A part of a BAR, whole pages at *off, that a client may map from the descriptor at that
	 * offset; its stores are then seen by nobody here. The descriptor stays the model's, and
	 * is good for this attachment. -errno, or NULL: there is none.
	 */
	int (*bar_map)(struct pci_function *fn, unsigned bar, uint64_t *off, uint64_t *len);
	/* The function's own state goes to its power-on values. Called with DMA already gated and
	 * the data path quiescent; after it configuration registers are reset too. Synchronous. */
	void (*reset)(struct pci_function *fn, enum pci_reset kind);
	/* DMA permission changed: Bus Master Enable, D-state, attachment. With on = false the data
	 * path is already quiescent (pci_function_dma() is NULL for everyone). With on = true
	 * queues must be re-examined (kicked). May be NULL. */
	void (*dma_changed)(struct pci_function *fn, bool on);
	/* Writes to, and reads of, a vendor capability added with PCI_CAP_HOOKED (virtio's PCI_CFG
	 * window). cap is what pci_add_capability() returned; off is relative to it. The read hook
	 * runs before the bytes are taken from configuration space. */
	void (*cap_read)(struct pci_function *fn, uint8_t cap, unsigned off, unsigned len);
	void (*cap_written)(struct pci_function *fn, uint8_t cap, unsigned off, unsigned len);
	/*
	 * PF only. VF Enable was set with num_vfs > 0 (already <= TotalVFs): create VFs 0..num-1
	 * and give each with pci_pf_add_vf(). Fails with -errno: VF Enable then stays clear.
	 * sriov_disable: VF Enable was cleared (or PF reset): destroy all VFs, synchronously, after
	 * taking them from whoever holds them.
	 */
	int (*sriov_enable)(struct pci_function *pf, uint16_t num_vfs);
	void (*sriov_disable)(struct pci_function *pf);
};

struct pci_sriov_desc {
	uint16_t total_vfs;   /* 0: no SR-IOV capability */
	uint16_t initial_vfs; /* equal to total_vfs (VF Migration is not offered) */
	uint16_t vf_device_id;
	struct pci_bar_desc vf_bars[PCI_NUM_BARS];
};

struct pci_function_desc {
	const char *name; /* "nic0/vf3"; copied */
	uint16_t vendor_id, device_id, subsystem_vendor_id, subsystem_id;
	uint8_t revision;
	uint32_t class_code;			/* 24 bits */
	struct pci_bar_desc bars[PCI_NUM_BARS]; /* of a VF: as given in its PF's sriov.vf_bars */
	struct pci_msix_desc msix;
	struct pci_sriov_desc sriov;
	/* Not NULL: this is a VF of it. Vendor, device, subsystem vendor and class are then the
	 * PF's and its VF Device ID, whatever stands above (PCIe Base 9.3.4). */
	struct pci_function *pf;
	uint16_t vf_index;     /* 0-based */
	bool no_standard_caps; /* header only; for the VMD endpoint, which adds its own */
	const struct pci_function_ops *ops;
	void *opaque; /* pci_function_opaque() */
};

/* One MSI-X vector. fd and pending are shared with the data path. */
struct pci_irq_vector {
	_Atomic int fd;	      /* eventfd to write (root mode: vector of irq_parent), or -1: masked
			       * or not assigned */
	_Atomic bool pending; /* raised while fd was -1; the PBA bit */
	_Atomic uint64_t raised;
	uint64_t addr; /* MSI-X table entry as the guest wrote it (root mode) */
	uint32_t data, ctrl;
};

/* Creates a function with its standard capabilities: PF: PM, MSI-X, PCIe; AER, ARI, ACS and (if
 * total_vfs) SR-IOV extended. VF: MSI-X, PCIe; ARI, (AER, ACS). 0 or -EINVAL/-ENOMEM. */
int pci_function_create(const struct pci_function_desc *desc, struct pci_function **out);
/* The function must be detached; a PF must have no VFs. */
void pci_function_destroy(struct pci_function *fn);

const char *pci_function_name(const struct pci_function *fn);
void *pci_function_opaque(const struct pci_function *fn);
bool pci_function_is_vf(const struct pci_function *fn);
struct pci_function *pci_function_pf(const struct pci_function *fn); /* of a VF; else NULL */
uint16_t pci_function_vf_index(const struct pci_function *fn);

enum pci_cap_flags { PCI_CAP_HOOKED = 1 };

/*
 * Adds a capability (id, then the body that follows the next pointer) to the legacy list.
 * writable has the same length as body: bits that a write may change; NULL: none. Returns the
 * capability's offset or -ENOSPC.
 */
int pci_add_capability(struct pci_function *fn, uint8_t id, const void *body, unsigned len,
		       const uint8_t *writable, unsigned flags);
/* The same for an extended capability (body follows the 4-byte header). */
int pci_add_ext_capability(struct pci_function *fn, uint16_t id, uint8_t version, const void *body,
			   unsigned len, const uint8_t *writable);
/* Plain bytes of configuration space outside capabilities (VMD's registers at 40h..). writable
 * may be NULL. Call it before capabilities are added: they are placed around these bytes. */
void pci_set_config_bytes(struct pci_function *fn, unsigned off, const void *bytes, unsigned len,
			  const uint8_t *writable);
/* Direct, side-effect-free access for the device model. */
uint8_t *pci_config_raw(struct pci_function *fn);
/* What creation adds unless no_standard_caps was given: for functions that must first put bytes of
 * their own at fixed places with pci_set_config_bytes(); capabilities step around those. 0,
 * -ENOSPC, -ENOMEM. */
int pci_add_standard_caps(struct pci_function *fn);

/*
 * Configuration accesses, any offset and length inside 4096 bytes (1, 2, 4 from a CPU; up to 4096
 * from a message). Out of range: reads give all-ones, writes are dropped, -EINVAL returned. All
 * side effects (FLR, VF Enable, Bus Master, D-state) are complete on return.
 */
int pci_config_read(struct pci_function *fn, enum pci_view view, unsigned off, void *buf,
		    unsigned len);
int pci_config_write(struct pci_function *fn, enum pci_view view, unsigned off, const void *buf,
		     unsigned len);

/* BAR accesses as messages give them; the range must lie inside the BAR: -EINVAL otherwise.
 * Handles the MSI-X table and PBA, hands the rest to the ops. In D3hot, or (bus view) with memory
 * decoding off, the caller should not get here; the VMM view does not check Memory Space. */
int pci_bar_read(struct pci_function *fn, unsigned bar, uint64_t off, void *buf, uint32_t len);
int pci_bar_write(struct pci_function *fn, unsigned bar, uint64_t off, const void *buf,
		  uint32_t len);
/* What may be mapped of a BAR, as the ops say: a descriptor; -EOPNOTSUPP: nothing. */
int pci_bar_map(struct pci_function *fn, unsigned bar, uint64_t *off, uint64_t *len);
const struct pci_bar_desc *pci_function_bar(const struct pci_function *fn, unsigned bar);

/*
 * Which BAR of fn decodes the bus address, with Memory Space (PF) or the PF's VF MSE and VF BARs
 * (VF) taken into account. True and *bar, *off set; access of len must not cross the BAR's end.
 */
bool pci_bar_decode(const struct pci_function *fn, uint64_t addr, uint32_t len, unsigned *bar,
		    uint64_t *off);

/*
 * One more gate before DMA: whoever is above the function (a root's endpoint) does not forward its
 * requests. Off by default; gated and ungated as Bus Master Enable is.
 */
void pci_function_set_blocked(struct pci_function *fn, bool blocked);

/* Performs the reset: gates DMA, waits for quiescence, drops pending interrupts, resets the model
 * and the registers. PF: VF Enable clears, VFs go, unless it is managed (pci_pf_set_managed()).
 * The eventfds of an endpoint stay; only detaching drops them. */
void pci_function_reset(struct pci_function *fn, enum pci_reset kind);

/*
 * Attachment: who gives the function its memory and takes its interrupts. A function has one
 * owner at a time.
 */
enum pci_owner_kind {
	PCI_OWNER_NONE,
	PCI_OWNER_ENDPOINT, /* a vfio-user client that sees just this function */
	PCI_OWNER_ROOT,	    /* member of a root's hierarchy */
};

struct pci_attachment {
	enum pci_owner_kind kind;
	struct dma_space *dma; /* NULL: owned, but no memory to reach */
	/* Root mode: the endpoint whose vectors deliver this function's messages, and which vector
	 * a message (addr, data of an unmasked table entry) goes to; -1: none. Raising the child
	 * raises that vector of irq_parent, which keeps it pending while it has no eventfd. */
	struct pci_function *irq_parent;
	int (*msi_vector)(void *opaque, uint64_t addr, uint32_t data);
	void *opaque;
};

/* -EBUSY when owned already. The function must have been reset. */
int pci_function_attach(struct pci_function *fn, const struct pci_attachment *att);
/* Resets (PCI_RESET_DETACH), forgets memory and eventfds. No-op when not attached. */
void pci_function_detach(struct pci_function *fn);
enum pci_owner_kind pci_function_owner(const struct pci_function *fn);

/*
 * The memory that the function may use for DMA right now: NULL unless attached, Bus Master
 * Enable set, in D0 and not in reset. Load once per burst. Any thread.
 */
struct dma_space *pci_function_dma(const struct pci_function *fn);

unsigned pci_function_num_vectors(const struct pci_function *fn);
/*
 * Gives the function n vectors from now on, 1 to as many as it was created with (an NVMe secondary
 * controller's interrupt resources): MSI-X Table Size, table and PBA follow. -EINVAL; -EBUSY while
 * an endpoint's client has the function, who read the size once, or MSI-X is enabled.
 */
int pci_function_set_vectors(struct pci_function *fn, uint16_t n);
/* Endpoint mode: installs (or with -1 removes) the eventfd of a vector, delivering a pending
 * interrupt at once. Takes ownership of fd; the old one is closed after quiescence. */
void pci_irq_set_fd(struct pci_function *fn, unsigned vector, int fd);
/* The same for vectors start .. start + count - 1 with one wait for quiescence; fds NULL: all -1.
 * What is no eventfd (a write to it could block a worker) is closed and counts as -1. */
void pci_irq_set_fds(struct pci_function *fn, unsigned start, unsigned count, const int *fds);
/* Signals a vector: one eventfd write, or the pending bit. Does nothing for vectors out of range
 * (VIRTIO_MSI_NO_VECTOR) or when MSI-X was never enabled in root mode. Any thread. */
void pci_irq_raise(struct pci_function *fn, unsigned vector);
struct pci_irq_vector *pci_irq_vector(struct pci_function *fn, unsigned vector);

/* --- SR-IOV (PF) --- */

/* Called by ops->sriov_enable for each VF created. */
void pci_pf_add_vf(struct pci_function *pf, struct pci_function *vf);
/* Called by ops->sriov_disable for each VF about to be destroyed. */
void pci_pf_remove_vf(struct pci_function *pf, struct pci_function *vf);
struct pci_function *pci_pf_vf(const struct pci_function *pf, unsigned index); /* or NULL */
uint16_t pci_pf_total_vfs(const struct pci_function *pf);
uint16_t pci_pf_num_vfs(const struct pci_function *pf); /* that exist now; 0 when VFE = 0 */
bool pci_pf_vf_mse(const struct pci_function *pf);
/* Routing ID of the VF: PF RID + offset + index * stride in 16-bit arithmetic (9.3.3.9-10). */
uint16_t pci_vf_rid(const struct pci_function *pf, uint16_t pf_rid, unsigned index);
/* Where no root holds the PF the daemon is the trusted partition: writes NumVFs and VF Enable +
 * MSE through the capability just as a kernel would. num_vfs 0 disables. Growing while enabled
 * keeps the existing VFs: the capability forbids it for a guest, so this is the daemon's own
 * privilege and calls ops->sriov_enable(pf, new) which must create only the missing ones;
 * shrinking likewise removes the highest through pci_pf_remove_vf in ops->sriov_enable.
 * 0, -ERANGE (> TotalVFs), -EBUSY, or the op's error. */
int pci_pf_set_num_vfs(struct pci_function *pf, uint16_t num_vfs);

/*
 * Managed: the daemon is the trusted partition. The SR-IOV capability's registers are then
 * read-only to whoever has the PF attached, and survive its resets: a VM that was given the PF
 * alone cannot take the VFs of others away, and its D3hot leaves their DMA alone. Off by default.
 */
void pci_pf_set_managed(struct pci_function *pf, bool managed);

/* Hexdump text that `lspci -F` decodes: "bb:dd.f name" line, then 256 or 4096 bytes. rid gives
 * bus/device/function as printed. Appends to a FILE. */
#include <stdio.h>
void pci_dump_lspci(struct pci_function *fn, enum pci_view view, uint16_t rid, FILE *f);

#endif
