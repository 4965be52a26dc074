# SPDX-License-Identifier: BSD-3-Clause
"""NVMe disks in guests, and what lies under them on this machine.

    d = Daemon(ssd({1: {"file": backing(), "size": "256M", "attach": ["vf0"]}}))
    vm = VM("a", vfio_user=[d.sock("ssd0/vf0")], storage=True)
    dev = disk(vm, 1)                        # "/dev/nvme0n1", once the guest has it
    fio(vm, dev, rw="randwrite", size="32M", verify="crc32c")
"""
import json
import os
import re
import shutil
import subprocess
import tempfile

import harness
from harness import SLOW, die_with_parent, eventually

PCI = "/sys/bus/pci/devices/"
DRIVER = "/sys/bus/pci/drivers/nvme/"
PF_ID, VF_ID = "1b36:5f10", "1b36:5f11"
MIB = 1 << 20

# Status, less the bits that say "do not retry" and "more in the error log" (4.6.1).
INVALID_OPCODE = 0x001
INVALID_FIELD = 0x002
RESERVATION_CONFLICT = 0x083
COMPARE_FAILURE = 0x285


def ssd(namespaces, name="ssd0", total=4, num=2, queues=2, **more):
    """A configuration with one NVMe device."""
    dev = {"type": "nvme", "total-vfs": total, "num-vfs": num, "queues": queues,
           "namespaces": namespaces}
    dev.update(more)
    return {"devices": {name: dev}}


# ---- files on this machine -----------------------------------------------------------------

class Folder:
    """A folder that goes when its scope is closed."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="softiov-disk-")
        harness.scope().add(self)

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)


def backing(name="disk.img"):
    """The path of a file to be made, in a folder of its own."""
    return os.path.join(Folder().path, name)


def allocated(path):
    """Bytes that the file really takes."""
    return os.stat(path).st_blocks * 512


class SmallDisk:
    """A file system that is soon full: a tmpfs in a mount namespace of our own.

    Give it to Daemon as netns: the daemon then lives where it is mounted. Skip where that is not
    permitted.
    """

    def __init__(self, megabytes):
        self.folder = Folder().path
        root = os.geteuid() == 0
        how = ["unshare", "-m"] if root else ["unshare", "-U", "-r", "-m"]
        self.proc = subprocess.Popen(
            how + ["sh", "-c", "mount -t tmpfs -o size=%dM softiov '%s' && echo ready && "
                   "exec sleep infinity" % (megabytes, self.folder)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=die_with_parent)
        said = self.proc.stdout.readline()
        if said.strip() != "ready":
            self.proc.wait()
            harness.skip("no file system can be mounted here: %s" % said.strip())
        self.prefix = ["nsenter", "-t", str(self.proc.pid), "-m"] + (
            [] if root else ["-U", "--preserve-credentials"])
        harness.scope().add(self)

    def path(self, name):
        """As the daemon knows it."""
        return os.path.join(self.folder, name)

    def outside(self, name):
        """The same as we can reach it."""
        return "/proc/%d/root%s" % (self.proc.pid, self.path(name))

    def close(self):
        self.proc.kill()
        self.proc.wait()


# ---- disks in a guest ----------------------------------------------------------------------

def controllers(vm):
    """{PCI address: {"name": "nvme0", "cntlid": 1, "state": "live", "nqn"}}."""
    text = vm.sh("for c in /sys/class/nvme/nvme*; do [ -e $c/address ] || continue; "
                 "echo ${c##*/} $(cat $c/address $c/cntlid $c/state $c/subsysnqn); done")
    out = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 5:                  # or it is just going
            name, pci, cntlid, state, nqn = words
            out[pci] = {"name": name, "cntlid": int(cntlid), "state": state, "nqn": nqn}
    return out


def controller(vm, cntlid=None, timeout=15):
    """(/dev node, PCI address) of the live controller, with this CNTLID if one is named."""
    def find():
        for pci, c in controllers(vm).items():
            if c["state"] == "live" and cntlid in (None, c["cntlid"]):
                return "/dev/" + c["name"], pci
        return None
    return eventually(find, timeout, 0.2, "%s: controller %s is live" % (vm.name, cntlid))


def disks(vm):
    """{NSID: {"dev", "size" in bytes, "block", "uuid"}}. With one path or more to it."""
    # nvme0c1n1 and its like are paths to a disk, not disks.
    text = vm.sh("cd /sys/block; for b in nvme*n*; do case $b in nvme*c*|'nvme*n*') ;; *) "
                 "echo $(cat $b/nsid $b/size $b/queue/logical_block_size $b/wwid) $b; esac; done")
    out = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 5:
            out[int(words[0])] = {"dev": "/dev/" + words[4], "size": int(words[1]) * 512,
                                  "block": int(words[2]), "wwid": words[3]}
    return out


def disk(vm, nsid=1, timeout=15, size=None):
    """The device node of a namespace; waits until the guest has it, with that size if given."""
    def find():
        found = disks(vm).get(nsid)
        return found and found["size"] and (size is None or found["size"] == size) and \
            found["dev"]
    return eventually(find, timeout, 0.2, "%s: a disk with NSID %d%s" % (
        vm.name, nsid, "" if size is None else " and %d bytes" % size))


def no_disk(vm, nsid=1, timeout=15):
    eventually(lambda: nsid not in disks(vm), timeout, 0.2,
               "%s: NSID %d is gone" % (vm.name, nsid))


def nvme(vm, *words):
    """What `nvme WORDS -o json` says, parsed."""
    return json.loads(vm.sh("nvme %s -o json" % " ".join(map(str, words))))


def status(vm, *words):
    """The NVMe status with which a command ends, 0 if it succeeds."""
    job = vm.spawn("nvme " + " ".join(map(str, words)))
    job.wait(check=False)
    m = re.search(r"\((0x[0-9a-f]+)\)", job.out + job.err)
    assert job.status == 0 or m, "nvme %s: no status in: %s" % (" ".join(map(str, words)),
                                                               job.out + job.err)
    return int(m.group(1), 16) & 0x7ff if job.status else 0


def number_of_interrupts(vm, name):
    """Of all I/O queues of a controller ("nvme0")."""
    lines = vm.sh("grep -E '%sq[1-9]' /proc/interrupts" % name).splitlines()
    return sum(int(w) for line in lines for w in line.split()[1:] if w.isdigit())


def messages(vm):
    """AssertionError if the guest's kernel complained of itself."""
    text = vm.sh("dmesg")
    bad = [line for line in text.splitlines()
           if re.search(r"BUG:|WARNING:|Oops|Call Trace|blocked for more than|I/O tag .* timeout",
                        line)]
    assert not bad, "\n".join(bad + ["----", text[-3000:]])


