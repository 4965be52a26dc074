/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line without a daemon: arguments, tables, numbers, VMM texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/doctor.h"
#include "cli/table.h"
#include "util/util.h"

static int split(const char *text, char *copy, char **argv)
{
	char *save;
	int n = 0;

	strcpy(copy, text);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	argv[n] = NULL;
	return n;
}

static const struct {
	const char *words, *json, *why;
} lines[] = {
	{"show", "{}", NULL},
	{"show functions", "{\"kind\":\"functions\"}", NULL},
	{"show functions nic0", "{\"kind\":\"functions\",\"name\":\"nic0\"}", NULL},
	{"show nic0/vf3", "{\"name\":\"nic0/vf3\"}", NULL},
	{"vf set nic0/vf3 vlan 100 qos 3 proto 802.1ad",
	 "{\"function\":\"nic0/vf3\",\"proto\":\"802.1ad\",\"qos\":3,\"vlan\":100}", NULL},
	{"vf set nic0/vf3 spoofchk off trust on state auto",
	 "{\"function\":\"nic0/vf3\",\"link-state\":\"auto\",\"spoofchk\":false,\"trust\":true}",
	 NULL},
	{"vf set nic0/vf3 mac 02:00:00:00:00:10 trunk 1,5-9",
	 "{\"function\":\"nic0/vf3\",\"mac\":\"02:00:00:00:00:10\",\"trunk\":\"1,5-9\"}", NULL},
	{"device set nic0 num-vfs 8 --force", "{\"device\":\"nic0\",\"force\":true,\"num-vfs\":8}",
	 NULL},
	{"lspci nic0/vf0 --bus", "{\"name\":\"nic0/vf0\",\"view\":\"bus\"}", NULL},
	{"ns create ssd0 memory 1.5G nsid 3 block-size 4096 attach vf0,vf1 read-only on",
	 "{\"attach\":\"vf0,vf1\",\"block-size\":\"4096\",\"device\":\"ssd0\",\"memory\":\"1.5G\","
	 "\"nsid\":3,\"read-only\":true}",
	 NULL},
	/* "device" is a backend after the name of the device; paths are seen from here */
	{"ns create ssd0 device /dev//vdb iops 10 bandwidth 1M",
	 "{\"bandwidth\":\"1M\",\"block-device\":\"/dev/vdb\",\"device\":\"ssd0\",\"iops\":10}",
	 NULL},
	{"ns create ssd0 file ./a/../disk.img size 4G direct off",
	 "{\"device\":\"ssd0\",\"direct\":\"off\",\"file\":\"/usr/a/../disk.img\",\"size\":\"4G\"}",
	 NULL},
	{"ns resize ssd0/ns1 8G", "{\"namespace\":\"ssd0/ns1\",\"size\":\"8G\"}", NULL},
	{"ns resize ssd0/ns1 size 8G", "{\"namespace\":\"ssd0/ns1\",\"size\":\"8G\"}", NULL},
	{"ns resize ssd0/ns1", "{\"namespace\":\"ssd0/ns1\"}", NULL},
	{"ns attach ssd0/ns1 all", "{\"function\":\"all\",\"namespace\":\"ssd0/ns1\"}", NULL},
	{"ns delete ssd0/ns1 --force", "{\"force\":true,\"namespace\":\"ssd0/ns1\"}", NULL},
	{"ns show ssd0", "{\"name\":\"ssd0\"}", NULL},
	{"show namespaces ssd0", "{\"kind\":\"namespaces\",\"name\":\"ssd0\"}", NULL},
	{"vf set ssd0/vf0 iops 0 bandwidth-burst 64M",
	 "{\"bandwidth-burst\":\"64M\",\"function\":\"ssd0/vf0\",\"iops\":0}", NULL},
	{"ns create", NULL, "device is missing: such as ssd0"},
	{"ns create ssd0 memory", NULL,
	 "memory needs a value: in the daemon's memory, lost with it"},
	{"ns create ssd0 memory lots", NULL,
	 "memory: give bytes, with K, M, G or T for more, such as 512M or 1.5G"},
	{"ns create ssd0 null 1G block-size 1024", NULL,
	 "block-size: \"1024\": give one of 512|4096"},
	{"ns create ssd0 null 1G nsid 0", NULL, "nsid: give a number from 1 to 256"},
	{"ns create ssd0 devise /dev/vdb", NULL,
	 "\"devise\" is unknown here: did you mean \"device\"?"},
	{"ns resize ssd0/ns1 huge", NULL,
	 "size: give bytes, with K, M, G or T for more, such as 512M or 1.5G"},
	{"ns attach ssd0/ns1", NULL, "function is missing: such as vf3, pf, or all"},
	{"root unplug host0 nic1 --force",
	 "{\"device\":\"nic1\",\"force\":true,\"root\":\"host0\"}", NULL},
	{"vf set", NULL, "function is missing: such as nic0/vf3"},
	{"vf set nic0/vf3 vlan", NULL, "vlan needs a value: port VLAN; 0: none"},
	{"vf set nic0/vf3 vlan ten", NULL, "vlan: give a number from 0 to 4094"},
	{"vf set nic0/vf3 vlan 1 vlan 2", NULL, "vlan is given twice"},
	{"vf set nic0/vf3 spoof off", NULL,
	 "\"spoof\" is unknown here: did you mean \"spoofchk\"?"},
	{"vf set nic0/vf3 trust perhaps", NULL, "trust: give on or off (true or false)"},
	{"device set nic0", NULL, "num-vfs is missing: how many VFs there shall be"},
	{"device set nic0 num-vfs 2 --forced", NULL,
	 "\"--forced\" is unknown here: did you mean \"--force\"?"},
	{"show roots host0 host1", NULL, "\"host1\" is one word too many: softiov help show"},
};

