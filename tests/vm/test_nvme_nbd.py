# SPDX-License-Identifier: BSD-3-Clause
"""A namespace that is a remote disk, and what its guest sees when the server does not answer."""
import shutil
import signal
import subprocess
import time

import storage
from daemon import Daemon
from harness import die_with_parent, eventually, scope, skip, timeout
from qemu import VM
from storage import disk, fio
from traffic import stats


class Server:
    """nbdkit with 64 MiB of memory, at a UNIX socket."""

    def __init__(self):
        if not shutil.which("nbdkit"):
            skip("no nbdkit")
        self.path = storage.backing("nbd.sock")
        self.proc = subprocess.Popen(["nbdkit", "-f", "-U", self.path, "memory", "64M"],
                                     stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        scope().add(self)

    def close(self):
        self.proc.kill()
        self.proc.wait()


@timeout(120)
def test_server_that_hangs():
    server = Server()
    d = Daemon(storage.ssd({1: {"nbd": "nbd+unix:///?socket=" + server.path, "size": "64M",
                                "attach": ["vf0"]},
                            2: {"memory": "64M", "attach": ["vf0"]},
                            3: {"memory": "64M", "attach": ["vf1"]}}))
    # Linux would wait for 30 s before it asks for an abort.
    a = VM("a", storage=True, vfio_user=[d.sock("ssd0/vf0")], kernel_args="nvme_core.io_timeout=2")
    b = VM("b", storage=True, vfio_user=[d.sock("ssd0/vf1")])
    dev = disk(a)
    storage.mkfs(a, dev)
    a.sh("cp /usr/bin/nvme /mnt && umount /mnt")
    storage.fsck(a, dev)
    theirs = storage.fio_start(b, disk(b, 3), rw="randrw", size="32M", verify="crc32c",
                               time_based=1, runtime=12)
    before = stats(d, "ssd0/vf0")["writes"]
    job = storage.fio_start(a, dev, rw="randrw", size="16M", verify="crc32c", iodepth=8,
                            time_based=1, runtime=3)
    eventually(lambda: stats(d, "ssd0/vf0")["writes"] > before + 100, 20)
    server.proc.send_signal(signal.SIGSTOP)
    eventually(lambda: "aborting" in a.sh("dmesg"), 20, 0.5, "the driver asks for an abort")
    time.sleep(2)
    # The controller itself is as ever, and so are its other disk and the other VM.
    assert storage.status(a, "smart-log", "/dev/nvme0") == 0
    fio(a, disk(a, 2), rw="randwrite", size="2M", verify="crc32c")
    text = a.sh("dmesg | grep nvme")
    assert "Abort status: 0x0" in text and "reset controller" not in text, text
    server.proc.send_signal(signal.SIGCONT)
    # What was aborted the driver has sent again.
    storage.fio_result(job)
    storage.fio_result(theirs)
    fio(a, dev, rw="randwrite", bsrange="512-64k", size="8M", verify="crc32c")
