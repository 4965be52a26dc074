# SPDX-License-Identifier: BSD-3-Clause
"""What the comparisons have in common: Debian's packages in a folder, processes that end with us,
runs in turn, and the report.

Debian's packages are fetched by apt and unpacked below build/peers; nothing is installed, and no
root is needed for it.
"""
import argparse
import atexit
import ctypes
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("SOFTIOV_BUILD") or os.path.join(TOP, "build-bench"))
ROOT = os.path.join(TOP, "build", "peers", "root")
MULTIARCH = "/usr/lib/%s-linux-gnu" % os.uname().machine

OURS = "softiov"
RETRIES = 2


class Refused(Exception):
    """The comparison cannot run here; the text says why, and what helps."""


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- the machine ---------------------------------------------------------------------------

def cores():
    """The core that moves frames, and the one that makes the load: as softiov-bench chooses."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise Refused("needs two cores, one for the switch and one for the load; may use %d" % len(allowed))
    return allowed[-1], allowed[0]


def need_memory(mib, what):
    with open("/proc/meminfo") as f:
        free = int(re.search(r"MemAvailable:\s*(\d+)", f.read()).group(1)) // 1024
    if free < mib:
        raise Refused("%s wants %d MiB of memory, %d are available" % (what, mib, free))


def machine():
    """What the figures hold for."""
    with open("/proc/cpuinfo") as f:
        m = re.search(r"model name\s*:\s*(.*)", f.read())
    commit = subprocess.run(["git", "-C", TOP, "rev-parse", "--short", "HEAD"], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    return {"cpu": m.group(1) if m else platform.processor(), "cores": os.cpu_count(),
            "kernel": platform.release(), "load-before": os.getloadavg()[0],
            "softiov": commit.strip()}


# ---- packages ------------------------------------------------------------------------------

def installed():
    out = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"], check=True,
                         stdout=subprocess.PIPE, text=True).stdout
    return {line.split()[1] for line in out.splitlines() if line.startswith("installed ")}


def depends(package):
    """Names that it depends upon, the first of alternatives."""
    out = subprocess.run(["apt-cache", "depends", "--important", package], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True, check=False).stdout
    found, alternative = [], False
    for line in out.splitlines()[1:]:
        m = re.match(r"\s+(\|?)(?:Pre)?Depends: ([^<\s]\S*)", line)
        if m:
            if not alternative:
                found.append(m.group(2))
            alternative = bool(m.group(1))
    return found


def closure(packages, without):
    have, todo, need = installed(), list(packages), []
    while todo:
        p = todo.pop()
        if p in need or p in without or p in have:
            continue
        need.append(p)
        todo += depends(p)
    return need


def unpack(packages, without=()):
    """Packages with what they need into ROOT, unless that has them. Raises Refused."""
    stamps = os.path.join(ROOT, ".unpacked")
    os.makedirs(stamps, exist_ok=True)
    stamp = os.path.join(stamps, "+".join(packages))
    if os.path.exists(stamp):
        return
    need = closure(packages, set(without))
    say("fetching %d of Debian's packages into %s (nothing is installed)" % (
        len(need), os.path.relpath(ROOT)))
    with tempfile.TemporaryDirectory() as tmp:
        os.chmod(tmp, 0o755)
        got = subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root"] + need,
                             cwd=tmp, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, check=False)
        if got.returncode:
            raise Refused("apt-get download failed (perhaps `apt-get update` helps):\n" +
                          got.stdout[-2000:])
        for deb in sorted(os.listdir(tmp)):
            subprocess.run(["dpkg", "-x", os.path.join(tmp, deb), ROOT], check=True)
    with open(stamp, "w") as f:
        f.write("\n".join(sorted(need)) + "\n")


def program(path):
    """A program, out of ROOT or of this machine."""
    for p in (ROOT + path, path):
        if os.access(p, os.X_OK):
            return p
    raise Refused("no %s in the packages: another release of Debian?" % path)


def library(name):
    for folder in (ROOT + MULTIARCH, MULTIARCH):
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    raise Refused("no %s in the packages: another release of Debian?" % name)


def dpdk_abi():
    """The number at the end of the names of DPDK's packages and libraries, which each release raises."""
    out = subprocess.run(["apt-cache", "pkgnames", "librte-vhost"], stdout=subprocess.PIPE, text=True,
                         check=False).stdout
    found = re.findall(r"^librte-vhost-?(\d+)$", out, re.M)
    if not found:
        raise Refused("apt knows no DPDK here; on Debian, `apt-get update` may help")
    return found[0]


