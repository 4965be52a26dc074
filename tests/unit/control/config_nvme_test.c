/* SPDX-License-Identifier: BSD-3-Clause */
/* NVMe devices in the configuration file: what good files give, and the exact words for bad ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/config_file.h"
#include "util/util.h"

#define K 1024ull
#define M (1024 * K)
#define G (1024 * M)
#define T (1024 * G)

static int parse(const char *text, struct config *cfg, char **errors)
{
	struct config_input in = {.file = "/etc/softiov/f.yaml",
				  .text = text,
				  .len = strlen(text),
				  .default_dir = "/run/softiov"};

	return config_parse(&in, cfg, errors);
}

static struct config_device *good(const char *text, struct config *cfg)
{
	char *errors;

	if (parse(text, cfg, &errors))
		fail_msg("refused:\n%s", errors);
	return &cfg->devices[0];
}

#define SSD(rest) "devices:\n  ssd0:\n    type: nvme\n" rest
#define NS1(rest) SSD("    namespaces:\n      1: {" rest "}\n")
#define VF3(rest) SSD("    vfs:\n      3: {" rest "}\n")
#define POOL	  "    namespace-pool: {directory: /tmp, capacity: 1G}\n"

/* Without "/etc/softiov/f.yaml:" before each line. */
static const struct {
	const char *text, *errors;
} bad[] = {
	/* the type, and keys of the other one */
	{"devices:\n  d: {type: floppy}\n", "2: d.type: \"floppy\": write ethernet or nvme\n"},
	{"devices:\n  d: {serial: X}\n", "2: d: no type given: add type: ethernet or type: nvme\n"},
	{SSD("    mtu: 1500\n"),
	 "4: ssd0.mtu: belongs to type ethernet, this is nvme: remove it\n"},
	{SSD("    uplink: user\n"),
	 "4: ssd0.uplink: belongs to type ethernet, this is nvme: remove it\n"},
	{"devices:\n  nic0:\n    serial: X\n    type: ethernet\n",
	 "3: nic0.serial: belongs to type nvme, this is ethernet: remove it\n"},
	{"devices: {nic0: {type: ethernet, namespaces: {1: {memory: 1G}}}}\n",
	 "1: nic0.namespaces: belongs to type nvme, this is ethernet: remove it\n"},
	{VF3("vlan: 5"), "5: ssd0.vfs.3.vlan: belongs to type ethernet, this is nvme: remove it\n"},
	{"devices:\n  n: {type: ethernet, vf-defaults: {iops: 5}}\n",
	 "2: n.vf-defaults.iops: belongs to type nvme, this is ethernet: remove it\n"},
	{SSD("    seriel: X\n"), "4: ssd0.seriel: unknown key: did you mean \"serial\"?\n"},
	/* the device */
	{SSD("    queues: 129\n"), "4: ssd0.queues: \"129\": give a number from 1 to 128\n"},
	{SSD("    queue-size: 32\n"),
	 "4: ssd0.queue-size: \"32\": give a number from 64 to 4096\n"},
	{SSD("    serial: ABCDEFGHIJKLMNOPQRSTU\n"),
	 "4: ssd0.serial: 21 characters: give at most 20\n"},
	{SSD("    model: Plätte\n"),
	 "4: ssd0.model: \"Plätte\": the standard has ASCII only here: write it so\n"},
	{SSD("    nqn: iqn.2024-01.org.example\n"),
	 "4: ssd0.nqn: \"iqn.2024-01.org.example\": begin with \"nqn.\", as in "
	 "nqn.2024-01.org.example:ssd0\n"},
	{SSD("    max-namespaces: 257\n"),
	 "4: ssd0.max-namespaces: \"257\": give a number from 1 to 256\n"},
	{SSD("    max-vf-queues: 4\n    queues: 5\n"),
	 "5: ssd0.queues: 5, but max-vf-queues is 4: lower this or raise max-vf-queues (at most "
	 "128)\n"},
	{SSD("    max-vf-queues: 4\n    vfs:\n      2: {queues: 6}\n"),
	 "6: ssd0.vfs.2.queues: 6, but max-vf-queues is 4: lower this or raise max-vf-queues (at "
	 "most 128)\n"},
	{SSD("    max-vf-queues: 4\n    vf-defaults: {queues: 6}\n"),
	 "5: ssd0.vf-defaults.queues: 6, but max-vf-queues is 4: lower this or raise "
	 "max-vf-queues (at most 128)\n"},
	{SSD("    num-vfs: 4\n    flexible-queues: 20\n    queues: 4\n    vfs: {1: {queues: 5}}\n"),
	 "5: ssd0.flexible-queues: 20, but the 4 VFs need 21 (their queues, and an admin queue "
	 "each): raise it to that or lower queues\n"},
	{"devices: {a: {type: nvme, nqn: nqn.x}, b: {type: nvme, nqn: nqn.x}}\n",
	 "1: b.nqn: is the name of a too: give each its own, or leave it out to have one "
	 "generated\n"},
	/* the pool */
	{SSD("    namespace-pool: {}\n"), "4: ssd0.namespace-pool: where is not given: write "
					  "{directory: DIR, capacity: SIZE} or {memory: SIZE}\n"},
	{SSD("    namespace-pool: {directory: nothere, capacity: 1G}\n"),
	 "4: ssd0.namespace-pool.directory: /etc/softiov/nothere: No such file or directory: make "
	 "the folder first: mkdir -p /etc/softiov/nothere\n"},
	{SSD("    namespace-pool: {directory: /dev/null, capacity: 1G}\n"),
	 "4: ssd0.namespace-pool.directory: /dev/null is no folder: give one\n"},
	{SSD("    namespace-pool: {directory: /tmp}\n"),
	 "4: ssd0.namespace-pool: no capacity given: add what namespaces may take together, such "
	 "as capacity: 100G\n"},
	{SSD("    namespace-pool: {directory: /tmp, memory: 1G}\n"),
	 "4: ssd0.namespace-pool: directory and memory exclude each other: remove one\n"},
	{SSD("    namespace-pool: {memory: 1G, capacity: 1G}\n"),
	 "4: ssd0.namespace-pool: capacity belongs to directory: with memory its size says it; "
	 "remove it\n"},
	{SSD(POOL "    namespaces: {1: {pool: 1G}, 2: {pool: 1.5G}}\n"),
	 "4: ssd0.namespace-pool: has 1G, but its namespaces take 2560M together: raise its "
	 "capacity or make them smaller\n"},
	{NS1("pool: 1G"), "5: ssd0.namespaces.1.pool: there is no pool: add to the device "
			  "namespace-pool: {directory: DIR, capacity: SIZE}\n"},
	/* namespaces */
	{SSD("    namespaces: [1]\n"), "4: ssd0.namespaces: a list where settings were expected: "
				       "write key: value, indented\n"},
	{SSD("    namespaces: {disk: {memory: 1G}}\n"),
	 "4: ssd0.namespaces.disk: not a namespace's number: write its NSID, from 1\n"},
	{SSD("    namespaces: {0: {memory: 1G}}\n"),
	 "4: ssd0.namespaces.0: not a namespace's number: write its NSID, from 1\n"},
	{SSD("    namespaces: {33: {memory: 1G}}\n"),
	 "4: ssd0.namespaces.33: beyond max-namespaces, which is 32: raise it or choose a lower "
	 "NSID\n"},
	{SSD("    namespaces: {257: {memory: 1G}}\n"),
	 "4: ssd0.namespaces.257: NSIDs go to 256: choose a lower one\n"},
	{SSD("    namespaces: {1: {memory: 1G}, 0x1: {memory: 1G}}\n"),
	 "4: ssd0.namespaces.0x1: given twice, first on line 4: remove one of the two\n"},
	{NS1("size: 4G"), "5: ssd0.namespaces.1: no backend given: add one of file: PATH, device: "
			  "PATH, memory: SIZE, null: SIZE, nbd: URI, pool: SIZE\n"},
	{NS1("file: a.img, memory: 4G"),
	 "5: ssd0.namespaces.1.memory: a namespace has one backend, this one has file (line 5) "
	 "already: remove one\n"},
	{NS1("memory: 4X"), "5: ssd0.namespaces.1.memory: \"4X\": give bytes, with K, M, G or T "
			    "for more, such as 512M or 1.5G\n"},
	{NS1("memory: 0"),
	 "5: ssd0.namespaces.1.memory: \"0\": give a size from 512 to 9223372036854775807\n"},
	{NS1("memory: 1000"), "5: ssd0.namespaces.1.memory: 1000 bytes are no whole number of "
			      "blocks of 512: give 1024, or a size in K, M or G\n"},
	{NS1("file: a, block-size: 4096, size: 10K"),
	 "5: ssd0.namespaces.1.size: 10240 bytes are no whole number of blocks of 4096: give "
	 "12288, or a size in K, M or G\n"},
	{NS1("memory: 1G, block-size: 1024"),
	 "5: ssd0.namespaces.1.block-size: \"1024\": write 512 or 4096\n"},
	{NS1("memory: 1G, size: 2G"), "5: ssd0.namespaces.1.size: belongs to file, device and nbd; "
				      "here memory says it: remove it\n"},
	{NS1("null: 1G, preallocate: on"),
	 "5: ssd0.namespaces.1.preallocate: belongs to file, this is null: remove it\n"},
	{NS1("nbd: \"nbd://h/x\", direct: on"),
	 "5: ssd0.namespaces.1.direct: belongs to file and device, this is nbd: remove it\n"},
	{NS1("memory: 1G, read-only: on"), "5: ssd0.namespaces.1.read-only: belongs to file, "
					   "device and nbd, this is memory: remove it\n"},
	{NS1("file: a, direct: maybe"),
	 "5: ssd0.namespaces.1.direct: \"maybe\": write auto, on or off\n"},
	{NS1("nbd: \"http://x\""),
	 "5: ssd0.namespaces.1.nbd: \"http://x\": give a URI such as \"nbd://host/export\" or "
	 "\"nbd+unix:///export?socket=/path\"\n"},
	{NS1("memory: 1G, attach: [vf1, vf16]"),
	 "5: ssd0.namespaces.1.attach: \"vf16\": there is no such VF, the last is vf15: raise "
	 "total-vfs (now 16) or remove this\n"},
	{NS1("memory: 1G, attach: everybody"),
	 "5: ssd0.namespaces.1.attach: \"everybody\": write who has it, as in [vf0, vf1], pf or "
	 "all; nobody when left out\n"},
	{NS1("memory: 1G, uuid: 1234"),
	 "5: ssd0.namespaces.1.uuid: \"1234\": write a UUID as uuidgen prints it, or leave it out "
	 "to have one generated\n"},
	{NS1("memory: 1G, iops-burst: 10"),
	 "5: ssd0.namespaces.1: iops-burst without iops: add the limit that it exceeds\n"},
	{NS1("memory: 1G, bandwidth: 200"),
	 "5: ssd0.namespaces.1.bandwidth: \"200\": bytes a second, and fewer than 4K: write 200M "
	 "for 200 MiB/s, or 0 for no limit\n"},
	{NS1("memroy: 1G"), "5: ssd0.namespaces.1.memroy: unknown key: did you mean \"memory\"?\n"},
	/* one disk, one owner; however the path is written, in whatever device */
	{"devices:\n  a: {type: nvme, namespaces: {1: {file: d.img}}}\n"
	 "  b:\n    type: nvme\n    namespaces:\n      2: {file: /etc/softiov//./d.img}\n",
	 "6: b.namespaces.2.file: /etc/softiov/d.img is the disk of a/ns1 (line 2) too: attach "
	 "that one to several functions, or let both be read-only\n"},
	{SSD("    namespaces:\n      1: {memory: 1G, reservations: r}\n"
	     "      2: {memory: 1G, reservations: r}\n"),
	 "6: ssd0.namespaces.2.reservations: is that of ssd0/ns1 (line 5) too: give each its "
	 "own\n"},
	/* VFs */
	{VF3("bandwidth-burst: 1M"),
	 "5: ssd0.vfs.3: bandwidth-burst without bandwidth: add the limit that it exceeds\n"},
	{VF3("iops: many"), "5: ssd0.vfs.3.iops: \"many\": give a number from 0 to 1000000000\n"},
	{SSD("    num-vfs: 2\n") "roots: {r: {devices: [ssd0]}}\n",
	 "4: ssd0.num-vfs: the kernel in root r enables the VFs (sriov_numvfs): remove num-vfs "
	 "here, or the device from the root\n"},
};

