/* SPDX-License-Identifier: BSD-3-Clause */
/* Every mandatory message as the specification has it, and the habits of real clients. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/util.h"

#define EVENTFD_TRIGGER (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)
#define NONE_TRIGGER	(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER)
#define BOOL_TRIGGER	(VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER)
#define MSIX		VFIO_PCI_MSIX_IRQ_INDEX

static void test_version(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	const char *json = vfu_client_version_reply(c);

	/* QEMU reads the reply into its request's buffer, about 200 bytes, NUL included. */
	assert_true(16 + 4 + strlen(json) + 1 <= 150);
	assert_non_null(strstr(json, "\"max_msg_fds\":16"));
	assert_non_null(strstr(json, "\"max_data_xfer_size\":1048576"));
	assert_null(strstr(json, "write_multiple"));
	assert_int_equal(vfu_client_version(c, 0, 0, NULL), -EINVAL); /* once only */
	vfu_client_close(c);
}

/* SPDK sends no JSON, the Rust client minor 1, others whatever they like. */
static void test_version_forms(void **state)
{
	static const struct {
		uint16_t major, minor;
		const char *json;
		int err;
	} v[] = {
		{0, 0, NULL, 0},
		{0, 1, "{\"capabilities\":{\"max_msg_fds\":1,\"migration\":{\"pgsize\":4096}}}", 0},
		{0, 9, "{}", 0},
		{0, 0,
		 "{\"capabilities\":{\"max_msg_fds\":8,\"twin_socket\":{\"supported\":true}}}", 0},
		{1, 0, NULL, -EINVAL},
		{0, 0, "", -EINVAL},
		{0, 0, "[]", -EINVAL},
		{0, 0, "{\"capabilities\":1}", -EINVAL},
		{0, 0, "{\"capabilities\":{\"max_msg_fds\":-1}}", -EINVAL},
		{0, 0, "{\"capabilities\":{\"max_data_xfer_size\":\"x\"}}", -EINVAL},
		{0, 0, "{\"capabilities\":{", -EINVAL},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct vfu_client *c;

		assert_true(fixture_wait(f, false));
		assert_int_equal(vfu_client_connect_raw(f->path, 4000, &c), 0);
		assert_int_equal(vfu_client_version(c, v[i].major, v[i].minor, v[i].json),
				 v[i].err);
		vfu_client_close(c);
	}
}

static void test_device_info(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct vfio_device_info info;

	assert_int_equal(vfu_client_device_info(c, &info), 0);
	assert_int_equal(info.argsz, 16);
	assert_int_equal(info.flags, VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI);
	assert_int_equal(info.num_regions, 9);
	assert_int_equal(info.num_irqs, 5);
	vfu_client_close(c);
}

static void test_region_info(void **state)
{
	static const uint64_t sizes[9] = {TOY_BAR0, 0, TOY_BAR2, 0, 0, 0, 0, 4096, 0};
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct vfio_region_info info;
	int fd;

	for (uint32_t i = 0; i < 9; i++) {
		assert_int_equal(vfu_client_region_info(c, i, &info, NULL, 0, &fd), 0);
		assert_int_equal(info.argsz, 32);
		assert_int_equal(info.index, i);
		assert_int_equal(info.size, sizes[i]);
		assert_int_equal(info.flags,
				 sizes[i] ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE
					  : 0);
		assert_int_equal(fd, -1);
	}
	assert_int_equal(vfu_client_region_info(c, 9, &info, NULL, 0, &fd), -EINVAL);
	vfu_client_close(c);
}

