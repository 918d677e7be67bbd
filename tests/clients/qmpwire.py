"""QMP at the level of bytes, for tests of the protocol itself: nothing is hidden or repaired."""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

LIMIT_S = 30 * float(os.environ.get("TEST_TIME_FACTOR", "1"))


def take_program(*tools):
    """The program to test, taken from the command line: Godwit, or QEMU as the oracle. Where it or
    one of the tools is missing, the test is skipped."""
    program = sys.argv.pop(1)
    missing = [name for name in (program, *tools) if not shutil.which(name)]
    if missing:
        print(f"{', '.join(missing)} not there: skipped")
        sys.exit(77)
    return program


def is_godwit(program):
    return "qemu" not in os.path.basename(program)


def connect(path):
    """A socket connected to a server that may still be starting."""
    sock = socket.socket(socket.AF_UNIX)
    end = time.monotonic() + LIMIT_S
    while True:
        try:
            sock.connect(path)
            break
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
    sock.settimeout(LIMIT_S)
    return sock


class Wire:
    """One connection. Lines are kept as they came; nothing is sent unasked."""

    def __init__(self, path, negotiate=True):
        self.sock = connect(path)
        self.buffer = b""
        self.greeting = self.line()
        if negotiate:
            self.ask("qmp_capabilities")

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def raw_line(self):
        """The next line with its end; b"" when the connection is closed."""
        while b"\n" not in self.buffer:
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                return b""
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line + b"\n"

    def line(self):
        """The next message; None when the connection is closed."""
        raw = self.raw_line()
        return json.loads(raw) if raw else None

    def until_reply(self):
        """Names of the events before the next reply, and the reply."""
        events = []
        while True:
            message = self.line()
            if message is None:
                raise EOFError(f"connection closed after {events}")
            if "event" not in message:
                return events, message
            events.append(message["event"])

    def reply(self):
        return self.until_reply()[1]

    def request(self, command, arguments=None, **more):
        """Sends one command; events before its reply, and the reply."""
        message = {"execute": command, **more}
        if arguments is not None:
            message["arguments"] = arguments
        self.send(json.dumps(message) + "\n")
        return self.until_reply()

    def ask(self, command, arguments=None, **more):
        return self.request(command, arguments, **more)[1]

    def value(self, command, arguments=None):
        reply = self.ask(command, arguments)
        if "return" not in reply:
            raise AssertionError(f"{command}: {reply}")
        return reply["return"]

    def quiet(self, seconds=0.2):
        """True when nothing arrives for that long."""
        if self.buffer:
            return False
        self.sock.settimeout(seconds)
        try:
            self.buffer = self.sock.recv(1 << 16)
            return not self.buffer
        except socket.timeout:
            return True
        finally:
            self.sock.settimeout(LIMIT_S)

    def close(self):
        self.sock.close()


class Emulator:
    """A process with any number of QMP sockets in a directory of its own."""

    def __init__(self, program, *args, sockets=1, options="", machine="none"):
        self.dir = tempfile.mkdtemp(prefix="qmp-test-")
        self.paths = [os.path.join(self.dir, f"qmp{i}") for i in range(sockets)]
        argv = [program, "-nodefaults", "-display", "none", "-machine", machine]
        for path in self.paths:
            argv += ["-qmp", f"unix:{path},server=on,wait=off{options}"]
        self.errors_path = os.path.join(self.dir, "stderr")
        with open(self.errors_path, "wb") as errors:
            self.process = subprocess.Popen(argv + list(args), stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=errors)
        self.wires = []

    def wire(self, n=0, negotiate=True):
        wire = Wire(self.paths[n], negotiate)
        self.wires.append(wire)
        return wire

    def errors(self):
        with open(self.errors_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def resident_bytes(self):
        """0 when the program carries a sanitizer's shadow of its address space."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            size, resident = [int(n) * os.sysconf("SC_PAGESIZE") for n in file.read().split()[:2]]
        return resident if size < 1 << 40 else 0

    def wait(self):
        return self.process.wait(LIMIT_S)

    def close(self):
        for wire in self.wires:
            wire.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
