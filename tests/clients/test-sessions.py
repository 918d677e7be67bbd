#!/usr/bin/env python3
"""Each session for itself: which events it gets and how often, and what its monitor's role lets it do."""
import contextlib
import os
import resource
import shutil
import tempfile
import unittest

from godwit import Machine, Qmp, guest, run

FIRE = ["-kernel", guest("fire"), "-append", "storm", "-device", "pvpanic", "-device", "ib700",
        "-action", "panic=none,watchdog=none", "-S"]


def names(events):
    return [event["event"] for event in events]


class Subscribe(unittest.TestCase):
    def test_filter(self):
        with Machine("-machine", "none", serial=False) as m:
            picky, deaf, own = Qmp(m.socket), Qmp(m.socket), Qmp(m.socket, enable=["godwit-events"])
            start = picky.command("godwit-subscribe", events=["RESUME"])["next"]
            deaf.command("godwit-subscribe", events=[])
            own.command("godwit-subscribe", events=["STOP"])
            for _ in range(2):
                m.qmp.command("stop")
                m.qmp.command("cont")
            for session in (picky, deaf, own):
                session.command("query-status")
            self.assertEqual(names(picky.events), ["RESUME"] * 2)
            self.assertEqual(names(deaf.events), [])
            self.assertEqual(names(own.events), ["STOP"] * 2)
            self.assertEqual([e["seq"] for e in own.events], [start, start + 2])
            self.assertEqual(names(m.qmp.events), ["STOP", "RESUME"] * 2)
            # What was left out is in the journal for everybody.
            log = deaf.command("godwit-query-events", since=start)
            self.assertEqual(names(log["events"]), ["STOP", "RESUME"] * 2)
            picky.events.clear()
            self.assertEqual(picky.command("godwit-subscribe")["next"], start + 4)
            m.qmp.command("stop")
            picky.command("query-status")
            self.assertEqual(names(picky.events), ["STOP"])
            for session in (picky, deaf, own):
                session.close()

    def test_errors(self):
        with Machine("-machine", "none", serial=False) as m:
            own = Qmp(m.socket, enable=["godwit-events"])
            m.qmp.command("godwit-subscribe", events=["STOP"])
            for arguments, text in (
                    ({"events": ["STOP", "NOPE"]}, "There is no event 'NOPE'"),
                    ({"rates": [{"event": "NOPE", "interval-ms": 1}]}, "There is no event 'NOPE'"),
                    ({"events": ["GODWIT_EVENTS_DROPPED"]},
                     "The event 'GODWIT_EVENTS_DROPPED' is only for sessions with the capability "
                     "'godwit-events'"),
                    ({"rates": [{"event": "STOP", "interval-ms": -1}]},
                     "The interval of 'STOP' must be 0 to 3600000 ms, not -1"),
                    ({"rates": [{"event": "STOP", "interval-ms": 3600001}]},
                     "The interval of 'STOP' must be 0 to 3600000 ms, not 3600001"),
                    ({"rates": [{"event": "STOP", "interval-ms": 1}] * 2},
                     "The event 'STOP' has two intervals")):
                answer = m.qmp.request("godwit-subscribe", **arguments)
                self.assertEqual(answer["error"], {"class": "GenericError", "desc": text})
            own.command("godwit-subscribe", events=["GODWIT_EVENTS_DROPPED"])
            own.close()
            m.qmp.command("stop")  # a refused subscription leaves the one before
            m.qmp.command("cont")
            m.qmp.command("query-status")
            self.assertEqual(names(m.qmp.events), ["STOP"])

    def test_rates(self):
        with Machine(*FIRE) as m:
            own, shared = Qmp(m.socket), Qmp(m.socket)
            own.command("godwit-subscribe", events=["WATCHDOG", "GUEST_PANICKED", "SHUTDOWN"],
                        rates=[{"event": "WATCHDOG", "interval-ms": 0},
                               {"event": "GUEST_PANICKED", "interval-ms": 3600000}])
            shared.command("godwit-subscribe", events=["WATCHDOG", "SHUTDOWN"])
            m.qmp.command("godwit-subscribe", events=[])
            m.qmp.command("cont")
            while names(own.events).count("WATCHDOG") < 500:
                own.events.append(own.read())
            m.qmp.command("quit")
            for session in (own, shared):
                while "SHUTDOWN" not in names(session.events):
                    session.events.append(session.read())
                session.close()
            self.assertEqual(names(own.events).count("GUEST_PANICKED"), 1)
            self.assertLess(names(shared.events).count("WATCHDOG"), names(own.events).count("WATCHDOG"))

    def test_rates_hold_back(self):
        """The last of a burst comes at the interval's end."""
        with Machine("-machine", "none", serial=False) as m:
            own = Qmp(m.socket, enable=["godwit-events"])
            start = own.command("godwit-subscribe", events=["STOP"],
                                rates=[{"event": "STOP", "interval-ms": 300}])["next"]
            for _ in range(3):
                m.qmp.command("stop")
                m.qmp.command("cont")
            first = own.event("STOP")
            self.assertEqual(first["seq"], start)
            last = first["seq"]
            while last < start + 4:  # a slow machine may let one in between pass
                last = own.event("STOP")["seq"]
            self.assertEqual(last, start + 4)
            own.close()


