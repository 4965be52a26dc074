/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues of every shape at the real daemon: many, deep, odd, shared and full ones; shadow
 * doorbells, interrupts and their coalescing; memory that can only be reached by messages.
 *
 *   daemon_nvme_queue_test SOFTIOVD SOFTIOV [TEST]
 */
#include "daemon_nvme.h"

#include <poll.h>

enum { MEM = 1, NULLDEV, FILE512 };

#define DEEP	     1024
#define IDLE_PERCENT 1.0

static const char config[] = WORKERS "devices:\n"
				     "  ssd0:\n"
				     "    type: nvme\n"
				     "    total-vfs: 3\n"
				     "    num-vfs: 2\n"
				     "    queues: 8\n"
				     "    vfs: {0: {queues: 128}}\n"
				     "    namespaces:\n"
				     "      1: {memory: 64M, attach: all}\n"
				     "      2: {null: 1G, attach: all}\n"
				     "      3: {file: @/disk.img, size: 64M, attach: all}\n";

static struct nvme_rig rig;
static struct nvme_host *taken; /* by the running test */

static int setup(void **state)
{
	return nvme_rig_start(&rig, config);
}

static int teardown(void **state)
{
	return nvme_rig_stop(&rig);
}

/* Where the next host goes; one that a failed test has left behind is closed. */
static struct nvme_host **take(void)
{
	nvme_host_close(taken);
	taken = NULL;
	return &taken;
}

static void done(struct nvme_host *h)
{
	assert_ptr_equal(h, taken);
	take();
}

static struct nvme_host *open_vf(const char *name, struct nvme_host_config cfg)
{
	assert_int_equal(nvme_rig_open(&rig, name, cfg, take()), 0);
	return taken;
}

/* Writes and checks a few blocks by this queue. */
static void works(struct nvme_host *h, unsigned qid, unsigned nsid)
{
	struct nvme_host_sq *sq = nvme_host_io(h, qid);

	nvme_pattern(h->data, 8192, qid * 7 + nsid);
	OK(nvme_host_rw(sq, nvme_cmd_write, nsid, qid * 16, 16, 0));
	memset(h->data, 0, 8192);
	OK(nvme_host_rw(sq, nvme_cmd_read, nsid, qid * 16, 16, 0));
	assert_true(nvme_pattern_is(h->data, 8192, qid * 7 + nsid));
}

/* n reads of a block each at once; all must come back. */
static void burst(struct nvme_host_sq *sq, struct nvme_host_req *r, unsigned n, unsigned nsid)
{
	for (unsigned i = 0; i < n; i++) {
		memset(&r[i], 0, sizeof(r[i]));
		nvme_host_make_rw(&r[i].sqe, nvme_cmd_read, nsid, i % 1000, 1, 0);
		nvme_host_prp(&r[i].sqe, sq->h->data_addr + i % 256 * 4096, 512, NULL, 0);
		assert_int_equal(nvme_host_submit(sq, &r[i]), 0);
	}
	nvme_host_ring(sq);
	assert_int_equal(nvme_host_wait_all(sq, 0), 0);
	for (unsigned i = 0; i < n; i++)
		OK(r[i].status);
	assert_int_equal(sq->h->strange, 0);
}

static void many_and_deep(void **state)
{
	static struct nvme_host_req reqs[DEEP];

	for (unsigned dbbuf = 0; dbbuf < 2; dbbuf++) {
		struct nvme_host *h = open_vf("ssd0/vf0", (struct nvme_host_config){
								  .pairs = 128,
								  .queue_size = DEEP,
								  .dbbuf = dbbuf,
							  });

		for (unsigned q = 1; q <= 128; q++)
			works(h, q, MEM);
		for (unsigned q = 1; q <= 128; q += 31) {
			burst(nvme_host_io(h, q), reqs, DEEP - 1, MEM);
			burst(nvme_host_io(h, q), reqs, DEEP - 1, FILE512);
			/* once more, over the ring's end */
			burst(nvme_host_io(h, q), reqs, DEEP - 1, NULLDEV);
		}
		done(h);
	}
}

