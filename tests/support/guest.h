/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest without a VM: connects to a function's vfio-user socket as a VMM does, gives it memory,
 * and drives its virtio-net device as a kernel's driver does. For the protocol tests, and as the
 * load generator of the benchmark: while the device keeps up, sending and receiving need no system
 * call, and a copy only where the caller asks for one.
 *
 * All calls return 0 (or a count) or a negative errno. One thread at a time per guest, except that
 * different queue pairs may be driven by different threads once the guest is started (their kicks
 * must then go by ioeventfd).
 */
#ifndef TESTS_SUPPORT_GUEST_H
#define TESTS_SUPPORT_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vfio_user/client.h"
#include "vring.h"

#define GUEST_PAIRS_MAX	  16
#define GUEST_QUEUES_MAX  (2 * GUEST_PAIRS_MAX + 1)
#define GUEST_VECTORS_MAX (GUEST_QUEUES_MAX + 1)
#define GUEST_HDR_MAX	  20
#define GUEST_BIT(n)	  (1ull << (n))

/* What this driver can make use of; features are chosen as config.features & offered. */
#define GUEST_F_CSUM	      GUEST_BIT(0)
#define GUEST_F_GUEST_CSUM    GUEST_BIT(1)
#define GUEST_F_CTRL_OFFLOADS GUEST_BIT(2)
#define GUEST_F_MTU	      GUEST_BIT(3)
#define GUEST_F_MAC	      GUEST_BIT(5)
#define GUEST_F_GUEST_TSO     (GUEST_BIT(7) | GUEST_BIT(8))
#define GUEST_F_HOST_TSO      (GUEST_BIT(11) | GUEST_BIT(12))
#define GUEST_F_MRG_RXBUF     GUEST_BIT(15)
#define GUEST_F_STATUS	      GUEST_BIT(16)
#define GUEST_F_CTRL_VQ	      GUEST_BIT(17)
#define GUEST_F_CTRL_RX	      GUEST_BIT(18)
#define GUEST_F_CTRL_VLAN     GUEST_BIT(19)
#define GUEST_F_MQ	      GUEST_BIT(22)
#define GUEST_F_CTRL_MAC      GUEST_BIT(23)
#define GUEST_F_INDIRECT      GUEST_BIT(28)
#define GUEST_F_EVENT_IDX     GUEST_BIT(29)
#define GUEST_F_VERSION_1     GUEST_BIT(32)
#define GUEST_F_PLATFORM      GUEST_BIT(33)
#define GUEST_F_PACKED	      GUEST_BIT(34)
#define GUEST_F_RING_RESET    GUEST_BIT(40)
#define GUEST_F_HASH	      GUEST_BIT(57)
#define GUEST_F_RSS	      GUEST_BIT(60)
/* A plain NIC on a split ring: what config.features 0 stands for. */
#define GUEST_F_DEFAULT                                                                            \
	(GUEST_F_VERSION_1 | GUEST_F_PLATFORM | GUEST_F_EVENT_IDX | GUEST_F_INDIRECT |             \
	 GUEST_F_MAC | GUEST_F_MTU | GUEST_F_STATUS | GUEST_F_MRG_RXBUF | GUEST_F_CTRL_VQ |        \
	 GUEST_F_CTRL_RX | GUEST_F_CTRL_VLAN | GUEST_F_CTRL_MAC | GUEST_F_MQ)

struct guest_config {
	const char *path;    /* vfio-user socket */
	uint64_t features;   /* wanted; 0: GUEST_F_DEFAULT. VERSION_1 is always added */
	size_t memory;	     /* bytes; 0: as much as the queues need */
	unsigned pairs;	     /* queue pairs; 0: 1. More than one needs GUEST_F_MQ */
	uint16_t queue_size; /* 0: what the device has, at most 256 */
	uint32_t rx_buf_len; /* of one receive buffer; 0: 2048 */
	uint32_t tx_buf_len; /* of one transmit slot, header included; 0: 2048 */
	bool no_fd;	     /* memory without an fd: served by DMA_READ/DMA_WRITE */
	bool layout28;	     /* with no_fd: the message layout that QEMU has */
	bool ioeventfd;	     /* kick by eventfd where the server offers them */
	bool no_interrupts;  /* never ask for any: poll */
	bool no_buffers;     /* the caller fills the queues' rings himself; memory must be given */
	unsigned timeout_ms; /* of one wait; 0: 5000 */
};

struct guest_stats {
	uint64_t kicks, waits; /* system calls made */
	uint64_t tx_frames, rx_frames, rx_bytes;
};

struct guest;

/* Connects, maps memory, sets up interrupts, bus mastering on: all but the driver. */
int guest_connect(const struct guest_config *cfg, struct guest **out);
/* The driver's initialization up to DRIVER_OK; receive buffers are posted. -ENOTSUP when the
 * device lacks a feature that the configuration cannot do without, -EPROTO when it misbehaves. */
