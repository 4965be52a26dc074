/* SPDX-License-Identifier: BSD-3-Clause */
/* What all backends share: opening, checks, accounts. */
#include "block/block_private.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct block_backend *all_backends;

static const struct backend_impl *const impls[] = {
	[BLOCK_FILE] = &block_file_impl,     [BLOCK_DEVICE] = &block_device_impl,
	[BLOCK_MEMORY] = &block_memory_impl, [BLOCK_NULL] = &block_null_impl,
	[BLOCK_NBD] = &block_nbd_impl,
};

const char *block_type_name(enum block_type type)
{
	static const char *const names[] = {"file", "device", "memory", "null", "nbd"};

	return (unsigned)type < ARRAY_SIZE(names) ? names[type] : "unknown";
}

struct block_backend *backend_find(bool device, uint64_t dev, uint64_t ino)
{
	struct block_backend *b;

	for (b = all_backends; b; b = b->next)
		if (b->has_id && b->id_device == device && b->id_dev == dev && b->id_ino == ino)
			return b;
	return NULL;
}

/* A file that grows beyond RLIMIT_FSIZE gives EFBIG, and a signal that would end the daemon. */
static void ignore_file_size_signal(void)
{
	struct sigaction sa;

	if (!sigaction(SIGXFSZ, NULL, &sa) && sa.sa_handler == SIG_DFL)
		signal(SIGXFSZ, SIG_IGN);
}

int block_open(const struct block_config *cfg, const char *name,
	       const struct block_backend_ops *ops, void *opaque, struct block_backend **out,
	       char *why, size_t why_len)
{
	const struct backend_impl *impl;
	struct block_backend *b;
	int r;

	if (why_len)
		why[0] = '\0';
	if ((unsigned)cfg->type >= ARRAY_SIZE(impls)) {
		snprintf(why, why_len, "no such type of backend");
		return -EINVAL;
	}
	if (cfg->size > INT64_MAX) {
		snprintf(why, why_len, "a size of %llu bytes is beyond what files can have",
			 (unsigned long long)cfg->size);
		return -EFBIG;
	}
	ignore_file_size_signal();
	impl = impls[cfg->type];
	b = calloc(1, impl->object_size);
	if (!b) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	b->impl = impl;
	b->cfg = *cfg;
	b->read_only = cfg->read_only;
	b->opaque = opaque;
	if (ops)
		b->ops = *ops;
	snprintf(b->name, sizeof(b->name), "%s", name);
	r = impl->open(b, why, why_len);
	if (r) {
		free(b);
		return r;
	}
	b->next = all_backends;
	all_backends = b;
	*out = b;
	return 0;
}

/* ---- the end ---- */

/* Freeing less than this takes the kernel no time to speak of. */
#define PUT_AWAY_MIN (64ull << 20)

struct put_away {
	int fd;
	void *mem;
	size_t len;
};

static void *put_away_run(void *arg)
{
	struct put_away *p = arg;

	if (p->mem)
		munmap(p->mem, p->len);
	close(p->fd);
	free(p);
	return NULL;
}

static bool frees_much(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && !st.st_nlink && (uint64_t)st.st_blocks * 512 >= PUT_AWAY_MIN;
}

static int start_detached(void *(*run)(void *arg), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, run, arg);
	pthread_attr_destroy(&attr);
	return -r;
}

void backend_put_away(int fd, void *mem, size_t len)
{
	struct put_away *p = malloc(sizeof(*p));

	if (!p) {
		if (mem)
			munmap(mem, len);
		close(fd);
		return;
	}
	*p = (struct put_away){fd, mem, len};
	if (!frees_much(fd) || start_detached(put_away_run, p))
		put_away_run(p);
}

void block_close(struct block_backend *b)
{
	struct block_backend **at;

	if (!b)
		return;
	for (at = &all_backends; *at != b; at = &(*at)->next)
		;
	*at = b->next;
	b->impl->close(b);
	free(b);
}

void block_undo(struct block_backend *b)
{
	if (b && b->impl->undo)
		b->impl->undo(b);
	block_close(b);
}

uint64_t block_size(const struct block_backend *b)
{
	return atomic_load_explicit(&b->size, memory_order_relaxed);
}

