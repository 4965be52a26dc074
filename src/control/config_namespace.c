/* SPDX-License-Identifier: BSD-3-Clause */
/* Namespaces of an NVMe device, and the limits that they and VFs may have. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/config_read.h"
#include "control/nvme_words.h"
#include "control/text.h"
#include "util/util.h"

/* What a namespace is read into, and what of it was seen. */
struct reading {
	struct config_device *dev;
	struct config_namespace *ns;
	const struct ynode *backend; /* the key that gives it; NULL: none yet */
};

/* ---- limits ---- */

void read_limit(struct reader *r, const struct ynode *n, struct nvme_limits *lim)
{
	bool burst = strstr(n->key, "-burst") != NULL;
	bool iops = !strncmp(n->key, "iops", 4);
	uint64_t *out = iops	? burst ? &lim->iops_burst : &lim->iops
			: burst ? &lim->bandwidth_burst
				: &lim->bandwidth;
	uint64_t v;

	if (iops) {
		read_uint(r, n, 0, NVME_IOPS_MAX, out);
		return;
	}
	if (!read_size(r, n, 0, NVME_BANDWIDTH_MAX, &v))
		return;
	if (v && v < NVME_BANDWIDTH_MIN)
		config_error(
			r, n->line,
			"\"%.40s\": bytes a second, and fewer than 4K: write 200M for 200 MiB/s, "
			"or 0 for no limit",
			n->value);
	else
		*out = v;
}

void check_limits(struct reader *r, const struct ynode *map, struct nvme_limits *lim)
{
	const struct {
		const char *rate, *burst;
		uint64_t value, *burst_value;
	} kinds[] = {
		{"iops", "iops-burst", lim->iops, &lim->iops_burst},
		{"bandwidth", "bandwidth-burst", lim->bandwidth, &lim->bandwidth_burst},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct ynode *at = map_find(map, kinds[i].burst);

		if (kinds[i].value || !*kinds[i].burst_value)
			continue;
		if (at)
			config_error(r, at->line, "%s without %s: add the limit that it exceeds",
				     kinds[i].burst, kinds[i].rate);
		*kinds[i].burst_value = 0;
	}
}

static void read_ns_limit(struct reader *r, const struct ynode *n, void *obj)
{
	struct reading *rd = obj;

	read_limit(r, n, &rd->ns->limits);
}

/* ---- backends ---- */

/* False: another one was given before. */
static bool first_backend(struct reader *r, const struct ynode *n, struct reading *rd)
{
	if (rd->backend) {
		config_error(r, n->line,
			     "a namespace has one backend, this one has %s (line %d) already: "
			     "remove one",
			     rd->backend->key, rd->backend->line);
		return false;
	}
	rd->backend = n;
	return true;
}

static void read_file(struct reader *r, const struct ynode *n, void *obj)
{
	struct reading *rd = obj;

	if (!first_backend(r, n, rd))
		return;
	rd->ns->backend.type = BLOCK_FILE;
	read_path(r, n, rd->ns->backend.target, sizeof(rd->ns->backend.target));
}

static void read_block_device(struct reader *r, const struct ynode *n, void *obj)
{
	struct reading *rd = obj;

	if (!first_backend(r, n, rd))
		return;
	rd->ns->backend.type = BLOCK_DEVICE;
	read_path(r, n, rd->ns->backend.target, sizeof(rd->ns->backend.target));
}

static void read_sized(struct reader *r, const struct ynode *n, struct reading *rd,
		       enum block_type type)
{
	if (!first_backend(r, n, rd))
		return;
	rd->ns->backend.type = type;
	read_size(r, n, NVME_NS_SIZE_MIN, NVME_NS_SIZE_MAX, &rd->ns->backend.size);
}

static void read_memory(struct reader *r, const struct ynode *n, void *obj)
{
	read_sized(r, n, obj, BLOCK_MEMORY);
}

