/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MSI-X: table, Pending Bit Array, and the way from a raised vector to an eventfd.
 *
 * In an endpoint the VMM keeps the table and hands over eventfds: a vector with an fd delivers,
 * one without is pending; Enable and mask bits mean nothing here. In a root the guest writes the
 * table, and the root turns each message into a vector of its own endpoint, which is raised
 * instead; the field fd then holds that vector's number.
 *
 * No interrupt falls between the two sides of a change. The raiser, finding no fd, sets the pending
 * bit and then looks for an fd again; the control thread stores the fd and then looks at the
 * pending bit. With sequentially consistent accesses at least one of them sees what the other
 * did, and the exchange of the bit lets exactly one deliver.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pci/state.h"
#include "util/bytes.h"
#include "util/util.h"
#include "worker/worker.h"

static uint32_t table_len(const struct pci_function *fn)
{
	return fn->desc.msix.vectors * (uint32_t)PCI_MSIX_ENTRY_SIZE;
}

static uint32_t pba_len(const struct pci_function *fn)
{
	return (fn->desc.msix.vectors + 63u) / 64 * 8;
}

static bool disjoint(uint32_t a, uint32_t a_len, uint32_t b, uint32_t b_len)
{
	return a < b ? a_len <= b - a : b_len <= a - b;
}

int pci_msix_create(struct pci_function *fn)
{
	const struct pci_msix_desc *m = &fn->desc.msix;

	if (!m->vectors)
		return 0;
	if (m->vectors > PCI_MSIX_MAX || m->bar >= PCI_NUM_BARS || m->table_off % 8 ||
	    m->pba_off % 8 || !range_ok(m->table_off, table_len(fn), fn->desc.bars[m->bar].size) ||
	    !range_ok(m->pba_off, pba_len(fn), fn->desc.bars[m->bar].size) ||
	    !disjoint(m->table_off, table_len(fn), m->pba_off, pba_len(fn)))
		return -EINVAL;
	fn->vec = calloc(m->vectors, sizeof(*fn->vec));
	if (!fn->vec)
		return -ENOMEM;
	for (unsigned i = 0; i < m->vectors; i++)
		atomic_init(&fn->vec[i].fd, -1);
	fn->vectors_max = m->vectors;
	pci_msix_reset(fn);
	return 0;
}

void pci_msix_destroy(struct pci_function *fn)
{
	if (fn->vec)
		pci_irq_set_fds(fn, 0, fn->desc.msix.vectors, NULL);
	free(fn->vec);
}

static void deliver(struct pci_function *fn, int fd)
{
	struct pci_function *parent = atomic_load_explicit(&fn->irq_parent, memory_order_acquire);

	if (parent)
		pci_irq_raise(parent, (unsigned)fd);
	else
		pci_eventfd_signal(fd);
}

void pci_irq_raise(struct pci_function *fn, unsigned vector)
{
	struct pci_irq_vector *v;
	int fd;

	if (unlikely(vector >= fn->desc.msix.vectors))
		return;
	v = &fn->vec[vector];
	fd = atomic_load_explicit(&v->fd, memory_order_acquire);
	if (unlikely(fd < 0)) {
		if (atomic_load_explicit(&fn->irq_drop, memory_order_acquire))
			return;
		atomic_store(&v->pending, true);
		fd = atomic_load(&v->fd);
		if (fd >= 0 && atomic_exchange(&v->pending, false))
			deliver(fn, fd);
	} else {
		deliver(fn, fd);
	}
	atomic_fetch_add_explicit(&v->raised, 1, memory_order_relaxed);
}

/* Returns the fd that was there. */
static int install(struct pci_function *fn, struct pci_irq_vector *v, int fd)
{
	int old = atomic_exchange(&v->fd, fd);

	if (fd >= 0 && atomic_exchange(&v->pending, false))
		deliver(fn, fd);
	return old;
}

/*
 * A client may pass any kind of fd, and nothing but an eventfd is to be written to. Anonymous
 * inodes have no file type; pipes, sockets and files do. (That no thread ever waits is seen to
 * where the eventfd is signalled; O_NONBLOCK is for where that way is closed.)
 */
