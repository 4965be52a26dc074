# SPDX-License-Identifier: BSD-3-Clause
"""softiovd for the tests: started in the foreground on a runtime directory of its own.

    d = Daemon({"devices": {"nic0": {"type": "ethernet", "total-vfs": 4, "num-vfs": 2}}})
    d.sock("nic0/vf0")           # path of an endpoint, once it exists
    d.cli("show", "-j")          # parsed JSON; text without -j
"""
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import harness
from harness import BUILD, SLOW, die_with_parent, log

STOP_TIMEOUT = 10
REPORT = re.compile(r"ERROR: (Address|Leak|Memory)Sanitizer|WARNING: ThreadSanitizer|"
                    r"runtime error:|[Aa]ssertion .* failed")


def program(name):
    """The path of a program in the build folder (SOFTIOV_BUILD)."""
    for path in [os.path.join(BUILD, p, name) for p in ("src/daemon", "src/cli", "src", ".")]:
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    hits = [p for p in glob.glob(BUILD + "/**/" + name, recursive=True)
            if os.path.isfile(p) and os.access(p, os.X_OK)]
    if not hits:
        raise AssertionError("no %s in %s: build first" % (name, BUILD))
    return hits[0]


def yaml(value, indent=0):
    """Block YAML of dicts, lists and scalars: what the configuration file needs."""
    pad = "  " * indent
    if isinstance(value, dict):
        lines = []
        for k, v in value.items():
            if isinstance(v, dict) and v:
                lines.append("%s%s:\n%s" % (pad, k, yaml(v, indent + 1)))
            else:
                lines.append("%s%s: %s\n" % (pad, k, yaml(v)))
        return "".join(lines) if lines else "{}"
    if isinstance(value, (list, tuple)):
        return "[%s]" % ", ".join(yaml(v) if not isinstance(v, dict) else json.dumps(v)
                                  for v in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return json.dumps(str(value))


def environment():
    env = dict(os.environ)
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:exitcode=99")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1:exitcode=99")
    env.setdefault("TSAN_OPTIONS", "exitcode=99:halt_on_error=0")
    env.pop("NOTIFY_SOCKET", None)
    return env


