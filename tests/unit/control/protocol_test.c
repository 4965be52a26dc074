/* SPDX-License-Identifier: BSD-3-Clause */
/* Framing, decoding and checking of control requests, and the table of commands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/methods.h"
#include "control/protocol.h"
#include "control/text.h"
#include "util/util.h"

static void feed(struct control_lines *l, const char *bytes, size_t n)
{
	while (n) {
		size_t space;
		char *p = control_lines_space(l, &space);

		assert_non_null(p);
		space = MIN(space, n);
		memcpy(p, bytes, space);
		control_lines_added(l, space);
		bytes += space;
		n -= space;
	}
}

static void lines_are_cut_however_they_arrive(void **state)
{
	static const char text[] = "one\n\nthree is longer\nrest";

	for (size_t step = 1; step < sizeof(text); step++) {
		static const char *const expect[] = {"one", "", "three is longer"};
		struct control_lines l = {.max = 100};
		unsigned got = 0;
		size_t n;
		char *line;

		for (size_t i = 0; i < sizeof(text) - 1; i += step) {
			feed(&l, text + i, MIN(step, sizeof(text) - 1 - i));
			while ((line = control_lines_next(&l, &n))) {
				assert_true(got < 3);
				assert_string_equal(line, expect[got]);
				assert_int_equal(n, strlen(expect[got]));
				got++;
			}
		}
		assert_int_equal(got, 3);
		assert_false(control_lines_overlong(&l));
		control_lines_free(&l);
	}
}

static void too_long_a_line_is_noticed(void **state)
{
	struct control_lines l = {.max = 8};
	size_t n;

	feed(&l, "1234567\n1234567", 15 - 7);
	assert_non_null(control_lines_next(&l, &n));
	assert_null(control_lines_next(&l, &n));
	assert_false(control_lines_overlong(&l));
	feed(&l, "1234567", 7);
	assert_null(control_lines_next(&l, &n));
	assert_false(control_lines_overlong(&l));
	feed(&l, "8", 1);
	assert_null(control_lines_next(&l, &n));
	assert_true(control_lines_overlong(&l));
	control_lines_free(&l);
}

static const struct {
	const char *line;
	int code;
	const char *why; /* its beginning */
} requests[] = {
	{"{\"id\":1,\"method\":\"version\"}", 0, ""},
	{"{\"id\":1,\"method\":\"show\",\"params\":{\"kind\":\"fdb\"}}", 0, ""},
	{"{\"id\":1,\"method\":\"vf.set\",\"params\":{\"function\":\"nic0/vf3\",\"vlan\":7}}", 0,
	 ""},
	{"", CONTROL_PARSE_ERROR, "not JSON"},
	{"{", CONTROL_PARSE_ERROR, "not JSON"},
	{"{\"id\":1,\"id\":2,\"method\":\"version\"}", CONTROL_PARSE_ERROR, "not JSON"},
	{"[]", CONTROL_INVALID_REQUEST, "a request is"},
	{"{\"id\":1}", CONTROL_INVALID_REQUEST, "a request is"},
	{"{\"id\":1,\"method\":7}", CONTROL_INVALID_REQUEST, "a request is"},
	{"{\"id\":1,\"method\":\"rm\"}", CONTROL_NO_METHOD, "no method \"rm\""},
	{"{\"id\":1,\"method\":\"show\",\"params\":[]}", CONTROL_INVALID_PARAMS, "params must be"},
	{"{\"id\":1,\"method\":\"show\",\"params\":{\"kind\":\"x\"}}", CONTROL_INVALID_PARAMS,
	 "kind: \"x\": give one of devices|"},
	{"{\"id\":1,\"method\":\"show\",\"params\":{\"name\":\"../x\"}}", CONTROL_INVALID_PARAMS,
	 "name: \"../x\" is not a name"},
	{"{\"id\":1,\"method\":\"vf.set\",\"params\":{\"vlan\":7}}", CONTROL_INVALID_PARAMS,
	 "function is missing: such as nic0/vf3"},
	{"{\"id\":1,\"method\":\"vf.set\",\"params\":{\"function\":\"a\",\"vlan\":4095}}",
	 CONTROL_INVALID_PARAMS, "vlan: give a number from 0 to 4094"},
	{"{\"id\":1,\"method\":\"vf.set\",\"params\":{\"function\":\"a\",\"vlan\":\"7\"}}",
	 CONTROL_INVALID_PARAMS, "vlan: give a number from 0 to 4094"},
	{"{\"id\":1,\"method\":\"vf.set\",\"params\":{\"function\":\"a\",\"trust\":1}}",
	 CONTROL_INVALID_PARAMS, "trust: give on or off"},
	{"{\"id\":1,\"method\":\"vf.set\",\"params\":{\"function\":\"a\",\"mac\":\"1\"}}",
	 CONTROL_INVALID_PARAMS, "mac: \"1\": write a MAC address"},
	{"{\"id\":1,\"method\":\"vf.set\",\"params\":{\"function\":\"a\",\"trsut\":true}}",
	 CONTROL_INVALID_PARAMS, "trsut: unknown: did you mean \"trust\"?"},
	{"{\"id\":1,\"method\":\"ns.create\",\"params\":{\"device\":\"ssd0\",\"memory\":4096,"
	 "\"block-size\":512}}",
	 0, ""},
	{"{\"id\":1,\"method\":\"ns.create\",\"params\":{\"device\":\"ssd0\",\"file\":\"/a b\","
	 "\"size\":\"1.5G\",\"block-size\":\"4096\"}}",
	 0, ""},
	{"{\"id\":1,\"method\":\"ns.create\",\"params\":{\"device\":\"ssd0\",\"file\":\"a\"}}",
	 CONTROL_INVALID_PARAMS, "file: \"a\": give an absolute path"},
	{"{\"id\":1,\"method\":\"ns.create\",\"params\":{\"device\":\"ssd0\",\"file\":\"/a\\nb\"}}",
	 CONTROL_INVALID_PARAMS, "file: a control character"},
	{"{\"id\":1,\"method\":\"ns.create\",\"params\":{\"device\":\"ssd0\",\"memory\":-1}}",
	 CONTROL_INVALID_PARAMS, "memory: give bytes"},
	{"{\"id\":1,\"method\":\"ns.create\",\"params\":{\"device\":\"ssd0\",\"memory\":true}}",
	 CONTROL_INVALID_PARAMS, "memory: give bytes"},
	{"{\"id\":1,\"method\":\"ns.create\",\"params\":{\"device\":\"ssd0\",\"block-size\":513}}",
	 CONTROL_INVALID_PARAMS, "block-size: \"513\": give one of 512|4096"},
	{"{\"id\":1,\"method\":\"ns.resize\",\"params\":{\"namespace\":\"ssd0/"
	 "ns1\",\"size\":\"2Q\"}}",
	 CONTROL_INVALID_PARAMS, "size: give bytes"},
};

