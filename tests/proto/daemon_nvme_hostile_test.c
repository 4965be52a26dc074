/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues, registers and memory that a hostile driver breaks, at the real daemon, while a
 * well-behaved host works on its own disk: it must see no error and no stall, and the daemon lives.
 *
 *   daemon_nvme_hostile_test SOFTIOVD SOFTIOV [SEED]
 */
#include "daemon_nvme_hostile.h"

#include "util/bytes.h"

#define MANY	  64
#define HAMMER_NS (3 * NS_PER_S)

/* ---- queues and registers ---- */

static void queue_addresses(void **state)
{
	static const uint8_t opcodes[] = {nvme_admin_create_cq, nvme_admin_create_sq};
	struct nvme_sqe s;

	begin((struct nvme_host_config){0});
	for (unsigned i = 0; i < 2; i++) {
		const uint64_t bad[] = {NOWHERE, end_of_memory(), end_of_memory() - 4096,
					UINT64_MAX & ~4095ull, h->data_addr + 16};

		for (unsigned k = 0; k < ARRAY_SIZE(bad); k++) {
			s = (struct nvme_sqe){.opcode = opcodes[i],
					      .prp1 = bad[k],
					      .cdw10 = 1023u << 16 | 5,
					      .cdw11 = i ? 1u << 16 | 1 : 1};
			refused(nvme_host_exec(nvme_host_admin(h), &s, NULL), 0, "queue address",
				&s);
		}
	}
	undisturbed("queue addresses");
	works();
	end();
}

static void enable_raw(uint32_t aqa, uint64_t asq, uint64_t acq, uint32_t cc)
{
	nvme_host_put32(h, NVME_REG_AQA, aqa);
	nvme_host_put64(h, NVME_REG_ASQ, asq);
	nvme_host_put64(h, NVME_REG_ACQ, acq);
	nvme_host_put32(h, NVME_REG_CC, cc);
	usleep(2000);
	nvme_host_doorbell(h, 0, 1);
	nvme_host_doorbell(h, 1, 1);
	nvme_host_get32(h, NVME_REG_CSTS);
}

static void bad_enables(void **state)
{
	const uint32_t good = 1 | 6 << 16 | 4 << 20;
	uint64_t asq, acq;

	begin((struct nvme_host_config){0});
	asq = h->sqs[0].addr;
	acq = h->cqs[0].addr;
	struct {
		const char *name;
		uint32_t aqa;
		uint64_t asq, acq;
		uint32_t cc;
	} tries[] = {
		{"ASQ nowhere", 0x003f003f, NOWHERE, acq, good},
		{"ACQ nowhere", 0x003f003f, asq, NOWHERE, good},
		{"both at zero", 0x003f003f, 0, 0, good},
		{"ring over the end", 0x0fff0fff, end_of_memory() - 4096, acq, good},
		{"size of one", 0, asq, acq, good},
		{"page size of 128 MiB", 0x003f003f, asq, acq, good | 0xf << 7},
		{"entry sizes of zero", 0x003f003f, asq, acq, 1},
		{"unknown command set", 0x003f003f, asq, acq, good | 5 << 4},
		{"unknown arbitration", 0x003f003f, asq, acq, good | 3 << 11},
		{"everything", UINT32_MAX, UINT64_MAX, UINT64_MAX, UINT32_MAX},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(tries); i++) {
		assert_int_equal(nvme_host_disable(h), 0);
		enable_raw(tries[i].aqa, tries[i].asq, tries[i].acq, tries[i].cc);
		undisturbed(tries[i].name);
		recovers(tries[i].name);
	}
	end();
}

