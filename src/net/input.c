/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way of a burst through the switch, on the worker of whoever sent it:
 *
 *   classify  each frame, from its private head: offload fields, VLAN, source, destination
 *   group     by receiver, in the order of arrival
 *   deliver   once to each receiver, after giving the frames the tag form it is to see
 *
 * A frame carries a tag in its head only when it has to: between two ports of the same port VLAN
 * nothing is inserted or stripped.
 */
#include "net/internal.h"
#include "net/parse.h"

#define DST_DROP  (-1)
#define DST_FLOOD (-2) /* several receivers: group address, or unknown unicast */
#define NO_DROP	  NET_DROP_REASONS
#define BYTE_TYPE (2 * ETH_ALEN) /* offset of the outer EtherType */

struct frame_class {
	uint64_t dst;
	int index;	    /* of the receiver, or DST_* */
	int next;	    /* frame of the same receiver, -1: last */
	uint16_t vlan;	    /* with VLAN_S, 0: none */
	uint16_t tpid, tci; /* of the tag when it is not in the head */
	bool form;	    /* seen with its tag by a port without port VLAN */
	bool tagged;	    /* the tag is in the head now */
};

struct group {
	int index;
	int first, last;
};

struct burst {
	const struct net_table *t;
	const struct net_view *in;
	struct net_port *port;
	struct net_frame *frames;
	unsigned n, n_groups, n_flood;
	/* Last destination and source looked up: a burst mostly has one. */
	uint64_t last_dst, last_src;
	uint16_t last_dst_vlan, last_src_vlan;
	int last_index;
	struct net_frame *list[NET_BURST]; /* for the receiver at hand */
	int list_class[NET_BURST];
	uint64_t list_count[CNT_TX_PACKETS]; /* what it receives if it takes all */
	struct frame_class class[NET_BURST];
	struct group groups[NET_BURST];
	uint8_t flood[NET_BURST]; /* frames with DST_FLOOD, in order */
	uint64_t count[CNT_NUM];  /* of the sender */
};

/* VLAN of a frame with its outer tag in the head, as the sender's port may use it. */
static inline enum net_drop classify_tag(const struct net_view *in, const uint8_t *head,
					 unsigned head_len, uint16_t type, struct frame_class *c)
{
	uint16_t vid;

	if (in->vlan) {
		/* The one thing that may be inside a provider's tag is a customer's. */
		if (in->tpid == NET_TPID_AD && type == NET_TPID_Q)
			return NO_DROP;
		return NET_DROP_TX_SPOOF_VLAN;
	}
	if (head_len < BYTE_TYPE + NET_TAG_LEN + 2)
		return NET_DROP_TX_MALFORMED;
	vid = get_be16(head + BYTE_TYPE + 2) & VLAN_VID_MASK;
	if (vid == VLAN_RESERVED)
		return NET_DROP_TX_MALFORMED;
	if (in->trunk) {
		/* The list is of C-VLANs. A priority tag must not hide a tag behind it: the next
		 * bridge would take that one for the frame's VLAN. */
		if (type != NET_TPID_Q || (vid && !bitmap_has(in->policy.trunk, vid)) ||
		    (!vid && net_is_tag(get_be16(head + BYTE_TYPE + NET_TAG_LEN))))
			return NET_DROP_TX_SPOOF_VLAN;
	}
	c->vlan = vid | (vid && type == NET_TPID_AD ? VLAN_S : 0);
	c->form = c->tagged = true;
	return NO_DROP;
}

static int lookup_learnt(const struct net_table *t, uint64_t dst, uint16_t vlan)
{
	int slot, index;

	if (!t->learnt)
		return DST_FLOOD;
	slot = learnt_find(t->learnt, learnt_hash(dst, vlan, t->seed), dst, vlan);
	if (slot < 0)
		return DST_FLOOD;
	/* What was learnt outlives the uplink's place in the table by a moment. */
	index = t->uplinks[slot];
	if (index == NET_NO_PORT || !view_member(t->views[index], vlan))
		return DST_FLOOD;
	return index;
}

