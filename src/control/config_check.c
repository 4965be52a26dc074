/* SPDX-License-Identifier: BSD-3-Clause */
/* What can only be seen when the whole file was read. */
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "control/config_read.h"
#include "control/text.h"

#define SOCKET_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

int config_line_of(const struct ynode *top, const char *section, const char *name, const char *key)
{
	const struct ynode *n = map_find(map_find(top, section), name);
	const struct ynode *k = n ? map_find(n, key) : NULL;

	return k ? k->line : n ? n->line : 0;
}

/* Where under a root a device is named. */
static int line_of_member(const struct ynode *top, const char *root, const char *device)
{
	const struct ynode *n = map_find(map_find(map_find(top, "roots"), root), "devices");

	for (const struct ynode *e = n ? n->first : NULL; e; e = e->next) {
		const struct ynode *m = e->kind == YNODE_MAP && !e->key ? e->first : e;
		const char *name = !m ? NULL : m->key ? m->key : m->value;

		if (name && !strcmp(name, device))
			return m->line;
	}
	return n ? n->line : 0;
}

static struct config_device *find_device(struct config *cfg, const char *name)
{
	for (unsigned i = 0; i < cfg->n_devices; i++)
		if (!strcmp(cfg->devices[i].name, name))
			return &cfg->devices[i];
	return NULL;
}

static unsigned holders(const struct config *cfg, const char *device, unsigned *fixed,
			unsigned *equal, const char **first)
{
	unsigned n = 0;

	*fixed = *equal = 0;
	for (unsigned i = 0; i < cfg->n_roots; i++) {
		const struct config_root *root = &cfg->roots[i];

		for (unsigned j = 0; j < root->n_devices; j++) {
			if (strcmp(root->devices[j].device, device))
				continue;
			if (!n++)
				*first = root->name;
			*fixed += root->devices[j].total_vfs;
			*equal += !root->devices[j].total_vfs;
		}
	}
	return n;
}

const char *config_root_of(const struct config *cfg, const char *device)
{
	unsigned fixed, equal;
	const char *first;

	return holders(cfg, device, &fixed, &equal, &first) ? first : NULL;
}

static void check_macs(struct reader *r, const struct ynode *top, const struct config_device *dev)
{
	static const uint8_t zero[6];
	char mac[TEXT_MAC_LEN];
	const struct ynode *vfs = map_find(map_find(map_find(top, "devices"), dev->name), "vfs");

	for (unsigned i = 0; i < dev->n_vfs; i++) {
		const struct config_vf *vf = &dev->vfs[i];
		char key[16], path[48], other[48] = "";
		const struct ynode *n;
		size_t mark;

		if (!memcmp(vf->policy.mac, zero, 6))
			continue;
		if (!memcmp(vf->policy.mac, dev->mac, 6))
			snprintf(other, sizeof(other), "the PF");
		for (unsigned j = 0; j < i && !other[0]; j++)
			if (!memcmp(vf->policy.mac, dev->vfs[j].policy.mac, 6))
				snprintf(other, sizeof(other), "VF %u (line %d)", dev->vfs[j].index,
					 dev->vfs[j].line);
		if (!other[0])
			continue;
		snprintf(key, sizeof(key), "%u", vf->index);
		n = map_find(map_find(vfs, key), "mac");
		snprintf(path, sizeof(path), "vfs.%u.mac", vf->index);
		mark = path_push(r, path);
		config_error(r, n ? n->line : vf->line,
			     "%s is already the address of %s: give each its own",
			     text_mac_format(vf->policy.mac, mac), other);
		path_pop(r, mark);
	}
}

static void check_num_vfs(struct reader *r, const struct ynode *top, struct config_device *dev)
{
	int line = config_line_of(top, "devices", dev->name, "num-vfs");
	const char *root = config_root_of(r->cfg, dev->name);
	size_t mark;

	mark = path_push(r, "num-vfs");
	if (dev->num_vfs > dev->total_vfs)
		config_error(r, line,
			     "%d VFs, but total-vfs is %u: lower this or raise total-vfs (at most "
			     "%d)",
			     dev->num_vfs, dev->total_vfs, CONFIG_VFS_MAX);
	if (dev->num_vfs >= 0 && root)
		config_error(r, line,
			     "the kernel in root %s enables the VFs (sriov_numvfs): remove num-vfs "
			     "here, or the device from the root",
			     root);
	path_pop(r, mark);
}

