#!/usr/bin/env python3
"""A guest that goes from one machine to another while it runs: channels, events, run states, what is
told on the way, and what happens when it fails. With GODWIT=qemu-system-x86_64 what QEMU does too is
tested on it."""
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import godwit
import oracle
from godwit import Machine, Qmp

ACCEL = os.environ.get("ACCEL", "tcg")
IS_QEMU = "qemu" in os.path.basename(godwit.GODWIT)
LIMIT = 60 * godwit.TIME_FACTOR
SLOW = ACCEL.startswith("kvm") and not godwit.hardware_virtualisation()


def only_godwit(reason):
    return unittest.skipIf(IS_QEMU, reason)


class Side(Machine):
    """A machine with the wandering guest, or one that waits for it."""

    def __init__(self, *args, guest="wander", append="300", ram="32", accel=ACCEL, cpus=1, **more):
        kernel = ("-kernel", godwit.guest(guest), "-append", append) if guest else ()
        nodefaults = ("-nodefaults", "-display", "none")
        super().__init__("-accel", accel, "-M", "q35", "-cpu", "qemu64,-pni", "-m", ram,
                         "-smp", str(cpus), *kernel, *args, defaults=nodefaults, **more)
        self.said = []

    def ask(self, command, **arguments):
        """The answer; events before it are kept."""
        answer = self.qmp.request(command, **arguments)
        return answer.get("return", answer.get("error"))

    def status(self):
        return self.qmp.command("query-status")["status"]

    def capabilities(self, **states):
        self.qmp.command("migrate-set-capabilities", capabilities=[
            {"capability": name.replace("_", "-"), "state": state} for name, state in states.items()])

    def heard(self):
        """Names of the events so far, with status and pass."""
        self.qmp.command("query-name")
        for event in self.qmp.events:
            data = event.get("data", {})
            self.said.append(" ".join([event["event"]] + [str(data[k]) for k in ("status",)
                                                          if k in data]))
        self.qmp.events.clear()
        return self.said

    def until(self, event):
        """Waits until that was heard."""
        end = time.monotonic() + LIMIT
        while event not in self.heard():
            if time.monotonic() > end:
                raise AssertionError(f"no {event} but {self.said}, {self.ask('query-migrate')}")
            time.sleep(0.01)

    def until_status(self, status):
        end = time.monotonic() + LIMIT
        while (now := self.status()) != status:
            if time.monotonic() > end:
                raise AssertionError(f"{now}, not {status}: {self.heard()}")
            time.sleep(0.01)

    def until_migrated(self, status="completed"):
        end = time.monotonic() + LIMIT
        while True:
            info = self.ask("query-migrate")
            if info.get("status") == status:
                return info
            if info.get("status") in ("completed", "failed", "cancelled") or time.monotonic() > end:
                raise AssertionError(f"{info} instead of {status}; {self.errors}")
            time.sleep(0.01)


class Migrating(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="godwit-test-")
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        self.text = b""

    def side(self, *args, **more):
        side = Side(*args, **more)
        self.addCleanup(side.close)
        return side

    def path(self, name="m"):
        return os.path.join(self.dir, name)

    def pair(self, *args, events=True, uri=None, **more):
        """A source whose guest runs, and a destination that listens."""
        source = self.side(*args, **more)
        source.expect(r"r2\n")
        more.pop("accel", None)
        to = self.side("-incoming", "defer", *args, **more)
        if events:
            source.capabilities(events=True)
            to.capabilities(events=True)
        to.qmp.command("migrate-incoming", uri=uri or f"unix:{self.path()}")
        return source, to

    def check_rounds(self, *sides):
        """What the guest said on all machines together: each round once, in order, and no fault."""
        text = b"".join(side.output for side in sides).decode()
        if IS_QEMU and "FAULT" in text:
            self.skipTest("QEMU's software CPU has lost a write, as it does on a busy host")
        self.assertFalse("FAULT" in text, "a page was not as it was written")
        rounds = [int(n) for n in re.findall(r"^r(\d+)\n", text, re.MULTILINE)]
        wrong = [n for n, told in enumerate(rounds, 1) if n != told]
        self.assertFalse(wrong, f"{rounds[wrong[0] - 2:wrong[0] + 2] if wrong else ''}")

    def finish(self, *sides):
        """The guest still runs on the last of them and has lost nothing."""
        sides[-1].expect(r"r\d+\nr\d+\n")
        sides[-1].send("x")
        sides[-1].expect(r"end \d+")
        self.assertEqual(sides[-1].wait(), 0)
        for side in sides[:-1]:
            side.close()  # what it said is all here then, however late it was read
        self.check_rounds(*sides)


