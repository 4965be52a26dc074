/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The user uplink: libslirp on a worker of its own, which blocks in poll() on slirp's sockets while
 * offline. Needs no privilege.
 *
 *   towards slirp    deliver(), on any worker, copies frames into a bounded ring; full: dropped
 *   from slirp       its callback fills a batch, which this worker hands to the switch
 *
 * slirp is not thread-safe and parses what guests send: it is only ever called from that worker.
 * It gets whole, untagged frames of at most the MTU with complete checksums.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libslirp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "net/slirp_log.h"
#include "net/uplink_impl.h"
#include "util/clock.h"
#include "util/log.h"

#define USER_MTU	 1500u
#define USER_FRAME	 (USER_MTU + ETH_HLEN)
#define USER_RING	 512u /* frames, power of two */
#define USER_FDS_MAX	 4096u
#define USER_PREFIX_MIN	 8u
#define USER_PREFIX_MAX	 27u /* room for the addresses below */
#define USER_HOST	 2u  /* gateway, and what stands for the host */
#define USER_DNS	 3u
#define USER_DHCP_FIRST	 15u
#define USER_PREFIX6_LEN 64u
#define USER_DRAIN	 64u /* frames for slirp between two looks at its sockets */

struct user_slot {
	uint32_t len;
	uint8_t data[USER_FRAME];
};

/* slirp asks for one timer at present (router advertisements). */
struct user_timer {
	SlirpTimerId id;
	void *opaque;
	int64_t at_ms; /* -1: off */
	struct user_timer *next;
};

struct user {
	struct poller poller;
	struct net_uplink *up;
	struct worker *worker;
	Slirp *slirp;
	struct user_timer *timers;
	struct log_limit error_limit;
	_Atomic bool stop;
	int wake_fd;
	/* ring towards slirp */
	pthread_mutex_t lock;
	uint32_t head, tail; /* free-running, under lock; only the worker moves head */
	bool sleeping;	     /* under lock */
	struct user_slot *ring;
	/* batch from slirp */
	unsigned n_batch;
	struct net_frame frames[NET_BURST];
	struct net_seg segs[NET_BURST];
	uint8_t rest[NET_BURST][USER_FRAME];
	/* fds of slirp; [0] is wake_fd */
	unsigned n_fds, fds_size;
	struct pollfd *fds;
};

static struct user *port_user(const struct net_port *port)
{
	return ((struct net_uplink *)net_port_opaque(port))->impl;
}

/* ---- towards slirp; any worker ---- */

struct user_push {
	struct user *user;
	unsigned pushed;
};

/* Copies one frame into the ring; under the lock. */
static void push_frame(void *opaque, struct net_frame *f)
{
	struct user_push *push = opaque;
	struct user *user = push->user;
	struct user_slot *slot = &user->ring[user->tail % USER_RING];

	if (f->len > USER_FRAME) {
		net_port_count_drop(user->up->port, NET_DROP_RX_TOO_BIG, 1);
	} else if (user->tail - user->head >= USER_RING) {
		net_port_count_drop(user->up->port, NET_DROP_RX_RATE, 1);
	} else {
		net_frame_copy(f, 0, slot->data, f->len);
		slot->len = f->len;
		user->tail++;
		push->pushed++;
	}
}

static unsigned user_deliver(struct net_port *port, struct net_frame *const *frames, unsigned n)
{
	struct user *user = port_user(port);
	unsigned taken = 0;
	bool wake;

	pthread_mutex_lock(&user->lock);
	for (unsigned i = 0; i < n; i++) {
		struct user_push push = {user, 0};

		if (frames[i]->offload.gso_type == NET_GSO_NONE && frames[i]->len > USER_FRAME)
			net_port_count_drop(port, NET_DROP_RX_TOO_BIG, 1);
		else if (user->tail - user->head >= USER_RING)
			net_port_count_drop(port, NET_DROP_RX_RATE, 1);
		else if (net_frame_segment(frames[i], true, push_frame, &push) < 0)
			net_port_count_drop(port, NET_DROP_RX_BAD_OFFLOAD, 1);
		if (push.pushed)
			taken++;
		else
			frames[i]->not_taken = true;
	}
	wake = user->sleeping && user->tail != user->head;
	if (wake)
		user->sleeping = false;
	pthread_mutex_unlock(&user->lock);
	if (wake)
		eventfd_write(user->wake_fd, 1);
	return taken;
}

/* ---- from slirp; its worker ---- */

