/* SPDX-License-Identifier: BSD-3-Clause */
/* What a well-behaved driver sees of split and packed rings, direct and by bounce buffers. */
#include "ring_env.h"

#define ALL_MODES 16

static void echo_one(struct env *e, unsigned seq)
{
	struct gvq_seg segs[2] = {{env_addr(0), 8, false}, {env_addr(64), 8, true}};
	uint64_t cookie, out, in;
	struct vq_chain c;
	uint32_t len;

	out = seq * 0x9e3779b97f4a7c15ull;
	memcpy(env_ptr(e, 0), &out, 8);
	assert_int_equal(gvq_add(&e->drv, segs, 2, seq), 0);
	gvq_publish(&e->drv);
	assert_int_equal(env_pop(e, &c), 1);
	assert_int_equal(c.out_len, 8);
	assert_int_equal(c.in_len, 8);
	chain_copy(&c, false, &in, 8, false);
	assert_int_equal(in, out);
	in = ~in;
	chain_copy(&c, true, &in, 8, true);
	vq_push(e->vq, &c, 8);
	assert_false(gvq_has_used(&e->drv));
	vq_publish(e->vq);
	assert_true(gvq_take(&e->drv, &cookie, &len));
	assert_int_equal(cookie, seq);
	assert_int_equal(len, 8);
	assert_memory_equal(env_ptr(e, 64), &in, 8);
	assert_int_equal(env_pop(e, &c), 0);
}

static void test_wraps_past_65536(void **state)
{
	FOR_EACH_MODE(m, ALL_MODES)
	{
		struct env e;

		env_open(&e, m, 8);
		for (unsigned i = 0; i < (m.remote ? 3000 : 70000); i++)
			echo_one(&e, i);
		env_close(&e);
	}
	(void)state;
}

static void test_odd_packed_size(void **state)
{
	struct mode m = {.packed = true, .event_idx = true};
	struct env e;

	env_open(&e, m, 7);
	for (unsigned i = 0; i < 100; i++)
		echo_one(&e, i);
	env_close(&e);
	(void)state;
}

static void test_full_ring_and_order(void **state)
{
	FOR_EACH_MODE(m, ALL_MODES)
	{
		struct vq_chain c[16];
		struct vq_buf bufs[16][4];
		uint64_t cookie;
		uint32_t len;
		struct env e;

		env_open(&e, m, 16);
		for (unsigned round = 0; round < 5; round++) {
			for (unsigned i = 0; i < 16; i++)
				assert_int_equal(gvq_add_one(&e.drv, env_addr(64 * i), 64, true, i),
						 0);
			assert_int_equal(gvq_add_one(&e.drv, env_addr(0), 64, true, 0), -ENOSPC);
			gvq_publish(&e.drv);
			assert_true(vq_avail(e.vq) >= 1);
			for (unsigned i = 0; i < 16; i++)
				assert_int_equal(vq_pop(e.vq, &c[i], bufs[i], 4), 1);
			assert_int_equal(env_pop(&e, &c[0]), 0);
			/* the device may complete in any order */
			for (unsigned i = 0; i < 16; i++) {
				memset(c[i ^ 5].bufs[0].ptr, (int)(i ^ 5), 64);
				vq_push(e.vq, &c[i ^ 5], 1 + (i ^ 5));
			}
			vq_publish(e.vq);
			for (unsigned i = 0; i < 16; i++) {
				assert_true(gvq_take(&e.drv, &cookie, &len));
				assert_int_equal(cookie, i ^ 5);
				assert_int_equal(len, cookie + 1);
				assert_int_equal(*env_ptr(&e, 64 * (unsigned)cookie), cookie);
			}
			assert_false(gvq_has_used(&e.drv));
		}
		env_close(&e);
	}
	(void)state;
}

static void test_unpop(void **state)
{
	FOR_EACH_MODE(m, ALL_MODES)
	{
		struct gvq_seg segs[3] = {
			{env_addr(0), 4, false}, {env_addr(16), 4, false}, {env_addr(32), 4, true}};
		struct vq_chain a, b;
		struct env e;

		env_open(&e, m, 8);
		for (unsigned round = 0; round < 40; round++) {
			uint64_t cookie;
			uint32_t len, pos;

			gvq_add(&e.drv, segs, 3, 1);
			gvq_add(&e.drv, segs, 2, 2);
			gvq_publish(&e.drv);
			pos = vq_position(e.vq);
			assert_int_equal(env_pop(&e, &a), 1);
			assert_int_equal(env_pop(&e, &b), 1);
			vq_unpop(e.vq, 2, a.ndescs + b.ndescs);
			assert_int_equal(vq_position(e.vq), pos);
			assert_int_equal(env_pop(&e, &a), 1);
			assert_int_equal(a.out_len, 8);
			assert_int_equal(env_pop(&e, &b), 1);
			vq_unpop(e.vq, 1, b.ndescs);
			vq_push(e.vq, &a, 0);
			assert_int_equal(env_pop(&e, &b), 1);
			assert_int_equal(b.in_len, 0);
			vq_push(e.vq, &b, 0);
			vq_publish(e.vq);
			assert_true(gvq_take(&e.drv, &cookie, &len) && cookie == 1);
			assert_true(gvq_take(&e.drv, &cookie, &len) && cookie == 2);
		}
		env_close(&e);
	}
	(void)state;
}

