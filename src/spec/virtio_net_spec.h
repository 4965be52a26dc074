/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What virtio 1.3 and 1.4, 5.1, define for network devices and Debian 12's <linux/virtio_net.h>
 * does not have yet. Own names (VNET_), so that newer headers do not clash. All fields are
 * little-endian.
 */
#ifndef SOFTIOV_SPEC_VIRTIO_NET_SPEC_H
#define SOFTIOV_SPEC_VIRTIO_NET_SPEC_H

#include <assert.h>
#include <stdint.h>

/* The kernel's name for the configuration space is what the room calls its own settings. */
#define virtio_net_config virtio_net_config_space
#include <linux/virtio_net.h>
#undef virtio_net_config

/* Feature bits (5.1.3) */
#define VNET_F_DEVICE_STATS 50
#define VNET_F_VQ_NOTF_COAL 52
#define VNET_F_NOTF_COAL    53
#define VNET_F_GUEST_USO4   54
#define VNET_F_GUEST_USO6   55
#define VNET_F_HOST_USO	    56
#define VNET_F_GUEST_HDRLEN 59

/* gso_type of UDP segmentation (5.1.6) */
#define VNET_HDR_GSO_UDP_L4 5

/* Control classes and commands (5.1.6.5) */
#define VNET_CTRL_COAL	      6
#define VNET_CTRL_COAL_TX_SET 0
#define VNET_CTRL_COAL_RX_SET 1
#define VNET_CTRL_COAL_VQ_SET 2
#define VNET_CTRL_COAL_VQ_GET 3

#define VNET_CTRL_STATS	      8
#define VNET_CTRL_STATS_QUERY 0
#define VNET_CTRL_STATS_GET   1

/* Notification coalescing (5.1.6.5.8) */
struct vnet_ctrl_coal {
	uint32_t max_packets;
	uint32_t max_usecs;
} __attribute__((packed));

struct vnet_ctrl_coal_vq {
	uint16_t vq_index;
	uint16_t reserved;
	struct vnet_ctrl_coal coal;
} __attribute__((packed));

/* Device statistics (5.1.6.5.10) */
#define VNET_STATS_RX_BASIC 0
#define VNET_STATS_RX_CSUM  1
#define VNET_STATS_RX_GSO   2
#define VNET_STATS_RX_SPEED 3
#define VNET_STATS_TX_BASIC 16
#define VNET_STATS_TX_CSUM  17
#define VNET_STATS_TX_GSO   18
#define VNET_STATS_TX_SPEED 19
#define VNET_STATS_CVQ	    32

struct vnet_ctrl_queue_stats {
	uint16_t vq_index;
	uint16_t reserved[3];
	uint64_t types_bitmap;
} __attribute__((packed));

struct vnet_stats_hdr {
	uint8_t type;
	uint8_t reserved;
	uint16_t vq_index;
	uint16_t reserved1;
	uint16_t size; /* of the reply, this header included */
} __attribute__((packed));

struct vnet_stats_cvq {
	struct vnet_stats_hdr hdr;
	uint64_t command_num, ok_num;
} __attribute__((packed));

struct vnet_stats_rx_basic {
	struct vnet_stats_hdr hdr;
	uint64_t notifications, packets, bytes, interrupts, drops, drop_overruns;
} __attribute__((packed));

struct vnet_stats_tx_basic {
	struct vnet_stats_hdr hdr;
	uint64_t notifications, packets, bytes, interrupts, drops, drop_malformed;
} __attribute__((packed));

struct vnet_stats_rx_csum {
	struct vnet_stats_hdr hdr;
	uint64_t valid, needs_csum, none, bad;
} __attribute__((packed));

struct vnet_stats_tx_csum {
	struct vnet_stats_hdr hdr;
	uint64_t none, needs_csum;
} __attribute__((packed));

struct vnet_stats_rx_gso {
	struct vnet_stats_hdr hdr;
	uint64_t packets, bytes, packets_coalesced, bytes_coalesced;
} __attribute__((packed));

/* Receive side scaling and hash report: fixed parts of their commands (5.1.6.5.7) */
struct vnet_rss_head {
	uint32_t hash_types;
	uint16_t indirection_table_mask;
	uint16_t unclassified_queue;
	/* le16 indirection_table[mask + 1], le16 max_tx_vq, u8 key length, key */
} __attribute__((packed));

struct vnet_hash_head {
	uint32_t hash_types;
	uint16_t reserved[4];
	uint8_t key_len;
	/* key */
} __attribute__((packed));

static_assert(sizeof(struct virtio_net_hdr_v1) == 12, "5.1.6");
static_assert(sizeof(struct virtio_net_hdr_v1_hash) == 20, "5.1.6");
static_assert(sizeof(struct virtio_net_config_space) == 24, "5.1.4");
static_assert(sizeof(struct vnet_ctrl_coal_vq) == 12, "5.1.6.5.8");
static_assert(sizeof(struct vnet_ctrl_queue_stats) == 16, "5.1.6.5.10");
static_assert(sizeof(struct vnet_stats_rx_basic) == 56, "5.1.6.5.10");
static_assert(sizeof(struct vnet_stats_rx_gso) == 40, "5.1.6.5.10");
static_assert(sizeof(struct vnet_stats_tx_csum) == 24, "5.1.6.5.10");
static_assert(sizeof(struct vnet_rss_head) == 8, "5.1.6.5.7");
static_assert(sizeof(struct vnet_hash_head) == 13, "5.1.6.5.7");

#endif
