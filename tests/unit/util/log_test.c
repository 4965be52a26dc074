/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/log.h"
#include "util/util.h"

static char out[65536];

/* Runs fn with stderr going to a file, and leaves what was written in out. */
static unsigned capture(void (*fn)(void))
{
	FILE *f = tmpfile();
	int saved = dup(STDERR_FILENO);
	unsigned lines = 0;
	size_t n, i;

	assert_non_null(f);
	dup2(fileno(f), STDERR_FILENO);
	fn();
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(f);
	n = fread(out, 1, sizeof(out) - 1, f);
	out[n] = 0;
	fclose(f);
	for (i = 0; i < n; i++)
		lines += out[i] == '\n';
	return lines;
}

static struct log_limit limit, other;

static void flood(void)
{
	int i;

	for (i = 0; i < 1000; i++)
		log_guest(&limit, "bad ring %d", i);
	log_guest(&other, "another kind");
}

static void once_more(void)
{
	log_guest(&limit, "later");
}

static void test_guest_limit(void **state)
{
	assert_int_equal(capture(flood), 2);
	assert_non_null(strstr(out, "bad ring 0\n"));
	assert_non_null(strstr(out, "another kind\n"));
	assert_int_equal(capture(once_more), 0);
	atomic_store(&limit.next_ns, 0); /* the interval is over */
	assert_int_equal(capture(once_more), 1);
	assert_non_null(strstr(out, "later (1000 more suppressed)\n"));
}

static struct log_limit shared;

static void *flood_thread(void *arg)
{
	int i;

	for (i = 0; i < 1000; i++)
		log_guest(&shared, "t");
	return NULL;
}

static void flood_threads(void)
{
	pthread_t t[4];
	int i;

	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, flood_thread, NULL);
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

static void test_guest_limit_threads(void **state)
{
	const char *told;

	assert_int_equal(capture(flood_threads), 1);
	told = strchr(out, '(');
	assert_int_equal(atomic_load(&shared.suppressed) + (told ? atoi(told + 1) : 0), 3999);
}

static void log_levels(void)
{
	log_debug("hidden");
	log_info("shown");
	log_error("%s", "bad");
}

static void test_levels(void **state)
{
	assert_int_equal(capture(log_levels), 2);
	assert_null(strstr(out, "hidden"));
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(capture(log_levels), 1);
	log_set_level(LOG_LEVEL_DEBUG);
	assert_int_equal(capture(log_levels), 3);
	log_set_level(LOG_LEVEL_INFO);
}

static void log_quiet_guest(void)
{
	struct log_limit fresh = {0};

	log_guest(&fresh, "guest");
}

static void test_guest_obeys_level(void **state)
{
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(capture(log_quiet_guest), 0);
	log_set_level(LOG_LEVEL_INFO);
}

static void log_long(void)
{
	static char big[5000];

	memset(big, 'x', sizeof(big) - 1);
	log_info("%s", big);
}

static void test_long_line(void **state)
{
	assert_int_equal(capture(log_long), 1);
	assert_int_equal(strlen(out), strcspn(out, "\n") + 1);
	assert_true(strlen(out) <= 1024);
}

static void log_newlines(void)
{
	log_info("name %s", "a\n<3>forged\x1b[2J");
}

static void test_one_line_a_record(void **state)
{
	assert_int_equal(capture(log_newlines), 1);
	assert_null(strchr(out, 0x1b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest_limit), cmocka_unit_test(test_guest_limit_threads),
		cmocka_unit_test(test_levels),	    cmocka_unit_test(test_guest_obeys_level),
		cmocka_unit_test(test_long_line),   cmocka_unit_test(test_one_line_a_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
