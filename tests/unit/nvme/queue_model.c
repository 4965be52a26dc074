/* SPDX-License-Identifier: BSD-3-Clause */
#include "queue_model.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker/mailbox.h"
#include "worker/worker.h"

struct model model;

/* ---- recorders ---- */

void nvme_ctrl_fail(struct nvme_ctrl *ctrl, const char *why)
{
	atomic_store(&ctrl->failed, true);
	model.fails++;
}

void nvme_event_post(struct nvme_ctrl *ctrl, uint8_t type, uint8_t info, uint8_t log_page)
{
	assert_int_equal(type, NVME_AER_ERROR);
	model.event_info = info;
	model.events++;
}

void nvme_log_error(struct nvme_ctrl *ctrl, uint16_t sqid, uint16_t cid, uint16_t status,
		    uint32_t nsid, uint64_t lba)
{
	model.errors++;
	atomic_fetch_add(&model.order, 1);
}

unsigned nvme_virt_vi(const struct nvme_ctrl *ctrl)
{
	return VECTORS;
}

struct worker_pool *nvme_subsystem_pool(const struct nvme_subsystem *ss)
{
	return model.pool;
}

/* cdw10: bytes, of vendor specific commands; odd opcodes send, even ones get. */
uint32_t nvme_admin_data_len(const struct nvme_sqe *sqe, bool *to_host)
{
	*to_host = !(sqe->opcode & 1);
	return sqe->opcode >= 0xc0 ? sqe->cdw10 : 0;
}

uint32_t nvme_resv_data_len(const struct nvme_sqe *sqe, bool *to_host)
{
	*to_host = sqe->opcode == nvme_cmd_resv_report;
	return 64;
}

uint16_t nvme_admin_run(struct nvme_command *cmd)
{
	model.admin_runs++;
	return model.admin ? model.admin(cmd) : 0;
}

uint16_t nvme_resv_run(struct nvme_command *cmd)
{
	model.resv_runs++;
	return model.resv ? model.resv(cmd) : 0;
}

bool nvme_resv_forbids_slow(const struct nvme_resv_view *v, uint16_t cntlid, enum nvme_access a)
{
	return v->type == 2 || a == NVME_ACCESS_WRITE;
}

/* ---- the backend ---- */

struct block_channel {
	struct poller poller;
	struct worker *worker;
	unsigned refs;
	struct block_request *first;
};

static struct block_channel channels[4];

static struct backend_model *backend_of(struct block_request *req)
{
	return (struct backend_model *)req->backend;
}

static int carry_out(struct backend_model *b, struct block_request *req)
{
	uint64_t at = req->offset;
	int error = atomic_exchange(&b->error, 0);

	atomic_load(&model.order);
	if (error)
		return error;
	if (req->offset > NS_BYTES || req->len > NS_BYTES - req->offset)
		return -ERANGE;
	if (req->op == BLOCK_WRITE_ZEROES || req->op == BLOCK_DISCARD)
		memset(b->bytes + at, 0, req->len);
	if (req->op != BLOCK_READ && req->op != BLOCK_WRITE) {
		atomic_fetch_add(&model.order, 1);
		return 0;
	}
	for (unsigned i = 0; i < req->iovcnt; i++) {
		if (req->op == BLOCK_READ && !atomic_load(&b->untouched))
			memcpy(req->iov[i].iov_base, b->bytes + at, req->iov[i].iov_len);
		else if (req->op == BLOCK_WRITE)
			memcpy(b->bytes + at, req->iov[i].iov_base, req->iov[i].iov_len);
		at += req->iov[i].iov_len;
	}
	atomic_fetch_add(&model.order, 1);
	return at - req->offset == req->len ? 0 : -EINVAL;
}

int block_submit(struct block_channel *ch, struct block_backend *backend, struct block_request *req)
{
	struct backend_model *b = (struct backend_model *)backend;
	enum backend_mode mode = atomic_load(&b->mode);
	struct block_request **end = &ch->first;
	unsigned n;

	b->submitted[req->op]++;
	b->fua += (req->flags & BLOCK_FUA) != 0;
	b->unmap += (req->flags & BLOCK_MAY_UNMAP) != 0;
	req->backend = backend;
	req->state = 0;
	if (mode == BACKEND_SYNC)
		return carry_out(b, req);
	n = ++b->pending;
	if (n > b->max_at_once)
		b->max_at_once = n;
	while (*end)
		end = &(*end)->next;
	req->next = NULL;
	*end = req;
	poller_kick(&ch->poller);
	return BLOCK_PENDING;
}

