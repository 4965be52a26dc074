/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVMe devices as the composer makes and changes them: namespaces and who has them, queues of VFs,
 * limits, a reload that does everything or nothing. Backends are memory, null, and files in a
 * directory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "device/device.h"
#include "dma/dma.h"
#include "util/util.h"
#include "worker/mailbox.h"

#define MIB    (1ull << 20)
#define NS_MAX 8

static char dir[] = "/tmp/softiov-compose-XXXXXX";
static sd_event *event;
static struct softiov *s;
static char why[WHY_MAX];

/* A configuration: one NVMe device with 4 VFs at most, namespaces as asked for. */
struct setup {
	struct config cfg;
	struct config_device dev[2];
	struct config_namespace ns[NS_MAX];
	struct config_vf vfs[4];
	unsigned attach[NS_MAX][4];
	struct config_root roots[2];
	struct config_root_device shares[2];
};

static void setup_init(struct setup *c)
{
	struct config_device *d = &c->dev[0];

	memset(c, 0, sizeof(*c));
	c->cfg.workers = 1;
	c->cfg.n_devices = 1;
	c->cfg.devices = c->dev;
	d->type = DEVICE_NVME;
	snprintf(d->name, sizeof(d->name), "ssd0");
	d->total_vfs = 4;
	d->num_vfs = 2;
	d->nvme.max_namespaces = 8;
	d->nvme.pf_queues = 2;
	d->nvme.queue_size = 256;
	d->nvme.doorbell_buffer = true;
	d->nvme.ns_pool.kind = NVME_POOL_MEMORY;
	d->nvme.ns_pool.capacity = 16 * MIB;
	d->nvme.namespaces = c->ns;
	d->vfs = c->vfs;
}

static struct config_namespace *add_ns(struct setup *c, uint32_t nsid, enum block_type type,
				       uint64_t size)
{
	unsigned i = c->dev[0].nvme.n_namespaces++;

	c->ns[i] = (struct config_namespace){
		.nsid = nsid,
		.backend = {.type = type, .size = size},
		.attach_vfs = c->attach[i],
	};
	return &c->ns[i];
}

static void attach_to(struct config_namespace *ns, unsigned vf)
{
	ns->attach_vfs[ns->n_attach++] = vf;
}

static void start(struct setup *c)
{
	int r = softiov_create(event, &c->cfg, dir, &s, why);

	if (r)
		fail_msg("%s", why);
}

static void reload(struct setup *c)
{
	if (softiov_reload(s, &c->cfg, why))
		fail_msg("%s", why);
}

/* Refused, and the sentence says so. */
static void refused(struct setup *c, int err, const char *word)
{
	why[0] = '\0';
	assert_int_equal(softiov_reload(s, &c->cfg, why), err);
	if (!strstr(why, word))
		fail_msg("\"%s\" says nothing of %s", why, word);
}

static int end_test(void **state)
{
	if (s)
		softiov_destroy(s);
	s = NULL;
	return 0;
}

/* --- looking --- */

struct seen {
	const char *name;
	bool found, configured;
	uint64_t size;
	struct nvme_limits limits;
	unsigned n_attached;
	char holders[256]; /* " ssd0/pf ssd0/vf0" */
};

static void see(void *opaque, const struct softiov_ns_info *info)
{
	struct seen *seen = opaque;

	if (strcmp(info->name, seen->name))
		return;
	seen->found = true;
	seen->configured = info->configured;
	seen->size = info->ns->size;
	seen->limits = info->ns->limits;
	seen->n_attached = info->ns->n_attached;
	for (unsigned i = 0; i < info->ns->n_attached; i++) {
		char name[FUNCTION_NAME_MAX];
		size_t len = strlen(seen->holders);

		softiov_ns_target_name(s, info->device, info->ns->attached[i], name);
		snprintf(seen->holders + len, sizeof(seen->holders) - len, " %s", name);
	}
}

