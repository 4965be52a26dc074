/* SPDX-License-Identifier: BSD-3-Clause */
/* Start, end, and looking at what there is. */
#include "device/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/device_internal.h"
#include "util/clock.h"
#include "util/log.h"

#define TICK_INTERVAL_US 1000000
#define PATIENCE_NS	 (2 * NS_PER_S)

static int tick(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct softiov *s = opaque;

	for (struct device *dev = s->devices; dev; dev = dev->next) {
		if (dev->ops->tick)
			dev->ops->tick(dev);
	}
	worker_pool_balance(s->pool, s->rebalance);
	sd_event_source_set_time(source, usec + TICK_INTERVAL_US);
	return 0;
}

static int start_ticking(struct softiov *s)
{
	uint64_t now;
	int r = sd_event_now(s->event, CLOCK_MONOTONIC, &now);

	if (r < 0)
		return r;
	r = sd_event_add_time(s->event, &s->tick_timer, CLOCK_MONOTONIC, now + TICK_INTERVAL_US,
			      TICK_INTERVAL_US, tick, s);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(s->tick_timer, SD_EVENT_ON);
}

static int create_devices(struct softiov *s, const struct config *cfg, char why[WHY_MAX])
{
	struct device **tail = &s->devices;

	for (unsigned i = 0; i < cfg->n_devices; i++) {
		int r = device_create(s, cfg, i, tail, why);

		if (r)
			return r;
		tail = &(*tail)->next;
	}
	return 0;
}

static int enable_vfs(struct softiov *s, char why[WHY_MAX])
{
	for (struct device *dev = s->devices; dev; dev = dev->next) {
		int r = 0;

		if (dev->cfg.num_vfs > 0)
			r = device_set_num_vfs(dev, dev->cfg.num_vfs, true, why);
		if (r)
			return r;
	}
	return 0;
}

int softiov_create(sd_event *event, const struct config *cfg, const char *runtime_dir,
		   struct softiov **out, char why[WHY_MAX])
{
	struct softiov *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return why_set(why, -ENOMEM, "out of memory");
	s->event = sd_event_ref(event);
	s->workers = cfg->workers;
	s->rebalance = cfg->rebalance;
	worker_set_cpu_limit(cfg->max_cpu);
	s->patient_until_ns = clock_now_ns() + PATIENCE_NS;
	snprintf(s->runtime_dir, sizeof(s->runtime_dir), "%s", runtime_dir);
	r = worker_pool_create(cfg->workers, &s->pool);
	if (r) {
		why_set(why, r, "cannot start %u workers: %s", cfg->workers, strerror(-r));
		goto err;
	}
	r = create_devices(s, cfg, why);
	for (unsigned i = 0; !r && i < cfg->n_roots; i++)
		r = roots_create(s, &cfg->roots[i], why);
	if (!r)
		r = enable_vfs(s, why);
	if (r)
		goto err;
	r = start_ticking(s);
	if (r < 0) {
		why_set(why, r, "cannot start a timer: %s", strerror(-r));
		goto err;
	}
	devices_settle(s->devices);
	s->patient_until_ns = 0;
	*out = s;
	return 0;
err:
	softiov_destroy(s);
	return r;
}

/*
 * Storage that never answers keeps its requests, and these the worker that they are to come back
 * to: then the workers end with the process.
 */
static void end_workers(struct softiov *s)
{
	static struct worker_pool *left_behind __attribute__((used, unused)); /* which is no leak */
	struct worker_stats st;

	for (unsigned i = 0; i < worker_pool_size(s->pool); i++) {
		worker_get_stats(worker_pool_at(s->pool, i), &st);
		if (!st.pollers)
			continue;
		log_warn("requests are still under way at storage that does not answer: ending "
			 "without them");
		left_behind = s->pool;
		return;
	}
	worker_pool_destroy(s->pool);
}

void softiov_destroy(struct softiov *s)
{
	if (s->tick_timer)
		sd_event_source_disable_unref(s->tick_timer);
	while (s->roots)
		roots_destroy(s, s->roots);
	while (s->devices) {
		struct device *dev = s->devices;

		s->devices = dev->next;
		device_destroy(dev);
	}
	if (s->pool)
		end_workers(s);
	sd_event_unref(s->event);
	free(s);
}

void softiov_for_each_device(struct softiov *s,
			     void (*cb)(void *opaque, const struct device_info *), void *opaque)
{
	for (struct device *dev = s->devices; dev; dev = dev->next) {
		struct device_info info;

		device_get_info(dev, &info);
		cb(opaque, &info);
	}
}

