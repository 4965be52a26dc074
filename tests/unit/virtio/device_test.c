/* SPDX-License-Identifier: BSD-3-Clause */
/* The virtio-pci device through its BARs and configuration space. */
#include "device_env.h"

#define V1 BIT_ULL(32)

static const struct gvq_config split64 = {.size = 64};

static void test_capabilities(void **state)
{
	unsigned seen = 0, n = 0;
	struct model m;
	uint8_t *c, at;

	m_open(&m, 0, false);
	c = pci_config_raw(m.fn);
	assert_int_equal(get_le16(c), 0x1af4);
	assert_int_equal(get_le16(c + 2), 0x1041);
	assert_true(c[PCI_REVISION_ID] >= 1);
	assert_true(get_le16(c + PCI_SUBSYSTEM_ID) >= 0x40);
	for (at = c[PCI_CAPABILITY_LIST]; at; at = c[at + 1]) {
		if (c[at] != PCI_CAP_ID_VNDR)
			continue;
		n++;
		seen |= BIT(c[at + 3]);
		assert_true(c[at + 2] >= 16);
		if (c[at + 3] == VIRTIO_PCI_CAP_COMMON_CFG)
			assert_true(get_le32(c + at + 12) >= 64);
		if (c[at + 3] == VIRTIO_PCI_CAP_NOTIFY_CFG) {
			uint32_t mult = get_le32(c + at + 16);

			assert_true(is_pow2(mult) && mult % 2 == 0);
			assert_true(get_le32(c + at + 12) >= (QUEUES - 1) * mult + 4);
		}
		if (c[at + 3] != VIRTIO_PCI_CAP_PCI_CFG) {
			assert_int_equal(c[at + 4], VIRTIO_BAR_CONFIG);
			assert_int_equal(get_le32(c + at + 8) % 4, 0);
			assert_true(range_ok(get_le32(c + at + 8), get_le32(c + at + 12),
					     VIRTIO_BAR2_SIZE));
		}
	}
	assert_int_equal(n, 5);
	assert_int_equal(seen, 0x3e); /* types 1 to 5 */
	/* BAR0 is left to a VMM that offers legacy access there. */
	assert_int_equal(pci_function_bar(m.fn, 0)->size, 0);
	m_close(&m);
	(void)state;
}

static uint8_t find_window(struct model *m)
{
	uint8_t *c = pci_config_raw(m->fn), at;

	for (at = c[PCI_CAPABILITY_LIST]; at; at = c[at + 1])
		if (c[at] == PCI_CAP_ID_VNDR && c[at + 3] == VIRTIO_PCI_CAP_PCI_CFG)
			return at;
	fail();
	return 0;
}

static void point(struct model *m, uint8_t cap, uint8_t bar, uint32_t off, uint32_t len)
{
	uint8_t b[4];

	pci_config_write(m->fn, PCI_VIEW_VMM, cap + 4u, &bar, 1);
	put_le32(b, off);
	pci_config_write(m->fn, PCI_VIEW_VMM, cap + 8u, b, 4);
	put_le32(b, len);
	pci_config_write(m->fn, PCI_VIEW_VMM, cap + 12u, b, 4);
}

static void test_pci_cfg_window(void **state)
{
	struct model m;
	uint8_t cap, b[4] = {0};

	m_open(&m, 0, false);
	cap = find_window(&m);
	point(&m, cap, VIRTIO_BAR_CONFIG, NUM_QUEUES, 2);
	pci_config_read(m.fn, PCI_VIEW_VMM, cap + 16u, b, 4);
	assert_int_equal(get_le16(b), QUEUES);
	point(&m, cap, VIRTIO_BAR_CONFIG, QUEUE_SELECT, 2);
	put_le32(b, 2);
	pci_config_write(m.fn, PCI_VIEW_VMM, cap + 16u, b, 2);
	assert_int_equal(rd(&m, QUEUE_SELECT, 2), 2);
	/* where it must not point: nothing happens */
	point(&m, cap, VIRTIO_BAR_CONFIG, QUEUE_SELECT, 3);
	put_le32(b, 1);
	pci_config_write(m.fn, PCI_VIEW_VMM, cap + 16u, b, 4);
	point(&m, cap, VIRTIO_BAR_CONFIG, 0xfffffffe, 2);
	pci_config_write(m.fn, PCI_VIEW_VMM, cap + 16u, b, 4);
	pci_config_read(m.fn, PCI_VIEW_VMM, cap + 16u, b, 4);
	point(&m, cap, VIRTIO_BAR_MSIX, 0, 4);
	pci_config_write(m.fn, PCI_VIEW_VMM, cap + 16u, b, 4);
	point(&m, cap, 77, 0, 4);
	pci_config_write(m.fn, PCI_VIEW_VMM, cap + 16u, b, 4);
	assert_int_equal(rd(&m, QUEUE_SELECT, 2), 2);
	m_close(&m);
	(void)state;
}

