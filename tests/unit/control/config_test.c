/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration file: what good files give, and the exact words for bad ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <errno.h>

#include <cmocka.h>

#include "control/config_file.h"
#include "util/util.h"

static int parse(const char *text, struct config *cfg, char **errors)
{
	struct config_input in = {
		.file = "f.yaml", .text = text, .len = strlen(text), .default_dir = "/run/softiov"};

	return config_parse(&in, cfg, errors);
}

/* The file must be good. */
static void good(const char *text, struct config *cfg)
{
	char *errors;

	if (parse(text, cfg, &errors))
		fail_msg("refused:\n%s", errors);
	assert_null(errors);
}

#define NIC(rest) "devices:\n  nic0:\n    type: ethernet\n" rest
#define VF3(rest) NIC("    vfs:\n      3: {" rest "}\n")

static const struct {
	const char *text, *errors;
} bad[] = {
	/* the file as such */
	{"", "f.yaml: the file is empty: begin with a device, as in\n"
	     "  devices: {nic0: {type: ethernet, num-vfs: 2}}\n"},
	{"workers: 1\n", "f.yaml: devices: none given: add one, as in\n"
			 "  devices: {nic0: {type: ethernet, num-vfs: 2}}\n"},
	{"devices: [\n", "f.yaml:2: not valid YAML: while parsing a flow node, did not find "
			 "expected node content: check indentation, quotes and colons near column "
			 "1\n"},
	{"a: &x 1\nb: *x\n", "f.yaml:2: aliases (*name) are not supported: use vf-defaults, or "
			     "write the settings out\n"},
	{"devices:\n  <<: {}\n", "f.yaml:2: merge keys (<<) are not supported: use vf-defaults, or "
				 "write the settings out\n"},
	{"a: [[[[[[[[[[[[1]]]]]]]]]]]]\n",
	 "f.yaml:1: nested more than 10 deep: no setting needs that\n"},
	{"[a]: 1\n", "f.yaml:1: a key must be a single word: write key: value\n"},
	{"a: 1\n---\nb: 1\n", "f.yaml:2: a second document (---): keep one per file\n"},
	{"- a\n", "f.yaml:1: a list where settings were expected: write key: value, indented\n"},
	/* keys */
	{"worker: 2\n" NIC(""), "f.yaml:1: worker: unknown key: did you mean \"workers\"?\n"},
	{"frobnicate: 2\n" NIC(""), "f.yaml:1: frobnicate: unknown key: use one of runtime-dir, "
				    "workers, max-cpu, rebalance, devices, roots\n"},
	{NIC("    num_vfs: 2\n"), "f.yaml:4: nic0.num_vfs: unknown key: did you mean "
				  "\"num-vfs\"?\n"},
	{NIC("    mtu: 1500\n    mtu: 9000\n"), "f.yaml:5: nic0.mtu: given twice, first on line 4: "
						"remove one of the two\n"},
	{"devices:\n  nic0: {type: ethernet}\n  nic0: {type: ethernet}\n",
	 "f.yaml:3: nic0: given twice, first on line 2: rename or remove one\n"},
	{"workers: 0\n" NIC(""), "f.yaml:1: workers: \"0\": give a number from 1 to 64\n"},
	{"max-cpu: 0\n" NIC(""),
	 "f.yaml:1: max-cpu: \"0\": give cores, such as 0.5 or 2, from 0.01 to 64\n"},
	{"max-cpu: 50%\n" NIC(""),
	 "f.yaml:1: max-cpu: \"50%\": give cores, such as 0.5 or 2, from 0.01 to 64\n"},
	{"max-cpu: -1\n" NIC(""),
	 "f.yaml:1: max-cpu: \"-1\": give cores, such as 0.5 or 2, from 0.01 to 64\n"},
	{"rebalance: 2\n" NIC(""), "f.yaml:1: rebalance: \"2\": write on or off\n"},
	/* rates */
	{NIC("    tx-rate: fast\n"), "f.yaml:4: nic0.tx-rate: \"fast\": give a number from 0 to "
				     "4000000\n"},
	{VF3("max-tx-rate: 4000001"), "f.yaml:5: nic0.vfs.3.max-tx-rate: \"4000001\": give a "
				      "number from 0 to 4000000\n"},
	{VF3("max-tx-rate: 10, min-tx-rate: 11"),
	 "f.yaml:5: nic0.vfs.3: min-tx-rate 11 is more than max-tx-rate 10: lower it, or raise "
	 "max-tx-rate\n"},
	{NIC("    max-tx-rate: 5\n    min-tx-rate: 6\n"),
	 "f.yaml:5: nic0: min-tx-rate 6 is more than max-tx-rate 5: lower it, or raise "
	 "max-tx-rate\n"},
	{NIC("    vf-defaults: {min-tx-rate: 100}\n    vfs:\n      3: {max-tx-rate: 99}\n"),
	 "f.yaml:6: nic0.vfs.3: min-tx-rate 100 is more than max-tx-rate 99: lower it, or raise "
	 "max-tx-rate\n"},
	{NIC("    total-vfs: 10\n    tx-rate: 1000\n    min-tx-rate: 1\n"
	     "    vf-defaults: {min-tx-rate: 100}\n"),
	 "f.yaml:5: nic0.tx-rate: 1000 Mb/s, but the min-tx-rate of 10 VFs and of the PF adds up "
	 "to 1001: raise it, or lower these\n"},
	{NIC("    tx-rate: 10\n    min-tx-rate: 6\n") "roots: {a: {devices: [nic0]}, b: {devices: "
						      "[nic0]}}\n",
	 "f.yaml:4: nic0.tx-rate: 10 Mb/s, but the min-tx-rate of 0 VFs and of the PF adds up to "
	 "12: raise it, or lower these\n"},
	{"devices:\n  d0: {type: nvme, tx-rate: 5}\n",
	 "f.yaml:2: d0.tx-rate: belongs to type ethernet, this is nvme: remove it\n"},
	{NIC("    poll: seldom\n"), "f.yaml:4: nic0.poll: \"seldom\": write adaptive, always or "
				    "never\n"},
	{"workers:\n" NIC(""),
	 "f.yaml:1: workers: nothing given: write a value, or remove the key\n"},
	{"runtime-dir: run\n" NIC(""), "f.yaml:1: runtime-dir: \"run\": give an absolute path\n"},
	/* devices */
	{"devices:\n  Nic0: {type: ethernet}\n",
	 "f.yaml:2: Nic0: not a usable name: use up to 31 lower-case letters, digits, - and _, "
	 "beginning with a letter or digit\n"},
	{"devices:\n  nic0: {num-vfs: 2}\n",
	 "f.yaml:2: nic0: no type given: add type: ethernet or type: nvme\n"},
	{"devices:\n  nic0: {type: token-ring}\n",
	 "f.yaml:2: nic0.type: \"token-ring\": write ethernet or nvme\n"},
	{"devices:\n  nic0: 4\n",
	 "f.yaml:2: nic0: a single value where settings were expected: write key: value, "
	 "indented\n"},
	{NIC("    total-vfs: 1025\n"),
	 "f.yaml:4: nic0.total-vfs: \"1025\": give a number from 0 to 1024\n"},
	{NIC("    total-vfs: 4\n    num-vfs: 5\n"), "f.yaml:5: nic0.num-vfs: 5 VFs, but total-vfs "
						    "is 4: lower this or raise total-vfs (at most "
						    "1024)\n"},
	{NIC("    num-vfs: -1\n"),
	 "f.yaml:4: nic0.num-vfs: \"-1\": give a number from 0 to 1024\n"},
	{NIC("    num-vfs: 99999999999999999999\n"),
	 "f.yaml:4: nic0.num-vfs: \"99999999999999999999\": give a number from 0 to 1024\n"},
	{NIC("    num-vfs: [2]\n"), "f.yaml:4: nic0.num-vfs: a list where a single value was "
				    "expected: write one word\n"},
	{NIC("    queue-size: 100\n"),
	 "f.yaml:4: nic0.queue-size: 100: give a power of two, such as 256\n"},
	{NIC("    queues: 17\n"), "f.yaml:4: nic0.queues: \"17\": give a number from 1 to 16\n"},
	{NIC("    mtu: 20\n"), "f.yaml:4: nic0.mtu: \"20\": give a number from 68 to 9216\n"},
	{NIC("    speed: fast\n"), "f.yaml:4: nic0.speed: \"fast\": give Mb/s (10000), Gb/s "
				   "(10G), or unknown\n"},
	{NIC("    packed: maybe\n"), "f.yaml:4: nic0.packed: \"maybe\": write on or off\n"},
	{NIC("    features-off: [evnt-idx, 77]\n"),
	 "f.yaml:4: nic0.features-off: \"evnt-idx\": did you mean \"event-idx\"?\n"
	 "f.yaml:4: nic0.features-off: \"77\": give names such as mrg-rxbuf, mq, event-idx, or bit "
	 "numbers up to 63\n"},
	/* sockets */
	{NIC("    socket: {mode: \"0999\"}\n"),
	 "f.yaml:4: nic0.socket.mode: \"0999\": give an octal mode such as \"0660\"\n"},
	{NIC("    socket: {owner: nobody-of-that-name}\n"),
	 "f.yaml:4: nic0.socket.owner: no user \"nobody-of-that-name\": create it, or give a "
	 "number\n"},
	{NIC("    socket: {grp: 0}\n"),
	 "f.yaml:4: nic0.socket.grp: unknown key: did you mean \"group\"?\n"},
	/* uplinks */
	{NIC("    uplink: {name: soft0}\n"),
	 "f.yaml:4: nic0.uplink: no type given: add type: tap or type: user\n"},
	{NIC("    uplink: {type: tap}\n"),
	 "f.yaml:4: nic0.uplink: a tap without a name: write {type: tap, name: soft0}\n"},
	{NIC("    uplink: {type: tap, name: much-too-long-name}\n"),
	 "f.yaml:4: nic0.uplink.name: 18 characters: give at most 15\n"},
	{NIC("    uplink: {type: user, name: soft0}\n"),
	 "f.yaml:4: nic0.uplink.name: belongs to type tap, this is user: remove it\n"},
	{NIC("    uplink: {type: user, net: 10.0.2.1/24}\n"),
	 "f.yaml:4: nic0.uplink.net: \"10.0.2.1/24\": give an IPv4 network of at most 28 bits, "
	 "such "
	 "as 10.0.2.0/24\n"},
	{NIC("    uplink: {type: user, net6: \"fd00::\"}\n"),
	 "f.yaml:4: nic0.uplink.net6: \"fd00::\": give an IPv6 network of at most 64 bits, such as "
	 "fd00::/64, or none\n"},
	{NIC("    uplink: {type: user, forwards: [\"tcp:2222:22\"]}\n"),
	 "f.yaml:4: nic0.uplink.forwards: \"tcp:2222:22\": write PROTOCOL:HOST:PORT-GUEST:PORT, "
	 "such as \"tcp:127.0.0.1:2222-10.0.2.15:22\" or \"tcp::2222-:22\"\n"},
	{NIC("    uplink: {type: user, forwards: [\"tcp::22-:22\", \"tcp:127.0.0.1:22-:80\"]}\n"),
	 "f.yaml:4: nic0.uplink.forwards: \"tcp:127.0.0.1:22-:80\": 127.0.0.1:22 is forwarded "
	 "already: choose another port\n"},
	{"devices:\n  a: {type: ethernet, uplink: {type: tap, name: t0}}\n"
	 "  b: {type: ethernet, uplink: {type: tap, name: t0}}\n",
	 "f.yaml:3: b.uplink.name: t0 is the uplink of a: give each device its own and join them "
	 "in "
	 "a bridge\n"},
	/* VFs */
	{VF3("mac: \"02:00:00:00:00\""), "f.yaml:5: nic0.vfs.3.mac: \"02:00:00:00:00\": write a "
					 "MAC address as 02:00:00:00:00:10\n"},
	{VF3("mac: \"03:00:00:00:00:01\""), "f.yaml:5: nic0.vfs.3.mac: \"03:00:00:00:00:01\": a "
					    "multicast address: the first byte must "
					    "be even, such as 02\n"},
	{VF3("mac: \"00:00:00:00:00:00\""),
	 "f.yaml:5: nic0.vfs.3.mac: \"00:00:00:00:00:00\": the zero address: leave it out to have "
	 "one generated\n"},
	{NIC("    vfs:\n      0: {mac: \"02:00:00:00:00:10\"}\n      1:\n        vlan: 5\n"
	     "        mac: \"02:00:00:00:00:10\"\n"),
	 "f.yaml:8: nic0.vfs.1.mac: 02:00:00:00:00:10 is already the address of VF 0 (line 5): "
	 "give "
	 "each its own\n"},
	{NIC("    mac: \"02:00:00:00:00:10\"\n    vfs: {0: {mac: \"02:00:00:00:00:10\"}}\n"),
	 "f.yaml:5: nic0.vfs.0.mac: 02:00:00:00:00:10 is already the address of the PF: give each "
	 "its own\n"},
	{VF3("vlan: 4095"), "f.yaml:5: nic0.vfs.3.vlan: \"4095\": give a number from 0 to 4094\n"},
	{VF3("vlan-qos: 3"), "f.yaml:5: nic0.vfs.3: vlan-qos without a vlan: add vlan: 1..4094\n"},
	{VF3("vlan: 5, vlan-proto: vxlan"),
	 "f.yaml:5: nic0.vfs.3.vlan-proto: \"vxlan\": write 802.1q or 802.1ad\n"},
	{VF3("trunk: [1, 5-4095]"), "f.yaml:5: nic0.vfs.3.trunk: \"5-4095\": give VLAN ids from 1 "
				    "to 4094, such as 1 or 5-9\n"},
	{VF3("vlan: 5, trunk: [7]"),
	 "f.yaml:5: nic0.vfs.3: vlan and trunk exclude each other: a port VLAN takes the guest's "
	 "tags away, a trunk lets them pass; remove one\n"},
	{VF3("link-state: up"),
	 "f.yaml:5: nic0.vfs.3.link-state: \"up\": write auto, enable or disable\n"},
	{VF3("spoofcheck: on"),
	 "f.yaml:5: nic0.vfs.3.spoofcheck: unknown key: did you mean \"spoof-check\"?\n"},
	{NIC("    total-vfs: 2\n    vfs: {2: {vlan: 1}}\n"),
	 "f.yaml:5: nic0.vfs.2: there is no such VF, the last is 1: raise total-vfs (now 2) or "
	 "remove this\n"},
	{NIC("    vfs: {one: {vlan: 1}}\n"),
	 "f.yaml:4: nic0.vfs.one: not the number of a VF: write its index, from 0\n"},
	{NIC("    vfs: {1: {}, 0x1: {}}\n"),
	 "f.yaml:4: nic0.vfs.0x1: given twice, first on line 4: remove one of the two\n"},
	{NIC("    vf-defaults: {mac: \"02:00:00:00:00:01\"}\n"),
	 "f.yaml:4: nic0.vf-defaults.mac: one address for all VFs: give each its own under vfs, or "
	 "leave it out to have them generated\n"},
	{NIC("    vf-defaults: {vlan: 5, trunk: 7}\n"),
	 "f.yaml:4: nic0.vf-defaults: vlan and trunk exclude each other: a port VLAN takes the "
	 "guest's tags away, a trunk lets them pass; remove one\n"},
	/* roots */
	{NIC("") "roots:\n  host0: {devices: [nic0], vectors: 129}\n",
	 "f.yaml:5: host0.vectors: \"129\": give a number from 2 to 128\n"},
	{NIC("") "roots:\n  host0: {devices: [nic1]}\n",
	 "f.yaml:5: host0.devices.nic1: no such device: did you mean \"nic0\"?\n"},
	{NIC("") "roots:\n  nic0: {devices: [nic0]}\n",
	 "f.yaml:5: nic0: is the name of a device (line 2) too: rename one\n"},
	{NIC("") "roots:\n  control: {devices: [nic0]}\n",
	 "f.yaml:5: control: its socket would be the control socket: choose another name\n"},
	{NIC("") "roots:\n  host0: {devices: nic0}\n",
	 "f.yaml:5: host0.devices: a single value where a list was expected: write [nic0]\n"},
	{NIC("") "roots:\n  host0: {devices: [nic0, nic0]}\n",
	 "f.yaml:5: host0.devices.nic0: given twice: a root holds one PF of a device; remove "
	 "one\n"},
	{NIC("    num-vfs: 2\n") "roots:\n  host0: {devices: [nic0]}\n",
	 "f.yaml:4: nic0.num-vfs: the kernel in root host0 enables the VFs (sriov_numvfs): remove "
	 "num-vfs here, or the device from the root\n"},
	{NIC("    total-vfs: 8\n") "roots:\n  a: {devices: [nic0: {total-vfs: 6}]}\n"
				   "  b: {devices: [nic0: {total-vfs: 6}]}\n",
	 "f.yaml:4: nic0.total-vfs: 8 VFs, but the roots' shares add up to 12: raise it or lower "
	 "the "
	 "shares\n"},
	{NIC("    total-vfs: 8\n") "roots:\n  a: {devices: [nic0: {total-vfs: 8}]}\n"
				   "  b: {devices: [nic0]}\n",
	 "f.yaml:4: nic0.total-vfs: 0 VFs are left for 1 roots that share equally: raise it to 9 "
	 "at "
	 "least\n"},
	/* several at once, in the order of the lines */
	{NIC("    mtu: 1\n    vfs:\n      3: {vlan: 9999}\n") "wrokers: 1\n",
	 "f.yaml:4: nic0.mtu: \"1\": give a number from 68 to 9216\n"
	 "f.yaml:6: nic0.vfs.3.vlan: \"9999\": give a number from 0 to 4094\n"
	 "f.yaml:7: wrokers: unknown key: did you mean \"workers\"?\n"},
};

