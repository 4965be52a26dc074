/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVMe at the real daemon: what a controller says of itself, every I/O command, and data integrity
 * over every kind of backend.
 *
 *   daemon_nvme_test SOFTIOVD SOFTIOV [registered]
 *
 * registered: with the guest's memory registered with io_uring.
 */
#include "daemon_nvme.h"

#include <fcntl.h>
#include <sys/stat.h>

#define PAIRS 4

/* NSIDs */
enum { MEM = 1, FILE512, NULLDEV, MEM4K, FILE4K, READONLY, NBD, NAMESPACES };

static const char config[] =
	"devices:\n"
	"  ssd0:\n"
	"    type: nvme\n"
	"    total-vfs: 4\n"
	"    num-vfs: 2\n"
	"    queues: 8\n"
	"    register-memory: %s\n"
	"    namespaces:\n"
	"      1: {memory: 64M, attach: [vf0, vf1]}\n"
	"      2: {file: @/512.img, size: 256M, attach: [vf0]}\n"
	"      3: {null: 1T, attach: [vf0]}\n"
	"      4: {memory: 64M, block-size: 4096, attach: [vf0]}\n"
	"      5: {file: @/4k.img, size: 256M, block-size: 4096, direct: on, attach: [vf0]}\n"
	"      6: {file: @/ro.img, size: 16M, read-only: true, attach: [vf0]}\n";
static const char config_nbd[] =
	"      7: {nbd: \"nbd+unix:///?socket=@/nbd.sock\", attach: [vf0]}\n";

static struct nvme_rig rig;
static struct nvme_host *h;	/* at vf0 */
static struct nvme_host_sq *io; /* its first I/O queue */
static bool have_nbd, registered;

static const struct nvme_host_config plain = {.pairs = PAIRS, .ask = 8, .queue_size = 128};

static int setup(void **state)
{
	char text[2048], path[64];
	int fd, n;

	snprintf(path, sizeof(path), "%s/ro.img", rig.files);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 16 << 20))
		return -1;
	close(fd);
	have_nbd = !nvme_rig_nbd_start(&rig, 64 << 20);
	n = snprintf(text, sizeof(text), config, registered ? "on" : "off");
	snprintf(text + n, sizeof(text) - (size_t)n, "%s", have_nbd ? config_nbd : "");
	if (nvme_rig_start(&rig, text))
		return -1;
	if (nvme_rig_open(&rig, "ssd0/vf0", plain, &h))
		return -1;
	io = nvme_host_io(h, 1);
	return 0;
}

static int teardown(void **state)
{
	nvme_host_close(h);
	return nvme_rig_stop(&rig);
}

/* ---- what it says of itself ---- */

static void registers(void **state)
{
	uint64_t cap = nvme_host_get64(h, NVME_REG_CAP);

	assert_true((cap & NVME_CAP_MQES_MASK) >= 1023);
	assert_int_equal(cap >> NVME_CAP_CQR_SHIFT & 1, 1);
	assert_int_equal(cap >> NVME_CAP_DSTRD_SHIFT & NVME_CAP_DSTRD_MASK, 0);
	assert_int_equal(cap >> NVME_CAP_CSS_SHIFT & NVME_CAP_CSS_MASK, NVME_CAP_CSS_NVM);
	assert_int_equal(cap >> NVME_CAP_MPSMIN_SHIFT & NVME_CAP_MPSMIN_MASK, 0);
	assert_true((cap >> NVME_CAP_TO_SHIFT & NVME_CAP_TO_MASK) > 0);
	assert_int_equal(nvme_host_get32(h, NVME_REG_VS), NVME_SPEC_VERSION);
	assert_int_equal(nvme_host_get32(h, NVME_REG_CSTS), 1);
	/* 32-bit halves, as some drivers read it */
	assert_int_equal(nvme_host_get32(h, NVME_REG_CAP), (uint32_t)cap);
	assert_int_equal(nvme_host_get32(h, NVME_REG_CAP + 4), (uint32_t)(cap >> 32));
	assert_int_equal(nvme_host_get64(h, NVME_REG_ASQ), h->sqs[0].addr);
}

