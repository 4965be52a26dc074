/* SPDX-License-Identifier: BSD-3-Clause */
#include "control/server.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/methods.h"
#include "control/protocol.h"
#include "util/log.h"

#define BACKLOG		 16
#define LOGGED_PARAMS	 300
#define LINES_PER_WAKEUP 32 /* then others have their turn */

struct client {
	struct control_server *srv;
	struct client *prev, *next;
	int fd;
	sd_event_source *source;
	struct control_lines in;
	char *out;
	size_t out_len, out_done;
	struct ucred peer;
};

struct control_server {
	struct control_context ctx;
	sd_event *event;
	int fd;
	sd_event_source *source;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct client *clients;
	unsigned n_clients;
	struct log_limit too_many;
};

static void client_free(struct client *c)
{
	struct control_server *srv = c->srv;

	if (c->prev)
		c->prev->next = c->next;
	else
		srv->clients = c->next;
	if (c->next)
		c->next->prev = c->prev;
	srv->n_clients--;
	sd_event_source_disable_unref(c->source);
	close(c->fd);
	control_lines_free(&c->in);
	free(c->out);
	free(c);
}

static void log_change(const struct client *c, const struct control_command *cmd,
		       const json_t *params, int ret, const char *why)
{
	char *text;

	if (!cmd->changes)
		return;
	text = params ? json_dumps(params, JSON_COMPACT) : NULL;
	log_info("control: uid %u pid %d: %s %.*s%s%s", (unsigned)c->peer.uid, (int)c->peer.pid,
		 cmd->method, LOGGED_PARAMS, text ? text : "", ret ? ": refused: " : "",
		 ret ? why : "");
	free(text);
}

/* One request line into one reply line; NULL with *len 0 when none is due. */
static char *answer(struct client *c, const char *line, size_t n, size_t *len)
{
	const struct control_command *cmd;
	json_t *root, *params, *id, *result = NULL;
	char why[CONTROL_WHY_MAX] = "";
	char *reply = NULL;
	int ret;

	*len = 0;
	ret = control_decode(line, n, &root, &cmd, &params, &id, why, sizeof(why));
	if (!ret) {
		ret = control_run(&c->srv->ctx, cmd, params, &result, why);
		log_change(c, cmd, params, ret, why);
	}
	/* Malformed requests are answered with id null; a well-formed one without id never. */
	if (ret && (id || !cmd))
		reply = control_reply_error(id, ret, why, len);
	else if (!ret && id)
		reply = control_reply(id, json_incref(result), len);
	json_decref(result);
	json_decref(root);
	return reply;
}