static void doorbells(void **state)
{
	static const uint32_t values[] = {0, 1, 63, 64, 65, 1000, 0xffff, 0x10000, UINT32_MAX};

	for (unsigned dbbuf = 0; dbbuf < 2; dbbuf++) {
		begin((struct nvme_host_config){.dbbuf = dbbuf});
		/* of queues that are not there, up to the end of the window */
		for (unsigned i = 8; i < 1024; i++)
			nvme_host_doorbell(h, i, values[i % ARRAY_SIZE(values)]);
		works();
		/* values that are none */
		for (unsigned k = 3; k < ARRAY_SIZE(values); k++)
			for (unsigned i = 0; i < 6; i++)
				nvme_host_doorbell(h, i, values[k]);
		undisturbed("doorbell values");
		recovers("doorbell values");
		/* heads and tails that are possible, and wrong: entries of zeros, of old commands
		 */
		for (unsigned k = 0; k < 200; k++) {
			nvme_host_doorbell(h, 2 + (unsigned)random() % 4, (uint32_t)random() % 64);
			if (k % 50 == 0)
				undisturbed("heads and tails");
		}
		recovers("heads and tails");
		/* of odd widths and places */
		for (unsigned k = 0; k < 64; k++) {
			uint8_t b[8] = {0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4};

			vfu_client_region_write(h->client, 0, 0x1000 + k, b, 1u << k % 4, false);
		}
		undisturbed("doorbell widths");
		recovers("doorbell widths");
		end();
	}
}

/* The whole ring is noise. */
static void random_entries(void **state)
{
	for (unsigned round = 0; round < 20; round++) {
		begin((struct nvme_host_config){.queue_size = 64, .dbbuf = round & 1});
		for (unsigned q = 0; q < 3; q++) {
			uint8_t *ring = (uint8_t *)h->sqs[q].ring;

			for (unsigned i = 0; i < 64 * 64; i++)
				ring[i] = (uint8_t)random();
			for (unsigned i = 0; i < 64; i++) {
				struct nvme_sqe *s = &h->sqs[q].ring[i];

				/* half of them plausible enough to get somewhere */
				if (random() % 2)
					continue;
				s->opcode = (uint8_t)(random() % 0x1a);
				s->flags = (uint8_t)(random() % 4 << 6 | random() % 3);
				s->nsid = (uint32_t)random() % 5;
				s->prp1 = h->data_addr + (unsigned)random() % 100 * 4;
				s->prp2 = h->list_addr + (unsigned)random() % 100 * 8;
				s->cdw10 %= 0x20000;
				s->cdw11 %= 4;
			}
		}
		if (round & 1)
			h->shadow[2] = 63;
		for (unsigned q = 0; q < 3; q++)
			nvme_host_doorbell(h, 2 * q, 63);
		usleep(3000);
		undisturbed("random entries");
		recovers("random entries");
		end();
	}
}

static void deletions(void **state)
{
	struct nvme_sqe s = {.opcode = nvme_admin_delete_cq, .cdw10 = 1};
	struct nvme_host_req r[64];

	begin((struct nvme_host_config){.admin_size = 128});
	STATUS(nvme_host_exec(nvme_host_admin(h), &s, NULL), SPECIFIC(NVME_SC_INVALID_QUEUE));
	s.cdw10 = 0;
	assert_int_not_equal(nvme_host_exec(nvme_host_admin(h), &s, NULL), 0);
	s.opcode = nvme_admin_delete_sq;
	assert_int_not_equal(nvme_host_exec(nvme_host_admin(h), &s, NULL), 0);
	STATUS(nvme_host_create_cq(h, 1, 64, NVME_HOST_NO_IRQ), SPECIFIC(NVME_SC_QID_INVALID));
	recovers("a queue twice");
	/* create and delete the same queues without waiting for anything */
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 64; i++) {
			static const uint8_t opcodes[] = {
				nvme_admin_delete_sq, nvme_admin_delete_cq, nvme_admin_create_cq,
				nvme_admin_create_sq};
			uint16_t q = (uint16_t)(1 + random() % 4);

			memset(&r[i], 0, sizeof(r[i]));
			r[i].sqe.opcode = opcodes[random() % 4];
			r[i].sqe.cdw10 = 63u << 16 | q;
			r[i].sqe.cdw11 = r[i].sqe.opcode == nvme_admin_create_sq
						 ? (uint32_t)(1 + random() % 4) << 16 | 1
						 : 1;
			r[i].sqe.prp1 = h->data_addr + q * 8192 +
					(r[i].sqe.opcode == nvme_admin_create_sq ? 4096 : 0);
			assert_int_equal(nvme_host_submit(nvme_host_admin(h), &r[i]), 0);
			nvme_host_doorbell(h, 2u * q, (uint32_t)random() % 64);
		}
		nvme_host_ring(nvme_host_admin(h));
		if (round % 4)
			assert_int_equal(nvme_host_wait_all(nvme_host_admin(h), 0), 0);
		if (round % 4 == 0 || nvme_host_failed(h))
			recovers("create and delete");
	}
	undisturbed("create and delete");
	recovers("create and delete");
	end();
}

