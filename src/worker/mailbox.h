/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work that a data-path thread hands to the control thread: a control-queue command, a broken
 * ring to report. Posting never waits for the control thread's work; run in order of posting by the
 * control thread's event loop, which watches mailbox_fd() and calls mailbox_run(). One mailbox a
 * process.
 */
#ifndef SOFTIOV_WORKER_MAILBOX_H
#define SOFTIOV_WORKER_MAILBOX_H

#include <stdatomic.h>
#include <stdint.h>

/* Embedded in its owner; zero-initialised but for run. */
struct mailbox_work {
	void (*run)(struct mailbox_work *work); /* on the control thread; may post again */
	struct mailbox_work *next;		/* private */
	_Atomic uint32_t posted;		/* private */
};

/* Opens the eventfd. Idempotent. Control, before any worker posts. 0 or -errno. */
int mailbox_init(void);
void mailbox_fini(void);
int mailbox_fd(void);

/* Queues the work once; posting what is queued already does nothing. Any thread. */
void mailbox_post(struct mailbox_work *work);

/* Runs what is queued now. What is posted meanwhile waits for the next call, for which the fd is
 * readable again: a guest that never stops asking has its turn like everybody else. Control. */
void mailbox_run(void);

/* Takes the work back: on return it is not queued and run() is not going to be called. The owner
 * has first made sure that nobody posts it again. Control. */
void mailbox_cancel(struct mailbox_work *work);

#endif
