/* SPDX-License-Identifier: BSD-3-Clause */
/* The composer's own structures. Private to src/device. */
#ifndef SOFTIOV_DEVICE_DEVICE_INTERNAL_H
#define SOFTIOV_DEVICE_DEVICE_INTERNAL_H

#include <limits.h>
#include <stdarg.h>

#include "device/device.h"
#include "net/uplink.h"
#include "root/root.h"

struct eth_device;
struct eth_pf;

/* One PF or VF: its device model and, where it has one, its endpoint. */
struct eth_function {
	struct eth_device *dev;
	struct eth_pf *pf; /* its PF, or the PF that it is */
	int vf;		   /* number over the whole device; -1: a PF */
	char name[FUNCTION_NAME_MAX];
	struct virtio_net *net;
	struct vfu_server *server; /* NULL: a PF that a root holds */
};

/* A PF with its contiguous share of the device's VFs. */
struct eth_pf {
	struct eth_device *dev;
	struct eth_function *fn;
	char root[CONFIG_NAME_MAX]; /* empty: the daemon holds it */
	struct root *in_root;	    /* while plugged in */
	uint16_t first_vf, share;
};

struct eth_device {
	struct softiov *s;
	struct eth_device *next;
	struct config_device cfg; /* vfs is NULL here: see policies */
	struct net_switch *sw;
	struct net_uplink *uplink;
	unsigned n_pfs;
	struct eth_pf *pfs;
	/* Indexed by VF number, total_vfs of each; what is set for a VF outlives the VF. */
	struct eth_function **vfs;
	struct net_policy *policies;
	unsigned *vf_pairs;
	struct config_socket *vf_sockets;
};

struct root_entry {
	struct root_entry *next;
	char name[CONFIG_NAME_MAX];
	unsigned vectors; /* as configured; 0: default */
	struct root *root;
};

struct softiov {
	sd_event *event;
	sd_event_source *age_timer;
	char runtime_dir[PATH_MAX];
	unsigned workers;
	struct worker_pool *pool;
	struct eth_device *devices;
	struct root_entry *roots;
};

/* why.c: always returns err, so that `return why_set(why, -EBUSY, "…")` reads well. */
int why_set(char why[WHY_MAX], int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* eth_device.c */
int eth_device_create(struct softiov *s, const struct config *cfg, unsigned index,
		      struct eth_device **out, char why[WHY_MAX]);
void eth_device_destroy(struct eth_device *dev);
struct eth_device *eth_device_find(struct softiov *s, const char *name);
struct eth_function *eth_function_find(struct softiov *s, const char *name);
int eth_device_set_num_vfs(struct eth_device *dev, uint16_t num, bool force, char why[WHY_MAX]);
/* Whether it would be refused; changes nothing. */
int eth_device_check_num_vfs(struct eth_device *dev, uint16_t num, bool force, char why[WHY_MAX]);
/* True when another function of the device has, or will have, this address. */
bool eth_device_mac_taken(const struct eth_device *dev, unsigned vf, const uint8_t mac[ETH_ALEN]);
/* What a VF's policy is, whether it exists or not. -EEXIST: its new MAC is another's. */
int eth_device_set_vf_policy(struct eth_device *dev, unsigned vf, const struct net_policy *policy);

/* eth_function.c */
int eth_function_create_pf(struct eth_pf *pf, const char *name, const struct net_policy *policy,
			   char why[WHY_MAX]);
int eth_function_create_vf(struct eth_pf *pf, unsigned index);
void eth_function_destroy(struct eth_function *fn);
void eth_function_info(struct eth_function *fn, struct function_info *out);
/* Attached to a VM, at its endpoint or by a driver in its root. */
bool eth_function_attached(const struct eth_function *fn);

/* mac.c: a locally administered address, the same at every start on this machine. index 0.. */
void mac_generate(const char *device, unsigned index, uint8_t mac[ETH_ALEN]);

/* shares.c: how a device's VFs are divided among the roots that have it. Fills pfs[] (root,
 * first_vf, share) and returns how many PFs there are (1 when no root has it), or -errno. */
int shares_plan(const struct config *cfg, const struct config_device *dev, struct eth_pf *pfs,
		unsigned max, char why[WHY_MAX]);

/* roots.c */
int roots_create(struct softiov *s, const struct config_root *cfg, char why[WHY_MAX]);
void roots_destroy(struct softiov *s, struct root_entry *entry);
struct root_entry *roots_find(struct softiov *s, const char *name);

#endif
