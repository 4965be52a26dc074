# SPDX-License-Identifier: BSD-3-Clause
"""The harness itself, with a device of QEMU's own: one VM, no softiov."""
import hashlib

from harness import eventually, shared, timeout
from netns import NetNS
from qemu import VM, CommandFailed


@shared
def vm():
    return VM("self", vcpus=2, user_net=True)


def test_commands():
    m = vm()
    assert m.sh("hostname") == "self"
    assert m.sh("nproc") == "2"
    # The real tools, not busybox's of the same names.
    assert "iproute2" in m.sh("ip -V")
    assert "iputils" in m.sh("timeout 5 ping -V")
    assert m.sh("cat /sys/block/*/size 2>/dev/null; true") == ""
    assert m.status("exit 7") == 7
    try:
        m.sh("echo said; echo wrong >&2; exit 3")
    except CommandFailed as e:
        assert (e.status, e.out, e.err) == (3, "said\n", "wrong\n")
    else:
        assert False, "exit status not seen"
    for module in ("virtio_net", "vmd", "pci_pf_stub", "8021q"):
        assert m.status("test -e /sys/module/" + module) == 0, module


def test_large_output_and_files():
    m = vm()
    data = bytes(range(256)) * 128
    m.put("/tmp/data", data)
    assert m.sh("sha256sum < /tmp/data").split()[0] == hashlib.sha256(data).hexdigest()
    assert m.get("/tmp/data") == data
    assert m.sh("seq 50000").split() == [str(n) for n in range(1, 50001)]


def test_jobs_side_by_side():
    m = vm()
    job = m.spawn("while :; do echo tick; sleep 0.2; done")
    assert m.sh("echo beside") == "beside"
    eventually(lambda: job.out.count("tick") >= 2)
    job.kill()
    job.wait(check=False)
    assert job.status == 128 + 15


def test_network_of_qemu():
    m = vm()
    (dev,) = m.netdevs()
    assert m.netdevs()[dev]["driver"] == "virtio_net"
    m.sh("ip link set %s up && udhcpc -i %s -n -q -t 5" % (dev, dev))
    m.sh("ping -c 1 -W 5 10.0.2.2")
    assert "Virtio" in m.sh("lspci")


def test_unplug_and_plug():
    m = vm()
    m.device_del("unet")
    assert not m.netdevs()
    bus = m.free_port()
    m.qmp("device_add", driver="virtio-net-pci", netdev="usernet", id="unet", bus=bus)
    eventually(m.netdevs, 20)


@timeout(150)
def test_reboot():
    m = vm()
    m.sh("touch /tmp/mark")
    m.reboot()
    assert m.status("test -e /tmp/mark") == 1
    assert m.sh("hostname") == "self"


def test_namespace():
    ns = NetNS("lan")
    ns.tap("t0", "192.0.2.1/24")
    assert "192.0.2.1/24" in ns.run("ip addr show t0")