static struct seen look(const char *name)
{
	struct seen seen = {.name = name};

	softiov_ns_for_each(s, NULL, see, &seen);
	return seen;
}

#define HOLDERS(ns, list) assert_string_equal(look(ns).holders, list)

static struct function_info function(const char *name)
{
	struct function_info info;

	assert_int_equal(softiov_function(s, name, &info), 0);
	return info;
}

static void take_device(void *opaque, const struct device_info *info)
{
	*(struct device_info *)opaque = *info;
}

/* --- tests --- */

static void starts_as_configured(void **state)
{
	struct setup c;
	struct config_namespace *ns;
	struct device_info dev;
	struct function_info fn;

	setup_init(&c);
	ns = add_ns(&c, 1, BLOCK_MEMORY, 4 * MIB);
	attach_to(ns, 1);
	attach_to(ns, 3);
	add_ns(&c, 2, BLOCK_NULL, 8 * MIB)->attach_all = true;
	ns = add_ns(&c, 5, BLOCK_MEMORY, 2 * MIB);
	ns->from_pool = true;
	ns->attach_pf = true;
	start(&c);

	HOLDERS("ssd0/ns1", " ssd0/vf1 ssd0/vf3");
	HOLDERS("ssd0/ns2", " ssd0/pf ssd0/vf0 ssd0/vf1 ssd0/vf2 ssd0/vf3");
	HOLDERS("ssd0/ns5", " ssd0/pf");
	assert_int_equal(look("ssd0/ns2").size, 8 * MIB);
	assert_true(look("ssd0/ns5").configured);

	softiov_for_each_device(s, take_device, &dev);
	assert_int_equal(dev.kind, DEVICE_NVME);
	assert_string_equal(dev.type, "nvme");
	assert_int_equal(dev.num_vfs, 2);
	assert_int_equal(dev.nvme.namespaces, 3);
	assert_int_equal(dev.nvme.pool_used, 2 * MIB);

	fn = function("ssd0/pf");
	assert_true(fn.nvme.primary && fn.nvme.managed);
	assert_int_equal(fn.nvme.cntlid, 0);
	assert_null(fn.port);
	assert_non_null(fn.ctrl);
	fn = function("ssd0/vf1");
	assert_int_equal(fn.nvme.cntlid, 2);
	assert_int_equal(fn.nvme.namespaces, 2);
	assert_true(fn.nvme.online);
	assert_string_equal(fn.pf, "ssd0/pf");
}

static void vf_queues_are_assigned_before_the_socket(void **state)
{
	struct setup c;

	setup_init(&c);
	c.dev[0].nvme.queues = 3;
	c.dev[0].n_vfs = 1;
	c.vfs[0] = (struct config_vf){.index = 1, .nvme_queues = 8};
	start(&c);
	assert_int_equal(function("ssd0/vf0").nvme.queue_resources, 4);
	assert_int_equal(function("ssd0/vf0").nvme.interrupt_resources, 4);
	assert_int_equal(function("ssd0/vf1").nvme.queue_resources, 9);
	assert_int_equal(function("ssd0/pf").nvme.flexible_assigned, 13);
	/* What a VF had is free when it goes. */
	assert_int_equal(softiov_set_num_vfs(s, "ssd0", 1, false, why), 0);
	assert_int_equal(function("ssd0/pf").nvme.flexible_assigned, 4);
	assert_int_equal(softiov_set_num_vfs(s, "ssd0", 4, false, why), 0);
	assert_int_equal(function("ssd0/pf").nvme.flexible_assigned, 4 + 9 + 4 + 4);
}

