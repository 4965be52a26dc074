/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to the room: the device's state and who owns each part of it.
 *
 * - Configuration and driver settings: the control thread. What the data path reads of them is
 *   _Atomic (offloads, pairs, coalescing) or an immutable table behind an _Atomic pointer (steer).
 * - A receive queue: whoever holds its lock. A remote one: its poller; only the FIFO in front of
 *   it is shared, under the lock.
 * - A transmit queue and the control queue: their pollers.
 */
#ifndef SOFTIOV_VIRTIO_NET_VNET_H
#define SOFTIOV_VIRTIO_NET_VNET_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/frame.h"
#include "net/port.h"
#include "net/shaper.h"
#include "spec/virtio_net_spec.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/util.h"
#include "virtio/device.h"
#include "virtio/virtqueue.h"
#include "virtio_net/virtio_net.h"
#include "worker/mailbox.h"
#include "worker/worker.h"

#define VNET_RSS_KEY_MAX    40	 /* bytes; the least that 5.1.4 allows */
#define VNET_RSS_TABLE_MAX  128	 /* entries; likewise */
#define VNET_CTRL_CMD_MAX   8192 /* bytes of one control command, class and command included */
#define VNET_CTRL_REPLY_MAX 8192 /* bytes of its result, without the ack */
#define VNET_FLOWS	    1024 /* entries of the flow table of automatic steering */
#define VNET_FIFO_SIZE	    (512u << 10) /* bytes waiting for one remote receive queue */
#define VNET_CHAINS_MAX	    1024	 /* buffers that one frame may take */
#define VNET_SINGLES_MAX    64		 /* of these, such that are taken by bursts */

#define VNET_HASH_TYPES                                                                            \
	(VIRTIO_NET_RSS_HASH_TYPE_IPv4 | VIRTIO_NET_RSS_HASH_TYPE_TCPv4 |                          \
	 VIRTIO_NET_RSS_HASH_TYPE_UDPv4 | VIRTIO_NET_RSS_HASH_TYPE_IPv6 |                          \
	 VIRTIO_NET_RSS_HASH_TYPE_TCPv6 | VIRTIO_NET_RSS_HASH_TYPE_UDPv6)

/* The offloads that CTRL_GUEST_OFFLOADS switches (5.1.6.5.6.1). GUEST_HDRLEN is none by the
 * standard, but Linux's driver counts it among them and could switch nothing if it were refused. */
#define VNET_GUEST_OFFLOADS                                                                        \
	(BIT_ULL(VNET_F_GUEST_HDRLEN) | BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) |                         \
	 BIT_ULL(VIRTIO_NET_F_GUEST_TSO4) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO6) |                     \
	 BIT_ULL(VIRTIO_NET_F_GUEST_ECN) | BIT_ULL(VNET_F_GUEST_USO4) |                            \
	 BIT_ULL(VNET_F_GUEST_USO6))

/* A counter with one writer at a time and any reader. */
typedef _Atomic uint64_t vnet_counter;