static void bad_files_are_refused_in_these_words(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		static const char file[] = "/etc/softiov/f.yaml:";
		struct config cfg;
		char *errors;
		int ret = parse(bad[i].text, &cfg, &errors);

		if (ret != -EINVAL)
			fail_msg("not refused (%d):\n%s", ret, bad[i].text);
		if (strncmp(errors, file, strlen(file)) ||
		    strcmp(errors + strlen(file), bad[i].errors))
			fail_msg("%s\ngives\n%s\nnot\n%s", bad[i].text, errors, bad[i].errors);
		free(errors);
	}
}

static void defaults_hold(void **state)
{
	struct config cfg;
	struct config_device *d = good(SSD(""), &cfg);

	assert_int_equal(d->type, DEVICE_NVME);
	assert_int_equal(d->total_vfs, 16);
	assert_int_equal(d->num_vfs, -1);
	assert_int_equal(d->nvme.queues, 0);
	assert_int_equal(d->nvme.pf_queues, 4);
	assert_int_equal(d->nvme.max_vf_queues, 8);
	assert_int_equal(d->nvme.flexible, 0);
	assert_int_equal(d->nvme.queue_size, 1024);
	assert_int_equal(d->nvme.max_namespaces, 32);
	assert_true(d->nvme.doorbell_buffer);
	assert_false(d->nvme.register_memory);
	assert_int_equal(d->nvme.ns_pool.kind, NVME_POOL_NONE);
	assert_int_equal(d->nvme.n_namespaces, 0);
	assert_string_equal(d->nvme.nqn, "");
	config_free(&cfg);
	/* What VFs are given is what they may be given. */
	d = good(VF3("queues: 20"), &cfg);
	assert_int_equal(d->nvme.max_vf_queues, 20);
	config_free(&cfg);
}

