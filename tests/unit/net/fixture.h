/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A switch with dummy ports that record what they are given.
 */
#ifndef SOFTIOV_TESTS_NET_FIXTURE_H
#define SOFTIOV_TESTS_NET_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/port.h"
#include "util/bytes.h"
#include "util/util.h"

#define RECORD_MAX 64

struct record {
	uint32_t len;
	uint8_t data[256]; /* the first bytes */
	struct net_offload offload;
};

struct dummy {
	struct net_port *port;
	unsigned n;	   /* frames recorded */
	unsigned delivers; /* calls */
	unsigned flushes;
	unsigned link_changes;
	bool link;
	unsigned take_at_most; /* frames per call */
	uint32_t refuse_above; /* bytes: longer frames are not taken; 0: none */
	struct record rec[RECORD_MAX];
};

extern const struct net_port_ops dummy_ops;

/* last byte of a dummy's MAC is id */
void dummy_mac(unsigned id, uint8_t mac[6]);
void dummy_policy(struct net_policy *p, unsigned id);
void dummy_add(struct net_switch *sw, struct dummy *d, unsigned id);
void dummy_add_policy(struct net_switch *sw, struct dummy *d, const struct net_policy *p);
void dummy_add_uplink(struct net_switch *sw, struct dummy *d);
void dummy_clear(struct dummy *d);
void dummy_del(struct dummy *d);

/* Builds frames. tag: 0 none, else tpid << 16 | tci, outermost first. */
struct net_frame *frame_reset(struct net_frame *f);
void frame_eth(struct net_frame *f, const uint8_t *dst, const uint8_t *src, uint32_t tag,
	       uint32_t tag2, uint16_t type, uint32_t len);
/* From dummy to dummy, 64 bytes. */
void frame_simple(struct net_frame *f, unsigned dst, unsigned src, uint32_t tag);
#define TAG_Q(vid)  (0x81000000u | (vid))
#define TAG_AD(vid) (0x88a80000u | (vid))

/* Sends one such frame. */
void send_simple(struct dummy *from, unsigned dst, unsigned src, uint32_t tag);
void send_to(struct dummy *from, const uint8_t *dst, unsigned src, uint32_t tag);

uint64_t drops(const struct dummy *d, enum net_drop reason);
uint64_t all_drops(const struct dummy *d);
/* Outer EtherType and TCI of a record. */
uint16_t rec_type(const struct record *r);
uint16_t rec_tci(const struct record *r);

extern const uint8_t mac_bcast[6], mac_mcast[6], mac_other[6];

#endif
