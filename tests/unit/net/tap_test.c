/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The TAP uplink, in a network namespace of its own; skipped where none may be made.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixture.h"
#include "net/csum.h"
#include "net/uplink.h"
#include "util/clock.h"

#define KEPT	256
#define WAIT_NS (5 * NS_PER_S)
#define HOST_IP 0x0a090001
#define VM_IP	0x0a090002
#define TAP	"soft0"

static struct {
	struct net_port *port;
	_Atomic unsigned n;
	struct record rec[KEPT];
	_Atomic int taking; /* deliver() from several queues' workers */
	unsigned link_changes;
} vm;

static bool have_ns;
static int ctl;
static struct net_switch *sw;
static struct net_uplink *up;
static struct worker_pool *pool;
static const uint8_t vm_mac[6] = {2, 0, 0, 0, 0, 1};
static char why[256];

static unsigned vm_deliver(struct net_port *port, struct net_frame *const *frames, unsigned n)
{
	while (atomic_exchange(&vm.taking, 1))
		sched_yield();
	for (unsigned i = 0; i < n; i++) {
		unsigned k = atomic_load(&vm.n);
		struct record *r = &vm.rec[k % KEPT];

		r->len = frames[i]->len;
		r->offload = frames[i]->offload;
		net_frame_copy(frames[i], 0, r->data, MIN(r->len, (uint32_t)sizeof(r->data)));
		atomic_store(&vm.n, k + 1);
	}
	atomic_store(&vm.taking, 0);
	return n;
}

static void vm_link(struct net_port *port, bool is_up)
{
	vm.link_changes++;
}

static const struct net_port_ops vm_ops = {.deliver = vm_deliver, .link_changed = vm_link};

