/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vfio-user server side: one listening socket that serves one PCI function to one client.
 *
 * Owns: the socket, the connection, message framing and validation, the client's dma_space, and
 * the eventfds it passed until they are given to the function. Knows nothing of what the function
 * is: a VF, a PF and a root's VMD endpoint are served alike.
 *
 * Everything runs on the control thread's sd-event loop; no handler blocks on the client. The one
 * exception is remote guest memory (DMA_READ/DMA_WRITE): those requests are sent and waited for by
 * a worker that may block, while the loop matches replies to them.
 *
 * Attack considered: every byte and fd a client sends. A violation of framing closes the
 * connection; a bad argument is answered with an errno; neither touches another function.
 */
#ifndef SOFTIOV_VFIO_USER_SERVER_H
#define SOFTIOV_VFIO_USER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-event.h>

#include "pci/function.h"

struct vfu_server;

/* One ioeventfd area in a region: writes of size bytes at offset can be replaced by a write to
 * the eventfd. */
struct vfu_io_fd {
	uint64_t offset;
	uint64_t size;
	uint64_t datamatch;
	uint32_t flags; /* bit 0: datamatch valid */
	int fd;
};

struct vfu_server_ops {
	/*
	 * A client connected: called at accept, before anything is read. Returns 0 to take it;
	 * -errno refuses it, with the reason in why (logged; the client is told the errno). The
	 * server then attaches the function to the client's dma_space.
	 */
	int (*attach)(void *opaque, pid_t pid, uid_t uid, char *why, size_t why_len);
	/* The connection ended and the function was detached (and so reset). */
	void (*detach)(void *opaque);
	/* Eventfds of the function changed (SET_IRQS), in endpoint mode already installed. A root
	 * passes them on to its children. May be NULL. */
	void (*irqs_changed)(void *opaque);
	/* The eventfd-doorbell areas of a region for GET_REGION_IO_FDS: fills up to max entries
	 * and returns how many exist. The fds stay the model's. May be NULL: none. */
	int (*io_fds)(void *opaque, unsigned region, struct vfu_io_fd *fds, unsigned max);
};

struct vfu_server_config {
	const char *name; /* function or root name, for the log */
	const char *path; /* socket path; the parent directory exists */
	uid_t owner;	  /* (uid_t)-1: leave */
	gid_t group;	  /* (gid_t)-1: leave */
	mode_t mode;	  /* e.g. 0600 */
};

/*
 * Binds and listens. A stale socket file (nobody listens) is replaced; a live one is -EADDRINUSE.
 * 0 or -errno. Control.
 */
int vfu_server_create(sd_event *event, const struct vfu_server_config *config,
		      struct pci_function *fn, const struct vfu_server_ops *ops, void *opaque,
		      struct vfu_server **out);
/* Closes the connection (detaching the function), the socket, and removes its file. Control. */
void vfu_server_destroy(struct vfu_server *srv);

/* Ends the current connection, if any; the next client may come. Control. */
void vfu_server_disconnect(struct vfu_server *srv);

struct vfu_server_status {
	bool connected;
	pid_t pid; /* of the client at connect; 0 if unknown */
	uid_t uid;
	uint32_t dma_regions;
	uint64_t dma_bytes;
	uint64_t messages;  /* handled since the connection began */
	uint64_t errors;    /* answered with an errno, or dropped */
	uint64_t refused;   /* connections refused, ever */
	bool remote_memory; /* writable guest memory without an fd: RAM not shared */
};
void vfu_server_get_status(const struct vfu_server *srv, struct vfu_server_status *st);
const char *vfu_server_path(const struct vfu_server *srv);
/* The connected client's memory; NULL when not connected. Control. */
struct dma_space *vfu_server_dma(const struct vfu_server *srv);
/*
 * Stops waits of workers for this client's DMA_READ/DMA_WRITE replies: they return -ECANCELED,
 * and later ones at once until vfu_server_resume_remote(). The server does it around unmap, reset
 * and disconnect.
 */
void vfu_server_cancel_remote(struct vfu_server *srv);
/* Undoes one cancel; they nest. Control. */
void vfu_server_resume_remote(struct vfu_server *srv);

#endif
