"""What a row of the table is, and how it is run against a program with a real guest.

A row is a machine (options, a tiny guest, what that guest does) and steps, one a line:

    > COMMAND {ARGUMENTS} : WIRE    gives a command; WIRE is all that comes up to its reply
    >~ COMMAND {ARGUMENTS} : WIRE   the same for events that race with an empty reply: that is not in WIRE
    < WIRE                          waits for events
    = STATE                         query-status says so; no event has come before
    until STATE                     query-status says so at last, and no event comes
    now STATE WIRE                  the same at once; those events come before the answer or behind it
    ? COMMAND {ARGUMENTS} => VALUE  the command returns exactly that; VALUE may be ... (anything)
    $ REGEX                         the guest prints that
    kill NAME                       sends the process a signal
    type TEXT                       types that at the guest's serial port
    door LINE; LINE...              register accesses by the qtest protocol, all at once
    cut FILE SIZE                   cuts off a file there, the one behind the guest's memory
    poke FILE OFFSET TEXT           puts that there
    spoil FILE MARK OFFSET          flips a bit there, counted from where the file says MARK
    grow SIZE                       gives the file system behind the folder "small" that size
    fifo NAME                       makes a pipe of that name, with a reader that does not read
    drain NAME                      reads it to its end; at least one byte has come
    hang NAME                       the reader goes away
    fail optional|required ADDRESS  lets the host find memory broken there, in the process's address space
    gdb ...                         attach; break at the present instruction, clear; send PACKET; interrupt
    late                            the last event is older, by its time stamp, than the one before it
    quiet SECONDS                   nothing comes for so long
    . STATUS                        the connection ends without another word, so does the process

WIRE is a list of events in order, in a command's step with the reply at its end: R for an empty success,
R=VALUE for another (R... for any), !TEXT for an error of class GenericError. An event stands as its name with its data
behind a colon in the short form of SHORT below, as JSON, or as ... (anything): STOP, SHUTDOWN:guest-reset,
WATCHDOG:pause, GUEST_PANICKED{"action": "run"}, RTC_CHANGE... How many passes a migration makes is a matter
of speed: there may be more of MIGRATION_PASS than stand here, each with the next number.

A line that begins with `godwit|` or `qemu|` is for that program only: where the two differ on purpose. The
row then names the line of docs/compatibility.md that gives the reason.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import godwit
from godwit import Machine, guest
from rsp import Rsp

if "SIGBUS_PRELOAD" in os.environ:  # not with QEMU
    from sigbus import environment as sigbus_environment, send as send_siginfo

OPTIONAL, REQUIRED = signal.SIGRTMIN + 5, signal.SIGRTMIN + 6  # see sigbus-preload.c

IS_GODWIT = "qemu" not in godwit.GODWIT
ACCEL = os.environ.get("ACCEL", "tcg")

CAUSE = ("guest", "reason")


def cause(reason):
    return {"guest": reason.startswith("guest-"), "reason": reason}


def failure(text):
    recipient, action, required, recursive = text.split(",")
    return {"recipient": recipient, "action": action,
            "flags": {"action-required": required == "required",
                      "recursive": recursive == "recursive"}}


def action(text):
    return {"action": text}


SHORT = {"SHUTDOWN": cause, "RESET": cause, "WATCHDOG": action, "GUEST_PANICKED": action,
         "GUEST_CRASHLOADED": action, "MEMORY_FAILURE": failure}
TOKEN = re.compile(r"\s*(![^\n]*|[A-Z_]+|R)(=|:|\.\.\.|(?=\{))?")
ANY = object()


class Skip(Exception):
    """A row cannot be shown here."""


class Row:
    def __init__(self, name, steps, *, args="", kernel="script", does="", start="-S", only=None,
                 differs=None, why_only=None, memory=32, within_a_second=False, files=None,
                 images=None, tmpfs=None, accel=ACCEL):
        self.name, self.args, self.kernel, self.does = name, args.split(), kernel, does
        self.start, self.only, self.differs, self.memory = start, only, differs, memory
        self.why_only, self.within_a_second = why_only, within_a_second
        self.files = files or {}  # name in DIR: size
        self.images = images or {}  # the same for qcow2
        self.accel = accel  # of a row about one accelerator
        self.tmpfs = tmpfs  # the size of a file system of its own at DIR/small
        self.steps = [line.strip() for line in steps.strip().splitlines()
                      if line.strip() and not line.strip().startswith("#")]
        two_sided = any(re.match(r"(godwit|qemu)\|", line) for line in self.steps)
        if two_sided != bool(differs):
            raise ValueError(f"{name}: a row that differs names its reason, and only such a row")
        if bool(only) != bool(why_only):
            raise ValueError(f"{name}: a row for one program says why")


def wire_parse(text):
    """[(name, data)], the reply's name being R or !, its data the value or the text."""
    result, decoder = [], json.JSONDecoder()
    while text.strip():
        match = TOKEN.match(text)
        if not match:
            raise ValueError(f"cannot read {text!r}")
        name, mark = match.groups()
        text = text[match.end():]
        if name.startswith("!"):
            result.append(("!", name[1:].strip()))
        elif mark == "...":
            result.append((name, ANY))
        elif mark == ":":
            word = re.match(r"\S+", text).group()
            text = text[len(word):]
            result.append((name, SHORT[name](word)))
        elif mark is not None:
            text = text.lstrip()
            value, end = decoder.raw_decode(text)
            text = text[end:]
            result.append((name, value))
        else:
            result.append((name, {} if name == "R" else None))
    return result


