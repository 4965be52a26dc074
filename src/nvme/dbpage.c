/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doorbells as a page of memory that the client maps: a driver's store reaches the worker without
 * any message. Nobody is woken by it, so the queues of a controller that has such a page are
 * polled always.
 *
 * Attack considered: whoever has the page writes anything, at any time, also after its function was
 * reset, or given to somebody else. So a slot counts only for a queue that exists, is read as one
 * dword, and checked as any doorbell; a queue begins with 0 in it; the page's size is sealed; and
 * each client has a page of its own, dropped when it goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nvme/group_private.h"

/* The page lies in its file where it lies in the BAR: clients map at the region's offset. */
#define FILE_SIZE (NVME_DOORBELLS + PAGE_SIZE_4K)

static int sealed_file(void)
{
	int fd = memfd_create("nvme-doorbells", MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, FILE_SIZE) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int nvme_queues_map_doorbells(struct nvme_queues *q)
{
	void *page;
	int fd;

	if (q->page)
		return q->page_fd;
	if (q->ctrl->cfg.poll != POLLER_ALWAYS)
		return -EOPNOTSUPP;
	if (q->groups)
		return -EBUSY;
	fd = sealed_file();
	if (fd < 0)
		return fd;
	page = mmap(NULL, PAGE_SIZE_4K, PROT_READ | PROT_WRITE, MAP_SHARED, fd, NVME_DOORBELLS);
	if (page == MAP_FAILED) {
		close(fd);
		return -ENOMEM;
	}
	q->page = page;
	q->page_fd = fd;
	return fd;
}

void nvme_queues_unmap_doorbells(struct nvme_queues *q)
{
	if (!q->page)
		return;
	munmap((void *)q->page, PAGE_SIZE_4K);
	close(q->page_fd);
	q->page = NULL;
	q->page_fd = -1;
}

void nvme_queues_clear_doorbells(struct nvme_queues *q)
{
	for (unsigned i = 0; q->page && i < PAGE_SIZE_4K / sizeof(*q->page); i++)
		atomic_store_explicit(&q->page[i], 0, memory_order_relaxed);
}

enum poller_policy nvme_queues_policy(const struct nvme_queues *q)
{
	return q->page ? POLLER_ALWAYS : q->ctrl->cfg.poll;
}
