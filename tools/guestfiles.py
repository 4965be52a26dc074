# SPDX-License-Identifier: BSD-3-Clause
"""Where tools/vm-fetch puts a guest's files: an initramfs, or a folder. Both take the same calls."""
import os
import shutil
import stat


class Cpio:
    """Writes a "newc" archive: what the kernel's initramfs code reads."""

    def __init__(self, path):
        self.path, self.f, self.ino, self.dirs = path, open(path + ".new", "wb"), 1, set()

    def entry(self, name, mode, data=b"", rdev=(0, 0)):
        name = name.encode() + b"\0"
        head = b"070701" + b"".join(b"%08x" % v for v in (
            self.ino, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(name), 0))
        self.ino += 1
        for part in (head + name, data):
            self.f.write(part + b"\0" * (-len(part) % 4))

    def parents(self, name):
        d = os.path.dirname(name)
        if d and d not in self.dirs:
            self.dirs.add(d)
            self.parents(d)
            self.entry(d, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o755):
        self.parents(name)
        self.entry(name, stat.S_IFREG | mode, data)

    def copy(self, name, path):
        with open(path, "rb") as f:
            self.file(name, f.read(), 0o755 if os.access(path, os.X_OK) else 0o644)

    def link(self, name, target):
        self.parents(name)
        self.entry(name, stat.S_IFLNK | 0o777, target.encode())

    def dir(self, name, mode=0o755):
        self.parents(name)
        if name not in self.dirs:
            self.dirs.add(name)
            self.entry(name, stat.S_IFDIR | mode)

    def node(self, name, major, minor):
        self.parents(name)
        self.entry(name, stat.S_IFCHR | 0o600, rdev=(major, minor))

    def close(self):
        self.entry("TRAILER!!!", 0)
        self.f.write(b"\0" * (-self.f.tell() % 512))
        self.f.close()
        os.rename(self.path + ".new", self.path)


class Folder:
    """Takes what Cpio takes, into a folder of this machine."""

    def __init__(self, path):
        self.path = path
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)

    def at(self, name):
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.islink(path) or os.path.isfile(path):
            os.unlink(path)
        return path

    def file(self, name, data, mode=0o755):
        path = self.at(name)
        with open(path, "wb") as f:
            f.write(data)
        os.chmod(path, mode)

    copy = Cpio.copy

    def link(self, name, target):
        os.symlink(target, self.at(name))

    def dir(self, name, mode=0o755):
        os.makedirs(os.path.join(self.path, name), mode, exist_ok=True)

    def node(self, name, major, minor):
        """A device node takes root to make; the kernel's devtmpfs brings it."""
