/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The user uplink: a dummy function speaks ARP, DHCP and UDP to libslirp.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixture.h"
#include "net/csum.h"
#include "net/uplink.h"
#include "util/clock.h"

#define WAIT_NS (5 * NS_PER_S)
#define KEPT	64

/* The function: keeps what it gets; a lock, since slirp's worker delivers. */
static struct {
	struct net_port *port;
	_Atomic unsigned n;
	uint32_t len[KEPT];
	uint8_t data[KEPT][2048];
} vm;

static struct net_switch *sw;
static struct net_uplink *up;
static struct worker_pool *pool;
static const uint8_t vm_mac[6] = {2, 0, 0, 0, 0, 1};
static uint8_t gw_mac[6];

static unsigned vm_deliver(struct net_port *port, struct net_frame *const *frames, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned k = atomic_load(&vm.n);

		if (k == KEPT || frames[i]->len > sizeof(vm.data[0]))
			return i;
		net_frame_copy(frames[i], 0, vm.data[k], frames[i]->len);
		vm.len[k] = frames[i]->len;
		atomic_store(&vm.n, k + 1);
	}
	return n;
}

static const struct net_port_ops vm_ops = {.deliver = vm_deliver};

static int start(const struct net_uplink_config *cfg, char *why)
{
	struct net_port_config pc = {"vm", NET_PORT_FUNCTION, &vm_ops, NULL};
	struct net_policy p;
	int err;

	memset(&vm, 0, sizeof(vm));
	assert_int_equal(worker_pool_create(1, &pool), 0);
	assert_int_equal(net_switch_create("nic", &sw), 0);
	net_policy_init(&p);
	memcpy(p.mac, vm_mac, 6);
	assert_int_equal(net_port_create(sw, &pc, &p, &vm.port), 0);
	net_port_set_active(vm.port, true);
	err = net_uplink_create(sw, cfg, pool, &up, why, 256);
	if (err)
		up = NULL;
	return err;
}

static void stop(void)
{
	if (up)
		net_uplink_destroy(up);
	net_port_destroy(vm.port);
	net_switch_destroy(sw);
	worker_pool_destroy(pool);
}

/* The first frame kept from *from on that match() likes, within WAIT_NS. */
static const uint8_t *await(unsigned *from, bool (*match)(const uint8_t *p, uint32_t len))
{
	uint64_t end = clock_now_ns() + WAIT_NS;

	while (clock_now_ns() < end) {
		for (; *from < atomic_load(&vm.n); ++*from)
			if (match(vm.data[*from], vm.len[*from]))
				return vm.data[(*from)++];
		usleep(1000);
	}
	return NULL;
}

static void send_bytes(const uint8_t *p, uint32_t len)
{
	struct net_frame f;
	struct net_seg seg;

	frame_reset(&f);
	f.len = len;
	f.head_len = (uint16_t)MIN(len, (uint32_t)NET_HEAD_MAX);
	memcpy(net_frame_head(&f), p, f.head_len);
	seg = (struct net_seg){p + f.head_len, len - f.head_len};
	f.segs = &seg;
	f.nsegs = len > f.head_len;
	net_port_input(vm.port, &f, 1);
}

