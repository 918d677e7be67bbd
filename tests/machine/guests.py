"""Tiny bare-metal guests: each way to start one, to reset, to end, interrupts, SMP, stop and cont.

$ACCEL is the accelerator, tcg when not given: the list is the same for all. Where KVM cannot be used, the
reason is printed and the tests count as skipped.
"""
import mmap
import os
import re
import sys
import tempfile
import threading
import time
import unittest

import godwit
from godwit import Qmp, guest

ACCEL = os.environ.get("ACCEL", "tcg")


def Machine(*args, **kwargs):
    return godwit.Machine("-accel", ACCEL, *args, **kwargs)


def wait_until(test, condition):
    end = time.monotonic() + 60 * godwit.TIME_FACTOR
    while not condition():
        test.assertLess(time.monotonic(), end)
        time.sleep(0.01)


EMULATED_KVM = ACCEL == "kvm" and not godwit.hardware_virtualisation()
COUNTER = "counter-far" if EMULATED_KVM else "counter"
needs_iret = unittest.skipIf(
    EMULATED_KVM,
    "this host's KVM emulates the kernel mode of guests, with no IRET and no Hyper-V registers")


soft_only = unittest.skipIf(ACCEL == "kvm", "of the software CPU only")


TRANSLATES = ACCEL.startswith("tcg") and "x-translate=off" not in ACCEL


class Translator(unittest.TestCase):
    @unittest.skipIf(ACCEL == "kvm", "of the software CPU only")
    def test_counters(self):
        with Machine("-kernel", guest("mips"), "-append", "20", "-no-shutdown") as m:
            m.expect(r"end (\d+) million")
            info = m.qmp.command("godwit-query-jit")
            text = m.qmp.command("human-monitor-command", **{"command-line": "info jit"})
            self.assertEqual(info["enabled"], TRANSLATES)
            if not TRANSLATES:
                self.assertEqual(info["regions"], 0)
                self.assertIn("not translated", text)
                return
            self.assertGreater(info["regions"], 0)  # 32-bit code with flat segments
            self.assertRegex(text, r"regions translated +[1-9]")


class Hot(unittest.TestCase):
    """What the translator does inline, by a guest that looks at the results."""

    @soft_only
    def test_results(self):
        for cpus in "1", "2":  # locked operations are others when nobody else is there
            with Machine("-kernel", guest("hot64"), "-smp", cpus, "-no-shutdown") as m:
                m.expect(r"good")

    @soft_only
    def test_counters(self):
        with Machine("-kernel", guest("hot64"), "-no-shutdown") as m:
            m.expect(r"good")
            self.assertEqual(m.qmp.command("godwit-query-jit")["regions"] > 0, TRANSLATES)


class Threads(unittest.TestCase):
    """-accel tcg,thread=: a thread for each vCPU, or one for all."""

    def threads(self, thread):
        with godwit.Machine("-accel", "tcg,thread=" + thread, "-kernel", guest("smp"), "-append", "4",
                            "-smp", "4") as m:
            ids = {cpu["thread-id"] for cpu in m.qmp.command("query-cpus-fast")}
            for tid in ids:
                self.assertTrue(os.path.exists(f"/proc/{m.process.pid}/task/{tid}"))
            self.assertEqual(m.wait(), 0)  # all four were seen, and the guest powered off
            return len(ids)

    @soft_only
    def test_single(self):
        self.assertEqual(self.threads("single"), 1)

    @soft_only
    def test_multi(self):
        self.assertEqual(self.threads("multi"), 4)

    @soft_only
    def test_single_plug(self):
        """vCPUs come to a thread that is busy with another one, stop with it, and leave."""
        with godwit.Machine("-accel", "tcg,thread=single", "-smp", "1,maxcpus=4", "-kernel",
                            guest("counter"), "-no-shutdown") as m:
            slots = m.qmp.command("query-hotpluggable-cpus")
            for i, slot in enumerate(s for s in slots if "qom-path" not in s):
                m.qmp.command("device_add", driver=slot["type"], id=f"cpu{i}", **slot["props"])
            cpus = m.qmp.command("query-cpus-fast")
            self.assertEqual((len(cpus), len({cpu["thread-id"] for cpu in cpus})), (4, 1))
            for _ in range(20):
                m.qmp.command("stop")
                m.qmp.command("cont")
            m.qmp.command("system_reset")
            self.assertEqual(m.qmp.command("query-status")["status"], "running")