static void test_features(void **state)
{
	struct model m;
	uint64_t f;

	m_open(&m, 0, false);
	wr(&m, DEVICE_FEATURE_SELECT, 4, 0);
	f = rd(&m, DEVICE_FEATURE, 4);
	wr(&m, DEVICE_FEATURE_SELECT, 4, 1);
	f |= rd(&m, DEVICE_FEATURE, 4) << 32;
	assert_int_equal(f, FEATURES); /* no SR_IOV without the capability */
	for (unsigned s = 2; s < 5; s++) {
		wr(&m, DEVICE_FEATURE_SELECT, 4, s);
		assert_int_equal(rd(&m, DEVICE_FEATURE, 4), 0);
	}
	assert_int_equal(m_negotiate(&m, V1 | BIT_ULL(5)), 11);
	assert_int_equal(virtio_device_features(m.vd), V1 | BIT_ULL(5));
	wr(&m, DRIVER_FEATURE_SELECT, 4, 0);
	wr(&m, DRIVER_FEATURE, 4, 0); /* too late */
	assert_int_equal(rd(&m, DRIVER_FEATURE, 4), BIT(5));
	wr(&m, DRIVER_FEATURE_SELECT, 4, 7);
	wr(&m, DRIVER_FEATURE, 4, 1);
	assert_int_equal(rd(&m, DRIVER_FEATURE, 4), 0);

	wr(&m, DEVICE_STATUS, 1, 0);
	assert_int_equal(rd(&m, DEVICE_STATUS, 1), 0);
	assert_int_equal(virtio_device_features(m.vd), 0);
	assert_int_equal(m_negotiate(&m, BIT_ULL(5)), 3); /* not modern */
	wr(&m, DEVICE_STATUS, 1, 0);
	assert_int_equal(m_negotiate(&m, V1 | BIT_ULL(6)), 3); /* not offered */
	wr(&m, DEVICE_STATUS, 1, 15);			       /* DRIVER_OK all the same */
	assert_false(virtio_device_driver_ok(m.vd));
	wr(&m, DEVICE_STATUS, 1, 0);
	m.refuse_features = true;
	assert_int_equal(m_negotiate(&m, V1), 3);
	m.refuse_features = false;
	wr(&m, DEVICE_STATUS, 1, 0);
	assert_int_equal(m_negotiate(&m, FEATURES), 11); /* accepted once, and again */
	assert_int_equal(m.driver_oks, 0);
	m_close(&m);
	(void)state;
}

