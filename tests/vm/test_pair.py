# SPDX-License-Identifier: BSD-3-Clause
"""Two VMs, two VFs each: what a user does first, and what an administrator sets live."""
from daemon import Daemon
from harness import eventually, log, shared, timeout
from qemu import VM, CommandFailed
from traffic import (carrier, drops, guest_counters, iface, iperf, iperf_mbps, iperf_result, iperf_start,
                     no_ping, ping, stats, transfer)

A, B = "10.0.0.1", "10.0.0.2"           # of nic0, jumbo frames
A1, B1 = "10.1.0.1", "10.1.0.2"         # of nic1, where policy is tried


@shared
def pair():
    d = Daemon({"devices": {
        "nic0": {"type": "ethernet", "total-vfs": 4, "num-vfs": 2, "mtu": 9000},
        "nic1": {"type": "ethernet", "total-vfs": 4, "num-vfs": 2, "vfs": {
            0: {"mac": "02:00:00:00:01:00", "vlan": 100},
            1: {"mac": "02:00:00:00:01:01", "vlan": 200}}}}})
    a, b = [VM("vm%d" % n, vfio_user=[d.sock("nic0/vf%d" % n), d.sock("nic1/vf%d" % n)])
            for n in (0, 1)]
    a.dev, b.dev = iface(d, a, "nic0/vf0", A + "/24"), iface(d, b, "nic0/vf1", B + "/24")
    a.dev1, b.dev1 = iface(d, a, "nic1/vf0", A1 + "/24"), iface(d, b, "nic1/vf1", B1 + "/24")
    return d, a, b


def joined():
    """The pair with nic1's VFs in one VLAN."""
    d, a, b = pair()
    for n in (0, 1):
        d.cli("vf", "set", "nic1/vf%d" % n, "vlan", 100)
    return d, a, b


def test_ping():
    _, a, b = pair()
    ping(a, B, 5)
    ping(b, A, 5)
    a.sh("ping -6 -c 2 -W 5 -I %s ff02::1" % a.dev)


def test_what_the_guest_sees():
    d, a, _ = pair()
    assert {n["driver"] for n in a.netdevs().values()} == {"virtio_net"}
    assert "Virtio 1.0 network device" in a.sh("lspci -s %s" % a.netdevs()[a.dev]["pci"])
    show = {f["name"]: f for f in d.cli("show", "functions", "-j")}
    for name, vm in (("nic0/vf0", 0), ("nic1/vf1", 1)):
        assert show[name]["client"]["pid"] == pair()[1 + vm].proc.pid
        assert show[name]["driver"]["state"] == "running"
        assert show[name]["link"] == "up"
    assert show["nic0/pf"]["client"] is None
    # The memory of the guest is mapped, not copied through the socket.
    assert show["nic0/vf0"]["client"]["dma-bytes"] >= 256 << 20
    assert a.sh("ethtool %s | grep Speed" % a.dev).strip() == "Speed: 10000Mb/s"


def test_mtu_9000():
    _, a, b = pair()
    # The driver takes the device's MTU as its own.
    assert a.sh("cat /sys/class/net/%s/mtu" % a.dev) == "9000"
    ping(a, B, 3, size=8900)
    ping(b, A, 3, size=8972)
    no_ping(a, B, size=8973)
    # nic1 was given none: 1500.
    assert a.sh("cat /sys/class/net/%s/mtu" % a.dev1) == "1500"


def test_tcp_both_ways():
    _, a, b = pair()
    for args in ("", "-R", "-l 1400 -N", "-P 4"):
        mbps = iperf_mbps(a, b, B, args)
        log("iperf3 %s: %.0f Mb/s" % (args, mbps))
        assert mbps > 10, mbps


def test_udp():
    _, a, b = pair()
    for args in ("", "-R"):
        end = iperf(a, b, B, "-u -b 10M -l 1400 " + args)["sum"]
        log("iperf3 -u %s: %d of %d lost" % (args, end["lost_packets"], end["packets"]))
        assert end["packets"] > 1000
        # A guest that got no processor for a while may lose a ring full; nobody else may.
        assert end["lost_packets"] * 5 < end["packets"], end


@timeout(240)
def test_200_megabytes():
    _, a, b = pair()
    mbps = transfer(a, b, B, 200, timeout=180)
    log("200 MB, hashed by the receiver: %.0f Mb/s" % mbps)


