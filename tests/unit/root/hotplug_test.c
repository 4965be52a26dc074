/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Slots while a guest runs: what Linux's pciehp relies on. It has the attention button's and the
 * link's interrupts enabled, not presence's (hardware with a button has it that way), clears
 * status bits by writing them, and powers a slot off when it has let go of what is in it.
 */
#include "bench.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/clock.h"

#define VECTOR 5

struct guest {
	int client, irq;
};

static void client_comes(struct bench *b, struct guest *g)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	uint16_t cmd = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	struct vfu_server_status st = {0};

	memcpy(sa.sun_path, b->path, strlen(b->path) + 1);
	g->client = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(g->client, (struct sockaddr *)&sa, sizeof(sa)), 0);
	for (unsigned i = 0; i < 10 && !st.connected; i++) {
		assert_true(sd_event_run(b->event, 1000000) >= 0);
		root_get_status(b->root, &st);
	}
	assert_true(st.connected);
	pci_config_write(root_endpoint(b->root), PCI_VIEW_VMM, PCI_COMMAND, &cmd, 2);
	g->irq = eventfd(0, EFD_NONBLOCK);
	pci_irq_set_fd(root_endpoint(b->root), VECTOR, dup(g->irq));
}

static void client_goes(struct bench *b, struct guest *g)
{
	root_disconnect(b->root);
	close(g->client);
	close(g->irq);
}

static bool interrupted(struct guest *g)
{
	eventfd_t n;

	return !eventfd_read(g->irq, &n);
}

/* As pciehp does when it binds the port of slot 0. */
static void hotplug_driver_binds(struct bench *b)
{
	cfg_put(b, 0, 0, PORT_MSI + PCI_MSI_ADDRESS_LO, 0xfee00000 | VECTOR << 12, 4);
	cfg_put(b, 0, 0, PORT_MSI + PCI_MSI_ADDRESS_HI, 0, 4);
	cfg_put(b, 0, 0, PORT_MSI + PCI_MSI_DATA_64, 0, 2);
	cfg_put(b, 0, 0, PORT_MSI + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE, 2);
	cfg_put(b, 0, 0, PORT_EXP + PCI_EXP_SLTCTL,
		PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_DLLSCE, 2);
}

static void power(struct bench *b, bool on)
{
	uint32_t ctl = cfg_get(b, 0, 0, PORT_EXP + PCI_EXP_SLTCTL, 2);

	ctl = on ? ctl & ~(uint32_t)PCI_EXP_SLTCTL_PCC : ctl | PCI_EXP_SLTCTL_PCC;
	cfg_put(b, 0, 0, PORT_EXP + PCI_EXP_SLTCTL, ctl, 2);
}

/* The event bits, cleared as an interrupt handler does it. */
static unsigned take_events(struct bench *b)
{
	unsigned mask = PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC;
	unsigned sta = cfg_get(b, 0, 0, PORT_EXP + PCI_EXP_SLTSTA, 2) & mask;

	cfg_put(b, 0, 0, PORT_EXP + PCI_EXP_SLTSTA, sta, 2);
	assert_int_equal(cfg_get(b, 0, 0, PORT_EXP + PCI_EXP_SLTSTA, 2) & mask, 0);
	return sta;
}

static bool card_in(struct bench *b)
{
	return cfg_get(b, 0, 0, PORT_EXP + PCI_EXP_SLTSTA, 2) & PCI_EXP_SLTSTA_PDS;
}

static bool link_up(struct bench *b)
{
	return cfg_get(b, 0, 0, PORT_EXP + PCI_EXP_LNKSTA, 2) & PCI_EXP_LNKSTA_DLLLA;
}

