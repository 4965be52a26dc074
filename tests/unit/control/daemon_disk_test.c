/* SPDX-License-Identifier: BSD-3-Clause */
/* Disks, as a user of both programs makes, changes and looks at them: daemon_disk_test SOFTIOVD
 * SOFTIOV. */
#include "daemon_env.h"

#include "util/util.h"

#define MIB (1024ll * 1024)

/* One Ethernet device beside, so that tables and settings of both types meet. */
static const char disk_config[] = "devices:\n"
				  "  nic0: {type: ethernet, total-vfs: 2, num-vfs: 1}\n"
				  "  ssd0:\n"
				  "    type: nvme\n"
				  "    total-vfs: 4\n"
				  "    num-vfs: 2\n"
				  "    queues: 2\n"
				  "    serial: TEST1\n"
				  "    namespace-pool: {memory: 64M}\n"
				  "    namespaces:\n"
				  "      1: {file: disk.img, size: 8M, attach: [vf0]}\n"
				  "      2: {memory: 4M, block-size: 4096, attach: [vf0, vf1], "
				  "iops: 5000}\n"
				  "    vfs: {1: {bandwidth: 100M, queues: 3}}\n";

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static long long int_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* What ns show says of one; a new reference. */
static json_t *ns_info(const char *name)
{
	json_t *list = CLI_JSON("ns", "show", name);
	json_t *o = json_incref(named(list, name));

	json_decref(list);
	if (!o)
		fail_msg("no %s", name);
	return o;
}

static bool attached_to(const char *ns, const char *function)
{
	json_t *o = ns_info(ns), *names = json_object_get(o, "attached"), *n;
	bool hit = false;
	size_t i;

	json_array_foreach(names, i, n) hit = hit || !strcmp(json_string_value(n), function);
	json_decref(o);
	return hit;
}

static void show_tells_of_both_types(void **state)
{
	json_t *all = CLI_JSON("show");
	json_t *ssd = named(json_object_get(all, "devices"), "ssd0");
	json_t *functions = json_object_get(all, "functions");
	json_t *vf1 = named(functions, "ssd0/vf1"), *c = json_object_get(vf1, "controller");

	assert_string_equal(text_of(ssd, "type"), "nvme");
	assert_string_equal(text_of(ssd, "serial"), "TEST1");
	assert_int_equal(strncmp(text_of(ssd, "nqn"), "nqn.", 4), 0);
	assert_int_equal(int_of(ssd, "num-namespaces"), 2);
	assert_int_equal(int_of(json_object_get(ssd, "pool"), "capacity"), 64 * MIB);
	assert_string_equal(text_of(named(functions, "nic0/vf0"), "type"), "ethernet");
	assert_string_equal(text_of(vf1, "type"), "nvme");
	assert_string_equal(text_of(c, "state"), "disabled");
	assert_int_equal(int_of(c, "cntlid"), 2);
	assert_int_equal(int_of(c, "queues-max"), 3);
	assert_int_equal(int_of(vf1, "bandwidth"), 100 * MIB);
	assert_int_equal(json_array_size(json_object_get(vf1, "namespaces")), 1);
	json_decref(all);
	assert_int_equal(CLI("show"), 0);
	expect("NAMESPACE");
	expect("CNTLID");
	expect("LINK");
	assert_int_equal(CLI("show", "ssd0/vf1"), 0);
	expect("secondary NVMe controller");
	expect("100 MiB a second");
	assert_int_equal(CLI("show", "ssd0/pf"), 0);
	expect("primary NVMe controller");
	assert_int_equal(CLI("show", "devices"), 0);
	expect("nqn.");
	assert_int_equal(CLI("show", "ports"), 0);
	assert_null(strstr(out, "ssd0"));
}

static void namespaces_are_listed_and_described(void **state)
{
	json_t *list = CLI_JSON("show", "namespaces"), *ns = named(list, "ssd0/ns1");

	assert_int_equal(json_array_size(list), 2);
	assert_string_equal(text_of(ns, "backend"), "file");
	/* relative to the configuration file */
	assert_int_equal(strncmp(text_of(ns, "target"), dir, strlen(dir)), 0);
	assert_int_equal(int_of(ns, "size"), 8 * MIB);
	assert_true(json_is_true(json_object_get(ns, "configured")));
	assert_int_equal(int_of(named(list, "ssd0/ns2"), "iops"), 5000);
	assert_int_equal(int_of(named(list, "ssd0/ns2"), "block-size"), 4096);
	json_decref(list);
	assert_true(attached_to("ssd0/ns1", "ssd0/vf0"));
	assert_int_equal(CLI("ns", "show"), 0);
	expect("vf0,vf1");
	assert_int_equal(CLI("ns", "show", "ssd0/ns1"), 0);
	expect("ssd0/ns1: namespace 1 of ssd0");
	expect("8388608 bytes (8.00 MiB), blocks of 512");
	expect("the configuration file");
	assert_int_equal(CLI("ns", "show", "ssd0/ns7"), 1);
	expect("ssd0/ns7: no such namespace: softiov ns show ssd0");
}

