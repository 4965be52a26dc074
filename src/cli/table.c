/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void add(struct table *t, char *cell)
{
	if (t->filled == t->cap) {
		unsigned cap = t->cap ? t->cap * 2 : 64;
		char **cells = realloc(t->cells, cap * sizeof(*cells));

		if (!cells) {
			free(cell);
			return;
		}
		t->cells = cells;
		t->cap = cap;
	}
	t->cells[t->filled++] = cell;
}

void table_init(struct table *t, const char *headings)
{
	memset(t, 0, sizeof(*t));
	while (*headings && t->columns < TABLE_COLUMNS) {
		size_t n = strcspn(headings, "|");

		add(t, strndup(headings, n));
		t->columns++;
		headings += n;
		headings += *headings == '|';
	}
}

void table_cell(struct table *t, const char *fmt, ...)
{
	char *cell = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (!fmt || vasprintf(&cell, fmt, ap) < 0)
		cell = NULL;
	va_end(ap);
	if (cell && !cell[0]) {
		free(cell);
		cell = NULL;
	}
	add(t, cell ? cell : strdup("-"));
}

/* Characters, not bytes: those that continue a UTF-8 sequence take no room. */
static int width(const char *s)
{
	int n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static bool numeric(const struct table *t, unsigned col)
{
	return t->cells[col] && t->cells[col][0] == '>';
}

static const char *cell_text(const struct table *t, unsigned row, unsigned col)
{
	const char *s = t->cells[row * t->columns + col];

	if (!s)
		return "";
	return row || s[0] != '>' ? s : s + 1;
}

static void print_row(const struct table *t, unsigned row, const int *widths, FILE *f)
{
	for (unsigned c = 0; c < t->columns; c++) {
		const char *s = cell_text(t, row, c);
		int pad = widths[c] - width(s);

		if (numeric(t, c))
			fprintf(f, "%*s%s", pad, "", s);
		else
			fprintf(f, "%s%*s", s, c + 1 < t->columns ? pad : 0, "");
		fputs(c + 1 < t->columns ? "  " : "\n", f);
	}
}

void table_print(struct table *t, FILE *f)
{
	int widths[TABLE_COLUMNS] = {0};
	unsigned rows = t->columns ? t->filled / t->columns : 0;

	for (unsigned r = 0; r < rows; r++)
		for (unsigned c = 0; c < t->columns; c++)
			if (width(cell_text(t, r, c)) > widths[c])
				widths[c] = width(cell_text(t, r, c));
	for (unsigned r = 0; r < rows; r++)
		print_row(t, r, widths, f);
}

void table_free(struct table *t)
{
	for (unsigned i = 0; i < t->filled; i++)
		free(t->cells[i]);
	free(t->cells);
	memset(t, 0, sizeof(*t));
}

/* Three digits that count, and the unit. */
static void scaled(double v, double step, const char *const *units, unsigned n, char buf[16])
{
	unsigned u = 0;

	/* 999.5 would print as 1000: go up before. */
	while (v >= (step > 1000 ? 1023.5 : 999.5) && u + 1 < n) {
		v /= step;
		u++;
	}
	snprintf(buf, 16, "%.*f%s", u == 0 || v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2, v, units[u]);
}

const char *human_count(uint64_t n, char buf[16])
{
	static const char *const units[] = {"", "k", "M", "G", "T", "P"};

	if (n < 10000)
		snprintf(buf, 16, "%llu", (unsigned long long)n);
	else
		scaled((double)n, 1000, units, 6, buf);
	return buf;
}

const char *human_bytes(uint64_t n, char buf[16])
{
	static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB"};

	scaled((double)n, 1024, units, 6, buf);
	return buf;
}

const char *human_rate(double bits, char buf[16])
{
	static const char *const units[] = {" b/s", " kb/s", " Mb/s", " Gb/s", " Tb/s"};

	scaled(bits, 1000, units, 5, buf);
	return buf;
}

const char *human_byte_rate(double bytes, char buf[16])
{
	static const char *const units[] = {" B/s", " kB/s", " MB/s", " GB/s", " TB/s"};

	scaled(bytes, 1000, units, 5, buf);
	return buf;
}

const char *human_time(uint64_t ns, char buf[16])
{
	static const char *const units[] = {" ns", " us", " ms", " s"};

	scaled((double)ns, 1000, units, 4, buf);
	return buf;
}