@timeout(60)
def test_data_at_mtu_1500():
    d, a, b = joined()
    transfer(a, b, B1, 10)
    transfer(b, a, A1, 10)
    assert stats(d, "nic1/vf1")["tx-bytes"] > 10000000


def test_vlans_apart_and_together():
    d, a, b = pair()
    # As configured, unless another test was here.
    d.cli("vf", "set", "nic1/vf0", "vlan", 100)
    d.cli("vf", "set", "nic1/vf1", "vlan", 200)
    before = stats(d, "nic1/vf1")["rx-packets"]
    no_ping(a, B1)
    assert stats(d, "nic1/vf1")["rx-packets"] == before
    d.cli("vf", "set", "nic1/vf1", "vlan", 100, "qos", 3)
    ping(a, B1)
    # Without tags: they are put on and taken off by the switch.
    dump = b.spawn("timeout 20 tcpdump -Z root -p -c 2 -e -n -l -i %s icmp or vlan" % b.dev1)
    eventually(lambda: "listening" in dump.err, 10)
    ping(a, B1)
    assert "vlan" not in dump.wait(), dump.out
    d.cli("vf", "set", "nic1/vf1", "vlan", 0)
    no_ping(a, B1)
    d.cli("vf", "set", "nic1/vf0", "vlan", 0)
    ping(b, A1)
    assert [f["vlan"] for f in d.cli("show", "functions", "-j") if f["device"] == "nic1"] == [0] * 3


def test_change_disturbs_no_stream():
    """Policy of one port is set again and again while others' frames flow."""
    d, a, b = pair()
    dropped = stats(d, "nic0/vf1")["tx-dropped"]
    job = iperf_start(a, b, B, "", 3)
    n = 0
    while not job.done:
        d.cli("vf", "set", "nic0/vf1", "trust", "on" if n % 2 else "off", "link-state",
              "enable" if n % 2 else "auto")
        n += 1
    d.cli("vf", "set", "nic0/vf1", "trust", "off", "link-state", "auto")
    end = iperf_result(job)
    log("changed %d times" % n)
    assert n > 5 and min(end["each"][:3]) > 1, end["each"]
    assert stats(d, "nic0/vf1")["tx-dropped"] == dropped


def test_vlan_of_the_guest():
    """Tags that a guest puts on itself: a trunk lets some pass."""
    d, a, b = joined()
    for vm, addr in ((a, "10.7.0.1"), (b, "10.7.0.2")):
        vm.sh("ip link add link %s name t7 type vlan id 7 && ip addr add %s/24 dev t7 && "
              "ip link set t7 up" % (vm.dev1, addr))
    try:
        # On a port VLAN, a tagged frame is a forgery.
        before = drops(d, "nic1/vf0", "tx-spoof-vlan")
        no_ping(a, "10.7.0.2")
        assert drops(d, "nic1/vf0", "tx-spoof-vlan") > before
        for n in (0, 1):
            d.cli("vf", "set", "nic1/vf%d" % n, "vlan", 0, "trunk", "5-9")
        ping(a, "10.7.0.2")
        d.cli("vf", "set", "nic1/vf1", "trunk", "8-9")
        no_ping(a, "10.7.0.2")
        # An inner MTU of its own, and TSO with a tag.
        d.cli("vf", "set", "nic1/vf1", "trunk", "7")
        transfer(a, b, "10.7.0.2", 4)
    finally:
        for n, vm in enumerate((a, b)):
            d.cli("vf", "set", "nic1/vf%d" % n, "trunk", "off", "vlan", 100)
            vm.sh("ip link del t7")


def test_address_by_the_administrator():
    d, a, b = joined()
    dev, mac = a.dev1, "02:00:00:00:01:00"
    assert a.netdevs()[dev]["mac"] == mac
    try:
        a.sh("ip link set %s address 02:00:00:00:66:66" % dev)
        assert False, "the guest changed an address that the administrator gave"
    except CommandFailed:
        pass
    assert a.netdevs()[dev]["mac"] == mac
    ping(a, B1)
    # Trusted, it may.
    d.cli("vf", "set", "nic1/vf0", "trust", "on")
    a.sh("ip link set %s address 02:00:00:00:66:66" % dev)
    ping(a, B1)
    a.sh("ip link set %s address %s" % (dev, mac))
    d.cli("vf", "set", "nic1/vf0", "trust", "off")
    ping(a, B1)