static void read_null(struct reader *r, const struct ynode *n, void *obj)
{
	read_sized(r, n, obj, BLOCK_NULL);
}

static void read_pool(struct reader *r, const struct ynode *n, void *obj)
{
	struct reading *rd = obj;

	rd->ns->from_pool = !rd->backend;
	read_sized(r, n, rd, BLOCK_FILE);
}

static void read_nbd(struct reader *r, const struct ynode *n, void *obj)
{
	struct reading *rd = obj;
	char *uri = rd->ns->backend.target;

	if (!first_backend(r, n, rd))
		return;
	rd->ns->backend.type = BLOCK_NBD;
	if (read_string(r, n, uri, sizeof(rd->ns->backend.target)) && !text_nbd_uri(uri))
		config_error(r, n->line,
			     "\"%.80s\": give a URI such as \"nbd://host/export\" or "
			     "\"nbd+unix:///export?socket=/path\"",
			     uri);
}

static void read_ns_size(struct reader *r, const struct ynode *n, void *obj)
{
	struct reading *rd = obj;
	uint64_t v;

	/* Of others the backend's own value is the size, wherever it stands: check_backend(). */
	if (read_size(r, n, NVME_NS_SIZE_MIN, NVME_NS_SIZE_MAX, &v) && !rd->ns->backend.size)
		rd->ns->backend.size = v;
}

static void read_preallocate(struct reader *r, const struct ynode *n, void *obj)
{
	struct reading *rd = obj;

	read_bool(r, n, &rd->ns->backend.preallocate);
}

static void read_read_only(struct reader *r, const struct ynode *n, void *obj)
{
	struct reading *rd = obj;

	read_bool(r, n, &rd->ns->backend.read_only);
}

static void read_direct(struct reader *r, const struct ynode *n, void *obj)
{
	static const char *const names[] = {"auto", "on", "off"};
	static const enum block_direct values[] = {BLOCK_DIRECT_AUTO, BLOCK_DIRECT_ON,
						   BLOCK_DIRECT_OFF};
	struct reading *rd = obj;
	unsigned i;
	bool on;

	if (n->kind == YNODE_SCALAR && !text_bool(n->value, &on))
		rd->ns->backend.direct = on ? BLOCK_DIRECT_ON : BLOCK_DIRECT_OFF;
	else if (read_choice(r, n, names, ARRAY_SIZE(names), &i))
		rd->ns->backend.direct = values[i];
}

static void read_block_size(struct reader *r, const struct ynode *n, void *obj)
{
	static const char *const names[] = {"512", "4096"};
	static const uint32_t values[] = {512, 4096};
	struct reading *rd = obj;
	unsigned i;

	if (read_choice(r, n, names, ARRAY_SIZE(names), &i))
		rd->ns->block_size = values[i];
}

static void read_reservations(struct reader *r, const struct ynode *n, void *obj)
{
	struct reading *rd = obj;

	read_path(r, n, rd->ns->reservations, sizeof(rd->ns->reservations));
}

static void read_uuid(struct reader *r, const struct ynode *n, void *obj)
{
	struct reading *rd = obj;
	char *uuid = rd->ns->uuid;

	if (!want_scalar(r, n))
		return;
	if (text_uuid(n->value)) {
		config_error(
			r, n->line,
			"\"%.40s\": write a UUID as uuidgen prints it, or leave it out to have "
			"one generated",
			n->value);
		return;
	}
	for (unsigned i = 0; i < sizeof(rd->ns->uuid); i++)
		uuid[i] = (char)tolower((unsigned char)n->value[i]);
}

/* ---- who has it ---- */

