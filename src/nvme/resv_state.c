/* SPDX-License-Identifier: BSD-3-Clause */
/* The rules of reservations (Base 1.4, 6.10 to 6.13 and 8.8). */
#include <string.h>

#include "nvme/resv_private.h"
#include "nvme/status_private.h"
#include "util/util.h"

#define INVALID	 NVME_ST_GENERIC(NVME_SC_INVALID_FIELD)
#define CONFLICT NVME_ST_GENERIC(NVME_SC_RESERVATION_CONFLICT)

const char *nvme_resv_type_name(uint8_t rtype)
{
	static const char *const names[] = {
		[NVME_RESERVATION_RTYPE_WE] = "write exclusive",
		[NVME_RESERVATION_RTYPE_EA] = "exclusive access",
		[NVME_RESERVATION_RTYPE_WERO] = "write exclusive, registrants only",
		[NVME_RESERVATION_RTYPE_EARO] = "exclusive access, registrants only",
		[NVME_RESERVATION_RTYPE_WEAR] = "write exclusive, all registrants",
		[NVME_RESERVATION_RTYPE_EAAR] = "exclusive access, all registrants",
	};

	return rtype < ARRAY_SIZE(names) ? names[rtype] : NULL;
}

static bool type_ok(uint8_t rtype)
{
	return rtype >= NVME_RESERVATION_RTYPE_WE && rtype <= NVME_RESERVATION_RTYPE_EAAR;
}

static bool all_registrants(uint8_t rtype)
{
	return rtype == NVME_RESERVATION_RTYPE_WEAR || rtype == NVME_RESERVATION_RTYPE_EAAR;
}

/* Registrants other than the holder have rights by it: they are told when it goes (8.8.1). */
static bool concerns_registrants(uint8_t rtype)
{
	return rtype >= NVME_RESERVATION_RTYPE_WERO;
}

bool nvme_resv_host_nameless(const struct nvme_resv_host *h)
{
	static const uint8_t none[16];

	return !memcmp(h->id, none, sizeof(none));
}

bool nvme_resv_same_host(const struct nvme_resv_host *a, const struct nvme_resv_host *b)
{
	if (nvme_resv_host_nameless(a) || nvme_resv_host_nameless(b))
		return nvme_resv_host_nameless(a) && nvme_resv_host_nameless(b) &&
		       a->cntlid == b->cntlid;
	return a->extended == b->extended && !memcmp(a->id, b->id, sizeof(a->id));
}

static struct nvme_registrant *find(struct nvme_resv_state *s, const struct nvme_resv_host *who)
{
	for (unsigned i = 0; i < s->n; i++)
		if (nvme_resv_same_host(&s->r[i].host, who))
			return &s->r[i];
	return NULL;
}

const struct nvme_registrant *nvme_resv_find(const struct nvme_resv_state *s,
					     const struct nvme_resv_host *who)
{
	return find((struct nvme_resv_state *)s, who);
}

bool nvme_resv_holds(const struct nvme_resv_state *s, const struct nvme_registrant *r)
{
	return s->rtype && (all_registrants(s->rtype) || r->holder);
}

/* The registrant, if the host is one and gives its key. */
static struct nvme_registrant *find_with_key(struct nvme_resv_state *s,
					     const struct nvme_resv_host *who, uint64_t key)
{
	struct nvme_registrant *r = find(s, who);

	return r && r->key == key ? r : NULL;
}

/* ---- telling ---- */

static void tell_others(const struct nvme_resv_state *s, const struct nvme_resv_host *but,
			uint8_t type, nvme_resv_tell tell, void *opaque)
{
	for (unsigned i = 0; tell && i < s->n; i++)
		if (!nvme_resv_same_host(&s->r[i].host, but))
			tell(opaque, &s->r[i].host, type);
}

/* ---- steps ---- */

static void drop_reservation(struct nvme_resv_state *s)
{
	s->rtype = 0;
	for (unsigned i = 0; i < s->n; i++)
		s->r[i].holder = false;
}

static void hold(struct nvme_resv_state *s, struct nvme_registrant *r, uint8_t rtype)
{
	drop_reservation(s);
	s->rtype = rtype;
	r->holder = true;
}

/* A release by `by`, whatever the way to it (8.8.6). */
static void release(struct nvme_resv_state *s, const struct nvme_resv_host *by, nvme_resv_tell tell,
		    void *opaque)
{
	uint8_t was = s->rtype;

	drop_reservation(s);
	if (concerns_registrants(was))
		tell_others(s, by, NVME_RESV_NOTIFY_RNLPT_RESERVATION_RELEASED, tell, opaque);
}