/* Pushes n chains that were added one by one; whether the publish asks for an interrupt. */
static bool complete(struct env *e, unsigned n)
{
	struct vq_chain c;

	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(gvq_add_one(&e->drv, env_addr(0), 16, false, 0), 0);
		gvq_publish(&e->drv);
		assert_int_equal(env_pop(e, &c), 1);
		vq_push(e->vq, &c, 0);
	}
	return vq_publish(e->vq);
}

static void take_all(struct env *e)
{
	uint64_t cookie;
	uint32_t len;

	while (gvq_take(&e->drv, &cookie, &len))
		;
}

static void test_interrupt_suppression(void **state)
{
	FOR_EACH_MODE(m, ALL_MODES)
	{
		struct env e;

		env_open(&e, m, 16);
		for (unsigned round = 0; round < 200; round++) {
			assert_false(gvq_enable_irq(&e.drv));
			assert_false(vq_publish(e.vq)); /* nothing pushed */
			assert_true(complete(&e, 1 + round % 16));
			/* with EVENT_IDX one request is one interrupt, else the flag stays */
			take_all(&e);
			gvq_disable_irq(&e.drv);
			assert_false(complete(&e, 1 + round % 13));
			take_all(&e);
		}
		/* an event somewhere inside a batch */
		if (m.event_idx) {
			for (unsigned round = 0; round < 50; round++) {
				assert_false(gvq_enable_irq(&e.drv));
				assert_true(complete(&e, 1));
				assert_false(complete(&e, 3));
				take_all(&e);
			}
		}
		env_close(&e);
	}
	(void)state;
}

/* An event index anywhere in the window: exactly the batch that contains it interrupts. */
static void test_event_position(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct mode m = {.packed = packed, .event_idx = true};
		struct env e;

		env_open(&e, m, 16);
		for (unsigned round = 0; round < 300; round++) {
			unsigned ahead = round % 11, batch = 1 + round % 5, done = 0;
			uint16_t at = e.drv.used;
			bool wrap = e.drv.used_wrap;

			if (packed) {
				wrap ^= at + ahead >= 16;
				at = (uint16_t)((at + ahead) % 16);
				*(uint32_t *)e.drv.driver = at | (wrap ? 0x8000 : 0) | 2 << 16;
			} else {
				((uint16_t *)e.drv.driver)[2 + 16] = (uint16_t)(at + ahead);
			}
			while (done + batch <= 15) {
				bool irq = complete(&e, batch);

				assert_int_equal(irq, done <= ahead && ahead < done + batch);
				done += batch;
			}
			take_all(&e);
		}
		env_close(&e);
	}
	(void)state;
}

static void test_kick_suppression(void **state)
{
	FOR_EACH_MODE(m, ALL_MODES)
	{
		struct gvq_seg seg = {env_addr(0), 16, false};
		struct vq_chain c;
		struct env e;

		env_open(&e, m, 16);
		for (unsigned round = 0; round < 200; round++) {
			assert_false(vq_arm(e.vq));
			gvq_add(&e.drv, &seg, 1, 0);
			assert_true(gvq_publish(&e.drv));
			assert_true(vq_arm(e.vq)); /* something is there */
			vq_disarm(e.vq);
			assert_int_equal(env_pop(&e, &c), 1);
			vq_push(e.vq, &c, 0);
			gvq_add(&e.drv, &seg, 1, 0);
			/* a split ring with EVENT_IDX was armed for this very one */
			if (m.packed || !m.event_idx)
				assert_false(gvq_publish(&e.drv));
			else
				gvq_publish(&e.drv);
			gvq_add(&e.drv, &seg, 1, 0);
			assert_false(gvq_publish(&e.drv));
			for (unsigned i = 0; i < 2; i++) {
				assert_int_equal(env_pop(&e, &c), 1);
				vq_push(e.vq, &c, 0);
			}
			vq_publish(e.vq);
			take_all(&e);
		}
		env_close(&e);
	}
	(void)state;
}