static void identify_controllers(void **state)
{
	struct nvme_id_ctrl a, b;
	struct nvme_host *other;

	assert_int_equal(nvme_rig_open(&rig, "ssd0/vf1", plain, &other), 0);
	OK(nvme_host_identify(h, NVME_IDENTIFY_CNS_CTRL, 0, 0, &a));
	OK(nvme_host_identify(other, NVME_IDENTIFY_CNS_CTRL, 0, 0, &b));
	nvme_host_close(other);
	assert_int_equal(a.vid, 0x1b36);
	assert_memory_equal(a.sn, b.sn, sizeof(a.sn));
	assert_memory_equal(a.mn, b.mn, sizeof(a.mn));
	assert_memory_equal(a.subnqn, b.subnqn, sizeof(a.subnqn));
	assert_memory_equal(a.subnqn, "nqn.", 4);
	assert_int_equal(a.cntlid, 1);
	assert_int_equal(b.cntlid, 2);
	assert_int_equal(a.cmic & 6, 6);
	assert_true(a.mdts >= 8);
	assert_int_equal(a.ver, NVME_SPEC_VERSION);
	assert_int_equal(a.cntrltype, 1);
	assert_int_equal(a.oacs & (1 << 3 | 1 << 7 | 1 << 8), 1 << 8);
	assert_int_equal(a.sqes, 0x66);
	assert_int_equal(a.cqes, 0x44);
	/* compare, DSM, write zeroes, reservations, verify, copy */
	assert_int_equal(a.oncs & 0x1ac, 0x1ac);
	assert_int_equal(a.oncs & 1, 1);
	assert_int_equal(a.fuses & 1, 1);
	assert_int_not_equal(a.sgls & 3, 0);
	assert_int_equal(a.vwc & 1, 1);
	assert_true(a.nn >= NAMESPACES - 1);
	assert_true(a.aerl >= 3);
	assert_true(a.acl >= 3);
	assert_true(a.lpa & 2);
	assert_true(a.oaes & 1 << 8);
}

static void namespace_lists(void **state)
{
	struct nvme_ns_list list;
	struct nvme_id_ctrl ctrl;
	struct nvme_id_ns ns;
	unsigned n = 0;

	OK(nvme_host_identify(h, NVME_IDENTIFY_CNS_CTRL, 0, 0, &ctrl));
	OK(nvme_host_identify(h, NVME_IDENTIFY_CNS_NS_ACTIVE_LIST, 0, 0, &list));
	while (list.ns[n]) {
		assert_int_equal(list.ns[n], n + 1);
		n++;
	}
	assert_int_equal(n, NAMESPACES - 1 - !have_nbd);
	/* only those above the NSID given */
	OK(nvme_host_identify(h, NVME_IDENTIFY_CNS_NS_ACTIVE_LIST, 4, 0, &list));
	assert_int_equal(list.ns[0], 5);
	STATUS(nvme_host_identify(h, NVME_IDENTIFY_CNS_NS_ACTIVE_LIST, 0xffffffff, 0, &list),
	       GENERIC(NVME_SC_INVALID_NS));
	/* Inactive ones are zeros, not errors: edk2 stops at the first error. */
	OK(nvme_host_identify(h, NVME_IDENTIFY_CNS_NS, NAMESPACES, 0, &ns));
	for (unsigned i = 0; i < sizeof(ns); i++)
		assert_int_equal(((uint8_t *)&ns)[i], 0);
	STATUS(nvme_host_identify(h, NVME_IDENTIFY_CNS_NS, ctrl.nn + 1, 0, &ns),
	       GENERIC(NVME_SC_INVALID_NS));
	STATUS(nvme_host_identify(h, NVME_IDENTIFY_CNS_NS, 0, 0, &ns), GENERIC(NVME_SC_INVALID_NS));
	STATUS(nvme_host_identify(h, 0xee, 0, 0, &ns), GENERIC(NVME_SC_INVALID_FIELD));
}

