/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "daemon/daemon.h"
#include "util/log.h"

/* The process itself: standard streams, event loop, workers' epolls, control clients, uplinks. */
#define FILES_BASE	 128
#define FILES_PER_WORKER 4
/* Of an attached function: listening socket, connection, a memory file or two, and per queue
 * pair two doorbells and two interrupts; one more of each for the control queue and changes. */
#define FILES_PER_FUNCTION 8
#define FILES_PER_PAIR	   4
/* Of NVMe: an interrupt per queue pair, the admin pair included, and its old one while it changes;
 * doorbells have none. Of a namespace: its file or connection, and where reservations are kept. */
#define FILES_PER_NVME_PAIR 2
#define FILES_PER_NAMESPACE 3
#define NVME_VF_PAIRS	    4  /* where the file does not say */
#define ROOT_VECTORS	    64 /* where the file does not say */

static unsigned long ethernet_files(const struct config_device *d)
{
	return (d->total_vfs + 1ul) * (FILES_PER_FUNCTION + FILES_PER_PAIR * d->queue_pairs);
}

static unsigned long nvme_files(const struct config_device *d)
{
	unsigned long vf = d->nvme.queues ? d->nvme.queues : NVME_VF_PAIRS;
	unsigned long pf = d->nvme.pf_queues;

	return FILES_PER_FUNCTION + FILES_PER_NVME_PAIR * (pf + 1) +
	       d->total_vfs * (FILES_PER_FUNCTION + FILES_PER_NVME_PAIR * (vf + 1)) +
	       (unsigned long)d->nvme.max_namespaces * FILES_PER_NAMESPACE;
}

unsigned long limits_files_needed(const struct config *cfg)
{
	unsigned long n = FILES_BASE + FILES_PER_WORKER * (unsigned long)cfg->workers;

	for (unsigned i = 0; i < cfg->n_devices; i++) {
		const struct config_device *d = &cfg->devices[i];

		n += d->type == DEVICE_NVME ? nvme_files(d) : ethernet_files(d);
	}
	for (unsigned i = 0; i < cfg->n_roots; i++)
		n += FILES_PER_FUNCTION +
		     (cfg->roots[i].vectors ? cfg->roots[i].vectors : ROOT_VECTORS);
	return n;
}

void limits_raise(const struct config *cfg)
{
	unsigned long need = limits_files_needed(cfg);
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl))
		return;
	if (rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &rl))
			log_warn("open files: the limit cannot be raised: %s", strerror(errno));
		getrlimit(RLIMIT_NOFILE, &rl);
	}
	if (rl.rlim_cur < need)
		log_warn("open files: %lu are allowed, all functions attached may take %lu: raise "
			 "the hard limit (LimitNOFILE= of the systemd unit, or ulimit -Hn) or "
			 "configure fewer VFs or queues",
			 (unsigned long)rl.rlim_cur, need);
}
