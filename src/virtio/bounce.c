/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues of a guest whose memory has no pointer: rings and buffers are read and written by
 * dma_read()/dma_write(), each a round trip to the client, and chains are given to the caller as
 * private copies. Both ring formats. Slow by nature; meant to be right.
 *
 * A wait can be cancelled (-ECANCELED) because the control thread is changing the memory map. A
 * pop is then simply tried again later; a push must not be lost and is repeated for a while.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "virtio/vq_private.h"
#include "worker/worker.h"

/* What one chain, and all chains in flight, may take of the daemon's memory. */
#define BOUNCE_CHAIN_MAX (1u << 20)
#define BOUNCE_TOTAL_MAX (16u << 20)
#define RETRIES		 50
#define RETRY_NS	 1000000

struct segment {
	uint64_t addr;
	uint32_t len;
	bool writable;
};

struct bounce_chain {
	struct bounce_chain *older;
	uint16_t id;
	unsigned n_segs; /* writable ones only */
	size_t out_len, bytes;
	uint8_t *data; /* out, then in */
	struct segment segs[];
};

struct vq_bounce {
	struct bounce_chain *newest;
	size_t bytes;
	/* packed: the used descriptor held back until publish: len, id and flags */
	uint8_t first_used[8];
	struct segment segs[VQ_BUFS_MAX]; /* of the chain being read */
	struct vring_desc table[VQ_BUFS_MAX];
};

int bounce_create(struct virtqueue *vq)
{
	vq->bounce = calloc(1, sizeof(*vq->bounce));
	return vq->bounce ? 0 : -ENOMEM;
}

static void drop_newest(struct vq_bounce *b)
{
	struct bounce_chain *c = b->newest;

	b->newest = c->older;
	b->bytes -= c->bytes;
	free(c);
}

void bounce_destroy(struct virtqueue *vq)
{
	if (!vq->bounce)
		return;
	while (vq->bounce->newest)
		drop_newest(vq->bounce);
	free(vq->bounce);
	vq->bounce = NULL;
}

static int fetch(struct virtqueue *vq, uint64_t addr, void *buf, size_t len)
{
	int err = dma_read(vq->dma, addr, buf, len);

	return err && err != -ECANCELED ? -EFAULT : err;
}

static int store(struct virtqueue *vq, uint64_t addr, const void *buf, size_t len)
{
	struct timespec pause = {.tv_nsec = RETRY_NS};
	int err, i;

	for (i = 0;; i++) {
		err = dma_write(vq->dma, addr, buf, len);
		if (err != -ECANCELED || i == RETRIES)
			break;
		worker_offline();
		nanosleep(&pause, NULL);
		worker_online();
	}
	return err ? vq_break(vq, -EFAULT) : 0;
}

static void store16(struct virtqueue *vq, uint64_t addr, uint16_t v)
{
	v = htole16(v);
	store(vq, addr, &v, sizeof(v));
}

static void store32(struct virtqueue *vq, uint64_t addr, uint32_t v)
{
	v = htole32(v);
	store(vq, addr, &v, sizeof(v));
}

static int fetch16(struct virtqueue *vq, uint64_t addr, uint16_t *v)
{
	int err = fetch(vq, addr, v, sizeof(*v));

	*v = le16toh(*v);
	return err;
}

static uint64_t avail_field(const struct virtqueue *vq, unsigned off)
{
	return vq->cfg.driver + off;
}

static uint64_t used_field(const struct virtqueue *vq, unsigned off)
{
	return vq->cfg.device + off;
}

/* ---- reading chains ---- */

static void decode(const struct vring_desc *raw, bool packed, struct vq_desc *d)
{
	uint16_t third = le16toh(raw->flags), fourth = le16toh(raw->next);

	d->addr = le64toh(raw->addr);
	d->len = le32toh(raw->len);
	/* the packed descriptor has the buffer id where the split one has its flags */
	d->flags = packed ? fourth : third;
	d->next = packed ? third : fourth;
}

static int fetch_desc(struct virtqueue *vq, unsigned slot, struct vq_desc *d)
{
	struct vring_desc raw;
	int err = fetch(vq, vq->cfg.desc + slot * sizeof(raw), &raw, sizeof(raw));

	if (!err)
		decode(&raw, vq->cfg.packed, d);
	return err;
}

