#!/usr/bin/env python3
"""virtio-net by the register door, with this test at the cable's other end (netdev stream, socket, dgram):
frames, filters, links, the control queue, drivers that break the rules; and the commands of networks."""
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import unittest
from unittest import mock

from godwit import TIME_FACTOR, run
from qtest import Door
from virtio import Device

SLOT = 5
F_MTU, F_MAC, F_MRG, F_STATUS, F_CTRL_VQ = 1 << 3, 1 << 5, 1 << 15, 1 << 16, 1 << 17
F_CTRL_RX, F_CTRL_VLAN, F_ANNOUNCE, F_CTRL_MAC = 1 << 18, 1 << 19, 1 << 21, 1 << 23
F_CSUM, F_GUEST_CSUM, F_HOST_TSO4 = 1 << 0, 1 << 1, 1 << 11
ALL_CTRL = F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_CTRL_VLAN | F_ANNOUNCE | F_CTRL_MAC
MAC = bytes.fromhex("525400aabbcc")
PEER = bytes.fromhex("020000000001")
BROADCAST = b"\xff" * 6
NEEDS_RESET = 0x40
RX, TX, CTRL = 0, 1, 2


def frame(to=MAC, kind=0x88b5, data=b"x" * 46, by=PEER):
    return to + by + struct.pack(">H", kind) + data


class Cable:
    """The other end of a netdev stream."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(20 * TIME_FACTOR)
        self.file = sock.makefile("rb")

    def send(self, *frames):
        self.sock.sendall(b"".join(struct.pack(">I", len(f)) + f for f in frames))

    def receive(self):
        return self.file.read(struct.unpack(">I", self.file.read(4))[0])

    def close(self):
        self.file.close()
        self.sock.close()


class Card(unittest.TestCase):
    NETDEV = "stream,id=n0,server=on,addr.type=unix,addr.path={}/cable"

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-net-")
        self.addCleanup(shutil.rmtree, self.dir)

    def open_door(self, *args, netdev=None, device=""):
        """A machine with a card; its QMP and door."""
        self.door = Door("-netdev", (netdev or self.NETDEV).format(self.dir), "-device",
                         f"virtio-net-pci,netdev=n0,id=net0,addr={SLOT:x},mac=52:54:00:aa:bb:cc"
                         + device, *args, qmp=True)
        self.addCleanup(self.door.close)
        self.qmp = self.door.qmp
        return Device(self.door, SLOT)

    def connect(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.dir + "/cable")
        cable = Cable(sock)
        self.addCleanup(cable.close)
        return cable

    def start(self, features=0, device=""):
        """Card and cable, both up."""
        self.card = self.open_door(device=device)
        self.cable = self.connect()
        self.qmp.event("NETDEV_STREAM_CONNECTED")
        self.up(features)

    def up(self, features=0):
        self.card.start(features=features, queues=3 if features & F_CTRL_VQ else 2,
                        memory=0x200000)
        self.offered = []

    def offer(self, *lengths):
        """A buffer to receive into, of these pieces."""
        head = self.card.queues[RX].offer([], lengths or [2048])
        self.offered.append((head, lengths or [2048]))

    def receive(self):
        """The next frame in the guest's memory: its header and itself."""
        head, length = self.card.queues[RX].take()
        at = next(i for i, o in enumerate(self.offered) if o[0] == head)
        data = b"".join(self.card.queues[RX].written(head, [], self.offered.pop(at)[1]))[:length]
        return data[:12], data[12:]

    def send(self, *parts):
        self.card.queues[TX].request(list(parts), [])

    def control(self, kind, command, data=b""):
        out = [bytes([kind, command])] + [data] * bool(data)
        return self.card.queues[CTRL].request(out, [1])[0][0][0]

    def takes(self, data):
        """Whether the guest gets this frame: one that it gets for sure comes after it."""
        self.offer()
        last = frame(BROADCAST, data=os.urandom(46))
        self.cable.send(data, last)
        got = self.receive()[1]
        if got == last:
            return False
        self.assertEqual(got, data)
        self.offer()
        self.assertEqual(self.receive()[1], last)
        return True


