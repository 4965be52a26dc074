/* SPDX-License-Identifier: BSD-3-Clause */
/* The administration virtqueue of a PF: list commands, statuses, lengths, resets. */
#include <poll.h>

#include "device_env.h"

#define V1    BIT_ULL(32)
#define ADMIN (V1 | BIT_ULL(37) | BIT_ULL(41))

enum { EINVAL_STATUS = 22 };
enum { BAD_OPCODE = 2, BAD_FIELD, BAD_GROUP, BAD_MEMBER };

struct answer {
	uint16_t status, qualifier;
	uint64_t data;
	uint32_t len;
};

static void start(struct model *m, struct gvq *q, bool packed)
{
	m_bus_master(m, true);
	assert_int_equal(m_negotiate(m, ADMIN | (packed ? BIT_ULL(34) : 0)), 11);
	m_ring(m, QUEUES, q, (struct gvq_config){.size = 16, .packed = packed});
	wr(m, DEVICE_STATUS, 1, 15);
}

/* Sends cmd_len bytes of the command and takes the answer in res_len bytes, both in two pieces
 * where that is possible. */
static struct answer ask(struct model *m, struct gvq *q, const uint8_t *cmd, unsigned cmd_len,
			 unsigned res_len)
{
	uint64_t at = ENV_BASE + ENV_DATA, cookie;
	struct gvq_seg segs[4] = {{at, cmd_len, false}};
	struct answer a = {0};
	unsigned n = 1;

	memset(m->mem + ENV_DATA, 0xee, 4096);
	memcpy(m->mem + ENV_DATA, cmd, cmd_len);
	if (cmd_len > 5) {
		segs[0].len = 5;
		segs[n++] = (struct gvq_seg){at + 5, cmd_len - 5, false};
	}
	if (res_len)
		segs[n++] = (struct gvq_seg){at + 2048, res_len, true};
	assert_int_equal(gvq_add(q, segs, n, 7), 0);
	if (gvq_publish(q))
		wr(m, 0x3000 + 4 * QUEUES, 2, QUEUES);
	for (unsigned i = 0; i < 3000 && !gvq_has_used(q); i++) {
		struct pollfd p = {mailbox_fd(), POLLIN, 0};

		poll(&p, 1, 1);
		mailbox_run();
	}
	assert_true(gvq_take(q, &cookie, &a.len));
	assert_true(a.len <= res_len);
	assert_int_equal(m->mem[ENV_DATA + 2048 + a.len], 0xee);
	a.status = get_le16(m->mem + ENV_DATA + 2048);
	a.qualifier = get_le16(m->mem + ENV_DATA + 2050);
	a.data = get_le64(m->mem + ENV_DATA + 2056);
	return a;
}

static struct answer command(struct model *m, struct gvq *q, uint16_t op, uint16_t group,
			     uint64_t member, uint64_t data, unsigned data_len)
{
	uint8_t cmd[32] = {0};

	put_le16(cmd, op);
	put_le16(cmd + 2, group);
	put_le64(cmd + 16, member);
	put_le64(cmd + 24, data);
	return ask(m, q, cmd, 24 + data_len, 16);
}

static void expect(struct answer a, unsigned status, unsigned qualifier)
{
	assert_int_equal(a.status, status);
	assert_int_equal(a.qualifier, qualifier);
}

static void test_offered_to_pf_only(void **state)
{
	struct model m;

	m_open(&m, 4, false);
	wr(&m, DEVICE_FEATURE_SELECT, 4, 1);
	assert_int_equal(rd(&m, DEVICE_FEATURE, 4), (FEATURES | ADMIN) >> 32);
	assert_int_equal(rd(&m, ADMIN_INDEX, 2), QUEUES);
	assert_int_equal(rd(&m, ADMIN_NUM, 2), 1);
	assert_int_equal(rd(&m, NUM_QUEUES, 2), QUEUES);
	wr(&m, QUEUE_SELECT, 2, QUEUES);
	assert_true(rd(&m, QUEUE_SIZE, 2) > 0);
	m_close(&m);
	(void)state;
}

static uint32_t vf_feature_word(struct virtio_device *vf, unsigned word)
{
	struct pci_function *fn = virtio_device_function(vf);
	uint8_t b[4];

	put_le32(b, word);
	pci_bar_write(fn, VIRTIO_BAR_CONFIG, DEVICE_FEATURE_SELECT, b, 4);
	pci_bar_read(fn, VIRTIO_BAR_CONFIG, DEVICE_FEATURE, b, 4);
	return get_le32(b);
}