class Lockstep(unittest.TestCase):
    """Translated code compared with the interpreter, and an error planted in what was translated."""

    RIGHT, WRONG = b"\x05\x44\x33\x22\x11", b"\x05\x45\x33\x22\x11"  # add eax, ...

    def start(self):
        m = godwit.Machine("-accel", "tcg,x-lockstep=on,x-translate-after=2", "-kernel",
                           guest("loop64"), "-no-shutdown")
        m.expect("loop")
        wait_until(self, lambda: self.compared(m) > 10000)
        return m

    def compared(self, m):
        info = m.qmp.command("godwit-query-jit")
        self.assertTrue(info["lockstep"])
        return info["compared"]

    def plant(self, m):
        folder = f"/proc/{m.process.pid}/fd"
        code = [fd for fd in os.listdir(folder) if "godwit-code" in os.readlink(f"{folder}/{fd}")]
        self.assertEqual(len(code), 1)
        with open(f"{folder}/{code[0]}", "r+b") as f:
            with mmap.mmap(f.fileno(), 0) as memory:
                places = [found.start() for found in re.finditer(re.escape(self.RIGHT), memory)]
                self.assertGreater(len(places), 0)
                for at in places:  # the loop may have been translated more than once
                    memory[at:at + len(self.WRONG)] = self.WRONG

    @soft_only
    def test_agrees(self):
        with self.start() as m:
            before = self.compared(m)
            wait_until(self, lambda: self.compared(m) > before + 100000)
            self.assertEqual(m.qmp.command("query-status")["status"], "running")
            text = m.qmp.command("x-query-jit")["human-readable-text"]
            self.assertRegex(text, r"Compared with the interpreter: \d+ instructions")

    @soft_only
    def test_difference(self):
        with self.start() as m:
            self.plant(m)
            m.qmp.event("STOP", 60)
            self.assertEqual(m.qmp.command("query-status")["status"], "internal-error")
            wait_until(self, lambda: b"interpreted: rip" in m.errors)
            self.assertIn(b"translated code and the interpreter differ", m.errors)
            self.assertIn(b"code: 05 44 33 22 11", m.errors)
            self.assertRegex(m.errors, rb" rax: translated \w+, interpreted \w+")


def reason_to_skip():
    """Why the accelerator cannot be used here, or None."""
    if ACCEL != "kvm":
        return None
    result = godwit.run("-accel", "kvm", "-kernel", guest("hello"), "-display", "none")
    return None if result.returncode == 0 else result.stderr.strip()


