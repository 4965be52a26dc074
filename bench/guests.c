/* SPDX-License-Identifier: BSD-3-Clause */
#include "guests.h"

#include <errno.h>
#include <unistd.h>

#include "frame.h"
#include "peers/vhost_user.h"
#include "util/clock.h"

#define LET_GO_US   2000 /* the daemon notices that a client went when its control thread runs */
#define INTRODUCE   3	 /* frames that have to arrive */
#define ATTACH_S    5
#define ATTACH_WAIT 1000

static const uint8_t peer_macs[2][6] = {{2, 0, 0, 0, 0, 0xa}, {2, 0, 0, 0, 0, 0xb}};

/* ---- with the driver ---- */

static int peer_open(const struct bench *bench, const struct guest_config *cfg, struct pair *p)
{
	int err;

	p->peer = bench->peer;
	err = vhost_user_attach(p->peer[0], cfg, peer_macs[0], &p->a);
	if (err)
		return err;
	err = vhost_user_attach(p->peer[1], cfg, peer_macs[1], &p->b);
	if (err)
		vhost_user_detach(p->peer[0], p->a);
	return err;
}

/* A switch that learns addresses sends the first frames everywhere, and one whose ports have only
 * just come loses them: sends from one to the other, slowly, until some arrive. 0 or -errno. */
static int introduce(struct guest *from, struct guest *to)
{
	uint64_t end = clock_now_ns() + STUCK_S * NS_PER_S;
	unsigned got = 0;
	int slot, n;

	while (got < INTRODUCE) {
		if (clock_now_ns() > end)
			return -ETIMEDOUT;
		slot = guest_tx_slot(from, 0);
		if (slot < 0)
			return slot;
		frame_make(guest_tx_ptr(from, 0, (unsigned)slot), guest_hdr_len(from),
			   guest_mac(to), guest_mac(from), 64, false);
		guest_tx_post(from, 0, (unsigned)slot, guest_hdr_len(from) + 64);
		guest_tx_flush(from, 0);
		guest_tx_wait(from, 0, 1000);
		usleep(10000);
		n = guest_recv_burst(to, 0, RX_BURST, NULL, NULL);
		if (n < 0)
			return n;
		got += (unsigned)n;
	}
	return 0;
}

static int introduce_both(const struct pair *p)
{
	int err = introduce(p->b, p->a);

	if (!err)
		err = introduce(p->a, p->b);
	if (!err)
		err = introduce(p->b, p->a);
	/* what was sent everywhere */
	guest_recv_burst(p->b, 0, RX_BURST, NULL, NULL);
	return err;
}

int pair_open(const struct bench *bench, const struct bench_case *c, bool interrupts,
	      struct pair *p)
{
	struct guest_config cfg = {
		.features = GUEST_F_DEFAULT | (c->packed ? GUEST_F_PACKED : 0) |
			    (c->gso ? GUEST_F_CSUM | GUEST_F_GUEST_CSUM | GUEST_F_GUEST_TSO |
					      GUEST_F_HOST_TSO
				    : 0),
		.queue_size = (uint16_t)bench_ring(bench, c),
		.rx_buf_len = c->rx_buf,
		.tx_buf_len = c->tx_buf,
		.ioeventfd = c->ioeventfd || c->kind != IDLE,
		.no_interrupts = !interrupts,
	};
	int err;

	*p = (struct pair){NULL};
	if (bench->peer[0]) {
		err = peer_open(bench, &cfg, p);
		if (err)
			return err;
		err = introduce_both(p);
		if (err)
			pair_close(p);
		return err;
	}
	cfg.path = daemon_socket(&bench->daemon, "nic0/vf0");
	err = guest_open(&cfg, &p->a);
	if (err)
		return err;
	cfg.path = daemon_socket(&bench->daemon, "nic0/vf1");
	err = guest_open(&cfg, &p->b);
	if (err)
		guest_close(p->a);
	return err;
}

void pair_close(struct pair *p)
{
	if (p->peer) {
		vhost_user_detach(p->peer[0], p->a);
		vhost_user_detach(p->peer[1], p->b);
	} else {
		guest_close(p->a);
		guest_close(p->b);
	}
	usleep(LET_GO_US);
}

