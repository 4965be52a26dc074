/* SPDX-License-Identifier: BSD-3-Clause */
#include "rig.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- the worker ---- */

static unsigned rig_poll(struct poller *p)
{
	struct rig *g = container_of(p, struct rig, poller);
	void (*call)(void *arg);

	pthread_mutex_lock(&g->lock);
	call = g->call;
	g->call = NULL;
	pthread_mutex_unlock(&g->lock);
	if (!call)
		return 0;
	call(g->arg);
	sem_post(&g->called);
	return 1;
}

static const struct poller_ops rig_ops = {.poll = rig_poll};

void rig_start(struct rig *g)
{
	memset(g, 0, sizeof(*g));
	pthread_mutex_init(&g->lock, NULL);
	sem_init(&g->called, 0, 0);
	assert_int_equal(worker_create("test", 0, &g->worker), 0);
	assert_int_equal(block_channel_get(g->worker, &g->ch), 0);
	g->poller.ops = &rig_ops;
	g->poller.name = "rig";
	worker_add(g->worker, &g->poller);
}

void rig_stop(struct rig *g)
{
	worker_remove(&g->poller);
	block_channel_put(g->ch);
	worker_destroy(g->worker);
	sem_destroy(&g->called);
	pthread_mutex_destroy(&g->lock);
}

