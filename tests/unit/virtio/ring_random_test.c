/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random chains through every kind of ring, compared with what a plain model says: the bytes the
 * device reads, the bytes the driver finds, lengths, cookies; completion in random order.
 */
#include "ring_env.h"

#define SLOT_BYTES 2048 /* each chain's own part of memory: out bytes, then in bytes */
#define INFLIGHT   64

struct model {
	uint8_t out[SLOT_BYTES], in[SLOT_BYTES];
	unsigned out_len, in_len, written;
	bool used;
	struct vq_chain chain;
	struct vq_buf bufs[32];
};

struct run {
	struct env e;
	struct model slots[INFLIGHT];
	unsigned order[INFLIGHT], n_popped; /* slots popped and not pushed */
	unsigned queue[INFLIGHT], q_len;    /* slots added and not popped, in order */
	uint64_t done, singles;
	unsigned seed;
};

static unsigned rnd(struct run *r, unsigned n)
{
	r->seed ^= r->seed << 13;
	r->seed ^= r->seed >> 17;
	r->seed ^= r->seed << 5;
	return r->seed % n;
}

static unsigned split_up(struct run *r, struct gvq_seg *segs, uint64_t addr, unsigned len,
			 unsigned max, bool write)
{
	unsigned n = 0, part;

	for (; len; len -= part, addr += part) {
		part = n + 1 == max ? len : 1 + rnd(r, len);
		segs[n++] = (struct gvq_seg){addr, part, write};
	}
	return n;
}

static void add_one(struct run *r)
{
	struct gvq_seg segs[32];
	struct model *m;
	unsigned slot = rnd(r, INFLIGHT), n;

	m = &r->slots[slot];
	if (m->used)
		return;
	m->out_len = rnd(r, 3) ? rnd(r, 1000) : 0;
	m->in_len = rnd(r, 3) ? rnd(r, 1000) : 0;
	if (!m->out_len && !m->in_len)
		m->out_len = 1;
	for (unsigned i = 0; i < m->out_len; i++)
		m->out[i] = (uint8_t)rnd(r, 256);
	memcpy(env_ptr(&r->e, slot * SLOT_BYTES), m->out, m->out_len);
	n = split_up(r, segs, env_addr(slot * SLOT_BYTES), m->out_len, 1 + rnd(r, 6), false);
	n += split_up(r, segs + n, env_addr(slot * SLOT_BYTES + 1024), m->in_len, 1 + rnd(r, 6),
		      true);
	if (gvq_add(&r->e.drv, segs, n, slot)) {
		gvq_publish(&r->e.drv);
		return;
	}
	m->used = true;
	r->queue[r->q_len++] = slot;
	if (rnd(r, 3))
		return;
	gvq_publish(&r->e.drv);
}

static void pop_one(struct run *r)
{
	struct vq_chain chain;
	struct vq_buf bufs[32];
	uint8_t buf[SLOT_BYTES];
	struct model *m;
	int n = vq_pop(r->e.vq, &chain, bufs, 32);

	assert_true(n == 0 || n == 1);
	if (!n)
		return;
	assert_true(r->q_len > 0);
	m = &r->slots[r->queue[0]];
	assert_int_equal(chain.out_len, m->out_len);
	assert_int_equal(chain.in_len, m->in_len);
	chain_copy(&chain, false, buf, m->out_len, false);
	assert_memory_equal(buf, m->out, m->out_len);
	if (!rnd(r, 5)) {
		vq_unpop(r->e.vq, 1, chain.ndescs);
		return;
	}
	m->chain = chain;
	memcpy(m->bufs, bufs, sizeof(bufs));
	m->chain.bufs = m->bufs;
	r->order[r->n_popped++] = r->queue[0];
	memmove(r->queue, r->queue + 1, --r->q_len * sizeof(r->queue[0]));
}

/* Some chains of one buffer at once: each must be the next that was added, and of the kind asked
 * for. They are given back, or used at once in the same order. */
