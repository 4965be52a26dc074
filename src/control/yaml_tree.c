/* SPDX-License-Identifier: BSD-3-Clause */
#include "control/yaml_tree.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct builder {
	yaml_parser_t parser;
	struct ynode *stack[YAML_DEPTH_MAX];
	unsigned depth;
	unsigned nodes;
	unsigned documents;
	struct ynode *root, *all;
	char *key; /* read, its value not yet */
	int key_line;
	int line;
	char *why;
	size_t why_len;
};

static int refuse(struct builder *b, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(struct builder *b, int line, const char *fmt, ...)
{
	va_list ap;

	b->line = line;
	va_start(ap, fmt);
	vsnprintf(b->why, b->why_len, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static void free_all(struct ynode *all)
{
	while (all) {
		struct ynode *next = all->all;

		free(all->key);
		free(all->value);
		free(all);
		all = next;
	}
}

/* The root is the first node made, so it is the last in the list of all; the list hangs on it. */
void yaml_tree_free(struct ynode *root)
{
	struct ynode *all;

	if (!root)
		return;
	all = root->all;
	root->all = NULL;
	free_all(all);
	free_all(root);
}

static int add_node(struct builder *b, enum ynode_kind kind, const yaml_event_t *ev,
		    struct ynode **out)
{
	struct ynode *parent = b->depth ? b->stack[b->depth - 1] : NULL;
	int line = (int)ev->start_mark.line + 1;
	struct ynode *n;

	if (++b->nodes > YAML_NODES_MAX)
		return refuse(b, line, "more than %d values: not a configuration of softiov",
			      YAML_NODES_MAX);
	if (parent && parent->count >= YAML_ENTRIES_MAX)
		return refuse(b, line, "more than %d entries in one place: remove some",
			      YAML_ENTRIES_MAX);
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->kind = kind;
	n->line = line;
	if (b->key) {
		n->key = b->key;
		n->line = b->key_line;
		b->key = NULL;
	}
	if (!parent) {
		b->root = n;
	} else {
		n->all = b->all;
		b->all = n;
		if (parent->last)
			parent->last->next = n;
		else
			parent->first = n;
		parent->last = n;
		parent->count++;
	}
	*out = n;
	return 0;
}

static bool key_expected(const struct builder *b)
{
	return b->depth && b->stack[b->depth - 1]->kind == YNODE_MAP && !b->key;
}

static int take_scalar(struct builder *b, const yaml_event_t *ev)
{
	const char *text = (const char *)ev->data.scalar.value;
	size_t len = ev->data.scalar.length;
	int line = (int)ev->start_mark.line + 1;
	struct ynode *n = NULL; /* gcc 12 at -O3 cannot see that it is set */
	int ret;

	if (len > YAML_SCALAR_MAX || memchr(text, 0, len))
		return refuse(b, line, "a value of %zu bytes%s: write a plain short one", len,
			      memchr(text, 0, len) ? " with a zero byte" : "");
	if (key_expected(b)) {
		if (!strcmp(text, "<<"))
			return refuse(b, line,
				      "merge keys (<<) are not supported: use vf-defaults, or "
				      "write the settings out");
		b->key_line = line;
		b->key = strdup(text);
		return b->key ? 0 : -ENOMEM;
	}
	ret = add_node(b, YNODE_SCALAR, ev, &n);
	if (ret)
		return ret;
	n->value = strdup(text);
	return n->value ? 0 : -ENOMEM;
}

static int open_node(struct builder *b, enum ynode_kind kind, const yaml_event_t *ev)
{
	int line = (int)ev->start_mark.line + 1;
	struct ynode *n = NULL;
	int ret;

	if (key_expected(b))
		return refuse(b, line, "a key must be a single word: write key: value");
	if (b->depth == YAML_DEPTH_MAX)
		return refuse(b, line, "nested more than %d deep: no setting needs that",
			      YAML_DEPTH_MAX);
	ret = add_node(b, kind, ev, &n);
	if (!ret)
		b->stack[b->depth++] = n;
	return ret;
}

static int take_event(struct builder *b, const yaml_event_t *ev)
{
	int line = (int)ev->start_mark.line + 1;

	switch (ev->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (b->documents++)
			return refuse(b, line, "a second document (---): keep one per file");
		return 0;
	case YAML_ALIAS_EVENT:
		return refuse(b, line,
			      "aliases (*name) are not supported: use vf-defaults, or write the "
			      "settings out");
	case YAML_SCALAR_EVENT:
		return take_scalar(b, ev);
	case YAML_SEQUENCE_START_EVENT:
		return open_node(b, YNODE_LIST, ev);
	case YAML_MAPPING_START_EVENT:
		return open_node(b, YNODE_MAP, ev);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->depth--;
		return 0;
	default:
		return 0;
	}
}

static int syntax_error(struct builder *b)
{
	const yaml_parser_t *p = &b->parser;

	if (p->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	if (p->error == YAML_READER_ERROR)
		return refuse(b, 1, "%s at byte %zu: save the file as plain UTF-8",
			      p->problem ? p->problem : "unreadable text", p->problem_offset);
	return refuse(
		b, (int)p->problem_mark.line + 1,
		"not valid YAML: %s%s%s: check indentation, quotes and colons near column %zu",
		p->context ? p->context : "", p->context ? ", " : "",
		p->problem ? p->problem : "cannot be read", p->problem_mark.column + 1);
}

static int build(struct builder *b)
{
	yaml_event_t ev;
	bool end = false;
	int ret = 0;

	while (!ret && !end) {
		if (!yaml_parser_parse(&b->parser, &ev))
			return syntax_error(b);
		end = ev.type == YAML_STREAM_END_EVENT;
		ret = take_event(b, &ev);
		yaml_event_delete(&ev);
	}
	return ret;
}

int yaml_tree_parse(const char *text, size_t len, struct ynode **root, int *line, char *why,
		    size_t why_len)
{
	struct builder b = {.why = why, .why_len = why_len};
	int ret;

	*root = NULL;
	*line = 0;
	why[0] = '\0';
	if (!yaml_parser_initialize(&b.parser))
		return -ENOMEM;
	yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)text, len);
	ret = build(&b);
	yaml_parser_delete(&b.parser);
	free(b.key);
	if (b.root)
		b.root->all = b.all;
	if (ret) {
		yaml_tree_free(b.root);
		*line = b.line;
		if (ret == -ENOMEM)
			snprintf(why, why_len, "out of memory");
		return ret;
	}
	*root = b.root;
	return 0;
}
