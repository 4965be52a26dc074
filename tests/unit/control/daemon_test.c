/* SPDX-License-Identifier: BSD-3-Clause */
/* softiovd and softiov as a user runs them: daemon_test SOFTIOVD SOFTIOV. */
#include "daemon_env.h"

static const char ethernet_config[] = "devices:\n"
				      "  nic0:\n"
				      "    type: ethernet\n"
				      "    total-vfs: 8\n"
				      "    num-vfs: 2\n"
				      "    vfs: {0: {mac: \"02:00:00:00:00:10\", vlan: 100}}\n"
				      "  nic1: {type: ethernet, total-vfs: 4}\n"
				      "roots:\n"
				      "  host0: {devices: [nic1]}\n";

static void show_lists_what_the_file_says(void **state)
{
	json_t *all = CLI_JSON("show");
	json_t *functions = json_object_get(all, "functions");
	json_t *vf0 = named(functions, "nic0/vf0");

	assert_int_equal(json_array_size(json_object_get(all, "devices")), 2);
	assert_non_null(vf0);
	assert_non_null(named(functions, "nic0/pf"));
	assert_non_null(named(functions, "nic0/vf1"));
	assert_null(named(functions, "nic0/vf2"));
	assert_string_equal(json_string_value(json_object_get(vf0, "mac")), "02:00:00:00:00:10");
	assert_int_equal(json_integer_value(json_object_get(vf0, "vlan")), 100);
	assert_string_equal(json_string_value(json_object_get(vf0, "holder")), "none");
	json_decref(all);
	assert_int_equal(CLI("show"), 0);
	expect("FUNCTION");
	expect("host0");
	assert_int_equal(CLI("show", "nic0/vf0"), 0);
	expect("02:00:00:00:00:10, set by the administrator");
	for (unsigned i = 0; i < 6; i++) {
		static const char *const kinds[] = {"devices", "functions", "ports",
						    "roots",   "workers",   "fdb"};

		assert_int_equal(CLI("show", kinds[i]), 0);
		json_decref(CLI_JSON("show", kinds[i]));
	}
}

static void sockets_are_private(void **state)
{
	static const char *const names[] = {"control.sock", "nic0/vf0.sock", "host0.sock"};
	char path[160];
	struct stat st;

	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/softiov/%s", xdg, names[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
	}
}

static void vf_set_changes_what_show_tells(void **state)
{
	json_t *list, *vf;

	assert_int_equal(CLI("vf", "set", "nic0/vf1", "vlan", "7", "qos", "2", "proto", "802.1ad",
			     "spoofchk", "off", "trust", "on", "link-state", "disable"),
			 0);
	list = CLI_JSON("show", "functions", "nic0");
	vf = named(list, "nic0/vf1");
	assert_int_equal(json_integer_value(json_object_get(vf, "vlan")), 7);
	assert_int_equal(json_integer_value(json_object_get(vf, "qos")), 2);
	assert_string_equal(json_string_value(json_object_get(vf, "proto")), "802.1ad");
	assert_true(json_is_false(json_object_get(vf, "spoofchk")));
	assert_true(json_is_true(json_object_get(vf, "trust")));
	assert_string_equal(json_string_value(json_object_get(vf, "link")), "down");
	json_decref(list);
	assert_int_equal(CLI("vf", "set", "nic0/vf1", "mac", "02:00:00:00:00:10"), 1);
	assert_int_equal(CLI("vf", "set", "nic0/vf1", "trunk", "5"), 1);
	expect("vlan and trunk exclude each other");
	assert_int_equal(
		CLI("vf", "set", "nic0/vf1", "vlan", "0", "trunk", "5-6", "link-state", "auto"), 0);
	assert_int_equal(CLI("vf", "set", "nic0/vf7", "vlan", "0"), 1);
	expect("nic0/vf7: no such function: nic0 has 2 VFs: softiov device set nic0 num-vfs 8");
}

static void num_vfs_grows_and_shrinks(void **state)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/softiov/nic0/vf3.sock", xdg);
	assert_int_equal(CLI("device", "set", "nic0", "num-vfs", "4"), 0);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(CLI("device", "set", "nic0", "num-vfs", "2"), 0);
	assert_int_not_equal(access(path, F_OK), 0);
	assert_int_equal(CLI("device", "set", "nic0", "num-vfs", "9"), 1);
	assert_int_equal(CLI("device", "set", "nic1", "num-vfs", "1"), 1);
	expect("host0");
}

