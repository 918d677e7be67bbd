#!/usr/bin/env python3
"""Sets of file descriptors: add-fd, -add-fd, and the paths /dev/fdset/N.

Usage: test-fdsets.py PROGRAM [unittest arguments]

PROGRAM is godwit, or QEMU as the oracle.
"""
import array
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpwire import Emulator, take_program  # noqa: E402

PROGRAM = take_program()


class Fdsets(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="fdset-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.path = os.path.join(self.dir, "file")
        with open(self.path, "wb") as file:
            file.write(b"before\n")

    def start(self):
        self.emulator = Emulator(PROGRAM)
        self.addCleanup(self.emulator.close)
        self.wire = self.emulator.wire()

    def open(self, flags):
        fd = os.open(self.path, flags)
        self.addCleanup(os.close, fd)
        return fd

    def add(self, flags, **arguments):
        fd = self.open(flags)
        text = json.dumps({"execute": "add-fd", "arguments":
                           {k.replace("_", "-"): v for k, v in arguments.items()}})
        self.wire.sock.sendmsg([text.encode() + b"\n"],
                               [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        return self.wire.reply()

    def error(self, command, arguments=None):
        return self.wire.ask(command, arguments)["error"]["desc"]

    def test_sets(self):
        self.start()
        self.assertEqual(self.wire.value("query-fdsets"), [])
        self.assertEqual(self.error("add-fd"), "No file descriptor supplied via SCM_RIGHTS")
        self.assertIn("non-negative", self.add(os.O_RDONLY, fdset_id=-1)["error"]["desc"])
        one = self.add(os.O_RDONLY, fdset_id=1, opaque="a text")["return"]
        two = self.add(os.O_RDWR, fdset_id=1)["return"]
        new = self.add(os.O_RDWR)["return"]
        self.assertEqual([r["fdset-id"] for r in (one, two, new)], [1, 1, 0])
        sets = {s["fdset-id"]: {f["fd"]: f.get("opaque") for f in s["fds"]}
                for s in self.wire.value("query-fdsets")}
        self.assertEqual(sets, {1: {one["fd"]: "a text", two["fd"]: None}, 0: {new["fd"]: None}})
        self.assertEqual(self.error("remove-fd", {"fdset-id": 7}),
                         "File descriptor named 'fdset-id:7' not found")
        self.assertEqual(self.error("remove-fd", {"fdset-id": 1, "fd": 12345}),
                         "File descriptor named 'fdset-id:1, fd:12345' not found")
        self.wire.value("remove-fd", {"fdset-id": 1, "fd": one["fd"]})
        self.wire.value("remove-fd", {"fdset-id": 1})
        self.assertEqual([s["fdset-id"] for s in self.wire.value("query-fdsets")], [0])

    def test_block_node(self):
        self.start()
        with open(self.path, "wb") as file:
            file.truncate(1 << 20)
        self.add(os.O_RDONLY, fdset_id=3)
        node = {"driver": "file", "node-name": "f", "filename": "/dev/fdset/3"}
        self.assertIn("Permission denied", self.error("blockdev-add", node))
        self.assertEqual(self.wire.ask("blockdev-add", {**node, "read-only": True}), {"return": {}})
        self.wire.value("blockdev-del", {"node-name": "f"})
        self.add(os.O_RDWR, fdset_id=3)
        self.wire.value("blockdev-add", node)
        self.assertIn("error", self.wire.ask("blockdev-add", {**node, "node-name": "g",
                                                              "filename": "/dev/fdset/9"}))
        nodes = self.wire.value("query-named-block-nodes")
        self.assertEqual(nodes[0]["image"]["virtual-size"], 1 << 20)

    def start_with(self, *options):
        fd = self.open(os.O_WRONLY | os.O_APPEND)
        options = [o.replace("FD", str(fd)) for o in options]
        return subprocess.run([PROGRAM, "-S", "-display", "none", "-nodefaults", "-machine", "none",
                               "-qmp", "stdio", *options], capture_output=True, text=True,
                              pass_fds=[fd], timeout=60,
                              input='{"execute":"qmp_capabilities"}{"execute":"query-chardev"}'
                                    '{"execute":"quit"}')

    def test_option(self):
        done = self.start_with("-add-fd", "fd=FD,set=2,opaque=x", "-chardev",
                               "null,id=c,logfile=/dev/fdset/2,logappend=on", "-chardev",
                               "file,id=d,path=/dev/fdset/2,append=on")
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.path, "rb") as file:
            self.assertEqual(file.read(), b"before\n")  # appended to, not cut
        for option, error in (("fd=FD", "set option is required and must be non-negative"),
                              ("set=1", "fd option is required and must be non-negative"),
                              ("fd=1,set=1", "fd cannot be a standard I/O stream"),
                              ("fd=99,set=1", "fd is not valid or already in use")):
            done = self.start_with("-add-fd", option)
            self.assertEqual(done.returncode, 1)
            self.assertIn(error, done.stderr)


if __name__ == "__main__":
    unittest.main()
