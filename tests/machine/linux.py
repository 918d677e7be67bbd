"""Debian's cloud kernel on the software CPU: to a shell, what it finds there, and each way to end.

Needs a kernel (scripts/get-kernel) and busybox-static; without them the tests are skipped with the reason.
"""
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import unittest

from godwit import Machine

SCRIPTS = os.environ["SCRIPTS"]
PROMPT = rb"godwit# "
BOOT_S = 120

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


def prepare(folder):
    """(kernel image, initramfs), or the reason why there is none."""
    result = subprocess.run([os.path.join(SCRIPTS, "get-kernel")], capture_output=True, text=True)
    if result.returncode:
        return None, "no kernel: " + result.stderr.strip()
    kernel = result.stdout.strip()
    images = [f for f in os.listdir(os.path.join(kernel, "boot")) if f.startswith("vmlinuz-")]
    initrd = os.path.join(folder, "initramfs.gz")
    extra = os.path.join(folder, "rc")
    with open(extra, "w") as f:
        f.write(MAKE_DATA)
    result = subprocess.run([os.path.join(SCRIPTS, "make-initramfs"), initrd, kernel, extra],
                            capture_output=True, text=True)
    if result.returncode:
        return None, "no initramfs: " + result.stderr.strip()
    return (os.path.join(kernel, "boot", sorted(images)[-1]), initrd), None


class Linux(unittest.TestCase):
    image = initrd = None

    def boot(self, *args, append="quiet"):
        return Machine("-m", "256", "-kernel", self.image, "-initrd", self.initrd,
                       "-append", "console=ttyS0 " + append, *args)

    def shell(self, m):
        m.expect(PROMPT, BOOT_S)

    def command(self, m, text, timeout=60):
        """What a command printed in the guest's shell."""
        m.send(text + "\n")
        m.expect(re.escape(text) + "\r\n", timeout)
        start = m.at
        match = m.expect(PROMPT, timeout)
        return m.output[start:match.start()].decode(errors="replace").replace("\r", "")

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

    def test_two_cpus(self):
        self.look_around(2)

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
        found, reason = prepare(folder)
        if not found:
            print("skipped:", reason)
            sys.exit(77)
        Linux.image, Linux.initrd = found
        unittest.main(verbosity=2, exit=False).result.wasSuccessful() or sys.exit(1)
