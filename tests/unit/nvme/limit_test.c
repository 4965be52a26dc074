/* SPDX-License-Identifier: BSD-3-Clause */
/* Limits and statistics. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue_model.h"

/* ---- the clocks by themselves ---- */

static void test_clock(void **state)
{
	struct nvme_limits lim = {.iops = 1000, .iops_burst = 10};
	uint64_t now = 1000000000, due;
	struct nvme_qos q = {0};
	unsigned at_once = 0;

	assert_false(nvme_qos_limited(&q));
	nvme_qos_set(&q, &lim);
	assert_true(nvme_qos_limited(&q));
	while (!(due = nvme_qos_reserve_slow(&q, 4096, now)))
		at_once++;
	assert_in_range(at_once, 10, 11);
	for (unsigned i = 0; i < 1000; i++) {
		assert_true(due >= now);
		due = nvme_qos_reserve_slow(&q, 4096, now);
	}
	/* 1000 more take a second, exactly */
	assert_in_range(due - now, NS_PER_S - 20 * NS_PER_MS, NS_PER_S + 20 * NS_PER_MS);
	lim = (struct nvme_limits){.bandwidth = 1 << 20};
	nvme_qos_set(&q, &lim);
	assert_int_equal(nvme_qos_reserve_slow(&q, 1 << 19, now), 0);
	due = nvme_qos_reserve_slow(&q, 1 << 19, now);
	assert_in_range(due - now, 480 * NS_PER_MS, 500 * NS_PER_MS);
	assert_int_equal(nvme_qos_reserve_slow(&q, 0, now), 0); /* a Flush */
	lim = (struct nvme_limits){0};
	nvme_qos_set(&q, &lim);
	assert_false(nvme_qos_limited(&q));
	assert_int_equal(q.generation, 3);
}

/*
 * Exact whatever a command takes: at 60 M IOPS that is 16.7 ns, at 12 GB/s a block of 512 bytes
 * 42.7 ns, and the thirds of a nanosecond must not add up.
 */
static void test_accuracy(void **state)
{
	static const uint64_t iops[] = {1000, 48611, 4999999, 7000000, 20000000, 60000000};
	static const uint64_t bandwidth[] = {10000000, 123456789, 3000000000, 12000000000};
	static const uint64_t sizes[] = {512, 4096, 131072};
	const uint64_t n = 100000, start = NS_PER_S, burst = 10 * NS_PER_MS;
	struct nvme_qos q = {0};
	uint64_t due = 0, want;

	for (unsigned i = 0; i < ARRAY_SIZE(iops); i++) {
		nvme_qos_set(&q, &(struct nvme_limits){.iops = iops[i]});
		for (uint64_t k = 0; k <= 10 * n; k++)
			due = nvme_qos_reserve_slow(&q, 4096, start);
		want = start + 10 * n * NS_PER_S / iops[i] - burst;
		assert_in_range(due, want - 1, want + 1);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bandwidth) * ARRAY_SIZE(sizes); i++) {
		uint64_t rate = bandwidth[i / ARRAY_SIZE(sizes)],
			 len = sizes[i % ARRAY_SIZE(sizes)];

		nvme_qos_set(&q, &(struct nvme_limits){.bandwidth = rate});
		for (uint64_t k = 0; k <= 10 * n; k++)
			due = nvme_qos_reserve_slow(&q, len, start);
		want = start + (uint64_t)((__uint128_t)(10 * n * len) * NS_PER_S / rate) - burst;
		assert_in_range(due, want - 1, want + 1);
	}
}

/* ---- in the queue ---- */

/* Keeps depth commands under way for ms; how many ended, of queues 1 to queues. */
static unsigned run(unsigned queues, unsigned depth, unsigned ms, uint32_t nlb)
{
	uint64_t end = clock_now_ns() + ms * NS_PER_MS;
	struct nvme_sqe sqe = host_rw(nvme_cmd_read, 0, nlb, DATA_AT);
	struct nvme_cqe cqe;
	unsigned n = 0, left = queues * depth;

	for (uint16_t q = 1; q <= queues; q++) {
		sqe.prp1 = DATA_AT + 0x10000 * q;
		for (unsigned i = 0; i < depth; i++)
			host_put(q, &sqe);
		host_ring(q);
	}
	while (left) {
		for (uint16_t q = 1; q <= queues; q++) {
			if (!host_take(q, &cqe))
				continue;
			assert_int_equal(cqe.status >> 1, 0);
			host_ack(q);
			left--;
			if (clock_now_ns() >= end)
				continue;
			n++;
			sqe.prp1 = DATA_AT + 0x10000 * q;
			host_put(q, &sqe);
			host_ring(q);
			left++;
		}
		usleep(10);
	}
	return n;
}