static inline int lookup(struct burst *b, uint64_t dst, uint16_t vlan)
{
	const struct net_table *t = b->t;
	int index;

	if (dst == b->last_dst && vlan == b->last_dst_vlan)
		return b->last_index;
	index = table_find(t, dst, vlan);
	if (index < 0)
		index = lookup_learnt(t, dst, vlan);
	b->last_dst = dst;
	b->last_dst_vlan = vlan;
	b->last_index = index;
	return index;
}

static void learn(struct burst *b, uint64_t src, uint16_t vlan)
{
	const struct net_table *t = b->t;

	b->last_src = src;
	b->last_src_vlan = vlan;
	/* What the burst has found out about it holds no longer. */
	if (src == b->last_dst)
		b->last_dst = MAC_BROADCAST;
	if (!src || src & MAC_GROUP || table_find(t, src, vlan) >= 0)
		return;
	learnt_add(t->learnt, learnt_hash(src, vlan, t->seed), src, vlan, b->port->uplink_slot,
		   atomic_load_explicit(&b->port->sw->now_s, memory_order_relaxed));
}

/* What the receiver's driver would see as the VID: 0 when untagged (or with an S-tag). */
static uint16_t visible_vid(const struct net_view *to, const struct net_frame *f,
			    const struct frame_class *c)
{
	const uint8_t *type = net_frame_chead(f) + BYTE_TYPE;

	if (!to->vlan)
		return c->vlan & VLAN_S ? 0 : c->vlan;
	if (c->tagged)
		type += NET_TAG_LEN;
	return get_be16(type) == NET_TPID_Q ? get_be16(type + 2) & VLAN_VID_MASK : 0;
}

static bool passes_vlan_filter(const struct net_view *to, const struct net_frame *f,
			       const struct frame_class *c)
{
	uint16_t vid;

	if (to->all || !to->filter.vlan_filter)
		return true;
	vid = visible_vid(to, f, c);
	return !vid || bitmap_has(to->filter.vlans, vid);
}

static bool multicast_listed(const struct net_view *to, uint64_t mac)
{
	if (!(to->multi_bloom & BIT_ULL(mac_hash(mac, 0) >> 58)))
		return false;
	for (unsigned i = 0; i < to->n_multi; i++)
		if (to->multi[i] == mac)
			return true;
	return false;
}

/* Does this port take a frame that goes to several? */
static bool wants(const struct net_view *to, const struct net_frame *f, const struct frame_class *c)
{
	if (!view_member(to, c->vlan))
		return false;
	if (!(c->dst & MAC_GROUP)) {
		if (!to->flood)
			return false;
	} else if (c->dst == MAC_BROADCAST) {
		if (to->filter.nobcast && !to->all)
			return false;
	} else if (!to->all && !to->promisc) {
		if (to->filter.nomulti || (!to->allmulti && !multicast_listed(to, c->dst)))
			return false;
	}
	return passes_vlan_filter(to, f, c);
}

/* A frame without offloads is valid at a glance. */
static inline bool frame_valid(const struct net_frame *f)
{
	if (likely(!f->offload.needs_csum && !f->offload.gso_type))
		return net_frame_lengths_valid(f);
	return net_frame_valid(f);
}

/* Destination, source and EtherType of a frame as two numbers that overlap. */
struct eth_words {
	uint64_t low;  /* bytes 0 to 7 */
	uint64_t high; /* bytes 6 to 13 */
};

static inline struct eth_words eth_words(const struct net_frame *f)
{
	const uint8_t *head = net_frame_chead(f);

	return (struct eth_words){get_le64(head), get_le64(head + ETH_ALEN)};
}

static inline uint16_t eth_type(struct eth_words eth)
{
	return __builtin_bswap16((uint16_t)(eth.high >> 48));
}

/* Ingress checks of a valid frame; sets c. Returns the reason to drop it, or NO_DROP. */
static enum net_drop classify(struct burst *b, struct net_frame *f, struct eth_words eth,
			      struct frame_class *c)
{
	const struct net_view *in = b->in;
	uint64_t src = eth.high & MAC_MASK;
	uint16_t type = eth_type(eth);

