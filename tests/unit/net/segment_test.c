/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checksums and segmentation, against a naive reference that shares nothing with the code: it
 * builds packets field by field, and checks each segment by itself.
 */
#include <errno.h>
#include <stdio.h>

#include "fixture.h"
#include "net/csum.h"

static uint64_t rng_state = 88172645463325252ull;

static uint32_t rnd(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (uint32_t)(rng_state >> 16);
}

static uint32_t rnd_range(uint32_t lo, uint32_t hi)
{
	return lo + rnd() % (hi - lo + 1);
}

/* RFC 1071 as one would write it down. */
static uint16_t naive_sum(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i += 2) {
		sum += (uint32_t)(p[i] << 8 | (i + 1 < len ? p[i + 1] : 0));
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

static uint16_t naive_pseudo(const uint8_t *ip, uint8_t proto, uint32_t len)
{
	uint8_t buf[40];

	if (ip[0] >> 4 == 4) {
		memcpy(buf, ip + 12, 8);
		buf[8] = 0;
		buf[9] = proto;
		put_be16(buf + 10, (uint16_t)len);
		return naive_sum(0, buf, 12);
	}
	memcpy(buf, ip + 8, 32);
	put_be32(buf + 32, len);
	put_be32(buf + 36, proto);
	return naive_sum(0, buf, 40);
}

/* ---- frames in random pieces ---- */

struct pieces {
	struct net_frame f;
	struct net_seg segs[NET_SEGS_MAX];
	uint8_t *copies[NET_SEGS_MAX]; /* of exact size, for ASan */
};

static void split(struct pieces *p, const uint8_t *data, uint32_t len, uint32_t head)
{
	uint32_t off = MIN(head, len), n;

	memset(p, 0, sizeof(*p));
	p->f.len = len;
	p->f.head_off = NET_HEAD_ROOM;
	p->f.head_len = (uint16_t)off;
	memcpy(net_frame_head(&p->f), data, off);
	p->f.segs = p->segs;
	while (off < len) {
		n = p->f.nsegs == NET_SEGS_MAX - 1 ? len - off
						   : rnd_range(0, MIN(len - off, 9000u));
		if (p->f.nsegs < NET_SEGS_MAX - 1 && rnd() % 4 == 0)
			n = MIN(n, rnd() % 64);
		p->copies[p->f.nsegs] = malloc(n ? n : 1);
		memcpy(p->copies[p->f.nsegs], data + off, n);
		p->segs[p->f.nsegs] = (struct net_seg){p->copies[p->f.nsegs], n};
		p->f.nsegs++;
		off += n;
	}
}

static void unsplit(struct pieces *p)
{
	for (unsigned i = 0; i < NET_SEGS_MAX; i++)
		free(p->copies[i]);
}

/* ---- tests ---- */

static void sum_equals_naive(void **state)
{
	uint8_t *buf = malloc(5000);

	for (unsigned i = 0; i < 5000; i++)
		buf[i] = (uint8_t)(i % 7 ? rnd() : 0xff);
	for (unsigned i = 0; i < 3000; i++) {
		uint32_t off = rnd() % 40, len = i < 200 ? i : rnd() % 4900;
		uint16_t got = csum_fold(csum_add(0, buf + off, len));

		got = be16toh(got);
		/* 0 and ffff are one number */
		assert_int_equal(got % 0xffff, naive_sum(0, buf + off, len) % 0xffff);
	}
	memset(buf, 0xff, 5000);
	assert_int_equal(csum_fold(csum_add(UINT64_MAX, buf, 5000)), 0xffff);
	free(buf);
}

static void copy_and_sum_cross_pieces(void **state)
{
	uint8_t data[20000], out[20000];
	struct pieces p;

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)rnd();
	for (unsigned round = 0; round < 300; round++) {
		uint32_t len = rnd_range(14, sizeof(data)), off = rnd() % len;
		uint32_t n = rnd() % (len - off + 1);
		uint16_t sum;

		split(&p, data, len, rnd_range(0, NET_HEAD_MAX));
		net_frame_copy(&p.f, off, out, n);
		assert_memory_equal(out, data + off, n);
		sum = be16toh(csum_fold(csum_add_frame(0, &p.f, off, n)));
		assert_int_equal(sum % 0xffff, naive_sum(0, data + off, n) % 0xffff);
		unsplit(&p);
	}
}

