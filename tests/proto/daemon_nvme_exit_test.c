/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A store whose system calls never return, as those of a dead file server: the daemon's end does
 * not wait for it, and is an orderly one.
 *
 *   daemon_nvme_exit_test SOFTIOVD SOFTIOV
 *
 * The daemon is started by this same program, which first lays a filter over it: writes wait for an
 * answer that nobody gives. io_uring is denied, so that threads write.
 */
#include "daemon_nvme.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define REAL "SOFTIOV_TEST_REAL_DAEMON"
#define HUNG 1
#define MEM  2

static const char config[] = "devices:\n"
			     "  ssd0:\n"
			     "    type: nvme\n"
			     "    total-vfs: 2\n"
			     "    num-vfs: 2\n"
			     "    namespaces:\n"
			     "      1: {file: \"@/hung.img\", size: 16M, attach: [vf0]}\n"
			     "      2: {memory: 16M, attach: [vf0]}\n";

static struct nvme_rig rig;

static int hang_writes(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwritev, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwritev2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {ARRAY_SIZE(code), code};
	int fd;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			  &prog);
	/* stays open as long as the daemon lives, else the calls would fail */
	return fd < 0 ? -1 : dup(fd);
}

static int become_hanging_daemon(char **argv)
{
	const char *real = getenv(REAL);

	if (hang_writes() < 0)
		return 1;
	execv(real, argv);
	return 1;
}

static void submit(struct nvme_host *h, struct nvme_host_req *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		memset(&r[i], 0, sizeof(r[i]));
		nvme_host_make_rw(&r[i].sqe, nvme_cmd_write, HUNG, i * 8, 8, 0);
		nvme_host_prp(&r[i].sqe, h->data_addr + i * 4096, 4096, NULL, 0);
		assert_int_equal(nvme_host_submit(nvme_host_io(h, 1), &r[i]), 0);
	}
	nvme_host_ring(nvme_host_io(h, 1));
	usleep(50000);
	assert_int_equal(nvme_host_busy(nvme_host_io(h, 1)), n);
}

/* With the VM there, and after it has gone. */
static void ends(bool close_first)
{
	struct nvme_host_req r[24];
	struct nvme_host *h;
	uint64_t start;

	assert_int_equal(nvme_rig_start(&rig, config), 0);
	assert_int_equal(nvme_rig_open(&rig, "ssd0/vf0", (struct nvme_host_config){0}, &h), 0);
	submit(h, r, ARRAY_SIZE(r));
	/* nobody else waits */
	OK(nvme_host_rw(nvme_host_io(h, 1), nvme_cmd_read, MEM, 0, 1, 0));
	CLI(&rig, "show");
	if (close_first)
		nvme_host_close(h);
	start = clock_now_ns();
	assert_int_equal(nvme_rig_stop(&rig), 0);
	assert_true(clock_now_ns() - start < 8 * NS_PER_S * nvme_rig_slow());
	if (!close_first)
		nvme_host_close(h);
}

static void with_a_vm(void **state)
{
	ends(false);
}

static void without_a_vm(void **state)
{
	ends(true);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(with_a_vm),
		cmocka_unit_test(without_a_vm),
	};
	int ret;

	if (getenv(REAL))
		return become_hanging_daemon(argv);
	if (argc != 3 || nvme_rig_init(&rig, "/proc/self/exe", argv[2]))
		return 2;
	setenv(REAL, argv[1], 1);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	nvme_rig_fini(&rig);
	return ret;
}
