/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Controllers that are reset, torn away and shut down under load, and what is on the disk after the
 * daemon was killed, while a second host goes on undisturbed.
 *
 *   daemon_nvme_life_test SOFTIOVD SOFTIOV [TEST]
 */
#include "daemon_nvme.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { MEM = 1, FILE512, HONEST, NULLDEV };

#define DEPTH	 64
#define STALL_MS (3000 * nvme_rig_slow())

static const char config[] = WORKERS "devices:\n"
				     "  ssd0:\n"
				     "    type: nvme\n"
				     "    total-vfs: 4\n"
				     "    num-vfs: 3\n"
				     "    queues: 8\n"
				     "    namespaces:\n"
				     "      1: {memory: 64M, attach: [vf0]}\n"
				     "      2: {file: @/disk.img, size: 256M, attach: [vf0]}\n"
				     "      3: {memory: 16M, attach: [vf1]}\n"
				     "      4: {null: 1G, attach: [vf0]}\n";

static struct nvme_rig rig;
static struct nvme_host *honest;
static struct nvme_host *busy; /* the running test's, at vf0 */
static struct nvme_pump pump;

static int setup(void **state)
{
	if (nvme_rig_start(&rig, config) ||
	    nvme_rig_open(&rig, "ssd0/vf1", (struct nvme_host_config){.interrupts = true}, &honest))
		return -1;
	return nvme_pump_start(&pump, honest, HONEST);
}

static int teardown(void **state)
{
	int err = nvme_pump_stop(&pump);

	print_message("# the honest host did %lu commands, the slowest took %.1f ms\n",
		      (unsigned long)pump.commands, (double)pump.slowest_ns / 1e6);
	if (err)
		print_message("# and met %s (%#x)\n", err < 0 ? strerror(-err) : "status", err);
	nvme_host_close(honest);
	rig.bad |= err != 0;
	return nvme_rig_stop(&rig) || err ? -1 : 0;
}

static void undisturbed(void)
{
	int err = nvme_pump_check(&pump, 50, STALL_MS);

	if (err)
		fail_msg("the honest host: %s (%#x)", err < 0 ? strerror(-err) : "status", err);
	assert_true(daemon_lives(&rig.run));
}

/* ---- load ---- */

struct load {
	struct nvme_host *h;
	unsigned pairs;
	unsigned long done, errors;
	uint32_t seq;
	struct nvme_host_req reqs[8][DEPTH];
};

static struct load load;

static void again(struct nvme_host_req *r)
{
	struct load *l = r->opaque;
	uint32_t n = l->seq++;

	l->done++;
	l->errors += r->status != 0;
	r->sqe.opcode = n % 3 ? nvme_cmd_read : nvme_cmd_write;
	r->sqe.nsid = n % 7 < 3 ? FILE512 : n % 7 < 6 ? MEM : NULLDEV;
	r->sqe.cdw10 = n * 2654435761u % 100000;
	for (unsigned q = 1; q <= l->pairs; q++)
		if (r >= l->reqs[q - 1] && r < l->reqs[q - 1] + DEPTH)
			nvme_host_submit(nvme_host_io(l->h, q), r);
}

static void load_start(struct nvme_host *h)
{
	memset(&load, 0, sizeof(load));
	load.h = h;
	load.pairs = h->io_pairs;
	for (unsigned q = 0; q < load.pairs; q++) {
		for (unsigned i = 0; i < DEPTH; i++) {
			struct nvme_host_req *r = &load.reqs[q][i];

			r->done = again;
			r->opaque = &load;
			nvme_host_make_rw(&r->sqe, nvme_cmd_read, FILE512, i * 8, 8, 0);
			nvme_host_prp(&r->sqe, h->data_addr + i * 8192 + 512, 4096, NULL, 0);
			assert_int_equal(nvme_host_submit(nvme_host_io(h, q + 1), r), 0);
		}
		nvme_host_ring(nvme_host_io(h, q + 1));
	}
}