class Frames(Card):
    def test_there_and_back(self):
        self.start()
        self.assertEqual(self.card.get(0x2000, 4) | self.card.get(0x2004, 2) << 32,
                         int.from_bytes(MAC, "little"))
        self.offer()
        self.offer(4, 8, 20, 2000)  # the header need not have a piece of its own
        self.cable.send(frame(), frame(data=b"y" * 1000))
        header, data = self.receive()
        self.assertEqual((header, data), (bytes(10) + b"\1\0", frame()))
        self.assertEqual(self.receive()[1], frame(data=b"y" * 1000))
        self.send(bytes(12), frame(PEER, by=MAC))
        self.assertEqual(self.cable.receive(), frame(PEER, by=MAC))
        self.send(bytes(7), bytes(5) + frame(PEER)[:20], frame(PEER)[20:])
        self.assertEqual(self.cable.receive(), frame(PEER))
        self.send(bytes(12) + frame(PEER, data=b"z" * 7000))
        self.assertEqual(self.cable.receive(), frame(PEER, data=b"z" * 7000))

    def test_no_buffers(self):
        """Frames wait on the cable until the guest has room, in order."""
        self.start()
        frames = [frame(data=bytes([i]) * 100) for i in range(20)]
        self.cable.send(*frames)
        for f in frames:
            self.offer()
            self.assertEqual(self.receive()[1], f)

    def test_before_the_driver(self):
        card = self.open_door()
        self.card, self.cable = card, self.connect()
        self.qmp.event("NETDEV_STREAM_CONNECTED")
        self.cable.send(frame())
        self.up()
        self.offer()
        self.assertEqual(self.receive()[1], frame())

    def test_mergeable(self):
        self.start(F_MRG)
        big = frame(data=os.urandom(3000))
        for _ in range(4):
            self.offer(1024)
        self.cable.send(big)
        parts = [self.card.queues[RX].take() for _ in range(3)]
        data = b"".join(self.card.queues[RX].written(head, [], [1024])[0][:n] for head, n in parts)
        self.assertEqual([n for _, n in parts], [1024, 1024, 12 + 3014 - 2048])
        self.assertEqual(data, bytes(10) + b"\3\0" + big)

    def test_mergeable_waits(self):
        """A frame is given whole or not at all."""
        self.start(F_MRG)
        big = frame(data=os.urandom(3000))
        self.offer(1024)
        self.offer(1024)
        self.cable.send(big)
        deadline = time.monotonic() + 0.2  # it must not come, so there is nothing to wait for
        while time.monotonic() < deadline:
            self.assertFalse(self.card.queues[RX].done())
        self.offer(1024)
        parts = [self.card.queues[RX].take() for _ in range(3)]
        data = b"".join(self.card.queues[RX].written(head, [], [1024])[0][:n] for head, n in parts)
        self.assertEqual(data[12:], big)

    def test_too_short(self):
        """A card without a filter leaves frames that are none on Ethernet to its driver."""
        self.start()
        self.offer()
        self.cable.send(b"TEST")
        self.assertEqual(self.receive()[1], b"TEST")

    def test_too_long(self):
        """What does not fit into a driver's buffer is lost; what comes next is not."""
        self.start()
        self.offer(1024)
        self.cable.send(frame(data=bytes(3000)), frame())
        self.assertEqual(self.receive()[1], frame())

    def test_stopped(self):
        self.start()
        self.qmp.command("stop")
        self.offer()
        self.cable.send(frame())
        self.card.queues[TX].offer([bytes(12), frame(PEER)])
        self.qmp.command("query-status")
        self.assertFalse(self.card.queues[RX].done() or self.card.queues[TX].done())
        self.qmp.command("cont")
        self.assertEqual(self.receive()[1], frame())
        self.assertEqual(self.cable.receive(), frame(PEER))

    def test_slow_reader(self):
        """The guest's frames wait while nobody reads them, and none is lost."""
        self.start()
        frames = [frame(PEER, data=struct.pack(">I", i) * 1700) for i in range(200)]
        queue, sent = self.card.queues[TX], 0
        while sent < len(frames):
            queue.offer([bytes(12) + frames[sent]])
            sent += 1
            if not self.finished(queue):
                break
        self.assertLess(sent, len(frames), "the socket has no bound")
        self.qmp.command("stop")  # what waits is the guest's meanwhile
        self.qmp.command("cont")
        for f in frames[:sent]:
            self.assertEqual(self.cable.receive(), f)
        while queue.used < sent:
            queue.take()

    def finished(self, queue):
        end = time.monotonic() + 0.3 * TIME_FACTOR
        while queue.used < queue.avail and time.monotonic() < end:
            if queue.done():
                queue.take()
        return queue.used == queue.avail

    def test_reset(self):
        self.start(ALL_CTRL)
        self.assertEqual(self.control(0, 0, b"\0"), 0)
        self.offer()
        self.card.put(0x14, 0, 1)
        self.cable.send(frame())
        self.up(ALL_CTRL)
        self.offer()
        self.assertEqual(self.receive()[1], frame())
        self.assertTrue(self.qmp.command("query-rx-filter")[0]["promiscuous"])


