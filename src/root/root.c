/* SPDX-License-Identifier: BSD-3-Clause */
#include "root/root.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#include "root/root_internal.h"
#include "util/bytes.h"
#include "util/util.h"

#define VECTORS_DEFAULT 64
#define SLOTS_DEFAULT	4

static bool bit_test(const uint8_t *bits, unsigned i)
{
	return bits[i / 8] & BIT(i % 8);
}

static void bit_put(uint8_t *bits, unsigned i, bool v)
{
	bits[i / 8] = v ? bits[i / 8] | BIT(i % 8) : bits[i / 8] & ~BIT(i % 8);
}

bool root_vf_lent(const struct root_slot *slot, const struct pci_function *vf)
{
	return bit_test(slot->lent, pci_function_vf_index(vf));
}

static struct root_slot *slot_of(struct root *r, const struct pci_function *fn)
{
	const struct pci_function *pf = pci_function_is_vf(fn) ? pci_function_pf(fn) : fn;

	for (unsigned i = 0; i < r->n_slots; i++) {
		if (r->slots[i].pf == pf)
			return &r->slots[i];
	}
	return NULL;
}

/*
 * A child's message names one of the endpoint's vectors in the destination ID, bits 19:12 of the
 * address (the vmd driver writes it so when MSI remapping is on).
 */
static int message_vector(void *opaque, uint64_t addr, uint32_t data)
{
	struct root *r = opaque;
	unsigned vector = (addr >> 12) & 0xff;

	if (addr >> 20 != 0xfee || vector >= pci_function_num_vectors(r->endpoint)) {
		log_guest(&r->strange, "%s: message to address %#llx is not remapped: dropped",
			  r->name, (unsigned long long)addr);
		return -1;
	}
	return vector;
}

static void attach_child(struct root *r, struct pci_function *fn)
{
	struct pci_attachment att = {
		.kind = PCI_OWNER_ROOT,
		.dma = r->dma,
		.irq_parent = r->endpoint,
		.msi_vector = message_vector,
		.opaque = r,
	};

	if (!r->dma || pci_function_owner(fn) != PCI_OWNER_NONE)
		return;
	if (pci_function_attach(fn, &att))
		log_error("%s: cannot take %s", r->name, pci_function_name(fn));
}

static void for_each_child(struct root *r, void (*cb)(struct root *r, struct pci_function *fn))
{
	for (unsigned i = 0; i < r->n_slots; i++) {
		struct root_slot *slot = &r->slots[i];

		if (!slot->pf)
			continue;
		for (unsigned v = 0; v < pci_pf_num_vfs(slot->pf); v++) {
			struct pci_function *vf = pci_pf_vf(slot->pf, v);

			if (vf && !root_vf_lent(slot, vf))
				cb(r, vf);
		}
		cb(r, slot->pf);
	}
}

void root_attach_children(struct root *r)
{
	for_each_child(r, attach_child);
}

static void block_child(struct root *r, struct pci_function *fn)
{
	pci_function_set_blocked(fn, true);
}

static void unblock_child(struct root *r, struct pci_function *fn)
{
	pci_function_set_blocked(fn, false);
}

void root_block_children(struct root *r, bool blocked)
{
	for_each_child(r, blocked ? block_child : unblock_child);
}

static void detach_child(struct root *r, struct pci_function *fn)
{
	if (pci_function_owner(fn) == PCI_OWNER_ROOT)
		pci_function_detach(fn);
	pci_function_set_blocked(fn, false);
}

void root_detach_children(struct root *r)
{
	for_each_child(r, detach_child);
}

/* VFs go with their PF: its reset clears VF Enable. */
void root_reset_children(struct root *r, enum pci_reset kind)
{
	r->last_hit = NULL;
	for (unsigned i = 0; i < r->n_slots; i++) {
		if (r->slots[i].pf)
			pci_function_reset(r->slots[i].pf, kind);
		root_slot_reset(&r->slots[i]);
	}
}