/* Until n more commands are done. */
static void load_run(unsigned long n)
{
	uint64_t end = clock_now_ns() + NVME_RIG_TIMEOUT_MS * NS_PER_MS;
	unsigned long goal = load.done + n;

	while (load.done < goal) {
		assert_true(clock_now_ns() < end);
		for (unsigned q = 1; q <= load.pairs; q++) {
			nvme_host_poll(nvme_host_io(load.h, q)->cq, 64);
			nvme_host_ring(nvme_host_io(load.h, q));
		}
	}
	assert_int_equal(load.errors, 0);
	assert_int_equal(load.h->strange, 0);
}

static const struct nvme_host_config busy_cfg = {.pairs = 4, .queue_size = 128};

/* One that a failed test has left behind is closed. */
static void done(void)
{
	nvme_host_close(busy);
	busy = NULL;
}

static struct nvme_host *open_busy(bool dbbuf)
{
	struct nvme_host_config cfg = busy_cfg;

	done();
	cfg.dbbuf = dbbuf;
	assert_int_equal(nvme_rig_open(&rig, "ssd0/vf0", cfg, &busy), 0);
	return busy;
}

static void works(struct nvme_host *h)
{
	static uint64_t seed = 100;

	for (unsigned ns = MEM; ns <= FILE512; ns++) {
		seed++;
		nvme_pattern(h->data, 65536, seed);
		OK(nvme_host_rw(nvme_host_io(h, 1), nvme_cmd_write, ns, 7, 128, 0));
		memset(h->data, 0, 65536);
		OK(nvme_host_rw(nvme_host_io(h, 1), nvme_cmd_read, ns, 7, 128, 0));
		assert_true(nvme_pattern_is(h->data, 65536, seed));
	}
}

/* ---- resets ---- */

/* Nothing of the old life may reach memory after CSTS.RDY is 0. */
static void quiet(struct nvme_host *h)
{
	static uint8_t before[2 << 20];

	memset(h->data, 0xee, 1 << 20);
	memcpy(before, h->data, 1 << 20);
	usleep(3000);
	assert_memory_equal(h->data, before, 1 << 20);
}

static void reset_under_load(void **state)
{
	struct nvme_host *h = open_busy(false);

	for (unsigned i = 0; i < 30; i++) {
		if (i == 15)
			h->cfg.dbbuf = true;
		load_start(h);
		load_run(i % 5 * 300 + 1);
		assert_int_equal(nvme_host_disable(h), 0);
		if (i % 8 == 0)
			quiet(h);
		assert_int_equal(nvme_host_start(h), 0);
	}
	works(h);
	undisturbed();
	done();
}

static void flr_under_load(void **state)
{
	struct nvme_host *h = open_busy(false);

	for (unsigned i = 0; i < 6; i++) {
		load_start(h);
		load_run(500);
		assert_int_equal(nvme_host_flr(h), 0);
		assert_int_equal(nvme_host_get32(h, NVME_REG_CC) & 1, 0);
		assert_int_equal(nvme_host_get32(h, NVME_REG_CSTS), 0);
		assert_int_equal(nvme_host_get32(h, NVME_REG_AQA), 0);
		assert_int_equal(nvme_host_start(h), 0);
		works(h);
	}
	/* as a VMM does it */
	load_start(h);
	load_run(500);
	assert_int_equal(nvme_host_reset(h), 0);
	assert_int_equal(nvme_host_get32(h, NVME_REG_CC) & 1, 0);
	undisturbed();
	done();
}

static void torn_away_under_load(void **state)
{
	int files = 0;

	for (unsigned i = 0; i < 20; i++) {
		struct nvme_host *h = open_busy(i & 1);

		load_start(h);
		load_run(300);
		done();
		if (i == 4)
			files = daemon_files(&rig.run);
	}
	undisturbed();
	struct nvme_host *h = open_busy(false);

	works(h);
	done();
	/* nothing is left over of them */
	for (unsigned i = 0; i < 100 && daemon_files(&rig.run) > files; i++)
		usleep(20000);
	assert_in_range(daemon_files(&rig.run), 1, files);
}

