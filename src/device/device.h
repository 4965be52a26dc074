/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The composer: makes devices, their functions, endpoints and roots from a configuration, and
 * changes them live. Everything above (control socket, daemon) speaks to the devices through
 * here; nothing below knows of it.
 *
 * Names: "nic0" a device; "nic0/pf" its PF (with several roots: "nic0/pf0", "nic0/pf1", …);
 * "nic0/vf3" a VF, numbered over the whole device: the PF of the first root has VFs 0..share-1,
 * the next those after. "ssd0/ns1" the namespace with NSID 1 of the NVMe device ssd0. "host0" a
 * root. Sockets under the runtime directory: <device>/pf.sock,
 * <device>/vf<N>.sock, <root>.sock; one exists while its function does.
 *
 * Threads: control only.
 */
#ifndef SOFTIOV_DEVICE_DEVICE_H
#define SOFTIOV_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <systemd/sd-event.h>

#include "device/config.h"
#include "net/port.h"
#include "nvme/nvme.h"
#include "pci/function.h"
#include "vfio_user/server.h"
#include "virtio_net/virtio_net.h"
#include "worker/worker.h"

struct softiov;

#define FUNCTION_NAME_MAX (CONFIG_NAME_MAX + 16) /* "ssd0/vf3", "ssd0/ns1" */
#define WHY_MAX		  256 /* every why[] below: a sentence that names the object and the remedy */

/* Builds everything; nothing is left behind on failure, no file of a disk either. Files that are
 * locked are waited for a little. runtime_dir exists. 0 or -errno. */
int softiov_create(sd_event *event, const struct config *cfg, const char *runtime_dir,
		   struct softiov **out, char why[WHY_MAX]);
void softiov_destroy(struct softiov *s);

/*
 * Applies a new configuration (SIGHUP): policies, num-vfs, added and removed devices and roots are
 * changed live; what cannot be (workers, total-vfs, mtu, queues of a device in use) is refused with
 * the reason and nothing changes. Only when the system has no memory, files or space left for what
 * passed all checks, the rest is applied nevertheless, and why says so. Sockets' settings hold for
 * those made afterwards. 0 or -errno.
 */
int softiov_reload(struct softiov *s, const struct config *cfg, char why[WHY_MAX]);

struct device_info {
	const char *name;
	enum device_type kind;
	const char *type; /* "ethernet", "nvme" */
	uint16_t total_vfs, num_vfs;
	unsigned pfs;
	/* ethernet */
	uint16_t mtu;
	uint32_t speed_mbps;
	uint32_t tx_mbps; /* what all functions may send together; 0: no limit */
	unsigned queue_pairs;
	const struct net_uplink_config *uplink;
	struct net_port *uplink_port; /* NULL: none */
	struct net_switch *net_switch;
	/* nvme */
	struct nvme_subsystem_info nvme;
	const struct config_nvme *nvme_config; /* of it n_namespaces and namespaces are not kept */
};

enum function_holder { HOLDER_NONE, HOLDER_ENDPOINT, HOLDER_ROOT };

struct function_info {
	const char *name;   /* "nic0/vf3" */
	const char *device; /* "nic0" */
	enum device_type kind;
	const char *pf;	    /* of a VF: its PF's name; else NULL */
	const char *root;   /* whose hierarchy it belongs to; NULL: the daemon's */
	const char *socket; /* endpoint path; NULL when it has none (a PF that a root holds) */
	enum function_holder holder;
	bool rid_valid;
	uint16_t rid;
	struct vfu_server_status endpoint; /* when attached at the endpoint */
	size_t memory;			   /* bytes of daemon memory */
	struct pci_function *fn;
	/* ethernet; pointers are NULL otherwise */
	struct virtio_net_status net;
	const struct net_policy *policy;
	bool link_up;
	struct net_port *port;
	/* nvme */
	struct nvme_ctrl_status nvme;
	struct nvme_ctrl
		*ctrl; /* NULL: not NVMe; for nvme_ctrl_get_stats(), nvme_ctrl_clear_stats() */
};

struct root_info {
	const char *name;
	const char *socket;
	struct vfu_server_status status;
	unsigned devices, functions;
};

void softiov_for_each_device(struct softiov *s,
			     void (*cb)(void *opaque, const struct device_info *), void *opaque);
/* device NULL: all. PFs before their VFs, by number. */
void softiov_for_each_function(struct softiov *s, const char *device,
			       void (*cb)(void *opaque, const struct function_info *),
			       void *opaque);
