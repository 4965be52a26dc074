/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data pointers that are wrong in every way, at the real daemon, while a well-behaved
 * host works on its own disk: it must see no error and no stall, and the daemon lives.
 *
 *   daemon_nvme_pointer_test SOFTIOVD SOFTIOV [SEED]
 */
#include "daemon_nvme_hostile.h"

#define AREA (1u << 20)

/* ---- data pointers ---- */

/* list of entries from the front of h->list */
static void list_of(struct nvme_sqe *s, uint64_t a, uint64_t b)
{
	s->prp1 = h->data_addr;
	s->prp2 = h->list_addr;
	for (unsigned i = 0; i < 512; i++)
		h->list[i] = h->data_addr + 4096 * (1 + i % 200);
	h->list[0] = a;
	h->list[1] = b;
}

static void prp1_nowhere(struct nvme_sqe *s)
{
	s->prp1 = NOWHERE;
}

static void prp1_wraps(struct nvme_sqe *s)
{
	s->prp1 = UINT64_MAX - 4095;
	s->prp2 = 0;
}

static void prp1_beyond(struct nvme_sqe *s)
{
	s->prp1 = end_of_memory() - 512;
	s->prp2 = end_of_memory();
}

static void prp1_odd(struct nvme_sqe *s)
{
	s->prp1 = h->data_addr + 2;
}

static void prp2_nowhere(struct nvme_sqe *s)
{
	s->prp1 = h->data_addr;
	s->prp2 = NOWHERE;
}

static void prp2_zero(struct nvme_sqe *s)
{
	s->prp1 = h->data_addr;
	s->prp2 = 0;
}

static void prp2_offset(struct nvme_sqe *s)
{
	s->prp1 = h->data_addr;
	s->prp2 = h->data_addr + 4096 + 512;
}

static void entry_nowhere(struct nvme_sqe *s)
{
	list_of(s, h->data_addr, NOWHERE);
}

static void entry_offset(struct nvme_sqe *s)
{
	list_of(s, h->data_addr, h->data_addr + 8);
}

static void list_nowhere(struct nvme_sqe *s)
{
	list_of(s, h->data_addr, h->data_addr);
	s->prp2 = NOWHERE;
}

static void list_odd(struct nvme_sqe *s)
{
	list_of(s, h->data_addr, h->data_addr);
	s->prp2 = h->list_addr + 4;
}

static void list_at_the_end(struct nvme_sqe *s)
{
	uint64_t *last = (uint64_t *)(h->mem + h->mem_len - 8);

	s->prp1 = h->data_addr;
	s->prp2 = end_of_memory() - 8;
	*last = end_of_memory(); /* goes on behind memory */
}

/* The pointer to the next page of the list points to itself. */
static void list_is_a_loop(struct nvme_sqe *s)
{
	s->prp1 = h->data_addr;
	s->prp2 = h->list_addr + 4088;
	h->list[511] = h->list_addr + 4088;
}

static const struct {
	const char *name;
	void (*make)(struct nvme_sqe *s);
	uint32_t nlb; /* of 512 bytes */
	int want;     /* or 0: any error; -1: anything that ends */
} prps[] = {
	{"prp1 nowhere", prp1_nowhere, 8, 0},
	{"prp1 wraps", prp1_wraps, 16, 0},
	{"prp1 beyond the end", prp1_beyond, 8, 0},
	{"prp1 odd", prp1_odd, 1, GENERIC(NVME_SC_PRP_INVALID_OFFSET)},
	{"prp2 nowhere", prp2_nowhere, 16, 0},
	{"prp2 zero", prp2_zero, 16, 0},
	{"prp2 with an offset", prp2_offset, 16, GENERIC(NVME_SC_PRP_INVALID_OFFSET)},
	{"entry nowhere", entry_nowhere, 32, 0},
	{"entry with an offset", entry_offset, 32, GENERIC(NVME_SC_PRP_INVALID_OFFSET)},
	{"list nowhere", list_nowhere, 32, 0},
	{"list odd", list_odd, 32, GENERIC(NVME_SC_PRP_INVALID_OFFSET)},
	{"list at the end of memory", list_at_the_end, 2048, 0},
	{"list is a loop", list_is_a_loop, 2048, -1},
};