void block_cancel(struct block_request *req)
{
	struct backend_model *b = backend_of(req);

	b->cancels++;
	if (atomic_load(&b->mode) == BACKEND_HOLD)
		req->state = 1;
}

static unsigned channel_poll(struct poller *p)
{
	struct block_channel *ch = container_of(p, struct block_channel, poller);
	struct block_request **q = &ch->first, *req;
	unsigned n = 0;

	while ((req = *q)) {
		struct backend_model *b = backend_of(req);
		bool held = atomic_load(&b->mode) >= BACKEND_HOLD && !atomic_load(&b->release);

		if (held && !req->state) {
			q = &req->next;
			continue;
		}
		*q = req->next;
		b->pending--;
		req->done(req, req->state ? -ECANCELED : carry_out(b, req));
		n++;
	}
	if (ch->first)
		poller_set_timer(p, clock_now_ns() + 100000);
	return n;
}

static const struct poller_ops channel_ops = {.poll = channel_poll};

int block_channel_get(struct worker *w, struct block_channel **out)
{
	struct block_channel *ch = channels;

	for (unsigned i = 0; i < ARRAY_SIZE(channels); i++) {
		if (channels[i].refs && channels[i].worker == w) {
			ch = &channels[i];
			break;
		}
		if (ch->refs)
			ch = &channels[i];
	}
	if (!ch->refs++) {
		memset(&ch->poller, 0, sizeof(ch->poller));
		ch->poller.ops = &channel_ops;
		ch->poller.name = "channel";
		ch->worker = w;
		worker_add(w, &ch->poller);
	}
	*out = ch;
	return 0;
}

void block_channel_put(struct block_channel *ch)
{
	if (--ch->refs)
		return;
	assert_null(ch->first);
	worker_remove(&ch->poller);
}

int block_channel_fix(struct block_channel *ch, uint64_t id, void *base, size_t len)
{
	model.fixed++;
	return 0;
}

void block_channel_unfix(struct block_channel *ch, uint64_t id)
{
	model.fixed--;
}

bool block_channel_watches(const struct block_channel *ch)
{
	return false;
}

unsigned block_channel_number(const struct block_channel *ch)
{
	return (unsigned)(ch - channels);
}

/* ---- up and down ---- */

static int remote_read(void *opaque, uint64_t iova, void *buf, size_t len)
{
	memcpy(buf, model.client + (iova - BASE), len);
	return 0;
}

static int remote_write(void *opaque, uint64_t iova, const void *buf, size_t len)
{
	memcpy(model.client + (iova - BASE), buf, len);
	return 0;
}

static const struct dma_remote_ops remote_ops = {remote_read, remote_write};

static void memory_up(bool remote)
{
	model.fd = memfd_create("guest", 0);
	assert_true(model.fd >= 0);
	assert_int_equal(ftruncate(model.fd, MEM), 0);
	model.mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, model.fd, 0);
	assert_ptr_not_equal(model.mem, MAP_FAILED);
	model.client = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, model.fd, 0);
	assert_ptr_not_equal(model.client, MAP_FAILED);
	assert_int_equal(dma_space_create("guest", &remote_ops, NULL, &model.dma), 0);
	assert_int_equal(dma_space_map(model.dma, BASE, MEM, DMA_PROT_READ | DMA_PROT_WRITE,
				       remote ? -1 : model.fd, 0),
			 0);
}

static const struct pci_function_ops fn_ops = {0};

static void function_up(void)
{
	struct pci_function_desc desc = {
		.name = "nvme",
		.vendor_id = 0x1b36,
		.device_id = 0x5f10,
		.class_code = 0x010802,
		.bars = {{.size = NVME_BAR_SIZE, .is_64bit = true}},
		.msix = {VECTORS, 0, NVME_BAR_MSIX_TABLE, NVME_BAR_MSIX_PBA},
		.ops = &fn_ops,
	};
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT, .dma = model.dma};
	uint16_t command = PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY;

	assert_int_equal(pci_function_create(&desc, &model.fn), 0);
	assert_int_equal(pci_function_attach(model.fn, &att), 0);
	assert_int_equal(
		pci_config_write(model.fn, PCI_VIEW_VMM, PCI_COMMAND, &command, sizeof(command)),
		0);
	for (unsigned i = 0; i < VECTORS; i++) {
		model.irq[i] = eventfd(0, EFD_NONBLOCK);
		pci_irq_set_fd(model.fn, i, dup(model.irq[i]));
	}
	assert_ptr_equal(pci_function_dma(model.fn), model.dma);
}

