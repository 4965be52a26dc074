/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Text tables: columns as wide as their widest cell, two blanks apart, numbers to the right, no
 * blanks at the ends of lines. And numbers as people read them.
 */
#ifndef SOFTIOV_CLI_TABLE_H
#define SOFTIOV_CLI_TABLE_H

#include <stdint.h>
#include <stdio.h>

#define TABLE_COLUMNS 16

struct table {
	unsigned columns, rows, cap;
	char **cells; /* rows * columns */
	unsigned filled;
};

/* Headings separated by '|'; one that begins with '>' is of a column of numbers. */
void table_init(struct table *t, const char *headings);
/* The next cell, row by row; NULL or "" shows as "-". */
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_print(struct table *t, FILE *f);
void table_free(struct table *t);

/* "999", "12.3k", "4.56M"; static buffers of the caller. */
const char *human_count(uint64_t n, char buf[16]);
/* "512 B", "1.5 KiB", "2.0 GiB" */
const char *human_bytes(uint64_t n, char buf[16]);
/* "9.41 Gb/s" from bits per second */
const char *human_rate(double bits, char buf[16]);
/* "123 MB/s" from bytes per second; of 1000, as disks are sold */
const char *human_byte_rate(double bytes, char buf[16]);
/* "8.20 us", "1.50 ms", "2.00 s" */
const char *human_time(uint64_t ns, char buf[16]);

#endif
