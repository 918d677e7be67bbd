#!/usr/bin/env python3
"""A guest that fires panics, watchdog expiries, serial text and resets as fast as it can, while eight
clients of one socket listen and one of them never reads: nobody misses the end."""
import os
import threading
import time
import unittest

from godwit import Machine, Qmp, guest

SECONDS = float(os.environ.get("STORM_SECONDS", "1.5"))


class Reader(threading.Thread):
    """A healthy client: counts the events that it gets until the connection ends."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.qmp = Qmp(path, enable=["godwit-events"])
        self.counts, self.seqs = {}, set()

    def run(self):
        try:
            while True:
                event = self.qmp.read(60)
                name = event["event"]
                self.counts[name] = self.counts.get(name, 0) + 1
                self.seqs.add(event["seq"])
        except (EOFError, ConnectionResetError):
            pass


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
            log.command("cont")
            time.sleep(0.3)
            log.events.clear()
            before = resident_kib(m.process.pid)
            times, end = [], time.monotonic() + SECONDS
            while time.monotonic() < end:
                start = time.monotonic()
                log.command("query-status")
                times.append(time.monotonic() - start)
                log.events.clear()
            journal = log.command("godwit-query-events", since=1)
            seqs = [e["seq"] for e in journal["events"]]
            self.assertEqual(seqs, list(range(seqs[0], journal["next"])))
            self.assertEqual(journal.get("gone", {"last": 0})["last"], seqs[0] - 1)
            grown = resident_kib(m.process.pid) - before
            log.command("quit")
            self.assertEqual(m.wait(), 0)
            for reader in readers:
                reader.join(20)
                self.assertEqual(reader.counts.get("SHUTDOWN"), 1, reader.counts)
                self.assertLessEqual(reader.counts["WATCHDOG"], SECONDS + 3)
                self.assertGreater(reader.counts["GUEST_PANICKED"], 100)
            times.sort()
            p99_ms = times[len(times) * 99 // 100] * 1000
            print(f"{journal['next']} events, {len(times)} queries, p99 {p99_ms:.2f} ms, "
                  f"memory +{grown} KiB, {readers[0].counts}")
            deaf.close()


if __name__ == "__main__":
    unittest.main()
