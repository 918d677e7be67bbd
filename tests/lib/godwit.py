"""Runs a godwit process for a test: its serial port, its QMP socket, its end.

The binary is $GODWIT, guests are in $GUESTS. Only the standard library is used.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

GODWIT = os.environ.get("GODWIT", "build/godwit")
GUESTS = os.environ.get("GUESTS", "build/guests")
TIME_FACTOR = float(os.environ.get("TEST_TIME_FACTOR", "1"))


def guest(name):
    return os.path.join(GUESTS, "guest-" + name)


def run(*args, timeout=20, **kwargs):
    """A run that ends by itself: the completed process, output as text."""
    return subprocess.run([GODWIT, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout * TIME_FACTOR, **kwargs)


def hardware_virtualisation():
    """Whether the host's processor shows VMX or SVM. KVM without either emulates much of a guest."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
        return re.search(r"^flags\s*:.* (vmx|svm)( |$)", info.read(), re.MULTILINE) is not None


class Qmp:
    """One QMP session. Events are kept in order until somebody waits for them."""

    def __init__(self, path, timeout=20, enable=(), ended=lambda: False):
        """ended(): whether there is nobody any more to wait for."""
        self.sock = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + timeout * TIME_FACTOR
        while True:
            try:
                self.sock.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if ended() or time.monotonic() > end:
                    self.sock.close()
                    raise
                time.sleep(0.01)
        self.file = self.sock.makefile("rb")
        self.events = []
        self.greeting = self.read(timeout)
        self.command("qmp_capabilities", **({"enable": list(enable)} if enable else {}))

    def read(self, timeout=20):
        self.sock.settimeout(timeout * TIME_FACTOR)
        line = self.file.readline()
        if not line:
            raise EOFError("QMP session closed")
        return json.loads(line)

    def request(self, execute, timeout=20, **arguments):
        """The whole answer, be it a return or an error."""
        message = {"execute": execute}
        if arguments:
            message["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.sock.sendall(json.dumps(message).encode() + b"\n")
        while True:
            answer = self.read(timeout)
            if "event" not in answer:
                return answer
            self.events.append(answer)

    def command(self, execute, timeout=20, **arguments):
        answer = self.request(execute, timeout, **arguments)
        if "return" not in answer:
            raise RuntimeError(f"{execute}: {answer}")
        return answer["return"]

    def event(self, name, timeout=20):
        """The next event of that name; those before it are dropped."""
        end = time.monotonic() + timeout * TIME_FACTOR
        while True:
            while self.events:
                event = self.events.pop(0)
                if event["event"] == name:
                    return event
            left = (end - time.monotonic()) / TIME_FACTOR
            if left <= 0:
                raise TimeoutError(f"no event {name}")
            answer = self.read(left)
            if "event" in answer:
                self.events.append(answer)

    def close(self):
        self.file.close()
        self.sock.close()


class Machine:
    """A running godwit: `-serial stdio` on pipes, a QMP socket in a directory of its own, which stands for
    DIR in the arguments. env is added to the environment; prepare(DIR) comes before the start."""

    def __init__(self, *args, serial=True, defaults=("-display", "none"), connect=True, env=None,
                 prepare=None):
        self.dir = tempfile.mkdtemp(prefix="godwit-test-")
        self.socket = os.path.join(self.dir, "qmp")
        accel = os.environ.get("GODWIT_ACCEL")  # a suite's choice for machines that make none
        if accel and "-accel" not in args and not any("accel=" in arg for arg in args):
            args = ("-accel", accel, *args)
        argv = [GODWIT, *defaults, "-qmp", f"unix:{self.socket},server=on,wait=off"]
        if serial:
            argv += ["-serial", "stdio"]
        self.argv = argv + [arg.replace("DIR/", self.dir + "/") for arg in args]
        if prepare:
            prepare(self.dir)
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env={**os.environ, **(env or {})})
        self.output = b""
        self.errors = b""
        self.at = 0  # how far expect() has read
        self.condition = threading.Condition()
        self.threads = [threading.Thread(target=self._drain, args=(self.process.stdout, "output")),
                        threading.Thread(target=self._drain, args=(self.process.stderr, "errors"))]
        for thread in self.threads:
            thread.daemon = True
            thread.start()
        self.qmp = None
        if connect:
            self._connect()

    def _connect(self):
        """A guest that soon ends its machine may have done so before anybody could connect: no QMP then."""
        try:
            self.qmp = Qmp(self.socket, ended=lambda: self.process.poll() is not None)
        except (EOFError, OSError, RuntimeError) as error:
            try:
                status = self.process.wait(5)
            except subprocess.TimeoutExpired:
                status = None
            if status is None or status < 0 or status == 1:  # 1: it could not start
                self.close()
                error.add_note(f"the process's status: {status}, its messages: "
                               f"{self.errors[-2000:].decode(errors='replace')}")
                raise

    def _drain(self, pipe, name):
        while True:
            data = os.read(pipe.fileno(), 65536)
            with self.condition:
                setattr(self, name, getattr(self, name) + data)
                if not data:
                    setattr(self, name + "_ended", True)
                self.condition.notify_all()
            if not data:
                return

    def expect(self, pattern, timeout=30):
        """Waits until the guest's output matches (after what earlier calls matched)."""
        regex = re.compile(pattern if isinstance(pattern, bytes) else pattern.encode())
        end = time.monotonic() + timeout * TIME_FACTOR
        with self.condition:
            while True:
                match = regex.search(self.output, self.at)
                if match:
                    self.at = match.end()
                    return match
                left = end - time.monotonic()
                if left <= 0 or getattr(self, "output_ended", False):
                    tail = self.output[-2000:].decode(errors="replace")
                    raise AssertionError(f"no {pattern!r} in the guest's output:\n{tail}\n"
                                         f"stderr: {self.errors.decode(errors='replace')}")
                self.condition.wait(left)

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def wait(self, timeout=30):
        """The exit status."""
        status = self.process.wait(timeout * TIME_FACTOR)
        for thread in self.threads:
            thread.join(5)
        return status

    def close(self):
        if self.qmp:
            self.qmp.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5 * TIME_FACTOR)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for thread in self.threads:
            thread.join(5)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
