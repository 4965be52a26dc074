/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The TAP uplink: one file descriptor and one poller a queue, in the network namespace that the
 * process is in. Frames cross with their offloads: the kernel gets and gives struct virtio_net_hdr.
 *
 * Writing needs no lock: a write is one frame, and the kernel takes writes of several threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "net/uplink_impl.h"
#include "util/log.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define TAP_DEVICE     "/dev/net/tun"
#define TAP_QUEUES_MAX 16
#define TAP_HDR_MAX    12 /* struct virtio_net_hdr_mrg_rxbuf */
#define TAP_HDR_MIN    10 /* struct virtio_net_hdr, every kernel's default */
#define TAP_OFFLOADS   (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)
#define TAP_USO	       (TUN_F_USO4 | TUN_F_USO6)

struct tap;

struct tap_queue {
	struct poller poller;
	struct tap *tap;
	int fd;
	bool added;
	uint8_t *rest; /* NET_BURST pieces of NET_FRAME_MAX: what does not fit a head */
	struct net_seg segs[NET_BURST];
	struct net_frame frames[NET_BURST];
};

struct tap {
	struct net_uplink *up;
	int ctl_fd; /* a socket of the interface's namespace, for ioctls */
	unsigned n_queues;
	unsigned hdr_len;
	bool created; /* the interface is ours */
	bool uso;
	char name[IFNAMSIZ];
	struct log_limit read_limit;
	struct poller_share share; /* of its queues */
	struct tap_queue *queues[TAP_QUEUES_MAX];
};

static struct tap *port_tap(const struct net_port *port)
{
	return ((struct net_uplink *)net_port_opaque(port))->impl;
}

/* ---- to the host ---- */

static void hdr_fill(struct virtio_net_hdr *hdr, const struct net_frame *f)
{
	const struct net_offload *o = &f->offload;

	memset(hdr, 0, TAP_HDR_MAX);
	if (o->needs_csum) {
		hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		hdr->csum_start = o->csum_start;
		hdr->csum_offset = o->csum_offset;
	} else if (o->data_valid) {
		hdr->flags = VIRTIO_NET_HDR_F_DATA_VALID;
	}
	if (o->gso_type) {
		hdr->gso_type = o->gso_type | (o->gso_ecn ? VIRTIO_NET_HDR_GSO_ECN : 0);
		hdr->gso_size = o->gso_size;
		hdr->hdr_len = MIN((uint32_t)o->hdr_len, f->len);
	}
}

static enum net_drop write_error(int err)
{
	switch (err) {
	case EIO: /* the interface is down */
	case EBADFD:
		return NET_DROP_RX_LINK_DOWN;
	case EINVAL:
		return NET_DROP_RX_BAD_OFFLOAD;
	case EMSGSIZE:
		return NET_DROP_RX_TOO_BIG;
	default:
		return NET_DROP_RX_NO_BUFFER;
	}
}

static bool write_frame(struct tap *tap, int fd, const struct net_frame *f)
{
	_Alignas(8) uint8_t hdr[TAP_HDR_MAX];
	struct iovec iov[2 + NET_SEGS_MAX];
	unsigned n = 2;

	hdr_fill((struct virtio_net_hdr *)hdr, f);
	iov[0] = (struct iovec){hdr, tap->hdr_len};
	iov[1] = (struct iovec){(void *)net_frame_chead(f), f->head_len};
	for (unsigned i = 0; i < f->nsegs && i < NET_SEGS_MAX; i++)
		iov[n++] = (struct iovec){(void *)f->segs[i].ptr, f->segs[i].len};
	while (writev(fd, iov, (int)n) < 0) {
		if (errno == EINTR)
			continue;
		net_port_count_drop(tap->up->port, write_error(errno), 1);
		return false;
	}
	return true;
}

struct tap_cut {
	struct tap *tap;
	int fd;
	bool any;
};

static void write_segment(void *opaque, struct net_frame *seg)
{
	struct tap_cut *cut = opaque;

	cut->any |= write_frame(cut->tap, cut->fd, seg);
}

static bool send_frame(struct tap *tap, int fd, const struct net_frame *f)
{
	struct tap_cut cut = {tap, fd, false};

	if (f->offload.gso_type != NET_GSO_UDP_L4 || tap->uso)
		return write_frame(tap, fd, f);
	if (net_frame_segment(f, false, write_segment, &cut) < 0)
		net_port_count_drop(tap->up->port, NET_DROP_RX_BAD_OFFLOAD, 1);
	return cut.any;
}

