"""Debian's kernel for all machines and what it does with devices by its own drivers: broken memory."""
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

import initramfs
import sigbus
from godwit import Machine


class MemoryFailure(initramfs.Shell, unittest.TestCase):
    """Linux kills the process that owns the broken page, and goes on."""

    def boot(self, *args):
        m = sigbus.preloaded(
            lambda: Machine("-m", "256", "-kernel", self.kernel.image, "-initrd", self.initrd, "-append",
                            "console=ttyS0 quiet", "-machine", "memory-backend=m", "-object",
                            "memory-backend-memfd,id=m,size=256M", *args), broken=True)
        self.addCleanup(m.close)
        self.shell(m)
        return m

    def page(self, m, how=""):
        m.send(f"page {how}\n")
        return int(m.expect(r"page at 0x([0-9a-f]+)\r\n", 60).group(1), 16)

    def recovered(self, m, address):
        """The shell lives, tells of the death, and the kernel of what it did."""
        m.expect("Bus error", 60)
        self.shell(m, 60)
        log = self.command(m, "dmesg | grep -i 'memory failure'")
        self.assertRegex(log, f"Memory failure: 0x{address >> 12:x}: .*Recovered")
        self.assertIn("HardwareCorrupted:     4 kB", self.command(m, "grep Corrupted /proc/meminfo"))

    def test_optional(self):
        """Injected by hand: found by the host before it was used."""
        m = self.boot()
        address = self.page(m, "sleep")
        self.assertEqual(m.qmp.command("human-monitor-command", command_line=(
            f"mce 0 9 0xbd000000000000c0 5 {address:#x} 0x8c")), "")
        self.assertEqual(m.qmp.event("MEMORY_FAILURE")["data"]["action"], "inject")
        self.recovered(m, address)

    def test_used(self):
        """The host reports the page as the guest's process uses it."""
        m = self.boot()
        address = self.page(m)
        pid = m.process.pid
        with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
            base = int(re.search(r"^([0-9a-f]+)-.*/memfd:ram", maps.read(), re.M).group(1), 16)
        sigbus.send(pid, pid, signal.SIGRTMIN + 8, base + address)
        self.assertEqual(m.qmp.event("MEMORY_FAILURE")["data"], {
            "recipient": "guest", "action": "inject",
            "flags": {"action-required": True, "recursive": False}})
        self.recovered(m, address)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try:
            kernel = initramfs.Kernel("generic")
            page = os.path.join(folder, "page")
            subprocess.run(["gcc", "-static", "-O1", "-o", page,
                            os.path.join(os.path.dirname(sigbus.__file__), "guest-page.c")], check=True)
            initrd = initramfs.make(folder, kernel, files={"/bin/page": page})
        except (initramfs.Missing, subprocess.CalledProcessError, OSError) as e:
            print("skipped:", e)
            sys.exit(77)
        MemoryFailure.kernel, MemoryFailure.initrd = kernel, initrd
        unittest.main(verbosity=2, exit=False).result.wasSuccessful() or sys.exit(1)
