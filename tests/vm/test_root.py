# SPDX-License-Identifier: BSD-3-Clause
"""A VM at a root makes VFs with its own kernel; one of them is lent to another VM."""
import re
import time

import roots
from daemon import Daemon
from harness import eventually, log, shared, timeout
from qemu import VM, VMError
from roots import NATIVE_HOTPLUG, PF, PORT, SYSFS, config, ping, set_vfs, up, vf_address
from traffic import function, iface

TOTAL = 8
LENT = 7                                # nic0/vf7, attached by the other VM


@shared
def host():
    d = Daemon({"devices": {"nic0": {"type": "ethernet", "total-vfs": TOTAL},
                            "nic1": {"type": "ethernet", "total-vfs": 2}},
                "roots": {"host0": {"devices": ["nic0", "nic1"]}}})
    vm = VM("host", vfio_user=[d.sock("host0")], extra=NATIVE_HOTPLUG, mem="384M")
    other = VM("other")
    log("root is up after %s" % vm.sh("cut -d' ' -f1 /proc/uptime; dmesg | grep 'Bound to PCI'"))
    return d, vm, other


def vfs_up(vm, devs, count=2):
    """The first VFs in namespaces v0, v1 ...; the PF stays outside."""
    for n in range(count):
        up(vm, devs[vf_address(n)], "10.0.0.%d" % (n + 1), "v%d" % n)
    (pf,) = [n for n, i in vm.netdevs().items() if i["pci"] == PF]
    up(vm, pf, "10.0.0.100")


def functions(d):
    """Names of nic0's functions."""
    return {f["name"] for f in d.cli("show", "functions", "-j") if f["device"] == "nic0"}


def drop_namespaces(vm):
    vm.sh("for n in $(ip netns list | cut -d' ' -f1); do ip netns del $n; done")


def test_hierarchy():
    d, vm, _ = host()
    assert "Bound to PCI domain 10000" in vm.sh("dmesg")
    text = vm.sh("lspci -D")
    assert re.search(r"%s PCI bridge" % PORT, text) and re.search(r"%s Ethernet.*Virtio" % PF, text)
    assert [i["driver"] for i in vm.netdevs().values() if i["pci"] == PF] == ["virtio_net"]
    pf = function(d, "nic0/pf")
    assert (pf["root"], pf["holder"], pf["rid"]) == ("host0", "root", "01:00.0")
    assert pf["driver"]["state"] == "running"
    assert pf["mac"] in {i["mac"] for i in vm.netdevs().values()}
    (root,) = d.cli("show", "roots", "-j")
    assert root["client"]["pid"] == vm.proc.pid and root["client"]["errors"] == 0


def test_two_devices_in_a_root():
    d, vm, _ = host()
    pf = function(d, "nic1/pf")
    assert (pf["root"], pf["rid"]) == ("host0", "02:00.0")
    (dev,) = [n for n, i in vm.netdevs().items() if i["pci"] == "10000:02:00.0"]
    vm.sh("echo 1 > %s10000:02:00.0/sriov_numvfs" % SYSFS)
    vf = vm.netdev(function(d, "nic1/vf0")["mac"])
    up(vm, dev, "10.2.0.100")
    up(vm, vf, "10.2.0.1", "w")
    ping(vm, "10.2.0.100", "w")
    vm.sh("ip netns del w; echo 0 > %s10000:02:00.0/sriov_numvfs" % SYSFS)
    assert function(d, "nic0/pf")["holder"] == "root"


def test_lspci_of_pf():
    _, vm, _ = host()
    text = vm.sh("lspci -vvv -s " + PF)
    for line in (r"Express \(v2\) Endpoint", r"FLReset\+", r"MSI-X: Enable\+",
                 r"Alternative Routing-ID Interpretation \(ARI\)",
                 r"Single Root I/O Virtualization \(SR-IOV\)",
                 r"IOVCap:\s+Migration- ",
                 r"IOVCtl:\s+Enable- Migration- Interrupt- MSE- ARIHierarchy\+",
                 r"Initial VFs: %d, Total VFs: %d, Number of VFs: 0, Function Dependency Link: 00"
                 % (TOTAL, TOTAL),
                 r"VF offset: 1, stride: 1, Device ID: 1041",
                 r"Supported Page Size: 00000553, System Page Size: 00000001",
                 r"Region 2: Memory at [0-9a-f]+ \(64-bit, prefetchable\)",
                 r"VF Migration: offset: 00000000, BIR: 0"):
        assert re.search(line, text), line
    assert "ARIFwd+" in vm.sh("lspci -vvv -s " + PORT)