static void more_vfs_than_resources_are_refused(void **state)
{
	struct setup c;

	setup_init(&c);
	c.dev[0].nvme.queues = 3;
	c.dev[0].nvme.flexible = 10;
	start(&c);
	assert_int_equal(softiov_set_num_vfs(s, "ssd0", 3, false, why), -ENOSPC);
	assert_non_null(strstr(why, "flexible-queues"));
	assert_int_equal(softiov_function(s, "ssd0/vf2", &(struct function_info){0}), -ENOENT);
	/* A reload sees it before it changes anything; with fewer queues for new VFs it fits. */
	c.dev[0].num_vfs = 3;
	refused(&c, -ENOSPC, "flexible-queues");
	c.dev[0].n_vfs = 1;
	c.vfs[0] = (struct config_vf){.index = 2, .nvme_queues = 1};
	reload(&c);
	assert_int_equal(function("ssd0/vf2").nvme.queue_resources, 2);
}

static void queues_of_an_existing_vf_are_frozen(void **state)
{
	struct setup c;

	setup_init(&c);
	start(&c);
	c.dev[0].nvme.queues = 2;
	refused(&c, -EBUSY, "vf0");
	assert_int_equal(softiov_set_num_vfs(s, "ssd0", 0, false, why), 0);
	reload(&c);
	assert_int_equal(function("ssd0/vf0").nvme.queue_resources, 3);
}

/* share 0: an equal part. */
static void add_root(struct setup *c, const char *name, uint16_t share)
{
	unsigned i = c->cfg.n_roots++;

	c->dev[0].num_vfs = -1;
	c->cfg.roots = c->roots;
	c->shares[i] = (struct config_root_device){.device = "ssd0", .total_vfs = share};
	c->roots[i] = (struct config_root){.n_devices = 1, .devices = &c->shares[i]};
	snprintf(c->roots[i].name, sizeof(c->roots[i].name), "%s", name);
}

static void a_root_assigns_by_hand(void **state)
{
	struct setup c;

	setup_init(&c);
	add_root(&c, "host0", 0);
	start(&c);
	assert_false(function("ssd0/pf").nvme.managed);
	assert_null(function("ssd0/pf").socket);
	assert_string_equal(function("ssd0/pf").root, "host0");
	assert_int_equal(function("ssd0/pf").nvme.flexible_total, 4 * 9);
	assert_int_equal(softiov_set_num_vfs(s, "ssd0", 1, false, why), -EBUSY);
	assert_int_equal(softiov_root_unplug(s, "host0", "ssd0", true, why), 0);
	assert_int_equal(softiov_root_plug(s, "host0", "ssd0", why), 0);
}

static void roots_have_their_parts(void **state)
{
	struct setup c;

	setup_init(&c);
	add_root(&c, "host0", 1);
	add_root(&c, "host1", 3);
	c.dev[0].nvme.flexible = 16;
	add_ns(&c, 1, BLOCK_NULL, MIB)->attach_pf = true;
	add_ns(&c, 2, BLOCK_NULL, MIB)->attach_all = true;
	start(&c);
	assert_int_equal(function("ssd0/pf0").nvme.flexible_total, 4);
	assert_int_equal(function("ssd0/pf1").nvme.flexible_total, 12);
	assert_true(function("ssd0/pf1").nvme.cntlid != function("ssd0/pf0").nvme.cntlid);
	HOLDERS("ssd0/ns1", " ssd0/pf0");
	assert_int_equal(look("ssd0/ns2").n_attached, 6);
	assert_int_equal(softiov_ns_attach(s, "ssd0/ns1", "ssd0/pf1", why), 0);
	HOLDERS("ssd0/ns1", " ssd0/pf0 ssd0/pf1");
	assert_int_equal(softiov_ns_attach(s, "ssd0/ns1", "pf2", why), -ENOENT);
	reload(&c);
	c.shares[0].total_vfs = 2;
	c.shares[1].total_vfs = 2;
	refused(&c, -EBUSY, "shares");
}