static void namespaces(void **state)
{
	static const struct {
		uint64_t bytes;
		uint32_t block;
	} want[NAMESPACES] = {[MEM] = {64 << 20, 512},	     [FILE512] = {256 << 20, 512},
			      [NULLDEV] = {1ull << 40, 512}, [MEM4K] = {64 << 20, 4096},
			      [FILE4K] = {256 << 20, 4096},  [READONLY] = {16 << 20, 512}};
	uint8_t desc[4096], again[4096];
	struct nvme_host *other;
	uint64_t blocks;
	uint32_t block;

	for (unsigned i = MEM; i <= READONLY; i++) {
		OK(nvme_host_ns_size(h, i, &blocks, &block));
		assert_int_equal(block, want[i].block);
		assert_int_equal(blocks * block, want[i].bytes);
		OK(nvme_host_identify(h, NVME_IDENTIFY_CNS_NS_DESC_LIST, i, 0, desc));
		assert_in_range(desc[0], 1, 4); /* EUI-64, NGUID, UUID */
	}
	/* The shared one is the same thing from both sides, and says that it may be shared. */
	assert_int_equal(nvme_rig_open(&rig, "ssd0/vf1", plain, &other), 0);
	OK(nvme_host_identify(h, NVME_IDENTIFY_CNS_NS_DESC_LIST, MEM, 0, desc));
	OK(nvme_host_identify(other, NVME_IDENTIFY_CNS_NS_DESC_LIST, MEM, 0, again));
	assert_memory_equal(desc, again, sizeof(desc));
	OK(nvme_host_identify(other, NVME_IDENTIFY_CNS_NS, MEM, 0, desc));
	assert_int_equal(((struct nvme_id_ns *)desc)->nmic & 1, 1);
	OK(nvme_host_ns_size(other, FILE512, &blocks, &block));
	assert_int_equal(blocks, 0);
	/* There is such an NSID, but not for this controller (6.1.2). */
	STATUS(nvme_host_rw(nvme_host_io(other, 1), nvme_cmd_read, FILE512, 0, 1, 0),
	       GENERIC(NVME_SC_INVALID_FIELD));
	nvme_host_close(other);
}

static void features(void **state)
{
	static const uint8_t mandatory[] = {0x01, 0x02, 0x04, 0x06, 0x07,
					    0x08, 0x09, 0x0a, 0x0b, 0x0e};
	struct nvme_sqe sqe = {.opcode = nvme_admin_get_features,
			       .nsid = MEM,
			       .cdw10 = NVME_FEAT_FID_ERR_RECOVERY};
	uint32_t v;

	OK(nvme_host_exec(nvme_host_admin(h), &sqe, &v));
	for (unsigned i = 0; i < sizeof(mandatory); i++)
		OK(nvme_host_get_feature(h, mandatory[i], 0, &v));
	OK(nvme_host_set_feature(h, NVME_FEAT_FID_VOLATILE_WC, 0));
	OK(nvme_host_get_feature(h, NVME_FEAT_FID_VOLATILE_WC, 0, &v));
	assert_int_equal(v & 1, 0);
	OK(nvme_host_set_feature(h, NVME_FEAT_FID_VOLATILE_WC, 1));
	OK(nvme_host_get_feature(h, NVME_FEAT_FID_VOLATILE_WC, 0, &v));
	assert_int_equal(v & 1, 1);
	OK(nvme_host_set_feature(h, NVME_FEAT_FID_IRQ_COALESCE, 0x0507));
	OK(nvme_host_get_feature(h, NVME_FEAT_FID_IRQ_COALESCE, 0, &v));
	assert_int_equal(v & 0xffff, 0x0507);
	OK(nvme_host_set_feature(h, NVME_FEAT_FID_IRQ_COALESCE, 0));
	/* queues exist */
	STATUS(nvme_host_set_feature(h, NVME_FEAT_FID_NUM_QUEUES, 0x00030003),
	       GENERIC(NVME_SC_CMD_SEQ_ERROR));
	OK(nvme_host_get_feature(h, NVME_FEAT_FID_NUM_QUEUES, 0, &v));
	assert_int_equal(v & 0xffff, 7);
	STATUS(nvme_host_get_feature(h, 0x3f, 0, &v), GENERIC(NVME_SC_INVALID_FIELD));
	STATUS(nvme_host_set_feature(h, 0, 0), GENERIC(NVME_SC_INVALID_FIELD));
}