static bool attach_vf(struct reader *r, const struct ynode *n, struct reading *rd, uint64_t vf)
{
	const struct config_device *dev = rd->dev;
	struct config_namespace *ns = rd->ns;
	unsigned *vfs;

	if (vf >= dev->total_vfs) {
		if (dev->total_vfs)
			config_error(r, n->line,
				     "\"%.40s\": there is no such VF, the last is vf%u: raise "
				     "total-vfs (now %u) or remove this",
				     n->value, dev->total_vfs - 1, dev->total_vfs);
		else
			config_error(r, n->line,
				     "\"%.40s\": the device has no VFs: raise total-vfs (now 0) or "
				     "remove this",
				     n->value);
		return false;
	}
	for (unsigned i = 0; i < ns->n_attach; i++)
		if (ns->attach_vfs[i] == vf)
			return true;
	vfs = reallocarray(ns->attach_vfs, ns->n_attach + 1, sizeof(*vfs));
	if (!vfs) {
		r->no_memory = true;
		return false;
	}
	ns->attach_vfs = vfs;
	vfs[ns->n_attach++] = (unsigned)vf;
	return true;
}

static void attach_word(struct reader *r, const struct ynode *n, struct reading *rd)
{
	size_t len = strlen(rd->dev->name);
	const char *word = n->value;
	uint64_t vf;

	if (!want_scalar(r, n))
		return;
	/* Full names say the same. */
	if (!strncmp(word, rd->dev->name, len) && word[len] == '/')
		word += len + 1;
	if (!strcasecmp(word, "all"))
		rd->ns->attach_all = true;
	else if (!strcasecmp(word, "pf"))
		rd->ns->attach_pf = true;
	else if (!strncasecmp(word, "vf", 2) && !text_uint(word + 2, &vf))
		attach_vf(r, n, rd, vf);
	else
		config_error(
			r, n->line,
			"\"%.40s\": write who has it, as in [vf0, vf1], pf or all; nobody when "
			"left out",
			n->value);
}

static void read_attach(struct reader *r, const struct ynode *n, void *obj)
{
	if (n->kind != YNODE_LIST) {
		attach_word(r, n, obj);
		return;
	}
	for (const struct ynode *e = n->first; e; e = e->next)
		attach_word(r, e, obj);
}

/* ---- the whole ---- */

static void check_settings(struct reader *r, const struct ynode *n, const char *backend)
{
	for (const char *const *s = nvme_backend_settings; *s; s++) {
		const struct ynode *at = map_find(n, *s);
		char text[128];
		size_t mark;

		if (!at || !nvme_setting_refused(backend, *s, text, sizeof(text)))
			continue;
		mark = path_push(r, *s);
		config_error(r, at->line, "%s", text);
		path_pop(r, mark);
	}
}

static void check_size(struct reader *r, const struct ynode *n, const struct config_namespace *ns)
{
	uint32_t block = ns->block_size ? ns->block_size : 512;
	uint64_t size = ns->backend.size;

	if (size % block)
		config_error(r, n->line,
			     "%llu bytes are no whole number of blocks of %u: give %llu, or "
			     "a size in K, M or G",
			     (unsigned long long)size, block,
			     (unsigned long long)(size + block - size % block));
}

static void check_pool(struct reader *r, const struct ynode *n, const struct reading *rd)
{
	if (rd->ns->from_pool && rd->dev->nvme.ns_pool.kind == NVME_POOL_NONE)
		config_error(r, n->line,
			     "there is no pool: add to the device namespace-pool: {directory: DIR, "
			     "capacity: SIZE}");
}

static void check_namespace(struct reader *r, const struct ynode *n, struct reading *rd)
{
	const struct ynode *size = map_find(n, "size");
	size_t mark;

	if (!rd->backend) {
		config_error(r, n->line,
			     "no backend given: add one of file: PATH, device: PATH, memory: SIZE, "
			     "null: SIZE, nbd: URI, pool: SIZE");
		return;
	}
	check_settings(r, n, rd->backend->key);
	check_limits(r, n, &rd->ns->limits);
	mark = path_push(r, size ? "size" : rd->backend->key);
	check_size(r, size ? size : rd->backend, rd->ns);
	path_pop(r, mark);
	mark = path_push(r, rd->backend->key);
	check_pool(r, rd->backend, rd);
	path_pop(r, mark);
}