static void pull_keeps_the_bytes(void **state)
{
	uint8_t data[600], out[600];
	struct pieces p;

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)rnd();
	for (unsigned round = 0; round < 2000; round++) {
		uint32_t want = rnd_range(0, 160);
		struct net_frame copy;
		int err;

		split(&p, data, rnd_range(1, sizeof(data)), rnd_range(0, NET_HEAD_MAX));
		net_frame_clone(&copy, &p.f);
		err = net_frame_pull(&copy, want);
		if (want > copy.len)
			assert_int_equal(err, -EINVAL);
		else if (want > sizeof(copy.head_buf))
			assert_int_equal(err, -ENOBUFS);
		if (!err) {
			assert_true(copy.head_len >= want);
			net_frame_copy(&copy, 0, out, copy.len);
			assert_memory_equal(out, data, copy.len);
		}
		/* the original is as it was */
		net_frame_copy(&p.f, 0, out, p.f.len);
		assert_memory_equal(out, data, p.f.len);
		unsplit(&p);
	}
}

static void complete_csum_works_and_refuses(void **state)
{
	uint8_t data[300] = {0};
	struct net_frame f;
	struct pieces p;
	uint16_t sum;

	for (unsigned i = 34; i < sizeof(data); i++)
		data[i] = (uint8_t)rnd();
	for (unsigned head = 14; head <= NET_HEAD_MAX; head++) {
		split(&p, data, 301 - head, head);
		if (p.f.nsegs > NET_OWN_SEGS) {
			unsplit(&p);
			continue;
		}
		net_frame_clone(&f, &p.f);
		f.offload = (struct net_offload){
			.needs_csum = true, .csum_start = 34, .csum_offset = 16};
		assert_int_equal(net_frame_complete_csum(&f), 0);
		assert_false(f.offload.needs_csum);
		assert_true(f.head_len >= 52);
		sum = naive_sum(0, data + 34, f.len - 34);
		/* the field's old content took part, as the pseudo-header would */
		assert_int_equal(get_be16(net_frame_head(&f) + 50) % 0xffff,
				 (uint16_t)~sum % 0xffff);
		unsplit(&p);
	}
	/* a sum of zero is sent as ffff */
	memset(data, 0, sizeof(data));
	memset(data + 34, 0xff, 2);
	split(&p, data, 60, 60);
	p.f.offload = (struct net_offload){.needs_csum = true, .csum_start = 34, .csum_offset = 6};
	assert_int_equal(net_frame_complete_csum(&p.f), 0);
	assert_int_equal(get_be16(net_frame_head(&p.f) + 40), 0xffff);
	unsplit(&p);
	/* outside the frame; beyond any head */
	split(&p, data, 300, 100);
	p.f.offload = (struct net_offload){.needs_csum = true, .csum_start = 290, .csum_offset = 9};
	assert_int_equal(net_frame_complete_csum(&p.f), -EINVAL);
	p.f.offload.csum_start = 0xffff;
	p.f.offload.csum_offset = 0xffff;
	assert_int_equal(net_frame_complete_csum(&p.f), -EINVAL);
	p.f.offload.csum_start = 200;
	p.f.offload.csum_offset = 0;
	assert_int_equal(net_frame_complete_csum(&p.f), -EINVAL);
	unsplit(&p);
}