static void test_not_offered_to_vf(void **state)
{
	struct model m;
	uint8_t num[2];

	m_open(&m, 4, false);
	assert_int_equal(pci_pf_set_num_vfs(m.fn, 1), 0);
	assert_int_equal(vf_feature_word(m.vfs[0], 1), FEATURES >> 32);
	pci_bar_read(virtio_device_function(m.vfs[0]), VIRTIO_BAR_CONFIG, ADMIN_NUM, num, 2);
	assert_int_equal(get_le16(num), 0);
	assert_int_equal(pci_pf_set_num_vfs(m.fn, 0), 0);
	m_close(&m);
	(void)state;
}

static void test_lists(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct answer a;
		struct model m;
		struct gvq q;

		m_open(&m, 4, false);
		start(&m, &q, packed);
		/* as Linux asks: SR-IOV group, member 0, before any VF exists */
		a = command(&m, &q, 0, 1, 0, 0, 0);
		expect(a, 0, 0);
		assert_int_equal(a.len, 16);
		assert_int_equal(a.data, 3);
		expect(command(&m, &q, 0, 0, 0, 0, 0), 0, 0); /* self group */
		expect(command(&m, &q, 0, 2, 0, 0, 0), EINVAL_STATUS, BAD_GROUP);
		expect(command(&m, &q, 2, 1, 0, 0, 0), EINVAL_STATUS, BAD_OPCODE);
		expect(command(&m, &q, 0x7777, 1, 0, 0, 0), EINVAL_STATUS, BAD_OPCODE);
		expect(command(&m, &q, 2, 9, 99, 0, 0), EINVAL_STATUS, BAD_GROUP); /* order */
		expect(command(&m, &q, 1, 1, 0, 7, 8), EINVAL_STATUS, BAD_FIELD);
		expect(command(&m, &q, 0, 1, 0, 0, 0), 0, 0); /* nothing had changed */
		expect(command(&m, &q, 1, 1, 0, 3, 8), 0, 0);
		expect(command(&m, &q, 0, 1, 0, 0, 0), 0, 0);
		/* a list without the list commands: refused from now on, in that group */
		expect(command(&m, &q, 1, 1, 0, 0, 8), 0, 0);
		expect(command(&m, &q, 0, 1, 0, 0, 0), EINVAL_STATUS, BAD_OPCODE);
		expect(command(&m, &q, 0, 0, 0, 0, 0), 0, 0);
		/* a VM's reset of the PF ends that */
		wr(&m, DEVICE_STATUS, 1, 0);
		gvq_fini(&q);
		start(&m, &q, packed);
		expect(command(&m, &q, 0, 1, 0, 0, 0), 0, 0);
		gvq_fini(&q);
		m_close(&m);
	}
	(void)state;
}

/* Never an error for a structure's size. */
static void test_lengths(void **state)
{
	uint8_t cmd[2048] = {0};
	struct answer a;
	struct model m;
	struct gvq q;

	m_open(&m, 4, false);
	start(&m, &q, false);
	a = ask(&m, &q, cmd, 1, 16); /* all else is 0: the query, of the self group */
	expect(a, 0, 0);
	assert_int_equal(a.data, 3);
	a = ask(&m, &q, cmd, 2048, 2000);
	expect(a, 0, 0);
	assert_int_equal(a.len, 16);
	assert_int_equal(ask(&m, &q, cmd, 24, 4).len, 4);
	assert_int_equal(ask(&m, &q, cmd, 24, 0).len, 0);
	cmd[0] = 1; /* LIST_USE with no list: an empty one */
	expect(ask(&m, &q, cmd, 2, 16), 0, 0);
	expect(command(&m, &q, 0, 0, 0, 0, 0), EINVAL_STATUS, BAD_OPCODE);
	cmd[2] = 1;
	cmd[24] = 3;
	cmd[1000] = 1; /* an opcode far up that we do not have */
	expect(ask(&m, &q, cmd, 2000, 16), EINVAL_STATUS, BAD_FIELD);
	cmd[1000] = 0;
	expect(ask(&m, &q, cmd, 2000, 16), 0, 0);
	gvq_fini(&q);
	m_close(&m);
	(void)state;
}