class Control(Card):
    def test_filter(self):
        self.start(ALL_CTRL)
        other, group = bytes.fromhex("525400000099"), bytes.fromhex("01005e000001")
        self.assertTrue(self.takes(frame(other)))  # promiscuous
        self.assertEqual(self.control(0, 0, b"\0"), 0)
        self.assertFalse(self.takes(frame(other)))
        self.assertTrue(self.takes(frame()))
        self.assertFalse(self.takes(frame(group)))
        self.assertEqual(self.control(0, 1, b"\1"), 0)
        self.assertTrue(self.takes(frame(group)))
        self.assertEqual(self.control(0, 1, b"\0"), 0)
        table = struct.pack("<I", 1) + other + struct.pack("<I", 1) + group
        self.assertEqual(self.control(1, 0, table), 0)
        self.assertTrue(self.takes(frame(other)))
        self.assertTrue(self.takes(frame(group)))
        self.assertFalse(self.takes(frame(bytes.fromhex("525400000098"))))
        self.assertFalse(self.takes(frame(bytes.fromhex("01005e000002"))))
        self.assertEqual(self.control(0, 4, b"\1"), 0)  # no frames for one station
        self.assertFalse(self.takes(frame()))
        self.assertEqual(self.qmp.command("query-rx-filter", name="net0"), [
            {"name": "net0", "promiscuous": False, "multicast": "normal", "unicast": "none",
             "vlan": "none", "broadcast-allowed": True, "multicast-overflow": False,
             "unicast-overflow": False, "main-mac": "52:54:00:aa:bb:cc", "vlan-table": [],
             "unicast-table": ["52:54:00:00:00:99"], "multicast-table": ["01:00:5e:00:00:01"]}])

    def test_overflow(self):
        self.start(ALL_CTRL)
        self.control(0, 0, b"\0")
        macs = b"".join(struct.pack(">HI", 0x5254, i) for i in range(100))
        groups = b"".join(struct.pack(">HI", 0x0100, i) for i in range(3))
        self.assertEqual(self.control(1, 0, struct.pack("<I", 100) + macs +
                                      struct.pack("<I", 3) + groups), 0)
        info = self.qmp.command("query-rx-filter")[0]
        self.assertEqual((info["unicast-overflow"], info["multicast-overflow"],
                          len(info["unicast-table"]), len(info["multicast-table"])),
                         (True, False, 0, 3))
        self.assertTrue(self.takes(frame(bytes.fromhex("52ffffffff00"))))

    def test_vlan(self):
        self.start(ALL_CTRL)
        self.control(0, 0, b"\0")
        tagged = frame(kind=0x8100, data=struct.pack(">HH", 0x6000 | 77, 0x0800) + bytes(42))
        self.assertFalse(self.takes(tagged))
        self.assertEqual(self.control(2, 0, struct.pack("<H", 77)), 0)
        self.assertTrue(self.takes(tagged))
        self.assertEqual(self.qmp.command("query-rx-filter")[0]["vlan-table"], [77])
        self.assertEqual(self.control(2, 1, struct.pack("<H", 77)), 0)
        self.assertFalse(self.takes(tagged))

    def test_mac(self):
        self.start(ALL_CTRL)
        self.control(0, 0, b"\0")
        self.assertEqual(self.control(1, 1, PEER), 0)
        self.assertTrue(self.takes(frame(PEER)))
        self.assertFalse(self.takes(frame()))
        self.assertEqual(self.card.get(0x2000, 4), int.from_bytes(PEER[:4], "little"))
        self.card.put(0x14, 0, 1)
        self.assertEqual(self.card.get(0x2000, 4), int.from_bytes(MAC[:4], "little"))

    def test_nonsense(self):
        self.start(ALL_CTRL)
        for kind, command, data in ((0, 9, b"\1"), (0, 0, b""), (1, 0, b"\1"), (1, 1, PEER[:5]),
                                    (1, 0, struct.pack("<I", 0xffffffff) + bytes(64)),
                                    (1, 0, struct.pack("<II", 0, 5) + bytes(12)),
                                    (2, 0, struct.pack("<H", 4096)), (3, 0, b""), (4, 0, b"\1\0"),
                                    (5, 0, bytes(8)), (77, 0, b"")):
            with self.subTest((kind, command)):
                self.assertEqual(self.control(kind, command, data), 1)
        self.assertEqual(self.card.status & NEEDS_RESET, 0)

    def test_event(self):
        """One event, until somebody asks."""
        self.start(ALL_CTRL)
        self.control(0, 0, b"\0")
        self.assertEqual(self.qmp.event("NIC_RX_FILTER_CHANGED")["data"],
                         {"name": "net0", "path": "/machine/peripheral/net0/virtio-backend"})
        self.control(0, 1, b"\1")
        self.qmp.command("query-status")
        self.assertEqual([e for e in self.qmp.events if e["event"] == "NIC_RX_FILTER_CHANGED"], [])
        self.qmp.command("query-rx-filter", name="net0")
        self.control(0, 1, b"\0")
        self.qmp.event("NIC_RX_FILTER_CHANGED")