/* All queues busy at once. */
static void all_at_once(void **state)
{
	static struct nvme_host_req reqs[128][32];
	struct nvme_host *h =
		open_vf("ssd0/vf0",
			(struct nvme_host_config){.pairs = 128, .queue_size = 64, .dbbuf = true});

	for (unsigned round = 0; round < 20; round++) {
		for (unsigned q = 0; q < 128; q++) {
			for (unsigned i = 0; i < 32; i++) {
				struct nvme_host_req *r = &reqs[q][i];

				memset(r, 0, sizeof(*r));
				nvme_host_make_rw(&r->sqe, i & 1 ? nvme_cmd_write : nvme_cmd_read,
						  MEM, q * 64 + i, 1, 0);
				nvme_host_prp(&r->sqe, h->data_addr + q * 4096, 512, NULL, 0);
				assert_int_equal(nvme_host_submit(nvme_host_io(h, q + 1), r), 0);
			}
			nvme_host_ring(nvme_host_io(h, q + 1));
		}
		for (unsigned q = 1; q <= 128; q++)
			assert_int_equal(nvme_host_wait_all(nvme_host_io(h, q), 0), 0);
		for (unsigned q = 0; q < 128; q++)
			for (unsigned i = 0; i < 32; i++)
				OK(reqs[q][i].status);
	}
	assert_int_equal(h->strange, 0);
	done(h);
}

static struct nvme_host *bare(const char *name, bool dbbuf)
{
	struct nvme_host *h;

	assert_int_equal(
		nvme_rig_connect(&rig, name, (struct nvme_host_config){.dbbuf = dbbuf}, take()), 0);
	h = taken;
	assert_int_equal(nvme_host_enable(h), 0);
	assert_int_equal(nvme_host_ask_queues(h, 8), 8);
	return h;
}

static void several_submission_queues(void **state)
{
	static struct nvme_host_req reqs[6][50];

	for (unsigned dbbuf = 0; dbbuf < 2; dbbuf++) {
		struct nvme_host *h = bare("ssd0/vf1", dbbuf);

		OK(nvme_host_create_cq(h, 3, 64, NVME_HOST_NO_IRQ));
		for (uint16_t q = 1; q <= 6; q++)
			OK(nvme_host_create_sq(h, q, 51 + q, 3));
		if (dbbuf)
			OK(nvme_host_dbbuf(h));
		STATUS(nvme_host_delete_cq(h, 3), SPECIFIC(NVME_SC_INVALID_QUEUE));
		for (unsigned round = 0; round < 10; round++) {
			for (unsigned q = 0; q < 6; q++) {
				for (unsigned i = 0; i < 50; i++) {
					struct nvme_host_req *r = &reqs[q][i];

					memset(r, 0, sizeof(*r));
					nvme_host_make_rw(&r->sqe, nvme_cmd_read, MEM, i, 1, 0);
					nvme_host_prp(&r->sqe, h->data_addr, 512, NULL, 0);
					assert_int_equal(
						nvme_host_submit(nvme_host_io(h, q + 1), r), 0);
				}
				nvme_host_ring(nvme_host_io(h, q + 1));
			}
			/* 300 completions through a ring of 64 */
			for (unsigned q = 1; q <= 6; q++)
				assert_int_equal(nvme_host_wait_all(nvme_host_io(h, q), 0), 0);
		}
		assert_int_equal(h->strange, 0);
		for (uint16_t q = 1; q <= 6; q++)
			OK(nvme_host_delete_sq(h, q));
		OK(nvme_host_delete_cq(h, 3));
		done(h);
	}
}

/* A completion queue of 3 entries holds 2; the host takes them late. */
static void tiny_completion_queue(void **state)
{
	static struct nvme_host_req reqs[63];

	for (unsigned dbbuf = 0; dbbuf < 2; dbbuf++) {
		struct nvme_host *h = bare("ssd0/vf1", dbbuf);
		struct nvme_host_sq *sq;

		OK(nvme_host_create_cq(h, 1, 3, NVME_HOST_NO_IRQ));
		OK(nvme_host_create_sq(h, 1, 64, 1));
		if (dbbuf)
			OK(nvme_host_dbbuf(h));
		sq = nvme_host_io(h, 1);
		for (unsigned i = 0; i < 63; i++) {
			memset(&reqs[i], 0, sizeof(reqs[i]));
			nvme_host_make_rw(&reqs[i].sqe, nvme_cmd_read, MEM, i, 1, 0);
			nvme_host_prp(&reqs[i].sqe, h->data_addr, 512, NULL, 0);
			assert_int_equal(nvme_host_submit(sq, &reqs[i]), 0);
		}
		nvme_host_ring(sq);
		usleep(20000);
		/* Only two fit: the device has not written over what nobody took. */
		assert_int_equal(nvme_host_poll(sq->cq, 10), 2);
		for (unsigned i = 0; nvme_host_busy(sq); i++) {
			assert_true(i < 10000 * nvme_rig_slow());
			if (!nvme_host_poll(sq->cq, 1))
				usleep(200);
		}
		assert_int_equal(h->strange, 0);
		done(h);
	}
}

