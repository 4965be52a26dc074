/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A server around the toy function, its loop on a thread of its own, and helpers for the wire.
 * Tests meet the server through its socket path only, so that another server can stand there.
 */
#ifndef SOFTIOV_TESTS_PROTO_FIXTURE_H
#define SOFTIOV_TESTS_PROTO_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* cmocka.h needs the four above */
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <systemd/sd-event.h>

#include "toy.h"
#include "vfio_user/client.h"
#include "vfio_user/server.h"

#define MAP_RW (VFU_DMA_READABLE | VFU_DMA_WRITEABLE)

struct fixture {
	char dir[64];
	char path[96];
	struct toy toy;
	struct vfu_server *srv;
	sd_event *event;
	pthread_t thread;
	int call_fd;
	sem_t called;
	void (*call)(struct fixture *f, void *arg);
	void *call_arg;
	_Atomic unsigned attaches, detaches, irq_changes;
	_Atomic int refuse; /* errno that attach answers with */
};

int fixture_setup(void **state);
int fixture_teardown(void **state);
/* Runs call on the loop's thread. */
void fixture_run(struct fixture *f, void (*call)(struct fixture *f, void *arg), void *arg);
struct vfu_server_status fixture_status(struct fixture *f);
/* Until connected is as wanted; false after 5 s. */
bool fixture_wait(struct fixture *f, bool connected);

/* Connected, VERSION done. */
struct vfu_client *fixture_client(struct fixture *f);
/* Config: Bus Master (and Memory Space) on. */
void client_bus_master(struct vfu_client *c, bool on);
uint32_t client_read32(struct vfu_client *c, uint64_t off);
void client_write32(struct vfu_client *c, uint64_t off, uint32_t v);
void client_write64(struct vfu_client *c, uint64_t off, uint64_t v);
/* Programs and starts a copy; then waits for its end (answering memory requests) and returns
 * the engine's errno. */
void client_copy_start(struct vfu_client *c, uint64_t src, uint64_t dst, uint32_t len,
		       uint32_t mode);
int client_copy(struct vfu_client *c, uint64_t src, uint64_t dst, uint32_t len);

/* A memory file of size bytes, mapped at *p if p is not NULL. */
int memory_file(size_t size, uint8_t **p);
/* Waits at most ms for the eventfd; its count, 0 for none. */
uint64_t event_wait(int fd, int ms);

struct raw_reply {
	int len; /* of the message; 0: closed, or -errno */
	struct vfu_header hdr;
	uint8_t body[8192];
};

/* Sends one command with any payload and flags, size as is. */
int raw_send(struct vfu_client *c, uint16_t id, uint16_t command, uint32_t flags,
	     const void *payload, size_t len, const int *fds, unsigned nfds);
void raw_recv(struct vfu_client *c, struct raw_reply *r);
/* Both; the reply's errno (0: success), -1 when the connection closed. */
int raw_call(struct vfu_client *c, uint16_t command, const void *payload, size_t len,
	     const int *fds, unsigned nfds, struct raw_reply *r);
/* The server is alive and speaks: a fresh client can read the IDs. */
void assert_serving(struct fixture *f);
void assert_ids(struct vfu_client *c);

#endif