static void offload_fields_are_checked(void **state)
{
	struct net_frame f;
	struct net_offload *o = &f.offload;

	frame_simple(&f, 1, 2, 0);
	assert_true(net_frame_valid(&f));
	o->needs_csum = true;
	o->csum_start = 34;
	o->csum_offset = 16;
	assert_true(net_frame_valid(&f));
	o->csum_offset = 29;
	assert_false(net_frame_valid(&f));
	o->csum_offset = 0xffff;
	assert_false(net_frame_valid(&f));
	o->csum_offset = 0;
	o->csum_start = 13; /* would rewrite the EtherType */
	assert_false(net_frame_valid(&f));
	o->csum_start = 0xfff8;
	assert_false(net_frame_valid(&f));
	o->csum_start = 34;
	o->gso_type = NET_GSO_TCPV4;
	assert_false(net_frame_valid(&f)); /* no gso_size */
	o->gso_size = 100;
	assert_true(net_frame_valid(&f));
	o->needs_csum = false;
	assert_false(net_frame_valid(&f));
	o->needs_csum = true;
	o->gso_type = 3;
	assert_false(net_frame_valid(&f));
	/* a checksum field over the tag that was checked */
	frame_simple(&f, 1, 2, TAG_Q(5));
	o->needs_csum = true;
	o->csum_start = 14;
	o->csum_offset = 0;
	assert_false(net_frame_valid(&f));
	o->csum_start = 18;
	assert_true(net_frame_valid(&f));
	/* lengths */
	frame_simple(&f, 1, 2, 0);
	f.len = 13;
	f.head_len = 13;
	assert_false(net_frame_valid(&f));
	f.len = 100; /* no segs for the rest */
	assert_false(net_frame_valid(&f));
	f.len = NET_FRAME_MAX;
	f.nsegs = 1;
	assert_false(net_frame_valid(&f));
}

/* ---- random GSO packets ---- */

struct packet {
	uint8_t data[70000];
	uint32_t len, l3, l4, hdr;
	bool v6, tcp;
	uint8_t tcp_flags;
};

static void make_packet(struct packet *k, uint32_t payload)
{
	uint32_t off = 12, opts;
	uint8_t *ip, *l4;

	memset(k->data, 0, 400); /* more than any header */
	k->v6 = rnd() & 1;
	k->tcp = rnd() & 1;
	for (unsigned tags = rnd() % 3; tags; tags--, off += 4)
		put_be32(k->data + off, tags == 2 ? TAG_AD(7) : TAG_Q(9));
	put_be16(k->data + off, k->v6 ? 0x86dd : 0x0800);
	k->l3 = off + 2;
	ip = k->data + k->l3;
	if (k->v6) {
		uint8_t *next = ip + 6;

		ip[0] = 0x60;
		for (unsigned i = 8; i < 40; i++)
			ip[i] = (uint8_t)rnd();
		k->l4 = k->l3 + 40;
		for (unsigned ext = rnd() % 4; ext; ext--) {
			uint8_t *e = k->data + k->l4;
			unsigned units = rnd() % 4;

			*next = rnd() & 1 ? 0 : 60;
			next = e;
			e[1] = (uint8_t)units;
			k->l4 += 8 * (units + 1);
		}
		*next = k->tcp ? 6 : 17;
	} else {
		opts = rnd() % 11;
		ip[0] = (uint8_t)(0x45 + opts);
		put_be16(ip + 4, (uint16_t)rnd());
		ip[6] = rnd() & 1 ? 0x40 : 0;
		ip[8] = 64;
		ip[9] = k->tcp ? 6 : 17;
		for (unsigned i = 12; i < 20 + 4 * opts; i++)
			ip[i] = (uint8_t)rnd();
		k->l4 = k->l3 + 20 + 4 * opts;
	}
	l4 = k->data + k->l4;
	for (unsigned i = 0; i < 60; i++)
		l4[i] = (uint8_t)rnd();
	if (k->tcp) {
		opts = rnd() % 11;
		l4[12] = (uint8_t)((5 + opts) << 4);
		k->tcp_flags = l4[13];
		k->hdr = k->l4 + 20 + 4 * opts;
	} else {
		k->hdr = k->l4 + 8;
	}
	for (uint32_t i = 0; i < payload; i++)
		k->data[k->hdr + i] = (uint8_t)rnd();
	k->len = k->hdr + payload;
}

struct check {
	const struct packet *k;
	uint32_t mss, off; /* payload seen so far */
	unsigned n;
	bool csum;
	uint8_t out[70000];
};

