/* SPDX-License-Identifier: BSD-3-Clause */
/* Roots of a configuration, and plugging devices' PFs into them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device_internal.h"
#include "util/log.h"
#include "util/util.h"

static struct pf *pf_for_root(struct device *dev, const char *root)
{
	for (unsigned i = 0; i < dev->n_pfs; i++) {
		if (!strcmp(dev->pfs[i].root, root))
			return &dev->pfs[i];
	}
	return NULL;
}

struct root_entry *roots_find(struct softiov *s, const char *name)
{
	struct root_entry *e;

	for (e = s->roots; e; e = e->next) {
		if (!strcmp(e->name, name))
			return e;
	}
	return NULL;
}

static int plug(struct root *root, struct pf *pf, char why[WHY_MAX])
{
	unsigned slot;
	int r = root_add_pf(root, pf->fn->pci, &slot);

	if (r)
		return why_set(why, r, "%s: cannot plug %s into root %s: %s", pf->dev->cfg.name,
			       pf->fn->name, root_name(root), strerror(-r));
	pf->in_root = root;
	return 0;
}

static int unplug(struct root *root, struct pf *pf, bool force)
{
	int r = root_remove_pf(root, pf->fn->pci, force);

	if (!r)
		pf->in_root = NULL;
	return r;
}

static int open_root(struct softiov *s, const struct config_root *cfg, struct root **out)
{
	char path[PATH_MAX];
	struct root_config rc = {
		.name = cfg->name,
		.socket =
			{
				.path = path,
				.owner = cfg->socket.owner_set ? cfg->socket.owner : (uid_t)-1,
				.group = cfg->socket.group_set ? cfg->socket.group : (gid_t)-1,
				.mode = cfg->socket.mode_set ? cfg->socket.mode : 0600,
			},
		.vectors = cfg->vectors,
		.slots = MIN(MAX(cfg->n_devices, 4u), (unsigned)ROOT_SLOTS_MAX),
	};

	if (snprintf(path, sizeof(path), "%s/%s.sock", s->runtime_dir, cfg->name) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	return root_create(s->event, &rc, out);
}

int roots_create(struct softiov *s, const struct config_root *cfg, char why[WHY_MAX])
{
	struct root_entry *e = calloc(1, sizeof(*e)), **tail = &s->roots;
	int r;

	if (!e)
		return why_set(why, -ENOMEM, "%s: out of memory", cfg->name);
	snprintf(e->name, sizeof(e->name), "%s", cfg->name);
	e->vectors = cfg->vectors;
	r = open_root(s, cfg, &e->root);
	if (r) {
		free(e);
		return why_set(why, r, "%s: cannot make its socket in %s: %s", cfg->name,
			       s->runtime_dir, strerror(-r));
	}
	while (*tail)
		tail = &(*tail)->next;
	*tail = e;
	for (unsigned i = 0; i < cfg->n_devices; i++) {
		struct device *dev = device_find(s, cfg->devices[i].device);
		struct pf *pf = dev ? pf_for_root(dev, cfg->name) : NULL;

		r = pf ? plug(e->root, pf, why)
		       : why_set(why, -ENOENT, "%s: there is no device %s", cfg->name,
				 cfg->devices[i].device);
		if (r) {
			roots_destroy(s, e);
			return r;
		}
	}
	return 0;
}

void roots_destroy(struct softiov *s, struct root_entry *e)
{
	struct root_entry **p;

	for (struct device *dev = s->devices; dev; dev = dev->next) {
		for (unsigned i = 0; i < dev->n_pfs; i++) {
			if (dev->pfs[i].in_root == e->root)
				unplug(e->root, &dev->pfs[i], true);
		}
	}
	for (p = &s->roots; *p; p = &(*p)->next) {
		if (*p == e) {
			*p = e->next;
			break;
		}
	}
	root_destroy(e->root);
	free(e);
}

/* The three objects that plug and unplug speak of, or why not. */
static int plug_args(struct softiov *s, const char *root, const char *device, struct root_entry **e,
		     struct pf **pf, char why[WHY_MAX])
{
	struct device *dev = device_find(s, device);

	*e = roots_find(s, root);
	if (!*e)
		return why_set(why, -ENOENT, "there is no root %s; see `softiov show roots`", root);
	if (!dev)
		return why_set(why, -ENOENT, "there is no device %s; see `softiov show devices`",
			       device);
	*pf = pf_for_root(dev, root);
	if (!*pf)
		return why_set(why, -ENOENT,
			       "root %s has no share of %s; list it under roots.%s.devices in the "
			       "configuration file",
			       root, device, root);
	return 0;
}

int softiov_root_plug(struct softiov *s, const char *root, const char *device, char why[WHY_MAX])
{
	struct root_entry *e = NULL;
	struct pf *pf = NULL;
	int r = plug_args(s, root, device, &e, &pf, why);

	if (r)
		return r;
	if (pf->in_root)
		return why_set(why, -EALREADY, "%s is in root %s already", pf->fn->name, root);
	return plug(e->root, pf, why);
}

int softiov_root_unplug(struct softiov *s, const char *root, const char *device, bool force,
			char why[WHY_MAX])
{
	struct root_entry *e = NULL;
	struct pf *pf = NULL;
	int r = plug_args(s, root, device, &e, &pf, why);

	if (r)
		return r;
	if (!pf->in_root)
		return why_set(why, -EALREADY, "%s is not in root %s", pf->fn->name, root);
	r = unplug(e->root, pf, force);
	if (r == -EBUSY)
		return why_set(why, r,
			       "%s is in use by a driver in root %s; its kernel was asked to let "
			       "go (attention button): try again in some seconds, or say --force",
			       pf->fn->name, root);
	if (r == -EOPNOTSUPP)
		return why_set(why, r,
			       "%s is in use by a driver in root %s, whose kernel handles no "
			       "hot-plug there (QEMU: -global "
			       "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off): write 1 to its "
			       "remove file in the guest, or say --force",
			       pf->fn->name, root);
	if (r)
		return why_set(why, r, "%s: cannot unplug from %s: %s", pf->fn->name, root,
			       strerror(-r));
	return 0;
}