static void reload_changes_namespaces(void **state)
{
	struct setup c;

	setup_init(&c);
	attach_to(add_ns(&c, 1, BLOCK_MEMORY, 4 * MIB), 0);
	attach_to(add_ns(&c, 2, BLOCK_MEMORY, 4 * MIB), 0);
	start(&c);
	assert_int_equal(softiov_ns_attach(s, "ssd0/ns1", "vf3", why), 0);

	setup_init(&c);
	attach_to(add_ns(&c, 1, BLOCK_MEMORY, 6 * MIB), 1);
	c.ns[0].limits.iops = 1000;
	attach_to(add_ns(&c, 3, BLOCK_NULL, MIB), 2);
	reload(&c);
	/* vf3 got it live; vf0 had it from the file. */
	HOLDERS("ssd0/ns1", " ssd0/vf1 ssd0/vf3");
	assert_int_equal(look("ssd0/ns1").size, 6 * MIB);
	assert_int_equal(look("ssd0/ns1").limits.iops, 1000);
	assert_false(look("ssd0/ns2").found);
	HOLDERS("ssd0/ns3", " ssd0/vf2");
	assert_true(look("ssd0/ns3").configured);

	c.ns[0].limits.iops = 0;
	reload(&c);
	assert_int_equal(look("ssd0/ns1").limits.iops, 0);
}

static void reload_leaves_alone_what_was_made_live(void **state)
{
	struct setup c;
	struct nvme_ns_config live = {.nsid = 4, .backend = {.type = BLOCK_MEMORY, .size = MIB}};
	static const char *const targets[] = {"vf0", "ssd0/pf"};
	char name[FUNCTION_NAME_MAX];

	setup_init(&c);
	add_ns(&c, 1, BLOCK_MEMORY, 4 * MIB);
	start(&c);
	assert_int_equal(softiov_ns_create(s, "ssd0", &live, targets, 2, name, why), 0);
	assert_string_equal(name, "ssd0/ns4");
	assert_int_equal(
		softiov_ns_set_limits(s, "ssd0/ns1", &(struct nvme_limits){.iops = 7}, why), 0);
	assert_int_equal(softiov_ns_resize(s, "ssd0/ns1", 5 * MIB, false, why), 0);
	reload(&c);
	HOLDERS("ssd0/ns4", " ssd0/pf ssd0/vf0");
	assert_false(look("ssd0/ns4").configured);
	assert_int_equal(look("ssd0/ns1").limits.iops, 7);
	assert_int_equal(look("ssd0/ns1").size, 5 * MIB);
	/* Its NSID is taken for the file; once deleted it is free. */
	add_ns(&c, 4, BLOCK_NULL, MIB);
	refused(&c, -EEXIST, "ssd0/ns4");
	assert_int_equal(softiov_ns_delete(s, "ssd0/ns4", false, why), -EBUSY);
	assert_non_null(strstr(why, "ssd0/pf"));
	assert_int_equal(softiov_ns_delete(s, "ssd0/ns4", true, why), 0);
	reload(&c);
	assert_true(look("ssd0/ns4").configured);
	/* What was deleted live comes back from the file. */
	assert_int_equal(softiov_ns_delete(s, "ssd0/ns4", false, why), 0);
	reload(&c);
	assert_true(look("ssd0/ns4").configured);
}

