/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reservations (Base 1.4, 8.8) in three parts: the rules, without anything around them
 * (resv_state.c); the file that keeps them (resv_store.c); the commands, and what workers see of it
 * all (resv.c). Control thread.
 */
#ifndef SOFTIOV_NVME_RESV_PRIVATE_H
#define SOFTIOV_NVME_RESV_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "spec/nvme_spec.h"

struct nvme_subsystem;
struct nvme_ns;

#define NVME_REGISTRANTS_MAX 256    /* of a namespace: a host may call itself ever new names */
#define NVME_RESV_NO_CTRL    0xffff /* CNTLID of a registrant that has no controller here now */
#define NVME_RESV_NOTES_MAX  64	    /* a controller's notifications that nobody has read */

/* ---- the rules ---- */

/* A host, as its controllers say who it is (feature 81h). One that says nothing is a host of its
 * own on each controller, and is forgotten when that is reset (5.21.1.19). */
struct nvme_resv_host {
	uint8_t id[16];
	bool extended;	 /* of 16 bytes, not 8 */
	uint16_t cntlid; /* of the nameless; else 0 */
};

struct nvme_registrant {
	struct nvme_resv_host host;
	uint64_t key;
	bool holder; /* not for the All Registrants types: there everybody is */
};

struct nvme_resv_state {
	uint32_t generation;
	bool ptpl;
	uint8_t rtype; /* 0: not reserved */
	unsigned n;
	struct nvme_registrant r[NVME_REGISTRANTS_MAX];
};

/* To be told (log page 80h) to a host: its notification type. */
typedef void (*nvme_resv_tell)(void *opaque, const struct nvme_resv_host *host, uint8_t type);

struct nvme_resv_args {
	uint8_t action; /* RREGA, RACQA, RRELA */
	bool iekey;
	uint8_t rtype;
	uint8_t cptpl;
	bool can_persist;
	uint64_t crkey, other; /* NRKEY or PRKEY */
	nvme_resv_tell tell;
	void *opaque;
};

/* Each checks everything, then changes; a status other than 0 has changed nothing. */
uint16_t nvme_resv_register(struct nvme_resv_state *s, const struct nvme_resv_host *who,
			    const struct nvme_resv_args *a);
uint16_t nvme_resv_acquire(struct nvme_resv_state *s, const struct nvme_resv_host *who,
			   const struct nvme_resv_args *a);
uint16_t nvme_resv_release(struct nvme_resv_state *s, const struct nvme_resv_host *who,
			   const struct nvme_resv_args *a);
/* The host is no registrant any more, if it was one. True if it was. */
bool nvme_resv_forget(struct nvme_resv_state *s, const struct nvme_resv_host *who,
		      nvme_resv_tell tell, void *opaque);
const struct nvme_registrant *nvme_resv_find(const struct nvme_resv_state *s,
					     const struct nvme_resv_host *who);
bool nvme_resv_holds(const struct nvme_resv_state *s, const struct nvme_registrant *r);
bool nvme_resv_host_nameless(const struct nvme_resv_host *h);
/* Identifiers of 8 and of 16 bytes are never the same. */
bool nvme_resv_same_host(const struct nvme_resv_host *a, const struct nvme_resv_host *b);
const char *nvme_resv_type_name(uint8_t rtype); /* NULL: not reserved */

/* ---- the file ---- */

struct nvme_resv_store;

/* What the file says; nothing if it is not there. 0 or -errno with a sentence in why: a fence is
 * not dropped because its file cannot be read. */
int nvme_resv_store_load(const char *path, struct nvme_resv_state *out, char *why, size_t why_len);
/* saved(): everything up to seq is on stable storage, or (result) could not be put there. */
int nvme_resv_store_open(const char *path, void (*saved)(void *opaque, uint64_t seq, int result),
			 void *opaque, struct nvme_resv_store **out);
/* What is being written is written to its end. */
void nvme_resv_store_close(struct nvme_resv_store *st);
/* Begins to write, on a thread of its own; 0 without memory, else the number that saved() gives. */
uint64_t nvme_resv_store_save(struct nvme_resv_store *st, const struct nvme_resv_state *s);
const char *nvme_resv_store_path(const struct nvme_resv_store *st);

/* ---- a controller's notifications ---- */

struct nvme_resv_notes {
	uint64_t count; /* ever; of the newest */
	unsigned n, first;
	struct nvme_resv_note {
		uint64_t count;
		uint32_t nsid;
		uint8_t type;
	} ring[NVME_RESV_NOTES_MAX];
};

/* ---- resv.c, for the rest of the subsystem ---- */

int nvme_resv_create(struct nvme_ns *ns, const char *path, char *why, size_t why_len);
/* Commands that wait are answered. */
void nvme_resv_destroy(struct nvme_ns *ns);
const char *nvme_resv_path(const struct nvme_ns *ns); /* of its file; NULL: none */
unsigned nvme_resv_registrants(const struct nvme_ns *ns);
const char *nvme_resv_held(const struct nvme_ns *ns); /* type in words, or NULL */
bool nvme_resv_persists(const struct nvme_ns *ns);    /* RESCAP */
/* The controller is gone from the subsystem. */
void nvme_resv_ctrl_gone(struct nvme_subsystem *ss, uint16_t cntlid);

#endif
