"""The black box: each failure of a guest that it records, what is in a record, its files and their bounds."""
import json
import os
import re
import shutil
import tempfile
import unittest

import godwit
from godwit import Qmp, guest

SCRIPT = guest("script")


def register(vcpu, name):
    return int(next(r["value"] for r in vcpu["registers"] if r["name"] == name), 16)


class BlackBox(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-box-")

    def tearDown(self):
        shutil.rmtree(self.dir)

    def start(self, script, *args, image=SCRIPT):
        """A machine whose events are seen from the first on."""
        m = godwit.Machine("-kernel", image, "-append", script, "-S", "-black-box", self.dir, *args)
        self.addCleanup(m.close)
        m.qmp.close()
        m.qmp = Qmp(m.socket, enable=["godwit-events"])
        m.qmp.command("cont")
        return m

    def record(self, m, trigger, after):
        """The record that an event tells of; it comes right after the event `after`, and the file has it too."""
        m.qmp.event(after)
        event = m.qmp.event("GODWIT_BLACK_BOX")
        self.assertEqual(event["data"]["trigger"], trigger)
        with open(event["data"]["file"], encoding="ascii") as f:
            record = json.load(f)
        self.assertEqual(os.stat(event["data"]["file"]).st_mode & 0o777, 0o600)
        self.assertEqual(record["trigger"], trigger)
        self.assertEqual(record["number"], event["data"]["number"])
        self.assertEqual(record.get("vcpu"), event["data"].get("vcpu"))
        self.last = event
        return record

    def from_query(self, m, number):
        answer = m.qmp.command("godwit-query-black-box")
        return next(r for r in answer["records"] if r["number"] == number)

    def test_nothing(self):
        with godwit.Machine("-S") as m:
            self.assertEqual(m.qmp.command("godwit-query-black-box"),
                             {"recorded": 0, "skipped": 0, "records": []})

    def test_panic(self):
        m = self.start("panic 1", "-device", "pvpanic", "-action", "panic=pause", "-smp", "2",
                       "-symbols", SCRIPT)
        record = self.record(m, "panic", "GUEST_PANICKED")
        seq = self.last["seq"]
        self.assertEqual(m.qmp.event("STOP")["seq"], seq + 1)
        self.assertEqual(m.qmp.command("query-status")["status"], "guest-panicked")
        self.assertEqual(self.from_query(m, 1), record)
        self.assertEqual(record["vcpu"], 0)
        self.assertEqual(record["cause"]["access"]["address"], "0x505")
        self.assertEqual(record["cause"]["parent"]["event"], "GUEST_PANICKED")
        self.assertNotIn("kernel", record)
        cpu, other = record["vcpus"]
        self.assertEqual((cpu["index"], cpu["cpl"], cpu["halted"]), (0, 0, False))
        self.assertEqual((other["index"], other["halted"]), (1, True))
        # right behind the OUT to the port
        self.assertEqual(register(cpu, "rdx") & 0xffff, 0x505)
        rip, rsp = register(cpu, "rip"), register(cpu, "rsp")
        at = cpu["code-offset"]
        code = bytes.fromhex(cpu["code"]["data"])
        self.assertEqual(int(cpu["code"]["address"], 16) + at, rip)
        self.assertEqual(code[at - 1], 0xee)
        self.assertEqual(rip, int(record["cause"]["rip"], 16) + 1)
        self.assertEqual(int(cpu["stack"]["address"], 16), rsp)
        self.assertIn(f"EIP={rip:08x}", m.qmp.command("human-monitor-command",
                                                      command_line="info registers"))
        self.assertRegex(cpu["symbol"], r"^run_script\+0x")
        self.assertRegex(" ".join(t["symbol"] for t in cpu["trace"]),
                         r"\bguest_main\+0x\S+ guest_start\+0x\S+ \S+_start\+0x\S+$")
        self.assertEqual(other["trace"], [])

    def test_panic_ignored(self):
        m = self.start("panic 1 say on", "-device", "pvpanic", "-action", "panic=none")
        self.record(m, "panic", "GUEST_PANICKED")
        m.expect("on\ndone\n")
        self.assertEqual(m.qmp.command("query-status")["status"], "running")

    def test_crash_loaded(self):
        m = self.start("pcipanic 2 say on", "-device", "pvpanic-pci")
        record = self.record(m, "crash-loaded", "GUEST_CRASHLOADED")
        self.assertEqual(record["cause"]["access"]["space"], "memory")
        m.expect("on\ndone\n")

    def test_hyper_v(self):
        m = self.start("crash", "-cpu", "max,hv-crash", image=guest("hv-crash"))
        record = self.record(m, "panic", "GUEST_PANICKED")
        self.assertEqual(record["info"]["type"], "hyper-v")
        self.assertEqual(record["info"]["arg1"], 2**53 + 1)

    def test_triple_fault(self):
        """The state is the one before: the instruction that failed is the next one."""
        m = self.start("once triple", "-symbols", SCRIPT)
        record = self.record(m, "triple-fault", "RESUME")
        seq = self.last["seq"]
        self.assertEqual(m.qmp.event("RESET")["seq"], seq + 1)
        m.expect("again\n")
        cpu = record["vcpus"][0]
        code = bytes.fromhex(cpu["code"]["data"])
        self.assertEqual(code[cpu["code-offset"]], 0xcc)
        self.assertEqual(register(cpu, "idt-limit"), 0)
        self.assertEqual(record["cause"]["rip"], hex(register(cpu, "rip")))
        self.assertRegex(" ".join(t["symbol"] for t in cpu["trace"]), r"\bguest_main\+.* guest_start\+")

    def test_watchdog(self):
        m = self.start("once ib700 14", "-device", "ib700", "-symbols", SCRIPT)
        record = self.record(m, "watchdog", "WATCHDOG")
        self.assertEqual(record["text"], "ib700")
        self.assertNotIn("vcpu", record)
        self.assertEqual(record["cause"]["who"], "device")
        m.qmp.event("RESET")
        cpu = record["vcpus"][0]
        self.assertRegex(" ".join([cpu["symbol"]] + [t["symbol"] for t in cpu["trace"]]),
                         "halt.* run_script.* guest_main")
        self.assertTrue(cpu["halted"])

    def test_internal_error(self):
        m = self.start("", "-cpu", "max,+vme", image=guest("hole"))
        record = self.record(m, "internal-error", "RESUME")
        m.qmp.event("STOP")
        self.assertEqual(m.qmp.command("query-status")["status"], "internal-error")
        self.assertIn("CR4.VME", record["text"])
        cpu = record["vcpus"][0]
        code = bytes.fromhex(cpu["code"]["data"])
        self.assertEqual(code[cpu["code-offset"]:][:3], b"\x0f\x22\xe0")  # mov %eax, %cr4
        self.assertEqual(register(cpu, "rbx"), 0x600dcafe)

    def test_machine_ends(self):
        """The record is there when the process is gone."""
        m = self.start("panic 1", "-device", "pvpanic")
        self.record(m, "panic", "GUEST_PANICKED")
        m.qmp.event("SHUTDOWN")
        self.assertEqual(m.wait(), 0)

    def test_bounds(self):
        """A guest that fails all the time: each failure is recorded or counted, and files are few."""
        m = self.start("triple", "-device", "pvpanic")
        m.expect("ready\n" * 30)
        m.qmp.command("stop")
        answer = m.qmp.command("godwit-query-black-box")
        self.assertGreater(answer["skipped"], 0)
        self.assertGreaterEqual(answer["recorded"], 4)
        self.assertGreaterEqual(answer["recorded"] + answer["skipped"], 29)
        numbers = [r["number"] for r in answer["records"]]
        self.assertEqual(numbers, list(range(answer["recorded"], answer["recorded"] - 4, -1)))
        self.assertLessEqual(len(os.listdir(self.dir)), 16)

    def test_no_vmcoreinfo_told(self):
        m = self.start("panic 1", "-device", "pvpanic", "-device", "vmcoreinfo")
        record = self.record(m, "panic", "GUEST_PANICKED")
        self.assertEqual(list(record["kernel"]), ["error"])
        self.assertIn("has not told", record["kernel"]["error"])

    def test_file_fails(self):
        """The machine goes on, and everybody is told."""
        m = self.start("delay 300 panic 1 say on", "-device", "pvpanic", "-action", "panic=none")
        shutil.rmtree(self.dir)
        event = m.qmp.event("GODWIT_BLACK_BOX")
        os.mkdir(self.dir)
        self.assertNotIn("file", event["data"])
        self.assertIn("No such file", event["data"]["file-error"])
        m.expect("on\ndone\n")
        self.assertEqual(self.from_query(m, 1)["trigger"], "panic")
        self.assertIn(b"black box: ", m.errors)

    def test_own_event(self):
        """Only sessions that asked for Godwit's own events get it."""
        with godwit.Machine("-kernel", SCRIPT, "-append", "panic 1", "-S", "-device", "pvpanic",
                            "-action", "panic=pause") as m:
            m.qmp.command("cont")
            m.qmp.event("STOP")
            self.assertEqual(m.qmp.command("godwit-query-black-box")["recorded"], 1)
            m.qmp.command("query-status")
            self.assertEqual([e for e in m.qmp.events if e["event"].startswith("GODWIT")], [])


class Options(unittest.TestCase):
    def refused(self, *args):
        result = godwit.run("-display", "none", "-serial", "none", *args)
        self.assertEqual(result.returncode, 1)
        return result.stderr

    def test_bad(self):
        self.assertRegex(self.refused("-black-box", "/nowhere/box"), "'/nowhere/box' is not a folder")
        self.assertRegex(self.refused("-symbols", "/nowhere/vmlinux"), "'/nowhere/vmlinux': No such file")
        self.assertRegex(self.refused("-symbols", __file__), "neither an ELF file nor")
        self.assertRegex(self.refused("-device", "vmcoreinfo", "-device", "vmcoreinfo"), "at most one")
        self.assertRegex(self.refused("-device", "vmcoreinfo,events=1"), "events")

    def test_help(self):
        self.assertTrue(re.search('^name "vmcoreinfo", desc', godwit.run("-device", "help").stdout, re.M))


if __name__ == "__main__":
    unittest.main()
