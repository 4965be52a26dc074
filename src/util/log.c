/* SPDX-License-Identifier: BSD-3-Clause */
#include "util/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "util/clock.h"

#define LOG_LINE_MAX	   1024
#define LOG_GUEST_INTERVAL (5 * NS_PER_S)

static _Atomic int max_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

static const char *prefix(enum log_level level)
{
	static const char *const plain[] = {"error: ", "warning: ", "", "debug: "};
	static const char *const journal[] = {"<3>", "<4>", "<6>", "<7>"};

	return getenv("JOURNAL_STREAM") ? journal[level] : plain[level];
}

/* Strings of clients must not forge records or drive a terminal. */
static void make_printable(char *line, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	}
}

/* One write(2) a record: lines of several threads never mix. */
static void emit(enum log_level level, const char *fmt, va_list ap, uint32_t suppressed)
{
	char line[LOG_LINE_MAX];
	int n, m;

	n = snprintf(line, sizeof(line), "%s", prefix(level));
	m = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	n += m < 0 ? 0 : m;
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	if (suppressed && n < (int)sizeof(line) - 40)
		n += snprintf(line + n, sizeof(line) - n - 1, " (%u more suppressed)", suppressed);
	make_printable(line, n);
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nowhere left to say it */
}

void log_write(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if ((int)level > atomic_load_explicit(&max_level, memory_order_relaxed))
		return;
	va_start(ap, fmt);
	emit(level, fmt, ap, 0);
	va_end(ap);
}

void log_guest(struct log_limit *limit, const char *fmt, ...)
{
	uint64_t now = clock_now_ns();
	uint64_t next = atomic_load_explicit(&limit->next_ns, memory_order_relaxed);
	va_list ap;

	if (atomic_load_explicit(&max_level, memory_order_relaxed) < LOG_LEVEL_WARN)
		return;
	if (now < next ||
	    !atomic_compare_exchange_strong(&limit->next_ns, &next, now + LOG_GUEST_INTERVAL)) {
		atomic_fetch_add_explicit(&limit->suppressed, 1, memory_order_relaxed);
		return;
	}
	va_start(ap, fmt);
	emit(LOG_LEVEL_WARN, fmt, ap, atomic_exchange(&limit->suppressed, 0));
	va_end(ap);
}
