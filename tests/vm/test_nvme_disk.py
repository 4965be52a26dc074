# SPDX-License-Identifier: BSD-3-Clause
"""A VF is a disk: what Linux's nvme driver, a file system, fio and nvme-cli do with it."""
import hashlib
import re
import time

import storage
from daemon import Daemon
from harness import eventually, log, shared, timeout
from qemu import VM
from storage import DRIVER, MIB, PCI, allocated, backing, controller, disk, disks, fio, nvme, status
from traffic import function, stats

SIZE = 256 * MIB


@shared
def host():
    image = backing()
    d = Daemon(storage.ssd({1: {"file": image, "size": "256M", "attach": ["vf0"]}},
                           serial="SN0123", model="disk of a test"))
    vm = VM("a", vcpus=2, vfio_user=[d.sock("ssd0/vf0")], storage=True,
            kernel_args="iomem=relaxed")     # lets nvme-cli map registers that a driver uses
    return d, vm, image


def test_identity():
    d, vm, _ = host()
    dev, pci = controller(vm)
    assert "Non-Volatile memory controller" in vm.sh("lspci -d %s -s %s" % (storage.VF_ID, pci))
    ctrl = nvme(vm, "id-ctrl", dev)
    assert (ctrl["sn"].strip(), ctrl["mn"].strip()) == ("SN0123", "disk of a test")
    assert ctrl["ver"] == 0x10400 and ctrl["cntrltype"] == 1
    assert ctrl["cntlid"] == storage.controllers(vm)[pci]["cntlid"] == 1
    assert ctrl["cmic"] & 6 == 6, "a VF's controller of a subsystem of many"
    assert ctrl["oacs"] & 0x100 and not ctrl["oacs"] & 0x88, "doorbell buffer; no management"
    assert ctrl["sqes"] == 0x66 and ctrl["cqes"] == 0x44 and ctrl["mdts"] >= 8
    assert ctrl["subnqn"].startswith("nqn.")
    # Two I/O queue pairs, one for each processor, with a vector each beside the admin queue's.
    assert len(vm.sh("ls %s%s/msi_irqs" % (PCI, pci)).split()) == 3
    assert nvme(vm, "list-ns", dev)["nsid_list"] == [{"nsid": 1}]
    ns = nvme(vm, "id-ns", disk(vm))
    assert ns["nsze"] == SIZE // 512 and {f["ds"] for f in ns["lbafs"]} == {9, 12}
    seen = function(d, "ssd0/vf0")
    assert (seen["holder"], seen["namespaces"]) == ("endpoint", ["ssd0/ns1"])
    assert seen["controller"]["state"] == "ready" and seen["controller"]["queues"] == 2
    assert seen["controller"]["doorbell-buffer"]
    # The registers, through the BAR.
    regs = nvme(vm, "show-regs", dev)
    assert (regs["vs"], regs["csts"]) == (0x10400, 1), regs


@timeout(90)
def test_fio_verify():
    """Random sizes at random depths, all of it read back and compared."""
    d, vm, _ = host()
    dev = disk(vm)
    before = stats(d, "ssd0/vf0")
    for depth, sizes in (1, "512-64k"), (7, "4k-4k"), (32, "512-1m"), (128, "512-16k"):
        r = fio(vm, dev, rw="randwrite", bsrange=sizes, iodepth=depth, size="24M", verify="crc32c",
                offset="%dM" % (depth % 8 * 24))
        assert r["read"]["io_bytes"] == r["write"]["io_bytes"] == 24 * MIB
        log("depth %d, %s: %d MiB/s written" % (depth, sizes, r["write"]["bw_bytes"] / MIB))
    seen = stats(d, "ssd0/vf0")
    for way in "read", "write":
        assert 96 * MIB <= seen[way + "-bytes"] - before[way + "-bytes"] < 104 * MIB
        assert 0 < seen["latency-ns"][way]["p50"] <= seen["latency-ns"][way]["p99.9"]
    # Larger than a command may be: the kernel splits it.
    fio(vm, dev, rw="write", bs="4m", iodepth=4, size="64M", verify="crc32c")
    # Both processors' queues at once, reads among the writes.
    fio(vm, dev, rw="randrw", bsrange="4k-128k", iodepth=16, size="16M", offset_increment="16M",
        numjobs=2, verify="crc32c", group_reporting=1)
    storage.messages(vm)


