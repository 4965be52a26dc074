/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transmit rates of a real daemon: what arrives of what guests send as fast as they can, that
 * nothing is lost, and changes while they send.
 *
 *   daemon_rate_test SOFTIOVD SOFTIOV
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon_command.h"
#include "support/run_delay.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/util.h"

#define FRAME	  1514
#define SENDERS	  2
#define TRIES	  5	      /* the machine may have something else to do */
#define BURST_MAX (2 * 65600) /* of a rest, and a slice */

/* nic0 has no rate of its own, nic1 has. VF 2 receives. */
static const char config_text[] =
	"devices:\n"
	"  nic0: {type: ethernet, num-vfs: 3, vfs: {0: {max-tx-rate: %u}}}\n"
	"  nic1: {type: ethernet, num-vfs: 3, total-vfs: 4, tx-rate: %u, vfs: {2: {min-tx-rate: "
	"0}}}\n";

/* ---- the daemon's commands ---- */

static void configure(char *text, size_t len, unsigned vf, unsigned device)
{
	snprintf(text, len, config_text, vf, device);
}

static int reload(unsigned vf, unsigned device)
{
	char path[64], text[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/config.yaml", run.dir);
	f = fopen(path, "w");
	assert_non_null(f);
	configure(text, sizeof(text), vf, device);
	fputs(text, f);
	fclose(f);
	return command("reload");
}

/* ---- guests ---- */

struct load {
	struct guest *from[SENDERS], *to;
	unsigned n;
	uint64_t sent[SENDERS], arrived[SENDERS]; /* frames */
	double mbps[SENDERS];			  /* of the last measurement */
	bool starved;				  /* the machine had no time during that */
};

static void see(void *opaque, const uint8_t *hdr, const uint8_t *frame, uint32_t part,
		uint32_t total)
{
	struct load *l = opaque;

	for (unsigned i = 0; i < l->n; i++)
		if (!memcmp(frame + 6, guest_mac(l->from[i]), 6))
			l->arrived[i] += total == FRAME;
}

static void receive(struct load *l)
{
	int n;

	do
		n = guest_recv_burst(l->to, 0, 64, see, l);
	while (n > 0);
	assert_int_equal(n, 0);
}

/* All that the ring takes. */
static void fill(struct load *l, unsigned i)
{
	static uint8_t frame[FRAME];
	int err = 0;

	memcpy(frame, guest_mac(l->to), 6);
	memcpy(frame + 6, guest_mac(l->from[i]), 6);
	put_be16(frame + 12, 0x88b5);
	while (!err) {
		err = guest_send(l->from[i], 0, NULL, frame, FRAME);
		l->sent[i] += !err;
	}
	assert_int_equal(err, -EAGAIN);
}

static void measure(struct load *l, unsigned ms)
{
	uint64_t begin = clock_now_ns(), end = begin + ms * NS_PER_MS, before[SENDERS], delay;
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)run.pid);
	memcpy(before, l->arrived, sizeof(before));
	delay = run_delay_ns(pid) + run_delay_ns("self");
	do {
		for (unsigned i = 0; i < l->n; i++)
			fill(l, i);
		receive(l);
		usleep(500);
	} while (clock_now_ns() < end);
	end = clock_now_ns();
	delay = run_delay_ns(pid) + run_delay_ns("self") - delay;
	l->starved = UNDER_TSAN || delay > ms * NS_PER_MS / 20;
	for (unsigned i = 0; i < l->n; i++)
		l->mbps[i] =
			(double)(l->arrived[i] - before[i]) * FRAME * 8000 / (double)(end - begin);
}

static bool near(double got, double want)
{
	return got > want * 0.95 && got < want * 1.05;
}

/* Each gets what it should; or less, on a machine that had no time. */
static void expect(struct load *l, const unsigned want[], unsigned ms)
{
	bool good = false;

	measure(l, 100); /* a burst, and what was under way */
	for (unsigned t = 0; t < TRIES && !good; t++) {
		double sum = 0, want_sum = 0;

		measure(l, ms);
		good = true;
		for (unsigned i = 0; i < l->n; i++) {
			good = good && near(l->mbps[i], want[i]);
			sum += l->mbps[i];
			want_sum += want[i];
		}
		assert_true(sum < want_sum * 1.03 + BURST_MAX * 8.0 / (ms * 1000));
		good = good || l->starved;
	}
	if (!good)
		fail_msg("%.1f and %.1f Mb/s where %u and %u should be", l->mbps[0],
			 l->n > 1 ? l->mbps[1] : 0, want[0], l->n > 1 ? want[1] : 0);
}

static void open_load(struct load *l, const char *device, unsigned n)
{
	struct guest_config cfg = {.ioeventfd = true, .queue_size = 256};
	char name[16];

	memset(l, 0, sizeof(*l));
	l->n = n;
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s/vf%u", device, i);
		assert_int_equal(pair_open(&run, name, cfg, &l->from[i]), 0);
	}
	snprintf(name, sizeof(name), "%s/vf2", device);
	assert_int_equal(pair_open(&run, name, cfg, &l->to), 0);
}