static void bad_prps(void **state)
{
	static const uint8_t opcodes[] = {nvme_cmd_read, nvme_cmd_write, nvme_cmd_compare};
	struct nvme_sqe s;

	begin((struct nvme_host_config){0});
	for (unsigned i = 0; i < ARRAY_SIZE(prps); i++) {
		for (unsigned ns = MEM; ns <= NULLDEV; ns++) {
			for (unsigned o = 0; o < sizeof(opcodes); o++) {
				nvme_host_make_rw(&s, opcodes[o], ns, 0, prps[i].nlb, 0);
				prps[i].make(&s);
				/* nothing says that a store of nothing looks at memory */
				refused(nvme_host_exec(io, &s, NULL),
					ns == NULLDEV ? -1 : prps[i].want, prps[i].name, &s);
			}
		}
		undisturbed(prps[i].name);
	}
	/* of other commands that have data */
	s = (struct nvme_sqe){.opcode = nvme_cmd_dsm, .nsid = MEM, .cdw10 = 255, .cdw11 = 4};
	s.prp1 = NOWHERE;
	refused(nvme_host_exec(io, &s, NULL), 0, "ranges nowhere", &s);
	s = (struct nvme_sqe){.opcode = nvme_cmd_copy, .nsid = MEM, .cdw12 = 3};
	s.prp1 = NOWHERE;
	refused(nvme_host_exec(io, &s, NULL), 0, "ranges nowhere", &s);
	s = (struct nvme_sqe){.opcode = nvme_cmd_resv_register, .nsid = MEM, .prp1 = NOWHERE};
	refused(nvme_host_exec(io, &s, NULL), 0, "key nowhere", &s);
	s = (struct nvme_sqe){.opcode = nvme_admin_identify, .cdw10 = 1, .prp1 = NOWHERE};
	refused(nvme_host_exec(nvme_host_admin(h), &s, NULL), 0, "identify", &s);
	s.prp1 = h->data_addr + 2048;
	s.prp2 = NOWHERE;
	refused(nvme_host_exec(nvme_host_admin(h), &s, NULL), 0, "identify", &s);
	works();
	end();
}

/* Any bits as data pointer, of all I/O commands: each one ends. */
static void random_pointers(void **state)
{
	static const uint8_t opcodes[] = {
		nvme_cmd_read,	       nvme_cmd_write,	     nvme_cmd_compare,
		nvme_cmd_dsm,	       nvme_cmd_copy,	     nvme_cmd_resv_register,
		nvme_cmd_resv_acquire, nvme_cmd_resv_report, nvme_cmd_resv_release};
	struct nvme_host_req r[32];
	uint64_t area, *list;

	begin((struct nvme_host_config){0});
	/* Away from the rings: what lands there would not be the device's fault. */
	nvme_host_alloc(h, AREA, &area);
	list = nvme_host_alloc(h, AREA, &area);
	assert_non_null(nvme_host_alloc(h, AREA, &area));
	area -= AREA;
	for (unsigned round = 0; round < 60; round++) {
		for (unsigned i = 0; i < 1024; i++)
			list[i] = random() % 4 ? h->data_addr + (unsigned)random() % 400 * 4096
					       : (uint64_t)random() << (random() % 40);
		for (unsigned i = 0; i < 32; i++) {
			struct nvme_sqe *s = &r[i].sqe;

			memset(&r[i], 0, sizeof(r[i]));
			nvme_host_make_rw(s, opcodes[(unsigned)random() % sizeof(opcodes)],
					  1 + (unsigned)random() % 3, (unsigned)random() % 70000,
					  1 + (unsigned)random() % 2048, 0);
			s->flags = (uint8_t)(random() % 4 << 6);
			s->prp1 = random() % 4 ? area + (unsigned)random() % 5000
					       : (uint64_t)random() << 20;
			s->prp2 = random() % 4 ? area + (unsigned)random() % 512 * 8
					       : (uint64_t)random() << 20;
			if (random() % 3)
				s->sgl1.length = (uint32_t)random() % 600 * 16;
			s->cdw11 = random() % 8 ? 0 : (uint32_t)random();
			assert_int_equal(nvme_host_submit(io, &r[i]), 0);
		}
		nvme_host_ring(io);
		assert_int_equal(nvme_host_wait_all(io, 0), 0);
		assert_false(nvme_host_failed(h));
	}
	undisturbed("random pointers");
	recovers("random pointers");
	end();
}