static void check_segment(void *opaque, struct net_frame *seg)
{
	struct check *c = opaque;
	const struct packet *k = c->k;
	uint32_t payload = seg->len - k->hdr, l4_len = seg->len - k->l4;
	bool last = c->off + payload == k->len - k->hdr;
	const uint8_t *want_l4 = k->data + k->l4;
	uint8_t *s = c->out, *ip = s + k->l3, *l4 = s + k->l4;
	uint32_t total = seg->head_len;
	uint16_t sum;

	assert_true(seg->nsegs <= NET_SEGS_MAX);
	for (unsigned i = 0; i < seg->nsegs; i++)
		total += seg->segs[i].len;
	assert_int_equal(total, seg->len);
	assert_true(net_frame_valid(seg));
	net_frame_copy(seg, 0, s, seg->len);
	assert_true(payload <= c->mss);
	assert_true(last || payload == c->mss);
	/* payload in order */
	assert_memory_equal(s + k->hdr, k->data + k->hdr + c->off, payload);
	/* Ethernet, tags, addresses as they were */
	assert_memory_equal(s, k->data, k->l3);
	if (k->v6) {
		assert_int_equal(get_be16(ip + 4), seg->len - k->l3 - 40);
		assert_memory_equal(ip + 6, k->data + k->l3 + 6, k->l4 - k->l3 - 6);
	} else {
		assert_int_equal(get_be16(ip + 2), seg->len - k->l3);
		assert_int_equal(get_be16(ip + 4),
				 (uint16_t)(get_be16(k->data + k->l3 + 4) + c->n));
		assert_int_equal(naive_sum(0, ip, k->l4 - k->l3), 0xffff);
		assert_memory_equal(ip + 12, k->data + k->l3 + 12, k->l4 - k->l3 - 12);
	}
	if (k->tcp) {
		uint8_t flags = k->tcp_flags;

		if (!last)
			flags &= (uint8_t)~0x09;
		if (c->n)
			flags &= (uint8_t)~0x80;
		assert_int_equal(l4[13], flags);
		assert_int_equal(get_be32(l4 + 4), get_be32(want_l4 + 4) + c->off);
		assert_memory_equal(l4, want_l4, 4);
		assert_memory_equal(l4 + 8, want_l4 + 8, 5);
		assert_memory_equal(l4 + 18, want_l4 + 18, k->hdr - k->l4 - 18);
	} else {
		assert_int_equal(get_be16(l4 + 4), l4_len);
		assert_memory_equal(l4, want_l4, 4);
	}
	if (c->csum) {
		assert_false(seg->offload.needs_csum);
		sum = naive_sum(naive_pseudo(ip, k->tcp ? 6 : 17, l4_len), l4, l4_len);
		assert_int_equal(sum, 0xffff);
		assert_int_not_equal(get_be16(l4 + (k->tcp ? 16 : 6)), k->tcp ? 0x10000 : 0);
	} else {
		assert_true(seg->offload.needs_csum);
		assert_int_equal(seg->offload.csum_start, k->l4);
		assert_int_equal(seg->offload.csum_offset, k->tcp ? 16 : 6);
		assert_int_equal(get_be16(l4 + (k->tcp ? 16 : 6)) % 0xffff,
				 naive_pseudo(ip, k->tcp ? 6 : 17, l4_len) % 0xffff);
	}
	assert_int_equal(seg->offload.gso_type, NET_GSO_NONE);
	c->off += payload;
	c->n++;
}

static struct net_offload gso_of(const struct packet *k, uint16_t mss)
{
	return (struct net_offload){
		.needs_csum = true,
		.gso_type = !k->tcp ? NET_GSO_UDP_L4
			    : k->v6 ? NET_GSO_TCPV6
				    : NET_GSO_TCPV4,
		.gso_size = mss,
		.csum_start = (uint16_t)k->l4,
		.csum_offset = k->tcp ? 16 : 6,
	};
}

