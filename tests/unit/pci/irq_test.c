/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MSI-X: delivery in endpoints and roots, masks, pending bits, and that no interrupt is lost while
 * vectors change hands.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <linux/aio_abi.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "model.h"
#include "util/clock.h"
#include "worker/worker.h"

#define BUS  PCI_VIEW_BUS
#define BAR  4
#define PBA  0x1000
#define ADDR 0xfee00000u

static struct model m, endpoint;
static int root_fds[4]; /* behind the vectors of the root's endpoint */

static int new_fd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static uint64_t drain(int fd)
{
	uint64_t n = 0;

	if (read(fd, &n, sizeof(n)) < 0)
		assert_int_equal(errno, EAGAIN);
	return n;
}

/* As a root does: the message names one of the endpoint's vectors. */
static int msi_vector(void *opaque, uint64_t addr, uint32_t data)
{
	assert_ptr_equal(opaque, &endpoint);
	return addr == ADDR && data < ARRAY_SIZE(root_fds) ? (int)data : -1;
}

static int setup(void **state)
{
	memset(&m, 0, sizeof(m));
	memset(&endpoint, 0, sizeof(endpoint));
	model_create(&m);
	model_create(&endpoint);
	model_attach(endpoint.pf, PCI_OWNER_ENDPOINT);
	for (unsigned i = 0; i < ARRAY_SIZE(root_fds); i++) {
		root_fds[i] = new_fd();
		pci_irq_set_fd(endpoint.pf, i, dup(root_fds[i]));
	}
	return 0;
}

static int teardown(void **state)
{
	model_destroy(&m);
	model_destroy(&endpoint);
	for (unsigned i = 0; i < ARRAY_SIZE(root_fds); i++)
		close(root_fds[i]);
	return 0;
}

static void attach_root(void)
{
	struct pci_attachment att = {
		.kind = PCI_OWNER_ROOT,
		.dma = MODEL_DMA,
		.irq_parent = endpoint.pf,
		.msi_vector = msi_vector,
		.opaque = &endpoint,
	};

	assert_int_equal(pci_function_attach(m.pf, &att), 0);
}

