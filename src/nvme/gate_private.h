/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gate of a namespace: counts the commands that are inside, per worker and without shared
 * cache lines, and can be closed, so that who wants the namespace alone (Format, deletion, shrinking, a
 * fused Compare and Write) gets it once the last one has left. Commands that find it closed are
 * parked by their queue and tried again when it opens.
 */
#ifndef SOFTIOV_NVME_GATE_PRIVATE_H
#define SOFTIOV_NVME_GATE_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

struct nvme_gate;

/* Control. */
int nvme_gate_create(struct nvme_gate **out);
void nvme_gate_destroy(struct nvme_gate *g); /* nobody inside or parked */

/* On a worker; slot is the number of its block_channel. False: closed, park the command and call
 * nvme_gate_wait() for its group. */
bool nvme_gate_enter(struct nvme_gate *g, unsigned slot);
void nvme_gate_leave(struct nvme_gate *g, unsigned slot);

/* Closes; drained(opaque) comes on the control thread when nobody is inside (maybe within this
 * call). Closings nest in order: the next begins when the one before opens. Control. */
void nvme_gate_close(struct nvme_gate *g, void (*drained)(void *opaque), void *opaque);
void nvme_gate_open(struct nvme_gate *g);

#endif