/*
 * Never more than the limit and its burst allow; and as much, for which the machine must have time
 * to spare.
 */
static void check_rate(unsigned queues, unsigned depth, unsigned ms, uint32_t nlb, unsigned want)
{
	unsigned n = 0;

	for (unsigned tries = 0; tries < 4; tries++) {
		n = run(queues, depth, ms, nlb);
		assert_true(n <= want + want / 10);
		if (UNDER_TSAN || n >= want - want / 10)
			return;
	}
	fail_msg("%u commands where %u may be", n, want);
}

static void test_rates(void **state)
{
	struct nvme_limits lim = {.iops = 4000};
	struct nvme_io_stats st;

	model_up(&(struct model_opts){.pairs = 2, .workers = 2});
	nvme_qos_set(&model.ctrl.qos, &lim);
	check_rate(1, 32, 300, 1, 1200); /* a burst of 10 ms more */
	check_rate(2, 16, 300, 1, 1200); /* two queues share it */
	check_rate(1, 1, 300, 1, 1200);	 /* depth 1 too */
	nvme_stats_get(&model.ctrl.stats, &st);
	assert_true(st.throttled_ns > NS_PER_S);
	/* bytes, of the namespace */
	nvme_qos_set(&model.ctrl.qos, &(struct nvme_limits){0});
	lim = (struct nvme_limits){.bandwidth = 4 << 20};
	nvme_qos_set(&model.ns[0].qos, &lim);
	check_rate(2, 8, 500, 8, 512);
	model_down();
}

/* Who waits for a slow limit goes on when it is lifted, or raised. */
static void test_live_change(void **state)
{
	struct nvme_limits lim = {.iops = 1, .iops_burst = 1};
	struct nvme_sqe sqe = host_rw(nvme_cmd_read, 0, 1, DATA_AT);
	struct nvme_cqe cqe;
	uint64_t t;

	model_up(&(struct model_opts){.pairs = 1});
	nvme_qos_set(&model.ns[0].qos, &lim);
	for (unsigned i = 0; i < 20; i++)
		host_put(1, &sqe);
	host_ring(1);
	wait_for(model.backend[0].submitted[BLOCK_READ] >= 1);
	usleep(5000);
	assert_in_range(model.backend[0].submitted[BLOCK_READ], 1, 3);
	sqe.nsid = 2; /* the other namespace is not limited */
	host_put(1, &sqe);
	host_ring(1);
	wait_for(model.backend[1].submitted[BLOCK_READ] == 1);
	t = clock_now_ns();
	lim = (struct nvme_limits){.iops = 200, .iops_burst = 1};
	nvme_qos_set(&model.ns[0].qos, &lim);
	for (unsigned i = 0; i < 21; i++)
		assert_int_equal(host_wait(1, &cqe), 0);
	assert_in_range(clock_now_ns() - t, 60 * NS_PER_MS, 600 * NS_PER_MS);
	lim = (struct nvme_limits){.iops = 1, .iops_burst = 1};
	nvme_qos_set(&model.ns[0].qos, &lim);
	sqe.nsid = 1;
	for (unsigned i = 0; i < 20; i++)
		host_put(1, &sqe);
	host_ring(1);
	usleep(5000);
	nvme_qos_set(&model.ns[0].qos, &(struct nvme_limits){0});
	t = clock_now_ns();
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(host_wait(1, &cqe), 0);
	assert_true(clock_now_ns() - t < 200 * NS_PER_MS);
	model_down();
}

/* Parked commands are aborted, deleted and reset like others, and hold up no gate. */
static void test_parked_commands_end(void **state)
{
	struct nvme_limits lim = {.iops = 1, .iops_burst = 1};
	struct nvme_sqe sqe = host_rw(nvme_cmd_read, 0, 1, DATA_AT);
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 1});
	nvme_qos_set(&model.ctrl.qos, &lim);
	for (unsigned i = 0; i < 20; i++)
		host_put(1, &sqe);
	host_ring(1);
	usleep(5000);
	while (host_take(1, &cqe))
		host_ack(1);
	assert_int_equal(nvme_sq_delete(model.ctrl.queues, 1, NULL), NVME_ST_PENDING);
	wait_for(nvme_queues_count(model.ctrl.queues) == 0);
	for (unsigned n = 0; host_take(1, &cqe); n++)
		assert_status(cqe.status >> 1, NVME_SC_ABORT_QUEUE);
	model_down();
}

