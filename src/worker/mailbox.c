/* SPDX-License-Identifier: BSD-3-Clause */
#include "worker/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * A mutex is enough: posts are rare (commands, errors), never per frame. The list keeps order, and
 * a work item is on it at most once.
 */
static struct {
	pthread_mutex_t lock;
	struct mailbox_work *head, **tail;
	unsigned n;
	int fd;
} box = {.lock = PTHREAD_MUTEX_INITIALIZER, .tail = &box.head, .fd = -1};

int mailbox_init(void)
{
	if (box.fd >= 0)
		return 0;
	box.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return box.fd < 0 ? -errno : 0;
}

void mailbox_fini(void)
{
	if (box.fd >= 0)
		close(box.fd);
	box.fd = -1;
}

int mailbox_fd(void)
{
	return box.fd;
}

void mailbox_post(struct mailbox_work *work)
{
	bool was_empty;

	if (atomic_exchange(&work->posted, 1))
		return;
	pthread_mutex_lock(&box.lock);
	was_empty = !box.head;
	work->next = NULL;
	*box.tail = work;
	box.tail = &work->next;
	box.n++;
	pthread_mutex_unlock(&box.lock);
	if (was_empty)
		eventfd_write(box.fd, 1);
}

static unsigned count(void)
{
	unsigned n;

	pthread_mutex_lock(&box.lock);
	n = box.n;
	pthread_mutex_unlock(&box.lock);
	return n;
}

static struct mailbox_work *take_one(void)
{
	struct mailbox_work *work;

	pthread_mutex_lock(&box.lock);
	work = box.head;
	if (work) {
		box.head = work->next;
		if (!box.head)
			box.tail = &box.head;
		box.n--;
	}
	pthread_mutex_unlock(&box.lock);
	return work;
}

void mailbox_run(void)
{
	struct mailbox_work *work;
	unsigned left;
	eventfd_t n;

	eventfd_read(box.fd, &n);
	for (left = count(); left && (work = take_one()); left--) {
		/* an exchange: what was published before a post that found it queued is seen */
		atomic_exchange(&work->posted, 0);
		work->run(work);
	}
	if (count())
		eventfd_write(box.fd, 1);
}

void mailbox_cancel(struct mailbox_work *work)
{
	struct mailbox_work **p;

	pthread_mutex_lock(&box.lock);
	for (p = &box.head; *p; p = &(*p)->next) {
		if (*p != work)
			continue;
		*p = work->next;
		if (!*p)
			box.tail = p;
		box.n--;
		break;
	}
	pthread_mutex_unlock(&box.lock);
	atomic_store(&work->posted, 0);
}
