#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Run the VM tests: functions test_* of tests/vm/test_*.py.

  tests/vm/runner.py [-j N] [-l] [-v] [WORD ...]   only tests whose FILE.NAME contains a WORD

Each file runs in a process of its own, at most two at a time (files that set ALONE = True run by
themselves). Prints a line per test and `N passed, N failed, N skipped` at the end.
"""
import argparse
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import harness                                                # noqa: E402
from harness import DEFAULT_TIMEOUT, LOGS, SLOW, Scope        # noqa: E402

# What a file may take for setting up and closing beyond its tests' own time.
GRACE = 90


# ---- the process of one file ---------------------------------------------------------------

def tests_of(module, words):
    """(name, function) of the file's tests that are asked for, in the order of the source."""
    found = [(n, f) for n, f in vars(module).items() if n.startswith("test_") and callable(f)]
    short = module.__name__
    return [(n, f) for n, f in found
            if not words or any(w in short + "." + n for w in words)]


def on_alarm(_sig, _frame):
    raise harness.TestTimeout("took longer than allowed")


def explain(error):
    """The traceback, and what the variables of the test's own last line held."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    frame = None
    for f, _ in traceback.walk_tb(error.__traceback__):
        if os.path.basename(f.f_code.co_filename).startswith("test_"):
            frame = f
    for name, value in (frame.f_locals if frame else {}).items():
        text += "%s = %.300r\n" % (name, value)
    return text


def child(name, words, fd):
    """Run one file's tests; report on fd, a JSON object per line."""
    out = os.fdopen(fd, "w", buffering=1)

    def tell(**what):
        out.write(json.dumps(what) + "\n")

    signal.signal(signal.SIGALRM, on_alarm)
    # Ended by the runner: close what runs, softly where that is quick.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    logs = os.path.join(LOGS, name)
    try:
        module = importlib.import_module(name)
    except Exception:                                         # pylint: disable=broad-except
        tell(event="end", test="import", result="fail", time=0, text=traceback.format_exc())
        tell(event="over")
        return
    todo = tests_of(module, words)
    tell(event="list", tests=[n for n, _ in todo])
    outer = harness.push_scope(Scope(name, os.path.join(logs, "shared")))
    for test, func in todo:
        limit = getattr(func, "timeout", DEFAULT_TIMEOUT) * SLOW
        tell(event="start", test=test, limit=limit)
        harness.log("==== " + test)
        start = time.monotonic()
        inner = harness.push_scope(Scope(test, os.path.join(logs, test)))
        result, text = "ok", ""
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            func()
        except harness.Skip as e:
            result, text = "skip", str(e)
        except Exception as e:                                # pylint: disable=broad-except
            result, text = "fail", explain(e)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        while harness.scope() is not inner:                   # left open by an interrupted @shared
            harness.pop_scope()
        signal.setitimer(signal.ITIMER_REAL, 60 * SLOW)
        try:
            faults = outer.check() + inner.check() + inner.close()
        except harness.TestTimeout:
            faults = ["closing took longer than %g s" % (60 * SLOW)]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        harness.pop_scope()
        if faults:
            result, text = "fail", "\n".join([text] + sorted(set(faults)))
        if result == "fail":
            harness.log("FAILED\n" + text)
        tell(event="end", test=test, result=result, time=time.monotonic() - start, text=text)
    signal.setitimer(signal.ITIMER_REAL, 60 * SLOW)
    try:
        faults = outer.close()
    except harness.TestTimeout:
        faults = ["closing took longer than %g s" % (60 * SLOW)]
    signal.setitimer(signal.ITIMER_REAL, 0)
    if faults:
        tell(event="end", test="close", result="fail", time=0, text="\n".join(faults))
    tell(event="over")


# ---- the runner ----------------------------------------------------------------------------

class Results:
    def __init__(self):
        self.lock = threading.Lock()
        self.count = {"ok": 0, "fail": 0, "skip": 0}

    def add(self, name, test, result, seconds, text):
        with self.lock:
            self.count[result] += 1
            label = {"ok": "ok  ", "fail": "FAIL", "skip": "skip"}[result]
            line = "%s %6.1f s  %s.%s" % (label, seconds, name, test)
            if result == "skip":
                line += "  # " + text.split("\n")[0]
            print(line, flush=True)
            if result == "fail":
                print("".join("    | %s\n" % t for t in text.strip().split("\n")[-60:]) +
                      "    | logs: %s" % os.path.relpath(os.path.join(LOGS, name)), flush=True)