/* argsz bounds the reply, and the reply tells what would be needed. */
static void test_argsz_shortage(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	uint32_t req[8] = {8};
	struct raw_reply r;

	assert_int_equal(raw_call(c, VFU_DEVICE_GET_INFO, req, 16, NULL, 0, &r), 0);
	assert_int_equal(r.len, 24);
	assert_int_equal(get_le32(r.body), 16);
	assert_int_equal(raw_call(c, VFU_DEVICE_GET_REGION_INFO, req, 32, NULL, 0, &r), 0);
	assert_int_equal(r.len, 24);
	assert_int_equal(get_le32(r.body), 32);
	req[2] = MSIX;
	assert_int_equal(raw_call(c, VFU_DEVICE_GET_IRQ_INFO, req, 16, NULL, 0, &r), 0);
	assert_int_equal(r.len, 24);
	assert_int_equal(get_le32(r.body), 16);
	req[2] = 0;
	req[0] = 16;
	assert_int_equal(raw_call(c, VFU_DEVICE_GET_REGION_IO_FDS, req, 16, NULL, 0, &r), 0);
	assert_int_equal(r.len, 32);
	assert_int_equal(get_le32(r.body), 16 + 3 * 40);
	assert_int_equal(get_le32(r.body + 12), 0);
	req[0] = 3;
	assert_int_equal(raw_call(c, VFU_DEVICE_GET_INFO, req, 16, NULL, 0, &r), EINVAL);
	vfu_client_close(c);
}

static void test_irq_info(void **state)
{
	static const uint32_t counts[5] = {0, 0, TOY_VECTORS, 1, 0};
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct vfio_irq_info info;

	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(vfu_client_irq_info(c, i, &info), 0);
		assert_int_equal(info.argsz, 16);
		assert_int_equal(info.index, i);
		assert_int_equal(info.count, counts[i]);
		assert_int_equal(info.flags, VFIO_IRQ_INFO_EVENTFD); /* not NORESIZE */
	}
	assert_int_equal(vfu_client_irq_info(c, 5, &info), -EINVAL);
	vfu_client_close(c);
}

static void test_region_access(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	uint8_t cfg[4096], in[64], out[64];

	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7 + 1);
	assert_int_equal(vfu_client_region_read(c, 7, 0, cfg, sizeof(cfg)), 0);
	assert_int_equal(get_le16(cfg), TOY_VENDOR);
	assert_int_equal(get_le16(cfg + 2), TOY_DEVICE);
	for (uint32_t len = 1; len <= 64; len *= 2) {
		assert_int_equal(vfu_client_region_write(c, 0, 0x100, in, len, false), 0);
		assert_int_equal(vfu_client_region_read(c, 0, 0x100, out, len), 0);
		assert_memory_equal(in, out, len);
	}
	/* A posted write is done before a later reply. */
	assert_int_equal(vfu_client_region_write(c, 0, 0x200, in, 4, true), 0);
	assert_int_equal(vfu_client_region_read(c, 0, 0x200, out, 4), 0);
	assert_memory_equal(in, out, 4);
	vfu_client_close(c);
}

/* Errors of region accesses and unmap have the size of success. */
static void test_full_size_errors(void **state)
{
	static const struct vfu_region_access bad[] = {
		{4096, 7, 4},	    {4094, 7, 4},	{0, 9, 4},
		{0, 1, 4},	    {0, 6, 4},		{UINT64_MAX - 1, 0, 4},
		{TOY_BAR0, 0, 1},   {0, 8, 1},		{0, 0, 4096 + TOY_BAR0},
		{UINT64_MAX, 7, 1}, {0, UINT32_MAX, 8},
	};
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct vfu_dma_unmap u = {sizeof(u), 0, 0x1000, 0x1000};
	uint8_t big[16 + 4096 + TOY_BAR0], *reply = malloc(16 + sizeof(big));
	struct raw_reply r;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vfu_header h;

		assert_int_equal(raw_send(c, 1, VFU_REGION_READ, 0, &bad[i], 16, NULL, 0), 0);
		assert_int_equal(vfu_client_recv_raw(c, reply, 16 + sizeof(big), NULL, NULL),
				 32 + bad[i].count);
		memcpy(&h, reply, sizeof(h));
		assert_int_equal(h.flags, VFU_F_TYPE_REPLY | VFU_F_ERROR);
		assert_int_equal(h.error, EINVAL);
		assert_int_equal(reply[32], 0xff);
		assert_int_equal(reply[31 + bad[i].count], 0xff);
		memset(big, 0, sizeof(big));
		memcpy(big, &bad[i], 16);
		assert_int_equal(raw_call(c, VFU_REGION_WRITE, big, 16 + bad[i].count, NULL, 0, &r),
				 EINVAL);
		assert_int_equal(r.len, 32);
	}
	assert_int_equal(raw_call(c, VFU_DMA_UNMAP, &u, sizeof(u), NULL, 0, &r), ENOENT);
	assert_int_equal(r.len, 40);
	/* A count beyond the limit cannot be honoured. */
	assert_int_equal(raw_call(c, VFU_REGION_READ, &(struct vfu_region_access){0, 0, UINT32_MAX},
				  16, NULL, 0, &r),
			 EINVAL);
	assert_ids(c);
	free(reply);
	vfu_client_close(c);
}

