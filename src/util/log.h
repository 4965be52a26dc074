/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log goes to stderr, one line a record, with the syslog priority prefix (<3>) when stderr is
 * a journal. Any thread may log.
 *
 * What a guest or a client can cause is logged through log_guest(), at most once per kind and
 * interval, so that it cannot fill a disk; the number suppressed is told with the next line.
 */
#ifndef SOFTIOV_UTIL_LOG_H
#define SOFTIOV_UTIL_LOG_H

#include <stdatomic.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* One kind of event of one object; zero-initialised. */
struct log_limit {
	_Atomic uint64_t next_ns;
	_Atomic uint32_t suppressed;
};

/* Logs at WARN unless the same limit logged within the last 5 s. */
void log_guest(struct log_limit *limit, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