static void namespaces_live_and_die(void **state)
{
	json_t *o;

	assert_int_equal(CLI("ns", "create", "ssd0", "memory", "2M", "attach", "vf1,pf"), 0);
	assert_string_equal(out, "ssd0/ns3\n");
	assert_true(attached_to("ssd0/ns3", "ssd0/vf1"));
	assert_true(attached_to("ssd0/ns3", "ssd0/pf"));
	assert_int_equal(CLI("ns", "resize", "ssd0/ns3", "3M"), 0);
	o = ns_info("ssd0/ns3");
	assert_int_equal(int_of(o, "size"), 3 * MIB);
	assert_true(json_is_false(json_object_get(o, "configured")));
	json_decref(o);
	assert_int_equal(CLI("ns", "attach", "ssd0/ns3", "ssd0/vf0"), 0);
	assert_true(attached_to("ssd0/ns3", "ssd0/vf0"));
	assert_int_equal(CLI("ns", "attach", "ssd0/ns3", "vf0"), 1);
	assert_int_equal(CLI("ns", "detach", "ssd0/ns3", "vf0"), 0);
	assert_false(attached_to("ssd0/ns3", "ssd0/vf0"));
	assert_int_equal(CLI("ns", "set", "ssd0/ns3", "iops", "100", "iops-burst", "10",
			     "bandwidth", "1.5M"),
			 0);
	o = ns_info("ssd0/ns3");
	assert_int_equal(int_of(o, "iops-burst"), 10);
	assert_int_equal(int_of(o, "bandwidth"), 3 * MIB / 2);
	json_decref(o);
	assert_int_equal(CLI("ns", "delete", "ssd0/ns3"), 1);
	expect("ssd0/ns3");
	assert_int_equal(CLI("ns", "delete", "ssd0/ns3", "--force"), 0);
	assert_int_equal(CLI("ns", "show", "ssd0/ns3"), 1);
}

static void every_backend_can_be_made(void **state)
{
	char path[64];
	json_t *o;

	assert_int_equal(
		CLI("ns", "create", "ssd0", "null", "1T", "nsid", "9", "block-size", "4096"), 0);
	assert_string_equal(out, "ssd0/ns9\n");
	assert_int_equal(CLI("ns", "create", "ssd0", "pool", "4M", "nsid", "10"), 0);
	o = ns_info("ssd0/ns10");
	assert_string_equal(text_of(o, "backend"), "pool");
	json_decref(o);
	/* The client's own directory is where relative paths begin. */
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(CLI("ns", "create", "ssd0", "file", "./live.img", "size", "1M", "nsid",
			     "11", "preallocate", "on"),
			 0);
	snprintf(path, sizeof(path), "%s/live.img", dir);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(CLI("ns", "create", "ssd0", "file", "live.img", "nsid", "12"), 1);
	expect("live.img");
	for (unsigned i = 9; i < 12; i++) {
		snprintf(path, sizeof(path), "ssd0/ns%u", i);
		assert_int_equal(CLI("ns", "delete", path), 0);
	}
	snprintf(path, sizeof(path), "%s/live.img", dir);
	assert_int_equal(access(path, F_OK), 0);
}