static uint16_t add(struct nvme_resv_state *s, const struct nvme_resv_host *who, uint64_t key)
{
	if (s->n == NVME_REGISTRANTS_MAX)
		return NVME_ST_GENERIC(NVME_SC_INTERNAL);
	s->r[s->n++] = (struct nvme_registrant){.host = *who, .key = key};
	return 0;
}

static void cut_out(struct nvme_resv_state *s, unsigned i)
{
	s->n--;
	memmove(&s->r[i], &s->r[i + 1], (s->n - i) * sizeof(s->r[0]));
}

/*
 * A holder that goes takes the reservation with it; that of all registrants goes with the last one
 * (8.8.5).
 */
static void remove_registrant(struct nvme_resv_state *s, struct nvme_registrant *r,
			      nvme_resv_tell tell, void *opaque)
{
	struct nvme_resv_host host = r->host;
	bool ends = all_registrants(s->rtype) ? s->n == 1 : s->rtype && r->holder;

	cut_out(s, (unsigned)(r - s->r));
	if (ends)
		release(s, &host, tell, opaque);
}

bool nvme_resv_forget(struct nvme_resv_state *s, const struct nvme_resv_host *who,
		      nvme_resv_tell tell, void *opaque)
{
	struct nvme_registrant *r = find(s, who);

	if (!r)
		return false;
	remove_registrant(s, r, tell, opaque);
	return true;
}

/* ---- Reservation Register (6.11) ---- */

static uint16_t register_new(struct nvme_resv_state *s, const struct nvme_resv_host *who,
			     const struct nvme_resv_args *a)
{
	struct nvme_registrant *r = find(s, who);

	if (!a->other)
		return INVALID;
	if (r)
		return r->key == a->other ? 0 : CONFLICT;
	return add(s, who, a->other);
}

static uint16_t unregister(struct nvme_resv_state *s, const struct nvme_resv_host *who,
			   const struct nvme_resv_args *a)
{
	struct nvme_registrant *r = find(s, who);

	if (!r || (!a->iekey && r->key != a->crkey))
		return CONFLICT;
	remove_registrant(s, r, a->tell, a->opaque);
	return 0;
}

/* With IEKEY whatever the host's registration is now, or is not. */
static uint16_t replace(struct nvme_resv_state *s, const struct nvme_resv_host *who,
			const struct nvme_resv_args *a)
{
	struct nvme_registrant *r = find(s, who);

	if (!a->other)
		return INVALID;
	if (!r && a->iekey)
		return add(s, who, a->other);
	if (!r || (!a->iekey && r->key != a->crkey))
		return CONFLICT;
	r->key = a->other;
	return 0;
}

static uint16_t check_cptpl(const struct nvme_resv_args *a)
{
	switch (a->cptpl) {
	case NVME_RESERVATION_CPTPL_NO_CHANGE:
	case NVME_RESERVATION_CPTPL_CLEAR:
		return 0;
	case NVME_RESERVATION_CPTPL_PERSIST:
		return a->can_persist ? 0 : INVALID;
	default:
		return INVALID;
	}
}

uint16_t nvme_resv_register(struct nvme_resv_state *s, const struct nvme_resv_host *who,
			    const struct nvme_resv_args *a)
{
	uint16_t st = check_cptpl(a);

	if (st)
		return st;
	switch (a->action) {
	case NVME_RESERVATION_RREGA_REGISTER_KEY:
		st = register_new(s, who, a);
		break;
	case NVME_RESERVATION_RREGA_UNREGISTER_KEY:
		st = unregister(s, who, a);
		break;
	case NVME_RESERVATION_RREGA_REPLACE_KEY:
		st = replace(s, who, a);
		break;
	default:
		return INVALID;
	}
	if (st)
		return st;
	if (a->cptpl)
		s->ptpl = a->cptpl == NVME_RESERVATION_CPTPL_PERSIST;
	s->generation++;
	return 0;
}

/* ---- Reservation Acquire (6.10) ---- */

static uint16_t acquire(struct nvme_resv_state *s, struct nvme_registrant *r, uint8_t rtype)
{
	if (!s->rtype) {
		hold(s, r, rtype);
		return 0;
	}
	/* again, by who has it */
	return nvme_resv_holds(s, r) && s->rtype == rtype ? 0 : CONFLICT;
}

/* Unregisters those with this key (any: whatever it is), but for one; how many. The reservation is
 * not looked at. */