/* What a device must not write, or reach at all, is refused when the chain is read. */
static bool permitted(struct virtqueue *vq, uint64_t addr, uint64_t len, uint32_t prot)
{
	const struct dma_view *v = dma_view_get(vq->dma);
	const struct dma_region *r;
	uint64_t n;

	for (; len; len -= n, addr += n) {
		r = dma_view_find(v, addr);
		if (!r || (r->prot & prot) != prot)
			return false;
		n = MIN(len, r->size - (addr - r->iova));
	}
	return true;
}

static int add(struct virtqueue *vq, struct vq_walk *w, const struct vq_desc *d)
{
	bool writable = d->flags & VRING_DESC_F_WRITE;

	if (vq_walk_account(w, d->len, writable) || w->n == w->max || w->n == VQ_BUFS_MAX)
		return -EPROTO;
	if (!range_no_wrap(d->addr, d->len) ||
	    !permitted(vq, d->addr, d->len, writable ? DMA_PROT_WRITE : DMA_PROT_READ))
		return -EFAULT;
	vq->bounce->segs[w->n].addr = d->addr;
	vq->bounce->segs[w->n].len = d->len;
	vq->bounce->segs[w->n++].writable = writable;
	return 0;
}

static int add_table(struct virtqueue *vq, struct vq_walk *w, const struct vq_desc *d)
{
	uint32_t n = d->len / sizeof(struct vring_desc), i = 0, seen = 0;
	struct vq_desc e;
	int err;

	if (!vq->indirect || (d->flags & VRING_DESC_F_NEXT) || !n || n > VQ_BUFS_MAX ||
	    d->len % sizeof(struct vring_desc))
		return -EPROTO;
	err = fetch(vq, d->addr, vq->bounce->table, d->len);
	if (err)
		return err;
	for (;;) {
		if (i >= n || seen++ >= n)
			return -EPROTO;
		decode(&vq->bounce->table[i], false, &e);
		if (vq->cfg.packed)
			e.flags = le16toh(vq->bounce->table[i].next);
		else if (e.flags & VRING_DESC_F_INDIRECT)
			return -EPROTO;
		err = add(vq, w, &e);
		if (err)
			return err;
		if (vq->cfg.packed ? ++i == n : !(e.flags & VRING_DESC_F_NEXT))
			return 0;
		if (!vq->cfg.packed)
			i = e.next;
	}
}

/* Follows a chain from slot. The number of slots; *id is set for packed rings. */
static int walk(struct virtqueue *vq, struct vq_walk *w, unsigned slot, uint16_t *id)
{
	unsigned n = 0;
	struct vq_desc d;
	int err;

	for (;;) {
		if (slot >= vq->size || n == vq->size)
			return -EPROTO;
		err = fetch_desc(vq, slot, &d);
		if (err)
			return err;
		n++;
		if (d.flags & VRING_DESC_F_INDIRECT)
			err = add_table(vq, w, &d);
		else
			err = add(vq, w, &d);
		if (err)
			return err;
		if (!(d.flags & VRING_DESC_F_NEXT) || (d.flags & VRING_DESC_F_INDIRECT))
			break;
		slot = vq->cfg.packed ? (slot + 1) % vq->size : d.next;
	}
	if (vq->cfg.packed)
		*id = d.next;
	return (int)n;
}

/* Makes the private copy of a chain that was walked, and its two buffers at most. */
static int copy_chain(struct virtqueue *vq, const struct vq_walk *w, struct bounce_chain **out)
{
	size_t total = w->out_len + w->in_len, done = 0;
	struct bounce_chain *c;
	unsigned i;
	int err;

	c = malloc(sizeof(*c) + w->n * sizeof(c->segs[0]) + total);
	if (!c)
		return -ECANCELED; /* tried again later */
	c->n_segs = 0;
	c->out_len = w->out_len;
	c->bytes = total;
	c->data = (uint8_t *)&c->segs[w->n];
	for (i = 0; i < w->n; i++) {
		const struct segment *s = &vq->bounce->segs[i];

		if (s->writable) {
			c->segs[c->n_segs++] = *s;
			continue;
		}
		err = fetch(vq, s->addr, c->data + done, s->len);
		if (err) {
			free(c);
			return err;
		}
		done += s->len;
	}
	memset(c->data + c->out_len, 0, w->in_len);
	*out = c;
	return 0;
}