static void tell(struct function *fn, void (*cb)(void *opaque, const struct function_info *),
		 void *opaque)
{
	struct function_info info;

	function_get_info(fn, &info);
	cb(opaque, &info);
}

void softiov_for_each_function(struct softiov *s, const char *device,
			       void (*cb)(void *opaque, const struct function_info *), void *opaque)
{
	for (struct device *dev = s->devices; dev; dev = dev->next) {
		if (device && strcmp(device, dev->cfg.name))
			continue;
		for (unsigned i = 0; i < dev->n_pfs; i++) {
			struct pf *pf = &dev->pfs[i];

			tell(pf->fn, cb, opaque);
			for (unsigned v = pf->first_vf; v < pf->first_vf + pf->share; v++) {
				if (dev->vfs[v])
					tell(dev->vfs[v], cb, opaque);
			}
		}
	}
}

struct root_count {
	const char *last_device;
	unsigned devices, functions;
};

static void count_function(void *opaque, const struct root_function_info *info)
{
	struct root_count *c = opaque;

	c->functions++;
	c->devices += !pci_function_is_vf(info->fn);
}

void softiov_for_each_root(struct softiov *s, void (*cb)(void *opaque, const struct root_info *),
			   void *opaque)
{
	for (struct root_entry *e = s->roots; e; e = e->next) {
		struct root_count count = {0};
		struct root_info info = {.name = e->name, .socket = root_path(e->root)};

		root_for_each(e->root, count_function, &count);
		root_get_status(e->root, &info.status);
		info.devices = count.devices;
		info.functions = count.functions;
		cb(opaque, &info);
	}
}

int softiov_function(struct softiov *s, const char *name, struct function_info *out)
{
	struct function *fn = function_find(s, name);

	if (!fn)
		return -ENOENT;
	function_get_info(fn, out);
	return 0;
}

struct worker_pool *softiov_workers(struct softiov *s)
{
	return s->pool;
}

bool softiov_rebalances(const struct softiov *s)
{
	return s->rebalance;
}

const char *softiov_runtime_dir(const struct softiov *s)
{
	return s->runtime_dir;
}

int softiov_set_num_vfs(struct softiov *s, const char *device, uint16_t num_vfs, bool force,
			char why[WHY_MAX])
{
	struct device *dev = device_find(s, device);

	if (!dev)
		return why_set(why, -ENOENT, "there is no device %s; see `softiov show devices`",
			       device);
	return device_set_num_vfs(dev, num_vfs, force, why);
}

static int no_function(const char *name, char why[WHY_MAX])
{
	return why_set(why, -ENOENT, "there is no function %s; see `softiov show functions`", name);
}

int softiov_set_policy(struct softiov *s, const char *function, const struct net_policy *policy,
		       char why[WHY_MAX])
{
	struct function *fn = function_find(s, function);
	int r;

	if (!fn)
		return no_function(function, why);
	if (fn->dev->cfg.type != DEVICE_ETHERNET)
		return why_set(why, -EOPNOTSUPP,
			       "%s has no port on a switch: mac, vlan, trust, link-state and rates "
			       "are for functions of Ethernet devices",
			       function);
	r = eth_set_policy(fn, policy, why);
	if (r == -ERANGE)
		return r;
	if (r == -EEXIST)
		return why_set(why, r, "%s: another function of %s has that MAC", function,
			       fn->dev->cfg.name);
	if (r)
		return why_set(why, r, "%s: %s", function, strerror(-r));
	return 0;
}

int softiov_disconnect(struct softiov *s, const char *name, char why[WHY_MAX])
{
	struct root_entry *root = roots_find(s, name);
	struct function *fn = function_find(s, name);

	if (root)
		root_disconnect(root->root);
	else if (fn && fn->server)
		vfu_server_disconnect(fn->server);
	else
		return why_set(why, -ENOENT, "there is no endpoint or root %s; see `softiov show`",
			       name);
	return 0;
}

int softiov_dump_lspci(struct softiov *s, const char *name, enum pci_view view, FILE *f)
{
	struct root_entry *root = roots_find(s, name);
	struct function_info info;

	if (root) {
		root_dump_lspci(root->root, f);
		return 0;
	}
	if (softiov_function(s, name, &info))
		return -ENOENT;
	pci_dump_lspci(info.fn, view, info.rid, f);
	return 0;
}
