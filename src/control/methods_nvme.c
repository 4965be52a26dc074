/* SPDX-License-Identifier: BSD-3-Clause */
/* What NVMe devices tell of themselves: controllers, namespaces, counters; and their limits. */
#include "control/methods.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control/nvme_words.h"
#include "control/text.h"
#include "util/util.h"

/* ---- limits ---- */

void put_limits(json_t *obj, const struct nvme_limits *lim)
{
	put_int(obj, "iops", lim->iops);
	put_int(obj, "iops-burst", lim->iops_burst);
	put_int(obj, "bandwidth", lim->bandwidth);
	put_int(obj, "bandwidth-burst", lim->bandwidth_burst);
}

static void take_int(const json_t *params, const char *key, uint64_t *out)
{
	const json_t *v = json_object_get(params, key);

	if (v)
		*out = (uint64_t)json_integer_value(v);
}

void param_size(const json_t *params, const char *key, uint64_t *out)
{
	const json_t *v = json_object_get(params, key);

	if (v)
		control_size(v, out);
}

int control_take_limits(const char *name, const json_t *params, struct nvme_limits *lim,
			char why[CONTROL_WHY_MAX])
{
	take_int(params, "iops", &lim->iops);
	take_int(params, "iops-burst", &lim->iops_burst);
	param_size(params, "bandwidth", &lim->bandwidth);
	param_size(params, "bandwidth-burst", &lim->bandwidth_burst);
	if ((lim->bandwidth && lim->bandwidth < NVME_BANDWIDTH_MIN) ||
	    lim->bandwidth > NVME_BANDWIDTH_MAX)
		return control_refuse(
			name, why,
			"bandwidth: give bytes a second, from 4K, such as 200M, or 0 for no "
			"limit");
	if (lim->bandwidth_burst > NVME_BANDWIDTH_MAX)
		return control_refuse(name, why,
				      "bandwidth-burst: too large: give bytes, such as 64M");
	if (!lim->iops && json_object_get(params, "iops-burst") && lim->iops_burst)
		return control_refuse(name, why,
				      "iops-burst: there is no limit of iops: give iops too");
	if (!lim->bandwidth && json_object_get(params, "bandwidth-burst") && lim->bandwidth_burst)
		return control_refuse(
			name, why,
			"bandwidth-burst: there is no limit of bandwidth: give bandwidth "
			"too");
	if (!lim->iops)
		lim->iops_burst = 0;
	if (!lim->bandwidth)
		lim->bandwidth_burst = 0;
	return 0;
}

int control_edit_limits(const char *name, const json_t *params, struct nvme_limits *lim,
			char why[CONTROL_WHY_MAX])
{
	/* Besides the name. */
	if (json_object_size(params) < 2)
		return control_refuse(name, why,
				      "nothing to set: give iops, iops-burst, bandwidth or "
				      "bandwidth-burst");
	return control_take_limits(name, params, lim, why);
}

/* ---- lists ---- */

static json_t *attached_json(const struct control_context *ctx, const struct softiov_ns_info *i)
{
	json_t *a = json_array();

	for (unsigned k = 0; k < i->ns->n_attached; k++) {
		char name[FUNCTION_NAME_MAX] = "";

		softiov_ns_target_name(ctx->softiov, i->device, i->ns->attached[k], name);
		json_array_append_new(a, json_string(name));
	}
	return a;
}

json_t *control_namespace_json(const struct control_context *ctx, const struct softiov_ns_info *i)
{
	const struct nvme_ns_info *ns = i->ns;
	const struct block_config *b = ns->backend;
	json_t *o = json_object();

	put_string(o, "name", i->name);
	put_string(o, "device", i->device);
	put_int(o, "nsid", ns->nsid);
	put_string(o, "backend", ns->from_pool ? "pool" : b ? block_type_name(b->type) : NULL);
	put_string(o, "target", b && b->target[0] ? b->target : NULL);
	put_int(o, "size", ns->size);
	put_int(o, "allocated", ns->allocated);
	put_int(o, "block-size", ns->block_size);
	put_bool(o, "read-only", ns->read_only);
	put_string(o, "uuid", ns->uuid);
	put_string(o, "state", ns->state);
	put_bool(o, "configured", i->configured);
	json_object_set_new(o, "attached", attached_json(ctx, i));
	put_limits(o, &ns->limits);
	put_int(o, "registrants", ns->registrants);
	put_string(o, "reservation", ns->reservation);
	return o;
}

struct membership {
	json_t *array;
	uint16_t cntlid;
};

static void add_if_attached(void *opaque, const struct softiov_ns_info *i)
{
	struct membership *m = opaque;

	for (unsigned k = 0; k < i->ns->n_attached; k++)
		if (i->ns->attached[k] == m->cntlid)
			json_array_append_new(m->array, json_string(i->name));
}

