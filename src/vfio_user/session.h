/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The protocol on one connection: what is negotiated, which handler a command goes to, and how it
 * is answered. Needs no event loop, so that a fuzzer can drive it.
 *
 * Commands are handled and answered in arrival order; one with NO_REPLY is never answered. A
 * handler returns 0 after it replied, or -errno, which becomes the error reply. All on the control
 * thread.
 */
#ifndef SOFTIOV_VFIO_USER_SESSION_H
#define SOFTIOV_VFIO_USER_SESSION_H

#include "pci/function.h"
#include "util/clock.h"
#include "util/log.h"
#include "vfio_user/conn.h"
#include "vfio_user/remote.h"
#include "vfio_user/server.h"

/* What VFIO's region and interrupt numbering holds for a PCI device. */
#define VFU_NUM_REGIONS 9u /* BAR0-5, ROM, configuration space, VGA */
#define VFU_NUM_IRQS	5u /* INTx, MSI, MSI-X, ERR, REQ */

#define SESSION_TURN_NS (2 * NS_PER_MS)

struct vfu_session_config {
	const char *name; /* must outlive the session */
	struct pci_function *fn;
	struct dma_space *dma;
	struct vfu_remote *remote;
	const struct vfu_server_ops *ops;
	void *opaque;
};

struct vfu_session {
	struct vfu_conn conn;
	struct vfu_session_config cfg;
	bool negotiated;
	int fatal;	     /* -errno: the connection is to be closed */
	unsigned client_fds; /* the client takes so many in one message */
	uint64_t client_xfer;
	bool probe_valid; /* cfg.remote knows a readable address */
	uint64_t probe_iova;
	uint64_t messages, errors;
	struct log_limit bad_message, bad_map;
};

/* Takes fd. */
void vfu_session_init(struct vfu_session *s, int fd, const struct vfu_session_config *cfg);
/* Closes the connection; the dma_space stays the caller's. */
void vfu_session_fini(struct vfu_session *s);

/*
 * Handles up to budget messages, but none more after SESSION_TURN_NS: a message may cost a
 * microsecond or a millisecond, and other clients wait. 1: there may be more; 0: nothing more to
 * read now, or so much waits to be sent that reading pauses; -errno: close the connection
 * (-ECONNRESET: the peer did).
 */
int vfu_session_run(struct vfu_session *s, unsigned budget);

/* Answers m with a payload of up to two parts; nothing is sent for NO_REPLY. */
void vfu_reply(struct vfu_session *s, const struct vfu_msg *m, const void *a, size_t alen,
	       const void *b, size_t blen);
void vfu_reply_fds(struct vfu_session *s, const struct vfu_msg *m, const void *a, size_t alen,
		   const void *b, size_t blen, const int *fds, unsigned nfds);
/* A structure that begins with argsz: cut to the client's argsz where that is smaller. */
void vfu_reply_argsz(struct vfu_session *s, const struct vfu_msg *m, const void *reply, size_t len,
		     uint32_t argsz);

/* Handlers; each is called with at least its command's fixed payload in m. */
int vfu_handle_version(struct vfu_session *s, struct vfu_msg *m);
int vfu_handle_dma_map(struct vfu_session *s, struct vfu_msg *m);
int vfu_handle_dma_unmap(struct vfu_session *s, struct vfu_msg *m);
int vfu_handle_device_info(struct vfu_session *s, struct vfu_msg *m);
int vfu_handle_region_info(struct vfu_session *s, struct vfu_msg *m);
int vfu_handle_region_io_fds(struct vfu_session *s, struct vfu_msg *m);
int vfu_handle_irq_info(struct vfu_session *s, struct vfu_msg *m);
int vfu_handle_set_irqs(struct vfu_session *s, struct vfu_msg *m);
int vfu_handle_region_read(struct vfu_session *s, struct vfu_msg *m);
int vfu_handle_region_write(struct vfu_session *s, struct vfu_msg *m);
int vfu_handle_region_write_multi(struct vfu_session *s, struct vfu_msg *m);
int vfu_handle_reset(struct vfu_session *s, struct vfu_msg *m);

/* The size of a region of the function; 0 when it is not implemented. */
uint64_t vfu_region_size(const struct vfu_session *s, uint32_t index);

#endif
