/* SPDX-License-Identifier: BSD-3-Clause */
/* The fds that a worker watches for its pollers. All on the control thread, under the lock. */
#include "worker/worker_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* A free slot's index, or -ENOMEM. */
static int watch_slot(struct worker *w)
{
	uint32_t n = w->n_watches, i;
	struct watch *grown;

	if (w->watches_free == WATCH_FREE_NONE) {
		grown = realloc(w->watches, (n * 2 + 16) * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		w->watches = grown;
		w->n_watches = n * 2 + 16;
		for (i = n; i < w->n_watches; i++) {
			grown[i] = (struct watch){.next_free = w->watches_free};
			w->watches_free = i;
		}
	}
	return (int)w->watches_free;
}

int watch_add(struct worker *w, struct poller *p, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	struct watch *watch;
	int slot;

	slot = watch_slot(w);
	if (slot < 0)
		return slot;
	watch = &w->watches[slot];
	ev.data.u64 = (uint64_t)watch->gen << 32 | (uint32_t)slot;
	if (epoll_ctl(w->epfd, EPOLL_CTL_ADD, fd, &ev))
		return -errno;
	w->watches_free = watch->next_free;
	w->watches_used++;
	watch->poller = p;
	watch->fd = fd;
	return 0;
}

void watch_del(struct worker *w, const struct poller *p, int fd)
{
	struct watch *watch;
	uint32_t i;

	for (i = 0; i < w->n_watches; i++) {
		watch = &w->watches[i];
		if (watch->poller != p || (fd >= 0 && watch->fd != fd))
			continue;
		epoll_ctl(w->epfd, EPOLL_CTL_DEL, watch->fd, NULL);
		watch->poller = NULL;
		watch->gen++;
		watch->next_free = w->watches_free;
		w->watches_free = i;
		w->watches_used--;
	}
}

int watch_copy(const struct worker *from, struct worker *to, struct poller *p)
{
	uint32_t i;
	int r;

	for (i = 0; i < from->n_watches; i++) {
		if (from->watches[i].poller != p)
			continue;
		r = watch_add(to, p, from->watches[i].fd);
		if (r) {
			watch_del(to, p, -1);
			return r;
		}
	}
	return 0;
}