static void stats_count_by_reason(void **state)
{
	json_t *st = CLI_JSON("stats");
	json_t *vf = named(json_object_get(st, "functions"), "nic0/vf0");

	assert_true(json_is_integer(json_object_get(vf, "rx-packets")));
	assert_true(json_is_integer(json_object_get(json_object_get(vf, "drops"), "tx-spoof-mac")));
	assert_int_equal(json_array_size(json_object_get(st, "workers")), 1);
	json_decref(st);
	assert_int_equal(CLI("stats"), 0);
	expect("WHY DROPPED");
	assert_int_equal(CLI("stats", "nic0/vf0"), 0);
	expect("rx-no-buffer");
	assert_int_equal(CLI("stats", "clear"), 0);
	assert_int_equal(CLI("stats", "nic7"), 1);
	expect("did you mean nic");
}

static void lspci_dumps_all_views(void **state)
{
	char path[160];

	assert_int_equal(CLI("lspci", "nic0/vf0"), 0);
	expect("00: f4 1a 41 10");
	assert_int_equal(CLI("lspci", "nic0/vf0", "--bus"), 0);
	expect("00: ff ff ff ff");
	assert_int_equal(CLI("lspci", "host0"), 0);
	assert_int_equal(CLI("lspci"), 0);
	snprintf(path, sizeof(path), "%s/softiov/nic0/vf0.sock", xdg);
	assert_int_equal(CLI("lspci", "--socket", path), 0);
	expect("000: f4 1a 41 10");
}

static void attach_args_name_the_socket(void **state)
{
	assert_int_equal(CLI("attach-args", "nic0/vf0"), 0);
	expect("/softiov/nic0/vf0.sock\"}");
	assert_int_equal(CLI("attach-args", "host0", "--vmm", "libvirt"), 0);
	expect("/softiov/host0.sock");
	assert_int_equal(CLI("attach-args", "nic1/pf"), 1);
	expect("softiov attach-args host0");
	assert_int_equal(CLI("attach-args", "host0", "--vmm", "bochs"), 2);
}

static void reload_applies_or_says_why_not(void **state)
{
	json_t *list;

	write_config("devices: {nic0: {type: ethernet, mtus: 3}}\n");
	assert_int_equal(CLI("reload"), 1);
	expect("nic.yaml:1: nic0.mtus: unknown key: did you mean \"mtu\"?");
	write_config("devices:\n"
		     "  nic0: {type: ethernet, total-vfs: 8, num-vfs: 3,\n"
		     "         vfs: {0: {mac: \"02:00:00:00:00:10\", vlan: 200}}}\n"
		     "  nic1: {type: ethernet, total-vfs: 4}\n"
		     "roots:\n"
		     "  host0: {devices: [nic1]}\n");
	assert_int_equal(CLI("reload"), 0);
	list = CLI_JSON("show", "functions", "nic0");
	assert_non_null(named(list, "nic0/vf2"));
	assert_int_equal(json_integer_value(json_object_get(named(list, "nic0/vf0"), "vlan")), 200);
	json_decref(list);
}

static long long vlan_of(const char *name)
{
	json_t *list = CLI_JSON("show", "functions", name);
	long long vlan = json_integer_value(json_object_get(named(list, name), "vlan"));

	json_decref(list);
	return vlan;
}

/* Refused reloads, for what is seen in the file and for what fails when it is made. */
static void a_refused_reload_changes_nothing(void **state)
{
	char text[1024], mac[24], path[128];
	json_t *list = CLI_JSON("show", "functions", "nic0");

	snprintf(mac, sizeof(mac), "%s",
		 json_string_value(json_object_get(named(list, "nic0/vf1"), "mac")));
	json_decref(list);
	snprintf(text, sizeof(text),
		 "devices:\n"
		 "  nic0: {type: ethernet, total-vfs: 8, num-vfs: 1,\n"
		 "         vfs: {0: {vlan: 300}, 5: {mac: \"%s\"}}}\n"
		 "  nic1: {type: ethernet, total-vfs: 4}\n"
		 "roots: {host0: {devices: [nic1]}}\n",
		 mac);
	write_config(text);
	assert_int_equal(CLI("reload"), 1);
	expect("nic0: vf5: another function has its new mac now");
	write_config("devices:\n"
		     "  nic0: {type: ethernet, total-vfs: 8, vfs: {0: {vlan: 300}}}\n"
		     "  nic1: {type: ethernet, total-vfs: 4, admin-strict: on}\n"
		     "roots: {host0: {devices: [nic1]}}\n");
	assert_int_equal(CLI("reload"), 1);
	expect("nic1: admin-strict cannot change while running; restart the daemon");
	write_config("devices:\n"
		     "  nic0: {type: ethernet, total-vfs: 8, vfs: {0: {vlan: 300}}}\n"
		     "  nic1: {type: ethernet, total-vfs: 4}\n"
		     "roots: {host0: {devices: [nic1], vectors: 9}}\n");
	assert_int_equal(CLI("reload"), 1);
	expect("host0: vectors cannot change while running");
	/* Something in the way of a new root's socket. */
	snprintf(path, sizeof(path), "%s/softiov/host1.sock", xdg);
	assert_int_equal(mkdir(path, 0755), 0);
	write_config("devices:\n"
		     "  nic0: {type: ethernet, total-vfs: 8, num-vfs: 1, vfs: {0: {vlan: 300}}}\n"
		     "  nic2: {type: ethernet, total-vfs: 4}\n"
		     "  nic3: {type: ethernet, num-vfs: 2}\n"
		     "roots: {host1: {devices: [nic2]}}\n");
	assert_int_equal(CLI("reload"), 1);
	expect("host1: cannot make its socket");
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(vlan_of("nic0/vf0"), 200);
	list = CLI_JSON("show", "functions");
	assert_non_null(named(list, "nic0/vf2"));
	assert_non_null(named(list, "nic1/pf"));
	json_decref(list);
	assert_int_equal(CLI("lspci", "nic3/vf0"), 1);
	assert_int_equal(CLI("lspci", "host1"), 1);
}