static void bad_files_are_refused_in_these_words(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct config cfg;
		char *errors;
		int ret = parse(bad[i].text, &cfg, &errors);

		if (ret != -EINVAL)
			fail_msg("not refused (%d):\n%s", ret, bad[i].text);
		if (strcmp(errors, bad[i].errors))
			fail_msg("%s\ngives\n%s\nnot\n%s", bad[i].text, errors, bad[i].errors);
		free(errors);
	}
}

static void long_runtime_dir_is_refused(void **state)
{
	char dir[120], text[] = NIC("    total-vfs: 1000\n");
	struct config_input in = {
		.file = "f.yaml", .text = text, .len = strlen(text), .runtime_dir = dir};
	struct config cfg;
	char *errors;

	memset(dir, 'd', sizeof(dir));
	dir[0] = '/';
	/* "/nic0/vf999.sock" is 16 bytes: 91 fit, 92 do not. */
	dir[91] = '\0';
	assert_int_equal(config_parse(&in, &cfg, &errors), 0);
	config_free(&cfg);
	dir[91] = 'd';
	dir[92] = '\0';
	assert_int_equal(config_parse(&in, &cfg, &errors), -EINVAL);
	assert_non_null(strstr(errors, "f.yaml:2: nic0: the socket /ddd"));
	assert_non_null(strstr(errors,
			       "nic0/vf999.sock would have a path of 108 bytes, 107 are the "
			       "most: choose a shorter runtime-dir or name\n"));
	free(errors);
}

