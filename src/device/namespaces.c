/* SPDX-License-Identifier: BSD-3-Clause */
/* Namespaces by name, changed live. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/nvme_private.h"

/* --- names --- */

/* The whole of a decimal number, as short as names have it; false: something else. */
static bool read_number(const char *text, unsigned *out)
{
	char back[16];

	*out = strtoul(text, NULL, 10);
	snprintf(back, sizeof(back), "%u", *out);
	return !strcmp(back, text);
}

static struct nvme_device *find_nvme(struct softiov *s, const char *name, char why[WHY_MAX])
{
	struct device *dev = device_find(s, name);

	if (dev && dev->cfg.type == DEVICE_NVME)
		return nvme_device(dev);
	if (dev)
		why_set(why, -ENOTSUP, "%s is no NVMe device and has no namespaces", name);
	else
		why_set(why, -ENOENT, "there is no device %s; see `softiov show devices`", name);
	return NULL;
}

/* The device and NSID of "ssd0/ns1", which exists; or -ENOENT with why. */
static int find_ns(struct softiov *s, const char *name, struct nvme_device **nd, uint32_t *nsid,
		   char why[WHY_MAX])
{
	const char *slash = strchr(name, '/');
	char device[CONFIG_NAME_MAX];
	struct nvme_ns_info info;
	struct device *dev;

	if (slash && slash - name < (int)sizeof(device) && !strncmp(slash, "/ns", 3) &&
	    read_number(slash + 3, nsid)) {
		snprintf(device, sizeof(device), "%.*s", (int)(slash - name), name);
		dev = device_find(s, device);
		*nd = dev && dev->cfg.type == DEVICE_NVME ? nvme_device(dev) : NULL;
		if (*nd && !nvme_ns_get_info((*nd)->subsystem, *nsid, &info))
			return 0;
	}
	return why_set(why, -ENOENT, "there is no namespace %s; see `softiov ns show`", name);
}

struct target {
	bool all;
	uint16_t cntlid;
};

static int find_pf(const struct nvme_device *nd, const char *number, struct target *out)
{
	unsigned n = 0;

	if (number[0] && !read_number(number, &n))
		return -EINVAL;
	out->cntlid = NVME_CNTLID_PF(n);
	return n < nd->dev.n_pfs ? 0 : -ERANGE;
}

static int find_vf(const struct nvme_device *nd, const char *number, struct target *out)
{
	unsigned n;

	if (!read_number(number, &n))
		return -EINVAL;
	out->cntlid = NVME_CNTLID_VF(n);
	return n < nd->dev.cfg.total_vfs ? 0 : -ERANGE;
}

/* "vf3", "pf", "pf1", "all", or "ssd0/vf3". */
static int find_target(const struct nvme_device *nd, const char *name, struct target *out,
		       char why[WHY_MAX])
{
	const char *device = nd->dev.cfg.name, *slash = strchr(name, '/');
	size_t len = slash ? slash - name : 0;
	int r = -EINVAL;

	*out = (struct target){0};
	if (slash && (len != strlen(device) || memcmp(name, device, len)))
		return why_set(why, -EINVAL,
			       "%s is no function of %s, and no other's can have its namespaces",
			       name, device);
	if (slash)
		name = slash + 1;
	if (!strcmp(name, "all")) {
		out->all = true;
		return 0;
	}
	if (!strncmp(name, "pf", 2))
		r = find_pf(nd, name + 2, out);
	else if (!strncmp(name, "vf", 2))
		r = find_vf(nd, name + 2, out);
	if (r == -ERANGE)
		return why_set(why, -ENOENT, "%s has no %s: it has %u PF%s and at most %u VFs",
			       device, name, nd->dev.n_pfs, nd->dev.n_pfs == 1 ? "" : "s",
			       nd->dev.cfg.total_vfs);
	if (r)
		return why_set(why, r, "\"%s\" is no function: give vf0, vf1, …, pf, or all", name);
	return 0;
}

static void name_of(const struct nvme_device *nd, uint16_t cntlid, char name[FUNCTION_NAME_MAX])
{
	const struct device *dev = &nd->dev;
	unsigned pf = 0;

	while (pf < dev->n_pfs && NVME_CNTLID_PF(pf) != cntlid)
		pf++;
	if (pf == dev->n_pfs)
		snprintf(name, FUNCTION_NAME_MAX, "%s/vf%u", dev->cfg.name,
			 cntlid - NVME_CNTLID_VF(0));
	else if (dev->n_pfs == 1)
		snprintf(name, FUNCTION_NAME_MAX, "%s/pf", dev->cfg.name);
	else
		snprintf(name, FUNCTION_NAME_MAX, "%s/pf%u", dev->cfg.name, pf);
}

void softiov_ns_target_name(struct softiov *s, const char *device, uint16_t cntlid,
			    char name[FUNCTION_NAME_MAX])
{
	char why[WHY_MAX];
	const struct nvme_device *nd = find_nvme(s, device, why);

	name[0] = '\0';
	if (nd)
		name_of(nd, cntlid, name);
}

