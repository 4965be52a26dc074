# SPDX-License-Identifier: BSD-3-Clause
"""A VM at a root: its kernel is the host of PFs and VFs, in PCI domain 10000."""
from harness import eventually
from traffic import function

# Gives the guest's own pciehp the slots; QEMU's default is hot-plug by ACPI, which knows nothing
# of what lies behind a root.
NATIVE_HOTPLUG = ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]

PORT = "10000:00:00.0"
PF = "10000:01:00.0"
SYSFS = "/sys/bus/pci/devices/"
DRIVER = "/sys/bus/pci/drivers/virtio-pci/"


def vf_address(n):
    """Where a root's nth VF (from 0) is: they follow the PF, eight functions to a device number."""
    return "10000:01:%02x.%x" % divmod(n + 1, 8)


def set_vfs(vm, count):
    """The kernel makes that many VFs; returns {address: netdev of it} when all are bound."""
    vm.sh("echo %d > %s%s/sriov_numvfs" % (count, SYSFS, PF))
    links = vm.sh("for l in %s%s/virtfn*; do [ -e $l ] && basename $(readlink $l); done; true"
                  % (SYSFS, PF)).split()
    assert sorted(links) == sorted(vf_address(n) for n in range(count)), links
    devs = {d["pci"]: name for name, d in vm.netdevs().items() if d["driver"] == "virtio_net"}
    return {a: devs[a] for a in links}


def up(vm, dev, address, netns=None):
    """Give it an address and carrier, in a network namespace of its own if one is named."""
    inside = "-n %s" % netns if netns else ""
    if netns:
        vm.sh("ip netns add %s; ip link set %s netns %s" % (netns, dev, netns))
    vm.sh("ip %s addr replace %s/24 dev %s nodad && ip %s link set %s up"
          % (inside, address, dev, inside, dev))


def ping(vm, to, netns=None, count=2):
    vm.sh("%s ping -c %d -i 0.2 -W 5 %s" % ("ip netns exec " + netns if netns else "", count, to))


def config(vm, address, register):
    """A register of configuration space, as setpci names it."""
    return vm.sh("setpci -s %s %s" % (address, register))


def bind(vm, address):
    vm.sh("echo %s > %sbind" % (address, DRIVER))


def unbind(vm, address):
    vm.sh("echo %s > %sunbind" % (address, DRIVER))


def bound(vm, address):
    return vm.status("test -e %s%s" % (DRIVER, address)) == 0


def held_by_root(d, name, root):
    return eventually(lambda: function(d, name)["holder"] == "root"
                      and function(d, name)["root"] == root, 5, what="%s in %s" % (name, root))