void softiov_for_each_root(struct softiov *s, void (*cb)(void *opaque, const struct root_info *),
			   void *opaque);
/* 0 or -ENOENT. */
int softiov_function(struct softiov *s, const char *name, struct function_info *out);
struct worker_pool *softiov_workers(struct softiov *s);
/* Whether queues are moved from busy workers. */
bool softiov_rebalances(const struct softiov *s);
const char *softiov_runtime_dir(const struct softiov *s);

/* -ENOENT, -ERANGE, -EBUSY (a root's kernel governs it; a VF that would go is attached and force
 * is false), … with why. Growing keeps what exists. */
int softiov_set_num_vfs(struct softiov *s, const char *device, uint16_t num_vfs, bool force,
			char why[WHY_MAX]);

/* Replaces the policy of a function's port (read it from softiov_function(), change, give back). */
int softiov_set_policy(struct softiov *s, const char *function, const struct net_policy *policy,
		       char why[WHY_MAX]);

/*
 * Namespaces, by name ("ssd0/ns1"). A target says who has one: "vf3", "pf" (or "pf0", "pf1"), their
 * full names, or "all", every function of the device, those that come later included.
 */
struct softiov_ns_info {
	const char *name;   /* "ssd0/ns1" */
	const char *device; /* "ssd0" */
	/* The configuration file made it: a reload that has it no longer ends it. Others, made
	 * live or by a guest, are left alone. */
	bool configured;
	const struct nvme_ns_info *ns;
};
void softiov_ns_for_each(struct softiov *s, const char *device, /* NULL: all */
			 void (*cb)(void *opaque, const struct softiov_ns_info *), void *opaque);
/* The full name of the function with a CNTLID of the device ("ssd0/vf3"), whether it exists now or
 * not. */
void softiov_ns_target_name(struct softiov *s, const char *device, uint16_t cntlid,
			    char name[FUNCTION_NAME_MAX]);

/* Makes it and attaches it to all targets, or does nothing. name: what it is called. -ENOENT,
 * -EEXIST, -EINVAL, -ENOSPC, … with why, as for all below. */
int softiov_ns_create(struct softiov *s, const char *device, const struct nvme_ns_config *cfg,
		      const char *const *targets, unsigned n_targets, char name[FUNCTION_NAME_MAX],
		      char why[WHY_MAX]);
/* -EBUSY while it is attached, unless force. */
int softiov_ns_delete(struct softiov *s, const char *ns, bool force, char why[WHY_MAX]);
/* size 0: what the backend has by now (a block device that grew). -EPERM: it would become smaller,
 * and force is false. */
int softiov_ns_resize(struct softiov *s, const char *ns, uint64_t size, bool force,
		      char why[WHY_MAX]);
/* -EALREADY, -ENOENT: nothing to do; with "all" only when that holds for each function. */
int softiov_ns_attach(struct softiov *s, const char *ns, const char *target, char why[WHY_MAX]);
int softiov_ns_detach(struct softiov *s, const char *ns, const char *target, char why[WHY_MAX]);
int softiov_ns_set_limits(struct softiov *s, const char *ns, const struct nvme_limits *lim,
			  char why[WHY_MAX]);
int softiov_ns_get_stats(struct softiov *s, const char *ns, struct nvme_io_stats *st); /* -ENOENT */
int softiov_ns_clear_stats(struct softiov *s, const char *ns);			       /* -ENOENT */

/* Of a function; read from softiov_function() (nvme.limits), change, give back. */
int softiov_nvme_set_limits(struct softiov *s, const char *function, const struct nvme_limits *lim,
			    char why[WHY_MAX]);

/* Ends the client's connection at an endpoint or root ("nic0/vf3", "host0"). */
int softiov_disconnect(struct softiov *s, const char *name, char why[WHY_MAX]);

/* Hot-plugs a device into a root, or takes it out (force: surprise removal). */
int softiov_root_plug(struct softiov *s, const char *root, const char *device, char why[WHY_MAX]);
int softiov_root_unplug(struct softiov *s, const char *root, const char *device, bool force,
			char why[WHY_MAX]);

/* `lspci -F` text of a function (view as said) or of a root's whole hierarchy. -ENOENT. */
int softiov_dump_lspci(struct softiov *s, const char *name, enum pci_view view, FILE *f);

#endif
