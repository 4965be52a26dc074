/* SPDX-License-Identifier: BSD-3-Clause */
/* One function of an Ethernet device: model, port and endpoint joined. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device_internal.h"
#include "util/log.h"
#include "util/util.h"

static struct pci_function *pci_of(const struct eth_function *fn)
{
	return virtio_net_function(fn->net);
}

static int endpoint_attach(void *opaque, pid_t pid, uid_t uid, char *why, size_t why_len)
{
	struct eth_function *fn = opaque;

	if (fn->vf >= 0 && fn->pf->in_root)
		return root_lend_vf(fn->pf->in_root, pci_of(fn), why, why_len);
	return 0;
}

static void endpoint_detach(void *opaque)
{
	struct eth_function *fn = opaque;

	if (fn->vf >= 0 && fn->pf->in_root)
		root_take_back(fn->pf->in_root, pci_of(fn));
}

static int endpoint_io_fds(void *opaque, unsigned region, struct vfu_io_fd *fds, unsigned max)
{
	struct eth_function *fn = opaque;
	int efd[VIRTIO_QUEUES_MAX];
	uint64_t off[VIRTIO_QUEUES_MAX];
	unsigned n;

	if (region != VIRTIO_BAR_CONFIG)
		return 0;
	n = virtio_net_doorbells(fn->net, efd, off, ARRAY_SIZE(efd));
	for (unsigned i = 0; i < MIN(n, max); i++)
		fds[i] = (struct vfu_io_fd){.offset = off[i], .size = 2, .fd = efd[i]};
	return n;
}

static const struct vfu_server_ops endpoint_ops = {
	.attach = endpoint_attach,
	.detach = endpoint_detach,
	.io_fds = endpoint_io_fds,
};

/* A function's socket settings fall back to its device's, then to "private". */
static int endpoint_create(struct eth_function *fn, const struct config_socket *own,
			   const char *file)
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
	return vfu_server_create(s->event, &cfg, pci_of(fn), &endpoint_ops, fn, &fn->server);
}

static int vf_create_missing(struct eth_pf *pf, uint16_t num)
{
	struct eth_function **vfs = pf->dev->vfs + pf->first_vf;

	for (unsigned i = 0; i < num; i++) {
		int r = vfs[i] ? 0 : eth_function_create_vf(pf, i);

		if (r)
			return r;
	}
	return 0;
}

static void vf_destroy_from(struct eth_pf *pf, unsigned from)
{
	struct eth_function **vfs = pf->dev->vfs + pf->first_vf;

	for (unsigned i = pf->share; i-- > from;) {
		if (vfs[i])
			eth_function_destroy(vfs[i]);
	}
}

/* VF Enable was set, or the daemon changes the number while it is set: exactly num VFs are to
 * exist afterwards, and those that exist already stay as they are. */
