/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A new configuration while running, in three steps: look at everything that could be refused; make
 * what is new, which is undone if it fails; only then take away what is gone and change what stays.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/device_internal.h"
#include "util/log.h"

static const struct config_device *find_device(const struct config *cfg, const char *name)
{
	for (unsigned i = 0; i < cfg->n_devices; i++) {
		if (!strcmp(cfg->devices[i].name, name))
			return &cfg->devices[i];
	}
	return NULL;
}

static const struct config_root *find_root(const struct config *cfg, const char *name)
{
	for (unsigned i = 0; i < cfg->n_roots; i++) {
		if (!strcmp(cfg->roots[i].name, name))
			return &cfg->roots[i];
	}
	return NULL;
}

/* The first setting that differs and cannot change under a running device; NULL: none. */
static const char *frozen_change(const struct device *dev, const struct config_device *dc)
{
	if (dev->cfg.type != dc->type)
		return "type";
	if (dev->cfg.total_vfs != dc->total_vfs)
		return "total-vfs";
	return dev->ops->frozen_change(dev, dc);
}

static int check_roots_of(const struct device *dev, const struct config *cfg,
			  const struct config_device *dc, char why[WHY_MAX])
{
	struct pf *plan = calloc(CONFIG_ROOTS_MAX, sizeof(*plan));
	int n, r = 0;

	if (!plan)
		return why_set(why, -ENOMEM, "out of memory");
	n = shares_plan(cfg, dc, plan, CONFIG_ROOTS_MAX, why);
	if (n < 0)
		r = n;
	else if (n != (int)dev->n_pfs)
		r = -EBUSY;
	for (int i = 0; !r && i < n; i++) {
		if (strcmp(plan[i].root, dev->pfs[i].root) || plan[i].share != dev->pfs[i].share)
			r = -EBUSY;
	}
	free(plan);
	if (r == -EBUSY)
		why_set(why, r,
			"%s: which roots have it, and their shares, cannot change while "
			"running; restart the daemon, or use `softiov root plug|unplug`",
			dc->name);
	return r;
}

/* Whether the number of VFs is to change; the guest's kernel governs it where num-vfs is absent. */
static bool resizes(const struct device *dev, const struct config_device *dc)
{
	return dc->num_vfs >= 0 && dc->num_vfs != pci_pf_num_vfs(dev->pfs[0].fn->pci);
}

static int check_kept(struct device *dev, const struct config *cfg, const struct config_device *dc,
		      char why[WHY_MAX])
{
	const char *what = frozen_change(dev, dc);
	int r;

	if (what)
		return why_set(why, -EBUSY,
			       "%s: %s cannot change while running; restart the daemon", dc->name,
			       what);
	r = check_roots_of(dev, cfg, dc, why);
	if (!r)
		r = dev->ops->check_reload(dev, dc, why);
	if (!r && resizes(dev, dc))
		r = device_check_num_vfs(dev, dc, dc->num_vfs, false, why);
	return r;
}

static int in_use(const struct device *dev, const struct function *fn, char why[WHY_MAX])
{
	if (fn->pf->in_root)
		return why_set(why, -EBUSY,
			       "%s: cannot be removed, %s is in use in root %s; `softiov root "
			       "unplug %s %s` first",
			       dev->cfg.name, fn->name, fn->pf->root, fn->pf->root, dev->cfg.name);
	return why_set(why, -EBUSY,
		       "%s: cannot be removed, %s is attached; detach it there first, or "
		       "`softiov disconnect %s`",
		       dev->cfg.name, fn->name, fn->name);
}

static int check_removed(struct device *dev, char why[WHY_MAX])
{
	for (unsigned i = 0; i < dev->n_pfs; i++) {
		if (function_attached(dev->pfs[i].fn))
			return in_use(dev, dev->pfs[i].fn, why);
	}
	for (unsigned i = 0; i < dev->cfg.total_vfs; i++) {
		if (dev->vfs[i] && function_attached(dev->vfs[i]))
			return in_use(dev, dev->vfs[i], why);
	}
	return 0;
}

/* cfg NULL: it is to go. */
static int check_root(const struct root_entry *e, const struct config_root *cfg, char why[WHY_MAX])
{
	struct vfu_server_status st;

	root_get_status(e->root, &st);
	if (!cfg && st.connected)
		return why_set(why, -EBUSY, "%s: cannot be removed, process %d is attached",
			       e->name, (int)st.pid);
	if (cfg && cfg->vectors != e->vectors)
		return why_set(why, -EBUSY,
			       "%s: vectors cannot change while running; restart the daemon",
			       e->name);
	return 0;
}

static int check(struct softiov *s, const struct config *cfg, char why[WHY_MAX])
{
	int r = 0;

	if (cfg->workers != s->workers)
		return why_set(why, -EBUSY,
			       "workers cannot change while running; restart the daemon");
	for (struct device *dev = s->devices; !r && dev; dev = dev->next) {
		const struct config_device *dc = find_device(cfg, dev->cfg.name);

		r = dc ? check_kept(dev, cfg, dc, why) : check_removed(dev, why);
	}
	for (struct root_entry *e = s->roots; !r && e; e = e->next)
		r = check_root(e, find_root(cfg, e->name), why);
	return r;
}