/* ---- SGLs ---- */

static struct nvme_sgl_desc *descs(void)
{
	return (struct nvme_sgl_desc *)h->list;
}

static struct nvme_sgl_desc block(uint32_t len)
{
	return nvme_host_sgl(h->data_addr, len, NVME_SGL_DATA_BLOCK);
}

static struct nvme_sgl_desc sgl_short(void)
{
	return block(4095);
}

static struct nvme_sgl_desc sgl_nowhere(void)
{
	return nvme_host_sgl(NOWHERE, 4096, NVME_SGL_DATA_BLOCK);
}

static struct nvme_sgl_desc sgl_wraps(void)
{
	return nvme_host_sgl(UINT64_MAX - 100, 4096, NVME_SGL_DATA_BLOCK);
}

static struct nvme_sgl_desc sgl_huge(void)
{
	return nvme_host_sgl(h->data_addr, UINT32_MAX, NVME_SGL_DATA_BLOCK);
}

static struct nvme_sgl_desc sgl_of_type(unsigned id)
{
	struct nvme_sgl_desc d = block(4096);

	d.id = (uint8_t)id;
	return d;
}

static struct nvme_sgl_desc sgl_unknown_type(void)
{
	return sgl_of_type(0x60);
}

static struct nvme_sgl_desc sgl_keyed(void)
{
	return sgl_of_type(0x40);
}

static struct nvme_sgl_desc sgl_vendor(void)
{
	return sgl_of_type(0xf0);
}

static struct nvme_sgl_desc sgl_offset_subtype(void)
{
	return sgl_of_type(0x01);
}

static struct nvme_sgl_desc segment(uint32_t bytes, uint8_t type)
{
	return nvme_host_sgl(h->list_addr, bytes, type);
}

static struct nvme_sgl_desc seg_empty(void)
{
	return segment(0, NVME_SGL_LAST_SEGMENT);
}

static struct nvme_sgl_desc seg_not_16(void)
{
	descs()[0] = block(4096);
	return segment(24, NVME_SGL_LAST_SEGMENT);
}

static struct nvme_sgl_desc seg_nowhere(void)
{
	return nvme_host_sgl(NOWHERE, 32, NVME_SGL_LAST_SEGMENT);
}

static struct nvme_sgl_desc seg_gigantic(void)
{
	return nvme_host_sgl(h->list_addr, 0xfffffff0, NVME_SGL_SEGMENT);
}

static struct nvme_sgl_desc seg_loops(void)
{
	descs()[0] = block(0);
	descs()[1] = segment(32, NVME_SGL_SEGMENT);
	return segment(32, NVME_SGL_SEGMENT);
}

static struct nvme_sgl_desc seg_of_itself(void)
{
	descs()[0] = segment(16, NVME_SGL_SEGMENT);
	return segment(16, NVME_SGL_SEGMENT);
}

/* nothing but descriptors of nothing, on and on */
static struct nvme_sgl_desc seg_of_nothing(void)
{
	for (unsigned i = 0; i < 512; i++)
		descs()[i] = block(0);
	return segment(8192, NVME_SGL_LAST_SEGMENT);
}

static struct nvme_sgl_desc seg_in_the_middle(void)
{
	descs()[0] = block(2048);
	descs()[1] = segment(32, NVME_SGL_SEGMENT);
	descs()[2] = block(2048);
	return segment(48, NVME_SGL_LAST_SEGMENT);
}

