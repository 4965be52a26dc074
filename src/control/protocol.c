/* SPDX-License-Identifier: BSD-3-Clause */
#include "control/protocol.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/text.h"
#include "util/util.h"

#define NAME_MAX_LEN   80
#define STRING_MAX_LEN 1024

const struct control_command *control_find_method(const char *method)
{
	for (const struct control_command *c = control_commands; c->verb || c->method; c++)
		if (c->method && !strcmp(c->method, method))
			return c;
	return NULL;
}

/* True when the words of verb begin argv; *used counts them. */
static bool verb_matches(const char *verb, int argc, char *const *argv, int *used)
{
	int n = 0;

	while (*verb) {
		size_t len = strcspn(verb, " ");

		if (n >= argc || strlen(argv[n]) != len || memcmp(argv[n], verb, len))
			return false;
		n++;
		verb += len;
		verb += *verb == ' ';
	}
	*used = n;
	return true;
}

const struct control_command *control_find_verb(int argc, char *const *argv, int *used)
{
	const struct control_command *best = NULL;
	int n;

	*used = 0;
	/* The longest wins: "stats clear" over "stats". */
	for (const struct control_command *c = control_commands; c->verb || c->method; c++) {
		if (c->verb && verb_matches(c->verb, argc, argv, &n) && n > *used) {
			best = c;
			*used = n;
		}
	}
	return best;
}

static bool is_choice(const char *choices, const char *word)
{
	size_t len = strlen(word);

	while (*choices) {
		size_t n = strcspn(choices, "|");

		if (n == len && !strncasecmp(choices, word, n))
			return true;
		choices += n;
		choices += *choices == '|';
	}
	return false;
}

static int bad(char *why, size_t len, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int bad(char *why, size_t len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, len, fmt, ap);
	va_end(ap);
	return CONTROL_INVALID_PARAMS;
}

int control_size(const json_t *v, uint64_t *out)
{
	if (json_is_string(v))
		return text_size(json_string_value(v), out);
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return -EINVAL;
	*out = (uint64_t)json_integer_value(v);
	return 0;
}

const char *control_word(const struct control_param *p)
{
	return p->word ? p->word : p->name;
}

static int check_path(const struct control_param *p, const char *s, char *why, size_t why_len)
{
	if (s[0] != '/')
		return bad(why, why_len, "%s: \"%.40s\": give an absolute path", p->name, s);
	if (strlen(s) >= PATH_MAX)
		return bad(why, why_len, "%s: longer than %d characters", p->name, PATH_MAX - 1);
	for (; *s; s++)
		if (iscntrl((unsigned char)*s))
			return bad(why, why_len, "%s: a control character in it: remove it",
				   p->name);
	return 0;
}

static int check_string(const struct control_param *p, const char *s, char *why, size_t why_len)
{
	const char *wrong;
	uint8_t mac[6];

	switch (p->type) {
	case CONTROL_NAME:
		if (!s[0] || strlen(s) > NAME_MAX_LEN ||
		    s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_-/")])
			return bad(why, why_len,
				   "%s: \"%.40s\" is not a name: give one as show "
				   "lists them, such as nic0/vf0",
				   p->name, s);
		return 0;
	case CONTROL_CHOICE:
		if (!is_choice(p->choices, s))
			return bad(why, why_len, "%s: \"%.40s\": give one of %s", p->name, s,
				   p->choices);
		return 0;
	case CONTROL_MAC:
		wrong = text_mac(s, mac);
		if (wrong)
			return bad(why, why_len, "%s: \"%.40s\": %s", p->name, s, wrong);
		return 0;
	case CONTROL_PATH:
		return check_path(p, s, why, why_len);
	default:
		if (strlen(s) > STRING_MAX_LEN)
			return bad(why, why_len, "%s: longer than %d characters", p->name,
				   STRING_MAX_LEN);
		return 0;
	}
}

static int check_param(const struct control_param *p, const json_t *v, char *why, size_t why_len)
{
	char number[24];
	uint64_t size;

	switch (p->type) {
	case CONTROL_INT:
		if (!json_is_integer(v) || json_integer_value(v) < p->min ||
		    json_integer_value(v) > p->max)
			return bad(why, why_len, "%s: give a number from %d to %d", p->name, p->min,
				   p->max);
		return 0;
	case CONTROL_BOOL:
		if (!json_is_boolean(v))
			return bad(why, why_len, "%s: give on or off (true or false)", p->name);
		return 0;
	case CONTROL_SIZE:
		if (control_size(v, &size))
			return bad(why, why_len,
				   "%s: give bytes, with K, M, G or T for more, such as 512M or "
				   "1.5G",
				   p->name);
		return 0;
	case CONTROL_CHOICE:
		/* What looks like a number may come as one. */
		if (json_is_integer(v)) {
			snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
			return check_string(p, number, why, why_len);
		}
		/* fallthrough */
	default:
		if (!json_is_string(v))
			return bad(why, why_len, "%s: give a string", p->name);
		return check_string(p, json_string_value(v), why, why_len);
	}
}

static const struct control_param *find_param(const struct control_command *cmd, const char *name)
{
	for (const struct control_param *p = cmd->params; p->name; p++)
		if (!strcmp(p->name, name))
			return p;
	return NULL;
}

static int unknown_param(const struct control_command *cmd, const char *key, char *why,
			 size_t why_len)
{
	const char *names[CONTROL_PARAMS_MAX];
	const char *near;
	unsigned n = 0;

	for (const struct control_param *p = cmd->params; p->name; p++)
		names[n++] = p->name;
	near = text_nearest(key, names, n);
	if (near)
		return bad(why, why_len, "%.40s: unknown: did you mean \"%s\"?", key, near);
	return bad(why, why_len, "%.40s: unknown to %s", key, cmd->method);
}

int control_check_params(const struct control_command *cmd, const json_t *params, char *why,
			 size_t why_len)
{
	const char *key;
	json_t *v;
	int ret;

	if (params && !json_is_object(params))
		return bad(why, why_len, "params must be an object");
	for (const struct control_param *p = cmd->params; p->name; p++)
		if (p->required && !json_object_get(params, p->name))
			return bad(why, why_len, "%s is missing: %s", p->name, p->help);
	json_object_foreach((json_t *)params, key, v)
	{
		const struct control_param *p = find_param(cmd, key);

		ret = p ? check_param(p, v, why, why_len) : unknown_param(cmd, key, why, why_len);
		if (ret)
			return ret;
	}
	return 0;
}

void control_default_dir(char *buf, size_t len)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	if (xdg && xdg[0] == '/')
		snprintf(buf, len, "%s/softiov", xdg);
	else
		snprintf(buf, len, CONTROL_SYSTEM_DIR);
}

