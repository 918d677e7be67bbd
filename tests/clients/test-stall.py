#!/usr/bin/env python3
"""Control while the machine hangs: a guest makes a device sleep in its handler, on a vCPU's thread or
on the main thread, and status, journal, causes, threads and quit are answered all the same."""
import ctypes
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


class ThreadFreezer:
    """Stops one thread of another process until release()."""

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, tid):
        self.tid, self.refused = tid, None
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.libc.ptrace.restype = ctypes.c_long
        if self.libc.ptrace(self.SEIZE, tid, None, None):
            self.refused, self.tid = os.strerror(ctypes.get_errno()), None
            return
        self.libc.ptrace(self.INTERRUPT, tid, None, None)
        os.waitpid(tid, self.WALL)

    def release(self):
        if self.tid:
            self.libc.ptrace(self.DETACH, self.tid, None, None)
            self.tid = None


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

    def stalled(self, qmp, event, name, **thread):
        """The next one of that name whose culprit has these members. A busy host makes threads late, too."""
        while True:
            data = qmp.event(event, 60)["data"]
            if data["stalled"] == name and thread.items() <= data.get("thread", {}).items():
                return data

    def message(self, qmp):
        """The next one that tells of no stall."""
        while True:
            message = qmp.read()
            if not message.get("event", "").startswith("GODWIT_STALL"):
                return message

    def finish(self, m):
        """A process that hangs must end when asked; waits for less than the guest sleeps."""
        m.process.wait(SLEEP_S / 2)
        self.assertEqual(m.process.returncode, 0)

    def test_vcpu_hangs(self):
        with fire("stall") as m:
            by_name = self.wait_for_stall(m.qmp, "vcpu")
            # As soon as the lock is waited for, and the thread has had the time to tell its stack.
            while (by_name["main"].get("waits-for") != "machine lock"
                   or by_name["main"].get("call") != "futex" or "stack" not in by_name["vCPU 0"]):
                raw_session = Qmp(m.socket)
                raw(raw_session, "query-chardev")
                by_name = self.threads(m.qmp)[1]
            vcpu, main = by_name["vCPU 0"], by_name["main"]
            self.assertEqual(vcpu["doing"], "device write godwit-stall")
            self.assertIn(vcpu["call"], ("clock_nanosleep", "nanosleep"))
            self.assertFalse(vcpu["running"])
            self.assertEqual(vcpu["thread-id"] in map(int, os.listdir(
                f"/proc/{m.process.pid}/task")), True)
            self.assertEqual((main["kind"], main["held-by"]), ("main", "vCPU 0"))
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
            own.events = own.command("godwit-query-events")["events"]
            data = self.stalled(own, "GODWIT_STALL", "main", doing="posted function godwit-stall")
            self.assertEqual((data["thread"]["name"], data["thread"]["kind"]), ("main", "main"))
            self.assertIn(data["call"], ("clock_nanosleep", "nanosleep"))
            self.assertGreaterEqual(data["stalled-ms"], 50)
            own.events.clear()
            # A command that hangs is overtaken out of band.
            raw(own, "query-chardev")
            for command in ("query-status", "godwit-query-events", "godwit-query-threads",
                            "godwit-query-cause"):
                raw(own, command, oob=True)
                self.assertEqual(self.message(own)["id"], command)
            raw(own, "quit", oob=True)
            answers = [self.message(own), self.message(own)]
            self.assertEqual([a.get("event", a.get("id")) for a in answers], ["SHUTDOWN", "quit"])
            self.assertEqual(answers[0]["cause"]["client"]["command"], "quit")
            self.finish(m)
            self.assertIn(b"the thread 'main' does not move for", m.errors)
            own.close()

    def test_all_are_told(self):
        """Every session that wants it gets the event while the main thread hangs, be it idle, in the
        middle of a command or new."""
        with fire("stall-main", "-stall-ms", "50", "-S") as m:
            idle = [Qmp(m.socket, enable=["godwit-events"]) for _ in range(4)]
            busy = Qmp(m.socket, enable=["godwit-events"])
            filtered = Qmp(m.socket, enable=["godwit-events"])
            filtered.command("godwit-subscribe", events=["GODWIT_STALL", "SHUTDOWN"])
            deaf = Qmp(m.socket, enable=["godwit-events"])
            deaf.command("godwit-subscribe", events=["SHUTDOWN"])
            m.qmp.command("cont")
            while self.threads(m.qmp, stacks=False)[1]["main"].get("doing") != "posted function godwit-stall":
                pass
            raw(busy, "query-chardev")
            for session in (*idle, busy, filtered):
                data = self.stalled(session, "GODWIT_STALL", "main", doing="posted function godwit-stall")
                self.assertEqual(data["thread"]["name"], "main")
            self.assertEqual(self.threads(m.qmp, stacks=False)[1]["main"]["doing"],
                             "posted function godwit-stall")
            late = Qmp(m.socket, enable=["godwit-events"])
            self.assertIn("GODWIT_STALL", [e["event"] for e in
                                           late.command("godwit-query-events", since=1)["events"]])
            m.qmp.command("quit")
            for session in (*idle, busy, filtered, deaf, late):
                self.assertEqual(session.event("SHUTDOWN")["data"]["reason"], "host-qmp-quit")
                session.close()
            self.assertEqual([e["event"] for e in m.qmp.events], ["RESUME", "SHUTDOWN"])
            self.assertEqual([e["event"] for e in deaf.events], [])
            self.finish(m)

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
                    e["data"]["thread"].get("doing") == "device write godwit-stall"]
            self.assertEqual(told[0]["data"]["thread"]["kind"], "vcpu")
            self.assertIn(told[0]["data"]["call"], ("clock_nanosleep", "nanosleep"))
            self.assertEqual(told[0]["data"]["stalled"], "main")
            self.assertGreaterEqual(stalls[-1]["data"]["stalled-ms"], 20)
            # All is as before: quit comes in its usual order.
            m.qmp.command("quit")
            self.assertEqual(m.wait(), 0)
            self.assertEqual([e["event"] for e in m.qmp.events if "GODWIT" not in e["event"]][-1],
                             "SHUTDOWN")
            own.close()

    def hang(self, m, name):
        """The thread stands still although nobody holds it up: a debugger has it."""
        tid = self.threads(m.qmp, stacks=False)[1][name]["thread-id"]
        freezer = ThreadFreezer(tid)
        if freezer.refused:
            self.skipTest(f"ptrace: {freezer.refused}")
        close = m.close  # whatever happens: a process cannot end while a thread of it is traced

        def release_and_close():
            freezer.release()
            close()

        m.close = release_and_close
        return tid, freezer

    def test_vcpu_that_computes_hangs(self):
        """It has no lock that anybody waits for; then the main thread waits for it, too."""
        with Machine("-smp", "2", "-kernel", guest("script"), "-append", "spin", "-stall-ms", "100") as m:
            own = Qmp(m.socket, enable=["godwit-events"])
            m.expect("spinning")
            tid, freezer = self.hang(m, "vCPU 0")
            data = self.stalled(own, "GODWIT_STALL", "vCPU 0")
            self.assertEqual((data["thread"]["name"], data["thread"]["thread-id"]), ("vCPU 0", tid))
            self.assertGreaterEqual(data["stalled-ms"], 100)
            self.assertEqual(own.command("query-chardev")[0].keys(),
                             {"label", "filename", "frontend-open"})  # the main thread moves
            raw(m.qmp, "stop")
            data = self.stalled(own, "GODWIT_STALL", "main", kind="vcpu")
            self.assertEqual(data["thread"]["name"], "vCPU 0")
            # Whichever thread carries the command out.
            threads = self.threads(own, stacks=False)[0]
            waits = [t for t in threads if t.get("doing") == "command stop"]
            self.assertEqual([(t["waits-for"], t["held-by"]) for t in waits],
                             [("a vCPU to stop", "vCPU 0")])
            # Old sessions and new ones go on; what the main thread is needed for waits.
            late = Qmp(m.socket)
            for session in own, late:
                self.assertEqual(session.command("query-status")["status"], "paused")
                self.assertEqual(session.command("godwit-query-cause")["cause"]["what"], "stop")
            raw(late, "cont")
            freezer.release()
            self.stalled(own, "GODWIT_STALL_END", "main")
            m.qmp.event("STOP")
            late.event("RESUME")
            self.assertEqual(late.read(), {"return": {}, "id": "cont"})
            late.close()
            own.close()

    def freeze_asleep(self, m, name):
        """Freezes a thread that waits for something to do: it has no lock then."""
        while True:
            tid, freezer = self.hang(m, name)
            with open(f"/proc/{m.process.pid}/task/{tid}/syscall") as file:
                if file.read().split()[0] in ("7", "271"):  # poll, ppoll
                    return freezer
            freezer.release()

    def test_status_says_what_comes(self):
        """Who has an event and asks gets the state that it leads to, however long the main thread takes."""
        for does, event, state in (("panic 1", "GUEST_PANICKED", "guest-panicked"),
                                   ("s4", "SUSPEND_DISK", "shutdown")):
            with self.subTest(event=event), \
                    Machine("-kernel", guest("script"), "-append", f"say up delay 300 {does}", "-device",
                            "pvpanic", "-no-shutdown") as m:
                m.expect("up")
                freezer = self.freeze_asleep(m, "main")
                m.qmp.event(event)
                self.assertEqual(m.qmp.command("query-status"),
                                 {"status": state, "running": False, "singlestep": False})
                freezer.release()
                m.qmp.event("STOP")
                self.assertEqual(m.qmp.command("query-status")["status"], state)

    def test_quit_while_a_stop_hangs(self):
        with Machine("-kernel", guest("script"), "-append", "spin") as m:
            own = Qmp(m.socket, enable=["godwit-events"])
            m.expect("spinning")
            freezer = self.hang(m, "vCPU 0")[1]
            raw(m.qmp, "stop")
            while own.command("query-status")["status"] != "paused":
                pass
            start = time.monotonic()
            own.command("quit")
            self.assertLess(time.monotonic() - start, AT_ONCE_S)
            self.assertEqual([e["event"] for e in own.events], ["SHUTDOWN"])
            freezer.release()
            self.finish(m)
            own.close()

    def test_disk_thread_hangs(self):
        with Machine("-blockdev", "null-co,node-name=d", "-device", "virtio-blk-pci,drive=d", "-kernel",
                     guest("script"), "-append", "spin", "-stall-ms", "100") as m:
            own = Qmp(m.socket, enable=["godwit-events"])
            m.expect("spinning")
            freezer = self.hang(m, "io")[1]
            self.assertEqual(self.stalled(own, "GODWIT_STALL", "io")["thread"]["kind"], "io")
            freezer.release()
            self.assertGreaterEqual(self.stalled(own, "GODWIT_STALL_END", "io")["stalled-ms"], 100)
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
