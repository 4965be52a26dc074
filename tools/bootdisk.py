# SPDX-License-Identifier: BSD-3-Clause
"""A disk image that a VM boots from by itself, through BIOS as well as through UEFI.

GPT with three partitions: GRUB's second stage, an EFI system partition with GRUB for UEFI, the
kernel and a small initramfs, and an ext4 root with the test guest's whole system. Made without
root: every tool writes into a plain file. Used by tools/vm-fetch.
"""
import os
import struct
import subprocess

SECTOR = 512
MIB = 1 << 20
BIOS_BOOT, ESP, ROOT = 1, 40, 88        # MiB of each partition
ROOT_LABEL = "guestroot"
# The stages before the kernel; what is in neither list is not needed to load one file pair.
COMMON = ["part_gpt", "fat", "search", "search_fs_file", "linux", "boot"]
BIOS_MODULES = COMMON + ["biosdisk"]
EFI_MODULES = COMMON

# Where boot.img keeps the sector of core.img, and core.img's first sector the list of the rest
# (GRUB's include/grub/i386/pc/boot.h and offsets.h).
KERNEL_SECTOR = 0x5c
BLOCKLIST = 0x1f4

CONFIG = """search --file --set=root /softiov-boot
linux /vmlinuz %s
initrd /initrd.cpio
boot
"""

# As tests/vm/qemu.py has them for a kernel that QEMU loads.
ARGUMENTS = ("console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check "
             "cryptomgr.notests softiov.name=bootdisk")

INIT = """#!/usr/bin/busybox sh
# Process 1 until the root file system is there.
export PATH=/usr/bin
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox modprobe -a %s
for i in $(busybox seq 100); do
	root=$(busybox findfs LABEL=%s 2>/dev/null) && break
	busybox usleep 100000
done
busybox mount -o rw "$root" /root || exec busybox sh
busybox umount /sys /proc
exec busybox switch_root /root /init
"""


def make_grub(tree, tool, work):
    """(boot.img, core.img, BOOTX64.EFI) as bytes, core.img being where the first partition is."""
    config = os.path.join(work, "grub.cfg")
    with open(config, "w") as f:
        f.write(CONFIG % ARGUMENTS)
    lib = os.path.join(tree, "usr/lib/grub")
    out = []
    for target, modules in ("i386-pc", BIOS_MODULES), ("x86_64-efi", EFI_MODULES):
        path = os.path.join(work, "grub-" + target)
        tool("grub-mkimage", "-d", os.path.join(lib, target), "-O", target, "-p", "/grub", "-c",
             config, "-o", path, *modules)
        with open(path, "rb") as f:
            out.append(f.read())
    with open(os.path.join(lib, "i386-pc/boot.img"), "rb") as f:
        boot = bytearray(f.read())
    core, first = bytearray(out[0]), MIB // SECTOR
    struct.pack_into("<Q", boot, KERNEL_SECTOR, first)
    # Its length and segment grub-mkimage has filled in.
    struct.pack_into("<Q", core, BLOCKLIST, first + 1)
    assert len(core) <= BIOS_BOOT * MIB
    return bytes(boot), bytes(core), out[1]


def partition(image, loader):
    size = 1 + BIOS_BOOT + ESP + ROOT + 1
    with open(image, "wb") as f:
        f.truncate(size * MIB)
    script = "label: gpt\nunit: sectors\n"
    at = 1
    for mib, kind in ((BIOS_BOOT, "21686148-6449-6E6F-744E-656564454649"),
                      (ESP, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),
                      (ROOT, "0FC63DAF-8483-4772-8E79-3D69D8477DE4")):
        script += "start=%d, size=%d, type=%s\n" % (at * MIB // SECTOR, mib * MIB // SECTOR, kind)
        at += mib
    subprocess.run(loader("sfdisk") + ["-q", image], input=script, text=True, check=True)


def make(image, tree, loader, work, kernel, initrd, root):
    """Write the image.

    tree     where grub-mkimage and its modules, mtools, sfdisk and mkfs.ext4 are unpacked
    loader   loader(program) gives the first words of a command that runs it
    work     an empty folder
    kernel, initrd, root   path of the kernel, of the initramfs, of the folder that is to be /
    """
    def tool(prog, *args, **env):
        subprocess.run(loader(prog) + list(args), check=True, stdin=subprocess.DEVNULL,
                       env=dict(os.environ, **env))

    boot, core, efi = make_grub(tree, tool, work)
    partition(image, loader)
    with open(image, "r+b") as f:
        # The partition table's own words in the first sector stay.
        f.write(boot[:440])
        f.seek(MIB)
        f.write(core)
    esp = "%s@@%d" % (image, (1 + BIOS_BOOT) * MIB)
    grub_efi = os.path.join(work, "BOOTX64.EFI")
    with open(grub_efi, "wb") as f:
        f.write(efi)
    mark = os.path.join(work, "softiov-boot")
    with open(mark, "w"):
        pass
    env = {"MTOOLS_SKIP_CHECK": "1"}
    tool("mformat", "-i", esp, "-T", str(ESP * MIB // SECTOR), "-h", "16", "-s", "63", "::", **env)
    tool("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT", **env)
    tool("mcopy", "-i", esp, grub_efi, "::/EFI/BOOT/", **env)
    tool("mcopy", "-i", esp, mark, "::/", **env)
    tool("mcopy", "-i", esp, kernel, "::/vmlinuz", **env)
    tool("mcopy", "-i", esp, initrd, "::/initrd.cpio", **env)
    tool("mkfs.ext4", "-q", "-F", "-L", ROOT_LABEL, "-d", root, "-E",
         "offset=%d,root_owner=0:0" % ((1 + BIOS_BOOT + ESP) * MIB), image, "%dM" % ROOT)
