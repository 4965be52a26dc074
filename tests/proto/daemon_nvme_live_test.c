/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the command line changes while guests use their disks: namespaces that come, grow, move and
 * go, limits, and the counters that tell what was done.
 *
 *   daemon_nvme_live_test SOFTIOVD SOFTIOV [TEST]
 */
#include "daemon_nvme.h"

#include <jansson.h>

static const char config[] = WORKERS "devices:\n"
				     "  ssd0:\n"
				     "    type: nvme\n"
				     "    total-vfs: 4\n"
				     "    num-vfs: 2\n"
				     "    queues: 4\n"
				     "    namespaces:\n"
				     "      1: {memory: 64M, attach: [vf0, vf1]}\n"
				     "      2: {null: 1T, attach: [vf0, vf1]}\n"
				     "      3: {file: @/disk.img, size: 64M, attach: [vf0]}\n";

#define MIB   (1ull << 20)
#define DEPTH 64
#define TRIES 8

static struct nvme_rig rig;
static struct nvme_host *h, *g;
static struct nvme_host_sq *io;
/* event requests that wait at either */
static struct nvme_host_req aer_h, aer_g;

static void ask_for_event(struct nvme_host *who, struct nvme_host_req *aer)
{
	if (aer->busy)
		return;
	*aer = (struct nvme_host_req){.sqe.opcode = nvme_admin_async_event};
	assert_int_equal(nvme_host_submit(nvme_host_admin(who), aer), 0);
	nvme_host_ring(nvme_host_admin(who));
}

static int setup(void **state)
{
	const struct nvme_host_config cfg = {.pairs = 2, .queue_size = 256, .dbbuf = true};

	if (nvme_rig_start(&rig, config) || nvme_rig_open(&rig, "ssd0/vf0", cfg, &h) ||
	    nvme_rig_open(&rig, "ssd0/vf1", cfg, &g))
		return -1;
	io = nvme_host_io(h, 1);
	if (nvme_host_set_feature(h, NVME_FEAT_FID_ASYNC_EVENT, 1 << 8) ||
	    nvme_host_set_feature(g, NVME_FEAT_FID_ASYNC_EVENT, 1 << 8))
		return -1;
	ask_for_event(h, &aer_h);
	ask_for_event(g, &aer_g);
	return 0;
}

static int teardown(void **state)
{
	nvme_host_close(h);
	nvme_host_close(g);
	return nvme_rig_stop(&rig);
}

/* ---- events ---- */

/* The next event says that namespaces changed, and its log names nsid; asks for the next one. */
static void expect_changed(struct nvme_host *who, struct nvme_host_req *aer, uint32_t nsid)
{
	uint32_t list[1024];
	bool found = false;

	OK(nvme_host_wait(nvme_host_admin(who), aer, 0));
	assert_int_equal(aer->dw0 & 7, NVME_AER_NOTICE);
	assert_int_equal(aer->dw0 >> 8 & 0xff, NVME_AER_NOTICE_NS_CHANGED);
	assert_int_equal(aer->dw0 >> 16 & 0xff, NVME_LOG_LID_CHANGED_NS);
	OK(nvme_host_log(who, NVME_LOG_LID_CHANGED_NS, NVME_NSID_ALL, false, list, sizeof(list)));
	for (unsigned i = 0; i < 1024 && list[i]; i++)
		found |= list[i] == nsid;
	assert_true(found);
	/* reading has emptied it */
	OK(nvme_host_log(who, NVME_LOG_LID_CHANGED_NS, NVME_NSID_ALL, false, list, sizeof(list)));
	assert_int_equal(list[0], 0);
	who->shifts[nsid] = 0;
	ask_for_event(who, aer);
}

static void no_event(struct nvme_host *who, struct nvme_host_req *aer)
{
	usleep(20000);
	nvme_host_poll(nvme_host_admin(who)->cq, 8);
	assert_true(aer->busy);
}

static bool active(struct nvme_host *who, uint32_t nsid)
{
	struct nvme_ns_list list;

	OK(nvme_host_identify(who, NVME_IDENTIFY_CNS_NS_ACTIVE_LIST, nsid - 1, 0, &list));
	return list.ns[0] == nsid;
}

static uint64_t bytes_of(struct nvme_host *who, uint32_t nsid)
{
	uint64_t blocks;
	uint32_t block;

	OK(nvme_host_ns_size(who, nsid, &blocks, &block));
	return blocks * block;
}

