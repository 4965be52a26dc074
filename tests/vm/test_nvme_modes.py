# SPDX-License-Identifier: BSD-3-Clause
"""Doorbells rung one by one and by shadow buffer; interrupts one by one and coalesced; memory that is
reached by messages only."""
import storage
from daemon import Daemon
from harness import log, shared, timeout
from qemu import VM
from storage import disk, fio, number_of_interrupts
from traffic import function

READS = 4000


@shared
def host():
    """One VM with a disk of each kind; their NSIDs tell them apart."""
    config = storage.ssd({1: {"memory": "64M", "attach": ["vf0"]}}, num=1, queues=1)
    config["devices"].update(storage.ssd(
        {2: {"memory": "64M", "attach": ["vf0"]}}, "ssd1", num=1, queues=1,
        **{"doorbell-buffer": False})["devices"])
    d = Daemon(config)
    vm = VM("a", vfio_user=[d.sock("ssd0/vf0"), d.sock("ssd1/vf0")], storage=True)
    return d, vm


def of(vm, device):
    """(controller's node, disk's node) of a device of host()."""
    nsid = {"ssd0": 1, "ssd1": 2}[device]
    dev = disk(vm, nsid)
    for c in storage.controllers(vm).values():
        if vm.sh("nvme list-ns /dev/%s" % c["name"]).endswith(":0x%x" % nsid):
            return "/dev/" + c["name"], dev
    raise AssertionError("no controller with NSID %d" % nsid)


def driver(d, name):
    """What the daemon says of the function's driver."""
    return function(d, name)["controller"]


def test_doorbell_buffer():
    d, vm = host()
    kicks = {}
    for device, on in ("ssd0", True), ("ssd1", False):
        name = device + "/vf0"
        ctrl, dev = of(vm, device)
        assert bool(storage.nvme(vm, "id-ctrl", ctrl)["oacs"] & 0x100) == on
        assert driver(d, name)["doorbell-buffer"] == on
        before = driver(d, name)["kicks"]
        fio(vm, dev, rw="randread", number_ios=READS, iodepth=32, size="64M")
        kicks[device] = driver(d, name)["kicks"] - before
        fio(vm, dev, rw="randwrite", bsrange="512-64k", iodepth=32, size="16M", verify="crc32c")
        fio(vm, dev, rw="randrw", iodepth=1, size="2M", verify="crc32c")
    log("doorbells rung for %d reads: %s" % (READS, kicks))
    # Without it the driver rings for each command or batch, and for each batch of completions.
    assert kicks["ssd1"] > 200 and kicks["ssd0"] < kicks["ssd1"] / 2, kicks
    storage.messages(vm)


@timeout(180)
def test_mapped_doorbells():
    """Where the device is polled always the guest's stores to its doorbells reach the worker by
    themselves: QEMU maps them, and no command costs a message. After resets, too."""
    d = Daemon(storage.ssd({1: {"memory": "64M", "attach": ["vf0"]}}, num=1, queues=1, poll="always",
                           **{"doorbell-buffer": False}), name="mapped")
    vm = VM("mapped", storage=True, vfio_user=[d.sock("ssd0/vf0")])
    ctrl = storage.controller(vm)[0]
    for reset in None, "nvme reset " + ctrl, "echo 1 > /sys/class/nvme/%s/device/reset" % ctrl[5:]:
        if reset:
            vm.sh(reset)
        dev = disk(vm)
        before = driver(d, "ssd0/vf0")
        fio(vm, dev, rw="randread", number_ios=500, iodepth=32, size="64M")
        fio(vm, dev, rw="randrw", bsrange="512-64k", iodepth=16, size="1M", verify="crc32c")
        after = driver(d, "ssd0/vf0")
        assert after["commands"] - before["commands"] > 500, (before, after)
        assert after["kicks"] == before["kicks"], (before, after)
    storage.messages(vm)


@timeout(90)
def test_interrupt_coalescing():
    _, vm = host()
    for device in ("ssd0", "ssd1"):
        ctrl, dev = of(vm, device)
        seen = {}
        # Thresholds are of entries (0's based), times of 100 us; queue 1 has vector 1.
        for mode, value in ("off", 0), ("on", 0x0a0f), ("on, but not for this vector", 0x0a0f):
            vm.sh("nvme set-feature %s -f 8 --value=%#x" % (ctrl, value))
            vm.sh("nvme set-feature %s -f 9 --value=%#x" % (ctrl, 0x10001 if "not" in mode else 1))
            before = number_of_interrupts(vm, ctrl[5:])
            fio(vm, dev, rw="randread", number_ios=READS, iodepth=32, size="64M")
            seen[mode] = number_of_interrupts(vm, ctrl[5:]) - before
        log("%s: interrupts for %d reads: %s" % (device, READS, seen))
        assert seen["on"] < min(seen["off"], READS) * 0.6, seen
        # Alone in the queue, nothing is held back for longer than was asked.
        fio(vm, dev, rw="randread", number_ios=200, iodepth=1, size="64M")
        vm.sh("nvme set-feature %s -f 8 --value=0" % ctrl)
    storage.messages(vm)


@timeout(90)
def test_memory_without_a_descriptor():
    """QEMU shares none: each command and its data comes and goes by messages. Slow, but right."""
    d = Daemon(storage.ssd({1: {"memory": "64M", "attach": ["vf0"]}}), name="messages")
    vm = VM("nofd", share=False, storage=True, vfio_user=[d.sock("ssd0/vf0")])
    dev = disk(vm)
    # Larger than a socket's buffer, and smaller than a page.
    for sizes in "256k-1m", "512-8k":
        fio(vm, dev, rw="randwrite", bsrange=sizes, iodepth=16, size="4M", verify="crc32c")
    storage.mkfs(vm, dev)
    vm.sh("cp /usr/bin/nvme /mnt && umount /mnt && mount %s /mnt && cmp /usr/bin/nvme /mnt/nvme && "
          "umount /mnt" % dev)
    storage.fsck(vm, dev)
    vm.sh("nvme reset " + storage.controller(vm)[0])
    fio(vm, disk(vm), rw="randwrite", size="1M", verify="crc32c")
    storage.messages(vm)
