/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The attention buttons of the slots: pressed to ask a guest to let go of what is in a slot, or to
 * look at what came into one, and only when the press is not mistaken for something else.
 *
 * Linux's pciehp (6.12 and 7.3 were tried) enables the button's and the link's interrupts, and
 * presence's only where there is no button. It acts 5 s after the button, unless presence changed
 * too; a second press within that time calls it off, and one that it comes to see after it has
 * powered the slot off, or on, means the opposite. Once a slot is off it waits for a second and
 * then forgets what changed meanwhile, but for the button; after a surprise removal it looks
 * whether something is there again, after an orderly one it does not.
 */
#include <errno.h>
#include <time.h>

#include "root/root_internal.h"
#include "util/clock.h"

/* Between two requests to let go: the guest needs some 8 s to follow one. */
#define ASK_AGAIN_NS (20 * NS_PER_S)
/* A slot that has been off for so long is not in the middle of something. */
#define SETTLED_NS (3 * NS_PER_S)
/* With the power on for so long after a plug, it will not go off because of what was before. */
#define CONTENT_NS    (6 * NS_PER_S)
#define LOOK_AGAIN_US 250000

void root_slot_ask(struct root_slot *slot)
{
	uint64_t now = clock_now_ns();

	if (slot->asked_ns && now - slot->asked_ns < ASK_AGAIN_NS)
		return;
	slot->asked_ns = now;
	slot->plugged_ns = 0;
	root_port_press_button(&slot->port, false);
}

/* True: nothing is left to do for what was plugged in. */
static bool settle(struct root_slot *slot)
{
	uint64_t now = clock_now_ns();

	if (!slot->pf || !slot->plugged_ns)
		return true;
	if (root_port_powered(&slot->port))
		return now - slot->plugged_ns > CONTENT_NS;
	if (now - slot->port.off_ns < SETTLED_NS)
		return false;
	root_port_press_button(&slot->port, true);
	return true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct root_slot *slot = opaque;

	if (settle(slot)) {
		slot->plugged_ns = 0;
		return 0;
	}
	sd_event_source_set_time(source, usec + LOOK_AGAIN_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void watch(struct root_slot *slot)
{
	if (slot->timer) {
		sd_event_source_set_time_relative(slot->timer, LOOK_AGAIN_US);
		sd_event_source_set_enabled(slot->timer, SD_EVENT_ONESHOT);
	} else {
		/* Without it a guest in the middle of something has to be told by hand. */
		sd_event_add_time_relative(slot->root->event, &slot->timer, CLOCK_MONOTONIC,
					   LOOK_AGAIN_US, 0, on_timer, slot);
	}
}

void root_slot_plugged(struct root_slot *slot, bool quiet)
{
	slot->asked_ns = 0;
	slot->plugged_ns = quiet ? 0 : clock_now_ns();
	root_port_set_present(&slot->port, true, quiet);
	if (quiet)
		return;
	if (settle(slot))
		slot->plugged_ns = 0;
	else
		watch(slot);
}

void root_slot_unplugged(struct root_slot *slot, bool quiet)
{
	slot->asked_ns = slot->plugged_ns = 0;
	root_port_set_present(&slot->port, false, quiet);
}

void root_slot_reset(struct root_slot *slot)
{
	slot->asked_ns = slot->plugged_ns = 0;
	root_port_reset(&slot->port);
}

void root_slot_fini(struct root_slot *slot)
{
	slot->timer = sd_event_source_disable_unref(slot->timer);
}
