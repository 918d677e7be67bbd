#!/usr/bin/env python3
"""Control while the machine hangs: a guest makes a device sleep in its handler, on a vCPU's thread or
on the main thread, and status, journal, causes, threads and quit are answered all the same."""
import os
import time
import unittest

from godwit import TIME_FACTOR, Machine, Qmp, guest, run

SLEEP_S = 60  # of the guest's stall and stall-main
# A hang-up must not be waited for: much less than that, also on a machine that is very busy.
AT_ONCE_S = 10


def fire(word, *options):
    return Machine("-kernel", guest("fire"), "-append", word, "-device", "godwit-stall", *options)


def raw(qmp, execute, oob=False, **arguments):
    """Sends without waiting; ids tell the answers apart."""
    key = "exec-oob" if oob else "execute"
    text = '{"%s": "%s", "id": "%s"}\n' % (key, execute, execute)
    qmp.sock.sendall(text.encode())


class Stall(unittest.TestCase):
    def threads(self, qmp, **arguments):
        found = qmp.command("godwit-query-threads", **arguments)
        return found, {t["name"]: t for t in found}

    def wait_for_stall(self, qmp, kind):
        """Until a thread of that kind is in the device; all threads then."""
        while True:
            found, by_name = self.threads(qmp)
            if any(t["kind"] == kind and "godwit-stall" in t.get("doing", "") for t in found):
                return by_name

    def finish(self, m):
        """A process that hangs must end when asked; waits for less than the guest sleeps."""
        m.process.wait(SLEEP_S / 2)
        self.assertEqual(m.process.returncode, 0)

    def test_vcpu_hangs(self):
        with fire("stall") as m:
            by_name = self.wait_for_stall(m.qmp, "vcpu")
            while by_name["main"].get("waits-for") != "machine lock":  # as soon as it is wanted
                raw_session = Qmp(m.socket)
                raw(raw_session, "query-chardev")
                by_name = self.threads(m.qmp)[1]
            vcpu, main = by_name["vCPU 0"], by_name["main"]
            self.assertEqual(vcpu["doing"], "device write godwit-stall")
            self.assertIn(vcpu["call"], ("clock_nanosleep", "nanosleep"))
            self.assertFalse(vcpu["running"])
            self.assertEqual(vcpu["thread-id"] in map(int, os.listdir(
                f"/proc/{m.process.pid}/task")), True)
            self.assertEqual((main["kind"], main["held-by"], main["call"]),
                             ("main", "vCPU 0", "futex"))
            self.assertEqual(by_name["control"]["kind"], "control")
            symbols = [f.get("symbol", "") for f in vcpu["stack"]]
            self.assertIn("sleep", " ".join(symbols))
            modules = {f["module"] for f in vcpu["stack"]}
            self.assertIn(os.path.basename(os.environ.get("GODWIT", "godwit")), modules)
            for frame in vcpu["stack"]:
                self.assertLessEqual(int(frame["offset"], 16), int(frame["address"], 16))
            self.assertNotIn("stack", self.threads(m.qmp, stacks=False)[1]["vCPU 0"])
            start = time.monotonic()
            self.assertEqual(m.qmp.command("query-status")["status"], "running")
            self.assertEqual(m.qmp.command("godwit-query-cause")["status"], "running")
            self.assertEqual(m.qmp.command("godwit-query-events", since=1)["events"][-1]["event"],
                             "RESUME")
            self.assertLess(time.monotonic() - start, AT_ONCE_S)
            m.qmp.command("quit")
            self.assertLess(time.monotonic() - start, AT_ONCE_S)
            event = m.qmp.events[-1]
            self.assertEqual((event["event"], event["data"]),
                             ("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"}))
            self.finish(m)
            self.assertFalse(os.path.exists(m.socket))

    def test_main_thread_hangs(self):
        with fire("stall-main", "-stall-ms", "50") as m:
            own = Qmp(m.socket, enable=["oob", "godwit-events"])
            stalled = own.command("godwit-query-events")["events"]
            stalled = [e for e in stalled if e["event"] == "GODWIT_STALL"]
            event = stalled[0] if stalled else own.event("GODWIT_STALL")
            thread = event["data"]["thread"]
            self.assertEqual((thread["name"], thread["kind"], thread["doing"]),
                             ("main", "main", "posted function godwit-stall"))
            self.assertIn(event["data"]["call"], ("clock_nanosleep", "nanosleep"))
            self.assertGreaterEqual(event["data"]["stalled-ms"], 50)
            # A command that hangs is overtaken out of band.
            raw(own, "query-chardev")
            for command in ("query-status", "godwit-query-events", "godwit-query-threads",
                            "godwit-query-cause"):
                raw(own, command, oob=True)
                self.assertEqual(own.read()["id"], command)
            raw(own, "quit", oob=True)
            answers = [own.read(), own.read()]
            self.assertEqual([a.get("event", a.get("id")) for a in answers], ["SHUTDOWN", "quit"])
            self.assertEqual(answers[0]["cause"]["client"]["command"], "quit")
            self.finish(m)
            self.assertIn(b"the main thread does not move for", m.errors)
            own.close()

    def test_stall_ends(self):
        with fire("stall-briefly", "-stall-ms", "20") as m:
            own = Qmp(m.socket, enable=["godwit-events"])
            m.expect("moves again")
            while True:
                events = own.command("godwit-query-events", since=1)["events"]
                stalls = [e for e in events if e["event"].startswith("GODWIT_STALL")]
                if stalls and stalls[-1]["event"] == "GODWIT_STALL_END":
                    break
            told = [e for e in stalls if e["event"] == "GODWIT_STALL" and
                    e["data"]["thread"]["kind"] == "vcpu"]
            self.assertEqual(told[0]["data"]["thread"]["doing"], "device write godwit-stall")
            self.assertIn(told[0]["data"]["call"], ("clock_nanosleep", "nanosleep"))
            self.assertGreaterEqual(stalls[-1]["data"]["stalled-ms"], 20)
            # All is as before: quit comes in its usual order.
            m.qmp.command("quit")
            self.assertEqual(m.wait(), 0)
            self.assertEqual([e["event"] for e in m.qmp.events if "GODWIT" not in e["event"]][-1],
                             "SHUTDOWN")
            own.close()

    def test_out_of_band_is_in_the_schema(self):
        with Machine("-machine", "none", serial=False) as m:
            plain = Qmp(m.socket, enable=["oob"])
            schema = plain.command("query-qmp-schema")
            allowed = {e["name"] for e in schema if e.get("allow-oob")}
            self.assertLessEqual({"query-status", "quit", "godwit-query-threads"}, allowed)
            self.assertFalse(any(e["allow-oob"] is False for e in schema if "allow-oob" in e))
            raw(plain, "query-name", oob=True)
            self.assertEqual(plain.read()["error"]["desc"], "The command query-name does not support OOB")
            for command in "query-status", "godwit-query-threads", "quit":
                raw(plain, command, oob=True)
                answers = [plain.read()]
                while "event" in answers[-1]:
                    answers.append(plain.read())
                self.assertIn("return", answers[-1])
            self.assertEqual([a.get("event") for a in answers], ["SHUTDOWN", None])
            self.finish(m)
            plain.close()

    def test_bad_option(self):
        for value in ("0", "9", "-5", "x", "", "3600001"):
            done = run("-machine", "none", "-stall-ms", value)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"'{value}' is no number of milliseconds from 10 to 3600000", done.stderr)


if __name__ == "__main__":
    unittest.main()
