/* SPDX-License-Identifier: BSD-3-Clause */
#include "fixture.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/log.h"

static int on_attach(void *opaque, pid_t pid, uid_t uid, char *why, size_t why_len)
{
	struct fixture *f = opaque;

	if (f->refuse)
		snprintf(why, why_len, "the test says so");
	else
		f->attaches++;
	return -f->refuse;
}

static void on_detach(void *opaque)
{
	struct fixture *f = opaque;

	f->detaches++;
}

static void on_irqs(void *opaque)
{
	struct fixture *f = opaque;

	f->irq_changes++;
}

static int on_io_fds(void *opaque, unsigned region, struct vfu_io_fd *fds, unsigned max)
{
	struct fixture *f = opaque;

	return toy_io_fds(&f->toy, region, fds, max);
}

static const struct vfu_server_ops server_ops = {
	.attach = on_attach,
	.detach = on_detach,
	.irqs_changed = on_irqs,
	.io_fds = on_io_fds,
};

static int on_call(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct fixture *f = opaque;
	uint64_t v;

	if (read(fd, &v, sizeof(v)) == sizeof(v)) {
		f->call(f, f->call_arg);
		sem_post(&f->called);
	}
	return 0;
}

static void *loop(void *arg)
{
	struct fixture *f = arg;

	sd_event_loop(f->event);
	return NULL;
}

void fixture_run(struct fixture *f, void (*call)(struct fixture *f, void *arg), void *arg)
{
	uint64_t one = 1;

	f->call = call;
	f->call_arg = arg;
	assert_int_equal(write(f->call_fd, &one, sizeof(one)), sizeof(one));
	while (sem_wait(&f->called) < 0)
		;
}

int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vfu_server_config cfg = {
		.name = "toy", .owner = (uid_t)-1, .group = (gid_t)-1, .mode = 0600};

	if (!f)
		return -1;
	if (!getenv("PROTO_VERBOSE"))
		log_set_level(LOG_LEVEL_ERROR);
	snprintf(f->dir, sizeof(f->dir), "/tmp/softiov-proto.XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/toy.sock", f->dir);
	cfg.path = f->path;
	toy_create(&f->toy, "toy");
	sem_init(&f->called, 0, 0);
	f->call_fd = eventfd(0, EFD_CLOEXEC);
	if (sd_event_new(&f->event) < 0 ||
	    sd_event_add_io(f->event, NULL, f->call_fd, EPOLLIN, on_call, f) < 0 ||
	    vfu_server_create(f->event, &cfg, f->toy.fn, &server_ops, f, &f->srv) ||
	    pthread_create(&f->thread, NULL, loop, f))
		return -1;
	*state = f;
	return 0;
}

static void call_exit(struct fixture *f, void *arg)
{
	vfu_server_destroy(f->srv);
	sd_event_exit(f->event, 0);
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;
	int left;

	fixture_run(f, call_exit, NULL);
	pthread_join(f->thread, NULL);
	sd_event_unref(f->event);
	close(f->call_fd);
	sem_destroy(&f->called);
	toy_destroy(&f->toy);
	left = access(f->path, F_OK) == 0;
	rmdir(f->dir);
	free(f);
	return left; /* the socket file must be gone */
}

static void call_status(struct fixture *f, void *arg)
{
	vfu_server_get_status(f->srv, arg);
}

struct vfu_server_status fixture_status(struct fixture *f)
{
	struct vfu_server_status st;

	fixture_run(f, call_status, &st);
	return st;
}

bool fixture_wait(struct fixture *f, bool connected)
{
	for (unsigned i = 0; i < 500; i++) {
		if (fixture_status(f).connected == connected)
			return true;
		usleep(10000);
	}
	return false;
}

/* --- client side --- */

struct vfu_client *fixture_client(struct fixture *f)
{
	struct vfu_client *c;

	assert_int_equal(vfu_client_connect(f->path, 4000, &c), 0);
	return c;
}

void client_bus_master(struct vfu_client *c, bool on)
{
	uint16_t cmd = on ? PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY : PCI_COMMAND_MEMORY;

	assert_int_equal(vfu_client_region_write(c, 7, PCI_COMMAND, &cmd, 2, false), 0);
}

uint32_t client_read32(struct vfu_client *c, uint64_t off)
{
	uint32_t v = 0;

	assert_int_equal(vfu_client_region_read(c, 0, off, &v, 4), 0);
	return v;
}