def environment(**more):
    env = dict(os.environ, **more)
    env["LD_LIBRARY_PATH"] = ":".join([ROOT + MULTIARCH, env.get("LD_LIBRARY_PATH", "")]).rstrip(":")
    return env


def version(package):
    out = subprocess.run(["apt-cache", "policy", package], stdout=subprocess.PIPE, text=True,
                         check=False).stdout
    m = re.search(r"Candidate: (\S+)", out)
    return m.group(1) if m else "?"


# ---- processes -----------------------------------------------------------------------------

def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Work:
    """A folder and processes, all gone at the end, whatever ends us."""

    def __init__(self):
        # Short: a UNIX socket's path has room for 107 characters.
        self.dir = tempfile.mkdtemp(prefix="softiov-peer-")
        self.procs = []
        atexit.register(self.close)
        signal.signal(signal.SIGINT, signal.default_int_handler)   # also where a shell ignores it
        for sig in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, lambda *_: sys.exit(1))

    def path(self, name):
        return os.path.join(self.dir, name)

    def start(self, args, name, cpu=None, env=None):
        """A process in the background, its output in the file `name`.log."""
        def prepare():
            die_with_parent()
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
        with open(self.path(name + ".log"), "w") as out:
            p = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                 preexec_fn=prepare, env=env)
        self.procs.append(p)
        return p

    def log(self, name):
        with open(self.path(name + ".log"), errors="replace") as f:
            return f.read()

    def stop(self, proc):
        if proc in self.procs:
            self.procs.remove(proc)
        if proc.poll() is None:
            proc.send_signal(signal.SIGCONT)
            proc.terminate()
            try:
                proc.wait(10)
            except subprocess.TimeoutExpired:
                proc.kill()
                proc.wait()

    def close(self):
        atexit.unregister(self.close)
        while self.procs:
            self.stop(self.procs[-1])
        shutil.rmtree(self.dir, ignore_errors=True)


def wait_for(what, probe, seconds=20, proc=None):
    end = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if proc and proc.poll() is not None:
            raise Refused("%s: the process ended with %d" % (what, proc.returncode))
        if time.monotonic() > end:
            raise Refused("%s: not within %d s" % (what, seconds))
        time.sleep(0.1)


def threads(pid):
    """{name: thread id}"""
    out = {}
    for tid in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/comm" % (pid, tid)) as f:
            out[f.read().strip()] = int(tid)
    return out


# ---- the ring load -------------------------------------------------------------------------

def bench_program():
    path = os.path.join(BUILD, "bench", "softiov-bench")
    if not os.access(path, os.X_OK):
        raise Refused("no %s: run it by `make bench-peers`, which builds it" % path)
    return path


def ring_load(work, cases, seconds, more=()):
    """One run of softiov-bench: {case: {metric: value}}. Tried again, and said, when it fails: a
    machine that does other things may keep a switch from its core for longer than it waits."""
    result = work.path("result.json")
    for patience in range(RETRIES, -1, -1):
        ran = subprocess.run([bench_program(), "--json", result, "--runs", "1", "--seconds",
                              str(seconds), "--cases", ",".join(cases)] + list(more),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, timeout=60 + 20 * len(cases), cwd=work.dir, check=False)
        if not ran.returncode:
            break
        text = "softiov-bench %s: %s" % (" ".join(more) or "(softiov)", ran.stderr[-1500:])
        if not patience:
            raise Refused(text)
        say("this turn is repeated: " + text)
    with open(result) as f:
        found = json.load(f)["cases"]
    return {c["name"]: {k: v["median"] for k, v in c.items() if isinstance(v, dict)} for c in found}


