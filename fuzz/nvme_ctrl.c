/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole controller, with queues, namespaces and a worker: input says what the guest writes into
 * registers, doorbells, rings, shadow doorbells and memory. Whatever that is, only guest memory may
 * be reached (ASan), and a reset must make the controller work again, which each input ends with.
 *
 * Input: steps of 8 bytes {what, which, value...}; those that write a command take 40 more.
 */
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/pci_regs.h>

#include "dma/dma.h"
#include "nvme/nvme.h"
#include "spec/nvme_spec.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/util.h"
#include "worker/mailbox.h"

#define BASE	   0x10000ull
#define MEM_SIZE   (64 * PAGE_SIZE_4K)
#define ENTRIES	   16u
#define QUEUES	   3 /* admin and two for I/O */
#define STEPS_MAX  64
#define NAMESPACES 8
#define STUCK_NS   (5 * NS_PER_S)
/* Pages: rings of each queue (tail ring, completion ring), shadow doorbells, then data. */
#define RING(q)	   (BASE + (q)*2 * PAGE_SIZE_4K)
#define CRING(q)   (RING(q) + PAGE_SIZE_4K)
#define SHADOW	   (BASE + 2 * QUEUES * PAGE_SIZE_4K)
#define EVENTIDX   (SHADOW + PAGE_SIZE_4K)
#define DATA	   (EVENTIDX + PAGE_SIZE_4K)
#define DATA_PAGES (MEM_SIZE / PAGE_SIZE_4K - 2 * QUEUES - 2)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct nvme_subsystem *ss;
static struct nvme_ctrl *ctrl;
static struct pci_function *fn;
static uint8_t *mem;
static uint16_t tails[QUEUES];

static uint8_t *at(uint64_t addr)
{
	return mem + (addr - BASE);
}

/* What the control thread's event loop would do. */
static void control(void)
{
	struct pollfd p = {mailbox_fd(), POLLIN, 0};

	while (poll(&p, 1, 0) == 1)
		mailbox_run();
}

static void put32(unsigned reg, uint32_t v)
{
	uint8_t b[4];

	put_le32(b, v);
	pci_bar_write(fn, 0, reg, b, 4);
}

static void put64(unsigned reg, uint64_t v)
{
	uint8_t b[8];

	put_le64(b, v);
	pci_bar_write(fn, 0, reg, b, 8);
}

static uint32_t get32(unsigned reg)
{
	uint8_t b[4];

	pci_bar_read(fn, 0, reg, b, 4);
	return get_le32(b);
}

static void wait_ready(uint32_t want)
{
	uint64_t end = clock_now_ns() + STUCK_NS;

	while ((get32(NVME_REG_CSTS) & 1) != want) {
		control();
		sched_yield();
		if (clock_now_ns() > end)
			abort();
	}
}

static void submit(unsigned q, const struct nvme_sqe *sqe)
{
	memcpy(at(RING(q)) + tails[q] * sizeof(*sqe), sqe, sizeof(*sqe));
	tails[q] = (uint16_t)((tails[q] + 1) % ENTRIES);
	put32(NVME_DOORBELLS + 8 * q, tails[q]);
}

/* An admin command that must work. */
static void admin(struct nvme_sqe sqe, uint16_t n)
{
	volatile struct nvme_cqe *cqe = (void *)(at(CRING(0)) + n * sizeof(*cqe));
	uint64_t end = clock_now_ns() + STUCK_NS;

	sqe.cid = n;
	submit(0, &sqe);
	while (!(__atomic_load_n(&cqe->status, __ATOMIC_ACQUIRE) & 1)) {
		control();
		sched_yield();
		if (clock_now_ns() > end)
			abort();
	}
	if (cqe->status >> 1 || cqe->cid != n)
		abort();
	put32(NVME_DOORBELLS + 4, n + 1u);
}

