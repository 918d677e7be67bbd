"""The guest's console on a terminal: Ctrl-A keys, the terminal's settings, slow readers."""
import os
import pty
import re
import select
import signal
import subprocess
import termios
import threading
import time
import unittest

from godwit import GODWIT, TIME_FACTOR, Machine, guest


class Terminal:
    """`godwit -nographic` with a pseudo-terminal as its standard input and output."""

    def __init__(self, *args, environment=None):
        self.fd, self.tty = pty.openpty()
        self.before = termios.tcgetattr(self.tty)
        self.output = b""
        self.process = subprocess.Popen(
            [GODWIT, "-M", "q35", "-accel", "tcg", "-m", "64", "-nographic", *args],
            stdin=self.tty, stdout=self.tty, stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=lambda: __import__("fcntl").ioctl(0, termios.TIOCSCTTY, 0))

    def expect(self, pattern, timeout=20):
        end = time.monotonic() + timeout * TIME_FACTOR
        while not re.search(pattern, self.output):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise TimeoutError(f"no {pattern!r} in {self.output[-500:]!r}")
            self.output += os.read(self.fd, 65536)

    def type(self, data):
        os.write(self.fd, data)

    def wait(self):
        """Exit status; the output is read on meanwhile so that nothing waits for us."""
        done = threading.Event()

        def drain():
            while not done.is_set():
                if select.select([self.fd], [], [], 0.05)[0]:
                    self.output += os.read(self.fd, 65536)
        thread = threading.Thread(target=drain)
        thread.start()
        try:
            return self.process.wait(20 * TIME_FACTOR)
        finally:
            done.set()
            thread.join()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        os.close(self.fd)
        os.close(self.tty)


class Console(unittest.TestCase):
    def start(self, *args):
        terminal = Terminal(*args)
        self.addCleanup(terminal.close)
        return terminal

    def test_keys(self):
        t = self.start("-kernel", guest("counter"))
        t.expect(rb"\n5 \d+")
        raw = termios.tcgetattr(t.tty)
        self.assertFalse(raw[3] & (termios.ICANON | termios.ECHO | termios.ISIG))
        t.type(b"\x03")  # to the guest, no signal
        t.type(b"\x01h")
        t.expect(rb"C-a x +\S")
        t.type(b"\x01\x01abc")
        self.assertIsNone(t.process.poll())
        t.type(b"typed ahead, more than any FIFO holds " * 100)  # the guest never reads
        t.type(b"\x01x")
        self.assertEqual(t.wait(), 0)
        self.assertEqual(termios.tcgetattr(t.tty), t.before)

    def test_restored_after_signals(self):
        for number, status in ((signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGABRT, -6)):
            with self.subTest(signal=number):
                t = self.start("-kernel", guest("counter"))
                t.expect(rb"\n2 \d+")
                self.assertNotEqual(termios.tcgetattr(t.tty), t.before)
                t.process.send_signal(number)
                self.assertEqual(t.wait(), status)
                self.assertEqual(termios.tcgetattr(t.tty), t.before)

    def test_restored_after_an_error(self):
        t = self.start("-kernel", "/nonexistent")
        self.assertEqual(t.wait(), 1)
        self.assertEqual(termios.tcgetattr(t.tty), t.before)

    def test_late_reader(self):
        """What a reader of a pseudo-terminal leaves lying is there when it comes back."""
        with Machine("-M", "q35", "-accel", "tcg", "-m", "64", "-kernel", guest("counter"),
                     "-serial", "pty", serial=False) as m:
            name = [c["filename"] for c in m.qmp.command("query-chardev")
                    if c["filename"].startswith("pty:")][0][4:]
            fd = os.open(name, os.O_RDWR | os.O_NOCTTY)
            self.addCleanup(os.close, fd)
            time.sleep(1.5 * TIME_FACTOR)  # it prints all the while, nobody reads
            self.assertEqual(m.qmp.command("query-status")["status"], "running")
            text = b""
            while text.count(b"\n") < 200:
                text += os.read(fd, 4096)
            numbers = [int(line.split()[0]) for line in text.split(b"\n")[1:-1] if line.split()]
            self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))


if __name__ == "__main__":
    unittest.main()