static void works(struct nvme_host *who, uint32_t nsid, uint64_t lba)
{
	nvme_pattern(who->data, 4096, lba);
	OK(nvme_host_rw(nvme_host_io(who, 1), nvme_cmd_write, nsid, lba, 8, 0));
	memset(who->data, 0, 4096);
	OK(nvme_host_rw(nvme_host_io(who, 1), nvme_cmd_read, nsid, lba, 8, 0));
	assert_true(nvme_pattern_is(who->data, 4096, lba));
}

static void resize(void **state)
{
	static const uint8_t nsids[] = {1, 3};

	for (unsigned i = 0; i < sizeof(nsids); i++) {
		uint32_t ns = nsids[i];

		works(h, ns, 64 * 2048 - 8);
		STATUS(nvme_host_rw(io, nvme_cmd_read, ns, 64 * 2048, 1, 0),
		       GENERIC(NVME_SC_LBA_RANGE));
		CLI(&rig, "ns resize ssd0/ns%u 128M", ns);
		expect_changed(h, &aer_h, ns);
		if (ns == 1)
			expect_changed(g, &aer_g, ns);
		else
			no_event(g, &aer_g);
		assert_int_equal(bytes_of(h, ns), 128 * MIB);
		works(h, ns, 128 * 2048 - 8);
		nvme_pattern(h->data + 4096, 4096, 64 * 2048 - 8);
		OK(nvme_host_rw(io, nvme_cmd_read, ns, 64 * 2048 - 8, 8, 0));
		assert_memory_equal(h->data, h->data + 4096, 4096);
		/* and smaller */
		assert_int_not_equal(nvme_rig_cli(&rig, "ns resize ssd0/ns%u 32M", ns), 0);
		CLI(&rig, "ns resize ssd0/ns%u 32M --force", ns);
		expect_changed(h, &aer_h, ns);
		if (ns == 1)
			expect_changed(g, &aer_g, ns);
		assert_int_equal(bytes_of(h, ns), 32 * MIB);
		STATUS(nvme_host_rw(io, nvme_cmd_read, ns, 32 * 2048, 1, 0),
		       GENERIC(NVME_SC_LBA_RANGE));
		works(h, ns, 32 * 2048 - 8);
		/* what was cut off does not come back */
		CLI(&rig, "ns resize ssd0/ns%u 64M", ns);
		expect_changed(h, &aer_h, ns);
		if (ns == 1)
			expect_changed(g, &aer_g, ns);
		OK(nvme_host_rw(io, nvme_cmd_read, ns, 64 * 2048 - 8, 8, 0));
		for (unsigned k = 0; k < 4096; k++)
			assert_int_equal(h->data[k], 0);
	}
}

static void create_attach_detach_delete(void **state)
{
	CLI(&rig, "ns create ssd0 memory 32M attach vf0");
	expect_changed(h, &aer_h, 4);
	no_event(g, &aer_g);
	assert_true(active(h, 4));
	assert_false(active(g, 4));
	assert_int_equal(bytes_of(h, 4), 32 * MIB);
	works(h, 4, 5);
	CLI(&rig, "ns attach ssd0/ns4 vf1");
	expect_changed(g, &aer_g, 4);
	assert_true(active(g, 4));
	/* the same disk */
	OK(nvme_host_rw(nvme_host_io(g, 1), nvme_cmd_read, 4, 5, 8, 0));
	assert_true(nvme_pattern_is(g->data, 4096, 5));
	CLI(&rig, "ns detach ssd0/ns4 vf0");
	expect_changed(h, &aer_h, 4);
	assert_false(active(h, 4));
	assert_int_equal(bytes_of(h, 4), 0);
	h->shifts[4] = 9;
	STATUS(nvme_host_rw(io, nvme_cmd_read, 4, 0, 1, 0), GENERIC(NVME_SC_INVALID_FIELD));
	works(g, 4, 100);
	/* in use: only if it is meant */
	assert_int_not_equal(nvme_rig_cli(&rig, "ns delete ssd0/ns4"), 0);
	works(g, 4, 100);
	CLI(&rig, "ns delete ssd0/ns4 --force");
	expect_changed(g, &aer_g, 4);
	assert_false(active(g, 4));
	assert_int_not_equal(nvme_rig_cli(&rig, "ns attach ssd0/ns4 vf0"), 0);
	assert_int_not_equal(nvme_rig_cli(&rig, "ns detach ssd0/ns1 vf7"), 0);
	/* a file, at a number of its own */
	CLI(&rig, "ns create ssd0 file %s/new.img size 16M attach vf0", rig.files);
	expect_changed(h, &aer_h, 4);
	works(h, 4, 1);
	CLI(&rig, "ns delete ssd0/ns4 --force");
	expect_changed(h, &aer_h, 4);
}

