# SPDX-License-Identifier: BSD-3-Clause
"""Each way a driver may use the device: ring layouts, offloads, queues.

A device per variant, and two VMs with a VF of each. What a variant leaves out is looked up in the
guest, so a test cannot pass because the device offered it all the same.
"""
import re

from daemon import Daemon
from harness import log, shared, timeout
from qemu import VM
from traffic import guest_counters, iface, iperf, ping, transfer

CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN = 0, 1, 7, 8, 9
HOST_TSO4, HOST_TSO6, HOST_ECN, MRG_RXBUF, CTRL_VQ, MQ = 11, 12, 13, 15, 17, 22
INDIRECT, EVENT_IDX, VERSION_1, PACKED = 28, 29, 32, 34
GUEST_USO4, GUEST_USO6, HOST_USO, RSS = 54, 55, 56, 60

RX_OFFLOADS = [GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_USO4, GUEST_USO6]
TX_OFFLOADS = [CSUM, HOST_TSO4, HOST_TSO6, HOST_ECN, HOST_USO]

# name: settings of the device, features the driver must have, features it must not have
VARIANTS = {
    "packed": ({}, [PACKED, EVENT_IDX, INDIRECT, MRG_RXBUF], []),
    "split": ({"packed": False}, [EVENT_IDX, INDIRECT, MRG_RXBUF], [PACKED]),
    "packed-no-event-idx": ({"features-off": ["event-idx"]}, [PACKED], [EVENT_IDX]),
    "split-no-event-idx": ({"packed": False, "features-off": ["event-idx"]},
                           [INDIRECT], [PACKED, EVENT_IDX]),
    "no-indirect": ({"features-off": ["indirect-desc"]}, [PACKED], [INDIRECT]),
    "split-no-indirect": ({"packed": False, "features-off": ["indirect-desc"]},
                          [EVENT_IDX], [PACKED, INDIRECT]),
    "no-mrg-rxbuf": ({"features-off": ["mrg-rxbuf"]}, [GUEST_TSO4], [MRG_RXBUF]),
    "no-csum": ({"features-off": ["csum"]}, RX_OFFLOADS, TX_OFFLOADS),
    "no-guest-csum": ({"features-off": ["guest-csum"]}, TX_OFFLOADS, RX_OFFLOADS),
    "no-host-tso4": ({"features-off": ["host-tso4"]}, [HOST_TSO6], [HOST_TSO4]),
    "no-host-tso6": ({"features-off": ["host-tso6"]}, [HOST_TSO4], [HOST_TSO6]),
    "no-guest-tso": ({"features-off": ["guest-tso4", "guest-tso6"]},
                     [GUEST_CSUM, HOST_TSO4, HOST_TSO6], [GUEST_TSO4, GUEST_TSO6, GUEST_ECN]),
    "no-uso": ({"features-off": ["host-uso", "guest-uso4", "guest-uso6"]},
               [HOST_TSO4, GUEST_TSO4], [HOST_USO, GUEST_USO4, GUEST_USO6]),
    "no-ecn": ({"features-off": ["host-ecn", "guest-ecn"]}, [HOST_TSO4], [HOST_ECN, GUEST_ECN]),
    "no-offloads": ({"offloads": False}, [MRG_RXBUF], TX_OFFLOADS + RX_OFFLOADS),
    "bare": ({"offloads": False, "packed": False, "queue-size": 64, "features-off": [
        "mrg-rxbuf", "ctrl-vq", "event-idx", "indirect-desc", "status"]},
        [VERSION_1], TX_OFFLOADS + RX_OFFLOADS + [MRG_RXBUF, CTRL_VQ, EVENT_IDX, INDIRECT, PACKED]),
}
NAMES = list(VARIANTS)


def device(n):
    return "nic%d" % n


def addresses(n, host):
    return "10.%d.0.%d" % (n, host), "fd00:%d::%d" % (n, host)


@shared
def pair():
    devices = {device(n): dict({"type": "ethernet", "total-vfs": 2, "num-vfs": 2}, **VARIANTS[v][0])
               for n, v in enumerate(NAMES)}
    devices["multi"] = {"type": "ethernet", "total-vfs": 2, "num-vfs": 2, "queues": 2}
    d = Daemon({"workers": 2, "devices": devices})
    vms = [VM("vm%d" % h, vcpus=2, mem="384M", spare=0,
              vfio_user=[d.sock("%s/vf%d" % (dev, h - 1)) for dev in devices]) for h in (1, 2)]
    for vm in vms:
        vm.wait_ready()
    return [d] + vms


def features(vm, dev):
    text = vm.sh("cat /sys/class/net/%s/device/features" % dev)
    return {n for n, bit in enumerate(text) if bit == "1"}


def up(n, name=None):
    """The variant's interfaces on both sides, with addresses."""
    d, a, b = pair()
    out = []
    for host, vm in ((1, a), (2, b)):
        v4, v6 = addresses(n, host)
        out.append(iface(d, vm, "%s/vf%d" % (name or device(n), host - 1), v4 + "/24", v6 + "/64"))
    return out


