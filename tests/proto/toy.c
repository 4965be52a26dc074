/* SPDX-License-Identifier: BSD-3-Clause */
#include "toy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/util.h"

static unsigned toy_poll(struct poller *p)
{
	struct toy *t = container_of(p, struct toy, poller);
	struct dma_space *s = pci_function_dma(t->fn);
	uint32_t mode = atomic_load(&t->mode);
	uint32_t len = atomic_load(&t->len);
	int err = -ENODEV;

	if (!mode)
		return 0;
	if (s) {
		err = dma_read(s, atomic_load(&t->src), t->buf, len);
		if (!err)
			err = dma_write(s, atomic_load(&t->dst), t->buf, len);
	}
	atomic_fetch_add(&t->rounds, 1);
	if (mode == 2 && s)
		return 1;
	atomic_store(&t->mode, 0);
	atomic_store(&t->error, (uint32_t)-err);
	atomic_store(&t->status, err ? TOY_FAILED : TOY_DONE);
	pci_irq_raise(t->fn, atomic_load(&t->vector));
	return 1;
}

static const struct poller_ops toy_poller_ops = {.poll = toy_poll};

static _Atomic uint32_t *reg32(struct toy *t, uint64_t off)
{
	switch (off) {
	case TOY_LEN:
		return &t->len;
	case TOY_VECTOR:
		return &t->vector;
	case TOY_STATUS:
		return &t->status;
	case TOY_ERRNO:
		return &t->error;
	case TOY_DOORBELL:
		return &t->mode;
	case TOY_ROUNDS:
		return &t->rounds;
	case TOY_RESETS:
		return &t->resets;
	default:
		return NULL;
	}
}

static void bar_read(struct pci_function *fn, unsigned bar, uint64_t off, void *buf, uint32_t len)
{
	struct toy *t = pci_function_opaque(fn);
	_Atomic uint32_t *r = reg32(t, off);

	memset(buf, 0, len);
	if (bar != 0)
		return;
	if (range_ok(off, len, sizeof(t->scratch)))
		memcpy(buf, t->scratch + off, len);
	else if (r && len == 4)
		put_le32(buf, atomic_load(r));
}

static void bar_write(struct pci_function *fn, unsigned bar, uint64_t off, const void *buf,
		      uint32_t len)
{
	struct toy *t = pci_function_opaque(fn);
	_Atomic uint32_t *r = reg32(t, off);

	if (bar != 0)
		return;
	if (range_ok(off, len, sizeof(t->scratch))) {
		memcpy(t->scratch + off, buf, len);
	} else if (len == 8 && (off == TOY_SRC || off == TOY_DST)) {
		atomic_store(off == TOY_SRC ? &t->src : &t->dst, get_le64(buf));
	} else if (len == 4 && off == TOY_BLOCK_MS) {
		usleep(get_le32(buf) * 1000);
	} else if (len == 4 && off == TOY_LEN) {
		atomic_store(&t->len, MIN(get_le32(buf), TOY_COPY_MAX));
	} else if (len == 4 && r) {
		if (off == TOY_DOORBELL)
			atomic_store(&t->status, TOY_BUSY);
		atomic_store(r, get_le32(buf));
		if (off == TOY_DOORBELL)
			poller_kick(&t->poller);
	}
}

/* As a real model does: nothing runs when it returns. */
static void toy_reset(struct pci_function *fn, enum pci_reset kind)
{
	struct toy *t = pci_function_opaque(fn);

	atomic_store(&t->mode, 0);
	worker_remove(&t->poller);
	memset(t->scratch, 0, sizeof(t->scratch));
	atomic_store(&t->src, 0);
	atomic_store(&t->dst, 0);
	atomic_store(&t->len, 0);
	atomic_store(&t->vector, 0);
	atomic_store(&t->mode, 0);
	atomic_store(&t->status, TOY_IDLE);
	atomic_store(&t->error, 0);
	atomic_fetch_add(&t->resets, 1);
	worker_add(t->worker, &t->poller);
}

static const struct pci_function_ops toy_ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.reset = toy_reset,
};

void toy_create(struct toy *t, const char *name)
{
	const struct pci_function_desc desc = {
		.name = name,
		.vendor_id = TOY_VENDOR,
		.device_id = TOY_DEVICE,
		.subsystem_vendor_id = TOY_VENDOR,
		.subsystem_id = 1,
		.class_code = 0x088000,
		.bars = {[0] = {.size = TOY_BAR0},
			 [2] = {.size = TOY_BAR2, .is_64bit = true, .prefetchable = true}},
		.msix = {.vectors = TOY_VECTORS, .bar = 2, .table_off = 0, .pba_off = 8192},
		.ops = &toy_ops,
		.opaque = t,
	};

	memset(t, 0, sizeof(*t));
	t->buf = malloc(TOY_COPY_MAX);
	t->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->poller.ops = &toy_poller_ops;
	t->poller.name = "toy";
	if (!t->buf || t->doorbell_fd < 0 || worker_create("toy", WORKER_MAY_BLOCK, &t->worker) ||
	    pci_function_create(&desc, &t->fn))
		abort();
	worker_add(t->worker, &t->poller);
}

void toy_destroy(struct toy *t)
{
	worker_remove(&t->poller);
	worker_destroy(t->worker);
	pci_function_destroy(t->fn);
	close(t->doorbell_fd);
	free(t->buf);
}

int toy_io_fds(struct toy *t, unsigned region, struct vfu_io_fd *fds, unsigned max)
{
	if (region != 0)
		return 0;
	for (unsigned i = 0; i < 3 && i < max; i++)
		fds[i] = (struct vfu_io_fd){.offset = 0x1000 + i * 4u,
					    .size = 2,
					    .datamatch = i,
					    .flags = 1,
					    .fd = t->doorbell_fd};
	return 3;
}
