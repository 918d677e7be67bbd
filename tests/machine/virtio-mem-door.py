#!/usr/bin/env python3
"""virtio-mem by the register door: plugging and unplugging as the device is asked for, what a driver must
not do, and what the host asks, sees and is told. With GODWIT=qemu-system-x86_64 it tests QEMU."""
import os
import shutil
import struct
import tempfile
import time
import unittest

import godwit
import oracle
from qtest import Door
from virtio import Device

IS_QEMU = "qemu" in os.path.basename(godwit.GODWIT)
ACCEL, QEMU = ("tcg", ("-S",)) if IS_QEMU else ("qtest", ())  # Debian's has no such accelerator
SLOT, MIB = 5, 1 << 20
PLUG, UNPLUG, UNPLUG_ALL, STATE = range(4)
ACK, NACK, BUSY, ERROR = range(4)
PLUGGED, UNPLUGGED, MIXED = range(3)
BLOCK = 2 * MIB


class Case(unittest.TestCase):
    def door(self, *args, device="", machine=("-m", "16,maxmem=1G")):
        # The backend has 64 blocks.
        door = Door(*machine, "-object", "memory-backend-ram,id=m0,size=128M", "-device",
                    f"virtio-mem-pci,id=vm0,memdev=m0,addr={SLOT:x}{device}", *args, *QEMU, qmp=True, accel=ACCEL)
        self.addCleanup(door.close)
        return door

    def start(self, *args, features=2, **more):
        self.host = self.door(*args, **more)
        self.card = Device(self.host, SLOT)
        self.card.start(features)
        self.addr = self.config(16)

    def config(self, offset):
        return self.card.get(0x2000 + offset, 8)

    def ask(self, kind, block=0, n=1, addr=None, size=24):
        """The answer, and the state in it."""
        request = struct.pack("<H6xQH6x", kind, self.addr + block * BLOCK if addr is None else addr, n)
        queue = self.card.queues[0]
        queue.offer([request[:size]], [10])
        head, written = queue.take()
        self.assertEqual(written, 10)
        data = self.host.read(queue.memory + 0x20000 + head * 0x2000 + 32, 10)
        return struct.unpack("<H6xH", data)

    def answers(self, *args, **more):
        return self.ask(*args, **more)[0]

    def want(self, size):
        self.host.qmp.command("qom-set", path="/machine/peripheral/vm0", property="requested-size",
                              value=size)

    def changed(self):
        data = self.host.qmp.event("MEMORY_DEVICE_SIZE_CHANGE")["data"]
        self.assertEqual((data["id"], data["qom-path"]), ("vm0", "/machine/peripheral/vm0"))
        return data["size"]

    def told(self):
        (info,) = self.host.qmp.command("query-memory-devices")
        self.assertEqual(info["type"], "virtio-mem")
        return info["data"]


