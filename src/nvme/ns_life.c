/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a namespace changes its size, and how it ends. Both may have to wait for commands that are
 * inside; nobody waits with them, it goes on in the background.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nvme/subsystem_private.h"
#include "util/clock.h"
#include "util/util.h"

#define END_LOOK_US 200

static uint64_t bytes_of(const struct nvme_ns *ns)
{
	return atomic_load(&ns->blocks) << ns->block_shift;
}

static void set_bytes(struct nvme_ns *ns, uint64_t bytes)
{
	uint64_t blocks = bytes >> ns->block_shift;

	if (atomic_exchange(&ns->blocks, blocks) != blocks)
		nvme_ns_tell(ns);
}

/* ---- size ---- */

/* The pool's account follows what the backend has. */
static int resize_backend(struct nvme_ns *ns, uint64_t size, char *why, size_t why_len)
{
	struct nvme_pool *pool = &ns->subsystem->ns_pool;
	uint64_t was = block_size(ns->backend);
	int r = 0;

	if (ns->from_pool && size > was)
		r = nvme_pool_take(pool, size - was, why, why_len);
	if (r)
		return r;
	r = block_resize(ns->backend, size, why, why_len);
	if (ns->from_pool && r && size > was)
		nvme_pool_give(pool, size - was);
	if (ns->from_pool && !r && size < was)
		nvme_pool_give(pool, was - size);
	return r;
}

/* Nobody is inside, and nobody will go beyond the new end. */
static void shrink_drained(void *opaque)
{
	struct nvme_ns *ns = opaque;
	char why[256] = "";
	int r = 0;

	if (ns->admin->busy == NVME_NS_SHRINKING) {
		ns->admin->busy = NVME_NS_IDLE;
		r = resize_backend(ns, ns->admin->shrink_to, why, sizeof(why));
	}
	if (r) {
		log_warn("%s/ns%u was not shrunk: %s", ns->subsystem->name, ns->nsid,
			 why[0] ? why : strerror(-r));
		set_bytes(ns, block_size(ns->backend));
	}
	nvme_gate_open(ns->gate);
}

/* The end moves first: what comes from now on sees it. */
static void shrink(struct nvme_ns *ns, uint64_t size)
{
	ns->admin->busy = NVME_NS_SHRINKING;
	ns->admin->shrink_to = size;
	set_bytes(ns, size);
	nvme_gate_close(ns->gate, shrink_drained, ns);
}

/* What block_resize() would refuse is refused before the guests are told. Of a device less may be
 * used than there is. */
static int check_shrink(const struct nvme_ns *ns, char *why, size_t why_len)
{
	enum block_type type = block_get_config(ns->backend)->type;

	if (type == BLOCK_DEVICE || (type != BLOCK_NBD && !ns->read_only))
		return 0;
	snprintf(why, why_len, "%s/ns%u: %s", ns->subsystem->name, ns->nsid,
		 type == BLOCK_NBD ? "its size is that of its server's disk" : "it is read-only");
	return type == BLOCK_NBD ? -ENOTSUP : -EROFS;
}

/* Looks what the backend has by now. */
static int refresh(struct nvme_ns *ns, char *why, size_t why_len)
{
	int r = 0;

	switch (block_get_config(ns->backend)->type) {
	case BLOCK_DEVICE:
		r = block_resize(ns->backend, 0, why, why_len);
		break;
	case BLOCK_NBD: /* which tells by itself */
		break;
	default:
		snprintf(why, why_len, "%s/ns%u: give the size that it is to have",
			 ns->subsystem->name, ns->nsid);
		return -EINVAL;
	}
	if (!r)
		set_bytes(ns, block_size(ns->backend));
	return r;
}

static int check_resize(const struct nvme_ns *ns, uint64_t size, char *why, size_t why_len)
{
	uint32_t block = 1u << ns->block_shift;

	if (ns->admin->busy != NVME_NS_IDLE) {
		snprintf(why, why_len, "%s/ns%u is being %s: try again when that is done",
			 ns->subsystem->name, ns->nsid,
			 ns->admin->busy == NVME_NS_FORMATTING ? "formatted" : "shrunk");
		return -EBUSY;
	}
	if (size % block || size > INT64_MAX) {
		snprintf(why, why_len,
			 "%s/ns%u: a size of %" PRIu64 " bytes is not whole blocks of %u",
			 ns->subsystem->name, ns->nsid, size, block);
		return -EINVAL;
	}
	return 0;
}

int nvme_ns_resize(struct nvme_subsystem *ss, uint32_t nsid, uint64_t size, char *why,
		   size_t why_len)
{
	struct nvme_ns *ns = nvme_subsystem_ns(ss, nsid);
	int r;

	if (!ns) {
		snprintf(why, why_len, "%s/ns%u: there is no such namespace", ss->name, nsid);
		return -ENOENT;
	}
	r = check_resize(ns, size, why, why_len);
	if (r)
		return r;
	if (!size)
		return refresh(ns, why, why_len);
	if (ns->from_pool)
		size = align_up(size, NVME_POOL_ALIGN);
	if (size == block_size(ns->backend))
		return 0;
	if (size < bytes_of(ns)) {
		r = check_shrink(ns, why, why_len);
		if (!r)
			shrink(ns, size);
		return r;
	}
	r = resize_backend(ns, size, why, why_len);
	if (!r)
		set_bytes(ns, size);
	return r;
}

