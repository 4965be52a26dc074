# SPDX-License-Identifier: BSD-3-Clause
"""VMs that boot by themselves from a VF's disk: firmware, boot loader, kernel, root file system."""
import os
import subprocess

import storage
from daemon import Daemon
from harness import eventually, timeout
from qemu import VM, fetched


def boot_image():
    """A copy of the disk that tools/vm-fetch makes; sparse as that is."""
    path = storage.backing("boot.img")
    subprocess.run(["cp", "--sparse=always", fetched("bootdisk.img"), path], check=True)
    return path


def boots(firmware, queues):
    image = boot_image()
    size = os.path.getsize(image)
    d = Daemon(storage.ssd({1: {"file": image, "attach": ["vf0"]}}, queues=queues))
    vm = VM(firmware, vfio_user=[d.sock("ssd0/vf0")], mem="512M", firmware=firmware)
    vm.wait_ready(90)
    assert "BOOT_IMAGE=/vmlinuz" in vm.sh("cat /proc/cmdline"), "QEMU loaded the kernel"
    assert (vm.status("test -d /sys/firmware/efi") == 0) == (firmware == "uefi")
    dev = storage.disk(vm, 1, size=size)
    assert vm.sh("mount | grep ' on / '").startswith("%sp3 on / type ext4" % dev)
    # What is written stays, over the guest's own reboot and through another one's hands.
    vm.sh("head -c 3000000 /dev/urandom > /data && sha256sum /data > /sum && sync")
    vm.reboot(90)
    vm.sh("sha256sum -c /sum")
    vm.sh("mount -o remount,ro /")
    return d, vm, image


@timeout(150)
def test_seabios():
    d, vm, image = boots("bios", 1)
    vm.close()
    # The same disk, by the other firmware: OVMF wants two I/O queue pairs.
    d.close()
    kept = Daemon(storage.ssd({1: {"file": image, "attach": ["vf1"]}}, queues=2), name="other")
    uefi = VM("uefi", vfio_user=[kept.sock("ssd0/vf1")], mem="512M", firmware="uefi")
    uefi.wait_ready(90)
    uefi.sh("sha256sum -c /sum && test -d /sys/firmware/efi")


@timeout(150)
def test_ovmf():
    _, vm, _ = boots("uefi", 2)
    # Reset by the machine, without the guest having ended anything.
    vm.reset(90)
    vm.sh("sha256sum -c /sum")
    assert eventually(lambda: vm.sh("cat /sys/class/nvme/nvme0/state") == "live", 5)