static void odd_sizes(void **state)
{
	static const uint16_t sizes[] = {2, 3, 5, 17, 63, 100, 511, 1000};
	struct nvme_host *h = bare("ssd0/vf1", false);

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		OK(nvme_host_create_cq(h, 2, sizes[i], NVME_HOST_NO_IRQ));
		OK(nvme_host_create_sq(h, 2, sizes[i], 2));
		for (unsigned k = 0; k < 3u * sizes[i] && k < 600; k++) {
			h->shifts[MEM] = 9;
			OK(nvme_host_rw(nvme_host_io(h, 2), nvme_cmd_read, MEM, k, 1, 0));
		}
		OK(nvme_host_delete_sq(h, 2));
		OK(nvme_host_delete_cq(h, 2));
	}
	done(h);
}

/* ---- shadow doorbells ---- */

struct load {
	struct nvme_host_sq *sq;
	unsigned long left, done, errors;
};

static void again(struct nvme_host_req *r)
{
	struct load *l = r->opaque;

	l->done++;
	l->errors += r->status != 0;
	if (l->left && !nvme_host_submit(l->sq, r))
		l->left--;
}

static void keep_busy(struct nvme_host *h, unsigned depth, unsigned long n, unsigned nsid)
{
	static struct nvme_host_req reqs[256];
	struct load l = {.sq = nvme_host_io(h, 1), .left = n};
	uint64_t end = clock_now_ns() + NVME_RIG_TIMEOUT_MS * NS_PER_MS;

	for (unsigned i = 0; i < depth; i++) {
		reqs[i] = (struct nvme_host_req){.done = again, .opaque = &l};
		nvme_host_make_rw(&reqs[i].sqe, nvme_cmd_read, nsid, i, 1, 0);
		nvme_host_prp(&reqs[i].sqe, h->data_addr, 512, NULL, 0);
		assert_int_equal(nvme_host_submit(l.sq, &reqs[i]), 0);
	}
	nvme_host_ring(l.sq);
	while (nvme_host_busy(l.sq)) {
		if (!nvme_host_poll(l.sq->cq, 64))
			assert_true(clock_now_ns() < end);
		nvme_host_ring(l.sq);
	}
	assert_int_equal(l.errors, 0);
	assert_int_equal(l.done, n + depth);
}

/* A busy device needs no messages. */
static void shadow_doorbells_save_messages(void **state)
{
	struct nvme_host *h =
		open_vf("ssd0/vf1", (struct nvme_host_config){.queue_size = 256, .dbbuf = true});
	uint64_t before = h->kicks, kicks;

	keep_busy(h, 128, 50000, MEM);
	kicks = h->kicks - before;
	print_message("# %lu messages for 50128 commands\n", (unsigned long)kicks);
	assert_in_range(kicks, 0, 5000);
	done(h);
}

/* And an idle one is woken: no command may be forgotten between looking and sleeping. */
static void shadow_doorbells_wake(void **state)
{
	struct nvme_host *h = open_vf("ssd0/vf1", (struct nvme_host_config){.dbbuf = true});

	for (unsigned i = 0; i < 400; i++) {
		OK(nvme_host_rw(nvme_host_io(h, 1), nvme_cmd_read, MEM, i, 1, 0));
		usleep(i % 100); /* about when a worker gives up polling */
		if (i % 40 == 0)
			usleep(5000);
	}
	done(h);
}