/* A flow stays on one queue; the kernel answers it on the same one. */
static unsigned pick_queue(const struct tap *tap, const struct net_frame *f)
{
	struct net_flow flow;
	uint64_t h;

	if (tap->n_queues == 1)
		return 0;
	net_frame_flow(f, &flow);
	h = (uint64_t)flow.sport << 16 | flow.dport;
	for (unsigned i = 0; i < sizeof(flow.saddr); i += 8)
		h = mac_hash(h ^ get_le64(flow.saddr + i), get_le64(flow.daddr + i));
	return (unsigned)(mac_hash(h, flow.l4) % tap->n_queues);
}

static unsigned tap_deliver(struct net_port *port, struct net_frame *const *frames, unsigned n)
{
	struct tap *tap = port_tap(port);
	unsigned taken = 0;

	for (unsigned i = 0; i < n; i++) {
		int fd = tap->queues[pick_queue(tap, frames[i])]->fd;

		if (send_frame(tap, fd, frames[i]))
			taken++;
		else
			frames[i]->not_taken = true;
	}
	return taken;
}

/* ---- from the host ---- */

static void hdr_parse(const struct virtio_net_hdr *hdr, struct net_offload *o)
{
	memset(o, 0, sizeof(*o));
	o->data_valid = hdr->flags & VIRTIO_NET_HDR_F_DATA_VALID;
	if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		o->needs_csum = true;
		o->csum_start = hdr->csum_start;
		o->csum_offset = hdr->csum_offset;
	}
	o->gso_type = hdr->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	o->gso_ecn = hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN;
	o->gso_size = hdr->gso_size;
	o->hdr_len = hdr->hdr_len;
}

/* Reads one frame straight into a head and its rest. 1, or 0 when there is none. */
static int read_frame(struct tap_queue *q, unsigned i)
{
	_Alignas(8) uint8_t hdr[TAP_HDR_MAX] = {0};
	struct net_frame *f = &q->frames[i];
	uint8_t *rest = q->rest + (size_t)i * NET_FRAME_MAX;
	struct iovec iov[3] = {
		{hdr, q->tap->hdr_len},
		{f->head_buf + NET_HEAD_ROOM, NET_HEAD_MAX},
		{rest, NET_FRAME_MAX},
	};
	ssize_t len;

	do
		len = readv(q->fd, iov, 3);
	while (len < 0 && errno == EINTR);
	if (len < 0) {
		if (errno != EAGAIN)
			log_guest(&q->tap->read_limit, "%s: reading: %s", q->tap->name,
				  strerror(errno));
		return 0;
	}
	len -= q->tap->hdr_len;
	if (len < 0)
		len = 0; /* too short for anything: the switch refuses and counts it */
	hdr_parse((const struct virtio_net_hdr *)hdr, &f->offload);
	f->len = (uint32_t)len;
	f->head_off = NET_HEAD_ROOM;
	f->head_len = (uint16_t)MIN((uint32_t)len, (uint32_t)NET_HEAD_MAX);
	q->segs[i] = (struct net_seg){rest, f->len - f->head_len};
	f->segs = &q->segs[i];
	f->nsegs = f->len > f->head_len;
	return 1;
}

static unsigned tap_poll(struct poller *p)
{
	struct tap_queue *q = container_of(p, struct tap_queue, poller);
	unsigned n = 0, cost = 0, budget = poller_budget(p);

	while (n < NET_BURST && cost < budget && read_frame(q, n))
		cost += net_frame_cost(&q->frames[n++]) + POLLER_COST_FRAME;
	if (n)
		net_port_input(q->tap->up->port, q->frames, n);
	return cost;
}

static const struct poller_ops tap_poller_ops = {.poll = tap_poll};

/* ---- the interface ---- */

static int if_ioctl(const struct tap *tap, unsigned long request, struct ifreq *ifr)
{
	memcpy(ifr->ifr_name, tap->name, IFNAMSIZ);
	return ioctl(tap->ctl_fd, request, ifr) < 0 ? -errno : 0;
}

/* What "ip link" calls LOWER_UP; asked directly since operational state lags behind. */
static bool tap_carrier(const struct tap *tap)
{
	struct ethtool_value link = {.cmd = ETHTOOL_GLINK};
	struct ifreq ifr = {.ifr_data = (void *)&link};

	if (!if_ioctl(tap, SIOCETHTOOL, &ifr))
		return link.data;
	if (!if_ioctl(tap, SIOCGIFFLAGS, &ifr))
		return (ifr.ifr_flags & (IFF_UP | IFF_RUNNING)) == (IFF_UP | IFF_RUNNING);
	return false;
}

