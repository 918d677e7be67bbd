#!/usr/bin/env python3
"""The AHCI controller of q35 by the register door: ports at the start, and what a drive sends."""
import os
import shutil
import struct
import tempfile
import time
import unittest

from godwit import TIME_FACTOR
from qtest import Door

DEVFN, BAR = 0xfa, 0xe0000000
PORT = BAR + 0x100
CLB, FB, IS, IE, CMD, TFD, SIG, SERR, CI = (PORT + n for n in (0, 8, 0x10, 0x14, 0x18, 0x20, 0x24,
                                                               0x30, 0x38))
LIST, FIS, TABLE, DATA = 0x200000, 0x201000, 0x202000, 0x210000
START, RECEIVE = 1, 0x10
DHRS, PSS = 1, 2
IDENTIFY, READ, WRITE, WRITE_DMA, READ_MULTIPLE, SET_MULTIPLE = 0xec, 0x20, 0x30, 0xca, 0xc4, 0xc6
PACKET = 0xa0


class Ahci(unittest.TestCase):
    def start(self, device="ide-hd"):
        folder = tempfile.mkdtemp(prefix="godwit-ahci-")
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "disk")
        with open(path, "wb") as file:
            file.write(bytes(range(256)) * 4096)
        self.door = Door("-drive", f"if=none,id=d,format=raw,file={path}", "-device",
                         f"{device},drive=d,bus=ide.0", machine="q35")
        self.addCleanup(self.door.close)
        self.config(0x24, BAR)
        self.config(0x04, 0x0006)

    def config(self, offset, value):
        self.door.outl(0xcf8, 0x80000000 | DEVFN << 8 | offset)
        self.door.outl(0xcfc, value)

    def config_read(self, offset):
        self.door.outl(0xcf8, 0x80000000 | DEVFN << 8 | offset)
        return self.door.inl(0xcfc)

    def test_index_and_data(self):
        """The capability names the place; data are the memory registers, whatever the index is."""
        self.start()
        at = self.config_read(0x34) & 0xff
        while self.config_read(at) & 0xff != 0x12:
            at = self.config_read(at) >> 8 & 0xff
            self.assertNotEqual(at, 0)
        self.assertEqual(self.config_read(at) >> 16, 0x10)
        self.assertEqual(self.config_read(at + 4), 0x48)  # BAR 4, the fourth word
        self.config(0x20, 0xc000)
        self.config(0x04, 0x0007)
        index, data = 0xc010, 0xc014
        for offset in (0, 4, 0x10, 0x124):
            self.door.outl(index, offset)
            self.assertEqual(self.door.inl(data), self.door.readl(BAR + offset))
        self.door.outl(index, 0xfffff103)
        self.assertEqual(self.door.inl(index), 0x100)
        self.door.outl(data, LIST)
        self.assertEqual(self.door.readl(CLB), LIST)
        self.assertEqual(self.door.inl(0xc000), 0)

    def go(self):
        self.door.writel(CLB, LIST)
        self.door.writel(FB, FIS)
        self.door.writel(CMD, 6 | RECEIVE)
        self.door.writel(CMD, 6 | RECEIVE | START)

    def command(self, command, count=1, to_guest=True, moved=0, packet=None, limit=0, feature=0):
        """Runs it at sector 0; what it has raised."""
        self.door.write(FIS, bytes(0x100))
        flags = 5 | (0 if to_guest else 0x40) | (0x20 if packet else 0)
        self.door.write(LIST, struct.pack("<IIQ", flags | 1 << 16, 0, TABLE).ljust(32, b"\0"))
        fis = bytes([0x27, 0x80, command, feature, 0, limit & 255, limit >> 8, 0x40, 0, 0, 0, 0, count])
        self.door.write(TABLE, fis.ljust(0x40, b"\0") + (packet or b"").ljust(0x40, b"\0")
                        + struct.pack("<QII", DATA, 0, 0x3fffff))
        self.door.writel(IS, 0xffffffff)
        self.door.writel(CI, 1)
        end = time.monotonic() + 20 * TIME_FACTOR
        while self.door.readl(CI):
            self.assertLess(time.monotonic(), end)
        self.assertEqual(struct.unpack("<I", self.door.read(LIST + 4, 4))[0], moved)
        return self.door.readl(IS)

    def pio_setup(self):
        """Type, direction and interrupt, and length of the last one."""
        fis = self.door.read(FIS + 0x20, 20)
        return fis[0], fis[1], fis[16] | fis[17] << 8

    def test_start(self):
        self.start()
        self.assertEqual(self.door.readl(TFD) & 0xff, 0x7f)
        self.assertEqual(self.door.readl(SERR), 0)
        self.config(0x90, 0x003f0000)
        self.assertEqual(self.door.config(DEVFN, 0x90) >> 16, 0x3f)
        at = self.door.config(DEVFN, 0x34) & 0xff
        while self.door.config(DEVFN, at) & 0xff != 5:
            at = self.door.config(DEVFN, at) >> 8 & 0xff
        self.assertEqual(self.door.config(DEVFN, at) >> 16, 0x80)  # 64 bits, no masks
        self.go()
        self.assertEqual(self.door.readl(SIG), 0x101)
        self.assertEqual(self.door.readl(TFD) & 0xff, 0x50)

    def test_disk(self):
        self.start()
        self.go()
        self.assertEqual(self.command(IDENTIFY, moved=512), PSS | DHRS)
        self.assertEqual(self.pio_setup(), (0x5f, 0x60, 512))
        words = struct.unpack("<256H", self.door.read(DATA, 512))
        self.assertEqual(words[5], 512)
        self.assertEqual(self.command(READ, 8, moved=4096), PSS | DHRS)
        self.assertEqual(self.pio_setup(), (0x5f, 0x60, 512))
        self.assertEqual(self.command(SET_MULTIPLE, 8), DHRS)
        self.assertEqual(self.command(READ_MULTIPLE, 12, moved=6144), PSS | DHRS)
        self.assertEqual(self.pio_setup(), (0x5f, 0x60, 2048))
        # The first block of a write raises nothing of its own.
        self.assertEqual(self.command(WRITE, 1, False, moved=512), DHRS)
        self.assertEqual(self.pio_setup(), (0x5f, 0, 512))
        self.assertEqual(self.command(WRITE, 2, False, moved=1024), PSS | DHRS)
        self.assertEqual(self.pio_setup(), (0x5f, 0x40, 512))
        self.assertEqual(self.command(WRITE_DMA, 2, False, moved=1024), DHRS)
        self.assertEqual(self.pio_setup()[0], 0)

    def test_packets(self):
        self.start("ide-cd")
        self.go()
        self.assertEqual(self.door.readl(SIG), 0xeb140101)
        inquiry = bytes([0x12, 0, 0, 0, 36, 0])
        self.command(PACKET, packet=bytes(6), to_guest=True)  # a new medium is told of once
        self.assertEqual(self.command(PACKET, packet=bytes(6)), DHRS)
        self.assertEqual(self.pio_setup(), (0x5f, 0, 12))
        self.assertEqual(self.command(PACKET, packet=inquiry, limit=2048, moved=36), PSS | DHRS)
        self.assertEqual(self.pio_setup(), (0x5f, 0x60, 36))
        self.assertEqual(self.command(PACKET, packet=inquiry, feature=1, moved=36), DHRS)
        self.assertEqual(self.pio_setup(), (0x5f, 0, 12))
        read = bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 3, 0])
        self.assertEqual(self.command(PACKET, packet=read, limit=4096, moved=6144), PSS | DHRS)
        self.assertEqual(self.pio_setup(), (0x5f, 0x60, 2048))


if __name__ == "__main__":
    unittest.main(verbosity=2)
