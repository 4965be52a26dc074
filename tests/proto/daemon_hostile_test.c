/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guests that misbehave or die at a real daemon, while an honest pair exchanges frames of which
 * none may be lost.
 *
 *   daemon_hostile_test SOFTIOVD              runs the tests
 *   daemon_hostile_test victim DIR KIND       sends as fast as it can until it is killed
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon_pair.h"
#include "support/guest_private.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/util.h"

#define NEEDS_RESET 0x40
#define KILLS	    50
#define HAMMER_NS   (4 * NS_PER_S)
#define VMD_BARS    3
#define SHADOW	    0x2000
#define WINDOW2	    0x2010
#define MEMORY	    (4u << 20)

static const char config[] = "devices:\n"
			     "  nic0: {type: ethernet, total-vfs: 8, num-vfs: 8}\n"
			     "  nic1: {type: ethernet, total-vfs: 8}\n"
			     "  nic2: {type: ethernet, total-vfs: 4}\n"
			     "roots:\n"
			     "  host0: {devices: [nic1, nic2]}\n";

static const char *softiovd;
static char self[512];
static struct daemon_run run;
static struct pump pump;

static const struct guest_config split_cfg = {.ioeventfd = true};
static const struct guest_config packed_cfg = {.ioeventfd = true,
					       .features = GUEST_F_DEFAULT | GUEST_F_PACKED};

static int setup(void **state)
{
	if (daemon_start(&run, softiovd, config, -1))
		return -1;
	if (pair_open(&run, "nic0/vf0", split_cfg, &pump.a) ||
	    pair_open(&run, "nic0/vf1", packed_cfg, &pump.b))
		return -1;
	return pump_start(&pump);
}

static int teardown(void **state)
{
	int err = pump_stop(&pump);

	if (err)
		print_message("# the honest pair: %s\n", strerror(-err));
	print_message("# the honest pair exchanged %lu frames\n", (unsigned long)pump.frames);
	guest_close(pump.a);
	guest_close(pump.b);
	return daemon_stop(&run) || err ? -1 : 0;
}

/* ---- rings that break the rules ---- */

/* A driver's areas are guest memory that the device may read at any time. */
static void poke16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, htole16(v), __ATOMIC_RELEASE);
}

static void kick_tx(struct guest *g)
{
	guest_kick(g, 1);
}

static void publish_tx(struct guest *g)
{
	gvq_publish(guest_queue(g, 1));
	kick_tx(g);
}

static void unmapped_address(struct guest *g, struct guest *peer)
{
	gvq_add_one(guest_queue(g, 1), 0xdead00000000ull, 100, false, 0);
	publish_tx(g);
}

static void address_wraps(struct guest *g, struct guest *peer)
{
	gvq_add_one(guest_queue(g, 1), UINT64_MAX - 50, 100, false, 0);
	publish_tx(g);
}

static void beyond_the_end(struct guest *g, struct guest *peer)
{
	gvq_add_one(guest_queue(g, 1), GUEST_BASE + g->mem_len - 50, 100, false, 0);
	publish_tx(g);
}

static void empty_descriptor(struct guest *g, struct guest *peer)
{
	gvq_add_one(guest_queue(g, 1), GUEST_BASE, 0, false, 0);
	publish_tx(g);
}

/* A split ring's index runs away. */
static void index_jumps(struct guest *g, struct guest *peer)
{
	poke16(guest_queue(g, 1)->driver + 2, 5000);
	kick_tx(g);
}

static void head_out_of_range(struct guest *g, struct guest *peer)
{
	struct gvq *q = guest_queue(g, 1);

	poke16(q->driver + 4, 0xfff0);
	poke16(q->driver + 2, 1);
	kick_tx(g);
}