static void refused_reload_changes_nothing(void **state)
{
	struct setup c, next;
	char blocked[PATH_MAX];

	setup_init(&c);
	attach_to(add_ns(&c, 1, BLOCK_MEMORY, 4 * MIB), 0);
	start(&c);

	/* The second new namespace cannot be made: the first goes again, the rest was not touched.
	 */
	snprintf(blocked, sizeof(blocked), "%s/missing/disk.img", dir);
	setup_init(&next);
	attach_to(add_ns(&next, 1, BLOCK_MEMORY, 8 * MIB), 1);
	attach_to(add_ns(&next, 2, BLOCK_NULL, MIB), 0);
	snprintf(add_ns(&next, 3, BLOCK_FILE, MIB)->backend.target, PATH_MAX, "%s", blocked);
	next.dev[0].nvme.ns_pool.capacity = 32 * MIB;
	assert_true(softiov_reload(s, &next.cfg, why) < 0);
	assert_true(why[0]);
	assert_false(look("ssd0/ns2").found);
	assert_int_equal(look("ssd0/ns1").size, 4 * MIB);
	HOLDERS("ssd0/ns1", " ssd0/vf0");

	/* Frozen things, each by its name. */
	next = c;
	next.dev[0].nvme.namespaces = next.ns;
	next.cfg.devices = next.dev;
	next.ns[0].backend.type = BLOCK_NULL;
	refused(&next, -EBUSY, "backend");
	next.ns[0] = c.ns[0];
	next.ns[0].block_size = 4096;
	refused(&next, -EBUSY, "block-size");
	next.ns[0] = c.ns[0];
	next.ns[0].backend.size = MIB;
	refused(&next, -EBUSY, "shrink");
	next.ns[0] = c.ns[0];
	snprintf(next.dev[0].nvme.serial, 21, "OTHER");
	refused(&next, -EBUSY, "serial");
	next.dev[0] = c.dev[0];
	next.dev[0].type = DEVICE_ETHERNET;
	refused(&next, -EBUSY, "type");
}