class Order(Migrating):
    """What clients see, on QEMU as well."""

    def passes(self, said):
        return [s for s in said if s != "MIGRATION_PASS"]

    def test_running(self):
        source, to = self.pair()
        self.assertEqual(source.ask("query-migrate"), {})
        self.assertEqual(to.status(), "inmigrate")
        self.assertEqual(source.ask("migrate", uri=f"unix:{self.path()}"), {})
        info = source.until_migrated()
        to.until("MIGRATION completed")
        said = source.heard()
        self.assertEqual(self.passes(said), ["MIGRATION setup", "MIGRATION active", "STOP",
                                             "MIGRATION completed"])
        self.assertEqual(said[1:3], ["MIGRATION_PASS", "MIGRATION active"])
        self.assertEqual(said[-2:], ["MIGRATION_PASS", "MIGRATION completed"])
        self.assertEqual(to.heard(), ["MIGRATION setup", "MIGRATION active", "RESUME",
                                      "MIGRATION completed"])
        self.assertEqual(set(info), {"status", "ram", "total-time", "downtime", "setup-time"})
        self.assertEqual(set(info["ram"]), {
            "transferred", "remaining", "total", "duplicate", "skipped", "normal", "normal-bytes",
            "dirty-pages-rate", "mbps", "dirty-sync-count", "postcopy-requests", "page-size",
            "multifd-bytes", "pages-per-second", "precopy-bytes", "downtime-bytes",
            "postcopy-bytes", "dirty-sync-missed-zero-copy"})
        self.assertEqual(info["ram"]["remaining"], 0)
        self.assertGreaterEqual(info["ram"]["dirty-sync-count"], 2)
        self.assertEqual(info["ram"]["normal-bytes"], info["ram"]["normal"] * 4096)
        self.assertGreaterEqual(info["ram"]["normal"], 300)
        self.assertEqual(to.ask("query-migrate"), {"status": "completed"})
        self.assertEqual((source.status(), to.status()), ("postmigrate", "running"))
        self.assertIn("paused due to previous migration", source.ask("migrate", uri="exec:cat")["desc"])
        self.finish(source, to)

    def test_source_stands(self):
        """The destination takes over the state, without STOP or RESUME."""
        source, to = self.pair()
        source.qmp.command("stop")
        source.heard().clear()
        source.qmp.command("migrate", uri=f"unix:{self.path()}")
        source.until_migrated()
        to.until("MIGRATION completed")
        self.assertEqual(self.passes(source.heard()), ["MIGRATION setup", "MIGRATION active",
                                                       "MIGRATION completed"])
        self.assertEqual(to.heard(), ["MIGRATION setup", "MIGRATION active", "MIGRATION completed"])
        self.assertEqual((source.status(), to.status()), ("postmigrate", "paused"))
        to.qmp.command("cont")
        self.finish(source, to)

    def scripted(self, does, state, *args):
        """Both sides, the source's guest having come to that state by what it does."""
        source = self.side(*args, guest="script", append=does)
        source.capabilities(events=True)
        source.until_status(state)
        source.heard().clear()
        to = self.side("-incoming", "defer", *args, guest="script", append=does)
        to.capabilities(events=True)
        to.qmp.command("migrate-incoming", uri=f"unix:{self.path()}")
        source.qmp.command("migrate", uri=f"unix:{self.path()}")
        source.until_migrated()
        to.until("MIGRATION completed")
        return source, to

    def test_sleeping(self):
        """A guest that sleeps is woken by its way."""
        source, to = self.scripted("s3", "suspended")
        said = self.passes(source.heard())
        if IS_QEMU:  # the event comes when it gets to it
            said = [s for s in said if s != "WAKEUP"]
        self.assertEqual(said, ["MIGRATION setup", "MIGRATION active", "STOP"] +
                         ([] if IS_QEMU else ["WAKEUP"]) + ["MIGRATION completed"])
        self.assertEqual(to.heard(), ["MIGRATION setup", "MIGRATION active", "RESUME",
                                      "MIGRATION completed"])
        to.until_status("running")
        if not IS_QEMU:  # whose wake-up may come after the state was taken
            to.expect("awake")

    def test_panicked(self):
        """One that has crashed is so on the other side too."""
        source, to = self.scripted("panic 1", "guest-panicked", "-device", "pvpanic", "-action",
                                   "panic=pause")
        self.assertEqual(self.passes(source.heard()), ["MIGRATION setup", "MIGRATION active",
                                                       "MIGRATION completed"])
        self.assertEqual(to.heard(), ["MIGRATION setup", "MIGRATION active", "MIGRATION completed"])
        self.assertEqual(to.status(), "guest-panicked")

    def test_waiting(self):
        """-S, stop and cont before the end say whether the guest runs."""
        for args, commands, runs in (((), (), True), (("-S",), (), False), ((), ("stop",), False),
                                     (("-S",), ("cont",), True), ((), ("stop", "cont"), True)):
            with self.subTest(args=args, commands=commands):
                source = self.side()
                source.expect(r"r2\n")
                to = self.side("-incoming", f"unix:{self.path()}", *args)
                for command in commands:
                    self.assertEqual(to.ask(command), {})
                    self.assertEqual(to.status(), "inmigrate")
                source.qmp.command("migrate", uri=f"unix:{self.path()}")
                source.until_migrated()
                to.until_status("running" if runs else "paused")
                if not runs:
                    to.qmp.command("cont")
                self.finish(source, to)
                source.close()
                to.close()

    def test_switchover(self):
        source, to = self.pair()
        source.capabilities(pause_before_switchover=True)
        source.qmp.command("migrate", uri=f"unix:{self.path()}")
        source.until("MIGRATION pre-switchover")
        self.assertEqual(source.status(), "finish-migrate")
        self.assertEqual(source.ask("cont")["desc"], "Migration is not finalized yet")
        self.assertEqual(source.ask("query-migrate")["status"], "pre-switchover")
        self.assertEqual(source.ask("migrate-continue", state="device")["desc"],
                         "Migration not in expected state: pre-switchover")
        self.assertEqual(to.status(), "inmigrate")
        self.assertEqual(source.ask("migrate-continue", state="pre-switchover"), {})
        source.until("MIGRATION completed")
        self.assertEqual(self.passes(source.heard()), [
            "MIGRATION setup", "MIGRATION active", "STOP", "MIGRATION pre-switchover",
            "MIGRATION device", "MIGRATION completed"])
        to.until_status("running")
        self.finish(source, to)

    def test_cancel(self):
        """At once, while memory is sent slowly and while it waits; the guest stays."""
        source = self.side()
        source.expect(r"r2\n")
        source.capabilities(events=True)
        source.qmp.command("migrate-set-parameters", max_bandwidth=4096)
        self.assertEqual(source.ask("migrate_cancel"), {})
        source.qmp.command("migrate", uri="exec:cat >/dev/null")
        source.until("MIGRATION active")
        info = source.ask("query-migrate")
        self.assertEqual(set(info), {"status", "ram", "total-time", "expected-downtime", "setup-time"})
        for command, arguments in (("migrate", {"uri": "exec:cat >/dev/null"}),
                                   ("migrate-set-capabilities", {"capabilities": []})):
            self.assertEqual(source.ask(command, **arguments)["desc"],
                             "There's a migration process in progress")
        self.assertEqual(source.ask("migrate_cancel"), {})
        source.until("MIGRATION cancelled")
        self.assertEqual(source.heard(), ["MIGRATION setup", "MIGRATION_PASS", "MIGRATION active",
                                          "MIGRATION cancelling", "MIGRATION cancelled"])
        self.assertEqual(source.ask("query-migrate"), {"status": "cancelled"})
        source.qmp.command("migrate-set-parameters", max_bandwidth=1 << 30)
        source.capabilities(pause_before_switchover=True)
        source.qmp.command("migrate", uri="exec:cat >/dev/null")
        source.until("MIGRATION pre-switchover")
        source.heard().clear()
        source.qmp.command("migrate_cancel")
        source.until("MIGRATION cancelled")
        self.assertEqual(source.heard(), ["MIGRATION cancelling", "RESUME", "MIGRATION cancelled"])
        self.assertEqual(source.status(), "running")
        self.finish(source)

    def test_quit(self):
        """Who ends the source while memory is sent hears what becomes of the migration."""
        source = self.side()
        source.expect(r"r2\n")
        source.capabilities(events=True)
        source.qmp.command("migrate-set-parameters", max_bandwidth=4096)
        source.qmp.command("migrate", uri="exec:cat >/dev/null")
        source.until("MIGRATION active")
        source.heard().clear()
        source.qmp.request("quit")
        self.assertEqual(source.qmp.event("MIGRATION")["data"], {"status": "cancelling"})
        self.assertEqual(source.wait(), 0)

    def test_refused(self):
        source = self.side(guest=None)
        source.capabilities(events=True)
        for uri, text, at_once in (
                ("bogus:", "Parameter 'uri' expects a valid migration protocol", True),
                ("unix:", "invalid Unix socket address", True),
                ("tcp:", "error parsing address ''", True),
                ("fd:none", "File descriptor named 'none' has not been found", True),
                ("unix:/none/x", "Failed to connect to '/none/x': No such file or directory", False),
                ("exec:exit 3", "Unable to write to command: Broken pipe", False)):
            with self.subTest(uri=uri):
                answer = source.ask("migrate", uri=uri)
                self.assertEqual(answer.get("desc"), text if at_once else None)
                source.until("MIGRATION failed")
                info = source.ask("query-migrate")
                self.assertEqual(info["status"], "failed")
                if uri != "bogus:":
                    self.assertEqual(info["error-desc"], text)
                self.assertEqual(source.status(), "running")
                source.heard().clear()
        self.assertEqual(source.ask("migrate-incoming", uri="tcp:0:0")["desc"],
                         "'-incoming' was not specified on the command line")
        self.assertEqual(source.ask("migrate-continue", state="pre-switchover")["desc"],
                         "Migration not in expected state: failed")
        for name, value, text in (
                ("downtime-limit", 2000001, "an integer in the range of 0 to (2000 * 1000) ms"),
                ("cpu-throttle-initial", 0, "an integer in the range of 1 to 99"),
                ("cpu-throttle-increment", 100, "an integer in the range of 1 to 99"),
                ("max-cpu-throttle", 1, "an integer in the range of cpu_throttle_initial to 99")):
            self.assertEqual(source.ask("migrate-set-parameters", **{name: value})["desc"],
                             f"Parameter '{name.replace('-', '_')}' expects {text}")
        # What is not said anew counts as well.
        source.qmp.command("migrate-set-parameters", **{"max-cpu-throttle": 50})
        self.assertIn("Parameter 'max_cpu_throttle'",
                      source.ask("migrate-set-parameters", **{"cpu-throttle-initial": 60})["desc"])
        parameters = source.ask("query-migrate-parameters")
        self.assertEqual(parameters["cpu-throttle-initial"], 20)
        source.qmp.command("migrate-set-parameters", **{k: v for k, v in parameters.items()
                                                        if k in ("max-bandwidth", "tls-creds",
                                                                 "tls-hostname", "downtime-limit")})
        self.assertEqual(source.ask("query-migrate-parameters"), parameters)

    @only_godwit("QEMU tells more")
    def test_human(self):
        def hmp(side, line):
            return side.ask("human-monitor-command", command_line=line).replace("\r", "")

        source = self.side()
        source.expect(r"r2\n")
        self.assertEqual(hmp(source, "info migrate"), "")
        self.assertEqual(hmp(source, "migrate bogus:"),
                         "Error: Parameter 'uri' expects a valid migration protocol\n")
        self.assertIn("Migration status: failed (", hmp(source, "info migrate"))
        self.assertEqual(hmp(source, f"migrate -d file:{self.path('s')}"), "")
        source.until_migrated()
        told = hmp(source, "info migrate")
        for line in ("Migration status: completed", r"downtime: \d+ ms", r"normal: \d+ pages",
                     "remaining ram: 0 kbytes", r"dirty sync count: \d+"):
            self.assertRegex(told, f"(?m)^{line}$")
        self.assertEqual(hmp(source, "migrate_cancel"), "")
        self.assertEqual(source.status(), "postmigrate")

    def test_inmigrate(self):
        to = self.side("-incoming", "defer", guest=None)
        self.assertEqual(to.ask("migrate", uri="exec:cat")["desc"],
                         "Guest is waiting for an incoming migration")
        for uri, text in (("bogus", "unknown migration protocol: bogus"),
                          ("fd:none", "File descriptor named 'none' has not been found")):
            self.assertEqual(to.ask("migrate-incoming", uri=uri)["desc"], text)
            self.assertEqual(to.heard(), ["MIGRATION setup"])
            to.heard().clear()
        to.qmp.command("system_reset")
        self.assertEqual(to.status(), "inmigrate")
        to.qmp.command("migrate-incoming", uri=f"unix:{self.path()}")
        self.assertEqual(to.ask("migrate-incoming", uri=f"unix:{self.path()}")["desc"],
                         "The incoming migration has already been started")
        self.assertEqual(to.ask("query-migrate"),
                         {"socket-address": [{"path": self.path(), "type": "unix"}]})

    def test_announced(self):
        """The cards of a guest that has come tell the network so, as often as is set; QEMU's too."""
        mac = "52:54:00:aa:bb:cc"
        card = ("-device", f"virtio-net-pci,netdev=n0,mac={mac}")
        cable = "stream,id=n0,server=on,addr.type=unix,addr.path="
        source = self.side("-netdev", cable + self.path("unused"), *card)
        source.expect(r"r2\n")
        to = self.side("-netdev", cable + self.path("n"), *card, "-incoming", f"unix:{self.path()}")
        for name, value, text in (("initial", 100001, "0 and 100000"), ("max", 100001, "0 and 100000"),
                                  ("rounds", 1001, "0 and 1000"), ("step", 0, "0 and 10000")):
            self.assertEqual(to.ask("migrate-set-parameters", **{"announce-" + name: value})["desc"],
                             f"Parameter 'announce_{name}' expects a value between {text}")
        to.qmp.command("migrate-set-parameters", **{"announce-initial": 1, "announce-max": 3,
                                                    "announce-rounds": 4, "announce-step": 1})
        with socket.socket(socket.AF_UNIX) as cable:
            cable.settimeout(LIMIT)
            cable.connect(self.path("n"))
            source.qmp.command("migrate", uri=f"unix:{self.path()}")
            source.until_migrated()
            heard = b""
            while len(heard) < 4 * 64:
                heard += cable.recv(4096)
            address = bytes.fromhex(mac.replace(":", ""))
            frame = (b"\0\0\0\x3c" + b"\xff" * 6 + address + bytes.fromhex("80350001080006040003") +
                     address + bytes(4) + address + bytes(22))
            self.assertEqual(heard, frame * 4)
            to.qmp.command("query-status")
        self.finish(source, to)

    def test_uuid(self):
        """validate-uuid is the source's matter: a destination that was given another UUID refuses the guest."""
        one, other = (f"{digit * 8}-1111-4111-8111-aAaaaaaaaaaa" for digit in "12")
        for here, there, checked, comes in ((one, other, True, False), (one, one.lower(), True, True),
                                            (one, None, True, True), (None, other, True, True),
                                            (one, other, False, True)):
            with self.subTest(here=here, there=there, checked=checked):
                source = self.side(*(("-uuid", here) if here else ()))
                to = self.side("-incoming", f"unix:{self.path()}", *(("-uuid", there) if there else ()))
                source.capabilities(validate_uuid=checked)
                source.qmp.command("migrate", uri=f"unix:{self.path()}")
                if comes:
                    source.until_migrated()
                    to.until_status("running")
                else:
                    source.until_migrated("failed")
                    source.until_status("running")
                    self.assertEqual(to.wait(), 1)
                    self.assertRegex(to.errors, b"UUID received is 11111111-.* and local is 22222222-")
                source.close()
                to.close()

    def test_rubbish(self):
        """What is no stream ends the destination with status 1."""
        to = self.side("-incoming", f"unix:{self.path()}", guest=None)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.path())
            sock.sendall(b"this is no guest" * 100)
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(to.wait(), 1)
        self.assertIn(b"load of migration failed", to.errors)


