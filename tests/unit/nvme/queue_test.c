/* SPDX-License-Identifier: BSD-3-Clause */
/* Queues: rings, doorbells, back-pressure, interrupts, deletion, resets, abort. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue_model.h"

static struct nvme_sqe read_one(uint64_t slba)
{
	return host_rw(nvme_cmd_read, slba, 1, DATA_AT);
}

static void fill_backend(unsigned ns)
{
	for (unsigned i = 0; i < NS_BYTES; i++)
		model.backend[ns].bytes[i] = (uint8_t)(i / 512 * 7 + i);
}

static void test_read_and_write(void **state)
{
	struct nvme_sqe sqe;

	model_up(&(struct model_opts){.pairs = 1});
	fill_backend(0);
	sqe = host_rw(nvme_cmd_read, 16, 8, DATA_AT);
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_memory_equal(guest(DATA_AT), model.backend[0].bytes + 16 * 512, 4096);
	memset(guest(DATA_AT), 0xa5, 8192);
	sqe = host_rw(nvme_cmd_write, 100, 16, DATA_AT);
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_memory_equal(guest(DATA_AT), model.backend[0].bytes + 100 * 512, 8192);
	assert_int_equal(model.backend[0].fua, 0);
	sqe.cdw12 |= NVME_RW_FUA;
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_equal(model.backend[0].fua, 1);
	model.ctrl.write_through = true;
	sqe.cdw12 &= ~NVME_RW_FUA;
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_equal(model.backend[0].fua, 2);
	model_down();
}

/* Many laps of a small ring; phase and head follow, and each completion is told. */
static void laps(struct model_opts o, enum backend_mode mode, bool dbbuf)
{
	struct nvme_cqe cqe;

	o.pairs = 1;
	o.size = 5;
	model_up(&o);
	if (dbbuf)
		model_dbbuf();
	fill_backend(0);
	model.backend[0].mode = mode;
	for (unsigned i = 0; i < 300; i++) {
		unsigned n = 1 + i % 4;

		for (unsigned k = 0; k < n; k++) {
			struct nvme_sqe sqe = read_one(i);

			sqe.prp1 = DATA_AT + 512 * k;
			host_put(1, &sqe);
		}
		host_ring(1);
		for (unsigned k = 0; k < n; k++)
			assert_int_equal(host_wait(1, &cqe), 0);
		assert_int_equal(cqe.sq_head, model.q[1].sq_tail);
		assert_memory_equal(guest(DATA_AT), model.backend[0].bytes + i * 512, 512);
		if (i % 50 == 0)
			usleep(300); /* asleep */
	}
	assert_int_equal(model.events, 0);
	assert_true(host_irqs(1) > 0);
	model_down();
}

static void test_laps(void **state)
{
	laps((struct model_opts){0}, BACKEND_SYNC, false);
}

static void test_laps_async(void **state)
{
	laps((struct model_opts){0}, BACKEND_ASYNC, false);
}

static void test_laps_remote(void **state)
{
	laps((struct model_opts){.remote = true}, BACKEND_ASYNC, false);
}

static void test_laps_dbbuf(void **state)
{
	laps((struct model_opts){0}, BACKEND_SYNC, true);
}

static void test_laps_dbbuf_async(void **state)
{
	laps((struct model_opts){0}, BACKEND_ASYNC, true);
}

static void test_laps_dbbuf_remote(void **state)
{
	laps((struct model_opts){.remote = true}, BACKEND_ASYNC, true);
}

static void test_laps_mapped(void **state)
{
	laps((struct model_opts){.mapped = true}, BACKEND_SYNC, false);
}

static void test_laps_mapped_async(void **state)
{
	laps((struct model_opts){.mapped = true}, BACKEND_ASYNC, false);
}

/* A driver that takes the shadow doorbells all the same. */
static void test_laps_mapped_dbbuf(void **state)
{
	laps((struct model_opts){.mapped = true}, BACKEND_ASYNC, true);
}

static unsigned reads(void)
{
	return atomic_load(&model.backend[0].submitted[BLOCK_READ]);
}

/* Only for a device that is polled always, and only before it has queues; then it stays so. */
static void test_mapping_is_refused(void **state)
{
	struct nvme_sqe sqe = read_one(1);
	struct nvme_queues *q;

	model_up(&(struct model_opts){.pairs = 1});
	q = model.ctrl.queues;
	assert_int_equal(nvme_queues_map_doorbells(q), -EOPNOTSUPP);
	nvme_ctrl_set_poll(&model.ctrl, POLLER_ALWAYS);
	assert_int_equal(nvme_queues_map_doorbells(q), -EBUSY);
	assert_int_equal(host_exec(1, &sqe), 0);
	model_down();
	model_up(&(struct model_opts){.pairs = 1, .mapped = true});
	nvme_ctrl_set_poll(&model.ctrl, POLLER_NEVER);
	usleep(2000); /* would be asleep */
	assert_int_equal(host_exec(1, &sqe), 0);
	model_pair(2, 8, 2, 1);
	usleep(2000);
	assert_int_equal(host_exec(2, &sqe), 0);
	model_down();
}

/* The client has the file: it cannot make the page vanish. */
static void test_page_is_sealed(void **state)
{
	int fd;

	model_up(&(struct model_opts){.pairs = 1, .mapped = true});
	fd = nvme_queues_map_doorbells(model.ctrl.queues);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(ftruncate(fd, 1 << 20), -1);
	assert_int_equal(errno, EPERM);
	model_down();
}

