/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes and descriptors at the server's end of a connection: framing, dispatch, every handler,
 * and the PCI function behind them.
 *
 * Input: chunks of {control byte, length byte, bytes}. Bits 0-2 of control: how many descriptors
 * come with the first byte of the chunk; bits 3-4: of which kind; bit 5: the bytes are the payload
 * of a command (bits 6-7 and the first byte: its number) that is given a right header.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dma/dma.h"
#include "pci/function.h"
#include "util/log.h"
#include "util/util.h"
#include "vfio_user/session.h"

#define KINDS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct pci_function *fn;
static struct vfu_remote *remote;
static int kinds[KINDS];
static uint8_t bar[4096];

static void bar_read(struct pci_function *f, unsigned b, uint64_t off, void *buf, uint32_t len)
{
	memset(buf, 0, len);
	if (b == 0 && range_ok(off, len, sizeof(bar)))
		memcpy(buf, bar + off, len);
}

static void bar_write(struct pci_function *f, unsigned b, uint64_t off, const void *buf,
		      uint32_t len)
{
	if (b == 0 && range_ok(off, len, sizeof(bar)))
		memcpy(bar + off, buf, len);
}

static const struct pci_function_ops fn_ops = {.bar_read = bar_read, .bar_write = bar_write};

static int io_fds(void *opaque, unsigned region, struct vfu_io_fd *fds, unsigned max)
{
	for (unsigned i = 0; i < 20 && i < max; i++)
		fds[i] = (struct vfu_io_fd){.offset = i * 4, .size = 2, .fd = kinds[i % 2]};
	return region == 0 ? 20 : 0;
}

static const struct vfu_server_ops server_ops = {.io_fds = io_fds};

static void setup(void)
{
	const struct pci_function_desc desc = {
		.name = "fuzz",
		.vendor_id = 0x1b36,
		.device_id = 1,
		.class_code = 0x088000,
		.bars = {[0] = {.size = 4096}, [2] = {.size = 16384, .is_64bit = true}},
		.msix = {.vectors = 8, .bar = 2, .table_off = 0, .pba_off = 8192},
		.ops = &fn_ops,
	};

	log_set_level(LOG_LEVEL_ERROR);
	kinds[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	kinds[1] = memfd_create("fuzz", MFD_CLOEXEC);
	kinds[2] = open("/dev/null", O_RDWR | O_CLOEXEC);
	kinds[3] = open("/", O_RDONLY | O_CLOEXEC);
	if (ftruncate(kinds[1], 1 << 20) || dma_init() || pci_function_create(&desc, &fn) ||
	    vfu_remote_create("fuzz", &remote))
		abort();
}

static void drain(int fd)
{
	char buf[65536], control[CMSG_SPACE(16 * sizeof(int))];
	struct iovec iov = {.iov_base = buf, .iov_len = sizeof(buf)};

	for (;;) {
		struct msghdr mh = {.msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control,
				    .msg_controllen = sizeof(control)};
		struct cmsghdr *cm;

		if (recvmsg(fd, &mh, MSG_DONTWAIT) <= 0)
			return;
		for (cm = CMSG_FIRSTHDR(&mh); cm; cm = CMSG_NXTHDR(&mh, cm))
			for (size_t i = 0; i < (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
				int got;

				memcpy(&got, CMSG_DATA(cm) + i * sizeof(int), sizeof(got));
				close(got);
			}
	}
}

static void send_chunk(int fd, const struct iovec *iov, unsigned niov, unsigned nfds, int kind)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(20 * sizeof(int))];
	} control = {0};
	struct msghdr mh = {.msg_iov = (struct iovec *)iov, .msg_iovlen = niov};

	if (nfds == 7)
		nfds = 17;
	if (nfds) {
		struct cmsghdr *cm;

		mh.msg_control = control.buf;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		for (unsigned i = 0; i < nfds; i++)
			memcpy(CMSG_DATA(cm) + i * sizeof(int), &kinds[kind], sizeof(int));
	}
	if (sendmsg(fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

/* Sends the chunk at data; returns its length. */
static size_t feed(int fd, const uint8_t *data, size_t size)
{
	size_t len = MIN((size_t)data[1], size - 2);
	const uint8_t *bytes = data + 2;
	struct vfu_header h = {.id = 1};
	struct iovec iov[2] = {{.iov_base = &h, .iov_len = sizeof(h)}};
	unsigned n = 0;

	if (data[0] & 1 << 5 && len) {
		h.command = bytes[0] % 20;
		h.size = (uint32_t)(sizeof(h) + len - 1);
		h.flags = (data[0] >> 6 & 1) | (data[0] >> 7) << 4;
		n = 1;
		bytes++;
		len--;
	}
	iov[n].iov_base = (void *)bytes;
	iov[n].iov_len = len;
	send_chunk(fd, iov, n + 1, data[0] & 7, data[0] >> 3 & 3);
	return (size_t)(bytes - data) + len;
}

static void run(struct vfu_session *s, int peer, const uint8_t *data, size_t size)
{
	const uint8_t hello[20] = {1, 0, VFU_VERSION, 0, 20};
	int r = 0;

	if (size && data[0] != 0xff)
		r = send(peer, hello, sizeof(hello), MSG_NOSIGNAL) == sizeof(hello) ? 0 : -1;
	while (size > 2 && r >= 0) {
		size_t used = feed(peer, data, size);

		data += used;
		size -= used;
		do {
			r = vfu_session_run(s, 16);
			drain(peer);
			if (!r)
				r = vfu_conn_flush(&s->conn);
		} while (r > 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pci_attachment att = {.kind = PCI_OWNER_ENDPOINT};
	struct vfu_session_config cfg = {.name = "fuzz", .ops = &server_ops};
	struct vfu_session s;
	struct dma_space *dma;
	int sv[2];

	if (!fn)
		setup();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) ||
	    dma_space_create("fuzz", &vfu_remote_dma_ops, remote, &dma))
		abort();
	att.dma = dma;
	if (pci_function_attach(fn, &att))
		abort();
	cfg.fn = fn;
	cfg.dma = dma;
	cfg.remote = remote;
	vfu_session_init(&s, sv[0], &cfg);
	run(&s, sv[1], data, size);
	vfu_remote_close(remote);
	pci_function_detach(fn);
	dma_space_destroy(dma);
	vfu_session_fini(&s);
	close(sv[1]);
	return 0;
}
