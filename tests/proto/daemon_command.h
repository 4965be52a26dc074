/* SPDX-License-Identifier: BSD-3-Clause */
/* A daemon under test and its commands, for tests that give many. */
#ifndef TESTS_PROTO_DAEMON_COMMAND_H
#define TESTS_PROTO_DAEMON_COMMAND_H

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "daemon_pair.h"

static const char *softiovd, *softiov;
static struct daemon_run run;
static char output[8192];

/* Its exit status; what it printed is in output. */
static inline int command(const char *words)
{
	char line[400];
	size_t n;
	FILE *f;

	snprintf(line, sizeof(line), "'%s' -s %s %s 2>&1", softiov, run.dir, words);
	f = popen(line, "r");
	assert_non_null(f);
	n = fread(output, 1, sizeof(output) - 1, f);
	output[n] = '\0';
	return WEXITSTATUS(pclose(f));
}

static inline void succeeds(const char *words)
{
	if (command(words))
		fail_msg("softiov %s: %s", words, output);
}

static inline void refused(const char *words, const char *why)
{
	assert_int_not_equal(command(words), 0);
	if (!strstr(output, why))
		fail_msg("softiov %s: %s", words, output);
}

#endif