/* Any value at any time: told once each, and no command is made of it. */
static void test_mapped_nonsense(void **state)
{
	static const uint32_t bad[] = {64, UINT32_MAX, 0x80000001, 65};
	struct nvme_sqe sqe = read_one(1);

	model_up(&(struct model_opts){.pairs = 1, .mapped = true});
	assert_int_equal(host_exec(1, &sqe), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		__atomic_store_n(&model.page[2], bad[i], __ATOMIC_RELEASE);
		wait_for(model.events == i + 1);
		usleep(500);
		assert_int_equal(model.events, i + 1);
		assert_int_equal(model.event_info, NVME_AER_ERROR_INVALID_DB_VAL);
	}
	/* a head beyond what was completed */
	__atomic_store_n(&model.page[3], 40, __ATOMIC_RELEASE);
	wait_for(model.events == ARRAY_SIZE(bad) + 1);
	assert_int_equal(reads(), 1);
	/* and slots that belong to no queue */
	for (unsigned i = 4; i < PAGE / 4; i++)
		__atomic_store_n(&model.page[i], i * 0x01010101, __ATOMIC_RELEASE);
	usleep(1000);
	assert_int_equal(model.events, ARRAY_SIZE(bad) + 1);
	__atomic_store_n(&model.page[2], 1, __ATOMIC_RELEASE);
	host_ack(1);
	assert_int_equal(host_exec(1, &sqe), 0);
	/* a queue begins with nothing in its ring, whatever its slot held */
	model_pair(2, 64, 2, 1);
	usleep(1000);
	assert_int_equal(reads(), 2);
	assert_int_equal(host_exec(2, &sqe), 0);
	assert_int_equal(model.fails, 0);
	model_down();
}

/* What comes as a message counts like what is stored. */
static void test_mapped_and_messages(void **state)
{
	struct nvme_sqe sqe = read_one(1);
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 1, .mapped = true});
	for (unsigned i = 1; i <= 100; i++) {
		host_put(1, &sqe);
		if (i % 2)
			nvme_queues_doorbell(model.ctrl.queues, 8, model.q[1].sq_tail);
		else
			host_ring(1);
		assert_int_equal(host_wait(1, &cqe), 0);
	}
	assert_int_equal(reads(), 100);
	nvme_queues_clear_doorbells(model.ctrl.queues);
	for (unsigned i = 0; i < PAGE / 4; i++)
		assert_int_equal(model.page[i], 0);
	model_down();
}

/* What was submitted before the shadow doorbells came is not submitted again, and the first tail
 * after it is seen, though the shadow page was never filled in. */
static void test_dbbuf_activation(void **state)
{
	uint32_t *shadow, *event, page[1024];
	struct nvme_sqe sqe = read_one(1);
	unsigned before;

	model_up(&(struct model_opts){.pairs = 1});
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(host_exec(1, &sqe), 0);
	shadow = guest(SHADOW_AT);
	event = guest(EVENTIDX_AT);
	before = model.backend[0].submitted[BLOCK_READ];
	model_dbbuf();
	wait_for(event[2] == 10);
	usleep(1000);
	assert_int_equal(model.backend[0].submitted[BLOCK_READ], before);
	memcpy(page, shadow, PAGE);
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(page[i], 0);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_equal(model.backend[0].submitted[BLOCK_READ], before + 200);
	/* admin is never shadowed */
	sqe = (struct nvme_sqe){.opcode = 0xc1};
	shadow[0] = 7;
	assert_int_equal(host_exec(0, &sqe), 0);
	assert_int_equal(model.admin_runs, 1);
	model_down();
}

/* A backend's answer wakes a group that waits for doorbells: the host, who submits again at once,
 * finds that it need not ring. */
static void test_dbbuf_hushed_first(void **state)
{
	struct nvme_sqe sqe = read_one(1);
	struct nvme_cqe cqe;
	uint32_t *event, seen;
	uint64_t until;

	model_up(&(struct model_opts){.pairs = 1});
	event = guest(EVENTIDX_AT);
	model_dbbuf();
	model.backend[0].mode = BACKEND_HOLD;
	for (unsigned i = 0; i < 4; i++)
		host_put(1, &sqe);
	host_ring(1);
	wait_for(__atomic_load_n(&event[2], __ATOMIC_ACQUIRE) == 4); /* asleep */
	worker_set_quiet_spell_ns(NS_PER_S);
	atomic_store(&model.backend[0].release, true);
	until = clock_now_ns() + 2 * NS_PER_S;
	while (!host_take(1, &cqe))
		assert_true(clock_now_ns() < until);
	seen = __atomic_load_n(&event[2], __ATOMIC_ACQUIRE);
	assert_int_equal(seen, 3);
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(host_wait(1, &cqe), 0);
	worker_set_quiet_spell_ns(50 * NS_PER_US);
	/* it is told again when it sleeps again */
	assert_int_equal(host_exec(1, &sqe), 0);
	wait_for(__atomic_load_n(&event[2], __ATOMIC_ACQUIRE) == 5);
	model_down();
}

static void test_dbbuf_nonsense(void **state)
{
	struct nvme_sqe sqe = read_one(1);
	uint32_t *shadow;

	model_up(&(struct model_opts){.pairs = 1});
	shadow = guest(SHADOW_AT);
	assert_int_equal(nvme_queues_set_dbbuf(model.ctrl.queues, SHADOW_AT + 8, EVENTIDX_AT) &
				 0xff,
			 NVME_SC_PRP_INVALID_OFFSET);
	assert_int_equal(nvme_queues_set_dbbuf(model.ctrl.queues, SHADOW_AT, BASE + MEM) & 0xff,
			 NVME_SC_INVALID_FIELD);
	model_dbbuf();
	assert_int_equal(host_exec(1, &sqe), 0);
	__atomic_store_n(&shadow[2], 64, __ATOMIC_SEQ_CST);
	nvme_queues_doorbell(model.ctrl.queues, 8, 1);
	wait_for(model.events == 1);
	usleep(1000);
	assert_int_equal(model.events, 1); /* once for one value */
	assert_int_equal(model.event_info, NVME_AER_ERROR_INVALID_DB_VAL);
	__atomic_store_n(&shadow[2], UINT32_MAX, __ATOMIC_SEQ_CST);
	nvme_queues_doorbell(model.ctrl.queues, 8, 1);
	wait_for(model.events == 2);
	shadow[2] = 1;
	assert_int_equal(host_exec(1, &sqe), 0); /* and it goes on */
	model_down();
}

