"""A Linux guest that panics: its log, release and KASLR offset in the black box, and where it was, by name."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

import initramfs
from godwit import Machine

# Who calls whom when a crash is asked for by /proc/sysrq-trigger.
CALLERS = ["panic", "sysrq_handle_crash", "__handle_sysrq.cold", "write_sysrq_trigger", "proc_reg_write",
           "vfs_write", "ksys_write", "do_syscall_64", "entry_SYSCALL_64_after_hwframe"]


class BlackBox(initramfs.Shell, unittest.TestCase):
    kernel = initrd = folder = None

    def boot(self, *args):
        m = Machine("-m", "256", "-smp", "2", "-kernel", self.kernel.image, "-initrd", self.initrd,
                    "-append", "console=ttyS0 quiet", "-device", "vmcoreinfo", "-device", "pvpanic-pci",
                    "-action", "panic=pause", *args)
        self.addCleanup(m.close)
        self.shell(m)
        return m

    def crash(self, m):
        m.send("echo c >/proc/sysrq-trigger\n")
        m.qmp.event("GUEST_PANICKED", 60)
        m.qmp.event("STOP")
        answer = m.qmp.command("godwit-query-black-box")
        self.assertEqual(answer["recorded"], 1)
        return answer["records"][0]

    def check_kernel(self, record):
        kernel = record["kernel"]
        self.assertNotIn("error", kernel)
        self.assertEqual(kernel["release"], self.kernel.release)
        log = kernel["log"]
        self.assertLessEqual(len(log), 65536)
        for line in log.splitlines():
            self.assertRegex(line, r"^\[ *\d+\.\d{6}\] ")
        times = [float(re.match(r"\[ *([\d.]+)\]", line).group(1)) for line in log.splitlines()]
        self.assertLess(times[0], times[-1])
        end = log[log.index("sysrq: Trigger a crash"):]
        self.assertRegex(end, "Kernel panic - not syncing: sysrq triggered crash")
        self.assertIn("Call Trace:", end)
        return int(kernel["offset"], 16)

    def symbols(self, m):
        """What the guest tells of the callers, each with the symbol behind it: (address, line)."""
        names = "|".join(re.escape(name) for name in CALLERS)
        text = self.command(m, f"grep -A1 -E ' [tT] ({names})$' /proc/kallsyms", 120)
        found = re.findall(r"^([0-9a-f]{16}) (.*)$", text, re.M)
        self.assertGreaterEqual(len(found), len(CALLERS))
        return found

    def test_panic(self):
        m = self.boot()
        found = self.symbols(m)
        offset = self.check_kernel(self.crash(m))
        m.close()
        path = os.path.join(self.folder, "System.map")
        with open(path, "w") as f:  # as linked
            f.writelines(f"{int(addr, 16) - offset:016x} {rest}\n" for addr, rest in found)

        m = self.boot("-symbols", path)
        record = self.crash(m)
        self.check_kernel(record)
        cpu = record["vcpus"][record["vcpu"]]
        self.assertEqual(cpu["cpl"], 0)
        trace = [entry["symbol"].split("+")[0] for entry in cpu["trace"]]
        at = 0
        for name in CALLERS:
            self.assertIn(name, trace[at:])
            at = trace.index(name, at) + 1
        log = record["kernel"]["log"]
        for entry in cpu["trace"]:  # the kernel's own trace has the same places
            name, distance = entry["symbol"].split("+")
            if name in CALLERS[1:-1] and name != "write_sysrq_trigger":
                self.assertTrue(f" {name}+{distance}/" in log, entry["symbol"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try:
            BlackBox.kernel = initramfs.Kernel("cloud")
            BlackBox.initrd = initramfs.make(folder, BlackBox.kernel, ["qemu_fw_cfg", "pvpanic_pci"],
                                             rc="load qemu_fw_cfg pvpanic_pci\n")
        except (initramfs.Missing, subprocess.CalledProcessError) as e:
            print("skipped:", e)
            sys.exit(77)
        BlackBox.folder = folder
        unittest.main(verbosity=2, exit=False).result.wasSuccessful() or sys.exit(1)
