/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands for the control thread: there and back.
 *
 *   worker   reads what the host sends, posts          nvme_transport_send()
 *   control  runs it; it may stay pending              run(), nvme_command_complete()
 *   worker   writes what goes to the host, completes   nvme_transport_poll()
 *
 * A transport is on its group's list, the worker's, all the time. It is freed by the worker at the
 * end, or with the group.
 */
#include <stdlib.h>

#include "nvme/group_private.h"

struct nvme_transport {
	struct nvme_command cmd;
	struct mailbox_work work;
	struct nvme_group *g;
	/* worker */
	struct nvme_io *io;
	struct nvme_transport *prev, *next;
	struct nvme_transport *back_next; /* on the way back; to be written */
	bool event; /* an Asynchronous Event Request that may stay as long as it likes */
	/* control */
	struct nvme_transport *pending_prev, *pending_next;
	bool is_pending, completed;
	unsigned holds; /* ops of other groups that must be done first */
	uint16_t status;
};

static struct nvme_transport *transport_of(struct nvme_command *cmd)
{
	return container_of(cmd, struct nvme_transport, cmd);
}

/* ---- control ---- */

static void send_back(struct nvme_transport *t)
{
	struct nvme_group *g = t->g;

	t->back_next = atomic_load(&g->returned);
	while (!atomic_compare_exchange_weak(&g->returned, &t->back_next, t))
		;
	poller_kick(&g->poller);
}

/* Whose turn it is in run() stays until that is over: the worker frees it. */
static void send_back_if_done(struct nvme_transport *t)
{
	if (t->completed && !t->holds && t->g->q->running != t)
		send_back(t);
}

static void finish(struct nvme_transport *t, uint16_t status)
{
	t->status = status;
	t->completed = true;
	send_back_if_done(t);
}

void nvme_transport_hold(struct nvme_transport *t)
{
	t->holds++;
}

void nvme_transport_unhold(struct nvme_transport *t)
{
	t->holds--;
	send_back_if_done(t);
}

static void pending_add(struct nvme_queues *q, struct nvme_transport *t)
{
	t->is_pending = true;
	t->pending_prev = NULL;
	t->pending_next = q->pending;
	if (q->pending)
		q->pending->pending_prev = t;
	q->pending = t;
}

static void pending_del(struct nvme_queues *q, struct nvme_transport *t)
{
	t->is_pending = false;
	if (t->pending_prev)
		t->pending_prev->pending_next = t->pending_next;
	else
		q->pending = t->pending_next;
	if (t->pending_next)
		t->pending_next->pending_prev = t->pending_prev;
}

static void run(struct mailbox_work *work)
{
	struct nvme_transport *t = container_of(work, struct nvme_transport, work);
	struct nvme_queues *q = t->g->q;
	uint16_t st;

	/* A reset has begun: it ends with its group. */
	if (atomic_load(&t->g->stopping))
		return;
	q->running = t;
	st = t->cmd.sqid ? nvme_resv_run(&t->cmd) : nvme_admin_run(&t->cmd);
	q->running = NULL;
	if (t->completed) /* within the call */
		send_back_if_done(t);
	else if (st == NVME_ST_PENDING)
		pending_add(q, t);
	else
		finish(t, st);
}

void nvme_command_complete(struct nvme_command *cmd, uint16_t status)
{
	struct nvme_transport *t = transport_of(cmd);

	if (t->is_pending)
		pending_del(t->g->q, t);
	finish(t, status);
}

/* Their owners let go of them; they go with their groups. */
void nvme_transport_cancel_pending(struct nvme_queues *q)
{
	struct nvme_transport *t;

	while ((t = q->pending)) {
		pending_del(q, t);
		if (t->cmd.cancel)
			t->cmd.cancel(&t->cmd);
	}
}

static void transport_free(struct nvme_transport *t)
{
	free(t->cmd.data);
	free(t);
}

void nvme_transport_free_all(struct nvme_group *g)
{
	struct nvme_transport *t;

	while ((t = g->commands)) {
		g->commands = t->next;
		mailbox_cancel(&t->work);
		if (t->is_pending)
			pending_del(g->q, t);
		transport_free(t);
	}
}

