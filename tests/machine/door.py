"""Devices of the q35 board through the register door, on the clock that the test steps."""
import os
import signal
import socket
import subprocess
import tempfile
import struct
import unittest

from godwit import GODWIT
from qtest import Door, Refused

MS = 1000000
SECOND = 1000 * MS
IOAPIC = 0xfec00000
HPET = 0xfed00000


class Protocol(unittest.TestCase):
    def test_words(self):
        with Door() as d:
            self.assertEqual(d.do("endianness"), "little")
            for line in ("bogus", "", "inb", "inb 1 2", "inb x", "inb -1", "inb 0x10000",
                         "outb 0x80 99999999999999999999", "read 0 999999999999", "write 0 4 1234",
                         "write 0 4 0xzz", "b64write 0 4 QQ==", "clock_set -5",
                         "irq_intercept_in nowhere", "irq_intercept_out ioapic",
                         "set_irq_in ioapic x 24 1", "a b c d e f g h i j k"):
                with self.assertRaises(Refused, msg=line):
                    d.do(line)
            self.assertEqual(d.do("endianness"), "little")

    def test_long_line(self):
        with Door() as d:
            for _ in range(17):
                d.sock.sendall(b"x" * (1 << 20))
            with self.assertRaises(Refused):
                d.do("x")
            self.assertEqual(d.do("endianness"), "little")

    def test_many_at_once(self):
        """Answers far beyond what the socket holds, asked for in one go."""
        with Door() as d:
            d.sock.sendall(b"read 0x100000 0x100000\n" * 40)
            for _ in range(40):
                self.assertEqual(d.answer(), "0x" + "00" * 0x100000)

    def test_memory(self):
        with Door() as d:
            d.write(0x100000, b"hello")
            self.assertEqual(d.read(0x100000, 6), b"hello\0")
            self.assertEqual(d.b64read(0x100000, 5), b"hello")
            d.do("b64write", 0x100010, 3, "YWJj")
            self.assertEqual(d.read(0x100010, 3), b"abc")
            d.do("write", 0x100010, 3, "0x41")  # padded
            self.assertEqual(d.read(0x100010, 3), b"A\0\0")
            d.do("memset", 0x100000, 100000, 0x5a)
            self.assertEqual(d.read(0x100000 + 99999, 2), b"\x5a\0")
            d.do("writeq", 0x100000, 0x1122334455667788)
            self.assertEqual(d.do("readq", 0x100000), "0x1122334455667788")
            self.assertEqual(d.do("readw", 0x100006), "0x0000000000001122")
            self.assertEqual(d.do("readb 1048577"), "0x0000000000000077")
            self.assertEqual(d.do("readl", 0xe000000000), "0x00000000ffffffff")
            self.assertEqual(d.inl(0x9999), 0xffffffff)

    def test_clock(self):
        with Door() as d:
            self.assertEqual(d.step(5), 5)
            self.assertEqual(int(d.do("clock_set 100")), 100)
            self.assertEqual(int(d.do("clock_set 50")), 100)
            d.outb(0x43, 0x34)
            d.outb(0x40, 0)
            d.outb(0x40, 0)
            self.assertEqual(d.step(), 100 + 65536 * SECOND // 1193182 + 1)
            now = d.step(0)
            self.assertEqual(d.step(1 << 40), now + (1 << 40))

    def test_running_clock(self):
        """The clock is the machine's where there is a CPU. (-S: firmware uses the same registers.)"""
        with Door("-S", accel="tcg") as d:
            with self.assertRaises(Refused):
                d.step()
            self.assertNotEqual(d.inb(0x64), 0xff)  # a register that firmware does not change meanwhile

    def test_rtc_lost_ticks(self):
        """Interrupts that the guest takes late are made up for, unless a client has them forgotten."""
        def cmos(index, value=None):
            d.outb(0x70, index)
            return d.inb(0x71) if value is None else d.outb(0x71, value)

        def take():
            n = 0
            while cmos(0x0c) & 0x80:
                n += 1
            return n

        for options, expected in (("driftfix=slew", 10), ("driftfix=none", 1)):
            with Door("-rtc", options, qmp=True) as d:
                cmos(0x0a, 0x26)
                cmos(0x0b, 0x42)
                d.step(10 * SECOND // 1024 + SECOND // 10000)
                self.assertEqual(take(), expected)
                d.step(10 * SECOND // 1024)
                d.qmp.command("rtc-reset-reinjection")
                self.assertEqual(take(), 1)

    def test_ends(self):
        with Door(qmp=True) as d:
            self.assertEqual(d.qmp.command("query-status")["status"], "running")
            d.process.send_signal(signal.SIGTERM)
            self.assertEqual(d.wait(), 0)
            self.assertEqual(d.process.stdout.read(), b"")
        with Door(qmp=True) as d:
            d.qmp.command("quit")
            self.assertEqual(d.wait(), 0)


class Harness(unittest.TestCase):
    def test_both_sockets_listen(self):
        """Started as other people's harnesses start it: the emulator connects, twice."""
        with tempfile.TemporaryDirectory() as folder:
            listeners = []
            for name in ("door", "qmp"):
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(f"{folder}/{name}")
                listener.listen(1)
                listener.settimeout(20)
                listeners.append(listener)
            process = subprocess.Popen(
                [GODWIT, "-qtest", f"unix:{folder}/door", "-qtest-log", "/dev/null", "-chardev",
                 f"socket,path={folder}/qmp,id=char0", "-mon", "chardev=char0,mode=control",
                 "-display", "none", "-machine", "q35", "-accel", "qtest"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            (qmp, _), (door, _) = listeners[1].accept(), listeners[0].accept()
            self.assertIn(b'"QMP"', qmp.recv(4096))
            door.sendall(b"endianness\n")
            self.assertEqual(door.recv(100), b"OK little\n")
            door.sendall(b"clock_step 1000\n")
            self.assertEqual(door.recv(100), b"OK 1000\n")
            door.close()  # the machine lives on without a door
            qmp.sendall(b'{"execute":"qmp_capabilities"}{"execute":"quit"}')
            self.assertEqual(process.wait(20), 0)
            self.assertEqual(process.stdout.read(), b"")
            for open_file in (qmp, process.stdout, process.stderr, *listeners):
                open_file.close()


class Devices(unittest.TestCase):
    def test_timer_interrupts(self):
        with Door() as d:
            d.do("irq_intercept_in ioapic")
            d.outb(0x43, 0x30)  # one shot of 10 ms
            d.outb(0x40, 11932 & 255)
            d.outb(0x40, 11932 >> 8)
            d.irqs.clear()
            d.step(9 * MS)
            self.assertEqual(d.irqs, [])
            d.step(2 * MS)
            self.assertEqual(d.irqs, [("raise", 2)])
            d.do("set_irq_in ioapic unnamed-gpio-in 20 1")
            self.assertEqual(d.irqs[-1], ("raise", 20))

    def test_rtc(self):
        with Door("-rtc", "base=2026-02-28T23:59:59") as d:
            def cmos(index):
                d.outb(0x70, index)
                return d.inb(0x71)
            self.assertEqual([cmos(i) for i in (0x32, 9, 8, 7, 4, 2, 0)],
                             [0x20, 0x26, 0x02, 0x28, 0x23, 0x59, 0x59])
            d.do("irq_intercept_in", "ioapic")
            d.outb(0x70, 0x0b)
            d.outb(0x71, 0x12)  # update-ended interrupt
            d.irqs.clear()
            d.step(SECOND)
            self.assertEqual(d.irqs, [("raise", 8)])
            self.assertEqual(cmos(0x0c) & 0x90, 0x90)
            self.assertEqual(d.irqs, [("raise", 8), ("lower", 8)])
            self.assertEqual([cmos(i) for i in (8, 7, 4)], [0x03, 0x01, 0x00])

    def test_rtc_divider(self):
        with Door() as d:
            def cmos(index, value=None):
                d.outb(0x70, index)
                return d.inb(0x71) if value is None else d.outb(0x71, value)
            cmos(0x0b, 0x06)
            cmos(0x0a, 0x76)  # held in reset
            cmos(0, 20)
            d.step(5 * SECOND)
            self.assertEqual((cmos(0), cmos(0x0a)), (20, 0x76))
            cmos(0x0a, 0x26)  # the first update half a second later, told 8 ticks before
            d.step(SECOND // 2 - 244141)
            self.assertEqual(cmos(0x0a), 0x26)
            d.step(1)
            self.assertEqual((cmos(0), cmos(0x0a)), (20, 0xa6))
            d.step(244140)
            self.assertEqual((cmos(0), cmos(0x0a)), (21, 0x26))

    def test_rtc_periods(self):
        """Eight interrupts in so many ticks of 32768 Hz, by divider and rate."""
        with Door() as d:
            def cmos(index, value=None):
                d.outb(0x70, index)
                return d.inb(0x71) if value is None else d.outb(0x71, value)
            d.do("irq_intercept_in", "ioapic")
            for a, ticks in ((0x2d, 4096), (0x0d, 4096), (0x1f, 16384), (0x21, 128), (0x01, 1)):
                cmos(0x0a, a)
                cmos(0x0b, 0x42)
                cmos(0x0c)
                first = d.step()
                for _ in range(8):
                    self.assertEqual(cmos(0x0c) & 0xc0, 0xc0)
                    last = d.step()
                cmos(0x0b, 0x02)
                cmos(0x0c)
                self.assertAlmostEqual((last - first) * 32768 / SECOND, 8 * ticks, delta=0.1)
            cmos(0x0a, 0x6d)  # the divider stands
            cmos(0x0b, 0x42)
            d.step(5 * SECOND)
            self.assertEqual(cmos(0x0c), 0)

    def test_pic(self):
        with Door() as d:
            for port, value in ((0x20, 0x11), (0x21, 8), (0x21, 4), (0x21, 1), (0x21, 0)):
                d.outb(port, value)
            d.do("set_irq_in isa-i8259 x 4 1")
            self.assertEqual(d.inb(0x20), 0x10)
            d.outb(0x20, 0x0c)
            self.assertEqual(d.inb(0x20), 0x84)

    def test_ioapic(self):
        with Door() as d:
            d.writel(IOAPIC, 1)
            self.assertEqual(d.readl(IOAPIC + 0x10), 0x170020)
            d.writel(IOAPIC, 0x10 + 2 * 9)
            d.writel(IOAPIC + 0x10, 0x8031)
            d.outw(0x602, 0x100)
            self.assertEqual(d.readl(IOAPIC + 0x10), 0x8031)

    def test_hpet(self):
        with Door() as d:
            self.assertEqual(d.readl(HPET + 4), 10000000)
            d.do("irq_intercept_in ioapic")
            d.writel(HPET + 0x140, 18 << 9 | 4)
            d.writel(HPET + 0x148, 100)
            d.writel(HPET + 0x14c, 0)
            d.writel(HPET + 0x10, 1)
            d.step(2000)
            self.assertEqual(d.irqs, [("raise", 18), ("lower", 18)])
            self.assertEqual(d.readl(HPET + 0xf0), 200)

    def test_serial(self):
        with tempfile.TemporaryDirectory() as folder:
            with Door("-serial", f"unix:{folder}/s,server=on,wait=off") as d:
                line = socket.socket(socket.AF_UNIX)
                line.connect(f"{folder}/s")
                line.settimeout(20)
                d.do("irq_intercept_in ioapic")
                self.assertEqual(d.inb(0x3fd), 0x60)
                d.outb(0x3f9, 2)
                self.assertEqual(d.irqs, [("raise", 4)])
                self.assertEqual(d.inb(0x3fa) & 0x0f, 0x02)
                self.assertEqual(d.irqs, [("raise", 4), ("lower", 4)])
                d.outb(0x3f9, 1)
                line.sendall(b"x")
                while not d.inb(0x3fd) & 1:
                    pass
                self.assertEqual(d.irqs[-1], ("raise", 4))
                self.assertEqual(d.inb(0x3f8), ord("x"))
                for byte in b"out":
                    d.outb(0x3f8, byte)
                with line, line.makefile("rb") as file:
                    self.assertEqual(file.read(3), b"out")

    def test_power(self):
        with Door("-no-shutdown", qmp=True) as d:
            d.do("irq_intercept_in ioapic")
            d.outw(0x602, 0x100)
            d.qmp.command("system_powerdown")
            d.qmp.event("POWERDOWN")
            self.assertEqual(d.inw(0x600), 0x100)
            self.assertEqual(d.irqs, [("raise", 9)])
            d.outw(0x600, 0x100)
            self.assertEqual(d.irqs, [("raise", 9), ("lower", 9)])
            d.step(SECOND)
            self.assertEqual(d.inl(0x608), 3579545)
            d.outw(0x604, 0x2001)
            event = d.qmp.event("SHUTDOWN")
            self.assertEqual(event["data"], {"guest": True, "reason": "guest-shutdown"})

    def test_resets(self):
        with Door(qmp=True) as d:
            for port, value in ((0xcf9, 6), (0x64, 0xfe), (0x92, 3)):
                d.outl(0xcf8, 0x80000000)
                d.outb(port, value)
                event = d.qmp.event("RESET")
                self.assertEqual(event["data"], {"guest": True, "reason": "guest-reset"})
                self.assertEqual(d.inl(0xcf8), 0)

    def test_fw_cfg(self):
        with Door("-smp", "3") as d:
            self.assertEqual(d.fw_cfg(0, 4), b"QEMU")
            self.assertEqual(d.fw_cfg_u16(5), 3)
            self.assertEqual(d.fw_cfg(3, 8), (16 << 20).to_bytes(8, "little"))

    def fw_cfg_file(self, door, name):
        n = struct.unpack(">I", door.fw_cfg(0x19, 4))[0]
        for entry in struct.iter_unpack(">IHH56s", door.fw_cfg(0x19, 4 + 64 * n)[4:]):
            if entry[3].rstrip(b"\0") == name.encode():
                return door.fw_cfg(entry[1], entry[0])
        return None

    def test_option_rom_and_acpi_table(self):
        with tempfile.TemporaryDirectory(prefix="godwit-door-") as folder:
            rom, body, bios = (os.path.join(folder, name) for name in ("hello.bin", "body", "bios"))
            for path, content in ((rom, b"\x55\xaa\x01..."), (body, b"body"),
                                  (bios, bytes(0x10000))):
                with open(path, "wb") as file:
                    file.write(content)
            with Door("-option-rom", rom, "-bios", bios, "-acpitable",
                      f"sig=ABCD,data={body}:{body},oem_id=me,rev=3,asl_compiler_rev=9") as d:
                self.assertEqual(self.fw_cfg_file(d, "genroms/hello.bin"), b"\x55\xaa\x01...")
                tables = self.fw_cfg_file(d, "etc/acpi/tables")
                table = tables[tables.index(b"ABCD"):][:44]
                self.assertEqual(table[:9] + table[10:16], b"ABCD\x2c\0\0\0\x03me\0\0\0\0")
                self.assertEqual(table[32:], b"\x09\0\0\0bodybody")
                self.assertEqual(sum(table) & 0xff, 0)

    def test_disk_geometry(self):
        """What the user wants the firmware to see of disks, by their boot paths."""
        with Door("-blockdev", "driver=null-co,node-name=a", "-blockdev", "driver=null-co,node-name=b",
                  "-device", "ide-hd,drive=a,bus=ide.1,unit=0,lcyls=10000,lheads=120,lsecs=30",
                  "-device", "virtio-blk-pci,drive=b,addr=3,lcyls=1,lheads=0,lsecs=0",
                  machine="pc") as d:
            self.assertEqual(self.fw_cfg_file(d, "bios-geometry"),
                             b"/pci@i0cf8/ide@1,1/drive@1/disk@0 10000 120 30\n"
                             b"/pci@i0cf8/scsi@3/disk@0,0 1 0 0\0")
        with Door(machine="pc") as d:
            self.assertFalse(self.fw_cfg_file(d, "bios-geometry"))

    def test_pci(self):
        with Door() as d:
            found = {devfn: d.config(devfn, 0) for devfn in range(256)}
            found = {k: v for k, v in found.items() if v != 0xffffffff}
            self.assertEqual(found, {0: 0x29c08086, 0xf8: 0x29188086, 0xfa: 0x29228086,
                                     0xfb: 0x29308086})
            self.assertEqual(d.readl(0xb00f8008), 0x06010002)

    def test_smbus(self):
        """Function 3 of the LPC bridge's slot, unless it is not wanted."""
        for machine, there in ("q35", 0x29308086), ("q35,smbus=off", 0xffffffff):
            with Door(machine=machine) as door:
                self.assertEqual(door.config(0xfb, 0), there)
        with Door(machine="pc") as door:
            self.assertEqual(door.config(0x0b, 0x90), 0xb101)
        with Door(machine="pc,smbus=off") as door:
            self.assertEqual(door.config(0x0b, 0x90), 0)

    def test_boot_order_in_cmos(self):
        for args, first, again in (
                ((), 0x1230, 0x1230), (("-no-fd-bootchk",), 0x1231, 0x1231),
                (("-boot", "ndb"), 0x3410, 0x3410), (("-boot", "order="), 0, 0),
                (("-boot", "once=d", "-boot", "c", "-no-fd-bootchk"), 0x0301, 0x0201)):
            with Door(*args, machine="pc", qmp=True) as d:
                def order():
                    d.outb(0x70, 0x3d)
                    two = d.inb(0x71) << 8
                    d.outb(0x70, 0x38)
                    return two | d.inb(0x71)
                self.assertEqual(order(), first)
                d.qmp.command("system_reset")
                d.qmp.event("RESET")
                self.assertEqual(order(), again)

    def test_users_files(self):
        """-fw_cfg: in the directory under their names, with their bytes, by port and by DMA."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(bytes(range(256)) * 3)
            file.flush()
            with Door("-fw_cfg", "name=opt/org.example/a,string=x,,y", "-fw_cfg",
                      f"opt/org.example/b,file={file.name}") as d:
                def read(key, length):
                    d.outw(0x510, key)
                    return bytes(d.inb(0x511) for _ in range(length))
                n = int.from_bytes(read(0x19, 4), "big")
                entries = read(0x19, 4 + 64 * n)[4:]
                files = {entries[at + 8:at + 64].rstrip(b"\0").decode():
                         struct.unpack_from(">IH", entries, at) for at in range(0, len(entries), 64)}
                length, key = files["opt/org.example/a"]
                self.assertEqual(read(key, length + 2), b"x,y\0\0")
                length, key = files["opt/org.example/b"]
                self.assertEqual(length, 768)
                d.write(0x1000, struct.pack(">IIQ", key << 16 | 8 | 2, length, 0x2000))
                d.outl(0x518, int.from_bytes(struct.pack(">I", 0x1000), "little"))
                self.assertEqual(d.read(0x1000, 4), bytes(4))
                self.assertEqual(d.read(0x2000, 768), bytes(range(256)) * 3)

    def test_no_smram(self):
        """Registers of memory for system management that firmware can't take for working ones."""
        with Door() as d:
            for value in 0xffffffff, 0x7f7aff00:
                d.outl(0xcf8, 0x8000009c)
                d.outl(0xcfc, value)
                self.assertEqual(d.inl(0xcfc), 0)
            d.write(0x30000, b"seen")
            self.assertEqual(d.read(0x30000, 4), b"seen")

    def test_shadow_is_closed(self):
        """Nobody has opened the attribute map: there is neither firmware nor a kernel."""
        for machine, register in (("pc", 0x58), ("q35", 0x90)):
            with Door(machine=machine) as d:
                self.assertEqual(d.config(0, register) >> (8 if machine == "pc" else 0), 0)

    def test_debug_exit(self):
        with Door("-device", "isa-debug-exit,iobase=0xf4,iosize=4") as d:
            d.sock.sendall(b"outl 0xf4 0x10\n")
            self.assertEqual(d.wait(), 33)


if __name__ == "__main__":
    unittest.main()