static void chain_is_a_loop(struct guest *g, struct guest *peer)
{
	struct gvq *q = guest_queue(g, 1);
	struct vring_desc *d = (struct vring_desc *)q->desc;

	d[0] = (struct vring_desc){htole64(GUEST_BASE), htole32(64), htole16(VRING_DESC_F_NEXT),
				   htole16(0)};
	poke16(q->driver + 4, 0);
	poke16(q->driver + 2, 1);
	kick_tx(g);
}

/* The receive ring: it shows when somebody sends something. */
static void receive_index_jumps(struct guest *g, struct guest *peer)
{
	uint8_t frame[60] = {0};

	poke16(guest_queue(g, 0)->driver + 2, 30000);
	memcpy(frame, guest_mac(g), 6);
	memcpy(frame + 6, guest_mac(peer), 6);
	/* What the device has cached of the ring is used up first. */
	for (unsigned i = 0; i < 400; i++) {
		guest_send(peer, 0, NULL, frame, sizeof(frame));
		assert_int_equal(guest_tx_wait(peer, 0, PAIR_TIMEOUT_MS), 0);
	}
}

static const struct {
	const char *name;
	void (*misbehave)(struct guest *g, struct guest *peer);
	bool packed_too;
} attacks[] = {
	{"unmapped address", unmapped_address, true},
	{"address wraps", address_wraps, true},
	{"beyond the end", beyond_the_end, true},
	{"empty descriptor", empty_descriptor, true},
	{"index jumps", index_jumps, false},
	{"head out of range", head_out_of_range, false},
	{"chain is a loop", chain_is_a_loop, false},
	{"receive index jumps", receive_index_jumps, false},
};

static bool wait_needs_reset(struct guest *g)
{
	uint64_t end = clock_now_ns() + PAIR_TIMEOUT_MS * NS_PER_MS;
	uint8_t status = 0;

	while (clock_now_ns() < end) {
		assert_int_equal(guest_status(g, &status), 0);
		if (status & NEEDS_RESET)
			return true;
		usleep(1000);
	}
	return false;
}

static bool needs_reset(struct guest *g)
{
	uint8_t status = 0;

	assert_int_equal(guest_status(g, &status), 0);
	return status & NEEDS_RESET;
}

static void attack(unsigned i, const struct guest_config *cfg)
{
	struct guest *g, *peer;
	struct pollfd irq;
	uint32_t seq = 0;

	assert_int_equal(pair_open(&run, "nic0/vf2", *cfg, &g), 0);
	assert_int_equal(pair_open(&run, "nic0/vf3", split_cfg, &peer), 0);
	attacks[i].misbehave(g, peer);
	if (!wait_needs_reset(g))
		fail_msg("%s: not noticed", attacks[i].name);
	/* It is told by an interrupt too (virtio 1.3, 2.1.2). */
	irq = (struct pollfd){guest_irq_fd(g, -1), POLLIN, 0};
	assert_int_equal(poll(&irq, 1, PAIR_TIMEOUT_MS), 1);
	assert_false(needs_reset(peer));
	assert_int_equal(pump_wait(&pump, 200), 0);
	/* A reset makes it right. */
	assert_int_equal(guest_start(g), 0);
	assert_int_equal(pair_exchange(g, peer, 50, &seq), 0);
	assert_int_equal(pair_exchange(peer, g, 50, &seq), 0);
	guest_close(g);
	guest_close(peer);
}

static void broken_rings(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(attacks); i++) {
		attack(i, &split_cfg);
		if (attacks[i].packed_too)
			attack(i, &packed_cfg);
	}
}