static void pop_singles(struct run *r)
{
	bool writable = rnd(r, 2), back = !rnd(r, 4);
	struct vq_single s[8];
	unsigned n = vq_pop_singles(r->e.vq, s, 1 + rnd(r, 8), writable);

	assert_true(n <= r->q_len);
	for (unsigned i = 0; i < n; i++) {
		struct model *m = &r->slots[r->queue[i]];

		assert_int_equal(writable ? m->out_len : m->in_len, 0);
		assert_int_equal(s[i].len, writable ? m->in_len : m->out_len);
		if (!writable)
			assert_memory_equal(s[i].ptr, m->out, m->out_len);
		if (back)
			continue;
		m->written = writable ? rnd(r, s[i].len + 1) : 0;
		for (unsigned k = 0; k < m->written; k++)
			((uint8_t *)s[i].ptr)[k] = m->in[k] = (uint8_t)rnd(r, 256);
		s[i].len = m->written;
	}
	if (back) {
		vq_unpop(r->e.vq, n, n);
		return;
	}
	vq_push_singles(r->e.vq, s, n, writable);
	r->q_len -= n;
	memmove(r->queue, r->queue + n, r->q_len * sizeof(r->queue[0]));
	r->singles += n;
	if (!rnd(r, 3))
		vq_publish(r->e.vq);
}

static void push_one(struct run *r)
{
	struct model *m;
	unsigned k;

	if (!r->n_popped) {
		vq_publish(r->e.vq);
		return;
	}
	k = rnd(r, r->n_popped);
	m = &r->slots[r->order[k]];
	m->written = m->in_len ? rnd(r, m->in_len + 1) : 0;
	for (unsigned i = 0; i < m->written; i++)
		m->in[i] = (uint8_t)rnd(r, 256);
	chain_copy(&m->chain, true, m->in, m->written, true);
	vq_push(r->e.vq, &m->chain, m->written);
	r->order[k] = r->order[--r->n_popped];
	if (!rnd(r, 3))
		vq_publish(r->e.vq);
}

static void take_one(struct run *r)
{
	struct model *m;
	uint64_t slot;
	uint32_t len;

	if (!gvq_take(&r->e.drv, &slot, &len))
		return;
	m = &r->slots[slot];
	assert_true(m->used);
	assert_int_equal(len, m->written);
	assert_memory_equal(env_ptr(&r->e, (unsigned)slot * SLOT_BYTES + 1024), m->in, m->written);
	m->used = false;
	r->done++;
}

static void play(struct mode m, uint16_t size, unsigned seed, unsigned steps)
{
	struct run *r = calloc(1, sizeof(*r));
	unsigned drain;

	r->seed = seed;
	env_open(&r->e, m, size);
	for (unsigned i = 0; i < steps; i++) {
		switch (rnd(r, 5)) {
		case 0:
			add_one(r);
			break;
		case 1:
			pop_one(r);
			break;
		case 2:
			push_one(r);
			break;
		case 3:
			pop_singles(r);
			break;
		default:
			take_one(r);
		}
		assert_false(vq_is_broken(r->e.vq));
	}
	gvq_publish(&r->e.drv);
	for (drain = 0; drain < 1000; drain++) {
		pop_one(r);
		push_one(r);
		vq_publish(r->e.vq);
		take_one(r);
	}
	assert_int_equal(gvq_free(&r->e.drv), size);
	assert_true(r->done > steps / 20);
	if (m.remote)
		assert_int_equal(r->singles, 0);
	else
		assert_true(r->singles > steps / 1000);
	env_close(&r->e);
	free(r);
}

static void test_random(void **state)
{
	static const uint16_t sizes[] = {16, 64, 256};

	for (unsigned seed = 1; seed <= 4; seed++)
		FOR_EACH_MODE(m, 16)
	for (unsigned s = 0; s < 3; s++)
		play(m, sizes[s], seed * 7919, m.remote ? 4000 : 20000);
	for (unsigned seed = 1; seed <= 4; seed++)
		play((struct mode){.packed = true, .event_idx = true}, 37, seed, 20000);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