static int start(const struct net_uplink_config *cfg)
{
	struct net_port_config pc = {"vm", NET_PORT_FUNCTION, &vm_ops, NULL};
	struct net_policy p;
	int err;

	memset(&vm, 0, sizeof(vm));
	assert_int_equal(worker_pool_create(2, &pool), 0);
	assert_int_equal(net_switch_create("nic", &sw), 0);
	net_policy_init(&p);
	memcpy(p.mac, vm_mac, 6);
	assert_int_equal(net_port_create(sw, &pc, &p, &vm.port), 0);
	net_port_set_active(vm.port, true);
	up = NULL;
	err = net_uplink_create(sw, cfg, pool, &up, why, sizeof(why));
	if (err)
		print_message("refused: %s\n", why);
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

static void need_ns(void)
{
	if (!have_ns)
		skip();
}

static int if_set(unsigned long request, struct ifreq *ifr)
{
	strcpy(ifr->ifr_name, TAP);
	return ioctl(ctl, request, ifr) < 0 ? -errno : 0;
}

static void set_host_ip(void)
{
	struct ifreq ifr = {0};
	struct sockaddr_in *sin = (struct sockaddr_in *)&ifr.ifr_addr;
	struct arpreq arp = {.arp_flags = ATF_COM | ATF_PERM};

	sin->sin_family = AF_INET;
	sin->sin_addr.s_addr = htonl(HOST_IP);
	assert_int_equal(if_set(SIOCSIFADDR, &ifr), 0);
	sin->sin_addr.s_addr = htonl(0xffffff00);
	assert_int_equal(if_set(SIOCSIFNETMASK, &ifr), 0);
	sin = (struct sockaddr_in *)&arp.arp_pa;
	sin->sin_family = AF_INET;
	sin->sin_addr.s_addr = htonl(VM_IP);
	arp.arp_ha.sa_family = ARPHRD_ETHER;
	memcpy(arp.arp_ha.sa_data, vm_mac, 6);
	strcpy(arp.arp_dev, TAP);
	assert_int_equal(ioctl(ctl, SIOCSARP, &arp), 0);
}

static void host_mac(uint8_t mac[6])
{
	struct ifreq ifr = {0};

	assert_int_equal(if_set(SIOCGIFHWADDR, &ifr), 0);
	memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
}

static int udp_socket(uint16_t port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct timeval tv = {.tv_sec = 5};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

/* UDP from the VM to the host with a partial checksum; gso_size 0: one datagram. */
static void send_udp(uint16_t sport, uint32_t payload, uint16_t gso_size)
{
	static uint8_t p[70000];
	uint8_t *ip = p + 14, *udp = ip + 20;
	struct net_seg segs[2];
	struct net_frame f;
	uint32_t len = 42 + payload;
	uint8_t pseudo[12];
	uint16_t sum;

	host_mac(p);
	memcpy(p + 6, vm_mac, 6);
	put_be16(p + 12, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put_be16(ip + 2, (uint16_t)(28 + payload));
	ip[8] = 64;
	ip[9] = 17;
	put_be32(ip + 12, VM_IP);
	put_be32(ip + 16, HOST_IP);
	sum = (uint16_t)~csum_fold(csum_add(0, ip, 20));
	memcpy(ip + 10, &sum, 2);
	put_be16(udp, sport);
	put_be16(udp + 2, 5000);
	put_be16(udp + 4, (uint16_t)(8 + payload));
	memcpy(pseudo, ip + 12, 8);
	put_be16(pseudo + 8, 17);
	put_be16(pseudo + 10, (uint16_t)(8 + payload));
	sum = csum_fold(csum_add(0, pseudo, 12));
	memcpy(udp + 6, &sum, 2);
	for (uint32_t i = 0; i < payload; i++)
		p[42 + i] = (uint8_t)(i / 7);
	frame_reset(&f);
	f.len = len;
	f.head_len = (uint16_t)MIN(len, (uint32_t)NET_HEAD_MAX);
	memcpy(net_frame_head(&f), p, f.head_len);
	segs[0] = (struct net_seg){p + f.head_len, (len - f.head_len) / 3};
	segs[1] = (struct net_seg){segs[0].ptr + segs[0].len, len - f.head_len - segs[0].len};
	f.segs = segs;
	f.nsegs = len > f.head_len ? 2 : 0;
	f.offload = (struct net_offload){.needs_csum = true,
					 .csum_start = 34,
					 .csum_offset = 6,
					 .hdr_len = 42,
					 .gso_type = gso_size ? NET_GSO_UDP_L4 : 0,
					 .gso_size = gso_size};
	net_port_input(vm.port, &f, 1);
}

static void expect_udp(int fd, uint32_t off, int len)
{
	uint8_t buf[70000];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	assert_int_equal(n, len);
	for (int i = 0; i < len; i++)
		assert_int_equal(buf[i], (uint8_t)((off + (uint32_t)i) / 7));
}

static bool is_udp(const struct record *r)
{
	return r->len >= 42 && get_be16(r->data + 12) == 0x0800 && r->data[23] == 17;
}

static unsigned await_udp(unsigned want, struct record *last)
{
	uint64_t end = clock_now_ns() + WAIT_NS;
	unsigned n = 0;

	while (n < want && clock_now_ns() < end) {
		usleep(1000);
		n = 0;
		for (unsigned i = 0; i < atomic_load(&vm.n) && i < KEPT; i++) {
			if (is_udp(&vm.rec[i])) {
				*last = vm.rec[i];
				n++;
			}
		}
	}
	return n;
}

static void frames_cross_both_ways(void **state)
{
	struct net_uplink_config cfg = {
		.type = NET_UPLINK_TAP, .name = TAP, .queues = 1, .mtu = 9000};
	struct sockaddr_in vm_addr = {
		.sin_family = AF_INET, .sin_port = htons(7), .sin_addr.s_addr = htonl(VM_IP)};
	struct net_port_stats s;
	struct ifreq ifr = {0};
	struct record r;
	uint8_t buf[8000] = {0};
	int fd;

	need_ns();
	assert_int_equal(start(&cfg), 0);
	assert_int_equal(if_set(SIOCGIFFLAGS, &ifr), 0);
	assert_true(ifr.ifr_flags & IFF_UP);
	assert_int_equal(if_set(SIOCGIFMTU, &ifr), 0);
	assert_int_equal(ifr.ifr_mtu, 9000);
	assert_true(net_port_link_up(vm.port));
	set_host_ip();
	fd = udp_socket(5000);
	/* out: small, in pieces, and as one USO frame that the kernel (or we) cut */
	send_udp(1, 20, 0);
	expect_udp(fd, 0, 20);
	send_udp(1, 8000, 0);
	expect_udp(fd, 0, 8000);
	send_udp(1, 2500, 1000);
	expect_udp(fd, 0, 1000);
	expect_udp(fd, 1000, 1000);
	expect_udp(fd, 2000, 500);
	/* in: with the checksum left to us */
	assert_int_equal(
		sendto(fd, buf, sizeof(buf), 0, (struct sockaddr *)&vm_addr, sizeof(vm_addr)),
		sizeof(buf));
	assert_int_equal(await_udp(1, &r), 1);
	assert_int_equal(r.len, 42 + sizeof(buf));
	assert_memory_equal(r.data, vm_mac, 6);
	assert_true(r.offload.needs_csum);
	assert_int_equal(r.offload.csum_start, 34);
	assert_int_equal(r.offload.csum_offset, 6);
	net_port_get_stats(net_uplink_port(up), &s);
	assert_int_equal(net_port_stats_rx_dropped(&s), 0);
	assert_true(s.tx_packets >= 1);
	assert_int_equal(s.rx_packets, 3);
	close(fd);
	stop();
}

static void carrier_follows_the_interface(void **state)
{
	struct net_uplink_config cfg = {.type = NET_UPLINK_TAP, .name = TAP, .queues = 1};
	struct net_policy p;
	struct ifreq ifr = {0};

	need_ns();
	assert_int_equal(start(&cfg), 0);
	assert_true(net_port_link_up(vm.port));
	vm.link_changes = 0;
	assert_int_equal(if_set(SIOCGIFFLAGS, &ifr), 0);
	ifr.ifr_flags &= ~IFF_UP;
	assert_int_equal(if_set(SIOCSIFFLAGS, &ifr), 0);
	net_switch_age(sw);
	assert_false(net_port_link_up(vm.port));
	assert_int_equal(vm.link_changes, 1);
	/* a write the kernel refuses is counted there */
	p = *net_port_policy(net_uplink_port(up));
	p.link = NET_LINK_ENABLE;
	assert_int_equal(net_port_set_policy(net_uplink_port(up), &p), 0);
	p = *net_port_policy(vm.port);
	p.link = NET_LINK_ENABLE;
	assert_int_equal(net_port_set_policy(vm.port, &p), 0);
	send_udp(1, 20, 0);
	{
		struct net_port_stats s;

		net_port_get_stats(net_uplink_port(up), &s);
		assert_int_equal(s.drops[NET_DROP_RX_LINK_DOWN], 1);
		assert_int_equal(s.rx_packets, 0);
	}
	ifr.ifr_flags |= IFF_UP;
	assert_int_equal(if_set(SIOCSIFFLAGS, &ifr), 0);
	net_switch_age(sw);
	assert_true(net_port_link_up(vm.port));
	stop();
	/* ours to begin with: gone with us */
	assert_int_equal(if_set(SIOCGIFINDEX, &ifr), -ENODEV);
}

static void several_queues(void **state)
{
	struct net_uplink_config cfg = {.type = NET_UPLINK_TAP, .name = TAP, .queues = 4};
	struct sockaddr_in vm_addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(VM_IP)};
	struct record r;
	int fd;

	need_ns();
	assert_int_equal(start(&cfg), 0);
	assert_int_equal(worker_pool_size(pool), 2);
	set_host_ip();
	fd = udp_socket(5000);
	for (unsigned i = 0; i < 40; i++) {
		send_udp((uint16_t)(i + 1), 30, 0);
		expect_udp(fd, 0, 30);
	}
	for (unsigned i = 0; i < 40; i++) {
		vm_addr.sin_port = htons((uint16_t)(i + 1));
		assert_int_equal(
			sendto(fd, "x", 1, 0, (struct sockaddr *)&vm_addr, sizeof(vm_addr)), 1);
	}
	assert_int_equal(await_udp(40, &r), 40);
	close(fd);
	stop();
}

static void refusals_name_the_remedy(void **state)
{
	struct net_uplink_config cfg = {.type = NET_UPLINK_TAP, .name = TAP, .queues = 1};
	struct net_uplink_config cfg2 = cfg;
	struct net_uplink *second;

	need_ns();
	assert_int_equal(start(&cfg), 0);
	/* taken already */
	assert_int_equal(net_uplink_create(sw, &cfg2, pool, &second, why, sizeof(why)), -EBUSY);
	assert_non_null(strstr(why, "in use"));
	/* not a TAP */
	strcpy(cfg2.name, "lo");
	assert_true(net_uplink_create(sw, &cfg2, pool, &second, why, sizeof(why)) < 0);
	assert_non_null(strstr(why, "lo"));
	cfg2.name[0] = '\0';
	assert_int_equal(net_uplink_create(sw, &cfg2, pool, &second, why, sizeof(why)), -EINVAL);
	strcpy(cfg2.name, "soft1");
	cfg2.queues = 17;
	assert_int_equal(net_uplink_create(sw, &cfg2, pool, &second, why, sizeof(why)), -EINVAL);
	cfg2.queues = 1;
	cfg2.mtu = 1; /* below the least; what was opened is closed again */
	assert_true(net_uplink_create(sw, &cfg2, pool, &second, why, sizeof(why)) < 0);
	assert_non_null(strstr(why, "ip link set soft1 mtu 1"));
	assert_int_equal(if_nametoindex("soft1"), 0);
	stop();
}

static void enter_ns(void)
{
	/* a sanitizer's own thread forbids a user namespace */
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) && unshare(CLONE_NEWNET))
		return;
	ctl = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	have_ns = ctl >= 0;
	if (have_ns)
		close(ctl);
	ctl = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_cross_both_ways),
		cmocka_unit_test(carrier_follows_the_interface),
		cmocka_unit_test(several_queues),
		cmocka_unit_test(refusals_name_the_remedy),
	};

	enter_ns();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