/* A new device comes into a root that is there already; a gone one leaves. */
static void reload_plugs_new_devices_into_old_roots(void **state)
{
	json_t *list;

	write_config("devices:\n"
		     "  nic0: {type: ethernet, total-vfs: 8, num-vfs: 3,\n"
		     "         vfs: {0: {mac: \"02:00:00:00:00:10\", vlan: 200},\n"
		     "               5: {mac: \"02:00:00:00:00:15\"}}}\n"
		     "  nic1: {type: ethernet, total-vfs: 4}\n"
		     "  nic2: {type: ethernet, total-vfs: 4}\n"
		     "roots: {host0: {devices: [nic1, nic2]}}\n");
	assert_int_equal(CLI("reload"), 0);
	list = CLI_JSON("show", "roots");
	assert_int_equal(json_integer_value(json_object_get(named(list, "host0"), "devices")), 2);
	json_decref(list);
	/* The MAC of a VF that does not exist yet is its own all the same. */
	assert_int_equal(CLI("vf", "set", "nic0/vf1", "mac", "02:00:00:00:00:15"), 1);
	expect("another function of nic0 has that MAC");
	write_config("devices:\n"
		     "  nic0: {type: ethernet, total-vfs: 8}\n"
		     "  nic1: {type: ethernet, total-vfs: 4}\n"
		     "roots: {host0: {devices: [nic1]}}\n");
	assert_int_equal(CLI("reload"), 0);
	assert_int_equal(CLI("lspci", "nic2/pf"), 1);
	assert_int_equal(CLI("lspci", "nic1/pf"), 0);
}

static void a_second_daemon_is_refused(void **state)
{
	const char *const argv[] = {softiovd, "-c", config, NULL};
	char pid[64];

	assert_int_equal(run(argv), 1);
	snprintf(pid, sizeof(pid), "another softiovd, pid %d, uses it", (int)daemon_pid);
	expect(pid);
}

static void a_directory_of_another_user_is_refused(void **state)
{
	char other[128];
	const char *const argv[] = {softiovd, "-c", config, "--runtime-dir", other, NULL};

	snprintf(other, sizeof(other), "%s/other", dir);
	assert_int_equal(mkdir(other, 0755), 0);
	if (chown(other, 65534, 65534))
		skip(); /* not root */
	assert_int_equal(run(argv), 1);
	expect("belongs to another user");
}

static void check_and_help_start_nothing(void **state)
{
	const char *const check[] = {softiovd, "-c", config, "--check", NULL};
	const char *const nothing[] = {softiovd, NULL};
	const char *const missing[] = {softiovd, "-c", "/nonexistent", NULL};

	assert_int_equal(run(check), 0);
	expect("good: 2 devices with up to 12 VFs, 1 root");
	assert_int_equal(run(nothing), 2);
	assert_int_equal(run(missing), 3);
	assert_int_equal(CLI("help"), 0);
	assert_int_equal(CLI("vf", "set", "--help"), 0);
	expect("softiov vf set nic0/vf3 vlan 100 qos 3");
	assert_int_equal(CLI("shwo"), 2);
	expect("did you mean \"softiov show\"?");
	assert_int_equal(CLI("-s", "/nonexistent", "show"), 3);
	expect("cannot reach the daemon at /nonexistent/control.sock");
}

