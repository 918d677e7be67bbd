"""What PCs boot from media, seen on the screen: GRUB, iPXE, a disk's boot sector, memtest86+.

Packages that are not installed are skipped. Pictures of what was reached go to $SCREENSHOTS.
"""
import os
import sys
import time
import unittest

import screen
from firmware import Firmware, SEABIOS
from godwit import TIME_FACTOR

GRUB = "/usr/lib/grub-rescue/grub-rescue-cdrom.iso"
IPXE = "/usr/lib/ipxe/ipxe.iso"
MEMTEST = "/boot/memtest86+x64.bin"
MACHINES = ("q35", "pc")

SHIFTED = {"(": "9", ")": "0", "+": "equal", "_": "minus", ":": "semicolon"}
PLAIN = {" ": "spc", "\n": "ret", "-": "minus", "=": "equal", ".": "dot", "/": "slash", ",": "comma"}


def package(path, name):
    return unittest.skipUnless(os.path.exists(path) and os.path.exists(SEABIOS),
                               f"the package {name} is not installed")


def type_text(m, text):
    for c in text:
        keys = ["shift", SHIFTED[c]] if c in SHIFTED else [PLAIN.get(c, c)]
        m.qmp.command("send-key", hold_time=10, keys=[{"type": "qcode", "data": k} for k in keys])


def grub_prompt(m):
    m.wait_screen("GNU GRUB  version", timeout=120)
    m.wait_screen("for a command-line", timeout=120)
    type_text(m, "c")
    m.wait_screen("grub>", timeout=120)


class Media(unittest.TestCase):
    @package(GRUB, "grub-rescue-pc")
    def test_grub_from_cd(self):
        for machine in MACHINES:
            with self.subTest(machine), Firmware("-M", machine, "-cdrom", GRUB) as m:
                grub_prompt(m)
                type_text(m, "lsmmap\n")
                m.wait_screen("available RAM")
                type_text(m, "ls\n")
                m.wait_screen("(cd)")
                m.keep(f"grub-{machine}")

    @package(IPXE, "ipxe")
    def test_ipxe_from_cd(self):
        for machine in MACHINES:
            with self.subTest(machine), Firmware("-M", machine, "-cdrom", IPXE) as m:
                m.wait_screen("-- Open Source Network Boot Firmware --", timeout=120)
                m.keep(f"ipxe-{machine}")

    @package(SEABIOS, "seabios")
    def test_boot_sector_and_write(self):
        """A boot sector that writes its own second sector to the third by BIOS calls."""
        code = bytes.fromhex(
            "31c0 8ed8 8ec0 8ed0 bc007c"          # flat segments
            "b80102 bb0080 b90200 b600 cd13 723a"  # read sector 2 to 0x8000
            "b80103 bb0080 b90300 b600 cd13 722d"  # write it to sector 3
            "be 3f7c"                              # message
            "ac 84c0 7408 b40e 31db cd10 ebf3"     # print until NUL
            "f4 ebfd")
        # where the message is and where errors go follows from the length
        message = b"copied by the BIOS\0"
        code = bytearray(code)
        at = code.index(b"\xbe\x3f\x7c")
        code[at + 1:at + 3] = (0x7c00 + len(code)).to_bytes(2, "little")
        halt = len(code) - 3
        for i in range(len(code) - 1):
            if code[i] == 0x72:
                code[i + 1] = halt - (i + 2)
        sector = bytes(code) + message
        path = f"/tmp/godwit-disk-{os.getpid()}"
        second = bytes(range(256)) * 2
        try:
            with open(path, "wb") as file:
                file.write(sector.ljust(510, b"\0") + b"\x55\xaa" + second + bytes(1 << 20))
            for machine in MACHINES:
                with self.subTest(machine), Firmware(
                        "-M", machine, "-drive", f"file={path},format=raw,index=0") as m:
                    m.wait_screen("copied by the BIOS")
                    m.qmp.command("quit")
                    m.wait()
                with open(path, "r+b") as file:
                    file.seek(1024)
                    self.assertEqual(file.read(512), second)
                    file.seek(1024)
                    file.write(bytes(512))
        finally:
            os.remove(path)


@package(GRUB, "grub-rescue-pc")
class Memtest(unittest.TestCase):
    @package(MEMTEST, "memtest86+")
    def test_pass_on_64_mib(self):
        size = (os.path.getsize(MEMTEST) + 511) // 512
        path = f"/tmp/godwit-memtest-{os.getpid()}"
        try:
            with open(MEMTEST, "rb") as source, open(path, "wb") as file:
                file.write(source.read().ljust(1 << 20, b"\0"))
            with Firmware("-m", "64", "-cdrom", GRUB, "-boot", "d", "-drive",
                          f"file={path},format=raw,index=0") as m:
                grub_prompt(m)
                type_text(m, f"linux16 (hd0)0+{size}\nboot\n")
                m.wait_screen("Memtest86+", timeout=120)
                end = time.monotonic() + 3000 * TIME_FACTOR
                while True:
                    text = "\n".join(m.screen())
                    if "Status: Pass" in text or time.monotonic() > end:
                        break
                    time.sleep(1)
                m.keep("memtest86")
                self.assertRegex(text, r"Pass: +1 +Errors: 0")
                self.assertIn("Status: Pass", text)
        finally:
            os.remove(path)


if __name__ == "__main__":
    if not screen.available():
        print("the package seabios is not installed: skipped")
        sys.exit(77)
    unittest.main(verbosity=2)
