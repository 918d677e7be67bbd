"""Linux hibernates to swap on a disk, and comes back with its memory in another process (ACPI S4)."""
import os
import sys
import tempfile
import unittest

import initramfs
from godwit import Machine

SWAP_BYTES = 256 << 20
MARK = 987654
RC = """
until [ -b /dev/{disk} ]; do sleep 0.1; done
cat /sys/class/block/{disk}/dev >/sys/power/resume
"""


class Hibernate(initramfs.Shell, unittest.TestCase):
    """$folder and $kernel are set up by the main program."""

    def start(self, *args):
        m = Machine("-m", "192", "-kernel", self.kernel.image, "-initrd", self.initrd, "-append",
                    "console=ttyS0 quiet hibernate=nocompress", *args)
        self.addCleanup(m.close)
        return m

    def sleep_and_wake(self, disk, driver, *args):
        load = f"load {driver} sd_mod\n" if driver else ""
        folder = os.path.join(self.folder, disk)
        self.initrd = initramfs.make(folder, self.kernel, [driver, "sd_mod"] if driver else [],
                                     rc=load + RC.format(disk=disk))
        image = os.path.join(folder, "swap")
        with open(image, "wb") as file:
            file.truncate(SWAP_BYTES)
        args = [arg.replace("IMAGE", image) for arg in args]
        m = self.start(*args)
        self.shell(m)
        self.command(m, f"mkswap /dev/{disk}; swapon /dev/{disk}")
        self.command(m, f"mark={MARK}; head -c 8000000 /dev/urandom >/tmp/x")
        checksum = self.command(m, "md5sum </tmp/x")
        self.assertRegex(self.command(m, "cat /sys/power/disk"), r"\[platform\]")
        boot_id = self.command(m, "cat /proc/sys/kernel/random/boot_id")
        m.send("echo disk >/sys/power/state\n")
        self.assertNotIn("data", m.qmp.event("SUSPEND_DISK", 120))
        self.assertEqual(m.qmp.event("SHUTDOWN")["data"], {"guest": True, "reason": "guest-shutdown"})
        self.assertEqual(m.wait(), 0)

        m = self.start(*args)
        self.shell(m)  # of the kernel that went to sleep: its command has ended
        self.assertEqual(self.command(m, "echo $mark"), f"{MARK}\n")
        self.assertEqual(self.command(m, "cat /proc/sys/kernel/random/boot_id"), boot_id)
        self.assertEqual(self.command(m, "md5sum </tmp/x"), checksum)
        self.command(m, f"swapoff /dev/{disk}; dd if=/tmp/x of=/dev/{disk} bs=64k conv=fsync 2>/dev/null")
        self.command(m, "echo 3 >/proc/sys/vm/drop_caches")
        self.assertEqual(self.command(m, f"head -c 8000000 /dev/{disk} | md5sum"), checksum)
        self.assertEqual(self.command(m, "dmesg | grep -cE 'BUG:|Oops|I/O error'").strip(), "0")
        m.send("poweroff\n")
        self.assertEqual(m.qmp.event("SHUTDOWN", 60)["data"]["reason"], "guest-shutdown")
        self.assertEqual(m.wait(), 0)

    def test_virtio(self):
        self.sleep_and_wake("vda", None, "-smp", "2", "-drive", "file=IMAGE,if=virtio,format=raw")

    def test_ide(self):
        self.sleep_and_wake("sda", "ata_piix", "-M", "pc", "-drive", "file=IMAGE,if=ide,format=raw")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="godwit-hibernate-") as place:
        try:
            Hibernate.kernel = initramfs.Kernel()
        except initramfs.Missing as e:
            print("skipped:", e)
            sys.exit(77)
        Hibernate.folder = place
        unittest.main(verbosity=2, exit=False).result.wasSuccessful() or sys.exit(1)