static inline void vnet_add(vnet_counter *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline uint64_t vnet_get(const vnet_counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

/* Held for a burst of copies. A holder that lost its core is given one. */
struct vnet_lock {
	_Atomic uint32_t held;
};

static inline void vnet_lock(struct vnet_lock *l)
{
	unsigned spins = 0;

	while (atomic_exchange_explicit(&l->held, 1, memory_order_acquire)) {
		while (atomic_load_explicit(&l->held, memory_order_relaxed)) {
			if (++spins % 256 == 0)
				sched_yield();
			else
				cpu_relax();
		}
	}
}

static inline void vnet_unlock(struct vnet_lock *l)
{
	atomic_store_explicit(&l->held, 0, memory_order_release);
}

/* Notification coalescing of one queue (5.1.6.5.8). The parameters are control's. */
struct vnet_coal {
	_Atomic uint32_t max_packets, max_usecs;
	_Atomic bool held; /* the driver is owed an interrupt */
	uint32_t packets;  /* since then */
	uint64_t due_ns;
};

struct vnet_fifo;

struct vnet_rxq {
	_Alignas(CACHE_LINE) struct vnet_lock lock;
	bool pending; /* pushed, not yet published */
	bool broken;
	uint32_t unsignalled; /* frames since the last publication */
	uint32_t buf_len;     /* of the last buffer looked at for part of a frame: a guess */
	struct virtqueue *vq; /* NULL: not running */
	struct virtio_net *net;
	struct vnet_fifo *fifo; /* of a remote queue */
	unsigned pair;
	struct vnet_coal coal;
	struct poller poller; /* of a remote queue */
	vnet_counter packets, bytes, irqs, drops, overruns;
	vnet_counter csum_valid, csum_needed, csum_none, gso_packets, gso_bytes;
	vnet_counter fifo_drops; /* the lock's holder writes */
	vnet_counter kicks;	 /* control writes */
};

struct vnet_txq {
	_Alignas(CACHE_LINE) struct poller poller;
	struct virtio_net *net;
	struct virtqueue *vq; /* NULL: not running */
	unsigned pair;
	bool broken;
	struct vnet_coal coal;
	struct net_shaper_queue shape;
	uint64_t held_since_ns; /* 0: not held back by a rate */
	vnet_counter packets, bytes, irqs, malformed, csum_none, csum_needed;
	vnet_counter kicks; /* control writes */
};

enum vnet_ctrl_state { VNET_CTRL_IDLE, VNET_CTRL_BUSY, VNET_CTRL_DONE };

/* One command at a time. The chain is not held while the control thread works: it is given back
 * and taken again, for its pointers are good for one poll() only. */
struct vnet_ctrl {
	struct poller poller;
	struct virtio_net *net;
	struct virtqueue *vq;
	struct mailbox_work work;
	_Atomic int state; /* enum vnet_ctrl_state */
	bool broken;
	uint8_t ack;
	uint32_t cmd_len, reply_len, reply_max;
	vnet_counter irqs, commands, ok, kicks;
	uint8_t cmd[VNET_CTRL_CMD_MAX];
	uint8_t reply[VNET_CTRL_REPLY_MAX];
};

/* A key, spread so that four bits of input cost one look-up. */
struct vnet_toeplitz {
	uint32_t nibble[2 * 36][16];
};
void vnet_toeplitz_init(struct vnet_toeplitz *t, const uint8_t *key, unsigned key_len);
uint32_t vnet_toeplitz_hash(const struct vnet_toeplitz *t, const uint8_t *data, unsigned len);

/* How received frames find their queue. Immutable once published. */
struct vnet_steer {
	uint16_t pairs; /* receive queues of automatic steering */
	bool rss;	/* the table decides */
	bool report;	/* hash report in the header */
	bool simple;	/* one queue, no hash: nothing to compute */
	uint32_t hash_types;
	uint16_t mask, unclassified;
	uint16_t table[VNET_RSS_TABLE_MAX];
	struct vnet_toeplitz toeplitz; /* allocated only when hash_types is not 0 */
};

struct vnet_target {
	uint32_t hash;
	uint16_t report; /* VIRTIO_NET_HASH_REPORT_ */
	uint16_t queue;	 /* pair, or VNET_NOWHERE */
};
#define VNET_NOWHERE UINT16_MAX

/* What the driver asked for with the control queue; the control thread's. */
struct vnet_rx_mode {
	struct net_filter filter; /* alluni and allmulti as commanded */
	bool uni_overflow, multi_overflow;
};

struct virtio_net {
	struct virtio_device *vd;
	struct pci_function *fn;
	struct net_port *port;
	struct worker_pool *pool;
	struct virtio_net_config cfg;
	struct net_policy policy; /* the administrator's */
	char name[64];

	/* read by the data path */
	_Alignas(CACHE_LINE) _Atomic(const struct vnet_steer *) steer;
	_Atomic uint64_t features; /* negotiated, 0 before FEATURES_OK */
	_Atomic uint64_t offloads; /* GUEST_ offloads in force */
	_Atomic uint32_t tx_pairs; /* transmit queues served */
	_Atomic uint32_t rx_running;
	_Atomic uint32_t hdr_len;
	struct net_shaper_port shape;			/* transmit rates */
	_Alignas(CACHE_LINE) _Atomic uint32_t rx_dirty; /* queues to publish at flush */

	_Alignas(CACHE_LINE) struct vnet_rxq *rx;
	struct vnet_txq *tx;
	struct vnet_ctrl *ctrl;
	_Atomic uint32_t *flows;   /* of automatic steering; NULL with one pair */
	struct poller coal_poller; /* pays interrupts owed by receive queues */
	struct poller_share share; /* of all its queues */
	bool coal_running;
	bool doorbells;	  /* the client asked for eventfds */
	bool mac_changed; /* by the driver; not yet taken back */
	struct log_limit mac_log;
	uint64_t offered;
	/* TX/RX-wide coalescing, for queues started later */
	struct vnet_ctrl_coal coal_rx, coal_tx;
	struct vnet_rx_mode mode;
};

static inline bool vnet_has(const struct virtio_net *net, unsigned feature)
{
	return atomic_load_explicit(&net->features, memory_order_relaxed) & BIT_ULL(feature);
}

static inline unsigned vnet_rx_index(unsigned pair)
{
	return 2 * pair;
}

static inline unsigned vnet_tx_index(unsigned pair)
{
	return 2 * pair + 1;
}

/* Working space of one data-path thread; never held across a poll(). */
struct vnet_scratch {
	struct vq_buf tx_bufs[2 * VQ_BUFS_MAX];
	struct vq_chain tx_chains[NET_BURST];
	struct vq_single tx_singles[NET_BURST];
	struct net_frame frames[NET_BURST];
	struct vq_buf rx_bufs[2 * VQ_BUFS_MAX];
	struct vq_chain rx_chains[VNET_CHAINS_MAX];
	struct vq_single rx_singles[VNET_SINGLES_MAX];
	uint8_t flat[NET_FRAME_MAX]; /* a transmitted frame of too many pieces */
};
struct vnet_scratch *vnet_scratch(void);

/* config.c */
uint64_t vnet_features_offered(const struct virtio_net_config *cfg);
bool vnet_features_valid(uint64_t features);
void vnet_config_init(struct virtio_net *net);
void vnet_config_mac(struct virtio_net *net, bool notify);
/* Control. Sets and clears status bits; the driver is told. */
void vnet_config_status(struct virtio_net *net, uint16_t set, uint16_t clear);

void vnet_link_changed(struct net_port *port, bool up);

/* tx_frame.c. VNET_TX_DROP: the frame makes no sense. VNET_TX_LATER: s->flat is needed but was
 * taken by an earlier frame of the burst. */
enum vnet_tx_result { VNET_TX_FRAME, VNET_TX_DROP, VNET_TX_LATER };
enum vnet_tx_result vnet_tx_frame(const struct virtio_net *net, struct vnet_scratch *s,
				  const struct vq_chain *chain, struct net_frame *f,
				  bool *flat_used);
/* The frame of a chain of one buffer, which is changed and becomes the frame's rest. False: drop
 * it. hdr_len: of the virtio header. */
bool vnet_tx_single(const struct virtio_net *net, uint32_t hdr_len, struct vq_single *from,
		    struct net_frame *f);

/* tx.c */
extern const struct poller_ops vnet_tx_poller;

/* rx.c */
extern const struct net_port_ops vnet_port_ops;
extern const struct poller_ops vnet_rx_remote_poller;
extern const struct poller_ops vnet_rx_coal_poller;

/* steer.c */
int vnet_steer_set(struct virtio_net *net, const struct vnet_steer *model, const uint8_t *key,
		   unsigned key_len);
void vnet_steer_default(struct virtio_net *net);
void vnet_steer_frame(const struct virtio_net *net, const struct vnet_steer *steer,
		      const struct net_frame *f, struct vnet_target *t);
/* A transmitted frame teaches automatic steering where its answers belong. */
void vnet_steer_learn(struct virtio_net *net, const struct net_frame *f, unsigned pair);
void vnet_steer_hash(const struct vnet_steer *steer, const struct net_flow *flow,
		     struct vnet_target *t);

/*
 * shape.c: while net_shaper_limited(&net->shape). False: the queue is held back, nothing may be
 * taken from it; its timer is set. Else *budget is lowered to what may be sent, which
 * vnet_shape_sent() is then told. From poll().
 */
bool vnet_shape_may(struct vnet_txq *q, uint32_t *budget);
void vnet_shape_sent(struct vnet_txq *q, const struct net_frame *frames, unsigned n);
/* Of a queue for which net_shaper_waits(): true when it is to stay un-armed. From arm(). */
bool vnet_shape_holds(struct vnet_txq *q, bool ready);
/* It has nothing to send, or is stopped. */
void vnet_shape_leave(struct vnet_txq *q);
/* Rates of the policy or of the device have changed. Control. */
void vnet_shape_set(struct virtio_net *net);

/* coal.c: true when the interrupt is to be raised now. */
bool vnet_coal_due(struct vnet_coal *c, bool want, unsigned packets);
void vnet_coal_reset(struct vnet_coal *c, const struct vnet_ctrl_coal *params);

/* fifo.c */
int vnet_fifo_create(struct vnet_fifo **out);
void vnet_fifo_destroy(struct vnet_fifo *fifo);
/* False when it is full. One producer at a time. */
bool vnet_fifo_put(struct vnet_fifo *fifo, const struct net_frame *f);
/* Gives the oldest frame (valid until vnet_fifo_drop()), false when empty. One consumer. */
bool vnet_fifo_peek(struct vnet_fifo *fifo, struct net_frame *f, struct net_seg *seg);
void vnet_fifo_drop(struct vnet_fifo *fifo);
bool vnet_fifo_empty(struct vnet_fifo *fifo);

/* ctrl.c and its commands. data: what follows class and command. */
struct vnet_cmd {
	struct virtio_net *net;
	uint8_t class, cmd;
	const uint8_t *data;
	uint32_t len;
	uint8_t *reply;
	uint32_t reply_max, reply_len;
};
extern const struct poller_ops vnet_ctrl_poller;
void vnet_ctrl_run(struct mailbox_work *work);
/* The queue index of the control queue with these features (5.1.2). */
unsigned vnet_ctrl_index(const struct virtio_net *net);
/* Each returns VIRTIO_NET_OK or VIRTIO_NET_ERR. Control. */
uint8_t vnet_ctrl_rx(struct vnet_cmd *c);
uint8_t vnet_ctrl_mac(struct vnet_cmd *c);
uint8_t vnet_ctrl_vlan(struct vnet_cmd *c);
uint8_t vnet_ctrl_announce(struct vnet_cmd *c);
uint8_t vnet_ctrl_mq(struct vnet_cmd *c);
uint8_t vnet_ctrl_offloads(struct vnet_cmd *c);
uint8_t vnet_ctrl_coal(struct vnet_cmd *c);
uint8_t vnet_ctrl_stats(struct vnet_cmd *c);
/* The filter that a driver starts with. */
void vnet_rx_mode_start(struct virtio_net *net);
void vnet_rx_mode_reset(struct virtio_net *net);

/* A queue's memory can no longer be trusted: stop the function, keep the rest. Any thread. */
void vnet_break(struct virtio_net *net, const char *why);

#endif
