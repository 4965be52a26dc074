/* SPDX-License-Identifier: BSD-3-Clause */
/* NBD against nbdkit and qemu-nbd, which come, go, stop and have more or fewer abilities. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"
#include "worker/mailbox.h"

#define MIB (1ull << 20)

static pid_t server;
static char sock[96], uri[160];

static bool have(const char *program)
{
	char cmd[64];

	snprintf(cmd, sizeof(cmd), "command -v %s >/dev/null", program);
	return !system(cmd);
}

static void nap_ms(unsigned ms)
{
	const struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

/* The socket is there a little before it can be connected to. */
static bool listens(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", sock);
	r = connect(fd, (struct sockaddr *)&to, sizeof(to));
	close(fd);
	return !r;
}

/* Until it listens. */
static void start_server(const char *const *argv)
{
	pid_t parent = getpid();
	int i;

	unlink(sock);
	server = fork();
	if (!server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	for (i = 0; i < 1000 && !listens(); i++)
		nap_ms(10);
	assert_true(i < 1000);
}

/* size: "8M"; a and b: a filter's arguments, or NULL. */
static void start_nbdkit(const char *size, const char *filter, const char *a, const char *b)
{
	const char *argv[12] = {"nbdkit", "-f", "-U", sock};
	int n = 4;

	if (filter)
		argv[n++] = filter;
	argv[n++] = "memory";
	argv[n++] = size;
	if (a)
		argv[n++] = a;
	if (b)
		argv[n++] = b;
	start_server(argv);
}

static void stop_server(void)
{
	if (!server)
		return;
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	server = 0;
}

static void freeze_server(void)
{
	int status;

	kill(server, SIGSTOP);
	assert_int_equal(waitpid(server, &status, WUNTRACED), server);
	assert_true(WIFSTOPPED(status));
}

static int setup(void **state)
{
	/* a socket's path must be short: not below a build folder */
	snprintf(sock, sizeof(sock), "/tmp/softiov-%d.sock", (int)getpid());
	snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s", sock);
	return 0;
}

static int teardown(void **state)
{
	stop_server();
	unlink(sock);
	return 0;
}

static void verify(struct block_backend *b, unsigned rounds)
{
	struct rig g;

	rig_start(&g);
	compare_with_model(&g, b, 512, rounds);
	rig_stop(&g);
}

static void test_verify(void **state)
{
	static const char *const filters[][2] = {
		{NULL, NULL},
		{"--filter=fua", NULL}, /* whose default is: none */
		{"--filter=nozero", NULL},
		{"--filter=noextents", NULL},
	};
	struct block_config cfg = config(BLOCK_NBD, uri, 0);
	struct block_backend *b;
	struct block_limits lim;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(filters); i++) {
		start_nbdkit("2M", filters[i][0], filters[i][1], NULL);
		b = open_ok(&cfg);
		assert_int_equal(block_size(b), 2 * MIB);
		assert_string_equal(block_state(b), "ok");
		block_get_limits(b, &lim);
		assert_int_not_equal(lim.discard_granularity, 0);
		verify(b, 150);
		block_close(b);
		stop_server();
	}
}

static void test_qemu_nbd(void **state)
{
	struct block_config cfg = config(BLOCK_NBD, uri, 0);
	const char *path = scratch("image");
	const char *argv[] = {"qemu-nbd",	 "-k", sock, "-f", "raw", "-t",
			      "--discard=unmap", path, NULL};
	struct block_backend *b;
	int fd;

	if (!have("qemu-nbd"))
		skip();
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, 2 * MIB), 0);
	close(fd);
	start_server(argv);
	b = open_ok(&cfg);
	assert_int_equal(block_size(b), 2 * MIB);
	verify(b, 150);
	block_close(b);
	stop_server();
}

