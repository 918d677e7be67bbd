"""Debian's kernels and what they do with devices by their own drivers: broken memory, watchdogs, panics."""
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import initramfs
import sigbus
from godwit import Machine


class Watchdogs(initramfs.Shell, unittest.TestCase):
    """Each is opened, set going and left alone."""

    def boot(self):
        m = Machine("-m", "256", "-kernel", self.kernel.image, "-initrd", self.initrd, "-append",
                    "console=ttyS0 quiet", "-device", "i6300esb", "-device", "ib700", "-global",
                    "ICH9-LPC.noreboot=off", "-action", "watchdog=none")
        self.addCleanup(m.close)
        self.shell(m)
        return m

    def leave_alone(self, m, options, modules, device, action):
        m.qmp.command("set-action", watchdog=action)
        self.command(m, f"OPTIONS={options} load {modules}")
        m.send(f"echo 1 >{device}\n")
        self.assertEqual(m.qmp.event("WATCHDOG", 60)["data"], {"action": action})

    def test_watchdogs(self):
        m = self.boot()
        # first the one that wants /dev/watchdog for itself
        self.leave_alone(m, "timeout=2", "ib700wdt", "/dev/watchdog", "none")
        self.shell(m)
        self.command(m, "echo V >/dev/watchdog; rmmod ib700wdt")

        self.leave_alone(m, "heartbeat=2", "i6300esb", "/dev/watchdog0", "pause")
        self.assertNotIn("data", m.qmp.event("STOP"))
        self.assertEqual(m.qmp.command("query-status")["status"], "watchdog")
        self.assertEqual(m.qmp.command("godwit-query-black-box")["records"][0]["text"], "i6300esb")
        m.qmp.command("cont")
        self.shell(m)
        self.assertEqual(self.command(m, "cat /sys/class/watchdog/watchdog0/identity"),
                         "i6300ESB timer\n")

        m.qmp.command("set-action", reboot="shutdown")
        self.leave_alone(m, "heartbeat=4", "lpc_ich iTCO_wdt", "/dev/watchdog1", "reset")
        self.assertEqual(m.qmp.event("SHUTDOWN")["data"], {"guest": True, "reason": "guest-reset"})
        self.assertEqual(m.wait(), 0)


class Smbus(initramfs.Shell, unittest.TestCase):
    """By the drivers of both controllers: what the memory modules tell, blocks read and written."""

    def test_eeproms(self):
        for board, method in ("q35", "SMBus using PCI interrupt"), ("pc", "SMBus Host Controller at 0xb100"):
            with self.subTest(board):
                m = Machine("-M", board, "-m", "384", "-kernel", self.kernel.image, "-initrd",
                            self.initrd, "-append", "console=ttyS0 quiet")
                self.addCleanup(m.close)
                self.shell(m)
                self.command(m, "load i2c_i801 i2c_piix4 i2c_dev")
                self.assertIn(method, self.command(m, "dmesg"))
                self.assertIn("50 51 52 53 54 55 56 57", self.command(m, "i2cdetect -y -a 0"))
                rows = self.command(m, "i2cdump -y 0 0x50 b").splitlines()
                self.assertRegex(rows[1], "^00: 80 08 08 0e")
                self.assertRegex(rows[2], "^10: .* 40 ")  # 256 MiB, the first of two
                if board == "q35":
                    self.assertEqual(self.command(m, "i2cdump -y 0 0x50 i").splitlines(), rows)
                self.command(m, "i2cset -y 0 0x57 0x40 1 2 3 4 5 s")
                self.assertRegex(self.command(m, "i2cdump -y 0 0x57 b").splitlines()[5],
                                 "^40: 01 02 03 04 05 00")
                self.assertEqual(self.command(m, "i2cget -y 0 0x57 0x41 w"), "0x0302\n")