/* They give their places on the namespace's clock back: others would wait for them. */
static void test_dropped_commands_refund(void **state)
{
	struct nvme_limits lim = {.iops = 10, .iops_burst = 1, .bandwidth = 10 * 512};
	struct nvme_sqe sqe = host_rw(nvme_cmd_read, 0, 1, DATA_AT);
	struct nvme_qos *q = &model.ns[0].qos;

	for (unsigned by_reset = 0; by_reset < 2; by_reset++) {
		model_up(&(struct model_opts){.pairs = 1});
		nvme_qos_set(q, &lim);
		for (unsigned i = 0; i < 30; i++)
			host_put(1, &sqe);
		host_ring(1);
		wait_for(nvme_queues_waiting(model.ctrl.queues, 1) >= 27);
		assert_true(rate_due(&q->iops, clock_now_ns()) > clock_now_ns() + NS_PER_S);
		if (by_reset)
			assert_false(nvme_queues_disable(model.ctrl.queues, NULL));
		else
			assert_int_equal(nvme_sq_delete(model.ctrl.queues, 1, NULL),
					 NVME_ST_PENDING);
		wait_for(!nvme_queues_waiting(model.ctrl.queues, 1));
		assert_true(rate_due(&q->iops, clock_now_ns()) < clock_now_ns() + NS_PER_S / 2);
		assert_true(rate_due(&q->bandwidth, clock_now_ns()) <
			    clock_now_ns() + NS_PER_S / 2);
		model_down();
	}
}

static uint64_t depth(uint32_t nsid)
{
	return nvme_queues_waiting(model.ctrl.queues, nsid);
}

/* What waits for a limit is under way all the same, on its controller and in its namespace; and it
 * is not counted twice when a backend has it, nor after its end. */
static void test_depth_counts_what_waits(void **state)
{
	struct nvme_limits lim = {.iops = 1, .iops_burst = 1};
	struct nvme_sqe sqe = host_rw(nvme_cmd_read, 0, 1, DATA_AT);
	struct nvme_io_stats st;
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 1});
	model.backend[1].mode = BACKEND_HOLD;
	nvme_qos_set(&model.ns[0].qos, &lim);
	for (unsigned i = 0; i < 20; i++)
		host_put(1, &sqe);
	sqe.nsid = 2;
	host_put(1, &sqe);
	host_ring(1);
	wait_for(model.backend[1].pending == 1);
	assert_in_range(depth(1), 17, 19);
	assert_int_equal(depth(2), 0);
	assert_int_equal(depth(0), depth(1));
	wait_for((nvme_stats_get(&model.ns[1].stats, &st), st.inflight == 1));
	nvme_qos_set(&model.ns[0].qos, &(struct nvme_limits){0});
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(host_wait(1, &cqe), 0);
	wait_for(!depth(0) && !depth(1));
	model.backend[1].release = true;
	assert_int_equal(host_wait(1, &cqe), 0);
	wait_for(!depth(0));
	/* a reset drops them */
	nvme_qos_set(&model.ctrl.qos, &lim);
	for (unsigned i = 0; i < 20; i++)
		host_put(1, &sqe);
	host_ring(1);
	wait_for(depth(2) >= 18);
	assert_false(nvme_queues_disable(model.ctrl.queues, NULL));
	wait_for(!depth(0));
	model_down();
}

static void gate_closed(void *opaque)
{
}

static uint16_t keep(struct nvme_command *cmd)
{
	model.pending[model.n_pending++] = cmd;
	return NVME_ST_PENDING;
}

/* So is what the control thread has, or a gate keeps out. Admin commands are not. */
static void test_depth_counts_all_waits(void **state)
{
	struct nvme_sqe sqe = host_rw(nvme_cmd_read, 0, 1, DATA_AT);
	struct nvme_sqe resv = {.opcode = nvme_cmd_resv_release, .nsid = 2, .prp1 = DATA_AT};
	struct nvme_sqe admin = {.opcode = nvme_admin_identify};
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 1});
	model.resv = model.admin = keep;
	host_put(0, &admin);
	host_ring(0);
	wait_for(model.n_pending == 1);
	assert_int_equal(depth(0), 0);
	nvme_gate_close(model.ns[0].gate, gate_closed, NULL);
	host_put(1, &sqe);
	host_put(1, &resv);
	host_ring(1);
	wait_for(model.n_pending == 2 && depth(1) == 1 && depth(2) == 1);
	assert_int_equal(depth(0), 2);
	nvme_gate_open(model.ns[0].gate);
	nvme_command_complete(model.pending[0], 0);
	nvme_command_complete(model.pending[1], 0);
	assert_int_equal(host_wait(1, &cqe), 0);
	assert_int_equal(host_wait(1, &cqe), 0);
	assert_int_equal(host_wait(0, &cqe), 0);
	wait_for(!depth(0) && !depth(1) && !depth(2));
	model.n_pending = 0;
	model_down();
}

/* ---- busy time ---- */

