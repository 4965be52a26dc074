# SPDX-License-Identifier: BSD-3-Clause
"""QEMU killed at work, and the daemon: who else notices, and what is left on the disks."""
import os
import time

import storage
from daemon import Daemon
from harness import eventually, timeout
from qemu import VM
from storage import MIB, backing, disk, fio
from traffic import stats


@timeout(150)
def test_qemu_killed_under_fio():
    first = backing()
    d = Daemon(storage.ssd({1: {"file": first, "size": "256M", "attach": ["vf0"]},
                            2: {"file": backing(), "size": "256M", "attach": ["vf1"]}}))
    a, b = [VM("vm%d" % n, vfio_user=[d.sock("ssd0/vf%d" % n)], storage=True) for n in (0, 1)]
    storage.mkfs(a, disk(a))
    # What was synced is to be there; what was not may be.
    a.sh("mkdir /mnt/kept && cp /usr/bin/nvme /usr/bin/fio /mnt/kept && sync")
    go_on = storage.fio_start(b, disk(b, 2), rw="randrw", bsrange="4k-64k", size="128M",
                              verify="crc32c", time_based=1, runtime=18)
    busy = storage.fio_start(a, "/mnt/f", rw="randwrite", bsrange="4k-64k", size="96M", fsync=16,
                             iodepth=32, time_based=1, runtime=60)
    time.sleep(4)
    assert not busy.done and not go_on.done
    a.kill9()
    # Its successor is let in at once, at the same socket.
    again = VM("again", vfio_user=[d.sock("ssd0/vf0")], storage=True)
    dev = disk(again)
    again.sh("mount %s /mnt" % dev)                     # plays the journal
    again.sh("cmp /usr/bin/nvme /mnt/kept/nvme && cmp /usr/bin/fio /mnt/kept/fio && umount /mnt")
    storage.fsck(again, dev)
    fio(again, dev, rw="randwrite", size="4M", verify="crc32c")
    storage.fio_result(go_on, 60)
    storage.messages(b)


@timeout(150)
def test_daemon_killed_after_flush():
    """Each record whose flush was completed is in the file, however little time there was."""
    image = backing()
    d = Daemon(storage.ssd({1: {"file": image, "size": "64M", "attach": ["vf0"]}}))
    vm = VM("a", vfio_user=[d.sock("ssd0/vf0")], storage=True)
    dev = disk(vm)
    # Through the guest's page cache, so that the flush has something before it; and by FUA.
    vm.put("/tmp/records", "for i in $(seq 1 2000); do "
           "printf '%%08d' $i | dd of=%s bs=4k seek=$i conv=notrunc,fsync,sync 2>/dev/null "
           "|| exit; echo $i; done\n" % dev)
    job = vm.spawn("sh /tmp/records")
    eventually(lambda: job.done or len(job.out.split()) > 100, 30, 0.01, "100 records")
    d.kill9()
    told = [int(w) for w in job.out.split()[:-1]]       # the last may have been cut in two
    assert told and told == list(range(1, len(told) + 1))
    with open(image, "rb") as f:
        for n in told:
            f.seek(4096 * n)
            got = f.read(8)
            assert got == b"%08d" % n, "record %d of %d is %r" % (n, len(told), got)
    # A VMM does not connect again. Its next VM finds all of it.
    vm.kill9()
    d.start()
    vm = VM("next", vfio_user=[d.sock("ssd0/vf0")], storage=True)
    dev = disk(vm)
    assert vm.sh("dd if=%s bs=4k skip=%d count=1 2>/dev/null | head -c 8" % (dev, told[-1])) == \
        "%08d" % told[-1]
    fio(vm, dev, rw="randwrite", size="4M", verify="crc32c")


@timeout(90)
def test_daemon_ends_and_comes_back():
    """SIGTERM with disks in use: an orderly end; the file keeps what was written."""
    image = backing()
    d = Daemon(storage.ssd({1: {"file": image, "size": "64M", "attach": ["vf0"]}}))
    vm = VM("a", vfio_user=[d.sock("ssd0/vf0")], storage=True)
    dev = disk(vm)
    vm.sh("seq 1000000 | head -c %d > /tmp/x && dd if=/tmp/x of=%s bs=1M oflag=direct conv=fsync"
          % (4 * MIB, dev))
    storage.fio_start(vm, dev, rw="randread", time_based=1, runtime=30)
    before = stats(d, "ssd0/vf0")["reads"]
    eventually(lambda: stats(d, "ssd0/vf0")["reads"] > before + 100, 10)
    d.stop()
    with open(image, "rb") as f:
        assert f.read(4 * MIB).startswith(b"1\n2\n3\n")
    assert os.path.getsize(image) == 64 * MIB
    vm.kill9()
    d.start()
    vm = VM("next", vfio_user=[d.sock("ssd0/vf0")], storage=True)
    vm.sh("seq 1000000 | head -c %d | cmp -n %d - %s" % (4 * MIB, 4 * MIB, disk(vm)))
