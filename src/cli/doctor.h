/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * softiov doctor: what on this machine would stop it, found out by trying, not by guessing. A
 * check looks at one thing and reports what it found, with the remedy when it is not well.
 */
#ifndef SOFTIOV_CLI_DOCTOR_H
#define SOFTIOV_CLI_DOCTOR_H

#include <stddef.h>

#include "cli/cli.h"

enum finding { FINDING_OK, FINDING_WARN, FINDING_FAIL };

struct doctor {
	const struct cli *cli;
	json_t *findings;
	unsigned warnings, failures;
};

/* remedy may be NULL when well. */
void doctor_report(struct doctor *d, const char *what, enum finding finding, const char *remedy,
		   const char *fmt, ...) __attribute__((format(printf, 5, 6)));

void doctor_vmms(struct doctor *d);
void doctor_kvm(struct doctor *d);
void doctor_memory(struct doctor *d);
void doctor_tap(struct doctor *d);
void doctor_files(struct doctor *d);
void doctor_uring(struct doctor *d);
void doctor_memlock(struct doctor *d);
void doctor_runtime_dir(struct doctor *d);
void doctor_lspci(struct doctor *d);

/* "QEMU emulator version 11.1.3 (Debian …)" into major and minor. 0 or -1. */
int doctor_parse_version(const char *text, int *major, int *minor);

/* Runs a program with at most 6 arguments, at most 10 s; its output (both streams), cut to len.
 * 0, or -1 when it cannot be run or fails. */
int doctor_run(const char *const *argv, char *out, size_t len);
/* The path of a program in $PATH. 0 or -1. */
int doctor_find(const char *name, char *path, size_t len);

#endif
