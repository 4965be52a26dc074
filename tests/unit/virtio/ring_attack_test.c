/* SPDX-License-Identifier: BSD-3-Clause */
/* Rings written by an attacker: each breaks its own queue, once and for ever, and no other. */
#include "ring_env.h"

#define SIZE	 8
#define NEXT	 1
#define WRITE	 2
#define INDIRECT 4
#define A_NEXT	 (UINT64_MAX - 50)

/* Descriptors as {addr, len, flags, next}; the chain starts at slot 0. For packed rings flags are
 * made available and chains lie in order. */
struct raw {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct attack {
	const char *name;
	struct raw d[SIZE];
	struct raw table[4]; /* at env_addr(0) */
	int split, packed;   /* what pop gives; 0: not applicable */
	bool no_indirect;    /* the feature was not negotiated */
};

#define BUF env_addr(4096)

static void put(uint8_t *to, const struct raw *r, uint16_t a, uint16_t b)
{
	memcpy(to, &r->addr, 8);
	memcpy(to + 8, &r->len, 4);
	memcpy(to + 12, &a, 2);
	memcpy(to + 14, &b, 2);
}

static void lay(struct env *e, const struct attack *a)
{
	bool packed = e->mode.packed;
	unsigned i;

	for (i = 0; i < SIZE; i++)
		put(e->drv.desc + 16 * i, &a->d[i], packed ? 0 : a->d[i].flags,
		    packed ? (uint16_t)(a->d[i].flags | 0x80) : a->d[i].next);
	for (i = 0; i < 4; i++)
		put(env_ptr(e, 16 * i), &a->table[i], packed ? 0 : a->table[i].flags,
		    packed ? a->table[i].flags : a->table[i].next);
	if (!packed)
		((uint16_t *)e->drv.driver)[1] = 1; /* avail idx; ring[0] is 0 */
}

static void attack_one(const struct attack *a, struct mode m, int expect)
{
	struct vq_chain c;
	struct env e, other;

	env_open(&e, m, SIZE);
	env_open(&other, m, SIZE);
	lay(&e, a);
	if (env_pop(&e, &c) != expect)
		fail_msg("%s (packed %d, remote %d): not %d", a->name, m.packed, m.remote, expect);
	if (expect < 0) {
		/* broken for ever, even if the ring is put right */
		memset(e.mem, 0, ENV_SIZE);
		assert_int_equal(env_pop(&e, &c), expect);
		assert_int_equal(vq_begin(e.vq, dma_view_get(e.dma)), expect);
		assert_true(vq_is_broken(e.vq));
		assert_int_equal(vq_avail(e.vq), 0);
		assert_false(vq_arm(e.vq));
		c = (struct vq_chain){.ndescs = 1};
		vq_push(e.vq, &c, 5);
		assert_false(vq_publish(e.vq));
		for (unsigned i = 0; i < ENV_DATA; i++)
			assert_int_equal(e.mem[i], 0);
	}
	assert_int_equal(env_pop(&other, &c), 0);
	assert_false(vq_is_broken(other.vq));
	env_close(&e);
	env_close(&other);
}

static void test_attacks(void **state)
{
	const struct attack attacks[] = {
		{"plain (no attack)", {{BUF, 100, 0, 0}}, {{0}}, 1, 1},
		{"zero length", {{BUF, 0, 0, 0}}, {{0}}, -EPROTO, -EPROTO},
		{"unmapped", {{0x50, 100, 0, 0}}, {{0}}, -EFAULT, -EFAULT},
		{"past the end", {{ENV_BASE + ENV_SIZE - 50, 100, 0, 0}}, {{0}}, -EFAULT, -EFAULT},
		{"wrapping", {{A_NEXT, 100, 0, 0}}, {{0}}, -EFAULT, -EFAULT},
		{"write to read-only", {{ENV_RO, 100, WRITE, 0}}, {{0}}, -EFAULT, -EFAULT},
		{"read of read-only is fine", {{ENV_RO, 100, 0, 0}}, {{0}}, 1, 1},
		{"self loop", {{BUF, 1, NEXT, 0}}, {{0}}, -EPROTO, 0},
		{"loop of two", {{BUF, 1, NEXT, 1}, {BUF, 1, NEXT, 0}}, {{0}}, -EPROTO, 0},
		{"next out of range", {{BUF, 1, NEXT, SIZE}}, {{0}}, -EPROTO, 0},
		{"next far out of range", {{BUF, 1, NEXT, 0xffff}}, {{0}}, -EPROTO, 0},
		{"endless packed chain",
		 {{BUF, 1, NEXT, 0},
		  {BUF, 1, NEXT, 0},
		  {BUF, 1, NEXT, 0},
		  {BUF, 1, NEXT, 0},
		  {BUF, 1, NEXT, 0},
		  {BUF, 1, NEXT, 0},
		  {BUF, 1, NEXT, 0},
		  {BUF, 1, NEXT, 0}},
		 {{0}},
		 -EPROTO,
		 -EPROTO},
		{"read after write",
		 {{BUF, 1, NEXT | WRITE, 1}, {BUF, 1, 0, 0}},
		 {{0}},
		 -EPROTO,
		 -EPROTO},
		{"more than 2^31 bytes",
		 {{BUF, 0x7fffffff, NEXT, 1}, {BUF, 0x7fffffff, 0, 0}},
		 {{0}},
		 -EFAULT,
		 -EFAULT},
		{"table", {{env_addr(0), 16, INDIRECT, 0}}, {{BUF, 5, 0, 0}}, 1, 1},
		{"table not negotiated",
		 {{env_addr(0), 16, INDIRECT, 0}},
		 {{BUF, 5, 0, 0}},
		 -EPROTO,
		 -EPROTO,
		 .no_indirect = true},
		{"table of odd length",
		 {{env_addr(0), 24, INDIRECT, 0}},
		 {{BUF, 5, 0, 0}},
		 -EPROTO,
		 -EPROTO},
		{"table of no length",
		 {{env_addr(0), 0, INDIRECT, 0}},
		 {{BUF, 5, 0, 0}},
		 -EPROTO,
		 -EPROTO},
		{"table with a next one",
		 {{env_addr(0), 16, INDIRECT | NEXT, 1}, {BUF, 1, 0, 0}},
		 {{BUF, 5, 0, 0}},
		 -EPROTO,
		 -EPROTO},
		{"table in a table",
		 {{env_addr(0), 16, INDIRECT, 0}},
		 {{env_addr(0), 16, INDIRECT, 0}},
		 -EPROTO,
		 0},
		{"table loop",
		 {{env_addr(0), 32, INDIRECT, 0}},
		 {{BUF, 5, NEXT, 1}, {BUF, 5, NEXT, 0}},
		 -EPROTO,
		 0},
		{"table next out of range",
		 {{env_addr(0), 32, INDIRECT, 0}},
		 {{BUF, 5, NEXT, 2}},
		 -EPROTO,
		 0},
		{"table unmapped", {{0x10, 16, INDIRECT, 0}}, {{0}}, -EFAULT, -EFAULT},
		{"table wrapping", {{UINT64_MAX - 7, 32, INDIRECT, 0}}, {{0}}, -EFAULT, -EFAULT},
		{"table of 4 GiB", {{env_addr(0), 0xfffffff0, INDIRECT, 0}}, {{0}}, -EPROTO, 0},
		{"table: read after write",
		 {{env_addr(0), 32, INDIRECT, 0}},
		 {{BUF, 5, NEXT | WRITE, 1}, {BUF, 5, 0, 0}},
		 -EPROTO,
		 -EPROTO},
		{"table: entry unmapped",
		 {{env_addr(0), 16, INDIRECT, 0}},
		 {{0x50, 5, 0, 0}},
		 -EFAULT,
		 -EFAULT},
		{"table: zero-length entry",
		 {{env_addr(0), 16, INDIRECT, 0}},
		 {{BUF, 0, 0, 0}},
		 -EPROTO,
		 -EPROTO},
	};

	for (unsigned i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		for (unsigned k = 0; k < 4; k++) {
			struct mode m = {.packed = k & 1, .remote = k & 2};
			int expect = m.packed ? attacks[i].packed : attacks[i].split;

			m.indirect = !attacks[i].no_indirect;
			if (!expect)
				continue;
			attack_one(&attacks[i], m, expect);
		}
	}
	(void)state;
}

static void test_avail_index_jumps(void **state)
{
	for (unsigned remote = 0; remote < 2; remote++) {
		struct mode m = {.remote = remote};
		struct vq_chain c;
		struct env e;

		env_open(&e, m, SIZE);
		((uint16_t *)e.drv.driver)[1] = SIZE + 1;
		assert_int_equal(env_pop(&e, &c), -EPROTO);
		env_close(&e);
		env_open(&e, m, SIZE);
		((uint16_t *)e.drv.driver)[1] = 0xffff; /* backwards */
		vq_avail(e.vq);
		assert_int_equal(env_pop(&e, &c), -EPROTO);
		env_close(&e);
	}
	(void)state;
}

static void test_head_out_of_range(void **state)
{
	for (unsigned remote = 0; remote < 2; remote++) {
		struct mode m = {.remote = remote};
		struct vq_chain c;
		struct env e;

		env_open(&e, m, SIZE);
		((uint16_t *)e.drv.driver)[1] = 1;
		((uint16_t *)e.drv.driver)[2] = SIZE;
		assert_int_equal(env_pop(&e, &c), -EPROTO);
		env_close(&e);
	}
	(void)state;
}

/* The driver makes buffers available again that the device still has. */
static void test_more_in_flight_than_slots(void **state)
{
	for (unsigned k = 0; k < 4; k++) {
		struct mode m = {.packed = k & 1, .remote = k & 2};
		struct raw d = {BUF, 10, 0, 0};
		struct vq_chain c;
		struct env e;

		env_open(&e, m, SIZE);
		for (unsigned lap = 0; lap < 2; lap++) {
			for (unsigned i = 0; i < SIZE; i++)
				put(e.drv.desc + 16 * i, &d, 0,
				    m.packed ? (lap ? 0x8000 : 0x80) : 0);
			((uint16_t *)e.drv.driver)[1] = (uint16_t)(m.packed ? 0 : SIZE * (lap + 1));
			for (unsigned i = 0; i < SIZE; i++) {
				int got = env_pop(&e, &c);

				assert_int_equal(got, lap ? -EPROTO : 1);
			}
		}
		env_close(&e);
	}
	(void)state;
}

static void test_too_many_pieces(void **state)
{
	FOR_EACH_MODE(m, 16)
	{
		struct gvq_seg segs[3] = {
			{BUF, 5, false}, {BUF + 100, 5, false}, {BUF + 200, 5, false}};
		struct vq_chain c;
		struct env e;

		env_open(&e, m, SIZE);
		gvq_add(&e.drv, segs, 3, 0);
		gvq_publish(&e.drv);
		assert_int_equal(vq_pop(e.vq, &c, e.bufs, 2), -EPROTO);
		env_close(&e);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attacks),
		cmocka_unit_test(test_avail_index_jumps),
		cmocka_unit_test(test_head_out_of_range),
		cmocka_unit_test(test_more_in_flight_than_slots),
		cmocka_unit_test(test_too_many_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