static void test_strict(void **state)
{
	struct model m;
	struct gvq q;

	m_open(&m, 4, true);
	start(&m, &q, false);
	expect(command(&m, &q, 0, 1, 0, 0, 0), EINVAL_STATUS, BAD_GROUP);
	expect(command(&m, &q, 0, 0, 0, 0, 0), 0, 0);
	assert_int_equal(pci_pf_set_num_vfs(m.fn, 2), 0);
	expect(command(&m, &q, 0, 1, 0, 0, 0), EINVAL_STATUS, BAD_MEMBER);
	expect(command(&m, &q, 2, 1, 0, 0, 0), EINVAL_STATUS, BAD_OPCODE);
	expect(command(&m, &q, 0, 1, 3, 0, 0), EINVAL_STATUS, BAD_MEMBER);
	expect(command(&m, &q, 0, 1, 1, 0, 0), 0, 0);
	expect(command(&m, &q, 0, 1, 2, 0, 0), 0, 0);
	/* a reset by the driver leaves the VFs alone */
	wr(&m, DEVICE_STATUS, 1, 0);
	assert_int_equal(m.num_vfs, 2);
	assert_int_equal(pci_pf_set_num_vfs(m.fn, 0), 0);
	gvq_fini(&q);
	m_close(&m);
	(void)state;
}

static void test_broken(void **state)
{
	struct model m;
	struct gvq q;

	m_open(&m, 4, false);
	start(&m, &q, false);
	gvq_add_one(&q, 0x10, 100, false, 0);
	gvq_publish(&q);
	wr(&m, 0x3000 + 4 * QUEUES, 2, QUEUES);
	for (unsigned i = 0; i < 3000 && !virtio_device_broken(m.vd); i++)
		usleep(1000);
	assert_int_equal(rd(&m, DEVICE_STATUS, 1), 15 | 0x40);
	mailbox_run();
	gvq_fini(&q);
	m_close(&m);
	(void)state;
}

/* A command that is taken back while it is executed: its answer goes nowhere, and nobody waits for
 * the driver to make up its mind. */
static void test_taken_back(void **state)
{
	const uint64_t at = ENV_BASE + ENV_DATA;
	const struct gvq_seg segs[2] = {{at, 24, false}, {at + 2048, 16, true}};
	struct pollfd p = {.events = POLLIN};
	struct worker_stats st;
	uint64_t cookie;
	struct model m;
	uint32_t len;
	struct gvq q;
	uint8_t *desc;

	m_open(&m, 4, false);
	start(&m, &q, true);
	desc = m.mem + (q.desc_addr - ENV_BASE);
	memset(m.mem + ENV_DATA, 0, 4096);
	assert_int_equal(gvq_add(&q, segs, 2, 7), 0);
	gvq_publish(&q);
	wr(&m, 0x3000 + 4 * QUEUES, 2, QUEUES);
	p.fd = mailbox_fd();
	assert_int_equal(poll(&p, 1, 3000), 1);
	__atomic_fetch_xor((uint16_t *)(desc + 14), 1 << 7, __ATOMIC_SEQ_CST);
	mailbox_run();
	for (unsigned i = 0; i < 1000; i++) {
		worker_get_stats(worker_pool_at(m.pool, 0), &st);
		if (i > 20 && !st.active)
			break;
		usleep(1000);
	}
	assert_int_equal(st.active, 0);
	assert_false(gvq_has_used(&q));
	/* there it is again */
	__atomic_fetch_xor((uint16_t *)(desc + 14), 1 << 7, __ATOMIC_SEQ_CST);
	wr(&m, 0x3000 + 4 * QUEUES, 2, QUEUES);
	for (unsigned i = 0; i < 3000 && !gvq_has_used(&q); i++) {
		poll(&p, 1, 1);
		mailbox_run();
	}
	assert_true(gvq_take(&q, &cookie, &len));
	assert_int_equal(len, 16);
	assert_int_equal(get_le64(m.mem + ENV_DATA + 2056), 3);
	gvq_fini(&q);
	m_close(&m);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offered_to_pf_only),
		cmocka_unit_test(test_not_offered_to_vf),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_strict),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_taken_back),
	};

	if (dma_init() || mailbox_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
