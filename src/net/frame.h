/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A frame on its way through the switch: a private copy of its first bytes (the head, which every
 * decision is taken from and which is what the receiver gets, so a sender cannot change an
 * address after it was checked) and pointers to the rest in the sender's memory. The rest is
 * copied exactly once, into the receiver's buffers.
 *
 * Lives on the sender's side only while net_port_input() runs.
 */
#ifndef SOFTIOV_NET_FRAME_H
#define SOFTIOV_NET_FRAME_H

#include <net/ethernet.h>
#include <stdbool.h>
#include <stdint.h>

#define NET_TAG_LEN	 4u /* bytes of a VLAN tag */
#define NET_TAGS_MAX	 2u
#define NET_HEAD_MAX	 128	      /* bytes of head copied from the sender at most */
#define NET_HEAD_ROOM	 16	      /* room before it for two VLAN tags */
#define NET_FRAME_MAX	 (65536 + 64) /* bytes, a GSO frame with its headers and tags */
#define NET_SEGS_MAX	 64 /* pieces of the rest; a longer chain is coalesced by the port */
#define NET_BURST	 32
#define NET_OWN_SEGS	 3    /* pieces that a frame can describe by itself, see net_frame.own */
#define NET_GSO_SEGS_MAX 2048 /* frames that one GSO frame may become (no amplification) */

struct net_seg {
	const uint8_t *ptr;
	uint32_t len;
};

/* Meaning and values of struct virtio_net_hdr (virtio 1.3, 5.1.6), in host byte order, checked by
 * the port that made the frame: csum_start + csum_offset + 2 <= len when NEEDS_CSUM. Offsets
 * count from the first byte of the frame as it is now (VLAN edits adjust them). */
enum net_gso { NET_GSO_NONE = 0, NET_GSO_TCPV4 = 1, NET_GSO_TCPV6 = 4, NET_GSO_UDP_L4 = 5 };

struct net_offload {
	bool needs_csum; /* checksum at csum_start + csum_offset is the pseudo-header's */
	bool data_valid; /* checksum was verified by somebody trusted */
	bool gso_ecn;
	uint8_t gso_type; /* enum net_gso */
	uint16_t gso_size;
	uint16_t hdr_len; /* a hint */
	uint16_t csum_start, csum_offset;
};

struct net_frame {
	uint32_t len;		    /* whole frame, bytes, without FCS */
	uint16_t head_len;	    /* bytes in head[]: min(len, NET_HEAD_MAX) at first */
	uint16_t head_off;	    /* head starts at head_buf + head_off */
	const struct net_seg *segs; /* the remaining len - head_len bytes */
	uint16_t nsegs;
	bool not_taken; /* deliver() sets it on each frame it did not take, so that the port's
			   byte counters are exact; see net_port_ops */
	struct net_offload offload;
	_Alignas(16) uint8_t head_buf[NET_HEAD_ROOM + NET_HEAD_MAX];
	struct net_seg
		own[NET_OWN_SEGS]; /* segs points here once bytes were pulled into the head */
};

static inline uint8_t *net_frame_head(struct net_frame *f)
{
	return f->head_buf + f->head_off;
}

static inline const uint8_t *net_frame_chead(const struct net_frame *f)
{
	return f->head_buf + f->head_off;
}

/* The lengths of a frame, as its maker claims them, hang together: true for a head that holds
 * addresses, tags and type. */
static inline bool net_frame_lengths_valid(const struct net_frame *f)
{
	return f->len >= ETH_HLEN && f->len <= NET_FRAME_MAX - NET_TAGS_MAX * NET_TAG_LEN &&
	       f->head_len <= f->len && f->head_off + f->head_len <= sizeof(f->head_buf) &&
	       (f->head_len == f->len || f->head_len >= ETH_HLEN + NET_TAGS_MAX * NET_TAG_LEN) &&
	       f->nsegs <= NET_SEGS_MAX && !f->nsegs == (f->len == f->head_len);
}

/*
 * What a valid frame may cost its worker at most, in bytes copied or the like: by its length, by
 * the segments it may be cut into, and by the number of its receivers, which is only guessed. The
 * worker's other pollers wait, and so do other senders to the same receiver, while a burst is
 * delivered; so a burst is bounded by this as well as by its frames.
 */
static inline uint32_t net_frame_cost(const struct net_frame *f)
{
	uint32_t cost = f->len;

	if (f->offload.gso_type && f->offload.gso_size)
		cost += f->len / f->offload.gso_size * 256;
	return net_frame_chead(f)[0] & 1 ? 16 * cost : cost;
}

/* Bytes up to the end of the transport header of a frame whose offload names one, as far as its
 * head shows that; not bounded by the frame's length. */
uint32_t net_frame_header_len(const struct net_frame *f);

/* Copies bytes [off, off + len) of the frame to dst; the range must lie inside the frame. */
void net_frame_copy(const struct net_frame *f, uint32_t off, void *dst, uint32_t len);

/*
 * Completes the checksum that offload.needs_csum asks for (writes it into the head, which must
 * contain the field: it is pulled in if it does not). 0, or -EINVAL for offsets outside the frame
 * or a field that the head has no room for. After it needs_csum is false.
 *
 * In deliver(), where frames are read-only, work on a copy: net_frame_clone(). Any thread.
 */
int net_frame_complete_csum(struct net_frame *f);

/* Copies src without the bytes that are not in use; valid as long as src is. */
void net_frame_clone(struct net_frame *dst, const struct net_frame *src);

/*
 * Makes the first len bytes of the frame lie in the head. 0, or -EINVAL when the frame is shorter,
 * -ENOBUFS when the head has no room or what remains does not fit net_frame.own.
 */
int net_frame_pull(struct net_frame *f, uint32_t len);

/* Checks lengths and offload fields of a frame as its maker claims them: every offset inside, the
 * checksum field behind the Ethernet header and its tags. False: drop it. Any thread. */
bool net_frame_valid(const struct net_frame *f);

/* One VLAN tag at byte 12 of the frame: offsets follow. insert: -ENOBUFS when no room is left
 * before the head. strip: the caller has seen the tag in the head. */
int net_frame_insert_tag(struct net_frame *f, uint16_t proto, uint16_t tci);
void net_frame_strip_tag(struct net_frame *f);

/*
 * Cuts a GSO frame into frames of at most gso_size payload bytes, with IP lengths, ids, TCP
 * sequence numbers and flags, UDP lengths and checksums right (RFC 791, 8200, 9293, 768), and
 * hands each to emit (valid during the call only). csum: complete checksums; otherwise leave them
 * partial (needs_csum). Returns the number of segments, or -EINVAL when headers do not parse, the
 * offload does not belong to them, or more than NET_GSO_SEGS_MAX frames would come of it; then
 * nothing was emitted. A frame that is not GSO is emitted once. Any thread; reads payload only to
 * sum it.
 */
int net_frame_segment(const struct net_frame *f, bool csum,
		      void (*emit)(void *opaque, struct net_frame *seg), void *opaque);

/* Hash input of the frame for RSS and flow tables. */
struct net_flow {
	uint8_t l3; /* 0, 4 or 6 */
	uint8_t l4; /* 0, IPPROTO_TCP or IPPROTO_UDP (not for fragments) */
	uint16_t l3_off, l4_off;
	uint8_t saddr[16], daddr[16]; /* first 4 bytes for IPv4 */
	uint16_t sport, dport;	      /* network order */
};
void net_frame_flow(const struct net_frame *f, struct net_flow *flow);

#endif
