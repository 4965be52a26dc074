/* SPDX-License-Identifier: BSD-3-Clause */
/* Guest memory without a descriptor, in the specification's layout and in QEMU's. */
#include "fixture.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/clock.h"
#include "util/util.h"

#define BASE 0x40000000ull
#define SIZE (8u << 20)

struct memory {
	uint8_t *bytes;
	unsigned reads, writes;
	uint64_t largest;
	int fail; /* -errno given to everything */
};

static int mem_read(void *opaque, uint64_t addr, void *buf, uint64_t len)
{
	struct memory *m = opaque;

	m->reads++;
	m->largest = MAX(m->largest, len);
	if (m->fail || addr < BASE || !range_ok(addr - BASE, len, SIZE))
		return m->fail ? m->fail : -EFAULT;
	memcpy(buf, m->bytes + (addr - BASE), len);
	return 0;
}

static int mem_write(void *opaque, uint64_t addr, const void *buf, uint64_t len)
{
	struct memory *m = opaque;

	m->writes++;
	m->largest = MAX(m->largest, len);
	if (m->fail || addr < BASE || !range_ok(addr - BASE, len, SIZE))
		return m->fail ? m->fail : -EFAULT;
	memcpy(m->bytes + (addr - BASE), buf, len);
	return 0;
}

static const struct vfu_client_memory_ops layouts[2] = {
	{.read = mem_read, .write = mem_write, .layout28 = false},
	{.read = mem_read, .write = mem_write, .layout28 = true},
};

static void memory_init(struct memory *m)
{
	memset(m, 0, sizeof(*m));
	m->bytes = calloc(1, SIZE);
	assert_non_null(m->bytes);
}

static struct vfu_client *remote_client(struct fixture *f, struct memory *m, unsigned layout)
{
	struct vfu_client *c;

	assert_true(fixture_wait(f, false));
	c = fixture_client(f);
	vfu_client_set_memory(c, &layouts[layout], m);
	assert_int_equal(vfu_client_dma_map(c, BASE, SIZE, MAP_RW, -1, 0), 0);
	assert_true(fixture_status(f).remote_memory);
	client_bus_master(c, true);
	return c;
}

/* first: what the probed word holds. Zero needs the second step of the detection. */
static void check_copies(struct fixture *f, unsigned layout, uint32_t first)
{
	static const struct {
		uint32_t src, dst, len;
	} v[] = {{0x1000, 0x9000, 64}, {0x1001, 0x9003, 1},	  {0x1003, 0x9005, 7},
		 {0x2000, 0xa000, 4},  {0, 0x4000000 >> 5, 4096}, {0x10000, 0x300000, 2u << 20}};
	struct memory m;
	uint8_t *want = malloc(SIZE);
	struct vfu_client *c;

	memory_init(&m);
	for (uint32_t i = 0x800; i < SIZE / 2; i++)
		m.bytes[i] = (uint8_t)(i * 31 + (i >> 8));
	/* The odd ones out: zeros at both ends, where a shifted reading looks right. */
	memset(m.bytes + 0x1000, 0, 4);
	memset(m.bytes + 0x103c, 0, 4);
	put_le32(m.bytes, first);
	memcpy(want, m.bytes, SIZE);
	c = remote_client(f, &m, layout);
	for (unsigned i = 0; i < ARRAY_SIZE(v); i++) {
		assert_int_equal(client_copy(c, BASE + v[i].src, BASE + v[i].dst, v[i].len), 0);
		memmove(want + v[i].dst, want + v[i].src, v[i].len);
		assert_memory_equal(m.bytes, want, SIZE); /* and not a byte besides */
	}
	assert_true(m.largest <= 1u << 20);
	vfu_client_close(c);
	free(want);
	free(m.bytes);
}

static void test_layouts(void **state)
{
	for (unsigned layout = 0; layout < 2; layout++) {
		check_copies(*state, layout, 0);
		check_copies(*state, layout, 0xdeadbeef);
		check_copies(*state, layout, 1);
	}
}