static void logs(void **state)
{
	struct nvme_error_log_page errors[4];
	struct nvme_smart_log before, after;
	uint32_t effects[1024], slot[128];
	uint64_t was, is;

	OK(nvme_host_log(h, NVME_LOG_LID_SMART, NVME_NSID_ALL, false, &before, sizeof(before)));
	for (unsigned i = 0; i < 10; i++)
		OK(nvme_host_rw(io, nvme_cmd_read, NULLDEV, i, 1, 0));
	STATUS(nvme_host_rw(io, nvme_cmd_read, MEM, 1ull << 40, 1, 0), GENERIC(NVME_SC_LBA_RANGE));
	OK(nvme_host_log(h, NVME_LOG_LID_SMART, NVME_NSID_ALL, false, &after, sizeof(after)));
	memcpy(&was, before.host_reads, 8);
	memcpy(&is, after.host_reads, 8);
	assert_in_range(is - was, 10, 11);
	OK(nvme_host_log(h, NVME_LOG_LID_ERROR, NVME_NSID_ALL, false, errors, sizeof(errors)));
	assert_int_not_equal(errors[0].error_count, 0);
	assert_int_equal(errors[0].sqid, 1);
	assert_int_equal(errors[0].status_field >> 1 & 0x7ff, GENERIC(NVME_SC_LBA_RANGE));
	assert_int_equal(errors[0].nsid, MEM);
	assert_int_equal(errors[0].lba, 1ull << 40);
	OK(nvme_host_log(h, NVME_LOG_LID_CMD_EFFECTS, 0, false, effects, sizeof(effects)));
	assert_int_equal(effects[nvme_admin_identify] & 1, 1);
	assert_int_equal(effects[256 + nvme_cmd_write] & 3, 3);
	assert_int_equal(effects[256 + 0x7f] & 1, 0);
	OK(nvme_host_log(h, NVME_LOG_LID_FW_SLOT, 0, false, slot, sizeof(slot)));
	STATUS(nvme_host_log(h, 0x6f, 0, false, slot, sizeof(slot)),
	       SPECIFIC(NVME_SC_INVALID_LOG_PAGE));
}

static void admin_oddities(void **state)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_abort_cmd, .cdw10 = 0x1234u << 16 | 1};
	uint32_t dw0 = 0;

	OK(nvme_host_exec(nvme_host_admin(h), &sqe, &dw0));
	assert_int_equal(dw0 & 1, 1); /* there was nothing to abort */
	sqe = (struct nvme_sqe){.opcode = 0x3f};
	STATUS(nvme_host_exec(nvme_host_admin(h), &sqe, NULL), GENERIC(NVME_SC_INVALID_OPCODE));
	sqe = (struct nvme_sqe){.opcode = nvme_admin_virtual_mgmt, .cdw10 = 9 | 2u << 16};
	STATUS(nvme_host_exec(nvme_host_admin(h), &sqe, NULL), GENERIC(NVME_SC_INVALID_OPCODE));
	sqe = (struct nvme_sqe){.opcode = nvme_admin_ns_mgmt};
	STATUS(nvme_host_exec_data(nvme_host_admin(h), &sqe, 4096, NULL),
	       GENERIC(NVME_SC_INVALID_OPCODE));
	sqe = (struct nvme_sqe){.opcode = 0x7f, .nsid = MEM};
	STATUS(nvme_host_exec(io, &sqe, NULL), GENERIC(NVME_SC_INVALID_OPCODE));
	STATUS(nvme_host_create_cq(h, 5, 1, NVME_HOST_NO_IRQ), SPECIFIC(NVME_SC_QUEUE_SIZE));
	STATUS(nvme_host_create_cq(h, 9, 16, NVME_HOST_NO_IRQ), SPECIFIC(NVME_SC_QID_INVALID));
	STATUS(nvme_host_create_cq(h, 5, 16, 1000), SPECIFIC(NVME_SC_INVALID_VECTOR));
	STATUS(nvme_host_create_sq(h, 5, 16, 6), SPECIFIC(NVME_SC_CQ_INVALID));
	STATUS(nvme_host_delete_sq(h, 7), SPECIFIC(NVME_SC_QID_INVALID));
	STATUS(nvme_host_delete_cq(h, 7), SPECIFIC(NVME_SC_QID_INVALID));
	STATUS(nvme_host_delete_cq(h, 1), SPECIFIC(NVME_SC_INVALID_QUEUE));
}