/* ---- worker ---- */

static void link_transport(struct nvme_group *g, struct nvme_transport *t)
{
	t->prev = NULL;
	t->next = g->commands;
	if (t->next)
		t->next->prev = t;
	g->commands = t;
}

static void unlink_transport(struct nvme_group *g, struct nvme_transport *t)
{
	if (t->prev)
		t->prev->next = t->next;
	else
		g->commands = t->next;
	if (t->next)
		t->next->prev = t->prev;
}

/* Events asked for may stay for ever, and must not take the place of other commands. Those beyond
 * what there may be are refused like any other command, and as many at a time. */
static void leave_to_control(struct nvme_group *g, struct nvme_transport *t)
{
	struct nvme_io *io = t->io;

	io->where = IO_CONTROL;
	link_transport(g, t);
	if (t->event) {
		io->reserves = false;
		g->outstanding--;
		g->events_asked++;
	} else {
		g->at_control++;
	}
	nvme_io_wait(g, io);
	mailbox_post(&t->work);
}

uint16_t nvme_transport_send(struct nvme_group *g, struct nvme_io *io)
{
	bool admin = !io->sq->qid, to_host = false;
	struct nvme_transport *t;
	uint16_t st = 0;
	uint32_t len;

	len = admin ? nvme_admin_data_len(&io->sqe, &to_host)
		    : nvme_resv_data_len(&io->sqe, &to_host);
	/* 4.1: SGLs are for I/O commands */
	if (len > NVME_COMMAND_DATA_MAX || (admin && NVME_SQE_PSDT(io->sqe.flags)) ||
	    NVME_SQE_FUSE(io->sqe.flags))
		return NVME_ST_GENERIC(NVME_SC_INVALID_FIELD);
	t = calloc(1, sizeof(*t));
	if (!t)
		return NVME_ST_RETRY;
	if (len) {
		t->cmd.data = calloc(1, len);
		nvme_turn_charge(g, len);
		st = t->cmd.data ? 0 : NVME_ST_RETRY;
		if (!st && !to_host)
			st = nvme_dptr_read(&g->mem, &io->sqe, t->cmd.data, len);
	}
	if (st) {
		transport_free(t);
		return st;
	}
	t->cmd.ctrl = g->ctrl;
	t->cmd.sqe = io->sqe;
	t->cmd.sqid = io->sq->qid;
	t->cmd.len = len;
	t->cmd.to_host = to_host;
	t->g = g;
	t->io = io;
	t->work.run = run;
	t->event = admin && io->sqe.opcode == nvme_admin_async_event &&
		   g->events_asked < NVME_AERS_MAX;
	leave_to_control(g, t);
	return NVME_ST_PENDING;
}

/* False: what goes to the host could not be written now. */
static bool complete(struct nvme_group *g, struct nvme_transport *t)
{
	struct nvme_command *cmd = &t->cmd;
	uint16_t st = t->status;

	nvme_turn_charge(g, cmd->len);
	if (!st && cmd->to_host && cmd->len)
		st = nvme_dptr_write(&g->mem, &cmd->sqe, cmd->data, cmd->len);
	if (st == NVME_ST_RETRY)
		return false;
	unlink_transport(g, t);
	if (t->event)
		g->events_asked--;
	else
		g->at_control--;
	t->io->dw0 = cmd->dw0;
	t->io->where = IO_NOWHERE;
	nvme_io_complete(g, t->io, st);
	transport_free(t);
	return true;
}

unsigned nvme_transport_poll(struct nvme_group *g)
{
	struct nvme_transport *t = atomic_exchange(&g->returned, NULL), *next, **end;
	unsigned n = 0;

	/* the last one to be returned is the first in the list */
	struct nvme_transport *list = NULL;

	for (; t; t = next) {
		next = t->back_next;
		t->back_next = list;
		list = t;
	}
	for (end = &g->writeback; *end; end = &(*end)->back_next)
		;
	*end = list;
	while ((t = g->writeback) && !nvme_turn_over(g)) {
		next = t->back_next;
		if (!complete(g, t))
			break;
		g->writeback = next;
		n++;
	}
	return n;
}