static int connect_control(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/softiov/control.sock", xdg);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Requests in one go, answers in order; a client that floods is cut off, others are served. */
static void the_control_socket_stands_rough_clients(void **state)
{
	static const char two[] = "{\"id\":1,\"method\":\"version\"}\n"
				  "nonsense\n"
				  "{\"method\":\"version\"}\n"
				  "{\"id\":2,\"method\":\"version\"}\n";
	static char junk[100 << 10];
	char buf[4096];
	size_t n = 0;
	int fd = connect_control(), idle = connect_control();

	assert_int_equal(write(fd, two, sizeof(two) - 1), sizeof(two) - 1);
	shutdown(fd, SHUT_WR);
	for (ssize_t got; (got = read(fd, buf + n, sizeof(buf) - 1 - n)) > 0;)
		n += (size_t)got;
	buf[n] = '\0';
	close(fd);
	assert_non_null(strstr(buf, "\"id\":1,\"result\""));
	assert_non_null(strstr(buf, "\"id\":null,\"error\":{\"code\":-32700"));
	assert_non_null(strstr(buf, "\"id\":2,\"result\""));

	fd = connect_control();
	memset(junk, 'x', sizeof(junk));
	n = 0;
	for (ssize_t got; n < sizeof(junk); n += (size_t)got) {
		got = send(fd, junk + n, sizeof(junk) - n, MSG_NOSIGNAL);
		if (got < 0)
			break; /* cut off meanwhile */
	}
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
	assert_int_equal(CLI("version"), 0);
	close(idle);
}

/* More than one turn's share, from a client that then says no more: each is answered. */
static void every_request_of_a_long_list_is_answered(void **state)
{
	static const char one[] = "{\"id\":7,\"method\":\"version\"}\n";
	char buf[100 * 400], *p = buf;
	unsigned answers = 0;
	int fd = connect_control();

	for (unsigned i = 0; i < 100; i++)
		p = stpcpy(p, one);
	assert_int_equal(write(fd, buf, (size_t)(p - buf)), p - buf);
	shutdown(fd, SHUT_WR);
	for (ssize_t got; (got = read(fd, buf, sizeof(buf))) > 0;)
		for (ssize_t i = 0; i < got; i++)
			answers += buf[i] == '\n';
	close(fd);
	assert_int_equal(answers, 100);
}

/* A daemon whose guest lets go at the third request; ends with how many there were. */
static void serve_unplugs(int listen_fd)
{
	static const char busy[] = "{\"id\":1,\"error\":{\"code\":-16,\"message\":\"asked\"}}\n";
	static const char done[] = "{\"id\":1,\"result\":{}}\n";

	alarm(30);
	for (unsigned i = 0; i < 3; i++) {
		const char *reply = i < 2 ? busy : done;
		int fd = accept(listen_fd, NULL, NULL);
		char buf[512];

		if (fd < 0 || read(fd, buf, sizeof(buf)) <= 0 ||
		    write(fd, reply, strlen(reply)) != (ssize_t)strlen(reply))
			_exit(1);
		close(fd);
	}
	_exit(0);
}

static void root_unplug_waits_for_the_guest(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int status, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char fake[64];
	pid_t pid;

	snprintf(fake, sizeof(fake), "%s/fake", dir);
	assert_int_equal(mkdir(fake, 0755), 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/control.sock", fake);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 4), 0);
	pid = fork();
	if (!pid)
		serve_unplugs(fd);
	close(fd);
	assert_int_equal(CLI("-s", fake, "root", "unplug", "host0", "nic1"), 0);
	expect("nic1 is in use; the guest in host0 was asked to let go: waiting");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(show_lists_what_the_file_says),
		cmocka_unit_test(sockets_are_private),
		cmocka_unit_test(vf_set_changes_what_show_tells),
		cmocka_unit_test(num_vfs_grows_and_shrinks),
		cmocka_unit_test(stats_count_by_reason),
		cmocka_unit_test(lspci_dumps_all_views),
		cmocka_unit_test(attach_args_name_the_socket),
		cmocka_unit_test(reload_applies_or_says_why_not),
		cmocka_unit_test(a_refused_reload_changes_nothing),
		cmocka_unit_test(reload_plugs_new_devices_into_old_roots),
		cmocka_unit_test(a_second_daemon_is_refused),
		cmocka_unit_test(a_directory_of_another_user_is_refused),
		cmocka_unit_test(check_and_help_start_nothing),
		cmocka_unit_test(the_control_socket_stands_rough_clients),
		cmocka_unit_test(root_unplug_waits_for_the_guest),
		cmocka_unit_test(every_request_of_a_long_list_is_answered),
	};

	if (argc != 3) {
		fprintf(stderr, "usage: %s SOFTIOVD SOFTIOV\n", argv[0]);
		return 2;
	}
	softiovd = argv[1];
	softiov = argv[2];
	first_config = ethernet_config;
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, start_daemon, stop_daemon);
}