int guest_start(struct guest *g);
/* Both. */
int guest_open(const struct guest_config *cfg, struct guest **out);
/* Resets the device by its status register; guest_start() may follow. */
int guest_stop(struct guest *g);
/* Closes the connection as a VMM that dies would (no reset first). NULL is allowed. */
void guest_close(struct guest *g);

struct vfu_client *guest_client(struct guest *g);
uint64_t guest_offered(const struct guest *g);	/* after start */
uint64_t guest_features(const struct guest *g); /* negotiated */
const struct guest_stats *guest_stats(const struct guest *g);
const uint8_t *guest_mac(const struct guest *g); /* as read at start */
unsigned guest_hdr_len(const struct guest *g);
/* Device status register, e.g. to see DEVICE_NEEDS_RESET (40h). */
int guest_status(struct guest *g, uint8_t *status);
/* Reads the device's configuration space. */
int guest_config_read(struct guest *g, unsigned off, void *buf, unsigned len);
/* The common configuration structure (tests of registers). */
int guest_common_read(struct guest *g, unsigned off, void *buf, unsigned len);
int guest_common_write(struct guest *g, unsigned off, uint64_t v, unsigned len);
/* The rings: queue 2n receives, 2n + 1 transmits, guest_ctrl_index() is the control queue. */
struct gvq *guest_queue(struct guest *g, unsigned index);
unsigned guest_ctrl_index(const struct guest *g);
void guest_kick(struct guest *g, unsigned index);
/* Eventfd of the queue's vector (or with -1 of configuration changes). */
int guest_irq_fd(const struct guest *g, int index);
/* Memory for a test's own use: pointer and guest address, 64-byte aligned; NULL when used up. */
void *guest_alloc(struct guest *g, size_t len, uint64_t *addr);

/* ---- transmit ---- */

/* The slot-wise, copyless way: take a free slot, write header and frame into its memory (what a
 * slot holds stays there from use to use), post any number, then flush. */
int guest_tx_slot(struct guest *g, unsigned pair); /* slot, or -EAGAIN */
uint8_t *guest_tx_ptr(struct guest *g, unsigned pair, unsigned slot);
void guest_tx_post(struct guest *g, unsigned pair, unsigned slot, uint32_t len); /* with header */
void guest_tx_flush(struct guest *g, unsigned pair);
/* Slots that the device has not given back yet. */
unsigned guest_tx_busy(struct guest *g, unsigned pair);

/* Copies a frame and sends it at once. hdr: guest_hdr_len() bytes, or NULL for zeros. -EAGAIN when
 * the ring is full, -EMSGSIZE. */
int guest_send(struct guest *g, unsigned pair, const void *hdr, const void *frame, uint32_t len);
/* The same in a chain of pieces buffers (2..GVQ_TABLE_MAX). */
int guest_send_pieces(struct guest *g, unsigned pair, const void *hdr, const void *frame,
		      uint32_t len, unsigned pieces);
/* Waits until everything sent was taken. 0 or -ETIMEDOUT. */
int guest_tx_wait(struct guest *g, unsigned pair, int timeout_ms);

/* ---- receive ---- */

/* Copies the next frame out (its buffers go back to the device). Its length, -EAGAIN when there is
 * none, -EMSGSIZE when max is too small (the frame is lost), -EPROTO when the device broke a rule.
 * hdr may be NULL. */
int guest_recv(struct guest *g, unsigned pair, void *hdr, void *frame, uint32_t max);
/* Waits for one, by interrupt unless no_interrupts: -ETIMEDOUT. */
int guest_recv_wait(struct guest *g, unsigned pair, void *hdr, void *frame, uint32_t max,
		    int timeout_ms);
/* Looks at each frame in place: the first buffer's part, and the whole length. */
typedef void guest_see_fn(void *opaque, const uint8_t *hdr, const uint8_t *frame, uint32_t part,
			  uint32_t total);
/* Takes up to max frames without copying, shows them to see (may be NULL) and gives the buffers
 * back. Their number, or -EPROTO. */
int guest_recv_burst(struct guest *g, unsigned pair, unsigned max, guest_see_fn *see, void *opaque);
/* Sleeps until the receive queue has something: 0 or -ETIMEDOUT. */
int guest_rx_wait(struct guest *g, unsigned pair, int timeout_ms);

/* ---- control queue ---- */

/* Sends a command; reply (may be NULL) receives what follows the acknowledgement. Gives the
 * acknowledgement (0: OK, 1: error), or a negative errno. */
int guest_ctrl(struct guest *g, uint8_t class, uint8_t cmd, const void *data, uint32_t len,
	       void *reply, uint32_t reply_len);
int guest_set_pairs(struct guest *g, uint16_t pairs);

/* Answers the server's memory requests (no_fd) for up to timeout_ms; 0 at once when none waits. */
void guest_serve(struct guest *g, int timeout_ms);

#endif
