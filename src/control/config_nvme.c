/* SPDX-License-Identifier: BSD-3-Clause */
/* An NVMe device of the configuration file, and what its VFs take. Namespaces: config_namespace.c.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/config_read.h"
#include "control/text.h"
#include "util/util.h"

#define QUEUES_DEFAULT	   4
#define QUEUE_SIZE_DEFAULT 1024
#define QUEUE_SIZE_MIN	   64
#define VF_QUEUES_DEFAULT  8
#define NAMESPACES_DEFAULT 32
#define SERIAL_MAX	   20 /* 5.15.2.2: SN, MN: ASCII without control characters */
#define MODEL_MAX	   40
#define POOL_MIN	   4096

static void read_nvme_uint(struct reader *r, const struct ynode *n, uint64_t min, uint64_t max,
			   unsigned *out)
{
	uint64_t v;

	if (read_uint(r, n, min, max, &v))
		*out = (unsigned)v;
}

static void read_queues(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_nvme_uint(r, n, 1, NVME_QUEUE_PAIRS_MAX, &dev->nvme.queues);
}

static void read_pf_queues(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_nvme_uint(r, n, 1, NVME_QUEUE_PAIRS_MAX, &dev->nvme.pf_queues);
}

static void read_max_vf_queues(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_nvme_uint(r, n, 1, NVME_QUEUE_PAIRS_MAX, &dev->nvme.max_vf_queues);
}

static void read_flexible(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	/* 2: the least that takes one secondary online. */
	read_nvme_uint(r, n, 2, CONFIG_VFS_MAX * (NVME_QUEUE_PAIRS_MAX + 1), &dev->nvme.flexible);
}

static void read_queue_size(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;
	uint64_t v;

	if (read_uint(r, n, QUEUE_SIZE_MIN, NVME_QUEUE_SIZE_MAX, &v))
		dev->nvme.queue_size = (uint16_t)v;
}

static void read_max_namespaces(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_nvme_uint(r, n, 1, NVME_NAMESPACES_MAX, &dev->nvme.max_namespaces);
}

static void read_ascii(struct reader *r, const struct ynode *n, char *buf, size_t len)
{
	if (!read_string(r, n, buf, len))
		return;
	for (const char *p = buf; *p; p++) {
		if (isascii((unsigned char)*p))
			continue;
		config_error(r, n->line, "\"%s\": the standard has ASCII only here: write it so",
			     buf);
		return;
	}
}

static void read_serial(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_ascii(r, n, dev->nvme.serial, SERIAL_MAX + 1);
}

static void read_model(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_ascii(r, n, dev->nvme.model, MODEL_MAX + 1);
}

static void read_nqn(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	/* NVM Express 1.4, 7.9: at most 223 bytes, UTF-8. */
	if (read_string(r, n, dev->nvme.nqn, sizeof(dev->nvme.nqn)) &&
	    strncmp(dev->nvme.nqn, "nqn.", 4))
		config_error(r, n->line,
			     "\"%.80s\": begin with \"nqn.\", as in "
			     "nqn.2024-01.org.example:ssd0",
			     dev->nvme.nqn);
}

static void read_doorbell_buffer(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_bool(r, n, &dev->nvme.doorbell_buffer);
}

static void read_register_memory(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_device *dev = obj;

	read_bool(r, n, &dev->nvme.register_memory);
}

/* ---- the pool that namespaces are made from ---- */

static void read_pool_directory(struct reader *r, const struct ynode *n, void *obj)
{
	struct nvme_pool_config *pool = obj;
	struct stat st;

	if (!read_path(r, n, pool->directory, sizeof(pool->directory)))
		return;
	pool->kind = NVME_POOL_DIRECTORY;
	/* A root's guest would be told of it, far from who can do something about it. */
	if (stat(pool->directory, &st))
		config_error(r, n->line, "%.200s: %s: make the folder first: mkdir -p %.200s",
			     pool->directory, strerror(errno), pool->directory);
	else if (!S_ISDIR(st.st_mode))
		config_error(r, n->line, "%.200s is no folder: give one", pool->directory);
	else if (access(pool->directory, W_OK | X_OK))
		config_error(r, n->line,
			     "%.200s: no files can be made in it: %s: change its mode or owner, or "
			     "give another",
			     pool->directory, strerror(errno));
}

