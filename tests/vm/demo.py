#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""make demo: a host whose kernel makes four virtual functions, and two VMs that are given one each;
one of them gets a disk as well, a VF of an NVMe device.

Everything is a stock Debian kernel under QEMU; nothing on this machine is changed, and nothing
runs on when it ends. About a minute.
"""
import os
import sys
import time

import harness
import qemu
import roots
import storage
from daemon import Daemon
from qemu import VM
from traffic import function, iface, iperf_mbps

DISK = 256                              # MiB


def config():
    """A network device for the root, and storage that the daemon itself manages."""
    disk = {"file": storage.backing("disk.img"), "size": "%dM" % DISK, "attach": ["vf0"]}
    return {"devices": {"nic0": {"type": "ethernet", "total-vfs": 8},
                        "ssd0": {"type": "nvme", "total-vfs": 4, "num-vfs": 1, "queues": 2,
                                 "namespaces": {1: disk}}},
            "roots": {"host0": {"devices": ["nic0"]}}}


VFS = 4
START = time.monotonic()


def say(text=""):
    print("%5.1f s  %s" % (time.monotonic() - START, text) if text else "", flush=True)


def average_rtt(vm, to, prefix=""):
    """Milliseconds; every ping must be answered."""
    out = vm.sh(prefix + "ping -q -c 10 -i 0.1 -W 5 %s" % to)
    assert " 0% packet loss" in out, out
    return float(out.split(" = ")[1].split("/")[1])


def make_vfs(d, host):
    """What an administrator types in the host; VF 0 and 1 are to stay there, 2 and 3 to go out."""
    sysfs = roots.SYSFS + roots.PF
    say("host0:  echo %d > /sys/bus/pci/devices/%s/sriov_numvfs" % (VFS, roots.PF))
    host.sh("echo %d > %s/sriov_numvfs" % (VFS, sysfs))
    for line in host.sh("lspci -D -d 1af4:").splitlines():
        say("          " + line)
    for n in (2, 3):
        say("host0:  echo %s > /sys/bus/pci/drivers/virtio-pci/unbind   (VF %d is to be given away)"
            % (roots.vf_address(n), n))
        roots.unbind(host, roots.vf_address(n))
    for n in (0, 1):
        host.sh("ip netns add vf%d" % n)
        dev = host.netdev(function(d, "nic0/vf%d" % n)["mac"])
        host.sh("ip link set %s netns vf%d; ip -n vf%d addr add 10.0.0.%d/24 dev %s; "
                "ip -n vf%d link set %s up" % (dev, n, n, 10 + n, dev, n, dev))
    pf = host.netdev(function(d, "nic0/pf")["mac"])
    host.sh("ip addr add 10.0.0.100/24 dev %s; ip link set %s up" % (pf, pf))


def table(rows):
    width = [max(len(r[n]) for r in rows) for n in range(len(rows[0]))]
    line = "+" + "+".join("-" * (w + 2) for w in width) + "+"
    for n, r in enumerate(rows):
        if n < 2:
            print(line)
        print("|" + "|".join(" %-*s " % (w, t) for w, t in zip(width, r)) + "|")
    print(line)


def functions_table(d, lent):
    """lent: {function: (VM, PCI address in it)}."""
    inside = {"nic0/pf": ("its kernel's own, made the VFs", "10.0.0.100"),
              "nic0/vf0": ("made by host0's kernel, kept", "10.0.0.10"),
              "nic0/vf1": ("made by host0's kernel, kept", "10.0.0.11"),
              "nic0/vf2": ("made by host0's kernel, lent", "10.0.0.1"),
              "nic0/vf3": ("made by host0's kernel, lent", "10.0.0.2")}
    rows = [("function", "held by", "PCI address there", "MAC", "IP", "")]
    for f in d.cli("show", "functions", "nic0", "-j"):
        what, ip = inside[f["name"]]
        if f["holder"] == "endpoint":
            held, where = lent[f["name"]]
        else:
            held, where = f["root"], "10000:" + f["rid"]
        rows.append((f["name"], held, where, f["mac"], ip, what))
    table(rows)


def give_disk(d, vm):
    """Hot-plugs the NVMe VF; a file system on it, and fio. Returns the table's rows."""
    name = "ssd0/vf0"
    say("VM 1:   gets %s by hot-plug, too: a disk of %d MiB, in a sparse file here" % (name, DISK))
    vm.device_add(d.sock(name))
    dev = storage.disk(vm)
    say("          " + vm.sh("lspci -D -d " + storage.VF_ID))
    say("VM 1:   mkfs.ext4 %s, mount, and fio writes 24 MiB in blocks of random size" % dev)
    storage.mkfs(vm, dev)
    made = storage.fio(vm, "/mnt/f", rw="randwrite", bsrange="512-128k", size="24M",
                       verify="crc32c")
    assert made["read"]["io_bytes"] == made["write"]["io_bytes"]
    say("        ... and has read all of it back, each block with the right CRC")
    timed = {"size": "64M", "time_based": 1, "runtime": 2}
    small = storage.fio(vm, dev, rw="randread", iodepth=32, **timed)
    large = storage.fio(vm, dev, rw="read", bs="128k", iodepth=16, **timed)
    vm.sh("umount /mnt")
    return [("disk of VM 1 (%s)" % name, "measured by its fio"),
            ("4 KiB random read, depth 32", "%.0f IO/s" % small["read"]["iops"]),
            ("128 KiB read, depth 16", "%.0f MiB/s" % (large["read"]["bw_bytes"] / storage.MIB)),
            ("24 MiB verified by CRC", "no error")]


