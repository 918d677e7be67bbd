#!/usr/bin/env python3
"""virtio-serial and the balloon by the register door: ports, their bytes and events, memory."""
import os
import shutil
import socket
import struct
import tempfile
import time
import unittest

from godwit import TIME_FACTOR, run
from qtest import Door
from virtio import Device

SLOT = 5
READY, ADD, REMOVE, PORT_READY, CONSOLE, OPEN, NAME = 0, 1, 2, 3, 4, 6, 7


class Serial(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-serial-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.path = os.path.join(self.dir, "channel")

    def start(self, *args):
        self.door = Door("-chardev", f"socket,id=ch0,path={self.path},server=on,wait=off",
                         "-device", f"virtio-serial-pci,id=vs,addr={SLOT:x}", *args, qmp=True)
        self.addCleanup(self.door.close)
        self.qmp = self.door.qmp
        self.guest_up()

    def guest_up(self):
        """The driver with 6 queues: two for each of ports 0 and 1, control in the middle."""
        self.vs = Device(self.door, SLOT)
        self.vs.start(features=1 << 1, queues=6, memory=0x200000)
        for _ in range(4):
            self.vs.queues[2].offer([], [64])

    def tell(self, port, event, value):
        self.vs.queues[3].request([struct.pack("<IHH", port, event, value)], [])

    def heard(self):
        """The next control message: port, event, value, and what follows it."""
        queue = self.vs.queues[2]
        head, length = queue.take()
        data = queue.written(head, [], [64])[0][:length]
        queue.offer([], [64])
        return struct.unpack("<IHH", data[:8]) + (data[8:],)

    def connect(self):
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        sock.connect(self.path)
        sock.settimeout(20 * TIME_FACTOR)
        return sock

    def frontend_open(self):
        return {c["label"]: c["frontend-open"] for c in self.qmp.command("query-chardev")}["ch0"]

    def test_port(self):
        self.start("-device", "virtserialport,bus=vs.0,chardev=ch0,id=channel0,"
                   "name=org.example.agent.0")
        self.tell(0, READY, 1)
        self.assertEqual(self.heard(), (1, ADD, 1, b""))
        self.tell(1, PORT_READY, 1)
        self.assertEqual(self.heard(), (1, NAME, 1, b"org.example.agent.0"))
        self.assertFalse(self.frontend_open())
        self.tell(1, OPEN, 1)
        self.assertEqual(self.qmp.event("VSERPORT_CHANGE")["data"], {"id": "channel0", "open": True})
        self.assertTrue(self.frontend_open())

        self.vs.queues[5].request([b"to nobody"], [])  # thrown away
        client = self.connect()
        self.assertEqual(self.heard(), (1, OPEN, 1, b""))
        self.vs.queues[5].request([b"hello ", b"host"], [])
        self.assertEqual(client.recv(100), b"hello host")
        client.sendall(b"hello guest")
        head = self.vs.queues[4].offer([], [4])
        self.assertEqual(self.vs.queues[4].take(), (head, 4))
        self.assertEqual(self.vs.queues[4].written(head, [], [4]), [b"hell"])
        head = self.vs.queues[4].offer([], [64])
        self.assertEqual(self.vs.queues[4].take(), (head, 7))
        self.vs.queues[4].offer([], [64])  # a driver always has some there
        client.close()
        self.assertEqual(self.heard(), (1, OPEN, 0, b""))

        self.tell(1, OPEN, 0)
        self.assertEqual(self.qmp.event("VSERPORT_CHANGE")["data"],
                         {"id": "channel0", "open": False})
        self.assertFalse(self.frontend_open())

    def test_change(self):
        """A port goes on with another chardev, and what waited for the old one goes there."""
        self.start("-device", "virtserialport,bus=vs.0,chardev=ch0,id=channel0")
        for event in (0, READY), (1, PORT_READY), (1, OPEN):
            self.tell(*event, 1)
        self.assertEqual(self.heard()[1], ADD)

        def change(backend):
            self.qmp.command("chardev-change", id="ch0", backend=backend)
            return {c["label"]: c for c in self.qmp.command("query-chardev")}["ch0"]

        self.assertEqual(change({"type": "ringbuf", "data": {}}),
                         {"label": "ch0", "filename": "ringbuf", "frontend-open": True})
        self.assertEqual(self.heard(), (1, OPEN, 1, b""))
        self.vs.queues[5].request([b"to the ring"], [])
        self.assertEqual(self.qmp.command("ringbuf-read", device="ch0", size=99), "to the ring")
        listener = {"addr": {"type": "unix", "data": {"path": self.path}}, "wait": False}
        change({"type": "socket", "data": listener})
        self.assertEqual(self.heard(), (1, OPEN, 0, b""))
        client = self.connect()
        self.assertEqual(self.heard(), (1, OPEN, 1, b""))
        head = self.vs.queues[4].offer([], [8])
        client.sendall(b"in")
        self.assertEqual(self.vs.queues[4].take(), (head, 2))
        full = 0
        while True:  # nobody reads
            self.vs.queues[5].offer([bytes(8000)])
            time.sleep(0.01)
            if not self.vs.queues[5].done():
                break
            self.vs.queues[5].take()
            full += 1
            self.assertLess(full, 10000)
        change({"type": "null", "data": {}})
        self.vs.queues[5].take()

    def test_reset_closes(self):
        self.start("-device", "virtserialport,chardev=ch0,id=channel0")
        self.tell(0, READY, 1)
        self.tell(1, PORT_READY, 1)
        self.tell(1, OPEN, 1)
        self.qmp.event("VSERPORT_CHANGE")
        self.vs.put(0x14, 0, 1)  # the driver goes
        self.assertEqual(self.qmp.event("VSERPORT_CHANGE")["data"],
                         {"id": "channel0", "open": False})

    def test_backpressure(self):
        """What nobody reads stays with the guest, and arrives whole and in order."""
        self.start("-device", "virtserialport,chardev=ch0,id=channel0")
        self.tell(0, READY, 1)
        self.tell(1, PORT_READY, 1)
        self.tell(1, OPEN, 1)
        client = self.connect()
        queue, sent, held = self.vs.queues[5], b"", 0
        end = time.monotonic() + 60 * TIME_FACTOR
        for i in range(4000):
            data = struct.pack("<I", i) * 1024
            queue.offer([data], [])
            sent += data
            for _ in range(50):
                if queue.done():
                    break
                time.sleep(0.002)
            else:
                held = True
                break
            queue.take()
        self.assertTrue(held, "the guest never had to wait")
        self.qmp.command("stop")
        self.qmp.command("cont")
        received = b""
        while len(received) < len(sent):
            self.assertLess(time.monotonic(), end)
            received += client.recv(1 << 20)
        self.assertEqual(received, sent)
        queue.take()

    def test_console(self):
        self.start("-device", "virtconsole,chardev=ch0,id=con0")
        self.tell(0, READY, 1)
        self.assertEqual(self.heard(), (0, ADD, 1, b""))
        self.tell(0, PORT_READY, 1)
        self.assertEqual(self.heard(), (0, CONSOLE, 1, b""))
        self.assertEqual(self.heard(), (0, OPEN, 1, b""))
        self.tell(0, OPEN, 1)
        self.assertEqual(self.qmp.event("VSERPORT_CHANGE")["data"], {"id": "con0", "open": True})

    def test_nonsense(self):
        self.start("-device", "virtserialport,chardev=ch0,id=channel0")
        for port in (1, 2, 30, 31, 0xffffffff):
            for event in (OPEN, PORT_READY, 99):
                self.tell(port, event, 0)
        self.vs.queues[3].request([b"abc"], [])
        self.assertEqual(self.vs.status, 15)

    def test_bad_ports(self):
        common = ["-accel", "qtest", "-display", "none", "-chardev", "null,id=a", "-chardev",
                  "null,id=b"]
        serial = ["-device", "virtio-serial-pci,id=vs,max_ports=3"]
        for args, part in (
                (["-device", "virtserialport,chardev=a"], "No 'virtio-serial-bus' bus found"),
                (serial + ["-device", "virtserialport,bus=x.0,chardev=a"], "Bus 'x.0' not found"),
                (serial + ["-device", "virtserialport,nr=0,chardev=a"], "reserved for virtconsole"),
                (serial + ["-device", "virtserialport,nr=3,chardev=a"], "Out-of-range port id 3"),
                (serial + ["-device", "virtserialport,nr=1,chardev=a", "-device",
                           "virtserialport,nr=1,chardev=b"], "already exists at id 1"),
                (serial + ["-device", "virtserialport,name=n,chardev=a", "-device",
                           "virtserialport,name=n,chardev=b"], "already exists by name n"),
                (serial + ["-device", "virtserialport,chardev=a", "-device",
                           "virtserialport,chardev=a"], "in use")):
            result = run(*common, *args)
            self.assertEqual(result.returncode, 1, args)
            self.assertIn(part, result.stderr)


class Balloon(unittest.TestCase):
    def test_balloon(self):
        with Door("-device", f"virtio-balloon-pci,addr={SLOT:x}", qmp=True) as door:
            balloon, size = Device(door, SLOT), 16 << 20
            self.assertEqual(door.qmp.command("query-balloon"), {"actual": size})
            balloon.start(queues=2)
            generation = balloon.get(0x15, 1)
            door.qmp.command("balloon", value=size - (1 << 20))
            self.assertEqual(balloon.get(0x2000, 4), 256)
            self.assertNotEqual(balloon.get(0x15, 1), generation)
            door.write(0x300000, b"a" * 0x3000)
            pages = struct.pack("<4I", 0x301, 0x7fffffff, 0xb0000, 0xffffffff)
            balloon.queues[0].request([pages], [])
            self.assertEqual(door.read(0x300000, 0x3000),
                             b"a" * 0x1000 + bytes(0x1000) + b"a" * 0x1000)
            balloon.put(0x2004, 256, 4)
            self.assertEqual(door.qmp.event("BALLOON_CHANGE")["data"], {"actual": size - (1 << 20)})
            self.assertEqual(door.qmp.command("query-balloon"), {"actual": size - (1 << 20)})
            door.qmp.command("balloon", value=1 << 40)
            self.assertEqual(balloon.get(0x2000, 4), 0)
            self.assertIn("expects a size",
                          door.qmp.request("balloon", value=0)["error"]["desc"])

    def test_statistics(self):
        """The driver's buffer is held until new figures are wanted: at once, then each 3 seconds."""
        with Door("-device", f"virtio-balloon-pci,addr={SLOT:x},id=b", qmp=True) as door:
            def ask(name):
                return door.qmp.command("qom-get", path="/machine/peripheral/b", property=name)

            def known():
                stats = ask("guest-stats")["stats"]
                return {k: v for k, v in stats.items() if v != unknown}

            def await_stats(expected):
                end = time.monotonic() + 20 * TIME_FACTOR
                while known() != expected and time.monotonic() < end:
                    time.sleep(0.001)
                self.assertEqual(known(), expected)

            def poll(value):
                return door.qmp.request("qom-set", path="/machine/peripheral/b",
                                        property="guest-stats-polling-interval", value=value)

            unknown = (1 << 64) - 1
            self.assertEqual(ask("guest-stats")["last-update"], 0)
            self.assertEqual(set(ask("guest-stats")["stats"].values()), {unknown})
            balloon = Device(door, SLOT)
            balloon.start(features=1 << 1, queues=3, memory=0x200000)
            queue = balloon.queues[2]
            # total memory, swapped in, a figure that nobody knows, and half a one
            figures = [struct.pack("<HQHQHQ", 5, 1 << 40, 0, 7, 99, 1) + b"\x06"]
            queue.offer(figures, [])
            await_stats({"stat-total-memory": 1 << 40, "stat-swap-in": 7})
            self.assertGreater(ask("guest-stats")["last-update"], 1600000000)
            for value, text in ((-1, "greater than zero"), (1 << 32, "too big"), ("a", "expected: integer")):
                self.assertIn(text, poll(value)["error"]["desc"])
            poll(3)
            self.assertEqual(ask("guest-stats-polling-interval"), 3)
            door.step(1)
            self.assertEqual(queue.take()[1], 0)
            queue.offer([struct.pack("<HQ", 4, 5)], [])
            await_stats({"stat-free-memory": 5})
            door.step(2999999999)
            self.assertFalse(queue.done())
            door.step(1)
            self.assertEqual(queue.take()[1], 0)
            poll(0)
            # two buffers at once: the first comes back
            queue.offer([struct.pack("<HQ", 4, 6)], [])
            queue.offer([struct.pack("<HQ", 4, 8)], [])
            self.assertEqual(queue.take()[1], 0)
            await_stats({"stat-free-memory": 8})

    def test_none(self):
        with Door(qmp=True) as door:
            for command in ({"execute": "query-balloon"}, {"execute": "balloon", "value": 1}):
                error = door.qmp.request(**command)["error"]
                self.assertEqual(error["class"], "DeviceNotActive")


if __name__ == "__main__":
    unittest.main(verbosity=2)
