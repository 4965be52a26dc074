/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The composer: makes devices, their functions, endpoints and roots from a configuration, and
 * changes them live. Everything above (control socket, daemon) speaks to the devices through
 * here; nothing below knows of it.
 *
 * Names: "nic0" a device; "nic0/pf" its PF (with several roots: "nic0/pf0", "nic0/pf1", …);
 * "nic0/vf3" a VF, numbered over the whole device: the PF of the first root has VFs 0..share-1,
 * the next those after. "host0" a root. Sockets under the runtime directory: <device>/pf.sock,
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
#include "pci/function.h"
#include "vfio_user/server.h"
#include "virtio_net/virtio_net.h"
#include "worker/worker.h"

struct softiov;

#define WHY_MAX 256 /* every why[] below: a sentence that names the object and the remedy */

/* Builds everything; nothing is left behind on failure. runtime_dir exists. 0 or -errno. */
int softiov_create(sd_event *event, const struct config *cfg, const char *runtime_dir,
		   struct softiov **out, char why[WHY_MAX]);
void softiov_destroy(struct softiov *s);

/*
 * Applies a new configuration (SIGHUP): policies, num-vfs, added and removed devices and roots are
 * changed live; what cannot be (workers, total-vfs, mtu, queues of a device in use) is refused with
 * the reason and nothing changes. Only when the system has no memory or files left for what passed
 * all checks, the rest is applied nevertheless. Sockets' settings hold for those made afterwards.
 * 0 or -errno.
 */
int softiov_reload(struct softiov *s, const struct config *cfg, char why[WHY_MAX]);

struct device_info {
	const char *name;
	const char *type; /* "ethernet" */
	uint16_t total_vfs, num_vfs;
	uint16_t mtu;
	uint32_t speed_mbps;
	unsigned queue_pairs;
	const struct net_uplink_config *uplink;
	struct net_port *uplink_port; /* NULL: none */
	struct net_switch *net_switch;
	unsigned pfs;
};

enum function_holder { HOLDER_NONE, HOLDER_ENDPOINT, HOLDER_ROOT };

struct function_info {
	const char *name;   /* "nic0/vf3" */
	const char *device; /* "nic0" */
	const char *pf;	    /* of a VF: its PF's name; else NULL */
	const char *root;   /* whose hierarchy it belongs to; NULL: the daemon's */
	const char *socket; /* endpoint path; NULL when it has none (a PF that a root holds) */
	enum function_holder holder;
	bool rid_valid;
	uint16_t rid;
	struct vfu_server_status endpoint; /* when attached at the endpoint */
	struct virtio_net_status net;
	const struct net_policy *policy;
	bool link_up;
	size_t memory; /* bytes of daemon memory */
	struct pci_function *fn;
	struct net_port *port;
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
const char *softiov_runtime_dir(const struct softiov *s);

/* -ENOENT, -ERANGE, -EBUSY (a root's kernel governs it; a VF that would go is attached and force
 * is false), … with why. Growing keeps what exists. */
int softiov_set_num_vfs(struct softiov *s, const char *device, uint16_t num_vfs, bool force,
			char why[WHY_MAX]);

/* Replaces the policy of a function's port (read it from softiov_function(), change, give back). */
int softiov_set_policy(struct softiov *s, const char *function, const struct net_policy *policy,
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
