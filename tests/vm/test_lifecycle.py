# SPDX-License-Identifier: BSD-3-Clause
"""What happens to functions: resets, drivers and VMs that come and go, or die."""
import os
import signal

from daemon import Daemon
from harness import eventually, log, shared, skip, timeout
from qemu import VM, VMError
from traffic import (carrier, function, iface, iperf_result, iperf_start, no_ping, ping, stats,
                     transfer)


def address(n):
    return "10.0.0.%d" % (n or 10)


@shared
def world():
    """The daemon, and VMs 1 and 2 on VF 1 and 2."""
    d = Daemon({"devices": {"nic0": {"type": "ethernet", "total-vfs": 8, "num-vfs": 5}}})
    vms = [VM("vm%d" % n, vfio_user=[d.sock("nic0/vf%d" % n)]) for n in (1, 2)]
    for n, vm in enumerate(vms, 1):
        vm.dev = iface(d, vm, "nic0/vf%d" % n, address(n) + "/24")
    return [d] + vms


def again(d, vm, n):
    """The interface after it was gone: same MAC, same address, and it works."""
    vm.dev = iface(d, vm, "nic0/vf%d" % n, address(n) + "/24")


def virtio_of(vm, dev):
    """Name of the virtio device, and of the PCI function."""
    return (vm.sh("basename $(readlink /sys/class/net/%s/device)" % dev),
            vm.netdevs()[dev]["pci"])


def test_driver_unbind_and_bind():
    d, a, b = world()
    ping(a, address(2))
    virtio, pci = virtio_of(a, a.dev)
    a.sh("echo %s > /sys/bus/virtio/drivers/virtio_net/unbind" % virtio)
    assert not a.netdevs()
    eventually(lambda: function(d, "nic0/vf1")["driver"]["state"] == "none", 5)
    no_ping(b, address(1))
    a.sh("echo %s > /sys/bus/virtio/drivers/virtio_net/bind" % virtio)
    again(d, a, 1)
    ping(a, address(2))
    # The PCI driver, several times; and a driver that is not virtio's in between.
    for _ in range(3):
        a.sh("echo %s > /sys/bus/pci/drivers/virtio-pci/unbind" % pci)
        a.sh("echo %s > /sys/bus/pci/drivers/virtio-pci/bind" % pci)
    again(d, a, 1)
    transfer(b, a, address(1), 4)


def test_reset_through_sysfs():
    d, a, b = world()
    _, pci = virtio_of(a, a.dev)
    sys = "/sys/bus/pci/devices/%s" % pci
    assert "flr" in a.sh("cat %s/reset_method" % sys).split()
    # Without its driver: that of Linux 6.12 does not know of resets, and hangs ever after.
    a.sh("echo %s > /sys/bus/pci/drivers/virtio-pci/unbind" % pci)
    a.sh("echo flr > %s/reset_method" % sys)
    a.sh("for i in 1 2 3; do echo 1 > %s/reset || exit 1; done" % sys)
    a.sh("echo %s > /sys/bus/pci/drivers/virtio-pci/bind" % pci)
    again(d, a, 1)
    ping(a, address(2))
    transfer(a, b, address(2), 4)


@timeout(150)
def test_reboot_of_the_guest():
    d, a, b = world()
    pid = function(d, "nic0/vf1")["client"]["pid"]
    a.reboot()
    again(d, a, 1)
    ping(b, address(1))
    transfer(b, a, address(1), 4)
    assert function(d, "nic0/vf1")["client"]["pid"] == pid
    assert function(d, "nic0/vf1")["driver"]["state"] == "running"


def test_taken_endpoint_is_refused():
    d, a, b = world()
    before = function(d, "nic0/vf1")["refused"]
    try:
        b.device_add(d.sock("nic0/vf1"))
        assert False, "a VF was given to two VMs"
    except VMError as e:
        log("QEMU says:", e)
    f = function(d, "nic0/vf1")
    assert f["refused"] == before + 1
    assert f["client"]["pid"] == a.proc.pid
    assert "nic0/vf1" in d.log() and "refuse" in d.log(), d.log()
    ping(b, address(1))


@shared
def host():
    """A VM without functions: they are plugged while it runs."""
    return VM("host", spare=6)


def plug(d, vm, vf):
    """Hot-plug. The interface comes up in a namespace "hotVF", or Linux would cut routes short."""
    ident = vm.device_add(d.sock("nic0/vf%d" % vf))
    dev = vm.netdev(function(d, "nic0/vf%d" % vf)["mac"], 20)
    vm.sh("n=hot%d && ip netns add $n && ip link set %s netns $n && "
          "ip -n $n addr add 10.0.0.%d/24 dev %s && ip -n $n link set %s up" % (
              vf, dev, 100 + vf, dev, dev))
    return ident, dev


def test_plug():
    d, a, _ = world()
    vm = host()
    plug(d, vm, 3)
    vm.sh("ip netns exec hot3 ping -c 3 -i 0.2 -W 5 %s" % address(1))
    ping(a, "10.0.0.103")
    assert function(d, "nic0/vf3")["client"]["pid"] == vm.proc.pid


