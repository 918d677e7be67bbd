#!/usr/bin/env python3
"""A guest that fires panics, watchdog expiries, serial text and resets as fast as it can, while eight
clients of one socket listen and one of them never reads: nobody misses the end, who is slow is told
what was left out, the journal has no gap and memory stays what it is."""
import os
import threading
import time
import unittest

from godwit import TIME_FACTOR, Machine, Qmp, guest

SECONDS = float(os.environ.get("STORM_SECONDS", "1.5"))
GROWTH_MAX_KIB = 2048
JOURNAL_EVENTS = 4096  # from then on the journal grows no more
# Held back by a rate limit: not every one is told of.
LIMITED = ["WATCHDOG"]


class Reader(threading.Thread):
    """A healthy client: notes the events that it gets until the connection ends."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.qmp = Qmp(path, enable=["godwit-events"])
        self.counts, self.seqs, self.lost = {}, set(), []
        self.end = None

    def run(self):
        try:
            while True:
                event = self.qmp.read(60)
                name = event["event"]
                self.counts[name] = self.counts.get(name, 0) + 1
                if name == "GODWIT_EVENTS_DROPPED":
                    self.lost.append((event["data"]["first"], event["data"]["last"]))
                else:
                    self.seqs.add(event["seq"])
        except Exception as error:  # checked by the test
            self.end = error
        self.qmp.close()

    def knows_of(self, seq):
        return seq in self.seqs or any(first <= seq <= last for first, last in self.lost)


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


class Storm(unittest.TestCase):
    def test_storm(self):
        with Machine("-kernel", guest("fire"), "-append", "storm", "-device", "pvpanic", "-device",
                     "ib700", "-action", "panic=none,watchdog=none", "-S") as m:
            deaf = Qmp(m.socket)
            readers = [Reader(m.socket) for _ in range(6)]
            for reader in readers:
                reader.start()
            log = m.qmp
            begun = time.monotonic()
            log.command("cont")
            while log.command("godwit-query-events", since=1 << 60)["next"] < JOURNAL_EVENTS:
                log.events.clear()
            before = resident_kib(m.process.pid)
            times, end = [], time.monotonic() + SECONDS
            grown = 0
            while time.monotonic() < end:
                start = time.monotonic()
                log.command("query-status", timeout=60)
                times.append(time.monotonic() - start)
                log.events.clear()
                grown = max(grown, resident_kib(m.process.pid) - before)
            journal = log.command("godwit-query-events", timeout=60, since=1)
            seqs = [e["seq"] for e in journal["events"]]
            self.assertEqual(seqs, list(range(seqs[0], journal["next"])))
            self.assertEqual(journal.get("gone", {"last": 0})["last"], seqs[0] - 1)
            log.command("quit", timeout=60)
            self.assertEqual(m.wait(60), 0)
            for reader in readers:
                reader.join(60 * TIME_FACTOR)
                self.assertIsInstance(reader.end, EOFError)  # no line was cut
                self.assertEqual(reader.counts.get("SHUTDOWN"), 1, reader.counts)
                self.assertLessEqual(reader.counts["WATCHDOG"], time.monotonic() - begun + 2)
                self.assertGreater(reader.counts["GUEST_PANICKED"], 100)
                missed = [e["seq"] for e in journal["events"]
                          if e["event"] not in LIMITED and not reader.knows_of(e["seq"])]
                self.assertEqual(missed, [])
            self.assertLess(grown, GROWTH_MAX_KIB)
            times.sort()
            p99_ms = times[len(times) * 99 // 100] * 1000
            print(f"{journal['next']} events, {len(times)} queries, p99 {p99_ms:.2f} ms, "
                  f"memory +{grown} KiB, {readers[0].counts}")
            deaf.close()


if __name__ == "__main__":
    unittest.main()
