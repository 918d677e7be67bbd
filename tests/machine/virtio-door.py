#!/usr/bin/env python3
"""Virtio devices through the register door, with the real program around them: errors of storage
that stop the machine, resizing, objects."""
import os
import resource
import struct
import sys
import tempfile
import time
import unittest

from godwit import TIME_FACTOR, run
from qtest import Door
from virtio import USED, Disk, Queue

SLOT = 5
CONFIG = 0x2000  # in BAR 4


class Storage(unittest.TestCase):
    def setUp(self):
        handle, self.image = tempfile.mkstemp(prefix="godwit-virtio-")
        os.ftruncate(handle, 1 << 20)
        os.close(handle)
        self.addCleanup(os.unlink, self.image)

    def door(self, *device, drive="drive=d0"):
        door = Door("-blockdev", f"file,node-name=d0,filename={self.image}",
                    "-device", ",".join(["virtio-blk-pci", f"addr={SLOT:x}", "id=vd", drive,
                                         *device]), qmp=True)
        self.addCleanup(door.close)
        disk = Disk(door, SLOT)
        disk.start(features=1 << 9)
        return door, disk

    def limit(self, door, size):
        """The host lets no file grow beyond `size` bytes: a write there fails."""
        resource.prlimit(door.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def test_data(self):
        door, disk = self.door()
        data = bytes(range(256)) * 8
        self.assertEqual(disk.write(7, data), 0)
        self.assertEqual(disk.flush(), 0)
        self.assertEqual(disk.read(7, 4), (0, data))
        with open(self.image, "rb") as file:
            file.seek(7 * 512)
            self.assertEqual(file.read(2048), data)
        stats = door.qmp.command("query-blockstats")[0]
        self.assertEqual(stats["qdev"], "/machine/peripheral/vd/virtio-backend")
        self.assertEqual((stats["device"], stats["node-name"]), ("", "d0"))
        for key, value in (("wr_bytes", 2048), ("wr_operations", 1), ("rd_bytes", 2048),
                           ("rd_operations", 1), ("flush_operations", 1),
                           ("wr_highest_offset", 7 * 512 + 2048)):
            self.assertEqual(stats["stats"][key], value, key)

    def test_discard(self):
        door = Door("-blockdev", f"file,node-name=d0,filename={self.image},discard=unmap",
                    "-device", f"virtio-blk-pci,addr={SLOT:x},drive=d0", qmp=True)
        self.addCleanup(door.close)
        disk = Disk(door, SLOT)
        disk.start(features=1 << 9 | 1 << 13)
        self.assertEqual(disk.write(0, b"x" * 65536), 0)
        (status,), _ = disk.queues[0].request([disk.header(11, 0), struct.pack("<QII", 0, 64, 0)], [1])
        self.assertEqual(status, b"\0")
        self.assertEqual(disk.read(0, 65), (0, bytes(32768) + b"x" * 512))
        stats = door.qmp.command("query-blockstats")[0]
        self.assertEqual(stats["stats"]["unmap_bytes"], 32768)
        self.assertEqual(stats["driver-specific"], {"driver": "file", "discard-nb-ok": 1,
                                                    "discard-nb-failed": 0,
                                                    "discard-bytes-ok": 32768})

    def test_limits(self):
        """What the driver is told of lengths, and that it must keep to them."""
        door, disk = self.door("logical_block_size=1k,physical_block_size=4K,min_io_size=8k",
                               "opt_io_size=1M,discard_granularity=64k,max-discard-sectors=128",
                               "max-write-zeroes-sectors=64")
        config = door.read(disk.bar + CONFIG, 60)
        self.assertEqual(struct.unpack_from("<IBxHI", config, 20), (1024, 2, 8, 1024))
        self.assertEqual(struct.unpack_from("<III", config, 36), (128, 1, 128))
        self.assertEqual(struct.unpack_from("<II", config, 48), (64, 1))
        for kind, sectors, status in ((11, 128, 0), (11, 130, 1), (13, 64, 0), (13, 66, 1)):
            (answer,), _ = disk.queues[0].request(
                [disk.header(kind, 0), struct.pack("<QII", 0, sectors, 0)], [1])
            self.assertEqual(answer[0], status, (kind, sectors))
        for option, text in (("min_io_size=1000", "min_io_size 1000 must be a multiple"),
                             ("opt_io_size=1000", "opt_io_size 1000 must be a multiple"),
                             ("min_io_size=64M", "min_io_size must not exceed"),
                             ("discard_granularity=700", "discard_granularity 700 must be"),
                             ("max-discard-sectors=0", "out of range"),
                             ("logical_block_size=1000", "powers of two")):
            result = run("-M", "q35", "-accel", "qtest", "-display", "none", "-blockdev",
                         "null-co,node-name=n", "-device", f"virtio-blk-pci,drive=n,{option}")
            self.assertEqual(result.returncode, 1)
            self.assertIn(text, result.stderr)

    def test_snapshot(self):
        """-snapshot: what drives that do not say so otherwise write is lost at the end."""
        for args, kept in (([], True), (["-snapshot"], False)):
            for drive in "", ",snapshot=off":
                door = Door(*args, "-drive", f"file={self.image},format=raw,if=none,id=d0{drive}",
                            "-device", f"virtio-blk-pci,addr={SLOT:x},drive=d0", qmp=True)
                disk = Disk(door, SLOT)
                disk.start(features=1 << 9)
                self.assertEqual(disk.write(7, b"y" * 512), 0)
                self.assertEqual(disk.flush(), 0)
                self.assertEqual(disk.read(7, 1), (0, b"y" * 512))
                door.close()
                with open(self.image, "r+b") as file:
                    file.seek(7 * 512)
                    self.assertEqual(file.read(512) == b"y" * 512, kept or bool(drive))
                    file.seek(7 * 512)
                    file.write(bytes(512))

    def test_stop(self):
        door, disk = self.door("werror=stop")
        self.limit(door, 65536)
        queue = disk.queues[0]
        head = queue.offer([disk.header(1, 1000), b"x" * 512], [1])
        event = door.qmp.event("BLOCK_IO_ERROR")
        self.assertEqual(event["data"], {"device": "", "node-name": "d0", "operation": "write",
                                         "action": "stop", "nospace": False,
                                         "reason": "File too large"})
        door.qmp.event("STOP")
        self.assertEqual(door.qmp.command("query-status")["status"], "io-error")
        self.assertEqual(door.qmp.command("query-block")[0]["io-status"], "failed")
        self.assertFalse(queue.done())
        door.qmp.command("cont")  # fails again at once
        door.qmp.event("RESUME")
        door.qmp.event("BLOCK_IO_ERROR")
        door.qmp.event("STOP")
        self.assertFalse(queue.done())
        self.limit(door, resource.RLIM_INFINITY)
        door.qmp.command("cont")
        self.assertEqual(queue.take()[0], head)
        self.assertEqual(queue.written(head, [16, 512], [1]), [b"\0"])
        self.assertEqual(door.qmp.command("query-status")["status"], "running")
        self.assertEqual(door.qmp.command("query-block")[0]["io-status"], "ok")
        self.assertEqual(disk.read(1000, 1), (0, b"x" * 512))

    def test_report_and_ignore(self):
        for policy, status, tracked in (("report", 1, False), ("ignore", 0, False),
                                        ("enospc", 1, True)):
            with self.subTest(policy):
                door, disk = self.door(f"werror={policy}")
                self.limit(door, 65536)
                self.assertEqual(disk.write(1000, b"x" * 512), status)
                data = door.qmp.event("BLOCK_IO_ERROR")["data"]
                self.assertEqual(data["action"], "report" if status else "ignore")
                self.assertEqual("nospace" in data, tracked)
                self.assertEqual("io-status" in door.qmp.command("query-block")[0], tracked)
                self.assertEqual(door.qmp.command("query-status")["status"], "running")
                door.close()

    def test_reset_forgets(self):
        """A held request ends with the guest that made it."""
        door, disk = self.door("werror=stop")
        self.limit(door, 65536)
        disk.queues[0].offer([disk.header(1, 1000), b"x" * 512], [1])
        door.qmp.event("STOP")
        door.qmp.command("system_reset")
        self.limit(door, resource.RLIM_INFINITY)
        door.qmp.command("cont")
        disk = Disk(door, SLOT)
        disk.start()
        self.assertEqual(disk.read(1000, 1), (0, bytes(512)))

    @unittest.skipUnless(os.geteuid() == 0, "mounting takes root")
    def test_no_space(self):
        folder = tempfile.mkdtemp(prefix="godwit-small-")
        self.addCleanup(os.rmdir, folder)
        if os.system(f"mount -t tmpfs -o size=256k tmpfs {folder}"):
            self.skipTest("no tmpfs can be mounted here")
        self.addCleanup(os.system, f"umount {folder}")
        self.image_on_disk, self.image = self.image, os.path.join(folder, "image")
        self.addCleanup(setattr, self, "image", self.image_on_disk)
        with open(self.image, "wb") as file:
            file.truncate(1 << 20)
        filler = os.path.join(folder, "filler")
        with open(filler, "wb") as file:
            file.write(bytes(200 << 10))
        door, disk = self.door("werror=enospc")
        queue = disk.queues[0]
        data = bytes(range(256)) * 16
        for i in range(64):
            head = queue.offer([disk.header(1, 8 * i), data], [1])
            while not queue.done():
                if door.qmp.command("query-status")["status"] != "io-error":
                    continue
                event = door.qmp.event("BLOCK_IO_ERROR")["data"]
                self.assertEqual((event["nospace"], event["reason"]),
                                 (True, "No space left on device"))
                self.assertEqual(door.qmp.command("query-block")[0]["io-status"], "nospace")
                os.truncate(filler, 0)
                os.system(f"mount -o remount,size=4m {folder}")
                door.qmp.command("cont")
            self.assertEqual(queue.take()[0], head)
            self.assertEqual(queue.written(head, [16, 4096], [1]), [b"\0"])
        self.assertTrue(os.path.getsize(filler) == 0, "it never was full")
        door.close()
        with open(self.image, "rb") as file:
            self.assertEqual(file.read(64 * 4096), data * 64)

    def test_resize(self):
        door, disk = self.door()
        before = disk.get(0x15, 1)
        self.assertEqual(disk.get(0x2000, 8), 2048)
        door.qmp.command("block_resize", node_name="d0", size=2 << 20)
        self.assertEqual(disk.get(0x2000, 8), 4096)
        self.assertNotEqual(disk.get(0x15, 1), before)
        self.assertEqual(disk.write(4000, b"y" * 512), 0)
        self.assertEqual(os.path.getsize(self.image), 2 << 20)
        self.assertIn("error", door.qmp.request("block_resize", node_name="nope", size=1))

    def test_queue_reset(self):
        """One queue is reset by its register (VIRTIO 1.2, 2.6.1); the other goes on."""
        for _ in range(3):
            door, disk = self.door("num-queues=2")
            disk.put(0x14, 0, 1)
            disk.start(features=1 << 40 | 1 << 9, queues=2, size=16)
            self.assertEqual(disk.read(0, 1)[0], 0)
            queue = disk.queues[0]
            for _ in range(6):
                queue.offer([disk.header(0, 0)], [512, 1])
            disk.put(0x16, 0, 2)
            disk.put(0x3a, 1, 2)
            self.assertEqual((disk.get(0x3a, 2), disk.get(0x1c, 2)), (0, 0))
            self.assertEqual((disk.get(0x18, 2), disk.get(0x20, 4), disk.get(0x1a, 2)),
                             (256, 0, 0xffff))
            used = door.read(queue.memory + USED, 64)
            (_, status), _ = disk.queues[1].request([disk.header(0, 0)], [512, 1])
            self.assertEqual(status, b"\0")
            self.assertEqual(door.read(queue.memory + USED, 64), used)
            disk.queues[0] = Queue(disk, 0, 32, 0x80000)  # elsewhere, and longer
            self.assertEqual(disk.write(5, b"q" * 512), 0)
            self.assertEqual(disk.read(5, 1), (0, b"q" * 512))
            door.close()

    def test_no_queue_reset(self):
        door, disk = self.door("queue_reset=off")
        disk.put(0x08 - 8, 1, 4)
        self.assertEqual(disk.get(0x04, 4) & 1 << 8, 0)
        disk.put(0x16, 0, 2)
        disk.put(0x3a, 1, 2)
        self.assertEqual(disk.get(0x1c, 2), 1)
        self.assertEqual(disk.read(0, 1)[0], 0)

    def test_registers(self):
        door, disk = self.door("logical_block_size=4096", "physical_block_size=4096")
        config = door.read(disk.bar + 0x2000, 68)
        self.assertEqual(config[0x24:0x28], (0x3fffff).to_bytes(4, "little"))  # most to discard
        self.assertEqual(config[0x30:0x34], (0x3fffff).to_bytes(4, "little"))
        self.assertEqual(config[19], 56)  # a track is whole blocks
        self.assertEqual(config[60:], b"\xff" * 8)  # nothing is there
        disk.put(0x14, 0, 1)
        disk.put(0x16, 0, 2)
        for size, taken in ((64, 64), (0, 64), (2048, 64), (128, 128)):
            disk.put(0x18, size, 2)
            self.assertEqual(disk.get(0x18, 2), taken)

    def test_lengths(self):
        """Of blocks, up to QEMU's most; and what can't be."""
        door, disk = self.door("logical_block_size=1M", "physical_block_size=2M", "opt_io_size=4M",
                               "scsi=off")
        config = door.read(disk.bar + CONFIG, 32)
        self.assertEqual(config[20:], struct.pack("<IBBHI", 1 << 20, 1, 0, 0, 4))
        self.assertEqual(disk.read(0, 1)[0], 1)
        door.close()
        for option, part in (("logical_block_size=4M", "from 512 to 2097152"),
                             ("logical_block_size=1024", "not less than the first"),
                             ("opt_io_size=100", "must be a multiple of logical_block_size 512"),
                             ("scsi=on", "no SCSI passthrough")):
            result = run("-accel", "qtest", "-display", "none", "-blockdev", "null-co,node-name=d",
                         "-device", f"virtio-blk-pci,drive=d,{option}")
            self.assertEqual(result.returncode, 1)
            self.assertIn(part, result.stderr)

    def notify(self, door):
        """Where notifications go: offset and length in BAR 4, bytes from one queue to the next."""
        at = door.config(SLOT << 3, 0x34) & 0xff
        while door.config(SLOT << 3, at) & 0xff0000ff != 0x02000009:
            at = door.config(SLOT << 3, at) >> 8 & 0xff
        return [door.config(SLOT << 3, at + n) for n in (8, 12, 16)]

    def test_page_for_each_queue(self):
        door, disk = self.door("num-queues=3")
        self.assertEqual(self.notify(door), [0x3000, 0x1000, 4])
        door.close()
        door, disk = self.door("page-per-vq=on", "num-queues=3")
        self.assertEqual(self.notify(door), [0x3000, 0x3000, 0x1000])
        disk.set_config(0x20, 0xffffffff)
        self.assertEqual(door.config(SLOT << 3, 0x20), 0xffff800c)
        disk.set_config(0x20, disk.bar)
        disk.start(features=1 << 9 | 1 << 12, queues=3)
        queue = disk.queues[2]
        queue.ring = lambda: disk.put(0x3000 + 2 * 0x1000, 2, 2)
        (data, status), _ = queue.request([disk.header(0, 0)], [512, 1])
        self.assertEqual((data, status), (bytes(512), b"\0"))

    def test_without_eventfds(self):
        _, disk = self.door("ioeventfd=off")
        self.assertEqual(disk.write(3, b"e" * 512), 0)

    def test_access_platform(self):
        """There is no IOMMU: addresses are what they are, and a driver may say that it would mind one."""
        door, disk = self.door("iommu_platform=on", "disable-legacy=on")
        disk.put(0, 1, 4)
        self.assertTrue(disk.get(4, 4) & 2)
        disk.start(features=1 << 9 | 1 << 33)
        self.assertEqual(disk.write(0, b"p" * 512), 0)
        door.close()
        result = run("-M", "pc", "-accel", "qtest", "-display", "none", "-blockdev",
                     "null-co,node-name=d", "-device", "virtio-blk-pci,drive=d,iommu_platform=on")
        self.assertEqual(result.returncode, 1)
        self.assertIn("needs disable-legacy=on", result.stderr)

    def test_option_rom(self):
        """As large as the next power of two, where the guest puts it; or none."""
        def size(door, disk):
            disk.set_config(0x30, 0xfffffffe)
            return door.config(SLOT << 3, 0x30)

        rom = self.image + ".rom"
        with open(rom, "wb") as file:
            file.write(b"\x55\xaa" + bytes(range(256)) * 20)
        self.addCleanup(os.unlink, rom)
        door, disk = self.door(f"romfile={rom}")
        self.assertEqual(size(door, disk), 0xffffe000)
        disk.set_config(0x30, 0xe1000001)
        self.assertEqual(door.read(0xe1000000, 5), b"\x55\xaa\0\1\2")
        self.assertEqual(door.read(0xe1001402, 1), b"\0")
        self.assertEqual(disk.read(0, 1)[0], 0)
        door.close()
        for options in ([f"romfile={rom}", "rombar=0"], ["romfile="], ["rombar=1"]):
            door, disk = self.door(*options)
            self.assertEqual(size(door, disk), 0, options)
            door.close()
        result = run("-accel", "qtest", "-display", "none", "-device",
                     "virtio-rng-pci,romfile=/does/not/exist")
        self.assertEqual(result.returncode, 1)
        self.assertIn("property 'romfile'", result.stderr)

    def test_driver_that_takes_everything(self):
        """By the legacy interface bit 30 says of a driver that it knows none of what it takes."""
        door = Door("-blockdev", f"file,node-name=d0,filename={self.image}", "-device",
                    f"virtio-blk-pci,addr={SLOT:x},drive=d0", machine="pc")
        self.addCleanup(door.close)
        door.outl(0xcf8, 0x80000010 | SLOT << 11)
        door.outl(0xcfc, 0xc001)
        door.outl(0xcf8, 0x80000004 | SLOT << 11)
        door.outl(0xcfc, 7)
        offered = door.inl(0xc000)
        self.assertTrue(offered & 1 << 30)
        door.outl(0xc004, offered)
        self.assertEqual(door.inl(0xc004), 0)
        door.outl(0xc004, offered & ~(1 << 30))
        self.assertEqual(door.inl(0xc004), offered & ~(1 << 30))

    def test_legacy_driver(self):
        """One that forgets to make the device bus master; and what it sees of a ring that is none."""
        door = Door("-blockdev", f"file,node-name=d0,filename={self.image}", "-device",
                    f"virtio-blk-pci,addr={SLOT:x},drive=d0", machine="pc")
        self.addCleanup(door.close)
        door.outl(0xcf8, 0x80000010 | SLOT << 11)
        door.outl(0xcfc, 0xc001)
        door.outl(0xcf8, 0x80000004 | SLOT << 11)
        door.outl(0xcfc, 3)
        for flags, used in ((0, 1), (2, 0)):  # the header for the device to read; to write
            for status in 0, 1, 3:
                door.outb(0xc012, status)
            self.assertEqual(door.inl(0xcfc) & 7, 7)
            door.write(0x10000, bytes(0x4000))
            door.outl(0xc008, 0x10)
            door.outb(0xc012, 7)
            door.write(0x20000, struct.pack("<IIQ", 1, 0, 3) + b"L" * 512 + b"?")
            door.write(0x10000, struct.pack("<QIHHQIHHQIHH", 0x20000, 16, 1 | flags, 1,
                                            0x20010, 512, 1, 2, 0x20210, 1, 2, 0))
            door.write(0x11000, struct.pack("<HHH", 0, 1, 0))
            door.outw(0xc010, 0)
            end = time.monotonic() + (20 if used else 0.1) * TIME_FACTOR
            while not door.inb(0xc013) and time.monotonic() < end:
                pass
            self.assertEqual(door.read(0x12002, 1)[0], used)
            self.assertEqual(door.inb(0xc012), 7)
        with open(self.image, "rb") as file:
            self.assertEqual(file.read()[3 * 512:4 * 512], b"L" * 512)

    def test_locked(self):
        """While the guest has the disk, nobody else gets it."""
        self.door()
        args = ("-accel", "qtest", "-display", "none", "-blockdev",
                f"file,node-name=f,filename={self.image}", "-device", "virtio-blk-pci,drive=f")
        second = run(*args)
        self.assertEqual(second.returncode, 1)
        self.assertIn('Failed to get "write" lock', second.stderr)

    def test_write_through(self):
        door, disk = self.door("write-cache=off")
        self.assertEqual(disk.get(0x2020, 1), 0)
        self.assertEqual(disk.write(0, bytes(512)), 0)
        self.assertFalse(door.qmp.command("query-block")[0]["inserted"]["cache"]["writeback"])


class Objects(unittest.TestCase):
    def test_life(self):
        with Door("-object", "rng-random,id=r0,filename=/dev/urandom", "-device",
                  "virtio-rng-pci,rng=r0,addr=5", qmp=True) as door:
            self.assertIn("is in use", door.qmp.request("object-del", id="r0")["error"]["desc"])
            door.qmp.command("object-add", qom_type="rng-builtin", id="r1")
            self.assertIn("duplicate",
                          door.qmp.request("object-add", qom_type="rng-builtin",
                                           id="r1")["error"]["desc"])
            door.qmp.command("object-del", id="r1")
            self.assertEqual(door.qmp.request("object-del", id="r1")["error"]["desc"],
                             "object 'r1' not found")
            self.assertIn("Could not open",
                          door.qmp.request("object-add", qom_type="rng-random", id="r2",
                                           filename="/does/not/exist")["error"]["desc"])


class Variants(unittest.TestCase):
    def test_names(self):
        """The names with a word more say which interfaces there are; the numbers show it."""
        for name, number in ("-transitional", 0x1005), ("-non-transitional", 0x1044), ("", 0x1005):
            with Door("-device", f"virtio-rng-pci{name},addr=5") as door:
                self.assertEqual(door.config(5 << 3, 0) >> 16, number, name)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=[sys.argv[0]] + sys.argv[1:])