static void test_queue_registers(void **state)
{
	struct model m;

	m_open(&m, 0, false);
	assert_int_equal(rd(&m, NUM_QUEUES, 2), QUEUES);
	assert_int_equal(rd(&m, ADMIN_NUM, 2), 0);
	assert_int_equal(rd(&m, CONFIG_VECTOR, 2), 0xffff);
	for (unsigned i = 0; i < QUEUES; i++) {
		wr(&m, QUEUE_SELECT, 2, i);
		assert_int_equal(rd(&m, QUEUE_SIZE, 2), 256);
		assert_int_equal(rd(&m, QUEUE_NOTIFY_OFF, 2), i);
		assert_int_equal(rd(&m, QUEUE_VECTOR, 2), 0xffff);
		assert_int_equal(rd(&m, QUEUE_ENABLE, 2), 0);
		wr(&m, QUEUE_VECTOR, 2, QUEUES); /* the last one: config + queues */
		assert_int_equal(rd(&m, QUEUE_VECTOR, 2), QUEUES);
		wr(&m, QUEUE_VECTOR, 2, QUEUES + 1);
		assert_int_equal(rd(&m, QUEUE_VECTOR, 2), 0xffff);
		wr(&m, QUEUE_SIZE, 2, 512);
		wr(&m, QUEUE_SIZE, 2, 0);
		wr(&m, QUEUE_SIZE, 2, 100);
		assert_int_equal(rd(&m, QUEUE_SIZE, 2), 256);
		wr(&m, QUEUE_SIZE, 2, 128);
		assert_int_equal(rd(&m, QUEUE_SIZE, 2), 128);
		wr(&m, QUEUE_DESC, 4, 0x11223344);
		wr(&m, QUEUE_DESC + 4, 4, 0x55667788);
		assert_int_equal(rd(&m, QUEUE_DESC, 8), 0x5566778811223344);
		assert_int_equal(rd(&m, QUEUE_DESC + 4, 4), 0x55667788);
	}
	for (unsigned i = QUEUES; i < 0x10000; i = i * 2 + 1) {
		wr(&m, QUEUE_SELECT, 2, i);
		assert_int_equal(rd(&m, QUEUE_SIZE, 2), 0);
		wr(&m, QUEUE_SIZE, 2, 64);
		wr(&m, QUEUE_DESC, 8, 64);
		wr(&m, QUEUE_ENABLE, 2, 1);
		wr(&m, QUEUE_VECTOR, 2, 1);
		assert_int_equal(rd(&m, QUEUE_VECTOR, 2), 0xffff);
		assert_int_equal(rd(&m, QUEUE_ENABLE, 2), 0);
		assert_int_equal(rd(&m, QUEUE_DESC, 8), 0);
	}
	/* a packed ring may have any size */
	m_negotiate(&m, V1 | BIT_ULL(34));
	wr(&m, QUEUE_SELECT, 2, 0);
	wr(&m, QUEUE_SIZE, 2, 100);
	assert_int_equal(rd(&m, QUEUE_SIZE, 2), 100);
	/* accesses of any width, over several fields, and past the structure's end */
	{
		uint8_t all[0x1000];

		assert_int_equal(pci_bar_read(m.fn, VIRTIO_BAR_CONFIG, 0, all, sizeof(all)), 0);
		assert_int_equal(get_le16(all + NUM_QUEUES), QUEUES);
		assert_int_equal(get_le16(all + QUEUE_SIZE), 100);
		assert_int_equal(all[64], 0);
		wr(&m, 0x3c, 8, ~0ull);
	}
	m_close(&m);
	(void)state;
}