/* A file in the directory of this test. */
static const char *file_of(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static struct config_namespace *add_file(struct setup *c, uint32_t nsid, const char *name)
{
	struct config_namespace *ns = add_ns(c, nsid, BLOCK_FILE, MIB);

	snprintf(ns->backend.target, PATH_MAX, "%s", file_of(name));
	return ns;
}

static void make_file(const char *name, off_t size)
{
	FILE *f = fopen(file_of(name), "w");

	assert_non_null(f);
	assert_int_equal(ftruncate(fileno(f), size), 0);
	fclose(f);
}

static void is_there(const char *name, off_t size)
{
	struct stat st;

	assert_int_equal(stat(file_of(name), &st), 0);
	assert_int_equal(st.st_size, size);
}

static void is_gone(const char *name)
{
	assert_int_equal(access(file_of(name), F_OK), -1);
}

static void what_is_refused_leaves_no_files(void **state)
{
	struct setup c, next;
	struct nvme_ns_config live = {.backend = {.type = BLOCK_FILE, .size = MIB},
				      .uuid = "00112233-4455-6677-8899-aabbccddeeff"};
	char name[FUNCTION_NAME_MAX];

	/* a start */
	make_file("had.img", 4096);
	setup_init(&c);
	add_file(&c, 1, "new.img");
	add_file(&c, 2, "had.img");
	add_file(&c, 3, "missing/disk.img");
	assert_int_equal(softiov_create(event, &c.cfg, dir, &s, why), -ENOENT);
	is_gone("new.img");
	is_there("had.img", 4096);

	/* a reload, for a device that stays and for one that is new */
	setup_init(&c);
	add_ns(&c, 1, BLOCK_NULL, MIB);
	start(&c);
	setup_init(&next);
	add_ns(&next, 1, BLOCK_NULL, MIB);
	add_file(&next, 2, "new.img");
	add_file(&next, 3, "had.img");
	next.cfg.n_devices = 2;
	next.dev[1] = next.dev[0];
	snprintf(next.dev[1].name, sizeof(next.dev[1].name), "ssd1");
	next.dev[1].nvme.namespaces = &next.ns[4];
	next.dev[1].nvme.n_namespaces = 2;
	next.ns[4] = next.ns[1];
	next.ns[5] = next.ns[2];
	snprintf(next.ns[4].backend.target, PATH_MAX, "%s", file_of("other.img"));
	snprintf(next.ns[5].backend.target, PATH_MAX, "%s", file_of("missing/disk.img"));
	refused(&next, -ENOENT, "folder");
	is_gone("new.img");
	is_gone("other.img");
	is_there("had.img", 4096);
	/* What is applied stays. */
	next.cfg.n_devices = 1;
	reload(&next);
	is_there("new.img", MIB);
	is_there("had.img", MIB);

	/* a command */
	snprintf(live.backend.target, PATH_MAX, "%s", file_of("live.img"));
	assert_int_equal(softiov_ns_create(s, "ssd0", &live, NULL, 0, name, why), 0);
	snprintf(live.backend.target, PATH_MAX, "%s", file_of("twin.img"));
	assert_int_equal(softiov_ns_create(s, "ssd0", &live, NULL, 0, name, why), -EEXIST);
	is_there("live.img", MIB);
	is_gone("twin.img");
	unlink(file_of("new.img"));
	unlink(file_of("had.img"));
	unlink(file_of("live.img"));
}

static void a_reload_deletes_no_data_of_the_pool(void **state)
{
	struct setup c, next;

	setup_init(&c);
	c.dev[0].nvme.ns_pool.kind = NVME_POOL_DIRECTORY;
	snprintf(c.dev[0].nvme.ns_pool.directory, PATH_MAX, "%s", dir);
	add_ns(&c, 1, BLOCK_FILE, MIB)->from_pool = true;
	start(&c);
	next = c;
	next.cfg.devices = next.dev;
	next.dev[0].nvme.namespaces = next.ns;
	next.dev[0].nvme.n_namespaces = 0;
	reload(&next);
	assert_false(look("ssd0/ns1").found);
	is_there("ssd0-ns1.img", MIB);
	/* A refused one, which had opened it, does not either. */
	next.dev[0].nvme.n_namespaces = 1;
	add_file(&next, 2, "missing/disk.img");
	refused(&next, -ENOENT, "folder");
	is_there("ssd0-ns1.img", MIB);
	reload(&c);
	assert_true(look("ssd0/ns1").configured);
	/* More than the pool has is refused before anything is done. */
	next = c;
	next.cfg.devices = next.dev;
	next.dev[0].nvme.namespaces = next.ns;
	next.ns[0].backend.size = 17 * MIB;
	refused(&next, -ENOSPC, "pool");
	assert_int_equal(look("ssd0/ns1").size, MIB);
	assert_int_equal(softiov_ns_delete(s, "ssd0/ns1", false, why), 0);
	is_gone("ssd0-ns1.img");
}

/* Another namespace with the NSID of one of the file's is not the file's. */
static void a_namesake_is_left_alone(void **state)
{
	struct setup c;
	struct nvme_ns_config live = {.nsid = 1, .from_pool = true, .backend = {.size = MIB}};
	char name[FUNCTION_NAME_MAX];

	setup_init(&c);
	add_ns(&c, 1, BLOCK_FILE, MIB)->from_pool = true;
	start(&c);
	assert_true(look("ssd0/ns1").configured);
	assert_int_equal(softiov_ns_delete(s, "ssd0/ns1", false, why), 0);
	assert_int_equal(softiov_ns_create(s, "ssd0", &live, NULL, 0, name, why), 0);
	assert_false(look("ssd0/ns1").configured);
	refused(&c, -EEXIST, "ssd0/ns1");
	c.dev[0].nvme.n_namespaces = 0;
	reload(&c);
	assert_true(look("ssd0/ns1").found);
}

static void shrinking_wants_force(void **state)
{
	struct setup c;

	setup_init(&c);
	add_ns(&c, 1, BLOCK_MEMORY, 4 * MIB);
	start(&c);
	assert_int_equal(softiov_ns_resize(s, "ssd0/ns1", 2 * MIB, false, why), -EPERM);
	assert_non_null(strstr(why, "--force"));
	assert_int_equal(look("ssd0/ns1").size, 4 * MIB);
	assert_int_equal(softiov_ns_resize(s, "ssd0/ns1", 4 * MIB, false, why), 0);
	assert_int_equal(softiov_ns_resize(s, "ssd0/ns1", 5 * MIB, false, why), 0);
	assert_int_equal(softiov_ns_resize(s, "ssd0/ns1", 2 * MIB, true, why), 0);
	assert_int_equal(look("ssd0/ns1").size, 2 * MIB);
}

/* A daemon that was killed holds its files for a moment yet. */
static void *let_go(void *fd)
{
	usleep(800000);
	close((int)(intptr_t)fd);
	return NULL;
}

static void a_start_waits_for_a_dying_daemon(void **state)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct setup c;
	pthread_t thread;
	int fd;

	make_file("had.img", MIB);
	fd = open(file_of("had.img"), O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), 0);
	assert_int_equal(pthread_create(&thread, NULL, let_go, (void *)(intptr_t)fd), 0);
	setup_init(&c);
	add_file(&c, 1, "had.img");
	start(&c);
	pthread_join(thread, NULL);
	unlink(file_of("had.img"));
}

