/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Life of a network function: creation, the driver's coming and going, its queues. Control thread.
 */
#include "virtio_net/virtio_net.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"
#include "virtio_net/vnet.h"

#define QUEUE_SIZE_DEFAULT 256
#define QUEUE_SIZE_MIN	   64
#define MTU_MIN		   68
#define CLASS_ETHERNET	   0x020000
#define VIRTIO_ID_NETWORK  1

enum role { ROLE_RX, ROLE_TX, ROLE_CTRL, ROLE_NONE };

/* What a queue index means with the negotiated features (5.1.2). */
static enum role queue_role(const struct virtio_net *net, unsigned index)
{
	if (vnet_has(net, VIRTIO_NET_F_CTRL_VQ) && index == vnet_ctrl_index(net))
		return ROLE_CTRL;
	if (index >= vnet_ctrl_index(net))
		return ROLE_NONE;
	return index % 2 ? ROLE_TX : ROLE_RX;
}

static int add_poller(struct virtio_net *net, unsigned index, struct poller *p,
		      const struct poller_ops *ops)
{
	static const char *const kinds[] = {
		[ROLE_RX] = "rx", [ROLE_TX] = "tx", [ROLE_CTRL] = "ctrl"};
	enum role role = queue_role(net, index);
	struct worker *w = virtio_device_worker(net->vd);
	int fd = net->doorbells ? virtio_device_doorbell_fd(net->vd, index) : -1, err = 0;

	if (!w)
		return -ENOMEM;
	/* Nothing else of it is touched: somebody may be kicking it in vain just now. */
	p->ops = ops;
	p->name = net->name;
	p->kind = kinds[role];
	p->number = role == ROLE_CTRL ? POLLER_ONLY : (uint16_t)(index / 2);
	p->share = &net->share;
	p->policy = net->cfg.poll;
	p->movable = true;
	worker_add(w, p);
	if (fd >= 0)
		err = poller_watch_fd(p, fd);
	if (err)
		worker_remove(p);
	return err;
}

/* An interrupt that was held back, or frames not yet published, when DMA was withdrawn. */
static void pay_debt(struct virtio_net *net, unsigned index, vnet_counter *irqs)
{
	vnet_add(irqs, 1);
	virtio_device_queue_irq(net->vd, index);
}

static bool is_held(const struct vnet_coal *c)
{
	return atomic_load_explicit(&c->held, memory_order_relaxed);
}

/* --- queues --- */

static int rx_start(struct virtio_net *net, unsigned index, struct virtqueue *vq)
{
	struct vnet_rxq *q = &net->rx[index / 2];
	struct vnet_fifo *fifo = NULL;
	bool owed = false;
	int err;

	if (vq_is_remote(vq)) {
		err = vnet_fifo_create(&fifo);
		if (err)
			return err;
	} else {
		/* Nobody waits for receive buffers: a sender that finds none goes on. */
		vq_disarm(vq);
		owed = vq_publish(vq);
	}
	vnet_lock(&q->lock);
	if (owed || is_held(&q->coal))
		pay_debt(net, index, &q->irqs);
	vnet_coal_reset(&q->coal, &net->coal_rx);
	q->vq = vq;
	q->fifo = fifo;
	q->broken = false;
	q->pending = false;
	q->unsignalled = 0;
	vnet_unlock(&q->lock);
	if (fifo) {
		err = add_poller(net, index, &q->poller, &vnet_rx_remote_poller);
		if (err) {
			vnet_lock(&q->lock);
			q->vq = NULL;
			q->fifo = NULL;
			vnet_unlock(&q->lock);
			vnet_fifo_destroy(fifo);
			return err;
		}
	}
	atomic_fetch_or(&net->rx_running, BIT(q->pair));
	return 0;
}

static void rx_stop(struct virtio_net *net, unsigned index)
{
	struct vnet_rxq *q = &net->rx[index / 2];
	struct vnet_fifo *fifo = q->fifo;

	atomic_fetch_and(&net->rx_running, ~BIT(q->pair));
	if (fifo)
		worker_remove(&q->poller);
	vnet_lock(&q->lock);
	q->vq = NULL;
	q->fifo = NULL;
	q->pending = false;
	vnet_unlock(&q->lock);
	vnet_fifo_destroy(fifo);
}