static void segments_are_right(void **state)
{
	static struct packet k;
	static struct check c;
	struct pieces p;

	for (unsigned round = 0; round < 1500; round++) {
		uint32_t payload = rnd() % 3 ? rnd() % 6000 : rnd() % 65000;
		int n;

		make_packet(&k, payload);
		split(&p, k.data, k.len, rnd() % 3 ? NET_HEAD_MAX : rnd_range(22, NET_HEAD_MAX));
		memset(&c, 0, offsetof(struct check, out));
		c.k = &k;
		c.mss = rnd() % 8 ? rnd_range(500, 9000) : rnd_range(40, 100);
		c.csum = rnd() & 1;
		p.f.offload = gso_of(&k, (uint16_t)c.mss);
		n = net_frame_segment(&p.f, c.csum, check_segment, &c);
		if (k.hdr > 256) {
			assert_int_equal(n, -EINVAL);
			assert_int_equal(c.n, 0);
		} else if (n < 0) {
			/* the only other refusal: too many pieces around a long header */
			assert_true(k.hdr > 144 && p.f.nsegs == NET_SEGS_MAX);
		} else {
			assert_int_equal(n, payload ? (payload + c.mss - 1) / c.mss : 1);
			assert_int_equal(c.n, n);
			assert_int_equal(c.off, payload);
		}
		unsplit(&p);
	}
}

static void count_segment(void *opaque, struct net_frame *seg)
{
	++*(unsigned *)opaque;
}

static int try_segment(const struct packet *k, const struct net_offload *o, uint32_t len)
{
	unsigned emitted = 0;
	struct pieces p;
	int n;

	split(&p, k->data, len, NET_HEAD_MAX);
	p.f.offload = *o;
	n = net_frame_segment(&p.f, true, count_segment, &emitted);
	assert_int_equal(emitted, n < 0 ? 0 : n);
	unsplit(&p);
	return n;
}

static void bad_gso_is_refused(void **state)
{
	static struct packet k;
	struct net_offload o;

	do
		make_packet(&k, 10000);
	while (k.v6 || !k.tcp);
	o = gso_of(&k, 1000);
	assert_int_equal(try_segment(&k, &o, k.len), 10);
	for (uint32_t len = 14; len < k.hdr; len++) /* truncated within the headers */
		assert_int_equal(try_segment(&k, &o, len), -EINVAL);
	o.gso_type = NET_GSO_TCPV6;
	assert_int_equal(try_segment(&k, &o, k.len), -EINVAL);
	o.gso_type = NET_GSO_UDP_L4;
	assert_int_equal(try_segment(&k, &o, k.len), -EINVAL);
	o.gso_type = 3;
	assert_int_equal(try_segment(&k, &o, k.len), -EINVAL);
	o = gso_of(&k, 0);
	assert_int_equal(try_segment(&k, &o, k.len), -EINVAL);
	o = gso_of(&k, 0xffff); /* length fields would wrap */
	assert_int_equal(try_segment(&k, &o, k.len), -EINVAL);
	o = gso_of(&k, 4); /* 2500 frames out of one */
	assert_int_equal(try_segment(&k, &o, k.len), -EINVAL);
	o = gso_of(&k, 1000);
	o.csum_start++;
	assert_int_equal(try_segment(&k, &o, k.len), -EINVAL);
	o.csum_start--;
	k.data[k.l3 + 6] |= 0x20; /* a fragment */
	assert_int_equal(try_segment(&k, &o, k.len), -EINVAL);
	k.data[k.l3 + 6] &= (uint8_t)~0x20;
	k.data[k.l4 + 12] = 0x40; /* data offset below 5 */
	assert_int_equal(try_segment(&k, &o, k.len), -EINVAL);
	k.data[k.l4 + 12] = 0x50;
	k.data[k.l3] = 0x44; /* IHL below 5 */
	assert_int_equal(try_segment(&k, &o, k.len), -EINVAL);
}