/* More event requests than the controller takes: the one too many is refused, the others stay. */
static void too_many_event_requests(void **state)
{
	struct nvme_host_req reqs[40] = {0};
	struct nvme_host *other;
	struct nvme_id_ctrl id;
	unsigned n;

	assert_int_equal(nvme_rig_open(&rig, "ssd0/vf1", plain, &other), 0);
	OK(nvme_host_identify(other, NVME_IDENTIFY_CNS_CTRL, 0, 0, &id));
	n = id.aerl + 2u;
	assert_in_range(n, 2, ARRAY_SIZE(reqs));
	for (unsigned i = 0; i < n; i++) {
		reqs[i].sqe.opcode = nvme_admin_async_event;
		assert_int_equal(nvme_host_submit(nvme_host_admin(other), &reqs[i]), 0);
	}
	nvme_host_ring(nvme_host_admin(other));
	STATUS(nvme_host_wait(nvme_host_admin(other), &reqs[n - 1], 0),
	       SPECIFIC(NVME_SC_ASYNC_LIMIT));
	for (unsigned i = 0; i + 1 < n; i++)
		assert_true(reqs[i].busy);
	nvme_host_close(other);
}

/* ---- data ---- */

static void skip_without_nbd(unsigned nsid)
{
	if (nsid == NBD && !have_nbd) {
		print_message("# no nbdkit and no qemu-nbd\n");
		skip();
	}
}

/* Writes of all lengths at all places, then all read back: by PRPs from and to any offset in a
 * page, by a queue of its own each. */
static void integrity(unsigned nsid)
{
	uint64_t blocks, addr, slba, list_addr;
	uint32_t block, nlb, most;
	struct nvme_sqe sqe;
	uint64_t *list;
	size_t used;
	uint8_t *buf;

	skip_without_nbd(nsid);
	OK(nvme_host_ns_size(h, nsid, &blocks, &block));
	used = h->mem_used;
	buf = nvme_host_alloc(h, (1 << 20) + 4096, &addr);
	list = nvme_host_alloc(h, 2 * 4096, &list_addr);
	assert_non_null(list);
	most = (1u << 20) / block;
	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; i < 48; i++) {
			unsigned off = i % 3 ? i * 52 % 4096 & ~3u : 0;
			uint32_t skip_list = i % 5 * 8 * 100; /* lists start anywhere in a page */
			size_t len;

			nlb = i % 8 == 7 ? most : 1 + i * 37 % 64;
			slba = (uint64_t)i * ((blocks - most) / 48);
			len = (size_t)nlb * block;
			if (off && nlb == most)
				off = 4096 - 4;
			if (pass)
				memset(buf, 0x5a, (1 << 20) + 4096);
			else
				nvme_pattern(buf + off, len, nsid * 1000 + i);
			nvme_host_make_rw(&sqe, pass ? nvme_cmd_read : nvme_cmd_write, nsid, slba,
					  nlb, 0);
			assert_int_equal(nvme_host_prp(&sqe, addr + off, (uint32_t)len,
						       list + skip_list / 8, list_addr + skip_list),
					 0);
			OK(nvme_host_exec(nvme_host_io(h, 1 + i % PAIRS), &sqe, NULL));
			if (!pass)
				continue;
			if (!nvme_pattern_is(buf + off, len, nsid * 1000 + i))
				fail_msg("namespace %u, command %u: wrong data", nsid, i);
			/* nothing beyond it was touched */
			assert_int_equal(buf[off + len], 0x5a);
			if (off)
				assert_int_equal(buf[off - 1], 0x5a);
		}
	}
	h->mem_used = used;
}

static void integrity_memory(void **state)
{
	integrity(MEM);
}

static void integrity_memory_4k(void **state)
{
	integrity(MEM4K);
}

static void integrity_file(void **state)
{
	integrity(FILE512);
}

static void integrity_file_4k(void **state)
{
	integrity(FILE4K);
}

static void integrity_nbd(void **state)
{
	integrity(NBD);
}

/* What was written lies in the file at its place. */
static void file_has_it(void **state)
{
	char path[64];
	uint8_t buf[8192];
	int fd;

	nvme_pattern(h->data, sizeof(buf), 77);
	OK(nvme_host_rw(io, nvme_cmd_write, FILE512, 1000, 16, 0));
	OK(nvme_host_flush(io, FILE512));
	snprintf(path, sizeof(path), "%s/512.img", rig.files);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, buf, sizeof(buf), 1000 * 512), sizeof(buf));
	close(fd);
	assert_true(nvme_pattern_is(buf, sizeof(buf), 77));
}