static int client_of(const char *function)
{
	struct function_info info = {0};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(softiov_function(s, function, &info), 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", info.socket);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	for (int i = 0; i < 100 && !info.endpoint.connected; i++) {
		assert_true(sd_event_run(event, 10000) >= 0);
		softiov_function(s, function, &info);
	}
	assert_true(info.endpoint.connected);
	return fd;
}

static void reload_takes_no_disk_from_a_vm(void **state)
{
	struct setup c;
	int fd;

	setup_init(&c);
	attach_to(add_ns(&c, 1, BLOCK_MEMORY, 4 * MIB), 0);
	start(&c);
	fd = client_of("ssd0/vf0");
	c.dev[0].nvme.n_namespaces = 0;
	refused(&c, -EBUSY, "ssd0/vf0");
	assert_true(look("ssd0/ns1").found);
	assert_int_equal(softiov_ns_detach(s, "ssd0/ns1", "all", why), 0);
	reload(&c);
	assert_false(look("ssd0/ns1").found);
	close(fd);
}

static void vf_limits_outlive_the_vf(void **state)
{
	struct setup c;

	setup_init(&c);
	c.dev[0].n_vfs = 1;
	c.vfs[0] = (struct config_vf){.index = 0, .has_limits = true, .limits = {.iops = 100}};
	start(&c);
	assert_int_equal(function("ssd0/vf0").nvme.limits.iops, 100);
	assert_int_equal(softiov_nvme_set_limits(s, "ssd0/vf1",
						 &(struct nvme_limits){.bandwidth = MIB}, why),
			 0);
	assert_int_equal(softiov_set_num_vfs(s, "ssd0", 0, false, why), 0);
	assert_int_equal(softiov_set_num_vfs(s, "ssd0", 2, false, why), 0);
	assert_int_equal(function("ssd0/vf0").nvme.limits.iops, 100);
	assert_int_equal(function("ssd0/vf1").nvme.limits.bandwidth, MIB);
	/* The file's limits go with the file; those set live stay. */
	c.vfs[0].has_limits = false;
	reload(&c);
	assert_int_equal(function("ssd0/vf0").nvme.limits.iops, 0);
	assert_int_equal(function("ssd0/vf1").nvme.limits.bandwidth, MIB);
}