def test_spoofed_frames():
    d, a, b = joined()
    # An interface with an address of its own above the VF: its frames have a foreign source.
    a.sh("ip link add link %s name spoof type macvlan mode private && "
         "ip link set spoof address 02:00:00:00:66:00 up && "
         "ip addr add 10.1.0.66/24 dev spoof" % a.dev1)
    dump = b.spawn("exec tcpdump -Z root -p -e -n -l -i %s ether src 02:00:00:00:66:00" % b.dev1)
    try:
        eventually(lambda: "listening" in dump.err, 10)
        was = stats(d, "nic1/vf0")
        a.sh("ping -c 2 -i 0.3 -W 1 -I spoof %s; true" % B1)
        now = stats(d, "nic1/vf0")
        forged = now["drops"]["tx-spoof-mac"] - was["drops"]["tx-spoof-mac"]
        assert 0 < forged == now["tx-dropped"] - was["tx-dropped"]
        # Its own frames pass all the while.
        ping(a, B1)
        assert stats(d, "nic1/vf0")["tx-packets"] > now["tx-packets"]
        assert not dump.out, dump.out
        # Without the check they do arrive.
        d.cli("vf", "set", "nic1/vf0", "spoofchk", "off")
        a.sh("ping -c 1 -W 1 -I spoof %s; true" % B1)
        eventually(lambda: "02:00:00:00:66:00" in dump.out, 10, what="the spoofed frame")
        # And with trust, answers do too: the port may have more addresses.
        d.cli("vf", "set", "nic1/vf0", "trust", "on")
        a.sh("ip neigh flush dev spoof nud all")      # Linux remembers that nobody answered
        ping(a, B1, dev="spoof")
    finally:
        dump.kill()
        d.cli("vf", "set", "nic1/vf0", "spoofchk", "on", "trust", "off")
        a.sh("ip link del spoof")


def test_link_state():
    d, a, b = joined()
    for state, up in (("disable", False), ("enable", True), ("disable", False), ("auto", True)):
        d.cli("vf", "set", "nic1/vf0", "link-state", state)
        eventually(lambda want=up: carrier(a, a.dev1) == want, 5, what="carrier upon " + state)
        assert carrier(b, b.dev1)
        if up:
            ping(a, B1)
        else:
            no_ping(b, A1)


def test_counters_agree():
    d, a, b = joined()
    for vm in (a, b):
        vm.sh("echo 1 > /proc/sys/net/ipv6/conf/%s/disable_ipv6" % vm.dev1)
    for vm, name in ((a, "nic1/vf0"), (b, "nic1/vf1")):
        vm.sh("ip neigh flush dev %s" % vm.dev1)
        vm.was = guest_counters(vm, vm.dev1), stats(d, name)

    def change():
        """The same four numbers since the start, by the guest and by the switch."""
        out = []
        for vm, name in ((a, "nic1/vf0"), (b, "nic1/vf1")):
            guest, switch = guest_counters(vm, vm.dev1), stats(d, name)
            out.append([{k: now[k] - was[k] for k in guest}
                        for now, was in zip((guest, switch), vm.was)])
        return out

    ping(a, B1, 10, size=1000)
    transfer(a, b, B1, 4)
    transfer(b, a, A1, 2)
    # The last acknowledgement may still be under way.
    eventually(lambda: all(g == s for g, s in change()), 5, what="equal counters")
    (guest_a, _), (guest_b, _) = change()
    assert guest_a["tx-bytes"] > 4000000 and guest_a["rx-bytes"] > 2000000
    # Both ends tell the same, but for an ARP before one's first look and after the other's.
    assert abs(guest_a["tx-bytes"] - guest_b["rx-bytes"]) < 200
    assert abs(guest_b["tx-bytes"] - guest_a["rx-bytes"]) < 200
    text = d.cli("stats")
    assert "nic1/vf0" in text and "nic0/pf" in text
    d.cli("stats", "clear", "nic1/vf0")
    assert stats(d, "nic1/vf0")["tx-bytes"] < 1000 < stats(d, "nic1/vf1")["rx-bytes"]
