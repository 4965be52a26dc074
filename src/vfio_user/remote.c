/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_user/remote.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/log.h"
#include "util/util.h"
#include "worker/worker.h"

#define PROBE_LEN 4u
/* Seen as 4 by a 32-bit count, as more than 4 GiB by a 64-bit one. */
#define PROBE_WIDE_COUNT (BIT_ULL(32) + PROBE_LEN)

enum slot_state {
	SLOT_FREE,
	SLOT_QUEUED,	/* to be sent */
	SLOT_SENT,	/* the client has it */
	SLOT_DONE,	/* result is there for the waiter */
	SLOT_ABANDONED, /* sent, and nobody waits any more */
};

struct slot {
	enum slot_state state;
	uint16_t id;
	bool raw; /* a probe: buf gets the 8 bytes at message byte 28 */
	uint16_t command;
	uint64_t iova;
	uint64_t count; /* as sent */
	uint32_t len;	/* real bytes */
	uint8_t *buf;	/* DMA_READ: destination */
	const uint8_t *data;
	int result;
};

struct vfu_remote {
	const char *name;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int event_fd;
	bool open;
	bool detecting;
	enum vfu_layout layout;
	unsigned cancelled; /* depth */
	unsigned users;	    /* workers inside an operation */
	unsigned queued;
	unsigned next; /* round robin, so that ids are sent about in order */
	uint16_t generation;
	uint64_t max_xfer;
	uint64_t probe_iova;
	bool probe_valid;
	uint64_t heartbeat; /* turns of the control thread */
	struct slot slots[REMOTE_SLOTS];
};

static_assert((REMOTE_SLOTS & (REMOTE_SLOTS - 1)) == 0, "ids carry the slot in their low bits");

static void kick(struct vfu_remote *r)
{
	uint64_t one = 1;
	ssize_t n = write(r->event_fd, &one, sizeof(one));

	(void)n; /* a full counter is readable too */
}

int vfu_remote_create(const char *name, struct vfu_remote **out)
{
	struct vfu_remote *r = calloc(1, sizeof(*r));
	pthread_condattr_t attr;

	if (!r)
		return -ENOMEM;
	r->name = name;
	r->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (r->event_fd < 0) {
		int err = errno;

		free(r);
		return -err;
	}
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->cond, &attr);
	pthread_condattr_destroy(&attr);
	*out = r;
	return 0;
}

void vfu_remote_destroy(struct vfu_remote *r)
{
	if (!r)
		return;
	vfu_remote_close(r);
	pthread_cond_destroy(&r->cond);
	pthread_mutex_destroy(&r->lock);
	close(r->event_fd);
	free(r);
}

int vfu_remote_event_fd(const struct vfu_remote *r)
{
	return r->event_fd;
}

/* --- control side --- */

/* Ends a wait. Lock held. */
static void end_wait(struct vfu_remote *r, struct slot *s, int result)
{
	if (s->state == SLOT_QUEUED)
		r->queued--;
	s->result = result;
	s->state = SLOT_DONE;
}

/* Ends a wait whose answer may still come. Its waiter turns the slot into SLOT_ABANDONED when it
 * had been sent; here only the verdict is left. Lock held. */
static void give_up(struct vfu_remote *r, struct slot *s, int result)
{
	if (s->state == SLOT_QUEUED) {
		end_wait(r, s, result);
	} else if (s->state == SLOT_SENT && !s->result) {
		s->result = result;
		s->buf = NULL;
		s->data = NULL;
	}
}

void vfu_remote_open(struct vfu_remote *r, uint64_t max_xfer)
{
	pthread_mutex_lock(&r->lock);
	r->open = true;
	r->layout = VFU_LAYOUT_UNKNOWN;
	r->max_xfer = MIN(MAX(max_xfer, (uint64_t)PAGE_SIZE_4K), (uint64_t)REMOTE_XFER_MAX);
	r->probe_valid = false;
	pthread_mutex_unlock(&r->lock);
}

