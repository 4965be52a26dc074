/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The administration virtqueue of a PF (virtio 1.3, 2.13): the list commands, for the self group
 * and the SR-IOV group.
 *
 * One command at a time: its poller copies it and gives the chain back; the control thread, which
 * owns what commands are about, executes the copy; the poller then takes the chain again and
 * writes the answer into whatever buffers it has now. So nothing of the guest's is held while
 * waiting, and a withdrawal of DMA half-way only makes the command run once more.
 *
 * Structures of any length are served: input that is missing reads as 0, surplus is ignored, and
 * of the answer as much is written as fits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "virtio/dev_private.h"

#define ADMIN_BUFS   64
#define ADMIN_IN_MAX 4096

/* The command's layout. */
#define CMD_OPCODE 0
#define CMD_GROUP  2
#define CMD_MEMBER 16
#define CMD_DATA   24
#define RES_STATUS 0
#define RES_QUAL   2
#define RES_DATA   8
#define RES_MAX	   16

enum { OP_LIST_QUERY, OP_LIST_USE };
#define OPS_SUPPORTED (BIT(OP_LIST_QUERY) | BIT(OP_LIST_USE))

enum admin_group { GROUP_SELF, GROUP_SRIOV, GROUPS };

/* Status is an errno of the standard's own list; the qualifier says more. */
enum admin_qualifier {
	QUAL_OK,
	QUAL_INVALID_COMMAND,
	QUAL_INVALID_OPCODE,
	QUAL_INVALID_FIELD,
	QUAL_INVALID_GROUP,
	QUAL_INVALID_MEMBER,
};
#define STATUS_EINVAL 22

enum admin_state { ADMIN_IDLE, ADMIN_BUSY, ADMIN_DONE };

struct virtio_admin {
	struct virtio_device *vd;
	struct poller poller;
	struct virtqueue *vq;
	struct mailbox_work work;
	_Atomic unsigned state;
	uint64_t in_use[GROUPS]; /* opcodes, a bit each; control */
	uint8_t cmd[ADMIN_IN_MAX];
	unsigned cmd_len;
	uint8_t result[RES_MAX];
	unsigned result_len;
};

/* ---- commands (control thread) ---- */

static enum admin_qualifier list_use(struct virtio_admin *a, enum admin_group group)
{
	uint64_t wanted = 0;
	unsigned i;

	for (i = CMD_DATA; i < a->cmd_len; i++) {
		unsigned byte = i - CMD_DATA;

		if (byte < 8)
			wanted |= (uint64_t)a->cmd[i] << (8 * byte);
		else if (a->cmd[i])
			return QUAL_INVALID_FIELD;
	}
	if (wanted & ~(uint64_t)OPS_SUPPORTED)
		return QUAL_INVALID_FIELD;
	a->in_use[group] = wanted;
	return QUAL_OK;
}

/*
 * The letter of 2.13.1: no SR-IOV group while VF Enable is clear, and members are 1 to NumVFs.
 * Linux asks for the lists with member 0 before any VF exists, and takes a refusal to mean that
 * the device can do nothing; so the list commands, which concern no member, are answered unless
 * the administrator wants the letter.
 */
static enum admin_qualifier check_strictly(const struct virtio_admin *a, enum admin_group group)
{
	uint16_t num_vfs = pci_pf_num_vfs(a->vd->fn);
	uint64_t member = get_le64(a->cmd + CMD_MEMBER);

	if (!a->vd->desc.admin_strict || group != GROUP_SRIOV)
		return QUAL_OK;
	if (!num_vfs)
		return QUAL_INVALID_GROUP;
	return member >= 1 && member <= num_vfs ? QUAL_OK : QUAL_INVALID_MEMBER;
}

static enum admin_qualifier execute(struct virtio_admin *a)
{
	uint16_t op = get_le16(a->cmd + CMD_OPCODE), group = get_le16(a->cmd + CMD_GROUP);
	enum admin_qualifier strict;

	if (group >= GROUPS)
		return QUAL_INVALID_GROUP;
	/* Group, then opcode, then member; nothing has changed when one of them fails. */
	strict = check_strictly(a, group);
	if (strict == QUAL_INVALID_GROUP)
		return strict;
	if (op >= 64 || !(a->in_use[group] & BIT_ULL(op)))
		return QUAL_INVALID_OPCODE;
	if (strict)
		return strict;
	if (op == OP_LIST_USE)
		return list_use(a, group);
	put_le64(a->result + RES_DATA, OPS_SUPPORTED);
	a->result_len = RES_DATA + 8;
	return QUAL_OK;
}

static void admin_run(struct mailbox_work *work)
{
	struct virtio_admin *a = container_of(work, struct virtio_admin, work);
	enum admin_qualifier q;

	memset(a->result, 0, sizeof(a->result));
	a->result_len = RES_DATA;
	q = execute(a);
	if (q != QUAL_OK) {
		put_le16(a->result + RES_STATUS, STATUS_EINVAL);
		put_le16(a->result + RES_QUAL, (uint16_t)q);
	}
	atomic_store(&a->state, ADMIN_DONE);
	poller_kick(&a->poller);
}