static void resets(void **state)
{
	uint32_t cc;

	begin((struct nvme_host_config){0});
	cc = nvme_host_get32(h, NVME_REG_CC);
	for (unsigned i = 0; i < 200; i++) {
		/* no waiting for RDY */
		nvme_host_put32(h, NVME_REG_CC, cc & ~1u);
		if (i % 3)
			nvme_host_put32(h, NVME_REG_CC, cc);
		if (i % 7 == 0)
			nvme_host_doorbell(h, 0, (uint32_t)random() % 64);
		if (i % 31 == 0)
			vfu_client_reset(h->client);
		if (i % 50 == 0)
			nvme_host_put32(h, NVME_REG_CC, cc | 1 << NVME_CC_SHN_SHIFT);
	}
	undisturbed("resets");
	assert_int_equal(nvme_host_flr(h), 0);
	assert_int_equal(nvme_host_flr(h), 0);
	recovers("resets");
	end();
}

/* ---- floods ---- */

static void submit_reads(unsigned n, uint32_t nlb)
{
	static struct nvme_host_req r[2][MANY];

	for (unsigned q = 0; q < 2; q++) {
		for (unsigned i = 0; i < n; i++) {
			memset(&r[q][i], 0, sizeof(r[q][i]));
			nvme_host_make_rw(&r[q][i].sqe, i & 1 ? nvme_cmd_write : nvme_cmd_read,
					  1 + i % 2, i * nlb, nlb, 0);
			nvme_host_prp(&r[q][i].sqe, h->data_addr, nlb * 512, h->list, h->list_addr);
			if (nvme_host_submit(nvme_host_io(h, q + 1), &r[q][i]))
				break;
		}
		nvme_host_ring(nvme_host_io(h, q + 1));
	}
}

/* The admin queue is filled again and again, nobody takes the completions at first. */
static void admin_flood(void **state)
{
	uint64_t until = clock_now_ns() + NS_PER_S;
	struct nvme_host_sq *admin;
	static struct nvme_host_req r[256];
	unsigned n = 0;

	begin((struct nvme_host_config){.admin_size = 256});
	admin = nvme_host_admin(h);
	while (clock_now_ns() < until) {
		for (unsigned i = 0; i < 255; i++) {
			if (r[i].busy)
				continue;
			r[i].sqe = (struct nvme_sqe){.prp1 = h->data_addr,
						     .prp2 = h->data_addr + 4096};
			switch (random() % 5) {
			case 0:
				r[i].sqe.opcode = nvme_admin_identify;
				r[i].sqe.cdw10 = (uint32_t)random() % 4;
				r[i].sqe.nsid = 1;
				break;
			case 1:
				r[i].sqe.opcode = nvme_admin_get_log_page;
				r[i].sqe.cdw10 = 1023u << 16 | (uint32_t)random() % 8;
				break;
			case 2:
				r[i].sqe.opcode = nvme_admin_abort_cmd;
				r[i].sqe.cdw10 = (uint32_t)random();
				break;
			case 3:
				r[i].sqe.opcode = nvme_admin_async_event;
				break;
			default:
				r[i].sqe.opcode = nvme_admin_get_features;
				r[i].sqe.cdw10 = (uint32_t)random() % 16;
			}
			if (nvme_host_submit(admin, &r[i]))
				break;
			n++;
		}
		nvme_host_ring(admin);
		usleep(500);
		nvme_host_poll(admin->cq, 256);
	}
	print_message("# %u admin commands in a second\n", n);
	undisturbed("admin flood");
	recovers("admin flood");
	end();
}