static unsigned remove_by_key(struct nvme_resv_state *s, const struct nvme_resv_host *but, bool any,
			      uint64_t key, const struct nvme_resv_args *a,
			      const struct nvme_resv_host *by)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n;) {
		struct nvme_resv_host host = s->r[i].host;

		if ((!any && s->r[i].key != key) || (but && nvme_resv_same_host(&host, but))) {
			i++;
			continue;
		}
		cut_out(s, i);
		n++;
		if (a->tell && !nvme_resv_same_host(&host, by))
			a->tell(a->opaque, &host, NVME_RESV_NOTIFY_RNLPT_REGISTRATION_PREEMPTED);
	}
	return n;
}

static bool is_registered_key(const struct nvme_resv_state *s, uint64_t key)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->r[i].key == key)
			return true;
	return false;
}

static bool is_holders_key(const struct nvme_resv_state *s, uint64_t key)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->r[i].holder && s->r[i].key == key)
			return true;
	return false;
}

/* Takes the reservation over (8.8.7). Who stays registered is told if what it could do by the old
 * one is over. */
static void take_over(struct nvme_resv_state *s, const struct nvme_resv_host *who, bool any,
		      const struct nvme_resv_args *a)
{
	uint8_t was = s->rtype;

	remove_by_key(s, who, any, a->other, a, who);
	hold(s, find(s, who), a->rtype);
	if (was != a->rtype && concerns_registrants(was))
		tell_others(s, who, NVME_RESV_NOTIFY_RNLPT_RESERVATION_RELEASED, a->tell,
			    a->opaque);
}

/* Registrations only. One that unregisters itself so may have been the last. */
static void remove_registrations(struct nvme_resv_state *s, const struct nvme_resv_host *who,
				 const struct nvme_resv_args *a)
{
	remove_by_key(s, NULL, false, a->other, a, who);
	if (all_registrants(s->rtype) && !s->n)
		drop_reservation(s);
}

static uint16_t preempt(struct nvme_resv_state *s, const struct nvme_resv_host *who,
			const struct nvme_resv_args *a)
{
	bool all = all_registrants(s->rtype);

	if (all && !a->other) {
		take_over(s, who, true, a);
	} else if (!a->other) {
		return INVALID;
	} else if (!all && s->rtype && is_holders_key(s, a->other)) {
		take_over(s, who, false, a);
	} else {
		if (!is_registered_key(s, a->other))
			return CONFLICT;
		remove_registrations(s, who, a);
	}
	s->generation++;
	return 0;
}

uint16_t nvme_resv_acquire(struct nvme_resv_state *s, const struct nvme_resv_host *who,
			   const struct nvme_resv_args *a)
{
	struct nvme_registrant *r;

	if (a->iekey || !type_ok(a->rtype) || a->action > NVME_RESERVATION_RACQA_PREEMPT_AND_ABORT)
		return INVALID;
	r = find_with_key(s, who, a->crkey);
	if (!r)
		return CONFLICT;
	if (a->action == NVME_RESERVATION_RACQA_ACQUIRE)
		return acquire(s, r, a->rtype);
	return preempt(s, who, a);
}

/* ---- Reservation Release (6.13) ---- */

static uint16_t release_own(struct nvme_resv_state *s, const struct nvme_registrant *r,
			    const struct nvme_resv_args *a)
{
	struct nvme_resv_host who = r->host;

	/* Nothing to do is no error (8.8.6). */
	if (!nvme_resv_holds(s, r))
		return 0;
	if (a->rtype != s->rtype)
		return INVALID;
	release(s, &who, a->tell, a->opaque);
	return 0;
}

static void clear(struct nvme_resv_state *s, const struct nvme_resv_host *who,
		  const struct nvme_resv_args *a)
{
	tell_others(s, who, NVME_RESV_NOTIFY_RNLPT_RESERVATION_PREEMPTED, a->tell, a->opaque);
	s->rtype = 0;
	s->n = 0;
	s->generation++;
}

uint16_t nvme_resv_release(struct nvme_resv_state *s, const struct nvme_resv_host *who,
			   const struct nvme_resv_args *a)
{
	const struct nvme_registrant *r;

	if (a->iekey || a->action > NVME_RESERVATION_RRELA_CLEAR)
		return INVALID;
	r = find_with_key(s, who, a->crkey);
	if (!r)
		return CONFLICT;
	if (a->action == NVME_RESERVATION_RRELA_RELEASE)
		return release_own(s, r, a);
	clear(s, who, a);
	return 0;
}