static bool usable_eventfd(int fd)
{
	struct stat st;
	int flags;

	if (fstat(fd, &st) < 0 || (st.st_mode & S_IFMT))
		return false;
	flags = fcntl(fd, F_GETFL);
	return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

/* -1 and closed unless fd can be used for this vector. */
static int checked_fd(struct pci_function *fn, unsigned vector, int fd)
{
	if (fd < 0 || (vector < fn->desc.msix.vectors && fn->att.kind != PCI_OWNER_ROOT &&
		       usable_eventfd(fd)))
		return fd;
	log_guest(&fn->log_irq, "%s: refused what is no eventfd, or for no vector", fn->name);
	close(fd);
	return -1;
}

void pci_irq_set_fds(struct pci_function *fn, unsigned start, unsigned count, const int *fds)
{
	static int old[PCI_MSIX_MAX]; /* control thread only */
	const unsigned have = fn->desc.msix.vectors;
	const unsigned fit = start < have ? MIN(count, have - start) : 0;
	unsigned n = 0;

	for (unsigned i = 0; i < fit; i++) {
		old[n] = install(fn, &fn->vec[start + i],
				 fds ? checked_fd(fn, start + i, fds[i]) : -1);
		if (old[n] >= 0)
			n++;
	}
	for (unsigned i = fit; fds && i < count; i++)
		checked_fd(fn, have, fds[i]);
	if (!n)
		return;
	worker_synchronize();
	while (n)
		close(old[--n]);
}

void pci_irq_set_fd(struct pci_function *fn, unsigned vector, int fd)
{
	pci_irq_set_fds(fn, vector, 1, &fd);
}

static uint16_t control(const struct pci_function *fn)
{
	return fn->msix_cap ? get_le16(fn->cfg + fn->msix_cap + PCI_MSIX_FLAGS) : 0;
}

static bool deliverable(const struct pci_function *fn)
{
	return (control(fn) & (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)) ==
	       PCI_MSIX_FLAGS_ENABLE;
}

/* Root mode: where the vector's messages go now. */
static void resolve(struct pci_function *fn, struct pci_irq_vector *v)
{
	int target = -1;

	if (fn->att.kind != PCI_OWNER_ROOT)
		return;
	if (fn->att.irq_parent && fn->att.msi_vector && deliverable(fn) &&
	    !(v->ctrl & PCI_MSIX_ENTRY_CTRL_MASKBIT))
		target = fn->att.msi_vector(fn->att.opaque, v->addr, v->data);
	install(fn, v, target < 0 ? -1 : target);
}

void pci_msix_control_changed(struct pci_function *fn)
{
	const bool root = fn->att.kind == PCI_OWNER_ROOT;

	atomic_store(&fn->irq_drop, root && !(control(fn) & PCI_MSIX_FLAGS_ENABLE));
	if (!root)
		return;
	for (unsigned i = 0; i < fn->desc.msix.vectors; i++)
		resolve(fn, &fn->vec[i]);
	/* Once the write that masks has completed, no message leaves any more (6.1.4.5). */
	if (!deliverable(fn))
		worker_synchronize();
}

/* Table entries come up masked (7.7.2.8). The eventfds of an endpoint stay: they are the VMM's
 * idea of what is connected, and a reset is not told to it by this way. */
void pci_msix_reset(struct pci_function *fn)
{
	for (unsigned i = 0; i < fn->desc.msix.vectors; i++) {
		struct pci_irq_vector *v = &fn->vec[i];

		v->addr = 0;
		v->data = 0;
		v->ctrl = PCI_MSIX_ENTRY_CTRL_MASKBIT;
		atomic_store(&v->pending, false);
	}
	pci_msix_control_changed(fn);
}

void pci_msix_attach(struct pci_function *fn)
{
	if (fn->att.kind == PCI_OWNER_ROOT) {
		/* Eventfds and vector numbers must not be mistaken for each other. */
		pci_irq_set_fds(fn, 0, fn->desc.msix.vectors, NULL);
		atomic_store(&fn->irq_parent, fn->att.irq_parent);
	}
	/* Nobody was there to be told what was raised meanwhile. */
	pci_msix_reset(fn);
}

void pci_msix_detach(struct pci_function *fn)
{
	if (fn->att.kind != PCI_OWNER_ROOT) {
		pci_irq_set_fds(fn, 0, fn->desc.msix.vectors, NULL);
		return;
	}
	/* The reset has left no vector with a target. */
	worker_synchronize();
	atomic_store(&fn->irq_parent, NULL);
	atomic_store(&fn->irq_drop, false);
}

unsigned pci_function_num_vectors(const struct pci_function *fn)
{
	return fn->desc.msix.vectors;
}

int pci_function_set_vectors(struct pci_function *fn, uint16_t n)
{
	uint8_t *flags = fn->cfg + fn->msix_cap + PCI_MSIX_FLAGS;

	if (!fn->msix_cap || !n || n > fn->vectors_max)
		return -EINVAL;
	if (n == fn->desc.msix.vectors)
		return 0;
	if (fn->att.kind == PCI_OWNER_ENDPOINT ||
	    (!fn->in_reset && (control(fn) & PCI_MSIX_FLAGS_ENABLE)))
		return -EBUSY;
	/* Table entries of a vector that comes back are as after a reset. */
	pci_msix_reset(fn);
	fn->desc.msix.vectors = n;
	put_le16(flags, (uint16_t)((control(fn) & ~PCI_MSIX_FLAGS_QSIZE) | (n - 1)));
	/* What a reset restores, too. */
	memcpy(fn->init + fn->msix_cap + PCI_MSIX_FLAGS, flags, 2);
	return 0;
}

struct pci_irq_vector *pci_irq_vector(struct pci_function *fn, unsigned vector)
{
	return vector < fn->desc.msix.vectors ? &fn->vec[vector] : NULL;
}

/* Cuts *n at the region's begin or end, whichever comes first after off. True: off is inside. */
static bool region_claims(uint64_t off, uint32_t *n, uint32_t start, uint32_t len)
{
	if (off < start) {
		if (*n > start - off)
			*n = (uint32_t)(start - off);
		return false;
	}
	if (off - start >= len)
		return false;
	if (*n > len - (off - start))
		*n = (uint32_t)(len - (off - start));
	return true;
}

bool pci_msix_claims(const struct pci_function *fn, unsigned bar, uint64_t off, uint32_t *n)
{
	const struct pci_msix_desc *m = &fn->desc.msix;

	if (!m->vectors || bar != m->bar)
		return false;
	return region_claims(off, n, m->table_off, table_len(fn)) ||
	       region_claims(off, n, m->pba_off, pba_len(fn));
}

static void entry_pack(const struct pci_irq_vector *v, uint8_t e[PCI_MSIX_ENTRY_SIZE])
{
	put_le64(e + PCI_MSIX_ENTRY_LOWER_ADDR, v->addr);
	put_le32(e + PCI_MSIX_ENTRY_DATA, v->data);
	put_le32(e + PCI_MSIX_ENTRY_VECTOR_CTRL, v->ctrl);
}

static void entry_unpack(struct pci_irq_vector *v, const uint8_t e[PCI_MSIX_ENTRY_SIZE])
{
	v->addr = get_le64(e + PCI_MSIX_ENTRY_LOWER_ADDR) & ~3ull;
	v->data = get_le32(e + PCI_MSIX_ENTRY_DATA);
	v->ctrl = get_le32(e + PCI_MSIX_ENTRY_VECTOR_CTRL) & PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

static uint8_t pba_byte(const struct pci_function *fn, uint64_t byte)
{
	uint8_t bits = 0;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t vector = byte * 8 + i;

		if (vector < fn->desc.msix.vectors && atomic_load(&fn->vec[vector].pending))
			bits |= (uint8_t)BIT(i);
	}
	return bits;
}

void pci_msix_read(struct pci_function *fn, uint64_t off, uint8_t *buf, uint32_t len)
{
	const struct pci_msix_desc *m = &fn->desc.msix;
	uint8_t e[PCI_MSIX_ENTRY_SIZE];

	if (off < m->table_off || off - m->table_off >= table_len(fn)) {
		for (uint32_t i = 0; i < len; i++)
			buf[i] = pba_byte(fn, off - m->pba_off + i);
		return;
	}
	off -= m->table_off;
	while (len) {
		uint32_t in = off % PCI_MSIX_ENTRY_SIZE;
		uint32_t n = MIN(len, PCI_MSIX_ENTRY_SIZE - in);

		entry_pack(&fn->vec[off / PCI_MSIX_ENTRY_SIZE], e);
		memcpy(buf, e + in, n);
		off += n;
		buf += n;
		len -= n;
	}
}

void pci_msix_write(struct pci_function *fn, uint64_t off, const uint8_t *buf, uint32_t len)
{
	const struct pci_msix_desc *m = &fn->desc.msix;
	uint8_t e[PCI_MSIX_ENTRY_SIZE];

	/* The PBA is read-only. */
	if (off < m->table_off || off - m->table_off >= table_len(fn))
		return;
	off -= m->table_off;
	while (len) {
		struct pci_irq_vector *v = &fn->vec[off / PCI_MSIX_ENTRY_SIZE];
		uint32_t in = off % PCI_MSIX_ENTRY_SIZE;
		uint32_t n = MIN(len, PCI_MSIX_ENTRY_SIZE - in);

		entry_pack(v, e);
		memcpy(e + in, buf, n);
		entry_unpack(v, e);
		resolve(fn, v);
		off += n;
		buf += n;
		len -= n;
	}
}