static void shadow_doorbells_refused(void **state)
{
	struct nvme_host *h = open_vf("ssd0/vf1", (struct nvme_host_config){.ask = 8});
	struct nvme_sqe sqe = {
		.opcode = nvme_admin_dbbuf, .prp1 = h->shadow_addr + 8, .prp2 = h->eventidx_addr};

	assert_int_not_equal(nvme_host_exec(nvme_host_admin(h), &sqe, NULL), 0);
	sqe.prp1 = 0xdead000;
	assert_int_not_equal(nvme_host_exec(nvme_host_admin(h), &sqe, NULL), 0);
	works(h, 1, MEM);
	/* accepted, it holds for queues that are made later, too; a reset ends it */
	OK(nvme_host_dbbuf(h));
	works(h, 1, MEM);
	OK(nvme_host_create_cq(h, 4, 32, NVME_HOST_NO_IRQ));
	OK(nvme_host_create_sq(h, 4, 32, 4));
	h->shadow[8] = h->shadow[9] = 0;
	works(h, 4, MEM);
	assert_int_equal(nvme_host_start(h), 0);
	assert_false(h->dbbuf_on);
	works(h, 1, MEM);
	done(h);
}

/* ---- interrupts ---- */

static void interrupts(void **state)
{
	struct nvme_host *h =
		open_vf("ssd0/vf1", (struct nvme_host_config){.pairs = 8, .interrupts = true});
	uint64_t n;

	assert_true(h->num_vectors >= 9);
	for (unsigned q = 1; q <= 8; q++)
		works(h, q, MEM);
	for (unsigned q = 0; q <= 8; q++)
		nvme_host_irqs(h, q);
	OK(nvme_host_rw(nvme_host_io(h, 5), nvme_cmd_read, MEM, 0, 1, 0));
	for (unsigned q = 0; q <= 8; q++) {
		n = nvme_host_irqs(h, q); /* q 5: taken by waiting */
		if (q != 5)
			assert_int_equal(n, 0);
	}
	done(h);
}

static void no_interrupt_unless_enabled(void **state)
{
	struct nvme_host *h = bare("ssd0/vf1", false);

	OK(nvme_host_create_cq(h, 1, 64, NVME_HOST_NO_IRQ));
	OK(nvme_host_create_sq(h, 1, 64, 1));
	for (unsigned q = 0; q < h->num_vectors; q++)
		nvme_host_irqs(h, q);
	works(h, 1, MEM);
	usleep(20000);
	for (unsigned q = 1; q < h->num_vectors; q++)
		assert_int_equal(nvme_host_irqs(h, q), 0);
	done(h);
}

/* How many interrupts 60 commands make, sent a little apart. */
static uint64_t interrupts_of_60(struct nvme_host *h)
{
	static struct nvme_host_req reqs[60];
	struct nvme_host_sq *sq = nvme_host_io(h, 1);
	uint64_t n = 0;

	nvme_host_irqs(h, 1);
	for (unsigned i = 0; i < 60; i++) {
		memset(&reqs[i], 0, sizeof(reqs[i]));
		nvme_host_make_rw(&reqs[i].sqe, nvme_cmd_read, MEM, i, 1, 0);
		nvme_host_prp(&reqs[i].sqe, h->data_addr, 512, NULL, 0);
		assert_int_equal(nvme_host_submit(sq, &reqs[i]), 0);
		nvme_host_ring(sq);
		usleep(500);
		n += nvme_host_irqs(h, 1);
		nvme_host_poll(sq->cq, 64);
	}
	assert_int_equal(nvme_host_wait_all(sq, 0), 0);
	return n;
}

static void coalescing(void **state)
{
	struct nvme_host *h =
		open_vf("ssd0/vf1", (struct nvme_host_config){.pairs = 1, .interrupts = true});
	struct pollfd p = {.events = POLLIN};
	uint64_t plain, few, again_plain;

	h->cqs[1].vector = NVME_HOST_NO_IRQ; /* waits by polling, interrupts come all the same */
	plain = interrupts_of_60(h);
	/* 25 ms, or 20 completions */
	OK(nvme_host_set_feature(h, NVME_FEAT_FID_IRQ_COALESCE, (20 - 1) | 250 << 8));
	few = interrupts_of_60(h);
	/* not for this vector */
	OK(nvme_host_set_feature(h, NVME_FEAT_FID_IRQ_CONFIG, 1 | 1 << 16));
	again_plain = interrupts_of_60(h);
	print_message("# interrupts of 60 commands: %lu, coalesced %lu, vector exempt %lu\n",
		      (unsigned long)plain, (unsigned long)few, (unsigned long)again_plain);
	/* On a busy machine several are done in one turn anyway. */
	assert_true(plain >= 15 && again_plain >= 15);
	assert_true(few <= plain / 3);
	/* What was held back comes when the time is over. */
	OK(nvme_host_set_feature(h, NVME_FEAT_FID_IRQ_CONFIG, 1));
	OK(nvme_host_set_feature(h, NVME_FEAT_FID_IRQ_COALESCE, 100 | 250 << 8));
	nvme_host_irqs(h, 1);
	OK(nvme_host_rw(nvme_host_io(h, 1), nvme_cmd_read, MEM, 0, 1, 0));
	p.fd = h->irq[1];
	assert_int_equal(poll(&p, 1, (int)NVME_RIG_TIMEOUT_MS), 1);
	done(h);
}