static void read_namespace(struct reader *r, const struct ynode *n, struct reading *rd)
{
	static const struct config_key keys[] = {
		{"file", read_file},
		{"device", read_block_device},
		{"memory", read_memory},
		{"null", read_null},
		{"nbd", read_nbd},
		{"pool", read_pool},
		{"size", read_ns_size},
		{"block-size", read_block_size},
		{"preallocate", read_preallocate},
		{"direct", read_direct},
		{"read-only", read_read_only},
		{"attach", read_attach},
		{"uuid", read_uuid},
		{"reservations", read_reservations},
		{"iops", read_ns_limit},
		{"iops-burst", read_ns_limit},
		{"bandwidth", read_ns_limit},
		{"bandwidth-burst", read_ns_limit},
		{NULL, NULL},
	};
	unsigned before = r->n_errors;

	rd->ns->line = n->line;
	read_map(r, n, keys, rd);
	/* What is half read would only be called wrong a second time. */
	if (r->n_errors == before)
		check_namespace(r, n, rd);
}

static bool read_nsid(struct reader *r, const struct ynode *n, const struct config_nvme *nvme,
		      uint32_t *nsid)
{
	uint64_t v;

	if (text_uint(n->key, &v) || !v) {
		config_error(r, n->line, "not a namespace's number: write its NSID, from 1");
		return false;
	}
	if (v > nvme->max_namespaces) {
		if (nvme->max_namespaces < NVME_NAMESPACES_MAX && v <= NVME_NAMESPACES_MAX)
			config_error(
				r, n->line,
				"beyond max-namespaces, which is %u: raise it or choose a lower "
				"NSID",
				nvme->max_namespaces);
		else
			config_error(r, n->line, "NSIDs go to %u: choose a lower one",
				     NVME_NAMESPACES_MAX);
		return false;
	}
	for (unsigned i = 0; i < nvme->n_namespaces; i++) {
		if (nvme->namespaces[i].nsid != v)
			continue;
		config_error(r, n->line, "given twice, first on line %d: remove one of the two",
			     nvme->namespaces[i].line);
		return false;
	}
	*nsid = (uint32_t)v;
	return true;
}

/* Insertion sort: few, mostly in order. */
static void sort_by_nsid(struct config_nvme *nvme)
{
	struct config_namespace *ns = nvme->namespaces;

	for (unsigned i = 1; i < nvme->n_namespaces; i++) {
		for (unsigned j = i; j && ns[j - 1].nsid > ns[j].nsid; j--) {
			struct config_namespace t = ns[j];

			ns[j] = ns[j - 1];
			ns[j - 1] = t;
		}
	}
}

void read_namespaces(struct reader *r, const struct ynode *device, struct config_device *dev)
{
	const struct ynode *map = map_find(device, "namespaces");
	struct config_nvme *nvme = &dev->nvme;
	size_t mark;

	if (!map)
		return;
	mark = path_push(r, "namespaces");
	if (!want_map(r, map))
		goto out;
	nvme->namespaces = calloc(map->count ? map->count : 1, sizeof(*nvme->namespaces));
	if (!nvme->namespaces) {
		r->no_memory = true;
		goto out;
	}
	for (const struct ynode *n = map->first; n; n = n->next) {
		struct config_namespace *ns = &nvme->namespaces[nvme->n_namespaces];
		struct reading rd = {.dev = dev, .ns = ns};
		size_t inner = path_push(r, n->key);

		if (read_nsid(r, n, nvme, &ns->nsid)) {
			nvme->n_namespaces++;
			read_namespace(r, n, &rd);
		}
		path_pop(r, inner);
	}
	sort_by_nsid(nvme);
out:
	path_pop(r, mark);
}