/* A namespace is deleted under load: commands end, one way or other, and the controller lives. */
static void deleted_under_load(void **state)
{
	static struct nvme_host_req reqs[DEPTH];
	char file[64];
	unsigned ok = 0, gone = 0;

	for (unsigned round = 0; round < 4; round++) {
		snprintf(file, sizeof(file), "file %s/x%u.img size", rig.files, round);
		CLI(&rig, "ns create ssd0 %s 32M attach vf0", round & 1 ? file : "memory");
		expect_changed(h, &aer_h, 4);
		for (unsigned i = 0; i < DEPTH; i++) {
			memset(&reqs[i], 0, sizeof(reqs[i]));
			nvme_host_make_rw(&reqs[i].sqe, nvme_cmd_write, 4, i * 256, 256, 0);
			nvme_host_prp(&reqs[i].sqe, h->data_addr, 131072, h->list, h->list_addr);
			assert_int_equal(nvme_host_submit(io, &reqs[i]), 0);
		}
		nvme_host_ring(io);
		CLI(&rig, "ns delete ssd0/ns4 --force");
		assert_int_equal(nvme_host_wait_all(io, 0), 0);
		for (unsigned i = 0; i < DEPTH; i++) {
			ok += reqs[i].status == 0;
			gone += reqs[i].status != 0;
		}
		expect_changed(h, &aer_h, 4);
		works(h, 1, 9);
	}
	print_message("# %u commands were done, %u refused\n", ok, gone);
}

/* Many changes at once are one event, and the log names them all. */
static void events_are_gathered(void **state)
{
	uint32_t list[1024];
	bool seen[9] = {false};

	for (unsigned i = 4; i <= 8; i++)
		CLI(&rig, "ns create ssd0 memory 8M attach vf1");
	OK(nvme_host_wait(nvme_host_admin(g), &aer_g, 0));
	/* until the log is read (without Retain), the next event request stays pending */
	ask_for_event(g, &aer_g);
	no_event(g, &aer_g);
	OK(nvme_host_log(g, NVME_LOG_LID_CHANGED_NS, NVME_NSID_ALL, false, list, sizeof(list)));
	for (unsigned i = 0; list[i]; i++)
		if (list[i] < 9)
			seen[list[i]] = true;
	for (unsigned i = 4; i <= 8; i++)
		assert_true(seen[i]);
	CLI(&rig, "ns delete ssd0/ns8 --force");
	expect_changed(g, &aer_g, 8);
	for (unsigned i = 4; i <= 7; i++) {
		CLI(&rig, "ns delete ssd0/ns%u --force", i);
		expect_changed(g, &aer_g, i);
	}
}

/* ---- limits ---- */

struct load {
	struct nvme_host_sq *sq;
	unsigned long done, bytes;
	uint32_t nlb, errors;
	bool stop;
};

static void again(struct nvme_host_req *r)
{
	struct load *l = r->opaque;

	l->done++;
	l->bytes += (r->sqe.cdw12 + 1) * 512ul;
	l->errors += r->status != 0;
	if (!l->stop)
		nvme_host_submit(l->sq, r);
}

static struct nvme_host_req load_reqs[2][DEPTH];
static struct load loads[2];

/* Also of what a failed test has left running. */
static void load_quiet(unsigned which)
{
	loads[which].stop = true;
	if (loads[which].sq)
		nvme_host_wait_all(loads[which].sq, 0);
}

static void load_start(unsigned which, struct nvme_host *who, uint32_t nsid, uint32_t nlb)
{
	struct load *l = &loads[which];

	load_quiet(which);
	*l = (struct load){.sq = nvme_host_io(who, 2), .nlb = nlb};
	for (unsigned i = 0; i < DEPTH; i++) {
		struct nvme_host_req *r = &load_reqs[which][i];

		*r = (struct nvme_host_req){.done = again, .opaque = l};
		nvme_host_make_rw(&r->sqe, nvme_cmd_read, nsid, i * nlb, nlb, 0);
		nvme_host_prp(&r->sqe, who->data_addr, nlb * 512, who->list, who->list_addr);
		assert_int_equal(nvme_host_submit(l->sq, r), 0);
	}
	nvme_host_ring(l->sq);
}

