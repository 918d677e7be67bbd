#!/usr/bin/env python3
"""yank: connections whose other end does not answer are broken, also while the main thread waits for one.

Usage: test-yank.py PROGRAM [unittest arguments]
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpwire import Emulator, LIMIT_S, Wire, connect, take_program  # noqa: E402

PROGRAM = take_program("qemu-nbd")
GONE = {"class": "DeviceNotFound", "desc": "Instance not found"}


def chardev(name):
    return {"type": "chardev", "id": name}


class Yank(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="yank-")
        self.addCleanup(shutil.rmtree, self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def emulator(self, *args):
        emulator = Emulator(PROGRAM, "-S", "-chardev",
                            f"socket,id=s,path={self.path('s')},server=on,wait=off", *args)
        self.addCleanup(emulator.close)
        wire = emulator.wire(negotiate=False)
        wire.ask("qmp_capabilities", {"enable": ["oob"]})
        return wire

    def client(self):
        """Connected to the character device, and known to it."""
        client = connect(self.path("s"))
        self.addCleanup(client.close)
        return client

    def ended(self, sock):
        """The other end is gone."""
        sock.settimeout(LIMIT_S)
        return sock.recv(1) == b""

    def test_errors(self):
        wire = self.emulator("-chardev", "null,id=n")
        self.assertEqual(wire.value("query-yank"), [chardev("compat_monitor0"), chardev("s")])
        client = self.client()
        for instances in ([chardev("nope")], [chardev("n")], [{"type": "migration"}],
                          [chardev("s"), {"type": "block-node", "node-name": "s"}]):
            self.assertEqual(wire.ask("yank", {"instances": instances})["error"], GONE)
        self.assertEqual(wire.ask("yank")["error"]["desc"], "Parameter 'instances' is missing")
        self.assertEqual(wire.ask("yank", {"instances": [{"type": "x"}]})["error"]["desc"],
                         "Parameter 'type' does not accept value 'x'")
        self.assertEqual(wire.ask("yank", {"instances": []}), {"return": {}})
        client.settimeout(0.2)  # nothing was broken
        self.assertRaises(socket.timeout, client.recv, 1)

    def test_chardev(self):
        wire = self.emulator()
        for _ in range(3):
            self.wait_for_connection(wire, False)
            client = self.client()
            self.wait_for_connection(wire, True)
            self.assertEqual(wire.ask("yank", {"instances": [chardev("s")]}), {"return": {}})
            self.assertTrue(self.ended(client))
        self.assertEqual(wire.value("query-yank"), [chardev("compat_monitor0"), chardev("s")])

    def wait_for_connection(self, wire, wanted):
        end = time.monotonic() + LIMIT_S
        while next(c["filename"] for c in wire.value("query-chardev")
                   if c["label"] == "s").startswith("disconnected") == wanted:
            self.assertLess(time.monotonic(), end)

    def test_out_of_band(self):
        """While the main thread waits for the writer of a pipe."""
        wire = self.emulator()
        client = self.client()
        self.wait_for_connection(wire, True)
        os.mkfifo(self.path("pipe"))
        wire.send(json.dumps({"execute": "blockdev-add", "id": "waits", "arguments": {
            "driver": "blkdebug", "node-name": "d", "config": self.path("pipe"),
            "image": {"driver": "null-co", "read-zeroes": True}}}))
        for command, arguments in (("query-yank", {}), ("yank", {"instances": [chardev("s")]})):
            wire.send(json.dumps({"exec-oob": command, "id": command, "arguments": arguments}))
            self.assertEqual(wire.reply()["id"], command)
        self.assertTrue(self.ended(client))
        with open(self.path("pipe"), "w") as file:
            file.write("# no rules\n")
        self.assertEqual(wire.reply(), {"return": {}, "id": "waits"})

    def test_monitor(self):
        """Its own connection, too. It can connect again."""
        wire = self.emulator()
        wire.send('{"exec-oob": "yank", "arguments": {"instances": [{"type": "chardev", '
                  '"id": "compat_monitor0"}]}}')
        while wire.raw_line():
            pass
        again = Wire(wire.sock.getpeername())
        self.addCleanup(again.close)
        self.assertIn("return", again.ask("query-status"))

    def test_migration(self):
        """To somebody who does not read."""
        emulator = Emulator(PROGRAM, "-S", "-m", "512", machine="q35,accel=tcg")  # more than a socket holds
        self.addCleanup(emulator.close)
        wire = emulator.wire()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path("m"))
            listener.listen()
            wire.value("migrate", {"uri": "unix:" + self.path("m")})
            there, _ = listener.accept()
            with there:
                self.wait_for_status(wire, "active")  # or there may be nothing to break yet
                self.assertIn({"type": "migration"}, wire.value("query-yank"))
                wire.value("yank", {"instances": [{"type": "migration"}]})
                self.wait_for_status(wire, "failed")
        end = time.monotonic() + LIMIT_S
        while {"type": "migration"} in wire.value("query-yank"):
            self.assertLess(time.monotonic(), end)
        self.assertEqual(wire.value("query-status")["status"], "prelaunch")

    def wait_for_status(self, wire, status):
        end = time.monotonic() + LIMIT_S
        while (info := wire.value("query-migrate"))["status"] != status:
            self.assertLess(time.monotonic(), end, info)
            time.sleep(0.01)

    def test_block_node(self):
        """A server ends when its client is gone."""
        image = self.path("image")
        with open(image, "wb") as file:
            file.truncate(1 << 20)
        with subprocess.Popen(["qemu-nbd", "-k", self.path("nbd"), "-f", "raw", image]) as server:
            connect_when = time.monotonic() + LIMIT_S
            while not os.path.exists(self.path("nbd")):
                self.assertLess(time.monotonic(), connect_when)
                time.sleep(0.01)
            wire = self.emulator("-blockdev", "nbd,node-name=b,server.type=unix,server.path="
                                 + self.path("nbd"))
            node = {"type": "block-node", "node-name": "b"}
            self.assertIn(node, wire.value("query-yank"))
            wire.send('{"exec-oob": "yank", "arguments": {"instances": [%s]}}' % json.dumps(node))
            self.assertEqual(wire.reply(), {"return": {}})
            try:
                self.assertEqual(server.wait(LIMIT_S), 0)
            finally:
                server.kill()
        self.assertIn(node, wire.value("query-yank"))
        wire.value("blockdev-del", {"node-name": "b"})
        self.assertNotIn(node, wire.value("query-yank"))


if __name__ == "__main__":
    unittest.main()