static void read_pool_size(struct reader *r, const struct ynode *n, void *obj)
{
	struct nvme_pool_config *pool = obj;

	read_size(r, n, POOL_MIN, INT64_MAX, &pool->capacity);
}

static void read_pool_memory(struct reader *r, const struct ynode *n, void *obj)
{
	struct nvme_pool_config *pool = obj;

	read_pool_size(r, n, pool);
	if (pool->kind == NVME_POOL_NONE)
		pool->kind = NVME_POOL_MEMORY;
}

static void check_pool(struct reader *r, const struct ynode *n)
{
	const struct ynode *dir = map_find(n, "directory"), *memory = map_find(n, "memory");
	const struct ynode *capacity = map_find(n, "capacity");

	if (dir && memory)
		config_error(r, n->line, "directory and memory exclude each other: remove one");
	else if (!dir && !memory)
		config_error(r, n->line,
			     "where is not given: write {directory: DIR, capacity: SIZE} or "
			     "{memory: SIZE}");
	else if (dir && !capacity)
		config_error(r, n->line,
			     "no capacity given: add what namespaces may take together, such as "
			     "capacity: 100G");
	else if (memory && capacity)
		config_error(r, capacity->line,
			     "capacity belongs to directory: with memory its size says it; remove "
			     "it");
}

static void read_pool(struct reader *r, const struct ynode *n, void *obj)
{
	static const struct config_key keys[] = {{"directory", read_pool_directory},
						 {"capacity", read_pool_size},
						 {"memory", read_pool_memory},
						 {NULL, NULL}};
	struct config_device *dev = obj;

	read_map(r, n, keys, &dev->nvme.ns_pool);
	if (n->kind != YNODE_LIST && !(n->kind == YNODE_SCALAR && n->value[0]))
		check_pool(r, n);
}

const struct config_key nvme_device_keys[] = {
	{"queues", read_queues},
	{"pf-queues", read_pf_queues},
	{"max-vf-queues", read_max_vf_queues},
	{"flexible-queues", read_flexible},
	{"queue-size", read_queue_size},
	{"serial", read_serial},
	{"model", read_model},
	{"nqn", read_nqn},
	{"max-namespaces", read_max_namespaces},
	{"doorbell-buffer", read_doorbell_buffer},
	{"register-memory", read_register_memory},
	{"namespace-pool", read_pool},
	{"namespaces", read_later},
	{NULL, NULL},
};

void nvme_device_defaults(struct config_device *dev)
{
	dev->nvme.max_namespaces = NAMESPACES_DEFAULT;
	dev->nvme.pf_queues = QUEUES_DEFAULT;
	dev->nvme.queue_size = QUEUE_SIZE_DEFAULT;
	dev->nvme.doorbell_buffer = true;
}

void nvme_device_finish(struct config_device *dev)
{
	struct config_nvme *nvme = &dev->nvme;

	if (nvme->max_vf_queues)
		return;
	/* What VFs are given is what they may be given. */
	nvme->max_vf_queues = MAX(nvme->queues, VF_QUEUES_DEFAULT);
	for (unsigned i = 0; i < dev->n_vfs; i++)
		nvme->max_vf_queues = MAX(nvme->max_vf_queues, dev->vfs[i].nvme_queues);
}

/* ---- VFs ---- */

static void read_vf_queues(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_vf *vf = obj;

	read_nvme_uint(r, n, 1, NVME_QUEUE_PAIRS_MAX, &vf->nvme_queues);
}

static void read_vf_limit(struct reader *r, const struct ynode *n, void *obj)
{
	struct config_vf *vf = obj;

	vf->has_limits = true;
	read_limit(r, n, &vf->limits);
}

const struct config_key nvme_vf_keys[] = {
	{"queues", read_vf_queues},	    {"iops", read_vf_limit},
	{"iops-burst", read_vf_limit},	    {"bandwidth", read_vf_limit},
	{"bandwidth-burst", read_vf_limit}, {NULL, NULL},
};