static void port_bus_reset(struct root_port *port)
{
	struct root_slot *slot = port->opaque;

	if (slot->pf)
		pci_function_reset(slot->pf, PCI_RESET_BUS);
}

static void port_msi(struct root_port *port, uint64_t addr, uint32_t data)
{
	struct root_slot *slot = port->opaque;
	int vector = message_vector(slot->root, addr, data);

	if (vector >= 0)
		pci_irq_raise(slot->root->endpoint, vector);
}

static const struct root_port_ops port_ops = {
	.bus_reset = port_bus_reset,
	.msi = port_msi,
};

static int socket_attach(void *opaque, pid_t pid, uid_t uid, char *why, size_t why_len)
{
	return 0;
}

static const struct vfu_server_ops server_ops = {
	.attach = socket_attach,
};

int root_create(sd_event *event, const struct root_config *cfg, struct root **out)
{
	struct vfu_server_config socket = cfg->socket;
	unsigned vectors = cfg->vectors ? cfg->vectors : VECTORS_DEFAULT;
	unsigned slots = cfg->slots ? cfg->slots : SLOTS_DEFAULT;
	struct root *r;
	int err;

	if (vectors > ROOT_VECTORS_MAX || slots > ROOT_SLOTS_MAX)
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	snprintf(r->name, sizeof(r->name), "%s", cfg->name);
	r->event = sd_event_ref(event);
	r->n_slots = slots;
	r->slots = calloc(slots, sizeof(*r->slots));
	if (!r->slots) {
		err = -ENOMEM;
		goto err_free;
	}
	for (unsigned i = 0; i < slots; i++) {
		r->slots[i].root = r;
		root_port_init(&r->slots[i].port, i, &port_ops, &r->slots[i]);
	}
	err = root_endpoint_create(r, vectors, slots);
	if (err)
		goto err_free;
	socket.name = r->name;
	err = vfu_server_create(event, &socket, r->endpoint, &server_ops, r, &r->server);
	if (err)
		goto err_endpoint;
	*out = r;
	return 0;

err_endpoint:
	pci_function_destroy(r->endpoint);
err_free:
	sd_event_unref(r->event);
	free(r->slots);
	free(r);
	return err;
}

void root_destroy(struct root *r)
{
	vfu_server_destroy(r->server);
	root_detach_children(r);
	pci_function_destroy(r->endpoint);
	for (unsigned i = 0; i < r->n_slots; i++)
		root_slot_fini(&r->slots[i]);
	sd_event_unref(r->event);
	free(r->slots);
	free(r);
}

static bool client_is_there(const struct root *r)
{
	struct vfu_server_status st;

	vfu_server_get_status(r->server, &st);
	return st.connected;
}

int root_add_pf(struct root *r, struct pci_function *pf, unsigned *slot)
{
	if (slot_of(r, pf))
		return -EEXIST;
	if (pci_function_owner(pf) != PCI_OWNER_NONE)
		return -EBUSY;
	for (unsigned i = 0; i < r->n_slots; i++) {
		struct root_slot *s = &r->slots[i];

		if (s->pf)
			continue;
		s->pf = pf;
		memset(s->lent, 0, sizeof(s->lent));
		attach_child(r, pf);
		for (unsigned v = 0; v < pci_pf_num_vfs(pf); v++)
			root_vf_added(r, pci_pf_vf(pf, v));
		root_slot_plugged(s, !client_is_there(r));
		*slot = i;
		return 0;
	}
	return -ENOSPC;
}

static bool bus_master(struct pci_function *fn)
{
	return get_le16(pci_config_raw(fn) + PCI_COMMAND) & PCI_COMMAND_MASTER;
}

static bool slot_in_use(const struct root_slot *slot)
{
	if (bus_master(slot->pf))
		return true;
	for (unsigned v = 0; v < pci_pf_num_vfs(slot->pf); v++) {
		struct pci_function *vf = pci_pf_vf(slot->pf, v);

		if (vf && !root_vf_lent(slot, vf) && bus_master(vf))
			return true;
	}
	return false;
}