void pair_fill(const struct bench *bench, const struct bench_case *c, struct guest *from,
	       struct guest *to)
{
	for (unsigned i = 0; i < bench_ring(bench, c); i++)
		frame_make(guest_tx_ptr(from, 0, i), guest_hdr_len(from), guest_mac(to),
			   guest_mac(from), c->len, c->gso);
}

/* ---- light ---- */

/* The same for light ones. */
static int light_introduce(struct light *from, struct light *to)
{
	uint64_t end = clock_now_ns() + STUCK_S * NS_PER_S;
	unsigned got = 0;
	struct flow f;

	light_frame(from, to, 64, false);
	flow_begin(&f, from, to, 0);
	while (got < INTRODUCE) {
		if (clock_now_ns() > end)
			return -ETIMEDOUT;
		flow_turn(&f, 1);
		usleep(10000);
		got += flow_turn(&f, 0);
		f.sent = flow_got(&f); /* those that went nowhere */
	}
	light_offer(&to->rx, f.held);
	return 0;
}

static int light_introduce_both(struct light_pair *p)
{
	int err = light_introduce(&p->b, &p->a);

	if (!err)
		err = light_introduce(&p->a, &p->b);
	if (!err)
		err = light_introduce(&p->b, &p->a);
	light_offer(&p->b.rx, light_used(&p->b.rx)); /* what was sent everywhere */
	return err;
}

static int attach(struct light_config *cfg, struct light *l)
{
	uint64_t end = clock_now_ns() + ATTACH_S * NS_PER_S;
	int err;

	/* the one before may not have been noticed to be gone */
	do {
		err = light_open(cfg, l);
		if (err != -EBUSY && err != -ECONNRESET && err != -EPIPE)
			return err;
		usleep(ATTACH_WAIT);
	} while (clock_now_ns() < end);
	return err;
}

int light_pair_open(const struct bench *bench, const struct bench_case *c, struct light_pair *p)
{
	struct light_config cfg = {
		.packed = c->packed,
		.gso = c->gso,
		.queue_size = (uint16_t)bench_ring(bench, c),
		.rx_buf = c->rx_buf,
		.tx_buf = c->tx_buf,
		.rx_buffers = 64,
		.tx_buffers = bench_tx_buffers(bench, c),
		.peer = bench->peer[0],
		.mac = peer_macs[0],
	};
	int err;

	*p = (struct light_pair){0};
	if (!cfg.peer)
		cfg.path = daemon_socket(&bench->daemon, "nic0/vf0");
	err = attach(&cfg, &p->a);
	if (err)
		return err;
	cfg.tx_buffers = 1;
	cfg.rx_buffers = bench_rx_buffers(bench, c);
	cfg.peer = bench->peer[1];
	cfg.mac = peer_macs[1];
	if (!cfg.peer)
		cfg.path = daemon_socket(&bench->daemon, "nic0/vf1");
	err = attach(&cfg, &p->b);
	if (!err && cfg.peer)
		err = light_introduce_both(p);
	if (err) {
		light_pair_close(p);
		return err;
	}
	light_frame(&p->a, &p->b, c->len, c->gso);
	return 0;
}

void light_pair_close(struct light_pair *p)
{
	light_close(&p->a);
	light_close(&p->b);
	usleep(LET_GO_US);
}

int light_vf_open(const struct daemon_run *d, int vf, const struct bench_case *c, uint16_t ring,
		  uint32_t buffers, bool control, struct light *l)
{
	struct light_config cfg = {
		.packed = c->packed,
		.gso = c->gso,
		.control = control,
		.queue_size = ring,
		.rx_buf = c->rx_buf,
		.tx_buf = c->tx_buf,
		.rx_buffers = buffers,
		.tx_buffers = buffers,
	};
	char name[32];

	snprintf(name, sizeof(name), "nic0/vf%d", vf);
	cfg.path = daemon_socket(d, vf < 0 ? "nic0/pf" : name);
	return attach(&cfg, l);
}