static void test_life(void **state)
{
	struct gvq q[QUEUES];
	struct vq_buf buf;
	struct vq_chain c;
	struct model m;
	uint32_t pos;

	m_open(&m, 0, false);
	m_bus_master(&m, true);
	m_vector(&m, 1);
	m_negotiate(&m, V1 | BIT_ULL(40));
	m_ring(&m, 0, &q[0], split64);
	m_ring(&m, 2, &q[2], split64);
	assert_int_equal(rd(&m, QUEUE_ENABLE, 2), 1);
	wr(&m, 0x3000, 2, 0); /* too early a kick */
	assert_int_equal(m.starts[0] + m.notifies[0], 0);
	wr(&m, QUEUE_VECTOR, 2, 1);
	virtio_device_queue_irq(m.vd, 2);
	assert_int_equal(m_irqs(&m, 1), 0);
	wr(&m, DEVICE_STATUS, 1, 15);
	assert_int_equal(m.driver_oks, 1);
	assert_int_equal(m.starts[0], 1);
	assert_int_equal(m.starts[1], 0);
	assert_int_equal(m.starts[2], 1);
	/* notify: the address says which */
	wr(&m, 0x3000 + 8, 2, 2);
	wr(&m, 0x3000 + 4, 2, 1); /* not enabled */
	wr(&m, 0x3000 + 2, 2, 2); /* no queue's address */
	wr(&m, 0x3ff8, 4, 2);
	assert_int_equal(m.notifies[2], 1);
	assert_int_equal(m.notifies[0] + m.notifies[1], 0);
	/* interrupts and ISR, which reading clears */
	virtio_device_queue_irq(m.vd, 2);
	assert_int_equal(m_irqs(&m, 1), 1);
	assert_int_equal(rd(&m, 0x1000, 1), 1);
	assert_int_equal(rd(&m, 0x1000, 1), 0);
	/* enabled late: runs at once */
	m_ring(&m, 1, &q[1], split64);
	assert_int_equal(m.starts[1], 1);
	/* set-up is fixed while enabled */
	wr(&m, QUEUE_SIZE, 2, 32);
	wr(&m, QUEUE_DESC, 8, 0);
	assert_int_equal(rd(&m, QUEUE_SIZE, 2), 64);
	assert_int_equal(rd(&m, QUEUE_DESC, 8), q[1].desc_addr);

	/* DMA withdrawn: the queue stops, and goes on where it was */
	gvq_add_one(&q[2], ENV_BASE + ENV_DATA, 10, false, 0);
	gvq_publish(&q[2]);
	vq_begin(m.vqs[2], dma_view_get(m.dma));
	assert_int_equal(vq_pop(m.vqs[2], &c, &buf, 1), 1);
	vq_push(m.vqs[2], &c, 0);
	vq_publish(m.vqs[2]);
	pos = vq_position(m.vqs[2]);
	m_bus_master(&m, false);
	assert_int_equal(m.stops[2], 1);
	assert_int_equal(rd(&m, QUEUE_ENABLE, 2), 1);
	wr(&m, 0x3000 + 8, 2, 2);
	assert_int_equal(m.notifies[2], 1);
	m_bus_master(&m, true);
	assert_int_equal(m.starts[2], 2);
	assert_int_equal(vq_position(m.vqs[2]), pos);

	/* queue reset, and again with another size */
	wr(&m, QUEUE_SELECT, 2, 2);
	wr(&m, QUEUE_RESET, 2, 1);
	assert_int_equal(rd(&m, QUEUE_RESET, 2), 0);
	assert_int_equal(rd(&m, QUEUE_ENABLE, 2), 0);
	assert_int_equal(m.stops[2], 2);
	gvq_fini(&q[2]);
	m_ring(&m, 2, &q[2], (struct gvq_config){.size = 16});
	assert_int_equal(m.starts[2], 3);
	assert_int_equal(vq_position(m.vqs[2]), 0);
	assert_int_equal(m.stops[0], 1);

	/* reset */
	wr(&m, QUEUE_VECTOR, 2, 1);
	wr(&m, DEVICE_STATUS, 1, 0);
	assert_int_equal(rd(&m, DEVICE_STATUS, 1), 0);
	assert_true(m.resets >= 1);
	virtio_device_queue_irq(m.vd, 2);
	assert_int_equal(m_irqs(&m, 1), 0);
	for (unsigned i = 0; i < QUEUES; i++) {
		assert_null(m.vqs[i]);
		wr(&m, QUEUE_SELECT, 2, i);
		assert_int_equal(rd(&m, QUEUE_ENABLE, 2), 0);
		assert_int_equal(rd(&m, QUEUE_VECTOR, 2), 0xffff);
		assert_int_equal(rd(&m, QUEUE_SIZE, 2), 256);
		gvq_fini(&q[i]);
	}
	m_close(&m);
	(void)state;
}

static void test_driver_ok_before_bus_master(void **state)
{
	struct model m;
	struct gvq q;

	m_open(&m, 0, false);
	m_negotiate(&m, V1);
	m_ring(&m, 0, &q, split64);
	wr(&m, DEVICE_STATUS, 1, 15);
	assert_int_equal(m.driver_oks, 1);
	assert_int_equal(m.starts[0], 0);
	m_bus_master(&m, true);
	assert_int_equal(m.starts[0], 1);
	pci_function_reset(m.fn, PCI_RESET_FLR);
	assert_int_equal(m.stops[0], 1);
	assert_int_equal(rd(&m, DEVICE_STATUS, 1), 0);
	gvq_fini(&q);
	m_close(&m);
	(void)state;
}