/* Detection must not take a failing read for an answer. */
static void test_detection_retries(void **state)
{
	struct fixture *f = *state;

	for (unsigned layout = 0; layout < 2; layout++) {
		struct memory m;
		struct vfu_client *c;

		memory_init(&m);
		memcpy(m.bytes + 0x100, "shifted?", 8);
		c = remote_client(f, &m, layout);
		m.fail = -EPERM;
		assert_int_equal(client_copy(c, BASE + 0x100, BASE + 0x200, 8), EPERM);
		m.fail = 0;
		assert_int_equal(client_copy(c, BASE + 0x100, BASE + 0x200, 8), 0);
		assert_memory_equal(m.bytes + 0x200, "shifted?", 8);
		assert_int_equal(client_copy(c, BASE + 0x100, BASE + SIZE, 8), EFAULT);
		vfu_client_close(c);
		free(m.bytes);
	}
}

/* Shared and remote regions side by side, also within one transfer. */
static void test_mixed(void **state)
{
	struct fixture *f = *state;

	for (unsigned layout = 0; layout < 2; layout++) {
		struct memory m;
		struct vfu_client *c;
		uint8_t *mem;
		int fd = memory_file(0x10000, &mem);

		memory_init(&m);
		c = remote_client(f, &m, layout);
		assert_int_equal(vfu_client_dma_map(c, BASE + SIZE, 0x10000, MAP_RW, fd, 0), 0);
		memcpy(m.bytes + SIZE - 8, "half of ", 8);
		memcpy(mem, "the text", 8);
		assert_int_equal(client_copy(c, BASE + SIZE - 8, BASE + SIZE + 0x100, 16), 0);
		assert_memory_equal(mem + 0x100, "half of the text", 16);
		assert_int_equal(client_copy(c, BASE + SIZE + 0x100, BASE + 0x500, 16), 0);
		assert_memory_equal(m.bytes + 0x500, "half of the text", 16);
		vfu_client_close(c);
		munmap(mem, 0x10000);
		close(fd);
		free(m.bytes);
	}
}

/* A remote region is not readable: the probe takes another address. */
static void test_write_only(void **state)
{
	struct fixture *f = *state;
	struct memory m;
	struct vfu_client *c;
	uint8_t *mem;
	int fd = memory_file(0x1000, &mem);

	memory_init(&m);
	c = fixture_client(f);
	vfu_client_set_memory(c, &layouts[1], &m);
	assert_int_equal(vfu_client_dma_map(c, BASE, 0x1000, VFU_DMA_WRITEABLE, -1, 0), 0);
	assert_int_equal(vfu_client_dma_map(c, BASE + 0x1000, 0x1000, MAP_RW, -1, 0), 0);
	assert_int_equal(vfu_client_dma_map(c, 0, 0x1000, MAP_RW, fd, 0), 0);
	client_bus_master(c, true);
	memcpy(mem, "outward", 8);
	assert_int_equal(client_copy(c, BASE, 0, 8), EFAULT);
	assert_int_equal(client_copy(c, 0, BASE, 8), 0);
	assert_memory_equal(m.bytes, "outward", 8);
	vfu_client_close(c);
	munmap(mem, 0x1000);
	close(fd);
	free(m.bytes);
}

/* --- waits that end --- */

/* Starts a copy whose first request the client takes and does not answer. */
static struct vfu_client *hold_request(struct fixture *f, struct raw_reply *r)
{
	struct vfu_client *c;

	assert_true(fixture_wait(f, false));
	c = fixture_client(f);
	assert_int_equal(vfu_client_dma_map(c, BASE, SIZE, MAP_RW, -1, 0), 0);
	client_bus_master(c, true);
	client_copy_start(c, BASE, BASE + 0x1000, 8, 1);
	raw_recv(c, r);
	assert_int_equal(r->hdr.command, VFU_DMA_READ);
	assert_int_equal(r->hdr.flags, 0);
	assert_int_equal(r->hdr.size, 32);
	assert_int_equal(get_le64(r->body), BASE);
	return c;
}

static uint64_t ms_since(uint64_t t)
{
	return (clock_now_ns() - t) / NS_PER_MS;
}

/* The engine's state by raw messages: this client answers no request. */
static uint32_t wait_engine(struct fixture *f)
{
	for (unsigned i = 0; i < 5000 && f->toy.status == TOY_BUSY; i++)
		usleep(1000);
	return f->toy.error;
}

