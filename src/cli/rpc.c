/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls to the daemon. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/cli.h"

#define TIMEOUT_S 60

const char *js(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

long long ji(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

bool jb(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

void cli_print_json(const json_t *v)
{
	json_dumpf(v, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
}

static void say_unreachable(const char *path, int err)
{
	const char *remedy = "start it with: softiovd -c FILE; or say where it is with "
			     "--runtime-dir DIR";
	char owner[160];
	struct stat st;

	if (err == EACCES) {
		remedy = "it belongs to another user: use sudo";
		if (!stat(path, &st)) {
			snprintf(owner, sizeof(owner),
				 "it belongs to uid %u: run softiov as that user (sudo -u '#%u' "
				 "softiov …)",
				 (unsigned)st.st_uid, (unsigned)st.st_uid);
			remedy = owner;
		}
	} else if (err == ECONNREFUSED) {
		remedy = "the daemon that made it has ended: start it with: softiovd -c FILE";
	}
	cli_error("cannot reach the daemon at %s: %s: %s", path, strerror(err), remedy);
}

static int connect_daemon(const struct cli *cli)
{
	struct timeval tv = {.tv_sec = TIMEOUT_S};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char path[PATH_MAX + 32];
	int fd, n;

	n = snprintf(path, sizeof(path), "%s/" CONTROL_SOCKET, cli->runtime_dir);
	if (n >= (int)sizeof(addr.sun_path)) {
		say_unreachable(path, ENAMETOOLONG);
		return -1;
	}
	memcpy(addr.sun_path, path, (size_t)n);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		say_unreachable(path, errno);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	return fd;
}

static int send_request(int fd, const char *method, json_t *params)
{
	json_t *req = control_request(1, method, params);
	char *text = req ? json_dumps(req, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	int ret = text ? 0 : -ENOMEM;

	json_decref(req);
	if (text)
		text[len++] = '\n'; /* in place of the NUL */
	for (size_t done = 0; !ret && done < len;) {
		ssize_t n = send(fd, text + done, len - done, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			ret = -errno;
		else if (n > 0)
			done += (size_t)n;
	}
	free(text);
	return ret;
}

/* The reply's line, to be released with control_lines_free(). */
static int receive_line(int fd, struct control_lines *in, char **line, size_t *len)
{
	in->max = CONTROL_REPLY_MAX;
	while (!(*line = control_lines_next(in, len))) {
		size_t space;
		char *p = control_lines_space(in, &space);
		ssize_t n;

		if (!p)
			return -EMSGSIZE;
		n = recv(fd, p, space, 0);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -ECONNRESET;
		if (n > 0)
			control_lines_added(in, (size_t)n);
	}
	return 0;
}

/* Every line of a message of the daemon, each said by us. */
static void say_refused(const char *message)
{
	while (*message) {
		size_t n = strcspn(message, "\n");

		cli_error("%.*s", (int)n, message);
		message += n;
		message += *message == '\n';
	}
}

int cli_take_reply(const json_t *reply, json_t **result)
{
	json_t *error = json_object_get(reply, "error");

	*result = json_incref(json_object_get(reply, "result"));
	if (error) {
		say_refused(js(error, "message"));
		return CLI_FAILED;
	}
	if (!*result) {
		cli_error("the daemon's answer is not understood: are softiov and softiovd of one "
			  "version?");
		return CLI_FAILED;
	}
	return CLI_OK;
}

int cli_ask(struct cli *cli, const char *method, json_t *params, json_t **reply)
{
	struct control_lines in = {0};
	int fd = connect_daemon(cli);
	char *line;
	size_t len;
	int ret;

	*reply = NULL;
	if (fd < 0)
		return CLI_UNREACHABLE;
	ret = send_request(fd, method, params);
	if (!ret)
		ret = receive_line(fd, &in, &line, &len);
	if (ret == -EAGAIN)
		cli_error("the daemon does not answer: see its log");
	else if (ret)
		cli_error("lost the daemon: %s: see its log", strerror(-ret));
	else
		*reply = json_loadb(line, len, 0, NULL);
	control_lines_free(&in);
	close(fd);
	return ret ? CLI_UNREACHABLE : CLI_OK;
}

int cli_call(struct cli *cli, const char *method, json_t *params, json_t **result)
{
	json_t *reply;
	int ret = cli_ask(cli, method, params, &reply);

	*result = NULL;
	if (!ret)
		ret = cli_take_reply(reply, result);
	json_decref(reply);
	return ret;
}

json_t *cli_params_or_usage(const struct cli *cli, int argc, char **argv)
{
	char why[256];
	json_t *params = cli_params(cli->cmd, argc, argv, why, sizeof(why));

	if (!params) {
		cli_error("%s: %s", cli->cmd->verb, why);
		fprintf(stderr, "Usage: softiov %s %s\n", cli->cmd->verb, cli->cmd->usage);
	}
	return params;
}

int cli_call_verb(struct cli *cli, int argc, char **argv, json_t **result)
{
	json_t *params = cli_params_or_usage(cli, argc, argv);
	int ret;

	*result = NULL;
	if (!params)
		return CLI_USAGE;
	ret = cli_call(cli, cli->cmd->method, params, result);
	json_decref(params);
	return ret;
}
