#!/usr/bin/env python3
"""Disks on an NBD server, with qemu-nbd as the server and a guest at the register door.

Needs qemu-nbd; skipped without it, and where Godwit was built without libnbd.
"""
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from godwit import GODWIT, TIME_FACTOR
from qtest import Door
from virtio import Disk

SLOT, SIZE = 5, 8 << 20


def skip(why):
    print(f"{why}: skipped")
    sys.exit(77)


if not shutil.which("qemu-nbd"):
    skip("qemu-nbd is not there")
if b"libnbd.so" not in open(GODWIT, "rb").read():
    skip("built without libnbd")


class Nbd(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="nbd-test-", dir="/dev/shm")
        self.addCleanup(shutil.rmtree, self.dir)
        self.image = os.path.join(self.dir, "disk")
        self.socket = os.path.join(self.dir, "socket")
        self.content = bytearray(random.Random(1).randbytes(SIZE))
        with open(self.image, "wb") as file:
            file.write(self.content)
        self.server = None
        self.addCleanup(self.stop_server)

    def start_server(self, *options, unix=True):
        where = ["-k", self.socket] if unix else ["-p", str(self.port), "-b", "127.0.0.1"]
        self.server = subprocess.Popen(["qemu-nbd", "-t", "-f", "raw", "-x", "exp", "-e", "5",
                                        "--discard=unmap", *where, *options, self.image],
                                       stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20 * TIME_FACTOR
        while True:
            peer = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
            try:
                peer.connect(self.socket if unix else ("127.0.0.1", self.port))
                return
            except OSError:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.02)
            finally:
                peer.close()

    def stop_server(self):
        if self.server:
            self.server.kill()
            self.server.wait()
            self.server = None
            if os.path.exists(self.socket):
                os.unlink(self.socket)

    def where(self, unix=True):
        return (f"server.type=unix,server.path={self.socket}" if unix else
                f"server.type=inet,server.host=127.0.0.1,server.port={self.port}")

    def start(self, more="", unix=True, upper=None):
        node = f"driver=nbd,node-name=n,export=exp,{self.where(unix)}{more}"
        options = ["-blockdev", node]
        if upper:
            options += ["-blockdev", upper]
        self.door = Door(*options, "-device",
                         f"virtio-blk-pci,id=disk,drive={'u' if upper else 'n'},addr={SLOT}",
                         qmp=True, machine="pc")
        self.addCleanup(self.door.close)
        self.disk = Disk(self.door, SLOT)
        self.disk.start(size=64)

    def zero(self, kind, sector, sectors, flags=0):
        segment = (sector.to_bytes(8, "little") + sectors.to_bytes(4, "little")
                   + flags.to_bytes(4, "little"))
        (status,), _ = self.disk.queues[0].request([self.disk.header(kind, 0), segment], [1])
        return status[0]

    def on_disk(self):
        with open(self.image, "rb") as file:
            return file.read()

    def test_requests(self):
        self.start_server()
        self.start(",discard=unmap")
        rand = random.Random(2)
        for _ in range(30):
            sector, n = rand.randrange(SIZE // 512 - 8), rand.randrange(1, 9)
            data = rand.randbytes(512 * n)
            self.assertEqual(self.disk.write(sector, data), 0)
            self.content[512 * sector:512 * (sector + n)] = data
        self.assertEqual(self.disk.flush(), 0)
        self.assertEqual(self.on_disk(), bytes(self.content))
        for sector in (0, 77, SIZE // 512 - 8):
            self.assertEqual(self.disk.read(sector, 8),
                             (0, bytes(self.content[512 * sector:512 * (sector + 8)])))
        self.assertEqual(self.zero(13, 128, 4096), 0)  # write zeroes
        self.content[128 * 512:(128 + 4096) * 512] = bytes(4096 * 512)
        self.assertEqual(self.on_disk(), bytes(self.content))
        self.assertEqual(self.zero(11, 8192, 4096), 0)  # discard
        self.assertEqual(self.disk.read(8192, 1)[0], 0)
        (node,) = self.door.qmp.command("query-named-block-nodes")
        self.assertEqual((node["drv"], node["image"]["virtual-size"], node["file"]),
                         ("nbd", SIZE, f"nbd+unix:///exp?socket={self.socket}"))

    def listed(self, *options):
        """The nodes of a drive, by driver."""
        door = Door(*options, qmp=True, machine="pc")
        self.addCleanup(door.close)
        nodes = {n["drv"]: n for n in door.qmp.command("query-named-block-nodes")}
        (drive,) = (d for d in door.qmp.command("query-block") if d["device"] == "d")
        self.assertEqual(drive["inserted"]["image"]["virtual-size"], SIZE)
        door.close()
        return nodes

    def test_names(self):
        """URIs and the older names, as file= of a drive."""
        self.start_server()
        quoted = self.socket.replace("/", "%2F")
        for name in (f"nbd+unix:///exp?socket={self.socket}", f"nbd+unix:///e%78p?socket={quoted}",
                     f"nbd:unix:{self.socket}:exportname=exp"):
            nodes = self.listed("-drive", f"if=none,id=d,format=raw,file={name}")
            self.assertEqual(set(nodes), {"raw", "nbd"})
            self.assertEqual(nodes["nbd"]["file"], f"nbd+unix:///exp?socket={self.socket}")
        self.stop_server()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start_server(unix=False)
        for name in (f"nbd://127.0.0.1:{self.port}/exp", f"nbd+tcp://127.0.0.1:{self.port}/exp",
                     f"nbd:127.0.0.1:{self.port}:exportname=exp"):
            nodes = self.listed("-drive", f"if=none,id=d,format=raw,file={name}")
            self.assertEqual(nodes["nbd"]["file"], f"nbd://127.0.0.1:{self.port}/exp")

    def test_names_probed(self):
        """What the disk begins with tells the format."""
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", self.image, str(SIZE)],
                       check=True)
        self.start_server()
        name = f"nbd+unix:///exp?socket={self.socket}"
        self.assertEqual(set(self.listed("-drive", f"if=none,id=d,file={name}")), {"qcow2", "nbd"})
        top = os.path.join(self.dir, "top")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", name, "-F", "qcow2", top],
                       check=True)
        nodes = self.listed("-drive", f"if=none,id=d,format=qcow2,file={top}")
        self.assertEqual(nodes["nbd"]["file"], name)

    def test_bad_names(self):
        for name, part in (("nbd://", "is wanted"), ("nbd+unix:///x", "socket="), ("nbd:", "is wanted"),
                           ("nbd:host", "is wanted"), ("nbds://h/x", "Unknown protocol"),
                           ("nbd+unix://h/x?socket=s", "is wanted"), ("nbd://h/x?a=b", "parameter"),
                           ("nbd+ssh://h/x", "over tcp or unix"), ("http://h/x", "Unknown protocol"),
                           ("nbd://h:port/x", "no NBD URI")):
            run = subprocess.run([GODWIT, "-M", "none", "-display", "none", "-drive",
                                  f"if=none,format=raw,file={name}"], capture_output=True, text=True,
                                 timeout=20 * TIME_FACTOR)
            self.assertEqual(run.returncode, 1, name)
            self.assertIn(part, run.stderr, name)

    def test_pieces(self):
        """Parts of a request that are no whole sectors each."""
        self.start_server()
        self.start()
        queue, data = self.disk.queues[0], random.Random(3).randbytes(3 * 512)
        head = queue.offer([self.disk.header(1, 7), data[:100], data[100:1000], data[1000:]], [1])
        self.assertEqual(queue.take()[0], head)
        self.content[7 * 512:10 * 512] = data
        self.assertEqual(self.on_disk(), bytes(self.content))
        (one, two, status), _ = queue.request([self.disk.header(0, 7)], [700, 836, 1])
        self.assertEqual((one + two, status[0]), (data, 0))

    def test_format_on_top(self):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", self.image, "4M"], check=True)
        with open(self.image, "r+b") as file:
            file.truncate(SIZE)  # the server's disk does not grow
        self.start_server()
        self.start(upper="driver=qcow2,node-name=u,file=n")
        self.assertEqual(self.disk.write(100, b"x" * 4096), 0)
        self.assertEqual(self.disk.read(100, 8), (0, b"x" * 4096))
        self.door.qmp.command("quit")
        self.assertEqual(self.door.wait(), 0)
        self.stop_server()
        subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", self.image], check=True)

    def free_port(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def test_tcp_and_read_only(self):
        self.port = self.free_port()
        self.start_server("-r", unix=False)
        args = {"driver": "nbd", "node-name": "w", "export": "exp",
                "server": {"type": "inet", "host": "127.0.0.1", "port": str(self.port)}}
        self.start(",read-only=on", unix=False)
        self.assertEqual(self.disk.read(3, 1), (0, bytes(self.content[3 * 512:4 * 512])))
        error = self.door.qmp.request("blockdev-add", **args)["error"]["desc"]
        self.assertIn("can only be read", error)
        self.door.qmp.command("blockdev-add", auto_read_only=True, **args)

    def test_no_server(self):
        door = Door(qmp=True, machine="pc")
        self.addCleanup(door.close)
        server = {"type": "unix", "path": self.socket}
        node = {"driver": "nbd", "node-name": "n", "server": server}
        self.assertIn("No such file", door.qmp.request("blockdev-add", **node)["error"]["desc"])
        self.start_server()
        self.assertIn("Failed to connect",
                      door.qmp.request("blockdev-add", **node)["error"]["desc"])  # no such export
        door.qmp.command("blockdev-add", export="exp", **node)
        door.qmp.command("blockdev-del", node_name="n")

    def test_reconnect(self):
        self.start_server()
        self.start(",reconnect-delay=600")
        self.assertEqual(self.disk.read(0, 1)[0], 0)
        self.stop_server()
        queue = self.disk.queues[0]
        head = queue.offer([self.disk.header(0, 9)], [512, 1])
        self.door.qmp.command("query-block")
        self.assertFalse(queue.done())  # it waits
        self.start_server()
        self.assertEqual(queue.take(timeout=60)[0], head)
        self.assertEqual(queue.written(head, [16], [512, 1]),
                         [bytes(self.content[9 * 512:10 * 512]), b"\0"])

    def test_no_reconnect_delay(self):
        self.start_server()
        self.start()
        self.assertEqual(self.disk.read(0, 1)[0], 0)
        self.stop_server()
        self.assertEqual(self.disk.read(0, 1)[0], 1)
        self.start_server()
        end = time.monotonic() + 60 * TIME_FACTOR
        while self.disk.read(0, 1)[0]:  # it is found again nevertheless
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def test_end_without_server(self):
        self.start_server()
        self.start(",reconnect-delay=1")
        self.stop_server()
        self.disk.queues[0].offer([self.disk.header(0, 9)], [512, 1])
        self.door.qmp.command("quit")
        self.assertEqual(self.door.wait(60), 0)


if __name__ == "__main__":
    unittest.main()