json_t *control_request(int id, const char *method, json_t *params)
{
	json_t *req = json_pack("{s:s, s:i, s:s}", "jsonrpc", "2.0", "id", id, "method", method);

	if (req && params && json_object_set(req, "params", params)) {
		json_decref(req);
		return NULL;
	}
	return req;
}

int control_decode(const char *line, size_t len, json_t **root, const struct control_command **cmd,
		   json_t **params, json_t **id, char *why, size_t why_len)
{
	json_error_t err;
	json_t *method;

	*params = *id = NULL;
	*cmd = NULL;
	*root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &err);
	if (!*root) {
		snprintf(why, why_len, "not JSON: %s", err.text);
		return CONTROL_PARSE_ERROR;
	}
	*id = json_object_get(*root, "id");
	if (*id && !json_is_string(*id) && !json_is_integer(*id) && !json_is_null(*id))
		*id = NULL;
	method = json_object_get(*root, "method");
	if (!json_is_string(method)) {
		snprintf(why, why_len, "a request is an object with a method");
		return CONTROL_INVALID_REQUEST;
	}
	*cmd = control_find_method(json_string_value(method));
	if (!*cmd) {
		snprintf(why, why_len, "no method \"%.40s\"", json_string_value(method));
		return CONTROL_NO_METHOD;
	}
	*params = json_object_get(*root, "params");
	return control_check_params(*cmd, *params, why, why_len);
}

static char *reply_line(json_t *reply, size_t *len)
{
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
	char *line = NULL;

	json_decref(reply);
	if (!text)
		return NULL;
	*len = strlen(text);
	line = realloc(text, *len + 2);
	if (!line) {
		free(text);
		return NULL;
	}
	line[(*len)++] = '\n';
	line[*len] = '\0';
	return line;
}

char *control_reply(const json_t *id, json_t *result, size_t *len)
{
	return reply_line(json_pack("{s:s, s:O?, s:o}", "jsonrpc", "2.0", "id", (json_t *)id,
				    "result", result),
			  len);
}

char *control_reply_error(const json_t *id, int code, const char *message, size_t *len)
{
	json_t *text = json_string(message);
	json_t *reply;

	/* A message that quotes broken UTF-8 must not lose the reply. */
	if (!text)
		text = json_string("the request failed");
	reply = json_pack("{s:s, s:o, s:{s:i, s:o}}", "jsonrpc", "2.0", "id",
			  id ? json_incref((json_t *)id) : json_null(), "error", "code", code,
			  "message", text);
	return reply_line(reply, len);
}

/* Lines given out make room at the front only here, so that a line stays valid until the next
 * call. */
static void compact(struct control_lines *l)
{
	if (!l->consumed)
		return;
	memmove(l->buf, l->buf + l->consumed, l->len - l->consumed);
	l->len -= l->consumed;
	l->scanned -= l->consumed;
	l->consumed = 0;
}

char *control_lines_space(struct control_lines *l, size_t *space)
{
	compact(l);
	if (l->len == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 4096;
		char *buf;

		if (cap > l->max + 1)
			cap = l->max + 1;
		if (cap <= l->len)
			return NULL;
		buf = realloc(l->buf, cap);
		if (!buf)
			return NULL;
		l->buf = buf;
		l->cap = cap;
	}
	*space = l->cap - l->len;
	return l->buf + l->len;
}

void control_lines_added(struct control_lines *l, size_t n)
{
	l->len += n;
}

char *control_lines_next(struct control_lines *l, size_t *len)
{
	char *line = l->buf + l->consumed;
	char *nl;

	if (l->scanned == l->len)
		return NULL;
	nl = memchr(l->buf + l->scanned, '\n', l->len - l->scanned);
	if (!nl) {
		l->scanned = l->len;
		return NULL;
	}
	*nl = '\0';
	*len = (size_t)(nl - line);
	l->consumed = l->scanned = (size_t)(nl - l->buf) + 1;
	return line;
}

bool control_lines_overlong(const struct control_lines *l)
{
	return l->scanned == l->len && l->len - l->consumed >= l->max;
}

void control_lines_free(struct control_lines *l)
{
	free(l->buf);
	memset(l, 0, sizeof(*l));
}
