/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doorbells that a client has mapped, at the real daemon: no message for any command, nothing that
 * a hostile client writes there hurts others, and each client has a page of its own.
 *
 *   daemon_nvme_mapped_test SOFTIOVD SOFTIOV [TEST]
 */
#include "daemon_nvme.h"

#include <linux/vfio.h>
#include <sys/mman.h>

enum { MEM = 1, NULLDEV, FILE512 };

#define PAIRS 4
#define DEPTH 24
#define WORDS (NVME_HOST_PAGE / 4)

static const char config[] = WORKERS "devices:\n"
				     "  ssd0:\n"
				     "    type: nvme\n"
				     "    poll: always\n"
				     "    num-vfs: 2\n"
				     "    queues: 4\n"
				     "    namespaces:\n"
				     "      1: {memory: 16M, attach: all}\n"
				     "      2: {null: 1G, attach: all}\n"
				     "      3: {file: @/disk.img, size: 16M, attach: all}\n"
				     "  ssd1:\n"
				     "    type: nvme\n"
				     "    num-vfs: 1\n"
				     "    namespaces:\n"
				     "      1: {memory: 16M, attach: all}\n";

static struct nvme_rig rig;
static struct nvme_host *taken, *other; /* by the running test */

static int setup(void **state)
{
	return nvme_rig_start(&rig, config);
}

static int teardown(void **state)
{
	nvme_host_close(taken);
	nvme_host_close(other);
	taken = other = NULL;
	return nvme_rig_stop(&rig);
}

static struct nvme_host *open_vf(const char *name, struct nvme_host_config cfg,
				 struct nvme_host **h)
{
	nvme_host_close(*h);
	*h = NULL;
	assert_int_equal(nvme_rig_open(&rig, name, cfg, h), 0);
	return *h;
}

static struct nvme_host *open_mapped(void)
{
	return open_vf(
		"ssd0/vf0",
		(struct nvme_host_config){.pairs = PAIRS, .queue_size = 32, .map_doorbells = true},
		&taken);
}

static void burst(struct nvme_host *h, unsigned qid, unsigned nsid)
{
	static struct nvme_host_req reqs[DEPTH];
	struct nvme_host_sq *sq = nvme_host_io(h, qid);

	for (unsigned i = 0; i < DEPTH; i++) {
		reqs[i] = (struct nvme_host_req){0};
		nvme_host_make_rw(&reqs[i].sqe, nvme_cmd_read, nsid, 8 * i, 8, 0);
		nvme_host_prp(&reqs[i].sqe, h->data_addr + i * NVME_HOST_PAGE, NVME_HOST_PAGE, NULL,
			      0);
		assert_int_equal(nvme_host_submit(sq, &reqs[i]), 0);
	}
	nvme_host_ring(sq);
	assert_int_equal(nvme_host_wait_all(sq, 0), 0);
	for (unsigned i = 0; i < DEPTH; i++)
		OK(reqs[i].status);
}

static void work(struct nvme_host *h, unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		for (unsigned q = 1; q <= PAIRS; q++) {
			struct nvme_host_sq *sq = nvme_host_io(h, q);
			unsigned nsid = i % 2 ? MEM : FILE512;

			nvme_pattern(h->data, 8192, q * 7 + i);
			OK(nvme_host_rw(sq, nvme_cmd_write, nsid, q * 16, 16, 0));
			memset(h->data, 0, 8192);
			OK(nvme_host_rw(sq, nvme_cmd_read, nsid, q * 16, 16, 0));
			assert_true(nvme_pattern_is(h->data, 8192, q * 7 + i));
			burst(h, q, 1 + i % 3);
		}
	}
	assert_int_equal(h->strange, 0);
}

static void no_message_at_all(void **state)
{
	struct nvme_host *h = open_mapped();

	work(h, 10);
	/* nothing of it depends on what is awake */
	for (unsigned i = 0; i < 5; i++) {
		usleep(20000);
		work(h, 1);
	}
	assert_int_equal(h->kicks, 0);
}

/* By interrupts, with shadow doorbells, and through messages beside the mapping. */
static void other_ways_too(void **state)
{
	struct nvme_host_config cfg = {.pairs = PAIRS, .queue_size = 32, .map_doorbells = true};
	volatile uint32_t *page;
	struct nvme_host *h;

	cfg.interrupts = true;
	work(open_vf("ssd0/vf0", cfg, &taken), 3);
	cfg.dbbuf = true;
	h = open_vf("ssd0/vf0", cfg, &taken);
	work(h, 3);
	assert_int_equal(h->kicks, 0);
	cfg.dbbuf = false;
	h = open_vf("ssd0/vf0", cfg, &taken);
	page = h->doorbells;
	h->doorbells = NULL;
	work(h, 2);
	assert_true(h->kicks > 0);
	h->doorbells = page;
	work(h, 2);
}

/* Every reset leaves zeros, and what was there before means nothing afterwards. */
static void resets(void **state)
{
	struct nvme_host *h = open_mapped();

	for (unsigned kind = 0; kind < 3; kind++) {
		work(h, 1);
		if (kind == 0)
			assert_int_equal(nvme_host_disable(h), 0);
		else if (kind == 1)
			assert_int_equal(nvme_host_flr(h), 0);
		else
			assert_int_equal(nvme_host_reset(h), 0);
		for (unsigned i = 0; kind && i < WORDS; i++)
			assert_int_equal(h->doorbells[i], 0);
		for (unsigned i = 0; i < WORDS; i++)
			h->doorbells[i] = 5 + i % 3;
		assert_int_equal(nvme_host_start(h), 0);
	}
	work(h, 1);
	assert_int_equal(h->kicks, 0);
}

