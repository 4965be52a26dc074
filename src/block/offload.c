/* SPDX-License-Identifier: BSD-3-Clause */
#include "block/offload.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

void offload_init(struct offload *o, const char *name, int (*run)(struct block_request *req))
{
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->more, NULL);
	o->run = run;
	snprintf(o->name, sizeof(o->name), "io/%.12s", name);
}

void offload_fini(struct offload *o)
{
	unsigned i;

	pthread_mutex_lock(&o->lock);
	o->stop = true;
	pthread_cond_broadcast(&o->more);
	pthread_mutex_unlock(&o->lock);
	for (i = 0; i < o->n_threads; i++)
		pthread_join(o->threads[i], NULL);
	pthread_cond_destroy(&o->more);
	pthread_mutex_destroy(&o->lock);
}

static void *offload_main(void *arg)
{
	struct offload *o = arg;
	struct block_request *req;

	pthread_setname_np(pthread_self(), o->name);
	pthread_mutex_lock(&o->lock);
	for (;;) {
		while (!(req = o->queue.head) && !o->stop) {
			o->n_idle++;
			pthread_cond_wait(&o->more, &o->lock);
			o->n_idle--;
		}
		if (!req)
			break;
		list_remove(&o->queue, req);
		set_queued(req, QUEUED_NOT);
		o->n_queued--;
		pthread_mutex_unlock(&o->lock);
		req->result = o->run(req);
		channel_return(req);
		pthread_mutex_lock(&o->lock);
	}
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

/* Signals are the control thread's: a full disk's SIGXFSZ, for one, must find nobody here. */
static void start_thread(struct offload *o)
{
	sigset_t all, old;

	sigfillset(&all);
	sigdelset(&all, SIGBUS); /* a client's truncated memory (dma/sigbus.c) */
	sigdelset(&all, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (!pthread_create(&o->threads[o->n_threads], NULL, offload_main, o))
		o->n_threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

int offload_submit(struct offload *o, struct block_request *req)
{
	int r = BLOCK_PENDING;

	pthread_mutex_lock(&o->lock);
	if (o->n_queued >= o->n_idle && o->n_threads < OFFLOAD_THREADS_MAX)
		start_thread(o);
	if (o->n_threads) {
		set_queued(req, QUEUED_THREAD);
		list_push(&o->queue, req);
		o->n_queued++;
		pthread_cond_signal(&o->more);
	} else {
		r = -EAGAIN;
	}
	pthread_mutex_unlock(&o->lock);
	return r;
}

bool offload_cancel(struct offload *o, struct block_request *req)
{
	bool found;

	pthread_mutex_lock(&o->lock);
	found = is_queued(req, QUEUED_THREAD);
	if (found) {
		list_remove(&o->queue, req);
		set_queued(req, QUEUED_NOT);
		o->n_queued--;
	}
	pthread_mutex_unlock(&o->lock);
	return found;
}
