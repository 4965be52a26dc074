/* SPDX-License-Identifier: BSD-3-Clause */
/* The two guests that a case plays, by the tests' driver or the light way (light.h), at VFs of
 * softiov or at another switch's ports. */
#ifndef SOFTIOV_BENCH_GUESTS_H
#define SOFTIOV_BENCH_GUESTS_H

#include "bench.h"
#include "light.h"

#define RX_BURST 256

/* ---- with the driver ---- */

struct pair {
	struct guest *a, *b;
	struct vhost_user *const *peer; /* of the two, or NULL */
};

/* Both attached and known to the switch. 0 or -errno. */
int pair_open(const struct bench *bench, const struct bench_case *c, bool interrupts,
	      struct pair *p);
void pair_close(struct pair *p);
/* The case's frame into each slot. */
void pair_fill(const struct bench *bench, const struct bench_case *c, struct guest *from,
	       struct guest *to);

/* ---- light ---- */

struct light_pair {
	struct light a, b;
};

/* a sends the case's frame to b. */
int light_pair_open(const struct bench *bench, const struct bench_case *c, struct light_pair *p);
void light_pair_close(struct light_pair *p);

/* What a case's guest is like at VF n of a daemon (or, with n < 0, at the PF), many of whose kind
 * may be played at once: with so few buffers. */
int light_vf_open(const struct daemon_run *d, int vf, const struct bench_case *c, uint16_t ring,
		  uint32_t buffers, bool control, struct light *l);

#endif