json_t *control_namespaces_of(const struct control_context *ctx, const char *device,
			      uint16_t cntlid)
{
	struct membership m = {.array = json_array(), .cntlid = cntlid};

	softiov_ns_for_each(ctx->softiov, device, add_if_attached, &m);
	return m.array;
}

/* ---- devices and controllers ---- */

static void put_pool(json_t *obj, const struct device_info *d)
{
	static const char *const kinds[] = {[NVME_POOL_NONE] = NULL,
					    [NVME_POOL_DIRECTORY] = "directory",
					    [NVME_POOL_MEMORY] = "memory"};
	const struct nvme_pool_config *pool = d->nvme_config ? &d->nvme_config->ns_pool : NULL;
	json_t *o;

	if (!pool || pool->kind == NVME_POOL_NONE) {
		json_object_set_new(obj, "pool", json_null());
		return;
	}
	o = json_object();
	put_string(o, "kind", kinds[pool->kind]);
	put_string(o, "directory", pool->directory[0] ? pool->directory : NULL);
	put_int(o, "capacity", d->nvme.pool_capacity);
	put_int(o, "used", d->nvme.pool_used);
	json_object_set_new(obj, "pool", o);
}

void put_nvme_device(json_t *obj, const struct device_info *d)
{
	const struct config_nvme *cfg = d->nvme_config;

	put_string(obj, "nqn", d->nvme.nqn);
	put_string(obj, "serial", d->nvme.serial);
	put_string(obj, "model", d->nvme.model);
	put_int(obj, "num-namespaces", d->nvme.namespaces);
	put_int(obj, "max-namespaces", d->nvme.max_namespaces);
	put_pool(obj, d);
	if (!cfg)
		return;
	/* 0: not given, and then a root assigns them by hand, or VFs have the default. */
	json_object_set_new(obj, "queues", cfg->queues ? json_integer(cfg->queues) : json_null());
	put_int(obj, "pf-queues", cfg->pf_queues);
	put_int(obj, "max-vf-queues", cfg->max_vf_queues);
	put_int(obj, "queue-size", cfg->queue_size);
	put_bool(obj, "doorbell-buffer", cfg->doorbell_buffer);
	put_bool(obj, "register-memory", cfg->register_memory);
}

/* A failed one is so until its guest resets it; an offline one waits for its queues. */
static const char *controller_state(const struct nvme_ctrl_status *c)
{
	if (!c->online)
		return "offline";
	if (c->failed)
		return "failed";
	return c->ready ? "ready" : "disabled";
}

json_t *control_controller_json(const struct nvme_ctrl_status *c)
{
	json_t *o = json_object();

	put_string(o, "state", controller_state(c));
	put_int(o, "cntlid", c->cntlid);
	put_bool(o, "primary", c->primary);
	put_bool(o, "enabled", c->enabled);
	put_bool(o, "shutdown", c->shutdown);
	put_bool(o, "doorbell-buffer", c->doorbell_buffer);
	put_int(o, "queues", c->queues);
	put_int(o, "queues-max", c->queues_max);
	put_int(o, "queue-resources", c->queue_resources);
	put_int(o, "interrupt-resources", c->interrupt_resources);
	put_int(o, "commands", c->commands);
	put_int(o, "admin-commands", c->admin_commands);
	put_int(o, "kicks", c->kicks);
	put_int(o, "interrupts", c->interrupts);
	if (c->primary) {
		put_bool(o, "managed", c->managed);
		put_int(o, "flexible-total", c->flexible_total);
		put_int(o, "flexible-assigned", c->flexible_assigned);
		put_int(o, "private-queues", c->private_queues);
	}
	return o;
}

/* ---- counters ---- */

static json_t *latency_json(const struct nvme_latency *l)
{
	json_t *o = json_object();

	put_int(o, "p50", l->p50);
	put_int(o, "p99", l->p99);
	put_int(o, "p99.9", l->p999);
	put_int(o, "mean", l->mean);
	put_int(o, "max", l->max);
	return o;
}

void put_io_stats(json_t *obj, const struct nvme_io_stats *st)
{
	static const char *const ops[NVME_LATENCY_OPS] = {"read", "write", "other"};
	json_t *latency = json_object();

	put_int(obj, "reads", st->reads);
	put_int(obj, "read-bytes", st->read_bytes);
	put_int(obj, "writes", st->writes);
	put_int(obj, "write-bytes", st->write_bytes);
	put_int(obj, "others", st->others);
	put_int(obj, "errors", st->errors);
	put_int(obj, "queue-depth", st->inflight);
	put_int(obj, "throttled-ns", st->throttled_ns);
	for (unsigned i = 0; i < NVME_LATENCY_OPS; i++)
		json_object_set_new(latency, ops[i], latency_json(&st->latency[i]));
	json_object_set_new(obj, "latency-ns", latency);
}
