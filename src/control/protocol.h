/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control protocol between softiov and softiovd, and the table of commands from which the
 * daemon's dispatch and argument checks, and the command line's verbs and help are made.
 *
 * JSON-RPC 2.0 over a SOCK_STREAM unix socket (<runtime-dir>/control.sock): one object a line,
 * answered in order by one line each.
 *
 *     {"jsonrpc":"2.0","id":1,"method":"vf.set","params":{"function":"nic0/vf3","vlan":100}}
 *     {"jsonrpc":"2.0","id":1,"result":{}}
 *     {"jsonrpc":"2.0","id":1,"error":{"code":-2,"message":"nic0/vf9: no such function: …"}}
 *
 * code is a JSON-RPC code (-32700…) for malformed requests, else a negative errno.
 */
#ifndef SOFTIOV_CONTROL_PROTOCOL_H
#define SOFTIOV_CONTROL_PROTOCOL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "control/text.h"

#define CONTROL_SOCKET	    "control.sock"
#define CONTROL_SYSTEM_DIR  "/run/softiov"
#define CONTROL_LINE_MAX    (64u << 10) /* of a request, newline included */
#define CONTROL_REPLY_MAX   (64u << 20)
#define CONTROL_CLIENTS_MAX 64
#define CONTROL_PARAMS_MAX  24

enum control_code {
	CONTROL_PARSE_ERROR = -32700,
	CONTROL_INVALID_REQUEST = -32600,
	CONTROL_NO_METHOD = -32601,
	CONTROL_INVALID_PARAMS = -32602,
};

enum control_type {
	CONTROL_NAME,	/* a string: the name of a device, function, namespace or root */
	CONTROL_STRING, /* limits as the help says; choices may name its form for that, "URI" */
	CONTROL_INT,	/* min..max */
	CONTROL_BOOL,
	CONTROL_CHOICE, /* one of choices, separated by '|' */
	CONTROL_MAC,
	CONTROL_SIZE, /* bytes: an integer, or a string as text_size() has it */
	CONTROL_PATH, /* absolute; the command line makes it so */
};

struct control_param {
	const char *name; /* NULL ends the list */
	enum control_type type;
	bool required;
	const char *help;
	int min, max;
	const char *choices;
	const char *word; /* on the command line, where the name means something else; NULL: name */
	bool positional;  /* there, the value may stand alone; names always do */
};

struct control_command {
	const char *verb;     /* "vf set"; NULL: not a verb of the command line */
	const char *method;   /* "vf.set"; NULL: the command line does it alone */
	bool changes;	      /* else it only reads */
	const char *usage;    /* what follows the verb */
	const char *summary;  /* one line */
	const char *examples; /* lines "command   # what for"; may be NULL */
	struct control_param params[CONTROL_PARAMS_MAX];
};

/* Ends with an entry without verb and method. */
extern const struct control_command control_commands[];

const struct control_command *control_find_method(const char *method);
/* By the first words of argv; *used is how many words the verb has. NULL: none. */
const struct control_command *control_find_verb(int argc, char *const *argv, int *used);

/*
 * Checks params (NULL or an object) against the table: types, limits, missing and unknown names.
 * 0, or CONTROL_INVALID_PARAMS with why.
 */
int control_check_params(const struct control_command *cmd, const json_t *params, char *why,
			 size_t why_len);

/* A CONTROL_SIZE. 0 or -EINVAL. */
int control_size(const json_t *v, uint64_t *out);
/* What a parameter is called on the command line. */
const char *control_word(const struct control_param *p);

/* The runtime directory when none is said: $XDG_RUNTIME_DIR/softiov, or CONTROL_SYSTEM_DIR. */
void control_default_dir(char *buf, size_t len);

/* A request; params may be NULL and is borrowed. A new reference, or NULL. */
json_t *control_request(int id, const char *method, json_t *params);

/*
 * Decodes a request line. 0 with *cmd, *params (borrowed from root; NULL: none), *id (borrowed;
 * NULL: a notification, not to be answered); else a JSON-RPC code with why, *id as far as known.
 * *root is to be released by the caller in any case; it may be NULL.
 */
int control_decode(const char *line, size_t len, json_t **root, const struct control_command **cmd,
		   json_t **params, json_t **id, char *why, size_t why_len);

/* Replies as a line with its newline; free() it. result is stolen. NULL: no memory. */
char *control_reply(const json_t *id, json_t *result, size_t *len);
char *control_reply_error(const json_t *id, int code, const char *message, size_t *len);

/* Bytes that arrive in pieces, cut into lines. Zero-initialised. */
struct control_lines {
	char *buf;
	size_t len, cap;
	size_t scanned;	 /* no newline before here */
	size_t consumed; /* lines given out already */
	size_t max;	 /* longest line, newline included */
};
/* Room to read into: *space bytes at the pointer returned; NULL: no memory or a line too long. */
char *control_lines_space(struct control_lines *l, size_t *space);
void control_lines_added(struct control_lines *l, size_t n);
/* The next whole line without its newline (NUL-terminated, valid until the next call), or NULL. */
char *control_lines_next(struct control_lines *l, size_t *len);
/* True when a line exceeded max. */
bool control_lines_overlong(const struct control_lines *l);
void control_lines_free(struct control_lines *l);

#endif