static void defaults_hold(void **state)
{
	struct config cfg;
	struct config_device *d;

	good(NIC(""), &cfg);
	d = &cfg.devices[0];
	assert_string_equal(cfg.runtime_dir, "/run/softiov");
	assert_int_equal(cfg.workers, 1);
	assert_true(cfg.max_cpu == 0 && cfg.rebalance);
	assert_int_equal(d->poll, POLLER_ADAPTIVE);
	assert_int_equal(cfg.n_devices, 1);
	assert_string_equal(d->name, "nic0");
	assert_int_equal(d->line, 2);
	assert_int_equal(d->total_vfs, 16);
	assert_int_equal(d->num_vfs, -1);
	assert_int_equal(d->queue_pairs, 1);
	assert_int_equal(d->queue_size, 256);
	assert_int_equal(d->mtu, 1500);
	assert_int_equal(d->speed_mbps, 10000);
	assert_true(d->packed);
	assert_int_equal(d->ageing_s, 300);
	assert_int_equal(d->uplink.type, NET_UPLINK_NONE);
	assert_int_equal(d->n_vfs, 0);
	config_free(&cfg);
}

static void everything_is_read(void **state)
{
	static const char text[] =
		"runtime-dir: /run/x\n"
		"workers: 3\n"
		"max-cpu: 1.25\n"
		"rebalance: off\n"
		"devices:\n"
		"  nic0:\n"
		"    type: ethernet\n"
		"    total-vfs: 32\n"
		"    num-vfs: 4\n"
		"    poll: always\n"
		"    queues: 4\n"
		"    queue-size: 512\n"
		"    mtu: 9000\n"
		"    speed: 25G\n"
		"    packed: off\n"
		"    features-off: [mrg-rxbuf, 29]\n"
		"    admin-strict: on\n"
		"    ageing: 60\n"
		"    mac: 02:00:00:00:00:01\n"
		"    socket: {owner: root, group: 0, mode: \"0660\"}\n"
		"    uplink: {type: tap, name: soft0, queues: 2, mtu: 9000}\n"
		"    tx-rate: 1000\n"
		"    max-tx-rate: 900\n"
		"    min-tx-rate: 100\n"
		"    vfs:\n"
		"      3: {vlan: 100, vlan-qos: 3, vlan-proto: 802.1ad, trust: on, "
		"max-tx-rate: 800, min-tx-rate: 700}\n"
		"      1: {trunk: [1, 5-9], spoof-check: off, link-state: disable, "
		"queues: 2, socket: {mode: 0600}}\n";
	struct config cfg;
	struct config_device *d;

	good(text, &cfg);
	d = &cfg.devices[0];
	assert_string_equal(cfg.runtime_dir, "/run/x");
	assert_int_equal(cfg.workers, 3);
	assert_true(cfg.max_cpu == 1.25 && !cfg.rebalance);
	assert_int_equal(d->poll, POLLER_ALWAYS);
	assert_int_equal(d->num_vfs, 4);
	assert_int_equal(d->queue_size, 512);
	assert_int_equal(d->speed_mbps, 25000);
	assert_false(d->packed);
	assert_true(d->features_off == (1ull << 15 | 1ull << 29));
	assert_true(d->admin_strict);
	assert_int_equal(d->mac[5], 1);
	assert_true(d->socket.owner_set && d->socket.group_set && d->socket.mode_set);
	assert_int_equal(d->socket.mode, 0660);
	assert_string_equal(d->uplink.name, "soft0");
	assert_int_equal(d->uplink.queues, 2);
	assert_int_equal(d->tx_mbps, 1000);
	assert_int_equal(d->pf_max_tx_mbps, 900);
	assert_int_equal(d->pf_min_tx_mbps, 100);
	assert_int_equal(d->n_vfs, 2);
	/* ascending, whatever the order in the file */
	assert_int_equal(d->vfs[0].index, 1);
	assert_true(d->vfs[0].policy.trunk_enabled);
	assert_int_equal(d->vfs[0].policy.trunk[0], 0xe2);
	assert_int_equal(d->vfs[0].policy.trunk[1], 0x03);
	assert_false(d->vfs[0].policy.spoof_check);
	assert_int_equal(d->vfs[0].policy.link, NET_LINK_DISABLE);
	assert_int_equal(d->vfs[0].queue_pairs, 2);
	assert_int_equal(d->vfs[0].socket.mode, 0600);
	assert_int_equal(d->vfs[0].policy.max_tx_mbps, 0);
	assert_int_equal(d->vfs[1].policy.max_tx_mbps, 800);
	assert_int_equal(d->vfs[1].policy.min_tx_mbps, 700);
	assert_int_equal(d->vfs[1].policy.vlan, 100);
	assert_int_equal(d->vfs[1].policy.vlan_qos, 3);
	assert_int_equal(d->vfs[1].policy.vlan_proto, 0x88a8);
	assert_true(d->vfs[1].policy.trust && d->vfs[1].policy.spoof_check);
	assert_false(d->vfs[1].policy.mac_by_admin);
	config_free(&cfg);
}