static void load_for(double seconds, unsigned n)
{
	uint64_t end = clock_now_ns() + (uint64_t)(seconds * 1e9);

	while (clock_now_ns() < end) {
		unsigned got = 0;

		for (unsigned i = 0; i < n; i++) {
			got += nvme_host_poll(loads[i].sq->cq, 64);
			nvme_host_ring(loads[i].sq);
		}
		if (!got)
			usleep(100);
	}
}

static void load_stop(unsigned which)
{
	loads[which].stop = true;
	assert_int_equal(nvme_host_wait_all(loads[which].sq, 0), 0);
	assert_int_equal(loads[which].errors, 0);
}

/* Takes what has been done until now, and the time: what lay there unseen is of before. */
static uint64_t take_done(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		while (nvme_host_poll(loads[i].sq->cq, 64))
			;
		nvme_host_ring(loads[i].sq);
	}
	return clock_now_ns();
}

/* Measured over a second, once the burst is used up. */
static void rates(unsigned n, double iops[], double bandwidth[])
{
	unsigned long done[2], bytes[2];
	uint64_t start;
	double s;

	load_for(0.3, n);
	start = take_done(n);
	for (unsigned i = 0; i < n; i++) {
		done[i] = loads[i].done;
		bytes[i] = loads[i].bytes;
	}
	load_for(1, n);
	s = (double)(take_done(n) - start) / 1e9;
	for (unsigned i = 0; i < n; i++) {
		iops[i] = (double)(loads[i].done - done[i]) / s;
		bandwidth[i] = (double)(loads[i].bytes - bytes[i]) / s;
	}
}

/* What n loads do together; on a busy machine it may be less for a while, but never more. */
static void within(double want, unsigned n, bool bytes, const char *what)
{
	double iops[2] = {0}, bw[2] = {0}, got = 0;

	for (unsigned i = 0; i < TRIES; i++) {
		rates(n, iops, bw);
		got = bytes ? bw[0] + bw[1] : iops[0] + iops[1];
		print_message("# %s: %.0f of %.0f\n", what, got, want);
		if (got > 0.95 * want)
			break;
	}
	/* A sanitizer's program may be too slow for it. */
	if (got > 1.05 * want || (nvme_rig_slow() == 1 && got < 0.95 * want))
		fail_msg("%s: %.0f, not %.0f", what, got, want);
}

static void limits(void **state)
{
	double iops[2], bw[2];

	CLI(&rig, "ns set ssd0/ns2 iops 2000 iops-burst 1");
	load_start(0, h, 2, 1);
	within(2000, 1, false, "IOPS of a namespace");
	/* live */
	CLI(&rig, "ns set ssd0/ns2 iops 8000");
	within(8000, 1, false, "changed under load");
	CLI(&rig, "ns set ssd0/ns2 iops 0");
	rates(1, iops, bw);
	assert_true(iops[0] > 9000);
	load_stop(0);
	CLI(&rig, "ns set ssd0/ns2 bandwidth 40000000 bandwidth-burst 65536");
	load_start(0, h, 2, 128);
	within(40e6, 1, true, "bandwidth of a namespace");
	CLI(&rig, "ns set ssd0/ns2 bandwidth 0");
	load_stop(0);
	CLI(&rig, "vf set ssd0/vf0 iops 3000 bandwidth 1000000");
	load_start(0, h, 2, 1);
	within(1e6, 1, true, "the lower of two limits of a VF");
	CLI(&rig, "vf set ssd0/vf0 bandwidth 0");
	within(3000, 1, false, "IOPS of a VF");
	load_stop(0);
	CLI(&rig, "vf set ssd0/vf0 iops 0");
}

/* The limit of one VF slows nobody else; two that share a namespace's limit have it together. */
static void limits_of_two(void **state)
{
	double iops[2], bw[2];

	CLI(&rig, "vf set ssd0/vf0 iops 1000");
	load_start(0, h, 2, 1);
	within(1000, 1, false, "the limited VF");
	load_start(1, g, 2, 1);
	rates(2, iops, bw);
	assert_true(iops[0] < 1050);
	assert_true(iops[1] > 5000);
	CLI(&rig, "vf set ssd0/vf0 iops 0");
	CLI(&rig, "ns set ssd0/ns2 iops 4000");
	within(4000, 2, false, "both together");
	rates(2, iops, bw);
	assert_true(iops[0] > 1000 && iops[1] > 1000);
	CLI(&rig, "ns set ssd0/ns2 iops 0");
	load_stop(0);
	load_stop(1);
}

