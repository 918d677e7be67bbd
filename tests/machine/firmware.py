"""PC firmware from the distribution: SeaBIOS finds its way through the board.

Where a package is not installed the tests that need it are skipped and say so.
"""
import os
import struct
import tempfile
import time
import unittest

import godwit
import screen
from godwit import TIME_FACTOR, Machine

SEABIOS = "/usr/share/seabios/bios-256k.bin"
KEEP = os.environ.get("SCREENSHOTS")  # a folder for pictures of what was reached


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

    def screen(self):
        """The text on the display."""
        path = os.path.join(self.dir, "screen.ppm")
        self.qmp.command("screendump", filename=path)
        return screen.read_text(path)

    def wait_screen(self, needle, timeout=60):
        end = time.monotonic() + timeout * TIME_FACTOR
        while needle not in "\n".join(lines := self.screen()):
            if time.monotonic() > end:
                raise AssertionError(f"no {needle!r} on the screen:\n" + "\n".join(lines))
            time.sleep(0.2)
        return lines

    def keep(self, name):
        """A picture for whoever looks at the test's results."""
        if KEEP:
            os.makedirs(KEEP, exist_ok=True)
            self.qmp.command("screendump", filename=os.path.join(KEEP, name + ".png"),
                             format="png")

    def type(self, text):
        """Types small letters, digits and a few signs."""
        names = {" ": "spc", "\n": "ret", "-": "minus", "=": "equal", ".": "dot", "/": "slash",
                 ",": "comma", ";": "semicolon"}
        for c in text:
            self.qmp.command("send-key", hold_time=20,
                             keys=[{"type": "qcode", "data": names.get(c, c)}])

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

    def test_pc(self):
        """The older board."""
        with Firmware("-M", "pc", "-m", "64") as m:
            m.wait_log("No bootable device.")
            log = m.text()
            self.assertIn("Running on QEMU (i440fx)", log)
            self.assertIn("PIIX3/PIIX4 init: elcr=00 0c", log)
            self.assertIn("Using pmtimer, ioport 0x608", log)
            self.assertIn("PS2 keyboard initialized", log)
            self.assertNotIn("WARNING", log)
            m.qmp.command("system_reset")
            m.wait_log("No bootable device.", count=2)

    @unittest.skipUnless(os.path.exists("/usr/share/qemu/multiboot_dma.bin"),
                         "no option ROM: package qemu-system-data")
    def test_multiboot_kernel(self):
        """A Multiboot kernel is started with its module and arguments, at each reset."""
        for board in "q35", "pc":
            with self.subTest(board), \
                    Firmware("-M", board + ",kernel-boot=firmware", "-m", "64", "-no-shutdown",
                             "-kernel", godwit.guest("hello"), "-append", "by bios",
                             "-initrd", __file__) as m:
                for _ in 1, 2:
                    m.expect(r"hello by multiboot \[by bios\]\n")
                    m.qmp.event("SHUTDOWN")
                    m.qmp.command("system_reset")
                    m.qmp.command("cont")

    def test_named_firmware_and_directory(self):
        with Firmware("-L", os.path.dirname(SEABIOS), "-bios", "bios.bin") as m:
            m.wait_log("SeaBIOS (version")
            m.wait_log("No bootable device.")

    def test_screen_and_keyboard(self):
        """SeaBIOS' own menu, seen on the VGA and left by the keyboard."""
        with Firmware("-boot", "menu=on,splash-time=65000") as m:
            lines = m.wait_screen("Press ESC for boot menu.")
            self.assertTrue(lines[0].startswith("SeaBIOS (version"), lines)
            self.assertEqual(len(lines), 25)
            m.qmp.command("send-key", keys=[{"type": "qcode", "data": "esc"}])
            m.wait_screen("Select boot device:")
            m.keep("seabios-menu")
            while "Booting from Floppy..." not in m.screen():  # it ignores ESC for 1.5 s
                m.qmp.command("send-key", keys=[{"type": "number", "data": 1}])
                time.sleep(0.3)

    def test_menu_on_serial_and_splash_time(self):
        """No VGA: the firmware's screen is COM1."""
        with Firmware("-vga", "none", "-boot", "menu=on,splash-time=65000") as m:
            m.expect(r"Press ESC for boot menu", timeout=60)
            m.send("\x1b")
            m.expect(r"Select boot device", timeout=60)

    def test_splash(self):
        """The picture is found and shown while the menu waits."""
        row = bytes((0, 0, 255)) * 320  # red
        head = struct.pack("<2sIHHI", b"BM", 54 + 200 * 960, 0, 0, 54) + struct.pack(
            "<IiiHHIIiiII", 40, 320, 200, 1, 24, 0, 200 * 960, 0, 0, 0, 0)
        with tempfile.NamedTemporaryFile(suffix=".bmp") as picture:
            picture.write(head + row * 200)
            picture.flush()
            with Firmware("-boot",
                          f"menu=on,splash-time=65000,splash={picture.name}") as m:
                end = time.monotonic() + 60 * TIME_FACTOR
                while True:
                    path = os.path.join(m.dir, "splash.ppm")
                    m.qmp.command("screendump", filename=path)
                    with open(path, "rb") as file:
                        magic, size, _, pixels = file.read().split(b"\n", 3)
                    if size == b"320 200" and set(zip(*[iter(pixels)] * 3)) == {(255, 0, 0)}:
                        break
                    self.assertLess(time.monotonic(), end, m.text()[-500:])
                    time.sleep(0.2)

    def test_graphics_off(self):
        """There is a display adapter, and the firmware's screen is COM1 all the same."""
        with Firmware("-M", "graphics=off") as m:
            m.expect(r"SeaBIOS \(version", timeout=60)

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

    def test_once(self):
        """The CD at the first start only."""
        with tempfile.NamedTemporaryFile(prefix="godwit-disk-") as disk, \
                tempfile.NamedTemporaryFile(prefix="godwit-cd-") as cd:
            for file in (disk, cd):
                file.truncate(1 << 20)
            with Firmware("-boot", "once=d", "-hda", disk.name, "-cdrom", cd.name) as m:
                m.wait_log("No bootable device.")
                first = m.text()
                self.assertLess(first.index("Booting from DVD/CD"), first.index("Booting from Hard"))
                m.qmp.command("system_reset")
                m.wait_log("No bootable device.", count=2)
                second = m.text()[len(first):]
                self.assertLess(second.index("Booting from Hard"),
                                second.index("Booting from DVD/CD"))

    # Says its letter on COM1 and stops.
    def boot_disk(self, letter):
        file = tempfile.NamedTemporaryFile(prefix="godwit-disk-")
        self.addCleanup(file.close)
        code = bytes([0xba, 0xf8, 0x03, 0xb0, ord("<"), 0xee, 0xb0, ord(letter), 0xee, 0xb0,
                      ord(">"), 0xee, 0xfa, 0xf4])
        file.write(code.ljust(510, b"\0") + b"\x55\xaa" + bytes((1 << 20) - 512))
        file.flush()
        return ["-drive", f"if=none,id={letter},format=raw,file={file.name}"]

    def test_bootindex(self):
        """The least number is tried first, wherever the device is: a port, a bridge, a channel."""
        drives = [arg for letter in "ABC" for arg in self.boot_disk(letter)]
        q35 = ["-device", "pcie-root-port,id=rp,addr=5", "-M", "q35"]
        for board, places in ((q35, ("ide-hd,bus=ide.1", "virtio-blk-pci,bus=rp",
                                     "virtio-blk-pci,addr=9")),
                              (["-M", "pc"], ("ide-hd,bus=ide.0,unit=1", "ide-hd,bus=ide.1",
                                              "virtio-blk-pci,addr=9"))):
            for first in range(3):
                args = []
                for i, place in enumerate(places):
                    args += ["-device", f"{place},drive={'ABC'[i]},bootindex={(i - first) % 3}"]
                with self.subTest(board=board, first=first), \
                        Machine("-vga", "none", *drives, *board, *args) as m:
                    m.expect(f"<{'ABC'[first]}>", 60)

    @unittest.skipUnless(os.path.exists("/usr/share/seabios/bios-microvm.bin"), "old seabios")
    def test_microvm(self):
        drives = [arg for letter in "AB" for arg in self.boot_disk(letter)]
        for order in "AB", "BA":
            args = [arg for letter in "AB" for arg in
                    ("-device", f"virtio-blk-device,drive={letter},bootindex={order.index(letter)}")]
            with self.subTest(order), Machine("-M", "microvm", *drives, *args) as m:
                m.expect(f"<{order[0]}>", 60)
                m.qmp.command("system_reset")  # which brings the firmware's memory back
                m.expect(f"<{order[0]}>", 60)

    def test_microvm_without(self):
        """What -M microvm leaves out does not answer; a guest without it runs all the same."""
        ports = {"pit": 0x40, "rtc": 0x71, "pic": 0x21, "isa-serial": 0x3fe}
        for off in ports:
            with self.subTest(off), Machine("-M", f"microvm,{off}=off", "-S",
                                            serial=off != "isa-serial") as m:
                for part, port in ports.items():
                    value = m.qmp.command("human-monitor-command",
                                          **{"command-line": f"i/b {port:#x}"}).split()[-1]
                    self.assertEqual(value == "0xff", part == off, part)
        result = godwit.run("-M", "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=off",
                            "-display", "none", "-kernel", godwit.guest("script"), "-append",
                            "delay 5 out8 501 3", "-device", "isa-debug-exit,iobase=0x501")
        self.assertEqual(result.returncode, 7, result.stderr)

    def test_microvm_slots(self):
        args = ["-device", "virtio-rng-device"] * 9
        result = godwit.run("-M", "microvm", "-accel", "qtest", "-display", "none", *args)
        self.assertIn("all slots for virtio devices are taken", result.stderr)
        result = godwit.run("-M", "q35", "-accel", "qtest", "-display", "none", *args[:2])
        self.assertIn("this machine has no slots for virtio devices", result.stderr)
        result = godwit.run("-M", "microvm", "-accel", "qtest", "-display", "none", "-device",
                            "virtio-rng-pci")
        self.assertEqual(result.returncode, 1)

    def test_bootindex_taken(self):
        drives = [arg for letter in "AB" for arg in self.boot_disk(letter)]
        result = godwit.run(*drives, "-device", "ide-hd,drive=A,bootindex=1", "-device",
                            "virtio-blk-pci,drive=B,bootindex=1", "-display", "none")
        self.assertIn("The bootindex 1 has already been used", result.stderr)
        result = godwit.run(*drives, "-device", "ide-hd,drive=A,bootindex=-2", "-display", "none")
        self.assertIn("'-2' is not a number from -1", result.stderr)

    def test_strict(self):
        """Nothing but what has a bootindex; all that there is when nothing has one."""
        with tempfile.NamedTemporaryFile() as disk:
            disk.truncate(1 << 20)
            with Firmware("-drive", f"if=none,id=d,format=raw,file={disk.name}", "-device",
                          "ide-hd,drive=d,bootindex=1", "-boot", "strict=on") as m:
                m.wait_log("No bootable device.")
                self.assertIn("Booting from Hard Disk", m.text())
                self.assertEqual(m.text().count("Booting from"), 1)
        with Firmware("-boot", "strict=on,order=c") as m:
            m.wait_log("No bootable device.")
            self.assertIn("Booting from Hard Disk", m.text())


