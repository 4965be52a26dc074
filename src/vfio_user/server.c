/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of an endpoint's socket: listen, one client, its end, the next one. */
#include "vfio_user/server.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/log.h"
#include "util/util.h"
#include "vfio_user/listener.h"
#include "vfio_user/refusal.h"
#include "vfio_user/session.h"

/* Messages of one client in one turn of the loop; then others have theirs. */
#define TURN_BUDGET 32u
/* A client that has not said VERSION by then, or takes no byte of what waits for it so long. */
#define HELLO_US (10 * 1000000ull)
#define STALL_US (5 * 1000000ull)
/* Connections taken from the backlog: a flood of them, or a lack of descriptors that makes each
 * accept fail, must not keep the loop busy. */
#define ACCEPT_INTERVAL_US 100000ull
#define ACCEPT_BURST	   50

struct vfu_server {
	sd_event *event;
	char *name, *path;
	struct pci_function *fn;
	const struct vfu_server_ops *ops;
	void *opaque;
	struct vfu_listener listener;
	sd_event_source *listen_source;
	struct vfu_remote *remote;
	sd_event_source *remote_source;

	bool connected;
	bool running;	 /* inside vfu_session_run() */
	bool end_wanted; /* disconnect asked for meanwhile */
	struct vfu_session session;
	struct dma_space *dma;
	sd_event_source *conn_source;
	sd_event_source *timer;
	bool timer_on;
	bool hello;	  /* the timer waits for VERSION */
	uint64_t tx_seen; /* progress at the timer's last look */
	pid_t pid;
	uid_t uid;
	uint64_t refused;
	struct vfu_refusals refusals;
	struct log_limit refused_log, lost_log;
};

/* --- the end of a connection --- */

static void end_connection(struct vfu_server *srv, const char *why)
{
	struct vfu_session *s = &srv->session;

	if (!srv->connected)
		return;
	if (srv->running) {
		srv->end_wanted = true;
		return;
	}
	srv->connected = false;
	srv->conn_source = sd_event_source_disable_unref(srv->conn_source);
	sd_event_source_set_enabled(srv->timer, SD_EVENT_OFF);
	srv->timer_on = false;
	/* Waits end first: the function's reset below waits for its workers. */
	vfu_remote_close(srv->remote);
	pci_function_detach(srv->fn);
	dma_space_destroy(srv->dma);
	srv->dma = NULL;
	vfu_session_fini(s);
	log_guest(&srv->lost_log, "%s: client %d gone (%s) after %llu messages, %llu errors",
		  srv->name, (int)srv->pid, why, (unsigned long long)s->messages,
		  (unsigned long long)s->errors);
	if (srv->ops->detach)
		srv->ops->detach(srv->opaque);
}

static const char *end_reason(int err)
{
	switch (err) {
	case -ECONNRESET:
	case -EPIPE:
		return "closed";
	case -EPROTO:
		return "protocol violation";
	case -EMSGSIZE:
		return "message too large";
	case -ENOBUFS:
		return "does not read its replies";
	default:
		return strerror(-err);
	}
}

/* --- serving --- */

static void arm_timer(struct vfu_server *srv, uint64_t us)
{
	srv->tx_seen = srv->session.conn.tx_done;
	sd_event_source_set_time_relative(srv->timer, us);
	sd_event_source_set_enabled(srv->timer, SD_EVENT_ONESHOT);
	srv->timer_on = true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct vfu_server *srv = opaque;
	const struct vfu_conn *c = &srv->session.conn;

	srv->timer_on = false;
	if (!srv->connected)
		return 0;
	if (!srv->session.negotiated)
		end_connection(srv, "no VERSION in time");
	else if (vfu_conn_pending(c) && c->tx_done == srv->tx_seen)
		end_connection(srv, "does not read its replies");
	else if (vfu_conn_pending(c))
		arm_timer(srv, STALL_US);
	return 0;
}

/* What to wait for now. */
static void set_interest(struct vfu_server *srv)
{
	size_t pending = vfu_conn_pending(&srv->session.conn);
	uint32_t events = 0;

	if (srv->hello && srv->session.negotiated) {
		srv->hello = false;
		srv->timer_on = false;
		sd_event_source_set_enabled(srv->timer, SD_EVENT_OFF);
	}
	if (!vfu_conn_paused(&srv->session.conn))
		events |= EPOLLIN;
	if (pending)
		events |= EPOLLOUT;
	sd_event_source_set_io_events(srv->conn_source, events);
	if (pending && !srv->timer_on)
		arm_timer(srv, STALL_US);
}