static void tap_tick(struct net_port *port)
{
	net_port_set_carrier(port, tap_carrier(port_tap(port)));
}

static int open_error(struct net_uplink *up, int err)
{
	switch (err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return uplink_fail(up, -err, TAP_DEVICE " is missing: modprobe tun");
	case EACCES:
	case EPERM:
		return uplink_fail(up, -err,
				   "no permission to open " TAP_DEVICE
				   ": give this user read and write access to it");
	default:
		return uplink_fail(up, -err, TAP_DEVICE ": %s", strerror(err));
	}
}

static int attach_error(struct net_uplink *up, int err, bool exists)
{
	const struct net_uplink_config *c = &up->config;
	const char *mq = c->queues > 1 ? " multi_queue" : "";

	if ((err == EPERM || err == EACCES) && !exists)
		return uplink_fail(up, -err,
				   "CAP_NET_ADMIN to create TAP %s; create it beforehand with: "
				   "ip tuntap add %s mode tap user %u%s",
				   c->name, c->name, (unsigned)geteuid(), mq);
	if (err == EPERM || err == EACCES)
		return uplink_fail(up, -err,
				   "TAP %s belongs to another user, and CAP_NET_ADMIN is missing; "
				   "make it with: ip tuntap add %s mode tap user %u%s",
				   c->name, c->name, (unsigned)geteuid(), mq);
	if (err == EBUSY)
		return uplink_fail(up, -err, "TAP %s is in use by another program", c->name);
	if (err == EINVAL && exists)
		return uplink_fail(up, -err,
				   "%s exists but is no TAP that takes %u queue(s); remove it, or "
				   "make it with: ip tuntap add %s mode tap user %u%s",
				   c->name, c->queues, c->name, (unsigned)geteuid(), mq);
	return uplink_fail(up, -err, "TAP %s: %s", c->name, strerror(err));
}

static int set_iff(int fd, struct tap *tap, const char *name, short flags)
{
	struct ifreq ifr = {.ifr_flags = flags};

	memcpy(ifr.ifr_name, name, IFNAMSIZ);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return -errno;
	memcpy(tap->name, ifr.ifr_name, IFNAMSIZ);
	return 0;
}

/* One queue: opens the device and attaches it. */
static int attach(struct net_uplink *up, struct tap *tap, bool exists, int *out)
{
	short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	const char *name = tap->name[0] ? tap->name : up->config.name;
	int fd = open(TAP_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC), err;

	if (fd < 0)
		return open_error(up, errno);
	err = set_iff(fd, tap, name, tap->n_queues > 1 ? flags | IFF_MULTI_QUEUE : flags);
	if (err == -EINVAL && tap->n_queues == 1) /* it was made with multi_queue: take one */
		err = set_iff(fd, tap, name, flags | IFF_MULTI_QUEUE);
	if (err) {
		close(fd);
		return attach_error(up, -err, exists);
	}
	*out = fd;
	return 0;
}

static void set_offloads(struct tap *tap, int fd)
{
	int len = TAP_HDR_MAX;

	if (ioctl(fd, TUNSETVNETHDRSZ, &len) < 0) {
		len = TAP_HDR_MIN;
		ioctl(fd, TUNSETVNETHDRSZ, &len); /* the default anyhow */
	}
	tap->hdr_len = (unsigned)len;
	tap->uso = !ioctl(fd, TUNSETOFFLOAD, TAP_OFFLOADS | TAP_USO);
	/* Without checksum offload the kernel completes everything itself: slower, not wrong. */
	if (!tap->uso && ioctl(fd, TUNSETOFFLOAD, TAP_OFFLOADS) < 0)
		log_warn("TAP %s: no offloads: %s", tap->name, strerror(errno));
}

static int add_queue(struct net_uplink *up, struct tap *tap, unsigned i, bool exists)
{
	struct tap_queue *q = calloc(1, sizeof(*q));
	int err;

	if (!q)
		return -ENOMEM;
	q->fd = -1;
	q->tap = tap;
	q->poller.ops = &tap_poller_ops;
	q->poller.name = tap->name;
	q->poller.share = &tap->share;
	q->poller.kind = "tap";
	q->poller.number = (uint16_t)i;
	q->poller.movable = true;
	q->rest = malloc((size_t)NET_BURST * NET_FRAME_MAX);
	tap->queues[i] = q;
	if (!q->rest)
		return -ENOMEM;
	err = attach(up, tap, exists, &q->fd);
	if (!err)
		set_offloads(tap, q->fd);
	return err;
}