static int pf_sriov_enable(void *opaque, uint16_t num)
{
	struct eth_pf *pf = opaque;
	unsigned had = pci_pf_num_vfs(pci_of(pf->fn));
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

static void pf_sriov_disable(void *opaque)
{
	vf_destroy_from(opaque, 0);
}

static void fill_config(const struct eth_device *dev, struct virtio_net_config *cfg)
{
	cfg->queue_pairs = dev->cfg.queue_pairs;
	cfg->queue_size = dev->cfg.queue_size;
	cfg->mtu = dev->cfg.mtu;
	cfg->speed_mbps = dev->cfg.speed_mbps;
	cfg->packed = dev->cfg.packed;
	cfg->features_off = dev->cfg.features_off;
	cfg->admin_strict = dev->cfg.admin_strict;
}

int eth_function_create_pf(struct eth_pf *pf, const char *name, const struct net_policy *policy,
			   char why[WHY_MAX])
{
	struct eth_device *dev = pf->dev;
	struct virtio_net_config cfg = {
		.policy = *policy,
		.total_vfs = pf->share,
		.sriov_enable = pf_sriov_enable,
		.sriov_disable = pf_sriov_disable,
		.opaque = pf,
	};
	struct eth_function *fn = calloc(1, sizeof(*fn));
	int r;

	if (!fn)
		return why_set(why, -ENOMEM, "%s: out of memory", dev->cfg.name);
	fn->dev = dev;
	fn->pf = pf;
	fn->vf = -1;
	snprintf(fn->name, sizeof(fn->name), "%s/%s", dev->cfg.name, name);
	cfg.name = fn->name;
	fill_config(dev, &cfg);
	r = virtio_net_create(dev->sw, dev->s->pool, &cfg, &fn->net);
	if (r) {
		why_set(why, r, "%s: cannot make the function: %s", fn->name, strerror(-r));
		goto err_free;
	}
	pf->fn = fn;
	if (!pf->root[0]) {
		pci_pf_set_managed(pci_of(fn), true);
		r = endpoint_create(fn, &dev->cfg.socket, name);
		if (r) {
			why_set(why, r, "%s: cannot make its socket in %s/%s: %s", fn->name,
				dev->s->runtime_dir, dev->cfg.name, strerror(-r));
			goto err_net;
		}
	}
	return 0;

err_net:
	pf->fn = NULL;
	virtio_net_destroy(fn->net);
err_free:
	free(fn);
	return r;
}

int eth_function_create_vf(struct eth_pf *pf, unsigned index)
{
	struct eth_device *dev = pf->dev;
	unsigned vf = pf->first_vf + index;
	struct virtio_net_config cfg = {
		.policy = dev->policies[vf],
		.pf = pci_of(pf->fn),
		.vf_index = index,
	};
	struct eth_function *fn = calloc(1, sizeof(*fn));
	char file[16];
	int r;

	if (!fn)
		return -ENOMEM;
	fn->dev = dev;
	fn->pf = pf;
	fn->vf = vf;
	snprintf(fn->name, sizeof(fn->name), "%s/vf%u", dev->cfg.name, vf);
	snprintf(file, sizeof(file), "vf%u", vf);
	cfg.name = fn->name;
	fill_config(dev, &cfg);
	if (dev->vf_pairs[vf])
		cfg.queue_pairs = dev->vf_pairs[vf];
	r = virtio_net_create(dev->sw, dev->s->pool, &cfg, &fn->net);
	if (r)
		goto err_free;
	pci_pf_add_vf(cfg.pf, pci_of(fn));
	r = endpoint_create(fn, &dev->vf_sockets[vf], file);
	if (r)
		goto err_vf;
	dev->vfs[vf] = fn;
	if (pf->in_root)
		root_vf_added(pf->in_root, pci_of(fn));
	return 0;

err_vf:
	pci_pf_remove_vf(cfg.pf, pci_of(fn));
	virtio_net_destroy(fn->net);
err_free:
	log_error("%s: %s", fn->name, strerror(-r));
	free(fn);
	return r;
}

/*
 * The endpoint first: its client's detach gives a lent VF back to the root, which then lets go of
 * it like of any other.
 */
void eth_function_destroy(struct eth_function *fn)
{
	if (fn->server)
		vfu_server_destroy(fn->server);
	if (fn->vf >= 0) {
		if (fn->pf->in_root)
			root_vf_removing(fn->pf->in_root, pci_of(fn));
		pci_pf_remove_vf(pci_of(fn->pf->fn), pci_of(fn));
		fn->dev->vfs[fn->vf] = NULL;
	} else {
		fn->pf->fn = NULL;
	}
	pci_function_detach(pci_of(fn));
	virtio_net_destroy(fn->net);
	free(fn);
}

bool eth_function_attached(const struct eth_function *fn)
{
	struct root_function_info info;
	struct vfu_server_status st = {0};

	if (fn->server)
		vfu_server_get_status(fn->server, &st);
	if (st.connected)
		return true;
	return fn->pf->in_root && !root_function(fn->pf->in_root, pci_of(fn), &info) && info.in_use;
}

/* Where no guest numbered the buses: each device on a bus of its own, in order. */
static uint16_t own_rid(const struct eth_function *fn)
{
	const struct eth_device *dev;
	unsigned bus = 1;
	uint16_t pf_rid;

	for (dev = fn->dev->s->devices; dev && dev != fn->dev; dev = dev->next)
		bus += 2;
	pf_rid = bus << 8;
	return fn->vf < 0 ? pf_rid
			  : pci_vf_rid(pci_of(fn->pf->fn), pf_rid, fn->vf - fn->pf->first_vf);
}

void eth_function_info(struct eth_function *fn, struct function_info *out)
{
	struct root_function_info in_root;

	memset(out, 0, sizeof(*out));
	out->name = fn->name;
	out->device = fn->dev->cfg.name;
	out->pf = fn->vf >= 0 ? fn->pf->fn->name : NULL;
	out->root = fn->pf->root[0] ? fn->pf->root : NULL;
	out->fn = pci_of(fn);
	out->port = virtio_net_port(fn->net);
	out->policy = net_port_policy(out->port);
	out->link_up = net_port_link_up(out->port);
	out->memory = sizeof(*fn) + virtio_net_memory(fn->net);
	virtio_net_get_status(fn->net, &out->net);
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
}