static void asked_once_then_taken_out(void **state)
{
	struct bench *b = *state;
	struct guest g;

	client_comes(b, &g);
	bring_up(b, 0);
	assert_int_equal(root_remove_pf(b->root, b->toy[0].pf, false), -EOPNOTSUPP);
	hotplug_driver_binds(b);
	assert_false(interrupted(&g));
	assert_int_equal(root_remove_pf(b->root, b->toy[0].pf, false), -EBUSY);
	assert_true(interrupted(&g));
	assert_int_equal(take_events(b), PCI_EXP_SLTSTA_ABP);
	/* Asking again must not press again: that would call it off. */
	assert_int_equal(root_remove_pf(b->root, b->toy[0].pf, false), -EBUSY);
	assert_false(interrupted(&g));
	assert_int_equal(take_events(b), 0);
	assert_int_equal(cfg_get(b, 1, 0, 0, 4), 0x10411af4);
	/* The driver lets go; the slot is powered off. */
	b->toy[0].resets = 0;
	power(b, false);
	assert_int_equal(b->toy[0].resets, 1);
	take_events(b);
	assert_int_equal(root_remove_pf(b->root, b->toy[0].pf, false), 0);
	assert_int_equal(pci_function_owner(b->toy[0].pf), PCI_OWNER_NONE);
	assert_false(card_in(b));
	assert_int_equal(cfg_get(b, 1, 0, 0, 4), 0xffffffff);
	assert_int_equal(root_remove_pf(b->root, b->toy[0].pf, false), -ENOENT);
	client_goes(b, &g);
}

/* Runs the loop until the guest is interrupted. */
static bool interrupted_within(struct bench *b, struct guest *g, unsigned ms)
{
	uint64_t end = clock_now_ns() + ms * NS_PER_MS;

	while (clock_now_ns() < end) {
		if (interrupted(g))
			return true;
		sd_event_run(b->event, 50000);
	}
	return interrupted(g);
}

/* An orderly removal leaves the slot off. For a while after that the guest does not listen, or
 * would take the button's press for the next request to let go. */