static void describe(const struct bounce_chain *c, const struct vq_walk *w, struct vq_buf *bufs,
		     struct vq_chain *chain)
{
	unsigned n = 0;

	if (w->out_len) {
		bufs[n].ptr = c->data;
		bufs[n++].len = (uint32_t)w->out_len;
	}
	chain->n_out = (uint16_t)n;
	if (w->in_len) {
		bufs[n].ptr = c->data + w->out_len;
		bufs[n++].len = (uint32_t)w->in_len;
	}
	chain->n_in = (uint16_t)(n - chain->n_out);
	chain->out_len = (uint32_t)w->out_len;
	chain->in_len = (uint32_t)w->in_len;
	chain->bufs = bufs;
}

/* 1 and where the next chain starts, 0 if there is none, or -errno. */
static int next_head(struct virtqueue *vq, unsigned *slot)
{
	uint16_t head, mask = (uint16_t)(vq->size - 1);
	struct vq_desc d;
	int err;

	if (vq->cfg.packed) {
		*slot = vq->next_avail;
		err = fetch_desc(vq, *slot, &d);
		vq_full_barrier();
		return err ? err : packed_is_avail(d.flags, vq->avail_wrap);
	}
	if (vq->next_avail == vq->avail_cache) {
		err = fetch16(vq, avail_field(vq, 2), &vq->avail_cache);
		if (err) {
			vq->avail_cache = vq->next_avail;
			return err;
		}
		if ((uint16_t)(vq->avail_cache - vq->next_avail) > vq->size)
			return -EPROTO;
		if (vq->next_avail == vq->avail_cache)
			return 0;
	}
	vq_full_barrier(); /* the index before what it announces */
	err = fetch16(vq, avail_field(vq, 4 + 2u * (vq->next_avail & mask)), &head);
	*slot = head;
	return err ? err : 1;
}

static int read_chain(struct virtqueue *vq, struct vq_chain *chain, struct vq_buf *bufs,
		      unsigned max)
{
	struct vq_walk w = {.max = max};
	struct bounce_chain *c = NULL;
	unsigned slot;
	int n, err;

	err = next_head(vq, &slot);
	if (err <= 0)
		return err;
	chain->id = (uint16_t)slot;
	n = walk(vq, &w, slot, &chain->id);
	if (n < 0)
		return n;
	if (!vq->cfg.packed)
		n = 1;
	if (n > vq->size - vq->inflight || w.out_len + w.in_len > BOUNCE_CHAIN_MAX || max < 2)
		return -EPROTO;
	if (vq->bounce->bytes + w.out_len + w.in_len > BOUNCE_TOTAL_MAX)
		return 0; /* after some were given back */
	err = copy_chain(vq, &w, &c);
	if (err)
		return err;
	describe(c, &w, bufs, chain);
	c->id = chain->id;
	c->older = vq->bounce->newest;
	vq->bounce->newest = c;
	vq->bounce->bytes += c->bytes;
	return n;
}

int bounce_pop(struct virtqueue *vq, struct vq_chain *chain, struct vq_buf *bufs, unsigned max)
{
	int n = read_chain(vq, chain, bufs, max);

	if (n == -ECANCELED)
		return 0;
	if (n <= 0)
		return n ? vq_break(vq, n) : 0;
	chain->ndescs = (uint16_t)n;
	vq->inflight = (uint16_t)(vq->inflight + n);
	if (vq->cfg.packed)
		packed_advance(vq, &vq->next_avail, &vq->avail_wrap, (unsigned)n);
	else
		vq->next_avail++;
	return 1;
}

void bounce_unpop(struct virtqueue *vq, unsigned chains)
{
	while (chains-- && vq->bounce->newest)
		drop_newest(vq->bounce);
}

/* ---- giving chains back ---- */

/* The oldest chain with this id. */
static struct bounce_chain **find(struct vq_bounce *b, uint16_t id)
{
	struct bounce_chain **p, **found = NULL;

	for (p = &b->newest; *p; p = &(*p)->older)
		if ((*p)->id == id)
			found = p;
	return found;
}

static void write_back(struct virtqueue *vq, const struct bounce_chain *c, uint32_t written)
{
	const uint8_t *from = c->data + c->out_len;
	uint32_t n;
	unsigned i;

	for (i = 0; i < c->n_segs && written; i++, from += n, written -= n) {
		n = MIN(written, c->segs[i].len);
		if (store(vq, c->segs[i].addr, from, n))
			return;
	}
}