class Start(unittest.TestCase):
    def test_multiboot(self):
        with Machine("-kernel", guest("hello"), "-append", "a b", "-S") as m:
            m.qmp.command("cont")
            m.expect(r"hello by multiboot \[a b\]\n")
            event = m.qmp.event("SHUTDOWN")
            self.assertEqual(event["data"], {"guest": True, "reason": "guest-shutdown"})
            self.assertEqual(m.wait(), 0)

    def test_pvh(self):
        with Machine("-kernel", guest("hello-pvh"), "-append", "x", "-S") as m:
            m.qmp.command("cont")
            m.expect(r"hello by pvh \[x\]\n")
            self.assertEqual(m.wait(), 0)

    @needs_iret
    def test_no_bios(self):
        with Machine("-kernel", guest("bios"), "-smp", "2") as m:
            for name in "returns", "service", "irq", "exception":
                m.expect(rf"ok {name}\n")
            self.assertEqual(m.wait(), 0)

    def test_shutdown_pauses_with_no_shutdown(self):
        with Machine("-kernel", guest("hello"), "-no-shutdown", "-S") as m:
            m.qmp.command("cont")
            m.qmp.event("SHUTDOWN")
            m.qmp.event("STOP")
            self.assertEqual(m.qmp.command("query-status")["status"], "shutdown")
            self.assertIn("Resetting the Virtual Machine is required",
                          m.qmp.request("cont")["error"]["desc"])
            m.qmp.command("system_reset")
            m.expect("hello")
            m.qmp.command("cont")
            m.expect("hello")
            m.qmp.command("quit")
            self.assertEqual(m.wait(), 0)

    def test_firmware(self):
        """A 128 KiB image: the reset vector below 4 GiB, and the alias below 1 MiB."""
        code = bytes([0xba, 0xf8, 0x03, 0xb0, ord("R"), 0xee,  # 'R' to COM1
                      0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef,  # soft off
                      0xf4])
        rom = bytearray(0x20000)
        rom[0x1ff00:0x1ff00 + len(code)] = code
        rom[0x1fff0:0x1fff5] = bytes([0xea, 0x00, 0xff, 0x00, 0xf0])  # to f000:ff00
        with tempfile.NamedTemporaryFile() as f:
            f.write(rom)
            f.flush()
            with Machine("-bios", f.name, connect=False) as m:
                self.assertEqual(m.wait(), 0)
                self.assertEqual(m.output, b"R")

    def test_no_kernel(self):
        with Machine() as m:
            self.assertEqual(m.qmp.command("query-status")["status"], "running")


class HumanMonitor(unittest.TestCase):
    def hmp(self, m, line):
        return m.qmp.command("human-monitor-command", command_line=line).replace("\r", "")

    def test_page_tables(self):
        """The first GiB is mapped where it is, in pages of 2 MiB, and the first was written to."""
        with Machine("-kernel", guest("loop64"), "-S") as m:
            self.assertEqual(self.hmp(m, "info mem"), "PG disabled\n")
            self.assertEqual(self.hmp(m, "info tlb"), "PG disabled\n")
            m.qmp.command("cont")
            m.expect("loop")
            m.qmp.command("stop")
            self.assertEqual(self.hmp(m, "info mem"),
                             "0000000000000000-0000000040000000 0000000040000000 -rw\n")
            lines = self.hmp(m, "info tlb").splitlines()
            self.assertEqual(len(lines), 512)
            self.assertRegex(lines[0], r"^0{16}: 0{16} --P-A---W|^0{16}: 0{16} --PDA---W")
            self.assertRegex(lines[511], r"^000000003fe00000: 000000003fe00000 --P..---W$")

    def test_local_apics(self):
        with Machine("-kernel", guest("smp"), "-append", "2", "-smp", "2", "-S") as m:
            for command, cpu in (("info lapic", 0), ("info lapic 1", 1)):
                text = self.hmp(m, command)
                self.assertIn(f"dumping local APIC state for CPU {cpu} \n", text)
                self.assertIn("LVTT\t 0x00010000 active-hi edge  masked         one-shot     Fixed ",
                              text)
                self.assertIn("SPIV\t 0x000000ff APIC disabled, focus=off, spurious vec 255", text)
                self.assertIn("ISR\t (none)\nIRR\t (none)\n", text)
            self.assertEqual(self.hmp(m, "info lapic 9"), "No CPU available\n")
            m.qmp.command("cont")
            wait_until(self, lambda: "APIC enabled" in self.hmp(m, "info lapic 0"))
            wait_until(self, lambda: "edge assert" in self.hmp(m, "info lapic 0"))  # it woke the other