/* The queues go one by one while all are busy. */
static void queues_deleted_under_load(void **state)
{
	struct nvme_host *h = open_busy(false);
	unsigned aborted = 0, gone = 0;

	for (unsigned round = 0; round < 10; round++) {
		load_start(h);
		load_run(200);
		load.pairs = 0; /* nothing is submitted again */
		for (uint16_t q = 1; q <= 4; q++) {
			OK(nvme_host_delete_sq(h, q));
			for (unsigned i = 0; i < DEPTH; i++) {
				/* What was not fetched yet goes without an answer (5.6). */
				gone += load.reqs[q - 1][i].status == NVME_HOST_GONE;
				aborted += NVME_HOST_CODE(load.reqs[q - 1][i].status) ==
					   GENERIC(NVME_SC_ABORT_QUEUE);
			}
			OK(nvme_host_delete_cq(h, q));
		}
		for (uint16_t q = 1; q <= 4; q++) {
			OK(nvme_host_create_cq(h, q, 128, NVME_HOST_NO_IRQ));
			OK(nvme_host_create_sq(h, q, 128, q));
		}
		works(h);
	}
	print_message("# %u commands were aborted with their queue, %u went with it\n", aborted,
		      gone);
	undisturbed();
	done();
}

static void shutdowns(void **state)
{
	struct nvme_host *h = open_busy(false);
	uint32_t csts;

	for (unsigned abrupt = 0; abrupt < 2; abrupt++) {
		works(h);
		assert_int_equal(nvme_host_shutdown(h, abrupt), 0);
		csts = nvme_host_get32(h, NVME_REG_CSTS);
		assert_int_equal(csts >> NVME_CSTS_SHST_SHIFT & 3, NVME_CSTS_SHST_CMPLT);
		assert_int_equal(nvme_host_start(h), 0);
		csts = nvme_host_get32(h, NVME_REG_CSTS);
		assert_int_equal(csts, 1);
	}
	/* Shut down while it is disabled: that does not stick to the next life. */
	assert_int_equal(nvme_host_disable(h), 0);
	assert_int_equal(nvme_host_shutdown(h, false), 0);
	assert_int_equal(nvme_host_start(h), 0);
	assert_int_equal(nvme_host_get32(h, NVME_REG_CSTS), 1);
	load_start(h);
	load_run(300);
	assert_int_equal(nvme_host_shutdown(h, false), 0);
	assert_int_equal(nvme_host_start(h), 0);
	works(h);
	undisturbed();
	done();
}

/* ---- what is on the disk when the daemon was killed ---- */

static const char durable_config[] =
	"devices:\n"
	"  ssd0:\n"
	"    type: nvme\n"
	"    total-vfs: 2\n"
	"    num-vfs: 1\n"
	"    queues: 4\n"
	"    namespaces:\n"
	"      1: {file: @/d.img, size: 64M, direct: %s, attach: [vf0]}\n";

enum how { BY_FLUSH, BY_FUA, BY_WRITE_THROUGH, BY_SHUTDOWN, HOWS };

#define BLOCKS 256u

static void write_durably(struct nvme_host *h, enum how how, uint64_t seed)
{
	struct nvme_host_sq *sq = nvme_host_io(h, 1);

	if (how == BY_WRITE_THROUGH)
		OK(nvme_host_set_feature(h, NVME_FEAT_FID_VOLATILE_WC, 0));
	for (unsigned i = 0; i < 20; i++) {
		nvme_pattern(h->data, BLOCKS * 512, seed + i);
		OK(nvme_host_rw(sq, nvme_cmd_write, 1, i * 3001, BLOCKS,
				how == BY_FUA ? NVME_RW_FUA : 0));
	}
	if (how == BY_FLUSH)
		OK(nvme_host_flush(sq, 1));
	if (how == BY_SHUTDOWN)
		assert_int_equal(nvme_host_shutdown(h, false), 0);
}