static void words_become_parameters(void **state)
{
	assert_int_equal(chdir("/usr"), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		const struct control_command *cmd;
		char copy[256], why[256], *argv[32], *text;
		int used, argc = split(lines[i].words, copy, argv);
		json_t *params;

		cmd = control_find_verb(argc, argv, &used);
		assert_non_null(cmd);
		params = cli_params(cmd, argc - used, argv + used, why, sizeof(why));
		if (!params != !lines[i].json || (!params && strcmp(why, lines[i].why)))
			fail_msg("%s: %s", lines[i].words, why);
		if (!params)
			continue;
		text = json_dumps(params, JSON_COMPACT | JSON_SORT_KEYS);
		if (strcmp(text, lines[i].json))
			fail_msg("%s: %s", lines[i].words, text);
		free(text);
		json_decref(params);
	}
}

static void options_may_stand_anywhere(void **state)
{
	char copy[256], *argv[32];
	int argc = split("-s /run/x show -j functions --help", copy, argv);
	struct cli cli = {.json = false};

	assert_int_equal(cli_options(&cli, &argc, argv), 0);
	assert_true(cli.json && cli.help && cli.runtime_dir_given);
	assert_string_equal(cli.runtime_dir, "/run/x");
	assert_int_equal(argc, 2);
	assert_string_equal(argv[1], "functions");
	assert_null(argv[2]);
}

static void watch_takes_only_a_number(void **state)
{
	char copy[256], *argv[32];
	const char *v = NULL;
	int argc = split("nic0 --watch 0.5", copy, argv);

	assert_int_equal(cli_take(&argc, argv, "--watch", &v, true), 1);
	assert_string_equal(v, "0.5");
	assert_int_equal(argc, 1);
	argc = split("--watch nic0", copy, argv);
	v = NULL;
	assert_int_equal(cli_take(&argc, argv, "--watch", &v, true), 1);
	assert_null(v);
	assert_int_equal(argc, 1);
	assert_string_equal(argv[0], "nic0");
	argc = split("--vmm=qemu", copy, argv);
	assert_int_equal(cli_take(&argc, argv, "--vmm", &v, false), 1);
	assert_string_equal(v, "qemu");
	assert_int_equal(argc, 0);
	assert_int_equal(cli_take(&argc, argv, "--vmm", &v, false), 0);
}