class Reset(unittest.TestCase):
    def reset_by(self, how, *args):
        with Machine("-kernel", guest("reset"), "-append", how, *args) as m:
            m.expect(f"boot {how}\n")
            event = m.qmp.event("RESET")
            self.assertEqual(event["data"], {"guest": True, "reason": "guest-reset"})
            m.expect(f"boot {how}\n")
            m.expect(f"boot {how}\n")

    def test_cf9(self):
        self.reset_by("cf9")

    def test_acpi(self):
        self.reset_by("acpi")

    def test_8042(self):
        self.reset_by("8042")

    def test_port92(self):
        self.reset_by("port92")

    def test_triple_fault(self):
        self.reset_by("triple")

    def test_no_reboot(self):
        with Machine("-kernel", guest("reset"), "-append", "triple", "-no-reboot", "-S") as m:
            m.qmp.command("cont")
            event = m.qmp.event("SHUTDOWN")
            self.assertEqual(event["data"], {"guest": True, "reason": "guest-reset"})
            self.assertEqual(m.wait(), 0)

    def test_system_reset(self):
        with Machine("-kernel", guest("reset"), "-append", "hang") as m:
            m.expect("boot hang\n")
            m.qmp.command("system_reset")
            self.assertEqual(m.qmp.event("RESET")["data"],
                             {"guest": False, "reason": "host-qmp-system-reset"})
            m.expect("boot hang\n")

    def test_exit_port(self):
        with Machine("-kernel", guest("reset"), "-append", "exit 5",
                     "-device", "isa-debug-exit,iobase=0xf4,iosize=4", connect=False) as m:
            self.assertEqual(m.wait(), 11)


class Interrupts(unittest.TestCase):
    def irq(self, name):
        with Machine("-kernel", guest(name)) as m:
            text = m.expect("(?s).*done\n", 60).group().decode()
            self.assertEqual(re.findall("FAIL.*", text), [])
            self.assertEqual(text.count("ok "), 7)

    @needs_iret
    def test_irq(self):
        self.irq("irq")

    def test_irq_far_return(self):
        self.irq("irq-far")

    @unittest.skipIf(ACCEL == "kvm", "KVM has no A20 gate")
    def test_a20_gate(self):
        with Machine("-kernel", guest("a20"), "-S") as m:
            m.qmp.command("cont")
            text = m.expect("(?s).*done\n").group().decode()
            self.assertEqual(re.findall("FAIL.*", text), [])
            self.assertEqual(text.count("ok "), 6)

    @unittest.skipIf(ACCEL == "kvm", "KVM has no A20 gate")
    def test_a20_gate_moves(self):
        """A closed gate is told, goes with the machine, and a reset opens it."""
        def hmp(m, line):
            return m.qmp.command("human-monitor-command", command_line=line)
        def closed(m):
            word = hmp(m, "x /1wx 0x300000").split(":")[1].strip()
            return "A20=0" in hmp(m, "info registers") and word == "0x11111111"
        with tempfile.NamedTemporaryFile() as file:
            args = ("-kernel", guest("a20"), "-append", "stay")
            with Machine(*args) as m:
                m.expect("closing\n")
                wait_until(self, lambda: closed(m))
                m.qmp.command("migrate", uri=f"exec:cat > {file.name}")
                wait_until(self, lambda: m.qmp.command("query-migrate").get("status") == "completed")
                m.qmp.command("system_reset")
                self.assertIn("A20=1", hmp(m, "info registers"))
            with Machine(*args, "-incoming", f"exec:cat {file.name}") as m:
                wait_until(self, lambda: m.qmp.command("query-status")["running"])
                self.assertTrue(closed(m))

    @unittest.skipIf(ACCEL == "kvm", "KVM has no FERR#")
    def test_coprocessor_errors(self):
        with Machine("-kernel", guest("ferr"), "-S") as m:
            m.qmp.command("cont")
            text = m.expect("(?s).*done\n", 60).group().decode()
            self.assertEqual(re.findall("FAIL.*", text), [])
            self.assertEqual(text.count("ok "), 3)

    def smp(self, n):
        with Machine("-kernel", guest("smp"), "-append", str(n), "-smp", str(n)) as m:
            text = m.expect("(?s).*done\n", 90).group().decode()
            self.assertEqual(re.findall("FAIL.*", text), [])
            self.assertIn(f"vcpus {n}\n", text)

    def test_smp_1(self):
        self.smp(1)

    def test_smp_2(self):
        self.smp(2)

    def test_smp_4(self):
        self.smp(4)