static void bad_doorbell(uint32_t off, uint32_t value, uint8_t info)
{
	unsigned before = model.events;

	model.event_info = 0xff;
	nvme_queues_doorbell(model.ctrl.queues, off, value);
	wait_for(model.events == before + 1);
	assert_int_equal(model.event_info, info);
}

static void test_bad_doorbells(void **state)
{
	struct nvme_sqe sqe = read_one(3);

	model_up(&(struct model_opts){.pairs = 1});
	assert_int_equal(host_exec(1, &sqe), 0);
	bad_doorbell(8, 64, NVME_AER_ERROR_INVALID_DB_VAL);
	bad_doorbell(8, 0xffffffff, NVME_AER_ERROR_INVALID_DB_VAL);
	bad_doorbell(12, 64, NVME_AER_ERROR_INVALID_DB_VAL);
	bad_doorbell(12, 40, NVME_AER_ERROR_INVALID_DB_VAL); /* more than was completed */
	bad_doorbell(16, 1, NVME_AER_ERROR_INVALID_DB_REG);
	bad_doorbell(20, 1, NVME_AER_ERROR_INVALID_DB_REG);
	bad_doorbell(0xffc, 1, NVME_AER_ERROR_INVALID_DB_REG);
	bad_doorbell(9, 1, NVME_AER_ERROR_INVALID_DB_REG);
	host_ack(1);
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_equal(model.fails, 0);
	model_down();
}

/* A host that does not reap stops only itself: nothing is overwritten, nothing lost. */
static void full_cq(bool dbbuf, bool mapped)
{
	struct nvme_sqe sqe = read_one(1);
	struct nvme_cqe cqe;
	unsigned n = 0;

	model_up(&(struct model_opts){.pairs = 2, .size = 8, .mapped = mapped});
	/* 7 entries for 14 commands of two queues */
	model_pair(3, 8, 1, 1);
	if (dbbuf)
		model_dbbuf();
	for (unsigned i = 0; i < 7; i++) {
		host_put(1, &sqe);
		host_put(3, &sqe);
	}
	host_ring(1);
	host_ring(3);
	wait_for(model.backend[0].submitted[BLOCK_READ] == 7);
	usleep(2000);
	assert_int_equal(model.backend[0].submitted[BLOCK_READ], 7);
	wait_for(((struct nvme_cqe *)guest(CQ_AT(1)))[6].status & 1);
	while (host_take(1, &cqe))
		n++;
	assert_int_equal(n, 7);
	usleep(1000); /* asleep: the head's doorbell must wake it */
	assert_int_equal(model.backend[0].submitted[BLOCK_READ], 7);
	host_ack(1);
	wait_for(model.backend[0].submitted[BLOCK_READ] == 14);
	for (n = 0; n < 7; n++)
		host_wait(1, &cqe);
	assert_false(host_take(1, &cqe));
	/* the other pair never noticed */
	assert_int_equal(host_exec(2, &sqe), 0);
	model_down();
}

static void test_full_cq(void **state)
{
	full_cq(false, false);
}

static void test_full_cq_dbbuf(void **state)
{
	full_cq(true, false);
}

static void test_full_cq_mapped(void **state)
{
	full_cq(false, true);
}

static void test_several_sqs(void **state)
{
	struct nvme_sqe sqe = read_one(1);
	unsigned seen[4] = {0};
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 1});
	model_pair(2, 16, 1, 1);
	model_pair(3, 16, 1, 1);
	for (unsigned i = 0; i < 15; i++) {
		for (uint16_t q = 1; q <= 3; q++) {
			host_put(q, &sqe);
			host_ring(q);
		}
	}
	for (unsigned i = 0; i < 45; i++) {
		host_wait(1, &cqe);
		seen[cqe.sq_id]++;
	}
	for (uint16_t q = 1; q <= 3; q++)
		assert_int_equal(seen[q], 15);
	assert_int_equal(nvme_queues_count(model.ctrl.queues), 3);
	assert_status(nvme_cq_delete(model.ctrl.queues, 1), SPECIFIC(NVME_SC_INVALID_QUEUE));
	model_down();
}

static void test_creation_is_checked(void **state)
{
	struct nvme_queues *q;

	model_up(&(struct model_opts){.pairs = 1});
	q = model.ctrl.queues;
	model.ctrl.cfg.queue_size = 64;
	assert_status(nvme_cq_create(q, 0, CQ_AT(2), 8, 0, true), SPECIFIC(NVME_SC_QID_INVALID));
	assert_status(nvme_cq_create(q, 1, CQ_AT(2), 8, 0, true), SPECIFIC(NVME_SC_QID_INVALID));
	assert_status(nvme_cq_create(q, 9, CQ_AT(2), 8, 0, true), SPECIFIC(NVME_SC_QID_INVALID));
	assert_status(nvme_cq_create(q, 2, CQ_AT(2), 1, 0, true), SPECIFIC(NVME_SC_QUEUE_SIZE));
	assert_status(nvme_cq_create(q, 2, CQ_AT(2), 65, 0, true), SPECIFIC(NVME_SC_QUEUE_SIZE));
	assert_status(nvme_cq_create(q, 2, CQ_AT(2) + 64, 8, 0, true),
		      GENERIC(NVME_SC_PRP_INVALID_OFFSET));
	assert_status(nvme_cq_create(q, 2, BASE + MEM, 8, 0, true), GENERIC(NVME_SC_INVALID_FIELD));
	assert_status(nvme_cq_create(q, 2, -4096ull, 64, 0, true), GENERIC(NVME_SC_INVALID_FIELD));
	assert_status(nvme_cq_create(q, 2, CQ_AT(2), 8, VECTORS, true),
		      SPECIFIC(NVME_SC_INVALID_VECTOR));
	assert_int_equal(nvme_cq_create(q, 2, CQ_AT(2), 8, VECTORS, false), 0);
	assert_status(nvme_sq_create(q, 2, SQ_AT(2), 8, 0, 0), SPECIFIC(NVME_SC_CQ_INVALID));
	assert_status(nvme_sq_create(q, 2, SQ_AT(2), 8, 3, 0), SPECIFIC(NVME_SC_CQ_INVALID));
	assert_status(nvme_sq_create(q, 1, SQ_AT(2), 8, 2, 0), SPECIFIC(NVME_SC_QID_INVALID));
	assert_status(nvme_sq_delete(q, 2, NULL), SPECIFIC(NVME_SC_QID_INVALID));
	assert_status(nvme_cq_delete(q, 3), SPECIFIC(NVME_SC_QID_INVALID));
	assert_int_equal(nvme_cq_delete(q, 2), 0);
	assert_status(nvme_cq_delete(q, 2), SPECIFIC(NVME_SC_QID_INVALID));
	model_down();
}