static void start(bool dbbuf)
{
	uint16_t n = 0;

	put32(NVME_REG_CC, 0);
	wait_ready(0);
	memset(mem, 0, MEM_SIZE);
	memset(tails, 0, sizeof(tails));
	put32(NVME_REG_AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	put64(NVME_REG_ASQ, RING(0));
	put64(NVME_REG_ACQ, CRING(0));
	put32(NVME_REG_CC, 1 | 6 << NVME_CC_IOSQES_SHIFT | 4 << NVME_CC_IOCQES_SHIFT);
	wait_ready(1);
	for (unsigned q = 1; q < QUEUES; q++) {
		admin((struct nvme_sqe){.opcode = nvme_admin_create_cq,
					.prp1 = CRING(q),
					.cdw10 = (ENTRIES - 1) << 16 | q,
					.cdw11 = 1},
		      n++);
		admin((struct nvme_sqe){.opcode = nvme_admin_create_sq,
					.prp1 = RING(q),
					.cdw10 = (ENTRIES - 1) << 16 | q,
					.cdw11 = q << 16 | 1},
		      n++);
	}
	if (dbbuf)
		admin((struct nvme_sqe){.opcode = nvme_admin_dbbuf,
					.prp1 = SHADOW,
					.prp2 = EVENTIDX},
		      n++);
}

static void make_namespace(uint32_t nsid, uint32_t block)
{
	struct nvme_ns_config cfg = {.nsid = nsid,
				     .block_size = block,
				     .backend = {.type = BLOCK_MEMORY, .size = 1 << 20}};
	char why[256];

	if (nvme_ns_create(ss, &cfg, &nsid, why, sizeof(why)) ||
	    nvme_ns_attach(ss, nsid, 0, why, sizeof(why)))
		abort();
}

/* As it was, whatever the last input did by Namespace Management. */
static void restore_namespaces(void)
{
	struct nvme_ns_info info;
	char why[256];

	for (uint32_t i = 1; i <= NAMESPACES; i++) {
		bool there = !nvme_ns_get_info(ss, i, &info);

		if (there && (i > 2 || !info.n_attached) &&
		    nvme_ns_delete(ss, i, true, why, sizeof(why)))
			abort();
		if (i <= 2 && nvme_ns_get_info(ss, i, &info))
			make_namespace(i, i == 1 ? 512 : 4096);
	}
}

static void map_memory(void)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT};

	if (fd < 0 || ftruncate(fd, MEM_SIZE))
		abort();
	mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED || dma_space_create("fuzz", NULL, NULL, &att.dma) ||
	    dma_space_map(att.dma, BASE, MEM_SIZE, DMA_PROT_READ | DMA_PROT_WRITE, fd, 0) ||
	    pci_function_attach(fn, &att))
		abort();
	close(fd);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct nvme_subsystem_config scfg = {.name = "fuzz", .max_namespaces = NAMESPACES};
	struct nvme_ctrl_config ccfg = {.name = "fuzz/pf", .queue_size = 64, .queue_pairs = 4};
	uint8_t cmd[2] = {PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER};

	log_set_level(LOG_LEVEL_ERROR);
	scfg.ns_pool.kind = NVME_POOL_MEMORY;
	scfg.ns_pool.capacity = 4 << 20;
	if (dma_init() || mailbox_init() || worker_pool_create(1, &scfg.pool) ||
	    nvme_subsystem_create(&scfg, &ss))
		abort();
	ccfg.subsystem = ss;
	if (nvme_ctrl_create(&ccfg, &ctrl))
		abort();
	restore_namespaces();
	fn = nvme_ctrl_function(ctrl);
	map_memory();
	pci_config_write(fn, PCI_VIEW_VMM, PCI_COMMAND, cmd, 2);
	return 0;
}

static uint64_t data_address(uint64_t v)
{
	/* now and then anything at all */
	return v % 16 ? DATA + v / 16 % (DATA_PAGES * PAGE_SIZE_4K) : v << 8;
}

