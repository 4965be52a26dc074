/* SPDX-License-Identifier: BSD-3-Clause */
/* Clients that lie, hang, flood and die. */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/util.h"
#include "vfio_user/conn.h"

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void expect_closed(struct fixture *f, struct vfu_client *c)
{
	struct raw_reply r;

	raw_recv(c, &r);
	assert_int_equal(r.len, 0);
	vfu_client_close(c);
	assert_serving(f);
}

static void test_bad_headers(void **state)
{
	static const struct vfu_header bad[] = {
		{1, VFU_DEVICE_RESET, 0, 0, 0},
		{1, VFU_DEVICE_RESET, 15, 0, 0},
		{1, VFU_REGION_READ, UINT32_MAX, 0, 0},
		{1, VFU_REGION_WRITE, (1 << 20) + 4097, 0, 0},
		{1, VFU_DEVICE_RESET, 16, 2, 0},
		{1, VFU_DEVICE_RESET, 16, 15, 0},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vfu_client *c = fixture_client(f);

		assert_int_equal(vfu_client_send_raw(c, &bad[i], 16, NULL, 0), 0);
		expect_closed(f, c);
	}
}

static void test_before_version(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c;

	for (uint16_t cmd = 2; cmd < 20; cmd++) {
		assert_true(fixture_wait(f, false));
		assert_int_equal(vfu_client_connect_raw(f->path, 4000, &c), 0);
		assert_int_equal(raw_send(c, 1, cmd, 0, NULL, 0, NULL, 0), 0);
		assert_int_equal(raw_call(c, VFU_DEVICE_RESET, NULL, 0, NULL, 0, NULL), -1);
		vfu_client_close(c);
	}
}

/* A message in single bytes; and half a header holds nobody up. */
static void test_crumbs(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct {
		struct vfu_header h;
		struct vfu_region_access a;
	} m = {{9, VFU_REGION_READ, sizeof(m), 0, 0}, {0, 7, 4}};
	struct raw_reply r;

	for (size_t i = 0; i < sizeof(m); i++) {
		assert_int_equal(vfu_client_send_raw(c, (uint8_t *)&m + i, 1, NULL, 0), 0);
		if (i % 5 == 0)
			assert_true(fixture_status(f).connected);
	}
	raw_recv(c, &r);
	assert_int_equal(r.len, 36);
	assert_int_equal(r.hdr.id, 9);
	assert_int_equal(vfu_client_send_raw(c, &m, 7, NULL, 0), 0);
	assert_true(fixture_status(f).connected);
	vfu_client_close(c);
	assert_serving(f);
}