/* --- looking --- */

struct ns_walk {
	struct nvme_device *nd;
	void (*cb)(void *opaque, const struct softiov_ns_info *);
	void *opaque;
};

static void tell_ns(void *opaque, const struct nvme_ns_info *ns)
{
	struct ns_walk *w = opaque;
	struct nvme_record *rec = nvme_record_find(w->nd, ns->nsid);
	struct nvme_ns_info same;
	char name[FUNCTION_NAME_MAX];
	struct softiov_ns_info info = {
		.name = name,
		.device = w->nd->dev.cfg.name,
		.configured = rec && nvme_record_alive(w->nd, rec, &same),
		.ns = ns,
	};

	snprintf(name, sizeof(name), "%s/ns%u", info.device, ns->nsid);
	w->cb(w->opaque, &info);
}

void softiov_ns_for_each(struct softiov *s, const char *device,
			 void (*cb)(void *opaque, const struct softiov_ns_info *), void *opaque)
{
	for (struct device *dev = s->devices; dev; dev = dev->next) {
		struct ns_walk w = {.cb = cb, .opaque = opaque};

		if (dev->cfg.type != DEVICE_NVME || (device && strcmp(device, dev->cfg.name)))
			continue;
		w.nd = nvme_device(dev);
		nvme_ns_for_each(w.nd->subsystem, tell_ns, &w);
	}
}

int softiov_ns_get_stats(struct softiov *s, const char *ns, struct nvme_io_stats *st)
{
	char why[WHY_MAX];
	struct nvme_device *nd = NULL;
	uint32_t nsid = 0;
	int r = find_ns(s, ns, &nd, &nsid, why);

	return r ? r : nvme_ns_get_stats(nd->subsystem, nsid, st);
}

int softiov_ns_clear_stats(struct softiov *s, const char *ns)
{
	char why[WHY_MAX];
	struct nvme_device *nd = NULL;
	uint32_t nsid = 0;
	int r = find_ns(s, ns, &nd, &nsid, why);

	if (!r)
		nvme_ns_clear_stats(nd->subsystem, nsid);
	return r;
}

/* --- changing --- */

/* Errors always come with a sentence. */
static int say(const char *name, int r, char why[WHY_MAX])
{
	if (r && !why[0])
		why_set(why, r, "%s: %s", name, strerror(-r));
	return r;
}

typedef int ns_link(struct nvme_subsystem *ss, uint32_t nsid, uint16_t cntlid, char *why,
		    size_t why_len);

/* Attaches to, or detaches from, each function. none: what says that there was nothing to do. */
static int link_all(struct nvme_device *nd, uint32_t nsid, ns_link *link, int none,
		    char why[WHY_MAX])
{
	unsigned pfs = nd->dev.n_pfs, changed = 0;

	for (unsigned i = 0; i < pfs + nd->dev.cfg.total_vfs; i++) {
		uint16_t cntlid = i < pfs ? NVME_CNTLID_PF(i) : NVME_CNTLID_VF(i - pfs);
		int r = link(nd->subsystem, nsid, cntlid, why, WHY_MAX);

		if (r && r != none)
			return r;
		changed += !r;
	}
	return changed ? 0 : none;
}

static int link_target(struct nvme_device *nd, uint32_t nsid, const struct target *t, ns_link *link,
		       int none, char why[WHY_MAX])
{
	if (t->all)
		return link_all(nd, nsid, link, none, why);
	return link(nd->subsystem, nsid, t->cntlid, why, WHY_MAX);
}

static int find_both(struct softiov *s, const char *ns, const char *target, struct nvme_device **nd,
		     uint32_t *nsid, struct target *t, char why[WHY_MAX])
{
	int r = find_ns(s, ns, nd, nsid, why);

	if (!r)
		r = find_target(*nd, target, t, why);
	if (!r)
		why[0] = '\0';
	return r;
}

int softiov_ns_attach(struct softiov *s, const char *ns, const char *target, char why[WHY_MAX])
{
	struct nvme_device *nd = NULL;
	struct target t;
	uint32_t nsid = 0;
	int r = find_both(s, ns, target, &nd, &nsid, &t, why);

	if (r)
		return r;
	r = link_target(nd, nsid, &t, nvme_ns_attach, -EALREADY, why);
	if (r == -EALREADY)
		return why_set(why, r, "%s is attached to %s already", ns, target);
	return say(ns, r, why);
}

int softiov_ns_detach(struct softiov *s, const char *ns, const char *target, char why[WHY_MAX])
{
	struct nvme_device *nd = NULL;
	struct target t;
	uint32_t nsid = 0;
	int r = find_both(s, ns, target, &nd, &nsid, &t, why);

	if (r)
		return r;
	r = link_target(nd, nsid, &t, nvme_ns_detach, -ENOENT, why);
	if (r == -ENOENT)
		return why_set(why, r, "%s is not attached to %s; see `softiov ns show`", ns,
			       t.all ? "any function" : target);
	return say(ns, r, why);
}