class Channels(Migrating):
    def test_file(self):
        """A file is read by another machine as often as one likes."""
        for uri in ("file:{}", "exec:cat >{}"):
            if IS_QEMU and uri.startswith("file"):
                continue
            with self.subTest(uri=uri):
                source = self.side()
                source.expect(r"r2\n")
                source.qmp.command("migrate", uri=uri.format(self.path("s")))
                source.until_migrated()
                source.close()
                for _ in range(2):
                    to = self.side("-incoming",
                                   uri.format(self.path("s")).replace("cat >", "cat <"))
                    self.finish(source, to)

    @only_godwit("its stream is its own")
    def test_small(self):
        """Words that repeat every 64 bytes do not travel, and of nearly empty pages little does; what
        is to come is judged by that."""
        source, to = self.pair(append="2000")
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 4 << 20})
        source.qmp.command("migrate", uri=f"unix:{self.path()}")
        info = source.until_migrated()
        # 8 MB are written every few ms: at 4 MB a second they would never come to an end.
        self.assertGreater(info["ram"]["normal"], 2000)
        self.assertLess(info["ram"]["transferred"], info["ram"]["normal-bytes"] / 4)
        self.assertLess(info["downtime"], 2 * 300 + 200)
        self.finish(source, to)

    @only_godwit("QEMU's stays a zombie")
    def test_command_is_over(self):
        """Nothing of the command that a guest came from is left."""
        source = self.side()
        source.expect(r"r2\n")
        source.qmp.command("migrate", uri=f"file:{self.path('s')}")
        source.until_migrated()
        source.close()
        to = self.side("-incoming", f"exec:cat {self.path('s')}; exit 3")
        to.expect(r"r\d+\n")
        pid = to.process.pid
        end = time.monotonic() + LIMIT
        while True:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
                if not children.read():
                    break
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        self.finish(source, to)

    @unittest.skipIf(SLOW, "this KVM emulates the guest, which does not write so much")
    def test_unlike(self):
        """What is written to is not as small as all the rest: 4 MB are not sent within the downtime."""
        source, to = self.pair(append="=1000", events=False)
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 10 << 20,
                                                        "downtime-limit": 150})
        source.qmp.command("migrate", uri=f"unix:{self.path()}")
        source.until_migrated("active")
        end = time.monotonic() + LIMIT
        while (info := source.ask("query-migrate"))["ram"]["dirty-sync-count"] < 4:
            self.assertEqual((info["status"], source.status()), ("active", "running"))
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 33})
        source.until_migrated()
        self.finish(source, to)

    @only_godwit("its stream is its own")
    def test_print(self):
        """godwit-img shows what is in a stream, and that it is damaged."""
        program = os.environ.get("GODWIT_IMG")
        if not program:
            self.skipTest("no GODWIT_IMG")
        source = self.side()
        source.expect(r"r2\n")
        source.qmp.command("migrate", uri=f"file:{self.path('s')}")
        source.until_migrated()
        shown = subprocess.run([program, "stream", self.path("s")], capture_output=True, text=True)
        self.assertEqual((shown.returncode, shown.stderr), (0, ""))
        for text in ('"machine": "pc-q35-7.2"', "run state: running", "  CPU 0\n", " rip = 0x",
                     "  isa-i8259#0\n", "fin : version 1"):
            self.assertIn(text, shown.stdout)
        self.assertRegex(shown.stdout, r"ram : \d+ records with \d+ pages and \d+ of zeroes")
        with open(self.path("s"), "r+b") as file:
            file.seek(-100, os.SEEK_END)
            file.write(b"?")
        shown = subprocess.run([program, "stream", self.path("s")], capture_output=True, text=True)
        self.assertEqual(shown.returncode, 1)
        self.assertIn("is damaged", shown.stderr)

    def test_tcp(self):
        source, to = self.pair(uri="tcp:127.0.0.1:0", events=False)
        at = to.ask("query-migrate")["socket-address"][0]
        self.assertEqual(at, {"type": "inet", "host": "127.0.0.1", "port": at["port"], "ipv4": True})
        source.qmp.command("migrate", uri=f"tcp:127.0.0.1:{at['port']}")
        source.until_migrated()
        to.until_status("running")
        self.finish(source, to)

    def test_tcp_any(self):
        """Nothing for a host is any, of both families."""
        for i, host in enumerate(("[::1]", "127.0.0.1")):
            source, to = self.pair(uri="tcp::0", events=False)
            at = to.ask("query-migrate")["socket-address"]
            if len(at) == 1:
                self.skipTest("this host has no IPv6")
            self.assertEqual([(a["host"], a.get("ipv4"), a.get("ipv6")) for a in at],
                             [("::", None, True), ("0.0.0.0", True, None)])
            source.qmp.command("migrate", uri=f"tcp:{host}:{at[i]['port']}")
            source.until_migrated()
            to.until_status("running")
            self.finish(source, to)

    @only_godwit("it has no file:")
    def test_named_pipe(self):
        """Nobody waits for its other end but the migration."""
        os.mkfifo(self.path("p"))
        source = self.side()
        source.expect(r"r2\n")
        self.assertIn("No such device or address",
                      source.ask("migrate", uri=f"file:{self.path('p')}")["desc"])
        self.assertEqual(source.status(), "running")
        to = self.side("-incoming", "defer")
        to.capabilities(events=True)
        to.qmp.command("migrate-incoming", uri=f"file:{self.path('p')}")
        self.assertEqual(to.status(), "inmigrate")
        source.qmp.command("migrate", uri=f"file:{self.path('p')}")
        source.until_migrated()
        to.until("MIGRATION completed")
        self.finish(source, to)

    def pass_fd(self, side, fd):
        side.qmp.sock.settimeout(LIMIT)
        socket.send_fds(side.qmp.sock, [b'{"execute": "getfd", "arguments": {"fdname": "m"}}'], [fd])
        self.assertEqual(side.qmp.read(), {"return": {}})

    def test_fd(self):
        for return_path in (False, True):
            source, to = self.pair(uri=f"unix:{self.path('unused')}", events=False)
            to.close()
            a, b = socket.socketpair()
            to = self.side("-incoming", "defer")
            self.pass_fd(source, a.fileno())
            self.pass_fd(to, b.fileno())
            a.close()
            b.close()
            source.capabilities(return_path=return_path)
            to.qmp.command("migrate-incoming", uri="fd:m")
            source.qmp.command("migrate", uri="fd:m")
            source.until_migrated()
            to.until_status("running")
            self.finish(source, to)
            source.close()
            to.close()

    def test_pipe(self):
        """As libvirt saves: the descriptor is closed after the last byte."""
        source = self.side()
        source.expect(r"r2\n")
        source.qmp.command("stop")
        r, w = os.pipe()
        self.pass_fd(source, w)
        os.close(w)
        source.qmp.command("migrate-set-parameters", max_bandwidth=9223372036853727232)
        source.qmp.command("migrate", uri="fd:m", detach=True, resume=False)
        with open(r, "rb") as pipe, open(self.path("s"), "wb") as file:
            file.write(pipe.read())
        source.until_migrated()
        to = self.side("-incoming", "defer", "-S")
        fd = os.open(self.path("s"), os.O_RDONLY)
        self.pass_fd(to, fd)
        os.close(fd)
        to.qmp.command("migrate-incoming", uri="fd:m")
        to.until_status("paused")
        to.qmp.command("cont")
        self.finish(source, to)


