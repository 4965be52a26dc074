/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The virtio network device (virtio 1.3, 5.1): joins queue pairs to a port of the switch.
 *
 * Receive queues are filled by whichever worker forwards a frame, under the queue's lock, taken
 * once per burst; transmit queues are polled by the worker that owns them. The control queue's
 * poller copies a command, hands it to the control thread through the mailbox
 * (worker/mailbox.h), and pushes the answer when the control thread kicks it.
 *
 * Guest memory without an fd: the function's queues then run on a worker of its own
 * (WORKER_MAY_BLOCK), and frames towards it go through a bounded FIFO of private copies.
 */
#ifndef SOFTIOV_VIRTIO_NET_VIRTIO_NET_H
#define SOFTIOV_VIRTIO_NET_VIRTIO_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "net/port.h"
#include "net/shaper.h"
#include "pci/function.h"
#include "virtio/device.h"
#include "worker/worker.h"

#define VIRTIO_NET_PAIRS_MAX  16
#define VIRTIO_NET_MTU_MAX    9216
#define VIRTIO_NET_QUEUE_SIZE 1024 /* largest, the driver may take less */

struct virtio_net;

struct virtio_net_config {
	const char *name;
	unsigned queue_pairs;	   /* 1..16 */
	uint16_t queue_size;	   /* power of two, 64..4096; 0: 256 */
	uint16_t mtu;		   /* 68..9216 */
	uint32_t speed_mbps;	   /* shown to the driver; 0xffffffff: unknown */
	bool packed;		   /* offer VIRTIO_F_RING_PACKED */
	uint64_t features_off;	   /* feature bits not to offer (tests, bug hunting) */
	enum poller_policy poll;   /* of its queues */
	struct net_policy policy;  /* of its port, MAC included */
	struct net_shaper *shaper; /* of its device, outlives it; NULL: none */
	struct pci_function *pf;   /* NULL: this is a PF */
	uint16_t vf_index;
	uint16_t total_vfs; /* of a PF */
	bool admin_strict;
	/* PF: see struct pci_function_ops */
	int (*sriov_enable)(void *opaque, uint16_t num_vfs);
	void (*sriov_disable)(void *opaque);
	void *opaque;
};

/* Creates the function, its device model and its port. 0 or -errno. Control. */
int virtio_net_create(struct net_switch *sw, struct worker_pool *pool,
		      const struct virtio_net_config *cfg, struct virtio_net **out);
/* The function must be detached. */
void virtio_net_destroy(struct virtio_net *net);

/* When the workers of its queues stop asking for work; live. */
void virtio_net_set_poll(struct virtio_net *net, enum poller_policy policy);

struct pci_function *virtio_net_function(struct virtio_net *net);
struct net_port *virtio_net_port(struct virtio_net *net);
struct virtio_device *virtio_net_device(struct virtio_net *net);
/* Applies an administrator's policy live: port, and the config space the driver sees (MAC, link
 * status with a configuration interrupt), and transmit rates. Errors of net_port_set_policy(). */
int virtio_net_set_policy(struct virtio_net *net, const struct net_policy *policy);
/* The rate of its device's shaper has changed. */
void virtio_net_shaper_changed(struct virtio_net *net);
/* Asks the driver to announce itself (after it moved to another place in the network), if it
 * negotiated GUEST_ANNOUNCE. */
void virtio_net_announce(struct virtio_net *net);
/* Bytes of daemon memory that this function takes now. */
size_t virtio_net_memory(const struct virtio_net *net);
/* For GET_REGION_IO_FDS (see vfio_user/server.h); the caller converts. */
unsigned virtio_net_doorbells(struct virtio_net *net, int *fds, uint64_t *offsets, unsigned max);

struct virtio_net_status {
	bool driver_ok, broken, remote_memory;
	uint64_t features;
	unsigned pairs_max, pairs_used;
	uint64_t kicks, interrupts;
};
void virtio_net_get_status(const struct virtio_net *net, struct virtio_net_status *st);

#endif
