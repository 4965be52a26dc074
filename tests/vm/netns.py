# SPDX-License-Identifier: BSD-3-Clause
"""A network namespace of our own: TAPs, addresses and bridges that touch nothing of the machine.

    ns = NetNS("lan")                    # Skip where namespaces are not permitted
    ns.run("ip tuntap add soft0 mode tap")
    d = Daemon(config, netns=ns)         # the daemon lives inside, so it may open the TAP

As root it is a plain namespace; otherwise a user namespace is made around it, in which we are
root. A process that sleeps holds it; it goes when that is closed.
"""
import os
import subprocess

import harness
from harness import SLOW, die_with_parent, log


class NetNS:
    def __init__(self, name):
        self.name = name
        self.root = os.geteuid() == 0
        how = ["unshare", "-n"] if self.root else ["unshare", "-U", "-r", "-n"]
        self.proc = subprocess.Popen(how + ["sh", "-c", "echo ready; exec sleep infinity"],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, text=True,
                                     preexec_fn=die_with_parent)
        said = self.proc.stdout.readline()
        if said.strip() != "ready":
            self.proc.wait()
            harness.skip("no network namespace here: %s" % said.strip())
        self.scope = harness.scope()
        self.scope.add(self)
        self.run("ip link set lo up")

    @property
    def prefix(self):
        """Put before a command line (a list) to run it inside."""
        p = ["nsenter", "-t", str(self.proc.pid), "-n"]
        return p if self.root else p + ["-U", "--preserve-credentials"]

    def run(self, command, check=True, timeout=60):
        """Run under sh inside; return what it printed, less the last newline."""
        log("%s# %s" % (self.name, command))
        res = subprocess.run(self.prefix + ["sh", "-c", command], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             errors="replace", timeout=timeout * SLOW)
        if check and res.returncode:
            raise AssertionError("%s: `%s` ended with %d\n%s" % (self.name, command,
                                                                res.returncode, res.stdout))
        return res.stdout.rstrip("\n")

    def popen(self, args, **kw):
        """subprocess.Popen of a list inside; ended together with the namespace's scope."""
        kw.setdefault("stdin", subprocess.DEVNULL)
        proc = subprocess.Popen(self.prefix + list(args), preexec_fn=die_with_parent, **kw)
        self.scope.add(Process(proc))
        return proc

    def tap(self, name, address=None, up=True):
        """Make a persistent TAP. Skip where /dev/net/tun cannot be used."""
        if not os.path.exists("/dev/net/tun"):
            harness.skip("no /dev/net/tun")
        try:
            self.run("ip tuntap add %s mode tap vnet_hdr" % name)
        except AssertionError as e:
            harness.skip("no TAP can be made here: %s" % e)
        if address:
            self.run("ip addr add %s dev %s" % (address, name))
        if up:
            self.run("ip link set %s up" % name)
        return name

    def close(self):
        self.scope.remove(self)
        self.proc.kill()
        self.proc.wait()


class Process:
    """Something to end with its scope."""

    def __init__(self, proc):
        self.proc = proc
        self.name = "process %d" % proc.pid

    def close(self):
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(5)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