#define W(...)                                                                                     \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}
static const struct {
	const char *words[14], *why;
} refused[] = {
	{W("ns", "create", "ssd0"), "ssd0: no backend given: add one of file PATH"},
	{W("ns", "create", "ssd0", "memory", "1M", "null", "1M"),
	 "ssd0: a namespace has one backend, this one has memory and null: give one of them"},
	{W("ns", "create", "ssd0", "memory", "1M", "size", "2M"),
	 "ssd0: size: belongs to file, device and nbd; here memory says it: remove it"},
	{W("ns", "create", "ssd0", "memory", "1M", "direct", "on"),
	 "ssd0: direct: belongs to file and device, this is memory: remove it"},
	{W("ns", "create", "ssd0", "memory", "1000"),
	 "ssd0: 1000 bytes are no whole number of blocks of 512: give 1024"},
	{W("ns", "create", "ssd0", "memory", "0"), "give at least one block"},
	{W("ns", "create", "ssd0", "nbd", "http://x"), "ssd0: nbd: give a URI such as"},
	{W("ns", "create", "ssd0", "memory", "1M", "uuid", "x"), "ssd0: uuid: write a UUID"},
	{W("ns", "create", "ssd0", "memory", "1M", "iops-burst", "5"),
	 "ssd0: iops-burst: there is no limit of iops: give iops too"},
	{W("ns", "create", "ssd0", "memory", "1M", "bandwidth", "200"),
	 "ssd0: bandwidth: give bytes a second, from 4K"},
	{W("ns", "create", "ssd0", "memory", "1M", "nsid", "1"), "ssd0/ns1"},
	{W("ns", "create", "ssd0", "memory", "1M", "attach", "vf0,vf9"), "vf9"},
	{W("ns", "create", "ssd0", "pool", "100M"), "pool"},
	{W("ns", "create", "nic0", "memory", "1M"), "nic0"},
	{W("ns", "create", "ssd7", "memory", "1M"), "ssd7"},
	{W("ns", "create", "ssd0", "file", "nothere/x.img", "size", "1M"), "its folder"},
	{W("ns", "attach", "ssd0/ns8", "vf0"),
	 "ssd0/ns8: no such namespace: softiov ns show ssd0 lists what there is"},
	{W("ns", "attach", "ssd0/vf0", "ns1"),
	 "ssd0/vf0: is no namespace: give one such as ssd0/ns1"},
	{W("ns", "resize", "nic0/ns1", "1M"), "nic0/ns1: nic0 is no NVMe device"},
	{W("ns", "show", "nic0"), "softiov: nic0 is no NVMe device and has no namespaces"},
	{W("ns", "show", "ssd0/ns30"), "ssd0/ns30: no such namespace: softiov ns show ssd0"},
	{W("attach-args", "ssd0/ns1"),
	 "ssd0/ns1: is a namespace: give a function that has it, such as ssd0/vf0"},
	{W("ns", "resize", "ssd0/ns1"), "ssd0/ns1: give its new size, such as 8G"},
	{W("ns", "resize", "ssd0/ns1", "1M"), "is lost for good: say --force"},
	{W("ns", "set", "ssd0/ns1"), "ssd0/ns1: nothing to set: give iops"},
	{W("vf", "set", "ssd0/vf0", "vlan", "5"),
	 "ssd0/vf0: vlan belongs to Ethernet functions, this is NVMe: give iops, iops-burst, "
	 "bandwidth or bandwidth-burst"},
	{W("vf", "set", "nic0/vf0", "iops", "5"),
	 "nic0/vf0: iops belongs to NVMe functions, this is Ethernet: give mac, vlan"},
	{W("vf", "set", "ssd0/vf0"), "ssd0/vf0: nothing to set: give iops"},
};

static void mistakes_are_explained(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
		const char *argv[16] = {softiov};

		for (unsigned k = 0; refused[i].words[k]; k++)
			argv[k + 1] = refused[i].words[k];
		if (run(argv) != 1 || !strstr(out, refused[i].why))
			fail_msg("%s %s %s: no \"%s\" in:\n%s", argv[1], argv[2], argv[3],
				 refused[i].why, out);
	}
	assert_int_equal(CLI("ns"), 2);
	expect("ns what? One of: create, resize, attach, detach, delete, set, show");
	assert_int_equal(CLI("ns", "foo"), 2);
	expect("ns what? One of: create");
	assert_int_equal(CLI("ns", "shwo"), 2);
	expect("did you mean \"softiov ns show\"?");
	assert_int_equal(CLI("help", "ns"), 2);
	expect("ns what? One of: create");
	assert_int_equal(CLI("ns", "create", "memory", "1G"), 2);
	expect("device is missing: such as ssd0");
	assert_int_equal(CLI("ns", "delete", "ssd0/ns1", "force"), 2);
	expect("write --force");
	/* And none of them made or changed something. */
	json_decref(CLI_JSON("ns", "show"));
	assert_int_equal(CLI("ns", "show", "ssd0/ns3"), 1);
}