class Doorbell(unittest.TestCase):
    def test_virtio(self):
        """Each ring of either interface reaches the device, also after its registers moved."""
        with Machine("-kernel", guest("doorbell"), "-device", "virtio-rng-pci,addr=5", "-S") as m:
            m.qmp.command("cont")
            for name in ("legacy", "modern", "moved"):
                m.expect(rf"ok {name}\n")
            self.assertEqual(m.wait(), 0)


@needs_iret
class HyperVCrash(unittest.TestCase):
    INFO = {"type": "hyper-v", "arg1": 0x0020000000000001, "arg2": 0xfedcba9876543211,
            "arg3": 0x8000000000000003, "arg4": 0xffffffffffffffff, "arg5": 0x7ffffffffffffff5}

    def start(self, *args):
        m = Machine("-kernel", guest("hv-crash"), "-cpu", "max,hv-crash=on", "-S", *args)
        m.qmp.command("cont")
        return m

    def test_absent(self):
        with Machine("-kernel", guest("hv-crash"), "-S") as m:
            m.qmp.command("cont")
            text = m.expect("(?s).*done\n").group().decode()
            self.assertEqual(text, "ok absent\ndone\n")

    def test_pause(self):
        with self.start("-action", "panic=pause", "-d", "guest_errors") as m:
            event = m.qmp.event("GUEST_PANICKED")
            self.assertEqual(event["data"], {"action": "pause", "info": self.INFO})
            m.qmp.event("STOP")
            self.assertEqual(m.qmp.command("query-status")["status"], "guest-panicked")
            text = m.expect("(?s).*reporting\n").group().decode()
            self.assertNotIn("FAIL", text)
            m.qmp.command("cont")
            m.expect("on\n")
            self.assertEqual(m.wait(), 0)
        self.assertIn(b"HV crash parameters: (0x20000000000001 0xfedcba9876543211 "
                      b"0x8000000000000003 0xffffffffffffffff 0x7ffffffffffffff5)", m.errors)

    def test_run(self):
        with self.start("-action", "panic=none") as m:
            event = m.qmp.event("GUEST_PANICKED")
            self.assertEqual(event["data"], {"action": "run", "info": self.INFO})
            m.expect("on\n")

    def test_shutdown(self):
        with self.start() as m:
            event = m.qmp.event("GUEST_PANICKED")
            self.assertEqual(event["data"], {"action": "poweroff", "info": self.INFO})
            self.assertEqual(m.qmp.event("SHUTDOWN")["data"],
                             {"guest": True, "reason": "guest-panic"})
            self.assertEqual(m.wait(), 0)