static int tx_start(struct virtio_net *net, unsigned index, struct virtqueue *vq)
{
	struct vnet_txq *q = &net->tx[index / 2];
	int err;

	q->vq = vq;
	q->broken = false;
	if (is_held(&q->coal))
		pay_debt(net, index, &q->irqs);
	vnet_coal_reset(&q->coal, &net->coal_tx);
	/* q->shape stays: by resets nobody gets rid of a debt, nor throws slices away */
	err = add_poller(net, index, &q->poller, &vnet_tx_poller);
	if (err)
		q->vq = NULL;
	return err;
}

static void tx_stop(struct virtio_net *net, unsigned index)
{
	struct vnet_txq *q = &net->tx[index / 2];

	worker_remove(&q->poller);
	vnet_shape_leave(q);
	q->vq = NULL;
}

static int ctrl_start(struct virtio_net *net, unsigned index, struct virtqueue *vq)
{
	struct vnet_ctrl *ctrl = net->ctrl;
	int err;

	ctrl->vq = vq;
	ctrl->broken = false;
	atomic_store(&ctrl->state, VNET_CTRL_IDLE);
	err = add_poller(net, index, &ctrl->poller, &vnet_ctrl_poller);
	if (err)
		ctrl->vq = NULL;
	return err;
}

static void ctrl_stop(struct virtio_net *net)
{
	worker_remove(&net->ctrl->poller);
	/* A command in hand was not taken from the ring; it is found again if the queue goes on. */
	mailbox_cancel(&net->ctrl->work);
	net->ctrl->vq = NULL;
}

static int queue_start(struct virtio_device *vd, unsigned index, struct virtqueue *vq)
{
	struct virtio_net *net = virtio_device_opaque(vd);

	switch (queue_role(net, index)) {
	case ROLE_RX:
		return rx_start(net, index, vq);
	case ROLE_TX:
		return tx_start(net, index, vq);
	case ROLE_CTRL:
		return ctrl_start(net, index, vq);
	default:
		return 0; /* a queue that means nothing to us does nothing */
	}
}

static void queue_stop(struct virtio_device *vd, unsigned index)
{
	struct virtio_net *net = virtio_device_opaque(vd);

	switch (queue_role(net, index)) {
	case ROLE_RX:
		rx_stop(net, index);
		break;
	case ROLE_TX:
		tx_stop(net, index);
		break;
	case ROLE_CTRL:
		ctrl_stop(net);
		break;
	default:
		break;
	}
}

static void queue_notify(struct virtio_device *vd, unsigned index)
{
	struct virtio_net *net = virtio_device_opaque(vd);

	switch (queue_role(net, index)) {
	case ROLE_RX:
		vnet_add(&net->rx[index / 2].kicks, 1);
		break;
	case ROLE_TX:
		vnet_add(&net->tx[index / 2].kicks, 1);
		poller_kick(&net->tx[index / 2].poller);
		break;
	case ROLE_CTRL:
		vnet_add(&net->ctrl->kicks, 1);
		poller_kick(&net->ctrl->poller);
		break;
	default:
		break;
	}
}

/* --- the driver --- */

static int features_ok(struct virtio_device *vd, uint64_t features)
{
	return vnet_features_valid(features) ? 0 : -EINVAL;
}

static void driver_ok(struct virtio_device *vd)
{
	struct virtio_net *net = virtio_device_opaque(vd);
	uint64_t f = virtio_device_features(vd);

	atomic_store(&net->features, f);
	atomic_store(&net->offloads, f & VNET_GUEST_OFFLOADS);
	atomic_store(&net->hdr_len, f & BIT_ULL(VIRTIO_NET_F_HASH_REPORT)
					    ? sizeof(struct virtio_net_hdr_v1_hash)
					    : sizeof(struct virtio_net_hdr_v1));
	vnet_rx_mode_start(net);
	net_port_set_active(net->port, true);
}

/* The function's own address again. While another port has it, which two guests can bring about at
 * will, the driver's stays, and the next reset tries again. */
