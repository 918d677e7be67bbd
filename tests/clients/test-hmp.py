#!/usr/bin/env python3
"""The human monitor's commands, through QMP: what they print and what they do.

Usage: test-hmp.py PROGRAM [unittest arguments]

PROGRAM is godwit, or QEMU as the oracle.
"""
import os
import re
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpwire import Emulator  # noqa: E402

PROGRAM = sys.argv.pop(1)
if not shutil.which(PROGRAM):
    print(f"{PROGRAM} is not there: skipped")
    sys.exit(77)
UUID = "00112233-4455-6677-8899-aabbccddeeff"
MIB = 1 << 20


class Hmp(unittest.TestCase):
    def start(self, *args):
        self.dir = tempfile.mkdtemp(prefix="hmp-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.image = os.path.join(self.dir, "image")
        with open(self.image, "wb") as file:
            file.truncate(8 * MIB)
        self.emulator = Emulator(PROGRAM, "-S", "-nodefaults", "-accel", "tcg",
                                 *(a.replace("IMAGE", self.image) for a in args), machine="q35")
        self.addCleanup(self.emulator.close)
        self.wire = self.emulator.wire()

    def run_line(self, line):
        text = self.wire.value("human-monitor-command", {"command-line": line})
        self.assertNotIn("\n", text.replace("\r\n", ""))
        return text.replace("\r\n", "\n")

    def check(self, *pairs):
        for line, want in pairs:
            self.assertEqual(self.run_line(line), want, line)

    def test_machine(self):
        self.start("-name", "kea", "-uuid", UUID, "-m", "128,slots=2,maxmem=256M",
                   "-object", "memory-backend-ram,id=m1,size=64M", "-device",
                   "pc-dimm,memdev=m1,id=dimm1", "-device", f"vmgenid,guid={UUID}",
                   "-device", "virtio-balloon-pci,id=b0")
        self.check(
            ("info name", "kea\n"), ("info uuid", UUID + "\n"),
            ("info kvm", "kvm support: disabled\n"), ("info balloon", "balloon: actual=192\n"),
            ("info vm-generation-id", UUID + "\n"),
            ("info memory_size_summary", "base memory: 134217728\nplugged memory: 67108864\n"),
            ("info memory-devices",
             'Memory device [dimm]: "dimm1"\n  addr: 0x100000000\n  slot: 0\n  node: 0\n'
             "  size: 67108864\n  memdev: /objects/m1\n  hotplugged: false\n"
             "  hotpluggable: true\n"),
            ("info memdev", "".join(
                f"memory backend: {name}\n  size:  {size}\n  merge: true\n  dump: true\n"
                "  prealloc: false\n  share: false\n  reserve: true\n  policy: default\n"
                "  host nodes: \n" for name, size in (("m1", 64 * MIB), ("pc.ram", 128 * MIB)))
             + "\n"),
            ("balloon 64", ""), ("balloon x",
                                 "invalid char 'x' in expression\n"
                                 'Try "help balloon" for more information\n'),
            ("info name x", "name: extraneous characters at the end of line\n"
                            'Try "help info name" for more information\n'))

    def test_pci(self):
        self.start("-device", "virtio-balloon-pci,id=b0,addr=4", "-device",
                   "pcie-root-port,id=rp,addr=5")
        text = self.run_line("info pci")
        self.assertIn("  Bus  0, device   4, function 0:\n    Class 0255: PCI device 1af4:1002\n"
                      "      PCI subsystem 1af4:0005\n      IRQ 0, pin A\n"
                      "      BAR0: I/O at 0xffffffffffffffff [0x003e].\n", text)
        self.assertIn('memory at 0xffffffffffffffff [0x00003ffe].\n      id "b0"\n', text)
        self.assertIn("      BUS 0.\n      secondary bus 0.\n      subordinate bus 0.\n"
                      "      IO range [0xf000, 0x0fff]\n"
                      "      memory range [0xfff00000, 0x000fffff]\n"
                      "      prefetchable memory range [0xfff00000, 0x000fffff]\n", text)

    def test_drives(self):
        self.start("-drive", "if=none,id=d1,file=IMAGE,format=raw", "-device",
                   "virtio-blk-pci,drive=d1,id=v1", "-device", "ide-cd,id=cd0,bus=ide.0", "-drive",
                   "if=none,id=d2,media=cdrom", "-device", "ide-cd,drive=d2,id=cd1,bus=ide.1")
        attached = "    Attached to:      /machine/peripheral/v1/virtio-backend\n"
        text = re.sub(r"#block\d+", "NODE", self.run_line("info block d1"))
        self.assertEqual(text, f"d1 (NODE): {self.image} (raw)\n{attached}"
                               "    Cache mode:       writeback\n")
        self.assertIn("cd0: [not inserted]\n    Attached to:      cd0\n"
                      "    Removable device: not locked, tray closed\n",
                      self.run_line("info block"))
        self.assertIn(f": {self.image} (file)\n", self.run_line("info block -n"))
        self.assertRegex(self.run_line("info blockstats"), r"^d1: rd_bytes=0 wr_bytes=0 rd_oper")
        self.check(("block_resize d1 16", ""), ("block_resize d1 32M", ""),
                   ("block_resize nosuch 1M",
                    "Error: Cannot find device='nosuch' nor node-name=''\n"),
                   ("block_resize d1 x",
                    'invalid size\nTry "help block_resize" for more information\n'),
                   ("block_set_io_throttle d1 0 0 0 100 0 0", ""),
                   ("eject d1", "Error: Device 'd1' is not removable\n"),
                   ("eject -f d2", ""), ("eject",
                                         "eject: block device name expected\n"
                                         'Try "help eject" for more information\n'))
        self.assertEqual(os.path.getsize(self.image), 32 * MIB)
        self.assertIn("iops=100 ", self.run_line("info block d1"))
        other = os.path.join(self.dir, 'two words')
        with open(other, "wb") as file:
            file.truncate(MIB)
        self.check((f'change d2 "{other}" raw', ""))
        self.assertIn(f": {other} (raw, read-only)\n", self.run_line("info block d2"))
        overlay = os.path.join(self.dir, "overlay")
        self.check((f"snapshot_blkdev d1 {overlay} qcow2", ""))
        self.assertIn(f"    Backing file:     {self.image} (chain depth: 1)\n",
                      self.run_line("info block d1"))

    def test_objects_and_chardevs(self):
        self.start("-chardev", "ringbuf,id=r0", "-chardev", "null,id=n0", "-object",
                   "iothread,id=io0")
        self.check(
            ("object_add memory-backend-ram,id=m2,size=16M", ""),
            ("object_add foo,id=x",
             "Error: Parameter 'qom-type' does not accept value 'foo'\n"),
            ("object_del m2", ""), ("object_del m2", "Error: object 'm2' not found\n"),
            ("chardev-add null,id=nn", ""), ("chardev-remove nn", ""),
            ("chardev-remove nn", "Error: Chardev 'nn' not found\n"),
            ("chardev-change nn null", "Error: Chardev 'nn' does not exist\n"),
            ("chardev-change n0 ringbuf,size=64", ""), ("ringbuf_write n0 abc", ""),
            ("ringbuf_read n0 10", "abc\n"), ("chardev-change n0 null", ""),
            ("chardev-change n0", "chardev-change: string expected\n"
                                  'Try "help chardev-change" for more information\n'),
            ("chardev-change n0 null,mux=on", ""), ("chardev-add null,id=mu,mux=on", ""),
            ("chardev-change mu null", "Error: Mux device hotswap not supported yet\n"),
            ("chardev-send-break n0", ""),
            ("ringbuf_write r0 \"a \\\\ \\n b\"", ""), ("ringbuf_read r0 100", "a \\\\ \n b\n"),
            ("ringbuf_read n0 10", "Error: n0 is not a ringbuf device\n"),
            ("device_add nosuch", "Error: 'nosuch' is not a valid device model name\n"),
            ("device_add", "Error: Parameter 'driver' is missing\n"),
            ("device_del nosuch", "Error: Device 'nosuch' not found\n"),
            ("device_del", "device_del: string expected\n"
                           'Try "help device_del" for more information\n'),
            ("qom-get /machine type", '"pc-q35-7.2-machine"\n'),
            ("qom-set /machine foo 1",
             "Error: Property 'pc-q35-7.2-machine.foo' not found\n"))
        self.assertIn("r0: filename=ringbuf\n", self.run_line("info chardev"))
        self.assertIn("'bogus' is not a valid char driver name", self.run_line("chardev-change n0 bogus"))
        self.assertIn("Error: ", self.run_line("chardev-change n0 null,id=n1"))
        self.assertNotIn("n1", self.run_line("info chardev"))
        self.assertIn("io0 (child<iothread>)\n", self.run_line("qom-list /objects"))
        self.assertIn("io0:\n  thread_id=", self.run_line("info iothreads"))
        self.assertIn('vcpus_count: "1"\n', self.run_line("info hotpluggable-cpus"))

    def test_plug(self):
        self.start("-device", "pcie-root-port,id=rp,addr=5")
        self.check(("device_add virtio-rng-pci,id=r1,bus=rp", ""))
        self.assertIn("r1 (child<virtio-rng-pci>)\n", self.run_line("qom-list /machine/peripheral"))
        self.assertNotIn('id "r1"', self.run_line("info pci"))  # no bus number leads there yet

    def test_memory(self):
        self.start("-m", "128")
        path = os.path.join(self.dir, "memory")
        self.check(
            ("print 1+2", "0x3\n"), ("p/d 0x10", "16\n"), ("p/c 0x41", "'A'\n"),
            ("print /o 8", "010\n"), ("sum 0 16", "00000\n"), ("gva2gpa 0x10", "gpa: 0x10\n"),
            ("o/b 0x71 0", ""), ("i /w 0xcf8", "portl[0x0cf8] = 0x00000000\n"),
            ("o /w 0xcf8 0x80000000", ""), ("i /w 0xcf8", "portl[0x0cf8] = 0x80000000\n"),
            ("i /h 0xcfc", "portw[0x0cfc] = 0x8086\n"),
            (f'pmemsave 0x100000 8192 "{path}"', ""), ("memsave 0 16 /x",
                                                       "invalid char 'x' in expression\n"
                                                       'Try "help memsave" for more information\n'))
        self.assertEqual(os.path.getsize(path), 8192)

    def test_code(self):
        self.start("-m", "128")
        lines = self.run_line("x/1i 0xfffffff0"), self.run_line("xp/1i 0xffff0")
        if "not available" in lines[0]:
            self.skipTest("built without a disassembler")
        for line, addr in zip(lines, ("0xfffffff0", "0x000ffff0")):
            self.assertRegex(line, addr + r":  ea 5b e0 00 f0 {11}ljmpw? +\$?0xf000:\$?0xe05b\n$")
        three = self.run_line("xp/3i 0xfe05b").splitlines()
        self.assertEqual([line[:13] for line in three],
                         ["0x000fe05b:  ", "0x000fe062:  ", "0x000fe066:  "])
        self.assertRegex(self.run_line("x/i 0x12345678"), "^0x12345678: ")

    def test_trees(self):
        self.start("-m", "128", "-device", "pcie-root-port,id=rp,addr=5", "-device",
                   "virtio-rng-pci,id=r0,bus=rp", "-device", "isa-debug-exit,iobase=0x501,id=x")
        tree = self.run_line("info qtree")
        for want in (r"bus: main-system-bus\n  type System\n", r"\n +bus: pcie\.0\n +type PCIE\n",
                     r'\n( +)dev: pcie-root-port, id "rp"\n(\1 .*\n)+\1  bus: rp\n'
                     r'(\1 .*\n)+?\1    dev: virtio-rng-pci, id "r0"\n',
                     r'dev: isa-debug-exit, id "x"\n( +.* = .*\n)*? +iobase = 1281 \(0x501\)\n',
                     r"addr 00:05\.0, pci id [0-9a-f]{4}:[0-9a-f]{4} "):
            self.assertRegex(tree, want)
        flat = self.run_line("info mtree -f")
        self.assertRegex(flat, r' AS "memory"')
        self.assertRegex(flat, r"\n  00000000fec00000-00000000fec00[0f]ff \(prio 0, i/o\): ")
        self.assertRegex(flat, r"\n  0000000000000000-00000000000[0-9a-f]{5} \(prio 0, ram\): ")
        self.assertRegex(self.run_line("info mtree"), r"(?m)^address-space: memory$")

    def test_migration(self):
        self.start()
        self.check(
            ("migrate_set_parameter max-bandwidth 1G", ""),
            ("migrate_set_parameter downtime-limit 100", ""),
            ("migrate_set_capability events on", ""),
            ("migrate_set_capability foo on", "Error: invalid parameter value: foo\n"),
            ("migrate_incoming tcp:127.0.0.1:1",
             "Error: '-incoming' was not specified on the command line\n"),
            ("migrate_continue pre-switchover",
             "Error: Migration not in expected state: none\n"))
        text = self.run_line("info migrate_parameters")
        self.assertIn("max-bandwidth: 1073741824 bytes/second\ndowntime-limit: 100 ms\n", text)
        self.assertIn("events: on\n", self.run_line("info migrate_capabilities"))

    def complaint(self, line, text):
        hint = f'Try "help {line.split()[0]}" for more information\n'
        self.assertEqual(self.run_line(line), f"{text}\n{hint}", line)

    def test_words_that_do_not_fit(self):
        self.start("-netdev", "user,id=n1")
        for line, text in (
                ("stop x", "stop|s: extraneous characters at the end of line"),
                ("p", "unexpected end of expression"),
                ("singlestep on x", "singlestep: extraneous characters at the end of line"),
                ("gdbserver a b", "gdbserver: extraneous characters at the end of line"),
                ("set_link", "set_link: string expected"),
                ("set_link n1", "Expected 'on' or 'off'"),
                ("set_link n1 maybe", "Expected 'on' or 'off'"),
                ("netdev_del", "netdev_del: string expected"),
                ("announce_self a b c", "announce_self: extraneous characters at the end of line"),
                ("screendump", "screendump: filename expected"),
                ("screendump x -f", "screendump: value expected for -f"),
                ("sendkey", "sendkey: string expected"),
                ("sendkey a x", "invalid char 'x' in expression"),
                ("dump-guest-memory -q x", "dump-guest-memory: unsupported option -q"),
                ("dump-guest-memory x 0 y", "invalid char 'y' in expression"),
                ("drive_add 0", "drive_add: string expected"),
                ("drive_del", "drive_del: block device name expected"),
                ("migrate -x tcp:1", "migrate: unsupported option -x"),
                ("migrate", "migrate: string expected"),
                ("hostfwd_add", "hostfwd_add: string expected"),
                ("cpu 0x100000000", "'cpu' has failed: integer is for 32-bit values"),
                ("mce -x 0 1 2 3 4 5", "mce: unsupported option -x"),
                ("x /4q 0", "invalid char in format: 'q'"),
                ("loadvm a b", "loadvm: extraneous characters at the end of line")):
            self.complaint(line, text)
        self.check(("set_link n1 off", ""), ("netdev_del n1", ""),
                   ("screendump x -f bmp", "Error: invalid parameter value: bmp\n"),
                   ("dump-guest-memory -z -l x", "Error: only one of '-z|-l|-s|-w' can be set\n"),
                   ("xp /2xb 0", "0000000000000000: 0x00 0x00\n"),
                   ("xp /1ch 0", "0000000000000000: '\\x00' '\\x00'\n"))

    def test_help(self):
        self.start()
        every = self.run_line("help").splitlines()
        self.assertTrue(any(line.startswith("device_add ") for line in every))
        self.assertEqual(self.run_line("info"), self.run_line("help info"))
        self.check(("info nosuch", "unknown command: 'info nosuch'\n"),
                   ("nosuch", "unknown command: 'nosuch'\n"))


if __name__ == "__main__":
    unittest.main()