@soft_only
class MachineCheck(unittest.TestCase):
    UC = "0xbd80000000000134"  # VAL UC EN MISCV ADDRV S AR
    AO = "0xbd000000000000c0"

    def start(self, args, *options):
        m = Machine("-kernel", guest("mce"), "-append", args, *options)
        text = m.expect("(?s).*ready\n").group().decode()
        self.assertEqual(re.findall("FAIL.*", text), [])
        self.assertEqual(text.count("ok "), 5)
        return m

    def mce(self, m, line):
        return m.qmp.command("human-monitor-command", command_line="mce " + line)

    def failure(self, m, action, required, recursive):
        self.assertEqual(m.qmp.event("MEMORY_FAILURE")["data"],
                         {"recipient": "guest", "action": action,
                          "flags": {"action-required": required, "recursive": recursive}})

    def test_inject(self):
        with self.start("") as m:
            for status, required in ((self.UC, True), (self.AO, False)):
                self.assertEqual(self.mce(m, f"0 9 {status} 5 0x123456789a 0x8c"), "")
                self.failure(m, "inject", required, False)
                m.expect(f"mc mcg 0x00000000 0x00000005 status {status[:10]} 0x{status[10:]} "
                         "addr 0x00000012 0x3456789a misc 0x00000000 0x0000008c\n")

    def test_off(self):
        with self.start("off") as m:
            self.assertEqual(self.mce(m, f"0 9 {self.AO} 5 0 0").strip(),
                             "CPU 0: MCE capability is not enabled, raising triple fault")
            self.failure(m, "reset", False, False)
            self.assertEqual(m.qmp.event("RESET")["data"], {"guest": True, "reason": "guest-reset"})
            m.expect("ready\n")

    def test_busy(self):
        with self.start("busy") as m:
            self.mce(m, f"0 9 {self.UC} 5 0 0")
            self.failure(m, "inject", True, False)
            m.expect("mc .*\n")
            self.assertEqual(self.mce(m, f"0 9 {self.AO} 5 0 0"), "")
            self.failure(m, "ignore", False, True)
            self.assertEqual(self.mce(m, f"0 9 {self.UC} 5 0 0").strip(),
                             "CPU 0: Previous MCE still in progress, raising triple fault")
            self.failure(m, "reset", True, True)
            m.qmp.event("RESET")
            m.expect("ready\n")

    def test_complaints(self):
        with self.start("mute") as m:
            for line, text in ((f"0 9 {self.UC} 5 0 0",
                                "CPU 0: Uncorrected error reporting disabled for bank 9"),
                               (f"0 10 {self.UC} 5 0 0", "Invalid MCE bank number"),
                               ("0 9 0 5 0 0", "Invalid MCE status code")):
                self.assertEqual(self.mce(m, line).strip(), text)
            self.assertIn("help mce", self.mce(m, "0 9"))
            self.assertEqual([e for e in m.qmp.events if e["event"] == "MEMORY_FAILURE"], [])

    def test_broadcast(self):
        with self.start("", "-smp", "2") as m:
            # the other vCPU waits for its start, so it can take none
            self.assertEqual(self.mce(m, f"-b 0 9 {self.UC} 5 0 0").strip(),
                             "CPU 1: MCE capability is not enabled, raising triple fault")
            self.failure(m, "inject", True, False)
            self.failure(m, "reset", False, False)
            m.qmp.event("RESET")


@soft_only
class Hole(unittest.TestCase):
    """An instruction that CPUID offers, for -cpu asks for it, and the software CPU lacks."""

    def test_internal_error(self):
        with Machine("-kernel", guest("hole"), "-cpu", "max,+vme", "-S") as m:
            for _ in range(2):
                self.assertEqual(m.qmp.command("cont"), {})
                m.expect("boot\n")
                self.assertEqual(m.qmp.event("STOP").get("data"), None)
                self.assertEqual(m.qmp.command("query-status"), {
                    "running": False, "singlestep": False, "status": "internal-error"})
                self.assertEqual(m.qmp.request("cont")["error"], {
                    "class": "GenericError", "desc": "Resetting the Virtual Machine is required"})
                self.assertEqual(m.qmp.command("query-status")["status"], "internal-error")
                pc = re.search(r"EIP=([0-9a-f]{8})", m.qmp.command(
                    "human-monitor-command", command_line="info registers")).group(1)
                m.qmp.command("system_reset")
                self.assertEqual(m.qmp.event("RESET")["data"],
                                 {"guest": False, "reason": "host-qmp-system-reset"})
                self.assertEqual(m.qmp.command("query-status")["status"], "prelaunch")
            m.qmp.command("quit")
            self.assertEqual(m.wait(), 0)
            self.assertNotIn(b"no hole", m.output)
            reports = m.errors.decode().split("vCPU 0 cannot go on:\n")[1:]
            self.assertEqual(len(reports), 2)
            for text in reports:
                self.assertTrue(text.startswith("CR4.VME or CR4.PVI is offered"), text)
                self.assertIn(f"rip 00000000{pc} ", text)
                self.assertIn("mode 32-bit", text)
                self.assertIn("code: 0f 22 e0 ", text)  # mov %eax, %cr4
                self.assertIn("rax 0000000000000001 ", text)
                self.assertIn("rbx 00000000600dcafe\n", text)

    def test_not_offered(self):
        with Machine("-kernel", guest("hole"), connect=False) as m:
            m.expect("boot\nno hole\n")
            self.assertEqual(m.wait(), 0)


