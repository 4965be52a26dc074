/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control queue (virtio 1.3, 5.1.6.5). Its poller copies a command, leaves the chain in the
 * ring and posts the command to the control thread; when that kicks it, it takes the chain again
 * and writes the answer. What a driver changes in the ring meanwhile harms only itself.
 */
#include <linux/virtio_config.h>
#include <string.h>

#include "virtio_net/vnet.h"

unsigned vnet_ctrl_index(const struct virtio_net *net)
{
	if (vnet_has(net, VIRTIO_NET_F_MQ) || vnet_has(net, VIRTIO_NET_F_RSS))
		return 2 * net->cfg.queue_pairs;
	return 2;
}

static uint8_t dispatch(struct vnet_cmd *c)
{
	static const struct {
		uint8_t (*run)(struct vnet_cmd *c);
	} classes[] = {
		[VIRTIO_NET_CTRL_RX] = {vnet_ctrl_rx},
		[VIRTIO_NET_CTRL_MAC] = {vnet_ctrl_mac},
		[VIRTIO_NET_CTRL_VLAN] = {vnet_ctrl_vlan},
		[VIRTIO_NET_CTRL_ANNOUNCE] = {vnet_ctrl_announce},
		[VIRTIO_NET_CTRL_MQ] = {vnet_ctrl_mq},
		[VIRTIO_NET_CTRL_GUEST_OFFLOADS] = {vnet_ctrl_offloads},
		[VNET_CTRL_COAL] = {vnet_ctrl_coal},
		[VNET_CTRL_STATS] = {vnet_ctrl_stats},
	};

	if (c->class >= ARRAY_SIZE(classes) || !classes[c->class].run)
		return VIRTIO_NET_ERR;
	return classes[c->class].run(c);
}

void vnet_ctrl_run(struct mailbox_work *work)
{
	struct vnet_ctrl *ctrl = container_of(work, struct vnet_ctrl, work);
	struct vnet_cmd c = {
		.net = ctrl->net,
		.class = ctrl->cmd[0],
		.cmd = ctrl->cmd[1],
		.data = ctrl->cmd + sizeof(struct virtio_net_ctrl_hdr),
		.len = ctrl->cmd_len - sizeof(struct virtio_net_ctrl_hdr),
		.reply = ctrl->reply,
		.reply_max = ctrl->reply_max,
	};

	ctrl->ack = dispatch(&c);
	ctrl->reply_len = ctrl->ack == VIRTIO_NET_OK ? c.reply_len : 0;
	vnet_add(&ctrl->commands, 1);
	vnet_add(&ctrl->ok, ctrl->ack == VIRTIO_NET_OK);
	atomic_store_explicit(&ctrl->state, VNET_CTRL_DONE, memory_order_release);
	poller_kick(&ctrl->poller);
}

static bool ready(struct vnet_ctrl *ctrl)
{
	struct dma_space *dma = pci_function_dma(ctrl->net->fn);

	if (ctrl->broken || !dma)
		return false;
	if (vq_begin(ctrl->vq, dma_view_get(dma)) == 0)
		return true;
	ctrl->broken = true;
	vnet_break(ctrl->net, "control queue not accessible");
	return false;
}

static void copy_in(const struct vq_chain *chain, uint8_t *dst)
{
	for (unsigned i = 0; i < chain->n_out; i++) {
		memcpy(dst, chain->bufs[i].ptr, chain->bufs[i].len);
		dst += chain->bufs[i].len;
	}
}

/* The ack, then the command's result (5.1.6.5), as much as fits. Returns the bytes written. */
static uint32_t answer(const struct vq_chain *chain, uint8_t ack, const uint8_t *reply,
		       uint32_t reply_len)
{
	const struct vq_buf *buf = chain->bufs + chain->n_out;
	uint32_t done = 0;

	for (unsigned i = 0; i < chain->n_in && done < 1 + reply_len; i++, buf++) {
		uint8_t *dst = buf->ptr;
		uint32_t room = buf->len, m;

		if (!done && room) {
			*dst++ = ack;
			room--;
			done = 1;
		}
		m = MIN(room, 1 + reply_len - done);
		memcpy(dst, reply + done - 1, m);
		done += m;
	}
	return done;
}

static void complete(struct vnet_ctrl *ctrl, const struct vq_chain *chain, uint8_t ack,
		     uint32_t reply_len)
{
	uint32_t n = chain->n_in ? answer(chain, ack, ctrl->reply, reply_len) : 0;

	vq_push(ctrl->vq, chain, n);
	if (vq_publish(ctrl->vq)) {
		vnet_add(&ctrl->irqs, 1);
		virtio_device_queue_irq(ctrl->net->vd, vnet_ctrl_index(ctrl->net));
	}
}

static void submit(struct vnet_ctrl *ctrl, const struct vq_chain *chain)
{
	/* No room for an ack, or no command: answered at once. */
	if (chain->out_len < sizeof(struct virtio_net_ctrl_hdr) ||
	    chain->out_len > sizeof(ctrl->cmd) || !chain->in_len) {
		complete(ctrl, chain, VIRTIO_NET_ERR, 0);
		return;
	}
	copy_in(chain, ctrl->cmd);
	ctrl->cmd_len = chain->out_len;
	ctrl->reply_max = MIN(chain->in_len - 1, (uint32_t)sizeof(ctrl->reply));
	vq_unpop(ctrl->vq, 1, chain->ndescs);
	atomic_store_explicit(&ctrl->state, VNET_CTRL_BUSY, memory_order_relaxed);
	mailbox_post(&ctrl->work);
}

static unsigned ctrl_poll(struct poller *p)
{
	struct vnet_ctrl *ctrl = container_of(p, struct vnet_ctrl, poller);
	int state = atomic_load_explicit(&ctrl->state, memory_order_acquire);
	struct vq_buf *bufs = vnet_scratch()->tx_bufs;
	struct vq_chain chain;
	int r;

	if (state == VNET_CTRL_BUSY || !ready(ctrl))
		return 0;
	r = vq_pop(ctrl->vq, &chain, bufs, VQ_BUFS_MAX);
	if (r < 0) {
		ctrl->broken = true;
		vnet_break(ctrl->net, "control queue breaks the rules");
	}
	if (r <= 0) {
		/* The driver took back what it had asked. */
		atomic_store_explicit(&ctrl->state, VNET_CTRL_IDLE, memory_order_relaxed);
		return 0;
	}
	if (state == VNET_CTRL_DONE) {
		complete(ctrl, &chain, ctrl->ack, ctrl->reply_len);
		atomic_store_explicit(&ctrl->state, VNET_CTRL_IDLE, memory_order_relaxed);
	} else {
		submit(ctrl, &chain);
	}
	return POLLER_COST_SMALL;
}

static bool ctrl_arm(struct poller *p)
{
	struct vnet_ctrl *ctrl = container_of(p, struct vnet_ctrl, poller);

	switch (atomic_load_explicit(&ctrl->state, memory_order_acquire)) {
	case VNET_CTRL_BUSY:
		return false; /* the control thread will kick */
	case VNET_CTRL_DONE:
		return true;
	default:
		return ready(ctrl) && vq_arm(ctrl->vq);
	}
}

static void ctrl_disarm(struct poller *p)
{
	struct vnet_ctrl *ctrl = container_of(p, struct vnet_ctrl, poller);

	if (ready(ctrl))
		vq_disarm(ctrl->vq);
}

const struct poller_ops vnet_ctrl_poller = {
	.poll = ctrl_poll,
	.arm = ctrl_arm,
	.disarm = ctrl_disarm,
};