static struct nvme_sgl_desc seg_last_in_last(void)
{
	descs()[0] = block(2048);
	descs()[1] = segment(32, NVME_SGL_LAST_SEGMENT);
	return segment(32, NVME_SGL_LAST_SEGMENT);
}

static struct nvme_sgl_desc seg_too_short(void)
{
	descs()[0] = block(2048);
	descs()[1] = block(2047);
	return segment(32, NVME_SGL_LAST_SEGMENT);
}

static struct nvme_sgl_desc seg_overflows(void)
{
	descs()[0] = block(UINT32_MAX);
	descs()[1] = block(UINT32_MAX);
	return segment(32, NVME_SGL_LAST_SEGMENT);
}

static const struct {
	const char *name;
	struct nvme_sgl_desc (*make)(void);
	int want;
} sgls[] = {
	{"data too short", sgl_short, GENERIC(NVME_SC_SGL_INVALID_DATA)},
	{"data nowhere", sgl_nowhere, 0},
	{"data wraps", sgl_wraps, 0},
	{"data huge", sgl_huge, -1},
	{"unknown type", sgl_unknown_type, GENERIC(NVME_SC_SGL_INVALID_TYPE)},
	{"keyed", sgl_keyed, GENERIC(NVME_SC_SGL_INVALID_TYPE)},
	{"vendor specific", sgl_vendor, GENERIC(NVME_SC_SGL_INVALID_TYPE)},
	{"offset subtype", sgl_offset_subtype, GENERIC(NVME_SC_SGL_INVALID_TYPE)},
	{"segment of nothing", seg_empty, 0},
	{"segment of 24 bytes", seg_not_16, 0},
	{"segment nowhere", seg_nowhere, 0},
	{"segment gigantic", seg_gigantic, -1}, /* its first entries may do */
	{"segments in a loop", seg_loops, 0},
	{"segment of itself", seg_of_itself, 0},
	{"descriptors of nothing", seg_of_nothing, 0},
	{"segment in the middle", seg_in_the_middle, 0},
	{"last segment in the last", seg_last_in_last, 0},
	{"segments too short", seg_too_short, GENERIC(NVME_SC_SGL_INVALID_DATA)},
	{"lengths overflow", seg_overflows, -1},
};

static void bad_sgls(void **state)
{
	struct nvme_sqe s;

	begin((struct nvme_host_config){0});
	for (unsigned i = 0; i < ARRAY_SIZE(sgls); i++) {
		for (unsigned ns = MEM; ns <= FILE512; ns++) {
			for (unsigned write = 0; write < 2; write++) {
				nvme_host_make_rw(&s, write ? nvme_cmd_write : nvme_cmd_read, ns, 0,
						  8, 0);
				nvme_host_set_sgl(&s, sgls[i].make());
				refused(nvme_host_exec(io, &s, NULL), sgls[i].want, sgls[i].name,
					&s);
			}
		}
		undisturbed(sgls[i].name);
	}
	/* PSDT 11b is reserved; admin commands over PCIe take PRPs only (4.3) */
	nvme_host_make_rw(&s, nvme_cmd_read, MEM, 0, 8, 0);
	nvme_host_set_sgl(&s, block(4096));
	s.flags |= 3 << 6;
	refused(nvme_host_exec(io, &s, NULL), GENERIC(NVME_SC_INVALID_FIELD), "PSDT 3", &s);
	s = (struct nvme_sqe){.opcode = nvme_admin_identify, .cdw10 = 1};
	nvme_host_set_sgl(&s, block(4096));
	refused(nvme_host_exec(nvme_host_admin(h), &s, NULL), GENERIC(NVME_SC_INVALID_FIELD),
		"SGL of an admin command", &s);
	works();
	end();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_prps),
		cmocka_unit_test(bad_sgls),
		cmocka_unit_test(random_pointers),
	};

	return hostile_main(argc, argv, tests, ARRAY_SIZE(tests));
}
