/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_SUPPORT_GUEST_PRIVATE_H
#define TESTS_SUPPORT_GUEST_PRIVATE_H

#include "guest.h"

#define GUEST_BASE 0x100000ull /* guest address of the memory's first byte */

/* Where a capability says that a structure lies. */
struct guest_window {
	bool found;
	uint8_t bar;
	uint32_t off, len;
};

struct guest_queue {
	struct gvq q;
	bool up;
	uint64_t buf_addr; /* slot i at buf_addr + i * buf_len */
	uint8_t *buf;
	uint32_t buf_len;
	uint16_t notify_off;
	int doorbell;	/* eventfd or -1 */
	uint16_t *free; /* transmit: slots not in use */
	unsigned n_free;
	unsigned unflushed; /* receive: buffers given back, not published */
};

struct guest {
	struct guest_config cfg;
	struct vfu_client *client;
	char *path;
	int mem_fd;
	uint8_t *mem;
	size_t mem_len, mem_used;
	unsigned num_vectors;
	int irq[GUEST_VECTORS_MAX];
	struct guest_window common, notify, device, isr;
	uint32_t notify_mult;
	uint64_t offered, features;
	unsigned hdr_len, ctrl_index, num_queues;
	uint8_t mac[6];
	struct guest_queue queues[GUEST_QUEUES_MAX];
	uint8_t *ctrl_buf;
	uint64_t ctrl_addr;
	struct guest_stats stats;
	struct vfu_client_memory_ops memory_ops;
};

#define GUEST_CTRL_BUF 8192

/* For whoever connects a guest by something else than vfio-user. 0 or -errno each. */
void guest_set_defaults(struct guest_config *c);
int guest_make_memory(struct guest *g); /* the memfd, mapped here */
int guest_make_ring(struct guest *g, struct guest_queue *q, uint16_t size);
int guest_make_buffers(struct guest *g, struct guest_queue *q, uint32_t len, bool tx);
void guest_fill_receive_queues(struct guest *g);

#endif