static int set_mtu(struct net_uplink *up, struct tap *tap)
{
	unsigned mtu = up->config.mtu;
	struct ifreq ifr = {0};
	int err;

	if (!mtu || (!if_ioctl(tap, SIOCGIFMTU, &ifr) && (unsigned)ifr.ifr_mtu == mtu))
		return 0;
	ifr.ifr_mtu = (int)mtu;
	err = if_ioctl(tap, SIOCSIFMTU, &ifr);
	if (err)
		return uplink_fail(up, err,
				   "MTU %u of TAP %s: %s; set it beforehand with: "
				   "ip link set %s mtu %u",
				   mtu, tap->name, strerror(-err), tap->name, mtu);
	return 0;
}

static int set_up(struct net_uplink *up, struct tap *tap)
{
	struct ifreq ifr = {0};
	int err = if_ioctl(tap, SIOCGIFFLAGS, &ifr);

	if (err || !tap->created || ifr.ifr_flags & IFF_UP)
		return err;
	ifr.ifr_flags |= IFF_UP;
	err = if_ioctl(tap, SIOCSIFFLAGS, &ifr);
	if (err)
		return uplink_fail(up, err, "bringing TAP %s up: %s", tap->name, strerror(-err));
	return 0;
}

static void tap_close(struct net_uplink *up)
{
	struct tap *tap = up->impl;

	for (unsigned i = 0; i < tap->n_queues; i++) {
		if (!tap->queues[i])
			continue;
		if (tap->queues[i]->fd >= 0)
			close(tap->queues[i]->fd);
		free(tap->queues[i]->rest);
		free(tap->queues[i]);
	}
	if (tap->ctl_fd >= 0)
		close(tap->ctl_fd);
	free(tap);
	up->impl = NULL;
}

static int tap_open(struct net_uplink *up)
{
	struct net_uplink_config *c = &up->config;
	struct tap *tap;
	struct ifreq ifr = {0};
	bool exists;
	int err = 0;

	if (!c->queues)
		c->queues = 1;
	if (c->queues > TAP_QUEUES_MAX || !c->name[0])
		return uplink_fail(up, -EINVAL, "a TAP needs a name and 1 to %u queues",
				   TAP_QUEUES_MAX);
	tap = calloc(1, sizeof(*tap));
	if (!tap)
		return -ENOMEM;
	up->impl = tap;
	tap->up = up;
	tap->n_queues = c->queues;
	tap->ctl_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (tap->ctl_fd < 0) {
		err = -errno;
		goto err_close;
	}
	c->name[IFNAMSIZ - 1] = '\0';
	memcpy(ifr.ifr_name, c->name, IFNAMSIZ);
	exists = !ioctl(tap->ctl_fd, SIOCGIFINDEX, &ifr);
	tap->created = !exists;
	for (unsigned i = 0; i < tap->n_queues && !err; i++)
		err = add_queue(up, tap, i, exists || i);
	if (!err)
		err = set_mtu(up, tap);
	if (!err)
		err = set_up(up, tap);
	if (err)
		goto err_close;
	memcpy(c->name, tap->name, IFNAMSIZ);
	return 0;

err_close:
	tap_close(up);
	return err;
}

static void tap_stop(struct net_uplink *up)
{
	struct tap *tap = up->impl;

	for (unsigned i = 0; i < tap->n_queues; i++) {
		if (tap->queues[i]->added)
			worker_remove(&tap->queues[i]->poller);
		tap->queues[i]->added = false;
	}
}

static int tap_start(struct net_uplink *up)
{
	struct tap *tap = up->impl;
	int err;

	net_port_set_carrier(up->port, tap_carrier(tap));
	port_set_tick(up->port, tap_tick);
	for (unsigned i = 0; i < tap->n_queues; i++) {
		struct tap_queue *q = tap->queues[i];

		worker_add(worker_pool_pick(up->pool), &q->poller);
		q->added = true;
		err = poller_watch_fd(&q->poller, q->fd);
		if (err) {
			tap_stop(up);
			return err;
		}
	}
	return 0;
}

const struct uplink_type uplink_tap = {
	.port_ops = {.deliver = tap_deliver},
	.open = tap_open,
	.start = tap_start,
	.stop = tap_stop,
	.close = tap_close,
};