/* A command from 40 bytes: plausible enough to get somewhere, wrong enough to hurt. */
static void write_command(unsigned q, const uint8_t *p)
{
	static const uint8_t io[] = {0x00, 0x01, 0x02, 0x05, 0x08, 0x09,
				     0x0c, 0x0d, 0x0e, 0x11, 0x15, 0x19};
	static const uint8_t adm[] = {0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09,
				      0x0a, 0x0c, 0x0d, 0x15, 0x1c, 0x7c, 0x80};
	struct nvme_sqe s = {
		.flags = p[1],
		.cid = p[2],
		.nsid = p[3] == 255 ? NVME_NSID_ALL : p[3] % 5,
		.cdw10 = get_le32(p + 16),
		.cdw11 = p[20] & 1 ? get_le32(p + 20) : p[20] & 7,
		.cdw12 = get_le32(p + 24),
		.cdw13 = get_le32(p + 28),
		.cdw14 = get_le32(p + 32),
		.cdw15 = get_le32(p + 36),
	};

	s.prp1 = data_address(get_le32(p + 8));
	if (p[1] & 0xc0) {
		s.sgl1.length = get_le32(p + 12) % 40000;
		s.sgl1.id = p[15];
	} else {
		s.prp2 = data_address(get_le32(p + 12));
	}
	if (q) {
		s.opcode = p[0] & 0x80 ? p[0] : io[p[0] % sizeof(io)];
		if (!(p[4] & 1)) {
			s.cdw10 %= 2048;
			s.cdw12 &= 0xfc00003f;
		}
	} else {
		s.opcode = p[0] & 0x80 ? p[0] : adm[p[0] % sizeof(adm)];
		if (s.opcode == nvme_admin_create_cq || s.opcode == nvme_admin_create_sq)
			s.cdw10 = (uint32_t)p[18] << 16 | p[16] % 6;
	}
	memcpy(at(RING(q)) + tails[q] * sizeof(s), &s, sizeof(s));
	tails[q] = (uint16_t)((tails[q] + 1) % ENTRIES);
}

/* One step; how many bytes it took. */
static size_t step(const uint8_t *p, size_t left)
{
	static const uint16_t regs[] = {NVME_REG_INTMS, NVME_REG_INTMC, NVME_REG_CC,  NVME_REG_CSTS,
					NVME_REG_NSSR,	NVME_REG_AQA,	NVME_REG_ASQ, NVME_REG_ACQ};
	unsigned q = p[1] % QUEUES;

	switch (p[0] % 10) {
	case 0: /* any access to the BAR */
		pci_bar_write(fn, 0, get_le16(p + 2) % (NVME_BAR_SIZE - 8), p + 4, 1 + p[1] % 4);
		return 8;
	case 1:
		put32(regs[p[1] % ARRAY_SIZE(regs)], get_le32(p + 4));
		return 8;
	case 2: /* memory, as addresses in lists */
		put_le64(at(DATA) + get_le16(p + 2) % (DATA_PAGES * PAGE_SIZE_4K / 8) * 8,
			 data_address(get_le32(p + 4)) & (p[1] & 1 ? ~4095ull : ~0ull));
		return 8;
	case 3: /* or as anything, anywhere: rings and shadow doorbells too */
		memcpy(at(BASE) + get_le16(p + 2) % (MEM_SIZE / 4) * 4, p + 4, 4);
		return 8;
	case 4:
		put_le32(at(SHADOW) + 4 * (p[1] % 8), get_le16(p + 2) % (ENTRIES + 2));
		return 8;
	case 5: /* a doorbell that may be wrong */
		put32(NVME_DOORBELLS + 4 * (p[1] % 12), get_le16(p + 2) % (ENTRIES + 2));
		return 8;
	case 6:
		control();
		return 8;
	default:
		if (left < 48)
			return left;
		write_command(q, p + 8);
		if (p[0] & 0x40)
			put32(NVME_DOORBELLS + 8 * q, tails[q]);
		put_le32(at(SHADOW) + 8 * q, tails[q]);
		return 48;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned steps = 0;

	if (size < 8)
		return 0;
	restore_namespaces();
	start(data[0] & 1);
	data++;
	size--;
	while (size >= 8 && steps++ < STEPS_MAX) {
		size_t used = step(data, size);

		data += used;
		size -= used;
	}
	for (unsigned q = 0; q < QUEUES; q++)
		put32(NVME_DOORBELLS + 8 * q, tails[q]);
	/* What is at hand gets some time, not the time to be done. */
	for (unsigned i = 0; i < 20; i++) {
		control();
		sched_yield();
	}
	if (size & 1)
		pci_function_reset(fn, PCI_RESET_FLR);
	pci_config_write(fn, PCI_VIEW_VMM, PCI_COMMAND,
			 (uint8_t[]){PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0}, 2);
	start(false);
	return 0;
}
