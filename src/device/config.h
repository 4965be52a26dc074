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

#include "net/port.h"
#include "net/uplink.h"

#define CONFIG_NAME_MAX	   32 /* [a-z0-9][a-z0-9_-]*, with the NUL */
#define CONFIG_DEVICES_MAX 64
#define CONFIG_ROOTS_MAX   64
#define CONFIG_WORKERS_MAX 64
#define CONFIG_VFS_MAX	   1024

struct config_socket {
	bool owner_set, group_set, mode_set; /* unset: inherited from the device, then private */
	uid_t owner;
	gid_t group;
	mode_t mode;
};

struct config_vf {
	int line;
	unsigned index;
	struct net_policy policy; /* defaults filled in; mac all zero: generated */
	unsigned queue_pairs;	  /* 0: the device's */
	struct config_socket socket;
};

struct config_device {
	int line;
	char name[CONFIG_NAME_MAX];
	/* ethernet, the only type so far */
	uint16_t total_vfs;   /* default 16 */
	int num_vfs;	      /* -1: not given */
	unsigned queue_pairs; /* per function; default 1 */
	uint16_t queue_size;  /* default 256 */
	uint16_t mtu;	      /* default 1500 */
	uint32_t speed_mbps;  /* default 10000 */
	bool packed;	      /* offer packed rings; default true */
	uint64_t features_off;
	bool admin_strict;
	unsigned ageing_s; /* default 300 */
	uint8_t mac[6];	   /* of the PF; zero: generated from the device's name, stable */
	struct net_uplink_config uplink;
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
	unsigned n_devices, n_roots;
	struct config_device *devices;
	struct config_root *roots;
};

#endif