def assert_went_on(each):
    """Of a stream's half seconds: it moved data, to the end, and never stood still for long. With
    more virtual processors than cores a stream may well get nothing for a second or two."""
    silent = max(len(run) for run in "".join("x" if v > 0 else "0" for v in each).split("x"))
    assert sum(each[-3:]) > 0 and silent * 0.5 < 4, each


@timeout(180)
def test_killed_under_load():
    """QEMU dies while it sends and receives; two others do not lose their stream."""
    d, a, b = world()
    c, e = [VM("vm%d" % n, vfio_user=[d.sock("nic0/vf%d" % n)]) for n in (0, 4)]
    again(d, c, 0)
    again(d, e, 4)
    steady = iperf_start(a, b, address(2), "-i 0.5", 6)
    load = iperf_start(c, e, address(4), "--bidir", 30)
    eventually(lambda: stats(d, "nic0/vf0")["tx-bytes"] > 20000000, 20)
    c.kill9()
    eventually(lambda: function(d, "nic0/vf0")["client"] is None, 5, 0.05)
    state = function(d, "nic0/vf0")
    assert state["driver"]["state"] == "none" and state["driver"]["queues"] == 0, state
    end = iperf_result(steady)
    log("steady stream, Mb/s:", end["each"])
    assert_went_on(end["each"])
    no_ping(e, address(0))
    # At once attachable again.
    c = VM("again", vfio_user=[d.sock("nic0/vf0")])
    again(d, c, 0)
    assert carrier(e, e.dev)
    ping(c, address(4))
    transfer(c, a, address(1), 2)
    assert load.lost


def test_more_vfs_while_running():
    d, a, b = world()
    vm = host()
    steady = iperf_start(a, b, address(2), "-i 0.5", 3)
    assert not os.path.exists(d.run_dir + "/nic0/vf5.sock")
    d.cli("device", "set", "nic0", "num-vfs", 8)
    plug(d, vm, 7)
    end = iperf_result(steady)
    assert_went_on(end["each"])
    ping(a, "10.0.0.107")
    # A VF that a VM holds is not taken away by a slip.
    res = d.cli("device", "set", "nic0", "num-vfs", 5, check=False)
    assert res.returncode == 1 and "nic0/vf7" in res.stderr, res.stderr
    ping(a, "10.0.0.107")
    d.cli("device", "set", "nic0", "num-vfs", 5, "--force")
    assert not os.path.exists(d.run_dir + "/nic0/vf5.sock")
    assert vm.sh("echo well") == "well"
    ping(a, address(2))


def test_memory_that_is_not_shared():
    """No file behind the guest's memory: each access is a message to QEMU."""
    d, a, _ = world()
    m = VM("noshare", vfio_user=[d.sock("nic0/vf0")], share=False)
    again(d, m, 0)
    assert function(d, "nic0/vf0")["client"]["remote-memory"]
    ping(m, address(1), 5)
    ping(a, address(0), 5)
    log("%.0f and %.0f Mb/s" % (transfer(m, a, address(1), 2), transfer(a, m, address(0), 2)))


def test_end_of_the_daemon():
    """SIGTERM with a VM attached and talking: it ends at once, leaving nothing."""
    d = Daemon({"devices": {"nic0": {"type": "ethernet", "total-vfs": 2, "num-vfs": 1}}})
    vm = VM("orphan")
    _, dev = plug(d, vm, 0)
    flood = vm.spawn("exec ip netns exec hot0 ping -f -b -I %s 10.0.0.255" % dev)
    eventually(lambda: stats(d, "nic0/vf0")["tx-packets"] > 50, 10)
    d.proc.send_signal(signal.SIGTERM)
    d.proc.wait(5)
    d.ended = True
    assert d.proc.returncode == 0, d.log()
    left = [f for _, _, names in os.walk(d.run_dir) for f in names if f.endswith(".sock")]
    assert not left, left
    # The VM lives on without its function, unless QEMU cannot bear the loss.
    try:
        flood.kill()
        assert vm.sh("echo well") == "well"
    except VMError:
        if vm.alive():
            raise
        vm.dead = True
        skip("QEMU ended when the function's server did: " + vm.qemu_log()[-300:])


def test_unplug():
    """The guest lets go, QEMU hangs up, and the VF can be given to another."""
    d, a, b = world()
    vm = VM("unplug")
    ident = vm.device_add(d.sock("nic0/vf4"))
    dev = vm.netdev(function(d, "nic0/vf4")["mac"], 20)
    vm.sh("ip link set %s up" % dev)
    eventually(lambda: function(d, "nic0/vf4")["driver"]["state"] == "running", 5)
    vm.qmp("device_del", id=ident)
    eventually(lambda: function(d, "nic0/vf4")["driver"]["state"] == "none", 20)
    eventually(lambda: function(d, "nic0/vf4")["client"] is None, 20)
    ident = b.device_add(d.sock("nic0/vf4"))
    assert b.netdev(function(d, "nic0/vf4")["mac"], 20)
    ping(a, address(2))
    eventually(lambda: not vm.alive() or vm.monitor.wait_event("DEVICE_DELETED"), 5)
    if not vm.alive() and "memory_region_del_subregion" in vm.qemu_log():
        # QEMU up to 11.1 takes a region apart twice when a vfio-user device goes.
        vm.dead = True
        skip("the VF was given back, but then this QEMU ended by a fault of its own")
    assert not vm.netdevs() and vm.sh("echo well") == "well"