class Panics(initramfs.Shell, unittest.TestCase):
    """By the panic device that ACPI tells of; that on PCI is linux-black-box.py's."""

    def boot(self, *args, append=""):
        m = Machine("-m", "512", "-kernel", self.cloud.image, "-initrd", self.cloud_initrd, "-append",
                    "console=ttyS0 quiet " + append, *args)
        self.addCleanup(m.close)
        self.shell(m)
        return m

    def test_acpi(self):
        m = self.boot("-device", "pvpanic", "-action", "panic=exit-failure")
        self.command(m, "load pvpanic_mmio")
        m.send("echo c >/proc/sysrq-trigger\n")
        self.assertEqual(m.qmp.event("GUEST_PANICKED", 60)["data"], {"action": "poweroff"})
        self.assertEqual(m.qmp.event("SHUTDOWN")["data"], {"guest": True, "reason": "guest-panic"})
        self.assertEqual(m.wait(), 1)

    def test_crash_kernel(self):
        """A guest with a kernel to look into its crash tells that, and starts it."""
        m = self.boot("-device", "pvpanic-pci", append="crashkernel=160M crash_kexec_post_notifiers")
        self.command(m, "load pvpanic_pci")
        self.assertEqual(self.command(m, "crash-kernel /kernel"), "")
        self.assertEqual(self.command(m, "cat /sys/kernel/kexec_crash_loaded"), "1\n")
        m.send("echo c >/proc/sysrq-trigger\n")
        self.assertEqual(m.qmp.event("GUEST_CRASHLOADED", 60)["data"], {"action": "run"})
        while not m.qmp.command("godwit-query-black-box")["recorded"]:
            time.sleep(0.01)  # it is made right after the event
        self.assertEqual(m.qmp.command("godwit-query-black-box")["records"][0]["trigger"], "crash-loaded")
        m.expect("Kernel panic - not syncing: (VFS|No working init)", 120)  # the second one's: it has no root
        self.assertEqual(m.qmp.command("query-status")["status"], "running")


class MemoryFailure(initramfs.Shell, unittest.TestCase):
    """Linux kills the process that owns the broken page, and goes on."""

    def boot(self, *args):
        m = Machine("-m", "256", "-kernel", self.kernel.image, "-initrd", self.initrd, "-append",
                    "console=ttyS0 quiet", "-machine", "memory-backend=m", "-object",
                    "memory-backend-memfd,id=m,size=256M", *args, env=sigbus.environment(broken=True))
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


def compile_static(folder, name):
    """A program for the guest, from tests/lib."""
    out = os.path.join(folder, name)
    subprocess.run(["gcc", "-static", "-O1", "-o", out,
                    os.path.join(os.path.dirname(sigbus.__file__), f"guest-{name}.c")], check=True)
    return out


def prepare(folder):
    kernel, cloud = initramfs.Kernel("generic"), initramfs.Kernel("cloud")
    page, crash = compile_static(folder, "page"), compile_static(folder, "crash-kernel")
    initrd = initramfs.make(os.path.join(folder, "generic"), kernel,
                            ["i6300esb", "ib700wdt", "lpc_ich", "iTCO_wdt", "i2c_i801", "i2c_piix4",
                             "i2c_dev"], {"/bin/page": page})
    Watchdogs.kernel = MemoryFailure.kernel = Smbus.kernel = kernel
    Watchdogs.initrd = MemoryFailure.initrd = Smbus.initrd = initrd
    Panics.cloud = cloud
    Panics.cloud_initrd = initramfs.make(os.path.join(folder, "cloud"), cloud, ["pvpanic_mmio", "pvpanic_pci"],
                                         {"/bin/crash-kernel": crash, "/kernel": cloud.image})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try:
            prepare(folder)
        except (initramfs.Missing, subprocess.CalledProcessError, OSError) as e:
            print("skipped:", e)
            sys.exit(77)
        unittest.main(verbosity=2, exit=False).result.wasSuccessful() or sys.exit(1)