@timeout(90)
def test_file_system_and_trim():
    _, vm, image = host()
    dev = disk(vm)
    vm.sh("blkdiscard " + dev)
    storage.mkfs(vm, dev)
    eventually(lambda: allocated(image) < 64 * MIB, 5, what="discarded blocks are free")
    fio(vm, "/mnt/a", rw="randwrite", bsrange="512-256k", iodepth=16, size="48M", verify="crc32c",
        end_fsync=1)
    vm.sh("head -c 8000000 /dev/urandom > /mnt/b && sha256sum /mnt/b > /mnt/sum && sync")
    full = allocated(image)
    assert full >= 56 * MIB
    # A file that is gone still takes its blocks on the host, until the guest tells of it.
    vm.sh("rm /mnt/a && sync")
    assert allocated(image) > full - 8 * MIB
    vm.sh("fstrim -v /mnt")
    eventually(lambda: allocated(image) < full - 40 * MIB, 5, what="fstrim frees blocks")
    vm.sh("umount /mnt && mount -o discard %s /mnt && sha256sum -c /mnt/sum" % dev)
    # And with -o discard as soon as the journal has it.
    vm.sh("head -c 16000000 /dev/zero | tr '\\0' x > /mnt/c && sync")
    full = allocated(image)
    vm.sh("rm /mnt/c && sync")
    eventually(lambda: allocated(image) < full - 14 * MIB, 10, what="-o discard frees blocks")
    vm.sh("umount /mnt")
    storage.fsck(vm, dev)


