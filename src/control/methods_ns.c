/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands for namespaces. What NVMe devices tell of themselves: methods_nvme.c. */
#include "control/methods.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/nvme_words.h"
#include "control/text.h"
#include "util/util.h"

#define TARGETS_MAX 64 /* named in one attach */

/* The same as show namespaces. */
int control_ns_show(const struct control_context *ctx, const json_t *params, json_t **result,
		    char why[CONTROL_WHY_MAX])
{
	const char *name = param_string(params, "name");
	json_t *p = json_pack("{s:s}", "kind", "namespaces");
	int ret;

	if (!p)
		return -ENOMEM;
	if (name)
		json_object_set(p, "name", json_object_get(params, "name"));
	ret = control_show(ctx, p, result, why);
	if (ret == -ENOENT)
		control_no_such(ctx, name, "namespace", why);
	json_decref(p);
	return ret;
}

/* ---- ns create ---- */

/* The one backend that is named. */
static int choose_backend(const char *name, const json_t *params, const char **backend, char *why)
{
	*backend = NULL;
	for (const char *const *b = nvme_backends; *b; b++) {
		const char *key = !strcmp(*b, "device") ? "block-device" : *b;

		if (!json_object_get(params, key))
			continue;
		if (*backend) {
			snprintf(why, CONTROL_WHY_MAX,
				 "%s: a namespace has one backend, this one has %s and %s: give "
				 "one of them",
				 name, *backend, *b);
			return -EINVAL;
		}
		*backend = *b;
	}
	if (*backend)
		return 0;
	return control_refuse(
		name, why,
		"no backend given: add one of file PATH, device PATH, memory SIZE, null "
		"SIZE, nbd URI, pool SIZE");
}

static int check_settings(const char *name, const json_t *params, const char *backend, char *why)
{
	for (const char *const *s = nvme_backend_settings; *s; s++) {
		char text[128];

		if (!json_object_get(params, *s) ||
		    !nvme_setting_refused(backend, *s, text, sizeof(text)))
			continue;
		snprintf(why, CONTROL_WHY_MAX, "%s: %s: %s", name, *s, text);
		return -EINVAL;
	}
	return 0;
}

static void copy_target(struct block_config *b, const char *text)
{
	snprintf(b->target, sizeof(b->target), "%s", text ? text : "");
}

static int fill_backend(const char *name, const json_t *params, const char *backend,
			struct nvme_ns_config *cfg, char *why)
{
	static const struct {
		const char *word, *key;
		enum block_type type;
		bool sized; /* its value is the size, else where it is */
	} kinds[] = {
		{"file", "file", BLOCK_FILE, false},
		{"device", "block-device", BLOCK_DEVICE, false},
		{"memory", "memory", BLOCK_MEMORY, true},
		{"null", "null", BLOCK_NULL, true},
		{"nbd", "nbd", BLOCK_NBD, false},
		{"pool", "pool", BLOCK_FILE, true},
	};
	struct block_config *b = &cfg->backend;
	const char *direct = param_string(params, "direct");

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(kinds[i].word, backend))
			continue;
		b->type = kinds[i].type;
		if (kinds[i].sized)
			param_size(params, kinds[i].key, &b->size);
		else
			copy_target(b, param_string(params, kinds[i].key));
	}
	cfg->from_pool = !strcmp(backend, "pool");
	if (b->type == BLOCK_NBD && !text_nbd_uri(b->target))
		return control_refuse(name, why,
				      "nbd: give a URI such as nbd://host/export or "
				      "nbd+unix:///export?socket=/path");
	param_size(params, "size", &b->size);
	b->preallocate = param_bool(params, "preallocate");
	b->read_only = param_bool(params, "read-only");
	if (direct)
		b->direct = !strcasecmp(direct, "on")	 ? BLOCK_DIRECT_ON
			    : !strcasecmp(direct, "off") ? BLOCK_DIRECT_OFF
							 : BLOCK_DIRECT_AUTO;
	return 0;
}

static int check_size(const char *name, const json_t *params, const char *backend,
		      const struct nvme_ns_config *cfg, char *why)
{
	uint64_t size = cfg->backend.size;
	bool sized = !strcmp(backend, "memory") || !strcmp(backend, "null") || cfg->from_pool;

	if (!sized && !json_object_get(params, "size"))
		return 0;
	if (size < NVME_NS_SIZE_MIN || size > NVME_NS_SIZE_MAX) {
		snprintf(why, CONTROL_WHY_MAX, "%s: %s: give at least one block, such as 4G", name,
			 sized ? backend : "size");
		return -EINVAL;
	}
	if (size % cfg->block_size == 0)
		return 0;
	snprintf(why, CONTROL_WHY_MAX,
		 "%s: %llu bytes are no whole number of blocks of %u: give %llu, or a size in K, M "
		 "or G",
		 name, (unsigned long long)size, cfg->block_size,
		 (unsigned long long)(size + cfg->block_size - size % cfg->block_size));
	return -EINVAL;
}

static uint32_t block_size_of(const json_t *params)
{
	const json_t *v = json_object_get(params, "block-size");

	if (!v)
		return 512;
	return json_is_integer(v) ? (uint32_t)json_integer_value(v)
				  : (uint32_t)strtoul(json_string_value(v), NULL, 10);
}