/* ---- admin commands that work on queues run as the real ones do ---- */

static uint16_t delete_queue(struct nvme_command *cmd)
{
	if (cmd->sqe.opcode == nvme_admin_abort_cmd)
		return nvme_queues_abort(cmd->ctrl->queues, (uint16_t)cmd->sqe.cdw10,
					 (uint16_t)(cmd->sqe.cdw10 >> 16), cmd);
	return nvme_sq_delete(cmd->ctrl->queues, (uint16_t)cmd->sqe.cdw10, cmd);
}

static void delete_under_load(enum backend_mode mode)
{
	struct nvme_sqe sqe = read_one(1), del = {.opcode = nvme_admin_delete_sq, .cdw10 = 1};
	unsigned n = 0, aborted = 0;
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 2});
	model.admin = delete_queue;
	model.backend[0].mode = mode;
	for (unsigned i = 0; i < 40; i++)
		host_put(1, &sqe);
	host_ring(1);
	wait_for(model.backend[0].submitted[BLOCK_READ] >= 32);
	assert_int_equal(host_exec(0, &del), 0);
	for (; host_take(1, &cqe); n++)
		aborted += SC(cqe.status >> 1) == NVME_SC_ABORT_QUEUE;
	assert_true(n >= 32);
	if (mode == BACKEND_HOLD)
		assert_int_equal(n, aborted);
	assert_int_equal(nvme_queues_count(model.ctrl.queues), 1);
	assert_int_equal(nvme_cq_delete(model.ctrl.queues, 1), 0);
	assert_int_equal(model.backend[0].pending, 0);
	/* and again */
	model.backend[0].mode = BACKEND_SYNC;
	model_pair(1, 64, 1, 1);
	assert_int_equal(host_exec(1, &sqe), 0);
	model_down();
}

static void test_delete_held(void **state)
{
	delete_under_load(BACKEND_HOLD);
}

static void test_delete_async(void **state)
{
	delete_under_load(BACKEND_ASYNC);
}

static void test_abort(void **state)
{
	struct nvme_sqe sqe = read_one(1), ab = {.opcode = nvme_admin_abort_cmd};
	struct nvme_cqe cqe;
	uint16_t cid;

	model_up(&(struct model_opts){.pairs = 1});
	model.admin = delete_queue;
	model.backend[0].mode = BACKEND_HOLD;
	host_put(1, &sqe);
	cid = host_put(1, &sqe);
	host_ring(1);
	wait_for(model.backend[0].pending == 2);
	ab.cdw10 = 1 | (uint32_t)cid << 16;
	host_put(0, &ab);
	host_ring(0);
	assert_int_equal(host_wait(0, &cqe), 0);
	assert_int_equal(cqe.dw0, 0);
	assert_true(host_take(1, &cqe)); /* before the answer */
	assert_int_equal(cqe.cid, cid);
	assert_status(cqe.status >> 1, GENERIC(NVME_SC_ABORT_REQ));
	/* one that nobody knows, and one whose backend does not let go */
	ab.cdw10 = 1 | 999u << 16;
	host_put(0, &ab);
	host_ring(0);
	assert_int_equal(host_wait(0, &cqe), 0);
	assert_int_equal(cqe.dw0, 1);
	model.backend[0].mode = BACKEND_HANG;
	ab.cdw10 = 1 | (uint32_t)(cid - 1) << 16;
	host_put(0, &ab);
	host_ring(0);
	assert_int_equal(host_wait(0, &cqe), 0);
	assert_int_equal(cqe.dw0, 1);
	assert_false(host_take(1, &cqe));
	model.backend[0].release = true;
	assert_int_equal(host_wait(1, &cqe), 0);
	model_down();
}

/* As many as are announced look for their commands at a time (5.1); the backend lets go of none. */
static void test_abort_limit(void **state)
{
	struct nvme_sqe sqe = read_one(1), ab = {.opcode = nvme_admin_abort_cmd};
	uint16_t first, refused = 0, failed = 0;
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 1});
	model.admin = delete_queue;
	model.backend[0].mode = BACKEND_HANG;
	first = host_put(1, &sqe);
	for (unsigned i = 1; i < NVME_ABORTS_MAX + 2; i++)
		host_put(1, &sqe);
	host_ring(1);
	wait_for(model.backend[0].pending == NVME_ABORTS_MAX + 2);
	for (unsigned i = 0; i < NVME_ABORTS_MAX + 2; i++) {
		ab.cdw10 = 1 | (uint32_t)(first + i) << 16;
		host_put(0, &ab);
	}
	host_ring(0);
	for (unsigned i = 0; i < NVME_ABORTS_MAX + 2; i++) {
		uint16_t st = host_wait(0, &cqe);

		assert_int_equal(cqe.dw0, 1);
		refused += SC(st) == SPECIFIC(NVME_SC_ABORT_LIMIT);
		failed += !st;
	}
	assert_int_equal(failed, NVME_ABORTS_MAX);
	assert_int_equal(refused, 2);
	/* later there is room again */
	host_put(0, &ab);
	host_ring(0);
	assert_int_equal(host_wait(0, &cqe), 0);
	model.backend[0].release = true;
	model_down();
}

