#!/usr/bin/env python3
"""IDE disks of the pc board by the register door: the bus master's status, TRIM, the task file."""
import os
import struct
import tempfile
import time
import unittest

from godwit import TIME_FACTOR, run
from qtest import Door

PORTS, BUS_MASTER = 0x1f0, 0xc000
FUNCTION = 1 << 3 | 1
PRDT, MEMORY = 0x100000, 0x200000
ACTIVE, ERROR, INTERRUPT = 1, 2, 4
BSY, DRDY, DRQ, ERR = 0x80, 0x40, 0x08, 0x01
READ_DMA, WRITE_DMA, TRIM, DIAGNOSTIC, IDENTIFY, READ_SECTORS = 0xc8, 0xca, 0x06, 0x90, 0xec, 0x20
DISK_SECTORS = 4096


class Ide(unittest.TestCase):
    def start(self, *args, qmp=False):
        file, self.path = tempfile.mkstemp(prefix="godwit-ide-")
        self.addCleanup(os.unlink, self.path)
        os.write(file, b"\xa5" * 512 * DISK_SECTORS)
        os.close(file)
        self.door = Door("-drive", f"file={self.path},if=ide,format=raw,discard=unmap", *args,
                         machine="pc", qmp=qmp)
        self.addCleanup(self.door.close)
        self.config(0x20, BUS_MASTER | 1)
        self.config(0x04, 5)

    def config(self, offset, value):
        self.door.outl(0xcf8, 0x80000000 | FUNCTION << 8 | offset)
        self.door.outl(0xcfc, value)

    def register(self, n):
        return self.door.inb(PORTS + n)

    def command(self, command, first=0, count=1, feature=0, device=0x40):
        self.door.outb(PORTS + 6, device)
        self.door.outb(PORTS + 1, feature)
        self.door.outb(PORTS + 2, count)
        for i in range(3):
            self.door.outb(PORTS + 3 + i, first >> 8 * i & 0xff)
        self.door.outb(PORTS + 7, command)

    def until(self, what):
        deadline = time.monotonic() + 20 * TIME_FACTOR
        while not what():
            self.assertLess(time.monotonic(), deadline)

    def dma(self, command, prds, stop=False, **how):
        """A command by DMA; returns the bus master's status at its end."""
        self.door.outb(BUS_MASTER, 0)
        self.door.outb(BUS_MASTER + 2, INTERRUPT | ERROR)
        self.door.write(PRDT, b"".join(
            struct.pack("<IHH", addr, size & 0xffff, 0x8000 if i == len(prds) - 1 else 0)
            for i, (addr, size) in enumerate(prds)))
        self.door.outl(BUS_MASTER + 4, PRDT)
        self.command(command, **how)
        self.door.outb(BUS_MASTER, 9 if command == READ_DMA else 1)
        if stop:
            self.door.outb(BUS_MASTER, 0)
        self.until(lambda: self.door.inb(BUS_MASTER + 2) & (ACTIVE | INTERRUPT) != ACTIVE)
        status = self.door.inb(BUS_MASTER + 2) & 7
        self.assertFalse(self.register(7) & (BSY | DRQ))
        self.door.outb(BUS_MASTER, 0)
        return status

    def test_pieces_of_a_packets_answer(self):
        """All but the last are as long as the guest allows, whatever the sectors' length."""
        with tempfile.NamedTemporaryFile() as disc:
            content = os.urandom(2048 * 11)
            disc.write(content)
            disc.flush()
            door = self.door = Door("-drive",
                                    f"file={disc.name},if=ide,format=raw,media=cdrom,index=0",
                                    machine="pc")
            self.addCleanup(door.close)
            for limit in (5120, 2048, 6144, 1000):
                door.outb(PORTS + 6, 0)
                door.outb(PORTS + 1, 0)
                door.outb(PORTS + 4, limit & 0xff)
                door.outb(PORTS + 5, limit >> 8)
                door.outb(PORTS + 7, 0xa0)
                for word in struct.unpack("<6H", struct.pack(">BBIBHBH", 0x28, 0, 0, 0, 11, 0, 0)):
                    door.outw(PORTS, word)
                data, sizes = b"", []
                while True:
                    self.until(lambda: not self.register(7) & BSY)
                    if not self.register(7) & DRQ:
                        break
                    sizes.append(self.register(4) | self.register(5) << 8)
                    data += b"".join(struct.pack("<H", door.inw(PORTS))
                                     for _ in range(sizes[-1] // 2))
                self.assertEqual(data, content)
                self.assertEqual(set(sizes[:-1]), {limit})

    def test_memory_and_data_of_different_length(self):
        self.start()
        enough = {1024: INTERRUPT, 1026: ACTIVE | INTERRUPT, 0x10000: ACTIVE | INTERRUPT}
        for size, status in {512: 0, 1022: 0, **enough}.items():
            with self.subTest(size=size):
                self.assertEqual(self.dma(READ_DMA, [(MEMORY, size)], count=2), status)
                self.assertEqual(self.register(7) & (DRDY | ERR), DRDY)
                self.assertEqual(self.dma(READ_DMA, [(MEMORY, size)], stop=True, count=2),
                                 status & ~ACTIVE)
                self.assertEqual(self.register(7) & (DRDY | ERR), DRDY)
        self.assertEqual(self.dma(READ_DMA, [(MEMORY, 512), (MEMORY + 512, 512)], count=2),
                         INTERRUPT)
        self.assertEqual(self.dma(READ_DMA, [(MEMORY, 1024), (MEMORY + 512, 2)], count=2),
                         ACTIVE | INTERRUPT)
        self.assertEqual(self.door.read(MEMORY, 1024), b"\xa5" * 1024)

    def test_stopped_write_is_whole(self):
        self.start()
        self.door.write(MEMORY, b"\x5a" * 0x8000)
        self.assertEqual(self.dma(WRITE_DMA, [(MEMORY, 0x8000)], stop=True, count=64), INTERRUPT)
        self.door.write(MEMORY, bytes(0x8000))
        self.dma(READ_DMA, [(MEMORY, 0x8000)], count=64)
        self.assertEqual(self.door.read(MEMORY, 0x8000), b"\x5a" * 0x8000)

    def test_not_bus_master(self):
        self.start()
        self.config(0x04, 1)
        self.door.write(MEMORY, b"\x11" * 512)
        self.assertEqual(self.dma(READ_DMA, [(MEMORY, 512)], count=0), ACTIVE | INTERRUPT)
        self.assertEqual(self.door.read(MEMORY, 512), b"\x11" * 512)

    def trim(self, *ranges, blocks=1):
        data = b"".join(struct.pack("<Q", count << 48 | first) for first, count in ranges)
        self.door.write(MEMORY, data.ljust(512 * max(blocks, 1), b"\0"))
        status = self.dma(TRIM, [(MEMORY, 512 * max(blocks, 1))], count=blocks, feature=1)
        return status, self.register(7) & ERR, self.register(1)

    def on_disk(self, first, count):
        with open(self.path, "rb") as file:
            file.seek(512 * first)
            return file.read(512 * count)

    def identify(self):
        self.command(IDENTIFY)
        self.until(lambda: self.register(7) & DRQ)
        return [self.door.inw(PORTS) for _ in range(256)]

    def test_trim(self):
        self.start()
        words = self.identify()
        self.assertEqual(words[169] & 1, 1)
        blocks = words[105]
        self.assertEqual(self.trim((8, 16), (0, 0), (64, 8)), (INTERRUPT, 0, 0))
        self.assertEqual(self.on_disk(0, 8), b"\xa5" * 512 * 8)
        self.assertEqual(self.on_disk(8, 16), bytes(512 * 16))
        self.assertEqual(self.on_disk(24, 40), b"\xa5" * 512 * 40)
        self.assertEqual(self.on_disk(64, 8), bytes(512 * 8))
        many = [(128 + 7 * i, 7) for i in range(64 * blocks)]
        self.assertEqual(self.trim(*many, blocks=blocks), (INTERRUPT, 0, 0))
        self.assertEqual(self.on_disk(128, 7 * len(many)), bytes(512 * 7 * len(many)))

    def test_identity(self):
        self.start("-drive", "if=none,id=d,file=null-co://,format=raw", "-device",
                   "ide-hd,drive=d,unit=1,bus=ide.0,wwn=0x5000c50015ea71aa,rotation_rate=7200,"
                   "write-cache=off")
        for unit, told in ((0, (0, [0] * 4, 1, 0x20)),
                           (1, (0x100, [0x5000, 0xc500, 0x15ea, 0x71aa], 7200, 0))):
            self.command(IDENTIFY, device=0x40 | unit << 4)
            self.until(lambda: self.register(7) & DRQ)
            words = [self.door.inw(PORTS) for _ in range(256)]
            self.assertEqual((words[87] & 0x100, words[108:112], words[217], words[85] & 0x20), told)
            self.assertEqual(words[84] & 0x100, words[87] & 0x100)

    def test_lengths(self):
        """Physical blocks of 8 sectors; what is not to be discarded."""
        self.start("-drive", "if=none,id=d,file=null-co://,format=raw", "-device",
                   "ide-hd,drive=d,unit=1,bus=ide.0,physical_block_size=4096,discard_granularity=0")
        for unit, told in ((0, (0x6000, 1)), (1, (0x6003, 0))):
            self.command(IDENTIFY, device=0x40 | unit << 4)
            self.until(lambda: self.register(7) & DRQ)
            words = [self.door.inw(PORTS) for _ in range(256)]
            self.assertEqual((words[106], words[169]), told)
        for option, part in (("logical_block_size=4096,physical_block_size=4096", "must be 512 for IDE"),
                             ("discard_granularity=4096", "must be 512 for IDE"),
                             ("physical_block_size=3", "powers of two")):
            result = run("-accel", "qtest", "-display", "none", "-blockdev", "null-co,node-name=d",
                         "-device", f"ide-hd,drive=d,{option}")
            self.assertEqual(result.returncode, 1)
            self.assertIn(part, result.stderr)

    def test_errors_of_the_medium(self):
        """Reads are uncorrectable, writes are aborted: for them there is no such bit."""
        self.start("-drive", "file.driver=blkdebug,file.image.driver=null-co,driver=raw,if=ide,index=1,"
                   "file.inject-error.0.event=read_aio,file.inject-error.1.event=write_aio")
        for command, error in ((READ_DMA, 0x40), (WRITE_DMA, 4)):
            self.dma(command, [(MEMORY, 512)], device=0x50)
            self.assertEqual(self.register(7) & ERR, ERR)
            self.assertEqual(self.register(1), error)

    def test_trim_past_the_end(self):
        self.start()
        before = self.on_disk(0, DISK_SECTORS)
        self.assertEqual(self.trim((16, 8), (DISK_SECTORS - 1, 2)), (INTERRUPT, ERR, 4))
        self.assertEqual(self.trim((16, 8), (1 << 47, 1)), (INTERRUPT, ERR, 4))
        self.assertEqual(self.on_disk(0, DISK_SECTORS), before)
        self.assertEqual(self.trim((16, 8), blocks=200)[1:], (ERR, 4))
        self.assertEqual(self.dma(TRIM, [(MEMORY, 512)], count=1, feature=2), INTERRUPT)
        self.assertEqual(self.register(1), 4)

    def test_flush_fails_stops_and_is_tried_again(self):
        rules = tempfile.NamedTemporaryFile("w", prefix="godwit-rules-")
        self.addCleanup(rules.close)
        rules.write('[inject-error]\nevent = "flush_to_disk"\nonce = "on"\nerrno = "28"\n')
        rules.flush()
        self.start("-drive", f"file=blkdebug:{rules.name}:null-co://,if=ide,index=2,format=raw,"
                   "werror=stop", "-drive", "file=blkdebug::null-co://,if=ide,index=3,format=raw",
                   qmp=True)
        for unit, fails in ((1, False), (0, True)):
            self.door.outb(0x176, 0x40 | unit << 4)
            self.door.outb(0x177, 0xe7)
            if fails:
                error = self.door.qmp.event("BLOCK_IO_ERROR")["data"]
                self.assertEqual((error["device"], error["nospace"]), ("ide1-hd0", True))
                self.door.qmp.event("STOP")
                self.assertEqual(self.door.inb(0x177) & (BSY | DRDY | DRQ | ERR), BSY | DRDY)
                self.door.qmp.command("cont")
            self.until(lambda: not self.door.inb(0x177) & BSY)
            self.assertEqual(self.door.inb(0x177) & (DRDY | DRQ | ERR), DRDY)

    def test_diagnostic_is_of_the_first_drive(self):
        self.start("-drive", "driver=null-co,if=ide,index=1")
        self.door.outb(PORTS + 6, 0x50)
        self.assertEqual(self.register(6) & 0x10, 0x10)
        self.door.outb(PORTS + 7, DIAGNOSTIC)
        self.assertEqual(self.register(6) & 0x10, 0)
        self.assertEqual(self.register(1), 1)
        self.assertEqual([self.register(n) for n in (2, 3, 4, 5)], [1, 1, 0, 0])

    def test_registers_are_the_drives_during_a_command(self):
        self.start()
        self.command(READ_SECTORS, first=7, count=2)
        self.until(lambda: self.register(7) & DRQ)
        for n in range(1, 7):
            self.door.outb(PORTS + n, 0xff)
        self.assertEqual(self.register(6) & 0x10, 0)  # there is no second drive to choose
        for sector in range(2):
            self.until(lambda: self.register(7) & DRQ)
            for _ in range(256):
                self.assertEqual(self.door.inw(PORTS), 0xa5a5)
        self.assertEqual(self.register(7) & (BSY | DRQ | ERR), 0)


MIB = 2048  # sectors


class Geometry(unittest.TestCase):
    """What IDENTIFY and CMOS tell of disks of a size, with a partition that ends at a head and sector."""
    NONE, LBA, LARGE, RECHS = range(4)

    def image(self, sectors, last_head=0, last_sec=0, signature=0xaa55):
        file = tempfile.NamedTemporaryFile(prefix="godwit-ide-")
        self.addCleanup(file.close)
        file.truncate(sectors * 512)
        entry = struct.pack("<8BII", 0x80, 1, 1, 0, 6, last_head, last_sec, 7, 63, sectors // 2)
        file.write(bytes(0x1be) + bytes(16) + entry + bytes(32) + struct.pack("<H", signature))
        file.flush()
        return file.name

    def told(self, *drives, machine="pc", bus=lambda n: f"ide.{n // 2},unit={n % 2}"):
        """drives: (image, options) or None; (geometry by CMOS or None of the first two, translations)"""
        args = []
        for n, (image, options) in enumerate(drives):
            args += ["-drive", f"if=none,id=d{n},format=raw,file={image}", "-device",
                     f"ide-hd,drive=d{n},bus={bus(n)}{options}"]
        with Door(*args, machine=machine) as d:
            def cmos(index):
                d.outb(0x70, index)
                return d.inb(0x71)
            disks = []
            for n, base in ((0, 0x1b), (1, 0x24)):
                b = bytes(cmos(base + i) for i in range(9))
                if cmos(0x12) & 0xf0 >> 4 * n:
                    self.assertEqual(cmos(0x19 + n), 47)
                    c, h, f, o, z, s = struct.unpack("<HBHBHB", b)
                    self.assertEqual((f, o, z), (0xffff, 0xc8 if h > 8 else 0xc0, c))
                    disks.append((c, h, s))
                else:
                    self.assertEqual((cmos(0x19 + n), b), (0, bytes(9)))
                    disks.append(None)
            flags = cmos(0x39)
            if machine == "pc" and disks[0]:
                d.outb(0x1f6, 0)
                d.outb(0x1f7, IDENTIFY)
                words = [d.inw(0x1f0) for _ in range(256)]
                self.assertEqual((words[1], words[3], words[6]), disks[0])
        return disks, [flags >> 2 * n & 3 for n in range(4)]

    def test_guessed(self):
        big, small = 8192 * MIB, 30 * MIB
        for image, geometry, translation in (
                (self.image(1), (2, 16, 63), self.NONE),
                (self.image(small), (60, 16, 63), self.NONE),
                (self.image(1024 * 1008), (1024, 16, 63), self.NONE),
                (self.image(1025 * 1008), (1025, 16, 63), self.LBA),
                (self.image(big), (16383, 16, 63), self.LBA),
                (self.image(small, 15, 63), (60, 16, 63), self.NONE),
                (self.image(small, 3, 0xc0 | 32), (480, 4, 32), self.NONE),
                (self.image(small, 127, 63), (60, 16, 63), self.LARGE),
                (self.image(big, 254, 63), (16383, 16, 63), self.LBA),
                (self.image(1025 * 1008, 15, 63), (1025, 16, 63), self.NONE),
                (self.image(1025 * 1008, 15, 63, signature=0), (1025, 16, 63), self.LBA),
                (self.image(1025 * 1008, 0, 63), (1025, 16, 63), self.LBA),
                (self.image(1025 * 1008, 15, 0), (1025, 16, 63), self.LBA),
                (self.image(big, 1, 1), (16383, 16, 63), self.LBA)):
            disks, translations = self.told((image, ""))
            self.assertEqual((disks, translations), ([geometry, None], [translation, 0, 0, 0]))

    def test_chosen(self):
        small = self.image(30 * MIB)
        disks, translations = self.told(
            (small, ",cyls=480,heads=4,secs=32"), (self.image(30 * MIB), ",bios-chs-trans=rechs"),
            (self.image(30 * MIB), ",bios-chs-trans=large"),
            (self.image(30 * MIB), ",cyls=2000,heads=8,secs=9"))
        self.assertEqual(disks, [(480, 4, 32), (60, 16, 63)])
        self.assertEqual(translations, [self.NONE, self.RECHS, self.LARGE, self.LBA])
        self.assertEqual(self.told(), ([None, None], [0, 0, 0, 0]))
        self.assertEqual(self.told((small, ""), machine="q35", bus=lambda n: f"ide.{n}")[0][0],
                         (60, 16, 63))
        for wrong in "cyls=5", "cyls=0,heads=1,secs=1", "cyls=1,heads=17,secs=1", \
                "cyls=65536,heads=1,secs=1", "cyls=1,heads=1,secs=256", "bios-chs-trans=x":
            result = run("-M", "pc", "-accel", "qtest", "-display", "none", "-drive",
                         f"if=none,id=d,format=raw,file={small}", "-device",
                         f"ide-hd,drive=d,{wrong}")
            self.assertEqual(result.returncode, 1)
            self.assertIn("are possible" if "cyls" in wrong else "bios-chs-trans", result.stderr)


if __name__ == "__main__":
    unittest.main()