/* -EAGAIN while some is left; 0 when all went out. */
static int flush_out(struct client *c)
{
	while (c->out_done < c->out_len) {
		ssize_t n = send(c->fd, c->out + c->out_done, c->out_len - c->out_done,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		c->out_done += (size_t)n;
	}
	free(c->out);
	c->out = NULL;
	c->out_len = c->out_done = 0;
	return 0;
}

/* Answers the lines that are here, as long as the client takes the replies. */
static int run_lines(struct client *c)
{
	char *line;
	size_t n;

	for (unsigned i = 0; i < LINES_PER_WAKEUP; i++) {
		int ret = flush_out(c);

		if (ret)
			return ret;
		line = control_lines_next(&c->in, &n);
		if (!line)
			return 0;
		c->out = answer(c, line, n, &c->out_len);
	}
	return flush_out(c);
}

static int read_some(struct client *c)
{
	size_t space;
	char *p = control_lines_space(&c->in, &space);
	ssize_t n;

	if (!p)
		return control_lines_overlong(&c->in) ? -EMSGSIZE : -ENOMEM;
	n = recv(c->fd, p, space, MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	control_lines_added(&c->in, (size_t)n);
	return 0;
}

/* The last words to a client that broke the framing; best effort. */
static void say_too_long(struct client *c)
{
	size_t len;
	char *reply = control_reply_error(NULL, CONTROL_INVALID_REQUEST,
					  "the request is longer than 64 KiB", &len);

	if (reply && send(c->fd, reply, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("control: pid %d does not listen", (int)c->peer.pid);
	free(reply);
}

/* Lines beyond a wakeup's share are in our buffer, where epoll does not see them. */
static bool lines_wait(const struct client *c)
{
	return c->in.consumed < c->in.len && c->in.scanned < c->in.len;
}

static int client_event(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
	struct client *c = opaque;
	int ret = 0;

	/* With replies or lines outstanding nothing new is read: a client cannot make the daemon
	 * hoard, and one that has said its last is still answered. */
	if (events & EPOLLIN && !c->out && !lines_wait(c))
		ret = read_some(c);
	if (!ret)
		ret = run_lines(c);
	if (!ret && control_lines_overlong(&c->in))
		ret = -EMSGSIZE;
	if (ret == -EMSGSIZE)
		say_too_long(c);
	if ((ret && ret != -EAGAIN) || events & EPOLLERR) {
		client_free(c);
		return 0;
	}
	sd_event_source_set_io_events(source, ret == -EAGAIN ? EPOLLOUT : EPOLLIN);
	if (!ret && lines_wait(c))
		sd_event_source_set_io_events(source, EPOLLIN | EPOLLOUT);
	return 0;
}

static int add_client(struct control_server *srv, int fd)
{
	socklen_t len = sizeof(struct ucred);
	struct client *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return -ENOMEM;
	c->srv = srv;
	c->fd = fd;
	c->in.max = CONTROL_LINE_MAX;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->peer, &len))
		c->peer = (struct ucred){.uid = (uid_t)-1, .gid = (gid_t)-1};
	ret = sd_event_add_io(srv->event, &c->source, fd, EPOLLIN, client_event, c);
	if (ret < 0) {
		free(c);
		return ret;
	}
	c->next = srv->clients;
	if (c->next)
		c->next->prev = c;
	srv->clients = c;
	srv->n_clients++;
	return 0;
}

static int accept_event(sd_event_source *source, int listen_fd, uint32_t events, void *opaque)
{
	struct control_server *srv = opaque;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return 0;
	if (srv->n_clients >= CONTROL_CLIENTS_MAX) {
		log_guest(&srv->too_many, "control: %u clients already: one more refused",
			  srv->n_clients);
		close(fd);
	} else if (add_client(srv, fd)) {
		close(fd);
	}
	return 0;
}

static int listen_at(struct control_server *srv, const char *dir)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int n;

	n = snprintf(srv->path, sizeof(srv->path), "%s/" CONTROL_SOCKET, dir);
	if (n >= (int)sizeof(srv->path)) {
		srv->path[0] = '\0';
		return -ENAMETOOLONG;
	}
	memcpy(addr.sun_path, srv->path, sizeof(addr.sun_path));
	srv->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (srv->fd < 0)
		return -errno;
	if (unlink(srv->path) && errno != ENOENT)
		return -errno;
	if (bind(srv->fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	/* Before listen(): nobody can connect while the mode is not yet private. */
	if (chmod(srv->path, 0600) || listen(srv->fd, BACKLOG))
		return -errno;
	return 0;
}

int control_server_create(sd_event *event, const char *dir, const struct control_context *ctx,
			  struct control_server **out, char why[WHY_MAX])
{
	struct control_server *srv = calloc(1, sizeof(*srv));
	int ret;

	if (!srv)
		return -ENOMEM;
	srv->ctx = *ctx;
	srv->event = sd_event_ref(event);
	srv->fd = -1;
	ret = listen_at(srv, dir);
	if (!ret)
		ret = sd_event_add_io(event, &srv->source, srv->fd, EPOLLIN, accept_event, srv);
	if (ret < 0) {
		snprintf(why, WHY_MAX, "cannot listen at %.120s/" CONTROL_SOCKET ": %s", dir,
			 strerror(-ret));
		control_server_destroy(srv);
		return ret;
	}
	*out = srv;
	return 0;
}

void control_server_destroy(struct control_server *srv)
{
	if (!srv)
		return;
	while (srv->clients)
		client_free(srv->clients);
	sd_event_source_disable_unref(srv->source);
	if (srv->fd >= 0) {
		close(srv->fd);
		unlink(srv->path);
	}
	sd_event_unref(srv->event);
	free(srv);
}