/* ---- at the control thread ---- */

static uint16_t complete_at_once(struct nvme_command *cmd)
{
	nvme_command_complete(cmd, NVME_SC_INTERNAL);
	usleep(200); /* the worker may have answered, and freed it */
	return NVME_ST_PENDING;
}

/* A command may be completed by the very call that carries it out. */
static void test_completed_within_the_call(void **state)
{
	struct nvme_sqe sqe = {.opcode = nvme_cmd_resv_release, .nsid = 1, .prp1 = DATA_AT};

	model_up(&(struct model_opts){.pairs = 1});
	model.resv = complete_at_once;
	for (unsigned i = 0; i < 20; i++)
		assert_status(host_exec(1, &sqe), GENERIC(NVME_SC_INTERNAL));
	model_down();
}

static uint16_t ask_for_events(struct nvme_command *cmd)
{
	if (model.n_pending == NVME_AERS_MAX)
		return NVME_ST_CMD(NVME_SC_ASYNC_LIMIT);
	model.n_pending++;
	return NVME_ST_PENDING;
}

static uint64_t fetched(void)
{
	struct nvme_queue_counters c;

	nvme_queues_counters(model.ctrl.queues, &c);
	return c.admin_commands;
}

/* Requests for events beyond what there may be do not get at the control thread without number. */
static void test_event_flood(void **state)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_async_event};
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 1});
	model.admin = ask_for_events;
	for (unsigned i = 0; i < 31; i++)
		host_put(0, &sqe);
	host_ring(0);
	usleep(20000);
	assert_in_range(fetched(), NVME_AERS_MAX + 1, NVME_AERS_MAX + 16);
	for (unsigned i = 0; i < 31 - NVME_AERS_MAX; i++)
		assert_status(host_wait(0, &cqe), SPECIFIC(NVME_SC_ASYNC_LIMIT));
	model.admin = NULL;
	sqe.opcode = nvme_admin_identify;
	assert_int_equal(host_exec(0, &sqe), 0);
	model.n_pending = 0;
	model_down();
}

/* ---- resets ---- */

static void drained(struct nvme_ctrl *ctrl)
{
	model.drained++;
}

static const struct nvme_enable again = {
	.page_shift = 12, .asq = SQ_AT(0), .acq = CQ_AT(0), .asq_size = 32, .acq_size = 32};

static void start_again(void)
{
	memset(guest(CQ_AT(0)), 0, 0x1000);
	model.q[0] = (struct host_queue){.size = 32, .cq_size = 32, .phase = 1};
	model.dbbuf = false;
	assert_int_equal(nvme_queues_enable(model.ctrl.queues, &again), 0);
	model_pair(1, 64, 1, 1);
}

static void test_reset_under_load(void **state)
{
	static const enum backend_mode modes[] = {BACKEND_SYNC, BACKEND_ASYNC, BACKEND_HOLD};
	struct nvme_sqe sqe = read_one(1);
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 1, .workers = 2});
	for (unsigned i = 0; i < 60; i++) {
		model.backend[0].mode = modes[i % 3];
		for (unsigned k = 0; k < 60; k++)
			host_put(1, &sqe);
		host_ring(1);
		usleep(i * 7);
		model.drained = 0;
		if (!nvme_queues_disable(model.ctrl.queues, drained))
			wait_for(model.drained == 1);
		while (host_take(1, &cqe))
			;
		memset(guest(CQ_AT(1)), 0, 0x1000);
		usleep(200);
		for (unsigned k = 0; k < 0x1000; k++) /* nothing comes any more */
			assert_int_equal(((uint8_t *)guest(CQ_AT(1)))[k], 0);
		assert_int_equal(model.backend[0].pending, 0);
		start_again();
		model.backend[0].mode = BACKEND_SYNC;
		assert_int_equal(host_exec(1, &sqe), 0);
	}
	assert_int_equal(nvme_queues_enable(model.ctrl.queues, &again), -EBUSY);
	model_down();
}

/* Requests of a backend that hangs outlive the controller, and keep their memory. */
static void test_orphans(void **state)
{
	struct nvme_sqe sqe = read_one(1);
	struct nvme_io_stats st;
	uint64_t t;

	model_up(&(struct model_opts){.pairs = 2});
	model.backend[0].mode = BACKEND_HANG;
	for (unsigned i = 0; i < 5; i++)
		host_put(1, &sqe);
	host_ring(1);
	wait_for(model.backend[0].pending == 5);
	assert_false(nvme_queues_disable(model.ctrl.queues, drained));
	for (unsigned i = 0; i < 20; i++)
		control_turn();
	assert_int_equal(model.drained, 0);
	t = clock_now_ns();
	assert_false(nvme_queues_drain(model.ctrl.queues, 30));
	assert_true(clock_now_ns() - t < 500 * NS_PER_MS);
	assert_int_equal(model.backend[0].pending, 5);
	start_again(); /* the controller goes on without them */
	sqe.nsid = 2;
	assert_int_equal(host_exec(1, &sqe), 0);
	nvme_stats_get(&model.ns[0].stats, &st);
	assert_int_equal(st.inflight, 5);
	model.backend[0].release = true;
	wait_for(model.backend[0].pending == 0);
	for (unsigned i = 0; i < 50; i++)
		control_turn();
	nvme_stats_get(&model.ns[0].stats, &st);
	assert_int_equal(st.inflight, 0);
	assert_int_equal(model.drained, 0);
	model_down();
}