static void test_needs_reset(void **state)
{
	struct model m;
	struct gvq q;

	m_open(&m, 0, false);
	m_bus_master(&m, true);
	m_vector(&m, 0);
	m_negotiate(&m, V1);
	wr(&m, CONFIG_VECTOR, 2, 0);
	m_ring(&m, 0, &q, split64);
	wr(&m, DEVICE_STATUS, 1, 15);
	virtio_device_set_needs_reset(m.vd, "test");
	virtio_device_set_needs_reset(m.vd, "test again");
	assert_int_equal(rd(&m, DEVICE_STATUS, 1), 15 | 0x40);
	assert_int_equal(m_irqs(&m, 0), 1);
	assert_int_equal(rd(&m, 0x1000, 1) & 2, 2);
	assert_true(virtio_device_broken(m.vd));
	mailbox_run();
	assert_int_equal(m.stops[0], 1);
	m_bus_master(&m, false);
	m_bus_master(&m, true);
	assert_int_equal(m.starts[0], 1);
	wr(&m, DEVICE_STATUS, 1, 15); /* the bit is the device's */
	assert_int_equal(rd(&m, DEVICE_STATUS, 1), 15 | 0x40);
	wr(&m, DEVICE_STATUS, 1, 0);
	assert_int_equal(rd(&m, DEVICE_STATUS, 1), 0);
	gvq_fini(&q);

	/* rings out of reach */
	m_negotiate(&m, V1);
	wr(&m, QUEUE_SELECT, 2, 0);
	wr(&m, QUEUE_DESC, 8, 0x7000000000);
	wr(&m, QUEUE_ENABLE, 2, 1);
	wr(&m, DEVICE_STATUS, 1, 15);
	assert_int_equal(rd(&m, DEVICE_STATUS, 1), 15 | 0x40);
	assert_int_equal(m.starts[0], 1);
	/* a queue that its owner cannot run */
	wr(&m, DEVICE_STATUS, 1, 0);
	m_negotiate(&m, V1);
	m.start_error = -ENOMEM;
	m_ring(&m, 0, &q, split64);
	wr(&m, DEVICE_STATUS, 1, 15);
	assert_true(virtio_device_broken(m.vd));
	mailbox_run();
	assert_int_equal(m.stops[0], 1);
	gvq_fini(&q);
	m_close(&m);
	(void)state;
}

static void test_config(void **state)
{
	uint8_t gen, mac[6] = {2, 0, 0, 0, 0, 7}, buf[32];
	struct model m;

	m_open(&m, 0, false);
	m_vector(&m, 0);
	gen = (uint8_t)rd(&m, GENERATION, 1);
	virtio_device_config_set(m.vd, 0, mac, 6, false);
	/* without an interrupt too: who read one half before and one after must notice */
	assert_int_not_equal(rd(&m, GENERATION, 1), gen);
	gen = (uint8_t)rd(&m, GENERATION, 1);
	virtio_device_config_set(m.vd, 0, mac, 6, false); /* nothing new */
	assert_int_equal(rd(&m, GENERATION, 1), gen);
	assert_int_equal(rd(&m, 0x2000, 4), 2); /* readable before FEATURES_OK */
	assert_int_equal(rd(&m, 0x2005, 1), 7);
	wr(&m, CONFIG_VECTOR, 2, 0);
	for (unsigned i = 0; i < 256; i++) /* a counter of 8 bits would be back where it was */
		virtio_device_config_set(m.vd, 6, &i, 1, true);
	assert_int_equal(m_irqs(&m, 0), 0); /* not before DRIVER_OK */
	assert_int_not_equal(rd(&m, GENERATION, 1), gen);
	gen = (uint8_t)rd(&m, GENERATION, 1);
	assert_int_equal(rd(&m, GENERATION, 1), gen);
	m_negotiate(&m, V1);
	wr(&m, DEVICE_STATUS, 1, 15);
	virtio_device_config_set(m.vd, 6, mac, 2, true);
	assert_int_equal(m_irqs(&m, 0), 1);
	assert_int_equal(rd(&m, 0x1000, 1), 2);
	/* past the end: zeros; writes change nothing */
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(pci_bar_read(m.fn, VIRTIO_BAR_CONFIG, 0x2000 + CFG_LEN - 4, buf, 32), 0);
	for (unsigned i = 4; i < 32; i++)
		assert_int_equal(buf[i], 0);
	wr(&m, 0x2000, 4, ~0ull);
	assert_int_equal(rd(&m, 0x2000, 4), 2);
	virtio_device_config_set(m.vd, CFG_LEN - 1, mac, 6, true); /* refused */
	virtio_device_config_get(m.vd, 0, buf, 6);
	assert_memory_equal(buf, mac, 6);
	m_close(&m);
	(void)state;
}

