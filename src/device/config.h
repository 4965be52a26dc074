/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a configuration says, as plain structures; no parsing here (control/config_file.h fills
 * it). Strings are owned by the structure. line fields are for messages: the line of the file
 * that an object began at, 0 if none.
 */
#ifndef SOFTIOV_DEVICE_CONFIG_H
#define SOFTIOV_DEVICE_CONFIG_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "block/block.h"
#include "net/port.h"
#include "net/uplink.h"
#include "nvme/nvme.h"

#define CONFIG_NAME_MAX	   32 /* [a-z0-9][a-z0-9_-]*, with the NUL */
#define CONFIG_DEVICES_MAX 64
#define CONFIG_ROOTS_MAX   64
#define CONFIG_WORKERS_MAX 64
#define CONFIG_VFS_MAX	   1024

enum device_type { DEVICE_ETHERNET, DEVICE_NVME };

struct config_socket {
	bool owner_set, group_set, mode_set; /* unset: inherited from the device, then private */
	uid_t owner;
	gid_t group;
	mode_t mode;
};

struct config_vf {
	int line;
	unsigned index;
	/* ethernet */
	struct net_policy policy; /* defaults filled in; mac all zero: generated */
	unsigned queue_pairs;	  /* 0: the device's */
	/* nvme */
	unsigned nvme_queues; /* I/O queue pairs; 0: the device's */
	bool has_limits;      /* false: none, and a reload leaves alone what was set live */
	struct nvme_limits limits;
	struct config_socket socket;
};

struct config_namespace {
	int line;
	uint32_t nsid; /* 1.., unique in the device */
	struct block_config backend;
	bool from_pool;		     /* of backend only size counts */
	uint32_t block_size;	     /* 512 or 4096; 0: 512 */
	char reservations[PATH_MAX]; /* file that keeps them over restarts; empty: they are not */
	char uuid[37];		     /* empty: made from device, NSID and backend, stable */
	struct nvme_limits limits;
	/* Who has it: "all" is every function of the device, "pf" the first PF. */
	bool attach_all, attach_pf;
	unsigned n_attach;
	unsigned *attach_vfs; /* numbers over the whole device, below total_vfs */
};

struct config_nvme {
	char serial[21], model[41], nqn[224]; /* empty: made from the device's name, stable */
	unsigned max_namespaces;	      /* NN; default 32 */
	unsigned pf_queues;		      /* I/O queue pairs of each PF; default 4 */
	/*
	 * I/O queue pairs of each VF, assigned and online before its socket opens. 0: not given,
	 * that is 4 where the daemon manages the PF, and none where a root has it: its
	 * administrator does it by hand (nvme virt-mgmt).
	 */
	unsigned queues;
	unsigned flexible;	/* of each kind of resource; 0: total_vfs * (max_vf_queues + 1) */
	unsigned max_vf_queues; /* I/O queue pairs that a VF may be given; 0: max(queues, 8) */
	uint16_t queue_size;	/* entries; default 1024 */
	bool doorbell_buffer;	/* default true */
	bool register_memory;	/* default false */
	struct nvme_pool_config ns_pool;
	unsigned n_namespaces;
	struct config_namespace *namespaces; /* ascending by nsid */
};

struct config_device {
	int line;
	enum device_type type;
	char name[CONFIG_NAME_MAX];
	uint16_t total_vfs;	 /* default 16 */
	int num_vfs;		 /* -1: not given */
	enum poller_policy poll; /* default POLLER_ADAPTIVE */
	/* ethernet */
	unsigned queue_pairs; /* per function; default 1 */
	uint16_t queue_size;  /* default 256 */
	uint16_t mtu;	      /* default 1500 */
	uint32_t speed_mbps;  /* default 10000 */
	uint32_t tx_mbps;     /* what all functions may send together; 0: no limit */
	uint32_t pf_max_tx_mbps, pf_min_tx_mbps; /* of each PF; 0: none */
	bool packed;				 /* offer packed rings; default true */
	uint64_t features_off;
	bool admin_strict;
	unsigned ageing_s; /* default 300 */
	uint8_t mac[6];	   /* of the PF; zero: generated from the device's name, stable */
	struct net_uplink_config uplink;
	/* nvme */
	struct config_nvme nvme;

	struct config_socket socket;
	unsigned n_vfs;
	struct config_vf *vfs; /* ascending by index */
};

struct config_root_device {
	char device[CONFIG_NAME_MAX];
	uint16_t total_vfs; /* share of the device's; 0: an equal part */
};

struct config_root {
	int line;
	char name[CONFIG_NAME_MAX];
	unsigned n_devices;
	struct config_root_device *devices;
	struct config_socket socket;
	unsigned vectors; /* 0: default */
};

struct config {
	char runtime_dir[PATH_MAX]; /* empty: default */
	unsigned workers;	    /* default 1 */
	double max_cpu;		    /* cores, of all workers together; 0: no limit */
	bool rebalance;		    /* move queues from busy workers; default true */
	unsigned n_devices, n_roots;
	struct config_device *devices;
	struct config_root *roots;
};

#endif
