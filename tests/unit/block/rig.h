/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Around tests of backends: a worker with its channel, on which requests are submitted, and a model
 * disk to compare with.
 */
#ifndef SOFTIOV_TESTS_BLOCK_RIG_H
#define SOFTIOV_TESTS_BLOCK_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>

#include "block/block.h"
#include "util/util.h"

#define RIG_WAIT_S 20

struct rig {
	struct poller poller;
	struct worker *worker;
	struct block_channel *ch;
	pthread_mutex_t lock;
	void (*call)(void *arg); /* to be run on the worker */
	void *arg;
	sem_t called;
};

void rig_start(struct rig *g);
void rig_stop(struct rig *g);
/* Runs it on the worker and waits for it. */
void rig_call(struct rig *g, void (*call)(void *arg), void *arg);

/* A request and what became of it. */
struct io {
	struct block_request req;
	struct iovec iov[8];
	struct rig *rig;
	struct block_backend *b;
	sem_t ended;
	_Atomic int result; /* BLOCK_PENDING until it ended */
};

void io_prepare(struct io *io, struct rig *g, struct block_backend *b, enum block_op op,
		uint64_t off, uint64_t len, void *buf, uint32_t flags);
void io_submit(struct io *io);
void io_cancel(struct io *io);
/* Within RIG_WAIT_S. */
int io_wait(struct io *io);
/* Not within the time: -ETIMEDOUT. */
int io_wait_ms(struct io *io, unsigned ms);
int io_now(struct rig *g, struct block_backend *b, enum block_op op, uint64_t off, uint64_t len,
	   void *buf, uint32_t flags);
/* The same in registered memory (block_request.fixed). */
int io_fixed(struct rig *g, struct block_backend *b, enum block_op op, uint64_t off, uint64_t len,
	     void *buf, uint16_t fixed);

/* A directory of this test's own, removed at the end. */
const char *scratch_dir(void);
const char *scratch(const char *name);

struct block_backend *open_ok(const struct block_config *cfg);
struct block_config config(enum block_type type, const char *target, uint64_t size);

/* Reads, writes, zeros and discards at random for a while and compares with a model; with data in
 * several pieces and at odd addresses. unit: what offsets and lengths are multiples of. */
void compare_with_model(struct rig *g, struct block_backend *b, unsigned unit, unsigned rounds);

/* From now on io_uring is forbidden in this process. False: that cannot be done here. */
bool forbid_io_uring(void);

#endif