/* ---- memory ---- */

static void shadow_garbage(void **state)
{
	for (unsigned round = 0; round < 30; round++) {
		begin((struct nvme_host_config){.dbbuf = true});
		submit_reads(60, 8);
		for (unsigned i = 0; i < 1024; i++) {
			h->shadow[i] = random() % 2 ? (uint32_t)random() : (uint32_t)random() % 70;
			h->eventidx[i] = (uint32_t)random();
		}
		if (round % 3 == 0)
			nvme_host_doorbell(h, 2, 5);
		usleep(1000);
		for (unsigned i = 0; i < 1024; i++)
			h->shadow[i] = (uint32_t)random() % 64;
		nvme_host_doorbell(h, 2, 7);
		nvme_host_doorbell(h, 3, 7);
		usleep(1000);
		if (round % 10 == 0)
			undisturbed("shadow garbage");
		recovers("shadow garbage");
		end();
	}
	undisturbed("shadow garbage");
}

static int map(void)
{
	return vfu_client_dma_map(h->client, NVME_HOST_BASE, h->mem_len,
				  VFU_DMA_READABLE | VFU_DMA_WRITEABLE, h->mem_fd, 0);
}

/* All memory goes while commands are under way, rings included; then comes back. */
static void unmapped_under_load(void **state)
{
	for (unsigned round = 0; round < 20; round++) {
		begin((struct nvme_host_config){.dbbuf = round & 1});
		submit_reads(60, round % 3 ? 8 : 2048);
		if (round % 4)
			usleep(round * 20);
		assert_int_equal(vfu_client_dma_unmap(h->client, NVME_HOST_BASE, h->mem_len, 0), 0);
		nvme_host_doorbell(h, 2, 3);
		nvme_host_doorbell(h, 0, 3);
		undisturbed("unmapped");
		assert_int_equal(map(), 0);
		recovers("unmapped");
		end();
	}
}

/* One page less: the page that the shadow doorbells lie in. */
static void hole_in_memory(void **state)
{
	begin((struct nvme_host_config){.dbbuf = true});
	assert_int_equal(vfu_client_dma_unmap(h->client, NVME_HOST_BASE, h->mem_len, 0), 0);
	assert_int_equal(vfu_client_dma_map(h->client, NVME_HOST_BASE,
					    h->shadow_addr - NVME_HOST_BASE,
					    VFU_DMA_READABLE | VFU_DMA_WRITEABLE, h->mem_fd, 0),
			 0);
	nvme_host_doorbell(h, 2, 1);
	undisturbed("hole");
	assert_int_equal(
		vfu_client_dma_unmap(h->client, NVME_HOST_BASE, h->shadow_addr - NVME_HOST_BASE, 0),
		0);
	assert_int_equal(map(), 0);
	recovers("hole");
	end();
}