static void user_uplink_is_read(void **state)
{
	struct config cfg;
	struct net_uplink_config *up;

	good(NIC("    uplink: {type: user, net: 192.168.9.0/24, net6: none, forwards: "
		 "[\"tcp:127.0.0.1:2222-10.0.2.15:22\", \"udp:[::1]:53-:5353\"]}\n"),
	     &cfg);
	up = &cfg.devices[0].uplink;
	assert_int_equal(up->type, NET_UPLINK_USER);
	assert_string_equal(up->net, "192.168.9.0/24");
	assert_string_equal(up->net6, "none");
	assert_int_equal(up->n_forwards, 2);
	assert_string_equal(up->forwards[0].host_addr, "127.0.0.1");
	assert_int_equal(up->forwards[0].host_port, 2222);
	assert_string_equal(up->forwards[0].guest_addr, "10.0.2.15");
	assert_int_equal(up->forwards[0].guest_port, 22);
	assert_true(up->forwards[1].udp);
	assert_string_equal(up->forwards[1].host_addr, "::1");
	assert_string_equal(up->forwards[1].guest_addr, "");
	config_free(&cfg);
}

static void defaults_of_vfs_reach_all_and_yield_to_their_own(void **state)
{
	struct config cfg;
	struct config_device *d;

	good(NIC("    total-vfs: 4\n    vf-defaults: {vlan: 10, trust: on}\n"
		 "    vfs: {2: {vlan: 20}, 3: {vlan: 0, trunk: 7}}\n"),
	     &cfg);
	d = &cfg.devices[0];
	assert_int_equal(d->n_vfs, 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(d->vfs[i].index, i);
		assert_true(d->vfs[i].policy.trust);
		assert_int_equal(d->vfs[i].policy.vlan, i == 3 ? 0 : i == 2 ? 20 : 10);
	}
	assert_true(d->vfs[3].policy.trunk_enabled);
	config_free(&cfg);
	/* A priority is of the VFs that have a VLAN. */
	good(NIC("    total-vfs: 2\n    vf-defaults: {vlan-qos: 3}\n    vfs: {1: {vlan: 20}}\n"),
	     &cfg);
	d = &cfg.devices[0];
	assert_int_equal(d->vfs[0].policy.vlan_qos, 0);
	assert_int_equal(d->vfs[1].policy.vlan_qos, 3);
	config_free(&cfg);
}