static void check_shares(struct reader *r, const struct ynode *top, struct config_device *dev)
{
	int line = config_line_of(top, "devices", dev->name, "total-vfs");
	unsigned fixed, equal, n;
	const char *root;
	size_t mark;

	n = holders(r->cfg, dev->name, &fixed, &equal, &root);
	if (!n)
		return;
	mark = path_push(r, "total-vfs");
	if (fixed > dev->total_vfs)
		config_error(r, line,
			     "%u VFs, but the roots' shares add up to %u: raise it or lower the "
			     "shares",
			     dev->total_vfs, fixed);
	else if (dev->total_vfs && equal > dev->total_vfs - fixed)
		config_error(r, line,
			     "%u VFs are left for %u roots that share equally: raise it to %u at "
			     "least",
			     dev->total_vfs - fixed, equal, fixed + equal);
	path_pop(r, mark);
}

static void check_tap_name(struct reader *r, const struct ynode *top, unsigned i)
{
	const struct config_device *dev = &r->cfg->devices[i];
	size_t mark;

	if (dev->uplink.type != NET_UPLINK_TAP || !dev->uplink.name[0])
		return;
	for (unsigned j = 0; j < i; j++) {
		const struct config_device *other = &r->cfg->devices[j];

		if (other->uplink.type != NET_UPLINK_TAP ||
		    strcmp(other->uplink.name, dev->uplink.name))
			continue;
		mark = path_push(r, "uplink.name");
		config_error(r, config_line_of(top, "devices", dev->name, "uplink"),
			     "%s is the uplink of %s: give each device its own and join them in a "
			     "bridge",
			     dev->uplink.name, other->name);
		path_pop(r, mark);
		return;
	}
}

static void check_path(struct reader *r, int line, const char *rest)
{
	const char *dir = r->cfg->runtime_dir;
	size_t len = strlen(dir) + 1 + strlen(rest);

	if (len > SOCKET_PATH_MAX)
		config_error(r, line,
			     "the socket %s/%s would have a path of %zu bytes, %zu are the most: "
			     "choose a shorter runtime-dir or name",
			     dir, rest, len, SOCKET_PATH_MAX);
}

static void check_device(struct reader *r, const struct ynode *top, unsigned i)
{
	struct config_device *dev = &r->cfg->devices[i];
	char rest[CONFIG_NAME_MAX + 32];
	size_t mark;

	mark = path_push(r, dev->name);
	check_num_vfs(r, top, dev);
	check_shares(r, top, dev);
	check_macs(r, top, dev);
	check_tap_name(r, top, i);
	check_device_rates(r, top, dev);
	if (dev->type == DEVICE_NVME)
		check_nvme(r, top, i);
	/* The longest of its sockets: the last VF's, or a PF's where roots share the device. */
	snprintf(rest, sizeof(rest), "%s/vf%u.sock", dev->name,
		 dev->total_vfs ? dev->total_vfs - 1 : 0);
	check_path(r, dev->line, rest);
	path_pop(r, mark);
}

static void unknown_device(struct reader *r, int line, const char *name)
{
	const char *names[CONFIG_DEVICES_MAX];
	const char *near;

	for (unsigned i = 0; i < r->cfg->n_devices; i++)
		names[i] = r->cfg->devices[i].name;
	near = text_nearest(name, names, r->cfg->n_devices);
	if (near)
		config_error(r, line, "no such device: did you mean \"%s\"?", near);
	else
		config_error(r, line, "no such device: add it under devices");
}

static void check_root(struct reader *r, const struct ynode *top, const struct config_root *root)
{
	char rest[CONFIG_NAME_MAX + 32];
	size_t outer = path_push(r, root->name);

	if (!strcmp(root->name, "control"))
		config_error(r, root->line,
			     "its socket would be the control socket: choose another name");
	if (find_device(r->cfg, root->name))
		config_error(r, root->line, "is the name of a device (line %d) too: rename one",
			     find_device(r->cfg, root->name)->line);
	for (unsigned i = 0; i < root->n_devices; i++) {
		const char *name = root->devices[i].device;
		int line = line_of_member(top, root->name, name);
		size_t mark = path_push(r, "devices");

		path_push(r, name);
		if (!find_device(r->cfg, name))
			unknown_device(r, line, name);
		for (unsigned j = 0; j < i; j++)
			if (!strcmp(root->devices[j].device, name))
				config_error(r, line,
					     "given twice: a root holds one PF of a device; remove "
					     "one");
		path_pop(r, mark);
	}
	snprintf(rest, sizeof(rest), "%s.sock", root->name);
	check_path(r, root->line, rest);
	path_pop(r, outer);
}

void check_config(struct reader *r, const struct ynode *top)
{
	check_path(r, 0, "control.sock");
	for (unsigned i = 0; i < r->cfg->n_devices; i++)
		check_device(r, top, i);
	for (unsigned i = 0; i < r->cfg->n_roots; i++)
		check_root(r, top, &r->cfg->roots[i]);
}
