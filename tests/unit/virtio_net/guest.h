/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest in miniature: memory, a driver that sets the function up through its registers as a
 * kernel does, rings, and frames whose bytes can be checked. The test's thread is the control
 * thread.
 */
#ifndef TESTS_UNIT_VIRTIO_NET_GUEST_H
#define TESTS_UNIT_VIRTIO_NET_GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "../../support/vring.h"
#include "net/port.h"
#include "pci/function.h"
#include "spec/virtio_net_spec.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/util.h"
#include "virtio_net/virtio_net.h"
#include "worker/mailbox.h"
#include "worker/worker.h"

#define GUEST_BASE  0x100000ull /* where memory starts in the guest */
#define GUEST_MEM   (48u << 20)
#define GUEST_PAIRS 4
#define GUEST_QSIZE 256
#define GUEST_BUFS  256 /* per receive queue at most */
#define F(bit)	    BIT_ULL(bit)

/* All that a modern driver takes; single features are taken away from it. */
#define GUEST_OFFLOADS                                                                             \
	(F(VIRTIO_NET_F_GUEST_CSUM) | F(VIRTIO_NET_F_GUEST_TSO4) | F(VIRTIO_NET_F_GUEST_TSO6) |    \
	 F(VNET_F_GUEST_USO4) | F(VNET_F_GUEST_USO6))
#define HOST_OFFLOADS                                                                              \
	(F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_HOST_TSO4) | F(VIRTIO_NET_F_HOST_TSO6) |            \
	 F(VNET_F_HOST_USO))
#define GUEST_FEATURES                                                                             \
	(F(VIRTIO_F_VERSION_1) | F(VIRTIO_F_ACCESS_PLATFORM) | F(VIRTIO_NET_F_MAC) |               \
	 F(VIRTIO_NET_F_STATUS) | F(VIRTIO_NET_F_CTRL_VQ) | F(VIRTIO_NET_F_MRG_RXBUF) |            \
	 F(VIRTIO_RING_F_EVENT_IDX) | F(VIRTIO_RING_F_INDIRECT_DESC) | HOST_OFFLOADS |             \
	 GUEST_OFFLOADS)

struct world {
	struct worker_pool *pool;
	struct net_switch *sw;
};
void world_create(struct world *w, unsigned workers);
void world_destroy(struct world *w);

struct guest {
	struct world *w;
	struct virtio_net *net;
	struct pci_function *fn;
	struct dma_space *dma;
	uint8_t *mem;
	uint64_t brk; /* next free byte, an offset into mem */
	int memfd;
	bool remote; /* memory is only reached by messages */
	uint8_t mac[6];
	unsigned pairs; /* set up */
	uint64_t features;
	uint32_t hdr_len;
	struct gvq rx[GUEST_PAIRS], tx[GUEST_PAIRS], ctrl;
	unsigned ctrl_index;
	uint64_t rx_bufs[GUEST_PAIRS]; /* offset of the buffers of each queue */
	uint32_t rx_buf_size;
	unsigned rx_nbufs;
	uint64_t tx_area, ctrl_area;
};

struct guest_opts {
	uint64_t features, features_off;
	unsigned pairs;	      /* of the device */
	uint32_t rx_buf_size; /* 0: 2048 */
	unsigned rx_nbufs;    /* 0: 128 */
	uint16_t mtu;	      /* 0: 1500 */
	struct net_shaper *shaper;
	bool packed, no_rx_buffers, remote;
};

/* A function with MAC 02:00:00:00:00:<id>, attached and driven up to DRIVER_OK. */
void guest_create(struct world *w, struct guest *g, uint8_t id, const struct guest_opts *o);
void guest_destroy(struct guest *g);
/* The driver's part alone, after a reset. */
void guest_start(struct guest *g, const struct guest_opts *o);
void guest_reset(struct guest *g);
void guest_fill_rx(struct guest *g, unsigned queue);

uint64_t reg_read(struct guest *g, unsigned off, unsigned len);
void reg_write(struct guest *g, unsigned off, uint64_t v, unsigned len);
uint8_t guest_status(struct guest *g);
void guest_config(struct guest *g, struct virtio_net_config_space *c);
void guest_kick(struct guest *g, unsigned index);

struct frame_spec {
	const uint8_t *dst, *src;
	unsigned l3;   /* 4, 6, or 0: no IP */
	uint8_t proto; /* IPPROTO_TCP, IPPROTO_UDP */
	uint32_t len;  /* whole frame */
	uint16_t sport, dport;
	bool partial; /* leave the checksum to the device */
	uint16_t gso; /* segment size */
};
/* Builds the frame and its virtio header. */
void frame_build(const struct frame_spec *s, uint8_t *frame, struct virtio_net_hdr_v1 *hdr);
/* Checks IP and transport checksums by the book. */
bool frame_sums_ok(const uint8_t *frame, uint32_t len);
/* Offset of the transport's payload. */
uint32_t frame_payload(const uint8_t *frame);

/* Sends one frame in pieces of piece bytes (0: one). */
void guest_send(struct guest *g, unsigned queue, const struct virtio_net_hdr_v1 *hdr,
		const uint8_t *frame, uint32_t len, uint32_t piece);
/* Waits until everything sent has been given back; false after 5 s. */
bool guest_tx_wait(struct guest *g, unsigned queue);

struct received {
	struct virtio_net_hdr_v1_hash hdr;
	uint32_t len;
	uint8_t frame[NET_FRAME_MAX];
};
/* Waits up to ms for a frame; gives the buffers back. */
bool guest_recv(struct guest *g, unsigned queue, struct received *r, unsigned ms);
/* Runs a control command; returns the ack. reply may be NULL. */
uint8_t guest_ctrl(struct guest *g, uint8_t class, uint8_t cmd, const void *data, uint32_t len,
		   void *reply, uint32_t reply_len);
uint64_t guest_drops(struct guest *g, enum net_drop reason);
/* A turn of the control thread while waiting. */
void control_turn(void);

#endif