class Guest(Case):
    def test_config(self):
        self.start(device=",requested-size=8M")
        self.assertEqual([self.config(at) for at in (0, 8, 24, 32, 40, 48)],
                         [BLOCK, 0, 128 * MIB, 128 * MIB, 0, 8 * MIB])
        self.assertEqual(self.addr % (128 * MIB), 0)
        self.assertEqual(self.told(), {
            "id": "vm0", "memaddr": self.addr, "requested-size": 8 * MIB, "size": 0,
            "max-size": 128 * MIB, "block-size": BLOCK, "node": 0, "memdev": "/objects/m0"})
        self.assertEqual(self.host.qmp.command("query-memory-size-summary"),
                         {"base-memory": 16 * MIB, "plugged-memory": 0})
        generation = self.card.get(0x15, 1)
        self.want(10 * MIB)
        self.assertEqual(self.config(48), 10 * MIB)
        self.assertNotEqual(self.card.get(0x15, 1), generation)

    def test_plug_and_unplug(self):
        self.start(device=",requested-size=8M")
        self.assertEqual(self.ask(STATE, 0, 64), (ACK, UNPLUGGED))
        self.assertEqual(self.answers(PLUG, 3, 2), ACK)
        self.assertEqual(self.changed(), 4 * MIB)
        self.assertEqual(self.config(40), 4 * MIB)
        self.assertEqual([self.ask(STATE, *what)[1] for what in ((3, 2), (3, 1), (2, 2), (5, 1))],
                         [PLUGGED, PLUGGED, MIXED, UNPLUGGED])
        at = self.addr + 3 * BLOCK
        self.host.write(at, b"here")
        self.host.write(at + 2 * BLOCK - 4, b"last")
        self.assertEqual(self.host.read(at, 4) + self.host.read(at + 2 * BLOCK - 4, 4), b"herelast")
        self.assertEqual(self.answers(PLUG, 4, 1), ERROR)  # it is already
        self.assertEqual(self.answers(PLUG, 4, 2), ERROR)
        self.assertEqual(self.answers(PLUG, 10, 3), NACK)  # more than is asked for
        self.assertEqual(self.answers(UNPLUG, 4, 2), ERROR)
        self.assertEqual(self.told()["size"], 4 * MIB)
        self.assertEqual(self.answers(UNPLUG, 3, 1), ACK)
        self.assertEqual(self.changed(), 2 * MIB)
        self.assertEqual(self.answers(PLUG, 3, 1), ACK)
        self.assertEqual(self.changed(), 4 * MIB)
        self.assertEqual(self.host.read(at, 4), bytes(4))  # what was there is gone
        self.assertEqual(self.host.read(at + 2 * BLOCK - 4, 4), b"last")
        self.assertEqual(self.host.qmp.command("query-memory-size-summary")["plugged-memory"],
                         4 * MIB)
        self.assertEqual(self.answers(UNPLUG_ALL), ACK)
        self.assertEqual(self.changed(), 0)
        self.assertEqual(self.ask(STATE, 0, 64), (ACK, UNPLUGGED))

    def test_wrong_ranges(self):
        self.start(device=",requested-size=128M")
        for addr, n in ((self.addr + 4096, 1), (self.addr - BLOCK, 1), (0, 1), (1 << 63, 1),
                        (self.addr + 64 * BLOCK, 1), (self.addr + 63 * BLOCK, 2), (self.addr, 65),
                        (self.addr, 65535), (self.addr, 0)):
            for kind in (PLUG, UNPLUG, STATE):
                self.assertEqual(self.answers(kind, addr=addr, n=n), ERROR)
        self.assertEqual(self.answers(PLUG, 0, 64), ACK)
        self.assertEqual(self.changed(), 128 * MIB)

    def test_usable(self):
        """What was usable stays so until nothing is plugged."""
        self.start()
        self.assertEqual(self.config(32), 0)
        self.assertEqual(self.answers(STATE), ERROR)
        self.want(4 * MIB)
        self.assertEqual(self.config(32), 128 * MIB)
        self.assertEqual(self.answers(PLUG, 63), ACK)
        self.want(0)
        self.assertEqual(self.config(32), 128 * MIB)
        self.assertEqual(self.answers(UNPLUG, 63), ACK)
        self.assertEqual(self.answers(UNPLUG_ALL), ACK)
        self.assertEqual(self.config(32), 0)

    def test_reset(self):
        """A reset of the machine takes all away, one of the device nothing."""
        self.start(device=",requested-size=8M")
        self.assertEqual(self.answers(PLUG, 0, 4), ACK)
        self.assertEqual(self.changed(), 8 * MIB)
        self.host.write(self.addr, b"here")
        self.card.start(2)
        self.assertEqual(self.config(40), 8 * MIB)
        self.assertEqual(self.host.read(self.addr, 4), b"here")
        self.host.qmp.command("system_reset")
        self.assertEqual(self.changed(), 0)
        self.assertEqual((self.told()["size"], self.told()["requested-size"]), (0, 8 * MIB))
        self.assertEqual(self.host.read(self.addr, 4), bytes(4))

    @unittest.skipIf(IS_QEMU, "says so on its error output")
    def test_rubbish(self):
        """A request that is none breaks the device."""
        for size, kind in ((23, PLUG), (0, PLUG), (24, 4), (24, 65535)):
            self.start(device=",requested-size=8M")
            queue = self.card.queues[0]
            queue.offer([struct.pack("<H6xQH6x", kind, self.addr, 1)[:size]] if size else [], [10])
            end = time.monotonic() + 20 * godwit.TIME_FACTOR
            while not self.card.status & 0x40:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.01)
            self.card.start(2)
            self.assertEqual(self.answers(PLUG), ACK)
            self.host.close()