static void test_dma_off_and_on(void **state)
{
	uint16_t off = 0, on = 4 | 2;
	struct nvme_sqe sqe = read_one(1);
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 1});
	model.backend[0].mode = BACKEND_HOLD;
	host_put(1, &sqe);
	host_ring(1);
	wait_for(model.backend[0].pending == 1);
	pci_config_write(model.fn, PCI_VIEW_VMM, 4, &off, 2);
	nvme_queues_dma_changed(model.ctrl.queues, false);
	model.backend[0].release = true;
	wait_for(model.backend[0].pending == 0);
	host_put(1, &sqe);
	host_ring(1);
	usleep(2000);
	assert_false(host_take(1, &cqe));
	pci_config_write(model.fn, PCI_VIEW_VMM, 4, &on, 2);
	nvme_queues_dma_changed(model.ctrl.queues, true);
	assert_int_equal(host_wait(1, &cqe), 0);
	assert_int_equal(host_wait(1, &cqe), 0);
	model_down();
}

static void test_enabled_before_dma(void **state)
{
	struct nvme_sqe sqe = {.opcode = 0xc1};
	uint16_t off = 0, on = 4 | 2;

	model_up(&(struct model_opts){.no_enable = true});
	pci_config_write(model.fn, PCI_VIEW_VMM, 4, &off, 2);
	assert_int_equal(nvme_queues_enable(model.ctrl.queues, &again), 0);
	pci_config_write(model.fn, PCI_VIEW_VMM, 4, &on, 2);
	nvme_queues_dma_changed(model.ctrl.queues, true);
	assert_int_equal(host_exec(0, &sqe), 0);
	model_down();
}

static void test_memory_lost(void **state)
{
	struct nvme_sqe sqe = read_one(1);

	model_up(&(struct model_opts){.pairs = 1});
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_equal(dma_space_unmap(model.dma, BASE, MEM), 0);
	host_put(1, &sqe);
	host_ring(1);
	wait_for(model.fails >= 1);
	assert_int_equal(nvme_queues_disable(model.ctrl.queues, drained), false);
	wait_for(model.drained == 1);
	assert_int_equal(nvme_queues_enable(model.ctrl.queues, &again), -EFAULT);
	model_down();
}

/* A ring over regions that are no neighbours in the host's address space. */
static void test_scattered_ring(void **state)
{
	struct nvme_sqe sqe = read_one(1);

	model_up(&(struct model_opts){.no_enable = true});
	fill_backend(0);
	assert_int_equal(dma_space_unmap(model.dma, BASE, MEM), 0);
	/* every page its own region */
	for (uint64_t at = 0; at < MEM; at += PAGE) {
		uint64_t from = at;

		assert_int_equal(dma_space_map(model.dma, BASE + at, PAGE, 3, model.fd, from), 0);
	}
	assert_int_equal(nvme_queues_enable(model.ctrl.queues, &again), 0);
	model_pair(1, 256, 1, 1);
	for (unsigned i = 0; i < 600; i++) {
		sqe = read_one(i);
		assert_int_equal(host_exec(1, &sqe), 0);
		assert_memory_equal(guest(DATA_AT), model.backend[0].bytes + i * 512, 512);
	}
	model_down();
}

static struct worker_stats worker_now(void)
{
	struct worker_stats st;

	worker_get_stats(worker_pool_at(model.pool, 0), &st);
	return st;
}

/* Times that have come while there is no memory keep no worker awake. */
static void test_no_memory_costs_nothing(void **state)
{
	uint16_t off = 0, on = 4 | 2;
	struct nvme_sqe sqe = read_one(1);
	uint64_t before;

	model_up(&(struct model_opts){.pairs = 1});
	nvme_queues_set_coalescing(model.ctrl.queues, 3, 200); /* 20 ms */
	assert_int_equal(host_exec(1, &sqe), 0);
	pci_config_write(model.fn, PCI_VIEW_VMM, 4, &off, 2);
	nvme_queues_dma_changed(model.ctrl.queues, false);
	usleep(30000);
	before = worker_now().busy_ns;
	usleep(50000);
	assert_true(worker_now().busy_ns - before < 25 * NS_PER_MS);
	pci_config_write(model.fn, PCI_VIEW_VMM, 4, &on, 2);
	nvme_queues_dma_changed(model.ctrl.queues, true);
	wait_for(host_irqs(1) == 1);
	model_down();
}

static void gate_drained(void *opaque)
{
}

/* Nor does a gate that stays closed. */
static void test_closed_gate_costs_little(void **state)
{
	struct nvme_sqe sqe = read_one(1);
	struct nvme_cqe cqe;
	uint64_t before;

	model_up(&(struct model_opts){.pairs = 1});
	nvme_gate_close(model.ns[0].gate, gate_drained, NULL);
	for (unsigned i = 0; i < 50; i++)
		host_put(1, &sqe);
	host_ring(1);
	usleep(50000);
	before = worker_now().sleeps;
	usleep(200000);
	assert_in_range(worker_now().sleeps - before, 1, 600);
	nvme_gate_open(model.ns[0].gate);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(host_wait(1, &cqe), 0);
	model_down();
}

/* Large commands that are done at once: others have their turn after a few of them. */
static void test_turns_are_short(void **state)
{
	uint64_t *list, irqs = 0;
	struct nvme_sqe sqe;
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 1});
	list = guest(LIST_AT);
	for (unsigned i = 1; i < 256; i++)
		list[i - 1] = DATA_AT + i * PAGE;
	sqe = host_rw(nvme_cmd_read, 0, 2048, DATA_AT);
	sqe.prp2 = LIST_AT;
	for (unsigned i = 0; i < 32; i++)
		host_put(1, &sqe);
	host_ring(1);
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(host_wait(1, &cqe), 0);
	wait_for((irqs += host_irqs(1)) >= 3);
	/* steps of one command are interrupted, too */
	model.ns[0].volatile_cache = false;
	sqe = host_rw(nvme_cmd_write_zeroes, 0, 8192, 0);
	for (unsigned i = 0; i < 32; i++)
		host_put(1, &sqe);
	host_ring(1);
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(host_wait(1, &cqe), 0);
	model_down();
}