static void restore_mac(struct virtio_net *net)
{
	struct net_policy policy = *net_port_policy(net->port);

	memcpy(policy.mac, net->policy.mac, ETH_ALEN);
	if (net_port_set_policy(net->port, &policy)) {
		log_guest(&net->mac_log, "%s: its own MAC is taken by another port now", net->name);
		return;
	}
	vnet_config_mac(net, false);
	net->mac_changed = false;
}

/* 5.1.6.5: filters, pairs, steering, coalescing and a driver's MAC do not outlive a reset. */
static void forget_driver(struct virtio_net *net)
{
	static const struct net_filter nothing;
	static const struct vnet_ctrl_coal at_once;

	net_port_set_active(net->port, false);
	if (net->coal_running)
		worker_remove(&net->coal_poller);
	net->coal_running = false;
	net->coal_rx = net->coal_tx = at_once;
	for (unsigned i = 0; i < net->cfg.queue_pairs; i++) {
		vnet_coal_reset(&net->rx[i].coal, &at_once);
		vnet_coal_reset(&net->tx[i].coal, &at_once);
	}
	atomic_store(&net->tx_pairs, 1);
	vnet_steer_default(net);
	for (unsigned i = 0; net->flows && i < VNET_FLOWS; i++)
		atomic_store_explicit(&net->flows[i], 0, memory_order_relaxed);
	vnet_rx_mode_reset(net);
	net_port_set_filter(net->port, &nothing);
	if (net->mac_changed)
		restore_mac(net);
	vnet_config_status(net, 0, VIRTIO_NET_S_ANNOUNCE);
}

static void reset(struct virtio_device *vd)
{
	struct virtio_net *net = virtio_device_opaque(vd);

	forget_driver(net);
	atomic_store(&net->features, 0);
	atomic_store(&net->offloads, 0);
}

void vnet_link_changed(struct net_port *port, bool up)
{
	struct virtio_net *net = net_port_opaque(port);

	if (net->vd)
		vnet_config_status(net, up ? VIRTIO_NET_S_LINK_UP : 0,
				   up ? 0 : VIRTIO_NET_S_LINK_UP);
}

void virtio_net_announce(struct virtio_net *net)
{
	if (vnet_has(net, VIRTIO_NET_F_GUEST_ANNOUNCE))
		vnet_config_status(net, VIRTIO_NET_S_ANNOUNCE, 0);
}

static int sriov_enable(struct virtio_device *vd, uint16_t num_vfs)
{
	struct virtio_net *net = virtio_device_opaque(vd);

	return net->cfg.sriov_enable ? net->cfg.sriov_enable(net->cfg.opaque, num_vfs)
				     : -EOPNOTSUPP;
}

static void sriov_disable(struct virtio_device *vd)
{
	struct virtio_net *net = virtio_device_opaque(vd);

	if (net->cfg.sriov_disable)
		net->cfg.sriov_disable(net->cfg.opaque);
}

static const struct virtio_device_ops device_ops = {
	.features_ok = features_ok,
	.driver_ok = driver_ok,
	.queue_start = queue_start,
	.queue_stop = queue_stop,
	.queue_notify = queue_notify,
	.reset = reset,
};

/* --- creation --- */

static bool config_ok(const struct virtio_net_config *cfg)
{
	return cfg->name && cfg->queue_pairs >= 1 && cfg->queue_pairs <= VIRTIO_NET_PAIRS_MAX &&
	       cfg->mtu >= MTU_MIN && cfg->mtu <= VIRTIO_NET_MTU_MAX &&
	       (!cfg->queue_size || (is_pow2(cfg->queue_size) && cfg->queue_size <= VQ_SIZE_MAX &&
				     cfg->queue_size >= QUEUE_SIZE_MIN));
}

static int alloc_queues(struct virtio_net *net)
{
	unsigned n = net->cfg.queue_pairs;

	net->rx = aligned_alloc(CACHE_LINE, n * sizeof(*net->rx));
	net->tx = aligned_alloc(CACHE_LINE, n * sizeof(*net->tx));
	net->ctrl = calloc(1, sizeof(*net->ctrl));
	if (n > 1)
		net->flows = calloc(VNET_FLOWS, sizeof(*net->flows));
	if (!net->rx || !net->tx || !net->ctrl || (n > 1 && !net->flows))
		return -ENOMEM;
	memset(net->rx, 0, n * sizeof(*net->rx));
	memset(net->tx, 0, n * sizeof(*net->tx));
	for (unsigned i = 0; i < n; i++) {
		net->rx[i].net = net->tx[i].net = net;
		net->rx[i].pair = net->tx[i].pair = i;
		net->tx[i].shape.port = &net->shape;
	}
	net->ctrl->net = net;
	net->ctrl->work.run = vnet_ctrl_run;
	return 0;
}