static void test_no_reply(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	uint8_t junk[64] = {0};
	struct raw_reply r;

	/* Errors of every kind, none answered; the next reply is that of the last message. */
	for (uint16_t cmd = 2; cmd < 40; cmd++)
		if (cmd != VFU_DEVICE_RESET)
			assert_int_equal(raw_send(c, cmd, cmd, VFU_F_NO_REPLY, junk, 3, NULL, 0),
					 0);
	assert_int_equal(vfu_client_region_write(c, 99, 0, junk, 4, true), 0);
	assert_int_equal(raw_send(c, 77, VFU_DEVICE_RESET, VFU_F_NO_REPLY, NULL, 0, NULL, 0), 0);
	assert_int_equal(raw_call(c, VFU_DEVICE_RESET, NULL, 0, NULL, 0, &r), 0);
	assert_int_equal(r.len, 16);
	assert_true(fixture_status(f).errors >= 30);
	vfu_client_close(c);
}

static void test_unknown_commands(void **state)
{
	static const uint16_t cmds[] = {0, 11, 12, 14, 16, 17, 18, 19, 200, 65535};
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	uint8_t body[64] = {0};
	struct raw_reply r;

	for (unsigned i = 0; i < sizeof(cmds) / sizeof(cmds[0]); i++) {
		assert_int_equal(raw_call(c, cmds[i], body, 40, NULL, 0, &r), ENOTSUP);
		assert_int_equal(r.len, 16);
	}
	assert_ids(c);
	vfu_client_close(c);
}

static void test_write_multi(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct {
		uint64_t n;
		struct vfu_write_multi_entry e[3];
	} m = {3, {{0x10, 0, 4, {1, 2, 3, 4}}, {0x18, 0, 8, {5, 6, 7, 8}}, {0x20, 0, 1, {9}}}};
	static struct {
		uint64_t n;
		struct vfu_write_multi_entry e[201];
	} many;
	struct raw_reply r;
	uint8_t out[32];

	assert_int_equal(raw_call(c, VFU_REGION_WRITE_MULTI, &m, sizeof(m), NULL, 0, &r), 0);
	assert_int_equal(r.len, 24);
	assert_int_equal(get_le64(r.body), 3);
	assert_int_equal(vfu_client_region_read(c, 0, 0x10, out, 32), 0);
	assert_int_equal(out[0], 1);
	assert_int_equal(out[8], 5);
	assert_int_equal(out[16], 9);
	/* One bad entry: nothing at all happens. */
	m.e[0].data[0] = 0xee;
	m.e[2].count = 9;
	assert_int_equal(raw_call(c, VFU_REGION_WRITE_MULTI, &m, sizeof(m), NULL, 0, &r), EINVAL);
	m.e[2].count = 1;
	m.n = 4;
	assert_int_equal(raw_call(c, VFU_REGION_WRITE_MULTI, &m, sizeof(m), NULL, 0, &r), EINVAL);
	m.n = UINT64_MAX / 24 + 2;
	assert_int_equal(raw_call(c, VFU_REGION_WRITE_MULTI, &m, sizeof(m), NULL, 0, &r), EINVAL);
	assert_int_equal(vfu_client_region_read(c, 0, 0x10, out, 1), 0);
	assert_int_equal(out[0], 1);
	/* No message may keep the daemon busy with more writes than QEMU would put into one. */
	many.n = ARRAY_SIZE(many.e);
	for (unsigned i = 0; i < many.n; i++)
		many.e[i] = (struct vfu_write_multi_entry){0x10, 0, 1, {(uint8_t)(i + 1)}};
	assert_int_equal(raw_call(c, VFU_REGION_WRITE_MULTI, &many, sizeof(many), NULL, 0, &r),
			 EINVAL);
	many.n--;
	assert_int_equal(raw_call(c, VFU_REGION_WRITE_MULTI, &many, sizeof(many), NULL, 0, &r), 0);
	assert_int_equal(vfu_client_region_read(c, 0, 0x10, out, 1), 0);
	assert_int_equal(out[0], 200);
	vfu_client_close(c);
}