class Paused:
    """A peer polls all the time: stopped while another has the cores."""

    def __init__(self, proc):
        self.proc = proc
        self.proc.send_signal(signal.SIGSTOP)

    def __enter__(self):
        self.proc.send_signal(signal.SIGCONT)
        time.sleep(0.2)

    def __exit__(self, *_):
        self.proc.send_signal(signal.SIGSTOP)


# ---- results -------------------------------------------------------------------------------

class Results:
    """Runs of one metric or more, of cases, of softiov and of peers."""

    def __init__(self, title, conditions):
        self.title, self.conditions = title, conditions
        self.machine = machine()
        self.runs = {}          # {case: {who: {metric: [value]}}}

    def add(self, case, who, values):
        of = self.runs.setdefault(case, {}).setdefault(who, {})
        for metric, value in values.items():
            of.setdefault(metric, []).append(value)

    def ratio(self, case, who, metric):
        """softiov's by the other's, run by run: whatever slows the machine slows both."""
        pairs = zip(self.runs[case][OURS].get(metric, []), self.runs[case][who].get(metric, []))
        return [a / b for a, b in pairs if b]

    @staticmethod
    def cell(values, digits):
        if not values:
            return "-"
        return "%.*f (%.*f–%.*f)" % (digits, statistics.median(values), digits, min(values), digits,
                                    max(values))

    def conditions_text(self):
        m = self.machine
        lines = ["machine: %(cpu)s, %(cores)d cores, Linux %(kernel)s; load average %(load-before).2f "
                 "before, " % m + "%.2f after" % os.getloadavg()[0],
                 "softiov at %s; runs in turn, median (min–max); a ratio is softiov's figure divided by "
                 "the peer's of the same turn" % (m["softiov"] or "?")]
        if m["load-before"] > 1:
            lines.append("**the machine did other things**: while the load is kept off its core a polling "
                         "thread spends cycles for nothing, so that these figures wrong whoever polls; "
                         "docs/peers.md says what helps")
        return ["- " + c for c in lines + self.conditions]

    def table(self, columns):
        """columns: [(metric, heading, digits, ratio too)]; of cases that have the first."""
        head = ["case", "who"] + [c[1] for c in columns]
        head += ["ratio of " + c[1] for c in columns if c[3]]
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for case, whos in self.runs.items():
            for who, metrics in whos.items():
                if columns[0][0] not in metrics:
                    continue
                row = [case, who] + [self.cell(metrics.get(c[0]), c[2]) for c in columns]
                for c in columns:
                    if c[3]:
                        row.append("" if who == OURS or OURS not in whos else
                                   self.cell(self.ratio(case, who, c[0]), 2))
                lines.append("| " + " | ".join(row) + " |")
        return lines if len(lines) > 2 else []

    def markdown(self, tables):
        lines = ["# " + self.title, ""] + self.conditions_text()
        for columns in tables:
            rows = self.table(columns)
            lines += [""] + rows if rows else []
        return "\n".join(lines) + "\n"

    def json(self):
        return {"title": self.title, "machine": self.machine, "conditions": self.conditions,
                "runs": self.runs}


def main(name, measure, tables, arguments=None):
    """The program: measure(args, work) gives Results. Tables: lists of (metric, heading, digits, ratio)."""
    ap = argparse.ArgumentParser(prog=name, description=sys.modules["__main__"].__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("-r", "--runs", type=int, default=5, help="turns (5)")
    ap.add_argument("-s", "--seconds", type=float, default=0.4, help="of one measurement (%(default)s)")
    ap.add_argument("-j", "--json", metavar="FILE", default=os.path.join(BUILD, "bench", name + ".json"),
                    help="every run's figures (%(default)s)")
    if arguments:
        arguments(ap)
    args = ap.parse_args()
    work = Work()
    try:
        results = measure(args, work)
    except Refused as e:
        say("%s: %s" % (name, e))
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    finally:
        work.close()
    print(results.markdown(tables), end="")
    with open(args.json, "w") as f:
        json.dump(results.json(), f, indent=1)
    return 0