	c->dst = eth.low & MAC_MASK;
	c->vlan = in->vlan;
	c->form = in->vlan != 0;
	c->tagged = false;
	c->tpid = in->tpid;
	c->tci = in->tci;
	if (unlikely(net_is_tag(type))) {
		enum net_drop drop = classify_tag(in, net_frame_chead(f), f->head_len, type, c);

		if (drop != NO_DROP)
			return drop;
	}
	if (in->uplink && (src != b->last_src || c->vlan != b->last_src_vlan))
		learn(b, src, c->vlan);
	if (in->spoof_check && src != in->mac && !table_owns(b->t, src, b->port->index))
		return NET_DROP_TX_SPOOF_MAC;
	if (c->dst & MAC_GROUP) {
		/* A guest's pause frames, spanning tree or LLDP would talk to the neighbours of the
		 * host's own port as if they were the host's. */
		if (unlikely((c->dst & MAC_LINK_LOCAL_MASK) == MAC_LINK_LOCAL) && !in->uplink &&
		    !in->policy.trust)
			return NET_DROP_TX_NO_DEST;
		c->index = DST_FLOOD;
		return NO_DROP;
	}
	c->index = lookup(b, c->dst, c->vlan);
	if (c->index == b->port->index)
		return NET_DROP_TX_NO_DEST;
	if (c->index >= 0) {
		const struct net_view *to = b->t->views[c->index];

		if (unlikely(to->filtered) && (to->filter.nouni || !passes_vlan_filter(to, f, c)))
			return NET_DROP_TX_NO_DEST;
	}
	return NO_DROP;
}

static inline void append(struct burst *b, struct group *g, int i)
{
	b->class[i].next = -1;
	b->class[g->last].next = i;
	g->last = i;
}

/* The group that frame i now is in. */
static struct group *add_to_group(struct burst *b, int i)
{
	struct frame_class *c = &b->class[i];
	struct group *g;

	for (unsigned k = b->n_groups; k-- > 0;) {
		g = &b->groups[k];
		if (g->index == c->index) {
			append(b, g, i);
			return g;
		}
	}
	g = &b->groups[b->n_groups++];
	*g = (struct group){c->index, i, i};
	c->next = -1;
	return g;
}

static inline enum net_counter group_counter(const struct frame_class *c)
{
	return c->dst == MAC_BROADCAST ? CNT_RX_BROADCAST : CNT_RX_MULTICAST;
}

/* One frame that was sent. */
static inline void count_sent(struct burst *b, const struct frame_class *c, uint32_t len)
{
	b->count[CNT_TX_PACKETS]++;
	b->count[CNT_TX_BYTES] += len;
	if (unlikely(c->dst & MAC_GROUP))
		b->count[CNT_TX_PACKETS + group_counter(c)]++;
}

/* One frame that is not like the last. Returns the group of its receiver, NULL if there is none, or
 * if the next frame cannot go by this one: a tag may hide what it is told apart by. */
static struct group *classify_one(struct burst *b, int i, struct eth_words eth)
{
	struct frame_class *c = &b->class[i];
	struct group *g = NULL;
	enum net_drop drop = classify(b, &b->frames[i], eth, c);

	if (unlikely(drop != NO_DROP)) {
		b->count[CNT_DROPS + drop]++;
		c->index = DST_DROP;
		return NULL;
	}
	if (c->index == DST_FLOOD) {
		b->flood[b->n_flood++] = (uint8_t)i;
		/* Unknown unicast counts as sent once somebody was there to get it. */
		if (!(c->dst & MAC_GROUP))
			return NULL;
	} else {
		g = add_to_group(b, i);
	}
	count_sent(b, c, b->frames[i].len);
	return net_is_tag(eth_type(eth)) ? NULL : g;
}

/* A frame with the addresses and the type of the one before it goes where that went. */
static void classify_all(struct burst *b)
{
	struct eth_words eth, last = {0};
	struct group *g = NULL;
	bool uplink = b->in->uplink;
	uint64_t packets = 0, bytes = 0;

	b->n_groups = b->n_flood = 0;
	for (int i = 0; i < (int)b->n; i++) {
		struct net_frame *f = &b->frames[i];
		uint32_t len = f->len;

		if (unlikely(!frame_valid(f))) {
			b->count[CNT_DROPS + NET_DROP_TX_MALFORMED]++;
			b->class[i].index = DST_DROP;
			continue;
		}
		f->not_taken = false;
		/* Nobody we trust has verified a guest's checksum. */
		if (!uplink)
			f->offload.data_valid = false;
		eth = eth_words(f);
		if (likely(g && eth.low == last.low && eth.high == last.high)) {
			b->class[i] = b->class[g->last];
			append(b, g, i);
			packets++;
			bytes += len;
		} else {
			g = classify_one(b, i, eth);
			last = eth;
		}
	}
	b->count[CNT_TX_PACKETS] += packets;
	b->count[CNT_TX_BYTES] += bytes;
}