def test_vfs_come_and_go():
    d, vm, _ = host()
    vm.sh("cd %s%s && test $(cat sriov_totalvfs) = %d && test $(cat sriov_numvfs) = 0"
          % (SYSFS, PF, TOTAL))
    assert set_vfs(vm, 0) == {}
    assert functions(d) == {"nic0/pf"}
    devs = set_vfs(vm, 4)
    assert len(devs) == 4 and functions(d) == {"nic0/pf"} | {"nic0/vf%d" % n for n in range(4)}
    for n in range(4):
        vf = function(d, "nic0/vf%d" % n)
        assert vm.netdev(vf["mac"]) == devs[vf_address(n)]
        assert vf["root"] == "host0" and "01:%02x.%x" % divmod(n + 1, 8) == vf["rid"]
        d.sock("nic0/vf%d" % n)
    assert "Enable+ " in vm.sh("lspci -vvv -s %s | grep IOVCtl" % PF)
    # The identity comes from the PF: on the bus a VF reads FFFFh.
    assert config(vm, vf_address(0), "0.l") == "ffffffff"
    assert "1af4:1041" in vm.sh("lspci -n -s " + vf_address(0))
    # More than there are, or another number while some exist, the kernel refuses by itself.
    assert vm.status("echo 9 > %s%s/sriov_numvfs" % (SYSFS, PF))
    assert set_vfs(vm, 0) == {} and functions(d) == {"nic0/pf"}
    assert vm.sh("lspci -s " + vf_address(0)) == ""
    assert len(set_vfs(vm, TOTAL)) == TOTAL and len(functions(d)) == TOTAL + 1
    assert "Number of VFs: %d," % TOTAL in vm.sh("lspci -vvv -s " + PF)


def test_vfs_ping_in_namespaces():
    _, vm, _ = host()
    set_vfs(vm, 0)
    vfs_up(vm, set_vfs(vm, TOTAL))
    ping(vm, "10.0.0.2", "v0")
    ping(vm, "10.0.0.100", "v1")
    ping(vm, "10.0.0.1")
    # Interrupts of all these come by vectors of the endpoint.
    lines = vm.sh("grep -E 'vmd|virtio' /proc/interrupts").splitlines()
    own = [line.split() for line in lines if re.search(r" vmd\d+$", line)]
    assert len(own) == 64 and sum(int(w[1]) for w in own) > 10, own
    assert len([line for line in lines if re.search(r"virtio\d+-input", line)]) == TOTAL + 2


@timeout(90)
def test_lend_a_vf():
    d, vm, other = host()
    if vm.sh("ip netns list") == "":
        set_vfs(vm, 0)
        vfs_up(vm, set_vfs(vm, TOTAL))
    name, address = "nic0/vf%d" % LENT, vf_address(LENT)
    sock = d.sock(name)
    # In use: refused, with the reason, and nobody is harmed.
    other.wait_ready()
    try:
        other.device_add(sock, "lent")
    except VMError as e:
        assert "busy" in str(e), e
    else:
        assert False, "taken from a driver that uses it"
    assert other.alive() and "a driver in root host0 is using it" in d.log()
    assert function(d, name)["refused"] == 1
    ping(vm, "10.0.0.2", "v0")
    # Let go of: it leaves the root and goes to the other VM.
    roots.unbind(vm, address)
    assert config(vm, address, "34.b") != "ff"
    other.device_add(sock, "lent")
    dev = iface(d, other, name, "10.0.0.50/24")
    assert function(d, name)["holder"] == "endpoint"
    assert function(d, name)["client"]["pid"] == other.proc.pid
    for register in ("0.l", "34.b", "COMMAND"):
        assert set(config(vm, address, register)) == {"f"}
    roots.ping(other, "10.0.0.1")
    ping(vm, "10.0.0.50", "v1")
    # The root's kernel gets nowhere with it, and comes to no harm.
    vm.sh("echo %s > %sbind; true" % (address, roots.DRIVER))
    assert not roots.bound(vm, address)
    # While it is away, a reset of a neighbour is none of its business.
    roots.unbind(vm, vf_address(3))
    vm.sh("echo 1 > %s%s/reset" % (SYSFS, vf_address(3)))
    roots.bind(vm, vf_address(3))
    roots.ping(other, "10.0.0.2")
    assert other.sh("cat /sys/class/net/%s/carrier" % dev) == "1"
    # Its VM dies: it is back in the root, fresh.
    other.kill9()
    roots.held_by_root(d, name, "host0")
    assert config(vm, address, "34.b") != "ff" and config(vm, address, "COMMAND") == "0000"
    roots.bind(vm, address)
    up(vm, vm.netdev(function(d, name)["mac"]), "10.0.0.8", "v7")
    ping(vm, "10.0.0.1", "v7")
    drop_namespaces(vm)


