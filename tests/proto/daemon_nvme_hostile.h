/* SPDX-License-Identifier: BSD-3-Clause */
/* A hostile host at ssd0/vf0, a well-behaved one at ssd0/vf1 that tells whether it was disturbed.
 */
#ifndef TESTS_PROTO_DAEMON_NVME_HOSTILE_H
#define TESTS_PROTO_DAEMON_NVME_HOSTILE_H

#include "daemon_nvme.h"

enum { MEM = 1, FILE512, NULLDEV, HONEST };

#define STALL_MS (3000 * nvme_rig_slow())
#define NOWHERE	 0xdead00000000ull /* no memory there */

extern struct nvme_rig rig;
extern struct nvme_host *h;	/* the hostile one, from begin() to end() */
extern struct nvme_host_sq *io; /* its first I/O queue */

/* main() of such a test; argv: SOFTIOVD SOFTIOV [SEED [TEST]]. */
int hostile_main(int argc, char **argv, const struct CMUnitTest *tests, size_t n);

void begin(struct nvme_host_config cfg);
void end(void);
/* The well-behaved host met no error and no stall, and the daemon lives. */
void undisturbed(const char *after);
/* Data goes over and comes back. */
void works(void);
/* A reset makes it right, whatever was. */
void recovers(const char *after);
/* The command was refused with want (0: with any error; -1: or not), and the controller lives. */
void refused(int st, int want, const char *name, const struct nvme_sqe *s);
uint64_t end_of_memory(void);

#endif
