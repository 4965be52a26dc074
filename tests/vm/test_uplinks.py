# SPDX-License-Identifier: BSD-3-Clause
"""Out of the machine: a TAP in a network namespace, and the user-mode network."""
import hashlib
import socket
import threading

from daemon import Daemon
from harness import SLOW, eventually, log, shared, timeout
from netns import NetNS
from qemu import VM
from traffic import carrier, data, digest, function, iface, listen, no_ping, ping, send, stats

# Runs in the namespace: receives, or sends what it is given on standard input.
PEER = r"""
import hashlib, socket, sys
what, addr, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
if what == "receive":
    s = socket.create_server((addr, port))
    print("listening", flush=True)
    c, h = s.accept()[0], hashlib.sha256()
    while (d := c.recv(1 << 20)):
        h.update(d)
    print(h.hexdigest())
else:
    c = socket.create_connection((addr, port), 10)
    c.sendall(sys.stdin.buffer.read())
    c.shutdown(socket.SHUT_WR)
    print(c.recv(1000).decode())
"""

# Plays a host in a VLAN on the TAP: answers ARP for its address, and pings, with the tag. Not by
# an interface of that VLAN, as not every kernel has those.
VLAN_HOST = r"""
import socket, struct, sys
dev, vid, addr = sys.argv[1], int(sys.argv[2]), socket.inet_aton(sys.argv[3])
mac = bytes.fromhex("020000005050")
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(263, 8, 1)                       # PACKET_AUXDATA: the kernel takes tags off
s.bind((dev, 0))
print("ready", flush=True)
while True:
    f, anc, _, _ = s.recvmsg(9000, 100)
    aux = struct.unpack("IIIHHHH", anc[0][2][:20])
    if not aux[0] & 16 or aux[5] & 4095 != vid or aux[6] != 0x8100:
        continue
    head = f[6:12] + mac + struct.pack("!HH", 0x8100, vid) + f[12:14]
    if f[12:14] == b"\x08\x06" and f[20:22] == b"\0\1" and f[38:42] == addr:
        s.send(head + f[14:20] + b"\0\2" + mac + addr + f[22:32])
    elif f[12:14] == b"\x08\0" and f[23] == 1 and f[30:34] == addr and f[34] == 8:
        csum = struct.unpack("!H", f[36:38])[0] + 0x800
        s.send(head + f[14:26] + addr + f[26:30] + b"\0\0" +
               struct.pack("!H", (csum & 0xffff) + (csum >> 16)) + f[38:])
"""


@shared
def vm():
    """One guest for all; functions are plugged into it."""
    return VM("vm", spare=6)


def plug(d, name, *addresses):
    m = vm()
    m.device_add(d.sock(name))
    return iface(d, m, name, *addresses)


# ---- the user-mode network: no privilege needed ----

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@shared
def user():
    port = free_port()
    d = Daemon({"devices": {
        "nic0": {"type": "ethernet", "total-vfs": 2, "num-vfs": 1, "uplink": {
            "type": "user", "host-loopback": True,
            "forwards": ["tcp:127.0.0.1:%d-10.0.2.15:80" % port]}},
        "nic1": {"type": "ethernet", "total-vfs": 2, "num-vfs": 1, "uplink": {
            "type": "user", "net": "10.0.3.0/24"}}}}, name="user")
    dev = plug(d, "nic0/vf0")
    vm().sh("udhcpc -i %s -n -q -t 10 -T 2" % dev, 60)
    return d, dev, port


def serve(give=None):
    """A TCP server on this machine's loopback: gives data, or hashes what it is sent."""
    s = socket.create_server(("127.0.0.1", 0))
    s.settimeout(60 * SLOW)
    result = []

    def run():
        c = s.accept()[0]
        c.settimeout(60 * SLOW)
        if give is not None:
            c.sendall(give)
        else:
            h = hashlib.sha256()
            while True:
                d = c.recv(1 << 20)
                if not d:
                    break
                h.update(d)
            result.append(h.hexdigest())
        c.close()

    t = threading.Thread(target=run, daemon=True)
    t.start()
    return s.getsockname()[1], t, result


def test_user_dhcp():
    d, dev, _ = user()
    out = vm().sh("ip -4 -br addr show %s; ip route; cat /etc/resolv.conf" % dev)
    assert "10.0.2.15/24" in out and "default via 10.0.2.2" in out and "10.0.2.3" in out, out
    ping(vm(), "10.0.2.2")
    assert d.cli("show", "devices", "-j")[0]["uplink"]["link"] == "up"
    assert stats(d, "nic0/uplink")["rx-packets"] > 0