def refused(config, timeout=10):
    """Start a daemon that must refuse its configuration; return what it says."""
    with tempfile.TemporaryDirectory(prefix="softiov-") as tmp:
        path = os.path.join(tmp, "softiov.yaml")
        with open(path, "w") as f:
            f.write(config if isinstance(config, str) else yaml(config))
        res = subprocess.run([program("softiovd"), "-c", path, "--runtime-dir", tmp + "/run"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, timeout=timeout * SLOW,
                             env=environment())
        assert res.returncode not in (0, 99) and res.returncode > 0, \
            "accepted, or ended badly (%d):\n%s" % (res.returncode, res.stdout)
        assert not REPORT.search(res.stdout), res.stdout
        return res.stdout.replace(path, "softiov.yaml")


class Daemon:
    """A running softiovd.

    config   dict, or the text of the file
    name     for the log
    netns    a NetNS to run in
    args     more arguments
    """

    def __init__(self, config, name="softiovd", netns=None, args=(), wait=True):
        self.name = name
        self.scope = harness.scope()
        # Short on purpose: a UNIX socket's path has room for 107 characters.
        self.dir = tempfile.mkdtemp(prefix="softiov-")
        self.run_dir = os.path.join(self.dir, "run")
        self.config_path = os.path.join(self.dir, "softiov.yaml")
        self.log_path = self.scope.logfile(name + ".log")
        self.ended = False
        self.netns = netns
        self.args = list(args)
        self.write_config(config)
        program("softiovd")                 # before it is ours to close
        self.scope.add(self)
        self.start(wait)

    def write_config(self, config):
        """Replace the file; hup() makes the daemon read it."""
        with open(self.config_path, "w") as f:
            f.write(config if isinstance(config, str) else yaml(config))

    def start(self, wait=True):
        prefix = self.netns.prefix if self.netns else []
        args = prefix + [program("softiovd"), "-c", self.config_path, "--runtime-dir",
                         self.run_dir] + self.args
        log("%s: %s" % (self.name, " ".join(args)))
        self.ended = False
        with open(self.log_path, "a") as out:
            self.proc = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                         env=environment(), preexec_fn=die_with_parent)
        if wait:
            self.wait_ready()

    @property
    def pid(self):
        return self.proc.pid

    def wait_ready(self, timeout=15):
        """Until the control socket takes connections."""
        end = time.monotonic() + timeout * SLOW
        path = os.path.join(self.run_dir, "control.sock")
        while True:
            if self.proc.poll() is not None:
                self.ended = True
                raise AssertionError("%s ended at start (%d):\n%s" % (
                    self.name, self.proc.returncode, self.log()[-3000:]))
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                    s.connect(path)
                return
            except OSError:
                pass
            if time.monotonic() > end:
                raise AssertionError("%s: no %s after %g s:\n%s" % (
                    self.name, path, timeout * SLOW, self.log()[-3000:]))
            time.sleep(0.02)

    def sock(self, function, timeout=5):
        """The socket of "nic0/vf0", "nic0/pf" or a root "host0"; waits until it exists."""
        path = os.path.join(self.run_dir, function + ".sock")
        harness.eventually(lambda: os.path.exists(path), timeout, 0.02, path)
        return path

    def cli(self, *args, check=True, timeout=20):
        """Run softiov. Returns parsed JSON if -j is among the arguments, else the text."""
        cmd = [program("softiov"), "--runtime-dir", self.run_dir] + [str(a) for a in args]
        res = subprocess.run(cmd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=timeout * SLOW, env=environment())
        log("softiov %s: %d" % (" ".join(map(str, args)), res.returncode))
        if REPORT.search(res.stderr):
            raise AssertionError("softiov %s:\n%s" % (" ".join(map(str, args)), res.stderr))
        if check and res.returncode:
            raise AssertionError("softiov %s ended with %d:\n%s%s" % (
                " ".join(map(str, args)), res.returncode, res.stdout, res.stderr))
        if not check:
            return res
        return json.loads(res.stdout) if "-j" in args else res.stdout

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def cpu_seconds(self):
        """Processor time it has used, all threads."""
        with open("/proc/%d/stat" % self.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """Bytes of memory that are its own: guest memory mapped into it does not count."""
        with open("/proc/%d/status" % self.pid) as f:
            for line in f:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
        return 0

    def hup(self):
        self.proc.send_signal(signal.SIGHUP)

    def fault(self):
        """What is wrong with it, if anything, while it should be running."""
        if self.ended:
            return None
        if self.proc.poll() is not None:
            return "%s ended by itself (%d):\n%s" % (self.name, self.proc.returncode,
                                                     self.log()[-3000:])
        m = REPORT.search(self.log())
        return "%s: %s" % (self.name, self.log()[m.start():][:3000]) if m else None

    def stop(self):
        """SIGTERM; AssertionError unless it ends with 0 and without a sanitizer's report."""
        if self.ended:
            return
        fault = self.fault()
        self.ended = True
        if fault:
            if self.proc.poll() is None:
                self.proc.kill()
                self.proc.wait()
            raise AssertionError(fault)
        self.proc.terminate()
        try:
            self.proc.wait(STOP_TIMEOUT * SLOW)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            raise AssertionError("%s does not end upon SIGTERM:\n%s" % (
                self.name, self.log()[-2000:])) from None
        text = self.log()
        m = REPORT.search(text)
        if self.proc.returncode or m:
            raise AssertionError("%s ended with %d:\n%s" % (
                self.name, self.proc.returncode, text[m.start():][:4000] if m else text[-3000:]))

    def kill9(self):
        """End it as a crash would."""
        self.ended = True
        self.proc.kill()
        self.proc.wait()

    def close(self):
        self.scope.remove(self)
        try:
            self.stop()
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
