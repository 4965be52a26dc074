/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the receive side share: a burst of frames into one queue. */
#ifndef SOFTIOV_VIRTIO_NET_RX_BURST_H
#define SOFTIOV_VIRTIO_NET_RX_BURST_H

#include "virtio_net/vnet.h"

struct rx_burst {
	struct vnet_rxq *q;
	struct vnet_scratch *s;
	const struct vnet_target *target; /* of the frame at hand; NULL: no hash */
	uint32_t hdr_len;
	uint32_t max_plain; /* longest frame that is no GSO frame, without VLAN tags */
	bool plain_header;  /* without room for a hash */
	bool mergeable;
	uint64_t offloads;
	unsigned put, no_buffer, too_big, bad_offload, not_ready;
	uint64_t bytes, csum_needed, csum_valid, gso_packets, gso_bytes;
};

/* rx_put.c. The queue must be ready, and locked. */
void rx_burst_start(struct rx_burst *b, struct vnet_rxq *q);
/* Writes frames into the queue's buffers, once, straight from the sender's memory, and sets
 * not_taken of those that it could not (their giver has cleared it). What the driver did not take
 * as it is (5.1.6.4) is made plain: a GSO frame is cut, a partial checksum completed. targets, of
 * each frame, may be NULL. Returns the number taken. */
unsigned rx_burst_put(struct rx_burst *b, struct net_frame *const *frames,
		      const struct vnet_target *const *targets, unsigned n);
/* Counts. Nothing is published yet. */
void rx_burst_finish(struct rx_burst *b);

/* rx_write.c. The header of a frame that lies in one buffer. */
void rx_write_header(struct rx_burst *b, const struct net_frame *f, uint8_t *dst);
/* Header and frame into buffers that have room for them: such as the driver merges, whose len
 * becomes what was written; chains, which are pushed. */
void rx_write_singles(struct rx_burst *b, const struct net_frame *f, struct vq_single *s,
		      unsigned n);
void rx_write_chains(struct rx_burst *b, const struct net_frame *f, const struct vq_chain *chains,
		     unsigned n);

#endif