static void says_what_was_meant(void **state)
{
	struct setup c;
	struct nvme_ns_config live = {.backend = {.type = BLOCK_NULL, .size = MIB}};
	static const char *const beyond[] = {"vf0", "vf4"};
	struct net_policy policy;
	char name[FUNCTION_NAME_MAX];

	setup_init(&c);
	add_ns(&c, 1, BLOCK_NULL, MIB);
	c.cfg.n_devices = 2;
	c.dev[1].type = DEVICE_ETHERNET;
	snprintf(c.dev[1].name, sizeof(c.dev[1].name), "nic0");
	c.dev[1].total_vfs = c.dev[1].num_vfs = 1;
	c.dev[1].queue_pairs = 1;
	c.dev[1].queue_size = 256;
	c.dev[1].mtu = 1500;
	c.dev[1].ageing_s = 300;
	start(&c);

	assert_int_equal(softiov_ns_attach(s, "ssd0/ns1", "vf9", why), -ENOENT);
	assert_int_equal(softiov_ns_attach(s, "ssd0/ns1", "nic0/vf0", why), -EINVAL);
	assert_int_equal(softiov_ns_attach(s, "ssd0/ns1", "vf01", why), -EINVAL);
	assert_int_equal(softiov_ns_attach(s, "ssd0/ns9", "vf0", why), -ENOENT);
	assert_int_equal(softiov_ns_attach(s, "nic0/ns1", "vf0", why), -ENOENT);
	assert_int_equal(softiov_ns_attach(s, "ssd0/ns1", "ssd0/vf1", why), 0);
	assert_int_equal(softiov_ns_attach(s, "ssd0/ns1", "vf1", why), -EALREADY);
	assert_int_equal(softiov_ns_attach(s, "ssd0/ns1", "all", why), 0);
	assert_int_equal(softiov_ns_attach(s, "ssd0/ns1", "all", why), -EALREADY);
	assert_int_equal(softiov_ns_detach(s, "ssd0/ns1", "pf", why), 0);
	assert_int_equal(softiov_ns_detach(s, "ssd0/ns1", "pf", why), -ENOENT);
	assert_int_equal(softiov_ns_create(s, "nic0", &live, NULL, 0, name, why), -ENOTSUP);
	/* A wrong target: nothing was made. */
	assert_int_equal(softiov_ns_create(s, "ssd0", &live, beyond, 2, name, why), -ENOENT);
	assert_false(look("ssd0/ns2").found);
	assert_int_equal(softiov_nvme_set_limits(s, "nic0/pf", &live.limits, why), -EOPNOTSUPP);
	policy = *function("nic0/vf0").policy;
	assert_int_equal(softiov_set_policy(s, "ssd0/vf0", &policy, why), -EOPNOTSUPP);
	assert_int_equal(softiov_set_policy(s, "nic0/vf0", &policy, why), 0);
}

static int begin(void **state)
{
	assert_non_null(mkdtemp(dir));
	return dma_init() || mailbox_init() || sd_event_new(&event) < 0;
}

static int end(void **state)
{
	sd_event_unref(event);
	mailbox_fini();
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(starts_as_configured, end_test),
		cmocka_unit_test_teardown(vf_queues_are_assigned_before_the_socket, end_test),
		cmocka_unit_test_teardown(more_vfs_than_resources_are_refused, end_test),
		cmocka_unit_test_teardown(queues_of_an_existing_vf_are_frozen, end_test),
		cmocka_unit_test_teardown(a_root_assigns_by_hand, end_test),
		cmocka_unit_test_teardown(roots_have_their_parts, end_test),
		cmocka_unit_test_teardown(reload_changes_namespaces, end_test),
		cmocka_unit_test_teardown(reload_leaves_alone_what_was_made_live, end_test),
		cmocka_unit_test_teardown(refused_reload_changes_nothing, end_test),
		cmocka_unit_test_teardown(what_is_refused_leaves_no_files, end_test),
		cmocka_unit_test_teardown(a_reload_deletes_no_data_of_the_pool, end_test),
		cmocka_unit_test_teardown(a_namesake_is_left_alone, end_test),
		cmocka_unit_test_teardown(shrinking_wants_force, end_test),
		cmocka_unit_test_teardown(a_start_waits_for_a_dying_daemon, end_test),
		cmocka_unit_test_teardown(reload_takes_no_disk_from_a_vm, end_test),
		cmocka_unit_test_teardown(vf_limits_outlive_the_vf, end_test),
		cmocka_unit_test_teardown(says_what_was_meant, end_test),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
