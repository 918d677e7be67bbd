#!/usr/bin/env python3
"""Several front ends on one character device: serial ports and the human monitor on a mux."""
import os
import re
import shutil
import socket
import tempfile
import time
import unittest

from godwit import TIME_FACTOR, run
from qtest import Door

COM = (0x3F8, 0x2F8, 0x3E8, 0x2E8)
DATA, FIFO, LINE_STATUS = 0, 2, 5
DATA_READY = 1


class Mux(unittest.TestCase):
    def start(self, *args):
        self.dir = tempfile.mkdtemp(prefix="godwit-mux-")
        self.addCleanup(shutil.rmtree, self.dir)
        path = os.path.join(self.dir, "line")
        self.door = Door("-nodefaults", "-chardev",
                         f"socket,id=c,path={path},server=on,wait=off,mux=on", *args, qmp=True)
        self.addCleanup(self.door.close)
        self.line = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.line.close)
        self.line.settimeout(20 * TIME_FACTOR)
        self.line.connect(path)
        self.seen = b""

    def expect(self, pattern):
        while not (match := re.search(pattern, self.seen)):
            piece = self.line.recv(4096)
            self.assertTrue(piece, self.seen)
            self.seen += piece
        self.seen = self.seen[match.end():]

    def received(self, port):
        """The next byte that a serial port got."""
        end = time.monotonic() + 20 * TIME_FACTOR
        while not self.door.inb(COM[port] + LINE_STATUS) & DATA_READY:
            self.assertLess(time.monotonic(), end)
        return bytes([self.door.inb(COM[port] + DATA)])

    def read(self, port, n):
        return b"".join(self.received(port) for _ in range(n))

    def nothing_for(self, *ports):
        for port in ports:
            self.assertEqual(self.door.inb(COM[port] + LINE_STATUS) & DATA_READY, 0)

    def write(self, port, text):
        for byte in text:
            self.door.outb(COM[port] + DATA, byte)

    def test_turns(self):
        self.start("-serial", "chardev:c", "-serial", "chardev:c", "-mon", "chardev=c,mode=readline")
        self.write(0, b"first\n")
        self.write(1, b"second\n")
        self.expect(rb"first\nsecond\n")
        self.line.sendall(b"2")  # the last device that came has the first turn
        self.assertEqual(self.read(1, 1), b"2")
        self.nothing_for(0)
        self.line.sendall(b"\x01c")
        self.expect(rb"\(qemu\) ")
        self.line.sendall(b"info status\r")
        self.expect(rb"VM status: .*\r\n\(qemu\) ")
        self.nothing_for(0, 1)
        self.line.sendall(b"\x01c1\x01\x01\x01c2")
        self.assertEqual(self.read(0, 2), b"1\x01")
        self.assertEqual(self.read(1, 1), b"2")
        self.write(0, b"both are heard\n")
        self.expect(rb"both are heard\n")
        labels = {c["label"]: c for c in self.door.qmp.command("query-chardev")}
        self.assertEqual((labels["c"]["filename"], labels["c"]["frontend-open"]), ("mux", True))
        self.assertTrue(labels["c-base"]["filename"].startswith("unix:"), labels)

    def test_held(self):
        """What is typed for a port that has no room stays its own."""
        self.start("-serial", "chardev:c", "-mon", "chardev=c,mode=readline")
        self.line.sendall(b"0123456789" + b"\x01cinfo status\r\x01cab")
        self.expect(rb"\(qemu\) ")
        self.expect(rb"VM status")
        self.assertEqual(self.read(0, 12), b"0123456789ab")
        # More than is held waits in the socket, and nothing is lost.
        text = bytes(range(32, 127)) * 40
        self.line.sendall(text)
        self.assertEqual(self.read(0, len(text)), text)

    def test_who_comes_and_goes(self):
        self.start("-serial", "chardev:c", "-serial", "chardev:c", "-serial", "chardev:c",
                   "-mon", "chardev=c,mode=readline")
        code = run("-M", "q35", "-accel", "qtest", "-display", "none", "-nodefaults", "-chardev",
                   "null,id=c,mux=on", *("-serial", "chardev:c") * 4, "-mon",
                   "chardev=c,mode=readline", "-S")
        self.assertEqual(code.returncode, 1)
        self.assertIn("in use", code.stderr)
        for command, text in (("chardev-remove", "busy"), ("chardev-change", "hotswap")):
            more = {"backend": {"type": "null", "data": {}}} if command == "chardev-change" else {}
            error = self.door.qmp.request(command, id="c", **more)["error"]
            self.assertIn(text, error["desc"])
        self.line.sendall(b"3\x01c\x01cx\x01cy\x01cz")
        self.assertEqual(self.read(2, 1), b"3")
        self.assertEqual(self.read(0, 1), b"x")
        self.assertEqual(self.read(1, 1), b"y")
        self.assertEqual(self.read(2, 1), b"z")
        self.line.sendall(b"\x01tk")
        self.assertEqual(self.read(2, 1), b"k")  # so the t has been seen
        self.write(0, b"one\ntwo\n")
        self.expect(rb"\[00:00:0\d\.\d\d\d\] one\n\[\d\d:\d\d:\d\d\.\d\d\d\] two\n")

    def test_alone(self):
        self.start("-serial", "chardev:c")
        self.line.sendall(b"\x01c")
        self.expect(rb"no monitor here")
        self.line.sendall(b"\x01h")
        self.expect(rb"C-a C-a  send C-a")
        self.line.sendall(b"k\x01x")
        self.assertEqual(self.door.process.wait(20 * TIME_FACTOR), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