/* 128 commands under way at once in each of several queues, in blocks of their own. */
static void deep_queues(void **state)
{
	static struct nvme_host_req reqs[PAIRS][127];
	static const uint8_t targets[] = {MEM, FILE512, FILE4K, NBD};
	uint64_t addr, blocks;
	uint32_t block;
	size_t used = h->mem_used;
	uint8_t *buf = nvme_host_alloc(h, PAIRS * 127 * 4096, &addr);

	assert_non_null(buf);
	for (unsigned t = 0; t < sizeof(targets); t++) {
		if (targets[t] == NBD && !have_nbd)
			continue;
		OK(nvme_host_ns_size(h, targets[t], &blocks, &block));
		for (unsigned pass = 0; pass < 2; pass++) {
			if (pass)
				memset(buf, 0, PAIRS * 127 * 4096);
			for (unsigned q = 0; q < PAIRS; q++) {
				for (unsigned i = 0; i < 127; i++) {
					struct nvme_host_req *r = &reqs[q][i];
					unsigned n = q * 127 + i;

					nvme_host_make_rw(&r->sqe,
							  pass ? nvme_cmd_read : nvme_cmd_write,
							  targets[t], (uint64_t)n * 4096 / block,
							  4096 / block, 0);
					if (!pass)
						nvme_pattern(buf + n * 4096, 4096, n);
					nvme_host_prp(&r->sqe, addr + n * 4096, 4096, NULL, 0);
					assert_int_equal(
						nvme_host_submit(nvme_host_io(h, 1 + q), r), 0);
				}
				nvme_host_ring(nvme_host_io(h, 1 + q));
			}
			for (unsigned q = 0; q < PAIRS; q++)
				assert_int_equal(nvme_host_wait_all(nvme_host_io(h, 1 + q), 0), 0);
			for (unsigned n = 0; n < PAIRS * 127; n++) {
				OK(reqs[n / 127][n % 127].status);
				if (pass)
					assert_true(nvme_pattern_is(buf + n * 4096, 4096, n));
			}
		}
	}
	h->mem_used = used;
	assert_int_equal(h->strange, 0);
}

/* ---- SGLs (4.4) ---- */

static void sgl_in_command(void **state)
{
	struct nvme_sqe sqe;

	/* any byte offset, if the controller says so; dwords always */
	for (unsigned off = 0; off < 64; off += 4) {
		nvme_pattern(h->data + off, 8192, off);
		nvme_host_make_rw(&sqe, nvme_cmd_write, MEM, 100, 16, 0);
		nvme_host_set_sgl(&sqe,
				  nvme_host_sgl(h->data_addr + off, 8192, NVME_SGL_DATA_BLOCK));
		OK(nvme_host_exec(io, &sqe, NULL));
		memset(h->data, 0, 16384);
		nvme_host_make_rw(&sqe, nvme_cmd_read, MEM, 100, 16, 0);
		nvme_host_set_sgl(&sqe, nvme_host_sgl(h->data_addr + 8, 8192, NVME_SGL_DATA_BLOCK));
		OK(nvme_host_exec(io, &sqe, NULL));
		assert_true(nvme_pattern_is(h->data + 8, 8192, off));
	}
}