void vfu_remote_close(struct vfu_remote *r)
{
	pthread_mutex_lock(&r->lock);
	r->open = false;
	for (unsigned i = 0; i < REMOTE_SLOTS; i++) {
		struct slot *s = &r->slots[i];

		if (s->state == SLOT_ABANDONED)
			s->state = SLOT_FREE;
		else if (s->state == SLOT_QUEUED || s->state == SLOT_SENT)
			end_wait(r, s, -ECANCELED);
	}
	pthread_cond_broadcast(&r->cond);
	/* Nobody may be left when another client comes, or the object goes. */
	while (r->users)
		pthread_cond_wait(&r->cond, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

void vfu_remote_set_probe(struct vfu_remote *r, uint64_t iova, bool valid)
{
	pthread_mutex_lock(&r->lock);
	r->probe_iova = iova;
	r->probe_valid = valid;
	pthread_mutex_unlock(&r->lock);
}

static int send_slot(struct vfu_remote *r, struct slot *s, struct vfu_conn *c)
{
	static const uint8_t pad[4];
	struct {
		struct vfu_header hdr;
		struct vfu_dma_access acc;
	} m = {
		.hdr = {.id = s->id,
			.command = s->command,
			.size = sizeof(m),
			.flags = VFU_F_TYPE_COMMAND},
		.acc = {.addr = s->iova, .count = s->count},
	};
	struct iovec iov[3] = {{.iov_base = &m, .iov_len = sizeof(m)}};
	unsigned n = 1;

	if (s->command == VFU_DMA_WRITE) {
		m.hdr.size += s->len;
		iov[n++] = (struct iovec){.iov_base = (void *)s->data, .iov_len = s->len};
		if (r->layout == VFU_LAYOUT_BYTE28) {
			iov[0].iov_len -= sizeof(pad);
			iov[n++] = (struct iovec){.iov_base = (void *)pad, .iov_len = sizeof(pad)};
		}
	}
	return vfu_conn_send(c, iov, n, NULL, 0);
}

int vfu_remote_send(struct vfu_remote *r, struct vfu_conn *c)
{
	uint64_t v;
	ssize_t n = read(r->event_fd, &v, sizeof(v));
	int err = 0;

	(void)n;
	pthread_mutex_lock(&r->lock);
	r->heartbeat++;
	for (unsigned i = 0; c && r->queued && i < REMOTE_SLOTS; i++) {
		struct slot *s = &r->slots[(r->next + i) % REMOTE_SLOTS];

		if (s->state != SLOT_QUEUED)
			continue;
		if (vfu_conn_pending(c) > VFU_TX_PAUSE)
			break;
		err = send_slot(r, s, c);
		if (err)
			break;
		s->state = SLOT_SENT;
		r->queued--;
	}
	pthread_mutex_unlock(&r->lock);
	return err;
}

/* The verdict of a reply to s. Data is copied. */
static int take_reply(struct vfu_remote *r, struct slot *s, const struct vfu_msg *m)
{
	uint32_t skip = r->layout == VFU_LAYOUT_BYTE28 ? 12 : 16;

	if (m->hdr.flags & VFU_F_ERROR)
		return m->hdr.error && m->hdr.error < 4096 ? -(int)m->hdr.error : -EIO;
	if (s->command == VFU_DMA_WRITE)
		return 0; /* QEMU answers with a header, the specification with 16 bytes more */
	if (m->len != sizeof(struct vfu_dma_access) + s->len)
		return -EPROTO;
	if (s->raw)
		memcpy(s->buf, m->body + 12, 8);
	else
		memcpy(s->buf, m->body + skip, s->len);
	return 0;
}

int vfu_remote_reply(struct vfu_remote *r, const struct vfu_msg *m)
{
	struct slot *s = &r->slots[m->hdr.id % REMOTE_SLOTS];
	int err = 0;

	pthread_mutex_lock(&r->lock);
	r->heartbeat++;
	if (s->id != m->hdr.id || s->command != m->hdr.command) {
		err = -ENOENT;
	} else if (s->state == SLOT_ABANDONED) {
		s->state = SLOT_FREE;
		pthread_cond_broadcast(&r->cond);
	} else if (s->state == SLOT_SENT) {
		end_wait(r, s, s->result ? s->result : take_reply(r, s, m));
		pthread_cond_broadcast(&r->cond);
	} else {
		err = -ENOENT;
	}
	pthread_mutex_unlock(&r->lock);
	return err;
}

void vfu_remote_cancel(struct vfu_remote *r)
{
	pthread_mutex_lock(&r->lock);
	r->cancelled++;
	for (unsigned i = 0; i < REMOTE_SLOTS; i++)
		give_up(r, &r->slots[i], -ECANCELED);
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

void vfu_remote_resume(struct vfu_remote *r)
{
	pthread_mutex_lock(&r->lock);
	if (r->cancelled)
		r->cancelled--;
	pthread_mutex_unlock(&r->lock);
}

static bool overlaps(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	return alen && blen && (a <= b ? b - a < alen : a - b < blen);
}

void vfu_remote_cancel_range(struct vfu_remote *r, uint64_t iova, uint64_t size)
{
	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; i < REMOTE_SLOTS; i++)
		if (overlaps(iova, size, r->slots[i].iova, r->slots[i].len))
			give_up(r, &r->slots[i], -ECANCELED);
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

enum vfu_layout vfu_remote_layout(struct vfu_remote *r)
{
	enum vfu_layout l;

	pthread_mutex_lock(&r->lock);
	l = r->layout;
	pthread_mutex_unlock(&r->lock);
	return l;
}

/* --- worker side; the lock is held throughout but for the waits --- */

static void wait_a_while(struct vfu_remote *r)
{
	uint64_t at = clock_now_ns() + REMOTE_LOOK_MS * NS_PER_MS;
	struct timespec ts = {.tv_sec = (time_t)(at / NS_PER_S), .tv_nsec = (long)(at % NS_PER_S)};

	pthread_cond_timedwait(&r->cond, &r->lock, &ts);
}

struct patience {
	uint64_t deadline_ns;
	uint64_t checked_ns;
	uint64_t heartbeat;
};

static void patience_start(struct vfu_remote *r, struct patience *p)
{
	p->checked_ns = clock_now_ns();
	p->deadline_ns = p->checked_ns + REMOTE_TIMEOUT_MS * NS_PER_MS;
	p->heartbeat = r->heartbeat;
}

/* After a wake-up: 0 to wait on, else why not. */
static int patience_check(struct vfu_remote *r, struct patience *p)
{
	uint64_t now = clock_now_ns();

	if (!r->open || r->cancelled || worker_leaving())
		return -ECANCELED;
	if (now >= p->deadline_ns)
		return -ETIMEDOUT;
	if (now - p->checked_ns < REMOTE_STUCK_MS * NS_PER_MS)
		return 0;
	if (p->heartbeat == r->heartbeat)
		return -ECANCELED; /* the control thread is in a handler, perhaps because of us */
	p->heartbeat = r->heartbeat;
	p->checked_ns = now;
	kick(r); /* asks for the next sign of life */
	return 0;
}

static int take_slot(struct vfu_remote *r, struct patience *p, struct slot **out)
{
	for (;;) {
		int err = patience_check(r, p);

		if (err)
			return err;
		for (unsigned i = 0; i < REMOTE_SLOTS; i++) {
			unsigned at = (r->next + i) % REMOTE_SLOTS;

			if (r->slots[at].state != SLOT_FREE)
				continue;
			r->next = (at + 1) % REMOTE_SLOTS;
			r->slots[at].id = (uint16_t)(r->generation++ * REMOTE_SLOTS + at);
			*out = &r->slots[at];
			return 0;
		}
		kick(r);
		wait_a_while(r);
	}
}

/* One command and its answer. fill gives everything but id and state. */
static int transact(struct vfu_remote *r, const struct slot *fill)
{
	struct patience p;
	struct slot *s;
	uint16_t id;
	int err;

	patience_start(r, &p);
	err = take_slot(r, &p, &s);
	if (err)
		return err;
	id = s->id;
	*s = *fill;
	s->id = id;
	s->result = 0;
	s->state = SLOT_QUEUED;
	r->queued++;
	kick(r);
	while (s->state != SLOT_DONE && !s->result) {
		wait_a_while(r);
		if (s->state == SLOT_DONE || s->result)
			break;
		err = patience_check(r, &p);
		if (err)
			give_up(r, s, err);
	}
	err = s->result;
	s->buf = NULL;
	s->data = NULL;
	s->state = s->state == SLOT_DONE ? SLOT_FREE : SLOT_ABANDONED;
	pthread_cond_broadcast(&r->cond);
	return err;
}

static int probe(struct vfu_remote *r, uint64_t iova, uint64_t count, uint32_t raw[2])
{
	struct slot s = {.command = VFU_DMA_READ,
			 .raw = true,
			 .iova = iova,
			 .count = count,
			 .len = PROBE_LEN,
			 .buf = (uint8_t *)raw};

	return transact(r, &s);
}

/* What the header comment describes. */
static int detect_at(struct vfu_remote *r, uint64_t iova, enum vfu_layout *layout)
{
	uint32_t raw[2] = {0, 0};
	int err = probe(r, iova, PROBE_LEN, raw);

	if (!err && !raw[0] && !raw[1]) {
		err = probe(r, iova, PROBE_WIDE_COUNT, raw);
		if (!err) {
			*layout = VFU_LAYOUT_BYTE28;
			return 0;
		}
		if (err == -ECANCELED || err == -ETIMEDOUT)
			return err;
		err = probe(r, iova, PROBE_LEN, raw);
		if (!err && !raw[0] && !raw[1])
			raw[1] = 1; /* readable, and the wide count refused */
	}
	if (err)
		return err;
	*layout = raw[0] ? VFU_LAYOUT_BYTE28 : VFU_LAYOUT_SPEC;
	return 0;
}

static int ensure_layout(struct vfu_remote *r, uint64_t iova)
{
	enum vfu_layout layout = VFU_LAYOUT_UNKNOWN;
	int err;

	while (r->detecting && r->open && !r->cancelled && !worker_leaving())
		wait_a_while(r);
	if (!r->open || r->cancelled || worker_leaving())
		return -ECANCELED;
	if (r->layout != VFU_LAYOUT_UNKNOWN)
		return 0;
	r->detecting = true;
	/* Regions are made of pages: 4 aligned bytes lie in one. */
	err = detect_at(r, (r->probe_valid ? r->probe_iova : iova) & ~3ull, &layout);
	r->detecting = false;
	if (!err && r->open) {
		r->layout = layout;
		log_info("%s: part of the memory is reached by messages, data at byte %d", r->name,
			 layout == VFU_LAYOUT_BYTE28 ? 28 : 32);
	}
	pthread_cond_broadcast(&r->cond);
	return err;
}

static int transfer(struct vfu_remote *r, uint16_t command, uint64_t iova, uint8_t *buf,
		    const uint8_t *data, size_t len)
{
	int err = 0;

	if (!range_no_wrap(iova, len))
		return -EFAULT;
	pthread_mutex_lock(&r->lock);
	r->users++;
	while (len && !err) {
		struct slot s = {.command = command, .iova = iova, .buf = buf, .data = data};

		err = ensure_layout(r, iova);
		if (err)
			break;
		s.len = (uint32_t)MIN((uint64_t)len, r->max_xfer);
		s.count = s.len;
		err = transact(r, &s);
		iova += s.len;
		len -= s.len;
		if (buf)
			buf += s.len;
		if (data)
			data += s.len;
	}
	r->users--;
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
	return err;
}

static int remote_read(void *opaque, uint64_t iova, void *buf, size_t len)
{
	return transfer(opaque, VFU_DMA_READ, iova, buf, NULL, len);
}

static int remote_write(void *opaque, uint64_t iova, const void *buf, size_t len)
{
	return transfer(opaque, VFU_DMA_WRITE, iova, NULL, buf, len);
}

const struct dma_remote_ops vfu_remote_dma_ops = {.read = remote_read, .write = remote_write};
