# SPDX-License-Identifier: BSD-3-Clause
"""What every VM test uses: where things are, skipping, waiting, and who closes what.

Whatever is started (a VM, a daemon, a namespace) registers itself with the scope that is open:
the test that runs, or the file when it is made inside a function marked @shared. The scope
closes it in reverse order; a close that finds something wrong (a daemon that crashed, a
sanitizer report) makes the test fail.
"""
import ctypes
import functools
import os
import shutil
import signal
import sys
import time
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("SOFTIOV_BUILD") or os.path.join(TOP, "build"))
VMDIR = os.path.abspath(os.environ.get("SOFTIOV_VM") or os.path.join(TOP, "build", "vm"))
LOGS = os.path.join(VMDIR, "logs")
# Multiplies every waiting time: for sanitizers and slow machines.
SLOW = float(os.environ.get("SOFTIOV_SLOW", "1"))
DEFAULT_TIMEOUT = 120
LOG_LINE = 1500
START = time.monotonic()


class Skip(Exception):
    """The test cannot run here; its text says why."""


class TestTimeout(Exception):
    pass


def skip(reason):
    raise Skip(reason)


def timeout(seconds):
    """Decorator: the test may take this long instead of DEFAULT_TIMEOUT."""
    def mark(func):
        func.timeout = seconds
        return func
    return mark


def log(*text):
    """Into the file's output.log, which is shown when a test fails."""
    line = " ".join(str(t) for t in text)
    if len(line) > LOG_LINE:
        line = line[:LOG_LINE] + "... (%d more)" % (len(line) - LOG_LINE)
    print("%8.2f %s" % (time.monotonic() - START, line), flush=True)


def eventually(probe, timeout=10, every=0.1, what=None):
    """Call probe until it returns something true, and return that; AssertionError after timeout.

    An AssertionError or OSError out of probe counts as "not yet".
    """
    end = time.monotonic() + timeout * SLOW
    while True:
        last = None
        try:
            value = probe()
            if value:
                return value
        except (AssertionError, OSError) as e:
            last = e
        if time.monotonic() > end:
            text = what or getattr(probe, "__name__", "condition")
            raise AssertionError("not within %g s: %s%s" % (timeout * SLOW, text,
                                                            " (%s)" % last if last else ""))
        time.sleep(every)


def die_with_parent():
    """preexec_fn: no QEMU outlives the tests. Tied to the thread that started it: the main one."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Scope:
    """Things to close, last first. `name` is also the folder its logs go to."""

    def __init__(self, name, logs):
        self.name, self.logs, self.things = name, logs, []
        self.fresh = True

    def logfile(self, name):
        if self.fresh:
            shutil.rmtree(self.logs, ignore_errors=True)
            os.makedirs(self.logs)
            self.fresh = False
        return os.path.join(self.logs, name)

    def add(self, thing):
        self.things.append(thing)

    def remove(self, thing):
        if thing in self.things:
            self.things.remove(thing)

    def check(self):
        """Faults of things that still run (a daemon that died, say)."""
        faults = []
        for t in self.things:
            if hasattr(t, "fault"):
                fault = t.fault()
                if fault:
                    faults.append(fault)
        return faults

    def close(self):
        faults = []
        while self.things:
            t = self.things.pop()
            try:
                t.close()
            except Exception as e:                           # pylint: disable=broad-except
                faults.append(str(e))
                traceback.print_exc(file=sys.stdout)
        return faults


_scopes = [Scope("adhoc", os.path.join(LOGS, "adhoc"))]


def scope():
    """The innermost scope that is open."""
    return _scopes[-1]


def push_scope(s):
    _scopes.append(s)
    return s


def pop_scope():
    return _scopes.pop()


def shared(func):
    """Decorator: made once per file, at first use, and closed when the file's tests are over.

    The function takes no arguments. If it fails, every test that uses it fails with its error.
    """
    state = {}

    @functools.wraps(func)
    def wrapper():
        if "error" in state:
            raise state["error"]
        if "value" not in state:
            # The file's scope lies below the running test's.
            s = _scopes[1] if len(_scopes) > 1 else _scopes[0]
            _scopes.append(s)
            try:
                state["value"] = func()
            except Exception as e:
                state["error"] = e
                raise
            finally:
                _scopes.pop()
        return state["value"]
    return wrapper