# ---- work for a disk -----------------------------------------------------------------------

def fio_command(dev, **options):
    """fio with one job; each option as fio has it, with _ for the -."""
    job = {"name": "job", "filename": dev, "ioengine": "libaio", "direct": 1, "iodepth": 16,
           "bs": "4k", "randrepeat": 0, "verify_fatal": 1, "verify_dump": 0}
    if "bsrange" in options or "bssplit" in options:
        del job["bs"]
    job.update(options)
    return "fio --output-format=json " + " ".join(
        "--%s=%s" % (k, v) for k, v in job.items() if v is not None)


def fio_result(job, timeout=60):
    """The job's part of fio's JSON; AssertionError if it ended with an error."""
    job.wait(timeout, check=False)
    assert job.status == 0, "fio ended with %s:\n%s" % (job.status, (job.err + job.out)[-2000:])
    # Warnings go in front of it.
    result = json.loads(job.out[job.out.index("{"):])["jobs"][0]
    assert result["error"] == 0, "fio: error %d" % result["error"]
    return result


def fio_start(vm, dev, **options):
    """Start it; fio_result() takes the job."""
    return vm.spawn(fio_command(dev, **options))


def fio(vm, dev, timeout=60, **options):
    return fio_result(fio_start(vm, dev, **options), timeout * SLOW)


def mkfs(vm, dev, at="/mnt", options=""):
    vm.sh("mkdir -p %s && mkfs.ext4 -q -F %s && mount %s %s %s" % (at, dev, options, dev, at))


def fsck(vm, dev):
    """AssertionError unless the file system, not mounted, is in order."""
    vm.sh("fsck.ext4 -f -n %s" % dev)
