/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts: their description, and SET_IRQS. */
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/util.h"
#include "vfio_user/session.h"

static uint32_t irq_count(const struct vfu_session *s, uint32_t index)
{
	switch (index) {
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return pci_function_num_vectors(s->cfg.fn);
	case VFIO_PCI_ERR_IRQ_INDEX:
		return 1; /* never signalled: QEMU would stop the VM. Zero makes it warn. */
	default:
		return 0; /* no INTx, no MSI; QEMU never takes REQ from vfio-user */
	}
}

/* NORESIZE is not set for MSI-X: with it QEMU tears all vectors down whenever one comes into use.
 */
int vfu_handle_irq_info(struct vfu_session *s, struct vfu_msg *m)
{
	struct vfio_irq_info req, info = {.argsz = sizeof(info)};

	memcpy(&req, m->body, sizeof(req));
	if (req.argsz < sizeof(req.argsz) || req.index >= VFU_NUM_IRQS)
		return -EINVAL;
	info.index = req.index;
	info.flags = VFIO_IRQ_INFO_EVENTFD;
	info.count = irq_count(s, req.index);
	vfu_reply_argsz(s, m, &info, sizeof(info), req.argsz);
	return 0;
}

/* Only an eventfd will do: writing to anything else could block a worker or reach a file. Without
 * /proc to ask, anything that has a type of its own is refused. */
static bool is_eventfd(int fd)
{
	char link[32], target[64];
	struct stat st;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, target, sizeof(target) - 1);
	if (n >= 0) {
		target[n] = '\0';
		return !strcmp(target, "anon_inode:[eventfd]");
	}
	return !fstat(fd, &st) && !(st.st_mode & S_IFMT);
}

static int set_eventfds(struct vfu_session *s, struct vfu_msg *m, const struct vfio_irq_set *set)
{
	/* No descriptor at all de-assigns the vectors named. */
	if (!set->count || (m->nfds && m->nfds != set->count))
		return -EINVAL;
	for (unsigned i = 0; i < m->nfds; i++)
		if (!is_eventfd(m->fds[i]))
			return -EINVAL;
	if (set->index != VFIO_PCI_MSIX_IRQ_INDEX)
		return 0; /* ERR: accepted, its descriptor closed with the message */
	pci_irq_set_fds(s->cfg.fn, set->start, set->count, m->nfds ? m->fds : NULL);
	m->nfds = 0; /* they belong to the function now */
	return 0;
}

static int disable_all(struct vfu_session *s, uint32_t index)
{
	if (index == VFIO_PCI_MSIX_IRQ_INDEX)
		pci_irq_set_fds(s->cfg.fn, 0, pci_function_num_vectors(s->cfg.fn), NULL);
	return 0;
}

/* The client's way to test delivery: raises the vectors, all or those whose byte is not zero. */
static int trigger(struct vfu_session *s, const struct vfu_msg *m, const struct vfio_irq_set *set)
{
	const uint8_t *bytes = NULL;

	if (m->nfds)
		return -EINVAL;
	if (set->flags & VFIO_IRQ_SET_DATA_BOOL) {
		if (!set->count || set->count > m->len - sizeof(*set))
			return -EINVAL;
		bytes = m->body + sizeof(*set);
	} else if (!set->count) {
		return set->start ? -EINVAL : disable_all(s, set->index);
	}
	if (set->index != VFIO_PCI_MSIX_IRQ_INDEX)
		return 0;
	for (uint32_t i = 0; i < set->count; i++)
		if (!bytes || bytes[i])
			pci_irq_raise(s->cfg.fn, set->start + i);
	return 0;
}

/* SET_IRQS. A mask or resample request needs INTx, which no function has. */
int vfu_handle_set_irqs(struct vfu_session *s, struct vfu_msg *m)
{
	const uint32_t known = VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK;
	struct vfio_irq_set set;
	uint32_t data;
	int err;

	memcpy(&set, m->body, sizeof(set));
	data = set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	if (set.argsz < sizeof(set) || set.flags & ~known || set.index >= VFU_NUM_IRQS ||
	    (set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) != VFIO_IRQ_SET_ACTION_TRIGGER ||
	    !is_pow2(data) || !range_ok(set.start, set.count, irq_count(s, set.index)))
		return -EINVAL;
	if (data == VFIO_IRQ_SET_DATA_EVENTFD)
		err = set_eventfds(s, m, &set);
	else
		err = trigger(s, m, &set);
	if (err)
		return err;
	if (data == VFIO_IRQ_SET_DATA_EVENTFD || !set.count)
		if (s->cfg.ops->irqs_changed)
			s->cfg.ops->irqs_changed(s->cfg.opaque);
	vfu_reply(s, m, NULL, 0, NULL, 0);
	return 0;
}
