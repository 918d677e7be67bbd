"""Debian's cloud kernel on the software CPU: to a shell, what it finds there, and each way to end.

Needs a kernel (scripts/get-kernel) and busybox-static; without them the tests are skipped with the reason.
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import initramfs
from godwit import TIME_FACTOR, Machine

# 16 MiB that guest and host can make without each other.
DATA = bytes(range(1, 256)) * 65793 + bytes(1)
MAKE_DATA = """
cat >/bin/make-data <<'END'
#!/bin/sh
i=1; while [ $i -lt 256 ]; do printf "\\\\$(printf %o $i)"; i=$((i+1)); done >/tmp/a
i=1; while [ $i -lt 256 ]; do cat /tmp/a; i=$((i+1)); done >/tmp/b
i=1; while [ $i -le 258 ]; do cat /tmp/b; i=$((i+1)); done >/tmp/data
cat /tmp/a /tmp/a /tmp/a >>/tmp/data
head -c 1 /dev/zero >>/tmp/data
END
chmod +x /bin/make-data
"""


class Linux(initramfs.Shell, unittest.TestCase):
    image = initrd = None

    def boot(self, *args, append="quiet"):
        return Machine("-m", "256", "-kernel", self.image, "-initrd", self.initrd,
                       "-append", "console=ttyS0 " + append, *args)

    def look_around(self, cpus):
        with self.boot("-smp", str(cpus)) as m:
            self.shell(m)
            text = self.command(m, "cat /proc/cpuinfo")
            self.assertEqual(len(re.findall("^processor", text, re.M)), cpus)
            text = self.command(m, "grep . /sys/devices/system/cpu/vulnerabilities/*")
            self.assertGreater(text.count("Not affected"), 5)
            for line in text.splitlines():
                if "vulnerabilities/" in line:
                    self.assertRegex(line, "Not affected|Enhanced")
            self.command(m, "make-data", 120)
            text = self.command(m, "sha256sum /tmp/data", 120)
            self.assertIn(hashlib.sha256(DATA).hexdigest(), text)
            m.send("poweroff\n")
            event = m.qmp.event("SHUTDOWN", 60)
            self.assertEqual(event["data"], {"guest": True, "reason": "guest-shutdown"})
            self.assertEqual(m.wait(), 0)

    def test_one_cpu(self):
        self.look_around(1)

    def test_translated(self):
        with self.boot() as m:
            self.shell(m)
            info = m.qmp.command("godwit-query-jit")
            self.assertEqual(info["enabled"], "x-translate=off" not in os.environ.get("GODWIT_ACCEL", ""))
            self.assertEqual(info["regions"] > 1000, info["enabled"])
            self.assertEqual(info["enters"] > 0, info["enabled"])

    @unittest.skipUnless("Linux.test_lockstep" in sys.argv, "takes minutes: the test linux-lockstep does it")
    def test_lockstep(self):
        """A whole boot on translated code and the interpreter at once."""
        with Machine("-accel", "tcg,x-lockstep=on", "-m", "256", "-kernel", self.image, "-initrd",
                     self.initrd, "-append", "console=ttyS0 quiet") as m:
            end = time.monotonic() + 1500 * TIME_FACTOR
            while b"godwit# " not in m.output and time.monotonic() < end:
                self.assertEqual(m.qmp.command("query-status")["status"], "running", m.errors)
                time.sleep(1)
            self.assertIn(b"godwit# ", m.output)
            self.assertGreater(m.qmp.command("godwit-query-jit")["compared"], 100000000)

    def test_two_cpus(self):
        self.look_around(2)

    def test_eight_cpus(self):
        """Eight on however few processors the host has, with caches and dies as -smp says."""
        with self.boot("-smp", "8,sockets=2,dies=1,cores=2,threads=2") as m:
            self.shell(m)
            self.command(m, "cd /sys/devices/system/cpu")
            text = "".join(self.command(m, f"grep . cpu?/topology/{name}") for name in
                           ("physical_package_id", "core_id", "thread_siblings_list"))
            for cpu in range(8):
                at = f"cpu{cpu}/topology/"
                self.assertIn(f"{at}physical_package_id:{cpu // 4}\n", text)
                self.assertIn(f"{at}core_id:{cpu // 2 % 2}\n", text)
                self.assertRegex(text, rf"{at}thread_siblings_list:{cpu & ~1}[-,]{cpu | 1}\n")
            self.command(m, "n() { seq 20000 | sha256sum; }")
            text = self.command(m, "(n& n& n& n& n& n& n& n& wait) | sort | uniq -c", 300)
            self.assertRegex(text, r"(?m)^ *8 [0-9a-f]{64}  -")
            self.assertEqual(self.command(m, "dmesg | grep -ci 'stall\\|lockup'").strip(), "0")

    def test_models(self):
        """Named models are what /proc/cpuinfo says, and the C library uses what they have."""
        for spec, name, family, has, lacks in (
                ("max", "Godwit virtual CPU", 6, "avx2 bmi2 fma f16c movbe abm xsavec sha_ni",
                 "avx512f svm"),
                ("Nehalem", "Nehalem", 6, "sse4_2 popcnt", "avx aes"),
                ("Haswell-noTSX,-avx2", "Haswell, no TSX", 6, "avx fma bmi2", "avx2 rtm"),
                ("EPYC-Rome,check=off", "EPYC-Rome", 23, "avx2 topoext clwb", "tsc_deadline_timer")):
            with self.subTest(spec=spec), self.boot("-cpu", spec) as m:
                self.shell(m)
                text = self.command(m, "cat /proc/cpuinfo")
                flags = set(re.search(r"^flags\s*: (.*)$", text, re.M)[1].split())
                self.assertRegex(text, r"(?m)^model name\s*:.*" + re.escape(name))
                self.assertRegex(text, rf"(?m)^cpu family\s*: {family}$")
                self.assertLessEqual(set(has.split()), flags)
                self.assertFalse(set(lacks.split()) & flags)

    @unittest.skipUnless(os.path.exists("/usr/share/qemu/linuxboot_dma.bin"),
                         "no option ROM: package qemu-system-data")
    def test_by_firmware(self):
        """SeaBIOS starts the kernel, though there is no disk."""
        with self.boot("-M", "q35,kernel-boot=firmware", "-boot", "strict=on") as m:
            self.shell(m)
            self.assertIn("SeaBIOS", self.command(m, "cat /sys/class/dmi/id/bios_vendor"))
            self.assertIn("console=ttyS0 quiet", self.command(m, "cat /proc/cmdline"))

    def test_smbios(self):
        """What the command line says of the machine is what the guest's kernel reads."""
        options = ("type=0,vendor=Firm,version=1.5,date=03/04/2023,release=1.5",
                   "type=1,manufacturer=Maker,product=Thing,serial=S1,sku=K,family=F,"
                   "uuid=00112233-4455-6677-8899-aabbccddeeff",
                   "type=2,product=Plank,asset=A2,location=here", "type=3,serial=S3,asset=A3",
                   "type=11,value=first,value=second,,half", "type=17,part=PART17,speed=3200")
        by_options = [arg for text in options for arg in ("-smbios", text)]
        with self.boot(*by_options) as m:
            self.shell(m)
            self.command(m, "cd /sys/class/dmi/id")
            for name, value in (("bios_vendor", "Firm"), ("bios_version", "1.5"),
                                ("bios_date", "03/04/2023"), ("bios_release", "1.5"),
                                ("sys_vendor", "Maker"), ("product_name", "Thing"),
                                ("product_serial", "S1"), ("product_sku", "K"),
                                ("product_family", "F"), ("board_name", "Plank"),
                                ("product_uuid", "00112233-4455-6677-8899-aabbccddeeff"),
                                ("board_vendor", "Godwit"), ("board_asset_tag", "A2"),
                                ("chassis_serial", "S3"), ("chassis_asset_tag", "A3")):
                self.assertEqual(self.command(m, "cat " + name), value + "\n", name)
            table = self.command(m, "strings /sys/firmware/dmi/tables/DMI").split("\n")
            self.assertLess({"first", "second,half", "PART17"}, set(table))

    def test_without_parts(self):
        for options, hpet, acpi in ((["-no-hpet"], 0, 1), (["-no-acpi"], 0, 0), ([], 1, 1)):
            with self.subTest(options), self.boot(*options) as m:
                self.shell(m)
                text = self.command(m, "ls /sys/firmware/acpi/tables 2>/dev/null").split()
                self.assertEqual(("APIC" in text, "HPET" in text), (acpi == 1, hpet == 1))
                devices = self.command(m, "ls /sys/bus/acpi/devices 2>/dev/null")
                self.assertEqual("PNP0103" in devices, hpet == 1)

    def test_reboot(self):
        with self.boot() as m:
            self.shell(m)
            m.send("reboot\n")
            m.expect("Restarting system", 60)
            event = m.qmp.event("RESET", 60)
            self.assertEqual(event["data"], {"guest": True, "reason": "guest-reset"})
            self.shell(m)
            self.command(m, "true")

    def test_powerdown(self):
        with self.boot() as m:
            self.shell(m)
            m.qmp.command("system_powerdown")
            self.assertNotIn("data", m.qmp.event("POWERDOWN"))
            m.expect("power button", 60)
            self.assertEqual(m.qmp.event("SHUTDOWN", 60)["data"]["reason"], "guest-shutdown")
            self.assertEqual(m.wait(), 0)

    def sleep(self, m, wake):
        """Suspend to RAM; wake() brings it back; the shell and its time go on."""
        m.send("echo mem >/sys/power/state\n")
        self.assertNotIn("data", m.qmp.event("SUSPEND", 60))
        self.assertEqual(m.qmp.command("query-status")["status"], "suspended")
        wake()
        self.assertNotIn("data", m.qmp.event("WAKEUP", 20))
        self.shell(m, 60)
        self.assertEqual(m.qmp.command("query-status")["status"], "running")
        self.assertAlmostEqual(int(self.command(m, "date +%s")), time.time(), delta=4)

    def test_suspend(self):
        with self.boot("-smp", "2") as m:
            self.shell(m)
            self.assertTrue(m.qmp.command("query-current-machine")["wakeup-suspend-support"])
            self.sleep(m, lambda: m.qmp.command("system_wakeup"))
            self.command(m, "echo +3 >/sys/class/rtc/rtc0/wakealarm")
            self.sleep(m, lambda: None)
            self.sleep(m, lambda: m.qmp.command("system_powerdown"))
            self.assertEqual(self.command(m, "cat /sys/power/suspend_stats/success"), "3\n")
            self.assertEqual(self.command(m, "cat /sys/devices/system/cpu/online"), "0-1\n")
            m.qmp.command("system_powerdown")  # awake it obeys
            self.assertEqual(m.qmp.event("SHUTDOWN", 60)["data"]["reason"], "guest-shutdown")
            self.assertEqual(m.wait(), 0)

    def test_suspended_and_reset(self):
        with self.boot() as m:
            self.shell(m)
            m.send("echo mem >/sys/power/state\n")
            m.qmp.event("SUSPEND", 60)
            m.qmp.command("system_reset")
            self.assertEqual(m.qmp.event("RESET")["data"]["reason"], "host-qmp-system-reset")
            self.assertEqual(m.qmp.command("query-status")["status"], "prelaunch")
            m.qmp.command("cont")
            self.shell(m)

    def test_sleep_states_hidden(self):
        with self.boot("-global", "ICH9-LPC.disable_s3=1", "-global", "ICH9-LPC.disable_s4=1") as m:
            self.shell(m)
            self.assertEqual(self.command(m, "cat /sys/power/mem_sleep"), "[s2idle]\n")
            self.assertNotIn("platform", self.command(m, "cat /sys/power/disk"))

    def test_debugger(self):
        """gdb from the kernel's first C function into the shell's first system calls."""
        if not shutil.which("gdb"):
            self.skipTest("gdb is not installed")
        names = ("start_kernel", "linux_banner", "__x64_sys_getppid", "jiffies_64")
        with self.boot(append="quiet nokaslr") as m:
            self.shell(m)
            text = "".join(self.command(m, f"grep -w {name} /proc/kallsyms") for name in names)
            at = {line.split()[2]: "0x" + line.split()[0] for line in text.splitlines()}
        self.assertEqual(set(at), set(names))
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "gdb")
            with self.boot("-S", "-smp", "2", "-gdb", f"unix:{path},server=on,wait=off",
                           append="quiet nokaslr") as m:
                argv = ["gdb", "-q", "-nx", "-batch"]
                for command in (
                        "set confirm off", "set style enabled off", "set architecture i386:x86-64",
                        f"target remote {path}", f"hbreak *{at['start_kernel']}", "continue",
                        "print $rip", f"x/s {at['linux_banner']}", "print $cr0 & 0x80000001",
                        "stepi 200", f"watch *(long*){at['jiffies_64']}", "continue", "continue",
                        "delete", f"break *{at['__x64_sys_getppid']}", "continue", "print $cs",
                        f"x/2xb {at['__x64_sys_getppid']}", "info threads", "delete", "detach"):
                    argv += ["-ex", command]
                output = subprocess.run(argv, capture_output=True, text=True,
                                        stdin=subprocess.DEVNULL, timeout=300 * TIME_FACTOR).stdout
                at_start = re.escape(at["start_kernel"])
                for pattern in (rf"Breakpoint 1, {at_start}", rf"\(\)\) {at_start}|= .*{at_start}",
                                r'"Linux version 6', r"= 2147483649", r"Old value = ",
                                rf"Breakpoint 3, {re.escape(at['__x64_sys_getppid'])}", r"= 16",
                                r"CPU#1", r"detached"):
                    self.assertRegex(output, pattern)
                self.assertNotRegex(output, r":\s+0xcc")
                self.shell(m)
                self.assertEqual(self.command(m, "echo a b"), "a b\n")

    def test_no_warnings(self):
        """Nothing that the kernel finds wrong with the machine."""
        with self.boot(append="") as m:
            self.shell(m)
            text = self.command(m, "dmesg")
            bad = [line for line in text.splitlines()
                   if re.search(r"BUG|WARNING|Oops|\[Firmware Bug\]|unchecked MSR|ACPI Error|"
                                r"Call Trace|TSC unstable|not consistent", line)]
            self.assertEqual(bad, [])
            m.send("poweroff\n")
            self.assertEqual(m.wait(60), 0)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try:
            kernel = initramfs.Kernel()
            Linux.image, Linux.initrd = kernel.image, initramfs.make(folder, kernel, rc=MAKE_DATA)
        except initramfs.Missing as e:
            print("skipped:", e)
            sys.exit(77)
        unittest.main(verbosity=2, exit=False).result.wasSuccessful() or sys.exit(1)