static void tables_line_up(void **state)
{
	struct table t;
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	table_init(&t, "NAME|>N|WHAT");
	table_cell(&t, "a…");
	table_cell(&t, "%d", 7);
	table_cell(&t, "first");
	table_cell(&t, "longer");
	table_cell(&t, "%d", 1234);
	table_cell(&t, NULL);
	table_print(&t, f);
	table_free(&t);
	fclose(f);
	assert_string_equal(text, "NAME       N  WHAT\n"
				  "a…         7  first\n"
				  "longer  1234  -\n");
	free(text);
}

static void numbers_are_humanised(void **state)
{
	char b[16];

	assert_string_equal(human_count(0, b), "0");
	assert_string_equal(human_count(9999, b), "9999");
	assert_string_equal(human_count(10000, b), "10.0k");
	assert_string_equal(human_count(1234567, b), "1.23M");
	assert_string_equal(human_count(999999, b), "1.00M");
	assert_string_equal(human_count(UINT64_MAX, b), "18447P");
	assert_string_equal(human_bytes(512, b), "512 B");
	assert_string_equal(human_bytes(1536, b), "1.50 KiB");
	assert_string_equal(human_bytes(1ull << 31, b), "2.00 GiB");
	assert_string_equal(human_rate(9.41e9, b), "9.41 Gb/s");
	assert_string_equal(human_rate(12, b), "12 b/s");
	assert_string_equal(human_byte_rate(123.4e6, b), "123 MB/s");
	assert_string_equal(human_time(812, b), "812 ns");
	assert_string_equal(human_time(8200, b), "8.20 us");
	assert_string_equal(human_time(1500000, b), "1.50 ms");
	assert_string_equal(human_time(2000000000, b), "2.00 s");
}

/* What print() puts on stdout; free() it. */
static char *printed(void (*print)(const json_t *), const char *json)
{
	json_t *v = json_loads(json, JSON_DECODE_ANY, NULL);
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len), *out = stdout;

	assert_non_null(v);
	stdout = f;
	print(v);
	stdout = out;
	fclose(f);
	json_decref(v);
	return text;
}