/* What a queue has registered goes with it, however it goes. */
static void test_registered_memory_is_let_go(void **state)
{
	struct nvme_sqe sqe = read_one(1);

	model_up(&(struct model_opts){.no_enable = true});
	model.ctrl.register_memory = true;
	assert_int_equal(nvme_queues_enable(model.ctrl.queues, &again), 0);
	for (unsigned i = 0; i < 3; i++) {
		model_pair(1, 64, 1, 1);
		assert_int_equal(host_exec(1, &sqe), 0);
		wait_for(model.fixed == 2); /* the admin queue's, too */
		assert_int_equal(nvme_sq_delete(model.ctrl.queues, 1, NULL), NVME_ST_PENDING);
		wait_for(nvme_queues_count(model.ctrl.queues) == 0);
		assert_int_equal(nvme_cq_delete(model.ctrl.queues, 1), 0);
		assert_int_equal(model.fixed, 1);
	}
	model_pair(1, 64, 1, 1);
	assert_int_equal(host_exec(1, &sqe), 0);
	model_down();
	assert_int_equal(model.fixed, 0);
}

/* ---- interrupts ---- */

static void test_coalescing(void **state)
{
	struct nvme_sqe sqe = read_one(1);
	struct nvme_cqe cqe;
	uint64_t t;

	model_up(&(struct model_opts){.pairs = 1});
	assert_int_equal(host_exec(1, &sqe), 0);
	wait_for(host_irqs(1) == 1);
	/* one for a burst */
	for (unsigned i = 0; i < 20; i++)
		host_put(1, &sqe);
	host_ring(1);
	for (unsigned i = 0; i < 20; i++)
		host_wait(1, &cqe);
	usleep(1000);
	assert_in_range(host_irqs(1), 1, 4);
	/* fewer than the threshold wait for the time */
	nvme_queues_set_coalescing(model.ctrl.queues, 3, 250); /* 4 entries, 25 ms */
	t = clock_now_ns();
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_equal(host_irqs(1), 0);
	wait_for(host_irqs(1) == 1);
	assert_in_range(clock_now_ns() - t, 24 * NS_PER_MS, 500 * NS_PER_MS);
	/* the fourth does not */
	t = clock_now_ns();
	for (unsigned i = 0; i < 4; i++)
		host_put(1, &sqe);
	host_ring(1);
	wait_for(host_irqs(1) == 1);
	for (unsigned i = 0; i < 4; i++)
		host_wait(1, &cqe);
	/* nor a vector that is told not to */
	nvme_queues_set_vector_config(model.ctrl.queues, 1, true);
	nvme_queues_set_coalescing(model.ctrl.queues, 3, 255);
	assert_int_equal(host_exec(1, &sqe), 0);
	wait_for(host_irqs(1) == 1);
	nvme_queues_set_vector_config(model.ctrl.queues, 1, false);
	/* nor the admin queue */
	host_irqs(0);
	sqe = (struct nvme_sqe){.opcode = 0xc1};
	assert_int_equal(host_exec(0, &sqe), 0);
	wait_for(host_irqs(0) == 1);
	model_down();
}

/* ---- commands for the control thread ---- */

static uint16_t echo(struct nvme_command *cmd)
{
	if (cmd->sqe.opcode == nvme_admin_async_event || cmd->sqe.cdw11 == 1) {
		model.pending[model.n_pending++] = cmd;
		return NVME_ST_PENDING;
	}
	if (cmd->to_host)
		memset(cmd->data, 0x5a, cmd->len);
	else if (cmd->len)
		assert_int_equal(cmd->data[cmd->len - 1], 0x77);
	cmd->dw0 = 0x12345678;
	return cmd->sqe.cdw12 ? NVME_ST_GENERIC(NVME_SC_INVALID_FIELD) : 0;
}

static void cancel(struct nvme_command *cmd)
{
	model.cancelled++;
}

static void admin_transport(bool remote)
{
	struct nvme_sqe sqe = {.opcode = 0xc2, .cdw10 = 5000, .prp1 = DATA_AT};
	struct nvme_sqe aer = {.opcode = nvme_admin_async_event};
	struct nvme_cqe cqe;

	model_up(&(struct model_opts){.pairs = 1, .remote = remote});
	model.admin = model.resv = echo;
	sqe.prp2 = DATA_AT + PAGE;
	assert_int_equal(host_exec(0, &sqe), 0);
	assert_int_equal(((uint8_t *)guest(DATA_AT))[4999], 0x5a);
	assert_int_equal(((uint8_t *)guest(DATA_AT))[5000], 0);
	memset(guest(DATA_AT), 0x77, 5000);
	sqe.opcode = 0xc1;
	host_put(0, &sqe);
	host_ring(0);
	assert_int_equal(host_wait(0, &cqe), 0);
	assert_int_equal(cqe.dw0, 0x12345678);
	/* a failed one gives no data */
	sqe.opcode = 0xc2;
	sqe.cdw12 = 1;
	assert_status(host_exec(0, &sqe), GENERIC(NVME_SC_INVALID_FIELD));
	assert_int_equal(((uint8_t *)guest(DATA_AT))[0], 0x77);
	sqe.cdw12 = 0;
	sqe.cdw10 = NVME_COMMAND_DATA_MAX + 4;
	assert_status(host_exec(0, &sqe), GENERIC(NVME_SC_INVALID_FIELD));
	sqe.cdw10 = 512;
	sqe.flags = NVME_PSDT_SGL << 6;
	assert_status(host_exec(0, &sqe), GENERIC(NVME_SC_INVALID_FIELD));
	sqe.flags = 0;
	sqe.prp1 = BASE + MEM;
	assert_status(host_exec(0, &sqe), GENERIC(NVME_SC_DATA_XFER_ERROR));
	/* events stay, others overtake them, even as many as the queue holds */
	for (unsigned i = 0; i < 6; i++)
		host_put(0, &aer);
	host_ring(0);
	wait_for(model.n_pending == 6);
	sqe.prp1 = DATA_AT;
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(host_exec(0, &sqe), 0);
	model.pending[3]->dw0 = 0x42;
	nvme_command_complete(model.pending[3], 0);
	assert_int_equal(host_wait(0, &cqe), 0);
	assert_int_equal(cqe.dw0, 0x42);
	/* reservations come the same way from I/O queues */
	memset(guest(DATA_AT), 0x77, 64);
	sqe = (struct nvme_sqe){.opcode = nvme_cmd_resv_register, .nsid = 1, .prp1 = DATA_AT};
	assert_int_equal(host_exec(1, &sqe), 0);
	assert_int_equal(model.resv_runs, 1);
	/* a reset takes the events back */
	for (unsigned i = 0; i < 6; i++) {
		if (i != 3)
			model.pending[i]->cancel = cancel;
	}
	nvme_queues_disable(model.ctrl.queues, drained);
	assert_int_equal(model.cancelled, 5);
	wait_for(model.drained == 1);
	model_down();
}

