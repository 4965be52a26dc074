# SPDX-License-Identifier: BSD-3-Clause
"""Traffic between guests, and what the daemon says of it.

    dev = iface(d, vm, "nic0/vf0", "10.0.0.1/24")     # the function's interface, up, with carrier
    ping(a, "10.0.0.2")
    mbps = transfer(a, b, "10.0.0.2", 200)            # MB over TCP; the digest is checked
"""
import functools
import hashlib
import json

from harness import SLOW, VMDIR, eventually

IPERF_PORT = 5201
BLOCK = "/usr/bin/busybox"


def function(d, name):
    """What `softiov show` says of one function."""
    for f in d.cli("show", "functions", "-j"):
        if f["name"] == name:
            return f
    raise AssertionError("no function " + name)


def stats(d, name):
    """The counters of a port."""
    text = d.cli("stats", name, "-j")
    return next(s for s in text["functions"] + text["uplinks"] if s["name"] == name)


def drops(d, name, reason):
    return stats(d, name)["drops"][reason]


def guest_counters(vm, dev):
    """What the guest's `ip -s link` shows, by the names of stats()."""
    s = json.loads(vm.sh("ip -j -s link show dev %s" % dev))[0]["stats64"]
    return {w + "-" + k: s[w][k] for w in ("rx", "tx") for k in ("packets", "bytes")}


def iface(d, vm, name, *addresses, mtu=None):
    """The guest's interface of a function of d, with addresses; waits until its link is up."""
    dev = vm.netdev(function(d, name)["mac"])
    text = "".join("ip addr replace %s dev %s nodad; " % (a, dev) for a in addresses)
    if mtu:
        text += "ip link set %s mtu %d; " % (dev, mtu)
    vm.sh("%sip link set %s up" % (text, dev))
    eventually(lambda: carrier(vm, dev), 5, what="%s: carrier of %s" % (vm.name, dev))
    return dev


def carrier(vm, dev):
    return vm.sh("cat /sys/class/net/%s/carrier" % dev) == "1"


def ping(vm, to, count=2, size=None, dev=None):
    """Every ping must be answered."""
    vm.sh("ping -c %d -i 0.2 -W 5 %s %s %s" % (
        count, "-M do -s %d" % size if size else "", "-I " + dev if dev else "", to))


def no_ping(vm, to, size=None, dev=None):
    """No ping may be answered."""
    out = vm.sh("ping -c 2 -i 0.2 -W 1 %s %s %s; true" % (
        "-M do -s %d" % size if size else "", "-I " + dev if dev else "", to))
    assert ", 0 received" in out, out


@functools.lru_cache(None)
def guest_file(path):
    """A file of the guest's system, out of its initramfs ("newc" format)."""
    with open(VMDIR + "/initramfs.cpio", "rb") as f:
        while True:
            head = f.read(110)
            size, name_size = int(head[54:62], 16), int(head[94:102], 16)
            name = f.read(name_size)[:-1].decode()
            f.seek(-(110 + name_size) % 4, 1)
            if "/" + name == path:
                return f.read(size)
            assert name != "TRAILER!!!", "no %s in the guest" % path
            f.seek(size + -size % 4, 1)


def data_rounds(megabytes):
    return -(-megabytes * 1000000 // len(guest_file(BLOCK)))


def data(megabytes):
    """At least that much, in pieces that all differ; the same as the guest's data_command()."""
    return b"".join(b"%d\n" % n + guest_file(BLOCK) for n in range(1, data_rounds(megabytes) + 1))


def data_command(megabytes):
    return "for i in $(seq %d); do echo $i; cat %s; done" % (data_rounds(megabytes), BLOCK)


@functools.lru_cache(None)
def digest(megabytes):
    return hashlib.sha256(data(megabytes)).hexdigest()


def listening(vm, port, prefix=""):
    return vm.status("%s netstat -ltn | grep -q ':%d '" % (prefix, port)) == 0


def listen(vm, port, command="sha256sum"):
    """A server for one connection, which becomes the command's standard input. Returns its Job."""
    job = vm.spawn("nc -l -p %d | %s" % (port, command))
    eventually(lambda: job.done or listening(vm, port), 10, 0.05,
               "%s listens on %d" % (vm.name, port))
    return job


def send(vm, to, port, megabytes, timeout=60):
    """data() by TCP; returns the seconds it took."""
    # busybox's nc would end when the other side has nothing to say.
    out = vm.sh("exec bash -c 'a=$EPOCHREALTIME; { %s; } > /dev/tcp/%s/%d && "
                "echo $a $EPOCHREALTIME'" % (data_command(megabytes), to, port), timeout)
    begin, end = map(float, out.split())
    return end - begin


def transfer(a, b, to, megabytes=10, port=7000, timeout=60):
    """Send from a to b's address; AssertionError unless what arrives is what was sent. Mb/s."""
    job = listen(b, port)
    seconds = send(a, to, port, megabytes, timeout)
    got = job.wait(timeout).split()[0]
    assert got == digest(megabytes), "%s -> %s: the data arrived changed" % (a.name, b.name)
    return len(data(megabytes)) * 8 / 1e6 / seconds


def iperf_server(vm, prefix=""):
    if not listening(vm, IPERF_PORT, prefix):
        vm.sh("%s iperf3 -s -D" % prefix)
        eventually(lambda: listening(vm, IPERF_PORT, prefix), 10, 0.05, vm.name + ": iperf3")


def iperf_start(a, b, to, args="", seconds=2):
    """Start iperf3 from a to b; iperf_result() takes the job."""
    iperf_server(b)
    return a.spawn("iperf3 -c %s -t %d -J --connect-timeout 5000 %s" % (to, seconds, args))


def iperf_result(job, timeout=60):
    """The "end" part of iperf3's JSON, with the intervals' Mb/s as "each"."""
    job.wait(timeout, check=False)
    result = json.loads(job.out)
    assert "error" not in result and job.status == 0, result.get("error")
    end = result["end"]
    end["each"] = [i["sum"]["bits_per_second"] / 1e6 for i in result["intervals"]]
    return end


def iperf(a, b, to, args="", seconds=2):
    return iperf_result(iperf_start(a, b, to, args, seconds), (seconds + 20) * SLOW)


def iperf_mbps(a, b, to, args="", seconds=2):
    return iperf(a, b, to, args, seconds)["sum_received"]["bits_per_second"] / 1e6