def run_file(name, words, results, verbose):
    """Run one file's process and watch it: a test that hangs is ended with all it started."""
    os.makedirs(os.path.join(LOGS, name), exist_ok=True)
    output = os.path.join(LOGS, name, "output.log")
    rd, wr = os.pipe()
    with open(output, "w") as out:
        proc = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--child", name,
                                 "--fd", str(wr)] + list(words), pass_fds=(wr,),
                                stdin=subprocess.DEVNULL, stdout=None if verbose else out,
                                stderr=None if verbose else out, start_new_session=True)
    os.close(wr)
    events = queue.Queue()

    def pump():
        with os.fdopen(rd) as f:
            for line in f:
                events.put(json.loads(line))
        events.put(None)

    threading.Thread(target=pump, daemon=True).start()
    left, now, since, patience, over = [], None, time.monotonic(), GRACE, False
    failure = None
    try:
        while True:
            try:
                e = events.get(timeout=patience)
            except queue.Empty:
                failure = "hung for %g s and was ended" % patience
                break
            if e is None:
                failure = None if over else "the test process ended (%s)" % proc.wait()
                break
            if e["event"] == "list":
                left = e["tests"]
            elif e["event"] == "start":
                now, since, patience = e["test"], time.monotonic(), e["limit"] + GRACE * SLOW
            elif e["event"] == "end":
                results.add(name, e["test"], e["result"], e["time"], e["text"])
                now, patience = None, GRACE * SLOW
                if e["test"] in left:
                    left.remove(e["test"])
            elif e["event"] == "over":
                over = True
    finally:
        try:
            os.killpg(proc.pid, signal.SIGKILL)
        except OSError:
            pass
        proc.wait()
    if failure:
        with open(output, errors="replace") as f:
            tail = "" if verbose else f.read()[-2000:]
        results.add(name, now or "close", "fail", time.monotonic() - since, failure + "\n" + tail)
        for test in left:
            if test != now:
                results.add(name, test, "fail", 0, "not run: the file's process was ended")


def listing(files, words):
    """Names of the files that have a test that is asked for, alone ones last; and all tests."""
    beside, alone, tests = [], [], []
    for name in files:
        try:
            module = importlib.import_module(name)
        except Exception:                                     # pylint: disable=broad-except
            beside.append(name)                               # its process tells the error
            continue
        todo = tests_of(module, words)
        if todo:
            (alone if getattr(module, "ALONE", False) else beside).append(name)
            tests += [name + "." + n for n, _ in todo]
    return beside, alone, tests


def main():
    ap = argparse.ArgumentParser(description="Run the VM tests.")
    ap.add_argument("words", nargs="*", help="run tests whose FILE.NAME contains one of these")
    ap.add_argument("-j", type=int, default=min(2, os.cpu_count() or 1),
                    help="files side by side, 1 or 2")
    ap.add_argument("-l", action="store_true", help="list the tests and end")
    ap.add_argument("-v", action="store_true", help="show what tests log (implies -j 1)")
    ap.add_argument("--counts", help="write the three numbers to this file as JSON")
    ap.add_argument("--child", help=argparse.SUPPRESS)
    ap.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.child:
        child(args.child, args.words, args.fd)
        return 0
    files = sorted(f[:-3] for f in os.listdir(HERE) if f.startswith("test_") and f.endswith(".py"))
    beside, alone, tests = listing(files, args.words)
    if args.l:
        print("\n".join(tests))
        return 0
    # Find out once, not in two processes at a time.
    import qemu                                               # pylint: disable=import-outside-toplevel
    try:
        print("virtual machines run under %s" % qemu.accelerator(), flush=True)
    except qemu.VMError as e:
        print(e)
        return 1
    results, todo = Results(), queue.Queue()
    for name in beside:
        todo.put(name)

    def work():
        while True:
            try:
                name = todo.get_nowait()
            except queue.Empty:
                return
            run_file(name, args.words, results, args.v)

    threads = [threading.Thread(target=work) for _ in range(1 if args.v else max(1, min(2, args.j)))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for name in alone:
        run_file(name, args.words, results, args.v)
    c = results.count
    if args.counts:
        with open(args.counts, "w") as f:
            json.dump(c, f)
    else:
        # With --counts whoever asked adds them up, and closes.
        print("%d passed, %d failed, %d skipped" % (c["ok"], c["fail"], c["skip"]))
    return 1 if c["fail"] or not c["ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
