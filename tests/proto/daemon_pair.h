/* SPDX-License-Identifier: BSD-3-Clause */
/* Guests at a real daemon that exchange numbered frames, of which none may be lost, twice, altered
 * or out of order. */
#ifndef TESTS_PROTO_DAEMON_PAIR_H
#define TESTS_PROTO_DAEMON_PAIR_H

#include <pthread.h>
#include <stdatomic.h>

#include "support/daemon.h"
#include "support/guest.h"

#define PAIR_TIMEOUT_MS 20000 /* of any one wait: sanitizers, a busy machine */

/* Opens a guest at a function ("nic0/vf3"); while the daemon has not noticed yet that the last
 * owner is gone, tries again. cfg: path is filled in. 0 or -errno. */
int pair_open(const struct daemon_run *d, const char *name, struct guest_config cfg,
	      struct guest **out);

/* Sends n (at most 128) frames of all sizes and takes them at the other side. 0, -ETIMEDOUT for a
 * lost one, -EBADMSG for another than expected, or what the guest says. */
int pair_exchange(struct guest *from, struct guest *to, unsigned n, uint32_t *seq);

/* A thread whose pair exchanges both ways all the time. */
struct pump {
	struct guest *a, *b;
	pthread_t thread;
	_Atomic int stop, error;
	_Atomic unsigned long frames;
};
int pump_start(struct pump *p);
/* Ends it; the error that it met or 0. */
int pump_stop(struct pump *p);
/* Waits until it has moved n more frames. 0, its error, or -ETIMEDOUT. */
int pump_wait(struct pump *p, unsigned long n);

#endif