static void put_desc(struct env *e, unsigned i, uint64_t addr, uint32_t len, uint16_t a, uint16_t b)
{
	uint8_t *d = e->drv.desc + 16 * i;

	memcpy(d, &addr, 8);
	memcpy(d + 8, &len, 4);
	memcpy(d + 12, &a, 2);
	memcpy(d + 14, &b, 2);
}

static void test_table_after_direct(void **state)
{
	for (unsigned remote = 0; remote < 2; remote++) {
		struct mode m = {.indirect = true, .remote = remote};
		uint64_t table[4] = {env_addr(200), 24 | 2ull << 32, 0, 0};
		struct vq_chain c;
		struct env e;

		env_open(&e, m, 8);
		put_desc(&e, 0, env_addr(0), 10, 1, 3);	      /* next: 3 */
		put_desc(&e, 3, env_addr(512), 16, 4 | 2, 0); /* indirect; write is ignored */
		memcpy(env_ptr(&e, 512), table, 16);
		((uint16_t *)e.drv.driver)[2] = 0;
		((uint16_t *)e.drv.driver)[1] = 1;
		assert_int_equal(env_pop(&e, &c), 1);
		assert_int_equal(c.out_len, 10);
		assert_int_equal(c.in_len, 24);
		assert_int_equal(c.n_in, 1);
		env_close(&e);
	}
	(void)state;
}

/* Buffers over two regions; adjoining pointers give one piece, others two. */
static void test_buffer_over_regions(void **state)
{
	struct mode m = {0};
	struct gvq_seg seg = {0x20000000 + 4096 - 100, 300, true};
	struct gvq_seg seg2 = {0x20000000 + 8192 - 100, 300, true};
	struct vq_chain c;
	struct env e;

	env_open(&e, m, 8);
	assert_int_equal(dma_space_map(e.dma, 0x20000000, 4096, RW, e.fd, ENV_DATA), 0);
	assert_int_equal(dma_space_map(e.dma, 0x20001000, 4096, RW, e.fd, ENV_DATA + 4096), 0);
	assert_int_equal(dma_space_map(e.dma, 0x20002000, 4096, RW, e.fd, ENV_DATA + 65536), 0);
	assert_int_equal(vq_begin(e.vq, dma_view_get(e.dma)), 0);
	gvq_add(&e.drv, &seg, 1, 0);
	gvq_add(&e.drv, &seg2, 1, 0);
	gvq_publish(&e.drv);
	assert_int_equal(env_pop(&e, &c), 1);
	assert_int_equal(c.n_in, 1);
	assert_int_equal(c.in_len, 300);
	assert_int_equal(env_pop(&e, &c), 1);
	assert_int_equal(c.n_in, 2);
	assert_int_equal(c.bufs[0].len, 100);
	assert_int_equal(c.bufs[1].len, 200);
	memset(c.bufs[1].ptr, 7, 200);
	assert_int_equal(*env_ptr(&e, 65536), 7);
	env_close(&e);
	(void)state;
}

/* Rings spread over page-sized regions, as behind an IOMMU. */
static void test_ring_over_regions(void **state)
{
	for (unsigned scattered = 0; scattered < 2; scattered++) {
		struct mode m = {0};
		struct virtqueue *vq;
		struct vq_config cfg;
		struct env e;

		env_open(&e, m, 1024);
		cfg = e.cfg;
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(dma_space_map(e.dma, 0x20000000 + i * 4096, 4096, RW, e.fd,
						       (scattered ? 7 - i : i) * 4096),
					 0);
		cfg.desc = 0x20000000;
		cfg.driver = cfg.desc + 16384;
		cfg.device = cfg.driver + 4096;
		assert_int_equal(vq_rings_have_pointers(e.dma, &cfg), !scattered);
		assert_int_equal(vq_create(e.dma, &cfg, &vq), 0);
		assert_int_equal(vq_is_remote(vq), scattered);
		assert_int_equal(vq_begin(vq, dma_view_get(e.dma)), 0);
		vq_destroy(vq);
		env_close(&e);
	}
	(void)state;
}