class Links(Card):
    def status(self):
        return self.card.get(0x2006, 2)

    def test_set_link(self):
        for name in "net0", "n0":
            with self.subTest(name):
                self.start(F_STATUS)
                self.assertEqual(self.status(), 1)
                generation = self.card.get(0x15, 1)
                self.qmp.command("set_link", name=name, up=False)
                self.assertEqual(self.status(), 0)
                self.assertNotEqual(self.card.get(0x15, 1), generation)
                self.offer()
                self.cable.send(frame())  # lost
                self.send(bytes(12), frame(PEER))  # too
                self.qmp.command("set_link", name=name, up=True)
                self.assertEqual(self.status(), 1)
                self.send(bytes(12), frame(PEER, data=b"2" * 50))
                self.assertEqual(self.cable.receive(), frame(PEER, data=b"2" * 50))
                self.cable.send(frame(data=b"3" * 50))
                while self.receive()[1] != frame(data=b"3" * 50):
                    self.offer()
                self.door.close()
                shutil.rmtree(self.dir)
                os.mkdir(self.dir)

    def test_no_such_link(self):
        self.open_door()
        self.assertEqual(self.qmp.request("set_link", name="net9", up=True)["error"],
                         {"class": "DeviceNotFound", "desc": "Device 'net9' not found"})

    def test_back_end_goes(self):
        """The card stays, with its link down."""
        self.start(F_STATUS)
        self.qmp.command("netdev_del", id="n0")
        self.assertEqual(self.status(), 0)
        self.send(bytes(12), frame(PEER))
        self.assertIn("type=nic", self.info())
        self.assertNotIn("stream", self.info())
        self.assertFalse(os.path.exists(self.dir + "/cable"))
        self.card.put(0x14, 0, 1)
        self.up(F_STATUS)

    def info(self):
        return self.qmp.command("human-monitor-command", command_line="info network")

    def test_announce(self):
        self.start(ALL_CTRL)
        self.qmp.command("announce-self", initial=1, max=2, rounds=3, step=1, interfaces=["net0"])
        for _ in range(3):
            data = self.cable.receive()
            self.assertEqual((len(data), data[:14], data[22:28]),
                             (60, BROADCAST + MAC + b"\x80\x35", MAC))
        self.assertEqual(self.status(), 3)
        self.assertEqual(self.control(3, 0), 0)
        self.assertEqual(self.status(), 1)
        self.qmp.command("announce-self", initial=1, max=2, rounds=1, step=1, interfaces=["x"])
        self.assertEqual(self.status(), 1)
        self.qmp.command("announce-self", initial=1, max=1, rounds=1000, step=1, id="s")
        self.qmp.command("announce-self", initial=1, max=1, rounds=0, step=1, id="s")
        self.cable.sock.settimeout(0.2 * TIME_FACTOR)
        with self.assertRaises(TimeoutError):
            for _ in range(1000):
                self.cable.receive()
        self.assertIn("rounds", self.qmp.request("announce-self", initial=1, max=2, rounds=-1,
                                                 step=1)["error"]["desc"])

    def test_mtu(self):
        card = self.open_door(device=",host_mtu=1400,speed=1000,duplex=full")
        self.assertEqual((card.get(0x200a, 2), card.get(0x200c, 4), card.get(0x2010, 1)),
                         (1400, 1000, 1))

    def test_stream_comes_again(self):
        self.start()
        self.offer()
        self.cable.close()
        self.assertEqual(self.qmp.event("NETDEV_STREAM_DISCONNECTED")["data"], {"netdev-id": "n0"})
        self.cable = self.connect()
        data = self.qmp.event("NETDEV_STREAM_CONNECTED")["data"]
        self.assertEqual((data["netdev-id"], data["addr"]["type"], data["addr"]["path"]),
                         ("n0", "unix", self.dir + "/cable"))
        self.cable.send(frame())
        self.assertEqual(self.receive()[1], frame())
        self.offer()
        self.cable.sock.sendall(struct.pack(">I", 1 << 30))  # no frame is so long
        self.qmp.event("NETDEV_STREAM_DISCONNECTED")