/* Hosts that are there and want nothing cost nothing, also after they were busy. */
static void idle_costs_nothing(void **state)
{
	for (unsigned dbbuf = 0; dbbuf < 2; dbbuf++) {
		struct nvme_host *h = open_vf(
			"ssd0/vf0",
			(struct nvme_host_config){.pairs = 128, .queue_size = 256, .dbbuf = dbbuf});
		double best = 100;

		for (unsigned q = 1; q <= 128; q++)
			works(h, q, MEM);
		keep_busy(h, 128, 5000, FILE512);
		/* The best of a few: others may use the machine. */
		for (unsigned i = 0; i < 5 && best > IDLE_PERCENT; i++) {
			uint64_t cpu = daemon_cpu_ns(&rig.run), start = clock_now_ns();

			usleep(300000);
			best = MIN(best, 100.0 * (double)(daemon_cpu_ns(&rig.run) - cpu) /
						 (double)(clock_now_ns() - start));
		}
		print_message("# idle: %.2f %% of a core\n", best);
		assert_true(best <= IDLE_PERCENT);
		works(h, 1, MEM);
		done(h);
	}
}

/* ---- memory without an fd ---- */

static void remote(struct nvme_host_config cfg)
{
	struct nvme_host *h;

	cfg.no_fd = true;
	cfg.pairs = 2;
	h = open_vf("ssd0/vf1", cfg);
	for (unsigned ns = MEM; ns <= FILE512; ns += FILE512 - MEM) {
		for (unsigned i = 0; i < 12; i++) {
			uint32_t nlb = i % 6 == 5 ? 2048 : 1 + i * 29 % 100;

			nvme_pattern(h->data, (size_t)nlb * 512, i);
			OK(nvme_host_rw(nvme_host_io(h, 1 + i % 2), nvme_cmd_write, ns, i * 3000,
					nlb, 0));
			OK(nvme_host_rw(nvme_host_io(h, 1), nvme_cmd_compare, ns, i * 3000, nlb,
					0));
			memset(h->data, 0, (size_t)nlb * 512);
			OK(nvme_host_rw(nvme_host_io(h, 1 + i % 2), nvme_cmd_read, ns, i * 3000,
					nlb, 0));
			assert_true(nvme_pattern_is(h->data, (size_t)nlb * 512, i));
		}
	}
	assert_int_equal(h->strange, 0);
	assert_int_equal(nvme_host_start(h), 0);
	works(h, 1, MEM);
	done(h);
}

static void remote_memory(void **state)
{
	remote((struct nvme_host_config){0});
}

static void remote_memory_as_qemu(void **state)
{
	remote((struct nvme_host_config){.layout28 = true, .interrupts = true});
}

static void remote_memory_with_shadow_doorbells(void **state)
{
	remote((struct nvme_host_config){.dbbuf = true});
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_and_deep),
		cmocka_unit_test(all_at_once),
		cmocka_unit_test(several_submission_queues),
		cmocka_unit_test(tiny_completion_queue),
		cmocka_unit_test(odd_sizes),
		cmocka_unit_test(shadow_doorbells_save_messages),
		cmocka_unit_test(shadow_doorbells_wake),
		cmocka_unit_test(shadow_doorbells_refused),
		cmocka_unit_test(interrupts),
		cmocka_unit_test(no_interrupt_unless_enabled),
		cmocka_unit_test(coalescing),
		cmocka_unit_test(idle_costs_nothing),
		cmocka_unit_test(remote_memory),
		cmocka_unit_test(remote_memory_as_qemu),
		cmocka_unit_test(remote_memory_with_shadow_doorbells),
	};
	int ret;

	if (nvme_test_begin(&rig, argc, argv))
		return 2;
	ret = cmocka_run_group_tests(tests, setup, teardown);
	return nvme_rig_fini(&rig) ? 1 : ret;
}