/* What waits for a limit can be aborted, and a reset does not wait for it. */
static void limited_to_a_standstill(void **state)
{
	struct nvme_host_req *r = load_reqs[0];
	struct nvme_sqe abort_cmd = {.opcode = nvme_admin_abort_cmd};
	uint64_t start;
	uint32_t dw0;

	CLI(&rig, "ns set ssd0/ns2 iops 1 iops-burst 1");
	load_start(0, h, 2, 1);
	loads[0].stop = true;
	load_for(0.1, 1);
	abort_cmd.cdw10 = (uint32_t)r[DEPTH - 1].sqe.cid << 16 | 2;
	OK(nvme_host_exec(nvme_host_admin(h), &abort_cmd, &dw0));
	if (!(dw0 & 1))
		STATUS(nvme_host_wait(nvme_host_io(h, 2), &r[DEPTH - 1], 0),
		       GENERIC(NVME_SC_ABORT_REQ));
	start = clock_now_ns();
	assert_int_equal(nvme_host_start(h), 0);
	assert_true(clock_now_ns() - start < 2 * NS_PER_S * nvme_rig_slow());
	CLI(&rig, "ns set ssd0/ns2 iops 0");
	works(h, 1, 77);
	OK(nvme_host_set_feature(h, NVME_FEAT_FID_ASYNC_EVENT, 1 << 8));
	ask_for_event(h, &aer_h);
}

/* ---- counters ---- */

/* The object named so, anywhere in the tree. */
static json_t *named(json_t *v, const char *name)
{
	const char *key;
	json_t *child, *hit = NULL;
	size_t i;

	if (json_is_object(v)) {
		const char *n = json_string_value(json_object_get(v, "name"));

		if (n && !strcmp(n, name))
			return v;
		json_object_foreach(v, key, child) if (!hit) hit = named(child, name);
	} else if (json_is_array(v)) {
		json_array_foreach(v, i, child) if (!hit) hit = named(child, name);
	}
	return hit;
}

/* A number of that name, anywhere below. -1 without. */
static json_int_t number(json_t *v, const char *key)
{
	const char *k;
	json_t *child = json_object_get(v, key);
	json_int_t got = -1;

	if (json_is_number(child))
		return (json_int_t)json_number_value(child);
	json_object_foreach(v, k, child) if (got < 0 && json_is_object(child)) got =
		number(child, key);
	return got;
}

static void check_counter(const char *name, const char *key, json_int_t want)
{
	json_t *all, *o;

	CLI(&rig, "stats -j");
	all = json_loads(rig.out, 0, NULL);
	assert_non_null(all);
	o = named(all, name);
	if (!o)
		fail_msg("no %s in %s", name, rig.out);
	if (number(o, key) != want)
		fail_msg("%s of %s: %lld, not %lld", key, name, (long long)number(o, key),
			 (long long)want);
	json_decref(all);
}

static void counters(void **state)
{
	static const char *const names[] = {"ssd0/vf0", "ssd0/ns1"};

	CLI(&rig, "stats clear");
	for (unsigned i = 0; i < 30; i++)
		OK(nvme_host_rw(io, nvme_cmd_read, 1, i, 3, 0));
	for (unsigned i = 0; i < 20; i++)
		OK(nvme_host_rw(nvme_host_io(h, 2), nvme_cmd_write, 1, i, 2, 0));
	OK(nvme_host_flush(io, 1));
	STATUS(nvme_host_rw(io, nvme_cmd_read, 1, 1ull << 40, 1, 0), GENERIC(NVME_SC_LBA_RANGE));
	for (unsigned i = 0; i < 2; i++) {
		check_counter(names[i], "read-bytes", 30 * 3 * 512);
		check_counter(names[i], "writes", 20);
		check_counter(names[i], "write-bytes", 20 * 2 * 512);
		check_counter(names[i], "errors", 1);
	}
	check_counter("ssd0/vf1", "write-bytes", 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resize),
		cmocka_unit_test(create_attach_detach_delete),
		cmocka_unit_test(deleted_under_load),
		cmocka_unit_test(events_are_gathered),
		cmocka_unit_test(limits),
		cmocka_unit_test(limits_of_two),
		cmocka_unit_test(limited_to_a_standstill),
		cmocka_unit_test(counters),
	};
	int ret;

	if (nvme_test_begin(&rig, argc, argv))
		return 2;
	ret = cmocka_run_group_tests(tests, setup, teardown);
	return nvme_rig_fini(&rig) ? 1 : ret;
}
