/* SPDX-License-Identifier: BSD-3-Clause */
/* Ethernet devices: a switch, an uplink, and virtio-net functions. */
#ifndef SOFTIOV_DEVICE_ETH_PRIVATE_H
#define SOFTIOV_DEVICE_ETH_PRIVATE_H

#include "device/device_internal.h"
#include "util/util.h"

struct eth_function {
	struct function fn;
	struct virtio_net *net;
};

struct eth_device {
	struct device dev;
	struct net_switch *sw;
	struct net_uplink *uplink;
	struct net_shaper shaper; /* tx-rate */
	/* Indexed by VF number. */
	struct net_policy *policies;
	unsigned *vf_pairs;
};

static inline struct eth_device *eth_device(const struct device *dev)
{
	return container_of(dev, struct eth_device, dev);
}

static inline struct eth_function *eth_function(const struct function *fn)
{
	return container_of(fn, struct eth_function, fn);
}

/* eth_device.c */
void eth_pf_policy(const struct eth_device *eth, unsigned pf, struct net_policy *p);
/* True when another function of the device has, or will have, this address. */
bool eth_mac_taken(const struct eth_device *eth, unsigned vf, const uint8_t mac[ETH_ALEN]);
/* What a VF's policy is, whether it exists or not. -EEXIST: its new MAC is another's. */
int eth_set_vf_policy(struct eth_device *eth, unsigned vf, const struct net_policy *policy);

/* eth_function.c: see struct device_ops */
int eth_function_create(struct function *fn, char why[WHY_MAX]);
void eth_function_destroy(struct function *fn);
void eth_function_set_poll(struct function *fn, enum poller_policy policy);
int eth_function_io_fds(struct function *fn, unsigned region, struct vfu_io_fd *fds, unsigned max);
void eth_function_info(struct function *fn, struct function_info *out);

/* eth_rates.c: -ERANGE when the minima of functions would add up to more than the device has. */
int eth_check_rates(const struct function *fn, const struct net_policy *policy, char why[WHY_MAX]);
int eth_check_reload_rates(const struct eth_device *eth, const struct config_device *dc,
			   char why[WHY_MAX]);
int eth_apply_reload_rates(struct eth_device *eth, const struct config_device *dc);

/* eth_reload.c: see struct device_ops */
const char *eth_frozen_change(const struct device *dev, const struct config_device *dc);
int eth_check_reload(struct device *dev, const struct config_device *dc, char why[WHY_MAX]);
int eth_apply_reload(struct device *dev, const struct config_device *dc, char why[WHY_MAX]);

#endif
