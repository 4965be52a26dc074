/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon_pair.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/clock.h"

#define ETHERTYPE 0x88b5 /* for local experiments */
#define LEN_MIN	  60
#define LEN_MAX	  1514
#define BATCH	  32

int pair_open(const struct daemon_run *d, const char *name, struct guest_config cfg,
	      struct guest **out)
{
	uint64_t end = clock_now_ns() + PAIR_TIMEOUT_MS * NS_PER_MS;
	int err;

	cfg.path = daemon_socket(d, name);
	if (!cfg.timeout_ms)
		cfg.timeout_ms = PAIR_TIMEOUT_MS;
	do {
		err = guest_open(&cfg, out);
		if (err != -EBUSY && err != -ECONNRESET && err != -EPIPE)
			return err;
		usleep(1000);
	} while (clock_now_ns() < end);
	return err;
}

static uint32_t make(struct guest *from, struct guest *to, uint32_t seq, uint8_t *f)
{
	uint32_t len = LEN_MIN + seq * 2654435761u % (LEN_MAX - LEN_MIN + 1);

	memcpy(f, guest_mac(to), 6);
	memcpy(f + 6, guest_mac(from), 6);
	put_be16(f + 12, ETHERTYPE);
	put_be32(f + 14, seq);
	for (uint32_t i = 18; i < len; i++)
		f[i] = (uint8_t)(seq + i);
	return len;
}

int pair_exchange(struct guest *from, struct guest *to, unsigned n, uint32_t *seq)
{
	uint8_t sent[LEN_MAX], got[2048];
	uint32_t len;
	int ret;

	for (unsigned i = 0; i < n; i++) {
		len = make(from, to, *seq + i, sent);
		ret = guest_send(from, 0, NULL, sent, len);
		if (ret)
			return ret;
	}
	for (unsigned i = 0; i < n; i++) {
		len = make(from, to, *seq + i, sent);
		ret = guest_recv_wait(to, 0, NULL, got, sizeof(got), PAIR_TIMEOUT_MS);
		if (ret < 0)
			return ret;
		if (ret != (int)len || memcmp(got, sent, len))
			return -EBADMSG;
	}
	*seq += n;
	return guest_tx_wait(from, 0, PAIR_TIMEOUT_MS);
}

static void *pump_main(void *arg)
{
	struct pump *p = arg;
	uint32_t seq = 0;
	int err = 0;

	while (!err && !p->stop) {
		err = pair_exchange(p->a, p->b, BATCH, &seq);
		if (!err)
			err = pair_exchange(p->b, p->a, BATCH, &seq);
		p->frames += 2 * BATCH;
		/* Between bursts all may fall asleep: that is part of the test. */
		if (seq % (64 * BATCH) == 0)
			usleep(200);
	}
	p->error = err;
	return NULL;
}

int pump_start(struct pump *p)
{
	p->stop = p->error = 0;
	p->frames = 0;
	return -pthread_create(&p->thread, NULL, pump_main, p);
}

int pump_stop(struct pump *p)
{
	p->stop = 1;
	pthread_join(p->thread, NULL);
	return p->error;
}

int pump_wait(struct pump *p, unsigned long n)
{
	uint64_t end = clock_now_ns() + PAIR_TIMEOUT_MS * NS_PER_MS;
	unsigned long target = p->frames + n;

	while (!p->error && p->frames < target) {
		if (clock_now_ns() > end)
			return -ETIMEDOUT;
		usleep(500);
	}
	return p->error;
}
