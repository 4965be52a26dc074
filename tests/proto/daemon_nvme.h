/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon_nvme*_test programs have in common. Each is run with SOFTIOVD SOFTIOV. */
#ifndef TESTS_PROTO_DAEMON_NVME_H
#define TESTS_PROTO_DAEMON_NVME_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/nvme_rig.h"
#include "util/clock.h"
#include "util/util.h"

#define WORKERS "workers: 2\n" /* so that queues meet */

#define GENERIC(sc)  NVME_HOST_SC(NVME_SCT_GENERIC, sc)
#define SPECIFIC(sc) NVME_HOST_SC(NVME_SCT_CMD_SPECIFIC, sc)
#define MEDIA(sc)    NVME_HOST_SC(NVME_SCT_MEDIA, sc)

static inline void expect_status(int st, int want, const char *what, const char *file, int line)
{
	if (NVME_HOST_CODE(st) == want)
		return;
	print_error("%s: %s (%#x), expected %#x\n", what, st < 0 ? strerror(-st) : "status",
		    st < 0 ? 0 : NVME_HOST_CODE(st), want);
	_fail(file, line);
}

/* A command that gave a status. */
#define STATUS(st, want) expect_status(st, want, #st, __FILE__, __LINE__)
#define OK(st)		 STATUS(st, 0)

/* SOFTIOVD SOFTIOV [TEST]: 0, or that main() is to end with 2. Only TEST is run if given. */
static inline int nvme_test_begin(struct nvme_rig *rig, int argc, char **argv)
{
	if (argc < 3 || nvme_rig_init(rig, argv[1], argv[2]))
		return -1;
	if (argc > 3)
		cmocka_set_test_filter(argv[3]);
	return 0;
}

/* The command line must succeed. */
#define CLI(rig, ...)                                                                              \
	do {                                                                                       \
		if (nvme_rig_cli(rig, __VA_ARGS__))                                                \
			fail_msg("softiov: %s", (rig)->out);                                       \
	} while (0)

#endif