/* Read-only for the device: what it must write is refused. */
static void read_only_memory(void **state)
{
	struct nvme_sqe s;
	uint64_t at;
	int st;

	begin((struct nvme_host_config){0});
	at = end_of_memory() + 0x10000000;
	assert_int_equal(vfu_client_dma_map(h->client, at, 1 << 20, VFU_DMA_READABLE, h->mem_fd, 0),
			 0);
	for (unsigned ns = MEM; ns <= FILE512; ns++) {
		nvme_host_make_rw(&s, nvme_cmd_read, ns, 0, 8, 0);
		s.prp1 = at;
		st = nvme_host_exec(io, &s, NULL);
		refused(st, 0, "read into read-only memory", &s);
		nvme_host_make_rw(&s, nvme_cmd_write, ns, 0, 8, 0);
		s.prp1 = at;
		OK(nvme_host_exec(io, &s, NULL));
	}
	s = (struct nvme_sqe){
		.opcode = nvme_admin_create_cq, .prp1 = at, .cdw10 = 15 << 16 | 5, .cdw11 = 1};
	refused(nvme_host_exec(nvme_host_admin(h), &s, NULL), 0, "read-only queue", &s);
	undisturbed("read-only memory");
	works();
	end();
}

/* The file behind memory becomes short while it is in use. */
static void truncated_under_load(void **state)
{
	for (unsigned round = 0; round < 10; round++) {
		begin((struct nvme_host_config){.dbbuf = round & 1});
		submit_reads(60, round % 3 ? 8 : 2048);
		if (round & 2)
			usleep(round * 30);
		assert_int_equal(ftruncate(h->mem_fd, 0), 0);
		nvme_host_doorbell(h, 2, 20);
		nvme_host_doorbell(h, 0, 3);
		nvme_host_doorbell(h, 4, 20);
		undisturbed("truncated");
		nvme_host_put32(h, NVME_REG_CC, 0);
		end();
	}
	begin((struct nvme_host_config){0});
	works();
	end();
}

/* A VM with memory by messages that stops answering. */
static void silent_remote_memory(void **state)
{
	begin((struct nvme_host_config){.no_fd = true});
	works();
	submit_reads(60, 8);
	/* nobody serves */
	undisturbed("silent");
	undisturbed("silent");
	end();
	undisturbed("silent and gone");
	begin((struct nvme_host_config){.no_fd = true});
	works();
	end();
}

/* ---- everything ---- */

static void hammer(void **state)
{
	uint64_t until = clock_now_ns() + HAMMER_NS, off;
	unsigned long n = 0;
	uint8_t buf[8];
	unsigned len;

	begin((struct nvme_host_config){.dbbuf = true});
	while (clock_now_ns() < until) {
		if (n++ % 400 == 0) {
			nvme_host_start(h);
			if (nvme_host_io(h, 2)->up)
				submit_reads(20, 8);
		}
		len = 1u << random() % 4;
		off = random() % 2 ? (uint64_t)random() % 0x48 : (uint64_t)random() % 0x4000;
		if (random() % 4 == 0)
			off = 0x1000 + (uint64_t)random() % 64;
		if (random() % 8)
			off &= ~(uint64_t)(len - 1);
		put_le64(buf, random() % 3 ? (uint64_t)random() << 33 ^ (uint64_t)random()
					   : (uint64_t)random() % 64);
		/* Errors are fine, silence is not. */
		if (random() % 3 == 0)
			vfu_client_region_read(h->client, 0, off, buf, len);
		else
			vfu_client_region_write(h->client, 0, off, buf, len, random() % 2);
		if (n % 5000 == 0)
			assert_int_equal(nvme_host_reset(h), 0);
	}
	print_message("# %lu accesses\n", n);
	undisturbed("hammer");
	end();
	begin((struct nvme_host_config){0});
	works();
	end();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queue_addresses),
		cmocka_unit_test(bad_enables),
		cmocka_unit_test(doorbells),
		cmocka_unit_test(random_entries),
		cmocka_unit_test(deletions),
		cmocka_unit_test(resets),
		cmocka_unit_test(admin_flood),
		cmocka_unit_test(shadow_garbage),
		cmocka_unit_test(unmapped_under_load),
		cmocka_unit_test(hole_in_memory),
		cmocka_unit_test(read_only_memory),
		cmocka_unit_test(truncated_under_load),
		cmocka_unit_test(silent_remote_memory),
		cmocka_unit_test(hammer),
	};

	return hostile_main(argc, argv, tests, ARRAY_SIZE(tests));
}