static void flush_batch(struct user *user)
{
	unsigned n = user->n_batch;

	user->n_batch = 0;
	if (n)
		net_port_input(user->up->port, user->frames, n);
}

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct user *user = opaque;
	struct net_frame *f;
	unsigned i;

	/* Only between start and stop is there a port to send from. */
	if (len > USER_FRAME || !user->worker || atomic_load(&user->stop))
		return (ssize_t)len;
	if (user->n_batch == NET_BURST)
		flush_batch(user);
	i = user->n_batch++;
	f = &user->frames[i];
	memset(&f->offload, 0, sizeof(f->offload));
	f->len = (uint32_t)len;
	f->head_off = NET_HEAD_ROOM;
	f->head_len = (uint16_t)MIN(len, (size_t)NET_HEAD_MAX);
	memcpy(net_frame_head(f), buf, f->head_len);
	f->nsegs = f->len > f->head_len;
	if (f->nsegs)
		memcpy(user->rest[i], (const uint8_t *)buf + f->head_len, len - f->head_len);
	user->segs[i] = (struct net_seg){user->rest[i], f->len - f->head_len};
	f->segs = &user->segs[i];
	return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
	struct user *user = opaque;

	log_guest(&user->error_limit, "%s/uplink: %s", user->up->sw->name, msg);
}

static int64_t clock_get_ns(void *opaque)
{
	return (int64_t)clock_now_ns();
}

static void *timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	struct user *user = opaque;
	struct user_timer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->id = id;
	t->opaque = cb_opaque;
	t->at_ms = -1;
	t->next = user->timers;
	user->timers = t;
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	struct user *user = opaque;

	for (struct user_timer **p = &user->timers; *p; p = &(*p)->next) {
		if (*p == timer) {
			*p = (*p)->next;
			break;
		}
	}
	free(timer);
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	struct user_timer *t = timer;

	if (t)
		t->at_ms = expire_ms;
}

static void ignore_fd(int fd, void *opaque)
{
}

/* slirp's worker looks at its sockets again after whatever made slirp call this. */
static void notify(void *opaque)
{
}

static void init_completed(Slirp *slirp, void *opaque)
{
}

static const SlirpCb slirp_callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_get_ns,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = ignore_fd,
	.unregister_poll_fd = ignore_fd,
	.notify = notify,
	.init_completed = init_completed,
	.timer_new_opaque = timer_new,
};

/* Runs due timers; shortens the wait to the next one. */
static void run_timers(struct user *user, uint32_t *timeout_ms)
{
	int64_t now = (int64_t)(clock_now_ns() / NS_PER_MS);

	for (struct user_timer *t = user->timers, *next; t; t = next) {
		next = t->next;
		if (t->at_ms >= 0 && t->at_ms <= now) {
			t->at_ms = -1;
			slirp_handle_timer(user->slirp, t->id, t->opaque);
		}
		if (t->at_ms >= 0 && t->at_ms - now < (int64_t)*timeout_ms)
			*timeout_ms = (uint32_t)MAX(t->at_ms - now, (int64_t)0);
	}
}

static int add_poll(int fd, int events, void *opaque)
{
	struct user *user = opaque;
	struct pollfd *fds = user->fds;
	short ev = 0;

	if (user->n_fds == user->fds_size) {
		if (user->fds_size >= USER_FDS_MAX)
			return -1;
		fds = realloc(fds, 2 * user->fds_size * sizeof(*fds));
		if (!fds)
			return -1;
		user->fds = fds;
		user->fds_size *= 2;
	}
	if (events & SLIRP_POLL_IN)
		ev |= POLLIN;
	if (events & SLIRP_POLL_OUT)
		ev |= POLLOUT;
	if (events & SLIRP_POLL_PRI)
		ev |= POLLPRI;
	fds[user->n_fds] = (struct pollfd){fd, ev, 0};
	return (int)user->n_fds++;
}

static int get_revents(int idx, void *opaque)
{
	struct user *user = opaque;
	short ev;
	int events = 0;

	if (idx <= 0 || (unsigned)idx >= user->n_fds)
		return 0;
	ev = user->fds[idx].revents;
	if (ev & POLLIN)
		events |= SLIRP_POLL_IN;
	if (ev & POLLOUT)
		events |= SLIRP_POLL_OUT;
	if (ev & POLLPRI)
		events |= SLIRP_POLL_PRI;
	if (ev & POLLERR)
		events |= SLIRP_POLL_ERR;
	if (ev & POLLHUP)
		events |= SLIRP_POLL_HUP;
	return events;
}

/* Gives slirp what the guests sent, a bounded number at a time. */
static void drain_ring(struct user *user)
{
	uint32_t head, tail;

	pthread_mutex_lock(&user->lock);
	head = user->head;
	tail = user->tail;
	pthread_mutex_unlock(&user->lock);
	if (tail - head > USER_DRAIN)
		tail = head + USER_DRAIN;
	for (; head != tail; head++) {
		const struct user_slot *slot = &user->ring[head % USER_RING];

		slirp_input(user->slirp, slot->data, (int)slot->len);
	}
	pthread_mutex_lock(&user->lock);
	user->head = head;
	pthread_mutex_unlock(&user->lock);
}

