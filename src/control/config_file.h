/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration file (docs/config.md): YAML text into struct config, or a list of what is
 * wrong with it. Nothing is created or changed here; besides its arguments the parser only looks
 * up user and group names.
 *
 * All errors are collected, sorted by line and worded alike:
 *
 *     FILE:LINE: nic0.vfs.3.mac: what is wrong: what to do about it
 */
#ifndef SOFTIOV_CONTROL_CONFIG_FILE_H
#define SOFTIOV_CONTROL_CONFIG_FILE_H

#include <stddef.h>

#include "device/config.h"

#define CONFIG_FILE_MAX (4u << 20) /* bytes */

struct config_input {
	const char *file; /* its name, for messages */
	const char *text;
	size_t len;
	const char *runtime_dir; /* of the command line: beats the file's; NULL: none */
	const char *default_dir; /* when neither gives one */
};

/*
 * 0: cfg is filled (runtime_dir included, always) and is to be freed with config_free().
 * -EINVAL (or -ENOMEM): *errors has one line per error, each ended by a newline; free() it.
 */
int config_parse(const struct config_input *in, struct config *cfg, char **errors);

/* Reads the file, then as config_parse() (whose text, len and file it fills in). */
int config_load(const char *path, const char *runtime_dir, const char *default_dir,
		struct config *cfg, char **errors);

void config_free(struct config *cfg);

#endif
