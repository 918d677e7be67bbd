#!/usr/bin/env python3
"""The journal: numbered events, what was missed, the log file, with real guests."""
import json
import os
import re
import signal
import tempfile
import unittest

from godwit import Machine, Qmp, guest

OWN = {"seq", "boot-id", "monotonic-ns"}
STANDARD = {"event", "data", "timestamp"}


def reset_guest(how, *args):
    return Machine("-kernel", guest("reset"), "-append", how, "-S", *args)


class Journal(unittest.TestCase):
    def test_offered_and_listed(self):
        with reset_guest("hang") as m:
            self.assertIn("godwit-events", m.qmp.greeting["QMP"]["capabilities"])
            names = [c["name"] for c in m.qmp.command("query-commands")]
            self.assertIn("godwit-query-events", names)

    def test_members_only_for_those_who_enabled_them(self):
        with reset_guest("hang") as m:
            own = Qmp(m.socket, enable=["godwit-events"])
            m.qmp.command("cont")
            plain = m.qmp.event("RESUME")
            self.assertEqual(set(plain), {"event", "timestamp"})
            event = own.event("RESUME")
            self.assertGreaterEqual(set(event), OWN | {"event", "timestamp"})
            self.assertEqual(event["timestamp"], plain["timestamp"])
            self.assertEqual(event["seq"], 1)
            self.assertRegex(event["boot-id"], r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
            self.assertGreater(event["monotonic-ns"], 0)
            own.close()

    def test_numbers_have_no_gap_and_survive_a_client(self):
        with reset_guest("cf9") as m:
            m.qmp.command("cont")
            for _ in range(5):
                m.qmp.event("RESET")
            m.qmp.command("stop")
            m.qmp.close()
            m.qmp = Qmp(m.socket, enable=["godwit-events"])
            journal = m.qmp.command("godwit-query-events", since=1)
            self.assertNotIn("gone", journal)
            events = journal["events"]
            self.assertEqual([e["seq"] for e in events], list(range(1, journal["next"])))
            self.assertEqual({e["boot-id"] for e in events}, {journal["boot-id"]})
            self.assertEqual(events[0]["event"], "RESUME")
            self.assertEqual(events[-1]["event"], "STOP")
            self.assertGreaterEqual([e["event"] for e in events].count("RESET"), 5)
            times = [e["monotonic-ns"] for e in events]
            self.assertEqual(times, sorted(times))
            m.qmp.command("cont")
            live = m.qmp.event("RESUME")
            self.assertEqual(live["seq"], journal["next"])
            rest = m.qmp.command("godwit-query-events", since=journal["next"])["events"]
            self.assertEqual(rest[0], live)

    def test_since(self):
        with reset_guest("hang") as m:
            for _ in range(3):
                m.qmp.command("cont")
                m.qmp.command("stop")
            seqs = [[e["seq"] for e in m.qmp.command("godwit-query-events", **args)["events"]]
                    for args in ({}, {"since": 0}, {"since": -7}, {"since": 5}, {"since": 7},
                                 {"since": 2**62})]
            whole = [1, 2, 3, 4, 5, 6]
            self.assertEqual(seqs, [whole, whole, whole, [5, 6], [], []])
            for wrong in ({"since": "1"}, {"sinc": 1}):
                self.assertIn("error", m.qmp.request("godwit-query-events", **wrong))

    def test_gone(self):
        with reset_guest("hang") as m:
            m.qmp.close()  # it would have to read all of them
            m.qmp = Qmp(m.socket)
            line = json.dumps({"execute": "cont"}) + json.dumps({"execute": "stop"})
            pairs = 2500
            for _ in range(pairs // 50):
                m.qmp.sock.sendall(line.encode() * 50)
                for _ in range(4 * 50):
                    m.qmp.read()
            journal = m.qmp.command("godwit-query-events", since=3)
            events = journal["events"]
            self.assertEqual(journal["next"], 2 * pairs + 1)
            self.assertLessEqual(len(events), 4096)
            self.assertGreater(len(events), 1000)
            self.assertEqual(journal["gone"], {"first": 3, "last": events[0]["seq"] - 1})
            self.assertEqual([e["seq"] for e in events],
                             list(range(events[0]["seq"], 2 * pairs + 1)))
            again = m.qmp.command("godwit-query-events", since=events[0]["seq"])
            self.assertNotIn("gone", again)
            self.assertEqual(again["events"], events)
            self.assertEqual(m.qmp.command("godwit-query-events")["events"], events)


class Log(unittest.TestCase):
    def setUp(self):
        self.file = tempfile.NamedTemporaryFile(prefix="godwit-events-", delete=False)
        self.addCleanup(os.unlink, self.file.name)
        self.addCleanup(self.file.close)

    def lines(self):
        with open(self.file.name) as f:
            text = f.read()
        self.assertTrue(text.endswith("\n"))
        return [json.loads(line) for line in text.splitlines()]

    def test_is_the_journal_and_survives_a_kill(self):
        with reset_guest("cf9", "-event-log", self.file.name) as m:
            own = Qmp(m.socket, enable=["godwit-events"])
            m.qmp.command("cont")
            last = [own.event("RESET") for _ in range(20)][-1]
            m.process.send_signal(signal.SIGKILL)
            m.wait()
            lines = self.lines()
            self.assertGreaterEqual(lines[-1]["seq"], last["seq"])
            self.assertEqual([e["seq"] for e in lines], list(range(1, len(lines) + 1)))
            self.assertEqual(lines[last["seq"] - 1], last)
            own.close()

    def test_has_the_end(self):
        with reset_guest("cf9", "-no-reboot", "-event-log", self.file.name) as m:
            m.qmp.command("cont")
            self.assertEqual(m.wait(), 0)
            self.assertEqual([e["event"] for e in self.lines()], ["RESUME", "SHUTDOWN"])

    def test_appends_on_a_line_of_its_own(self):
        self.file.write(b'{"cut": ')
        self.file.flush()
        with reset_guest("hang", "-event-log", self.file.name) as m:
            m.qmp.command("quit")
            self.assertEqual(m.wait(), 0)
        with open(self.file.name) as f:
            lines = f.read().splitlines()
        self.assertEqual(lines[0], '{"cut": ')
        self.assertEqual(json.loads(lines[1])["event"], "SHUTDOWN")

    def test_bad_file(self):
        with Machine("-event-log", "/nonexistent/log", connect=False) as m:
            self.assertEqual(m.wait(), 1)
            self.assertRegex(m.errors.decode(),
                             re.compile("-event-log: cannot open '/nonexistent/log'"))

    def test_full_disk(self):
        with reset_guest("cf9", "-event-log", "/dev/full") as m:
            m.qmp.command("cont")
            for _ in range(20):
                m.qmp.event("RESET")
            m.qmp.command("quit")
            self.assertEqual(m.wait(), 0)
            self.assertEqual(m.errors.count(b"event log: "), 1, m.errors)


if __name__ == "__main__":
    unittest.main()