/* True when there is nothing for slirp: from now on deliver() wakes us. */
static bool prepare_sleep(struct user *user)
{
	bool empty;

	pthread_mutex_lock(&user->lock);
	empty = user->sleeping = user->head == user->tail;
	pthread_mutex_unlock(&user->lock);
	return empty;
}

static int wait_fds(struct user *user, uint32_t timeout_ms)
{
	int ms = timeout_ms > INT32_MAX ? -1 : (int)timeout_ms, n;
	eventfd_t value;

	if (!prepare_sleep(user))
		ms = 0;
	user->fds[0] = (struct pollfd){user->wake_fd, POLLIN, 0};
	worker_offline();
	n = poll(user->fds, user->n_fds, ms);
	worker_online();
	if (user->fds[0].revents)
		eventfd_read(user->wake_fd, &value);
	return n;
}

/* One turn. Always "work": this worker sleeps here, in poll(), not in the worker's loop. */
static unsigned user_poll(struct poller *p)
{
	struct user *user = container_of(p, struct user, poller);
	uint32_t timeout_ms = UINT32_MAX;
	int n;

	if (atomic_load(&user->stop))
		return 0;
	drain_ring(user);
	user->n_fds = 1;
	slirp_pollfds_fill(user->slirp, &timeout_ms, add_poll, user);
	run_timers(user, &timeout_ms);
	flush_batch(user);
	n = wait_fds(user, timeout_ms);
	slirp_pollfds_poll(user->slirp, n < 0, get_revents, user);
	flush_batch(user);
	return 1;
}

static const struct poller_ops user_poller_ops = {.poll = user_poll};

/* ---- configuration ---- */

static int parse_prefix(const char *text, int family, char *addr, unsigned addr_len, unsigned *bits)
{
	const char *slash = strchr(text, '/');
	char *end;
	uint8_t bin[16];

	if (!slash || (size_t)(slash - text) >= addr_len)
		return -EINVAL;
	memcpy(addr, text, (size_t)(slash - text));
	addr[slash - text] = '\0';
	*bits = (unsigned)strtoul(slash + 1, &end, 10);
	return *end || end == slash + 1 || inet_pton(family, addr, bin) != 1 ? -EINVAL : 0;
}

static int config_ipv4(struct net_uplink *up, SlirpConfig *sc)
{
	const char *net = up->config.net[0] ? up->config.net : "10.0.2.0/24";
	char addr[INET_ADDRSTRLEN];
	unsigned bits;
	uint32_t base;

	if (parse_prefix(net, AF_INET, addr, sizeof(addr), &bits) < 0 || bits < USER_PREFIX_MIN ||
	    bits > USER_PREFIX_MAX)
		return uplink_fail(
			up, -EINVAL,
			"net: \"%s\" is not an IPv4 network of the form A.B.C.D/%u to /%u", net,
			USER_PREFIX_MIN, USER_PREFIX_MAX);
	sc->in_enabled = true;
	sc->vnetmask.s_addr = htonl(UINT32_MAX << (32 - bits));
	inet_pton(AF_INET, addr, &sc->vnetwork);
	sc->vnetwork.s_addr &= sc->vnetmask.s_addr;
	base = ntohl(sc->vnetwork.s_addr);
	sc->vhost.s_addr = htonl(base + USER_HOST);
	sc->vnameserver.s_addr = htonl(base + USER_DNS);
	sc->vdhcp_start.s_addr = htonl(base + USER_DHCP_FIRST);
	return 0;
}

static int config_ipv6(struct net_uplink *up, SlirpConfig *sc)
{
	const char *net = up->config.net6[0] ? up->config.net6 : "fd00::/64";
	char addr[INET6_ADDRSTRLEN];
	unsigned bits;

	if (!strcmp(net, "none"))
		return 0;
	if (parse_prefix(net, AF_INET6, addr, sizeof(addr), &bits) < 0 || bits != USER_PREFIX6_LEN)
		return uplink_fail(up, -EINVAL,
				   "net6: \"%s\" is not an IPv6 network of the form X::/%u", net,
				   USER_PREFIX6_LEN);
	sc->in6_enabled = true;
	sc->vprefix_len = USER_PREFIX6_LEN;
	inet_pton(AF_INET6, addr, &sc->vprefix_addr6);
	memset(sc->vprefix_addr6.s6_addr + 8, 0, 8);
	sc->vhost6 = sc->vnameserver6 = sc->vprefix_addr6;
	sc->vhost6.s6_addr[15] = USER_HOST;
	sc->vnameserver6.s6_addr[15] = USER_DNS;
	return 0;
}

