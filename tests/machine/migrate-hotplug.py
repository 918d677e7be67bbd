#!/usr/bin/env python3
"""A machine to which something was plugged goes to one that was started with it: the state of what came
later, and memory wherever it lies. What differs is an error that names both sides."""
import os
import shutil
import tempfile
import time
import unittest

from godwit import TIME_FACTOR
from qtest import Door

LIMIT = 60 * TIME_FACTOR
CPU = "qemu64-x86_64-cpu"


class Case(unittest.TestCase):
    ARGS = ()

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-plug-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.number = 0

    def door(self, *args, machine="q35"):
        door = Door(*self.ARGS, *args, qmp=True, machine=machine)
        self.addCleanup(door.close)
        return door

    def go(self, source, *args, machine="q35"):
        """The machine that the source goes to, which was started with those."""
        self.number += 1
        path = os.path.join(self.dir, f"m{self.number}")
        to = self.door("-incoming", f"unix:{path}", *args, machine=machine)
        source.qmp.command("migrate", uri=f"unix:{path}")
        end = time.monotonic() + LIMIT
        while (status := source.qmp.command("query-migrate")["status"]) not in ("completed", "failed"):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        return to, status

    def goes(self, source, *args, **more):
        to, status = self.go(source, *args, **more)
        self.assertEqual(status, "completed")
        end = time.monotonic() + LIMIT
        while to.qmp.command("query-status")["status"] == "inmigrate":
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        return to

    def refused(self, source, text, *args):
        source.qmp.command("migrate-set-capabilities", capabilities=[
            {"capability": "return-path", "state": True}])
        to, status = self.go(source, *args)
        self.assertEqual((status, to.wait()), ("failed", 1))
        self.assertIn(text, to.process.stderr.read().decode())
        self.assertIn(text, source.qmp.command("query-migrate")["error-desc"])
        self.assertEqual(source.qmp.command("query-status")["status"], "running")


class Functions(Case):
    ARGS = ("-device", "pcie-root-port,id=p1,chassis=1,slot=1,addr=5.0",
            "-device", "pcie-root-port,id=p2,chassis=2,slot=2,addr=6.0")

    def test_slots(self):
        """What was plugged into root ports, in the other order than it is there."""
        source = self.door()
        source.qmp.command("device_add", driver="virtio-rng-pci", id="b", bus="p2")
        source.qmp.command("device_add", driver="virtio-balloon-pci", id="a", bus="p1")
        source.outl(0xcf8, 0x80000000 | 5 << 11 | 0x18)
        source.outl(0xcfc, 0x00020200)  # the port's bus is 2
        source.outl(0xcf8, 0x80020000 | 0x14)
        source.outl(0xcfc, 0xfe000000)
        rng = ("-device", "virtio-rng-pci,id=b,bus=p2")
        balloon = ("-device", "virtio-balloon-pci,id=a,bus=p1")
        self.refused(source, "device '/b': a virtio-rng-pci in the stream, none in this machine",
                     *balloon)
        self.refused(source, "device '/a': a virtio-balloon-pci in the stream, a virtio-rng-pci in "
                     "this machine", "-device", "virtio-rng-pci,id=a,bus=p1", *rng)
        self.refused(source, "device '/b': its address is 00.0 on p2 in the stream, 00.0 on p1 in "
                     "this machine", "-device", "virtio-balloon-pci,id=a,bus=p2", "-device",
                     "virtio-rng-pci,id=b,bus=p1")
        to = self.goes(source, *balloon, *rng)
        to.outl(0xcf8, 0x80020000 | 0x14)
        self.assertEqual(to.inl(0xcfc) & ~15, 0xfe000000)
        self.assertEqual(to.config(0, 0) & 0xffff, 0x8086)
        to.qmp.command("device_del", id="b")

    def test_slots_of_a_pc(self):
        source = Door("-device", "virtio-rng-pci,id=cold,addr=7", qmp=True, machine="pc")
        self.addCleanup(source.close)
        source.qmp.command("device_add", driver="virtio-rng-pci", id="hot", addr="9")
        self.ARGS = ()
        to = self.goes(source, "-device", "virtio-rng-pci,id=cold,addr=7", "-device",
                       "virtio-rng-pci,id=hot,addr=9", machine="pc")
        self.assertEqual(to.config(9 << 3, 0) & 0xffff, 0x1af4)

    def test_gone(self):
        """What was taken away is not missed."""
        source = self.door("-device", "virtio-rng-pci,id=b,bus=p2")
        source.qmp.command("device_del", id="b")
        source.qmp.command("system_reset")  # ends the slot's wait for the guest
        source.qmp.event("DEVICE_DELETED")
        source.qmp.event("DEVICE_DELETED")
        self.goes(source)

    def test_ports(self):
        """Chardevs and what sits at them."""
        serial = ("-device", "virtio-serial-pci,id=s,bus=p1")
        source = self.door(*serial)
        source.qmp.command("chardev-add", id="c", backend={"type": "null", "data": {}})
        source.qmp.command("device_add", driver="virtserialport", id="vp", bus="s.0", chardev="c",
                           name="a.b")
        self.refused(source, "device '/vp': a virtserialport in the stream, none in this machine",
                     *serial)
        to = self.goes(source, *serial, "-chardev", "null,id=c", "-device",
                       "virtserialport,id=vp,bus=s.0,chardev=c,name=a.b")
        self.assertIn("vp", [p["name"] for p in to.qmp.command("qom-list",
                                                               path="/machine/peripheral")])