/* Memory without an fd: rings in it make the device bounce from the start, buffers in it from the
 * next reset on; what else has none does not matter. */
static void test_remote_memory(void **state)
{
	struct gvq_config cfg = split64;
	struct vq_chain c;
	struct vq_buf b;
	struct model m;
	struct gvq q;

	m_open(&m, 0, false);
	assert_int_equal(dma_space_map(m.dma, 0x40000000, 1 << 20, RW, -1, 0), 0);
	m_bus_master(&m, true);
	m_negotiate(&m, V1);
	m_ring(&m, 0, &q, cfg);
	wr(&m, DEVICE_STATUS, 1, 15);
	assert_false(vq_is_remote(m.vqs[0]));
	assert_ptr_equal(virtio_device_worker(m.vd), worker_pool_at(m.pool, 0));
	gvq_add_one(&q, 0x40000000, 64, false, 0);
	gvq_publish(&q);
	vq_begin(m.vqs[0], dma_view_get(m.dma));
	assert_int_equal(vq_pop(m.vqs[0], &c, &b, 1), -EFAULT);
	virtio_device_set_needs_reset(m.vd, "test");
	mailbox_run();
	gvq_fini(&q);
	wr(&m, DEVICE_STATUS, 1, 0);
	m_negotiate(&m, V1);
	m_ring(&m, 0, &q, cfg);
	wr(&m, DEVICE_STATUS, 1, 15);
	assert_true(vq_is_remote(m.vqs[0]));
	assert_ptr_not_equal(virtio_device_worker(m.vd), worker_pool_at(m.pool, 0));
	assert_ptr_equal(virtio_device_worker(m.vd), virtio_device_worker(m.vd));
	gvq_fini(&q);
	wr(&m, DEVICE_STATUS, 1, 0);
	m_negotiate(&m, V1);
	m_close(&m);
	(void)state;
}

static void test_doorbell_fds(void **state)
{
	struct model m;

	m_open(&m, 4, false);
	assert_int_equal(virtio_device_num_queues(m.vd), QUEUES + 1);
	for (unsigned i = 0; i <= QUEUES; i++) {
		int fd = virtio_device_doorbell_fd(m.vd, i);

		assert_true(fd >= 0);
		assert_int_equal(virtio_device_doorbell_fd(m.vd, i), fd);
		assert_int_equal(virtio_device_doorbell_offset(m.vd, i), 0x3000 + 4 * i);
	}
	assert_int_equal(virtio_device_doorbell_fd(m.vd, QUEUES + 1), -1);
	m_close(&m);
	(void)state;
}

/* Who had a doorbell and kept it must not ring the next owner's. */
static void test_doorbells_change_with_the_owner(void **state)
{
	eventfd_t count;
	struct model m;
	int kept;

	m_open(&m, 0, false);
	kept = dup(virtio_device_doorbell_fd(m.vd, 0));
	pci_function_reset(m.fn, PCI_RESET_FLR);
	assert_int_equal(eventfd_write(kept, 1), 0);
	assert_int_equal(eventfd_read(virtio_device_doorbell_fd(m.vd, 0), &count), 0);
	pci_function_detach(m.fn);
	assert_int_equal(eventfd_write(kept, 1), 0);
	assert_int_equal(eventfd_read(virtio_device_doorbell_fd(m.vd, 0), &count), -1);
	assert_int_equal(errno, EAGAIN);
	close(kept);
	m_close(&m);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_pci_cfg_window),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_queue_registers),
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_driver_ok_before_bus_master),
		cmocka_unit_test(test_needs_reset),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_remote_memory),
		cmocka_unit_test(test_doorbell_fds),
		cmocka_unit_test(test_doorbells_change_with_the_owner),
	};

	if (dma_init() || mailbox_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
