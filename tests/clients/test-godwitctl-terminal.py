#!/usr/bin/env python3
"""godwitctl at a terminal: the shell's completion and history, and the live view.

Usage: test-godwitctl-terminal.py GODWITCTL [unittest arguments]
"""
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fake_qmp import Closed, FakeServer  # noqa: E402
from terminal import LIMIT_S, Terminal  # noqa: E402

PROGRAM = os.path.abspath(sys.argv.pop(1))
for ignored in signal.SIGINT, signal.SIGHUP:  # by a shell for its background jobs, or nohup
    signal.signal(ignored, signal.SIG_DFL)
LIBEDIT = b"libedit" in subprocess.run([PROGRAM, "--version"], stdout=subprocess.PIPE,
                                       check=True).stdout

OK, ERROR, USAGE, TIMEOUT, GONE = range(5)

SCHEMA = [
    {"meta-type": "command", "name": "set-things", "arg-type": "things", "ret-type": "none"},
    {"meta-type": "command", "name": "set-theory", "arg-type": "none", "ret-type": "none"},
    {"meta-type": "command", "name": "query-status", "arg-type": "none", "ret-type": "none"},
    {"meta-type": "command", "name": "add-\x1b[31mred", "arg-type": "none", "ret-type": "none"},
    {"meta-type": "event", "name": "STOP", "arg-type": "none"},
    {"meta-type": "event", "name": "SHUTDOWN", "arg-type": "shutdown"},
    {"meta-type": "object", "name": "none", "members": []},
    {"meta-type": "object", "name": "shutdown", "members": [{"name": "guest", "type": "bool"},
                                                            {"name": "reason", "type": "mode"}]},
    {"meta-type": "object", "name": "things", "tag": "mode", "members": [
        {"name": "mode", "type": "mode"},
        {"name": "flag", "type": "bool", "default": None},
        {"name": "modes", "type": "modes", "default": None},
        {"name": "inner", "type": "inner", "default": None}],
     "variants": [{"case": "fast", "type": "fast"}, {"case": "slow", "type": "none"}]},
    {"meta-type": "object", "name": "fast", "members": [{"name": "speed", "type": "int"}]},
    {"meta-type": "object", "name": "inner", "members": [{"name": "deeper", "type": "str"}]},
    {"meta-type": "enum", "name": "mode", "values": ["fast", "slow", "slowest"]},
    {"meta-type": "array", "name": "modes", "element-type": "mode"},
    {"meta-type": "builtin", "name": "str", "json-type": "string"},
    {"meta-type": "builtin", "name": "int", "json-type": "int"},
    {"meta-type": "builtin", "name": "bool", "json-type": "boolean"},
]


class Server(FakeServer):
    """A server whose run state and events the test sets while it runs."""

    def __init__(self, **answers):
        super().__init__(self.play)
        self.state = "running"
        self.things = []
        self.answers = {"query-qmp-schema": SCHEMA, "query-status": self.status,
                        "set-things": self.set_things, "stop": self.stop, "quit": self.quit,
                        "query-cpus-fast": [
                            {"cpu-index": index, "qom-path": "/machine/cpu[%d]" % index,
                             "thread-id": os.getpid(), "target": "x86_64"} for index in range(2)]}
        self.answers.update(answers)
        self.ready = threading.Event()

    def play(self, connection):
        connection.negotiate()
        self.ready.set()
        connection.serve(self.answers)

    def status(self, *_):
        return {"status": self.state, "running": self.state == "running", "singlestep": False}

    def set_things(self, _, request):
        self.things.append(request.get("arguments"))
        return {}

    def stop(self, connection, _):
        self.state = "paused"
        connection.event("STOP")
        return {}

    def quit(self, connection, request):
        connection.reply(request)
        raise Closed()

    def happen(self, name, data=None, state=None):
        self.state = state or self.state
        self.connections[-1].event(name, data)