/* ---- the queue (its worker) ---- */

static unsigned copy_command(struct virtio_admin *a, const struct vq_chain *chain)
{
	unsigned i, n, done = 0;

	memset(a->cmd, 0, CMD_DATA);
	for (i = 0; i < chain->n_out && done < sizeof(a->cmd); i++, done += n) {
		n = MIN(chain->bufs[i].len, (uint32_t)sizeof(a->cmd) - done);
		memcpy(a->cmd + done, chain->bufs[i].ptr, n);
	}
	return done;
}

static uint32_t write_result(const struct virtio_admin *a, const struct vq_chain *chain)
{
	unsigned i, n, done = 0;

	for (i = chain->n_out; i < chain->n_out + chain->n_in && done < a->result_len;
	     i++, done += n) {
		n = MIN(chain->bufs[i].len, a->result_len - done);
		memcpy(chain->bufs[i].ptr, a->result + done, n);
	}
	return done;
}

static unsigned admin_poll(struct poller *p)
{
	struct virtio_admin *a = container_of(p, struct virtio_admin, poller);
	struct dma_space *dma = pci_function_dma(a->vd->fn);
	unsigned state = atomic_load(&a->state);
	struct vq_buf bufs[ADMIN_BUFS];
	struct vq_chain chain;
	int n;

	if (!dma || state == ADMIN_BUSY || virtio_device_broken(a->vd))
		return 0;
	n = vq_begin(a->vq, dma_view_get(dma));
	if (!n)
		n = vq_pop(a->vq, &chain, bufs, ADMIN_BUFS);
	if (n < 0)
		virtio_device_set_needs_reset(a->vd, "admin queue broken");
	if (n <= 0) {
		/* No chain for the answer: the driver took the command back. Its worker, which
		 * serves others too, must not wait for another one. */
		atomic_store(&a->state, ADMIN_IDLE);
		return 0;
	}
	if (state == ADMIN_IDLE) {
		a->cmd_len = copy_command(a, &chain);
		vq_unpop(a->vq, 1, chain.ndescs);
		atomic_store(&a->state, ADMIN_BUSY);
		mailbox_post(&a->work);
		return POLLER_COST_SMALL;
	}
	vq_push(a->vq, &chain, write_result(a, &chain));
	atomic_store(&a->state, ADMIN_IDLE);
	if (vq_publish(a->vq))
		virtio_device_queue_irq(a->vd, a->vd->desc.num_queues);
	return POLLER_COST_SMALL;
}

static bool admin_arm(struct poller *p)
{
	struct virtio_admin *a = container_of(p, struct virtio_admin, poller);
	unsigned state = atomic_load(&a->state);

	if (state == ADMIN_BUSY || virtio_device_broken(a->vd) || !pci_function_dma(a->vd->fn))
		return false;
	return state == ADMIN_DONE || vq_arm(a->vq);
}

static void admin_disarm(struct poller *p)
{
	struct virtio_admin *a = container_of(p, struct virtio_admin, poller);

	if (pci_function_dma(a->vd->fn))
		vq_disarm(a->vq);
}

static const struct poller_ops admin_poller_ops = {
	.poll = admin_poll,
	.arm = admin_arm,
	.disarm = admin_disarm,
};

/* ---- life ---- */

int admin_create(struct virtio_device *vd)
{
	struct virtio_admin *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->vd = vd;
	a->poller.ops = &admin_poller_ops;
	a->poller.name = vd->name;
	a->work.run = admin_run;
	vd->admin = a;
	admin_reset(vd);
	return 0;
}

void admin_destroy(struct virtio_device *vd)
{
	free(vd->admin);
	vd->admin = NULL;
}

void admin_reset(struct virtio_device *vd)
{
	unsigned i;

	for (i = 0; vd->admin && i < GROUPS; i++)
		vd->admin->in_use[i] = OPS_SUPPORTED;
}

int admin_start(struct virtio_device *vd, struct virtqueue *vq)
{
	struct virtio_admin *a = vd->admin;
	struct worker *w = virtio_device_worker(vd);
	int fd;

	if (!w)
		return -ENOMEM;
	a->vq = vq;
	atomic_store(&a->state, ADMIN_IDLE);
	a->poller.kind = "admin";
	a->poller.number = POLLER_ONLY;
	a->poller.movable = true;
	worker_add(w, &a->poller);
	/* a client may ask for the doorbell's eventfd later */
	fd = virtio_device_doorbell_fd(vd, vd->desc.num_queues);
	if (fd >= 0)
		poller_watch_fd(&a->poller, fd);
	return 0;
}

void admin_stop(struct virtio_device *vd)
{
	worker_remove(&vd->admin->poller);
	mailbox_cancel(&vd->admin->work);
	vd->admin->vq = NULL;
}

void admin_kick(struct virtio_device *vd)
{
	poller_kick(&vd->admin->poller);
}