static void offloads_off_is_every_offload(void **state)
{
	struct config cfg;

	good(NIC("    offloads: off\n"), &cfg);
	assert_true(cfg.devices[0].features_off == 0x01c0000000007f83ull);
	config_free(&cfg);
}

static void roots_share_devices(void **state)
{
	struct config cfg;

	good("devices: {nic0: {type: ethernet}, nic1: {type: ethernet, total-vfs: 8}}\n"
	     "roots:\n"
	     "  host0: {devices: [nic0, {nic1: {total-vfs: 5}}], vectors: 32,"
	     " socket: {mode: \"0666\"}}\n"
	     "  host1: {devices: {nic1: {total-vfs: 3}}}\n",
	     &cfg);
	assert_int_equal(cfg.n_roots, 2);
	assert_int_equal(cfg.roots[0].n_devices, 2);
	assert_string_equal(cfg.roots[0].devices[0].device, "nic0");
	assert_int_equal(cfg.roots[0].devices[0].total_vfs, 0);
	assert_int_equal(cfg.roots[0].devices[1].total_vfs, 5);
	assert_int_equal(cfg.roots[0].vectors, 32);
	assert_string_equal(cfg.roots[1].devices[0].device, "nic1");
	assert_int_equal(cfg.roots[1].devices[0].total_vfs, 3);
	config_free(&cfg);
}