static void free_all(struct virtio_net *net)
{
	free(net->rx);
	free(net->tx);
	free(net->ctrl);
	free(net->flows);
	free(net);
}

static int create_device(struct virtio_net *net)
{
	const struct virtio_net_config *cfg = &net->cfg;
	struct virtio_device_desc desc = {
		.name = net->name,
		.virtio_id = VIRTIO_ID_NETWORK,
		.class_code = CLASS_ETHERNET,
		.features = net->offered,
		.num_queues = 2 * cfg->queue_pairs + 1,
		.queue_size_max = cfg->queue_size ? cfg->queue_size : QUEUE_SIZE_DEFAULT,
		.config_len = sizeof(struct virtio_net_config_space),
		.ops = &device_ops,
		.opaque = net,
		.pf = cfg->pf,
		.vf_index = cfg->vf_index,
		.total_vfs = cfg->total_vfs,
		.pool = net->pool,
		.admin_strict = cfg->admin_strict,
		.sriov_enable = sriov_enable,
		.sriov_disable = sriov_disable,
	};
	int err = virtio_device_create(&desc, &net->vd);

	if (err)
		return err;
	net->fn = virtio_device_function(net->vd);
	return 0;
}

int virtio_net_create(struct net_switch *sw, struct worker_pool *pool,
		      const struct virtio_net_config *cfg, struct virtio_net **out)
{
	struct net_port_config pc = {.kind = NET_PORT_FUNCTION, .ops = &vnet_port_ops};
	struct virtio_net *net;
	int err;

	if (!config_ok(cfg))
		return -EINVAL;
	net = aligned_alloc(CACHE_LINE, sizeof(*net));
	if (!net)
		return -ENOMEM;
	memset(net, 0, sizeof(*net));
	net->cfg = *cfg;
	net->policy = cfg->policy;
	net->pool = pool;
	snprintf(net->name, sizeof(net->name), "%s", cfg->name);
	net->cfg.name = net->name;
	net->offered = vnet_features_offered(cfg);
	atomic_store(&net->tx_pairs, 1);
	vnet_steer_default(net);
	err = alloc_queues(net);
	if (err)
		goto err_free;
	net->shape.device = cfg->shaper;
	vnet_shape_set(net);
	pc.name = net->name;
	pc.opaque = net;
	err = net_port_create(sw, &pc, &net->policy, &net->port);
	if (err)
		goto err_free;
	err = create_device(net);
	if (err)
		goto err_port;
	vnet_config_init(net);
	*out = net;
	return 0;

err_port:
	net_port_destroy(net->port);
err_free:
	free_all(net);
	return err;
}

void virtio_net_destroy(struct virtio_net *net)
{
	if (!net)
		return;
	net_port_set_active(net->port, false);
	/* Stops the queues, if a driver still has them. */
	virtio_device_destroy(net->vd);
	net->vd = NULL;
	if (net->coal_running)
		worker_remove(&net->coal_poller);
	vnet_steer_default(net);
	net_port_destroy(net->port);
	mailbox_cancel(&net->ctrl->work);
	free_all(net);
}

/* --- for the composer --- */

struct pci_function *virtio_net_function(struct virtio_net *net)
{
	return net->fn;
}

struct net_port *virtio_net_port(struct virtio_net *net)
{
	return net->port;
}

struct virtio_device *virtio_net_device(struct virtio_net *net)
{
	return net->vd;
}