static void test_admin_transport(void **state)
{
	admin_transport(false);
}

static void test_admin_transport_remote(void **state)
{
	admin_transport(true);
}

static int flush_result;

static void flush_done(struct nvme_ctrl *ctrl, int result)
{
	flush_result = result;
}

static void test_shutdown_flush(void **state)
{
	model_up(&(struct model_opts){.no_enable = true});
	flush_result = 99;
	nvme_queues_flush(model.ctrl.queues, flush_done); /* never enabled: nothing to do */
	assert_int_equal(flush_result, 0);
	assert_int_equal(nvme_queues_enable(model.ctrl.queues, &again), 0);
	model.ns[1].volatile_cache = false;
	model.backend[0].mode = BACKEND_ASYNC;
	flush_result = 99;
	nvme_queues_flush(model.ctrl.queues, flush_done);
	wait_for(flush_result != 99);
	assert_int_equal(flush_result, 0);
	assert_int_equal(model.backend[0].submitted[BLOCK_FLUSH], 1);
	assert_int_equal(model.backend[1].submitted[BLOCK_FLUSH], 0);
	assert_int_equal(model.backend[2].submitted[BLOCK_FLUSH], 1);
	model.backend[2].error = -EIO;
	model.ctrl.failed = true; /* a failed controller is shut down too */
	flush_result = 99;
	nvme_queues_flush(model.ctrl.queues, flush_done);
	wait_for(flush_result != 99);
	assert_int_equal(flush_result, -EIO);
	model_down();
}

static void test_counters(void **state)
{
	struct nvme_sqe sqe = read_one(1), admin = {.opcode = 0xc1};
	struct nvme_queue_counters c;
	struct nvme_io_stats st;

	model_up(&(struct model_opts){.pairs = 1});
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(host_exec(1, &sqe), 0);
	model.backend[0].error = -EIO;
	assert_status(host_exec(1, &sqe), MEDIA(NVME_SC_READ_ERROR));
	assert_int_equal(host_exec(0, &admin), 0);
	nvme_queues_counters(model.ctrl.queues, &c);
	assert_int_equal(c.commands, 8);
	assert_int_equal(c.admin_commands, 1);
	assert_int_equal(c.kicks, 18);
	usleep(1000);
	nvme_stats_get(&model.ctrl.stats, &st);
	assert_int_equal(st.reads, 8);
	assert_int_equal(st.read_bytes, 7 * 512);
	assert_int_equal(st.errors, 1);
	assert_int_equal(st.inflight, 0);
	assert_true(st.latency[0].p50 > 0 && st.latency[0].p50 <= st.latency[0].p999);
	nvme_stats_get(&model.ns[0].stats, &st);
	assert_int_equal(st.reads, 8);
	assert_int_equal(model.errors, 1);
	assert_true(nvme_queues_memory(model.ctrl.queues) > 1000);
	model_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_and_write),
		cmocka_unit_test(test_laps),
		cmocka_unit_test(test_laps_async),
		cmocka_unit_test(test_laps_remote),
		cmocka_unit_test(test_laps_dbbuf),
		cmocka_unit_test(test_laps_dbbuf_async),
		cmocka_unit_test(test_laps_dbbuf_remote),
		cmocka_unit_test(test_laps_mapped),
		cmocka_unit_test(test_laps_mapped_async),
		cmocka_unit_test(test_laps_mapped_dbbuf),
		cmocka_unit_test(test_mapping_is_refused),
		cmocka_unit_test(test_page_is_sealed),
		cmocka_unit_test(test_mapped_nonsense),
		cmocka_unit_test(test_mapped_and_messages),
		cmocka_unit_test(test_dbbuf_activation),
		cmocka_unit_test(test_dbbuf_hushed_first),
		cmocka_unit_test(test_dbbuf_nonsense),
		cmocka_unit_test(test_bad_doorbells),
		cmocka_unit_test(test_full_cq),
		cmocka_unit_test(test_full_cq_dbbuf),
		cmocka_unit_test(test_full_cq_mapped),
		cmocka_unit_test(test_several_sqs),
		cmocka_unit_test(test_creation_is_checked),
		cmocka_unit_test(test_delete_held),
		cmocka_unit_test(test_delete_async),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_abort_limit),
		cmocka_unit_test(test_completed_within_the_call),
		cmocka_unit_test(test_event_flood),
		cmocka_unit_test(test_reset_under_load),
		cmocka_unit_test(test_orphans),
		cmocka_unit_test(test_dma_off_and_on),
		cmocka_unit_test(test_enabled_before_dma),
		cmocka_unit_test(test_memory_lost),
		cmocka_unit_test(test_scattered_ring),
		cmocka_unit_test(test_no_memory_costs_nothing),
		cmocka_unit_test(test_closed_gate_costs_little),
		cmocka_unit_test(test_turns_are_short),
		cmocka_unit_test(test_registered_memory_is_let_go),
		cmocka_unit_test(test_coalescing),
		cmocka_unit_test(test_admin_transport),
		cmocka_unit_test(test_admin_transport_remote),
		cmocka_unit_test(test_shutdown_flush),
		cmocka_unit_test(test_counters),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