static void msix_control(uint16_t v)
{
	wr(m.pf, BUS, find_cap(m.pf, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2, v);
}

static void table32(unsigned vector, unsigned off, uint32_t v)
{
	uint8_t b[4];

	put_le32(b, v);
	assert_int_equal(pci_bar_write(m.pf, BAR, vector * 16 + off, b, 4), 0);
}

static void program(unsigned vector, uint32_t data, bool masked)
{
	table32(vector, 0, ADDR);
	table32(vector, 4, 0);
	table32(vector, 8, data);
	table32(vector, 12, masked);
}

static uint64_t pba(void)
{
	uint8_t b[8];

	assert_int_equal(pci_bar_read(m.pf, BAR, PBA, b, 8), 0);
	return get_le64(b);
}

static void an_endpoint_delivers_iff_an_eventfd_is_installed(void **state)
{
	int fd = new_fd(), mine = dup(fd);

	model_attach(m.pf, PCI_OWNER_ENDPOINT);
	msix_control(PCI_MSIX_FLAGS_MASKALL); /* means nothing here: the VMM masks */
	pci_irq_set_fd(m.pf, 3, fd);
	pci_irq_raise(m.pf, 3);
	assert_int_equal(drain(mine), 1);
	assert_int_equal(atomic_load(&pci_irq_vector(m.pf, 3)->raised), 1);
	pci_irq_raise(m.pf, 4);
	assert_int_equal(drain(mine), 0);
	assert_int_equal(pba(), 1 << 4);
	pci_irq_raise(m.pf, MODEL_VECS);
	pci_irq_raise(m.pf, 0xffff); /* VIRTIO_MSI_NO_VECTOR */
	/* DEVICE_RESET leaves what SET_IRQS installed; detaching drops it. */
	pci_function_reset(m.pf, PCI_RESET_FLR);
	assert_int_equal(pba(), 0);
	pci_irq_raise(m.pf, 3);
	assert_int_equal(drain(mine), 1);
	pci_function_detach(m.pf);
	pci_irq_raise(m.pf, 3);
	assert_int_equal(drain(mine), 0);
	close(mine);
}

/* O_NONBLOCK is the client's to clear at any time, and so is the counter to fill. */
static void nobody_waits_in_the_eventfd_of_a_client(void **state)
{
	const uint64_t full = UINT64_MAX - 1;
	int fd = new_fd(), mine = dup(fd);

	aio_context_t context = 0;

	if (UNDER_TSAN || syscall(SYS_io_setup, 1, &context))
		skip(); /* not to be had here */
	syscall(SYS_io_destroy, context);
	model_attach(m.pf, PCI_OWNER_ENDPOINT);
	pci_irq_set_fd(m.pf, 3, fd);
	assert_int_equal(fcntl(mine, F_SETFL, fcntl(mine, F_GETFL) & ~O_NONBLOCK), 0);
	assert_int_equal(write(mine, &full, sizeof(full)), sizeof(full));
	alarm(20);
	pci_irq_raise(m.pf, 3);
	pci_irq_raise(m.pf, 3);
	assert_true(drain(mine) >= full);
	/* and it is still worth something */
	for (unsigned i = 0; i < 2000; i++)
		pci_irq_raise(m.pf, 3);
	assert_int_equal(drain(mine), 2000);
	alarm(0);
	pci_function_detach(m.pf);
	close(mine);
}

static void a_pending_interrupt_is_delivered_with_the_eventfd(void **state)
{
	int fd = new_fd(), mine = dup(fd);

	model_attach(m.pf, PCI_OWNER_ENDPOINT);
	pci_irq_raise(m.pf, 69);
	pci_irq_raise(m.pf, 69);
	pci_irq_set_fd(m.pf, 69, fd);
	assert_int_equal(drain(mine), 1);
	assert_false(atomic_load(&pci_irq_vector(m.pf, 69)->pending));
	/* What nobody was there to hear is not kept for the next owner. */
	pci_function_detach(m.pf);
	pci_irq_raise(m.pf, 69);
	model_attach(m.pf, PCI_OWNER_ENDPOINT);
	assert_false(atomic_load(&pci_irq_vector(m.pf, 69)->pending));
	close(mine);
}

static void several_vectors_are_set_at_once_and_bad_ones_refused(void **state)
{
	int p[2], fds[4], mine = new_fd();

	assert_int_equal(pipe(p), 0);
	fds[0] = dup(mine);
	fds[1] = p[1]; /* a write to it could block a worker */
	fds[2] = dup(mine);
	fds[3] = dup(mine); /* beyond the last vector */
	pci_irq_set_fds(m.pf, MODEL_VECS - 3, 4, fds);
	for (unsigned i = 1; i <= 3; i++)
		pci_irq_raise(m.pf, MODEL_VECS - i);
	assert_int_equal(drain(mine), 2);
	pci_irq_set_fds(m.pf, 0, MODEL_VECS, NULL);
	pci_irq_raise(m.pf, MODEL_VECS - 1);
	assert_int_equal(drain(mine), 0);
	pci_irq_set_fd(m.pf, 99999, dup(mine));
	pci_irq_set_fds(m.pf, ~0u, 2, NULL);
	close(p[0]);
	close(mine);
}

/* 6.1.4: what the guest wrote to the table decides. */
static void a_root_delivers_what_the_table_says(void **state)
{
	attach_root();
	program(0, 1, false);
	pci_irq_raise(m.pf, 0); /* MSI-X is not enabled: no pending bit either */
	msix_control(PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(drain(root_fds[1]), 0);
	pci_irq_raise(m.pf, 0);
	assert_int_equal(drain(root_fds[1]), 1);
	table32(0, 8, 2); /* another CPU */
	pci_irq_raise(m.pf, 0);
	assert_int_equal(drain(root_fds[1]), 0);
	assert_int_equal(drain(root_fds[2]), 1);
	table32(0, 8, 99); /* no such interrupt */
	pci_irq_raise(m.pf, 0);
	assert_int_equal(pba(), 1);
}

/* 6.1.4.4, 6.1.4.5: masks hold interrupts back, unmasking delivers one. */
static void entry_and_function_masks_keep_interrupts_pending(void **state)
{
	attach_root();
	program(2, 2, true);
	program(65, 3, false);
	msix_control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	pci_irq_raise(m.pf, 65);
	assert_int_equal(drain(root_fds[3]), 0);
	msix_control(PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(drain(root_fds[3]), 1);
	pci_irq_raise(m.pf, 2);
	pci_irq_raise(m.pf, 2);
	assert_int_equal(pba(), 1 << 2);
	assert_int_equal(drain(root_fds[2]), 0);
	table32(2, 12, 0);
	assert_int_equal(drain(root_fds[2]), 1);
	assert_int_equal(pba(), 0);
}

/* What the endpoint cannot deliver for want of an eventfd, it keeps. */
static void eventfds_of_the_roots_endpoint_may_change(void **state)
{
	attach_root();
	program(0, 1, false);
	msix_control(PCI_MSIX_FLAGS_ENABLE);
	pci_irq_set_fd(endpoint.pf, 1, -1);
	pci_irq_raise(m.pf, 0);
	assert_int_equal(drain(root_fds[1]), 0);
	assert_int_equal(pba(), 0);
	assert_true(atomic_load(&pci_irq_vector(endpoint.pf, 1)->pending));
	pci_irq_set_fd(endpoint.pf, 1, dup(root_fds[1]));
	assert_int_equal(drain(root_fds[1]), 1);
	pci_function_detach(m.pf);
	pci_irq_raise(m.pf, 0);
	assert_int_equal(drain(root_fds[1]), 0);
}

/* An eventfd must never be taken for a vector number, nor the reverse. */
static void a_change_of_owner_forgets_where_vectors_went(void **state)
{
	int mine = new_fd();

	pci_irq_set_fd(m.pf, 0, dup(mine)); /* before anybody owns it */
	attach_root();
	pci_irq_set_fd(m.pf, 0, dup(mine)); /* the table rules here: closed */
	program(0, 2, false);
	msix_control(PCI_MSIX_FLAGS_ENABLE);
	pci_irq_raise(m.pf, 0);
	assert_int_equal(drain(root_fds[2]), 1);
	pci_function_detach(m.pf);
	model_attach(m.pf, PCI_OWNER_ENDPOINT);
	pci_irq_set_fd(m.pf, 0, dup(mine));
	pci_irq_raise(m.pf, 0);
	assert_int_equal(drain(mine), 1);
	assert_int_equal(drain(root_fds[2]), 0);
	close(mine);
}

/* 7.7.2.8: all entries are masked after a reset. */
static void reset_masks_all_entries_and_clears_pending(void **state)
{
	uint8_t e[16];

	attach_root();
	program(1, 1, false);
	msix_control(PCI_MSIX_FLAGS_ENABLE);
	pci_irq_raise(m.pf, 9);
	assert_int_equal(pba(), 1 << 9);
	pci_function_reset(m.pf, PCI_RESET_BUS);
	assert_int_equal(pba(), 0);
	for (unsigned i = 0; i < MODEL_VECS; i++) {
		const uint8_t want[16] = {[12] = 1};

		assert_int_equal(pci_bar_read(m.pf, BAR, i * 16, e, 16), 0);
		assert_memory_equal(e, want, 16);
	}
	pci_irq_raise(m.pf, 1);
	assert_int_equal(drain(root_fds[1]), 0);
}

/* 7.7.2: dwords and qwords; messages may be of any size. */
static void the_table_takes_accesses_of_any_size(void **state)
{
	uint8_t img[64], got[64];

	for (unsigned i = 0; i < sizeof(img); i++)
		img[i] = (uint8_t)(i * 7 + 1);
	for (unsigned len = 1; len <= 40; len++) {
		uint8_t before[64];

		pci_bar_read(m.pf, BAR, 0, before, sizeof(before));
		assert_int_equal(pci_bar_write(m.pf, BAR, 11, img + 11, len), 0);
		pci_bar_read(m.pf, BAR, 0, got, sizeof(got));
		for (unsigned i = 0; i < sizeof(got); i++) {
			uint8_t want = i >= 11 && i < 11 + len ? img[i] : before[i];

			if (i % 16 == 0)
				want &= 0xfc;
			if (i % 16 == 12)
				want &= 1;
			if (i % 16 > 12)
				want = 0;
			assert_int_equal(got[i], want);
		}
	}
	assert_int_equal(m.bar_writes, 0);
}

static void the_pba_is_read_only(void **state)
{
	const uint64_t ones = ~0ull;
	uint8_t b[9];

	pci_irq_raise(m.pf, 64);
	assert_int_equal(pci_bar_write(m.pf, BAR, PBA, &ones, 8), 0);
	assert_int_equal(pba(), 0);
	assert_int_equal(pci_bar_read(m.pf, BAR, PBA + 7, b, 2), 0);
	assert_int_equal(b[0], 0);
	assert_int_equal(b[1], 1);
}

static void an_access_across_a_border_reaches_both_sides(void **state)
{
	const uint32_t end = MODEL_VECS * 16;
	uint8_t b[0x2000];

	assert_int_equal(pci_bar_read(m.pf, BAR, end - 4, b, 8), 0);
	assert_int_equal(get_le32(b), 1);
	assert_int_equal(get_le32(b + 4), 0x5a5a5a5a);
	assert_int_equal(m.last_off, end);
	assert_int_equal(m.last_len, 4);
	assert_int_equal(pci_bar_read(m.pf, BAR, 0, b, sizeof(b)), 0);
	assert_int_equal(m.bar_reads, 3);
	assert_int_equal(b[PBA], 0);
	assert_int_equal(b[PBA + 16], 0x5a);
	assert_int_equal(b[PBA - 1], 0x5a);
}

static void accesses_outside_a_bar_are_refused(void **state)
{
	const struct {
		unsigned bar;
		uint64_t off;
		uint32_t len;
	} bad[] = {
		{6, 0, 4},
		{0, 0, 4},
		{~0u, 0, 4},
		{4, 0x4000, 1},
		{4, 0x3ffe, 4},
		{4, UINT64_MAX, 4},
		{4, UINT64_MAX - 3, 8},
		{3, 0, 4},
		{2, 1ull << 63, 8},
	};
	uint8_t b[8];

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(b, 0, sizeof(b));
		assert_int_equal(pci_bar_read(m.pf, bad[i].bar, bad[i].off, b, bad[i].len),
				 -EINVAL);
		assert_int_equal(b[0], 0xff);
		assert_int_equal(pci_bar_write(m.pf, bad[i].bar, bad[i].off, b, bad[i].len),
				 -EINVAL);
	}
	assert_int_equal(m.bar_reads + m.bar_writes, 0);
}

/* 5.3.1.4.1: in D3hot memory is not there. */
static void memory_is_gone_in_d3hot(void **state)
{
	unsigned pm = find_cap(m.pf, PCI_CAP_ID_PM);
	uint32_t v = 0;

	wr(m.pf, BUS, pm + PCI_PM_CTRL, 2, 3);
	assert_int_equal(pci_bar_read(m.pf, 2, 0, &v, 4), 0);
	assert_int_equal(v, 0xffffffff);
	assert_int_equal(pci_bar_write(m.pf, 2, 0, &v, 4), 0);
	assert_int_equal(m.bar_reads + m.bar_writes, 0);
}

#define ROUNDS 20000

/*
 * In each round a worker raises once while the control thread takes the vector's way out and gives
 * it back. When both are done there must be exactly one event: not none, left pending for ever,
 * and not two.
 */
struct raiser {
	struct poller poller;
	_Atomic unsigned asked, done;
};

static unsigned raise_poll(struct poller *p)
{
	struct raiser *r = container_of(p, struct raiser, poller);
	unsigned asked = atomic_load(&r->asked);

	if (asked == atomic_load(&r->done))
		return 0;
	pci_irq_raise(m.pf, 0);
	atomic_store(&r->done, asked);
	return 1;
}

static const struct poller_ops raiser_ops = {.poll = raise_poll};

static void begin_round(struct raiser *r, unsigned round)
{
	atomic_store(&r->asked, round);
	poller_kick(&r->poller);
	/* Meet the raise now early, now late. */
	for (volatile unsigned i = 0; i < round * 7 % 512; i++)
		;
}

static void end_round(struct raiser *r, unsigned round, int fd)
{
	while (atomic_load(&r->done) != round)
		cpu_relax();
	assert_int_equal(drain(fd), 1);
}

static void no_interrupt_is_lost_while_vectors_are_masked(void **state)
{
	struct raiser r = {.poller = {.ops = &raiser_ops, .name = "raiser"}};
	struct worker *w;

	attach_root();
	program(0, 1, false);
	msix_control(PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(worker_create("raiser", 0, &w), 0);
	worker_add(w, &r.poller);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		table32(0, 12, 1);
		begin_round(&r, round);
		table32(0, 12, 0);
		end_round(&r, round, root_fds[1]);
	}
	worker_remove(&r.poller);
	worker_destroy(w);
	assert_int_equal(atomic_load(&pci_irq_vector(m.pf, 0)->raised), ROUNDS);
}

/* The same by SET_IRQS: the old eventfd is closed under the raiser's feet. */
static void no_interrupt_is_lost_while_eventfds_are_swapped(void **state)
{
	struct raiser r = {.poller = {.ops = &raiser_ops, .name = "raiser"}};
	struct worker *w;
	int mine = new_fd();

	model_attach(m.pf, PCI_OWNER_ENDPOINT);
	pci_irq_set_fd(m.pf, 0, dup(mine));
	assert_int_equal(worker_create("raiser", 0, &w), 0);
	worker_add(w, &r.poller);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		if (round % 2)
			pci_irq_set_fd(m.pf, 0, -1);
		begin_round(&r, round);
		pci_irq_set_fd(m.pf, 0, dup(mine));
		end_round(&r, round, mine);
	}
	worker_remove(&r.poller);
	worker_destroy(w);
	close(mine);
}

static unsigned table_size(void)
{
	return (rd(m.pf, BUS, find_cap(m.pf, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2) &
		PCI_MSIX_FLAGS_QSIZE) +
	       1;
}

static void vectors_can_be_fewer_than_created(void **state)
{
	const uint16_t max = (uint16_t)pci_function_num_vectors(m.pf);

	assert_int_equal(table_size(), max);
	assert_int_equal(pci_function_set_vectors(m.pf, 0), -EINVAL);
	assert_int_equal(pci_function_set_vectors(m.pf, max + 1), -EINVAL);
	assert_int_equal(pci_function_set_vectors(m.pf, 1), 0);
	assert_int_equal(pci_function_num_vectors(m.pf), 1);
	assert_int_equal(table_size(), 1);
	pci_function_reset(m.pf, PCI_RESET_FLR);
	assert_int_equal(table_size(), 1);
	attach_root();
	assert_int_equal(pci_function_set_vectors(m.pf, 2), 0);
	msix_control(PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(pci_function_set_vectors(m.pf, 1), -EBUSY);
	program(1, 2, false);
	wr(m.pf, BUS, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	pci_irq_raise(m.pf, 1);
	assert_int_equal(drain(root_fds[2]), 1);
	pci_function_detach(m.pf);
	model_attach(m.pf, PCI_OWNER_ENDPOINT);
	/* Its client read the size at attach. */
	assert_int_equal(pci_function_set_vectors(m.pf, max), -EBUSY);
	pci_function_detach(m.pf);
	assert_int_equal(pci_function_set_vectors(m.pf, max), 0);
	assert_int_equal(table_size(), max);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_endpoint_delivers_iff_an_eventfd_is_installed),
		T(nobody_waits_in_the_eventfd_of_a_client),
		T(a_pending_interrupt_is_delivered_with_the_eventfd),
		T(several_vectors_are_set_at_once_and_bad_ones_refused),
		T(a_root_delivers_what_the_table_says),
		T(entry_and_function_masks_keep_interrupts_pending),
		T(eventfds_of_the_roots_endpoint_may_change),
		T(a_change_of_owner_forgets_where_vectors_went),
		T(reset_masks_all_entries_and_clears_pending),
		T(the_table_takes_accesses_of_any_size),
		T(the_pba_is_read_only),
		T(an_access_across_a_border_reaches_both_sides),
		T(accesses_outside_a_bar_are_refused),
		T(memory_is_gone_in_d3hot),
		T(no_interrupt_is_lost_while_vectors_are_masked),
		T(no_interrupt_is_lost_while_eventfds_are_swapped),
		T(vectors_can_be_fewer_than_created),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