def exchange(n, megabytes=3):
    """Ping and data, both ways, by both versions of IP."""
    _, a, b = pair()
    (_, a6), (b4, _) = addresses(n, 1), addresses(n, 2)
    ping(a, b4, 2, size=1400)
    ping(b, a6, 1)
    transfer(a, b, b4, megabytes)
    transfer(b, a, a6, megabytes)


def variant_test(n, name):
    def test():
        _, a, b = pair()
        devs = up(n)
        _, must, must_not = VARIANTS[name]
        for vm, dev in zip((a, b), devs):
            have = features(vm, dev)
            assert set(must) <= have, "lacks %s" % sorted(set(must) - have)
            assert not set(must_not) & have, "has %s" % sorted(set(must_not) & have)
        exchange(n)
    test.__name__ = "test_" + name.replace("-", "_")
    return test


for _n, _name in enumerate(NAMES):
    _test = variant_test(_n, _name)
    globals()[_test.__name__] = _test


def mean_size(vm, dev, direction, since):
    """Bytes a frame, as the guest counts."""
    now = guest_counters(vm, dev)
    return (now[direction + "-bytes"] - since[direction + "-bytes"]) / max(
        1, now[direction + "-packets"] - since[direction + "-packets"])


def test_receiver_without_gso():
    """The sender gives 64 KiB at a time; a receiver that does not want that gets it in pieces."""
    _, a, b = pair()
    n = NAMES.index("packed")
    dev_a, dev_b = up(n)
    for state in ("on", "off", "on"):
        b.sh("ethtool -K %s rx-gro-hw %s" % (dev_b, state))
        assert b.sh("ethtool -k %s | grep rx-gro-hw" % dev_b).startswith("rx-gro-hw: " + state)
        for to in addresses(n, 2):
            sent, got = guest_counters(a, dev_a), guest_counters(b, dev_b)
            transfer(a, b, to, 5)
            size = mean_size(b, dev_b, "rx", got)
            log("%s, rx-gro-hw %s: frames of %.0f bytes" % (to, state, size))
            assert mean_size(a, dev_a, "tx", sent) > 3000
            assert size > 3000 if state == "on" else 1000 < size <= 1514
    # And a sender that does not use its own.
    a.sh("ethtool -K %s tso off" % dev_a)
    got = guest_counters(b, dev_b)
    transfer(a, b, addresses(n, 2)[0], 5)
    assert mean_size(b, dev_b, "rx", got) <= 1514
    a.sh("ethtool -K %s tx off" % dev_a)
    transfer(a, b, addresses(n, 2)[0], 5)
    a.sh("ethtool -K %s tx on tso on" % dev_a)


def queue_packets(vm, dev, direction):
    """Packets of each queue, by the device's own statistics."""
    return [int(p) for p in re.findall(direction + r"\d+_hw_packets: (\d+)",
                                       vm.sh("ethtool -S " + dev))]


@timeout(150)
def test_multi_queue():
    _, a, b = pair()
    n = 100
    dev_a, dev_b = up(n, "multi")
    to = addresses(n, 2)[0]
    for vm, dev in ((a, dev_a), (b, dev_b)):
        assert MQ in features(vm, dev)
        channels = vm.sh("ethtool -l " + dev)
        assert re.findall(r"Combined:\s+(\d+)", channels) == ["2", "2"], channels
    exchange(n)

    def used(count):
        was = queue_packets(a, dev_a, "tx"), queue_packets(b, dev_b, "rx")
        iperf(a, b, to, "-P 8", 2)
        now = queue_packets(a, dev_a, "tx"), queue_packets(b, dev_b, "rx")
        grown = [[y - x for x, y in zip(*q)] for q in zip(was, now)]
        log("packets by queue, sent and received:", grown)
        for g in grown:
            assert sum(x > 20 for x in g) == count, grown

    used(2)
    for vm, dev in ((a, dev_a), (b, dev_b)):
        vm.sh("ethtool -L %s combined 1" % dev)
    used(1)
    exchange(n)
    for vm, dev in ((a, dev_a), (b, dev_b)):
        vm.sh("ethtool -L %s combined 2" % dev)
    used(2)
    exchange(n)


def test_rss():
    """The guest decides by the indirection table which of its queues receives."""
    _, a, b = pair()
    n = 100
    _, dev_b = up(n, "multi")
    to = addresses(n, 2)[0]
    assert RSS in features(b, dev_b)
    assert "toeplitz: on" in b.sh("ethtool -x " + dev_b)
    try:
        for queue, weights in ((0, "1 0"), (1, "0 1")):
            b.sh("ethtool -X %s weight %s" % (dev_b, weights))
            was = queue_packets(b, dev_b, "rx")
            iperf(a, b, to, "-P 8", 1)
            now = queue_packets(b, dev_b, "rx")
            grown = [y - x for x, y in zip(was, now)]
            log("weights %s:" % weights, grown)
            # Broadcast and ARP have no hash, and go to the first.
            assert grown[queue] > 50 and grown[1 - queue] < 20, grown
    finally:
        b.sh("ethtool -X %s default" % dev_b)