class Hostile(Card):
    def broken(self):
        end = time.monotonic() + 20 * TIME_FACTOR
        while not self.card.status & NEEDS_RESET:
            self.assertLess(time.monotonic(), end, "the device goes on")
        self.assertEqual(self.qmp.command("query-status")["status"], "running")
        self.up()  # after a reset it works again
        self.offer()
        self.cable.send(frame())
        while self.receive()[1] != frame():
            self.offer()

    def test_short_header(self):
        self.start()
        self.card.queues[TX].offer([b"short"])
        self.broken()

    def test_small_buffer(self):
        self.start(F_MRG)
        self.offer(8)
        self.cable.send(frame())
        self.broken()

    def test_loop(self):
        self.start()
        queue = self.card.queues[TX]
        queue.offer([bytes(12), frame(PEER)])
        queue.take()
        self.door.write(queue.memory + 0x10000,
                        struct.pack("<QIHH", queue.memory + 0x20000, 64, 1, 0))
        self.door.write(queue.memory + 0x12000 + 4 + 2, struct.pack("<H", 0))
        self.door.write(queue.memory + 0x12000 + 2, struct.pack("<H", 2))
        queue.ring()
        self.broken()

    def test_huge(self):
        """More than any frame has: it is not sent, and the card goes on."""
        self.start()
        queue = self.card.queues[TX]
        queue.offer([bytes(12), frame(PEER)])
        queue.take()
        self.cable.receive()
        for i in range(4):
            self.door.write(queue.memory + 0x10000 + 16 * i,
                            struct.pack("<QIHH", 0x100000, 0x40000, 1 if i < 3 else 0, i + 1))
        self.door.write(queue.memory + 0x12000 + 4 + 2, struct.pack("<H", 0))
        self.door.write(queue.memory + 0x12000 + 2, struct.pack("<H", 2))
        queue.ring()
        queue.take()
        queue.avail, queue.free = 2, 4
        queue.offer([bytes(12), frame(PEER, data=b"after" * 10)])
        self.assertEqual(self.cable.receive(), frame(PEER, data=b"after" * 10))

    def test_control_without_answer(self):
        self.start(ALL_CTRL)
        self.card.queues[CTRL].offer([b"\0\0\1"])
        self.broken()


class Backends(Card):
    def echo(self, send, receive):
        self.up()
        self.offer()
        send(frame())
        self.assertEqual(self.receive()[1], frame())
        self.send(bytes(12), frame(PEER))
        self.assertEqual(receive(), frame(PEER))

    def test_stream_tcp(self):
        self.card = self.open_door(netdev="stream,id=n0,server=on,addr.type=inet,"
                                          "addr.host=127.0.0.1,addr.port=0")
        # which port it is only the kernel knows: found by who listens
        port = listening_port(self.door.process.pid)
        cable = Cable(socket.create_connection(("127.0.0.1", port)))
        self.addCleanup(cable.close)
        data = self.qmp.event("NETDEV_STREAM_CONNECTED")["data"]["addr"]
        self.assertEqual((data["type"], data["host"], data["port"]),
                         ("inet", "127.0.0.1", str(cable.sock.getsockname()[1])))
        self.echo(cable.send, cable.receive)

    def test_stream_client(self):
        for netdev in ("stream,id=n0,addr.type=inet,addr.host=localhost,addr.port={port},addr.ipv6=off",
                       "socket,id=n0,connect=127.0.0.1:{port}"):
            with self.subTest(netdev), socket.create_server(("127.0.0.1", 0)) as server:
                self.card = self.open_door(
                    netdev=netdev.replace("{port}", str(server.getsockname()[1])))
                server.settimeout(20 * TIME_FACTOR)
                cable = Cable(server.accept()[0])
                self.echo(cable.send, cable.receive)
                cable.close()
                self.door.close()

    def test_socket_listen(self):
        self.card = self.open_door(netdev="socket,id=n0,listen=127.0.0.1:0")
        cable = Cable(socket.create_connection(
            ("127.0.0.1", listening_port(self.door.process.pid))))
        self.addCleanup(cable.close)
        self.echo(cable.send, cable.receive)

    def test_hub(self):
        """Cards at ports of one hub hear one another, and nobody else."""
        more = []
        for n, hub in ((1, 7), (2, 8)):
            more += ["-netdev", f"hubport,id=p{n},hubid={hub}", "-device",
                     f"virtio-net-pci,netdev=p{n},id=c{n},addr={SLOT + n:x},mac=52:54:00:aa:bb:c{n}"]
        cards = [self.open_door(*more, netdev="hubport,id=n0,hubid=7")]
        cards += [Device(self.door, SLOT + n, bar=0xe0000000 + n * 0x10000) for n in (1, 2)]
        for n, card in enumerate(cards):
            card.start(queues=2, memory=0x200000 + n * 0x100000)
            card.queues[RX].offer([], [2048])
        cards[0].queues[TX].request([bytes(12), frame(PEER)], [])
        head, length = cards[1].queues[RX].take()
        self.assertEqual(cards[1].queues[RX].written(head, [], [2048])[0][:length], bytes(10) + b"\1\0" + frame(PEER))
        self.assertFalse(cards[0].queues[RX].done() or cards[2].queues[RX].done())
        cards[2].queues[TX].request([bytes(12), frame(PEER)], [])  # nobody is there
        self.assertIn("hubid=7", self.info())
        self.qmp.command("netdev_del", id="p1")
        cards[0].queues[TX].request([bytes(12), frame(PEER)], [])

    def info(self):
        return self.qmp.command("human-monitor-command", command_line="info network")

    def test_dgram_unix(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(self.dir + "/mine")
            sock.settimeout(20 * TIME_FACTOR)
            self.card = self.open_door(
                netdev="dgram,id=n0,local.type=unix,local.path={0}/its,"
                       "remote.type=unix,remote.path={0}/mine")
            self.echo(lambda data: sock.sendto(data, self.dir + "/its"), lambda: sock.recv(70000))

    def test_dgram_inet(self):
        for netdev in ("dgram,id=n0,local.type=inet,local.host=127.0.0.1,local.port={its},"
                       "remote.type=inet,remote.host=127.0.0.1,remote.port={mine}",
                       "socket,id=n0,udp=127.0.0.1:{mine},localaddr=127.0.0.1:{its}"):
            with self.subTest(netdev), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", 0))
                sock.settimeout(20 * TIME_FACTOR)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                    other.bind(("127.0.0.1", 0))
                    its = other.getsockname()
                self.card = self.open_door(netdev=netdev.replace("{its}", str(its[1])).replace(
                    "{mine}", str(sock.getsockname()[1])))
                self.echo(lambda data: sock.sendto(data, its), lambda: sock.recv(70000))
                self.door.close()

    def test_multicast(self):
        group, port = "230.0.0.77", 20000 + os.getpid() % 20000
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((group, port))
            sock.settimeout(20 * TIME_FACTOR)
            lo = socket.inet_aton("127.0.0.1")
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                            socket.inet_aton(group) + lo)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, lo)
            self.card = self.open_door(netdev=f"socket,id=n0,mcast={group}:{port},localaddr=127.0.0.1")

            def receive():
                while True:
                    data = sock.recv(70000)
                    if data != frame():  # one's own comes back
                        return data

            self.echo(lambda data: sock.sendto(data, (group, port)), receive)

    def test_offloads_only_where_possible(self):
        for netdev, want in ((None, False), ("user,id=n0", True)):
            card = self.open_door(netdev=netdev)
            card.put(0x00, 0, 4)
            offered = card.get(0x04, 4)
            self.assertEqual(bool(offered & (F_CSUM | F_HOST_TSO4 | F_GUEST_CSUM)), want)
            self.door.close()


