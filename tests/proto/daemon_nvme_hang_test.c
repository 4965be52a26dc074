/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A backend that hangs: an NBD server that is stopped, goes on, or is killed. Its disk stands
 * still; nothing else does.
 *
 *   daemon_nvme_hang_test SOFTIOVD SOFTIOV [TEST]
 */
#include "daemon_nvme.h"

#include <signal.h>
#include <sys/wait.h>

#define NBD	 1
#define MEM	 2
#define HONEST	 3
#define STALL_MS (3000 * nvme_rig_slow())
#define SIZE	 (64u << 20)

static const char config[] =
	WORKERS "devices:\n"
		"  ssd0:\n"
		"    type: nvme\n"
		"    total-vfs: 4\n"
		"    num-vfs: 2\n"
		"    queues: 4\n"
		"    namespaces:\n"
		"      1: {nbd: \"nbd+unix:///?socket=@/nbd.sock\", size: 64M, attach: [vf0]}\n"
		"      2: {memory: 16M, attach: [vf0]}\n"
		"      3: {memory: 16M, attach: [vf1]}\n";

static struct nvme_rig rig;
static struct nvme_host *h, *honest;
static struct nvme_host_sq *io;
static struct nvme_pump pump;
static bool have;

static int setup(void **state)
{
	have = !nvme_rig_nbd_start(&rig, SIZE);
	if (!have)
		return 0;
	if (nvme_rig_start(&rig, config) ||
	    nvme_rig_open(&rig, "ssd0/vf1", (struct nvme_host_config){0}, &honest))
		return -1;
	return nvme_pump_start(&pump, honest, HONEST);
}

static int teardown(void **state)
{
	int err;

	if (!have)
		return 0;
	err = nvme_pump_stop(&pump);
	print_message("# the honest host did %lu commands, the slowest took %.1f ms\n",
		      (unsigned long)pump.commands, (double)pump.slowest_ns / 1e6);
	nvme_host_close(honest);
	rig.bad |= err != 0;
	return nvme_rig_stop(&rig) || err ? -1 : 0;
}

static void end(void)
{
	nvme_host_close(h);
	h = NULL;
}

static void begin(void)
{
	if (!have) {
		print_message("# no nbdkit and no qemu-nbd\n");
		skip();
	}
	end(); /* of a test that failed */
	assert_int_equal(nvme_rig_open(&rig, "ssd0/vf0", (struct nvme_host_config){.pairs = 2}, &h),
			 0);
	io = nvme_host_io(h, 1);
}

static void undisturbed(void)
{
	uint64_t start = clock_now_ns();

	assert_int_equal(nvme_pump_check(&pump, 50, STALL_MS), 0);
	/* The control socket answers, too. */
	CLI(&rig, "show");
	CLI(&rig, "stats -j");
	assert_true(clock_now_ns() - start < 2 * STALL_MS * NS_PER_MS);
}

static void works(void)
{
	nvme_pattern(h->data, 65536, 5);
	OK(nvme_host_rw(io, nvme_cmd_write, NBD, 100, 128, 0));
	OK(nvme_host_flush(io, NBD));
	memset(h->data, 0, 65536);
	OK(nvme_host_rw(io, nvme_cmd_read, NBD, 100, 128, 0));
	assert_true(nvme_pattern_is(h->data, 65536, 5));
}

/* On return none of its threads runs. */
static void stop_server(void)
{
	int status = 0;

	assert_int_equal(kill(rig.nbd, SIGSTOP), 0);
	assert_int_equal(waitpid(rig.nbd, &status, WUNTRACED), rig.nbd);
	assert_true(WIFSTOPPED(status));
}

static void submit_reads(struct nvme_host_req *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		memset(&r[i], 0, sizeof(r[i]));
		nvme_host_make_rw(&r[i].sqe, nvme_cmd_read, NBD, i * 8, 8, 0);
		nvme_host_prp(&r[i].sqe, h->data_addr + i * 4096, 4096, NULL, 0);
		assert_int_equal(nvme_host_submit(io, &r[i]), 0);
	}
	nvme_host_ring(io);
}

static void stop_and_go(void **state)
{
	struct nvme_host_req r[16];

	begin();
	works();
	stop_server();
	submit_reads(r, 16);
	usleep(100000);
	assert_int_equal(nvme_host_busy(io), 16);
	/* another disk of the same VF goes on, by another queue and by the same */
	OK(nvme_host_rw(nvme_host_io(h, 2), nvme_cmd_read, MEM, 0, 1, 0));
	OK(nvme_host_rw(io, nvme_cmd_read, MEM, 0, 1, 0));
	undisturbed();
	kill(rig.nbd, SIGCONT);
	assert_int_equal(nvme_host_wait_all(io, 0), 0);
	for (unsigned i = 0; i < 16; i++)
		OK(r[i].status);
	works();
	end();
}