int block_resize(struct block_backend *b, uint64_t size, char *why, size_t why_len)
{
	int r;

	if (why_len)
		why[0] = '\0';
	if (!b->impl->resize) {
		snprintf(why, why_len, "%s: a backend of type %s has the size that it has", b->name,
			 block_type_name(b->cfg.type));
		return -ENOTSUP;
	}
	if (b->read_only && b->cfg.type != BLOCK_DEVICE) {
		snprintf(why, why_len, "%s is opened read-only", b->name);
		return -EROFS;
	}
	if (size > INT64_MAX) {
		snprintf(why, why_len, "a size of %llu bytes is beyond what files can have",
			 (unsigned long long)size);
		return -EFBIG;
	}
	if (!size && b->cfg.type != BLOCK_DEVICE) {
		snprintf(why, why_len, "%s cannot be made empty", b->name);
		return -EINVAL;
	}
	r = b->impl->resize(b, size, why, why_len);
	if (!r && size)
		b->cfg.size = size;
	return r;
}

void block_get_limits(const struct block_backend *b, struct block_limits *lim)
{
	*lim = b->limits;
	lim->read_only = b->read_only;
	if (b->impl->get_limits)
		b->impl->get_limits(b, lim);
	if (lim->read_only)
		lim->discard_granularity = 0;
}

const struct block_config *block_get_config(const struct block_backend *b)
{
	return &b->cfg;
}

uint64_t block_allocated(const struct block_backend *b)
{
	return b->impl->allocated ? b->impl->allocated(b) : block_size(b);
}

const char *block_state(const struct block_backend *b)
{
	int fault = atomic_load(&b->fault);

	if (b->impl->state)
		return b->impl->state(b);
	if (!fault)
		return "ok";
	return fault == ENOSPC ? "no space: the last write failed" : "the last write failed";
}

int backend_account(struct block_backend *b, const struct block_request *req, int result)
{
	if (result == -EFBIG || result == -EDQUOT)
		result = -ENOSPC;
	if (likely(!result)) {
		if (req->op == BLOCK_WRITE && atomic_load_explicit(&b->fault, memory_order_relaxed))
			atomic_store(&b->fault, 0);
		return 0;
	}
	/* the caller's own wish, or memory: nothing is wrong with the store */
	if (result == -ECANCELED || result == -EFAULT)
		return result;
	if (req->op == BLOCK_WRITE)
		atomic_store(&b->fault, -result);
	log_guest(&b->log, "%s: %s of %llu bytes at %llu failed: %s", b->name,
		  req->op == BLOCK_READ	   ? "reading"
		  : req->op == BLOCK_FLUSH ? "flushing"
					   : "writing",
		  (unsigned long long)req->len, (unsigned long long)req->offset, strerror(-result));
	return result;
}

static bool iov_sum_ok(const struct block_request *req)
{
	uint64_t sum = 0;
	unsigned i;

	if (likely(req->iovcnt == 1))
		return req->iov[0].iov_len == req->len;
	for (i = 0; i < req->iovcnt; i++) {
		if (req->iov[i].iov_len > req->len - sum)
			return false;
		sum += req->iov[i].iov_len;
	}
	return sum == req->len;
}

int block_submit(struct block_channel *ch, struct block_backend *b, struct block_request *req)
{
	if (req->op != BLOCK_FLUSH) {
		if (unlikely(!range_ok(req->offset, req->len,
				       atomic_load_explicit(&b->size, memory_order_relaxed))))
			return -EINVAL;
		if (unlikely(b->read_only && op_writes(req->op)))
			return -EROFS;
		if (unlikely(!req->len))
			return 0;
		if (req->op <= BLOCK_WRITE && unlikely(!iov_sum_ok(req)))
			return -EINVAL;
	}
	req->backend = b;
	req->channel = ch;
	req->bounce = NULL;
	req->state = 0;
	set_queued(req, QUEUED_NOT);
	return b->impl->submit(ch, req);
}

void block_cancel(struct block_request *req)
{
	if (req->backend->impl->cancel)
		req->backend->impl->cancel(req);
}

/* ---- iovecs ---- */

static void iov_copy(const struct block_request *req, uint64_t at, uint8_t *buf, size_t len,
		     bool to_iov)
{
	const struct iovec *v = req->iov, *end = v + req->iovcnt;
	size_t n;

	for (; v < end && at >= v->iov_len; v++)
		at -= v->iov_len;
	for (; len && v < end; v++, at = 0) {
		n = MIN(len, v->iov_len - (size_t)at);
		if (to_iov)
			copy_shared((uint8_t *)v->iov_base + at, buf, n);
		else
			copy_shared(buf, (uint8_t *)v->iov_base + at, n);
		buf += n;
		len -= n;
	}
	assert(!len);
}

void iov_gather(const struct block_request *req, uint64_t at, void *buf, size_t len)
{
	iov_copy(req, at, buf, len, false);
}

void iov_scatter(const struct block_request *req, uint64_t at, const void *buf, size_t len)
{
	iov_copy(req, at, (uint8_t *)(uintptr_t)buf, len, true);
}
