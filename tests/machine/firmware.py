"""PC firmware from the distribution: SeaBIOS finds its way through the board.

Where a package is not installed the tests that need it are skipped and say so.
"""
import os
import time
import unittest

import godwit
from godwit import TIME_FACTOR, Machine

SEABIOS = "/usr/share/seabios/bios-256k.bin"


class Firmware(Machine):
    """A machine whose firmware writes its log to a file."""

    def __init__(self, *args, **kwargs):
        self.log = os.path.join("/tmp", f"godwit-firmware-{os.getpid()}-{id(self)}.log")
        super().__init__("-chardev", f"file,id=fwlog,path={self.log}", "-device",
                         "isa-debugcon,iobase=0x402,chardev=fwlog", *args, **kwargs)

    def text(self):
        with open(self.log, encoding="ascii", errors="replace") as file:
            return file.read()

    def wait_log(self, needle, count=1, timeout=60):
        end = time.monotonic() + timeout * TIME_FACTOR
        while self.text().count(needle) < count:
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError(f"no {needle!r} in the firmware's log:\n{self.text()[-3000:]}")
            time.sleep(0.05)

    def close(self):
        super().close()
        if os.path.exists(self.log):
            os.remove(self.log)


@unittest.skipUnless(os.path.exists(SEABIOS), "the package seabios is not installed")
class Seabios(unittest.TestCase):
    def test_default_reaches_the_end_and_again(self):
        """Without a kernel it starts by itself, reads our tables, and does so after each reset."""
        with Firmware("-m", "64", "-smp", "2") as m:
            m.wait_log("No bootable device.")
            log = m.text()
            self.assertIn("Running on QEMU (q35)", log)
            self.assertIn("QEMU fw_cfg DMA interface supported", log)
            self.assertIn("addr 0x0000000000000000 len 0x0000000004000000 [RAM]", log)
            self.assertIn("Found 2 cpu(s) max supported 2 cpu(s)", log)
            self.assertIn("Copying SMBIOS", log)
            self.assertRegex(log, r"table\(50434146\)=0x0*3ff[0-9a-f]{4,5} \(via [rx]sdt\)")
            self.assertIn("PS2 keyboard initialized", log)
            self.assertNotIn("WARNING", log)
            m.qmp.command("system_reset")
            m.qmp.event("RESET")
            m.wait_log("No bootable device.", count=2)
            self.assertEqual(m.text().count("SeaBIOS (version"), 4)  # its log and its screen's

    def test_named_firmware_and_directory(self):
        with Firmware("-L", os.path.dirname(SEABIOS), "-bios", "bios.bin") as m:
            m.wait_log("SeaBIOS (version")
            m.wait_log("No bootable device.")

    def test_menu_on_serial_and_splash_time(self):
        """No VGA: the firmware's screen is COM1."""
        with Firmware("-boot", "menu=on,splash-time=65000") as m:
            m.expect(r"Press ESC for boot menu", timeout=60)
            m.send("\x1b")
            m.expect(r"Select boot device", timeout=60)

    def test_reboot_timeout(self):
        with Firmware("-boot", "reboot-timeout=500") as m:
            m.wait_log("No bootable device.  Retrying in 0 seconds.")
            event = m.qmp.event("RESET", timeout=60)
            self.assertEqual(event["data"]["reason"], "guest-reset")
            m.wait_log("No bootable device.", count=2)

    def test_no_reboot_timeout(self):
        with Firmware() as m:
            m.wait_log("No bootable device.")
            self.assertIn("Booting from", m.text())
            self.assertNotIn("Retrying", m.text())

    def test_strict(self):
        with Firmware("-boot", "strict=on") as m:
            m.wait_log("No bootable device.")
            self.assertNotIn("Booting from", m.text())


class Errors(unittest.TestCase):
    def check(self, *args):
        result = godwit.run("-display", "none", *args)
        self.assertEqual(result.returncode, 1)
        return result.stderr

    def test_no_such_firmware(self):
        text = self.check("-bios", "no-such.bin")
        self.assertIn("firmware: no file 'no-such.bin' in /usr/share/seabios", text)
        text = self.check("-L", "/tmp", "-bios", "bios-9.bin")
        self.assertIn("in /tmp, /usr/share/seabios", text)
        self.assertIn("install the package 'seabios', or name a directory with -L", text)

    def test_boot_options(self):
        for arg, message in (
                ("order=cdc", "boot device 'c' was given twice"),
                ("order=c1", "invalid boot device '1' (a letter from a to p)"),
                ("acdn", "a PC takes three kinds of device at most"),
                ("ce", "'e' is none of a (floppy), c (disk), d (CD), n (network)"),
                ("once=p", "'p' is none of"),
                ("splash-time=-1", "splash-time '-1' is not a number of milliseconds (0 to 65535)"),
                ("reboot-timeout=65536", "(-1 to 65535)"),
                ("reboot-timeout=1s", "reboot-timeout '1s' is not"),
                ("menu=maybe", "menu"),
                ("color=blue", "color")):
            self.assertIn(message, self.check("-accel", "qtest", "-boot", arg), arg)


if __name__ == "__main__":
    unittest.main(verbosity=2)