static void close_load(struct load *l)
{
	for (unsigned i = 0; i < l->n; i++)
		guest_close(l->from[i]);
	guest_close(l->to);
}

static long long counter(const char *function, const char *key)
{
	char words[64];
	const char *at;

	snprintf(words, sizeof(words), "-j stats %s", function);
	succeeds(words);
	at = strstr(output, key);
	assert_non_null(at);
	return strtoll(at + strlen(key) + 2, NULL, 10);
}

/* All that was sent arrives, but for what finds no buffer because we, the receiver, were late. */
static void drain(struct load *l, const char *device)
{
	uint64_t end = clock_now_ns() + PAIR_TIMEOUT_MS * NS_PER_MS, sent = 0, arrived;
	char name[32];

	for (unsigned i = 0; i < l->n; i++) {
		assert_int_equal(guest_tx_wait(l->from[i], 0, PAIR_TIMEOUT_MS), 0);
		sent += l->sent[i];
		snprintf(name, sizeof(name), "%s/vf%u", device, i);
		assert_int_equal(counter(name, "\"tx-dropped\""), 0);
	}
	snprintf(name, sizeof(name), "%s/vf2", device);
	do {
		receive(l);
		arrived = (uint64_t)counter(name, "\"rx-dropped\"");
		for (unsigned i = 0; i < l->n; i++)
			arrived += l->arrived[i];
	} while (arrived < sent && clock_now_ns() < end);
	assert_int_equal(arrived, sent);
}

/* ---- tests ---- */

static void max_rate(void **state)
{
	static const unsigned want[] = {200, 50, 20, 100};
	uint64_t cpu, t;
	struct load l;

	open_load(&l, "nic0", 1);
	expect(&l, &want[0], 1000);
	succeeds("vf set nic0/vf0 max-tx-rate 50");
	expect(&l, &want[1], 500);
	/* who rests costs next to nothing */
	succeeds("vf set nic0/vf0 max_tx_rate 20");
	expect(&l, &want[2], 500);
	cpu = daemon_thread_ns(&run, "worker/0");
	t = clock_now_ns();
	measure(&l, 500);
	cpu = daemon_thread_ns(&run, "worker/0") - cpu;
	t = clock_now_ns() - t;
	print_message("# held to 20 Mb/s: %.1f %% of a core\n", 100.0 * (double)cpu / (double)t);
	assert_int_equal(reload(100, 200), 0);
	expect(&l, &want[3], 500);
	assert_true(counter("nic0/vf0", "\"tx-throttled\"") > 10);
	assert_true(counter("nic0/vf0", "\"tx-throttled-ns\"") > 100000000);
	/* no limit: the ring is emptied at once */
	succeeds("vf set nic0/vf0 max-tx-rate 0");
	drain(&l, "nic0");
	close_load(&l);
}

static void device_rate(void **state)
{
	static const unsigned half[] = {100, 100}, most[] = {150, 50}, more[] = {150, 250};
	struct load l;

	open_load(&l, "nic1", 2);
	expect(&l, half, 500);
	/* one is guaranteed 150 of 200 Mb/s, however greedy the other is */
	succeeds("vf set nic1/vf0 min-tx-rate 150");
	expect(&l, most, 1000);
	/* more for the device, the guarantee being a limit as well now */
	assert_int_equal(reload(100, 400), 0);
	succeeds("vf set nic1/vf0 max-tx-rate 150");
	expect(&l, more, 500);
	drain(&l, "nic1");
	/* what cannot be guaranteed is refused, and changes nothing */
	succeeds("vf set nic1/vf1 min-tx-rate 250");
	refused("vf set nic1/pf min-tx-rate 1", "guaranteed 401 Mb/s, its tx-rate is 400");
	refused("vf set nic1/vf3 min-tx-rate 1", "no such function");
	refused("vf set nic1/vf0 min-tx-rate 151", "more than max-tx-rate 150");
	refused("vf set nic1/vf0 max-tx-rate 100", "more than max-tx-rate 100");
	assert_int_not_equal(reload(100, 399), 0);
	assert_non_null(strstr(output, "tx-rate is 399 Mb/s"));
	succeeds("-j show nic1");
	assert_non_null(strstr(output, "\"tx-rate\": 400"));
	succeeds("show nic1/vf0");
	assert_non_null(strstr(output, "max tx rate  150 Mb/s"));
	assert_non_null(strstr(output, "min tx rate  150 Mb/s"));
	close_load(&l);
}

static int setup(void **state)
{
	char text[512];

	configure(text, sizeof(text), 200, 200);
	return daemon_start(&run, softiovd, text, -1);
}

static int teardown(void **state)
{
	return daemon_stop(&run);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(max_rate),
		cmocka_unit_test(device_rate),
	};

	if (argc != 3)
		return 2;
	softiovd = argv[1];
	softiov = argv[2];
	return cmocka_run_group_tests(tests, setup, teardown);
}
