/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of commands. What a command does is in control/methods*.c and in src/cli. */
#include "control/protocol.h"

#include "control/nvme_words.h"
#include "net/shaper.h"

/* clang-format off */
/* Of NVMe functions and of namespaces. */
#define LIMITS \
	{"iops", CONTROL_INT, false, "NVMe: commands a second; 0: no limit", 0, NVME_IOPS_MAX}, \
	{"iops-burst", CONTROL_INT, false, "commands at once after a rest", 0, NVME_IOPS_MAX}, \
	{"bandwidth", CONTROL_SIZE, false, "NVMe: bytes a second; 0: no limit"}, \
	{"bandwidth-burst", CONTROL_SIZE, false, "bytes at once after a rest"}

const struct control_command control_commands[] = {
	{
		.verb = "show", .method = "show",
		.usage = "[devices|functions|namespaces|ports|roots|workers|fdb] [NAME]",
		.summary = "what exists, and who is attached",
		.examples =
			"softiov show                    # everything at a glance\n"
			"softiov show functions nic0     # PF and VFs of one device\n"
			"softiov show nic0/vf3           # one function in detail\n"
			"softiov show ssd0/ns1           # one namespace: a disk of an NVMe device\n"
			"softiov show fdb                # addresses the switches know\n",
		.params = {
			{"kind", CONTROL_CHOICE, false, "what to list; all when left out", 0, 0,
			 "devices|functions|namespaces|ports|roots|workers|fdb"},
			{"name", CONTROL_NAME, false,
			 "only this device, function, namespace or root"},
		},
	},
	{
		.verb = "stats", .method = "stats",
		.usage = "[NAME] [--watch [SECONDS]]",
		.summary = "packets and every reason for a drop; reads, writes, latency, errors",
		.examples =
			"softiov stats                   # all functions, uplinks and workers\n"
			"softiov stats nic0/vf3          # each counter of one function\n"
			"softiov stats nic0 --watch 2    # rates, every 2 seconds, until Ctrl-C\n"
			"softiov stats ssd0 --watch      # IOPS and MB/s of disks\n",
		.params = {
			{"name", CONTROL_NAME, false,
			 "only this device, function, namespace or uplink"},
		},
	},
	{
		.verb = "stats clear", .method = "stats.clear", .changes = true,
		.usage = "[NAME]",
		.summary = "set counters and latencies to zero",
		.examples =
			"softiov stats clear nic0/vf3\n"
			"softiov stats clear ssd0        # its functions and namespaces\n",
		.params = {
			{"name", CONTROL_NAME, false,
			 "only this device, function, namespace or uplink"},
		},
	},
	{
		.verb = "vf set", .method = "vf.set", .changes = true,
		.usage = "FUNCTION SETTING VALUE [SETTING VALUE]...",
		.summary = "change the port of a function, or the limits of a disk, while it runs",
		.examples =
			"softiov vf set nic0/vf3 vlan 100 qos 3\n"
			"softiov vf set nic0/vf3 vlan 200 proto 802.1ad\n"
			"softiov vf set nic0/vf3 vlan 0             # no port VLAN\n"
			"softiov vf set nic0/vf3 mac 02:00:00:00:00:10 spoofchk on\n"
			"softiov vf set nic0/vf3 trunk 1,5-9        # let these tags pass; \"off\" ends it\n"
			"softiov vf set nic0/vf3 trust on link-state disable\n"
			"softiov vf set nic0/vf3 max-tx-rate 1000 min-tx-rate 100  # Mb/s; 0 ends it\n"
			"softiov vf set ssd0/vf0 iops 20000 bandwidth 200M  # NVMe: what it may do\n"
			"softiov vf set ssd0/vf0 iops 0             # no limit\n",
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
			{"max-tx-rate", CONTROL_INT, false, "Mb/s that it may send; 0: no limit", 0,
			 NET_RATE_MAX},
			{"min-tx-rate", CONTROL_INT, false, "Mb/s that it is guaranteed; 0: none", 0,
			 NET_RATE_MAX},
			LIMITS,
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
		.verb = "ns create", .method = "ns.create", .changes = true,
		.usage = "DEVICE file PATH|device PATH|memory SIZE|null SIZE|nbd URI|pool SIZE\n"
			 "                         [SETTING VALUE]...",
		.summary = "make a namespace, a disk of an NVMe device, and print its name",
		.examples =
			"softiov ns create ssd0 file disk.img size 4G attach vf0\n"
			"softiov ns create ssd0 device /dev/vdb attach vf0,vf1  # shared by two\n"
			"softiov ns create ssd0 pool 2G attach pf    # for a root to give to its VFs\n"
			"softiov ns create ssd0 nbd 'nbd+unix:///?socket=/run/x.sock' attach vf1\n"
			"softiov ns create ssd0 memory 1G nsid 7 block-size 4096 iops 50000\n",
		.params = {
			{"device", CONTROL_NAME, true, "such as ssd0"},
			{"file", CONTROL_PATH, false, "kept in this file, made when it is missing"},
			{"block-device", CONTROL_PATH, false, "is this block device of the host",
			 .word = "device"},
			{"memory", CONTROL_SIZE, false, "in the daemon's memory, lost with it"},
			{"null", CONTROL_SIZE, false, "nowhere: takes all, gives nothing; to measure with"},
			{"nbd", CONTROL_STRING, false, "a disk elsewhere, by NBD", .choices = "URI"},
			{"pool", CONTROL_SIZE, false, "from the device's namespace-pool"},
			{"nsid", CONTROL_INT, false, "its number; the lowest free when left out", 1,
			 256},
			{"size", CONTROL_SIZE, false,
			 "of file, device, nbd; all that is there when left out"},
			{"block-size", CONTROL_CHOICE, false, "bytes of a logical block; else 512", 0,
			 0, "512|4096"},
			{"attach", CONTROL_STRING, false,
			 "who has it: vf0,vf1, pf or all; nobody when left out",
			 .choices = "FUNCTION,..."},
			{"read-only", CONTROL_BOOL, false, "refuse writes"},
			{"preallocate", CONTROL_BOOL, false, "reserve the file's room now"},
			{"direct", CONTROL_CHOICE, false, "go round the host's page cache", 0, 0,
			 "auto|on|off"},
			{"uuid", CONTROL_STRING, false, "made when left out, the same each time",
			 .choices = "UUID"},
			{"reservations", CONTROL_PATH, false,
			 "file that keeps reservations over restarts"},
			LIMITS,
		},
	},
	{
		.verb = "ns resize", .method = "ns.resize", .changes = true,
		.usage = "DEVICE/nsN [SIZE] [--force]",
		.summary = "grow or shrink a namespace; guests are told",
		.examples =
			"softiov ns resize ssd0/ns1 8G\n"
			"softiov ns resize ssd0/ns1 2G --force  # smaller: what lies beyond is lost\n"
			"softiov ns resize ssd0/ns3      # a block device that has grown\n",
		.params = {
			{"namespace", CONTROL_NAME, true, "such as ssd0/ns1"},
			{"size", CONTROL_SIZE, false, "what its backend has by now when left out",
			 .positional = true},
			{"force", CONTROL_BOOL, false, "make it smaller, and lose what lies beyond"},
		},
	},
	{
		.verb = "ns attach", .method = "ns.attach", .changes = true,
		.usage = "DEVICE/nsN FUNCTION|all",
		.summary = "give a namespace to a function; its guest sees a new disk",
		.examples =
			"softiov ns attach ssd0/ns1 vf3\n"
			"softiov ns attach ssd0/ns1 all  # those that come later, too\n",
		.params = {
			{"namespace", CONTROL_NAME, true, "such as ssd0/ns1"},
			{"function", CONTROL_NAME, true, "such as vf3, pf, or all"},
		},
	},
	{
		.verb = "ns detach", .method = "ns.detach", .changes = true,
		.usage = "DEVICE/nsN FUNCTION|all",
		.summary = "take a namespace from a function; its guest loses the disk",
		.examples =
			"softiov ns detach ssd0/ns1 vf3\n",
		.params = {
			{"namespace", CONTROL_NAME, true, "such as ssd0/ns1"},
			{"function", CONTROL_NAME, true, "such as vf3, pf, or all"},
		},
	},
	{
		.verb = "ns delete", .method = "ns.delete", .changes = true,
		.usage = "DEVICE/nsN [--force]",
		.summary = "end a namespace; what it keeps stays, but for one of the pool",
		.examples =
			"softiov ns delete ssd0/ns1\n"
			"softiov ns delete ssd0/ns1 --force  # even if functions have it\n",
		.params = {
			{"namespace", CONTROL_NAME, true, "such as ssd0/ns1"},
			{"force", CONTROL_BOOL, false, "take it away from functions that have it"},
		},
	},
	{
		.verb = "ns set", .method = "ns.set", .changes = true,
		.usage = "DEVICE/nsN SETTING VALUE [SETTING VALUE]...",
		.summary = "change the limits of a namespace while it runs",
		.examples =
			"softiov ns set ssd0/ns1 iops 20000 iops-burst 2000\n"
			"softiov ns set ssd0/ns1 bandwidth 100M\n"
			"softiov ns set ssd0/ns1 bandwidth 0 # no limit\n",
		.params = {
			{"namespace", CONTROL_NAME, true, "such as ssd0/ns1"},
			LIMITS,
		},
	},
	{
		.verb = "ns show", .method = "ns.show",
		.usage = "[DEVICE|DEVICE/nsN]",
		.summary = "namespaces, where they are kept and who has them",
		.examples =
			"softiov ns show\n"
			"softiov ns show ssd0/ns1        # one in detail\n",
		.params = {
			{"name", CONTROL_NAME, false, "only of this device, or only this one"},
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
		.verb = "worker list", .method = "worker.list",
		.usage = "",
		.summary = "the data-path threads, their load, and which queues each has",
	},
	{
		.verb = "worker move", .method = "worker.move", .changes = true,
		.usage = "FUNCTION|QUEUE WORKER",
		.summary = "give queues to another worker while they run",
		.examples =
			"softiov worker move nic0/vf3 1       # all that can be moved of it\n"
			"softiov worker move nic0/vf3/tx1 0   # one queue, as worker list names it\n",
		.params = {
			{"queue", CONTROL_NAME, true, "such as nic0/vf3 or nic0/vf3/tx0"},
			{"worker", CONTROL_NAME, true, "such as 1, or worker/1"},
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
