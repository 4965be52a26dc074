/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon_nvme_hostile.h"

#include <time.h>

static const char config[] = WORKERS "devices:\n"
				     "  ssd0:\n"
				     "    type: nvme\n"
				     "    total-vfs: 4\n"
				     "    num-vfs: 2\n"
				     "    queues: 8\n"
				     "    namespaces:\n"
				     "      1: {memory: 64M, attach: [vf0]}\n"
				     "      2: {file: @/disk.img, size: 64M, attach: [vf0]}\n"
				     "      3: {null: 1G, attach: [vf0]}\n"
				     "      4: {memory: 16M, attach: [vf1]}\n";

struct nvme_rig rig;
struct nvme_host *h;
struct nvme_host_sq *io;
static struct nvme_host *honest;
static struct nvme_pump pump;
static unsigned seed;

static int setup(void **state)
{
	print_message("# seed %u\n", seed);
	srandom(seed);
	if (nvme_rig_start(&rig, config) ||
	    nvme_rig_open(&rig, "ssd0/vf1", (struct nvme_host_config){.interrupts = true}, &honest))
		return -1;
	return nvme_pump_start(&pump, honest, HONEST);
}

static int teardown(void **state)
{
	int err = nvme_pump_stop(&pump);

	if (err)
		print_message("# the honest host: %s (%#x)\n", err < 0 ? strerror(-err) : "status",
			      err);
	print_message("# the honest host did %lu commands, the slowest took %.1f ms\n",
		      (unsigned long)pump.commands, (double)pump.slowest_ns / 1e6);
	nvme_host_close(honest);
	rig.bad |= err != 0;
	return nvme_rig_stop(&rig) || err ? -1 : 0;
}

void begin(struct nvme_host_config cfg)
{
	end(); /* of a test that failed */
	cfg.pairs = cfg.pairs ? cfg.pairs : 2;
	cfg.ask = 8;
	assert_int_equal(nvme_rig_open(&rig, "ssd0/vf0", cfg, &h), 0);
	io = nvme_host_io(h, 1);
}

void undisturbed(const char *after)
{
	int err = nvme_pump_check(&pump, 20, STALL_MS);

	if (err || !daemon_lives(&rig.run))
		fail_msg("%s: the honest host: %s (%#x); the daemon %s", after,
			 err < 0 ? strerror(-err) : "status", err,
			 daemon_lives(&rig.run) ? "lives" : "is dead");
}

void works(void)
{
	for (unsigned ns = MEM; ns <= FILE512; ns++) {
		nvme_pattern(h->data, 8192, ns);
		OK(nvme_host_rw(io, nvme_cmd_write, ns, 3, 16, 0));
		memset(h->data, 0, 8192);
		OK(nvme_host_rw(io, nvme_cmd_read, ns, 3, 16, 0));
		assert_true(nvme_pattern_is(h->data, 8192, ns));
	}
}

void recovers(const char *after)
{
	int err = nvme_host_start(h);

	if (err)
		fail_msg("%s: cannot be started again: %s", after, strerror(-err));
	io = nvme_host_io(h, 1);
	works();
}

void end(void)
{
	nvme_host_close(h);
	h = NULL;
}

uint64_t end_of_memory(void)
{
	return NVME_HOST_BASE + h->mem_len;
}

void refused(int st, int want, const char *name, const struct nvme_sqe *s)
{
	bool bad = st < 0 || (want >= 0 && !st) || (want > 0 && NVME_HOST_CODE(st) != want);

	if (bad)
		fail_msg("%s, command %#x of namespace %u: %s (%#x), not %#x", name, s->opcode,
			 s->nsid, st < 0 ? strerror(-st) : "status", st, want);
	if (nvme_host_failed(h))
		fail_msg("%s, command %#x: CFS", name, s->opcode);
}

int hostile_main(int argc, char **argv, const struct CMUnitTest *tests, size_t n)
{
	int ret;

	if (argc < 3 || nvme_rig_init(&rig, argv[1], argv[2]))
		return 2;
	seed = argc > 3 ? (unsigned)atoi(argv[3]) : (unsigned)time(NULL);
	if (argc > 4)
		cmocka_set_test_filter(argv[4]);
	ret = _cmocka_run_group_tests("hostile", tests, n, setup, teardown);
	return nvme_rig_fini(&rig) ? 1 : ret;
}