void client_write32(struct vfu_client *c, uint64_t off, uint32_t v)
{
	assert_int_equal(vfu_client_region_write(c, 0, off, &v, 4, false), 0);
}

void client_write64(struct vfu_client *c, uint64_t off, uint64_t v)
{
	assert_int_equal(vfu_client_region_write(c, 0, off, &v, 8, false), 0);
}

void client_copy_start(struct vfu_client *c, uint64_t src, uint64_t dst, uint32_t len,
		       uint32_t mode)
{
	client_write64(c, TOY_SRC, src);
	client_write64(c, TOY_DST, dst);
	client_write32(c, TOY_LEN, len);
	/* Posted: the next message to come is the engine's, should it need one. */
	assert_int_equal(vfu_client_region_write(c, 0, TOY_DOORBELL, &mode, 4, true), 0);
}

int client_copy(struct vfu_client *c, uint64_t src, uint64_t dst, uint32_t len)
{
	uint64_t end = clock_now_ns() + 10 * NS_PER_S;

	client_copy_start(c, src, dst, len, 1);
	while (client_read32(c, TOY_STATUS) == TOY_BUSY) {
		assert_true(clock_now_ns() < end);
		usleep(200);
	}
	return (int)client_read32(c, TOY_ERRNO);
}

int memory_file(size_t size, uint8_t **p)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	if (p) {
		*p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		assert_ptr_not_equal(*p, MAP_FAILED);
	}
	return fd;
}

uint64_t event_wait(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t v = 0;

	if (poll(&p, 1, ms) == 1)
		assert_int_equal(read(fd, &v, sizeof(v)), sizeof(v));
	return v;
}

int raw_send(struct vfu_client *c, uint16_t id, uint16_t command, uint32_t flags,
	     const void *payload, size_t len, const int *fds, unsigned nfds)
{
	struct vfu_header h = {
		.id = id, .command = command, .size = (uint32_t)(sizeof(h) + len), .flags = flags};
	uint8_t *m = malloc(sizeof(h) + len);
	int err;

	assert_non_null(m);
	memcpy(m, &h, sizeof(h));
	if (len)
		memcpy(m + sizeof(h), payload, len);
	err = vfu_client_send_raw(c, m, sizeof(h) + len, fds, nfds);
	free(m);
	return err;
}

void raw_recv(struct vfu_client *c, struct raw_reply *r)
{
	uint8_t m[sizeof(r->hdr) + sizeof(r->body)];

	memset(r, 0, sizeof(*r));
	r->len = vfu_client_recv_raw(c, m, sizeof(m), NULL, NULL);
	if (r->len > 0) {
		memcpy(&r->hdr, m, sizeof(r->hdr));
		memcpy(r->body, m + sizeof(r->hdr), (size_t)r->len - sizeof(r->hdr));
	}
}

int raw_call(struct vfu_client *c, uint16_t command, const void *payload, size_t len,
	     const int *fds, unsigned nfds, struct raw_reply *r)
{
	struct raw_reply own;
	uint16_t id = vfu_client_next_id(c);

	if (!r)
		r = &own;
	if (raw_send(c, id, command, 0, payload, len, fds, nfds))
		return -1;
	raw_recv(c, r);
	if (r->len <= 0)
		return -1;
	assert_int_equal(r->hdr.id, id);
	assert_int_equal(r->hdr.command, command);
	assert_int_equal(r->hdr.flags & VFU_F_TYPE_MASK, VFU_F_TYPE_REPLY);
	/* The flag and the errno go together: QEMU takes an error with errno 0 for success. */
	assert_int_equal(!!(r->hdr.flags & VFU_F_ERROR), r->hdr.error != 0);
	return (int)r->hdr.error;
}

void assert_ids(struct vfu_client *c)
{
	uint32_t id = 0;

	assert_int_equal(vfu_client_region_read(c, 7, 0, &id, 4), 0);
	assert_int_equal(id, TOY_VENDOR | (uint32_t)TOY_DEVICE << 16);
}

void assert_serving(struct fixture *f)
{
	struct vfu_client *c;

	assert_true(fixture_wait(f, false));
	c = fixture_client(f);
	assert_ids(c);
	vfu_client_close(c);
	assert_true(fixture_wait(f, false));
}