static void test_busy(void **state)
{
	uint64_t t = clock_now_ns(), since = t - 1000;
	struct nvme_busy b = {0};

	assert_int_equal(nvme_busy_ns(&b, since), 0);
	nvme_busy_begin(&b, t - 900);
	nvme_busy_begin(&b, t - 800);
	nvme_busy_end(&b, t - 700);
	assert_true(nvme_busy_ns(&b, since) >= 900);
	nvme_busy_end(&b, t - 600);
	assert_int_equal(nvme_busy_ns(&b, since), 300);
	nvme_busy_begin(&b, t - 500);
	nvme_busy_end(&b, t - 400);
	assert_int_equal(nvme_busy_ns(&b, since), 400);
}

static uint64_t busy_ns(void)
{
	return nvme_busy_ns(&model.ctrl.busy, 0);
}

/* As long as a command is under way, wherever it is, until it ends or is dropped. */
static void test_busy_queues(void **state)
{
	struct nvme_sqe sqe = host_rw(nvme_cmd_read, 0, 1, DATA_AT);
	struct nvme_sqe admin = {.opcode = nvme_admin_identify};
	struct nvme_cqe cqe;
	uint64_t was;

	model_up(&(struct model_opts){.pairs = 2});
	assert_int_equal(host_exec(0, &admin), 0);
	assert_int_equal(busy_ns(), 0);
	model.backend[0].mode = BACKEND_HOLD;
	host_put(1, &sqe);
	host_ring(1);
	host_put(2, &sqe);
	host_ring(2);
	wait_for(model.backend[0].pending == 2 && model.ctrl.busy.n == 2);
	usleep(20000);
	assert_in_range(busy_ns(), 20 * NS_PER_MS, 2 * NS_PER_S);
	model.backend[0].release = true;
	assert_int_equal(host_wait(1, &cqe), 0);
	assert_int_equal(host_wait(2, &cqe), 0);
	wait_for(!model.ctrl.busy.n);
	was = busy_ns();
	usleep(20000);
	assert_int_equal(busy_ns(), was);
	model.backend[0].release = false;
	host_put(1, &sqe);
	host_ring(1);
	wait_for(model.backend[0].pending == 1);
	wait_for(model.ctrl.busy.n == 1);
	assert_false(nvme_queues_disable(model.ctrl.queues, NULL));
	wait_for(!model.ctrl.busy.n);
	model_down();
}

/* ---- histograms ---- */

static void test_buckets(void **state)
{
	unsigned last = 0;

	for (uint64_t v = 0; v < 1ull << 45; v += 1 + v / 50) {
		unsigned b = nvme_stats_bucket(v);

		assert_true(b >= last);
		assert_true(b - last <= 1);
		last = b;
		if (v < 1ull << 42)
			assert_in_range(nvme_stats_bucket_value(b), v - v / 16, v + v / 16);
	}
	nvme_stats_bucket(UINT64_MAX);
}

static void test_percentiles(void **state)
{
	static struct nvme_stats s;
	struct nvme_stats_sample one = {.op = NVME_STATS_WRITE, .n = 1, .bytes = 10};
	struct nvme_io_stats st;

	nvme_stats_get(&s, &st);
	assert_int_equal(st.latency[1].p50, 0);
	for (unsigned i = 1; i <= 10000; i++) {
		one.latency_ns = i * 1000;
		nvme_stats_record(&s, i % 3, &one);
	}
	nvme_stats_get(&s, &st);
	assert_int_equal(st.writes, 10000);
	assert_int_equal(st.write_bytes, 100000);
	assert_in_range(st.latency[1].p50, 4700000, 5300000);
	assert_in_range(st.latency[1].p99, 9300000, 10000000);
	assert_in_range(st.latency[1].p999, 9400000, 10000000);
	assert_int_equal(st.latency[1].mean, 5000500);
	assert_int_equal(st.latency[1].max, 10000000);
	nvme_stats_inflight(&s, 1, 1);
	nvme_stats_throttled(&s, 1, 77);
	nvme_stats_clear(&s);
	nvme_stats_get(&s, &st);
	assert_int_equal(st.writes, 0);
	assert_int_equal(st.throttled_ns, 0);
	assert_int_equal(st.latency[1].max, 0);
	assert_int_equal(st.inflight, 1);
	nvme_stats_record(&s, 1, &one);
	nvme_stats_get(&s, &st);
	assert_int_equal(st.writes, 1);
	nvme_stats_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock),
		cmocka_unit_test(test_accuracy),
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_live_change),
		cmocka_unit_test(test_parked_commands_end),
		cmocka_unit_test(test_dropped_commands_refund),
		cmocka_unit_test(test_depth_counts_what_waits),
		cmocka_unit_test(test_depth_counts_all_waits),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_busy_queues),
		cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_percentiles),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