static uint32_t make_udp(uint8_t *p, const uint8_t *dmac, uint32_t src, uint32_t dst,
			 uint16_t sport, uint16_t dport, uint32_t payload)
{
	uint8_t *ip = p + 14, *udp = ip + 20;
	uint16_t sum;

	memcpy(p, dmac, 6);
	memcpy(p + 6, vm_mac, 6);
	put_be16(p + 12, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put_be16(ip + 2, (uint16_t)(28 + payload));
	ip[8] = 64;
	ip[9] = 17;
	put_be32(ip + 12, src);
	put_be32(ip + 16, dst);
	sum = (uint16_t)~csum_fold(csum_add(0, ip, 20));
	memcpy(ip + 10, &sum, 2);
	put_be16(udp, sport);
	put_be16(udp + 2, dport);
	put_be16(udp + 4, (uint16_t)(8 + payload));
	put_be16(udp + 6, 0);
	return 42 + payload;
}

static bool is_arp_reply(const uint8_t *p, uint32_t len)
{
	return len >= 42 && get_be16(p + 12) == 0x0806 && get_be16(p + 20) == 2;
}

static void learn_gateway(void)
{
	uint8_t arp[42] = {0};
	unsigned from = 0;
	const uint8_t *reply;

	memcpy(arp, mac_bcast, 6);
	memcpy(arp + 6, vm_mac, 6);
	put_be16(arp + 12, 0x0806);
	put_be32(arp + 14, 0x00010800);
	put_be32(arp + 18, 0x06040001);
	memcpy(arp + 22, vm_mac, 6);
	put_be32(arp + 28, 0x0a00020f);
	put_be32(arp + 38, 0x0a000202);
	send_bytes(arp, sizeof(arp));
	reply = await(&from, is_arp_reply);
	assert_non_null(reply);
	assert_int_equal(get_be32(reply + 28), 0x0a000202);
	memcpy(gw_mac, reply + 22, 6);
}

static void arp_is_answered(void **state)
{
	struct net_uplink_config cfg = {.type = NET_UPLINK_USER};
	char why[256];

	assert_int_equal(start(&cfg, why), 0);
	assert_string_equal(net_port_name(net_uplink_port(up)), "nic/uplink");
	assert_true(net_port_link_up(vm.port));
	learn_gateway();
	stop();
}

static bool is_offer(const uint8_t *p, uint32_t len)
{
	return len > 282 && get_be16(p + 12) == 0x0800 && p[23] == 17 && get_be16(p + 36) == 68 &&
	       p[42] == 2;
}

static void dhcp_discover_gets_an_offer(void **state)
{
	struct net_uplink_config cfg = {.type = NET_UPLINK_USER, .net = "192.168.7.0/24"};
	static const uint8_t options[] = {0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255};
	uint8_t p[400] = {0};
	const uint8_t *offer;
	unsigned from = 0;
	uint32_t len;
	char why[256];

	assert_int_equal(start(&cfg, why), 0);
	len = make_udp(p, mac_bcast, 0, 0xffffffff, 68, 67, 300);
	p[42] = 1;
	p[43] = 1;
	p[44] = 6;
	put_be32(p + 46, 0x12345678);
	memcpy(p + 42 + 28, vm_mac, 6);
	memcpy(p + 42 + 236, options, sizeof(options));
	send_bytes(p, len);
	offer = await(&from, is_offer);
	assert_non_null(offer);
	assert_int_equal(get_be32(offer + 46), 0x12345678);
	assert_int_equal(get_be32(offer + 42 + 16), 0xc0a8070f); /* yiaddr: the first, .15 */
	assert_int_equal(offer[42 + 240], 53);
	assert_int_equal(offer[42 + 242], 2);
	stop();
}

static bool is_echo(const uint8_t *p, uint32_t len)
{
	return len >= 46 && get_be16(p + 12) == 0x0800 && p[23] == 17 &&
	       get_be32(p + 42) == 0xfeedbeef;
}

static int host_socket(struct sockaddr_in *sin)
{
	socklen_t len = sizeof(*sin);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct timeval tv = {.tv_sec = 5};

	memset(sin, 0, sizeof(*sin));
	sin->sin_family = AF_INET;
	sin->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)sin, sizeof(*sin)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)sin, &len), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

/* A UDP exchange with a socket of the host through the gateway address. The frames are cut from
 * one USO frame with partial checksums, so slirp sees what we completed. */