/* What was attached goes with the namespace when one fails. */
static int attach_targets(struct nvme_device *nd, uint32_t nsid, const char *const *targets,
			  unsigned n, char why[WHY_MAX])
{
	int r = 0;

	for (unsigned i = 0; !r && i < n; i++) {
		struct target t;

		r = find_target(nd, targets[i], &t, why);
		if (!r)
			r = link_target(nd, nsid, &t, nvme_ns_attach, -EALREADY, why);
		if (r == -EALREADY)
			r = 0;
	}
	return r;
}

int softiov_ns_create(struct softiov *s, const char *device, const struct nvme_ns_config *cfg,
		      const char *const *targets, unsigned n_targets, char name[FUNCTION_NAME_MAX],
		      char why[WHY_MAX])
{
	struct nvme_device *nd = find_nvme(s, device, why);
	struct target unused;
	uint32_t nsid = 0;
	int r = nd ? 0 : device_find(s, device) ? -ENOTSUP : -ENOENT;

	for (unsigned i = 0; !r && i < n_targets; i++)
		r = find_target(nd, targets[i], &unused, why);
	if (r)
		return r;
	why[0] = '\0';
	r = nvme_ns_create(nd->subsystem, cfg, &nsid, why, WHY_MAX);
	if (r)
		return say(device, r, why);
	r = attach_targets(nd, nsid, targets, n_targets, why);
	if (r) {
		nvme_ns_withdraw(nd->subsystem, nsid, true);
		return say(device, r, why);
	}
	snprintf(name, FUNCTION_NAME_MAX, "%s/ns%u", device, nsid);
	return 0;
}

static int refuse_delete(const struct nvme_device *nd, const char *ns,
			 const struct nvme_ns_info *info, char why[WHY_MAX])
{
	char holder[FUNCTION_NAME_MAX], more[32] = "";

	name_of(nd, info->attached[0], holder);
	if (info->n_attached > 1)
		snprintf(more, sizeof(more), " and %u more", info->n_attached - 1);
	return why_set(
		why, -EBUSY,
		"%s is attached to %s%s; detach it first (`softiov ns detach %s all`), or say "
		"--force",
		ns, holder, more, ns);
}

int softiov_ns_delete(struct softiov *s, const char *ns, bool force, char why[WHY_MAX])
{
	struct nvme_device *nd = NULL;
	struct nvme_record *rec;
	struct nvme_ns_info info;
	uint32_t nsid = 0;
	int r = find_ns(s, ns, &nd, &nsid, why);

	if (r)
		return r;
	r = nvme_ns_get_info(nd->subsystem, nsid, &info);
	if (!r && info.n_attached && !force)
		return refuse_delete(nd, ns, &info, why);
	why[0] = '\0';
	r = nvme_ns_delete(nd->subsystem, nsid, force, why, WHY_MAX);
	rec = nvme_record_find(nd, nsid);
	if (!r && rec)
		nvme_record_forget(nd, rec);
	return say(ns, r, why);
}

int softiov_ns_resize(struct softiov *s, const char *ns, uint64_t size, bool force,
		      char why[WHY_MAX])
{
	struct nvme_device *nd = NULL;
	struct nvme_ns_info info;
	uint32_t nsid = 0;
	int r = find_ns(s, ns, &nd, &nsid, why);

	if (!r)
		r = nvme_ns_get_info(nd->subsystem, nsid, &info);
	if (r)
		return r;
	if (size && size < info.size && !force)
		return why_set(why, -EPERM,
			       "%s has %" PRIu64 " bytes; with %" PRIu64
			       " what lies beyond is lost for good: say --force if that is meant",
			       ns, info.size, size);
	why[0] = '\0';
	return say(ns, nvme_ns_resize(nd->subsystem, nsid, size, why, WHY_MAX), why);
}

int softiov_ns_set_limits(struct softiov *s, const char *ns, const struct nvme_limits *lim,
			  char why[WHY_MAX])
{
	struct nvme_device *nd = NULL;
	uint32_t nsid = 0;
	int r = find_ns(s, ns, &nd, &nsid, why);

	if (r)
		return r;
	why[0] = '\0';
	return say(ns, nvme_ns_set_limits(nd->subsystem, nsid, lim), why);
}

int softiov_nvme_set_limits(struct softiov *s, const char *function, const struct nvme_limits *lim,
			    char why[WHY_MAX])
{
	struct function *fn = function_find(s, function);
	int r;

	if (!fn)
		return why_set(why, -ENOENT,
			       "there is no function %s; see `softiov show functions`", function);
	if (fn->dev->cfg.type != DEVICE_NVME)
		return why_set(why, -EOPNOTSUPP,
			       "%s is no NVMe function: limits of commands and bytes are for these",
			       function);
	why[0] = '\0';
	if (fn->vf >= 0)
		r = nvme_set_vf_limits(nvme_device(fn->dev), fn->vf, lim);
	else
		r = nvme_ctrl_set_limits(nvme_function(fn)->ctrl, lim);
	return say(function, r, why);
}