static socklen_t parse_addr(const char *text, uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		return sizeof(*in6);
	}
	return 0;
}

static int add_forward(struct net_uplink *up, struct user *user,
		       const struct net_uplink_forward *fw)
{
	const char *host = fw->host_addr[0] ? fw->host_addr : "127.0.0.1";
	const char *guest = fw->guest_addr[0] ? fw->guest_addr : "0.0.0.0"; /* the first by DHCP */
	struct sockaddr_storage haddr, gaddr;
	socklen_t hlen = parse_addr(host, fw->host_port, &haddr);
	socklen_t glen = parse_addr(guest, fw->guest_port, &gaddr);

	if (!hlen || !glen || !fw->guest_port)
		return uplink_fail(up, -EINVAL, "port forward %s:%u to %s:%u: bad address or port",
				   host, fw->host_port, guest, fw->guest_port);
	errno = 0;
	if (slirp_add_hostxfwd(user->slirp, (struct sockaddr *)&haddr, hlen,
			       (struct sockaddr *)&gaddr, glen,
			       fw->udp ? SLIRP_HOSTFWD_UDP : 0) < 0) {
		int err = errno ? errno : EINVAL;

		return uplink_fail(up, -err, "port forward from %s %s:%u: %s",
				   fw->udp ? "udp" : "tcp", host, fw->host_port, strerror(err));
	}
	return 0;
}

static int slirp_start(struct net_uplink *up, struct user *user)
{
	SlirpConfig sc = {
		.version = SLIRP_CONFIG_VERSION_MAX < 4 ? SLIRP_CONFIG_VERSION_MAX : 4,
		.vhostname = up->config.hostname[0] ? up->config.hostname : NULL,
		.if_mtu = USER_MTU,
		.if_mru = USER_MTU,
		.disable_host_loopback = !up->config.host_loopback,
	};
	int err = config_ipv4(up, &sc);

	if (!err)
		err = config_ipv6(up, &sc);
	if (err)
		return err;
	slirp_log_init();
	user->slirp = slirp_new(&sc, &slirp_callbacks, user);
	if (!user->slirp)
		return uplink_fail(up, -EINVAL, "libslirp refused the configuration");
	for (unsigned i = 0; i < up->config.n_forwards && i < NET_UPLINK_FORWARDS_MAX && !err; i++)
		err = add_forward(up, user, &up->config.forwards[i]);
	return err;
}

static void user_close(struct net_uplink *up)
{
	struct user *user = up->impl;

	if (user->slirp)
		slirp_cleanup(user->slirp);
	if (user->wake_fd >= 0)
		close(user->wake_fd);
	pthread_mutex_destroy(&user->lock);
	free(user->ring);
	free(user->fds);
	free(user);
	up->impl = NULL;
}

static int user_open(struct net_uplink *up)
{
	struct user *user = calloc(1, sizeof(*user));
	int err;

	if (!user)
		return -ENOMEM;
	up->impl = user;
	user->up = up;
	user->poller.ops = &user_poller_ops;
	user->poller.name = "user-net";
	pthread_mutex_init(&user->lock, NULL);
	user->fds_size = 64;
	user->fds = calloc(user->fds_size, sizeof(*user->fds));
	user->ring = calloc(USER_RING, sizeof(*user->ring));
	user->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (user->wake_fd < 0)
		err = -errno;
	else if (!user->fds || !user->ring)
		err = -ENOMEM;
	else
		err = slirp_start(up, user);
	if (err)
		user_close(up);
	return err;
}

static void user_stop(struct net_uplink *up)
{
	struct user *user = up->impl;

	atomic_store(&user->stop, true);
	eventfd_write(user->wake_fd, 1);
	worker_remove(&user->poller);
	worker_destroy(user->worker);
}

static int user_start(struct net_uplink *up)
{
	struct user *user = up->impl;
	int err = worker_create("user-net", WORKER_MAY_BLOCK, &user->worker);

	if (err)
		return err;
	net_port_set_carrier(up->port, true);
	worker_add(user->worker, &user->poller);
	poller_kick(&user->poller);
	return 0;
}

/* slirp knows no VLANs: tagged frames have nowhere to go. */
static void user_policy(struct net_policy *policy)
{
	policy->trunk_enabled = true;
}

const struct uplink_type uplink_user = {
	.port_ops = {.deliver = user_deliver},
	.open = user_open,
	.start = user_start,
	.stop = user_stop,
	.close = user_close,
	.policy = user_policy,
};