class Fanout(unittest.TestCase):
    """A command's events go to all clients at once."""

    def toggle(self, m, listeners, n):
        """Each of them gets each event once, in order."""
        for _ in range(n):
            m.qmp.command("stop")
            m.qmp.command("cont")
            for listener in listeners:
                self.assertEqual(names([listener.read(), listener.read()]), ["STOP", "RESUME"])
        self.assertEqual(names(m.qmp.events), ["STOP", "RESUME"] * n)

    def test_many(self):
        """More clients than are written to at once; one of them reads nothing, and one goes."""
        with Machine("-machine", "none", serial=False) as m:
            deaf, gone, *others = (Qmp(m.socket) for _ in range(21))
            gone.close()
            self.toggle(m, others, 700)
            m.qmp.command("stop")
            # What the deaf one did not read is there in order; the rest was counted as left out.
            deaf.command("query-status")
            self.assertEqual(names(deaf.events)[:100], ["STOP", "RESUME"] * 50)
            seen = len(deaf.events)
            dropped = [s["events-dropped"] for s in m.qmp.command("godwit-query-sessions")]
            self.assertEqual(sum(dropped) + seen, 1401)
            for session in (deaf, *others):
                session.close()

    def test_without_io_uring(self):
        """The same where the host has no io_uring: here for want of a descriptor."""
        with Machine("-machine", "none", serial=False) as m:
            others = [Qmp(m.socket) for _ in range(5)]
            m.qmp.request("set_link", name="none", up=True)  # the main thread has its descriptors, too
            taken = {int(name) for name in os.listdir(f"/proc/{m.process.pid}/fd")}
            room = next(n for n in range(1024) if n not in taken)
            resource.prlimit(m.process.pid, resource.RLIMIT_NOFILE, (room, room))
            self.toggle(m, others, 20)
            m.qmp.command("quit")
            self.assertEqual(m.wait(), 0)
            self.assertIn(b"monitors: io_uring is not available", m.errors)
            for session in others:
                session.close()


class Sessions(unittest.TestCase):
    def test_list(self):
        with Machine("-machine", "none", serial=False) as m:
            other = Qmp(m.socket, enable=["oob", "godwit-events"])
            ours, theirs = m.qmp.command("godwit-query-sessions")
            self.assertEqual(ours, {"monitor": "compat_monitor0", "role": "admin", "own": True,
                                    "capabilities": [], "pid": os.getpid(), "uid": os.getuid(),
                                    "events-dropped": 0})
            self.assertEqual(theirs, {**ours, "own": False,
                                      "capabilities": ["oob", "godwit-events"]})
            other.close()

    def test_commands_at_the_end(self):
        """What clients ask while the machine ends is answered or not; the end is none the worse for it."""
        for _ in range(15):
            with Machine("-machine", "none", "-nodefaults", serial=False) as m:
                m.qmp.sock.sendall(b'{"execute": "stop"} {"execute": "quit"} {"execute": "query-cpus-fast"}'
                                   b'{"execute": "stop"}')
                with self.assertRaises((EOFError, ConnectionResetError)):
                    while True:
                        if m.qmp.read() == {"return": {}}:  # to `stop`, then to `quit`
                            with contextlib.suppress(BrokenPipeError):
                                m.qmp.sock.sendall(b'{"execute": "stop"} {"execute": "query-cpus-fast"}')
                self.assertEqual(m.wait(), 0)

    def test_dropped(self):
        with Machine(*FIRE) as m:
            deaf = Qmp(m.socket)
            m.qmp.command("godwit-subscribe", events=[])
            m.qmp.command("cont")
            while not m.qmp.command("godwit-query-sessions")[1]["events-dropped"]:
                pass
            self.assertEqual(m.qmp.command("godwit-query-sessions")[0]["events-dropped"], 0)
            m.qmp.command("quit")
            m.wait()
            self.assertRegex(m.errors, rb"monitor 'compat_monitor0': a client does not read its "
                                       rb"events; left out for it: [1-9]")
            deaf.close()


