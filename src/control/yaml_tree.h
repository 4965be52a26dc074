/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A YAML file as a tree of scalars, lists and maps, each with its line. Built from libyaml's
 * events so that what makes YAML dangerous is refused on sight: aliases (a small file that
 * expands without end), deep nesting, more nodes than any configuration needs. Keys must be
 * plain words.
 */
#ifndef SOFTIOV_CONTROL_YAML_TREE_H
#define SOFTIOV_CONTROL_YAML_TREE_H

#include <stddef.h>

#define YAML_DEPTH_MAX	 10
#define YAML_NODES_MAX	 200000
#define YAML_ENTRIES_MAX 1100 /* of one map or list */
#define YAML_SCALAR_MAX	 4096

enum ynode_kind { YNODE_SCALAR, YNODE_LIST, YNODE_MAP };

struct ynode {
	enum ynode_kind kind;
	int line;	/* of the key in a map, else where the value begins */
	char *key;	/* of an entry of a map; else NULL */
	char *value;	/* of a scalar; "" when nothing was written */
	unsigned count; /* children */
	struct ynode *first, *last, *next;
	struct ynode *all; /* private: every node of the tree */
};

/*
 * Parses text. 0 and *root (NULL for an empty file), or -EINVAL/-ENOMEM with *line and a message
 * "problem: remedy" in why.
 */
int yaml_tree_parse(const char *text, size_t len, struct ynode **root, int *line, char *why,
		    size_t why_len);
void yaml_tree_free(struct ynode *root);

#endif