static void host_loopback(bool allowed)
{
	struct net_uplink_config cfg = {.type = NET_UPLINK_USER, .host_loopback = allowed};
	struct sockaddr_in sin, peer;
	socklen_t plen = sizeof(peer);
	struct net_frame f;
	uint8_t p[3042], buf[2048];
	struct net_seg seg = {p + 60, 0};
	unsigned from = 0;
	int fd = host_socket(&sin);
	char why[256];
	uint32_t len;

	assert_int_equal(start(&cfg, why), 0);
	learn_gateway();
	len = make_udp(p, gw_mac, 0x0a00020f, 0x0a000202, 4000, ntohs(sin.sin_port), 2500);
	for (unsigned i = 0; i < 2500; i++)
		p[42 + i] = (uint8_t)(i / 10);
	frame_reset(&f);
	memcpy(net_frame_head(&f), p, 60);
	f.len = len;
	f.head_len = 60;
	seg.len = len - 60;
	f.segs = &seg;
	f.nsegs = 1;
	f.offload = (struct net_offload){.needs_csum = true,
					 .gso_type = NET_GSO_UDP_L4,
					 .gso_size = 1000,
					 .csum_start = 34,
					 .csum_offset = 6};
	net_port_input(vm.port, &f, 1);
	if (!allowed) {
		struct timeval tv = {.tv_usec = 300000};

		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
		assert_true(recv(fd, buf, sizeof(buf), 0) < 0);
	} else {
		for (unsigned i = 0; i < 3; i++) {
			ssize_t n =
				recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&peer, &plen);

			assert_int_equal(n, i == 2 ? 500 : 1000);
			assert_memory_equal(buf, p + 42 + 1000 * i, (size_t)n);
		}
		put_be32(buf, 0xfeedbeef);
		assert_int_equal(sendto(fd, buf, 100, 0, (struct sockaddr *)&peer, plen), 100);
		assert_non_null(await(&from, is_echo));
	}
	close(fd);
	stop();
}

static void udp_to_the_host(void **state)
{
	host_loopback(true);
}

static void host_loopback_is_off_by_default(void **state)
{
	host_loopback(false);
}

static void forward_reaches_the_vm(void **state)
{
	struct net_uplink_config cfg = {.type = NET_UPLINK_USER, .n_forwards = 1};
	struct sockaddr_in sin;
	int fd = host_socket(&sin);
	unsigned from = 0;
	char why[256];
	const uint32_t magic = htonl(0xfeedbeef);
	uint16_t port = ntohs(sin.sin_port);

	/* the port is taken: refused, by name */
	cfg.forwards[0] =
		(struct net_uplink_forward){.udp = true, .host_port = port, .guest_port = 7};
	assert_true(start(&cfg, why) < 0);
	assert_non_null(strstr(why, "port forward from udp 127.0.0.1"));
	stop();
	close(fd);
	assert_int_equal(start(&cfg, why), 0);
	learn_gateway();
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(sendto(fd, &magic, 4, 0, (struct sockaddr *)&sin, sizeof(sin)), 4);
	assert_non_null(await(&from, is_echo));
	close(fd);
	stop();
}

static void limits_are_counted(void **state)
{
	struct net_uplink_config cfg = {.type = NET_UPLINK_USER, .net6 = "none"};
	struct net_port_stats s;
	struct net_frame f[NET_BURST];
	uint8_t p[2000] = {0};
	char why[256];
	unsigned k;

	assert_int_equal(start(&cfg, why), 0);
	learn_gateway();
	make_udp(p, gw_mac, 0x0a00020f, 0x0a000202, 1, 2, 1900);
	send_bytes(p, 1515);
	net_port_get_stats(net_uplink_port(up), &s);
	assert_int_equal(s.drops[NET_DROP_RX_TOO_BIG], 1);
	/* faster than slirp takes it, at some time at least: bounded, and counted */
	for (k = 0; k < 2000 || (k < 2000000 && !s.drops[NET_DROP_RX_RATE]); k++) {
		for (unsigned i = 0; i < NET_BURST; i++) {
			frame_eth(&f[i], gw_mac, vm_mac, 0, 0, 0x0800, 64);
			net_frame_head(&f[i])[14] = (uint8_t)i; /* rubbish */
		}
		net_port_input(vm.port, f, NET_BURST);
		net_port_get_stats(net_uplink_port(up), &s);
	}
	assert_true(s.drops[NET_DROP_RX_RATE] > 0);
	assert_int_equal(s.rx_packets + s.drops[NET_DROP_RX_RATE] + 1, k * NET_BURST + 2);
	/* tagged frames have nowhere to go */
	frame_eth(&f[0], mac_bcast, vm_mac, TAG_Q(5), 0, 0x0800, 64);
	net_port_input(vm.port, f, 1);
	usleep(100000);
	atomic_store(&vm.n, 0);
	learn_gateway(); /* still alive */
	stop();
}

