"""A program on a pseudo-terminal: type, wait for what it shows, look at the terminal's modes."""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

LIMIT_S = 20 * float(os.environ.get("TEST_TIME_FACTOR", "1"))
ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>78])")


class Terminal:
    def __init__(self, command, rows=24, columns=80, **env):
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.modes = termios.tcgetattr(self.slave)
        self.seen = b""     # everything the program wrote
        self.position = 0   # up to where expect() has looked
        self.process = subprocess.Popen(
            command, stdin=self.slave, stdout=self.slave, stderr=self.slave,
            start_new_session=True, env=dict(env, TERM="xterm", LSAN_OPTIONS=os.environ.get("LSAN_OPTIONS", "")),
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def wait_for_signals(self):
        """Until Ctrl-C is a signal again: a command is carried out. To the line editor it is a character."""
        deadline = time.monotonic() + LIMIT_S
        while not termios.tcgetattr(self.slave)[3] & termios.ISIG and time.monotonic() < deadline:
            time.sleep(0.01)

    def read(self, seconds):
        """Reads what comes within so many seconds; False when nothing did."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        self.seen += os.read(self.master, 65536)
        return True

    def expect(self, pattern):
        """Waits until the program wrote something that matches, escapes left out; gives the match."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            text = ESCAPES.sub(b"", self.seen).decode("utf-8", "replace")
            found = re.compile(pattern).search(text, self.position)
            if found:
                self.position = found.end()
                return found
            if time.monotonic() > deadline or (self.process.poll() is not None and
                                               not self.read(0)):
                raise AssertionError("no %r in %r" % (pattern, text[self.position:]))
            self.read(0.05)

    def wait(self):
        """Waits for the end; gives the exit status."""
        deadline = time.monotonic() + LIMIT_S
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError("it does not end: %r" % self.seen[-500:])
            self.read(0.02)
        while self.read(0):
            pass
        return self.process.returncode

    def modes_restored(self):
        return termios.tcgetattr(self.slave) == self.modes

    def screen(self):
        """The last picture that was drawn from the top-left corner, as lines."""
        picture = self.seen.rsplit(b"\x1b[H", 1)[-1].split(b"\x1b[J")[0]
        return ESCAPES.sub(b"", picture).decode("utf-8").replace("\r", "").split("\n")