static void test_unmap_cancels(void **state)
{
	struct fixture *f = *state;
	struct raw_reply r;
	struct vfu_client *c = hold_request(f, &r);
	uint64_t t = clock_now_ns();
	uint8_t late[16 + 4] = {0};
	uint16_t id = r.hdr.id;

	assert_int_equal(vfu_client_dma_unmap(c, BASE, SIZE, 0), 0);
	assert_true(ms_since(t) < 1000);
	assert_int_equal(wait_engine(f), ECANCELED);
	/* The answer comes too late, and hurts nobody. */
	assert_int_equal(
		raw_send(c, id, VFU_DMA_READ, VFU_F_TYPE_REPLY, late, sizeof(late), NULL, 0), 0);
	assert_ids(c);
	assert_int_equal(fixture_status(f).errors, 0);
	vfu_client_close(c);
}

static void test_unmap_all_cancels(void **state)
{
	struct fixture *f = *state;
	struct raw_reply r;
	struct vfu_client *c = hold_request(f, &r);

	assert_int_equal(vfu_client_dma_unmap(c, 0, 0, VFU_UNMAP_ALL), 0);
	assert_int_equal(wait_engine(f), ECANCELED);
	vfu_client_close(c);
}

/* Another range goes: the wait stays. */
static void test_unmap_elsewhere(void **state)
{
	struct fixture *f = *state;
	struct raw_reply r;
	struct vfu_client *c = hold_request(f, &r);

	assert_int_equal(vfu_client_dma_map(c, 0, 0x1000, MAP_RW, -1, 0), 0);
	assert_int_equal(vfu_client_dma_unmap(c, 0, 0x1000, 0), 0);
	assert_int_equal(f->toy.status, TOY_BUSY);
	assert_int_equal(raw_send(c, r.hdr.id, VFU_DMA_READ, VFU_F_TYPE_REPLY | VFU_F_ERROR, NULL,
				  0, NULL, 0),
			 0);
	assert_int_equal(wait_engine(f), EIO); /* an error without errno */
	vfu_client_close(c);
}

static void test_reset_cancels(void **state)
{
	struct fixture *f = *state;
	struct raw_reply r;
	struct vfu_client *c = hold_request(f, &r);
	uint64_t t = clock_now_ns();

	assert_int_equal(vfu_client_reset(c), 0);
	assert_true(ms_since(t) < 1000);
	assert_int_equal(f->toy.status, TOY_IDLE);
	/* Usable afterwards. */
	client_bus_master(c, true);
	client_copy_start(c, BASE, BASE + 0x1000, 8, 1);
	raw_recv(c, &r);
	assert_int_equal(r.hdr.command, VFU_DMA_READ);
	vfu_client_close(c);
}

/* The guest resets the function by its own register: the handler waits for the worker, the worker
 * for a reply that only the handler's thread could read. */
static uint64_t flr_while_waiting(struct fixture *f)
{
	struct raw_reply r;
	struct vfu_client *c = hold_request(f, &r);
	uint8_t cfg[256], cap;
	uint16_t ctl;
	uint64_t t;

	assert_int_equal(vfu_client_region_read(c, 7, 0, cfg, sizeof(cfg)), 0);
	for (cap = cfg[PCI_CAPABILITY_LIST]; cap && cfg[cap] != PCI_CAP_ID_EXP;)
		cap = cfg[cap + 1];
	assert_int_not_equal(cap, 0);
	ctl = get_le16(cfg + cap + PCI_EXP_DEVCTL) | PCI_EXP_DEVCTL_BCR_FLR;
	t = clock_now_ns();
	assert_int_equal(vfu_client_region_write(c, 7, cap + PCI_EXP_DEVCTL, &ctl, 2, false), 0);
	t = ms_since(t);
	assert_int_equal(f->toy.status, TOY_IDLE);
	vfu_client_close(c);
	assert_true(fixture_wait(f, false));
	return t;
}

/* It must not take others' time either; the best of some, as the machine may be busy. */
static void test_flr_breaks_the_knot(void **state)
{
	uint64_t best = UINT64_MAX, ms;

	for (unsigned i = 0; i < 5 && best >= 100; i++) {
		ms = flr_while_waiting(*state);
		best = MIN(best, ms);
	}
	assert_true(best < 100);
}

static void test_vanish_while_waiting(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 5; i++) {
		struct raw_reply r;
		struct vfu_client *c = hold_request(f, &r);

		vfu_client_close(c);
		assert_serving(f);
	}
	assert_int_equal(f->toy.status, TOY_IDLE);
}