static int add_devices(struct softiov *s, const struct config *cfg, struct device **added,
		       char why[WHY_MAX])
{
	struct device **tail = added;

	for (unsigned i = 0; i < cfg->n_devices; i++) {
		int r;

		if (device_find(s, cfg->devices[i].name))
			continue;
		r = device_create(s, cfg, i, tail, why);
		if (r)
			return r;
		tail = &(*tail)->next;
	}
	return 0;
}

static void remove_gone(struct softiov *s, const struct config *cfg)
{
	struct root_entry *next;
	struct device **p = &s->devices;

	for (struct root_entry *e = s->roots; e; e = next) {
		next = e->next;
		if (!find_root(cfg, e->name))
			roots_destroy(s, e);
	}
	while (*p) {
		struct device *dev = *p;

		if (find_device(cfg, dev->cfg.name)) {
			p = &dev->next;
			continue;
		}
		*p = dev->next;
		device_destroy(dev);
	}
}

static void set_poll(struct device *dev, enum poller_policy policy)
{
	if (policy == dev->cfg.poll)
		return;
	dev->cfg.poll = policy;
	for (unsigned i = 0; i < dev->n_pfs; i++)
		dev->ops->function_set_poll(dev->pfs[i].fn, policy);
	for (unsigned i = 0; i < dev->cfg.total_vfs; i++) {
		if (dev->vfs[i])
			dev->ops->function_set_poll(dev->vfs[i], policy);
	}
}

static int apply_kept(struct device *dev, const struct config_device *dc, char why[WHY_MAX])
{
	char other[WHY_MAX];
	int r, err = 0;

	set_poll(dev, dc->poll);
	dev->cfg.socket = dc->socket; /* for VFs that come from now on */
	for (unsigned i = 0; i < dc->n_vfs; i++)
		dev->vf_sockets[dc->vfs[i].index] = dc->vfs[i].socket;
	r = dev->ops->apply_reload(dev, dc, why);
	if (resizes(dev, dc))
		err = device_set_num_vfs(dev, dc->num_vfs, false, r ? other : why);
	return r ? r : err;
}

/* A new device's PFs: those of new roots come with these, those of others are hot-plugged. */
static int plug_new(struct softiov *s, const struct config_root *root, struct device *added,
		    char why[WHY_MAX])
{
	int r = 0;

	if (!roots_find(s, root->name))
		return roots_create(s, root, why);
	for (struct device *dev = added; !r && dev; dev = dev->next) {
		for (unsigned i = 0; !r && i < root->n_devices; i++) {
			if (!strcmp(root->devices[i].device, dev->cfg.name))
				r = softiov_root_plug(s, root->name, dev->cfg.name, why);
		}
	}
	return r;
}

/* Has the devices that stay make what is new in them, or undoes that. */
static int prepare_kept(struct softiov *s, const struct config *cfg, char why[WHY_MAX])
{
	int r = 0;

	for (struct device *dev = s->devices; !r && dev; dev = dev->next) {
		const struct config_device *dc = find_device(cfg, dev->cfg.name);

		if (dc && dev->ops->prepare_reload)
			r = dev->ops->prepare_reload(dev, dc, why);
	}
	return r;
}

static void undo_kept(struct softiov *s)
{
	for (struct device *dev = s->devices; dev; dev = dev->next) {
		if (dev->ops->undo_reload)
			dev->ops->undo_reload(dev);
	}
}

/* Makes all devices and roots that are new, or nothing. */
static int add_new(struct softiov *s, const struct config *cfg, char why[WHY_MAX])
{
	struct device **devices = &s->devices, *added = NULL;
	struct root_entry **roots = &s->roots;
	int r = add_devices(s, cfg, &added, why);

	while (*devices)
		devices = &(*devices)->next;
	while (*roots)
		roots = &(*roots)->next;
	*devices = added;
	for (unsigned i = 0; !r && i < cfg->n_roots; i++)
		r = plug_new(s, &cfg->roots[i], added, why);
	for (struct device *dev = added; !r && dev; dev = dev->next) {
		if (dev->cfg.num_vfs > 0)
			r = device_set_num_vfs(dev, dev->cfg.num_vfs, true, why);
	}
	if (!r) {
		devices_settle(added);
		return 0;
	}
	while (*roots)
		roots_destroy(s, *roots);
	while (*devices) {
		struct device *dev = *devices;

		*devices = dev->next;
		device_destroy(dev);
	}
	return r;
}

int softiov_reload(struct softiov *s, const struct config *cfg, char why[WHY_MAX])
{
	char say[WHY_MAX] = "";
	int r = check(s, cfg, why);

	if (r)
		return r;
	r = prepare_kept(s, cfg, why);
	if (!r)
		r = add_new(s, cfg, why);
	if (r) {
		undo_kept(s);
		return r;
	}
	if (cfg->max_cpu != worker_cpu_limit())
		worker_set_cpu_limit(cfg->max_cpu);
	s->rebalance = cfg->rebalance;
	remove_gone(s, cfg);
	/* What fails here is for want of memory or files; the other devices still get theirs. */
	for (struct device *dev = s->devices; dev; dev = dev->next) {
		char other[WHY_MAX];
		int err = apply_kept(dev, find_device(cfg, dev->cfg.name), r ? other : say);

		if (!r)
			r = err;
	}
	return r ? why_set(why, r, "applied, but for this: %.220s", say) : 0;
}
