#!/usr/bin/env python3
"""Commands that look at a machine with vCPUs and memory: human monitor, memsave, query-cpus-fast.

Usage: test-qmp-machine.py PROGRAM [unittest arguments]

PROGRAM is godwit, or QEMU as the oracle. The guest is a few bytes of code, assembled here.
"""
import os
import re
import shutil
import struct
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpwire import Emulator, LIMIT_S, is_godwit, take_program  # noqa: E402

PROGRAM = take_program()
IS_GODWIT = is_godwit(PROGRAM)
godwit = unittest.skipUnless(IS_GODWIT, "QEMU does otherwise")

BASE = 0x100000
DATA = BASE + 0x100
PATTERN = bytes.fromhex("ea5be000f030362f32332f393900fc24535345333a090d0a275c7f80ff000102")

# lgdt [gdt]; mov eax, 0x12345678; mov ebx, 0xcafe; std; cli; hlt; jmp to the hlt
HALT = bytes.fromhex("b878563412bbfeca0000fdfaf4ebfd")
# lidt with an empty table, then int3: a triple fault
TRIPLE = bytes.fromhex("0f011d00011000") + b"\xcc"


def multiboot(code):
    """An ELF file with a multiboot header, code at BASE + 0x40 and PATTERN at DATA."""
    magic, flags = 0x1BADB002, 0
    image = struct.pack("<III", magic, flags, -(magic + flags) & 0xFFFFFFFF)
    image = image.ljust(0x40, b"\0") + code
    image = image.ljust(0x100, b"\0") + PATTERN
    header = struct.pack("<4sBBBB8xHHIIIIIHHHHHH", b"\x7fELF", 1, 1, 1, 0, 2, 3, 1, BASE + 0x40, 52,
                         0, 0, 52, 32, 1, 0, 0, 0)
    program = struct.pack("<IIIIIIII", 1, 0x1000, BASE, BASE, len(image), len(image), 7, 0x1000)
    return (header + program).ljust(0x1000, b"\0") + image


class Case(unittest.TestCase):
    code = HALT
    args = ("-smp", "2")
    memory_mib = 32

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="qmp-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.kernel = self.path("kernel")
        with open(self.kernel, "wb") as file:
            file.write(multiboot(self.code))
        self.emulator = Emulator(PROGRAM, "-accel", "tcg", "-m", str(self.memory_mib), "-kernel",
                                 self.kernel, *self.args, machine="q35")
        self.addCleanup(self.emulator.close)
        self.wire = self.emulator.wire()

    def path(self, name):
        return os.path.join(self.dir, name)

    def hmp(self, line, **more):
        return self.wire.value("human-monitor-command", {"command-line": line, **more})

    def wait_for_halt(self):
        """Until the guest has done its work; then it is stopped."""
        end = time.monotonic() + LIMIT_S
        while not re.search(r"EAX=12345678 EBX=0000cafe", self.hmp("info registers")):
            self.assertLess(time.monotonic(), end, self.hmp("info registers"))
            time.sleep(0.02)
        self.wire.request("stop")