static void the_device_is_read(void **state)
{
	struct config cfg;
	struct config_device *d = good(SSD("    total-vfs: 8\n"
					   "    num-vfs: 2\n"
					   "    queues: 4\n"
					   "    pf-queues: 2\n"
					   "    max-vf-queues: 12\n"
					   "    flexible-queues: 72\n"
					   "    queue-size: 100\n"
					   "    serial: ABC123\n"
					   "    model: A disk\n"
					   "    nqn: nqn.2024-01.org.example:x\n"
					   "    max-namespaces: 9\n"
					   "    doorbell-buffer: off\n"
					   "    register-memory: on\n"
					   "    namespace-pool: {directory: /tmp/., capacity: 1T}\n"
					   "    vf-defaults: {iops: 20000, bandwidth: 200M}\n"
					   "    vfs:\n"
					   "      0: {queues: 8, iops-burst: 1000, bandwidth: 0,"
					   " socket: {mode: \"0660\"}}\n"),
				       &cfg);

	assert_int_equal(d->total_vfs, 8);
	assert_int_equal(d->num_vfs, 2);
	assert_int_equal(d->nvme.queues, 4);
	assert_int_equal(d->nvme.pf_queues, 2);
	assert_int_equal(d->nvme.max_vf_queues, 12);
	assert_int_equal(d->nvme.flexible, 72);
	assert_int_equal(d->nvme.queue_size, 100);
	assert_string_equal(d->nvme.serial, "ABC123");
	assert_string_equal(d->nvme.model, "A disk");
	assert_string_equal(d->nvme.nqn, "nqn.2024-01.org.example:x");
	assert_int_equal(d->nvme.max_namespaces, 9);
	assert_false(d->nvme.doorbell_buffer);
	assert_true(d->nvme.register_memory);
	assert_int_equal(d->nvme.ns_pool.kind, NVME_POOL_DIRECTORY);
	assert_string_equal(d->nvme.ns_pool.directory, "/tmp");
	assert_true(d->nvme.ns_pool.capacity == T);
	assert_int_equal(d->n_vfs, 8);
	assert_int_equal(d->vfs[0].nvme_queues, 8);
	assert_true(d->vfs[0].has_limits);
	assert_int_equal(d->vfs[0].limits.iops, 20000);
	assert_int_equal(d->vfs[0].limits.iops_burst, 1000);
	assert_int_equal(d->vfs[0].limits.bandwidth, 0);
	assert_int_equal(d->vfs[0].socket.mode, 0660);
	assert_int_equal(d->vfs[7].nvme_queues, 0);
	assert_true(d->vfs[7].has_limits);
	assert_int_equal(d->vfs[7].limits.bandwidth, 200 * M);
	config_free(&cfg);
	/* Defaults without limits leave alone what was set live; a burst waits for a limit. */
	d = good(SSD("    vf-defaults: {queues: 2}\n"), &cfg);
	assert_int_equal(d->vfs[3].nvme_queues, 2);
	assert_false(d->vfs[3].has_limits);
	config_free(&cfg);
	d = good(SSD("    vf-defaults: {iops-burst: 5}\n    vfs: {1: {iops: 7}}\n"), &cfg);
	assert_int_equal(d->vfs[0].limits.iops_burst, 0);
	assert_int_equal(d->vfs[1].limits.iops_burst, 5);
	config_free(&cfg);
	d = good(SSD("    namespace-pool: {memory: 4G}\n"), &cfg);
	assert_int_equal(d->nvme.ns_pool.kind, NVME_POOL_MEMORY);
	assert_true(d->nvme.ns_pool.capacity == 4 * G);
	config_free(&cfg);
}