def listening_port(pid):
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        if link.startswith("socket:["):
            inodes.add(link[8:-1])
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table.readlines()[1:]:
            field = line.split()
            if field[3] == "0A" and field[9] in inodes:
                return int(field[1].split(":")[1], 16)
    raise AssertionError("nobody listens")


class User(Card):
    def checksum(self, data):
        data += b"\0" * (len(data) & 1)
        total = sum(struct.unpack(f">{len(data) // 2}H", data))
        while total >> 16:
            total = (total & 0xffff) + (total >> 16)
        return total ^ 0xffff

    def test_arp_and_ping(self):
        """The gateway is at 10.0.2.2."""
        self.card = self.open_door(netdev="user,id=n0")
        self.up()
        self.offer()
        arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + MAC + bytes([10, 0, 2, 15]) + bytes(6)
        self.send(bytes(12), frame(BROADCAST, 0x0806, arp + bytes([10, 0, 2, 2]), MAC))
        answer = self.receive()[1]
        self.assertEqual((answer[12:14], answer[20:22], answer[28:32]),
                         (b"\x08\x06", b"\0\2", bytes([10, 0, 2, 2])))
        gateway = answer[6:12]
        icmp = b"\x08\0\0\0\0\1\0\1" + b"ping" * 8
        icmp = icmp[:2] + struct.pack(">H", self.checksum(icmp)) + icmp[4:]
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0,
                         bytes([10, 0, 2, 15]), bytes([10, 0, 2, 2]))
        ip = ip[:10] + struct.pack(">H", self.checksum(ip)) + ip[12:]
        self.offer()
        self.send(bytes(12), frame(gateway, 0x0800, ip + icmp, MAC))
        answer = self.receive()[1]
        self.assertEqual((answer[:6], answer[34], answer[38:]), (MAC, 0, icmp[4:]))

    def test_undone_checksum(self):
        """What the guest left to the card is computed: the datagram comes back through a server here."""
        self.card = self.open_door(netdev="user,id=n0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(20 * TIME_FACTOR)
            self.up(F_CSUM | F_GUEST_CSUM)
            gateway = bytes.fromhex("52550a000202")
            payload = b"undone checksum"
            pseudo = bytes([10, 0, 2, 15, 10, 0, 2, 2, 0, 17]) + struct.pack(">H", 8 + len(payload))
            udp = struct.pack(">HHHH", 5000, server.getsockname()[1], 8 + len(payload),
                              self.checksum(pseudo) ^ 0xffff) + payload
            ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 1, 0, 64, 17, 0,
                             bytes([10, 0, 2, 15]), bytes([10, 0, 2, 2]))
            ip = ip[:10] + struct.pack(">H", self.checksum(ip)) + ip[12:]
            self.send(struct.pack("<BBHHHHH", 1, 0, 0, 0, 34, 6, 0),
                      frame(gateway, 0x0800, ip + udp, MAC))
            data, source = server.recvfrom(100)
            self.assertEqual(data, payload)
            self.offer()
            server.sendto(b"answer", source)
            header, data = self.receive()
            if data[12:14] == b"\x08\x06":  # it asks for us first
                arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2) + MAC + bytes([10, 0, 2, 15])
                self.send(bytes(12), frame(gateway, 0x0806, arp + data[22:32], MAC))
                self.offer()
                header, data = self.receive()
            self.assertEqual((header[0], data[42:48]), (2, b"answer"))


