# SPDX-License-Identifier: BSD-3-Clause
"""The disk under a namespace is full: its guest is told, and nobody else; then it goes on."""
import os

import storage
from daemon import Daemon
from harness import timeout
from qemu import VM
from storage import disk, fio, status

MIB = storage.MIB


@timeout(120)
def test_full_disk():
    small = storage.SmallDisk(48)
    other = storage.backing()
    d = Daemon(storage.ssd({1: {"file": small.path("thin.img"), "size": "256M", "attach": ["vf0"]},
                            2: {"file": other, "size": "64M", "attach": ["vf0"]},
                            3: {"memory": "64M", "attach": ["vf1"]}}), netns=small)
    a, b = [VM("vm%d" % n, vfio_user=[d.sock("ssd0/vf%d" % n)], storage=True) for n in (0, 1)]
    dev = disk(a)
    fio(a, dev, rw="write", bs="64k", size="8M", verify="crc32c")
    with open(small.outside("ballast"), "wb") as f:
        f.write(b"x" * (36 * MIB))
    busy = storage.fio_start(b, disk(b, 3), rw="randrw", size="32M", verify="crc32c", time_based=1,
                             runtime=8)
    # An error, not a wait, nor success: whatever the kernel makes of it, the status says it.
    job = a.spawn("dd if=/dev/zero of=%s bs=64k seek=160 count=400 oflag=direct" % dev)
    job.wait(30, check=False)
    assert job.status != 0, "64 KiB blocks went into a full disk: " + job.err
    a.sh("head -c 65536 /dev/urandom > /tmp/x")
    said = status(a, "write", dev, "-s 400000 -c 127 -z 65536 -d /tmp/x")
    # Capacity Exceeded, or Write Fault.
    assert said in (0x81, 0x280), hex(said)
    assert d.fault() is None
    # What is there can be read and overwritten, and the controller's other disk is as before.
    fio(a, dev, rw="randwrite", bsrange="4k-64k", size="8M", verify="crc32c")
    fio(a, disk(a, 2), rw="randwrite", size="4M", verify="crc32c")
    assert storage.nvme(a, "smart-log", storage.controller(a)[0])["critical_warning"] in (0, 4)
    # Space returns, and the disk goes on; nobody had to reset anything.
    os.unlink(small.outside("ballast"))
    fio(a, dev, rw="write", bs="64k", offset="128M", size="16M", verify="crc32c")
    assert status(a, "write", dev, "-s 400000 -c 127 -z 65536 -d /tmp/x") == 0
    # It may be trimmed, too, to make room.
    a.sh("blkdiscard %s" % dev)
    assert storage.allocated(small.outside("thin.img")) < MIB
    storage.fio_result(busy)
    storage.messages(a)
