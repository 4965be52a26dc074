/* SPDX-License-Identifier: BSD-3-Clause */
#include "dma/sigbus.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "dma/dma.h"

/*
 * Written by the control thread, read by the handler on any thread. A slot counts while base is
 * not 0. It is cleared only when no data-path code accesses the mapping, so a handler that found
 * it never acts on memory that has since become something else.
 */
static struct {
	_Atomic uintptr_t base;
	_Atomic size_t len;
	_Atomic(_Atomic bool *) broken;
} slots[DMA_MAPPINGS_MAX];

static _Atomic int n_slots; /* those beyond were never used */

int sigbus_register(void *base, size_t len, _Atomic bool *broken)
{
	int i;

	for (i = 0; i < DMA_MAPPINGS_MAX; i++) {
		if (!atomic_load(&slots[i].base))
			break;
	}
	if (i == DMA_MAPPINGS_MAX)
		return -ENOSPC;
	atomic_store(&slots[i].len, len);
	atomic_store(&slots[i].broken, broken);
	atomic_store(&slots[i].base, (uintptr_t)base);
	if (i >= atomic_load(&n_slots))
		atomic_store(&n_slots, i + 1);
	return i;
}

void sigbus_unregister(int slot)
{
	atomic_store(&slots[slot].base, 0);
}

/*
 * All of the mapping is replaced, not only the page: the next page would fault next, and each
 * replaced page would split the mapping until the process has no more to give. Runs as a signal
 * handler: system calls and lock-free atomics only.
 */
static bool contain(uintptr_t addr)
{
	int n = atomic_load(&n_slots), i;
	_Atomic bool *broken;
	uintptr_t base;
	size_t len;
	void *p;

	for (i = 0; i < n; i++) {
		base = atomic_load(&slots[i].base);
		len = atomic_load(&slots[i].len);
		broken = atomic_load(&slots[i].broken);
		/* The slot of another mapping may change hands meanwhile: its old base and its new
		 * length together could hold anything. */
		if (!base || addr - base >= len || atomic_load(&slots[i].base) != base)
			continue;
		atomic_store(broken, true);
		p = mmap((void *)base, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		return p != MAP_FAILED;
	}
	return false;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	int saved_errno = errno;

	(void)context;
	/* si_code <= 0: sent by a process, the address means nothing */
	if (info->si_code > 0 && contain((uintptr_t)info->si_addr)) {
		errno = saved_errno;
		return;
	}
	/* Not ours: the access is repeated, or the signal raised again, and ends the process. */
	signal(sig, SIG_DFL);
	if (info->si_code <= 0)
		raise(sig);
	errno = saved_errno;
}

int dma_init(void)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_RESTART};

	sigemptyset(&sa.sa_mask);
	return sigaction(SIGBUS, &sa, NULL) ? -errno : 0;
}