/* All of the command into cfg; nothing is made before the last check has passed. */
static int decode_create(const char *name, const json_t *params, struct nvme_ns_config *cfg,
			 char *why)
{
	const char *backend;
	int ret = choose_backend(name, params, &backend, why);

	if (!ret)
		ret = check_settings(name, params, backend, why);
	if (!ret)
		ret = fill_backend(name, params, backend, cfg, why);
	cfg->block_size = block_size_of(params);
	if (!ret)
		ret = check_size(name, params, backend, cfg, why);
	if (!ret)
		ret = control_take_limits(name, params, &cfg->limits, why);
	cfg->nsid = (uint32_t)json_integer_value(json_object_get(params, "nsid"));
	cfg->uuid = param_string(params, "uuid");
	cfg->reservations = param_string(params, "reservations");
	if (!ret && cfg->uuid && text_uuid(cfg->uuid))
		ret = control_refuse(
			name, why,
			"uuid: write a UUID as uuidgen prints it, or leave it out to have one "
			"generated");
	return ret;
}

/* "vf0,vf1" into names, in place. */
static int split_targets(char *text, const char *names[TARGETS_MAX], unsigned *n)
{
	char *save;

	*n = 0;
	for (char *w = strtok_r(text, ", ", &save); w; w = strtok_r(NULL, ", ", &save)) {
		if (*n == TARGETS_MAX)
			return -E2BIG;
		names[(*n)++] = w;
	}
	return 0;
}

int control_ns_create(const struct control_context *ctx, const json_t *params, json_t **result,
		      char why[CONTROL_WHY_MAX])
{
	const char *device = param_string(params, "device");
	const char *attach = param_string(params, "attach");
	const char *targets[TARGETS_MAX];
	char name[FUNCTION_NAME_MAX] = "";
	struct nvme_ns_config cfg = {0};
	char *list = strdup(attach ? attach : "");
	unsigned n = 0;
	int ret;

	if (!list)
		return -ENOMEM;
	ret = decode_create(device, params, &cfg, why);
	if (!ret && split_targets(list, targets, &n))
		ret = control_refuse(device, why,
				     "attach: too many at once: give all, or ns attach more");
	if (!ret)
		ret = softiov_ns_create(ctx->softiov, device, &cfg, targets, n, name, why);
	free(list);
	if (ret)
		return ret;
	*result = json_object();
	put_string(*result, "name", name);
	return 0;
}

/* ---- the rest ---- */

struct find_ns {
	const char *name;
	bool found;
	bool sized_by_itself; /* what is behind it can grow without being told */
	struct nvme_limits limits;
};

static void find_ns(void *opaque, const struct softiov_ns_info *i)
{
	struct find_ns *f = opaque;

	if (strcmp(i->name, f->name))
		return;
	f->found = true;
	f->sized_by_itself =
		!i->ns->from_pool && i->ns->backend &&
		(i->ns->backend->type == BLOCK_DEVICE || i->ns->backend->type == BLOCK_NBD);
	f->limits = i->ns->limits;
}

/* Advice that names what is there comes from here, so that all commands give the same. */
static int check_ns(const struct control_context *ctx, const json_t *params, struct find_ns *f,
		    char *why)
{
	f->name = param_string(params, "namespace");
	softiov_ns_for_each(ctx->softiov, NULL, find_ns, f);
	return f->found ? 0 : control_no_such(ctx, f->name, "namespace", why);
}

int control_ns_resize(const struct control_context *ctx, const json_t *params, json_t **result,
		      char why[CONTROL_WHY_MAX])
{
	struct find_ns f = {.found = false};
	uint64_t size = 0;
	int ret = check_ns(ctx, params, &f, why);

	param_size(params, "size", &size);
	if (!ret && !size && !f.sized_by_itself)
		ret = control_refuse(
			f.name, why,
			"give its new size, such as 8G: only block devices and NBD have one of "
			"their own");
	if (!ret && size > NVME_NS_SIZE_MAX)
		ret = control_refuse(f.name, why, "size: too large: give one such as 4G");
	return ret ? ret
		   : softiov_ns_resize(ctx->softiov, f.name, size, param_bool(params, "force"),
				       why);
}

int control_ns_attach(const struct control_context *ctx, const json_t *params, json_t **result,
		      char why[CONTROL_WHY_MAX])
{
	struct find_ns f = {.found = false};
	int ret = check_ns(ctx, params, &f, why);

	return ret ? ret
		   : softiov_ns_attach(ctx->softiov, f.name, param_string(params, "function"), why);
}

int control_ns_detach(const struct control_context *ctx, const json_t *params, json_t **result,
		      char why[CONTROL_WHY_MAX])
{
	struct find_ns f = {.found = false};
	int ret = check_ns(ctx, params, &f, why);

	return ret ? ret
		   : softiov_ns_detach(ctx->softiov, f.name, param_string(params, "function"), why);
}

int control_ns_delete(const struct control_context *ctx, const json_t *params, json_t **result,
		      char why[CONTROL_WHY_MAX])
{
	struct find_ns f = {.found = false};
	int ret = check_ns(ctx, params, &f, why);

	return ret ? ret
		   : softiov_ns_delete(ctx->softiov, f.name, param_bool(params, "force"), why);
}

int control_ns_set(const struct control_context *ctx, const json_t *params, json_t **result,
		   char why[CONTROL_WHY_MAX])
{
	struct find_ns f = {.found = false};
	int ret = check_ns(ctx, params, &f, why);

	if (!ret)
		ret = control_edit_limits(f.name, params, &f.limits, why);
	return ret ? ret : softiov_ns_set_limits(ctx->softiov, f.name, &f.limits, why);
}