/* The memory file becomes short under the device: only this function suffers. */
static void truncated_memory(void **state)
{
	struct guest *g, *peer;
	uint8_t frame[60] = {0};
	uint32_t seq = 0;

	assert_int_equal(pair_open(&run, "nic0/vf2", split_cfg, &g), 0);
	assert_int_equal(pair_open(&run, "nic0/vf3", split_cfg, &peer), 0);
	memcpy(frame, guest_mac(g), 6);
	memcpy(frame + 6, guest_mac(peer), 6);
	assert_int_equal(ftruncate(g->mem_fd, 0), 0);
	for (unsigned i = 0; i < 100; i++) {
		guest_send(peer, 0, NULL, frame, sizeof(frame));
		assert_int_equal(guest_tx_wait(peer, 0, PAIR_TIMEOUT_MS), 0);
	}
	assert_int_equal(pump_wait(&pump, 200), 0);
	assert_false(needs_reset(peer));
	guest_close(g);
	assert_int_equal(pair_open(&run, "nic0/vf2", split_cfg, &g), 0);
	assert_int_equal(pair_exchange(g, peer, 50, &seq), 0);
	guest_close(g);
	guest_close(peer);
}

/* ---- clients that die ---- */

static pid_t start_victim(unsigned kind, int *ready)
{
	char word[8];
	int fds[2];
	pid_t pid;

	snprintf(word, sizeof(word), "%u", kind);
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(fds[1], 1);
		close(fds[0]);
		close(fds[1]);
		execl(self, self, "victim", run.dir, word, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	*ready = fds[0];
	return pid;
}

static int victim(const char *dir, unsigned kind)
{
	struct guest_config cfg = kind & 1 ? packed_cfg : split_cfg;
	struct daemon_run d = {0};
	struct guest *a, *b;
	uint8_t frame[1514] = {0};
	bool told = false;
	int n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(120);
	cfg.ioeventfd = kind & 2;
	cfg.no_interrupts = kind & 4;
	snprintf(d.dir, sizeof(d.dir), "%s", dir);
	if (pair_open(&d, "nic0/vf2", cfg, &a) || pair_open(&d, "nic0/vf3", cfg, &b))
		return 1;
	memcpy(frame, guest_mac(b), 6);
	memcpy(frame + 6, guest_mac(a), 6);
	for (;;) {
		for (unsigned i = 0; i < 64; i++)
			if (guest_send(a, 0, NULL, frame, sizeof(frame)))
				break;
		n = guest_recv_burst(b, 0, 64, NULL, NULL);
		if (n < 0)
			return 1;
		if (n > 0 && !told && write(1, "x", 1) != 1)
			return 1;
		told |= n > 0;
	}
}

static void killed_in_mid_traffic(void **state)
{
	int files = daemon_files(&run), ready, status;
	struct guest *a, *b;
	uint32_t seq = 0;
	uint64_t end;
	pid_t pid;
	char c;

	srandom(1);
	for (unsigned i = 0; i < KILLS; i++) {
		pid = start_victim(i, &ready);
		if (read(ready, &c, 1) != 1)
			fail_msg("victim %u ended by itself", i);
		usleep((useconds_t)(random() % 5000));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		close(ready);
	}
	assert_int_equal(pump_wait(&pump, 200), 0);
	assert_int_equal(pair_open(&run, "nic0/vf2", packed_cfg, &a), 0);
	assert_int_equal(pair_open(&run, "nic0/vf3", split_cfg, &b), 0);
	assert_int_equal(pair_exchange(a, b, 100, &seq), 0);
	assert_int_equal(pair_exchange(b, a, 100, &seq), 0);
	guest_close(a);
	guest_close(b);
	/* Nothing of them is left. */
	end = clock_now_ns() + PAIR_TIMEOUT_MS * NS_PER_MS;
	while (daemon_files(&run) > files && clock_now_ns() < end)
		usleep(1000);
	assert_in_range(daemon_files(&run), 1, files);
}

/* ---- a root whose owner writes anything anywhere ---- */

static void put(struct vfu_client *c, unsigned bar, uint64_t off, uint64_t v, unsigned len)
{
	uint8_t b[8];

	put_le64(b, v);
	assert_int_equal(vfu_client_region_write(c, bar, off, b, len, false), 0);
}

static void cfg_put(struct vfu_client *c, unsigned bus, unsigned devfn, unsigned reg, uint64_t v,
		    unsigned len)
{
	put(c, 0, bus << 20 | devfn << 12 | reg, v, len);
}

static uint32_t cfg_get(struct vfu_client *c, unsigned bus, unsigned reg)
{
	uint8_t b[4] = {0};

	assert_int_equal(vfu_client_region_read(c, 0, bus << 20 | reg, b, 4), 0);
	return get_le32(b);
}

static unsigned sriov_cap(struct vfu_client *c, unsigned bus)
{
	unsigned off = 0x100, hops = 0;
	uint32_t h;

	while (off && hops++ < 64) {
		h = cfg_get(c, bus, off);
		if ((h & 0xffff) == PCI_EXT_CAP_ID_SRIOV)
			return off;
		off = h >> 20;
	}
	return 0;
}

/* What a kernel would assign, so that the blows that follow hit something: bus numbers, windows,
 * BARs and some VFs of one slot. */
static void bring_up(struct vfu_client *c, unsigned slot)
{
	unsigned port = slot << 3, bus = 1 + 2 * slot, cap;
	uint8_t b[8] = {0};
	uint64_t base;

	assert_int_equal(vfu_client_region_read(c, 4, SHADOW + 8, b, 8), 0);
	base = get_le64(b) + 0x100000ull * (1 + slot * 16);
	cfg_put(c, 0, port, PCI_PRIMARY_BUS, (bus + 1) << 16 | bus << 8, 4);
	cfg_put(c, 0, port, PCI_PREF_MEMORY_BASE, base >> 16 & 0xfff0, 2);
	cfg_put(c, 0, port, PCI_PREF_MEMORY_LIMIT, (base + 0x1fffff) >> 16 & 0xfff0, 2);
	cfg_put(c, 0, port, PCI_PREF_BASE_UPPER32, base >> 32, 4);
	cfg_put(c, 0, port, PCI_PREF_LIMIT_UPPER32, base >> 32, 4);
	cfg_put(c, 0, port, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	cfg_put(c, bus, 0, PCI_BASE_ADDRESS_2, base, 4);
	cfg_put(c, bus, 0, PCI_BASE_ADDRESS_3, base >> 32, 4);
	cfg_put(c, bus, 0, PCI_BASE_ADDRESS_4, base + 0x8000, 4);
	cfg_put(c, bus, 0, PCI_BASE_ADDRESS_5, base >> 32, 4);
	cfg_put(c, bus, 0, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	cap = sriov_cap(c, bus);
	if (!cap)
		return;
	cfg_put(c, bus, 0, cap + PCI_SRIOV_BAR + 8, base + 0x100000, 4);
	cfg_put(c, bus, 0, cap + PCI_SRIOV_BAR + 12, base >> 32, 4);
	cfg_put(c, bus, 0, cap + PCI_SRIOV_BAR + 16, base + 0x180000, 4);
	cfg_put(c, bus, 0, cap + PCI_SRIOV_BAR + 20, base >> 32, 4);
	cfg_put(c, bus, 0, cap + PCI_SRIOV_NUM_VF, (uint64_t)random() % 5, 2);
	cfg_put(c, bus, 0, cap + PCI_SRIOV_CTRL, PCI_SRIOV_CTRL_VFE | PCI_SRIOV_CTRL_MSE, 2);
}

/* Mostly where something is: registers of the ports, the PFs and the VFs, and their BARs. */
static uint64_t somewhere(unsigned bar, uint64_t size)
{
	uint64_t r = (uint64_t)random() << 31 ^ (uint64_t)random();

	if (random() % 4 == 0)
		return r % size;
	if (bar == 0)
		return (r >> 40) % 5 << 20 | (r >> 32) % 10 << 12 |
		       (random() % 4 ? r % 256 : r % 4096);
	if (bar == 4 && random() % 8)
		return MIN(WINDOW2 - 16 + 0x100000 * (1 + (r >> 40) % 2 * 16) +
				   (r >> 32) % 2 * 0x100000 + r % 0xc000,
			   size - 1);
	return r % 0x4000 % size;
}

static struct vfu_client *open_root(uint64_t *sizes)
{
	uint64_t end = clock_now_ns() + PAIR_TIMEOUT_MS * NS_PER_MS;
	uint8_t cmd[2] = {PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER};
	struct vfio_region_info info;
	struct vfu_client *c = NULL;
	int err, fd;

	do {
		err = vfu_client_connect(daemon_socket(&run, "host0"), PAIR_TIMEOUT_MS, &c);
		if (err)
			usleep(1000);
	} while (err && clock_now_ns() < end);
	assert_int_equal(err, 0);
	for (unsigned i = 0; i < VMD_BARS; i++) {
		info = (struct vfio_region_info){.argsz = sizeof(info)};
		assert_int_equal(vfu_client_region_info(c, 2 * i, &info, NULL, 0, &fd), 0);
		sizes[i] = info.size;
		assert_true(info.size > 0);
	}
	fd = memfd_create("root", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, MEMORY), 0);
	assert_int_equal(
		vfu_client_dma_map(c, 0, MEMORY, VFU_DMA_READABLE | VFU_DMA_WRITEABLE, fd, 0), 0);
	close(fd);
	assert_int_equal(vfu_client_region_write(c, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, cmd,
						 2, false),
			 0);
	return c;
}

static void hammered_root(void **state)
{
	uint64_t end = clock_now_ns() + HAMMER_NS, sizes[VMD_BARS], off;
	unsigned long n = 0, before = pump.frames;
	unsigned bar, len, seed = (unsigned)time(NULL);
	struct vfu_client *c = open_root(sizes);
	uint8_t buf[8];

	print_message("# seed %u\n", seed);
	srandom(seed);
	while (clock_now_ns() < end) {
		if (n++ % 500 == 0) {
			bring_up(c, 0);
			bring_up(c, 1);
		}
		bar = (unsigned)random() % VMD_BARS;
		len = 1u << random() % 4;
		off = somewhere(2 * bar, sizes[bar]);
		off = MIN(off, sizes[bar] - len);
		if (random() % 8)
			off &= ~(uint64_t)(len - 1);
		put_le64(buf, random() % 3 ? (uint64_t)random() << 33 ^ (uint64_t)random()
					   : (uint64_t)random() % 16);
		/* Errors are fine, silence is not. */
		if (random() % 2)
			vfu_client_region_read(c, 2 * bar, off, buf, len);
		else
			vfu_client_region_write(c, 2 * bar, off, buf, len, random() % 2);
		if (n % 20000 == 0)
			assert_int_equal(vfu_client_reset(c), 0);
	}
	assert_int_equal(vfu_client_region_read(c, VFIO_PCI_CONFIG_REGION_INDEX, 0, buf, 4), 0);
	assert_int_equal(get_le32(buf), 0x28c08086);
	print_message("# %lu accesses, the honest pair exchanged %lu frames meanwhile\n", n,
		      (unsigned long)pump.frames - before);
	assert_int_equal(pump_wait(&pump, 200), 0);
	vfu_client_close(c);
	/* It serves the next one as if nothing had been. */
	c = open_root(sizes);
	bring_up(c, 0);
	assert_int_equal(cfg_get(c, 1, 0), 0x10411af4);
	vfu_client_close(c);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(broken_rings),
		cmocka_unit_test(truncated_memory),
		cmocka_unit_test(killed_in_mid_traffic),
		cmocka_unit_test(hammered_root),
	};

	if (argc == 4 && !strcmp(argv[1], "victim"))
		return victim(argv[2], (unsigned)atoi(argv[3]));
	if (argc != 2 || readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 2;
	softiovd = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