static void abort_ends_them(void **state)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_abort_cmd};
	struct nvme_host_req r[4];
	unsigned aborted = 0;
	uint32_t dw0;

	begin();
	stop_server();
	submit_reads(r, 4);
	usleep(50000);
	for (unsigned i = 0; i < 4; i++) {
		sqe.cdw10 = (uint32_t)r[i].sqe.cid << 16 | 1;
		/* On a busy machine the read may not be fetched yet, or let go of too late for this
		 * answer: then it ends aborted all the same, if need be by the next. */
		for (unsigned tries = 0; tries < 10; tries++) {
			OK(nvme_host_exec(nvme_host_admin(h), &sqe, &dw0));
			aborted += !(dw0 & 1);
			if (!(dw0 & 1))
				break;
			usleep(10000);
		}
		STATUS(nvme_host_wait(io, &r[i], 0), GENERIC(NVME_SC_ABORT_REQ));
	}
	assert_true(aborted > 0);
	undisturbed();
	/* What the server still sends for them hits nobody. */
	memset(h->data, 0xcc, 4 * 4096);
	kill(rig.nbd, SIGCONT);
	usleep(100000);
	for (unsigned i = 0; i < 4 * 4096; i++)
		assert_int_equal(h->data[i], 0xcc);
	works();
	end();
}

static void queue_deletion(void **state)
{
	struct nvme_host_req r[8];

	begin();
	stop_server();
	submit_reads(r, 8);
	usleep(50000);
	OK(nvme_host_delete_sq(h, 1));
	OK(nvme_host_delete_cq(h, 1));
	undisturbed();
	kill(rig.nbd, SIGCONT);
	OK(nvme_host_create_cq(h, 1, 64, NVME_HOST_NO_IRQ));
	OK(nvme_host_create_sq(h, 1, 64, 1));
	works();
	end();
}

static void reset_does_not_wait(void **state)
{
	struct nvme_host_req r[16];
	uint64_t start;

	begin();
	for (unsigned i = 0; i < 3; i++) {
		stop_server();
		submit_reads(r, 16);
		usleep(20000);
		start = clock_now_ns();
		if (i < 2) {
			assert_int_equal(nvme_host_disable(h), 0);
		} else {
			assert_int_equal(nvme_host_flr(h), 0);
		}
		assert_true(clock_now_ns() - start < STALL_MS * NS_PER_MS);
		memset(h->data, 0xcc, 16 * 4096);
		assert_int_equal(nvme_host_start(h), 0);
		OK(nvme_host_rw(io, nvme_cmd_read, MEM, 0, 1, 0));
		memset(h->data, 0xcc, 16 * 4096);
		undisturbed();
		kill(rig.nbd, SIGCONT);
		usleep(50000);
		/* late answers reach no memory */
		for (unsigned k = 0; k < 16 * 4096; k++)
			assert_int_equal(h->data[k], 0xcc);
		works();
	}
	end();
}

static void vm_dies_and_comes_back(void **state)
{
	struct nvme_host_req r[16];

	begin();
	stop_server();
	submit_reads(r, 16);
	usleep(20000);
	end();
	begin();
	OK(nvme_host_rw(io, nvme_cmd_read, MEM, 0, 1, 0));
	undisturbed();
	kill(rig.nbd, SIGCONT);
	works();
	end();
}

/* The server dies and a new one takes its place: commands wait, then work. */
static void server_restarts(void **state)
{
	struct nvme_host_req r[4];

	begin();
	works();
	nvme_rig_nbd_stop(&rig);
	submit_reads(r, 4);
	usleep(200000);
	undisturbed();
	assert_int_equal(nvme_rig_nbd_start(&rig, SIZE), 0);
	assert_int_equal(nvme_host_wait_all(io, 30000 * nvme_rig_slow()), 0);
	for (unsigned i = 0; i < 4; i++)
		print_message("# status %#x\n", r[i].status);
	/* The disk is there again, whatever became of these. */
	for (unsigned i = 0; i < 100 && nvme_host_rw(io, nvme_cmd_read, NBD, 0, 1, 0); i++)
		usleep(100000);
	works();
	undisturbed();
	end();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stop_and_go),
		cmocka_unit_test(abort_ends_them),
		cmocka_unit_test(queue_deletion),
		cmocka_unit_test(reset_does_not_wait),
		cmocka_unit_test(vm_dies_and_comes_back),
		cmocka_unit_test(server_restarts),
	};
	int ret;

	if (nvme_test_begin(&rig, argc, argv))
		return 2;
	ret = cmocka_run_group_tests(tests, setup, teardown);
	return nvme_rig_fini(&rig) ? 1 : ret;
}