static int serve(struct vfu_server *srv)
{
	struct vfu_session *s = &srv->session;
	int r = vfu_conn_flush(&s->conn);

	if (r)
		return r;
	srv->running = true;
	r = vfu_session_run(s, TURN_BUDGET);
	srv->running = false;
	if (r < 0)
		return r;
	if (srv->end_wanted)
		return -ESHUTDOWN;
	if (dma_space_broken(srv->dma))
		return -EFAULT;
	return vfu_remote_send(srv->remote, &s->conn);
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct vfu_server *srv = opaque;
	int r = serve(srv);

	if (r == 0 && (revents & EPOLLHUP) && !(revents & EPOLLIN))
		r = -ECONNRESET; /* reading paused, and nobody will ever take what waits */
	if (r < 0)
		end_connection(srv, r == -EFAULT ? "memory file truncated" : end_reason(r));
	else
		set_interest(srv);
	return 0;
}

static int on_remote(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct vfu_server *srv = opaque;
	int r = vfu_remote_send(srv->remote, srv->connected ? &srv->session.conn : NULL);

	if (!srv->connected)
		return 0;
	if (r)
		end_connection(srv, end_reason(r));
	else
		set_interest(srv);
	return 0;
}

/* --- a client comes --- */

static bool peer_gone(int fd)
{
	struct pollfd p = {.fd = fd, .events = 0};

	return poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR | POLLNVAL);
}

static int begin_session(struct vfu_server *srv, int fd)
{
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT};
	struct vfu_session_config cfg;
	int err;

	err = dma_space_create(srv->name, &vfu_remote_dma_ops, srv->remote, &srv->dma);
	if (err)
		return err;
	att.dma = srv->dma;
	err = pci_function_attach(srv->fn, &att);
	if (err)
		goto no_attach;
	err = sd_event_add_io(srv->event, &srv->conn_source, fd, EPOLLIN, on_connection, srv);
	if (err < 0)
		goto no_source;
	cfg = (struct vfu_session_config){
		.name = srv->name,
		.fn = srv->fn,
		.dma = srv->dma,
		.remote = srv->remote,
		.ops = srv->ops,
		.opaque = srv->opaque,
	};
	vfu_session_init(&srv->session, fd, &cfg);
	return 0;

no_source:
	pci_function_detach(srv->fn);
no_attach:
	dma_space_destroy(srv->dma);
	srv->dma = NULL;
	return err;
}

static int take_client(struct vfu_server *srv, int fd, const struct ucred *cred, char *why,
		       size_t why_len)
{
	int err;

	if (srv->connected) {
		snprintf(why, why_len, "process %d holds it", (int)srv->pid);
		return -EBUSY;
	}
	if (srv->ops->attach) {
		err = srv->ops->attach(srv->opaque, cred->pid, cred->uid, why, why_len);
		if (err)
			return err;
	}
	err = begin_session(srv, fd);
	if (err) {
		snprintf(why, why_len, "%s",
			 err == -EBUSY ? "the function is in use" : strerror(-err));
		if (srv->ops->detach)
			srv->ops->detach(srv->opaque);
		return err;
	}
	srv->pid = cred->pid;
	srv->uid = cred->uid;
	srv->end_wanted = false;
	srv->connected = true;
	srv->hello = true;
	arm_timer(srv, HELLO_US);
	return 0;
}

static int on_accept(sd_event_source *source, int listen_fd, uint32_t revents, void *opaque)
{
	struct vfu_server *srv = opaque;
	struct ucred cred = {.pid = 0, .uid = (uid_t)-1};
	socklen_t len = sizeof(cred);
	char why[128] = "";
	int fd, err;

	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return 0;
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	/* The end of the last client may wait behind this event. */
	if (srv->connected && peer_gone(srv->session.conn.fd))
		end_connection(srv, "closed");
	err = take_client(srv, fd, &cred, why, sizeof(why));
	if (!err) {
		log_info("%s: client %d (uid %u) connected", srv->name, (int)cred.pid,
			 (unsigned)cred.uid);
		return 0;
	}
	srv->refused++;
	log_guest(&srv->refused_log, "%s: client %d (uid %u) refused: %s", srv->name, (int)cred.pid,
		  (unsigned)cred.uid, why[0] ? why : strerror(-err));
	vfu_refuse(&srv->refusals, srv->event, fd, err);
	return 0;
}