def test_unbind_and_bind_the_pf():
    d, vm, _ = host()
    set_vfs(vm, 0)
    set_vfs(vm, 2)
    roots.unbind(vm, PF)                # the driver takes its VFs along
    assert functions(d) == {"nic0/pf"}
    # FLR of the PF, by its own capability.
    assert "flr" in vm.sh("cat %s%s/reset_method" % (SYSFS, PF))
    vm.sh("echo 1 > %s%s/reset" % (SYSFS, PF))
    roots.bind(vm, PF)
    vfs_up(vm, set_vfs(vm, 2), 2)
    ping(vm, "10.0.0.2", "v0")
    ping(vm, "10.0.0.1")
    drop_namespaces(vm)


def pf_there(vm):
    return vm.status("test -e " + SYSFS + PF) == 0


@timeout(90)
def test_hotplug():
    d, vm, _ = host()
    set_vfs(vm, 0)
    set_vfs(vm, 2)
    vm.sh("dmesg -c > /dev/null")
    # Asked by the attention button; the command waits, and asking more often changes nothing.
    begin = time.monotonic()
    said = d.cli("root", "unplug", "host0", "nic0", check=False, timeout=30)
    assert said.returncode == 0 and "was asked to let go" in said.stderr, said
    log("unplugged after %.1f s" % (time.monotonic() - begin))
    assert "Button press: will power off" in vm.sh("dmesg")
    eventually(lambda: not pf_there(vm), 5)
    assert function(d, "nic0/pf")["holder"] != "root"
    assert config(vm, PORT, "CAP_EXP+1a.w")[2] == "0", "presence is still shown"
    begin = time.monotonic()
    d.cli("root", "plug", "host0", "nic0")
    eventually(lambda: PF in {i["pci"] for i in vm.netdevs().values()}, 15, 0.3, "the PF is back")
    log("plugged after %.1f s" % (time.monotonic() - begin))
    # virtio_net waits with the RTNL held for the answer to a control command; a function that is
    # torn out never gives it, and the others' removal wants the RTNL. So without IPv6, whose
    # joining of groups makes such commands for seconds, and after they had the time to end.
    vm.sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
    vfs_up(vm, set_vfs(vm, 2))
    ping(vm, "10.0.0.2", "v0", 10)
    # Torn out with everything in use.
    d.cli("root", "unplug", "host0", "nic0", "--force")
    try:
        eventually(lambda: not pf_there(vm), 15, 0.3, "the guest notices that the PF is gone")
    except AssertionError:
        log(vm.sh("dmesg; for p in /proc/[0-9]*; do echo $p $(cat $p/comm); cat $p/stack; done; "
                  "setpci -s %s CAP_EXP+18.l" % PORT, check=False))
        raise
    eventually(lambda: "Link Down" in vm.sh("dmesg"), 5)
    drop_namespaces(vm)
    # Back at once, in the middle of what the guest does about it.
    d.cli("root", "plug", "host0", "nic0")
    eventually(lambda: PF in {i["pci"] for i in vm.netdevs().values()}, 15, 0.3, "the PF is back")
    vfs_up(vm, set_vfs(vm, 2))
    ping(vm, "10.0.0.100", "v1")
    # And there it stays: nothing of all this was mistaken for a request to let go.
    time.sleep(6)
    ping(vm, "10.0.0.100", "v1")
    drop_namespaces(vm)
    assert not re.search(r"BUG|WARNING|Oops|Call Trace", vm.sh("dmesg")), vm.sh("dmesg")


def test_vmd_driver_goes_and_comes():
    d, vm, _ = host()
    set_vfs(vm, 0)
    set_vfs(vm, 2)
    vm.sh("modprobe -r vmd")
    assert not vm.netdevs()
    assert functions(d) == {"nic0/pf"}
    assert function(d, "nic0/pf")["driver"]["state"] != "running"
    vm.sh("modprobe vmd")
    vm.netdev(function(d, "nic0/pf")["mac"])
    vfs_up(vm, set_vfs(vm, 2))
    ping(vm, "10.0.0.2", "v0")
    drop_namespaces(vm)


@timeout(90)
def test_reboot():
    d, vm, _ = host()
    set_vfs(vm, 0)
    set_vfs(vm, 2)
    vm.reboot()
    vm.netdev(function(d, "nic0/pf")["mac"])
    assert vm.sh("cat %s%s/sriov_numvfs" % (SYSFS, PF)) == "0"
    assert functions(d) == {"nic0/pf"}
    vfs_up(vm, set_vfs(vm, 3))
    ping(vm, "10.0.0.2", "v0")
    ping(vm, "10.0.0.100", "v1")
