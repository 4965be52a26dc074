/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reservations of namespaces: the commands (Base 1.4, 6.10 to 6.13), what workers see, and who is
 * told.
 *
 * A registrant is a host, known by its Host Identifier, on however many controllers. Workers check
 * commands against a list of the controllers that now belong to registrants; it is made anew
 * whenever a host, a controller or the reservation changes. Preempt and Abort lets what is under
 * way in the namespace end before it is complete; what comes meanwhile waits outside.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/subsystem_private.h"
#include "util/bytes.h"
#include "util/util.h"
#include "worker/worker.h"

#define INVALID	     NVME_ST_GENERIC(NVME_SC_INVALID_FIELD)
#define IEKEY	     (1u << 3) /* cdw10 */
#define KEYS_LEN     16
#define RELEASE_LEN  8
#define REPORT_EDS   1u /* cdw11 */
#define RCSTS_HOLDER 1u
#define MASK_BITS                                                                                  \
	(1u << NVME_RESV_NOTIFY_RNLPT_REGISTRATION_PREEMPTED |                                     \
	 1u << NVME_RESV_NOTIFY_RNLPT_RESERVATION_RELEASED |                                       \
	 1u << NVME_RESV_NOTIFY_RNLPT_RESERVATION_PREEMPTED)

/* A command about several namespaces: it is complete when all have done it. */
struct resv_many {
	struct nvme_command *cmd; /* NULL: its controller was reset */
	unsigned left;
	uint16_t status; /* the first that went wrong */
};

/* A command that waits for the file, or for others to leave. */
struct resv_wait {
	struct resv_wait *next;
	struct nvme_ns *ns;
	struct nvme_command *cmd; /* NULL: its controller was reset */
	struct resv_many *many;	  /* instead of cmd */
	uint64_t seq;		  /* of the file; 0: is there */
	bool draining;
	uint16_t status;
};

struct nvme_resv {
	struct nvme_resv_state st;
	struct nvme_resv_store *store; /* NULL: nothing is kept */
	struct resv_wait *waits;
};

/* ---- hosts and controllers ---- */

static struct nvme_resv_host host_of(const struct nvme_ctrl *ctrl)
{
	struct nvme_resv_host h = {.extended = ctrl->host_id_extended};

	memcpy(h.id, ctrl->host_id, sizeof(h.id));
	if (nvme_resv_host_nameless(&h))
		h = (struct nvme_resv_host){.cntlid = ctrl->cntlid};
	return h;
}

static bool same_view(const struct nvme_resv_view *a, const struct nvme_resv_view *b)
{
	if (!a || !b)
		return a == b;
	if (a->type != b->type || a->n != b->n)
		return false;
	for (unsigned i = 0; i < a->n; i++)
		if (a->members[i].cntlid != b->members[i].cntlid ||
		    a->members[i].holder != b->members[i].holder)
			return false;
	return true;
}

static struct nvme_resv_view *make_view(const struct nvme_ns *ns)
{
	const struct nvme_subsystem *ss = ns->subsystem;
	const struct nvme_resv_state *s = &ns->resv->st;
	struct nvme_resv_view *v = malloc(sizeof(*v) + ss->n_ctrls * sizeof(v->members[0]));

	if (!v)
		abort(); /* to go on would let in whom the reservation shuts out */
	v->type = s->rtype;
	v->n = 0;
	for (unsigned i = 0; i < ss->n_ctrls; i++) {
		struct nvme_resv_host host = host_of(ss->ctrls[i]->ctrl);
		const struct nvme_registrant *r = nvme_resv_find(s, &host);

		if (r)
			v->members[v->n++] = (struct nvme_resv_member){
				.cntlid = ss->ctrls[i]->ctrl->cntlid,
				.holder = nvme_resv_holds(s, r),
			};
	}
	return v;
}

/* What workers see becomes what is so. */
static void publish(struct nvme_ns *ns)
{
	struct nvme_resv_view *old = atomic_load(&ns->resv_view), *v;

	v = ns->resv->st.rtype ? make_view(ns) : NULL;
	if (same_view(old, v)) {
		free(v);
		return;
	}
	atomic_store(&ns->resv_view, v);
	worker_synchronize();
	free(old);
}