def test_nvme_io_commands():
    _, vm, image = host()
    dev = disk(vm)
    vm.sh("blkdiscard %s; seq 2000 | head -c 4096 > /tmp/x; tr 1 2 < /tmp/x > /tmp/y" % dev)
    want = vm.get("/tmp/x")
    vm.sh("nvme write %s -s 800 -c 7 -z 4096 -d /tmp/x" % dev)
    # FUA: it is in the file when the command has ended.
    vm.sh("nvme write %s -s 808 -c 7 -z 4096 -d /tmp/x --force-unit-access" % dev)
    vm.sh("nvme flush %s -n 1" % dev)
    with open(image, "rb") as f:
        f.seek(800 * 512)
        assert f.read(8192) == want * 2
    assert vm.sh("nvme read %s -s 800 -c 7 -z 4096 2>/dev/null" % dev) == want.decode().rstrip("\n")
    assert status(vm, "compare", dev, "-s 800 -c 7 -z 4096 -d /tmp/x") == 0
    assert status(vm, "compare", dev, "-s 800 -c 7 -z 4096 -d /tmp/y") == storage.COMPARE_FAILURE
    vm.sh("nvme copy %s --sdlba=20000 --slbs=800,801 --blocks=7,6" % dev)
    with open(image, "rb") as f:
        f.seek(20000 * 512)
        assert f.read(15 * 512) == want + want[512:]
    vm.sh("nvme verify %s -s 800 -c 15" % dev)
    vm.sh("nvme write-zeroes %s -s 800 -c 7" % dev)
    assert vm.sh("nvme read %s -s 800 -c 15 -z 8192 2>/dev/null | sha256sum" % dev).split()[0] == \
        hashlib.sha256(bytes(4096) + want).hexdigest()
    vm.sh("nvme dsm %s -n 1 --ad --slbs=808,20000 --blocks=8,16" % dev)
    vm.sh("cmp -n 4096 /dev/zero %s" % dev)
    assert status(vm, "read", dev, "-s %d -c 0 -z 512" % (SIZE // 512)) == 0x80, "LBA out of range"
    # None of the driver's own commands ended badly; what we did wrong is in the error log.
    errors = nvme(vm, "error-log", controller(vm)[0], "-e 8")["errors"]
    assert errors[0]["error_count"] and errors[0]["nsid"] == 1


def test_nvme_admin_commands():
    d, vm, _ = host()
    dev, ns = controller(vm)[0], disk(vm)
    before = nvme(vm, "smart-log", dev)
    vm.sh("dd if=%s of=/dev/null bs=1M count=64 iflag=direct; "
          "dd if=/dev/zero of=%s bs=64k count=16 oflag=direct" % (ns, ns))
    after = nvme(vm, "smart-log", dev)
    assert after["critical_warning"] == 0
    # In thousands of 512 bytes, rounded up.
    assert 130 <= after["data_units_read"] - before["data_units_read"] <= 160
    assert 2 <= after["data_units_written"] - before["data_units_written"] <= 3
    assert after["host_write_commands"] - before["host_write_commands"] >= 16
    assert after["host_read_commands"] - before["host_read_commands"] >= 64
    effects = vm.sh("nvme effects-log %s --csi=0" % dev)
    for name in "Identify", "Flush", "Write", "Read", "Compare", "Dataset Management":
        assert name in effects, name
    nvme(vm, "fw-log", dev)
    nvme(vm, "changed-ns-list-log", dev)
    for feature in 1, 2, 4, 6, 7, 8, 9, 0xa, 0xb, 0xe:
        vm.sh("nvme get-feature %s -f %#x" % (dev, feature))
    vm.sh("nvme get-feature %s -n 1 -f 5" % dev)
    assert "0x00010001" in vm.sh("nvme get-feature %s -f 7" % dev), "two I/O queue pairs"
    vm.sh("nvme set-feature %s -f 6 --value=0" % dev)
    assert "00000000" in vm.sh("nvme get-feature %s -f 6" % dev)
    vm.sh("dd if=/dev/zero of=%s bs=64k count=16 oflag=direct conv=fsync" % ns)
    vm.sh("nvme set-feature %s -f 6 --value=1" % dev)
    # The driver sets the time, and it goes on.
    text = vm.sh("nvme get-feature %s -f 0xe -o json" % dev)
    assert abs(int(re.search(r'"timestamp":(\d+)', text).group(1)) / 1000 - time.time()) < 60
    # A VF manages nobody.
    assert status(vm, "virt-mgmt", dev, "-c 2 -a 7") == storage.INVALID_OPCODE
    assert status(vm, "create-ns", dev, "-s 1000 -c 1000 -f 0") == storage.INVALID_OPCODE
    assert status(vm, "admin-passthru", dev, "--opcode=0xc5") == storage.INVALID_OPCODE
    said = stats(d, "ssd0/vf0")
    assert said["read-bytes"] >= 64 * MIB and said["admin-commands"] > 20 and said["errors"] > 0


def test_reservation_commands():
    _, vm, _ = host()
    ns = disk(vm)
    vm.sh("nvme resv-register %s -n 1 --nrkey=0x11 --rrega=0" % ns)
    vm.sh("nvme resv-acquire %s -n 1 --crkey=0x11 --rtype=1 --racqa=0" % ns)
    r = nvme(vm, "resv-report", ns, "-n 1 --eds")
    assert r["rtype"] == 1 and r["regctl"] == 1 and r["regctlext"][0]["rkey"] == 0x11
    vm.sh("dd if=/dev/zero of=%s bs=64k count=1 oflag=direct" % ns)
    assert status(vm, "resv-release", ns, "-n 1 --crkey=0x12 --rtype=1 --rrela=0") == \
        storage.RESERVATION_CONFLICT
    vm.sh("nvme resv-release %s -n 1 --crkey=0x11 --rtype=1 --rrela=0" % ns)
    vm.sh("nvme resv-register %s -n 1 --crkey=0x11 --rrega=1" % ns)
    r = nvme(vm, "resv-report", ns, "-n 1 --eds")
    assert r["rtype"] == 0 and r["regctl"] == 0


def test_format():
    _, vm, image = host()
    dev = disk(vm)
    fio(vm, dev, rw="write", bs="64k", size="4M")
    for index, block in (1, 4096), (0, 512):
        lbafs = nvme(vm, "id-ns", dev)["lbafs"]
        assert 1 << lbafs[index]["ds"] == block
        vm.sh("nvme format %s -n 1 -l %d --force" % (dev, index))
        eventually(lambda b=block: disks(vm)[1]["block"] == b, 10, 0.2, "%d bytes a block" % block)
        assert disks(vm)[1]["size"] == SIZE
        # What was there is not.
        vm.sh("cmp -n %d %s /dev/zero" % (4 * MIB, dev))
        fio(vm, dev, rw="randwrite", bsrange="%d-64k" % block, size="4M", verify="crc32c")
    assert status(vm, "format", dev, "-n 1 -l 15 --force") != 0


def test_namespaces_come_and_go():
    """Nobody rescans: the guest learns it by asynchronous events."""
    d, vm, _ = host()
    disk(vm, 1, size=SIZE)
    d.cli("ns", "resize", "ssd0/ns1", "320M")
    dev = disk(vm, 1, size=320 * MIB)
    fio(vm, dev, rw="write", bs="64k", offset="%d" % SIZE, size="4M", verify="crc32c")
    begin = time.monotonic()
    said = d.cli("ns", "create", "ssd0", "memory", "64M", "attach", "vf0")
    log("created: " + said)
    new = disk(vm, 2, size=64 * MIB)
    log("a new disk after %.2f s" % (time.monotonic() - begin))
    fio(vm, new, rw="randwrite", size="8M", verify="crc32c")
    d.cli("ns", "detach", "ssd0/ns2", "vf0")
    storage.no_disk(vm, 2)
    d.cli("ns", "attach", "ssd0/ns2", "vf0")
    fio(vm, disk(vm, 2), rw="read", bs="64k", size="8M")
    # In use it goes only by force; the guest's I/O ends with errors, and the rest goes on.
    job = storage.fio_start(vm, disk(vm, 2), rw="randread", time_based=1, runtime=30)
    eventually(lambda: job.done or vm.sh("cat /sys/block/%s/inflight" % disk(vm, 2)[5:]) != "", 5)
    assert d.cli("ns", "delete", "ssd0/ns2", check=False).returncode
    d.cli("ns", "delete", "ssd0/ns2", "--force")
    storage.no_disk(vm, 2)
    job.wait(20, check=False)
    assert job.status != 0, "fio did not notice that its disk went"
    assert [n["nsid"] for n in d.cli("ns", "show", "-j")] == [1]
    # What is beyond the end would be lost: it wants to be asked twice.
    assert d.cli("ns", "resize", "ssd0/ns1", "256M", check=False).returncode
    d.cli("ns", "resize", "ssd0/ns1", "256M", "--force")
    fio(vm, disk(vm, 1, size=SIZE), rw="randwrite", size="4M", verify="crc32c")


def test_vfs_come_and_go():
    """More VFs and fewer, while one is at work; the one that is at work cannot be among the fewer."""
    d, vm, _ = host()
    job = storage.fio_start(vm, disk(vm), rw="randrw", bsrange="512-64k", size="24M",
                            verify="crc32c", time_based=1, runtime=5)
    for count in 4, 1, 3, 2:
        d.cli("device", "set", "ssd0", "num-vfs", count)
        vfs = [f for f in d.cli("show", "functions", "-j") if f["kind"] == "vf"]
        assert len(vfs) == count and function(d, "ssd0/vf0")["controller"]["state"] == "ready"
    assert d.cli("device", "set", "ssd0", "num-vfs", 0, check=False).returncode
    storage.fio_result(job)


def test_reset_and_rebind():
    _, vm, _ = host()
    dev, pci = controller(vm)
    vm.sh("nvme reset " + dev)
    fio(vm, disk(vm), rw="randwrite", size="2M", verify="crc32c")
    # A reset in the middle of things: the driver sends again what was under way.
    job = storage.fio_start(vm, disk(vm), rw="randwrite", bs="16k", iodepth=32, size="16M",
                            verify="crc32c")
    for _ in range(3):
        vm.sh("sleep 0.2; nvme reset " + controller(vm)[0])
    storage.fio_result(job)
    assert "flr" in vm.sh("cat %s%s/reset_method" % (PCI, pci))
    vm.sh("echo 1 > %s%s/reset" % (PCI, pci))          # the driver resets it before and after
    fio(vm, disk(vm), rw="randwrite", size="2M", verify="crc32c")
    for _ in range(2):
        vm.sh("echo %s > %sunbind" % (pci, DRIVER))
        assert not disks(vm)
        vm.sh("echo 1 > %s%s/reset; echo %s > %sbind" % (PCI, pci, pci, DRIVER))
        fio(vm, disk(vm), rw="randwrite", size="2M", verify="crc32c")
    vm.sh("modprobe -r nvme && modprobe nvme")
    fio(vm, disk(vm), rw="randwrite", size="2M", verify="crc32c")
    storage.messages(vm)


@timeout(90)
def test_reboot():
    d, vm, _ = host()
    dev = disk(vm)
    storage.mkfs(vm, dev)
    vm.sh("cp /usr/bin/busybox /mnt/ && sync")
    vm.reboot()
    vm.sh("mount %s /mnt && cmp /usr/bin/busybox /mnt/busybox && umount /mnt" % disk(vm))
    vm.reset()
    storage.fsck(vm, disk(vm))
    assert function(d, "ssd0/vf0")["controller"]["state"] == "ready"


@timeout(90)
def test_hotplug():
    d, _, _ = host()
    vm = VM("plug", storage=True)
    d.cli("ns", "create", "ssd0", "memory", "64M", "attach", "vf1")
    (nsid,) = [n["nsid"] for n in d.cli("ns", "show", "-j") if n["nsid"] != 1]
    vm.device_add(d.sock("ssd0/vf1"), "hot")
    dev = disk(vm, nsid)
    fio(vm, dev, rw="randwrite", size="8M", verify="crc32c")
    # Out it goes while it is in use; the driver ends what is under way.
    job = storage.fio_start(vm, dev, rw="randread", time_based=1, runtime=20)
    before = stats(d, "ssd0/vf1")["reads"]
    eventually(lambda: stats(d, "ssd0/vf1")["reads"] > before, 10)
    survived = vm.device_del("hot")
    eventually(lambda: function(d, "ssd0/vf1")["client"] is None, 10)
    assert function(d, "ssd0/vf1")["controller"]["state"] == "disabled"
    if survived:
        job.wait(30, check=False)
        assert not disks(vm)
    else:
        vm = VM("next", storage=True)
    vm.device_add(d.sock("ssd0/vf1"), "again")
    fio(vm, disk(vm, nsid), rw="randread", size="8M")
    storage.messages(vm)