/* --- create, destroy --- */

static int add_sources(struct vfu_server *srv)
{
	int r = sd_event_add_io(srv->event, &srv->listen_source, srv->listener.fd, EPOLLIN,
				on_accept, srv);

	if (r >= 0)
		r = sd_event_source_set_ratelimit(srv->listen_source, ACCEPT_INTERVAL_US,
						  ACCEPT_BURST);
	if (r >= 0)
		r = sd_event_add_io(srv->event, &srv->remote_source,
				    vfu_remote_event_fd(srv->remote), EPOLLIN, on_remote, srv);
	if (r >= 0)
		r = sd_event_add_time_relative(srv->event, &srv->timer, CLOCK_MONOTONIC, HELLO_US,
					       100000, on_timer, srv);
	if (r >= 0)
		r = sd_event_source_set_enabled(srv->timer, SD_EVENT_OFF);
	return r < 0 ? r : 0;
}

int vfu_server_create(sd_event *event, const struct vfu_server_config *config,
		      struct pci_function *fn, const struct vfu_server_ops *ops, void *opaque,
		      struct vfu_server **out)
{
	struct vfu_server *srv = calloc(1, sizeof(*srv));
	int err = -ENOMEM;

	if (!srv)
		return -ENOMEM;
	srv->listener.fd = -1;
	srv->event = sd_event_ref(event);
	srv->fn = fn;
	srv->ops = ops;
	srv->opaque = opaque;
	srv->name = strdup(config->name);
	srv->path = strdup(config->path);
	if (srv->name && srv->path)
		err = vfu_remote_create(srv->name, &srv->remote);
	if (!err)
		err = vfu_listener_open(&srv->listener, srv->path, config->owner, config->group,
					config->mode);
	if (!err)
		err = add_sources(srv);
	if (err) {
		vfu_server_destroy(srv);
		return err;
	}
	*out = srv;
	return 0;
}

void vfu_server_destroy(struct vfu_server *srv)
{
	if (!srv)
		return;
	end_connection(srv, "endpoint removed");
	vfu_refusals_end(&srv->refusals);
	sd_event_source_disable_unref(srv->listen_source);
	sd_event_source_disable_unref(srv->remote_source);
	sd_event_source_disable_unref(srv->timer);
	if (srv->path)
		vfu_listener_close(&srv->listener, srv->path);
	vfu_remote_destroy(srv->remote);
	sd_event_unref(srv->event);
	free(srv->name);
	free(srv->path);
	free(srv);
}

void vfu_server_disconnect(struct vfu_server *srv)
{
	end_connection(srv, "disconnected by the daemon");
}

void vfu_server_get_status(const struct vfu_server *srv, struct vfu_server_status *st)
{
	*st = (struct vfu_server_status){.connected = srv->connected, .refused = srv->refused};
	if (!srv->connected)
		return;
	st->pid = srv->pid;
	st->uid = srv->uid;
	st->messages = srv->session.messages;
	st->errors = srv->session.errors;
	if (srv->dma) {
		const struct dma_view *v = dma_view_get(srv->dma);

		st->dma_regions = v->n;
		for (uint32_t i = 0; i < v->n; i++) {
			st->dma_bytes += v->regions[i].size;
			/* Firmware ROMs never have a descriptor, and nobody misses it. */
			if (!v->regions[i].ptr && v->regions[i].prot & DMA_PROT_WRITE)
				st->remote_memory = true;
		}
	}
}

const char *vfu_server_path(const struct vfu_server *srv)
{
	return srv->path;
}

struct dma_space *vfu_server_dma(const struct vfu_server *srv)
{
	return srv->connected ? srv->dma : NULL;
}

void vfu_server_cancel_remote(struct vfu_server *srv)
{
	vfu_remote_cancel(srv->remote);
}

void vfu_server_resume_remote(struct vfu_server *srv)
{
	vfu_remote_resume(srv->remote);
}