void nvme_ns_backend_resized(void *opaque, uint64_t size)
{
	struct nvme_ns *ns = opaque;

	/* The others look at the size themselves when they have done. */
	if (ns->subsystem && ns->admin->busy == NVME_NS_IDLE)
		set_bytes(ns, size);
}

/* ---- the end ---- */

static void forget_ending(struct nvme_ns *ns)
{
	struct nvme_ns **p = &ns->subsystem->ending;

	while (*p != ns)
		p = &(*p)->admin->next_ending;
	*p = ns->admin->next_ending;
}

/* Nobody is inside, and no worker knows it any more. */
static void end_drained(void *opaque)
{
	struct nvme_ns *ns = opaque;
	void (*ended)(void *opaque) = ns->admin->ended;
	void *ended_opaque = ns->admin->ended_opaque;

	if (ns->subsystem)
		forget_ending(ns);
	nvme_ns_free(ns);
	if (ended)
		ended(ended_opaque);
}

static void detach_all(struct nvme_ns *ns)
{
	struct nvme_subsystem *ss = ns->subsystem;

	nvme_subsystem_publish(ss, ns->nsid, NULL);
	ss->ns[ns->nsid - 1] = NULL;
	for (unsigned i = 0; i < ss->n_ctrls; i++)
		ss->ctrls[i]->resv_mask[ns->nsid - 1] = 0;
	nvme_ns_tell(ns);
	ns->n_attached = 0;
}

void nvme_ns_end(struct nvme_ns *ns, void (*ended)(void *opaque), void *opaque)
{
	struct nvme_subsystem *ss = ns->subsystem;
	struct nvme_ns_admin *a = ns->admin;

	detach_all(ns);
	a->busy = NVME_NS_ENDING;
	a->ended = ended;
	a->ended_opaque = opaque;
	a->next_ending = ss->ending;
	ss->ending = ns;
	if (a->erase)
		nvme_erase_cancel(a->erase);
	nvme_gate_close(ns->gate, end_drained, ns);
}

int nvme_ns_delete(struct nvme_subsystem *ss, uint32_t nsid, bool force, char *why, size_t why_len)
{
	struct nvme_ns *ns = nvme_subsystem_ns(ss, nsid);

	if (!ns) {
		snprintf(why, why_len, "%s/ns%u: there is no such namespace", ss->name, nsid);
		return -ENOENT;
	}
	if (ns->n_attached && !force) {
		snprintf(why, why_len, "%s/ns%u is attached to %u controllers: detach it first",
			 ss->name, nsid, ns->n_attached);
		return -EBUSY;
	}
	if (ns->from_pool)
		nvme_pool_remove(&ss->ns_pool, block_get_config(ns->backend));
	nvme_ns_end(ns, NULL, NULL);
	return 0;
}

void nvme_ns_withdraw(struct nvme_subsystem *ss, uint32_t nsid, bool undo)
{
	struct nvme_ns *ns = nvme_subsystem_ns(ss, nsid);

	if (!ns)
		return;
	ns->admin->undo = undo;
	nvme_ns_end(ns, NULL, NULL);
}

/* What the mailbox would bring, which is not read here: its other letters are for a world that is
 * being taken down. True if the namespace may have gone. */
static bool look(struct nvme_ns *ns)
{
	struct nvme_erase *erase = ns->admin->erase;

	if (erase)
		return nvme_erase_reap(erase);
	ns->gate->left.run(&ns->gate->left);
	return true;
}

static void look_at_all(struct nvme_subsystem *ss)
{
	struct nvme_ns *ns = ss->ending;

	while (ns) {
		struct nvme_ns *next = ns->admin->next_ending;

		look(ns);
		ns = next;
	}
}

/* A backend that hangs may not hold up the daemon's end for ever. Its namespace frees itself if it
 * ever goes on. */
static void abandon_all(struct nvme_subsystem *ss)
{
	while (ss->ending) {
		struct nvme_ns *ns = ss->ending;

		log_warn("%s/ns%u: commands are still under way at its backend; left behind",
			 ss->name, ns->nsid);
		ss->ending = ns->admin->next_ending;
		ns->subsystem = NULL;
	}
}

void nvme_ns_end_all(struct nvme_subsystem *ss)
{
	uint64_t deadline = clock_now_ns() + NVME_NS_END_MS * NS_PER_MS;

	for (unsigned i = 0; i < ss->nn; i++)
		if (ss->ns[i])
			nvme_ns_end(ss->ns[i], NULL, NULL);
	look_at_all(ss);
	while (ss->ending && clock_now_ns() < deadline) {
		usleep(END_LOOK_US);
		look_at_all(ss);
	}
	abandon_all(ss);
}
