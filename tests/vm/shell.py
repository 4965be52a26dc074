#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Open a shell in a test VM, on this terminal.

  tests/vm/shell.py [-c VCPUS] [-m MEM] [-u] [--storage] [SOCKET ...] [-- QEMU-ARGUMENT ...]

Every SOCKET is a vfio-user socket of a running softiovd. Leave with `exit` or Ctrl-A X.
"""
import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import qemu                                                   # noqa: E402


def main():
    own, extra = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, extra = own[:at], own[at + 1:]
    ap = argparse.ArgumentParser(description="A shell in a test VM.")
    ap.add_argument("sockets", nargs="*", metavar="SOCKET")
    ap.add_argument("-c", type=int, default=1, metavar="VCPUS")
    ap.add_argument("-m", default="512M", metavar="MEM")
    ap.add_argument("-u", action="store_true", help="add a network card of QEMU's own")
    ap.add_argument("--storage", action="store_true", help="with fio and nvme-cli")
    a = ap.parse_args(own)
    vm = qemu.VM.__new__(qemu.VM)
    vm.name, vm.taken = "shell", {}
    args = vm.machine(a.c, a.m, True, a.storage, "softiov.shell")
    for n in range(len(a.sockets) + 3):
        args += ["-device", "pcie-root-port,id=rp%d,bus=pcie.0,chassis=%d,slot=%d,io-reserve=0"
                 % (n, n + 1, n + 1)]
    for n, s in enumerate(a.sockets):
        args += ["-device", json.dumps(vm.vfio_user_device({"socket": os.path.abspath(s)},
                                                           "vu%d" % n, "rp%d" % n))]
    if a.u:
        args += ["-netdev", "user,id=u0", "-device",
                 "virtio-net-pci,netdev=u0,bus=rp%d,romfile=" % len(a.sockets)]
    args += ["-serial", "mon:stdio", "-serial", "null"] + extra
    os.execv(args[0], args)


if __name__ == "__main__":
    main()