static void limits_of_functions_change_live(void **state)
{
	json_t *list, *vf;

	assert_int_equal(CLI("vf", "set", "ssd0/vf0", "iops", "2000", "iops-burst", "50",
			     "bandwidth", "10M"),
			 0);
	assert_int_equal(CLI("vf", "set", "ssd0/vf0", "iops", "0"), 0);
	list = CLI_JSON("show", "functions", "ssd0");
	vf = named(list, "ssd0/vf0");
	assert_int_equal(int_of(vf, "iops"), 0);
	assert_int_equal(int_of(vf, "iops-burst"), 0);
	assert_int_equal(int_of(vf, "bandwidth"), 10 * MIB);
	json_decref(list);
}

static void stats_count_disks(void **state)
{
	json_t *st = CLI_JSON("stats"), *o;
	const char *const names[] = {"ssd0/vf0", "ssd0/ns1"};

	for (unsigned i = 0; i < 2; i++) {
		o = named(json_object_get(st, i ? "namespaces" : "functions"), names[i]);
		assert_true(json_is_integer(json_object_get(o, "reads")));
		assert_true(json_is_integer(json_object_get(
			json_object_get(json_object_get(o, "latency-ns"), "read"), "p99.9")));
	}
	json_decref(st);
	assert_int_equal(CLI("stats"), 0);
	expect("WHY DROPPED");
	expect("THROTTLED");
	assert_int_equal(CLI("stats", "ssd0/ns1"), 0);
	expect("read-bytes           0");
	assert_int_equal(CLI("stats", "ssd0"), 0);
	assert_null(strstr(out, "WHY DROPPED"));
	assert_int_equal(CLI("stats", "clear", "ssd0/ns2"), 0);
	assert_int_equal(CLI("stats", "clear", "ssd0"), 0);
	assert_int_equal(CLI("stats", "ssd0/ns5"), 1);
	expect("no such namespace: softiov ns show ssd0");
}

static void vmms_and_lspci_take_disks_as_any_function(void **state)
{
	assert_int_equal(CLI("attach-args", "ssd0/vf0"), 0);
	expect("/softiov/ssd0/vf0.sock\"}");
	assert_int_equal(CLI("lspci", "ssd0/vf0"), 0);
	expect("00: 36 1b 11 5f");
}

static void reload_changes_namespaces(void **state)
{
	write_config("devices:\n"
		     "  nic0: {type: ethernet, total-vfs: 2, num-vfs: 1}\n"
		     "  ssd0:\n"
		     "    type: nvme\n"
		     "    total-vfs: 4\n"
		     "    num-vfs: 2\n"
		     "    queues: 2\n"
		     "    serial: TEST1\n"
		     "    namespace-pool: {memory: 64M}\n"
		     "    namespaces:\n"
		     "      1: {file: disk.img, size: 16M, attach: [vf1]}\n"
		     "      4: {null: 1G, attach: all}\n"
		     "    vfs: {1: {bandwidth: 100M, queues: 3}}\n");
	assert_int_equal(CLI("reload"), 0);
	assert_false(attached_to("ssd0/ns1", "ssd0/vf0"));
	assert_true(attached_to("ssd0/ns1", "ssd0/vf1"));
	assert_true(attached_to("ssd0/ns4", "ssd0/pf"));
	assert_int_equal(CLI("ns", "show", "ssd0/ns2"), 1);
	write_config(disk_config);
	assert_int_equal(CLI("reload"), 1);
	expect("ssd0/ns1");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(show_tells_of_both_types),
		cmocka_unit_test(namespaces_are_listed_and_described),
		cmocka_unit_test(namespaces_live_and_die),
		cmocka_unit_test(every_backend_can_be_made),
		cmocka_unit_test(mistakes_are_explained),
		cmocka_unit_test(limits_of_functions_change_live),
		cmocka_unit_test(stats_count_disks),
		cmocka_unit_test(vmms_and_lspci_take_disks_as_any_function),
		cmocka_unit_test(reload_changes_namespaces),
	};

	if (argc != 3) {
		fprintf(stderr, "usage: %s SOFTIOVD SOFTIOV\n", argv[0]);
		return 2;
	}
	/* A test changes the directory. */
	softiovd = realpath(argv[1], NULL);
	softiov = realpath(argv[2], NULL);
	if (!softiovd || !softiov)
		return 2;
	first_config = disk_config;
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, start_daemon, stop_daemon);
}
