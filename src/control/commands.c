/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of commands. What a command does is in control/methods*.c and in src/cli. */
#include "control/protocol.h"

/* clang-format off */
const struct control_command control_commands[] = {
	{
		.verb = "show", .method = "show",
		.usage = "[devices|functions|ports|roots|workers|fdb] [NAME]",
		.summary = "what exists, and who is attached",
		.examples =
			"softiov show                    # everything at a glance\n"
			"softiov show functions nic0     # PF and VFs of one device\n"
			"softiov show nic0/vf3           # one function in detail\n"
			"softiov show fdb                # addresses the switches know\n",
		.params = {
			{"kind", CONTROL_CHOICE, false, "what to list; all when left out", 0, 0,
			 "devices|functions|ports|roots|workers|fdb"},
			{"name", CONTROL_NAME, false, "only this device, function or root"},
		},
	},
	{
		.verb = "stats", .method = "stats",
		.usage = "[NAME] [--watch [SECONDS]]",
		.summary = "packets, bytes, and every reason for a drop",
		.examples =
			"softiov stats                   # all functions, uplinks and workers\n"
			"softiov stats nic0/vf3          # each counter of one function\n"
			"softiov stats nic0 --watch 2    # rates, every 2 seconds, until Ctrl-C\n",
		.params = {
			{"name", CONTROL_NAME, false, "only this device, function or uplink"},
		},
	},
	{
		.verb = "stats clear", .method = "stats.clear", .changes = true,
		.usage = "[NAME]",
		.summary = "set packet counters to zero",
		.examples =
			"softiov stats clear nic0/vf3\n",
		.params = {
			{"name", CONTROL_NAME, false, "only this device, function or uplink"},
		},
	},
	{
		.verb = "vf set", .method = "vf.set", .changes = true,
		.usage = "FUNCTION SETTING VALUE [SETTING VALUE]...",
		.summary = "change the port of a function while it runs",
		.examples =
			"softiov vf set nic0/vf3 vlan 100 qos 3\n"
			"softiov vf set nic0/vf3 vlan 200 proto 802.1ad\n"
			"softiov vf set nic0/vf3 vlan 0             # no port VLAN\n"
			"softiov vf set nic0/vf3 mac 02:00:00:00:00:10 spoofchk on\n"
			"softiov vf set nic0/vf3 trunk 1,5-9        # let these tags pass; \"off\" ends it\n"
			"softiov vf set nic0/vf3 trust on link-state disable\n",
		.params = {
			{"function", CONTROL_NAME, true, "such as nic0/vf3"},
			{"mac", CONTROL_MAC, false, "its address"},
			{"vlan", CONTROL_INT, false, "port VLAN; 0: none", 0, 4094},
			{"qos", CONTROL_INT, false, "priority in the port VLAN's tag", 0, 7},
			{"proto", CONTROL_CHOICE, false, "the port VLAN's tag", 0, 0,
			 "802.1q|802.1ad"},
			{"trunk", CONTROL_STRING, false,
			 "VLANs whose tagged frames pass, such as 1,5-9; off: none"},
			{"spoofchk", CONTROL_BOOL, false, "drop frames with a foreign source address"},
			{"trust", CONTROL_BOOL, false,
			 "let the guest change its address and see everything"},
			{"link-state", CONTROL_CHOICE, false, "follow the uplink, or always up, or down",
			 0, 0, "auto|enable|disable"},
		},
	},
	{
		.verb = "device set", .method = "device.set", .changes = true,
		.usage = "DEVICE num-vfs N [--force]",
		.summary = "make or remove VFs; those that stay are not disturbed",
		.examples =
			"softiov device set nic0 num-vfs 8\n"
			"softiov device set nic0 num-vfs 2 --force  # even if VMs hold those that go\n",
		.params = {
			{"device", CONTROL_NAME, true, "such as nic0"},
			{"num-vfs", CONTROL_INT, true, "how many VFs there shall be", 0, 1024},
			{"force", CONTROL_BOOL, false, "take VFs away from VMs that hold them"},
		},
	},
	{
		.verb = "lspci", .method = "lspci",
		.usage = "[FUNCTION|ROOT] [--bus|--vmm] [--socket PATH]",
		.summary = "configuration space as a dump that lspci -F decodes",
		.examples =
			"softiov lspci nic0/pf | lspci -F /dev/stdin -vvv\n"
			"softiov lspci nic0/vf0 --bus    # as on the bus: VFs without IDs and BARs\n"
			"softiov lspci host0             # a root's whole hierarchy\n"
			"softiov lspci --socket PATH     # what a VMM reads at a vfio-user socket\n",
		.params = {
			{"name", CONTROL_NAME, false, "a function or root; all when left out"},
			{"view", CONTROL_CHOICE, false, "as on the bus, or as a VMM is shown it", 0, 0,
			 "bus|vmm"},
		},
	},
	{
		.verb = "attach-args", .method = "attach-args",
		.usage = "FUNCTION|ROOT [--vmm qemu|cloud-hypervisor|libvirt]",
		.summary = "what to add to a VM's command line to give it a function or a root",
		.examples =
			"softiov attach-args nic0/vf0\n"
			"softiov attach-args nic0/vf0 --vmm cloud-hypervisor\n"
			"softiov attach-args host0 --vmm libvirt\n",
		.params = {
			{"name", CONTROL_NAME, true, "such as nic0/vf0 or host0"},
		},
	},
	{
		.verb = "root plug", .method = "root.plug", .changes = true,
		.usage = "ROOT DEVICE",
		.summary = "hot-plug a device into a root",
		.examples =
			"softiov root plug host0 nic1\n",
		.params = {
			{"root", CONTROL_NAME, true, "such as host0"},
			{"device", CONTROL_NAME, true, "such as nic1"},
		},
	},
	{
		.verb = "root unplug", .method = "root.unplug", .changes = true,
		.usage = "ROOT DEVICE [--force]",
		.summary = "take a device out of a root",
		.examples =
			"softiov root unplug host0 nic1          # asks the guest, as a button would, and waits\n"
			"softiov root unplug host0 nic1 --force  # at once, as when pulled out\n",
		.params = {
			{"root", CONTROL_NAME, true, "such as host0"},
			{"device", CONTROL_NAME, true, "such as nic1"},
			{"force", CONTROL_BOOL, false, "surprise removal"},
		},
	},
	{
		.verb = "disconnect", .method = "disconnect", .changes = true,
		.usage = "FUNCTION|ROOT",
		.summary = "end a VM's connection; the function is reset and free again",
		.examples =
			"softiov disconnect nic0/vf3\n",
		.params = {
			{"name", CONTROL_NAME, true, "a function or root"},
		},
	},
	{
		.verb = "reload", .method = "reload", .changes = true,
		.usage = "",
		.summary = "read the configuration file again and apply what can be changed live",
	},
	{
		.verb = "version", .method = "version",
		.usage = "",
		.summary = "versions of the command and of the daemon",
	},
	{
		.verb = "doctor",
		.usage = "",
		.summary = "what on this machine would stop it; works without the daemon",
	},
	{
		.verb = "help",
		.usage = "[VERB]",
		.summary = "all verbs, or one with its settings and examples",
	},
	{.verb = NULL},
};
/* clang-format on */