int virtio_net_set_policy(struct virtio_net *net, const struct net_policy *policy)
{
	struct net_policy p = *policy;
	uint8_t old[ETH_ALEN];
	bool keep, rates;
	int err;

	memcpy(old, net_port_policy(net->port)->mac, ETH_ALEN);
	/* A driver's own choice of MAC stands while the administrator does not speak of it. */
	keep = net->mac_changed && !memcmp(policy->mac, net->policy.mac, ETH_ALEN) &&
	       (!policy->mac_by_admin || policy->trust);
	if (keep)
		memcpy(p.mac, old, ETH_ALEN);
	err = net_port_set_policy(net->port, &p);
	if (err)
		return err;
	rates = policy->max_tx_mbps != net->policy.max_tx_mbps ||
		policy->min_tx_mbps != net->policy.min_tx_mbps;
	net->policy = *policy;
	net->mac_changed = keep;
	if (rates)
		vnet_shape_set(net);
	if (memcmp(old, p.mac, ETH_ALEN))
		vnet_config_mac(net, true);
	return 0;
}

void virtio_net_shaper_changed(struct virtio_net *net)
{
	vnet_shape_set(net);
}

size_t virtio_net_memory(const struct virtio_net *net)
{
	const struct vnet_steer *steer = atomic_load(&net->steer);
	size_t n = sizeof(*net) + sizeof(*net->ctrl);

	n += net->cfg.queue_pairs * (sizeof(*net->rx) + sizeof(*net->tx));
	n += net->flows ? VNET_FLOWS * sizeof(*net->flows) : 0;
	if (!steer->simple)
		n += steer->hash_types ? sizeof(*steer) : offsetof(struct vnet_steer, toeplitz);
	for (unsigned i = 0; i < net->cfg.queue_pairs; i++)
		n += net->rx[i].fifo ? VNET_FIFO_SIZE : 0;
	return n;
}

static struct poller *running_poller(struct virtio_net *net, unsigned index)
{
	switch (queue_role(net, index)) {
	case ROLE_RX:
		return net->rx[index / 2].fifo ? &net->rx[index / 2].poller : NULL;
	case ROLE_TX:
		return net->tx[index / 2].vq ? &net->tx[index / 2].poller : NULL;
	case ROLE_CTRL:
		return net->ctrl->vq ? &net->ctrl->poller : NULL;
	default:
		return NULL;
	}
}

void virtio_net_set_poll(struct virtio_net *net, enum poller_policy policy)
{
	net->cfg.poll = policy;
	for (unsigned i = 0; i < 2 * net->cfg.queue_pairs + 1; i++) {
		struct poller *p = running_poller(net, i);

		if (p)
			poller_set_policy(p, policy);
	}
}

unsigned virtio_net_doorbells(struct virtio_net *net, int *fds, uint64_t *offsets, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 2 * net->cfg.queue_pairs + 1 && n < max; i++) {
		int fd = virtio_device_doorbell_fd(net->vd, i);
		struct poller *p = running_poller(net, i);

		/* What cannot be watched is not given: the client goes on with the register. */
		if (fd < 0 || (p && !net->doorbells && poller_watch_fd(p, fd)))
			continue;
		fds[n] = fd;
		offsets[n++] = virtio_device_doorbell_offset(net->vd, i);
	}
	net->doorbells = true; /* queues started from now on are watched too */
	return n;
}

void virtio_net_get_status(const struct virtio_net *net, struct virtio_net_status *st)
{
	const struct vnet_steer *steer = atomic_load(&net->steer);

	*st = (struct virtio_net_status){
		.driver_ok = virtio_device_driver_ok(net->vd),
		.broken = virtio_device_broken(net->vd),
		.features = virtio_device_features(net->vd),
		.pairs_max = net->cfg.queue_pairs,
		.kicks = vnet_get(&net->ctrl->kicks),
		.interrupts = vnet_get(&net->ctrl->irqs),
	};
	if (st->driver_ok)
		st->pairs_used = MAX((unsigned)steer->pairs, (unsigned)atomic_load(&net->tx_pairs));
	for (unsigned i = 0; i < net->cfg.queue_pairs; i++) {
		st->kicks += vnet_get(&net->rx[i].kicks) + vnet_get(&net->tx[i].kicks);
		st->interrupts += vnet_get(&net->rx[i].irqs) + vnet_get(&net->tx[i].irqs);
		st->remote_memory |= net->rx[i].fifo != NULL;
	}
}