class Held(Migrating):
    def test_request(self):
        """A write that failed with werror=stop is on its way with the guest, and is done there."""
        image = self.path("disk")
        with open(image, "wb") as file:
            file.truncate(1 << 20)
        broken = (f"raw,node-name=d0,file.driver=blkdebug,file.image.driver=file,"
                  f"file.image.filename={image},file.inject-error.0.event=write_aio,"
                  f"file.inject-error.0.errno=5,file.inject-error.0.sector=8,"
                  f"file.inject-error.0.once=on")
        sound = f"raw,node-name=d0,file.driver=file,file.filename={image}"
        device = ("-device", "virtio-blk-pci,drive=d0,werror=stop")
        script = {"guest": "disk", "append": "wait blk write 8 blk read 8"}
        source = self.side("-blockdev", broken, *device, **script)
        source.expect("ready")
        source.send("x")
        source.until_status("io-error")
        to = self.side("-incoming", f"unix:{self.path()}", "-blockdev", sound, *device, **script)
        source.qmp.command("migrate", uri=f"unix:{self.path()}")
        source.until_migrated()
        to.until_status("io-error")
        self.assertNotIn(b"write", source.output)
        source.close()
        to.qmp.command("cont")
        to.expect("write ok")
        to.expect("read ok")
        with open(image, "rb") as file:
            file.seek(8 * 512)
            self.assertNotEqual(file.read(512), bytes(512))


    def test_port(self):
        """A port that the guest has open is so where it comes to, and that is told."""
        port = ("-chardev", "null,id=c", "-device", "virtio-serial-pci", "-device",
                "virtserialport,chardev=c,nr=1,id=p")
        script = {"guest": "disk", "append": "open 1 wait"}
        source = self.side(*port, **script)
        source.expect("open ok")
        to = self.side("-incoming", f"unix:{self.path()}", *port, **script)
        self.assertEqual(to.ask("query-chardev")[0], {"label": "c", "filename": "null", "frontend-open": False})
        source.qmp.command("migrate", uri=f"unix:{self.path()}")
        source.until_migrated()
        self.assertEqual(to.qmp.event("VSERPORT_CHANGE")["data"], {"id": "p", "open": True})
        self.assertEqual({c["label"]: c["frontend-open"] for c in to.ask("query-chardev")}["c"], True)