class HumanMonitor(Case):
    def setUp(self):
        super().setUp()
        self.wait_for_halt()

    DUMPS = [
        ("xp /4xb 0x100100", "0000000000100100: 0xea 0x5b 0xe0 0x00\r\n"),
        ("xp/20xb 0x100100", "0000000000100100: 0xea 0x5b 0xe0 0x00 0xf0 0x30 0x36 0x2f\r\n"
         "0000000000100108: 0x32 0x33 0x2f 0x39 0x39 0x00 0xfc 0x24\r\n"
         "0000000000100110: 0x53 0x53 0x45 0x33\r\n"),
        ("xp /5dh 0x100100", "0000000000100100: 23530   224 12528 12086 13106\r\n"),
        ("xp /3uw 0x100100", "0000000000100100:   14703594  792080624  959394610\r\n"),
        ("xp /3ow 0x100100", "0000000000100100:   070055752 05715430360 07113631462\r\n"),
        ("xp /3xg 0x100100", "0000000000100100: 0x2f3630f000e05bea 0x24fc0039392f3332\r\n"
         "0000000000100110: 0x0a0d093a33455353\r\n"),
        ("xp /3dg 0x100100", "0000000000100100:  3401960375889976298  2665005325269021490\r\n"
         "0000000000100110:   724245260649452371\r\n"),
        ("xp /12cb 0x100114",
         r"""0000000000100114: ':' '\x09' '\r' '\n' '\'' '\\' '\x7f' '\x80'""" "\r\n"
         r"""000000000010011c: '\xff' '\x00' '\x01' '\x02'""" "\r\n"),
        ("xp /2hx 0x100000+0x10*16", "0000000000100100: 0x5bea 0x00e0\r\n"),
        ("xp /1bx (0x100100 | 3) - 'a' + 0x61", "0000000000100103: 0x00\r\n"),
        ("x /4xb 0x100100", "0000000000100100: 0xea 0x5b 0xe0 0x00\r\n"),
        ("x /2xw $eax-0x12345678+0x100100", "0000000000100100: 0x00e05bea 0x2f3630f0\r\n"),
        ("xp /0xb 0", ""),
    ]

    def test_vcpu_properties(self):
        """What libvirt and others ask of a vCPU's object."""
        path = self.wire.value("query-cpus-fast")[0]["qom-path"]
        listed = {p["name"] for p in self.wire.value("qom-list", {"path": path})}
        def get(name):
            self.assertIn(name, listed)
            return self.wire.value("qom-get", {"path": path, "property": name})
        self.assertEqual([get(n) for n in ("socket-id", "die-id", "core-id", "thread-id")], [0] * 4)
        self.assertEqual([get(n) for n in ("realized", "hotplugged", "hotpluggable")],
                         [True, False, True])
        self.assertEqual(get("node-id"), -1)
        self.assertEqual(len(get("vendor")), 12)
        self.assertEqual((get("family"), get("level") >= 0xd, get("xlevel") >> 31),
                         (6 if IS_GODWIT else 15, True, 1))  # of either default model
        words = {(w["cpuid-input-eax"], w.get("cpuid-input-ecx"), w["cpuid-register"]): w["features"]
                 for w in get("feature-words")}
        self.assertEqual(words[1, None, "EDX"] & 1 << 4, 1 << 4)  # tsc
        self.assertIn((7, 0, "EBX"), words)
        self.assertEqual({w["features"] for w in get("filtered-features")}, {0})

    def test_dumps(self):
        for line, expected in self.DUMPS:
            self.assertEqual(self.hmp(line), expected, line)

    def test_dump_at_pc(self):
        # the vCPU stands behind the hlt
        self.assertEqual(self.hmp("x /2xb $pc"), "000000000010004d: 0xeb 0xfd\r\n")
        self.assertEqual(self.hmp("x /2xb $eip"), "000000000010004d: 0xeb 0xfd\r\n")

    ERRORS = [
        ("x", "unexpected end of expression"), ("xp /4xb", "unexpected end of expression"),
        ("xp (1", "')' expected"), ("xp 1/0", "division by zero"),
        ("xp /4z 0", "invalid char in format: 'z'"), ("x $nope", "unknown register"),
        ("xp 99999999999999999999", "number too large"), ("xp #", "invalid char '#' in expression"),
    ]

    def test_errors(self):
        for line, text in self.ERRORS:
            name = line.split()[0]
            self.assertEqual(self.hmp(line),
                             f'{text}\r\nTry "help {name}" for more information\r\n', line)
        self.assertEqual(self.hmp("xp /xg 1 2"),
                         "xp: extraneous characters at the end of line\r\n"
                         'Try "help xp" for more information\r\n')

    @godwit
    def test_no_memory_there(self):
        self.assertEqual(self.hmp("xp /1xw 0x10000000"),
                         "0000000010000000: Cannot access memory\r\n")
        self.assertIn("count is too large", self.hmp("xp /999999999xg 0"))
        self.assertIn("count is too large", self.hmp("xp /18446744073709551615xg 0"))

    def test_registers(self):
        text = self.hmp("info registers")
        self.assertIn("\r\nCPU#0\r\n", text)
        lines = text.replace("\r\n", "\n").split("\n")[2:]
        self.assertEqual(lines[0][:26], "EAX=12345678 EBX=0000cafe ")
        self.assertRegex(lines[2], r"^EIP=0010004d EFL=000004[0-9a-f]{2} \[D[-A-Z]{6}\] CPL=0 II=0 "
                                   r"A20=1 SMM=0 HLT=1$")
        for line, name in zip(lines[3:9], ("ES", "CS", "SS", "DS", "FS", "GS")):
            self.assertRegex(line, rf"^{name} =[0-9a-f]{{4}} 00000000 ffffffff 00cf9[0-9a-f]00 DPL=0 "
                                   + (r"CS32 \[-R.\]$" if name == "CS" else r"DS   \[-W.\]$"))
        self.assertRegex(lines[9], "^LDT=0000 00000000 [0-9a-f]{8} [0-9a-f]{8}( DPL=0 LDT)?$")
        self.assertRegex(lines[11], "^GDT=     [0-9a-f]{8} [0-9a-f]{8}$")
        self.assertRegex(lines[13], "^CR0=000000[01]1 CR2=00000000 CR3=00000000 CR4=00000000$")
        self.assertEqual(lines[14], "DR0=0000000000000000 DR1=0000000000000000 "
                                    "DR2=0000000000000000 DR3=0000000000000000 ")
        self.assertEqual(lines[15], "DR6=00000000ffff0ff0 DR7=0000000000000400")
        self.assertEqual(lines[16], "EFER=0000000000000000")
        self.assertRegex(lines[17], r"^FCW=037f FSW=0000 \[ST=0\] FTW=00 MXCSR=00001f80$")
        self.assertEqual(len([line for line in lines if line.startswith("FPR")]), 4)
        self.assertEqual(len([line for line in lines if line.startswith("XMM")]), 4)

    def test_registers_of_all(self):
        text = self.hmp("info registers -a")
        self.assertEqual(re.findall(r"CPU#\d", text), ["CPU#0", "CPU#1"])
        self.assertIn("CPU#1\r\n", self.hmp("info registers", **{"cpu-index": 1}))