static void test_short_payloads(void **state)
{
	static const uint16_t fixed[][2] = {{2, 32}, {3, 24}, {4, 16}, {5, 32},	 {6, 16},
					    {7, 16}, {8, 20}, {9, 16}, {10, 16}, {15, 8}};
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	uint8_t body[64] = {64};

	for (unsigned i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		for (size_t len = 0; len < fixed[i][1]; len++)
			assert_int_equal(raw_call(c, fixed[i][0], body, len, NULL, 0, NULL),
					 EINVAL);
	/* Data that is not what count says. */
	memset(body, 0, sizeof(body));
	body[12] = 8;
	assert_int_equal(raw_call(c, VFU_REGION_WRITE, body, 16 + 7, NULL, 0, NULL), EINVAL);
	assert_int_equal(raw_call(c, VFU_REGION_WRITE, body, 16 + 9, NULL, 0, NULL), EINVAL);
	assert_ids(c);
	vfu_client_close(c);
}

static void test_many_fds(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct vfu_dma_map map = {sizeof(map), MAP_RW, 0, 0, 4096};
	struct vfio_irq_set set = {.argsz = sizeof(set),
				   .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
				   .index = VFIO_PCI_MSIX_IRQ_INDEX,
				   .count = 17};
	int fds[200], mem = memory_file(4096, NULL);
	unsigned before;

	for (unsigned i = 0; i < 200; i++)
		fds[i] = i < 100 ? mem : eventfd(0, EFD_CLOEXEC);
	assert_ids(c);
	before = open_fds();
	assert_int_equal(raw_call(c, VFU_DMA_MAP, &map, sizeof(map), fds, 2, NULL), EINVAL);
	assert_int_equal(raw_call(c, VFU_DMA_MAP, &map, sizeof(map), fds, 17, NULL), EINVAL);
	assert_int_equal(raw_call(c, VFU_DMA_MAP, &map, sizeof(map), fds, 200, NULL), EINVAL);
	assert_int_equal(raw_call(c, VFU_DEVICE_SET_IRQS, &set, sizeof(set), fds + 100, 17, NULL),
			 EINVAL);
	assert_int_equal(raw_call(c, VFU_DEVICE_RESET, NULL, 0, fds, 1, NULL), EINVAL);
	assert_int_equal(raw_call(c, VFU_MIG_DATA_READ, &map, 8, fds, 3, NULL), ENOTSUP);
	assert_int_equal(raw_call(c, 999, &map, 8, fds, 3, NULL), ENOTSUP);
	assert_ids(c); /* the last message's descriptors are closed when the next one is read */
	assert_int_equal(open_fds(), before);
	for (unsigned i = 100; i < 200; i++)
		close(fds[i]);
	close(mem);
	vfu_client_close(c);
}

static void test_bad_maps(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct vfu_dma_map m = {sizeof(m), MAP_RW, 0, 0, 4096};
	int mem = memory_file(0x10000, NULL), ro, sv[2], pipes[2], dir, ev;
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", mem);
	ro = open(link, O_RDONLY | O_CLOEXEC);
	dir = open("/", O_RDONLY | O_CLOEXEC);
	ev = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
#define MAP(iova, size, flags, fd, off) vfu_client_dma_map(c, iova, size, flags, fd, off)
	assert_int_equal(MAP(0, 0, MAP_RW, mem, 0), -EINVAL);
	assert_int_equal(MAP(0, 4095, MAP_RW, mem, 0), -EINVAL);
	assert_int_equal(MAP(1, 4096, MAP_RW, mem, 0), -EINVAL);
	assert_int_equal(MAP(0, 4096, MAP_RW, mem, 1), -EINVAL);
	assert_int_equal(MAP(0, 0x11000, MAP_RW, mem, 0), -EINVAL);
	assert_int_equal(MAP(0, 4096, MAP_RW, mem, 0x10000), -EINVAL);
	assert_int_equal(MAP(0, 4096, MAP_RW, mem, UINT64_MAX - 4095), -EINVAL);
	assert_int_equal(MAP(0, 8192, MAP_RW, mem, UINT64_MAX - 4095), -EINVAL);
	assert_int_equal(MAP(UINT64_MAX - 4095, 8192, MAP_RW, mem, 0), -EINVAL);
	assert_int_equal(MAP(0, UINT64_MAX - 4095, MAP_RW, mem, 0), -EINVAL);
	assert_int_equal(MAP(0, 4096, 0, mem, 0), -EINVAL);
	assert_int_equal(MAP(0, 4096, 1u << 3 | MAP_RW, mem, 0), -EINVAL);
	assert_int_equal(MAP(0, 4096, 1u << 31 | MAP_RW, mem, 0), -EINVAL);
	assert_int_equal(MAP(0, 4096, MAP_RW, pipes[0], 0), -EINVAL);
	assert_int_equal(MAP(0, 4096, MAP_RW, sv[0], 0), -EINVAL);
	assert_int_equal(MAP(0, 4096, MAP_RW, dir, 0), -EINVAL);
	assert_int_equal(MAP(0, 4096, MAP_RW, ev, 0), -EINVAL);
	assert_int_equal(MAP(0, 4096, MAP_RW, ro, 0), -EACCES);
	m.argsz = 31;
	assert_int_equal(raw_call(c, VFU_DMA_MAP, &m, sizeof(m), &mem, 1, NULL), EINVAL);
	assert_int_equal(fixture_status(f).dma_regions, 0);
	/* The last page there is, and "by mmap", which newer clients may say, are fine. */
	assert_int_equal(MAP(UINT64_MAX - 4095, 4096, VFU_DMA_READABLE, ro, 0), 0);
	assert_int_equal(MAP(0, 4096, MAP_RW | 1u << 2, mem, 0), 0);
	assert_int_equal(vfu_client_dma_unmap(c, UINT64_MAX - 4095, 8192, 0), -EINVAL);
	assert_int_equal(vfu_client_dma_unmap(c, 0, 8192, 0), -ENOENT);
	assert_int_equal(vfu_client_dma_unmap(c, 0, 4096, 1), -EINVAL);
	assert_int_equal(vfu_client_dma_unmap(c, UINT64_MAX - 4095, 4096, 0), 0);
	assert_int_equal(vfu_client_dma_unmap(c, 0, 4096, 0), 0);
#undef MAP
	close(mem);
	close(ro);
	close(dir);
	close(ev);
	close(pipes[0]);
	close(pipes[1]);
	close(sv[0]);
	close(sv[1]);
	vfu_client_close(c);
}

/* SIGBUS ends this client's service and nothing else. */
static void test_truncated_memory(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	int fd = memory_file(0x100000, NULL);
	bool closed = false;

	assert_int_equal(dma_init(),
			 0); /* here, as cmocka takes SIGBUS for itself before each test */
	assert_int_equal(vfu_client_dma_map(c, 0, 0x100000, MAP_RW, fd, 0), 0);
	client_bus_master(c, true);
	assert_int_equal(client_copy(c, 0, 0x80000, 0x10000), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	client_copy_start(c, 0, 0x80000, 0x10000, 1);
	for (unsigned i = 0; i < 500 && !closed; i++) {
		closed = raw_call(c, VFU_DEVICE_GET_INFO, (uint32_t[4]){16}, 16, NULL, 0, NULL) < 0;
		usleep(1000);
	}
	assert_true(closed);
	vfu_client_close(c);
	close(fd);
	assert_serving(f);
}

/* A VMM killed while its device copies. */
static void test_killed(void **state)
{
	struct fixture *f = *state;
	uint32_t resets = f->toy.resets;
	uint8_t *mem;
	int fd = memory_file(0x100000, &mem);
	pid_t pid = fork();

	if (!pid) {
		struct vfu_client *c = fixture_client(f);

		alarm(20);
		vfu_client_dma_map(c, 0, 0x100000, MAP_RW, fd, 0);
		client_bus_master(c, true);
		client_copy_start(c, 0, 0x80000, 0x40000, 2);
		while (client_read32(c, TOY_ROUNDS) < 10)
			;
		mem[0] = 1;
		for (;;)
			client_read32(c, 0);
	}
	assert_true(pid > 0);
	for (unsigned i = 0; i < 10000 && !mem[0]; i++)
		usleep(1000);
	assert_int_equal(mem[0], 1);
	assert_int_equal(fixture_status(f).pid, pid);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_serving(f);
	assert_true(f->toy.resets > resets);
	assert_int_equal(f->toy.mode, 0);
	assert_int_equal(f->attaches, f->detaches);
	/* Nobody writes to that memory any more. */
	memset(mem, 7, 0x100000);
	usleep(20000);
	for (unsigned i = 0; i < 0x100000; i += 64)
		assert_int_equal(mem[i], 7);
	munmap(mem, 0x100000);
	close(fd);
}

static void test_second_client(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f), *d;

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vfu_client_connect(f->path, 2000, &d), -EBUSY);
		assert_ids(c);
	}
	assert_int_equal(fixture_status(f).refused, 3);
	vfu_client_close(c);
	assert_true(fixture_wait(f, false));
	f->refuse = EPERM;
	assert_int_equal(vfu_client_connect(f->path, 2000, &d), -EPERM);
	f->refuse = 0;
	assert_int_equal(fixture_status(f).refused, 4);
	assert_serving(f);
	assert_int_equal(f->attaches, f->detaches);
}