static void test_create_checks(void **state)
{
	struct vq_config bad;
	struct virtqueue *vq;
	struct env e;

	FOR_EACH_MODE(m, 2)
	{
		env_open(&e, m, 8);
		bad = e.cfg;
		bad.size = 0;
		assert_int_equal(vq_create(e.dma, &bad, &vq), -EINVAL);
		bad.size = VQ_SIZE_MAX * 2;
		assert_int_equal(vq_create(e.dma, &bad, &vq), -EINVAL);
		bad.size = 12;
		assert_int_equal(vq_create(e.dma, &bad, &vq), m.packed ? 0 : -EINVAL);
		if (m.packed)
			vq_destroy(vq);
		bad = e.cfg;
		bad.desc += 8;
		assert_int_equal(vq_create(e.dma, &bad, &vq), -EINVAL);
		bad = e.cfg;
		bad.driver += 1;
		assert_int_equal(vq_create(e.dma, &bad, &vq), -EINVAL);
		bad = e.cfg;
		bad.device += 2;
		assert_int_equal(vq_create(e.dma, &bad, &vq), -EINVAL);
		bad = e.cfg;
		bad.desc = ENV_BASE + ENV_SIZE - 64; /* leaves memory */
		assert_int_equal(vq_create(e.dma, &bad, &vq), -EFAULT);
		bad = e.cfg;
		bad.desc = UINT64_MAX - 15;
		assert_int_equal(vq_create(e.dma, &bad, &vq), -EFAULT);
		bad = e.cfg;
		bad.device = ENV_RO;
		assert_int_equal(vq_create(e.dma, &bad, &vq), -EFAULT);
		bad = e.cfg;
		bad.driver = ENV_RO;
		assert_int_equal(vq_create(e.dma, &bad, &vq), 0);
		vq_destroy(vq);
		env_close(&e);
	}
	(void)state;
}

static void test_map_changes(void **state)
{
	FOR_EACH_MODE(m, 2)
	{
		struct env e;
		struct vq_chain c;

		env_open(&e, m, 8);
		echo_one(&e, 1);
		/* something else is mapped: the queue goes on */
		assert_int_equal(dma_space_map(e.dma, 0x20000000, 4096, RW, e.fd, 0), 0);
		assert_int_equal(vq_begin(e.vq, dma_view_get(e.dma)), 0);
		echo_one(&e, 2);
		/* the rings vanish: it breaks, without touching the old place */
		assert_int_equal(dma_space_unmap(e.dma, ENV_BASE, ENV_SIZE), 0);
		assert_false(vq_arm(e.vq));
		vq_disarm(e.vq);
		assert_int_equal(vq_begin(e.vq, dma_view_get(e.dma)), -EFAULT);
		assert_int_equal(env_pop(&e, &c), -EFAULT);
		assert_true(vq_is_broken(e.vq));
		assert_false(vq_met_remote(e.vq));
		env_close(&e);
	}
	(void)state;
}

static void test_remote_buffer_in_mapped_queue(void **state)
{
	FOR_EACH_MODE(m, 2)
	{
		struct gvq_seg seg = {0x20000000, 100, false};
		struct vq_chain c;
		struct env e;

		env_open(&e, m, 8);
		assert_int_equal(dma_space_map(e.dma, 0x20000000, 4096, RW, -1, 0), 0);
		assert_int_equal(vq_begin(e.vq, dma_view_get(e.dma)), 0);
		echo_one(&e, 2); /* that there is such memory does not matter... */
		gvq_add(&e.drv, &seg, 1, 0);
		gvq_publish(&e.drv);
		assert_int_equal(env_pop(&e, &c), -EFAULT); /* ...until it is used */
		assert_true(vq_met_remote(e.vq));
		env_close(&e);
	}
	(void)state;
}

static void test_remote_cancelled(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct mode m = {.packed = packed, .remote = true};
		struct gvq_seg seg = {env_addr(0), 16, false};
		struct vq_chain c;
		struct env e;

		env_open(&e, m, 8);
		gvq_add(&e.drv, &seg, 1, 0);
		gvq_publish(&e.drv);
		e.remote_error = -ECANCELED;
		assert_int_equal(env_pop(&e, &c), 0);
		assert_false(vq_is_broken(e.vq));
		e.remote_error = 0;
		assert_int_equal(env_pop(&e, &c), 1);
		vq_unpop(e.vq, 1, c.ndescs);
		e.remote_error = -EIO;
		assert_int_equal(env_pop(&e, &c), -EFAULT);
		assert_true(vq_is_broken(e.vq));
		env_close(&e);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wraps_past_65536),
		cmocka_unit_test(test_odd_packed_size),
		cmocka_unit_test(test_full_ring_and_order),
		cmocka_unit_test(test_unpop),
		cmocka_unit_test(test_interrupt_suppression),
		cmocka_unit_test(test_event_position),
		cmocka_unit_test(test_kick_suppression),
		cmocka_unit_test(test_table_after_direct),
		cmocka_unit_test(test_buffer_over_regions),
		cmocka_unit_test(test_ring_over_regions),
		cmocka_unit_test(test_create_checks),
		cmocka_unit_test(test_map_changes),
		cmocka_unit_test(test_remote_buffer_in_mapped_queue),
		cmocka_unit_test(test_remote_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
