"""Broken memory of the host: what SIGBUS does, for memory that is broken and for memory that is gone.

A preloaded library makes the signals that a host with broken memory would send.
"""
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

import godwit
import sigbus
from godwit import Machine, Qmp, guest

OPTIONAL, REQUIRED = signal.SIGRTMIN + 5, signal.SIGRTMIN + 6
RAM_BYTES = 32 << 20
PAGE = 0x1a00000  # a page that nothing else is in

AO_STATUS, AR_STATUS = "0xbd000000 0x000000c0", "0xbd800000 0x00000134"


def log(test, m, text):
    """Waits for a text in the log."""
    with m.condition:
        test.assertTrue(m.condition.wait_for(lambda: text in m.errors, 20 * godwit.TIME_FACTOR), text)


class HostMemory(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.file = os.path.join(self.dir.name, "ram")

    def start(self, args="", *options, broken=False, wait=True):
        """A guest with its memory in a file."""
        m = Machine("-kernel", guest("mce"), "-append", args, "-machine", "q35,memory-backend=m", "-object",
                    f"memory-backend-file,id=m,size={RAM_BYTES},mem-path={self.file},share=on", *options,
                    env=sigbus.environment(broken))
        self.addCleanup(m.close)
        if wait:
            m.expect("ready\n")
        return m

    def host_address(self, m, address):
        with open(f"/proc/{m.process.pid}/maps", encoding="ascii") as maps:
            return int(re.search(rf"^([0-9a-f]+)-.*{re.escape(self.file)}$", maps.read(), re.M).group(1),
                       16) + address

    def break_page(self, m, number, host, vcpu=None):
        pid = m.process.pid
        tid = pid if vcpu is None else m.qmp.command("query-cpus-fast")[vcpu]["thread-id"]
        sigbus.send(pid, tid, number, host)

    def failure(self, m, recipient, action, required, recursive):
        self.assertEqual(m.qmp.event("MEMORY_FAILURE")["data"],
                         {"recipient": recipient, "action": action,
                          "flags": {"action-required": required, "recursive": recursive}})

    def log(self, m, text):
        log(self, m, text)

    def no_failure(self, m):
        m.qmp.command("query-status")
        self.assertEqual([e for e in m.qmp.events if e["event"] == "MEMORY_FAILURE"], [])

    def cause(self, m):
        """Of the last MEMORY_FAILURE; where the memory is, the event itself has no room to say."""
        events = m.qmp.command("godwit-query-events")["events"]
        return [e for e in events if e["event"] == "MEMORY_FAILURE"][-1]["cause"]

    def machine_check(self, m, mcg, status):
        m.expect(f"mc mcg 0x00000000 {mcg} status {status} addr 0x00000000 0x{PAGE:08x} "
                 "misc 0x00000000 0x0000008c\n")

    # ---- pages of the guest

    def test_optional(self):
        """Found by the host, told to the main thread: the boot CPU gets it, and the guest goes on."""
        m = self.start()
        host = self.host_address(m, PAGE)
        for offset in 0x123, 0:
            self.break_page(m, OPTIONAL, host + offset)
            self.failure(m, "guest", "inject", False, False)
            self.machine_check(m, "0x00000005", AO_STATUS)
        self.assertEqual(m.qmp.command("query-status")["status"], "running")
        self.log(m, b"guest address 0x%x" % PAGE)

    def test_required(self):
        """Told to the vCPU that has used it."""
        m = self.start()
        self.break_page(m, REQUIRED, self.host_address(m, PAGE) + 8, vcpu=0)
        self.failure(m, "guest", "inject", True, False)
        self.machine_check(m, "0x00000007", AR_STATUS)
        cause = self.cause(m)
        self.assertEqual((cause["who"], cause["what"], cause["vcpu"]), ("signal", "memory failure", 0))
        self.assertEqual(cause["memory"], {"guest-address": hex(PAGE),
                                           "host-address": hex(self.host_address(m, PAGE))})

    def test_asked_for(self):
        m = self.start()
        m.qmp.command("human-monitor-command",
                      command_line=f"mce 0 9 {AR_STATUS.replace(' 0x', '')} 5 {PAGE:#x} 0x8c")
        self.failure(m, "guest", "inject", True, False)
        cause = self.cause(m)
        self.assertEqual((cause["client"]["command"], cause["memory"]),
                         ("human-monitor-command", {"guest-address": hex(PAGE)}))

    def test_paused(self):
        """A guest that is stopped gets it when it goes on."""
        m = self.start()
        m.qmp.command("stop")
        self.break_page(m, OPTIONAL, self.host_address(m, PAGE))
        self.failure(m, "guest", "inject", False, False)
        self.assertEqual(m.qmp.command("query-status")["status"], "paused")
        m.qmp.command("cont")
        self.machine_check(m, "0x00000005", AO_STATUS)

    def test_recursive(self):
        """While the guest handles another: an optional one is ignored, a required one ends it."""
        m = self.start("busy")
        host = self.host_address(m, PAGE)
        self.break_page(m, OPTIONAL, host)
        self.failure(m, "guest", "inject", False, False)
        self.machine_check(m, "0x00000005", AO_STATUS)
        self.break_page(m, OPTIONAL, host)
        self.failure(m, "guest", "ignore", False, True)
        self.break_page(m, REQUIRED, host, vcpu=0)
        self.failure(m, "guest", "reset", True, True)
        self.assertEqual(m.qmp.event("RESET")["data"], {"guest": True, "reason": "guest-reset"})
        m.expect("ready\n")

    def test_machine_checks_off(self):
        m = self.start("off")
        self.break_page(m, OPTIONAL, self.host_address(m, PAGE))
        self.failure(m, "guest", "reset", False, False)
        m.qmp.event("RESET")
        m.expect("ready\n")

    def test_bank_off(self):
        m = self.start("mute")
        self.break_page(m, REQUIRED, self.host_address(m, PAGE), vcpu=0)
        self.log(m, b"reporting disabled for bank 9")
        self.no_failure(m)

    def test_all_are_told(self):
        """The other vCPUs get one that says nothing more; this one waits for its start."""
        m = self.start("", "-smp", "2")
        self.break_page(m, OPTIONAL, self.host_address(m, PAGE))
        self.failure(m, "guest", "inject", False, False)
        self.failure(m, "guest", "reset", False, False)

    def test_fresh_after_reset(self):
        m = self.start()
        host = self.host_address(m, PAGE)
        with open(self.file, "r+b") as f:
            f.seek(PAGE)
            f.write(b"old")
        self.break_page(m, OPTIONAL, host)
        self.failure(m, "guest", "inject", False, False)
        self.assertIn("0x6f", m.qmp.command("human-monitor-command", command_line=f"xp /1xb {PAGE}"))
        m.qmp.command("system_reset")
        self.assertIn("0x00", m.qmp.command("human-monitor-command", command_line=f"xp /1xb {PAGE}"))
        m.expect("ready\n")

    # ---- real faults: of the instruction that runs

    def test_used_by_guest(self):
        """The access goes on over zeros, the machine check says where."""
        m = self.start(f"touch {PAGE}", broken=True)
        os.truncate(self.file, PAGE)
        self.failure(m, "guest", "inject", True, False)
        self.machine_check(m, "0x00000007", AR_STATUS)
        self.assertEqual(m.qmp.command("query-status")["status"], "running")

    def test_used_by_monitor(self):
        """Godwit's own access: it cannot go on."""
        m = self.start(broken=True)
        os.truncate(self.file, PAGE)
        m.qmp.request("pmemsave", val=PAGE, size=16, filename=os.path.join(self.dir.name, "out"))
        self.failure(m, "hypervisor", "fatal", True, False)
        self.assertEqual(m.qmp.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-error"})
        self.assertEqual(m.wait(), 1)
        self.log(m, b"hardware memory error")

    # ---- memory that is not the guest's

    def test_own_optional(self):
        m = self.start()
        self.break_page(m, OPTIONAL, 0x1000)
        self.failure(m, "hypervisor", "ignore", False, False)
        self.assertEqual(m.qmp.command("query-status")["status"], "running")

    def test_own_required(self):
        for options, stops in ([], False), (["-no-shutdown"], True):
            m = self.start("", *options)
            self.break_page(m, REQUIRED, 0x1000, vcpu=0)
            self.failure(m, "hypervisor", "fatal", True, False)
            self.assertEqual(m.qmp.event("SHUTDOWN")["data"],
                             {"guest": False, "reason": "host-error"})
            if stops:
                m.qmp.event("STOP")
            with self.assertRaises((EOFError, ConnectionError)):
                self.assertNotIn("event", m.qmp.read())
            self.assertEqual(m.wait(), 1)

    def test_plain_signal(self):
        """kill -BUS: an honest death."""
        m = self.start()
        m.process.send_signal(signal.SIGBUS)
        self.assertEqual(m.wait(), -signal.SIGBUS)
        self.log(m, b"godwit: SIGBUS at address 0x")

    # ---- memory that is gone

    def lost(self, m):
        os.truncate(self.file, PAGE)
        event = m.qmp.event("SHUTDOWN")
        self.assertEqual(event["data"], {"guest": False, "reason": "host-error"})
        self.log(m, b"guest memory at 0x%x is lost" % PAGE)
        return event

    def test_lost(self):
        m = self.start(f"touch {PAGE}")
        self.lost(m)
        self.assertEqual(m.wait(), 1)
        self.log(m, b"ended by signal: memory lost, vCPU 0, guest memory at 0x%x, after SHUTDOWN" % PAGE)

    def test_lost_pauses(self):
        m = self.start(f"touch {PAGE}", "-no-shutdown")
        other = Qmp(m.socket, enable=["godwit-events"])
        self.addCleanup(other.close)
        self.lost(m)
        m.qmp.event("STOP")
        event = other.event("SHUTDOWN")
        self.assertEqual((event["cause"]["what"], event["cause"]["signal"]["name"]),
                         ("memory lost", "SIGBUS"))
        self.assertEqual(m.qmp.command("query-status")["status"], "shutdown")
        self.assertEqual(m.qmp.command("godwit-query-black-box")["records"][0]["trigger"], "host-error")
        m.qmp.command("system_reset")
        m.qmp.command("cont")
        self.assertEqual(m.qmp.event("RESUME")["event"], "RESUME")
        m.expect("ready\n")

    def test_lost_to_monitor(self):
        m = self.start()
        os.truncate(self.file, PAGE)
        m.qmp.request("pmemsave", val=PAGE, size=16, filename=os.path.join(self.dir.name, "out"))
        self.assertEqual(m.qmp.event("SHUTDOWN")["data"]["reason"], "host-error")
        self.assertEqual(m.wait(), 1)


class AcceleratorGone(unittest.TestCase):
    """What KVM needs of the host is no more."""

    def setUp(self):
        try:
            os.close(os.open("/dev/kvm", os.O_RDWR))
        except OSError as e:
            self.skipTest(f"/dev/kvm: {e.strerror}")

    def run_on_kvm(self, *options):
        m = Machine("-accel", "kvm", "-kernel", guest("counter-far"), *options, env=sigbus.environment())
        self.addCleanup(m.close)
        m.expect("\n10 ")
        return m

    def test_gone(self):
        m = self.run_on_kvm()
        pid = m.process.pid
        fd = next(int(fd) for fd in os.listdir(f"/proc/{pid}/fd")
                  if "kvm-vcpu" in os.readlink(f"/proc/{pid}/fd/{fd}"))
        sigbus.send(pid, pid, signal.SIGRTMIN + 7, fd)
        self.assertEqual(m.qmp.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-error"})
        self.assertEqual(m.wait(), 1)
        log(self, m, b"vCPU 0: the host has failed it: KVM_RUN: ")

    def test_memory_lost(self):
        with tempfile.NamedTemporaryFile() as ram:
            m = self.run_on_kvm("-machine", "memory-backend=m", "-object",
                                f"memory-backend-file,id=m,size=16M,mem-path={ram.name},share=on")
            os.truncate(ram.name, 0)
            self.assertEqual(m.qmp.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-error"})
            self.assertEqual(m.wait(), 1)


class KernelGone(unittest.TestCase):
    """A reset that cannot put the kernel back."""

    def test_reset_fails(self):
        with tempfile.TemporaryDirectory() as folder:
            image = os.path.join(folder, "kernel")
            with open(guest("mce"), "rb") as source, open(image, "wb") as f:
                f.write(source.read())
            with Machine("-kernel", image) as m:
                m.expect("ready\n")
                os.truncate(image, 100)
                m.qmp.request("system_reset")
                m.qmp.event("RESET")
                self.assertEqual(m.qmp.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-error"})
                self.assertEqual(m.wait(), 1)
                log(self, m, b"reset failed: ")


class Backends(unittest.TestCase):
    def test_kinds(self):
        for kind, more in (("ram", ""), ("memfd", ""), ("memfd", ",share=off"), ("ram", ",share=on")):
            with Machine("-kernel", guest("mce"), "-machine", "memory-backend=m", "-object",
                         f"memory-backend-{kind},id=m,size=16M{more}") as m:
                m.expect("ready\n")
                self.assertEqual(m.qmp.command("query-memory-size-summary")["base-memory"], 16 << 20)

    def test_private_file(self):
        """Without share=on what the guest writes stays its own."""
        with tempfile.NamedTemporaryFile() as f:
            with Machine("-kernel", guest("mce"), "-machine", "memory-backend=m", "-object",
                         f"memory-backend-file,id=m,size=16M,mem-path={f.name}") as m:
                m.expect("ready\n")
            self.assertEqual(os.path.getsize(f.name), 16 << 20)
            self.assertEqual(f.read().count(b"\0"), 16 << 20)

    def test_refused(self):
        memory = "memory-backend-ram,id=m,size=16M"
        with tempfile.NamedTemporaryFile() as small:
            small.write(b"x" * 4096)
            small.flush()
            for args, text in (
                    (["-object", "rng-egd,id=r"], "invalid object type 'rng-egd'"),
                    (["-object", "memory-backend-ram,size=16M"], "Parameter 'id' is missing"),
                    (["-object", "memory-backend-ram,id=m,size=5000"], "size '5000': whole pages"),
                    (["-object", "memory-backend-ram,id=m,size=16M,hugetlb=on"], "hugetlb"),
                    (["-object", "memory-backend-file,id=m,size=16M"], "mem-path"),
                    (["-object", memory, "-object", memory], "there is an object 'm' already"),
                    (["-machine", "memory-backend=m"], "there is no such -object"),
                    (["-object", memory, "-machine", "memory-backend=m", "-m", "32"],
                     "-m: 33554432 bytes, but memory backend 'm' has 16777216"),
                    (["-object", "memory-backend-file,id=m,size=16M,mem-path=/nowhere/m", "-machine",
                      "memory-backend=m"], "'/nowhere/m': No such file or directory"),
                    (["-object", f"memory-backend-file,id=m,size=16M,mem-path={small.name}", "-machine",
                      "memory-backend=m"], "has 4096 bytes, 16777216 are wanted")):
                result = godwit.run("-display", "none", "-serial", "none", *args)
                self.assertEqual(result.returncode, 1)
                self.assertIn(text, result.stderr)


if __name__ == "__main__":
    unittest.main()