static void errors_are_bounded(void **state)
{
	struct config cfg;
	char *errors, *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fputs("devices: {nic0: {type: ethernet}}\n", f);
	for (unsigned i = 0; i < 60; i++)
		fprintf(f, "zz%u: 1\n", i);
	fclose(f);
	assert_int_equal(parse(text, &cfg, &errors), -EINVAL);
	assert_non_null(strstr(errors, "f.yaml: and 10 more errors\n"));
	free(errors);
	free(text);
}

static void hostile_sizes_are_refused(void **state)
{
	struct config cfg;
	char *errors, *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fputs("devices: {", f);
	for (unsigned i = 0; i < 2000; i++)
		fprintf(f, "d%u: {}, ", i);
	fputs("}\n", f);
	fclose(f);
	assert_int_equal(parse(text, &cfg, &errors), -EINVAL);
	assert_non_null(strstr(errors, "more than 1100 entries in one place"));
	free(errors);
	free(text);
}

/* Cutting a good file anywhere must neither crash nor leak. */
static void truncated_files_are_survived(void **state)
{
	static const char text[] = "devices:\n  nic0:\n    type: ethernet\n    vfs: {0: {mac: "
				   "\"02:00:00:00:00:10\", trunk: [1, 2-3]}}\n    uplink: {type: "
				   "user, forwards: [\"tcp::1-:2\"]}\nroots: {h: {devices: "
				   "[nic0: {total-vfs: 2}]}}\n";
	char part[sizeof(text)];

	for (size_t n = 0; n < sizeof(text); n++) {
		struct config cfg;
		char *errors;

		memcpy(part, text, n);
		part[n] = '\0';
		if (!parse(part, &cfg, &errors))
			config_free(&cfg);
		free(errors);
	}
}

static void missing_file_is_named(void **state)
{
	struct config cfg;
	char *errors;

	assert_int_equal(config_load("/nonexistent/nic.yaml", NULL, "/run", &cfg, &errors),
			 -ENOENT);
	assert_string_equal(errors, "/nonexistent/nic.yaml: cannot be read: No such file or "
				    "directory: check the path and its permissions\n");
	free(errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_files_are_refused_in_these_words),
		cmocka_unit_test(long_runtime_dir_is_refused),
		cmocka_unit_test(defaults_hold),
		cmocka_unit_test(everything_is_read),
		cmocka_unit_test(user_uplink_is_read),
		cmocka_unit_test(defaults_of_vfs_reach_all_and_yield_to_their_own),
		cmocka_unit_test(offloads_off_is_every_offload),
		cmocka_unit_test(roots_share_devices),
		cmocka_unit_test(errors_are_bounded),
		cmocka_unit_test(hostile_sizes_are_refused),
		cmocka_unit_test(truncated_files_are_survived),
		cmocka_unit_test(missing_file_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