static void namespaces_up(void)
{
	model.table = calloc(1, sizeof(*model.table) + (NAMESPACES + 1) * sizeof(struct nvme_ns *));
	model.table->nn = NAMESPACES + 1; /* the last one is not attached */
	for (unsigned i = 0; i < NAMESPACES; i++) {
		struct nvme_ns *ns = &model.ns[i];

		model.backend[i].bytes = calloc(1, NS_BYTES);
		ns->nsid = i + 1;
		ns->block_shift = 9;
		ns->discard = ns->volatile_cache = true;
		ns->blocks = BLOCKS;
		ns->backend = (struct block_backend *)&model.backend[i];
		assert_int_equal(nvme_gate_create(&ns->gate), 0);
		model.table->ns[i] = ns;
	}
	model.ctrl.ns_table = model.table;
}

void control_turn(void)
{
	mailbox_run();
	usleep(20);
}

static void map_doorbells(void)
{
	int fd;

	model.ctrl.cfg.poll = POLLER_ALWAYS;
	fd = nvme_queues_map_doorbells(model.ctrl.queues);
	assert_true(fd >= 0);
	model.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, NVME_DOORBELLS);
	assert_ptr_not_equal(model.page, MAP_FAILED);
}

void model_up(const struct model_opts *o)
{
	struct nvme_enable en = {
		.page_shift = o->page_shift ? o->page_shift : 12,
		.asq = SQ_AT(0),
		.acq = CQ_AT(0),
		.asq_size = 32,
		.acq_size = 32,
	};

	memset(&model, 0, sizeof(model));
	assert_int_equal(mailbox_init(), 0);
	assert_int_equal(worker_pool_create(o->workers ? o->workers : 1, &model.pool), 0);
	memory_up(o->remote);
	function_up();
	namespaces_up();
	strcpy(model.ctrl.name, "ssd0/vf0");
	model.ctrl.fn = model.fn;
	model.ctrl.cntlid = 1;
	assert_int_equal(nvme_queues_create(&model.ctrl, QUEUES_MAX - 1, &model.ctrl.queues), 0);
	model.q[0] = (struct host_queue){.size = 32, .cq_size = 32, .phase = 1};
	if (o->mapped)
		map_doorbells();
	if (o->no_enable)
		return;
	assert_int_equal(nvme_queues_enable(model.ctrl.queues, &en), 0);
	for (unsigned i = 1; i <= o->pairs; i++)
		model_pair((uint16_t)i, o->size ? o->size : 64, (uint16_t)i, 1);
}

/* cqid is made too if it is qid. */
void model_pair(uint16_t qid, uint16_t size, uint16_t cqid, uint16_t vector)
{
	if (qid == cqid)
		assert_int_equal(
			nvme_cq_create(model.ctrl.queues, qid, CQ_AT(qid), size, vector, true), 0);
	assert_int_equal(nvme_sq_create(model.ctrl.queues, qid, SQ_AT(qid), size, cqid, 0), 0);
	model.q[qid] = (struct host_queue){
		.qid = qid, .size = size, .cqid = cqid, .cq_size = size, .phase = 1};
	memset(guest(CQ_AT(qid)), 0, size * sizeof(struct nvme_cqe));
}

/* The page of event indexes shows when the workers have taken notice. */
void model_dbbuf(void)
{
	uint32_t *event = guest(EVENTIDX_AT);

	memset(guest(SHADOW_AT), 0, PAGE);
	memset(event, 0xff, PAGE);
	assert_int_equal(nvme_queues_set_dbbuf(model.ctrl.queues, SHADOW_AT, EVENTIDX_AT), 0);
	for (unsigned i = 1; i < QUEUES_MAX; i++) {
		if (model.q[i].size)
			wait_for(__atomic_load_n(&event[2 * i], __ATOMIC_SEQ_CST) != UINT32_MAX);
	}
	model.dbbuf = true;
}