static void requests_are_checked_by_the_table(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		const struct control_command *cmd;
		json_t *root, *params, *id;
		char why[256] = "";
		int code = control_decode(requests[i].line, strlen(requests[i].line), &root, &cmd,
					  &params, &id, why, sizeof(why));

		if (code != requests[i].code ||
		    strncmp(why, requests[i].why, strlen(requests[i].why)))
			fail_msg("%s: %d %s", requests[i].line, code, why);
		json_decref(root);
	}
}

static void replies_carry_the_id(void **state)
{
	json_t *id = json_string("a7");
	size_t len;
	char *line;

	line = control_reply(id, json_integer(3), &len);
	assert_string_equal(line, "{\"jsonrpc\":\"2.0\",\"id\":\"a7\",\"result\":3}\n");
	assert_int_equal(len, strlen(line));
	free(line);
	line = control_reply_error(NULL, -2, "no", &len);
	assert_string_equal(
		line,
		"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-2,\"message\":\"no\"}}\n");
	free(line);
	json_decref(id);
}

static void every_command_of_the_table_is_whole(void **state)
{
	for (const struct control_command *c = control_commands; c->verb || c->method; c++) {
		assert_non_null(c->usage);
		assert_non_null(c->summary);
		if (c->method)
			assert_non_null(control_method_of(c->method));
		assert_null(c->params[CONTROL_PARAMS_MAX - 1].name);
		for (const struct control_param *p = c->params; p->name; p++) {
			assert_non_null(p->help);
			assert_true(p->type != CONTROL_CHOICE || p->choices);
			assert_true(p->type != CONTROL_INT || p->max > p->min);
		}
	}
}

static void the_longest_verb_wins(void **state)
{
	char *words[] = {"stats", "clear", "nic0", NULL};
	int used;

	assert_string_equal(control_find_verb(3, words, &used)->verb, "stats clear");
	assert_int_equal(used, 2);
	assert_string_equal(control_find_verb(1, words, &used)->verb, "stats");
	assert_int_equal(used, 1);
	assert_null(control_find_verb(1, words + 2, &used));
}

static void vlan_sets_read_and_print(void **state)
{
	static const char *const wrong[] = {"",	  "0",	"4095", "5-",  "-5", "9-5",
					    "1,", ",1", "1;2",	"1 2", "x"};
	uint8_t set[512] = {0};
	char buf[64];

	assert_int_equal(text_vlan_set("4094,1,5-9,8-10", set), 0);
	text_vlan_set_format(set, buf, sizeof(buf));
	assert_string_equal(buf, "1,5-10,4094");
	text_vlan_set_format(set, buf, 12);
	assert_string_equal(buf, "1,5-10…");
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_not_equal(text_vlan_set(wrong[i], set), 0);
}