static void names_are_drawn_together(void **state)
{
	static const struct {
		const char *json, *text;
	} lists[] = {
		{"[]", ""},
		{"[\"ssd0/pf\"]", "pf"},
		{"[\"ssd0/vf0\",\"ssd0/vf1\"]", "vf0,vf1"},
		{"[\"ssd0/pf\",\"ssd0/vf0\",\"ssd0/vf1\",\"ssd0/vf2\",\"ssd0/vf9\"]",
		 "pf,vf0-vf2,vf9"},
		{"[\"ssd0/pf0\",\"ssd0/vf1\",\"ssd0/vf2\",\"ssd0/vf3\"]", "pf0,vf1-vf3"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		json_t *v = json_loads(lists[i].json, 0, NULL);
		char *text = show_attached(v);

		assert_string_equal(text, lists[i].text);
		free(text);
		json_decref(v);
	}
}

static void disks_are_listed(void **state)
{
	static const char list[] =
		"[{\"name\":\"ssd0/ns1\",\"device\":\"ssd0\",\"nsid\":1,\"backend\":\"file\","
		"\"target\":\"/a/disk.img\",\"size\":4294967296,\"allocated\":1048576,"
		"\"block-size\":512,\"read-only\":false,\"state\":\"ok\",\"attached\":[\"ssd0/"
		"vf0\"],"
		"\"iops\":20000,\"bandwidth\":209715200},"
		"{\"name\":\"ssd0/ns4\",\"device\":\"ssd0\",\"nsid\":4,\"backend\":\"null\","
		"\"target\":null,\"size\":1099511627776,\"allocated\":1099511627776,"
		"\"block-size\":4096,\"state\":\"ok\",\"attached\":[],\"iops\":0,\"bandwidth\":0}]";
	char *t = printed(show_namespaces, list);

	assert_string_equal(t,
			    "NAMESPACE  BACKEND               SIZE      USED  BLOCK  ATTACHED TO  "
			    "LIMITS                 STATE\n"
			    "ssd0/ns1   file /a/disk.img  4.00 GiB  1.00 MiB    512  vf0          "
			    "20.0k IOPS, 200 MiB/s  ok\n"
			    "ssd0/ns4   null              1.00 TiB         -   4096  -            "
			    "-                      ok\n");
	free(t);
}

static void controllers_are_listed_without_ports(void **state)
{
	static const char list[] =
		"[{\"name\":\"nic0/pf\",\"type\":\"ethernet\"},"
		"{\"name\":\"ssd0/vf0\",\"type\":\"nvme\",\"holder\":\"endpoint\","
		"\"client\":{\"pid\":42},\"controller\":{\"state\":\"ready\",\"cntlid\":1,"
		"\"queues\":2,\"queues-max\":8},\"namespaces\":[\"ssd0/ns1\",\"ssd0/ns2\"],"
		"\"socket\":\"/run/x/ssd0/vf0.sock\"}]";
	char *t = printed(show_nvme_functions, list);

	assert_string_equal(t,
			    "FUNCTION  HELD BY  STATE  CNTLID  QUEUES  NAMESPACES  LIMITS  SOCKET\n"
			    "ssd0/vf0  pid 42   ready       1     2/8  ns1,ns2     -       "
			    "/run/x/ssd0/vf0.sock\n");
	free(t);
}

#define IO(name, reads, bytes, waited)                                                             \
	"{\"name\":\"" name "\",\"reads\":" reads ",\"read-bytes\":" bytes                         \
	",\"writes\":0,\"write-bytes\":0,\"others\":3,\"errors\":1,\"queue-depth\":32,"            \
	"\"throttled-ns\":" waited ",\"latency-ns\":{\"read\":{\"p50\":8200,\"p99\":45100,"        \
	"\"p99.9\":1210000,\"mean\":9000,\"max\":2000000},\"write\":{\"max\":0}}}"

static void counters_of_disks_are_listed(void **state)
{
	char *t = printed(
		stats_nvme_tables,
		"{\"functions\":[{\"name\":\"nic0/pf\"}," IO(
			"ssd0/vf0", "1000", "4096000",
			"1500000000") "],"
				      "\"namespaces\":[" IO("ssd0/ns1", "5", "512", "0") "]}");

	assert_string_equal(
		t, "FUNCTION  READS      READ  WRITES  WRITTEN  OTHER  ERRORS  DEPTH  READ us "
		   "50/99/99.9%  WRITE us 50/99/99.9%  THROTTLED\n"
		   "ssd0/vf0   1000  3.91 MiB       0      0 B      3       1     32        "
		   "8.2/45.1/1210                     -     1.50 s\n"
		   "\n"
		   "NAMESPACE  READS   READ  WRITES  WRITTEN  OTHER  ERRORS  DEPTH  READ us "
		   "50/99/99.9%  WRITE us 50/99/99.9%  THROTTLED\n"
		   "ssd0/ns1       5  512 B       0      0 B      3       1     32        "
		   "8.2/45.1/1210                     -       0 ns\n");
	free(t);
	t = printed(stats_nvme_one, IO("ssd0/ns1", "12345678", "512", "0"));
	assert_non_null(strstr(t, "  reads                12345678\n"));
	assert_non_null(strstr(t, "  p99.9  1.21 ms      -      -\n"));
	free(t);
}

static void print_rates(const json_t *two)
{
	stats_nvme_rates(json_array_get(two, 0), json_array_get(two, 1), 2.0);
}

static void rates_of_disks_are_a_second(void **state)
{
	char *t = printed(
		print_rates,
		"[{\"functions\":[" IO("ssd0/vf0", "41000", "168960000",
				       "9000000000") "]},{\"functions\":[" IO("ssd0/vf0", "1000",
									      "5120000",
									      "1000000000") "]}]");

	assert_non_null(strstr(t,
			       "ssd0/vf0         20.0k  20.0k  81.9 MB/s       0    0 B/s       0"
			       "     32        8.2/45.1/1210                     -        4.0\n"));
	free(t);
}

static void vmm_texts_are_exact(void **state)
{
	char *t = attach_qemu("nic0/vf3", "vf", "/run/softiov/nic0/vf3.sock");

	assert_string_equal(
		t, "# QEMU 10.1 or newer. size= must equal -m; -m and -machine once per VM\n"
		   "-m 1G -object memory-backend-memfd,id=mem0,size=1G,share=on \\\n"
		   "-machine q35,memory-backend=mem0 \\\n"
		   "-device pcie-root-port,id=rp-nic0-vf3,chassis=33,slot=4 \\\n"
		   "-device '{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":"
		   "\"/run/softiov/nic0/vf3.sock\"},\"bus\":\"rp-nic0-vf3\"}'\n");
	free(t);
	t = attach_cloud_hypervisor("nic0/vf3", "vf", "/run/softiov/nic0/vf3.sock");
	assert_non_null(strstr(t, "--memory size=1G,shared=on \\\n--user-device "
				  "socket=/run/softiov/nic0/vf3.sock\n"));
	free(t);
	t = attach_libvirt("host0", "root", "/run/a'b&c/host0.sock");
	assert_non_null(strstr(t, "<source type='memfd'/>\n    <access mode='shared'/>"));
	assert_non_null(strstr(t, "\"path\":\"/run/a&apos;b&amp;c/host0.sock\""));
	assert_non_null(strstr(t, "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"));
	free(t);
	t = attach_qemu("host0", "root", "/a/host0.sock");
	assert_non_null(
		strstr(t, "\n-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off \\\n"));
	free(t);
	/* What a shell would take apart is quoted. */
	t = attach_qemu("nic0/vf3", "vf", "/run/it's/x.sock");
	assert_non_null(strstr(t, "/run/it'\\''s/x.sock"));
	free(t);
}

static void slots_of_one_vm_differ(void **state)
{
	char *a = attach_qemu("nic0/vf0", "vf", "/a"), *b = attach_qemu("nic0/vf1", "vf", "/a");
	char *c = attach_qemu("nic0/pf", "pf", "/a");

	assert_string_not_equal(strstr(a, "chassis="), strstr(b, "chassis="));
	assert_non_null(strstr(a, ",slot=1 "));
	assert_non_null(strstr(b, ",slot=2 "));
	assert_non_null(strstr(c, ",slot=0 "));
	free(a);
	free(b);
	free(c);
}

static void versions_of_vmms_are_understood(void **state)
{
	int major, minor;

	assert_int_equal(
		doctor_parse_version("QEMU emulator version 11.1.3 (Debian 1:11)", &major, &minor),
		0);
	assert_int_equal(major, 11);
	assert_int_equal(minor, 1);
	assert_int_equal(doctor_parse_version("cloud-hypervisor v48.0.0", &major, &minor), 0);
	assert_int_equal(major, 48);
	assert_int_not_equal(doctor_parse_version("nothing", &major, &minor), 0);
}

/* Each verb's help names its settings and ends in whole lines. */
static void help_is_there_for_every_verb(void **state)
{
	for (const struct control_command *c = control_commands; c->verb || c->method; c++) {
		char *text;
		size_t len;
		FILE *f = open_memstream(&text, &len);

		cli_help_verb(c, f);
		fclose(f);
		assert_non_null(strstr(text, c->summary));
		for (const struct control_param *p = c->params; p->name; p++)
			assert_non_null(strstr(text, p->help));
		assert_int_equal(text[len - 1], '\n');
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_become_parameters),
		cmocka_unit_test(options_may_stand_anywhere),
		cmocka_unit_test(watch_takes_only_a_number),
		cmocka_unit_test(tables_line_up),
		cmocka_unit_test(numbers_are_humanised),
		cmocka_unit_test(names_are_drawn_together),
		cmocka_unit_test(disks_are_listed),
		cmocka_unit_test(controllers_are_listed_without_ports),
		cmocka_unit_test(counters_of_disks_are_listed),
		cmocka_unit_test(rates_of_disks_are_a_second),
		cmocka_unit_test(vmm_texts_are_exact),
		cmocka_unit_test(slots_of_one_vm_differ),
		cmocka_unit_test(versions_of_vmms_are_understood),
		cmocka_unit_test(help_is_there_for_every_verb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
