/* SPDX-License-Identifier: BSD-3-Clause */
#include "control/config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/config_read.h"
#include "control/text.h"
#include "util/util.h"

#define WORKERS_DEFAULT 1
#define MAX_CPU_MIN	0.01

void config_free(struct config *cfg)
{
	for (unsigned i = 0; i < cfg->n_devices; i++) {
		struct config_nvme *nvme = &cfg->devices[i].nvme;

		for (unsigned j = 0; j < nvme->n_namespaces; j++)
			free(nvme->namespaces[j].attach_vfs);
		free(nvme->namespaces);
		free(cfg->devices[i].vfs);
	}
	for (unsigned i = 0; i < cfg->n_roots; i++)
		free(cfg->roots[i].devices);
	free(cfg->devices);
	free(cfg->roots);
	memset(cfg, 0, sizeof(*cfg));
}

static void read_runtime_dir(struct reader *r, const struct ynode *n, void *obj)
{
	struct config *cfg = obj;

	if (!read_string(r, n, cfg->runtime_dir, sizeof(cfg->runtime_dir)))
		return;
	if (cfg->runtime_dir[0] != '/')
		config_error(r, n->line, "\"%.80s\": give an absolute path", cfg->runtime_dir);
}

static void read_workers(struct reader *r, const struct ynode *n, void *obj)
{
	struct config *cfg = obj;
	uint64_t v;

	if (read_uint(r, n, 1, CONFIG_WORKERS_MAX, &v))
		cfg->workers = (unsigned)v;
}

static void read_max_cpu(struct reader *r, const struct ynode *n, void *obj)
{
	struct config *cfg = obj;
	double v;

	if (!want_scalar(r, n))
		return;
	if (text_decimal(n->value, &v) || v < MAX_CPU_MIN || v > CONFIG_WORKERS_MAX)
		config_error(r, n->line, "\"%.40s\": give cores, such as 0.5 or 2, from %.2f to %u",
			     n->value, MAX_CPU_MIN, CONFIG_WORKERS_MAX);
	else
		cfg->max_cpu = v;
}

static void read_rebalance(struct reader *r, const struct ynode *n, void *obj)
{
	struct config *cfg = obj;

	read_bool(r, n, &cfg->rebalance);
}

/* An array for the entries of a map, or NULL (recorded) when they are too many. */
static void *array_for(struct reader *r, const struct ynode *n, unsigned max, size_t size)
{
	void *array;

	if (n->count > max) {
		config_error(r, n->line, "%u entries: %u are the most", n->count, max);
		return NULL;
	}
	array = calloc(n->count ? n->count : 1, size);
	if (!array)
		r->no_memory = true;
	return array;
}

static bool given_before(struct reader *r, const struct ynode *map, const struct ynode *n)
{
	const struct ynode *before = map_find(map, n->key);

	if (before == n)
		return false;
	config_error(r, n->line, "given twice, first on line %d: rename or remove one",
		     before->line);
	return true;
}

/* Devices and roots are what messages are about: their paths begin with their names. */
static size_t path_object(struct reader *r, const char *name)
{
	r->path[0] = '\0';
	return path_push(r, name);
}

static void read_devices(struct reader *r, const struct ynode *n, void *obj)
{
	struct config *cfg = obj;

	if (!want_map(r, n))
		return;
	cfg->devices = array_for(r, n, CONFIG_DEVICES_MAX, sizeof(*cfg->devices));
	if (!cfg->devices)
		return;
	for (const struct ynode *d = n->first; d; d = d->next) {
		struct config_device *dev = &cfg->devices[cfg->n_devices];

		path_object(r, d->key);
		if (!given_before(r, n, d) && read_name(r, d->key, d->line, dev->name)) {
			cfg->n_devices++;
			read_device(r, d, dev);
		}
		path_pop(r, 0);
	}
}

static void read_roots(struct reader *r, const struct ynode *n, void *obj)
{
	struct config *cfg = obj;

	if (!want_map(r, n))
		return;
	cfg->roots = array_for(r, n, CONFIG_ROOTS_MAX, sizeof(*cfg->roots));
	if (!cfg->roots)
		return;
	for (const struct ynode *d = n->first; d; d = d->next) {
		struct config_root *root = &cfg->roots[cfg->n_roots];

		path_object(r, d->key);
		if (!given_before(r, n, d) && read_name(r, d->key, d->line, root->name)) {
			cfg->n_roots++;
			read_root(r, d, root);
		}
		path_pop(r, 0);
	}
}