static void near_words_are_found_and_far_ones_not(void **state)
{
	static const char *const names[] = {"num-vfs", "total-vfs", "mtu", "vlan"};

	assert_string_equal(text_nearest("num_vfs", names, 4), "num-vfs");
	assert_string_equal(text_nearest("VLAN", names, 4), "vlan");
	assert_string_equal(text_nearest("vlna", names, 4), "vlan");
	assert_string_equal(text_nearest("mtus", names, 4), "mtu");
	assert_null(text_nearest("x", names, 4));
	assert_null(text_nearest("", names, 4));
	assert_null(text_nearest("completely", names, 4));
}

static void numbers_are_exact(void **state)
{
	static const char *const wrong[] = {
		"", "-1", "+1", " 1", "1 ", "1x", "0x", "x", "18446744073709551616"};
	uint64_t v;

	assert_int_equal(text_uint("0x10", &v), 0);
	assert_int_equal(v, 16);
	assert_int_equal(text_uint("18446744073709551615", &v), 0);
	assert_true(v == UINT64_MAX);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_not_equal(text_uint(wrong[i], &v), 0);
}

static void sizes_are_powers_of_1024(void **state)
{
	static const struct {
		const char *text;
		uint64_t size;
	} good[] = {
		{"0", 0},
		{"512", 512},
		{"4K", 4096},
		{"4k", 4096},
		{"1.5G", 3ull << 29},
		{"2MiB", 2 << 20},
		{"10T", 10ull << 40},
		{"1P", 1ull << 50},
		{"0.5K", 512},
		{"1.5K", 1536},
		{"0.1M", 102400},
		{"18446744073709551615", UINT64_MAX},
		{"16383P", 16383ull << 50},
	};
	static const char *const wrong[] = {"",
					    "-1",
					    "K",
					    "1X",
					    "1KB",
					    "1 K",
					    "1.G",
					    ".5G",
					    "1.5",
					    "1Kib2",
					    "0x10",
					    "1G ",
					    "1e9",
					    "16384P",
					    "18446744073709551616",
					    "1.0000000001G"};
	char buf[TEXT_SIZE_LEN];
	uint64_t v;

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		if (text_size(good[i].text, &v) || v != good[i].size)
			fail_msg("%s: %llu", good[i].text, (unsigned long long)v);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		if (!text_size(wrong[i], &v))
			fail_msg("%s: %llu", wrong[i], (unsigned long long)v);
	assert_string_equal(text_size_format(0, buf), "0");
	assert_string_equal(text_size_format(1000, buf), "1000");
	assert_string_equal(text_size_format(3ull << 29, buf), "1536M");
	assert_string_equal(text_size_format(1ull << 50, buf), "1P");
}

static void paths_are_joined_and_cleaned(void **state)
{
	char buf[16];

	assert_int_equal(text_path("/etc/x", "a", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "/etc/x/a");
	assert_int_equal(text_path("/etc", "/a//./b/", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "/a/b");
	assert_int_equal(text_path("/etc/", "./../.a", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "/etc/../.a");
	assert_int_equal(text_path("/", "", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "/");
	assert_int_equal(text_path("/1234567", "123456", buf, sizeof(buf)), 0);
	assert_int_equal(text_path("/1234567", "1234567", buf, sizeof(buf)), -ENAMETOOLONG);
}

static void uuids_and_uris_are_known_by_their_form(void **state)
{
	assert_int_equal(text_uuid("0f0e0d0c-0000-4000-8000-00000000000A"), 0);
	assert_int_not_equal(text_uuid("00000000-0000-0000-0000-000000000000"), 0);
	assert_int_not_equal(text_uuid("0f0e0d0c-0000-4000-8000-00000000000"), 0);
	assert_int_not_equal(text_uuid("0f0e0d0c-0000-4000-8000-00000000000A1"), 0);
	assert_int_not_equal(text_uuid("0f0e0d0c00000-4000-8000-00000000000A"), 0);
	assert_int_not_equal(text_uuid(""), 0);
	assert_true(text_nbd_uri("nbd+unix:///?socket=/x"));
	assert_true(text_nbd_uri("NBD://host"));
	assert_false(text_nbd_uri("nbd://"));
	assert_false(text_nbd_uri("nbd:host"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_cut_however_they_arrive),
		cmocka_unit_test(too_long_a_line_is_noticed),
		cmocka_unit_test(requests_are_checked_by_the_table),
		cmocka_unit_test(replies_carry_the_id),
		cmocka_unit_test(every_command_of_the_table_is_whole),
		cmocka_unit_test(the_longest_verb_wins),
		cmocka_unit_test(vlan_sets_read_and_print),
		cmocka_unit_test(near_words_are_found_and_far_ones_not),
		cmocka_unit_test(numbers_are_exact),
		cmocka_unit_test(sizes_are_powers_of_1024),
		cmocka_unit_test(paths_are_joined_and_cleaned),
		cmocka_unit_test(uuids_and_uris_are_known_by_their_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