static void noticed_when_put_into_a_slot_that_is_off(void **state)
{
	struct bench *b = *state;
	struct guest g;
	unsigned slot;

	client_comes(b, &g);
	bring_up(b, 0);
	hotplug_driver_binds(b);
	power(b, false);
	assert_int_equal(root_remove_pf(b->root, b->toy[0].pf, false), 0);
	take_events(b);
	interrupted(&g);
	assert_int_equal(root_add_pf(b->root, b->toy[0].pf, &slot), 0);
	assert_int_equal(slot, 0);
	assert_true(card_in(b) && !link_up(b));
	assert_int_equal(cfg_get(b, 1, 0, 0, 4), 0xffffffff);
	/* Forgotten, as pciehp does within a second of having powered the slot off. */
	assert_int_equal(take_events(b), PCI_EXP_SLTSTA_PDC);
	assert_false(interrupted_within(b, &g, 1500));
	assert_true(interrupted_within(b, &g, 3000));
	assert_int_equal(take_events(b), PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC);
	power(b, true);
	assert_true(link_up(b));
	assert_true(interrupted(&g));
	assert_int_equal(take_events(b), PCI_EXP_SLTSTA_DLLSC);
	assert_int_equal(cfg_get(b, 1, 0, 0, 4), 0x10411af4);
	/* Its DMA goes to the guest's memory once more. */
	cfg_put(b, 1, 0, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	assert_non_null(pci_function_dma(b->toy[0].pf));
	/* Off for long: told at once. */
	power(b, false);
	assert_int_equal(root_remove_pf(b->root, b->toy[0].pf, false), 0);
	take_events(b);
	interrupted(&g);
	assert_false(interrupted_within(b, &g, 3100));
	assert_int_equal(root_add_pf(b->root, b->toy[0].pf, &slot), 0);
	assert_true(interrupted(&g));
	assert_int_equal(take_events(b), PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PDC);
	client_goes(b, &g);
}

/* Taken up by the guest before it would have been told: then there is no press, which would mean
 * that it is to let go. */
static void not_told_of_what_it_has_seen(void **state)
{
	struct bench *b = *state;
	struct guest g;
	unsigned slot;

	client_comes(b, &g);
	bring_up(b, 0);
	hotplug_driver_binds(b);
	root_remove_pf(b->root, b->toy[0].pf, true);
	power(b, false);
	assert_int_equal(root_add_pf(b->root, b->toy[0].pf, &slot), 0);
	power(b, true);
	take_events(b);
	interrupted(&g);
	assert_false(interrupted_within(b, &g, 3500));
	assert_int_equal(take_events(b), 0);
	client_goes(b, &g);
}

static void torn_out_with_its_vfs(void **state)
{
	struct bench *b = *state;
	struct guest g;
	unsigned slot;

	client_comes(b, &g);
	bring_up(b, 0);
	hotplug_driver_binds(b);
	enable_vfs(b, 0, 4);
	cfg_put(b, 1, 3, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	assert_int_equal(root_remove_pf(b->root, b->toy[0].pf, true), 0);
	assert_true(interrupted(&g));
	assert_int_equal(take_events(b), PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC);
	assert_null(b->toy[0].vfs[3]);
	/* Gone, says configuration space; but a driver that waits for its reset comes to an end. */
	assert_int_equal(cfg_get(b, 1, 0, 0, 4), 0xffffffff);
	assert_int_equal(mem_get(b, window(b, 0)), 0);
	mem_put(b, window(b, 0), 1);
	/* Back while the power is on: the link tells. */
	assert_int_equal(root_add_pf(b->root, b->toy[0].pf, &slot), 0);
	assert_true(interrupted(&g));
	assert_int_equal(take_events(b), PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC);
	assert_int_not_equal(cfg_get(b, 1, 0, 0, 4), 0xffffffff);
	client_goes(b, &g);
}

static void one_interrupt_per_event_that_is_enabled(void **state)
{
	struct bench *b = *state;
	struct guest g;
	unsigned slot;

	client_comes(b, &g);
	bring_up(b, 0);
	hotplug_driver_binds(b);
	/* Hot-plug interrupts off: events are kept, and told when they come on. */
	cfg_put(b, 0, 0, PORT_EXP + PCI_EXP_SLTCTL, PCI_EXP_SLTCTL_DLLSCE, 2);
	root_remove_pf(b->root, b->toy[0].pf, true);
	assert_false(interrupted(&g));
	cfg_put(b, 0, 0, PORT_EXP + PCI_EXP_SLTCTL, PCI_EXP_SLTCTL_DLLSCE | PCI_EXP_SLTCTL_HPIE, 2);
	assert_true(interrupted(&g));
	take_events(b);
	/* A port that may not master the bus sends no message. */
	cfg_put(b, 0, 0, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(root_add_pf(b->root, b->toy[0].pf, &slot), 0);
	assert_false(interrupted(&g));
	client_goes(b, &g);
}

static void without_a_guest_nothing_is_asked(void **state)
{
	struct bench *b = *state;
	unsigned slot;

	bring_up(b, 0);
	cfg_put(b, 1, 0, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	assert_int_equal(root_remove_pf(b->root, b->toy[0].pf, false), 0);
	assert_false(card_in(b));
	assert_int_equal(take_events(b), 0);
	/* Both devices go elsewhere, and the order they come back in is the order of the slots. */
	assert_int_equal(root_remove_pf(b->root, b->toy[1].pf, false), 0);
	assert_int_equal(root_add_pf(b->root, b->toy[1].pf, &slot), 0);
	assert_int_equal(slot, 0);
	assert_int_equal(root_add_pf(b->root, b->toy[1].pf, &slot), -EEXIST);
	assert_int_equal(root_add_pf(b->root, b->toy[0].pf, &slot), 0);
	assert_int_equal(slot, 1);
	assert_true(card_in(b) && link_up(b));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
		TEST(asked_once_then_taken_out),
		TEST(noticed_when_put_into_a_slot_that_is_off),
		TEST(not_told_of_what_it_has_seen),
		TEST(torn_out_with_its_vfs),
		TEST(one_interrupt_per_event_that_is_enabled),
		TEST(without_a_guest_nothing_is_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