static void test_io_fds(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct vfu_region_io_fd e[8];
	uint64_t v = 5;
	int fds[8];

	assert_int_equal(vfu_client_region_io_fds(c, 0, e, fds, 8), 3);
	assert_int_equal(e[2].offset, 0x1008);
	assert_int_equal(e[2].datamatch, 2);
	assert_int_equal(e[2].type, VFU_IO_FD_IOEVENTFD);
	assert_int_equal(e[0].fd_index, 0);
	assert_int_equal(e[2].fd_index, 0); /* shared, so sent once */
	assert_int_equal(write(fds[0], &v, 8), 8);
	assert_int_equal(event_wait(f->toy.doorbell_fd, 100), 5);
	close(fds[0]);
	assert_int_equal(vfu_client_region_io_fds(c, 2, e, fds, 8), 0);
	assert_int_equal(vfu_client_region_io_fds(c, 9, e, fds, 8), -EINVAL);
	vfu_client_close(c);
}

static void test_dma_map(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct vfu_server_status st;
	uint8_t *mem;
	int fd = memory_file(1 << 20, &mem);

	assert_int_equal(vfu_client_dma_map(c, 0, 0x80000, MAP_RW, fd, 0), 0);
	assert_int_equal(vfu_client_dma_map(c, 0x80000, 0x40000, VFU_DMA_READABLE, fd, 0x80000), 0);
	assert_int_equal(vfu_client_dma_map(c, 0x1000, 0x1000, MAP_RW, fd, 0), -EEXIST);
	assert_int_equal(vfu_client_dma_map(c, 0x7f000, 0x2000, MAP_RW, fd, 0), -EEXIST);
	st = fixture_status(f);
	assert_int_equal(st.dma_regions, 2);
	assert_int_equal(st.dma_bytes, 0xc0000);
	assert_false(st.remote_memory);

	client_bus_master(c, true);
	memcpy(mem + 0x1000, "across the wire", 16);
	assert_int_equal(client_copy(c, 0x1000, 0x2000, 16), 0);
	assert_memory_equal(mem + 0x2000, "across the wire", 16);
	/* Read-only stays so, though the descriptor would allow it. */
	assert_int_equal(client_copy(c, 0x1000, 0x80000, 16), EFAULT);
	assert_int_equal(mem[0x80000], 0);
	assert_int_equal(client_copy(c, 0x80000, 0x3000, 16), 0);
	assert_int_equal(client_copy(c, 0xc0000, 0x3000, 1), EFAULT);

	assert_int_equal(vfu_client_dma_unmap(c, 0, 0x1000, 0), -ENOENT);
	assert_int_equal(vfu_client_dma_unmap(c, 0, 0x80000, 0), 0);
	assert_int_equal(vfu_client_dma_unmap(c, 0, 0x80000, 0), -ENOENT);
	assert_int_equal(client_copy(c, 0x1000, 0x2000, 16), EFAULT);
	assert_int_equal(vfu_client_dma_unmap(c, 0x1000, 0, VFU_UNMAP_ALL), -EINVAL);
	assert_int_equal(vfu_client_dma_unmap(c, 0, 0, VFU_UNMAP_ALL), 0);
	assert_int_equal(fixture_status(f).dma_regions, 0);
	munmap(mem, 1 << 20);
	close(fd);
	vfu_client_close(c);
}