/* A server that insists on blocks larger than sectors: the limits say so. */
static void test_large_blocks(void **state)
{
	const char *argv[] = {"nbdkit",
			      "-f",
			      "-U",
			      sock,
			      "--filter=blocksize-policy",
			      "memory",
			      "2M",
			      "blocksize-minimum=4096",
			      "blocksize-preferred=8192",
			      "blocksize-maximum=64K",
			      "blocksize-error-policy=error",
			      NULL};
	struct block_config cfg = config(BLOCK_NBD, uri, 0);
	struct block_limits lim;
	struct block_backend *b;
	uint8_t buf[512];
	struct rig g;

	start_server(argv);
	b = open_ok(&cfg);
	block_get_limits(b, &lim);
	assert_int_equal(lim.alignment, 4096);
	assert_int_equal(lim.granularity, 8192);
	rig_start(&g);
	compare_with_model(&g, b, 4096, 100);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 512, 512, buf, 0), -EINVAL);
	rig_stop(&g);
	block_close(b);
	stop_server();
}

static void test_refused(void **state)
{
	struct block_config cfg = config(BLOCK_NBD, uri, 0);
	struct block_backend *b;
	char why[512];

	unlink(sock);
	assert_int_equal(block_open(&cfg, "x", NULL, NULL, &b, why, sizeof(why)), -EHOSTUNREACH);
	assert_non_null(strstr(why, sock));
	cfg = config(BLOCK_NBD, "no uri", 0);
	assert_int_equal(block_open(&cfg, "x", NULL, NULL, &b, why, sizeof(why)), -EHOSTUNREACH);
	start_nbdkit("2M", NULL, NULL, NULL);
	cfg = config(BLOCK_NBD, uri, 3 * MIB);
	assert_int_equal(block_open(&cfg, "x", NULL, NULL, &b, why, sizeof(why)), -EINVAL);
	stop_server();
}

static void test_read_only(void **state)
{
	const char *argv[] = {"nbdkit", "-f", "-r", "-U", sock, "memory", "2M", NULL};
	struct block_config cfg = config(BLOCK_NBD, uri, 0);
	struct block_backend *b;
	char why[512], buf[512];
	struct rig g;

	start_server(argv);
	assert_int_equal(block_open(&cfg, "x", NULL, NULL, &b, why, sizeof(why)), -EROFS);
	cfg.read_only = true;
	b = open_ok(&cfg);
	rig_start(&g);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 0, 512, buf, 0), 0);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 0, 512, buf, 0), -EROFS);
	rig_stop(&g);
	block_close(b);
	stop_server();
}

static void test_errors(void **state)
{
	const char *argv[] = {"nbdkit",
			      "-f",
			      "-U",
			      sock,
			      "--filter=error",
			      "memory",
			      "2M",
			      "error-pwrite=ENOSPC",
			      "error-pwrite-rate=100%",
			      "error-pread=EIO",
			      "error-pread-rate=100%",
			      NULL};
	struct block_config cfg = config(BLOCK_NBD, uri, 0);
	struct block_backend *b;
	char buf[4096] = {0};
	struct rig g;

	start_server(argv);
	b = open_ok(&cfg);
	rig_start(&g);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 0, 4096, buf, 0), -ENOSPC);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 0, 4096, buf, 0), -EIO);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 2 * MIB, 4096, buf, 0), -EINVAL);
	rig_stop(&g);
	block_close(b);
	stop_server();
}

/* Not there at first; then there; then gone with requests under way; then there again. */
static void test_reconnect(void **state)
{
	struct block_config cfg = config(BLOCK_NBD, uri, 2 * MIB);
	uint8_t *buf = malloc(MIB);
	struct block_backend *b;
	struct io ios[16];
	struct rig g;
	unsigned i;

	unlink(sock);
	b = open_ok(&cfg);
	assert_int_equal(block_size(b), 2 * MIB);
	assert_non_null(strstr(block_state(b), "connecting again"));
	rig_start(&g);
	memset(buf, 0x33, MIB);
	io_prepare(&ios[0], &g, b, BLOCK_WRITE, 0, MIB, buf, 0);
	io_submit(&ios[0]);
	assert_int_equal(io_wait_ms(&ios[0], 200), -ETIMEDOUT);
	start_nbdkit("2M", NULL, NULL, NULL);
	assert_int_equal(io_wait(&ios[0]), 0);
	assert_string_equal(block_state(b), "ok");

	freeze_server();
	for (i = 0; i < ARRAY_SIZE(ios); i++) {
		io_prepare(&ios[i], &g, b, BLOCK_WRITE, i * 65536, 65536, buf + i * 65536, 0);
		io_submit(&ios[i]);
	}
	assert_int_equal(io_wait_ms(&ios[0], 100), -ETIMEDOUT);
	stop_server();
	nap_ms(50);
	assert_non_null(strstr(block_state(b), "gone"));
	start_nbdkit("2M", NULL, NULL, NULL);
	for (i = 0; i < ARRAY_SIZE(ios); i++)
		assert_int_equal(io_wait(&ios[i]), 0);
	memset(buf, 0, MIB);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 0, MIB, buf, 0), 0);
	for (i = 0; i < MIB; i += 4096)
		assert_int_equal(buf[i], 0x33);
	rig_stop(&g);
	block_close(b);
	stop_server();
	free(buf);
}