static void namespaces_are_read(void **state)
{
	static const char text[] = SSD(
		POOL "    namespaces:\n"
		     "      6: {pool: 512M, attach: [pf]}\n"
		     "      1:\n"
		     "        file: ../disk.img\n"
		     "        size: 4G\n"
		     "        block-size: 4096\n"
		     "        preallocate: on\n"
		     "        direct: off\n"
		     "        attach: [vf0]\n"
		     "        uuid: 0F0E0D0C-0000-4000-8000-000000000001\n"
		     "        reservations: r1\n"
		     "        iops: 10\n"
		     "        bandwidth: 1.5M\n"
		     "        bandwidth-burst: 3M\n"
		     "      2: {memory: 1G, attach: [vf0, vf7, ssd0/vf0]}\n"
		     "      3: {device: /dev/vdb, read-only: yes, direct: on, attach: all}\n"
		     "      4: {null: 1T, attach: vf1}\n"
		     "      5: {nbd: \"nbd+unix:///?socket=/run/x.sock\", attach: [pf, vf0]}\n");
	struct config cfg;
	struct config_namespace *ns;

	ns = good(text, &cfg)->nvme.namespaces;
	assert_int_equal(cfg.devices[0].nvme.n_namespaces, 6);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(ns[i].nsid, i + 1);
	assert_int_equal(ns[0].line, 7);
	assert_int_equal(ns[0].backend.type, BLOCK_FILE);
	assert_string_equal(ns[0].backend.target, "/etc/softiov/../disk.img");
	assert_true(ns[0].backend.size == 4 * G);
	assert_true(ns[0].backend.preallocate);
	assert_false(ns[0].backend.read_only);
	assert_int_equal(ns[0].backend.direct, BLOCK_DIRECT_OFF);
	assert_int_equal(ns[0].block_size, 4096);
	assert_string_equal(ns[0].uuid, "0f0e0d0c-0000-4000-8000-000000000001");
	assert_string_equal(ns[0].reservations, "/etc/softiov/r1");
	assert_int_equal(ns[0].limits.iops, 10);
	assert_int_equal(ns[0].limits.bandwidth, 1536 * K);
	assert_int_equal(ns[0].limits.bandwidth_burst, 3 * M);
	assert_int_equal(ns[0].n_attach, 1);
	assert_int_equal(ns[0].attach_vfs[0], 0);
	assert_false(ns[0].attach_all || ns[0].attach_pf || ns[0].from_pool);
	assert_int_equal(ns[1].backend.type, BLOCK_MEMORY);
	assert_true(ns[1].backend.size == G);
	assert_int_equal(ns[1].n_attach, 2);
	assert_int_equal(ns[1].attach_vfs[1], 7);
	assert_int_equal(ns[2].backend.type, BLOCK_DEVICE);
	assert_string_equal(ns[2].backend.target, "/dev/vdb");
	assert_true(ns[2].backend.read_only && ns[2].attach_all);
	assert_int_equal(ns[2].backend.direct, BLOCK_DIRECT_ON);
	assert_true(ns[2].backend.size == 0);
	assert_int_equal(ns[3].backend.type, BLOCK_NULL);
	assert_true(ns[3].backend.size == T);
	assert_int_equal(ns[3].attach_vfs[0], 1);
	assert_int_equal(ns[4].backend.type, BLOCK_NBD);
	assert_string_equal(ns[4].backend.target, "nbd+unix:///?socket=/run/x.sock");
	assert_true(ns[4].attach_pf);
	assert_true(ns[5].from_pool && ns[5].attach_pf);
	assert_true(ns[5].backend.size == 512 * M);
	config_free(&cfg);
}