/* A frame that finds the ring full is dropped as it is, not cut first while others wait. */
static void full_ring_costs_little(void **state)
{
	struct net_uplink_config cfg = {.type = NET_UPLINK_USER, .net6 = "none"};
	static uint8_t p[64000];
	struct net_seg seg = {p + NET_HEAD_MAX, sizeof(p) - NET_HEAD_MAX};
	const uint64_t sent = 3000, pieces = sizeof(p) / 1400 + 1;
	struct net_port_stats before, s;
	struct net_frame f;
	char why[256];

	assert_int_equal(start(&cfg, why), 0);
	learn_gateway();
	make_udp(p, gw_mac, 0x0a00020f, 0x0a000202, 1, 2, 8);
	p[14 + 9] = 6;
	p[34 + 12] = 5 << 4;
	p[34 + 13] = 4; /* RST: nobody answers */
	net_port_get_stats(net_uplink_port(up), &before);
	for (unsigned i = 0; i < sent; i++) {
		frame_reset(&f);
		f.len = sizeof(p);
		f.head_len = NET_HEAD_MAX;
		memcpy(net_frame_head(&f), p, NET_HEAD_MAX);
		f.segs = &seg;
		f.nsegs = 1;
		f.offload = (struct net_offload){.needs_csum = true,
						 .csum_start = 34,
						 .csum_offset = 16,
						 .gso_type = NET_GSO_TCPV4,
						 .gso_size = 1400};
		net_port_input(vm.port, &f, 1);
	}
	net_port_get_stats(net_uplink_port(up), &s);
	s.rx_packets -= before.rx_packets;
	assert_in_range(s.rx_packets, 1, sent);
	/* one drop for a frame that was not taken, some for the pieces of one that was in part */
	assert_in_range(s.drops[NET_DROP_RX_RATE], sent - s.rx_packets,
			sent - s.rx_packets + pieces * s.rx_packets);
	stop();
}

static void bad_configuration_is_refused(void **state)
{
	static const char *const nets[] = {"10.0.2.0", "10.0.2.0/30",  "10.0.2/24",
					   "x/24",     "10.0.2.0/24x", "10.0.2.0/"};
	struct net_uplink_config cfg = {.type = NET_UPLINK_USER};
	char why[256];

	for (unsigned i = 0; i < ARRAY_SIZE(nets); i++) {
		strcpy(cfg.net, nets[i]);
		assert_int_equal(start(&cfg, why), -EINVAL);
		assert_non_null(strstr(why, nets[i]));
		stop();
	}
	cfg.net[0] = '\0';
	strcpy(cfg.net6, "fd00::/48");
	assert_int_equal(start(&cfg, why), -EINVAL);
	assert_non_null(strstr(why, "net6"));
	stop();
	cfg.net6[0] = '\0';
	cfg.n_forwards = 1;
	strcpy(cfg.forwards[0].host_addr, "nowhere");
	cfg.forwards[0].guest_port = 1;
	assert_int_equal(start(&cfg, why), -EINVAL);
	assert_non_null(strstr(why, "nowhere"));
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arp_is_answered),
		cmocka_unit_test(dhcp_discover_gets_an_offer),
		cmocka_unit_test(udp_to_the_host),
		cmocka_unit_test(host_loopback_is_off_by_default),
		cmocka_unit_test(forward_reaches_the_vm),
		cmocka_unit_test(limits_are_counted),
		cmocka_unit_test(full_ring_costs_little),
		cmocka_unit_test(bad_configuration_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