/* Gives the frame the form this receiver is to see: its outer tag in the head, or not. */
static inline bool set_form(const struct net_view *to, struct net_frame *f, struct frame_class *c)
{
	bool tagged = c->form && !to->vlan;
	const uint8_t *tag;

	if (likely(tagged == c->tagged))
		return true;
	if (tagged) {
		if (net_frame_insert_tag(f, c->tpid, c->tci) < 0)
			return false;
	} else {
		tag = net_frame_chead(f) + BYTE_TYPE;
		c->tpid = get_be16(tag);
		c->tci = get_be16(tag + 2);
		net_frame_strip_tag(f);
	}
	c->tagged = tagged;
	return true;
}

/* What the first n of the list are, for the receiver's counters. */
static void count_list(struct burst *b, unsigned n)
{
	uint64_t bytes = 0; /* in a register */

	memset(b->list_count, 0, sizeof(b->list_count));
	for (unsigned k = 0; k < n; k++) {
		const struct frame_class *c = &b->class[b->list_class[k]];

		bytes += b->list[k]->len;
		if (unlikely(c->dst & MAC_GROUP))
			b->list_count[group_counter(c)]++;
	}
	b->list_count[CNT_RX_PACKETS] = n;
	b->list_count[CNT_RX_BYTES] = bytes;
}

/* Takes off the list what the receiver did not take: exactly if it marked that, else all but the
 * first ones. */
static __attribute__((noinline)) unsigned only_taken(struct burst *b, unsigned n, unsigned taken)
{
	unsigned marked = 0, k = 0;

	for (unsigned i = 0; i < n; i++)
		marked += b->list[i]->not_taken;
	for (unsigned i = 0; i < n; i++) {
		bool skip = marked ? b->list[i]->not_taken : i >= taken;

		b->list[i]->not_taken = false;
		if (skip)
			continue;
		b->list[k] = b->list[i];
		b->list_class[k++] = b->list_class[i];
	}
	return k;
}

static void deliver(struct burst *b, const struct net_view *to, unsigned n)
{
	struct net_port *port = to->port;
	unsigned taken = port->ops->deliver(port, b->list, n);

	if (unlikely(taken < n))
		n = only_taken(b, n, taken);
	count_list(b, n);
	counters_add(port, b->list_count, CNT_RX_PACKETS, CNT_TX_PACKETS);
	if (port->ops->flush)
		port->ops->flush(port);
}

/* Adds frame i to the list for this receiver. */
static inline unsigned list_add(struct burst *b, const struct net_view *to, unsigned n, int i)
{
	if (unlikely(!set_form(to, &b->frames[i], &b->class[i]))) {
		b->count[CNT_DROPS + NET_DROP_TX_MALFORMED]++;
		return n;
	}
	b->list[n] = &b->frames[i];
	b->list_class[n] = i;
	return n + 1;
}

static unsigned group_size(const struct burst *b, const struct group *g)
{
	unsigned n = 0;

	for (int i = g->first; i >= 0; i = b->class[i].next)
		n++;
	return n;
}

/* True when the port takes part now; otherwise its unicast frames are counted as lost there. */
static bool ready(const struct burst *b, const struct net_view *to, const struct group *g)
{
	uint8_t state = atomic_load_explicit(&to->port->state, memory_order_acquire);

	if (likely((state & PORT_READY) == PORT_READY))
		return true;
	if (g)
		net_port_count_drop(to->port,
				    state & PORT_ACTIVE ? NET_DROP_RX_LINK_DOWN
							: NET_DROP_RX_NOT_READY,
				    group_size(b, g));
	return false;
}

