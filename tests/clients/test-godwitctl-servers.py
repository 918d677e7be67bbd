#!/usr/bin/env python3
"""godwitctl against real servers, Godwit and QEMU: the same verbs, exit statuses and completion.

Usage: test-godwitctl-servers.py GODWITCTL SERVER [unittest arguments]
Exit status 77 (skipped) when there is no such program.
"""
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from terminal import Terminal  # noqa: E402

PROGRAM = os.path.abspath(sys.argv.pop(1))
SERVER = shutil.which(sys.argv.pop(1))
IS_QEMU = bool(SERVER) and "qemu" in os.path.basename(SERVER)
# QEMU's empty machine starts faster; Godwit's boards all have a CPU.
SMALLEST = ("-machine", "none") if IS_QEMU else ("-machine", "q35", "-accel", "tcg", "-m", "16")
LIMIT_S = 30 * float(os.environ.get("TEST_TIME_FACTOR", "1"))

OK, ERROR, USAGE, TIMEOUT, GONE = range(5)


class Machine:
    """A stopped machine with a QMP socket, and another with 2 behind its name."""

    def __init__(self, *arguments, qmp="-qmp"):
        self.folder = tempfile.TemporaryDirectory(prefix="godwitctl-")
        self.path = os.path.join(self.folder.name, "qmp.sock")
        self.process = subprocess.Popen(
            [SERVER, "-nodefaults", "-display", "none", "-S",
             "-qmp", "unix:%s2,server=on,wait=off" % self.path,
             qmp, "unix:%s,server=on,wait=off" % self.path] +
            list(arguments), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + LIMIT_S
        while not self.listens():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError("the server does not start")
            time.sleep(0.01)

    def listens(self):
        """Whether the socket takes connections; found out without making one."""
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as sockets:
            return any(line.split()[-1] == self.path and int(line.split()[3], 16) & 0x10000
                       for line in sockets.readlines()[1:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def run(self, *words, address=None):
        env = dict(os.environ, LC_ALL="C.UTF-8")
        return subprocess.run([PROGRAM, "-s", address or self.path] + list(words), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=LIMIT_S, env=env, check=False)


@contextlib.contextmanager
def killed(child):
    """Not left alive, nor stopped, by a test that fails."""
    try:
        yield
    finally:
        child.kill()


class Servers(unittest.TestCase):
    def outcome(self, done, status, out=None, err=None):
        self.assertEqual(done.returncode, status, done)
        for text, stream in ((out, done.stdout), (err, done.stderr)):
            if text is not None:
                self.assertIn(text.encode(), stream)

    def test_life(self):
        with Machine(*SMALLEST) as machine:
            self.outcome(machine.run("status"), OK, "prelaunch")
            self.outcome(machine.run("cont"), OK, "running")
            self.outcome(machine.run("stop"), OK, "paused")
            self.outcome(machine.run("reset"), OK, "prelaunch")
            if IS_QEMU:
                self.outcome(machine.run("why"), ERROR, "prelaunch")
                self.outcome(machine.run("black-box"), ERROR)
                self.outcome(machine.run("events"), ERROR, err="no journal")
            else:
                self.outcome(machine.run("why"), OK, "paused to prelaunch (client system_reset")
                self.outcome(machine.run("black-box"), OK, "recorded: 0")
                self.outcome(machine.run("events", "--since", "2"), OK, "STOP (client stop")
                self.outcome(machine.run("wait", "--since", "1", "--for", "RESET", "--where",
                                         "data.guest=false", "-t", "5"), OK, "RESET")
                self.outcome(machine.run("exec", "--oob", "query-status"), OK, "prelaunch")
                # What happened before the view was opened is in it.
                view = machine.run("top", "--once")
                self.outcome(view, OK, "prelaunch for 0:")
                for text in (b"RESUME (client cont", b"STOP (client stop", b"RESET guest=false"):
                    self.assertEqual(view.stdout.count(text), 1, view.stdout)
            self.outcome(machine.run("quit"), OK)
            self.assertEqual(machine.process.wait(LIMIT_S), 0)
            self.outcome(machine.run("status"), GONE)

    def test_exec(self):
        with Machine(*SMALLEST, "-name", "demo") as machine:
            self.assertEqual(json.loads(machine.run("exec", "query-name").stdout),
                             {"name": "demo"})
            self.outcome(machine.run("exec", "set-action", "reboot=shutdown", "panic=pause"), OK)
            self.outcome(machine.run("exec", "set-action", "reboot=on"), ERROR,
                         err="does not accept value 'on'")
            self.outcome(machine.run("exec", "human-monitor-command",
                                     "command-line=info status"), OK, "VM status: paused")
            for words in (("reboot=on",), ("nonsense=1",), ("reboot:=5",), ("{}", "x")):
                self.assertNotEqual(machine.run("exec", "set-action", *words).returncode, OK)

    @unittest.skipUnless(IS_QEMU, "commands that QEMU has")
    def test_exec_of_qemu(self):
        with Machine(*SMALLEST) as machine:
            self.outcome(machine.run("exec", "--oob", "query-yank", "--json"), OK, "compat_monitor0")
            # Numbers where text is meant, and the other way round: the schema tells.
            self.outcome(machine.run("exec", "object-add", "qom-type=secret", "id=s5", "data=77"),
                         OK)
            listing = json.loads(machine.run("exec", "qom-list", "path=/objects").stdout)
            self.assertIn("s5", [one["name"] for one in listing])

    def test_wait(self):
        with Machine(*SMALLEST) as machine:
            self.outcome(machine.run("wait", "--exec", "cont", "--for", "RESUME"), OK, "RESUME")
            self.outcome(machine.run("wait", "--for", "RESUME", "-t", "0.2"), TIMEOUT)
            self.outcome(machine.run("wait", "--for", "NONSENSE"), ERROR)
            done = machine.run("--json", "wait", "--exec", "quit", "--for", "SHUTDOWN",
                               "--where", "data.reason=host-qmp-quit", "--where",
                               "data.guest=false")
            self.outcome(done, OK)
            self.assertEqual(json.loads(done.stdout)["event"], "SHUTDOWN")

    def test_pretty_server(self):
        with Machine(*SMALLEST, qmp="-qmp-pretty") as machine:
            self.outcome(machine.run("exec", "set-action", "reboot=reset"), OK)
            self.outcome(machine.run("cont"), OK, "running")

    def test_server_that_is_taken(self):
        with Machine(*SMALLEST) as machine:
            with socket.socket(socket.AF_UNIX) as first:
                first.connect(machine.path)
                self.assertTrue(first.recv(4096))
                if IS_QEMU:
                    self.outcome(machine.run("-t", "0.3", "status"), TIMEOUT, err="another client")
                else:
                    self.outcome(machine.run("status"), OK)
            self.outcome(machine.run("status"), OK)

    def test_follow_to_the_end(self):
        with Machine(*SMALLEST) as machine:
            second = machine.path + "2"
            child = subprocess.Popen([PROGRAM, "-s", machine.path, "--json", "events", "-f"],
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            with child:
                # It follows when it shows an event.
                deadline = time.monotonic() + LIMIT_S
                while not select.select([child.stdout], [], [], 0)[0]:
                    self.assertLess(time.monotonic(), deadline)
                    self.outcome(machine.run("cont", address=second), OK)
                    self.outcome(machine.run("stop", address=second), OK)
                machine.process.terminate()
                out, _ = child.communicate(timeout=LIMIT_S)
                self.assertEqual(child.returncode, GONE)
            self.assertEqual(json.loads(out.splitlines()[-1])["data"],
                             {"guest": False, "reason": "host-signal"})

    @unittest.skipIf(IS_QEMU, "events that a client missed are in a journal")
    def test_follow_catches_up(self):
        """A follower that stood still gets what was left out for it, each event once and in order."""
        pairs = 700
        with Machine(*SMALLEST) as machine, socket.socket(socket.AF_UNIX) as busy:
            child = subprocess.Popen([PROGRAM, "-s", machine.path, "--json", "events", "-f", "--since", "0"],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            with child, killed(child):
                self.outcome(machine.run("cont"), OK)
                first = json.loads(child.stdout.readline())["seq"]
                child.send_signal(signal.SIGSTOP)
                busy.connect(machine.path)
                answers = busy.makefile("rb")
                busy.sendall(b'{"execute": "qmp_capabilities"}'
                             + b'{"execute": "stop"}{"execute": "cont"}' * pairs + b'{"execute": "query-name"}')
                while answers.readline() != b'{"return": {}}\r\n':
                    pass
                for _ in range(4 * pairs + 1):
                    last = answers.readline()
                self.assertEqual(last, b'{"return": {}}\r\n')
                log = json.loads(machine.run("--json", "exec", "godwit-query-sessions").stdout)
                self.assertGreater(max(s["events-dropped"] for s in log), 0)
                child.send_signal(signal.SIGCONT)
                numbers = [first]
                while numbers[-1] < first + 2 * pairs:
                    numbers.append(json.loads(child.stdout.readline())["seq"])
                self.assertEqual(numbers, list(range(first, first + 2 * pairs + 1)))
                machine.process.terminate()
                _, err = child.communicate(timeout=LIMIT_S)
                self.assertEqual(child.returncode, GONE)
                self.assertNotIn(b"gone from", err)

    def test_completion(self):
        if b"libedit" not in subprocess.run([PROGRAM, "--version"], stdout=subprocess.PIPE,
                                            check=True).stdout:
            self.skipTest("SKIPPED: this godwitctl was built without libedit")
        with Machine(*SMALLEST) as machine, \
                Terminal([PROGRAM, "-s", machine.path, "shell"], HOME=machine.folder.name,
                         LC_ALL="C.UTF-8", PATH=os.environ["PATH"]) as terminal:
            terminal.expect("prelaunch> ")
            terminal.type("set-a\treb\tshut\tpan\tpa\t\n")
            terminal.expect("prelaunch> $")
            if IS_QEMU:
                self.union_completion(terminal)
            terminal.type("cont\n")
            terminal.expect("RESUME")
            terminal.expect("\r\nrunning> ")
            terminal.type("exit\n")
            self.assertEqual(terminal.wait(), OK)
            if IS_QEMU:
                self.outcome(machine.run("exec", "qom-list", "path=/objects"), OK, "s1")
            history = os.path.join(machine.folder.name, ".local/state/godwitctl/history")
            with open(history, encoding="utf-8") as lines:
                self.assertIn("set-action\\040reboot=shutdown\\040panic=pause", lines.read())

    @staticmethod
    def union_completion(terminal):
        terminal.type("object-add qom-type=secret id=s1 \t\t")
        terminal.expect("data=")  # the branch of the union
        terminal.type("data=x\n")
        terminal.expect("prelaunch> $")

    def test_top(self):
        with Machine("-machine", "q35,accel=tcg", "-smp", "2", "-name", "demo") as machine:
            done = machine.run("top")
            self.outcome(done, OK, "demo  QEMU" if IS_QEMU else "demo  Godwit")
            self.assertIn("│ prelaunch │ ──▶ inmigrate running finish-migrate",
                          done.stdout.decode())
            self.assertRegex(done.stdout.decode(), r"vCPUs  2\n   0 .*thread \d+  x86_64 socket 0")


if __name__ == "__main__":
    if not SERVER:
        print("SKIPPED: no such server here; godwitctl was not tried on it")
        sys.exit(77)
    unittest.main(verbosity=1)