/* One segment, then several: pieces of odd lengths, all over memory, in reverse. */
static void sgl_segments(void **state)
{
	struct nvme_sgl_desc *d = (struct nvme_sgl_desc *)h->list;
	uint8_t *b = h->data, want[8192];
	uint64_t at = h->data_addr;
	struct nvme_sqe sqe;

	nvme_pattern(want, sizeof(want), 5);
	OK(nvme_host_rw(io, nvme_cmd_write, FILE512, 0, 1, 0)); /* whatever */
	memcpy(b, want, sizeof(want));
	OK(nvme_host_rw(io, nvme_cmd_write, FILE512, 0, 16, 0));
	memset(b, 0, 1 << 20);
	d[0] = nvme_host_sgl(at + 300000, 100, NVME_SGL_DATA_BLOCK);
	d[1] = nvme_host_sgl(at + 200000, 4000, NVME_SGL_DATA_BLOCK);
	d[2] = nvme_host_sgl(at + 100000, 0, NVME_SGL_DATA_BLOCK); /* legal: nothing */
	d[3] = nvme_host_sgl(at, 4092, NVME_SGL_DATA_BLOCK);
	nvme_host_make_rw(&sqe, nvme_cmd_read, FILE512, 0, 16, 0);
	nvme_host_set_sgl(&sqe, nvme_host_sgl(h->list_addr, 64, NVME_SGL_LAST_SEGMENT));
	OK(nvme_host_exec(io, &sqe, NULL));
	assert_memory_equal(b + 300000, want, 100);
	assert_memory_equal(b + 200000, want + 100, 4000);
	assert_memory_equal(b, want + 4100, 4092);
	assert_int_equal(b[100000], 0);

	memset(b, 0, 1 << 20);
	d[2] = nvme_host_sgl(h->list_addr + 1024, 32, NVME_SGL_SEGMENT);
	d[64] = nvme_host_sgl(at + 100000, 92, NVME_SGL_DATA_BLOCK);
	d[65] = nvme_host_sgl(h->list_addr + 2048, 16, NVME_SGL_LAST_SEGMENT);
	d[128] = nvme_host_sgl(at, 4000, NVME_SGL_DATA_BLOCK);
	nvme_host_set_sgl(&sqe, nvme_host_sgl(h->list_addr, 48, NVME_SGL_SEGMENT));
	OK(nvme_host_exec(io, &sqe, NULL));
	assert_memory_equal(b + 300000, want, 100);
	assert_memory_equal(b + 200000, want + 100, 4000);
	assert_memory_equal(b + 100000, want + 4100, 92);
	assert_memory_equal(b, want + 4192, 4000);
}

static void sgl_bit_bucket(void **state)
{
	struct nvme_sgl_desc *d = (struct nvme_sgl_desc *)h->list;
	struct nvme_id_ctrl id;
	struct nvme_sqe sqe;

	OK(nvme_host_identify(h, NVME_IDENTIFY_CNS_CTRL, 0, 0, &id));
	if (!(id.sgls & 1 << 16)) {
		print_message("# no bit buckets offered\n");
		skip();
	}
	nvme_pattern(h->data, 8192, 6);
	OK(nvme_host_rw(io, nvme_cmd_write, MEM, 0, 16, 0));
	memset(h->data, 0, 8192);
	d[0] = nvme_host_sgl(0, 4096, NVME_SGL_BIT_BUCKET);
	d[1] = nvme_host_sgl(h->data_addr, 4096, NVME_SGL_DATA_BLOCK);
	nvme_host_make_rw(&sqe, nvme_cmd_read, MEM, 0, 16, 0);
	nvme_host_set_sgl(&sqe, nvme_host_sgl(h->list_addr, 32, NVME_SGL_LAST_SEGMENT));
	OK(nvme_host_exec(io, &sqe, NULL));
	nvme_pattern(h->data + 8192, 8192, 6);
	assert_memory_equal(h->data, h->data + 8192 + 4096, 4096);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers),	    cmocka_unit_test(identify_controllers),
		cmocka_unit_test(namespace_lists),  cmocka_unit_test(namespaces),
		cmocka_unit_test(features),	    cmocka_unit_test(logs),
		cmocka_unit_test(admin_oddities),   cmocka_unit_test(too_many_event_requests),
		cmocka_unit_test(integrity_memory), cmocka_unit_test(integrity_memory_4k),
		cmocka_unit_test(integrity_file),   cmocka_unit_test(integrity_file_4k),
		cmocka_unit_test(integrity_nbd),    cmocka_unit_test(file_has_it),
		cmocka_unit_test(deep_queues),	    cmocka_unit_test(sgl_in_command),
		cmocka_unit_test(sgl_segments),	    cmocka_unit_test(sgl_bit_bucket),
	};
	int ret;

	registered = argc == 4 && !strcmp(argv[3], "registered");
	if (argc != 3 + registered || nvme_rig_init(&rig, argv[1], argv[2]))
		return 2;
	ret = cmocka_run_group_tests(tests, setup, teardown);
	return nvme_rig_fini(&rig) ? 1 : ret;
}