def test_user_to_the_hosts_loopback():
    d, _, _ = user()
    port, thread, result = serve()
    # Not unless that was asked for.
    plug(d, "nic1/vf0", "10.0.3.15/24")
    ping(vm(), "10.0.3.2")
    assert vm().status("timeout 5 bash -c ': > /dev/tcp/10.0.3.2/%d'" % port)
    send(vm(), "10.0.2.2", port, 5)
    thread.join(30 * SLOW)
    assert result == [digest(5)]
    port, thread, _ = serve(give=data(5))
    got = vm().sh("bash -c 'sha256sum < /dev/tcp/10.0.2.2/%d'" % port)
    assert got.split()[0] == digest(5)


def test_user_forward_into_the_guest():
    _, _, port = user()
    m = vm()
    m.sh("mkdir -p /tmp/www && echo from the guest > /tmp/www/x && httpd -p 80 -h /tmp/www")

    def fetch():
        with socket.create_connection(("127.0.0.1", port), 5) as c:
            c.sendall(b"GET /x HTTP/1.0\r\n\r\n")
            text = b""
            while True:
                more = c.recv(4096)
                if not more:
                    return text
                text += more
    assert b"from the guest" in eventually(fetch, 20, 0.3)


# ---- a TAP ----

@shared
def lan():
    """A namespace with a TAP; the daemon lives inside, as the TAP does."""
    ns = NetNS("lan")
    ns.tap("soft0", "192.0.2.1/24")
    d = Daemon({"devices": {"lan0": {
        "type": "ethernet", "total-vfs": 4, "num-vfs": 2,
        "uplink": {"type": "tap", "name": "soft0"}, "vfs": {1: {"vlan": 50}}}}},
        name="tap", netns=ns)
    dev = plug(d, "lan0/vf0", "192.0.2.10/24")
    return ns, d, dev


def test_tap_ping():
    ns, d, _ = lan()
    ping(vm(), "192.0.2.1", 3)
    learnt = [e for e in d.cli("show", "fdb", "-j") if e["port"] == "lan0/uplink"]
    assert len(learnt) == 1 and not learnt[0]["static"], learnt
    assert learnt[0]["mac"] in ns.run("ip link show soft0")


@timeout(150)
def test_tap_data_both_ways():
    ns, _, dev = lan()
    m = vm()
    peer = ns.popen(["python3", "-c", PEER, "receive", "192.0.2.1", "7001"],
                    stdout=-1, text=True)
    assert peer.stdout.readline() == "listening\n"
    log("guest to namespace: %.0f Mb/s" % (30 * 8 / send(m, "192.0.2.1", 7001, 30)))
    assert peer.stdout.readline().strip() == digest(30)
    # With the guest's receive offloads, and without.
    for state in ("on", "off"):
        m.sh("ethtool -K %s rx-gro-hw %s" % (dev, state))
        job = listen(m, 7000)
        peer = ns.popen(["python3", "-c", PEER, "send", "192.0.2.10", "7000"], stdin=-1, stdout=-1)
        peer.communicate(data(15), 60 * SLOW)
        assert job.wait().split()[0] == digest(15)
    m.sh("ethtool -K %s rx-gro-hw on" % dev)


def test_tap_port_vlan():
    """A VF in a port VLAN: tagged on the TAP, untagged in the guest."""
    ns, d, _ = lan()
    dev = plug(d, "lan0/vf1", "192.0.3.10/24")
    # Two hosts in VLANs; the VF is in the one, so to say, and then in the other.
    for vlan in (50, 51):
        host = ns.popen(["python3", "-c", VLAN_HOST, "soft0", str(vlan), "192.0.3.%d" % vlan],
                        stdout=-1, text=True)
        assert host.stdout.readline() == "ready\n"
    ping(vm(), "192.0.3.50", 3)
    no_ping(vm(), "192.0.3.51")
    d.cli("vf", "set", "lan0/vf1", "vlan", 51)
    ping(vm(), "192.0.3.51", 3)
    no_ping(vm(), "192.0.3.50")
    d.cli("vf", "set", "lan0/vf1", "vlan", 0)
    no_ping(vm(), "192.0.3.51")
    # The guest sees no tag, and may put none on.
    assert "vlan" not in vm().sh("ip -d link show %s" % dev)


def test_tap_carrier():
    """The link of VFs follows the TAP, unless it is set otherwise."""
    ns, d, dev = lan()
    ns.run("ip link set soft0 down")
    eventually(lambda: not carrier(vm(), dev), 10, what="carrier down")
    assert function(d, "lan0/vf0")["link"] == "down"
    d.cli("vf", "set", "lan0/vf0", "link-state", "enable")
    eventually(lambda: carrier(vm(), dev), 10, what="carrier by policy")
    d.cli("vf", "set", "lan0/vf0", "link-state", "auto")
    eventually(lambda: not carrier(vm(), dev), 10, what="carrier down again")
    ns.run("ip link set soft0 up")
    eventually(lambda: carrier(vm(), dev), 10, what="carrier up")
    ping(vm(), "192.0.2.1", 3)
