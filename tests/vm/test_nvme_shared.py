# SPDX-License-Identifier: BSD-3-Clause
"""One namespace, two VMs: both use it, and reservations fence one of them off."""
import storage
from daemon import Daemon
from harness import shared, timeout
from qemu import VM
from storage import MIB, RESERVATION_CONFLICT, backing, disk, fio, nvme, status

WRITE_EXCLUSIVE, WRITE_EXCLUSIVE_REGISTRANTS = 1, 3
WRITE = "-s 0 -c 7 -z 4096 -d /tmp/x"
READ = "-s 0 -c 7 -z 4096 -d /tmp/got"


@shared
def pair():
    folder = storage.Folder().path
    d = Daemon(storage.ssd({1: {"file": folder + "/shared.img", "size": "64M",
                                "reservations": folder + "/reservations",
                                "attach": ["vf0", "vf1"]}}))
    vms = [VM("vm%d" % n, vfio_user=[d.sock("ssd0/vf%d" % n)], storage=True) for n in (0, 1)]
    for n, vm in enumerate(vms):
        vm.sh("seq %d 9999 | head -c 4096 > /tmp/x" % (1000 + n))
        # Linux leaves it to the administrator to tell NVMe controllers who the host is.
        vm.put("/tmp/hostid", bytes([n + 1]) * 16)
        dev = storage.controller(vm)[0]
        vm.sh("nvme set-feature %s -f 0x81 --value=1 -l 16 -d /tmp/hostid" % dev)
    return d, vms


def test_both_read_and_write():
    _, (a, b) = pair()
    one, two = disk(a), disk(b)
    assert nvme(a, "id-ns", one)["nmic"] & 1, "not shown as shared"
    assert storage.disks(a)[1]["wwid"] == storage.disks(b)[1]["wwid"]
    a.sh("nvme write %s %s" % (one, WRITE))
    b.sh("nvme read %s %s" % (two, READ))
    assert b.get("/tmp/got") == a.get("/tmp/x")
    jobs = [storage.fio_start(vm, dev, rw="randwrite", bsrange="512-64k", size="16M",
                              offset="%dM" % (16 * n), verify="crc32c")
            for n, (vm, dev) in enumerate(((a, one), (b, two)))]
    for job in jobs:
        storage.fio_result(job)
    # What one wrote and verified, the other sees.
    assert a.sh("head -c %d %s | sha256sum" % (32 * MIB, one)) == \
        b.sh("head -c %d %s | sha256sum" % (32 * MIB, two))


@timeout(90)
def test_reservations_fence():
    d, (a, b) = pair()
    one, two = disk(a), disk(b)
    a.sh("nvme resv-register %s -n 1 --nrkey=0xa --rrega=0 --cptpl=3" % one)
    b.sh("nvme resv-register %s -n 1 --nrkey=0xb --rrega=0" % two)
    a.sh("nvme resv-acquire %s -n 1 --crkey=0xa --rtype=%d --racqa=0" % (one, WRITE_EXCLUSIVE))
    report = nvme(b, "resv-report", two, "-n 1 --eds")
    assert report["rtype"] == WRITE_EXCLUSIVE and report["regctl"] == 2
    assert {r["rkey"]: r["rcsts"] & 1 for r in report["regctlext"]} == {0xa: 1, 0xb: 0}
    # The other one is fenced off from writing, not from reading.
    assert status(b, "write", two, WRITE) == RESERVATION_CONFLICT
    assert b.status("dd if=/dev/zero of=%s bs=4k count=1 oflag=direct" % two) != 0
    assert b.status("blkdiscard -l 1M %s" % two) != 0
    assert status(b, "format", two, "-n 1 -l 0 --force") == RESERVATION_CONFLICT
    b.sh("nvme read %s %s" % (two, READ))
    assert status(a, "write", one, WRITE) == 0
    assert status(b, "resv-acquire", two, "-n 1 --crkey=0xb --rtype=1 --racqa=0") == \
        RESERVATION_CONFLICT
    (ns,) = d.cli("ns", "show", "-j")
    assert ns["nsid"] == 1
    # It takes over: pre-empts the holder, in the middle of whose work.
    job = storage.fio_start(a, one, rw="randwrite", time_based=1, runtime=30)
    b.sh("sleep 1; nvme resv-acquire %s -n 1 --crkey=0xb --prkey=0xa --rtype=%d --racqa=1"
         % (two, WRITE_EXCLUSIVE))
    job.wait(20, check=False)
    assert job.status != 0, "the fenced one still writes"
    assert status(a, "write", one, WRITE) == RESERVATION_CONFLICT
    assert status(b, "write", two, WRITE) == 0
    fio(b, two, rw="randwrite", size="4M", verify="crc32c")
    # Registered again it may write when the type says so.
    a.sh("nvme resv-register %s -n 1 --nrkey=0xaa --rrega=0" % one)
    b.sh("nvme resv-release %s -n 1 --crkey=0xb --rtype=%d --rrela=0" % (two, WRITE_EXCLUSIVE))
    b.sh("nvme resv-acquire %s -n 1 --crkey=0xb --rtype=%d --racqa=0"
         % (two, WRITE_EXCLUSIVE_REGISTRANTS))
    assert status(a, "write", one, WRITE) == 0
    a.sh("nvme resv-register %s -n 1 --crkey=0xaa --rrega=1" % one)
    assert status(a, "write", one, WRITE) == RESERVATION_CONFLICT


@timeout(90)
def test_reservation_outlives_the_daemon():
    """Asked to persist (PTPL) it is there again, whoever comes first; until cleared."""
    d, (a, b) = pair()
    for vm in (a, b):
        vm.close()
    folder = d.config_path
    d.close()
    assert folder
    text = {1: {"file": backing("p.img"), "size": "16M", "attach": ["vf0", "vf1"]}}
    text[1]["reservations"] = text[1]["file"] + ".resv"
    first = Daemon(storage.ssd(text), name="first")
    vm = VM("one", vfio_user=[first.sock("ssd0/vf0")], storage=True)
    ns, dev = disk(vm), storage.controller(vm)[0]
    vm.put("/tmp/hostid", b"\1" * 16)
    vm.sh("nvme set-feature %s -f 0x81 --value=1 -l 16 -d /tmp/hostid" % dev)
    vm.sh("nvme resv-register %s -n 1 --nrkey=0xa --rrega=0 --cptpl=3 && "
          "nvme resv-acquire %s -n 1 --crkey=0xa --rtype=1 --racqa=0" % (ns, ns))
    first.kill9()
    vm.close()
    first.start()
    other = VM("two", vfio_user=[first.sock("ssd0/vf1")], storage=True)
    ns = disk(other)
    other.sh("seq 9999 | head -c 4096 > /tmp/x")
    assert status(other, "write", ns, WRITE) == RESERVATION_CONFLICT
    other.put("/tmp/hostid", b"\2" * 16)
    other.sh("nvme set-feature %s -f 0x81 --value=1 -l 16 -d /tmp/hostid"
             % storage.controller(other)[0])
    other.sh("nvme resv-register %s -n 1 --nrkey=0xb --rrega=0" % ns)
    other.sh("nvme resv-acquire %s -n 1 --crkey=0xb --prkey=0xa --rtype=1 --racqa=1" % ns)
    assert status(other, "write", ns, WRITE) == 0