static void not_gso_is_emitted_once(void **state)
{
	static struct packet k;
	static struct check c;
	struct pieces p;

	do
		make_packet(&k, 1000);
	while (!k.tcp || k.v6);
	/* its header with the partial sum, as a sender leaves it */
	put_be16(k.data + k.l3 + 2, (uint16_t)(k.len - k.l3));
	put_be16(k.data + k.l3 + 10, 0);
	put_be16(k.data + k.l3 + 10, (uint16_t)~naive_sum(0, k.data + k.l3, k.l4 - k.l3));
	put_be16(k.data + k.l4 + 16, naive_pseudo(k.data + k.l3, 6, k.len - k.l4));
	split(&p, k.data, k.len, NET_HEAD_MAX);
	if (p.f.nsegs <= NET_OWN_SEGS) {
		p.f.offload = gso_of(&k, 1);
		p.f.offload.gso_type = NET_GSO_NONE;
		memset(&c, 0, offsetof(struct check, out));
		c.k = &k;
		c.mss = 1000;
		c.csum = true;
		assert_int_equal(net_frame_segment(&p.f, true, check_segment, &c), 1);
		assert_int_equal(c.n, 1);
	}
	unsplit(&p);
}

static void flow_is_found(void **state)
{
	static struct packet k;
	struct net_flow flow;
	struct pieces p;

	for (unsigned round = 0; round < 2000; round++) {
		unsigned alen;

		make_packet(&k, 100);
		split(&p, k.data, k.len, NET_HEAD_MAX);
		net_frame_flow(&p.f, &flow);
		alen = k.v6 ? 16 : 4;
		assert_int_equal(flow.l3, k.v6 ? 6 : 4);
		assert_int_equal(flow.l3_off, k.l3);
		assert_memory_equal(flow.saddr, k.data + k.l3 + (k.v6 ? 8 : 12), alen);
		assert_memory_equal(flow.daddr, k.data + k.l3 + (k.v6 ? 24 : 16), alen);
		if (k.l4 + 4 <= NET_HEAD_MAX) {
			assert_int_equal(flow.l4, k.tcp ? 6 : 17);
			assert_int_equal(flow.l4_off, k.l4);
			assert_memory_equal(&flow.sport, k.data + k.l4, 2);
			assert_memory_equal(&flow.dport, k.data + k.l4 + 2, 2);
		} else {
			assert_int_equal(flow.l4, 0);
		}
		unsplit(&p);
		if (k.v6)
			continue;
		k.data[k.l3 + 7] |= 1; /* a later fragment has no ports */
		split(&p, k.data, k.len, NET_HEAD_MAX);
		net_frame_flow(&p.f, &flow);
		assert_int_equal(flow.l3, 4);
		assert_int_equal(flow.l4, 0);
		assert_int_equal(flow.sport, 0);
		unsplit(&p);
	}
}

static void tags_move_the_offsets(void **state)
{
	struct net_frame f, before;

	frame_simple(&f, 1, 2, 0);
	f.offload = (struct net_offload){
		.needs_csum = true, .csum_start = 34, .csum_offset = 16, .hdr_len = 54};
	before = f;
	assert_int_equal(net_frame_insert_tag(&f, 0x8100, 5), 0);
	assert_int_equal(f.len, 68);
	assert_int_equal(f.offload.csum_start, 38);
	assert_int_equal(f.offload.hdr_len, 58);
	assert_int_equal(get_be32(net_frame_head(&f) + 12), TAG_Q(5));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(net_frame_insert_tag(&f, 0x88a8, 6), 0);
	assert_int_equal(net_frame_insert_tag(&f, 0x88a8, 6), -ENOBUFS);
	for (unsigned i = 0; i < 4; i++)
		net_frame_strip_tag(&f);
	assert_int_equal(f.len, before.len);
	assert_int_equal(f.offload.csum_start, 34);
	assert_memory_equal(net_frame_head(&f), net_frame_head(&before), 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sum_equals_naive),
		cmocka_unit_test(copy_and_sum_cross_pieces),
		cmocka_unit_test(pull_keeps_the_bytes),
		cmocka_unit_test(complete_csum_works_and_refuses),
		cmocka_unit_test(offload_fields_are_checked),
		cmocka_unit_test(segments_are_right),
		cmocka_unit_test(bad_gso_is_refused),
		cmocka_unit_test(not_gso_is_emitted_once),
		cmocka_unit_test(flow_is_found),
		cmocka_unit_test(tags_move_the_offsets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