class Commands(Card):
    def human(self, line):
        return self.qmp.command("human-monitor-command", command_line=line)

    def test_netdev_add(self):
        self.door = Door(qmp=True)
        self.addCleanup(self.door.close)
        self.qmp = self.door.qmp
        add = self.qmp.request
        self.assertEqual(add("netdev_add", type="user", id="u0"), {"return": {}})
        for arguments, text in (
                ({"type": "user", "id": "u0"}, "Duplicate ID 'u0'"),
                ({"type": "user", "id": "0u"}, "Parameter 'id' expects an identifier"),
                ({"type": "foo", "id": "x"}, "Parameter 'type' does not accept value 'foo'"),
                ({"type": "user", "id": "x", "net": "10.0.2.0/99"}, "Failed to parse netmask"),
                ({"type": "user", "id": "x", "host": "1.2.3.4"}, "Host doesn't belong to network"),
                ({"type": "user", "id": "x", "hostfwd": [{"str": "tcp:x"}]}, "Missing : separator"),
                ({"type": "user", "id": "x", "ipv4": False, "ipv6": False}, "IPv4 and IPv6 disabled"),
                ({"type": "user", "id": "x", "tftp": "/does/not/exist"}, "is no folder"),
                ({"type": "tap", "id": "x", "fd": "nope"}, "'nope' has not been found"),
                ({"type": "tap", "id": "x", "fd": "0"}, "is no tap interface"),
                ({"type": "tap", "id": "x", "vhost": False, "vhostfd": "0"},
                 "vhostfd(s)= is not valid without vhost"),
                ({"type": "tap", "id": "x", "vhost": True, "vhostfds": "0"},
                 "vhostfds= is invalid if fds= wasn't specified"),
                ({"type": "tap", "id": "x", "fds": "0:1", "vhostfd": "0"}, "invalid with fds="),
                ({"type": "socket", "id": "x"}, "exactly one of"),
                ({"type": "socket", "id": "x", "connect": "nowhere"}, "doesn't contain ':'"),
                ({"type": "dgram", "id": "x"}, "requires local= or remote="),
                ({"type": "stream", "id": "x", "addr": {"type": "unix", "path": "/no/such"}},
                 "can't connect to /no/such")):
            self.assertIn(text, add("netdev_add", **arguments)["error"]["desc"])
        self.assertEqual(add("netdev_del", id="u9")["error"],
                         {"class": "DeviceNotFound", "desc": "Device 'u9' not found"})
        self.assertEqual(self.human("info network"),
                         "u0: index=0,type=user,net=10.0.2.0,restrict=off\r\n")
        self.assertEqual(add("netdev_del", id="u0"), {"return": {}})
        self.assertEqual(self.human("info network"), "")

    def test_query(self):
        self.open_door()
        self.assertEqual(self.qmp.request("query-rx-filter", name="n0")["error"]["desc"],
                         "net client(n0) isn't a NIC")
        self.assertEqual(self.qmp.request("query-rx-filter", name="q")["error"]["desc"],
                         "invalid net client name: q")
        self.assertEqual(self.human("info network"),
                         "net0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:aa:bb:cc\r\n"
                         " \\ n0: index=0,type=stream,listening\r\n")

    def test_hostfwd(self):
        self.open_door(netdev="user,id=n0")
        self.assertEqual(self.human("hostfwd_add tcp:127.0.0.1:0-:22"), "")
        port = listening_port(self.door.process.pid)
        self.assertIn(f"HOST_FORWARD]  ", self.human("info usernet"))
        self.assertIn(str(port), self.human("info usernet"))
        self.assertEqual(self.human(f"hostfwd_add n0 tcp:127.0.0.1:{port}-:22"),
                         f"Could not set up host forwarding rule 'tcp:127.0.0.1:{port}-:22'\r\n")
        self.assertEqual(self.human("hostfwd_add bogus"),
                         "Invalid host forwarding rule 'bogus' (No : separators)\r\n")
        self.assertEqual(self.human(f"hostfwd_remove tcp:127.0.0.1:{port}"),
                         f"host forwarding rule for tcp:127.0.0.1:{port} removed\r\n")
        self.assertEqual(self.human(f"hostfwd_remove n0 tcp:127.0.0.1:{port}"),
                         f"host forwarding rule for tcp:127.0.0.1:{port} not found\r\n")

    def test_human(self):
        self.start(F_STATUS)
        self.assertEqual(self.human("set_link net0 off"), "")
        self.assertEqual(self.card.get(0x2006, 2), 0)
        self.assertEqual(self.human("set_link nope on"), "Error: Device 'nope' not found\r\n")
        self.human("set_link net0 on")
        self.human("announce_self net0")
        self.assertEqual(self.cable.receive()[6:12], MAC)
        self.assertEqual(self.human("netdev_add user,id=u1,restrict=on,hostfwd=tcp::0-:1,"
                                    "hostfwd=udp::0-:2"), "")
        self.assertIn("u1: index=0,type=user,net=10.0.2.0,restrict=on", self.human("info network"))
        self.assertEqual(self.human("info usernet").count("HOST_FORWARD"), 2)
        self.assertEqual(self.human("netdev_del u1"), "")

    def test_command_line(self):
        for args, text in (
                (("-netdev", "user"), "Parameter 'id' is missing"),
                (("-netdev", "user,id=a,foo=1"), "'foo' is unexpected"),
                (("-nic", "user,model=e1000"), "Unsupported NIC model: e1000"),
                (("-net", "user"), "only 'none' is possible"),
                (("-device", "virtio-net-pci,netdev=x"),
                 "Property 'virtio-net-pci.netdev' can't find value 'x'"),
                (("-device", "virtio-net-pci,mac=12:34"), "is no address like"),
                (("-device", "virtio-net-pci,rx_queue_size=300"), "a power of two"),
                (("-netdev", "user,id=a", "-device", "virtio-net-pci,netdev=a", "-device",
                  "virtio-net-pci,netdev=a"), "can't take value 'a', it's in use")):
            with self.subTest(args):
                result = run("-accel", "qtest", "-display", "none", *args)
                self.assertEqual(result.returncode, 1)
                self.assertIn(text, result.stderr)
        self.assertIn("dgram", run("-netdev", "help").stdout)

    def test_nic(self):
        self.door = Door("-nic", "user,id=u0,mac=52:54:00:00:00:77", "-nic", "user", "-nic", "none",
                         qmp=True)
        self.addCleanup(self.door.close)
        self.qmp = self.door.qmp
        text = self.human("info network")
        self.assertIn("macaddr=52:54:00:00:00:77\r\n \\ u0: index=0,type=user", text)
        self.assertIn("virtio-net-pci.1: index=0,type=nic,model=virtio-net-pci,"
                      "macaddr=52:54:00:12:34:56\r\n", text)