class Travel(Migrating):
    def test_far(self):
        """Again and again, with and without answers."""
        for cpus in (1, 2):
            sides = [self.side(cpus=cpus, append=f"{'+' if cpus > 1 else ''}300")]
            sides[0].expect(r"r2\n")
            for n in range(4):
                to = self.side("-incoming", f"unix:{self.path()}", cpus=cpus)
                sides[-1].capabilities(return_path=n % 2 == 1)
                sides[-1].qmp.command("migrate", uri=f"unix:{self.path()}")
                info = sides[-1].until_migrated()
                self.assertGreaterEqual(info["ram"]["dirty-sync-count"], 2)
                sides.append(to)
                to.expect(r"r\d+\n")
            self.finish(*sides)

    @only_godwit("its software CPU loses writes under such a load")
    def test_converge(self):
        """A guest that writes faster than is sent is slowed down, and goes when it may stand long enough."""
        source = self.side(append="4000")
        source.expect(r"r2\n")
        to = self.side("-incoming", f"unix:{self.path()}", append="4000")
        source.capabilities(auto_converge=True)
        speed = 32 << 20 if IS_QEMU else 512 << 10  # pages that are nearly empty are small here
        source.qmp.command("migrate-set-parameters", max_bandwidth=speed, downtime_limit=1)
        source.qmp.command("migrate", uri=f"unix:{self.path()}")
        end = time.monotonic() + LIMIT
        while "cpu-throttle-percentage" not in (info := source.ask("query-migrate")):
            self.assertIn(info["status"], ("setup", "active"))
            self.assertLess(time.monotonic(), end, info)
            time.sleep(0.05)
        self.assertGreaterEqual(info["cpu-throttle-percentage"], 20)
        self.assertGreater(info["ram"]["dirty-sync-count"], 1)
        self.assertEqual(source.status(), "running")
        source.qmp.command("migrate-set-parameters", max_bandwidth=1 << 33, downtime_limit=60000)
        self.assertNotIn("cpu-throttle-percentage", source.until_migrated())
        to.until_status("running")
        self.finish(source, to)

    @only_godwit("one accelerator each")
    def test_accelerators(self):
        """Live from the software CPU to KVM and back."""
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            self.skipTest("/dev/kvm cannot be used")
        sides = [self.side(accel="tcg", append="50")]
        sides[0].expect(r"r2\n")
        for accel in ("kvm", "tcg", "kvm"):
            to = self.side("-incoming", f"unix:{self.path()}", accel=accel)
            sides[-1].capabilities(return_path=True)
            sides[-1].qmp.command("migrate", uri=f"unix:{self.path()}")
            sides[-1].until_migrated()
            sides.append(to)
            to.expect(r"r\d+\n")
        self.finish(*sides)


if __name__ == "__main__":
    oracle.main(IS_QEMU)
