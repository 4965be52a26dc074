/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two guests at the sockets of two virtio-net functions of one switch, all in this process: the
 * guest library's own test, and the first place where the rooms meet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "guest.h"
#include "net/port.h"
#include "util/log.h"
#include "vfio_user/server.h"
#include "virtio_net/virtio_net.h"
#include "worker/mailbox.h"

#define FUNCTIONS 2
#define PAIRS	  4

struct host {
	char *dir, *path[FUNCTIONS];
	sd_event *event;
	int end_fd;
	pthread_t thread;
	struct worker_pool *pool;
	struct net_switch *sw;
	struct virtio_net *net[FUNCTIONS];
	struct vfu_server *srv[FUNCTIONS];
};

static int on_attach(void *opaque, pid_t pid, uid_t uid, char *why, size_t why_len)
{
	return 0;
}

static void on_detach(void *opaque)
{
}

static int on_io_fds(void *opaque, unsigned region, struct vfu_io_fd *out, unsigned max)
{
	int fds[64];
	uint64_t offs[64];
	unsigned n, i;

	if (region != VIRTIO_BAR_CONFIG)
		return 0;
	n = virtio_net_doorbells(opaque, fds, offs, 64);
	for (i = 0; i < n && i < max; i++)
		out[i] = (struct vfu_io_fd){.offset = offs[i], .size = 2, .fd = fds[i]};
	return (int)n;
}

static const struct vfu_server_ops server_ops = {
	.attach = on_attach, .detach = on_detach, .io_fds = on_io_fds};

static int on_mailbox(sd_event_source *s, int fd, uint32_t revents, void *opaque)
{
	mailbox_run();
	return 0;
}

static int on_end(sd_event_source *s, int fd, uint32_t revents, void *opaque)
{
	struct host *h = opaque;

	for (unsigned i = 0; i < FUNCTIONS; i++)
		vfu_server_destroy(h->srv[i]);
	sd_event_exit(h->event, 0);
	return 0;
}

static void *loop(void *arg)
{
	sd_event_loop(((struct host *)arg)->event);
	return NULL;
}

static void add_function(struct host *h, unsigned i)
{
	struct virtio_net_config nc = {.name = i ? "nic0/pf1" : "nic0/pf0",
				       .queue_pairs = PAIRS,
				       .queue_size = 256,
				       .mtu = 9216,
				       .packed = true};
	struct vfu_server_config sc = {.owner = (uid_t)-1, .group = (gid_t)-1, .mode = 0600};

	net_policy_init(&nc.policy);
	memcpy(nc.policy.mac, (uint8_t[]){2, 0, 0, 0, 0, (uint8_t)(i + 1)}, 6);
	assert_int_equal(virtio_net_create(h->sw, h->pool, &nc, &h->net[i]), 0);
	assert_true(asprintf(&h->path[i], "%s/pf%u.sock", h->dir, i) > 0);
	sc.name = nc.name;
	sc.path = h->path[i];
	assert_int_equal(vfu_server_create(h->event, &sc, virtio_net_function(h->net[i]),
					   &server_ops, h->net[i], &h->srv[i]),
			 0);
}