/* Reads what the disk has, not what the host's page cache has, as far as that can be told apart. */
static void check_file(uint64_t seed)
{
	uint8_t *buf = NULL;
	char path[64];
	int fd;

	assert_int_equal(posix_memalign((void **)&buf, 4096, (BLOCKS + 16) * 512), 0);
	snprintf(path, sizeof(path), "%s/d.img", rig.files);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	for (unsigned i = 0; i < 20; i++) {
		off_t at = (off_t)i * 3001 * 512, from = at & ~4095;

		assert_true(pread(fd, buf, (BLOCKS + 8) * 512, from) >=
			    (ssize_t)(BLOCKS * 512 + at - from));
		assert_true(nvme_pattern_is(buf + (at - from), BLOCKS * 512, seed + i));
	}
	close(fd);
	free(buf);
}

static void killed_daemon(void **state)
{
	char text[1024];
	struct nvme_host *h;
	struct nvme_rig *r = &rig;

	for (unsigned i = 0; i < 2 * HOWS; i++) {
		snprintf(text, sizeof(text), durable_config, i & 1 ? "on" : "off");
		assert_int_equal(nvme_rig_start(r, text), 0);
		assert_int_equal(nvme_rig_open(r, "ssd0/vf0", (struct nvme_host_config){0}, &h), 0);
		write_durably(h, i / 2, 1000 * (i + 1));
		nvme_rig_kill(r);
		check_file(1000 * (i + 1));
		nvme_host_close(h);
		/* and the next daemon has it for its guests, the lock of the dead one being gone */
		assert_int_equal(nvme_rig_start(r, text), 0);
		assert_int_equal(nvme_rig_open(r, "ssd0/vf0", (struct nvme_host_config){0}, &h), 0);
		OK(nvme_host_rw(nvme_host_io(h, 1), nvme_cmd_read, 1, 3001, BLOCKS, 0));
		assert_true(nvme_pattern_is(h->data, BLOCKS * 512, 1000 * (i + 1) + 1));
		nvme_host_close(h);
		assert_int_equal(nvme_rig_stop(r), 0);
	}
}

/* Killed in the middle of writing: what had been flushed is whole. */
static void killed_under_load(void **state)
{
	struct nvme_host *h;
	char text[1024];

	snprintf(text, sizeof(text), durable_config, "auto");
	for (unsigned i = 0; i < 5; i++) {
		struct nvme_host_req r[32] = {0};

		assert_int_equal(nvme_rig_start(&rig, text), 0);
		assert_int_equal(nvme_rig_open(&rig, "ssd0/vf0", (struct nvme_host_config){0}, &h),
				 0);
		write_durably(h, BY_FLUSH, 7000 * (i + 1));
		for (unsigned k = 0; k < 32; k++) {
			nvme_host_make_rw(&r[k].sqe, nvme_cmd_write, 1, 100000 + k * 8, 8, 0);
			nvme_host_prp(&r[k].sqe, h->data_addr, 4096, NULL, 0);
			assert_int_equal(nvme_host_submit(nvme_host_io(h, 1), &r[k]), 0);
		}
		nvme_host_ring(nvme_host_io(h, 1));
		usleep(i * 150);
		nvme_rig_kill(&rig);
		check_file(7000 * (i + 1));
		nvme_host_close(h);
	}
}

/* ---- a full disk ---- */

static const char full_config[] = "devices:\n"
				  "  ssd0:\n"
				  "    type: nvme\n"
				  "    total-vfs: 2\n"
				  "    num-vfs: 2\n"
				  "    queues: 4\n"
				  "    namespaces:\n"
				  "      1: {file: @/small/d.img, size: 64M, attach: [vf0]}\n"
				  "      2: {memory: 16M, attach: [vf1]}\n";

static bool mount_small(char *path, size_t len)
{
	snprintf(path, len, "%s/small", rig.files);
	return mkdir(path, 0700) == 0 && unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", path, "tmpfs", 0, "size=16m") == 0;
}

