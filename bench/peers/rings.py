# SPDX-License-Identifier: BSD-3-Clause
"""softiov beside a switch that speaks vhost-user, both under the load of softiov-bench."""
import os

import peer

CASES = ["64 split", "64 packed", "512 split", "512 packed", "1518 split", "1518 packed"]
BUSY = ["busy split", "busy packed"]
TSO = ["TSO split", "TSO packed"]

# Metric, heading, digits, whether a ratio is made.
TABLES = [
    [("mpps", "Mpps", 2, True), ("worker-tsc-cycles-per-frame", "its thread's cycles/frame", 0, True),
     ("gbps", "Gb/s", 1, False), ("starved-percent", "starved %", 1, False),
     ("lost-frames", "lost", 0, False)],
    [("p50-us", "there and back, p50 us", 2, True), ("p99-us", "p99 us", 2, True)],
]

CONDITIONS = ["one core for the switch, another for one thread that plays both guests; rings of 256, "
              "mergeable buffers, one flow, one way (busy: one 64-byte frame there and back)"]


def arguments(ap):
    ap.add_argument("--huge", action="store_true",
                    help="give the peer 1 GiB in huge pages of 2 MiB, reserved and given back (root)")
    ap.add_argument("--no-tso", action="store_true", help="leave out the cases of 64 KiB")


def phases(args):
    """(for TSO, cases) of each instance of the peer."""
    return [(False, CASES + BUSY)] + ([] if args.no_tso else [(True, TSO)])


class HugePages:
    """Reserved for a run, and given back. Where none are wanted it does nothing."""

    PATH = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

    def __init__(self, wanted, pages=512):
        self.before = None
        if not wanted:
            return
        if os.geteuid():
            raise peer.Refused("--huge wants root: it reserves huge pages")
        with open(self.PATH) as f:
            before = int(f.read())
        peer.say("reserving %d huge pages of 2 MiB (there are %d)" % (before + pages, before))
        self.before = before
        self.set(before + pages)
        with open(self.PATH) as f:
            got = int(f.read())
        if got < before + pages:
            self.close()
            raise peer.Refused("the kernel gave %d huge pages only: memory is short, or split up" % got)

    def set(self, n):
        with open(self.PATH, "w") as f:
            f.write("%d\n" % n)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.before is not None:
            self.set(self.before)
            self.before = None


def compare(args, work, results, who, switch, cases):
    """switch: an object with proc, thread, and words for softiov-bench (sockets)."""
    words = switch.words + ["--peer", "%d,%s" % (switch.proc.pid, switch.thread)]
    paused = peer.Paused(switch.proc)
    for run in range(args.runs):
        peer.say("%s: turn %d of %d" % (who, run + 1, args.runs))
        with paused:
            theirs = peer.ring_load(work, cases, args.seconds, words)
        ours = peer.ring_load(work, cases, args.seconds)
        for case, values in ours.items():
            results.add(case, peer.OURS, values)
        for case, values in theirs.items():
            results.add(case, who, values)