def demo():
    print("softiov: SR-IOV in software, shown with three virtual machines (%s)\n" %
          ("KVM" if qemu.accelerator() == "kvm" else
           "emulated by TCG, as KVM does not work here: everything is slow but softiov"),
          flush=True)
    d = Daemon(config())
    say("softiovd runs; its configuration:")
    with open(d.config_path) as f:
        print("".join("             " + line for line in f))
    say("starting host0, a VM that gets the whole device (host0.sock), and VM 1 and VM 2 ...")
    host = VM("host0", vfio_user=[d.sock("host0")], mem="384M", extra=roots.NATIVE_HOTPLUG)
    vms = [VM("vm1", storage=True), VM("vm2")]
    for vm in [host] + vms:
        vm.wait_ready()
    say("all three have booted Linux %s; in host0, the vmd driver found the device" %
        host.sh("uname -r"))
    say()
    make_vfs(d, host)
    say()
    lent = {}
    for n, vm in enumerate(vms, 1):
        name = "nic0/vf%d" % (n + 1)
        say("VM %d:   gets %s by hot-plug: device_add vfio-user-pci, socket %s" % (
            n, name, os.path.relpath(d.sock(name), d.run_dir)))
        vm.device_add(d.sock(name))
        dev = iface(d, vm, name, "10.0.0.%d/24" % n)
        lent[name] = "VM %d" % n, vm.netdevs()[dev]["pci"]
    one, two = vms
    say("VM 1 pings VM 2 ...")
    rtt = average_rtt(one, "10.0.0.2")
    say("... and sends to it with iperf3, 3 s each way ...")
    there = iperf_mbps(one, two, "10.0.0.2", seconds=3)
    back = iperf_mbps(one, two, "10.0.0.2", "-R", seconds=3)
    say("the VFs that stayed in host0 ping VM 1 ...")
    root_rtt = [average_rtt(host, "10.0.0.1", "ip netns exec vf%d " % n) for n in (0, 1)]
    say()
    disk = give_disk(d, one)
    print("\nWho has which function:\n")
    functions_table(d, lent)
    print("\nTraffic between them, through the switch in softiovd:\n")
    table([("from", "to", "measured"),
           ("VM 1 (vf2)", "VM 2 (vf3)", "%.0f Mb/s TCP" % there),
           ("VM 2 (vf3)", "VM 1 (vf2)", "%.0f Mb/s TCP" % back),
           ("VM 1 (vf2)", "VM 2 (vf3)", "ping answered, %.1f ms" % rtt),
           ("host0 (vf0)", "VM 1 (vf2)", "ping answered, %.1f ms" % root_rtt[0]),
           ("host0 (vf1)", "VM 1 (vf2)", "ping answered, %.1f ms" % root_rtt[1])])
    print("\nStorage:\n")
    table(disk)
    print("\nWhat softiov itself says (softiov stats):\n")
    print(d.cli("stats").rstrip())
    print("\nYour own VMs: see README.md, and `softiov attach-args` for the words to add.")


def main():
    # Only what is said above is shown; the rest goes to a file.
    logs = harness.Scope("demo", os.path.join(harness.LOGS, "demo"))
    harness.push_scope(logs)
    output = open(logs.logfile("output.log"), "w")       # pylint: disable=consider-using-with
    for module in (harness, qemu, sys.modules["daemon"]):
        module.log = lambda *text: print(*text, file=output, flush=True)
    status = 1
    try:
        demo()
        status = 0
    except KeyboardInterrupt:
        print("\ninterrupted")
    except harness.Skip as e:
        print("cannot run here: %s" % e)
    except Exception as e:                               # pylint: disable=broad-except
        print("\nThe demo failed: %s\nLogs: %s" % (e, os.path.relpath(logs.logs)))
    for fault in logs.close():
        print("\nAt the end: %s" % fault)
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