@unittest.skipUnless(EMULATED_KVM, "of a KVM that emulates the kernel mode of guests, without x87")
class EmulationFailure(unittest.TestCase):
    """What KVM cannot emulate: said with registers and code, and a reset is the way out."""

    def test_internal_error(self):
        with Machine("-kernel", guest("move"), "-append", "3", "-S") as m:
            for _ in range(2):
                m.qmp.command("cont")
                m.qmp.event("STOP")
                self.assertEqual(m.qmp.command("query-status")["status"], "internal-error")
                self.assertIn("Resetting", m.qmp.request("cont")["error"]["desc"])
                m.qmp.command("system_reset")
                m.qmp.event("RESET")
                self.assertEqual(m.qmp.command("query-status")["status"], "prelaunch")
            m.qmp.command("quit")
            m.wait()
            text = m.errors.decode()
            self.assertEqual(text.count("KVM internal error 1 (emulation failure)"), 2)
            self.assertIn("\ncode: d9 eb ", text)  # FLDPI
            self.assertRegex(text, r"EIP=0010[0-9a-f]{4}")


class StopAndCont(unittest.TestCase):
    """Two clients stop, continue and ask at once, while a guest counts and looks at its clocks."""
    PAUSE_S = 2.5

    def lines(self, m):
        return [tuple(map(int, line.split())) for line in m.output.decode().splitlines()[:-1]
                if re.fullmatch(r"\d+( \d+){4}", line)]

    def assert_still(self, m, seconds):
        before = len(m.output)
        time.sleep(seconds)
        self.assertEqual(len(m.output), before)

    def test_counter_and_clocks_stand_still(self):
        with Machine("-kernel", guest(COUNTER), "-rtc", "clock=vm") as m:
            other = Qmp(m.socket)
            m.expect("\n50 .*\n")
            m.qmp.command("stop")
            other.event("STOP")
            for qmp in m.qmp, other:
                self.assertEqual(qmp.command("query-status")["status"], "paused")
            time.sleep(0.2)  # what was printed before the stop is on its way through the pipe
            self.assert_still(m, self.PAUSE_S)
            last = self.lines(m)[-1]
            other.command("cont")
            m.qmp.event("RESUME")
            m.expect(f"\n{last[0] + 50} .*\n")
            self.check_lines(self.lines(m), last[0])
            other.close()

    def check_lines(self, lines, last):
        self.assertEqual([line[0] for line in lines], list(range(len(lines))))
        whole = [b - a for a, b in zip(lines[0], lines[last])]
        step = [b - a for a, b in zip(lines[last], lines[last + 2])]
        limit = self.PAUSE_S * 1000 / 2
        self.assertLess(step[1], limit)
        if not EMULATED_KVM:  # there KVM takes a new TSC offset, and guests see the host's TSC all the same
            self.assertLess(step[2] * whole[1] / whole[2], limit)  # TSC at the rate seen before
        self.assertLess(step[3] * 10, limit)
        self.assertLess(step[4] % 60, self.PAUSE_S - 0.5)
        after = [b - a for a, b in zip(lines[last], lines[-1])]
        for clock, least in (1, 400), (2, 1), (3, 20):  # and they go on
            self.assertGreater(after[clock], least)

    def test_two_at_once(self):
        with Machine("-kernel", guest(COUNTER)) as m:
            other = Qmp(m.socket)
            m.expect("\n10 ")
            failures = []

            def toggle(qmp):
                try:
                    for _ in range(200):
                        for command in "stop", "query-status", "cont", "query-status":
                            qmp.command(command)
                except Exception as e:
                    failures.append(e)

            threads = [threading.Thread(target=toggle, args=(q,)) for q in (m.qmp, other)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            self.assertEqual(failures, [])
            m.qmp.command("stop")
            self.assertEqual(other.command("query-status")["status"], "paused")
            time.sleep(0.2)
            self.assert_still(m, 0.3)
            n = self.lines(m)[-1][0]
            other.command("cont")
            m.expect(f"\n{n + 20} ")
            numbers = [line[0] for line in self.lines(m)]
            self.assertEqual(numbers, list(range(len(numbers))))
            other.close()


class Accelerator(unittest.TestCase):
    def test_query_kvm(self):
        with Machine("-S") as m:
            self.assertEqual(m.qmp.command("query-kvm")["enabled"], ACCEL == "kvm")

    def cpuid(self, cpu, *leaves):
        """What CPUID answers in the guest."""
        words = " ".join(f"cpuid {leaf:x}" for leaf in leaves)
        with Machine("-kernel", guest("script"), "-append", words, "-cpu", cpu) as m:
            m.expect(r"done\n")
            found = re.findall(rb"cpuid (\w+) (\w+) (\w+) (\w+)", m.output)
        return [[int(value, 16) for value in leaf] for leaf in found]

    def test_hypervisor_is_named(self):
        """Features of KVM's by their names; kvm=off hides the hypervisor."""
        name, features = self.cpuid("max,kvmclock=off,+kvm_pv_sched_yield", 0x40000000, 0x40000001)
        self.assertEqual(name[1:], [0x4b4d564b, 0x564b4d56, 0x4d])
        self.assertEqual(features[0] & 0x2009, 0x2000)
        self.assertEqual(self.cpuid("max,kvm=off", 0x40000000, 0x40000001)[0][1], 0)

    @unittest.skipIf(ACCEL != "kvm", "of KVM only")
    def test_host_address_bits(self):
        with open("/proc/cpuinfo", encoding="ascii") as file:
            bits = int(re.search(r"address sizes\s*: (\d+) bits physical", file.read()).group(1))
        self.assertEqual(self.cpuid("host", 0x80000008)[0][0] & 0xff, bits)
        self.assertEqual(self.cpuid("max,host-phys-bits=on,host-phys-bits-limit=37",
                                    0x80000008)[0][0] & 0xff, min(bits, 37))

    @unittest.skipIf(ACCEL != "kvm", "of KVM only")
    def test_host_caches(self):
        """The first cache of level 1 as the host's kernel knows it, where it does."""
        def fact(name):
            with open("/sys/devices/system/cpu/cpu0/cache/index0/" + name, encoding="ascii") as file:
                return int(file.read())
        try:
            ways, sets = fact("ways_of_associativity"), fact("number_of_sets")
        except FileNotFoundError:
            self.skipTest("this host's kernel does not tell of its caches")
        for leaf in self.cpuid("host,+topoext,host-cache-info=on", 4, 0x8000001d):
            if leaf[0] & 0x1f:
                self.assertEqual((leaf[1] >> 22, leaf[2]), (ways - 1, sets - 1))

    @unittest.skipIf(ACCEL != "kvm", "of KVM only")
    def test_tsc_frequency(self):
        """A host's TSC that cannot run so slow is an error, not another frequency."""
        result = godwit.run("-accel", "kvm", "-cpu", "qemu64,check=off,tsc-frequency=77M", "-display",
                            "none", "-kernel", guest("hello"))
        if result.returncode:
            self.assertRegex(result.stderr, "no TSC of 77000 kHz: the host's runs at [0-9]+ kHz")

    @unittest.skipIf(ACCEL != "kvm", "of KVM only")
    def test_spellings(self):
        for options in (["-enable-kvm"], ["-accel", "tcg", "-enable-kvm"],
                        ["-M", "q35,accel=kvm,kernel_irqchip=split"],
                        ["-accel", "kvm,kernel-irqchip=on"]):
            with self.subTest(options=options), godwit.Machine("-S", *options) as m:
                self.assertTrue(m.qmp.command("query-kvm")["enabled"])


if __name__ == "__main__":
    reason = reason_to_skip()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    unittest.main()