static const struct nvme_resv_member *find_member(const struct nvme_resv_view *v, uint16_t cntlid)
{
	unsigned lo = 0, hi = v->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (v->members[mid].cntlid == cntlid)
			return &v->members[mid];
		if (v->members[mid].cntlid < cntlid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

bool nvme_resv_forbids_slow(const struct nvme_resv_view *v, uint16_t cntlid, enum nvme_access a)
{
	const struct nvme_resv_member *m = find_member(v, cntlid);

	/* Figure "Command Behavior in the Presence of a Reservation" (8.8) */
	switch (v->type) {
	case NVME_RESERVATION_RTYPE_WE:
		return a == NVME_ACCESS_WRITE && !(m && m->holder);
	case NVME_RESERVATION_RTYPE_EA:
		return !(m && m->holder);
	case NVME_RESERVATION_RTYPE_WERO:
	case NVME_RESERVATION_RTYPE_WEAR:
		return a == NVME_ACCESS_WRITE && !m;
	default: /* Exclusive Access, for all registrants */
		return !m;
	}
}

/* ---- notifications ---- */

static void note(struct nvme_ss_ctrl *sc, uint32_t nsid, uint8_t type)
{
	struct nvme_resv_notes *n = &sc->notes;
	unsigned at = (n->first + n->n) % NVME_RESV_NOTES_MAX;

	if (sc->resv_mask[nsid - 1] & BIT(type))
		return;
	/* The oldest is lost; the count tells the host (5.14.1.16.1). */
	if (n->n == NVME_RESV_NOTES_MAX)
		n->first = (n->first + 1) % NVME_RESV_NOTES_MAX;
	else
		n->n++;
	n->count++;
	n->ring[at] = (struct nvme_resv_note){n->count, nsid, type};
	nvme_event_post(sc->ctrl, NVME_AER_CSS, NVME_AER_CSS_NVM_RESERVATION,
			NVME_LOG_LID_RESERVATION);
}

static void tell_host(void *opaque, const struct nvme_resv_host *host, uint8_t type)
{
	struct nvme_ns *ns = opaque;
	const struct nvme_subsystem *ss = ns->subsystem;

	for (unsigned i = 0; i < ss->n_ctrls; i++) {
		struct nvme_ss_ctrl *sc = ss->ctrls[i];
		struct nvme_resv_host h = host_of(sc->ctrl);

		if (nvme_resv_same_host(host, &h) && nvme_ns_is_attached(ns, sc->ctrl->cntlid))
			note(sc, ns->nsid, type);
	}
}

int nvme_resv_take_notification(struct nvme_ctrl *ctrl, struct nvme_resv_notification_log *page)
{
	struct nvme_ss_ctrl *sc = nvme_subsystem_find(ctrl->subsystem, ctrl->cntlid);
	struct nvme_resv_notes *n = &sc->notes;
	const struct nvme_resv_note *oldest = &n->ring[n->first];

	memset(page, 0, sizeof(*page));
	if (!n->n)
		return -ENOENT;
	page->lpc = htole64(oldest->count);
	page->rnlpt = oldest->type;
	page->nsid = htole32(oldest->nsid);
	n->first = (n->first + 1) % NVME_RESV_NOTES_MAX;
	n->n--;
	page->nalp = (uint8_t)n->n;
	return 0;
}

uint16_t nvme_resv_get_mask(struct nvme_ns *ns, struct nvme_ctrl *ctrl, uint32_t *mask)
{
	*mask = nvme_subsystem_find(ns->subsystem, ctrl->cntlid)->resv_mask[ns->nsid - 1];
	return 0;
}

uint16_t nvme_resv_set_mask(struct nvme_ns *ns, struct nvme_ctrl *ctrl, uint32_t mask)
{
	nvme_subsystem_find(ns->subsystem, ctrl->cntlid)->resv_mask[ns->nsid - 1] =
		(uint8_t)(mask & MASK_BITS);
	return 0;
}

/* ---- commands that wait ---- */

static struct resv_wait *wait_new(struct nvme_ns *ns, struct nvme_command *cmd)
{
	struct resv_wait *w = calloc(1, sizeof(*w));

	if (w)
		*w = (struct resv_wait){.ns = ns, .cmd = cmd};
	return w;
}

static void wait_cancel(struct nvme_command *cmd)
{
	((struct resv_wait *)cmd->opaque)->cmd = NULL;
}

static void wait_begin(struct resv_wait *w)
{
	struct nvme_resv *resv = w->ns->resv;

	if (w->cmd) {
		w->cmd->opaque = w;
		w->cmd->cancel = wait_cancel;
	}
	w->next = resv->waits;
	resv->waits = w;
}

static void many_cancel(struct nvme_command *cmd)
{
	((struct resv_many *)cmd->opaque)->cmd = NULL;
}

static void many_add(struct resv_many *m, uint16_t status)
{
	if (status && !m->status)
		m->status = status;
}

static void many_end(struct resv_many *m, uint16_t status)
{
	many_add(m, status);
	if (--m->left)
		return;
	if (m->cmd)
		nvme_command_complete(m->cmd, m->status);
	free(m);
}

static void wait_end(struct resv_wait *w)
{
	struct resv_wait **p = &w->ns->resv->waits;

	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	if (w->many)
		many_end(w->many, w->status);
	else if (w->cmd)
		nvme_command_complete(w->cmd, w->status);
	free(w);
}

static void wait_check(struct resv_wait *w)
{
	if (!w->seq && !w->draining)
		wait_end(w);
}

static void saved(void *opaque, uint64_t seq, int result)
{
	struct nvme_ns *ns = opaque;
	struct resv_wait *w, *next;

	for (w = ns->resv->waits; w; w = next) {
		next = w->next;
		if (!w->seq || w->seq > seq)
			continue;
		w->seq = 0;
		/* It is so now, but would not be after a restart: the host must not rely on it. */
		if (result)
			w->status = NVME_SC_INTERNAL;
		wait_check(w);
	}
}

static void drained(void *opaque)
{
	struct resv_wait *w = opaque;
	struct nvme_gate *gate = w->ns->gate;

	w->draining = false;
	wait_check(w);
	nvme_gate_open(gate);
}

/*
 * The state has changed. Completes the command now (0), or later (NVME_ST_PENDING). was_kept: the
 * file said something.
 */
static uint16_t commit(struct resv_wait *w, bool was_kept, bool drain)
{
	struct nvme_ns *ns = w->ns;
	struct nvme_resv *resv = ns->resv;
	bool save = resv->store && (resv->st.ptpl || was_kept);

	publish(ns);
	if (save) {
		w->seq = nvme_resv_store_save(resv->store, &resv->st);
		if (!w->seq)
			w->status = NVME_SC_INTERNAL;
	}
	if (!w->seq && !drain) {
		uint16_t status = w->status;

		free(w);
		return status;
	}
	w->draining = drain;
	wait_begin(w);
	if (drain)
		nvme_gate_close(ns->gate, drained, w);
	return NVME_ST_PENDING;
}

/* ---- the commands ---- */

static uint16_t find_ns(const struct nvme_command *cmd, struct nvme_ns **ns)
{
	const struct nvme_ctrl *ctrl = cmd->ctrl;
	uint32_t nsid = le32toh(cmd->sqe.nsid);

	if (!nsid || nsid > ctrl->subsystem->nn)
		return NVME_ST_GENERIC(NVME_SC_INVALID_NS);
	*ns = ctrl->subsystem->ns[nsid - 1];
	return *ns && nvme_ns_is_attached(*ns, ctrl->cntlid) ? 0 : INVALID;
}

typedef uint16_t (*resv_op)(struct nvme_resv_state *s, const struct nvme_resv_host *who,
			    const struct nvme_resv_args *a);

static uint16_t change(struct nvme_command *cmd, struct nvme_ns *ns, resv_op op)
{
	uint32_t dw10 = le32toh(cmd->sqe.cdw10);
	struct nvme_resv_host who = host_of(cmd->ctrl);
	struct nvme_resv *resv = ns->resv;
	struct nvme_resv_args a = {
		.action = dw10 & 7,
		.iekey = dw10 & IEKEY,
		.rtype = (uint8_t)(dw10 >> 8),
		.cptpl = (uint8_t)(dw10 >> 30),
		.can_persist = resv->store,
		.crkey = get_le64(cmd->data),
		.other = cmd->len >= KEYS_LEN ? get_le64(cmd->data + 8) : 0,
		.tell = tell_host,
		.opaque = ns,
	};
	bool was_kept = resv->st.ptpl;
	bool drain =
		op == nvme_resv_acquire && a.action == NVME_RESERVATION_RACQA_PREEMPT_AND_ABORT;
	struct resv_wait *w = wait_new(ns, cmd);
	uint16_t status;

	if (!w)
		return NVME_SC_INTERNAL;
	status = op(&resv->st, &who, &a);
	if (status) {
		free(w);
		return status;
	}
	return commit(w, was_kept, drain);
}

/* ---- Reservation Report (6.12) ---- */

struct report {
	uint8_t *data;
	uint32_t len, at;
	bool eds;
	unsigned n;
};

static void append(struct report *rep, const void *entry, size_t size)
{
	size_t n = MIN(size, (size_t)(rep->len - rep->at));

	memcpy(rep->data + rep->at, entry, n);
	rep->at += (uint32_t)n;
	rep->n++;
}

static void report_one(struct report *rep, const struct nvme_resv_state *s,
		       const struct nvme_registrant *r, uint16_t cntlid)
{
	uint8_t rcsts = nvme_resv_holds(s, r) ? RCSTS_HOLDER : 0;
	struct nvme_registered_ctrl_ext ext = {
		.cntlid = htole16(cntlid), .rcsts = rcsts, .rkey = htole64(r->key)};
	struct nvme_registered_ctrl plain = {
		.cntlid = htole16(cntlid), .rcsts = rcsts, .rkey = htole64(r->key)};

	memcpy(ext.hostid, r->host.id, sizeof(ext.hostid));
	memcpy(&plain.hostid, r->host.id, sizeof(plain.hostid));
	if (rep->eds)
		append(rep, &ext, sizeof(ext));
	else
		append(rep, &plain, sizeof(plain));
}

/* A registrant once for each of its controllers that has the namespace, or once without. Who looks
 * for all registrants on all controllers looks for long: each controller's is found once. */
static void report_all(struct report *rep, const struct nvme_ns *ns)
{
	const struct nvme_subsystem *ss = ns->subsystem;
	const struct nvme_resv_state *s = &ns->resv->st;
	bool there[NVME_REGISTRANTS_MAX] = {0};

	for (unsigned i = 0; i < ns->n_attached; i++) {
		const struct nvme_ctrl *ctrl = nvme_subsystem_ctrl(ss, ns->attached[i]);
		struct nvme_resv_host host = ctrl ? host_of(ctrl) : (struct nvme_resv_host){0};
		const struct nvme_registrant *r = ctrl ? nvme_resv_find(s, &host) : NULL;

		if (!r)
			continue;
		report_one(rep, s, r, ctrl->cntlid);
		there[r - s->r] = true;
	}
	for (unsigned i = 0; i < s->n; i++)
		if (!there[i])
			report_one(rep, s, &s->r[i], NVME_RESV_NO_CTRL);
}

/* The two sizes of Host Identifiers go with the two forms of the report. A host that has not said
 * who it is may read either. */
static bool form_ok(const struct nvme_ctrl *ctrl, const struct nvme_resv_state *s, bool eds)
{
	struct nvme_resv_host who = host_of(ctrl);

	if (!nvme_resv_host_nameless(&who))
		return who.extended == eds;
	for (unsigned i = 0; !eds && i < s->n; i++)
		if (s->r[i].host.extended)
			return false;
	return true;
}

static uint16_t report(struct nvme_command *cmd, struct nvme_ns *ns)
{
	const struct nvme_resv_state *s = &ns->resv->st;
	struct nvme_resv_status head = {
		.gen = htole32(s->generation), .rtype = s->rtype, .ptpls = s->ptpl};
	struct report rep = {
		.data = cmd->data, .len = cmd->len, .eds = le32toh(cmd->sqe.cdw11) & REPORT_EDS};
	size_t head_len = rep.eds ? offsetof(struct nvme_resv_status, regctl_eds)
				  : offsetof(struct nvme_resv_status, regctl_ds);

	if (!form_ok(cmd->ctrl, s, rep.eds))
		return NVME_ST_GENERIC(NVME_SC_HOSTID_FORMAT);
	rep.at = (uint32_t)MIN(head_len, (size_t)rep.len);
	report_all(&rep, ns);
	put_le16(head.regctl, (uint16_t)MIN(rep.n, 0xffffu));
	memcpy(cmd->data, &head, MIN(head_len, (size_t)cmd->len));
	return 0;
}

uint32_t nvme_resv_data_len(const struct nvme_sqe *sqe, bool *to_host)
{
	uint64_t numd = le32toh(sqe->cdw10);

	*to_host = sqe->opcode == nvme_cmd_resv_report;
	switch (sqe->opcode) {
	case nvme_cmd_resv_register:
	case nvme_cmd_resv_acquire:
		return KEYS_LEN;
	case nvme_cmd_resv_release:
		return RELEASE_LEN;
	default:
		return (uint32_t)MIN((numd + 1) * 4, (uint64_t)UINT32_MAX);
	}
}

uint16_t nvme_resv_run(struct nvme_command *cmd)
{
	struct nvme_ns *ns = NULL;
	uint16_t status = find_ns(cmd, &ns);

	if (status)
		return status;
	switch (cmd->sqe.opcode) {
	case nvme_cmd_resv_register:
		return change(cmd, ns, nvme_resv_register);
	case nvme_cmd_resv_acquire:
		return change(cmd, ns, nvme_resv_acquire);
	case nvme_cmd_resv_release:
		return change(cmd, ns, nvme_resv_release);
	case nvme_cmd_resv_report:
		return report(cmd, ns);
	default:
		return NVME_ST_GENERIC(NVME_SC_INVALID_OPCODE);
	}
}

/* ---- features ---- */

uint16_t nvme_resv_get_ptpl(struct nvme_ns *ns, uint32_t *ptpl)
{
	*ptpl = ns->resv->st.ptpl;
	return 0;
}

static uint16_t check_ptpl(const struct nvme_ns *ns, bool ptpl)
{
	return ptpl && !ns->resv->store ? NVME_ST_CMD(NVME_SC_FEATURE_NOT_CHANGEABLE) : 0;
}

/* For one command, or (NULL) for one of many. */
static uint16_t set_ptpl(struct nvme_ns *ns, bool ptpl, struct nvme_command *cmd,
			 struct resv_many *many)
{
	struct nvme_resv *resv = ns->resv;
	bool was = resv->st.ptpl;
	struct resv_wait *w;

	if (ptpl == was)
		return 0;
	w = wait_new(ns, cmd);
	if (!w)
		return NVME_SC_INTERNAL;
	w->many = many;
	resv->st.ptpl = ptpl;
	return commit(w, was, false);
}

uint16_t nvme_resv_set_ptpl(struct nvme_ns *ns, bool ptpl, struct nvme_command *cmd)
{
	uint16_t status = check_ptpl(ns, ptpl);

	return status ? status : set_ptpl(ns, ptpl, cmd, NULL);
}

static uint16_t check_ptpl_all(const struct nvme_ctrl *ctrl, bool ptpl)
{
	const struct nvme_subsystem *ss = ctrl->subsystem;
	uint16_t status = 0;

	for (unsigned i = 0; i < ss->nn && !status; i++)
		if (ss->ns[i] && nvme_ns_is_attached(ss->ns[i], ctrl->cntlid))
			status = check_ptpl(ss->ns[i], ptpl);
	return status;
}

uint16_t nvme_resv_set_ptpl_all(struct nvme_ctrl *ctrl, bool ptpl, struct nvme_command *cmd)
{
	const struct nvme_subsystem *ss = ctrl->subsystem;
	uint16_t status = check_ptpl_all(ctrl, ptpl);
	struct resv_many *m;

	if (status)
		return status;
	m = calloc(1, sizeof(*m));
	if (!m)
		return NVME_SC_INTERNAL;
	m->cmd = cmd;
	for (unsigned i = 0; i < ss->nn; i++) {
		if (!ss->ns[i] || !nvme_ns_is_attached(ss->ns[i], ctrl->cntlid))
			continue;
		status = set_ptpl(ss->ns[i], ptpl, NULL, m);
		if (status == NVME_ST_PENDING)
			m->left++;
		else
			many_add(m, status);
	}
	if (!m->left) {
		status = m->status;
		free(m);
		return status;
	}
	cmd->opaque = m;
	cmd->cancel = many_cancel;
	return NVME_ST_PENDING;
}

/* ---- hosts that change or go ---- */

/* Nobody waits for the file here. A nameless host was never in it, but the reservation that it took
 * from another one may have been. */
static bool forget_nameless(struct nvme_ns *ns, uint16_t cntlid)
{
	struct nvme_resv_host host = {.cntlid = cntlid};
	struct nvme_resv *resv = ns->resv;

	if (!nvme_resv_forget(&resv->st, &host, tell_host, ns))
		return false;
	if (resv->store && resv->st.ptpl)
		nvme_resv_store_save(resv->store, &resv->st);
	return true;
}

/* Does what workers see of this controller differ from what is so? The others have not changed. */
static bool is_stale(const struct nvme_ns *ns, uint16_t cntlid)
{
	const struct nvme_resv_view *v = atomic_load(&((struct nvme_ns *)ns)->resv_view);
	const struct nvme_ctrl *ctrl = nvme_subsystem_ctrl(ns->subsystem, cntlid);
	struct nvme_resv_host host = ctrl ? host_of(ctrl) : (struct nvme_resv_host){0};
	const struct nvme_registrant *r = ctrl ? nvme_resv_find(&ns->resv->st, &host) : NULL;
	const struct nvme_resv_member *m = v ? find_member(v, cntlid) : NULL;

	return v && (!m != !r || (m && m->holder != nvme_resv_holds(&ns->resv->st, r)));
}

/* Often, and for many controllers in a row: so it looks at this one only. */
static void host_left(struct nvme_subsystem *ss, uint16_t cntlid)
{
	for (unsigned i = 0; i < ss->nn; i++)
		if (ss->ns[i] &&
		    (forget_nameless(ss->ns[i], cntlid) || is_stale(ss->ns[i], cntlid)))
			publish(ss->ns[i]);
}

void nvme_resv_host_changed(struct nvme_ctrl *ctrl)
{
	if (ctrl->subsystem)
		host_left(ctrl->subsystem, ctrl->cntlid);
}

void nvme_resv_ctrl_reset(struct nvme_ctrl *ctrl)
{
	struct nvme_ss_ctrl *sc;

	if (!ctrl->subsystem)
		return;
	sc = nvme_subsystem_find(ctrl->subsystem, ctrl->cntlid);
	if (!sc)
		return;
	memset(&sc->notes, 0, sizeof(sc->notes));
	memset(sc->resv_mask, 0, sizeof(sc->resv_mask));
	host_left(ctrl->subsystem, ctrl->cntlid);
}

void nvme_resv_ctrl_gone(struct nvme_subsystem *ss, uint16_t cntlid)
{
	host_left(ss, cntlid);
}

/* ---- life ---- */

int nvme_resv_create(struct nvme_ns *ns, const char *path, char *why, size_t why_len)
{
	struct nvme_resv *resv = calloc(1, sizeof(*resv));
	int r = 0;

	if (!resv) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	if (path && path[0]) {
		r = nvme_resv_store_load(path, &resv->st, why, why_len);
		if (!r)
			r = nvme_resv_store_open(path, saved, ns, &resv->store);
	}
	if (r) {
		free(resv);
		return r;
	}
	ns->resv = resv;
	publish(ns);
	return 0;
}

void nvme_resv_destroy(struct nvme_ns *ns)
{
	struct nvme_resv *resv = ns->resv;

	if (!resv)
		return;
	nvme_resv_store_close(resv->store);
	while (resv->waits) {
		resv->waits->status = NVME_ST_GENERIC(NVME_SC_INVALID_NS);
		wait_end(resv->waits);
	}
	free(atomic_load(&ns->resv_view));
	free(resv);
	ns->resv = NULL;
}

const char *nvme_resv_path(const struct nvme_ns *ns)
{
	return ns->resv->store ? nvme_resv_store_path(ns->resv->store) : NULL;
}

unsigned nvme_resv_registrants(const struct nvme_ns *ns)
{
	return ns->resv->st.n;
}

const char *nvme_resv_held(const struct nvme_ns *ns)
{
	return nvme_resv_type_name(ns->resv->st.rtype);
}

bool nvme_resv_persists(const struct nvme_ns *ns)
{
	return ns->resv->store;
}