void model_down(void)
{
	nvme_queues_destroy(model.ctrl.queues);
	for (unsigned i = 0; i < NAMESPACES; i++)
		atomic_store(&model.backend[i].release, true);
	for (unsigned i = 0; i < 200; i++) /* orphans end */
		control_turn();
	for (unsigned i = 0; i < ARRAY_SIZE(channels); i++)
		assert_int_equal(channels[i].refs, 0);
	for (unsigned i = 0; i < NAMESPACES; i++) {
		nvme_gate_destroy(model.ns[i].gate);
		nvme_stats_fini(&model.ns[i].stats);
		free(model.backend[i].bytes);
	}
	nvme_stats_fini(&model.ctrl.stats);
	free(model.table);
	pci_function_detach(model.fn);
	pci_function_destroy(model.fn);
	for (unsigned i = 0; i < VECTORS; i++)
		close(model.irq[i]);
	dma_space_destroy(model.dma);
	worker_pool_destroy(model.pool);
	munmap(model.mem, MEM);
	munmap(model.client, MEM);
	close(model.fd);
	if (model.page)
		munmap((void *)model.page, PAGE);
	mailbox_fini();
}

/* ---- the host ---- */

uint16_t host_put(uint16_t qid, struct nvme_sqe *sqe)
{
	struct host_queue *q = &model.q[qid];
	struct nvme_sqe *ring = guest(SQ_AT(qid));

	sqe->cid = q->next_cid++;
	ring[q->sq_tail] = *sqe;
	q->sq_tail = (uint16_t)((q->sq_tail + 1) % q->size);
	return sqe->cid;
}

static void tell(unsigned index, uint16_t value)
{
	if (model.dbbuf && index >= 2) {
		uint32_t *shadow = guest(SHADOW_AT), *event = guest(EVENTIDX_AT);
		uint16_t old = (uint16_t)shadow[index], ei;

		__atomic_store_n(&shadow[index], value, __ATOMIC_SEQ_CST);
		ei = (uint16_t)__atomic_load_n(&event[index], __ATOMIC_SEQ_CST);
		if ((uint16_t)(value - ei - 1) >= (uint16_t)(value - old))
			return;
	}
	if (model.page)
		__atomic_store_n(&model.page[index], value, __ATOMIC_RELEASE);
	else
		nvme_queues_doorbell(model.ctrl.queues, index * 4, value);
}

void host_ring(uint16_t qid)
{
	atomic_fetch_add(&model.order, 1);
	tell(2u * qid, model.q[qid].sq_tail);
}

bool host_take(uint16_t cqid, struct nvme_cqe *cqe)
{
	struct host_queue *q = &model.q[cqid];
	struct nvme_cqe *e = (struct nvme_cqe *)guest(CQ_AT(cqid)) + q->cq_head;
	uint32_t last = __atomic_load_n((uint32_t *)&e->cid, __ATOMIC_ACQUIRE);

	if ((last >> 16 & 1) != q->phase)
		return false;
	atomic_load(&model.order);
	*cqe = *e;
	if (++q->cq_head == q->cq_size) {
		q->cq_head = 0;
		q->phase ^= 1;
	}
	return true;
}

void host_ack(uint16_t cqid)
{
	tell(2u * cqid + 1, model.q[cqid].cq_head);
}

uint16_t host_wait(uint16_t cqid, struct nvme_cqe *cqe)
{
	wait_for(host_take(cqid, cqe));
	host_ack(cqid);
	return cqe->status >> 1;
}

uint16_t host_exec(uint16_t qid, struct nvme_sqe *sqe)
{
	uint16_t cid = host_put(qid, sqe), st;
	struct nvme_cqe cqe;

	host_ring(qid);
	st = host_wait(model.q[qid].cqid, &cqe);
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(cqe.sq_id, qid);
	return st;
}

/* The data area is one buffer, of up to two pages. */
struct nvme_sqe host_rw(uint8_t opcode, uint64_t slba, uint32_t nlb, uint64_t addr)
{
	struct nvme_sqe sqe = {.opcode = opcode, .nsid = 1, .prp1 = addr};

	sqe.prp2 = (addr & ~(uint64_t)(PAGE - 1)) + PAGE;
	sqe.cdw10 = (uint32_t)slba;
	sqe.cdw11 = (uint32_t)(slba >> 32);
	sqe.cdw12 = nlb - 1;
	return sqe;
}

uint64_t host_irqs(unsigned vector)
{
	eventfd_t n = 0;

	eventfd_read(model.irq[vector], &n);
	return n;
}