static void readers_share_a_file(void **state)
{
	struct config cfg;

	good(SSD("    namespaces:\n      1: {file: a, read-only: on}\n"
		 "      2: {file: a, read-only: on}\n"),
	     &cfg);
	config_free(&cfg);
}

/* Both types beside each other, and a disk in a root. */
static void types_mix(void **state)
{
	struct config cfg;

	good("devices:\n"
	     "  nic0: {type: ethernet, queues: 2, vfs: {0: {vlan: 5}}}\n"
	     "  ssd0: {queues: 3, type: NVMe, flexible-queues: 64}\n"
	     "roots: {host0: {devices: [nic0, ssd0]}}\n",
	     &cfg);
	assert_int_equal(cfg.devices[0].type, DEVICE_ETHERNET);
	assert_int_equal(cfg.devices[0].queue_pairs, 2);
	assert_int_equal(cfg.devices[1].type, DEVICE_NVME);
	assert_int_equal(cfg.devices[1].nvme.queues, 3);
	config_free(&cfg);
}

/* Cutting a good file anywhere must neither crash nor leak. */
static void truncated_files_are_survived(void **state)
{
	static const char text[] =
		SSD(POOL "    vf-defaults: {iops: 5}\n    namespaces: {1: {file: a, size: 4M, "
			 "attach: [vf0, vf1, pf], reservations: x}, 2: {pool: 1M, attach: all}}\n");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_files_are_refused_in_these_words),
		cmocka_unit_test(defaults_hold),
		cmocka_unit_test(the_device_is_read),
		cmocka_unit_test(namespaces_are_read),
		cmocka_unit_test(readers_share_a_file),
		cmocka_unit_test(types_mix),
		cmocka_unit_test(truncated_files_are_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