static void push_packed(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written)
{
	uint16_t id = htole16(chain->id), flags = htole16(packed_used_flags(vq, chain->n_in > 0));
	uint8_t used[8];

	written = htole32(written);
	memcpy(used, &written, 4);
	memcpy(used + 4, &id, 2);
	memcpy(used + 6, &flags, 2);
	if (vq->pending) {
		store(vq, vq->cfg.desc + 16ull * vq->next_used + 8, used, sizeof(used));
	} else {
		vq->first_slot = vq->next_used;
		memcpy(vq->bounce->first_used, used, sizeof(used));
	}
	packed_used_advance(vq, chain->ndescs);
}

static void push_split(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written)
{
	struct vring_used_elem e = {htole32(chain->id), htole32(written)};
	unsigned slot = vq->next_used & (vq->size - 1u);

	store(vq, used_field(vq, 4 + 8 * slot), &e, sizeof(e));
	vq->next_used++;
	vq->pending++;
	vq->inflight--;
}

void bounce_push(struct virtqueue *vq, const struct vq_chain *chain, uint32_t written)
{
	struct bounce_chain **p = find(vq->bounce, chain->id), *c;

	if (p) {
		c = *p;
		write_back(vq, c, written);
		*p = c->older;
		vq->bounce->bytes -= c->bytes;
		free(c);
	}
	if (vq->cfg.packed)
		push_packed(vq, chain, written);
	else
		push_split(vq, chain, written);
}

static bool publish_packed(struct virtqueue *vq)
{
	uint64_t slot = vq->cfg.desc + 16ull * vq->first_slot;
	uint8_t event[4];
	bool need;

	/* Length and id first: the client may write byte by byte. */
	if (store(vq, slot + 8, vq->bounce->first_used, 6) ||
	    store(vq, slot + 14, vq->bounce->first_used + 6, 2))
		return false;
	vq_full_barrier();
	need = fetch(vq, vq->cfg.driver, event, sizeof(event)) != 0;
	if (!need)
		need = packed_need_event(vq, event[0] | event[1] << 8 | event[2] << 16 |
						     (uint32_t)event[3] << 24);
	return need;
}

static bool publish_split(struct virtqueue *vq)
{
	uint16_t old = (uint16_t)(vq->next_used - vq->pending), v;

	vq_full_barrier();
	store16(vq, used_field(vq, 2), vq->next_used);
	vq_full_barrier();
	if (fetch16(vq, avail_field(vq, vq->event_idx ? 4 + 2u * vq->size : 0), &v))
		return true;
	if (vq->event_idx)
		return vring_need_event(v, vq->next_used, old);
	return !(v & VRING_AVAIL_F_NO_INTERRUPT);
}

bool bounce_publish(struct virtqueue *vq)
{
	bool need = vq->cfg.packed ? publish_packed(vq) : publish_split(vq);

	vq->pending = 0;
	return need;
}

/* ---- notification ---- */

unsigned bounce_avail(struct virtqueue *vq)
{
	unsigned slot;
	int n = next_head(vq, &slot);

	if (n < 0 && n != -ECANCELED)
		vq_break(vq, n);
	if (n <= 0)
		return 0;
	return vq->cfg.packed ? 1 : (uint16_t)(vq->avail_cache - vq->next_avail);
}

bool bounce_arm(struct virtqueue *vq)
{
	uint32_t off = vq->next_avail | (vq->avail_wrap ? PACKED_WRAP : 0);
	unsigned slot;

	if (vq->cfg.packed)
		store32(vq, vq->cfg.device,
			vq->event_idx ? off | PACKED_EVENT_DESC << 16 : PACKED_EVENT_ENABLE << 16);
	else if (vq->event_idx)
		store16(vq, used_field(vq, 4 + 8u * vq->size), vq->next_avail);
	else
		store16(vq, used_field(vq, 0), 0);
	vq_full_barrier();
	/* An error, a cancelled wait included, wants another look too. */
	return next_head(vq, &slot) != 0;
}

void bounce_disarm(struct virtqueue *vq)
{
	if (vq->cfg.packed)
		store32(vq, vq->cfg.device, PACKED_EVENT_DISABLE << 16);
	else if (!vq->event_idx)
		store16(vq, used_field(vq, 0), VRING_USED_F_NO_NOTIFY);
}