def command_parse(text):
    match = re.match(r"(\S+)\s*", text)
    name, text = match.group(1), text[match.end():]
    arguments = None
    if text.startswith("{"):
        arguments, end = json.JSONDecoder().raw_decode(text)
        text = text[end:]
    return name, arguments, text.strip()


class Run:
    """One row being run."""

    def __init__(self, row, coverage):
        self.row, self.coverage = row, coverage
        self.resets = self.passes = 0
        self.times = []  # of the events, by their stamps, in microseconds
        self.gdb = self.small = None
        self.fifos = {}
        uses = {line.split("|")[-1].split()[0] for line in row.steps}
        args = ["-nodefaults", "-machine", "q35", "-accel", row.accel, "-m", str(row.memory)]
        if row.kernel:
            args += ["-kernel", guest(row.kernel)]
            if row.does:
                args += ["-append", row.does]
        if "door" in uses:
            args += ["-qtest", "unix:DIR/door,server=on,wait=off", "-qtest-log", "/dev/null"]
        if "gdb" in uses:
            args += ["-gdb", "unix:DIR/gdb,server=on,wait=off"]
        serial = "-serial" not in row.args and "-machine none" not in " ".join(row.args)
        self.m = Machine(*args, *row.start.split(), *row.args, serial=serial,
                         env=sigbus_environment() if "fail" in uses else None, prepare=self.prepare)

    def prepare(self, folder):
        if self.row.tmpfs:
            self.small = os.path.join(folder, "small")
            os.mkdir(self.small)
            mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.row.tmpfs}", "tmpfs",
                                    self.small], capture_output=True, text=True)
            if mount.returncode:
                raise Skip(f"no file system of a row's own: {mount.stderr.strip()}")
        for name, size in self.row.files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.truncate(size)
        if self.row.images and not shutil.which("qemu-img"):
            raise Skip("there is no qemu-img")
        for name, size in self.row.images.items():
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", os.path.join(folder, name), str(size)],
                           check=True)

    def go(self):
        try:
            with self.m:
                self.do_steps()
        finally:
            if self.small:
                subprocess.run(["umount", "-l", self.small], check=False)
                shutil.rmtree(self.m.dir, ignore_errors=True)

    def do_steps(self):
        for self.line in self.row.steps:
            side = re.match(r"(godwit|qemu)\|\s*", self.line)
            if side and (side.group(1) == "godwit") != IS_GODWIT:
                continue
            self.step(self.line[side.end():] if side else self.line)
        self.last_look()

    def fail(self, text):
        raise AssertionError(f"at '{self.line}': {text}\n"
                             f"guest: {self.m.output[-300:].decode(errors='replace')!r}\n"
                             f"log: {self.m.errors[-600:].decode(errors='replace')!r}")

    # ---- the wire

    def message(self, timeout=30):
        """The next message; None at the connection's end."""
        try:
            message = self.m.qmp.read(timeout)
        except (EOFError, ConnectionResetError):
            return None
        except TimeoutError:
            self.fail("nothing comes")
        if "event" in message:
            self.check_shape(message)
        return message

    def check_shape(self, event):
        stamp = event.get("timestamp", {})
        if set(stamp) != {"seconds", "microseconds"} or not 0 <= stamp["microseconds"] < 1000000:
            self.fail(f"time stamp of {event}")
        if abs(stamp["seconds"] - time.time()) > 600:
            self.fail(f"time stamp of {event}: not the host's time")
        if set(event) - {"event", "data", "timestamp"}:
            self.fail(f"members of {event}")
        self.times.append(stamp["seconds"] * 1000000 + stamp["microseconds"])
        if event.get("data", True) == {}:
            self.fail(f"data of {event}: to be left out when there are none")

    def is_firmware_reset(self, message, expected):
        """PC firmware answers a reset with further ones of its own, where there is firmware."""
        return (not IS_GODWIT and self.resets and message.get("event") == "RESET"
                and message["data"] == cause("guest-reset") and expected[0] != "RESET")

    def is_another_pass(self, message, expected):
        """A pass more of a migration than is waited for."""
        if message.get("data") == {"status": "setup"}:
            self.passes = 0
        if message.get("event") != "MIGRATION_PASS":
            return False
        self.passes += 1
        if message["data"] != {"pass": self.passes}:
            self.fail(f"{message}: not pass {self.passes}")
        return expected[0] != "MIGRATION_PASS"

    def expect(self, expected, command=None, arguments=None):
        while True:
            message = self.message()
            if message is None:
                self.fail(f"{expected}: the connection ended")
            if not self.is_firmware_reset(message, expected) and not self.is_another_pass(message, expected):
                break
        name, value = expected
        if name == "R":
            if "return" not in message or value not in (ANY, message["return"]):
                self.fail(f"{expected}: got {message}")
            self.coverage.command(command, arguments, message["return"])
        elif name == "!":
            if message.get("error") != {"class": "GenericError", "desc": value}:
                self.fail(f"{expected}: got {message}")
        elif message.get("event") != name or value not in (ANY, message.get("data")):
            self.fail(f"{expected}: got {message}")
        else:
            self.resets += name == "RESET"
            self.coverage.event(name, message.get("data"))

    def send(self, name, arguments):
        message = {"execute": name, **({"arguments": arguments} if arguments is not None else {})}
        text = json.dumps(message).replace("DIR/", self.m.dir + "/")
        self.m.qmp.sock.sendall(text.encode() + b"\n")

    def query(self, name, arguments=None):
        self.send(name, arguments)
        while True:
            message = self.message()
            if message is None or not self.is_firmware_reset(message, ("R", None)):
                break
        if not message or "return" not in message:
            self.fail(f"{name}: got {message}")
        self.coverage.command(name, arguments, message["return"])
        return message["return"]

    # ---- steps

    def step(self, line):
        word, _, rest = line.partition(" ")
        getattr(self, {">": "do_command", ">~": "do_race", "<": "do_events", "=": "do_state", "?": "do_query",
                       "$": "do_print", ".": "do_end"}.get(word, "do_" + word))(rest)

    def do_command(self, text):
        name, arguments, text = command_parse(text)
        self.send(name, arguments)
        for token in wire_parse(text.lstrip(":")):
            self.expect(token, name, arguments)

    def do_race(self, text):
        name, arguments, text = command_parse(text)
        self.send(name, arguments)
        expected, answered = wire_parse(text.lstrip(":")), False
        while expected or not answered:
            message = self.message() or {}
            if message.get("return") == {} and not answered:
                answered = True
                self.coverage.command(name, arguments, {})
            elif (expected and message.get("event") == expected[0][0]
                  and expected[0][1] in (ANY, message.get("data"))):
                self.is_another_pass(message, expected.pop(0))
                self.coverage.event(message["event"], message.get("data"))
            elif not self.is_another_pass(message, (None, None)):
                self.fail(f"got {message}")

    def do_events(self, text):
        for token in wire_parse(text):
            self.expect(token)

    def do_state(self, state):
        expected = {"status": state, "running": state == "running", "singlestep": False}
        status = self.query("query-status")
        if status != expected:
            self.fail(f"status is {status}")

    def do_until(self, state):
        end = time.monotonic() + 30 * godwit.TIME_FACTOR
        while self.query("query-status")["status"] != state and time.monotonic() < end:
            time.sleep(0.01)
        self.do_state(state)

    def do_now(self, text):
        state, _, wire = text.partition(" ")
        expected = wire_parse(wire)
        self.send("query-status", None)
        while "event" in (message := self.message() or {}):
            if not expected or (message["event"], message.get("data")) != expected.pop(0):
                self.fail(f"got {message}")
        if message.get("return", {}).get("status") != state:
            self.fail(f"status is {message}")
        for token in expected:
            self.expect(token)

    def do_query(self, text):
        name, arguments, text = command_parse(text)
        value = self.query(name, arguments)
        text = text.removeprefix("=>").strip()
        if text != "..." and value != json.loads(text):
            self.fail(f"returned {value}")

    def do_print(self, regex):
        try:
            self.m.expect(regex)
        except AssertionError as e:
            self.fail(str(e))

    def do_kill(self, name):
        self.m.process.send_signal(getattr(signal, "SIG" + name))

    def do_type(self, text):
        self.m.send(text.replace("\\n", "\n"))

    def do_cut(self, text):
        name, size = text.split()
        os.truncate(os.path.join(self.m.dir, name), int(size, 0))

    def do_poke(self, text):
        name, offset, data = text.split()
        with open(os.path.join(self.m.dir, name), "r+b") as file:
            file.seek(int(offset))
            file.write(data.encode())

    def do_spoil(self, text):
        name, mark, offset = text.split()
        with open(os.path.join(self.m.dir, name), "r+b") as file:
            at = file.read().index(mark.encode()) + int(offset)
            file.seek(at)
            value = file.read(1)[0]
            file.seek(at)
            file.write(bytes([value ^ 0x10]))

    def do_fifo(self, name):
        os.mkfifo(os.path.join(self.m.dir, name))
        self.fifos[name] = os.open(os.path.join(self.m.dir, name), os.O_RDONLY | os.O_NONBLOCK)

    def do_drain(self, name):
        fd, got = self.fifos.pop(name), 0
        os.set_blocking(fd, True)
        while data := os.read(fd, 1 << 16):
            got += len(data)
        os.close(fd)
        if not got:
            self.fail("nothing came")

    def do_hang(self, name):
        os.close(self.fifos.pop(name))

    def do_grow(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", self.small], check=True)

    def do_fail(self, text):
        kind, address = text.split()
        pid = self.m.process.pid
        if kind == "optional":
            send_siginfo(pid, pid, OPTIONAL, int(address, 0))
        else:
            thread = self.query("query-cpus-fast")[0]["thread-id"]
            send_siginfo(pid, thread, REQUIRED, int(address, 0))

    def do_door(self, text):
        lines = [line.strip() for line in text.split(";")]
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(os.path.join(self.m.dir, "door"))
            door.settimeout(30 * godwit.TIME_FACTOR)
            door.sendall("".join(line + "\n" for line in lines).encode())
            answer = b""
            while answer.count(b"\n") < len(lines):
                part = door.recv(4096)
                if not part:
                    break
                answer += part
        if answer != b"OK\n" * len(lines):
            self.fail(f"the door says {answer}")

    def do_gdb(self, text):
        word, _, rest = text.partition(" ")
        if word == "attach":
            self.gdb = Rsp(os.path.join(self.m.dir, "gdb"))
            if not IS_GODWIT:
                self.gdb.answer()  # QEMU's stub tells of stops that nobody waits for
        elif word in ("break", "clear"):
            if word == "break":
                self.breakpoint = self.gdb.register("rip")
            self.gdb.send(f"{'Z' if word == 'break' else 'z'}0,{self.breakpoint:x},1")
            while self.gdb.answer() != "OK":
                pass
        elif word == "interrupt":
            self.gdb.interrupt()
        elif word == "send":
            self.gdb.send(rest)
        elif word == "answer":
            self.gdb.answer()
        else:
            raise ValueError(text)

    def do_late(self, _):
        if not self.times[-1] < self.times[-2]:
            self.fail(f"time stamps {self.times[-2:]}")

    def do_quiet(self, seconds):
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            time.sleep(min(0.1, float(seconds)))
            self.query("query-status")  # fails when an event comes before its reply

    def do_log(self, regex):
        end = time.monotonic() + 30 * godwit.TIME_FACTOR
        while not re.search(regex.encode(), self.m.errors):
            if time.monotonic() > end:
                self.fail("not in the log")
            time.sleep(0.01)

    def do_end(self, status):
        message = self.message()
        while message and self.is_firmware_reset(message, (".", None)):
            message = self.message()
        if message is not None:
            self.fail(f"got {message}")
        ended = self.m.wait()
        if ended != int(status):
            self.fail(f"exit status {ended}")

    def last_look(self):
        """Nothing has come that no step asked for."""
        if not self.row.steps[-1].split("|")[-1].strip().startswith("."):
            self.line = "end of the row"
            self.query("query-status")