int root_remove_pf(struct root *r, struct pci_function *pf, bool force)
{
	struct root_slot *slot = slot_of(r, pf);
	bool quiet = !client_is_there(r);

	if (!slot)
		return -ENOENT;
	if (!force && !quiet && slot_in_use(slot)) {
		if (!root_port_listens(&slot->port))
			return -EOPNOTSUPP;
		root_slot_ask(slot);
		return -EBUSY;
	}
	r->last_hit = NULL;
	root_slot_unplugged(slot, quiet);
	/* Clears VF Enable: the VFs, lent ones included, go while the slot still knows them. */
	pci_function_reset(pf, PCI_RESET_BUS);
	detach_child(r, pf);
	slot->pf = NULL;
	return 0;
}

void root_vf_added(struct root *r, struct pci_function *vf)
{
	struct root_slot *slot = slot_of(r, vf);

	if (!slot)
		return;
	bit_put(slot->lent, pci_function_vf_index(vf), false);
	attach_child(r, vf);
}

void root_vf_removing(struct root *r, struct pci_function *vf)
{
	struct root_slot *slot = slot_of(r, vf);

	if (!slot)
		return;
	if (r->last_hit == vf)
		r->last_hit = NULL;
	if (!root_vf_lent(slot, vf))
		detach_child(r, vf);
	bit_put(slot->lent, pci_function_vf_index(vf), false);
}

int root_lend_vf(struct root *r, struct pci_function *vf, char *why, size_t why_len)
{
	struct root_slot *slot = slot_of(r, vf);

	if (!slot)
		return 0;
	if (bus_master(vf)) {
		snprintf(
			why, why_len,
			"a driver in root %s is using it; unbind it there first (write its address "
			"to its driver's unbind file)",
			r->name);
		return -EBUSY;
	}
	detach_child(r, vf);
	bit_put(slot->lent, pci_function_vf_index(vf), true);
	return 0;
}

void root_take_back(struct root *r, struct pci_function *vf)
{
	struct root_slot *slot = slot_of(r, vf);

	if (!slot)
		return;
	bit_put(slot->lent, pci_function_vf_index(vf), false);
	attach_child(r, vf);
}

static void fill_info(struct root_slot *slot, struct pci_function *fn,
		      struct root_function_info *info)
{
	*info = (struct root_function_info){
		.fn = fn,
		.slot = slot->port.slot,
		.lent = pci_function_is_vf(fn) && root_vf_lent(slot, fn),
	};
	info->rid_valid = root_function_rid(slot, fn, &info->rid);
	info->in_use = !info->lent && bus_master(fn);
}

void root_for_each(struct root *r, void (*cb)(void *opaque, const struct root_function_info *info),
		   void *opaque)
{
	for (unsigned i = 0; i < r->n_slots; i++) {
		struct root_slot *slot = &r->slots[i];
		struct root_function_info info;

		if (!slot->pf)
			continue;
		fill_info(slot, slot->pf, &info);
		cb(opaque, &info);
		for (unsigned v = 0; v < pci_pf_num_vfs(slot->pf); v++) {
			struct pci_function *vf = pci_pf_vf(slot->pf, v);

			if (!vf)
				continue;
			fill_info(slot, vf, &info);
			cb(opaque, &info);
		}
	}
}

int root_function(struct root *r, const struct pci_function *fn, struct root_function_info *out)
{
	struct root_slot *slot = slot_of(r, fn);

	if (!slot)
		return -ENOENT;
	fill_info(slot, (struct pci_function *)fn, out);
	return 0;
}

void root_disconnect(struct root *r)
{
	vfu_server_disconnect(r->server);
}

void root_get_status(const struct root *r, struct vfu_server_status *st)
{
	vfu_server_get_status(r->server, st);
}

const char *root_name(const struct root *r)
{
	return r->name;
}

const char *root_path(const struct root *r)
{
	return vfu_server_path(r->server);
}

struct pci_function *root_endpoint(struct root *r)
{
	return r->endpoint;
}