static int setup(void **state)
{
	struct host *h = calloc(1, sizeof(*h));

	log_set_level(LOG_LEVEL_WARN);
	h->dir = strdup("/tmp/softiov-guest.XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	assert_int_equal(dma_init(), 0);
	assert_int_equal(mailbox_init(), 0);
	assert_int_equal(worker_pool_create(1, &h->pool), 0);
	assert_int_equal(net_switch_create("nic0", &h->sw), 0);
	h->end_fd = eventfd(0, EFD_CLOEXEC);
	assert_true(sd_event_new(&h->event) >= 0);
	assert_true(sd_event_add_io(h->event, NULL, mailbox_fd(), EPOLLIN, on_mailbox, h) >= 0);
	assert_true(sd_event_add_io(h->event, NULL, h->end_fd, EPOLLIN, on_end, h) >= 0);
	for (unsigned i = 0; i < FUNCTIONS; i++)
		add_function(h, i);
	assert_int_equal(pthread_create(&h->thread, NULL, loop, h), 0);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	struct host *h = *state;

	eventfd_write(h->end_fd, 1);
	pthread_join(h->thread, NULL);
	sd_event_unref(h->event);
	for (unsigned i = 0; i < FUNCTIONS; i++)
		virtio_net_destroy(h->net[i]);
	net_switch_destroy(h->sw);
	worker_pool_destroy(h->pool);
	close(h->end_fd);
	rmdir(h->dir);
	free(h->dir);
	free(h->path[0]);
	free(h->path[1]);
	free(h);
	return 0;
}

static void make_frame(const struct guest *from, const struct guest *to, uint8_t *f, unsigned len,
		       unsigned seq)
{
	memcpy(f, guest_mac(to), 6);
	memcpy(f + 6, guest_mac(from), 6);
	f[12] = 0x88;
	f[13] = 0xb5; /* local experimental */
	for (unsigned i = 14; i < len; i++)
		f[i] = (uint8_t)(i * 7 + seq);
}

static void exchange(struct guest *a, struct guest *b, unsigned n, unsigned max_len)
{
	static uint8_t out[9300], in[9300];

	for (unsigned i = 0; i < n; i++) {
		unsigned len = 60 + i * 977 % (max_len - 60);
		int got;

		make_frame(a, b, out, len, i);
		if (i % 3)
			assert_int_equal(guest_send(a, 0, NULL, out, len), 0);
		else
			assert_int_equal(guest_send_pieces(a, 0, NULL, out, len, 1 + i % 7), 0);
		got = guest_recv_wait(b, 0, NULL, in, sizeof(in), 5000);
		assert_int_equal(got, len);
		assert_memory_equal(in, out, len);
	}
	assert_int_equal(guest_recv(b, 0, NULL, in, sizeof(in)), -EAGAIN);
	assert_int_equal(guest_tx_wait(a, 0, 5000), 0);
}

static void both_ways(struct host *h, struct guest_config a, struct guest_config b, unsigned n)
{
	struct guest *g[2];
	uint8_t on = 1, status;

	a.path = h->path[0];
	b.path = h->path[1];
	assert_int_equal(guest_open(&a, &g[0]), 0);
	assert_int_equal(guest_open(&b, &g[1]), 0);
	exchange(g[0], g[1], n, 1400);
	exchange(g[1], g[0], n, 1400);
	assert_int_equal(guest_ctrl(g[0], 0, 0, &on, 1, NULL, 0), 0);	 /* promiscuous */
	assert_int_equal(guest_ctrl(g[0], 0, 0x77, &on, 1, NULL, 0), 1); /* no such command */
	/* the driver goes and comes again */
	assert_int_equal(guest_start(g[1]), 0);
	exchange(g[0], g[1], 20, 1400);
	assert_int_equal(guest_status(g[1], &status), 0);
	assert_int_equal(status, 15);
	guest_close(g[0]);
	guest_close(g[1]);
}

static void test_ring_kinds(void **state)
{
	static const uint64_t options[] = {GUEST_F_PACKED, GUEST_F_EVENT_IDX, GUEST_F_INDIRECT,
					   GUEST_F_MRG_RXBUF};

	for (unsigned k = 0; k < 16; k++) {
		uint64_t f = GUEST_F_DEFAULT;

		for (unsigned i = 0; i < 4; i++)
			f = k & 1u << i ? f | options[i] : f & ~options[i];
		both_ways(*state, (struct guest_config){.features = f},
			  (struct guest_config){.features = f, .ioeventfd = true}, 150);
	}
}

static void test_jumbo_into_small_buffers(void **state)
{
	struct host *h = *state;
	struct guest_config c = {.path = h->path[0], .tx_buf_len = 9400, .rx_buf_len = 512};
	struct guest *a, *b;

	assert_int_equal(guest_open(&c, &a), 0);
	c.path = h->path[1];
	c.features = GUEST_F_DEFAULT | GUEST_F_PACKED;
	assert_int_equal(guest_open(&c, &b), 0);
	exchange(a, b, 100, 9000);
	exchange(b, a, 100, 9000);
	guest_close(a);
	guest_close(b);
}

static void test_polled(void **state)
{
	both_ways(*state, (struct guest_config){.no_interrupts = true},
		  (struct guest_config){.no_interrupts = true, .ioeventfd = true}, 100);
}

/* One guest without an fd: it sends and receives by itself; the other has plain memory. */
static void test_memory_without_fd(void **state)
{
	struct host *h = *state;

	for (unsigned k = 0; k < 4; k++) {
		uint64_t f = GUEST_F_DEFAULT | (k & 1 ? GUEST_F_PACKED : 0);
		struct guest_config ca = {.path = h->path[0],
					  .features = f,
					  .no_fd = true,
					  .layout28 = k & 2,
					  .queue_size = 64};
		struct guest_config cb = {.path = h->path[1]};
		static uint8_t out[1500], in[1500];
		struct guest *a, *b;
		int got;

		assert_int_equal(guest_open(&ca, &a), 0);
		assert_int_equal(guest_open(&cb, &b), 0);
		for (unsigned i = 0; i < 30; i++) {
			make_frame(a, b, out, 100 + i, i);
			assert_int_equal(guest_send(a, 0, NULL, out, 100 + i), 0);
			assert_int_equal(guest_tx_wait(a, 0, 5000), 0); /* serves the reads */
			got = guest_recv_wait(b, 0, NULL, in, sizeof(in), 5000);
			assert_int_equal(got, 100 + i);
			assert_memory_equal(in, out, 100 + i);
			make_frame(b, a, out, 200 + i, i);
			assert_int_equal(guest_send(b, 0, NULL, out, 200 + i), 0);
			got = guest_recv_wait(a, 0, NULL, in, sizeof(in), 5000);
			assert_int_equal(got, 200 + i);
			assert_memory_equal(in, out, 200 + i);
		}
		guest_close(a);
		guest_close(b);
	}
}

static void test_pairs(void **state)
{
	struct host *h = *state;
	struct guest_config c = {.path = h->path[0], .pairs = PAIRS};
	static uint8_t f[100], in[100];
	struct guest *a, *b;
	unsigned got = 0;

	assert_int_equal(guest_open(&c, &a), 0);
	c.path = h->path[1];
	assert_int_equal(guest_open(&c, &b), 0);
	for (unsigned pair = 0; pair < PAIRS; pair++) {
		make_frame(a, b, f, 100, pair);
		assert_int_equal(guest_send(a, pair, NULL, f, 100), 0);
		assert_int_equal(guest_tx_wait(a, pair, 5000), 0);
	}
	for (unsigned i = 0; i < 5000 && got < PAIRS; i++) {
		for (unsigned pair = 0; pair < PAIRS; pair++)
			got += guest_recv(b, pair, NULL, in, sizeof(in)) == 100;
		usleep(1000);
	}
	assert_int_equal(got, PAIRS);
	guest_close(a);
	guest_close(b);
}

static void see(void *opaque, const uint8_t *hdr, const uint8_t *frame, uint32_t part,
		uint32_t total)
{
	*(uint64_t *)opaque += total;
}

/* The copyless way, as a load generator uses it. */
static void test_stream(void **state)
{
	struct host *h = *state;
	struct guest_config c = {.path = h->path[0], .no_interrupts = true};
	unsigned sent = 0, got = 0, idle = 0, n = 20000;
	uint64_t bytes = 0;
	struct guest *a, *b;

	assert_int_equal(guest_open(&c, &a), 0);
	c.path = h->path[1];
	assert_int_equal(guest_open(&c, &b), 0);
	while ((sent < n || guest_tx_busy(a, 0)) || idle < 1000) {
		int slot, r;

		for (unsigned i = 0; i < 32 && sent < n && sent - got < 128; i++) {
			slot = guest_tx_slot(a, 0);
			if (slot < 0)
				break;
			memset(guest_tx_ptr(a, 0, (unsigned)slot), 0, guest_hdr_len(a));
			make_frame(a, b, guest_tx_ptr(a, 0, (unsigned)slot) + guest_hdr_len(a), 64,
				   sent++);
			guest_tx_post(a, 0, (unsigned)slot, guest_hdr_len(a) + 64);
		}
		guest_tx_flush(a, 0);
		r = guest_recv_burst(b, 0, 64, see, &bytes);
		assert_true(r >= 0);
		got += (unsigned)r;
		idle = r ? 0 : idle + 1;
		if (got == n)
			break;
		if (!r)
			sched_yield();
	}
	assert_int_equal(got, n);
	assert_int_equal(bytes, (uint64_t)n * 64);
	guest_close(a);
	guest_close(b);
}

/* A broken ring: this function needs a reset, the other goes on, and the reset mends it. */
static void test_broken_ring(void **state)
{
	struct host *h = *state;
	struct guest_config c = {.path = h->path[0]};
	struct guest *a, *b;
	uint8_t status = 0;

	assert_int_equal(guest_open(&c, &a), 0);
	c.path = h->path[1];
	assert_int_equal(guest_open(&c, &b), 0);
	gvq_add_one(guest_queue(a, 1), 0x10, 64, false, 0);
	guest_tx_flush(a, 0);
	for (unsigned i = 0; i < 3000 && !(status & 0x40); i++) {
		assert_int_equal(guest_status(a, &status), 0);
		usleep(1000);
	}
	assert_int_equal(status, 15 | 0x40);
	assert_int_equal(guest_status(b, &status), 0);
	assert_int_equal(status, 15);
	assert_int_equal(guest_start(a), 0);
	exchange(a, b, 20, 1000);
	guest_close(a);
	guest_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_kinds),  cmocka_unit_test(test_jumbo_into_small_buffers),
		cmocka_unit_test(test_polled),	    cmocka_unit_test(test_memory_without_fd),
		cmocka_unit_test(test_pairs),	    cmocka_unit_test(test_stream),
		cmocka_unit_test(test_broken_ring),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