/* Bus Master, D-state and reset gate DMA. */
static void test_dma_gate(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	uint8_t *mem;
	int fd = memory_file(0x10000, &mem);

	assert_int_equal(vfu_client_dma_map(c, 0, 0x10000, MAP_RW, fd, 0), 0);
	mem[0] = 42;
	assert_int_equal(client_copy(c, 0, 0x1000, 1), ENODEV);
	client_bus_master(c, true);
	assert_int_equal(client_copy(c, 0, 0x1000, 1), 0);
	assert_int_equal(mem[0x1000], 42);
	client_bus_master(c, false);
	assert_int_equal(client_copy(c, 0, 0x2000, 1), ENODEV);
	client_bus_master(c, true);
	assert_int_equal(vfu_client_reset(c), 0);
	assert_int_equal(client_copy(c, 0, 0x2000, 1), ENODEV);
	assert_int_equal(mem[0x2000], 0);
	/* Maps outlive the reset. */
	client_bus_master(c, true);
	assert_int_equal(client_copy(c, 0, 0x2000, 1), 0);
	munmap(mem, 0x10000);
	close(fd);
	vfu_client_close(c);
}

static void test_set_irqs(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	uint8_t bools[4] = {1, 0, 0, 1};
	int fds[16], other;

	for (unsigned i = 0; i < 16; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	other = eventfd(0, EFD_CLOEXEC);
	/* How QEMU enables MSI-X before any vector is in use. */
	assert_int_equal(vfu_client_set_irqs(c, EVENTFD_TRIGGER, MSIX, 0, 1, NULL, 0, NULL, 0), 0);
	assert_int_equal(vfu_client_set_irqs(c, EVENTFD_TRIGGER, MSIX, 0, 16, NULL, 0, fds, 16), 0);
	assert_int_equal(vfu_client_set_irqs(c, EVENTFD_TRIGGER, MSIX, 16, 16, NULL, 0, NULL, 0),
			 0);
	assert_int_equal(f->irq_changes, 3);
	for (uint32_t i = 0; i < 16; i++) {
		assert_int_equal(vfu_client_set_irqs(c, NONE_TRIGGER, MSIX, i, 1, NULL, 0, NULL, 0),
				 0);
		assert_int_equal(event_wait(fds[i], 1000), 1);
	}
	assert_int_equal(vfu_client_set_irqs(c, BOOL_TRIGGER, MSIX, 2, 4, bools, 4, NULL, 0), 0);
	assert_int_equal(event_wait(fds[2], 1000), 1);
	assert_int_equal(event_wait(fds[5], 1000), 1);
	assert_int_equal(event_wait(fds[3], 0), 0);

	/* De-assigned, raised, assigned elsewhere: the event is not lost. */
	assert_int_equal(vfu_client_set_irqs(c, EVENTFD_TRIGGER, MSIX, 3, 1, NULL, 0, NULL, 0), 0);
	assert_int_equal(vfu_client_set_irqs(c, NONE_TRIGGER, MSIX, 3, 1, NULL, 0, NULL, 0), 0);
	assert_int_equal(event_wait(fds[3], 0), 0);
	assert_int_equal(vfu_client_set_irqs(c, EVENTFD_TRIGGER, MSIX, 3, 1, NULL, 0, &other, 1),
			 0);
	assert_int_equal(event_wait(other, 1000), 1);

	/* The engine's interrupt takes the same way. */
	client_write32(c, TOY_VECTOR, 3);
	assert_int_equal(client_copy(c, 0, 0, 1), ENODEV);
	assert_int_equal(event_wait(other, 1000), 1);

	assert_int_equal(vfu_client_set_irqs(c, NONE_TRIGGER, MSIX, 0, 0, NULL, 0, NULL, 0), 0);
	assert_int_equal(vfu_client_set_irqs(c, NONE_TRIGGER, MSIX, 0, 16, NULL, 0, NULL, 0), 0);
	assert_int_equal(event_wait(fds[0], 50), 0);
	for (unsigned i = 0; i < 16; i++)
		close(fds[i]);
	close(other);
	vfu_client_close(c);
}

static void test_set_irqs_refused(void **state)
{
	const uint32_t mask = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK;
	const uint32_t unmask = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK;
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	int fds[4], pipes[2], file = memory_file(4096, NULL), dir = open("/", O_RDONLY);
	uint8_t b[4] = {0};

	assert_int_equal(pipe(pipes), 0);
	for (unsigned i = 0; i < 4; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
#define SET(flags, index, start, count, fd, n)                                                     \
	vfu_client_set_irqs(c, flags, index, start, count, NULL, 0, fd, n)
	assert_int_equal(SET(mask, 0, 0, 1, NULL, 0), -EINVAL);
	assert_int_equal(SET(unmask, 0, 0, 1, NULL, 0), -EINVAL);
	assert_int_equal(SET(mask, MSIX, 0, 1, NULL, 0), -EINVAL);
	assert_int_equal(SET(EVENTFD_TRIGGER, MSIX, 0, 2, fds, 3), -EINVAL);
	assert_int_equal(SET(EVENTFD_TRIGGER, MSIX, 0, 0, NULL, 0), -EINVAL);
	assert_int_equal(SET(EVENTFD_TRIGGER, MSIX, TOY_VECTORS, 1, fds, 1), -EINVAL);
	assert_int_equal(SET(EVENTFD_TRIGGER, MSIX, UINT32_MAX, 2, fds, 2), -EINVAL);
	assert_int_equal(SET(EVENTFD_TRIGGER, MSIX, 1, UINT32_MAX, NULL, 0), -EINVAL);
	assert_int_equal(SET(EVENTFD_TRIGGER, 0, 0, 1, fds, 1), -EINVAL);
	assert_int_equal(SET(EVENTFD_TRIGGER, 5, 0, 1, fds, 1), -EINVAL);
	assert_int_equal(SET(NONE_TRIGGER, MSIX, 0, 1, fds, 1), -EINVAL);
	assert_int_equal(SET(NONE_TRIGGER, MSIX, 1, 0, NULL, 0), -EINVAL);
	assert_int_equal(SET(NONE_TRIGGER | VFIO_IRQ_SET_DATA_BOOL, MSIX, 0, 1, NULL, 0), -EINVAL);
	assert_int_equal(SET(VFIO_IRQ_SET_DATA_NONE, MSIX, 0, 1, NULL, 0), -EINVAL);
	assert_int_equal(SET(NONE_TRIGGER | 1 << 6, MSIX, 0, 1, NULL, 0), -EINVAL);
	assert_int_equal(vfu_client_set_irqs(c, BOOL_TRIGGER, MSIX, 0, 8, b, 4, NULL, 0), -EINVAL);
	/* Only eventfds will do. */
	assert_int_equal(SET(EVENTFD_TRIGGER, MSIX, 0, 1, &pipes[1], 1), -EINVAL);
	assert_int_equal(SET(EVENTFD_TRIGGER, MSIX, 0, 1, &file, 1), -EINVAL);
	assert_int_equal(SET(EVENTFD_TRIGGER, MSIX, 0, 1, &dir, 1), -EINVAL);
	assert_int_equal(SET(EVENTFD_TRIGGER, MSIX, 0, 1, (int[]){vfu_client_fd(c)}, 1), -EINVAL);
	/* INTx and MSI: nothing to disable, which is no error; ERR is taken and never used. */
	assert_int_equal(SET(NONE_TRIGGER, 0, 0, 0, NULL, 0), 0);
	assert_int_equal(SET(NONE_TRIGGER, 1, 0, 0, NULL, 0), 0);
	assert_int_equal(SET(EVENTFD_TRIGGER, VFIO_PCI_ERR_IRQ_INDEX, 0, 1, fds, 1), 0);
	assert_int_equal(SET(EVENTFD_TRIGGER, VFIO_PCI_ERR_IRQ_INDEX, 0, 1, NULL, 0), 0);
	assert_int_equal(SET(EVENTFD_TRIGGER, VFIO_PCI_REQ_IRQ_INDEX, 0, 1, fds, 1), -EINVAL);
#undef SET
	assert_ids(c);
	for (unsigned i = 0; i < 4; i++)
		close(fds[i]);
	close(pipes[0]);
	close(pipes[1]);
	close(file);
	close(dir);
	vfu_client_close(c);
}

/* What QEMU sends from realize to the machine's reset. */
static void test_qemu_realize(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c = fixture_client(f);
	struct vfio_device_info dev;
	struct vfio_region_info info;
	struct vfio_irq_info irq;
	uint8_t cfg[4096], *mem;
	uint32_t v, zero = 0, ones = 0xfffff800;
	uint16_t cmd;
	int fd = memory_file(1 << 20, &mem), ev = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(vfu_client_dma_map(c, 0, 0xa0000, MAP_RW, fd, 0), 0);
	assert_int_equal(vfu_client_dma_map(c, 0xc0000, 0x20000, VFU_DMA_READABLE, fd, 0xc0000), 0);
	assert_int_equal(vfu_client_device_info(c, &dev), 0);
	for (uint32_t i = 0; i < 8; i++)
		if (i != 6)
			assert_int_equal(vfu_client_region_info(c, i, &info, NULL, 0, NULL), 0);
	assert_int_equal(info.size, 4096);
	assert_int_equal(vfu_client_irq_info(c, VFIO_PCI_ERR_IRQ_INDEX, &irq), 0);
	assert_int_equal(vfu_client_irq_info(c, MSIX, &irq), 0);
	assert_int_equal(vfu_client_region_read(c, 7, 0, cfg, sizeof(cfg)), 0);
	assert_true(cfg[PCI_STATUS] & PCI_STATUS_CAP_LIST);
	/* No ROM: the probe reads back zero. */
	assert_int_equal(vfu_client_region_read(c, 7, PCI_ROM_ADDRESS, &v, 4), 0);
	assert_int_equal(vfu_client_region_write(c, 7, PCI_ROM_ADDRESS, &ones, 4, false), 0);
	assert_int_equal(vfu_client_region_read(c, 7, PCI_ROM_ADDRESS, &v, 4), 0);
	assert_int_equal(v, 0);
	assert_int_equal(vfu_client_region_write(c, 7, PCI_ROM_ADDRESS, &zero, 4, false), 0);
	/* The type comes from the raw BAR's low bits. */
	assert_int_equal(vfu_client_region_read(c, 7, PCI_BASE_ADDRESS_2, &v, 4), 0);
	assert_int_equal(v & 0xf, PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
	assert_int_equal(vfu_client_set_irqs(c, EVENTFD_TRIGGER, VFIO_PCI_ERR_IRQ_INDEX, 0, 1, NULL,
					     0, &ev, 1),
			 0);
	/* Machine reset. */
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(vfu_client_set_irqs(c, NONE_TRIGGER, i, 0, 0, NULL, 0, NULL, 0),
				 0);
	assert_int_equal(vfu_client_region_read(c, 7, PCI_COMMAND, &cmd, 2), 0);
	cmd &= ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(vfu_client_region_write(c, 7, PCI_COMMAND, &cmd, 2, false), 0);
	assert_int_equal(vfu_client_reset(c), 0);
	for (unsigned off = PCI_BASE_ADDRESS_0; off <= PCI_BASE_ADDRESS_5; off += 4)
		assert_int_equal(vfu_client_region_write(c, 7, off, &zero, 4, false), 0);
	/* The firmware toggles small ranges. */
	for (uint64_t at = 0xe0000; at < 0x100000; at += 0x4000) {
		assert_int_equal(vfu_client_dma_map(c, at, 0x4000, MAP_RW, fd, at), 0);
		assert_int_equal(vfu_client_dma_unmap(c, at, 0x4000, 0), 0);
	}
	client_bus_master(c, true);
	memcpy(mem, "guest", 6);
	assert_int_equal(client_copy(c, 0, 0x1000, 6), 0);
	assert_string_equal((char *)mem + 0x1000, "guest");
	munmap(mem, 1 << 20);
	close(fd);
	close(ev);
	vfu_client_close(c);
}

/* Cloud Hypervisor: regions before memory, minor version 1, a reset at attach, byte-exact
 * structures in which argsz of GET_INFO counts the header too. */
static void test_cloud_hypervisor(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c;
	struct vfio_region_info info;
	struct vfio_irq_info irq;
	uint32_t get_info[4] = {32};
	struct raw_reply r;
	int fds[16], fd = memory_file(1 << 20, NULL);
	uint16_t cmd = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	assert_int_equal(vfu_client_connect_raw(f->path, 4000, &c), 0);
	assert_int_equal(vfu_client_version(c, 0, 1,
					    "{\"capabilities\":{\"max_msg_fds\":1,"
					    "\"max_data_xfer_size\":1048576,"
					    "\"migration\":{\"pgsize\":4096}}}"),
			 0);
	assert_int_equal(raw_call(c, VFU_DEVICE_GET_INFO, get_info, 16, NULL, 0, &r), 0);
	assert_int_equal(r.len, 32);
	for (uint32_t i = 0; i < get_le32(r.body + 8); i++)
		assert_int_equal(vfu_client_region_info(c, i, &info, NULL, 0, NULL), 0);
	assert_int_equal(vfu_client_reset(c), 0);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(vfu_client_irq_info(c, i, &irq), 0);
	assert_int_equal(vfu_client_dma_map(c, 0, 0xa0000, MAP_RW, fd, 0), 0);
	assert_int_equal(vfu_client_dma_map(c, 0x100000, 0x40000, MAP_RW, fd, 0xc0000), 0);
	assert_int_equal(vfu_client_region_write(c, 7, PCI_COMMAND, &cmd, 2, false), 0);
	for (unsigned i = 0; i < 16; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	for (uint32_t at = 0; at < TOY_VECTORS; at += 16)
		assert_int_equal(
			vfu_client_set_irqs(c, EVENTFD_TRIGGER, MSIX, at, 16, NULL, 0, fds, 16), 0);
	assert_int_equal(client_copy(c, 0, 0x100000, 64), 0);
	assert_int_equal(vfu_client_dma_unmap(c, 0x100000, 0x40000, 0), 0);
	assert_int_equal(vfu_client_dma_unmap(c, 0, 0xa0000, 0), 0);
	for (unsigned i = 0; i < 16; i++)
		close(fds[i]);
	close(fd);
	vfu_client_close(c);
}

/* SPDK: no JSON, region-info requests with room for capabilities behind the structure. */
static void test_spdk(void **state)
{
	struct fixture *f = *state;
	struct vfu_client *c;
	uint32_t req[128] = {512, 0, 7};
	struct vfu_region_io_fd e[4];
	struct raw_reply r;
	int fds[4];

	assert_int_equal(vfu_client_connect_raw(f->path, 4000, &c), 0);
	assert_int_equal(vfu_client_version(c, 0, 0, NULL), 0);
	assert_int_equal(raw_call(c, VFU_DEVICE_GET_REGION_INFO, req, sizeof(req), NULL, 0, &r), 0);
	assert_int_equal(r.len, 48);
	assert_int_equal(get_le32(r.body), 32);
	assert_int_equal(get_le64(r.body + 16), 4096);
	/* It takes one descriptor in a message. */
	assert_int_equal(vfu_client_region_io_fds(c, 0, e, fds, 4), 3);
	close(fds[0]);
	vfu_client_close(c);
}

static void test_socket_rights(void **state)
{
	struct fixture *f = *state;
	struct vfu_server_status st;
	struct vfu_client *c;
	struct stat sb;

	assert_int_equal(stat(f->path, &sb), 0);
	assert_int_equal(sb.st_mode & 0777, 0600);
	c = fixture_client(f);
	st = fixture_status(f);
	assert_true(st.connected);
	assert_int_equal(st.pid, getpid());
	assert_int_equal(st.uid, getuid());
	vfu_client_close(c);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_version),	T(test_version_forms),
		T(test_device_info),	T(test_region_info),
		T(test_argsz_shortage), T(test_irq_info),
		T(test_region_access),	T(test_full_size_errors),
		T(test_no_reply),	T(test_unknown_commands),
		T(test_write_multi),	T(test_io_fds),
		T(test_dma_map),	T(test_dma_gate),
		T(test_set_irqs),	T(test_set_irqs_refused),
		T(test_qemu_realize),	T(test_cloud_hypervisor),
		T(test_spdk),		T(test_socket_rights),
	};

	return cmocka_run_group_tests_name("vfio-user: messages", tests, NULL, NULL);
}
