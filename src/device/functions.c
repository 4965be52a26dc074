/* SPDX-License-Identifier: BSD-3-Clause */
/* One function of a device of any type: model and endpoint joined. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device_internal.h"
#include "util/log.h"

static int endpoint_attach(void *opaque, pid_t pid, uid_t uid, char *why, size_t why_len)
{
	struct function *fn = opaque;

	if (fn->vf >= 0 && fn->pf->in_root)
		return root_lend_vf(fn->pf->in_root, fn->pci, why, why_len);
	return 0;
}

static void endpoint_detach(void *opaque)
{
	struct function *fn = opaque;

	if (fn->vf >= 0 && fn->pf->in_root)
		root_take_back(fn->pf->in_root, fn->pci);
}

static int endpoint_io_fds(void *opaque, unsigned region, struct vfu_io_fd *fds, unsigned max)
{
	struct function *fn = opaque;
	const struct device_ops *ops = fn->dev->ops;

	return ops->io_fds ? ops->io_fds(fn, region, fds, max) : 0;
}

static const struct vfu_server_ops endpoint_ops = {
	.attach = endpoint_attach,
	.detach = endpoint_detach,
	.io_fds = endpoint_io_fds,
};

/* A function's socket settings fall back to its device's, then to "private". */
static int endpoint_create(struct function *fn, const struct config_socket *own, const char *file)
{
	const struct config_socket *dev = &fn->dev->cfg.socket;
	struct softiov *s = fn->dev->s;
	char path[PATH_MAX];
	struct vfu_server_config cfg = {
		.name = fn->name,
		.path = path,
		.owner = own->owner_set	  ? own->owner
			 : dev->owner_set ? dev->owner
					  : (uid_t)-1,
		.group = own->group_set	  ? own->group
			 : dev->group_set ? dev->group
					  : (gid_t)-1,
		.mode = own->mode_set	? own->mode
			: dev->mode_set ? dev->mode
					: 0600,
	};

	if (snprintf(path, sizeof(path), "%s/%s/%s.sock", s->runtime_dir, fn->dev->cfg.name,
		     file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return vfu_server_create(s->event, &cfg, fn->pci, &endpoint_ops, fn, &fn->server);
}

static void no_socket(const struct function *fn, int err, char why[WHY_MAX])
{
	why_set(why, err, "%s: cannot make its socket in %s/%s: %s", fn->name,
		fn->dev->s->runtime_dir, fn->dev->cfg.name, strerror(-err));
}

static struct function *function_alloc(struct pf *pf, int vf, const char *name)
{
	struct device *dev = pf->dev;
	struct function *fn = calloc(1, dev->ops->function_size);

	if (!fn)
		return NULL;
	fn->dev = dev;
	fn->pf = pf;
	fn->vf = vf;
	snprintf(fn->name, sizeof(fn->name), "%s/%s", dev->cfg.name, name);
	return fn;
}

/* Fills why with what the errno says, unless the model has said more. */
static int model_create(struct function *fn, char why[WHY_MAX])
{
	int r;

	why[0] = '\0';
	r = fn->dev->ops->function_create(fn, why);
	if (r && !why[0])
		why_set(why, r, "%s: cannot make the function: %s", fn->name, strerror(-r));
	return r;
}

int function_create_pf(struct pf *pf, const char *name, char why[WHY_MAX])
{
	struct device *dev = pf->dev;
	struct function *fn = function_alloc(pf, -1, name);
	int r;

	if (!fn)
		return why_set(why, -ENOMEM, "%s: out of memory", dev->cfg.name);
	r = model_create(fn, why);
	if (r)
		goto err_free;
	pf->fn = fn;
	if (!pf->root[0]) {
		pci_pf_set_managed(fn->pci, true);
		r = endpoint_create(fn, &dev->cfg.socket, name);
		if (r) {
			no_socket(fn, r, why);
			goto err_model;
		}
	}
	return 0;

err_model:
	pf->fn = NULL;
	dev->ops->function_destroy(fn);
err_free:
	free(fn);
	return r;
}

static int function_create_vf(struct pf *pf, unsigned index)
{
	struct device *dev = pf->dev;
	unsigned vf = pf->first_vf + index;
	struct function *fn;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "vf%u", vf);
	fn = function_alloc(pf, vf, name);
	if (!fn)
		return -ENOMEM;
	r = model_create(fn, dev->vf_why);
	if (r) {
		log_error("%s", dev->vf_why);
		goto err_free;
	}
	pci_pf_add_vf(pf->fn->pci, fn->pci);
	r = endpoint_create(fn, &dev->vf_sockets[vf], name);
	if (r) {
		no_socket(fn, r, dev->vf_why);
		log_error("%s", dev->vf_why);
		goto err_vf;
	}
	dev->vfs[vf] = fn;
	if (pf->in_root)
		root_vf_added(pf->in_root, fn->pci);
	return 0;

err_vf:
	pci_pf_remove_vf(pf->fn->pci, fn->pci);
	dev->ops->function_destroy(fn);
err_free:
	free(fn);
	return r;
}

static int vf_create_missing(struct pf *pf, uint16_t num)
{
	struct function **vfs = pf->dev->vfs + pf->first_vf;

	for (unsigned i = 0; i < num; i++) {
		int r = vfs[i] ? 0 : function_create_vf(pf, i);

		if (r)
			return r;
	}
	return 0;
}

static void vf_destroy_from(struct pf *pf, unsigned from)
{
	struct function **vfs = pf->dev->vfs + pf->first_vf;

	for (unsigned i = pf->share; i-- > from;) {
		if (vfs[i])
			function_destroy(vfs[i]);
	}
}

/* VF Enable was set, or the daemon changes the number while it is set: exactly num VFs are to
 * exist afterwards, and those that exist already stay as they are. */
int function_sriov_enable(void *opaque, uint16_t num)
{
	struct pf *pf = opaque;
	unsigned had = pci_pf_num_vfs(pf->fn->pci);
	int r;

	if (num > pf->share)
		return -ERANGE;
	vf_destroy_from(pf, num);
	r = vf_create_missing(pf, num);
	if (r) {
		log_error("%s: VF Enable with %u VFs failed: %s", pf->fn->name, num, strerror(-r));
		vf_destroy_from(pf, had);
	}
	return r;
}

void function_sriov_disable(void *opaque)
{
	vf_destroy_from(opaque, 0);
}

struct function *function_find(struct softiov *s, const char *name)
{
	for (struct device *dev = s->devices; dev; dev = dev->next) {
		for (unsigned i = 0; i < dev->n_pfs; i++) {
			if (!strcmp(dev->pfs[i].fn->name, name))
				return dev->pfs[i].fn;
		}
		for (unsigned i = 0; i < dev->cfg.total_vfs; i++) {
			if (dev->vfs[i] && !strcmp(dev->vfs[i]->name, name))
				return dev->vfs[i];
		}
	}
	return NULL;
}

/*
 * The endpoint first: its client's detach gives a lent VF back to the root, which then lets go of
 * it like of any other.
 */
void function_destroy(struct function *fn)
{
	if (fn->server)
		vfu_server_destroy(fn->server);
	if (fn->vf >= 0) {
		if (fn->pf->in_root)
			root_vf_removing(fn->pf->in_root, fn->pci);
		pci_pf_remove_vf(fn->pf->fn->pci, fn->pci);
		fn->dev->vfs[fn->vf] = NULL;
	} else {
		fn->pf->fn = NULL;
	}
	pci_function_detach(fn->pci);
	fn->dev->ops->function_destroy(fn);
	free(fn);
}

bool function_attached(const struct function *fn)
{
	struct root_function_info info;
	struct vfu_server_status st = {0};

	if (fn->server)
		vfu_server_get_status(fn->server, &st);
	if (st.connected)
		return true;
	return fn->pf->in_root && !root_function(fn->pf->in_root, fn->pci, &info) && info.in_use;
}

/* Where no guest numbered the buses: each device on a bus of its own, in order. */
static uint16_t own_rid(const struct function *fn)
{
	const struct device *dev;
	unsigned bus = 1;
	uint16_t pf_rid;

	for (dev = fn->dev->s->devices; dev && dev != fn->dev; dev = dev->next)
		bus += 2;
	pf_rid = bus << 8;
	return fn->vf < 0 ? pf_rid : pci_vf_rid(fn->pf->fn->pci, pf_rid, fn->vf - fn->pf->first_vf);
}

void function_get_info(struct function *fn, struct function_info *out)
{
	struct root_function_info in_root;

	memset(out, 0, sizeof(*out));
	out->name = fn->name;
	out->device = fn->dev->cfg.name;
	out->kind = fn->dev->cfg.type;
	out->pf = fn->vf >= 0 ? fn->pf->fn->name : NULL;
	out->root = fn->pf->root[0] ? fn->pf->root : NULL;
	out->fn = fn->pci;
	if (fn->server) {
		out->socket = vfu_server_path(fn->server);
		vfu_server_get_status(fn->server, &out->endpoint);
	}
	if (fn->pf->in_root && !root_function(fn->pf->in_root, out->fn, &in_root)) {
		out->rid = in_root.rid;
		out->rid_valid = in_root.rid_valid;
	} else if (!out->root) {
		out->rid = own_rid(fn);
		out->rid_valid = true;
	}
	if (out->endpoint.connected)
		out->holder = HOLDER_ENDPOINT;
	else if (pci_function_owner(out->fn) == PCI_OWNER_ROOT)
		out->holder = HOLDER_ROOT;
	fn->dev->ops->function_info(fn, out);
}