/* Writes that the server may have lost with its life: a flush says so, once. What was flushed, or
 * written through, is not doubted. */
static void test_lost_writes(void **state)
{
	struct block_config cfg = config(BLOCK_NBD, uri, 0);
	struct io flushes[3];
	struct block_backend *b;
	uint8_t buf[4096] = {1};
	struct rig g;
	unsigned i;

	start_nbdkit("2M", NULL, NULL, NULL);
	b = open_ok(&cfg);
	rig_start(&g);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 0, 4096, buf, 0), 0);
	stop_server();
	start_nbdkit("2M", NULL, NULL, NULL);
	assert_int_equal(io_now(&g, b, BLOCK_READ, 0, 4096, buf, 0), 0);
	assert_int_equal(io_now(&g, b, BLOCK_FLUSH, 0, 0, NULL, 0), -EIO);
	assert_int_equal(io_now(&g, b, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	/* flushed, or none */
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 0, 4096, buf, 0), 0);
	assert_int_equal(io_now(&g, b, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 0, 4096, buf, BLOCK_FUA), 0);
	stop_server();
	start_nbdkit("2M", NULL, NULL, NULL);
	assert_int_equal(io_now(&g, b, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	/* all that waited for it */
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 0, 4096, buf, 0), 0);
	freeze_server();
	for (i = 0; i < ARRAY_SIZE(flushes); i++) {
		io_prepare(&flushes[i], &g, b, BLOCK_FLUSH, 0, 0, NULL, 0);
		io_submit(&flushes[i]);
	}
	nap_ms(50);
	stop_server();
	for (i = 0; i < ARRAY_SIZE(flushes); i++)
		assert_int_equal(io_wait(&flushes[i]), -EIO);
	start_nbdkit("2M", NULL, NULL, NULL);
	assert_int_equal(io_now(&g, b, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	rig_stop(&g);
	block_close(b);
	stop_server();
}

/* The server hangs: what is cancelled ends at once, and its memory stays as it is from then on. */
static void test_cancel(void **state)
{
	struct block_config cfg = config(BLOCK_NBD, uri, 0);
	uint8_t *buf = calloc(1, MIB), *ones = malloc(MIB);
	struct block_backend *b;
	struct io rd, wr, wr2;
	uint64_t t;
	struct rig g;

	start_nbdkit("4M", NULL, NULL, NULL);
	b = open_ok(&cfg);
	rig_start(&g);
	memset(ones, 1, MIB);
	assert_int_equal(io_now(&g, b, BLOCK_WRITE, 0, MIB, ones, 0), 0);
	freeze_server();
	io_prepare(&rd, &g, b, BLOCK_READ, 0, MIB, buf, 0);
	io_prepare(&wr, &g, b, BLOCK_WRITE, MIB, MIB, buf, 0);
	io_submit(&rd);
	io_submit(&wr);
	assert_int_equal(io_wait_ms(&rd, 50), -ETIMEDOUT);
	t = clock_now_ns();
	io_cancel(&rd);
	io_cancel(&wr);
	io_cancel(&wr);
	assert_int_equal(io_wait(&rd), -ECANCELED);
	assert_int_equal(io_wait(&wr), -ECANCELED);
	assert_true(clock_now_ns() - t < 5 * NS_PER_S);
	/* a later write to the same place comes last, too */
	io_prepare(&wr2, &g, b, BLOCK_WRITE, MIB, MIB, ones, 0);
	io_submit(&wr2);
	kill(server, SIGCONT);
	assert_int_equal(io_wait(&wr2), 0);
	assert_int_equal(buf[0], 0);
	assert_int_equal(buf[MIB - 1], 0);
	assert_int_equal(io_now(&g, b, BLOCK_READ, MIB, MIB, buf, 0), 0);
	assert_memory_equal(buf, ones, MIB);
	rig_stop(&g);
	block_close(b);
	stop_server();
	free(buf);
	free(ones);
}

static long resident_kib(void)
{
	long pages[2] = {0};
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%ld %ld", &pages[0], &pages[1]), 2);
	fclose(f);
	return pages[1] * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Submitting and cancelling for ever costs no memory; more than there is room for waits. */
static void test_hanging_costs_little(void **state)
{
	struct block_config cfg = config(BLOCK_NBD, uri, 0);
	struct io *ios = calloc(200, sizeof(*ios));
	uint8_t *buf = calloc(1, MIB);
	struct block_backend *b;
	unsigned i;
	struct rig g;

	start_nbdkit("4M", NULL, NULL, NULL);
	b = open_ok(&cfg);
	rig_start(&g);
	freeze_server();
	for (i = 0; i < 1000; i++) {
		io_prepare(&ios[0], &g, b, BLOCK_WRITE, MIB, MIB, buf, 0);
		io_submit(&ios[0]);
		io_cancel(&ios[0]);
		assert_int_equal(io_wait(&ios[0]), -ECANCELED);
	}
	for (i = 0; i < 200; i++) {
		io_prepare(&ios[i], &g, b, BLOCK_WRITE, i % 4 * MIB, MIB, buf, 0);
		io_submit(&ios[i]);
	}
	nap_ms(100);
#if !defined(__SANITIZE_ADDRESS__) && !UNDER_TSAN
	assert_true(resident_kib() < 400 << 10);
#else
	(void)resident_kib;
#endif
	io_cancel(&ios[199]);
	assert_int_equal(io_wait(&ios[199]), -ECANCELED);
	kill(server, SIGCONT);
	for (i = 0; i < 199; i++)
		assert_int_equal(io_wait(&ios[i]), 0);
	rig_stop(&g);
	block_close(b);
	stop_server();
	free(ios);
	free(buf);
}

static void resized(void *opaque, uint64_t size)
{
	*(uint64_t *)opaque = size;
}

static void test_resized(void **state)
{
	struct block_config cfg = config(BLOCK_NBD, uri, 0);
	const struct block_backend_ops ops = {.resized = resized};
	uint64_t told = 0;
	struct block_backend *b;
	char why[512];
	int i;

	start_nbdkit("2M", NULL, NULL, NULL);
	assert_int_equal(block_open(&cfg, "x", &ops, &told, &b, why, sizeof(why)), 0);
	assert_int_equal(block_size(b), 2 * MIB);
	assert_int_equal(block_resize(b, MIB, why, sizeof(why)), -ENOTSUP);
	stop_server();
	start_nbdkit("4M", NULL, NULL, NULL);
	for (i = 0; i < 1000 && told != 4 * MIB; i++) {
		mailbox_run();
		nap_ms(10);
	}
	assert_int_equal(told, 4 * MIB);
	assert_int_equal(block_size(b), 4 * MIB);
	block_close(b);
	stop_server();
}

/* Closing does not wait for a server that hangs. */
static void test_close(void **state)
{
	struct block_config cfg = config(BLOCK_NBD, uri, 0);
	struct block_backend *b;
	uint64_t t;

	start_nbdkit("2M", NULL, NULL, NULL);
	b = open_ok(&cfg);
	freeze_server();
	t = clock_now_ns();
	block_close(b);
	assert_true(clock_now_ns() - t < 3 * NS_PER_S);
	stop_server();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verify),	     cmocka_unit_test(test_qemu_nbd),
		cmocka_unit_test(test_large_blocks), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_read_only),    cmocka_unit_test(test_errors),
		cmocka_unit_test(test_reconnect),    cmocka_unit_test(test_lost_writes),
		cmocka_unit_test(test_cancel),	     cmocka_unit_test(test_hanging_costs_little),
		cmocka_unit_test(test_resized),	     cmocka_unit_test(test_close),
	};

	if (!have("nbdkit"))
		return 77;
	return cmocka_run_group_tests(tests, setup, teardown);
}
