/* SPDX-License-Identifier: BSD-3-Clause */
/* A root of the configuration file: which devices it holds, and its socket. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/config_read.h"
#include "root/root.h"

static void read_share(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_root_device *d = obj;
	uint64_t v;

	/* 0 would mean "an equal part". */
	if (read_uint(r, n, 1, CONFIG_VFS_MAX, &v))
		d->total_vfs = (uint16_t)v;
}

/* "nic0", or "nic1: {total-vfs: 8}" as the one entry of a map. */
static void read_root_device(struct reader *r, const struct ynode *n, struct config_root *root)
{
	static const struct config_key keys[] = {{"total-vfs", read_share}, {NULL, NULL}};
	struct config_root_device *d = &root->devices[root->n_devices];
	const char *name = n->key ? n->key : n->value;
	size_t mark;

	mark = path_push(r, name);
	if (read_name(r, name, n->line, d->device)) {
		root->n_devices++;
		if (n->key)
			read_map(r, n, keys, d);
	}
	path_pop(r, mark);
}

static void read_list_entry(struct reader *r, const struct ynode *n, struct config_root *root)
{
	if (n->kind == YNODE_MAP && n->count == 1)
		read_root_device(r, n->first, root);
	else if (n->kind == YNODE_SCALAR && n->value[0])
		read_root_device(r, n, root);
	else
		config_error(r, n->line, "not a device: write its name, or NAME: {total-vfs: N}");
}

static void read_root_devices(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_root *root = obj;

	if (n->kind == YNODE_SCALAR) {
		config_error(r, n->line, "a single value where a list was expected: write [nic0]");
		return;
	}
	if (n->count > ROOT_SLOTS_MAX) {
		config_error(r, n->line, "%u devices: a root has %d slots", n->count,
			     ROOT_SLOTS_MAX);
		return;
	}
	root->devices = calloc(n->count ? n->count : 1, sizeof(*root->devices));
	if (!root->devices) {
		r->no_memory = true;
		return;
	}
	for (const struct ynode *e = n->first; e; e = e->next) {
		if (n->kind == YNODE_MAP)
			read_root_device(r, e, root);
		else
			read_list_entry(r, e, root);
	}
}

static void read_root_socket(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_root *root = obj;

	read_socket(r, n, &root->socket);
}

static void read_vectors(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_root *root = obj;
	uint64_t v;

	if (read_uint(r, n, 2, ROOT_VECTORS_MAX, &v))
		root->vectors = (unsigned)v;
}

void read_root(struct reader *r, const struct ynode *n, struct config_root *root)
{
	static const struct config_key keys[] = {{"devices", read_root_devices},
						 {"socket", read_root_socket},
						 {"vectors", read_vectors},
						 {NULL, NULL}};

	root->line = n->line;
	read_map(r, n, keys, root);
}