class Host(Case):
    def refused(self, command, text, **arguments):
        answer = self.host.qmp.request(command, **arguments)
        self.assertEqual(answer.get("error", {}).get("desc"), text, answer)

    def test_requested(self):
        self.host = self.door()
        for value, text in ((130 * MIB, "'requested-size' cannot exceed the memory backend "
                             "size(0x8000000)"),
                            (MIB, "'requested-size' has to be multiples of 'block-size' (0x200000)")):
            self.refused("qom-set", text, path="/machine/peripheral/vm0", property="requested-size",
                         value=value)
        self.want(2 * MIB)
        for name, value in (("requested-size", 2 * MIB), ("size", 0), ("block-size", BLOCK)):
            self.assertEqual(self.host.qmp.command("qom-get", path="/machine/peripheral/vm0",
                                                   property=name), value)
        line = {"command-line": "qom-set vm0 requested-size 4M"}
        self.assertEqual(self.host.qmp.command("human-monitor-command", **line), "")
        for name, value in (("requested-size", 4 * MIB), ("memdev", "/objects/m0"),
                            ("hotplugged", False)):
            self.assertEqual(self.host.qmp.command("qom-get", path="/machine/peripheral/vm0",
                                                   property=name), value)
        names = [p["name"] for p in self.host.qmp.command("qom-list", path="/machine/peripheral/vm0")]
        self.assertEqual(names.count("requested-size"), 1)

    def resident(self):
        """MiB of its memory that the host has given."""
        with open(f"/proc/{self.host.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("RssAnon:")) >> 10

    def test_prealloc(self):
        """The host gives the memory when it is plugged, not when it is written to."""
        for prealloc, given in (("off", 0), ("on", 32)):
            with self.subTest(prealloc=prealloc):
                self.start(device=f",requested-size=64M,prealloc={prealloc}")
                before = self.resident()
                self.assertEqual(self.answers(PLUG, 3, 16), ACK)
                grown = self.resident() - before
                self.assertLessEqual(abs(grown - given), 6)
                self.assertEqual(self.answers(UNPLUG, 3, 16), ACK)
                self.assertLessEqual(self.resident() - before, 6)
                self.host.close()

    def test_options(self):
        memory = ["-object", "memory-backend-ram,id=m,size=128M"]
        for args, text in (
                (["-m", "16,maxmem=1G", "-device", "virtio-mem-pci"], "'memdev' property must be set"),
                (["-m", "16,maxmem=1G", *memory, "-device",
                  "virtio-mem-pci,memdev=m,requested-size=3M"], "has to be multiples of 'block-size'"),
                (["-m", "16,maxmem=1G", *memory, "-device", "virtio-mem-pci,memdev=m,block-size=3M"],
                 "'block-size' property has to be a power of two"),
                (["-m", "16,maxmem=1G", *memory, "-device",
                  "virtio-mem-pci,memdev=m,block-size=256M"],
                 "backend memory size must be multiple of 0x10000000"),
                (["-m", "16,maxmem=64M", *memory, "-device", "virtio-mem-pci,memdev=m"],
                 "not enough space"),
                (["-m", "16,maxmem=1G", *memory, "-device", "virtio-mem-pci,memdev=m,node=1"],
                 "the number of numa nodes: 1"),
                (["-m", "16,maxmem=1G,slots=1", *memory, "-device", "virtio-mem-pci,memdev=m",
                  "-device", "pc-dimm,memdev=m"], "busy memdev: m")):
            with self.subTest(args=args):
                result = godwit.run("-M", "q35", "-accel", ACCEL, *QEMU, "-display", "none", *args)
                self.assertNotEqual(result.returncode, 0)
                self.assertIn(text, result.stderr)

    def test_beside_modules(self):
        """It and DIMMs find places beside each other."""
        self.start("-object", "memory-backend-ram,id=m1,size=32M", "-device",
                   "pc-dimm,id=d,memdev=m1", machine=("-m", "16,slots=2,maxmem=1G"))
        infos = {i["type"]: i["data"] for i in self.host.qmp.command("query-memory-devices")}
        low, high = sorted(((infos["dimm"]["addr"], 32 * MIB),
                            (infos["virtio-mem"]["memaddr"], 128 * MIB)))
        self.assertLessEqual(low[0] + low[1], high[0])
        self.assertEqual(self.host.qmp.command("query-memory-size-summary")["plugged-memory"],
                         32 * MIB)

    def test_hot(self):
        """Plugged in while the machine runs."""
        self.host = Door("-m", "16,maxmem=1G", "-device", "pcie-root-port,id=p", "-object",
                         "memory-backend-ram,id=m0,size=128M", *QEMU, qmp=True, accel=ACCEL)
        self.addCleanup(self.host.close)
        self.host.qmp.command("device_add", driver="virtio-mem-pci", id="vm0", memdev="m0", bus="p")
        self.assertEqual(self.told()["max-size"], 128 * MIB)
        self.refused("device_del", "virtio based memory devices cannot be unplugged.", id="vm0")
        self.refused("object-del", "object 'm0' is in use, can not be deleted", id="m0")

    def test_migrates(self):
        """With what is plugged, what is asked for and what is in it."""
        self.start(device=",requested-size=8M")
        self.assertEqual(self.answers(PLUG, 5, 2), ACK)
        self.host.write(self.addr + 5 * BLOCK, b"travels")
        self.want(12 * MIB)
        folder = tempfile.mkdtemp(prefix="godwit-mem-")
        self.addCleanup(shutil.rmtree, folder)
        to = self.door("-incoming", f"unix:{folder}/m", device=",requested-size=2M")
        self.host.qmp.command("migrate", uri=f"unix:{folder}/m")
        end = time.monotonic() + 60 * godwit.TIME_FACTOR
        while to.qmp.command("query-status")["status"] == "inmigrate":
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        (info,) = to.qmp.command("query-memory-devices")
        self.assertEqual((info["data"]["size"], info["data"]["requested-size"]), (4 * MIB, 12 * MIB))
        self.assertEqual(to.read(self.addr + 5 * BLOCK, 7), b"travels")
        self.assertEqual(to.qmp.command("query-memory-size-summary")["plugged-memory"], 4 * MIB)


if __name__ == "__main__":
    oracle.main(IS_QEMU)