class Case(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.TemporaryDirectory(prefix="godwitctl-")
        self.addCleanup(self.home.cleanup)

    def start(self, server, *words, **size):
        terminal = Terminal([PROGRAM, "-s", server.address] + list(words), **size,
                            HOME=self.home.name, LC_ALL="C.UTF-8", PATH=os.environ["PATH"])
        self.addCleanup(terminal.__exit__)
        return terminal

    def shell(self, server):
        terminal = self.start(server, "shell")
        terminal.expect("running> ")
        return terminal

    def ended(self, terminal, status):
        self.assertEqual(terminal.wait(), status, terminal.seen)
        self.assertTrue(terminal.modes_restored(), "the terminal's modes are not restored")


class Shell(Case):
    def test_lines(self):
        with Server() as server:
            terminal = self.shell(server)
            terminal.type("status\n")
            terminal.expect("running\r\n  the guest runs")
            terminal.type("nonsense\n")
            terminal.expect("nonsense has not been found")
            terminal.type("stop\n")
            terminal.expect("STOP\r\npaused> ")
            terminal.type("set-things mode=fast inner={\"deeper\": \"a b\"}\n")
            terminal.expect("paused> ")
            terminal.type("help set-things\n")
            terminal.expect("mode +enum: fast slow slowest")
            terminal.type("help thing\n")
            terminal.expect("  set-things")
            terminal.type('{"execute": "query-status"}\n')
            terminal.expect('"status": *"paused"')
            terminal.expect("paused> ")
            terminal.type("exit\n")
            self.ended(terminal, OK)
            self.assertEqual(server.things, [{"mode": "fast", "inner": {"deeper": "a b"}}])

    @unittest.skipUnless(LIBEDIT, "SKIPPED: this godwitctl was built without libedit")
    def test_completion(self):
        with Server() as server:
            terminal = self.shell(server)
            terminal.type("set-th\t")
            terminal.type("\t")
            terminal.expect("set-theory  set-things\r\n")
            terminal.type("i\tmo\t")          # a command; mode= or modes=
            terminal.type("\t")
            terminal.expect("mode=   modes=\r\n")
            terminal.type("=f\tsp\t7 ")      # a value; an argument of the branch that it selects
            terminal.type("fl\tt\t")         # a boolean
            terminal.type("in\tdee\tx ")     # a member of a member
            terminal.type("modes=fast,slow\t\t")
            terminal.expect("modes=fast,slow +modes=fast,slowest\r\n")
            terminal.type("est\n")
            terminal.expect("running> $")
            terminal.type("exit\n")
            self.ended(terminal, OK)
            self.assertEqual(server.things, [
                {"mode": "fast", "speed": 7, "flag": True, "inner": {"deeper": "x"},
                 "modes": ["fast", "slowest"]}])

    @unittest.skipUnless(LIBEDIT, "SKIPPED: this godwitctl was built without libedit")
    def test_completion_of_events(self):
        with Server() as server:
            terminal = self.shell(server)
            terminal.type("wait --fo\tSH\t--wh\tdat\treas\tf\t--ti\t0.1\n")
            terminal.expect("event did not come")
            terminal.type("exit\n")
            self.ended(terminal, OK)
            self.assertIn("wait --for SHUTDOWN --where data.reason=fast --timeout 0.1",
                          self.history())

    @unittest.skipUnless(LIBEDIT, "SKIPPED: this godwitctl was built without libedit")
    def test_names_with_escapes_are_not_offered(self):
        with Server() as server:
            terminal = self.shell(server)
            terminal.type("add\t\t")
            terminal.type("\x03exit\n")
            self.ended(terminal, OK)
            self.assertNotIn(b"red", terminal.seen)

    def history(self):
        path = os.path.join(self.home.name, ".local/state/godwitctl/history")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        with open(path, encoding="utf-8") as lines:
            return lines.read().replace("\\040", " ").replace("\\075", "=")

    @unittest.skipUnless(LIBEDIT, "SKIPPED: this godwitctl was built without libedit")
    def test_history_lasts(self):
        with Server() as server:
            terminal = self.shell(server)
            terminal.type("set-things mode=slow\n")
            terminal.expect("running> ")
            terminal.type("exit\n")
            self.ended(terminal, OK)
            terminal = self.shell(server)
            terminal.type("\x1b[A\x1b[A\n")   # up, up
            terminal.expect("set-things mode=slow\r\n")
            terminal.expect("running> ")
            terminal.type("\x04")             # Ctrl-D
            self.ended(terminal, OK)
            self.assertEqual(server.things, [{"mode": "slow"}] * 2)

    def test_events_while_typing(self):
        with Server() as server:
            terminal = self.shell(server)
            terminal.type("set-things mo")
            terminal.expect("set-things mo")
            server.happen("STOP", state="paused")
            terminal.expect("STOP\r\n")
            if LIBEDIT:
                terminal.expect("paused> set-things mo")
            terminal.type("de=fast\n")
            terminal.expect("paused> ")
            terminal.type("exit\n")
            self.ended(terminal, OK)
            self.assertEqual(server.things, [{"mode": "fast"}])

    def test_interrupts(self):
        with Server(**{"hang": lambda *_: Ellipsis}) as server:
            terminal = self.shell(server)
            terminal.type("half a li\x03")
            terminal.expect("running> ")
            terminal.type("hang\n")
            terminal.wait_for_signals()
            terminal.type("\x03")
            terminal.expect("interrupted")
            terminal.expect("running> ")
            terminal.type("events --follow\n")
            terminal.wait_for_signals()
            server.happen("RESET", {"guest": True})
            terminal.expect("RESET guest=true")
            terminal.type("\x03")
            terminal.expect("running> ")
            terminal.type("exit\n")
            self.ended(terminal, OK)

    def test_signals_restore_the_terminal(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            with Server() as server:
                terminal = self.shell(server)
                terminal.process.send_signal(number)
                self.ended(terminal, -number)

    def test_server_goes(self):
        with Server() as server:
            terminal = self.shell(server)
            server.connections[-1].sock.shutdown(2)
            terminal.expect("went away")
            self.ended(terminal, GONE)

    def test_quit_is_confirmed(self):
        with Server() as server:
            terminal = self.shell(server)
            terminal.type("quit\n")
            terminal.expect(r"\[y/N\] ")
            terminal.type("n\n")
            terminal.expect("running> ")
            self.assertNotIn("quit", server.commands)
            terminal.type("quit\n")
            terminal.expect(r"\[y/N\] ")
            terminal.type("y\n")
            self.ended(terminal, OK)
            self.assertIn("quit", server.commands)

    def pipe(self, server, text):
        return subprocess.run([PROGRAM, "-s", server.address, "shell"], input=text.encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT_S,
                              env=dict(os.environ, HOME=self.home.name), check=False)

    def test_lines_from_a_pipe(self):
        with Server() as server:
            done = self.pipe(server, "# a remark\n\nstatus\nset-things mode=slow\nstop\n"
                                     "wait --for STOP\nstatus --json")
            self.assertEqual(done.returncode, OK, done)
            lines = done.stdout.decode().splitlines()
            self.assertEqual(lines[0], "running")
            self.assertIn("STOP", lines[-2])
            self.assertTrue(lines[-1].startswith('{"status":"paused"'), lines)
            self.assertEqual(server.things, [{"mode": "slow"}])
            for text, status in (("nonsense\nstatus\n", ERROR), ("top\n", USAGE), ("status \"\n", USAGE),
                                 ("wait --for STOP -t 0.1\n", TIMEOUT), ("quit\n", OK),
                                 ("", OK)):
                self.assertEqual(self.pipe(server, text).returncode, status, text)


ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


class Top(Case):
    def top(self, server, *words, **size):
        terminal = self.start(server, "top", *words, **size)
        terminal.expect("State  ")
        return terminal

    def ended(self, terminal, status):
        super().ended(terminal, status)
        self.assertEqual(terminal.seen.count(ENTER), terminal.seen.count(LEAVE))
        self.assertGreaterEqual(terminal.seen.count(LEAVE), 1)
        self.assertGreater(terminal.seen.rfind(b"\x1b[?25h"), terminal.seen.rfind(b"\x1b[?25l"),
                           "the cursor stays hidden")

    def picture(self, terminal, *texts):
        """Waits until the whole picture shows all texts; gives its lines."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            lines = terminal.screen()
            if terminal.seen.endswith(b"\x1b[J") and all(text in "\n".join(lines)
                                                         for text in texts):
                return lines
            terminal.read(0.05)
        raise AssertionError("no %r in:\n%s" % (texts, "\n".join(terminal.screen())))

    def test_picture_of_80_by_24(self):
        with Server(**{"query-name": {"name": "demo"}}) as server:
            terminal = self.top(server, "--interval", "0.1")
            lines = self.picture(terminal, "q quits")
            self.assertEqual(len(lines), 24)
            self.assertTrue(all(len(line) <= 80 for line in lines), lines)
            text = "\n".join(lines)
            self.assertTrue(lines[0].startswith("demo  QEMU 7.2.0 at "), lines[0])
            self.assertIn("State  running for at least 0:0", lines[1])
            self.assertIn("──▶ │ running │ ──▶ guest-panicked shutdown save-vm", text)
            self.assertRegex(text, r"(?s) from  prelaunch .*colo\n")
            self.assertRegex(text, r"\n +R+\n")
            self.assertIn("vCPUs  2\n   0 ", text)
            self.assertIn("thread %d  x86_64  /machine/cpu[1]" % os.getpid(), text)
            self.assertIn("Last events  none seen yet", text)
            # The server is this process: its CPU time can be read.
            self.picture(terminal, "%  thread")
            terminal.type("q")
            self.ended(terminal, OK)

    def test_state_changes(self):
        with Server() as server:
            terminal = self.top(server, "--interval", "30")
            self.picture(terminal, "State  running")
            server.happen("STOP", state="paused")
            self.picture(terminal, "State  paused for 0:00", "● ", "STOP", "│ paused │", "P paused")
            server.happen("RESET", {"guest": False}, state="prelaunch")
            self.picture(terminal, "State  prelaunch for 0:00", "RESET guest=false")
            server.happen("STOP", state="levitating")
            self.picture(terminal, "State  levitating for 0:00")
            terminal.type("q")
            self.ended(terminal, OK)

    def test_ways_out(self):
        for key, number, status in (("\x03", None, OK), (None, signal.SIGINT, OK),
                                    (None, signal.SIGTERM, -signal.SIGTERM),
                                    (None, signal.SIGHUP, -signal.SIGHUP)):
            with Server() as server:
                terminal = self.top(server)
                self.picture(terminal, "q quits")
                if key:
                    terminal.type(key)
                else:
                    terminal.process.send_signal(number)
                self.ended(terminal, status)

    def test_suspend_gives_the_terminal_back(self):
        with Server() as server:
            terminal = self.top(server)
            self.picture(terminal, "q quits")
            terminal.type("\x1a")  # the process is its session's first: the stop itself is void
            terminal.expect("State  ")
            self.picture(terminal, "q quits")
            self.assertEqual((terminal.seen.count(ENTER), terminal.seen.count(LEAVE)), (2, 1))
            terminal.type("q")
            self.ended(terminal, OK)

    def test_server_goes(self):
        with Server() as server:
            terminal = self.top(server)
            server.happen("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
            terminal.expect("SHUTDOWN")
            server.connections[-1].sock.shutdown(2)
            self.ended(terminal, GONE)
            rest = terminal.seen.split(LEAVE)[-1]
            self.assertIn(b"SHUTDOWN", rest)
            self.assertIn(b"went away", rest)

    def test_sizes(self):
        with Server() as server:
            for rows, columns in ((1, 1), (2, 5), (5, 20), (10, 40), (24, 80), (60, 200)):
                terminal = self.top(server, rows=rows, columns=columns) if columns > 8 else \
                    self.start(server, "top", rows=rows, columns=columns)
                terminal.expect(r"[^\s]")
                deadline = time.monotonic() + LIMIT_S
                while not terminal.seen.endswith(b"\x1b[J") and time.monotonic() < deadline:
                    terminal.read(0.05)
                lines = terminal.screen()
                self.assertLessEqual(len(lines), rows, lines)
                self.assertTrue(all(len(line) <= columns for line in lines), lines)
                terminal.type("q")
                self.ended(terminal, OK)

    def test_resize(self):
        with Server() as server:
            terminal = self.top(server, "--interval", "30")
            self.assertEqual(len(self.picture(terminal, "q quits")), 24)
            terminal.resize(30, 100)
            terminal.process.send_signal(signal.SIGWINCH)
            deadline = time.monotonic() + LIMIT_S
            while len(terminal.screen()) != 30 and time.monotonic() < deadline:
                terminal.read(0.05)
            self.assertEqual(len(self.picture(terminal, "q quits")), 30)
            terminal.type("q")
            self.ended(terminal, OK)

    def test_nonsense(self):
        with Server(**{"query-cpus-fast": {"no": "array"}, "query-name": [],
                       "query-status": {"status": "\x1b[31m\u202ered"}}) as server:
            terminal = self.top(server)
            self.picture(terminal, "State  \\u001b[31m\\u202ered", "vCPUs  0")
            server.happen("\x1b]0;title\x07", {"\x9b": "\r\n"})
            self.picture(terminal, "\\u001b]0;title\\u0007")
            terminal.type("q")
            self.ended(terminal, OK)
            self.assertNotIn(b"\x07", terminal.seen)

    def test_server_that_does_not_answer(self):
        with Server(**{"query-status": lambda *_: Ellipsis}) as server:
            terminal = self.start(server, "top", "--interval", "0.1")
            self.picture(terminal, "did not reply")
            terminal.type("\x03")
            self.ended(terminal, OK)

    def test_without_terminal(self):
        with Server() as server:
            done = subprocess.run([PROGRAM, "-s", server.address, "top"], stdout=subprocess.PIPE,
                                  stdin=subprocess.DEVNULL, timeout=LIMIT_S, check=False,
                                  env=dict(os.environ, LC_ALL="C"))
            self.assertEqual(done.returncode, OK)
            text = done.stdout.decode("ascii")
            self.assertIn("--> | running | --> guest-panicked", text)
            self.assertIn("vCPUs  2", text)
            self.assertEqual(text[-1], "\n")
            self.assertNotIn("\x1b", text)
            self.assertNotIn("q quits", text)


if __name__ == "__main__":
    unittest.main(verbosity=1)
