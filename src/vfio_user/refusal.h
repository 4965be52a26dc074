/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients that come to an endpoint which cannot take them. QEMU 11.1 ends by an assertion, and with
 * it the running VM that a device was to be plugged into, when its first message meets a closed
 * connection. So a refused client is heard out as far as VERSION, and answered with the reason's
 * errno. Control thread. Private to src/vfio_user.
 */
#ifndef SOFTIOV_VFIO_USER_REFUSAL_H
#define SOFTIOV_VFIO_USER_REFUSAL_H

#include <stdbool.h>

#include <systemd/sd-event.h>

/* More at a time are just closed. */
#define VFU_REFUSALS_MAX 4

struct vfu_refusal {
	sd_event_source *source, *timer; /* NULL: free */
	int fd;
	int error;	       /* errno */
	unsigned char msg[16]; /* the header of its first message, as far as it came */
	unsigned have;
	unsigned skip; /* bytes of its body still to come */
	bool told;
};

struct vfu_refusals {
	struct vfu_refusal client[VFU_REFUSALS_MAX];
};

/* Takes the connection over and ends it in due time; err is the reason, negative. */
void vfu_refuse(struct vfu_refusals *r, sd_event *event, int fd, int err);
/* Ends all of them now. */
void vfu_refusals_end(struct vfu_refusals *r);

#endif