static void deliver_groups(struct burst *b)
{
	for (unsigned g = 0; g < b->n_groups; g++) {
		const struct net_view *to = b->t->views[b->groups[g].index];
		unsigned n = 0;

		if (!ready(b, to, &b->groups[g]))
			continue;
		for (int i = b->groups[g].first; i >= 0; i = b->class[i].next)
			n = list_add(b, to, n, i);
		if (likely(n))
			deliver(b, to, n);
	}
}

static const struct group *find_group(const struct burst *b, int index)
{
	for (unsigned g = 0; g < b->n_groups; g++)
		if (b->groups[g].index == index)
			return &b->groups[g];
	return NULL;
}

/* What the flooded frames of a burst have in common, to pass over most ports at one look. */
struct flood_scope {
	bool group;    /* some have a group address; else only flood ports matter */
	bool one_vlan; /* all are in vlan */
	uint16_t vlan;
};

static struct flood_scope flood_scope(const struct burst *b)
{
	struct flood_scope s = {false, true, b->class[b->flood[0]].vlan};

	for (unsigned k = 0; k < b->n_flood; k++) {
		const struct frame_class *c = &b->class[b->flood[k]];

		s.group |= c->dst & MAC_GROUP;
		s.one_vlan &= c->vlan == s.vlan;
	}
	return s;
}

static inline bool out_of_scope(const struct flood_scope *s, const struct net_view *to)
{
	return (!s->group && !to->flood) || (s->one_vlan && !view_member(to, s->vlan));
}

/* Some frames go to several: each port gets its own and those it wants of the others, merged in
 * the order of arrival, in one call. */
static void deliver_flood(struct burst *b)
{
	const struct flood_scope scope = flood_scope(b);
	bool reached[NET_BURST] = {false};

	for (int index = 0; index < (int)b->t->n; index++) {
		const struct net_view *to = b->t->views[index];
		const struct group *g = find_group(b, index);
		int i = g ? g->first : -1;
		unsigned n = 0, k = 0;

		if (!to || to->port == b->port || (!g && out_of_scope(&scope, to)) ||
		    !ready(b, to, g))
			continue;
		while (i >= 0 || k < b->n_flood) {
			if (i >= 0 && (k == b->n_flood || i < b->flood[k])) {
				n = list_add(b, to, n, i);
				i = b->class[i].next;
				continue;
			}
			if (wants(to, &b->frames[b->flood[k]], &b->class[b->flood[k]])) {
				n = list_add(b, to, n, b->flood[k]);
				reached[b->flood[k]] = true;
			}
			k++;
		}
		if (n)
			deliver(b, to, n);
	}
	for (unsigned k = 0; k < b->n_flood; k++) {
		const struct frame_class *c = &b->class[b->flood[k]];

		if (c->dst & MAC_GROUP)
			continue;
		if (reached[b->flood[k]])
			count_sent(b, c, b->frames[b->flood[k]].len);
		else
			b->count[CNT_DROPS + NET_DROP_TX_NO_DEST]++;
	}
}

static void input_burst(struct net_port *port, struct net_frame *frames, unsigned n)
{
	struct burst b;

	b.t = atomic_load_explicit(&port->sw->table, memory_order_acquire);
	b.in = b.t->views[port->index];
	b.port = port;
	b.frames = frames;
	b.n = n;
	b.last_dst = b.last_src = MAC_BROADCAST;
	b.last_dst_vlan = b.last_src_vlan = 0;
	memset(b.count, 0, sizeof(b.count));
	classify_all(&b);
	if (unlikely(b.n_flood))
		deliver_flood(&b);
	else
		deliver_groups(&b);
	counters_add(port, b.count + CNT_TX_PACKETS, CNT_TX_PACKETS, CNT_NUM - CNT_TX_PACKETS);
}

void net_port_input(struct net_port *port, struct net_frame *frames, unsigned n)
{
	uint8_t state = atomic_load_explicit(&port->state, memory_order_relaxed);

	if (unlikely((state & PORT_READY) != PORT_READY)) {
		net_port_count_drop(port, NET_DROP_TX_LINK_DOWN, n);
		return;
	}
	while (n) {
		unsigned now = MIN(n, (unsigned)NET_BURST);

		input_burst(port, frames, now);
		frames += now;
		n -= now;
	}
}
