/* SPDX-License-Identifier: BSD-3-Clause */
/* What of NVMe devices can only be seen when the whole file was read. */
#include <stdio.h>
#include <string.h>

#include "control/config_read.h"
#include "control/text.h"
#include "util/util.h"

/* I/O queue pairs of a VF when nothing says how many: a root's administrator gives them by hand. */
#define QUEUES_MANAGED 4

static const struct ynode *device_node(const struct ynode *top, const struct config_device *dev)
{
	return map_find(map_find(top, "devices"), dev->name);
}

/* The node of a setting of vfs.N or namespaces.N, or of the entry itself; NULL: not there. */
static const struct ynode *entry_node(const struct ynode *top, const struct config_device *dev,
				      const char *section, unsigned number, const char *key)
{
	const struct ynode *map = map_find(device_node(top, dev), section), *n;
	uint64_t v;

	for (n = map ? map->first : NULL; n; n = n->next)
		if (n->key && !text_uint(n->key, &v) && v == number)
			break;
	return n && map_find(n, key) ? map_find(n, key) : n;
}

/* "vfs.3.queues" for what is said of that VF, "vf-defaults.queues" for what it has from there. */
static int push_vf_queues(struct reader *r, const struct ynode *top,
			  const struct config_device *dev, const struct config_vf *vf, size_t *mark)
{
	const struct ynode *n = entry_node(top, dev, "vfs", vf->index, "queues");
	char path[48];

	if (n && n->key && !strcmp(n->key, "queues")) {
		snprintf(path, sizeof(path), "vfs.%u.queues", vf->index);
	} else {
		n = map_find(map_find(device_node(top, dev), "vf-defaults"), "queues");
		snprintf(path, sizeof(path), "vf-defaults.queues");
	}
	*mark = path_push(r, path);
	return n ? n->line : vf->line;
}

static void check_max_queues(struct reader *r, const struct ynode *top, struct config_device *dev)
{
	static const char fmt[] =
		"%u, but max-vf-queues is %u: lower this or raise max-vf-queues (at most %u)";
	const struct config_nvme *nvme = &dev->nvme;
	size_t mark;
	int line, last = 0;

	if (nvme->queues > nvme->max_vf_queues) {
		mark = path_push(r, "queues");
		config_error(r, config_line_of(top, "devices", dev->name, "queues"), fmt,
			     nvme->queues, nvme->max_vf_queues, NVME_QUEUE_PAIRS_MAX);
		path_pop(r, mark);
	}
	for (unsigned i = 0; i < dev->n_vfs; i++) {
		const struct config_vf *vf = &dev->vfs[i];

		if (vf->nvme_queues <= nvme->max_vf_queues)
			continue;
		line = push_vf_queues(r, top, dev, vf, &mark);
		if (line != last) /* once for what vf-defaults says */
			config_error(r, line, fmt, vf->nvme_queues, nvme->max_vf_queues,
				     NVME_QUEUE_PAIRS_MAX);
		last = line;
		path_pop(r, mark);
	}
}

/* What VFs are assigned before their sockets open; each has an admin queue besides. */
static void check_flexible(struct reader *r, const struct ynode *top, struct config_device *dev)
{
	const struct config_nvme *nvme = &dev->nvme;
	const char *root = config_root_of(r->cfg, dev->name);
	unsigned otherwise = nvme->queues ? nvme->queues : root ? 0 : QUEUES_MANAGED;
	unsigned vfs = root ? dev->total_vfs : dev->num_vfs > 0 ? (unsigned)dev->num_vfs : 0;
	uint64_t sum = 0;
	size_t mark;

	if (!nvme->flexible)
		return;
	for (unsigned i = 0, v = 0; i < vfs; i++) {
		unsigned queues = otherwise;

		while (v < dev->n_vfs && dev->vfs[v].index < i)
			v++;
		if (v < dev->n_vfs && dev->vfs[v].index == i && dev->vfs[v].nvme_queues)
			queues = dev->vfs[v].nvme_queues;
		sum += queues ? queues + 1 : 0;
	}
	if (sum <= nvme->flexible)
		return;
	mark = path_push(r, "flexible-queues");
	config_error(r, config_line_of(top, "devices", dev->name, "flexible-queues"),
		     "%u, but the %u VFs need %llu (their queues, and an admin queue each): raise "
		     "it to that or lower queues",
		     nvme->flexible, vfs, (unsigned long long)sum);
	path_pop(r, mark);
}

