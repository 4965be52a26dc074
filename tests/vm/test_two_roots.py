# SPDX-License-Identifier: BSD-3-Clause
"""Two VMs at roots of their own on one device, and what one can do to the other: nothing."""
import json
import re
import signal

import roots
from daemon import Daemon
from harness import eventually, log, shared, timeout
from qemu import VM
from roots import NATIVE_HOTPLUG, PF, SYSFS, ping, set_vfs, up, vf_address
from traffic import function, iperf_server, stats

TOTAL = 16                              # of which each root is given a half


@shared
def world():
    """d, the VM that must not be disturbed; it has VFs in the namespaces v0 and v1."""
    d = Daemon({"workers": 1, "devices": {"nic0": {"type": "ethernet", "total-vfs": TOTAL}},
                "roots": {"host0": {"devices": ["nic0"]}, "host1": {"devices": ["nic0"]}}})
    calm = VM("calm", vfio_user=[d.sock("host0")], extra=NATIVE_HOTPLUG)
    d.wild = VM("wild", vfio_user=[d.sock("host1")], spare=0)
    set_up(d, calm, 0)
    return d, calm


def set_up(d, vm, root):
    """Two VFs of a root, in namespaces; and its PF outside."""
    devs = set_vfs(vm, 2)
    for n in range(2):
        up(vm, devs[vf_address(n)], "10.0.%d.%d" % (root, n + 1), "v%d" % n)
        vm.sh("ip -n v%d route add 10.0.0.0/16 dev %s" % (n, devs[vf_address(n)]))
    pf = vm.netdev(function(d, "nic0/pf%d" % root)["mac"])
    up(vm, pf, "10.0.%d.100" % root)
    vm.sh("ip route add 10.0.0.0/16 dev %s" % pf)


def test_each_has_its_own_share():
    d, calm = world()
    wild = d.wild
    set_up(d, wild, 1)
    for n, vm in enumerate((calm, wild)):
        assert vm.sh("cat %s%s/sriov_totalvfs" % (SYSFS, PF)) == str(TOTAL // 2)
        text = vm.sh("lspci -vvv -s " + PF)
        half = TOTAL // 2
        assert "Initial VFs: %d, Total VFs: %d, Number of VFs: 2," % (half, half) in text
        mine = {f["mac"] for f in d.cli("show", "functions", "-j") if f["root"] == "host%d" % n}
        moved = vm.sh("for n in v0 v1; do ip -n $n -o link; done | grep -o 'ether [0-9a-f:]*'")
        seen = {i["mac"] for i in vm.netdevs().values()} | set(moved.split()) - {"ether"}
        assert seen == mine and len(mine) == 3, (seen, mine)
    numbers = {f["name"] for f in d.cli("show", "functions", "-j")}
    assert numbers == {"nic0/pf0", "nic0/vf0", "nic0/vf1", "nic0/pf1", "nic0/vf8", "nic0/vf9"}


def test_they_talk_over_the_switch():
    d, calm = world()
    for to in ("10.0.1.100", "10.0.1.1", "10.0.1.2"):
        ping(calm, to)
        ping(calm, to, "v0")
    ping(d.wild, "10.0.0.2", "v1")
    # A frame goes by the switch, and not by a root's own kernel.
    before = stats(d, "nic0/vf9")["rx-packets"]
    ping(calm, "10.0.1.2", "v0", 5)
    assert stats(d, "nic0/vf9")["rx-packets"] - before >= 5


class Undisturbed:
    """TCP and ping between calm's VFs for as long as the block lasts; neither may falter."""

    RATE = 4                            # Mb/s: all machines share two cores

    def __init__(self, vm):
        self.vm = vm

    def __enter__(self):
        iperf_server(self.vm, "ip netns exec v1")
        self.tcp = self.vm.spawn("exec ip netns exec v0 iperf3 -c 10.0.0.2 -b %dM -t 600 -J"
                                 % self.RATE)
        self.ping = self.vm.spawn("exec ip netns exec v1 ping -q -i 0.2 -W 5 10.0.0.1")
        return self

    def __exit__(self, kind, *_):
        for job in (self.tcp, self.ping):
            assert kind or not job.done, job.out + job.err
            job.kill(signal.SIGINT)
        if kind:
            return
        # -W: replies that are on their way at the end are no losses.
        sent, got = re.search(r"(\d+) packets transmitted, (\d+) received",
                              self.ping.wait(20, check=False)).groups()
        result = json.loads(self.tcp.wait(20, check=False))
        assert "interrupt" in result["error"], result["error"]
        each = [round(i["sum"]["bits_per_second"] / 1e6, 1) for i in result["intervals"]]
        log("ping: %s of %s; Mb/s in each second:" % (got, sent), each)
        assert int(sent) - int(got) <= 1, "%s of %s pings answered" % (got, sent)
        # Two seconds on end without a byte would be a stall, even on a busy machine.
        assert len(each) > 5 and all(x or y for x, y in zip(each, each[1:])), each
        assert sum(each) / len(each) > 0.7 * self.RATE, each


@timeout(120)
def test_one_resets_unloads_and_dies():
    d, calm = world()
    wild = d.wild
    with Undisturbed(calm):
        wild.sh("echo 0 > %s%s/sriov_numvfs" % (SYSFS, PF))
        set_vfs(wild, TOTAL // 2)
        roots.unbind(wild, PF)
        wild.sh("echo 1 > %s%s/reset" % (SYSFS, PF))
        roots.bind(wild, PF)
        set_vfs(wild, 2)
        # All behind the root at once: Secondary Bus Reset of its port, by force.
        wild.sh("setpci -s %s BRIDGE_CONTROL=40:40; setpci -s %s BRIDGE_CONTROL=0:40"
                % (roots.PORT, roots.PORT))
        eventually(lambda: function(d, "nic0/pf1")["driver"]["state"] != "running", 5)
        assert {f["name"] for f in d.cli("show", "functions", "-j") if f["root"] == "host1"} == \
            {"nic0/pf1"}
        wild.reset()
        wild.netdev(function(d, "nic0/pf1")["mac"])
        set_vfs(wild, 3)
        wild.sh("modprobe -r vmd")
        wild.sh("modprobe vmd")
        set_vfs(wild, 2)
        wild.kill9()
        eventually(lambda: d.cli("show", "roots", "-j")[1]["client"] is None, 5)
        assert {f["name"] for f in d.cli("show", "functions", "-j") if f["root"] == "host1"} == \
            {"nic0/pf1"}
    ping(calm, "10.0.0.2", "v0")


@timeout(120)
def test_the_dead_ones_place_is_free():
    d, calm = world()
    if d.wild.alive():
        d.wild.kill9()
    with Undisturbed(calm):
        d.wild = VM("again", vfio_user=[d.sock("host1")], spare=0)
        set_up(d, d.wild, 1)
        ping(d.wild, "10.0.0.100")
        ping(calm, "10.0.1.2", "v0")
        # Its kernel has no hot-plug of PCI Express (QEMU's default): by hand, then.
        said = d.cli("root", "unplug", "host1", "nic0", check=False)
        assert said.returncode and "handles no hot-plug" in said.stderr, said
        d.wild.sh("echo 1 > %s%s/remove" % (SYSFS, PF))
        d.cli("root", "unplug", "host1", "nic0")
        d.cli("root", "plug", "host1", "nic0")
        d.wild.sh("echo 1 > /sys/bus/pci/rescan")
        d.wild.netdev(function(d, "nic0/pf1")["mac"])
        assert len(set_vfs(d.wild, TOTAL // 2)) == TOTAL // 2