static int raw_connect(const char *path)
{
	struct timeval patience = {.tv_sec = 5};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(sa.sun_path, path, strlen(path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

/* Refused ones that say nothing, or nonsense, or do not hang up, are got rid of. */
static void test_rude_refused_clients(void **state)
{
	struct vfu_header bad = {.command = VFU_VERSION, .size = 0x7fffffff};
	struct vfu_header half = {.command = VFU_VERSION, .size = sizeof(half) + 100};
	struct vfu_header fine = {.command = VFU_VERSION, .size = sizeof(fine)};
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f), *d;
	struct vfu_header answer;
	int fds[12];
	ssize_t n;

	for (unsigned i = 0; i < 12; i++) {
		fds[i] = raw_connect(f->path);
		if (i % 4 == 1)
			send(fds[i], &bad, sizeof(bad), MSG_NOSIGNAL);
		else if (i % 4 == 2)
			send(fds[i], &half, sizeof(half), MSG_NOSIGNAL);
		else if (i % 4 == 3)
			send(fds[i], &fine, sizeof(fine), MSG_NOSIGNAL);
	}
	assert_ids(c);
	for (unsigned i = 0; i < 12; i++) {
		/* A reply or none, but the end of it in any case. */
		while ((n = recv(fds[i], &answer, sizeof(answer), 0)) == sizeof(answer)) {
			assert_int_equal(answer.flags, VFU_F_TYPE_REPLY | VFU_F_ERROR);
			assert_int_equal(answer.error, EBUSY);
		}
		assert_true(!n || errno == ECONNRESET);
		close(fds[i]);
	}
	assert_int_equal(vfu_client_connect(f->path, 2000, &d), -EBUSY);
	vfu_client_close(c);
	assert_serving(f);
}

/* The next client comes before the loop has seen the last one go. */
static void test_quick_reconnect(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 200; i++) {
		struct vfu_client *c = fixture_client(f);

		vfu_client_close(c);
	}
	assert_int_equal(fixture_status(f).refused, 0);
}

/* Commands without end, replies never read: memory stays bounded, the connection ends. */
static void test_flood(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct {
		struct vfu_header h;
		struct vfu_region_access a;
	} m = {{9, VFU_REGION_READ, sizeof(m), 0, 0}, {0, 7, 4096}};
	uint64_t end = clock_now_ns() + 20 * NS_PER_S;
	unsigned sent = 0;
	size_t at = 0;

	while (clock_now_ns() < end) {
		ssize_t n = send(vfu_client_fd(c), (uint8_t *)&m + at, sizeof(m) - at,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			break;
		if (n < 0) {
			usleep(10000);
			continue;
		}
		at = (at + (size_t)n) % sizeof(m);
		sent += at == 0;
	}
	assert_true(clock_now_ns() < end);
	assert_true(sent > 50);
	vfu_client_close(c);
	assert_serving(f);
}

/* Answers that carry descriptors, unread: the daemon has not one for each. */
static void test_fd_hoarder(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct vfu_region_io_fds req = {.argsz = sizeof(req) + 8 * 40};
	struct {
		struct vfu_header h;
		struct vfu_region_io_fds req;
	} m = {{9, VFU_DEVICE_GET_REGION_IO_FDS, sizeof(m), 0, 0}, req};
	unsigned before = open_fds(), sent = 0, most = 0;
	struct raw_reply r;

	while (sent < 4000 && send(vfu_client_fd(c), &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) ==
				      (ssize_t)sizeof(m)) {
		if (++sent % 100 == 0)
			usleep(1000);
		most = MAX(most, open_fds());
	}
	usleep(100000);
	most = MAX(most, open_fds());
	print_message("%u requests, %u more descriptors\n", sent, most - before);
	assert_true(sent > 100);
	assert_true(most - before <= VFU_FDS_MAX);
	/* once it reads, all of them are answered */
	for (unsigned i = 0; i < sent; i++) {
		raw_recv(c, &r);
		assert_int_equal(r.len, 16 + 16 + 3 * 40);
	}
	assert_ids(c);
	vfu_client_close(c);
}

static void *status_at_once(void *arg)
{
	struct fixture *f = arg;
	uint64_t start = clock_now_ns();

	fixture_status(f);
	return (void *)(uintptr_t)(clock_now_ns() - start);
}

/* Messages that take long each: those of others are handled between them. */
static void test_slow_messages(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct {
		struct vfu_region_access a;
		uint32_t ms;
	} m = {{TOY_BLOCK_MS, 0, 4}, 50};
	void *waited;
	pthread_t t;

	for (uint16_t i = 0; i < 32; i++)
		assert_int_equal(raw_send(c, i, VFU_REGION_WRITE, VFU_F_NO_REPLY, &m, 20, NULL, 0),
				 0);
	usleep(10000);
	assert_int_equal(pthread_create(&t, NULL, status_at_once, f), 0);
	pthread_join(t, &waited);
	assert_true((uintptr_t)waited < 32 * 50 * NS_PER_MS / 2);
	assert_ids(c);
	vfu_client_close(c);
}

/* A slow reader gets everything, in order. */
static void test_slow_reader(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct vfu_region_access a = {0, 7, 4096};
	struct raw_reply r;

	for (uint16_t i = 0; i < 128; i++)
		assert_int_equal(raw_send(c, i, VFU_REGION_READ, 0, &a, sizeof(a), NULL, 0), 0);
	usleep(200000);
	for (uint16_t i = 0; i < 128; i++) {
		raw_recv(c, &r);
		assert_int_equal(r.len, 32 + 4096);
		assert_int_equal(r.hdr.id, i);
	}
	vfu_client_close(c);
}

static void test_stray_replies(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	uint8_t body[64] = {0};

	for (uint16_t i = 0; i < 300; i++)
		assert_int_equal(
			raw_send(c, i, (uint16_t)(i % 20), VFU_F_TYPE_REPLY, body, i % 64, NULL, 0),
			0);
	assert_ids(c);
	assert_int_equal(fixture_status(f).errors, 300);
	vfu_client_close(c);
}

/* Well-formed headers, everything else by chance. */
static void test_noise(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 12345;

	for (unsigned round = 0; round < 40; round++) {
		struct vfu_client *c = fixture_client(f);
		int mem = memory_file(4096, NULL);

		for (unsigned i = 0; i < 100; i++) {
			uint8_t body[256];
			size_t len = (size_t)rand_r(&seed) % sizeof(body);
			uint16_t cmd = (uint16_t)(rand_r(&seed) % 20);

			for (size_t k = 0; k < len; k++)
				body[k] = rand_r(&seed) % 3 ? 0 : (uint8_t)rand_r(&seed);
			if (len >= 4)
				body[0] = 64;
			/* A posted command, so that nothing needs to be read. */
			if (raw_send(c, 1, cmd, VFU_F_NO_REPLY, body, len, &mem,
				     rand_r(&seed) % 8 == 0))
				break;
		}
		close(mem);
		vfu_client_close(c);
	}
	assert_serving(f);
}

/* --- what lies at the socket's path --- */

struct create {
	const char *path;
	struct toy toy;
	struct vfu_server *srv;
	int err;
};

static const struct vfu_server_ops no_ops = {0};

static void call_create(struct fixture *f, void *arg)
{
	struct create *cr = arg;
	struct vfu_server_config cfg = {.name = "other",
					.path = cr->path,
					.owner = getuid(),
					.group = getgid(),
					.mode = 0660};

	cr->err = vfu_server_create(f->event, &cfg, cr->toy.fn, &no_ops, NULL, &cr->srv);
}

static void call_destroy(struct fixture *f, void *arg)
{
	struct create *cr = arg;

	vfu_server_destroy(cr->srv);
}

static void test_paths(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct create cr;
	char path[108], longer[200];
	int fd;

	toy_create(&cr.toy, "other");
	cr.path = f->path; /* alive */
	fixture_run(f, call_create, &cr);
	assert_int_equal(cr.err, -EADDRINUSE);
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = 0;
	cr.path = longer;
	fixture_run(f, call_create, &cr);
	assert_int_equal(cr.err, -ENAMETOOLONG);

	snprintf(path, sizeof(path), "%s/other.sock", f->dir);
	cr.path = path;
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600); /* somebody's file */
	close(fd);
	fixture_run(f, call_create, &cr);
	assert_int_equal(cr.err, -EADDRINUSE);
	assert_int_equal(unlink(path), 0);

	fd = socket(AF_UNIX, SOCK_STREAM, 0); /* a dead server's */
	memcpy(sa.sun_path, path, strlen(path) + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	fixture_run(f, call_create, &cr);
	assert_int_equal(cr.err, 0);
	/* Another took the place: it is not ours to remove. */
	assert_int_equal(unlink(path), 0);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	close(fd);
	fixture_run(f, call_destroy, &cr);
	assert_int_equal(unlink(path), 0);
	toy_destroy(&cr.toy);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_bad_headers),	      T(test_before_version),  T(test_crumbs),
		T(test_short_payloads),	      T(test_many_fds),	       T(test_bad_maps),
		T(test_truncated_memory),     T(test_killed),	       T(test_second_client),
		T(test_rude_refused_clients), T(test_quick_reconnect), T(test_flood),
		T(test_fd_hoarder),	      T(test_slow_messages),   T(test_slow_reader),
		T(test_stray_replies),	      T(test_noise),	       T(test_paths),
	};

	return cmocka_run_group_tests_name("vfio-user: hostile clients", tests, NULL, NULL);
}
