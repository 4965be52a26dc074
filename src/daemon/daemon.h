/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SOFTIOV_DAEMON_DAEMON_H
#define SOFTIOV_DAEMON_DAEMON_H

#include <limits.h>
#include <stdbool.h>

#include "device/config.h"

struct daemon_args {
	const char *config_path;
	const char *runtime_dir; /* absolute; NULL: as the file or the environment says */
	bool check_only;
};

/* Runs until asked to end. 0; -EINVAL: the configuration is wrong; -errno. What is wrong was
 * logged. */
int daemon_run(const struct daemon_args *args);

/*
 * Makes the runtime directory (and its parents' last missing part) and takes its lock. Returns the
 * lock's fd, to be kept open for as long as the directory is used; or -errno, logged.
 */
int runtime_dir_open(const char *dir);

/*
 * Raises the soft limit of open files to the hard one, and says by number when that is too low
 * for what is configured.
 */
void limits_raise(const struct config *cfg);
/* Open files that a configuration takes with every function attached; an estimate. */
unsigned long limits_files_needed(const struct config *cfg);

#endif