static void choose_runtime_dir(struct reader *r)
{
	const struct config_input *in = r->in;
	struct config *cfg = r->cfg;

	if (in->runtime_dir)
		snprintf(cfg->runtime_dir, sizeof(cfg->runtime_dir), "%s", in->runtime_dir);
	else if (!cfg->runtime_dir[0] && in->default_dir)
		snprintf(cfg->runtime_dir, sizeof(cfg->runtime_dir), "%s", in->default_dir);
}

static void read_top(struct reader *r, const struct ynode *top)
{
	static const struct config_key keys[] = {{"runtime-dir", read_runtime_dir},
						 {"workers", read_workers},
						 {"max-cpu", read_max_cpu},
						 {"rebalance", read_rebalance},
						 {"devices", read_devices},
						 {"roots", read_roots},
						 {NULL, NULL}};

	if (!top || (top->kind == YNODE_SCALAR && !top->value[0])) {
		config_error(r, 0,
			     "the file is empty: begin with a device, as in\n"
			     "  devices: {nic0: {type: ethernet, num-vfs: 2}}");
		return;
	}
	read_map(r, top, keys, r->cfg);
	choose_runtime_dir(r);
	if (!r->n_errors && !r->cfg->n_devices)
		config_error(r, 0,
			     "devices: none given: add one, as in\n"
			     "  devices: {nic0: {type: ethernet, num-vfs: 2}}");
	check_config(r, top);
}

static int finish(struct reader *r, char **errors)
{
	int ret = r->no_memory ? -ENOMEM : r->n_errors ? -EINVAL : 0;

	if (ret) {
		*errors = config_errors_text(r);
		config_free(r->cfg);
	}
	config_errors_free(r);
	return ret;
}

int config_parse(const struct config_input *in, struct config *cfg, char **errors)
{
	struct reader r = {.in = in, .cfg = cfg};
	struct ynode *top = NULL;
	char why[256];
	int line;

	*errors = NULL;
	memset(cfg, 0, sizeof(*cfg));
	cfg->workers = WORKERS_DEFAULT;
	cfg->rebalance = true;
	if (in->len > CONFIG_FILE_MAX)
		config_error(&r, 0, "larger than %u MiB: not a configuration of softiov",
			     CONFIG_FILE_MAX >> 20);
	else if (yaml_tree_parse(in->text, in->len, &top, &line, why, sizeof(why)))
		config_error(&r, line, "%s", why);
	else
		read_top(&r, top);
	yaml_tree_free(top);
	return finish(&r, errors);
}

/* One byte more than allowed is read, so that the parser sees a file that is too large. */
static int read_file(const char *path, char **text, size_t *len)
{
	size_t max = CONFIG_FILE_MAX + 1, n = 0;
	char *buf;
	ssize_t got = 1;
	int fd, ret = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	buf = malloc(max);
	if (!buf)
		ret = -ENOMEM;
	while (!ret && got > 0 && n < max) {
		got = read(fd, buf + n, max - n);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got < 0)
			ret = -errno;
		else
			n += (size_t)got;
	}
	close(fd);
	if (ret) {
		free(buf);
		return ret;
	}
	*text = buf;
	*len = n;
	return 0;
}

int config_load(const char *path, const char *runtime_dir, const char *default_dir,
		struct config *cfg, char **errors)
{
	struct config_input in = {
		.file = path, .runtime_dir = runtime_dir, .default_dir = default_dir};
	char *text = NULL;
	int ret;

	memset(cfg, 0, sizeof(*cfg));
	*errors = NULL;
	ret = read_file(path, &text, &in.len);
	if (ret) {
		if (asprintf(errors, "%s: cannot be read: %s: check the path and its permissions\n",
			     path, strerror(-ret)) < 0)
			*errors = NULL;
		return ret;
	}
	in.text = text;
	ret = config_parse(&in, cfg, errors);
	free(text);
	return ret;
}