static void check_pool_capacity(struct reader *r, const struct ynode *top,
				const struct config_device *dev)
{
	const struct config_nvme *nvme = &dev->nvme;
	char have[TEXT_SIZE_LEN], need[TEXT_SIZE_LEN];
	uint64_t sum = 0;
	size_t mark;

	for (unsigned i = 0; i < nvme->n_namespaces; i++)
		if (nvme->namespaces[i].from_pool)
			sum += nvme->namespaces[i].backend.size;
	if (nvme->ns_pool.kind == NVME_POOL_NONE || sum <= nvme->ns_pool.capacity)
		return;
	mark = path_push(r, "namespace-pool");
	config_error(r, config_line_of(top, "devices", dev->name, "namespace-pool"),
		     "has %s, but its namespaces take %s together: raise its capacity or make them "
		     "smaller",
		     text_size_format(nvme->ns_pool.capacity, have), text_size_format(sum, need));
	path_pop(r, mark);
}

static void check_nqn(struct reader *r, const struct ynode *top, unsigned device)
{
	const struct config_device *dev = &r->cfg->devices[device];
	size_t mark;

	for (unsigned i = 0; i < device && dev->nvme.nqn[0]; i++) {
		const struct config_device *other = &r->cfg->devices[i];

		if (other->type != DEVICE_NVME || strcmp(other->nvme.nqn, dev->nvme.nqn))
			continue;
		mark = path_push(r, "nqn");
		config_error(
			r, config_line_of(top, "devices", dev->name, "nqn"),
			"is the name of %s too: give each its own, or leave it out to have one "
			"generated",
			other->name);
		path_pop(r, mark);
		return;
	}
}

/* What no two namespaces can have. */
static const char *clash(const struct config_namespace *a, const struct config_namespace *b)
{
	static const char *const keys[] = {
		[BLOCK_FILE] = "file", [BLOCK_DEVICE] = "device", [BLOCK_NBD] = "nbd"};
	const struct block_config *x = &a->backend, *y = &b->backend;

	if (a->uuid[0] && !strcmp(a->uuid, b->uuid))
		return "uuid";
	if (a->reservations[0] && !strcmp(a->reservations, b->reservations))
		return "reservations";
	if (!x->target[0] || strcmp(x->target, y->target) || (x->read_only && y->read_only))
		return NULL;
	return keys[x->type];
}

static void check_clash(struct reader *r, const struct ynode *top, const struct config_device *dev,
			const struct config_namespace *ns, const struct config_device *other,
			const struct config_namespace *before)
{
	const char *key = clash(ns, before);
	const struct ynode *n;
	char path[48];
	size_t mark;

	if (!key)
		return;
	n = entry_node(top, dev, "namespaces", ns->nsid, key);
	snprintf(path, sizeof(path), "namespaces.%u.%s", ns->nsid, key);
	mark = path_push(r, path);
	if (!strcmp(key, "uuid") || !strcmp(key, "reservations"))
		config_error(r, n ? n->line : ns->line,
			     "is that of %s/ns%u (line %d) too: give each its own", other->name,
			     before->nsid, before->line);
	else
		config_error(r, n ? n->line : ns->line,
			     "%.200s is the disk of %s/ns%u (line %d) too: attach that one to "
			     "several functions, or let both be read-only",
			     ns->backend.target, other->name, before->nsid, before->line);
	path_pop(r, mark);
}

static void check_namespaces(struct reader *r, const struct ynode *top, unsigned device)
{
	const struct config_device *dev = &r->cfg->devices[device];

	for (unsigned i = 0; i < dev->nvme.n_namespaces; i++) {
		for (unsigned d = 0; d <= device; d++) {
			const struct config_device *other = &r->cfg->devices[d];
			unsigned n = d == device ? i : other->nvme.n_namespaces;

			for (unsigned j = 0; j < n; j++)
				check_clash(r, top, dev, &dev->nvme.namespaces[i], other,
					    &other->nvme.namespaces[j]);
		}
	}
}

void check_nvme(struct reader *r, const struct ynode *top, unsigned device)
{
	struct config_device *dev = &r->cfg->devices[device];

	check_max_queues(r, top, dev);
	check_flexible(r, top, dev);
	check_pool_capacity(r, top, dev);
	check_nqn(r, top, device);
	check_namespaces(r, top, device);
}
