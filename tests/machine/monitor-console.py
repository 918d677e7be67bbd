"""The human monitor behind Ctrl-A c and with -monitor; the terminal's settings after a crash, a failed
start and the guest's own end."""
import fcntl
import os
import pty
import re
import select
import signal
import socket
import subprocess
import termios
import time
import unittest

from godwit import GODWIT, TIME_FACTOR, Machine, guest

CTRL_A = "\x01"


class Terminal:
    def __init__(self, *args):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen([GODWIT, *args], stdin=self.slave, stdout=self.slave,
                                        stderr=self.slave, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.output = ""

    def expect(self, pattern, timeout=20):
        end = time.monotonic() + timeout * TIME_FACTOR
        while True:
            match = re.search(pattern, self.output)
            if match:
                self.output = self.output[match.end():]
                return match
            if not select.select([self.master], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"no {pattern!r} in {self.output!r}")
            self.output += os.read(self.master, 65536).decode(errors="replace")

    def send(self, text):
        os.write(self.master, text.encode())

    def wait(self):
        """Exit status; the terminal must be as it was."""
        status = self.process.wait(20 * TIME_FACTOR)
        after = termios.tcgetattr(self.slave)
        assert after == self.before, (self.before, after)
        return status

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


class Nographic(unittest.TestCase):
    def run_guest(self, how="hang"):
        return Terminal("-nographic", "-kernel", guest("reset"), "-append", how)

    def test_monitor(self):
        with self.run_guest() as t:
            t.expect("boot hang")
            t.send(CTRL_A + "c")
            t.expect(r"\(qemu\) ")
            t.send("info stx\x7fatus\r")
            t.expect("VM status: running")
            t.expect(r"\(qemu\) ")
            t.send("stop\rinfo status\r")
            t.expect("VM status: paused")
            t.send("system_reset\rcont\r")
            t.expect("boot hang")
            t.send(CTRL_A + "c" + CTRL_A + "c")
            t.expect(r"\(qemu\) ")
            t.send("quit\r")
            self.assertEqual(t.wait(), 0)

    def test_choice_of_a_vcpu(self):
        with Terminal("-nographic", "-kernel", guest("reset"), "-append", "hang", "-smp", "2", "-monitor",
                      "stdio", "-serial", "none", "-S") as t:
            t.expect(r"\(qemu\) ")
            for line, answer in (("info cpus", r"\* CPU #0: thread_id=\d+\s+  CPU #1: thread_id=\d+\s"),
                                 ("cpu 1", r"\(qemu\) "),
                                 ("info cpus", r"  CPU #0: thread_id=\d+\s+\* CPU #1: thread_id=\d+\s"),
                                 ("info registers", r"CPU#1\s"),
                                 ("cpu 2", "invalid CPU index"),
                                 ("cpu", "unexpected end of expression\\s+Try \"help cpu\""),
                                 ("cpu 0 1", "cpu: extraneous characters at the end of line"),
                                 ("cpu -1", "'cpu' has failed: integer is for 32-bit values"),
                                 ("info cpus", r"\* CPU #1"),
                                 ("info cpus x", "cpus: extraneous characters")):
                t.send(line + "\r")
                t.expect(answer)
            t.send("quit\r")
            self.assertEqual(t.wait(), 0)

    def test_crash(self):
        with self.run_guest() as t:
            t.expect("boot hang")
            t.process.send_signal(signal.SIGABRT)
            self.assertEqual(t.wait(), -signal.SIGABRT)

    def test_no_monitor(self):
        """-monitor none: nothing but COM1 is on the terminal."""
        for where in "none", "null":
            with Terminal("-nographic", "-kernel", guest("hello"), "-monitor", where) as t:
                self.assertEqual(t.wait(), 0)
                before = t.expect(r"(?s)^(.*)hello by multiboot").group(1)
                self.assertNotIn("monitor", before + t.output)

    def test_guest_ends(self):
        with Terminal("-nographic", "-kernel", guest("hello")) as t:
            self.assertEqual(t.wait(), 0)
            t.expect("hello by multiboot")

    def test_failed_start(self):
        with Terminal("-nographic", "-device", "isa-serial,index=9") as t:
            self.assertEqual(t.wait(), 1)
            t.expect("index")


class MonitorOption(unittest.TestCase):
    def test_mux_chardev(self):
        with Terminal("-display", "none", "-chardev", "stdio,mux=on,id=c", "-serial", "chardev:c",
                      "-mon", "chardev=c,mode=readline", "-kernel", guest("reset"),
                      "-append", "hang") as t:
            t.expect("boot hang")
            t.send(CTRL_A + "c")
            t.expect(r"\(qemu\) ")
            t.send("quit\r")
            self.assertEqual(t.wait(), 0)

    def test_mux_socket(self):
        """A device and the monitor take turns on a socket as they do on a terminal."""
        with Machine("-S", "-chardev", "socket,path=DIR/mux,server=on,wait=off,mux=on,id=c", "-serial",
                     "chardev:c", "-mon", "chardev=c,mode=readline", "-kernel", guest("reset"),
                     "-append", "hang", serial=False) as m, socket.socket(socket.AF_UNIX) as line:
            line.settimeout(20 * TIME_FACTOR)
            line.connect(os.path.join(m.dir, "mux"))

            seen = bytearray()

            def expect(text):
                """It came, or comes; and is looked for only once."""
                while text not in seen:
                    piece = line.recv(4096)
                    self.assertTrue(piece, seen)
                    seen.extend(piece)
                at = seen.index(text)
                del seen[at:at + len(text)]

            line.sendall(b"\x01h")
            expect(b"C-a C-a  send C-a")
            line.sendall(b"\x01c")
            expect(b"(qemu) ")
            line.sendall(b"cont\r")
            expect(b"(qemu) ")
            line.sendall(b"\x01c")
            expect(b"boot hang")
            line.sendall(b"\x01")
            line.sendall(b"c")
            expect(b"(qemu) ")
            line.sendall(b"info status\r")
            expect(b"VM status: running")
            line.sendall(b"\x01x")
            self.assertEqual(m.wait(), 0)

    def test_monitor_stdio(self):
        with Machine("-S", "-monitor", "stdio", serial=False) as m:
            m.expect(r"monitor - type 'help'")
            m.send("info status\n")
            m.expect(r"VM status: paused \(prelaunch\)")
            m.send("quit\n")
            self.assertEqual(m.wait(), 0)


if __name__ == "__main__":
    unittest.main()