class Cpus(Case):
    args = ("-smp", "4,sockets=2,cores=1,threads=2")

    def test_query_cpus_fast(self):
        cpus = self.wire.value("query-cpus-fast")
        tasks = {int(name) for name in os.listdir(f"/proc/{self.emulator.process.pid}/task")}
        ids = [cpu["thread-id"] for cpu in cpus]
        self.assertEqual(len(set(ids)), 4)
        self.assertLessEqual(set(ids), tasks - {self.emulator.process.pid})
        for i, cpu in enumerate(cpus):
            self.assertEqual(cpu["cpu-index"], i)
            self.assertEqual(cpu["target"], "x86_64")
            self.assertTrue(cpu["qom-path"].startswith("/machine/unattached/device["))
            self.assertEqual(cpu["props"], {"socket-id": i // 2, "core-id": 0, "thread-id": i % 2})


    def test_query_hotpluggable_cpus(self):
        places = self.wire.value("query-hotpluggable-cpus")
        self.assertEqual([p["props"] for p in places],
                         [{"socket-id": i // 2, "core-id": 0, "thread-id": i % 2}
                          for i in (3, 2, 1, 0)])
        for place in places:
            self.assertEqual(place["vcpus-count"], 1)
            self.assertTrue(place["type"].endswith("-x86_64-cpu"))
            self.assertIn("qom-path", place)


class CpuModels(Case):
    args = ()

    def expand(self, name, kind="static", **props):
        model = {"name": name, "props": props} if props else {"name": name}
        return self.wire.ask("query-cpu-model-expansion", {"type": kind, "model": model})

    def test_definitions(self):
        models = {m["name"]: m for m in self.wire.value("query-cpu-definitions")}
        self.assertLessEqual({"max", "host", "base", "qemu64", "Nehalem", "Haswell", "Haswell-noTSX",
                              "Skylake-Client-IBRS", "EPYC-Rome", "486-v1"}, set(models))
        haswell = models["Haswell"]
        self.assertEqual(haswell["alias-of"], "Haswell-v1")
        self.assertEqual(haswell["typename"], "Haswell-x86_64-cpu")
        self.assertLessEqual({"hle", "rtm"}, set(haswell["unavailable-features"]))
        self.assertEqual(models["Haswell-noTSX"]["alias-of"], "Haswell-v2")
        self.assertNotIn("alias-of", models["Haswell-v1"])
        self.assertEqual(models["host"]["unavailable-features"], ["kvm"])
        self.assertEqual(models["max"]["unavailable-features"], [])
        for name, safe, static in ("max", False, False), ("base", True, True), \
                ("Haswell", True, False):
            self.assertIs(models[name]["migration-safe"], safe)
            self.assertIs(models[name]["static"], static)
            self.assertIs(models[name]["deprecated"], False)
        if IS_GODWIT:
            self.assertEqual(models["Haswell-noTSX"]["unavailable-features"], [])

    def test_expansion(self):
        model = self.expand("Haswell-noTSX")["return"]["model"]
        self.assertEqual(model["name"], "base")
        props = model["props"]
        self.assertIs(props["avx2"], True)
        self.assertIs(props["rtm"], False)
        self.assertEqual((props["family"], props["model"], props["stepping"]), (6, 60, 1))
        self.assertEqual(props["vendor"], "GenuineIntel")
        self.assertEqual(props["model-id"], "Intel Core Processor (Haswell, no TSX)")
        full = self.expand("Haswell", "full", avx2=False, vendor="AuthenticAMD")["return"]["model"]
        self.assertEqual(full["name"], "Haswell")
        self.assertIs(full["props"]["avx2"], False)
        self.assertEqual(full["props"]["vendor"], "AuthenticAMD")
        self.assertIs(self.expand("base")["return"]["model"]["props"]["sse2"], False)

    def test_expansion_errors(self):
        for args, text in (
                (("nosuch",), "CPU model 'nosuch' not found"),
                (("Haswell,x",), "CPU model 'Haswell,x' not found")):
            self.assertEqual(self.expand(*args)["error"]["desc"], text)
        for props, text in (
                ({"nosuch": True}, "Property 'Haswell-x86_64-cpu.nosuch' not found"),
                ({"avx": 5}, "Invalid parameter type for 'avx', expected: boolean"),
                ({"vendor": "short"}, "Property '.vendor' doesn't take value 'short'")):
            self.assertEqual(self.expand("Haswell", **props)["error"]["desc"], text)
        self.assertEqual(self.expand("Haswell", "foo")["error"]["desc"],
                         "Parameter 'type' does not accept value 'foo'")


class Memory(Case):
    def setUp(self):
        super().setUp()
        self.wait_for_halt()

    def test_summary(self):
        self.assertEqual(self.wire.value("query-memory-size-summary"),
                         {"base-memory": self.memory_mib << 20, "plugged-memory": 0})

    def save(self, command, val, size, name="out", **more):
        return self.wire.ask(command, {"val": val, "size": size, "filename": self.path(name),
                                       **more})

    def test_both_ways(self):
        for command in ("memsave", "pmemsave"):
            self.assertEqual(self.save(command, DATA, len(PATTERN)), {"return": {}})
            with open(self.path("out"), "rb") as file:
                self.assertEqual(file.read(), PATTERN)

    def test_all_of_it(self):
        self.assertEqual(self.save("pmemsave", 0, self.memory_mib << 20), {"return": {}})
        with open(self.path("out"), "rb") as file:
            data = file.read()
        self.assertEqual(len(data), self.memory_mib << 20)
        self.assertEqual(data[DATA:DATA + len(PATTERN)], PATTERN)
        self.assertEqual(self.save("pmemsave", 0, 0), {"return": {}})
        self.assertEqual(os.path.getsize(self.path("out")), 0)

    def error(self, reply):
        self.assertEqual(reply["error"]["class"], "GenericError")
        return reply["error"]["desc"]

    def test_files(self):
        self.assertEqual(self.error(self.save("memsave", DATA, 8, "no/such/folder")),
                         f"Could not open '{self.path('no/such/folder')}': No such file or directory")
        reply = self.wire.ask("pmemsave", {"val": 0, "size": 1 << 20, "filename": "/dev/full"})
        self.assertEqual(self.error(reply), "An IO error has occurred")
        self.assertTrue(os.path.exists("/dev/full"))
        self.assertEqual(self.error(self.save("memsave", DATA, 8, **{"cpu-index": 2})),
                         "Parameter 'cpu-index' expects a CPU number")

    @godwit
    def test_bad_ranges(self):
        for command, val, size in [("memsave", DATA, -1), ("pmemsave", DATA, -1),
                                   ("pmemsave", 0, 1 << 40), ("pmemsave", -1, 2),
                                   ("memsave", 0, 2**63 - 1)]:
            self.assertEqual(self.error(self.save(command, val, size)),
                             "Invalid addr 0x%016x/size %d specified" % (val % 2**64, size))
            self.assertFalse(os.path.exists(self.path("out")))

    @godwit
    def test_pipe_without_reader(self):
        os.mkfifo(self.path("out"))
        self.assertIn("Could not open", self.error(self.save("pmemsave", 0, 4096)))
        self.assertTrue(os.path.exists(self.path("out")))


class TripleFault(Case):
    code = TRIPLE
    args = ("-S", "-no-reboot")

    def test_is_a_reset(self):
        self.wire.request("cont")
        event = self.wire.line()
        self.assertEqual((event["event"], event["data"]),
                         ("SHUTDOWN", {"guest": True, "reason": "guest-reset"}))
        self.assertIsNone(self.wire.line())
        self.assertEqual(self.emulator.wait(), 0)


class TripleFaultPauses(Case):
    code = TRIPLE
    args = ("-S", "-no-reboot", "-no-shutdown")

    def test_is_a_reset(self):
        self.wire.request("cont")
        self.assertEqual(self.wire.line()["event"], "SHUTDOWN")
        self.assertEqual(self.wire.line()["event"], "STOP")
        self.assertEqual(self.wire.value("query-status")["status"], "shutdown")
        self.assertEqual(self.wire.ask("cont")["error"]["desc"],
                         "Resetting the Virtual Machine is required")


if __name__ == "__main__":
    unittest.main()
