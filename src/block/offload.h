/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A few threads of one backend, for calls that block: started as they are needed, ended with the
 * backend. Each backend has its own, so that one that hangs holds up nobody else.
 */
#ifndef SOFTIOV_BLOCK_OFFLOAD_H
#define SOFTIOV_BLOCK_OFFLOAD_H

#include <pthread.h>

#include "block/block_private.h"

#define OFFLOAD_THREADS_MAX 16

struct offload {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct request_list queue;
	unsigned n_threads, n_idle, n_queued;
	bool stop;
	/* On one of the threads: does the request; its result. */
	int (*run)(struct block_request *req);
	pthread_t threads[OFFLOAD_THREADS_MAX];
	char name[16];
};

void offload_init(struct offload *o, const char *name, int (*run)(struct block_request *req));
/* Joins the threads; nothing may be queued. */
void offload_fini(struct offload *o);
/* BLOCK_PENDING: delivered() comes later; or -EAGAIN when there is no thread to be had. Worker. */
int offload_submit(struct offload *o, struct block_request *req);
/* Takes back what no thread has begun with. */
bool offload_cancel(struct offload *o, struct block_request *req);

#endif
