/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The composer's own structures. Private to src/device.
 *
 * A device is a struct device with what its type adds behind it, and so is a function. What all
 * types have in common - names, shares among roots, the life of PFs and VFs, endpoints - is in
 * devices.c, functions.c, roots.c and reload.c, written against struct device_ops; a type is one
 * such structure.
 */
#ifndef SOFTIOV_DEVICE_DEVICE_INTERNAL_H
#define SOFTIOV_DEVICE_DEVICE_INTERNAL_H

#include <limits.h>
#include <stdarg.h>

#include "device/device.h"
#include "net/uplink.h"
#include "root/root.h"

struct device;
struct pf;

/* One PF or VF: its device model (behind it, by type) and, where it has one, its endpoint. */
struct function {
	struct device *dev;
	struct pf *pf; /* its PF, or the PF that it is */
	int vf;	       /* number over the whole device; -1: a PF */
	char name[FUNCTION_NAME_MAX];
	struct pci_function *pci;
	struct vfu_server *server; /* NULL: a PF that a root holds */
};

/* A PF with its contiguous share of the device's VFs. */
struct pf {
	struct device *dev;
	struct function *fn;
	char root[CONFIG_NAME_MAX]; /* empty: the daemon holds it */
	struct root *in_root;	    /* while plugged in */
	uint16_t first_vf, share;
};

/* What a type of device supplies. Those said to be optional may be NULL. */
struct device_ops {
	const char *type;
	size_t device_size, function_size; /* struct device, struct function come first in them */

	/* What comes before the PFs; dev->cfg and the plan in dev->pfs are there. dc: with its vfs
	 * and namespaces. */
	int (*init)(struct device *dev, const struct config_device *dc, char why[WHY_MAX]);
	/* No function is left. Also after a failed init(), or none: then all is zero. */
	void (*fini)(struct device *dev);
	/* The start, or the reload, that made the device has succeeded: what it has made on the
	 * host stays from now on. Before, fini() takes that back. Optional. */
	void (*settle)(struct device *dev);
	/* Once a second. Optional. */
	void (*tick)(struct device *dev);

	/* The model of a PF or VF, whose other fields stand already: gives fn->pci. The PF of a VF
	 * exists. why may say more than the errno does. */
	int (*function_create)(struct function *fn, char why[WHY_MAX]);
	/* The function is detached; of a VF, its PF knows it no more. */
	void (*function_destroy)(struct function *fn);
	/* dev->cfg.poll has changed. */
	void (*function_set_poll)(struct function *fn, enum poller_policy policy);
	/* As in vfu_server_ops. Optional. */
	int (*io_fds)(struct function *fn, unsigned region, struct vfu_io_fd *fds, unsigned max);

	/* Add what is the type's own. */
	void (*device_info)(struct device *dev, struct device_info *out);
	void (*function_info)(struct function *fn, struct function_info *out);

	/* Whether so many VFs can be, as far as the type has a say; dc: under a configuration to
	 * come, or NULL. Changes nothing. Optional. */
	int (*check_num_vfs)(struct device *dev, const struct config_device *dc, uint16_t num,
			     char why[WHY_MAX]);

	/* A reload, in its three steps (reload.c). The first setting that differs and cannot
	 * change under a running device, or NULL. */
	const char *(*frozen_change)(const struct device *dev, const struct config_device *dc);
	/* What else could be refused; changes nothing. */
	int (*check_reload)(struct device *dev, const struct config_device *dc, char why[WHY_MAX]);
	/* Makes what is new, so that nobody sees it yet; undone by undo_reload() when it, or
	 * another device's, failed. Optional, both. */
	int (*prepare_reload)(struct device *dev, const struct config_device *dc,
			      char why[WHY_MAX]);
	void (*undo_reload)(struct device *dev);
	/* Takes what is gone, changes what stays; keeps what was prepared. */
	int (*apply_reload)(struct device *dev, const struct config_device *dc, char why[WHY_MAX]);
};

struct device {
	struct softiov *s;
	struct device *next;
	const struct device_ops *ops;
	struct config_device cfg; /* vfs and namespaces are NULL here */
	unsigned n_pfs;
	struct pf *pfs;
	/* Indexed by VF number, total_vfs of each; what is set for a VF outlives the VF. */
	struct function **vfs;
	struct config_socket *vf_sockets;
	/* Why the last VF could not be made: it is asked for through a register, which gives no
	 * more than an errno. */
	char vf_why[WHY_MAX];
};

struct root_entry {
	struct root_entry *next;
	char name[CONFIG_NAME_MAX];
	unsigned vectors; /* as configured; 0: default */
	struct root *root;
};

struct softiov {
	sd_event *event;
	sd_event_source *tick_timer;
	char runtime_dir[PATH_MAX];
	unsigned workers;
	bool rebalance;
	/* Until then what is locked may yet become free: a daemon that was killed holds its files
	 * until the kernel has put away its rings. 0: not at the start. */
	uint64_t patient_until_ns;
	struct worker_pool *pool;
	struct device *devices;
	struct root_entry *roots;
};

/* why.c: always returns err, so that `return why_set(why, -EBUSY, "…")` reads well. */
int why_set(char why[WHY_MAX], int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* devices.c */
int device_create(struct softiov *s, const struct config *cfg, unsigned index, struct device **out,
		  char why[WHY_MAX]);
void device_destroy(struct device *dev);
/* These, and those after them. */
void devices_settle(struct device *dev);
struct device *device_find(struct softiov *s, const char *name);
int device_set_num_vfs(struct device *dev, uint16_t num, bool force, char why[WHY_MAX]);
/* Whether it would be refused, under a configuration to come (dc) or now (NULL); changes nothing.
 */
int device_check_num_vfs(struct device *dev, const struct config_device *dc, uint16_t num,
			 bool force, char why[WHY_MAX]);
void device_get_info(struct device *dev, struct device_info *out);

/* functions.c */
int function_create_pf(struct pf *pf, const char *name, char why[WHY_MAX]);
struct function *function_find(struct softiov *s, const char *name);
void function_destroy(struct function *fn);
void function_get_info(struct function *fn, struct function_info *out);
/* Attached to a VM, at its endpoint or by a driver in its root. */
bool function_attached(const struct function *fn);
/* For a PF's model: VF Enable was set or cleared. opaque: the struct pf. */
int function_sriov_enable(void *opaque, uint16_t num);
void function_sriov_disable(void *opaque);

/* eth_device.c */
extern const struct device_ops eth_ops;
/* -EEXIST: the new MAC is another's; -ERANGE: why says it. */
int eth_set_policy(struct function *fn, const struct net_policy *policy, char why[WHY_MAX]);

/* nvme_device.c */
extern const struct device_ops nvme_ops;

/* mac.c: a locally administered address, the same at every start on this machine. index 0.. */
void mac_generate(const char *device, unsigned index, uint8_t mac[ETH_ALEN]);

/* shares.c: how a device's VFs are divided among the roots that have it. Fills pfs[] (root,
 * first_vf, share) and returns how many PFs there are (1 when no root has it), or -errno. */
int shares_plan(const struct config *cfg, const struct config_device *dev, struct pf *pfs,
		unsigned max, char why[WHY_MAX]);

/* roots.c */
int roots_create(struct softiov *s, const struct config_root *cfg, char why[WHY_MAX]);
void roots_destroy(struct softiov *s, struct root_entry *entry);
struct root_entry *roots_find(struct softiov *s, const char *name);

#endif