class Roles(unittest.TestCase):
    def machine(self, *options):
        m = Machine("-machine", "none", "-S", *options, serial=False)
        self.addCleanup(m.close)
        return m

    def session(self, path):
        qmp = Qmp(path)
        self.addCleanup(qmp.close)
        return qmp

    def path(self, name):
        folder = tempfile.mkdtemp(prefix="godwit-roles-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return os.path.join(folder, name)

    def refused(self, qmp, command, needed, role):
        self.assertEqual(qmp.request(command), {"error": {
            "class": "GenericError",
            "desc": f"The command {command} needs the role '{needed}'; this monitor's clients have "
                    f"'{role}'"}})

    def test_observer(self):
        path = self.path("o")
        m = self.machine("-qmp", f"unix:{path},server=on,role=observer,wait=off")
        observer = self.session(path)
        for command in (c["name"] for c in observer.command("query-commands")):
            text = str(observer.request(command))[:300]
            if "query-" in command or command in (
                    "qmp_capabilities", "godwit-subscribe", "qom-get", "qom-list", "qom-list-types",
                    "qom-list-properties", "device-list-properties"):
                self.assertNotIn("needs the role", text)
            else:
                self.assertRegex(text, f"The command {command} needs the role '(operator|admin)'; "
                                       "this monitor's clients have 'observer'")
        self.assertEqual(observer.command("query-status")["status"], "prelaunch")
        self.assertEqual(observer.request("nope")["error"]["class"], "CommandNotFound")
        m.qmp.command("cont")
        observer.event("RESUME")
        self.assertEqual([s["role"] for s in observer.command("godwit-query-sessions")],
                         ["admin", "observer"])

    def test_operator(self):
        path, other = self.path("p"), self.path("q")
        m = self.machine("-chardev", f"socket,id=c,path={path},server=on,wait=off", "-mon",
                         "chardev=c,mode=control,role=operator", "-qmp-pretty",
                         f"unix:{other},server=on,wait=off,role=operator")
        operator = self.session(path)
        for command in ("cont", "stop", "system_reset", "system_powerdown", "inject-nmi"):
            self.assertNotIn("needs the role", str(operator.request(command)))
        for command in ("memsave", "pmemsave", "human-monitor-command", "migrate", "migrate-incoming",
                        "godwit-snapshot-file", "dump-guest-memory", "screendump", "object-add",
                        "device_add", "chardev-add", "blockdev-add", "netdev_add"):
            self.refused(operator, command, "admin", "operator")
        operator.command("quit")
        self.assertEqual(m.wait(), 0)

    def test_bad_roles(self):
        for options, text in (
                (["-qmp", "unix:/tmp/x,server=on,wait=off,role=king"],
                 "there is no role 'king', only observer, operator and admin"),
                (["-chardev", "null,id=c", "-mon", "chardev=c,mode=control,role="],
                 "there is no role '', only observer, operator and admin"),
                (["-chardev", "null,id=c", "-mon", "chardev=c,role=admin"],
                 "role=admin is for mode=control only")):
            done = run("-machine", "none", *options)
            self.assertEqual(done.returncode, 1)
            self.assertIn(text, done.stderr)


if __name__ == "__main__":
    unittest.main()