static void full_disk(void **state)
{
	struct nvme_host *h, *other;
	struct nvme_pump p;
	unsigned n, refused = 0;
	char path[64];
	int st;

	if (!mount_small(path, sizeof(path))) {
		print_message("# needs to be root, to mount a small file system\n");
		skip();
	}
	assert_int_equal(nvme_rig_start(&rig, full_config), 0);
	assert_int_equal(nvme_rig_open(&rig, "ssd0/vf0", (struct nvme_host_config){0}, &h), 0);
	assert_int_equal(nvme_rig_open(&rig, "ssd0/vf1", (struct nvme_host_config){0}, &other), 0);
	assert_int_equal(nvme_pump_start(&p, other, 2), 0);
	for (n = 0; n < 64; n++) {
		nvme_pattern(h->data, 1 << 20, n);
		st = nvme_host_rw(nvme_host_io(h, 1), nvme_cmd_write, 1, n * 2048, 2048, 0);
		if (!st && !refused)
			continue;
		if (!refused)
			print_message("# full after %u MiB\n", n);
		STATUS(st, GENERIC(NVME_SC_CAP_EXCEEDED));
		if (refused++ > 3)
			break;
	}
	assert_in_range(n, 8, 30);
	/* What is there stays readable, and can be written over. */
	for (unsigned i = 0; i < 8; i++) {
		OK(nvme_host_rw(nvme_host_io(h, 1), nvme_cmd_read, 1, i * 2048, 2048, 0));
		assert_true(nvme_pattern_is(h->data, 1 << 20, i));
	}
	nvme_pattern(h->data, 1 << 20, 99);
	OK(nvme_host_rw(nvme_host_io(h, 1), nvme_cmd_write, 1, 0, 2048, 0));
	/* The disk goes on when there is room again. */
	assert_int_equal(mount(NULL, path, NULL, MS_REMOUNT, "size=96m"), 0);
	for (; n < 64; n++) {
		nvme_pattern(h->data, 1 << 20, n);
		OK(nvme_host_rw(nvme_host_io(h, 1), nvme_cmd_write, 1, n * 2048, 2048, 0));
	}
	assert_int_equal(nvme_pump_check(&p, 50, STALL_MS), 0);
	assert_int_equal(nvme_pump_stop(&p), 0);
	nvme_host_close(h);
	nvme_host_close(other);
	assert_int_equal(nvme_rig_stop(&rig), 0);
	umount(path);
}

/* ---- two daemons, one file ---- */

static void locked_file(void **state)
{
	char text[1024], command[512], config_path[96], line[4096];
	size_t n;
	FILE *f;
	int status;

	snprintf(text, sizeof(text), durable_config, "auto");
	assert_int_equal(nvme_rig_start(&rig, text), 0);
	snprintf(config_path, sizeof(config_path), "%s/second.yaml", rig.files);
	f = fopen(config_path, "we");
	fputs(rig.config, f);
	fclose(f);
	snprintf(command, sizeof(command), "timeout 20 '%s' -c '%s' -s '%s/second' 2>&1",
		 rig.softiovd, config_path, rig.files);
	f = popen(command, "re");
	n = fread(line, 1, sizeof(line) - 1, f);
	line[n] = '\0';
	status = pclose(f);
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 124)
		fail_msg("the second daemon was not refused: %s", line);
	/* it names the file and what to do */
	if (!strstr(line, "d.img") ||
	    (!strstr(line, "in use") && !strstr(line, "lock") && !strstr(line, "another")))
		fail_msg("not clear: %s", line);
	assert_int_equal(nvme_rig_stop(&rig), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest resets[] = {
		cmocka_unit_test(reset_under_load),
		cmocka_unit_test(flr_under_load),
		cmocka_unit_test(torn_away_under_load),
		cmocka_unit_test(queues_deleted_under_load),
		cmocka_unit_test(shutdowns),
	};
	const struct CMUnitTest disks[] = {
		cmocka_unit_test(killed_daemon),
		cmocka_unit_test(killed_under_load),
		cmocka_unit_test(locked_file),
		cmocka_unit_test(full_disk),
	};
	int ret;

	if (nvme_test_begin(&rig, argc, argv))
		return 2;
	ret = cmocka_run_group_tests(resets, setup, teardown);
	ret |= cmocka_run_group_tests(disks, NULL, NULL);
	return nvme_rig_fini(&rig) ? 1 : ret;
}