class Vhost(Card):
    def test_does_not_start(self):
        """Where the kernel does not take the queues, the card works without."""
        name = f"gwt{os.getpid()}"
        made = subprocess.run(["ip", "tuntap", "add", "dev", name, "mode", "tap"], capture_output=True,
                              check=False) if shutil.which("ip") else None
        if not made or made.returncode:
            self.skipTest("no tap interface can be made here")
        self.addCleanup(subprocess.run, ["ip", "link", "del", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        with mock.patch.dict(os.environ, LD_PRELOAD=os.environ["VHOST_FAILS_PRELOAD"],
                             ASAN_OPTIONS="verify_asan_link_order=0"):
            self.card = self.open_door(
                netdev=f"tap,id=n0,ifname={name},script=no,downscript=no,vhost=on")
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b5))
        self.addCleanup(wire.close)
        wire.bind((name, 0x88b5))
        wire.settimeout(20 * TIME_FACTOR)
        for _ in range(2):  # the next driver is served, too
            self.up()
            self.assertEqual(self.card.status, 15)
            self.send(bytes(12) + frame(BROADCAST, by=MAC))
            while (got := wire.recv(2000)) != frame(BROADCAST, by=MAC):
                pass
            self.assertEqual(got, frame(BROADCAST, by=MAC))
            self.offer()
            wire.send(frame())
            while (got := self.receive()[1]) != frame():
                self.offer()  # the host's own
            self.card.put(0x14, 0, 1)
        self.door.process.kill()
        errors = self.door.process.communicate()[1].decode()
        self.assertEqual(errors.count("godwit moves the frames itself"), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
