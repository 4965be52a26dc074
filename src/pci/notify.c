/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Signalling an eventfd that somebody else holds too.
 *
 * O_NONBLOCK belongs to the open file, which the client shares: it can clear the flag at any time,
 * fill the counter, and whoever then calls write() waits until the client likes to read - a worker
 * with the queues of others, or the control thread. No check beforehand helps, as it can be
 * overtaken. The kernel itself never waits when it signals an eventfd, and it does so for whoever
 * asks to be told of the end of an asynchronous operation. So that is what happens here: a read of
 * /dev/null, complete before io_submit() returns, whose completion signals the eventfd. It costs
 * about twice as much as write(): some 300 ns instead of 150.
 *
 * Where asynchronous I/O is not to be had (the kernel was built without it, a filter forbids it,
 * the system's fs.aio-max-nr is used up) write() is all that is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pci/state.h"
#include "util/util.h"

/* Operations whose completion was not collected yet; that is done when no more fit. */
#define CONTEXT_EVENTS 256
#define COLLECT_MAX    64
#define ATTEMPTS       16

static pthread_once_t once = PTHREAD_ONCE_INIT;
static aio_context_t context; /* 0: not available. For all threads, as long as the process */
static int null_fd;

static void open_context(void)
{
	if (UNDER_TSAN)
		return; /* knows of write() that it orders memory, and not of this way */
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null_fd >= 0 && !syscall(SYS_io_setup, CONTEXT_EVENTS, &context))
		return;
	log_warn("no asynchronous I/O (%s): a VMM could make others wait in its eventfds",
		 strerror(errno));
	context = 0;
}

/* The results say nothing: each operation has ended before it could be collected. */
static void collect(void)
{
	struct timespec now = {0};
	struct io_event events[COLLECT_MAX];

	while (syscall(SYS_io_getevents, context, 0, COLLECT_MAX, events, &now) == COLLECT_MAX)
		;
}

static bool signal_by_completion(int fd)
{
	char nothing;
	struct iocb cb = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)null_fd,
		.aio_buf = (uintptr_t)&nothing,
		.aio_nbytes = 1,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)fd,
	};
	struct iocb *list = &cb;

	for (unsigned i = 0; i < ATTEMPTS; i++) {
		if (syscall(SYS_io_submit, context, 1, &list) == 1)
			return true;
		if (errno != EAGAIN)
			return false;
		collect();
	}
	return false;
}

void pci_eventfd_signal(int fd)
{
	const uint64_t one = 1;

	pthread_once(&once, open_context);
	if (context && signal_by_completion(fd))
		return;
	/* EAGAIN: the counter is full, so whoever waits has been told. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}
