# SPDX-License-Identifier: BSD-3-Clause
"""Stock VMs for the comparisons with QEMU's own devices: those of tests/vm, from build/vm."""
import contextlib
import os
import sys

import peer

os.environ.setdefault("SOFTIOV_BUILD", peer.BUILD)
sys.path.insert(0, os.path.join(peer.TOP, "tests", "vm"))

import harness                                                # noqa: E402
import qemu                                                   # noqa: E402


def in_namespace():
    """Go on in a network namespace of our own: its TAPs and bridges end with us."""
    if os.environ.get("SOFTIOV_PEER_NETNS"):
        return
    os.environ["SOFTIOV_PEER_NETNS"] = "1"
    how = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-U", "-r", "-n"]
    os.execvp(how[0], how + [sys.executable] + sys.argv)


@contextlib.contextmanager
def scope(name):
    """What is started within is closed behind it. Logs: build/vm/logs/NAME."""
    logs = harness.Scope(name, os.path.join(harness.LOGS, name))
    harness.push_scope(logs)
    with open(logs.logfile("output.log"), "w") as output:
        for module in [m for m in sys.modules.values() if getattr(m, "log", None) is harness.log]:
            module.log = lambda *text: print(*text, file=output, flush=True)
        try:
            yield logs
        except (harness.Skip, qemu.VMError, AssertionError, TimeoutError) as e:
            raise peer.Refused("%s\nlogs: %s" % (e, os.path.relpath(logs.logs))) from e
        finally:
            for fault in logs.close():
                peer.say("at the end: %s" % fault)


def conditions():
    return ["guests: Linux %s under %s, one processor each; %s" % (
        open(os.path.join(harness.VMDIR, "kernel-version")).read().strip(),
        "KVM" if qemu.accelerator() == "kvm" else
        "TCG (emulated: the guests' own part is many times what it is under KVM)",
        os.popen(harness.VMDIR + "/qemu --version").readline().strip())]