static void call_cancel(struct fixture *f, void *arg)
{
	vfu_server_cancel_remote(f->srv);
}

static void call_resume(struct fixture *f, void *arg)
{
	vfu_server_resume_remote(f->srv);
}

static void test_cancel_call(void **state)
{
	struct fixture *f = *state;
	struct raw_reply r;
	struct vfu_client *c = hold_request(f, &r);
	struct memory m;

	fixture_run(f, call_cancel, NULL);
	assert_int_equal(wait_engine(f), ECANCELED);
	memory_init(&m);
	vfu_client_set_memory(c, &layouts[0], &m);
	assert_int_equal(client_copy(c, BASE, BASE + 8, 8), ECANCELED);
	fixture_run(f, call_resume, NULL);
	assert_int_equal(client_copy(c, BASE, BASE + 8, 8), 0);
	vfu_client_close(c);
	free(m.bytes);
}

/* A client that never answers holds its own worker for some seconds, and nobody else. */
static void test_timeout(void **state)
{
	struct fixture *f = *state;
	struct raw_reply r;
	struct vfu_client *c = hold_request(f, &r);
	uint64_t t = clock_now_ns();

	assert_int_equal(wait_engine(f), ETIMEDOUT);
	assert_in_range(ms_since(t), 2000, 5000);
	assert_ids(c);
	vfu_client_close(c);
}

static void test_bad_replies(void **state)
{
	static const struct {
		uint32_t flags;
		uint32_t len;
		int err;
	} v[] = {{0, 0, EPROTO},  {0, 16, EPROTO},   {0, 19, EPROTO},
		 {0, 24, EPROTO}, {0, 4096, EPROTO}, {VFU_F_ERROR, 20, EIO}};
	struct fixture *f = *state;
	uint8_t body[4096] = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(v); i++) {
		struct raw_reply r;
		struct vfu_client *c = hold_request(f, &r);

		/* Ids and commands that nobody waits for change nothing. */
		assert_int_equal(raw_send(c, r.hdr.id ^ 1, VFU_DMA_READ, VFU_F_TYPE_REPLY, body, 20,
					  NULL, 0),
				 0);
		assert_int_equal(
			raw_send(c, r.hdr.id, VFU_DMA_WRITE, VFU_F_TYPE_REPLY, body, 20, NULL, 0),
			0);
		assert_ids(c);
		assert_int_equal(f->toy.status, TOY_BUSY);
		assert_int_equal(raw_send(c, r.hdr.id, VFU_DMA_READ, VFU_F_TYPE_REPLY | v[i].flags,
					  body, v[i].len, NULL, 0),
				 0);
		assert_int_equal(wait_engine(f), v[i].err);
		vfu_client_close(c);
	}
}

/* Copies run on while ranges come and go. */
static void test_churn(void **state)
{
	struct fixture *f = *state;
	struct memory m;
	struct vfu_client *c;
	uint64_t end = clock_now_ns() + NS_PER_S;
	uint32_t rounds;

	memory_init(&m);
	c = remote_client(f, &m, 1);
	client_copy_start(c, BASE, BASE + 0x1000, 64, 2);
	while (clock_now_ns() < end) {
		assert_int_equal(vfu_client_dma_map(c, 0, 0x1000, MAP_RW, -1, 0), 0);
		assert_int_equal(vfu_client_dma_unmap(c, 0, 0x1000, 0), 0);
		assert_int_equal(vfu_client_dma_unmap(c, BASE, SIZE, 0), 0);
		assert_int_equal(vfu_client_dma_map(c, BASE, SIZE, MAP_RW, -1, 0), 0);
	}
	rounds = client_read32(c, TOY_ROUNDS);
	assert_true(rounds > 0);
	assert_int_equal(vfu_client_reset(c), 0);
	vfu_client_close(c);
	free(m.bytes);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_layouts),
		T(test_detection_retries),
		T(test_mixed),
		T(test_write_only),
		T(test_unmap_cancels),
		T(test_unmap_all_cancels),
		T(test_unmap_elsewhere),
		T(test_reset_cancels),
		T(test_flr_breaks_the_knot),
		T(test_vanish_while_waiting),
		T(test_cancel_call),
		T(test_timeout),
		T(test_bad_replies),
		T(test_churn),
	};

	return cmocka_run_group_tests_name("vfio-user: remote memory", tests, NULL, NULL);
}