class Memory(Case):
    ARGS = ("-m", "16,slots=3,maxmem=1G")

    def files(self, *numbers):
        return [arg for i in numbers for arg in ("-object", f"memory-backend-ram,id=m{i},size=32M")]

    def where(self, door):
        return {d["data"]["id"]: d["data"]["addr"] for d in door.qmp.command("query-memory-devices")}

    def test_modules(self):
        """Two modules, the second in the first slot: the other side lists its memory in another
        order."""
        source = self.door()
        for i in (1, 2):
            source.qmp.command("object-add", **{"qom-type": "memory-backend-ram", "id": f"m{i}",
                                                "size": 32 << 20})
        source.qmp.command("device_add", driver="pc-dimm", id="d2", memdev="m2", slot=1)
        source.qmp.command("device_add", driver="pc-dimm", id="d1", memdev="m1", slot=0)
        where = self.where(source)
        for name, at in where.items():
            source.write(at, b"this is " + name.encode())
            source.write(at + (32 << 20) - 4096, b"end of " + name.encode())
        source.write(0x100000, b"low memory")
        dimms = [f"pc-dimm,id=d{i},memdev=m{i},slot={i - 1},addr={where[f'd{i}']:#x}" for i in (1, 2)]
        one, two = (["-device", dimm] for dimm in dimms)
        self.refused(source, "memory 'm2': 33554432 bytes in the stream, none in this machine",
                     *self.files(1), *one)
        swapped = [f"pc-dimm,id=d{i},memdev=m{i},slot={i - 1},addr={where[f'd{3 - i}']:#x}"
                   for i in (1, 2)]
        self.refused(source, "device '/d2': its address is 0x100000000 in slot 1 in the stream, "
                     "0x102000000 in slot 1 in this machine", *self.files(1, 2), "-device",
                     swapped[0], "-device", swapped[1])
        to = self.goes(source, *self.files(2, 1), *one, *two)
        self.assertEqual(self.where(to), where)
        for name, at in where.items():
            self.assertEqual(to.read(at, 10), b"this is " + name.encode())
            self.assertEqual(to.read(at + (32 << 20) - 4096, 9), b"end of " + name.encode())
        self.assertEqual(to.read(0x100000, 10), b"low memory")
        to.outl(0xa00, 1)
        self.assertEqual(to.inb(0xa14) & 1, 1)

    def test_asked_for(self):
        """The question whether the guest lets go is still open on the other side."""
        source = self.door(*self.files(1), "-device", "pc-dimm,id=d,memdev=m1")
        source.qmp.command("device_del", id="d")
        to = self.goes(source, *self.files(1), "-device", "pc-dimm,id=d,memdev=m1")
        to.outl(0xa00, 0)
        self.assertEqual(to.inb(0xa14), 5)
        to.outb(0xa14, 8)
        self.assertEqual(to.qmp.event("DEVICE_DELETED")["data"]["device"], "d")


class Cpus(Case):
    ARGS = ("-cpu", "qemu64", "-smp", "1,sockets=2,cores=2,maxcpus=4")

    def test_places(self):
        source = self.door()
        for socket, core in ((1, 1), (0, 1)):
            source.qmp.command("device_add", driver=CPU, id=f"c{socket}{core}",
                               **{"socket-id": socket, "core-id": core, "thread-id": 0})
        args = [("-device", f"{CPU},id=c{s}{c},socket-id={s},core-id={c},thread-id=0")
                for s, c in ((0, 1), (1, 1), (1, 0))]
        self.refused(source, "CPUs: 3 in the stream, 2 in this machine", *args[0])
        self.refused(source, "CPU 3: in the stream, not in this machine", *args[0], *args[2])
        to = self.goes(source, *args[0], *args[1])
        self.assertEqual([c["cpu-index"] for c in to.qmp.command("query-cpus-fast")], [0, 1, 3])
        self.assertEqual([p.get("qom-path") for p in to.qmp.command("query-hotpluggable-cpus")],
                         ["/machine/peripheral/c11", None, "/machine/peripheral/c01",
                          "/machine/unattached/device[0]"])
        to.outl(0xcd8, 3)
        self.assertEqual(to.inb(0xcdc), 3)  # there, and the guest has not been told


if __name__ == "__main__":
    unittest.main(verbosity=2)
