"""Debian's kernel with its own drivers on the disk controllers of the PC boards: reads, writes, a CD."""
import hashlib
import os
import random
import sys
import tempfile
import unittest

import initramfs
from godwit import Machine

SECTORS = 32 << 11  # 32 MiB
CD_BYTES = 3 << 20


class Disks(initramfs.Shell, unittest.TestCase):
    """$kernel, $initrd and the pictures are set up by the main program."""

    def md5(self, m, command):
        return self.command(m, command + " 2>/dev/null | md5sum").split()[0]

    def boot(self, machine, kind, driver):
        kernel = initramfs.Kernel(kind)
        folder = os.path.join(self.folder, machine)
        os.makedirs(folder, exist_ok=True)
        initrd = initramfs.make(folder, kernel, [driver, "sd_mod", "sr_mod"],
                                rc=f"load {driver} sd_mod sr_mod\n")
        with open(self.disk, "wb") as file:
            file.write(self.data)
        m = Machine("-M", machine, "-m", "512", "-kernel", kernel.image, "-initrd", initrd, "-append",
                    "console=ttyS0 quiet cryptomgr.notests", "-drive", f"file={self.disk},format=raw",
                    "-cdrom", self.cd)
        self.addCleanup(m.close)
        self.shell(m, 300)
        self.command(m, "while [ ! -b /dev/sda ] || [ ! -b /dev/sr0 ]; do sleep 0.2; done", 120)
        return m

    def drive(self, m):
        """Reads all of it, copies a part to another place in big and in small pieces, reads the CD."""
        self.assertEqual(self.command(m, "cat /sys/block/sda/size").strip(), str(SECTORS))
        self.assertEqual(self.md5(m, "dd if=/dev/sda bs=1M"),
                         hashlib.md5(self.data).hexdigest())
        self.command(m, "dd if=/dev/sda bs=1M count=4 of=/dev/sda seek=20 2>/dev/null; sync")
        self.command(m, "dd if=/dev/sda bs=512 count=64 of=/dev/sda seek=40001 conv=fsync"
                        " 2>/dev/null; sync", 120)
        self.assertEqual(self.md5(m, "dd if=/dev/sr0 bs=2048"),
                         hashlib.md5(self.cd_data).hexdigest())
        self.assertEqual(self.command(m, "dmesg | grep -E 'ata.*(exception|failed|error)'"), "")
        m.qmp.command("stop")  # in the middle of nothing, and in the middle of a read
        m.qmp.command("cont")
        m.send("dd if=/dev/sda bs=64k of=/dev/null 2>/dev/null; echo read=$?\n")
        m.qmp.command("stop")
        m.qmp.command("cont")
        m.expect("read=0\r\n", 120)
        m.send("poweroff -f\n")
        m.qmp.event("SHUTDOWN", timeout=60)
        self.assertEqual(m.wait(60), 0)
        expected = bytearray(self.data)
        expected[20 << 20:24 << 20] = self.data[:4 << 20]
        expected[40001 * 512:40065 * 512] = expected[:64 * 512]
        with open(self.disk, "rb") as file:
            self.assertEqual(hashlib.md5(file.read()).hexdigest(),
                             hashlib.md5(expected).hexdigest())

    def test_ide(self):
        m = self.boot("pc", "cloud", "ata_piix")
        self.assertRegex(self.command(m, "dmesg"), r"ata1\.00: ATA-7: GODWIT HARDDISK")
        self.drive(m)

    def test_ahci(self):
        m = self.boot("q35", "generic", "ahci")
        self.assertEqual(self.command(m, "cat /sys/block/sda/device/queue_depth").strip(), "32")
        self.drive(m)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        try:
            initramfs.Kernel("cloud"), initramfs.Kernel("generic")
        except initramfs.Missing as e:
            print("skipped:", e)
            sys.exit(77)
        rand = random.Random(4)
        Disks.folder, Disks.disk, Disks.cd = place, os.path.join(place, "disk"), os.path.join(place, "cd")
        Disks.data, Disks.cd_data = rand.randbytes(SECTORS * 512), rand.randbytes(CD_BYTES)
        with open(Disks.cd, "wb") as image:
            image.write(Disks.cd_data)
        unittest.main(verbosity=2, exit=False).result.wasSuccessful() or sys.exit(1)