static int wait_sem(sem_t *s, unsigned ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	while (sem_timedwait(s, &until)) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

void rig_call(struct rig *g, void (*call)(void *arg), void *arg)
{
	pthread_mutex_lock(&g->lock);
	g->call = call;
	g->arg = arg;
	pthread_mutex_unlock(&g->lock);
	poller_kick(&g->poller);
	assert_int_equal(wait_sem(&g->called, RIG_WAIT_S * 1000), 0);
}

/* ---- requests ---- */

static void io_done(struct block_request *req, int result)
{
	struct io *io = container_of(req, struct io, req);

	assert_int_equal(atomic_load(&io->result), BLOCK_PENDING);
	atomic_store(&io->result, result);
	sem_post(&io->ended);
}

void io_prepare(struct io *io, struct rig *g, struct block_backend *b, enum block_op op,
		uint64_t off, uint64_t len, void *buf, uint32_t flags)
{
	memset(io, 0, sizeof(*io));
	io->rig = g;
	io->b = b;
	io->iov[0] = (struct iovec){buf, len};
	io->req = (struct block_request){.op = op,
					 .flags = flags,
					 .offset = off,
					 .len = len,
					 .iov = io->iov,
					 .iovcnt = 1,
					 .done = io_done};
	sem_init(&io->ended, 0, 0);
	atomic_store(&io->result, BLOCK_PENDING);
}

static void submit_call(void *arg)
{
	struct io *io = arg;
	int r = block_submit(io->rig->ch, io->b, &io->req);

	if (r != BLOCK_PENDING)
		io_done(&io->req, r);
}

static void cancel_call(void *arg)
{
	struct io *io = arg;

	if (atomic_load(&io->result) == BLOCK_PENDING)
		block_cancel(&io->req);
}

void io_submit(struct io *io)
{
	rig_call(io->rig, submit_call, io);
}

void io_cancel(struct io *io)
{
	rig_call(io->rig, cancel_call, io);
}

int io_wait_ms(struct io *io, unsigned ms)
{
	int r = wait_sem(&io->ended, ms);

	return r ? r : atomic_load(&io->result);
}

int io_wait(struct io *io)
{
	int r = io_wait_ms(io, RIG_WAIT_S * 1000);

	assert_int_not_equal(r, -ETIMEDOUT);
	return r;
}

int io_now(struct rig *g, struct block_backend *b, enum block_op op, uint64_t off, uint64_t len,
	   void *buf, uint32_t flags)
{
	struct io io;

	io_prepare(&io, g, b, op, off, len, buf, flags);
	io_submit(&io);
	return io_wait(&io);
}

int io_fixed(struct rig *g, struct block_backend *b, enum block_op op, uint64_t off, uint64_t len,
	     void *buf, uint16_t fixed)
{
	struct io io;

	io_prepare(&io, g, b, op, off, len, buf, 0);
	io.req.fixed = fixed;
	io_submit(&io);
	return io_wait(&io);
}

/* ---- places ---- */

static char dir[64];

static void remove_dir(void)
{
	char cmd[96];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	if (system(cmd))
		fprintf(stderr, "%s remains\n", dir);
}

/* Below the build: a disk with O_DIRECT, most likely. */
const char *scratch_dir(void)
{
	if (!dir[0]) {
		snprintf(dir, sizeof(dir), "block-test-XXXXXX");
		assert_non_null(mkdtemp(dir));
		atexit(remove_dir);
	}
	return dir;
}

const char *scratch(const char *name)
{
	static char path[4][128];
	static unsigned next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", scratch_dir(), name);
	return p;
}

struct block_config config(enum block_type type, const char *target, uint64_t size)
{
	struct block_config cfg = {.type = type, .size = size};

	snprintf(cfg.target, sizeof(cfg.target), "%s", target);
	return cfg;
}

struct block_backend *open_ok(const struct block_config *cfg)
{
	struct block_backend *b = NULL;
	char why[512];

	if (block_open(cfg, "test", NULL, NULL, &b, why, sizeof(why)))
		fail_msg("%s", why);
	return b;
}

/* ---- the model ---- */

#define MODEL_IO_MAX (256u << 10)

static unsigned pick(unsigned *seed, unsigned n)
{
	*seed = *seed * 1664525 + 1013904223;
	return (unsigned)(((uint64_t)(*seed >> 8) * n) >> 24);
}

/* The buffer's bytes as a few iovecs, at addresses that are no multiples of anything, or pages. */
static void scatter_iovs(struct io *io, uint8_t *buf, size_t len, unsigned *seed)
{
	size_t at = 0, n;
	unsigned i;

	for (i = 0; at < len; i++, at += n) {
		n = len - at;
		if (i < 7 && n > 512)
			n = MIN(n, (size_t)512 * (1 + pick(seed, 64)));
		io->iov[i] = (struct iovec){buf + at, n};
	}
	io->req.iovcnt = i;
}

static void model_round(struct rig *g, struct block_backend *b, uint8_t *model, uint8_t *mem,
			unsigned unit, unsigned *seed)
{
	static const enum block_op ops[] = {BLOCK_READ,		BLOCK_READ,   BLOCK_WRITE,
					    BLOCK_WRITE,	BLOCK_WRITE,  BLOCK_FLUSH,
					    BLOCK_WRITE_ZEROES, BLOCK_DISCARD};
	enum block_op op = ops[pick(seed, ARRAY_SIZE(ops))];
	unsigned units = (unsigned)(block_size(b) / unit), at = pick(seed, units), i;
	unsigned n = 1 + pick(seed, MIN(units - at, MODEL_IO_MAX / unit));
	unsigned shift = pick(seed, 3) ? 0 : 4 * (1 + pick(seed, 100));
	uint64_t off = (uint64_t)at * unit, len = (uint64_t)n * unit;
	struct block_limits lim;
	struct io io;

	block_get_limits(b, &lim);
	if (op == BLOCK_DISCARD && !lim.discard_zeroes)
		op = BLOCK_WRITE_ZEROES;
	io_prepare(&io, g, b, op, off, len, NULL, pick(seed, 4));
	scatter_iovs(&io, mem + shift, len, seed);
	for (i = 0; i < len; i++)
		mem[shift + i] = (uint8_t)(op == BLOCK_READ ? 0xee : pick(seed, 256));
	io_submit(&io);
	assert_int_equal(io_wait(&io), 0);
	if (op == BLOCK_READ)
		assert_memory_equal(mem + shift, model + off, len);
	else if (op == BLOCK_WRITE)
		memcpy(model + off, mem + shift, len);
	else if (op != BLOCK_FLUSH)
		memset(model + off, 0, len);
}

void compare_with_model(struct rig *g, struct block_backend *b, unsigned unit, unsigned rounds)
{
	uint64_t size = block_size(b), at;
	uint8_t *model = calloc(1, size), *mem = aligned_alloc(4096, MODEL_IO_MAX + 8192);
	unsigned seed = 12345 + unit, i;

	for (at = 0; at < size; at += MODEL_IO_MAX)
		assert_int_equal(
			io_now(g, b, BLOCK_READ, at, MIN(size - at, MODEL_IO_MAX), model + at, 0),
			0);
	for (i = 0; i < rounds; i++)
		model_round(g, b, model, mem, unit, &seed);
	for (at = 0; at < size; at += MODEL_IO_MAX) {
		assert_int_equal(io_now(g, b, BLOCK_READ, at, MIN(size - at, MODEL_IO_MAX), mem, 0),
				 0);
		assert_memory_equal(mem, model + at, MIN(size - at, MODEL_IO_MAX));
	}
	free(model);
	free(mem);
}

bool forbid_io_uring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {ARRAY_SIZE(code), code};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}
