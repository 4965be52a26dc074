/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asynchronous events (Base 5.2).
 *
 * What happened is a bit, so that any thread can post and a guest that causes events without end
 * fills nothing. The control thread tells the host, one event for each request outstanding; a type
 * that was told of is silent until its log page has been read.
 */
#include <endian.h>

#include "nvme/admin_private.h"
#include "nvme/state_private.h"
#include "util/util.h"

#define INFOS 8 /* of a type */
#define TYPES 8

static bool told(const struct nvme_events *ev, unsigned type)
{
	return ev->masked & BIT(type);
}

/* Oldest first: the host's requests are answered in the order of their coming. */
static struct nvme_command *take_aer(struct nvme_events *ev)
{
	struct nvme_command *cmd = ev->aers;

	ev->aers = cmd->next;
	ev->n_aers--;
	return cmd;
}

static bool remove_aer(struct nvme_events *ev, struct nvme_command *cmd)
{
	for (struct nvme_command **p = &ev->aers; *p; p = &(*p)->next) {
		if (*p != cmd)
			continue;
		*p = cmd->next;
		ev->n_aers--;
		return true;
	}
	return false;
}

static void tell(struct nvme_events *ev, unsigned bit)
{
	unsigned type = bit / INFOS, info = bit % INFOS;
	struct nvme_command *cmd = take_aer(ev);

	ev->masked |= BIT(type);
	cmd->dw0 = type | info << 8 | (uint32_t)atomic_load(&ev->log_page[bit]) << 16;
	nvme_command_complete(cmd, 0);
}

/* Tells what can be told now. */
static void deliver(struct nvme_events *ev)
{
	uint64_t left = atomic_load(&ev->posted);

	if (!nvme_ctrl_running(ev->ctrl))
		return;
	while (left && ev->n_aers) {
		unsigned bit = (unsigned)__builtin_ctzll(left);

		left &= left - 1;
		if (told(ev, bit / INFOS))
			continue;
		atomic_fetch_and(&ev->posted, ~BIT_ULL(bit));
		if (nvme_events_enabled(ev->ctrl, (uint8_t)(bit / INFOS)))
			tell(ev, bit);
	}
}

static void events_run(struct mailbox_work *work)
{
	deliver(container_of(work, struct nvme_events, work));
}

void nvme_event_post(struct nvme_ctrl *ctrl, uint8_t type, uint8_t info, uint8_t log_page)
{
	struct nvme_events *ev = &ctrl->admin->events;
	unsigned bit = type * INFOS + info;

	if (type >= TYPES || info >= INFOS)
		return;
	atomic_store(&ev->log_page[bit], log_page);
	atomic_fetch_or(&ev->posted, BIT_ULL(bit));
	mailbox_post(&ev->work);
}

void nvme_event_ns_changed(struct nvme_ctrl *ctrl, uint32_t nsid)
{
	/* Who has not begun looks at everything when it does. */
	if (!nvme_ctrl_running(ctrl))
		return;
	nvme_logs_ns_changed(ctrl, nsid);
	if (nvme_events_enabled(ctrl, NVME_AER_NOTICE))
		nvme_event_post(ctrl, NVME_AER_NOTICE, NVME_AER_NOTICE_NS_CHANGED,
				NVME_LOG_LID_CHANGED_NS);
}

/* Reading the page also answers what was posted but not told yet (5.2). */
void nvme_events_read(struct nvme_ctrl *ctrl, uint8_t type)
{
	struct nvme_events *ev = &ctrl->admin->events;

	atomic_fetch_and(&ev->posted, ~(0xffull << (type * INFOS)));
	ev->masked &= (uint8_t)~BIT(type);
	deliver(ev);
}

/* ---- the request ---- */

static void aer_cancel(struct nvme_command *cmd)
{
	remove_aer(&cmd->ctrl->admin->events, cmd);
}

uint16_t nvme_async_event_run(struct nvme_command *cmd)
{
	struct nvme_events *ev = &cmd->ctrl->admin->events;
	struct nvme_command **p;

	if (ev->n_aers == NVME_AERS_MAX)
		return NVME_ST_CMD(NVME_SC_ASYNC_LIMIT);
	cmd->next = NULL;
	cmd->cancel = aer_cancel;
	for (p = &ev->aers; *p; p = &(*p)->next)
		;
	*p = cmd;
	ev->n_aers++;
	/* Not from here: it may be answered only once it is pending. */
	if (atomic_load(&ev->posted))
		mailbox_post(&ev->work);
	return NVME_ST_PENDING;
}

bool nvme_events_abort(struct nvme_ctrl *ctrl, uint16_t cid)
{
	struct nvme_events *ev = &ctrl->admin->events;

	for (struct nvme_command *cmd = ev->aers; cmd; cmd = cmd->next) {
		if (le16toh(cmd->sqe.cid) != cid)
			continue;
		remove_aer(ev, cmd);
		nvme_command_complete(cmd, NVME_SC_ABORT_REQ);
		return true;
	}
	return false;
}

void nvme_events_reset(struct nvme_ctrl *ctrl)
{
	struct nvme_events *ev = &ctrl->admin->events;

	mailbox_cancel(&ev->work);
	atomic_store(&ev->posted, 0);
	ev->masked = 0;
}

void nvme_events_init(struct nvme_ctrl *ctrl)
{
	ctrl->admin->events.ctrl = ctrl;
	ctrl->admin->events.work.run = events_run;
}

void nvme_events_fini(struct nvme_ctrl *ctrl)
{
	mailbox_cancel(&ctrl->admin->events.work);
}