/* Who had the function before has a page that is nobody's. */
static void page_of_its_own(void **state)
{
	struct nvme_host *h = open_mapped();
	volatile uint32_t *old = h->doorbells;

	work(h, 1);
	h->doorbells = NULL; /* stays mapped */
	h = open_mapped();
	assert_ptr_not_equal(h->doorbells, old);
	for (unsigned i = 0; i < WORDS; i++)
		old[i] = 9;
	work(h, 2);
	for (unsigned i = 2 * (PAIRS + 1); i < WORDS; i++)
		assert_int_equal(h->doorbells[i], 0);
	assert_int_equal(munmap((void *)old, NVME_HOST_PAGE), 0);
}

/* A client that scribbles all over its page fails alone, if at all. */
static void scribbling(void **state)
{
	struct nvme_host *h = open_mapped();
	struct nvme_pump pump = {0};
	uint32_t x = 2463534242u;
	uint64_t until;
	int err;

	open_vf("ssd0/vf1", (struct nvme_host_config){.pairs = 1}, &other);
	assert_int_equal(nvme_pump_start(&pump, other, MEM), 0);
	until = clock_now_ns() + NS_PER_S;
	while (clock_now_ns() < until) {
		for (unsigned i = 0; i < 1000; i++) {
			x ^= x << 13;
			x ^= x >> 17;
			x ^= x << 5;
			if (x & 0x10000)
				((volatile uint8_t *)h->doorbells)[x % NVME_HOST_PAGE] =
					(uint8_t)(x >> 24);
			else
				h->doorbells[x % (2 * (PAIRS + 1))] = x >> 20 & 63;
		}
	}
	err = nvme_pump_check(&pump, 100, 1000 * nvme_rig_slow());
	assert_int_equal(nvme_pump_stop(&pump), 0);
	assert_int_equal(err, 0);
	/* after a reset it is as good as new */
	assert_int_equal(nvme_host_flr(h), 0);
	assert_int_equal(nvme_host_start(h), 0);
	work(h, 1);
}

static void reload(const char *poll)
{
	const char *at = strstr(rig.config, "poll: always"), *rest = at + strlen("poll: always");
	char path[64];
	FILE *f;

	assert_non_null(at);
	snprintf(path, sizeof(path), "%s/config.yaml", rig.run.dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%.*spoll: %s%s", (int)(at - rig.config), rig.config, poll, rest);
	assert_int_equal(fclose(f), 0);
	CLI(&rig, "reload");
}

/* Who has the mapping is polled until it goes, whatever is set meanwhile; the next one is not. */
static void policy_changes(void **state)
{
	static const char *const policies[] = {"adaptive", "never"};
	struct nvme_host_config cfg = {.map_doorbells = true};

	for (unsigned i = 0; i < ARRAY_SIZE(policies); i++) {
		struct nvme_host *h = open_mapped(), *none;

		reload(policies[i]);
		for (unsigned k = 0; k < 3; k++) {
			usleep(5000); /* it would be asleep */
			work(h, 1);
		}
		assert_int_equal(h->kicks, 0);
		nvme_host_close(taken);
		taken = NULL;
		assert_int_equal(nvme_rig_open(&rig, "ssd0/vf0", cfg, &none), -ENOTSUP);
		reload("always");
	}
	work(open_mapped(), 1);
}

static void offered_only_where_polled_always(void **state)
{
	struct nvme_host_config cfg = {.map_doorbells = true};
	struct vfio_region_info info;
	struct nvme_host *h;
	int fd = -1;

	assert_int_equal(nvme_rig_open(&rig, "ssd1/vf0", cfg, &other), -ENOTSUP);
	other = NULL;
	h = open_mapped();
	/* a client with room for nothing more learns how much it takes */
	assert_int_equal(vfu_client_region_info(h->client, 0, &info, NULL, 0, &fd), 0);
	assert_int_equal(fd, -1);
	assert_true(info.flags & VFIO_REGION_INFO_FLAG_CAPS);
	assert_int_equal(info.cap_offset, sizeof(info)); /* QEMU refuses less */
	assert_int_equal(info.argsz, sizeof(info) + 32);
	for (unsigned i = 1; i < 9; i++) {
		assert_int_equal(vfu_client_region_info(h->client, i, &info, NULL, 0, &fd), 0);
		assert_false(info.flags & VFIO_REGION_INFO_FLAG_MMAP);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_message_at_all, setup, teardown),
		cmocka_unit_test_setup_teardown(other_ways_too, setup, teardown),
		cmocka_unit_test_setup_teardown(resets, setup, teardown),
		cmocka_unit_test_setup_teardown(page_of_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(scribbling, setup, teardown),
		cmocka_unit_test_setup_teardown(policy_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(offered_only_where_polled_always, setup, teardown),
	};
	int failed;

	if (nvme_test_begin(&rig, argc, argv))
		return 2;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	return nvme_rig_fini(&rig) || failed ? 1 : 0;
}