class Display(unittest.TestCase):
    def test_files_and_errors(self):
        with Machine("-accel", "qtest", "-vga", "std", "-device", "isa-debug-exit,id=other",
                     "-device", "bochs-display,id=second", serial=False) as m:
            path = os.path.join(m.dir, "x")
            m.qmp.command("screendump", filename=path, format="png")
            with open(path, "rb") as file:
                self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")
            m.qmp.command("screendump", filename=path, device="second", head=0)
            self.assertEqual(screen.read_ppm(path)[:2], (640, 480))
            for arguments, error in (
                    ({"device": "none"}, ("DeviceNotFound", "Device 'none' not found")),
                    ({"device": "other"}, ("GenericError", "Device other (head 0) is not bound")),
                    ({"device": "second", "head": 1}, ("GenericError", "Device second (head 1)")),
                    ({"head": 0}, ("GenericError",
                                   "'head' must be specified together with 'device'"))):
                answer = m.qmp.request("screendump", filename=path, **arguments)["error"]
                self.assertEqual(answer["class"], error[0])
                self.assertTrue(answer["desc"].startswith(error[1]), answer)
            answer = m.qmp.request("screendump", filename=m.dir + "/no/such")["error"]
            self.assertIn("No such file or directory", answer["desc"])
            hmp = m.qmp.command("human-monitor-command",
                                command_line=f"screendump {path} -f png")
            self.assertEqual(hmp, "")
            with open(path, "rb") as file:
                self.assertEqual(file.read(4), b"\x89PNG")
            hmp = m.qmp.command("human-monitor-command", command_line="sendkey ctrl-alt-nokey")
            self.assertEqual(hmp, "invalid parameter: nokey\r\n")

    def test_none(self):
        with Machine("-accel", "qtest", serial=False) as m:
            answer = m.qmp.request("screendump", filename=m.dir + "/x")["error"]
            self.assertEqual(answer["desc"], "There is no console to take a screendump from")

    def test_input_events(self):
        with Machine("-accel", "qtest", "-S", serial=False) as m:
            event = {"type": "abs", "data": {"axis": "x", "value": 1}}
            answer = m.qmp.request("input-send-event", events=[event])["error"]
            self.assertEqual(answer["desc"], "VM not running")
            m.qmp.command("cont")
            answer = m.qmp.request("input-send-event", events=[event])["error"]
            self.assertEqual(answer["desc"], "Input handler not found for event type abs")
            m.qmp.command("input-send-event", events=[
                {"type": "key", "data": {"down": True, "key": {"type": "number", "data": 30}}},
                {"type": "btn", "data": {"down": True, "button": "left"}},
                {"type": "rel", "data": {"axis": "y", "value": -5}}])


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
                ("ce", "'e' is none of a, b (floppy), c (disk), d (CD), n (network)"),
                ("once=p", "'p' is none of"),
                ("splash-time=-1", "splash-time '-1' is not a number of milliseconds (0 to 65535)"),
                ("reboot-timeout=65536", "(-1 to 65535)"),
                ("reboot-timeout=1s", "reboot-timeout '1s' is not"),
                ("menu=maybe", "menu"),
                ("color=blue", "color")):
            self.assertIn(message, self.check("-accel", "qtest", "-boot", arg), arg)


if __name__ == "__main__":
    unittest.main(verbosity=2)
